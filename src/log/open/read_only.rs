//! Opens a directory for reading only: no lock is taken, not a byte is changed, and the directory may be live, crashed
//! or Kafka's.
//!
//! What an opening for writing would recover is judged by the same code, in memory. Indexes are used only as far as
//! the log itself confirms them. The invariant it owns: this module calls nothing that changes a file.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crate::config::LogConfig;
use crate::error::{Corruption, Error, Result};
use crate::fs::{Env, OpenMode};
use crate::names::LOCK;
use crate::offset::{Offset, Position};
use crate::segment::{DamagedRange, LogFile, Recovered, Recovery, Segment, recover};
use crate::state::{self, State};

use super::canonical;
use super::directory::{self, Listing, Source};
use super::growth::Growth;
use super::load::{Belief, belief, log_start};
use super::recovery::{file_size, may_follow, missing_end};
use crate::log::core::{Bounds, Core};
use crate::log::epochs::{self, Epochs, Seen, Span};
use crate::log::report::{Damage, Fate, Leftover, RecoveryReport, TornTail, Trust};

/// A directory that changes under each look is judged by the last of so many.
const JUDGEMENTS: usize = 16;

/// Opens a directory for reading what is there now, and what is appended to it by others.
pub(crate) fn open(env: &Env, dir: &Path) -> Result<Arc<Core>> {
    let dir = canonical(env, dir)?;
    // Before the directory is judged: what a writer does after this is noticed at the first look.
    let opening = state::read(env, &dir)?.0.state().map(|state| state.generation);
    let Judgement { segments, bounds, report, epochs } = judge(env, &dir)?;
    let defaults = LogConfig::default();
    let core =
        Core::new(env.clone(), Arc::clone(&dir), defaults.max_open_segments, defaults.max_decompressed_message_bytes);
    core.set_read_only();
    core.install_epochs(epochs);
    core.install(segments, bounds, report);
    let growth = Growth::new(&core, opening);
    Ok(Arc::new(core.growing_by_others(growth)))
}

/// What an opening would find.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) segments: BTreeMap<Offset, Arc<Segment>>,
    pub(crate) bounds: Bounds,
    pub(crate) report: RecoveryReport,
    pub(crate) epochs: Epochs,
}

/// What an opening would find, without changing anything.
///
/// Whoever writes there meanwhile may begin or delete a segment between the list of names and the state that speaks of it.
/// What then looks like nobody's directory, or like a missing file, is looked at once more.
pub(crate) fn judge(env: &Env, dir: &Arc<Path>) -> Result<Judgement> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let (before, _) = state::read(env, dir)?;
        let judged = judge_once(env, dir);
        let again = match &judged {
            Ok(judgement) if judgement.report.trust == Trust::Foreign => state::read(env, dir)?.0 != before,
            Err(Error::Io { cause, .. }) => cause.kind() == ErrorKind::NotFound,
            _ => false,
        };
        if !again || attempt == JUDGEMENTS {
            return judged;
        }
    }
}

fn judge_once(env: &Env, dir: &Arc<Path>) -> Result<Judgement> {
    let was_locked = is_locked(env, dir);
    let listing = Listing::read(env, dir)?;
    let (logs, leftovers) = directory::judged(env, dir, &listing)?;
    let disturbed = leftovers.iter().any(|leftover| leftover.fate == Fate::SwappedIn);
    let mut report = RecoveryReport { foreign: listing.foreign.clone(), leftovers, ..RecoveryReport::default() };
    for (_, path) in listing.torn(dir) {
        report.leftovers.push(Leftover { path, fate: Fate::Kept });
    }
    let (found, sections) = state::read(env, dir)?;
    let mut opening = Opening { env, dir, logs: &logs, report, segments: BTreeMap::new(), seen: Seen::default() };
    let bounds = match found.state() {
        Some(state) if !disturbed => match belief(env, &logs, state, sections, &mut opening.seen.witness)? {
            Belief::Clean(sizes) => opening.clean(state, &sizes),
            Belief::FromRecoveryPoint => opening.above(state)?,
            Belief::None => opening.foreign(Some(state))?,
        },
        state => opening.foreign(state)?,
    };
    let Opening { mut report, segments, seen, .. } = opening;
    let (epochs, lost) = epochs::judge(env, dir, &segments, &seen, (bounds.log_start, bounds.log_end))?;
    report.lost_epochs = lost;
    if was_locked || is_locked(env, dir) {
        // The end of a log that somebody is writing, or was until a moment ago, is his affair.
        report.torn.clear();
    }
    Ok(Judgement { segments, bounds, report, epochs })
}

fn is_locked(env: &Env, dir: &Path) -> bool {
    env.is_locked(&dir.join(LOCK)).unwrap_or(false)
}

struct Opening<'a> {
    env: &'a Env,
    dir: &'a Arc<Path>,
    logs: &'a BTreeMap<Offset, Source>,
    report: RecoveryReport,
    segments: BTreeMap<Offset, Arc<Segment>>,
    seen: Seen,
}

