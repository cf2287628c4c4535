//! The batch header: every field, every refusal, sequence numbers that wrap.

use super::*;
use crate::record::vectors::{A, V0, V1, bytes, plain_header, sealed};

fn with_field(mut batch: Vec<u8>, field: Field, value: &[u8]) -> Vec<u8> {
    of_mut(&mut batch, field).copy_from_slice(value);
    batch
}

// Rows 21, 42.
#[test]
fn a_length_below_the_smallest_batch_of_its_format_is_refused() {
    for (vector, smallest) in [(A, 49_i32), (V0, 14), (V1, 22)] {
        let short = with_field(bytes(vector), layout::BATCH_LENGTH, &(smallest - 1).to_be_bytes());
        let refused = BatchHeader::parse(&short).unwrap_err();
        assert_eq!(refused, Corruption::BatchLength { found: smallest - 1, smallest });
        let negative = with_field(bytes(vector), layout::BATCH_LENGTH, &i32::MIN.to_be_bytes());
        assert!(matches!(BatchHeader::parse(&negative), Err(Corruption::BatchLength { found: i32::MIN, .. })));
    }
}

// Row 42.
#[test]
fn a_magic_that_nobody_knows_is_refused() {
    for found in [3, -1, i8::MAX, i8::MIN] {
        let batch = with_field(bytes(A), layout::MAGIC, &found.to_be_bytes());
        assert_eq!(BatchHeader::parse(&batch), Err(Corruption::Magic { found }));
    }
}

// Row 39.
#[test]
fn fewer_bytes_than_a_header_has_are_told_from_a_wrong_header() {
    for (vector, needed) in [(A, 61), (V0, 26), (V1, 34)] {
        let batch = bytes(vector);
        for available in 0..needed {
            let needed = if available < 17 { 17 } else { needed };
            let expected = Corruption::Truncated { needed: needed as u64, available: available as u64 };
            assert_eq!(BatchHeader::parse(&batch[..available]), Err(expected));
        }
        assert_eq!(BatchHeader::parse(&batch[..needed]), BatchHeader::parse(&batch));
    }
}

#[test]
fn zeros_where_a_batch_must_begin_are_called_so() {
    assert_eq!(BatchHeader::parse(&[0; 17]), Err(Corruption::Zeros));
    assert_eq!(BatchHeader::parse(&[0; 4096]), Err(Corruption::Zeros));
    assert_eq!(BatchHeader::parse(&[0; 16]), Err(Corruption::Truncated { needed: 17, available: 16 }));
    let mut nearly = [0; 61];
    nearly[16] = 2;
    assert_eq!(BatchHeader::parse(&nearly), Err(Corruption::BatchLength { found: 0, smallest: 14 }));
}

// Row 45.
#[test]
fn offsets_and_lengths_at_the_edge_of_their_fields_do_not_overflow() {
    let parse = |base: i64, delta: i32, length: i32| {
        let mut batch = sealed(plain_header(1), &[]);
        BigEndian::write_i64(of_mut(&mut batch, layout::BASE_OFFSET), base);
        BigEndian::write_i32(of_mut(&mut batch, layout::LAST_OFFSET_DELTA), delta);
        BigEndian::write_i32(of_mut(&mut batch, layout::BATCH_LENGTH), length);
        BatchHeader::parse(&batch)
    };
    let last = parse(i64::MAX - 1, 0, i32::MAX).unwrap();
    assert_eq!((last.next_offset(), last.size_bytes), (Offset::MAX, 0x8000_000b));
    let far = parse(i64::MAX - 1 - i64::from(i32::MAX), i32::MAX, 49).unwrap();
    assert_eq!(far.next_offset(), Offset::MAX);
    for (base, delta) in [(i64::MAX, 0), (i64::MAX - 1, 1), (-1, 0), (i64::MIN, i32::MAX), (0, -1)] {
        assert!(matches!(parse(base, delta, 49), Err(Corruption::OutOfRange { .. })), "{base} {delta}");
    }
    let negative_count = with_field(sealed(plain_header(1), &[]), layout::RECORDS_COUNT, &(-1_i32).to_be_bytes());
    let expected = Corruption::OutOfRange { field: "the record count", found: -1 };
    assert_eq!(BatchHeader::parse(&negative_count), Err(expected));
}

// Row 16.
#[test]
fn every_field_survives_being_written_and_read() {
    let mut header = BatchHeader {
        offset_field: Offset::new(0x0102_0304_0506_0708),
        leader_epoch: 0x1112_1314,
        attributes: 0x0074,
        last_offset_delta: 0x2122_2324,
        base_timestamp: 0x3132_3334_3536_3738,
        max_timestamp: -1,
        producer_id: 0x4142_4344_4546_4748,
        producer_epoch: 0x5152,
        base_sequence: 0x6162_6364,
        count: 0x7172_7374,
        size_bytes: 61,
        ..plain_header(1)
    };
    let bytes = header.seal(&[]);
    assert_eq!(BatchHeader::parse(&bytes), Ok(header));
    assert_eq!(verify_crc(&bytes, &header), Ok(()));
    assert!(header.is_control() && header.is_transactional());
    assert_eq!(header.delete_horizon(), Some(Timestamp::from_millis(0x3132_3334_3536_3738)));
    assert_eq!((header.compression(), header.max_timestamp()), (Ok(Compression::Zstd), None));
}

#[test]
fn codec_numbers_5_to_7_are_refused_and_the_high_attribute_byte_is_not_looked_at() {
    for code in 0..8_u8 {
        let header = BatchHeader { attributes: 0x7f00 | i16::from(code), ..plain_header(1) };
        let expected = Compression::from_code(code).ok_or(Corruption::Codec { found: code });
        assert_eq!(header.compression(), expected);
        assert!(!header.is_control() && !header.is_transactional() && header.delete_horizon().is_none());
    }
}

// Row 18.
#[test]
fn sequences_wrap_between_zero_and_the_largest() {
    assert_eq!(add_to_sequence(i32::MAX, 1), 0);
    assert_eq!(add_to_sequence(i32::MAX - 2, 5), 2);
    assert_eq!(add_to_sequence(7, 5), 12);
    assert_eq!(subtract_from_sequence(0, 1), i32::MAX);
    assert_eq!(subtract_from_sequence(3, 5), i32::MAX - 1);
    assert_eq!(subtract_from_sequence(12, 5), 7);
}

// Row 17.
#[test]
fn the_last_sequence_wraps_and_is_missing_without_a_first() {
    let of = |base_sequence, last_offset_delta| {
        BatchHeader { base_sequence, last_offset_delta, ..plain_header(1) }.last_sequence()
    };
    assert_eq!((of(i32::MAX, 1), of(5, 4), of(-1, 4)), (0, 9, -1));
}

#[test]
fn a_checksum_is_only_verified_over_a_whole_batch() {
    let batch = bytes(A);
    let header = BatchHeader::parse(&batch).unwrap();
    let refused = verify_crc(&batch[..83], &header);
    assert_eq!(refused, Err(Corruption::Truncated { needed: 84, available: 83 }));
    assert_eq!(verify_crc(&[&batch[..], &[1, 2, 3]].concat(), &header), Ok(()));
}
