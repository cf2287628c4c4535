//! Deletions that are cut short: by a power cut or the end of the process after any call, and by any call that fails.
//!
//! After each, what is left is the end of the log, whole: it begins no earlier than was promised, it ends no earlier
//! than was synced, and nothing in between is missing.

use std::time::Duration;

use super::bench::{append, at, bases, disk, fill, names, open, opened, path, small, upto, values};
use crate::config::{LogConfig, SyncPolicy, WhenFull, WriteMode};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Env;
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk};
use crate::log::{Log, Trust};
use crate::names::SegmentFile;
use crate::offset::Offset;

/// Crash states that are looked at of those that a moment can leave.
const IMAGES: usize = 8;

/// What the script was told.
#[derive(Debug, Default)]
struct Told {
    /// Values 0.. of which each is the record at its offset; those of a failed append may be there or not.
    handed_in: u64,
    durable: u64,
    /// Where the log begins at least, also after a power cut.
    start: u64,
    /// Where it begins at most: nobody asked for more.
    start_at_most: u64,
}

impl Told {
    fn note<T>(outcome: Result<T>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Retry | ErrorKind::Reopen), "{error}");
                None
            }
        }
    }

    fn append(&mut self, log: &Log, count: u64) {
        for _ in 0..count {
            // A failed append may be there after a crash, so that nothing is appended behind it.
            if log.log_end_offset() != at(self.handed_in) {
                return;
            }
            let appended = append(log, self.handed_in);
            let unchanged = matches!(&appended, Err(error) if error.kind() == ErrorKind::Retry);
            self.handed_in += u64::from(!unchanged);
            Told::note(appended);
        }
    }

    fn see(&mut self, log: &Log) {
        self.durable = self.durable.max(log.synced_offset().value());
    }

    fn begins(&mut self, log: &Log, promised: bool) {
        let start = log.log_start_offset().value();
        if promised {
            self.start = self.start.max(start);
        }
        self.start_at_most = self.start_at_most.max(start);
    }
}

#[derive(Clone, Copy, Debug)]
enum Script {
    /// Into a segment, past some, to the end.
    Request,
    /// By size; then everything by time.
    Look,
    /// By appends to a log that is full.
    Limit,
}

fn config(script: Script, delay_ms: u64) -> LogConfig {
    let config = small().file_delete_delay_ms(delay_ms);
    match script {
        Script::Request => config,
        Script::Look => config.retention_bytes(300).retention_ms(1000),
        Script::Limit => config.max_bytes(1200, WhenFull::DropOldest),
    }
}

/// A closed log of seven records; from then on the disk is disturbed.
fn run(disk: &SimDisk, script: Script, config: &LogConfig, disturb: impl FnOnce(&SimDisk)) -> Told {
    let log = opened(disk, config.clone());
    fill(&log, 0..7);
    log.close().expect("a healthy disk");
    drop(log);
    let mut told = Told { handed_in: 7, durable: 7, ..Told::default() };
    told.begins(&opened(&disk.image(CrashStrength::Kill, |_, _| 0), small()), true);
    disturb(disk);
    let Some(log) = Told::note(open(disk, config.clone())) else { return told };
    told.see(&log);
    match script {
        Script::Request => request(&mut told, &log),
        Script::Look => look(&mut told, disk, &log),
        Script::Limit => {
            for _ in 0..12 {
                // What goes is decided inside.
                told.start_at_most = told.handed_in;
                told.append(&log, 1);
                told.see(&log);
                if !log.stats().failed {
                    told.begins(&log, true);
                }
            }
        }
    }
    told.append(&log, 2);
    disk.advance(Duration::from_secs(60));
    if matches!(script, Script::Look) {
        // Time enough for another look.
        told.start_at_most = told.handed_in;
    }
    Told::note(log.run_once(Env::sim(disk).wall_clock()));
    if Told::note(log.sync()).is_some() {
        told.see(&log);
        told.begins(&log, true);
    }
    Told::note(log.close());
    told
}

