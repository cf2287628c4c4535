//! Following a log: in order and without a gap, across rolls, failures, truncations and retention, until it is stopped.

use std::path::Path;
use std::time::Duration;

use super::bench::{DIR, append, at, bases, disk, fill, log_path, number, opened, small, state_path, upto};
use super::races::{wait_until, watched};
use crate::config::WriteMode;
use crate::error::{Error, Result};
use crate::fs::Env;
use crate::fs::sim::{CallKind, Fault, FaultKind, SimDisk};
use crate::log::{Log, ReadUpTo, Reader, Tailer};
use crate::record::{Record, StoredRecord};

const NO_TIME: Duration = Duration::ZERO;

/// What the tailer has at once.
fn available(tailer: &mut Tailer) -> Vec<u64> {
    std::iter::from_fn(|| tailer.next_timeout(NO_TIME).expect("no error")).map(|record| value(&record)).collect()
}

fn value(record: &StoredRecord) -> u64 {
    number(record.value())
}

fn wait_until_it_sleeps(log: &Log, tailers: usize) {
    wait_until(|| log.shared().core.waiting() == tailers);
}

/// What ended a tailer that must be at its end: and that it stays there.
fn ended(tailer: &mut Tailer) -> Error {
    let error = tailer.next_timeout(NO_TIME).expect_err("an error");
    assert!(tailer.is_finished());
    assert!(tailer.next().is_none() && tailer.next_timeout(Duration::MAX).expect("told before").is_none());
    error
}

#[test]
fn it_gives_what_is_there_and_then_what_comes_across_rolls() {
    let log = opened(&disk(), small());
    fill(&log, 0..5);
    let mut tailer = log.tail(at(2));
    assert_eq!(available(&mut tailer), [2, 3, 4]);
    for value in 5..20 {
        append(&log, value).expect("there is room");
        assert_eq!(available(&mut tailer), [value]);
        assert_eq!(tailer.position(), at(value + 1));
    }
    log.roll().expect("there is room");
    assert_eq!(available(&mut tailer), upto(0));
    append(&log, 20).expect("there is room");
    assert_eq!(available(&mut tailer), [20]);
    assert!(bases(&log).len() > 8 && !tailer.is_finished());
}

// Rows 64, 246.
#[test]
fn many_that_follow_beside_a_writer_see_every_record_once_and_in_order() {
    const END: u64 = 3000;
    watched("a tailer", || {
        let log = opened(&disk(), small().segment_bytes(4000));
        std::thread::scope(|scope| {
            for number in 0..6 {
                let kind = [ReadUpTo::LogEnd, ReadUpTo::Synced, ReadUpTo::HighWatermark][number % 3];
                let tailer = log.reader().up_to(kind).tail(at(0));
                scope.spawn(move || {
                    let seen: Result<Vec<_>> = tailer.take(usize::try_from(END).expect("few")).collect();
                    let values: Vec<_> = seen.expect("no error").iter().map(value).collect();
                    assert_eq!(values, upto(END));
                });
            }
            for value in 0..END {
                append(&log, value).expect("there is room");
                if value % 100 == 99 {
                    log.sync().expect("a healthy disk");
                }
            }
        });
    });
}

#[test]
fn each_arrival_costs_one_read_and_what_was_read_ahead_none() {
    let disk = disk();
    let log = opened(&disk, small().segment_bytes(1 << 20));
    let record = Record::value(b"0");
    let mut tailer = log.tail(at(0));
    for round in 0..50 {
        log.append(&[record, record, record]).expect("there is room");
        disk.reset_counters();
        assert_eq!(available(&mut tailer).len(), 3);
        assert!(disk.calls(CallKind::ReadAt) <= 1, "{} reads in round {round}", disk.calls(CallKind::ReadAt));
        disk.reset_counters();
        assert_eq!(available(&mut tailer), upto(0));
        assert_eq!(disk.calls(CallKind::ReadAt), 0);
    }
    fill(&log, 0..20);
    disk.reset_counters();
    assert_eq!(available(&mut tailer).len(), 20);
    assert!(disk.calls(CallKind::ReadAt) <= 1, "what came together is read together");
}

#[test]
fn it_is_stopped_from_any_thread_awake_or_asleep() {
    watched("a stopped tailer", || {
        let log = opened(&disk(), small());
        fill(&log, 0..2);
        let mut tailer = log.tail(at(0));
        let stop = tailer.stop_handle();
        std::thread::scope(|scope| {
            let following = scope.spawn(|| tailer.by_ref().map(|record| value(&record.expect("no error"))).collect());
            wait_until_it_sleeps(&log, 1);
            let other = stop.clone();
            scope.spawn(move || other.stop());
            let seen: Vec<u64> = following.join().expect("no panic");
            assert_eq!(seen, [0, 1]);
        });
        append(&log, 2).expect("there is room");
        assert!(tailer.is_finished() && tailer.next().is_none(), "it stays stopped");
        let mut tailer = log.tail(at(0));
        tailer.stop_handle().stop();
        assert!(tailer.next().is_none(), "also if it never began");
    });
}

