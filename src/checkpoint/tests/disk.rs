//! Checkpoints on a disk that loses and refuses things.

use super::*;
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk};

const DIR: &str = "/log";

fn new_disk(old: &[EpochStart]) -> (SimDisk, Env) {
    let disk = SimDisk::new(1);
    disk.create_dir_all(DIR);
    let env = Env::sim(&disk);
    write_leader_epochs(&env, Path::new(DIR), old).unwrap();
    (disk, env)
}

fn epochs(disk: &SimDisk) -> Vec<EpochStart> {
    read_leader_epochs(&Env::sim(disk), Path::new(DIR)).unwrap()
}

// Rules 13, 14.
#[test]
fn a_power_cut_at_any_moment_leaves_the_old_checkpoint_or_the_new_one_and_after_the_write_the_new_one() {
    let old: Vec<_> = (0..100).map(|n| epoch(n, 1)).collect();
    let new: Vec<_> = (0..200).map(|n| epoch(n, 2)).collect();
    for strength in [CrashStrength::Strict, CrashStrength::Ordered] {
        for calls in 0.. {
            let (disk, env) = new_disk(&old);
            disk.power_off_after(calls);
            let written = write_leader_epochs(&env, Path::new(DIR), &new);
            for image in disk.every_image(strength).take(2000) {
                let found = epochs(&image);
                assert!(found == new || (found == old && written.is_err()), "{strength:?} after {calls} calls");
                write_leader_epochs(&Env::sim(&image), Path::new(DIR), &new).unwrap();
                assert_eq!(epochs(&image), new);
            }
            if written.is_ok() {
                assert!(calls > 3, "write, sync, rename and sync of the directory at least");
                break;
            }
        }
    }
}

#[test]
fn any_call_that_fails_is_an_error_and_leaves_the_old_checkpoint_or_the_new_one() {
    let (old, new) = (vec![epoch(1, 1)], vec![epoch(2, 2)]);
    for call in [CallKind::Open, CallKind::WriteAt, CallKind::SyncData, CallKind::Rename, CallKind::SyncDir] {
        let (disk, env) = new_disk(&old);
        disk.fail(Fault::once(call, 1, FaultKind::InputOutput));
        assert!(write_leader_epochs(&env, Path::new(DIR), &new).is_err(), "{call:?}");
        let expected = if call == CallKind::SyncDir { &new } else { &old };
        assert_eq!(epochs(&disk), *expected, "{call:?}");
    }
    for call in [CallKind::Open, CallKind::Len, CallKind::ReadAt] {
        let (disk, env) = new_disk(&old);
        disk.fail(Fault::once(call, 1, FaultKind::InputOutput));
        assert!(matches!(read_leader_epochs(&env, Path::new(DIR)), Err(Error::Io { .. })), "{call:?}");
    }
}
