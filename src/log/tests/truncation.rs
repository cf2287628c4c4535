//! Truncation and beginning anew, on a healthy disk: what stays, what goes, and what readers and waiters see of it.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::bench::{append, at, bases, disk, fill, in_each_mode, log_path, names, opened, small, text, upto, values};
use crate::config::{LogConfig, SyncPolicy};
use crate::error::{Error, ErrorKind};
use crate::fs::sim::{CallKind, CrashStrength, SimDisk};
use crate::log::{AppendOptions, Log, Trust};
use crate::offset::{Offset, Timestamp};
use crate::record::{BatchBuilder, BatchStamp, Compression, Record, set_base_offset};
use crate::sync::Mutex;

pub(super) fn codecs() -> impl Iterator<Item = Compression> {
    Compression::ALL.into_iter().filter(|codec| codec.is_available())
}

fn large() -> LogConfig {
    small().segment_bytes(1 << 20)
}

/// Batches of three records each, two batches a segment.
pub(super) fn threes(codec: Compression) -> LogConfig {
    small().segment_bytes(if codec == Compression::None { 600 } else { 400 }).compression(codec)
}

/// Appends values from the log end up to `end`, three a batch.
pub(super) fn fill_threes(log: &Log, end: u64) {
    while log.log_end_offset().value() < end {
        let next = log.log_end_offset().value();
        let texts: Vec<String> = (next..(next + 3).min(end)).map(text).collect();
        let records: Vec<Record<'_>> = texts.iter().map(Record::value).collect();
        log.append(&records).expect("there is room");
    }
}

/// The disk after a power cut that keeps nothing unsynced.
fn after_power_cut(disk: &SimDisk) -> SimDisk {
    disk.image(CrashStrength::Strict, |_, _| 0)
}

fn sealed_slot(config: &LogConfig) -> [LogConfig; 3] {
    in_each_mode(config)
}

// Rows 112, 114, 115, 264, 280.
#[test]
fn wherever_a_log_is_cut_what_lies_below_stays_durably_and_it_goes_on_there() {
    for codec in codecs() {
        for config in sealed_slot(&threes(codec)) {
            for cut in 0..=20 {
                for synced in [false, true] {
                    let disk = disk();
                    let log = opened(&disk, config.clone());
                    fill_threes(&log, 20);
                    if synced {
                        log.sync().expect("a healthy disk");
                    }
                    log.truncate_to(at(cut)).expect("within the log");
                    let case = format!("{codec}, cut {cut}, {names:?}", names = names(&disk));
                    assert_eq!((log.log_end_offset(), log.synced_offset()), (at(cut), at(cut)), "{case}");
                    assert_eq!(values(&log), upto(cut), "{case}");
                    assert_eq!(log.stats().unsynced_bytes, 0);
                    let crashed = opened(&after_power_cut(&disk), config.clone());
                    assert_eq!(values(&crashed), upto(cut), "{case}");
                    let report = crashed.recovery_report();
                    assert!(
                        report.torn.iter().all(|tail| tail.zeros) && report.damage.is_empty(),
                        "{case}: {report:?}"
                    );
                    fill_threes(&log, 23);
                    assert_eq!(values(&log), upto(23), "{case}");
                    let backwards: Vec<Offset> = log
                        .records_reversed(..)
                        .expect("a range")
                        .map(|record| record.expect("whole").offset())
                        .collect();
                    assert!(backwards.iter().rev().copied().eq((0..23).map(at)), "{case}");
                    log.close().expect("a healthy disk");
                    let log = opened(&disk, config.clone());
                    assert_eq!(log.recovery_report().trust, Trust::Clean);
                    log.truncate_to(at(cut)).expect("right after opening");
                    assert_eq!(values(&log), upto(cut), "{case}");
                }
            }
        }
    }
}

// Rows 280, 282.
#[test]
fn at_and_above_the_end_nothing_is_removed_and_what_is_there_becomes_durable() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..7);
    for end in [7, 8, u64::MAX >> 1] {
        log.truncate_to(at(end)).expect("no error");
        assert_eq!(log.truncate_to_batch(at(end)).expect("no error"), at(7));
        assert_eq!((values(&log), log.synced_offset()), (upto(7), at(7)));
    }
    assert_eq!(values(&opened(&after_power_cut(&disk), small())), upto(7));
}

