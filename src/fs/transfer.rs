//! Whole transfers made of the seam's single calls: the loops around short writes, short reads and EINTR (rule 6).
//!
//! Nothing here knows what the bytes mean or decides what a failure means. The invariant it owns: a failed write says
//! how many bytes it left in the file, for the caller must cut them off again.

use std::io::{self, IoSlice};

use super::File;
use crate::offset::Position;

/// The most parts that one vectored write takes (`IOV_MAX`).
const MAX_PARTS: usize = 1024;

/// The most bytes that one transfer moves: Linux cuts longer ones short at this length.
const MAX_TRANSFER_BYTES: usize = 0x7fff_f000;

/// A write that failed on its way: what stands in the file already, and why it went no further.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) written: u64,
    pub(crate) error: io::Error,
}

/// Writes all bytes.
pub(crate) fn write_all_at(file: &File, bytes: &[u8], at: Position) -> Result<(), Partial> {
    let mut progress = Progress { at, written: 0 };
    let mut rest = bytes;
    while !rest.is_empty() {
        let part = &rest[..rest.len().min(MAX_TRANSFER_BYTES)];
        let moved = progress.step(|at| file.write_at(part, at))?;
        rest = &rest[moved..];
    }
    Ok(())
}

/// Writes all bytes of all parts, one after the other. The parts are used up.
pub(crate) fn write_all_vectored_at(file: &File, parts: &mut [IoSlice<'_>], at: Position) -> Result<(), Partial> {
    // The system imports and walks a list of parts, which one part can do without.
    if let [only] = parts {
        return write_all_at(file, only, at);
    }
    let mut progress = Progress { at, written: 0 };
    let mut rest = parts;
    IoSlice::advance_slices(&mut rest, 0);
    while let Some(first) = rest.first() {
        let moved = match parts_of_one_transfer(rest, MAX_TRANSFER_BYTES) {
            0 => progress.step(|at| file.write_at(&first[..MAX_TRANSFER_BYTES], at))?,
            count => progress.step(|at| file.write_vectored_at(&rest[..count], at))?,
        };
        IoSlice::advance_slices(&mut rest, moved);
    }
    Ok(())
}

/// Reads until `into` is full or the file ends, and says how many bytes came.
pub(crate) fn read_exact_at(file: &File, into: &mut [u8], at: Position) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        let from = at + u64::try_from(filled).expect("a length in memory fits 64 bits");
        match retry(|| file.read_at(&mut into[filled..], from))? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Repeats a call for as long as it is interrupted.
///
/// Not for syncs: one that was interrupted may have used up the report of an earlier failure (rules 17, 19), so it
/// counts as failed.
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

struct Progress {
    at: Position,
    written: u64,
}

impl Progress {
    /// One transfer that moves at least a byte.
    fn step(&mut self, mut transfer: impl FnMut(Position) -> io::Result<usize>) -> Result<usize, Partial> {
        let at = self.at + self.written;
        match retry(|| transfer(at)) {
            Ok(0) => Err(Partial { written: self.written, error: io::ErrorKind::WriteZero.into() }),
            Ok(moved) => {
                self.written += u64::try_from(moved).expect("a length in memory fits 64 bits");
                Ok(moved)
            }
            Err(error) => Err(Partial { written: self.written, error }),
        }
    }
}

/// How many of the first parts fit into one transfer; 0 if the first alone is too long.
fn parts_of_one_transfer(parts: &[IoSlice<'_>], max_bytes: usize) -> usize {
    let mut room = max_bytes;
    let fits = |part: &&IoSlice<'_>| match room.checked_sub(part.len()) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    parts.iter().take(MAX_PARTS).take_while(fits).count()
}
