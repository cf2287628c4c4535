//! Batches as Kafka's own classes wrote them, and what they hold.
//!
//! Record 1 has time 1700000000000, key `k`, value `v`, headers `h` = `x` and `n` = null; record 2 has time
//! 1699999999990, null key and null value. Base offset 5 and leader epoch 7, unless a vector says otherwise.

use super::{
    BatchBuilder, BatchHeader, BatchStamp, Compression, ControlType, DecodeLimits, DecodedBatch, EndMarker, Outcome,
    Record, TimestampType, encode_empty, set_base_offset, set_leader_epoch,
};
use crate::error::Corruption;
use crate::offset::{Offset, Timestamp};

pub(super) const A: &str = "\
    0000000000000005000000480000000702600a55290000000000010000018bcfe568000000018bcfe56800ffffffffff\
    ffffffffffffffffff000000021e000000026b02760402680278026e010c001302010100";
pub(super) const LAT: &str = "\
    0000000000000005000000480000000702c38d40680008000000010000018bcfe568000000018bcfe56a2b0000000000\
    000063000200000000000000021e000000026b02760402680278026e010c001302010100";
pub(super) const COMMIT: &str = "\
    000000000000000a00000042000000030267c75dab0030000000000000018bcfe568000000018bcfe568000000000000\
    0000630002ffffffff000000012000000008000000010c00000000000400";
pub(super) const ABORT: &str = "\
    000000000000000a00000042000000030293f98be30030000000000000018bcfe568000000018bcfe568000000000000\
    0000630002ffffffff000000012000000008000000000c00000000000400";
pub(super) const EMPTY: &str = "\
    0000000000000014000000310000000302563e3775000000000004ffffffffffffffff0000018bcfe568000000000000\
    00006300020000000500000000";
pub(super) const TOMB: &str = "\
    00000000000000050000004b00000007024105194c0000000000020000018bcfe568000000018bcfe56809ffffffffff\
    ffffffffffffffffff000000031000000002610231000e000a02026b010010001204027a023900";
pub(super) const TOMBF: &str = "\
    00000000000000050000003c0000000702a71de96b0040000000020000018bd50bc7e80000018bcfe56805ffffffffff\
    ffffffffffffffffff000000011400c5ffb25202026b0100";
pub(super) const V0: &str = "0000000000000005000000101fecd70a0000000000016b0000000176";
pub(super) const V1: &str = "00000000000000050000001839268c3301000000018bcfe56800000000016b0000000176";
pub(super) const V1GZ: &str = "\
    000000000000000600000050582359db01010000018bcfe56801ffffffff0000003a1f8b08000000000000ff63608003\
    094bb51e63462083b1fbfcd30c90086336882883ca83a424fad727a7c2d530c2d59403001f8708c848000000";
const GZIP_BLOB: &str = "1f8b08000000000000ff9363606060ca662a6361ca60aa60ca63e461106662646400003b7f343117000000";
const SNAPPY_BLOB: &str = "\
    82534e415050590000000001000000010000001917581e000000026b02760402680278026e010c001302010100";
const LZ4_BLOB: &str = "04224d18604082170000801e000000026b02760402680278026e010c00130201010000000000";
const ZSTD_BLOB: &str = "28b52ffd0058b800001e000000026b02760402680278026e010c001302010100010000";

pub(super) const TIME_1: i64 = 1_700_000_000_000;

pub(super) fn bytes(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2));
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

pub(super) fn decoded(hex: &str) -> DecodedBatch {
    DecodedBatch::decode(bytes(hex), DecodeLimits::default()).unwrap()
}

/// Offset, timestamp, key, value, headers, sequence of each record, in a form that reads well when it differs.
pub(super) fn shown(batch: &DecodedBatch) -> Vec<String> {
    let shown = batch.records().map(|record| {
        let record = record.unwrap();
        let text = |bytes: Option<&[u8]>| bytes.map_or("-".into(), |bytes| bytes.escape_ascii().to_string());
        let timestamp = record.timestamp().map_or(-1, Timestamp::as_millis);
        let headers: Vec<_> = record.headers().map(|(name, value)| format!("{name}={}", text(value))).collect();
        let sequence = record.sequence();
        let (key, value) = (text(record.key()), text(record.value()));
        format!("{}@{timestamp} {key}={value} [{}] {sequence}", record.offset(), headers.join(","))
    });
    shown.collect()
}

/// A header of format 2 for `count` records from offset 0, with nothing else in it.
pub(super) fn plain_header(count: i32) -> BatchHeader {
    BatchHeader {
        magic: 2,
        size_bytes: 0,
        offset_field: Offset::ZERO,
        leader_epoch: -1,
        crc: 0,
        attributes: 0,
        last_offset_delta: count.saturating_sub(1).max(0),
        base_timestamp: TIME_1,
        max_timestamp: TIME_1,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        count,
    }
}

