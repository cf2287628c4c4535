//! Which sealed segments have their files open, and which are closed when there are too many.
//!
//! It opens nothing and never looks into a segment's files. A segment that a reader, a slice or the worker holds is not
//! closed, for that would free nothing: its file stays open as long as it is held, and whoever came next would open it a
//! second time. So such segments count within the limit, and where they alone exceed it, so does the log. The invariant it
//! owns: as soon as nobody holds more than the limit, the next opening leaves no more than the limit open.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use crate::segment::{LogFile, Segment};

/// So many segments that are held are looked at for others, also where no more than a few may be open.
const MOST_HELD: usize = 64;

/// The sealed segments whose files are open.
#[derive(Debug)]
pub(super) struct OpenFiles {
    /// The one whose turn it is to be closed stands in front.
    queue: VecDeque<Arc<Segment>>,
    limit: usize,
    /// Files that somebody held when their segments left the log, or when no more files could be opened.
    left: Vec<Weak<LogFile>>,
}

/// How many files of sealed segments are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenCount {
    pub(crate) open: usize,
    pub(crate) pinned: usize,
}

impl OpenFiles {
    pub(super) fn new(limit: usize) -> OpenFiles {
        OpenFiles { queue: VecDeque::new(), limit, left: Vec::new() }
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Counts a segment whose files were just opened. If these are too many, others are closed, those first that nobody has
    /// used for longest: each that was used since its last turn gets another one.
    pub(super) fn add(&mut self, segment: Arc<Segment>) {
        self.queue.push_back(segment);
        let mut held = 0;
        for _ in 0..2 * self.queue.len() {
            // Where more are held than may be open, there may be nothing to close.
            if self.queue.len() <= self.limit || held > self.limit.max(MOST_HELD) {
                return;
            }
            let Some(next) = self.queue.pop_front() else { return };
            if next.was_used() {
                self.queue.push_back(next);
            } else if !next.close_unless_held() {
                held += 1;
                self.queue.push_back(next);
            }
        }
    }

    /// Closes every file, since no more can be opened. Those that somebody holds go when he lets go of them, and are not
    /// kept for the next one: whoever makes room that way gets it. `false` if there was none.
    pub(super) fn give_up(&mut self) -> bool {
        let any = !self.queue.is_empty();
        self.left.retain(|file| file.strong_count() > 0);
        for segment in self.queue.drain(..) {
            self.left.extend(segment.held_file());
            segment.close_handles();
        }
        any
    }

    /// Forgets segments that are the log's no more. Who holds their files goes on reading.
    pub(super) fn forget(&mut self, is_gone: impl Fn(&Arc<Segment>) -> bool) {
        self.left.retain(|file| file.strong_count() > 0);
        let left = &mut self.left;
        self.queue.retain(|segment| {
            let gone = is_gone(segment);
            if gone {
                left.extend(segment.held_file());
            }
            !gone
        });
    }

    pub(super) fn count(&self) -> OpenCount {
        let pinned = self.queue.iter().filter(|segment| segment.is_held()).count();
        let left = self.left.iter().filter(|file| file.strong_count() > 0).count();
        OpenCount { open: self.queue.len() + left, pinned: pinned + left }
    }
}
