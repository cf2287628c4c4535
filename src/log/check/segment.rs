//! Goes through one segment: every batch, every record, every index entry, one after the other.
//!
//! What is a sound batch is judged by the walk that recovery uses; what lies behind damage is searched by it too. The
//! invariants it owns: memory is that of one batch and one chunk of the file, and of the damaged ranges; the bytes at and
//! behind the end that was given are not looked at.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Corruption, Error, Result};
use crate::fs::{Env, OpenMode};
use crate::offset::{Offset, Position};
use crate::record::{BatchHeader, DecodeLimits};
use crate::segment::{LogFile, Recovered, Recovery, Scanner, Tail, recover};

use super::batch::BatchPlace;
use super::epochs::EpochCheck;
use super::indexes::{IndexChecks, IndexTrust, IndexedBatch};
use super::report::{FindingKind, IntegrityReport, Severity};

/// A segment and the rules by which it is judged.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) base: Offset,
    pub(super) path: Arc<Path>,
    /// Whether the `.log` has its final name, so that the indexes beside it are its own.
    pub(super) indexed: bool,
    pub(super) end: Position,
    /// The base offset of the next segment.
    pub(super) upper: Option<Offset>,
    pub(super) gaps_allowed: bool,
    /// What lies below was durable: what is not sound there is damage.
    pub(super) durable: Durable,
    pub(super) trust: IndexTrust,
    /// What a tail behind the durable part is.
    pub(super) tail_severity: Severity,
}

/// Which part of a segment was durable, as far as anybody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    /// All of it.
    Whole,
    /// What lies below this place, where this offset is due. What is not sound behind it ends the log.
    Below(Position, Offset),
    /// Nobody says: sound batches behind what is not sound tell that it is damage.
    Unknown,
}

/// Where the sound batches of a segment end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walked {
    pub(super) next_offset: Offset,
    /// The segment ends in bytes that the next opening cuts off, and the log with it.
    pub(super) torn: bool,
}

impl Task {
    /// Checks the segment.
    pub(super) fn run(
        &self,
        env: &Env,
        dir: &Path,
        limits: DecodeLimits,
        epochs: &mut EpochCheck,
        report: &mut IntegrityReport,
    ) -> Result<Walked> {
        let log = Arc::new(LogFile::open(env, &self.path, OpenMode::Read)?);
        report.checked.segments += 1;
        report.checked.bytes += self.end.value();
        let indexes =
            if self.indexed { Some(IndexChecks::open(env, dir, self.base, self.trust, report)?) } else { None };
        let scan = Scanner::new(Arc::clone(&log), Position::ZERO, self.end);
        let mut walk =
            Walk { task: self, log, scan, indexes, limits, epochs, report, due: self.base, sound_end: Position::ZERO };
        let tail = match self.durable {
            Durable::Below(mark, due) if mark <= self.end => {
                let tail = walk.part(Position::ZERO, mark, true, true)?;
                walk.tell_damage_at_the_end(tail, due);
                walk.due = walk.due.max(due);
                walk.sound_end = mark;
                walk.part(mark, self.end, false, self.gaps_allowed)?
            }
            _ => walk.part(Position::ZERO, self.end, true, true)?,
        };
        walk.finish(tail)
    }
}

struct Walk<'a> {
    task: &'a Task,
    log: Arc<LogFile>,
    /// Follows the walk, for the bytes of the batches that it finds sound.
    scan: Scanner,
    indexes: Option<IndexChecks>,
    limits: DecodeLimits,
    epochs: &'a mut EpochCheck,
    report: &'a mut IntegrityReport,
    /// The offset behind the last sound batch.
    due: Offset,
    sound_end: Position,
}

