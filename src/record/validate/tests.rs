//! What a client may append encoded, and what is refused.

use super::*;
use crate::record::compression::Compressor;
use crate::record::vectors::{TIME_1, V0, V1, bytes, plain_header, sealed, small_records, time};
use crate::record::{BatchBuilder, BatchStamp, DecodedBatch, Record, set_base_offset, set_leader_epoch};

const NOW: i64 = 1_700_000_999_999;

fn rules() -> ClientRules {
    ClientRules {
        max_batch_bytes: 1_048_588,
        limits: DecodeLimits::default(),
        now: time(NOW),
        timestamp_type: TimestampType::CreateTime,
        bounds: TimestampBounds::NONE,
    }
}

fn codecs() -> impl Iterator<Item = Compression> {
    Compression::ALL.into_iter().filter(|codec| codec.is_available())
}

fn batch_of(header: BatchHeader, codec: Compression, records: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    Compressor::new(codec).unwrap().compress(records, &mut blob);
    sealed(BatchHeader { attributes: header.attributes | i16::from(codec.code()), ..header }, &blob)
}

fn refusal(batch: &[u8]) -> InvalidBatch {
    refusal_at(batch).1
}

fn refusal_at(batch: &[u8]) -> (u64, InvalidBatch) {
    match validate_client_batches(batch, &rules()).unwrap_err() {
        Error::InvalidBatch { position, reason } => (position.value(), reason),
        other => panic!("{other:?}"),
    }
}

/// The batch as a log would write it at `base`.
fn written(encoded: &[u8], batch: &ClientBatch, base: u64, epoch: i32) -> Vec<u8> {
    let mut head = batch.head;
    set_base_offset(&mut head, Offset::new(base));
    set_leader_epoch(&mut head, epoch);
    [&head[..], &encoded[batch.records_range()]].concat()
}

fn built(codec: Compression, times: &[i64]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    for millis in times {
        builder.push(Record::new("k", "v").timestamp(time(*millis))).unwrap();
    }
    let stamp = BatchStamp { producer_id: 9, producer_epoch: 1, base_sequence: 3, ..BatchStamp::default() };
    builder.finish(&stamp).unwrap().to_vec()
}

// Rows 173, 176.
#[test]
fn a_sound_batch_gets_its_offsets_and_keeps_everything_else() {
    for codec in codecs() {
        let encoded = built(codec, &[5, 7, 6]);
        let batches = validate_client_batches(&encoded, &rules()).unwrap();
        let [batch] = &batches[..] else { panic!("{batches:?}") };
        assert_eq!((batch.range.clone(), batch.records), (0..encoded.len(), 3));
        assert_eq!(batch.head[..], encoded[..HEADER_BYTES], "nothing to change, no checksum computed");
        let stored = written(&encoded, batch, 1000, 4);
        assert_eq!(stored[20..], encoded[20..]);
        let stored = DecodedBatch::decode(stored, DecodeLimits::default()).unwrap();
        let offsets: Vec<_> = stored.records().map(|record| record.unwrap().offset().value()).collect();
        assert_eq!(offsets, [1000, 1001, 1002]);
        assert_eq!((stored.header().leader_epoch, stored.header().producer_id), (4, 9));
    }
}

// Row 170.
#[test]
fn a_wrong_maximum_timestamp_is_put_right() {
    for codec in codecs() {
        for claimed in [-1, 6, 8, i64::MAX] {
            let encoded = built(codec, &[5, 7, 6]);
            let mut header = BatchHeader::parse(&encoded).unwrap();
            header.max_timestamp = claimed;
            header.attributes |= 0x0100;
            let encoded = sealed(header, &encoded[HEADER_BYTES..]);
            let batch = &validate_client_batches(&encoded, &rules()).unwrap()[0];
            assert_eq!((batch.header.max_timestamp, batch.header.attributes >> 3), (7, 0));
            let stored = DecodedBatch::decode(written(&encoded, batch, 5, 0), DecodeLimits::default()).unwrap();
            assert_eq!(stored.header().max_timestamp, 7, "{codec} {claimed}");
        }
    }
}

// Rows 26, 168.
#[test]
fn log_append_time_changes_type_maximum_and_checksum_and_nothing_else() {
    for codec in codecs() {
        let encoded = built(codec, &[5, 7, 6]);
        let rules = ClientRules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
        let batch = &validate_client_batches(&encoded, &rules).unwrap()[0];
        let stored = written(&encoded, batch, 5, 0);
        assert_eq!(stored.len(), encoded.len());
        let stored = DecodedBatch::decode(stored, DecodeLimits::default()).unwrap();
        assert_eq!((stored.header().max_timestamp, stored.header().base_timestamp), (NOW, 5));
        assert!(stored.records().all(|record| record.unwrap().timestamp() == Some(time(NOW))), "{codec}");
    }
}

