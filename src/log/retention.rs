//! What goes from the front of a log, and when: by size and time, by request, and to keep below `max_bytes`.
//!
//! The rules stand in `crate::retention`, the deletion itself in `deletion.rs`; here facts and clocks are gathered. The
//! invariant it owns: the `.log` files, room allocated ahead and what waits to be unlinked included, are never larger
//! together than `max_bytes`, unless they were so when the limit was set.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{LogConfig, WhenFull};
use crate::error::{Error, IoOp, Result};
use crate::offset::{Offset, Position, Timestamp};
use crate::retention::{ClockGuard, Policy, Reading, SegmentFacts, choose};
use crate::segment::Segment;
use crate::sync::atomic::Ordering;

use super::deletion::{Deletion, has_passed};
use super::shared::Shared;
use super::writer::Writer;
use super::{Log, ReadUpTo};

/// What a look at old segments found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deleted {
    /// How many segments were deleted.
    pub segments: u64,
    /// How many bytes their `.log` files have; the room is free after `file_delete_delay_ms`.
    pub bytes: u64,
    /// Where the log begins now.
    pub log_start_offset: Offset,
    /// The given time has jumped ahead of what was expected, and is not believed yet: nothing was deleted for its age by
    /// that time. A call that confirms it, `retention_check_interval_ms` later or more, does so.
    pub clock_doubted: bool,
}

impl Log {
    /// Deletes the oldest segments as `retention_ms`, `retention_bytes` and `max_bytes` (with `WhenFull::DropOldest`)
    /// ask, and those below the log start. The worker does this each `retention_check_interval_ms`, and so does
    /// [`Log::run_once`].
    ///
    /// The rules are Kafka's: segments are looked at from the oldest on, and the first that must stay ends it. By size goes
    /// what leaves `retention_bytes` or more. By time goes a segment whose newest record is older than `retention_ms` at
    /// `now`; one without record times is as old as its file. The active segment is never deleted: if it must go, too, a
    /// new one is begun first. Nothing at or above the high watermark goes.
    ///
    /// Time is not believed blindly. A `now` that is further ahead than the monotonic clock allows (by more than
    /// `retention_check_interval_ms` and an hour since the last look, or, for the first look after an opening, since the
    /// newest record that was found) deletes nothing by itself: until a look `retention_check_interval_ms` later confirms
    /// it, records are judged as if the clock had not jumped. A record with a time in the future counts as written when it
    /// was first seen.
    ///
    /// The log start is durable before the first file goes. Slices and readers that hold files of a deleted segment go on
    /// reading; others are told `OffsetOutOfRange`.
    ///
    /// # Errors
    /// `Failed`, `Damaged`, `Closed`; `Io` if a file cannot be removed, which is tried again with the next look: the log
    /// start was raised all the same.
    pub fn delete_old_segments(&self, now: Timestamp) -> Result<Deleted> {
        self.shared().delete_old_segments(now)
    }

    /// Lets the log begin at `start`, which may lie inside a segment or a batch, and returns where it begins now: later
    /// than asked, if it did before. Readers see it at once. Segments that lie wholly below are deleted, and their room
    /// is free after `file_delete_delay_ms`.
    ///
    /// It is durable when this returns if a segment was deleted, else with the next [`Log::sync`] or close. What is
    /// deleted is synced before, if it is not.
    ///
    /// # Errors
    /// `OffsetOutOfRange` above the high watermark; else as [`Log::delete_old_segments`].
    #[doc(alias = "trim")]
    pub fn delete_records_before(&self, start: Offset) -> Result<Offset> {
        self.shared().delete_records_before(start)
    }
}

impl Shared {
    pub(super) fn delete_old_segments(self: &Arc<Self>, now: Timestamp) -> Result<Deleted> {
        let mut deletion = self.deletion.lock();
        self.writer.lock().check_writable()?;
        self.look(&mut deletion, self.reading(now))
    }

    /// What is due at `now`, for those who look often. A log that takes no appends keeps what it has.
    pub(super) fn delete_if_due(self: &Arc<Self>, now: Timestamp) -> Result<()> {
        let mut deletion = self.deletion.lock();
        let reading = self.reading(now);
        let config = self.config.get();
        let is_due =
            deletion.last_look.is_none_or(|last| has_passed(last, reading, config.retention_check_interval_ms));
        let is_due = (is_due && config.retains_less_than_all()) || self.core.has_segment_below_start();
        if is_due && self.writer.lock().check_writable().is_ok() {
            self.look(&mut deletion, reading)?;
        }
        self.unlink_due(&mut deletion, reading)
    }

