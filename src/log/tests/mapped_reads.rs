//! Reading sealed segments through maps: the same as by calls, and no map where a file may be cut.
//!
//! The simulated disk panics where a map is read behind the end of its file, which on a real one is SIGBUS. Random
//! sequences with maps, crashes and failures are the model's.

use std::path::Path;

use super::bench::{DIR, at, bases, disk, fill, log_path, number, opened, small, upto, values};
use crate::config::{LogConfig, OnDamage};
use crate::error::{Corruption, Error, Result};
use crate::fs::sim::{CallKind, Fault, FaultKind, SimDisk, TraceEntry};
use crate::fs::{Env, OpenMode};
use crate::log::Log;
use crate::offset::Timestamp;
use crate::record::Record;
use crate::slice::LogSlice;

/// Of the ten segments at 0, 2, 4, … 18 the last one is active.
const SEALED: u64 = 18;
const END: u64 = 20;

fn config() -> LogConfig {
    small().mapped_reads(true).file_delete_delay_ms(0)
}

fn closed_and_opened(config: LogConfig) -> (SimDisk, Log) {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..END);
    log.close().expect("closed");
    let log = opened(&disk, config);
    assert_eq!(bases(&log).len(), 10);
    (disk, log)
}

/// How many calls read from a `.log` while a record is looked up, which must be the right one.
fn reading_calls(disk: &SimDisk, log: &Log, offset: u64) -> usize {
    disk.set_tracing(true);
    let found: Vec<_> = log.records(at(offset)..=at(offset)).expect("a range").collect();
    let trace = disk.trace();
    disk.set_tracing(false);
    let [Ok(record)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((record.offset(), number(record.value())), (at(offset), offset));
    trace.iter().filter(|entry| entry.call == CallKind::ReadAt && is_log(entry)).count()
}

fn is_log(entry: &TraceEntry) -> bool {
    entry.path.extension().is_some_and(|ending| ending == "log")
}

fn slice_values(slice: &LogSlice) -> Vec<u64> {
    slice.records().map(|record| number(record.expect("a readable record").value())).collect()
}

/// Shortens a segment's file, as nobody does who respects the lock.
fn cut(disk: &SimDisk, base: u64, len: u64) {
    let file = Env::sim(disk).open(&log_path(base), OpenMode::ReadWrite).expect("the file");
    file.set_len(len).expect("a healthy disk");
}

#[test]
fn a_lookup_in_a_mapped_segment_takes_no_reading_call() {
    let (disk, log) = closed_and_opened(config());
    for offset in (0..END).chain([7, 3, 12, 0]) {
        let calls = reading_calls(&disk, &log, offset);
        assert_eq!(calls > 0, offset >= SEALED, "{calls} calls at {offset}");
    }
    assert_eq!(log.stats().mapped_segments, 9);
    assert_eq!(values(&log), upto(END));
    let (_, plain) = closed_and_opened(small());
    assert_eq!((values(&plain), plain.stats().mapped_segments), (upto(END), 0));
}

#[test]
fn a_segment_is_mapped_once_it_is_sealed_and_durable() {
    let disk = disk();
    let log = opened(&disk, config());
    fill(&log, 0..END);
    assert!(reading_calls(&disk, &log, 0) > 0 && reading_calls(&disk, &log, END - 1) > 0);
    assert_eq!(log.stats().mapped_segments, 0, "nothing was synced");
    log.sync_to(at(5)).expect("a healthy disk");
    let synced = log.synced_offset().value();
    for offset in 0..END {
        let sealed_below = (offset / 2 + 1) * 2;
        let calls = reading_calls(&disk, &log, offset);
        assert_eq!(calls == 0, sealed_below <= synced.min(SEALED), "{calls} calls at {offset}, {synced} durable");
    }
    assert!(log.stats().mapped_segments > 0);
}

#[test]
fn no_more_segments_are_mapped_than_may_be_open() {
    let (disk, log) = closed_and_opened(config().max_open_segments(2));
    for offset in 0..SEALED {
        reading_calls(&disk, &log, offset);
        assert!(log.stats().mapped_segments <= 2, "{:?}", log.stats());
    }
}

#[test]
fn a_segment_that_cannot_be_mapped_is_read_by_calls_and_asked_once() {
    let (disk, log) = closed_and_opened(config());
    disk.fail(Fault::from(CallKind::MapRead, 1, FaultKind::InputOutput).on(".log"));
    assert!(reading_calls(&disk, &log, 0) > 0);
    assert_eq!((values(&log), log.stats().mapped_segments), (upto(END), 0));
    disk.reset_counters();
    assert_eq!((values(&log), disk.calls(CallKind::MapRead)), (upto(END), 0));
}

#[test]
fn a_file_that_is_too_short_for_its_map_is_told_as_damage() {
    let (disk, log) = closed_and_opened(config());
    cut(&disk, 4, 150);
    let found: Vec<_> = log.records(at(5)..).expect("a range").collect();
    let is_told = matches!(
        &found[..],
        [Err(Error::Corrupt { path, reason: Corruption::Shortened { length: 150, .. }, .. })] if **path == *log_path(4)
    );
    assert!(is_told, "{found:?}");
}

#[test]
fn a_flipped_bit_below_a_map_is_told_as_damage() {
    let (disk, log) = closed_and_opened(config());
    assert_eq!(reading_calls(&disk, &log, 2), 0);
    let mut bytes = disk.read_file(log_path(2)).expect("a segment");
    bytes[90] ^= 1;
    disk.write_file(log_path(2), bytes);
    let found: Vec<_> = log.records(at(2)..at(3)).expect("a range").collect();
    assert!(matches!(&found[..], [Err(Error::Corrupt { reason: Corruption::Crc { .. }, .. })]), "{found:?}");
}

#[test]
fn what_a_slice_holds_stays_whatever_becomes_of_its_segment() {
    let (disk, log) = closed_and_opened(config());
    let slices: Vec<_> = (0..SEALED).map(|offset| log.read(at(offset), 1).expect("a batch")).collect();
    assert_eq!(log.stats().mapped_segments, 9);
    let all_hold = |when: &str| {
        let found: Vec<_> = slices.iter().flat_map(slice_values).collect();
        assert_eq!(found, upto(SEALED), "{when}");
    };
    log.delete_records_before(at(5)).expect("deleted");
    all_hold("after a deletion");
    log.truncate_to(at(13)).expect("cut inside a sealed segment");
    all_hold("after a truncation");
    fill(&log, 13..17);
    log.truncate_to(at(10)).expect("cut between two segments");
    fill(&log, 10..15);
    log.truncate_to(at(11)).expect("cut where a sealed segment goes on as the active one");
    all_hold("after truncations that cut what was appended behind them");
    fill(&log, 11..END);
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput));
    log.sync().expect_err("a failing disk");
    log.reopen().expect("recovered");
    all_hold("after a failure and a reopening");
    assert_eq!(values(&log), (log.log_start_offset().value()..log.log_end_offset().value()).collect::<Vec<_>>());
    log.reset_to(at(100)).expect("begun anew");
    all_hold("after a new beginning");
}

