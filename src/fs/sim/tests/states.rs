//! Going through crash states: none is missed where all are asked for, no extreme is missed where they are too many.

use std::collections::BTreeSet;

use super::*;
use crate::fs::sim::{Bound, crash_states_seen};

const POWER_CUTS: [CrashStrength; 2] = [CrashStrength::Strict, CrashStrength::Ordered];
const ALL: Bound = Bound { exhaustive: u64::MAX - 1, samples: 0 };

/// A file of some sectors that were overwritten each by a call of its own, and a new file.
fn busy(sectors: u64) -> (SimDisk, Env) {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", vec![b'.'; usize::try_from(sectors * 512).expect("a small file")]);
    let file = open(&env, "/d/a", OpenMode::ReadWrite);
    for sector in 0..sectors {
        write(&file, &[b'x'; 512], sector * 512);
    }
    create(&env, "/d/b");
    (disk, env)
}

/// A file's sectors, each by its first byte; then whether the new file is there.
fn summary(state: &SimDisk) -> String {
    let content = state.read_file("/d/a").expect("a durable file");
    let sectors = content.chunks(512).map(|sector| char::from(sector[0]));
    sectors.chain(state.read_file("/d/b").map(|_| 'b')).collect()
}

#[test]
fn the_answers_are_counted_as_they_are_gone_through() {
    let mut largest = 0;
    for seed in 0..400 {
        let disk = super::histories::short(seed);
        for strength in POWER_CUTS {
            let answers = disk.count_crash_answers(strength, 300);
            let gone_through = disk.every_image(strength).take(300).count();
            assert_eq!(answers, u64::try_from(gone_through).expect("few"), "{strength:?}, {disk}");
            largest = largest.max(answers);
        }
    }
    assert_eq!(largest, 300, "some histories have more states than are counted");
}

#[test]
fn every_state_comes_and_each_once() {
    for seed in 0..200 {
        let disk = super::histories::short(seed);
        for strength in POWER_CUTS {
            if disk.count_crash_answers(strength, 1000) == 1000 {
                continue;
            }
            let states: Vec<u64> = disk.crash_states(strength, ALL, 1).map(|state| state.fingerprint()).collect();
            let distinct = BTreeSet::from_iter(states.iter().copied());
            assert_eq!(states.len(), distinct.len(), "{strength:?}, {disk}");
            let images = disk.every_image(strength).map(|image| image.fingerprint());
            assert_eq!(distinct, images.collect(), "{strength:?}, {disk}");
        }
    }
}

#[test]
fn a_sample_has_all_the_extremes_whatever_its_seed() {
    let (disk, _env) = busy(8);
    for seed in 0..5 {
        let states = disk.crash_states(CrashStrength::Strict, Bound { exhaustive: 100, samples: 0 }, seed);
        assert!(!states.is_exhaustive());
        let found: BTreeSet<String> = states.map(|state| summary(&state)).collect();
        let (all, none) = ("x".repeat(8), ".".repeat(8));
        let mut extremes = vec![all.clone() + "b", none.clone(), all.clone(), none.clone() + "b"];
        for sector in 0..8 {
            let (before, after) = (sector, 8 - sector);
            extremes.push(format!("{}.{}b", "x".repeat(before), "x".repeat(after - 1)));
            extremes.push(format!("{}x{}", ".".repeat(before), ".".repeat(after - 1)));
            extremes.push(format!("{}x{}b", ".".repeat(before), ".".repeat(after - 1)));
            extremes.push("x".repeat(before) + &".".repeat(after));
        }
        let missed: Vec<_> = extremes.iter().filter(|extreme| !found.contains(*extreme)).collect();
        assert!(missed.is_empty(), "{missed:?} are not among {found:?}");
    }
}

#[test]
fn samples_are_drawn_beside_the_extremes_and_their_seed_decides() {
    let (disk, _env) = busy(20);
    let states = |samples, seed| -> BTreeSet<u64> {
        let bound = Bound { samples, ..Bound::default() };
        disk.crash_states(CrashStrength::Strict, bound, seed).map(|state| state.fingerprint()).collect()
    };
    let extremes = states(0, 1);
    assert_eq!(extremes, states(0, 2));
    let drawn = states(100, 1);
    assert!(drawn.is_superset(&extremes) && drawn.len() > extremes.len() + 10, "{} {}", drawn.len(), extremes.len());
    assert_eq!(drawn, states(100, 1));
    assert_ne!(drawn, states(100, 2));
}

#[test]
fn the_end_of_the_process_leaves_one_state_with_all_that_was_seen() {
    let (disk, _env) = busy(8);
    let states: Vec<SimDisk> = disk.crash_states(CrashStrength::Kill, Bound::default(), 1).collect();
    assert_eq!(states.len(), 1);
    assert_eq!(summary(&states[0]), "x".repeat(8) + "b");
    let cut = keep_nothing(&states[0], CrashStrength::Strict);
    assert_eq!(summary(&cut), ".".repeat(8), "what was not synced is not synced now");
}

