//! Ranges, bounds, gaps, and what a lookup costs.

use super::*;
use crate::error::Error;
use crate::fs::sim::CallKind;
use crate::log::ReadUpTo;

// Rows 107, 235.
#[test]
fn an_empty_log_gives_nothing_at_its_end_and_an_error_beyond_it() {
    let fixture = Fixture::new();
    let reader = fixture.reader();
    assert!(reader.read(at(0), 1000).unwrap().is_empty());
    assert_eq!(reader.records(..).unwrap().count(), 0);
    assert_eq!(reader.records_reversed(..).unwrap().count(), 0);
    assert_eq!(reader.batches(..).unwrap().count(), 0);
    let error = reader.read(at(1), 1000).unwrap_err();
    assert!(matches!(error, Error::OffsetOutOfRange { asked, start, end }
        if asked == at(1) && start == at(0) && end == at(0)));
}

// Rows 109, 111, 235.
#[test]
fn the_log_start_and_the_log_end_bound_every_read() {
    let mut fixture = Fixture::new();
    fixture.fill();
    let end = fixture.end();
    let bounds = Bounds { log_start: at(5), log_end: at(end), synced: at(end), gaps_allowed: false };
    let segments = fixture.core.all_segments().into_iter().map(|segment| (segment.base(), segment)).collect();
    fixture.core.install(segments, bounds, RecoveryReport::default());
    let reader = fixture.reader();
    for outside in [0, 4, end + 1, u64::MAX] {
        let refused = |error: Error| matches!(error, Error::OffsetOutOfRange { asked, .. } if asked == at(outside));
        assert!(refused(reader.read(at(outside), 1).unwrap_err()));
        assert!(refused(reader.records(at(outside)..).unwrap_err()));
        assert!(refused(reader.records_reversed(at(outside)..).unwrap_err()));
        assert!(refused(reader.batches(at(outside)..).unwrap_err()));
    }
    assert!(reader.read(at(end), 1).unwrap().is_empty());
    assert_eq!(pairs(reader.records(..).unwrap()), fixture.expected(5..end));
}

#[test]
fn a_range_is_clamped_to_the_log_end_and_may_be_empty_or_backwards() {
    let mut fixture = Fixture::new();
    fixture.fill();
    let (reader, end) = (fixture.reader(), fixture.end());
    assert_eq!(pairs(reader.records(at(7)..at(u64::MAX)).unwrap()), fixture.expected(7..end));
    assert_eq!(pairs(reader.records(at(7)..=at(u64::MAX)).unwrap()), fixture.expected(7..end));
    assert_eq!(pairs(reader.records(at(7)..=at(8)).unwrap()), fixture.expected(7..9));
    assert_eq!(pairs(reader.records(..at(121)).unwrap()), fixture.expected(0..121));
    let behind_seven = (std::ops::Bound::Excluded(at(7)), std::ops::Bound::Unbounded);
    assert_eq!(pairs(reader.records(behind_seven).unwrap()), fixture.expected(8..end));
    assert_eq!(reader.records(at(7)..at(7)).unwrap().count(), 0);
    let backwards = at(9)..at(7);
    assert_eq!(reader.records(backwards.clone()).unwrap().count(), 0);
    assert_eq!(reader.records_reversed(backwards).unwrap().count(), 0);
}

#[test]
fn records_that_were_appended_after_the_call_are_not_given() {
    let mut fixture = Fixture::new();
    fixture.append(3, 10);
    let mut records = fixture.reader().records(..).unwrap();
    assert_eq!(pair(records.next().unwrap().unwrap()).0, 0);
    fixture.append(3, 10);
    assert_eq!(pairs(records), fixture.expected(1..3));
}

// Rows 66, 117.
#[test]
fn every_offset_is_found_across_segments_by_every_way_of_reading() {
    let mut fixture = Fixture::new();
    fixture.fill();
    let (reader, end) = (fixture.reader(), fixture.end());
    for offset in 0..end {
        let expected = fixture.batch_of(offset);
        let first = reader.records(at(offset)..).unwrap().next().unwrap().unwrap();
        assert_eq!(first.offset(), at(offset));
        let batch = reader.batches(at(offset)..).unwrap().next().unwrap().unwrap();
        assert_eq!((batch.base_offset(), batch.position()), (at(expected.base), expected.position));
        assert_eq!(batch.segment(), at(expected.segment));
        let slice = reader.read(at(offset), 1).unwrap();
        assert_eq!(slice.size_bytes(), expected.bytes.len() as u64);
        assert_eq!(slice.next_offset(), at(expected.next));
        assert_eq!(pairs(slice.records()), fixture.expected(offset..expected.next));
    }
}

