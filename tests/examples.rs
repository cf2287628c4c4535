//! The example programs, run as a user runs them: with real input, with nonsense, and on directories in any state.
//!
//! What `dump` makes of Kafka's directories is compared in `dump_golden.rs`; what survives `kill -9`, in `kill.rs`; what
//! `sendfile_server` sends, in `sendfile_server.rs`; what `tail` prints, in `tail.rs`.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this prepares directories")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

use std::path::Path;
use std::process::{Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kstore::{Log, LogConfig, Record};
use serde_json::{Value, json};
use support::golden::contents;
use support::programs::{complaint, lines, program, run};
use tempfile::tempdir;

mod support;

type MaybeBytes = Option<Vec<u8>>;

fn ingest(dir: &Path, options: &[&str], input: &[u8]) -> Output {
    run(program("ingest").arg(dir).args(options), input)
}

fn dump(dir: &Path, options: &[&str]) -> Output {
    run(program("dump").arg(dir).args(options), b"")
}

/// The one JSON line that `ingest` ends with.
fn summary(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", complaint(output));
    serde_json::from_str(lines(output).last().expect("a line")).expect("JSON")
}

/// Key and value of each record that `dump` printed.
fn records(output: &Output) -> Vec<(MaybeBytes, MaybeBytes)> {
    let bytes = |field: &Value| field.as_str().map(|text| STANDARD.decode(text).expect("base64"));
    let parsed = lines(output).into_iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    parsed.map(|record| (bytes(&record["key"]), bytes(&record["value"]))).collect()
}

fn values(output: &Output) -> Vec<Vec<u8>> {
    records(output).into_iter().map(|(_, value)| value.expect("a value")).collect()
}

/// The only segment of a small log.
fn segment(dir: &Path) -> std::path::PathBuf {
    dir.join("00000000000000000000.log")
}

#[test]
fn quickstart_goes_on_where_it_ended() {
    let folder = tempdir().expect("a temporary folder");
    for first in [0, 2] {
        let output = run(program("quickstart").current_dir(&folder), b"");
        assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
        assert!(lines(&output)[0].starts_with(&format!("{first} -> ")), "{:?}", lines(&output));
    }
}

#[test]
fn ingest_makes_each_line_a_record_whatever_bytes_it_has() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    let told = summary(&ingest(&dir, &["--batch-records", "2"], b"one\n\n\xff\x00\r\nlast without newline"));
    assert_eq!([&told["count"], &told["first_offset"], &told["last_offset"]], [&json!(4), &json!(0), &json!(3)]);
    assert_eq!(told["bytes"], 3 + 3 + 20);
    assert!(told["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.0));
    let told = summary(&ingest(&dir, &[], b"five\n"));
    assert_eq!([&told["first_offset"], &told["last_offset"]], [&json!(4), &json!(4)]);
    let found = values(&dump(&dir, &[]));
    assert_eq!(found, [&b"one"[..], b"", b"\xff\x00\r", b"last without newline", b"five"]);
}

#[test]
fn ingest_of_nothing_names_no_offset() {
    let folder = tempdir().expect("a temporary folder");
    let output = ingest(&folder.path().join("log"), &["--acks"], b"");
    assert_eq!(lines(&output).len(), 1);
    let told = summary(&output);
    assert_eq!([&told["count"], &told["first_offset"], &told["last_offset"]], [&json!(0), &Value::Null, &Value::Null]);
}

#[test]
fn ingest_splits_keys_off_at_the_first_separator_only() {
    let folder = tempdir().expect("a temporary folder");
    for (number, separator) in [":", "é"].into_iter().enumerate() {
        let dir = folder.path().join(number.to_string());
        let input = "a:b:c\n:empty key\nno key\nk:\n".replace(':', separator);
        summary(&ingest(&dir, &["--key-separator", separator], input.as_bytes()));
        let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
        let found: Vec<_> =
            records(&dump(&dir, &[])).into_iter().map(|(key, value)| (text(key), text(value))).collect();
        let expected = [(Some("a"), format!("b{separator}c")), (Some(""), "empty key".into()), (None, "no key".into())];
        let expected = expected.into_iter().chain([(Some("k"), String::new())]);
        let expected: Vec<_> = expected.map(|(key, value)| (key.map(str::to_owned), Some(value))).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn ingest_acknowledges_each_batch_in_every_mode_and_codec() {
    let folder = tempdir().expect("a temporary folder");
    let input: Vec<u8> = (0..100).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        for mode in ["write", "preallocated"] {
            let dir = folder.path().join(format!("{codec}-{mode}"));
            let options = ["--compression", codec, "--write-mode", mode, "--batch-records", "30", "--acks", "--sync"];
            let output = ingest(&dir, &options, &input);
            if !cfg!(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd")) && codec != "none" {
                continue;
            }
            assert_eq!(summary(&output)["count"], 100);
            let acks = lines(&output)[..4].join(" ");
            assert_eq!(acks, r#"{"next_offset":30} {"next_offset":60} {"next_offset":90} {"next_offset":100}"#);
            let batches = dump(&dir, &["--batches"]);
            assert_eq!(lines(&batches).len(), 4);
            assert!(lines(&batches).iter().all(|line| line.contains(&format!(r#""compression":"{codec}""#))));
            assert_eq!(values(&dump(&dir, &[])).len(), 100);
        }
    }
}

#[test]
fn ingest_keeps_batches_within_small_segments() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    let input = "a line of thirty characters...\n".repeat(500);
    summary(&ingest(&dir, &["--segment-bytes", "1000"], input.as_bytes()));
    let segments = contents(&dir).into_iter().filter(|(name, _)| name.ends_with(".log"));
    let sizes: Vec<usize> = segments.map(|(_, bytes)| bytes.len()).collect();
    assert!(sizes.len() > 10 && sizes.iter().all(|&size| size <= 1000), "{sizes:?}");
    assert_eq!(values(&dump(&dir, &[])).len(), 500);
    let too_long = ingest(&dir, &["--segment-bytes", "1000"], &[b'x'; 2000]);
    assert_eq!(too_long.status.code(), Some(1));
    assert!(complaint(&too_long).contains("exceeds the limit of 1000"), "{}", complaint(&too_long));
}

#[test]
fn a_wrong_call_ends_with_status_1_and_says_why() {
    let folder = tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, b"no directory").expect("a new file");
    let dir = folder.path().join("log");
    summary(&ingest(&dir, &[], b"one\ntwo\n"));
    let file = file.to_str().expect("UTF-8");
    let log = dir.to_str().expect("UTF-8");
    let folder = folder.path().to_str().expect("UTF-8");
    for (name, arguments, why) in [
        ("ingest", vec![], "<DIR>"),
        ("ingest", vec![log, "--compression", "brotli"], "brotli"),
        ("ingest", vec![log, "--batch-records", "0"], "--batch-records"),
        ("ingest", vec![log, "--segment-bytes", "13"], "segment_bytes"),
        ("ingest", vec![log, "--key-separator", "ab"], "--key-separator"),
        ("ingest", vec![file], "not a directory"),
        ("ingest", vec![folder], "no segment"),
        ("dump", vec![], "<DIR>"),
        ("dump", vec![log, "--nonsense"], "--nonsense"),
        ("dump", vec![log, "--from", "-1"], "-1"),
        ("dump", vec![log, "--from", "3"], "offset 3 is outside the log, which reaches from 0 to 2"),
        ("dump", vec![log, "--from", "18446744073709551615"], "outside the log"),
        ("dump", vec![log, "--batches", "--from", "3"], "outside the log"),
        ("dump", vec![file], "Not a directory"),
        ("dump", vec![folder], "no segment"),
        ("dump", vec!["there/is/no/such/log"], "No such file"),
        ("event_book", vec![file], "not a directory"),
        ("event_book", vec![log], "no such event"),
        ("sendfile_server", vec![], "<DIR>"),
        ("sendfile_server", vec![file], "not a directory"),
        ("sendfile_server", vec![folder], "no segment"),
        ("sendfile_server", vec![log, "--listen", "nowhere"], "--listen"),
        ("sendfile_server", vec![log, "--listen", "192.0.2.1:9"], "listening on 192.0.2.1:9"),
    ] {
        let output = run(program(name).args(&arguments), b"");
        assert_eq!(output.status.code(), Some(1), "{name} {arguments:?}: {}", complaint(&output));
        assert!(complaint(&output).contains(why), "{name} {arguments:?}: {}", complaint(&output));
        assert!(output.stdout.is_empty(), "{name} {arguments:?}");
    }
}

#[test]
fn dump_ends_before_its_bound_and_begins_within_a_batch() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    let input: Vec<u8> = (0..10).flat_map(|number| format!("{number}\n").into_bytes()).collect();
    summary(&ingest(&dir, &["--batch-records", "4"], &input));
    assert_eq!(values(&dump(&dir, &["--from", "3", "--to", "6"])), [b"3", b"4", b"5"]);
    assert_eq!(values(&dump(&dir, &["--from", "10"])), Vec::<Vec<u8>>::new());
    assert_eq!(values(&dump(&dir, &["--to", "0"])), Vec::<Vec<u8>>::new());
    assert_eq!(values(&dump(&dir, &["--to", "1000"])).len(), 10);
    let bounds = |output: Output| -> Vec<(u64, u64)> {
        let parsed = lines(&output).into_iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let number = |field: &Value| field.as_u64().expect("an offset");
        parsed.map(|batch| (number(&batch["base_offset"]), number(&batch["last_offset"]))).collect()
    };
    assert_eq!(bounds(dump(&dir, &["--batches", "--from", "5"])), [(4, 7), (8, 9)]);
    assert_eq!(bounds(dump(&dir, &["--batches", "--from", "5", "--to", "8"])), [(4, 7)]);
}

#[test]
fn dump_of_an_empty_directory_prints_nothing() {
    let folder = tempdir().expect("a temporary folder");
    for options in [&[][..], &["--batches"]] {
        let output = dump(folder.path(), options);
        assert_eq!((output.status.code(), lines(&output).len()), (Some(0), 0));
    }
    assert!(contents(folder.path()).is_empty());
}

#[test]
fn dump_reads_what_another_program_is_writing() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    let log = Log::open(&dir, LogConfig::default()).expect("a new log");
    log.append(&[Record::value("first"), Record::value("second")]).expect("room");
    // The writer is in the middle of its next batch.
    let whole = std::fs::read(segment(&dir)).expect("a readable file");
    let unfinished = [&whole[..], &whole[..30]].concat();
    std::fs::write(segment(&dir), unfinished).expect("a writable file");
    let output = dump(&dir, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    assert_eq!(values(&output), [&b"first"[..], b"second"]);
    for name in ["ingest", "event_book"] {
        let second = run(program(name).arg(&dir), b"x\n");
        assert_eq!(second.status.code(), Some(1));
        assert!(complaint(&second).contains("is already open"), "{}", complaint(&second));
    }
}

#[test]
fn dump_says_what_is_damaged_and_goes_on_behind_it_if_told_to() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    let input: Vec<u8> = (10..70).flat_map(|number| format!("{number}\n").into_bytes()).collect();
    summary(&ingest(&dir, &["--batch-records", "10"], &input));
    let mut bytes = std::fs::read(segment(&dir)).expect("a readable file");
    let batch = bytes.len() / 6;
    // One byte of the third batch, one of the fourth, and the last batch cut short.
    for at in [2 * batch + 80, 3 * batch + 80] {
        bytes[at] ^= 1;
    }
    bytes.truncate(bytes.len() - 3);
    std::fs::write(segment(&dir), &bytes).expect("a writable file");
    let before = contents(&dir);

    let ended = dump(&dir, &[]);
    assert_eq!((ended.status.code(), values(&ended).len()), (Some(2), 20));
    assert!(
        complaint(&ended).contains(&format!("00000000000000000000.log is damaged at byte {}: the checksum", 2 * batch))
    );

    let skipped = dump(&dir, &["--skip-damaged"]);
    assert_eq!((skipped.status.code(), values(&skipped).len()), (Some(2), 30), "{}", complaint(&skipped));
    let told = complaint(&skipped);
    assert!(told.contains("goes on at offset 40, nothing was found from 20 on"), "{told}");
    assert!(told.contains(&format!("damaged at byte {}", 5 * batch)), "{told}");

    let checksums = |output: &Output| -> String {
        lines(output).iter().map(|line| if line.ends_with(r#""crc_ok":true}"#) { '+' } else { '-' }).collect()
    };
    assert_eq!(checksums(&dump(&dir, &["--batches", "--skip-damaged"])), "++--+");
    let ended = dump(&dir, &["--batches"]);
    assert_eq!((ended.status.code(), checksums(&ended).as_str()), (Some(2), "++-"));
    assert!(contents(&dir) == before, "dump changed the directory");
}

#[test]
fn dump_goes_on_behind_damage_in_closed_and_in_crashed_directories() {
    let folder = tempdir().expect("a temporary folder");
    let (live, crashed) = (folder.path().join("live"), folder.path().join("crashed"));
    let log = Log::open(&live, LogConfig::default()).expect("a new log");
    for number in 10..16 {
        log.append(&[Record::value(&number.to_string())]).expect("room");
    }
    // What lies there now is what a crash would leave: nothing was synced, nothing is marked clean.
    std::fs::create_dir(&crashed).expect("a new folder");
    for (name, bytes) in contents(&live) {
        std::fs::write(crashed.join(name), bytes).expect("a new file");
    }
    log.close().expect("a healthy disk");
    for dir in [&crashed, &live] {
        let mut bytes = std::fs::read(segment(dir)).expect("a readable file");
        let batch = bytes.len() / 6;
        bytes[2 * batch + 65] ^= 1;
        std::fs::write(segment(dir), &bytes).expect("a writable file");
        let ended = dump(dir, &[]);
        assert_eq!((ended.status.code(), values(&ended).len()), (Some(2), 2), "{dir:?}");
        let skipped = dump(dir, &["--skip-damaged"]);
        assert_eq!(skipped.status.code(), Some(2));
        assert_eq!(values(&skipped), [b"10", b"11", b"13", b"14", b"15"], "{dir:?}");
        assert_eq!(lines(&dump(dir, &["--skip-damaged", "--batches"])).len(), 6, "{dir:?}");
    }
}

#[test]
fn dump_misses_the_end_of_a_log_that_was_cut_between_two_batches() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    summary(&ingest(&dir, &["--batch-records", "1"], b"10\n11\n12\n"));
    let bytes = std::fs::read(segment(&dir)).expect("a readable file");
    std::fs::write(segment(&dir), &bytes[..bytes.len() / 3 * 2]).expect("a writable file");
    let output = dump(&dir, &[]);
    assert_eq!((output.status.code(), values(&output).len()), (Some(2), 2));
    assert!(
        complaint(&output).contains("the log ends at offset 2, everything below 3 was durable"),
        "{}",
        complaint(&output)
    );
}

#[test]
fn dump_ends_quietly_when_nobody_reads_on() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    summary(&ingest(&dir, &[], "a line that fills the pipe\n".repeat(20_000).as_bytes()));
    let mut child = program("dump").arg(&dir).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), complaint(&output)), (Some(0), ""));
}

#[test]
fn event_book_keeps_its_balance_from_run_to_run() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("bank");
    for (run_number, events) in [(0, "10"), (1, "3000"), (2, "0")] {
        let output = run(program("event_book").arg(&dir).args(["--events", events]), b"");
        assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
        assert!(
            lines(&output).iter().filter(|line| line.ends_with("10000 in all")).count() == 2,
            "{:?}",
            lines(&output)
        );
        assert_eq!(lines(&output)[0].starts_with("found a snapshot"), run_number > 0);
    }
    // Without the snapshot, the events tell everything; with a wrong one, they are believed.
    let snapshot = folder.path().join("bank.snapshot");
    let line = std::fs::read_to_string(&snapshot).expect("a snapshot");
    std::fs::remove_file(&snapshot).expect("it is there");
    let output = run(program("event_book").arg(&dir).args(["--events", "0"]), b"");
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    assert_eq!(std::fs::read_to_string(&snapshot).expect("a snapshot"), line);
    std::fs::write(&snapshot, "3010 1 2 3").expect("a writable file");
    let output = run(program("event_book").arg(&dir), b"");
    assert_eq!(output.status.code(), Some(1), "a snapshot that does not balance is refused");
    assert!(complaint(&output).contains("bank.snapshot"), "{}", complaint(&output));
}

