//! What users, clients and strangers may hand in: numbers at their bounds, batches that lie, files that were changed.

use std::ops::Bound;

use super::bench::{DIR, append, at, disk, files, fill, log_path, names, opened, small, state_path, upto, values};
use crate::config::{LogConfig, OnDamage};
use crate::error::{Error, ErrorKind};
use crate::fs::sim::SimDisk;
use crate::log::{AppendOptions, Log};
use crate::offset::Offset;
use crate::record::{BatchBuilder, BatchHeader, BatchStamp, Compression, Record, set_base_offset};

fn batch(records: u64, compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    (0..records).for_each(|_| builder.push(Record::value("v")).expect("a sound record"));
    builder.finish(&BatchStamp::default()).expect("a small batch").to_vec()
}

/// The batch with another header, whose checksum is right.
fn forged(mut batch: Vec<u8>, change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut header = BatchHeader::parse(&batch).expect("a sound header");
    change(&mut header);
    let head = header.seal(&batch[61..]);
    batch[..61].copy_from_slice(&head);
    batch
}

#[test]
fn numbers_at_their_bounds_are_answered() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..5);
    for beyond in [Offset::MAX, at(u64::MAX), at(u64::MAX - 1), at(6)] {
        let out_of_range = |error: Error| matches!(error, Error::OffsetOutOfRange { .. });
        assert!(out_of_range(log.read(beyond, 1).expect_err("beyond the end")));
        assert!(out_of_range(log.records(beyond..).expect_err("beyond the end")));
        assert!(out_of_range(log.records_reversed(beyond..).expect_err("beyond the end")));
        assert!(out_of_range(log.sync_to(beyond).expect_err("beyond the end")));
        assert!(out_of_range(log.on_synced(beyond, |_| {}).expect_err("beyond the end")));
        let options = AppendOptions::default().expect_log_end(beyond);
        let refused = log.append_with(&options, &[Record::value("v")]).expect_err("the log ends elsewhere");
        assert_eq!(refused.kind(), ErrorKind::Usage, "{refused}");
        assert_eq!(log.records(..=beyond).expect("a range").count(), 5);
        assert_eq!(log.records(..beyond).expect("a range").count(), 5);
        assert_eq!(log.records_reversed(..=beyond).expect("a range").count(), 5);
        let after = (Bound::Excluded(beyond), Bound::Unbounded);
        assert!(out_of_range(log.records(after).expect_err("beyond the end")));
    }
    assert_eq!(log.records(at(4)..at(2)).expect("an empty range").count(), 0);
    assert_eq!(log.records_reversed(at(4)..at(2)).expect("an empty range").count(), 0);
    for bytes in [0, 1, u64::MAX] {
        assert!(log.read(at(0), bytes).expect("readable").records().count() >= 1);
    }
    assert_eq!(log.read(at(5), 0).expect("the end").records().count(), 0);
}

#[test]
fn a_log_that_ends_with_the_last_offset_of_all_takes_no_more_and_opens_again() {
    let disk = disk();
    let mut last = batch(1, Compression::None);
    set_base_offset(&mut last, at(Offset::MAX.value() - 1));
    disk.create_dir_all(DIR);
    disk.write_file(log_path(Offset::MAX.value() - 1), last);
    let log = opened(&disk, small());
    let end = log.log_end_offset();
    assert_eq!(end, Offset::MAX);
    assert!(matches!(append(&log, 0), Err(Error::OffsetsExhausted)));
    drop(log.roll());
    drop(log.sync());
    assert_eq!(log.records(..).expect("a range").count(), 1);
    assert_eq!(log.records_reversed(..).expect("a range").count(), 1);
    drop(log.close());
    drop(log);
    for _ in 0..2 {
        let log = opened(&disk, small());
        assert_eq!(log.log_end_offset(), end);
        assert_eq!(log.records(..).expect("a range").count(), 1);
        drop(log.close());
    }
}

#[test]
fn damage_in_a_segment_of_the_last_base_offset_is_told() {
    for content in [Vec::new(), vec![7; 500], vec![0; 500]] {
        for on_damage in [OnDamage::Refuse, OnDamage::ServeRest, OnDamage::CutAsKafka] {
            let disk = disk();
            disk.create_dir_all(DIR);
            disk.write_file(log_path(Offset::MAX.value()), content.clone());
            if let Ok(log) = super::bench::open(&disk, small().on_damage(on_damage)) {
                drop(append(&log, 0));
                drop(log.roll());
                drop(log.close());
            }
            drop(super::bench::open(&disk, small()));
        }
    }
}

