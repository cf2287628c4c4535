//! How segments are deleted from the front of a log, and what an opening makes of a deletion that was interrupted.
//!
//! What may go is decided elsewhere (`retention.rs` beside this file). Invariants it owns: no file of a live segment is
//! renamed or unlinked before a log start above all its records is durable; whatever a crash undoes, the segments that
//! are left and count are the last ones of the log.
//!
//! | step | a crash behind it leaves |
//! |---|---|
//! | 1. what goes is synced, so that synced end and recovery point lie above it | the log as it was |
//! | 2. `kstore.state`: the log start raised, and nothing that rests on what goes; by `pwrite` | the old log start, or the new one: step 3 |
//! | 3. `kstore.state` is synced | all files, and a log start above some of them: the next opening removes these ([`deleted_before`], [`delete_again`]) |
//! | 4. readers see the log start, then the segments leave the map | the same |
//! | 5. each file, oldest first, is renamed to `.deleted`, or unlinked if there is no delay | any of them renamed, gone or neither: `.deleted` files, indexes without a `.log` and segments below the log start are removed by the next opening |
//! | 6. after the delay, or at close, they are unlinked | the same |
//!
//! The directory is not synced: nothing relies on a name being gone, for a name that comes back lies below the durable
//! log start (rule 15), and base offsets only rise. Whoever lowers a log start must sync the directory first.
//!
//! A failed write of the state changes nothing. A failed sync of it fails the log, as every failed sync does (rule 17). A
//! file that cannot be renamed keeps its name until it is unlinked; one that cannot be unlinked is tried again with the
//! next look, and its error is told. None of it needs room on the disk (rule 33), unless the file system never writes in
//! place and has none left for the state. Then room is made first: what waits to be unlinked goes, and after it the oldest
//! segments, one by one, each gone for good (a sync of the directory) before the next, until the state can be written.
//! They go only if the state that is on the disk, durably, rests on none of them; it then says an old log start, and a log
//! whose first segments are gone begins behind them. *A crash leaves the last segments, as after step 5.*

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::fs::Env;
use crate::names::{DELETED_SUFFIX, SegmentFile};
use crate::offset::{Offset, Timestamp};
use crate::retention::{ClockGuard, Reading, Sighting};
use crate::segment::{Segment, path};
use crate::state::State;
use crate::sync::atomic::Ordering;

use super::open::directory::{Source, remove_if_there, sync_dir};
use super::open::load::Loaded;
use super::open::recovery::file_size;
use super::report::{Fate, Leftover, RecoveryReport};
use super::shared::Shared;

/// What deletions remember from one to the next. Whoever deletes holds its lock, which comes before all others.
#[derive(Debug)]
pub(super) struct Deletion {
    /// Files that wait to be unlinked, oldest first.
    doomed: VecDeque<Doomed>,
    pub(super) opened: Opened,
    /// Made at the first look.
    pub(super) clock: Option<ClockGuard>,
    pub(super) sighting: Sighting,
    pub(super) last_look: Option<Reading>,
}

/// What the log was when it was opened: what the clock said before this session is in its records only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    pub(super) monotonic: Duration,
    pub(super) log_end: Offset,
    /// The largest timestamp of the active segment.
    pub(super) newest: Option<Timestamp>,
}

/// A file of a deleted segment, under the name that it has now.
#[derive(Debug)]
struct Doomed {
    path: PathBuf,
    /// Of a `.log`; indexes do not count.
    size_bytes: u64,
    since: Reading,
}

impl Deletion {
    pub(super) fn new(loaded: &Loaded, monotonic: Duration) -> Deletion {
        let newest = loaded.active.max_timestamp().map(|max| max.timestamp);
        Deletion {
            doomed: VecDeque::new(),
            opened: Opened { monotonic, log_end: loaded.bounds.log_end, newest },
            clock: None,
            sighting: Sighting::default(),
            last_look: None,
        }
    }
}

/// Whether so much time has passed, by either clock.
pub(super) fn has_passed(since: Reading, now: Reading, millis: u64) -> bool {
    let by_wall = now.wall.as_millis().saturating_sub(since.wall.as_millis());
    let passed = now.monotonic.saturating_sub(since.monotonic);
    passed >= Duration::from_millis(millis) || u64::try_from(by_wall).is_ok_and(|by_wall| by_wall >= millis)
}

impl Shared {
    pub(super) fn reading(&self, now: Timestamp) -> Reading {
        Reading { wall: now, monotonic: self.core.env().monotonic() }
    }

