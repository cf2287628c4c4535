//! What opening reads, believes, cuts and keeps.

use std::path::Path;

use super::bench::{
    DIR, at, bases, disk, files, fill, log_path, names, open, opened, path, small, state_path, upto, values,
};
use crate::config::{LogConfig, WriteMode};
use crate::error::{Error, ErrorKind};
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk};
use crate::log::Trust;
use crate::names::SegmentFile;

/// Bytes of one batch of `bench::append`.
fn batch_bytes(disk: &SimDisk) -> u64 {
    u64::try_from(disk.read_file(log_path(0)).expect("a segment").len()).expect("small") / 2
}

fn large() -> LogConfig {
    small().segment_bytes(1 << 20)
}

fn kill(disk: &SimDisk) -> SimDisk {
    disk.crash(CrashStrength::Kill)
}

// Rows 260, 279.
#[test]
fn a_new_directory_becomes_a_log_with_one_empty_segment() {
    let disk = SimDisk::new(1);
    let log = opened(&disk, small());
    assert_eq!((bases(&log), log.log_start_offset(), log.log_end_offset()), (vec![0], at(0), at(0)));
    assert_eq!(log.recovery_report(), crate::log::RecoveryReport::default());
    let after = disk.crash_keeping(CrashStrength::Strict, |_, _| 0);
    assert!(after.list(DIR).len() >= 2, "the directory, the segment and the state are durable");
}

// An opening that was killed between mkdir and the sync of the parent left a directory that the next one took for
// durable; after a power cut the log was gone with it.
#[test]
fn a_directory_that_an_interrupted_opening_created_is_made_durable_by_the_next() {
    for calls in 0..8 {
        let disk = SimDisk::new(1);
        disk.power_off_after(calls);
        drop(open(&disk, small()));
        let disk = kill(&disk);
        let log = opened(&disk, small());
        fill(&log, 0..1);
        log.sync().expect("a healthy disk");
        let after = disk.crash_keeping(CrashStrength::Strict, |_, _| 0);
        assert_eq!(values(&opened(&after, small())), upto(1), "killed after {calls} calls");
    }
}

// Row 261.
#[test]
fn a_clean_reopening_reads_one_batch_and_nothing_else_of_the_log() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..9);
    log.close().expect("a healthy disk");
    let batch = batch_bytes(&disk);
    disk.reset_counters();
    let log = opened(&disk, small());
    assert_eq!(log.recovery_report().trust, Trust::Clean);
    for base in [0, 2, 4, 6] {
        assert_eq!(disk.bytes_read(log_path(base)), 0, "segment {base}");
    }
    assert_eq!(disk.bytes_read(log_path(8)), batch);
    assert_eq!((values(&log), log.synced_offset()), (upto(9), at(9)));
    drop(log);
    let before = files(&disk);
    drop(opened(&disk, small()));
    assert_eq!(files(&disk), before, "opening and closing changes nothing");
}

// Row 260.
#[test]
fn the_clean_mark_is_taken_back_durably_before_the_first_byte_of_a_session() {
    let disk = disk();
    let log = opened(&disk, large());
    fill(&log, 0..1);
    log.close().expect("a healthy disk");
    let log = opened(&disk, large());
    disk.set_tracing(true);
    fill(&log, 1..2);
    let changes = disk.trace().into_iter().filter(|entry| entry.call.is_change());
    let order: Vec<_> = changes.map(|entry| (entry.call, entry.path)).collect();
    let expected =
        [(CallKind::WriteAt, state_path()), (CallKind::SyncData, state_path()), (CallKind::WriteAt, log_path(0))];
    assert_eq!(order, expected);
}

// Row 261.
#[test]
fn recovery_reads_what_lies_above_the_recovery_point_and_its_witness() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..5);
    log.sync().expect("a healthy disk");
    fill(&log, 5..8);
    let disk = kill(&disk);
    let batch = batch_bytes(&disk);
    let log = opened(&disk, small());
    assert_eq!(log.recovery_report().trust, Trust::FromRecoveryPoint);
    assert_eq!(log.recovery_report().scanned_bytes, 3 * batch);
    assert_eq!((disk.bytes_read(log_path(0)), disk.bytes_read(log_path(2))), (0, 0));
    assert!(disk.bytes_read(log_path(4)) <= 3 * batch, "the witness, and what follows it");
    assert_eq!(values(&log), upto(8));
}

