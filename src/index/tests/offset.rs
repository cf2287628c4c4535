//! The offset index: Kafka's bytes, and every lookup against a linear search.

use super::*;

/// Appendix A of the format, written by Kafka's own classes.
const INDEX: [u8; 40] = [
    0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x73, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0xe6, 0x00, 0x00, 0x00,
    0x07, 0x00, 0x00, 0x01, 0x59, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x01, 0xcc, 0x00, 0x00, 0x00, 0x0b, 0x00, 0x00,
    0x02, 0x3f,
];
const ENTRIES: [(u64, u64); 5] = [(103, 115), (105, 230), (107, 345), (109, 460), (111, 575)];

#[test]
fn the_bytes_are_kafkas() {
    let place = Place::new();
    let index = place.offset_index(100, 125);
    for (offset, position) in ENTRIES {
        append(&index, offset, position);
    }
    index.seal().unwrap();
    assert_eq!(place.bytes(), INDEX);
}

#[test]
fn an_index_that_kafka_wrote_is_read() {
    let place = Place::holding(&INDEX);
    let index = place.sealed_offset_index(100);
    for (number, (offset, position)) in (0..).zip(ENTRIES) {
        assert_eq!(index.entry(number).unwrap(), Some(at(offset, position)));
    }
    assert_eq!(index.sound_prefix(Position::new(690), Offset::new(112)).unwrap(), 5);
    index.check(Position::new(690), Offset::new(112)).unwrap();
}

// Row 73.
#[test]
fn a_lookup_below_the_first_entry_or_in_an_empty_index_gives_the_segments_start() {
    let place = Place::new();
    let index = place.offset_index(45, 100);
    assert_eq!(lookup(&index, 45), at(45, 0));
    assert_eq!(lookup(&index, 1_000), at(45, 0));
    append(&index, 50, 10);
    assert_eq!(lookup(&index, 49), at(45, 0));
    assert_eq!(lookup(&index, 0), at(45, 0));
    assert_eq!(lookup(&index, 50), at(50, 10));
}

// Rows 74, 75.
#[test]
fn every_entry_is_found_exactly_and_between_entries_the_lower_one() {
    for entries in [1, 63, 64, 65, 1023, 1024, 1025, 1026, 2048, 3000] {
        let place = Place::new();
        let index = place.offset_index(100, entries);
        for number in 0..entries {
            append(&index, 102 + number * 3, 7 + number * 11);
        }
        assert!(index.is_full());
        let check = |index: &OffsetIndex| {
            assert_eq!(lookup(index, 100), at(100, 0));
            assert_eq!(lookup(index, 101), at(100, 0));
            for number in 0..entries {
                let entry = at(102 + number * 3, 7 + number * 11);
                for above in 0..3 {
                    assert_eq!(lookup(index, 102 + number * 3 + above), entry, "{number} of {entries}");
                }
            }
            assert_eq!(lookup(index, u64::MAX), at(102 + (entries - 1) * 3, 7 + (entries - 1) * 11));
        };
        check(&index);
        index.seal().unwrap();
        check(&index);
        check(&place.sealed_offset_index(100));
    }
}

// Row 76.
#[test]
fn an_entry_is_had_by_its_number_and_there_is_none_behind_the_last() {
    let place = Place::new();
    let index = place.offset_index(0, 1000);
    for number in 0..100 {
        append(&index, number + 1, number + 1);
    }
    for number in 0..100 {
        assert_eq!(index.entry(number).unwrap(), Some(at(number + 1, number + 1)));
    }
    assert_eq!(index.entry(100).unwrap(), None);
    assert_eq!(index.entry(u64::MAX).unwrap(), None);
}

// Row 77.
#[test]
fn a_full_index_refuses_an_entry() {
    let place = Place::new();
    let index = place.offset_index(0, 3);
    for number in 1..=3 {
        assert!(!index.is_full());
        append(&index, number, number);
    }
    assert!(index.is_full());
    let (entries, crc) = index.mark();
    assert_eq!(refused_entry(index.append(Offset::new(4), Position::new(4))), Some(3));
    assert_eq!(index.mark(), (entries, crc));
}

