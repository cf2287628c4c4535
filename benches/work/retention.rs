//! Looks at old segments: one that deletes all but the last, and one that finds nothing.
//!
//! What is deleted was synced before, and is renamed only; the unlinking comes a minute later. The log start is synced
//! within the look, as one file is on the other side.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kstore::{Log, LogConfig, Record, Timestamp, Worker};
use tempfile::TempDir;

use super::{Cost, Outcome, Work};

/// Fills a segment with one record.
const SEGMENT_BYTES: u64 = 100;

fn config() -> LogConfig {
    LogConfig::default().segment_bytes(SEGMENT_BYTES).worker(Worker::Caller)
}

/// A log of many segments, each of one record.
fn log_of(dir: &Path, segments: u64) -> Outcome<Log> {
    let log = Log::open(dir, config())?;
    for segment in 0..segments {
        log.append(&[Record::value("a record")])?;
        // Segments that are not durable yet keep their files open.
        if segment % 500 == 499 {
            log.sync()?;
        }
    }
    log.sync()?;
    Ok(log)
}

fn now() -> Outcome<Timestamp> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(Timestamp::from_millis(i64::try_from(since.as_millis())?))
}

/// Deletes all segments of a log but the last.
pub(super) struct DeleteAll {
    dir: PathBuf,
    /// A closed log, of which each round changes a copy.
    whole: PathBuf,
    segments: u64,
}

impl DeleteAll {
    pub(super) fn new(dir: &Path, segments: u64) -> Outcome<DeleteAll> {
        let whole = dir.join("whole");
        log_of(&whole, segments)?.close()?;
        Ok(DeleteAll { dir: dir.to_path_buf(), whole, segments })
    }

    fn copy(&self) -> Outcome<TempDir> {
        let copy = tempfile::tempdir_in(&self.dir)?;
        for entry in std::fs::read_dir(&self.whole)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                std::fs::copy(entry.path(), copy.path().join(entry.file_name()))?;
            }
        }
        Ok(copy)
    }
}

impl Work for DeleteAll {
    fn records(&self) -> u64 {
        self.segments
    }

    fn most_rounds(&self) -> usize {
        3
    }

    fn raw(&mut self) -> Outcome<Cost> {
        let dir = self.copy()?;
        let files = super::scan::log_files(dir.path())?;
        let state = File::create(dir.path().join("one more"))?;
        let (cost, ()) = Cost::of(|| {
            state.set_len(4096)?;
            state.sync_data()?;
            for file in &files {
                for suffix in ["log", "index", "timeindex"] {
                    let from = file.with_extension(suffix);
                    std::fs::rename(&from, file.with_extension(format!("{suffix}.gone")))?;
                }
            }
            Ok(())
        })?;
        Ok(cost)
    }

    fn kstore(&mut self) -> Outcome<Cost> {
        let dir = self.copy()?;
        let config = config().retention_bytes(SEGMENT_BYTES / 2);
        let log = Log::open(dir.path(), config)?;
        let (cost, deleted) = Cost::of(|| Ok(log.delete_old_segments(now()?)?))?;
        assert_eq!(deleted.segments, self.segments - 1, "the last one stays");
        log.close()?;
        Ok(cost)
    }
}

/// Looks at a log in which nothing is old.
pub(super) struct FindNothing {
    log: Log,
    files: Vec<PathBuf>,
}

impl FindNothing {
    pub(super) fn new(dir: &Path, segments: u64) -> Outcome<FindNothing> {
        let log = log_of(&dir.join("kept"), segments)?;
        log.update_config(|config| config.retention_ms(1 << 40).retention_bytes(1 << 40))?;
        let files = super::scan::log_files(log.dir())?;
        Ok(FindNothing { log, files })
    }
}

impl Work for FindNothing {
    fn records(&self) -> u64 {
        self.files.len() as u64
    }

    fn raw(&mut self) -> Outcome<Cost> {
        let (cost, bytes) = Cost::of(|| {
            let sizes = self.files.iter().map(|path| Ok(std::fs::metadata(path)?.len()));
            sizes.sum::<Outcome<u64>>()
        })?;
        std::hint::black_box(bytes);
        Ok(cost)
    }

    fn kstore(&mut self) -> Outcome<Cost> {
        let (cost, deleted) = Cost::of(|| Ok(self.log.delete_old_segments(now()?)?))?;
        assert_eq!(deleted.segments, 0, "all of it is young");
        Ok(cost)
    }
}
