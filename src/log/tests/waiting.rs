//! Waiting for offsets and for bytes: what ends a wait, who is woken, and that no wake-up is lost.
//!
//! Nothing here measures time. Who must be woken waits without end, under a watchdog; who must not be is given none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::bench::{append, at, disk, fill, opened, small};
use super::races::{wait_until, watched};
use crate::config::SyncPolicy;
use crate::error::{Error, Result};
use crate::fs::sim::{CallKind, Fault, FaultKind, SimDisk};
use crate::log::wake::Checked;
use crate::log::{Log, ReadUpTo, Reader};
use crate::slice::LogSlice;

const FOREVER: Duration = Duration::MAX;
const NO_TIME: Duration = Duration::ZERO;
/// Enough to be many, few enough for their stacks.
const CROWD: usize = 2000;

fn wait_at(log: &Log) -> usize {
    log.shared().core.waiting()
}

/// As many threads as asked for wait; then something is done; then all have the same answer.
fn crowd(log: &Log, count: usize, wait: impl Fn(usize) -> Result<bool> + Sync, end_it: impl FnOnce()) -> Vec<String> {
    let mut answers = Vec::new();
    std::thread::scope(|scope| {
        let wait = &wait;
        let spawn = |number| {
            let small = std::thread::Builder::new().stack_size(256 << 10);
            small.spawn_scoped(scope, move || wait(number)).expect("a thread")
        };
        let threads: Vec<_> = (0..count).map(spawn).collect();
        wait_until(|| wait_at(log) == count);
        end_it();
        answers = threads.into_iter().map(|thread| format!("{:?}", thread.join().expect("no panic"))).collect();
    });
    assert_eq!(wait_at(log), 0, "everyone left the list");
    answers.sort();
    answers.dedup();
    answers
}

fn failing(disk: &SimDisk, log: &Log) {
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput));
    log.sync().expect_err("the sync fails");
}

#[test]
fn what_is_there_already_is_not_waited_for() {
    let log = opened(&disk(), small());
    fill(&log, 0..3);
    let reader = log.reader();
    for end in 0..=3 {
        assert!(reader.wait_for(at(end), NO_TIME).expect("open"));
    }
    assert!(!reader.wait_for(at(4), NO_TIME).expect("an end above the log end is what one waits for"));
    assert!(!reader.clone().up_to(ReadUpTo::Synced).wait_for(at(1), NO_TIME).expect("open"));
    log.sync().expect("a healthy disk");
    assert!(reader.up_to(ReadUpTo::Synced).wait_for(at(3), NO_TIME).expect("open"));
    assert!(!log.reader().wait_for(crate::offset::Offset::MAX, NO_TIME).expect("open"));
}

#[test]
fn two_thousand_waiters_are_woken_by_one_append() {
    watched("an append", || {
        let log = opened(&disk(), small());
        let reader = log.reader();
        let answers = crowd(&log, CROWD, |_| reader.wait_for(at(1), FOREVER), || fill(&log, [0]));
        assert_eq!(answers, ["Ok(true)"]);
    });
}

#[test]
fn two_thousand_waiters_are_woken_by_a_close() {
    watched("a close", || {
        let log = opened(&disk(), small());
        let reader = log.reader();
        let answers = crowd(&log, CROWD, |_| reader.wait_for(at(1), FOREVER), || log.close().expect("a healthy disk"));
        assert_eq!(answers, ["Err(Closed)"]);
    });
}

#[test]
fn two_thousand_waiters_are_woken_by_a_failure_and_told_of_it() {
    watched("a failure", || {
        let disk = disk();
        let log = opened(&disk, small());
        append(&log, 0).expect("there is room");
        let reader = log.reader();
        let answers = crowd(&log, CROWD, |_| reader.wait_for(at(2), FOREVER), || failing(&disk, &log));
        assert!(answers.len() == 1 && answers[0].starts_with("Err(Failed"), "{answers:?}");
        assert!(matches!(reader.wait_for(at(1), NO_TIME), Err(Error::Failed { .. })), "it is above the synced offset");
        assert!(reader.wait_for(at(0), NO_TIME).expect("below the cap all is well"));
    });
}

#[test]
fn an_append_wakes_nobody_who_waits_for_more() {
    watched("an append", || {
        let log = opened(&disk(), small());
        let reader = log.reader();
        std::thread::scope(|scope| {
            for end in [5, 9] {
                let reader = reader.clone();
                scope.spawn(move || assert!(reader.wait_for(at(end), FOREVER).expect("open")));
            }
            wait_until(|| wait_at(&log) == 2);
            fill(&log, 0..4);
            assert_eq!(wait_at(&log), 2, "both stand in the list still");
            append(&log, 4).expect("there is room");
            wait_until(|| wait_at(&log) == 1);
            fill(&log, 5..9);
        });
    });
}

