//! What a node must remember besides its entries: its vote, its snapshot, and how far these made entries superfluous.
//!
//! It is a log of its own, of which only the last record counts: a save is one durable append, and a crash within it
//! leaves the record before. The invariant it owns: what is saved is durable before anybody hears of it.

use std::path::Path;
use std::sync::Mutex;

use kstore::{AppendOptions, Log, LogConfig, Record};

use crate::log_store::{LogId, StoreError};

/// Records before the last one are of no use; once a segment is full of them, it is deleted.
const SEGMENT_BYTES: u64 = 16 << 10;
/// Numbers in a record.
const FIELDS: usize = 9;

/// All of it, in one record, so that a crash cannot separate one part from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HardState {
    pub(crate) vote: Vote,
    /// The log begins behind it.
    pub(crate) purged: LogId,
    /// What is known to be replicated; the node may know of more than it saved.
    pub(crate) committed: LogId,
    pub(crate) snapshot: Snapshot,
}

/// For whom a node voted in its latest term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vote {
    pub(crate) term: u64,
    pub(crate) node: u64,
}

/// The state machine, which is no more than a digest of the entries up to `last`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) last: LogId,
    pub(crate) digest: u64,
}

pub(crate) struct HardStateLog {
    log: Log,
    last: Mutex<HardState>,
}

impl HardStateLog {
    pub(crate) fn open(dir: &Path) -> Result<HardStateLog, StoreError> {
        let config = LogConfig::default().segment_bytes(SEGMENT_BYTES).file_delete_delay_ms(0);
        let log = Log::open(dir, config)?;
        let last = match log.records_reversed(..)?.next().transpose()? {
            Some(record) => {
                let foreign = StoreError::Foreign { index: record.offset().value(), why: "is no hard state" };
                record.value().and_then(HardState::of_bytes).ok_or(foreign)?
            }
            None => HardState::default(),
        };
        Ok(HardStateLog { log, last: Mutex::new(last) })
    }

    pub(crate) fn last(&self) -> HardState {
        *self.last.lock().expect("nobody panics while saving")
    }

    /// Changes the state and returns once that is durable.
    pub(crate) fn save(&self, change: impl FnOnce(&mut HardState)) -> Result<(), StoreError> {
        let mut last = self.last.lock().expect("nobody panics while saving");
        let mut state = *last;
        change(&mut state);
        if state == *last {
            return Ok(());
        }
        let bytes = state.to_bytes();
        let saved = self.log.append_with(&AppendOptions::default().sync(true), &[Record::value(&bytes)])?;
        *last = state;
        self.log.delete_records_before(saved.base_offset())?;
        Ok(())
    }

    pub(crate) fn close(&self) -> Result<(), StoreError> {
        Ok(self.log.close()?)
    }
}

impl HardState {
    fn to_bytes(self) -> Vec<u8> {
        let HardState { vote, purged, committed, snapshot } = self;
        let ids = [purged, committed, snapshot.last].into_iter().flat_map(|id| [id.term, id.index]);
        let numbers = [vote.term, vote.node, snapshot.digest].into_iter().chain(ids);
        numbers.flat_map(u64::to_be_bytes).collect()
    }

    fn of_bytes(bytes: &[u8]) -> Option<HardState> {
        let numbers: Option<Vec<u64>> =
            bytes.chunks(8).map(|chunk| chunk.try_into().ok().map(u64::from_be_bytes)).collect();
        let [term, node, digest, ids @ ..] = <[u64; FIELDS]>::try_from(numbers?).ok()?;
        let id = |at: usize| LogId { term: ids[at], index: ids[at + 1] };
        let snapshot = Snapshot { last: id(4), digest };
        Some(HardState { vote: Vote { term, node }, purged: id(0), committed: id(2), snapshot })
    }
}