    fn look(self: &Arc<Self>, deletion: &mut Deletion, reading: Reading) -> Result<Deleted> {
        let config = self.config.get();
        deletion.last_look = Some(reading);
        let judgement = match &mut deletion.clock {
            Some(clock) => clock,
            None => {
                let newest = self.newest_at_opening(deletion)?;
                deletion.clock.insert(ClockGuard::new(newest, deletion.opened.monotonic))
            }
        }
        .judge(reading, Duration::from_millis(config.retention_check_interval_ms));
        let segments = self.core.all_segments();
        let facts = self.facts(&segments);
        let policy = Policy {
            retention_ms: config.retention_ms,
            retention_bytes: config.retention_bytes,
            log_start: self.core.log_start(),
            high_watermark: self.core.end_for(ReadUpTo::HighWatermark),
            floor: self.retention_floor(&config)?,
        };
        let sighting = deletion.sighting;
        let choice = choose(&facts, &policy, judgement.now, |at| {
            let time = self.time_of(&segments[at], at + 1 == segments.len(), judgement.now)?;
            Ok::<_, Error>(time.map(|time| sighting.clamp(time, facts[at].end, judgement.now)))
        })?;
        if let Some(retention_ms) = config.retention_ms
            && !judgement.doubted
        {
            deletion.sighting.note(judgement.now, self.core.log_end(), retention_ms);
        }
        let used = facts.iter().map(|segment| segment.size_bytes).sum();
        let by_limit = excess_segments(&config, used, &facts, policy.high_watermark);
        let mut count = choice.segments().max(by_limit);
        if count == segments.len() && !self.roll_if_it_ends_at(facts[count - 1].end)? {
            count -= 1;
        }
        let (mut deleted, mut bytes) = (0, 0);
        if count > 0 {
            let first_base = facts[count - 1].end;
            let start = first_base.max(self.core.log_start());
            (deleted, bytes) = self.delete_front(deletion, (start, first_base), by_limit > 0)?;
        }
        self.unlink_due(deletion, reading)?;
        Ok(Deleted {
            segments: deleted,
            bytes,
            log_start_offset: self.core.log_start(),
            clock_doubted: judgement.doubted,
        })
    }

    /// The slowest cursor's offset, if cursors are waited for. Neither `delete_records_before` nor `max_bytes` asks for it.
    fn retention_floor(&self, config: &LogConfig) -> Result<Offset> {
        let slowest = if config.retention_keeps_cursors { self.slowest_cursor()? } else { None };
        Ok(slowest.unwrap_or(Offset::MAX))
    }

    /// The last of them ends where the log does.
    fn facts(&self, segments: &[Arc<Segment>]) -> Vec<SegmentFacts> {
        let log_end = self.core.log_end();
        let ends = segments.iter().skip(1).map(|next| next.base()).chain([log_end]);
        let facts = segments.iter().zip(ends);
        facts.map(|(segment, end)| SegmentFacts { end, size_bytes: segment.published().value() }).collect()
    }

