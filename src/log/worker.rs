//! What is done in the background: interval syncs, syncs of sealed segments, deletions, and callbacks.
//!
//! By a thread that is started when there is something to do, or, under `Worker::Caller`, by `run_once`. Callbacks run
//! here and nowhere else, under no lock. The invariant it owns: every callback that was accepted runs exactly once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Worker;
use crate::error::{Error, IoOp, Result};
use crate::fs::Thread;
use crate::offset::{Offset, Timestamp};
use crate::sync::{Condvar, Mutex};

use super::shared::Shared;

/// How long after an opening old segments are looked at first, at most.
const FIRST_LOOK: Duration = Duration::from_secs(30);

/// What a caller of `on_synced` wants to be told.
pub(super) type Callback = Box<dyn FnOnce(Result<Offset>) + Send>;

/// The worker's orders.
#[derive(Default)]
pub(super) struct WorkerControl {
    orders: Mutex<Orders>,
    ordered: Condvar,
}

#[derive(Default)]
struct Orders {
    thread: Option<Thread>,
    stopping: bool,
    sync_sealed: bool,
    /// When the oldest append that waits for an interval sync was made, on the monotonic clock.
    unsynced_since: Option<Duration>,
    /// When files of deleted segments may be unlinked, on the monotonic clock.
    unlink_at: Option<Duration>,
    /// When to look at old segments next.
    look_at: Option<Duration>,
    callbacks: Vec<(Offset, Callback)>,
    /// Callbacks that waited when the log failed, from before it was reopened, or when it was truncated.
    failed: Vec<(Callback, Error)>,
}

impl std::fmt::Debug for WorkerControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let orders = self.orders.lock();
        f.debug_struct("WorkerControl")
            .field("running", &orders.thread.is_some())
            .field("callbacks", &orders.callbacks.len())
            .finish_non_exhaustive()
    }
}

/// What the worker does next.
enum Task {
    Stop,
    RunCallbacks(Vec<Callback>, Result<Offset>),
    Sync(Offset),
    SyncSealed,
    Unlink,
    Look,
}

/// When the clock has something to do.
enum Timed {
    Now(Task),
    Later(Duration),
    Never,
}

impl WorkerControl {
    /// What it goes by was changed. The lock is taken for those who have looked already and do not sleep yet.
    pub(super) fn wake(&self) {
        drop(self.orders.lock());
        self.ordered.notify_all();
    }

    /// Who waited for offsets above `end` is told so, for what they waited for may be gone: the log failed and was
    /// reopened, or it was truncated.
    pub(super) fn fail_callbacks(&self, end: Offset, error: impl Fn(Offset) -> Error) {
        let mut orders = self.orders.lock();
        let (lost, kept) = std::mem::take(&mut orders.callbacks).into_iter().partition(|(asked, _)| *asked > end);
        orders.callbacks = kept;
        let lost: Vec<(Offset, Callback)> = lost;
        orders.failed.extend(lost.into_iter().map(|(asked, callback)| (callback, error(asked))));
        drop(orders);
        self.ordered.notify_all();
    }

    /// Ends the thread and waits for it, unless it is the calling one.
    pub(super) fn stop(&self) {
        let thread = {
            let mut orders = self.orders.lock();
            orders.stopping = true;
            orders.thread.take()
        };
        self.ordered.notify_all();
        if let Some(thread) = thread
            && !thread.is_current()
        {
            // Its panics were caught at the callbacks; there is nothing more to tell.
            thread.join();
        }
    }
}

impl Shared {
    /// A segment was sealed: its files are to be made durable, so that recovery need not read it.
    pub(super) fn order_sealed_sync(self: &Arc<Self>) {
        // Without a worker the recovery point lags until the next sync, which it may.
        drop(self.order(|orders, now| {
            orders.sync_sealed = true;
            if self.core.has_segment_below_start() {
                orders.look_at = Some(now);
            }
        }));
    }

    /// Something was appended that an interval sync is to cover. Only the first append of an interval wakes the worker, for
    /// the others would pay for it. What they wrote is covered: the worker takes the order back, under this lock, before it
    /// looks how far the log was written.
    pub(super) fn order_interval_sync(self: &Arc<Self>) -> Result<()> {
        {
            let orders = self.worker.orders.lock();
            if orders.unsynced_since.is_some() && !orders.stopping {
                return Ok(());
            }
        }
        self.order(|orders, now| {
            orders.unsynced_since.get_or_insert(now);
        })
    }

