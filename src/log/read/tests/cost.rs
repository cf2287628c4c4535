//! What reading costs in calls and bytes, and that what saves them changes nothing of what is read.

use super::*;
use crate::error::{Error, Result};
use crate::fs::sim::CallKind;

/// A log of one segment: 300 batches of so many records each.
fn filled(records_of_batch: u64, size: usize) -> Fixture {
    let mut fixture = Fixture::new();
    for _ in 0..300 {
        fixture.append(records_of_batch, size);
    }
    fixture
}

/// The calls that read the `.log`, and the bytes that they read.
fn cost(fixture: &Fixture, read: impl FnOnce()) -> (u64, u64) {
    let path = fixture.path(&fixture.batches[0]);
    fixture.disk.reset_counters();
    read();
    (fixture.disk.calls(CallKind::ReadAt), fixture.disk.bytes_read(&path))
}

#[test]
fn a_lookup_is_one_read_of_less_than_an_index_interval() {
    let fixture = filled(1, 1000);
    let reader = fixture.reader();
    let size = fixture.batches[0].bytes.len() as u64;
    // Behind the last index entry nobody knows how far the next one is.
    for offset in 5..290 {
        let (calls, bytes) = cost(&fixture, || {
            let found: Vec<_> = reader.records(at(offset)..=at(offset)).unwrap().collect();
            assert_eq!(pairs(found.into_iter()), fixture.expected(offset..offset + 1));
        });
        assert_eq!(calls, 1, "for {offset}");
        assert!(bytes <= 5 * size && bytes.is_multiple_of(size), "{bytes} bytes for {offset}");
    }
}

#[test]
fn a_lookup_learns_how_many_records_a_batch_has() {
    let fixture = filled(7, 100);
    let reader = fixture.reader();
    let one_read = |offset: &u64| {
        let (calls, _) = cost(&fixture, || {
            assert_eq!(
                pairs(reader.records(at(*offset)..=at(*offset)).unwrap()),
                fixture.expected(*offset..*offset + 1)
            );
        });
        calls == 1
    };
    let asked: Vec<u64> = (40..2000).step_by(3).collect();
    let with_one = asked.iter().filter(|offset| one_read(offset)).count();
    assert!(with_one * 10 >= asked.len() * 7, "{with_one} of {} lookups", asked.len());
}

/// Where a slice from the batch that holds `from` on must end.
fn expected_end(fixture: &Fixture, from: u64, max_bytes: u64) -> u64 {
    let mut bytes = 0;
    let mut end = from;
    for batch in fixture.batches.iter().filter(|batch| batch.next > from) {
        bytes += batch.bytes.len() as u64;
        if bytes > max_bytes && end > from {
            break;
        }
        end = batch.next;
    }
    end
}

#[test]
fn a_slice_that_begins_where_another_ended_costs_one_read() {
    let fixture = filled(3, 300);
    let reader = fixture.reader();
    for max_bytes in [9_000, 16_000, 50_000] {
        let mut from = 0;
        while from < fixture.end() {
            let is_first = from == 0;
            let (calls, _) = cost(&fixture, || {
                let slice = reader.read(at(from), max_bytes).unwrap();
                assert_eq!(slice.next_offset(), at(expected_end(&fixture, from, max_bytes)), "from {from}");
                from = slice.next_offset().value();
            });
            assert!(calls <= 1 || is_first, "{calls} reads of a slice up to {from}");
        }
    }
}

#[test]
fn slices_are_as_large_as_they_may_be_wherever_they_begin_and_whatever_was_read_before() {
    let mut fixture = Fixture::new();
    for nth in 0..150 {
        fixture.append(1 + nth % 4, [10, 100, 1000, 5000][usize::try_from(nth % 7).unwrap() % 4]);
    }
    let reader = fixture.reader();
    for max_bytes in [0, 500, 4_096, 10_000, 40_000, 1 << 20] {
        for from in (0..fixture.end()).step_by(5) {
            let mut from = from;
            for _ in 0..3 {
                let slice = reader.read(at(from), max_bytes).unwrap();
                let end = expected_end(&fixture, from, max_bytes);
                assert_eq!(slice.next_offset(), at(end), "from {from}, {max_bytes} bytes");
                assert_eq!(pairs(slice.records()), fixture.expected(from..end));
                from = end;
            }
        }
    }
}

#[test]
fn records_that_are_kept_stay_as_they_were_while_reading_goes_on() {
    let mut fixture = Fixture::new();
    for _ in 0..30 {
        fixture.append(300, 200);
    }
    assert_eq!(pairs(fixture.reader().records(..).unwrap()), fixture.records);
    let kept: Vec<_> = fixture.reader().records(..).unwrap().collect();
    assert_eq!(pairs(kept.into_iter()), fixture.records);
    // One here and there, held over many chunks.
    let kept: Vec<_> = fixture.reader().records(..).unwrap().step_by(700).collect();
    let expected: Vec<_> = fixture.records.iter().step_by(700).cloned().collect();
    assert_eq!(pairs(kept.into_iter()), expected);
    let batches: Vec<_> = fixture.reader().batches(..).unwrap().collect();
    for (batch, written) in batches.into_iter().zip(&fixture.batches) {
        assert_eq!(batch.unwrap().as_bytes(), written.bytes);
    }
}

type Told = std::result::Result<(u64, Vec<u8>), String>;

fn told(record: Result<StoredRecord>) -> Told {
    record.map(pair).map_err(|error| error.to_string())
}

#[test]
fn what_is_lent_is_what_the_iterator_gives_errors_included() {
    for codec in codecs() {
        let mut fixture = Fixture::new();
        fixture.compress(codec);
        fixture.fill();
        fixture.damage_records(40);
        fixture.damage_records(200);
        for (reader, from) in
            [fixture.reader(), fixture.reader().skip_damaged()].iter().flat_map(|r| [(r, 0), (r, 122)])
        {
            let given: Vec<Told> = reader.records(at(from)..at(350)).unwrap().map(told).collect();
            let mut lent: Vec<Told> = Vec::new();
            let mut records = reader.records(at(from)..at(350)).unwrap();
            while let Some(record) = records.next_ref() {
                let pair = record.map(|record| (record.offset().value(), record.value().unwrap().to_vec()));
                lent.push(pair.map_err(|error: Error| error.to_string()));
            }
            assert_eq!(lent, given, "{codec} from {from}");
            assert!(lent.iter().any(std::result::Result::is_err));
            let slice = fixture.reader().read(at(240), 1 << 20).unwrap();
            let mut records = slice.records();
            let mut lent = Vec::new();
            while let Some(record) = records.next_ref() {
                lent.push(record.unwrap().offset().value());
            }
            assert_eq!(lent, (240..360).collect::<Vec<_>>());
        }
    }
}
