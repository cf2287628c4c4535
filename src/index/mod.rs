//! Sorted arrays of fixed-width entries beside each segment: offset to position, timestamp to offset.
//!
//! Knows no segment file: that the entries agree with the batches is for the segment to check, and an index is never
//! believed where the two disagree (rule 25). One private [`SparseIndex`](sparse::SparseIndex) does the work for both
//! kinds. The invariant it owns: *the bytes of an entry that a reader was told of are never cut off their inode*. A
//! file is cut in place only behind everything that was ever published; where fewer entries are to remain, a new
//! inode takes the name, and whoever still reads the old map reads the old entries instead of dying of SIGBUS (rules
//! 22, 23). Names are made durable by the caller, who syncs the directory (rule 12).

mod entry;
mod file;
mod offset_index;
mod search;
mod sparse;
mod time_index;
mod written;

pub(crate) use offset_index::{OffsetEntry, OffsetIndex};
pub(crate) use time_index::{TimeEntry, TimeIndex};

#[cfg(test)]
mod tests;
