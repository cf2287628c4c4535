//! Recovers a chain of segments: from the recovery point on where a crash interrupted us, all of it where somebody
//! else wrote.
//!
//! Above the durable mark the first thing that is not a good, rightly numbered batch ends the log: what lies behind is
//! cut off and kept aside. Below it nothing is cut unasked: the range is damage, and the log goes on behind it
//! (rule 27). The invariant it owns: when it returns, every byte it calls good is durable (rule 29).

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::OnDamage;
use crate::epoch::EpochRuns;
use crate::error::{Corruption, Error, IoOp, Result};
use crate::fs::{Env, OpenMode};
use crate::index::{OffsetIndex, TimeIndex};
use crate::names::SegmentFile;
use crate::offset::{Offset, Position};
use crate::segment::{
    DamagedRange, GrowingIndexes, KnownIndexes, LogFile, MAX_RELATIVE_OFFSET, MaxTimestamp, Recovered, Recovery,
    Scanner, Segment, Tail, path as segment_path, recover, take_name, write_aside,
};
use crate::state::{State, Witness};

use super::ahead::{Ahead, Turn};
use super::directory::{self, Source};
use super::load::{Loader, witness_of};
use super::torn;
use crate::log::epochs::{Seen, Span};
use crate::log::report::{Damage, Fate, Leftover, RecoveryReport, TornTail};

/// How much is written at once when bytes that may not be on disk are written again.
const REWRITE_CHUNK_BYTES: usize = 1 << 20;

/// Segments that follow each other, and where they end.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// All but the last.
    pub(crate) segments: BTreeMap<Offset, Arc<Segment>>,
    pub(crate) last: Option<Last>,
    pub(crate) next_offset: Offset,
    pub(crate) witness: Option<Witness>,
    pub(crate) gaps_allowed: bool,
    pub(crate) seen: Seen,
    /// Damage that lies in no segment's file: an end that is missing.
    lost: Vec<Damage>,
}

/// The last segment of a chain, which may become the active one.
#[derive(Debug)]
pub(crate) struct Last {
    pub(crate) base: Offset,
    pub(crate) next_offset: Offset,
    pub(crate) known: KnownIndexes,
    pub(crate) damage: Vec<DamagedRange>,
    /// Bytes from here to the end of the file are damaged and stay, so that nothing can be appended.
    pub(crate) unusable_from: Option<Position>,
}

impl Chain {
    pub(crate) fn first_base(&self) -> Option<Offset> {
        self.segments.keys().next().copied().or(self.last.as_ref().map(|last| last.base))
    }

    /// All damage, in log order.
    pub(crate) fn damage(&self) -> Vec<Damage> {
        let in_segments = self
            .segments
            .values()
            .flat_map(|segment| segment.damage().iter().map(|damaged| Damage::of(&segment.log_path(), damaged)));
        in_segments.chain(self.lost.iter().cloned()).collect()
    }

    /// Seals what was the last segment, for another follows.
    fn push(&mut self, dir: &Arc<Path>, last: Last) {
        if let Some(before) = self.last.take() {
            let segment = Segment::within(dir, before.base, before.known.position, before.damage);
            self.segments.insert(before.base, Arc::new(segment));
        }
        self.next_offset = last.next_offset;
        self.last = Some(last);
    }
}

pub(crate) fn file_size(env: &Env, path: &Path) -> Result<u64> {
    Ok(env.metadata(path).map_err(|error| Error::io(IoOp::Inspect, path, &error))?.len)
}