// Row 238.
#[test]
fn a_read_at_every_offset_inside_compressed_batches_gives_the_containing_batch() {
    for compression in codecs() {
        let mut fixture = Fixture::new();
        fixture.compress(compression);
        for _ in 0..5 {
            fixture.append(7, 50);
        }
        let reader = fixture.reader();
        for offset in 0..35 {
            let batch = fixture.batch_of(offset);
            let slice = reader.read(at(offset), 1).unwrap();
            let stored = slice.batches().next().unwrap().unwrap();
            assert_eq!(stored.as_bytes(), batch.bytes);
            assert_eq!(stored.compression().unwrap(), compression);
            stored.verify().unwrap();
            let offsets: Vec<_> = stored.records().map(|record| record.unwrap().offset().value()).collect();
            assert_eq!(offsets, (batch.base..batch.next).collect::<Vec<_>>());
            assert_eq!(pairs(slice.records()), fixture.expected(offset..batch.next));
            assert_eq!(pairs(reader.records(at(offset)..).unwrap()), fixture.expected(offset..35));
        }
    }
}

// Rows 108, 110, 236.
#[test]
fn a_read_in_a_gap_gives_what_comes_next_also_from_the_next_segment() {
    let mut fixture = Fixture::with_gaps();
    fixture.append_at(5, 2, 10);
    fixture.append_at(20, 2, 10);
    fixture.roll_at(40);
    fixture.append_at(45, 2, 10);
    let reader = fixture.reader();
    for (asked, first) in [(0, 5), (6, 6), (7, 20), (21, 21), (22, 45), (39, 45), (41, 45), (46, 46)] {
        assert_eq!(reader.records(at(asked)..).unwrap().next().unwrap().unwrap().offset(), at(first));
        let slice = reader.read(at(asked), 1 << 20).unwrap();
        assert_eq!(slice.records().next().unwrap().unwrap().offset(), at(first));
        let reversed = reader.records_reversed(at(asked)..).unwrap().last().unwrap().unwrap();
        assert_eq!(reversed.offset(), at(first));
    }
    assert_eq!(pairs(reader.records(..).unwrap()), fixture.records);
}

// Row 240.
#[test]
fn where_everything_above_was_compacted_away_a_read_goes_on_at_the_log_end() {
    let mut fixture = Fixture::with_gaps();
    fixture.append_at(0, 2, 10);
    fixture.core.publish(at(50));
    let reader = fixture.reader();
    let slice = reader.read(at(2), 100).unwrap();
    assert!(slice.is_empty());
    assert_eq!(slice.next_offset(), at(50));
    assert_eq!(reader.records(at(2)..).unwrap().count(), 0);
    assert_eq!(pairs(reader.records_reversed(..).unwrap()).len(), 2);
}

// Rows 235, 239, 240.
#[test]
fn a_reader_of_what_is_synced_sees_no_further_and_gets_no_error_up_to_the_log_end() {
    let mut fixture = Fixture::new();
    fixture.fill();
    let end = fixture.end();
    fixture.core.raise_synced(at(123));
    let reader = fixture.reader().up_to(ReadUpTo::Synced);
    assert_eq!(reader.log_end_offset(), at(123));
    assert_eq!(pairs(reader.records(..).unwrap()), fixture.expected(0..123));
    assert_eq!(pairs(reader.read(at(120), 1 << 20).unwrap().records()), fixture.expected(120..123));
    assert_eq!(reader.read(at(120), 1 << 20).unwrap().next_offset(), at(123));
    for offset in [123, 124, end] {
        let slice = reader.read(at(offset), 1 << 20).unwrap();
        assert!(slice.is_empty() && slice.next_offset() == at(offset));
        assert_eq!(reader.records(at(offset)..).unwrap().count(), 0);
    }
    assert!(matches!(reader.read(at(end + 1), 1), Err(Error::OffsetOutOfRange { .. })));
    fixture.core.raise_synced(at(end));
    assert_eq!(pairs(reader.records(..).unwrap()), fixture.records);
}

#[test]
fn readers_of_a_failed_log_end_at_what_is_durable_also_those_on_their_way() {
    let mut fixture = Fixture::new();
    fixture.fill();
    let (reader, end) = (fixture.reader(), fixture.end());
    fixture.core.raise_synced(at(60));
    let mut running = reader.records(..).unwrap();
    assert_eq!(pair(running.next().unwrap().unwrap()).0, 0);
    fixture.core.set_failed(&Arc::new(crate::error::Error::Closed));
    assert_eq!(pairs(running), fixture.expected(1..60));
    assert_eq!(pairs(reader.read(at(57), 1 << 20).unwrap().records()), fixture.expected(57..60));
    assert!(matches!(reader.read(at(end), 1), Err(Error::OffsetOutOfRange { .. })));
}

