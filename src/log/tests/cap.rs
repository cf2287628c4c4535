//! A log that must not grow past `max_bytes`.

use std::time::Duration;

use super::bench::{DIR, append, at, disk, fill, opened, small, values};
use crate::config::{LogConfig, SyncPolicy, WhenFull, Worker, WriteMode};
use crate::error::{Error, ErrorKind};
use crate::fs::Env;
use crate::fs::sim::{CallKind, Fault, FaultKind, SimDisk};
use crate::record::Record;

const CAP: u64 = 1300;

fn capped(when_full: WhenFull) -> LogConfig {
    small().max_bytes(CAP, when_full)
}

/// Bytes of every `.log`, deleted ones included, and room that was allocated.
fn log_bytes(disk: &SimDisk) -> u64 {
    let names = super::bench::names(disk).into_iter().filter(|name| name.contains(".log"));
    // A file may be gone since it was listed.
    let sizes = names.map(|name| disk.read_file(std::path::Path::new(DIR).join(name)).map_or(0, |file| file.len()));
    sizes.map(|size| u64::try_from(size).expect("small")).sum()
}

/// `Mapped` is not for appends that wait for their sync.
const MODES: [(WriteMode, SyncPolicy); 5] = [
    (WriteMode::Write, SyncPolicy::Never),
    (WriteMode::Write, SyncPolicy::Always),
    (WriteMode::Preallocated, SyncPolicy::Never),
    (WriteMode::Preallocated, SyncPolicy::Always),
    (WriteMode::Mapped, SyncPolicy::Never),
];

#[test]
fn dropping_the_oldest_goes_on_for_ever_below_the_limit() {
    for (mode, policy) in MODES {
        let disk = disk();
        let config = capped(WhenFull::DropOldest).write_mode(mode).windows_at_once(1).sync_policy(policy);
        let log = opened(&disk, config.clone());
        for value in 0..200 {
            append(&log, value).unwrap_or_else(|error| panic!("{mode:?} {policy:?} {value}: {error}"));
            assert!(log_bytes(&disk) <= CAP, "{mode:?} {policy:?} {value}: {}", log_bytes(&disk));
        }
        let kept = values(&log);
        assert_eq!(kept, (log.log_start_offset().value()..200).collect::<Vec<_>>());
        assert!(kept.len() >= 7, "no more goes than must: {kept:?}");
        log.close().expect("a healthy disk");
        assert_eq!(values(&opened(&disk, config)), kept);
    }
}

// Story: the active segment kept the limit that it had, and grew without room until the next roll.
#[test]
fn room_is_allocated_ahead_again_once_the_limit_is_taken_away() {
    let disk = disk();
    let log = opened(&disk, capped(WhenFull::Reject).segment_bytes(325).write_mode(WriteMode::Preallocated));
    let rejected = (0..100).find(|&value| append(&log, value).is_err()).expect("the log is full");
    log.update_config(|config| config.max_bytes(None, WhenFull::Reject).segment_bytes(600))
        .expect("a sound configuration");
    append(&log, rejected).expect("there is no limit");
    let active = log.segments().expect("segments").pop().expect("one");
    let file = disk.read_file(super::bench::log_path(active.base_offset.value())).expect("a file");
    assert!(file.len() as u64 > active.size_bytes, "{} bytes of {}", active.size_bytes, file.len());
}

#[test]
fn an_append_that_is_rejected_changes_nothing_and_goes_on_once_there_is_room() {
    for mode in [WriteMode::Write, WriteMode::Preallocated, WriteMode::Mapped] {
        let disk = disk();
        let log = opened(&disk, capped(WhenFull::Reject).write_mode(mode).windows_at_once(1));
        let mut next = 0;
        let error = loop {
            match append(&log, next) {
                Ok(_) => next += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::LogFull { limit_bytes: CAP, size_bytes: 108 }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Retry);
        assert_eq!((values(&log), log.log_end_offset(), next), ((0..next).collect(), at(next), 12));
        assert!(log_bytes(&disk) <= CAP);
        assert!(matches!(append(&log, next), Err(Error::LogFull { .. })));
        log.delete_records_before(at(3)).expect("in the log");
        append(&log, next).expect("files that wait for their removal do not stand in the way");
        assert!(log_bytes(&disk) <= CAP);
        assert_eq!(values(&log), (3..=next).collect::<Vec<_>>());
    }
}

#[test]
fn a_limit_can_be_set_lowered_and_taken_away_while_the_log_is_open() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..40);
    log.update_config(|config| config.max_bytes(CAP, WhenFull::Reject)).expect("a sound value");
    assert!(matches!(append(&log, 40), Err(Error::LogFull { .. })));
    log.update_config(|config| config.max_bytes(CAP, WhenFull::DropOldest)).expect("a sound value");
    append(&log, 40).expect("the oldest go");
    assert!(log_bytes(&disk) <= CAP);
    log.update_config(|config| config.max_bytes(None, WhenFull::Reject)).expect("a sound value");
    fill(&log, 41..80);
    let refused = log.update_config(|config| config.max_bytes(1199, WhenFull::Reject));
    assert!(matches!(refused, Err(Error::InvalidConfig { name: "max_bytes", .. })), "{refused:?}");
    log.update_config(|config| config.max_bytes(CAP, WhenFull::DropOldest)).expect("a sound value");
    log.delete_old_segments(Env::sim(&disk).wall_clock()).expect("a healthy disk");
    assert!(log_bytes(&disk) <= CAP, "a look does it as well");
    assert_eq!(values(&log).last(), Some(&79));
}