/// Recovers the segments from the recovery point on.
pub(crate) fn recover_from(
    loader: &Loader<'_>,
    logs: &BTreeMap<Offset, Source>,
    state: &State,
    chain: &mut Chain,
    report: &mut RecoveryReport,
) -> Result<()> {
    let point = state.recovery_point;
    chain.next_offset = point.offset;
    chain.witness = state.witness.filter(|witness| logs.contains_key(&witness.segment_base));
    chain.gaps_allowed = state.gaps_allowed;
    let filled = filled_bases(loader, logs.range(point.segment_base..))?;
    let mut ahead = Ahead::new(loader, logs, &filled, Some(state));
    let mut rest = logs.range(point.segment_base..);
    while let Some((&base, source)) = rest.next() {
        let upper = filled.range(base + 1..).next().copied();
        let due = chain.next_offset;
        if base > point.segment_base && base != due && !filled.contains(&base) {
            remove_empty(loader, base, report)?;
            continue;
        }
        if base != point.segment_base && !may_follow(loader.env, source, base, due, chain.gaps_allowed)? {
            return set_aside(loader, base, std::iter::once((&base, source)).chain(rest), report);
        }
        let start = if base == point.segment_base { point.position } else { Position::ZERO };
        let mut judged = ahead.judge(Turn { base, start, due, upper, gaps_allowed: chain.gaps_allowed })?;
        chain.seen.walked.append(std::mem::take(&mut judged.epochs));
        report.scanned_bytes += judged.found.good_end - start;
        if let Some((position, header)) = &judged.found.last_batch {
            chain.witness = Some(witness_of(base, *position, header));
        }
        let ends_at_next = upper == Some(judged.found.next_offset);
        let harmless = judged.found.tail.is_none_or(|tail| tail.is_zeros() && ends_at_next);
        let last = keep_good(loader, base, judged, report)?;
        chain.push(loader.dir, last);
        if !harmless && upper.is_some() {
            return set_aside(loader, base, rest, report);
        }
    }
    Ok(())
}

