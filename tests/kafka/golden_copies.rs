//! Directories that Kafka wrote (`tests/golden/`), changed by kstore, and read by Kafka again.
//!
//! Left out are cases in which kstore refuses to write until it is told what to do about damage. The invariant it owns:
//! what a case is about (compaction, old formats, transactions, codecs) survives being cut, shortened and followed.

use kstore::{Log, LogConfig, Offset, Record, Timestamp};

use crate::agreement::Said;
use crate::following::follow;
use crate::golden::{Case, Copy};
use crate::judge::Judge;
use crate::place::{FIRST_TIME, Place, open};

/// Sound batches lie behind the damage.
const DAMAGED: [&str; 2] = ["flipped-bit-earlier-segment", "flipped-bit-middle"];

fn sound_cases() -> Vec<Case> {
    Case::all().into_iter().filter(|case| !DAMAGED.contains(&case.name.as_str())).collect()
}

/// As they were written.
fn config() -> LogConfig {
    LogConfig::default().segment_bytes(16 << 10).index_interval_bytes(512)
}

fn append(log: &Log, records: u64) {
    for _ in 0..records {
        let time = Timestamp::from_millis(FIRST_TIME + 90_000_000);
        log.append(&[Record::new("key of kstore", "value").timestamp(time)]).expect("there is room");
    }
}

/// The record that lies in the middle of the log, or the log end.
fn middle(log: &Log) -> Offset {
    let records: Vec<Offset> =
        log.records(..).expect("a range").map(|record| record.expect("readable").offset()).collect();
    records.get(records.len() / 2).copied().unwrap_or(log.log_end_offset())
}

fn assert_kafka_agrees(judge: &mut Judge, case: &Case, copy: &Copy, log: Log) {
    let said = Said::by(&log);
    let place = Place::new();
    let mut assert_is = |shutdown: &str, left: &str| {
        let read = place.copied_from(copy.path(), left);
        // What is true of it before Kafka opens it.
        let expected = if shutdown == "clean" { said.clone() } else { said.as_recovered(&read) };
        let kafkas = judge.read_from(&read, shutdown, said.bounds.0);
        expected.assert_is(&kafkas, &read, &format!("{}, {left}, taken for {shutdown}", case.name));
    };
    assert_is("unclean", "killed");
    log.close().expect(&case.name);
    assert_is("clean", "closed");
    assert_is("unclean", "closed");
}

#[test]
fn kafka_reads_its_own_logs_after_kstore_truncated_them() {
    let Some(mut judge) = Judge::start() else { return };
    for case in sound_cases() {
        let copy = case.copy();
        let log = open(copy.path(), config());
        let end = middle(&log);
        log.truncate_to(end).expect(&case.name);
        assert_eq!(log.log_end_offset(), end, "{}", case.name);
        append(&log, 3);
        assert_kafka_agrees(&mut judge, &case, &copy, log);
    }
}

#[test]
fn kafka_reads_its_own_logs_after_kstore_deleted_their_first_half() {
    let Some(mut judge) = Judge::start() else { return };
    for case in sound_cases() {
        let copy = case.copy();
        let log = open(copy.path(), config());
        append(&log, 2);
        let start = middle(&log);
        log.delete_records_before(start).expect(&case.name);
        assert_eq!(log.log_start_offset(), start, "{}", case.name);
        append(&log, 3);
        assert_kafka_agrees(&mut judge, &case, &copy, log);
    }
}

#[test]
fn kafka_reads_a_log_of_kstore_that_followed_its_own() {
    let Some(mut judge) = Judge::start() else { return };
    for case in sound_cases() {
        let copy = case.copy();
        let place = Place::new();
        let follower = open(&place.dir(), config());
        follow(copy.path(), &follower, 5000);
        let said = Said::by(&follower);
        follower.close().expect(&case.name);
        let closed = place.copied("closed");
        said.assert_is(&judge.read_from(&closed, "clean", said.bounds.0), &closed, &case.name);
        // The leader's own directory, as Kafka reads it.
        let leader = judge.read_from(copy.path(), "unclean", said.bounds.0);
        assert_eq!((leader.bounds, &leader.records), (said.bounds, &said.records), "{}", case.name);
    }
}