    /// Raises the log start to `start` and deletes the segments below `first_base`, which lies at or below `start` and is
    /// the base offset of a segment. Gives back how many went, and how many bytes of log.
    pub(super) fn delete_front(
        self: &Arc<Self>,
        deletion: &mut Deletion,
        (start, first_base): (Offset, Offset),
        at_once: bool,
    ) -> Result<(u64, u64)> {
        if first_base > self.core.synced() || self.writer.lock().has_unsynced_segments() {
            self.sync_sealed()?;
        }
        let given_up = self.write_log_start(deletion, (start, first_base))?;
        self.sync_log_start().map_err(|error| self.fail(error))?;
        // Counted as long as they have room, so that nobody appends beyond `max_bytes` before they are gone.
        let leaving_bytes = self.core.bytes_before(first_base);
        self.doomed_bytes.fetch_add(leaving_bytes, Ordering::AcqRel);
        let removed = self.core.remove_front(start, first_base);
        self.log_start_raised(start)?;
        let given_up_bytes: u64 = given_up.iter().map(|segment| segment.published().value()).sum();
        let now = self.reading(self.core.env().wall_clock());
        let delayed = !at_once && self.config.get().file_delete_delay_ms > 0;
        for segment in &removed {
            self.doom(deletion, segment, now, delayed);
        }
        self.writer.lock().growth_limit = None;
        if delayed && !deletion.doomed.is_empty() {
            self.order_unlinking(Duration::from_millis(self.config.get().file_delete_delay_ms));
        }
        if at_once || !delayed {
            self.unlink_all(deletion)?;
        }
        let count = u64::try_from(removed.len() + given_up.len()).expect("a count fits");
        Ok((count, leaving_bytes + given_up_bytes))
    }

    /// Writes the log start, and gives back the segments that had to go before there was room for it.
    fn write_log_start(
        &self,
        deletion: &mut Deletion,
        (start, first_base): (Offset, Offset),
    ) -> Result<Vec<Arc<Segment>>> {
        let mut given_up = Vec::new();
        loop {
            let mut writer = self.writer.lock();
            writer.check_writable()?;
            let Err(error) = writer.raise_log_start(start, first_base) else { return Ok(given_up) };
            drop(writer);
            if !matches!(error, Error::StorageFull { .. }) {
                return Err(error);
            }
            if !deletion.doomed.is_empty() {
                self.unlink_all(deletion)?;
                continue;
            }
            match self.give_up_oldest(first_base)? {
                Some(segment) => given_up.push(segment),
                None => return Err(error),
            }
        }
    }

    /// Removes the oldest segment below `first_base`, for good, before the state says so. `None` if there is none, or if
    /// the state rests on it.
    fn give_up_oldest(&self, first_base: Offset) -> Result<Option<Arc<Segment>>> {
        let Some(next) = self.core.second_base().filter(|next| *next <= first_base) else { return Ok(None) };
        let rests_above = self.writer.lock().state_rests_above(next);
        if !rests_above.map_err(|error| self.fail(error))? {
            return Ok(None);
        }
        let removed = self.core.remove_front(next, next);
        self.writer.lock().front_is_gone(next);
        let (env, dir) = (self.core.env(), self.core.dir());
        let oldest = removed.into_iter().next().expect("there are two segments, and this is called by one at a time");
        // From here on readers have been told, so that it is gone or the log is failed.
        remove_if_there(env, &path(dir, oldest.base(), SegmentFile::Log))
            .and_then(|()| sync_dir(env, dir))
            .map_err(|error| self.fail(error))?;
        for kind in SegmentFile::ALL {
            // An index without its `.log` is removed by the next opening.
            remove_if_there(env, &path(dir, oldest.base(), kind)).ok();
        }
        self.log_start_raised(next)?;
        Ok(Some(oldest))
    }

    /// The log begins later from now on. What keeps books by offset drops what lies below.
    /// Their books are right in memory whatever becomes of their file, which the next append mends; but a sync that failed
    /// fails the log.
    pub(super) fn log_start_raised(&self, start: Offset) -> Result<()> {
        if self.core.has_epochs_below(start) {
            // Their file is cut durably: after a power cut the log must not begin where it has no epoch any more.
            self.sync_log_start().map_err(|error| self.fail(error))?;
        }
        let writer = self.writer.lock();
        let outcome = self.cut_epochs_from_start(start);
        drop(writer);
        match outcome {
            Err(error) if error.is_failed_sync() => Err(self.fail(error)),
            _ => Ok(()),
        }
    }

