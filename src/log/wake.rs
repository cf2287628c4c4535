//! Wakes readers that wait for a log to grow, without polling: a list of who waits, and for what.
//!
//! It reads no records and knows no clock but the timeouts it is handed. Each waiter is woken by its own condition, and
//! for an offset only once that offset is reached, so that a thousand readers far ahead cost an append nothing. Where
//! nobody waits, an append looks at one counter. Invariants it owns:
//!
//! * **No wake-up is lost.** Who changes what readers see does (P1) a sequentially consistent store of the datum, then
//!   (P2) a load of the counter, also sequentially consistent. Who waits (W1) raises the counter and stands in the list,
//!   under the list's lock, then (W2) passes a fence, then (W3) looks at the datum once more, and sleeps only if it is
//!   not reached. If P2 misses W1, P2 comes before W1 in the total order, hence P1 before W2, and W3 sees P1. If P2 sees
//!   the counter raised, the publisher takes the lock: either the waiter stands in the list by then and is woken, or it
//!   takes the lock later and, the lock being ordered, sees P1 at W3.
//! * The list's lock and a waiter's own are innermost: nothing else is locked while they are held.
//! * A waiter leaves the list on every path, by a guard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::sync::atomic::{AtomicUsize, Ordering, fence};
use crate::sync::{Condvar, Mutex};

use super::core::{Core, ReadUpTo};
use super::open::growth::INTERVAL;

/// Everyone who waits at one log.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// How many stand in the list.
    count: AtomicUsize,
    list: Mutex<List>,
}

/// In the order of what they wait for, by the bound that they wait for; the number tells equal ones apart.
#[derive(Debug, Default)]
struct List {
    waiting: [BTreeMap<(Offset, u64), Arc<Parker>>; BOUNDS.len()],
    next_number: u64,
}

/// The bounds that move apart from each other.
const BOUNDS: [ReadUpTo; 3] = [ReadUpTo::LogEnd, ReadUpTo::Synced, ReadUpTo::HighWatermark];

/// Where a thread sleeps until it is woken. A wake-up before the sleep is kept.
#[derive(Debug, Default)]
pub(crate) struct Parker {
    woken: Mutex<bool>,
    condition: Condvar,
}

impl Parker {
    pub(crate) fn wake(&self) {
        *self.woken.lock() = true;
        self.condition.notify_one();
    }

    /// Sleeps until woken, or for so long. `false` if nobody woke it.
    fn park(&self, timeout: Option<Duration>) -> bool {
        let mut woken = self.woken.lock();
        while !*woken {
            match timeout {
                None => self.condition.wait(&mut woken),
                // Whoever is woken for no reason sleeps the whole time again, at most.
                Some(timeout) if self.condition.wait_for(&mut woken, timeout).timed_out() => break,
                Some(_) => {}
            }
        }
        std::mem::take(&mut *woken)
    }
}

/// A place in the list.
struct Ticket<'a> {
    waiters: &'a Waiters,
    bound: usize,
    key: (Offset, u64),
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut list = self.waiters.list.lock();
        if list.waiting[self.bound].remove(&self.key).is_some() {
            self.waiters.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Waiters {
    fn register(&self, up_to: ReadUpTo, end: Offset, parker: &Arc<Parker>) -> Ticket<'_> {
        let bound = match up_to {
            ReadUpTo::LogEnd | ReadUpTo::FileEnd => 0,
            ReadUpTo::Synced => 1,
            ReadUpTo::HighWatermark | ReadUpTo::LastStable => 2,
        };
        let mut list = self.list.lock();
        let key = (end, list.next_number);
        list.next_number += 1;
        list.waiting[bound].insert(key, Arc::clone(parker));
        self.count.fetch_add(1, Ordering::SeqCst);
        drop(list);
        fence(Ordering::SeqCst);
        Ticket { waiters: self, bound, key }
    }

    /// Takes out of the list who waits for no more than the ends that `reached` gives; everyone without it.
    fn take(&self, reached: Option<[Offset; BOUNDS.len()]>) -> Vec<Arc<Parker>> {
        let mut taken = Vec::new();
        let mut list = self.list.lock();
        for (bound, waiting) in list.waiting.iter_mut().enumerate() {
            while let Some(first) = waiting.first_entry() {
                if reached.is_some_and(|ends| first.key().0 > ends[bound]) {
                    break;
                }
                taken.push(first.remove());
            }
        }
        self.count.fetch_sub(taken.len(), Ordering::Relaxed);
        taken
    }
}

