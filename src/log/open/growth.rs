//! Sees what another process appends to a directory that was opened for reading only.
//!
//! Nobody tells a reader of another process's appends, so that those who wait look themselves, every [`INTERVAL`]. A look
//! where nothing happened costs a few calls that touch no data but the state: the state's newest slot, the size of the
//! last `.log`, a read behind its good end if there is anything, and the next segment's name. What is new is walked
//! once, and judged as recovery judges. Invariants it owns: what is shown is a sound batch in its place; where the
//! directory was recovered or truncated by its writer, everything is judged anew, as a new generation of the log; and
//! readers who were given what is no longer there are told. The writer's half is `Writer::go_on_with`: after a cut, and
//! before anything is appended behind it, it raises the generation in `kstore.state`. So whoever finds the generation
//! as it was, after he looked at the files, has seen no byte from behind a cut.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, IoOp, Result};
use crate::fs::OpenMode;
use crate::offset::{Offset, Position};
use crate::record::verify_crc;
use crate::segment::{LogFile, Scanner, Segment, last_batch, path};
use crate::slice::first_offset;

use super::directory::Listing;
use super::load::{witness_of, witnessed_batch};
use super::read_only::{self, Judgement};
use super::recovery::file_size;
use crate::log::core::Core;
use crate::names::SegmentFile;
use crate::state::{self, State, Witness};

/// How long those who wait sleep between two looks.
pub(crate) const INTERVAL: Duration = Duration::from_millis(200);

/// How many of the batches that were shown are remembered.
const REMEMBERED_BATCHES: usize = 64;

/// A directory that changes under each judgement is taken as it is after so many; the next look judges it again.
const JUDGEMENTS: usize = 8;

/// What the last look left.
#[derive(Debug)]
pub(crate) struct Growth {
    /// Of the directory's openings and truncations by its writer, the one that is being read; `None` where there is no
    /// state.
    opening: Option<u64>,
    /// Some of the batches that were shown, the last one among them. While one stands, so does what is before it.
    shown: Vec<Witness>,
}

/// Whether a look made sense of what it saw.
#[derive(PartialEq)]
enum Look {
    Good,
    /// The directory is not what was opened.
    Outdated,
}

impl Growth {
    /// Of a directory that was just judged, in this opening of its writer or a later one.
    pub(crate) fn new(core: &Core, opening: Option<u64>) -> Growth {
        Growth { opening, shown: last_shown(core).into_iter().collect() }
    }

    /// Shows readers what was appended since the last look.
    pub(crate) fn look(&mut self, core: &Core) -> Result<()> {
        let state = read_state(core)?;
        if self.is_outdated(state.as_ref()) || self.look_at_segments(core)? == Look::Outdated {
            return self.judge_anew(core);
        }
        if let Some(state) = state {
            core.raise_log_start(state.log_start.min(core.log_end()));
            core.raise_synced(state.recovery_point.offset.min(core.log_end()));
        }
        Ok(())
    }

    fn is_outdated(&self, state: Option<&State>) -> bool {
        state.is_some_and(|state| Some(state.generation) != self.opening)
    }

    fn judge_anew(&mut self, core: &Core) -> Result<()> {
        for attempt in 1..=JUDGEMENTS {
            let before = read_state(core)?.map(|state| state.generation);
            let kept = self.kept_end(core)?;
            let Judgement { segments, bounds, report, epochs } = read_only::judge(core.env(), core.dir())?;
            if attempt < JUDGEMENTS && read_state(core)?.map(|state| state.generation) != before {
                continue;
            }
            core.install_epochs(epochs);
            core.install_keeping(segments, bounds, report, kept.unwrap_or(bounds.log_start));
            *self = Growth::new(core, before);
            break;
        }
        Ok(())
    }

    /// One past the last offset that was shown and is known to be as it was; `None` if no such is known.
    fn kept_end(&self, core: &Core) -> Result<Option<Offset>> {
        if self.shown.is_empty() {
            return Ok(Some(Offset::MAX));
        }
        for (number, witness) in self.shown.iter().rev().enumerate() {
            if stands(core, witness)? {
                return Ok(Some(if number == 0 { Offset::MAX } else { witness.last_offset + 1 }));
            }
        }
        Ok(None)
    }

    fn look_at_segments(&mut self, core: &Core) -> Result<Look> {
        loop {
            let Some(last) = core.floor_segment(Offset::MAX) else { return Ok(Look::Outdated) };
            if self.walk(core, &last)? == Look::Outdated {
                return Ok(Look::Outdated);
            }
            let Some(next) = next_base(core, &last)? else { return Ok(Look::Good) };
            // Once the next segment is there, this one takes no more; it may have taken some since it was walked.
            if self.walk(core, &last)? == Look::Outdated {
                return Ok(Look::Outdated);
            }
            core.insert_segment(Arc::new(Segment::unvouched(core.dir(), next, Position::ZERO, Vec::new())));
            core.publish(next);
        }
    }

