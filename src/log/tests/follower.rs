//! Following: what a leader's log holds, taken over byte for byte.

use super::bench::{at, bases, disk, files, log_path, open, opened, small, state_path, text, upto, values};
use crate::config::{LogConfig, WhenFull, WriteMode};
use crate::error::{Error, ErrorKind, InvalidBatch, Result};
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk};
use crate::log::{AppendOptions, Log, ReadUpTo};
use crate::offset::Offset;
use crate::record::{BatchBuilder, BatchHeader, BatchStamp, Compression, Record, encode_empty, set_base_offset};
use crate::segment::MAX_RELATIVE_OFFSET;

fn large() -> LogConfig {
    small().segment_bytes(1 << 20)
}

/// A batch as a leader stored it.
fn stored(compression: Compression, base: u64, epoch: i32, records: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    for value in base..base + records {
        builder.push(Record::value(&text(value))).expect("a sound record");
    }
    let stamp = BatchStamp { leader_epoch: epoch, ..BatchStamp::default() };
    let mut batch = builder.finish(&stamp).expect("a small batch").to_vec();
    set_base_offset(&mut batch, at(base));
    batch
}

fn one(base: u64) -> Vec<u8> {
    stored(Compression::None, base, 0, 1)
}

fn all(bases: impl IntoIterator<Item = u64>) -> Vec<u8> {
    bases.into_iter().flat_map(one).collect()
}

/// A message of an old format, alone or around a compressed set.
fn message(magic: u8, codec: u8, offset: u64, value: &[u8]) -> Vec<u8> {
    let mut body = vec![magic, codec];
    if magic == 1 {
        body.extend(500_i64.to_be_bytes());
    }
    body.extend((-1_i32).to_be_bytes());
    body.extend(i32::try_from(value.len()).expect("small").to_be_bytes());
    body.extend(value);
    let crc = !body.iter().fold(!0, |crc: u32, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    });
    let length = i32::try_from(body.len() + 4).expect("small");
    [&offset.to_be_bytes()[..], &length.to_be_bytes(), &crc.to_be_bytes(), &body].concat()
}

/// A compressed set of two messages.
#[cfg(feature = "gzip")]
fn wrapper(magic: u8, last: u64) -> Vec<u8> {
    use std::io::Write;
    let inside = if magic == 0 { [last - 1, last] } else { [0, 1] };
    let inner: Vec<u8> = inside.into_iter().flat_map(|offset| message(magic, 0, offset, b"v")).collect();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&inner).expect("memory takes bytes");
    message(magic, 1, last, &encoder.finish().expect("memory takes bytes"))
}

fn refused(log: &Log, encoded: &[u8]) -> Error {
    let end = log.log_end_offset();
    let error = log.append_as_follower(encoded).expect_err("it is refused");
    assert_eq!((error.kind(), log.log_end_offset()), (ErrorKind::Usage, end), "{error}");
    error
}

/// The bytes of every `.log`, one behind the other.
fn bytes(disk: &SimDisk) -> Vec<u8> {
    files(disk).into_iter().filter(|(name, _)| name.ends_with(".log")).flat_map(|(_, bytes)| bytes).collect()
}

fn replicate(leader: &Log, follower: &Log, max_bytes: u64) {
    while follower.log_end_offset() < leader.log_end_offset() {
        let slice = leader.read(follower.log_end_offset(), max_bytes).expect("in the log");
        let encoded: Vec<u8> =
            slice.batches().flat_map(|batch| batch.expect("a readable batch").as_bytes().to_vec()).collect();
        let appended = follower.append_as_follower(&encoded).expect("there is room");
        assert_eq!(appended.next_offset(), slice.next_offset());
    }
}

