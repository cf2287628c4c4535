//! What every engine is asked to do, each in a file of its own in the terms of its documents, and the list of them all.
//!
//! A peer does the work and nothing else: how often, how long it took and what it wrote is the business of `work.rs`.
//! The invariant it owns: what a peer cannot do it says in `refuses`, with the reason that stands in the table, and
//! nothing is made up in its place.

use std::path::Path;

use crate::Outcome;
use crate::rows::{Row, Shape};
use crate::values::{Sum, Values};

#[cfg(feature = "engines")]
mod commitlog;
#[cfg(feature = "engines")]
mod fjall;
mod kstore;
#[cfg(feature = "engines")]
mod okaywal;
#[cfg(feature = "engines")]
mod raft_engine;
mod raw;
#[cfg(feature = "engines")]
mod redb;
#[cfg(feature = "engines")]
mod walrus;

/// What an engine promises, and what it does for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Which options are used, and how the calls of the rows map to the engine's own.
    pub(crate) used_as: &'static str,
    /// What guards the stored bytes, and who verifies it when they are read.
    pub(crate) checksum: &'static str,
    /// What is written together, all or nothing.
    pub(crate) atomic: &'static str,
    /// What an append that waits for nothing survives.
    pub(crate) plain_append: &'static str,
    /// How a durable append gets to the disk, and how threads share that.
    pub(crate) durable_append: &'static str,
    /// How often the payload is copied in memory on its way in, and how it comes out.
    pub(crate) copies: &'static str,
}

/// An engine with an open log, or what takes the place of one.
pub(crate) trait Peer: Sized + Sync {
    /// The records of one call, in the form in which the engine wants them.
    type Batch<'a>;

    /// Opens or creates; the folder is there.
    ///
    /// # Errors
    /// Of the engine.
    fn open(dir: &Path, shape: &Shape) -> Outcome<Self>;

    /// Puts records into the engine's form, before the clock runs.
    fn batch<'a>(values: &[&'a [u8]]) -> Self::Batch<'a>;

    /// Appends one record.
    ///
    /// # Errors
    /// Of the engine.
    fn append(&mut self, value: &[u8]) -> Outcome<()>;

    /// Appends several records, in one call.
    ///
    /// # Errors
    /// Of the engine.
    fn append_batch(&mut self, batch: &Self::Batch<'_>) -> Outcome<()>;

    /// Appends one record and returns when it is on the disk; called by many threads, of which each has a number.
    ///
    /// # Errors
    /// Of the engine.
    fn append_durably(&self, thread: usize, value: &[u8]) -> Outcome<()>;

    /// Fills the log with the records that are read afterwards, in calls of as many records as the shape says; no clock
    /// runs.
    ///
    /// # Errors
    /// Of the engine.
    fn fill(&mut self, shape: &Shape, values: &Values) -> Outcome<()> {
        for call in 0..shape.calls {
            if shape.batch_records == 1 {
                self.append(values.of(call))?;
            } else {
                let batch = values.batch(call * shape.batch_records, shape.batch_records);
                self.append_batch(&Self::batch(&batch))?;
            }
        }
        Ok(())
    }

    /// How many records the log has; no clock runs.
    ///
    /// # Errors
    /// Of the engine.
    fn records(&mut self) -> Outcome<usize>;

    /// Reads all records from the front to the back, and says what they come to; nothing where bytes are read and no
    /// records.
    ///
    /// # Errors
    /// Of the engine.
    fn scan(&mut self) -> Outcome<Option<Sum>>;

    /// Reads one record, by its number from 0.
    ///
    /// # Errors
    /// Of the engine.
    fn lookup<T>(&mut self, record: usize, look: impl FnOnce(&[u8]) -> T) -> Outcome<T>;

    /// Closes, as the engine's documents say that it is done.
    ///
    /// # Errors
    /// Of the engine.
    fn close(self) -> Outcome<()>;
}

/// One column of the table.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its name, without blanks.
    pub(crate) name: &'static str,
    pub(crate) terms: Terms,
    /// Why a row is not for it.
    pub(crate) refuses: fn(&Row) -> Option<&'static str>,
    /// Does a row's work once, in a folder of its own.
    pub(crate) run: fn(&Path, &Shape) -> Outcome<crate::figures::Figures>,
}

/// The column that all others are compared with.
pub(crate) const RAW: &str = "raw";

/// All columns that run in this process's own binary.
pub(crate) const PEERS: &[Entry] = &[
    raw::ENTRY,
    kstore::WRITE,
    kstore::PREALLOCATED,
    kstore::MAPPED,
    #[cfg(feature = "engines")]
    commitlog::ENTRY,
    #[cfg(feature = "engines")]
    okaywal::ENTRY,
    #[cfg(feature = "engines")]
    raft_engine::ENTRY,
    #[cfg(feature = "engines")]
    walrus::ENTRY,
    #[cfg(feature = "engines")]
    redb::ENTRY,
    #[cfg(feature = "engines")]
    fjall::ENTRY,
];

/// The peer of that name.
///
/// # Errors
/// If there is none.
pub(crate) fn named(name: &str) -> Outcome<&'static Entry> {
    PEERS.iter().find(|peer| peer.name == name).ok_or_else(|| format!("no peer is named {name}").into())
}
