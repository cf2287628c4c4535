//! Random histories: whatever was called before, the extremes of a crash are what they must be.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::fs::EntryKind;
use crate::fs::sim::random::Random;
use crate::fs::sim::{CallKind, Fault, FaultKind};

const NAMES: [&str; 8] = ["/a", "/b", "/d/a", "/d/b", "/d/e", "/d/e/a", "/d/e/b", "/c"];

type Tree = BTreeMap<PathBuf, Option<Digest>>;

/// A file's length and a sum over its bytes and their places: enough to tell contents apart, short enough to print.
type Digest = (usize, u64);

fn digest(bytes: &[u8]) -> Digest {
    let mix = |sum: u64, byte: &u8| sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(*byte);
    (bytes.len(), bytes.iter().fold(1, mix))
}

/// Every path with its content, `None` for directories.
fn tree(disk: &SimDisk) -> Tree {
    let env = Env::sim(disk);
    let mut found = Tree::new();
    let mut unvisited = vec![PathBuf::from("/")];
    while let Some(dir) = unvisited.pop() {
        for entry in env.list(&dir).expect("a listing") {
            let path = dir.join(entry.name);
            match entry.kind {
                EntryKind::File => drop(found.insert(path.clone(), disk.read_file(&path).as_deref().map(digest))),
                _ => {
                    found.insert(path.clone(), None);
                    unvisited.push(path);
                }
            }
        }
    }
    found
}

/// One call; what it answers is other tests' matter.
fn step(env: &Env, random: &mut Random) {
    let name = |random: &mut Random| Path::new(NAMES[usize::try_from(random.below(8)).expect("a small index")]);
    let path = name(random);
    let (at, len) = (random.below(1500), usize::try_from(random.below(1200)).expect("a small length"));
    match random.below(12) {
        0 => drop(env.create_dir(path)),
        1..3 => drop(env.rename(path, name(random))),
        3 => drop(env.remove_file(path)),
        4 => drop(env.sync_dir(path.parent().expect("no root"))),
        5 => drop(env.open(path, OpenMode::CreateNew)),
        choice => {
            let Ok(file) = env.open(path, OpenMode::ReadWrite) else { return };
            match choice {
                6..9 => drop(file.write_at(&vec![u8::try_from(at % 255).expect("a byte") + 1; len], Position::new(at))),
                9 => drop(file.set_len(at)),
                10 => drop(file.allocate(Position::new(at), Position::new(at + 700))),
                _ => drop(file.sync_data()),
            }
        }
    }
}

/// Syncs every file and directory, from the leaves upwards.
fn sync_everything(disk: &SimDisk) {
    let env = Env::sim(disk);
    for (path, content) in tree(disk).into_iter().rev() {
        match content {
            Some(_) => env.open(&path, OpenMode::Read).and_then(|file| file.sync_data()).expect("a sync"),
            None => env.sync_dir(&path).expect("a sync"),
        }
    }
    env.sync_dir(Path::new("/")).expect("a sync");
}

fn history(seed: u64, calls: u64) -> (SimDisk, Random) {
    let (mut disk, _) = disk_of(seed);
    let mut random = Random::new(seed);
    for _ in 0..calls {
        if random.below(20) == 0 {
            disk = disk.crash(CrashStrength::Kill);
        }
        step(&Env::sim(&disk), &mut random);
    }
    (disk, random)
}

/// A disk after a few calls, most of which few crash states follow.
pub(super) fn short(seed: u64) -> SimDisk {
    let (disk, mut random) = history(seed, 12);
    sync_everything(&disk);
    for _ in 0..4 {
        step(&Env::sim(&disk), &mut random);
    }
    disk
}

#[test]
fn a_crash_that_keeps_everything_leaves_what_was_seen() {
    for seed in 0..300 {
        let (disk, _) = history(seed, 60);
        for strength in [CrashStrength::Strict, CrashStrength::Ordered] {
            let image = disk.image(strength, |_, options| options - 1);
            assert_eq!(tree(&image), tree(&disk), "{strength:?}, {disk}");
        }
    }
}

#[test]
fn a_crash_takes_nothing_once_everything_is_synced() {
    for seed in 0..300 {
        let (disk, _) = history(seed, 60);
        sync_everything(&disk);
        let image = disk.image(CrashStrength::Strict, |_, _| panic!("nothing is left to ask about"));
        assert_eq!(tree(&image), tree(&disk), "{disk}");
    }
}

#[test]
fn a_crash_that_keeps_nothing_leaves_what_was_synced_last() {
    for seed in 0..300 {
        let (disk, mut random) = history(seed, 40);
        sync_everything(&disk);
        let synced = tree(&disk);
        for _ in 0..20 {
            let env = Env::sim(&disk);
            let path = NAMES[usize::try_from(random.below(8)).expect("a small index")];
            match random.below(4) {
                0 => drop(env.remove_file(Path::new(path))),
                1 => drop(env.rename(Path::new(path), Path::new("/x"))),
                2 => drop(env.open(Path::new(path), OpenMode::OpenOrCreate).map(|file| file.set_len(3))),
                _ => {
                    drop(env.open(Path::new(path), OpenMode::ReadWrite).map(|file| file.write_at(b"x", Position::ZERO)))
                }
            }
        }
        assert_eq!(tree(&keep_nothing(&disk, CrashStrength::Strict)), synced, "{disk}");
    }
}

#[test]
fn crashes_follow_crashes_whatever_fails_in_between() {
    for seed in 0..200 {
        let (mut disk, mut random) = history(seed, 20);
        disk.set_free_space(20_000);
        let room_at_start = room(&disk);
        for round in 0..4 {
            let kind = CallKind::ALL[usize::try_from(random.below(CallKind::ALL.len() as u64)).expect("a small index")];
            disk.fail(Fault::from(kind, 1 + random.below(5), FaultKind::InputOutput));
            disk.set_failed_syncs_keep_some(round % 2 == 0);
            let env = Env::sim(&disk);
            for _ in 0..15 {
                step(&env, &mut random);
            }
            let strengths = [CrashStrength::Strict, CrashStrength::Ordered, CrashStrength::Kill];
            disk = disk.crash(strengths[usize::try_from(random.below(3)).expect("a small index")]);
            assert!(room(&disk) >= room_at_start, "room was lost: {disk}");
            tree(&disk);
        }
    }
}

/// Free and taken: more after a crash that brought a file back whose room was free already.
fn room(disk: &SimDisk) -> u64 {
    let state = disk.state();
    state.free_bytes.expect("a disk with limited room") + state.used_bytes()
}
