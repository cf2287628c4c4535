//! What all handles of one open log share, and how it is opened, reopened and closed.
//!
//! Lock order: deletion · durability gate (never held over anything else) · writer mutex → cursors → segments → gathered
//! index entries, and writer mutex → leader epochs; the cursors' own small log has the same locks again, below the cursors. No
//! user code runs under a lock. The invariant it owns: the directory stays locked from before its first byte is read
//! for recovery until after its last byte is written.

use std::path::Path;
use std::sync::Arc;

use crate::config::{LogConfig, NotMapped, WriteMode};
use crate::error::{Error, Result};
use crate::fs::Env;
use crate::offset::Offset;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

use super::core::Core;
use super::cursors::Cursors;
use super::deletion::Deletion;
use super::durability::Durability;
use super::open::load::{Loader, Readable};
use super::open::{self, DirectoryLocks};
use super::report::Stats;
use super::settings::Settings;
use super::windows::WindowMaker;
use super::worker::WorkerControl;
use super::writer::Writer;

/// One open log.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) core: Arc<Core>,
    pub(super) config: Settings,
    pub(super) writer: Mutex<Writer>,
    pub(super) durability: Durability,
    pub(super) worker: WorkerControl,
    pub(super) windows: WindowMaker,
    pub(super) counters: Counters,
    pub(super) cursors: Cursors,
    pub(super) deletion: Mutex<Deletion>,
    /// Bytes of `.log` files that wait to be unlinked.
    pub(super) doomed_bytes: AtomicU64,
    /// One past the last offset that was written, whether readers see it yet or not.
    written_end: AtomicU64,
}

/// Counted since the log was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) records: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) synced_bytes: AtomicU64,
    pub(super) synced_records: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) rolls: AtomicU64,
}

impl Counters {
    /// With the writer mutex held: nobody else adds meanwhile, so that reading and writing need not be one step.
    pub(super) fn note_append(&self, records: u64, batches: u64, bytes: u64) {
        for (counter, more) in [(&self.records, records), (&self.batches, batches), (&self.bytes, bytes)] {
            counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        }
    }

    /// `appended` is the count of bytes and records as of the sync's capture.
    pub(super) fn note_sync(&self, records: u64, bytes: u64) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.synced_records.fetch_max(records, Ordering::Relaxed);
        self.synced_bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    pub(super) fn unsynced_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed).saturating_sub(self.synced_bytes.load(Ordering::Relaxed))
    }

    pub(super) fn unsynced_records(&self) -> u64 {
        self.records.load(Ordering::Relaxed).saturating_sub(self.synced_records.load(Ordering::Relaxed))
    }
}

impl Shared {
    pub(super) fn open(env: &Env, dir: &Path, config: LogConfig) -> Result<Arc<Shared>> {
        config.check()?;
        let (dir, locks) = open::claim(env, dir)?;
        Shared::open_claimed(env, dir, locks, config)
    }

    /// Opens a log inside another one's directory, whose lock the caller holds.
    pub(super) fn open_inside(env: &Env, dir: &Path, config: LogConfig) -> Result<Arc<Shared>> {
        config.check()?;
        let (dir, locks) = open::claim_inside(env, dir)?;
        let shared = Shared::open_claimed(env, dir, locks, config)?;
        shared.durability.wait_for_nobody();
        Ok(shared)
    }

    fn open_claimed(env: &Env, dir: Arc<Path>, locks: DirectoryLocks, config: LogConfig) -> Result<Arc<Shared>> {
        let loader = Loader { env, dir: &dir, config: &config, sync_failed: false, shown: None };
        let (state_file, loaded) = loader.load()?;
        let core =
            Core::new(env.clone(), Arc::clone(&dir), config.max_open_segments, config.max_decompressed_message_bytes);
        core.mapped_reads.want(config.mapped_reads);
        let (config, not_mapped) = mappable(env, &dir, config);
        let config = Arc::new(config);
        let deletion = Deletion::new(&loaded, core.env().monotonic());
        let (mut writer, readable) = Writer::new(state_file, loaded, Arc::clone(&config), locks);
        writer.set_mapping(env, not_mapped);
        let shared = Shared {
            core: Arc::new(core),
            config: Settings::new(config),
            writer: Mutex::new(writer),
            durability: Durability::default(),
            worker: WorkerControl::default(),
            windows: WindowMaker::default(),
            counters: Counters::default(),
            deletion: Mutex::new(deletion),
            doomed_bytes: AtomicU64::new(0),
            cursors: Cursors::default(),
            written_end: AtomicU64::new(0),
        };
        shared.install(readable);
        shared.forget_cursors(shared.core.log_end());
        let shared = Arc::new(shared);
        shared.order_retention();
        Ok(shared)
    }

    fn install(&self, readable: Readable) {
        let Readable { segments, bounds, epochs, report } = readable;
        self.written_end.store(bounds.log_end.value(), Ordering::Release);
        self.core.install_epochs(epochs);
        self.core.install(segments, bounds, report);
    }

    pub(super) fn written_end(&self) -> Offset {
        Offset::new(self.written_end.load(Ordering::Acquire))
    }

    /// With the writer mutex held, under which alone it changes.
    pub(super) fn raise_written_end(&self, end: Offset) {
        if end > self.written_end() {
            self.written_end.store(end.value(), Ordering::Release);
        }
    }

