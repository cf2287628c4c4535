//! What the system refuses: permission, room, descriptors; and clocks that go backwards.
//!
//! Tests that need what this machine or user does not have say so and do nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kstore::{Error, ErrorKind, IoOp, Log, LogConfig, Offset, Record, StoredRecord, SyncPolicy, Timestamp, Worker};

use crate::site::{Site, assert_passed, expect_child, log_name, place_of_child, run_child, skip};

/// The user and group `nobody`.
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

fn is_root() -> bool {
    std::process::Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("the owner may");
}

fn open(dir: &Path) -> kstore::Result<Log> {
    Log::open(dir, LogConfig::default())
}

fn count(log: &Log) -> usize {
    count_of(log.records(..).expect("an open log"))
}

fn count_of(records: impl Iterator<Item = kstore::Result<StoredRecord>>) -> usize {
    records.fold(0, |count, record| record.map(|_| count + 1).expect("a sound record"))
}

/// Runs a test as `nobody`, from a copy of this program that `nobody` may run.
fn as_nobody(test: &str, site: &Site) -> bool {
    let program = site.parent().join("program");
    std::fs::copy(std::env::current_exe().expect("this program"), &program).expect("room for a copy");
    set_mode(site.parent(), 0o755);
    set_mode(&program, 0o755);
    if std::process::Command::new("setpriv").arg("--version").output().is_err() {
        skip(test, "there is no setpriv here");
        return false;
    }
    assert_passed(&run_child(&NOBODY, &program, test, site.dir()));
    true
}

#[test]
fn a_directory_without_permission_is_an_error_that_names_it_and_is_left_alone() {
    const NAME: &str = "system::a_directory_without_permission_is_an_error_that_names_it_and_is_left_alone";
    if let Some(dir) = place_of_child() {
        return expect_permission_denied(&dir);
    }
    let site = Site::new();
    let log = open(site.dir()).expect("a new log");
    log.append(&[Record::value("x")]).expect("an append");
    log.close().expect("a clean close");
    let before = site.contents();
    for path in before.keys() {
        set_mode(path, 0o444);
    }
    set_mode(site.dir(), 0o555);
    if is_root() {
        as_nobody(NAME, &site);
    } else {
        expect_permission_denied(site.dir());
    }
    set_mode(site.dir(), 0o755);
    assert!(site.contents() == before);
}

