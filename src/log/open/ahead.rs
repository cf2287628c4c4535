//! Judges segments side by side, ahead of the recovery that takes what was found, one after the other.
//!
//! It decides nothing: which segment counts, and what becomes of it, is said when its turn comes. Until then it is only
//! likely that nothing before it is torn or missing, and the segment is judged as if that were so. Where it is not, it is
//! judged again by what is known by then, or nobody asks for it; all that was done to it beforehand is that its indexes
//! were made anew, which are of no use to anybody then.
//!
//! Invariants it owns: whoever asks for a segment gets what judging it at that moment gives, an error too; so many segments
//! are judged ahead, each by a thread with one buffer, that files and memory are bounded; and no thread is left behind.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{OnDamage, Worker};
use crate::error::Result;
use crate::offset::{Offset, Position};
use crate::state::State;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

use super::directory::Source;
use super::load::Loader;
use super::recovery::{Judged, judge_segment};

/// More threads than this wait for the disk, or for memory.
const MOST_THREADS: usize = 4;
/// So many segments a thread are taken on at once, so that none waits for a larger one's.
const SEGMENTS_A_THREAD: usize = 2;

/// Which segment is to be judged, and by which rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) base: Offset,
    /// Where the walk begins, and the offset that is due there.
    pub(super) start: Position,
    pub(super) due: Offset,
    /// The base offset of the next segment that holds anything.
    pub(super) upper: Option<Offset>,
    pub(super) gaps_allowed: bool,
}

/// The segments of one recovery, some of them judged already.
pub(super) struct Ahead<'a> {
    loader: &'a Loader<'a>,
    logs: &'a BTreeMap<Offset, Source>,
    filled: &'a BTreeSet<Offset>,
    state: Option<&'a State>,
    /// How many threads judge segments, once it is known that there are several: to ask the machine costs more than opening
    /// a small log.
    threads: Option<usize>,
    judged: BTreeMap<Offset, (Turn, Result<Judged>)>,
}

impl<'a> Ahead<'a> {
    /// `filled` are the segments that hold anything, `state` is what vouches for what lies below its recovery point.
    pub(super) fn new(
        loader: &'a Loader<'a>,
        logs: &'a BTreeMap<Offset, Source>,
        filled: &'a BTreeSet<Offset>,
        state: Option<&'a State>,
    ) -> Ahead<'a> {
        let config = loader.config;
        // After a failed sync judging writes to the segment, and what is cut as Kafka does is not to be touched behind the
        // cut: both wait for their turn.
        let in_turn = loader.sync_failed || (state.is_none() && config.on_damage == OnDamage::CutAsKafka);
        let threads = (in_turn || config.worker == Worker::Caller).then_some(1);
        Ahead { loader, logs, filled, state, threads, judged: BTreeMap::new() }
    }

    /// Judges a segment, whose turn it is.
    pub(super) fn judge(&mut self, turn: Turn) -> Result<Judged> {
        match self.judged.remove(&turn.base) {
            Some((guessed, judged)) if guessed == turn => return judged,
            // Its files are closed before they are made anew.
            Some(wrong) => drop(wrong),
            None => {
                self.judge_ahead(turn);
                if let Some((_, judged)) = self.judged.remove(&turn.base) {
                    return judged;
                }
            }
        }
        self.judge_now(turn)
    }

    /// Judges a segment and those behind it, if there are any and more threads than this one.
    fn judge_ahead(&mut self, first: Turn) {
        if self.threads == Some(1) || self.filled.range(first.base + 1..).next().is_none() {
            return;
        }
        let env = self.loader.env;
        let threads = *self.threads.get_or_insert_with(|| env.parallelism().min(MOST_THREADS));
        if threads == 1 {
            return;
        }
        let behind = self.filled.range(first.base + 1..).filter(|base| !self.judged.contains_key(base));
        let guesses = behind.map(|&base| {
            let upper = self.filled.range(base + 1..).next().copied();
            Turn { base, start: Position::ZERO, due: base, upper, gaps_allowed: first.gaps_allowed }
        });
        let turns: Vec<Turn> = [first].into_iter().chain(guesses).take(threads * SEGMENTS_A_THREAD).collect();
        let (next, judged) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(turns.len())));
        self.loader.env.side_by_side("kstore-recovery", threads.min(turns.len()), &|| {
            while let Some(&turn) = turns.get(next.fetch_add(1, Ordering::Relaxed)) {
                let found = self.judge_now(turn);
                judged.lock().push((turn, found));
            }
        });
        let judged = std::mem::take(&mut *judged.lock());
        self.judged.extend(judged.into_iter().map(|(turn, found)| (turn.base, (turn, found))));
    }

    fn judge_now(&self, turn: Turn) -> Result<Judged> {
        judge_segment(self.loader, &self.logs[&turn.base], turn, self.state)
    }
}
