//! The example `store_and_forward`, run as a user runs it: over connections that break, killed, out of room, and with
//! nonsense. What it says of the receiver's log is checked against that log.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is about programs")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use kstore::{AppendOptions, CursorCommit, Log, LogConfig, Offset, Record};
use serde_json::Value;
use support::programs::{complaint, lines, program, run};
use tempfile::tempdir;

mod support;

fn store_and_forward(dir: &Path, options: &[&str]) -> Output {
    run(program("store_and_forward").arg(dir).args(options), b"")
}

/// The one line that it ends with, and its status.
fn summary(output: &Output) -> (Value, Option<i32>) {
    let [line] = lines(output)[..] else { panic!("{output:?}") };
    (serde_json::from_str(line).expect("JSON"), output.status.code())
}

/// A run that kept its promise.
fn kept(dir: &Path, options: &[&str]) -> Value {
    let output = store_and_forward(dir, options);
    let (line, status) = summary(&output);
    assert_eq!(status, Some(0), "{line} {}", complaint(&output));
    assert_eq!([&line["gaps"], &line["wrong"]], [0, 0]);
    line
}

fn number(line: &Value, field: &str) -> u64 {
    line[field].as_u64().expect(field)
}

/// The keys in the receiver's log: with or without a value, in its order.
fn received(dir: &Path) -> Vec<(u64, bool)> {
    let reader = Log::open_read_only(dir.join("receiver")).expect("a log");
    let records = reader.records(Offset::ZERO..).expect("a log").map(|record| record.expect("a healthy disk"));
    let key = |key: &[u8]| std::str::from_utf8(key).expect("a number").parse().expect("a number");
    records.map(|record| (key(record.key().expect("a key")), record.value().is_some())).collect()
}

fn buffer_end(dir: &Path) -> u64 {
    match Log::open_read_only(dir.join("sender")) {
        Ok(reader) => reader.log_end_offset().value(),
        // It is just being made.
        Err(_) => 0,
    }
}

/// A run that goes on until it is dropped, which is by `kill -9`.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().expect("a child of ours");
        self.0.wait().expect("it was killed");
    }
}

fn start(dir: &Path, options: &[&str]) -> Running {
    let mut command = program("store_and_forward");
    let command = command.arg(dir).args(options).stdin(Stdio::null()).stdout(Stdio::piped());
    Running(command.stderr(Stdio::null()).spawn().expect("it starts"))
}

#[test]
fn exactly_once_brings_each_reading_once_wherever_the_connection_breaks() {
    let folder = tempdir().expect("a temporary folder");
    for seed in ["1", "2", "3", "18446744073709551615"] {
        let dir = folder.path().join(seed);
        let line = kept(&dir, &["--records", "3000", "--breaks", "8", "--seed", seed]);
        assert_eq!([&line["received"], &line["duplicates"], &line["dropped"], &line["breaks"]], [3000, 0, 0, 8]);
        let expected: Vec<_> = (0..3000).map(|number| (number, true)).collect();
        assert_eq!(received(&dir), expected, "in order, too");
        // Nothing is left to be sent, and then something is.
        assert_eq!(kept(&dir, &["--records", "3000", "--exactly-once"])["sent"], 0);
        assert_eq!(kept(&dir, &["--records", "3500", "--breaks", "0"])["sent"], 500);
    }
}

#[test]
fn at_least_once_brings_each_reading_and_those_again_whose_acknowledgement_was_lost() {
    let folder = tempdir().expect("a temporary folder");
    let options = ["--records", "3000", "--at-least-once", "--breaks", "12", "--seed"];
    let mut duplicates = 0;
    for seed in ["1", "2", "3"] {
        let dir = folder.path().join(seed);
        let line = kept(&dir, &[&options[..], &[seed]].concat());
        assert_eq!([&line["received"], &line["dropped"], &line["breaks"]], [3000, 0, 12]);
        assert!(number(&line, "sent") >= 3000 + number(&line, "duplicates"), "{line}");
        assert_eq!(received(&dir).len() as u64, 3000 + number(&line, "duplicates"));
        duplicates += number(&line, "duplicates");
    }
    assert!(duplicates > 0, "some connection broke behind a frame");
    let smooth = kept(&folder.path().join("smooth"), &["--records", "3000", "--at-least-once", "--breaks", "0"]);
    assert_eq!([&smooth["sent"], &smooth["received"], &smooth["duplicates"]], [3000, 3000, 0]);
}

