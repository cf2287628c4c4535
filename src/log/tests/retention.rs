//! What goes from the front of a log, and when: by size, by time, by request, at once and later.

use std::path::Path;
use std::time::Duration;

use super::bench::{
    DIR, append, at, bases, disk, fill, log_path, names, number, open, opened, small, state_path, values,
};
use crate::config::{LogConfig, SyncPolicy, Worker};
use crate::error::{Error, ErrorKind};
use crate::fs::Env;
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk};
use crate::log::{Deleted, Fate, Log, Trust};
use crate::offset::Timestamp;
use crate::record::{BatchBuilder, BatchStamp, Compression, Record};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// One batch of one record, as `fill` makes it.
const BATCH_BYTES: u64 = 108;

fn now(disk: &SimDisk) -> Timestamp {
    Env::sim(disk).wall_clock()
}

fn look(disk: &SimDisk, log: &Log) -> Deleted {
    log.delete_old_segments(now(disk)).expect("a healthy disk")
}

fn from_to(start: u64, end: u64) -> Vec<u64> {
    (start..end).collect()
}

fn deleted_names(disk: &SimDisk) -> usize {
    names(disk).iter().filter(|name| name.ends_with(".deleted")).count()
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

// Rows 247, 252.
#[test]
fn by_size_the_oldest_segments_go_and_a_second_look_finds_nothing() {
    let disk = disk();
    let log = opened(&disk, small().retention_bytes(4 * BATCH_BYTES));
    fill(&log, 0..9);
    assert_eq!(bases(&log), [0, 2, 4, 6, 8]);
    let deleted = look(&disk, &log);
    assert_eq!((deleted.segments, deleted.bytes, deleted.log_start_offset), (2, 4 * BATCH_BYTES, at(4)));
    assert_eq!((bases(&log), values(&log)), (vec![4, 6, 8], from_to(4, 9)));
    assert_eq!(look(&disk, &log).segments, 0);
    log.close().expect("a healthy disk");
    let log = opened(&disk, small());
    assert_eq!((log.log_start_offset(), values(&log)), (at(4), from_to(4, 9)));
    assert_eq!(log.recovery_report().trust, Trust::Clean);
}

// Row 248.
#[test]
fn by_time_what_is_strictly_older_goes_whatever_the_policy_of_syncs() {
    for policy in [SyncPolicy::Never, SyncPolicy::Always] {
        let disk = disk();
        let log = opened(&disk, small().retention_ms(DAY_MS).sync_policy(policy));
        fill(&log, 0..2);
        disk.advance(minutes(10));
        fill(&log, 2..5);
        disk.advance(Duration::from_millis(DAY_MS) - minutes(10));
        assert_eq!(look(&disk, &log).segments, 0, "exactly as old is not older");
        disk.advance(Duration::from_millis(1));
        assert_eq!(look(&disk, &log).segments, 1);
        assert_eq!(values(&log), from_to(2, 5));
    }
}

// Row 248.
#[test]
fn records_without_times_are_as_old_as_their_file() {
    let disk = disk();
    let log = opened(&disk, small().retention_ms(DAY_MS));
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(Record::value(&"x".repeat(100))).expect("a sound record");
    let stamp = BatchStamp { now: Timestamp::from_millis(-1), ..BatchStamp::default() };
    let timeless = builder.finish(&stamp).expect("a small batch").to_vec();
    let options = crate::log::AppendOptions::default();
    log.append_batch(&options, &timeless).expect("there is room");
    disk.advance(minutes(10));
    log.append_batch(&options, &timeless).expect("there is room");
    assert_eq!(bases(&log), [0, 1]);
    disk.advance(Duration::from_millis(DAY_MS));
    assert_eq!((look(&disk, &log).segments, bases(&log)), (1, vec![1]));
}

// Row 251.
#[test]
fn when_all_is_old_an_empty_segment_at_the_log_end_remains() {
    let disk = disk();
    let log = opened(&disk, small().retention_ms(DAY_MS));
    fill(&log, 0..5);
    disk.advance(Duration::from_millis(2 * DAY_MS));
    assert_eq!((look(&disk, &log).segments, bases(&log)), (3, vec![5]));
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.synced_offset()), (at(5), at(5), at(5)));
    assert_eq!(look(&disk, &log).segments, 0, "an empty log has nothing to give");
    // By a crash as by a close, with the names that are durable by then or all.
    for strength in [CrashStrength::Kill, CrashStrength::Strict] {
        let after = disk.image(strength, |_, _| 0);
        let log = opened(&after, small());
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (at(5), at(5)), "{strength:?}");
        assert!(log.recovery_report().damage.is_empty());
        fill(&log, 5..7);
        assert_eq!(values(&log), [5, 6]);
    }
    fill(&log, 5..8);
    log.close().expect("a healthy disk");
    assert_eq!(values(&opened(&disk, small())), [5, 6, 7]);
}

