//! Checks a log's files from first to last byte, and changes none: names, batches, records, indexes, and the small files.
//!
//! | file | what |
//! |---|---|
//! | `report`, `json` | findings, and how they are told |
//! | `names` | what is foreign or left over |
//! | `segment`, `batch`, `indexes` | one segment: every batch, every record, every index entry |
//! | `epochs`, `companions` | leader epochs; transaction indexes, producer snapshots, the topic id |
//! | `account` | `kstore.state` against what lies there |
//!
//! It mends nothing and decides nothing: what an opening would do stands in `open/`. Invariants it owns: no lock is taken
//! that appends wait for; no finding ends the check. An open log is checked up to the end that was published when the
//! check came to each segment; a segment that was truncated or deleted meanwhile is checked again, or passed over.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Corruption, Error, Result};
use crate::fs::Env;
use crate::names::{DATA_DIRECTORY_MARKERS, LOCK};
use crate::offset::{Offset, Position};
use crate::segment::Segment;
use crate::state::State;

use super::core::Core;
use super::open::directory::{self, Listing, Source};
use super::open::recovery::file_size;
use super::{Log, Reader};

mod account;
mod batch;
mod companions;
mod epochs;
mod indexes;
mod json;
mod names;
mod report;
mod segment;

#[cfg(test)]
mod tests;

pub use report::{Checked, Finding, FindingKind, IntegrityReport, Severity};

use account::Account;
use epochs::EpochCheck;
use indexes::IndexTrust;
use segment::{Durable, Task, Walked, tell_unreadable};

/// How often a segment of an open log is checked that changes under the check.
const ATTEMPTS_MOST: usize = 3;

impl Log {
    /// Checks every byte of the log's files that can be checked: names, batches, checksums, records of all codecs,
    /// offsets, timestamps, index entries, leader epochs, producer snapshots, and `kstore.state`. Nothing is changed or
    /// mended, and no append waits. It takes as long as reading the whole log.
    ///
    /// What is published when the check comes to it is checked; appends go on meanwhile. A finding does not end it:
    /// behind damage it goes on at the next sound batch.
    ///
    /// Not found is what no checksum and no rule covers: in a log without leader epochs, that of the last batch; in a
    /// directory that nobody vouches for, offsets of the last batch that were raised.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use kstore::{Log, LogConfig, Record};
    /// # let dir = tempfile::tempdir()?;
    /// let log = Log::open(dir.path().join("orders-0"), LogConfig::default())?;
    /// log.append(&[Record::new("o-7", "paid")])?;
    /// let report = log.check_integrity()?;
    /// assert!(report.is_clean());
    /// assert_eq!(report.checked.records, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Io` if the directory cannot be listed, or its small files not be read; `Closed`. A segment that cannot be read is
    /// a finding.
    #[doc(alias = "verify")]
    #[doc(alias = "fsck")]
    pub fn check_integrity(&self) -> Result<IntegrityReport> {
        self.reader().check_integrity()
    }
}

impl Reader {
    /// As [`Log::check_integrity`]. A directory that was opened for reading only is checked as it lies there now, torn
    /// tails and leftovers included: clean, crashed, live, or Kafka's own.
    ///
    /// # Errors
    /// As [`Log::check_integrity`].
    pub fn check_integrity(&self) -> Result<IntegrityReport> {
        check(&self.core)
    }
}

fn check(core: &Core) -> Result<IntegrityReport> {
    if core.is_closed() {
        return Err(Error::Closed);
    }
    let (env, dir) = (core.env(), core.dir());
    let live = !core.is_read_only() || env.is_locked(&dir.join(LOCK)).unwrap_or(false);
    let mut report = IntegrityReport { dir: dir.to_path_buf(), live, ..IntegrityReport::default() };
    let companions = names::check(env, dir, live, &mut report)?;
    let epochs = EpochCheck::read(env, dir, &mut report)?;
    companions::check_topic_id(env, dir, &mut report)?;
    let ends = if core.is_read_only() {
        check_directory(core, live, epochs, &mut report)?
    } else {
        check_open_log(core, epochs, &mut report)?
    };
    for (base, path) in &companions.transaction_indexes {
        let end = ends.range(*base..).next().map_or(Offset::MAX, |(_, end)| *end);
        let answer = companions::check_transaction_index(env, path, *base, end, live, &mut report);
        tell_if_unreadable(answer, path, live, &mut report);
    }
    for (offset, path) in &companions.snapshots {
        let answer = companions::check_snapshot(env, path, *offset, &mut report);
        tell_if_unreadable(answer, path, live, &mut report);
    }
    Ok(report)
}

/// Where each segment ends.
type Ends = BTreeMap<Offset, Offset>;