#[test]
fn what_the_cap_dropped_is_told_and_the_rest_is_there() {
    for mode in ["--exactly-once", "--at-least-once"] {
        let folder = tempdir().expect("a temporary folder");
        // Nobody listens there: the buffer fills, and drops.
        let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let options = ["--records", "4000", "--cap", "65536", mode];
        let child = start(folder.path(), &[&options[..], &["--forward-to", &nobody.to_string()]].concat());
        while buffer_end(folder.path()) < 4000 {
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(child);
        let size = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.expect("a readable folder").path();
            if path.extension().is_some_and(|end| end == "log") { path.metadata().expect("a file").len() } else { 0 }
        };
        let used: u64 = std::fs::read_dir(folder.path().join("sender")).expect("a folder").map(size).sum();
        assert!((10_000..=65_536).contains(&used), "{used}");
        let line = kept(folder.path(), &[&options[..], &["--breaks", "5"]].concat());
        let dropped = number(&line, "dropped");
        assert!(dropped > 1000, "{line}");
        assert_eq!(number(&line, "received") + dropped, 4000, "{line}");
        let told = received(folder.path()).iter().take_while(|(_, is_there)| !is_there).count();
        assert!(told as u64 >= dropped, "{told} told, {line}");
    }
}

#[test]
fn both_sides_are_killed_again_and_again_and_go_on() {
    for mode in ["--exactly-once", "--at-least-once"] {
        let folder = tempdir().expect("a temporary folder");
        let options = ["--records", "12000", mode, "--breaks", "30", "--seed"];
        let mut ends = Vec::new();
        for round in 1..=6_u64 {
            let child = start(folder.path(), &[&options[..], &[&round.to_string()]].concat());
            // In the middle of it: it appends twenty readings a millisecond at the most.
            let before = buffer_end(folder.path());
            while buffer_end(folder.path()) < before + 200 {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(7 * round));
            drop(child);
            ends.push(buffer_end(folder.path()));
        }
        assert!(ends.is_sorted() && ends[5] < 12_000, "{ends:?}");
        let line = kept(folder.path(), &[&options[..], &["7"]].concat());
        assert_eq!([&line["readings"], &line["received"], &line["dropped"]], [12_000, 12_000, 0]);
        if mode == "--exactly-once" {
            assert_eq!(line["duplicates"], 0);
            assert!(received(folder.path()).into_iter().map(|(number, _)| number).eq(0..12_000));
        }
    }
}

/// A receiver of its own, and where it listens.
fn start_receiver(dir: &Path) -> (Running, String) {
    let mut child = start(dir, &["--receiver"]);
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().expect("a pipe")).read_line(&mut line).expect("UTF-8");
    let address = line.trim_end().strip_prefix("listening on ").expect("an address").to_owned();
    (child, address)
}

#[test]
fn the_sides_may_be_two_processes_and_the_receiver_bears_with_strangers() {
    let folder = tempdir().expect("a temporary folder");
    let (receiver, address) = start_receiver(folder.path());
    let hello = [1];
    let dropped_for_ever = [&hello[..], &[0; 8], &[0xff; 4], &[1]].concat();
    let longest = [&hello[..], &[0; 8], &[0, 0, 0, 1], &[0], &[0xff; 4]].concat();
    let beyond = [&hello[..], &[0xff; 8], &[0, 0, 0, 1], &[1]].concat();
    let not_expected = [&hello[..], &[0, 0, 0, 0, 0, 0, 0, 9], &[0, 0, 0, 1], &[1]].concat();
    for nonsense in
        [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[1, 0, 0], &dropped_for_ever, &longest, &beyond, &not_expected]
    {
        let mut stranger = TcpStream::connect(&address).expect("it listens");
        stranger.write_all(nonsense).expect("it takes a few bytes");
    }
    let options = ["--records", "2000", "--breaks", "4", "--forward-to", &address];
    let line = kept(folder.path(), &options);
    assert_eq!([&line["received"], &line["duplicates"], &line["breaks"]], [2000, 0, 4]);
    drop(receiver);
    // What was acknowledged is there after the kill, and the other receiver goes on.
    assert_eq!(received(folder.path()).len(), 2000);
    let (receiver, address) = start_receiver(folder.path());
    let line = kept(folder.path(), &["--records", "2100", "--breaks", "0", "--forward-to", &address]);
    assert_eq!([&line["received"], &line["sent"]], [2100, 100]);
    drop(receiver);
}

