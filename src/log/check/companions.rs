//! Checks the small files beside the segments: indexes of aborted transactions, producer snapshots, topic id.
//!
//! It compares them with nothing but their own rules and the bounds of their segment. They are derived from the log, and
//! Kafka makes them anew where they are missing or wrong, so that what is wrong with a snapshot is a warning. The
//! invariant it owns: no file is read into memory that is larger than [`MOST_SNAPSHOT_BYTES`].

use std::path::Path;
use std::sync::Arc;

use crate::checkpoint;
use crate::error::{Corruption, Error, Result};
use crate::fs::{Env, OpenMode};
use crate::offset::{Offset, Position};
use crate::segment::LogFile;

use super::report::{FindingKind, IntegrityReport, Severity};

/// No producer snapshot has a million producers.
const MOST_SNAPSHOT_BYTES: u64 = 64 << 20;
const SNAPSHOT_VERSION: i16 = 1;
/// Version, checksum, and the number of entries.
const SNAPSHOT_HEAD_BYTES: usize = 10;
/// Where the bytes begin that the checksum covers.
const SNAPSHOT_CRC_FROM: usize = 6;
const SNAPSHOT_ENTRY_BYTES: usize = 46;
const ABORTED_ENTRY_BYTES: usize = 34;
/// Entries read at once.
const ABORTED_CHUNK_ENTRIES: usize = 1024;

/// Checks one producer snapshot.
pub(super) fn check_snapshot(env: &Env, path: &Arc<Path>, offset: Offset, report: &mut IntegrityReport) -> Result<()> {
    let file = LogFile::open(env, path, OpenMode::Read)?;
    let len = file.len()?;
    let fault = if len > MOST_SNAPSHOT_BYTES {
        Some(Corruption::Content { expected: "a snapshot of at most 64 MiB" })
    } else {
        let mut bytes = vec![0; usize::try_from(len).expect("it is at most 64 MiB")];
        let read = file.read(&mut bytes, Position::ZERO)?;
        snapshot_fault(&bytes[..read])
    };
    if let Some(reason) = fault {
        report.add(Severity::Warning, path, None, Some(offset), FindingKind::Content(reason));
    }
    Ok(())
}

fn snapshot_fault(bytes: &[u8]) -> Option<Corruption> {
    let Some(([v0, v1, c0, c1, c2, c3, n0, n1, n2, n3], entries)) = bytes.split_first_chunk::<SNAPSHOT_HEAD_BYTES>()
    else {
        return Some(Corruption::Truncated { needed: SNAPSHOT_HEAD_BYTES as u64, available: bytes.len() as u64 });
    };
    if i16::from_be_bytes([*v0, *v1]) != SNAPSHOT_VERSION {
        return Some(Corruption::Content { expected: "version 1 of a producer snapshot" });
    }
    let stored = u32::from_be_bytes([*c0, *c1, *c2, *c3]);
    let computed = crc32c::crc32c(&bytes[SNAPSHOT_CRC_FROM..]);
    if stored != computed {
        return Some(Corruption::Crc { stored, computed });
    }
    let count = i32::from_be_bytes([*n0, *n1, *n2, *n3]);
    let whole =
        usize::try_from(count).is_ok_and(|count| count.checked_mul(SNAPSHOT_ENTRY_BYTES) == Some(entries.len()));
    (!whole).then_some(Corruption::Content { expected: "as many producers as the snapshot counts" })
}

/// Checks the index of aborted transactions of one segment, which ends before `end`.
pub(super) fn check_transaction_index(
    env: &Env,
    path: &Arc<Path>,
    base: Offset,
    end: Offset,
    live: bool,
    report: &mut IntegrityReport,
) -> Result<()> {
    let file = LogFile::open(env, path, OpenMode::Read)?;
    let mut chunk = vec![0; ABORTED_CHUNK_ENTRIES * ABORTED_ENTRY_BYTES];
    let (mut position, mut number, mut last) = (Position::ZERO, 0, None);
    loop {
        let read = file.read(&mut chunk, position)?;
        let (entries, rest) = chunk[..read].as_chunks::<ABORTED_ENTRY_BYTES>();
        for bytes in entries {
            let entry = AbortedEntry::decode(bytes);
            if let Some(why) = entry.fault(base, end, last, live) {
                let at = Position::new(number * ABORTED_ENTRY_BYTES as u64);
                let offset = Offset::from_disk(entry.last_offset);
                report.add(Severity::Error, path, Some(at), offset, FindingKind::IndexEntry { entry: number, why });
            }
            last = Some(entry.last_offset);
            number += 1;
        }
        if read < chunk.len() {
            report.checked.transaction_index_entries += number;
            if !rest.is_empty() {
                let found = number * ABORTED_ENTRY_BYTES as u64 + rest.len() as u64;
                let what = FindingKind::IndexLength { found, entry_bytes: ABORTED_ENTRY_BYTES as u64 };
                let at = Position::new(found - rest.len() as u64);
                report.add(Severity::Warning, path, Some(at), None, what);
            }
            return Ok(());
        }
        position += read as u64;
    }
}

/// An aborted transaction: version, producer, first offset, offset of the marker, last stable offset.
struct AbortedEntry {
    version: i16,
    producer_id: i64,
    first_offset: i64,
    last_offset: i64,
    last_stable_offset: i64,
}

impl AbortedEntry {
    fn decode(bytes: &[u8; ABORTED_ENTRY_BYTES]) -> AbortedEntry {
        let ([v0, v1], fields) = bytes.split_first_chunk::<2>().expect("an entry is longer");
        let mut numbers = [0; 4];
        for (number, field) in numbers.iter_mut().zip(fields.as_chunks::<8>().0) {
            *number = i64::from_be_bytes(*field);
        }
        let [producer_id, first_offset, last_offset, last_stable_offset] = numbers;
        AbortedEntry {
            version: i16::from_be_bytes([*v0, *v1]),
            producer_id,
            first_offset,
            last_offset,
            last_stable_offset,
        }
    }

    fn fault(&self, base: Offset, end: Offset, last: Option<i64>, live: bool) -> Option<&'static str> {
        if self.version != 0 {
            return Some("its version is not 0");
        }
        if self.last_offset < base.to_disk() {
            return Some("its last offset lies below the base offset");
        }
        if self.last_offset >= end.to_disk() && !live {
            return Some("its last offset lies behind the end of the segment");
        }
        if last.is_some_and(|last| self.last_offset <= last) {
            return Some("its last offset does not lie above the one before");
        }
        if self.producer_id < 0 || self.first_offset < 0 || self.first_offset > self.last_offset {
            return Some("it names no producer, or begins behind its end");
        }
        (self.last_stable_offset < 0 || self.last_stable_offset > self.last_offset.saturating_add(1))
            .then_some("its last stable offset lies behind the transaction")
    }
}

/// Checks `partition.metadata`.
pub(super) fn check_topic_id(env: &Env, dir: &Path, report: &mut IntegrityReport) -> Result<()> {
    match checkpoint::read_partition_metadata(env, dir) {
        Ok(_) => Ok(()),
        Err(Error::Corrupt { path, position, reason }) => {
            report.add(Severity::Error, &path, Some(position), None, FindingKind::Content(reason));
            Ok(())
        }
        Err(error) => Err(error),
    }
}
