//! Between segments and at their ends: what is missing there, what was deleted, and what is no part of the log.

use super::damage::{is_at, skipping, skipping_backwards, without};
use super::*;
use crate::error::{Corruption, Error};

#[test]
fn a_missing_segment_of_a_log_without_gaps_is_damage() {
    let mut fixture = Fixture::new();
    fixture.fill();
    let segments = fixture.core.all_segments().into_iter().filter(|segment| segment.base() != at(120));
    let bounds = Bounds { log_start: at(0), log_end: at(360), synced: at(360), gaps_allowed: false };
    let segments = segments.map(|segment| (segment.base(), segment)).collect();
    fixture.core.install(segments, bounds, RecoveryReport::default());
    let expected = without(0..360, 120..240);
    assert_eq!(skipping(&fixture.reader()), expected);
    assert_eq!(skipping_backwards(&fixture.reader()), expected);
    let error = fixture.reader().read(at(130), 1).unwrap_err();
    assert!(matches!(error, Error::Corrupt { reason: Corruption::OffsetGap { found: 240, expected: 120 }, .. }));
}

#[test]
fn a_segment_whose_file_is_missing_is_damage() {
    let mut fixture = Fixture::new();
    fixture.fill();
    fixture.disk.remove(fixture.path(&fixture.batch_of(120)));
    let expected = without(0..360, 120..240);
    assert_eq!(skipping(&fixture.reader()), expected);
    assert_eq!(skipping_backwards(&fixture.reader()), expected);
    let error = fixture.reader().read(at(130), 1).unwrap_err();
    assert!(matches!(error, Error::Corrupt { reason: Corruption::Missing, .. }), "{error}");
}

#[test]
fn a_segment_that_was_deleted_meanwhile_makes_the_offset_out_of_range() {
    let mut fixture = Fixture::new();
    fixture.fill();
    let mut records = fixture.reader().records(at(119)..).unwrap();
    let mut at_front = fixture.reader().records(at(5)..).unwrap();
    let segments = fixture.core.all_segments().into_iter().skip(2).map(|segment| (segment.base(), segment)).collect();
    let bounds = Bounds { log_start: at(240), log_end: at(360), synced: at(360), gaps_allowed: false };
    assert_eq!(records.next().unwrap().unwrap().offset(), at(119));
    fixture.core.install(segments, bounds, RecoveryReport::default());
    assert!(matches!(at_front.next(), Some(Err(Error::OffsetOutOfRange { start, .. })) if start == at(240)));
    assert!(at_front.next().is_none());
}

// Rows 44, 63, 72.
#[test]
fn bytes_behind_the_published_end_are_never_looked_at() {
    let mut fixture = Fixture::new();
    fixture.append(2, 10);
    fixture.write_at(2, 2, 10);
    let reader = fixture.reader();
    assert_eq!(pairs(reader.records(..).unwrap()), fixture.expected(0..2));
    assert_eq!(pairs(reader.read(at(0), 1 << 20).unwrap().records()), fixture.expected(0..2));
    assert_eq!(reader.records_reversed(..).unwrap().count(), 2);
    let torn = [fixture.disk.read_file(fixture.path(&fixture.batches[0])).unwrap(), vec![1; 30]].concat();
    fixture.disk.write_file(fixture.path(&fixture.batches[0]), torn);
    assert_eq!(pairs(reader.records(..).unwrap()), fixture.expected(0..2));
}

#[test]
fn zeros_behind_the_last_batch_of_a_sealed_segment_are_no_damage() {
    for zeros in [1, 16, 17, 5000] {
        let mut fixture = Fixture::new();
        fixture.append(2, 10);
        fixture.roll();
        fixture.append(2, 10);
        let path = fixture.path(&fixture.batches[0]);
        let bytes = [fixture.disk.read_file(&path).unwrap(), vec![0; zeros]].concat();
        let published = Position::new(bytes.len() as u64);
        fixture.disk.write_file(&path, bytes);
        fixture.core.insert_segment(Arc::new(Segment::new(Path::new(DIR), at(0), published, Vec::new())));
        let reader = fixture.reader();
        assert_eq!(pairs(reader.records(..).unwrap()), fixture.records);
        assert_eq!(reader.records_reversed(..).unwrap().filter(|record| record.is_ok()).count(), 4);
        assert_eq!(reader.read(at(1), 1 << 20).unwrap().size_bytes(), fixture.batches[0].bytes.len() as u64);
    }
}

#[test]
fn a_sealed_segment_that_ends_inside_a_batch_is_damage() {
    let mut fixture = Fixture::new();
    fixture.append(2, 10);
    fixture.append(2, 10);
    fixture.roll();
    fixture.append(2, 10);
    let cut = fixture.batches[1].clone();
    let published = cut.position + 70;
    fixture.core.insert_segment(Arc::new(Segment::new(Path::new(DIR), at(0), published, Vec::new())));
    let error = fixture.reader().records(..).unwrap().find_map(Result::err).unwrap();
    assert!(is_at(&error, &fixture, &cut));
    assert!(matches!(error, Error::Corrupt { reason: Corruption::Truncated { available: 70, .. }, .. }));
    assert_eq!(skipping(&fixture.reader()), without(0..6, 2..4));
    assert_eq!(skipping_backwards(&fixture.reader()), without(0..6, 2..4));
}
