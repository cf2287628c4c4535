//! The check on the simulated disk: sound logs have no findings, and every planted fault has one.
//!
//! What Kafka wrote is checked in `tests/golden_integrity.rs`, the program in `tests/examples.rs`.

use std::path::{Path, PathBuf};

use super::{IntegrityReport, Severity};
use crate::config::{LogConfig, Worker};
use crate::fs::Env;
use crate::fs::sim::SimDisk;
use crate::log::Log;
use crate::names::{STATE, SegmentFile};
use crate::offset::{Offset, Timestamp};
use crate::record::{Compression, Record};

mod flips;
mod live;
mod planted;
mod sound;

const DIR: &str = "/data/log";

/// Segments of a few batches, and an index entry for each batch but the first.
fn small() -> LogConfig {
    LogConfig::default().segment_bytes(400).index_interval_bytes(0).worker(Worker::Caller)
}

fn open(disk: &SimDisk, config: &LogConfig) -> Log {
    disk.create_dir_all("/data");
    Log::open_in(&Env::sim(disk), Path::new(DIR), config.clone()).expect("the log opens")
}

/// The codecs that this build has.
fn codecs() -> Vec<Compression> {
    let mut codecs = vec![Compression::None];
    for (built, codec) in [
        (cfg!(feature = "gzip"), Compression::Gzip),
        (cfg!(feature = "snappy"), Compression::Snappy),
        (cfg!(feature = "lz4"), Compression::Lz4),
        (cfg!(feature = "zstd"), Compression::Zstd),
    ] {
        if built {
            codecs.push(codec);
        }
    }
    codecs
}

/// Batches of one to three records, a codec each, whose times rise and fall.
fn fill(log: &Log, batches: u64) {
    let codecs = codecs();
    for number in 0..batches {
        let codec = codecs[usize::try_from(number).expect("a small number") % codecs.len()];
        log.update_config(|config| config.compression(codec)).expect("a sound configuration");
        let values: Vec<String> = (0..=number % 3).map(|inner| format!("{number} {inner} {:020}", 7)).collect();
        let time = i64::try_from(1000 + number * 10 - (number % 4) * 15).expect("a small number");
        let records: Vec<Record<'_>> =
            values.iter().map(|value| Record::value(value).timestamp(Timestamp::from_millis(time))).collect();
        log.append(&records).expect("there is room");
    }
}

/// A closed log of several segments.
fn closed(batches: u64) -> SimDisk {
    let disk = SimDisk::in_memory(1);
    let log = open(&disk, &small());
    fill(&log, batches);
    log.close().expect("a healthy disk");
    disk
}

fn check(disk: &SimDisk) -> IntegrityReport {
    let reader = Log::open_read_only_in(&Env::sim(disk), Path::new(DIR)).expect("a log");
    reader.check_integrity().expect("a readable log")
}

/// As [`check`]; `None` if the directory is none that opens.
fn try_check(disk: &SimDisk) -> Option<IntegrityReport> {
    let reader = Log::open_read_only_in(&Env::sim(disk), Path::new(DIR)).ok()?;
    Some(reader.check_integrity().expect("a readable log"))
}

fn path(base: u64, kind: SegmentFile) -> PathBuf {
    Path::new(DIR).join(kind.name(Offset::new(base)))
}

fn state_path() -> PathBuf {
    Path::new(DIR).join(STATE)
}

/// Files whose names end so, sorted, that are not empty.
fn files(disk: &SimDisk, suffix: &str) -> Vec<PathBuf> {
    let names = disk.list(DIR).into_iter().map(|name| Path::new(DIR).join(name));
    let mut found: Vec<PathBuf> = names.filter(|path| path.to_string_lossy().ends_with(suffix)).collect();
    found.retain(|path| disk.read_file(path).is_some_and(|bytes| !bytes.is_empty()));
    found.sort();
    found
}

/// The kinds of all findings that are at least so bad.
fn kinds(report: &IntegrityReport, least: Severity) -> Vec<&'static str> {
    report.findings.iter().filter(|finding| finding.severity >= least).map(|finding| finding.what.name()).collect()
}
