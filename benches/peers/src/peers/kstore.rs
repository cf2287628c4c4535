//! kstore, in each of its write modes.

use std::path::Path;

use kstore::{Log, LogConfig, Offset, Reader, Record, SyncPolicy, WriteMode};

use super::{Entry, Peer, Terms};
use crate::Outcome;
use crate::rows::{Kind, Row, Shape};
use crate::values::Sum;

const TERMS: Terms = Terms {
    used_as: "",
    checksum: "CRC-32C over each batch; verified by every read, of the whole batch",
    atomic: "a call: one record batch",
    plain_append: "the end of the process; sealed segments are synced in the background",
    durable_append: "`SyncPolicy::Always`: one thread syncs for all that wait",
    copies: "two: encoded into a buffer, and by the system; the scan borrows from a batch, a lookup owns it",
};

/// Every segment is written with `pwrite`.
pub(super) const WRITE: Entry = Entry {
    name: "kstore",
    terms: Terms {
        used_as: "`WriteMode::Write`, the default; `batches()` and their records for the scan, `records()` of one \
            offset for a lookup, with `index_interval_bytes` of 0, which its documents advise for random lookups: an index \
            entry for each batch, as commitlog has one for each record",
        ..TERMS
    },
    refuses: |_| None,
    run: crate::work::round::<Mode<Write>>,
};

/// The same into room that was allocated ahead.
pub(super) const PREALLOCATED: Entry = Entry {
    name: "kstore-preallocated",
    terms: Terms { used_as: "`WriteMode::Preallocated`, which its documents advise for durable appends", ..TERMS },
    refuses: only_appends,
    run: crate::work::round::<Mode<Preallocated>>,
};

/// Small appends are stores into a map, and sealed segments are read out of maps.
pub(super) const MAPPED: Entry = Entry {
    name: "kstore-mapped",
    terms: Terms {
        used_as: "`WriteMode::Mapped`, whose worker makes room ahead; batches larger than its window go by `pwrite`; and \
            `mapped_reads`, by which sealed segments are read out of maps",
        durable_append: "none with `Always`; `sync_to` waits for the disk",
        copies: "one: encoded into the mapped file",
        ..TERMS
    },
    refuses: |row| match row.kind {
        Kind::Durable => Some("`WriteMode::Mapped` is refused with `SyncPolicy::Always`"),
        Kind::Reopen => Some("opened as in the mode `Write`"),
        Kind::Single | Kind::Batch | Kind::Scan | Kind::Lookup => None,
    },
    run: crate::work::round::<Mode<Mapped>>,
};

fn only_appends(row: &Row) -> Option<&'static str> {
    (!row.kind.appends()).then_some("read as in the mode `Write`")
}

/// A write mode, as a type, for a peer is one.
trait Written: Sync {
    const MODE: WriteMode;
}

struct Write;
struct Preallocated;
struct Mapped;

impl Written for Write {
    const MODE: WriteMode = WriteMode::Write;
}
impl Written for Preallocated {
    const MODE: WriteMode = WriteMode::Preallocated;
}
impl Written for Mapped {
    const MODE: WriteMode = WriteMode::Mapped;
}

/// An open log.
struct Mode<M: Written> {
    log: Log,
    reader: Reader,
    mode: std::marker::PhantomData<M>,
}

impl<M: Written> Peer for Mode<M> {
    type Batch<'a> = Vec<Record<'a>>;

    fn open(dir: &Path, shape: &Shape) -> Outcome<Mode<M>> {
        // The shape counts payload; what a batch has around it is counted here, so that as many segments are filled.
        let encoded = shape.encoded_bytes as u64 * shape.segment_bytes as u64;
        let payload = (shape.batch_records * shape.value_bytes) as u64;
        let config = LogConfig::default()
            .segment_bytes(encoded / payload)
            .write_mode(M::MODE)
            .mapped_reads(M::MODE == WriteMode::Mapped);
        let config = match shape.kind {
            Kind::Durable => config.sync_policy(SyncPolicy::Always),
            Kind::Lookup => config.index_interval_bytes(0),
            Kind::Single | Kind::Batch | Kind::Scan | Kind::Reopen => config,
        };
        let log = Log::open(dir, config)?;
        if let Some(reason) = log.stats().not_mapped {
            return Err(format!("nothing is mapped on this file system: {reason:?}").into());
        }
        Ok(Mode { reader: log.reader(), log, mode: std::marker::PhantomData })
    }

    fn batch<'a>(values: &[&'a [u8]]) -> Vec<Record<'a>> {
        values.iter().map(|value| Record::value(*value)).collect()
    }

    fn append(&mut self, value: &[u8]) -> Outcome<()> {
        self.log.append(&[Record::value(value)])?;
        Ok(())
    }

    fn append_batch(&mut self, batch: &Vec<Record<'_>>) -> Outcome<()> {
        self.log.append(batch)?;
        Ok(())
    }

    fn append_durably(&self, _thread: usize, value: &[u8]) -> Outcome<()> {
        let appended = self.log.append(&[Record::value(value)])?;
        if self.log.synced_offset() < appended.next_offset() {
            return Err("an append returned that was not durable".into());
        }
        Ok(())
    }

    fn records(&mut self) -> Outcome<usize> {
        Ok(usize::try_from(self.log.log_end_offset() - self.log.log_start_offset())?)
    }

    fn scan(&mut self) -> Outcome<Option<Sum>> {
        let mut sum = Sum::default();
        for batch in self.reader.batches(..)? {
            for record in batch?.records() {
                sum.add(record?.value().ok_or("no record is a tombstone")?);
            }
        }
        Ok(Some(sum))
    }

    fn lookup<T>(&mut self, record: usize, look: impl FnOnce(&[u8]) -> T) -> Outcome<T> {
        let offset = Offset::new(record as u64);
        let record = self.reader.records(offset..=offset)?.next().ok_or("the record is there")??;
        Ok(look(record.value().ok_or("no record is a tombstone")?))
    }

    fn close(self) -> Outcome<()> {
        Ok(self.log.close()?)
    }
}
