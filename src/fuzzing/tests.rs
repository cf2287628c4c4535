//! The fuzzers' inputs that are kept, run as any other test, so that what was found once is looked for in each build.
//!
//! `KSTORE_FUZZ_INPUT=<target>/<name>` runs one of them alone. To find new ones is the fuzzers' business. The inputs lie in `fuzz/seeds/`, which a published crate lacks.
//! `KSTORE_SEEDS=<folder> cargo test fuzzing` writes those that are made by a program into that folder.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this reads the source tree")]

use std::path::{Path, PathBuf};

use super::*;

mod seeds;

type Target = (&'static str, fn(&[u8], Meter));

const TARGETS: [Target; 9] = [
    ("batch", batch),
    ("checkpoint", checkpoint),
    ("codec", codec),
    ("cursors", cursors),
    ("index", index),
    ("legacy", legacy),
    ("operations", operations),
    ("recover", recover),
    ("state", state),
];

#[test]
fn every_input_that_was_kept_is_dealt_with() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    if !seeds.exists() {
        println!("NOT RUN: the fuzzers' inputs are not part of the published crate");
        return;
    }
    let wanted = std::env::var_os("KSTORE_FUZZ_INPUT").map(|input| seeds.join(input));
    for (name, target) in TARGETS {
        let inputs = files(&seeds.join(name));
        assert!(!inputs.is_empty(), "{name} has no seed");
        for path in inputs.into_iter().filter(|path| wanted.as_ref().is_none_or(|wanted| wanted == path)) {
            // Names the input of a failure.
            println!("{}", path.display());
            target(&std::fs::read(&path).expect("a file"), Meter::NONE);
        }
    }
}

#[test]
fn every_input_that_the_engine_makes_is_dealt_with() {
    let into = std::env::var_os("KSTORE_SEEDS").map(PathBuf::from);
    let mut counts = [0; TARGETS.len()];
    for (name, seed, bytes) in seeds::made() {
        let at = TARGETS.iter().position(|(target, _)| *target == name).expect("a target");
        counts[at] += 1;
        println!("{name} {seed}");
        TARGETS[at].1(&bytes, Meter::NONE);
        if let Some(into) = &into {
            std::fs::create_dir_all(into.join(name)).expect("a folder");
            std::fs::write(into.join(name).join(seed), bytes).expect("a writable folder");
        }
    }
    // Those of `batch`, `index` and `recover` are kept only.
    assert_eq!(counts.iter().filter(|count| **count > 0).count(), TARGETS.len() - 3);
}

#[test]
fn a_call_that_takes_more_than_it_may_is_a_finding() {
    let takes_a_hundred = Meter { restart: || 1000, peak: || 1100 };
    assert_eq!(takes_a_hundred.within(100, || 7), 7);
    assert!(std::panic::catch_unwind(|| takes_a_hundred.within(99, || 7)).is_err());
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a name").path()).collect();
    paths.sort();
    paths
}
