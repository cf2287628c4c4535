//! Shortened batches against batches built of the kept records alone.

use super::*;
use crate::record::{BatchBuilder, BatchStamp, set_base_offset, set_leader_epoch};

const LIMITS: DecodeLimits = DecodeLimits { max_decompressed_bytes: 1 << 20 };

fn codecs() -> impl Iterator<Item = Compression> {
    Compression::ALL.into_iter().filter(|codec| codec.is_available())
}

fn batch(codec: Compression, times: &[i64], stamp: &BatchStamp) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    for (number, &time) in times.iter().enumerate() {
        let value = format!("value {number}");
        let headers = [("h", Some(&b"x"[..])), ("", None)];
        let record = Record::new("k", &value).headers(&headers);
        builder.push(record.timestamp(Timestamp::from_millis(time))).unwrap();
    }
    let bytes = builder.finish(stamp).unwrap();
    set_base_offset(bytes, Offset::new(100));
    set_leader_epoch(bytes, 7);
    bytes.to_vec()
}

fn stamps() -> [BatchStamp; 2] {
    let plain = BatchStamp { now: Timestamp::from_millis(5000), ..BatchStamp::default() };
    let produced = BatchStamp {
        timestamp_type: TimestampType::LogAppendTime,
        producer_id: 9,
        producer_epoch: 3,
        base_sequence: i32::MAX - 1,
        transactional: true,
        ..plain
    };
    [plain, produced]
}

// Row 114.
#[test]
fn with_every_codec_the_first_records_stay_as_if_they_had_been_alone() {
    let times = [1000, 3000, 2000, 4000, 1500];
    for codec in codecs() {
        for stamp in stamps() {
            let whole = batch(codec, &times, &stamp);
            let header = BatchHeader::parse(&whole).unwrap();
            for kept in 1..times.len() {
                let end = Offset::new(100 + kept as u64);
                let left = shortened(&header, whole.clone(), end, LIMITS).unwrap();
                assert_eq!(left.bytes, batch(codec, &times[..kept], &stamp), "{codec}, {kept}");
                assert_eq!(BatchHeader::parse(&left.bytes).unwrap(), left.header);
                assert_eq!(left.header.next_offset(), end);
            }
        }
    }
}

#[test]
fn a_batch_whose_kept_offsets_were_compacted_away_stays_as_an_empty_one() {
    for codec in codecs() {
        let whole = batch(codec, &[1, 2, 3], &stamps()[1]);
        let header = BatchHeader::parse(&whole).unwrap();
        let decoded = DecodedBatch::decode(whole, LIMITS).unwrap();
        let (region, mut at) = (decoded.region(), 0);
        for _ in 0..2 {
            at = slot::parse_record(region, at).unwrap().end;
        }
        // Only the last record is left.
        let compacted = seal(BatchHeader { count: 1, ..header }, &region[at..], codec).unwrap();
        let left = shortened(&compacted.header, compacted.bytes, Offset::new(102), LIMITS).unwrap();
        let again = DecodedBatch::decode(left.bytes, LIMITS).unwrap();
        assert_eq!(again.records().count(), 0);
        assert_eq!((again.header().count, again.header().next_offset()), (0, Offset::new(102)));
        assert_eq!((again.header().producer_id, again.header().base_sequence), (9, i32::MAX - 1));
    }
}

#[test]
fn flags_and_the_delete_horizon_survive() {
    let whole = batch(Compression::None, &[1000, 1001], &stamps()[0]);
    let header = BatchHeader::parse(&whole).unwrap();
    let flags = layout::CONTROL_MASK | layout::TRANSACTIONAL_MASK | layout::DELETE_HORIZON_MASK;
    let flagged = seal(BatchHeader { attributes: flags, ..header }, &whole[HEADER_BYTES..], Compression::None).unwrap();
    let left = shortened(&flagged.header, flagged.bytes, Offset::new(101), LIMITS).unwrap();
    assert_eq!((left.header.attributes, left.header.base_timestamp), (flags, 1000));
    assert_eq!((left.header.leader_epoch, left.header.max_timestamp), (7, 1000));
}

#[test]
fn a_damaged_batch_is_not_shortened() {
    let mut whole = batch(Compression::None, &[1, 2], &stamps()[0]);
    let header = BatchHeader::parse(&whole).unwrap();
    *whole.last_mut().unwrap() ^= 1;
    assert!(matches!(shortened(&header, whole, Offset::new(101), LIMITS), Err(Corruption::Crc { .. })));
}
