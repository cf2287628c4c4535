//! One base offset and its files: the `.log`, the offset index and the time index.
//!
//! A [`Segment`] is what readers share: lookup by offset and by time, bounded by what was published. A
//! [`writer::SegmentWriter`] appends to it, [`recover`] judges and mends it after a crash. It knows no other segment and
//! no policy. Invariants it owns: readers never look behind the published size; an index entry is believed only if the
//! batch at its position agrees with it (rule 25).

use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};

use crate::error::{Corruption, Error, IoOp, Result};
use crate::fs::{Env, OpenMode};
use crate::index::{OffsetEntry, OffsetIndex, TimeIndex};
use crate::names::SegmentFile;
use crate::offset::{Offset, Position, Timestamp};
use crate::record::{BatchHeader, HEADER_BYTES};
use crate::sync::RwLock;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

mod file;
mod indexes;
mod mapped;
mod recover;
mod scan;
mod time;
mod truncate;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use file::LogFile;
pub(crate) use indexes::{BatchFacts, GrowingIndexes, IndexRules, KnownIndexes, MaxTimestamp, path};
pub(crate) use recover::{Recovered, Recovery, Tail, holds_a_good_batch, last_nonzero, recover};
pub(crate) use scan::Scanner;
pub(crate) use time::{NO_TIMESTAMP, is_time_entry_of};
pub(crate) use truncate::{
    CutPlace, discard_aside, find_cut, last_batch, later, surviving_indexes, take_name, write_aside,
};
pub(crate) use writer::{AppendFailure, MOST_STORED_BYTES, RollReason, Sealed, SegmentWriter, Shape};

/// How far a segment's offsets may lie above its base offset.
pub(crate) const MAX_RELATIVE_OFFSET: u64 = i32::MAX as u64;

/// A part of a `.log` whose bytes are not what was written there.
#[derive(Clone, Debug)]
pub(crate) struct DamagedRange {
    pub(crate) start: Position,
    /// Where the next sound batch begins, or the end of the file.
    pub(crate) end: Position,
    /// The first offset that may be lost.
    pub(crate) first_offset: Offset,
    /// The first offset that is sound again.
    pub(crate) next_offset: Offset,
    pub(crate) reason: Corruption,
}

/// One segment as readers see it.
#[derive(Debug)]
pub(crate) struct Segment {
    base: Offset,
    files: Files,
    /// Bytes of the `.log` that readers may see. Raised after the bytes are there.
    published_bytes: AtomicU64,
    /// Somebody asked for the open files since the last look at who did.
    used: AtomicBool,
    /// Open files; `None` until first use and again after [`Segment::close_handles`].
    handles: RwLock<Option<Arc<Handles>>>,
    /// The log's no more: its names may belong to other files by now. Changed under the lock of the handles.
    retired: AtomicBool,
    /// In the order of the file.
    damage: Vec<DamagedRange>,
    /// Where the file ends, if what lies behind the published bytes is torn and was left there.
    torn_end: Option<Position>,
    time_bound: time::TimeBound,
    /// How many offsets the batch had that a lookup saw last; 0 before the first. A guess saves reading, and nothing else.
    offsets_of_batch: AtomicU64,
    /// The largest timestamp of its records, once the segment takes no more of them and somebody has asked.
    largest_timestamp: OnceLock<Option<Timestamp>>,
}

/// Where a segment's files are. Paths are made when they are asked for: a log may have ten thousand segments, few of
/// them open.
#[derive(Debug)]
enum Files {
    /// In this directory, under their final names.
    Ours(Arc<Path>),
    /// The same, but nobody vouches for the indexes, and another process may be writing them: they are read by calls,
    /// never mapped (rule 23).
    Unvouched(Arc<Path>),
    /// The `.log` alone, under this name.
    Unindexed(Arc<Path>),
}

/// The open files of a segment. A slice keeps the log file alone.
#[derive(Debug)]
pub(crate) struct Handles {
    pub(crate) log: Arc<LogFile>,
    /// Absent where an index cannot be opened: then lookups scan.
    pub(crate) offset_index: Option<Arc<OffsetIndex>>,
    pub(crate) time_index: Option<Arc<TimeIndex>>,
}

/// Whether anybody has the files, or the `.log` among them, but the segment itself.
fn are_held(handles: &Arc<Handles>) -> bool {
    Arc::strong_count(handles) > 1 || Arc::strong_count(&handles.log) > 1
}

