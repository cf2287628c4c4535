//! The worker: callbacks, intervals, and what happens to them at close and at a failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::bench::{append, at, disk, fill, opened, small, upto, values};
use crate::config::{LogConfig, SyncPolicy, Worker};
use crate::error::{Error, Result};
use crate::fs::Env;
use crate::fs::sim::{CallKind, Fault, FaultKind};
use crate::log::Log;
use crate::offset::{Offset, Timestamp};
use crate::sync::Mutex;

/// Milliseconds; generous, for it is only reached when something is broken.
const LONGEST_WAIT: u32 = 60_000;

type Answers = Arc<Mutex<Vec<Result<Offset>>>>;

pub(super) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..LONGEST_WAIT {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it never came to pass that {what}");
}

fn large() -> LogConfig {
    small().segment_bytes(1 << 20)
}

fn every_ms(interval: u64) -> SyncPolicy {
    SyncPolicy::Every { records: None, bytes: None, interval_ms: Some(interval) }
}

fn ask(log: &Log, end: u64, answers: &Answers) {
    let answers = Arc::clone(answers);
    log.on_synced(at(end), move |answer| answers.lock().push(answer)).expect("accepted");
}

fn run(log: &Log) -> Result<()> {
    log.run_once(Timestamp::from_millis(0))
}

#[test]
fn a_callback_that_is_refused_is_told_why() {
    let log = opened(&disk(), large());
    let told = Answers::default();
    let ask = |end| {
        let answers = Arc::clone(&told);
        log.on_synced(at(end), move |answer| answers.lock().push(answer))
    };
    assert!(matches!(ask(1), Err(Error::OffsetOutOfRange { .. })));
    assert!(matches!(told.lock()[..], [Err(Error::OffsetOutOfRange { .. })]), "{told:?}");
    log.close().expect("a healthy disk");
    assert!(matches!(ask(0), Err(Error::Closed)));
    assert!(matches!(told.lock()[..], [_, Err(Error::Closed)]), "{told:?}");
}

#[test]
fn a_callback_runs_once_when_what_it_waits_for_is_durable() {
    let log = opened(&disk(), large());
    let answers = Answers::default();
    fill(&log, 0..3);
    ask(&log, 2, &answers);
    assert!(answers.lock().is_empty(), "not on the caller's thread");
    run(&log).expect("a healthy disk");
    assert!(matches!(answers.lock()[..], [Ok(end)] if end == at(3)), "{answers:?}");
    run(&log).expect("nothing to do");
    assert_eq!(answers.lock().len(), 1);
    ask(&log, 1, &answers);
    run(&log).expect("a healthy disk");
    assert_eq!(answers.lock().len(), 2, "durable already");
    assert!(matches!(log.on_synced(at(4), drop), Err(Error::OffsetOutOfRange { .. })));
}

#[test]
fn a_callback_is_told_of_the_failure_that_prevents_it() {
    let disk = disk();
    let log = opened(&disk, large());
    let answers = Answers::default();
    fill(&log, 0..3);
    ask(&log, 3, &answers);
    ask(&log, 3, &answers);
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput).on(".log"));
    run(&log).expect("the callbacks are told");
    assert!(answers.lock().iter().all(|answer| matches!(answer, Err(Error::Failed { .. }))));
    assert_eq!(answers.lock().len(), 2);
}

// A callback that waited over a failure and a reopening was forgotten by both, and the worker asked for a sync to an
// offset that the log no longer had, again and again.
#[test]
fn a_callback_is_told_of_the_failure_even_if_the_log_was_reopened_before_the_worker_came() {
    let disk = disk();
    let log = opened(&disk, large());
    let answers = Answers::default();
    fill(&log, 0..3);
    ask(&log, 3, &answers);
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput).on(".log"));
    log.sync().expect_err("the disk fails");
    log.reopen().expect("a healthy disk");
    run(&log).expect("a healthy disk");
    assert!(matches!(answers.lock()[..], [Err(Error::Failed { .. })]), "{answers:?}");
}

#[test]
fn callbacks_that_still_wait_at_close_run_before_it_returns() {
    let log = opened(&disk(), large());
    let answers = Answers::default();
    fill(&log, 0..3);
    ask(&log, 3, &answers);
    log.close().expect("a healthy disk");
    assert!(matches!(answers.lock()[..], [Ok(end)] if end == at(3)), "{answers:?}");
    assert!(matches!(log.on_synced(at(1), drop), Err(Error::Closed)));
}

