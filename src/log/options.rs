//! What an append is asked for, and what it answers. How it is done is in `append`. The invariant it owns: what is not asked
//! for is not checked, stamped or waited for.

use crate::offset::{Offset, Timestamp};

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub(super) base_offset: Offset,
    pub(super) next_offset: Offset,
    pub(super) timestamp: Option<Timestamp>,
}

impl Appended {
    pub(super) fn new(base_offset: Offset, next_offset: Offset, timestamp: Option<Timestamp>) -> Appended {
        Appended { base_offset, next_offset, timestamp }
    }

    /// The offset of the first record.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// One past the offset of the last record.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The largest timestamp of the records, or, under log append time, the time of the append. `None` if no record
    /// has one.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }

    /// Whether the batch was in the log already. Always `false` as long as producers are not tracked.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        false
    }
}

/// What an append is to check, stamp and wait for.
///
/// ```
/// use kstore::{AppendOptions, Offset};
///
/// let options = AppendOptions::default().expect_log_end(Offset::new(42)).sync(true);
/// # drop(options);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct AppendOptions {
    pub(super) expect_log_end: Option<Offset>,
    pub(super) leader_epoch: Option<i32>,
    pub(super) sync: bool,
}

impl AppendOptions {
    /// Appends only if the log ends here: optimistic concurrency. Else the append fails with `UnexpectedLogEnd`.
    pub fn expect_log_end(mut self, end: Offset) -> AppendOptions {
        self.expect_log_end = Some(end);
        self
    }

    /// The leader epoch that is stamped on the batches; a negative one is none. The first batch of an epoch is written
    /// only after the epoch was made durable, once an election. One that is earlier than that of a batch in the log is
    /// refused with `StaleLeaderEpoch`: so that a leader that was replaced cannot append, and logs can be compared by
    /// epochs.
    pub fn leader_epoch(mut self, epoch: i32) -> AppendOptions {
        self.leader_epoch = (epoch >= 0).then_some(epoch);
        self
    }

    /// Returns only once the append is durable.
    pub fn sync(mut self, sync: bool) -> AppendOptions {
        self.sync = sync;
        self
    }
}
