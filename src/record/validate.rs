//! Encoded batches of a client: are they what a log may take, and with which header does it take them?
//!
//! Everything that needs no lock is done here, before it: decompression, the walk over the records, the new header.
//! What is left for the log are base offset and leader epoch, which lie outside the checksum. The invariant it owns: a
//! [`ClientBatch`] counts its records without gaps from base offset 0, and its maximum timestamp is true.

use std::ops::Range;

use super::compression::{Compression, DecodeLimits};
use super::decode::{RecordRefs, decompress_records};
use super::header::{BatchHeader, TimestampType, verify_crc, whole_batch};
use super::layout::{self, HEADER_BYTES};
use super::slot::MOST_REGION_BYTES;
use crate::error::{Corruption, Error, InvalidBatch, InvalidRecord, Result};
use crate::offset::{Offset, Position, Timestamp};

/// What a log asks of a client's batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientRules {
    /// The largest batch in bytes, framing included.
    pub max_batch_bytes: u64,
    pub limits: DecodeLimits,
    /// The time of the append, which all records get under log append time.
    pub now: Timestamp,
    pub timestamp_type: TimestampType,
    pub bounds: TimestampBounds,
}

/// Between which timestamps those of records must lie, both included. A record without one, or one that gets the time
/// of its append, is always inside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimestampBounds {
    pub(crate) earliest: Timestamp,
    pub(crate) latest: Timestamp,
}

impl TimestampBounds {
    /// Every timestamp is inside.
    pub(crate) const NONE: TimestampBounds =
        TimestampBounds { earliest: Timestamp::from_millis(i64::MIN), latest: Timestamp::from_millis(i64::MAX) };

    /// So far before `now` and so far behind it; `None` is no bound.
    pub(crate) fn around(now: Timestamp, before_ms: Option<u64>, after_ms: Option<u64>) -> TimestampBounds {
        let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
        let earliest = before_ms.map_or(i64::MIN, |millis| now.as_millis().saturating_sub(signed(millis)));
        let latest = after_ms.map_or(i64::MAX, |millis| now.as_millis().saturating_add(signed(millis)));
        TimestampBounds { earliest: Timestamp::from_millis(earliest), latest: Timestamp::from_millis(latest) }
    }

    pub(crate) fn check(&self, timestamp: Timestamp) -> std::result::Result<(), InvalidRecord> {
        if timestamp < self.earliest {
            return Err(InvalidRecord::TimestampTooEarly { timestamp, earliest: self.earliest });
        }
        if timestamp > self.latest {
            return Err(InvalidRecord::TimestampTooLate { timestamp, latest: self.latest });
        }
        Ok(())
    }
}

/// A batch that may be appended: `head`, then the client's bytes behind the header as they are.
#[derive(Clone, Debug)]
pub(crate) struct ClientBatch {
    /// Where the whole batch lies in the client's bytes.
    pub range: Range<usize>,
    /// The header to write. Base offset and leader epoch are patched with
    /// [`set_base_offset`](super::set_base_offset) and [`set_leader_epoch`](super::set_leader_epoch).
    pub head: [u8; HEADER_BYTES],
    /// The same, parsed.
    pub header: BatchHeader,
    #[allow(dead_code, reason = "idempotent producers, which this release lacks, count by it")]
    pub records: u32,
}

impl ClientBatch {
    /// Where the records lie in the client's bytes, compressed as they came.
    pub(crate) fn records_range(&self) -> Range<usize> {
        self.range.start + HEADER_BYTES..self.range.end
    }
}

/// Checks every batch, or refuses all of them.
pub(crate) fn validate_client_batches(encoded: &[u8], rules: &ClientRules) -> Result<Vec<ClientBatch>> {
    let mut batches = Vec::with_capacity(1);
    let mut decompressed = Vec::new();
    let mut at = 0;
    while at < encoded.len() {
        let batch = validate_batch(&encoded[at..], rules, &mut decompressed).map_err(|refusal| refusal.at(at))?;
        let end = at + batch.range.end;
        batches.push(ClientBatch { range: at..end, ..batch });
        at = end;
    }
    if batches.is_empty() {
        return Err(Refusal::Invalid(InvalidBatch::Empty).at(at));
    }
    Ok(batches)
}

/// Why a batch is refused, before it is said where it lies.
enum Refusal {
    TooLarge { size_bytes: u64, limit_bytes: u64 },
    Invalid(InvalidBatch),
}

impl Refusal {
    fn at(self, position: usize) -> Error {
        match self {
            Refusal::TooLarge { size_bytes, limit_bytes } => Error::BatchTooLarge { size_bytes, limit_bytes },
            Refusal::Invalid(InvalidBatch::Corrupt(
                Corruption::CodecNotBuilt { codec } | Corruption::Codec { found: codec },
            )) => Error::UnsupportedCompression { codec },
            Refusal::Invalid(reason) => Error::InvalidBatch { position: Position::new(position as u64), reason },
        }
    }
}

