//! Stores through windows: what a crash does to them, and what a real disk would answer with SIGBUS.

use std::collections::BTreeSet;

use super::*;
use crate::fs::{FileSystem, Window};

/// A file of two pages, durable, and a window on both.
fn windowed() -> (SimDisk, File, Window) {
    let (disk, env) = disk_and_env();
    let file = open(&env, "/d/a", OpenMode::CreateNew);
    file.allocate(Position::ZERO, Position::new(8192)).expect("room");
    file.sync_data().expect("a sync");
    env.sync_dir(Path::new("/d")).expect("a sync");
    let window = file.map_window(Position::ZERO, Position::new(8192)).expect("a window");
    (disk, file, window)
}

fn store(window: &mut Window, byte: u8, at: u64, len: usize) {
    window.bytes_mut(Position::new(at), len).fill(byte);
    window.wrote(Position::new(at), len);
}

#[test]
fn a_store_survives_the_process_and_may_be_lost_sector_by_sector_with_the_power() {
    let (disk, file, mut window) = windowed();
    store(&mut window, 1, 0, 100);
    file.sync_data().expect("a sync");
    store(&mut window, 2, 100, 1000);
    let killed = disk.image(CrashStrength::Kill, |_, _| unreachable!("a kill keeps everything"));
    assert_eq!(killed.read_file("/d/a").unwrap()[..1101], [&[1; 100][..], &[2; 1000], &[0]].concat());
    let mut seen = BTreeSet::new();
    for image in disk.every_image(CrashStrength::Strict) {
        let bytes = image.read_file("/d/a").expect("the file");
        assert_eq!(bytes[..100], [1; 100], "what was synced stays");
        seen.insert([bytes[100], bytes[600], bytes[1099]]);
    }
    assert_eq!(seen.len(), 8, "each of three sectors with and without the store");
}

#[test]
fn no_store_reaches_the_disk_without_power() {
    let (disk, _file, mut window) = windowed();
    disk.power_off_after(1);
    store(&mut window, 1, 0, 100);
    store(&mut window, 2, 100, 100);
    assert!(disk.is_off());
    let bytes = disk.read_file("/d/a").expect("the file");
    assert_eq!((bytes[99], bytes[100]), (1, 0));
}

#[test]
#[should_panic(expected = "shortened under a window")]
fn a_file_that_is_shortened_under_a_window_is_found_out() {
    let (_disk, file, _window) = windowed();
    drop(file.set_len(4096));
}

#[test]
#[should_panic(expected = "no room")]
fn a_store_into_a_hole_is_found_out() {
    let (_disk, file, mut window) = windowed();
    file.set_len(20_000).expect("a longer file");
    let mut behind = file.map_window(Position::new(8192), Position::new(20_000)).expect("a window");
    store(&mut window, 1, 0, 1);
    store(&mut behind, 1, 10_000, 1);
}

#[test]
fn a_disk_says_the_file_system_that_it_was_given() {
    let (disk, env) = disk_and_env();
    assert_eq!(env.file_system(Path::new("/d")).unwrap(), FileSystem::Ext4);
    disk.set_file_system(FileSystem::Other);
    assert_eq!(
        Env::sim(&disk.image(CrashStrength::Kill, |_, _| 0)).file_system(Path::new("/d")).unwrap(),
        FileSystem::Other
    );
}
