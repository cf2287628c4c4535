//! `walrus-rust`: topics of entries in blocks of large files, read by a cursor of each topic.

use std::path::Path;

use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus};

use super::{Entry, Peer, Terms};
use crate::Outcome;
use crate::rows::{Kind, Shape};
use crate::values::Sum;

pub(super) const ENTRY: Entry = Entry {
    name: "walrus-rust",
    terms: Terms {
        used_as: "the default backend (`pwrite`, io_uring for batches, whose calls the system does not count); one \
            topic, or one each thread, as its own benches; `FsyncSchedule::NoFsync`, its fastest; \
            `batch_read_for_topic` of 2,000 records, the most, for the scan, with `AtLeastOnce`, which keeps the \
            cursor in memory",
        checksum: "FNV-1a over each record; verified by every read",
        atomic: "a call, as long as the process lives",
        plain_append: "the end of the process; a batch is synced whatever the schedule",
        durable_append: "`FsyncSchedule::SyncEach`: files opened with `O_SYNC`, and `fsync` after each write, each \
            thread its own",
        copies: "two: into a fresh buffer, and by the system; read into a fresh buffer, and out of it a record each",
    },
    refuses: |row| match row.kind {
        Kind::Batch if row.name == "batch_1m" => Some("a batch has 2,000 records at most"),
        Kind::Lookup => Some("a topic is read by its cursor only"),
        _ => None,
    },
    run: crate::work::round::<OfWalrus>,
};

/// A call reads so many records at most, whatever the bytes.
const RECORDS_OF_CALL: usize = 2_000;
/// What a record has around it.
const HEADER_BYTES: usize = 64;
/// The topic that is read, and that of the first thread.
const TOPIC: usize = 0;

/// Its files go where `WALRUS_DATA_DIR` says, which whoever starts this process sets to the folder of the round.
struct OfWalrus {
    walrus: Walrus,
    topics: Vec<String>,
    /// What a call may read: as much as it takes for the number of records to end it. With a smaller limit 0.2.0 goes
    /// on in the last block although there is more in the one before.
    call_bytes: usize,
}

impl OfWalrus {
    fn topic(&self, thread: usize) -> Outcome<&str> {
        Ok(self.topics.get(thread).ok_or("a thread of the row")?)
    }

    fn read(&self, topic: &str) -> Outcome<Sum> {
        let mut sum = Sum::default();
        loop {
            let entries = self.walrus.batch_read_for_topic(topic, self.call_bytes, true)?;
            if entries.is_empty() {
                return Ok(sum);
            }
            entries.iter().for_each(|entry| sum.add(&entry.data));
        }
    }
}

impl Peer for OfWalrus {
    type Batch<'a> = Vec<&'a [u8]>;

    fn open(dir: &Path, shape: &Shape) -> Outcome<OfWalrus> {
        if std::env::var_os("WALRUS_DATA_DIR").is_none_or(|found| found != dir) {
            return Err("WALRUS_DATA_DIR is not the folder of the round".into());
        }
        let schedule = if shape.kind == Kind::Durable { FsyncSchedule::SyncEach } else { FsyncSchedule::NoFsync };
        let consistency = ReadConsistency::AtLeastOnce { persist_every: u32::MAX };
        let walrus = Walrus::with_consistency_and_schedule(consistency, schedule)?;
        let topics = (0..shape.threads).map(|thread| format!("topic-{thread}")).collect();
        Ok(OfWalrus { walrus, topics, call_bytes: (RECORDS_OF_CALL + 1) * (shape.value_bytes + HEADER_BYTES) })
    }

    fn batch<'a>(values: &[&'a [u8]]) -> Vec<&'a [u8]> {
        values.to_vec()
    }

    fn append(&mut self, value: &[u8]) -> Outcome<()> {
        Ok(self.walrus.append_for_topic(self.topic(TOPIC)?, value)?)
    }

    fn append_batch(&mut self, batch: &Vec<&[u8]>) -> Outcome<()> {
        Ok(self.walrus.batch_append_for_topic(self.topic(TOPIC)?, batch)?)
    }

    fn append_durably(&self, thread: usize, value: &[u8]) -> Outcome<()> {
        Ok(self.walrus.append_for_topic(self.topic(thread)?, value)?)
    }

    fn records(&mut self) -> Outcome<usize> {
        let mut records = 0;
        for topic in &self.topics {
            records += self.read(topic)?.records;
        }
        Ok(records)
    }

    fn scan(&mut self) -> Outcome<Option<Sum>> {
        self.read(self.topic(TOPIC)?).map(Some)
    }

    fn lookup<T>(&mut self, _record: usize, _look: impl FnOnce(&[u8]) -> T) -> Outcome<T> {
        Err("refused".into())
    }

    fn close(self) -> Outcome<()> {
        Ok(())
    }
}