    /// Has the worker look at old segments, if the configuration gives it anything to find. Soon for the first time, for
    /// a device may not be on for long.
    pub(super) fn order_retention(self: &Arc<Self>) {
        let config = self.config.get();
        if !config.retains_less_than_all() {
            return;
        }
        let wait = FIRST_LOOK.min(Duration::from_millis(config.retention_check_interval_ms));
        // Without a worker nothing is deleted until somebody asks for it.
        drop(self.order(|orders, now| orders.look_at = Some(now.saturating_add(wait))));
    }

    /// Files of deleted segments may be unlinked so much later, if nothing is ordered for an earlier time.
    pub(super) fn order_unlinking(self: &Arc<Self>, wait: Duration) {
        // Without a worker they wait for the close or the next opening.
        drop(self.order(|orders, now| {
            orders.unlink_at.get_or_insert(now.saturating_add(wait));
        }));
    }

    /// Has the worker sync to `end`, unless that is durable, and then call back.
    pub(super) fn order_callback(self: &Arc<Self>, end: Offset, callback: Callback) -> Result<()> {
        let mut refused = Some(callback);
        let outcome = self.take_callback(end, &mut refused);
        // Under no lock: it is the caller's code.
        if let (Err(error), Some(callback)) = (&outcome, refused) {
            callback(Err(error.clone()));
        }
        outcome
    }

    /// Takes the callback among the orders, or leaves it and says why.
    fn take_callback(self: &Arc<Self>, end: Offset, callback: &mut Option<Callback>) -> Result<()> {
        if self.core.is_closed() {
            return Err(Error::Closed);
        }
        let mut outcome = Ok(());
        self.order(|orders, _| {
            // Under the lock of the orders: a reopening lowers the end first, and then tells the callbacks that are
            // here. One that came later for an end that is gone would wait for ever.
            let written = self.written_end();
            if end > written {
                outcome = Err(Error::OffsetOutOfRange { asked: end, start: self.core.log_start(), end: written });
            } else {
                orders.callbacks.extend(callback.take().map(|callback| (end, callback)));
            }
        })?;
        outcome
    }

    fn order(self: &Arc<Self>, note: impl FnOnce(&mut Orders, Duration)) -> Result<()> {
        let threaded = self.config.get().worker == Worker::Thread;
        let now = self.core.env().monotonic();
        let mut orders = self.worker.orders.lock();
        if orders.stopping {
            return Err(Error::Closed);
        }
        if threaded && orders.thread.is_none() {
            let shared = Arc::clone(self);
            let thread = self.core.env().spawn("kstore-worker", move || shared.work());
            orders.thread = Some(thread.map_err(|error| Error::io(IoOp::StartThread, self.core.dir(), &error))?);
        }
        note(&mut orders, now);
        drop(orders);
        self.worker.ordered.notify_all();
        Ok(())
    }

    /// The thread's body.
    fn work(self: Arc<Self>) {
        loop {
            match self.next_task() {
                Task::Stop => return,
                task => self.perform(task),
            }
        }
    }

    /// Waits for something to do.
    fn next_task(&self) -> Task {
        let mut orders = self.worker.orders.lock();
        loop {
            if orders.stopping {
                return Task::Stop;
            }
            if let Some(task) = self.due(&mut orders) {
                return task;
            }
            match self.timed(&mut orders) {
                Timed::Now(task) => return task,
                Timed::Later(wait) => {
                    self.worker.ordered.wait_for(&mut orders, wait);
                }
                Timed::Never => self.worker.ordered.wait(&mut orders),
            }
        }
    }

    /// What has become due by the clock, or when the next thing does.
    fn timed(&self, orders: &mut Orders) -> Timed {
        let now = self.core.env().monotonic();
        let config = self.config.get();
        let interval = config.sync_interval_ms().map(Duration::from_millis);
        let sync_at = orders.unsynced_since.zip(interval).map(|(since, interval)| since.saturating_add(interval));
        if sync_at.is_some_and(|at| at <= now) {
            orders.unsynced_since = None;
            return Timed::Now(Task::Sync(self.written_end()));
        }
        if orders.unlink_at.take_if(|at| *at <= now).is_some() {
            return Timed::Now(Task::Unlink);
        }
        if orders.look_at.is_some_and(|at| at <= now) {
            orders.look_at = Some(now.saturating_add(Duration::from_millis(config.retention_check_interval_ms)));
            return Timed::Now(Task::Look);
        }
        let next = [sync_at, orders.unlink_at, orders.look_at].into_iter().flatten().min();
        next.map_or(Timed::Never, |at| Timed::Later(at - now))
    }

