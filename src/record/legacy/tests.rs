//! Formats 0 and 1: plain messages, wrappers, and their quirks.

use super::*;
use crate::offset::{Offset, Timestamp};
use crate::record::checksum::crc32_ieee;
use crate::record::compression::Compressor;
use crate::record::vectors::{V1, bytes};
use crate::record::{DecodedBatch, TimestampType};

const TIME: i64 = 1_700_000_000_000;

/// A message as Kafka wrote it before format 2.
fn message(magic: u8, offset: i64, attributes: u8, key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![magic, attributes];
    if magic == 1 {
        body.extend_from_slice(&(TIME + offset).to_be_bytes());
    }
    for field in [key, value] {
        let length = field.map_or(-1, |field| i32::try_from(field.len()).unwrap());
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(field.unwrap_or_default());
    }
    let length = i32::try_from(body.len() + 4).unwrap();
    let crc = crc32_ieee(&body);
    [&offset.to_be_bytes()[..], &length.to_be_bytes(), &crc.to_be_bytes(), &body].concat()
}

/// Messages of these offsets, with the offset as the value.
fn set(magic: u8, offsets: &[i64]) -> Vec<u8> {
    offsets.iter().flat_map(|offset| message(magic, *offset, 0, None, Some(&[offset.to_be_bytes()[7]]))).collect()
}

fn wrapper(magic: u8, offset: i64, codec: Compression, inner: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    Compressor::new(codec).unwrap().compress(inner, &mut blob);
    if magic == 0 && codec == Compression::Lz4 {
        // Any checksum will do: format 0 is known for wrong ones.
        blob[6] ^= 0xff;
    }
    message(magic, offset, codec.code(), None, Some(&blob))
}

fn offsets(batch: Vec<u8>) -> Result<Vec<i64>, Corruption> {
    let batch = DecodedBatch::decode(batch, DecodeLimits::default())?;
    batch.records().map(|record| Ok(record?.offset().to_disk())).collect()
}

fn codecs() -> impl Iterator<Item = Compression> {
    let legacy = [Compression::Gzip, Compression::Snappy, Compression::Lz4];
    legacy.into_iter().filter(|codec| codec.is_available())
}

fn wrapped(why: &'static str) -> Result<Vec<i64>, Corruption> {
    Err(Corruption::LegacyWrapper { why })
}

// Row 46.
#[test]
fn offsets_inside_a_wrapper_of_format_1_follow_the_wrappers_own() {
    for codec in codecs() {
        let inner = set(1, &[0, 1, 2]);
        assert_eq!(offsets(wrapper(1, 2, codec, &inner)), Ok(vec![0, 1, 2]));
        assert_eq!(offsets(wrapper(1, 1007, codec, &inner)), Ok(vec![1005, 1006, 1007]), "{codec}");
        // After compaction they have gaps.
        assert_eq!(offsets(wrapper(1, 1007, codec, &set(1, &[1, 5]))), Ok(vec![1003, 1007]));
    }
}

// Row 55.
#[test]
fn offsets_inside_a_wrapper_of_format_0_are_absolute_and_wrong_lz4_headers_ignored() {
    for codec in codecs() {
        assert_eq!(offsets(wrapper(0, 7, codec, &set(0, &[5, 6, 7]))), Ok(vec![5, 6, 7]), "{codec}");
    }
}

// Row 47.
#[test]
fn a_wrapper_of_format_1_with_offset_0_holds_absolute_offsets() {
    for codec in codecs() {
        assert_eq!(offsets(wrapper(1, 0, codec, &set(1, &[0, 1, 2]))), Ok(vec![0, 1, 2]));
    }
}

// Row 48.
#[test]
fn a_wrapper_below_its_last_message_is_refused() {
    for codec in codecs() {
        let refused = offsets(wrapper(1, 1, codec, &set(1, &[0, 1, 2])));
        assert_eq!(refused, wrapped("its offset lies below that of its last message"));
    }
}

#[test]
fn a_message_whose_offset_cannot_be_is_refused() {
    for codec in codecs() {
        let negative = offsets(wrapper(0, 7, codec, &set(0, &[-5, 7])));
        assert_eq!(negative, Err(Corruption::OutOfRange { field: "a message's offset", found: -5 }));
        let below = offsets(wrapper(1, 7, codec, &set(1, &[-9, 3])));
        assert_eq!(below, Err(Corruption::OutOfRange { field: "a message's offset", found: -9 }));
        let far = offsets(wrapper(1, 7, codec, &set(1, &[0, i64::MIN])));
        assert_eq!(far, wrapped("its offset lies below that of its last message"));
    }
}

// Row 50.
#[test]
fn zstd_is_refused_in_formats_0_and_1() {
    for magic in [0, 1] {
        let batch = message(magic, 5, Compression::Zstd.code(), None, Some(b"x"));
        assert_eq!(offsets(batch), wrapped("zstd is not for formats 0 and 1"));
    }
}

