//! Calls and configurations that cannot be honoured.

use kstore::{
    AppendOptions, BatchBuilder, Compression, Error, ErrorKind, InvalidRecord, Log, LogConfig, Offset, Record,
    SyncPolicy, Timestamp,
};

use crate::bytes::small_batch;
use crate::site::Site;

fn log_of_three(site: &Site) -> Log {
    let log = Log::open(site.dir(), LogConfig::default().max_message_bytes(400)).expect("a new log");
    for value in ["a", "b", "c"] {
        log.append(&[Record::value(value)]).expect("an append");
    }
    log
}

#[test]
fn a_batch_larger_than_the_limit_is_refused_with_both_sizes_by_every_way_in() {
    let site = Site::new();
    let log = log_of_three(&site);
    let large = [7; 500];
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(Record::value(&large)).expect("it can be encoded");
    let mut encoded = small_batch();
    for _ in 0..8 {
        encoded.extend(small_batch());
    }
    log.append_batch(&AppendOptions::default(), &encoded).expect("the limit is for each batch");
    let end = log.log_end_offset();
    let before = site.contents();
    let too_large = crate::bytes::batch_of(&[Record::value(&large)], Compression::None);
    for error in [
        log.append(&[Record::value(&large)]).expect_err("refused"),
        log.append_built(&AppendOptions::default(), &mut builder).expect_err("refused"),
        log.append_batch(&AppendOptions::default(), &too_large).expect_err("refused"),
    ] {
        let Error::BatchTooLarge { size_bytes, limit_bytes: 400 } = error else { panic!("{error}") };
        assert_eq!(size_bytes, too_large.len() as u64);
        assert_eq!(error.to_string(), format!("a batch of {size_bytes} bytes exceeds the limit of 400"));
        assert_eq!(error.kind(), ErrorKind::Usage);
    }
    assert!(site.contents() == before);
    assert_eq!(builder.len(), 1, "a builder whose append failed keeps its records");
    assert_eq!(log.append(&[Record::value("d")]).expect("the log goes on").base_offset(), end);
}

#[test]
fn a_batch_larger_than_a_segment_is_refused() {
    let site = Site::new();
    let log = Log::open(site.dir(), LogConfig::default().segment_bytes(200)).expect("a new log");
    let error = log.append(&[Record::value(&[7; 500])]).expect_err("refused");
    assert!(matches!(error, Error::BatchTooLarge { limit_bytes: 200, .. }), "{error}");
    let mut encoded = small_batch();
    encoded.extend(small_batch());
    encoded.extend(small_batch());
    let error = log.append_batch(&AppendOptions::default(), &encoded).expect_err("refused");
    let expected = format!("a batch of {} bytes exceeds the limit of 200", encoded.len());
    // Batches of one call go into one segment.
    assert!(encoded.len() > 200 && error.to_string() == expected, "{error}");
}

#[test]
fn an_invalid_configuration_is_refused_by_name_value_and_bound_and_creates_nothing() {
    let every = |records, bytes, interval_ms| SyncPolicy::Every { records, bytes, interval_ms };
    let default = LogConfig::default;
    for (config, message) in [
        (default().segment_bytes(13), "configuration segment_bytes is 13, expected 14..=2147483647 bytes"),
        (default().segment_bytes(1 << 31), "configuration segment_bytes is 2147483648, expected 14..=2147483647 bytes"),
        (default().segment_ms(0), "configuration segment_ms is 0, expected 1 millisecond or more"),
        (default().segment_index_bytes(1), "configuration segment_index_bytes is 1, expected 12..=2147483647 bytes"),
        (default().max_message_bytes(0), "configuration max_message_bytes is 0, expected 1 byte or more"),
        (
            default().max_decompressed_message_bytes(0),
            "configuration max_decompressed_message_bytes is 0, expected 1 byte or more",
        ),
        (default().max_unsynced_bytes(0), "configuration max_unsynced_bytes is 0, expected 1 byte or more"),
        (default().max_open_segments(0), "configuration max_open_segments is 0, expected 1 or more"),
        (
            default().sync_policy(every(None, None, None)),
            "configuration sync_policy is Every without a bound, expected records, bytes or interval_ms",
        ),
        (
            default().sync_policy(every(None, Some(0), None)),
            "configuration sync_policy is a bound of 0, expected bounds of 1 or more",
        ),
    ] {
        let site = Site::new();
        let error = Log::open(site.dir(), config).expect_err(message);
        assert!(matches!(error, Error::InvalidConfig { .. }), "{error}");
        assert_eq!(error.to_string(), message);
        assert!(!site.dir().exists());
    }
}