#[test]
fn times_are_known_after_a_reopening_too_and_from_the_log_where_the_index_is_wrong() {
    for spoil in [None, Some(vec![]), Some(vec![0xff; 12]), Some([&[0; 8][..], &[0, 0, 0, 1]].concat())] {
        let disk = disk();
        let log = opened(&disk, small());
        fill(&log, 0..2);
        disk.advance(minutes(10));
        fill(&log, 2..5);
        log.close().expect("a healthy disk");
        if let Some(bytes) = &spoil {
            disk.write_file(Path::new(DIR).join("00000000000000000002.timeindex"), bytes.clone());
        }
        let log = opened(&disk, small().retention_ms(DAY_MS));
        disk.advance(Duration::from_millis(DAY_MS) - minutes(5));
        assert_eq!((look(&disk, &log).segments, bases(&log)), (1, vec![2, 4]), "{spoil:?}");
        disk.advance(minutes(6));
        assert_eq!((look(&disk, &log).segments, bases(&log)), (2, vec![5]), "{spoil:?}");
    }
}

// Row 253.
#[test]
fn a_segment_that_must_stay_keeps_those_behind_it_and_a_record_from_the_future_does_so_for_a_while_only() {
    let disk = disk();
    let log = opened(&disk, small().retention_ms(DAY_MS));
    let century = Timestamp::from_millis(now(&disk).as_millis() + 100 * 365 * 86_400_000);
    log.append(&[Record::value("from the future").timestamp(century)]).expect("there is room");
    log.roll().expect("there is room");
    fill(&log, 1..4);
    assert_eq!(look(&disk, &log).segments, 0);
    disk.advance(Duration::from_millis(DAY_MS));
    assert_eq!(look(&disk, &log).segments, 0);
    disk.advance(Duration::from_millis(1));
    assert_eq!(look(&disk, &log).segments, 3, "it was there a day ago, whatever it says");
}

// Row 250.
#[test]
fn the_slowest_cursor_holds_retention_back_but_no_request() {
    let disk = disk();
    let log = opened(&disk, small().retention_bytes(0).retention_keeps_cursors(true));
    fill(&log, 0..7);
    log.sync().expect("a healthy disk");
    let slow = log.cursor("slow").expect("a new cursor");
    slow.commit(at(3)).expect("a healthy disk");
    assert_eq!((look(&disk, &log).segments, log.log_start_offset()), (1, at(2)));
    assert_eq!(log.delete_records_before(at(5)).expect("a healthy disk"), at(5));
    assert_eq!(bases(&log), [4, 6]);
    slow.commit(at(7)).expect("a healthy disk");
    look(&disk, &log);
    assert_eq!(bases(&log), [7]);
}

#[test]
fn a_clock_that_jumps_ten_years_ahead_empties_no_log_and_is_believed_when_it_stays_there() {
    let disk = disk();
    let log = opened(&disk, small().retention_ms(7 * DAY_MS));
    fill(&log, 0..7);
    assert_eq!(look(&disk, &log).segments, 0);
    let decade = Timestamp::from_millis(now(&disk).as_millis() + 10 * 365 * 86_400_000);
    let deleted = log.delete_old_segments(decade).expect("a healthy disk");
    assert_eq!((deleted.segments, deleted.clock_doubted), (0, true));
    disk.advance(minutes(6));
    assert_eq!(look(&disk, &log), Deleted { log_start_offset: at(0), ..Deleted::default() }, "it was a mistake");
    disk.set_wall_clock(decade);
    assert!(look(&disk, &log).clock_doubted);
    disk.advance(minutes(5));
    let deleted = look(&disk, &log);
    assert_eq!((deleted.segments, deleted.clock_doubted, bases(&log)), (4, false, vec![7]));
}

