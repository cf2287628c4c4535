//! A Raft log over a [`Log`]: what openraft's `RaftLogStorage` asks of one, call by call, but for the async.
//!
//! | Raft | kstore |
//! |---|---|
//! | index | offset; the first one is 1 |
//! | term of an entry | leader epoch of its batch |
//! | append, flushed later | [`Log::append_with`], [`Log::on_synced`] |
//! | cut off what conflicts | [`Log::truncate_to`], which may fall inside a batch |
//! | term of an index | [`Log::epoch_for_offset`], from memory |
//! | purge up to a snapshot | [`Log::delete_records_before`], or [`Log::reset_to`] where the snapshot reaches further |
//! | vote | the last record of a second, small log: see `hard_state.rs` |
//!
//! It knows no nodes and no network. The invariants it owns: an index is an offset, always; and the log begins behind
//! what was purged, or the next opening brings it there. A purge has two steps, and either is found by `open`:
//!
//! 1. The hard state says, durably, what is purged. *The log begins too early; opening does step 2.*
//! 2. The log begins behind it. *The result.*

use std::fmt;
use std::ops::Range;
use std::path::Path;

use kstore::{AppendOptions, Error, Log, LogConfig, Offset, Record};

use crate::hard_state::{HardState, HardStateLog};

/// Small, so that purging has segments to delete.
const SEGMENT_BYTES: u64 = 64 << 10;

/// A place in the log: whose is the greater one is the more up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogId {
    pub(crate) term: u64,
    /// From 1 on; 0 is before the first entry.
    pub(crate) index: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: LogId,
    pub(crate) payload: Vec<u8>,
}

/// Why a call failed.
#[derive(Clone, Debug)]
pub(crate) enum StoreError {
    /// The log says why.
    Log(Error),
    /// Kafka's format has 31 bits for a leader epoch.
    TermTooLarge { term: u64 },
    /// The entry does not follow the one before it.
    NotConsecutive { expected: u64, found: LogId },
    /// What is stored is no entry of a Raft log, or no hard state.
    Foreign { index: u64, why: &'static str },
}

pub(crate) struct LogStore {
    log: Log,
    hard_state: HardStateLog,
}

impl LogStore {
    /// Opens the two logs of a node, and finishes what a crash left half done.
    pub(crate) fn open(dir: &Path) -> Result<LogStore, StoreError> {
        let hard_state = HardStateLog::open(&dir.join("hard_state"))?;
        let config = LogConfig::default().segment_bytes(SEGMENT_BYTES).file_delete_delay_ms(0);
        let store = LogStore { log: Log::open(dir.join("log"), config)?, hard_state };
        // Nothing was purged from a new log: this has it begin at index 1.
        store.begin_behind(store.hard_state().purged)?;
        Ok(store)
    }

    /// Vote, snapshot, and what was purged, as they were saved last.
    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_state.last()
    }

    /// Returns once it is durable: openraft's `save_vote` and `save_committed`, and a snapshot of the state machine.
    pub(crate) fn save(&self, change: impl FnOnce(&mut HardState)) -> Result<(), StoreError> {
        self.hard_state.save(change)
    }

    /// The last entry, or what was purged last if none is left.
    pub(crate) fn last_log_id(&self) -> LogId {
        let index = self.log.log_end_offset().value() - 1;
        self.term_of(index).map_or(self.hard_state().purged, |term| LogId { term, index })
    }

    /// The term of an entry, or of the one that was purged last. `None` where there is no telling.
    pub(crate) fn term_of(&self, index: u64) -> Option<u64> {
        let purged = self.hard_state().purged;
        if index == purged.index {
            return Some(purged.term);
        }
        let epoch = self.log.epoch_for_offset(Offset::new(index))?;
        u64::try_from(epoch).ok()
    }

