//! What it means that Kafka and kstore agree about a directory: bounds, records, leader epochs, lookups by time.
//!
//! The invariant it owns: where Kafka's answer may differ from kstore's, exactly that answer is asserted, never "any".
//! There are two such places. Kafka looks for a time in one segment only, the first that has claimed to reach it; where the
//! records that did are below the log start or were compacted away, it finds nothing, and kstore goes on. And a recovery of
//! Kafka's learns leader epochs from batches that a truncation or an old format had made it forget.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kstore::{Log, LogConfig, StoredRecord, Timestamp};

use crate::judge::{Judge, Verdict};
use crate::place::{Place, files, open};

/// Later than any epoch that kstore is given here: a leader's epoch never falls.
const KAFKAS_EPOCH: i32 = 1000;

/// How a log is left before Kafka reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Closed,
    Dropped,
}

/// Kafka must read what kstore reads, of the log as it is open (as a kill leaves it), then closed or dropped; taking it
/// for clean or not. Then both go on: Kafka appends, and kstore reads that. Gives back what all of them read.
pub(crate) fn assert_kafka_agrees(judge: &mut Judge, place: &Place, log: Log, config: &LogConfig, end: Ending) -> Said {
    let said = Said::by(&log);
    let killed = place.copied("killed");
    said.assert_is(&judge.read_from(&killed, "unclean", said.bounds.0), &killed, "killed");
    let recovered = open(&place.copied("killed"), config.clone());
    assert_eq!(Said::by(&recovered), said, "kstore recovers what it had shown");
    drop(recovered);
    match end {
        Ending::Closed => log.close().expect("a clean close"),
        Ending::Dropped => drop(log),
    }
    for shutdown in ["clean", "unclean"] {
        let copy = place.copied("ended");
        said.assert_is(&judge.read_from(&copy, shutdown, said.bounds.0), &copy, shutdown);
    }
    assert_kstore_goes_on_behind_kafka(judge, place, config, &said);
    said
}

fn assert_kstore_goes_on_behind_kafka(judge: &mut Judge, place: &Place, config: &LogConfig, said: &Said) {
    let shared = place.copied("shared");
    judge.append(&shared, "clean", 3, KAFKAS_EPOCH);
    let log = open(&shared, config.clone());
    let found = Said::by(&log);
    assert_eq!(found.bounds, (said.bounds.0, said.bounds.1 + 6), "of what both wrote");
    assert_eq!(found.records[..said.records.len()], said.records[..]);
    assert_eq!(found.records.len(), said.records.len() + 6);
    assert_eq!(found.epochs.last(), Some(&(KAFKAS_EPOCH, said.bounds.1)));
    log.close().expect("a clean close");
    found.assert_is(&judge.read_from(&shared, "clean", found.bounds.0), &shared, "Kafka, kstore, Kafka");
}

/// What kstore says about a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) bounds: (u64, u64),
    pub(crate) epochs: Vec<(i32, u64)>,
    /// As the judge prints them.
    pub(crate) records: Vec<String>,
    /// The answer for each timestamp of a record.
    times: Vec<(i64, (u64, i64))>,
}

impl Said {
    pub(crate) fn by(log: &Log) -> Said {
        let end = log.log_end_offset().value();
        let epochs = log.leader_epochs().into_iter().map(|(epoch, start)| (epoch, start.value())).collect();
        let epochs = with_batches(epochs, end);
        let records: Vec<StoredRecord> =
            log.records(log.log_start_offset()..).expect("a range").map(|record| record.expect("readable")).collect();
        let mut asked: Vec<Timestamp> = records.iter().filter_map(StoredRecord::timestamp).collect();
        asked.sort();
        asked.dedup();
        let answer = |time| {
            let found = log.offset_for_timestamp(time).expect("a readable log").expect("a record has that time");
            (time.as_millis(), (found.0.value(), found.1.as_millis()))
        };
        Said {
            bounds: (log.log_start_offset().value(), log.log_end_offset().value()),
            epochs,
            records: records.iter().map(line).collect(),
            times: asked.into_iter().map(answer).collect(),
        }
    }

    /// The same, but for the epochs: these as Kafka has them once it recovered all of `dir`. It adds what batches claim
    /// to what the checkpoint says, and does not forget them at a batch of an old format, as it does when it appends one.
    pub(crate) fn as_recovered(&self, dir: &Path) -> Said {
        let mut epochs = self.epochs.clone();
        let latest = epochs.last().map_or(-1, |last| last.0);
        epochs.extend(claimed_epochs(dir).into_iter().filter(|claimed| claimed.0 > latest));
        let ended = epochs.iter().filter(|&&(_, start)| start <= self.bounds.0).count();
        if let Some(ended) = ended.checked_sub(1) {
            epochs.drain(..ended);
            epochs[0].1 = self.bounds.0;
        }
        Said { epochs, ..self.clone() }
    }