fn request(told: &mut Told, log: &Log) {
    for start in [1, 5, 7] {
        if at(start) > log.log_end_offset() {
            return;
        }
        told.start_at_most = start;
        let before = log.segments().map_or(0, |segments| segments.len());
        let deleted = Told::note(log.delete_records_before(at(start)));
        told.see(log);
        let fewer = log.segments().is_ok_and(|segments| segments.len() < before);
        told.begins(log, deleted.is_some() && fewer);
    }
}

fn look(told: &mut Told, disk: &SimDisk, log: &Log) {
    for _ in 0..2 {
        told.start_at_most = log.log_end_offset().value();
        let looked = Told::note(log.delete_old_segments(Env::sim(disk).wall_clock()));
        told.see(log);
        told.begins(log, looked.is_some());
        disk.advance(Duration::from_secs(600));
    }
}

/// The log that must come out.
fn check(disk: &SimDisk, config: &LogConfig, told: &Told, case: &str) {
    disk.heal();
    // Opened so that nothing goes by itself.
    let keep = small().write_mode(config.write_mode).windows_at_once(1);
    let log = open(disk, keep.clone()).unwrap_or_else(|error| panic!("{case}: {error}"));
    let (start, end) = (log.log_start_offset().value(), log.log_end_offset().value());
    assert!(told.start <= start && start <= told.start_at_most, "{case}: begins at {start}, {told:?}");
    assert!(told.durable <= end && end <= told.handed_in.max(start), "{case}: ends at {end}, {told:?}");
    assert_eq!(values(&log), (start..end).collect::<Vec<_>>(), "{case}: {told:?}");
    let report = log.recovery_report();
    assert!(report.damage.is_empty(), "{case}: {report:?}");
    assert!(report.trust != Trust::Foreign, "{case}: {report:?}");
    let bases = bases(&log);
    assert!(bases.len() < 2 || bases[1] > start, "{case}: segments below {start}: {bases:?}");
    let stray = |name: &String| name.ends_with(".deleted") || !is_of_one_of(name, &bases);
    assert!(!names(disk).iter().any(stray), "{case}: {:?}", names(disk));
    append(&log, end).unwrap_or_else(|error| panic!("{case}: {error}"));
    log.close().unwrap_or_else(|error| panic!("{case}: {error}"));
    let log = opened(disk, keep);
    assert_eq!((log.log_start_offset(), log.recovery_report().trust), (at(start), Trust::Clean), "{case}");
    assert_eq!(values(&log), (start..=end).collect::<Vec<_>>(), "{case}");
}

fn is_of_one_of(name: &str, bases: &[u64]) -> bool {
    let number = name.split('.').next().and_then(|digits| digits.parse::<u64>().ok());
    number.is_none_or(|base| bases.contains(&base) || name.contains(".torn"))
}

fn every_script() -> impl Iterator<Item = (Script, LogConfig)> {
    [Script::Request, Script::Look, Script::Limit].into_iter().flat_map(|script| {
        let synced = config(script, 0).sync_policy(SyncPolicy::Always).write_mode(WriteMode::Preallocated);
        let mapped = config(script, 0).write_mode(WriteMode::Mapped).windows_at_once(1);
        [config(script, 60_000), synced, mapped].map(|config| (script, config))
    })
}

#[test]
fn a_crash_after_any_call_of_a_deletion_leaves_the_end_of_the_log() {
    let mut states = 0;
    for (script, config) in every_script() {
        for calls in 0.. {
            let disk = disk();
            let told = run(&disk, script, &config, |disk| disk.power_off_after(calls));
            let was_cut = disk.is_off();
            for strength in [CrashStrength::Kill, CrashStrength::Ordered, CrashStrength::Strict] {
                let case = format!("{script:?}, {:?}, {strength:?} after {calls} calls", config.sync_policy);
                if strength == CrashStrength::Kill {
                    check(&disk.image(strength, |_, _| 0), &config, &told, &case);
                    states += 1;
                    continue;
                }
                check(&disk.image(strength, |_, options| options - 1), &config, &told, &format!("{case}, all"));
                for (number, image) in disk.every_image(strength).take(IMAGES).enumerate() {
                    check(&image, &config, &told, &format!("{case}, image {number}"));
                    states += 1;
                }
                for number in 0..4 {
                    check(&disk.crash(strength), &config, &told, &format!("{case}, by chance {number}"));
                    states += 1;
                }
            }
            if !was_cut {
                break;
            }
        }
    }
    println!("{states} crash states");
}