// Row 280.
#[test]
fn below_the_start_is_an_error_that_names_the_bounds_and_at_the_start_the_log_becomes_empty() {
    let disk = disk();
    let log = opened(&disk, small());
    log.reset_to(at(100)).expect("a healthy disk");
    fill(&log, 0..9);
    for refused in [log.truncate_to(at(99)), log.truncate_to_batch(at(0)).map(drop)] {
        let error = refused.expect_err("below the start");
        let named = matches!(error, Error::OffsetOutOfRange { asked, start, end }
            if asked < start && start == at(100) && end == at(109));
        assert!(named, "{error}");
        assert_eq!(error.kind(), ErrorKind::Usage);
    }
    log.truncate_to(at(100)).expect("at the start");
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (at(100), at(100)));
    assert_eq!(bases(&log), [100]);
    fill(&log, 0..1);
    assert_eq!(values(&log), [0]);
}

// Row 283.
#[test]
fn a_log_begins_anew_at_any_offset() {
    for config in sealed_slot(&small()) {
        for start in [0, 3, 4, 5, 7, 100] {
            let disk = disk();
            let log = opened(&disk, config.clone());
            fill(&log, 0..7);
            log.sync().expect("a healthy disk");
            log.reset_to(at(start)).expect("a healthy disk");
            let bounds = |log: &Log| (log.log_start_offset(), log.log_end_offset(), log.synced_offset());
            assert_eq!(bounds(&log), (at(start), at(start), at(start)));
            assert_eq!((values(&log), bases(&log)), (vec![], vec![start]));
            assert_eq!(bounds(&opened(&after_power_cut(&disk), config.clone())), (at(start), at(start), at(start)));
            assert!(
                names(&disk)
                    .iter()
                    .all(|name| !name.ends_with(".log")
                        || *name == log_path(start).file_name().unwrap().to_str().unwrap())
            );
            fill(&log, 0..4);
            assert_eq!(values(&log), upto(4));
            assert_eq!(log.log_end_offset(), at(start + 4));
            log.close().expect("a healthy disk");
            assert_eq!(values(&opened(&disk, config.clone())), upto(4));
        }
    }
    assert!(matches!(opened(&disk(), small()).reset_to(Offset::MAX), Err(Error::OffsetsExhausted)));
}

#[test]
fn between_batches_only_a_batch_that_holds_the_end_goes_whole() {
    for codec in codecs() {
        for end in 0..=20 {
            let disk = disk();
            let log = opened(&disk, threes(codec));
            fill_threes(&log, 20);
            let expected = if end == 20 { 20 } else { end / 3 * 3 };
            assert_eq!(log.truncate_to_batch(at(end)).expect("within the log"), at(expected));
            assert_eq!(values(&log), upto(expected));
            fill_threes(&log, 23);
            assert_eq!(values(&opened(&disk.crash(CrashStrength::Kill), threes(codec))), upto(23));
        }
    }
}

/// A log with gaps: batches of one record at these offsets, as compaction leaves them.
fn with_gaps(disk: &SimDisk, offsets: &[u64]) -> Log {
    let mut bytes = Vec::new();
    for &offset in offsets {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(Record::value(&text(offset))).expect("a record");
        let batch = builder.finish(&BatchStamp::default()).expect("a small batch");
        set_base_offset(batch, at(offset));
        bytes.extend_from_slice(batch);
    }
    disk.write_file(log_path(0), bytes);
    opened(disk, large())
}

// Row 125.
#[test]
fn in_a_gap_what_lies_below_stays_and_the_batch_behind_goes() {
    for (cut, kept) in [(3, &[0, 2][..]), (4, &[0, 2]), (7, &[0, 2]), (8, &[0, 2, 7]), (1, &[0])] {
        let disk = disk();
        let log = with_gaps(&disk, &[0, 2, 7, 9]);
        assert_eq!(values(&log), [0, 2, 7, 9]);
        log.truncate_to(at(cut)).expect("within the log");
        assert_eq!((values(&log), log.log_end_offset()), (kept.to_vec(), at(cut)));
        assert_eq!(append(&log, 50).expect("there is room").base_offset(), at(cut));
        log.sync().expect("a healthy disk");
        let log = opened(&after_power_cut(&disk), large());
        assert_eq!(values(&log), [kept, &[50]].concat());
        assert_eq!(log.truncate_to_batch(at(cut)).expect("within the log"), at(cut));
    }
}

