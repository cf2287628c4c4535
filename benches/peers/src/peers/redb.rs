//! `redb`: a copy-on-write B-tree with transactions, here a table from a number to a value.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
};

use super::{Entry, Peer, Terms};
use crate::Outcome;
use crate::rows::Shape;
use crate::values::Sum;

pub(super) const ENTRY: Entry = Entry {
    name: "redb",
    terms: Terms {
        used_as: "a table of `u64` and `&[u8]`; a write transaction a call, `Durability::None` and, because those \
            are not written before one is, `Immediate` once a segment; `range` for the scan; one read transaction \
            for all lookups",
        checksum: "XXH3 over each page; verified after a crash, not by reads",
        atomic: "a call: one transaction",
        plain_append: "nothing, before a later durable one",
        durable_append: "`Durability::Immediate`, one writer at a time, each with a sync of its own",
        copies: "two or more: into a page, and by the system; read from its cache",
    },
    refuses: |_| None,
    run: crate::work::round::<OfRedb>,
};

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

struct OfRedb {
    database: Database,
    next: AtomicU64,
    /// So much payload was not made durable, of so much that may be.
    pending_bytes: usize,
    segment_bytes: usize,
    reading: Option<ReadTransaction>,
}

impl OfRedb {
    fn write<V: AsRef<[u8]>>(&self, values: &[V], durability: Durability) -> Outcome<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for value in values {
                // The transaction is the only one: the number is the next of the table.
                table.insert(self.next.fetch_add(1, Ordering::Relaxed), value.as_ref())?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn write_plainly<V: AsRef<[u8]>>(&mut self, values: &[V]) -> Outcome<()> {
        self.pending_bytes += values.iter().map(|value| value.as_ref().len()).sum::<usize>();
        if self.pending_bytes < self.segment_bytes {
            return self.write(values, Durability::None);
        }
        self.pending_bytes = 0;
        self.write(values, Durability::Immediate)
    }
}

impl Peer for OfRedb {
    type Batch<'a> = Vec<&'a [u8]>;

    fn open(dir: &Path, shape: &Shape) -> Outcome<OfRedb> {
        let database = Database::create(dir.join("records.redb"))?;
        let segment_bytes = shape.segment_bytes;
        Ok(OfRedb { database, next: AtomicU64::new(0), pending_bytes: 0, segment_bytes, reading: None })
    }

    fn batch<'a>(values: &[&'a [u8]]) -> Vec<&'a [u8]> {
        values.to_vec()
    }

    fn append(&mut self, value: &[u8]) -> Outcome<()> {
        self.write_plainly(&[value])
    }

    fn append_batch(&mut self, batch: &Vec<&[u8]>) -> Outcome<()> {
        self.write_plainly(batch)
    }

    fn append_durably(&self, _thread: usize, value: &[u8]) -> Outcome<()> {
        self.write(&[value], Durability::Immediate)
    }

    fn records(&mut self) -> Outcome<usize> {
        Ok(usize::try_from(self.database.begin_read()?.open_table(RECORDS)?.len()?)?)
    }

    fn scan(&mut self) -> Outcome<Option<Sum>> {
        let table = self.database.begin_read()?.open_table(RECORDS)?;
        let mut sum = Sum::default();
        for record in table.iter()? {
            sum.add(record?.1.value());
        }
        Ok(Some(sum))
    }

    fn lookup<T>(&mut self, record: usize, look: impl FnOnce(&[u8]) -> T) -> Outcome<T> {
        if self.reading.is_none() {
            self.reading = Some(self.database.begin_read()?);
        }
        let table = self.reading.as_ref().ok_or("it began")?.open_table(RECORDS)?;
        let value = table.get(record as u64)?.ok_or("the record is there")?;
        Ok(look(value.value()))
    }

    fn close(self) -> Outcome<()> {
        // Dropping it is how it is closed.
        Ok(())
    }
}
