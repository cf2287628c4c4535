//! The example `tail`, run as a user runs it: on the log of another process, on a log of its own, and with nonsense.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this prepares directories")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

use std::fs::File;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kstore::{Log, LogConfig, Offset, Record, Timestamp};
use serde_json::Value;
use support::golden::contents;
use support::programs::{complaint, lines, program, run};
use tempfile::tempdir;

mod support;

#[path = "../examples/tail/rfc3339.rs"]
mod rfc3339;

/// Runs `tail` on a log of its own, which ends with its input.
fn tail_own(dir: &Path, cursor: &str, input: &str) -> Output {
    run(program("tail").arg(dir).args(["--cursor", cursor]), input.as_bytes())
}

/// Offset and value of a line.
fn record(line: &str) -> (u64, String) {
    let record: Value = serde_json::from_str(line).expect("JSON");
    let value = STANDARD.decode(record["value"].as_str().expect("a value")).expect("base64");
    (record["offset"].as_u64().expect("an offset"), String::from_utf8(value).expect("UTF-8"))
}

fn printed(output: &Output) -> Vec<(u64, String)> {
    assert_eq!(output.status.code(), Some(0), "{}", complaint(output));
    lines(output).into_iter().map(record).collect()
}

/// The records `from..to`, where the record at each offset has it as its value.
fn numbers(from: u64, to: u64) -> Vec<(u64, String)> {
    (from..to).map(|number| (number, number.to_string())).collect()
}

/// A `tail` that runs while a test goes on.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    printed: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(dir: &Path, options: &[&str]) -> Running {
        let mut command = program("tail");
        let command = command.arg(dir).args(options).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let printed = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Running { stdin: child.stdin.take(), child, printed }
    }

    fn feed(&mut self, lines: &str) {
        self.stdin.as_mut().expect("it is open").write_all(lines.as_bytes()).expect("it reads");
    }

    fn next(&mut self) -> (u64, String) {
        record(&self.printed.next().expect("a line").expect("UTF-8"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("it was killed");
    }
}

#[test]
fn what_another_process_appends_is_printed_as_dump_does_until_nobody_reads() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    let log = Log::open(&dir, LogConfig::default().segment_bytes(2000)).expect("a new log");
    log.append(&[Record::value("0"), Record::value("1")]).expect("there is room");
    let mut child = program("tail").arg(&dir).args(["--from", "1"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut printed = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = || {
        let mut line = String::new();
        printed.read_line(&mut line).expect("UTF-8");
        line
    };
    let mut seen = line();
    for number in 2..200 {
        log.append(&[Record::new(&number.to_string(), "value")]).expect("there is room");
        if number % 60 == 0 {
            log.sync().expect("a healthy disk");
        }
    }
    for _ in 2..200 {
        seen.push_str(&line());
    }
    log.close().expect("a healthy disk");
    drop(printed);
    let log = Log::open(&dir, LogConfig::default()).expect("the log");
    log.append(&[Record::value("nobody reads this")]).expect("there is room");
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "whoever reads has had enough");
    let dumped = run(program("dump").arg(&dir).args(["--from", "1", "--to", "200"]), b"");
    assert_eq!(seen, String::from_utf8(dumped.stdout).expect("UTF-8"));
}

#[test]
fn nonsense_contradictions_and_what_is_no_log_are_refused() {
    let folder = tempdir().expect("a temporary folder");
    let tail = |arguments: &[&str]| run(program("tail").args(arguments), b"");
    let dir = folder.path().to_str().expect("a plain name");
    let time = "2026-01-01T00:00:00Z";
    for nonsense in [
        &[][..],
        &[dir, "--from", "x"],
        &[dir, "--no-such-flag"],
        &[dir, "--from"],
        &[dir, "--from-time", "yesterday"],
        &[dir, "--from-time", "2026-01-01"],
        &[dir, "--from", "1", "--from-time", time],
        &[dir, "--from", "1", "--cursor", "c"],
        &[dir, "--from-time", time, "--cursor", "c"],
    ] {
        let output = tail(nonsense);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{nonsense:?}");
        assert!(!complaint(&output).is_empty());
    }
    assert!(contents(folder.path()).is_empty(), "a wrong call makes no log");
    assert!(complaint(&tail(&[dir, "--from-time", "1"])).contains("2026-03-01T12:00:00Z"), "it says what is expected");
    let missing = tail(&[&format!("{dir}/missing")]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(complaint(&missing).starts_with("tail: "), "{}", complaint(&missing));
    let outside = tail(&[dir, "--from", "7"]);
    assert_eq!((outside.status.code(), outside.stdout.len()), (Some(1), 0), "{}", complaint(&outside));
    let nameless = tail(&[&format!("{dir}/log"), "--cursor", ""]);
    assert_eq!(nameless.status.code(), Some(1));
    assert!(complaint(&nameless).contains("1 to 249 bytes"), "{}", complaint(&nameless));
}

#[test]
fn a_time_leads_to_the_first_record_that_is_as_late() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    let log = Log::open(&dir, LogConfig::default()).expect("a new log");
    // One second each from 2026-03-01T12:00:00Z on.
    let append = |number: u64| {
        let millis = 1_772_366_400_000 + i64::try_from(number).expect("a small number") * 1000;
        let value = number.to_string();
        log.append(&[Record::value(&value).timestamp(Timestamp::from_millis(millis))]).expect("there is room");
    };
    (0..10).for_each(append);
    for (time, first) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-03-01T12:00:00Z", 0),
        ("2026-03-01T12:00:03.0001Z", 4),
        ("2026-03-01T13:00:05+01:00", 5),
        ("2026-03-01T12:00:09z", 9),
    ] {
        let mut tail = Running::start(&dir, &["--from-time", time]);
        let found: Vec<_> = (first..10).map(|_| tail.next()).collect();
        assert_eq!(found, numbers(first, 10), "{time}");
    }
    // Nothing is that late yet: it waits for what comes, and takes no lock meanwhile.
    let mut tail = Running::start(&dir, &["--from-time", "2026-03-01T12:00:09.999999999Z"]);
    let mut others = Running::start(&dir, &["--from", "9"]);
    assert_eq!(others.next(), (9, "9".to_owned()));
    (10..1000).for_each(append);
    let (first, _) = tail.next();
    assert!(first >= 10, "the end was looked up before the appends or among them");
    let rest: Vec<_> = (first + 1..1000).map(|_| tail.next()).collect();
    assert_eq!(rest, numbers(first + 1, 1000));
}