fn verify(dir: &Path, options: &[&str]) -> Output {
    run(program("verify").arg(dir).args(options), b"")
}

/// The lines of `verify`: findings, and the whole.
fn verdict(output: &Output) -> (Vec<Value>, Value) {
    let mut parsed: Vec<Value> =
        lines(output).into_iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let whole = parsed.pop().expect("a last line");
    (parsed, whole)
}

#[test]
fn verify_tells_sound_torn_and_damaged_logs_apart() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    let input: Vec<u8> = (10..70).flat_map(|number| format!("{number}\n").into_bytes()).collect();
    summary(&ingest(&dir, &["--batch-records", "10"], &input));
    let before = contents(&dir);
    let sound = verify(&dir, &["--strict"]);
    let (findings, whole) = verdict(&sound);
    assert_eq!((sound.status.code(), findings.len()), (Some(0), 0), "{findings:?}");
    assert_eq!([&whole["clean"], &whole["batches"], &whole["records"]], [&json!(true), &json!(6), &json!(60)]);
    assert_eq!(whole["dir"].as_str(), dir.canonicalize().expect("a folder").to_str());
    assert!(contents(&dir) == before, "verify changed the directory");

    let mut bytes = std::fs::read(segment(&dir)).expect("a readable file");
    let batch = bytes.len() / 6;
    for at in [2 * batch + 80, 4 * batch + 80] {
        bytes[at] ^= 1;
    }
    std::fs::write(segment(&dir), &bytes).expect("a writable file");
    let damaged = verify(&dir, &[]);
    let (findings, whole) = verdict(&damaged);
    assert_eq!((damaged.status.code(), &whole["errors"]), (Some(1), &json!(2)), "{findings:?}");
    let positions: Vec<_> = findings.iter().map(|finding| finding["position"].as_u64()).collect();
    assert_eq!(positions, [Some(2 * batch as u64), Some(4 * batch as u64)]);
    assert!(findings.iter().all(|finding| finding["severity"] == "error" && finding["kind"] == "batch"));

    // Nobody says what was durable, and the last batch is cut short: that is what a crash leaves.
    std::fs::remove_file(dir.join("kstore.state")).expect("it is there");
    std::fs::write(segment(&dir), &before["00000000000000000000.log"][..6 * batch - 3]).expect("a writable file");
    let torn = verify(&dir, &[]);
    assert_eq!((torn.status.code(), verdict(&torn).0[0]["kind"].as_str()), (Some(0), Some("torn_tail")));
    assert_eq!(verify(&dir, &["--strict"]).status.code(), Some(1));
}

