//! Bytes on their way, on the real kernel: what was sent arrives as it was, whatever is truncated and appended meanwhile.
//!
//! `sendfile` queues pages, not copies: a file that is cut and written again in place changes what its receiver reads.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is a program that uses it")]

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use kstore::{Log, LogConfig, Offset, Record};

const BATCHES: u64 = 30;
const VALUE_BYTES: usize = 930;
/// What a pipe is to hold: far more than is sent.
const PIPE_BYTES: i32 = 1 << 20;

type Receiver = Box<dyn Read>;

fn tcp() -> (OwnedFd, Receiver) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let sender = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    (sender.into(), Box::new(listener.accept().expect("a connection").0))
}

fn unix() -> (OwnedFd, Receiver) {
    let (sender, receiver) = UnixStream::pair().expect("a pair");
    (sender.into(), Box::new(receiver))
}

fn pipe() -> (OwnedFd, Receiver) {
    let (receiver, sender) = std::io::pipe().expect("a pipe");
    nix::fcntl::fcntl(&sender, nix::fcntl::FcntlArg::F_SETPIPE_SZ(PIPE_BYTES)).expect("a larger pipe");
    (sender.into(), Box::new(receiver))
}

/// Sends 30,000 bytes to a receiver that does not read, cuts the log below what was sent and writes other records there.
fn send_cut_append_read(channel: fn() -> (OwnedFd, Receiver), cut: &dyn Fn(&Log), through_parts: bool) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = Log::open(dir.path(), LogConfig::default()).expect("a new log");
    for number in 0..BATCHES {
        let value = vec![u8::try_from(number).expect("few") + b'A'; VALUE_BYTES];
        log.append(&[Record::value(&value)]).expect("there is room");
    }
    let before = std::fs::read(dir.path().join("00000000000000000000.log")).expect("the segment");
    let (sender, mut receiver) = channel();
    {
        let slice = log.read(Offset::ZERO, u64::MAX).expect("in the log");
        let sent =
            if through_parts { send_parts(&slice, &sender) } else { slice.send_to(&sender).expect("room").bytes };
        assert_eq!(sent, before.len() as u64);
    }
    cut(&log);
    for _ in 0..BATCHES {
        log.append(&[Record::value(&[b'z'; VALUE_BYTES])]).expect("there is room");
    }
    log.sync().expect("a healthy disk");
    drop(sender);
    let mut received = Vec::new();
    receiver.read_to_end(&mut received).expect("the rest");
    let changed = received.iter().zip(&before).filter(|(got, sent)| got != sent).count();
    assert!(received == before, "{changed} of {} bytes changed on their way", before.len());
}

/// As a user of `as_parts` does.
fn send_parts(slice: &kstore::LogSlice, sender: &OwnedFd) -> u64 {
    let (file, position, len) = slice.as_parts().expect("a slice with bytes");
    let mut at = i64::try_from(position).expect("a small file");
    let mut left = usize::try_from(len).expect("a small file");
    while left > 0 {
        left -= nix::sys::sendfile::sendfile64(sender.as_fd(), file, Some(&mut at), left).expect("room");
    }
    len
}

// Row 71.
#[test]
fn what_was_sent_arrives_as_it_was_whatever_is_truncated_and_appended_meanwhile() {
    let cuts: [&dyn Fn(&Log); 4] = [
        &|log| log.truncate_to(Offset::new(3)).expect("in the log"),
        &|log| assert_eq!(log.truncate_to_batch(Offset::new(10)).expect("in the log"), Offset::new(10)),
        &|log| log.truncate_to(Offset::ZERO).expect("in the log"),
        &|log| log.reset_to(Offset::ZERO).expect("a healthy disk"),
    ];
    for channel in [tcp, unix, pipe] {
        for cut in cuts {
            for through_parts in [false, true] {
                send_cut_append_read(channel, cut, through_parts);
            }
        }
    }
}
