//! Finding records by their time, compared with a search through a plain list of offsets and times.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bench::{DIR, at, bases, disk, log_path, open, opened, path, small};
use super::model::Chance;
use crate::config::LogConfig;
use crate::error::Error;
use crate::fs::sim::{CallKind, CrashStrength, SimDisk};
use crate::log::core::Bounds;
use crate::log::report::RecoveryReport;
use crate::log::{AppendOptions, Log, ReadUpTo, Reader};
use crate::names::SegmentFile;
use crate::offset::{Offset, Timestamp};
use crate::record::{BatchBuilder, BatchStamp, Compression, Record, TimestampType};

const NOW: i64 = 1_000_000;
const NONE: i64 = -1;

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A log and the time of each of its records, −1 for none.
struct Timed {
    disk: SimDisk,
    log: Log,
    config: LogConfig,
    times: Vec<i64>,
    start: u64,
}

impl Timed {
    fn new(config: LogConfig) -> Timed {
        let disk = disk();
        disk.set_wall_clock(time(NOW));
        Timed { log: opened(&disk, config.clone()), disk, config, times: Vec::new(), start: 0 }
    }

    /// One batch, of records with these times.
    fn append(&mut self, times: &[i64]) {
        let records: Vec<_> = times.iter().map(|&millis| Record::value("v").timestamp(time(millis))).collect();
        self.log.append(&records).expect("there is room");
        let stamped = self.config.message_timestamp_type == TimestampType::LogAppendTime;
        self.times.extend(times.iter().map(|&millis| if stamped { NOW } else { millis }));
    }

    /// One batch as a client sends it, whose records have no time.
    fn append_timeless(&mut self, count: usize) {
        let mut builder = BatchBuilder::new(self.config.compression);
        for _ in 0..count {
            builder.push(Record::value("v")).expect("a sound record");
        }
        let stamp = BatchStamp { now: time(NONE), ..BatchStamp::default() };
        let batch = builder.finish(&stamp).expect("a small batch").to_vec();
        self.log.append_batch(&AppendOptions::default(), &batch).expect("there is room");
        let stamped = self.config.message_timestamp_type == TimestampType::LogAppendTime;
        self.times.extend(std::iter::repeat_n(if stamped { NOW } else { NONE }, count));
    }

    /// Deletes nothing, but lets the log begin later.
    fn begin_at(&mut self, start: u64) {
        self.start = start;
        let core = &self.log.shared().core;
        let segments: BTreeMap<_, _> =
            core.all_segments().into_iter().map(|segment| (segment.base(), segment)).collect();
        let bounds = Bounds {
            log_start: at(start),
            log_end: core.log_end(),
            synced: core.synced(),
            gaps_allowed: core.gaps_allowed(),
        };
        core.install(segments, bounds, RecoveryReport::default());
    }

    fn close_and_open(&mut self) {
        self.log.close().expect("the log closes");
        self.log = opened(&self.disk, self.config.clone());
        self.start = self.log.log_start_offset().value();
    }

    fn crash(&mut self) {
        self.disk = self.disk.crash(CrashStrength::Kill);
        self.log = opened(&self.disk, self.config.clone());
        self.times.truncate(usize::try_from(self.log.log_end_offset().value()).expect("a short log"));
        self.start = self.log.log_start_offset().value();
    }

    /// The records that a reader may see.
    fn seen(&self, end: Offset) -> impl Iterator<Item = (u64, i64)> + Clone {
        let numbered = (0..).zip(self.times.iter().copied());
        let (start, end) = (self.start, end.value());
        numbered.filter(move |&(offset, millis)| (start..end).contains(&offset) && millis != NONE)
    }

    fn check(&self, reader: &Reader, asked: &[i64], story: &str) {
        let seen = self.seen(reader.log_end_offset());
        for &millis in asked {
            let found = reader.offset_for_timestamp(time(millis)).unwrap_or_else(|error| panic!("{story}: {error}"));
            let expected = seen.clone().find(|&(_, found)| found >= millis);
            assert_eq!(found, expected.map(|(offset, found)| (at(offset), time(found))), "{story}: {millis}");
        }
        let largest = reader.max_timestamp().unwrap_or_else(|error| panic!("{story}: {error}"));
        let expected = seen.reduce(|best, next| if next.1 > best.1 { next } else { best });
        assert_eq!(largest, expected.map(|(offset, found)| (at(offset), time(found))), "{story}: the largest");
    }

