//! Appends that return when their record is on disk, by one thread or by several at once.
//!
//! The bare calls are what a program without a log would do: `write` at the end of one file, then `fdatasync`, by each
//! thread for each record. The log's segment is allocated ahead, as its documents advise for this work.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use kstore::{Log, LogConfig, Record, SyncPolicy, WriteMode};

use super::{Cost, Outcome, Work};

/// The value of each record.
const VALUE: [u8; 100] = [b'v'; 100];

/// So many threads, each with so many records.
pub(super) struct Durable {
    dir: PathBuf,
    threads: u64,
    each: u64,
}

impl Durable {
    pub(super) fn new(dir: &Path, threads: u64, each: u64) -> Durable {
        Durable { dir: dir.to_path_buf(), threads, each }
    }

    /// Does something in each thread as often as records are asked of it.
    fn in_threads(&self, append: impl Fn() -> Outcome<()> + Sync) -> Outcome<Cost> {
        let (cost, ()) = Cost::of(|| {
            std::thread::scope(|scope| {
                let run = || (0..self.each).try_for_each(|_| append());
                let threads: Vec<_> = (0..self.threads).map(|_| scope.spawn(run)).collect();
                threads.into_iter().try_for_each(|thread| thread.join().expect("a bench thread does not panic"))
            })
        })?;
        Ok(cost)
    }
}

impl Work for Durable {
    fn records(&self) -> u64 {
        self.threads * self.each
    }

    fn raw(&mut self) -> Outcome<Cost> {
        let dir = tempfile::tempdir_in(&self.dir)?;
        let file = OpenOptions::new().append(true).create_new(true).open(dir.path().join("plain"))?;
        self.in_threads(|| {
            (&file).write_all(&VALUE)?;
            Ok(file.sync_data()?)
        })
    }

    fn kstore(&mut self) -> Outcome<Cost> {
        let dir = tempfile::tempdir_in(&self.dir)?;
        let config = LogConfig::default().sync_policy(SyncPolicy::Always).write_mode(WriteMode::Preallocated);
        let log = Log::open(dir.path().join("log"), config)?;
        let record = [Record::value(&VALUE)];
        let first = log.append(&record)?;
        let cost = self.in_threads(|| Ok(log.append(&record).map(drop)?))?;
        assert_eq!(log.synced_offset() - first.next_offset(), self.records(), "every record is durable");
        log.close()?;
        Ok(cost)
    }
}
