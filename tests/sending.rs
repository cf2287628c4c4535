//! Sending slices as a user does, on the real kernel: sockets, pipes and files; receivers that block, do not block, have
//! gone, or cannot be sent to at all.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is a program that uses it")]

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixDatagram, UnixStream};

use kstore::{Error, ErrorKind, Log, LogConfig, LogSlice, Offset, Record};

/// A log of some batches, far more than a socket's buffers hold, and all its bytes.
fn log_of(batches: u64, value_bytes: usize) -> (tempfile::TempDir, Log, Vec<u8>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = Log::open(dir.path(), LogConfig::default()).expect("a new log");
    for number in 0..batches {
        let value: Vec<u8> = number.to_le_bytes().into_iter().cycle().take(value_bytes).collect();
        log.append(&[Record::value(&value)]).expect("there is room");
    }
    let bytes = std::fs::read(dir.path().join("00000000000000000000.log")).expect("the segment");
    (dir, log, bytes)
}

fn whole(log: &Log) -> LogSlice {
    log.read(log.log_start_offset(), u64::MAX).expect("the log is readable")
}

fn drained(mut receiver: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        receiver.read_to_end(&mut bytes).expect("the sender closes");
        bytes
    })
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let sender = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    (sender, listener.accept().expect("a connection").0)
}

// Row 71.
#[test]
fn receivers_that_block_get_every_byte() {
    let (_dir, log, bytes) = log_of(300, 10_000);
    let (tcp, tcp_peer) = tcp_pair();
    let (unix, unix_peer) = UnixStream::pair().expect("a pair");
    let (pipe_peer, pipe) = std::io::pipe().expect("a pipe");
    let received = [drained(tcp_peer), drained(unix_peer), drained(pipe_peer)];
    let slice = whole(&log);
    for sent in [slice.send_to(&tcp), slice.send_to(&unix), slice.send_to(&pipe)] {
        let sent = sent.expect("a receiver that reads");
        assert_eq!((sent.bytes, sent.would_block), (slice.size_bytes(), false));
    }
    drop((tcp, unix, pipe));
    for receiver in received {
        assert!(receiver.join().expect("no panic") == bytes);
    }
}

// Row 71.
#[test]
fn a_receiver_that_does_not_block_is_sent_the_rest_later_without_a_byte_lost_or_doubled() {
    let (_dir, log, bytes) = log_of(300, 10_000);
    let (sender, mut receiver) = UnixStream::pair().expect("a pair");
    sender.set_nonblocking(true).expect("it can");
    let slice = whole(&log);
    let (mut done, mut got, mut stops) = (0, Vec::new(), 0);
    while done < slice.size_bytes() {
        let sent = slice.send_to_from(&sender, done).expect("a live receiver");
        done += sent.bytes;
        assert_eq!(sent.would_block, done < slice.size_bytes(), "it stops for one reason only");
        stops += u64::from(sent.would_block);
        let mut piece = vec![0; 70_001];
        let read = receiver.read(&mut piece).expect("something was sent");
        got.extend_from_slice(&piece[..read]);
    }
    drop(sender);
    receiver.read_to_end(&mut got).expect("the rest");
    assert!(got == bytes && stops > 1, "{} bytes of {}, {stops} stops", got.len(), bytes.len());
}

#[test]
fn behind_the_end_of_a_slice_there_is_nothing_to_send_and_no_error() {
    let (_dir, log, bytes) = log_of(3, 100);
    let (sender, receiver) = UnixStream::pair().expect("a pair");
    let slice = whole(&log);
    let size = slice.size_bytes();
    for skip in [size, size + 1, u64::MAX] {
        let sent = slice.send_to_from(&sender, skip).expect("nothing to do");
        assert_eq!((sent.bytes, sent.would_block), (0, false));
    }
    assert_eq!(slice.send_to_from(&sender, size - 1).expect("a live receiver").bytes, 1);
    let empty = log.read(log.log_end_offset(), 100).expect("the end is readable");
    assert_eq!(empty.send_to(&sender).expect("nothing to do").bytes, 0);
    assert!(empty.as_parts().is_none());
    drop(sender);
    assert_eq!(drained(receiver).join().expect("no panic"), bytes[bytes.len() - 1..]);
}

#[test]
fn a_receiver_that_has_gone_is_told_from_one_that_cannot_be_sent_to() {
    let (dir, log, bytes) = log_of(200, 10_000);
    let slice = whole(&log);
    let (gone, peer) = UnixStream::pair().expect("a pair");
    drop(peer);
    assert!(matches!(slice.send_to(&gone), Err(Error::PeerClosed)));
    // Bytes that the peer never read make the kernel reset the connection.
    let (reset, peer) = tcp_pair();
    reset.set_nonblocking(true).expect("it can");
    slice.send_to(&reset).expect("the peer is still there");
    drop(peer);
    reset.set_nonblocking(false).expect("it can");
    assert!(matches!(slice.send_to(&reset), Err(Error::PeerClosed)));

    let path = dir.path().join("copy");
    let copy = File::create_new(&path).expect("a file");
    let appending = OpenOptions::new().append(true).open(&path).expect("a file");
    let reading = File::open(&path).expect("a file");
    let alone = UnixDatagram::unbound().expect("a socket");
    for refused in [slice.send_to(&appending), slice.send_to(&reading), slice.send_to(&alone)] {
        let error = refused.expect_err("it takes nothing");
        assert!(matches!(error, Error::ReceiverRefused { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Usage);
    }
    let mut copy = copy;
    assert_eq!(slice.send_to(&copy).expect("a plain file").bytes, slice.size_bytes());
    copy.rewind().expect("a plain file");
    assert!(drained(File::open(&path).expect("a file")).join().expect("no panic") == bytes);
}

#[test]
fn a_slice_says_where_its_bytes_lie_and_they_are_there_after_its_log_is_gone() {
    let (dir, log, bytes) = log_of(20, 1000);
    let slice = log.read(Offset::new(5), 4000).expect("in the log");
    let before: u64 = 5 * u64::try_from(bytes.len() / 20).expect("a length");
    log.close().expect("a healthy disk");
    std::fs::remove_file(dir.path().join("00000000000000000000.log")).expect("it is there");
    let (file, position, len) = slice.as_parts().expect("a slice with bytes");
    assert_eq!((position, len), (before, slice.size_bytes()));
    let file = File::from(file.try_clone_to_owned().expect("a descriptor"));
    let mut read = vec![0; usize::try_from(len).expect("a length")];
    file.read_exact_at(&mut read, position).expect("the file lives");
    let at = usize::try_from(position).expect("a length");
    assert!(read == bytes[at..at + read.len()]);
    let (sender, receiver) = UnixStream::pair().expect("a pair");
    slice.send_to(sender.as_fd()).expect("so does sending");
    drop(sender);
    assert!(drained(receiver).join().expect("no panic") == read);
}