#[test]
fn no_failing_call_of_a_deletion_loses_a_record_or_brings_one_back() {
    let kinds = [FaultKind::InputOutput, FaultKind::NoSpace];
    for (script, config) in every_script() {
        for call in CallKind::ALL {
            for (kind, sticky) in kinds.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
                for nth in 1.. {
                    let case =
                        format!("{script:?}, {:?}, {call:?} number {nth}, {kind:?}, {sticky}", config.sync_policy);
                    let disk = disk();
                    let mut told = run(&disk, script, &config, |disk| {
                        disk.reset_counters();
                        disk.fail(if sticky { Fault::from(call, nth, kind) } else { Fault::once(call, nth, kind) });
                    });
                    if disk.calls(call) < nth {
                        break;
                    }
                    // What was synced before the failure is what a power cut must leave.
                    let cut = disk.image(CrashStrength::Strict, |_, _| 0);
                    check_after_fault(&cut, &config, &told, &format!("{case}, power cut"));
                    told.start_at_most = told.start_at_most.max(told.handed_in);
                    check_after_fault(&disk.crash(CrashStrength::Kill), &config, &told, &format!("{case}, killed"));
                }
            }
        }
    }
}

/// As [`check`], but an open state file, and what it says, may be lost to the fault.
fn check_after_fault(disk: &SimDisk, config: &LogConfig, told: &Told, case: &str) {
    disk.heal();
    let keep = small().write_mode(config.write_mode).windows_at_once(1);
    let log = (0..3).find_map(|_| open(disk, keep.clone()).ok()).unwrap_or_else(|| panic!("{case}: never opens"));
    let (start, end) = (log.log_start_offset().value(), log.log_end_offset().value());
    assert!(told.start <= start && start <= told.start_at_most.max(told.durable), "{case}: from {start}, {told:?}");
    assert!(told.durable <= end, "{case}: ends at {end}, {told:?}");
    assert_eq!(values(&log), (start..end).collect::<Vec<_>>(), "{case}: {told:?}");
    append(&log, end).unwrap_or_else(|error| panic!("{case}: {error}"));
    log.close().unwrap_or_else(|error| panic!("{case}: {error}"));
}

// The opening that removes what came back can be interrupted, too.
#[test]
fn deleted_segments_that_came_back_are_removed_by_any_number_of_interrupted_openings() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..9);
    log.sync().expect("a healthy disk");
    log.delete_records_before(at(7)).expect("in the log");
    // No rename is durable.
    let came_back = disk.image(CrashStrength::Strict, |_, _| 0);
    assert!(came_back.read_file(path(0, SegmentFile::Log)).is_some());
    for calls in 0.. {
        let disk = came_back.image(CrashStrength::Kill, |_, _| 0);
        disk.power_off_after(calls);
        let outcome = open(&disk, small());
        let was_cut = disk.is_off();
        for image in disk.every_image(CrashStrength::Strict).take(64) {
            let log = opened(&image, small());
            assert_eq!((bases(&log), values(&log)), (vec![6, 8], vec![7, 8]));
        }
        drop(outcome);
        if !was_cut {
            break;
        }
    }
}

