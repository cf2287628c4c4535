//! Faults, time and counters.

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

/// The errors that a call is refused with. A short transfer and a flipped bit are none.
const ERRORS: [(FaultKind, i32); 6] = [
    (FaultKind::InputOutput, 5),
    (FaultKind::NoSpace, 28),
    (FaultKind::Interrupted, 4),
    (FaultKind::Unsupported, 95),
    (FaultKind::TooManyOpen, 24),
    (FaultKind::TooManyOpenInSystem, 23),
];

#[test]
fn each_kind_of_fault_strikes_the_named_calls_of_each_kind_and_no_other() {
    for (kind, number) in ERRORS {
        for struck in CallKind::ALL {
            for (nth, times) in [(1, 1), (3, 1), (2, 2), (1, 4)] {
                let (disk, env) = disk_and_env();
                disk.fail(Fault::once(struck, nth, kind).times(times));
                for turn in 1..=5 {
                    // Each time from the same beginning, since some calls can be made but once.
                    disk.write_file("/d/a", "a");
                    if disk.list("/d").contains(&"b".into()) {
                        drop(env.remove_file(Path::new("/d/b")));
                        continue;
                    }
                    let Ok(file) = env.open(Path::new("/d/a"), OpenMode::ReadWrite) else { continue };
                    let before = disk.calls(struck);
                    let answer = call(&env, &file, struck);
                    let seen = disk.calls(struck);
                    let hit = (before + 1..=seen).any(|count| count >= nth && count < nth + times);
                    let refused = answer.as_ref().err().and_then(io::Error::raw_os_error) == Some(number);
                    assert_eq!(
                        refused, hit,
                        "{struck:?} {seen}, {kind:?} from {nth} {times} times, {turn}: {answer:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_refused_call_has_no_effect_and_says_so_in_the_trace() {
    for (kind, _) in ERRORS {
        for struck in CallKind::ALL {
            let (disk, env) = disk_and_env();
            disk.write_file("/d/a", "a");
            let file = open(&env, "/d/a", OpenMode::ReadWrite);
            let before = (disk.list("/d"), disk.read_file("/d/a"));
            disk.set_tracing(true);
            disk.fail(Fault::once(struck, 1, kind));
            call(&env, &file, struck).unwrap_err();
            assert_eq!((disk.list("/d"), disk.read_file("/d/a")), before, "{struck:?}, {kind:?}");
            let trace = disk.trace();
            assert!(trace.iter().any(|entry| entry.call == struck && entry.refused), "{trace:?}");
        }
    }
}

#[test]
fn what_is_no_error_refuses_no_call() {
    let harmless: Vec<FaultKind> =
        FaultKind::ALL.into_iter().filter(|kind| ERRORS.iter().all(|(error, _)| error != kind)).collect();
    assert_eq!(harmless, [FaultKind::Short, FaultKind::FlippedBit]);
    for (kind, struck) in harmless.into_iter().flat_map(|kind| CallKind::ALL.map(|call| (kind, call))) {
        let (disk, env) = disk_and_env();
        disk.write_file("/d/a", "a");
        let file = open(&env, "/d/a", OpenMode::ReadWrite);
        disk.fail(Fault::from(struck, 1, kind));
        call(&env, &file, struck).unwrap_or_else(|error| panic!("{struck:?}, {kind:?}: {error}"));
    }
}

#[test]
fn a_fault_on_any_call_counts_them_all() {
    let names = |nth| {
        let (disk, env) = disk_and_env();
        disk.fail(Fault::once(CallKind::Open, nth, FaultKind::InputOutput).of_any_call());
        let created = env.open(Path::new("/d/a"), OpenMode::CreateNew).is_ok();
        let listed = env.list(Path::new("/d")).is_ok();
        let removed = env.remove_file(Path::new("/d/a")).is_ok();
        assert_eq!(disk.all_calls(), 3);
        [created, listed, removed]
    };
    assert_eq!(names(1), [false, true, false]);
    assert_eq!(names(2), [true, false, true]);
    assert_eq!(names(3), [true, true, false]);
    assert_eq!(names(4), [true, true, true]);
}

#[test]
fn a_disk_can_fail_for_a_while_and_be_well_again() {
    let (disk, env) = disk_and_env();
    let file = create(&env, "/d/a");
    disk.fail(Fault::once(CallKind::SyncData, 2, FaultKind::InputOutput).times(3));
    let answers: Vec<bool> = (0..6).map(|_| file.sync_data().is_ok()).collect();
    assert_eq!(answers, [true, false, false, false, true, true]);
}

#[test]
fn one_descriptor_more_than_may_be_open_is_refused() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", "a");
    disk.set_max_descriptors(2);
    let path = Path::new("/d/a");
    let too_many = |answer: io::Result<()>| answer.unwrap_err().raw_os_error() == Some(24);
    let file = open(&env, "/d/a", OpenMode::Read);
    let lock = env.try_lock(Path::new("/d/.lock"), LockKind::Exclusive).unwrap();
    assert_eq!(disk.descriptors(), 2);
    assert!(too_many(env.open(path, OpenMode::Read).map(drop)));
    assert!(too_many(env.open(Path::new("/d/new"), OpenMode::CreateNew).map(drop)));
    assert!(too_many(env.try_lock(path, LockKind::Shared).map(drop)));
    assert!(too_many(env.is_locked(path).map(drop)));
    assert!(too_many(env.list(Path::new("/d")).map(drop)));
    assert!(too_many(env.sync_dir(Path::new("/d"))));
    assert_eq!(disk.list("/d"), [".lock", "a"], "nothing was created on the way");
    env.metadata(path).expect("no descriptor is needed");
    let map = file.map_read(1).expect("a map of an open file");
    drop(file);
    assert_eq!(disk.descriptors(), 1, "a map needs none");
    env.sync_dir(Path::new("/d")).expect("one is free");
    drop((lock, map));
    assert_eq!(disk.descriptors(), 0);
}

#[test]
fn calls_take_the_time_that_they_may_and_no_more() {
    let (disk, env) = disk_and_env();
    disk.set_latency(Duration::from_micros(100));
    let (wall, monotonic) = (env.wall_clock(), env.monotonic());
    for _ in 0..1000 {
        env.metadata(Path::new("/d")).unwrap();
    }
    let taken = env.monotonic() - monotonic;
    assert!((Duration::from_millis(30)..Duration::from_millis(100)).contains(&taken), "{taken:?}");
    let on_the_wall = Duration::from_millis(u64::try_from(env.wall_clock().as_millis() - wall.as_millis()).unwrap());
    assert!(taken.abs_diff(on_the_wall) < Duration::from_millis(2), "{taken:?} and {on_the_wall:?}");
}

#[test]
fn the_wall_clock_jumps_either_way_and_the_monotonic_one_goes_on() {
    let (disk, env) = disk_and_env();
    let wall = env.wall_clock().as_millis();
    let mut last = env.monotonic();
    for jump in [5_000, -9_000, i64::MIN, i64::MAX] {
        disk.jump_wall_clock(jump);
        disk.advance(Duration::from_millis(1));
        assert_eq!(env.monotonic(), last + Duration::from_millis(1));
        last = env.monotonic();
        if jump == -9_000 {
            assert_eq!(env.wall_clock().as_millis(), wall - 4_000 + 2);
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
    let entry = |call, path: &str, position, len| TraceEntry {
        call,
        path: path.into(),
        to: (call == CallKind::Rename).then(|| "/d/b".into()),
        position,
        len,
        refused: false,
    };
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
