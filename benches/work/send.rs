//! Sending stored bytes to a socket, from which another thread reads them.
//!
//! The bare calls send the same ranges of the same file, whose places they know beforehand: with `sendfile`, or through
//! a buffer of this process, as a log must do whose stored bytes are not what its receivers get.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use kstore::{Log, Offset};
use nix::sys::sendfile::sendfile64;
use nix::unistd::write;

use super::{Cost, Outcome, Work};

/// What the receiver reads at once.
const RECEIVED_BYTES: usize = 256 << 10;
/// A slice consists of about so many batches.
const BATCHES_OF_SLICE: usize = 16;

/// What kstore is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bare {
    /// `sendfile`, until a slice is sent.
    Sendfile,
    /// The same, and kstore's segment is sealed and mapped, so that it finds where a slice ends without a call.
    SendfileMapped,
    /// `pread` of a slice into memory, and `write` of it.
    Copy,
}

/// A log and the slices of it that are sent.
pub(super) struct Send {
    log: Log,
    file: File,
    slice_bytes: u64,
    slices: Vec<Range>,
    bare: Bare,
    /// As large as the largest slice.
    buffer: Vec<u8>,
}

/// Where a slice lies.
struct Range {
    from: Offset,
    position: u64,
    bytes: usize,
}

impl Send {
    pub(super) fn new(dir: &Path, slice_bytes: usize, slices: usize, bare: Bare) -> Outcome<Send> {
        // Batches, and so slices, are somewhat smaller than what was asked for.
        let total_bytes = (slice_bytes * (slices + slices / 4 + 1)) as u64;
        let log = super::scan::filled_log(&dir.join("sent"), slice_bytes / BATCHES_OF_SLICE, total_bytes, 1 << 30)?;
        let slice_bytes = slice_bytes as u64;
        let [path] = <[_; 1]>::try_from(super::scan::log_files(log.dir())?).expect("the log has one segment");
        if bare == Bare::SendfileMapped {
            log.update_config(|config| config.mapped_reads(true))?;
            super::scan::settle(&log)?;
        }
        let (mut from, mut position) = (log.log_start_offset(), 0);
        let mut found = Vec::with_capacity(slices);
        while found.len() < slices {
            let slice = log.read(from, slice_bytes)?;
            assert!(slice.size_bytes() > slice_bytes / 2, "a slice is about as large as was asked for");
            let bytes = usize::try_from(slice.size_bytes())?;
            found.push(Range { from, position, bytes });
            from = slice.next_offset();
            position += slice.size_bytes();
        }
        assert_eq!(log.stats().mapped_segments > 0, bare == Bare::SendfileMapped, "what is measured");
        let buffer = vec![0; found.iter().map(|slice| slice.bytes).max().unwrap_or(0)];
        Ok(Send { file: File::open(path)?, log, slice_bytes, slices: found, bare, buffer })
    }

    /// Sends while another thread receives; the round ends when it has received all.
    fn with_receiver(&mut self, send: impl FnOnce(&mut Send, &UnixStream) -> Outcome<()>) -> Outcome<Cost> {
        let (sender, mut receiver) = UnixStream::pair()?;
        let (cost, received) = Cost::of(|| {
            std::thread::scope(|scope| {
                let receiving = scope.spawn(move || -> Outcome<u64> {
                    let (mut received, mut buffer) = (0, vec![0; RECEIVED_BYTES]);
                    loop {
                        match receiver.read(&mut buffer)? {
                            0 => return Ok(received),
                            read => received += read as u64,
                        }
                    }
                });
                let sent = send(self, &sender);
                drop(sender);
                let received = receiving.join().expect("a bench thread does not panic");
                sent.and(received)
            })
        })?;
        assert_eq!(Some(received), self.sent_bytes(), "all was received");
        Ok(cost)
    }
}

impl Work for Send {
    fn records(&self) -> u64 {
        self.slices.len() as u64
    }

    fn sent_bytes(&self) -> Option<u64> {
        Some(self.slices.iter().map(|slice| slice.bytes as u64).sum())
    }

    fn raw(&mut self) -> Outcome<Cost> {
        let round = match self.bare {
            Bare::Sendfile | Bare::SendfileMapped => send_file,
            Bare::Copy => copy,
        };
        self.with_receiver(round)
    }

    fn kstore(&mut self) -> Outcome<Cost> {
        self.with_receiver(|work, receiver| {
            for slice in &work.slices {
                let sent = work.log.send_to(receiver, slice.from, work.slice_bytes)?;
                assert_eq!(sent.bytes, slice.bytes as u64, "the whole slice was sent");
            }
            Ok(())
        })
    }
}

fn send_file(work: &mut Send, receiver: &UnixStream) -> Outcome<()> {
    for slice in &work.slices {
        let (mut at, mut left) = (i64::try_from(slice.position)?, slice.bytes);
        while left > 0 {
            left -= sendfile64(receiver, &work.file, Some(&mut at), left)?;
        }
    }
    Ok(())
}

fn copy(work: &mut Send, receiver: &UnixStream) -> Outcome<()> {
    for slice in &work.slices {
        let mut left = &mut work.buffer[..slice.bytes];
        work.file.read_exact_at(left, slice.position)?;
        while !left.is_empty() {
            // Not the standard library's, which sends: the system does not count that among the writes.
            let written = write(receiver, left)?;
            left = &mut left[written..];
        }
    }
    Ok(())
}
