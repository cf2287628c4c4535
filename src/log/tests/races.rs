//! Many threads at once: policies that change under way, syncs that fail, readers, rolls, reopenings and closings.
//!
//! What can be brought about step by step is; the rest runs under a watchdog, so that a deadlock is a failure.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::bench::{append, at, disk, number, opened, small, text, values};
use crate::config::{LogConfig, SyncPolicy, Worker, WriteMode};
use crate::error::{Error, Result};
use crate::fs::sim::{CallKind, Fault, FaultKind};
use crate::log::{AppendOptions, Log, ReadUpTo};
use crate::record::Record;
use crate::sync::Mutex;

/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ends the process, and says why, if `body` does not come to an end.
pub(super) fn watched(name: &'static str, body: impl FnOnce()) {
    let (done, waits) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if waits.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{name} hangs");
                std::process::abort();
            }
        });
        body();
        drop(done);
    });
}

pub(super) fn wait_until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        std::thread::yield_now();
    }
}

// Story: under `Always` a batch waited for its sync, unseen; the policy was changed, and another append rolled and was
// published at once. The end of the older segment stayed unseen below the published log end: readers met a gap.
#[test]
fn what_waits_for_its_sync_in_a_sealed_segment_is_readable_once_the_log_end_lies_above() {
    let disk = disk();
    let log = opened(&disk, small().sync_policy(SyncPolicy::Always));
    std::thread::scope(|scope| {
        let syncs_stopped = log.shared().with_syncs_stopped(|| {
            scope.spawn(|| append(&log, 0).expect("a healthy disk"));
            wait_until(|| log.shared().written_end() == at(1));
            assert_eq!(log.log_end_offset(), at(0), "unseen until it is durable");
            log.update_config(|config| config.sync_policy(SyncPolicy::Never)).expect("a sound configuration");
            log.roll().expect("there is room");
            append(&log, 1).expect("there is room");
            assert_eq!(log.log_end_offset(), at(2));
            assert_eq!(values(&log), [0, 1]);
            assert_eq!(log.read(at(0), 1).expect("readable").records().count(), 1);
            let backwards = log.records_reversed(..).expect("a range");
            assert_eq!(backwards.map(|r| number(r.expect("readable").value())).collect::<Vec<_>>(), [1, 0]);
            Ok(())
        });
        syncs_stopped.expect("nobody else stops syncs");
    });
}

// Story: after a failure readers end at the synced offset, and the segments behind it claimed to end before they began.
#[test]
fn no_segment_ends_before_it_begins_when_the_log_failed() {
    let disk = disk();
    let log = opened(&disk, small());
    append(&log, 0).expect("there is room");
    log.roll().expect("there is room");
    append(&log, 1).expect("there is room");
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput));
    log.sync().expect_err("the sync fails");
    for segment in log.segments().expect("segments") {
        assert!(segment.next_offset >= segment.base_offset, "{segment:?}");
    }
}

// Story: a log whose reopening failed was closed, and the closing said that all was well.
#[test]
fn closing_a_log_whose_reopening_failed_tells_of_the_failure() {
    let disk = disk();
    let log = opened(&disk, small());
    append(&log, 0).expect("there is room");
    disk.fail(Fault::from(CallKind::SyncData, 1, FaultKind::InputOutput));
    log.sync().expect_err("the sync fails");
    log.reopen().expect_err("the disk is no better");
    let closed = log.close();
    assert!(matches!(closed, Err(Error::Failed { .. })), "{closed:?}");
}

// Story: a sync of sealed segments that was ordered before a failure was done after the reopening; it found no sealed
// batch of its own, and left a state that no batch bore witness to and that any directory agreed with.
#[test]
fn a_sync_of_sealed_segments_after_a_reopening_keeps_the_witness() {
    let disk = disk();
    let log = opened(&disk, small());
    append(&log, 0).expect("there is room");
    log.roll().expect("there is room");
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput));
    log.sync().expect_err("the sync fails");
    disk.heal();
    log.reopen().expect("the disk is well again");
    let end = log.log_end_offset();
    log.run_once(crate::offset::Timestamp::from_millis(0)).expect("the disk is well");
    let (found, _) = crate::state::read(&crate::fs::Env::sim(&disk), std::path::Path::new(super::bench::DIR))
        .expect("the state can be read");
    let state = found.state().copied().expect("there is a state");
    assert_eq!(state.recovery_point.offset, end);
    assert!(state.witness.is_some() == (end > at(0)), "{state:?}");
}

// Story: an append was on its way to its sync when another's failed and the log was reopened without its record. A third
// append took the offset and was synced, and the first was told that it was durable.
#[test]
fn an_append_that_a_reopening_cut_off_is_not_acknowledged_for_what_took_its_place() {
    let disk = disk();
    let log = opened(&disk, small());
    let generation = log.shared().core.generation();
    append(&log, 0).expect("there is room");
    append(&log, 1).expect("there is room");
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput));
    log.sync().expect_err("the sync fails");
    disk.write_file(super::bench::log_path(0), Vec::new());
    log.reopen().expect("the disk is well again");
    assert_eq!(log.log_end_offset(), at(0), "what was not durable is lost");
    append(&log, 7).expect("there is room");
    log.sync().expect("a healthy disk");
    for end in [1, 2] {
        let told = log.shared().sync_appended(at(end), generation);
        assert!(matches!(told, Err(Error::Failed { .. })), "{end}: {told:?}");
    }
    log.sync_to(at(1)).expect("asked anew");
}