    fn check_all(&self, story: &str) {
        let mut asked: Vec<i64> = self.times.iter().flat_map(|&millis| [millis - 1, millis, millis + 1]).collect();
        asked.extend([i64::MIN, -1, 0, i64::MAX]);
        asked.sort_unstable();
        asked.dedup();
        self.check(&self.log.reader(), &asked, story);
        self.check(&self.log.reader().up_to(ReadUpTo::Synced), &asked, story);
    }
}

fn codecs() -> Vec<Compression> {
    Compression::ALL.into_iter().filter(|codec| codec.is_available()).collect()
}

fn config_of(chance: &mut Chance) -> LogConfig {
    small()
        .segment_bytes(chance.pick(&[300, 1000, 4000]))
        .index_interval_bytes(chance.pick(&[0, 100, 4096]))
        .segment_index_bytes(chance.pick(&[24, 4096]))
        .max_open_segments(chance.pick(&[1, 256]))
        .compression(chance.pick(&codecs()))
        .message_timestamp_type(chance.pick(&[
            TimestampType::CreateTime,
            TimestampType::CreateTime,
            TimestampType::CreateTime,
            TimestampType::LogAppendTime,
        ]))
}

/// Times that rise, fall, repeat, or come as they like.
fn times_of(chance: &mut Chance, last: i64) -> Vec<i64> {
    let manner = chance.below(5);
    (0..=chance.below(4))
        .map(|n| {
            let (n, by) = (n.cast_signed(), chance.below(20).cast_signed());
            match manner {
                0 => last + n + by,
                1 => (last - n - by).max(0),
                2 => last,
                _ => chance.below(200).cast_signed(),
            }
        })
        .collect()
}

// Rows 70, 116, 120, 242.
#[test]
fn whatever_its_times_a_log_is_searched_as_a_list_would_be() {
    for seed in 0..120 {
        let mut chance = Chance::new(seed);
        let mut log = Timed::new(config_of(&mut chance));
        for step in 0..40 {
            let story = format!("seed {seed}, step {step}");
            match chance.below(16) {
                0 => log.append_timeless(1 + chance.index(3)),
                1 => drop(log.log.roll().expect("there is room")),
                2 => drop(log.log.sync().expect("the disk is sound")),
                3 => log.close_and_open(),
                4 => log.crash(),
                5 if !log.times.is_empty() => {
                    let start = log.start.max(chance.below(log.times.len() as u64 + 1));
                    log.begin_at(start);
                }
                _ => {
                    let last = log.times.last().copied().unwrap_or(100).clamp(0, NOW);
                    let times = times_of(&mut chance, last);
                    log.append(&times);
                }
            }
            if chance.one_in(6) {
                log.check_all(&story);
            }
        }
        log.check_all(&format!("seed {seed}, the end"));
        let reader = Log::open_read_only_in(&crate::fs::Env::sim(&log.disk), DIR.as_ref()).expect("a log");
        log.start = reader.log_start_offset().value();
        log.check(&reader, &[0, 50, 100, 150, 200, NOW, NOW + 1], &format!("seed {seed}, read only"));
    }
}

// Row 243.
#[test]
fn in_an_empty_log_no_time_is_found() {
    let log = Timed::new(small());
    log.check_all("new");
    assert_eq!(log.log.offset_for_timestamp(time(0)).expect("an open log"), None);
    assert_eq!(log.log.max_timestamp().expect("an open log"), None);
    log.log.close().expect("the log closes");
    assert!(matches!(log.log.offset_for_timestamp(time(0)), Err(Error::Closed)));
    assert!(matches!(log.log.max_timestamp(), Err(Error::Closed)));
}

// Row 116.
#[test]
fn a_time_leads_to_the_first_record_that_has_it_or_a_later_one() {
    let mut log = Timed::new(small());
    for n in 0..30 {
        log.append(&[1000 + 10 * n, 1001 + 10 * n]);
    }
    let found = |millis| log.log.offset_for_timestamp(time(millis)).expect("an open log");
    for (millis, expected) in [
        (i64::MIN, Some((0, 1000))),
        (0, Some((0, 1000))),
        (1000, Some((0, 1000))),
        (1001, Some((1, 1001))),
        (1002, Some((2, 1010))),
        (1151, Some((31, 1151))),
        (1152, Some((32, 1160))),
        (1291, Some((59, 1291))),
        (1292, None),
        (i64::MAX, None),
    ] {
        assert_eq!(found(millis), expected.map(|(offset, millis)| (at(offset), time(millis))), "{millis}");
    }
}

