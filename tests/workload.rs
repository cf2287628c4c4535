//! The workload and its checker, as strangers use them: what it says, what it finds, and what it refuses.
//!
//! What real kernels do to it is in `tests/kernel`. Here the invariant of the checker is held: it says that offsets are right
//! only if they are, and the judge of its lines finds each kind of broken promise.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is about programs")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::dice::{Dice, seed};
use support::programs::{complaint, lines, program, run};
use support::promises::Promises;
use support::tortured::Tortured;
use tempfile::tempdir;

mod support;

const MODES: [&[&str]; 6] = [
    &[],
    &["--threads", "3"],
    &["--preallocated"],
    &["--preallocated", "--threads", "3"],
    &["--mapped"],
    &["--mapped", "--threads", "3"],
];

fn workload(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(program("workload").args(arguments), b"");
    let said = lines(&output).into_iter().map(|line| format!("{line}\n")).collect();
    (output.status.code(), said)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A log of some segments that was closed.
fn made(folder: &Path) -> PathBuf {
    let dir = folder.join("log");
    let (code, said) = workload(&["run", text(&dir), "3", "--records", "2000"]);
    assert_eq!(code, Some(0), "{said}");
    dir
}

#[test]
fn what_it_wrote_in_each_mode_is_right_after_its_end_and_it_goes_on_with_it() {
    let folder = tempdir().expect("a temporary folder");
    for (number, options) in MODES.into_iter().enumerate() {
        let mut log = Tortured::new(&folder.path().join(number.to_string()), &folder.path().join("notes"));
        let mut truncations = 0;
        for seed in 0..3 {
            let options = [options, &["--records", "1500"]].concat();
            let running = log.start(&[], seed, &options);
            let ending = log.end(running);
            assert_eq!(ending.code, Some(0));
            truncations += ending.lines.iter().filter(|line| line.starts_with("TRUNCATED ")).count();
            let durable = log.promises.durable();
            assert_eq!(log.verify(&[]).end, durable, "everything is acknowledged at the end");
        }
        let (rolls, start) = (segments(log.dir()), log.verify(&[]).start);
        assert!(
            rolls > 3 && start > 0 && truncations > 0,
            "{rolls} segments from {start} on, {truncations} truncations"
        );
    }
}

fn segments(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("a folder").path());
    names.filter(|path| path.extension().is_some_and(|ending| ending == "log")).count()
}

#[test]
fn a_killed_run_has_kept_what_it_said_in_each_mode() {
    let folder = tempdir().expect("a temporary folder");
    for (number, options) in MODES.into_iter().enumerate() {
        let mut log = Tortured::new(&folder.path().join(number.to_string()), &folder.path().join("notes"));
        for seed in 0..3 {
            let mut running = log.start(&[], seed, &[options, &["--records", "3000000"]].concat());
            running.wait_for_lines(20);
            std::thread::sleep(Duration::from_millis(7 * seed));
            running.kill();
            assert_eq!(log.end(running).code, None, "it ended by itself");
            log.verify(&[]);
        }
    }
}

#[test]
fn one_thread_says_the_same_for_the_same_seed_and_something_else_for_another() {
    let folder = tempdir().expect("a temporary folder");
    let said = |name: &str, seed: &str| {
        let dir = folder.path().join(name);
        let (code, first) = workload(&["run", text(&dir), seed, "--records", "3000"]);
        assert_eq!(code, Some(0), "{first}");
        let (code, second) = workload(&["run", text(&dir), seed, "--records", "500"]);
        assert_eq!(code, Some(0), "{second}");
        let (_, content) = workload(&["verify", text(&dir), "--print"]);
        (first, second, content)
    };
    let (one, same, other) = (said("one", "5"), said("same", "5"), said("other", "6"));
    assert!(one == same, "the same seed said something else");
    assert!(one.0 != other.0, "the seed decides nothing");
}

#[test]
fn a_second_process_is_refused_and_changes_nothing() {
    let folder = tempdir().expect("a temporary folder");
    let mut log = Tortured::new(&folder.path().join("log"), &folder.path().join("notes"));
    let mut running = log.start(&[], 1, &["--records", "3000000"]);
    running.wait_for_lines(1);
    for call in
        [&["run", text(log.dir()), "2"][..], &["verify", text(log.dir())], &["verify", text(log.dir()), "--print"]]
    {
        let (code, said) = workload(call);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.starts_with("ERR ") && said.ends_with(" is already open\n"), "{said}");
    }
    assert!(running.goes_on());
    running.kill();
    log.end(running);
    log.verify(&[]);
}