// Rows 113, 281.
#[test]
fn a_truncated_segment_has_room_in_its_indexes_again() {
    let disk = disk();
    let config = large().segment_index_bytes(60);
    let log = opened(&disk, config);
    fill(&log, 0..20);
    let rolled = bases(&log);
    assert!(rolled.len() > 1, "full indexes roll");
    log.truncate_to(at(2)).expect("within the log");
    let before = log.stats().rolls;
    fill(&log, 2..5);
    assert_eq!((log.stats().rolls, bases(&log)), (before, vec![0]));
    log.truncate_to(at(0)).expect("within the log");
    fill(&log, 0..20);
    assert_eq!(bases(&log), rolled, "as the first time");
}

// Row 284.
#[test]
fn the_recovery_point_is_lowered_with_the_log() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..9);
    log.sync().expect("a healthy disk");
    log.truncate_to(at(3)).expect("within the log");
    assert_eq!(log.recovery_point(), at(3));
    assert_eq!(bases(&log), [0, 2]);
    let after = after_power_cut(&disk);
    assert_eq!(opened(&after, small()).recovery_point(), at(3));
}

#[test]
fn in_place_if_nobody_can_notice_and_else_by_replacement() {
    type Holder = fn(&Log) -> Box<dyn std::any::Any>;
    let holders: [(Holder, bool); 7] = [
        (|_| Box::new(()), true),
        (|log| Box::new(log.reader()), true),
        (|log| Box::new(log.records(..).map(|mut records| (records.next(), records)).unwrap()), false),
        (|log| Box::new(log.records_reversed(..).map(|mut records| (records.next(), records)).unwrap()), false),
        (|log| Box::new(log.read(at(0), 1).unwrap()), false),
        (|log| Box::new(send(log, 0, 1)), true),
        (|log| Box::new(send(log, 3, 1)), false),
    ];
    for (number, (holder, in_place)) in holders.into_iter().enumerate() {
        let disk = disk();
        let log = opened(&disk, large());
        fill(&log, 0..6);
        let held = holder(&log);
        let renamed = disk.calls(CallKind::Rename);
        disk.set_tracing(true);
        log.truncate_to(at(3)).expect("within the log");
        let cuts =
            disk.trace().iter().filter(|entry| entry.call == CallKind::SetLen && entry.path == log_path(0)).count();
        let renames = disk
            .trace()
            .iter()
            .filter(|entry| {
                entry.call == CallKind::Rename && entry.path.ends_with("00000000000000000000.log.truncating")
            })
            .count();
        assert_eq!((cuts == 1, renames == 1), (in_place, !in_place), "holder {number}, {renamed}");
        fill(&log, 3..9);
        assert_eq!(values(&log), upto(9));
        drop(held);
    }
    // What was there when the log was opened may be on its way from an earlier life of the process.
    let disk = disk();
    fill(&opened(&disk, large()), 0..4);
    let log = opened(&disk, large());
    disk.reset_counters();
    log.truncate_to(at(2)).expect("within the log");
    assert!(disk.calls(CallKind::SetLen) == 0 && disk.calls(CallKind::Rename) > 0);
}

/// Sends without reading, and keeps both ends.
fn send(log: &Log, from: u64, max_bytes: u64) -> (UnixStream, UnixStream) {
    let (sender, receiver) = UnixStream::pair().expect("a pair");
    log.send_to(&sender, at(from), max_bytes).expect("a live receiver");
    (sender, receiver)
}

#[test]
fn what_was_sent_arrives_as_it_was_whatever_is_cut_and_appended() {
    for codec in codecs() {
        for cut in 0..12 {
            let disk = disk();
            let log = opened(&disk, large().compression(codec));
            fill_threes(&log, 12);
            let before = disk.read_file(log_path(0)).expect("a segment");
            let (sender, mut receiver) = send(&log, 0, u64::MAX);
            // The disk itself objects to a change of what was sent.
            log.truncate_to(at(cut)).expect("within the log");
            fill_threes(&log, 20);
            log.sync().expect("a healthy disk");
            drop(sender);
            let mut received = Vec::new();
            receiver.read_to_end(&mut received).expect("the rest");
            assert!(received == before);
        }
    }
}