impl Segment {
    /// A segment under its final names, of which `published` bytes may be read.
    pub(crate) fn new(dir: &Path, base: Offset, published: Position, damage: Vec<DamagedRange>) -> Segment {
        Segment::within(&dir.into(), base, published, damage)
    }

    /// The same, sharing the path of the directory with other segments.
    pub(crate) fn within(dir: &Arc<Path>, base: Offset, published: Position, damage: Vec<DamagedRange>) -> Segment {
        Segment::of(Files::Ours(Arc::clone(dir)), base, published, damage)
    }

    /// A segment whose indexes nobody vouches for. The offset index is used, for the batch at an entry's position
    /// tells whether the entry is right; an entry of the time index cannot be checked like that.
    pub(crate) fn unvouched(dir: &Arc<Path>, base: Offset, published: Position, damage: Vec<DamagedRange>) -> Segment {
        Segment::of(Files::Unvouched(Arc::clone(dir)), base, published, damage)
    }

    /// A segment that is read where it lies, under whatever name, and without its indexes.
    pub(crate) fn unindexed(
        log_path: Arc<Path>,
        base: Offset,
        published: Position,
        damage: Vec<DamagedRange>,
    ) -> Segment {
        Segment::of(Files::Unindexed(log_path), base, published, damage)
    }

    fn of(files: Files, base: Offset, published: Position, damage: Vec<DamagedRange>) -> Segment {
        Segment {
            base,
            files,
            published_bytes: AtomicU64::new(published.value()),
            used: AtomicBool::new(false),
            handles: RwLock::new(None),
            retired: AtomicBool::new(false),
            damage,
            torn_end: None,
            time_bound: time::TimeBound::unknown(),
            offsets_of_batch: AtomicU64::new(0),
            largest_timestamp: OnceLock::new(),
        }
    }

    /// The segment, with a torn tail that ends here. Readers do not see it unless they ask for it.
    pub(crate) fn with_torn_end(self, end: Option<Position>) -> Segment {
        Segment { torn_end: end, ..self }
    }

    pub(crate) fn base(&self) -> Offset {
        self.base
    }

    pub(crate) fn log_path(&self) -> Arc<Path> {
        match &self.files {
            Files::Ours(dir) | Files::Unvouched(dir) => path(dir, self.base, SegmentFile::Log),
            Files::Unindexed(log_path) => Arc::clone(log_path),
        }
    }

    pub(crate) fn damage(&self) -> &[DamagedRange] {
        &self.damage
    }

    /// Where the torn tail behind the published bytes ends, if there is one.
    pub(crate) fn torn_end(&self) -> Option<Position> {
        self.torn_end
    }

    /// Bytes that readers may see.
    pub(crate) fn published(&self) -> Position {
        Position::new(self.published_bytes.load(Ordering::Acquire))
    }

    /// Lets readers see the bytes below `position`, which are there.
    pub(crate) fn publish(&self, position: Position) {
        // One thread at a time writes to a segment, or follows who does: it need not be one step.
        if position > self.published() {
            self.published_bytes.store(position.value(), Ordering::Release);
        }
    }

    /// The open files, and whether this call opened them.
    pub(crate) fn open(&self, env: &Env) -> Result<(Arc<Handles>, bool)> {
        if let Some(handles) = &*self.handles.read() {
            // Not stored without need, for all readers look at it.
            if !self.used.load(Ordering::Relaxed) {
                self.used.store(true, Ordering::Relaxed);
            }
            return Ok((Arc::clone(handles), false));
        }
        let mut slot = self.handles.write();
        if let Some(handles) = &*slot {
            return Ok((Arc::clone(handles), false));
        }
        let handles = Arc::new(self.open_files(env)?);
        *slot = Some(Arc::clone(&handles));
        Ok((handles, true))
    }

    fn open_files(&self, env: &Env) -> Result<Handles> {
        if self.retired.load(Ordering::Acquire) {
            let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(Error::io(IoOp::Open, &self.log_path(), &gone));
        }
        let log = Arc::new(LogFile::open(env, &self.log_path(), OpenMode::Read)?);
        // Without an index lookups scan, which is slower and as right.
        let offset_index = self.open_offset_index(env).and_then(Result::ok).map(Arc::new);
        Ok(Handles { log, offset_index, time_index: self.open_time_index(env) })
    }

