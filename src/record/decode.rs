//! A stored batch to records, borrowed.
//!
//! Records are parsed one at a time as they are asked for, so a reader pays for what it reads. The invariants it owns:
//! an iterator gives exactly the records that the header counts or ends with an error, is finished after its first
//! error, and never gives an offset outside its batch.

use std::fmt;

use super::borrowed::{Bytes, Headers, Record};
use super::bytes::BatchBytes;
use super::compression::{Compression, DecodeLimits, HeaderChecksum, decompress};
use super::header::{BatchHeader, TimestampType, add_to_sequence, verify_crc, whole_batch};
use super::layout::{self, HEADER_BYTES};
use super::legacy;
use super::slot::{self, MOST_REGION_BYTES, Slot};
use crate::error::Corruption;
use crate::offset::{Offset, Timestamp};

/// A batch whose records lie in memory, decompressed. Made once, shared by its records.
pub(crate) struct DecodedBatch {
    header: BatchHeader,
    frame: Frame,
    /// The records, decompressed.
    region: BatchBytes,
}

impl DecodedBatch {
    /// Takes the bytes of one batch; what follows it is cut off.
    #[allow(dead_code, reason = "tests and fuzz targets decode what nobody verified before")]
    pub(crate) fn decode(batch: Vec<u8>, limits: DecodeLimits) -> Result<DecodedBatch, Corruption> {
        let header = BatchHeader::parse(&batch)?;
        verify_crc(&batch, &header)?;
        DecodedBatch::decode_verified(header, batch, limits)
    }

    /// [`DecodedBatch::decode`] where the header is parsed and the checksum verified already.
    pub(crate) fn decode_verified(
        header: BatchHeader,
        batch: impl Into<BatchBytes>,
        limits: DecodeLimits,
    ) -> Result<DecodedBatch, Corruption> {
        let batch = batch.into();
        let size = whole_batch(&batch, &header)?.len();
        let batch = batch.within(0, size);
        if header.is_legacy() {
            let legacy::MessageSet { bytes, shift } = legacy::unwrap(&header, batch, limits)?;
            let frame = Frame::of_legacy(&header, shift);
            return Ok(DecodedBatch { header, frame, region: bytes });
        }
        let frame = Frame::of(&header);
        let compression = header.compression()?;
        if compression == Compression::None {
            return Ok(DecodedBatch { header, frame, region: batch.within(HEADER_BYTES, size) });
        }
        let mut records = Vec::new();
        decompress_records(&header, &batch[HEADER_BYTES..], limits, &mut records)?;
        Ok(DecodedBatch { header, frame, region: records.into() })
    }

    /// The header as it is stored.
    pub(crate) fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The records, in the order in which they lie there.
    pub(crate) fn records(&self) -> RecordRefs<'_> {
        RecordRefs { region: self.region(), header: &self.header, frame: self.frame, cursor: Cursor::default() }
    }

    #[inline]
    pub(super) fn region(&self) -> &[u8] {
        &self.region
    }

    #[inline]
    pub(super) fn frame(&self) -> &Frame {
        &self.frame
    }
}

impl fmt::Debug for DecodedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecodedBatch").field("header", &self.header).finish_non_exhaustive()
    }
}

/// Decompresses the records of a batch of format 2 into `out`, also where they are not compressed.
pub(super) fn decompress_records(
    header: &BatchHeader,
    records: &[u8],
    limits: DecodeLimits,
    out: &mut Vec<u8>,
) -> Result<(), Corruption> {
    let limits = addressable(limits);
    decompress(header.compression()?, records, HeaderChecksum::Verified, limits, out)
}

/// The limits, lowered to what a [`Slot`] can address.
pub(super) fn addressable(limits: DecodeLimits) -> DecodeLimits {
    DecodeLimits { max_decompressed_bytes: limits.max_decompressed_bytes.min(MOST_REGION_BYTES as u64) }
}

/// The records of one batch, borrowed from it.
#[derive(Clone)]
pub(crate) struct RecordRefs<'a> {
    region: &'a [u8],
    header: &'a BatchHeader,
    frame: Frame,
    cursor: Cursor,
}

impl<'a> RecordRefs<'a> {
    /// The records of a batch of format 2, of which `records` are the decompressed bytes.
    pub(crate) fn new(header: &'a BatchHeader, records: &'a [u8]) -> RecordRefs<'a> {
        assert!(!header.is_legacy(), "the records of formats 0 and 1 are found by unwrapping them");
        assert!(records.len() <= MOST_REGION_BYTES, "a batch has fewer bytes");
        RecordRefs { region: records, header, frame: Frame::of(header), cursor: Cursor::default() }
    }
}

impl<'a> Iterator for RecordRefs<'a> {
    type Item = Result<RecordRef<'a>, Corruption>;

    /// Inlined, or each record would be handed over in memory, field by field.
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if let Some(slot) = self.cursor.next_plain(&self.frame, self.region) {
            return Some(Ok(RecordRef::new(self.region, self.header, slot)));
        }
        let slot = self.cursor.next_checked(&self.frame, self.region)?;
        Some(slot.map(|slot| RecordRef::new(self.region, self.header, slot)))
    }
}

