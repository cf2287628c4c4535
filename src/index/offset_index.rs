//! The offset index of a segment: at which byte of the `.log` to begin looking for an offset.
//!
//! An entry holds the last offset of a batch and the position of that batch (or, in files of old Kafkas, of the first
//! batch of the append that ended with the offset). Its truth is the segment's to check; its order is kept here:
//! strictly increasing offsets, positions that do not go back.

use std::io;
use std::path::Path;

use super::entry::{Entry, FIELD_MAX, offset_misfit, relative_field};
use super::sparse::{Opened, SparseIndex, verify_prefix};
use super::written::Bytes;
use crate::error::Result;
use crate::fs::Env;
use crate::offset::{Offset, Position};

/// One entry: the offset is absolute, on disk it is relative to the base offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub(crate) offset: Offset,
    pub(crate) position: Position,
}

const _: () = assert!(OffsetIndex::ENTRY_BYTES == OffsetEntry::SIZE_BYTES as u64);

/// The file `<base>.index`.
#[derive(Debug)]
pub(crate) struct OffsetIndex {
    entries: SparseIndex<OffsetEntry>,
}

impl OffsetIndex {
    /// Bytes of an entry.
    pub(crate) const ENTRY_BYTES: u64 = 8;

    /// A new, active index; a file that had the name before is unlinked, for it may be mapped by readers.
    pub(crate) fn create(env: &Env, path: &Path, base: Offset, max_bytes: u64) -> Result<OffsetIndex> {
        Ok(OffsetIndex { entries: SparseIndex::create(env, path, base, max_bytes)? })
    }

    /// An active index that goes on behind the first `entries` entries of its file, which the caller knows to be
    /// good. What the file holds behind them (blank room, junk) is gone, in a new inode of the same name. An index
    /// that has reached `max_bytes` already is full.
    ///
    /// # Errors
    /// `Corrupt` if the file is missing or has fewer entries.
    pub(crate) fn resume(env: &Env, path: &Path, base: Offset, max_bytes: u64, entries: u64) -> Result<OffsetIndex> {
        Ok(OffsetIndex { entries: SparseIndex::resume(env, path, base, max_bytes, entries)? })
    }

    /// A read-only index, opened and mapped on first use; a file that is missing or empty is an empty index. A length
    /// that is no multiple of an entry counts the whole entries. `len_hint` saves asking for the length and is not
    /// believed. Whoever renames the file while lookups are still to come calls [`OffsetIndex::ensure_open`] before.
    pub(crate) fn open_sealed(env: &Env, path: &Path, base: Offset, len_hint: Option<u64>) -> Result<OffsetIndex> {
        Ok(OffsetIndex { entries: SparseIndex::open_sealed(env, path, base, len_hint, Opened::Ours)? })
    }

    /// A read-only index of a directory that another process may be writing to: never mapped, since that process may
    /// cut the file. It holds what was in the file at the first use.
    pub(crate) fn open_foreign(env: &Env, path: &Path, base: Offset) -> Result<OffsetIndex> {
        Ok(OffsetIndex { entries: SparseIndex::open_sealed(env, path, base, None, Opened::Foreign)? })
    }

