//! Group commit, failed syncs, the order of syncs over a roll, and closing.

use std::path::PathBuf;

use super::bench::{append, at, disk, fill, log_path, opened, small, upto, values};
use crate::config::{LogConfig, SyncPolicy, WriteMode};
use crate::error::{Error, ErrorKind};
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk};
use crate::log::{AppendOptions, Log, ReadUpTo};
use crate::record::Record;

const WAITERS: usize = 8;

fn large() -> LogConfig {
    small().segment_bytes(1 << 20)
}

fn fail_sync(disk: &SimDisk) {
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput).on(".log"));
}

/// Has threads wait for the log's end while nobody can sync, and gives their answers.
fn all_wait(log: &Log) -> Vec<crate::error::Result<()>> {
    std::thread::scope(|scope| {
        let mut waiters = Vec::new();
        log.shared()
            .with_syncs_stopped(|| {
                waiters.extend((0..WAITERS).map(|_| scope.spawn(|| log.sync_to(log.shared().written_end()))));
                Ok(())
            })
            .expect("nobody else stops syncs");
        waiters.into_iter().map(|waiter| waiter.join().expect("no panic")).collect()
    })
}

#[test]
fn all_who_wait_for_the_same_records_share_one_sync() {
    let disk = disk();
    let log = opened(&disk, large());
    fill(&log, 0..3);
    disk.reset_counters();
    assert!(all_wait(&log).iter().all(Result::is_ok));
    assert_eq!(disk.calls(CallKind::SyncData), 1);
    assert_eq!(log.synced_offset(), at(3));
    log.sync_to(at(2)).expect("durable already");
    assert_eq!(disk.calls(CallKind::SyncData), 1);
}

#[test]
fn a_failed_sync_is_told_to_all_who_wait_and_nothing_is_acknowledged_after_it() {
    let disk = disk();
    let log = opened(&disk, large());
    fill(&log, 0..2);
    log.sync().expect("a healthy disk");
    fill(&log, 2..5);
    // It fails once and is well again: the second sync would say yes (rule 17).
    fail_sync(&disk);
    for answer in all_wait(&log) {
        let error = answer.expect_err("the failure is everybody's");
        assert_eq!(error.kind(), ErrorKind::Reopen, "{error}");
    }
    assert!(matches!(log.sync(), Err(Error::Failed { .. })));
    assert!(matches!(append(&log, 9), Err(Error::Failed { .. })));
    assert!(matches!(log.roll(), Err(Error::Failed { .. })));
    assert_eq!((log.log_end_offset(), log.synced_offset()), (at(2), at(2)), "readers are capped");
    assert_eq!(values(&log), upto(2));
    assert!(log.stats().failed);
    log.reopen().expect("a healthy disk");
    assert_eq!(values(&log), upto(5), "what was in the page cache was written again");
    assert_eq!(log.synced_offset(), at(5));
    fill(&log, 5..7);
    log.sync().expect("a healthy disk");
    let after = disk.crash_keeping(CrashStrength::Strict, |_, _| 0);
    assert_eq!(values(&opened(&after, large())), upto(7));
}

// One by one they may come too late to wait for each other; of so many rounds, some are waited in.
#[test]
fn nobody_is_left_waiting_behind_a_sync_that_fails() {
    for _ in 0..100 {
        let disk = disk();
        let log = opened(&disk, large());
        fill(&log, 0..3);
        fail_sync(&disk);
        assert!(all_wait(&log).iter().all(Result::is_err), "the failure is everybody's");
    }
}

// A waiter that woke after a quick reopen went on waiting, and was told yes, or spun for ever where the log had become
// shorter meanwhile.
#[test]
fn whoever_waited_when_the_log_failed_is_told_so_even_after_it_was_reopened() {
    let disk = disk();
    let log = opened(&disk, large().sync_policy(SyncPolicy::Always));
    for round in 0..20 {
        fail_sync(&disk);
        std::thread::scope(|scope| {
            let waiters: Vec<_> = (0..4)
                .map(|value| {
                    scope.spawn({
                        let log = &log;
                        move || append(log, value)
                    })
                })
                .collect();
            scope.spawn(|| while log.reopen().is_ok() && !log.stats().failed && log.log_end_offset() < at(round) {});
            let failed = waiters.into_iter().filter_map(|waiter| waiter.join().expect("no panic").err()).count();
            assert!(failed > 0, "the sync that failed had somebody who waited for it");
        });
        log.reopen().expect("a healthy disk");
        disk.heal();
    }
}

// A sync that failed while recovering, or at close, left no note: the next opening took the page cache's word for it.
#[test]
fn a_sync_that_fails_at_close_or_in_recovery_is_remembered_by_the_next_opening() {
    let disk = disk();
    let log = opened(&disk, large());
    fill(&log, 0..3);
    fail_sync(&disk);
    let error = log.close().expect_err("nothing was made durable");
    assert_eq!(error.kind(), ErrorKind::Reopen);
    fail_sync(&disk);
    super::bench::open(&disk, large()).expect_err("recovery could not make it durable either");
    let log = opened(&disk, large());
    assert_eq!(values(&log), upto(3));
    let after = disk.crash_keeping(CrashStrength::Strict, |_, _| 0);
    assert_eq!(values(&opened(&after, large())), upto(3), "what was called durable is");
}