    /// The time of a segment's newest record; without one, or where it lies in the future, when its file was written last.
    /// `None` if its bytes are damaged: what cannot be judged stays.
    fn time_of(&self, segment: &Segment, is_active: bool, now: Timestamp) -> Result<Option<Timestamp>> {
        let largest = if is_active {
            let writer = self.writer.lock();
            Ok(writer.active.as_ref().and_then(|active| active.max_timestamp()).map(|max| max.timestamp))
        } else {
            segment.largest_timestamp(self.core.env())
        };
        match largest {
            Ok(Some(time)) if time <= now => Ok(Some(time)),
            Ok(time) => {
                let path = segment.log_path();
                let found = self.core.env().metadata(&path);
                let modified = found.map_err(|error| Error::io(IoOp::Inspect, &path, &error))?.modified;
                Ok(Some(time.map_or(modified, |time| time.min(modified))))
            }
            Err(Error::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The newest time of the records that the log had when it was opened.
    fn newest_at_opening(&self, deletion: &Deletion) -> Result<Option<Timestamp>> {
        let opened = deletion.opened;
        if opened.newest.is_some() || opened.log_end == Offset::ZERO {
            return Ok(opened.newest);
        }
        let segments = self.core.all_segments();
        let before = segments
            .iter()
            .rev()
            .find(|segment| segment.base() < opened.log_end && segment.published() > Position::ZERO);
        match before {
            Some(segment) => {
                let is_active = segments.last().is_some_and(|last| Arc::ptr_eq(last, segment));
                self.time_of(segment, is_active, Timestamp::from_millis(i64::MAX))
            }
            None => Ok(None),
        }
    }

    /// Everything may go: begins a new segment, if the log still ends where it did. `false` if not, and on a disk without
    /// room for it.
    fn roll_if_it_ends_at(&self, end: Offset) -> Result<bool> {
        let mut writer = self.writer.lock();
        writer.check_writable()?;
        if writer.next_offset() != end || writer.active().position() == Position::ZERO {
            return Ok(false);
        }
        writer.begin_session()?;
        match self.roll_locked(&mut writer) {
            Ok(()) => Ok(true),
            Err(Error::StorageFull { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn delete_records_before(self: &Arc<Self>, start: Offset) -> Result<Offset> {
        let mut deletion = self.deletion.lock();
        self.writer.lock().check_writable()?;
        let (log_start, end) = (self.core.log_start(), self.core.end_for(ReadUpTo::HighWatermark));
        if start > end {
            return Err(Error::OffsetOutOfRange { asked: start, start: log_start, end });
        }
        if start <= log_start {
            return Ok(log_start);
        }
        if start > self.core.synced() {
            self.sync_to(start)?;
        }
        let first_base = self.core.floor_segment(start).map_or(log_start, |segment| segment.base());
        if self.core.first_base().is_some_and(|first| first < first_base) {
            self.delete_front(&mut deletion, (start, first_base), false)?;
            return Ok(start);
        }
        {
            let mut writer = self.writer.lock();
            writer.check_writable()?;
            writer.raise_log_start(start, first_base)?;
        }
        self.core.raise_log_start(start);
        self.log_start_raised(start)?;
        Ok(start)
    }

    /// Whether so many bytes more fit below `max_bytes`, in the active segment or in a new one.
    pub(super) fn fits(&self, writer: &mut Writer, size_bytes: u64, must_roll: bool) -> bool {
        let Some(max_bytes) = writer.config.max_bytes else { return true };
        if must_roll {
            return self.other_bytes(writer) + writer.active().position().value() + size_bytes <= max_bytes;
        }
        self.limit_growth(writer);
        writer.growth_limit.is_none_or(|limit| writer.active().position().value() + size_bytes <= limit)
    }

    /// Works out how far the active segment may grow, unless that is known.
    pub(super) fn limit_growth(&self, writer: &mut Writer) {
        if let Some(max_bytes) = writer.config.max_bytes
            && writer.growth_limit.is_none()
        {
            let limit = max_bytes.saturating_sub(self.other_bytes(writer));
            writer.growth_limit = Some(limit);
            writer.active().limit_growth(limit);
        }
    }

    /// Bytes of all `.log` files but the active one.
    fn other_bytes(&self, writer: &mut Writer) -> u64 {
        let unpublished: u64 = writer.sealed.iter().map(|sealed| sealed.unpublished_bytes()).sum();
        let base = writer.active().base();
        self.core.bytes_before(base) + unpublished + self.doomed_bytes.load(Ordering::Acquire)
    }

    /// Makes room for an append, and behind it for a whole segment if that can be had, so that not every append has to.
    pub(super) fn make_room(self: &Arc<Self>, size_bytes: u64) -> Result<()> {
        let mut deletion = self.deletion.lock();
        let config = self.config.get();
        let Some(limit_bytes) = config.max_bytes else { return Ok(()) };
        if self.doomed_bytes.load(Ordering::Acquire) > 0 {
            // Nobody waits for these but readers who have not opened them yet.
            return self.unlink_all(&mut deletion);
        }
        let full = Error::LogFull { size_bytes, limit_bytes };
        let used = {
            let mut writer = self.writer.lock();
            writer.check_writable()?;
            writer.growth_limit = None;
            self.other_bytes(&mut writer) + writer.active().position().value()
        };
        if config.when_full != WhenFull::DropOldest {
            // Somebody else may have made room in the meantime.
            return if used + size_bytes <= limit_bytes { Ok(()) } else { Err(full) };
        }
        let facts = self.facts(&self.core.all_segments());
        let high_watermark = self.core.end_for(ReadUpTo::HighWatermark);
        let count = excess_segments(&config, used + config.segment_bytes.max(size_bytes), &facts, high_watermark);
        if count == 0 {
            // Another append may have made room. If not, the active segment is too large, as it may be after the limit was
            // lowered: it goes once a new one is begun. Above the high watermark it may not.
            let end = facts.last().map_or(Offset::ZERO, |active| active.end);
            let has_room = used + size_bytes <= limit_bytes;
            let may_go = end <= high_watermark;
            return if has_room || (may_go && self.roll_if_it_ends_at(end)?) { Ok(()) } else { Err(full) };
        }
        let first_base = facts[count - 1].end;
        self.delete_front(&mut deletion, (first_base.max(self.core.log_start()), first_base), true)?;
        Ok(())
    }
}

/// How many of the oldest segments must go for so many bytes to fit `max_bytes`, as far as the high watermark allows.
/// Never the active one.
fn excess_segments(config: &LogConfig, bytes: u64, facts: &[SegmentFacts], high_watermark: Offset) -> usize {
    let Some(max_bytes) = config.max_bytes.filter(|_| config.when_full == WhenFull::DropOldest) else { return 0 };
    let mut excess = bytes.saturating_sub(max_bytes);
    let sealed = &facts[..facts.len().saturating_sub(1)];
    let mut count = 0;
    for segment in sealed.iter().take_while(|segment| segment.end <= high_watermark) {
        if excess == 0 {
            break;
        }
        excess = excess.saturating_sub(segment.size_bytes);
        count += 1;
    }
    count
}
