//! An index that grows: gathered entries, full indexes, cuts, and readers meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

#[test]
fn entries_are_gathered_and_reach_the_file_when_asked_or_when_there_are_many() {
    let place = Place::new();
    let index = place.offset_index(0, 1000);
    for number in 1..=64 {
        append(&index, number, number);
    }
    assert_eq!(place.bytes().len(), 0);
    append(&index, 65, 65);
    assert_eq!(place.bytes().len(), 64 * 8);
    index.write_gathered().unwrap();
    assert_eq!(place.bytes().len(), 65 * 8);
    append(&index, 66, 66);
    index.sync().unwrap();
    assert_eq!(place.bytes().len(), 66 * 8);
    append(&index, 67, 67);
    index.seal().unwrap();
    assert_eq!(index.mark(), (67, crc32c::crc32c(&place.bytes())));
    assert_eq!(place.bytes().len(), 67 * 8);
    index.sync().unwrap();
}

#[test]
fn the_running_checksum_is_that_of_the_file() {
    let place = Place::new();
    let index = place.offset_index(0, 1000);
    for number in 1..=200 {
        append(&index, number, number * 2);
    }
    let mark = index.mark();
    index.write_gathered().unwrap();
    assert_eq!(mark, (200, crc32c::crc32c(&place.bytes())));
    index.truncate_to(Offset::new(101)).unwrap();
    assert_eq!(index.mark(), (100, crc32c::crc32c(&place.bytes())));
    append(&index, 300, 300);
    index.truncate_to(Offset::new(300)).unwrap();
    assert_eq!(index.mark(), (100, crc32c::crc32c(&place.bytes())));
    drop(index);
    let resumed = OffsetIndex::resume(&place.env, &place.path, Offset::ZERO, 8000, 50).unwrap();
    assert_eq!(resumed.mark(), (50, crc32c::crc32c(&place.bytes())));
}

#[test]
fn a_checksummed_prefix_is_recognised_and_nothing_else() {
    let place = Place::new();
    let index = place.offset_index(0, 1000);
    let holds = |(entries, crc)| OffsetIndex::verify_prefix(&place.env, &place.path, entries, crc).unwrap();
    let empty = index.mark();
    for number in 1..=10 {
        append(&index, number, number);
    }
    let mark = index.mark();
    assert!(holds(empty));
    assert!(!holds(mark), "the entries are not in the file yet");
    index.write_gathered().unwrap();
    append(&index, 11, 11);
    index.write_gathered().unwrap();
    assert!(holds(mark));
    assert!(holds(index.mark()));
    assert!(!holds((mark.0, mark.1 ^ 1)));
    assert!(!holds((u64::MAX, mark.1)));
    std::fs::remove_file(&place.path).unwrap();
    assert!(!holds(mark));
    assert!(holds(empty));
}

// Rule 22: a file that is mapped is never cut short.
#[test]
fn whoever_shortens_an_index_leaves_the_old_file_to_its_readers() {
    let place = Place::new();
    let index = place.offset_index(0, 4096);
    for number in 1..=4096 {
        append(&index, number, number);
    }
    index.write_gathered().unwrap();
    let old = place.sealed_offset_index(0);
    old.ensure_open().unwrap();
    let first = inode(&place.path);

    index.truncate_to(Offset::new(2)).unwrap();
    assert_ne!(inode(&place.path), first);
    assert_eq!(place.bytes().len(), 8);
    assert_eq!(lookup(&old, 4000), at(4000, 4000));
    assert_eq!(lookup(&index, 4000), at(1, 1));
    append(&index, 7, 7);
    index.write_gathered().unwrap();
    assert_eq!(lookup(&index, 4000), at(7, 7));
    assert_eq!(lookup(&old, 7), at(7, 7));

    drop(place.offset_index(0, 10));
    assert_eq!(place.bytes().len(), 0);
    assert_eq!(lookup(&old, 4000), at(4000, 4000));
    assert_eq!(lookup(&index, 4000), at(7, 7));
}

#[test]
fn going_on_behind_fewer_entries_than_the_file_has_uses_a_new_file_and_otherwise_the_old_one() {
    let place = Place::new();
    let index = place.offset_index(0, 100);
    for number in 1..=3 {
        append(&index, number, number);
    }
    index.seal().unwrap();
    let first = inode(&place.path);
    let same = OffsetIndex::resume(&place.env, &place.path, Offset::ZERO, 800, 3).unwrap();
    assert_eq!(inode(&place.path), first);
    append(&same, 4, 4);
    same.write_gathered().unwrap();
    let shorter = OffsetIndex::resume(&place.env, &place.path, Offset::ZERO, 800, 2).unwrap();
    assert_ne!(inode(&place.path), first);
    assert_eq!(place.bytes().len(), 16);
    append(&shorter, 9, 9);
    assert_eq!(lookup(&shorter, 100), at(9, 9));
    assert_eq!(lookup(&same, 100), at(4, 4));
    let names: Vec<_> = std::fs::read_dir(place.path.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn going_on_behind_entries_that_are_not_there_is_an_error() {
    let place = Place::holding(&[0; 12]);
    let resume = |entries| OffsetIndex::resume(&place.env, &place.path, Offset::ZERO, 800, entries);
    assert!(matches!(
        resume(2),
        Err(Error::Corrupt { reason: Corruption::Truncated { needed: 16, available: 12 }, .. })
    ));
    std::fs::remove_file(&place.path).unwrap();
    assert!(matches!(resume(2), Err(Error::Corrupt { reason: Corruption::Missing, .. })));
    assert_eq!(resume(0).unwrap().entries(), 0);
}

#[test]
fn readers_beside_a_writer_see_whole_entries_and_never_fewer_than_before() {
    const ENTRIES: u64 = 100_000;
    let place = Place::new();
    let index = place.offset_index(1000, ENTRIES);
    let (appended, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let known = appended.load(Ordering::Acquire);
                    let found = lookup(&index, u64::MAX);
                    let number = found.offset - Offset::new(1000);
                    assert!(number >= known, "{number} of {known}");
                    assert_eq!(found.position.value(), number * 5);
                    let half = lookup(&index, 1000 + known / 2);
                    assert_eq!(half, at(1000 + known / 2, known / 2 * 5));
                    if known > 0 {
                        let bound = index.upper_bound_by_position(Position::new(known * 5 - 1)).unwrap();
                        assert_eq!(bound, Some(at(1000 + known, known * 5)));
                    }
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                index.write_gathered().unwrap();
                std::thread::yield_now();
            }
        });
        for number in 1..=ENTRIES {
            append(&index, 1000 + number, number * 5);
            appended.store(number, Ordering::Release);
        }
        done.store(true, Ordering::Relaxed);
    });
    index.seal().unwrap();
    assert_eq!(place.sealed_offset_index(1000).sound_prefix(Position::new(u64::MAX), Offset::MAX).unwrap(), ENTRIES);
}
