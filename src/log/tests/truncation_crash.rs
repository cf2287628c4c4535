//! Truncation on a disk that fails: the power goes at each call, calls fail, room runs out, and readers, appenders and
//! syncs race with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::bench::{append, at, disk, fill, in_each_mode, number, opened, small, upto, values};
use super::truncation::{fill_threes, threes};
use crate::config::{LogConfig, Worker};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk};
use crate::log::{AppendOptions, Log};
use crate::record::{Compression, Record};

/// Crash states looked at where there are more.
const MOST_IMAGES: usize = 40;
/// More attempts than files that may each report a failure of their own.
const ATTEMPTS: usize = 12;
/// Between two syncs of a thread, so that the others get their turn on a busy machine.
const PAUSE: Duration = Duration::from_micros(200);

/// What is done to the log.
#[derive(Clone, Copy, Debug)]
enum Cut {
    To(u64),
    ToBatch(u64),
    Reset(u64),
}

impl Cut {
    fn perform(self, log: &Log) -> Result<()> {
        match self {
            Cut::To(end) => log.truncate_to(at(end)),
            Cut::ToBatch(end) => log.truncate_to_batch(at(end)).map(drop),
            Cut::Reset(start) => log.reset_to(at(start)),
        }
    }

    /// The records that stay, of those below `end`.
    fn kept(self, end: u64) -> Vec<u64> {
        match self {
            Cut::To(cut) => upto(cut),
            Cut::ToBatch(cut) if cut >= end => upto(end),
            Cut::ToBatch(cut) => upto(cut / 3 * 3),
            Cut::Reset(_) => Vec::new(),
        }
    }
}

const END: u64 = 14;

fn cuts() -> impl Iterator<Item = Cut> {
    let ends = [0, 3, 5, 6, 8, 13];
    let resets = [0, 6, 100].map(Cut::Reset);
    ends.into_iter().map(Cut::To).chain([4, 9].map(Cut::ToBatch)).chain(resets)
}

fn configs() -> [LogConfig; 3] {
    in_each_mode(&threes(Compression::None))
}

/// A log of 14 records in five batches and three segments; `synced` of them are durable.
fn prepared(config: &LogConfig, synced: u64) -> (SimDisk, Log) {
    let disk = disk();
    let log = opened(&disk, config.clone());
    fill_threes(&log, synced);
    log.sync().expect("a healthy disk");
    fill_threes(&log, END);
    (disk, log)
}

/// What a log may hold after a crash in a truncation: what was durable below the cut at least; above it a prefix of what
/// there was.
fn check(disk: &SimDisk, config: &LogConfig, cut: Cut, synced: u64, done: bool, case: &str) {
    let log = opened(disk, config.clone());
    let report = log.recovery_report();
    assert!(report.damage.is_empty(), "{case}: {report:?}");
    let found = values(&log);
    let kept = cut.kept(END);
    if done {
        assert_eq!(found, kept, "{case}");
        if let Cut::Reset(start) = cut {
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (at(start), at(start)), "{case}");
        }
    } else {
        let durable = kept.len().min(usize::try_from(synced).expect("few"));
        assert!(upto(END).starts_with(&found) && found.len() >= durable, "{case}: {found:?}");
    }
    // It goes on, and nothing of what was cut off ever comes back (rule 10).
    let end = log.log_end_offset();
    assert_eq!(append(&log, 777).expect("there is room").base_offset(), end, "{case}");
    log.sync().expect("a healthy disk");
    let again = disk.image(CrashStrength::Strict, |_, _| 0);
    let log = opened(&again, config.clone());
    assert_eq!(values(&log), [found, vec![777]].concat(), "{case}");
    assert!(super::bench::names(&again).iter().all(|name| !name.ends_with(".truncating")), "{case}");
}

// Rows 280, 283.
#[test]
fn whenever_the_power_goes_in_a_truncation_the_log_is_between_before_and_after() {
    for config in configs() {
        for synced in [6, END] {
            for cut in cuts() {
                for calls in 0.. {
                    let (disk, log) = prepared(&config, synced);
                    disk.power_off_after(calls);
                    let done = cut.perform(&log).is_ok();
                    let case = format!("{cut:?}, {synced} synced, {calls} calls, {:?}", config.write_mode);
                    for strength in [CrashStrength::Strict, CrashStrength::Ordered] {
                        for image in disk.every_image(strength).take(MOST_IMAGES) {
                            check(&image, &config, cut, synced, done, &format!("{case}, {strength:?}"));
                        }
                        let all = disk.image(strength, |_, options| options - 1);
                        check(&all, &config, cut, synced, done, &format!("{case}, {strength:?}, all"));
                    }
                    let killed = disk.image(CrashStrength::Kill, |_, _| 0);
                    check(&killed, &config, cut, END, done, &format!("{case}, killed"));
                    if done {
                        break;
                    }
                }
            }
        }
    }
}

