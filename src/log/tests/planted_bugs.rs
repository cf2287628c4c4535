//! What bugs that were planted in the engine (`tests/bugs`) showed to be tested by nothing else.
//!
//! Each test is the smallest one that fails for its bug; the wider ones, which draw their cases, stand in `model` and beside.

use std::path::Path;

use super::bench::{
    DIR, append, at, bases, disk, files, fill, log_path, names, open, opened, small, state_path, upto, values,
};
use super::races::wait_until;
use crate::config::{LogConfig, SyncPolicy, WriteMode};
use crate::error::{Error, ErrorKind};
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk, TraceEntry};
use crate::log::AppendOptions;
use crate::names::{LOCK, STATE};
use crate::record::Record;

/// Bytes of one batch of `bench::append`.
const BATCH_BYTES: usize = 108;

fn large() -> LogConfig {
    small().segment_bytes(1 << 20)
}

fn after_the_process_ended(disk: &SimDisk) -> SimDisk {
    disk.crash(CrashStrength::Kill)
}

/// What a power cut leaves that keeps nothing unsynced.
fn after_a_power_cut(disk: &SimDisk) -> SimDisk {
    disk.image(CrashStrength::Strict, |_, _| 0)
}

// Rule 11b.
#[test]
fn room_that_a_crash_left_behind_the_log_end_is_cut_off_durably_before_the_first_append() {
    let disk = disk();
    let log = opened(&disk, large().write_mode(WriteMode::Preallocated));
    fill(&log, 0..2);
    log.sync().expect("a healthy disk");
    let disk = after_the_process_ended(&disk);
    let log_bytes = |disk: &SimDisk| disk.read_file(log_path(0)).expect("a segment").len();
    assert!(log_bytes(&disk) > 2 * BATCH_BYTES, "the room is there");
    let log = opened(&disk, large());
    assert_eq!(log_bytes(&disk), 2 * BATCH_BYTES);
    assert_eq!(log_bytes(&after_a_power_cut(&disk)), 2 * BATCH_BYTES);
    drop(log);
}

// Rule 11a: where a power cut undid the cut of a roll, which btrfs does if it was not synced.
#[test]
fn zeros_behind_the_last_batch_of_a_closed_segment_end_no_log() {
    let disk = disk();
    fill(&opened(&disk, small()), 0..6);
    let log = opened(&disk, small());
    fill(&log, 6..11);
    let disk = after_the_process_ended(&disk);
    let mut with_room = disk.read_file(log_path(6)).expect("a segment");
    with_room.extend([0; 4096]);
    disk.write_file(log_path(6), with_room);
    let log = opened(&disk, small());
    assert_eq!((values(&log), bases(&log)), (upto(11), vec![0, 2, 4, 6, 8, 10]));
}

// Rule 27.
#[test]
fn wherever_the_power_goes_in_a_recovery_what_it_cuts_off_is_in_one_of_two_files() {
    let torn = [0xa5; 70];
    for calls in 0.. {
        let disk = disk();
        let log = opened(&disk, large());
        fill(&log, 0..3);
        log.sync().expect("a healthy disk");
        let disk = after_the_process_ended(&disk);
        disk.write_file(log_path(0), [disk.read_file(log_path(0)).expect("a segment"), torn.to_vec()].concat());
        disk.power_off_after(calls);
        let done = open(&disk, large()).is_ok();
        for image in disk.every_image(CrashStrength::Strict).take(30) {
            let kept = files(&image).into_iter().any(|(name, bytes)| {
                (name.ends_with(".torn") && bytes == torn) || (name.ends_with(".log") && bytes.ends_with(&torn))
            });
            assert!(kept, "{calls} calls: {:?}", names(&image));
        }
        if done {
            return;
        }
    }
}