#[test]
fn callbacks_at_a_close_that_fails_are_told_so() {
    let disk = disk();
    let log = opened(&disk, large());
    let answers = Answers::default();
    fill(&log, 0..3);
    ask(&log, 3, &answers);
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput).on(".log"));
    log.close().expect_err("the disk fails");
    assert!(matches!(answers.lock()[..], [Err(Error::Failed { .. })]), "{answers:?}");
}

#[test]
fn a_callback_that_panics_takes_neither_the_others_nor_the_worker_with_it() {
    let log = opened(&disk(), large().worker(Worker::Thread));
    let answers = Answers::default();
    fill(&log, 0..1);
    log.on_synced(at(1), |_| panic!("a callback that panics, as this test wants")).expect("accepted");
    ask(&log, 1, &answers);
    wait_until("the other callback runs", || answers.lock().len() == 1);
    fill(&log, 1..2);
    ask(&log, 2, &answers);
    wait_until("the worker goes on", || answers.lock().len() == 2);
    log.close().expect("a healthy disk");
}

#[test]
fn a_callback_may_use_and_close_the_log() {
    let disk = disk();
    let log = opened(&disk, large().worker(Worker::Thread));
    let closed = Arc::new(AtomicU64::new(0));
    fill(&log, 0..1);
    let (inner, count) = (log.clone(), Arc::clone(&closed));
    log.on_synced(at(1), move |_| {
        append(&inner, 1).expect("no lock is held");
        inner.close().expect("a healthy disk");
        count.fetch_add(1, Ordering::SeqCst);
    })
    .expect("accepted");
    wait_until("the callback has closed the log", || closed.load(Ordering::SeqCst) == 1);
    assert_eq!(values(&opened(&disk, large())), upto(2));
}

#[test]
fn the_last_handle_may_go_on_the_worker_itself() {
    let disk = disk();
    let log = opened(&disk, large().worker(Worker::Thread));
    fill(&log, 0..1);
    let inner = log.clone();
    let dropped = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&dropped);
    let released = Arc::new(AtomicU64::new(0));
    let gate = Arc::clone(&released);
    log.on_synced(at(1), move |_| {
        wait_until("the other handle is gone", || gate.load(Ordering::SeqCst) == 1);
        drop(inner);
        count.fetch_add(1, Ordering::SeqCst);
    })
    .expect("accepted");
    drop(log);
    released.store(1, Ordering::SeqCst);
    wait_until("the log is closed", || dropped.load(Ordering::SeqCst) == 1);
    assert_eq!(values(&opened(&disk, large())), upto(1));
}

#[test]
fn the_caller_keeps_the_interval_by_run_once() {
    let disk = disk();
    let log = opened(&disk, large().sync_policy(every_ms(100)));
    let now = || Env::sim(&disk).wall_clock();
    fill(&log, 0..1);
    log.run_once(now()).expect("nothing is due");
    assert_eq!(log.synced_offset(), at(0));
    disk.advance(Duration::from_millis(60));
    fill(&log, 1..2);
    disk.advance(Duration::from_millis(40));
    log.run_once(now()).expect("a healthy disk");
    assert_eq!(log.synced_offset(), at(2), "since the oldest record that is not synced");
    fill(&log, 2..3);
    log.run_once(now()).expect("nothing is due");
    assert_eq!(log.synced_offset(), at(2));
}

#[test]
fn the_worker_keeps_the_interval() {
    let disk = disk();
    let log = opened(&disk, large().sync_policy(every_ms(5)).worker(Worker::Thread));
    for value in 0..3 {
        fill(&log, value..value + 1);
        disk.advance(Duration::from_millis(5));
        wait_until("the record is synced", || log.synced_offset() == at(value + 1));
    }
    log.close().expect("a healthy disk");
}

// The append was in the log and reported an error, so that a caller who tried again wrote it twice.
#[test]
fn an_append_whose_worker_cannot_be_started_syncs_for_itself() {
    let disk = disk();
    let log = opened(&disk, small().sync_policy(every_ms(5)).worker(Worker::Thread));
    disk.fail(Fault::from(CallKind::Spawn, 1, FaultKind::TooManyOpen));
    fill(&log, 0..5);
    assert_eq!((values(&log), log.synced_offset()), (upto(5), at(5)));
}

#[test]
fn a_worker_and_what_to_do_about_damage_are_fixed_at_open() {
    let disk = disk();
    let log = opened(&disk, large());
    log.update_config(|config| config.worker(Worker::Thread).on_damage(crate::config::OnDamage::CutAsKafka))
        .expect("valid");
    let answers = Answers::default();
    fill(&log, 0..1);
    ask(&log, 1, &answers);
    assert_eq!(disk.calls(CallKind::Spawn), 0, "nobody but the caller works");
    run(&log).expect("a healthy disk");
    assert_eq!(answers.lock().len(), 1);
}
