//! `okaywal`: entries of chunks in preallocated segments, each commit durable; a log to recover another store from.
//!
//! It is read in order only while it is recovered, which is what its scan is here.

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use okaywal::{Configuration, Entry as Stored, EntryId, LogManager, LogPosition, ReadChunkResult};
use okaywal::{SegmentReader, WriteAheadLog};

use super::{Entry, Peer, Terms};
use crate::Outcome;
use crate::rows::{Kind, Shape};
use crate::values::{Sum, Values};

pub(super) const ENTRY: Entry = Entry {
    name: "okaywal",
    terms: Terms {
        used_as: "the default `Configuration` for durable appends, and one segment that holds everything for reads; \
            the scan is a recovery that reads every chunk, a lookup is `read_at` of a position that was kept in \
            memory",
        checksum: "CRC-32C over each record; verified by who reads, as here",
        atomic: "an entry: one record here",
        plain_append: "there is none: each commit is synced",
        durable_append: "`commit`: one thread syncs for all that wait",
        copies: "two: into its buffer, and by the system; read into a buffer of ours",
    },
    refuses: |row| match row.kind {
        Kind::Single | Kind::Batch => Some("every commit is synced: see the durable appends"),
        Kind::Reopen => Some("opening it is reading all of it: see the sequential read"),
        _ => None,
    },
    run: crate::work::round::<OkayWal>,
};

/// Records of an entry where reads are prepared, for each entry is a sync.
const RECORDS_OF_ENTRY: usize = 1_000;
/// What a record has around it, in bytes: marks, a length, a checksum; roundly.
const OVERHEAD_BYTES: usize = 16;

struct OkayWal {
    log: Option<WriteAheadLog>,
    config: Configuration,
    /// Of the records that are looked up.
    positions: Vec<LogPosition>,
    buffer: Vec<u8>,
}

/// Reads every chunk that is recovered, and sums up.
#[derive(Debug, Default)]
struct ReadsAll {
    sum: Arc<Mutex<Sum>>,
    buffer: Vec<u8>,
}

impl LogManager for ReadsAll {
    fn recover(&mut self, entry: &mut Stored<'_>) -> io::Result<()> {
        let mut sum = self.sum.lock().map_err(|_| io::Error::other("a panic"))?;
        while let ReadChunkResult::Chunk(mut chunk) = entry.read_chunk()? {
            self.buffer.clear();
            chunk.read_to_end(&mut self.buffer)?;
            if !chunk.check_crc()? {
                return Err(io::Error::other("a wrong checksum"));
            }
            sum.add(&self.buffer);
        }
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Err(io::Error::other("the segments are large enough that none is given up"))
    }
}

impl OkayWal {
    fn log(&self) -> Outcome<&WriteAheadLog> {
        Ok(self.log.as_ref().ok_or("it is open")?)
    }

    /// Closes it and opens it again, which reads all of it.
    fn recover(&mut self) -> Outcome<Sum> {
        self.log.take().ok_or("it is open")?.shutdown()?;
        let manager = ReadsAll::default();
        let sum = Arc::clone(&manager.sum);
        self.log = Some(self.config.clone().open(manager)?);
        let sum = *sum.lock().map_err(|_| "a panic")?;
        Ok(sum)
    }
}

impl Peer for OkayWal {
    type Batch<'a> = ();

    fn open(dir: &Path, shape: &Shape) -> Outcome<OkayWal> {
        let mut config = Configuration::default_for(dir);
        if shape.kind != Kind::Durable {
            let bytes = shape.records() * (shape.value_bytes + OVERHEAD_BYTES);
            config = config.preallocate_bytes(u32::try_from(bytes)?).checkpoint_after_bytes(bytes as u64);
        }
        let log = Some(config.clone().open(ReadsAll::default())?);
        Ok(OkayWal { log, config, positions: Vec::new(), buffer: Vec::new() })
    }

    fn batch(_values: &[&[u8]]) {}

    fn append(&mut self, _value: &[u8]) -> Outcome<()> {
        Err("refused".into())
    }

    fn append_batch(&mut self, _batch: &()) -> Outcome<()> {
        Err("refused".into())
    }

    fn append_durably(&self, _thread: usize, value: &[u8]) -> Outcome<()> {
        let mut entry = self.log()?.begin_entry()?;
        entry.write_chunk(value)?;
        entry.commit()?;
        Ok(())
    }

    fn fill(&mut self, shape: &Shape, values: &Values) -> Outcome<()> {
        let mut positions = Vec::with_capacity(shape.records());
        let log = self.log()?;
        let mut left = 0..shape.records();
        while !left.is_empty() {
            let mut entry = log.begin_entry()?;
            for record in left.by_ref().take(RECORDS_OF_ENTRY) {
                positions.push(entry.write_chunk(values.of(record))?.position);
            }
            entry.commit()?;
        }
        self.positions = positions;
        Ok(())
    }

    fn records(&mut self) -> Outcome<usize> {
        Ok(self.recover()?.records)
    }

    fn scan(&mut self) -> Outcome<Option<Sum>> {
        self.recover().map(Some)
    }

    fn lookup<T>(&mut self, record: usize, look: impl FnOnce(&[u8]) -> T) -> Outcome<T> {
        let position = *self.positions.get(record).ok_or("the record was appended")?;
        self.buffer.clear();
        let log = self.log.as_ref().ok_or("it is open")?;
        let mut reader = log.read_at(position)?;
        reader.read_to_end(&mut self.buffer)?;
        if !reader.crc_is_valid()? {
            return Err("a wrong checksum".into());
        }
        Ok(look(&self.buffer))
    }

    fn close(mut self) -> Outcome<()> {
        Ok(self.log.take().ok_or("it is open")?.shutdown()?)
    }
}
