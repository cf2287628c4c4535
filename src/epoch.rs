//! Leader epochs: which leader wrote from which offset on.
//!
//! A pure value by Kafka's rules; it knows no file, no log and no lock. [`EpochCache`] is what a log answers from,
//! [`EpochRuns`] what a walk over batches saw. The invariant it owns: in a cache both the epochs and their start offsets
//! rise strictly, so that of two claims that contradict each other only the later one is in it.

use crate::checkpoint::EpochStart;
use crate::offset::Offset;
use crate::record::BatchHeader;

/// Where each leader epoch begins. It ends where the next one begins, the last one at the log end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EpochCache {
    entries: Vec<EpochStart>,
}

impl EpochCache {
    /// A cache with these entries; `None` if epochs or offsets do not rise.
    pub(crate) fn from_entries(entries: Vec<EpochStart>) -> Option<EpochCache> {
        let rise = |pair: &[EpochStart]| pair[0].epoch < pair[1].epoch && pair[0].start_offset < pair[1].start_offset;
        let sound = entries.windows(2).all(rise) && entries.first().is_none_or(|first| first.epoch >= 0);
        sound.then_some(EpochCache { entries })
    }

    /// The entries, oldest first.
    pub(crate) fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The last epoch and where it begins.
    pub(crate) fn latest(&self) -> Option<EpochStart> {
        self.entries.last().copied()
    }

    /// Takes note that an epoch begins at an offset. Of the present epoch the first claim counts, unless a later one
    /// names an earlier offset; what contradicts the new entry goes.
    pub(crate) fn assign(&mut self, epoch: i32, start_offset: Offset) {
        assert!(epoch >= 0, "a batch without an epoch is no claim");
        if self.latest().is_some_and(|latest| latest.epoch == epoch && start_offset >= latest.start_offset) {
            return;
        }
        while self.latest().is_some_and(|latest| latest.epoch >= epoch || latest.start_offset >= start_offset) {
            self.entries.pop();
        }
        self.entries.push(EpochStart { epoch, start_offset });
    }

    /// Where a follower whose last epoch is `requested` has to look for the end of what it shares with a log that ends
    /// at `log_end`: the greatest epoch at or below the requested one, and its end.
    ///
    /// `None` if nothing can be said: without an epoch, and for one that is later than the last. An epoch before the
    /// first one ends where that begins.
    pub(crate) fn end_offset_for(&self, requested: i32, log_end: Offset) -> Option<(i32, Offset)> {
        let latest = self.latest().filter(|latest| requested >= 0 && requested <= latest.epoch)?;
        if requested == latest.epoch {
            return Some((requested, log_end));
        }
        let higher = self.entries.partition_point(|entry| entry.epoch <= requested);
        let floor = higher.checked_sub(1).map_or(requested, |floor| self.entries[floor].epoch);
        Some((floor, self.entries[higher].start_offset))
    }

    /// Drops the epochs that begin at or above `end`.
    pub(crate) fn truncate_from_end(&mut self, end: Offset) {
        let kept = self.entries.partition_point(|entry| entry.start_offset < end);
        self.entries.truncate(kept);
    }

