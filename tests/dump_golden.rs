//! The example `dump` against every directory that Kafka wrote: the same lines, the right exit status, no byte changed.
//!
//! What `dump` prints is compared as text, line by line, with what Kafka's own classes printed.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this compares directories")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

use std::collections::BTreeSet;
use std::process::Output;

use support::golden::{Case, contents};
use support::programs::{complaint, lines, program, run};

mod support;

/// Cases with something torn or damaged in them. Zeros behind the last batch are none, however many.
const DAMAGED: [&str; 8] = [
    "flipped-bit-earlier-segment",
    "flipped-bit-last-batch",
    "flipped-bit-middle",
    "garbage-tail",
    "torn-in-body",
    "torn-in-header",
    "torn-in-length",
    "torn-one-byte-short",
];

#[test]
fn dump_prints_the_records_that_kafka_reads() {
    let failures = in_every_case(|case| {
        let start = case.json("expected.json")["checkpoint_log_start_offset"].as_u64().expect("an offset");
        let mut arguments = Vec::new();
        if start > 0 {
            arguments = vec!["--from".to_owned(), start.to_string()];
        }
        let expected = case.lines(first_there(case, ["records-recovered.jsonl", "records.jsonl"]));
        compare(case, &arguments, &expected)
    });
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn dump_prints_the_batches_that_lie_in_the_files() {
    let failures = in_every_case(|case| {
        let arguments = ["--batches".to_owned(), "--skip-damaged".to_owned()];
        compare(case, &arguments, &expected_batches(case))
    });
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// What Kafka found in the `.log` files. Where a `.swap` file is to replace some of them, Kafka's list is from before:
/// its batches are not in it, those that it replaces are.
fn expected_batches(case: &Case) -> Vec<String> {
    let mut expected = case.lines("batches.jsonl");
    if case.name.starts_with("leftover-swap") {
        let segments = segments(case);
        expected.retain(|line| segments.contains(&number(line, "segment")));
        let swapped_in = lines_of_the_swap(case, segments_size(case, 0));
        expected.splice(..0, swapped_in);
    }
    expected
}

/// The lines that `dump` itself prints for the `.swap` file, given its final name in a folder of its own: as many bytes
/// as the segment has after Kafka's recovery.
fn lines_of_the_swap(case: &Case, size: u64) -> Vec<String> {
    let alone = tempfile::tempdir().expect("a temporary folder");
    let name = "00000000000000000000.log";
    std::fs::copy(case.log().join(format!("{name}.swap")), alone.path().join(name)).expect("a new file");
    let output = run(program("dump").arg(alone.path()).arg("--batches"), b"");
    let found: Vec<String> = lines(&output).into_iter().map(str::to_owned).collect();
    assert_eq!(found.iter().map(|line| number(line, "size")).sum::<u64>(), size);
    found
}

fn in_every_case(check: impl Fn(&Case) -> Result<(), String>) -> Vec<String> {
    Case::all().iter().filter_map(|case| check(case).err().map(|why| format!("{}: {why}", case.name))).collect()
}

/// Runs `dump` over a copy of the case and compares lines, status, and the directory before and after.
fn compare(case: &Case, arguments: &[String], expected: &[String]) -> Result<(), String> {
    let copy = case.copy();
    let before = contents(copy.path());
    let output = run(program("dump").arg(copy.path()).args(arguments), b"");
    if contents(copy.path()) != before {
        return Err("the directory was changed".to_owned());
    }
    same_lines(&output, expected)?;
    let is_damaged = DAMAGED.contains(&case.name.as_str()) || case.name == "zero-tail";
    let status = if is_damaged { 2 } else { 0 };
    if output.status.code() != Some(status) || complaint(&output).is_empty() == is_damaged {
        return Err(format!("{}, expected {status}: {}", output.status, complaint(&output)));
    }
    Ok(())
}

fn same_lines(output: &Output, expected: &[String]) -> Result<(), String> {
    let found = lines(output);
    if let Some(at) = (0..found.len().min(expected.len())).find(|&at| found[at] != expected[at]) {
        return Err(format!("line {at}\n   found {}\nexpected {}", found[at], expected[at]));
    }
    if found.len() != expected.len() {
        return Err(format!("{} lines, expected {}: {}", found.len(), expected.len(), complaint(output)));
    }
    Ok(())
}

/// The first of two files of answers that the case has.
fn first_there(case: &Case, files: [&'static str; 2]) -> &'static str {
    if case.has(files[0]) { files[0] } else { files[1] }
}

/// The base offsets of the segments that the case has once it was opened.
fn segments(case: &Case) -> BTreeSet<u64> {
    let expected = case.json("expected.json");
    let segments = expected["segments"].as_array().expect("segments");
    segments.iter().map(|segment| segment["base_offset"].as_u64().expect("an offset")).collect()
}

fn segments_size(case: &Case, base_offset: u64) -> u64 {
    let expected = case.json("expected.json");
    let segments = expected["segments"].as_array().expect("segments");
    let segment = segments.iter().find(|segment| segment["base_offset"] == base_offset).expect("a segment");
    segment["size"].as_u64().expect("a size")
}

fn number(line: &str, field: &str) -> u64 {
    let batch: serde_json::Value = serde_json::from_str(line).expect("JSON");
    batch[field].as_u64().expect("a number")
}
