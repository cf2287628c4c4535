//! What stands under the writer mutex: the active segment, what is not yet durable, and the state file.
//!
//! Every method here is called with that mutex held. The invariant it owns: the state on disk never claims more than
//! was made durable, and says "not clean" durably before the first change of a session (rule 26).

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use crate::config::{LogConfig, NotMapped, WriteMode};
use crate::error::{Error, Result};
use crate::fs::Env;
use crate::names::SegmentFile;
use crate::offset::{Offset, Position, Timestamp};
use crate::record::{BatchHeader, PlannedBatch};
use crate::segment::{AppendFailure, BatchFacts, LogFile, RollReason, Sealed, Segment, SegmentWriter, path};
use crate::state::{ActiveFile, IndexMarks, RecoveryPoint, State, StateFile, StateSyncer, Witness};

use super::open::DirectoryLocks;
use super::open::directory::{remove_if_there, sync_dir};
use super::open::load::{Loaded, Readable, shape, witness_of};

/// The writer's half of an open log.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) config: Arc<LogConfig>,
    /// `None` once the log is closed, and while it is being reopened.
    pub(super) active: Option<SegmentWriter>,
    /// Segments that take no more batches and are not yet known to be durable, oldest first.
    pub(super) sealed: Vec<Arc<Sealed>>,
    /// Files were created whose names are not yet durable.
    names_unsynced: bool,
    state_file: StateFile,
    state: State,
    marked_clean: bool,
    refused: Option<Error>,
    pub(super) failed: Option<Arc<Error>>,
    /// The last batch of the log.
    last_batch: Option<Witness>,
    /// The last batch of the last sealed segment.
    last_sealed_batch: Option<Witness>,
    /// When the oldest unsynced append was made.
    pub(super) unsynced_since: Option<Timestamp>,
    /// Appended since the log was opened; never goes back.
    pub(super) appended: Amount,
    pub(super) locks: Option<DirectoryLocks>,
    /// The base offset of the first segment: no state that is written rests on anything before it.
    first_base: Offset,
    /// The log start, and the first segment, that a sync of the state file covered last.
    durable_log_start: Offset,
    durable_first_base: Offset,
    /// Why the log is not mapped as it was configured. The configuration at hand then says how it is written instead.
    pub(super) not_mapped: Option<NotMapped>,
    /// How far the active segment may grow within `max_bytes`; `None` where that is to be worked out again.
    pub(super) growth_limit: Option<u64>,
}

/// Where the log begins, and with which segment, as a state has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Front {
    log_start: Offset,
    first_base: Offset,
}

/// Records and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// What a sync is to make durable, as of one moment.
#[derive(Debug)]
pub(super) struct Capture {
    pub(super) sealed: Vec<Arc<Sealed>>,
    /// The active segment and its `.log`, unless only sealed segments are asked for.
    pub(super) active: Option<(Arc<Segment>, Arc<LogFile>)>,
    pub(super) names_unsynced: bool,
    pub(super) end: Offset,
    pub(super) appended: Amount,
    point: RecoveryPoint,
    witness: Option<Witness>,
    index_marks: IndexMarks,
    max_timestamp: Option<(Timestamp, Offset)>,
}

impl Capture {
    /// How far the active segment was written.
    pub(super) fn position(&self) -> Position {
        self.point.position
    }
}

impl Writer {
    pub(super) fn new(
        state_file: StateFile,
        loaded: Loaded,
        config: Arc<LogConfig>,
        locks: DirectoryLocks,
    ) -> (Writer, Readable) {
        let last_batch = loaded.state.witness;
        let first_base = loaded.segments.keys().next().copied().unwrap_or_default();
        let last_sealed_batch = last_batch.filter(|last| last.segment_base < loaded.active.base());
        let writer = Writer {
            config,
            active: Some(loaded.active),
            sealed: Vec::new(),
            names_unsynced: false,
            state_file,
            state: loaded.state,
            marked_clean: loaded.marked_clean,
            refused: loaded.refused,
            failed: None,
            last_batch,
            last_sealed_batch,
            unsynced_since: None,
            appended: Amount::default(),
            locks: Some(locks),
            first_base,
            durable_log_start: loaded.state.log_start,
            durable_first_base: first_base,
            not_mapped: None,
            growth_limit: None,
        };
        let Loaded { segments, bounds, epochs, report, .. } = loaded;
        (writer, Readable { segments, bounds, epochs, report })
    }

