//! `fjall`: a log-structured merge tree with a journal, here a keyspace from a number to a value.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Entry, Peer, Terms};
use crate::Outcome;
use crate::rows::{Row, Shape};
use crate::values::Sum;

pub(super) const ENTRY: Entry = Entry {
    name: "fjall",
    terms: Terms {
        used_as: "a keyspace of big-endian numbers and values, default options without compression; `insert` a \
            record, `batch` a batch",
        checksum: "XXH3 over each call in the journal and over each block; blocks are verified when they are read \
            from a file",
        atomic: "a call",
        plain_append: "the end of the process",
        durable_append: "`persist(SyncData)` after each `insert`, each thread its own",
        copies: "three or more: key and value of their own in memory, the journal, and the tables that it is flushed \
            to",
    },
    refuses: |_: &Row| None,
    run: crate::work::round::<OfFjall>,
};

struct OfFjall {
    database: Database,
    records: Keyspace,
    next: AtomicU64,
}

impl OfFjall {
    fn next(&self) -> [u8; 8] {
        self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes()
    }
}

impl Peer for OfFjall {
    type Batch<'a> = Vec<&'a [u8]>;

    fn open(dir: &Path, _shape: &Shape) -> Outcome<OfFjall> {
        let database = Database::builder(dir).open()?;
        let records = database.keyspace("records", KeyspaceCreateOptions::default)?;
        Ok(OfFjall { database, records, next: AtomicU64::new(0) })
    }

    fn batch<'a>(values: &[&'a [u8]]) -> Vec<&'a [u8]> {
        values.to_vec()
    }

    fn append(&mut self, value: &[u8]) -> Outcome<()> {
        Ok(self.records.insert(self.next(), value)?)
    }

    fn append_batch(&mut self, batch: &Vec<&[u8]>) -> Outcome<()> {
        let mut writes = self.database.batch();
        for value in batch {
            writes.insert(&self.records, self.next(), *value);
        }
        Ok(writes.commit()?)
    }

    fn append_durably(&self, _thread: usize, value: &[u8]) -> Outcome<()> {
        self.records.insert(self.next(), value)?;
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    fn records(&mut self) -> Outcome<usize> {
        Ok(self.records.len()?)
    }

    fn scan(&mut self) -> Outcome<Option<Sum>> {
        let mut sum = Sum::default();
        for record in self.records.iter() {
            sum.add(&record.value()?);
        }
        Ok(Some(sum))
    }

    fn lookup<T>(&mut self, record: usize, look: impl FnOnce(&[u8]) -> T) -> Outcome<T> {
        let value = self.records.get((record as u64).to_be_bytes())?.ok_or("the record is there")?;
        Ok(look(&value))
    }

    fn close(self) -> Outcome<()> {
        // Dropping it is how it is closed.
        Ok(())
    }
}