#[test]
fn no_file_stays_mapped_behind_the_close() {
    let (disk, log) = closed_and_opened(config());
    let slice = log.read(at(4), 1).expect("a batch");
    assert_eq!(slice_values(&slice), [4]);
    assert_eq!(log.stats().mapped_segments, 1);
    log.close().expect("closed");
    // The directory is somebody else's now.
    cut(&disk, 4, 50);
    let found: Vec<_> = slice.records().collect();
    assert!(matches!(&found[..], [Err(Error::Corrupt { .. })]), "{found:?}");
}

#[test]
fn maps_come_and_go_with_the_configuration() {
    let (disk, log) = closed_and_opened(small());
    assert!(reading_calls(&disk, &log, 3) > 0);
    log.update_config(|config| config.mapped_reads(true)).expect("a sound configuration");
    assert_eq!((reading_calls(&disk, &log, 3), log.stats().mapped_segments), (0, 1));
    log.update_config(|config| config.mapped_reads(false)).expect("a sound configuration");
    assert_eq!(log.stats().mapped_segments, 0);
    assert!(reading_calls(&disk, &log, 3) > 0);
}

#[test]
fn a_directory_that_is_read_beside_its_writer_is_never_mapped() {
    let (disk, log) = closed_and_opened(config());
    let reader = Log::open_read_only_in(&Env::sim(&disk), Path::new(DIR)).expect("a log");
    disk.set_tracing(true);
    assert_eq!(reader.records(..).expect("a range").count(), 20);
    let is_map_of_log = |entry: &TraceEntry| entry.call == CallKind::MapRead && is_log(entry);
    assert!(!disk.trace().iter().any(is_map_of_log));
    assert_eq!(values(&log), upto(END));
    assert!(disk.trace().iter().any(is_map_of_log), "the writer's own handle maps them");
}

/// A slice of the second batch of the segment at 4, mapped; the first batch there then has a flipped bit.
fn slice_behind_a_flipped_bit(disk: &SimDisk, log: &Log) -> LogSlice {
    let slice = log.read(at(5), 1).expect("a batch");
    assert_eq!((slice_values(&slice), log.stats().mapped_segments), (vec![5], 1));
    let mut bytes = disk.read_file(log_path(4)).expect("a segment");
    bytes[90] ^= 1;
    disk.write_file(log_path(4), bytes);
    slice
}

/// A slice stays whole though a change of the log could not remove this file, and the log was reopened.
fn a_slice_outlives_a_failed(change: impl Fn(&Log) -> Result<()>, unremovable: &'static str) {
    let (disk, log) = closed_and_opened(config());
    let slice = slice_behind_a_flipped_bit(&disk, &log);
    disk.fail(Fault::once(CallKind::RemoveFile, 1, FaultKind::InputOutput).on(unremovable));
    change(&log).expect_err("a file that cannot be removed");
    drop(log.reopen());
    assert_eq!(slice_values(&slice), [5]);
}

