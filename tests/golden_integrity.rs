//! The check of a log's files on the directories that Kafka wrote: what Kafka calls fine has no error, and what was
//! damaged by hand has the finding that belongs to it.
//!
//! The invariant it owns: each case that departs from "nothing at all" is named here, with what is found in it.

#![cfg(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]
#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this prepares directories")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

use std::collections::BTreeMap;
use std::path::Path;

use kstore::{Finding, FindingKind, IntegrityReport, Log, Severity};
use support::golden::{Case, Copy, contents};

mod support;

/// Sound batches lie behind a flipped bit: nothing that a crash leaves.
const DAMAGED: [&str; 2] = ["flipped-bit-earlier-segment", "flipped-bit-middle"];
/// Bytes that are no batch behind the last one, which recovery cuts off.
const TORN: [&str; 7] = [
    "flipped-bit-last-batch",
    "garbage-tail",
    "torn-in-body",
    "torn-in-header",
    "torn-in-length",
    "torn-one-byte-short",
    "zero-tail",
];
const ZERO_TAILS: [&str; 2] = ["zero-tail-17", "zero-tail-whole-batches"];
/// Interrupted operations that the next opening finishes or undoes.
const LEFTOVERS: [&str; 4] =
    ["leftover-cleaned", "leftover-cleaned-torn", "leftover-swap", "leftover-swap-half-deleted"];
const INDEX: &str = "00000000000000000000.index";
const TIME_INDEX: &str = "00000000000000000000.timeindex";

fn report_of(dir: &Path) -> IntegrityReport {
    let reader = Log::open_read_only(dir).expect("a log");
    reader.check_integrity().expect("a readable log")
}

fn damaged(case: &str, file: &str, change: impl FnOnce(&mut Vec<u8>)) -> (Copy, IntegrityReport) {
    let copy = Case::named(case).copy();
    let path = copy.path().join(file);
    let mut bytes = std::fs::read(&path).unwrap_or_default();
    change(&mut bytes);
    std::fs::write(&path, bytes).expect("a writable file");
    let report = report_of(copy.path());
    (copy, report)
}

fn of_kind<'a>(report: &'a IntegrityReport, kind: &str) -> Vec<&'a Finding> {
    report.findings.iter().filter(|finding| finding.what.name() == kind).collect()
}

fn kinds(report: &IntegrityReport, least: Severity) -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    for finding in report.findings.iter().filter(|finding| finding.severity >= least) {
        *kinds.entry(finding.what.name()).or_default() += 1;
    }
    kinds
}

// Rows 83, 91, 98, 348, 349.
#[test]
fn what_kafka_calls_fine_has_no_error_and_nothing_is_changed() {
    for case in &Case::all() {
        let copy = case.copy();
        let report = report_of(copy.path());
        let name = case.name.as_str();
        let found = kinds(&report, Severity::Warning);
        let expected = match name {
            name if DAMAGED.contains(&name) => vec![("batch", 1)],
            name if LEFTOVERS.contains(&name) => vec![("leftover", 3)],
            "stray-index" => vec![("orphan_index", 3)],
            "garbage-tail" => vec![("torn_tail", 1)],
            // The indexes have an entry for the batch that is torn.
            name if TORN.contains(&name) => vec![("index_entry", 2), ("torn_tail", 1)],
            _ => vec![],
        };
        assert_eq!(found, expected.into_iter().collect(), "{name}: {}", report.to_json());
        assert_eq!(report.is_clean(), !DAMAGED.contains(&name), "{name}");
        assert_eq!(of_kind(&report, "zero_tail").len(), usize::from(ZERO_TAILS.contains(&name)), "{name}");
        // A Kafka that did not close leaves room behind the entries of its last segment.
        let blank = of_kind(&report, "blank_index_room").len();
        assert_eq!(blank, if case.is_clean() { 0 } else { 2 }, "{name}");
        assert_eq!(contents(copy.path()), contents(&case.log()), "{name}: a check changed the directory");
    }
}

// Row 349.
#[test]
fn every_batch_and_record_is_gone_through() {
    for case in &Case::all() {
        let name = case.name.as_str();
        if DAMAGED.contains(&name) || name.starts_with("leftover-swap") {
            continue;
        }
        let report = report_of(&case.log());
        let batches = case.values("batches.jsonl");
        let sound = batches.iter().filter(|batch| batch["crc_ok"] == true).count();
        assert_eq!(report.checked.batches, sound as u64, "{name}");
        // Control records, and records below the log start, are checked and not listed among Kafka's answers.
        assert!(report.checked.records >= case.lines("records.jsonl").len() as u64, "{name}");
        let end = case.json("expected.json")["log_end_offset"].as_u64();
        assert_eq!(Some(report.log_end_offset.value()), end, "{name}");
    }
}

// Rows 91, 348.
#[test]
fn an_index_entry_that_contradicts_the_log_is_found_wherever_it_lies() {
    for (file, size) in [(INDEX, 8), (TIME_INDEX, 12)] {
        let entries = contents(&Case::named("plain").log())[file].len() / size;
        assert!(entries > 2, "{file} has {entries} entries");
        for at in 0..entries * size {
            let (_copy, report) = damaged("plain", file, |bytes| bytes[at] ^= 1 << (at % 8));
            let found = report.findings.iter().find(|finding| finding.path.ends_with(file));
            assert!(found.is_some(), "byte {at} of {file}");
        }
        let (_copy, report) = damaged("plain", file, |bytes| bytes.truncate(size * 2 + 3));
        let [finding] = of_kind(&report, "index_length")[..] else { panic!("{}", report.to_json()) };
        assert_eq!(finding.position.map(|at| at.value()), Some(2 * size as u64));
        assert_eq!(finding.severity, Severity::Error);
        let (_copy, report) = damaged("plain", file, |bytes| bytes.clear());
        assert_eq!(kinds(&report, Severity::Note), BTreeMap::new(), "an empty index is sparse, not wrong");
        let (_copy, report) = damaged("plain", file, |bytes| bytes.extend([0; 120]));
        assert_eq!(kinds(&report, Severity::Warning), [("blank_index_room", 1)].into_iter().collect());
    }
}