    /// With the writer mutex held, and before what waits for more is told.
    pub(super) fn lower_written_end(&self, end: Offset) {
        self.written_end.store(end.value(), Ordering::Release);
    }

    /// Recovers in place after a failure. Nothing to do if there was none.
    pub(super) fn reopen(&self) -> Result<()> {
        // First of all, for a deletion syncs.
        let mut deletion = self.deletion.lock();
        self.with_syncs_stopped(|| {
            let mut writer = self.writer.lock();
            let Some(cause) = writer.failed.clone() else {
                self.forget_failed_cursors();
                return Ok(());
            };
            let synced = self.core.synced();
            writer.abandon();
            let config = Arc::clone(&writer.config);
            // That the failure was noted in the state is not certain; here it is known.
            let segments = self.core.all_segments();
            let shown = segments.iter().map(|segment| (segment.base(), segment.published())).collect();
            let (env, dir) = (self.core.env(), self.core.dir());
            let loader = Loader { env, dir, config: &config, sync_failed: true, shown: Some(&shown) };
            let (state_file, loaded) = loader.load()?;
            let readable = writer.replace(state_file, loaded);
            self.forget_doomed(&mut deletion);
            self.install(readable);
            self.forget_cursors(self.core.log_end());
            // What was appended before the failure and is there was made durable by the recovery.
            self.counters.note_sync(writer.appended.records, writer.appended.bytes);
            drop(writer);
            self.worker.fail_callbacks(synced, |_| Error::Failed { cause: Arc::clone(&cause) });
            Ok(())
        })
    }

    /// Wakes all who wait, makes everything durable, marks the directory clean and unlocks it.
    pub(super) fn close(&self) -> Result<()> {
        if !self.shut_closed() {
            return Ok(());
        }
        self.worker.stop();
        self.windows.stop();
        // Before the log itself, for what was appended with a commit must not outlive it.
        let commits = self.sync_cursors();
        // Held to the end: no deletion may touch a file once the directory is somebody else's.
        let mut deletion = self.deletion.lock();
        // What cannot be unlinked now is a leftover for the next opening.
        drop(self.unlink_all(&mut deletion));
        let mut writer = self.writer.lock();
        let end = writer.next_offset();
        let finished = writer.finish(self.core.env(), self.core.dir()).map_err(|error| {
            // The next opening must not take the page cache's word for what this one could not make durable.
            let cause = match error {
                Error::Failed { cause } => cause,
                error => Arc::new(error),
            };
            self.mark_failed(&mut writer, &cause);
            Error::Failed { cause }
        });
        let failed = writer.failed.clone();
        if finished.is_ok() && failed.is_none() {
            self.core.raise_synced(end);
        }
        let commits = commits.and(self.close_cursors());
        self.core.set_closed();
        writer.locks = None;
        drop(writer);
        drop(deletion);
        self.run_last_callbacks();
        finished.and(commits)
    }

    pub(super) fn update_config(self: &Arc<Self>, change: impl FnOnce(LogConfig) -> LogConfig) -> Result<()> {
        let before = self.config.get();
        let changed = change(LogConfig::clone(&before)).worker(before.worker).on_damage(before.on_damage);
        changed.check()?;
        // Held while the test is made, for by then the directory must not be somebody else's.
        let deletion = self.deletion.lock();
        let is_new = changed.write_mode != before.write_mode && !self.core.is_closed();
        let (changed, not_mapped) =
            if is_new { mappable(self.core.env(), self.core.dir(), changed) } else { (changed, None) };
        let mut writer = self.writer.lock();
        let not_mapped = if is_new { not_mapped } else { writer.not_mapped };
        let changed = Arc::new(changed);
        self.core.set_limits(changed.max_open_segments, changed.max_decompressed_message_bytes);
        self.core.mapped_reads.want(changed.mapped_reads);
        writer.config = Arc::clone(&changed);
        writer.growth_limit = None;
        writer.set_mapping(self.core.env(), not_mapped);
        self.config.set(changed);
        drop(writer);
        drop(deletion);
        self.order_retention();
        self.worker.wake();
        Ok(())
    }

    pub(super) fn stats(&self) -> Stats {
        let writer = self.writer.lock();
        let ((write_mode, not_mapped), failed) = (writer.write_mode(), writer.failed.is_some());
        drop(writer);
        let files = self.core.open_count();
        Stats {
            appended_records: self.counters.records.load(Ordering::Relaxed),
            appended_batches: self.counters.batches.load(Ordering::Relaxed),
            appended_bytes: self.counters.bytes.load(Ordering::Relaxed),
            syncs: self.counters.syncs.load(Ordering::Relaxed),
            rolls: self.counters.rolls.load(Ordering::Relaxed),
            unsynced_bytes: self.counters.unsynced_bytes(),
            open_segments: files.open,
            pinned_segments: files.pinned,
            mapped_segments: self.core.mapped_reads.count(),
            preallocating: write_mode != WriteMode::Write,
            write_mode,
            not_mapped,
            failed,
        }
    }
}

/// The configuration with a write mode that the directory's file system can be trusted with, and why it is another one.
fn mappable(env: &Env, dir: &Path, config: LogConfig) -> (LogConfig, Option<NotMapped>) {
    if config.write_mode != WriteMode::Mapped {
        return (config, None);
    }
    match open::self_test(env, dir) {
        Ok(()) => (config, None),
        Err(reason) => (config.write_mode(WriteMode::Preallocated), Some(reason)),
    }
}
