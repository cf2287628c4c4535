//! Apache Kafka as the judge: its own log classes open what kstore wrote, and kstore goes on with what Kafka wrote.
//!
//! Whatever kstore reads back of a directory, Kafka must read too, cleanly closed or not, and answer lookups by time and
//! by leader epoch alike.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is about Kafka")]

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kstore::{AppendOptions, Compression, Log, LogConfig, Offset, Record, StoredRecord, Timestamp, WriteMode};

mod judge;

use judge::{Judge, Verdict};

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Kafka takes topic and partition from the name.
    fn dir(&self) -> PathBuf {
        self.folder.path().join("orders-0")
    }

    /// The directory as it is now, as a crash of the process would leave it, where Kafka may do with it as it likes.
    fn copied(&self, name: &str) -> PathBuf {
        let copy = self.folder.path().join(name).join("orders-0");
        std::fs::create_dir_all(&copy).expect("a new folder");
        for entry in std::fs::read_dir(self.dir()).expect("a readable folder") {
            let path = entry.expect("a readable folder").path();
            if path.is_file() {
                std::fs::copy(&path, copy.join(path.file_name().expect("a name"))).expect("a copy");
            }
        }
        copy
    }
}

fn config(codec: Compression, mode: WriteMode) -> LogConfig {
    LogConfig::default().segment_bytes(6000).index_interval_bytes(512).compression(codec).write_mode(mode)
}

/// Batches of one to seven records, in rising leader epochs, with keys, tombstones, headers and times out of order.
fn fill(log: &Log, batches: u64) {
    let first_epoch = log.latest_leader_epoch().map_or(0, |latest| latest + 1);
    for batch in 0..batches {
        let texts: Vec<(String, String)> = (0..=batch % 7)
            .map(|record| (format!("key-{}", record % 3), format!("value-{batch}-{record}-{}", "x".repeat(60))))
            .collect();
        let headers: [(&str, Option<&[u8]>); 2] = [("trace", Some(b"1")), ("none", None)];
        let records: Vec<Record<'_>> = texts
            .iter()
            .enumerate()
            .map(|(index, (key, value))| {
                let record = if index == 3 { Record::tombstone(key) } else { Record::new(key, value) };
                let jitter = i64::try_from((batch * 37 + index as u64 * 11) % 90).expect("small");
                let time = 1_700_000_000_000 + i64::try_from(batch).expect("small") * 20 + jitter;
                let record = record.timestamp(Timestamp::from_millis(time));
                if index % 2 == 1 { record.headers(&headers) } else { record }
            })
            .collect();
        let epoch = first_epoch + i32::try_from(batch / 25).expect("small");
        log.append_with(&AppendOptions::default().leader_epoch(epoch), &records).expect("there is room");
    }
}

/// A record as the judge prints it.
fn line(record: &StoredRecord) -> String {
    let text = |bytes: Option<&[u8]>| bytes.map_or("null".to_owned(), |bytes| format!("={}", STANDARD.encode(bytes)));
    let headers: String =
        record.headers().map(|(name, value)| format!(" {}:{}", STANDARD.encode(name), text(value))).collect();
    let time = record.timestamp().map_or(-1, Timestamp::as_millis);
    format!("{} {time} {} {}{headers}", record.offset(), text(record.key()), text(record.value()))
}

fn lines(log: &Log) -> Vec<String> {
    log.records(log.log_start_offset()..).expect("a range").map(|record| line(&record.expect("readable"))).collect()
}

/// Kafka must see what kstore sees.
fn assert_agrees(log: &Log, verdict: &Verdict) {
    assert_eq!(verdict.bounds, (log.log_start_offset().value(), log.log_end_offset().value()));
    assert_eq!(verdict.records, lines(log));
    let epochs: Vec<(i32, u64)> =
        log.leader_epochs().into_iter().map(|(epoch, start)| (epoch, start.value())).collect();
    assert_eq!(verdict.epochs, epochs);
    for &(time, found) in &verdict.times {
        let ours = log.offset_for_timestamp(Timestamp::from_millis(time)).expect("a readable log");
        assert_eq!(ours.map(|(offset, time)| (offset.value(), time.as_millis())), found, "lookup by {time}");
    }
}

fn open(dir: &Path, config: LogConfig) -> Log {
    Log::open(dir, config).expect("the log opens")
}

#[test]
fn kafka_reads_every_codec_and_write_mode_after_a_clean_close_and_without_one() {
    let Some(mut judge) = Judge::start() else { return };
    for codec in CODECS {
        for mode in [WriteMode::Write, WriteMode::Preallocated] {
            let place = Place::new();
            let log = open(&place.dir(), config(codec, mode));
            fill(&log, 120);
            assert!(log.segments().expect("an open log").len() > 2, "it rolled");
            let abandoned = judge.read(&place.copied("killed"), "unclean");
            assert_agrees(&log, &abandoned);
            log.close().expect("a clean close");
            for shutdown in ["clean", "unclean"] {
                let verdict = judge.read(&place.copied(shutdown), shutdown);
                assert_eq!(verdict, abandoned, "{codec:?} {mode:?} {shutdown}");
            }
        }
    }
}

#[test]
fn kafka_and_kstore_go_on_with_what_the_other_wrote() {
    let Some(mut judge) = Judge::start() else { return };
    let place = Place::new();
    let config = config(Compression::None, WriteMode::Preallocated);
    for round in 0..4 {
        let log = open(&place.dir(), config.clone());
        fill(&log, 30);
        let expected = lines(&log);
        if round % 2 == 0 {
            log.close().expect("a clean close");
            assert_eq!(judge.read(&place.copied(&format!("copy-{round}")), "clean").records, expected);
        } else {
            drop(log);
        }
        let end = expected.len() as u64;
        judge.append(&place.dir(), if round % 2 == 0 { "clean" } else { "unclean" }, 10, round * 4 + 3);
        let log = open(&place.dir(), config.clone());
        let found = lines(&log);
        assert_eq!(found[..expected.len()], expected[..]);
        assert_eq!(found.len() as u64, end + 20, "what Kafka appended is there");
        let last = log.records(Offset::new(end + 19)..).expect("a range").next().expect("a record").expect("readable");
        assert_eq!(last.value(), Some(format!("kafka-{}", end + 19).as_bytes()));
        log.close().expect("a clean close");
    }
}
