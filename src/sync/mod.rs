//! Locks, conditions, atomics and threads: the only place that names where they come from.
//!
//! In a build that anybody uses it is a list of re-exports, which cost nothing: locks that are not poisoned, and the
//! standard library's atomics and threads. The package in `interleavings/` builds this crate once more with the features
//! `loom` or `shuttle`, which the crate itself does not have; then they are a checker's, who runs the threads of a model
//! in one order after another. What only counts references or is set once (`Arc`, `OnceLock`) and what belongs to one
//! thread is taken from the standard library directly, for nobody waits for it.
//!
//! The invariant it owns: no thread of the engine waits for another, or learns from another, but through what is named here,
//! so that whoever replaces it sees everything that threads do to each other.

#[cfg(any(feature = "loom", feature = "shuttle"))]
mod checked;
#[cfg(feature = "loom")]
pub(crate) mod ordered;

#[cfg(any(feature = "loom", feature = "shuttle"))]
pub(crate) use checked::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

/// Numbers and flags that threads share without a lock.
pub(crate) mod atomic {
    #[cfg(feature = "loom")]
    pub(crate) use super::ordered::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering, fence};
    #[cfg(feature = "shuttle")]
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering, fence};
    #[cfg(not(any(feature = "loom", feature = "shuttle")))]
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering, fence};
}

/// Threads. Only the seam starts one.
pub(crate) mod thread {
    #[cfg(feature = "loom")]
    pub(crate) use loom::thread::{Builder, JoinHandle, current};
    #[cfg(feature = "shuttle")]
    pub(crate) use shuttle::thread::{Builder, JoinHandle, current};
    #[cfg(not(any(feature = "loom", feature = "shuttle")))]
    pub(crate) use std::thread::{Builder, JoinHandle, available_parallelism, current, scope};
}