#[test]
fn verify_reads_live_directories_and_refuses_nonsense() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    let log = Log::open(&dir, LogConfig::default()).expect("a new log");
    log.append(&[Record::value("first")]).expect("room");
    let name = std::ffi::OsStr::from_bytes(b"strange \"\xff\n");
    std::fs::write(dir.join(name), b"?").expect("a new file");
    let output = verify(&dir, &["--strict"]);
    let (findings, whole) = verdict(&output);
    assert_eq!((output.status.code(), &whole["live"]), (Some(0), &json!(true)), "{findings:?}");
    assert_eq!((findings.len(), &findings[0]["kind"]), (1, &json!("foreign_file")));
    assert!(findings[0]["path_bytes"].as_str().is_some_and(|bytes| bytes.ends_with("2022ff0a")), "{findings:?}");

    let file = folder.path().join("file");
    std::fs::write(&file, b"no directory").expect("a new file");
    for (arguments, why) in [
        (vec![], "<DIR>"),
        (vec![dir.as_os_str(), std::ffi::OsStr::new("--nonsense")], "--nonsense"),
        (vec![file.as_os_str()], "Not a directory"),
        (vec![folder.path().as_os_str()], "no segment"),
        (vec![std::ffi::OsStr::new("there/is/no/such/log")], "No such file"),
    ] {
        let output = run(program("verify").args(&arguments), b"");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(complaint(&output).contains(why), "{arguments:?}: {}", complaint(&output));
        assert!(output.stdout.is_empty());
    }
}
