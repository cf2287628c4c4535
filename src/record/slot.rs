//! Where the fields of one record of format 2 lie in the records of its batch.
//!
//! A [`Slot`] holds no bytes, so that the same parser serves records that borrow and records that own their batch. The
//! invariant it owns: every range of a parsed slot lies inside the bytes it was parsed from, and its headers are whole
//! and have UTF-8 names.

use std::ops::Range;

use super::varint::{Window, take_varint, take_varlong, unzigzag64};
use crate::error::Corruption;
use crate::offset::Offset;

/// The fields of one record: numbers as they are, bytes by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(super) offset: i64,
    /// −1 is none.
    pub(super) timestamp: i64,
    pub(super) key: Span,
    pub(super) value: Span,
    /// The headers, still encoded.
    pub(super) headers: Span,
    pub(super) header_count: u32,
}

impl Slot {
    /// Whether the record lies below an offset.
    #[inline]
    pub(crate) fn is_below(&self, end: Offset) -> bool {
        Offset::new(self.offset.cast_unsigned()) < end
    }
}

/// A range of bytes, or null. Records lie within 2^31 − 1 bytes, or 2^32 of a cap raised that far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    at: u32,
    length: u32,
}

impl Span {
    /// No region reaches as far: whoever asks for these bytes gets none.
    pub(super) const NULL: Span = Span { at: u32::MAX, length: 0 };
    pub(super) const EMPTY: Span = Span { at: 0, length: 0 };

    /// A range that lies in bytes whose length was checked against [`MOST_REGION_BYTES`].
    #[inline]
    pub(super) fn new(range: Range<usize>) -> Span {
        let at = u32::try_from(range.start).expect("regions are checked where they are made");
        let length = u32::try_from(range.len()).expect("regions are checked where they are made");
        Span { at, length }
    }

    /// As [`Span::new`] of a place that is known to lie in the region: the mask takes nothing away but the question.
    #[inline(always)]
    fn of_plain(at: usize, length: u32) -> Span {
        debug_assert!(at <= MOST_REGION_BYTES);
        Span { at: u32::try_from(at & 0xffff_ffff).expect("as many bits"), length }
    }

    #[inline]
    pub(super) fn of(self, region: &[u8]) -> Option<&[u8]> {
        let at = self.at as usize;
        region.get(at..at + self.length as usize)
    }
}

/// Records beyond this are not parsed: a [`Span`] could not say where they lie.
pub(super) const MOST_REGION_BYTES: usize = u32::MAX as usize - 1;

/// One record of format 2 as it is encoded, before its batch is taken into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawRecord {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Span,
    pub value: Span,
    pub headers: Span,
    pub header_count: u32,
    /// Where the next record begins.
    pub end: usize,
}

/// As [`parse_record`], for a record without headers whose numbers have three bytes at most and behind whose first ones
/// others follow, as nearly all are; `None` for any other, and where something is wrong.
///
/// The numbers are taken off bytes that lie in the region but perhaps not in the record. That every field does is told
/// by the last one: each is taken behind the one before, and the last ends where the record does.
#[inline(always)]
pub(super) fn parse_plain_record(region: &[u8], at: usize) -> Option<RawRecord> {
    let mut head = Window::<HEAD_BYTES>::of(&region[at..])?;
    let length = plain_length(head.take()?)?;
    // Where the next record begins follows from this one's length alone, so that it need not wait for the rest.
    let end = at + head.taken + length as usize;
    // The attributes.
    head.byte();
    let timestamp_delta = unzigzag64(head.take()?.into());
    let offset_delta = plain_length(head.take()?)?.cast_signed();
    let (key, value_length, value_at) = match plain_length(head.take()?) {
        // What follows is in the head still.
        None => (Span::NULL, head.take()?, at + head.taken),
        Some(length) => {
            let at = at + head.taken;
            let behind = at + length as usize;
            let mut rest = Window::<4>::of(region.get(behind..)?)?;
            (Span::of_plain(at, length), rest.take()?, behind + rest.taken)
        }
    };
    let (value, last) = match plain_length(value_length) {
        None => (Span::NULL, value_at),
        Some(length) => (Span::of_plain(value_at, length), value_at + length as usize),
    };
    if last + 1 != end || region.get(last) != Some(&0) {
        return None;
    }
    Some(RawRecord { timestamp_delta, offset_delta, key, value, headers: Span::EMPTY, header_count: 0, end })
}

/// The record's length, its attributes, two deltas and the key's length, all as long as they may be, and some more.
const HEAD_BYTES: usize = 16;

