//! What an interrupted operation leaves behind is finished or undone, and a crash while doing so changes nothing.

use std::path::Path;

use super::bench::{DIR, bases, disk, fill, log_path, names, open, opened, path, small, upto, values};
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk};
use crate::log::{Fate, Trust};
use crate::names::SegmentFile;

const LAST: u64 = 9;

fn plant(disk: &SimDisk, base: u64, kind: SegmentFile, suffix: &str, bytes: &[u8]) {
    disk.write_file(
        Path::new(DIR).join(format!("{}{suffix}", kind.name(crate::offset::Offset::new(base)))),
        bytes.to_vec(),
    );
}

/// A closed log of five segments, and what compaction finished of the second to the fourth and did not swap in: two
/// files, the larger of which holds what was in two.
fn interrupted_swap(clean: bool) -> SimDisk {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..LAST);
    let disk = if clean {
        log.close().expect("a healthy disk");
        disk
    } else {
        log.sync().expect("a healthy disk");
        disk.crash(CrashStrength::Kill)
    };
    let content = |base| disk.read_file(log_path(base)).expect("a segment");
    plant(&disk, 2, SegmentFile::Log, ".swap", &content(2));
    plant(&disk, 4, SegmentFile::Log, ".swap", &[content(4), content(6)].concat());
    plant(&disk, 4, SegmentFile::OffsetIndex, ".swap", &[3; 16]);
    plant(&disk, 4, SegmentFile::TimeIndex, ".swap", &[3; 24]);
    plant(&disk, 30, SegmentFile::TimeIndex, ".swap", &[3; 24]);
    plant(&disk, 40, SegmentFile::Log, ".cleaned", &[3; 99]);
    plant(&disk, 40, SegmentFile::Log, ".swap", &[3; 99]);
    plant(&disk, 1, SegmentFile::Log, ".deleted", &[3; 99]);
    plant(&disk, 0, SegmentFile::Log, ".truncating", &[3; 99]);
    plant(&disk, 8, SegmentFile::OffsetIndex, ".truncating", &[3; 16]);
    disk
}

fn copy(disk: &SimDisk) -> SimDisk {
    disk.image(CrashStrength::Kill, |_, options| options - 1)
}

/// The log that must come out whatever happens on the way.
fn check(disk: &SimDisk, case: &str) {
    let log = open(disk, small()).unwrap_or_else(|error| panic!("{case}: {error}"));
    assert_eq!(values(&log), upto(LAST), "{case}");
    assert_eq!(bases(&log), [0, 2, 4, 8], "{case}");
    let stray = |name: &String| [".swap", ".cleaned", ".deleted", ".truncating"].iter().any(|end| name.ends_with(end));
    assert!(!names(disk).iter().any(stray), "{case}: {:?}", names(disk));
    fill(&log, LAST..LAST + 2);
    log.close().unwrap_or_else(|error| panic!("{case}: {error}"));
    let log = opened(disk, small());
    assert_eq!(values(&log), upto(LAST + 2), "{case}");
}

// Row 265.
#[test]
fn leftovers_are_finished_or_removed_and_reported() {
    for clean in [true, false] {
        let disk = interrupted_swap(clean);
        let log = opened(&disk, small());
        let report = log.recovery_report();
        assert_eq!(report.trust, Trust::Foreign, "what was swapped in is read whole");
        let swapped = report.leftovers.iter().filter(|leftover| leftover.fate == Fate::SwappedIn).count();
        assert_eq!(swapped, 2, "{report:?}");
        drop(log);
        check(&disk, "no crash");
    }
}

// Row 265.
#[test]
fn a_crash_after_any_step_of_a_swap_leaves_the_same_log() {
    for clean in [true, false] {
        for strength in [CrashStrength::Kill, CrashStrength::Ordered, CrashStrength::Strict] {
            for calls in 0.. {
                let disk = copy(&interrupted_swap(clean));
                disk.power_off_after(calls);
                let finished = open(&disk, small());
                let was_cut = disk.is_off();
                for keep_all in [true, false] {
                    let after = disk.image(strength, |_, options| if keep_all { options - 1 } else { 0 });
                    check(&after, &format!("clean {clean}, {strength:?} after {calls} calls, keeping all: {keep_all}"));
                }
                check(&disk.crash(strength), &format!("clean {clean}, {strength:?} after {calls} calls, by chance"));
                drop(finished);
                if !was_cut {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_step_of_a_swap_that_fails_leaves_the_same_log() {
    for call in CallKind::ALL {
        for nth in 1.. {
            let disk = copy(&interrupted_swap(true));
            disk.fail(Fault::once(call, nth, FaultKind::InputOutput));
            let outcome = open(&disk, small());
            if disk.calls(call) < nth {
                break;
            }
            drop(outcome);
            disk.heal();
            check(&disk, &format!("{call:?} number {nth}"));
        }
    }
}

// A roll that failed left an empty file under the log end's name; the old segment grew past it, and recovery cut off
// what lay above that name.
#[test]
fn an_empty_file_of_a_roll_that_failed_does_not_end_the_segment_before_it() {
    let disk = disk();
    let log = opened(&disk, small().segment_bytes(1 << 20));
    fill(&log, 0..3);
    disk.fail(Fault::once(CallKind::Open, 1, FaultKind::TooManyOpen).on(".timeindex"));
    log.roll().expect_err("no descriptor is left");
    disk.heal();
    assert!(
        !names(&disk).contains(&SegmentFile::Log.name(crate::offset::Offset::new(3))),
        "the roll took its file back"
    );
    fill(&log, 3..6);
    // As a power cut may leave it that lost the removal.
    disk.write_file(path(3, SegmentFile::Log), Vec::new());
    let disk = disk.crash(CrashStrength::Kill);
    let log = opened(&disk, small().segment_bytes(1 << 20));
    assert_eq!((values(&log), bases(&log)), (upto(6), vec![0]));
    log.roll().expect("the disk is well again");
    fill(&log, 6..8);
    assert_eq!(values(&log), upto(8));
}