    /// Kafka, which read `dir`, says the same.
    pub(crate) fn assert_is(&self, kafkas: &Verdict, dir: &Path, what: &str) {
        assert_eq!(kafkas.bounds, self.bounds, "{what}");
        assert_eq!(kafkas.records.len(), self.records.len(), "{what}: as many records");
        for (kafkas, ours) in kafkas.records.iter().zip(&self.records) {
            assert_eq!(kafkas, ours, "{what}");
        }
        assert_eq!(with_batches(kafkas.epochs.clone(), kafkas.bounds.1), self.epochs, "{what}");
        let segments = largest_times(dir);
        let expected: Vec<(i64, Option<(u64, i64)>)> = self
            .times
            .iter()
            .map(|&(time, found)| {
                (time, Some(found).filter(|&(offset, _)| is_in_first_that_reaches(&segments, time, offset)))
            })
            .collect();
        assert_eq!(kafkas.times, expected, "{what}");
    }
}

/// Without one that begins at the log end, which has no batch. What is left of it depends on the way: Kafka forgets it when it
/// opens a log, unless the log start moved up to the log end.
fn with_batches(epochs: Vec<(i32, u64)>, log_end: u64) -> Vec<(i32, u64)> {
    epochs.into_iter().filter(|&(_, start)| start < log_end).collect()
}

/// Whether the record lies in the one segment in which Kafka looks.
fn is_in_first_that_reaches(segments: &[(u64, i64)], time: i64, offset: u64) -> bool {
    let first = segments.iter().position(|&(_, largest)| largest >= time).expect("a record reaches its own time");
    offset >= segments[first].0 && segments.get(first + 1).is_none_or(|&(base, _)| offset < base)
}

/// The base offset of each segment, and the largest time that its batches claim, by their headers alone. A segment
/// without times is as old as its file.
fn largest_times(dir: &Path) -> Vec<(u64, i64)> {
    let largest = |name: &str, bytes: &[u8]| match largest_time(bytes) {
        -1 => modified(&dir.join(name)),
        time => time,
    };
    let segments = files(dir, ".log");
    let base = |name: &str| name[..20].parse().expect("a base offset");
    segments.iter().map(|(name, bytes)| (base(name), largest(name, bytes))).collect()
}

fn modified(path: &Path) -> i64 {
    let modified = std::fs::metadata(path).expect("a file").modified().expect("a time");
    let since = modified.duration_since(std::time::UNIX_EPOCH).expect("a time of this age");
    i64::try_from(since.as_millis()).expect("a time of this age")
}

fn largest_time(log: &[u8]) -> i64 {
    batches(log).into_iter().fold(-1, |largest, batch| match batch[16] {
        0 => largest,
        1 => largest.max(number(&batch[18..])),
        _ => largest.max(number(&batch[35..])),
    })
}

/// The epochs that batches claim and none before them did, in order, with the batch's base offset.
fn claimed_epochs(dir: &Path) -> Vec<(i32, u64)> {
    let mut claimed: Vec<(i32, u64)> = Vec::new();
    for (_, bytes) in files(dir, ".log") {
        for batch in batches(&bytes).into_iter().filter(|batch| batch[16] == 2) {
            let epoch = i32::from_be_bytes(batch[12..16].try_into().expect("four bytes"));
            if epoch > claimed.last().map_or(-1, |last| last.0) {
                claimed.push((epoch, u64::try_from(number(batch)).expect("an offset")));
            }
        }
    }
    claimed
}

/// The batches of a `.log` by the lengths that they name, up to the zeros behind the last one.
fn batches(log: &[u8]) -> Vec<&[u8]> {
    let (mut at, mut batches) = (0, Vec::new());
    while at + 17 < log.len() {
        let length = usize::try_from(number(&log[at + 4..]) & 0xFFFF_FFFF).expect("a length");
        if length == 0 {
            break;
        }
        batches.push(&log[at..log.len().min(at + 12 + length)]);
        at += 12 + length;
    }
    batches
}

fn number(bytes: &[u8]) -> i64 {
    i64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"))
}

/// A record as the judge prints it.
fn line(record: &StoredRecord) -> String {
    let text = |bytes: Option<&[u8]>| bytes.map_or("null".to_owned(), |bytes| format!("={}", STANDARD.encode(bytes)));
    let headers: String =
        record.headers().map(|(name, value)| format!(" {}:{}", STANDARD.encode(name), text(value))).collect();
    let time = record.timestamp().map_or(-1, Timestamp::as_millis);
    format!("{} {time} {} {}{headers}", record.offset(), text(record.key()), text(record.value()))
}
