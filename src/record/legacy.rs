//! Messages of formats 0 and 1, which are read and never written.
//!
//! A message stands alone, or is a *wrapper*: its value is a compressed set of messages, and its offset that of the
//! last of them. The invariant it owns: what [`unwrap`] returns holds at least one message, and none that is itself a
//! wrapper.

use byteorder::{BigEndian, ByteOrder};

use super::bytes::BatchBytes;
use super::compression::{Compression, DecodeLimits, HeaderChecksum, decompress};
use super::decode::addressable;
use super::header::BatchHeader;
use super::layout::{self, OVERHEAD_BYTES};
use super::slot::Span;
use crate::error::Corruption;

/// Messages one behind the other, and what must be added to their offsets.
pub(super) struct MessageSet {
    pub bytes: BatchBytes,
    pub shift: i64,
}

/// Unfolds the batch of `header`, which is a single message or a wrapper.
pub(super) fn unwrap(header: &BatchHeader, batch: BatchBytes, limits: DecodeLimits) -> Result<MessageSet, Corruption> {
    let compression = header.compression()?;
    let outer = Message::parse(&batch, 0)?.ok_or(broken("it holds no message"))?;
    if compression == Compression::None {
        return Ok(MessageSet { bytes: batch, shift: 0 });
    }
    let value = outer.value.of(&batch).ok_or(broken("its value is null"))?;
    // Format 0 computed the checksum of an LZ4 frame's header over the wrong bytes, so nobody can verify it.
    let header_checksum = if header.magic == 0 { HeaderChecksum::Ignored } else { HeaderChecksum::Verified };
    let mut bytes = Vec::new();
    decompress(compression, value, header_checksum, addressable(limits), &mut bytes)?;

    let mut last = None;
    let mut at = 0;
    while let Some(message) = Message::parse(&bytes, at)? {
        if message.is_compressed {
            return Err(broken("a message inside it is compressed again"));
        }
        last = Some(message.offset);
        at = message.end;
    }
    let last = last.ok_or(broken("it holds no message"))?;
    // Kafka's readers stop silently where the last message is cut off.
    bytes.truncate(at);
    Ok(MessageSet { bytes: bytes.into(), shift: shift(header, last)? })
}

/// Inside a wrapper of format 1 offsets are relative, with the last one standing for the wrapper's own; of format 0
/// they are absolute, as they are where a client left the wrapper's offset 0.
fn shift(header: &BatchHeader, last_inside: i64) -> Result<i64, Corruption> {
    let outer = header.last_offset().to_disk();
    if header.magic == 0 || outer == 0 {
        return Ok(0);
    }
    match outer.checked_sub(last_inside) {
        Some(shift) if shift >= 0 => Ok(shift),
        _ => Err(broken("its offset lies below that of its last message")),
    }
}

/// One message, by the place of its fields.
pub(super) struct Message {
    /// As it is stored: inside a wrapper of format 1 it is relative.
    pub offset: i64,
    /// Format 0 has none.
    pub timestamp: Option<i64>,
    pub key: Span,
    pub value: Span,
    pub is_compressed: bool,
    /// Where the next message begins.
    pub end: usize,
}

impl Message {
    /// Parses the message at `at`; `None` where none begins or the last one is cut off.
    pub(super) fn parse(set: &[u8], at: usize) -> Result<Option<Message>, Corruption> {
        let rest = &set[at..];
        if rest.len() < OVERHEAD_BYTES {
            return Ok(None);
        }
        let offset = BigEndian::read_i64(&rest[layout::LEGACY_OFFSET.at..]);
        let length = BigEndian::read_i32(&rest[layout::LEGACY_LENGTH.at..]);
        let smallest = smallest_length(layout::V0_SMALLEST_BYTES);
        if length < smallest {
            return Err(Corruption::BatchLength { found: length, smallest });
        }
        let size = OVERHEAD_BYTES + length.unsigned_abs() as usize;
        let Some(message) = rest.get(..size) else { return Ok(None) };
        let magic = i8::from_be_bytes([message[layout::MAGIC.at]]);
        let (timestamp, key_length_at) = match magic {
            0 => (None, layout::V0_KEY_LENGTH_AT),
            1 if size >= layout::V1_SMALLEST_BYTES => {
                let timestamp = BigEndian::read_i64(&message[layout::V1_TIMESTAMP.at..]);
                (Some(timestamp), layout::V1_KEY_LENGTH_AT)
            }
            1 => {
                let smallest = smallest_length(layout::V1_SMALLEST_BYTES);
                return Err(Corruption::BatchLength { found: length, smallest });
            }
            found => return Err(Corruption::Magic { found }),
        };
        let end = at + size;
        let mut fields = &message[key_length_at..];
        let key = take_bytes(&mut fields, end, "a message's key")?;
        let value = take_bytes(&mut fields, end, "a message's value")?;
        if !fields.is_empty() {
            return Err(Corruption::LeftOver { bytes: fields.len() as u64 });
        }
        let codec = message[layout::LEGACY_ATTRIBUTES.at] & layout::CODEC_MASK.to_be_bytes()[1];
        let is_compressed = codec != Compression::None.code();
        Ok(Some(Message { offset, timestamp, key, value, is_compressed, end }))
    }
}

/// Takes a length of four bytes and as many bytes off `fields`, which end at `end` of the set. −1 is null.
fn take_bytes(fields: &mut &[u8], end: usize, field: &'static str) -> Result<Span, Corruption> {
    let Some((length, rest)) = fields.split_first_chunk::<4>() else {
        return Err(Corruption::Truncated { needed: 4, available: fields.len() as u64 });
    };
    let length = i32::from_be_bytes(*length);
    *fields = rest;
    if length == -1 {
        return Ok(Span::NULL);
    }
    let Some((wanted, (_, after))) =
        usize::try_from(length).ok().and_then(|length| Some((length, rest.split_at_checked(length)?)))
    else {
        return Err(Corruption::FieldLength { field, found: length.into(), available: rest.len() as u64 });
    };
    let at = end - rest.len();
    *fields = after;
    Ok(Span::new(at..at + wanted))
}

fn smallest_length(smallest_bytes: usize) -> i32 {
    i32::try_from(smallest_bytes - OVERHEAD_BYTES).expect("headers are short")
}

fn broken(why: &'static str) -> Corruption {
    Corruption::LegacyWrapper { why }
}

#[cfg(test)]
mod tests;
