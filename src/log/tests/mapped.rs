//! `WriteMode::Mapped` of a whole log: when it is refused, what it falls back to, and that nobody can tell it by the bytes.

use std::path::Path;

use super::bench::{DIR, append, at, disk, files, fill, names, open, opened, small, upto, values};
use crate::config::{LogConfig, NotMapped, SyncPolicy, Worker, WriteMode};
use crate::error::{Error, IoOp};
use crate::fs::FileSystem;
use crate::fs::sim::{CallKind, Fault, FaultKind, SimDisk};
use crate::log::{AppendOptions, Log};
use crate::offset::Timestamp;
use crate::record::{BatchBuilder, Compression, Record};

/// Compressed batches are never stored, but written.
const CODEC: Compression = if cfg!(feature = "lz4") { Compression::Lz4 } else { Compression::None };

fn mapped() -> LogConfig {
    small().segment_bytes(1 << 20).write_mode(WriteMode::Mapped).windows_at_once(64 << 10)
}

fn mode(log: &Log) -> (WriteMode, Option<NotMapped>) {
    let stats = log.stats();
    assert_eq!(stats.preallocating, stats.write_mode != WriteMode::Write);
    (stats.write_mode, stats.not_mapped)
}

fn writes(disk: &SimDisk) -> u64 {
    disk.calls(CallKind::WriteAt) + disk.calls(CallKind::WriteVectoredAt)
}

#[test]
fn it_is_refused_where_appends_wait_for_the_disk_and_without_a_worker() {
    let always = LogConfig::default().write_mode(WriteMode::Mapped).sync_policy(SyncPolicy::Always);
    let alone = LogConfig::default().write_mode(WriteMode::Mapped).worker(Worker::Caller);
    for config in [always, alone] {
        let refused = open(&disk(), config).expect_err("a contradiction");
        assert!(matches!(refused, Error::InvalidConfig { name: "write_mode", .. }), "{refused}");
    }
    let log = opened(&disk(), mapped());
    let refused = log.update_config(|config| config.sync_policy(SyncPolicy::Always)).expect_err("a contradiction");
    assert!(matches!(refused, Error::InvalidConfig { name: "write_mode", .. }), "{refused}");
    fill(&log, 0..2);
    assert_eq!(mode(&log), (WriteMode::Mapped, None));
}

// The commit named a checksum that was computed only when the batch was stored: the cursor was forgotten at the next opening.
#[test]
fn a_commit_that_goes_with_a_small_append_is_found_again() {
    let disk = disk();
    let log = opened(&disk, mapped());
    fill(&log, 0..2);
    log.append_and_commit(&AppendOptions::default(), &[Record::value("out")], &[("consumer", at(2))]).expect("room");
    log.close().expect("a healthy disk");
    let log = opened(&disk, mapped());
    assert_eq!(log.cursor("consumer").expect("a name").committed().expect("a readable book"), Some(at(2)));
}

#[test]
fn small_appends_make_no_call_once_there_is_a_window() {
    let disk = disk();
    let log = opened(&disk, mapped().index_interval_bytes(1 << 20));
    fill(&log, 0..2);
    disk.reset_counters();
    fill(&log, 2..100);
    assert_eq!(writes(&disk), 0, "all were stored");
    assert_eq!(values(&log), upto(100));
    assert_eq!(mode(&log), (WriteMode::Mapped, None));
    log.sync().expect("a healthy disk");
    log.close().expect("a healthy disk");
    assert_eq!(disk.read_file(super::bench::log_path(0)).expect("a segment").len(), 100 * 108);
    assert_eq!(values(&opened(&disk, mapped())), upto(100));
}

