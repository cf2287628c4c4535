//! Index files that nobody vouches for: blank room, junk, lengths that do not fit.

use proptest::prelude::*;

use super::*;

const END: Offset = Offset::MAX;
const LOG_LEN: Position = Position::new(1000);

fn raw(entries: &[(i32, i32)]) -> Vec<u8> {
    entries.iter().flat_map(|(offset, position)| [offset.to_be_bytes(), position.to_be_bytes()].concat()).collect()
}

fn sound(bytes: &[u8]) -> u64 {
    Place::holding(bytes).sealed_offset_index(100).sound_prefix(LOG_LEN, END).unwrap()
}

#[test]
fn an_empty_or_missing_file_is_an_empty_index() {
    let place = Place::holding(&[]);
    for _ in 0..2 {
        for hint in [None, Some(0), Some(80)] {
            let index = OffsetIndex::open_sealed(&place.env, &place.path, Offset::new(9), hint).unwrap();
            assert_eq!(lookup(&index, 50), at(9, 0));
            assert_eq!((index.entries(), index.last().unwrap(), index.is_full()), (0, None, true));
            assert_eq!(index.sound_prefix(LOG_LEN, END).unwrap(), 0);
            index.check(LOG_LEN, END).unwrap();
            index.sync().unwrap();
            index.write_gathered().unwrap();
        }
        if place.path.exists() {
            std::fs::remove_file(&place.path).unwrap();
        }
    }
}

#[test]
fn a_length_hint_is_not_believed_beyond_the_file() {
    let place = Place::holding(&raw(&[(1, 10), (2, 20)]));
    let index = OffsetIndex::open_sealed(&place.env, &place.path, Offset::new(100), Some(1 << 20)).unwrap();
    assert_eq!(lookup(&index, 5000), at(102, 20));
    assert_eq!(index.entries(), 2);
    let index = OffsetIndex::open_sealed(&place.env, &place.path, Offset::new(100), Some(8)).unwrap();
    assert_eq!(lookup(&index, 5000), at(101, 10));
}

#[test]
fn the_blank_room_of_a_crashed_kafka_is_no_entry() {
    let mut bytes = raw(&[(1, 10), (2, 20), (3, 30)]);
    bytes.resize(10 << 20, 0);
    assert_eq!(sound(&bytes), 3);
    assert_eq!(sound(&vec![0; 10 << 20]), 0);

    let place = Place::holding(&bytes);
    let index = OffsetIndex::resume(&place.env, &place.path, Offset::new(100), 10 << 20, 3).unwrap();
    assert_eq!(place.bytes().len(), 24);
    append(&index, 104, 40);
    index.seal().unwrap();
    assert_eq!(place.bytes(), raw(&[(1, 10), (2, 20), (3, 30), (4, 40)]));

    let mut times = [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1].to_vec();
    times.resize(10_485_756, 0);
    assert_eq!(Place::holding(&times).sealed_time_index(100).sound_prefix(END).unwrap(), 1);
    assert_eq!(Place::holding(&vec![0; 10_485_756]).sealed_time_index(100).sound_prefix(END).unwrap(), 0);
}

#[test]
fn a_first_entry_of_zeros_counts_if_something_sound_follows_or_nothing_at_all() {
    assert_eq!(sound(&raw(&[(0, 0)])), 1);
    assert_eq!(sound(&raw(&[(0, 0), (1, 10)])), 2);
    assert_eq!(sound(&raw(&[(0, 0), (0, 0)])), 0);
}

#[test]
fn entries_count_up_to_the_first_that_breaks_a_rule() {
    let good = [(1, 10), (2, 20)];
    for bad in [(2, 30), (1, 30), (3, 19), (3, 1000), (-1, 30), (3, -1), (i32::MIN, 30)] {
        let bytes = raw(&[good[0], good[1], bad, (9, 90)]);
        assert_eq!(sound(&bytes), 2, "{bad:?}");
        let check = Place::holding(&bytes).sealed_offset_index(100).check(LOG_LEN, END);
        assert_eq!(refused_entry(check), Some(2), "{bad:?}");
    }
    let place = Place::holding(&raw(&[(1, 10), (2, 20), (3, 20), (4, 21)]));
    assert_eq!(place.sealed_offset_index(100).sound_prefix(LOG_LEN, END).unwrap(), 4);
    assert_eq!(place.sealed_offset_index(100).sound_prefix(LOG_LEN, Offset::new(103)).unwrap(), 2);
    assert_eq!(place.sealed_offset_index(100).sound_prefix(Position::new(20), END).unwrap(), 1);
}

