//! Group commit: one thread syncs, all who wait for the same offsets share it.
//!
//! Syncs run outside the writer mutex; appends go on meanwhile. The gate decides whose turn it is. Invariants it owns:
//! an offset is acknowledged as durable only after every file below it, and the directory if a file is new, were
//! synced without an error (rules 1 and 12); the failure of a sync and the end of its turn become visible in one step
//! (rule 17a); a turn ends on every path, by a guard.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::sync::{Condvar, Mutex};

use super::open::directory::sync_dir;
use super::shared::Shared;
use super::sharers::Sharers;
use super::writer::Capture;

/// Whose turn it is to sync.
#[derive(Debug, Default)]
pub(super) struct Durability {
    gate: Mutex<Gate>,
    /// A turn ended, or the gate was shut.
    changed: Condvar,
    /// As many share the turn that is about to begin as shared the last one.
    gathered: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    running: bool,
    sharers: Sharers,
    shut: Option<Shut>,
    /// How often the log failed, and why it last did: who began to wait before a failure is told of it, even if the
    /// log was reopened before the waiter woke.
    failures: u64,
    last_failure: Option<Arc<Error>>,
}

impl Gate {
    /// A closed log stays closed.
    fn shut_failed(&mut self, cause: Arc<Error>) {
        self.failures += 1;
        self.last_failure = Some(Arc::clone(&cause));
        if !matches!(self.shut, Some(Shut::Closed)) {
            self.shut = Some(Shut::Failed(cause));
        }
    }

    fn failure_since(&self, failures: u64) -> Option<Error> {
        let cause = self.last_failure.as_ref().filter(|_| self.failures != failures)?;
        Some(Error::Failed { cause: Arc::clone(cause) })
    }
}

/// Why nobody gets a turn any more.
#[derive(Clone, Debug)]
enum Shut {
    Failed(Arc<Error>),
    Closed,
}

impl Shut {
    fn error(&self) -> Error {
        match self {
            Shut::Failed(cause) => Error::Failed { cause: Arc::clone(cause) },
            Shut::Closed => Error::Closed,
        }
    }
}

/// What a turn makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Everything,
    SealedSegments,
}

/// The right to sync, given back on every path. One that is dropped without an outcome, by a panic, fails the log.
struct Turn<'a> {
    durability: &'a Durability,
    outcome: Option<std::result::Result<(), Arc<Error>>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut gate = self.durability.gate.lock();
        gate.running = false;
        match self.outcome.take() {
            Some(Ok(())) => {}
            Some(Err(cause)) => gate.shut_failed(cause),
            None => gate.shut_failed(Arc::new(Error::Closed)),
        }
        drop(gate);
        self.durability.changed.notify_all();
    }
}

impl Durability {
    /// No sync of this log waits for company: it is synced by who holds the locks that company would need.
    pub(super) fn wait_for_nobody(&self) {
        self.gate.lock().sharers.wait_for_nobody();
    }
}

impl Shared {
    /// Makes everything durable that was appended before the call, and returns the end of it. On a failed log that is an
    /// error even if nothing acknowledged is missing: the caller asks whether all went well.
    pub(super) fn sync_all(&self) -> Result<Offset> {
        if let Some(shut) = &self.durability.gate.lock().shut {
            return Err(shut.error());
        }
        let end = loop {
            let generation = self.core.generation();
            let end = self.written_end();
            match self.sync_appended(end, generation) {
                // What was cut off meanwhile need not be synced; what is left is.
                Err(Error::Truncated { .. } | Error::OffsetOutOfRange { .. }) => {}
                answer => {
                    answer?;
                    break end;
                }
            }
        };
        // Where nothing was appended there may be commits all the same.
        self.sync_cursors()?;
        self.sync_log_start().map_err(|error| self.fail(error))?;
        Ok(self.core.synced().max(end))
    }

    /// Returns once everything below `end` is durable: by this thread's sync or by another's.
    pub(super) fn sync_to(&self, end: Offset) -> Result<()> {
        self.sync_appended(end, self.core.generation())
    }

    /// As [`Shared::sync_to`], for what was appended in this generation of the log. A reopening or a truncation may have
    /// cut it off, and what lies at its offsets since is somebody else's: then the answer is the failure, or the truncation.
    pub(super) fn sync_appended(&self, end: Offset, generation: u64) -> Result<()> {
        let mut gate = self.durability.gate.lock();
        let failures = gate.failures;
        let mut counted = None;
        loop {
            if let Some(answer) = self.answer(&gate, end, generation, failures) {
                gate.sharers.leave(counted);
                return answer;
            }
            if gate.running {
                if gate.sharers.join(end, &mut counted) {
                    self.durability.gathered.notify_one();
                }
                self.durability.changed.wait(&mut gate);
                continue;
            }
            gate.running = true;
            gate.sharers.begin(end, &mut counted);
            drop(gate);
            self.take_turn(Scope::Everything)?;
            gate = self.durability.gate.lock();
        }
    }

