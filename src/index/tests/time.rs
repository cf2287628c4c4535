//! The time index: Kafka's bytes, its rules for entries, and every lookup against a linear search.

use super::*;

/// Appendix A of the format, written by Kafka's own classes.
const TIMEINDEX: [u8; 60] = [
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0xf3, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03,
    0xfd, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x07, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x04, 0x11, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x1b, 0x00,
    0x00, 0x00, 0x0b,
];
const ENTRIES: [(i64, u64); 5] = [(1011, 103), (1021, 105), (1031, 107), (1041, 109), (1051, 111)];

fn maybe_append(index: &TimeIndex, millis: i64, offset: u64, skip_full: bool) -> crate::error::Result<()> {
    index.maybe_append(Timestamp::from_millis(millis), Offset::new(offset), skip_full)
}

#[test]
fn the_bytes_are_kafkas() {
    let place = Place::new();
    let index = place.time_index(100, 83);
    for (millis, offset) in ENTRIES {
        append_time(&index, millis, offset);
    }
    index.seal().unwrap();
    assert_eq!(place.bytes(), TIMEINDEX);
}

#[test]
fn an_index_that_kafka_wrote_is_read() {
    let place = Place::holding(&TIMEINDEX);
    let index = place.sealed_time_index(100);
    for (number, (millis, offset)) in (0..).zip(ENTRIES) {
        assert_eq!(index.entry(number).unwrap(), Some(when(millis, offset)));
    }
    assert_eq!(index.first().unwrap(), Some(when(1011, 103)));
    assert_eq!(index.sound_prefix(Offset::new(112)).unwrap(), 5);
    index.check(Offset::new(112)).unwrap();
}

// Row 86.
#[test]
fn a_lookup_gives_the_entry_at_or_below_the_timestamp_or_none() {
    for entries in [1, 63, 64, 65, 681, 682, 683, 684, 1366, 2000] {
        let place = Place::new();
        let index = place.time_index(45, entries + 1);
        assert_eq!(lookup_time(&index, 100), None);
        for (number, millis) in (0..entries).zip(0..) {
            append_time(&index, 10 + millis * 10, 45 + number);
        }
        index.write_gathered().unwrap();
        assert_eq!(lookup_time(&index, -1), None);
        assert_eq!(lookup_time(&index, 9), None);
        for (number, millis) in (0..entries).zip(0..) {
            for above in 0..10 {
                assert_eq!(lookup_time(&index, 10 + millis * 10 + above), Some(when(10 + millis * 10, 45 + number)));
            }
        }
        assert_eq!(lookup_time(&index, i64::MAX), index.last().unwrap());
    }
}

// Row 87.
#[test]
fn an_entry_is_had_by_its_number_and_there_is_none_behind_the_last() {
    let place = Place::new();
    let index = place.time_index(45, 10);
    assert_eq!((index.first().unwrap(), index.entry(0).unwrap()), (None, None));
    for (number, millis) in (0..9).zip(0..) {
        append_time(&index, millis * 10, 45 + number);
    }
    assert_eq!(index.entry(3).unwrap(), Some(when(30, 48)));
    assert_eq!(index.entry(9).unwrap(), None);
}

// Row 88.
#[test]
fn truncation_goes_by_the_offset() {
    for written in [false, true] {
        let place = Place::new();
        let index = place.time_index(45, 12);
        for (number, millis) in (0..9).zip(0..) {
            append_time(&index, 10 + millis * 10, 45 + number * 10);
        }
        if written {
            index.write_gathered().unwrap();
        }
        index.truncate_to(Offset::new(66)).unwrap();
        assert_eq!((index.entries(), index.last().unwrap()), (3, Some(when(30, 65))));
        index.truncate_to(Offset::new(65)).unwrap();
        assert_eq!((index.entries(), index.last().unwrap()), (2, Some(when(20, 55))));
        index.truncate_to(Offset::new(45)).unwrap();
        assert_eq!((index.entries(), index.last().unwrap()), (0, None));
        append_time(&index, 1, 45);
        index.seal().unwrap();
        assert_eq!(place.bytes().len(), 12);
    }
}

// Rows 89, 92.
#[test]
fn the_last_slot_is_kept_for_the_roll() {
    let place = Place::new();
    let index = place.time_index(0, 4);
    for (number, millis) in (0..3).zip(0..) {
        assert!(!index.is_full());
        append_time(&index, millis, number);
    }
    assert!(index.is_full());
    assert_eq!(refused_entry(maybe_append(&index, 10, 10, false)), Some(3));
    maybe_append(&index, 10, 10, true).unwrap();
    assert_eq!(index.last().unwrap(), Some(when(10, 10)));
    assert_eq!(refused_entry(maybe_append(&index, 11, 11, true)), Some(4));
    maybe_append(&index, 10, 11, true).unwrap();
    assert_eq!(index.entries(), 4);
}

// Row 90.
#[test]
fn offsets_and_timestamps_do_not_go_back_and_an_equal_timestamp_is_nothing_to_do() {
    let place = Place::new();
    let index = place.time_index(0, 10);
    append_time(&index, 20, 50);
    assert_eq!(refused_entry(maybe_append(&index, 30, 49, false)), Some(1));
    assert_eq!(refused_entry(maybe_append(&index, 19, 51, false)), Some(1));
    append_time(&index, 20, 60);
    assert_eq!((index.entries(), index.last().unwrap()), (1, Some(when(20, 50))));
    append_time(&index, 21, 50);
    assert_eq!(index.last().unwrap(), Some(when(21, 50)));
}

// Row 91.
#[test]
fn an_offset_below_the_base_a_falling_timestamp_and_a_broken_length_are_each_refused() {
    let end = Offset::new(2_000_000_000);
    let of = |bytes: &[u8]| Place::holding(bytes).sealed_time_index(100).check(end);
    assert_eq!(refused_entry(of(&[0, 0, 0, 0, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff])), Some(0));
    let falling = [[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 2]].concat();
    assert_eq!(refused_entry(of(&falling)), Some(1));
    assert_eq!(refused_entry(of(&TIMEINDEX[..47])), Some(3));
    assert_eq!(refused_entry(of(&[1])), Some(0));
    of(&TIMEINDEX).unwrap();
}

// Row 93.
#[test]
fn an_empty_index_has_no_last_entry_and_negative_timestamps_do_not_give_it_one() {
    let place = Place::new();
    let index = place.time_index(45, 10);
    assert_eq!(index.last().unwrap(), None);
    append_time(&index, -1, 45);
    append_time(&index, -7, 45);
    assert_eq!(index.last().unwrap(), None);
    append_time(&index, 0, 45);
    assert_eq!(index.last().unwrap(), Some(when(0, 45)));
    append_time(&index, 5, 47);
    assert_eq!(index.last().unwrap(), Some(when(5, 47)));
}

// Row 94.
#[test]
fn the_last_entry_is_read_again_when_the_index_goes_on() {
    let place = Place::holding(&TIMEINDEX);
    let base = Offset::new(100);
    let index = TimeIndex::resume(&place.env, &place.path, base, 996, 5).unwrap();
    assert_eq!((index.max_entries(), index.last().unwrap()), (83, Some(when(1051, 111))));
    let index = TimeIndex::resume(&place.env, &place.path, base, 996, 4).unwrap();
    assert_eq!((index.max_entries(), index.last().unwrap()), (83, Some(when(1041, 109))));
    let index = TimeIndex::resume(&place.env, &place.path, base, 24, 4).unwrap();
    assert_eq!((index.max_entries(), index.is_full()), (4, true));
}