// Row 98.
#[test]
fn faults_of_transaction_indexes_snapshots_and_small_files_are_found() {
    let files = contents(&Case::named("transactions").log());
    let named = |suffix: &str| {
        let mut found = files.iter().filter(|(name, bytes)| name.ends_with(suffix) && !bytes.is_empty());
        found.next_back().map(|(name, _)| name.clone()).expect(suffix)
    };
    let (aborted, snapshot) = (named(".txnindex"), named(".snapshot"));
    for at in [0, 1, 2, 10, 18, 25, 26] {
        let (_copy, report) = damaged("transactions", &aborted, |bytes| bytes[at] ^= 0x80);
        assert_eq!(of_kind(&report, "index_entry").len(), 1, "byte {at}: {}", report.to_json());
    }
    let (_copy, report) = damaged("transactions", &aborted, |bytes| bytes.extend([0; 33]));
    assert_eq!(of_kind(&report, "index_length").len(), 1);
    let size = files[&snapshot].len();
    for at in 0..size {
        let (_copy, report) = damaged("transactions", &snapshot, |bytes| bytes[at] ^= 4);
        assert_eq!(of_kind(&report, "content").len(), 1, "byte {at}");
    }
    for length in [0, 9, size - 1] {
        let (_copy, report) = damaged("transactions", &snapshot, |bytes| bytes.truncate(length));
        assert_eq!(kinds(&report, Severity::Warning), [("content", 1)].into_iter().collect(), "{length} bytes");
    }
    for text in ["version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA", "nonsense", "version: -1\ntopic_id: x"] {
        let (_copy, report) = damaged("plain", "partition.metadata", |bytes| *bytes = text.into());
        assert_eq!(kinds(&report, Severity::Error), [("content", 1)].into_iter().collect(), "{text}");
    }
}

#[test]
fn leader_epochs_that_contradict_the_batches_are_found() {
    let file = "leader-epoch-checkpoint";
    let sound = String::from_utf8(contents(&Case::named("leader-epochs").log())[file].clone()).expect("text");
    let lines: Vec<&str> = sound.lines().skip(2).collect();
    assert!(lines.len() > 4);
    let text = |lines: &[String]| format!("0\n{}\n{}\n", lines.len(), lines.join("\n"));
    let owned: Vec<String> = lines.iter().map(|line| line.to_string()).collect();
    let field =
        |line: &str, at: usize| line.split(' ').nth(at).and_then(|word| word.parse::<u64>().ok()).expect("a number");
    let (epoch, start) = (field(lines[2], 0), field(lines[2], 1));
    for (change, kind) in [
        (format!("{} {start}", epoch + 1), "leader_epoch"),
        (format!("{epoch} {}", start + 1), "leader_epoch"),
        (format!("{epoch} {}", start - 1), "leader_epoch"),
        (format!("0 {start}"), "content"),
        (format!("{epoch} 0"), "content"),
        ("x y".to_string(), "content"),
    ] {
        let mut lines = owned.clone();
        lines[2] = change.clone();
        let (_copy, report) = damaged("leader-epochs", file, |bytes| *bytes = text(&lines).into());
        assert!(!of_kind(&report, kind).is_empty() && !report.is_clean(), "{change}: {}", report.to_json());
    }
    let mut lines = owned;
    lines.push("2000000 99999999".to_string());
    let (_copy, report) = damaged("leader-epochs", file, |bytes| *bytes = text(&lines).into());
    assert_eq!(kinds(&report, Severity::Warning), [("contradiction", 1)].into_iter().collect());
    let (_copy, report) = damaged("leader-epochs", file, |bytes| bytes.clear());
    assert_eq!(report.findings.len(), 0, "a checkpoint may be empty");
}

// Row 348.
#[test]
fn an_entry_for_several_batches_is_a_note_for_kafka_before_4_0_wrote_such() {
    let log = Case::named("plain").log();
    let index = &contents(&log)[INDEX];
    let entry = |at: usize| u32::from_be_bytes(*index[at..].first_chunk().expect("an entry"));
    let batches = Case::named("plain").values("batches.jsonl");
    // The last batch before the next entry's.
    let last = batches
        .iter()
        .filter(|batch| batch["segment"] == 0 && batch["position"].as_u64() < Some(entry(12).into()))
        .filter_map(|batch| batch["last_offset"].as_u64())
        .max()
        .expect("a batch");
    assert!(last > entry(0).into() && last < entry(8).into());
    let coarse = u32::try_from(last).expect("a small log").to_be_bytes();
    let (_copy, report) = damaged("plain", INDEX, |bytes| bytes[..4].copy_from_slice(&coarse));
    assert_eq!(kinds(&report, Severity::Note), [("coarse_index_entry", 1)].into_iter().collect());
    assert!(matches!(report.findings[0].what, FindingKind::CoarseIndexEntry { entry: 0 }));
}
