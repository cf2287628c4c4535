//! What many threads do to one log, in every order or in very many: the models and scenarios that the package in
//! `interleavings/` runs. They exist only there, where `src/sync` is a checker's.
//!
//! *Models* are for loom: a few calls on a few threads, in every order that the memory model of the language allows, stale values
//! included. *Scenarios* are for shuttle: the whole engine on the simulated disk, in as many orders as one has time for,
//! where every access is seen at once by all. Not an interface: nothing here is stable. The invariant it owns: a model and a
//! scenario each name the property that they hold the engine to, and fail by a panic or a deadlock.

#[cfg(feature = "loom")]
mod models;
#[cfg(feature = "shuttle")]
mod scenarios;

#[cfg(feature = "loom")]
pub use models::MODELS;
#[cfg(feature = "shuttle")]
pub use scenarios::SCENARIOS;

#[cfg(feature = "loom")]
pub use crate::sync::ordered::Fences;

/// A property, and what shows it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The property, as a sentence.
    pub name: &'static str,
    /// Run once for each order of events; panics if the property does not hold.
    pub body: fn(),
    /// It is a copy with a fault, which must be found: a checker that finds nothing in it finds nothing at all.
    pub must_fail: bool,
    /// How often threads are interrupted at most, where all orders would take too long.
    pub preemptions_max: Option<usize>,
}

impl Case {
    const fn holds(name: &'static str, body: fn()) -> Case {
        Case { name, body, must_fail: false, preemptions_max: None }
    }

    #[cfg(feature = "loom")]
    const fn holds_within(preemptions: usize, name: &'static str, body: fn()) -> Case {
        Case { preemptions_max: Some(preemptions), ..Case::holds(name, body) }
    }

    #[cfg(feature = "loom")]
    const fn fails(name: &'static str, body: fn()) -> Case {
        Case { must_fail: true, ..Case::holds(name, body) }
    }
}