// Story: segments that a reset or a truncation had taken from readers, but whose files it could not remove, were cut in place by
// the reopening, as if nobody had ever been shown what goes.
#[test]
fn a_reopening_after_a_reset_that_failed_cuts_no_file_below_its_map() {
    a_slice_outlives_a_failed(|log| log.reset_to(at(100)), ".log");
}

#[test]
fn a_reopening_after_a_truncation_that_failed_cuts_no_file_below_its_map() {
    a_slice_outlives_a_failed(|log| log.truncate_to(at(3)), "18.log");
}

#[test]
fn nothing_stays_mapped_when_the_last_handle_goes_however_it_goes() {
    // A healthy log; one that cannot be synced, is told so, or by its close.
    for way in 0..4 {
        let (disk, log) = closed_and_opened(config());
        let (slice, reader) = (log.read(at(4), 1).expect("a batch"), log.reader());
        let mut records = log.records(at(6)..).expect("a range");
        assert!(records.next().is_some_and(|record| record.is_ok()));
        if way > 0 {
            fill(&log, END..END + 1);
            disk.fail(Fault::from(CallKind::SyncData, 1, FaultKind::InputOutput));
        }
        if way == 2 {
            log.sync().expect_err("a failing disk");
        }
        if way == 3 {
            log.close().expect_err("a failing disk");
        }
        drop(log);
        disk.heal();
        cut(&disk, 4, 50);
        cut(&disk, 6, 50);
        assert!(slice.records().all(|record| record.is_err()), "{way}");
        assert!(reader.records(at(4)..).is_err(), "{way}");
        // The rest of the batch that it is in, and then that the log is closed.
        assert!(records.by_ref().take(2).any(|record| record.is_err()), "{way}");
    }
}

/// What a log gives, in every way of reading that has a cursor, its errors included.
fn everything_that_is_read(log: &Log) -> Vec<String> {
    let (start, end) = (log.log_start_offset().value(), log.log_end_offset().value());
    let mut seen = Vec::new();
    for reader in [log.reader(), log.reader().skip_damaged()] {
        for offset in (start..end).chain(start..end) {
            let range = || at(offset)..=at(offset + 2);
            let found = reader.records(range()).expect("a range").take(9);
            seen.extend(found.map(|record| format!("{offset}: {record:?}")));
            let found = reader.records_reversed(range()).expect("a range").take(9);
            seen.extend(found.map(|record| format!("before {offset}: {record:?}")));
            let slice = reader.read(at(offset), 500).map(|slice| slice.records().take(9).collect::<Vec<_>>());
            seen.push(format!("sliced at {offset}: {slice:?}"));
        }
        for millis in [0, 510, 530, i64::MAX] {
            seen.push(format!("{millis}: {:?}", reader.offset_for_timestamp(Timestamp::from_millis(millis))));
        }
    }
    seen
}

/// Batches of all sizes, in segments of this size, with a bit flipped at a place that the number chooses.
fn damaged_log(number: usize) -> (SimDisk, LogConfig) {
    let disk = disk();
    let config = small()
        .segment_bytes([300, 3000, 300_000][number % 3])
        .index_interval_bytes([0, 200, 4096][number / 3 % 3])
        .max_open_segments([1, 3, 256][number / 5 % 3])
        .on_damage(OnDamage::ServeRest);
    let log = opened(&disk, config.clone());
    for nth in 0..30_usize {
        let len = if number % 3 == 2 { [10, 9000, 66_000, 70_000][nth % 4] } else { (nth * 37 + number * 11) % 100 };
        let value = vec![b'v'; len];
        let record = Record::new("k", &value[..]);
        let timestamp = Timestamp::from_millis(500 + i64::try_from(nth).expect("few"));
        let record = if nth % 3 == 0 { record.timestamp(timestamp) } else { record };
        log.append(&vec![record; 1 + nth % 2]).expect("there is room");
    }
    let all = bases(&log);
    log.close().expect("closed");
    let base = all[number / 2 % all.len()];
    let mut bytes = disk.read_file(log_path(base)).expect("a segment");
    let place = number * 7919 % bytes.len();
    bytes[place] ^= 1 << (number % 8);
    disk.write_file(log_path(base), bytes);
    (disk, config)
}

#[test]
fn maps_change_nothing_of_what_is_read_of_damaged_logs() {
    let mut mapped_segments = 0;
    for number in 0..36 {
        let [by_calls, mapped] = [false, true].map(|mapped| {
            let (disk, config) = damaged_log(number);
            let log = opened(&disk, config.mapped_reads(mapped));
            let seen = everything_that_is_read(&log);
            mapped_segments += log.stats().mapped_segments;
            seen
        });
        assert_eq!(by_calls, mapped, "log {number}");
    }
    assert!(mapped_segments > 10, "{mapped_segments}");
}