#[test]
fn an_invalid_change_of_the_configuration_changes_nothing() {
    let site = Site::new();
    let log = log_of_three(&site);
    let error = log.update_config(|config| config.max_message_bytes(10_000).segment_bytes(1)).expect_err("refused");
    assert!(matches!(error, Error::InvalidConfig { name: "segment_bytes", .. }), "{error}");
    let error = log.append(&[Record::value(&[7; 500])]).expect_err("the limit is what it was");
    assert!(matches!(error, Error::BatchTooLarge { limit_bytes: 400, .. }), "{error}");
}

#[test]
fn an_offset_outside_the_log_is_refused_with_the_bounds() {
    let site = Site::new();
    let log = log_of_three(&site);
    let asked = Offset::new(4);
    for error in [
        log.read(asked, 1).expect_err("refused"),
        log.records(asked..).expect_err("refused"),
        log.records_reversed(asked..).expect_err("refused"),
        log.reader().batches(asked..).expect_err("refused"),
        log.sync_to(asked).expect_err("refused"),
        log.on_synced(asked, drop).expect_err("refused"),
    ] {
        let Error::OffsetOutOfRange { asked, start, end } = error else { panic!("{error}") };
        assert_eq!((asked.value(), start.value(), end.value()), (4, 0, 3));
        assert_eq!(error.to_string(), "offset 4 is outside the log, which reaches from 0 to 3");
    }
    assert!(log.read(Offset::new(3), 1).expect("the end is no error").is_empty());
    assert_eq!(log.records(Offset::new(3)..).expect("the end is no error").count(), 0);
}

#[test]
fn an_offset_below_the_log_is_refused_with_the_bounds() {
    let site = Site::new();
    std::fs::create_dir(site.dir()).expect("a new folder");
    std::fs::write(site.file("00000000000000000100.log"), []).expect("a new file");
    let log = Log::open(site.dir(), LogConfig::default()).expect("an empty segment is a log");
    log.append(&[Record::value("x")]).expect("an append");
    let error = log.records(Offset::new(99)..).expect_err("refused");
    assert_eq!(error.to_string(), "offset 99 is outside the log, which reaches from 100 to 101");
}

#[test]
fn a_log_that_ends_elsewhere_is_not_appended_to() {
    let site = Site::new();
    let log = log_of_three(&site);
    let options = AppendOptions::default().expect_log_end(Offset::new(2));
    for records in [&[Record::value("x")][..], &[]] {
        let error = log.append_with(&options, records).expect_err("refused");
        assert!(matches!(error, Error::UnexpectedLogEnd { .. }), "{error}");
        assert_eq!(error.to_string(), "the log ends at 3, the caller expected 2");
    }
    assert_eq!(log.log_end_offset(), Offset::new(3));
}

#[test]
fn a_record_that_cannot_be_encoded_is_named_by_its_place_in_the_call() {
    let site = Site::new();
    let log = log_of_three(&site);
    let bad = Record::value("x").timestamp(Timestamp::from_millis(-5));
    let error = log.append(&[Record::value("w"), bad]).expect_err("refused");
    let Error::InvalidRecord { index: 1, reason: InvalidRecord::NegativeTimestamp { millis: -5 } } = error else {
        panic!("{error}")
    };
    assert_eq!(error.to_string(), "record 1 of the call has the negative timestamp -5");
    assert_eq!(log.log_end_offset(), Offset::new(3), "none of the call's records is there");
}

#[test]
fn a_closed_log_says_so_to_every_call_but_to_close() {
    let site = Site::new();
    let log = log_of_three(&site);
    let slice = log.read(Offset::ZERO, 1 << 20).expect("an open log");
    let reader = log.reader();
    log.close().expect("a clean close");
    log.close().expect("a second close is nothing");
    for error in [
        log.append(&[Record::value("x")]).map(drop).expect_err("closed"),
        log.append(&[]).map(drop).expect_err("closed"),
        log.append_batch(&AppendOptions::default(), &small_batch()).map(drop).expect_err("closed"),
        log.read(Offset::ZERO, 1).map(drop).expect_err("closed"),
        reader.records(..).map(drop).expect_err("closed"),
        reader.records_reversed(..).map(drop).expect_err("closed"),
        log.segments().map(drop).expect_err("closed"),
        log.roll().map(drop).expect_err("closed"),
        log.on_synced(Offset::new(3), |_| {}).expect_err("closed"),
        log.run_once(Timestamp::from_millis(0)).expect_err("closed"),
        log.reopen().expect_err("closed"),
    ] {
        assert!(matches!(error, Error::Closed), "{error}");
        assert_eq!(error.to_string(), "the log was closed");
    }
    assert_eq!(slice.records().count(), 3, "a slice outlives its log");
}
