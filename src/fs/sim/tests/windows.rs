//! Stores through windows: what a crash does to them, and what a real disk would answer with SIGBUS.

use std::collections::BTreeSet;

use super::*;
use crate::fs::{FileSystem, Window};

/// A file of two pages, durable, and a window on both.
fn windowed() -> (SimDisk, File, Window) {
    windowed_on(1)
}

fn windowed_on(seed: u64) -> (SimDisk, File, Window) {
    let (disk, env) = disk_of(seed);
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
fn a_process_that_ends_in_a_store_leaves_a_part_of_it_and_nothing_of_a_later_one() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        let (disk, _file, mut window) = windowed_on(seed);
        disk.power_off_after(1);
        store(&mut window, 1, 0, 100);
        store(&mut window, 2, 100, 100);
        store(&mut window, 3, 200, 100);
        assert!(disk.is_off());
        let bytes = disk.crash(CrashStrength::Kill).read_file("/d/a").expect("the file");
        assert_eq!((&bytes[..100], &bytes[200..300]), (&[1; 100][..], &[0; 100][..]));
        let stored: Vec<usize> = (100..200).filter(|at| bytes[*at] == 2).collect();
        let of_one_piece = stored.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        let at_an_edge = stored.first() == Some(&100) || stored.last() == Some(&199);
        assert!(stored.is_empty() || (of_one_piece && at_an_edge), "{stored:?}");
        seen.insert((stored.first() == Some(&100), stored.len() == 100, stored.is_empty()));
    }
    assert!(seen.len() >= 2, "beginnings and ends are seen: {seen:?}");
}

#[test]
fn a_page_can_be_written_back_in_the_middle_of_a_store() {
    let (disk, _file, mut window) = windowed();
    store(&mut window, 7, 500, 20);
    let mut seen = BTreeSet::new();
    for image in disk.every_image(CrashStrength::Ordered) {
        let bytes = image.read_file("/d/a").expect("the file");
        seen.insert(bytes[500..520].iter().map(|byte| if *byte == 7 { 'x' } else { '.' }).collect::<String>());
    }
    assert_eq!(seen.len(), 9, "each of two sectors without the store, with it, or with half of it: {seen:?}");
    assert!(seen.contains("xxxxxx......xxxxxxxx") && seen.contains("............xxxx...."), "{seen:?}");
    assert_eq!(disk.count_crash_answers(CrashStrength::Ordered, 100), 9);
}

#[test]
fn every_sample_halves_each_sector_of_a_store() {
    let (disk, _file, mut window) = windowed();
    store(&mut window, 7, 0, 4096);
    let bound = crate::fs::sim::Bound { exhaustive: 10, samples: 0 };
    let states: Vec<Vec<u8>> =
        disk.crash_states(CrashStrength::Strict, bound, 1).map(|state| state.read_file("/d/a").unwrap()).collect();
    for sector in 0..8 {
        let mut halved = [vec![7; 4096], vec![0; 4096]].concat();
        halved[sector * 512 + 256..(sector + 1) * 512].fill(0);
        assert!(states.contains(&halved), "{sector}");
    }
}

#[test]
fn a_page_is_kept_as_of_any_store() {
    let (disk, _file, mut window) = windowed();
    for byte in 1..=3 {
        store(&mut window, byte, 0, 1);
    }
    let images = disk.every_image(CrashStrength::Strict);
    let seen: BTreeSet<u8> = images.map(|image| image.read_file("/d/a").expect("the file")[0]).collect();
    assert_eq!(seen, BTreeSet::from([0, 1, 2, 3]));
}

#[test]
#[should_panic(expected = "a store at 11 was never announced by `wrote`")]
fn a_store_that_is_not_announced_is_found_out_by_the_next_one() {
    let (_disk, _file, mut window) = windowed();
    window.bytes_mut(Position::new(10), 5).fill(1);
    window.wrote(Position::new(10), 1);
    window.bytes_mut(Position::new(100), 5);
}

#[test]
#[should_panic(expected = "never announced")]
fn a_store_that_is_not_announced_is_found_out_when_the_window_goes() {
    let (_disk, file, mut window) = windowed();
    window.bytes_mut(Position::new(10), 5).fill(1);
    drop(window.close(&file, 4096));
}

#[test]
fn what_is_announced_in_pieces_or_was_not_changed_is_announced() {
    let (_disk, file, mut window) = windowed();
    window.bytes_mut(Position::new(10), 5).fill(1);
    window.wrote(Position::new(13), 2);
    window.wrote(Position::new(10), 3);
    window.bytes_mut(Position::new(0), 100);
    write(&file, b"x", 50);
    window.bytes_mut(Position::new(0), 10);
    window.close(&file, 4096).expect("a cut");
}

#[test]
#[should_panic(expected = "SIGBUS")]
fn a_store_without_room_for_a_copy_is_found_out() {
    let (disk, _file, mut window) = windowed();
    disk.set_copy_on_write(true);
    disk.set_free_space(4096);
    store(&mut window, 1, 0, 1);
    store(&mut window, 1, 4000, 1);
    store(&mut window, 1, 4096, 1);
}

#[test]
fn a_store_into_a_copied_page_needs_no_room_until_the_next_sync() {
    let (disk, file, mut window) = windowed();
    disk.set_copy_on_write(true);
    disk.set_free_space(4096);
    for _ in 0..3 {
        store(&mut window, 1, 0, 4096);
        store(&mut window, 2, 0, 4096);
        file.sync_data().expect("a sync");
    }
}

#[test]
fn populating_takes_the_room_of_copies_or_says_that_there_is_none() {
    let (disk, _file, mut window) = windowed();
    disk.set_copy_on_write(true);
    disk.set_free_space(4096);
    window.populate().expect_err("room for one page of two");
    disk.set_free_space(8192);
    window.populate().expect("room");
    disk.set_free_space(0);
    store(&mut window, 1, 0, 8192);
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