    /// What can be done at once.
    fn due(&self, orders: &mut Orders) -> Option<Task> {
        if let Some((callback, error)) = orders.failed.pop() {
            return Some(Task::RunCallbacks(vec![callback], Err(error)));
        }
        let synced = self.core.synced();
        let failure = self.failure();
        let ready = |end: Offset| failure.is_some() || end <= synced;
        if orders.callbacks.iter().any(|(end, _)| ready(*end)) {
            let (ready, waiting): (Vec<_>, Vec<_>) =
                std::mem::take(&mut orders.callbacks).into_iter().partition(|(end, _)| ready(*end));
            orders.callbacks = waiting;
            let callbacks = ready.into_iter().map(|(_, callback)| callback).collect();
            let outcome = failure.map_or(Ok(synced), |cause| Err(Error::Failed { cause }));
            return Some(Task::RunCallbacks(callbacks, outcome));
        }
        if let Some(end) = orders.callbacks.iter().map(|(end, _)| *end).max() {
            return Some(Task::Sync(end));
        }
        if std::mem::take(&mut orders.sync_sealed) && failure.is_none() {
            return Some(Task::SyncSealed);
        }
        None
    }

    fn failure(&self) -> Option<Arc<Error>> {
        if self.core.is_failed() { self.writer.lock().failed.clone() } else { None }
    }

    fn unlink_in_background(self: &Arc<Self>) -> Result<()> {
        let now = self.reading(self.core.env().wall_clock());
        self.unlink_due(&mut self.deletion.lock(), now)
    }

    fn perform(self: &Arc<Self>, task: Task) {
        match task {
            Task::Stop => {}
            Task::RunCallbacks(callbacks, outcome) => run(callbacks, &outcome),
            // A failure is kept by the log, which tells everyone who asks; there is nobody to tell here.
            Task::Sync(end) => drop(self.sync_to(end)),
            Task::SyncSealed => drop(self.sync_sealed()),
            // What failed is tried again with the next look.
            Task::Unlink => drop(self.unlink_in_background()),
            Task::Look => drop(self.delete_old_segments(self.core.env().wall_clock())),
        }
    }

    /// Does now what a worker thread would do, and what is due at `now`.
    pub(super) fn run_once(self: &Arc<Self>, now: Timestamp) -> Result<()> {
        if self.core.is_closed() {
            return Err(Error::Closed);
        }
        let interval = self.config.get().sync_interval_ms();
        let since = self.writer.lock().unsynced_since;
        if let (Some(interval), Some(since)) = (interval, since) {
            let elapsed = u64::try_from(now.as_millis().saturating_sub(since.as_millis())).unwrap_or(0);
            if elapsed >= interval {
                self.sync_all()?;
            }
        }
        loop {
            let task = self.due(&mut self.worker.orders.lock());
            match task {
                None | Some(Task::Stop) => break,
                Some(Task::Sync(end)) => self.sync_to(end).or_else(keep_for_callbacks)?,
                Some(Task::SyncSealed) => self.sync_sealed()?,
                Some(task) => self.perform(task),
            }
        }
        self.delete_if_due(now)
    }

    /// Tells those who still wait, at close, how it ended for them.
    pub(super) fn run_last_callbacks(&self) {
        let (callbacks, failed) = {
            let mut orders = self.worker.orders.lock();
            (std::mem::take(&mut orders.callbacks), std::mem::take(&mut orders.failed))
        };
        for (callback, error) in failed {
            run(vec![callback], &Err(error));
        }
        let synced = self.core.synced();
        let failure = self.writer.lock().failed.clone();
        for (end, callback) in callbacks {
            let outcome = match &failure {
                _ if end <= synced => Ok(synced),
                Some(cause) => Err(Error::Failed { cause: Arc::clone(cause) }),
                None => Err(Error::Closed),
            };
            run(vec![callback], &outcome);
        }
    }
}

/// A failed sync is told to the callbacks that wait for it, in the next round; so is a truncation that came between.
fn keep_for_callbacks(error: Error) -> Result<()> {
    match error {
        Error::Failed { .. } | Error::Truncated { .. } | Error::OffsetOutOfRange { .. } => Ok(()),
        error => Err(error),
    }
}

/// Runs callbacks; one that panics must not take the others, or the worker, with it.
fn run(callbacks: Vec<Callback>, outcome: &Result<Offset>) {
    for callback in callbacks {
        let outcome = outcome.clone();
        // The panic was reported by the panic hook when it happened.
        drop(catch_unwind(AssertUnwindSafe(move || callback(outcome))));
    }
}
