//! Messages of formats 0 and 1, made by a recipe, alone or in a wrapper, and compared with what the recipe says.
//!
//! Arbitrary bytes as messages are the business of `batch`; here the checksums, lengths and codecs are right, so that
//! what is left to go wrong is the meaning. The input: one byte of options (bit 0: format 1; bits 1 and 2: the codec;
//! bit 3: log append time; bit 4: the wrapper's offset is 0; bit 5: the wrong header checksum that format 0 has in LZ4
//! frames; bit 6: a tail that is cut off; bit 7: a message inside is a wrapper again), the wrapper's offset as two bytes
//! and its time as one, then five bytes a message: what its offset is above the last one (signed), its time (signed),
//! key length and value length (255 for null), and its own format in bit 0 of the last.

use super::batch::decode;
use super::{LIMITS, Meter};
use crate::error::Corruption;
use crate::offset::Timestamp;
use crate::record::{BatchHeader, Compression, Compressor, DecodedBatch, verify_crc};

const CODECS: [Compression; 4] = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4];
const LOG_APPEND_TIME: u8 = 0x08;
/// Where the byte of the header's checksum stands in the LZ4 frames that are written.
const LZ4_HEADER_CHECKSUM_AT: usize = 6;

/// Reads what a recipe makes, and compares it with the recipe.
pub fn legacy(bytes: &[u8], meter: Meter) {
    let Some((&[options, high, low, time], recipe)) = bytes.split_first_chunk::<4>() else { return };
    let offset = if options & 0x10 == 0 { i64::from(u16::from_be_bytes([high, low])) } else { 0 };
    let mut messages = Vec::new();
    let mut last = 0;
    for &[above, time, key, value, format] in recipe.as_chunks::<5>().0 {
        last += i64::from(above.cast_signed());
        let message = Message {
            magic: format & 1,
            attributes: 0,
            offset: last,
            timestamp: i64::from(time.cast_signed()),
            key: content(key, 0x6b),
            value: content(value, 0x76),
        };
        messages.push(message);
    }
    let wrapper = Wrapper {
        magic: options & 1,
        codec: CODECS[usize::from(options >> 1 & 3)],
        stamped: options & 8 != 0,
        offset,
        timestamp: i64::from(time.cast_signed()),
        wrong_lz4_checksum: options & 0x20 != 0,
        cut: options & 0x40 != 0,
        nested: options & 0x80 != 0,
    };
    if wrapper.codec == Compression::None {
        messages.iter().for_each(|message| alone(message, wrapper.stamped, meter));
    } else {
        wrapped(&wrapper, &messages, meter);
    }
}

/// What a reader is to be given: offset, timestamp, key and value.
type Read = (u64, Option<Timestamp>, Option<Vec<u8>>, Option<Vec<u8>>);

struct Message {
    magic: u8,
    attributes: u8,
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.offset.to_be_bytes().to_vec();
        bytes.extend([0; 8]);
        bytes.extend([self.magic, self.attributes]);
        if self.magic == 1 {
            bytes.extend(self.timestamp.to_be_bytes());
        }
        for field in [&self.key, &self.value] {
            let length = field.as_ref().map_or(-1, |field| i32::try_from(field.len()).expect("a short field"));
            bytes.extend(length.to_be_bytes());
            bytes.extend(field.iter().flatten());
        }
        let length = i32::try_from(bytes.len() - 12).expect("a short message");
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        if let Ok(header) = BatchHeader::parse(&bytes)
            && let Err(Corruption::Crc { computed, .. }) = verify_crc(&bytes, &header)
        {
            bytes[12..16].copy_from_slice(&computed.to_be_bytes());
        }
        bytes
    }

    fn read(&self, offset: i64, stamp: Option<i64>) -> Read {
        let timestamp = if self.magic == 0 { -1 } else { stamp.unwrap_or(self.timestamp) };
        let offset = u64::try_from(offset).expect("it was checked");
        (offset, Timestamp::from_disk(timestamp), self.key.clone(), self.value.clone())
    }
}

struct Wrapper {
    magic: u8,
    codec: Compression,
    stamped: bool,
    offset: i64,
    timestamp: i64,
    wrong_lz4_checksum: bool,
    cut: bool,
    nested: bool,
}

