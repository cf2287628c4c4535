//! One table of rules, each run on the real disk and on the simulated one.

use std::io::{ErrorKind, IoSlice, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;
use crate::fs::{EntryKind, LockKind, Window, write_all_at};
use crate::offset::Position;

/// Makes each function a test on either half. A macro, so that what fails names its rule and its half.
macro_rules! on_both_halves {
    ($($rule:ident)*) => {
        mod on_the_real_disk {
            $(#[test] fn $rule() { super::$rule(&super::Ground::real()); })*
        }
        mod on_the_simulated_disk {
            $(#[test] fn $rule() { super::$rule(&super::Ground::simulated()); })*
        }
    };
}

on_both_halves! {
    a_file_opens_as_its_mode_says
    a_handle_for_reading_refuses_every_change
    a_missing_parent_is_not_found_and_a_file_as_parent_is_no_directory
    a_write_behind_the_end_leaves_zeros_in_between
    a_vectored_write_is_the_parts_in_order
    a_read_at_or_behind_the_end_gives_nothing
    an_allocation_makes_the_file_longer_and_never_shorter
    an_empty_allocation_is_refused
    a_cut_file_shows_zeros_when_it_grows_again
    a_length_that_no_file_has_is_refused
    a_listing_has_every_name_with_its_kind
    a_directory_is_made_once
    a_rename_replaces_and_moves_the_content
    a_rename_of_what_is_not_there_changes_nothing
    a_rename_onto_itself_changes_nothing
    a_rename_between_a_file_and_a_directory_is_refused
    a_directory_is_renamed_with_what_is_in_it
    a_directory_is_not_moved_into_itself
    a_removed_file_stays_readable_through_its_handle
    a_replaced_file_stays_readable_through_its_handle
    a_directory_is_not_removed_as_a_file
    metadata_tells_kind_length_and_a_time_that_does_not_go_back
    the_canonical_path_has_no_dots_and_must_exist
    an_exclusive_lock_excludes_everybody_until_it_is_dropped
    shared_locks_exclude_only_the_exclusive_one
    the_file_of_a_lock_stays_and_a_missing_one_is_not_locked
    asking_for_a_lock_neither_takes_nor_creates
    a_map_over_a_growing_file_sees_what_is_appended
    a_map_gives_what_was_written_whatever_the_place_and_the_length
    a_store_into_a_window_is_read_at_once_and_a_write_is_there_for_the_next_store
    a_window_begins_and_ends_anywhere_in_a_page
    a_window_needs_a_handle_for_writing
    a_closed_window_leaves_the_file_at_the_length_it_is_cut_to
    a_window_is_populated_without_changing_a_byte
    the_file_system_of_what_is_missing_is_not_known
    a_file_without_a_copy_shares_no_block
    sending_gives_the_bytes_and_ends_at_the_end_of_the_file
    clocks_go_forward_and_random_numbers_differ
    a_thread_runs_and_tells_how_it_ended
    syncs_of_files_and_directories_succeed
}

fn a_file_opens_as_its_mode_says(ground: &Ground) {
    let path = ground.path("a");
    for mode in [OpenMode::Read, OpenMode::ReadWrite] {
        assert_eq!(ground.env.open(&path, mode).unwrap_err().kind(), ErrorKind::NotFound);
    }
    let created = ground.env.open(&path, OpenMode::OpenOrCreate).unwrap();
    write_all_at(&created, b"content", Position::ZERO).unwrap();
    for mode in [OpenMode::Read, OpenMode::ReadWrite, OpenMode::OpenOrCreate] {
        assert_eq!(content(&ground.env.open(&path, mode).unwrap()), b"content", "{mode:?} keeps the content");
    }
    assert_eq!(ground.env.open(&path, OpenMode::CreateNew).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(ground.env.open(&ground.dir, OpenMode::ReadWrite).is_err(), "a directory is no file");
}

fn a_handle_for_reading_refuses_every_change(ground: &Ground) {
    write_all_at(&ground.create("a"), b"content", Position::ZERO).unwrap();
    let file = ground.env.open(&ground.path("a"), OpenMode::Read).unwrap();
    file.write_at(b"x", Position::ZERO).unwrap_err();
    file.write_vectored_at(&[IoSlice::new(b"x")], Position::ZERO).unwrap_err();
    file.set_len(0).unwrap_err();
    file.allocate(Position::ZERO, Position::new(100)).unwrap_err();
    file.sync_data().expect("any descriptor will do for a sync");
    assert_eq!(ground.content("a"), b"content");
}

fn a_missing_parent_is_not_found_and_a_file_as_parent_is_no_directory(ground: &Ground) {
    ground.create("a");
    for (parent, kind) in [("missing", ErrorKind::NotFound), ("a", ErrorKind::NotADirectory)] {
        let path = ground.path(parent).join("x");
        assert_eq!(ground.env.open(&path, OpenMode::OpenOrCreate).unwrap_err().kind(), kind);
        assert_eq!(ground.env.open(&path, OpenMode::Read).unwrap_err().kind(), kind);
        assert_eq!(ground.env.create_dir(&path).unwrap_err().kind(), kind);
        assert_eq!(ground.env.remove_file(&path).unwrap_err().kind(), kind);
        assert_eq!(ground.env.metadata(&path).unwrap_err().kind(), kind);
        assert_eq!(ground.env.rename(&ground.path("a"), &path).unwrap_err().kind(), kind);
        assert_eq!(ground.env.list(&ground.path(parent)).unwrap_err().kind(), kind);
    }
}

fn a_write_behind_the_end_leaves_zeros_in_between(ground: &Ground) {
    let file = ground.create("a");
    assert_eq!(file.write_at(b"", Position::new(9)).unwrap(), 0);
    assert_eq!(file.len().unwrap(), 0, "nothing written changes nothing");
    assert_eq!(file.write_at(b"ab", Position::new(3)).unwrap(), 2);
    assert_eq!(file.write_at(b"cde", Position::new(4)).unwrap(), 3);
    assert_eq!(content(&file), b"\0\0\0acde");
}

fn a_vectored_write_is_the_parts_in_order(ground: &Ground) {
    let file = ground.create("a");
    let parts = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
    assert_eq!(file.write_vectored_at(&parts, Position::new(1)).unwrap(), 5);
    assert_eq!(content(&file), b"\0abcde");
    let byte = [IoSlice::new(b"x"); 1025];
    assert_eq!(file.write_vectored_at(&byte, Position::ZERO).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(file.write_vectored_at(&byte[1..], Position::ZERO).unwrap(), 1024);
}

fn a_read_at_or_behind_the_end_gives_nothing(ground: &Ground) {
    let file = ground.create("a");
    write_all_at(&file, b"abc", Position::ZERO).unwrap();
    let mut into = [0; 8];
    assert_eq!(file.read_at(&mut into, Position::new(1)).unwrap(), 2);
    assert_eq!(&into[..3], b"bc\0");
    assert_eq!(file.read_at(&mut into, Position::new(3)).unwrap(), 0);
    assert_eq!(file.read_at(&mut into, Position::new(1 << 40)).unwrap(), 0);
}

fn an_allocation_makes_the_file_longer_and_never_shorter(ground: &Ground) {
    let file = ground.create("a");
    write_all_at(&file, b"abc", Position::ZERO).unwrap();
    file.allocate(Position::new(1), Position::new(6)).unwrap();
    assert_eq!(content(&file), b"abc\0\0\0");
    file.allocate(Position::ZERO, Position::new(2)).unwrap();
    assert_eq!(content(&file), b"abc\0\0\0");
}

fn an_empty_allocation_is_refused(ground: &Ground) {
    let here = Position::new(5);
    assert_eq!(ground.create("a").allocate(here, here).unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn a_cut_file_shows_zeros_when_it_grows_again(ground: &Ground) {
    let file = ground.create("a");
    write_all_at(&file, b"abcdef", Position::ZERO).unwrap();
    file.set_len(2).unwrap();
    file.set_len(4).unwrap();
    assert_eq!(content(&file), b"ab\0\0");
    write_all_at(&file, b"x", Position::new(5)).unwrap();
    assert_eq!(content(&file), b"ab\0\0\0x");
}

fn a_length_that_no_file_has_is_refused(ground: &Ground) {
    let file = ground.create("a");
    file.set_len(1 << 63).unwrap_err();
    file.write_at(b"x", Position::new(u64::MAX - 1)).unwrap_err();
    file.allocate(Position::new((1 << 63) - 1), Position::new(1 << 63)).unwrap_err();
    assert_eq!(file.len().unwrap(), 0);
}

fn a_listing_has_every_name_with_its_kind(ground: &Ground) {
    assert_eq!(ground.env.list(&ground.dir).unwrap(), []);
    ground.create("b");
    ground.env.create_dir(&ground.path("a")).unwrap();
    let mut entries = ground.env.list(&ground.dir).unwrap();
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    let found: Vec<_> = entries.iter().map(|entry| (entry.name.to_str().unwrap(), entry.kind)).collect();
    assert_eq!(found, [("a", EntryKind::Directory), ("b", EntryKind::File)]);
}

fn a_directory_is_made_once(ground: &Ground) {
    ground.env.create_dir(&ground.path("a")).unwrap();
    assert_eq!(ground.env.create_dir(&ground.path("a")).unwrap_err().kind(), ErrorKind::AlreadyExists);
    ground.create("b");
    assert_eq!(ground.env.create_dir(&ground.path("b")).unwrap_err().kind(), ErrorKind::AlreadyExists);
}

fn a_rename_replaces_and_moves_the_content(ground: &Ground) {
    write_all_at(&ground.create("a"), b"new", Position::ZERO).unwrap();
    write_all_at(&ground.create("b"), b"old", Position::ZERO).unwrap();
    ground.env.rename(&ground.path("a"), &ground.path("b")).unwrap();
    assert_eq!(names(&ground.env, &ground.dir), ["b"]);
    assert_eq!(ground.content("b"), b"new");
}

fn a_rename_of_what_is_not_there_changes_nothing(ground: &Ground) {
    ground.create("b");
    let error = ground.env.rename(&ground.path("a"), &ground.path("b")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(names(&ground.env, &ground.dir), ["b"]);
}

fn a_rename_onto_itself_changes_nothing(ground: &Ground) {
    write_all_at(&ground.create("a"), b"content", Position::ZERO).unwrap();
    ground.env.rename(&ground.path("a"), &ground.path("a")).unwrap();
    assert_eq!(ground.content("a"), b"content");
}

fn a_rename_between_a_file_and_a_directory_is_refused(ground: &Ground) {
    ground.create("a");
    ground.env.create_dir(&ground.path("e")).unwrap();
    ground.env.create_dir(&ground.path("f")).unwrap();
    ground.env.open(&ground.path("f/x"), OpenMode::CreateNew).unwrap();
    let rename = |from, to| ground.env.rename(&ground.path(from), &ground.path(to)).unwrap_err().kind();
    assert_eq!(rename("a", "e"), ErrorKind::IsADirectory);
    assert_eq!(rename("e", "a"), ErrorKind::NotADirectory);
    assert_eq!(rename("e", "f"), ErrorKind::DirectoryNotEmpty);
    ground.env.rename(&ground.path("f"), &ground.path("e")).expect("an empty directory is replaced");
    assert_eq!(names(&ground.env, &ground.dir), ["a", "e"]);
}

fn a_directory_is_renamed_with_what_is_in_it(ground: &Ground) {
    ground.env.create_dir(&ground.path("e")).unwrap();
    let file = ground.env.open(&ground.path("e/a"), OpenMode::CreateNew).unwrap();
    ground.env.rename(&ground.path("e"), &ground.path("f")).unwrap();
    write_all_at(&file, b"content", Position::ZERO).unwrap();
    assert_eq!(ground.content("f/a"), b"content");
    assert_eq!(names(&ground.env, &ground.dir), ["f"]);
}

fn a_directory_is_not_moved_into_itself(ground: &Ground) {
    ground.env.create_dir(&ground.path("e")).unwrap();
    let error = ground.env.rename(&ground.path("e"), &ground.path("e/f")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

fn a_removed_file_stays_readable_through_its_handle(ground: &Ground) {
    let file = ground.create("a");
    ground.env.remove_file(&ground.path("a")).unwrap();
    assert_eq!(ground.env.remove_file(&ground.path("a")).unwrap_err().kind(), ErrorKind::NotFound);
    write_all_at(&file, b"content", Position::ZERO).unwrap();
    assert_eq!(content(&file), b"content");
    ground.create("a");
    assert_eq!(ground.content("a"), b"", "the name is another file's");
}

fn a_replaced_file_stays_readable_through_its_handle(ground: &Ground) {
    let old = ground.create("a");
    write_all_at(&old, b"old", Position::ZERO).unwrap();
    ground.create("b");
    ground.env.rename(&ground.path("b"), &ground.path("a")).unwrap();
    assert_eq!(content(&old), b"old");
    assert_eq!(ground.content("a"), b"");
}

fn a_directory_is_not_removed_as_a_file(ground: &Ground) {
    ground.env.create_dir(&ground.path("a")).unwrap();
    ground.env.remove_file(&ground.path("a")).unwrap_err();
    assert_eq!(names(&ground.env, &ground.dir), ["a"]);
}

fn metadata_tells_kind_length_and_a_time_that_does_not_go_back(ground: &Ground) {
    let file = ground.create("a");
    let created = file.modified().unwrap();
    write_all_at(&file, b"abc", Position::ZERO).unwrap();
    let found = ground.env.metadata(&ground.path("a")).unwrap();
    assert_eq!((found.kind, found.len), (EntryKind::File, 3));
    assert_eq!(found.modified, file.modified().unwrap());
    assert!(found.modified >= created);
    assert_eq!(ground.env.metadata(&ground.dir).unwrap().kind, EntryKind::Directory);
    assert_eq!(ground.env.metadata(&ground.path("b")).unwrap_err().kind(), ErrorKind::NotFound);
}

fn the_canonical_path_has_no_dots_and_must_exist(ground: &Ground) {
    ground.env.create_dir(&ground.path("e")).unwrap();
    assert_eq!(ground.env.canonicalize(&ground.path("e/./../e")).unwrap(), ground.path("e"));
    assert_eq!(ground.env.canonicalize(&ground.path("f")).unwrap_err().kind(), ErrorKind::NotFound);
}

fn an_exclusive_lock_excludes_everybody_until_it_is_dropped(ground: &Ground) {
    let path = ground.path(".lock");
    let lock = ground.env.try_lock(&path, LockKind::Exclusive).unwrap().expect("nobody holds it");
    assert!(ground.env.try_lock(&path, LockKind::Exclusive).unwrap().is_none());
    assert!(ground.env.try_lock(&path, LockKind::Shared).unwrap().is_none());
    drop(ground.env.open(&path, OpenMode::ReadWrite).unwrap());
    assert!(ground.env.is_locked(&path).unwrap(), "closing another descriptor of the file releases nothing");
    assert!(ground.env.try_lock(&path, LockKind::Exclusive).unwrap().is_none());
    drop(lock);
    assert!(ground.env.try_lock(&path, LockKind::Exclusive).unwrap().is_some());
}

fn shared_locks_exclude_only_the_exclusive_one(ground: &Ground) {
    let path = ground.path(".lock");
    let one = ground.env.try_lock(&path, LockKind::Shared).unwrap().expect("nobody holds it");
    let other = ground.env.try_lock(&path, LockKind::Shared).unwrap().expect("shared with the first");
    assert!(ground.env.try_lock(&path, LockKind::Exclusive).unwrap().is_none());
    drop(one);
    assert!(ground.env.is_locked(&path).unwrap());
    assert!(ground.env.try_lock(&path, LockKind::Exclusive).unwrap().is_none());
    drop(other);
    assert!(!ground.env.is_locked(&path).unwrap());
    assert!(ground.env.try_lock(&path, LockKind::Exclusive).unwrap().is_some());
}

fn the_file_of_a_lock_stays_and_a_missing_one_is_not_locked(ground: &Ground) {
    let path = ground.path(".lock");
    assert!(!ground.env.is_locked(&path).unwrap());
    drop(ground.env.try_lock(&path, LockKind::Exclusive).unwrap());
    assert_eq!(names(&ground.env, &ground.dir), [".lock"]);
    assert!(!ground.env.is_locked(&path).unwrap());
    write_all_at(&ground.env.open(&path, OpenMode::ReadWrite).unwrap(), b"kept", Position::ZERO).unwrap();
    drop(ground.env.try_lock(&path, LockKind::Exclusive).unwrap());
    assert_eq!(ground.content(".lock"), b"kept");
}

fn asking_for_a_lock_neither_takes_nor_creates(ground: &Ground) {
    let path = ground.path(".lock");
    assert!(!ground.env.is_locked(&path).unwrap());
    assert!(names(&ground.env, &ground.dir).is_empty());
    let lock = ground.env.try_lock(&path, LockKind::Exclusive).unwrap();
    assert!(ground.env.is_locked(&path).unwrap());
    drop(lock);
    assert!(!ground.env.is_locked(&path).unwrap());
}

fn a_map_over_a_growing_file_sees_what_is_appended(ground: &Ground) {
    let file = ground.create("a");
    let map = file.map_read(1 << 20).unwrap();
    assert_eq!(map.len(), 1 << 20);
    for entry in 0..2000_u64 {
        write_all_at(&file, &entry.to_be_bytes(), Position::new(entry * 8)).unwrap();
        assert_eq!(u64::from_be_bytes(map.copy_at(usize::try_from(entry).unwrap() * 8)), entry);
    }
    drop(file);
    assert_eq!(u64::from_be_bytes(map.copy_at(8)), 1, "a map needs no handle");
}

fn a_map_gives_what_was_written_whatever_the_place_and_the_length(ground: &Ground) {
    let written: Vec<u8> = (0..9000_u16).flat_map(|number| number.wrapping_mul(40_503).to_be_bytes()).collect();
    let file = ground.create("a");
    write_all_at(&file, &written, Position::ZERO).unwrap();
    let map = file.map_read(written.len()).unwrap();
    for at in (0..40).chain(4080..4110).chain([written.len() - 60]) {
        for len in (0..60).chain([8000]).filter(|len| at + len <= written.len()) {
            let mut into = vec![0xa5; len];
            map.copy_to(&mut into, at);
            assert!(into == written[at..at + len], "{len} bytes at {at}");
        }
    }
}

/// A file with room and a window on part of it.
fn windowed(ground: &Ground, start: u64, end: u64) -> (File, Window) {
    let file = ground.create("a");
    file.allocate(Position::ZERO, Position::new(end)).unwrap();
    let window = file.map_window(Position::new(start), Position::new(end)).unwrap();
    (file, window)
}

fn store(window: &mut Window, bytes: &[u8], at: u64) {
    window.bytes_mut(Position::new(at), bytes.len()).copy_from_slice(bytes);
    window.wrote(Position::new(at), bytes.len());
}

fn a_store_into_a_window_is_read_at_once_and_a_write_is_there_for_the_next_store(ground: &Ground) {
    let (file, mut window) = windowed(ground, 0, 8192);
    store(&mut window, b"stored", 4093);
    let mut into = [1; 10];
    file.read_at(&mut into, Position::new(4091)).unwrap();
    assert_eq!(&into, b"\0\0stored\0\0");
    write_all_at(&file, b"written", Position::new(4096)).unwrap();
    assert_eq!(window.bytes_mut(Position::new(4093), 10), b"stowritten");
    file.sync_data().expect("stores are synced by the file");
    assert_eq!(ground.content("a").len(), 8192);
}

fn a_window_begins_and_ends_anywhere_in_a_page(ground: &Ground) {
    let (_file, mut window) = windowed(ground, 5001, 9001);
    assert_eq!((window.start(), window.end()), (Position::new(5001), Position::new(9001)));
    store(&mut window, b"ab", 5001);
    store(&mut window, b"yz", 8999);
    let content = ground.content("a");
    assert_eq!((&content[5000..5004], &content[8998..]), (&b"\0ab\0"[..], &b"\0yz"[..]));
    for (at, len, held) in [(5001, 4000, true), (9001, 0, true), (5000, 1, false), (9000, 2, false), (9002, 0, false)] {
        assert_eq!(window.holds(Position::new(at), len), held, "{len} bytes at {at}");
    }
}

fn a_window_needs_a_handle_for_writing(ground: &Ground) {
    drop(windowed(ground, 0, 100));
    let file = ground.env.open(&ground.path("a"), OpenMode::Read).unwrap();
    file.map_window(Position::ZERO, Position::new(100)).unwrap_err();
}

fn a_closed_window_leaves_the_file_at_the_length_it_is_cut_to(ground: &Ground) {
    let (file, mut window) = windowed(ground, 0, 5000);
    store(&mut window, b"kept, and cut", 0);
    window.close(&file, 4).unwrap();
    assert_eq!(ground.content("a"), b"kept");
}

fn a_window_is_populated_without_changing_a_byte(ground: &Ground) {
    let (file, mut window) = windowed(ground, 4000, 20_000);
    write_all_at(&file, b"written before", Position::new(3995)).unwrap();
    store(&mut window, b"stored before", 4096);
    window.populate().unwrap();
    let content = ground.content("a");
    assert_eq!(&content[3995..4009], b"written before");
    assert_eq!(&content[4096..4109], b"stored before");
}

fn a_file_without_a_copy_shares_no_block(ground: &Ground) {
    let file = ground.create("a");
    let everything = (Position::ZERO, Position::new(1 << 20));
    assert!(!file.shares_blocks(everything.0, everything.1).unwrap(), "an empty one");
    write_all_at(&file, &[1; 5000], Position::ZERO).unwrap();
    file.allocate(Position::new(5000), Position::new(100_000)).unwrap();
    assert!(!file.shares_blocks(everything.0, everything.1).unwrap());
    assert!(!file.shares_blocks(Position::new(5000), Position::new(5001)).unwrap());
}

fn the_file_system_of_what_is_missing_is_not_known(ground: &Ground) {
    ground.env.file_system(&ground.dir).expect("some file system");
    assert_eq!(ground.env.file_system(&ground.path("missing")).unwrap_err().kind(), ErrorKind::NotFound);
}

fn sending_gives_the_bytes_and_ends_at_the_end_of_the_file(ground: &Ground) {
    let file = ground.create("a");
    write_all_at(&file, b"0123456789", Position::ZERO).unwrap();
    let (out, mut peer) = UnixStream::pair().unwrap();
    assert_eq!(file.send_to(out.as_fd(), Position::new(2), 5).unwrap(), 5);
    assert_eq!(file.send_to(out.as_fd(), Position::new(7), 100).unwrap(), 3);
    assert_eq!(file.send_to(out.as_fd(), Position::new(10), 100).unwrap(), 0);
    assert_eq!(file.send_to(out.as_fd(), Position::new(99), 100).unwrap(), 0);
    drop(out);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"23456789");
    let (full, _peer) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    drop(peer);
    let error = loop {
        if let Err(error) = file.send_to(full.as_fd(), Position::ZERO, 10) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

fn clocks_go_forward_and_random_numbers_differ(ground: &Ground) {
    let (wall, monotonic) = (ground.env.wall_clock(), ground.env.monotonic());
    assert!(wall.as_millis() > 1_600_000_000_000);
    assert!(ground.env.wall_clock() >= wall);
    // A tick is ten milliseconds at most, and a machine may stand still between two readings.
    let coarse = ground.env.coarse_wall_clock().as_millis();
    assert!((wall.as_millis() - 10..=ground.env.wall_clock().as_millis()).contains(&coarse), "{coarse}, {wall:?}");
    assert!(ground.env.monotonic() >= monotonic && monotonic < Duration::from_secs(1 << 32));
    assert_ne!(ground.env.random(), ground.env.random());
}

fn a_thread_runs_and_tells_how_it_ended(ground: &Ground) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let named = move || sender.send(std::thread::current().name().map(str::to_owned)).expect("somebody listens");
    let thread = ground.env.spawn("kstore-test", named).unwrap();
    assert!(!thread.is_current());
    assert!(thread.join());
    assert_eq!(receiver.recv().unwrap().as_deref(), Some("kstore-test"));
}

fn syncs_of_files_and_directories_succeed(ground: &Ground) {
    let file = ground.create("a");
    write_all_at(&file, b"content", Position::ZERO).unwrap();
    file.sync_data().unwrap();
    ground.env.sync_dir(&ground.dir).unwrap();
    assert_eq!(ground.env.sync_dir(&ground.path("b")).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(ground.env.free_space(&ground.dir).unwrap() > 0);
}
