//! Where a truncation cuts a segment, and the shorter copy that takes the segment's name.
//!
//! It finds and copies; what is done in which order, and what a crash leaves, stands in `log/truncate`. The invariant it
//! owns: nothing here changes a byte under a name of the log but [`take_name`], which gives the whole name away at once.

use std::io::{ErrorKind, IoSlice};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Corruption, Error, IoOp, Result};
use crate::fs::{Env, OpenMode};
use crate::names::{SegmentFile, TRUNCATING_SUFFIX};
use crate::offset::{Offset, Position, Timestamp};
use crate::record::{BatchHeader, DecodeLimits, first_record_offset};

use super::file::LogFile;
use super::indexes::{KnownIndexes, MaxTimestamp, path};
use super::{Handles, Segment};

const COPY_CHUNK_BYTES: usize = 1 << 20;

/// Where an offset cuts a segment.
#[derive(Debug)]
pub(crate) struct CutPlace {
    /// Where the batches end that lie wholly below the cut.
    pub(crate) position: Position,
    /// The offset behind them; the segment's base offset without one.
    pub(crate) due: Offset,
    /// The last of them.
    pub(crate) last_whole: Option<(Position, BatchHeader)>,
    /// The batch that has records, or room for them, on both sides.
    pub(crate) across: Option<Across>,
}

/// A batch across a cut.
#[derive(Debug)]
pub(crate) struct Across {
    pub(crate) header: BatchHeader,
    pub(crate) first: Offset,
    pub(crate) bytes: Vec<u8>,
}

/// Finds where `cut` lies in a segment whose batches end at `end`.
///
/// # Errors
/// [`Error::Corrupt`] where damage keeps the place from being found.
pub(crate) fn find_cut(
    segment: &Segment,
    handles: &Handles,
    end: Position,
    cut: Offset,
    limits: DecodeLimits,
) -> Result<CutPlace> {
    let mut place = CutPlace { position: Position::ZERO, due: segment.base(), last_whole: None, across: None };
    let Some(below) = cut.value().checked_sub(1).filter(|&below| below >= segment.base().value()) else {
        return Ok(place);
    };
    let mut scan = segment.scan_towards(handles, Offset::new(below))?;
    scan.extend_to(end.max(scan.end()));
    loop {
        if let Some(damaged) = segment.damage_at(scan.position()) {
            if cut <= damaged.first_offset {
                return Ok(place);
            }
            if cut < damaged.next_offset {
                return Err(scan.corrupt(damaged.reason));
            }
            scan.skip_to(damaged.end.min(scan.end()));
            (place.position, place.due) = (scan.position(), damaged.next_offset);
        }
        let Some(header) = scan.peek()? else { return Ok(place) };
        if header.last_offset() >= cut {
            let bytes = scan.batch(&header)?;
            let first = first_record_offset(&header, bytes, limits);
            if first.is_ok_and(|first| first >= cut) {
                return Ok(place);
            }
            let bytes = bytes.to_vec();
            let first = first.map_err(|reason| scan.corrupt(reason))?;
            place.across = Some(Across { header, first, bytes });
            return Ok(place);
        }
        place.last_whole = Some((scan.position(), header));
        scan.skip(&header);
        (place.position, place.due) = (scan.position(), header.next_offset());
    }
}

/// The last batch of a segment whose batches are all published.
pub(crate) fn last_batch(segment: &Segment, handles: &Handles) -> Result<Option<(Position, BatchHeader)>> {
    let mut scan = segment.scan_towards(handles, Offset::MAX)?;
    let mut last = None;
    loop {
        if let Some(damaged) = segment.damage_at(scan.position()) {
            scan.skip_to(damaged.end.min(scan.end()));
        }
        let Some(header) = scan.peek()? else { return Ok(last) };
        last = Some((scan.position(), header));
        scan.skip(&header);
    }
}

