//! A recovery on several threads finds, tells and leaves what one on a single thread does.
#![allow(clippy::disallowed_methods, reason = "the tests copy real directories from outside the seam")]

use std::collections::BTreeMap;
use std::path::Path;

use super::bench::{DIR, at, disk, fill, log_path, names, opened, small, state_path};
use super::model::{Chance, number};
use crate::config::{LogConfig, OnDamage, Worker};
use crate::error::Result;
use crate::fs::Env;
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk};
use crate::log::{Log, RecoveryReport};
use crate::offset::Offset;
use crate::record::Record;

/// How many directories are drawn, unless `KSTORE_DIRECTORIES` says otherwise.
const DIRECTORIES: u64 = 400;

/// What an opening finds, and what it leaves behind.
#[derive(Debug, PartialEq)]
struct Opened {
    outcome: std::result::Result<Found, String>,
    files: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, PartialEq)]
struct Found {
    report: RecoveryReport,
    bounds: (Offset, Offset),
    records: Vec<String>,
}

fn found(log: &Log) -> Found {
    let told = |record: Result<crate::record::StoredRecord>| match record {
        Ok(record) => format!("{} {:?}", record.offset(), record.value()),
        Err(error) => error.to_string(),
    };
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let reader = log.reader().skip_damaged();
    let records = reader.records(start..).expect("the whole log is a range").map(told).collect();
    Found { report: log.recovery_report(), bounds: (start, end), records }
}

/// Opens a copy of the directory on a machine with so many processors.
fn open_on(disk: &SimDisk, processors: usize, config: &LogConfig) -> (SimDisk, Opened) {
    let copy = disk.image(CrashStrength::Kill, |_, most| most);
    copy.set_processors(processors);
    copy.reset_counters();
    let opened = Log::open_in(&Env::sim(&copy), Path::new(DIR), config.clone());
    let outcome = opened.as_ref().map(found).map_err(ToString::to_string);
    let files = names(&copy).into_iter();
    let files = files.map(|name| (name.clone(), copy.read_file(Path::new(DIR).join(name)).unwrap_or_default()));
    let opened = Opened { outcome, files: files.collect() };
    (copy, opened)
}

fn threaded() -> LogConfig {
    small().worker(Worker::Thread)
}

/// A log of so many segments of two batches, nothing of which was ever synced, and whose process has ended.
fn unsynced(segments: u64) -> SimDisk {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..2 * segments);
    disk.crash(CrashStrength::Kill)
}

/// A directory as a crash leaves it, and perhaps as a worn disk does afterwards.
fn drawn(seed: u64, chance: &mut Chance) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.create_dir_all("/data");
    let log = opened(&disk, small().segment_bytes(400 + chance.below(600)));
    for value in 0..4 + chance.below(40) {
        let size = usize::try_from(chance.below(300)).expect("a small number");
        log.append(&[Record::value(&vec![value.to_le_bytes()[0]; size])]).expect("there is room");
        if chance.one_in(20) {
            log.sync().expect("synced");
        }
        if chance.one_in(12) {
            log.roll().expect("rolled");
        }
    }
    let disk = disk.crash(chance.pick(&[CrashStrength::Kill, CrashStrength::Ordered, CrashStrength::Strict]));
    if chance.one_in(3) {
        disk.remove(state_path());
    }
    let logs: Vec<String> = names(&disk).into_iter().filter(|name| name.ends_with(".log")).collect();
    if chance.one_in(2) && !logs.is_empty() {
        let path = Path::new(DIR).join(&logs[chance.index(logs.len())]);
        let mut bytes = disk.read_file(&path).expect("a file");
        let place = chance.index(1 + bytes.len());
        match chance.below(3) {
            0 => bytes.truncate(place),
            1 => bytes.resize(bytes.len() + 40, 0),
            _ => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << chance.below(8)),
        }
        disk.write_file(&path, bytes);
    }
    disk
}

#[test]
fn whatever_a_crash_leaves_several_threads_recover_as_one_does() {
    let (mut recoveries, mut threads) = (0, 0);
    for seed in
        number("KSTORE_SEED").map_or(0..number("KSTORE_DIRECTORIES").unwrap_or(DIRECTORIES), |seed| seed..seed + 1)
    {
        let mut chance = Chance::new(seed);
        let crashed = drawn(seed, &mut chance);
        let on_damage = chance.pick(&[OnDamage::Refuse, OnDamage::ServeRest, OnDamage::CutAsKafka]);
        let config = threaded().on_damage(on_damage);
        let (_, alone) = open_on(&crashed, 1, &config);
        for processors in [2, 3, 8] {
            let (disk, together) = open_on(&crashed, processors, &config);
            assert_eq!(together, alone, "KSTORE_SEED={seed}, {processors} processors, {on_damage:?}");
            threads += disk.calls(CallKind::Spawn);
        }
        recoveries += 1;
    }
    println!("figures: {recoveries} directories recovered side by side by {threads} further threads");
    assert!(threads >= recoveries, "{threads} threads in {recoveries} recoveries");
}

#[test]
fn worker_caller_starts_no_thread_for_a_recovery_either() {
    let crashed = unsynced(10);
    let (disk, alone) = open_on(&crashed, 8, &small());
    assert_eq!(disk.calls(CallKind::Spawn), 0);
    let (disk, together) = open_on(&crashed, 8, &threaded());
    // Three beside the opening one for eight of the segments, and one for the other two.
    assert_eq!(disk.calls(CallKind::Spawn), 4);
    assert_eq!(together, alone);
}