#[test]
fn a_cursor_goes_on_where_the_last_run_ended_and_each_name_is_one_of_its_own() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    assert_eq!(printed(&tail_own(&dir, "a", "0\n1\n2")), numbers(0, 3));
    assert_eq!(printed(&tail_own(&dir, "a", "")), []);
    assert_eq!(printed(&tail_own(&dir, "a", "3\n4\n")), numbers(3, 5));
    let many: String = (5..50_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(printed(&tail_own(&dir, "b", &many)), numbers(0, 50_000));
    assert_eq!(printed(&tail_own(&dir, "a", "")), numbers(5, 50_000));
    let log = Log::open(&dir, LogConfig::default()).expect("the log");
    for cursor in log.cursors().expect("a healthy disk") {
        assert_eq!(cursor.next_offset, Offset::new(50_000), "{}", cursor.name);
    }
}

#[test]
fn lines_are_printed_as_they_come_and_after_a_kill_none_is_missing() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    let mut seen = 0;
    let mut fed = 0;
    for round in 0..4 {
        let mut tail = Running::start(&dir, &["--cursor", "printer"]);
        // What was printed last may not have been committed, and comes again; what is printed is what follows.
        for _ in 0..25 * (round + 1) {
            tail.feed(&format!("{fed}\n"));
            fed += 1;
            while seen < fed {
                let (offset, value) = tail.next();
                assert_eq!(value, offset.to_string());
                assert!(offset <= seen, "{offset} was printed, and not {seen}");
                seen = seen.max(offset + 1);
            }
        }
    }
    let rest = printed(&tail_own(&dir, "printer", ""));
    assert!(rest.first().is_none_or(|(first, _)| *first <= seen), "{rest:?} after {seen}");
    assert!(rest.iter().map(|(offset, value)| (offset.to_string(), value)).all(|(offset, value)| offset == *value));
    assert_eq!(rest.last().map_or(seen, |(last, _)| last + 1), fed, "{rest:?}");
}

