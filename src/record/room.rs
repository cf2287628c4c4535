//! Records stored front to back into memory that has just the room for them.
//!
//! Fields go from registers straight to their places: what is put together in memory first would have to be read again
//! before the processor has written it. The invariants it owns: what a [`RecordFrame`] announces is what
//! [`Room::put_record`] stores, and nothing is stored behind the room.

use super::borrowed::{Headers, Record};
use super::varint::{ShortVarint, length_of_varint, length_of_varlong, store_byte, store_varlong};
use crate::error::InvalidRecord;

/// A record's attributes, of which the format has none yet.
pub(super) const RECORD_ATTRIBUTES: u8 = 0;
/// The length of a null key or value.
const NULL: i64 = -1;

/// The most that key and value have together in a record whose integers are all short: the other fields take ten bytes.
const SHORT_BYTES: usize = (1 << 13) - 10;

/// Room that a record of short integers can be stored over, whatever it has: longer than all that stands before its key,
/// and than what is stored at once.
const OVER_BYTES: usize = 16;

/// What a record has beside the bytes that its caller brings; that it can be encoded is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordFrame {
    timestamp_delta: i64,
    offset_delta: i64,
    /// Bytes behind the length.
    body_bytes: usize,
    /// If the record has no headers, its integers have one or two bytes each, and there is enough of it.
    short: Option<Lead>,
}

/// What stands between the length of a short record and its key: attributes, timestamp, offset and the key's length, the
/// first byte lowest.
#[derive(Clone, Copy, Debug)]
struct Lead {
    bytes: u64,
    len: usize,
}

impl Lead {
    #[inline]
    fn of(timestamp_delta: i64, offset_delta: i64, key_length: i64) -> Lead {
        let lead = Lead { bytes: RECORD_ATTRIBUTES.into(), len: 1 };
        lead.then(timestamp_delta).then(offset_delta).then(key_length)
    }

    #[inline]
    fn then(self, value: i64) -> Lead {
        let value = ShortVarint::of(value);
        Lead { bytes: self.bytes | value.bytes() << (8 * self.len), len: self.len + value.len() }
    }
}

impl RecordFrame {
    #[inline]
    pub(super) fn of(record: &Record<'_>, timestamp_delta: i64, index: u32) -> Result<RecordFrame, InvalidRecord> {
        let (key, value) = (record.key.unwrap_or_default().len(), record.value.unwrap_or_default().len());
        let offset_delta = i64::from(index);
        let is_short = matches!(record.headers, Headers::Pairs([]))
            && key <= SHORT_BYTES
            && value <= SHORT_BYTES - key
            && key + value >= OVER_BYTES
            && offset_delta < ShortVarint::END
            && (-ShortVarint::END..ShortVarint::END).contains(&timestamp_delta);
        if !is_short {
            return RecordFrame::of_any(record, timestamp_delta, index);
        }
        let lead = Lead::of(timestamp_delta, offset_delta, length_of(record.key));
        let body_bytes = lead.len + key + ShortVarint::of(length_of(record.value)).len() + value + 1;
        Ok(RecordFrame { timestamp_delta, offset_delta, body_bytes, short: Some(lead) })
    }

    fn of_any(record: &Record<'_>, timestamp_delta: i64, index: u32) -> Result<RecordFrame, InvalidRecord> {
        let offset_delta = i32::try_from(index).map_err(|_| InvalidRecord::TooMany)?;
        let (header_count, header_bytes) = size_of_headers(&record.headers)?;
        let body_bytes = 1
            + length_of_varlong(timestamp_delta)
            + length_of_varint(offset_delta)
            + size_of_bytes(record.key)?
            + size_of_bytes(record.value)?
            + length_of_varint(header_count)
            + header_bytes;
        if i32::try_from(body_bytes).is_err() {
            return Err(too_large(body_bytes));
        }
        Ok(RecordFrame { timestamp_delta, offset_delta: offset_delta.into(), body_bytes, short: None })
    }

    #[inline]
    pub(super) fn size_bytes(&self) -> usize {
        let length =
            if self.short.is_some() { self.short_length().len() } else { length_of_varlong(signed(self.body_bytes)) };
        length + self.body_bytes
    }

    #[inline]
    fn short_length(&self) -> ShortVarint {
        ShortVarint::of(signed(self.body_bytes))
    }
}

/// The bytes that are still to be stored into.
#[derive(Debug)]
pub(super) struct Room<'b>(&'b mut [u8]);

