//! The batch builder: sizes, timestamps, limits, and buffers that stay.

use super::*;
use crate::record::vectors::{decoded, shown, time};
use crate::record::{DecodeLimits, DecodedBatch};

fn finished(builder: &mut BatchBuilder, now: i64) -> DecodedBatch {
    let stamp = BatchStamp { now: time(now), ..BatchStamp::default() };
    let batch = builder.finish(&stamp).unwrap().to_vec();
    DecodedBatch::decode(batch, DecodeLimits::default()).unwrap()
}

fn timestamps(batch: &DecodedBatch) -> Vec<i64> {
    batch.records().map(|record| Timestamp::to_disk(record.unwrap().timestamp())).collect()
}

/// Batches of records with the given times; −1 stands for a record without one.
fn timed(times: &[i64]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Compression::None);
    for millis in times {
        let record = Record::new("key", "value");
        builder.push(if *millis < 0 { record } else { record.timestamp(time(*millis)) }).unwrap();
    }
    builder
}

#[test]
fn records_without_a_timestamp_get_that_of_the_append_however_they_are_mixed() {
    let now = 1_700_000_000_000;
    let cases: [&[i64]; 6] =
        [&[-1, -1, -1], &[5, 1, 9], &[5, -1, 9], &[-1, 5, -1], &[now + 9, -1, 0, -1], &[-1, -1, now + 1]];
    for times in cases {
        let mut builder = timed(times);
        // A second finish, after an append that failed, starts from the same records.
        for now in [now, now + 1000, 3] {
            let batch = finished(&mut builder, now);
            let expected: Vec<_> = times.iter().map(|time| if *time < 0 { now } else { *time }).collect();
            assert_eq!(timestamps(&batch), expected);
            assert_eq!(batch.header().max_timestamp, *expected.iter().max().unwrap());
            assert_eq!(batch.header().base_timestamp, expected[0]);
        }
    }
}

// Row 37.
#[test]
fn the_largest_timestamp_is_that_of_the_records_or_of_the_append() {
    let batch = finished(&mut timed(&[5, 70, 6]), 100);
    assert_eq!((batch.header().max_timestamp, batch.header().base_timestamp), (70, 5));
    let batch = finished(&mut timed(&[-1, -1]), -1);
    assert_eq!((batch.header().max_timestamp, batch.header().base_timestamp), (-1, -1));
    assert_eq!(timestamps(&batch), [-1, -1]);
    let stamp = BatchStamp { now: time(50), timestamp_type: TimestampType::LogAppendTime, ..BatchStamp::default() };
    let mut builder = timed(&[5, 70, 6]);
    let batch = builder.finish(&stamp).unwrap().to_vec();
    let batch = DecodedBatch::decode(batch, DecodeLimits::default()).unwrap();
    assert_eq!(timestamps(&batch), [50, 50, 50]);
    assert_eq!((batch.header().max_timestamp, batch.header().base_timestamp), (50, 5));
}

#[test]
fn a_negative_timestamp_is_refused_and_leaves_the_builder_as_it_was() {
    let mut builder = timed(&[5]);
    let before = finished(&mut builder, 0);
    let refused = builder.push(Record::new("k", "v").timestamp(time(-1))).unwrap_err();
    let reason = InvalidRecord::NegativeTimestamp { millis: -1 };
    assert!(matches!(refused, Error::InvalidRecord { index: 1, reason: found } if found == reason));
    assert_eq!(builder.len(), 1);
    let after = finished(&mut builder, 0);
    assert_eq!((after.header(), after.region()), (before.header(), before.region()));
}