// A device's cap was lowered below what the active segment had grown to under the old one: no segment could be dropped,
// so every append was refused, for ever.
#[test]
fn an_active_segment_larger_than_a_lowered_limit_goes_as_well() {
    for (mode, policy) in MODES {
        for is_reopened in [true, false] {
            let disk = disk();
            let small = || small().windows_at_once(1).write_mode(mode).sync_policy(policy);
            let large = small().segment_bytes(1 << 20);
            let log = opened(&disk, large);
            fill(&log, 0..40);
            let lower = |config: LogConfig| config.segment_bytes(300).max_bytes(CAP, WhenFull::DropOldest);
            let log = if is_reopened {
                log.close().expect("a healthy disk");
                opened(&disk, lower(small()))
            } else {
                log.update_config(lower).expect("sound values");
                log
            };
            for value in 40..80 {
                append(&log, value).unwrap_or_else(|error| panic!("{mode:?} {policy:?} {is_reopened}: {error}"));
                assert!(log_bytes(&disk) <= CAP, "{mode:?} {policy:?} {is_reopened}: {}", log_bytes(&disk));
            }
            assert_eq!(values(&log), (log.log_start_offset().value()..80).collect::<Vec<_>>());
        }
    }
}

#[test]
fn an_active_segment_that_is_too_large_stays_while_it_reaches_above_the_high_watermark() {
    let disk = disk();
    let log = opened(&disk, small().segment_bytes(1 << 20));
    fill(&log, 0..40);
    log.set_high_watermark(at(39)).expect("in the log");
    log.update_config(|config| config.segment_bytes(300).max_bytes(CAP, WhenFull::DropOldest)).expect("sound values");
    assert!(matches!(append(&log, 40), Err(Error::LogFull { .. })));
    assert_eq!(super::bench::bases(&log), [0], "nothing is begun that would not help");
    log.set_high_watermark(at(40)).expect("in the log");
    append(&log, 40).expect("it may go");
    assert_eq!(values(&log), [40]);
}

#[test]
fn a_batch_as_large_as_a_segment_always_finds_room() {
    let disk = disk();
    let log = opened(&disk, small().segment_bytes(300).max_bytes(1200, WhenFull::DropOldest));
    for round in 0..30 {
        let value = "x".repeat(if round % 3 == 0 { 229 } else { 1 + round });
        log.append(&[Record::value(&value)]).unwrap_or_else(|error| panic!("{round}: {error}"));
        assert!(log_bytes(&disk) <= 1200);
    }
}

#[test]
fn the_slowest_cursor_does_not_hold_the_limit_back() {
    let disk = disk();
    let log = opened(&disk, capped(WhenFull::DropOldest).retention_keeps_cursors(true));
    log.cursor("slow").and_then(|slow| slow.commit(at(0))).expect("a new cursor");
    fill(&log, 0..40);
    assert!(log.log_start_offset() > at(20));
}

#[test]
fn what_was_read_before_it_was_dropped_stays_readable() {
    let disk = disk();
    let log = opened(&disk, capped(WhenFull::DropOldest));
    fill(&log, 0..2);
    let slice = log.read(at(0), 1 << 20).expect("in the log");
    fill(&log, 2..40);
    assert_eq!(slice.records().filter(Result::is_ok).count(), 2);
}

#[test]
fn a_segment_that_cannot_be_removed_makes_the_append_fail_and_not_the_log() {
    let disk = disk();
    let log = opened(&disk, capped(WhenFull::DropOldest));
    fill(&log, 0..10);
    disk.fail(Fault::from(CallKind::RemoveFile, 1, FaultKind::InputOutput).on("00000000000000000000.log"));
    let mut next = 10;
    let error = loop {
        match append(&log, next) {
            Ok(_) => next += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(log_bytes(&disk) <= CAP);
    disk.heal();
    append(&log, next).expect("the disk is well again");
    assert_eq!(values(&log).last(), Some(&next));
}

#[test]
fn threads_that_append_to_a_full_log_all_get_through() {
    let disk = disk();
    let log = opened(&disk, capped(WhenFull::DropOldest).worker(Worker::Thread));
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let log = log.clone();
            scope.spawn(move || fill(&log, thread * 1000..thread * 1000 + 100));
        }
        let (reader, disk) = (log.reader(), &disk);
        scope.spawn(move || {
            while reader.log_end_offset() < at(400) {
                for record in reader.records(..).into_iter().flatten() {
                    assert!(!matches!(record, Err(Error::Corrupt { .. })), "{record:?}");
                }
                // Sizes are looked at one after the other: what was added up while the log moved is the size of no moment.
                let bounds = || (reader.log_start_offset(), reader.log_end_offset());
                let before = bounds();
                let bytes = log_bytes(disk);
                let between_two_names = 300;
                assert!(before != bounds() || bytes <= CAP + between_two_names, "{bytes} bytes");
                std::thread::yield_now();
            }
        });
    });
    assert_eq!(log.log_end_offset(), at(400));
    let kept = u64::try_from(values(&log).len()).expect("few");
    assert_eq!(kept, 400 - log.log_start_offset().value());
}

#[test]
fn a_small_disk_is_never_outgrown_by_all_files_together() {
    let disk = disk();
    let cap = 256 << 10;
    let log = opened(&disk, LogConfig::small_disk(cap).worker(Worker::Caller));
    let value = "x".repeat(700);
    for _ in 0..1000 {
        log.append(&[Record::value(&value)]).expect("the oldest go");
        disk.advance(Duration::from_millis(100));
    }
    let names = super::bench::names(&disk).into_iter();
    let all: usize =
        names.map(|name| disk.read_file(std::path::Path::new(DIR).join(name)).map_or(0, |file| file.len())).sum();
    assert!(u64::try_from(all).expect("small") <= cap, "{all}");
}