impl Walk<'_> {
    /// Walks `start..end`. The walk puts up with gaps where `lenient`, and they are told here, so that what lies behind
    /// one is looked at too.
    fn part(&mut self, start: Position, end: Position, search_behind: bool, lenient: bool) -> Result<Option<Tail>> {
        let log = Arc::clone(&self.log);
        let recovery = Recovery {
            log: &log,
            base: self.task.base,
            start,
            next_offset: self.due,
            end,
            upper: self.task.upper,
            gaps_allowed: lenient,
            search_behind,
        };
        let mut failed = None;
        let found = recover(&recovery, |position, header, _| {
            if failed.is_none() {
                failed = self.batch(position, header).err();
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        self.tell_damage(&found);
        Ok(found.tail)
    }

    fn batch(&mut self, position: Position, header: &BatchHeader) -> Result<()> {
        let behind_damage = position > self.sound_end;
        if let Some(found) = header.base_offset().filter(|&base| base > self.due && !behind_damage) {
            if self.task.gaps_allowed {
                self.report.checked.gaps += 1;
            } else {
                let what = FindingKind::OffsetGap { found, expected: self.due };
                self.report.add(Severity::Error, &self.task.path, Some(position), Some(found), what);
            }
        }
        self.scan.skip_to(position);
        let bytes = self.scan.batch(header)?.to_vec();
        let place = BatchPlace {
            path: &self.task.path,
            position,
            due: self.due,
            gaps_allowed: self.task.gaps_allowed || (header.is_legacy() && behind_damage),
            limits: self.limits,
        };
        place.check(header, bytes, self.report);
        self.epochs.batch(header, &self.task.path, position, self.report);
        if let Some(indexes) = &mut self.indexes {
            let batch = IndexedBatch {
                position,
                sound_end: self.sound_end,
                last_offset: header.last_offset(),
                max_timestamp: header.max_timestamp,
            };
            indexes.batch(batch, self.report)?;
        }
        self.sound_end = position + header.size_bytes;
        self.due = header.next_offset();
        Ok(())
    }

    fn tell_damage(&mut self, found: &Recovered) {
        for damaged in &found.damage {
            let what = FindingKind::Batch(damaged.reason);
            let (position, offset) = (Some(damaged.start), Some(damaged.first_offset));
            self.report.add(Severity::Error, &self.task.path, position, offset, what);
        }
    }

    /// What is not sound before the durable mark, or batches that end before the offset that was durable.
    fn tell_damage_at_the_end(&mut self, tail: Option<Tail>, due: Offset) {
        let (position, what) = match tail {
            Some(tail) => (tail.start, FindingKind::Batch(tail.reason)),
            None if self.due < due => {
                let reason = Corruption::EndMissing { found: self.due.to_disk(), durable: due.to_disk() };
                (self.sound_end, FindingKind::Batch(reason))
            }
            None => return,
        };
        self.report.add(Severity::Error, &self.task.path, Some(position), Some(self.due), what);
    }

    fn finish(self, tail: Option<Tail>) -> Result<Walked> {
        let Walk { task, indexes, report, due, sound_end, .. } = self;
        let mut torn = false;
        if let Some(tail) = tail {
            let harmless_zeros = tail.is_zeros() && task.upper.is_none_or(|upper| upper == due);
            let bytes = tail.end - tail.start;
            let damage = task.durable == Durable::Whole || (task.durable == Durable::Unknown && tail.unsure);
            let (severity, what) = if harmless_zeros {
                (Severity::Note, FindingKind::ZeroTail { bytes })
            } else if damage || (task.durable == Durable::Unknown && task.upper.is_some()) {
                (Severity::Error, FindingKind::Batch(tail.reason))
            } else {
                torn = true;
                (task.tail_severity, FindingKind::TornTail { bytes, reason: tail.reason })
            };
            report.add(severity, &task.path, Some(tail.start), Some(due), what);
        }
        if let Some(indexes) = indexes {
            indexes.finish(sound_end, tail.is_some(), report)?;
        }
        Ok(Walked { next_offset: due, torn })
    }
}

/// What an error of one segment's files is, as a finding.
pub(super) fn tell_unreadable(report: &mut IntegrityReport, path: &Path, error: Error, severity: Severity) {
    match error {
        Error::Corrupt { path, position, reason } => {
            report.add(severity, &path, Some(position), None, FindingKind::Batch(reason));
        }
        error => report.add(severity, path, None, None, FindingKind::Unreadable { error }),
    }
}