#[test]
fn slices_and_iterators_show_the_old_content_or_say_that_it_was_cut_off() {
    for in_between in [0, 20] {
        for taken in 0..12 {
            let disk = disk();
            let log = opened(&disk, threes(Compression::None));
            fill_threes(&log, 12);
            let slice = log.read(at(6), u64::MAX).expect("in the log");
            let mut forwards = log.records(..).expect("a range");
            let mut backwards = log.records_reversed(..).expect("a range");
            let taken_forwards: Vec<u64> = forwards.by_ref().take(taken).map(value).collect();
            let taken_backwards: Vec<u64> = backwards.by_ref().take(taken).map(value).collect();
            log.truncate_to(at(5)).expect("within the log");
            for number in 5..in_between {
                append(&log, 1000 + number).expect("there is room");
            }
            assert_eq!(slice.records().map(value).collect::<Vec<_>>(), (6..12).collect::<Vec<_>>());
            let new: Vec<u64> = values(&log).into_iter().take(12).collect();
            judge(taken_forwards, forwards, &upto(12), &new);
            let reversed = |list: &[u64]| list.iter().rev().copied().collect::<Vec<_>>();
            judge(taken_backwards, backwards, &reversed(&upto(12)), &reversed(&new));
        }
    }
}

fn value(record: crate::error::Result<crate::record::StoredRecord>) -> u64 {
    super::bench::number(record.expect("a readable record").value())
}

/// What an iterator gave before a truncation and after it must be of the old log, or of the new one, or end in an error.
fn judge(
    taken: Vec<u64>,
    rest: impl Iterator<Item = crate::error::Result<crate::record::StoredRecord>>,
    old: &[u64],
    new: &[u64],
) {
    let mut all = taken;
    for record in rest {
        match record {
            Ok(record) => all.push(super::bench::number(record.value())),
            Err(Error::Truncated { .. }) => {
                assert!(old.starts_with(&all), "{all:?}");
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(all == old || all == new, "{all:?} is neither {old:?} nor {new:?}");
}

#[test]
fn who_waits_for_what_is_cut_off_is_told_so_and_who_waits_for_less_is_not() {
    let disk = disk();
    let log = opened(&disk, large());
    fill(&log, 0..6);
    let answers = Arc::new(Mutex::new(Vec::new()));
    for end in [2, 4, 6] {
        let answers = Arc::clone(&answers);
        log.on_synced(at(end), move |answer| answers.lock().push((end, answer))).expect("accepted");
    }
    log.truncate_to(at(4)).expect("within the log");
    log.run_once(Timestamp::from_millis(0)).expect("a healthy disk");
    let mut told = std::mem::take(&mut *answers.lock());
    told.sort_by_key(|(end, _)| *end);
    assert!(
        matches!(&told[..], [(2, Ok(_)), (4, Ok(_)), (6, Err(Error::Truncated { asked, end }))]
            if *asked == at(6) && *end == at(4)),
        "{told:?}"
    );
    assert!(matches!(log.sync_to(at(6)), Err(Error::OffsetOutOfRange { .. })));
    // As an appender of an earlier generation asks.
    let generation = log.shared().core.generation();
    fill(&log, 4..7);
    log.truncate_to(at(5)).expect("within the log");
    fill(&log, 5..9);
    log.sync().expect("a healthy disk");
    assert!(matches!(log.shared().sync_appended(at(6), generation), Err(Error::Truncated { .. })), "not the new ones");
    log.shared().sync_appended(at(5), generation).expect("it was never cut off");
}

#[test]
fn under_always_what_is_cut_off_was_never_seen_or_was_durable() {
    let disk = disk();
    let log = opened(&disk, threes(Compression::None).sync_policy(SyncPolicy::Always));
    fill_threes(&log, 12);
    log.truncate_to(at(7)).expect("within the log");
    assert_eq!((values(&log), log.synced_offset()), (upto(7), at(7)));
    let expecting = AppendOptions::default().expect_log_end(at(7));
    log.append_with(&expecting, &[Record::value(&text(7))]).expect("it ends there");
    assert_eq!(values(&opened(&after_power_cut(&disk), large())), upto(8));
}

#[test]
fn a_closed_log_and_a_damaged_one_are_not_truncated() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..5);
    log.close().expect("a healthy disk");
    assert!(matches!(log.truncate_to(at(1)), Err(Error::Closed)));
    assert!(matches!(log.reset_to(at(1)), Err(Error::Closed)));
    drop(log);
    disk.flip_bit(log_path(2), 70, 1);
    disk.remove(super::bench::state_path());
    let log = opened(&disk, small());
    assert!(matches!(log.truncate_to(at(1)), Err(Error::Damaged { .. })));
    assert!(matches!(log.reset_to(at(1)), Err(Error::Damaged { .. })));
}

// Story: a state whose log start lay above its log end was written when a log began anew whose first segment reached
// below its start; that was a panic, under the locks.
#[test]
fn a_log_that_begins_inside_its_first_segment_begins_anew_at_any_offset() {
    for start in [0, 1, 3, 50] {
        let disk = disk();
        let log = opened(&disk, small());
        fill(&log, 0..8);
        assert_eq!(log.delete_records_before(at(3)).expect("in the log"), at(3));
        log.reset_to(at(start)).expect("a healthy disk");
        fill(&log, 0..3);
        assert_eq!((log.log_start_offset(), values(&log)), (at(start), upto(3)));
        log.close().expect("a healthy disk");
        assert_eq!(values(&opened(&disk, small())), upto(3));
    }
}

// Story: after a log began anew below where it had begun, the writer went by the old first segment and the old log start:
// the mark stood still, a clean close was none, and files were deleted before the new log start was durable.
#[test]
fn a_log_that_begins_anew_lower_down_deletes_and_closes_as_any_other() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..8);
    log.delete_records_before(at(6)).expect("in the log");
    log.reset_to(at(0)).expect("a healthy disk");
    fill(&log, 0..8);
    log.sync().expect("a healthy disk");
    log.delete_records_before(at(3)).expect("in the log");
    let image = disk.image(CrashStrength::Strict, |_, _| 0);
    let recovered = opened(&image, small());
    assert_eq!(recovered.log_start_offset(), at(3));
    assert_eq!(values(&recovered), [3, 4, 5, 6, 7]);
    log.close().expect("a healthy disk");
    assert_eq!(opened(&disk, small()).recovery_report().trust, Trust::Clean);
}