// Row 242.
#[test]
fn of_equally_late_records_the_first_one_is_the_latest_not_one_of_the_last_batch() {
    let mut log = Timed::new(small());
    for times in [[5, 9, 9], [9, 9, 1], [9, 2, 9], [3, 3, 3]] {
        log.append(&times);
    }
    assert_eq!(log.log.max_timestamp().expect("an open log"), Some((at(1), time(9))));
    log.begin_at(2);
    assert_eq!(log.log.max_timestamp().expect("an open log"), Some((at(2), time(9))));
    log.begin_at(9);
    assert_eq!(log.log.max_timestamp().expect("an open log"), Some((at(9), time(3))));
}

// Rows 168, 169.
#[test]
fn under_log_append_time_the_batch_has_one_time_and_its_first_record_is_found_by_it() {
    for codec in codecs() {
        let config = small().compression(codec).message_timestamp_type(TimestampType::LogAppendTime);
        let mut log = Timed::new(config);
        log.append(&[5, 7, 6]);
        log.append_timeless(2);
        log.disk.advance(Duration::from_millis(3));
        let now = log.disk_now();
        let appended = log.log.append(&[Record::value("v").timestamp(time(1)), Record::value("w")]).expect("room");
        assert_eq!((appended.timestamp(), appended.next_offset()), (Some(now), at(7)), "{codec}");
        assert_eq!(log.log.offset_for_timestamp(time(NOW)).expect("open"), Some((at(0), time(NOW))), "{codec}");
        assert_eq!(log.log.offset_for_timestamp(time(NOW + 1)).expect("open"), Some((at(5), now)), "{codec}");
        log.log.roll().expect("there is room");
        // The entry that the index got at the roll: the largest time, and the last offset of the batch that has it.
        log.log.sync().expect("the disk is sound");
        let index = log
            .disk
            .read_file(path(*bases(&log.log).iter().rev().nth(1).expect("two segments"), SegmentFile::TimeIndex));
        let index = index.expect("an index");
        assert_eq!(index[index.len() - 12..][..8], now.as_millis().to_be_bytes(), "{codec}");
    }
}

impl Timed {
    fn disk_now(&self) -> Timestamp {
        crate::fs::Env::sim(&self.disk).wall_clock()
    }
}

// Rows 70, 96.
#[test]
fn messages_of_format_0_have_no_time_so_that_none_is_found_and_their_time_index_stays_empty() {
    let message = [
        &[0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 16, 0x1f, 0xec, 0xd7, 0x0a, 0, 0, 0, 0, 0, 1][..],
        b"k",
        &[0, 0, 0, 1],
        b"v",
    ]
    .concat();
    let disk = disk();
    disk.create_dir_all(DIR);
    disk.write_file(log_path(5), message);
    disk.write_file(path(5, SegmentFile::TimeIndex), [0xa5; 24]);
    let check = |reader: &Reader| {
        for millis in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(reader.offset_for_timestamp(time(millis)).expect("a sound log"), None, "{millis}");
        }
        assert_eq!(reader.max_timestamp().expect("a sound log"), None);
        assert_eq!(reader.log_end_offset(), at(6));
    };
    check(&Log::open_read_only_in(&crate::fs::Env::sim(&disk), DIR.as_ref()).expect("a log"));
    let log = opened(&disk, small());
    check(&log.reader());
    log.roll().expect("there is room");
    log.sync().expect("the disk is sound");
    assert_eq!(disk.read_file(path(5, SegmentFile::TimeIndex)).expect("an index"), Vec::<u8>::new());
    check(&log.reader());
}

// Row 116.
#[test]
fn segments_that_end_before_the_time_are_not_opened_a_second_time_and_their_logs_are_not_read() {
    let mut log = Timed::new(small());
    for n in 0..60 {
        log.append(&[10 * n, 10 * n + 1]);
    }
    log.close_and_open();
    let bases = bases(&log.log);
    log.close_and_open();
    assert!(bases.len() > 15, "{bases:?}");
    let found = Some((at(100), time(500)));
    log.disk.reset_counters();
    assert_eq!(log.log.offset_for_timestamp(time(492)).expect("an open log"), found);
    let read: Vec<u64> = bases.iter().copied().filter(|&base| log.disk.bytes_read(log_path(base)) > 0).collect();
    assert_eq!(read.len(), 1, "only the segment that holds it is read: {read:?}");
    log.disk.reset_counters();
    assert_eq!(log.log.offset_for_timestamp(time(492)).expect("an open log"), found);
    assert_eq!((log.disk.calls(CallKind::Open), log.disk.calls(CallKind::ReadAt)), (0, 1));
    assert_eq!(log.log.offset_for_timestamp(time(592)).expect("an open log"), None);
    assert_eq!(log.disk.calls(CallKind::ReadAt), 1, "that nothing is so late is known without a look at any file");
}

