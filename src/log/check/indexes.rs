//! Compares the entries of a segment's indexes with its batches, as both go by.
//!
//! Entries are read as they lie in the files, by calls; nothing is mapped and nothing is believed. The invariant it
//! owns: every entry that is not blank room is compared with the batch that it names, or is a finding, unless the
//! batches that could confirm it are damaged.
//!
//! An offset entry names the last offset of the batch at its position, or, written by Kafka before 4.0, of a later batch
//! of the same append: then it is coarse, and as right. A time entry `(T, O)` says that no record up to `O` is later than
//! `T`; it is written with the last offset of the first batch that has `T`.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::fs::{Env, OpenMode};
use crate::index::{OffsetEntry, OffsetIndex, TimeEntry, TimeIndex};
use crate::names::SegmentFile;
use crate::offset::{Offset, Position, Timestamp};
use crate::segment::{LogFile, last_nonzero, path};

use super::is_not_found;
use super::report::{FindingKind, IntegrityReport, Severity};

/// How the indexes of a segment are to be judged.
#[derive(Clone, Copy)]
pub(super) struct IndexTrust {
    /// What an entry that contradicts the log is: an error, or, where the next opening makes the index anew, a warning.
    pub(super) severity: Severity,
    /// The segment is the last one, where blank room may lie behind the entries.
    pub(super) last: bool,
    /// Somebody is writing: entries of batches behind the end are his.
    pub(super) live: bool,
}

/// A batch as an index knows it.
#[derive(Clone, Copy)]
pub(super) struct IndexedBatch {
    pub(super) position: Position,
    /// The end of the sound batch before it: between the two the bytes are damaged.
    pub(super) sound_end: Position,
    pub(super) last_offset: Offset,
    pub(super) max_timestamp: i64,
}

/// Both indexes of one segment.
pub(super) struct IndexChecks {
    offset: Option<OffsetCheck>,
    time: Option<TimeCheck>,
}

impl IndexChecks {
    /// Opens the indexes and says what is wrong with the files as such.
    pub(super) fn open(
        env: &Env,
        dir: &Path,
        base: Offset,
        trust: IndexTrust,
        report: &mut IntegrityReport,
    ) -> Result<IndexChecks> {
        let offset_path = path(dir, base, SegmentFile::OffsetIndex);
        let time_path = path(dir, base, SegmentFile::TimeIndex);
        let offset = match entries_in(env, &offset_path, OffsetIndex::ENTRY_BYTES, trust, report)? {
            Some(entries) => Some(OffsetCheck {
                index: OffsetIndex::open_foreign(env, &offset_path, base)?,
                entries: Entries { path: offset_path, trust, next: 0, count: entries },
                last: None,
                waiting: None,
            }),
            None => None,
        };
        let time = match entries_in(env, &time_path, TimeIndex::ENTRY_BYTES, trust, report)? {
            Some(entries) => Some(TimeCheck {
                index: TimeIndex::open_foreign(env, &time_path, base)?,
                entries: Entries { path: time_path, trust, next: 0, count: entries },
                last: None,
                max: None,
                behind_damage: false,
            }),
            None => None,
        };
        Ok(IndexChecks { offset, time })
    }

    /// Takes note of the next sound batch.
    pub(super) fn batch(&mut self, batch: IndexedBatch, report: &mut IntegrityReport) -> Result<()> {
        if let Some(offset) = &mut self.offset {
            offset.batch(batch, report)?;
        }
        if let Some(time) = &mut self.time {
            time.batch(batch, report)?;
        }
        Ok(())
    }

    /// Judges what is left behind the last sound batch. `torn` says that bytes lie there that the entries may speak of.
    pub(super) fn finish(self, end: Position, torn: bool, report: &mut IntegrityReport) -> Result<()> {
        if let Some(offset) = self.offset {
            offset.finish(end, torn, report)?;
        }
        if let Some(time) = self.time {
            time.finish(torn, report)?;
        }
        Ok(())
    }
}

