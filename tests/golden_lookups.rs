//! What kstore answers to questions about time in the directories that Kafka wrote, compared with what Kafka answers.
//!
//! Of the lines in `lookups.jsonl` those about leader epochs and aborted transactions are none of this file's business.
//! The invariant it owns: where kstore answers otherwise than Kafka, the line stands here by name, and kstore's answer
//! is the first record as late as asked that Kafka itself reads.

#![cfg(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]
#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this prepares directories")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

use kstore::{Error, Log, LogConfig, Offset, Reader, Timestamp};
use serde_json::{Value, json};
use support::golden::{Case, Copy};

mod support;

/// The questions that Kafka answers with "none", for it searches one segment only, and kstore with a record of a later
/// segment, or of the same one above the log start: timestamp asked for, offset and timestamp found.
const FOUND_BY_KSTORE_ALONE: [(&str, i64, u64, i64); 8] = [
    ("compacted", 1_700_000_002_205, 426, 1_700_000_008_705),
    ("compacted", 1_700_000_010_109, 516, 1_700_000_010_504),
    ("compacted-twice", 0, 841, 1_700_000_077_173),
    ("delete-records", 0, 310, 1_700_000_002_029),
    ("leftover-cleaned", 1_700_000_002_205, 426, 1_700_000_008_705),
    ("leftover-cleaned-torn", 1_700_000_002_205, 426, 1_700_000_008_705),
    ("leftover-swap", 0, 658, 1_700_000_073_354),
    ("leftover-swap-half-deleted", 0, 658, 1_700_000_073_354),
];
/// Sound batches lie behind the damage, which Kafka cuts off: what Kafka does not find, kstore does not know.
const DAMAGED: [&str; 2] = ["flipped-bit-earlier-segment", "flipped-bit-middle"];
/// Where `kstore.state` has its two slots, what their first bytes are, how many are in use, and where in them the
/// checksum and the log start are.
const SLOTS: [usize; 2] = [0, 1536];
const SLOT_MAGIC: &[u8] = b"kstore\x1a\n";
const SLOT_BYTES: usize = 176;
const SLOT_CRC: std::ops::Range<usize> = 16..20;
const SLOT_LOG_START: std::ops::Range<usize> = 40..48;

fn is_damaged(case: &Case) -> bool {
    DAMAGED.contains(&case.name.as_str())
}

/// A log start that a checkpoint outside the directory knows, and nothing in it.
fn start_from_outside(case: &Case) -> Option<u64> {
    case.json("expected.json")["checkpoint_log_start_offset"].as_u64().filter(|&start| start > 0)
}