    /// What who waits for a sync is told, if that is known without another one. `failures`: so many there were when he came.
    fn answer(&self, gate: &Gate, end: Offset, generation: u64, failures: u64) -> Option<Result<()>> {
        // In this order: what a later generation wrote or made durable is seen after the generation itself.
        let (written, is_durable) = (self.written_end(), self.core.synced() >= end);
        if self.core.was_reopened_since(generation) {
            let cause = gate.last_failure.clone().unwrap_or_else(|| Arc::new(Error::Closed));
            return Some(Err(Error::Failed { cause }));
        }
        if let Some(cut) = self.core.truncated_below(end, generation) {
            let truncated = Error::Truncated { asked: end, end: cut };
            return Some(Err(gate.failure_since(failures).unwrap_or(truncated)));
        }
        if is_durable {
            return Some(Ok(()));
        }
        if let Some(failed) = gate.failure_since(failures) {
            return Some(Err(failed));
        }
        if let Some(shut) = &gate.shut {
            return Some(Err(shut.error()));
        }
        if end > written {
            return Some(Err(Error::OffsetOutOfRange { asked: end, start: self.core.log_start(), end: written }));
        }
        None
    }

    /// Waits for those who shared the last turn, if there were any.
    fn gather(&self) {
        let mut gate = self.durability.gate.lock();
        if let Some(patience) = gate.sharers.wait_for_company() {
            self.durability.gathered.wait_for(&mut gate, patience);
        }
        gate.sharers.depart();
    }

    /// Makes sealed segments durable, so that the recovery point follows the roll. Lets a running sync do it.
    pub(super) fn sync_sealed(&self) -> Result<()> {
        let mut gate = self.durability.gate.lock();
        while gate.running {
            self.durability.changed.wait(&mut gate);
        }
        if let Some(shut) = &gate.shut {
            return Err(shut.error());
        }
        gate.running = true;
        drop(gate);
        self.take_turn(Scope::SealedSegments)
    }

    /// One sync, by the thread whose turn it is.
    fn take_turn(&self, scope: Scope) -> Result<()> {
        let mut turn = Turn { durability: &self.durability, outcome: None };
        if scope == Scope::Everything {
            self.gather();
        }
        let capture = {
            let mut writer = self.writer.lock();
            // Whatever failed since the turn was taken: the next sync of the same file or directory might say yes (rule 17).
            if let Some(cause) = writer.failed.clone() {
                turn.outcome = Some(Err(Arc::clone(&cause)));
                return Err(Error::Failed { cause });
            }
            writer.capture(scope == Scope::SealedSegments)
        };
        let Some(capture) = capture else {
            turn.outcome = Some(Ok(()));
            return Err(Error::Closed);
        };
        self.durability.gate.lock().sharers.cover(capture.end);
        let began = self.core.env().monotonic();
        let outcome = self.make_durable(&capture);
        let took = self.core.env().monotonic().saturating_sub(began);
        if scope == Scope::Everything {
            self.durability.gate.lock().sharers.took(took);
        }
        match outcome {
            Ok(()) => {
                self.acknowledge(&capture);
                turn.outcome = Some(Ok(()));
                Ok(())
            }
            Err(error) => {
                let cause = Arc::new(error);
                self.mark_failed(&mut self.writer.lock(), &cause);
                turn.outcome = Some(Err(Arc::clone(&cause)));
                Err(Error::Failed { cause })
            }
        }
    }

    /// Closed files first: what is acknowledged may reach over a roll (rule 1).
    fn make_durable(&self, capture: &Capture) -> Result<()> {
        // What was appended with a commit must not outlive it.
        self.sync_cursors()?;
        for sealed in &capture.sealed {
            sealed.sync()?;
        }
        if let Some((_, active)) = &capture.active
            && capture.end > self.core.synced()
        {
            active.sync()?;
        }
        if capture.names_unsynced {
            sync_dir(self.core.env(), self.core.dir())?;
        }
        self.sync_log_start()
    }

    fn acknowledge(&self, capture: &Capture) {
        let mut writer = self.writer.lock();
        writer.retire(capture);
        for sealed in &capture.sealed {
            sealed.publish();
        }
        if let Some((segment, _)) = &capture.active {
            segment.publish(capture.position());
        }
        let wakes = [self.core.raise_synced(capture.end), self.core.publish(capture.end)];
        drop(writer);
        drop(wakes);
        if capture.active.is_some() {
            self.counters.note_sync(capture.appended.records, capture.appended.bytes);
        }
    }

    /// The log acknowledges nothing more. The caller holds the writer mutex.
    pub(super) fn mark_failed(&self, writer: &mut super::writer::Writer, cause: &Arc<Error>) {
        writer.note_failure(cause);
        self.core.set_failed(cause);
    }

    /// A log start that was raised and written is made durable, if it is not. The caller decides what a failure means.
    pub(super) fn sync_log_start(&self) -> Result<()> {
        let Some((front, syncer)) = self.writer.lock().unsynced_front() else { return Ok(()) };
        syncer.sync()?;
        self.writer.lock().note_front_synced(front);
        Ok(())
    }