#[test]
fn a_tailer_that_begins_outside_the_log_says_so() {
    let log = opened(&disk(), small());
    fill(&log, 0..3);
    assert!(matches!(ended(&mut log.tail(at(4))), Error::OffsetOutOfRange { .. }));
    log.shared().core.raise_log_start(at(2));
    assert!(matches!(ended(&mut log.tail(at(1))), Error::OffsetOutOfRange { .. }));
    assert_eq!(available(&mut log.tail(at(2))), [2]);
}

#[test]
fn closing_the_log_ends_it_with_one_error() {
    watched("a close", || {
        let log = opened(&disk(), small());
        let mut tailer = log.tail(at(0));
        std::thread::scope(|scope| {
            let following = scope.spawn(|| ended_by(&mut tailer));
            wait_until_it_sleeps(&log, 1);
            log.close().expect("a healthy disk");
            assert!(matches!(following.join().expect("no panic"), Error::Closed));
        });
        assert!(tailer.next().is_none() && tailer.is_finished());
    });
}

fn ended_by(tailer: &mut Tailer) -> Error {
    tailer.next().expect("an error is an item").expect_err("an error")
}

#[test]
fn what_was_read_ahead_is_given_before_the_close_is_told() {
    let log = opened(&disk(), small());
    log.append(&[Record::value(b"0"), Record::value(b"1")]).expect("there is room");
    let mut tailer = log.tail(at(0));
    assert_eq!(value(&tailer.next().expect("a record").expect("no error")), 0);
    log.close().expect("a healthy disk");
    assert_eq!(value(&tailer.next().expect("a record").expect("no error")), 1);
    assert!(matches!(ended(&mut tailer), Error::Closed));
}

#[test]
fn up_to_what_is_synced_a_record_comes_with_the_sync_only() {
    let log = opened(&disk(), small());
    let mut tailer = log.reader().up_to(ReadUpTo::Synced).tail(at(0));
    fill(&log, 0..5);
    assert_eq!(available(&mut tailer), upto(0));
    log.sync().expect("a healthy disk");
    fill(&log, 5..6);
    assert_eq!(available(&mut tailer), upto(5));
}

// Row 285.
#[test]
fn up_to_the_high_watermark_it_stops_within_a_batch_and_goes_on_there() {
    let log = opened(&disk(), small());
    log.set_high_watermark(at(0)).expect("open");
    let mut tailer = log.reader().up_to(ReadUpTo::HighWatermark).tail(at(0));
    log.append(&[Record::value(b"0"), Record::value(b"1"), Record::value(b"2")]).expect("there is room");
    assert_eq!(available(&mut tailer), upto(0));
    log.set_high_watermark(at(1)).expect("open");
    assert_eq!(available(&mut tailer), [0]);
    log.set_high_watermark(at(3)).expect("open");
    assert_eq!(available(&mut tailer), [1, 2]);
    log.shared().core.raise_log_start(at(3));
    assert_eq!(available(&mut tailer), upto(0));
}

#[test]
fn a_failure_is_told_once_and_the_reopened_log_is_followed_on() {
    watched("a reopening", || {
        let disk = disk();
        let log = opened(&disk, small());
        fill(&log, 0..2);
        log.sync().expect("a healthy disk");
        fill(&log, 2..4);
        let (mut ahead, mut behind) = (log.tail(at(0)), log.tail(at(0)));
        assert_eq!(available(&mut ahead), upto(4));
        disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput));
        log.sync().expect_err("the sync fails");
        assert_eq!([behind.next(), behind.next()].map(|r| value(&r.expect("one").expect("no error"))), [0, 1]);
        for tailer in [&mut ahead, &mut behind] {
            assert!(matches!(ended_by(tailer), Error::Failed { .. }), "what readers see no more is not given");
            assert_eq!(available(tailer), upto(0), "nor is the failure told again");
        }
        let mut late = log.tail(at(4));
        assert!(matches!(ended_by(&mut late), Error::Failed { .. }));
        std::thread::scope(|scope| {
            let following = scope.spawn(|| ahead.next());
            wait_until_it_sleeps(&log, 1);
            log.reopen().expect("the disk is well again");
            append(&log, 4).expect("there is room");
            assert_eq!(value(&following.join().expect("no panic").expect("one").expect("no error")), 4);
        });
        assert_eq!(available(&mut behind), [2, 3, 4]);
        assert_eq!(available(&mut late), [4]);
    });
}

