//! What a reader sees in the directories that Kafka wrote, compared with what Kafka reads from them, line by line.
//!
//! The files themselves are judged in `golden_files.rs`, opening for writing in `golden_writing.rs`. Not compared: what
//! this release does not have (producer state, aborted transactions, leader epochs, answers by time). The invariant it
//! owns: each case's departure from Kafka's answers is named here, with its reason.

#![cfg(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]
#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this prepares directories")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

use kstore::{Corruption, Error, LogSlice, Offset, Reader};
use kstore::{Fate, Log, Trust};
use serde_json::Value;
use support::golden::{Case, Copy, contents};
use support::lines::{assert_same_lines, batch_line, record_line};

mod support;

/// Sound batches lie behind the damage. Kafka deletes them when it opens the directory; a reader keeps them readable,
/// and stops at the damage unless told to pass over it.
const DAMAGED: [&str; 2] = ["flipped-bit-earlier-segment", "flipped-bit-middle"];
/// The end of the log of every case that was made from `broker-killed` and damaged before its last batch.
const DAMAGED_END: u64 = 702;
/// Every so many offsets are asked for where each offset would take long.
const ASKED_STEP: usize = 7;
/// One case of each kind, where every case would take long.
const VARIETY: [&str; 9] = [
    "base-above-2-40",
    "big-batches",
    "broker-killed-compacted",
    "codec-mixed",
    "compacted-twice",
    "magic-mixed",
    "magic0-compressed",
    "offset-gaps",
    "transactions",
];

fn is_damaged(case: &Case) -> bool {
    DAMAGED.contains(&case.name.as_str())
}

/// Where Kafka's answers begin: a checkpoint outside the directory may say so, of which a reader knows nothing.
fn start_of(case: &Case) -> Offset {
    number(&case.json("expected.json")["log_start_offset"])
}

fn number(value: &Value) -> Offset {
    Offset::new(value.as_u64().unwrap_or_else(|| panic!("{value} is no unsigned number")))
}

fn reader_of(case: &Case) -> (Copy, Reader) {
    let copy = case.copy();
    let reader = Log::open_read_only(copy.path()).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    (copy, reader)
}

/// The records up to the first error, and that error.
fn read_records(reader: &Reader, from: Offset) -> (Vec<String>, Option<Error>) {
    let mut lines = Vec::new();
    for record in reader.records(from..).expect("a range of the log") {
        match record {
            Ok(record) => lines.push(record_line(&record)),
            Err(error) => return (lines, Some(error)),
        }
    }
    (lines, None)
}

/// Kafka's batches that a reader of the directory is to see: those of segments that stay, up to the first damage.
fn sound_batches(case: &Case) -> Vec<Value> {
    let expected = case.json("expected.json");
    let mut stays: Vec<Value> = Vec::new();
    for segment in expected["segments"].as_array().expect("a list") {
        stays.push(segment["base_offset"].clone());
    }
    let swapped_in = expected["new_segments"].as_array().expect("a list");
    stays.retain(|base| !swapped_in.contains(base));
    let batches = case.values("batches.jsonl").into_iter();
    batches.take_while(|batch| batch["crc_ok"] == true).filter(|batch| stays.contains(&batch["segment"])).collect()
}

fn first_place(slice: &LogSlice) -> Option<(Offset, u64)> {
    slice
        .batches()
        .next()
        .map(|batch| batch.expect("a sound batch"))
        .map(|batch| (batch.segment(), batch.position().value()))
}

// Rows 262, 263, 265, 266, 272.
#[test]
fn a_reader_sees_every_record_that_kafka_sees_and_changes_no_byte() {
    for case in &Case::all() {
        let (copy, reader) = reader_of(case);
        let (found, error) = read_records(&reader, start_of(case));
        assert_same_lines(case, &found, &case.lines("records.jsonl"));
        match error {
            None => assert!(!is_damaged(case), "{}", case.name),
            Some(Error::Corrupt { reason: Corruption::Crc { .. }, .. }) => assert!(is_damaged(case), "{}", case.name),
            Some(error) => panic!("{}: {error}", case.name),
        }
        drop(reader);
        assert_eq!(contents(copy.path()), contents(&case.log()), "{}: a reader changed the directory", case.name);
    }
}