// A log that began inside a batch or a segment could be neither begun anew nor cut within that batch: the state that is
// written on the way said that it ends before it begins, and was refused by its own assertion.
// Rows 280, 283.
#[test]
fn a_log_that_begins_inside_a_batch_is_cut_and_begun_anew_and_a_crash_brings_nothing_back_below() {
    const START: u64 = 4;
    for config in configs() {
        for cut in [Cut::To(4), Cut::To(5), Cut::To(8), Cut::Reset(0), Cut::Reset(4), Cut::Reset(5), Cut::Reset(100)] {
            for calls in 0.. {
                let (disk, log) = prepared(&config, END);
                log.delete_records_before(at(START)).expect("a healthy disk");
                log.sync().expect("a healthy disk");
                disk.power_off_after(calls);
                let done = cut.perform(&log).is_ok();
                let case = format!("{cut:?}, {calls} calls, {:?}", config.write_mode);
                for image in disk.every_image(CrashStrength::Strict).take(MOST_IMAGES) {
                    let log = opened(&image, config.clone());
                    let found = values(&log);
                    let kept: Vec<u64> = cut.kept(END).into_iter().filter(|&value| value >= START).collect();
                    let before = (START..END).collect::<Vec<u64>>();
                    assert!(before.starts_with(&found) && found.starts_with(&kept), "{case}: {found:?}");
                    assert!(!done || found == kept, "{case}: {found:?}");
                    let begins_anew =
                        if let Cut::Reset(start) = cut { log.log_start_offset() == at(start) } else { false };
                    assert!(log.log_start_offset() == at(START) || begins_anew, "{case}: {}", log.log_start_offset());
                    let end = log.log_end_offset();
                    assert_eq!(append(&log, 777).expect("there is room").base_offset(), end, "{case}");
                }
                if done {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_call_that_fails_in_a_truncation_leaves_the_log_as_it_was_or_to_be_reopened() {
    let kinds = [FaultKind::InputOutput, FaultKind::NoSpace, FaultKind::TooManyOpen];
    for config in configs() {
        for cut in cuts().step_by(2) {
            for (call, kind) in CallKind::ALL.into_iter().flat_map(|call| kinds.map(|kind| (call, kind))) {
                for (nth, sticky) in (1..).flat_map(|nth| [(nth, false), (nth, true)]) {
                    let (disk, log) = prepared(&config, 6);
                    disk.reset_counters();
                    disk.fail(if sticky { Fault::from(call, nth, kind) } else { Fault::once(call, nth, kind) });
                    let outcome = cut.perform(&log);
                    if disk.calls(call) < nth {
                        break;
                    }
                    disk.heal();
                    let case = format!("{cut:?}, {call:?} number {nth}, {kind:?}, sticky {sticky}");
                    judge_failure(&disk, &log, &config, cut, outcome, &case);
                }
            }
        }
    }
}

fn judge_failure(disk: &SimDisk, log: &Log, config: &LogConfig, cut: Cut, outcome: Result<()>, case: &str) {
    match outcome {
        Ok(()) => check(&disk.image(CrashStrength::Strict, |_, _| 0), config, cut, END, true, case),
        Err(error) if error.kind() == ErrorKind::Retry => {
            assert!(!log.stats().failed, "{case}: {error}");
            assert_eq!(values(log), upto(END), "{case}: {error}");
            cut.perform(log).unwrap_or_else(|error| panic!("{case}: again: {error}"));
            assert_eq!(values(log), cut.kept(END), "{case}");
        }
        Err(error) => {
            assert!(matches!(error, Error::Failed { .. }) && log.stats().failed, "{case}: {error}");
            check(&disk.image(CrashStrength::Strict, |_, _| 0), config, cut, 6, false, case);
            let reopened = (0..ATTEMPTS).any(|_| log.reopen().is_ok());
            assert!(reopened, "{case}: never reopens");
            let found = values(log);
            assert!(upto(END).starts_with(&found), "{case}: {found:?}");
            append(log, 777).unwrap_or_else(|error| panic!("{case}: {error}"));
        }
    }
}

#[test]
fn a_full_disk_is_truncated_in_place_and_a_copy_without_room_leaves_the_log_as_it_was() {
    let disk = disk();
    let log = opened(&disk, small().segment_bytes(1 << 20));
    fill(&log, 0..9);
    disk.set_free_space(0);
    log.truncate_to(at(6)).expect("no room is needed");
    assert_eq!(values(&log), upto(6));
    let slice = log.read(at(0), u64::MAX).expect("in the log");
    disk.set_free_space(0);
    let error = log.truncate_to(at(3)).expect_err("no room for the copy");
    assert!(matches!(error, Error::StorageFull { .. }), "{error}");
    assert_eq!((values(&log), slice.records().count()), (upto(6), 6));
    disk.set_free_space(1 << 20);
    log.truncate_to(at(3)).expect("there is room");
    assert_eq!((values(&log), slice.records().count()), (upto(3), 6));
}

/// Writers, a truncating thread and readers at once. Each value says its offset and how often the log was cut before
/// it, which never falls along the log.
#[test]
fn readers_never_see_two_lives_of_a_log_mixed() {
    let disk = disk();
    let config = small().segment_bytes(2000).worker(Worker::Thread);
    let log = opened(&disk, config.clone());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    read_in_order(&log);
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                match log.sync() {
                    Ok(end) => assert!(end >= log.log_start_offset()),
                    Err(error) => panic!("{error}"),
                }
                std::thread::sleep(PAUSE);
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let outcome = log.append_with(&AppendOptions::default().sync(true), &[Record::value("00")]);
                assert!(matches!(outcome, Ok(_) | Err(Error::Truncated { .. })), "{outcome:?}");
                std::thread::sleep(PAUSE);
            }
        });
        for life in 1..150_u64 {
            let value = format!("{life:040}");
            for _ in 0..20 {
                log.append(&[Record::value(&value), Record::value(&value)]).expect("there is room");
            }
            let end = log.log_end_offset().value();
            log.truncate_to(at(end - (life * 7 % 37).min(end))).expect("a healthy disk");
        }
        done.store(true, Ordering::Release);
    });
    let end = log.log_end_offset();
    assert_eq!(log.sync().expect("a healthy disk"), end);
    log.close().expect("a healthy disk");
    assert_eq!(opened(&disk, config).log_end_offset(), end);
}