// Rows 133, 138, 292.
#[test]
fn a_follower_has_its_leaders_files_byte_for_byte_and_its_epochs() {
    for max_bytes in [1, 250, 1 << 20] {
        let (leading, following) = (disk(), disk());
        let leader = opened(&leading, small());
        for value in 0..20 {
            let epoch = i32::try_from(value / 6).expect("small");
            let records: Vec<String> = (0..value % 3 + 1).map(text).collect();
            let records: Vec<_> = records.iter().map(Record::value).collect();
            leader.append_with(&AppendOptions::default().leader_epoch(epoch), &records).expect("there is room");
        }
        let follower = opened(&following, small());
        replicate(&leader, &follower, max_bytes);
        assert_eq!(values(&follower), values(&leader));
        assert_eq!((follower.leader_epochs(), bases(&follower)), (leader.leader_epochs(), bases(&leader)));
        leader.close().expect("a healthy disk");
        follower.close().expect("a healthy disk");
        assert_eq!(files(&following), files(&leading), "in slices of {max_bytes}");
    }
}

// Rows 134, 136, 137.
#[test]
fn what_begins_below_the_log_end_is_refused_and_named() {
    let disk = disk();
    let log = opened(&disk, large());
    log.append_as_follower(&all(0..3)).expect("the log end is accepted");
    for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        if !codec.is_available() {
            continue;
        }
        let encoded = [stored(codec, 1, 0, 2), stored(codec, 3, 0, 4)].concat();
        let error = refused(&log, &encoded);
        let Error::UnexpectedAppendOffset { first, last, log_end } = error else { panic!("{error}") };
        assert_eq!((first, last, log_end), (at(1), at(6), at(3)), "{codec:?}");
    }
    for magic in [0, 1] {
        let error = refused(&log, &message(magic, 0, 2, b"v"));
        assert!(matches!(error, Error::UnexpectedAppendOffset { .. }), "{error}");
        // The outer offset is the last one; that it begins below the log end stands inside.
        #[cfg(feature = "gzip")]
        {
            let error = refused(&log, &wrapper(magic, 3));
            let Error::UnexpectedAppendOffset { first, last, log_end } = error else { panic!("{error}") };
            assert_eq!((first, last, log_end), (at(2), at(3), at(3)), "magic {magic}");
        }
    }
    assert_eq!(values(&log), upto(3));
}

// Row 135.
#[test]
fn batches_out_of_order_are_refused_together() {
    let disk = disk();
    let log = opened(&disk, large());
    let size = one(0).len() as u64;
    for order in [[4, 3], [4, 4]] {
        let error = refused(&log, &all(order));
        let Error::OffsetsOutOfOrder { position, first, expected } = error else { panic!("{error}") };
        assert_eq!((position.value(), first, expected), (size, at(order[1]), at(5)));
    }
    assert_eq!(log.append_as_follower(&[]).expect("nothing is no error").next_offset(), at(0));
}

// Row 138.
#[test]
fn offsets_may_be_missing_and_a_read_lands_on_the_next_that_exists() {
    let disk = disk();
    let log = opened(&disk, small());
    log.append_as_follower(&all([5, 6, 9])).expect("gaps are allowed");
    log.append_as_follower(&all([1000, 70_000])).expect("gaps are allowed");
    let expected = [5, 6, 9, 1000, 70_000];
    assert_eq!((values(&log), log.log_start_offset(), log.log_end_offset()), (expected.to_vec(), at(0), at(70_001)));
    for (asked, found) in [(0, 5), (7, 9), (10, 1000), (1001, 70_000)] {
        let record = log.records(at(asked)..).expect("in the log").next().expect("a record").expect("readable");
        assert_eq!(record.offset(), at(found));
    }
    // The state said so before the first gap was written: a crash does not make damage of it.
    let killed = disk.image(CrashStrength::Kill, |_, _| 0);
    let again = opened(&killed, small());
    assert_eq!((values(&again), again.recovery_report().torn), (expected.to_vec(), vec![]));
    log.close().expect("a healthy disk");
    assert_eq!(values(&opened(&disk, small())), expected);
}

