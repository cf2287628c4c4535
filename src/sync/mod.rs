//! Locks, conditions, atomics and threads: the only place that names where they come from.
//!
//! In a build that anybody uses it is a list of re-exports, which cost nothing: locks that are not poisoned, and the
//! standard library's atomics and threads. What only counts references or is set once (`Arc`, `OnceLock`) and what belongs
//! to one thread is taken from the standard library directly, for nobody ever waits for it.
//!
//! The invariant it owns: no thread of the engine waits for another, or learns from another, but through what is named here,
//! so that whoever replaces it sees everything that threads do to each other.

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

/// Numbers and flags that threads share without a lock.
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering, fence};
}

/// Threads. Only the seam starts one.
pub(crate) mod thread {
    pub(crate) use std::thread::{Builder, JoinHandle, current};
}
