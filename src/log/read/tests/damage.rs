//! Damage: what is said about it, and how reading goes on where that was asked for.

use super::*;
use crate::error::{Corruption, Error};

/// What a reader that skips damage gives, forward: offsets, and errors as `None`.
pub(super) fn skipping(reader: &Reader) -> Vec<Option<u64>> {
    offsets(reader.clone().skip_damaged().records(..).unwrap())
}

pub(super) fn skipping_backwards(reader: &Reader) -> Vec<Option<u64>> {
    let mut given = offsets(reader.clone().skip_damaged().records_reversed(..).unwrap());
    given.reverse();
    given
}

pub(super) fn offsets(records: impl Iterator<Item = crate::error::Result<StoredRecord>>) -> Vec<Option<u64>> {
    let given: Vec<_> = records.take(10_000).map(|record| record.ok().map(|record| pair(record).0)).collect();
    assert!(given.len() < 10_000, "the iterator does not end");
    given
}

pub(super) fn without(range: std::ops::Range<u64>, lost: std::ops::Range<u64>) -> Vec<Option<u64>> {
    let behind = (lost.end..range.end).map(Some);
    (range.start..lost.start).map(Some).chain([None]).chain(behind).collect()
}

pub(super) fn is_at(error: &Error, fixture: &Fixture, batch: &Written) -> bool {
    matches!(error, Error::Corrupt { path, position, .. }
        if path.to_string_lossy() == fixture.path(batch) && *position == batch.position)
}

#[test]
fn a_wrong_checksum_ends_the_iteration_with_file_and_position() {
    let mut fixture = Fixture::new();
    fixture.fill();
    let batch = fixture.damage_records(130);
    let reader = fixture.reader();
    let mut records = reader.records(..).unwrap();
    let before: Vec<_> =
        records.by_ref().take(usize::try_from(batch.base).unwrap()).map(|r| pair(r.unwrap())).collect();
    assert_eq!(before, fixture.expected(0..batch.base));
    let error = records.next().unwrap().unwrap_err();
    assert!(is_at(&error, &fixture, &batch), "{error}");
    assert!(matches!(error, Error::Corrupt { reason: Corruption::Crc { .. }, .. }));
    assert!(records.next().is_none());

    let mut backwards = reader.records_reversed(..).unwrap();
    let behind = fixture.end() - batch.next;
    assert_eq!(backwards.by_ref().take(usize::try_from(behind).unwrap()).filter(|r| r.is_ok()).count() as u64, behind);
    assert!(is_at(&backwards.next().unwrap().unwrap_err(), &fixture, &batch));
    assert!(backwards.next().is_none());
}

#[test]
fn a_reader_that_skips_damage_loses_the_damaged_batch_only() {
    // The first batch of a segment, one in the middle, and the last one.
    for offset in [120, 130, 239] {
        let mut fixture = Fixture::new();
        fixture.fill();
        let batch = fixture.damage_records(offset);
        let expected = without(0..360, batch.base..batch.next);
        assert_eq!(skipping(&fixture.reader()), expected);
        assert_eq!(skipping_backwards(&fixture.reader()), expected);
    }
}

#[test]
fn a_header_that_cannot_be_read_is_skipped_by_its_length() {
    // The magic, and the sign of the base offset.
    for byte in [16, 0] {
        let mut fixture = Fixture::new();
        fixture.fill();
        let batch = fixture.damage_byte(130, byte);
        let expected = without(0..360, batch.base..batch.next);
        assert_eq!(skipping(&fixture.reader()), expected);
        assert_eq!(skipping_backwards(&fixture.reader()), expected);
        let error = fixture.reader().records(..).unwrap().find_map(Result::err).unwrap();
        assert!(is_at(&error, &fixture, &batch), "{error}");
    }
}

#[test]
fn behind_a_damaged_length_reading_goes_on_in_the_next_segment() {
    let mut fixture = Fixture::new();
    fixture.fill();
    // A length of 2^30 and more does not lie in the file.
    let batch = fixture.damage_byte(130, 8);
    let expected = without(0..360, batch.base..240);
    assert_eq!(skipping(&fixture.reader()), expected);
    let backwards = skipping_backwards(&fixture.reader());
    assert_eq!(backwards.iter().filter(|offset| offset.is_none()).count(), 1);
    let given: Vec<_> = backwards.into_iter().flatten().collect();
    assert!(given.is_sorted() && given.starts_with(&[0, 1, 2]) && given.contains(&(batch.base - 1)));
    assert!(!given.contains(&batch.base) && given.contains(&359));
}