    /// Takes a segment's files out of the way; its bytes are counted already. What cannot be renamed, on a disk without
    /// room for the new name too, keeps its name until it is unlinked.
    fn doom(&self, deletion: &mut Deletion, segment: &Segment, now: Reading, delayed: bool) {
        let (env, dir) = (self.core.env(), self.core.dir());
        for kind in SegmentFile::ALL {
            let live = path(dir, segment.base(), kind);
            let mut at = live.to_path_buf();
            let size_bytes = if kind == SegmentFile::Log { segment.published().value() } else { 0 };
            if delayed {
                let mut aside = at.clone().into_os_string();
                aside.push(DELETED_SUFFIX);
                match env.rename(&live, Path::new(&aside)) {
                    Ok(()) => at = aside.into(),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        self.doomed_bytes.fetch_sub(size_bytes, Ordering::AcqRel);
                        continue;
                    }
                    Err(_) => {}
                }
            }
            deletion.doomed.push_back(Doomed { path: at, size_bytes, since: now });
        }
    }

    /// Unlinks what has waited long enough.
    pub(super) fn unlink_due(self: &Arc<Self>, deletion: &mut Deletion, now: Reading) -> Result<()> {
        let delay = self.config.get().file_delete_delay_ms;
        let outcome = self.unlink(deletion, |doomed| has_passed(doomed.since, now, delay));
        if !deletion.doomed.is_empty() {
            let interval = self.config.get().retention_check_interval_ms;
            let again = if outcome.is_err() { delay.max(interval) } else { delay };
            self.order_unlinking(Duration::from_millis(again));
        }
        outcome
    }

    /// Unlinks everything that waits.
    pub(super) fn unlink_all(&self, deletion: &mut Deletion) -> Result<()> {
        self.unlink(deletion, |_| true)
    }

    /// Tries all that are due; the first error is told, and what it concerns stays to be tried again.
    fn unlink(&self, deletion: &mut Deletion, is_due: impl Fn(&Doomed) -> bool) -> Result<()> {
        if deletion.doomed.is_empty() {
            return Ok(());
        }
        let mut outcome = Ok(());
        let mut kept = VecDeque::new();
        for doomed in std::mem::take(&mut deletion.doomed) {
            if !is_due(&doomed) {
                kept.push_back(doomed);
                continue;
            }
            match remove_if_there(self.core.env(), &doomed.path) {
                Ok(()) => {
                    self.doomed_bytes.fetch_sub(doomed.size_bytes, Ordering::AcqRel);
                }
                Err(error) => {
                    outcome = outcome.and(Err(error));
                    kept.push_back(doomed);
                }
            }
        }
        deletion.doomed = kept;
        self.writer.lock().growth_limit = None;
        outcome
    }

    /// A reopening removed what waited, as every opening does.
    pub(super) fn forget_doomed(&self, deletion: &mut Deletion) {
        deletion.doomed.clear();
        self.doomed_bytes.store(0, Ordering::Release);
    }
}

/// The segments that a deletion was done with, by the word of a state that holds, and whose files are there all the
/// same. Nothing is asked of the disk but for the first segments of a log that has such.
///
/// A segment is over where a later one begins that is not empty, or that the state knows: the name of an empty file may
/// be what a failed roll left inside of it.
pub(crate) fn deleted_before(env: &Env, logs: &BTreeMap<Offset, Source>, state: &State) -> Result<BTreeSet<Offset>> {
    let known = state.recovery_point.segment_base;
    let mut deleted = BTreeSet::new();
    let mut over_by = None;
    for (&base, source) in logs.range(..=state.log_start).rev() {
        if over_by.is_some() && base < known {
            deleted.insert(base);
        }
        let alone = base == logs.keys().next().copied().unwrap_or_default();
        if over_by.is_none() && !alone && (base == known || file_size(env, &source.path)? > 0) {
            over_by = Some(base);
        }
    }
    Ok(deleted)
}

/// Removes what is left of segments that were deleted.
pub(crate) fn delete_again(
    env: &Env,
    dir: &Path,
    deleted: &BTreeSet<Offset>,
    report: &mut RecoveryReport,
) -> Result<()> {
    for &base in deleted {
        for kind in SegmentFile::ALL {
            remove_if_there(env, &path(dir, base, kind))?;
        }
        let log = path(dir, base, SegmentFile::Log).to_path_buf();
        report.leftovers.push(Leftover { path: log, fate: Fate::Removed });
    }
    Ok(())
}