#[test]
fn what_could_not_be_printed_is_not_committed() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    let full = File::options().write(true).open("/dev/full").expect("it is always there");
    let mut command = program("tail");
    let command = command.arg(&dir).args(["--cursor", "a"]).stdin(Stdio::piped()).stdout(full).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"0\n1\n").expect("it reads");
    // It ends although its input does not.
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("standard output: No space left"), "{}", complaint(&output));
    drop(stdin);
    assert_eq!(printed(&tail_own(&dir, "a", "")), numbers(0, 2));
}

#[test]
fn a_log_that_is_open_and_a_line_too_long_are_refused() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    let log = Log::open(&dir, LogConfig::default()).expect("a new log");
    let second = tail_own(&dir, "a", "x\n");
    assert_eq!(second.status.code(), Some(1));
    assert!(complaint(&second).contains("is already open"), "{}", complaint(&second));
    log.close().expect("a healthy disk");
    let long = tail_own(&dir, "a", &format!("0\n{}", "x".repeat(3 << 20)));
    assert_eq!(long.status.code(), Some(1));
    assert!(complaint(&long).contains("longer than 1048576 bytes"), "{}", complaint(&long));
    assert_eq!(lines(&long).len(), 1, "what came before it is printed");
}

#[test]
fn times_are_read_as_the_standard_writes_them() {
    for (text, millis) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2000-02-29t00:00:00z", 951_782_400_000),
        ("2026-03-01T12:00:00Z", 1_772_366_400_000),
        ("2026-03-01T12:00:00+00:00", 1_772_366_400_000),
        ("2026-03-01T12:00:00-00:00", 1_772_366_400_000),
        ("2026-03-01T13:30:00+01:30", 1_772_366_400_000),
        ("2026-02-28T12:01:00-23:59", 1_772_366_400_000),
        ("2026-03-01T12:00:00.5Z", 1_772_366_400_500),
        ("2026-03-01T12:00:00.123000000000000000000000000Z", 1_772_366_400_123),
        ("2026-03-01T12:00:00.1230000000000000000000000001Z", 1_772_366_400_124),
        ("2026-03-01T12:00:00.9999Z", 1_772_366_401_000),
        // Leap seconds, one of them where clocks are eight hours behind, one where they are an hour ahead.
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2016-12-31T15:59:60-08:00", 1_483_228_800_000),
        ("2017-01-01T00:59:60+01:00", 1_483_228_800_000),
        ("0000-01-01T00:00:00Z", -62_167_219_200_000),
        ("1900-03-01T00:00:00Z", -2_203_891_200_000),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ] {
        assert_eq!(rfc3339::parse(text), Ok(Timestamp::from_millis(millis)), "{text}");
    }
}

#[test]
fn whatever_else_looks_like_a_time_is_none() {
    let whole = "2026-03-01T12:00:00.25+01:00";
    let cut = (0..whole.len()).map(|end| whole[..end].to_owned());
    let others = "
        2026-03-01 12:00:00Z|2026-03-01T12:00Z|2026-03-01T12:00:00|2026-03-01T12:00:00.Z|2026-03-01T12:00:00,5Z
        2026-00-01T12:00:00Z|2026-13-01T12:00:00Z|2026-03-00T12:00:00Z|2026-03-32T12:00:00Z|2026-04-31T12:00:00Z
        2026-02-29T12:00:00Z|1900-02-29T12:00:00Z|2024-02-30T12:00:00Z|2026-03-01T24:00:00Z|2026-03-01T12:60:00Z
        2026-03-01T12:00:61Z|2026-03-01T12:00:60Z|2016-12-31T23:59:60+01:00|2026-03-01T12:00:00+24:00
        2026-03-01T12:00:00+01:60|2026-03-01T12:00:00+0100|2026-03-01T12:00:00+01|2026-03-01T12:00:00Z+01:00
        2026-03-01T12:00:00ZZ|26-03-01T12:00:00Z|12026-03-01T12:00:00Z|+2026-03-01T12:00:00Z|-026-03-01T12:00:00Z
        2026-3-1T12:00:00Z|2026-03-01T1२:00:00Z|２026-03-01T12:00:00Z|20260301T120000Z|1772366400000|now";
    let others = others.split(['|', '\n']).map(|text| text.trim().to_owned());
    let spaces = [format!(" {whole}"), format!("{whole} "), format!("{whole}\n"), format!("{whole}\0")];
    for text in cut.chain(others).chain(spaces) {
        assert!(rfc3339::parse(&text).is_err(), "{text:?}");
    }
}