// The reopening that followed took the name of the recovery point's segment for durable, as any at or below it: what was
// appended and synced from there on went to a file that the power cut left without a name (rules 14, 17).
#[test]
fn a_shorter_copy_whose_name_could_not_be_synced_has_it_renewed_by_the_next_reopening() {
    let disk = disk();
    let log = opened(&disk, large());
    fill(&log, 0..3);
    log.sync().expect("a healthy disk");
    fill(&log, 3..5);
    assert_eq!(values(&log), upto(5), "shown to readers, so that a reopening replaces the file and does not cut it");
    fail_sync(&disk);
    assert!(matches!(log.sync(), Err(Error::Failed { .. })));
    // The page cache drops what it could not write; the file keeps its length.
    let written = disk.read_file(log_path(0)).expect("a segment").len();
    let mut left = disk.image(CrashStrength::Strict, |_, _| 0).read_file(log_path(0)).expect("a durable part");
    left.resize(written, 0);
    disk.write_file(log_path(0), left);
    disk.fail(Fault::once(CallKind::SyncDir, 1, FaultKind::InputOutput));
    log.reopen().expect_err("the directory could not be synced");
    log.reopen().expect("the disk is well again");
    fill(&log, 3..4);
    log.sync().expect("a healthy disk");
    let after = disk.crash_keeping(CrashStrength::Strict, |_, _| 0);
    assert_eq!(values(&opened(&after, large())), upto(4));
}

#[test]
fn a_sync_that_failed_leaves_no_claim_of_what_it_was_to_make_durable() {
    let disk = disk();
    let log = opened(&disk, large());
    fill(&log, 0..3);
    fail_sync(&disk);
    log.sync().expect_err("the disk refused it");
    // All that was written to the state reaches the disk; the records never do.
    let after = disk.crash_keeping(CrashStrength::Strict, |_, options| options - 1);
    let log = opened(&after, large());
    assert_eq!((log.recovery_report().damage, values(&log)), (Vec::new(), Vec::new()));
    append(&log, 0).expect("a log that lost nothing that it had promised takes appends");
}

#[test]
fn a_failed_sync_of_the_directory_fails_the_log_and_the_name_is_renewed() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..3);
    disk.fail(Fault::once(CallKind::SyncDir, 1, FaultKind::InputOutput));
    assert!(matches!(log.sync(), Err(Error::Failed { .. })));
    log.reopen().expect("a healthy disk");
    let after = disk.crash_keeping(CrashStrength::Strict, |_, _| 0);
    assert_eq!(values(&opened(&after, small())), upto(3));
}

fn changes(disk: &SimDisk, of: &[PathBuf]) -> Vec<(CallKind, PathBuf)> {
    let trace = disk.trace().into_iter();
    trace
        .filter(|entry| entry.call.is_change() && of.contains(&entry.path))
        .map(|entry| (entry.call, entry.path))
        .collect()
}

#[test]
fn a_sync_across_a_roll_syncs_the_closed_file_first_and_the_directory_before_it_answers() {
    let disk = disk();
    let log = opened(&disk, small());
    disk.set_tracing(true);
    fill(&log, 0..3);
    let (old, new, dir) = (log_path(0), log_path(2), PathBuf::from(super::bench::DIR));
    disk.reset_counters();
    log.sync().expect("a healthy disk");
    let order = changes(&disk, &[old.clone(), new.clone(), dir.clone()]);
    assert_eq!(order, [(CallKind::SyncData, old), (CallKind::SyncData, new), (CallKind::SyncDir, dir)]);
}

#[test]
fn a_roll_cuts_an_allocated_segment_durably_before_it_creates_the_next() {
    let disk = disk();
    let log = opened(&disk, small().write_mode(WriteMode::Preallocated));
    fill(&log, 0..2);
    disk.set_tracing(true);
    append(&log, 2).expect("there is room");
    let (old, new) = (log_path(0), log_path(2));
    let order: Vec<_> = changes(&disk, &[old.clone(), new.clone()]).into_iter().take(4).collect();
    let expected = [
        (CallKind::SetLen, old.clone()),
        (CallKind::SyncData, old),
        (CallKind::Open, new.clone()),
        (CallKind::Allocate, new),
    ];
    assert_eq!(order, expected);
    assert!(log.stats().preallocating);
}

#[test]
fn under_always_an_append_is_durable_and_only_then_visible() {
    let disk = disk();
    let log = opened(&disk, large().sync_policy(SyncPolicy::Always));
    fill(&log, 0..2);
    assert_eq!(log.synced_offset(), at(2));
    fail_sync(&disk);
    assert!(matches!(append(&log, 2), Err(Error::Failed { .. })));
    assert_eq!(log.log_end_offset(), at(2), "nobody sees what is not durable");
    let after = disk.crash_keeping(CrashStrength::Strict, |_, _| 0);
    assert_eq!(values(&opened(&after, large())), upto(2));
}