/// Checks a log that this process writes: nothing of it is unsure.
fn check_open_log(core: &Core, mut epochs: EpochCheck, report: &mut IntegrityReport) -> Result<Ends> {
    // A damaged slot is told; what the state says is the open log's to keep true.
    Account::read(core.env(), core.dir(), &BTreeMap::new(), true, report)?;
    report.log_start_offset = core.log_start();
    let mut ends = Ends::new();
    let mut next = core.all_segments().into_iter().next();
    while let Some(segment) = next {
        let base = segment.base();
        // Before the segment is walked: what is below was in it by then. A segment that begins above may follow a part of
        // this one that was appended, or shown, only since.
        let visible = core.log_end();
        check_open_segment(core, segment, &mut epochs, &mut ends, report);
        if core.is_closed() {
            return Err(Error::Closed);
        }
        next = core.segment_after(base).filter(|next| next.base() <= visible);
        let due = ends.values().next_back().copied();
        if let (Some(due), Some(next)) = (due, &next) {
            tell_border(report, &next.log_path(), next.base(), due, core.gaps_allowed());
        }
    }
    report.log_end_offset = ends.values().next_back().copied().unwrap_or(core.log_end());
    epochs.finish(report.log_end_offset, true, report);
    Ok(ends)
}

fn check_open_segment(
    core: &Core,
    segment: Arc<Segment>,
    epochs: &mut EpochCheck,
    ends: &mut Ends,
    report: &mut IntegrityReport,
) {
    let mut segment = segment;
    for attempt in 1.. {
        let base = segment.base();
        let upper = core.segment_after(base).map(|next| next.base());
        let (mut part, mut seen) = (IntegrityReport::default(), epochs.clone());
        let trust = IndexTrust { severity: Severity::Error, last: upper.is_none(), live: true };
        let task = Task {
            base,
            path: segment.log_path(),
            indexed: true,
            end: segment.published(),
            upper,
            gaps_allowed: core.gaps_allowed(),
            durable: Durable::Whole,
            trust,
            tail_severity: Severity::Error,
        };
        let outcome = task.run(core.env(), core.dir(), core.decode_limits(), &mut seen, &mut part);
        let found = core.floor_segment(base).filter(|found| found.base() == base);
        let Some(found) = found else { return };
        let changed = !Arc::ptr_eq(&found, &segment) || (upper.is_none() && core.segment_after(base).is_some());
        if changed && (outcome.is_err() || !part.findings.is_empty()) && attempt < ATTEMPTS_MOST {
            segment = found;
            continue;
        }
        let next_offset = outcome.map(|walked| walked.next_offset).unwrap_or_else(|error| {
            tell_unreadable(&mut part, &segment.log_path(), error, Severity::Error);
            upper.unwrap_or(core.log_end())
        });
        ends.insert(base, next_offset);
        report.absorb(part);
        *epochs = seen;
        return;
    }
}

/// Checks a directory as it lies there.
fn check_directory(core: &Core, live: bool, mut epochs: EpochCheck, report: &mut IntegrityReport) -> Result<Ends> {
    let (env, dir) = (core.env(), core.dir());
    let logs = logs_of(env, dir, report)?;
    let mut sizes = BTreeMap::new();
    for (&base, source) in &logs {
        match file_size(env, &source.path) {
            Ok(size) => drop(sizes.insert(base, size)),
            // The writer deleted it since the directory was listed.
            Err(error) if live && is_not_found(&error) => {}
            Err(error) => tell_unreadable(report, &source.path, error, Severity::Error),
        }
    }
    let account = Account::read(env, dir, &logs, live, report)?;
    if !live {
        account.check_files(env, dir, &sizes, report)?;
    }
    let first = sizes.keys().next().copied().unwrap_or(core.log_start());
    report.log_start_offset = account.believed().map_or(first, |state| state.log_start.max(first));
    let closed = account.believed().is_some_and(|state| state.clean) || is_marked_clean(env, dir);
    let judge = Judge { state: account.believed(), closed, live };
    let ends = check_chain(core, &logs, &sizes, judge, &mut epochs, report);
    report.log_end_offset = ends.values().next_back().copied().unwrap_or(report.log_start_offset);
    if !live {
        account.check_end(report.log_end_offset, report);
    }
    epochs.finish(report.log_end_offset, live, report);
    Ok(ends)
}