#[test]
fn a_reader_starts_and_ends_where_kafka_does_but_for_what_only_kafka_cuts_off() {
    for case in &Case::all() {
        let (_copy, reader) = reader_of(case);
        let expected = case.json("expected.json");
        let end = if is_damaged(case) { Offset::new(DAMAGED_END) } else { number(&expected["log_end_offset"]) };
        assert_eq!(reader.log_end_offset(), end, "{}", case.name);
        let first = number(&expected["segments"][0]["base_offset"]);
        assert_eq!(reader.log_start_offset(), first, "{}", case.name);
        assert!(first <= start_of(case));
        assert_eq!(reader.recovery_report().trust, Trust::Foreign, "{}", case.name);
    }
}

#[test]
fn a_reader_sees_the_segments_that_kafka_keeps() {
    for case in Case::all().iter().filter(|case| !is_damaged(case)) {
        let (_copy, reader) = reader_of(case);
        let segments = reader.segments().expect(&case.name);
        let found: Vec<(u64, u64)> =
            segments.iter().map(|segment| (segment.base_offset.value(), segment.size_bytes)).collect();
        let expected = case.json("expected.json");
        let expected: Vec<(u64, u64)> = expected["segments"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|segment| (number(&segment["base_offset"]).value(), number(&segment["size"]).value()))
            .collect();
        assert_eq!(found, expected, "{}", case.name);
        assert_eq!(segments.iter().filter(|segment| segment.active).count(), 1, "{}", case.name);
    }
}

#[test]
fn batches_lie_where_kafka_says_with_every_field_of_their_headers() {
    for case in &Case::all() {
        let (_copy, reader) = reader_of(case);
        let expected = case.json("expected.json");
        let swapped_in = expected["new_segments"].as_array().expect("a list").clone();
        let found: Vec<String> = reader
            .batches(..)
            .expect(&case.name)
            .map_while(|batch| batch.ok().filter(|batch| batch.verify().is_ok()))
            .filter(|batch| !swapped_in.contains(&batch.segment().value().into()))
            .map(|batch| batch_line(&batch))
            .collect();
        let expected: Vec<String> = sound_batches(case).iter().map(Value::to_string).collect();
        assert_same_lines(case, &found, &expected);
    }
}

#[test]
fn records_read_backwards_are_the_reverse_of_records_read_forwards() {
    for case in Case::all().iter().filter(|case| !is_damaged(case)) {
        let (_copy, reader) = reader_of(case);
        let mut found: Vec<String> = reader
            .records_reversed(start_of(case)..)
            .expect(&case.name)
            .map(|record| record_line(&record.unwrap_or_else(|error| panic!("{}: {error}", case.name))))
            .collect();
        found.reverse();
        assert_same_lines(case, &found, &case.lines("records.jsonl"));
    }
}

#[test]
fn reading_backwards_stops_at_the_damage_with_the_records_behind_it() {
    for name in DAMAGED {
        let case = Case::named(name);
        let (_copy, reader) = reader_of(&case);
        let mut offsets = Vec::new();
        let mut errors = Vec::new();
        for record in reader.records_reversed(..).expect(name) {
            match record {
                Ok(record) => offsets.push(record.offset()),
                Err(error) => errors.push(error),
            }
        }
        assert!(matches!(errors[..], [Error::Corrupt { .. }]), "{name}: {errors:?}");
        assert_eq!(offsets.first(), Some(&Offset::new(DAMAGED_END - 1)), "{name}");
        let kafkas_end = number(&case.json("expected.json")["log_end_offset"]);
        assert!(offsets.iter().all(|&offset| offset >= kafkas_end), "{name}");
    }
}

#[test]
fn a_reader_that_skips_damage_sees_what_lies_on_both_sides_of_it() {
    let whole = Case::named("broker-killed").lines("records.jsonl");
    for name in DAMAGED {
        let case = Case::named(name);
        let (_copy, reader) = reader_of(&case);
        let mut found = Vec::new();
        let mut errors = 0;
        for record in reader.skip_damaged().records(..).expect(name) {
            match record {
                Ok(record) => found.push(record_line(&record)),
                Err(error) => {
                    assert!(matches!(error, Error::Corrupt { .. }), "{name}: {error}");
                    errors += 1;
                }
            }
        }
        assert_eq!(errors, 1, "{name}");
        let before = case.lines("records.jsonl").len();
        let lost = whole.len() - found.len();
        assert!(lost > 0 && lost < 20, "{name}: {lost} records are lost with one batch");
        assert_same_lines(&case, &found[..before], &whole[..before]);
        assert_same_lines(&case, &found[before..], &whole[before + lost..]);
    }
}