#[test]
fn a_device_that_was_off_for_a_year_looks_twice() {
    let disk = disk();
    let config = small().retention_ms(7 * DAY_MS).retention_bytes(6 * BATCH_BYTES);
    let log = opened(&disk, config.clone());
    fill(&log, 0..9);
    log.roll().expect("there is room");
    log.close().expect("a healthy disk");
    disk.advance(Duration::from_millis(365 * DAY_MS));
    let log = opened(&disk, config);
    let deleted = look(&disk, &log);
    assert_eq!((deleted.segments, deleted.clock_doubted), (1, true), "size needs no clock");
    append(&log, 9).expect("there is room");
    disk.advance(minutes(5));
    assert_eq!((look(&disk, &log).segments, values(&log)), (4, vec![9]));
}

// Row 256.
#[test]
fn a_log_start_inside_a_segment_deletes_nothing_and_one_past_it_does() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..7);
    assert_eq!(log.delete_records_before(at(1)).expect("in the log"), at(1));
    assert_eq!((bases(&log), values(&log)), (vec![0, 2, 4, 6], from_to(1, 7)));
    assert!(matches!(log.read(at(0), 1), Err(Error::OffsetOutOfRange { .. })));
    assert_eq!(log.delete_records_before(at(0)).expect("nothing to do"), at(1));
    assert_eq!(log.delete_records_before(at(5)).expect("in the log"), at(5));
    assert_eq!((bases(&log), values(&log)), (vec![4, 6], from_to(5, 7)));
    let refused = log.delete_records_before(at(8)).expect_err("above the high watermark");
    assert_eq!(refused.kind(), ErrorKind::Usage, "{refused}");
    assert_eq!(log.delete_records_before(at(7)).expect("all of it"), at(7));
    assert_eq!((bases(&log), values(&log)), (vec![6], vec![]), "the active segment stays");
    log.roll().expect("there is room");
    fill(&log, 7..10);
    log.run_once(now(&disk)).expect("a healthy disk");
    assert_eq!((bases(&log), values(&log)), (vec![7, 9], from_to(7, 10)), "and goes once it is sealed");
}

#[test]
fn a_log_start_inside_a_batch_hides_the_records_below_it() {
    let disk = disk();
    let log = opened(&disk, small().segment_bytes(4000));
    let texts: Vec<String> = (0..6).map(|value: u64| value.to_string()).collect();
    log.append(&texts.iter().map(Record::value).collect::<Vec<_>>()).expect("there is room");
    log.delete_records_before(at(4)).expect("in the log");
    assert_eq!(values(&log), [4, 5]);
    let backwards: Vec<u64> = log
        .records_reversed(..)
        .expect("the whole log")
        .map(|record| number(record.expect("readable").value()))
        .collect();
    assert_eq!(backwards, [5, 4]);
    log.close().expect("a healthy disk");
    let log = opened(&disk, small());
    assert_eq!((log.log_start_offset(), values(&log)), (at(4), vec![4, 5]));
}

#[test]
fn a_log_start_inside_a_segment_is_durable_with_the_next_sync() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..5);
    log.sync().expect("a healthy disk");
    log.delete_records_before(at(1)).expect("in the log");
    let before = opened(&disk.image(CrashStrength::Strict, |_, _| 0), small());
    assert_eq!(before.log_start_offset(), at(0), "nothing was promised yet");
    log.sync().expect("a healthy disk");
    let after = opened(&disk.image(CrashStrength::Strict, |_, _| 0), small());
    assert_eq!((after.log_start_offset(), values(&after)), (at(1), from_to(1, 5)));
    log.delete_records_before(at(3)).expect("in the log");
    let after = opened(&disk.image(CrashStrength::Strict, |_, _| 0), small());
    assert_eq!((after.log_start_offset(), values(&after)), (at(3), from_to(3, 5)), "a segment went, so at once");
}