    /// Drops the epochs that end at or below `start`; the one that `start` lies in begins there from now on.
    pub(crate) fn truncate_from_start(&mut self, start: Offset) {
        let behind = self.entries.partition_point(|entry| entry.start_offset <= start);
        if let Some(first) = behind.checked_sub(1) {
            self.entries.drain(..first);
            self.entries[0].start_offset = start;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// The epoch that an offset belongs to; `None` below the first one. Above the last start it is the last epoch,
    /// however high the offset.
    pub(crate) fn epoch_for_offset(&self, offset: Offset) -> Option<i32> {
        let above = self.entries.partition_point(|entry| entry.start_offset <= offset);
        above.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// The greatest epoch below this one.
    #[cfg_attr(not(test), allow(dead_code, reason = "a broker's answers about epochs ask this"))]
    pub(crate) fn previous(&self, epoch: i32) -> Option<EpochStart> {
        self.entries[..self.entries.partition_point(|entry| entry.epoch < epoch)].last().copied()
    }

    /// The smallest epoch above this one.
    #[cfg_attr(not(test), allow(dead_code, reason = "a broker's answers about epochs ask this"))]
    pub(crate) fn next(&self, epoch: i32) -> Option<EpochStart> {
        self.entries.get(self.entries.partition_point(|entry| entry.epoch <= epoch)).copied()
    }

    /// Takes note of what a walk over batches found, as recovery does: epochs only increase, and a batch of an old
    /// format, which has none, ends what was known.
    pub(crate) fn learn(&mut self, runs: &EpochRuns) {
        for run in &runs.runs {
            match run.epoch {
                None => self.clear(),
                Some(epoch) if self.latest().is_none_or(|latest| epoch > latest.epoch) => self.assign(epoch, run.first),
                Some(_) => {}
            }
        }
    }

    /// Whether no batch of a walk contradicts this cache. Batches below the first entry may have an earlier epoch, for
    /// the first entry moves with the log start; an epoch above the last one is news.
    pub(crate) fn agrees_with(&self, runs: &EpochRuns) -> bool {
        runs.runs.iter().all(|run| [run.first, run.last].into_iter().all(|base| self.admits(run.epoch, base)))
    }

    /// Whether a walk met an epoch above the last one.
    pub(crate) fn is_news(&self, runs: &EpochRuns) -> bool {
        let latest = self.latest().map(|latest| latest.epoch);
        runs.runs.iter().any(|run| run.epoch > latest)
    }

    /// Whether a batch of this epoch may begin at `base`; `None` stands for a format that has no epochs.
    fn admits(&self, epoch: Option<i32>, base: Offset) -> bool {
        match (self.epoch_for_offset(base), epoch) {
            (None, None) => true,
            (Some(_), None) => false,
            (known, Some(epoch)) if self.latest().is_none_or(|latest| epoch > latest.epoch) => {
                // News can begin only behind what is known.
                known == self.latest().map(|latest| latest.epoch)
            }
            (Some(known), Some(epoch)) => known == epoch,
            (None, Some(epoch)) => self.entries.first().is_some_and(|first| epoch <= first.epoch),
        }
    }
}

/// The epochs of batches that follow each other, as runs of batches with the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EpochRuns {
    runs: Vec<EpochRun>,
}

/// Batches of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EpochRun {
    /// `None` for formats that have no epochs.
    epoch: Option<i32>,
    /// Where the first batch begins.
    first: Offset,
    /// Where the last batch begins.
    last: Offset,
    /// Where the last batch ends.
    end: Offset,
}

impl EpochRuns {
    /// Takes note of the next batch. One of a format with epochs that has none says nothing.
    pub(crate) fn note(&mut self, header: &BatchHeader) {
        let base = header.base_offset().unwrap_or(header.last_offset());
        let end = header.next_offset();
        if header.is_legacy() {
            self.push(EpochRun { epoch: None, first: base, last: base, end });
        } else if header.leader_epoch >= 0 {
            self.push(EpochRun { epoch: Some(header.leader_epoch), first: base, last: base, end });
        }
    }

    /// The runs that do not end at or below an offset.
    pub(crate) fn from(&self, start: Offset) -> EpochRuns {
        EpochRuns { runs: self.runs.iter().filter(|run| run.end > start).copied().collect() }
    }

    /// Goes on with the batches of another walk.
    pub(crate) fn append(&mut self, later: EpochRuns) {
        later.runs.into_iter().for_each(|run| self.push(run));
    }

    fn push(&mut self, next: EpochRun) {
        match self.runs.last_mut() {
            Some(run) if run.epoch == next.epoch => (run.last, run.end) = (next.last, next.end),
            _ => self.runs.push(next),
        }
    }
}

#[cfg(test)]
mod tests;
