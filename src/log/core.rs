//! What readers and the writer share: the ordered map of segments, the watermarks, and the limit on open files.
//!
//! Nothing here waits for the writer or for a sync. Invariants it owns: log start ≤ synced offset, log end; the log end
//! is published last, after the bytes and the segment's published size, so that a reader who sees an offset can read
//! it; after a failure readers are capped at the synced offset (rule 20).

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::Env;
use crate::offset::Offset;
use crate::record::DecodeLimits;
use crate::segment::{Handles, Segment};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};

use super::epochs::KnownEpochs;
use super::mapped_reads::MappedReads;
use super::open::growth::Growth;
use super::open_files::{OpenCount, OpenFiles};
use super::places::KnownPlaces;
use super::report::RecoveryReport;
use super::wake::{Waiters, Wake};
use super::watermark::HighWatermark;

/// The `errno` of too many open files in this process, and in the whole system.
const TOO_MANY_OPEN: [i32; 2] = [24, 23];

/// The part of a log that readers need.
#[derive(Debug)]
pub(crate) struct Core {
    env: Env,
    dir: Arc<Path>,
    /// Locked for moments only: to find a segment, or to add or remove one.
    segments: RwLock<BTreeMap<Offset, Arc<Segment>>>,
    log_start: AtomicU64,
    log_end: AtomicU64,
    synced: AtomicU64,
    high_watermark: HighWatermark,
    failed: AtomicBool,
    /// Why the log failed; set before the flag.
    failure: RwLock<Option<Arc<Error>>>,
    closed: AtomicBool,
    /// Nobody writes through this handle: the directory was opened for reading what was there then.
    read_only: AtomicBool,
    /// The generation that the last opening began.
    opened: AtomicU64,
    /// Counts the openings and the truncations, so that a reader notices either.
    generation: AtomicU64,
    /// Nothing is locked under it.
    cuts: Mutex<Cuts>,
    waiters: Waiters,
    pub(crate) places: KnownPlaces,
    /// Of a directory that was opened for reading only: how far others have written it. Held over the map of segments.
    growth: Option<Mutex<Growth>>,
    /// Whether offsets may be missing between batches, as compaction and followers leave them.
    gaps_allowed: AtomicBool,
    max_decompressed_bytes: AtomicU64,
    pub(crate) epochs: KnownEpochs,
    open_files: Mutex<OpenFiles>,
    pub(super) mapped_reads: MappedReads,
    report: RwLock<Arc<RecoveryReport>>,
}

/// How far a reader sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadUpTo {
    /// Everything that was appended.
    #[default]
    LogEnd,
    /// What is durable.
    Synced,
    /// What is replicated: below the high watermark, which is the log end until it is set.
    HighWatermark,
    /// What belongs to no open transaction; equals the high watermark unless something sets it.
    LastStable,
    /// Everything that was appended, and behind it what recovery would cut off: torn tails, met as damage. For looking
    /// into a log that was opened for reading only; equals the log end wherever nothing is torn.
    FileEnd,
}

/// Where a log begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    pub(crate) synced: Offset,
    pub(crate) gaps_allowed: bool,
}

/// How many truncations are told apart.
const REMEMBERED_CUTS: usize = 64;

/// Truncations as of late: the generation that each began, and where it ended the log. Of two, the later one ends higher,
/// for a lower one covers what came before.
#[derive(Debug, Default)]
struct Cuts {
    generation_and_end: VecDeque<(u64, Offset)>,
}

impl Cuts {
    fn note(&mut self, generation: u64, end: Offset) {
        while self.generation_and_end.back().is_some_and(|&(_, before)| before >= end) {
            self.generation_and_end.pop_back();
        }
        self.generation_and_end.push_back((generation, end));
        if self.generation_and_end.len() > REMEMBERED_CUTS
            && let Some((_, lowest)) = self.generation_and_end.pop_front()
            && let Some(next) = self.generation_and_end.front_mut()
        {
            // Who slept through so many is told of one that may have been before his time, rather than of none.
            next.1 = lowest;
        }
    }

    /// Where the lowest truncation since a generation ended the log, if that is below `offset`.
    fn below(&self, offset: Offset, since: u64) -> Option<Offset> {
        let cuts = self.generation_and_end.iter().filter(|&&(generation, _)| generation > since);
        cuts.map(|&(_, end)| end).min().filter(|&end| end < offset)
    }
}

