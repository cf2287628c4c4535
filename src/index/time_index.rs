//! The time index of a segment: up to which offset no record is younger than a timestamp.
//!
//! An entry says that no record up to and including its offset has a timestamp above its own. Its truth is the
//! segment's to check; its order is kept here: strictly increasing timestamps from 0 on, offsets that do not go back.

use std::io;
use std::path::Path;

use super::entry::{Entry, offset_misfit, relative_field};
use super::sparse::{Opened, SparseIndex, verify_prefix};
use super::written::Bytes;
use crate::error::Result;
use crate::fs::Env;
use crate::offset::{Offset, Timestamp};

/// One entry: the offset is absolute, on disk it is relative to the base offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: Timestamp,
    pub(crate) offset: Offset,
}

const _: () = assert!(TimeIndex::ENTRY_BYTES == TimeEntry::SIZE_BYTES as u64);

/// The file `<base>.timeindex`.
#[derive(Debug)]
pub(crate) struct TimeIndex {
    entries: SparseIndex<TimeEntry>,
}

impl TimeIndex {
    /// Bytes of an entry.
    pub(crate) const ENTRY_BYTES: u64 = 12;

    /// A new, active index; a file that had the name before is unlinked, for it may be mapped by readers.
    pub(crate) fn create(env: &Env, path: &Path, base: Offset, max_bytes: u64) -> Result<TimeIndex> {
        Ok(TimeIndex { entries: SparseIndex::create(env, path, base, max_bytes)? })
    }

    /// An active index that goes on behind the first `entries` entries of its file, which the caller knows to be
    /// good. What the file holds behind them (blank room, junk) is gone, in a new inode of the same name. An index
    /// that has reached `max_bytes` already is full.
    ///
    /// # Errors
    /// `Corrupt` if the file is missing or has fewer entries.
    pub(crate) fn resume(env: &Env, path: &Path, base: Offset, max_bytes: u64, entries: u64) -> Result<TimeIndex> {
        Ok(TimeIndex { entries: SparseIndex::resume(env, path, base, max_bytes, entries)? })
    }

    /// A read-only index, opened and mapped on first use; a file that is missing or empty is an empty index. A length
    /// that is no multiple of an entry counts the whole entries. `len_hint` saves asking for the length and is not
    /// believed. Whoever renames the file while lookups are still to come calls [`TimeIndex::ensure_open`] before.
    pub(crate) fn open_sealed(env: &Env, path: &Path, base: Offset, len_hint: Option<u64>) -> Result<TimeIndex> {
        Ok(TimeIndex { entries: SparseIndex::open_sealed(env, path, base, len_hint, Opened::Ours)? })
    }

    /// A read-only index of a directory that another process may be writing to: never mapped, since that process may
    /// cut the file. It holds what was in the file at the first use.
    pub(crate) fn open_foreign(env: &Env, path: &Path, base: Offset) -> Result<TimeIndex> {
        Ok(TimeIndex { entries: SparseIndex::open_sealed(env, path, base, None, Opened::Foreign)? })
    }

    /// Opens a sealed index now.
    pub(crate) fn ensure_open(&self) -> Result<()> {
        self.entries.ensure_open()
    }

    /// Appends an entry if its timestamp lies above the last one; the same timestamp again is nothing to do. One slot
    /// is kept for the entry that a segment gets when it rolls, which alone comes with `skip_full`.
    ///
    /// # Errors
    /// `Corrupt`, with the index unchanged, if it is full, or offset or timestamp lie below the last ones, or the
    /// offset does not fit the format. What the system says when the gathered entries do not get into the file; the
    /// new entry is left out then, which makes the index sparser and nothing else.
    pub(crate) fn maybe_append(&self, timestamp: Timestamp, offset: Offset, skip_full: bool) -> Result<()> {
        let entry = TimeEntry { timestamp, offset };
        let no_room = !skip_full && self.is_full();
        self.entries.append(entry, |last| {
            if no_room {
                return Err("the index is full but for the slot of the last entry");
            }
            let Some(last) = last else { return Ok(timestamp.as_millis() >= 0) };
            if offset < last.offset {
                return Err("its offset lies below the one before");
            }
            if timestamp < last.timestamp {
                return Err("its timestamp lies below the one before");
            }
            Ok(timestamp > last.timestamp)
        })
    }

    /// Whether at most one slot is left, which belongs to the last entry. Always true of an index opened sealed.
    pub(crate) fn is_full(&self) -> bool {
        self.entries() + 1 >= self.max_entries()
    }

    /// The number of entries, gathered ones included.
    pub(crate) fn entries(&self) -> u64 {
        self.entries.entries()
    }

