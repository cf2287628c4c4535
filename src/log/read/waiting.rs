//! Reading what is not there yet: waiting for an offset, and for bytes to read.
//!
//! How waiters sleep and are woken is the business of `log/wake.rs`; what counts as there, of the reader's kind. The
//! invariant it owns: a wait ends when what it waits for is there, when it cannot come any more (the log was closed, or
//! it failed), or when its time is over, and the answer says which.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::log::wake::{Checked, Parker};
use crate::offset::Offset;
use crate::slice::LogSlice;

use super::{Reader, behind};

/// What was found so far from an offset on.
struct Ahead {
    /// Of the log's openings, the one that it was found in.
    generation: u64,
    next: Offset,
    bytes: u64,
}

impl Reader {
    /// Waits until this reader sees everything below `end`: `true` as soon as it does, `false` if it does not within
    /// `timeout`. An `end` above the log end is what one waits for, and no error; one at or below the log start is
    /// there already. No processor time is used meanwhile.
    ///
    /// What is there may be taken away again, by a truncation or by the recovery of a log that failed; then it is to be
    /// waited for anew.
    ///
    /// # Errors
    /// [`Error::Closed`] once the log is closed. [`Error::Failed`] if the log failed, so that nothing at or above the
    /// synced offset will be seen until it is reopened, and `end` lies above.
    pub fn wait_for(&self, end: Offset, timeout: Duration) -> Result<bool> {
        let deadline = self.core.deadline_in(timeout);
        let look = || {
            if self.core.is_closed() {
                return Checked::Answer(Err(Error::Closed));
            }
            if self.log_end_offset() >= end {
                return Checked::Answer(Ok(true));
            }
            match self.core.failure_below(end) {
                Some(failed) => Checked::Answer(Err(failed)),
                None => Checked::WaitFor(end),
            }
        };
        Ok(self.core.wait(&Arc::default(), self.up_to, deadline, look)?.unwrap_or(false))
    }

    /// [`Reader::read`] that waits: returns once at least `min_bytes` of whole batches are there from the one that holds
    /// `from` on, or once `wait` is over, or the log failed: then with what there is, which may be nothing.
    ///
    /// `max_bytes` and `max_records` bound what is returned; it holds at least one batch all the same, if one is there.
    /// `min_bytes` says when it is worth returning: it counts from segment to segment, while a slice lies in one, so
    /// that a slice at a segment's end may be smaller; the next call gives the rest without waiting. More than
    /// `max_bytes` are never waited for. With `min_bytes` 0 it does not wait at all.
    ///
    /// # Errors
    /// As [`Reader::read`]; [`Error::Closed`] also while it waits; [`Error::Failed`] if the log failed and nothing is
    /// left to be read from `from` on.
    pub fn read_waiting(
        &self,
        from: Offset,
        min_bytes: u64,
        max_bytes: u64,
        max_records: u64,
        wait: Duration,
    ) -> Result<LogSlice> {
        let deadline = self.core.deadline_in(wait);
        let enough = min_bytes.min(max_bytes);
        let mut ahead = Ahead { generation: self.core.generation(), next: from, bytes: 0 };
        let parker: Arc<Parker> = Arc::default();
        self.core.wait(&parker, self.up_to, deadline, || match self.count(from, enough, &mut ahead) {
            Ok(true) => Checked::Answer(Ok(())),
            Ok(false) => Checked::WaitFor(behind(ahead.next)),
            Err(error) => Checked::Answer(Err(error)),
        })?;
        self.slice(from, max_bytes, max_records)
    }

    /// Goes on counting where it ended. `true` if there are enough bytes, or will be no more.
    fn count(&self, from: Offset, enough: u64, ahead: &mut Ahead) -> Result<bool> {
        if self.core.is_closed() {
            return Err(Error::Closed);
        }
        // Before the range is judged: what lies above the end of a failed log may be there again.
        if let Some(failed) = self.core.failure_below(behind(from)) {
            return Err(failed);
        }
        let failed = self.core.is_failed();
        self.core.check_range(from)?;
        let generation = self.core.generation();
        if generation != ahead.generation {
            *ahead = Ahead { generation, next: from, bytes: 0 };
        }
        while ahead.bytes < enough {
            let slice = match self.read(ahead.next, enough - ahead.bytes) {
                // It was cut off meanwhile; the next look begins anew.
                Err(Error::OffsetOutOfRange { .. }) if ahead.next > from => return Ok(failed),
                answer => answer?,
            };
            ahead.next = ahead.next.max(slice.next_offset());
            if slice.is_empty() {
                return Ok(failed);
            }
            ahead.bytes += slice.size_bytes();
        }
        Ok(true)
    }
}