/// The directory may be read, and nothing in it written.
fn expect_permission_denied(dir: &Path) {
    let error = open(dir).expect_err("refused");
    let Error::Io { operation, path, cause } = &error else { panic!("{error}") };
    assert_eq!((*operation, cause.kind()), (IoOp::Lock, std::io::ErrorKind::PermissionDenied), "{error}");
    assert_eq!(path.as_ref(), dir.join(".lock"));
    let expected = format!("locking {}: Permission denied (os error 13)", dir.join(".lock").display());
    assert_eq!(error.to_string(), expected);
    let reader = Log::open_read_only(dir).expect("reading is allowed");
    assert_eq!(reader.records(..).expect("a range").count(), 1);
    let error = open(&dir.join("below-0")).expect_err("refused");
    let expected = format!("creating the directory {}: Permission denied (os error 13)", dir.join("below-0").display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_segment_without_permission_is_an_error_that_names_it() {
    const NAME: &str = "system::a_segment_without_permission_is_an_error_that_names_it";
    if let Some(dir) = place_of_child() {
        let error = Log::open_read_only(&dir).map(drop).expect_err("refused");
        let log = dir.join(log_name(0));
        assert_eq!(error.to_string(), format!("opening {}: Permission denied (os error 13)", log.display()));
        assert_eq!(error.kind(), ErrorKind::Retry);
        return;
    }
    if !is_root() {
        return skip(NAME, "it needs another user");
    }
    let site = Site::new();
    let log = open(site.dir()).expect("a new log");
    log.append(&[Record::value("x")]).expect("an append");
    log.close().expect("a clean close");
    set_mode(&site.file(&log_name(0)), 0o600);
    as_nobody(NAME, &site);
}

#[test]
fn a_full_disk_fails_the_append_cleanly_and_the_log_goes_on_once_there_is_room() {
    const NAME: &str = "system::a_full_disk_fails_the_append_cleanly_and_the_log_goes_on_once_there_is_room";
    if let Some(place) = place_of_child() {
        return fill_and_go_on(&place);
    }
    let site = Site::new();
    std::fs::create_dir(site.dir()).expect("a new folder");
    // In a mount namespace of the child's own, which goes with it.
    let mount = format!("mount -t tmpfs -o size=1m tmpfs '{}' && exec \"$0\" \"$@\"", site.dir().display());
    let probe = std::process::Command::new("unshare").args(["-m", "sh", "-c", &mount, "true"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return skip(NAME, "a small file system cannot be mounted");
    }
    expect_child(&["unshare", "-m", "sh", "-c", &mount], NAME, site.dir());
}

fn fill_and_go_on(place: &Path) {
    let ballast = place.join("ballast");
    std::fs::write(&ballast, vec![1; 400 << 10]).expect("room for now");
    let dir = place.join("orders-0");
    let log = Log::open(&dir, LogConfig::default().segment_bytes(100 << 10)).expect("a new log");
    let value = [7; 5000];
    let mut appended = 0;
    let error = loop {
        match log.append(&[Record::value(&value)]) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::StorageFull { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Retry);
    let text = error.to_string();
    assert!(text.contains(&dir.display().to_string()) && text.ends_with(": no room"), "{text}");
    assert!(appended > 50, "{appended}");
    for _ in 0..5 {
        log.append(&[Record::value(&value)]).expect_err("there is no more room than before");
    }
    assert!(!log.stats().failed);
    assert_eq!(log.log_end_offset(), Offset::new(appended));
    assert_eq!(count(&log) as u64, appended, "all that was appended can be read");
    log.sync().expect("what was appended can be made durable");
    std::fs::remove_file(&ballast).expect("room again");
    let next = log.append(&[Record::value(&value)]).expect("the log goes on");
    assert_eq!(next.base_offset(), Offset::new(appended));
    log.close().expect("a clean close");
    let log = open(&dir).expect("it was closed cleanly");
    assert_eq!(count(&log) as u64, appended + 1);
    assert!(log.recovery_report().torn.is_empty());
}

#[test]
fn a_few_descriptors_are_enough_for_many_segments() {
    const NAME: &str = "system::a_few_descriptors_are_enough_for_many_segments";
    const SEGMENTS: u64 = 100;
    let Some(dir) = place_of_child() else {
        let site = Site::new();
        let log = open(site.dir()).expect("a new log");
        for _ in 0..SEGMENTS {
            log.append(&[Record::value("x"), Record::value("y")]).expect("an append");
            log.roll().expect("a roll");
        }
        log.close().expect("a clean close");
        return expect_child(&["sh", "-c", "ulimit -n 64; exec \"$0\" \"$@\""], NAME, site.dir());
    };
    let reader = Log::open_read_only(&dir).expect("a reader");
    assert_eq!(count_of(reader.records(..).expect("a range")) as u64, 2 * SEGMENTS);
    drop(reader);
    let log = open(&dir).expect("a clean log");
    assert_eq!(count(&log) as u64, 2 * SEGMENTS);
    assert_eq!(count_of(log.records_reversed(..).expect("a range")) as u64, 2 * SEGMENTS);

    // Each slice pins a file, so that slices run out; the log does not.
    let mut slices = Vec::new();
    let mut offsets = (0..SEGMENTS).map(|segment| Offset::new(2 * segment));
    let error = loop {
        match log.read(offsets.next().expect("there are more segments than descriptors"), 1) {
            Ok(slice) => slices.push(slice),
            Err(error) => break error,
        }
    };
    let Error::Io { operation: IoOp::Open, cause, .. } = &error else { panic!("{error}") };
    assert_eq!(cause.raw_os_error(), Some(24), "{error}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("opening {}", dir.display())) && text.contains("Too many open files"), "{text}");
    assert!(slices.len() > 20, "{}", slices.len());
    log.append(&[Record::value("z")]).expect("an open segment needs no descriptor");
    log.sync().expect("nor does a sync");
    assert!(!log.stats().failed);
    slices.truncate(10);
    log.roll().expect("a roll");
    assert_eq!(count(&log) as u64, 2 * SEGMENTS + 1);
    assert!(slices.iter().all(|slice| slice.records().count() == 2));
    log.close().expect("a clean close");
}

#[test]
fn recovery_of_many_segments_does_with_a_few_descriptors() {
    const NAME: &str = "system::recovery_of_many_segments_does_with_a_few_descriptors";
    let Some(dir) = place_of_child() else {
        let site = Site::new();
        let log = open(site.dir()).expect("a new log");
        for _ in 0..100 {
            log.append(&[Record::value("x")]).expect("an append");
            log.roll().expect("a roll");
        }
        log.close().expect("a clean close");
        std::fs::remove_file(site.file("kstore.state")).expect("a log has a state");
        return expect_child(&["sh", "-c", "ulimit -n 64; exec \"$0\" \"$@\""], NAME, site.dir());
    };
    let log = open(&dir).expect("a foreign log");
    assert_eq!(count(&log), 100);
    log.append(&[Record::value("y")]).expect("an append");
    log.close().expect("a clean close");
}

#[test]
fn times_that_go_backwards_break_nothing() {
    let site = Site::new();
    let config = || {
        let every = SyncPolicy::Every { records: None, bytes: None, interval_ms: Some(10) };
        LogConfig::default().segment_ms(1000).sync_policy(every).worker(Worker::Caller)
    };
    let log = Log::open(site.dir(), config()).expect("a new log");
    let mut written = Vec::new();
    for step in 0..200_i64 {
        let time = 1_000_000 - step * 1000 + (step % 3) * 500_000;
        log.append(&[Record::value("x").timestamp(Timestamp::from_millis(time))]).expect("an append");
        log.run_once(Timestamp::from_millis(1_000_000 - step * 5000)).expect("an open log");
        written.push(Some(Timestamp::from_millis(time)));
    }
    let read = |log: &Log| -> Vec<Option<Timestamp>> {
        log.records(..).expect("a range").map(|record| record.expect("sound").timestamp()).collect()
    };
    assert_eq!(read(&log), written);
    log.run_once(Timestamp::from_millis(i64::MAX)).expect("an open log");
    assert_eq!(log.synced_offset(), Offset::new(200), "what was due is synced when the clock is right again");
    log.close().expect("a clean close");
    let log = Log::open(site.dir(), config()).expect("a clean log");
    assert_eq!(read(&log), written);
    log.append(&[Record::value("x").timestamp(Timestamp::from_millis(0))]).expect("an append");
    log.close().expect("a clean close");
    std::fs::remove_file(site.file("kstore.state")).expect("a log has a state");
    let log = Log::open(site.dir(), config()).expect("a foreign log");
    assert!(log.recovery_report().damage.is_empty());
    assert_eq!(read(&log).len(), 201);
}
