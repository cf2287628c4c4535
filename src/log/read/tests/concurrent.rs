//! Readers beside a writer that appends and rolls, and across a reopening.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::log::ReadUpTo;
use crate::log::read::cursor::Cursor;

// Rows 64, 246.
#[test]
fn readers_beside_a_writer_that_rolls_see_every_record_once_and_in_order() {
    const END: u64 = 6000;
    let mut fixture = Fixture::new();
    fixture.append(1, 20);
    let reader = fixture.reader();
    let is_written = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (reader, is_written) = (reader.clone(), &is_written);
            scope.spawn(move || {
                let mut next = 0;
                loop {
                    let was_written = is_written.load(Ordering::Acquire);
                    next = if number % 2 == 0 { follow_records(&reader, next) } else { follow_slices(&reader, next) };
                    if was_written && at(next) == reader.log_end_offset() {
                        break;
                    }
                }
                assert_eq!(next, END);
            });
        }
        for _ in 0..2 {
            let (reader, is_written) = (reader.clone(), &is_written);
            scope.spawn(move || {
                while !is_written.load(Ordering::Acquire) {
                    let end = reader.log_end_offset().value();
                    let from = at(end.saturating_sub(50));
                    let given = pairs(reader.records_reversed(from..at(end)).unwrap());
                    let expected: Vec<_> = (from.value()..end).rev().map(|o| (o, value_of(o, 20))).collect();
                    assert_eq!(given, expected);
                }
            });
        }
        while fixture.end() < END {
            let count = (END - fixture.end()).min(1 + fixture.end() % 4);
            fixture.append(count, 20);
            if fixture.batches.len().is_multiple_of(40) {
                fixture.roll();
            }
        }
        is_written.store(true, Ordering::Release);
    });
}

fn follow_records(reader: &Reader, mut next: u64) -> u64 {
    for record in reader.records(at(next)..).unwrap() {
        assert_eq!(pair(record.unwrap()), (next, value_of(next, 20)));
        next += 1;
    }
    next
}

fn follow_slices(reader: &Reader, mut next: u64) -> u64 {
    let slice = reader.read(at(next), 3000).unwrap();
    for record in slice.records() {
        assert_eq!(pair(record.unwrap()), (next, value_of(next, 20)));
        next += 1;
    }
    assert_eq!(slice.next_offset(), at(next));
    next
}

#[test]
fn a_cursor_whose_end_is_not_reached_follows_a_segment_that_grows() {
    let mut fixture = Fixture::new();
    fixture.append(2, 10);
    let core = Arc::clone(&fixture.core);
    let mut cursor = Cursor::new(core, at(0), Offset::MAX, ReadUpTo::LogEnd, false);
    for _ in 0..50 {
        assert_eq!(cursor.next_batch().unwrap().unwrap().next_offset(), at(fixture.end()));
        fixture.append(2, 100);
        if fixture.batches.len().is_multiple_of(7) {
            fixture.roll();
        }
    }
}

/// A log that failed was reopened: what lay above the durable end was cut off, and other batches were appended there.
fn reopen_with_other_batches(fixture: &mut Fixture, synced: u64, counts: &[u64]) {
    let (core, segment) = (Arc::clone(&fixture.core), fixture.batch_of(synced).segment);
    core.raise_synced(at(synced));
    core.set_failed(&Arc::new(crate::error::Error::Closed));
    let kept = fixture.batch_of(synced).position;
    let path = fixture.path(&fixture.batch_of(synced));
    let mut bytes = fixture.disk.read_file(&path).unwrap();
    bytes.truncate(usize::try_from(kept.value()).unwrap());
    fixture.records.truncate(usize::try_from(synced).unwrap());
    let mut end = synced;
    for &count in counts {
        fixture.builder.clear();
        for offset in end..end + count {
            let value = value_of(offset, 300);
            fixture.builder.push(Record::new(&offset.to_be_bytes(), &value)).unwrap();
            fixture.records.push((offset, value));
        }
        let batch = fixture.builder.finish(&BatchStamp::default()).unwrap();
        set_base_offset(batch, at(end));
        bytes.extend_from_slice(batch);
        end += count;
    }
    let published = Position::new(bytes.len() as u64);
    fixture.disk.write_file(&path, bytes);
    let mut segments: BTreeMap<_, _> = core.all_segments().into_iter().map(|old| (old.base(), old)).collect();
    segments.insert(at(segment), Arc::new(Segment::new(Path::new(DIR), at(segment), published, Vec::new())));
    let bounds = Bounds { log_start: at(0), log_end: at(end), synced: at(end), gaps_allowed: false };
    core.install(segments, bounds, RecoveryReport::default());
}

#[test]
fn an_iterator_that_began_before_a_reopening_reports_no_damage() {
    for forward_first in [0, 3, 60, 250, 330, 349] {
        let mut fixture = Fixture::new();
        fixture.fill();
        let mut records = fixture.reader().records(..).unwrap();
        let given: Vec<_> = records.by_ref().take(forward_first).map(|record| pair(record.unwrap())).collect();
        assert_eq!(given, fixture.expected(0..forward_first as u64));
        reopen_with_other_batches(&mut fixture, 348, &[1, 1, 5]);
        let rest: Vec<_> = records.map(|record| record.unwrap().offset().value()).collect();
        assert!(rest.is_sorted_by(|a, b| a < b), "{rest:?}");
        assert!(rest.last().is_some_and(|&last| last >= 347), "{rest:?}");
    }
}

#[test]
fn a_reversed_iterator_that_began_before_a_reopening_reports_no_damage_but_what_was_cut_off_of_what_it_gave() {
    for (backward_first, counts) in [(0, 3), (1, 3), (11, 60), (12, 60), (13, 3), (60, 60), (100, 60)] {
        let mut fixture = Fixture::new();
        fixture.fill();
        let mut records = fixture.reader().records_reversed(..).unwrap();
        let mut given: Vec<_> = records.by_ref().take(backward_first).map(|record| pair(record.unwrap()).0).collect();
        reopen_with_other_batches(&mut fixture, 300, &vec![1; counts]);
        let end = 300 + counts as u64;
        for record in records {
            match record {
                Ok(record) => given.push(record.offset().value()),
                Err(crate::error::Error::Truncated { end: cut, .. }) => {
                    assert!(cut == at(end) && given[0] >= end, "{given:?}")
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(given.is_sorted_by(|a, b| a > b), "{given:?}");
        if given.first().is_some_and(|&first| first >= end) {
            continue;
        }
        assert!(given.ends_with(&(0..300).rev().collect::<Vec<_>>()), "{given:?}");
    }
}
