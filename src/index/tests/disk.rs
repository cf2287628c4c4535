//! Indexes on a disk that loses and refuses things.

use super::*;
use crate::error::IoOp;
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk};

const PATH: &str = "/log/00000000000000000000.index";

fn new_index(max_entries: u64) -> (SimDisk, Env, OffsetIndex) {
    let disk = SimDisk::new(1);
    disk.create_dir_all("/log");
    let env = Env::sim(&disk);
    let index = OffsetIndex::create(&env, Path::new(PATH), Offset::ZERO, max_entries * 8).unwrap();
    env.sync_dir(Path::new("/log")).unwrap();
    (disk, env, index)
}

fn fill(index: &OffsetIndex, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        append(index, number, number * 10);
    }
}

/// The number of entries of the mark that are in the file, checked one by one.
fn holds(disk: &SimDisk, (entries, crc): (u64, u32)) -> bool {
    let env = Env::sim(disk);
    let holds = OffsetIndex::verify_prefix(&env, Path::new(PATH), entries, crc).unwrap();
    if holds {
        let index = OffsetIndex::resume(&env, Path::new(PATH), Offset::ZERO, 80_000, entries).unwrap();
        for number in 0..entries {
            assert_eq!(index.entry(number).unwrap(), Some(at(number + 1, (number + 1) * 10)));
        }
        assert_eq!((index.entries(), index.crc()), (entries, crc));
    }
    holds
}

#[test]
fn a_power_cut_takes_nothing_below_a_synced_mark_and_what_it_leaves_above_is_recognised() {
    let (disk, _env, index) = new_index(1000);
    fill(&index, 1..=100);
    index.sync().unwrap();
    let synced = index.mark();
    fill(&index, 101..=150);
    index.write_gathered().unwrap();
    let unsynced = index.mark();
    let (mut whole, mut lost) = (0, 0);
    for image in disk.every_image(CrashStrength::Strict).take(1000) {
        assert!(holds(&image.image(CrashStrength::Kill, |_, _| 0), synced));
        if holds(&image, unsynced) { whole += 1 } else { lost += 1 }
    }
    assert!(whole > 0 && lost > 0, "{whole} {lost}");
}

#[test]
fn after_a_power_cut_in_a_truncation_the_mark_tells_whether_the_file_can_be_used() {
    for calls in 0.. {
        let (disk, _env, index) = new_index(1000);
        fill(&index, 1..=100);
        index.sync().unwrap();
        let before = index.mark();
        disk.power_off_after(calls);
        let truncated = index.truncate_to(Offset::new(51)).map(|()| index.mark());
        for image in disk.every_image(CrashStrength::Strict).take(200) {
            let is_old = holds(&image.image(CrashStrength::Kill, |_, _| 0), before);
            assert!(is_old || truncated.is_ok(), "only the last call changes what has the name");
            if let Ok(after) = truncated {
                assert_eq!(after.0, 50);
                holds(&image, after);
            }
        }
        if truncated.is_ok() {
            assert!(calls > 2, "create, write and rename at least");
            break;
        }
    }
}

// Rule 33.
#[test]
fn a_full_disk_refuses_an_entry_and_nothing_else_is_lost() {
    let (disk, env, index) = new_index(1000);
    fill(&index, 1..=64);
    disk.fail(Fault::once(CallKind::WriteAt, 1, FaultKind::Short));
    disk.fail(Fault::from(CallKind::WriteAt, 2, FaultKind::NoSpace));
    let mark = index.mark();
    let refused = index.append(Offset::new(65), Position::new(650));
    assert!(matches!(refused, Err(Error::StorageFull { operation: IoOp::Write, .. })));
    assert_eq!(index.mark(), mark);
    assert_eq!(lookup(&index, 100), at(64, 640));
    index.truncate_to(Offset::new(3)).unwrap();
    assert_eq!(lookup(&index, 100), at(2, 20));
    disk.heal();
    assert!(disk.read_file(PATH).unwrap().len() > 16, "the short write left something");
    index.seal().unwrap();
    assert_eq!(disk.read_file(PATH).unwrap().len(), 16, "and it is cut off");
    let sealed = OffsetIndex::open_sealed(&env, Path::new(PATH), Offset::ZERO, None).unwrap();
    assert_eq!(sealed.last().unwrap(), Some(at(2, 20)));
}

#[test]
fn a_truncation_that_fails_leaves_the_index_as_it_was() {
    let (disk, _env, index) = new_index(1000);
    fill(&index, 1..=100);
    index.write_gathered().unwrap();
    let mark = index.mark();
    for call in [CallKind::Open, CallKind::ReadAt, CallKind::WriteAt, CallKind::MapRead, CallKind::Rename] {
        disk.fail(Fault::once(call, 1, FaultKind::InputOutput));
        assert!(index.truncate_to(Offset::new(11)).is_err(), "{call:?}");
        assert_eq!(index.mark(), mark);
        assert_eq!(lookup(&index, 1000), at(100, 1000));
    }
    fill(&index, 101..=101);
    index.seal().unwrap();
    assert_eq!(disk.read_file(PATH).unwrap().len(), 101 * 8);
}

#[test]
fn a_map_or_descriptor_that_cannot_be_had_is_an_error_and_the_next_lookup_tries_again() {
    let (disk, env, index) = new_index(10);
    fill(&index, 1..=3);
    index.seal().unwrap();
    let sealed = OffsetIndex::open_sealed(&env, Path::new(PATH), Offset::ZERO, None).unwrap();
    disk.fail(Fault::once(CallKind::Open, 1, FaultKind::TooManyOpen));
    assert!(matches!(sealed.lookup(Offset::new(2)), Err(Error::Io { operation: IoOp::Open, .. })));
    disk.fail(Fault::once(CallKind::MapRead, 1, FaultKind::TooManyOpenInSystem));
    assert!(matches!(sealed.lookup(Offset::new(2)), Err(Error::Io { operation: IoOp::Map, .. })));
    assert_eq!(lookup(&sealed, 2), at(2, 20));
    disk.fail(Fault::once(CallKind::MapRead, 1, FaultKind::TooManyOpen));
    assert!(OffsetIndex::create(&env, Path::new(PATH), Offset::ZERO, 80).is_err());
}

#[test]
fn a_sealed_index_costs_no_call_before_its_first_lookup_and_none_after() {
    let (disk, env, index) = new_index(10);
    fill(&index, 1..=3);
    index.seal().unwrap();
    disk.reset_counters();
    let calls = || CallKind::ALL.iter().map(|call| disk.calls(*call)).sum::<u64>();
    let sealed = OffsetIndex::open_sealed(&env, Path::new(PATH), Offset::ZERO, Some(24)).unwrap();
    assert_eq!((sealed.entries(), calls()), (3, 0));
    lookup(&sealed, 2);
    let first = calls();
    lookup(&sealed, 3);
    assert_eq!(calls(), first);
}