// Row 138.
#[test]
fn that_offsets_may_be_missing_is_durable_before_the_first_gap_and_a_log_without_one_stays_strict() {
    let disk = disk();
    let log = opened(&disk, large());
    log.append_as_follower(&all(0..2)).expect("there is room");
    assert!(!log.shared().core.gaps_allowed(), "nothing is missing");
    disk.set_tracing(true);
    log.append_as_follower(&one(5)).expect("there is room");
    let changes = disk.trace().into_iter().filter(|entry| entry.call.is_change());
    let order: Vec<_> = changes.map(|entry| (entry.call, entry.path)).take(5).collect();
    let (state, log_file) = (state_path(), log_path(0));
    let [write, sync] = [(CallKind::WriteAt, state.clone()), (CallKind::SyncData, state)];
    assert_eq!(order[..4], [write.clone(), sync.clone(), write, sync], "both slots");
    assert_eq!(order[4].1, log_file);
}

// Row 139.
#[test]
fn a_batch_over_the_limit_for_clients_is_taken_even_if_it_is_larger_than_a_segment() {
    let disk = disk();
    let log = opened(&disk, small().max_message_bytes(200));
    let big = stored(Compression::None, 0, 0, 20);
    assert!(big.len() > 300);
    let records: Vec<String> = (0..20).map(text).collect();
    let records: Vec<_> = records.iter().map(Record::value).collect();
    assert!(matches!(log.append(&records), Err(Error::BatchTooLarge { .. })));
    log.append_as_follower(&[big, one(20), one(21)].concat()).expect("a follower takes it");
    assert_eq!((values(&log), bases(&log)), (upto(22), vec![0, 20]));
}

// Row 157.
#[test]
fn a_batch_far_above_the_log_end_begins_a_segment_of_its_own() {
    let far = 3 * MAX_RELATIVE_OFFSET;
    for first in [None, Some(0)] {
        let disk = disk();
        let log = opened(&disk, large());
        let before: Vec<u64> = first.into_iter().collect();
        for &base in &before {
            log.append_as_follower(&one(base)).expect("there is room");
        }
        log.append_as_follower(&all([2 + MAX_RELATIVE_OFFSET, far, far + 1])).expect("there is room");
        let expected_bases = [0, 2 + MAX_RELATIVE_OFFSET, far];
        assert_eq!(bases(&log), expected_bases);
        let expected = [before.clone(), vec![2 + MAX_RELATIVE_OFFSET, far, far + 1]].concat();
        assert_eq!(values(&log), expected);
        let killed = disk.image(CrashStrength::Kill, |_, _| 0);
        let again = opened(&killed, large());
        assert_eq!((values(&again), again.recovery_report().torn), (expected.clone(), vec![]));
        log.close().expect("a healthy disk");
        assert_eq!(values(&opened(&disk, large())), expected);
    }
    // A batch of an old format: as far below its last offset as a segment reaches.
    let disk = disk();
    let log = opened(&disk, large());
    log.append_as_follower(&message(1, 0, far, b"v")).expect("there is room");
    assert_eq!(bases(&log), [0, far - MAX_RELATIVE_OFFSET]);
}

// The end of a segment was lost in a power cut, the segment behind it was not: where offsets may be missing that hole
// was taken for a gap, and the records in it were missing for ever.
#[test]
fn a_lost_end_of_a_segment_is_no_gap() {
    let disk = disk();
    let log = opened(&disk, small());
    log.append_as_follower(&all([3, 4])).expect("there is room");
    log.sync().expect("a healthy disk");
    for base in 5..12 {
        log.append_as_follower(&one(base)).expect("there is room");
    }
    for image in disk.every_image(CrashStrength::Strict).take(1000) {
        let found = values(&opened(&image, small()));
        assert_eq!(found, (3..3 + found.len() as u64).collect::<Vec<_>>());
    }
}