/// A stored record, borrowed from its batch.
#[derive(Clone, Copy)]
pub struct RecordRef<'a> {
    region: &'a [u8],
    /// That of its batch.
    header: &'a BatchHeader,
    slot: Slot,
}

impl<'a> RecordRef<'a> {
    #[inline]
    pub(super) fn new(region: &'a [u8], header: &'a BatchHeader, slot: Slot) -> RecordRef<'a> {
        RecordRef { region, header, slot }
    }

    /// The record's offset.
    #[must_use]
    #[inline]
    pub fn offset(&self) -> Offset {
        Offset::new(self.slot.offset.cast_unsigned())
    }

    /// The record's create time, or the time at which the log took it, as its batch says; there may be none.
    #[must_use]
    #[inline]
    pub fn timestamp(&self) -> Option<Timestamp> {
        Timestamp::from_disk(self.slot.timestamp)
    }

    /// The key; `None` is null, which is not the same as empty.
    #[must_use]
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.slot.key.of(self.region)
    }

    /// The value; `None` is null, which is not the same as empty.
    #[must_use]
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.slot.value.of(self.region)
    }

    /// The headers in their order.
    #[must_use]
    pub fn headers(&self) -> HeadersIter<'a> {
        HeadersIter::new(self.slot.header_count, self.slot.headers.of(self.region).unwrap_or_default())
    }

    /// The producer's sequence number, or −1 where the producer does not count.
    #[must_use]
    pub fn sequence(&self) -> i32 {
        if self.header.base_sequence < 0 {
            return -1;
        }
        let delta = self.slot.offset - self.header.offset_field.to_disk();
        add_to_sequence(self.header.base_sequence, i32::try_from(delta).expect("checked when the record was parsed"))
    }

    /// The record as one that can be appended, with its timestamp; nothing is copied.
    #[must_use]
    pub fn as_record(&self) -> Record<'a> {
        let bytes = self.slot.headers.of(self.region).unwrap_or_default();
        Record {
            key: self.key(),
            value: self.value(),
            headers: Headers::Encoded { count: self.slot.header_count, bytes },
            timestamp: self.timestamp(),
        }
    }
}

/// As a caller sees them: offset, timestamp, key, value and headers.
impl PartialEq for RecordRef<'_> {
    fn eq(&self, other: &RecordRef<'_>) -> bool {
        self.offset() == other.offset()
            && self.timestamp() == other.timestamp()
            && self.key() == other.key()
            && self.value() == other.value()
            && self.headers().eq(other.headers())
    }
}

impl Eq for RecordRef<'_> {}

impl fmt::Debug for RecordRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("offset", &self.offset())
            .field("timestamp", &self.timestamp())
            .field("key", &self.key().map(Bytes))
            .field("value", &self.value().map(Bytes))
            .field("headers", &self.headers())
            .finish()
    }
}

/// The headers of a record: names that may repeat, and values that may be null, in the order they were written.
#[derive(Clone)]
pub struct HeadersIter<'a> {
    left: u32,
    rest: &'a [u8],
}

impl<'a> HeadersIter<'a> {
    pub(super) fn new(count: u32, encoded: &'a [u8]) -> HeadersIter<'a> {
        HeadersIter { left: count, rest: encoded }
    }
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        slot::next_header(&mut self.rest)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for HeadersIter<'_> {}

impl fmt::Debug for HeadersIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone().map(|(name, value)| (name, value.map(Bytes)))).finish()
    }
}

/// What of its batch a record needs to know: the numbers that its own are relative to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    format: Format,
    base_offset: i64,
    last_offset_delta: i32,
    base_timestamp: i64,
    /// The timestamp of every record, under log append time.
    batch_timestamp: Option<i64>,
    count: u32,
    /// How many records [`Cursor::next_plain`] may give: those of format 2.
    plain_count: u32,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    V2,
    /// Messages of format 0 or 1; `shift` is added to their offsets.
    Legacy {
        shift: i64,
    },
}

impl Frame {
    fn of(header: &BatchHeader) -> Frame {
        Frame {
            format: Format::V2,
            base_offset: header.offset_field.to_disk(),
            last_offset_delta: header.last_offset_delta,
            base_timestamp: header.base_timestamp,
            batch_timestamp: batch_timestamp(header),
            count: header.count.unsigned_abs(),
            plain_count: header.count.unsigned_abs(),
        }
    }

    fn of_legacy(header: &BatchHeader, shift: i64) -> Frame {
        Frame { format: Format::Legacy { shift }, count: u32::MAX, plain_count: 0, ..Frame::of(header) }
    }