// Rows 167, 177.
#[test]
fn a_timestamp_outside_the_bounds_is_refused_with_the_place_of_its_record() {
    let refused = |bounds: TimestampBounds, codec, times: &[i64]| {
        let encoded = built(codec, times);
        match validate_client_batches(&encoded, &ClientRules { bounds, ..rules() }) {
            Ok(batches) => Ok(batches.len()),
            Err(Error::InvalidBatch { reason: InvalidBatch::Record { index, reason }, .. }) => Err((index, reason)),
            Err(other) => panic!("{other:?}"),
        }
    };
    let early = |millis| InvalidRecord::TimestampTooEarly { timestamp: time(millis), earliest: time(NOW - 10) };
    let late = |millis| InvalidRecord::TimestampTooLate { timestamp: time(millis), latest: time(NOW + 5) };
    for codec in codecs() {
        let both = TimestampBounds::around(time(NOW), Some(10), Some(5));
        assert_eq!(refused(both, codec, &[NOW, NOW - 10, NOW + 5]), Ok(1), "{codec}: the bounds are inside");
        assert_eq!(refused(both, codec, &[NOW, NOW - 11, NOW + 6]), Err((1, early(NOW - 11))), "{codec}");
        assert_eq!(refused(both, codec, &[NOW + 6]), Err((0, late(NOW + 6))), "{codec}");
        let before = TimestampBounds::around(time(NOW), Some(10), None);
        assert_eq!(refused(before, codec, &[NOW, i64::MAX]), Ok(1), "{codec}");
        let after = TimestampBounds::around(time(NOW), None, Some(5));
        assert_eq!(refused(after, codec, &[NOW, 0, NOW + 6]), Err((2, late(NOW + 6))), "{codec}");
        let widest = TimestampBounds::around(time(NOW), Some(u64::MAX), Some(u64::MAX));
        assert_eq!(refused(widest, codec, &[0, i64::MAX]), Ok(1), "{codec}");
    }
}

// Row 167.
#[test]
fn a_record_without_a_timestamp_is_inside_any_bounds() {
    let header = BatchHeader { base_timestamp: -1, max_timestamp: -1, ..plain_header(2) };
    let bounds = TimestampBounds::around(time(NOW), Some(0), Some(0));
    let encoded = sealed(header, &small_records(2));
    assert_eq!(validate_client_batches(&encoded, &ClientRules { bounds, ..rules() }).unwrap().len(), 1);
}

#[test]
fn records_without_timestamps_leave_the_batch_without_one() {
    let header = BatchHeader { base_timestamp: -1, max_timestamp: 77, ..plain_header(2) };
    let batch = &validate_client_batches(&sealed(header, &small_records(2)), &rules()).unwrap()[0];
    assert_eq!(batch.header.max_timestamp, -1);
}

// Row 163.
#[test]
fn an_empty_batch_and_no_batch_at_all_are_refused() {
    assert_eq!(refusal(&[]), InvalidBatch::Empty);
    for codec in codecs() {
        assert_eq!(refusal(&batch_of(plain_header(0), codec, &[])), InvalidBatch::Empty, "{codec}");
    }
}

// Row 165.
#[test]
fn a_last_offset_delta_that_contradicts_the_count_is_refused() {
    for (last_offset_delta, count) in [(0, 3), (1, 3), (3, 3), (i32::MAX, 3), (1, 1)] {
        let header = BatchHeader { last_offset_delta, ..plain_header(count) };
        let refused = refusal(&sealed(header, &small_records(3)));
        assert_eq!(refused, InvalidBatch::OffsetDeltas { last_offset_delta, count });
    }
    for (last_offset_delta, count) in [(-1, 3), (2, -3), (i32::MIN, i32::MIN)] {
        let header = BatchHeader { last_offset_delta, ..plain_header(count) };
        let refused = refusal(&sealed(header, &small_records(3)));
        assert!(matches!(refused, InvalidBatch::Corrupt(Corruption::OutOfRange { .. })), "{refused:?}");
    }
}

// Row 166.
#[test]
fn a_count_above_or_below_the_records_there_are_is_refused() {
    for codec in codecs() {
        let more = refusal(&batch_of(plain_header(4), codec, &small_records(3)));
        assert_eq!(more, InvalidBatch::Corrupt(Corruption::RecordCount { declared: 4, found: 3 }), "{codec}");
        let fewer = refusal(&batch_of(plain_header(2), codec, &small_records(3)));
        assert_eq!(fewer, InvalidBatch::Corrupt(Corruption::LeftOver { bytes: 8 }), "{codec}");
    }
}