    pub(crate) fn max_entries(&self) -> u64 {
        self.entries.max_entries()
    }

    /// The number of entries and the CRC-32C of their bytes, as of one instant. Gathered entries are counted, so the
    /// file keeps the promise only after [`TimeIndex::write_gathered`].
    pub(crate) fn mark(&self) -> (u64, u32) {
        self.entries.mark()
    }

    pub(crate) fn crc(&self) -> u32 {
        self.mark().1
    }

    pub(crate) fn first(&self) -> Result<Option<TimeEntry>> {
        self.entries.entry(0)
    }

    pub(crate) fn last(&self) -> Result<Option<TimeEntry>> {
        self.entries.last()
    }

    pub(crate) fn entry(&self, number: u64) -> Result<Option<TimeEntry>> {
        self.entries.entry(number)
    }

    /// The entry with the largest timestamp at or below the target: a search for it starts at that offset, or, where
    /// there is none, at the segment's start.
    pub(crate) fn lookup(&self, target: Timestamp) -> Result<Option<TimeEntry>> {
        self.entries.floor(|entry| entry.timestamp <= target)
    }

    /// How many entries lie below an offset.
    pub(crate) fn entries_below(&self, offset: Offset) -> Result<u64> {
        self.entries.entries_below(offset)
    }

    /// Writes the gathered entries to the file.
    pub(crate) fn write_gathered(&self) -> Result<()> {
        self.entries.write_gathered()
    }

    /// Writes the gathered entries and makes all durable. Runs beside appends and lookups.
    pub(crate) fn sync(&self) -> Result<()> {
        self.entries.sync()
    }

    /// Writes the gathered entries and makes the file exactly as long as they are; read-only from then on.
    pub(crate) fn seal(&self) -> Result<()> {
        self.entries.seal()
    }

    /// Removes the entries whose offset is at or above the given one from an active index.
    pub(crate) fn truncate_to(&self, offset: Offset) -> Result<()> {
        self.entries.truncate_to(offset)
    }

    /// How many leading entries in the file are in order and below the offset `end`. Understands the blank room
    /// behind the entries of a crashed Kafka.
    pub(crate) fn sound_prefix(&self, end: Offset) -> Result<u64> {
        Ok(self.entries.examine(|last, entry| fault(last, entry, end))?.0)
    }

    /// Refuses an index whose length or any entry is not sound.
    pub(crate) fn check(&self, end: Offset) -> Result<()> {
        self.entries.check(|last, entry| fault(last, entry, end))
    }

    /// Whether a file begins with so many entries of this checksum; one that is missing or too short does not.
    pub(crate) fn verify_prefix(env: &Env, path: &Path, entries: u64, crc: u32) -> Result<bool> {
        verify_prefix::<TimeEntry>(env, path, entries, crc)
    }
}

/// What an entry of a file breaks, given the one before it and the end of the segment.
fn fault(last: Option<TimeEntry>, entry: TimeEntry, end: Offset) -> Option<&'static str> {
    if entry.timestamp.as_millis() < 0 {
        return Some("its timestamp is negative");
    }
    if last.is_some_and(|last| entry.timestamp <= last.timestamp) {
        return Some("its timestamp does not lie above the one before");
    }
    if last.is_some_and(|last| entry.offset < last.offset) {
        return Some("its offset lies below the one before");
    }
    (entry.offset >= end).then_some("its offset lies behind the end of the segment")
}

impl Entry for TimeEntry {
    const SIZE_BYTES: usize = 12;
    const OFFSET_AT: u64 = 8;

    fn offset(self) -> Offset {
        self.offset
    }

    fn encode(self, base: Offset, into: &mut [u8]) {
        into[..8].copy_from_slice(&self.timestamp.as_millis().to_be_bytes());
        into[8..].copy_from_slice(&relative_field(self.offset, base).to_be_bytes());
    }

    fn read(bytes: &Bytes, at: u64, base: Offset) -> io::Result<TimeEntry> {
        let [t0, t1, t2, t3, t4, t5, t6, t7, a, b, c, d] = bytes.copy_at::<{ Self::SIZE_BYTES }>(at)?;
        Ok(TimeEntry {
            timestamp: Timestamp::from_millis(i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7])),
            offset: base + u64::from(u32::from_be_bytes([a, b, c, d])),
        })
    }

    fn misfit(self, base: Offset) -> Option<&'static str> {
        offset_misfit(self.offset, base)
    }

    fn is_blank(self, base: Offset) -> bool {
        self.timestamp.as_millis() == 0 && self.offset == base
    }
}