#[test]
fn every_way_of_appending_gives_the_bytes_that_plain_writes_give() {
    let script = |config: LogConfig| {
        let disk = disk();
        let log = opened(&disk, config.segment_bytes(4000));
        let time = Timestamp::from_millis(1_000_000);
        for round in 0..40 {
            append(&log, round).expect("there is room");
            log.append(&[Record::value("a").timestamp(time), Record::new("k", "b")]).expect("mixed times");
            log.append(&[Record::value("a"), Record::tombstone("k")]).expect("two records");
            log.append_with(&AppendOptions::default().leader_epoch(3), &[Record::value("e")]).expect("an epoch");
            let mut builder = BatchBuilder::new(if round % 2 == 0 { Compression::None } else { CODEC });
            builder.push(Record::value("built")).expect("a sound record");
            let encoded = builder.encode().expect("a sound batch").to_vec();
            log.append_batch(&AppendOptions::default(), &encoded).expect("a client's batch");
            log.append_built(&AppendOptions::default(), &mut builder).expect("a built batch");
            log.append(&[Record::value(&vec![7; 1500])]).expect("a large one");
        }
        log.close().expect("a healthy disk");
        files(&disk)
    };
    let written = script(small());
    for window_bytes in [1, 6000, 1 << 20] {
        let stored = script(small().write_mode(WriteMode::Mapped).windows_at_once(window_bytes));
        assert!(written == stored, "windows of {window_bytes} bytes");
    }
}

#[test]
fn a_file_system_that_is_not_known_for_it_gets_allocated_room_and_writes() {
    for (file_system, expected) in [
        (FileSystem::Ext4, (WriteMode::Mapped, None)),
        (FileSystem::Xfs, (WriteMode::Mapped, None)),
        (FileSystem::Tmpfs, (WriteMode::Mapped, None)),
        (FileSystem::Other, (WriteMode::Preallocated, Some(NotMapped::FileSystem))),
    ] {
        let disk = disk();
        disk.set_file_system(file_system);
        let log = opened(&disk, mapped());
        fill(&log, 0..5);
        assert_eq!(mode(&log), expected, "{file_system:?}");
        log.update_config(|config| config.segment_bytes(2 << 20)).expect("a sound value");
        assert_eq!(mode(&log), expected, "{file_system:?}: what was found stays known");
        assert_eq!(values(&log), upto(5));
    }
}

#[test]
fn a_self_test_that_fails_in_any_step_is_told_and_the_log_works_all_the_same() {
    let steps = [
        (CallKind::FileSystem, IoOp::Inspect),
        (CallKind::Allocate, IoOp::Allocate),
        (CallKind::MapWindow, IoOp::Map),
        (CallKind::PopulateWindow, IoOp::Map),
    ];
    for (call, operation) in steps {
        let disk = disk();
        disk.fail(Fault::once(call, 1, FaultKind::InputOutput));
        let log = opened(&disk, mapped());
        assert_eq!(mode(&log), (WriteMode::Preallocated, Some(NotMapped::SelfTest { operation })), "{call:?}");
        fill(&log, 0..5);
        assert_eq!(values(&log), upto(5));
        log.update_config(|config| config.write_mode(WriteMode::Mapped)).expect("a sound value");
        fill(&log, 5..8);
        assert_eq!(mode(&log), (WriteMode::Mapped, None), "{call:?}: whoever asks anew is tested anew");
        log.update_config(|config| config.write_mode(WriteMode::Write)).expect("a sound value");
        fill(&log, 8..10);
        assert_eq!(mode(&log), (WriteMode::Write, None));
        assert_eq!(values(&log), upto(10));
        assert!(!names(&disk).iter().any(|name| name.ends_with(".tmp")), "the test leaves no name");
    }
}

#[test]
fn a_window_that_could_not_be_mapped_gives_its_room_back_and_appends_go_by_writes() {
    for call in [CallKind::MapWindow, CallKind::PopulateWindow] {
        let disk = disk();
        // The first is the self-test's.
        disk.fail(Fault::once(call, 2, FaultKind::InputOutput));
        let log = opened(&disk, mapped());
        fill(&log, 0..2);
        let refused = NotMapped::Window { operation: IoOp::Map };
        assert_eq!(mode(&log), (WriteMode::Write, Some(refused)), "{call:?}");
        let written = disk.read_file(super::bench::log_path(0)).expect("a segment").len();
        assert_eq!(written, 2 * 108, "{call:?}: what was allocated for the window is given back");
        fill(&log, 2..4);
        assert_eq!(values(&log), upto(4));
    }
}

