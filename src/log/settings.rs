//! The configuration of an open log, which may be changed while others append.
//!
//! Appends look at it each time. So that they need neither a lock nor a count for it, a thread keeps the configuration that it
//! appended by last, and a glance at where the current one lies tells whether it is still that one: what is kept is alive,
//! so that no other lies there. The invariant it owns: who changed the configuration, and who was told of it by him, goes
//! by the new one.

use std::cell::Cell;
use std::sync::Arc;

use crate::config::LogConfig;
use crate::sync::RwLock;
use crate::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    static LAST_USED: Cell<Option<Arc<LogConfig>>> = const { Cell::new(None) };
}

/// One log's configuration.
#[derive(Debug)]
pub(super) struct Settings {
    /// Locked for moments only. Written with the writer mutex held.
    current: RwLock<Arc<LogConfig>>,
    /// Where it lies in memory, said once it is in place.
    address: AtomicUsize,
}

impl Settings {
    pub(super) fn new(config: Arc<LogConfig>) -> Settings {
        let address = AtomicUsize::new(address_of(&config));
        Settings { current: RwLock::new(config), address }
    }

    pub(super) fn get(&self) -> Arc<LogConfig> {
        Arc::clone(&self.current.read())
    }

    pub(super) fn set(&self, config: Arc<LogConfig>) {
        let address = address_of(&config);
        *self.current.write() = config;
        self.address.store(address, Ordering::Release);
    }

    /// Hands out the configuration as it is now; one that is set meanwhile is for the next call.
    #[inline]
    pub(super) fn with<T>(&self, body: impl FnOnce(&LogConfig) -> T) -> T {
        let address = self.address.load(Ordering::Acquire);
        // A thread that is ending keeps nothing any more, and may append all the same, from a destructor of the host's.
        let last_used = LAST_USED.try_with(Cell::take).unwrap_or_default();
        let config = last_used.filter(|kept| address_of(kept) == address).unwrap_or_else(|| self.get());
        let answer = body(&config);
        LAST_USED.try_with(|last_used| last_used.set(Some(config))).unwrap_or_default();
        answer
    }
}

fn address_of(config: &Arc<LogConfig>) -> usize {
    Arc::as_ptr(config).addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(segment_bytes: u64) -> Arc<LogConfig> {
        Arc::new(LogConfig::default().segment_bytes(segment_bytes))
    }

    #[test]
    fn a_thread_that_goes_to_and_fro_between_logs_and_changes_goes_by_the_current_one_of_each() {
        let (one, other) = (Settings::new(of(1000)), Settings::new(of(2000)));
        let seen = |settings: &Settings| settings.with(|config| config.segment_bytes);
        assert_eq!((seen(&one), seen(&one), seen(&other), seen(&one)), (1000, 1000, 2000, 1000));
        one.set(of(3000));
        assert_eq!((seen(&one), seen(&other), one.get().segment_bytes), (3000, 2000, 3000));
        let inside = one.with(|outer| (other.with(|inner| inner.segment_bytes), outer.segment_bytes));
        assert_eq!((inside, seen(&one), seen(&other)), ((2000, 3000), 3000, 2000));
        let set_meanwhile = one.with(|config| {
            one.set(of(4000));
            config.segment_bytes
        });
        assert_eq!((set_meanwhile, seen(&one)), (3000, 4000));
    }
}