// Row 78.
#[test]
fn an_offset_that_is_not_above_the_last_is_refused() {
    let place = Place::new();
    let index = place.offset_index(0, 10);
    append(&index, 51, 5);
    assert_eq!(refused_entry(index.append(Offset::new(51), Position::new(6))), Some(1));
    assert_eq!(refused_entry(index.append(Offset::new(50), Position::new(6))), Some(1));
    assert_eq!(refused_entry(index.append(Offset::new(52), Position::new(4))), Some(1));
    assert_eq!(index.entries(), 1);
    append(&index, 52, 5);
}

// Row 79.
#[test]
fn the_upper_bound_of_a_fetch_is_the_first_entry_at_or_behind_its_end() {
    let place = Place::new();
    let index = place.offset_index(0, 2000);
    let bound = |position| index.upper_bound_by_position(Position::new(position)).unwrap();
    assert_eq!(bound(0), None);
    for number in 1..=1500 {
        append(&index, number, number * 10);
    }
    for position in 0..=15_000u64 {
        let number = position.div_ceil(10).max(1);
        assert_eq!(bound(position), Some(at(number, number * 10)), "{position}");
    }
    assert_eq!(bound(15_001), None);
    index.write_gathered().unwrap();
    assert_eq!(bound(15_000), Some(at(1500, 15_000)));
    assert_eq!(bound(15_001), None);
}

// Row 80.
#[test]
fn a_sealed_index_keeps_entries_and_last_and_is_full() {
    let place = Place::new();
    let index = place.offset_index(45, 100);
    append(&index, 51, 0);
    append(&index, 52, 1);
    index.seal().unwrap();
    let reopened = place.sealed_offset_index(45);
    assert_eq!(reopened.entries(), 2);
    assert_eq!(reopened.last().unwrap(), Some(at(52, 1)));
    assert_eq!(lookup(&reopened, 51), at(51, 0));
    assert!(reopened.is_full());
}

// Row 81.
#[test]
fn truncation_removes_the_given_offset_and_all_above() {
    for written in [false, true] {
        let place = Place::new();
        let index = place.offset_index(0, 10);
        let fill = || {
            for number in 1..10 {
                append(&index, number, number);
            }
            if written {
                index.write_gathered().unwrap();
            }
        };
        let truncated = |end| {
            index.truncate_to(Offset::new(end)).unwrap();
            (index.entries(), index.last().unwrap())
        };
        fill();
        assert_eq!(truncated(12), (9, Some(at(9, 9))));
        assert_eq!(truncated(10), (9, Some(at(9, 9))));
        append(&index, 10, 10);
        assert_eq!(truncated(9), (8, Some(at(8, 8))));
        append(&index, 11, 11);
        assert_eq!(truncated(10), (8, Some(at(8, 8))));
        append(&index, 9, 9);
        assert_eq!(truncated(5), (4, Some(at(4, 4))));
        assert_eq!(lookup(&index, 9), at(4, 4));
        assert_eq!(truncated(0), (0, None));
        assert_eq!(index.crc(), 0);
        append(&index, 1, 1);
        assert_eq!(index.last().unwrap(), Some(at(1, 1)));
        index.seal().unwrap();
        assert_eq!(place.bytes(), [0, 0, 0, 1, 0, 0, 0, 1]);
    }
}

// Row 83.
#[test]
fn an_entry_at_the_base_offset_is_sound() {
    let place = Place::new();
    let index = place.offset_index(5, 10);
    append(&index, 5, 0);
    index.seal().unwrap();
    assert_eq!(index.sound_prefix(Position::new(1), Offset::new(6)).unwrap(), 1);
    place.sealed_offset_index(5).check(Position::new(1), Offset::new(6)).unwrap();
}

// Row 85.
#[test]
fn a_relative_offset_of_31_bits_fits_and_none_larger_and_none_below_the_base() {
    let place = Place::new();
    let index = place.offset_index(1 << 40, 10);
    assert_eq!(refused_entry(index.append(Offset::new((1 << 40) - 1), Position::new(1))), Some(0));
    assert_eq!(refused_entry(index.append(Offset::new((1 << 40) + (1 << 31)), Position::new(1))), Some(0));
    assert_eq!(refused_entry(index.append(Offset::new(1 << 40), Position::new(1 << 31))), Some(0));
    append(&index, (1 << 40) + (1 << 31) - 1, (1 << 31) - 1);
    index.seal().unwrap();
    assert_eq!(place.bytes(), [0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let last = at((1 << 40) + (1 << 31) - 1, (1 << 31) - 1);
    assert_eq!(place.sealed_offset_index(1 << 40).last().unwrap(), Some(last));
}