/// A batch of exactly these bytes behind the header, with length and checksum right.
pub(super) fn sealed(mut header: BatchHeader, records: &[u8]) -> Vec<u8> {
    header.size_bytes = (super::HEADER_BYTES + records.len()) as u64;
    [&header.seal(records)[..], records].concat()
}

/// The encoded records of `count` small records, as they stand behind a header.
pub(super) fn small_records(count: u8) -> Vec<u8> {
    (0..count).flat_map(|index| [14, 0, 0, index * 2, 1, 2, b'a' + index, 0]).collect()
}

pub(super) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn placed(batch: &mut [u8], base: u64, epoch: i32) -> Vec<u8> {
    set_base_offset(batch, Offset::new(base));
    set_leader_epoch(batch, epoch);
    batch.to_vec()
}

fn builder_of_a(compression: Compression) -> BatchBuilder {
    let mut builder = BatchBuilder::new(compression);
    let headers = [("h", Some(&b"x"[..])), ("n", None)];
    builder.push(Record::new("k", "v").headers(&headers).timestamp(time(TIME_1))).unwrap();
    builder.push(Record::from_parts(None, None).timestamp(time(TIME_1 - 10))).unwrap();
    builder
}

const RECORDS_OF_A: [&str; 2] = ["5@1700000000000 k=v [h=x,n=-] -1", "6@1699999999990 -=- [] -1"];

// Row 16.
#[test]
fn vector_a_is_written_and_read_byte_for_byte() {
    let mut builder = builder_of_a(Compression::None);
    assert_eq!(builder.size_bytes(), bytes(A).len());
    assert_eq!(placed(builder.finish(&BatchStamp::default()).unwrap(), 5, 7), bytes(A));

    let batch = decoded(A);
    assert_eq!(shown(&batch), RECORDS_OF_A);
    let header = batch.header();
    assert_eq!((header.base_offset(), header.last_offset()), (Some(Offset::new(5)), Offset::new(6)));
    assert_eq!((header.leader_epoch, header.count, header.size_bytes), (7, 2, 84));
    assert_eq!(header.timestamp_type(), Some(TimestampType::CreateTime));
    assert_eq!((header.is_control(), header.is_transactional(), header.delete_horizon()), (false, false, None));
}

// Rows 16, 26.
#[test]
fn vector_lat_is_written_and_read_byte_for_byte() {
    let stamp = BatchStamp {
        now: time(1_700_000_000_555),
        timestamp_type: TimestampType::LogAppendTime,
        producer_id: 99,
        producer_epoch: 2,
        base_sequence: 0,
        ..BatchStamp::default()
    };
    let mut builder = builder_of_a(Compression::None);
    assert_eq!(placed(builder.finish(&stamp).unwrap(), 5, 7), bytes(LAT));

    let batch = decoded(LAT);
    assert_eq!(shown(&batch), ["5@1700000000555 k=v [h=x,n=-] 0", "6@1700000000555 -=- [] 1"]);
    let header = batch.header();
    assert_eq!(header.timestamp_type(), Some(TimestampType::LogAppendTime));
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (99, 2, 0));
    assert_eq!((header.base_timestamp, header.max_timestamp), (TIME_1, 1_700_000_000_555));
}

// Rows 16, 27, 40.
#[test]
fn vectors_commit_and_abort_are_written_and_read_byte_for_byte() {
    let stamp = BatchStamp { now: time(TIME_1), producer_id: 99, producer_epoch: 2, ..BatchStamp::default() };
    for (vector, outcome, control_type) in
        [(COMMIT, Outcome::Commit, ControlType::Commit), (ABORT, Outcome::Abort, ControlType::Abort)]
    {
        let marker = EndMarker { outcome, coordinator_epoch: 4 };
        assert_eq!(placed(&mut marker.encode(&stamp).unwrap(), 10, 3), bytes(vector));

        let batch = decoded(vector);
        assert!(batch.header().is_control() && batch.header().is_transactional());
        let record = batch.records().next().unwrap().unwrap();
        assert_eq!(EndMarker::parse(&record), Ok(Some(marker)));
        assert_eq!((record.offset(), record.sequence()), (Offset::new(10), -1));
        let stored = super::StoredRecords::new(std::sync::Arc::new(batch), Offset::ZERO).next().unwrap().unwrap();
        assert_eq!(stored.control_type(), Some(control_type));
        assert_eq!(stored.leader_epoch(), Some(3));
    }
}

// Row 19.
#[test]
fn vector_empty_is_written_and_read_byte_for_byte() {
    let batch = decoded(EMPTY);
    let header = *batch.header();
    assert_eq!(shown(&batch), Vec::<String>::new());
    assert_eq!((header.base_offset(), header.last_offset()), (Some(Offset::new(20)), Offset::new(24)));
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (99, 2, 5));
    assert_eq!((header.last_sequence(), header.count, header.base_timestamp), (9, 0, -1));

    let before = BatchHeader {
        size_bytes: 200,
        attributes: header.attributes | 0x40 | 0x04,
        base_timestamp: 12,
        count: 5,
        crc: 0,
        ..header
    };
    assert_eq!(encode_empty(&before)[..], bytes(EMPTY));
}