#[test]
fn the_policy_counts_records_and_bytes_and_the_configuration_changes_live() {
    let disk = disk();
    let every = |records, bytes| SyncPolicy::Every { records, bytes, interval_ms: None };
    let log = opened(&disk, large().sync_policy(every(Some(3), None)));
    fill(&log, 0..2);
    assert_eq!(log.synced_offset(), at(0));
    fill(&log, 2..3);
    assert_eq!(log.synced_offset(), at(3));
    log.update_config(|config| config.sync_policy(every(None, Some(200)))).expect("valid");
    fill(&log, 3..4);
    assert_eq!(log.synced_offset(), at(3));
    fill(&log, 4..5);
    assert_eq!(log.synced_offset(), at(5));
    log.update_config(|config| config.sync_policy(SyncPolicy::Never).max_unsynced_bytes(300)).expect("valid");
    fill(&log, 5..7);
    assert_eq!(log.synced_offset(), at(5));
    fill(&log, 7..8);
    assert_eq!(log.synced_offset(), at(8), "more than 300 bytes may not stay behind");
    log.update_config(|config| config.segment_bytes(13)).expect_err("refused");
    log.update_config(|config| config.segment_bytes(300)).expect("valid");
    fill(&log, 8..12);
    assert!(super::bench::bases(&log).len() > 2, "the new size counts at once");
    let synced = AppendOptions::default().sync(true);
    log.append_with(&synced, &[Record::value("now")]).expect("a healthy disk");
    assert_eq!(log.synced_offset(), log.log_end_offset());
    assert_eq!(log.reader().up_to(ReadUpTo::Synced).log_end_offset(), log.log_end_offset());
}

#[test]
fn an_append_can_insist_on_where_the_log_ends() {
    let log = opened(&disk(), large());
    fill(&log, 0..2);
    let expecting = |end| AppendOptions::default().expect_log_end(at(end));
    log.append_with(&expecting(2), &[Record::value("a")]).expect("it ends there");
    let refused = log.append_with(&expecting(2), &[Record::value("b")]).expect_err("it ends elsewhere");
    assert!(matches!(refused, Error::UnexpectedLogEnd { expected, actual } if expected == at(2) && actual == at(3)));
    assert_eq!(refused.kind(), ErrorKind::Usage);
    let nothing = log.append_with(&expecting(3), &[]).expect("nothing is no error");
    assert_eq!((nothing.base_offset(), nothing.next_offset()), (at(3), at(3)));
    log.append_with(&expecting(2), &[]).expect_err("checked all the same");
}

// Row 151.
#[test]
fn a_closed_log_answers_closed_and_a_second_close_does_nothing() {
    let disk = disk();
    let log = opened(&disk, large());
    fill(&log, 0..3);
    let (reader, slice) = (log.reader(), log.read(at(0), 1000).expect("in the log"));
    log.close().expect("a healthy disk");
    log.close().expect("closed already");
    assert!(matches!(append(&log, 3), Err(Error::Closed)));
    assert!(matches!(log.roll(), Err(Error::Closed)));
    assert!(matches!(log.sync(), Err(Error::Closed)));
    assert!(matches!(reader.read(at(0), 1), Err(Error::Closed)));
    assert!(matches!(log.reopen(), Err(Error::Closed)));
    assert_eq!(slice.records().count(), 3, "slices stay readable");
    let second = opened(&disk, large());
    drop(log);
    assert_eq!(values(&second), upto(3), "the old handle holds nothing of the directory any more");
}

#[test]
fn who_waits_when_the_log_is_closed_is_woken_with_closed() {
    let disk = disk();
    let log = opened(&disk, large());
    fill(&log, 0..3);
    std::thread::scope(|scope| {
        let mut closer = None;
        log.shared()
            .with_syncs_stopped(|| {
                let waiters: Vec<_> = (0..WAITERS).map(|_| scope.spawn(|| log.sync_to(at(3)))).collect();
                closer = Some(scope.spawn(|| log.close()));
                for waiter in waiters {
                    assert!(matches!(waiter.join().expect("no panic"), Err(Error::Closed)));
                }
                Ok(())
            })
            .expect("nobody else stops syncs");
        closer.expect("it was spawned").join().expect("no panic").expect("a clean close");
    });
    assert_eq!(values(&opened(&disk, large())), upto(3));
}

#[test]
fn dropping_the_last_handle_closes_cleanly() {
    let disk = disk();
    let log = opened(&disk, large());
    fill(&log, 0..3);
    let clone = log.clone();
    drop(log);
    fill(&clone, 3..4);
    drop(clone);
    let after = disk.crash_keeping(CrashStrength::Strict, |_, _| 0);
    let log = opened(&after, large());
    assert_eq!(values(&log), upto(4));
    assert_eq!(log.recovery_report().trust, crate::log::Trust::Clean);
}
