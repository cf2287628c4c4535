//! Decoding: what a record may be, and everything that it may not.

use std::sync::Arc;

use super::*;
use crate::record::vectors::{plain_header, sealed, small_records};
use crate::record::{BatchBuilder, BatchStamp, StoredRecords, StoredRecordsReversed};

const ALL_CODECS: [Compression; 5] = Compression::ALL;

fn codecs() -> impl Iterator<Item = Compression> {
    ALL_CODECS.into_iter().filter(|codec| codec.is_available())
}

fn compressed(header: BatchHeader, codec: Compression, records: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    super::super::compression::Compressor::new(codec).unwrap().compress(records, &mut blob);
    let attributes = header.attributes | i16::from(codec.code());
    sealed(BatchHeader { attributes, ..header }, &blob)
}

fn read(batch: Vec<u8>) -> Result<Vec<u64>, Corruption> {
    let batch = DecodedBatch::decode(batch, DecodeLimits::default())?;
    batch.records().map(|record| Ok(record?.offset().value())).collect()
}

// Row 23.
#[test]
fn a_count_above_or_below_the_records_there_are_is_refused_in_every_codec() {
    for codec in codecs() {
        let of = |count| {
            let header = BatchHeader { last_offset_delta: 9, ..plain_header(count) };
            read(compressed(header, codec, &small_records(3)))
        };
        assert_eq!(of(3), Ok(vec![0, 1, 2]), "{codec}");
        assert_eq!(of(4), Err(Corruption::RecordCount { declared: 4, found: 3 }), "{codec}");
        assert_eq!(of(i32::MAX), Err(Corruption::RecordCount { declared: i32::MAX, found: 3 }), "{codec}");
        assert_eq!(of(2), Err(Corruption::LeftOver { bytes: 8 }), "{codec}");
        assert_eq!(of(0), Err(Corruption::LeftOver { bytes: 24 }), "{codec}");
    }
}

#[test]
fn an_iterator_is_finished_after_its_first_error() {
    let batch = sealed(plain_header(3), &[&small_records(1)[..], &[0xff; 20]].concat());
    let batch = DecodedBatch::decode(batch, DecodeLimits::default()).unwrap();
    let mut records = batch.records();
    assert!(records.next().unwrap().is_ok());
    assert_eq!(records.next(), Some(Err(Corruption::Varint)));
    assert_eq!(records.next(), None);
}

#[test]
fn an_offset_outside_its_batch_is_never_given() {
    for (last_offset_delta, index) in [(0, 2_u8), (5, 12)] {
        let header = BatchHeader { last_offset_delta, ..plain_header(1) };
        let mut records = small_records(1);
        records[3] = index;
        let found = i64::from(index / 2);
        let expected = Err(Corruption::OutOfRange { field: "an offset delta", found });
        assert_eq!(read(sealed(header, &records)), expected);
        records[3] = 1;
        let expected = Err(Corruption::OutOfRange { field: "an offset delta", found: -1 });
        assert_eq!(read(sealed(header, &records)), expected);
    }
}

#[test]
fn gaps_between_offsets_are_read_as_compaction_leaves_them() {
    let header = BatchHeader { last_offset_delta: 30, offset_field: Offset::new(1000), ..plain_header(2) };
    let mut records = small_records(2);
    records[3] = 2 * 7;
    records[11] = 2 * 29;
    let batch = Arc::new(DecodedBatch::decode(sealed(header, &records), DecodeLimits::default()).unwrap());
    let from = |from| -> Vec<u64> {
        StoredRecords::new(Arc::clone(&batch), Offset::new(from)).map(|r| r.unwrap().offset().value()).collect()
    };
    assert_eq!(from(0), [1007, 1029]);
    assert_eq!(from(1007), [1007, 1029]);
    assert_eq!(from(1008), [1029]);
    assert_eq!(from(1030), Vec::<u64>::new());
    assert_eq!(batch.header().next_offset(), Offset::new(1031));
}

// Rows 14, 17.
#[test]
fn sequences_are_counted_from_the_base_and_wrap() {
    let sequences = |base_sequence| -> Vec<i32> {
        let header = BatchHeader { base_sequence, ..plain_header(3) };
        let batch = DecodedBatch::decode(sealed(header, &small_records(3)), DecodeLimits::default()).unwrap();
        batch.records().map(|record| record.unwrap().sequence()).collect()
    };
    assert_eq!(sequences(-1), [-1, -1, -1]);
    assert_eq!(sequences(5), [5, 6, 7]);
    assert_eq!(sequences(i32::MAX), [i32::MAX, 0, 1]);
}

