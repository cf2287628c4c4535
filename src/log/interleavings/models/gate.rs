//! The gate of group commit, copied from `log/durability.rs` and `segment/file.rs` without writer, files, directory and the wait
//! for company, for with those no checker comes to the end of all orders; and the same with one fault each, which must be found.
//!
//! A copy shows that the protocol is right, not that the engine follows it: that is for the scenarios, which run the engine.
//! The device is Linux's: after a failed sync it has forgotten what was not written, and the next one succeeds (rule 17).
//! The invariant it owns: the copy differs from the engine in what it leaves out, and a faulty one from the copy in one place.

use std::sync::Arc;

use loom::thread;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex};

/// One place where a gate is wrong, each a fault that a group commit has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The turn ends, and then the failure is noted: another takes the turn in between (rule 17a).
    FailureShowsLate,
    /// A roll syncs the file for itself, without asking how the last sync of it ended (rule 17a).
    SyncsAgain,
    /// The durable end is believed without asking whether the log was cut meanwhile (rule 17a).
    OverlooksTheCut,
    /// The end of a turn wakes one waiter of all.
    WakesOne,
}

#[derive(Debug)]
enum Told {
    Failed,
    Truncated,
}

#[derive(Debug, Default)]
struct Gate {
    running: bool,
    failed: bool,
}

/// A file and the page cache over it. Records are told apart by who wrote them.
#[derive(Debug, Default)]
struct Device {
    cached: Vec<u64>,
    durable: Vec<u64>,
    /// What was durable at any time, cut or not.
    was_durable: Vec<u64>,
    /// Records from here on were forgotten by a sync that failed.
    forgotten: Option<usize>,
    fails_once: bool,
}

impl Device {
    fn sync(&mut self) -> Result<(), Told> {
        if std::mem::take(&mut self.fails_once) {
            self.forgotten = Some(self.durable.len());
            return Err(Told::Failed);
        }
        let kept = self.forgotten.unwrap_or(self.cached.len()).min(self.cached.len());
        self.durable = self.cached[..kept].to_vec();
        self.was_durable.extend(&self.durable);
        Ok(())
    }
}

#[derive(Debug)]
struct Copy {
    fault: Fault,
    gate: Mutex<Gate>,
    changed: Condvar,
    device: Mutex<Device>,
    /// How the syncs of the file have ended.
    file_failed: Mutex<bool>,
    synced: AtomicU64,
    generation: AtomicU64,
}

impl Copy {
    fn new(fault: Fault, fails_once: bool) -> Arc<Copy> {
        Arc::new(Copy {
            fault,
            gate: Mutex::default(),
            changed: Condvar::default(),
            device: Mutex::new(Device { fails_once, ..Device::default() }),
            file_failed: Mutex::new(false),
            synced: AtomicU64::new(0),
            generation: AtomicU64::new(0),
        })
    }

    /// Appends a record, and returns its end and the life of the log that it belongs to.
    fn append(&self, record: u64) -> (u64, u64) {
        let mut device = self.device.lock();
        device.cached.push(record);
        let end = u64::try_from(device.cached.len()).expect("few");
        (end, self.generation.load(Ordering::Acquire))
    }

    /// As `Shared::sync_appended`.
    fn sync_to(&self, end: u64, generation: u64) -> Result<(), Told> {
        let mut gate = self.gate.lock();
        loop {
            let is_durable = self.synced.load(Ordering::Acquire) >= end;
            let was_cut = self.generation.load(Ordering::Acquire) != generation;
            if was_cut && self.fault != Fault::OverlooksTheCut {
                return Err(Told::Truncated);
            }
            if is_durable {
                return Ok(());
            }
            if gate.failed {
                return Err(Told::Failed);
            }
            if gate.running {
                self.changed.wait(&mut gate);
                continue;
            }
            gate.running = true;
            drop(gate);
            self.take_turn()?;
            gate = self.gate.lock();
        }
    }

    /// As `Shared::take_turn` and the end of its `Turn`.
    fn take_turn(&self) -> Result<(), Told> {
        let captured = u64::try_from(self.device.lock().cached.len()).expect("few");
        let outcome = self.sync_file(true);
        if outcome.is_ok() {
            self.synced.fetch_max(captured, Ordering::SeqCst);
        }
        let mut gate = self.gate.lock();
        gate.running = false;
        if self.fault == Fault::FailureShowsLate {
            drop(gate);
            self.wake();
            gate = self.gate.lock();
        }
        gate.failed |= outcome.is_err();
        drop(gate);
        self.wake();
        outcome
    }

