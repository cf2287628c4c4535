//! A full disk: the append fails cleanly, nothing else does, and the log goes on once there is room.

use super::bench::{append, at, disk, fill, in_each_mode, opened, small, upto, values};
use crate::config::{LogConfig, WriteMode};
use crate::error::{Error, ErrorKind};
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind};

const PLENTY: u64 = 1 << 40;

fn modes(config: &LogConfig) -> [LogConfig; 3] {
    in_each_mode(config)
}

#[test]
fn an_append_without_room_leaves_the_log_as_it_was_and_goes_on_once_there_is_room() {
    for config in modes(&small().segment_bytes(4000)) {
        let disk = disk();
        let log = opened(&disk, config.clone());
        fill(&log, 0..2);
        disk.set_free_space(if config.write_mode == WriteMode::Write { 60 } else { 0 });
        let mut next = 2;
        let full = loop {
            match append(&log, next) {
                Ok(_) => next += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(full, Error::StorageFull { .. }), "{full}");
        assert_eq!(full.kind(), ErrorKind::Retry);
        assert_eq!(values(&log), upto(next), "reading works on a full disk");
        assert_eq!(log.sync().expect("so does a sync"), at(next));
        disk.set_free_space(PLENTY);
        fill(&log, next..next + 3);
        log.sync().expect("a healthy disk");
        let after = disk.crash_keeping(CrashStrength::Strict, |_, _| 0);
        assert_eq!(values(&opened(&after, config)), upto(next + 3));
    }
}

#[test]
fn a_roll_without_room_can_be_tried_again() {
    for config in modes(&small()) {
        let disk = disk();
        let log = opened(&disk, config.clone());
        fill(&log, 0..2);
        for bytes in (0..2000).step_by(40) {
            disk.set_free_space(bytes);
            match append(&log, 2) {
                Ok(_) => break,
                Err(error) => assert!(matches!(error, Error::StorageFull { .. }), "{bytes} bytes: {error}"),
            }
            assert_eq!(values(&log), upto(2));
            assert!(!log.stats().failed);
        }
        disk.set_free_space(PLENTY);
        fill(&log, 3..6);
        assert_eq!(values(&log), upto(6));
        log.close().expect("a healthy disk");
        assert_eq!(values(&opened(&disk, config)), upto(6));
    }
}

#[test]
fn a_full_disk_is_opened_and_read() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..7);
    let disk = disk.crash(CrashStrength::Kill);
    disk.set_free_space(0);
    let log = opened(&disk, small());
    assert_eq!(values(&log), upto(7));
    assert!(
        matches!(append(&log, 7), Err(Error::StorageFull { .. })),
        "the active segment takes one more, then it rolls"
    );
    disk.set_free_space(PLENTY);
    fill(&log, 7..9);
    assert_eq!(values(&log), upto(9));
}

#[test]
fn no_room_said_by_a_sync_is_a_failed_sync() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..1);
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::NoSpace).on(".log"));
    let error = log.sync().expect_err("the sync failed");
    assert_eq!(error.kind(), ErrorKind::Reopen, "{error}");
    log.reopen().expect("a healthy disk");
    assert_eq!((values(&log), log.synced_offset()), (upto(1), at(1)));
}

#[test]
fn a_write_error_fails_the_log_and_what_was_written_before_it_is_cut_off() {
    for kind in [FaultKind::InputOutput, FaultKind::NoSpace] {
        let disk = disk();
        let log = opened(&disk, small().segment_bytes(1 << 20));
        fill(&log, 0..2);
        // The first write is short, the rest of it fails.
        disk.fail(Fault::once(CallKind::WriteAt, 1, FaultKind::Short).on(".log"));
        disk.fail(Fault::once(CallKind::WriteAt, 2, kind).on(".log"));
        let error = append(&log, 2).expect_err("it failed");
        match kind {
            FaultKind::NoSpace => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
            _ => assert!(matches!(error.kind(), ErrorKind::Reopen | ErrorKind::Retry), "{error}"),
        }
        log.reopen().expect("a healthy disk");
        fill(&log, 2..4);
        assert_eq!(values(&log), upto(4));
    }
}