    /// Fails the log for what went wrong outside of a turn: it is in a state between, or its disk cannot be trusted.
    pub(super) fn fail_with(&self, writer: &mut super::writer::Writer, error: Error) -> Error {
        let cause = match error {
            Error::Failed { cause } => cause,
            error => Arc::new(error),
        };
        self.mark_failed(writer, &cause);
        self.shut_failed(&cause);
        Error::Failed { cause }
    }

    /// A sync that failed fails the log; another error leaves it as it is.
    pub(super) fn fail_if_unsynced(&self, writer: &mut super::writer::Writer, error: Error) -> Error {
        if error.is_failed_sync() { self.fail_with(writer, error) } else { error }
    }

    /// As [`Shared::fail_with`], for who does not hold the writer mutex.
    pub(super) fn fail(&self, error: Error) -> Error {
        self.fail_with(&mut self.writer.lock(), error)
    }

    /// Tells everyone who waits for a sync that a write failed.
    pub(super) fn shut_failed(&self, cause: &Arc<Error>) {
        let mut gate = self.durability.gate.lock();
        if gate.shut.is_none() {
            gate.shut_failed(Arc::clone(cause));
        }
        drop(gate);
        self.durability.changed.notify_all();
    }

    /// Wakes every waiter with `Closed`, waits for a running sync to end, and keeps others from beginning. `false` if
    /// the gate was closed before.
    pub(super) fn shut_closed(&self) -> bool {
        let mut gate = self.durability.gate.lock();
        let first = !matches!(gate.shut, Some(Shut::Closed));
        gate.shut = Some(Shut::Closed);
        self.durability.changed.notify_all();
        while gate.running {
            self.durability.changed.wait(&mut gate);
        }
        first
    }

    /// Runs `body` while nobody syncs; if it succeeds the gate is open again.
    pub(super) fn with_syncs_stopped(&self, body: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut gate = self.durability.gate.lock();
        while gate.running {
            self.durability.changed.wait(&mut gate);
        }
        if matches!(gate.shut, Some(Shut::Closed)) {
            return Err(Error::Closed);
        }
        gate.running = true;
        let mut turn = Turn { durability: &self.durability, outcome: None };
        let before = gate.shut.clone();
        drop(gate);
        let outcome = body();
        turn.outcome = match (&outcome, before) {
            (Err(_), Some(Shut::Failed(cause))) => Some(Err(cause)),
            _ => Some(Ok(())),
        };
        if outcome.is_ok() {
            let mut gate = self.durability.gate.lock();
            gate.shut.take_if(|shut| matches!(shut, Shut::Failed(_)));
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{LogConfig, Worker};
    use crate::error::Error;
    use crate::fs::Env;
    use crate::fs::sim::{CallKind, Fault, FaultKind, SimDisk};
    use crate::log::Log;
    use crate::offset::Offset;
    use crate::record::Record;

    use super::Scope;

    fn opened(disk: &SimDisk) -> Log {
        Log::open_in(&Env::sim(disk), Path::new("/log"), LogConfig::default().worker(Worker::Caller)).unwrap()
    }

    #[test]
    fn what_is_appended_while_a_sync_runs_is_not_acknowledged_by_it() {
        let log = opened(&SimDisk::new(1));
        log.append(&[Record::value("before")]).unwrap();
        let capture = log.shared().writer.lock().capture(false).expect("the log is open");
        log.append(&[Record::value("between")]).unwrap();
        log.shared().make_durable(&capture).unwrap();
        log.append(&[Record::value("behind")]).unwrap();
        log.shared().acknowledge(&capture);
        assert_eq!((log.synced_offset(), log.recovery_point()), (Offset::new(1), Offset::new(1)));
        assert_eq!(log.sync().unwrap(), Offset::new(3));
    }

    /// A second sync of the directory says yes, and the name of the new segment is gone all the same (rule 17).
    #[test]
    fn a_turn_that_was_taken_before_another_sync_failed_acknowledges_nothing() {
        let disk = SimDisk::new(1);
        let log = opened(&disk);
        log.append(&[Record::value("first")]).unwrap();
        log.roll().unwrap();
        log.append(&[Record::value("second")]).unwrap();
        let before = log.synced_offset();
        let mut gate = log.shared().durability.gate.lock();
        gate.running = true;
        gate.sharers.begin(Offset::new(2), &mut None);
        drop(gate);
        // To make the folder of the cursors, the directory is synced outside of any turn.
        disk.fail(Fault::once(CallKind::SyncDir, 2, FaultKind::InputOutput));
        let told = log.cursor("one").unwrap().commit(Offset::new(1));
        assert!(matches!(told, Err(Error::Failed { .. })), "{told:?}");
        let told = log.shared().take_turn(Scope::Everything);
        assert!(matches!(told, Err(Error::Failed { .. })), "{told:?}");
        assert_eq!(log.synced_offset(), before);
    }
}