#[test]
fn a_tail_that_is_no_whole_entry_is_not_read() {
    let mut bytes = raw(&[(1, 10), (2, 20)]);
    bytes.extend([0xff; 7]);
    assert_eq!(sound(&bytes), 2);
    let place = Place::holding(&bytes);
    assert_eq!(lookup(&place.sealed_offset_index(100), 5000), at(102, 20));
    assert_eq!(refused_entry(place.sealed_offset_index(100).check(LOG_LEN, END)), Some(2));
    drop(OffsetIndex::resume(&place.env, &place.path, Offset::new(100), 80, 2).unwrap());
    assert_eq!(place.bytes(), raw(&[(1, 10), (2, 20)]));
}

// Rule 23: another process may cut the file at any time.
#[test]
fn an_index_of_another_process_that_is_cut_meanwhile_is_an_error_and_no_signal() {
    let entries: Vec<_> = (1..=2000).map(|number| (number, number * 10)).collect();
    let place = Place::holding(&raw(&entries));
    let index = OffsetIndex::open_foreign(&place.env, &place.path, Offset::new(100)).unwrap();
    assert_eq!(lookup(&index, 99), at(100, 0));
    assert_eq!(lookup(&index, 1100), at(1100, 10_000));
    assert_eq!(index.upper_bound_by_position(Position::new(11)).unwrap(), Some(at(102, 20)));
    assert_eq!(index.last().unwrap(), Some(at(2100, 20_000)));
    assert_eq!(index.sound_prefix(Position::new(30_000), END).unwrap(), 2000);
    std::fs::OpenOptions::new().write(true).open(&place.path).unwrap().set_len(0).unwrap();
    assert!(matches!(index.lookup(Offset::new(1100)), Err(Error::Io { .. })));
    let index = TimeIndex::open_foreign(&place.env, &place.path, Offset::new(100)).unwrap();
    assert_eq!((index.entries(), lookup_time(&index, 5)), (0, None));
}

#[test]
fn what_is_not_a_file_is_an_error_and_no_index() {
    let place = Place::new();
    std::fs::create_dir(&place.path).unwrap();
    let index = OffsetIndex::open_sealed(&place.env, &place.path, Offset::ZERO, Some(80)).unwrap();
    assert!(matches!(index.lookup(Offset::ZERO), Err(Error::Io { .. })));
}

proptest! {
    #[test]
    fn any_bytes_give_answers(bytes in proptest::collection::vec(any::<u8>(), 0..200), base in 0..=Offset::MAX.value(), target: u64) {
        let place = Place::holding(&bytes);
        let offsets = place.sealed_offset_index(base);
        lookup(&offsets, target);
        offsets.upper_bound_by_position(Position::new(target)).unwrap();
        offsets.entries_below(Offset::new(target)).unwrap();
        let kept = offsets.sound_prefix(LOG_LEN, END).unwrap();
        let resumed = OffsetIndex::resume(&place.env, &place.path, Offset::new(base), 80, kept).unwrap();
        resumed.check(LOG_LEN, END).unwrap();

        let place = Place::holding(&bytes);
        let times = place.sealed_time_index(base);
        lookup_time(&times, target.cast_signed());
        times.entries_below(Offset::new(target)).unwrap();
        let kept = times.sound_prefix(END).unwrap();
        let resumed = TimeIndex::resume(&place.env, &place.path, Offset::new(base), 80, kept).unwrap();
        resumed.check(END).unwrap();
    }

    #[test]
    fn appends_and_truncations_agree_with_a_plain_list(steps in proptest::collection::vec((0u8..8, 1u64..40), 1..200)) {
        let place = Place::new();
        let index = place.offset_index(0, 1_000);
        let mut model: Vec<(u64, u64)> = Vec::new();
        for (what, by) in steps {
            let (offset, position) = model.last().copied().unwrap_or_default();
            match what {
                0 => {
                    let end = offset.saturating_sub(by);
                    index.truncate_to(Offset::new(end)).unwrap();
                    model.retain(|(offset, _)| *offset < end);
                }
                1 => index.write_gathered().unwrap(),
                _ => {
                    append(&index, offset + by, position + by);
                    model.push((offset + by, position + by));
                }
            }
            prop_assert_eq!(index.entries(), model.len() as u64);
            prop_assert_eq!(index.last().unwrap(), model.last().map(|(offset, position)| at(*offset, *position)));
            let expected = model.iter().rev().find(|(entry, _)| *entry <= offset).copied().unwrap_or_default();
            prop_assert_eq!(lookup(&index, offset), at(expected.0, expected.1));
        }
        index.seal().unwrap();
        let field = |value: u64| i32::try_from(value).unwrap();
        let pairs: Vec<_> = model.iter().map(|(offset, position)| (field(*offset), field(*position))).collect();
        prop_assert_eq!(place.bytes(), raw(&pairs));
    }
}
