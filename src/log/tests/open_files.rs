//! How many files of sealed segments stay open, and which are closed first.

use super::bench::{at, bases, disk, fill, opened, small, text};
use crate::config::LogConfig;
use crate::fs::sim::{CallKind, SimDisk};
use crate::log::Log;

/// A log of segments that begin at 0, 2, 4, … 18, none of which is open but the last, and which keeps two open.
fn closed_segments() -> (SimDisk, Log) {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..20);
    log.close().expect("closed");
    let log = opened(&disk, config());
    assert_eq!((bases(&log).len(), log.stats().pinned_segments), (10, 0));
    (disk, log)
}

fn config() -> LogConfig {
    small().max_open_segments(2).file_delete_delay_ms(0)
}

/// How many files a lookup in a segment opens.
fn openings(disk: &SimDisk, log: &Log, offset: u64) -> u64 {
    disk.reset_counters();
    assert_eq!(log.records(at(offset)..=at(offset)).expect("a range").count(), 1);
    disk.calls(CallKind::Open)
}

#[test]
fn no_more_segments_stay_open_than_may() {
    let (disk, log) = closed_segments();
    let before = disk.descriptors();
    for offset in (0..20).chain([7, 3, 12, 0]) {
        openings(&disk, &log, offset);
        let stats = log.stats();
        assert!(stats.open_segments <= 2 && stats.pinned_segments == 0, "{stats:?}");
    }
    assert_eq!((log.stats().open_segments, disk.descriptors()), (2, before));
}

#[test]
fn the_segment_that_nobody_used_for_longest_is_closed_first() {
    let (disk, log) = closed_segments();
    for offset in [0, 2, 0, 4] {
        openings(&disk, &log, offset);
    }
    assert_eq!(openings(&disk, &log, 0), 0, "it was used since the other one was");
    assert!(openings(&disk, &log, 2) > 0, "it had to go");
}

#[test]
fn what_slices_hold_counts_is_shown_and_is_not_opened_a_second_time() {
    let (disk, log) = closed_segments();
    let slices: Vec<_> = [0, 2, 4].map(|offset| log.read(at(offset), 1).expect("a batch")).into();
    let counts = || (log.stats().open_segments, log.stats().pinned_segments);
    assert_eq!(counts(), (3, 3));
    let before = disk.descriptors();
    for offset in [0, 2, 4] {
        assert_eq!(openings(&disk, &log, offset), 0, "{offset} is open");
    }
    for offset in (6..18).rev() {
        openings(&disk, &log, offset);
        // What is held leaves room for nothing but the segment that is being read.
        assert_eq!(counts(), (4, 3), "at {offset}");
    }
    assert_eq!(disk.descriptors(), before + 1);
    for (slice, value) in slices.iter().zip([0, 2, 4]) {
        let record = slice.records().next().expect("a record").expect("a sound one");
        assert_eq!(record.value(), Some(text(value).as_bytes()));
    }
    drop(slices);
    assert_eq!(counts(), (4, 0));
    openings(&disk, &log, 8);
    openings(&disk, &log, 10);
    assert_eq!(counts(), (2, 0));
}

#[test]
fn a_deleted_segment_counts_as_long_as_somebody_holds_it() {
    let (disk, log) = closed_segments();
    let slice = log.read(at(0), 1).expect("a batch");
    log.delete_records_before(at(10)).expect("deleted");
    let (open, before) = (log.stats().open_segments, disk.descriptors());
    assert_eq!(log.stats().pinned_segments, 1);
    assert_eq!(slice.records().count(), 1);
    let clone = slice.clone();
    drop(slice);
    assert_eq!(log.stats().pinned_segments, 1);
    drop(clone);
    assert_eq!((log.stats().open_segments, log.stats().pinned_segments), (open - 1, 0));
    assert_eq!(disk.descriptors(), before - 1);
}

#[test]
fn where_no_more_files_can_be_opened_none_is_kept_but_for_those_who_hold_it() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..20);
    log.close().expect("closed");
    let log = opened(&disk, small());
    let slice = log.read(at(0), 1).expect("a batch");
    for offset in [2, 4, 6] {
        openings(&disk, &log, offset);
    }
    disk.set_max_descriptors(disk.descriptors());
    assert!(openings(&disk, &log, 8) > 0);
    assert_eq!((log.stats().open_segments, log.stats().pinned_segments), (2, 1));
    assert_eq!(slice.records().count(), 1);
    let before = disk.descriptors();
    drop(slice);
    assert_eq!((log.stats().pinned_segments, disk.descriptors()), (0, before - 1));
}