/// Wakes the readers that what was just published lets go on, when it is dropped: after the caller's locks are
/// released, so that who is woken does not run into them.
#[derive(Debug)]
pub(crate) struct Wake<'a>(pub(super) &'a Core);

impl Drop for Wake<'_> {
    fn drop(&mut self) {
        let waiters = self.0.waiters();
        if waiters.count.load(Ordering::SeqCst) > 0 {
            let ends = BOUNDS.map(|bound| self.0.end_for(bound));
            waiters.take(Some(ends)).iter().for_each(|parker| parker.wake());
        }
    }
}

impl Core {
    /// Has everyone who waits look again: for changes of bounds other than growth, and for what ends waiting. To be
    /// called after the change; locks may be held, as none is taken by others meanwhile.
    pub(crate) fn wake_readers(&self) {
        // The change may have been stored in any order.
        fence(Ordering::SeqCst);
        let waiters = self.waiters();
        if waiters.count.load(Ordering::SeqCst) > 0 {
            waiters.take(None).iter().for_each(|parker| parker.wake());
        }
    }

    /// Waits until `check` gives an answer, looking whenever readers of this kind see everything below what it waits
    /// for, and whenever everyone is woken. `None` once the deadline, on the monotonic clock, has passed.
    pub(crate) fn wait<T>(
        &self,
        parker: &Arc<Parker>,
        up_to: ReadUpTo,
        deadline: Option<Duration>,
        mut check: impl FnMut() -> Checked<T>,
    ) -> Result<Option<T>> {
        // Sleeping counts as well as the clock: the simulated one stands still meanwhile.
        let mut left = deadline.map(|deadline| deadline.saturating_sub(self.env().monotonic()));
        loop {
            self.look_for_growth()?;
            let end = match check() {
                Checked::Answer(answer) => return answer.map(Some),
                Checked::WaitFor(end) => end,
            };
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            let ticket = self.waiters().register(up_to, end, parker);
            match check() {
                Checked::Answer(answer) => return answer.map(Some),
                Checked::WaitFor(earlier) if earlier < end => continue,
                Checked::WaitFor(_) => {}
            }
            let timeout =
                if self.grows_by_others() { Some(left.map_or(INTERVAL, |left| left.min(INTERVAL))) } else { left };
            let woken = parker.park(timeout);
            drop(ticket);
            if let Some(left) = &mut left {
                let by_clock = deadline.unwrap_or_default().saturating_sub(self.env().monotonic());
                *left = if woken { by_clock } else { left.saturating_sub(timeout.unwrap_or_default()).min(by_clock) };
            }
        }
    }

    /// The moment so far from now, unless there is none.
    pub(crate) fn deadline_in(&self, timeout: Duration) -> Option<Duration> {
        self.env().monotonic().checked_add(timeout)
    }

    /// The failure of a log that shows readers nothing at or above `end` any more.
    pub(crate) fn failure_below(&self, end: Offset) -> Option<Error> {
        let cause = self.failure()?;
        (end > self.log_end()).then_some(Error::Failed { cause })
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiters().count.load(Ordering::SeqCst)
    }
}

/// What a look at the log found.
pub(crate) enum Checked<T> {
    Answer(Result<T>),
    /// Nothing yet; the next look is due when everything below this offset is there.
    WaitFor(Offset),
}
