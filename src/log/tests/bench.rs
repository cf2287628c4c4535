//! The bench that the tests of a whole log work at: a simulated disk with a log directory on it.
//!
//! It knows no expectations; those stand in the tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::{LogConfig, Worker, WriteMode};
use crate::error::Result;
use crate::fs::Env;
use crate::fs::sim::{Risk, SimDisk};
use crate::log::{Appended, Log};
use crate::names::SegmentFile;
use crate::offset::Offset;
use crate::record::Record;

pub(super) const DIR: &str = "/data/log";

/// Endings of files that are made anew without a sync, for nothing is believed that stands in them (rules 24 and 25).
pub(super) const UNTRUSTED: [&str; 2] = [".index", ".timeindex"];

/// A disk with a place for a log.
pub(super) fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_dir_all("/data");
    disk.forbid_unsynced_replacements(&UNTRUSTED);
    disk
}

/// A log without a thread, which rolls after 300 bytes and gives each batch an index entry.
pub(super) fn small() -> LogConfig {
    LogConfig::default().segment_bytes(300).index_interval_bytes(0).worker(Worker::Caller)
}

/// The configuration in each write mode. Windows are there as soon as they are asked for.
pub(super) fn in_each_mode(config: &LogConfig) -> [LogConfig; 3] {
    [WriteMode::Write, WriteMode::Preallocated, WriteMode::Mapped]
        .map(|mode| config.clone().write_mode(mode).windows_at_once(1 << 20))
}

pub(super) fn open(disk: &SimDisk, config: LogConfig) -> Result<Log> {
    Log::open_in(&Env::sim(disk), Path::new(DIR), config)
}

pub(super) fn opened(disk: &SimDisk, config: LogConfig) -> Log {
    open(disk, config).expect("the log opens")
}

/// Appends one record a batch.
pub(super) fn fill(log: &Log, values: impl IntoIterator<Item = u64>) {
    for value in values {
        append(log, value).expect("there is room");
    }
}

/// One record of 40 bytes, a batch of 110.
pub(super) fn append(log: &Log, value: u64) -> Result<Appended> {
    log.append(&[Record::value(&text(value))])
}

pub(super) fn text(value: u64) -> String {
    format!("{value:040}")
}

/// The values of a log, first to last; every one must be readable.
pub(super) fn values(log: &Log) -> Vec<u64> {
    log.records(log.log_start_offset()..)
        .expect("the whole log is a range")
        .map(|record| number(record.expect("a readable record").value()))
        .collect()
}

pub(super) fn number(value: Option<&[u8]>) -> u64 {
    let text = std::str::from_utf8(value.expect("a value")).expect("digits");
    text.parse().expect("a number")
}

pub(super) fn upto(end: u64) -> Vec<u64> {
    (0..end).collect()
}

pub(super) fn at(offset: u64) -> Offset {
    Offset::new(offset)
}

pub(super) fn path(base: u64, kind: SegmentFile) -> PathBuf {
    Path::new(DIR).join(kind.name(Offset::new(base)))
}

pub(super) fn log_path(base: u64) -> PathBuf {
    path(base, SegmentFile::Log)
}

pub(super) fn state_path() -> PathBuf {
    Path::new(DIR).join(crate::names::STATE)
}

pub(super) fn names(disk: &SimDisk) -> Vec<String> {
    disk.list(DIR).into_iter().map(|name| name.into_string().expect("plain names")).collect()
}

/// Every file but the state.
pub(super) fn files(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let names = names(disk).into_iter().filter(|name| name != crate::names::STATE);
    names.map(|name| (name.clone(), disk.read_file(Path::new(DIR).join(&name)).expect("a file"))).collect()
}

/// The base offsets of the segments.
pub(super) fn bases(log: &Log) -> Vec<u64> {
    log.segments().expect("segments").iter().map(|segment| segment.base_offset.value()).collect()
}

/// How far into its batch a byte of a `.log` file stands.
pub(in crate::log) fn place_in_batch(bytes: &[u8], at: usize) -> usize {
    let mut start = 0;
    loop {
        let length = u32::from_be_bytes(*bytes[start + 8..].first_chunk().expect("a header"));
        let next = start + 12 + usize::try_from(length).expect("a small batch");
        if at < next {
            return at - start;
        }
        start = next;
    }
}

/// The `.log` files with records of which a power cut could take a byte or the name.
pub(super) fn at_risk(disk: &SimDisk, log: &Log) -> Vec<(String, Risk)> {
    // Of a segment without records nothing was promised.
    let without_records = log_path(log.log_end_offset().value());
    let is_meant = |path: &Path, risk| {
        let is_log = path.extension().is_some_and(|ending| ending == "log") && path.parent() == Some(Path::new(DIR));
        is_log && path != without_records && risk != Risk::Return
    };
    let found = disk.at_risk().into_iter().filter(|(path, risk)| is_meant(path, *risk));
    found.map(|(path, risk)| (path.to_string_lossy().into_owned(), risk)).collect()
}
