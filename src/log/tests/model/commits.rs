//! What was committed under one name, and what may be found of it after a crash.
//!
//! A cursor is never ahead of the log and never at an offset that nobody committed; it comes back to no commit before one
//! that was durable, unless the log was cut below it.

use crate::log::Log;

pub(super) const NAME: &str = "c";

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Commits {
    /// Everything that was committed, or tried, first to last.
    handed_in: Vec<u64>,
    /// So many of the first of them end with the last one that was acknowledged.
    acknowledged: usize,
    /// Those that were acknowledged with their batches: where the batch begins, and how many had been handed in by then.
    with_batches: Vec<(u64, usize)>,
    /// So many of the first of them are covered by a sync.
    durable: usize,
    /// The log was cut, or a cut was tried: cursors go back with it.
    cut: bool,
}

impl Commits {
    pub(super) fn hand_in(&mut self, offset: u64) {
        self.handed_in.push(offset);
    }

    pub(super) fn acknowledge(&mut self) {
        self.acknowledged = self.handed_in.len();
        self.with_batches.extend(self.handed_in.last().map(|offset| (*offset, self.handed_in.len())));
    }

    pub(super) fn note_sync(&mut self) {
        self.durable = self.acknowledged;
    }

    /// Everything below `synced` is durable, and a commit before the batch that it went with.
    pub(super) fn note_reached(&mut self, synced: u64) {
        let last = self.with_batches.iter().rfind(|(base, _)| *base < synced);
        self.durable = self.durable.max(last.map_or(0, |(_, handed_in)| *handed_in));
    }

    pub(super) fn note_cut(&mut self) {
        *self = Commits { cut: true, ..Commits::default() };
    }

    /// After an opening: where the cursor is, is where somebody put it.
    pub(super) fn check(&mut self, log: &Log) {
        let cursor = log.cursor(NAME).expect("a name");
        let found = cursor.committed().expect("a readable book").map(crate::offset::Offset::value);
        assert!(found.is_none_or(|found| found <= log.log_end_offset().value()), "{found:?} lies behind the end");
        if self.cut {
            return;
        }
        let reached = match found {
            None => 0,
            Some(found) => {
                let place = self.handed_in.iter().rposition(|offset| *offset == found);
                1 + place.unwrap_or_else(|| panic!("nobody committed {found}: {self:?}"))
            }
        };
        assert!(reached >= self.durable, "the cursor is back at {found:?}: {self:?}");
        // What came later went with its batch.
        self.handed_in.truncate(reached);
        self.with_batches.retain(|(_, handed_in)| *handed_in <= reached);
        (self.acknowledged, self.durable) = (reached, reached);
    }
}
