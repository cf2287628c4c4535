//! Who shares a turn to sync, and how long the turn waits for them.
//!
//! Threads that append again as soon as their last append is durable fall into two halves if nobody waits: one half appends
//! while the other half's sync runs, and each sync is for half of them. So who has the turn waits a little for as many as were
//! there when the last one began. The invariants it owns: nobody waits for longer than half of what the last sync took, nor than
//! [`LONGEST_WAIT`]; company that does not come is waited for once. Nothing else depends on these numbers: if they were wrong,
//! some syncs would be for fewer threads, or begin a little later.

use std::time::Duration;

use crate::offset::Offset;

/// The longest that a turn waits for company.
const LONGEST_WAIT: Duration = Duration::from_millis(1);

/// Who shares the turn that runs, or ran last.
#[derive(Debug, Default)]
pub(super) struct Sharers {
    turn: Turn,
    /// What it makes durable, once that is known.
    covers: Option<Offset>,
    /// So many threads want it, as far as they have come.
    present: usize,
    /// So many came too late for it, and want the next one.
    late: usize,
    /// So many were there when the turn before it began to sync.
    last: usize,
    /// So many are waited for right now.
    awaited: Option<usize>,
    last_sync: Duration,
    waits_for_nobody: bool,
}

/// The number of a turn.
pub(super) type Turn = u64;

impl Sharers {
    /// A turn begins, by a thread that wants everything below `end` durable. `counted`: the turn which that thread was
    /// counted for before, if any.
    pub(super) fn begin(&mut self, end: Offset, counted: &mut Option<Turn>) {
        self.turn += 1;
        self.covers = None;
        self.present = std::mem::take(&mut self.late);
        self.join(end, counted);
    }

    /// Counts a thread that wants everything below `end` durable, once for each turn. `true` if it is the last one who is
    /// waited for.
    pub(super) fn join(&mut self, end: Offset, counted: &mut Option<Turn>) -> bool {
        let is_late = self.covers.is_some_and(|covers| end > covers);
        let turn = self.turn + Turn::from(is_late);
        // Who is counted for the next turn may find one of another kind that covers him.
        if counted.is_some_and(|counted| counted >= turn) {
            return false;
        }
        *counted = Some(turn);
        if is_late {
            self.late += 1;
            return false;
        }
        self.present += 1;
        self.awaited == Some(self.present)
    }

    /// A thread has its answer. If it was counted for a turn that has not begun, it will not be there.
    pub(super) fn leave(&mut self, counted: Option<Turn>) {
        if counted == Some(self.turn + 1) {
            self.late = self.late.saturating_sub(1);
        }
    }

    /// From now on nobody waits for company.
    pub(super) fn wait_for_nobody(&mut self) {
        self.waits_for_nobody = true;
    }

    /// How long to wait for as many as shared the last turn; `None` if they are there.
    pub(super) fn wait_for_company(&mut self) -> Option<Duration> {
        self.awaited = (self.present < self.last && !self.waits_for_nobody).then_some(self.last);
        self.awaited.map(|_| (self.last_sync / 2).min(LONGEST_WAIT))
    }

    /// Nobody is waited for any more.
    pub(super) fn depart(&mut self) {
        self.awaited = None;
        self.last = self.present;
    }

    /// The turn makes everything below `end` durable: who comes with more is late.
    pub(super) fn cover(&mut self, end: Offset) {
        self.covers = Some(end);
    }

    /// The sync of the turn took so long.
    pub(super) fn took(&mut self, sync: Duration) {
        self.last_sync = sync;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_micros(250);

    /// Threads, each with the turn that it was counted for.
    struct Threads {
        sharers: Sharers,
        counted: [Option<Turn>; 4],
    }

    impl Threads {
        fn new() -> Threads {
            Threads { sharers: Sharers::default(), counted: [None; 4] }
        }

        fn begin(&mut self, thread: usize, end: u64) -> Option<Duration> {
            self.sharers.begin(Offset::new(end), &mut self.counted[thread]);
            self.sharers.wait_for_company()
        }

        fn join(&mut self, thread: usize, end: u64) -> bool {
            self.sharers.join(Offset::new(end), &mut self.counted[thread])
        }

        fn leave(&mut self, thread: usize) {
            self.sharers.leave(self.counted[thread].take());
        }

        fn sync(&mut self, end: u64) {
            self.sharers.depart();
            self.sharers.cover(Offset::new(end));
            self.sharers.took(SYNC);
        }
    }

    #[test]
    fn a_thread_that_is_alone_never_waits() {
        let mut threads = Threads::new();
        for turn in 1..10 {
            assert_eq!(threads.begin(0, turn), None, "turn {turn}");
            threads.sync(turn);
        }
    }

    #[test]
    fn a_turn_waits_for_as_many_as_shared_the_last_one_and_the_last_of_them_ends_the_waiting() {
        let mut threads = Threads::new();
        assert_eq!(threads.begin(0, 1), None);
        threads.sync(1);
        for late in 1..4 {
            assert!(!threads.join(late, 4), "nobody waits for who comes while the sync runs");
        }
        assert_eq!(threads.begin(1, 4), None, "they are more than shared the last turn");
        for again in [2, 3] {
            assert!(!threads.join(again, 4), "who was late is counted already");
        }
        threads.sync(4);
        assert_eq!(threads.begin(1, 5), Some(SYNC / 2));
        assert!(!threads.join(2, 6));
        assert!(!threads.join(2, 6), "the same thread once more");
        assert!(threads.join(3, 7), "the third of three");
        assert!(!threads.join(0, 8), "more than were waited for");
    }

    #[test]
    fn company_that_does_not_come_is_not_waited_for_again() {
        let mut threads = Threads::new();
        threads.begin(0, 1);
        assert!(!threads.join(1, 2), "before it is known what the turn covers");
        threads.sync(2);
        assert_eq!(threads.begin(0, 3), Some(SYNC / 2));
        threads.sync(3);
        assert_eq!(threads.begin(0, 4), None);
    }

    #[test]
    fn who_had_its_answer_before_the_next_turn_began_is_no_company() {
        let mut threads = Threads::new();
        threads.begin(0, 1);
        threads.sync(1);
        assert!(!threads.join(1, 2), "it is late");
        threads.leave(1);
        assert_eq!(threads.begin(0, 3), None);
        threads.sync(3);
        assert_eq!(threads.begin(0, 4), None, "one was there, and is there again");
    }

    #[test]
    fn who_is_late_and_covered_by_another_sync_meanwhile_is_counted_once() {
        let mut threads = Threads::new();
        threads.begin(0, 1);
        threads.sync(1);
        for _ in 0..2 {
            assert!(!threads.join(1, 2));
            // As a sync of what was sealed.
            threads.sharers.cover(Offset::new(2));
        }
        threads.leave(1);
        threads.begin(0, 3);
        threads.sync(3);
        assert_eq!(threads.begin(0, 4), None);
    }

    #[test]
    fn where_company_would_need_a_lock_nobody_waits_for_it() {
        let mut threads = Threads::new();
        threads.sharers.wait_for_nobody();
        threads.begin(0, 1);
        threads.join(1, 2);
        threads.sync(2);
        assert_eq!(threads.begin(0, 3), None);
    }

    #[test]
    fn nobody_waits_for_longer_than_a_millisecond_however_slow_the_disk_is() {
        let mut threads = Threads::new();
        threads.begin(0, 1);
        threads.join(1, 2);
        threads.sync(2);
        threads.sharers.took(Duration::from_secs(2));
        assert_eq!(threads.begin(0, 3), Some(Duration::from_millis(1)));
    }
}
