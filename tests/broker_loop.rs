//! The example `broker_loop`: counts, the logs of all its parts as others read them, kills, a full disk, and wrong calls.
//!
//! The program checks itself that everybody got everything; here the directories are read by the library's readers
//! alone, and compared. No test depends on how fast anything is.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is about programs")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use kstore::{Log, LogConfig};
use serde_json::Value;
use support::programs::{complaint, lines, program, run};
use tempfile::tempdir;

mod support;

fn broker(dir: &Path, options: &[&str]) -> Output {
    run(program("broker_loop").arg(dir).args(options), b"")
}

/// The one line of a run that went well.
fn summary(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", complaint(output));
    let [line] = lines(output)[..] else { panic!("{} lines", lines(output).len()) };
    serde_json::from_str(line).expect("JSON")
}

fn number(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap_or_else(|| panic!("{name} in {summary}"))
}

/// The values of a part's log, whose offsets have no gaps.
fn values(dir: &Path, part: &str) -> Vec<Vec<u8>> {
    let reader = Log::open_read_only(dir.join(part)).expect("a log");
    let records = reader.records(..).expect("an open log").map(|record| record.expect("a sound batch"));
    let numbered = records.zip(0..).map(|(record, offset)| {
        assert_eq!(record.offset().value(), offset, "{part}");
        record.value().expect("a value").to_vec()
    });
    numbered.collect()
}

/// That the parts have what the leader has: so many records, of each producer all and in order.
fn check(dir: &Path, parts: &[&str], records: u64) {
    let expected = values(dir, "leader");
    assert_eq!(expected.len() as u64, records);
    for part in parts {
        assert!(values(dir, part) == expected, "{part}");
    }
    let mut next = [0; 64];
    for value in &expected {
        let words: Vec<&str> = std::str::from_utf8(value).expect("UTF-8").split(' ').collect();
        let producer: usize = words[0].parse().expect("a number");
        assert_eq!(words[1], next[producer].to_string(), "of producer {producer}");
        next[producer] += 1;
    }
}

#[test]
fn every_consumer_gets_every_record_once_and_what_is_sent_again_is_refused() {
    let folder = tempdir().expect("a temporary folder");
    let parts = ["follower", "consumer-1", "consumer-2"];
    let first = summary(&broker(folder.path(), &["--records", "3001", "--producers", "3", "--consumers", "2"]));
    check(folder.path(), &parts, 3001);
    assert_eq!((number(&first, "replicated"), number(&first, "consumed")), (3001, 6002));
    assert_eq!((number(&first, "high_watermark"), number(&first, "leader_epoch")), (3001, 0));
    // 21 batches of the first producer and 20 of each other; of so many, 3, 2 and 2 lose their answer and are sent again.
    assert_eq!((number(&first, "batches"), number(&first, "duplicate_appends_refused")), (61, 7));
    // The sockets took what was sent, no byte twice: three times the leader's files.
    let stored: u64 = std::fs::read_dir(folder.path().join("leader"))
        .expect("a directory")
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".log"))
        .map(|entry| entry.metadata().expect("a file").len())
        .sum();
    assert_eq!(number(&first, "bytes_sent"), 3 * stored);

    // A later run goes on, and a consumer that is new begins at the first record.
    let second = summary(&broker(folder.path(), &["--records", "500", "--producers", "1", "--consumers", "3"]));
    check(folder.path(), &["follower", "consumer-1", "consumer-2", "consumer-3"], 3501);
    assert_eq!((number(&second, "replicated"), number(&second, "consumed")), (500, 2 * 500 + 3501));
    assert_eq!(number(&second, "leader_epoch"), 1);
}

#[test]
fn a_loop_without_records_or_without_consumers_ends_too() {
    let folder = tempdir().expect("a temporary folder");
    let none = summary(&broker(folder.path(), &["--records", "0"]));
    assert_eq!((number(&none, "records"), number(&none, "bytes_sent")), (0, 0));
    summary(&broker(folder.path(), &["--records", "7", "--consumers", "0"]));
    check(folder.path(), &["follower"], 7);
}

#[test]
fn a_run_that_is_killed_anywhere_is_gone_on_with() {
    let folder = tempdir().expect("a temporary folder");
    for pause in [1, 30, 90, 200, 350] {
        let mut child = program("broker_loop")
            .arg(folder.path())
            .args(["--records", "1000000000"])
            .stdout(Stdio::null())
            .spawn()
            .expect("an example program starts");
        std::thread::sleep(Duration::from_millis(pause));
        child.kill().expect("it still runs");
        child.wait().expect("it ends");
        let found = summary(&broker(folder.path(), &["--records", "10"]));
        check(folder.path(), &["follower", "consumer-1", "consumer-2"], number(&found, "records"));
    }
}

#[test]
fn a_disk_without_room_ends_all_parts_and_with_room_again_the_run_goes_on() {
    let folder = tempdir().expect("a temporary folder");
    let path = program("broker_loop").get_program().to_owned();
    // Files may have 200 KiB, and who writes beyond is told so instead of being killed.
    let full = run(
        Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$0\" \"$@\""])
            .arg(path)
            .arg(folder.path())
            .args(["--records", "100000"]),
        b"",
    );
    assert_eq!(full.status.code(), Some(1), "{}", complaint(&full));
    assert!(complaint(&full).contains("no room") && full.stdout.is_empty(), "{}", complaint(&full));
    let found = summary(&broker(folder.path(), &["--records", "10"]));
    check(folder.path(), &["follower", "consumer-1", "consumer-2"], number(&found, "records"));
}

#[test]
fn a_wrong_call_and_a_directory_that_cannot_be_had_are_told_apart() {
    let folder = tempdir().expect("a temporary folder");
    for options in [
        &["--records", "-1"][..],
        &["--producers", "0"],
        &["--producers", "65"],
        &["--consumers", "65"],
        &["--consumers", "x"],
        &["--no-such-flag"],
    ] {
        let refused = broker(folder.path(), options);
        assert_eq!(refused.status.code(), Some(2), "{options:?}: {}", complaint(&refused));
        assert!(refused.stdout.is_empty());
    }
    let log = Log::open(folder.path().join("follower"), LogConfig::default()).expect("a new log");
    let refused = broker(folder.path(), &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint(&refused).contains("follower is already open"), "{}", complaint(&refused));
    log.close().expect("a healthy disk");
}
