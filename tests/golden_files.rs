//! The golden files themselves: that they came through git whole, and that their answers fit their bytes.
//!
//! No log is opened here, so that a test that fails elsewhere can trust what it compares with.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this prepares directories")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

use std::collections::BTreeMap;

use serde_json::Value;
use support::golden::{Case, contents};

mod support;

#[test]
fn every_case_is_there_with_all_its_answers() {
    let cases = Case::all();
    assert_eq!(cases.len(), 56);
    for case in &cases {
        for file in ["records.jsonl", "batches.jsonl", "lookups.jsonl", "expected.json", "case.json"] {
            assert!(case.has(file), "{} has no {file}", case.name);
        }
        assert!(contents(&case.log()).contains_key("partition.metadata"), "{}", case.name);
    }
    assert!(Case::named("magic-mixed").has("lookups-recovered.jsonl"));
    assert!(!Case::named("plain").has("lookups-recovered.jsonl"));
}

#[test]
fn a_copy_has_the_same_bytes_and_goes_away_with_its_owner() {
    let case = Case::named("crashed");
    let copy = case.copy();
    assert_eq!(contents(copy.path()), contents(&case.log()));
    let path = copy.path().to_path_buf();
    drop(copy);
    assert!(!path.exists());
}

#[test]
fn an_empty_log_keeps_its_empty_files() {
    let files = contents(Case::named("empty").copy().path());
    assert_eq!(files["00000000000000000000.log"], b"");
    assert_eq!(files["00000000000000000000.index"], b"");
    assert_eq!(Case::named("empty").lines("records.jsonl"), Vec::<String>::new());
}

#[test]
fn listed_batches_lie_one_behind_the_other_in_the_log_files() {
    for case in Case::all() {
        let files = contents(&case.log());
        let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
        for batch in case.values("batches.jsonl") {
            let base = number(&batch["segment"]);
            let end = ends.entry(base).or_default();
            assert_eq!(number(&batch["position"]), *end, "{}: {batch}", case.name);
            let at = usize::try_from(*end).expect("small files");
            let log = &files[&format!("{base:020}.log")];
            let offset = if number(&batch["magic"]) == 2 { &batch["base_offset"] } else { &batch["last_offset"] };
            assert_eq!(log[at..at + 8], number(offset).to_be_bytes(), "{}: {batch}", case.name);
            *end += number(&batch["size"]);
        }
        for (base, end) in ends {
            let size = files[&format!("{base:020}.log")].len() as u64;
            assert!(end <= size, "{}: segment {base} has {size} bytes, its batches {end}", case.name);
        }
    }
}

#[test]
fn listed_records_lie_in_the_expected_bounds_and_rise() {
    for case in Case::all() {
        let expected = case.json("expected.json");
        let bounds = number(&expected["log_start_offset"])..number(&expected["log_end_offset"]);
        let offsets: Vec<u64> = case.values("records.jsonl").iter().map(|record| number(&record["offset"])).collect();
        assert!(offsets.iter().all(|offset| bounds.contains(offset)), "{}: outside {bounds:?}", case.name);
        assert!(offsets.is_sorted_by(|a, b| a < b), "{}", case.name);
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no unsigned number"))
}