    /// Shows what is sound behind the end of a segment. What is not is being written, or is room, or torn; it is looked
    /// at again.
    fn walk(&mut self, core: &Core, segment: &Arc<Segment>) -> Result<Look> {
        let log = match LogFile::open(core.env(), &segment.log_path(), OpenMode::Read) {
            Err(Error::Io { operation: IoOp::Open, cause, .. }) if cause.kind() == ErrorKind::NotFound => {
                return Ok(Look::Outdated);
            }
            opened => Arc::new(opened?),
        };
        let (start, size) = (segment.published(), Position::new(log.len()?));
        if size < start {
            return Ok(Look::Outdated);
        }
        let mut due = core.log_end().max(segment.base());
        let mut last = None;
        let mut scan = Scanner::new(log, start, size);
        loop {
            let header = match scan.peek() {
                Ok(Some(header)) => header,
                Ok(None) | Err(Error::Corrupt { .. }) => break,
                Err(error) => return Err(error),
            };
            let first = first_offset(&header);
            let fits = first == due || (first > due && (core.gaps_allowed() || header.is_legacy()));
            let is_whole = match scan.batch(&header) {
                Ok(bytes) => verify_crc(bytes, &header).is_ok(),
                Err(Error::Corrupt { .. }) => false,
                Err(error) => return Err(error),
            };
            if !fits || !is_whole {
                break;
            }
            last = Some(witness_of(segment.base(), scan.position(), &header));
            due = header.next_offset();
            scan.skip(&header);
        }
        if let Some(last) = last {
            // What was walked may lie behind a cut that was made since the state was read.
            if self.is_outdated(read_state(core)?.as_ref()) {
                return Ok(Look::Outdated);
            }
            self.remember(last);
            segment.publish(scan.position());
            core.publish(due);
        }
        Ok(Look::Good)
    }

    fn remember(&mut self, last: Witness) {
        if self.shown.len() >= REMEMBERED_BATCHES {
            // Every other one, so that those that stay reach back as far.
            let mut number = 0;
            self.shown.retain(|_| {
                number += 1;
                number % 2 == 1
            });
        }
        self.shown.push(last);
    }
}

fn read_state(core: &Core) -> Result<Option<State>> {
    let (found, _) = state::read(core.env(), core.dir())?;
    Ok(found.state().copied())
}

/// The last batch that readers see, if it can be had.
fn last_shown(core: &Core) -> Option<Witness> {
    let segments = core.all_segments();
    let last = segments.iter().rfind(|segment| segment.published() > Position::ZERO)?;
    let handles = core.handles(last).ok()?;
    let (position, header) = last_batch(last, &handles).ok()??;
    Some(witness_of(last.base(), position, &header))
}

/// Whether a batch that was shown stands where it stood.
fn stands(core: &Core, witness: &Witness) -> Result<bool> {
    let name = path(core.dir(), witness.segment_base, SegmentFile::Log);
    let log = match LogFile::open(core.env(), &name, OpenMode::Read) {
        Err(Error::Io { operation: IoOp::Open, cause, .. }) if cause.kind() == ErrorKind::NotFound => return Ok(false),
        opened => Arc::new(opened?),
    };
    let end = Position::new(log.len()?);
    if witness.position >= end {
        return Ok(false);
    }
    match witnessed_batch(log, witness, end) {
        Ok(found) => Ok(found.is_some_and(|header| header.last_offset() == witness.last_offset)),
        Err(Error::Corrupt { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The base offset of the segment behind the last one, if there is one by now.
fn next_base(core: &Core, last: &Segment) -> Result<Option<Offset>> {
    if last.torn_end().is_some() && file_size(core.env(), &last.log_path())? > last.published().value() {
        // A recovery takes out of service what lies behind a torn tail; it begins another opening. What looked torn while
        // it was being written is whole by now, or the segment has not been left.
        return Ok(None);
    }
    if core.gaps_allowed() {
        let listing = Listing::read(core.env(), core.dir())?;
        return Ok(listing.logs(core.dir()).keys().find(|base| **base > last.base()).copied());
    }
    let due = core.log_end();
    if due == last.base() {
        return Ok(None);
    }
    let name = path(core.dir(), due, SegmentFile::Log);
    match core.env().metadata(&name) {
        Ok(_) => Ok(Some(due)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(IoOp::Inspect, &name, &error)),
    }
}