#[test]
fn a_base_offset_that_breaks_the_order_is_damage() {
    let mut fixture = Fixture::new();
    fixture.fill();
    // Adds 64 to the base offset, or takes it away; the checksum does not cover it.
    let batch = fixture.damage_byte(130, 7);
    let error = fixture.reader().records(..).unwrap().find_map(Result::err).unwrap();
    assert!(is_at(&error, &fixture, &batch), "{error}");
    let reasons = |error: &Error| {
        matches!(
            error,
            Error::Corrupt { reason: Corruption::OffsetGap { .. } | Corruption::OffsetBelowExpected { .. }, .. }
        )
    };
    assert!(reasons(&error));
}

/// Fuzzing found that a reader took the offset, 240 records further on, for its own, and was at the end: the segments in
/// between were passed over without a word.
#[test]
fn a_base_offset_that_lies_in_a_later_segment_is_damage_where_gaps_are_allowed_too() {
    for claimed in [130, 357] {
        let mut fixture = Fixture::with_gaps();
        fixture.fill();
        let batch = fixture.batch_of(117);
        let mut file = fixture.disk.read_file(fixture.path(&batch)).unwrap();
        let start = usize::try_from(batch.position.value()).unwrap();
        set_base_offset(&mut file[start..], at(claimed));
        fixture.disk.write_file(fixture.path(&batch), file);
        let error = fixture.reader().records(..).unwrap().find_map(Result::err).unwrap();
        assert!(is_at(&error, &fixture, &batch), "{error}");
        assert!(matches!(error, Error::Corrupt { reason: Corruption::OffsetOutsideSegment { .. }, .. }), "{error}");
        assert_eq!(skipping(&fixture.reader()), without(0..360, 117..120));
        assert_eq!(skipping_backwards(&fixture.reader()), without(0..360, 117..120));
        // Nor is it where a range ends before.
        let range = fixture.reader().records(at(110)..at(119)).unwrap();
        assert_eq!(offsets(range).last(), Some(&None));
    }
}

#[test]
fn the_batches_iterator_gives_a_damaged_batch_and_then_says_what_is_wrong() {
    let mut fixture = Fixture::new();
    fixture.append(2, 10);
    fixture.append(2, 10);
    fixture.append(2, 10);
    let damaged = fixture.damage_records(2);
    let mut batches = fixture.reader().batches(..).unwrap();
    batches.next().unwrap().unwrap().verify().unwrap();
    let batch = batches.next().unwrap().unwrap();
    assert_eq!(batch.base_offset(), at(2));
    assert!(is_at(&batch.verify().unwrap_err(), &fixture, &damaged));
    assert!(batch.records().next().unwrap().is_err());
    assert!(is_at(&batches.next().unwrap().unwrap_err(), &fixture, &damaged));
    assert!(batches.next().is_none());

    let kinds: Vec<_> = fixture.reader().skip_damaged().batches(..).unwrap().map(|batch| batch.is_ok()).collect();
    assert_eq!(kinds, [true, true, false, true]);

    let slice = fixture.reader().read(at(0), 1 << 20).unwrap();
    let kinds: Vec<_> = slice.batches().map(|batch| batch.is_ok()).collect();
    assert_eq!(kinds, [true, true, false]);
    assert_eq!(slice.records().filter(|record| record.is_ok()).count(), 2);
}

#[test]
fn damage_outside_a_range_is_no_concern_of_it() {
    // The magic, the base offset, the count of records, the last byte but one.
    for byte in [16, 7, 60, 400] {
        let mut fixture = Fixture::new();
        fixture.fill();
        let batch = fixture.damage_byte(130, byte);
        let reader = fixture.reader();
        for from in batch.next..batch.next + 40 {
            let expected = fixture.expected(from..360);
            assert_eq!(pairs(reader.records(at(from)..).unwrap()), expected, "byte {byte}, from {from}");
            let mut backwards = pairs(reader.records_reversed(at(from)..).unwrap());
            backwards.reverse();
            assert_eq!(backwards, expected, "byte {byte}, from {from}");
            assert_eq!(pairs(reader.read(at(from), 1).unwrap().records())[0].0, from);
        }
        for end in batch.base - 40..=batch.base {
            assert_eq!(pairs(reader.records(..at(end)).unwrap()), fixture.expected(0..end), "byte {byte}, to {end}");
            let backwards = pairs(reader.records_reversed(..at(end)).unwrap());
            assert_eq!(backwards.len() as u64, end, "byte {byte}, to {end}");
        }
        for inside in batch.base..batch.next {
            let error = reader.records(at(inside)..).unwrap().next().unwrap().unwrap_err();
            assert!(is_at(&error, &fixture, &batch), "{error}");
        }
    }
}

