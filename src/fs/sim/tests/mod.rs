//! The simulated disk loses what it should lose, and nothing else.

use std::path::Path;

use super::{CrashStrength, SimDisk};
use crate::fs::{Env, File, OpenMode, write_all_at};
use crate::offset::Position;

mod crashes;
mod damage;
mod faults;
mod histories;
mod names;
mod risk;
mod room;
mod states;
mod windows;

/// A disk with a durable directory `/d`, and the seam to it.
fn disk_and_env() -> (SimDisk, Env) {
    disk_of(1)
}

fn disk_of(seed: u64) -> (SimDisk, Env) {
    let disk = SimDisk::new(seed);
    disk.create_dir_all("/d");
    let env = Env::sim(&disk);
    (disk, env)
}

fn open(env: &Env, path: &str, mode: OpenMode) -> File {
    env.open(Path::new(path), mode).expect("a file")
}

fn create(env: &Env, path: &str) -> File {
    open(env, path, OpenMode::CreateNew)
}

fn write(file: &File, bytes: &[u8], at: u64) {
    write_all_at(file, bytes, Position::new(at)).expect("a write");
}

fn sync_dir(env: &Env, path: &str) {
    env.sync_dir(Path::new(path)).expect("a sync");
}

fn rename(env: &Env, from: &str, to: &str) {
    env.rename(Path::new(from), Path::new(to)).expect("a rename");
}

/// Every content that a crash can give a file, `None` for a file that is not there. Sorted, each once.
fn every_content(disk: &SimDisk, strength: CrashStrength, path: &str) -> Vec<Option<Vec<u8>>> {
    let mut contents: Vec<_> = disk.every_image(strength).map(|image| image.read_file(path)).collect();
    contents.sort();
    contents.dedup();
    contents
}

fn keep_nothing(disk: &SimDisk, strength: CrashStrength) -> SimDisk {
    disk.crash_keeping(strength, |_, _| 0)
}

fn keep_everything(disk: &SimDisk, strength: CrashStrength) -> SimDisk {
    disk.crash_keeping(strength, |_, options| options - 1)
}
