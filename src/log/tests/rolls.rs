//! When a segment ends and another begins.

use std::time::Duration;

use super::bench::{append, at, bases, disk, fill, log_path, opened, small, text, upto, values};
use crate::config::{LogConfig, Worker};
use crate::error::{Error, ErrorKind};
use crate::fs::sim::SimDisk;
use crate::log::Log;
use crate::offset::{Offset, Timestamp};
use crate::record::{BatchBuilder, BatchStamp, Compression, Record, set_base_offset};

fn by_time(millis: u64) -> LogConfig {
    small().segment_bytes(1 << 20).segment_ms(millis)
}

fn append_at(log: &Log, millis: i64) {
    log.append(&[Record::value("x").timestamp(Timestamp::from_millis(millis))]).expect("there is room");
}

/// A batch as a client sends it, whose records carry no time.
fn timeless() -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(Record::value("x")).expect("a sound record");
    let stamp = BatchStamp { now: Timestamp::from_millis(-1), ..BatchStamp::default() };
    builder.finish(&stamp).expect("a small batch").to_vec()
}

// Rows 143, 144.
#[test]
fn records_without_times_roll_by_the_clock_and_an_empty_segment_never_does() {
    let disk = disk();
    let log = opened(&disk, by_time(100));
    disk.advance(Duration::from_millis(1000));
    let options = crate::log::AppendOptions::default();
    log.append_batch(&options, &timeless()).expect("there is room");
    assert_eq!(bases(&log), [0], "an empty segment does not roll");
    log.append(&[]).expect("nothing is no error");
    assert_eq!(bases(&log), [0], "an append of nothing rolls nothing");
    log.append_batch(&options, &timeless()).expect("there is room");
    assert_eq!(bases(&log), [0, 1], "the clock went on since the segment was begun");
    disk.advance(Duration::from_millis(100));
    log.append_batch(&options, &timeless()).expect("there is room");
    assert_eq!(bases(&log), [0, 1], "exactly as long is not longer");
    disk.advance(Duration::from_millis(1));
    log.append_batch(&options, &timeless()).expect("there is room");
    assert_eq!(bases(&log), [0, 1, 3]);
}

// Row 143.
#[test]
fn records_with_times_roll_by_their_difference_whatever_the_clock_says() {
    let disk = disk();
    let log = opened(&disk, by_time(100));
    append_at(&log, 5000);
    disk.advance(Duration::from_millis(10_000));
    append_at(&log, 5100);
    assert_eq!(bases(&log), [0]);
    log.append_batch(&crate::log::AppendOptions::default(), &timeless()).expect("there is room");
    assert_eq!(bases(&log), [0], "a batch without a time does not bring the clock back in");
    append_at(&log, 5101);
    assert_eq!(bases(&log), [0, 3]);
    append_at(&log, 1);
    assert_eq!(bases(&log), [0, 3], "an older record waits for nothing");
}

// Row 143.
#[test]
fn the_first_time_of_a_segment_is_known_after_a_reopening_too() {
    let disk = disk();
    let log = opened(&disk, by_time(100));
    append_at(&log, 5000);
    append_at(&log, 5090);
    log.close().expect("a healthy disk");
    let log = opened(&disk, by_time(100));
    append_at(&log, 5100);
    assert_eq!(bases(&log), [0]);
    append_at(&log, 5101);
    assert_eq!(bases(&log), [0, 3]);
}

// Row 145.
#[test]
fn jitter_brings_a_roll_forward_and_never_back() {
    let disk = disk();
    let log = opened(&disk, by_time(1000).segment_jitter_ms(500));
    for _ in 0..20 {
        let before = bases(&log).len();
        append_at(&log, 10_000);
        let first = log.log_end_offset();
        append_at(&log, 10_500);
        assert_eq!(bases(&log).len(), before, "no earlier than the whole jitter allows");
        append_at(&log, 11_001);
        assert_eq!(bases(&log).len(), before + 1, "no later than without jitter");
        assert!(log.log_end_offset() > first);
        log.roll().expect("there is room");
    }
}

#[test]
fn a_clock_that_goes_backwards_rolls_nothing_and_breaks_nothing() {
    let disk = disk();
    let log = opened(&disk, by_time(100));
    append(&log, 0).expect("there is room");
    disk.set_wall_clock(Timestamp::from_millis(1000));
    append(&log, 1).expect("there is room");
    log.run_once(Timestamp::from_millis(5)).expect("nothing is due");
    assert_eq!((bases(&log), values(&log)), (vec![0], upto(2)));
}

// Rows 133, 146, 150.
#[test]
fn a_segment_is_filled_to_the_byte_and_one_more_byte_rolls() {
    let probe = opened(&disk(), small());
    append(&probe, 0).expect("there is room");
    let batch_bytes = probe.segments().expect("segments")[0].size_bytes;
    for (segment_bytes, expected) in [(3 * batch_bytes, vec![0, 3, 6]), (3 * batch_bytes - 1, vec![0, 2, 4, 6])] {
        let log = opened(&disk(), small().segment_bytes(segment_bytes));
        for value in 0..7 {
            let appended = append(&log, value).expect("there is room");
            assert_eq!((appended.base_offset(), appended.next_offset()), (at(value), at(value + 1)));
        }
        assert_eq!(bases(&log), expected);
        let next: Vec<Offset> = log.segments().expect("segments").iter().map(|segment| segment.next_offset).collect();
        assert_eq!(next.last(), Some(&at(7)));
        assert_eq!(values(&log), upto(7));
    }
}