#[test]
fn where_no_thread_can_be_started_the_opening_one_does_all_the_work() {
    let crashed = unsynced(10);
    let (_, alone) = open_on(&crashed, 1, &threaded());
    let copy = crashed.image(CrashStrength::Kill, |_, most| most);
    copy.set_processors(4);
    copy.fail(Fault::from(CallKind::Spawn, 1, FaultKind::NoSpace));
    let log = opened(&copy, threaded());
    assert!(copy.calls(CallKind::Spawn) > 0, "it was tried");
    assert_eq!(Ok(found(&log)), alone.outcome);
}

#[test]
fn a_read_that_fails_in_the_second_of_several_segments_fails_the_opening_and_nothing_else() {
    let crashed = unsynced(12);
    let (_, sound) = open_on(&crashed, 1, &threaded());
    for name in ["00000000000000000002.log", "00000000000000000010.log", "00000000000000000022.log"] {
        for processors in [1, 4] {
            let copy = crashed.image(CrashStrength::Kill, |_, most| most);
            copy.set_processors(processors);
            copy.fail(Fault::from(CallKind::ReadAt, 1, FaultKind::InputOutput).on(name));
            let error = Log::open_in(&Env::sim(&copy), Path::new(DIR), threaded()).expect_err("it cannot be read");
            assert!(error.to_string().contains(name), "{error}");
            copy.heal();
            let (_, healed) = open_on(&copy, processors, &threaded());
            assert_eq!(healed.outcome, sound.outcome, "{name}, {processors} processors");
        }
    }
    // Of two that cannot be read, the first one counts.
    let first = crashed.image(CrashStrength::Kill, |_, most| most);
    first.set_processors(4);
    first.fail(Fault::from(CallKind::ReadAt, 1, FaultKind::InputOutput).on("00000000000000000004.log"));
    first.fail(Fault::from(CallKind::ReadAt, 1, FaultKind::InputOutput).on("00000000000000000002.log"));
    let error = Log::open_in(&Env::sim(&first), Path::new(DIR), threaded()).expect_err("it cannot be read");
    assert!(error.to_string().contains("00000000000000000002.log"), "{error}");
}

#[test]
fn what_cannot_be_read_behind_the_torn_end_of_a_log_is_not_asked_for() {
    let crashed = unsynced(8);
    let bytes = crashed.read_file(log_path(4)).expect("a file");
    crashed.write_file(log_path(4), &bytes[..bytes.len() - 1]);
    for processors in [1, 4] {
        let copy = crashed.image(CrashStrength::Kill, |_, most| most);
        copy.set_processors(processors);
        copy.fail(Fault::from(CallKind::ReadAt, 1, FaultKind::InputOutput).on("00000000000000000006.log"));
        let log = opened(&copy, threaded());
        assert_eq!(log.log_end_offset(), at(5), "{processors} processors");
        // The torn tail, and the five segments behind it.
        assert_eq!(log.recovery_report().torn.len(), 6);
    }
}

#[test]
fn a_recovery_side_by_side_keeps_few_files_open() {
    let crashed = unsynced(100);
    let (_, alone) = open_on(&crashed, 1, &threaded());
    // Eight segments with three files each, and what one thread needs.
    crashed.set_max_descriptors(8 * 3 + 8);
    let (_, together) = open_on(&crashed, 8, &threaded());
    assert_eq!(together, alone);
}

#[test]
fn a_real_directory_is_recovered_as_by_one_thread() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if processors == 1 {
        println!("skipped: this machine runs one thread at a time, so that none can be recovered side by side");
        return;
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    let (origin, copy) = (place.path().join("origin"), place.path().join("copy"));
    let config = small().segment_bytes(20_000).index_interval_bytes(4096);
    let log = Log::open(&origin, config.clone()).expect("a new log");
    for value in 0..3_000_u64 {
        log.append(&[Record::value(&value.to_le_bytes().repeat(20))]).expect("there is room");
    }
    for (is_foreign, is_torn) in [(false, false), (false, true), (true, false), (true, true)] {
        let [alone, together] = [Worker::Caller, Worker::Thread].map(|worker| {
            std::fs::create_dir(&copy).expect("a new directory");
            for entry in std::fs::read_dir(&origin).expect("readable") {
                let name = entry.expect("an entry").file_name();
                std::fs::copy(origin.join(&name), copy.join(&name)).expect("copied");
            }
            if is_foreign {
                std::fs::remove_file(copy.join(crate::names::STATE)).expect("removed");
            }
            if is_torn {
                let segment = &log.segments().expect("segments")[7];
                let path = copy.join(crate::names::SegmentFile::Log.name(segment.base_offset));
                let bytes = std::fs::read(&path).expect("readable");
                std::fs::write(&path, &bytes[..bytes.len() - 5]).expect("written");
            }
            let opened = Log::open(&copy, config.clone().worker(worker));
            let outcome = opened.as_ref().map(found).map_err(ToString::to_string);
            let entries = std::fs::read_dir(&copy).expect("readable").map(|entry| entry.expect("an entry").file_name());
            let files =
                entries.map(|name| (name.clone().into_string().expect("plain"), std::fs::read(copy.join(&name))));
            let files = files.map(|(name, bytes)| (name, bytes.expect("readable"))).collect();
            drop(opened);
            std::fs::remove_dir_all(&copy).expect("removed");
            Opened { outcome, files }
        });
        assert!(alone.outcome.is_ok(), "{:?}", alone.outcome);
        assert!(alone == together, "foreign: {is_foreign}, torn: {is_torn}");
    }
}