// Story: deletion had put the log start into the first segment, or into a batch. To begin anew, or to truncate there,
// lowered the mark below the log start, which the state refuses to say: the caller's thread panicked.
#[test]
fn a_log_that_starts_within_a_segment_or_a_batch_is_begun_anew_and_truncated() {
    for (batch, reset) in [(1, true), (3, true), (1, false), (3, false)] {
        for start in 0..=4 {
            let disk = disk();
            let log = opened(&disk, large());
            if batch == 3 {
                fill_threes(&log, 6);
            } else {
                fill(&log, 0..6);
            }
            log.sync().expect("a healthy disk");
            log.delete_records_before(at(start)).expect("a healthy disk");
            let begin =
                if reset { log.reset_to(at(9)).map(|()| 9) } else { log.truncate_to(at(start)).map(|()| start) };
            let begin = begin.expect("a healthy disk");
            assert_eq!((log.log_end_offset(), values(&log)), (at(begin), upto(0)));
            fill(&log, [7]);
            log.sync().expect("a healthy disk");
            let found = opened(&after_power_cut(&disk), large());
            assert_eq!((found.log_end_offset(), values(&found)), (at(begin + 1), vec![7]));
        }
    }
}

#[test]
fn where_a_slice_ended_before_a_truncation_no_batch_need_begin_after_it() {
    for config in in_each_mode(&large().index_interval_bytes(4096)) {
        let disk = disk();
        let log = opened(&disk, config);
        fill(&log, 0..20);
        let slice = log.read(at(0), 500).expect("within the log");
        let next = slice.next_offset();
        assert!(at(1) < next && next < at(20));
        log.truncate_to(at(1)).expect("within the log");
        for _ in 1..20 {
            log.append(&[Record::value(&[7; 333])]).expect("there is room");
        }
        let slice = log.read(next, 2000).expect("within the log");
        let found: Vec<_> = slice.records().map(|record| record.expect("sound").offset()).collect();
        assert_eq!(found.first(), Some(&next), "{found:?}");
    }
}
