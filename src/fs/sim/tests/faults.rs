//! Faults, room, time and counters.

use std::io::{self, ErrorKind};
use std::time::Duration;

use super::*;
use crate::fs::LockKind;
use crate::fs::sim::{CallKind, Fault, FaultKind, Rates, TraceEntry};
use crate::offset::Timestamp;

/// One call of each kind, on a file that is there.
fn call(env: &Env, file: &File, call: CallKind) -> io::Result<()> {
    let (path, dir, other) = (Path::new("/d/a"), Path::new("/d"), Path::new("/d/b"));
    let (out, _peer) = std::os::unix::net::UnixStream::pair()?;
    match call {
        CallKind::Open => env.open(path, OpenMode::Read).map(drop),
        CallKind::List => env.list(dir).map(drop),
        CallKind::Metadata => env.metadata(path).map(drop),
        CallKind::CreateDir => env.create_dir(other),
        CallKind::Rename => env.rename(path, other),
        CallKind::RemoveFile => env.remove_file(path),
        CallKind::SyncDir => env.sync_dir(dir),
        CallKind::Canonicalize => env.canonicalize(path).map(drop),
        CallKind::TryLock => env.try_lock(path, LockKind::Exclusive).map(drop),
        CallKind::IsLocked => env.is_locked(path).map(drop),
        CallKind::FreeSpace => env.free_space(path).map(drop),
        CallKind::FileSystem => env.file_system(path).map(drop),
        CallKind::Spawn => env.spawn("name", || {}).map(drop),
        CallKind::WriteAt => file.write_at(b"x", Position::ZERO).map(drop),
        CallKind::WriteVectoredAt => file.write_vectored_at(&[io::IoSlice::new(b"x")], Position::ZERO).map(drop),
        CallKind::ReadAt => file.read_at(&mut [0], Position::ZERO).map(drop),
        CallKind::Len => file.len().map(drop),
        CallKind::Modified => file.modified().map(drop),
        CallKind::Allocate => file.allocate(Position::ZERO, Position::new(1)),
        CallKind::SetLen => file.set_len(1),
        CallKind::SyncData => file.sync_data(),
        CallKind::SendTo => file.send_to(std::os::fd::AsFd::as_fd(&out), Position::ZERO, 1).map(drop),
        CallKind::MapRead => file.map_read(1).map(drop),
        CallKind::MapWindow => file.map_window(Position::ZERO, Position::new(1)).map(drop),
        CallKind::PopulateWindow => file.map_window(Position::ZERO, Position::new(1))?.populate(),
        CallKind::SharesBlocks => file.shares_blocks(Position::ZERO, Position::new(1)).map(drop),
    }
}

#[test]
fn every_call_is_counted_and_can_fail_once_and_for_ever() {
    for kind in CallKind::ALL {
        let (disk, env) = disk_and_env();
        disk.write_file("/d/a", "a");
        let file = open(&env, "/d/a", OpenMode::ReadWrite);
        disk.reset_counters();
        disk.fail(Fault::once(kind, 1, FaultKind::InputOutput));
        assert_eq!(call(&env, &file, kind).unwrap_err().raw_os_error(), Some(5), "{kind:?}");
        assert_eq!(disk.calls(kind), 1);
        assert_eq!((disk.list("/d"), disk.read_file("/d/a").unwrap()), (vec!["a".into()], b"a".to_vec()));
        disk.fail(Fault::from(kind, 2, FaultKind::TooManyOpen));
        call(&env, &file, kind).expect("the first of two");
        for _ in 0..3 {
            assert_eq!(call(&env, &file, kind).unwrap_err().raw_os_error(), Some(24), "{kind:?}");
        }
        disk.heal();
        if !matches!(kind, CallKind::CreateDir | CallKind::Rename | CallKind::RemoveFile) {
            call(&env, &file, kind).expect("a healed disk");
        }
    }
}

#[test]
fn every_kind_has_a_counter_of_its_own() {
    for (slot, kind) in CallKind::ALL.into_iter().enumerate() {
        assert_eq!(super::super::faults::slot(kind), slot);
    }
}

#[test]
fn every_error_has_the_system_s_number() {
    let numbers = [
        (FaultKind::InputOutput, 5),
        (FaultKind::NoSpace, 28),
        (FaultKind::Interrupted, 4),
        (FaultKind::TooManyOpen, 24),
        (FaultKind::TooManyOpenInSystem, 23),
    ];
    for (kind, number) in numbers {
        let (disk, env) = disk_and_env();
        disk.fail(Fault::once(CallKind::List, 1, kind));
        assert_eq!(env.list(Path::new("/d")).unwrap_err().raw_os_error(), Some(number));
    }
}

#[test]
fn a_fault_on_an_ending_strikes_only_paths_that_end_so() {
    let (disk, env) = disk_and_env();
    let (log, index) = (create(&env, "/d/0.log"), create(&env, "/d/0.index"));
    disk.fail(Fault::once(CallKind::WriteAt, 2, FaultKind::NoSpace).on(".log"));
    write(&index, b"1", 0);
    write(&log, b"1", 0);
    write(&index, b"2", 1);
    assert_eq!(log.write_at(b"2", Position::new(1)).unwrap_err().kind(), ErrorKind::StorageFull);
    write(&log, b"2", 1);
}