    /// Opens a sealed index now.
    pub(crate) fn ensure_open(&self) -> Result<()> {
        self.entries.ensure_open()
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// `Corrupt`, with the index unchanged, if it is full, or the offset does not lie above the last one, or offset or
    /// position do not fit the format. What the system says when the gathered entries do not get into the file; the
    /// new entry is left out then, which makes the index sparser and nothing else.
    pub(crate) fn append(&self, offset: Offset, position: Position) -> Result<()> {
        let entry = OffsetEntry { offset, position };
        self.entries.append(entry, |last| fault(last, entry).map_or(Ok(true), Err))
    }

    /// Whether no further entry fits. Always true of an index that was opened sealed.
    pub(crate) fn is_full(&self) -> bool {
        self.entries() >= self.max_entries()
    }

    /// The number of entries, gathered ones included.
    pub(crate) fn entries(&self) -> u64 {
        self.entries.entries()
    }

    pub(crate) fn max_entries(&self) -> u64 {
        self.entries.max_entries()
    }

    /// The number of entries and the CRC-32C of their bytes, as of one instant. Gathered entries are counted, so the
    /// file keeps the promise only after [`OffsetIndex::write_gathered`].
    pub(crate) fn mark(&self) -> (u64, u32) {
        self.entries.mark()
    }

    pub(crate) fn crc(&self) -> u32 {
        self.mark().1
    }

    pub(crate) fn last(&self) -> Result<Option<OffsetEntry>> {
        self.entries.last()
    }

    pub(crate) fn entry(&self, number: u64) -> Result<Option<OffsetEntry>> {
        self.entries.entry(number)
    }

    /// The entry with the largest offset at or below the target; without one the segment's start.
    pub(crate) fn lookup(&self, target: Offset) -> Result<OffsetEntry> {
        let (found, _) = self.entries.around_offset(target)?;
        Ok(found.unwrap_or(OffsetEntry { offset: self.entries.base(), position: Position::ZERO }))
    }

    /// The entry that [`OffsetIndex::lookup`] gives, and the first one behind the target.
    pub(crate) fn around(&self, target: Offset) -> Result<(OffsetEntry, Option<OffsetEntry>)> {
        let (found, behind) = self.entries.around_offset(target)?;
        Ok((found.unwrap_or(OffsetEntry { offset: self.entries.base(), position: Position::ZERO }), behind))
    }

    /// The last entry that lies neither behind a position nor at or above an offset.
    pub(crate) fn last_within(&self, position: Position, end: Offset) -> Result<Option<OffsetEntry>> {
        self.entries.floor(|entry| entry.position <= position && entry.offset < end)
    }

    /// The first entry at or behind a position: a bound, not a tight one, on the offsets of a fetch that ends there.
    #[allow(dead_code, reason = "slices end at a batch, not at a bound; tests hold it to Kafka's answers")]
    pub(crate) fn upper_bound_by_position(&self, position: Position) -> Result<Option<OffsetEntry>> {
        self.entries.ceiling(|entry| entry.position < position)
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

    /// Removes the entries at and above an offset from an active index.
    pub(crate) fn truncate_to(&self, offset: Offset) -> Result<()> {
        self.entries.truncate_to(offset)
    }

    /// How many leading entries in the file are in order, below `log_len` and below the offset `end`. Understands the
    /// blank room behind the entries of a crashed Kafka.
    pub(crate) fn sound_prefix(&self, log_len: Position, end: Offset) -> Result<u64> {
        Ok(self.entries.examine(|last, entry| fault(last, entry).or_else(|| outside(entry, log_len, end)))?.0)
    }

    /// Refuses an index whose length or any entry is not sound.
    pub(crate) fn check(&self, log_len: Position, end: Offset) -> Result<()> {
        self.entries.check(|last, entry| fault(last, entry).or_else(|| outside(entry, log_len, end)))
    }

    /// Whether a file begins with so many entries of this checksum; one that is missing or too short does not.
    pub(crate) fn verify_prefix(env: &Env, path: &Path, entries: u64, crc: u32) -> Result<bool> {
        verify_prefix::<OffsetEntry>(env, path, entries, crc)
    }
}

/// What an entry breaks of the order, given the one before it.
fn fault(last: Option<OffsetEntry>, entry: OffsetEntry) -> Option<&'static str> {
    let last = last?;
    if entry.offset <= last.offset {
        return Some("its offset does not lie above the one before");
    }
    (entry.position < last.position).then_some("its position lies before the one before")
}

fn outside(entry: OffsetEntry, log_len: Position, end: Offset) -> Option<&'static str> {
    if entry.offset >= end {
        return Some("its offset lies behind the end of the segment");
    }
    (entry.position >= log_len).then_some("its position lies behind the end of the log file")
}

impl Entry for OffsetEntry {
    const SIZE_BYTES: usize = 8;
    const OFFSET_AT: u64 = 0;

    fn offset(self) -> Offset {
        self.offset
    }

    fn encode(self, base: Offset, into: &mut [u8]) {
        let position = u32::try_from(self.position.value()).expect("entries that do not fit are refused");
        into[..4].copy_from_slice(&relative_field(self.offset, base).to_be_bytes());
        into[4..].copy_from_slice(&position.to_be_bytes());
    }

    fn read(bytes: &Bytes, at: u64, base: Offset) -> io::Result<OffsetEntry> {
        let [a, b, c, d, e, f, g, h] = bytes.copy_at::<{ Self::SIZE_BYTES }>(at)?;
        Ok(OffsetEntry {
            offset: base + u64::from(u32::from_be_bytes([a, b, c, d])),
            position: Position::new(u64::from(u32::from_be_bytes([e, f, g, h]))),
        })
    }

    fn misfit(self, base: Offset) -> Option<&'static str> {
        let position = (self.position.value() > FIELD_MAX).then_some("its position is more than 2^31 - 1");
        offset_misfit(self.offset, base).or(position)
    }

    fn is_blank(self, base: Offset) -> bool {
        self.offset == base && self.position == Position::ZERO
    }
}