// Row 7.
#[test]
fn vector_tomb_is_written_and_read_byte_for_byte() {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(Record::new("a", "1").timestamp(time(TIME_1))).unwrap();
    builder.push(Record::tombstone("k").timestamp(time(TIME_1 + 5))).unwrap();
    builder.push(Record::new("z", "9").timestamp(time(TIME_1 + 9))).unwrap();
    assert_eq!(placed(builder.finish(&BatchStamp::default()).unwrap(), 5, 7), bytes(TOMB));
    let records = ["5@1700000000000 a=1 [] -1", "6@1700000000005 k=- [] -1", "7@1700000000009 z=9 [] -1"];
    assert_eq!(shown(&decoded(TOMB)), records);
}

// Row 30.
#[test]
fn a_delete_horizon_leaves_the_times_of_the_records_as_they_were() {
    let batch = decoded(TOMBF);
    assert_eq!(shown(&batch), ["6@1700000000005 k=- [] -1"]);
    let header = batch.header();
    assert_eq!(header.delete_horizon(), Some(time(1_700_086_401_000)));
    assert_eq!((header.max_timestamp, header.last_offset()), (1_700_000_000_005, Offset::new(7)));
}

// Row 49.
#[test]
fn messages_of_formats_0_and_1_are_read() {
    let batch = decoded(V0);
    assert_eq!(shown(&batch), ["5@-1 k=v [] -1"]);
    assert_eq!((batch.header().timestamp_type(), batch.header().base_offset()), (None, None));
    assert_eq!((batch.header().leader_epoch, batch.header().last_offset()), (-1, Offset::new(5)));

    let batch = decoded(V1);
    assert_eq!(shown(&batch), ["5@1700000000000 k=v [] -1"]);
    assert_eq!(batch.header().timestamp_type(), Some(TimestampType::CreateTime));
}

#[test]
#[cfg(feature = "gzip")]
fn a_compressed_message_of_format_1_is_read() {
    let batch = decoded(V1GZ);
    assert_eq!(shown(&batch), ["5@1700000000000 k=v [] -1", "6@1700000000001 k=w [] -1"]);
    assert_eq!(batch.header().last_offset(), Offset::new(6));
}

// Row 28.
#[test]
fn the_records_of_a_are_read_from_every_codec_as_kafka_writes_it() {
    let blobs = [
        (Compression::Gzip, GZIP_BLOB, 104),
        (Compression::Snappy, SNAPPY_BLOB, 106),
        (Compression::Lz4, LZ4_BLOB, 99),
        (Compression::Zstd, ZSTD_BLOB, 96),
    ];
    for (compression, blob, total) in blobs {
        let blob = bytes(blob);
        let mut header = BatchHeader::parse(&bytes(A)).unwrap();
        header.attributes = i16::from(compression.code());
        header.size_bytes = (super::HEADER_BYTES + blob.len()) as u64;
        assert_eq!(header.size_bytes, total);
        let batch = [&header.seal(&blob)[..], &blob].concat();
        let decoded = DecodedBatch::decode(batch, DecodeLimits::default());
        if compression.is_available() {
            assert_eq!(shown(&decoded.unwrap()), RECORDS_OF_A, "{compression}");
        } else {
            assert_eq!(decoded.unwrap_err(), Corruption::CodecNotBuilt { codec: compression.code() });
        }
    }
}

// Rows 22, 52.
#[test]
fn every_flipped_bit_below_the_checksum_is_noticed() {
    for (vector, covered_from) in [(A, 17), (V0, 12), (V1, 12)] {
        let good = bytes(vector);
        for at in covered_from..good.len() {
            if vector != A && at == 16 {
                continue; // The magic says which checksum to compute.
            }
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let refused = DecodedBatch::decode(bad, DecodeLimits::default());
            let typed = matches!(refused, Err(Corruption::Crc { .. } | Corruption::OutOfRange { .. }));
            assert!(typed, "byte {at}: {refused:?}");
        }
    }
}

// Rows 24, 25.
#[test]
fn base_offset_and_leader_epoch_are_assigned_without_a_new_checksum() {
    let mut batch = bytes(A);
    set_base_offset(&mut batch, Offset::new(1_000_000_007));
    set_leader_epoch(&mut batch, i32::MAX);
    let batch = DecodedBatch::decode(batch, DecodeLimits::default()).unwrap();
    assert_eq!(batch.header().last_offset(), Offset::new(1_000_000_008));
    assert_eq!(batch.header().leader_epoch, i32::MAX);
    assert_eq!(batch.records().last().unwrap().unwrap().offset(), Offset::new(1_000_000_008));
}
