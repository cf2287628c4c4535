//! A batch without its last records: what a truncation in the middle of one leaves of it.
//!
//! Which batch and where it is cut is the caller's business. The invariant it owns: the records that stay keep their
//! offsets, times and, uncompressed, their very bytes; the batch keeps its producer, its sequence and its flags, and
//! ends exactly at the cut, so that no offset is missing behind it.

use super::borrowed::Record;
use super::compression::{Compression, Compressor, DecodeLimits};
use super::decode::DecodedBatch;
use super::encode::put_record;
use super::header::{BatchHeader, TimestampType, verify_crc};
use super::layout::{self, HEADER_BYTES};
use super::slot;
use crate::error::Corruption;
use crate::offset::{Offset, Timestamp};

/// What is left of a batch.
#[derive(Debug)]
pub(crate) struct Shortened {
    pub(crate) header: BatchHeader,
    /// The whole batch.
    pub(crate) bytes: Vec<u8>,
}

/// The batch of `header`, with its records below `end` and no others. It begins below `end` and ends at or above it.
///
/// A compressed batch is compressed anew with its codec; compressed messages of formats 0 and 1 become a batch of format 2.
///
/// # Errors
/// What is wrong with the batch.
pub(crate) fn shortened(
    header: &BatchHeader,
    batch: Vec<u8>,
    end: Offset,
    limits: DecodeLimits,
) -> Result<Shortened, Corruption> {
    verify_crc(&batch, header)?;
    let compression = header.compression()?;
    let decoded = DecodedBatch::decode_verified(*header, batch, limits)?;
    let kept = if header.is_legacy() { keep_messages(&decoded, end)? } else { keep_records(&decoded, end)? };
    let last = end.value().checked_sub(kept.base_offset.value() + 1).and_then(|delta| i32::try_from(delta).ok());
    let Some(last_offset_delta) = last else {
        return Err(Corruption::OutOfRange { field: "the last offset delta", found: end.to_disk() });
    };
    let is_append_time = header.timestamp_type() == Some(TimestampType::LogAppendTime);
    let attributes = if kept.count == 0 { header.attributes & !layout::CODEC_MASK } else { header.attributes };
    let header = BatchHeader {
        magic: layout::MAGIC_V2,
        offset_field: kept.base_offset,
        attributes,
        last_offset_delta,
        base_timestamp: kept.base_timestamp,
        max_timestamp: if is_append_time { header.max_timestamp } else { Timestamp::to_disk(kept.max_timestamp) },
        count: kept.count,
        ..*header
    };
    seal(header, &kept.records, if kept.count == 0 { Compression::None } else { compression })
}

/// The offset of the first record of a batch, also of one of formats 0 and 1.
pub(crate) fn first_record_offset(
    header: &BatchHeader,
    batch: &[u8],
    limits: DecodeLimits,
) -> Result<Offset, Corruption> {
    if let Some(base) = header.base_offset() {
        return Ok(base);
    }
    verify_crc(batch, header)?;
    let decoded = DecodedBatch::decode_verified(*header, batch.to_vec(), limits)?;
    decoded.records().next().map_or(Ok(header.last_offset()), |record| Ok(record?.offset()))
}

/// The records that stay, encoded and not compressed, and what their header must say.
struct Kept {
    base_offset: Offset,
    base_timestamp: i64,
    max_timestamp: Option<Timestamp>,
    count: i32,
    records: Vec<u8>,
}

/// Takes over the bytes of records of format 2.
fn keep_records(decoded: &DecodedBatch, end: Offset) -> Result<Kept, Corruption> {
    let header = decoded.header();
    let mut kept = Kept {
        base_offset: header.offset_field,
        base_timestamp: header.base_timestamp,
        max_timestamp: None,
        count: 0,
        records: Vec::new(),
    };
    let region = decoded.region();
    let mut at = 0;
    for record in decoded.records() {
        let record = record?;
        let behind = slot::parse_record(region, at)?.end;
        if record.offset() < end {
            kept.records.extend_from_slice(&region[at..behind]);
            kept.max_timestamp = kept.max_timestamp.max(record.timestamp());
            kept.count += 1;
        }
        at = behind;
    }
    Ok(kept)
}

/// Encodes messages of formats 0 and 1 as records of format 2.
fn keep_messages(decoded: &DecodedBatch, end: Offset) -> Result<Kept, Corruption> {
    let mut kept = Kept {
        base_offset: decoded.header().last_offset(),
        base_timestamp: -1,
        max_timestamp: None,
        count: 0,
        records: Vec::new(),
    };
    for message in decoded.records() {
        let message = message?;
        if message.offset() >= end {
            continue;
        }
        let millis = Timestamp::to_disk(message.timestamp());
        if kept.count == 0 {
            (kept.base_offset, kept.base_timestamp) = (message.offset(), millis);
        }
        put_message(&mut kept, &message.as_record(), message.offset(), millis)?;
        kept.max_timestamp = kept.max_timestamp.max(message.timestamp());
        kept.count += 1;
    }
    Ok(kept)
}

fn put_message(kept: &mut Kept, message: &Record<'_>, offset: Offset, millis: i64) -> Result<(), Corruption> {
    let unfit = Corruption::LegacyWrapper { why: "a message inside it does not fit format 2" };
    let offset_delta = offset.checked_distance(kept.base_offset).and_then(|delta| u32::try_from(delta).ok());
    let timestamp_delta = millis.checked_sub(kept.base_timestamp).ok_or(unfit)?;
    put_record(&mut kept.records, message, timestamp_delta, offset_delta.ok_or(unfit)?).map_err(|_| unfit)
}

/// Puts header and records together.
fn seal(mut header: BatchHeader, records: &[u8], compression: Compression) -> Result<Shortened, Corruption> {
    let mut bytes = vec![0; HEADER_BYTES];
    let mut compressor =
        Compressor::new(compression).map_err(|_| Corruption::CodecNotBuilt { codec: compression.code() })?;
    compressor.compress(records, &mut bytes);
    header.size_bytes = bytes.len() as u64;
    header.seal_in_place(&mut bytes);
    Ok(Shortened { header, bytes })
}

#[cfg(test)]
mod tests;