/// How many entries a file holds, blank room behind them left out. `None` if there is no file.
fn entries_in(
    env: &Env,
    path: &Arc<Path>,
    entry_bytes: u64,
    trust: IndexTrust,
    report: &mut IntegrityReport,
) -> Result<Option<u64>> {
    let file = match LogFile::open(env, path, OpenMode::Read) {
        Ok(file) => Arc::new(file),
        Err(error) if is_not_found(&error) => {
            report.add(Severity::Note, path, None, None, FindingKind::MissingIndex);
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let len = file.len()?;
    if !len.is_multiple_of(entry_bytes) {
        let what = FindingKind::IndexLength { found: len, entry_bytes };
        // The writer may be in the middle of a write.
        let severity = if trust.live { Severity::Note } else { trust.severity };
        report.add(severity, path, Some(Position::new(len - len % entry_bytes)), None, what);
    }
    let whole = len / entry_bytes;
    let used = last_nonzero(&file, Position::ZERO, Position::new(len))?.value().div_ceil(entry_bytes);
    // One blank entry alone may be the first of all: offset and position, or time, 0.
    if used >= whole || whole == 1 {
        return Ok(Some(whole));
    }
    let bytes = (whole - used) * entry_bytes;
    let severity = if trust.last { Severity::Note } else { Severity::Warning };
    let position = Position::new(used * entry_bytes);
    report.add(severity, path, Some(position), None, FindingKind::BlankIndexRoom { bytes });
    Ok(Some(used))
}

/// The entries of one file and how far they were compared.
struct Entries {
    path: Arc<Path>,
    trust: IndexTrust,
    next: u64,
    count: u64,
}

impl Entries {
    fn tell(&self, report: &mut IntegrityReport, entry: u64, entry_bytes: u64, offset: Offset, why: &'static str) {
        self.tell_as(self.trust.severity, report, entry, entry_bytes, offset, why);
    }

    fn tell_as(
        &self,
        severity: Severity,
        report: &mut IntegrityReport,
        entry: u64,
        entry_bytes: u64,
        offset: Offset,
        why: &'static str,
    ) {
        let position = Position::new(entry * entry_bytes);
        report.add(severity, &self.path, Some(position), Some(offset), FindingKind::IndexEntry { entry, why });
    }

    /// How bad an entry is that speaks of what lies behind the last sound batch; `None` if it is the writer's affair.
    fn behind_the_end(&self, torn: bool) -> Option<Severity> {
        match self.trust {
            IndexTrust { live: true, last: true, .. } => None,
            IndexTrust { last: true, .. } if torn => Some(Severity::Warning),
            IndexTrust { severity, .. } => Some(severity),
        }
    }
}

struct OffsetCheck {
    index: OffsetIndex,
    entries: Entries,
    last: Option<OffsetEntry>,
    /// A coarse entry, by number, and the offset that a later batch must end with.
    waiting: Option<(u64, Offset)>,
}

impl OffsetCheck {
    fn batch(&mut self, batch: IndexedBatch, report: &mut IntegrityReport) -> Result<()> {
        while self.entries.next < self.entries.count {
            let number = self.entries.next;
            let Some(entry) = self.index.entry(number)? else { break };
            if entry.position > batch.position && self.in_order(entry) {
                break;
            }
            self.entries.next += 1;
            report.checked.offset_index_entries += 1;
            if !self.in_order(entry) {
                self.tell(report, number, entry.offset, "it does not lie behind the one before");
                continue;
            }
            self.last = Some(entry);
            if entry.position == batch.position && entry.offset >= batch.last_offset {
                self.settle_waiting(report, None);
                self.waiting = (entry.offset > batch.last_offset).then_some((number, entry.offset));
            } else if entry.position == batch.position {
                self.tell(report, number, entry.offset, "the batch at its position ends with another offset");
            } else if entry.position < batch.sound_end {
                self.tell(report, number, entry.offset, "no batch begins at its position");
            }
        }
        if self.waiting.is_some_and(|(_, offset)| batch.last_offset >= offset) {
            self.settle_waiting(report, Some(batch.last_offset));
        }
        Ok(())
    }

    fn in_order(&self, entry: OffsetEntry) -> bool {
        self.last.is_none_or(|last| entry.offset > last.offset && entry.position >= last.position)
    }

    /// A coarse entry is right if a batch ends with its offset.
    fn settle_waiting(&mut self, report: &mut IntegrityReport, found: Option<Offset>) {
        match self.waiting.take() {
            Some((number, offset)) if found == Some(offset) => {
                let position = Some(Position::new(number * OffsetIndex::ENTRY_BYTES));
                let what = FindingKind::CoarseIndexEntry { entry: number };
                report.add(Severity::Note, &self.entries.path, position, Some(offset), what);
            }
            Some((number, offset)) => self.tell(report, number, offset, "no batch ends with its offset"),
            None => {}
        }
    }

    fn tell(&self, report: &mut IntegrityReport, number: u64, offset: Offset, why: &'static str) {
        self.entries.tell(report, number, OffsetIndex::ENTRY_BYTES, offset, why);
    }

    fn finish(mut self, end: Position, torn: bool, report: &mut IntegrityReport) -> Result<()> {
        let severity = self.entries.behind_the_end(torn);
        if let (Some((number, offset)), Some(severity)) = (self.waiting.take(), severity) {
            let why = "no batch ends with its offset";
            self.entries.tell_as(severity, report, number, OffsetIndex::ENTRY_BYTES, offset, why);
        }
        while self.entries.next < self.entries.count {
            let number = self.entries.next;
            let Some(entry) = self.index.entry(number)? else { break };
            self.entries.next += 1;
            report.checked.offset_index_entries += 1;
            if entry.position < end && self.in_order(entry) {
                self.tell(report, number, entry.offset, "no batch begins at its position");
            } else if let Some(severity) = severity {
                let why = "its position lies behind the last batch, or before that of another entry";
                self.entries.tell_as(severity, report, number, OffsetIndex::ENTRY_BYTES, entry.offset, why);
            }
        }
        Ok(())
    }
}

struct TimeCheck {
    index: TimeIndex,
    entries: Entries,
    last: Option<TimeEntry>,
    /// The largest timestamp so far, and the last offset of the first batch that has it.
    max: Option<(i64, Offset)>,
    /// Batches are missing, so that the largest timestamp may be too small.
    behind_damage: bool,
}

impl TimeCheck {
    fn batch(&mut self, batch: IndexedBatch, report: &mut IntegrityReport) -> Result<()> {
        self.behind_damage |= batch.position > batch.sound_end;
        let before = self.max;
        if batch.max_timestamp >= 0 && before.is_none_or(|(max, _)| batch.max_timestamp > max) {
            self.max = Some((batch.max_timestamp, batch.last_offset));
        }
        while self.entries.next < self.entries.count {
            let number = self.entries.next;
            let Some(entry) = self.index.entry(number)? else { break };
            if entry.offset > batch.last_offset && self.in_order(entry) {
                break;
            }
            self.entries.next += 1;
            report.checked.time_index_entries += 1;
            if !self.in_order(entry) {
                self.tell(report, number, entry.offset, "it does not lie behind the one before");
                continue;
            }
            self.last = Some(entry);
            self.compare(number, entry, batch, before.map_or(-1, |(max, _)| max), report);
        }
        Ok(())
    }

    fn in_order(&self, entry: TimeEntry) -> bool {
        entry.timestamp >= Timestamp::from_millis(0)
            && self.last.is_none_or(|last| entry.timestamp > last.timestamp && entry.offset >= last.offset)
    }

    /// Compares an entry whose offset is the last of this batch, or lies before that.
    fn compare(&self, number: u64, entry: TimeEntry, batch: IndexedBatch, before: i64, report: &mut IntegrityReport) {
        let (max, first) = self.max.unwrap_or((-1, entry.offset));
        let time = entry.timestamp.as_millis();
        let mut tell = |severity, why| {
            self.entries.tell_as(severity, report, number, TimeIndex::ENTRY_BYTES, entry.offset, why);
        };
        let ends_the_batch = entry.offset == batch.last_offset;
        if time < before || (ends_the_batch && time < max) {
            tell(self.entries.trust.severity, "a record up to its offset is later than its timestamp");
        } else if time > max && !self.behind_damage {
            tell(self.entries.trust.severity, "no record up to its offset has its timestamp");
        } else if !ends_the_batch && !self.behind_damage {
            tell(Severity::Warning, "no batch ends with its offset");
        } else if first != entry.offset && !self.behind_damage {
            tell(Severity::Warning, "an earlier batch has its timestamp");
        }
    }

    fn tell(&self, report: &mut IntegrityReport, number: u64, offset: Offset, why: &'static str) {
        self.entries.tell(report, number, TimeIndex::ENTRY_BYTES, offset, why);
    }

    fn finish(mut self, torn: bool, report: &mut IntegrityReport) -> Result<()> {
        let Some(severity) = self.entries.behind_the_end(torn) else { return Ok(()) };
        while self.entries.next < self.entries.count {
            let number = self.entries.next;
            let Some(entry) = self.index.entry(number)? else { break };
            self.entries.next += 1;
            report.checked.time_index_entries += 1;
            let why = "its offset lies behind the last batch";
            self.entries.tell_as(severity, report, number, TimeIndex::ENTRY_BYTES, entry.offset, why);
        }
        Ok(())
    }
}
