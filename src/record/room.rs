//! Records stored front to back into memory that has just the room for them.
//!
//! Fields go from registers straight to their places: what is put together in memory first would have to be read again
//! before the processor has written it. The invariants it owns: what a [`RecordFrame`] announces is what
//! [`Room::put_record`] stores, and nothing is stored behind the room.

use super::borrowed::{Headers, Record};
use super::varint::{ShortVarint, length_of_varint, length_of_varlong, store_byte, store_varint, store_varlong};
use crate::error::InvalidRecord;

/// A record's attributes, of which the format has none yet.
pub(super) const RECORD_ATTRIBUTES: u8 = 0;
/// The length of a null key or value.
const NULL: i32 = -1;

/// What a record has beside the bytes that its caller brings; that it can be encoded is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordFrame {
    timestamp_delta: i64,
    offset_delta: i32,
    /// Bytes behind the length.
    body_bytes: i32,
}

impl RecordFrame {
    #[inline]
    pub(super) fn of(record: &Record<'_>, timestamp_delta: i64, index: u32) -> Result<RecordFrame, InvalidRecord> {
        let offset_delta = i32::try_from(index).map_err(|_| InvalidRecord::TooMany)?;
        let (header_count, header_bytes) = size_of_headers(&record.headers)?;
        let body_bytes = 1
            + length_of_varlong(timestamp_delta)
            + length_of_varint(offset_delta)
            + size_of_bytes(record.key)?
            + size_of_bytes(record.value)?
            + length_of_varint(header_count)
            + header_bytes;
        let body_bytes = i32::try_from(body_bytes).map_err(|_| too_large(body_bytes))?;
        Ok(RecordFrame { timestamp_delta, offset_delta, body_bytes })
    }

    #[inline]
    pub(super) fn size_bytes(&self) -> usize {
        length_of_varint(self.body_bytes) + self.body_bytes.unsigned_abs() as usize
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
        if store_short(these, frame, record).is_none() {
            store_any(these, frame, record);
        }
    }
}

/// Stores a record without headers whose integers have one or two bytes each; `None` if it is none. Each is stored with the
/// byte behind it, which the next field overwrites, so that how long it is needs no branch.
#[inline]
fn store_short(out: &mut [u8], frame: &RecordFrame, record: &Record<'_>) -> Option<()> {
    let Headers::Pairs([]) = record.headers else { return None };
    let length = ShortVarint::of(frame.body_bytes.into())?;
    let timestamp = ShortVarint::of(frame.timestamp_delta)?;
    let offset = ShortVarint::of(frame.offset_delta.into())?;
    let key_length = ShortVarint::of(length_of(record.key).into())?;
    let value_length = ShortVarint::of(length_of(record.value).into())?;
    let stamp = u32::from(timestamp.bytes) << 8 | u32::from(RECORD_ATTRIBUTES);
    let place = u32::from(key_length.bytes) << (8 * offset.len) | u32::from(offset.bytes);
    let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
    store_over(out, 0, length.bytes.to_le_bytes());
    store_over(out, length.len, stamp.to_le_bytes());
    let key_at = length.len + 1 + timestamp.len + offset.len + key_length.len;
    store_over(out, key_at - offset.len - key_length.len, place.to_le_bytes());
    let value_at = key_at + key.len() + value_length.len;
    if !key.is_empty() {
        out[key_at..key_at + key.len()].copy_from_slice(key);
    }
    store_over(out, value_at - value_length.len, value_length.bytes.to_le_bytes());
    let (count, value_bytes) = out[value_at..].split_last_mut().expect(COUNTED);
    value_bytes.copy_from_slice(value);
    *count = 0;
    Some(())
}

#[inline]
fn store_over<const N: usize>(out: &mut [u8], at: usize, bytes: [u8; N]) {
    *out[at..].first_chunk_mut().expect("the last field of a record is none of these") = bytes;
}

/// Stores any record.
fn store_any(mut out: &mut [u8], frame: &RecordFrame, record: &Record<'_>) {
    let out = &mut out;
    store_varint(out, frame.body_bytes);
    store_byte(out, RECORD_ATTRIBUTES);
    store_varlong(out, frame.timestamp_delta);
    store_varint(out, frame.offset_delta);
    store_bytes(out, record.key);
    store_bytes(out, record.value);
    match record.headers {
        Headers::Pairs(pairs) => {
            store_varint(out, i32::try_from(pairs.len()).expect(COUNTED));
            for (name, value) in pairs {
                store_bytes(out, Some(name.as_bytes()));
                store_bytes(out, *value);
            }
        }
        Headers::Encoded { count, bytes } => {
            store_varint(out, i32::try_from(count).expect(COUNTED));
            store(out, bytes);
        }
    }
    assert!(out.is_empty(), "a record is as long as its frame says");
}

fn store_bytes(out: &mut &mut [u8], bytes: Option<&[u8]>) {
    store_varint(out, length_of(bytes));
    store(out, bytes.unwrap_or_default());
}

fn store(out: &mut &mut [u8], bytes: &[u8]) {
    let (these, rest) = std::mem::take(out).split_at_mut(bytes.len());
    these.copy_from_slice(bytes);
    *out = rest;
}

/// Why what a frame was made of can be encoded.
const COUNTED: &str = "lengths were checked when the frame was made";

#[inline]
fn length_of(bytes: Option<&[u8]>) -> i32 {
    bytes.map_or(NULL, |bytes| i32::try_from(bytes.len()).expect(COUNTED))
}

#[inline]
fn size_of_bytes(bytes: Option<&[u8]>) -> Result<usize, InvalidRecord> {
    let Some(bytes) = bytes else { return Ok(length_of_varint(NULL)) };
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
