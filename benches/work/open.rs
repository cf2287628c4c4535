//! Opening a log: one that was closed, and one that was not.
//!
//! All files are in the page cache. The crash is a copy of the files of a log that is still open; the copy is synced, as
//! otherwise opening it would measure how fast the disk writes.

use std::fs::File;
use std::path::{Path, PathBuf};

use kstore::{Log, LogConfig, Trust};

use super::{Cost, Outcome, Work};

/// The batches of both logs.
const BATCH_BYTES: usize = 64 << 10;
/// The size of each segment of the closed log.
const SEGMENT_BYTES: u64 = 1 << 20;

/// A log that was closed, and is opened and closed again and again.
pub(super) struct Reopen {
    dir: PathBuf,
    files: Vec<PathBuf>,
    openings: u64,
}

impl Reopen {
    pub(super) fn new(dir: &Path, segments: u64, openings: u64) -> Outcome<Reopen> {
        let dir = dir.join("reopened");
        let log = super::scan::filled_log(&dir, BATCH_BYTES, segments * SEGMENT_BYTES, SEGMENT_BYTES)?;
        let files = super::scan::log_files(&dir)?;
        assert_eq!(files.len() as u64, segments, "the log has the segments that were asked for");
        log.close()?;
        Ok(Reopen { dir, files, openings })
    }
}

impl Work for Reopen {
    fn records(&self) -> u64 {
        self.openings
    }

    fn raw(&mut self) -> Outcome<Cost> {
        let mut sum = Cost::default();
        for _ in 0..self.openings {
            let (cost, bytes) = Cost::of(|| {
                let sizes = self.files.iter().map(|path| Ok(File::open(path)?.metadata()?.len()));
                sizes.sum::<Outcome<u64>>()
            })?;
            std::hint::black_box(bytes);
            sum += cost;
        }
        Ok(sum)
    }

    fn kstore(&mut self) -> Outcome<Cost> {
        let mut sum = Cost::default();
        for _ in 0..self.openings {
            let (cost, log) = Cost::of(|| Ok(Log::open(&self.dir, LogConfig::default())?))?;
            assert_eq!(log.recovery_report().trust, Trust::Clean, "nothing was recovered");
            log.close()?;
            sum += cost;
        }
        Ok(sum)
    }
}

/// A log that is still open, and whose files are copied as a crash would leave them.
pub(super) struct Recover {
    dir: PathBuf,
    log: Log,
    files: Vec<PathBuf>,
    chunk: Vec<u8>,
}

impl Recover {
    pub(super) fn new(dir: &Path, total_bytes: u64) -> Outcome<Recover> {
        // One segment, as the others would be synced soon and then not be recovered.
        let log = super::scan::filled_log(&dir.join("crashing"), BATCH_BYTES, total_bytes, 1 << 30)?;
        let files = super::scan::log_files(log.dir())?;
        Ok(Recover { dir: dir.to_path_buf(), log, files, chunk: super::scan::chunk() })
    }
}

impl Work for Recover {
    fn records(&self) -> u64 {
        self.log.log_end_offset() - self.log.log_start_offset()
    }

    fn raw(&mut self) -> Outcome<Cost> {
        let (cost, bytes) = Cost::of(|| super::scan::read_and_checksum(&self.files, &mut self.chunk))?;
        std::hint::black_box(bytes);
        Ok(cost)
    }

    fn kstore(&mut self) -> Outcome<Cost> {
        let crashed = tempfile::tempdir_in(&self.dir)?;
        for entry in std::fs::read_dir(self.log.dir())? {
            let entry = entry?;
            let copy = crashed.path().join(entry.file_name());
            std::fs::copy(entry.path(), &copy)?;
            File::open(copy)?.sync_all()?;
        }
        let (cost, log) = Cost::of(|| Ok(Log::open(crashed.path(), LogConfig::default())?))?;
        assert_eq!(log.recovery_report().trust, Trust::FromRecoveryPoint, "the log was recovered");
        assert_eq!(log.log_end_offset(), self.log.log_end_offset(), "nothing was lost");
        log.close()?;
        Ok(cost)
    }
}
