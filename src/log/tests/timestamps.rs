//! Which timestamps an append takes, by each of its ways in.

use super::bench::{disk, opened, small};
use crate::config::LogConfig;
use crate::error::{Error, ErrorKind, InvalidBatch, InvalidRecord, Result};
use crate::log::{AppendOptions, Appended, Log};
use crate::offset::{Offset, Timestamp};
use crate::record::{BatchBuilder, BatchStamp, Compression, Record, TimestampType};

const NOW: i64 = 1_000_000;

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn early(millis: i64, earliest: i64) -> InvalidRecord {
    InvalidRecord::TimestampTooEarly { timestamp: time(millis), earliest: time(earliest) }
}

fn late(millis: i64, latest: i64) -> InvalidRecord {
    InvalidRecord::TimestampTooLate { timestamp: time(millis), latest: time(latest) }
}

fn log_of(config: LogConfig) -> Log {
    let disk = disk();
    disk.set_wall_clock(time(NOW));
    opened(&disk, config)
}

fn builder_of(times: &[Option<i64>]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Compression::None);
    for millis in times {
        let record = Record::value("v");
        builder.push(millis.map_or(record, |millis| record.timestamp(time(millis)))).expect("a sound record");
    }
    builder
}

/// Which record was refused, and why.
fn refusal(answer: Result<Appended>) -> Option<(u64, InvalidRecord)> {
    match answer {
        Ok(_) => None,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
            match error {
                Error::InvalidRecord { index, reason } => Some((index as u64, reason)),
                Error::InvalidBatch { reason: InvalidBatch::Record { index, reason }, .. } => Some((index, reason)),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Appends records with these times in every way there is, which must agree.
fn append(log: &Log, times: &[Option<i64>]) -> Option<(u64, InvalidRecord)> {
    let options = AppendOptions::default();
    let records: Vec<_> = times
        .iter()
        .map(|millis| millis.map_or(Record::value("v"), |millis| Record::value("v").timestamp(time(millis))))
        .collect();
    let end = log.log_end_offset();
    let answer = refusal(log.append_with(&options, &records));
    let mut builder = builder_of(times);
    assert_eq!(refusal(log.append_built(&options, &mut builder)), answer);
    assert_eq!(builder.is_empty(), answer.is_none(), "a builder whose append failed keeps its records");
    // A client stamps what has no time with its own clock, which goes right here.
    let stamp = BatchStamp { now: time(NOW), ..BatchStamp::default() };
    let encoded = builder_of(times).finish(&stamp).expect("a small batch").to_vec();
    assert_eq!(refusal(log.append_batch(&options, &encoded)), answer);
    let appended = if answer.is_none() { 3 * times.len() as u64 } else { 0 };
    assert_eq!(log.log_end_offset(), end + appended, "a refused append leaves nothing");
    answer
}

// Rows 167, 177.
#[test]
fn timestamps_outside_the_bounds_are_refused_and_the_bounds_themselves_are_not() {
    let log = log_of(small().message_timestamp_before_max_ms(100).message_timestamp_after_max_ms(50));
    assert_eq!(append(&log, &[Some(NOW - 100), Some(NOW), Some(NOW + 50)]), None);
    assert_eq!(append(&log, &[None]), None, "the clock is always inside");
    assert_eq!(append(&log, &[Some(NOW - 101)]), Some((0, early(NOW - 101, NOW - 100))));
    assert_eq!(append(&log, &[Some(NOW), Some(NOW + 51)]), Some((1, late(NOW + 51, NOW + 50))));
    assert_eq!(append(&log, &[Some(NOW), None, Some(0), Some(1)]), Some((2, early(0, NOW - 100))));
    assert_eq!(append(&log, &[None, None, Some(i64::MAX / 2)]), Some((2, late(i64::MAX / 2, NOW + 50))));
    assert_eq!(append(&log, &[None, Some(NOW), Some(5)]), Some((2, early(5, NOW - 100))));
}

// Row 167.
#[test]
fn each_bound_holds_without_the_other() {
    let before = log_of(small().message_timestamp_before_max_ms(0));
    assert_eq!(append(&before, &[Some(NOW), Some(i64::MAX / 2)]), None);
    assert_eq!(append(&before, &[Some(NOW - 1)]), Some((0, early(NOW - 1, NOW))));
    let after = log_of(small().message_timestamp_after_max_ms(0));
    assert_eq!(append(&after, &[Some(0), Some(NOW)]), None);
    assert_eq!(append(&after, &[Some(NOW + 1)]), Some((0, late(NOW + 1, NOW))));
    let none = log_of(small());
    assert_eq!(append(&none, &[Some(0), Some(i64::MAX / 2)]), None, "timestamps are stored as given");
    let kafka = log_of(LogConfig::kafka().worker(crate::config::Worker::Caller));
    assert_eq!(append(&kafka, &[Some(0), Some(NOW + 3_600_000)]), None);
    assert_eq!(append(&kafka, &[Some(NOW + 3_600_001)]), Some((0, late(NOW + 3_600_001, NOW + 3_600_000))));
}

// Rows 167, 168.
#[test]
fn under_log_append_time_the_bounds_do_not_count() {
    let config = small().message_timestamp_before_max_ms(0).message_timestamp_after_max_ms(0);
    let log = log_of(config.message_timestamp_type(TimestampType::LogAppendTime));
    assert_eq!(append(&log, &[Some(0), Some(2 * NOW)]), None);
    for record in log.records(Offset::ZERO..).expect("an open log") {
        assert_eq!(record.expect("a sound record").timestamp(), Some(time(NOW)));
    }
}

// Row 167.
#[test]
fn the_bounds_of_an_open_log_can_be_changed() {
    let log = log_of(small());
    assert_eq!(append(&log, &[Some(0)]), None);
    log.update_config(|config| config.message_timestamp_before_max_ms(10)).expect("a sound configuration");
    assert_eq!(append(&log, &[Some(0)]), Some((0, early(0, NOW - 10))));
    log.update_config(|config| config.message_timestamp_before_max_ms(None)).expect("a sound configuration");
    assert_eq!(append(&log, &[Some(0)]), None);
}