/// As the golden directories were written: many small segments, many index entries.
fn open(copy: &Copy, case: &Case) -> Log {
    let config = LogConfig::default().segment_bytes(16 << 10).index_interval_bytes(512);
    Log::open(copy.path(), config).unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

/// Kafka's answers, of an opening that trusts the indexes and of one that does not.
fn answers(case: &Case) -> Vec<Value> {
    let mut answers = case.values("lookups.jsonl");
    if case.has("lookups-recovered.jsonl") {
        answers.extend(case.values("lookups-recovered.jsonl"));
    }
    answers
}

/// What Kafka answers to a timestamp: offset and timestamp.
fn kafkas(line: &Value) -> Option<(u64, i64)> {
    Some((line["offset"].as_u64()?, line["found_timestamp"].as_i64()?))
}

/// Every record that Kafka reads: offset and timestamp.
fn records(case: &Case) -> Vec<(u64, i64)> {
    let lines = case.values("records.jsonl");
    lines.iter().map(|line| (line["offset"].as_u64().unwrap(), line["timestamp"].as_i64().unwrap())).collect()
}

fn found(answer: Option<(Offset, Timestamp)>) -> Option<(u64, i64)> {
    answer.map(|(offset, timestamp)| (offset.value(), timestamp.as_millis()))
}

/// Asks everything that Kafka was asked. Says to which timestamps Kafka has no answer and kstore has.
fn ask_all(case: &Case, reader: &Reader) -> Vec<(String, i64, u64, i64)> {
    let records = records(case);
    let mut alone = Vec::new();
    for line in &answers(case) {
        if let Some(millis) = line.get("timestamp").and_then(Value::as_i64) {
            let answer = reader.offset_for_timestamp(Timestamp::from_millis(millis));
            if is_damaged(case) && kafkas(line).is_none() {
                assert!(matches!(answer, Err(Error::Corrupt { .. })), "{}: {line}: {answer:?}", case.name);
                continue;
            }
            let answer = found(answer.unwrap_or_else(|error| panic!("{}: {line}: {error}", case.name)));
            let first = records.iter().copied().find(|&(_, timestamp)| timestamp >= millis);
            assert_eq!(answer, first, "{}: {line}, of the records that Kafka reads", case.name);
            match (answer, kafkas(line)) {
                (Some((offset, timestamp)), None) => alone.push((case.name.clone(), millis, offset, timestamp)),
                (answer, kafkas) => assert_eq!(answer, kafkas, "{}: {line}", case.name),
            }
        } else if line.get("earliest").is_some() && !is_damaged(case) {
            let largest = reader.max_timestamp().unwrap_or_else(|error| panic!("{}: {error}", case.name));
            let answer = json!({
                "earliest": reader.log_start_offset().value(),
                "latest": reader.log_end_offset().value(),
                "max_timestamp": found(largest).map(|(offset, timestamp)| json!({"timestamp": timestamp, "offset": offset})),
            });
            assert_eq!(&answer, line, "{}", case.name);
        }
    }
    alone.sort();
    alone.dedup();
    alone
}

fn named(of: impl Fn(&str) -> bool) -> Vec<(String, i64, u64, i64)> {
    let all = FOUND_BY_KSTORE_ALONE.into_iter().filter(|(name, ..)| of(name));
    all.map(|(name, asked, offset, timestamp)| (name.to_string(), asked, offset, timestamp)).collect()
}

/// Tells a log that was opened for writing where it begins, as deleting records would.
fn move_start(copy: &Copy, start: u64) {
    let path = copy.path().join("kstore.state");
    let mut bytes = std::fs::read(&path).expect("a state");
    for slot in SLOTS.map(|at| at..at + SLOT_BYTES) {
        let slot = &mut bytes[slot];
        if slot.starts_with(SLOT_MAGIC) {
            slot[SLOT_LOG_START].copy_from_slice(&start.to_be_bytes());
            let crc = crc32c::crc32c_append(crc32c::crc32c(&slot[..SLOT_CRC.start]), &slot[SLOT_CRC.end..]);
            slot[SLOT_CRC].copy_from_slice(&crc.to_be_bytes());
        }
    }
    std::fs::write(path, bytes).expect("a state");
}

// Rows 116, 242, 243.
#[test]
fn a_reader_finds_by_time_what_kafka_finds() {
    let mut alone = Vec::new();
    for case in Case::all().iter().filter(|case| start_from_outside(case).is_none()) {
        let copy = case.copy();
        let reader = Log::open_read_only(copy.path()).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        alone.extend(ask_all(case, &reader));
    }
    assert_eq!(alone, named(|name| name != "delete-records"));
}

// Rows 116, 120, 242, 243.
#[test]
fn a_log_of_kafkas_opened_for_writing_finds_by_time_what_kafka_finds_with_its_indexes_made_anew_and_again_later() {
    let (mut at_once, mut later) = (Vec::new(), Vec::new());
    for case in Case::all().iter().filter(|case| !is_damaged(case)) {
        let copy = case.copy();
        let log = open(&copy, case);
        let start = start_from_outside(case);
        if start.is_none() {
            at_once.extend(ask_all(case, &log.reader()));
        }
        log.close().expect(&case.name);
        if let Some(start) = start {
            move_start(&copy, start);
        }
        let log = open(&copy, case);
        later.extend(ask_all(case, &log.reader()));
        log.close().expect(&case.name);
        let reader = Log::open_read_only(copy.path()).expect(&case.name);
        ask_all(case, &reader);
    }
    assert_eq!(at_once, named(|name| name != "delete-records"));
    assert_eq!(later, named(|_| true));
}