// The empty file of a failed roll lies inside the segment before it, and says nothing about where that one ends.
#[test]
fn a_segment_with_the_file_of_a_failed_roll_inside_it_is_not_taken_for_deleted() {
    let disk = disk();
    let log = opened(&disk, small().segment_bytes(1000));
    fill(&log, 0..7);
    log.sync().expect("a healthy disk");
    log.delete_records_before(at(4)).expect("in the log");
    log.sync().expect("a healthy disk");
    disk.write_file(path(3, SegmentFile::Log), Vec::new());
    let log = opened(&disk.crash(CrashStrength::Kill), small());
    assert_eq!((log.log_start_offset(), values(&log)), (at(4), vec![4, 5, 6]));
}

#[test]
fn a_deletion_of_everything_that_was_never_synced_leaves_no_hole() {
    for strength in [CrashStrength::Strict, CrashStrength::Ordered, CrashStrength::Kill] {
        let disk = disk();
        let log = opened(&disk, small());
        fill(&log, 0..5);
        log.delete_records_before(at(5)).expect("in the log");
        assert!(log.synced_offset() >= log.log_start_offset());
        for image in disk.every_image(strength).take(512) {
            let log = opened(&image, small());
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (at(5), Offset::new(5)));
            assert!(log.recovery_report().damage.is_empty());
            append(&log, 5).expect("there is room");
        }
    }
}

#[test]
fn appends_reads_syncs_and_deletions_at_once_keep_the_log_whole() {
    let disk = disk();
    let log = opened(&disk, small().worker(crate::config::Worker::Thread).file_delete_delay_ms(0));
    let all = 400;
    std::thread::scope(|scope| {
        scope.spawn(|| fill(&log, 0..all));
        scope.spawn(|| {
            while log.log_end_offset() < at(all) {
                let start = Offset::new(log.log_end_offset().value().saturating_sub(7));
                log.delete_records_before(start).expect("in the log");
            }
        });
        scope.spawn(|| {
            while log.log_end_offset() < at(all) {
                log.sync().expect("a healthy disk");
                log.delete_old_segments(Env::sim(&disk).wall_clock()).expect("a healthy disk");
            }
        });
        scope.spawn(|| {
            while log.log_end_offset() < at(all) {
                let mut next = None;
                for record in log.records(..).into_iter().flatten() {
                    match record {
                        Ok(record) => {
                            let offset = record.offset().value();
                            assert!(next.is_none_or(|next| next == offset), "{next:?} is followed by {offset}");
                            assert_eq!(super::bench::number(record.value()), offset);
                            next = Some(offset + 1);
                        }
                        Err(error) => assert!(matches!(error, Error::OffsetOutOfRange { .. }), "{error}"),
                    }
                }
            }
        });
    });
    let start = log.log_start_offset().value();
    assert_eq!(values(&log), (start..400).collect::<Vec<_>>());
    let after = disk.image(CrashStrength::Kill, |_, _| 0);
    log.close().expect("a healthy disk");
    for disk in [after, disk] {
        assert_eq!(values(&opened(&disk, small())), (start..400).collect::<Vec<_>>());
    }
}

// Story: everything was deleted, and a crash brought the last segment's name back; its batch bore witness for the state,
// and was removed before it was asked: the second opening believed nothing, and read the log as a foreign one.
#[test]
fn a_log_without_records_is_believed_by_every_opening_after_a_crash() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..4);
    log.sync().expect("a healthy disk");
    assert_eq!(log.roll().expect("a healthy disk"), at(4));
    log.delete_records_before(at(4)).expect("in the log");
    let mut image = disk.image(CrashStrength::Strict, |_, _| 0);
    let mut open_logs = Vec::new();
    for opening in 0..3 {
        let log = opened(&image, small());
        assert_eq!(log.recovery_report().trust, Trust::FromRecoveryPoint, "opening {opening}");
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (at(4), at(4)));
        image = image.image(CrashStrength::Ordered, |_, options| options - 1);
        // Not closed before the crash.
        open_logs.push(log);
    }
}