// Row 254.
#[test]
fn files_are_renamed_at_once_and_unlinked_after_the_delay() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..7);
    log.delete_records_before(at(4)).expect("in the log");
    assert_eq!(deleted_names(&disk), 6);
    assert_eq!(disk.read_file(log_path(0)), None);
    disk.advance(Duration::from_millis(59_999));
    log.run_once(now(&disk)).expect("a healthy disk");
    assert_eq!(deleted_names(&disk), 6);
    disk.advance(Duration::from_millis(1));
    log.run_once(now(&disk)).expect("a healthy disk");
    assert_eq!(deleted_names(&disk), 0);
    log.update_config(|config| config.file_delete_delay_ms(0)).expect("a sound value");
    log.delete_records_before(at(6)).expect("in the log");
    assert_eq!((deleted_names(&disk), bases(&log)), (0, vec![6]), "without a delay they are gone");
    log.update_config(|config| config.file_delete_delay_ms(1000)).expect("a sound value");
    fill(&log, 7..9);
    log.delete_records_before(at(8)).expect("in the log");
    assert_eq!(deleted_names(&disk), 3);
    log.close().expect("a healthy disk");
    assert_eq!(deleted_names(&disk), 0, "a close waits for no delay");
}

// Row 254.
#[test]
fn what_was_opened_before_a_deletion_goes_on_reading_behind_it() {
    for delay_ms in [0, 60_000] {
        let disk = disk();
        let log = opened(&disk, small().file_delete_delay_ms(delay_ms));
        fill(&log, 0..7);
        let slice = log.read(at(0), 1 << 20).expect("in the log");
        let mut entered = log.records(..).expect("the whole log");
        assert_eq!(entered.next().expect("a record").expect("readable").offset(), at(0));
        let mut waiting = log.records(..).expect("the whole log");
        let mut reversed = log.records_reversed(..).expect("the whole log");
        assert_eq!(reversed.next().expect("a record").expect("readable").offset(), at(6));
        log.delete_records_before(at(5)).expect("in the log");
        let read: Vec<u64> = slice.records().map(|record| record.expect("pinned").offset().value()).collect();
        assert_eq!(read, [0, 1]);
        assert_eq!(entered.next().expect("a record").expect("pinned").offset(), at(1));
        let then = entered.next().expect("an answer");
        assert!(matches!(then, Err(Error::OffsetOutOfRange { .. })), "{then:?}");
        let first = waiting.next().expect("an answer");
        assert!(matches!(first, Err(Error::OffsetOutOfRange { .. })), "{first:?}");
        assert_eq!(reversed.next().expect("a record").expect("readable").offset(), at(5));
        let rest: Vec<_> = reversed.collect();
        assert!(rest.iter().all(|record| !matches!(record, Err(Error::Corrupt { .. }))), "{rest:?}");
    }
}

#[test]
fn the_worker_looks_and_unlinks_by_the_clock() {
    let disk = disk();
    let config = small().retention_bytes(2 * BATCH_BYTES).worker(Worker::Thread).retention_check_interval_ms(1);
    let log = opened(&disk, config.file_delete_delay_ms(1));
    fill(&log, 0..9);
    // The clock stands still; each change of the configuration has the worker look at it again.
    while bases(&log).len() > 2 || deleted_names(&disk) > 0 {
        disk.advance(Duration::from_secs(1));
        log.update_config(|config| config).expect("nothing changes");
        std::thread::yield_now();
    }
    assert_eq!(values(&log), from_to(6, 9));
}

#[test]
fn run_once_looks_when_a_look_is_due() {
    let disk = disk();
    let log = opened(&disk, small().retention_bytes(2 * BATCH_BYTES));
    fill(&log, 0..5);
    log.run_once(now(&disk)).expect("a healthy disk");
    assert_eq!(bases(&log), [2, 4], "the first one is");
    fill(&log, 5..7);
    disk.advance(Duration::from_millis(299_999));
    log.run_once(now(&disk)).expect("a healthy disk");
    assert_eq!(bases(&log), [2, 4, 6]);
    disk.advance(Duration::from_millis(1));
    log.run_once(now(&disk)).expect("a healthy disk");
    assert_eq!(bases(&log), [4, 6]);
    log.update_config(|config| config.retention_bytes(None)).expect("a sound value");
    disk.advance(minutes(60));
    fill(&log, 7..20);
    log.run_once(now(&disk)).expect("a healthy disk");
    assert_eq!(log.log_start_offset(), at(4), "retention was turned off");
}