#[test]
fn a_slice_begins_with_the_batch_that_holds_the_offset_or_comes_next() {
    for case in &Case::all() {
        let (_copy, reader) = reader_of(case);
        let swapped_in = !case.json("expected.json")["new_segments"].as_array().expect("a list").is_empty();
        let mut due = reader.log_start_offset();
        for batch in sound_batches(case) {
            let (base, last) = (number(&batch["base_offset"]), number(&batch["last_offset"]));
            let place = Some((number(&batch["segment"]), number(&batch["position"]).value()));
            // Before the first batch that is listed lie those of the segment that was swapped in.
            let from = if swapped_in { base } else { due };
            for asked in [from, base, Offset::new(base.value().midpoint(last.value())), last] {
                let slice = reader.read(asked, 1).unwrap_or_else(|error| panic!("{}: {error}", case.name));
                assert_eq!(first_place(&slice), place, "{}: from {asked}", case.name);
                assert_eq!(slice.size_bytes(), number(&batch["size"]).value(), "{}: from {asked}", case.name);
                assert_eq!(slice.next_offset(), last + 1, "{}: from {asked}", case.name);
            }
            due = last + 1;
        }
    }
}

#[test]
fn slices_one_behind_the_other_hold_the_whole_log() {
    for case in &VARIETY.map(Case::named) {
        let (_copy, reader) = reader_of(case);
        for max_bytes in [1, 2000, 1 << 30] {
            let mut at = start_of(case);
            let mut found = Vec::new();
            while at < reader.log_end_offset() {
                let slice = reader.read(at, max_bytes).unwrap_or_else(|error| panic!("{}: {error}", case.name));
                found.extend(slice.records().map(|record| record_line(&record.expect(&case.name))));
                assert!(slice.next_offset() > at, "{}: no progress at {at}", case.name);
                at = slice.next_offset();
            }
            assert_same_lines(case, &found, &case.lines("records.jsonl"));
            assert!(reader.read(at, max_bytes).expect(&case.name).is_empty());
        }
    }
}

#[test]
fn reading_from_any_offset_begins_with_the_first_record_at_or_above_it() {
    for case in &VARIETY.map(Case::named) {
        let (_copy, reader) = reader_of(case);
        let lines = case.lines("records.jsonl");
        let offsets: Vec<Offset> =
            case.values("records.jsonl").iter().map(|record| number(&record["offset"])).collect();
        for at in (0..lines.len()).step_by(ASKED_STEP) {
            let behind_previous = if at == 0 { start_of(case) } else { offsets[at - 1] + 1 };
            for from in [offsets[at], behind_previous] {
                let first = reader.records(from..).expect(&case.name).next().expect("a record").expect(&case.name);
                assert_eq!(record_line(&first), lines[at], "{}: from {from}", case.name);
            }
        }
    }
}

#[test]
fn a_reader_says_what_opening_for_writing_would_do() {
    let (_copy, reader) = reader_of(&Case::named("torn-in-body"));
    let report = reader.recovery_report();
    assert_eq!(report.torn.len(), 1);
    assert_eq!((report.torn[0].position.value(), report.torn[0].bytes), (11707, 93));
    assert_eq!(report.torn[0].kept, None);
    assert!(report.damage.is_empty());

    let (_copy, reader) = reader_of(&Case::named("flipped-bit-middle"));
    let report = reader.recovery_report();
    assert_eq!(report.damage.len(), 1);
    assert_eq!(report.damage[0].first_offset, Offset::new(663));

    let (_copy, reader) = reader_of(&Case::named("stray-index"));
    let fates: Vec<Fate> = reader.recovery_report().leftovers.iter().map(|leftover| leftover.fate).collect();
    assert_eq!(fates, [Fate::Removed; 3]);
}