// Rows 260, 262.
#[test]
fn without_its_state_a_directory_is_recovered_whole() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..7);
    log.close().expect("a healthy disk");
    let expected = files(&disk);
    for spoil in
        [|disk: &SimDisk| disk.remove(state_path()), |disk: &SimDisk| disk.write_file(state_path(), vec![7; 5000])]
    {
        spoil(&disk);
        let log = opened(&disk, small());
        assert_eq!((log.recovery_report().trust, values(&log)), (Trust::Foreign, upto(7)));
        assert!(log.recovery_report().damage.is_empty() && log.recovery_report().torn.is_empty());
        fill(&log, 7..8);
        log.close().expect("a healthy disk");
        expected.iter().for_each(|(name, bytes)| disk.write_file(Path::new(DIR).join(name), bytes.clone()));
    }
}

#[test]
fn an_older_state_is_believed_as_far_as_it_goes() {
    let disk = disk();
    let log = opened(&disk, large());
    fill(&log, 0..3);
    log.sync().expect("a healthy disk");
    let older = disk.read_file(state_path()).expect("a state");
    fill(&log, 3..6);
    log.close().expect("a healthy disk");
    disk.write_file(state_path(), older);
    let log = opened(&disk, large());
    assert_eq!((log.recovery_report().trust, values(&log)), (Trust::FromRecoveryPoint, upto(6)));
}

#[test]
fn a_state_of_another_log_is_noticed_by_its_witness() {
    let (disk, other) = (disk(), disk());
    for (disk, from) in [(&disk, 0), (&other, 50)] {
        let log = opened(disk, large());
        fill(&log, from..from + 3);
        log.close().expect("a healthy disk");
    }
    disk.write_file(state_path(), other.read_file(state_path()).expect("a state"));
    let log = opened(&disk, large());
    assert_eq!((log.recovery_report().trust, values(&log)), (Trust::Foreign, upto(3)));
}

#[test]
fn a_write_behind_our_back_is_noticed() {
    let (disk, other) = (disk(), disk());
    let log = opened(&disk, large());
    fill(&log, 0..3);
    log.close().expect("a healthy disk");
    // Kafka appended two batches, right in number and checksum: they count.
    let log = opened(&other, large());
    fill(&log, 0..5);
    log.close().expect("a healthy disk");
    disk.write_file(log_path(0), other.read_file(log_path(0)).expect("a segment"));
    let log = opened(&disk, large());
    assert_eq!((log.recovery_report().trust, values(&log)), (Trust::Foreign, upto(5)));
    log.close().expect("a healthy disk");
    // Somebody deleted all of it and went on under higher numbers, as retention does.
    disk.remove(log_path(0));
    disk.write_file(log_path(7), Vec::new());
    let log = opened(&disk, large());
    assert_eq!((log.recovery_report().trust, log.log_start_offset()), (Trust::Foreign, at(7)));
    fill(&log, 7..9);
    assert_eq!(values(&log), [7, 8]);
}

// Segments that somebody put beside an empty, opened log were taken for leftovers above its end and set aside.
#[test]
fn segments_that_somebody_restored_into_an_empty_log_are_not_set_aside() {
    let (disk, other) = (disk(), disk());
    opened(&disk, large()).close().expect("a healthy disk");
    let log = opened(&other, small());
    fill(&log, 0..6);
    log.close().expect("a healthy disk");
    disk.remove(log_path(0));
    for base in [2, 4] {
        disk.write_file(log_path(base), other.read_file(log_path(base)).expect("a segment"));
    }
    let log = opened(&disk, small());
    assert_eq!((log.log_start_offset(), values(&log)), (at(2), vec![2, 3, 4, 5]));
}

// Row 266.
#[test]
fn a_torn_tail_is_cut_off_and_kept_aside_and_a_second_recovery_finds_nothing_more() {
    for mode in [WriteMode::Write, WriteMode::Preallocated, WriteMode::Mapped] {
        let disk = disk();
        let log = opened(&disk, large().write_mode(mode).windows_at_once(1));
        fill(&log, 0..4);
        let disk = kill(&disk);
        let good = disk.read_file(log_path(0)).expect("a segment");
        let end = usize::try_from(
            4 * batch_bytes(&{
                let probe = super::bench::disk();
                let log = opened(&probe, small());
                fill(&log, 0..2);
                log.close().expect("a healthy disk");
                probe
            }),
        )
        .expect("small");
        let mut torn = good[..end].to_vec();
        torn.extend_from_slice(&good[..50]);
        disk.write_file(log_path(0), torn);
        disk.write_file(path(0, SegmentFile::OffsetIndex), vec![9; 37]);
        let log = opened(&disk, large());
        let report = log.recovery_report();
        assert_eq!((values(&log), report.torn.len()), (upto(4), 1), "{report:?}");
        let kept = report.torn[0].kept.as_ref().expect("worth keeping");
        assert!(kept.to_string_lossy().ends_with("00000000000000000000.log.torn"));
        assert_eq!(disk.read_file(kept).as_deref(), Some(&good[..50]));
        let before = files(&disk);
        let disk = kill(&disk);
        let log = opened(&disk, large());
        assert_eq!(files(&disk), before, "a second recovery changes nothing");
        assert!(log.recovery_report().torn.is_empty());
        fill(&log, 4..6);
        log.close().expect("a healthy disk");
        assert!(
            names(&disk).iter().all(|name| !name.contains("torn")),
            "gone at a clean close, for no batch lies in it"
        );
    }
}