#[test]
fn a_short_transfer_moves_some_but_not_all() {
    let (disk, env) = disk_and_env();
    let file = create(&env, "/d/a");
    disk.fail(Fault::from(CallKind::WriteAt, 1, FaultKind::Short));
    for _ in 0..20 {
        file.set_len(0).unwrap();
        let written = file.write_at(b"0123456789", Position::ZERO).unwrap();
        assert!((1..10).contains(&written));
        assert_eq!(disk.read_file("/d/a").unwrap(), b"0123456789"[..written]);
    }
    assert_eq!(file.write_at(b"x", Position::ZERO).unwrap(), 1, "a single byte cannot be cut short");
}

#[test]
fn rates_interrupt_and_shorten_now_and_then() {
    let (disk, env) = disk_and_env();
    let file = create(&env, "/d/a");
    disk.set_rates(Rates { short_per_mille: 100, interrupted_per_mille: 100 });
    let (mut short, mut interrupted) = (0, 0);
    for _ in 0..1000 {
        match file.write_at(b"0123456789", Position::ZERO) {
            Ok(10) => {}
            Ok(_) => short += 1,
            Err(error) if error.kind() == ErrorKind::Interrupted => interrupted += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!((50..200).contains(&short) && (50..200).contains(&interrupted), "{short} {interrupted}");
}

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

#[test]
fn a_crash_releases_locks() {
    let (disk, env) = disk_and_env();
    let path = Path::new("/d/.lock");
    let _held = env.try_lock(path, LockKind::Exclusive).unwrap().expect("nobody holds it");
    let after = Env::sim(&disk.crash(CrashStrength::Kill));
    assert!(!after.is_locked(path).unwrap());
    assert!(after.try_lock(path, LockKind::Exclusive).unwrap().is_some());
}

#[test]
fn time_is_what_the_test_says() {
    let (disk, env) = disk_and_env();
    let (wall, monotonic) = (env.wall_clock(), env.monotonic());
    disk.advance(Duration::from_millis(1500));
    assert_eq!(env.wall_clock().as_millis() - wall.as_millis(), 1500);
    assert_eq!(env.monotonic().saturating_sub(monotonic), Duration::from_millis(1500));
    disk.set_wall_clock(Timestamp::from_millis(-5));
    let file = create(&env, "/d/a");
    assert_eq!(file.modified().unwrap(), Timestamp::from_millis(-5));
    assert_eq!(env.monotonic(), Duration::from_millis(1500), "only the wall clock jumps");
    disk.advance(Duration::from_millis(7));
    write(&file, b"x", 0);
    assert_eq!(env.metadata(Path::new("/d/a")).unwrap().modified, Timestamp::from_millis(2));
}

#[test]
fn random_numbers_come_from_the_seed() {
    let drawn = |seed| {
        let env = disk_of(seed).1;
        [env.random(), env.random()]
    };
    assert_eq!(drawn(7), drawn(7));
    assert_ne!(drawn(7), drawn(8));
}

#[test]
fn the_trace_has_every_call_with_its_path_and_place() {
    let (disk, env) = disk_and_env();
    disk.set_tracing(true);
    let file = create(&env, "/d/a");
    write(&file, b"abc", 5);
    rename(&env, "/d/a", "/d/b");
    file.sync_data().unwrap();
    sync_dir(&env, "d/.");
    let entry = |call, path: &str, position, len| TraceEntry { call, path: path.into(), position, len };
    let expected = [
        entry(CallKind::Open, "/d/a", 0, 0),
        entry(CallKind::WriteAt, "/d/a", 5, 3),
        entry(CallKind::Rename, "/d/a", 0, 0),
        entry(CallKind::SyncData, "/d/b", 0, 0),
        entry(CallKind::SyncDir, "/d", 0, 0),
    ];
    assert_eq!(disk.trace(), expected);
}

#[test]
fn bytes_read_are_counted_by_file() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", "0123456789");
    let file = open(&env, "/d/a", OpenMode::Read);
    file.read_at(&mut [0; 100], Position::new(4)).unwrap();
    assert_eq!((disk.bytes_read("/d/a"), disk.bytes_read("/d/b")), (6, 0));
    disk.reset_counters();
    assert_eq!((disk.bytes_read("/d/a"), disk.calls(CallKind::ReadAt)), (0, 0));
}

#[test]
fn a_flipped_bit_is_seen_at_once_and_after_a_crash() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", vec![0; 4]);
    let file = open(&env, "/d/a", OpenMode::Read);
    disk.flip_bit("/d/a", 2, 7);
    let mut found = [0; 4];
    file.read_at(&mut found, Position::ZERO).unwrap();
    assert_eq!(found, [0, 0, 128, 0]);
    assert_eq!(disk.crash(CrashStrength::Strict).read_file("/d/a").unwrap(), found);
}

#[test]
fn what_a_test_plants_and_removes_is_durable_at_once() {
    let (disk, _env) = disk_and_env();
    disk.write_file("/d/e/f/a", "content");
    disk.write_file("relative", "content");
    disk.write_file("/d/b", "");
    disk.remove("/d/b");
    let after = keep_nothing(&disk, CrashStrength::Strict);
    assert_eq!(after.read_file("/d/e/f/a").unwrap(), b"content");
    assert_eq!(after.read_file("/relative").unwrap(), b"content");
    assert_eq!(after.list("/d"), ["e"]);
}

#[test]
fn a_disk_prints_its_seed_and_its_options() {
    let disk = SimDisk::new(4711);
    disk.set_free_space(99);
    disk.set_rates(Rates { short_per_mille: 3, interrupted_per_mille: 4 });
    let printed = disk.crash(CrashStrength::Kill).to_string();
    for part in ["seed 4711", "crashes 1", "99 bytes free", "short_per_mille: 3", "interrupted_per_mille: 4"] {
        assert!(printed.contains(part), "{printed}");
    }
}
