//! Room: who takes it, who gives it back, and what a disk that copies before it writes takes.

use std::io::ErrorKind;

use super::*;
use crate::fs::sim::{CallKind, Fault, FaultKind};

#[test]
fn room_is_taken_by_growth_and_allocations_and_given_back_by_cuts_and_the_last_unlink() {
    let (disk, env) = disk_and_env();
    let free = || env.free_space(Path::new("/")).unwrap();
    disk.set_free_space(10_000);
    let file = create(&env, "/d/a");
    assert_eq!(free(), 10_000 - 512);
    write(&file, &[1; 1000], 0);
    write(&file, &[2; 1000], 0);
    assert_eq!(free(), 9488 - 1000, "an overwrite takes nothing");
    file.set_len(5000).unwrap();
    assert_eq!(free(), 8488, "a hole takes nothing");
    file.allocate(Position::new(1000), Position::new(3000)).unwrap();
    assert_eq!(free(), 6488);
    write(&file, &[3; 2000], 1000);
    assert_eq!(free(), 6488, "the room of an allocation is used up by nobody else");
    file.set_len(500).unwrap();
    assert_eq!(free(), 8988);
    env.remove_file(Path::new("/d/a")).unwrap();
    assert_eq!(free(), 8988, "the handle keeps the file");
    drop(file);
    assert_eq!(free(), 10_000);
    create(&env, "/d/b");
    create(&env, "/d/c");
    rename(&env, "/d/b", "/d/c");
    assert_eq!(free(), 10_000 - 512, "a replaced file gives its room back");
}

#[test]
fn a_full_disk_refuses_what_needs_room_and_nothing_else() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", "content");
    let file = open(&env, "/d/a", OpenMode::ReadWrite);
    disk.set_free_space(3);
    assert_eq!(file.write_at(b"longer", Position::new(7)).unwrap(), 3, "what has room is written");
    assert_eq!(file.write_at(b"x", Position::new(10)).unwrap_err().kind(), ErrorKind::StorageFull);
    let end = Position::new(100);
    assert_eq!(file.allocate(Position::ZERO, end).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(env.open(Path::new("/d/b"), OpenMode::CreateNew).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(env.create_dir(Path::new("/d/b")).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.read_file("/d/a").unwrap(), b"contentlon");
    write(&file, b"CONTENT", 0);
    file.sync_data().unwrap();
    rename(&env, "/d/a", "/d/b");
    file.set_len(0).unwrap();
    write(&file, b"again", 0);
    env.remove_file(Path::new("/d/b")).unwrap();
}

#[test]
fn a_crash_gives_back_the_room_of_what_it_took() {
    let (disk, env) = disk_and_env();
    disk.set_free_space(10_000);
    write(&create(&env, "/d/a"), &[1; 4000], 0);
    let free_on = |disk: &SimDisk| Env::sim(disk).free_space(Path::new("/")).unwrap();
    assert_eq!(free_on(&keep_nothing(&disk, CrashStrength::Strict)), 10_000);
    assert_eq!(free_on(&keep_everything(&disk, CrashStrength::Strict)), 10_000 - 512 - 4000);
    assert_eq!(free_on(&disk.crash(CrashStrength::Kill)), 10_000 - 512 - 4000);
}

/// A synced file of three pages on a disk that copies, with room for so many pages more.
fn copying(pages: u64) -> (SimDisk, Env, File) {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", vec![1; 3 * 4096]);
    disk.set_copy_on_write(true);
    disk.set_free_space(pages * 4096);
    let file = open(&env, "/d/a", OpenMode::ReadWrite);
    (disk, env, file)
}

fn free(env: &Env) -> u64 {
    env.free_space(Path::new("/")).expect("an answer")
}

#[test]
fn the_first_change_of_a_page_after_a_sync_takes_a_page_and_the_sync_gives_it_back() {
    let (_disk, env, file) = copying(10);
    write(&file, b"x", 100);
    assert_eq!(free(&env), 9 * 4096);
    write(&file, &[2; 4096], 0);
    assert_eq!(free(&env), 9 * 4096, "the page has its copy");
    write(&file, &[2; 2], 4095);
    assert_eq!(free(&env), 8 * 4096, "the next page has none");
    file.sync_data().unwrap();
    assert_eq!(free(&env), 10 * 4096);
    write(&file, b"x", 100);
    assert_eq!(free(&env), 9 * 4096, "and asks again");
}

/// Rules 11 and 21: measured on btrfs and on reflinked xfs.
#[test]
fn an_allocation_takes_room_and_keeps_none_for_the_writes_into_it() {
    let (_disk, env, file) = copying(2);
    let (from, to) = (Position::new(3 * 4096), Position::new(5 * 4096));
    file.allocate(from, to).unwrap();
    assert_eq!(free(&env), 0);
    assert_eq!(file.write_at(b"x", from).unwrap_err().kind(), ErrorKind::StorageFull);
    file.sync_data().unwrap();
    assert_eq!(file.write_at(b"x", from).unwrap_err().kind(), ErrorKind::StorageFull);
    let (plain, env) = disk_and_env();
    plain.write_file("/d/a", "");
    plain.set_free_space(4096);
    let file = open(&env, "/d/a", OpenMode::ReadWrite);
    file.allocate(Position::ZERO, Position::new(4096)).unwrap();
    write(&file, &[1; 4096], 0);
}

#[test]
fn a_write_over_several_pages_goes_as_far_as_there_is_room_for_copies() {
    let (disk, env, file) = copying(2);
    assert_eq!(file.write_at(&[9; 3 * 4096], Position::ZERO).unwrap(), 2 * 4096);
    assert_eq!(file.write_at(&[9; 10], Position::new(2 * 4096)).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.read_file("/d/a").unwrap()[2 * 4096], 1);
    file.sync_data().unwrap();
    write(&file, &[9; 10], 2 * 4096);
    assert_eq!(free(&env), 4096);
}

#[test]
fn new_pages_and_the_last_page_until_it_is_synced_are_copied_nowhere() {
    let (_disk, env, file) = copying(10);
    write(&file, &[1; 100], 3 * 4096);
    assert_eq!(free(&env), 10 * 4096 - 100, "growth takes what it is long");
    write(&file, &[1; 100], 3 * 4096 + 100);
    assert_eq!(free(&env), 10 * 4096 - 200);
    file.sync_data().unwrap();
    write(&file, &[1; 100], 3 * 4096 + 200);
    assert_eq!(free(&env), 9 * 4096 - 300, "what was synced of the page is copied");
}

#[test]
fn cuts_unlinks_failed_syncs_and_crashes_give_the_room_of_copies_back() {
    let (_disk, env, file) = copying(10);
    write(&file, &[1; 3 * 4096], 0);
    assert_eq!(free(&env), 7 * 4096);
    file.set_len(4096).unwrap();
    assert_eq!(free(&env), 11 * 4096, "two pages and two copies");
    env.remove_file(Path::new("/d/a")).unwrap();
    drop(file);
    assert_eq!(free(&env), 13 * 4096 + 512);

    let (disk, env, file) = copying(10);
    write(&file, &[1; 4096], 0);
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput));
    file.sync_data().unwrap_err();
    assert_eq!(free(&env), 10 * 4096);
    write(&file, &[1; 4096], 0);
    assert_eq!(free(&Env::sim(&disk.image(CrashStrength::Kill, |_, _| 0))), 9 * 4096);
    assert_eq!(free(&Env::sim(&keep_nothing(&disk, CrashStrength::Strict))), 10 * 4096);
}
