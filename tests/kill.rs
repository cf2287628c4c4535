//! `kill -9` in the middle of writing, several times over: what was acknowledged before is there afterwards.
//!
//! The programs are real and so is the disk; that a power cut takes nothing either is shown on the simulated one.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is about programs")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use support::programs::{complaint, lines, program, run};
use tempfile::tempdir;

mod support;

const ROUNDS: u64 = 4;

/// Numbers its lines for as long as somebody reads them; the lines of later rounds go on where the log ended.
fn feed(mut stdin: ChildStdin, first: u64) {
    std::thread::spawn(move || {
        let mut number = first;
        let mut chunk = Vec::new();
        loop {
            chunk.clear();
            for _ in 0..1000 {
                writeln!(chunk, "line number {number}").expect("writing to memory succeeds");
                number += 1;
            }
            if stdin.write_all(&chunk).is_err() {
                return;
            }
        }
    });
}

/// Kills the program once it has acknowledged a few batches, and returns the last offset that it acknowledged.
fn kill_after_acks(child: &mut Child, least: u64, pause: Duration) -> u64 {
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    let mut end = 0;
    let mut seen = 0;
    loop {
        line.clear();
        // What is still in the pipe was acknowledged before the kill, too. A torn last line was not.
        if output.read_line(&mut line).expect("a readable pipe") == 0 || !line.ends_with('\n') {
            break;
        }
        let ack: Value = serde_json::from_str(&line).expect("JSON");
        end = ack["next_offset"].as_u64().expect("an acknowledgement");
        seen += 1;
        if seen == least {
            std::thread::sleep(pause);
            child.kill().expect("it still runs");
        }
    }
    child.wait().expect("it was killed");
    assert!(seen >= least, "only {seen} batches were acknowledged");
    end
}

/// Every line from the first to `end`, and whole ones behind, in order.
fn assert_all_there(dir: &Path, end: u64) -> u64 {
    let output = run(program("dump").arg(dir), b"");
    assert!(matches!(output.status.code(), Some(0 | 2)), "{}", complaint(&output));
    let found = lines(&output);
    for (number, line) in found.iter().enumerate() {
        let record: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(record["offset"], number);
        let value = STANDARD.decode(record["value"].as_str().expect("a value")).expect("base64");
        assert_eq!(String::from_utf8(value).expect("UTF-8"), format!("line number {number}"));
    }
    let found = found.len() as u64;
    assert!(found >= end, "{end} lines were acknowledged, {found} are there");
    found
}

fn rounds(options: &[&str]) {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    let mut next = 0;
    for round in 0..ROUNDS {
        let mut child = program("ingest")
            .arg(&dir)
            .args(["--acks", "--batch-records", "100", "--segment-bytes", "100000"])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        feed(child.stdin.take().expect("a pipe"), next);
        let end = kill_after_acks(&mut child, 5 + 7 * round, Duration::from_millis(3 * round));
        let found = assert_all_there(&dir, end);
        // Opening for writing recovers, and takes nothing away; what was left of a torn batch is gone.
        let recovered = run(program("ingest").arg(&dir).args(options), b"");
        assert_eq!(recovered.status.code(), Some(0), "{}", complaint(&recovered));
        next = assert_all_there(&dir, end);
        assert_eq!(next, found, "recovery found other records than a reader did");
        assert_eq!(run(program("dump").arg(&dir), b"").status.code(), Some(0));
    }
}

#[test]
fn a_killed_ingest_has_what_it_acknowledged() {
    rounds(&[]);
}

#[test]
fn a_killed_ingest_that_allocates_ahead_has_what_it_acknowledged() {
    rounds(&["--write-mode", "preallocated"]);
}

#[test]
fn a_killed_ingest_that_stores_into_a_map_has_what_it_acknowledged() {
    rounds(&["--write-mode", "mapped"]);
}

#[test]
fn a_killed_ingest_that_syncs_has_what_it_acknowledged() {
    rounds(&["--sync"]);
}

#[test]
fn a_killed_ingest_that_allocates_ahead_and_syncs_has_what_it_acknowledged() {
    rounds(&["--sync", "--write-mode", "preallocated"]);
}

#[test]
fn a_killed_event_book_still_balances() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("bank");
    for round in 0..ROUNDS {
        let mut child = program("event_book")
            .arg(&dir)
            .args(["--events", "1000000000"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let rebuilt = output.by_ref().map_while(Result::ok).find(|line| line.starts_with("rebuilt"));
        assert!(rebuilt.is_some_and(|line| line.ends_with("10000 in all")), "round {round}");
        std::thread::sleep(Duration::from_millis(50 + 70 * round));
        child.kill().expect("it still runs");
        child.wait().expect("it was killed");
    }
    let output = run(program("event_book").arg(&dir).args(["--events", "100"]), b"");
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
}