// Row 273.
#[test]
fn an_empty_active_segment_without_indexes_opens() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..2);
    log.roll().expect("there is room");
    let disk = kill(&disk);
    for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
        disk.remove(path(2, kind));
    }
    let log = opened(&disk, small());
    assert_eq!((values(&log), bases(&log)), (upto(2), vec![0, 2]));
    fill(&log, 2..3);
}

// Row 262.
#[test]
fn indexes_that_are_missing_or_garbage_make_nothing_wrong() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..8);
    log.close().expect("a healthy disk");
    disk.remove(path(2, SegmentFile::OffsetIndex));
    disk.write_file(path(0, SegmentFile::OffsetIndex), vec![0xff; 24]);
    disk.write_file(path(6, SegmentFile::OffsetIndex), vec![0xee; 16]);
    disk.remove(path(6, SegmentFile::TimeIndex));
    let log = opened(&disk, small());
    for offset in 0..8 {
        let slice = log.read(at(offset), 1).expect("in the log");
        let record = slice.records().next().expect("a record").expect("readable");
        assert_eq!(record.offset(), at(offset));
    }
    fill(&log, 8..10);
    assert_eq!(values(&log), upto(10));
}

#[test]
fn a_directory_is_open_once_at_a_time() {
    let disk = disk();
    let log = opened(&disk, small());
    let refused = open(&disk, small()).expect_err("it is open");
    assert!(matches!(refused, Error::AlreadyOpen { .. }), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Usage);
    log.close().expect("a healthy disk");
    drop(opened(&disk, small()));
    opened(&kill(&disk), small());
}

#[test]
fn a_directory_that_is_no_log_or_a_brokers_is_left_as_it_was() {
    let disk = disk();
    disk.write_file(Path::new(DIR).join("letter.txt"), b"dear".to_vec());
    assert!(matches!(open(&disk, small()), Err(Error::NotALog { .. })));
    assert_eq!(names(&disk), ["letter.txt"]);
    let disk = super::bench::disk();
    disk.write_file("/data/meta.properties", Vec::new());
    assert!(matches!(open(&disk, small()), Err(Error::BelongsToDataDirectory { marker: "meta.properties", .. })));
    assert!(names(&disk).is_empty());
}

#[test]
fn with_too_many_files_open_a_read_closes_idle_segments_and_goes_on() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..40);
    log.close().expect("a healthy disk");
    for kind in [FaultKind::TooManyOpen, FaultKind::TooManyOpenInSystem] {
        let log = opened(&disk, small());
        for offset in 0..10 {
            log.read(at(offset), 1).expect("in the log");
        }
        disk.fail(Fault::once(CallKind::Open, 1, kind).on(".log"));
        log.read(at(20), 1).expect("there are idle segments to close");
        assert_eq!(values(&log), upto(40));
        disk.heal();
        log.close().expect("a healthy disk");
    }
}

// Row 263.
#[test]
fn index_files_without_a_log_go() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..3);
    log.close().expect("a healthy disk");
    for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex, SegmentFile::TransactionIndex] {
        disk.write_file(path(1, kind), vec![1; 24]);
    }
    let log = opened(&disk, small());
    assert_eq!((values(&log), log.recovery_report().leftovers.len()), (upto(3), 3));
    assert!(names(&disk).iter().all(|name| !name.starts_with("00000000000000000001")));
}

// Story: the power went in the very first opening, of all names only that of an index got to the disk, and the
// directory was no log from then on, nor empty.
#[test]
fn whatever_a_power_cut_leaves_of_the_first_opening_opens() {
    for calls in 0.. {
        let disk = disk();
        disk.power_off_after(calls);
        let done = open(&disk, small()).is_ok();
        for strength in [CrashStrength::Strict, CrashStrength::Ordered] {
            for image in disk.every_image(strength).take(30) {
                let left = image.list("/data");
                let log = open(&image, small()).unwrap_or_else(|error| panic!("{calls} calls, {left:?}: {error}"));
                fill(&log, 0..3);
                assert_eq!(values(&log), upto(3));
            }
        }
        if done {
            return;
        }
    }
}