/// One walk: offsets follow each other, and lives never fall, but for the other appender's records, which say nothing.
fn read_in_order(log: &Log) {
    let (mut next, mut life) = (None, 0);
    let Ok(records) = log.records(..) else { return };
    for record in records {
        match record {
            Ok(record) => {
                assert!(next.is_none_or(|next| record.offset() == next), "{next:?}, then {}", record.offset());
                next = Some(record.offset() + 1);
                let value = number(record.value());
                assert!(value == 0 || value >= life, "life {value} behind {life}");
                life = life.max(value);
            }
            Err(Error::Truncated { .. } | Error::OffsetOutOfRange { .. }) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_reopening_that_cuts_what_readers_were_shown_leaves_them_the_old_file() {
    let disk = disk();
    let log = opened(&disk, small().segment_bytes(1 << 20));
    fill(&log, 0..1);
    log.sync().expect("a healthy disk");
    fill(&log, 1..4);
    let slice = log.read(at(0), u64::MAX).expect("in the log");
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput).on(".log"));
    log.sync().expect_err("it fails");
    // The third batch never reached the disk, and is read anew from there.
    disk.flip_bit(super::bench::log_path(0), 2 * 110 + 80, 1);
    log.reopen().expect("a healthy disk");
    assert_eq!(values(&log), upto(2));
    fill(&log, 20..24);
    let seen: Vec<_> = slice.records().map(|record| record.map(|record| number(record.value()))).collect();
    assert!(matches!(seen[..], [Ok(0), Ok(1), Err(Error::Corrupt { .. })]), "{seen:?}");
    assert_eq!(values(&log), [0, 1, 20, 21, 22, 23]);
}

// Story: a batch that went whole reached below the log start, which was lowered before the batch was cut off: after a
// power cut in between, records were back that had been deleted in front of the log.
#[test]
fn a_truncation_that_takes_the_log_start_along_brings_no_deleted_record_back() {
    let config = threes(Compression::None);
    for calls in 0.. {
        let (disk, log) = prepared(&config, END);
        log.delete_records_before(at(7)).expect("in the log");
        log.sync().expect("a healthy disk");
        disk.power_off_after(calls);
        let done = log.truncate_to_batch(at(8)).is_ok();
        for strength in [CrashStrength::Strict, CrashStrength::Ordered, CrashStrength::Kill] {
            for image in disk.every_image(strength).take(MOST_IMAGES) {
                let log = opened(&image, config.clone());
                let found = values(&log);
                assert!(found.iter().all(|value| *value >= 7), "{calls} calls, {strength:?}: {found:?}");
                assert!(!done || log.log_end_offset() == at(6), "{calls} calls, {strength:?}");
            }
        }
        if done {
            return;
        }
    }
}