// Row 250.
#[test]
fn a_log_that_is_damaged_failed_or_closed_deletes_nothing() {
    let disk = disk();
    let log = opened(&disk, small().retention_bytes(0));
    fill(&log, 0..7);
    log.close().expect("a healthy disk");
    assert!(matches!(log.delete_old_segments(now(&disk)), Err(Error::Closed)));
    assert!(matches!(log.delete_records_before(at(3)), Err(Error::Closed)));
    disk.remove(state_path());
    disk.flip_bit(log_path(2), 80, 1);
    let log = opened(&disk, small().retention_bytes(0));
    assert!(matches!(log.delete_old_segments(now(&disk)), Err(Error::Damaged { .. })));
    assert!(matches!(log.delete_records_before(at(3)), Err(Error::Damaged { .. })));
    log.run_once(now(&disk)).expect("it has nothing to do with that");
    assert_eq!(bases(&log), [0, 2, 4, 6]);
}

// Row 258.
#[test]
fn a_file_that_cannot_be_removed_is_told_tried_again_and_harms_nothing() {
    let disk = disk();
    let log = opened(&disk, small().retention_bytes(2 * BATCH_BYTES).file_delete_delay_ms(0));
    fill(&log, 0..5);
    disk.fail(Fault::from(CallKind::RemoveFile, 1, FaultKind::InputOutput));
    let error = log.delete_old_segments(now(&disk)).expect_err("it stays");
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert_eq!((log.log_start_offset(), values(&log)), (at(2), from_to(2, 5)));
    assert!(disk.read_file(log_path(0)).is_some());
    append(&log, 5).expect("the log is well");
    // Whoever opens it now finds a segment that was deleted.
    let after = opened(&disk.image(CrashStrength::Kill, |_, _| 0), small());
    assert_eq!((bases(&after), values(&after)), (vec![2, 4], from_to(2, 6)));
    let leftovers = after.recovery_report().leftovers;
    assert!(leftovers.iter().any(|left| left.path == log_path(0) && left.fate == Fate::Removed), "{leftovers:?}");
    disk.heal();
    look(&disk, &log);
    assert_eq!(disk.read_file(log_path(0)), None);
}

// Row 258.
#[test]
fn a_file_that_cannot_be_renamed_is_unlinked_all_the_same() {
    let disk = disk();
    let log = opened(&disk, small().retention_bytes(2 * BATCH_BYTES));
    fill(&log, 0..5);
    disk.fail(Fault::from(CallKind::Rename, 1, FaultKind::NoSpace));
    assert_eq!(look(&disk, &log).segments, 1);
    assert_eq!((bases(&log), values(&log)), (vec![2, 4], from_to(2, 5)));
    disk.advance(minutes(1));
    log.run_once(now(&disk)).expect("a healthy disk");
    assert!(names(&disk).iter().all(|name| !name.starts_with("00000000000000000000")));
}

#[test]
fn a_failed_sync_of_the_log_start_fails_the_log_and_deletes_nothing() {
    let disk = disk();
    let log = opened(&disk, small().retention_bytes(2 * BATCH_BYTES));
    fill(&log, 0..5);
    log.sync().expect("a healthy disk");
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput).on("kstore.state"));
    let error = log.delete_old_segments(now(&disk)).expect_err("it failed");
    assert_eq!(error.kind(), ErrorKind::Reopen, "{error}");
    assert!(disk.read_file(log_path(0)).is_some() && deleted_names(&disk) == 0);
    assert!(matches!(append(&log, 5), Err(Error::Failed { .. })));
    log.reopen().expect("a healthy disk");
    look(&disk, &log);
    fill(&log, 5..6);
    assert_eq!((bases(&log), values(&log)), (vec![2, 4], from_to(2, 6)));
}