/// Walks the segments one behind the other.
fn check_chain(
    core: &Core,
    logs: &BTreeMap<Offset, Source>,
    sizes: &BTreeMap<Offset, u64>,
    judge: Judge<'_>,
    epochs: &mut EpochCheck,
    report: &mut IntegrityReport,
) -> Ends {
    let (mut ends, mut due, mut torn) = (Ends::new(), None, false);
    for (&base, &size) in sizes {
        let source = &logs[&base];
        // What the next opening takes out of service: it follows nothing, and was never durable.
        torn |= judge.is_unsure(base) && due.is_some_and(|due| base < due || (base > due && !judge.gaps_allowed()));
        if torn {
            let (found, expected) = (base.to_disk(), due.unwrap_or(base).to_disk());
            let reason = Corruption::OffsetGap { found, expected };
            let what = FindingKind::TornTail { bytes: size, reason };
            report.add(judge.tail_severity(), &source.path, Some(Position::ZERO), Some(base), what);
            continue;
        }
        if let Some(due) = due {
            tell_border(report, &source.path, base, due, judge.gaps_allowed());
        }
        let upper = sizes.range(base + 1..).find(|(_, size)| **size > 0).map(|(&next, _)| next);
        let task = judge.task(base, source, Position::new(size), upper, sizes.keys().next_back() == Some(&base));
        let mut part = IntegrityReport::default();
        let walked = task.run(core.env(), core.dir(), core.decode_limits(), epochs, &mut part);
        let walked = walked.unwrap_or_else(|error| {
            let severity = if judge.live { Severity::Note } else { Severity::Error };
            tell_unreadable(&mut part, &source.path, error, severity);
            Walked { next_offset: upper.unwrap_or(base), torn: false }
        });
        report.absorb(part);
        ends.insert(base, walked.next_offset);
        (due, torn) = (Some(walked.next_offset), walked.torn);
    }
    ends
}

/// The `.log` files as an opening would read them; what keeps it from doing so is a finding.
fn logs_of(env: &Env, dir: &Path, report: &mut IntegrityReport) -> Result<BTreeMap<Offset, Source>> {
    let listing = Listing::read(env, dir)?;
    match directory::judged(env, dir, &listing) {
        Ok((logs, _)) => Ok(logs),
        Err(error) => {
            tell_unreadable(report, dir, error, Severity::Error);
            Ok(listing.logs(dir))
        }
    }
}

/// Whether Kafka says of the data directory around it that it was closed in order.
fn is_marked_clean(env: &Env, dir: &Path) -> bool {
    dir.parent().is_some_and(|parent| env.metadata(&parent.join(DATA_DIRECTORY_MARKERS[1])).is_ok())
}

/// By which rules a directory's segments are judged.
#[derive(Clone, Copy)]
struct Judge<'a> {
    /// What the directory says of itself, if it holds.
    state: Option<&'a State>,
    closed: bool,
    live: bool,
}

impl Judge<'_> {
    fn gaps_allowed(self) -> bool {
        self.state.is_none_or(|state| state.gaps_allowed)
    }

    /// Whether the segment lies above the recovery point of a log that was not closed.
    fn is_unsure(self, base: Offset) -> bool {
        !self.closed && self.state.is_some_and(|state| base > state.recovery_point.segment_base)
    }

    fn tail_severity(self) -> Severity {
        if self.live { Severity::Note } else { Severity::Warning }
    }

    fn task(self, base: Offset, source: &Source, end: Position, upper: Option<Offset>, last: bool) -> Task {
        let durable = match self.state {
            _ if self.closed && !self.live => Durable::Whole,
            Some(state) if base < state.recovery_point.segment_base => Durable::Whole,
            Some(state) if base == state.recovery_point.segment_base => {
                Durable::Below(state.recovery_point.position, state.recovery_point.offset)
            }
            Some(_) => Durable::Below(Position::ZERO, base),
            None => Durable::Unknown,
        };
        // What an opening makes anew, and whoever has the log open does not use, may be wrong.
        let rebuilt = matches!(durable, Durable::Below(..)) || (durable == Durable::Unknown && last);
        let severity = if rebuilt { Severity::Warning } else { Severity::Error };
        Task {
            base,
            path: Arc::clone(&source.path),
            indexed: source.final_name,
            end,
            upper,
            gaps_allowed: self.gaps_allowed(),
            durable,
            trust: IndexTrust { severity, last, live: self.live },
            tail_severity: self.tail_severity(),
        }
    }
}

/// Compares where a segment begins with where the one before it ends.
fn tell_border(report: &mut IntegrityReport, path: &Path, base: Offset, due: Offset, gaps_allowed: bool) {
    if base > due && gaps_allowed {
        report.checked.gaps += 1;
    } else if base > due {
        let what = FindingKind::OffsetGap { found: base, expected: due };
        report.add(Severity::Error, path, Some(Position::ZERO), Some(base), what);
    } else if base < due {
        let what = FindingKind::Overlap { found: base, expected: due };
        report.add(Severity::Error, path, Some(Position::ZERO), Some(base), what);
    }
}

fn tell_if_unreadable(answer: Result<()>, path: &Path, live: bool, report: &mut IntegrityReport) {
    if let Err(error) = answer {
        let severity = if live && is_not_found(&error) { Severity::Note } else { Severity::Error };
        tell_unreadable(report, path, error, severity);
    }
}

fn is_not_found(error: &Error) -> bool {
    matches!(error, Error::Io { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound)
}