    /// As `LogFile::sync`: one at a time, and the first failure sticks.
    fn sync_file(&self, asks: bool) -> Result<(), Told> {
        let mut failed = self.file_failed.lock();
        let sticks = self.fault != Fault::FailureShowsLate;
        if asks && sticks && *failed {
            return Err(Told::Failed);
        }
        let outcome = self.device.lock().sync();
        *failed |= outcome.is_err();
        outcome
    }

    /// As a roll of a segment with room allocated ahead: the file is synced by whoever rolls, and what is in it counts as durable.
    fn roll(&self) {
        let captured = u64::try_from(self.device.lock().cached.len()).expect("few");
        if self.sync_file(self.fault != Fault::SyncsAgain).is_ok() {
            self.synced.fetch_max(captured, Ordering::SeqCst);
            self.wake();
        }
    }

    /// As a truncation of everything, between two turns; what is appended next stands at the same offsets.
    fn truncate(&self) {
        let mut gate = self.gate.lock();
        while gate.running {
            self.changed.wait(&mut gate);
        }
        gate.running = true;
        drop(gate);
        let mut device = self.device.lock();
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.synced.store(0, Ordering::Release);
        device.cached.clear();
        device.durable.clear();
        drop(device);
        self.gate.lock().running = false;
        self.wake();
    }

    fn wake(&self) {
        if self.fault == Fault::WakesOne {
            self.changed.notify_one();
        } else {
            self.changed.notify_all();
        }
    }

    fn expect_durable(&self, record: u64) {
        assert!(self.device.lock().was_durable.contains(&record), "{record} was called durable, and is not");
    }
}

/// Two append and sync at the same time; the disk may fail the first sync.
fn commits(fault: Fault, fails_once: bool) {
    let copy = Copy::new(fault, fails_once);
    let other = {
        let copy = Arc::clone(&copy);
        thread::spawn(move || append_and_sync(&copy, 1))
    };
    append_and_sync(&copy, 2);
    other.join().expect("no panic");
}

fn append_and_sync(copy: &Copy, record: u64) {
    let (end, generation) = copy.append(record);
    if copy.sync_to(end, generation).is_ok() {
        copy.expect_durable(record);
    }
}

/// One waits, or syncs, while another rolls.
fn rolls(fault: Fault) {
    let copy = Copy::new(fault, true);
    let other = {
        let copy = Arc::clone(&copy);
        thread::spawn(move || append_and_sync(&copy, 1))
    };
    copy.roll();
    let end = copy.synced.load(Ordering::Acquire);
    assert!(end <= u64::try_from(copy.device.lock().durable.len()).expect("few"), "{end} was called durable");
    other.join().expect("no panic");
}

/// One waits for its sync while the log is cut and grows again.
fn cuts(fault: Fault) {
    let copy = Copy::new(fault, false);
    let (end, generation) = copy.append(1);
    let other = {
        let copy = Arc::clone(&copy);
        thread::spawn(move || {
            if copy.sync_to(end, generation).is_ok() {
                copy.expect_durable(1);
            }
        })
    };
    copy.truncate();
    let (end, generation) = copy.append(2);
    copy.sync_to(end, generation).expect("nobody cuts this one");
    other.join().expect("no panic");
}

/// Three at one gate: one syncs, two wait.
fn three(fault: Fault) {
    let copy = Copy::new(fault, false);
    let (end, generation) = copy.append(1);
    let others = [(); 2].map(|()| {
        let copy = Arc::clone(&copy);
        thread::spawn(move || copy.sync_to(end, generation).expect("a healthy disk"))
    });
    copy.sync_to(end, generation).expect("a healthy disk");
    for other in others {
        other.join().expect("no panic");
    }
}

pub(super) fn holds() {
    commits(Fault::None, true);
}

pub(super) fn holds_over_rolls() {
    rolls(Fault::None);
}

pub(super) fn holds_for_three() {
    three(Fault::None);
}

pub(super) fn holds_over_a_cut() {
    cuts(Fault::None);
}

pub(super) fn overlooks_the_cut() {
    cuts(Fault::OverlooksTheCut);
}

pub(super) fn failure_shows_late() {
    commits(Fault::FailureShowsLate, true);
}

pub(super) fn syncs_again() {
    rolls(Fault::SyncsAgain);
}

pub(super) fn wakes_one() {
    three(Fault::WakesOne);
}
