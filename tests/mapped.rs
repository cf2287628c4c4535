//! `WriteMode::Mapped` on a real disk, with its real worker: threads read, sync, roll and truncate while appends are
//! stored.
//!
//! On a file system on which the log falls back the tests still hold what they say of the records, and say aloud that
//! nothing was mapped.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is about files on a disk")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kstore::{Log, LogConfig, Offset, Record, SyncPolicy, WriteMode};

/// Long enough for a worker on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn mapped() -> LogConfig {
    LogConfig::default().write_mode(WriteMode::Mapped)
}

fn is_mapped(log: &Log) -> bool {
    let stats = log.stats();
    if let Some(reason) = stats.not_mapped {
        eprintln!("NOT RUN through maps: {reason:?}, the log is written by {:?}", stats.write_mode);
    }
    stats.not_mapped.is_none()
}

fn value(number: u64) -> String {
    format!("{number:060}")
}

fn assert_holds(log: &Log, end: u64) {
    assert_eq!(log.log_end_offset(), Offset::new(end));
    for (expected, record) in log.records(Offset::ZERO..).expect("the whole log").enumerate() {
        let record = record.expect("a sound record");
        assert_eq!(record.offset().value(), expected as u64);
        assert_eq!(record.value(), Some(value(expected as u64).as_bytes()));
    }
}

#[test]
fn records_are_read_synced_and_rolled_while_they_are_stored() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = mapped().segment_bytes(3 << 20).sync_policy(SyncPolicy::Every {
        records: None,
        bytes: None,
        interval_ms: Some(5),
    });
    let log = Log::open(folder.path(), config.clone()).expect("the log opens");
    let is_done = AtomicBool::new(false);
    let count = 120_000;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = Offset::ZERO;
            while !is_done.load(Ordering::Acquire) {
                for record in log.records(next..).expect("in the log") {
                    let record = record.expect("a sound record");
                    assert_eq!(record.value(), Some(value(next.value()).as_bytes()));
                    next = record.offset() + 1;
                }
            }
        });
        scope.spawn(|| {
            while !is_done.load(Ordering::Acquire) {
                log.sync().expect("a healthy disk");
            }
        });
        for number in 0..count {
            log.append(&[Record::value(&value(number))]).expect("there is room");
        }
        is_done.store(true, Ordering::Release);
    });
    is_mapped(&log);
    assert_holds(&log, count);
    assert!(log.stats().rolls > 2);
    log.close().expect("a healthy disk");
    let log = Log::open(folder.path(), config).expect("the log opens");
    assert_eq!(log.recovery_report().scanned_bytes, 0);
    assert_holds(&log, count);
}

#[test]
fn a_file_that_is_not_closed_ends_in_zeros_that_recovery_cuts_off() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (open, copied) = (folder.path().join("open"), folder.path().join("copied"));
    let log = Log::open(&open, mapped()).expect("the log opens");
    let path = open.join("00000000000000000000.log");
    let begin = Instant::now();
    let mut next = 0;
    let size = || log.segments().expect("an open log")[0].size_bytes;
    // Until the worker has laid a window: the file is then longer than what is in it.
    while next < 1000 || std::fs::metadata(&path).expect("a segment").len() < size() + (100 << 10) {
        log.append(&[Record::value(&value(next))]).expect("there is room");
        next += 1;
        assert!(begin.elapsed() < PATIENCE, "the worker lays no window");
    }
    for _ in 0..100 {
        log.append(&[Record::value(&value(next))]).expect("there is room");
        next += 1;
    }
    std::fs::create_dir(&copied).expect("a folder");
    for entry in std::fs::read_dir(&open).expect("a folder").map(|entry| entry.expect("an entry")) {
        if entry.file_type().expect("a kind").is_file() {
            std::fs::copy(entry.path(), copied.join(entry.file_name())).expect("a copy");
        }
    }
    let recovered = Log::open(&copied, mapped()).expect("the copy opens");
    assert_holds(&recovered, next);
    let torn = recovered.recovery_report().torn;
    assert!(torn.len() == 1 && torn[0].zeros, "{torn:?}");
    recovered.append(&[Record::value(&value(next))]).expect("there is room");
    recovered.close().expect("a healthy disk");
    let size = size();
    log.close().expect("a healthy disk");
    let len = std::fs::metadata(&path).expect("a segment").len();
    assert_eq!(len, size, "the room that was not needed is given back");
    assert_holds(&Log::open(&copied, mapped()).expect("the copy opens"), next + 1);
}

#[test]
fn a_log_is_truncated_between_stores_whatever_the_worker_is_doing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = Log::open(folder.path(), mapped().segment_bytes(1 << 20)).expect("the log opens");
    let mut next = 0;
    for round in 0..60 {
        for _ in 0..150 * (round % 5) + 40 {
            log.append(&[Record::value(&value(next))]).expect("there is room");
            next += 1;
        }
        next -= 17;
        log.truncate_to(Offset::new(next)).expect("a healthy disk");
    }
    assert_holds(&log, next);
    log.close().expect("a healthy disk");
    assert_holds(&Log::open(folder.path(), mapped()).expect("the log opens"), next);
}

/// A record's value, of a length that is now far below a page, now larger than what is stored into a map.
fn value_of_any_size(number: u64) -> Vec<u8> {
    let length = match number % 41 {
        0 => 80_000,
        rest if rest % 4 == 0 => 3_000,
        rest => 30 + 7 * rest,
    };
    let mut value = format!("{number:020}").into_bytes();
    value.resize(usize::try_from(length).expect("small"), b'a' + u8::try_from(number % 26).expect("a letter"));
    value
}

// Zeros are written to windows while appends that found none go to the same part of the file by calls.
#[test]
fn no_append_is_lost_under_the_zeros_of_a_window_in_the_making() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = Log::open(folder.path(), mapped().segment_bytes(16 << 20)).expect("the log opens");
    let count = 40_000;
    for number in 0..count {
        log.append(&[Record::value(&value_of_any_size(number))]).expect("there is room");
    }
    is_mapped(&log);
    let holds = |log: &Log| {
        assert_eq!(log.log_end_offset(), Offset::new(count));
        for (number, record) in (0..count).zip(log.records(..).expect("the whole log")) {
            let record = record.expect("a sound record");
            assert!(record.value() == Some(&value_of_any_size(number)[..]), "record {number}");
        }
    };
    holds(&log);
    log.close().expect("a healthy disk");
    holds(&Log::open(folder.path(), mapped()).expect("the log opens"));
}

// Story: batches of several records took one clock and single records another, which is some milliseconds behind.
#[test]
fn times_of_appends_that_follow_each_other_do_not_go_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = Log::open(folder.path(), mapped()).expect("the log opens");
    let records = [Record::value("a"), Record::value("b")];
    let begin = Instant::now();
    let mut last = None;
    for records in [&records[..1], &records[..]].into_iter().cycle().take_while(|_| begin.elapsed().as_millis() < 300) {
        let appended = log.append(records).expect("there is room");
        assert!(appended.timestamp() >= last, "{:?} after {last:?}", appended.timestamp());
        last = appended.timestamp();
    }
}