    fn open_offset_index(&self, env: &Env) -> Option<Result<OffsetIndex>> {
        let name = |dir| path(dir, self.base, SegmentFile::OffsetIndex);
        match &self.files {
            Files::Ours(dir) => Some(OffsetIndex::open_sealed(env, &name(dir), self.base, None)),
            Files::Unvouched(dir) => Some(OffsetIndex::open_foreign(env, &name(dir), self.base)),
            Files::Unindexed(_) => None,
        }
    }

    /// Puts the writer's own files in place, so that readers share them.
    pub(crate) fn set_handles(&self, handles: Handles) {
        *self.handles.write() = Some(Arc::new(handles));
    }

    /// Forgets the open files. Whoever still holds them goes on reading.
    pub(crate) fn close_handles(&self) {
        *self.handles.write() = None;
    }

    /// Whether somebody asked for the open files since this was asked last.
    pub(crate) fn was_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// Forgets the open files, unless somebody else has them or the `.log`, which would then stay open all the same. `true`
    /// if they are forgotten.
    pub(crate) fn close_unless_held(&self) -> bool {
        let mut slot = self.handles.write();
        if slot.as_ref().is_some_and(are_held) {
            return false;
        }
        *slot = None;
        true
    }

    /// Whether somebody else has the open files, or the `.log`.
    pub(crate) fn is_held(&self) -> bool {
        self.handles.read().as_ref().is_some_and(are_held)
    }

    /// The `.log`, if somebody else has it.
    pub(crate) fn held_file(&self) -> Option<Weak<LogFile>> {
        let slot = self.handles.read();
        slot.as_ref().filter(|handles| are_held(handles)).map(|handles| Arc::downgrade(&handles.log))
    }

    /// Nobody opens its files by name any more, for other files may get these names. Whoever has them open reads on.
    pub(crate) fn retire(&self) {
        let _slot = self.handles.write();
        self.retired.store(true, Ordering::Release);
    }

    /// Whether nobody but the map of segments, its writer, and the caller with these two, holds this segment, its files, or
    /// a slice of them. The caller keeps the map locked, so that nobody comes by it meanwhile.
    pub(crate) fn is_held_by_its_writer_and(
        self: &Arc<Segment>,
        segment: &Arc<Segment>,
        handles: &Arc<Handles>,
    ) -> bool {
        let slot = self.handles.write();
        let ours = Arc::ptr_eq(self, segment) && slot.as_ref().is_some_and(|held| Arc::ptr_eq(held, handles));
        // The segment: map, writer, caller. Its files: the segment, the caller. The `.log`: the files, the writer.
        let alone =
            Arc::strong_count(segment) == 3 && Arc::strong_count(handles) == 2 && Arc::strong_count(&handles.log) == 2;
        // What those did who let go of it is seen from here on.
        fence(Ordering::Acquire);
        ours && alone
    }

    /// A scan that begins at or before the batch that holds `target`, at the best place the offset index knows.
    pub(crate) fn scan_towards(&self, handles: &Handles, target: Offset) -> Result<Scanner> {
        self.scan_over(handles, target, Offset::MAX)
    }