/// Whether a segment above the recovery point may follow a log that ends at `due`.
///
/// We name a new segment by the log end, also where offsets may be missing: one that begins elsewhere tells that the end
/// of the one before was lost. All but one whose first batch lies too far above the log end for the old segment; what
/// is before such a segment was made durable before that batch was written.
pub(crate) fn may_follow(env: &Env, source: &Source, base: Offset, due: Offset, gaps_allowed: bool) -> Result<bool> {
    if base <= due || !gaps_allowed {
        return Ok(base == due);
    }
    let log = Arc::new(LogFile::open(env, &source.path, OpenMode::Read)?);
    let end = Position::new(log.len()?);
    match Scanner::new(log, Position::ZERO, end).peek() {
        Ok(Some(first)) => Ok(first.last_offset().checked_distance(due).is_some_and(|far| far > MAX_RELATIVE_OFFSET)),
        Ok(None) | Err(Error::Corrupt { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Recovers every segment of a directory that nobody vouches for. `before` is what an earlier state said: where the log
/// ended at least, and whether it ever had gaps.
pub(crate) fn recover_all(
    loader: &Loader<'_>,
    logs: &BTreeMap<Offset, Source>,
    before: Option<&State>,
    report: &mut RecoveryReport,
) -> Result<Chain> {
    let filled = filled_bases(loader, logs.iter())?;
    let mut ahead = Ahead::new(loader, logs, &filled, None);
    // What the first opening of a new log left behind, interrupted, is no reason to put up with gaps for ever. Nor is
    // damage in a log that had none: behind it a hole stays an error for whoever reads across it.
    let gaps_allowed = !filled.is_empty() && before.is_none_or(|state| state.gaps_allowed);
    let mut chain = Chain { gaps_allowed, ..Chain::default() };
    chain.seen.span = Span::Whole;
    let mut rest = logs.iter().peekable();
    while let Some((&base, source)) = rest.next() {
        let upper = filled.range(base + 1..).next().copied();
        if chain.next_offset > base && !filled.contains(&base) {
            remove_empty(loader, base, report)?;
            continue;
        }
        let mut judged = ahead.judge(Turn { base, start: Position::ZERO, due: base, upper, gaps_allowed: true })?;
        chain.seen.walked.append(std::mem::take(&mut judged.epochs));
        report.scanned_bytes += judged.found.good_end.value();
        let follows_a_gap = chain.last.is_some() && base > chain.next_offset && filled.contains(&base);
        chain.gaps_allowed |= judged.found.gaps || follows_a_gap;
        if let Some((position, header)) = &judged.found.last_batch {
            chain.witness = Some(witness_of(base, *position, header));
        }
        if loader.config.on_damage == OnDamage::CutAsKafka && cut_as_kafka(&mut judged, upper) {
            let last = rebuild_cut(loader, source, base, judged, report)?;
            chain.witness = last.1;
            chain.push(loader.dir, last.0);
            set_aside(loader, base, rest, report)?;
            return Ok(chain);
        }
        let last = match (judged.found.tail, upper) {
            (Some(tail), Some(next)) if !(tail.is_zeros() && next == judged.found.next_offset) => {
                damaged_end(base, judged, tail, next)?
            }
            (Some(tail), None) if tail.unsure => {
                let next = judged.found.next_offset;
                damaged_end(base, judged, tail, next)?
            }
            _ => keep_good(loader, base, judged, report)?,
        };
        chain.push(loader.dir, last);
    }
    if loader.config.on_damage != OnDamage::CutAsKafka {
        let accepted =
            loader.config.on_damage == OnDamage::ServeRest || before.is_some_and(|state| state.damage_accepted);
        note_missing_end(&mut chain, before, accepted, loader.dir);
    }
    Ok(chain)
}

/// Where the log ends before what was durable, the offsets between are damage. What counts is where batches end: an
/// earlier opening that was refused for this left an empty segment behind the gap.
fn note_missing_end(chain: &mut Chain, before: Option<&State>, accepted: bool, dir: &Arc<Path>) {
    let Some(before) = before else { return };
    // Of a log without a batch, what lies below its start was deleted.
    let found = chain.witness.map_or(chain.next_offset.max(before.log_start), |last| last.last_offset + 1);
    let durable = before.recovery_point.offset;
    if durable <= found {
        return;
    }
    let lost = |end| missing_end(end, found, durable);
    // Readers are refused behind the last byte of the segment in which the log ends. Where the loss was accepted they
    // meet what they will meet after the next clean close too: a gap, which is an error in a log that had none.
    let base = chain.witness.map(|last| last.segment_base).or(chain.first_base());
    match (base, &mut chain.last) {
        _ if accepted => chain.lost.push(Damage::of(dir, &lost(Position::ZERO))),
        (Some(base), Some(last)) if last.base == base => last.damage.push(lost(last.known.position)),
        (Some(base), _) if chain.segments.contains_key(&base) => {
            let before = &chain.segments[&base];
            let (end, mut damage) = (before.published(), before.damage().to_vec());
            damage.push(lost(end));
            chain.segments.insert(base, Arc::new(Segment::within(dir, base, end, damage)));
        }
        _ => chain.lost.push(Damage::of(dir, &lost(Position::ZERO))),
    }
    chain.next_offset = chain.next_offset.max(durable);
}

/// An end that was durable and is not there, as damage behind the last byte.
pub(crate) fn missing_end(end: Position, found: Offset, durable: Offset) -> DamagedRange {
    let reason = Corruption::EndMissing { found: found.to_disk(), durable: durable.to_disk() };
    DamagedRange { start: end, end, first_offset: found, next_offset: durable, reason }
}

/// The base offsets of the segments that hold anything.
///
/// An empty one is the active one, or was left by a roll that came to nothing: such a name says nothing about where the
/// segment before it ends.
fn filled_bases<'a>(
    loader: &Loader<'_>,
    logs: impl Iterator<Item = (&'a Offset, &'a Source)>,
) -> Result<BTreeSet<Offset>> {
    let mut filled = BTreeSet::new();
    for (&base, source) in logs {
        if file_size(loader.env, &source.path)? > 0 {
            filled.insert(base);
        }
    }
    Ok(filled)
}

/// Removes what a roll that came to nothing left behind.
fn remove_empty(loader: &Loader<'_>, base: Offset, report: &mut RecoveryReport) -> Result<()> {
    let path = segment_path(loader.dir, base, SegmentFile::Log);
    directory::remove_if_there(loader.env, &path)?;
    report.leftovers.push(Leftover { path: path.to_path_buf(), fate: Fate::Removed });
    for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
        directory::remove_if_there(loader.env, &segment_path(loader.dir, base, kind))?;
    }
    Ok(())
}

/// One segment's file, its rebuilt indexes, and what the walk over it found.
pub(super) struct Judged {
    log: Arc<LogFile>,
    indexes: GrowingIndexes,
    epochs: EpochRuns,
    found: Recovered,
}

pub(super) fn judge_segment(loader: &Loader<'_>, source: &Source, turn: Turn, state: Option<&State>) -> Result<Judged> {
    let Turn { base, start, due, upper, gaps_allowed } = turn;
    // That of the recovery point too: a reopening that failed may have given its name to a shorter copy.
    if loader.sync_failed && state.is_none_or(|state| base >= state.recovery_point.segment_base) {
        directory::renew_name(loader.env, loader.dir, base)?;
    }
    let log = Arc::new(LogFile::open(loader.env, &source.path, OpenMode::ReadWrite)?);
    let end = Position::new(log.len()?);
    if end < start {
        let reason = Corruption::Shortened { length: end.value(), durable: start.value() };
        return Err(Error::corrupt(&source.path, end, reason));
    }
    let resumed = match state {
        // Indexes may be in the cache alone, too.
        Some(state) if start > Position::ZERO && !loader.sync_failed => resume_indexes(loader, base, state)?,
        _ => None,
    };
    let (mut indexes, below) = match resumed {
        Some(indexes) => (indexes, Vec::new()),
        None => index_below(loader, &log, base, start, due)?,
    };
    let search_behind = state.is_none();
    let recovery = Recovery { log: &log, base, start, next_offset: due, end, upper, gaps_allowed, search_behind };
    let mut epochs = EpochRuns::default();
    let mut found = recover(&recovery, |position, header, facts| {
        indexes.note_batch(position, facts);
        epochs.note(header);
    })?;
    found.damage.splice(..0, below);
    if loader.sync_failed {
        write_again(&log, start, found.good_end)?;
    }
    Ok(Judged { log, indexes, epochs, found })
}

/// The indexes as of the recovery point, if their files still hold what the state says.
fn resume_indexes(loader: &Loader<'_>, base: Offset, state: &State) -> Result<Option<GrowingIndexes>> {
    let marks = state.index_marks;
    let offset_path = segment_path(loader.dir, base, SegmentFile::OffsetIndex);
    let time_path = segment_path(loader.dir, base, SegmentFile::TimeIndex);
    let whole = OffsetIndex::verify_prefix(loader.env, &offset_path, marks.offset_entries, marks.offset_crc)?
        && TimeIndex::verify_prefix(loader.env, &time_path, marks.time_entries, marks.time_crc)?;
    if !whole {
        return Ok(None);
    }
    let known = KnownIndexes {
        offset_entries: marks.offset_entries,
        time_entries: marks.time_entries,
        position: state.recovery_point.position,
        max_timestamp: state.max_timestamp.map(|(timestamp, offset)| MaxTimestamp { timestamp, offset }),
    };
    GrowingIndexes::resume(loader.env, loader.dir, base, loader.index_rules(), &known).map(Some)
}

/// Indexes that cannot be trusted are made anew, from the segment's beginning to the recovery point. What is not good
/// there is damage below the durable mark.
fn index_below(
    loader: &Loader<'_>,
    log: &Arc<LogFile>,
    base: Offset,
    start: Position,
    due: Offset,
) -> Result<(GrowingIndexes, Vec<DamagedRange>)> {
    let mut indexes = GrowingIndexes::create(loader.env, loader.dir, base, loader.index_rules())?;
    let recovery = Recovery {
        log,
        base,
        start: Position::ZERO,
        next_offset: base,
        end: start,
        upper: Some(due),
        gaps_allowed: true,
        search_behind: true,
    };
    let mut found = recover(&recovery, |position, _, facts| indexes.note_batch(position, facts))?;
    if let Some(tail) = found.tail {
        let first_offset = found.next_offset;
        found.damage.push(DamagedRange {
            start: tail.start,
            end: start,
            first_offset,
            next_offset: due,
            reason: tail.reason,
        });
    }
    Ok((indexes, found.damage))
}

/// Makes the indexes of a segment anew from its good batches.
pub(crate) fn rebuild_indexes(loader: &Loader<'_>, base: Offset, end: Position) -> Result<KnownIndexes> {
    let path = segment_path(loader.dir, base, SegmentFile::Log);
    let log = Arc::new(LogFile::open(loader.env, &path, OpenMode::Read)?);
    let (mut indexes, _) = index_below(loader, &log, base, end, Offset::MAX)?;
    settle(&mut indexes)?;
    Ok(known(&indexes, end))
}

/// Completes indexes and makes them durable. Without room they stay sparser than they could be: a full disk must not
/// keep a log from being opened.
fn settle(indexes: &mut GrowingIndexes) -> Result<()> {
    match indexes.finish().and_then(|()| indexes.sync()) {
        Err(Error::StorageFull { .. }) => Ok(()),
        answer => answer,
    }
}

fn known(indexes: &GrowingIndexes, position: Position) -> KnownIndexes {
    let marks = indexes.marks();
    KnownIndexes {
        offset_entries: marks.offset_entries,
        time_entries: marks.time_entries,
        position,
        max_timestamp: indexes.max_timestamp(),
    }
}

/// After a failed sync bytes, and a cut, may be in the page cache, clean, and not on disk: they are made dirty again
/// before they are synced (rule 29).
fn write_again(log: &Arc<LogFile>, start: Position, end: Position) -> Result<()> {
    let mut chunk = vec![0; REWRITE_CHUNK_BYTES];
    let mut position = start;
    while position < end {
        let wanted = usize::try_from(end - position).unwrap_or(usize::MAX).min(chunk.len());
        let read = log.read(&mut chunk[..wanted], position)?;
        if read == 0 {
            return Err(Error::corrupt(
                log.path(),
                position,
                Corruption::Shortened { length: position.value(), durable: end.value() },
            ));
        }
        log.write_vectored(&mut [IoSlice::new(&chunk[..read])], position).map_err(|failed| failed.error)?;
        position += u64::try_from(read).expect("a chunk is small");
    }
    log.set_len(Position::new(log.len()?))
}

/// Cuts off what lies behind the good batches, keeps it aside, and makes the rest durable.
fn keep_good(loader: &Loader<'_>, base: Offset, judged: Judged, report: &mut RecoveryReport) -> Result<Last> {
    let Judged { mut log, mut indexes, found, .. } = judged;
    if let Some(tail) = found.tail {
        let kept = torn::keep_tail(loader.env, loader.dir, base, &log, &tail)?;
        report.torn.push(torn_report(&log, &tail, kept));
        log = cut_tail(loader, base, log, found.good_end)?;
    }
    log.sync()?;
    settle(&mut indexes)?;
    Ok(Last {
        base,
        next_offset: found.next_offset,
        known: known(&indexes, found.good_end),
        damage: found.damage,
        unusable_from: None,
    })
}

/// Cuts a segment's file, in place where nobody was ever shown what goes. Else a shorter copy takes its name: a reader from
/// before a reopening may hold the bytes, and a receiver may not have got them yet (rule 31).
fn cut_tail(loader: &Loader<'_>, base: Offset, log: Arc<LogFile>, end: Position) -> Result<Arc<LogFile>> {
    // Of a segment that went before the failure, and whose file did not, it is not known how much was shown.
    let was_shown = loader.shown.is_some_and(|shown| shown.get(&base).is_none_or(|&shown| shown > end));
    if !was_shown {
        log.set_len(end)?;
        return Ok(log);
    }
    write_aside(loader.env, loader.dir, base, &log, end, &[])?;
    take_name(loader.env, loader.dir, base)?;
    directory::sync_dir(loader.env, loader.dir)?;
    Ok(Arc::new(LogFile::open(loader.env, log.path(), OpenMode::ReadWrite)?))
}

fn torn_report(log: &Arc<LogFile>, tail: &Tail, kept: Option<PathBuf>) -> TornTail {
    TornTail {
        path: log.path().to_path_buf(),
        position: tail.start,
        bytes: tail.end - tail.start,
        zeros: tail.is_zeros(),
        reason: tail.reason,
        kept,
    }
}

/// The end of a segment is damaged, and a later segment, or something that looks like batches, follows: it stays.
fn damaged_end(base: Offset, judged: Judged, tail: Tail, next_offset: Offset) -> Result<Last> {
    let Judged { log, mut indexes, mut found, .. } = judged;
    let first_offset = found.next_offset;
    found.damage.push(DamagedRange {
        start: tail.start,
        end: tail.end,
        first_offset,
        next_offset: next_offset.max(first_offset),
        reason: tail.reason,
    });
    log.sync()?;
    settle(&mut indexes)?;
    // The name of the segment that goes on behind this one must be another.
    let next_offset = next_offset.max(base + 1);
    Ok(Last {
        base,
        next_offset,
        known: KnownIndexes { position: tail.end, ..known(&indexes, tail.end) },
        damage: found.damage,
        unusable_from: Some(tail.start),
    })
}

/// Turns the first damage into a tail to be cut. `false` if there is none.
fn cut_as_kafka(judged: &mut Judged, upper: Option<Offset>) -> bool {
    let found = &mut judged.found;
    if let Some(first) = found.damage.first().cloned() {
        let end = found.tail.map_or(found.good_end, |tail| tail.end);
        found.good_end = first.start;
        found.next_offset = first.first_offset;
        let start = first.start;
        found.tail = Some(Tail { start, end, nonzero_end: end, reason: first.reason, unsure: false });
        found.damage.clear();
        return true;
    }
    match found.tail {
        Some(tail) => tail.unsure || (upper.is_some() && !(tail.is_zeros() && upper == Some(found.next_offset))),
        None => false,
    }
}

/// A segment cut where its damage begins; its indexes are made again for what is left of it.
fn rebuild_cut(
    loader: &Loader<'_>,
    source: &Source,
    base: Offset,
    judged: Judged,
    report: &mut RecoveryReport,
) -> Result<(Last, Option<Witness>)> {
    let Judged { log, indexes, found, .. } = judged;
    drop(indexes);
    let tail = found.tail.expect("what is to be cut was made a tail");
    let kept = torn::keep_tail(loader.env, loader.dir, base, &log, &tail)?;
    report.torn.push(torn_report(&log, &tail, kept));
    cut_tail(loader, base, log, found.good_end)?.sync()?;
    let turn = Turn { base, start: Position::ZERO, due: base, upper: None, gaps_allowed: true };
    let again = judge_segment(loader, source, turn, None)?;
    let witness = again.found.last_batch.as_ref().map(|(position, header)| witness_of(base, *position, header));
    Ok((keep_good(loader, base, again, report)?, witness))
}

/// Takes whole segments behind the end of the log out of service; their bytes are kept.
fn set_aside<'a>(
    loader: &Loader<'_>,
    after: Offset,
    rest: impl Iterator<Item = (&'a Offset, &'a Source)>,
    report: &mut RecoveryReport,
) -> Result<()> {
    for (&base, source) in rest {
        let bytes = file_size(loader.env, &source.path)?;
        let kept = torn::keep_segment(loader.env, loader.dir, base)?;
        report.torn.push(TornTail {
            path: source.path.to_path_buf(),
            position: Position::ZERO,
            bytes,
            zeros: false,
            reason: Corruption::OffsetGap { found: base.to_disk(), expected: after.to_disk() },
            kept: Some(kept),
        });
    }
    Ok(())
}