// What a cut does to readers, without the cut: the next test has one that takes records away.
#[test]
fn who_was_given_records_that_were_cut_off_is_told_even_if_the_log_has_grown_again() {
    watched("a cut", || {
        let log = opened(&disk(), small());
        fill(&log, 0..6);
        let (mut above, mut at_the_cut, mut below) = (log.tail(at(0)), log.tail(at(0)), log.tail(at(1)));
        assert_eq!(available(&mut above), upto(6));
        assert_eq!(at_the_cut.by_ref().take(4).count(), 4);
        std::thread::scope(|scope| {
            let following = scope.spawn(|| ended_by(&mut above));
            wait_until_it_sleeps(&log, 1);
            log.shared().core.begin_generation(at(4));
            log.shared().core.wake_readers();
            let error = following.join().expect("no panic");
            assert!(matches!(error, Error::Truncated { asked, end } if asked == at(6) && end == at(4)), "{error:?}");
        });
        log.shared().core.begin_generation(at(5));
        assert!(above.next().is_none() && above.is_finished());
        assert_eq!(available(&mut at_the_cut), [4, 5]);
        assert_eq!(available(&mut below), [1, 2, 3, 4, 5]);
        log.shared().core.begin_generation(at(6));
        assert_eq!(available(&mut below), upto(0));
        append(&log, 6).expect("there is room");
        assert_eq!(available(&mut below), [6]);
    });
}

#[test]
fn retention_that_overtakes_it_is_an_error() {
    watched("retention", || {
        let log = opened(&disk(), small());
        fill(&log, 0..6);
        let (mut slow, mut fast) = (log.tail(at(0)), log.tail(at(0)));
        assert_eq!(value(&slow.next().expect("one").expect("no error")), 0);
        assert_eq!(available(&mut fast), upto(6));
        log.shared().core.raise_log_start(at(4));
        let error = ended(&mut slow);
        let told = matches!(error, Error::OffsetOutOfRange { asked, start, .. } if asked == at(1) && start == at(4));
        assert!(told, "{error:?}");
        append(&log, 6).expect("there is room");
        assert_eq!(available(&mut fast), [6]);
    });
}

/// As another process has it.
fn read_only(disk: &SimDisk) -> Reader {
    Log::open_read_only_in(&Env::sim(disk), Path::new(DIR)).expect("a log")
}

#[test]
fn a_log_that_another_process_writes_is_followed_across_rolls_and_its_openings() {
    for mode in [WriteMode::Write, WriteMode::Preallocated, WriteMode::Mapped] {
        let disk = disk();
        let log = opened(&disk, small().write_mode(mode).windows_at_once(1));
        fill(&log, 0..3);
        let (reader, synced) = (read_only(&disk), read_only(&disk).up_to(ReadUpTo::Synced));
        let (mut tailer, mut durable) = (reader.tail(at(1)), synced.tail(at(0)));
        assert_eq!(available(&mut tailer), [1, 2]);
        fill(&log, 3..10);
        assert_eq!(available(&mut tailer), (3..10).collect::<Vec<_>>());
        assert!(available(&mut durable).len() < 3, "the recovery point follows rolls at most");
        log.sync().expect("a healthy disk");
        assert_eq!(available(&mut durable).last(), Some(&9));
        log.roll().expect("there is room");
        assert_eq!(available(&mut tailer), upto(0));
        log.close().expect("a healthy disk");
        assert_eq!(available(&mut tailer), upto(0));
        let log = opened(&disk, small().write_mode(mode).windows_at_once(1));
        fill(&log, 10..13);
        assert_eq!(available(&mut tailer), [10, 11, 12]);
        assert!(reader.wait_for(at(13), NO_TIME).expect("open"));
        assert!(!reader.wait_for(at(14), Duration::from_millis(1)).expect("open"), "a time that is over ends the wait");
    }
}

#[test]
fn looking_for_what_another_process_appended_costs_little_where_nothing_was() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..9);
    let mut tailer = read_only(&disk).tail(at(0));
    assert_eq!(available(&mut tailer).len(), 9);
    disk.reset_counters();
    assert_eq!(available(&mut tailer), upto(0));
    assert_eq!(disk.calls(CallKind::List), 0);
    assert_eq!([CallKind::Open, CallKind::Len, CallKind::Metadata].map(|call| disk.calls(call) <= 3), [true; 3]);
    assert_eq!(disk.bytes_read(log_path(8)), 0, "nothing is read of a file that did not grow");
}

#[test]
fn a_torn_batch_of_another_process_is_not_given_until_it_is_whole() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..1);
    let mut tailer = read_only(&disk).tail(at(0));
    assert_eq!(available(&mut tailer), [0]);
    append(&log, 1).expect("there is room");
    let whole = disk.read_file(log_path(0)).expect("a file");
    for cut in [1, 20, 60, whole.len() / 2 - 1] {
        disk.write_file(log_path(0), &whole[..whole.len() - cut]);
        assert_eq!(available(&mut tailer), upto(0), "{cut} bytes are missing");
    }
    disk.write_file(log_path(0), whole);
    assert_eq!(available(&mut tailer), [1]);
}

#[test]
fn a_directory_that_lost_what_was_given_ends_the_tailer() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..2);
    let mut tailer = read_only(&disk).tail(at(0));
    assert_eq!(available(&mut tailer), [0, 1]);
    log.close().expect("a healthy disk");
    let whole = disk.read_file(log_path(0)).expect("a file");
    disk.write_file(log_path(0), &whole[..whole.len() / 2]);
    disk.remove(state_path());
    let error = ended(&mut tailer);
    assert!(matches!(error, Error::Truncated { asked, end } if asked == at(2) && end <= at(1)), "{error:?}");
}
