//! Logs that change under the check.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::error::Error;

struct EndAtDrop<'a>(&'a AtomicBool);

impl Drop for EndAtDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_check_beside_appends_rolls_and_syncs_finds_nothing() {
    let disk = SimDisk::in_memory(1);
    let log = open(&disk, &small().segment_bytes(5000));
    let ends = AtomicBool::new(false);
    let checks = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rounds = 0;
            while !ends.load(Ordering::Relaxed) {
                // A check takes the longer the more there is: a log that grew as fast as it can would outrun it for ever.
                if rounds > 20 * checks.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                    continue;
                }
                rounds += 1;
                fill(&log, 5);
                log.sync().expect("a healthy disk");
            }
        });
        // Also where an assertion fails: else the other thread would go on for ever.
        let _end = EndAtDrop(&ends);
        for _ in 0..30 {
            checks.fetch_add(1, Ordering::Relaxed);
            let report = log.check_integrity().expect("an open log");
            assert_eq!(kinds(&report, Severity::Warning), Vec::<&str>::new(), "{}", report.to_json());
            // Another process sees the same directory without the writer's knowledge.
            let report = check(&disk);
            assert!(report.live && report.is_clean(), "{}", report.to_json());
        }
    });
    log.close().expect("a healthy disk");
    assert_eq!(kinds(&check(&disk), Severity::Warning), Vec::<&str>::new());
}

#[test]
fn damage_in_an_open_log_is_found_and_appends_go_on() {
    let disk = SimDisk::in_memory(1);
    let log = open(&disk, &small());
    fill(&log, 10);
    disk.flip_bit(path(0, SegmentFile::Log), 70, 2);
    let last = files(&disk, ".log").pop().expect("a segment");
    let length = disk.read_file(&last).expect("a file").len();
    disk.flip_bit(&last, length as u64 - 1, 0);
    let report = log.check_integrity().expect("an open log");
    assert_eq!(kinds(&report, Severity::Error), ["batch", "batch"], "{}", report.to_json());
    assert_eq!(report.findings[1].path, last);
    fill(&log, 2);
}

#[test]
fn a_batch_on_its_way_is_a_note_to_another_process() {
    let disk = SimDisk::in_memory(1);
    let log = open(&disk, &small());
    fill(&log, 2);
    let first = path(0, SegmentFile::Log);
    let bytes = disk.read_file(&first).expect("a file");
    disk.write_file(&first, [&bytes[..], &bytes[..40]].concat());
    let report = check(&disk);
    assert_eq!(kinds(&report, Severity::Note), ["torn_tail"], "{}", report.to_json());
    assert!(report.live && report.is_clean());
    assert_eq!(log.check_integrity().expect("an open log").findings.len(), 0);
}

#[test]
fn a_closed_log_is_not_checked_by_its_old_handles() {
    let disk = SimDisk::in_memory(1);
    let log = open(&disk, &small());
    log.close().expect("a healthy disk");
    assert!(matches!(log.check_integrity(), Err(Error::Closed)));
    assert!(matches!(log.reader().check_integrity(), Err(Error::Closed)));
}
