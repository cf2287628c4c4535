//! The one writer of the active segment.
//!
//! It writes whole batches behind each other, keeps both indexes, and says when the segment must roll. It takes no lock
//! and publishes nothing: the log does. Invariants it owns: what lies behind the log end of the active file is zeros
//! or nothing (rule 11b); a failed write leaves the file as it was, or the log is failed (rules 6 and 33).

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use crate::config::{MAX_SEGMENT_BYTES, NotMapped, WriteMode};
use crate::error::{Error, IoOp, Result};
use crate::fs::{Env, OpenMode, Window, retry};
use crate::names::SegmentFile;
use crate::offset::{Offset, Position, Timestamp};
use crate::record::{BatchHeader, PlannedBatch};
use crate::state::IndexMarks;

use super::file::{FailedWrite, LogFile};
use super::indexes::{BatchFacts, GrowingIndexes, IndexRules, KnownIndexes, MaxTimestamp, path};
use super::mapped::{MappedTail, WindowDesk};
use super::{DamagedRange, Handles, MAX_RELATIVE_OFFSET, Segment};

/// How much room is allocated ahead at once, in bytes.
const WINDOW_BYTES: u64 = 16 << 20;
/// The last part of a segment, in bytes, to which no room is allocated ahead.
const LEFT_TO_WRITES: u64 = 64 << 10;
/// The largest append that is stored into a map, in bytes. Above it a positioned write costs less than the faults and the
/// checksum over memory that was just left.
pub(crate) const MOST_STORED_BYTES: usize = 64 << 10;

/// What a writer needs to know of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) segment_bytes: u64,
    /// How long the segment may span, its share of the jitter taken off.
    pub(crate) segment_ms: u64,
    pub(crate) write_mode: WriteMode,
    /// How much is mapped at once.
    pub(crate) window_bytes: u64,
    pub(crate) indexes: IndexRules,
}

/// Appends to one segment.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    segment: Arc<Segment>,
    log: Arc<LogFile>,
    indexes: GrowingIndexes,
    shape: Shape,
    /// End of the written batches.
    position: Position,
    next_offset: Offset,
    /// Room reserved ahead reaches to here; `position` or above if there is any.
    allocated: Position,
    /// The file may reach to here: an allocation that runs out of room may have made it longer before.
    reach: Position,
    /// Room is not allocated behind this.
    growth_limit: u64,
    /// The size of the largest batch so far.
    largest_batch: u64,
    /// `fallocate` is not to be had on this file system.
    allocation_refused: bool,
    tail: MappedTail,
    /// A store was begun and not finished: bytes of it may lie behind the log end.
    half_stored: bool,
    /// What was to be stored and found no window.
    scratch: Vec<u8>,
    first_timestamp: FirstTimestamp,
    /// The clock when this segment was begun or opened.
    opened_at: Timestamp,
}

/// The largest timestamp of the first batch, from which a roll by time counts.
#[derive(Clone, Copy, Debug)]
enum FirstTimestamp {
    /// The segment had batches when it was opened; nobody has looked yet.
    Unread,
    Known(Option<Timestamp>),
}

/// Why the active segment ends before the next append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RollReason {
    Size,
    Time,
    IndexFull,
    OffsetOverflow,
}

/// What a failed append leaves behind.
#[derive(Debug)]
pub(crate) enum AppendFailure {
    /// The file is as it was.
    Unchanged(Error),
    /// The file's end is unknown: the log is failed.
    Unknown(Error),
}

impl SegmentWriter {
    /// Begins a segment: its files are new, its name is not yet durable.
    pub(crate) fn create(env: &Env, dir: &Path, base: Offset, shape: Shape) -> Result<SegmentWriter> {
        let log_path = path(dir, base, SegmentFile::Log);
        let log = Arc::new(LogFile::open(env, &log_path, OpenMode::CreateNew)?);
        let indexes = match GrowingIndexes::create(env, dir, base, shape.indexes) {
            Ok(indexes) => indexes,
            Err(error) => {
                // Else the next attempt would find the name taken. An empty file that stays is found at the next open.
                drop(env.remove_file(&log_path));
                return Err(error);
            }
        };
        let segment = Arc::new(Segment::new(dir, base, Position::ZERO, Vec::new()));
        let first = FirstTimestamp::Known(None);
        Ok(SegmentWriter::over(segment, log, indexes, shape, Position::ZERO, base, first, env.wall_clock()))
    }

