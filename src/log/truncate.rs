//! Truncation: to cut off the records from an offset on, and to begin anew at any offset.
//!
//! It runs under the writer mutex while no sync runs. The invariants it owns: bytes that a reader may hold, or that may be
//! on their way to a receiver, are not changed in place (rules 31, 32); and after a crash between any two steps the
//! log holds every record below the cut that was durable, and what it holds above is a prefix of what was there.
//!
//! A truncation, and what a crash after each step leaves. The other half, which finishes or undoes it, is the opening:
//! `open/directory.rs` removes a `.truncating` file that lies beside its `.log`, and `open/recovery.rs` finds the end.
//!
//! 1. The clean mark is taken back. *The log as it was.*
//! 2. Sealed segments that stay are synced. *The log as it was.*
//! 3. If the file is to be replaced: the prefix of the segment that the cut lies in, and what is left of a batch across
//!    the cut, are written to `<base>.log.truncating` and synced. *The log as it was, and a copy that the next opening
//!    removes.* A failure up to here leaves the log as it was; there may be no room for the copy.
//! 4. `kstore.state` is made to claim no more than stays, durably; its witness lies below the cut. *The log as it was;
//!    more of it is recovered than need be.*
//! 5. Readers are shown the new end, and who waits for more is told.
//! 6. The segments above are removed, the last one first: each `.log`, then a sync of the directory, so that whatever
//!    a crash undoes, a prefix is left (rule 16); then its other files, which no opening takes for a segment. *A
//!    prefix of the log that ends with a segment.*
//! 7. In place: the file is cut and synced (rules 10, 11b). *A prefix that ends between step 6 and the cut; if the
//!    cut is undone, step 6.* Or: the copy takes the name, and the directory is synced. *Step 6 or the result, for a
//!    rename happens or does not.*
//! 8. The indexes are cut or made anew, each on another inode (I12). *The result; recovery makes anew what the state does
//!    not vouch for.*
//! 9. The state speaks of the new end: durably if it lies in a gap, where no batch says it. A log start that the cut took
//!    along, for it lay inside a batch that went whole, is lowered here and not before. *The result.*
//!
//! A failure from step 6 on fails the log, for what is on disk is a state between; `reopen` recovers it.
//!
//! To begin anew at an offset, step 4 goes down to the start of the first segment and step 6 to that segment itself:
//! *without any segment the state's word counts, and the log is empty at its old start.* Then the state is made to say,
//! durably, that the log begins at the offset: *it is empty there.* Then the new segment is created: *the result.*
//!
//! In place only where all of this holds: the cut lies between two batches of the active segment, nothing at or above it
//! was handed to a receiver or was there when the file was opened, and no reader holds the segment, its files, or a
//! slice of them, which is made sure of while the map of segments is locked. Readers in other processes are not known;
//! what they send is theirs to look after.

use std::sync::Arc;

use crate::error::{Corruption, Error, Result};
use crate::names::SegmentFile;
use crate::offset::{Offset, Position};
use crate::record::{Shortened, shortened};
use crate::segment::{
    CutPlace, DamagedRange, Handles, KnownIndexes, Segment, SegmentWriter, discard_aside, find_cut, last_batch, later,
    path, surviving_indexes, take_name, write_aside,
};
use crate::state::{RecoveryPoint, Witness};

use super::Log;
use super::core::Truncated;
use super::open::directory::{remove_if_there, sync_dir};
use super::open::load::{shape, witness_of};
use super::shared::Shared;
use super::writer::Writer;

/// A segment's files besides its `.log`.
const BESIDE_THE_LOG: [SegmentFile; 4] =
    [SegmentFile::OffsetIndex, SegmentFile::TimeIndex, SegmentFile::TransactionIndex, SegmentFile::Snapshot];