/// What a truncation leaves of the log, as readers see it.
#[derive(Debug)]
pub(crate) struct Truncated {
    pub(crate) log_start: Offset,
    pub(crate) end: Offset,
    /// No record at or above stays; below `end` where all records go.
    pub(crate) cut: Offset,
    /// Segments with a greater base offset go; all do without one.
    pub(crate) last_base: Option<Offset>,
}

/// Asked of the segment that is to be replaced, while nobody can come by it.
pub(crate) type NobodyHolds<'a> = &'a dyn Fn(&Arc<Segment>) -> bool;

impl Core {
    pub(crate) fn new(env: Env, dir: Arc<Path>, max_open_segments: usize, max_decompressed_bytes: u64) -> Core {
        Core {
            env,
            dir,
            segments: RwLock::new(BTreeMap::new()),
            log_start: AtomicU64::new(0),
            log_end: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            high_watermark: HighWatermark::default(),
            failed: AtomicBool::new(false),
            failure: RwLock::new(None),
            closed: AtomicBool::new(false),
            read_only: AtomicBool::new(false),
            opened: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            cuts: Mutex::new(Cuts::default()),
            waiters: Waiters::default(),
            places: KnownPlaces::default(),
            growth: None,
            gaps_allowed: AtomicBool::new(true),
            max_decompressed_bytes: AtomicU64::new(max_decompressed_bytes),
            epochs: KnownEpochs::default(),
            open_files: Mutex::new(OpenFiles::new(max_open_segments)),
            mapped_reads: MappedReads::default(),
            report: RwLock::new(Arc::new(RecoveryReport::default())),
        }
    }

    /// The same, of a directory that others write to.
    pub(crate) fn growing_by_others(self, growth: Growth) -> Core {
        Core { growth: Some(Mutex::new(growth)), ..self }
    }

    /// Whether the log grows without anybody waking its readers.
    pub(crate) fn grows_by_others(&self) -> bool {
        self.growth.is_some()
    }

    /// Shows what others appended, if they may.
    pub(crate) fn look_for_growth(&self) -> Result<()> {
        self.growth.as_ref().map_or(Ok(()), |growth| growth.lock().look(self))
    }

    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    pub(crate) fn dir(&self) -> &Arc<Path> {
        &self.dir
    }

    /// Puts what an opening found in place of everything.
    pub(crate) fn install(&self, segments: BTreeMap<Offset, Arc<Segment>>, bounds: Bounds, report: RecoveryReport) {
        self.install_keeping(segments, bounds, report, bounds.log_end);
    }

    /// As [`Core::install`], where only what lies below `kept` is what was there before.
    pub(crate) fn install_keeping(
        &self,
        segments: BTreeMap<Offset, Arc<Segment>>,
        bounds: Bounds,
        report: RecoveryReport,
        kept: Offset,
    ) {
        self.open_files.lock().forget(|_| true);
        let mut map = self.segments.write();
        *map = segments;
        *self.report.write() = Arc::new(report);
        self.gaps_allowed.store(bounds.gaps_allowed, Ordering::Release);
        self.log_start.store(bounds.log_start.value(), Ordering::Release);
        self.synced.store(bounds.synced.value(), Ordering::Release);
        self.log_end.store(bounds.log_end.value(), Ordering::Release);
        self.opened.store(self.generation() + 1, Ordering::Release);
        self.begin_generation(kept.min(bounds.log_end));
        self.failed.store(false, Ordering::Release);
        *self.failure.write() = None;
        drop(map);
        self.wake_readers();
    }