#[test]
fn records_that_are_not_what_the_header_counts_are_damage_of_their_batch() {
    let mut fixture = Fixture::new();
    fixture.append(2, 10);
    fixture.append(2, 10);
    let mut lying = fixture.batches[1].bytes.clone();
    lying[..8].copy_from_slice(&4_u64.to_be_bytes());
    lying[60] = 3;
    let crc = crc32c::crc32c(&lying[21..]);
    lying[17..21].copy_from_slice(&crc.to_be_bytes());
    fixture.write_bytes(4, 6, lying);
    fixture.append(2, 10);
    let reader = fixture.reader();
    let wrong =
        |error: &Error| matches!(error, Error::Corrupt { reason: Corruption::RecordCount { declared: 3, .. }, .. });
    let batch = reader.batches(at(4)..).unwrap().next().unwrap().unwrap();
    assert!(wrong(&batch.verify().unwrap_err()));
    let counts = |records: &mut dyn Iterator<Item = crate::error::Result<StoredRecord>>| {
        let all: Vec<_> = records.map(|record| record.map(|record| record.offset().value())).collect();
        (all.iter().filter(|record| record.is_ok()).count(), all.iter().filter_map(|r| r.as_ref().err()).all(wrong))
    };
    assert_eq!(counts(&mut reader.records(..).unwrap()), (6, true));
    assert_eq!(counts(&mut reader.read(at(0), 1 << 20).unwrap().records()), (6, true));
    assert_eq!(counts(&mut reader.records_reversed(..).unwrap()), (2, true));
    assert_eq!(counts(&mut reader.clone().skip_damaged().records(..).unwrap()), (8, true));
    assert_eq!(counts(&mut reader.skip_damaged().records_reversed(..).unwrap()), (6, true));
}

#[test]
fn records_that_do_not_unfold_are_damage_of_their_batch() {
    for compression in codecs().filter(|&codec| codec != Compression::None) {
        let mut fixture = Fixture::new();
        fixture.compress(compression);
        fixture.append(2, 10);
        let mut lying = fixture.batches[0].bytes.clone();
        lying[..8].copy_from_slice(&2_u64.to_be_bytes());
        lying[61..].fill(0xff);
        let crc = crc32c::crc32c(&lying[21..]);
        lying[17..21].copy_from_slice(&crc.to_be_bytes());
        fixture.write_bytes(2, 4, lying);
        fixture.append(2, 10);
        let expected = without(0..6, 2..4);
        assert_eq!(skipping(&fixture.reader()), expected);
        assert_eq!(skipping_backwards(&fixture.reader()), expected);
        let slice = fixture.reader().read(at(0), 1 << 20).unwrap();
        assert_eq!(offsets(slice.records()), [Some(0), Some(1), None]);
        let kinds: Vec<_> = slice.batches().map(|batch| batch.unwrap().verify().is_ok()).collect();
        assert_eq!(kinds, [true, false, true]);
    }
}

fn known_range(fixture: &Fixture, first: u64, last: u64) -> DamagedRange {
    let (first, last) = (fixture.batch_of(first), fixture.batch_of(last));
    DamagedRange {
        start: first.position,
        end: last.position + last.bytes.len() as u64,
        first_offset: at(first.base),
        next_offset: at(last.next),
        reason: Corruption::Crc { stored: 1, computed: 2 },
    }
}