/// A length that is not negative.
#[inline(always)]
fn plain_length(folded: u32) -> Option<u32> {
    if folded & 1 == 0 { Some(folded >> 1) } else { None }
}

/// Parses the record that begins at `at`.
pub(super) fn parse_record(region: &[u8], at: usize) -> Result<RawRecord, Corruption> {
    let mut rest = &region[at..];
    let length = take_varint(&mut rest)?;
    let Some((body, _)) = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length)) else {
        return Err(impossible_length("a record", length, rest));
    };
    let end = region.len() - rest.len() + body.len();
    let mut rest = body;
    // The record's attributes have no meaning yet, and readers pass over them.
    let [_attributes, fields @ ..] = rest else {
        return Err(Corruption::Truncated { needed: 1, available: 0 });
    };
    rest = fields;
    let timestamp_delta = take_varlong(&mut rest)?;
    let offset_delta = take_varint(&mut rest)?;
    let key = take_bytes(&mut rest, end, "a record's key")?;
    let value = take_bytes(&mut rest, end, "a record's value")?;
    let header_count = take_varint(&mut rest)?;
    let headers = if header_count == 0 { Span::EMPTY } else { take_headers(&mut rest, end, header_count)? };
    if !rest.is_empty() {
        return Err(Corruption::LeftOver { bytes: rest.len() as u64 });
    }
    let header_count = header_count.unsigned_abs();
    Ok(RawRecord { timestamp_delta, offset_delta, key, value, headers, header_count, end })
}

/// Takes a length and as many bytes off `rest`, which ends at `end` of the region. A negative length is null.
#[inline]
fn take_bytes(rest: &mut &[u8], end: usize, field: &'static str) -> Result<Span, Corruption> {
    let length = take_varint(rest)?;
    let Ok(wanted) = usize::try_from(length) else { return Ok(Span::NULL) };
    let Some((_, after)) = rest.split_at_checked(wanted) else {
        return Err(impossible_length(field, length, rest));
    };
    let at = end - rest.len();
    *rest = after;
    Ok(Span::new(at..at + wanted))
}

/// Takes all headers, checking what [`next_header`] then relies on.
#[inline(never)]
fn take_headers(rest: &mut &[u8], end: usize, count: i32) -> Result<Span, Corruption> {
    let at = end - rest.len();
    // A header has two bytes at least; a count beyond that needs no walk to be refused.
    let possible = usize::try_from(count).is_ok_and(|count| count <= rest.len() / 2);
    if !possible {
        return Err(impossible_length("a record's header count", count, rest));
    }
    for _ in 0..count {
        let name_length = take_varint(rest)?;
        let Some((name, after)) = usize::try_from(name_length).ok().and_then(|length| rest.split_at_checked(length))
        else {
            return Err(impossible_length("a header's name", name_length, rest));
        };
        std::str::from_utf8(name).map_err(|_| Corruption::HeaderName)?;
        *rest = after;
        take_bytes(rest, end, "a header's value")?;
    }
    Ok(Span::new(at..end - rest.len()))
}

/// Takes the next header off headers that [`parse_record`] has checked.
pub(super) fn next_header<'a>(rest: &mut &'a [u8]) -> Option<(&'a str, Option<&'a [u8]>)> {
    let name_length = usize::try_from(take_varint(rest).ok()?).ok()?;
    let (name, after) = rest.split_at_checked(name_length)?;
    let name = std::str::from_utf8(name).ok()?;
    *rest = after;
    let value_length = take_varint(rest).ok()?;
    let Ok(value_length) = usize::try_from(value_length) else { return Some((name, None)) };
    let (value, after) = rest.split_at_checked(value_length)?;
    *rest = after;
    Some((name, Some(value)))
}

/// The body of the first record and what follows it, of bytes that this process has just encoded.
pub(super) fn split_own_record(mut rest: &[u8]) -> (&[u8], &[u8]) {
    let length = take_varint(&mut rest).expect("own encoding");
    rest.split_at(length.unsigned_abs() as usize)
}

/// The timestamp delta of a record's body and the fields behind it, of bytes that this process has just encoded.
pub(super) fn split_own_timestamp(body: &[u8]) -> (i64, &[u8]) {
    let mut rest = &body[1..];
    let timestamp_delta = take_varlong(&mut rest).expect("own encoding");
    (timestamp_delta, rest)
}

#[cold]
fn impossible_length(field: &'static str, found: i32, rest: &[u8]) -> Corruption {
    Corruption::FieldLength { field, found: found.into(), available: rest.len() as u64 }
}

#[cfg(test)]
mod tests;
