//! The scenarios: which there are, and how a thread of one acts.
//!
//! Threads draw what they do from the checker's chance, so that a schedule that failed says everything that happened.

use std::sync::Arc;

use shuttle::rand::Rng;
use shuttle::thread;

use super::Case;

mod closing;
mod commit;
mod maps;
mod mixture;
mod waking;
mod windows;
mod world;

use world::World;

/// All scenarios.
pub const SCENARIOS: &[Case] = &[
    Case::holds("appends, reads, truncations and a close at once keep every promise", mixture::everything),
    Case::holds("slices keep their bytes while segments are cut and deleted", mixture::slices),
    Case::holds("windows come and go while the log is cut, rolled and written in other ways", windows::everything),
    Case::holds(
        "segments are read through maps while these come and go and somebody else gets the files",
        maps::everything,
    ),
    Case::holds("who is told that a sync succeeded finds the records after a power cut", commit::healthy),
    Case::holds("no sync is acknowledged that failed for anybody", commit::failing),
    Case::holds("a log that failed goes on after reopening with all that was durable", commit::reopening),
    Case::holds("a truncation that fails leaves no acknowledgement that was not kept", commit::truncating),
    Case::holds("nobody waits for a log that was closed, and every callback runs once", closing::close),
    Case::holds("the last handle closes the log, whichever thread drops it", closing::last_handle),
    Case::holds("who waits for what comes is woken, whatever brings it", waking::growth),
    Case::holds("who waits for what cannot come is told", waking::ends),
    Case::holds("a shorter interval counts for the worker that sleeps already", waking::interval),
];

/// A number below `options`, as chance says.
fn choice(options: u64) -> u64 {
    shuttle::rand::thread_rng().gen_range(0..options)
}

/// One time in `times`.
fn once_in(times: u64) -> bool {
    choice(times) == 0
}

/// Threads of one scenario; all of them have ended when this is dropped.
#[derive(Default)]
struct Crew {
    threads: Vec<thread::JoinHandle<()>>,
}

impl Crew {
    fn does(&mut self, world: &Arc<World>, body: impl FnOnce(&World) + Send + 'static) {
        let world = Arc::clone(world);
        self.threads.push(thread::spawn(move || body(&world)));
    }

    fn ends(self) {
        for thread in self.threads {
            thread.join().expect("no panic");
        }
    }
}