#[test]
fn who_waits_for_what_is_synced_is_woken_by_the_sync_and_not_by_the_append() {
    watched("a sync", || {
        let log = opened(&disk(), small());
        let reader = log.reader().up_to(ReadUpTo::Synced);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| reader.wait_for(at(1), FOREVER));
            wait_until(|| wait_at(&log) == 1);
            append(&log, 0).expect("there is room");
            assert_eq!(wait_at(&log), 1, "nothing is durable yet");
            log.sync().expect("a healthy disk");
            assert!(waiting.join().expect("no panic").expect("open"));
        });
    });
}

// Row 285.
#[test]
fn who_waits_for_the_high_watermark_is_woken_when_it_is_set() {
    watched("a high watermark", || {
        let log = opened(&disk(), small());
        log.set_high_watermark(at(0)).expect("open");
        let reader = log.reader().up_to(ReadUpTo::HighWatermark);
        let set = || {
            fill(&log, 0..2);
            assert_eq!(wait_at(&log), 20);
            log.set_high_watermark(at(1)).expect("open");
        };
        assert_eq!(crowd(&log, 20, |_| reader.wait_for(at(1), FOREVER), set), ["Ok(true)"]);
    });
}

#[test]
fn under_the_policy_always_readers_are_woken_once_the_record_is_durable() {
    watched("a durable append", || {
        let log = opened(&disk(), small().sync_policy(SyncPolicy::Always));
        let kinds = [ReadUpTo::LogEnd, ReadUpTo::Synced, ReadUpTo::HighWatermark];
        let wait = |number: usize| log.reader().up_to(kinds[number % 3]).wait_for(at(1), FOREVER);
        let answers = crowd(&log, 9, wait, || fill(&log, [0]));
        assert_eq!(answers, ["Ok(true)"]);
    });
}

#[test]
fn a_reopening_wakes_those_for_whom_it_found_more() {
    watched("a reopening", || {
        let disk = disk();
        let log = opened(&disk, small());
        append(&log, 0).expect("there is room");
        failing(&disk, &log);
        assert_eq!(log.log_end_offset(), at(0));
        log.reopen().expect("the disk is well again");
        assert!(log.reader().wait_for(at(1), NO_TIME).expect("open"));
    });
}

#[test]
fn an_append_right_after_a_look_is_not_missed() {
    watched("a waiter that looked too early", || {
        for unlucky_look in 1..=2 {
            let log = opened(&disk(), small());
            let core = &log.shared().core;
            let mut looks = 0;
            let found = core.wait(&Arc::default(), ReadUpTo::LogEnd, None, || {
                looks += 1;
                let end = core.log_end();
                if looks == unlucky_look {
                    append(&log, 0).expect("there is room");
                }
                if end == at(1) { Checked::Answer(Ok(())) } else { Checked::WaitFor(at(1)) }
            });
            assert_eq!((found.expect("open"), looks), (Some(()), unlucky_look + 1));
        }
    });
}

// Four readers wait for the offsets of a log that grows as fast as they let it; each is told, whoever comes first.
// Row 246.
#[test]
fn no_wake_up_is_lost_between_threads_that_append_and_threads_that_wait() {
    const END: u64 = 4000;
    watched("a waiter", || {
        let log = opened(&disk(), small().segment_bytes(1 << 20));
        let waits = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for step in 1..=4 {
                let (log, waits) = (&log, &waits);
                scope.spawn(move || {
                    for end in (0..=END).step_by(step) {
                        assert!(log.reader().wait_for(at(end), FOREVER).expect("open"));
                        waits.fetch_add(1, Ordering::Release);
                    }
                });
            }
            // Each append waits until a waiter went on, so that those who wait and those who append meet all the time.
            for value in 0..END {
                let before = waits.load(Ordering::Acquire);
                append(&log, value).expect("there is room");
                wait_until(|| waits.load(Ordering::Acquire) > before);
            }
        });
        assert_eq!(wait_at(&log), 0);
    });
}

fn read_waiting(reader: &Reader, from: u64, min: u64, wait: Duration) -> Result<LogSlice> {
    reader.read_waiting(at(from), min, 1 << 20, u64::MAX, wait)
}

