//! Reading backwards: the same records, in bounded memory, whatever the offset index knows.

use super::*;
use crate::fs::sim::CallKind;

fn reversed(fixture: &Fixture, range: std::ops::Range<u64>) -> Vec<(u64, Vec<u8>)> {
    let mut given = pairs(fixture.reader().records_reversed(at(range.start)..at(range.end)).unwrap());
    given.reverse();
    given
}

#[test]
fn every_range_is_given_backwards() {
    let mut fixture = Fixture::new();
    for _ in 0..2 {
        for _ in 0..6 {
            fixture.append(4, 1500);
        }
        fixture.roll();
    }
    fixture.append(4, 1500);
    let end = fixture.end();
    for from in 0..=end {
        for to in from..=end {
            assert_eq!(reversed(&fixture, from..to), fixture.expected(from..to), "{from}..{to}");
        }
    }
}

#[test]
fn an_empty_active_segment_is_passed_over() {
    let mut fixture = Fixture::new();
    fixture.append(2, 10);
    fixture.roll();
    assert_eq!(reversed(&fixture, 0..2), fixture.records);
    assert_eq!(pairs(fixture.reader().records(..).unwrap()), fixture.records);
}

#[test]
fn compressed_batches_are_given_backwards() {
    for compression in codecs() {
        let mut fixture = Fixture::new();
        fixture.compress(compression);
        for _ in 0..10 {
            fixture.append(9, 700);
        }
        assert_eq!(reversed(&fixture, 0..90), fixture.records);
        assert_eq!(reversed(&fixture, 4..77), fixture.expected(4..77));
    }
}

#[test]
fn a_segment_without_an_index_is_taken_apart_in_parts() {
    let mut fixture = Fixture::with(false, u64::MAX / 2);
    for _ in 0..5000 {
        fixture.append(1, 10);
    }
    fixture.roll();
    for _ in 0..1100 {
        fixture.append(1, 10);
    }
    assert_eq!(reversed(&fixture, 0..6100), fixture.records);
    assert_eq!(reversed(&fixture, 700..5999), fixture.expected(700..5999));
    let batch = fixture.damage_records(2345);
    let mut given = fixture.reader().skip_damaged().records_reversed(..).unwrap();
    let damaged: Vec<_> = given.by_ref().filter_map(Result::err).collect();
    assert!(matches!(&damaged[..], [crate::error::Error::Corrupt { position, .. }] if *position == batch.position));
}

#[test]
fn the_last_records_of_a_large_log_cost_few_reads() {
    let mut fixture = Fixture::new();
    for _ in 0..3000 {
        fixture.append(1, 1000);
    }
    let mut records = fixture.reader().records_reversed(..).unwrap();
    fixture.disk.reset_counters();
    let last: Vec<_> = records.by_ref().take(20).map(|record| pair(record.unwrap()).0).collect();
    assert_eq!(last, (2980..3000).rev().collect::<Vec<_>>());
    let calls = fixture.disk.calls(CallKind::ReadAt);
    assert!(calls <= 20, "{calls} reads");
}