#[test]
fn nonsense_is_a_wrong_call_and_makes_nothing() {
    let folder = tempdir().expect("a temporary folder");
    let dir = folder.path().join("log");
    let dir = text(&dir);
    for call in [
        &[][..],
        &["walk", dir],
        &["run", dir],
        &["run", dir, "one"],
        &["run", dir, "-1"],
        &["run", dir, "1", "--threads", "0"],
        &["run", dir, "1", "--threads", "65"],
        &["run", dir, "1", "--records", "many"],
        &["run", dir, "1", "--no-such-flag"],
        &["run", dir, "1", "2"],
        &["run", dir, "1", "--mapped", "--preallocated"],
        &["verify"],
        &["verify", dir, "--threads", "1"],
    ] {
        let output = run(program("workload").args(call), b"");
        assert_eq!(output.status.code(), Some(2), "{call:?}");
        assert!(output.stdout.is_empty() && complaint(&output).contains("--help"), "{call:?}: {}", complaint(&output));
    }
    assert!(!Path::new(dir).exists());
}

#[test]
fn nothing_and_what_is_no_log_are_told_apart() {
    let folder = tempdir().expect("a temporary folder");
    let (code, said) = workload(&["verify", text(&folder.path().join("new"))]);
    assert_eq!((code, said.as_str()), (Some(0), "START 0\nEND 0\n"));
    let (code, said) = workload(&["run", text(&folder.path().join("none")), "1", "--records", "0"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    std::fs::write(folder.path().join("file"), b"no log").expect("a new file");
    for call in [&["verify", text(folder.path())][..], &["run", text(&folder.path().join("file")), "1"]] {
        let (code, said) = workload(call);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.starts_with("ERR "), "{said}");
    }
}

/// The tag of each offset that is called right.
fn tags(printed: &str) -> BTreeMap<u64, String> {
    let of = |line: &str| {
        let (offset, tag) = line.strip_prefix("OK ")?.split_once(' ')?;
        Some((offset.parse().expect("an offset"), tag.to_owned()))
    };
    printed.lines().filter_map(of).collect()
}

#[test]
fn a_printed_tag_follows_from_what_was_read() {
    let folder = tempdir().expect("a temporary folder");
    let (code, printed) = workload(&["verify", text(&made(folder.path())), "--print"]);
    assert_eq!(code, Some(0));
    let found = tags(&printed);
    let (start, end) = (*found.keys().next().expect("a record"), *found.keys().next_back().expect("a record"));
    assert_eq!(found.len() as u64, end + 1 - start);
    assert!(printed.starts_with(&format!("START {start}\n")) && printed.ends_with(&format!("\nEND {}\n", end + 1)));
    let different: std::collections::BTreeSet<_> = found.values().collect();
    assert_eq!(different.len(), found.len(), "each offset has its own content");
}

#[test]
fn flipped_bytes_are_told_or_harmless_and_nothing_else_is_called_right() {
    let folder = tempdir().expect("a temporary folder");
    let dir = made(folder.path());
    let original = tags(&workload(&["verify", text(&dir), "--print"]).1);
    let mut dice = Dice::new(seed("flips"));
    let rounds = std::env::var("KSTORE_FLIPS").map_or(60, |rounds| rounds.parse().expect("a number"));
    let mut told = 0;
    for _ in 0..rounds {
        let copy = folder.path().join("copy");
        let files = copied(&dir, &copy);
        let (name, size) = &files[usize::try_from(dice.below(files.len() as u64)).expect("a few files")];
        let (at, mask) = (usize::try_from(dice.below(*size)).expect("small"), u8::try_from(1 << dice.below(8)));
        let mut bytes = std::fs::read(copy.join(name)).expect("a copy");
        bytes[at] ^= mask.expect("a bit");
        std::fs::write(copy.join(name), bytes).expect("a copy");
        let (code, said) = workload(&["verify", text(&copy), "--print"]);
        let story = format!("{name} at {at}: {code:?}, {}", said.lines().last().unwrap_or_default());
        let found = tags(&said);
        assert!(found.iter().all(|(offset, tag)| original.get(offset) == Some(tag)), "other content: {story}");
        match code {
            Some(0) => assert!(found == original, "{} of {} are there: {story}", found.len(), original.len()),
            Some(1) => {
                let last = said.lines().last().unwrap_or_default();
                assert!(last.starts_with("BAD ") || last.starts_with("ERR "), "{story}");
                told += 1;
            }
            _ => panic!("{story}"),
        }
        std::fs::remove_dir_all(&copy).expect("a copy");
    }
    assert!(told > rounds / 4, "only {told} of {rounds} were found");
}

/// The names and sizes of the files, without those that are empty.
fn copied(from: &Path, to: &Path) -> Vec<(String, u64)> {
    std::fs::create_dir(to).expect("a new folder");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("a folder").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
        if path.is_file() {
            let size = std::fs::copy(&path, to.join(&name)).expect("room for a copy");
            files.push((name, size));
        }
    }
    files.retain(|(_, size)| *size > 0);
    files.sort();
    files
}

