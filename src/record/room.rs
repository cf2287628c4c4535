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

/// The most that key and value have together in a record whose integers are all short: the other fields behind its length take
/// ten bytes at most, and that length is below 2^13.
const SHORT_BYTES: usize = (1 << 13) - 1 - 10;

/// Room for all that stands before the value of a short record without a key.
const OVER_BYTES: usize = 11;
/// The least that key and value have together in a short record: it is as long as that room, even where its seven other
/// fields have a byte each.
const LEAST_BYTES: usize = OVER_BYTES - 7;

/// What a record has beside the bytes that its caller brings; that it can be encoded is known.
#[derive(Clone, Copy, Debug)]
pub(super) enum RecordFrame {
    Short(ShortFrame),
    Any(AnyFrame),
}

impl RecordFrame {
    #[inline]
    pub(super) fn of(record: &Record<'_>, timestamp_delta: i64, index: u32) -> Result<RecordFrame, InvalidRecord> {
        if let Record { key, value: Some(value), headers: Headers::Pairs([]), .. } = *record
            && let Some(frame) = ShortFrame::of(key, value, timestamp_delta, index)
        {
            return Ok(RecordFrame::Short(frame));
        }
        AnyFrame::of(record, timestamp_delta, index).map(RecordFrame::Any)
    }

    #[inline]
    pub(super) fn size_bytes(&self) -> usize {
        match self {
            RecordFrame::Short(frame) => frame.size_bytes(),
            RecordFrame::Any(frame) => frame.size_bytes(),
        }
    }
}

/// The frame of a record as nearly all are: with a value, without headers, with integers of one or two bytes each, and long
/// enough to be stored over.
///
/// It is inlined wherever records are encoded: of what a caller leaves out, nothing is computed then.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShortFrame {
    /// Of what stands behind it.
    length: ShortVarint,
    timestamp_delta: ShortVarint,
    offset_delta: ShortVarint,
    key_length: ShortVarint,
    value_length: ShortVarint,
    size_bytes: usize,
}

impl ShortFrame {
    /// `None` for a record that is not short.
    #[inline(always)]
    pub(super) fn of(key: Option<&[u8]>, value: &[u8], timestamp_delta: i64, index: u32) -> Option<ShortFrame> {
        let offset_delta = i64::from(index);
        let bytes = key.map_or(0, <[u8]>::len) + value.len();
        let is_short = (LEAST_BYTES..=SHORT_BYTES).contains(&bytes)
            && offset_delta < ShortVarint::END
            && (-ShortVarint::END..ShortVarint::END).contains(&timestamp_delta);
        if !is_short {
            return None;
        }
        let timestamp_delta = ShortVarint::of(timestamp_delta);
        let offset_delta = ShortVarint::of(offset_delta);
        let key_length = ShortVarint::of(length_of(key));
        let value_length = ShortVarint::of(signed(value.len()));
        let integers = timestamp_delta.len() + offset_delta.len() + key_length.len() + value_length.len();
        let body_bytes = 1 + integers + bytes + 1;
        let length = ShortVarint::of(signed(body_bytes));
        let size_bytes = length.len() + body_bytes;
        Some(ShortFrame { length, timestamp_delta, offset_delta, key_length, value_length, size_bytes })
    }

    #[inline(always)]
    pub(super) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Stores the record of this key and value. Each integer is stored as if it had two bytes, and what comes behind it over
    /// the second where it has one: so that how long they are takes no branch.
    ///
    /// # Panics
    /// Where `out` is not as long as the frame says.
    #[inline(always)]
    pub(super) fn store(&self, out: &mut [u8], key: Option<&[u8]>, value: &[u8]) {
        let start = out.first_chunk_mut::<OVER_BYTES>().expect("a short record is as long");
        let mut at = self.length.store_over(start, 0);
        start[at] = RECORD_ATTRIBUTES;
        at = self.timestamp_delta.store_over(start, at + 1);
        at = self.offset_delta.store_over(start, at);
        at = self.key_length.store_over(start, at);
        match key {
            None => at = self.value_length.store_over(start, at),
            Some(key) => {
                let (these, behind) = out[at..].split_at_mut(key.len());
                these.copy_from_slice(key);
                let start = behind.first_chunk_mut::<2>().expect(LAST_IS_OTHER);
                at += key.len() + self.value_length.store_over(start, 0);
            }
        }
        let (count, value_bytes) = out[at..].split_last_mut().expect(LAST_IS_OTHER);
        value_bytes.copy_from_slice(value);
        *count = 0;
    }
}

/// Why there is always a byte behind what is stored over it.
const LAST_IS_OTHER: &str = "the last field of a record is the number of headers";

/// The frame of any record.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnyFrame {
    timestamp_delta: i64,
    offset_delta: i64,
    /// Bytes behind the length.
    body_bytes: usize,
}

impl AnyFrame {
    fn of(record: &Record<'_>, timestamp_delta: i64, index: u32) -> Result<AnyFrame, InvalidRecord> {
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
        Ok(AnyFrame { timestamp_delta, offset_delta: offset_delta.into(), body_bytes })
    }

    fn size_bytes(&self) -> usize {
        length_of_varlong(signed(self.body_bytes)) + self.body_bytes
    }

    /// Stores the record. An integer is encoded alike in 32 bits and in 64.
    fn store(&self, mut out: &mut [u8], record: &Record<'_>) {
        let out = &mut out;
        store_varlong(out, signed(self.body_bytes));
        store_byte(out, RECORD_ATTRIBUTES);
        store_varlong(out, self.timestamp_delta);
        store_varlong(out, self.offset_delta);
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

    /// Stores the record that the frame was made of.
    ///
    /// # Panics
    /// Where there is less room than the record needs.
    #[inline]
    pub(super) fn put_record(&mut self, frame: &RecordFrame, record: &Record<'_>) {
        let (these, rest) = std::mem::take(&mut self.0).split_at_mut(frame.size_bytes());
        self.0 = rest;
        match frame {
            RecordFrame::Short(frame) => frame.store(these, record.key, record.value.unwrap_or_default()),
            RecordFrame::Any(frame) => frame.store(these, record),
        }
    }
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
        let lengths = [0, 1, 2, 3, 4, 5, 14, 62, 63, 64, 65, 100, 8000, 8170, 8181, 8182, 8183, 8191, 8192];
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
                        let long = AnyFrame::of(&record, timestamp_delta, index).expect("a small record");
                        let long = RecordFrame::Any(long);
                        let shown = format!("{key:?} {value:?} {timestamp_delta} {index}");
                        assert_eq!(frame.size_bytes(), long.size_bytes(), "{shown}");
                        assert!(stored(&frame, &record) == stored(&long, &record), "{shown}");
                        short += usize::from(matches!(frame, RecordFrame::Short(_)));
                    }
                }
            }
        }
        assert!(short > 2000, "{short} records were short");
    }
}