    /// Goes on with what a reopening loaded.
    pub(super) fn replace(&mut self, state_file: StateFile, loaded: Loaded) -> Readable {
        let locks = self.locks.take().expect("a log that is reopened holds its locks");
        let (appended, not_mapped) = (self.appended, self.not_mapped);
        let (fresh, readable) = Writer::new(state_file, loaded, Arc::clone(&self.config), locks);
        *self = Writer { appended, not_mapped, ..fresh };
        readable
    }

    /// The active segment, if appends are accepted.
    pub(super) fn check_writable(&self) -> Result<()> {
        if let Some(cause) = &self.failed {
            return Err(Error::Failed { cause: Arc::clone(cause) });
        }
        if self.active.is_none() {
            return Err(Error::Closed);
        }
        match &self.refused {
            Some(damaged) => Err(damaged.clone()),
            None => Ok(()),
        }
    }

    /// Whether appends are accepted, and the state on disk says that there are some.
    pub(super) fn is_in_session(&self) -> bool {
        self.active.is_some() && self.failed.is_none() && self.refused.is_none() && !self.marked_clean
    }

    pub(super) fn active(&mut self) -> &mut SegmentWriter {
        self.active.as_mut().expect("checked before: the log is open")
    }

    pub(super) fn next_offset(&self) -> Offset {
        self.active.as_ref().map_or(self.state.log_end, SegmentWriter::next_offset)
    }

    /// Makes the state on disk say "not clean" before anything is changed.
    pub(super) fn begin_session(&mut self) -> Result<()> {
        if self.marked_clean {
            let state = State { clean: false, generation: self.state.generation + 1, ..self.state };
            self.state_file.write(&state)?;
            self.state_file.sync()?;
            self.state = state;
            self.marked_clean = false;
        }
        Ok(())
    }

    /// Makes the state on disk say that offsets may be missing, before they are.
    pub(super) fn allow_gaps(&mut self) -> Result<()> {
        if !self.state.gaps_allowed {
            let state = State { gaps_allowed: true, ..self.state };
            self.write_both_slots(&state)?;
            self.state = state;
        }
        Ok(())
    }