impl Log {
    /// Removes every record from `end` on, durably: when this returns, the log ends at `end`, and every record below is
    /// there, also after a power cut. An `end` at or above the log end removes nothing, and syncs.
    ///
    /// A batch across `end` is written anew with its first records: same offsets, times, producer and codec. To
    /// cut where a Kafka broker would, between batches, there is [`Log::truncate_to_batch`].
    ///
    /// Slices that were made before keep their content, and so does what was sent of them. Iterators that have not come
    /// as far as `end` go on with what the log holds then; those beyond it, and whoever waits for a removed record to be
    /// durable, get [`Error::Truncated`]. The segment that `end` lies in is cut in place if nobody can notice; else what
    /// stays of it is copied, which takes room.
    ///
    /// ```
    /// use kstore::{Log, LogConfig, Offset, Record};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let log = Log::open(dir.path(), LogConfig::default())?;
    /// log.append(&[Record::value("a"), Record::value("b"), Record::value("c")])?;
    /// log.truncate_to(Offset::new(2))?;
    /// assert_eq!(log.append(&[Record::value("d")])?.base_offset(), Offset::new(2));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `OffsetOutOfRange` below the log start. `StorageFull`, `Io`, `Corrupt` and `UnsupportedCompression` (for the
    /// batch across `end`) leave the log as it was; `Failed` after a failure on the way, and then [`Log::reopen`]
    /// recovers a log that ends somewhere between. `Damaged`; `Closed`.
    pub fn truncate_to(&self, end: Offset) -> Result<()> {
        self.shared().truncate(end, Unit::Record).map(drop)
    }

    /// Removes every batch that ends above `end`, durably, and returns the new log end: as Kafka's followers do where
    /// they diverge from their leader. A batch that holds `end` goes whole; the log then ends where that batch began, so
    /// that the next append leaves no gap. (Kafka's log ends at `end` all the same, until it is restarted.)
    ///
    /// # Errors
    /// As [`Log::truncate_to`].
    pub fn truncate_to_batch(&self, end: Offset) -> Result<Offset> {
        self.shared().truncate(end, Unit::Batch)
    }

    /// Removes everything, durably, and begins anew at any offset: the log starts and ends there. For a follower whose
    /// whole range is of no use, a Raft log behind a snapshot, and for the first offset of a new log.
    ///
    /// # Errors
    /// `OffsetsExhausted` for an offset at which no record can have its place; otherwise as [`Log::truncate_to`].
    pub fn reset_to(&self, start: Offset) -> Result<()> {
        self.shared().reset(start)
    }
}

/// What is removed whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Record,
    Batch,
}

/// How the file of the segment that the cut lies in gets its new end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// It ends there already.
    AsItIs,
    InPlace,
    Replaced,
}

/// What is to be done.
#[derive(Debug)]
struct Plan {
    /// The new log end.
    end: Offset,
    segment: Arc<Segment>,
    handles: Arc<Handles>,
    /// Where the batches that stay as they are end, and the offset behind them.
    position: Position,
    due: Offset,
    /// What is left of the batch across the cut.
    across: Option<Shortened>,
    /// The last batch that stays as it is, in whichever segment.
    last_whole: Option<Witness>,
    known: KnownIndexes,
    damage: Vec<DamagedRange>,
    how: How,
}

impl Plan {
    fn base(&self) -> Offset {
        self.segment.base()
    }

    fn last_batch(&self) -> Option<Witness> {
        let across = self.across.as_ref().map(|left| witness_of(self.base(), self.position, &left.header));
        across.or(self.last_whole)
    }

    fn behind(&self) -> &[u8] {
        self.across.as_ref().map_or(&[], |left| &left.bytes)
    }

    fn final_position(&self) -> Position {
        self.position + u64::try_from(self.behind().len()).expect("lengths in memory fit 64 bits")
    }
}

impl Shared {
    fn truncate(&self, end: Offset, unit: Unit) -> Result<Offset> {
        let deletion = self.deletion.lock();
        let mut new_end = None;
        self.with_syncs_stopped(|| {
            let mut writer = self.writer.lock();
            writer.check_writable()?;
            let (start, log_end) = (self.core.log_start(), writer.next_offset());
            if end < start {
                return Err(Error::OffsetOutOfRange { asked: end, start, end: log_end });
            }
            if end >= log_end {
                return self.log_end_lowered(log_end).map_err(|error| self.fail_if_unsynced(&mut writer, error));
            }
            new_end = Some(self.truncate_locked(&mut writer, end, unit)?);
            Ok(())
        })?;
        drop(deletion);
        match new_end {
            Some(end) => Ok(end),
            None => self.sync_all(),
        }
    }

