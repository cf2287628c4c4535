//! The workload on real kernels: killed, refused by system calls, cut off from its power, and on full disks.
//!
//! | module | what is done to it | more of it |
//! |---|---|---|
//! | `killed` | `kill -9` at random, in the middle of a recovery too | `KSTORE_KILLS`: how many in all |
//! | `faults` | one system call fails, once or from then on (`strace`) | `KSTORE_FAULTS=all`: each of the first 40 |
//! | `order` | nothing: the trace of its system calls is judged | |
//! | `power` | ext4, xfs and btrfs lose what they have not written | `KSTORE_CUTS`: how many a file system |
//! | `full` | ext4 and btrfs have no room left | |
//!
//! Each run's lines are promises, which a check of the directory afterwards must find kept. A simulated disk can be crueller;
//! what is shown here is that the promises hold where no simulation of ours decides what a file system does. Missing
//! directory syncs cannot be found by cutting the power, for these file systems keep names all the same; `order` finds them.
//!
//! What a machine lacks (root, loop devices, `strace`, `mkfs.xfs` …) is told on standard error as `!!! NOT RUN`, and the
//! rest is run. All mounts are made in mount namespaces of their own, which go with the test, however it ends. Everything
//! random prints its seed and takes it from `KSTORE_SEED`.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is about programs and disks")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

mod faults;
mod full;
mod killed;
mod order;
mod place;
mod power;
mod trace;

#[path = "../support/dice.rs"]
mod dice;
#[path = "../support/programs.rs"]
mod programs;
#[path = "../support/promises.rs"]
mod promises;
#[path = "../support/tortured.rs"]
mod tortured;

use std::io::Write;

/// How the workload writes, and from how many threads.
const MODES: [&[&str]; 6] = [
    &[],
    &["--threads", "4"],
    &["--preallocated"],
    &["--preallocated", "--threads", "4"],
    &["--mapped"],
    &["--mapped", "--threads", "4"],
];
/// More than a run gets to append before something ends it; if nothing does, it ends by itself after some minutes.
const FOR_EVER: [&str; 2] = ["--records", "3000000"];

/// Says what is not run, past the harness, which hides what tests that pass have printed.
fn skip(what: &str, why: &str) {
    writeln!(std::io::stderr(), "!!! NOT RUN: {what}: {why}").expect("standard error");
}

/// How often something is done: as often as the environment says.
fn times(variable: &str, unless_set: u64) -> u64 {
    std::env::var(variable).map_or(unless_set, |times| times.parse().unwrap_or_else(|_| panic!("{variable}={times}")))
}
