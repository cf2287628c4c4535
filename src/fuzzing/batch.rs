//! Record batches of any format, decoded, encoded again and taken as a client's.
//!
//! Knows no file. What it holds the decoder to: both walks over the records agree, records that were decoded are encoded
//! and decoded to the same records, what a log takes it can read, and memory is taken for bytes that are there.

use std::sync::Arc;

use super::{LIMITS, Meter, NOW, UNFOLDED_BYTES};
use crate::error::Corruption;
use crate::offset::Offset;
use crate::record::{
    BatchBuilder, BatchHeader, BatchStamp, ClientRules, Compression, DecodedBatch, StoredRecords,
    StoredRecordsReversed, TimestampBounds, TimestampType, validate_client_batches, verify_crc,
};

/// What decoding takes beside the records.
const DECODER_BYTES: usize = 256 << 10;
/// A compressed batch may ask for this times its size before anything is unfolded.
const FIRST_ROOM_FACTOR: usize = 256;
/// Growth copies: the old room and the new one, which may be twice as large.
const GROWTH_FACTOR: usize = 3;
/// The place of a record takes this times its smallest size.
const SLOT_FACTOR: usize = 8;

/// What it takes to count who holds the bytes of a batch.
const OWNERS_BYTES: usize = 64;

/// Decodes the bytes as record batches, to the last record of each, as they are and with right checksums.
pub fn batch(bytes: &[u8], meter: Meter) {
    let mut mended = bytes.to_vec();
    mend_batches(&mut mended);
    for bytes in [bytes, &mended] {
        let mut rest = bytes;
        while let Ok(header) = BatchHeader::parse(rest) {
            assert!(header.next_offset() > header.last_offset());
            decode(rest, &header, meter);
            let size = usize::try_from(header.size_bytes).expect("a batch is smaller than 2^32 bytes");
            let Some(behind) = rest.get(size..) else { break };
            rest = behind;
        }
        validate(bytes);
    }
}

/// One batch, with what may follow it.
pub(super) fn decode(bytes: &[u8], header: &BatchHeader, meter: Meter) {
    let owned = bytes.to_vec();
    let is_compressed = header.compression() != Ok(Compression::None);
    let most_unfolded = if is_compressed { UNFOLDED_BYTES } else { bytes.len() };
    let for_codec = if is_compressed {
        DECODER_BYTES + FIRST_ROOM_FACTOR * bytes.len() + GROWTH_FACTOR * UNFOLDED_BYTES
    } else {
        OWNERS_BYTES
    };
    let Ok(batch) = meter.within(for_codec, || DecodedBatch::decode(owned, LIMITS)) else { return };
    let borrowed: Vec<_> = batch.records().collect();
    let whole = borrowed.iter().all(Result::is_ok);
    if whole && !header.is_legacy() {
        encode_again(&batch);
    }
    drop(borrowed);
    let batch = Arc::new(batch);
    let forwards: Result<Vec<_>, Corruption> = StoredRecords::new(Arc::clone(&batch), Offset::ZERO).collect();
    assert_eq!(forwards.is_ok(), whole, "both walks over the records come to the same end");
    let backwards = meter.within(SLOT_FACTOR * most_unfolded, || StoredRecordsReversed::new(batch));
    match (forwards, backwards) {
        (Ok(forwards), Ok(backwards)) => {
            let mut backwards: Vec<_> = backwards.collect();
            backwards.reverse();
            assert_eq!(forwards, backwards);
            for record in &forwards {
                std::hint::black_box((record.control_type(), record.leader_epoch(), record.headers().count()));
            }
        }
        (Err(forwards), Err(backwards)) => assert_eq!(forwards, backwards),
        (forwards, backwards) => panic!("{forwards:?} forwards, {:?} backwards", backwards.map(drop)),
    }
}

/// Records that were decoded are encoded and decoded to the same records.
fn encode_again(batch: &DecodedBatch) {
    let mut builder = BatchBuilder::new(Compression::None);
    for record in batch.records().flatten() {
        if builder.push(record.as_record()).is_err() {
            // A time before 1970 is read, and refused when written.
            return;
        }
    }
    if builder.is_empty() {
        return;
    }
    let count = builder.len();
    let stamp = BatchStamp { now: NOW, ..BatchStamp::default() };
    let Ok(encoded) = builder.finish(&stamp) else { return };
    let again = DecodedBatch::decode(encoded.to_vec(), LIMITS).expect("what was encoded can be decoded");
    let mut found = 0;
    for (before, after) in batch.records().flatten().zip(again.records()) {
        let after = after.expect("what was encoded can be decoded");
        assert_eq!((before.key(), before.value()), (after.key(), after.value()));
        assert_eq!(before.timestamp().or(Some(NOW)), after.timestamp());
        assert!(before.headers().eq(after.headers()));
        found += 1;
    }
    assert_eq!(found, count);
}

fn validate(bytes: &[u8]) {
    for timestamp_type in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
        let bounds = TimestampBounds::NONE;
        let rules = ClientRules { max_batch_bytes: 1 << 20, limits: LIMITS, now: NOW, timestamp_type, bounds };
        let Ok(batches) = validate_client_batches(bytes, &rules) else { continue };
        for batch in batches {
            let stored = [&batch.head[..], &bytes[batch.records_range()]].concat();
            let decoded = DecodedBatch::decode(stored, LIMITS).expect("what a log takes it can read");
            let offsets =
                decoded.records().map(|record| record.expect("what a log takes it can read").offset().value());
            assert!(offsets.eq(0..u64::from(batch.records)), "offsets from 0 on, without gaps");
        }
    }
}

/// Makes the checksums of all batches right that follow each other from the start on.
pub(super) fn mend_batches(bytes: &mut [u8]) {
    let mut at = 0;
    while let Ok(header) = BatchHeader::parse(&bytes[at..]) {
        let size = usize::try_from(header.size_bytes).expect("a batch is smaller than 2^32 bytes");
        let Some(batch) = bytes.get_mut(at..at + size) else { return };
        if let Err(Corruption::Crc { computed, .. }) = verify_crc(batch, &header) {
            let field = if header.is_legacy() { 12..16 } else { 17..21 };
            batch[field].copy_from_slice(&computed.to_be_bytes());
        }
        at += size;
    }
}
