//! `kill -9` at a random moment: what was acknowledged is there, in whichever mode and from however many threads.
//!
//! The moment may lie in the opening of the log, or in the recovery that a kill before made necessary. What the page cache
//! has survives; so this finds what is acknowledged before it is written, and states between two steps that no
//! opening understands.

use tempfile::tempdir;

use crate::dice::{Dice, seed};
use crate::tortured::Tortured;
use crate::{FOR_EVER, MODES, times};

fn kill_again_and_again(mode: usize) {
    let folder = tempdir().expect("a temporary folder");
    let mut dice = Dice::new(seed("kills").wrapping_add(mode as u64));
    let mut log = Tortured::new(&folder.path().join("log"), &folder.path().join("notes"));
    let rounds = times("KSTORE_KILLS", 100).div_ceil(MODES.len() as u64);
    for _ in 0..rounds {
        let mut running = log.start(&[], dice.below(u64::MAX), &[MODES[mode], &FOR_EVER].concat());
        if dice.below(4) == 0 {
            // Before it says anything, most likely.
            std::thread::sleep(dice.millis_below(12));
        } else {
            running.wait_for_lines(1);
            std::thread::sleep(dice.millis_below(120));
        }
        running.kill();
        if log.end(running).code.is_some() {
            log.fail("it ended by itself");
        }
        for _ in 0..dice.below(3) {
            let mut recovering = log.start_verify(&[]);
            std::thread::sleep(dice.millis_below(15));
            recovering.kill();
        }
        log.verify(&[]);
    }
    assert!(log.verify(&[]).end > 0, "nothing was ever appended");
}

#[test]
fn one_thread_that_is_killed_has_kept_its_promises() {
    kill_again_and_again(0);
}

#[test]
fn many_threads_that_are_killed_have_kept_their_promises() {
    kill_again_and_again(1);
}

#[test]
fn one_thread_that_allocates_ahead_and_is_killed_has_kept_its_promises() {
    kill_again_and_again(2);
}

#[test]
fn many_threads_that_allocate_ahead_and_are_killed_have_kept_their_promises() {
    kill_again_and_again(3);
}

#[test]
fn one_thread_that_stores_into_maps_and_is_killed_has_kept_its_promises() {
    kill_again_and_again(4);
}

#[test]
fn many_threads_that_store_into_maps_and_are_killed_have_kept_their_promises() {
    kill_again_and_again(5);
}