// Row 51.
#[test]
fn a_wrapper_of_nothing_is_refused() {
    for magic in [0, 1] {
        for codec in codecs() {
            assert_eq!(offsets(message(magic, 5, codec.code(), None, None)), wrapped("its value is null"));
            assert_eq!(offsets(wrapper(magic, 5, codec, &[])), wrapped("it holds no message"));
            let cut_off = &set(magic, &[5])[..20];
            assert_eq!(offsets(wrapper(magic, 5, codec, cut_off)), wrapped("it holds no message"));
        }
    }
}

#[test]
fn a_wrapper_inside_a_wrapper_is_refused() {
    for codec in codecs() {
        let inner = wrapper(1, 0, codec, &set(1, &[0]));
        let refused = offsets(wrapper(1, 5, codec, &inner));
        assert_eq!(refused, wrapped("a message inside it is compressed again"));
    }
}

// Row 53.
#[test]
fn messages_of_another_format_than_their_wrappers_are_read() {
    for codec in codecs() {
        let inner = [set(0, &[0]), set(1, &[1])].concat();
        let batch = DecodedBatch::decode(wrapper(1, 9, codec, &inner), DecodeLimits::default()).unwrap();
        let read: Vec<_> =
            batch.records().map(|record| record.map(|record| (record.offset(), record.timestamp())).unwrap()).collect();
        let later = Some(Timestamp::from_millis(TIME + 1));
        assert_eq!(read, [(Offset::new(8), None), (Offset::new(9), later)]);
        assert_eq!(offsets(wrapper(0, 9, codec, &set(1, &[8, 9]))), Ok(vec![8, 9]));
    }
}

#[test]
fn log_append_time_of_a_wrapper_is_that_of_its_messages() {
    for codec in codecs() {
        let mut batch = wrapper(1, 9, codec, &set(1, &[0, 1]));
        batch[layout::LEGACY_ATTRIBUTES.at] |= 0x08;
        let crc = crc32_ieee(&batch[16..]);
        batch[12..16].copy_from_slice(&crc.to_be_bytes());
        let batch = DecodedBatch::decode(batch, DecodeLimits::default()).unwrap();
        assert_eq!(batch.header().timestamp_type(), Some(TimestampType::LogAppendTime));
        for record in batch.records() {
            assert_eq!(record.unwrap().timestamp(), Some(Timestamp::from_millis(TIME + 9)));
        }
    }
}

// Row 51.
#[test]
fn fields_that_contradict_the_message_are_refused() {
    let with_length = |at: usize, length: i32| {
        let mut batch = bytes(V1);
        batch[at..at + 4].copy_from_slice(&length.to_be_bytes());
        let crc = crc32_ieee(&batch[16..]);
        batch[12..16].copy_from_slice(&crc.to_be_bytes());
        offsets(batch)
    };
    assert_eq!(with_length(26, 1), Ok(vec![5]));
    for length in [-2, i32::MIN, 7, i32::MAX] {
        let refused = with_length(26, length);
        let expected = Corruption::FieldLength { field: "a message's key", found: length.into(), available: 6 };
        assert_eq!(refused, Err(expected));
    }
    assert_eq!(with_length(31, 0), Err(Corruption::LeftOver { bytes: 1 }));
    assert_eq!(with_length(26, 6), Err(Corruption::Truncated { needed: 4, available: 0 }));
}

#[test]
fn a_wrapper_that_is_cut_becomes_a_batch_of_format_2_with_its_first_messages() {
    let times = |batch: Vec<u8>| -> Vec<_> {
        let batch = DecodedBatch::decode(batch, DecodeLimits::default()).unwrap();
        batch.records().map(|record| record.unwrap().timestamp()).collect()
    };
    for codec in codecs() {
        for (magic, whole) in
            [(0, wrapper(0, 9, codec, &set(0, &[5, 6, 9]))), (1, wrapper(1, 9, codec, &set(1, &[1, 2, 5])))]
        {
            let header = BatchHeader::parse(&whole).unwrap();
            let limits = DecodeLimits::default();
            assert_eq!(crate::record::first_record_offset(&header, &whole, limits), Ok(Offset::new(5)));
            for (end, kept) in [(6, 1), (7, 2), (8, 2), (9, 2)] {
                let left = crate::record::shortened(&header, whole.clone(), Offset::new(end), limits).unwrap();
                assert_eq!(offsets(left.bytes.clone()).unwrap(), [5, 6][..kept], "{codec}, magic {magic}, end {end}");
                assert_eq!((left.header.magic, left.header.next_offset()), (2, Offset::new(end)));
                assert_eq!(left.header.compression(), Ok(codec));
                assert_eq!(times(left.bytes), times(whole.clone())[..kept]);
            }
        }
    }
}