    /// What knows leader epochs forgets those that begin at or above `end`; behind the cut, and before it is told.
    fn log_end_lowered(&self, end: Offset) -> Result<()> {
        // Cursors that cannot be written now are judged by their batches when they are looked at.
        drop(self.lower_cursors(end));
        self.cut_epochs_from_end(end)
    }

    fn truncate_locked(&self, writer: &mut Writer, end: Offset, unit: Unit) -> Result<Offset> {
        writer.begin_session()?;
        writer.growth_limit = None;
        let mut plan = self.plan(writer, end, unit)?;
        self.sync_kept(writer, plan.base())?;
        let log_start_before = self.core.log_start();
        let log_start = log_start_before.min(plan.end);
        let truncated = Truncated { log_start, end: plan.end, cut: plan.end, last_base: Some(plan.base()) };
        let removed = self.bases_above(plan.base());
        if plan.how == How::Replaced {
            self.prepare_copy(writer, &plan)?;
        }
        if let Err(error) = self.lower_mark_for(writer, &plan) {
            self.discard_copy(writer, plan.base())?;
            return Err(error);
        }
        if plan.how == How::InPlace && !self.take_from_readers(writer, &plan, &truncated) {
            plan.how = How::Replaced;
            self.prepare_copy(writer, &plan)?;
        }
        if plan.how != How::InPlace {
            self.core.install_truncated(&truncated, None);
        }
        self.tell_who_waits(plan.end, plan.end);
        let active = self.change_files(writer, &plan, &removed).map_err(|error| self.fail_with(writer, error))?;
        if log_start < log_start_before {
            // Not before: a crash would bring back what was deleted in front of the log.
            writer.lower_mark(log_start, None).map_err(|error| self.fail_with(writer, error))?;
        }
        let segment = Arc::clone(active.segment());
        writer.go_on_with(active, plan.last_batch());
        if self.core.gaps_allowed() && plan.last_batch().is_none_or(|last| last.last_offset + 1 < plan.end) {
            // The next segment may be named by this end, and recovery must know it then.
            writer.sync_end().map_err(|error| self.fail_with(writer, error))?;
        }
        self.core.install_cut_segment(segment, plan.end);
        // Everything that is left is durable.
        self.counters.note_sync(writer.appended.records, writer.appended.bytes);
        Ok(plan.end)
    }

    /// Finds the cut and what survives it. Changes nothing but what the index files hold of entries already made.
    fn plan(&self, writer: &mut Writer, end: Offset, unit: Unit) -> Result<Plan> {
        let Some(segment) = self.core.floor_segment(end) else {
            return Err(Error::OffsetOutOfRange {
                asked: end,
                start: self.core.log_start(),
                end: writer.next_offset(),
            });
        };
        let handles = self.core.handles(&segment)?;
        let active = writer.active();
        let is_active = active.base() == segment.base();
        let written = if is_active {
            active.write_indexes();
            active.position()
        } else {
            self.published_whole(writer, &segment)
        };
        let limits = self.core.decode_limits();
        let mut place = find_cut(&segment, &handles, written, end, limits)?;
        let across = place.across.take();
        let new_end = match (&across, unit) {
            (Some(across), Unit::Batch) => across.first,
            _ => end,
        };
        if across.is_none() && place.due < new_end && !self.core.gaps_allowed() {
            // Records below the cut are missing, where none may be.
            let reason = Corruption::OffsetGap { found: new_end.to_disk(), expected: place.due.to_disk() };
            return Err(Error::corrupt(&segment.log_path(), place.position, reason));
        }
        let left = match across.filter(|_| unit == Unit::Record) {
            Some(across) => Some(
                shortened(&across.header, across.bytes, end, limits)
                    .map_err(|reason| Error::corrupt(&segment.log_path(), place.position, reason))?,
            ),
            None => None,
        };
        let mut known = surviving_indexes(&segment, &handles, &place)?;
        if let Some(left) = &left {
            known.max_timestamp = later(known.max_timestamp, &left.header);
        }
        let how = match &left {
            None if !is_active && place.position == written => How::AsItIs,
            None if is_active => How::InPlace,
            _ => How::Replaced,
        };
        let damage = segment.damage().iter().filter(|damaged| damaged.end <= place.position).cloned().collect();
        let last_whole = self.last_whole(&segment, &place)?;
        let mut plan = Plan {
            end: new_end,
            segment,
            handles,
            position: place.position,
            due: place.due,
            across: left,
            last_whole,
            known,
            damage,
            how,
        };
        plan.known.position = plan.final_position();
        Ok(plan)
    }