// Row 136.
#[test]
fn every_kind_of_batch_is_taken_as_it_is() {
    let disk = disk();
    let log = opened(&disk, large());
    let header = BatchHeader::parse(&stored(Compression::None, 4, 7, 3)).expect("a sound batch");
    let emptied = encode_empty(&header).to_vec();
    let mut encoded = [message(0, 0, 0, b"v"), message(1, 0, 1, b"w")].concat();
    #[cfg(feature = "gzip")]
    encoded.extend(wrapper(1, 3));
    encoded.extend(&emptied);
    encoded.extend(stored(Compression::None, 7, 8, 2));
    let appended = log.append_as_follower(&encoded).expect("there is room");
    assert_eq!((appended.base_offset(), appended.next_offset()), (at(0), at(9)));
    assert_eq!(bytes(&disk), encoded);
    assert_eq!(log.leader_epochs(), [(7, at(4)), (8, at(7))], "an old format ends what was known");
    log.append_as_follower(&message(1, 0, 9, b"x")).expect("there is room");
    assert_eq!(log.leader_epochs(), []);
    let killed = disk.crash(CrashStrength::Kill);
    assert_eq!(opened(&killed, large()).leader_epochs(), []);
}

#[test]
fn a_batch_that_is_cut_off_is_left_out_and_one_that_is_unsound_refuses_all() {
    let disk = disk();
    let log = opened(&disk, large());
    let mut encoded = all(0..3);
    encoded.truncate(encoded.len() - 1);
    assert_eq!(log.append_as_follower(&encoded).expect("there is room").next_offset(), at(2));
    let error = refused(&log, &one(2)[..50]);
    assert!(matches!(error, Error::InvalidBatch { reason: InvalidBatch::Corrupt(_), .. }), "{error}");
    let mut encoded = all(2..4);
    let last = encoded.len() - 1;
    encoded[last] ^= 1;
    let error = refused(&log, &encoded);
    assert!(
        matches!(error, Error::InvalidBatch { position, .. } if position.value() == one(2).len() as u64),
        "{error}"
    );
    let mut encoded = one(2);
    let codec = 5;
    encoded[22] = codec;
    let crc = crc32c::crc32c(&encoded[21..]).to_be_bytes();
    encoded[17..21].copy_from_slice(&crc);
    assert!(matches!(refused(&log, &encoded), Error::UnsupportedCompression { codec: 5 }));
    assert!(matches!(
        refused(&log, &[stored(Compression::None, 2, 5, 1), stored(Compression::None, 3, 4, 1)].concat()),
        Error::StaleLeaderEpoch { given: 4, latest: 5 }
    ));
    assert_eq!((values(&log), log.leader_epochs()), (upto(2), vec![(0, at(0))]));
}

#[test]
fn a_call_that_runs_out_of_room_leaves_whole_batches_and_can_be_made_again_for_the_rest() {
    let disk = disk();
    let log = opened(&disk, small());
    let encoded = all(0..10);
    disk.fail(Fault::once(CallKind::WriteVectoredAt, 3, FaultKind::NoSpace).on(".log"));
    let error = log.append_as_follower(&encoded).expect_err("there is no room");
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    let end = log.log_end_offset();
    assert_eq!(values(&log), upto(end.value()));
    assert!(end > at(0) && end < at(10));
    log.append_as_follower(&all(end.value()..10)).expect("there is room");
    assert_eq!((values(&log), bytes(&disk)), (upto(10), encoded));
}

#[test]
fn under_always_a_follower_syncs_before_readers_see_anything() {
    let disk = disk();
    let log = opened(&disk, small().sync_policy(crate::config::SyncPolicy::Always));
    log.append_as_follower(&all([0, 1, 2, 3, 9])).expect("there is room");
    assert_eq!((log.synced_offset(), log.log_end_offset()), (at(10), at(10)));
    assert_eq!(log.reader().up_to(ReadUpTo::Synced).log_end_offset(), at(10));
    let after = disk.crash_keeping(CrashStrength::Strict, |_, _| 0);
    assert_eq!(values(&opened(&after, small())), [0, 1, 2, 3, 9]);
}