/// A message that is no wrapper is a batch of one record.
fn alone(message: &Message, stamped: bool, meter: Meter) {
    let attributes = if stamped { LOG_APPEND_TIME } else { 0 };
    let bytes = Message { attributes, key: message.key.clone(), value: message.value.clone(), ..*message }.encode();
    let Ok(header) = BatchHeader::parse(&bytes) else {
        assert!(message.offset < 0, "only a negative offset is against it");
        return;
    };
    assert_eq!(verify_crc(&bytes, &header), Ok(()));
    decode(&bytes, &header, meter);
    assert_eq!(records(bytes), Ok(vec![message.read(message.offset, None)]));
}

fn wrapped(wrapper: &Wrapper, messages: &[Message], meter: Meter) {
    let mut set: Vec<u8> = messages.iter().flat_map(Message::encode).collect();
    if wrapper.nested
        && let Some(last) = messages.last()
    {
        let inner = Message { attributes: 1, key: None, value: Some(vec![0]), ..*last };
        set.extend(inner.encode());
    }
    // Kafka's readers stop silently where the last message is cut off.
    let cut = if wrapper.cut { set.len().saturating_sub(1) } else { set.len() };
    let is_nested = wrapper.nested && !wrapper.cut && !messages.is_empty();
    let whole = if wrapper.cut && !wrapper.nested { messages.len().saturating_sub(1) } else { messages.len() };
    let messages = &messages[..whole];

    let mut value = Vec::new();
    Compressor::new(wrapper.codec).expect("all codecs are built").compress(&set[..cut], &mut value);
    let breaks_checksum = wrapper.wrong_lz4_checksum && wrapper.codec == Compression::Lz4;
    if breaks_checksum {
        value[LZ4_HEADER_CHECKSUM_AT] ^= 0xff;
    }
    let attributes = wrapper.codec.code() | if wrapper.stamped { LOG_APPEND_TIME } else { 0 };
    let (offset, timestamp) = (wrapper.offset, wrapper.timestamp);
    let outer = Message { magic: wrapper.magic, attributes, offset, timestamp, key: None, value: Some(value) };
    let bytes = outer.encode();
    let header = BatchHeader::parse(&bytes).expect("a sound header");
    decode(&bytes, &header, meter);

    let found = records(bytes);
    if is_nested || messages.is_empty() || (breaks_checksum && wrapper.magic == 1) {
        assert!(found.is_err(), "{found:?}");
        return;
    }
    match expected(wrapper, messages) {
        Some(expected) => assert_eq!(found, Ok(expected)),
        None => assert!(found.is_err(), "{found:?}"),
    }
}

/// The records of a wrapper, or none where an offset cannot be.
///
/// In format 1 the offsets inside are relative, the last one standing for the wrapper's own, unless that is 0.
fn expected(wrapper: &Wrapper, messages: &[Message]) -> Option<Vec<Read>> {
    let relative = wrapper.magic == 1 && wrapper.offset != 0;
    let last = messages.last()?.offset;
    if relative && wrapper.offset < last {
        return None;
    }
    let shift = if relative { wrapper.offset - last } else { 0 };
    let stamp = (wrapper.magic == 1 && wrapper.stamped).then_some(wrapper.timestamp);
    let offsets = messages.iter().map(|message| message.offset + shift);
    if offsets.clone().any(|offset| offset < 0) {
        return None;
    }
    Some(messages.iter().zip(offsets).map(|(message, offset)| message.read(offset, stamp)).collect())
}

fn records(bytes: Vec<u8>) -> Result<Vec<Read>, Corruption> {
    let batch = DecodedBatch::decode(bytes, LIMITS)?;
    let owned = |field: Option<&[u8]>| field.map(<[u8]>::to_vec);
    batch
        .records()
        .map(|record| {
            let record = record?;
            Ok((record.offset().value(), record.timestamp(), owned(record.key()), owned(record.value())))
        })
        .collect()
}

fn content(length: u8, byte: u8) -> Option<Vec<u8>> {
    (length != 255).then(|| vec![byte; usize::from(length)])
}