#[test]
fn records_have_the_same_bytes_however_they_are_pushed() {
    let value = vec![7; 9000];
    let headers: &[(&str, Option<&[u8]>)] = &[("trace", Some(b"7f"))];
    let mut records = Vec::new();
    for millis in [-1, 0, 5, 63, 64, 9000, i64::MAX] {
        for key in [None, Some(&value[..0]), Some(&value[..20])] {
            for value in [None, Some(&value[..2]), Some(&value[..100]), Some(&value[..])] {
                for headers in [&[], headers] {
                    let record = Record::from_parts(key, value).headers(headers);
                    records.push(if millis < 0 { record } else { record.timestamp(time(millis)) });
                }
            }
        }
    }
    let (mut by_both, mut by_one) = (BatchBuilder::new(Compression::None), BatchBuilder::new(Compression::None));
    let mut short = 0;
    // What comes first decides what is short behind it, also in a builder that has held a batch before.
    for first in 0..records.len() {
        by_both.clear();
        by_one.clear();
        for record in records[first..].iter().chain(&records[..first]) {
            let was_short = by_both.push_short(record);
            short += usize::from(was_short);
            if !was_short {
                by_both.push_any(*record).unwrap();
            }
            by_one.push_any(*record).unwrap();
            assert_eq!(by_both.size_bytes(), by_one.size_bytes());
        }
        let stamp = BatchStamp { now: time(50), ..BatchStamp::default() };
        assert!(by_both.finish(&stamp).unwrap() == by_one.finish(&stamp).unwrap(), "{:?} was first", records[first]);
        for bounds in
            [TimestampBounds::around(time(50), Some(40), None), TimestampBounds::around(time(50), None, Some(14))]
        {
            assert_eq!(
                by_both.check_timestamps(&bounds).unwrap_err().to_string(),
                by_one.check_timestamps(&bounds).unwrap_err().to_string()
            );
        }
    }
    assert!(short > 1500, "{short} records were short");
}

#[test]
fn there_is_no_room_for_a_record_that_would_make_the_batch_too_large() {
    // How long the room is, how far it is used, and how far it may be used.
    assert_eq!(room_bytes(0, 100, 10_000), FIRST_ROOM_BYTES);
    assert_eq!(room_bytes(600, 601, 10_000), 1200);
    assert_eq!(room_bytes(600, 5000, 10_000), 5000);
    assert_eq!(room_bytes(600, 600, 10_000), 600, "there is enough");
    assert_eq!(room_bytes(6000, 6001, 10_000), 10_000);
    assert_eq!(room_bytes(10_000, 9000, 9990), 9990, "a deferred record took from what there may be");
    assert_eq!(room_bytes(10_000, 9995, 9990), 9995, "the last one that there may be is there");
}

// Row 20.
#[test]
fn the_size_announced_is_the_size_produced() {
    let mut builder = BatchBuilder::new(Compression::None);
    assert_eq!((builder.size_bytes(), builder.len(), builder.is_empty()), (0, 0, true));
    let value = vec![7; 100_000];
    for length in [0, 1, 63, 64, 8191, 8192, 100_000] {
        let headers = [("name", Some(&value[..length])), ("", None)];
        builder.push(Record::from_parts(None, Some(&value[..length])).headers(&headers)).unwrap();
    }
    let size = builder.size_bytes();
    assert_eq!(builder.finish(&BatchStamp::default()).unwrap().len(), size);
}

// Row 7.
#[test]
fn null_and_empty_keys_values_and_headers_survive() {
    let mut builder = BatchBuilder::new(Compression::None);
    for key in [None, Some(&b""[..]), Some(b"k")] {
        for value in [None, Some(&b""[..]), Some(b"v")] {
            builder.push(Record::from_parts(key, value)).unwrap();
        }
    }
    let headers = [("b", None), ("a", Some(&b""[..])), ("b", Some(b"1")), ("", None), ("\u{1f511}", None)];
    builder.push(Record::value("x").headers(&headers)).unwrap();
    let batch = finished(&mut builder, 0);
    let records: Vec<_> = batch.records().map(|record| record.unwrap()).collect();
    let pairs: Vec<_> = records.iter().take(9).map(|record| (record.key(), record.value())).collect();
    assert_eq!(pairs[0], (None, None));
    assert_eq!(pairs[3], (Some(&b""[..]), None));
    assert_eq!(pairs[4], (Some(&b""[..]), Some(&b""[..])));
    assert_eq!(pairs[8], (Some(&b"k"[..]), Some(&b"v"[..])));
    assert!(records[9].headers().eq(headers));
    assert_eq!(records[9].headers().len(), 5);
}