impl From<Corruption> for Refusal {
    fn from(corruption: Corruption) -> Refusal {
        Refusal::Invalid(InvalidBatch::Corrupt(corruption))
    }
}

impl From<InvalidBatch> for Refusal {
    fn from(reason: InvalidBatch) -> Refusal {
        Refusal::Invalid(reason)
    }
}

/// Checks the batch at the front of `bytes`, cheapest first: nothing is decompressed for a header that is refused.
fn validate_batch(
    bytes: &[u8],
    rules: &ClientRules,
    decompressed: &mut Vec<u8>,
) -> std::result::Result<ClientBatch, Refusal> {
    let header = BatchHeader::parse(bytes)?;
    if header.is_legacy() {
        return Err(InvalidBatch::Magic { found: header.magic.unsigned_abs() }.into());
    }
    if header.size_bytes > rules.max_batch_bytes {
        let (size_bytes, limit_bytes) = (header.size_bytes, rules.max_batch_bytes);
        return Err(Refusal::TooLarge { size_bytes, limit_bytes });
    }
    let batch = whole_batch(bytes, &header)?;
    verify_crc(batch, &header)?;
    check_header(&header)?;
    let max_timestamp = check_records(&header, &batch[HEADER_BYTES..], rules, decompressed)?;
    let (head, header) = head_to_write(batch, header, max_timestamp, rules);
    Ok(ClientBatch { range: 0..batch.len(), head, header, records: header.count.unsigned_abs() })
}

/// What a client may not claim.
fn check_header(header: &BatchHeader) -> std::result::Result<(), Refusal> {
    if header.offset_field != Offset::ZERO {
        let found = header.offset_field.to_disk();
        return Err(Corruption::OutOfRange { field: "the base offset of a client's batch", found }.into());
    }
    if header.is_control() {
        return Err(InvalidBatch::Control.into());
    }
    if header.count == 0 {
        return Err(InvalidBatch::Empty.into());
    }
    let (last_offset_delta, count) = (header.last_offset_delta, header.count);
    if last_offset_delta != count - 1 {
        return Err(InvalidBatch::OffsetDeltas { last_offset_delta, count }.into());
    }
    let (producer_id, base_sequence) = (header.producer_id, header.base_sequence);
    if producer_id >= 0 && base_sequence < 0 {
        return Err(InvalidBatch::Sequence { producer_id, base_sequence }.into());
    }
    if header.timestamp_type() == Some(TimestampType::LogAppendTime) {
        return Err(InvalidBatch::LogAppendTime.into());
    }
    Ok(())
}

/// Walks the records and returns their largest timestamp, −1 if none has one.
fn check_records(
    header: &BatchHeader,
    records: &[u8],
    rules: &ClientRules,
    decompressed: &mut Vec<u8>,
) -> std::result::Result<i64, Refusal> {
    let records = if header.compression()? == Compression::None {
        debug_assert!(records.len() <= MOST_REGION_BYTES, "a length field has 31 bits");
        records
    } else {
        decompress_records(header, records, rules.limits, decompressed)?;
        decompressed
    };
    let mut max_timestamp = -1;
    for (expected, record) in (0_u64..).zip(RecordRefs::new(header, records)) {
        let record = record?;
        // The base offset is 0, so a record's offset is its delta.
        let found = record.offset();
        if found.value() != expected {
            return Err(Corruption::OutOfRange { field: "an offset delta", found: found.to_disk() }.into());
        }
        let Some(timestamp) = record.timestamp() else { continue };
        let refused = |reason| InvalidBatch::Record { index: expected, reason };
        rules.bounds.check(timestamp).map_err(refused)?;
        max_timestamp = max_timestamp.max(timestamp.as_millis());
    }
    Ok(max_timestamp)
}

/// The header with what the log knows better than the client. The checksum is computed anew only if something changed.
fn head_to_write(
    batch: &[u8],
    mut header: BatchHeader,
    max_timestamp: i64,
    rules: &ClientRules,
) -> ([u8; HEADER_BYTES], BatchHeader) {
    let log_append_time = rules.timestamp_type == TimestampType::LogAppendTime;
    let max_timestamp = if log_append_time { rules.now.as_millis() } else { max_timestamp };
    if !log_append_time && max_timestamp == header.max_timestamp {
        return (header.to_bytes(), header);
    }
    header.max_timestamp = max_timestamp;
    header.attributes &= layout::KNOWN_ATTRIBUTES;
    if log_append_time {
        header.attributes |= layout::LOG_APPEND_TIME_MASK;
    }
    (header.seal(&batch[HEADER_BYTES..]), header)
}

#[cfg(test)]
mod tests;
