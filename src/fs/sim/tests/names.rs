//! What a crash does to names.

use std::collections::BTreeSet;
use std::ffi::OsString;

use super::*;
use crate::fs::sim::{CallKind, Fault, FaultKind};

fn every_listing(disk: &SimDisk, strength: CrashStrength) -> BTreeSet<Vec<OsString>> {
    disk.every_image(strength).map(|image| image.list("/d")).collect()
}

fn listings<const N: usize>(expected: [&[&str]; N]) -> BTreeSet<Vec<OsString>> {
    expected.iter().map(|names| names.iter().map(OsString::from).collect()).collect()
}

#[test]
fn a_new_file_without_a_sync_of_its_directory_may_be_gone() {
    let (disk, env) = disk_and_env();
    create(&env, "/d/a");
    assert_eq!(every_listing(&disk, CrashStrength::Strict), listings([&[], &["a"]]));
    sync_dir(&env, "/d");
    assert_eq!(every_listing(&disk, CrashStrength::Strict), listings([&["a"]]));
}

#[test]
fn the_sync_of_a_new_file_keeps_its_name_on_an_ordered_disk_only() {
    let (disk, env) = disk_and_env();
    create(&env, "/d/a");
    create(&env, "/d/b").sync_data().unwrap();
    create(&env, "/d/c");
    let kept = listings([&["a", "b"], &["a", "b", "c"]]);
    assert_eq!(every_listing(&disk, CrashStrength::Ordered), kept);
    assert!(every_listing(&disk, CrashStrength::Strict).contains(&Vec::new()));
}

#[test]
fn the_sync_of_a_new_file_keeps_new_directories_above_it_on_an_ordered_disk() {
    let (disk, env) = disk_and_env();
    env.create_dir(Path::new("/d/e")).unwrap();
    env.create_dir(Path::new("/d/e/f")).unwrap();
    create(&env, "/d/e/f/a").sync_data().unwrap();
    assert_eq!(keep_nothing(&disk, CrashStrength::Ordered).list("/d/e/f"), ["a"]);
}

#[test]
fn names_of_an_ordered_disk_are_kept_up_to_some_change() {
    let (disk, env) = disk_and_env();
    create(&env, "/d/a");
    create(&env, "/d/b");
    create(&env, "/d/c");
    let prefixes = listings([&[], &["a"], &["a", "b"], &["a", "b", "c"]]);
    assert_eq!(every_listing(&disk, CrashStrength::Ordered), prefixes);
    assert_eq!(every_listing(&disk, CrashStrength::Strict).len(), 8);
}

/// Rule 12: after a `mkdir`, the parent must be synced as well.
#[test]
fn a_synced_file_in_a_directory_whose_name_is_not_durable_may_be_gone() {
    let (disk, env) = disk_and_env();
    env.create_dir(Path::new("/d/e")).unwrap();
    create(&env, "/d/e/a").sync_data().unwrap();
    sync_dir(&env, "/d/e");
    assert_eq!(every_content(&disk, CrashStrength::Strict, "/d/e/a"), [None, Some(Vec::new())]);
    sync_dir(&env, "/d");
    assert_eq!(every_content(&disk, CrashStrength::Strict, "/d/e/a"), [Some(Vec::new())]);
}

/// Rule 13.
#[test]
fn a_rename_without_a_sync_of_the_directory_may_be_undone_but_never_halved() {
    for strength in [CrashStrength::Strict, CrashStrength::Ordered] {
        let (disk, env) = disk_and_env();
        disk.write_file("/d/a", "new");
        disk.write_file("/d/b", "old");
        rename(&env, "/d/a", "/d/b");
        assert_eq!(every_listing(&disk, strength), listings([&["a", "b"], &["b"]]));
        assert_eq!(every_content(&disk, strength, "/d/b"), [Some(b"new".to_vec()), Some(b"old".to_vec())]);
        sync_dir(&env, "/d");
        assert_eq!(every_content(&disk, strength, "/d/b"), [Some(b"new".to_vec())]);
    }
}

/// Rule 14: xfs and btrfs kept an empty file, and the old content was gone.
#[test]
fn a_rename_before_the_sync_of_the_temporary_can_leave_an_empty_file() {
    for strength in [CrashStrength::Strict, CrashStrength::Ordered] {
        let (disk, env) = disk_and_env();
        disk.write_file("/d/b", "old");
        write(&create(&env, "/d/a"), b"new", 0);
        rename(&env, "/d/a", "/d/b");
        sync_dir(&env, "/d");
        let outcomes = [b"".to_vec(), b"\0\0\0".to_vec(), b"new".to_vec()];
        assert_eq!(every_content(&disk, strength, "/d/b"), outcomes.map(Some));
    }
}

