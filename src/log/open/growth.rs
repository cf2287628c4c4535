//! Sees what another process appends to a directory that was opened for reading only.
//!
//! Nobody tells a reader of another process's appends, so that those who wait look themselves, every [`INTERVAL`]. A look
//! where nothing happened costs a few calls that touch no data but the state: the state's newest slot, the size of the
//! last `.log`, a read behind its good end if there is anything, and the next segment's name. What is new is walked
//! once, and judged as recovery judges. The invariant it owns: what is shown is a sound batch in its place; and where
//! the directory was recovered or truncated by its writer, everything is judged anew, as a new generation of the log.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, IoOp, Result};
use crate::fs::OpenMode;
use crate::offset::{Offset, Position};
use crate::record::verify_crc;
use crate::segment::{LogFile, Scanner, Segment, path};
use crate::slice::first_offset;

use super::directory::Listing;
use super::read_only::{self, Judgement};
use super::recovery::file_size;
use crate::log::core::Core;
use crate::names::SegmentFile;
use crate::state;

/// How long those who wait sleep between two looks.
pub(crate) const INTERVAL: Duration = Duration::from_millis(200);

/// What the last look left.
#[derive(Debug)]
pub(crate) struct Growth {
    /// Of the directory's openings by its writer, the one that is being read; `None` where there is no state.
    pub(crate) opening: Option<u64>,
}

/// Whether a look made sense of what it saw.
#[derive(PartialEq)]
enum Look {
    Good,
    /// The directory is not what was opened.
    Outdated,
}

impl Growth {
    /// Shows readers what was appended since the last look.
    pub(crate) fn look(&mut self, core: &Core) -> Result<()> {
        let (found, _) = state::read(core.env(), core.dir())?;
        let opening = found.state().map(|state| state.generation);
        let outdated = opening.is_some() && opening != self.opening;
        if outdated || look_at_segments(core)? == Look::Outdated {
            let Judgement { segments, bounds, report, epochs } = read_only::judge(core.env(), core.dir())?;
            core.install_epochs(epochs);
            core.install(segments, bounds, report);
            self.opening = opening;
        } else if let Some(state) = found.state() {
            core.raise_log_start(state.log_start.min(core.log_end()));
            core.raise_synced(state.recovery_point.offset.min(core.log_end()));
        }
        Ok(())
    }
}

fn look_at_segments(core: &Core) -> Result<Look> {
    loop {
        let Some(last) = core.floor_segment(Offset::MAX) else { return Ok(Look::Outdated) };
        if walk(core, &last)? == Look::Outdated {
            return Ok(Look::Outdated);
        }
        let Some(next) = next_base(core, &last)? else { return Ok(Look::Good) };
        // Once the next segment is there, this one takes no more; it may have taken some since it was walked.
        if walk(core, &last)? == Look::Outdated {
            return Ok(Look::Outdated);
        }
        core.insert_segment(Arc::new(Segment::unvouched(core.dir(), next, Position::ZERO, Vec::new())));
        core.publish(next);
    }
}

/// Shows what is sound behind the end of a segment. What is not is being written, or is room, or torn; it is looked at
/// again.
fn walk(core: &Core, segment: &Arc<Segment>) -> Result<Look> {
    let log = match LogFile::open(core.env(), segment.log_path(), OpenMode::Read) {
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
        due = header.next_offset();
        scan.skip(&header);
    }
    if scan.position() > start {
        segment.publish(scan.position());
        core.publish(due);
    }
    Ok(Look::Good)
}

/// The base offset of the segment behind the last one, if there is one by now.
fn next_base(core: &Core, last: &Segment) -> Result<Option<Offset>> {
    if last.torn_end().is_some() && file_size(core.env(), last.log_path())? > last.published().value() {
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