impl Opening<'_> {
    fn clean(&mut self, state: &State, sizes: &[(Offset, u64)]) -> Bounds {
        for &(base, size) in sizes {
            self.vouched(base, Position::new(size));
        }
        self.vouched(state.active.base, Position::new(state.active.size));
        self.bounds(state, state.log_end, state.log_end)
    }

    /// Not closed, or open right now: what lies above the recovery point is walked.
    fn above(&mut self, state: &State) -> Result<Bounds> {
        self.report.trust = Trust::FromRecoveryPoint;
        let point = state.recovery_point;
        for (&base, source) in self.logs.range(..point.segment_base) {
            let size = file_size(self.env, &source.path)?;
            self.vouched(base, Position::new(size));
        }
        let mut due = point.offset;
        let mut rest = self.logs.range(point.segment_base..).peekable();
        while let Some((&base, source)) = rest.next() {
            if base != point.segment_base && !may_follow(self.env, source, base, due, state.gaps_allowed)? {
                self.note_aside(source, base, due)?;
                break;
            }
            let upper = rest.peek().map(|(next, _)| **next);
            let start = if base == point.segment_base { point.position } else { Position::ZERO };
            let found = self.walk(base, source, (start, due), upper, state.gaps_allowed, false)?;
            due = found.next_offset;
            let ends_here = found.tail.is_some_and(|tail| !(tail.is_zeros() && upper == Some(due)));
            self.note_tail(source, &found);
            self.keep_walked(base, source, found);
            if ends_here {
                break;
            }
        }
        for (&base, source) in rest {
            self.note_aside(source, base, due)?;
        }
        Ok(self.bounds(state, due, point.offset))
    }

    /// Nobody vouches for anything. Only the last segment that holds anything is walked, to find the end; the others are
    /// checked as they are read. Where an earlier state knew of a later end, what lies between is damage.
    fn foreign(&mut self, state: Option<&State>) -> Result<Bounds> {
        let nothing_here = self.logs.is_empty() && state.is_none();
        self.report.trust = if nothing_here { Trust::Clean } else { Trust::Foreign };
        let first = self.logs.keys().next().copied().unwrap_or_default();
        self.seen.span = Span::Tail;
        let mut sizes = BTreeMap::new();
        for (&base, source) in self.logs {
            sizes.insert(base, file_size(self.env, &source.path)?);
        }
        let last = sizes.iter().rfind(|(_, size)| **size > 0).or(sizes.last_key_value()).map(|(&base, _)| base);
        let mut end = first;
        let mut found_end = None;
        for (&base, source) in self.logs {
            if Some(base) != last {
                end = end.max(base);
                let size = Position::new(sizes[&base]);
                self.keep(segment_of(self.dir, base, source, size, Vec::new()));
                continue;
            }
            let mut found = self.walk(base, source, (Position::ZERO, base), None, true, true)?;
            let durable = state.map_or(found.next_offset, |state| state.recovery_point.offset);
            if durable > found.next_offset {
                found.damage.push(missing_end(found.good_end, found.next_offset, durable));
            }
            end = found.next_offset.max(durable);
            found_end = (found.next_offset > first).then_some(found.next_offset);
            self.note_tail(source, &found);
            for damaged in &found.damage {
                self.report.damage.push(Damage::of(&source.path, damaged));
            }
            self.keep_walked(base, source, found);
        }
        let log_start = log_start(state, self.report.trust, first, found_end);
        let end = end.max(log_start);
        Ok(Bounds { log_start, log_end: end, synced: end, gaps_allowed: true })
    }

    /// A whole segment behind the end of the log, which recovery would take out of service.
    fn note_aside(&mut self, source: &Source, base: Offset, end: Offset) -> Result<()> {
        self.report.torn.push(TornTail {
            path: source.path.to_path_buf(),
            position: Position::ZERO,
            bytes: file_size(self.env, &source.path)?,
            zeros: false,
            reason: Corruption::OffsetGap { found: base.to_disk(), expected: end.to_disk() },
            kept: None,
        });
        Ok(())
    }

    fn walk(
        &mut self,
        base: Offset,
        source: &Source,
        (start, next_offset): (Position, Offset),
        upper: Option<Offset>,
        gaps_allowed: bool,
        search_behind: bool,
    ) -> Result<Recovered> {
        let log = Arc::new(LogFile::open(self.env, &source.path, OpenMode::Read)?);
        let end = Position::new(log.len()?.max(start.value()));
        let recovery = Recovery { log: &log, base, start, next_offset, end, upper, gaps_allowed, search_behind };
        let found = recover(&recovery, |_, header, _| self.seen.walked.note(header))?;
        self.report.scanned_bytes += found.good_end - start;
        Ok(found)
    }

    fn note_tail(&mut self, source: &Source, found: &Recovered) {
        if let Some(tail) = found.tail {
            self.report.torn.push(TornTail {
                path: source.path.to_path_buf(),
                position: tail.start,
                bytes: tail.end - tail.start,
                zeros: tail.is_zeros(),
                reason: tail.reason,
                kept: None,
            });
        }
    }

    fn keep_walked(&mut self, base: Offset, source: &Source, found: Recovered) {
        let torn_end = found.tail.filter(|tail| !tail.is_zeros()).map(|tail| tail.end);
        self.keep(segment_of(self.dir, base, source, found.good_end, found.damage).with_torn_end(torn_end));
    }

    fn keep(&mut self, segment: Segment) {
        self.segments.insert(segment.base(), Arc::new(segment));
    }

    /// The log begins where the state says, or later where the first segments are gone.
    fn bounds(&self, state: &State, log_end: Offset, synced: Offset) -> Bounds {
        let first = self.logs.keys().next().copied().unwrap_or(state.log_start);
        let log_start = state.log_start.max(first);
        // Records below a log start need not have been durable.
        let (log_end, synced) = (log_end.max(log_start), synced.max(log_start));
        Bounds { log_start, log_end, synced, gaps_allowed: state.gaps_allowed }
    }

    fn vouched(&mut self, base: Offset, end: Position) {
        self.segments.insert(base, Arc::new(Segment::within(self.dir, base, end, Vec::new())));
    }
}

fn segment_of(dir: &Arc<Path>, base: Offset, source: &Source, end: Position, damage: Vec<DamagedRange>) -> Segment {
    if source.final_name {
        Segment::unvouched(dir, base, end, damage)
    } else {
        Segment::unindexed(Arc::clone(&source.path), base, end, damage)
    }
}