/// Of sizes that fill windows of a page, lie in two of them, and take several.
fn wide(value: u64) -> String {
    let width = 20 + usize::try_from(value * 2503 % 5200).expect("small");
    format!("{value:0width$}")
}

#[test]
fn whichever_window_fails_records_are_read_recovered_and_closed_as_they_were_handed_in() {
    let calls = [CallKind::Allocate, CallKind::MapWindow, CallKind::PopulateWindow, CallKind::SharesBlocks];
    for (call, kind) in calls.into_iter().flat_map(|call| [(call, FaultKind::NoSpace), (call, FaultKind::InputOutput)])
    {
        for (nth, times, cut_fails) in (1..9).flat_map(|nth| [(nth, 1, false), (nth, 2, false), (nth, 1, true)]) {
            let shown = format!("{call:?} {kind:?} {nth} {times} {cut_fails}");
            let disk = disk();
            let config = mapped().segment_bytes(40_000).windows_at_once(1);
            let log = opened(&disk, config.clone());
            disk.fail(Fault::once(call, nth, kind).times(times));
            if cut_fails {
                disk.fail(Fault::once(CallKind::SetLen, 1, FaultKind::InputOutput));
            }
            let mut handed_in = 0;
            for value in 0..40 {
                match log.append(&[Record::value(&wide(value))]) {
                    Ok(_) => handed_in += 1,
                    // The cut of a segment that is sealed may be the one that fails.
                    Err(error) => {
                        assert!(cut_fails && matches!(error, Error::Failed { .. }), "{shown}: {error}");
                        break;
                    }
                }
            }
            let check = |log: &Log| {
                for (expected, record) in log.records(at(0)..).expect("the whole log").enumerate() {
                    let record = record.unwrap_or_else(|error| panic!("{shown}: {error}"));
                    assert!(record.value() == Some(wide(expected as u64).as_bytes()), "{shown}: {expected}");
                }
                log.log_end_offset().value()
            };
            if !log.stats().failed {
                assert_eq!(check(&log), handed_in, "{shown}");
            }
            let killed = disk.crash(crate::fs::sim::CrashStrength::Kill);
            assert_eq!(check(&opened(&killed, config.clone())), handed_in, "{shown}: after a kill");
        }
    }
}

#[test]
fn a_file_that_the_test_left_behind_in_a_crash_is_taken_by_the_next() {
    let disk = disk();
    let left = Path::new(DIR).join(crate::names::SELF_TEST);
    opened(&disk, mapped()).close().expect("a healthy disk");
    disk.write_file(&left, "of a crash");
    let log = opened(&disk, mapped());
    assert_eq!(mode(&log), (WriteMode::Mapped, None));
    assert_eq!(disk.read_file(&left), None);
}

#[test]
fn a_thread_lays_windows_while_appends_go_on() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        disk.create_dir_all("/data");
        let config = LogConfig::default().segment_bytes(20_000).write_mode(WriteMode::Mapped);
        let config = LogConfig { window_bytes: 1, ..config };
        let log = opened(&disk, config.clone());
        fill(&log, 0..400);
        if seed % 2 == 0 {
            log.truncate_to(at(390)).expect("a healthy disk");
            fill(&log, 390..400);
        }
        assert_eq!(values(&log), upto(400));
        log.close().expect("a healthy disk");
        let log = opened(&disk, config);
        assert_eq!(log.recovery_report().scanned_bytes, 0);
        assert_eq!(values(&log), upto(400));
    }
}

#[test]
fn a_failed_log_goes_on_through_maps_when_it_was_reopened() {
    let disk = disk();
    let log = opened(&disk, mapped());
    fill(&log, 0..5);
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput).on(".log"));
    log.sync().expect_err("the disk failed");
    log.reopen().expect("the disk is well again");
    let kept = values(&log);
    assert_eq!(kept, upto(5), "what was in the page cache was written again");
    fill(&log, 5..9);
    assert_eq!(mode(&log), (WriteMode::Mapped, None));
    assert_eq!(values(&log), upto(9));
    log.sync().expect("a healthy disk");
}