#[test]
fn batches_that_lie_change_nothing() {
    let disk = disk();
    let log = opened(&disk, small().segment_bytes(1 << 20));
    fill(&log, 0..3);
    log.sync().expect("a healthy disk");
    let before = files(&disk);
    let good = || batch(2, Compression::None);
    let most = |header: &mut BatchHeader| (header.count, header.last_offset_delta) = (i32::MAX, i32::MAX - 1);
    let mut hostile = vec![
        forged(good(), most),
        forged(good(), |header| header.count = i32::MAX),
        forged(good(), |header| header.last_offset_delta = i32::MAX),
        forged(good(), |header| (header.count, header.last_offset_delta) = (3, 2)),
        forged(good(), |header| (header.count, header.last_offset_delta) = (1, 0)),
        forged(good(), |header| header.offset_field = Offset::MAX),
        forged(good(), |header| header.attributes = 7),
        Vec::new(),
        vec![0; 100],
        vec![0xff; 100],
    ];
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        if codec.is_available() {
            hostile.push(forged(batch(2, codec), most));
            hostile.push(forged(batch(2, codec), |header| header.count = 0));
        }
    }
    for (at, value) in [(8, 0x7f), (8, 0xff), (11, 0), (11, 200), (16, 0), (16, 3), (17, 9)] {
        let mut broken = good();
        broken[at] = value;
        hostile.push(broken);
    }
    for (case, bad) in hostile.iter().enumerate() {
        for encoded in [bad.clone(), [good(), bad.clone()].concat(), [good(), bad.clone(), good()].concat()] {
            if bad.is_empty() && !encoded.is_empty() {
                continue;
            }
            let refused = log.append_batch(&AppendOptions::default(), &encoded);
            let error = refused.expect_err(&format!("case {case} lies"));
            assert_eq!(error.kind(), ErrorKind::Usage, "case {case}: {error}");
        }
    }
    assert_eq!(files(&disk), before);
    assert_eq!(log.log_end_offset(), at(3));
}

/// Every lookup is right, and the log goes on.
fn check_lookups(log: &Log, end: u64, case: &str) {
    assert_eq!(values(log), upto(end), "{case}");
    for offset in 0..end {
        let mut slice = log.read(at(offset), 700).unwrap_or_else(|error| panic!("{case}: {error}")).records();
        let first = slice.next().expect("a record").unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(first.offset(), at(offset), "{case}");
        let reversed = log.records_reversed(at(offset)..).expect("a range");
        let given: Vec<_> = reversed.map(|record| record.expect("readable").offset().value()).collect();
        assert_eq!(given, (offset..end).rev().collect::<Vec<_>>(), "{case}");
    }
}

const END: u64 = 30;

fn closed_log(config: &LogConfig) -> SimDisk {
    let disk = disk();
    let log = opened(&disk, config.clone());
    fill(&log, 0..END);
    log.close().expect("a healthy disk");
    drop(log);
    disk
}

#[test]
fn index_files_that_were_deleted_or_garbled_while_the_log_was_closed_mislead_nobody() {
    let config = small().segment_bytes(1200);
    let mut seed = 1_u64;
    let mut draw = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    };
    for round in 0..60 {
        let disk = closed_log(&config);
        let mut case = format!("round {round}");
        for name in names(&disk).into_iter().filter(|name| name.contains("index")) {
            let file = std::path::Path::new(DIR).join(&name);
            let mut bytes = disk.read_file(&file).expect("a file");
            let what = draw() % 6;
            case = format!("{case}, {name}: {what}");
            match what {
                0 => disk.remove(&file),
                1 => disk.write_file(&file, Vec::new()),
                2 => bytes.truncate(usize::try_from(draw()).expect("small") % (bytes.len() + 1)),
                3 => bytes.iter_mut().for_each(|byte| *byte = draw().to_le_bytes()[0]),
                4 => bytes
                    .iter_mut()
                    .for_each(|byte| *byte = if draw() % 4 == 0 { draw().to_le_bytes()[0] & 3 } else { *byte }),
                _ => bytes.extend([0; 24]),
            }
            if what > 1 {
                disk.write_file(&file, bytes);
            }
        }
        let log = opened(&disk, config.clone());
        check_lookups(&log, END, &case);
        fill(&log, END..END + 15);
        check_lookups(&log, END + 15, &case);
        log.close().unwrap_or_else(|error| panic!("{case}: {error}"));
        drop(log);
        check_lookups(&opened(&disk, config.clone()), END + 15, &case);
    }
}

#[test]
fn a_state_that_was_deleted_cut_or_is_another_logs_loses_no_record() {
    let config = small();
    let shorter = {
        let disk = disk();
        let log = opened(&disk, config.clone());
        fill(&log, 0..3);
        log.close().expect("a healthy disk");
        disk.read_file(state_path()).expect("a state")
    };
    let (fresh, unclean) = {
        let disk = disk();
        let log = opened(&disk, config.clone());
        let fresh = disk.read_file(state_path()).expect("a state");
        fill(&log, [77, 78, 79]);
        log.sync().expect("a healthy disk");
        (fresh, disk.read_file(state_path()).expect("a state"))
    };
    for (case, state) in
        [("none", None), ("shorter", Some(shorter)), ("fresh", Some(fresh)), ("unclean", Some(unclean))]
    {
        for cut in [false, true] {
            let disk = closed_log(&config);
            match &state {
                None => disk.remove(state_path()),
                Some(state) => disk.write_file(state_path(), if cut { &state[..100] } else { &state[..] }),
            }
            let log = opened(&disk, config.clone());
            assert!(log.recovery_report().damage.is_empty(), "{case}, {cut}: {:?}", log.recovery_report());
            check_lookups(&log, END, case);
            fill(&log, END..END + 5);
            log.close().expect("a healthy disk");
            drop(log);
            check_lookups(&opened(&disk, config.clone()), END + 5, case);
        }
    }
}
