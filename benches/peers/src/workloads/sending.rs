//! Sends a whole log, or a whole file, to a socket from which another thread reads.
//!
//! The invariant it owns: time runs until the receiver has everything.

use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;

use kstore::{Log, LogSlice};
use nix::sys::sendfile::sendfile64;
use nix::sys::uio::pread;
use nix::unistd::write;

use crate::Outcome;
use crate::cost::Cost;

/// What is sent at once.
pub(super) const SLICE_BYTES: usize = 1 << 20;
/// What the receiver reads at once.
const RECEIVED_BYTES: usize = 256 << 10;

/// `sendfile` from the front of a file to its end.
///
/// # Errors
/// Of the system.
pub(super) fn send_file(path: &Path) -> Outcome<(Cost, u64)> {
    let file = File::open(path)?;
    let bytes = i64::try_from(file.metadata()?.len())?;
    to_receiver(|receiver| {
        let mut at = 0;
        while at < bytes {
            if sendfile64(receiver, &file, Some(&mut at), SLICE_BYTES)? == 0 {
                return Err("the file is shorter than it was".into());
            }
        }
        Ok(())
    })
}

/// `send_to`, slice by slice.
///
/// # Errors
/// Of the log.
pub(super) fn send_log(log: &Log) -> Outcome<(Cost, u64)> {
    each_slice(log, |slice, receiver| Ok(slice.send_to(receiver).map(drop)?))
}

/// The same bytes by way of this process: read into memory, and written.
///
/// # Errors
/// Of the log and the system.
pub(super) fn copy_log(log: &Log) -> Outcome<(Cost, u64)> {
    let mut buffer = vec![0; 2 * SLICE_BYTES];
    each_slice(log, |slice, receiver| {
        let Some((file, position, bytes)) = slice.as_parts() else { return Ok(()) };
        let bytes = usize::try_from(bytes)?;
        let (mut filled, from) = (0, i64::try_from(position)?);
        while filled < bytes {
            let room = buffer.get_mut(filled..bytes).ok_or("a slice is about as large as was asked for")?;
            filled += pread(file, room, from + i64::try_from(filled)?)?;
        }
        let mut left = &buffer[..bytes];
        while !left.is_empty() {
            let written = write(receiver, left)?;
            left = &left[written..];
        }
        Ok(())
    })
}

fn each_slice(log: &Log, mut send: impl FnMut(&LogSlice, &UnixStream) -> Outcome<()>) -> Outcome<(Cost, u64)> {
    let end = log.log_end_offset();
    to_receiver(|receiver| {
        let mut from = log.log_start_offset();
        while from < end {
            let slice = log.read(from, SLICE_BYTES as u64)?;
            send(&slice, receiver)?;
            from = slice.next_offset();
        }
        Ok(())
    })
}

/// What it took, and how many bytes were received.
fn to_receiver(send: impl FnOnce(&UnixStream) -> Outcome<()>) -> Outcome<(Cost, u64)> {
    let (sender, mut receiver) = UnixStream::pair()?;
    Cost::of(|| {
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
            let sent = send(&sender);
            drop(sender);
            let received = receiving.join().map_err(|_| "the receiver panicked")?;
            sent.and(received)
        })
    })
}

#[cfg(test)]
mod tests {
    use kstore::{Log, LogConfig, Record};

    use super::{copy_log, send_file, send_log};

    #[test]
    fn every_way_sends_every_byte() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = Log::open(dir.path(), LogConfig::default().segment_bytes(300_000)).expect("a log");
        let mut stored = 0;
        for _ in 0..50 {
            log.append(&[Record::value(&vec![7; 30_000])]).expect("an append");
        }
        for path in super::super::plain::files(dir.path(), "log").expect("files") {
            let bytes = std::fs::metadata(&path).expect("a file").len();
            assert_eq!(send_file(&path).expect("sent").1, bytes);
            stored += bytes;
        }
        assert_eq!(send_log(&log).expect("sent").1, stored);
        assert_eq!(copy_log(&log).expect("sent").1, stored);
    }
}