#[test]
fn known_damage_answers_corrupt_and_what_lies_around_it_stays_readable() {
    let mut fixture = Fixture::new();
    fixture.fill();
    let known = known_range(&fixture, 150, 160);
    let (first, next) = (known.first_offset.value(), known.next_offset.value());
    fixture.know_damage(120, vec![known]);
    // Whatever stands there now: nobody looks.
    fixture.damage_byte(151, 8);
    let reader = fixture.reader();
    for offset in 0..fixture.end() {
        let slice = reader.read(at(offset), 1 << 20);
        let record = reader.records(at(offset)..).unwrap().next().unwrap();
        if (first..next).contains(&offset) {
            assert!(is_at(&slice.unwrap_err(), &fixture, &fixture.batch_of(150)));
            assert!(is_at(&record.unwrap_err(), &fixture, &fixture.batch_of(150)));
        } else {
            assert_eq!(record.unwrap().offset(), at(offset));
            let slice = slice.unwrap();
            let segment_end = (offset / 120 + 1) * 120;
            let end = if (120..first).contains(&offset) { first } else { segment_end };
            assert_eq!(slice.next_offset(), at(end));
            assert_eq!(pairs(slice.records()), fixture.expected(offset..end));
        }
    }
    let expected = without(0..360, first..next);
    assert_eq!(skipping(&reader), expected);
    assert_eq!(skipping_backwards(&reader), expected);
    let slice = reader.skip_damaged().read(at(first + 1), 1).unwrap();
    assert_eq!(slice.records().next().unwrap().unwrap().offset(), at(next));
}

#[test]
fn damage_at_the_end_of_a_segment_whose_bytes_are_gone_is_no_end_of_the_log() {
    let mut fixture = Fixture::new();
    fixture.fill();
    let mut known = known_range(&fixture, 230, 239);
    known.end = known.start;
    let (path, start) = (fixture.path(&fixture.batch_of(230)), known.start);
    let kept = fixture.disk.read_file(&path).unwrap()[..usize::try_from(start.value()).unwrap()].to_vec();
    fixture.disk.write_file(&path, kept);
    let first = known.first_offset.value();
    fixture.core.insert_segment(Arc::new(Segment::new(Path::new(DIR), at(120), start, vec![known])));
    let expected = without(0..360, first..240);
    assert_eq!(skipping(&fixture.reader()), expected);
    assert_eq!(skipping_backwards(&fixture.reader()), expected);
    assert!(matches!(fixture.reader().read(at(235), 1), Err(Error::Corrupt { .. })));
}

#[test]
fn an_error_of_the_system_ends_the_iteration_also_where_damage_is_skipped() {
    use crate::fs::sim::{CallKind, Fault, FaultKind};
    let mut fixture = Fixture::new();
    fixture.fill();
    let mut records = fixture.reader().skip_damaged().records(..).unwrap();
    records.next().unwrap().unwrap();
    fixture.disk.fail(Fault::from(CallKind::ReadAt, 1, FaultKind::InputOutput));
    let rest: Vec<_> = records.collect();
    assert!(matches!(rest.last(), Some(Err(Error::Io { .. }))));
    assert_eq!(rest.iter().filter(|record| record.is_err()).count(), 1);
}

/// Single bits of header and body, each in a log of its own, read in every way: no panic, no endless iteration, and no
/// record that was never written.
#[test]
fn any_flipped_bit_gives_an_error_or_what_was_written() {
    let mut fixture = Fixture::new();
    for number in 0..12 {
        fixture.append(3, 100);
        if number % 4 == 3 {
            fixture.roll();
        }
    }
    let batch = fixture.batch_of(16);
    let path = fixture.path(&batch);
    let sound = fixture.disk.read_file(&path).unwrap();
    for byte in 0..70 {
        for bit in 0..8 {
            fixture.disk.flip_bit(&path, batch.position.value() + byte, bit);
            for given in [skipping(&fixture.reader()), skipping_backwards(&fixture.reader())] {
                // The leader epoch is neither checked nor part of a record.
                let tells = (12..16).contains(&byte);
                assert_eq!(given.contains(&None), !tells, "bit {bit} of byte {byte}");
                let given: Vec<_> = given.into_iter().flatten().collect();
                assert!(given.is_sorted_by(|a, b| a < b), "bit {bit} of byte {byte}");
            }
            let mut plain = fixture.reader().records(..).unwrap();
            let before = plain.by_ref().map_while(Result::ok).map(pair).collect::<Vec<_>>();
            assert!(fixture.records.starts_with(&before));
            fixture.disk.flip_bit(&path, batch.position.value() + byte, bit);
        }
    }
    assert_eq!(fixture.disk.read_file(&path).unwrap(), sound);
}
