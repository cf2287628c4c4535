//! Batches of formats 0 and 1, as old directories hold them.

use std::io::Write;

use super::*;

/// CRC-32, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

fn message(magic: u8, codec: u8, offset: u64, timestamp: i64, key: Option<&[u8]>, value: &[u8]) -> Vec<u8> {
    let mut body = vec![magic, codec];
    if magic == 1 {
        body.extend(timestamp.to_be_bytes());
    }
    for field in [key, Some(value)] {
        body.extend(field.map_or(-1, |field| i32::try_from(field.len()).unwrap()).to_be_bytes());
        body.extend(field.unwrap_or_default());
    }
    let length = i32::try_from(body.len() + 4).unwrap();
    [&offset.to_be_bytes()[..], &length.to_be_bytes(), &crc32(&body).to_be_bytes(), &body].concat()
}

fn plain(magic: u8, offset: u64, inside: u64) -> Vec<u8> {
    message(magic, 0, inside, 500, Some(&offset.to_be_bytes()), &value_of(offset, 20))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Offsets 0 and 1 in format 0, 2 to 4 in a compressed set of format 1, 5 in format 2.
fn old_log() -> Fixture {
    let mut fixture = Fixture::with_gaps();
    for offset in 0..2 {
        fixture.write_bytes(offset, offset + 1, plain(0, offset, offset));
    }
    let inner: Vec<u8> = (0..3).flat_map(|inside| plain(1, 2 + inside, inside)).collect();
    fixture.write_bytes(2, 5, message(1, 1, 4, 500, None, &gzip(&inner)));
    fixture.records = (0..5).map(|offset| (offset, value_of(offset, 20))).collect();
    fixture.append(1, 20);
    fixture
}

#[test]
fn batches_of_old_formats_are_read_forward_backward_and_in_slices() {
    let fixture = old_log();
    let reader = fixture.reader();
    for from in 0..6 {
        assert_eq!(pairs(reader.records(at(from)..).unwrap()), fixture.expected(from..6));
        assert_eq!(pairs(reader.read(at(from), 1 << 20).unwrap().records()), fixture.expected(from..6));
        for to in from..6 {
            assert_eq!(pairs(reader.records(at(from)..at(to)).unwrap()), fixture.expected(from..to));
            let mut backwards = pairs(reader.records_reversed(at(from)..at(to)).unwrap());
            backwards.reverse();
            assert_eq!(backwards, fixture.expected(from..to));
        }
    }
}

#[test]
fn a_stored_batch_of_an_old_format_finds_its_base_offset_inside() {
    let fixture = old_log();
    let batches: Vec<_> = fixture.reader().batches(..).unwrap().map(Result::unwrap).collect();
    let offsets: Vec<_> = batches.iter().map(|b| (b.base_offset().value(), b.last_offset().value())).collect();
    assert_eq!(offsets, [(0, 0), (1, 1), (2, 4), (5, 5)]);
    assert_eq!(batches.iter().map(crate::slice::StoredBatch::magic).collect::<Vec<_>>(), [0, 0, 1, 2]);
    for batch in &batches {
        batch.verify().unwrap();
    }
    let old = &batches[2];
    assert_eq!((old.base_timestamp(), old.record_count()), (None, None));
    assert_eq!(old.max_timestamp(), Some(Timestamp::from_millis(500)));
    assert_eq!(batches[0].timestamp_type(), None);
}