    /// Appends entries that follow the last one. When this returns they can be read; when they are durable, or cannot
    /// become so, `flushed` is told, on the log's worker: the caller waits for no disk.
    pub(crate) fn append(
        &self,
        entries: &[Entry],
        flushed: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) -> Result<(), StoreError> {
        // A batch has one epoch. Of several, a crash may leave the first ones, as Raft allows.
        for batch in entries.chunk_by(|one, next| one.id.term == next.id.term) {
            let first = batch[0].id;
            for (entry, expected) in batch.iter().zip(first.index..) {
                if entry.id.index != expected {
                    return Err(StoreError::NotConsecutive { expected, found: entry.id });
                }
            }
            let epoch = i32::try_from(first.term).map_err(|_| StoreError::TermTooLarge { term: first.term })?;
            // An index is an offset: one that is not the next one is refused, and so is a term from the past.
            let options = AppendOptions::default().expect_log_end(Offset::new(first.index)).leader_epoch(epoch);
            let records: Vec<Record<'_>> = batch.iter().map(|entry| Record::value(&entry.payload)).collect();
            self.log.append_with(&options, &records)?;
        }
        let end = self.log.log_end_offset();
        Ok(self.log.on_synced(end, |synced| flushed(synced.map(drop).map_err(StoreError::Log)))?)
    }

    /// Cuts off the entries from `index` on, durably, and says whether that fell inside a batch.
    pub(crate) fn truncate(&self, index: u64) -> Result<bool, StoreError> {
        let end = Offset::new(index);
        let batch = self.log.reader().batches(end..)?.next().transpose()?;
        self.log.truncate_to(end)?;
        Ok(batch.is_some_and(|batch| batch.base_offset() < end))
    }

    /// The entries of a range, as far as the log reaches.
    pub(crate) fn read(&self, range: Range<u64>) -> Result<Vec<Entry>, StoreError> {
        let records = self.log.records(Offset::new(range.start)..Offset::new(range.end))?;
        records
            .map(|record| {
                let record = record?;
                let index = record.offset().value();
                let foreign = |why| StoreError::Foreign { index, why };
                let term = record.leader_epoch().and_then(|epoch| u64::try_from(epoch).ok());
                let id = LogId { term: term.ok_or(foreign("has no term"))?, index };
                Ok(Entry { id, payload: record.value().ok_or(foreign("has no payload"))?.to_vec() })
            })
            .collect()
    }

    /// Drops the entries up to this one, which a snapshot holds by now; the log may lie wholly below it, or disagree.
    pub(crate) fn purge(&self, upto: LogId) -> Result<(), StoreError> {
        self.save(|state| state.purged = state.purged.max(upto))?;
        self.begin_behind(self.hard_state().purged)
    }

    fn begin_behind(&self, purged: LogId) -> Result<(), StoreError> {
        let start = Offset::new(purged.index + 1);
        let epoch = self.log.epoch_for_offset(Offset::new(purged.index));
        let agrees = epoch.and_then(|epoch| u64::try_from(epoch).ok()) == Some(purged.term);
        let holds_more = start <= self.log.log_end_offset();
        if holds_more && (self.log.log_start_offset() >= start || agrees) {
            self.log.delete_records_before(start)?;
        } else {
            // What is there is older than the snapshot, or was never committed.
            self.log.reset_to(start)?;
        }
        Ok(())
    }

    /// Makes everything durable and says so, which spares the next opening its recovery.
    pub(crate) fn close(&self) -> Result<(), StoreError> {
        self.log.close()?;
        self.hard_state.close()
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> StoreError {
        StoreError::Log(error)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Log(error) => error.fmt(f),
            StoreError::TermTooLarge { term } => write!(f, "term {term} is more than a leader epoch can say"),
            StoreError::NotConsecutive { expected, found } => {
                write!(f, "the entry of index {} and term {} came, expected index {expected}", found.index, found.term)
            }
            StoreError::Foreign { index, why } => write!(f, "the record at offset {index} {why}"),
        }
    }
}

impl std::error::Error for StoreError {}