#[test]
#[should_panic(expected = "the disk was changed while its crash states were looked at")]
fn states_of_a_moment_that_has_passed_are_refused() {
    let (disk, env) = busy(2);
    let mut states = disk.crash_states(CrashStrength::Strict, Bound::default(), 1);
    states.next().expect("a first state");
    open(&env, "/d/a", OpenMode::Read).sync_data().unwrap();
    states.next();
}

#[test]
fn states_are_counted_for_the_whole_process() {
    let (disk, _env) = busy(4);
    let before = crash_states_seen();
    let states = disk.crash_states(CrashStrength::Strict, Bound::default(), 1).count();
    assert_eq!(states, 32);
    assert!(crash_states_seen() >= before + 32, "other tests count, too");
}

#[test]
fn a_state_says_which_crash_left_it() {
    let (disk, _env) = busy(2);
    let printed: Vec<String> = disk
        .crash_states(CrashStrength::Strict, Bound { exhaustive: 0, samples: 0 }, 7)
        .map(|state| state.to_string())
        .collect();
    assert!(printed[0].contains("(Strict, Shaped { shape: All, seed: "), "{}", printed[0]);
    assert!(printed.iter().any(|state| state.contains("shape: AllBut(3)")), "{printed:?}");
}

#[test]
fn fingerprints_tell_names_bytes_and_pending_changes_apart_and_nothing_else() {
    let print = |change: fn(&SimDisk, &Env)| {
        let (disk, env) = disk_and_env();
        disk.write_file("/d/a", "old");
        change(&disk, &env);
        disk.fingerprint()
    };
    let edit = |env: &Env, bytes: &[u8]| {
        let file = open(env, "/d/a", OpenMode::ReadWrite);
        write(&file, bytes, 0);
        file
    };
    let as_it_was = print(|_, _| {});
    assert_eq!(as_it_was, print(|disk, _| drop(disk.read_file("/d/a"))));
    assert_eq!(as_it_was, print(|disk, _| disk.advance(std::time::Duration::from_secs(1))));
    let different = [
        as_it_was,
        print(|disk, _| disk.write_file("/d/a", "new")),
        print(|_, env| drop(create(env, "/d/b"))),
        print(|_, env| {
            create(env, "/d/b");
            sync_dir(env, "/d");
        }),
        print(|_, env| rename(env, "/d/a", "/d/b")),
        print(|disk, _| disk.set_free_space(99)),
    ];
    assert_eq!(BTreeSet::from(different).len(), different.len());
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", "old");
    let file = edit(&env, b"new");
    let unsynced = disk.fingerprint();
    file.sync_data().unwrap();
    assert_ne!(unsynced, disk.fingerprint());
    assert_eq!(disk.fingerprint(), print(|disk, _| disk.write_file("/d/a", "new")), "the way there does not matter");
}

/// A stand-in for recovery: brings a counter file from one step to the next by a new file and a rename.
fn step_forward(disk: &SimDisk, syncs: bool) {
    let env = Env::sim(disk);
    let step = disk.read_file("/d/step").expect("a counter")[0];
    let replace = || -> std::io::Result<()> {
        let file = env.open(Path::new("/d/new"), OpenMode::OpenOrCreate)?;
        file.set_len(0)?;
        file.write_at(&[step + 1], Position::ZERO)?;
        if syncs {
            file.sync_data()?;
        }
        env.rename(Path::new("/d/new"), Path::new("/d/step"))?;
        env.sync_dir(Path::new("/d"))
    };
    drop(replace());
}

#[test]
fn crashes_in_recoveries_of_crashes_are_gone_through_as_deep_as_asked() {
    for (depth, last) in [(1, 1), (2, 2), (3, 3)] {
        for strength in [CrashStrength::Strict, CrashStrength::Ordered, CrashStrength::Kill] {
            let (disk, _env) = disk_and_env();
            disk.write_file("/d/step", [0]);
            let mut seen = BTreeSet::new();
            disk.crash_at_every_call(
                strength,
                Bound::default(),
                depth,
                |disk| step_forward(disk, true),
                |state| {
                    seen.insert(state.read_file("/d/step").expect("the counter is never lost"));
                },
            );
            let expected: BTreeSet<Vec<u8>> = (0..=last).map(|step| vec![step]).collect();
            assert_eq!(seen, expected, "{strength:?}, {depth} deep");
            assert_eq!(disk.read_file("/d/step").unwrap(), [0], "the disk itself is left as it was");
        }
    }
}

#[test]
fn a_crash_at_some_call_finds_the_sync_that_is_missing() {
    let (disk, _env) = disk_and_env();
    disk.write_file("/d/step", [0]);
    let mut lost = 0;
    disk.crash_at_every_call(
        CrashStrength::Ordered,
        Bound::default(),
        1,
        |disk| step_forward(disk, false),
        |state| lost += u32::from(state.read_file("/d/step").is_some_and(|step| step.is_empty())),
    );
    assert!(lost > 0, "rule 14: an empty file under the name of the old one");
}