#[test]
fn a_missing_segment_and_a_shorter_one_are_told() {
    let folder = tempdir().expect("a temporary folder");
    let dir = made(folder.path());
    let files = copied(&dir, &folder.path().join("list"));
    let logs: Vec<&String> = files.iter().map(|(name, _)| name).filter(|name| name.ends_with(".log")).collect();
    for (number, remove) in [(1, true), (logs.len() - 1, true), (1, false), (logs.len() - 1, false)] {
        let copy = folder.path().join("copy");
        copied(&dir, &copy);
        let path = copy.join(logs[number]);
        if remove {
            std::fs::remove_file(&path).expect("a copy");
        } else {
            let file = std::fs::OpenOptions::new().write(true).open(&path).expect("a copy");
            file.set_len(file.metadata().expect("a copy").len() - 1).expect("a copy");
        }
        let (code, said) = workload(&["verify", text(&copy)]);
        assert_eq!(code, Some(1), "{} {remove}: {said}", logs[number]);
        std::fs::remove_dir_all(&copy).expect("a copy");
    }
}

/// What the judge says of a run's lines and the check behind it.
fn judged(run: &str, verified: &str) -> Result<(), String> {
    let mut promises = Promises::default();
    promises.begin(1);
    promises.hear_all(run.lines())?;
    promises.judge(verified).map(drop)
}

#[test]
fn a_kept_promise_is_found_kept() {
    for (run, verified) in [
        ("", "START 0\nEND 0\n"),
        ("ACK 9\n", "START 0\nOK 0-9\nEND 10\n"),
        ("ACK 9\n", "START 0\nOK 0-9\nOK 10-15\nEND 16\n"),
        ("ACK 9\nTRIM 4\n", "START 3\nOK 3-9\nEND 10\n"),
        ("ACK 9\nTRIM 4\n", "START 0\nOK 0-9\nEND 10\n"),
        ("ACK 9\nTRUNC 4\n", "START 0\nOK 0-3\nEND 4\n"),
        ("ACK 9\nTRUNC 4\nTRUNCATED 4\nACK 5\nREOPEN\nERR why\n", "START 0\nOK 0-5\nEND 6\n"),
        ("ACK 9\nTRIM 10\nTRUNC 10\nTRUNCATED 10\n", "START 10\nEND 10\n"),
    ] {
        assert_eq!(judged(run, verified), Ok(()), "{run}{verified}");
    }
}

#[test]
fn a_broken_promise_is_found_broken() {
    for (run, verified) in [
        // Too short, beginning too late, with a hole, with other offsets, without an end.
        ("ACK 9\n", "START 0\nOK 0-8\nEND 9\n"),
        ("ACK 9\nTRUNC 4\n", "START 0\nOK 0-2\nEND 3\n"),
        ("ACK 9\n", "START 1\nOK 1-9\nEND 10\n"),
        ("ACK 9\nTRIM 4\n", "START 5\nOK 5-9\nEND 10\n"),
        ("ACK 9\n", "START 0\nOK 0-4\nOK 6-9\nEND 10\n"),
        ("ACK 9\n", "START 0\nOK 0-4\nOK 3-9\nEND 10\n"),
        ("ACK 9\n", "START 0\nOK 0-9\nEND 11\n"),
        ("ACK 9\n", "START 0\nOK 0-9\n"),
        ("ACK 9\n", "START 0\nOK 0-9\nBAD 10 why\nEND 10\n"),
        // Back after a truncation.
        ("ACK 4999\nTRUNC 4\nTRUNCATED 4\n", "START 0\nOK 0-4999\nEND 5000\n"),
        // Lines that do not come then, or at all.
        ("ACK 9\nACK 8\n", "START 0\nOK 0-9\nEND 10\n"),
        ("ACK 9\nTRUNC 4\nACK 12\n", "START 0\nOK 0-12\nEND 13\n"),
        ("TRUNCATED 4\n", "START 0\nEND 0\n"),
        ("ACK 9\nTRUNC 4\nTRUNCATED 5\n", "START 0\nOK 0-9\nEND 10\n"),
        ("TRUNC 0\nTRUNC 0\n", "START 0\nEND 0\n"),
        ("ERR why\nACK 9\n", "START 0\nOK 0-9\nEND 10\n"),
        ("ACK\n", "START 0\nEND 0\n"),
        ("NACK 9\n", "START 0\nEND 0\n"),
        ("thread 'main' panicked\n", "START 0\nEND 0\n"),
    ] {
        assert!(judged(run, verified).is_err(), "{run}{verified}");
    }
}

#[test]
fn a_log_start_never_goes_back_from_one_check_to_the_next() {
    let mut promises = Promises::default();
    promises.begin(1);
    promises.hear_all(["ACK 9", "TRIM 4"]).expect("sound lines");
    promises.judge("START 4\nOK 4-9\nEND 10\n").expect("a sound log");
    promises.begin(1);
    assert!(promises.clone().judge("START 3\nOK 3-9\nEND 10\n").is_err());
    assert!(promises.clone().judge("START 4\nOK 4-8\nEND 9\n").is_err());
    assert!(promises.judge("START 4\nOK 4-9\nEND 10\n").is_ok());
}