#[test]
fn an_index_that_lies_about_times_is_found_out_by_the_batch_it_leads_to() {
    let mut log = Timed::new(small().segment_bytes(1 << 20));
    for n in 0..40 {
        log.append(&[10 * n, 10 * n + 1]);
    }
    log.log.roll().expect("there is room");
    log.append(&[1000]);
    log.log.close().expect("the log closes");
    let index = path(0, SegmentFile::TimeIndex);
    let sound = log.disk.read_file(&index).expect("an index");
    // Entries that name times that are too early for their offsets, but for the last one.
    let mut lying = sound.clone();
    for (entry, millis) in lying.chunks_exact_mut(12).zip(0_i64..).take(sound.len() / 12 - 1) {
        entry[..8].copy_from_slice(&millis.to_be_bytes());
    }
    log.disk.write_file(&index, lying);
    log.log = opened(&log.disk, log.config.clone());
    log.check_all("an index that lies");
}

#[test]
fn a_time_that_may_lie_in_a_damaged_range_is_an_error_and_one_before_it_is_not() {
    let mut log = Timed::new(small().segment_bytes(1000));
    for n in 0..40 {
        log.append(&[10 * n, 10 * n + 1]);
    }
    let bases = bases(&log.log);
    let damaged = bases[1];
    log.log.close().expect("the log closes");
    log.disk.flip_bit(log_path(damaged), 70, 3);
    let is_damage = |answer: crate::error::Result<_>| matches!(answer, Err(Error::Corrupt { .. }));

    // Nobody knows of the damage until the batch is read, and it claims the times that it had.
    log.log = opened(&log.disk, log.config.clone());
    let first = 5 * i64::try_from(damaged).expect("a small offset");
    assert!(is_damage(log.log.offset_for_timestamp(time(first))));
    assert_eq!(
        log.log.offset_for_timestamp(time(first - 9)).expect("before it"),
        Some((at(damaged - 1), time(first - 9)))
    );
    let behind = Some((at(damaged + 2), time(first + 10)));
    assert_eq!(log.log.offset_for_timestamp(time(first + 2)).expect("behind it"), behind);
    assert_eq!(log.log.reader().skip_damaged().offset_for_timestamp(time(first)).expect("skipped"), behind);
    log.log.close().expect("the log closes");

    // An opening that reads everything knows the range, and nothing of what was in it.
    log.disk.remove(super::bench::state_path());
    log.log = opened(&log.disk, log.config.clone());
    assert_eq!(log.log.recovery_report().damage.len(), 1);
    for millis in [first, first + 2, 390] {
        assert!(is_damage(log.log.offset_for_timestamp(time(millis))), "{millis}");
    }
    assert!(is_damage(log.log.max_timestamp()));
    assert_eq!(
        log.log.offset_for_timestamp(time(first - 9)).expect("before it"),
        Some((at(damaged - 1), time(first - 9)))
    );
    let reader = log.log.reader().skip_damaged();
    assert_eq!(reader.offset_for_timestamp(time(first)).expect("skipped"), behind);
    assert_eq!(reader.offset_for_timestamp(time(391)).expect("skipped"), Some((at(79), time(391))));
    assert_eq!(reader.max_timestamp().expect("skipped"), Some((at(79), time(391))));
}

#[test]
fn a_segment_that_is_gone_without_having_been_deleted_is_damage() {
    let mut log = Timed::new(small());
    for n in 0..20 {
        log.append(&[n]);
    }
    let base = bases(&log.log)[2];
    log.close_and_open();
    log.disk.remove(log_path(base));
    let millis = i64::try_from(base).expect("a small offset");
    assert!(matches!(log.log.offset_for_timestamp(time(millis)), Err(Error::Corrupt { .. })));
    assert_eq!(log.log.offset_for_timestamp(time(0)).expect("another segment"), Some((at(0), time(0))));
    log.begin_at(base + 5);
    assert_eq!(log.log.offset_for_timestamp(time(0)).expect("above"), Some((at(base + 5), time(millis + 5))));
}

#[test]
fn a_full_index_and_one_that_is_gone_change_no_answer() {
    let mut log = Timed::new(small());
    for n in 0..40 {
        log.append(&[n * 7 % 50, n]);
    }
    let bases = bases(&log.log);
    log.log.close().expect("the log closes");
    for (n, &base) in bases.iter().rev().skip(1).enumerate() {
        if n % 2 == 0 {
            log.disk.remove(path(base, SegmentFile::TimeIndex));
        } else {
            log.disk.remove(path(base, SegmentFile::OffsetIndex));
        }
    }
    log.log = open(&log.disk, log.config.clone()).expect("sealed indexes are opened when they are asked");
    log.check_all("without indexes");
}