// Rows 139, 140.
#[test]
fn a_batch_larger_than_the_limit_or_the_segment_is_refused() {
    let log = opened(&disk(), small().max_message_bytes(100));
    let refused = append(&log, 0).expect_err("110 bytes");
    assert!(matches!(refused, Error::BatchTooLarge { limit_bytes: 100, .. }), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Usage);
    let log = opened(&disk(), small().segment_bytes(200));
    let large = [0; 200];
    assert!(matches!(log.append(&[Record::value(&large)]), Err(Error::BatchTooLarge { limit_bytes: 200, .. })));
    let two: Vec<u8> = [timeless(), timeless(), timeless()].concat();
    let refused = log.append_batch(&crate::log::AppendOptions::default(), &two);
    assert!(matches!(refused, Err(Error::BatchTooLarge { .. })), "{refused:?}");
    assert_eq!(log.log_end_offset(), at(0));
}

// Row 141.
#[test]
fn null_keys_and_values_and_records_without_times_are_taken() {
    let log = opened(&disk(), small());
    log.append(&[Record::from_parts(None, None), Record::tombstone("k")]).expect("there is room");
    log.append_batch(&crate::log::AppendOptions::default(), &timeless()).expect("there is room");
    let records: Vec<_> = log.records(at(0)..).expect("in the log").map(|record| record.expect("readable")).collect();
    assert_eq!((records[0].key(), records[0].value()), (None, None));
    assert_eq!((records[1].key(), records[1].value()), (Some(&b"k"[..]), None));
    assert_eq!(records[2].timestamp(), None);
}

// Row 148.
#[test]
fn a_full_index_rolls_the_segment() {
    let disk = disk();
    let log = opened(&disk, small().segment_bytes(1 << 20).segment_index_bytes(24));
    fill(&log, 0..9);
    assert!(bases(&log).len() > 1, "{:?}", bases(&log));
    assert_eq!(values(&log), upto(9));
    log.close().expect("a healthy disk");
    // Reopened with less room than the index has entries, it is full, and the log goes on in another segment.
    let log = opened(&disk, small().segment_bytes(1 << 20).segment_index_bytes(12));
    fill(&log, 9..12);
    assert_eq!(values(&log), upto(12));
}

// Rows 147, 149.
#[test]
fn rolling_an_empty_segment_leaves_it_and_it_takes_appends() {
    let log = opened(&disk(), small());
    assert_eq!(log.roll().expect("nothing to do"), at(0));
    fill(&log, 0..1);
    assert_eq!(log.roll().expect("there is room"), at(1));
    assert_eq!(log.roll().expect("nothing to do"), at(1));
    fill(&log, 1..2);
    assert_eq!((bases(&log), values(&log)), (vec![0, 1], upto(2)));
}

// Row 149.
#[test]
fn a_roll_does_not_touch_a_file_that_has_the_next_name_already() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..1);
    disk.write_file(log_path(1), b"somebody else's".to_vec());
    log.roll().expect_err("the name is taken");
    assert_eq!(disk.read_file(log_path(1)).as_deref(), Some(&b"somebody else's"[..]));
    assert_eq!(values(&log), upto(1));
}

// Row 152.
#[test]
fn the_worker_syncs_a_sealed_segment_so_that_the_recovery_point_follows_the_roll() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..3);
    assert_eq!(log.recovery_point(), at(0));
    log.run_once(Timestamp::from_millis(0)).expect("a healthy disk");
    assert_eq!(log.recovery_point(), at(2), "as far as the sealed segment reaches");
    let threaded = opened(&super::bench::disk(), small().worker(Worker::Thread));
    fill(&threaded, 0..3);
    super::callbacks::wait_until("the sealed segment is synced", || threaded.recovery_point() == at(2));
}

/// A log whose last batch ends just below the largest relative offset.
fn near_overflow(disk: &SimDisk) -> Log {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(Record::value(&text(0))).expect("a sound record");
    let stamp = BatchStamp { now: crate::fs::Env::sim(disk).wall_clock(), ..BatchStamp::default() };
    let mut batch = builder.finish(&stamp).expect("a small batch").to_vec();
    set_base_offset(&mut batch, at((1 << 31) - 2));
    disk.write_file(log_path(0), batch);
    opened(disk, small().segment_bytes(1 << 20))
}

// Row 157.
#[test]
fn a_segment_rolls_before_its_relative_offsets_overflow() {
    let disk = disk();
    let log = near_overflow(&disk);
    append(&log, 1).expect("the last offset of the segment");
    assert_eq!(bases(&log), [0]);
    append(&log, 2).expect("the first of the next");
    assert_eq!(bases(&log), [0, 1 << 31]);
    assert_eq!(values(&log), upto(3));
}

#[test]
fn the_largest_offset_of_the_format_is_not_passed() {
    let disk = disk();
    let base = Offset::MAX.value() - 1;
    disk.write_file(log_path(base), Vec::new());
    let log = opened(&disk, small());
    append(&log, 0).expect("one is left");
    assert!(matches!(append(&log, 1), Err(Error::OffsetsExhausted)));
    assert_eq!(values(&log), [0]);
}