/// Rule 15.
#[test]
fn a_file_unlinked_without_a_sync_of_the_directory_can_come_back_with_its_content() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", "content");
    env.remove_file(Path::new("/d/a")).unwrap();
    assert_eq!(disk.read_file("/d/a"), None);
    assert_eq!(every_content(&disk, CrashStrength::Ordered, "/d/a"), [None, Some(b"content".to_vec())]);
    sync_dir(&env, "/d");
    assert_eq!(every_content(&disk, CrashStrength::Strict, "/d/a"), [None]);
}

#[test]
fn names_lost_by_a_failed_sync_are_seen_and_no_later_sync_keeps_them() {
    let (disk, env) = disk_and_env();
    create(&env, "/d/a");
    disk.fail(Fault::once(CallKind::SyncDir, 1, FaultKind::InputOutput));
    env.sync_dir(Path::new("/d")).unwrap_err();
    create(&env, "/d/b");
    sync_dir(&env, "/d");
    assert_eq!(disk.list("/d"), ["a", "b"]);
    assert_eq!(every_listing(&disk, CrashStrength::Strict), listings([&["b"]]));
}

#[test]
fn no_subset_of_renames_gives_a_file_two_names() {
    let (disk, env) = disk_and_env();
    disk.create_dir_all("/e");
    disk.write_file("/d/a", "content");
    rename(&env, "/d/a", "/e/b");
    rename(&env, "/e/b", "/d/c");
    create(&env, "/d/a");
    rename(&env, "/d/a", "/e/a");
    for image in disk.every_image(CrashStrength::Strict) {
        let names = ["/d/a", "/d/c", "/e/a", "/e/b"];
        let holding = names.iter().filter(|name| image.read_file(name).is_some_and(|bytes| bytes == b"content"));
        assert_eq!(holding.count(), 1, "{:?} {:?}", image.list("/d"), image.list("/e"));
    }
}

#[test]
fn the_sync_of_one_directory_keeps_a_rename_across_two() {
    let (disk, env) = disk_and_env();
    disk.create_dir_all("/e");
    create(&env, "/d/a");
    rename(&env, "/d/a", "/e/a");
    sync_dir(&env, "/e");
    sync_dir(&env, "/d");
    let cut = keep_nothing(&disk, CrashStrength::Strict);
    assert!(cut.list("/d").is_empty(), "the link came before the rename");
    assert_eq!(cut.list("/e"), ["a"]);
}

#[test]
fn an_unlinked_file_lives_while_a_handle_or_a_map_refers_to_it() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", "content");
    disk.set_free_space(0);
    let file = open(&env, "/d/a", OpenMode::Read);
    let map = file.map_read(4096).unwrap();
    env.remove_file(Path::new("/d/a")).unwrap();
    sync_dir(&env, "/d");
    assert_eq!(file.len().unwrap(), 7);
    drop(file);
    assert_eq!(&map.copy_at::<7>(0), b"content");
    let free = || env.free_space(Path::new("/d")).unwrap();
    assert_eq!(free(), 0);
    drop(map);
    assert_eq!(free(), 7 + 512, "the room is given back with the last handle");
}

#[test]
fn a_disk_in_memory_loses_nothing() {
    let disk = SimDisk::in_memory(1);
    let env = Env::sim(&disk);
    write(&create(&env, "/a"), b"content", 0);
    let after = disk.crash(CrashStrength::Strict);
    assert_eq!(after.read_file("/a").unwrap(), b"content");
}

#[test]
fn a_replaced_directory_takes_its_unsynced_names_along() {
    let (disk, env) = disk_and_env();
    env.create_dir(Path::new("/d/e")).unwrap();
    create(&env, "/d/e/a");
    env.remove_file(Path::new("/d/e/a")).unwrap();
    env.create_dir(Path::new("/d/c")).unwrap();
    rename(&env, "/d/c", "/d/e");
    sync_dir(&env, "/d");
    assert_eq!(disk.every_image(CrashStrength::Strict).count(), 1, "nothing is left to lose");
}
