//! The high watermark: below it everything is replicated, as whoever replicates the log says.
//!
//! It is kept in memory only: after an opening it follows the log end until it is set. The invariant it owns: log start
//! ≤ high watermark ≤ log end, whenever it is read; and once the log end was put back below it, it does not rise again
//! until it is set anew (row 285).

use crate::error::{Error, Result};
use crate::log::Log;
use crate::offset::Offset;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

use super::core::Core;

/// No offset: the high watermark is where the log end is.
const FOLLOWS_LOG_END: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct HighWatermark {
    offset: AtomicU64,
    /// Held while it is changed, so that one who sets it by an old log end comes before one who lowers it to the new.
    changing: Mutex<()>,
}

impl Default for HighWatermark {
    fn default() -> HighWatermark {
        HighWatermark { offset: AtomicU64::new(FOLLOWS_LOG_END), changing: Mutex::new(()) }
    }
}

impl HighWatermark {
    /// Where it is in a log with these bounds: one that follows the log end is at it, and the log start raises it.
    pub(crate) fn within(&self, log_start: Offset, log_end: Offset) -> Offset {
        let offset = self.offset.load(Ordering::Acquire);
        if offset == FOLLOWS_LOG_END { log_end } else { Offset::new(offset).max(log_start).min(log_end) }
    }

    /// Puts it to an offset, or as near as the bounds allow.
    pub(crate) fn set(&self, offset: Offset, bounds: impl FnOnce() -> (Offset, Offset)) -> Offset {
        self.change(|_| offset, bounds)
    }

    /// As [`HighWatermark::set`], unless it was set higher before.
    pub(crate) fn raise(&self, offset: Offset, bounds: impl FnOnce() -> (Offset, Offset)) -> Offset {
        self.change(|present| present.map_or(offset, |present| present.max(offset)), bounds)
    }

    /// Puts it where `to` says, which is told where it was set before, if it was.
    fn change(&self, to: impl FnOnce(Option<Offset>) -> Offset, bounds: impl FnOnce() -> (Offset, Offset)) -> Offset {
        let changing = self.changing.lock();
        let (log_start, log_end) = bounds();
        let present = self.offset.load(Ordering::Acquire);
        let wanted = to((present != FOLLOWS_LOG_END).then(|| Offset::new(present)));
        // What is kept lies within the bounds too, or a growing log would raise it.
        let offset = wanted.max(log_start).min(log_end);
        self.offset.store(offset.value(), Ordering::SeqCst);
        drop(changing);
        offset
    }

    /// The log end was put back to `end`.
    pub(crate) fn lower_to(&self, end: Offset) {
        let changing = self.changing.lock();
        let offset = self.offset.load(Ordering::Acquire);
        if offset != FOLLOWS_LOG_END && offset > end.value() {
            self.offset.store(end.value(), Ordering::SeqCst);
        }
        drop(changing);
    }
}

impl Log {
    /// Where the high watermark is: where [`Log::set_high_watermark`] put it, and at the log end until then. The log
    /// start raises it, a log end that is put back lowers it.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.shared().core.high_watermark()
    }

    /// Equals the high watermark, as long as there are no transactions.
    #[must_use]
    pub fn last_stable_offset(&self) -> Offset {
        self.high_watermark()
    }

    /// Says that everything below `offset` is replicated, and returns where the high watermark is from now on: an
    /// offset outside the log counts as the nearer end of it. A leader cannot set it beyond its log end, and a follower
    /// may put it back. Readers [up to it](crate::log::ReadUpTo::HighWatermark) that wait there go on.
    ///
    /// From the first call on it moves only by such calls; appends leave it where it is. It is not stored: when the log
    /// is opened again it follows the log end until it is set, so set it before handing out readers.
    ///
    /// # Errors
    /// `Closed`.
    pub fn set_high_watermark(&self, offset: Offset) -> Result<Offset> {
        Ok(self.open_core()?.set_high_watermark(offset))
    }

    /// As [`Log::set_high_watermark`], but where it was set higher before, it stays: for several threads of which each
    /// knows of its own followers.
    ///
    /// # Errors
    /// `Closed`.
    pub fn raise_high_watermark(&self, offset: Offset) -> Result<Offset> {
        Ok(self.open_core()?.raise_high_watermark(offset))
    }

    fn open_core(&self) -> Result<&Core> {
        let core = &self.shared().core;
        if core.is_closed() { Err(Error::Closed) } else { Ok(core) }
    }
}