/// What of a segment's indexes speaks of the batches below a place, as far as it is in their files.
pub(crate) fn surviving_indexes(segment: &Segment, handles: &Handles, place: &CutPlace) -> Result<KnownIndexes> {
    // An index that cannot be read is made anew as the segment grows, and is sparser until then.
    let offset_entries =
        handles.offset_index.as_ref().and_then(|index| index.sound_prefix(place.position, place.due).ok()).unwrap_or(0);
    let last_time = handles.time_index.as_ref().and_then(|index| {
        let entries = index.sound_prefix(place.due).ok()?;
        let last = entries.checked_sub(1).map_or(Ok(None), |last| index.entry(last)).ok()?;
        Some((entries, last))
    });
    let (time_entries, last_time) = last_time.unwrap_or((0, None));
    let mut max_timestamp = last_time.map(|entry| MaxTimestamp { timestamp: entry.timestamp, offset: entry.offset });
    // The entry speaks of everything up to its offset; what came later is looked at.
    let mut scan = segment.scan_towards(handles, last_time.map_or(segment.base(), |entry| entry.offset))?;
    scan.extend_to(place.position.max(scan.end()));
    while scan.position() < place.position {
        if let Some(damaged) = segment.damage_at(scan.position()) {
            scan.skip_to(damaged.end.min(scan.end()));
            continue;
        }
        let Some(header) = scan.peek()? else { break };
        max_timestamp = later(max_timestamp, &header);
        scan.skip(&header);
    }
    Ok(KnownIndexes { offset_entries, time_entries, position: place.position, max_timestamp })
}

/// The largest timestamp of a segment, with one more batch behind.
pub(crate) fn later(max: Option<MaxTimestamp>, batch: &BatchHeader) -> Option<MaxTimestamp> {
    match Timestamp::from_disk(batch.max_timestamp) {
        Some(timestamp) if max.is_none_or(|max| timestamp > max.timestamp) => {
            Some(MaxTimestamp { timestamp, offset: batch.last_offset() })
        }
        _ => max,
    }
}

/// Writes the first bytes of a `.log`, and more behind them, to a file beside it, and makes it durable (rule 14). Its name
/// is not.
///
/// # Errors
/// What the system says; what was written is removed again as far as that can be done.
pub(crate) fn write_aside(
    env: &Env,
    dir: &Path,
    base: Offset,
    from: &LogFile,
    end: Position,
    behind: &[u8],
) -> Result<()> {
    discard_aside(env, dir, base)?;
    let aside = aside(dir, base);
    let copy = LogFile::open(env, &aside, OpenMode::CreateNew)?;
    let mut chunk = vec![0; usize::try_from(end.value()).unwrap_or(COPY_CHUNK_BYTES).min(COPY_CHUNK_BYTES)];
    let mut position = Position::ZERO;
    while position < end {
        let wanted = usize::try_from(end - position).unwrap_or(COPY_CHUNK_BYTES).min(chunk.len());
        let read = from.read(&mut chunk[..wanted], position)?;
        if read == 0 {
            let reason = Corruption::Shortened { length: position.value(), durable: end.value() };
            return Err(Error::corrupt(from.path(), position, reason));
        }
        copy.write_vectored(&mut [IoSlice::new(&chunk[..read])], position).map_err(|failed| failed.error)?;
        position += u64::try_from(read).expect("a chunk is small");
    }
    if !behind.is_empty() {
        copy.write_vectored(&mut [IoSlice::new(behind)], end).map_err(|failed| failed.error)?;
    }
    copy.sync()
}

/// Removes the copy, if there is one.
pub(crate) fn discard_aside(env: &Env, dir: &Path, base: Offset) -> Result<()> {
    let aside = aside(dir, base);
    match env.remove_file(&aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(IoOp::Remove, &aside, &error)),
        _ => Ok(()),
    }
}

/// Gives the name of a `.log` to its shorter copy. The old file belongs to those who have it open. The caller syncs the
/// directory.
pub(crate) fn take_name(env: &Env, dir: &Path, base: Offset) -> Result<()> {
    let aside = aside(dir, base);
    let log = path(dir, base, SegmentFile::Log);
    env.rename(&aside, &log).map_err(|error| Error::io(IoOp::Rename, &aside, &error))
}

fn aside(dir: &Path, base: Offset) -> Arc<Path> {
    dir.join(format!("{}{TRUNCATING_SUFFIX}", SegmentFile::Log.name(base))).into()
}