// Row 161.
#[test]
fn offset_deltas_that_do_not_count_from_zero_are_refused() {
    for codec in codecs() {
        for (record, delta) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
            let mut records = small_records(3);
            records[record * 8 + 3] = delta * 2;
            let refused = refusal(&batch_of(plain_header(3), codec, &records));
            let expected = Corruption::OutOfRange { field: "an offset delta", found: delta.into() };
            assert_eq!(refused, InvalidBatch::Corrupt(expected), "{codec}");
        }
    }
}

// Row 172.
#[test]
fn a_producer_without_a_sequence_is_refused() {
    let header = BatchHeader { producer_id: 7, producer_epoch: 0, ..plain_header(1) };
    let refused = refusal(&sealed(header, &small_records(1)));
    assert_eq!(refused, InvalidBatch::Sequence { producer_id: 7, base_sequence: -1 });
    let counted = BatchHeader { base_sequence: 0, ..header };
    assert!(validate_client_batches(&sealed(counted, &small_records(1)), &rules()).is_ok());
}

// Row 175.
#[test]
fn control_batches_old_formats_and_assigned_offsets_are_not_for_clients() {
    let control = BatchHeader { attributes: layout::CONTROL_MASK, ..plain_header(1) };
    assert_eq!(refusal(&sealed(control, &small_records(1))), InvalidBatch::Control);
    assert_eq!(refusal(&bytes(V0)), InvalidBatch::Magic { found: 0 });
    assert_eq!(refusal(&bytes(V1)), InvalidBatch::Magic { found: 1 });
    let assigned = BatchHeader { offset_field: Offset::new(1), ..plain_header(1) };
    let refused = refusal(&sealed(assigned, &small_records(1)));
    assert!(matches!(refused, InvalidBatch::Corrupt(Corruption::OutOfRange { found: 1, .. })));
}

#[test]
fn a_client_may_not_claim_log_append_time() {
    let header = BatchHeader { attributes: layout::LOG_APPEND_TIME_MASK, ..plain_header(1) };
    assert_eq!(refusal(&sealed(header, &small_records(1))), InvalidBatch::LogAppendTime);
}

// Row 162.
#[test]
fn several_batches_are_each_given_their_place_and_one_bad_one_refuses_all() {
    let first = built(Compression::None, &[1, 2]);
    let second = built(Compression::None, &[3]);
    let both = [&first[..], &second].concat();
    let batches = validate_client_batches(&both, &rules()).unwrap();
    let ranges: Vec<_> = batches.iter().map(|batch| (batch.range.clone(), batch.records)).collect();
    assert_eq!(ranges, [(0..first.len(), 2), (first.len()..both.len(), 1)]);
    assert_eq!(written(&both, &batches[1], 0, -1), second);

    let mut damaged = both.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let (position, reason) = refusal_at(&damaged);
    assert_eq!(position, first.len() as u64);
    assert!(matches!(reason, InvalidBatch::Corrupt(Corruption::Crc { .. })));
}

// Kafka ignores the rest of such a call; here the caller is told.
// Row 41.
#[test]
fn a_batch_that_is_not_whole_is_refused_where_it_begins() {
    let first = built(Compression::None, &[1, 2]);
    let both = [&first[..], &first].concat();
    for end in first.len() + 1..both.len() {
        let (position, reason) = refusal_at(&both[..end]);
        assert_eq!(position, first.len() as u64);
        assert!(matches!(reason, InvalidBatch::Corrupt(Corruption::Truncated { .. })), "{reason:?}");
    }
}

#[test]
fn limits_hold_before_and_after_decompression() {
    let encoded = built(Compression::None, &[1]);
    let size_bytes = encoded.len() as u64;
    let exact = ClientRules { max_batch_bytes: size_bytes, ..rules() };
    assert!(validate_client_batches(&encoded, &exact).is_ok());
    let refused = validate_client_batches(&encoded, &ClientRules { max_batch_bytes: size_bytes - 1, ..exact });
    assert!(matches!(refused, Err(Error::BatchTooLarge { limit_bytes, .. }) if limit_bytes == size_bytes - 1));
    for codec in codecs().filter(|codec| *codec != Compression::None) {
        let rules = ClientRules { limits: DecodeLimits { max_decompressed_bytes: 100 }, ..rules() };
        let batch = batch_of(plain_header(1), codec, &[0; 200]);
        let Err(Error::InvalidBatch { reason, .. }) = validate_client_batches(&batch, &rules) else { panic!() };
        assert_eq!(reason, InvalidBatch::Corrupt(Corruption::DecompressedTooLarge { limit_bytes: 100 }));
    }
}

#[test]
fn a_codec_that_nobody_knows_is_unsupported() {
    let header = BatchHeader { attributes: 6, max_timestamp: TIME_1, ..plain_header(1) };
    let refused = validate_client_batches(&sealed(header, &small_records(1)), &rules());
    assert!(matches!(refused, Err(Error::UnsupportedCompression { codec: 6 })));
}