    /// Where a sealed segment's batches end, all of which readers may see: the log end still hides what they may not.
    fn published_whole(&self, writer: &Writer, segment: &Arc<Segment>) -> Position {
        for sealed in writer.sealed.iter().filter(|sealed| sealed.segment.base() <= segment.base()) {
            sealed.publish();
        }
        segment.published()
    }

    /// The last batch that stays as it is: in this segment, or in the one before.
    fn last_whole(&self, segment: &Arc<Segment>, place: &CutPlace) -> Result<Option<Witness>> {
        if let Some((position, header)) = &place.last_whole {
            return Ok(Some(witness_of(segment.base(), *position, header)));
        }
        let mut below = segment.base();
        while let Some(before) =
            below.value().checked_sub(1).and_then(|last| self.core.floor_segment(Offset::new(last)))
        {
            let handles = self.core.handles(&before)?;
            if let Some((position, header)) = last_batch(&before, &handles)? {
                return Ok(Some(witness_of(before.base(), position, &header)));
            }
            below = before.base();
        }
        Ok(None)
    }

    /// Makes the sealed segments durable that stay.
    fn sync_kept(&self, writer: &mut Writer, last: Offset) -> Result<()> {
        for sealed in writer.sealed.clone() {
            if sealed.segment.base() <= last {
                sealed.sync().map_err(|error| self.fail_with(writer, error))?;
                sealed.publish();
            }
        }
        Ok(())
    }

    /// The base offsets of the segments that go, the last one first.
    fn bases_above(&self, last: Offset) -> Vec<Offset> {
        let segments = self.core.all_segments();
        segments.iter().rev().map(|segment| segment.base()).filter(|&base| base > last).collect()
    }

    /// Writes the copy that is to take the segment's name; without success nothing is left of it.
    fn prepare_copy(&self, writer: &mut Writer, plan: &Plan) -> Result<()> {
        let (env, dir) = (self.core.env(), self.core.dir());
        write_aside(env, dir, plan.base(), &plan.handles.log, plan.position, plan.behind()).or_else(|error| {
            self.discard_copy(writer, plan.base())?;
            Err(error)
        })
    }

    /// Removes the copy. One that cannot be removed could one day be taken for a segment that lost its name.
    fn discard_copy(&self, writer: &mut Writer, base: Offset) -> Result<()> {
        discard_aside(self.core.env(), self.core.dir(), base).map_err(|error| self.fail_with(writer, error))
    }

    fn lower_mark_for(&self, writer: &mut Writer, plan: &Plan) -> Result<()> {
        // In a gap the log ends where it was cut, which nothing but the mark says: what follows begins there.
        let durable = if plan.across.is_none() { plan.end } else { plan.due };
        let point = RecoveryPoint { offset: durable, segment_base: plan.base(), position: plan.position };
        if writer.mark_reaches_above(durable) {
            writer.lower_mark(self.core.log_start(), Some((point, plan.last_whole)))?;
        }
        Ok(())
    }

    /// Shows readers the new end if nobody but the writer holds the active segment and nothing that goes was sent: from
    /// then on nobody can come by the bytes above the cut.
    fn take_from_readers(&self, writer: &mut Writer, plan: &Plan, truncated: &Truncated) -> bool {
        let fresh = Segment::within(self.core.dir(), plan.base(), plan.position, plan.damage.clone());
        let active = writer.active();
        let nobody_holds = |old: &Arc<Segment>| {
            Arc::ptr_eq(old, active.segment())
                && old.is_held_by_its_writer_and(&plan.segment, &plan.handles)
                && active.log().sent() <= plan.position
        };
        self.core.install_truncated(truncated, Some((Arc::new(fresh), &nobody_holds)))
    }