/// A closed log of seven records in four segments, opened on a disk on which the state cannot be written.
fn without_room_for_the_state(config: &LogConfig, sticky: bool) -> (SimDisk, Log) {
    let disk = disk();
    let log = opened(&disk, config.clone());
    fill(&log, 0..7);
    log.close().expect("a healthy disk");
    drop(log);
    let log = opened(&disk, config.clone());
    assert_eq!(bases(&log), [0, 2, 4, 6]);
    disk.reset_counters();
    let full = if sticky { Fault::from } else { Fault::once };
    disk.fail(full(CallKind::WriteAt, 1, FaultKind::NoSpace).on("kstore.state"));
    (disk, log)
}

// A full btrfs has no room for a new block of a file that it has to write elsewhere: deletions were refused, and with
// them all that could have made room.
#[test]
fn a_deletion_makes_the_room_that_the_state_lacks() {
    for delay_ms in [0, 1000] {
        let (disk, log) = without_room_for_the_state(&small().file_delete_delay_ms(delay_ms), false);
        assert_eq!(log.delete_records_before(at(5)).expect("room is made"), at(5));
        assert_eq!((bases(&log), values(&log)), (vec![4, 6], vec![5, 6]));
        let cut = disk.crash_keeping(CrashStrength::Strict, |_, _| 0);
        let log = opened(&cut, small());
        assert_eq!((bases(&log), values(&log)), (vec![4, 6], vec![5, 6]));
        fill(&log, 7..9);
        log.close().expect("a healthy disk");
    }
}

#[test]
fn a_deletion_without_room_for_the_state_deletes_whole_segments_and_says_that_it_is_not_done() {
    let (disk, log) = without_room_for_the_state(&small(), true);
    let error = log.delete_records_before(at(5)).expect_err("no room");
    assert!(matches!(error, Error::StorageFull { .. }), "{error}");
    assert_eq!((bases(&log), values(&log)), (vec![4, 6], vec![4, 5, 6]));
    assert!(!log.stats().failed);
    let cut = disk.image(CrashStrength::Strict, |_, _| 0);
    cut.heal();
    assert_eq!(values(&opened(&cut, small())), [4, 5, 6], "what readers saw is durable");
    disk.heal();
    assert_eq!(log.delete_records_before(at(5)).expect("there is room"), at(5));
    fill(&log, 7..9);
    log.close().expect("a healthy disk");
    assert_eq!(values(&opened(&disk, small())), [5, 6, 7, 8]);
}

#[test]
fn a_deletion_that_makes_room_leaves_the_end_of_the_log_whatever_is_cut_off_or_fails_on_the_way() {
    for calls in 0.. {
        let (disk, log) = without_room_for_the_state(&small(), true);
        disk.power_off_after(calls);
        let outcome = log.delete_records_before(at(5));
        let was_cut = disk.is_off();
        for image in disk.every_image(CrashStrength::Strict).take(64) {
            image.heal();
            let log = opened(&image, small());
            let found = values(&log);
            assert!([0, 2, 4].contains(&found[0]) && found == (found[0]..7).collect::<Vec<_>>(), "{calls}: {found:?}");
        }
        drop(outcome);
        if !was_cut {
            return;
        }
    }
}

// Of a log whose state still says that nothing is durable, the first segment is what that rests on.
#[test]
fn a_deletion_gives_up_no_segment_that_the_state_on_disk_rests_on() {
    let disk = disk();
    let log = opened(&disk, small());
    append(&log, 0).expect("there is room");
    disk.fail(Fault::from(CallKind::WriteAt, 1, FaultKind::NoSpace).on("kstore.state"));
    fill(&log, 1..7);
    let refused = log.delete_records_before(at(5));
    assert!(refused.is_err());
    disk.heal();
    let cut = disk.image(CrashStrength::Strict, |_, _| 0);
    let found = values(&opened(&cut, small()));
    assert!(found.is_empty() || found == (found[0]..found[0] + found.len() as u64).collect::<Vec<_>>(), "{found:?}");
    assert_eq!(values(&opened(&disk.crash(CrashStrength::Kill), small())), upto(7));
}
