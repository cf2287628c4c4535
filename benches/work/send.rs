//! Sending stored bytes to a socket, from which another thread reads them.
//!
//! The bare calls send the same ranges of the same file, whose places they know beforehand.

use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;

use kstore::{Log, Offset};
use nix::sys::sendfile::sendfile64;

use super::{Cost, Outcome, Work};

/// What the receiver reads at once.
const RECEIVED_BYTES: usize = 256 << 10;
/// A slice consists of about so many batches.
const BATCHES_OF_SLICE: usize = 16;

/// A log and the slices of it that are sent.
pub(super) struct Send {
    log: Log,
    file: File,
    slice_bytes: u64,
    slices: Vec<Range>,
}

/// Where a slice lies.
struct Range {
    from: Offset,
    position: i64,
    bytes: usize,
}

impl Send {
    pub(super) fn new(dir: &Path, slice_bytes: usize, slices: usize) -> Outcome<Send> {
        // Batches, and so slices, are somewhat smaller than what was asked for.
        let total_bytes = (slice_bytes * (slices + slices / 4 + 1)) as u64;
        let log = super::scan::filled_log(&dir.join("sent"), slice_bytes / BATCHES_OF_SLICE, total_bytes, 1 << 30)?;
        let slice_bytes = slice_bytes as u64;
        let [path] = <[_; 1]>::try_from(super::scan::log_files(log.dir())?).expect("the log has one segment");
        let (mut from, mut position) = (log.log_start_offset(), 0);
        let mut found = Vec::with_capacity(slices);
        while found.len() < slices {
            let slice = log.read(from, slice_bytes)?;
            assert!(slice.size_bytes() > slice_bytes / 2, "a slice is about as large as was asked for");
            let bytes = usize::try_from(slice.size_bytes())?;
            found.push(Range { from, position, bytes });
            from = slice.next_offset();
            position += i64::try_from(bytes)?;
        }
        Ok(Send { file: File::open(path)?, log, slice_bytes, slices: found })
    }

    /// Sends while another thread receives; the round ends when it has received all.
    fn with_receiver(&self, send: impl FnOnce(&UnixStream) -> Outcome<()>) -> Outcome<Cost> {
        let (sender, mut receiver) = UnixStream::pair()?;
        let expected: usize = self.slices.iter().map(|slice| slice.bytes).sum();
        let (cost, received) = Cost::of(|| {
            std::thread::scope(|scope| {
                let receiving = scope.spawn(move || -> Outcome<usize> {
                    let (mut received, mut buffer) = (0, vec![0; RECEIVED_BYTES]);
                    loop {
                        match receiver.read(&mut buffer)? {
                            0 => return Ok(received),
                            read => received += read,
                        }
                    }
                });
                let sent = send(&sender);
                drop(sender);
                let received = receiving.join().expect("a bench thread does not panic");
                sent.and(received)
            })
        })?;
        assert_eq!(received, expected, "all was received");
        Ok(cost)
    }
}

impl Work for Send {
    fn records(&self) -> u64 {
        self.slices.len() as u64
    }

    fn raw(&mut self) -> Outcome<Cost> {
        self.with_receiver(|receiver| {
            for slice in &self.slices {
                let (mut at, mut left) = (slice.position, slice.bytes);
                while left > 0 {
                    left -= sendfile64(receiver, &self.file, Some(&mut at), left)?;
                }
            }
            Ok(())
        })
    }

    fn kstore(&mut self) -> Outcome<Cost> {
        self.with_receiver(|receiver| {
            for slice in &self.slices {
                let sent = self.log.send_to(receiver, slice.from, self.slice_bytes)?;
                assert_eq!(sent.bytes, slice.bytes as u64, "the whole slice was sent");
            }
            Ok(())
        })
    }
}