    /// Tells readers that what they hold of the log may be outdated: from `end` on, everything is, even if the log has
    /// grown beyond that since they looked. Everyone who waits is to be woken once the log end is there.
    pub(crate) fn begin_generation(&self, end: Offset) {
        self.high_watermark.lower_to(end);
        self.cuts.lock().note(self.generation() + 1, end);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Lowers what readers see: nothing at or above the new end is found from here on, and who has read beyond it is
    /// told by [`Core::truncated_below`]. The files are still as they were; segments that go, and one that is replaced, are
    /// retired, so that nobody opens what will have their names next.
    ///
    /// With a replacement for the last segment, nothing happens unless no reader holds the old one: then nobody can
    /// come by its file any more, and `true` is the answer. The caller holds the writer mutex.
    pub(crate) fn install_truncated(
        &self,
        truncated: &Truncated,
        replacement: Option<(Arc<Segment>, NobodyHolds<'_>)>,
    ) -> bool {
        let mut segments = self.segments.write();
        if let Some((fresh, nobody_holds)) = &replacement
            && !segments.get(&fresh.base()).is_some_and(nobody_holds)
        {
            return false;
        }
        // Counted before the change and after it: who looks at the number before he looks for a segment, and finds it
        // the same afterwards, has found the segment that goes with it.
        self.begin_generation(truncated.cut);
        self.log_end.fetch_min(truncated.end.value(), Ordering::AcqRel);
        self.synced.fetch_min(truncated.end.value(), Ordering::AcqRel);
        // Once more: it may have been set by the old log end meanwhile.
        self.high_watermark.lower_to(truncated.cut);
        self.log_start.store(truncated.log_start.value(), Ordering::Release);
        self.log_end.fetch_max(truncated.log_start.value(), Ordering::AcqRel);
        self.synced.fetch_max(truncated.log_start.value(), Ordering::AcqRel);
        let mut gone = match truncated.last_base {
            Some(last) => segments.split_off(&(last + 1)),
            None => std::mem::take(&mut *segments),
        };
        if let Some((fresh, _)) = replacement {
            gone.extend(segments.insert(fresh.base(), fresh).map(|old| (old.base(), old)));
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
        drop(segments);
        for segment in gone.values() {
            segment.retire();
        }
        let is_gone = |segment: &Arc<Segment>| gone.get(&segment.base()).is_some_and(|old| Arc::ptr_eq(old, segment));
        self.open_files.lock().forget(is_gone);
        self.wake_readers();
        true
    }

    /// Puts the segment in place in which a truncated log goes on, and shows readers all of it.
    pub(crate) fn install_cut_segment(&self, segment: Arc<Segment>, end: Offset) {
        let base = segment.base();
        self.generation.fetch_add(1, Ordering::AcqRel);
        let old = self.segments.write().insert(base, segment);
        drop(self.raise_synced(end));
        drop(self.publish(end));
        self.generation.fetch_add(1, Ordering::AcqRel);
        if let Some(old) = old {
            old.retire();
            self.open_files.lock().forget(|segment| Arc::ptr_eq(segment, &old));
        }
    }

    /// Where a truncation since that generation ended the log, if that is below an offset: then what was read, or waited
    /// for, below the offset is not what lies there now.
    pub(crate) fn truncated_below(&self, offset: Offset, since: u64) -> Option<Offset> {
        if self.generation() == since { None } else { self.cuts.lock().below(offset, since) }
    }

    /// Whether the log was opened anew since that generation.
    pub(crate) fn was_reopened_since(&self, generation: u64) -> bool {
        self.opened.load(Ordering::Acquire) > generation
    }

    /// How often the log was opened through this handle, and cut.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn log_start(&self) -> Offset {
        Offset::new(self.log_start.load(Ordering::Acquire))
    }

    /// Shows readers nothing below `start` any more, and tells those who wait. It is written down before; see `deletion.rs`.
    pub(crate) fn raise_log_start(&self, start: Offset) {
        if self.log_start.fetch_max(start.value(), Ordering::AcqRel) < start.value() {
            self.wake_readers();
        }
    }

    /// One past the last offset that readers may see.
    pub(crate) fn log_end(&self) -> Offset {
        let end = Offset::new(self.log_end.load(Ordering::Acquire));
        if self.is_failed() { end.min(self.synced()) } else { end }
    }

    /// Everything below is durable.
    pub(crate) fn synced(&self) -> Offset {
        Offset::new(self.synced.load(Ordering::Acquire))
    }

    /// Where a reader of this kind ends.
    pub(crate) fn end_for(&self, up_to: ReadUpTo) -> Offset {
        match up_to {
            ReadUpTo::LogEnd => self.log_end(),
            ReadUpTo::HighWatermark | ReadUpTo::LastStable => self.high_watermark(),
            ReadUpTo::Synced => self.log_end().min(self.synced()),
            ReadUpTo::FileEnd => {
                if self.has_torn_tail() {
                    Offset::MAX
                } else {
                    self.log_end()
                }
            }
        }
    }

    /// Whether the last segment ends in bytes that recovery would cut off, and that are nobody's who is writing.
    fn has_torn_tail(&self) -> bool {
        let last_is_torn = self.segments.read().values().next_back().is_some_and(|last| last.torn_end().is_some());
        last_is_torn && !self.report().torn.is_empty()
    }

    /// Shows readers everything below `end`; the bytes and the segments are in place. Who waits for it is woken when
    /// the answer is dropped.
    pub(crate) fn publish(&self, end: Offset) -> Wake<'_> {
        // Sequentially consistent, so that no wake-up is lost: see `wake`.
        self.log_end.fetch_max(end.value(), Ordering::SeqCst);
        Wake(self)
    }

    /// As [`Core::publish`], for what is durable.
    pub(crate) fn raise_synced(&self, end: Offset) -> Wake<'_> {
        self.synced.fetch_max(end.value(), Ordering::SeqCst);
        Wake(self)
    }

