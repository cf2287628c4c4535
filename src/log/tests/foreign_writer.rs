//! Readers of a directory that another process writes to: what its writer appends, rolls, cuts and begins anew.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::bench::{DIR, append, at, disk, fill, log_path, number, opened, small, text, upto};
use super::races::watched;
use crate::error::Error;
use crate::fs::Env;
use crate::fs::sim::SimDisk;
use crate::log::{Log, Reader, Tailer};
use crate::offset::Timestamp;
use crate::record::Record;

const NO_TIME: Duration = Duration::ZERO;

/// As another process has it.
fn read_only(disk: &SimDisk) -> Reader {
    Log::open_read_only_in(&Env::sim(disk), Path::new(DIR)).expect("a log")
}

/// What the tailer has at once.
fn available(tailer: &mut Tailer) -> Vec<u64> {
    std::iter::from_fn(|| tailer.next_timeout(NO_TIME).expect("no error"))
        .map(|record| number(record.value()))
        .collect()
}

fn timed(log: &Log, millis: i64) {
    log.append(&[Record::value("v").timestamp(Timestamp::from_millis(millis))]).expect("there is room");
}

// Story: a reader of another process's log asked for a time, which taught it the bound of the last segment; what the
// writer appended there later did not raise the bound, and was passed over by every question about times.
#[test]
fn what_another_process_appended_is_found_by_its_time() {
    let disk = disk();
    let log = opened(&disk, small().segment_bytes(1 << 20));
    timed(&log, 10);
    let reader = read_only(&disk);
    let found = |offset, millis| Some((at(offset), Timestamp::from_millis(millis)));
    assert_eq!(reader.max_timestamp().expect("readable"), found(0, 10));
    timed(&log, 20);
    assert!(reader.wait_for(at(2), NO_TIME).expect("readable"));
    assert_eq!(reader.offset_for_timestamp(Timestamp::from_millis(15)).expect("readable"), found(1, 20));
    assert_eq!(reader.max_timestamp().expect("readable"), found(1, 20));
}

// Story: a reader that opened the directory in the middle of an append took the half of a batch for a torn tail. The
// batch became whole and was shown, but the reader never left that segment for the next one.
#[test]
fn who_opened_in_the_middle_of_an_append_follows_over_the_next_roll() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..2);
    let whole = disk.read_file(log_path(0)).expect("a file");
    disk.write_file(log_path(0), &whole[..whole.len() - 10]);
    let mut tailer = read_only(&disk).tail(at(0));
    assert_eq!(available(&mut tailer), [0]);
    disk.write_file(log_path(0), whole);
    fill(&log, 2..6);
    assert_eq!(available(&mut tailer), [1, 2, 3, 4, 5]);
}

// Story: a reader that opened the directory of a busy writer listed the segments, and then read a state that spoke of a
// segment that was begun meanwhile. It believed nobody, and called the end of the log lost.
#[test]
fn opening_beside_a_busy_writer_finds_no_damage() {
    watched("a writer", || {
        let disk = disk();
        let log = opened(&disk, small());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for value in 0..600 {
                    append(&log, value).expect("there is room");
                    if value % 2 == 1 {
                        log.sync().expect("a healthy disk");
                    }
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                let reader = read_only(&disk);
                let report = reader.recovery_report();
                assert!(report.damage.is_empty() && report.torn.is_empty(), "{report:?}");
                let end = reader.log_end_offset().value();
                let seen: Vec<_> =
                    reader.records(..).expect("a range").map(|r| number(r.expect("sound").value())).collect();
                assert_eq!(seen, upto(end));
            }
        });
    });
}

// Story: between two looks of a reader in another process the log was truncated and grew beyond what was shown. The
// reader went on in the middle of a batch, took that for one being written, and slept for ever.
#[test]
fn a_truncation_in_another_process_is_noticed_even_if_the_log_has_grown_again() {
    for (cut, sealed, rewrite) in [(1, false, 9), (3, false, 9), (3, false, 4), (2, true, 9), (0, false, 6)] {
        let config = if sealed { small() } else { small().segment_bytes(1 << 20) };
        let disk = disk();
        let log = opened(&disk, config);
        fill(&log, 0..4);
        let reader = read_only(&disk);
        let (mut above, mut below) = (reader.tail(at(0)), reader.tail(at(0)));
        assert_eq!(available(&mut above), upto(4));
        log.truncate_to(at(cut)).expect("a healthy disk");
        fill(&log, 100 + cut..100 + rewrite);
        let error = above.next_timeout(NO_TIME).expect_err("records that it gave are gone");
        assert!(matches!(error, Error::Truncated { asked, .. } if asked == at(4)), "{error:?}");
        let expected: Vec<u64> = (0..cut).chain(100 + cut..100 + rewrite).collect();
        assert_eq!(available(&mut below), expected, "cut at {cut}");
        let all: Vec<_> = reader.records(..).expect("a range").map(|r| number(r.expect("sound").value())).collect();
        assert_eq!(all, expected);
    }
}

// Story: as with a truncation; a log that was begun anew at its old start and grew again looked like more of the old one.
#[test]
fn a_log_that_another_process_began_anew_is_noticed() {
    for start in [0, 2, 9] {
        let disk = disk();
        let log = opened(&disk, small().segment_bytes(1 << 20));
        fill(&log, 0..4);
        let reader = read_only(&disk);
        let mut above = reader.tail(at(0));
        assert_eq!(available(&mut above), upto(4));
        log.reset_to(at(start)).expect("a healthy disk");
        fill(&log, 100..110);
        let error = above.next_timeout(NO_TIME).expect_err("records that it gave are gone");
        assert!(matches!(error, Error::Truncated { .. } | Error::OffsetOutOfRange { .. }), "{error:?}");
        assert_eq!(available(&mut reader.tail(at(start))), (100..110).collect::<Vec<_>>());
    }
}

// Story: a question about times that met a truncation was answered with an offset that nobody had asked for.
#[test]
fn questions_about_times_are_answered_while_the_log_is_truncated() {
    watched("a writer", || {
        let disk = disk();
        let log = opened(&disk, small());
        let done = AtomicBool::new(false);
        let time = |offset: u64| Timestamp::from_millis(1000 + i64::try_from(offset).expect("small"));
        let append = |offset| log.append(&[Record::value(&text(offset)).timestamp(time(offset))]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..400 {
                    for _ in 0..5 {
                        append(log.log_end_offset().value()).expect("there is room");
                    }
                    log.truncate_to(at(round % 3)).expect("a healthy disk");
                }
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                if let Some((offset, found)) = log.max_timestamp().expect("a healthy log") {
                    assert_eq!(found, time(offset.value()));
                }
                if let Some((offset, found)) = log.offset_for_timestamp(time(3)).expect("a healthy log") {
                    assert_eq!((offset, found), (at(3), time(3)));
                }
            }
        });
    });
}
