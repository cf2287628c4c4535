//! A checker's locks and conditions, in the shape of those that the engine uses: not poisoned, and a condition takes the
//! guard by reference.
//!
//! Both checkers copy the standard library, so that one file serves both. Neither knows time, so that waiting for a time is
//! made of what they know. The invariant it owns: a wait for a time can end by its time at any moment, and one that is
//! longer than any model lasts only by a wake-up, so that a lost wake-up is a deadlock, which the checkers report.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

#[cfg(feature = "loom")]
use loom as checker;
#[cfg(feature = "shuttle")]
use shuttle as checker;

/// Whoever waits for longer waits for a wake-up.
const FOREVER: Duration = Duration::from_secs(24 * 3_600);

pub(crate) struct Mutex<T>(checker::sync::Mutex<T>);

pub(crate) struct MutexGuard<'a, T> {
    lock: &'a Mutex<T>,
    /// None only while the thread waits at a condition.
    held: Option<checker::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(checker::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { lock: self, held: Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)) }
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(held) => Some(MutexGuard { lock: self, held: Some(held) }),
            Err(TryLockError::Poisoned(poisoned)) => Some(MutexGuard { lock: self, held: Some(poisoned.into_inner()) }),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("a thread that waits looks at nothing")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("a thread that waits changes nothing")
    }
}

pub(crate) struct RwLock<T>(checker::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> RwLock<T> {
        RwLock(checker::sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> checker::sync::RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> checker::sync::RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLock")
    }
}

#[derive(Debug)]
pub(crate) struct Condvar {
    inner: checker::sync::Condvar,
    /// Counts the wake-ups, for those who wait for a time. The checker need not know of it: it says nothing that the lock
    /// of the waiter does not say.
    notified: AtomicU64,
}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar { inner: checker::sync::Condvar::new(), notified: AtomicU64::new(0) }
    }
}

/// How a wait for a time ended.
pub(crate) struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub(crate) fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    pub(crate) fn notify_one(&self) {
        self.notified.fetch_add(1, Ordering::SeqCst);
        self.inner.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.notified.fetch_add(1, Ordering::SeqCst);
        self.inner.notify_all();
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect("a thread waits once at a time");
        guard.held = Some(self.inner.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    /// Some other threads get their turn, and then the time is over; unless it is longer than any model lasts.
    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, timeout: Duration) -> WaitTimeoutResult {
        if timeout >= FOREVER {
            self.wait(guard);
            return WaitTimeoutResult(false);
        }
        let before = self.notified.load(Ordering::SeqCst);
        give_way(guard);
        WaitTimeoutResult(self.notified.load(Ordering::SeqCst) == before)
    }
}

/// Lets go of a lock for as long as chance says.
#[cfg(feature = "shuttle")]
fn give_way<T>(guard: &mut MutexGuard<'_, T>) {
    use shuttle::rand::Rng;
    drop(guard.held.take());
    for _ in 0..shuttle::rand::thread_rng().gen_range(1..8) {
        shuttle::thread::yield_now();
    }
    guard.held = guard.lock.lock().held.take();
}

#[cfg(feature = "loom")]
fn give_way<T>(guard: &mut MutexGuard<'_, T>) {
    guard.held = None;
    unreachable!("no model of loom waits for a time ({:?}): the clock would be one more thread", guard.lock);
}