    /// Why the active segment must end before this is appended.
    pub(super) fn must_roll(
        &mut self,
        size_bytes: u64,
        last_offset: Offset,
        max_timestamp: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Option<RollReason>> {
        self.active().must_roll(size_bytes, last_offset, max_timestamp, now)
    }

    /// Ends the active segment and begins another at `base`, the log end or above. The old one keeps taking batches if this fails.
    ///
    /// The order is rule 11a's: nothing new is published meanwhile (the mutex is held), the old file is cut to size and
    /// synced if room was allocated ahead, and only then the new one is created. Its name is made durable before
    /// anything in it is acknowledged as durable.
    pub(super) fn roll(
        &mut self,
        env: &Env,
        dir: &Path,
        base: Offset,
    ) -> std::result::Result<Arc<Sealed>, AppendFailure> {
        let shape = shape(env, &self.config);
        let active = self.active();
        assert!(base >= active.next_offset(), "a segment begins behind the one before it");
        active.trim().map_err(AppendFailure::Unknown)?;
        let fresh = match SegmentWriter::create(env, dir, base, shape) {
            Ok(fresh) => fresh,
            Err(error) => return Err(self.undo_roll(env, dir, base, error)),
        };
        let old = self.active.replace(fresh).expect("checked before: the log is open");
        let sealed = Arc::new(old.seal());
        self.sealed.push(Arc::clone(&sealed));
        self.growth_limit = None;
        self.last_sealed_batch = self.last_batch;
        self.names_unsynced = true;
        Ok(sealed)
    }

    /// Removes what a failed roll created: the old segment grows on, past the base offset that this name claims. Where
    /// that fails too, nothing may be appended.
    fn undo_roll(&mut self, env: &Env, dir: &Path, base: Offset, error: Error) -> AppendFailure {
        if matches!(&error, Error::Io { cause, .. } if cause.kind() == std::io::ErrorKind::AlreadyExists) {
            return AppendFailure::Unchanged(error);
        }
        self.names_unsynced = true;
        for kind in [SegmentFile::Log, SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
            if let Err(removal) = remove_if_there(env, &path(dir, base, kind)) {
                return AppendFailure::Unknown(removal);
            }
        }
        AppendFailure::Unchanged(error)
    }

    /// Writes batches behind the log end.
    pub(super) fn write(
        &mut self,
        parts: &mut [IoSlice<'_>],
        batches: &[BatchFacts],
        last: Witness,
        amount: Amount,
        now: Timestamp,
    ) -> std::result::Result<(), AppendFailure> {
        self.active().append(parts, batches)?;
        self.note_written(last, amount, now);
        Ok(())
    }

    /// Writes a batch that is encoded on the way, behind the log end.
    pub(super) fn write_planned(
        &mut self,
        planned: &PlannedBatch<'_>,
        header: &mut BatchHeader,
        amount: Amount,
        now: Timestamp,
    ) -> std::result::Result<(), AppendFailure> {
        let active = self.active();
        let (base, position) = (active.base(), active.position());
        active.append_planned(planned, header)?;
        self.note_written(witness_of(base, position, header), amount, now);
        Ok(())
    }

    fn note_written(&mut self, last: Witness, amount: Amount, now: Timestamp) {
        self.last_batch = Some(last);
        self.appended.records += amount.records;
        self.appended.bytes += amount.bytes;
        self.unsynced_since.get_or_insert(now);
    }

    /// What must be synced for everything appended so far to be durable, or only what lies in sealed segments.
    pub(super) fn capture(&mut self, sealed_only: bool) -> Option<Capture> {
        let active = self.active.as_mut()?;
        let (end, position) =
            if sealed_only { (active.base(), Position::ZERO) } else { (active.next_offset(), active.position()) };
        Some(Capture {
            sealed: self.sealed.clone(),
            active: (!sealed_only).then(|| (Arc::clone(active.segment()), Arc::clone(active.log()))),
            names_unsynced: self.names_unsynced,
            end,
            appended: self.appended,
            point: RecoveryPoint { offset: end, segment_base: active.base(), position },
            witness: if sealed_only { self.last_sealed_batch } else { self.last_batch },
            index_marks: if sealed_only { IndexMarks::default() } else { active.prepare_sync() },
            max_timestamp: (!sealed_only)
                .then(|| active.max_timestamp().map(|max| (max.timestamp, max.offset)))
                .flatten(),
        })
    }

    /// Takes note that a capture is durable: the recovery point moves.
    pub(super) fn retire(&mut self, capture: &Capture) {
        self.sealed.retain(|sealed| !capture.sealed.iter().any(|done| Arc::ptr_eq(done, sealed)));
        if capture.names_unsynced && self.active.as_ref().is_some_and(|a| a.base() == capture.point.segment_base) {
            self.names_unsynced = false;
        }
        if capture.active.is_some() && self.appended == capture.appended {
            self.unsynced_since = None;
        }
        if capture.point.offset < self.state.recovery_point.offset || capture.point.segment_base < self.first_base {
            return;
        }
        if self.refused.is_none() {
            // That this write fails only means that the recovery point lags, which it may.
            drop(self.write_mark(capture));
        }
    }

    /// Writes a state that claims what a capture made durable.
    fn write_mark(&mut self, capture: &Capture) -> Result<()> {
        let state = State {
            log_end: capture.end.max(self.state.log_start),
            recovery_point: capture.point,
            witness: self.surviving(capture.witness),
            active: ActiveFile { base: capture.point.segment_base, size: capture.point.position.value() },
            index_marks: capture.index_marks,
            max_timestamp: capture.max_timestamp,
            ..self.state
        };
        self.state_file.write(&state)?;
        self.state = state;
        Ok(())
    }

    /// Makes durable where the log ends, of which everything is durable: in a gap nothing but the state says it.
    pub(super) fn sync_end(&mut self) -> Result<()> {
        let Some(capture) = self.capture(false) else { return Err(Error::Closed) };
        self.write_mark(&capture)?;
        self.state_file.sync()
    }

    /// Whether the state on disk may speak of batches from an offset on.
    pub(super) fn mark_reaches_above(&self, offset: Offset) -> bool {
        self.state.recovery_point.offset > offset
    }

    /// Makes the state claim no more, durably, before what it claims is cut off: where the log starts, and, if that is to
    /// be lowered, how far it is durable. The witness survives the cut. Should this fail, whichever state counts is true.
    pub(super) fn lower_mark(
        &mut self,
        log_start: Offset,
        durable: Option<(RecoveryPoint, Option<Witness>)>,
    ) -> Result<()> {
        let mut state = State { clean: false, log_start, ..self.state };
        if let Some((point, witness)) = durable {
            state = State {
                // A log start within the first segment, or within the batch across a cut, lies above what is left.
                log_end: point.offset.max(log_start),
                recovery_point: point,
                witness,
                active: ActiveFile { base: point.segment_base, size: point.position.value() },
                index_marks: IndexMarks::UNKNOWN,
                max_timestamp: None,
                ..state
            };
        }
        self.write_both_slots(&state)?;
        // Not before: what was not made durable is lowered again by whoever tries again.
        self.state = state;
        self.durable_log_start = log_start;
        self.first_base = self.first_base.min(state.recovery_point.segment_base);
        self.durable_first_base = self.first_base;
        Ok(())
    }

    /// Whichever of the writes that follow is torn: no state comes back that claims what is cut off, or that offsets have
    /// no gaps.
    fn write_both_slots(&mut self, state: &State) -> Result<()> {
        for _ in 0..2 {
            self.state_file.write(state)?;
            self.state_file.sync()?;
        }
        Ok(())
    }

    /// Goes on with the segment in which a truncated log ends. All that is left of the log is durable.
    pub(super) fn go_on_with(&mut self, active: SegmentWriter, last_batch: Option<Witness>) {
        self.last_batch = last_batch;
        self.last_sealed_batch = last_batch.filter(|last| last.segment_base < active.base());
        self.active = Some(active);
        self.sealed.clear();
        self.names_unsynced = false;
        self.unsynced_since = None;
        // Readers in other processes see by this that what lies behind the cut is not what was there (`open/growth.rs`).
        self.state.generation += 1;
        if let Some(capture) = self.capture(false) {
            self.retire(&capture);
        }
    }

    /// Writes a log start that was raised, and, if segments below `first_base` are about to go, a state that rests on none
    /// of them. Nothing is durable yet; see `deletion.rs`. If it fails, nothing is changed.
    pub(super) fn raise_log_start(&mut self, start: Offset, first_base: Offset) -> Result<()> {
        self.begin_session()?;
        let mut state = State {
            log_start: start.max(self.state.log_start),
            log_end: start.max(self.state.log_end),
            witness: self.state.witness.filter(|witness| witness.segment_base >= first_base),
            ..self.state
        };
        if state.recovery_point.segment_base < first_base {
            // That everything below the first segment is durable is true of nothing.
            state = State {
                recovery_point: RecoveryPoint {
                    offset: first_base,
                    segment_base: first_base,
                    position: Position::ZERO,
                },
                witness: None,
                active: ActiveFile { base: first_base, size: 0 },
                index_marks: IndexMarks::default(),
                max_timestamp: None,
                ..state
            };
        }
        self.state_file.write(&state)?;
        self.state = state;
        self.front_is_gone(first_base);
        Ok(())
    }

    /// The log has no segment below `first_base` any more.
    pub(super) fn front_is_gone(&mut self, first_base: Offset) {
        self.first_base = first_base.max(self.first_base);
        self.last_batch = self.surviving(self.last_batch);
        self.last_sealed_batch = self.surviving(self.last_sealed_batch);
        self.growth_limit = None;
    }

    /// Whether the state that was written last rests on no segment below `base`; if so, it is durable from here on.
    pub(super) fn state_rests_above(&self, base: Offset) -> Result<bool> {
        let witness_is_above = self.state.witness.is_none_or(|witness| witness.segment_base >= base);
        let rests_above = witness_is_above && self.state.recovery_point.segment_base >= base;
        if rests_above {
            self.state_file.sync()?;
        }
        Ok(rests_above)
    }

    fn surviving(&self, witness: Option<Witness>) -> Option<Witness> {
        witness.filter(|witness| witness.segment_base >= self.first_base)
    }

    /// A sync of sealed segments has something to do.
    pub(super) fn has_unsynced_segments(&self) -> bool {
        !self.sealed.is_empty() || self.names_unsynced
    }

    /// The front of the log that was written last, and what makes it durable, unless it is.
    pub(super) fn unsynced_front(&self) -> Option<(Front, StateSyncer)> {
        let front = Front { log_start: self.state.log_start, first_base: self.first_base };
        let is_newer = front.log_start > self.durable_log_start || front.first_base > self.durable_first_base;
        (is_newer && !self.marked_clean).then(|| (front, self.state_file.syncer()))
    }

    pub(super) fn note_front_synced(&mut self, front: Front) {
        self.durable_log_start = self.durable_log_start.max(front.log_start);
        self.durable_first_base = self.durable_first_base.max(front.first_base);
    }

    /// Notes in the state, by a plain write, that what lies above the recovery point may not be on disk (rule 29).
    pub(super) fn note_failure(&mut self, cause: &Arc<Error>) {
        if self.failed.is_some() {
            return;
        }
        self.failed = Some(Arc::clone(cause));
        self.state.sync_failed = true;
        if self.refused.is_none() && !self.marked_clean {
            // Should this write fail too, the next opening still recovers from the recovery point.
            drop(self.state_file.write(&self.state));
        }
    }

    /// Makes everything durable, cuts every file to size, and marks the directory clean.
    pub(super) fn finish(&mut self, env: &Env, dir: &Path) -> Result<()> {
        let active = self.active.take();
        if let Some(cause) = &self.failed {
            return Err(Error::Failed { cause: Arc::clone(cause) });
        }
        let Some(mut active) = active else { return Ok(()) };
        if self.refused.is_some() || self.marked_clean {
            return Ok(());
        }
        for sealed in std::mem::take(&mut self.sealed) {
            sealed.sync()?;
        }
        active.trim()?;
        active.log().sync()?;
        let index_marks = active.finish_indexes()?;
        super::open::torn::forget(env, dir)?;
        sync_dir(env, dir)?;
        let end = active.next_offset();
        let sections = self.sections(env, dir, active.base())?;
        let state = State {
            clean: true,
            log_end: end,
            recovery_point: RecoveryPoint { offset: end, segment_base: active.base(), position: active.position() },
            witness: self.last_batch,
            active: ActiveFile { base: active.base(), size: active.position().value() },
            index_marks,
            max_timestamp: active.max_timestamp().map(|max| (max.timestamp, max.offset)),
            ..self.state
        };
        self.state_file.write(&state)?;
        self.state_file.write_sections(&sections)?;
        self.state_file.sync()?;
        self.state = state;
        Ok(())
    }

    /// Base offset and size of every sealed segment.
    fn sections(&self, env: &Env, dir: &Path, active: Offset) -> Result<Vec<(Offset, u64)>> {
        let logs = super::open::directory::Listing::read(env, dir)?.logs(dir);
        let mut sections = Vec::with_capacity(logs.len());
        for (base, source) in logs {
            // A file that could not be renamed when its segment was deleted is none of the log's.
            if base != active && base >= self.first_base {
                sections.push((base, super::open::recovery::file_size(env, &source.path)?));
            }
        }
        Ok(sections)
    }

    /// Forgets everything that is open, for a reopening.
    pub(super) fn abandon(&mut self) {
        self.active = None;
        self.sealed.clear();
        self.names_unsynced = false;
    }

    /// Goes on by the configuration, which may have changed.
    pub(super) fn set_mapping(&mut self, env: &Env, not_mapped: Option<NotMapped>) {
        self.not_mapped = not_mapped;
        let shape = shape(env, &self.config);
        if let Some(active) = self.active.as_mut() {
            active.set_shape(shape);
            if self.config.max_bytes.is_none() {
                active.limit_growth(u64::MAX);
            }
        }
    }

    /// How the log is written at present, and, where that is not how it should be, why.
    pub(super) fn write_mode(&self) -> (WriteMode, Option<NotMapped>) {
        let (mode, reason) = self.active.as_ref().map_or((self.config.write_mode, None), SegmentWriter::write_mode);
        (mode, self.not_mapped.or(reason))
    }
}