#[test]
fn a_warm_builder_keeps_its_buffers_in_every_codec() {
    for codec in Compression::ALL.into_iter().filter(|codec| codec.is_available()) {
        let mut builder = BatchBuilder::new(codec);
        let mut buffers = Vec::new();
        for round in 0..4_i64 {
            for index in 0..500_i64 {
                let record = Record::new("some-key", "a value of some length, repeated");
                let record = if index % 3 == 0 { record } else { record.timestamp(time(index)) };
                builder.push(record).unwrap();
            }
            let stamp = BatchStamp { now: time(1_700_000_000_000), ..BatchStamp::default() };
            let batch = builder.finish(&stamp).unwrap();
            let finished_at = (batch.as_ptr(), batch.len());
            buffers.push((
                finished_at,
                (builder.encoded.as_ptr(), builder.encoded.capacity()),
                (builder.packed.as_ptr(), builder.packed.capacity()),
                (builder.restamped.as_ptr(), builder.restamped.capacity()),
                (builder.deferred.as_ptr(), builder.deferred.capacity()),
            ));
            builder.clear();
            assert!(builder.is_empty() && builder.size_bytes() == 0, "round {round}");
        }
        assert_eq!(buffers[1], buffers[2], "{codec}");
        assert_eq!(buffers[2], buffers[3], "{codec}");
    }
}

#[test]
fn a_builder_can_move_to_another_thread() {
    fn sendable<T: Send>() {}
    sendable::<BatchBuilder>();
}

#[test]
fn a_builder_holds_nothing_of_the_batch_before() {
    let mut builder = timed(&[-1, 70, -1]);
    finished(&mut builder, 3);
    builder.clear();
    builder.push(Record::new("k", "v").timestamp(time(9))).unwrap();
    let batch = finished(&mut builder, 3);
    assert_eq!(shown(&batch), ["0@9 k=v [] -1"]);
    assert_eq!((batch.header().max_timestamp, batch.header().count), (9, 1));
}

// Row 38.
#[test]
#[should_panic(expected = "an empty batch is not finished")]
fn an_empty_batch_is_not_finished() {
    drop(BatchBuilder::new(Compression::None).finish(&BatchStamp::default()));
}

// Row 19.
#[test]
fn an_emptied_batch_keeps_what_its_producer_and_its_log_need() {
    let of = *decoded(crate::record::vectors::TOMBF).header();
    let bytes = encode_empty(&of);
    let batch = DecodedBatch::decode(bytes.to_vec(), DecodeLimits::default()).unwrap();
    let header = batch.header();
    assert_eq!(header.size_bytes, 61);
    assert_eq!((header.base_offset(), header.last_offset()), (of.base_offset(), of.last_offset()));
    assert_eq!((header.max_timestamp, header.base_timestamp), (of.max_timestamp, -1));
    assert_eq!((header.leader_epoch, header.delete_horizon()), (7, None));
    assert_eq!(batch.records().count(), 0);
}

// Story: with a key and a value of 8,182 bytes together, and two bytes for each integer, a record of 8,192 bytes was taken for
// one whose length has two bytes. Its length then had three, of which two were stored, and the batch could not be read.
#[test]
fn a_record_of_8192_bytes_behind_its_length_can_be_read_again() {
    let bytes = vec![7; 8200];
    for key_bytes in [64, 100, 4000, 8118] {
        for together in 8170..=8195 {
            let mut builder = BatchBuilder::new(Compression::None);
            for _ in 0..64 {
                builder.push(Record::new("key", "value").timestamp(time(1000))).unwrap();
            }
            let (key, value) = (&bytes[..key_bytes], &bytes[..together - key_bytes]);
            builder.push(Record::new(key, value).timestamp(time(1064))).unwrap();
            let batch = finished(&mut builder, 1000);
            let last = batch.records().last().unwrap().unwrap();
            assert_eq!((last.key(), last.value()), (Some(key), Some(value)), "{key_bytes} of {together}");
        }
    }
}