#[test]
fn a_timestamp_that_leaves_its_field_is_refused() {
    let header = BatchHeader { base_timestamp: i64::MAX, ..plain_header(1) };
    let mut records = small_records(1);
    records[2] = 2;
    let expected = Err(Corruption::OutOfRange { field: "a timestamp delta", found: 1 });
    assert_eq!(read(sealed(header, &records)), expected);
}

#[test]
fn minus_one_is_no_timestamp() {
    let header = BatchHeader { base_timestamp: -1, max_timestamp: -1, ..plain_header(1) };
    let batch = DecodedBatch::decode(sealed(header, &small_records(1)), DecodeLimits::default()).unwrap();
    assert_eq!(batch.records().next().unwrap().unwrap().timestamp(), None);
    assert_eq!(batch.header().max_timestamp(), None);
}

// Row 28.
#[test]
fn borrowed_owned_and_reversed_records_are_the_same_in_every_codec() {
    for codec in codecs() {
        let mut builder = BatchBuilder::new(codec);
        let keys: Vec<String> = (0..1000).map(|i| format!("key-{i}")).collect();
        for key in &keys {
            let headers = [("name", Some(key.as_bytes())), ("name", None)];
            builder.push(Record::new(key, "value").headers(&headers)).unwrap();
        }
        let batch = builder.finish(&BatchStamp::default()).unwrap().to_vec();
        let batch = Arc::new(DecodedBatch::decode(batch, DecodeLimits::default()).unwrap());
        let owned: Vec<_> = StoredRecords::new(Arc::clone(&batch), Offset::ZERO).map(Result::unwrap).collect();
        let mut reversed: Vec<_> = StoredRecordsReversed::new(Arc::clone(&batch)).unwrap().collect();
        reversed.reverse();
        assert_eq!(owned, reversed);
        assert_eq!(owned.len(), keys.len());
        for ((owned, borrowed), key) in owned.iter().zip(batch.records()).zip(&keys) {
            let borrowed = borrowed.unwrap();
            assert_eq!((owned.offset(), owned.timestamp()), (borrowed.offset(), borrowed.timestamp()));
            assert_eq!((owned.key(), owned.value()), (borrowed.key(), borrowed.value()));
            assert_eq!(owned.key(), Some(key.as_bytes()));
            assert!(owned.headers().eq(borrowed.headers()));
        }
    }
}

#[test]
fn a_reader_that_skips_keeps_the_place_it_has_reached() {
    let batch = DecodedBatch::decode(sealed(plain_header(5), &small_records(5)), DecodeLimits::default()).unwrap();
    let mut records = StoredRecords::new(Arc::new(batch), Offset::ZERO);
    let mut next = || records.next().map(|record| record.unwrap().offset().value());
    assert_eq!(next(), Some(0));
    records.skip_to(Offset::new(3));
    let mut next = || records.next().map(|record| record.unwrap().offset().value());
    assert_eq!((next(), next(), next()), (Some(3), Some(4), None));
}

#[test]
fn a_stored_record_is_shared_between_threads_and_appended_again_without_a_copy() {
    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    let mut builder = BatchBuilder::new(Compression::None);
    let headers = [("a", Some(&b"1"[..])), ("a", None), ("", Some(&b""[..]))];
    builder.push(Record::new("k", "v").headers(&headers).timestamp(Timestamp::from_millis(7))).unwrap();
    let batch = builder.finish(&BatchStamp::default()).unwrap().to_vec();
    let decoded = Arc::new(DecodedBatch::decode(batch.clone(), DecodeLimits::default()).unwrap());
    let record = StoredRecords::new(decoded, Offset::ZERO).next().unwrap().unwrap();
    shared(&record);
    builder.clear();
    builder.push(record.as_record()).unwrap();
    assert_eq!(builder.finish(&BatchStamp::default()).unwrap(), batch);
    assert_eq!(record.control_type(), None);
    let expected = r#"Record { offset: Offset(0), timestamp: Some(Timestamp(7 ms)), key: Some(b"k"), value: Some(b"v"), headers: [("a", Some(b"1")), ("a", None), ("", Some(b""))] }"#;
    assert_eq!(format!("{record:?}"), expected);
}

#[test]
fn a_batch_that_unfolds_beyond_the_cap_is_refused() {
    let records = vec![0; 100_000];
    for codec in codecs().filter(|codec| *codec != Compression::None) {
        let batch = compressed(plain_header(1), codec, &records);
        let refused = DecodedBatch::decode(batch, DecodeLimits { max_decompressed_bytes: 99_999 }).unwrap_err();
        assert_eq!(refused, Corruption::DecompressedTooLarge { limit_bytes: 99_999 }, "{codec}");
    }
}