// Rows 122, 138, 292.
#[test]
fn a_crash_at_any_moment_leaves_a_prefix_of_what_was_followed() {
    let script = [(0, 1), (1, 1), (4, 1), (5, 3), (6, 3), (20, 4), (21, 4), (22, 6)];
    for strength in [CrashStrength::Kill, CrashStrength::Strict, CrashStrength::Ordered] {
        for calls in 0.. {
            let disk = disk();
            let log = opened(&disk, small());
            disk.power_off_after(calls);
            let mut durable = 0;
            let done = (|| -> Result<()> {
                for (number, pair) in script.chunks(2).enumerate() {
                    let encoded: Vec<u8> =
                        pair.iter().flat_map(|&(base, epoch)| stored(Compression::None, base, epoch, 1)).collect();
                    log.append_as_follower(&encoded)?;
                    if number % 2 == 1 {
                        log.sync()?;
                        durable = 2 * (number + 1);
                    }
                }
                Ok(())
            })();
            for image in disk.every_image(strength).take(40) {
                let case = format!("{strength:?} after {calls} calls");
                let log = open(&image, small()).unwrap_or_else(|error| panic!("{case}: {error}"));
                let found = values(&log);
                assert!(found.len() >= durable, "{case}: {found:?}");
                let expected: Vec<u64> = script.iter().map(|&(base, _)| base).take(found.len()).collect();
                assert_eq!(found, expected, "{case}");
                let mut epochs: Vec<(i32, Offset)> = Vec::new();
                for &(base, epoch) in &script[..found.len()] {
                    if epochs.last().is_none_or(|last| last.0 < epoch) {
                        epochs.push((epoch, at(base)));
                    }
                }
                assert_eq!(log.leader_epochs(), epochs, "{case}");
                assert!(log.recovery_report().damage.is_empty(), "{case}");
            }
            if done.is_ok() {
                break;
            }
        }
    }
}

// Story: a log was truncated into a gap above its recovery point, and nothing durable said that it ended there; what was
// appended to the next segment, and synced, did not follow the last batch, and was set aside.
#[test]
fn a_log_that_was_truncated_into_a_gap_ends_there_after_a_power_cut_too() {
    for synced in [false, true] {
        let disk = disk();
        let log = opened(&disk, large());
        log.append_as_follower(&all([0, 10])).expect("there is room");
        if synced {
            log.sync().expect("a healthy disk");
        }
        log.truncate_to(at(5)).expect("a healthy disk");
        let cut = opened(&disk.image(CrashStrength::Strict, |_, _| 0), large());
        assert_eq!((cut.log_end_offset(), values(&cut)), (at(5), vec![0]));
        log.roll().expect("a healthy disk");
        log.append_as_follower(&one(5)).expect("there is room");
        log.sync().expect("a healthy disk");
        let image = disk.image(CrashStrength::Strict, |_, _| 0);
        let recovered = opened(&image, large());
        assert_eq!(values(&recovered), [0, 5], "{:?}", recovered.recovery_report());
    }
}

// Story: what was taken over from a leader was not held against `max_bytes`, and a log that followed filled its disk.
#[test]
fn a_log_that_follows_stays_below_its_limit() {
    for mode in [WriteMode::Write, WriteMode::Preallocated, WriteMode::Mapped] {
        let disk = disk();
        let config = small().write_mode(mode).windows_at_once(1).file_delete_delay_ms(0);
        let log = opened(&disk, config.clone().max_bytes(1200, WhenFull::DropOldest));
        for base in 0..40 {
            log.append_as_follower(&one(base)).expect("the oldest make room");
            assert!(allotted(&disk) <= 1200, "{} bytes", allotted(&disk));
        }
        assert_eq!(log.log_end_offset(), at(40));
        log.update_config(|config| config.max_bytes(1200, WhenFull::Reject)).expect("a sound configuration");
        let full = (40..60).find_map(|base| log.append_as_follower(&one(base)).err());
        assert!(matches!(full, Some(Error::LogFull { .. })), "{full:?}");
        assert!(allotted(&disk) <= 1200, "{} bytes", allotted(&disk));
        log.truncate_to(at(38)).expect("a healthy disk");
        log.append_as_follower(&one(38)).expect("the truncation made room");
    }
}

/// Bytes of all `.log` files.
fn allotted(disk: &SimDisk) -> usize {
    files(disk).into_iter().filter(|(name, _)| name.contains(".log")).map(|(_, bytes)| bytes.len()).sum()
}
