//! Atomics for loom, which knows sequentially consistent fences, but takes a sequentially consistent access for one that
//! acquires and releases.
//!
//! So each such access gets a fence, either before it or behind it. Compilers make such accesses for processors in one
//! of these ways, and either gives more than the language promises, but not the same: what is right only by what one of
//! them adds is found with the other. A model is therefore checked with both. The invariant it owns: no access is stronger
//! than its ordering says but by that one fence.

use std::sync::atomic::{AtomicBool as Switch, Ordering as SwitchOrdering};

pub(crate) use loom::sync::atomic::{Ordering, fence};

/// Where a sequentially consistent access has its fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fences {
    /// What was done earlier comes before the access.
    Before,
    /// The access comes before what is done later.
    Behind,
}

static BEHIND: Switch = Switch::new(false);

impl Fences {
    /// Counts for all models from here on.
    pub fn choose(self) {
        BEHIND.store(self == Fences::Behind, SwitchOrdering::SeqCst);
    }
}

fn ordered<T>(ordering: Ordering, access: impl FnOnce() -> T) -> T {
    let (total, behind) = (ordering == Ordering::SeqCst, BEHIND.load(SwitchOrdering::SeqCst));
    if total && !behind {
        fence(Ordering::SeqCst);
    }
    let answer = access();
    if total && behind {
        fence(Ordering::SeqCst);
    }
    answer
}

/// Four types that differ in nothing but the number they hold: written out, one of them would sooner or later differ.
macro_rules! atomic {
    ($name:ident, $value:ty, { $($method:ident),* }) => {
        #[derive(Debug, Default)]
        pub(crate) struct $name(loom::sync::atomic::$name);

        #[allow(dead_code, reason = "the engine does not ask everything of each of them")]
        impl $name {
            pub(crate) fn new(value: $value) -> $name {
                $name(loom::sync::atomic::$name::new(value))
            }

            pub(crate) fn load(&self, ordering: Ordering) -> $value {
                ordered(ordering, || self.0.load(ordering))
            }

            pub(crate) fn store(&self, value: $value, ordering: Ordering) {
                ordered(ordering, || self.0.store(value, ordering));
            }

            $(pub(crate) fn $method(&self, value: $value, ordering: Ordering) -> $value {
                ordered(ordering, || self.0.$method(value, ordering))
            })*
        }
    };
}

atomic!(AtomicBool, bool, { swap });
atomic!(AtomicI64, i64, { swap, fetch_max });
atomic!(AtomicU64, u64, { swap, fetch_add, fetch_sub, fetch_max, fetch_min });
atomic!(AtomicUsize, usize, { swap, fetch_add, fetch_sub });
