//! Where a log lies that Kafka is to read, what is written to it, and copies that Kafka may do with as it likes.
//!
//! It judges nothing. The invariant it owns: Kafka is given copies, unless a test is about what it does to the original.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kstore::{AppendOptions, Compression, Log, LogConfig, Offset, Record, Timestamp, WriteMode};

pub(crate) const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// The time of the first record.
pub(crate) const FIRST_TIME: i64 = 1_700_000_000_000;

#[derive(Debug)]
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Kafka takes topic and partition from the name.
    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("orders-0")
    }

    /// The directory as it is now, as a crash of the process would leave it.
    pub(crate) fn copied(&self, name: &str) -> PathBuf {
        self.copied_from(&self.dir(), name)
    }

    /// A copy that was made before, as it is by now.
    pub(crate) fn copy_named(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).join("orders-0")
    }

    /// A place for a copy that somebody else makes.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).expect("a new folder");
        folder.join("orders-0")
    }

    /// Puts a copy of the directory in its place: whoever has it open, as a process that was killed would not, has the old one.
    pub(crate) fn replace_by_copy(&self) {
        let copy = self.copied("replacement");
        std::fs::rename(self.dir(), self.folder.path().join("old")).expect("a folder of ours");
        std::fs::rename(copy, self.dir()).expect("a folder of ours");
        std::fs::remove_dir_all(self.folder.path().join("old")).expect("a folder of ours");
    }

    /// A copy of any directory, beside this one. A copy of the same name is replaced.
    pub(crate) fn copied_from(&self, dir: &Path, name: &str) -> PathBuf {
        let copy = self.folder.path().join(name).join(dir.file_name().expect("a name"));
        if copy.exists() {
            std::fs::remove_dir_all(&copy).expect("a copy of before");
        }
        copy_folder(dir, &copy);
        copy
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a new folder");
    for entry in std::fs::read_dir(from).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        let copy = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            std::fs::copy(&path, copy).expect("a copy");
        }
    }
}

/// The files of a directory whose names end so.
pub(crate) fn names(dir: &Path, suffix: &str) -> Vec<String> {
    files(dir, suffix).into_keys().collect()
}

/// The files of a directory whose names end so, and their bytes.
pub(crate) fn files(dir: &Path, suffix: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("a readable folder").map(|entry| entry.expect("readable").path());
    entries
        .filter(|path| path.is_file() && path.to_string_lossy().ends_with(suffix))
        .map(|path| {
            let bytes = std::fs::read(&path).expect("a readable file");
            (path.file_name().expect("a name").to_string_lossy().into_owned(), bytes)
        })
        .collect()
}

pub(crate) fn config(codec: Compression, mode: WriteMode) -> LogConfig {
    LogConfig::default().segment_bytes(6000).index_interval_bytes(512).compression(codec).write_mode(mode)
}

pub(crate) fn open(dir: &Path, config: LogConfig) -> Log {
    Log::open(dir, config).expect("the log opens")
}

/// Batches of one to seven records, in rising leader epochs, with keys, tombstones, headers and times out of order.
pub(crate) fn fill(log: &Log, batches: u64) {
    let first_epoch = log.latest_leader_epoch().map_or(0, |latest| latest + 1);
    for batch in 0..batches {
        let epoch = first_epoch + i32::try_from(batch / 25).expect("small");
        append(log, batch, epoch);
    }
}

/// One of those batches.
pub(crate) fn append(log: &Log, batch: u64, epoch: i32) {
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
            let time = FIRST_TIME + i64::try_from(batch).expect("small") * 20 + jitter;
            let record = record.timestamp(Timestamp::from_millis(time));
            if index % 2 == 1 { record.headers(&headers) } else { record }
        })
        .collect();
    log.append_with(&AppendOptions::default().leader_epoch(epoch), &records).expect("there is room");
}

/// The offsets at which batches begin.
pub(crate) fn batch_bases(log: &Log) -> Vec<u64> {
    let batches = log.reader().batches(..).expect("an open log");
    batches.map(|batch| batch.expect("a sound batch").base_offset().value()).collect()
}

/// The offsets at which segments begin.
pub(crate) fn segment_bases(log: &Log) -> Vec<u64> {
    log.segments().expect("an open log").iter().map(|segment| segment.base_offset.value()).collect()
}

/// An offset inside a batch of three records or more that begins at `at` or above.
pub(crate) fn inside_a_batch(log: &Log, at: u64) -> Offset {
    let batches = log.reader().batches(Offset::new(at)..).expect("a range").map(|batch| batch.expect("a sound batch"));
    let mut wide = batches.filter(|batch| batch.base_offset().value() >= at && batch.record_count() >= Some(3));
    wide.next().expect("a wide batch").base_offset() + 2
}