// Rule 27.
#[test]
fn damage_at_the_end_of_a_segment_that_others_follow_is_told_and_cut_by_nobody() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..9);
    log.close().expect("a healthy disk");
    disk.flip_bit(log_path(2), u64::try_from(BATCH_BYTES + 80).expect("small"), 3);
    disk.remove(state_path());
    let before = disk.read_file(log_path(2));
    let log = opened(&disk, small());
    let damage = log.recovery_report().damage;
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert_eq!((damage[0].first_offset, damage[0].next_offset), (at(3), at(4)));
    assert_eq!(disk.read_file(log_path(2)), before);
    assert!(matches!(append(&log, 9), Err(Error::Damaged { .. })));
}

// Rules 5 and 24.
#[test]
fn what_a_clean_close_left_is_there_after_a_power_cut_byte_for_byte() {
    for write_mode in [WriteMode::Write, WriteMode::Preallocated] {
        let disk = disk();
        let log = opened(&disk, small().write_mode(write_mode));
        fill(&log, 0..9);
        log.close().expect("a healthy disk");
        assert_eq!(files(&after_a_power_cut(&disk)), files(&disk));
    }
}

// Rule 29.
#[test]
fn a_failed_sync_is_known_to_the_next_process_whatever_the_page_cache_shows_it() {
    let disk = disk();
    let log = opened(&disk, large());
    fill(&log, 0..3);
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput).on(".log"));
    log.sync().expect_err("it failed");
    let disk = after_the_process_ended(&disk);
    assert_eq!(values(&opened(&disk, large())), upto(3));
    assert_eq!(values(&opened(&after_a_power_cut(&disk), large())), upto(3), "what was called durable is");
}

// Rule 17.
#[test]
fn a_write_that_failed_for_another_reason_than_room_fails_the_log() {
    let disk = disk();
    let log = opened(&disk, large());
    fill(&log, 0..2);
    disk.fail(Fault::once(CallKind::WriteAt, 1, FaultKind::InputOutput).on(".log"));
    assert_eq!(append(&log, 2).expect_err("it failed").kind(), ErrorKind::Reopen);
    assert!(matches!(append(&log, 2), Err(Error::Failed { .. })));
    log.reopen().expect("a healthy disk");
    fill(&log, 2..4);
    assert_eq!(values(&log), upto(4));
}

/// The calls of some kinds, without what they do to files of other names than these endings.
fn steps(disk: &SimDisk, kinds: &[CallKind], endings: &[&str]) -> Vec<(CallKind, String)> {
    let is_meant = |entry: &TraceEntry| {
        let name = entry.path.to_string_lossy();
        kinds.contains(&entry.call) && endings.iter().any(|ending| name.ends_with(ending))
    };
    let name = |entry: TraceEntry| {
        entry.path.strip_prefix(DIR).unwrap_or(Path::new("?")).to_string_lossy().trim_start_matches('0').to_owned()
    };
    disk.trace().into_iter().filter(is_meant).map(|entry| (entry.call, name(entry))).collect()
}

// Rules 14, 16 and 26.
#[test]
fn a_truncation_removes_the_last_segment_first_each_durably_and_takes_the_shorter_file_into_service_last() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..9);
    log.sync().expect("a healthy disk");
    disk.set_tracing(true);
    log.truncate_to(at(3)).expect("within the log");
    let kinds = [CallKind::RemoveFile, CallKind::Rename, CallKind::SyncDir, CallKind::SyncData];
    let found = steps(&disk, &kinds, &[".log", ".log.truncating", STATE, DIR]);
    let removed = |name: &str| [(CallKind::RemoveFile, name.to_owned()), (CallKind::SyncDir, String::new())];
    let replaced = [(CallKind::Rename, "2.log.truncating".to_owned()), (CallKind::SyncDir, String::new())];
    let expected = [&removed("8.log")[..], &removed("6.log"), &removed("4.log"), &replaced].concat();
    let first = found.iter().position(|(kind, name)| *kind == CallKind::RemoveFile && name.ends_with(".log"));
    let (before, behind) = found.split_at(first.expect("segments go"));
    assert!(behind.starts_with(&expected), "{found:?}");
    for name in ["2.log.truncating", STATE] {
        assert!(before.contains(&(CallKind::SyncData, name.to_owned())), "{name} before the first removal: {found:?}");
    }
}