#[test]
fn a_closed_log_refuses_new_reads_and_ends_iterators_with_an_error() {
    let mut fixture = Fixture::new();
    fixture.fill();
    let reader = fixture.reader();
    let (mut forward, mut backward) = (reader.records(..).unwrap(), reader.records_reversed(..).unwrap());
    forward.next().unwrap().unwrap();
    backward.next().unwrap().unwrap();
    fixture.core.set_closed();
    for iterator in [&mut forward as &mut dyn Iterator<Item = crate::error::Result<StoredRecord>>, &mut backward] {
        let rest: Vec<_> = iterator.collect();
        assert_eq!(rest.iter().filter(|record| record.is_ok()).count(), 2);
        assert!(matches!(rest.last(), Some(Err(Error::Closed))));
    }
    assert!(matches!(reader.read(at(0), 1), Err(Error::Closed)));
    assert!(matches!(reader.records(..), Err(Error::Closed)));
    assert!(matches!(reader.records_reversed(..), Err(Error::Closed)));
    assert!(matches!(reader.batches(..), Err(Error::Closed)));
    assert!(matches!(reader.segments(), Err(Error::Closed)));
}

#[test]
fn a_lookup_in_open_files_costs_one_read() {
    let mut fixture = Fixture::new();
    for _ in 0..300 {
        fixture.append(1, 1000);
    }
    fixture.roll();
    fixture.append(1, 1000);
    let reader = fixture.reader();
    assert_eq!(pairs(reader.records(..).unwrap()).len(), 301);
    for offset in [0, 1, 17, 150, 299, 300] {
        fixture.disk.reset_counters();
        let record = reader.records(at(offset)..).unwrap().next().unwrap().unwrap();
        assert_eq!(record.offset(), at(offset));
        assert_eq!(fixture.disk.calls(CallKind::ReadAt), 1, "offset {offset}");
        fixture.disk.reset_counters();
        assert_eq!(reader.read(at(offset), 1000).unwrap().next_offset(), at(offset + 1));
        assert_eq!(fixture.disk.calls(CallKind::ReadAt), 1, "offset {offset}");
        assert_eq!(fixture.disk.calls(CallKind::Open), 0);
    }
}

// Row 43.
#[test]
fn a_large_slice_is_measured_without_reading_it() {
    let mut fixture = Fixture::new();
    for _ in 0..2000 {
        fixture.append(1, 1000);
    }
    let reader = fixture.reader();
    let path = fixture.path(&fixture.batches[0]);
    for max_bytes in [16 << 10, 64 << 10, 1 << 20, 1 << 30] {
        let before = fixture.disk.bytes_read(&path);
        let slice = reader.read(at(3), max_bytes).unwrap();
        let read = fixture.disk.bytes_read(&path) - before;
        assert!(read <= 24 << 10, "{read} bytes were read for a slice of {}", slice.size_bytes());
        let expected = fixture.batches[3..].iter().map(|batch| batch.bytes.len() as u64).scan(0, |sum, size| {
            *sum += size;
            (*sum <= max_bytes).then_some(*sum)
        });
        assert_eq!(slice.size_bytes(), expected.last().unwrap());
        let records = pairs(slice.records());
        assert_eq!(records.last().unwrap().0 + 1, slice.next_offset().value());
        assert_eq!(records, fixture.expected(3..slice.next_offset().value()));
    }
}

#[test]
fn files_that_are_closed_to_stay_within_the_limit_are_opened_again() {
    let mut fixture = Fixture::new();
    for _ in 0..10 {
        fixture.fill_segment();
        fixture.roll();
    }
    fixture.core.set_limits(1, 1 << 30);
    let reader = fixture.reader();
    let mut first = reader.records(..).unwrap();
    let mut seen = vec![pair(first.next().unwrap().unwrap())];
    for offset in (0..fixture.end()).step_by(50) {
        assert_eq!(reader.records(at(offset)..).unwrap().next().unwrap().unwrap().offset(), at(offset));
    }
    seen.extend(pairs(first));
    assert_eq!(seen, fixture.records);
}

#[test]
fn segments_are_listed_with_their_sizes_offsets_and_times() {
    let mut fixture = Fixture::new();
    fixture.fill();
    let segments = fixture.reader().segments().unwrap();
    assert_eq!(segments.len(), 3);
    for (number, segment) in segments.iter().enumerate() {
        let number = number as u64;
        let written: u64 = fixture
            .batches
            .iter()
            .filter(|batch| batch.segment == number * 120)
            .map(|batch| batch.bytes.len() as u64)
            .sum();
        assert_eq!(segment.base_offset, at(number * 120));
        assert_eq!(segment.next_offset, at(number * 120 + 120));
        assert_eq!(segment.size_bytes, written);
        assert_eq!(segment.active, number == 2);
    }
    assert_eq!(segments[0].largest_timestamp, Some(Timestamp::from_millis(1119)));
}