#[test]
fn what_is_missing_twice_or_not_what_was_sent_is_found() {
    let folder = tempdir().expect("a temporary folder");
    let options = ["--records", "100", "--breaks", "0"];
    let value = Record::new("3", "{\"reading\":3,\"celsius\":20.0}");
    for (name, record, counts) in
        [("twice", Record::tombstone("3"), [1, 0]), ("other", value, [1, 1]), ("stranger", Record::value("?"), [0, 1])]
    {
        let dir = folder.path().join(name);
        kept(&dir, &options);
        let log = Log::open(dir.join("receiver"), LogConfig::default()).expect("a log");
        log.append(&[record]).expect("there is room");
        log.close().expect("a healthy disk");
        let (line, status) = summary(&store_and_forward(&dir, &options));
        assert_eq!((status, [number(&line, "duplicates"), number(&line, "wrong")]), (Some(1), counts), "{name}");
    }
    // The receiver says that it has what it has not.
    let dir = folder.path().join("missing");
    let log = Log::open(dir.join("receiver"), LogConfig::default()).expect("a new log");
    let records = [Record::tombstone("0"), Record::tombstone("1"), Record::tombstone("1")];
    let next = 3_u64.to_be_bytes();
    let commit = CursorCommit::new("sender", Offset::new(3)).metadata(&next);
    log.append_and_commit(&AppendOptions::default(), &records, &[commit]).expect("there is room");
    log.close().expect("a healthy disk");
    // The buffer must have that many, so that it is believed.
    let log = Log::open(dir.join("sender"), LogConfig::default()).expect("a new log");
    log.append(&[Record::value("a"), Record::value("b"), Record::value("c")]).expect("there is room");
    log.close().expect("a healthy disk");
    let (line, status) = summary(&store_and_forward(&dir, &options));
    let found = [&line["received"], &line["dropped"], &line["gaps"], &line["duplicates"]];
    assert_eq!((status, found.map(|count| count.as_u64())), (Some(1), [97, 2, 1, 1].map(Some)), "{line}");
}

#[test]
fn a_receiver_that_lost_its_end_is_sent_it_again() {
    let folder = tempdir().expect("a temporary folder");
    let options = ["--records", "500", "--breaks", "0"];
    kept(folder.path(), &options);
    let log = Log::open(folder.path().join("receiver"), LogConfig::default()).expect("a log");
    log.truncate_to(Offset::new(300)).expect("a healthy disk");
    log.close().expect("a healthy disk");
    // What is left of a batch across the cut comes again: the commit went with the rest of it.
    let (line, status) = summary(&store_and_forward(folder.path(), &options));
    let (duplicates, gaps) = (number(&line, "duplicates"), number(&line, "gaps"));
    assert_eq!((number(&line, "received"), gaps, status), (500, 0, Some(i32::from(duplicates > 0))), "{line}");
    assert_eq!(number(&line, "sent"), 200 + duplicates, "{line}");
}

#[test]
fn nonsense_open_logs_and_another_mode_are_refused_with_status_2() {
    let folder = tempdir().expect("a temporary folder");
    let refused = |dir: &Path, options: &[&str], why: &str| {
        let output = store_and_forward(dir, options);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{options:?}: {}", complaint(&output));
        assert!(complaint(&output).contains(why), "{options:?}: {}", complaint(&output));
    };
    let new = folder.path().join("new");
    for (options, why) in [
        (&["--records", "0"][..], "--records"),
        (&["--records", "many"], "--records"),
        (&["--cap", "65535"], "--cap"),
        (&["--breaks=-1"], "--breaks"),
        (&["--no-such-flag"], "--no-such-flag"),
        (&["--exactly-once", "--at-least-once"], "cannot be used with"),
        (&["--receiver", "--records", "1"], "cannot be used with"),
        (&["--receiver", "--forward-to", "127.0.0.1:1"], "cannot be used with"),
        (&["--forward-to", "nowhere"], "--forward-to"),
    ] {
        refused(&new, options, why);
    }
    assert!(!new.exists(), "a wrong call makes no log");
    let file = folder.path().join("file");
    std::fs::write(&file, b"no directory").expect("a new file");
    refused(&file, &[], "ot a directory");

    kept(&new, &["--records", "50", "--breaks", "0"]);
    refused(&new, &["--at-least-once"], "was fed in the other mode");
    let other = folder.path().join("other");
    kept(&other, &["--records", "50", "--breaks", "0", "--at-least-once"]);
    refused(&other, &[], "was fed in the other mode");
    for side in ["sender", "receiver"] {
        let log = Log::open(new.join(side), LogConfig::default()).expect("a log");
        refused(&new, &[], &format!("{side} is already open"));
        log.close().expect("a healthy disk");
    }
    std::fs::remove_dir_all(new.join("sender")).expect("a folder of ours");
    let other_buffer = store_and_forward(&new, &["--records", "10"]);
    assert_eq!(other_buffer.status.code(), Some(2));
    assert!(complaint(&other_buffer).contains("expects reading 50"), "{}", complaint(&other_buffer));
}

#[test]
fn a_disk_without_room_ends_a_run_and_the_next_one_goes_on() {
    let folder = tempdir().expect("a temporary folder");
    let options = ["--records", "3000", "--breaks", "3"];
    // No file may become larger than so many blocks of 512 bytes, and to try it is an error, not a signal.
    let limited = "trap '' XFSZ; ulimit -f 64; exec \"$@\"";
    let inner = program("store_and_forward");
    let mut command = Command::new("sh");
    let command = command.args(["-c", limited, "sh"]).arg(inner.get_program()).arg(folder.path()).args(options);
    let output = run(command, b"");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{}", complaint(&output));
    assert!(complaint(&output).contains("no room"), "{}", complaint(&output));
    let line = kept(folder.path(), &options);
    assert_eq!([&line["received"], &line["duplicates"]], [3000, 0]);
}