    /// Tells who waits for offsets above `cut`. The cut was noted before, so that who wakes now finds it.
    fn tell_who_waits(&self, end: Offset, cut: Offset) {
        self.lower_written_end(end);
        self.worker.fail_callbacks(cut, |asked| Error::Truncated { asked, end: cut });
    }

    /// Steps 6 to 8: the files, and a writer on the segment in which the log ends now.
    fn change_files(&self, writer: &mut Writer, plan: &Plan, removed: &[Offset]) -> Result<SegmentWriter> {
        let (env, dir, base) = (self.core.env(), self.core.dir(), plan.base());
        drop(self.lower_cursors(plan.end));
        self.remove_segments(removed)?;
        match plan.how {
            How::AsItIs => {}
            How::InPlace => writer.active().cut(plan.position)?,
            How::Replaced => {
                take_name(env, dir, base)?;
                sync_dir(env, dir)?;
            }
        }
        let shape = shape(env, &writer.config);
        let resume =
            |known: &KnownIndexes| SegmentWriter::resume(env, dir, base, shape, plan.end, known, plan.damage.clone());
        let active = match resume(&plan.known) {
            Err(Error::StorageFull { .. } | Error::Corrupt { .. }) => {
                // Lookups scan where there are no entries; a full disk does not keep a log from being truncated.
                for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
                    remove_if_there(env, &path(dir, base, kind))?;
                }
                resume(&KnownIndexes { offset_entries: 0, time_entries: 0, ..plan.known })?
            }
            answer => answer?,
        };
        sync_dir(env, dir)?;
        self.log_end_lowered(plan.end)?;
        Ok(active)
    }

    /// Removes segments in the order given: the last one first.
    fn remove_segments(&self, bases: &[Offset]) -> Result<()> {
        let (env, dir) = (self.core.env(), self.core.dir());
        for &base in bases {
            remove_if_there(env, &path(dir, base, SegmentFile::Log))?;
            sync_dir(env, dir)?;
            for kind in BESIDE_THE_LOG {
                remove_if_there(env, &path(dir, base, kind))?;
            }
        }
        Ok(())
    }

    fn reset(&self, start: Offset) -> Result<()> {
        if start >= Offset::MAX {
            return Err(Error::OffsetsExhausted);
        }
        let mut deletion = self.deletion.lock();
        // What was deleted must not be in the way of what gets its name, nor come back below a log start that is lowered.
        self.unlink_all(&mut deletion)?;
        self.with_syncs_stopped(|| {
            let mut writer = self.writer.lock();
            writer.check_writable()?;
            writer.begin_session()?;
            sync_dir(self.core.env(), self.core.dir()).map_err(|error| self.fail_with(&mut writer, error))?;
            self.reset_locked(&mut writer, start)
        })
    }

    fn reset_locked(&self, writer: &mut Writer, start: Offset) -> Result<()> {
        writer.growth_limit = None;
        let log_start = self.core.log_start();
        let bases: Vec<Offset> = self.core.all_segments().iter().rev().map(|segment| segment.base()).collect();
        let Some(&first) = bases.last() else { return Err(Error::Closed) };
        let at = |base| RecoveryPoint { offset: base, segment_base: base, position: Position::ZERO };
        writer.lower_mark(log_start, Some((at(first), None)))?;
        let cut = start.min(log_start);
        self.core.install_truncated(&Truncated { log_start: start, end: start, cut, last_base: None }, None);
        self.tell_who_waits(start, cut);
        let begin = |writer: &mut Writer| {
            let (env, dir) = (self.core.env(), self.core.dir());
            drop(self.lower_cursors(cut));
            self.remove_segments(&bases)?;
            writer.lower_mark(start, Some((at(start), None)))?;
            let active = SegmentWriter::create(env, dir, start, shape(env, &writer.config))?;
            sync_dir(env, dir)?;
            self.clear_epochs()?;
            Ok(active)
        };
        let active = begin(writer).map_err(|error| self.fail_with(writer, error))?;
        let segment = Arc::clone(active.segment());
        writer.go_on_with(active, None);
        self.core.install_cut_segment(segment, start);
        self.counters.note_sync(writer.appended.records, writer.appended.bytes);
        Ok(())
    }
}