    /// Goes on with a segment that ends at `position`, where its file ends too.
    pub(crate) fn resume(
        env: &Env,
        dir: &Path,
        base: Offset,
        shape: Shape,
        next_offset: Offset,
        known: &KnownIndexes,
        damage: Vec<DamagedRange>,
    ) -> Result<SegmentWriter> {
        let log = Arc::new(LogFile::open(env, &path(dir, base, SegmentFile::Log), OpenMode::ReadWrite)?);
        // Whoever had the file open before, and has gone, may have sent what is in it.
        log.note_sent(known.position);
        let indexes = GrowingIndexes::resume(env, dir, base, shape.indexes, known)?;
        let segment = Arc::new(Segment::new(dir, base, known.position, damage));
        let first = if known.position > Position::ZERO { FirstTimestamp::Unread } else { FirstTimestamp::Known(None) };
        Ok(SegmentWriter::over(segment, log, indexes, shape, known.position, next_offset, first, env.wall_clock()))
    }

    #[expect(clippy::too_many_arguments, reason = "one private place that puts the fields together")]
    fn over(
        segment: Arc<Segment>,
        log: Arc<LogFile>,
        indexes: GrowingIndexes,
        shape: Shape,
        position: Position,
        next_offset: Offset,
        first_timestamp: FirstTimestamp,
        opened_at: Timestamp,
    ) -> SegmentWriter {
        segment.set_handles(Handles {
            log: Arc::clone(&log),
            offset_index: Some(Arc::clone(&indexes.offset)),
            time_index: Some(Arc::clone(&indexes.time)),
        });
        segment.set_time_bound(indexes.max_timestamp().map(|max| max.timestamp));
        SegmentWriter {
            segment,
            log,
            indexes,
            shape,
            position,
            next_offset,
            allocated: position,
            reach: position,
            growth_limit: u64::MAX,
            largest_batch: 0,
            allocation_refused: false,
            tail: MappedTail::new(position),
            half_stored: false,
            scratch: Vec::new(),
            first_timestamp,
            opened_at,
        }
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(crate) fn log(&self) -> &Arc<LogFile> {
        &self.log
    }

    pub(crate) fn base(&self) -> Offset {
        self.segment.base()
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Allocates no room behind this position from now on.
    pub(crate) fn limit_growth(&mut self, limit: u64) {
        self.growth_limit = limit;
    }

    pub(crate) fn next_offset(&self) -> Offset {
        self.next_offset
    }

    pub(crate) fn max_timestamp(&self) -> Option<MaxTimestamp> {
        self.indexes.max_timestamp()
    }

    /// How the segment is written at present, and, where that is not how it should be, why.
    pub(crate) fn write_mode(&self) -> (WriteMode, Option<NotMapped>) {
        match (self.shape.write_mode, self.tail.refused()) {
            (WriteMode::Preallocated, _) if self.allocation_refused => (WriteMode::Write, None),
            (WriteMode::Mapped, Some(reason)) => (WriteMode::Write, Some(reason)),
            (mode, _) => (mode, None),
        }
    }

    /// Takes over a changed configuration.
    pub(crate) fn set_shape(&mut self, shape: Shape) {
        self.shape = shape;
        if shape.write_mode != WriteMode::Mapped {
            drop(self.tail.unmap());
        }
    }

    /// Where windows are laid ready.
    pub(crate) fn desk(&self) -> &Arc<WindowDesk> {
        self.tail.desk()
    }

    /// Whether the maker of windows is to be told that one is wanted. It is asked once.
    pub(crate) fn takes_window_order(&mut self) -> bool {
        self.tail.take_order()
    }

    /// The worker could not make a window. What it allocated all the same is given back, for others may need the room;
    /// should that fail, or be undone by a crash, zeros lie behind the log end, which are cut off when the segment is
    /// sealed.
    pub(crate) fn note_window_refused(&mut self, reason: NotMapped) {
        let needed = self.tail.note_refusal(reason, self.position);
        drop(self.log.set_len(needed));
    }

    /// Whether the segment must roll before `size_bytes` with these offsets and times are appended, and why.
    pub(crate) fn must_roll(
        &mut self,
        size_bytes: u64,
        last_offset: Offset,
        max_timestamp: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Option<RollReason>> {
        if last_offset.checked_distance(self.base()).is_none_or(|above| above > MAX_RELATIVE_OFFSET) {
            return Ok(Some(RollReason::OffsetOverflow));
        }
        if self.position == Position::ZERO {
            return Ok(None);
        }
        let limit = self.shape.segment_bytes.min(MAX_SEGMENT_BYTES);
        if self.position.value().saturating_add(size_bytes) > limit {
            return Ok(Some(RollReason::Size));
        }
        if self.indexes.is_full() {
            return Ok(Some(RollReason::IndexFull));
        }
        let waited = match (self.first_batch_timestamp()?, max_timestamp) {
            // Where the first batch has a time, the clock has no say, not even for a batch without one.
            (Some(first), incoming) if first.as_millis() >= 0 => {
                incoming.map_or(0, |incoming| incoming.as_millis().saturating_sub(first.as_millis()))
            }
            _ => now.as_millis().saturating_sub(self.opened_at.as_millis()),
        };
        let too_long = u64::try_from(waited).is_ok_and(|waited| waited > self.shape.segment_ms);
        Ok(too_long.then_some(RollReason::Time))
    }

    fn first_batch_timestamp(&mut self) -> Result<Option<Timestamp>> {
        if let FirstTimestamp::Known(timestamp) = self.first_timestamp {
            return Ok(timestamp);
        }
        let mut scan = super::Scanner::new(Arc::clone(&self.log), Position::ZERO, self.position);
        let timestamp = match scan.peek() {
            Ok(header) => header.and_then(|header| Timestamp::from_disk(header.max_timestamp)),
            // A damaged first batch has no time; the clock decides.
            Err(Error::Corrupt { .. }) => None,
            Err(error) => return Err(error),
        };
        self.first_timestamp = FirstTimestamp::Known(timestamp);
        Ok(timestamp)
    }

    /// Appends encoded batches, given in parts that follow each other, with what the indexes must know of each.
    pub(crate) fn append(
        &mut self,
        parts: &mut [IoSlice<'_>],
        batches: &[BatchFacts],
    ) -> std::result::Result<(), AppendFailure> {
        let size_bytes: u64 = batches.iter().map(|batch| batch.size_bytes).sum();
        let end = self.position + size_bytes;
        assert!(end.value() <= MAX_SEGMENT_BYTES, "the log rolls before a segment outgrows its positions");
        let is_stored = self.store(size_bytes, |mut room| {
            for part in &*parts {
                let (these, rest) = room.split_at_mut(part.len());
                these.copy_from_slice(part);
                room = rest;
            }
            assert!(room.is_empty(), "the parts are the batches");
        })?;
        if !is_stored {
            self.write_at_end(parts, size_bytes)?;
        }
        self.note_written(batches);
        Ok(())
    }

    /// Appends a batch that was not encoded yet: straight into the map, if it has room for it. The header gets its checksum.
    #[inline]
    pub(crate) fn append_planned(
        &mut self,
        planned: &PlannedBatch<'_>,
        header: &mut BatchHeader,
    ) -> std::result::Result<(), AppendFailure> {
        assert!(self.position.value() + header.size_bytes <= MAX_SEGMENT_BYTES, "the log rolls before");
        let facts = [BatchFacts::of(header)];
        if self.store(header.size_bytes, |room| planned.store(header, room))? {
            self.note_written(&facts);
            return Ok(());
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(planned.size_bytes(), 0);
        planned.store(header, &mut scratch);
        let written = self.write_at_end(&mut [IoSlice::new(&scratch)], header.size_bytes);
        self.scratch = scratch;
        written?;
        self.note_written(&facts);
        Ok(())
    }

    /// Writes so many bytes behind the log end by positioned writes.
    fn write_at_end(&mut self, parts: &mut [IoSlice<'_>], size_bytes: u64) -> std::result::Result<(), AppendFailure> {
        let end = self.position + size_bytes;
        self.make_room(end).map_err(AppendFailure::Unchanged)?;
        if self.shape.write_mode == WriteMode::Mapped {
            self.tail.keep_off(self.position, end);
        }
        self.log.write_vectored(parts, self.position).map_err(|failed| self.take_back(failed))
    }

    /// Has the bytes behind the log end stored into the map. `false` if there is no window for so many.
    #[inline]
    fn store(&mut self, size_bytes: u64, into: impl FnOnce(&mut [u8])) -> std::result::Result<bool, AppendFailure> {
        if self.half_stored {
            self.take_store_back()?;
        }
        if self.shape.write_mode != WriteMode::Mapped || size_bytes > MOST_STORED_BYTES as u64 {
            return Ok(false);
        }
        let limit = self.room_limit(size_bytes);
        let Some(window) = self.tail.window(self.position, size_bytes, self.shape.window_bytes, limit) else {
            self.reach = self.reach.max(self.tail.asked_to());
            return Ok(false);
        };
        let len = usize::try_from(size_bytes).expect("small enough to be stored");
        self.half_stored = true;
        let store = Store { window, at: self.position, len };
        into(store.window.bytes_mut(store.at, len));
        drop(store);
        self.half_stored = false;
        Ok(true)
    }

    /// A store that a panic interrupted has left bytes behind the log end, where there must be zeros or nothing, durably,
    /// before anything is appended (rule 11b).
    #[cold]
    fn take_store_back(&mut self) -> std::result::Result<(), AppendFailure> {
        self.cut(self.position).map_err(AppendFailure::Unknown)?;
        self.half_stored = false;
        Ok(())
    }

    /// Takes note of batches that lie behind the log end now.
    fn note_written(&mut self, batches: &[BatchFacts]) {
        if self.position == Position::ZERO {
            self.first_timestamp = FirstTimestamp::Known(batches.iter().filter_map(|batch| batch.max_timestamp).max());
        }
        for batch in batches {
            assert!(batch.last_offset >= self.next_offset, "offsets rise");
            assert!(batch.last_offset - self.base() <= MAX_RELATIVE_OFFSET, "the log rolls before offsets overflow");
            self.indexes.note_batch(self.position, batch);
            self.largest_batch = self.largest_batch.max(batch.size_bytes);
            self.position += batch.size_bytes;
            self.next_offset = batch.last_offset + 1;
        }
        self.segment.set_time_bound(self.indexes.max_timestamp().map(|max| max.timestamp));
        self.allocated = self.allocated.max(self.position);
        self.reach = self.reach.max(self.position).max(self.tail.asked_to());
    }

    /// Where allocated room ends at the latest, so that nothing of it is left once the segment is full: what is left has to
    /// be cut off, and the cut made durable with everything else in the file, while all appends wait (rule 11a).
    fn room_limit(&self, size_bytes: u64) -> u64 {
        let limit = self.shape.segment_bytes.min(self.growth_limit);
        limit - LEFT_TO_WRITES.max(self.largest_batch).max(size_bytes).min(limit / 8)
    }

    /// Allocates ahead so that the file has room up to `end`.
    fn make_room(&mut self, end: Position) -> Result<()> {
        if self.write_mode() != (WriteMode::Preallocated, None) || end <= self.allocated {
            return Ok(());
        }
        let most = self.room_limit(end - self.position);
        if end.value() > most {
            return Ok(());
        }
        let window = Position::new((self.allocated.value() + WINDOW_BYTES).min(most));
        match self.allocate(window.max(end)) {
            // A smaller piece may still fit.
            Err(Error::StorageFull { .. }) if window > end => self.allocate(end),
            answer => answer,
        }
    }

    fn allocate(&mut self, target: Position) -> Result<()> {
        match retry(|| self.log.file().allocate(self.allocated, target)) {
            Ok(()) => {
                self.allocated = target;
                self.reach = self.reach.max(target);
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
                self.allocation_refused = true;
                Ok(())
            }
            Err(error) => {
                // What it got before it failed is given back, for others may need the room. Should that fail, or be
                // undone by a crash, then zeros lie behind the log end; they are cut off when the segment is sealed.
                self.reach = self.reach.max(target);
                drop(self.log.set_len(self.allocated));
                Err(Error::io(IoOp::Allocate, self.log.path(), &error))
            }
        }
    }

    /// Cuts a failed write off again, durably: what is appended next may differ, and a crash must not splice the two
    /// (rule 10).
    fn take_back(&mut self, failed: FailedWrite) -> AppendFailure {
        if failed.written == 0 {
            return AppendFailure::Unchanged(failed.error);
        }
        match self.cut(self.position) {
            Ok(()) => AppendFailure::Unchanged(failed.error),
            Err(_) => AppendFailure::Unknown(failed.error),
        }
    }

    /// Cuts the file to `end`, durably, once nothing of it is mapped (rules 11a, 22).
    pub(crate) fn cut(&mut self, end: Position) -> Result<()> {
        match self.tail.unmap() {
            Some(window) => self.log.close_window(window, end)?,
            None => self.log.set_len(end)?,
        }
        self.allocated = end;
        self.log.sync()?;
        self.reach = end;
        Ok(())
    }

    /// A sync is to cover all batches so far; as [`SegmentWriter::write_indexes`].
    pub(crate) fn prepare_sync(&mut self) -> IndexMarks {
        self.tail.note_sync(self.position);
        self.write_indexes()
    }

    /// Writes gathered index entries, and says what the files hold then.
    ///
    /// That they cannot be written now is no failure: the marks say what the files hold, and recovery goes by them.
    pub(crate) fn write_indexes(&self) -> IndexMarks {
        drop(self.indexes.write_gathered());
        self.indexes.marks()
    }

    /// Cuts off room that was allocated ahead, durably, so that the segment can be sealed (rule 11a).
    pub(crate) fn trim(&mut self) -> Result<()> {
        if self.reach > self.position { self.cut(self.position) } else { Ok(()) }
    }

    /// Ends the segment: the last time entry is added. The `.log` was trimmed before.
    pub(crate) fn seal(mut self) -> Sealed {
        assert!(self.reach == self.position, "a segment is trimmed before it is sealed");
        // That the last entries do not get into the files now is told by the sync, which writes them first.
        drop(self.indexes.finish());
        self.segment.note_largest_timestamp(self.indexes.max_timestamp().map(|max| max.timestamp));
        Sealed { segment: self.segment, log: self.log, indexes: self.indexes, end: self.position }
    }

    /// Adds the last time entry and makes both indexes durable, before anything says that the log was closed cleanly.
    pub(crate) fn finish_indexes(&mut self) -> Result<IndexMarks> {
        self.indexes.finish()?;
        self.indexes.sync()?;
        Ok(self.indexes.marks())
    }
}

/// A segment that takes no more batches and whose files are not yet known to be durable.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) segment: Arc<Segment>,
    log: Arc<LogFile>,
    indexes: GrowingIndexes,
    end: Position,
}

impl Sealed {
    /// Makes the log durable, then its indexes (rule 26). On a full disk the indexes stay sparser than they could be:
    /// lookups scan further, and no record is the less durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.log.sync()?;
        match self.indexes.sync() {
            Err(Error::StorageFull { .. }) => Ok(()),
            answer => answer,
        }
    }

    /// Bytes that readers do not see yet.
    pub(crate) fn unpublished_bytes(&self) -> u64 {
        self.end.value().saturating_sub(self.segment.published().value())
    }

    /// Lets readers see the whole segment.
    pub(crate) fn publish(&self) {
        self.segment.publish(self.end);
    }
}

/// A store on its way. It is announced also where a panic ends it half way: what was stored by then is in the file.
struct Store<'a> {
    window: &'a mut Window,
    at: Position,
    len: usize,
}

impl Drop for Store<'_> {
    fn drop(&mut self) {
        self.window.wrote(self.at, self.len);
    }
}