    /// As [`Segment::scan_towards`], for somebody who wants to read up to the batch of `last`: if the index tells where that
    /// ends, the first read probably reaches there, and not much further.
    pub(crate) fn scan_over(&self, handles: &Handles, target: Offset, last: Offset) -> Result<Scanner> {
        let end = self.published();
        let from = |position| Scanner::new(Arc::clone(&handles.log), position, end);
        let around = handles.offset_index.as_ref().and_then(|index| index.around(target).ok());
        let Some((entry, next)) = around else { return Ok(from(Position::ZERO)) };
        if entry.position > Position::ZERO && entry.position < end {
            let mut scan = from(entry.position);
            if let Some(next) = next.filter(|next| last < next.offset)
                && let Some(bytes) = self.reach(entry, next, last)
            {
                scan = scan.fetching(bytes);
            }
            match scan.peek() {
                Ok(Some(header)) if self.agrees(&header, entry.offset) => {
                    self.learn(&header);
                    return Ok(scan);
                }
                // Damaged bytes, or an entry that points elsewhere: the scan from the start will tell.
                Ok(_) | Err(Error::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(from(Position::ZERO))
    }

    /// How many bytes from an entry's batch on hold the batch of `last`, which lies before the next entry, if all batches
    /// there are as large as each other. Half a batch more, unless all bytes can be shared out evenly: then they probably are.
    fn reach(&self, entry: OffsetEntry, next: OffsetEntry, last: Offset) -> Option<u64> {
        let bytes = next.position.value().checked_sub(entry.position.value())?;
        let offsets = next.offset.checked_distance(entry.offset).filter(|&offsets| offsets > 0)?;
        let of_batch = self.offsets_of_batch.load(Ordering::Relaxed).clamp(1, offsets);
        let batches = last.checked_distance(entry.offset)?.div_ceil(of_batch) + 1;
        let shared_out = bytes.checked_mul(of_batch)?;
        let halves = 2 * batches + u64::from(!shared_out.is_multiple_of(offsets));
        Some(shared_out.checked_mul(halves)? / (2 * offsets))
    }

    /// Takes note of how many offsets a batch has here.
    fn learn(&self, header: &BatchHeader) {
        let offsets = u64::from(header.last_offset_delta.unsigned_abs()) + 1;
        // Not stored without need, for all readers look at it.
        if self.offsets_of_batch.load(Ordering::Relaxed) != offsets {
            self.offsets_of_batch.store(offsets, Ordering::Relaxed);
        }
    }

    /// A scan that begins at the last batch that the offset index knows not to lie behind `limit` nor to reach `end`, if
    /// that lies behind `passed`, with what it takes to walk from there to `limit`.
    pub(crate) fn scan_before(
        &self,
        handles: &Handles,
        passed: Position,
        limit: Position,
        end: Offset,
    ) -> Result<Option<Scanner>> {
        // An index that cannot be read saves nothing.
        let last = handles.offset_index.as_ref().and_then(|index| index.last_within(limit, end).ok().flatten());
        let Some(entry) = last.filter(|entry| passed < entry.position && entry.position < self.published()) else {
            return Ok(None);
        };
        let wanted = limit - entry.position + HEADER_BYTES as u64;
        let scan = Scanner::new(Arc::clone(&handles.log), entry.position, self.published());
        let mut scan = scan.fetching(wanted);
        match scan.peek() {
            Ok(Some(header)) if self.agrees(&header, entry.offset) => Ok(Some(scan)),
            Ok(_) | Err(Error::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An index entry names the last offset of the batch at its position, or, if an older Kafka wrote it, the last
    /// offset of the append that begins there.
    fn agrees(&self, header: &BatchHeader, entry_offset: Offset) -> bool {
        header.last_offset() <= entry_offset && header.base_offset().is_none_or(|base| base >= self.base)
    }

    /// The first batch whose last offset is `target` or above, and the scan that stands at it. `None` if all lie below.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if `target` may lie in a damaged range.
    pub(crate) fn find(&self, handles: &Handles, target: Offset) -> Result<Option<(Scanner, BatchHeader)>> {
        let mut scan = self.scan_over(handles, target, target)?;
        loop {
            if let Some(damaged) = self.damage_at(scan.position()) {
                if target < damaged.next_offset {
                    return Err(scan.corrupt(damaged.reason));
                }
                scan.skip_to(damaged.end.min(scan.end()));
            }
            let Some(header) = scan.peek()? else { return Ok(None) };
            if header.last_offset() >= target {
                return Ok(Some((scan, header)));
            }
            scan.skip(&header);
        }
    }

    /// The damaged range that begins at `position`.
    pub(crate) fn damage_at(&self, position: Position) -> Option<&DamagedRange> {
        self.damage_from(position).first().filter(|damaged| damaged.start == position)
    }

    /// The damaged range that `position` lies in.
    pub(crate) fn damage_around(&self, position: Position) -> Option<&DamagedRange> {
        self.damage.iter().find(|damaged| damaged.start <= position && position < damaged.end)
    }

    /// Where the first damaged range at or behind `position` begins.
    pub(crate) fn next_damage(&self, position: Position) -> Option<Position> {
        self.damage_from(position).first().map(|damaged| damaged.start)
    }

    /// The damaged ranges that begin at or behind `position`. There may be as many as batches.
    fn damage_from(&self, position: Position) -> &[DamagedRange] {
        &self.damage[self.damage.partition_point(|damaged| damaged.start < position)..]
    }
}