#[test]
fn a_waiting_read_returns_what_there_is_when_the_time_is_over() {
    let log = opened(&disk(), small());
    let reader = log.reader();
    assert!(read_waiting(&reader, 0, 1, NO_TIME).expect("open").is_empty());
    append(&log, 0).expect("there is room");
    assert_eq!(read_waiting(&reader, 0, 1, FOREVER).expect("open").next_offset(), at(1));
    assert_eq!(read_waiting(&reader, 0, 1000, NO_TIME).expect("open").next_offset(), at(1));
    assert!(read_waiting(&reader, 1, 0, FOREVER).expect("nothing is asked for").is_empty());
    assert!(matches!(read_waiting(&reader, 2, 1, FOREVER), Err(Error::OffsetOutOfRange { .. })));
}

#[test]
fn a_waiting_read_returns_once_enough_bytes_are_there_counted_over_segments() {
    watched("a waiting read", || {
        // Two batches a segment.
        let log = opened(&disk(), small());
        append(&log, 0).expect("there is room");
        let reader = log.reader();
        let batch = read_waiting(&reader, 0, 1, FOREVER).expect("open").size_bytes();
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| read_waiting(&reader, 0, 5 * batch, FOREVER).expect("open"));
            for value in 1..4 {
                wait_until(|| wait_at(&log) == 1);
                append(&log, value).expect("there is room");
            }
            wait_until(|| wait_at(&log) == 1);
            assert!(!reading.is_finished());
            append(&log, 4).expect("there is room");
            let slice = reading.join().expect("no panic");
            assert_eq!(
                [slice.size_bytes(), slice.next_offset().value()],
                [2 * batch, 2],
                "a slice lies in one segment"
            );
        });
    });
}

#[test]
fn a_waiting_read_never_waits_for_more_than_it_may_return() {
    let log = opened(&disk(), small());
    append(&log, 0).expect("there is room");
    let slice = log.reader().read_waiting(at(0), 1 << 30, 100, u64::MAX, FOREVER).expect("open");
    assert_eq!(slice.next_offset(), at(1));
}

#[test]
fn a_waiting_read_gives_whole_batches_of_no_more_records_than_asked_for_but_one_batch() {
    let log = opened(&disk(), small().segment_bytes(1 << 20));
    let record = crate::record::Record::value("v");
    for _ in 0..400 {
        log.append(&[record, record, record]).expect("there is room");
    }
    let read = |from, max| {
        let slice = log.reader().read_waiting(at(from), 1, 1 << 20, max, FOREVER).expect("open");
        slice.next_offset().value()
    };
    assert_eq!([0, 1, 3, 5, 6, 11, 12].map(|max| read(0, max)), [3, 3, 3, 3, 6, 9, 12]);
    assert_eq!(read(4, 6), 9, "it begins with the batch that holds the offset");
    assert_eq!([read(0, 899), read(0, 1 << 40), read(0, u64::MAX)], [897, 1200, 1200]);
}

#[test]
fn a_waiting_read_of_a_failed_log_gives_what_is_left_and_then_tells() {
    watched("a failure", || {
        let disk = disk();
        let log = opened(&disk, small());
        append(&log, 0).expect("there is room");
        log.sync().expect("a healthy disk");
        append(&log, 1).expect("there is room");
        let reader = log.reader();
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| read_waiting(&reader, 2, 1, FOREVER));
            let more = scope.spawn(|| read_waiting(&reader, 0, 1 << 20, FOREVER));
            wait_until(|| wait_at(&log) == 2);
            failing(&disk, &log);
            let failed = reading.join().expect("no panic");
            assert!(matches!(failed, Err(Error::Failed { .. })), "{failed:?}");
            assert_eq!(more.join().expect("no panic").expect("something is left").next_offset(), at(1));
        });
        assert!(matches!(read_waiting(&reader, 1, 1, FOREVER), Err(Error::Failed { .. })));
    });
}

#[test]
fn a_waiting_read_ends_when_the_log_is_closed_or_its_start_passes() {
    watched("a close", || {
        let log = opened(&disk(), small());
        fill(&log, 0..3);
        let reader = log.reader();
        let wait = |from, min| read_waiting(&reader, from, min, FOREVER).map(|slice| slice.is_empty());
        let raise = || log.shared().core.raise_log_start(at(2));
        let passed = crowd(&log, 2, |_| wait(1, 1000), raise);
        assert!(passed.len() == 1 && passed[0].contains("OffsetOutOfRange"), "{passed:?}");
        assert_eq!(crowd(&log, 2, |_| wait(3, 1), || log.close().expect("a healthy disk")), ["Err(Closed)"]);
        assert!(matches!(read_waiting(&reader, 3, 1, NO_TIME), Err(Error::Closed)));
    });
}

#[test]
fn a_reader_outlives_its_log_and_says_that_it_is_closed() {
    let log = opened(&disk(), small());
    let reader = Arc::new(log.reader());
    drop(log);
    assert!(matches!(reader.wait_for(at(0), FOREVER), Err(Error::Closed)));
}