#[test]
fn a_full_disk_keeps_no_segment_from_being_deleted() {
    let disk = disk();
    let log = opened(&disk, small().retention_ms(DAY_MS));
    fill(&log, 0..6);
    log.sync().expect("a healthy disk");
    disk.advance(Duration::from_millis(2 * DAY_MS));
    disk.set_free_space(0);
    let deleted = look(&disk, &log);
    assert_eq!((deleted.segments, bases(&log)), (2, vec![4]), "there is no room to begin a new segment");
    disk.advance(minutes(1));
    log.run_once(now(&disk)).expect("a full disk is no failure");
    append(&log, 6).expect("there is room again");
    assert_eq!(values(&log), from_to(4, 7));
}

#[test]
fn a_look_at_many_segments_asks_the_disk_for_few() {
    let disk = disk();
    let config = small().segment_bytes(BATCH_BYTES).retention_ms(DAY_MS).retention_bytes(1 << 30);
    let log = opened(&disk, config.clone());
    fill(&log, 0..400);
    log.close().expect("a healthy disk");
    let log = opened(&disk, config);
    disk.reset_counters();
    assert_eq!(look(&disk, &log).segments, 0);
    let calls: u64 = CallKind::ALL.into_iter().map(|call| disk.calls(call)).sum();
    assert!(calls < 20, "{calls} calls for 400 segments");
    disk.reset_counters();
    assert_eq!(look(&disk, &log).segments, 0);
    let calls: u64 = CallKind::ALL.into_iter().map(|call| disk.calls(call)).sum();
    assert_eq!(calls, 0, "what is known of a sealed segment is remembered");
}

/// A log that lost its newer part, or whose state is another's.
#[test]
fn a_state_that_is_not_believed_hides_no_log_that_ends_before_its_start() {
    let (ours, others) = (disk(), disk());
    for (disk, start, end) in [(&ours, 0, 7), (&others, 20, 25)] {
        let log = opened(disk, small());
        fill(&log, 0..end);
        log.delete_records_before(at(start)).expect("in the log");
        log.close().expect("a healthy disk");
    }
    ours.write_file(state_path(), others.read_file(state_path()).expect("a state"));
    let log = opened(&ours, small());
    assert_eq!((log.recovery_report().trust, log.log_start_offset()), (Trust::Foreign, at(0)));
    let found = log.records(at(0)..at(7)).expect("in the log").map(|record| number(record.expect("readable").value()));
    assert_eq!(found.collect::<Vec<_>>(), from_to(0, 7), "what lies behind is reported as missing");
    let reader = Log::open_read_only_in(&Env::sim(&ours), Path::new(DIR)).expect("readable");
    assert_eq!(reader.log_start_offset(), at(0));
}

#[test]
fn a_state_that_is_not_believed_still_says_where_a_log_begins_that_reaches_that_far() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..7);
    log.delete_records_before(at(3)).expect("in the log");
    log.close().expect("a healthy disk");
    // Somebody appended: right in number and checksum.
    let other = super::bench::disk();
    let longer = opened(&other, small().segment_bytes(4000));
    fill(&longer, 0..9);
    longer.close().expect("a healthy disk");
    let all = other.read_file(log_path(0)).expect("a segment");
    let batch = usize::try_from(BATCH_BYTES).expect("small");
    disk.write_file(log_path(6), all[6 * batch..8 * batch].to_vec());
    let reader = Log::open_read_only_in(&Env::sim(&disk), Path::new(DIR)).expect("readable");
    assert_eq!(reader.log_start_offset(), at(3));
    let log = open(&disk, small()).expect("it opens");
    assert_eq!(log.recovery_report().trust, Trust::Foreign);
    assert_eq!((log.log_start_offset(), values(&log)), (at(3), from_to(3, 8)));
}

#[test]
fn a_configuration_that_keeps_all_deletes_nothing_but_below_the_log_start() {
    let disk = disk();
    let log = opened(&disk, LogConfig { worker: Worker::Caller, ..small() });
    fill(&log, 0..7);
    disk.advance(Duration::from_millis(400 * DAY_MS));
    assert_eq!(look(&disk, &log).segments, 0);
    disk.advance(minutes(10));
    assert_eq!((look(&disk, &log).segments, bases(&log)), (0, vec![0, 2, 4, 6]));
}