    pub(crate) fn high_watermark(&self) -> Offset {
        self.high_watermark.within(self.log_start(), self.log_end())
    }

    /// Puts the high watermark to an offset, or as near as the log's bounds allow, and wakes who waits for it.
    pub(crate) fn set_high_watermark(&self, offset: Offset) -> Offset {
        let set = self.high_watermark.set(offset, || (self.log_start(), self.log_end()));
        drop(Wake(self));
        set
    }

    /// As [`Core::set_high_watermark`], unless it was set higher before.
    pub(crate) fn raise_high_watermark(&self, offset: Offset) -> Offset {
        let set = self.high_watermark.raise(offset, || (self.log_start(), self.log_end()));
        drop(Wake(self));
        set
    }

    pub(crate) fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Why nothing more is acknowledged, if the log failed.
    pub(crate) fn failure(&self) -> Option<Arc<Error>> {
        if self.is_failed() { self.failure.read().clone() } else { None }
    }

    /// Caps readers at the synced offset, and tells all who wait.
    pub(crate) fn set_failed(&self, cause: &Arc<Error>) {
        self.failure.write().get_or_insert_with(|| Arc::clone(cause));
        self.failed.store(true, Ordering::Release);
        self.wake_readers();
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Said once, before anybody else has the handle.
    pub(crate) fn set_read_only(&self) {
        self.read_only.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn set_closed(&self) {
        self.closed.store(true, Ordering::Release);
        self.open_files.lock().forget(|_| true);
        self.mapped_reads.end();
        self.wake_readers();
    }

    pub(crate) fn gaps_allowed(&self) -> bool {
        self.gaps_allowed.load(Ordering::Acquire)
    }

    /// From now on offsets may be missing; the state says so already.
    pub(crate) fn allow_gaps(&self) {
        self.gaps_allowed.store(true, Ordering::Release);
    }

    pub(crate) fn report(&self) -> Arc<RecoveryReport> {
        Arc::clone(&self.report.read())
    }

    pub(crate) fn decode_limits(&self) -> DecodeLimits {
        DecodeLimits { max_decompressed_bytes: self.max_decompressed_bytes.load(Ordering::Relaxed) }
    }

    pub(crate) fn set_limits(&self, max_open_segments: usize, max_decompressed_bytes: u64) {
        self.open_files.lock().set_limit(max_open_segments);
        self.max_decompressed_bytes.store(max_decompressed_bytes, Ordering::Relaxed);
    }

    /// Refuses an offset below the log start or above the end that this reader sees.
    pub(crate) fn check_range(&self, asked: Offset) -> Result<()> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let (start, end) = (self.log_start(), self.log_end());
        // An offset between a reader's bound and the log end is no error: there is nothing yet (row 235).
        if asked < start || asked > end {
            return Err(Error::OffsetOutOfRange { asked, start, end });
        }
        Ok(())
    }

    /// The segment whose base offset is the greatest at or below `offset`.
    pub(crate) fn floor_segment(&self, offset: Offset) -> Option<Arc<Segment>> {
        self.segments.read().range(..=offset).next_back().map(|(_, segment)| Arc::clone(segment))
    }

    /// The segment whose base offset is the greatest at or below `offset`, and the base offset of the one behind it.
    pub(crate) fn floor_and_next(&self, offset: Offset) -> Option<(Arc<Segment>, Option<Offset>)> {
        let segments = self.segments.read();
        let (&base, floor) = segments.range(..=offset).next_back()?;
        Some((Arc::clone(floor), segments.range(base + 1..).next().map(|(&next, _)| next)))
    }

    /// The segment after the one with this base offset.
    pub(crate) fn segment_after(&self, base: Offset) -> Option<Arc<Segment>> {
        self.segments.read().range(base + 1..).next().map(|(_, segment)| Arc::clone(segment))
    }

    /// From the segment that holds `from` on, the first one that is `wanted`, and the base offset of the one behind it.
    pub(crate) fn first_segment(
        &self,
        from: Offset,
        wanted: impl Fn(&Segment) -> bool,
    ) -> Option<(Arc<Segment>, Option<Offset>)> {
        let segments = self.segments.read();
        let first = segments.range(..=from).next_back().map_or(from, |(&base, _)| base);
        let mut rest = segments.range(first..).map(|(_, segment)| segment);
        let found = rest.find(|segment| wanted(segment))?;
        Some((Arc::clone(found), rest.next().map(|next| next.base())))
    }

    pub(crate) fn all_segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().values().map(Arc::clone).collect()
    }

