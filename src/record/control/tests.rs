//! Control records: markers there and back, unknown types, newer and broken versions.

use super::*;
use crate::offset::Offset;
use crate::record::vectors::{plain_header, sealed};
use crate::record::{DecodeLimits, DecodedBatch, StoredRecords};

fn parsed(key: &[u8], value: &[u8]) -> std::result::Result<Option<EndMarker>, Corruption> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(Record::new(key, value)).unwrap();
    let batch = builder.seal(&BatchStamp::default(), layout::CONTROL_MASK).unwrap().1.to_vec();
    let batch = DecodedBatch::decode(batch, DecodeLimits::default()).unwrap();
    EndMarker::parse(&batch.records().next().unwrap().unwrap())
}

// Row 58.
#[test]
fn types_have_kafkas_numbers_and_names_and_unknown_ones_are_passed_over() {
    let names = [
        "abort",
        "commit",
        "leader_change",
        "snapshot_header",
        "snapshot_footer",
        "kraft_version",
        "kraft_voters",
        "unknown",
    ];
    for (number, name) in (0_u8..).zip(names) {
        assert_eq!(type_of_key(Some(&[0, 0, 0, number])).unwrap().to_string(), name);
        // A newer version is read as the oldest, and what it adds is not looked at.
        assert_eq!(type_of_key(Some(&[0x7f, 0xff, 0, number, 1, 2, 3])).unwrap().to_string(), name);
    }
    assert_eq!(type_of_key(Some(&[0, 0, 0xff, 0xfe])), Ok(ControlType::Unknown(-2)));
}

// Row 58.
#[test]
fn a_key_that_is_null_short_or_of_a_negative_version_is_refused() {
    let short = Err(Corruption::ControlRecord { why: "its key has fewer than four bytes" });
    assert_eq!(type_of_key(None), short);
    assert_eq!(type_of_key(Some(&[0, 0, 0])), short);
    let negative = Err(Corruption::ControlRecord { why: "its key's version is negative" });
    assert_eq!(type_of_key(Some(&[0xff, 0xff, 0, 1])), negative);
}

// Row 59.
#[test]
fn a_marker_needs_six_bytes_of_a_version_that_is_not_negative() {
    let commit = [0, 0, 0, 1];
    let marker = EndMarker { outcome: Outcome::Commit, coordinator_epoch: 7 };
    assert_eq!(parsed(&commit, &[0, 0, 0, 0, 0, 7]), Ok(Some(marker)));
    assert_eq!(parsed(&commit, &[0, 9, 0, 0, 0, 7, 1, 1]), Ok(Some(marker)));
    let short = Err(Corruption::ControlRecord { why: "a marker's value has fewer than six bytes" });
    assert_eq!(parsed(&commit, &[0, 0, 0, 0, 0]), short);
    let negative = Err(Corruption::ControlRecord { why: "a marker's version is negative" });
    assert_eq!(parsed(&commit, &[0x80, 0, 0, 0, 0, 7]), negative);
}

// Row 59.
#[test]
fn what_is_not_commit_or_abort_is_no_marker() {
    for number in [2, 6, 99] {
        assert_eq!(parsed(&[0, 0, 0, number], &[0; 6]), Ok(None));
    }
}

// Rows 32, 33.
#[test]
#[should_panic(expected = "a marker ends a producer's transaction")]
fn a_marker_without_a_producer_is_not_written() {
    let marker = EndMarker { outcome: Outcome::Abort, coordinator_epoch: 0 };
    drop(marker.encode(&BatchStamp::default()));
}

#[test]
fn a_control_batch_without_records_is_empty_and_no_error() {
    let mut header = plain_header(0);
    header.attributes = layout::CONTROL_MASK | layout::TRANSACTIONAL_MASK;
    let batch = DecodedBatch::decode(sealed(header, &[]), DecodeLimits::default()).unwrap();
    assert!(batch.header().is_control());
    assert_eq!(StoredRecords::new(std::sync::Arc::new(batch), Offset::ZERO).count(), 0);
}
