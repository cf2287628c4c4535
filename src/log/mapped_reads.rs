//! Which files of sealed segments are mapped, so that reading them takes no call.
//!
//! A map is an offer, not a promise: without one, or where it cannot be had, the same bytes are read by calls. Whether a
//! segment may be mapped is decided by who asks. The invariant it owns: no file stays mapped once maps are not wanted any more,
//! and none is mapped behind the close of the log, for then the directory is somebody else's, who may cut its files (rule 22).

use std::sync::{Arc, Weak};

use crate::offset::Position;
use crate::segment::LogFile;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// The maps of one log.
#[derive(Debug, Default)]
pub(super) struct MappedReads {
    wanted: AtomicBool,
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    /// Those that were mapped, and perhaps are gone since.
    mapped: Vec<Weak<LogFile>>,
    /// So many there may be before those that are gone are looked for.
    look_at: usize,
    is_over: bool,
}

impl MappedReads {
    #[inline]
    pub(super) fn are_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Says whether segments are to be mapped from now on. If not, those that are mapped are so no longer.
    pub(super) fn want(&self, wanted: bool) {
        let mut files = self.files.lock();
        self.wanted.store(wanted && !files.is_over, Ordering::Relaxed);
        if !wanted {
            files.unmap_all();
        }
    }

    /// The log is closed.
    pub(super) fn end(&self) {
        let mut files = self.files.lock();
        files.is_over = true;
        self.wanted.store(false, Ordering::Relaxed);
        files.unmap_all();
    }

    /// Maps the first `bytes` of a file, if there are any, and the system can.
    pub(super) fn map(&self, log: &Arc<LogFile>, bytes: Position) {
        let mut files = self.files.lock();
        if self.are_wanted() && log.may_be_mapped() && bytes > Position::ZERO && log.map(bytes) {
            files.note(log);
        }
    }

    /// How many files are mapped.
    pub(super) fn count(&self) -> usize {
        let files = self.files.lock();
        files.mapped.iter().filter_map(Weak::upgrade).filter(|log| log.is_mapped()).count()
    }
}

impl Files {
    fn note(&mut self, log: &Arc<LogFile>) {
        if self.mapped.len() >= self.look_at {
            self.mapped.retain(|log| log.strong_count() > 0);
            self.look_at = 2 * self.mapped.len() + 1;
        }
        self.mapped.push(Arc::downgrade(log));
    }

    fn unmap_all(&mut self) {
        for log in self.mapped.drain(..) {
            if let Some(log) = log.upgrade() {
                log.unmap();
            }
        }
    }
}