    pub(crate) fn insert_segment(&self, segment: Arc<Segment>) {
        self.segments.write().insert(segment.base(), segment);
    }

    /// Raises the log start and takes the segments below `first_base` out, oldest first. In this order: who finds no
    /// segment for an offset finds the log start above it.
    pub(crate) fn remove_front(&self, start: Offset, first_base: Offset) -> Vec<Arc<Segment>> {
        self.raise_log_start(start);
        let removed = {
            let mut segments = self.segments.write();
            let kept = segments.split_off(&first_base);
            std::mem::replace(&mut *segments, kept)
        };
        self.open_files.lock().forget(|segment| segment.base() < first_base);
        for segment in removed.values() {
            segment.close_handles();
        }
        removed.into_values().collect()
    }

    /// The base offset of the first segment.
    pub(crate) fn first_base(&self) -> Option<Offset> {
        self.segments.read().keys().next().copied()
    }

    /// The base offset of the segment behind the first.
    pub(crate) fn second_base(&self) -> Option<Offset> {
        self.segments.read().keys().nth(1).copied()
    }

    /// Whether the first segment lies wholly below the log start, which was raised while it was the active one.
    pub(crate) fn has_segment_below_start(&self) -> bool {
        let start = self.log_start();
        self.second_base().is_some_and(|second| second <= start)
    }

    /// Published bytes of the segments before this one.
    pub(crate) fn bytes_before(&self, base: Offset) -> u64 {
        self.segments.read().range(..base).map(|(_, segment)| segment.published().value()).sum()
    }

    /// A sealed segment's files, opened if they are not.
    pub(crate) fn handles(&self, segment: &Arc<Segment>) -> Result<Arc<Handles>> {
        let (handles, opened) = match segment.open(&self.env) {
            Err(error) if too_many_open(&error) && self.open_files.lock().give_up() => segment.open(&self.env)?,
            answer => answer?,
        };
        if opened {
            self.keep_open(Arc::clone(segment));
        }
        Ok(handles)
    }

    /// Maps a segment's `.log`, if that is wanted, and the segment takes no more batches, and those it has are durable.
    #[inline]
    pub(crate) fn map_if_settled(&self, segment: &Segment, handles: &Handles) {
        if self.mapped_reads.are_wanted()
            && handles.log.may_be_mapped()
            && self.segment_after(segment.base()).is_some_and(|next| next.base() <= self.synced())
        {
            self.mapped_reads.map(&handles.log, segment.published());
        }
    }

    /// Counts a segment whose files are open, one that was just sealed too, against the limit.
    pub(crate) fn keep_open(&self, segment: Arc<Segment>) {
        self.open_files.lock().add(segment);
    }

    /// How many files of sealed segments are open.
    pub(crate) fn open_count(&self) -> OpenCount {
        self.open_files.lock().count()
    }
}

fn too_many_open(error: &Error) -> bool {
    match error {
        Error::Io { cause, .. } => cause.raw_os_error().is_some_and(|code| TOO_MANY_OPEN.contains(&code)),
        _ => false,
    }
}