// Rules 10 and 11b.
#[test]
fn a_truncation_in_place_is_one_cut_and_its_sync() {
    let disk = disk();
    let log = opened(&disk, large());
    fill(&log, 0..6);
    log.sync().expect("a healthy disk");
    disk.set_tracing(true);
    log.truncate_to(at(3)).expect("within the log");
    let found = steps(&disk, &[CallKind::SetLen, CallKind::SyncData], &[".log"]);
    assert_eq!(found, [(CallKind::SetLen, ".log".to_owned()), (CallKind::SyncData, ".log".to_owned())]);
    assert_eq!(disk.read_file(log_path(0)).expect("a segment").len(), 3 * BATCH_BYTES);
}

// Rule 30: who waits for a lock by a name that was given to another file would get it beside its holder.
#[test]
fn the_lock_file_stays_when_the_log_is_closed() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..1);
    log.close().expect("a healthy disk");
    assert!(names(&disk).iter().any(|name| name == LOCK));
}

// Rule 15.
#[test]
fn the_files_of_deleted_segments_that_a_power_cut_brought_back_are_removed() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..9);
    log.sync().expect("a healthy disk");
    log.delete_records_before(at(7)).expect("in the log");
    let disk = after_a_power_cut(&disk);
    assert!(disk.read_file(log_path(4)).is_some(), "no removal is durable");
    let log = opened(&disk, small());
    assert_eq!(values(&log), [7, 8]);
    assert!((0..6).all(|base| disk.read_file(log_path(base)).is_none()), "{:?}", names(&disk));
}

// Rule 20.
#[test]
fn under_always_no_reader_sees_a_record_that_still_waits_for_its_sync() {
    let log = opened(&disk(), large().sync_policy(SyncPolicy::Always));
    std::thread::scope(|scope| {
        let all_went_well = log.shared().with_syncs_stopped(|| {
            scope.spawn(|| append(&log, 0).expect("a healthy disk"));
            wait_until(|| log.shared().written_end() == at(1));
            // Whoever wrote it has let go of the writer.
            drop(log.shared().writer.lock());
            assert_eq!(log.log_end_offset(), at(0));
            assert!(log.read(at(0), 1).expect("the log end").is_empty());
            Ok(())
        });
        all_went_well.expect("nobody else stops syncs");
    });
    assert_eq!(log.log_end_offset(), at(1));
}

// Rule 26.
#[test]
fn what_a_recovery_says_of_the_log_is_durable_before_the_first_append() {
    let disk = disk();
    fill(&opened(&disk, large()), 0..3);
    let log = opened(&disk, large());
    fill(&log, 3..5);
    let disk = after_the_process_ended(&disk);
    disk.set_tracing(true);
    let log = opened(&disk, large());
    let found = steps(&disk, &[CallKind::WriteAt, CallKind::SyncData], &[STATE]);
    let kinds: Vec<_> = found.into_iter().map(|(kind, _)| kind).collect();
    assert!(kinds.ends_with(&[CallKind::WriteAt, CallKind::SyncData]), "{kinds:?}");
    assert_eq!(values(&log), upto(5));
}

// Rule 1, for an append that was made with a commit: who was told that it is durable must not be given its input again.
#[test]
fn a_sync_makes_commits_durable_before_the_records_that_were_appended_with_them() {
    let disk = disk();
    let log = opened(&disk, large());
    fill(&log, 0..2);
    let options = AppendOptions::default();
    log.append_and_commit(&options, &[Record::value("out")], &[("consumer", at(1))]).expect("there is room");
    disk.set_tracing(true);
    log.sync().expect("a healthy disk");
    let found = steps(&disk, &[CallKind::SyncData], &[".log"]);
    let names: Vec<_> = found.iter().map(|(_, name)| name.as_str()).collect();
    assert!(matches!(names[..], [commits, ".log"] if commits.starts_with("cursors/")), "{names:?}");
}