/// Values that are durable, and the offsets they have.
type Acknowledged = Mutex<Vec<(u64, u64)>>;

fn append_and_note(log: &Log, value: u64, durable: &Acknowledged) {
    let options = AppendOptions::default().sync(true);
    match log.append_with(&options, &[Record::value(&text(value))]) {
        Ok(appended) => durable.lock().push((appended.base_offset().value(), value)),
        Err(Error::Failed { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

fn check_durable(log: &Log, durable: &[(u64, u64)]) {
    for &(offset, value) in durable {
        let mut records = log.records(at(offset)..).expect("a durable offset");
        let record = records.next().expect("a record").expect("readable");
        assert_eq!((record.offset().value(), number(record.value())), (offset, value));
    }
}

fn read_all_durable(log: &Log) -> Result<()> {
    let reader = log.reader().up_to(ReadUpTo::Synced);
    let end = reader.log_end_offset();
    let mut next = 0;
    for record in reader.records(..end)? {
        assert_eq!(record?.offset(), at(next));
        next += 1;
    }
    assert!(at(next) == end, "read up to {next} of {end}");
    let from = at(end.value().saturating_sub(20));
    let mut next = end.value();
    for record in reader.records_reversed(from..end)? {
        next -= 1;
        assert_eq!(record?.offset(), at(next));
    }
    assert!(at(next) == from, "read back to {next} of {from}");
    Ok(())
}

fn disturb(config: LogConfig, fails: bool) {
    let disk = disk();
    let log = opened(&disk, config);
    let (durable, done, next) = (Acknowledged::default(), AtomicBool::new(false), AtomicU64::new(0));
    let appending = AtomicU64::new(4);
    let draw = || next.fetch_add(1, Ordering::Relaxed);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (log, durable, done, appending, draw) = (log.clone(), &durable, &done, &appending, &draw);
            scope.spawn(move || {
                // Where every append met a failing sync so far, nothing has been seen: then it goes on.
                let mut appends = 0;
                while appends < 60 || (number > 0 && durable.lock().is_empty()) {
                    wait_until(|| !log.stats().failed);
                    if number == 0 {
                        drop(append(&log, draw()));
                    } else {
                        append_and_note(&log, draw(), durable);
                    }
                    appends += 1;
                }
                if appending.fetch_sub(1, Ordering::AcqRel) == 1 {
                    done.store(true, Ordering::Release);
                }
            });
        }
        for _ in 0..2 {
            let (log, done) = (log.clone(), &done);
            scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    read_all_durable(&log).expect("what is durable is readable");
                }
            });
        }
        let policies = [
            SyncPolicy::Never,
            SyncPolicy::Always,
            SyncPolicy::Every { records: Some(3), bytes: None, interval_ms: Some(1) },
        ];
        let mut round = 0_u64;
        while !done.load(Ordering::Acquire) {
            let policy = policies[usize::try_from(round % 3).expect("small")];
            let mode = if round.is_multiple_of(2) { WriteMode::Preallocated } else { WriteMode::Write };
            log.update_config(|config| config.sync_policy(policy).write_mode(mode)).expect("a sound configuration");
            if fails && round.is_multiple_of(5) {
                disk.fail(Fault::once(CallKind::SyncData, 1 + round % 3, FaultKind::InputOutput));
            }
            drop(log.roll());
            drop(log.run_once(crate::offset::Timestamp::from_millis(0)));
            if log.stats().failed {
                drop(log.reopen());
            }
            round += 1;
        }
    });
    disk.heal();
    for _ in 0..10 {
        drop(log.reopen());
    }
    let durable = durable.into_inner();
    assert!(!durable.is_empty());
    check_durable(&log, &durable);
    log.close().expect("a healthy disk");
    drop(log);
    check_durable(&opened(&disk, small()), &durable);
}

#[test]
fn policies_that_change_under_many_threads_lose_nothing_and_hide_nothing() {
    watched("changing policies", || {
        disturb(small(), false);
        disturb(small().worker(Worker::Thread), false);
    });
}

#[test]
fn syncs_that_fail_under_many_threads_lose_nothing_that_was_acknowledged() {
    watched("failing syncs", || {
        disturb(small(), true);
        disturb(small().worker(Worker::Thread), true);
    });
}

#[test]
fn closing_from_threads_callbacks_and_the_last_handle_at_once_ends() {
    watched("closing", || {
        for round in 0_u64..200 {
            let disk = disk();
            let log = opened(&disk, small().worker(Worker::Thread).sync_policy(SyncPolicy::Always));
            let told = std::sync::Arc::new(AtomicU64::new(0));
            append(&log, 0).expect("there is room");
            std::thread::scope(|scope| {
                for number in 0..4 {
                    let (log, told) = (log.clone(), std::sync::Arc::clone(&told));
                    scope.spawn(move || {
                        let inner = log.clone();
                        let ordered = log.on_synced(at(1), move |_| {
                            if round.is_multiple_of(2) {
                                drop(inner.close());
                            }
                            drop(inner);
                            told.fetch_add(1, Ordering::Relaxed);
                        });
                        drop(append(&log, number));
                        if number == 3 {
                            drop(log.close());
                        }
                        drop(log);
                        drop(ordered);
                    });
                }
            });
            drop(log);
        }
    });
}