    /// A record of format 2 with the numbers that its batch makes of its own.
    #[inline(always)]
    fn place(&self, raw: &slot::RawRecord) -> Result<Slot, Corruption> {
        if raw.offset_delta < 0 || raw.offset_delta > self.last_offset_delta {
            return Err(Corruption::OutOfRange { field: "an offset delta", found: raw.offset_delta.into() });
        }
        let timestamp = match self.batch_timestamp {
            Some(timestamp) => timestamp,
            None => self
                .base_timestamp
                .checked_add(raw.timestamp_delta)
                .ok_or(Corruption::OutOfRange { field: "a timestamp delta", found: raw.timestamp_delta })?,
        };
        Ok(Slot {
            offset: self.base_offset + i64::from(raw.offset_delta),
            timestamp,
            key: raw.key,
            value: raw.value,
            headers: raw.headers,
            header_count: raw.header_count,
        })
    }

    /// How many records `region` can hold at most; for sizing, never more than the bytes justify.
    pub(super) fn most_records(&self, region: &[u8]) -> usize {
        let smallest_bytes = match self.format {
            Format::V2 => layout::SMALLEST_RECORD_BYTES,
            Format::Legacy { .. } => layout::V0_SMALLEST_BYTES,
        };
        (self.count as usize).min(region.len() / smallest_bytes)
    }
}

fn batch_timestamp(header: &BatchHeader) -> Option<i64> {
    (header.timestamp_type() == Some(TimestampType::LogAppendTime)).then_some(header.max_timestamp)
}

/// A place between two records of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    at: usize,
    /// Records parsed so far, or [`FINISHED`].
    parsed: u32,
}

/// More records than a batch has.
const FINISHED: u32 = u32::MAX;

impl Cursor {
    /// The next record's slot, `None` behind the last one and after an error.
    #[inline]
    pub(super) fn next(&mut self, frame: &Frame, region: &[u8]) -> Option<Result<Slot, Corruption>> {
        match self.next_plain(frame, region) {
            Some(slot) => Some(Ok(slot)),
            None => self.next_checked(frame, region),
        }
    }

    /// The next record's slot, if it is one of the usual kind; else nothing changes, and [`Cursor::next`] tells. Nearly
    /// every record is read by this alone, which is why it has no words for what is wrong.
    #[inline(always)]
    pub(super) fn next_plain(&mut self, frame: &Frame, region: &[u8]) -> Option<Slot> {
        if self.parsed >= frame.plain_count {
            return None;
        }
        let raw = slot::parse_plain_record(region, self.at)?;
        let slot = frame.place(&raw).ok()?;
        self.at = raw.end;
        self.parsed += 1;
        Some(slot)
    }

    /// As [`Cursor::next`], for any record and for what is none.
    #[inline(never)]
    pub(super) fn next_checked(&mut self, frame: &Frame, region: &[u8]) -> Option<Result<Slot, Corruption>> {
        if self.parsed == FINISHED {
            return None;
        }
        let slot = match frame.format {
            Format::V2 => self.next_v2(frame, region),
            Format::Legacy { shift } => self.next_legacy(frame, shift, region),
        };
        if !matches!(slot, Ok(Some(_))) {
            self.parsed = FINISHED;
        }
        slot.transpose()
    }

    fn next_v2(&mut self, frame: &Frame, region: &[u8]) -> Result<Option<Slot>, Corruption> {
        if self.parsed == frame.count || self.at == region.len() {
            return self.check_end(frame, region);
        }
        let raw = slot::parse_record(region, self.at)?;
        let slot = frame.place(&raw)?;
        self.at = raw.end;
        self.parsed += 1;
        Ok(Some(slot))
    }

    #[cold]
    fn check_end(&self, frame: &Frame, region: &[u8]) -> Result<Option<Slot>, Corruption> {
        if self.parsed < frame.count {
            let declared = i32::try_from(frame.count).unwrap_or(i32::MAX);
            return Err(Corruption::RecordCount { declared, found: self.parsed });
        }
        match region.len() - self.at {
            0 => Ok(None),
            bytes => Err(Corruption::LeftOver { bytes: bytes as u64 }),
        }
    }

    #[cold]
    fn next_legacy(&mut self, frame: &Frame, shift: i64, region: &[u8]) -> Result<Option<Slot>, Corruption> {
        let Some(message) = legacy::Message::parse(region, self.at)? else { return Ok(None) };
        let offset = message
            .offset
            .checked_add(shift)
            .filter(|offset| (0..i64::MAX).contains(offset))
            .ok_or(Corruption::OutOfRange { field: "a message's offset", found: message.offset })?;
        // What format 0 does not have, its wrapper cannot give it.
        let timestamp = match (message.timestamp, frame.batch_timestamp) {
            (Some(_), Some(of_wrapper)) => of_wrapper,
            (Some(timestamp), None) => timestamp,
            (None, _) => -1,
        };
        self.at = message.end;
        self.parsed += 1;
        Ok(Some(Slot {
            offset,
            timestamp,
            key: message.key,
            value: message.value,
            headers: slot::Span::EMPTY,
            header_count: 0,
        }))
    }
}

#[cfg(test)]
mod tests;