impl<'b> Room<'b> {
    pub(super) fn new(bytes: &'b mut [u8]) -> Room<'b> {
        Room(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// # Panics
    /// Where there is less room than the record needs.
    #[inline]
    pub(super) fn put_record(&mut self, frame: &RecordFrame, record: &Record<'_>) {
        let (these, rest) = std::mem::take(&mut self.0).split_at_mut(frame.size_bytes());
        self.0 = rest;
        match &frame.short {
            Some(lead) => store_short(these, frame.short_length(), *lead, record),
            None => store_any(these, frame, record),
        }
    }
}

/// Stores a record of short integers. What stands before the key is stored at once, and more than that, which the fields
/// behind it overwrite: so that how long an integer is needs no branch.
#[inline]
fn store_short(out: &mut [u8], length: ShortVarint, lead: Lead, record: &Record<'_>) {
    let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
    let value_length = ShortVarint::of(length_of(record.value));
    let first = u128::from(lead.bytes) << (8 * length.len()) | u128::from(length.bytes());
    *out.first_chunk_mut::<OVER_BYTES>().expect("a short record is longer") = first.to_le_bytes();
    let mut rest = &mut out[length.len() + lead.len..];
    if !key.is_empty() {
        let (these, behind) = rest.split_at_mut(key.len());
        these.copy_from_slice(key);
        rest = behind;
    }
    let [first, second, ..] = value_length.bytes().to_le_bytes();
    *rest.first_chunk_mut().expect(LAST_IS_OTHER) = [first, second];
    let (count, value_bytes) = rest[value_length.len()..].split_last_mut().expect(LAST_IS_OTHER);
    value_bytes.copy_from_slice(value);
    *count = 0;
}

/// Why there is always a byte behind what is stored over it.
const LAST_IS_OTHER: &str = "the last field of a record is the number of headers";

/// Stores any record. An integer is encoded alike in 32 bits and in 64.
fn store_any(mut out: &mut [u8], frame: &RecordFrame, record: &Record<'_>) {
    let out = &mut out;
    store_varlong(out, signed(frame.body_bytes));
    store_byte(out, RECORD_ATTRIBUTES);
    store_varlong(out, frame.timestamp_delta);
    store_varlong(out, frame.offset_delta);
    store_bytes(out, record.key);
    store_bytes(out, record.value);
    match record.headers {
        Headers::Pairs(pairs) => {
            store_varlong(out, signed(pairs.len()));
            for (name, value) in pairs {
                store_bytes(out, Some(name.as_bytes()));
                store_bytes(out, *value);
            }
        }
        Headers::Encoded { count, bytes } => {
            store_varlong(out, count.into());
            store(out, bytes);
        }
    }
    assert!(out.is_empty(), "a record is as long as its frame says");
}

fn store_bytes(out: &mut &mut [u8], bytes: Option<&[u8]>) {
    store_varlong(out, length_of(bytes));
    store(out, bytes.unwrap_or_default());
}

fn store(out: &mut &mut [u8], bytes: &[u8]) {
    let (these, rest) = std::mem::take(out).split_at_mut(bytes.len());
    these.copy_from_slice(bytes);
    *out = rest;
}

/// The length that stands before bytes, or in their place.
#[inline]
fn length_of(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(NULL, |bytes| signed(bytes.len()))
}

#[inline]
fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("nothing in memory is that long")
}

#[inline]
fn size_of_bytes(bytes: Option<&[u8]>) -> Result<usize, InvalidRecord> {
    let Some(bytes) = bytes else { return Ok(length_of_varlong(NULL)) };
    let length = i32::try_from(bytes.len()).map_err(|_| too_large(bytes.len()))?;
    Ok(length_of_varint(length) + bytes.len())
}

#[inline]
fn size_of_headers(headers: &Headers<'_>) -> Result<(i32, usize), InvalidRecord> {
    match headers {
        Headers::Pairs([]) => Ok((0, 0)),
        Headers::Pairs(pairs) => size_of_pairs(pairs),
        Headers::Encoded { count, bytes } => {
            let count = i32::try_from(*count).map_err(|_| InvalidRecord::TooMany)?;
            Ok((count, bytes.len()))
        }
    }
}

fn size_of_pairs(pairs: &[(&str, Option<&[u8]>)]) -> Result<(i32, usize), InvalidRecord> {
    let count = i32::try_from(pairs.len()).map_err(|_| InvalidRecord::TooMany)?;
    let mut bytes = 0;
    for (name, value) in pairs {
        bytes += size_of_bytes(Some(name.as_bytes()))? + size_of_bytes(*value)?;
    }
    Ok((count, bytes))
}

#[cold]
fn too_large(bytes: usize) -> InvalidRecord {
    InvalidRecord::TooLarge { size_bytes: bytes as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(frame: &RecordFrame, record: &Record<'_>) -> Vec<u8> {
        let mut bytes = vec![0xa5; frame.size_bytes()];
        Room::new(&mut bytes).put_record(frame, record);
        bytes
    }

    #[test]
    fn a_record_has_the_same_bytes_by_the_short_way_and_by_the_long_one() {
        let bytes = vec![7; 8200];
        let lengths = [0, 1, 14, 15, 16, 17, 62, 63, 64, 65, 100, 8000, 8170, 8181, 8182, 8183, 8191, 8192];
        let deltas = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, -8192, -8193, i64::MAX, i64::MIN];
        let mut short = 0;
        for value in [None].into_iter().chain(lengths.map(Some)) {
            for key in [None, Some(0), Some(1), Some(63), Some(64), Some(200), Some(8182)] {
                for timestamp_delta in deltas {
                    for index in [0, 1, 63, 64, 8191, 8192] {
                        let record = Record::from_parts(
                            key.map(|length| &bytes[..length]),
                            value.map(|length| &bytes[..length]),
                        );
                        let frame = RecordFrame::of(&record, timestamp_delta, index).expect("a small record");
                        let long = RecordFrame::of_any(&record, timestamp_delta, index).expect("a small record");
                        let shown = format!("{key:?} {value:?} {timestamp_delta} {index}");
                        assert_eq!(frame.size_bytes(), long.size_bytes(), "{shown}");
                        assert!(stored(&frame, &record) == stored(&long, &record), "{shown}");
                        short += usize::from(frame.short.is_some());
                    }
                }
            }
        }
        assert!(short > 2000, "{short} records were short");
    }
}
