//! The example `raft_log`: its rounds, its logs as others read them, kills, a full disk, and wrong calls.
//!
//! The program checks itself that its nodes agree; here the directories are read by nothing but the library's readers,
//! and compared. No test depends on how fast anything is.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is about programs")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use kstore::{Log, LogConfig};
use serde_json::Value;
use support::programs::{complaint, lines, program, run};
use tempfile::tempdir;

mod support;

fn raft(dir: &Path, options: &[&str]) -> Output {
    run(program("raft_log").arg(dir).args(options), b"")
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

/// Term and payload by index, and the index at which the log begins.
fn node(dir: &Path, number: u64) -> (u64, BTreeMap<u64, (i32, Vec<u8>)>) {
    let reader = Log::open_read_only(dir.join(format!("node-{number}/log"))).expect("a log");
    let records = reader.records(..).expect("an open log").map(|record| {
        let record = record.expect("a sound batch");
        let term = record.leader_epoch().expect("a term");
        (record.offset().value(), (term, record.value().expect("a payload").to_vec()))
    });
    (reader.log_start_offset().value(), records.collect())
}

/// That all nodes have the same entries where they have any, up to the same last one.
fn check_equal(dir: &Path, last_index: u64) {
    let nodes = [1, 2, 3].map(|number| node(dir, number));
    for (start, entries) in &nodes {
        assert!(entries.keys().copied().eq(*start..=last_index), "from {start} on: {:?}", entries.keys());
        assert!(entries.values().is_sorted_by_key(|(term, _)| *term));
        for (index, entry) in entries {
            assert!(nodes.iter().all(|(start, others)| index < start || others[index] == *entry), "index {index}");
        }
    }
}

#[test]
fn nodes_that_were_cut_off_from_each_other_end_with_the_same_log() {
    let folder = tempdir().expect("a temporary folder");
    let first = summary(&raft(folder.path(), &["--entries", "900"]));
    // Each round cuts off a suffix that begins inside a batch, and resets a node from a snapshot.
    for name in ["truncated_inside_batch", "resets"] {
        assert!(number(&first, name) >= 2, "{name} in {first}");
    }
    assert_eq!(number(&first, "truncations"), number(&first, "truncated_inside_batch"));
    assert!(number(&first, "committed") >= 900 && number(&first, "last_index") > 900, "{first}");
    check_equal(folder.path(), number(&first, "last_index"));

    // It goes on with what it finds, in a later term; without entries there is but that of the new leader.
    let second = summary(&raft(folder.path(), &["--entries", "300", "--seed", "7"]));
    assert!(number(&second, "term") > number(&first, "term"));
    assert!(number(&second, "last_index") > number(&first, "last_index") + 300);
    let third = summary(&raft(folder.path(), &["--entries", "0"]));
    assert_eq!(number(&third, "last_index"), number(&second, "last_index") + 1);
    check_equal(folder.path(), number(&third, "last_index"));
}

#[test]
fn a_new_log_begins_at_index_1() {
    let folder = tempdir().expect("a temporary folder");
    let found = summary(&raft(folder.path(), &["--entries", "0"]));
    assert_eq!((number(&found, "first_index"), number(&found, "last_index"), number(&found, "term")), (1, 1, 1));
    assert_eq!(node(folder.path(), 2).1.into_keys().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_run_that_is_killed_anywhere_is_gone_on_with() {
    let folder = tempdir().expect("a temporary folder");
    let mut last = 0;
    for pause in [1, 20, 60, 130, 250, 400] {
        let mut child = program("raft_log")
            .arg(folder.path())
            .args(["--entries", "1000000000"])
            .stdout(Stdio::null())
            .spawn()
            .expect("an example program starts");
        std::thread::sleep(Duration::from_millis(pause));
        child.kill().expect("it still runs");
        child.wait().expect("it ends");
        let found = summary(&raft(folder.path(), &["--entries", "10"]));
        assert!(number(&found, "last_index") > last, "{found}");
        last = number(&found, "last_index");
        check_equal(folder.path(), last);
    }
}

#[test]
fn a_disk_without_room_is_named_and_with_room_again_the_run_goes_on() {
    let folder = tempdir().expect("a temporary folder");
    let path = program("raft_log").get_program().to_owned();
    // Files may have 20 KiB, and who writes beyond is told so instead of being killed.
    let full = run(
        Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 40; exec \"$0\" \"$@\""])
            .arg(path)
            .arg(folder.path())
            .args(["--entries", "100000"]),
        b"",
    );
    assert_eq!(full.status.code(), Some(1), "{}", complaint(&full));
    assert!(complaint(&full).contains("no room") && full.stdout.is_empty(), "{}", complaint(&full));
    let found = summary(&raft(folder.path(), &["--entries", "10"]));
    check_equal(folder.path(), number(&found, "last_index"));
}

#[test]
fn a_wrong_call_and_a_directory_that_cannot_be_had_are_told_apart() {
    let folder = tempdir().expect("a temporary folder");
    for options in [&["--entries", "-1"][..], &["--entries", "many"], &["--seed", "x"], &["--no-such-flag"], &["more"]]
    {
        let refused = raft(folder.path(), options);
        assert_eq!(refused.status.code(), Some(2), "{options:?}: {}", complaint(&refused));
        assert!(refused.stdout.is_empty());
    }
    assert_eq!(run(&mut program("raft_log"), b"").status.code(), Some(2));

    let log = Log::open(folder.path().join("node-2/log"), LogConfig::default()).expect("a new log");
    let refused = raft(folder.path(), &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint(&refused).contains("node 2: ") && complaint(&refused).contains("is already open"));
    log.close().expect("a healthy disk");

    std::fs::write(folder.path().join("file"), "no directory").expect("a new file");
    let refused = raft(&folder.path().join("file"), &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint(&refused).starts_with("raft_log: node 1: "), "{}", complaint(&refused));
}
