//! The state file on a disk that loses and refuses things.

use super::*;
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk};

const DIR: &str = "/log";

fn new_disk() -> (SimDisk, Env, StateFile) {
    let disk = SimDisk::new(1);
    disk.create_dir_all(DIR);
    let env = Env::sim(&disk);
    let (file, found) = StateFile::open_or_create(&env, Path::new(DIR)).unwrap();
    assert_eq!(found, Found::Missing);
    file.sync().unwrap();
    env.sync_dir(Path::new(DIR)).unwrap();
    (disk, env, file)
}

/// What each crash at this moment leaves.
fn after_crashes(disk: &SimDisk) -> Vec<(Found, Option<Sections>)> {
    [CrashStrength::Strict, CrashStrength::Ordered]
        .into_iter()
        .flat_map(|strength| disk.every_image(strength))
        .map(|image| read(&Env::sim(&image), Path::new(DIR)).unwrap())
        .collect()
}

// Rule 26.
#[test]
fn a_power_cut_leaves_a_state_that_was_written_and_none_older_than_the_last_sync() {
    let (disk, _env, mut file) = new_disk();
    let mut possible = vec![Found::Missing];
    for n in 1..=24 {
        // Clean every now and then, so that a mark that was taken back would be seen to return.
        let written = if n % 7 == 0 { clean(n) } else { state(n) };
        file.write(&written).unwrap();
        possible.push(Found::State(written));
        if n % 5 == 0 || n % 7 < 2 {
            file.sync().unwrap();
            possible = vec![Found::State(written)];
        }
        let found = after_crashes(&disk);
        assert!(found.iter().all(|(found, _)| possible.contains(found)), "after write {n}");
        assert!(found.iter().any(|(found, _)| *found == Found::State(written)));
    }
}

#[test]
fn a_power_cut_while_the_file_is_created_leaves_no_state() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(DIR);
    drop(StateFile::open_or_create(&Env::sim(&disk), Path::new(DIR)).unwrap());
    assert!(after_crashes(&disk).iter().all(|(found, _)| *found == Found::Missing));
}

#[test]
fn a_power_cut_leaves_the_sizes_of_the_clean_state_or_none() {
    let (disk, _env, mut file) = new_disk();
    let old: Sections = (0..20).map(|n| (Offset::new(n), 7)).collect();
    let new: Sections = (0..70).map(|n| (Offset::new(n), n)).collect();
    file.write(&clean(1)).unwrap();
    file.write_sections(&old).unwrap();
    file.sync().unwrap();
    assert_eq!(after_crashes(&disk), vec![(Found::State(clean(1)), Some(old)); 2]);
    file.write(&state(2)).unwrap();
    file.sync().unwrap();
    file.write(&clean(3)).unwrap();
    file.write_sections(&new).unwrap();
    for (found, sections) in after_crashes(&disk) {
        match sections {
            Some(sections) => assert_eq!((found, sections), (Found::State(clean(3)), new.clone())),
            None => assert!([Found::State(state(2)), Found::State(clean(3))].contains(&found), "{found:?}"),
        }
    }
    file.sync().unwrap();
    assert_eq!(after_crashes(&disk), vec![(Found::State(clean(3)), Some(new)); 2]);
}

#[test]
fn a_write_that_fails_half_way_leaves_the_state_before_and_the_next_one_counts() {
    let (disk, env, mut file) = new_disk();
    file.write(&state(1)).unwrap();
    file.write(&state(2)).unwrap();
    disk.fail(Fault::once(CallKind::WriteAt, 1, FaultKind::Short));
    disk.fail(Fault::once(CallKind::WriteAt, 2, FaultKind::NoSpace));
    assert!(matches!(file.write(&state(3)), Err(Error::StorageFull { operation: IoOp::Write, .. })));
    assert_eq!(read(&env, Path::new(DIR)).unwrap().0, Found::State(state(2)));
    file.write(&state(4)).unwrap();
    assert_eq!(read(&env, Path::new(DIR)).unwrap().0, Found::State(state(4)));
    disk.fail(Fault::once(CallKind::WriteAt, 1, FaultKind::Interrupted));
    disk.fail(Fault::once(CallKind::WriteAt, 2, FaultKind::Short));
    file.write(&state(5)).unwrap();
    assert_eq!(read(&env, Path::new(DIR)).unwrap().0, Found::State(state(5)));
}

#[test]
fn a_write_is_one_call_and_syncs_nothing() {
    let (disk, _env, mut file) = new_disk();
    disk.reset_counters();
    file.write(&state(1)).unwrap();
    assert_eq!(CallKind::ALL.iter().map(|call| disk.calls(*call)).sum::<u64>(), 1);
    assert_eq!(disk.calls(CallKind::WriteAt), 1);
}

// Rule 28: only NotFound means absent.
#[test]
fn a_call_that_fails_is_an_error_and_no_absent_state() {
    let (disk, env, mut file) = new_disk();
    file.write(&clean(1)).unwrap();
    file.write_sections(&[(Offset::ZERO, 1)]).unwrap();
    for call in [CallKind::Open, CallKind::ReadAt, CallKind::Len] {
        disk.fail(Fault::once(call, 1, FaultKind::InputOutput));
        assert!(matches!(read(&env, Path::new(DIR)), Err(Error::Io { .. })), "{call:?}");
        disk.fail(Fault::once(call, 1, FaultKind::InputOutput));
        assert!(StateFile::open_or_create(&env, Path::new(DIR)).is_err(), "{call:?}");
    }
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::NoSpace));
    assert!(matches!(file.sync(), Err(Error::Io { operation: IoOp::Sync, .. })));
}
