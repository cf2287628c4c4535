//! The public face as a user sees it: what is promised of types, of handles in many threads, of values that outlive
//! their log, and of the small builders and accessors.
//!
//! Files and formats are other tests' business. The invariant it owns: nothing here uses anything but `kstore::X`.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is a user's program")]

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use kstore::{
    AppendOptions, Appended, BatchBuilder, Compression, ControlType, Error, ErrorKind, Log, LogConfig, LogSlice,
    Offset, Position, ReadUpTo, Reader, Record, Records, RecordsReversed, RecoveryReport, SegmentInfo, Sent, Stats,
    StoredBatch, StoredRecord, SyncPolicy, Timestamp, TimestampType, Worker, WriteMode,
};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn open(folder: &TempDir, config: LogConfig) -> Log {
    Log::open(folder.path().join("orders-0"), config).expect("a log")
}

/// A log of single-record batches, the records' values being their offsets.
fn log_of(folder: &TempDir, records: u64, config: LogConfig) -> Log {
    let log = open(folder, config);
    for number in 0..records {
        log.append(&[Record::value(&number.to_string())]).expect("an append");
    }
    log
}

fn offsets(records: impl Iterator<Item = kstore::Result<StoredRecord>>) -> Vec<u64> {
    records.map(|record| record.expect("a sound record").offset().value()).collect()
}

#[test]
fn what_is_handed_out_may_be_kept_and_sent_and_shared_where_that_is_promised() {
    fn kept_and_sent<T: Send + 'static>() {}
    fn shared<T: Send + Sync + 'static>() {}
    fn cloned<T: Clone>() {}
    shared::<Log>();
    shared::<Reader>();
    shared::<LogSlice>();
    shared::<StoredRecord>();
    shared::<Error>();
    shared::<LogConfig>();
    shared::<AppendOptions>();
    shared::<Appended>();
    shared::<RecoveryReport>();
    shared::<SegmentInfo>();
    shared::<Stats>();
    kept_and_sent::<StoredBatch>();
    kept_and_sent::<Records>();
    kept_and_sent::<RecordsReversed>();
    kept_and_sent::<kstore::Batches>();
    kept_and_sent::<BatchBuilder>();
    cloned::<Log>();
    cloned::<Reader>();
    cloned::<LogSlice>();
    cloned::<StoredRecord>();
    cloned::<Error>();
}

#[test]
fn hundreds_of_handles_readers_and_threads_use_one_log_at_once() {
    const THREADS: u64 = 40;
    const APPENDS: u64 = 50;
    let folder = folder();
    let log = open(&folder, LogConfig::default().segment_bytes(20_000).index_interval_bytes(200));
    let (done, read) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let readers: Vec<Reader> = (0..50).map(|_| log.reader()).collect();
            let (done, read) = (&done, &read);
            scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    for reader in &readers {
                        let end = reader.log_end_offset();
                        let from = Offset::new(end.value().saturating_sub(20));
                        let found = offsets(reader.records(from..end).expect("offsets of the log"));
                        assert_eq!(found, (from.value()..end.value()).collect::<Vec<_>>());
                        read.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let log = log.clone();
                scope.spawn(move || {
                    for append in 0..APPENDS {
                        let value = format!("{thread} {append}");
                        let appended = log.append(&[Record::value(&value)]).expect("an append");
                        let own = log.records(appended.base_offset()..appended.next_offset()).expect("it is there");
                        let values: Vec<_> =
                            own.map(|record| record.expect("sound").value().map(<[u8]>::to_vec)).collect();
                        assert_eq!(values, [Some(value.into_bytes())], "a writer reads its own append");
                        if append % 25 == 0 {
                            log.sync_to(appended.next_offset()).expect("a sync");
                            assert!(log.synced_offset() >= appended.next_offset());
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().expect("no panic");
        }
        done.store(true, Ordering::Release);
    });
    assert!(read.load(Ordering::Relaxed) > 0);
    assert_eq!(log.log_end_offset(), Offset::new(THREADS * APPENDS));
    assert_eq!(offsets(log.records(..).expect("an open log")), (0..THREADS * APPENDS).collect::<Vec<_>>());
    assert_eq!(log.stats().appended_records, THREADS * APPENDS);
    assert!(log.stats().rolls > 2);
}

#[test]
fn the_last_of_many_clones_closes_the_log() {
    let folder = folder();
    let log = log_of(&folder, 3, LogConfig::default());
    let clones: Vec<Log> = (0..300).map(|_| log.clone()).collect();
    drop(log);
    let dir = folder.path().join("orders-0");
    assert!(matches!(Log::open(&dir, LogConfig::default()), Err(Error::AlreadyOpen { .. })));
    drop(clones);
    let log = Log::open(&dir, LogConfig::default()).expect("free again");
    assert_eq!(log.recovery_report(), RecoveryReport::default(), "a drop closes cleanly");
}

#[test]
fn a_slice_survives_its_log_its_directory_and_its_thread() {
    let folder = folder();
    let log = log_of(&folder, 100, LogConfig::default());
    let slice = log.read(Offset::new(10), 1 << 20).expect("an open log");
    log.close().expect("a clean close");
    drop(log);
    std::fs::remove_dir_all(folder.path()).expect("it may go");
    let copy = slice.clone();
    let sent = std::thread::spawn(move || {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        let sent = copy.send_to(&ours).expect("a listener");
        drop(ours);
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).expect("all that was sent");
        assert_eq!(received.len() as u64, copy.size_bytes());
        let stored: Vec<u8> = copy.batches().flat_map(|batch| batch.expect("sound").as_bytes().to_vec()).collect();
        assert!(received == stored, "the bytes are the stored ones");
        sent
    });
    let Sent { bytes, would_block, .. } = sent.join().expect("no panic");
    assert_eq!((bytes, would_block), (slice.size_bytes(), false));
    assert_eq!(offsets(slice.records()), (10..100).collect::<Vec<_>>());
    assert_eq!((slice.next_offset(), slice.is_empty()), (Offset::new(100), false));
}

#[test]
fn a_receiver_that_is_gone_is_told_apart() {
    let folder = folder();
    let log = log_of(&folder, 3, LogConfig::default());
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    drop(theirs);
    let error = log.send_to(&ours, Offset::ZERO, 1 << 20).expect_err("nobody listens");
    assert!(matches!(error, Error::PeerClosed), "{error}");
    assert_eq!((error.to_string().as_str(), error.kind()), ("the receiver closed its end", ErrorKind::Usage));
}

#[test]
fn a_record_outlives_iterator_and_log() {
    let folder = folder();
    let log = log_of(&folder, 5, LogConfig::default());
    let record = log.records(Offset::new(3)..).expect("an open log").next().expect("a record").expect("sound");
    drop(log);
    let heard = std::thread::spawn(move || record.value().map(<[u8]>::to_vec)).join().expect("no panic");
    assert_eq!(heard, Some(b"3".to_vec()));
}

#[test]
fn no_records_are_no_error_and_write_nothing() {
    let folder = folder();
    let log = log_of(&folder, 2, LogConfig::default());
    for appended in [
        log.append(&[]).expect("no error"),
        log.append_built(&AppendOptions::default(), &mut BatchBuilder::new(Compression::None)).expect("no error"),
        log.append_with(&AppendOptions::default().expect_log_end(Offset::new(2)).sync(true), &[]).expect("no error"),
    ] {
        assert_eq!((appended.base_offset(), appended.next_offset()), (Offset::new(2), Offset::new(2)));
        assert_eq!((appended.timestamp(), appended.is_duplicate()), (None, false));
    }
    assert_eq!(log.stats().appended_batches, 2);
}

#[test]
fn what_the_builders_of_a_record_say_comes_back() {
    let folder = folder();
    let log = open(&folder, LogConfig::default());
    let time = Timestamp::from_millis(1_700_000_000_000);
    let headers = [("trace", Some(&b"7f"[..])), ("empty", Some(&b""[..])), ("null", None), ("trace", Some(&b"80"[..]))];
    let records = [
        Record::new("key", "value").timestamp(time).headers(&headers),
        Record::value(&[1, 2, 3]),
        Record::tombstone("gone"),
        Record::from_parts(Some(b""), Some(b"")),
        Record::from_parts(None, None),
    ];
    let appended = log.append_with(&AppendOptions::default().leader_epoch(7), &records).expect("an append");
    assert_eq!(appended.next_offset() - appended.base_offset(), 5);
    let stored: Vec<StoredRecord> = log.records(..).expect("a log").map(|record| record.expect("sound")).collect();
    let parts: Vec<_> = stored.iter().map(|record| (record.key(), record.value())).collect();
    let expected = [
        (Some(&b"key"[..]), Some(&b"value"[..])),
        (None, Some(&[1, 2, 3][..])),
        (Some(b"gone"), None),
        (Some(b""), Some(b"")),
        (None, None),
    ];
    assert_eq!(parts, expected);
    assert_eq!(stored[0].headers().collect::<Vec<_>>(), headers);
    assert_eq!((stored[0].headers().len(), stored[1].headers().len()), (4, 0));
    assert_eq!((stored[0].timestamp(), stored[0].leader_epoch()), (Some(time), Some(7)));
    assert!(stored[1].timestamp().is_some_and(|now| now > time), "without a time it is the append's");
    assert!(stored.iter().all(|record| record.control_type().is_none()));
    assert_eq!(ControlType::Commit.to_string(), "commit");

    let again = log.append(&stored.iter().map(StoredRecord::as_record).collect::<Vec<_>>()).expect("an append");
    let copies: Vec<StoredRecord> =
        log.records(again.base_offset()..).expect("a log").map(|record| record.expect("sound")).collect();
    for (copy, original) in copies.iter().zip(&stored) {
        assert_eq!(
            (copy.key(), copy.value(), copy.timestamp()),
            (original.key(), original.value(), original.timestamp())
        );
        assert_eq!(copy.headers().collect::<Vec<_>>(), original.headers().collect::<Vec<_>>());
        assert_eq!(copy.leader_epoch(), None);
    }
}

#[test]
fn a_builder_goes_on_after_each_append_and_keeps_what_was_refused() {
    let folder = folder();
    let log = open(&folder, LogConfig::default());
    let mut builder = BatchBuilder::new(Compression::None);
    assert!(builder.is_empty());
    for round in 0..3 {
        for number in 0..10_u8 {
            builder.push(Record::value(&[number])).expect("it can be encoded");
        }
        assert_eq!(builder.len(), 10);
        assert!(builder.size_bytes() > 61);
        let refused = AppendOptions::default().expect_log_end(Offset::new(999));
        log.append_built(&refused, &mut builder).expect_err("the log does not end there");
        assert_eq!(builder.len(), 10, "round {round}");
        log.append_built(&AppendOptions::default(), &mut builder).expect("an append");
        assert!(builder.is_empty());
    }
    assert_eq!(log.stats().appended_batches, 3);
    assert_eq!(log.log_end_offset(), Offset::new(30));
    builder.push(Record::value("x")).expect("it can be encoded");
    builder.clear();
    assert!(builder.is_empty());
}

#[test]
fn batches_of_another_log_are_appended_as_they_are() {
    let (here, there) = (folder(), folder());
    let codec = if Compression::Lz4.is_available() { Compression::Lz4 } else { Compression::None };
    let source = open(&here, LogConfig::default().compression(codec));
    source.append(&[Record::new("a", "1"), Record::new("b", "2")]).expect("an append");
    let batch = source.reader().batches(..).expect("a log").next().expect("a batch").expect("sound");
    assert_eq!(batch.compression().expect("a codec"), codec);
    let log = log_of(&there, 5, LogConfig::default());
    let appended = log.append_batch(&AppendOptions::default().leader_epoch(3), batch.as_bytes()).expect("an append");
    assert_eq!((appended.base_offset(), appended.next_offset()), (Offset::new(5), Offset::new(7)));
    let copy = log.reader().batches(appended.base_offset()..).expect("a log").next().expect("a batch").expect("sound");
    assert_eq!((copy.base_offset(), copy.last_offset(), copy.leader_epoch()), (Offset::new(5), Offset::new(6), 3));
    assert_eq!((copy.crc(), copy.magic(), copy.record_count()), (batch.crc(), 2, Some(2)), "the checksum still holds");
    copy.verify().expect("sound");
    let values: Vec<_> = copy.records().map(|record| record.expect("sound").value().map(<[u8]>::to_vec)).collect();
    assert_eq!(values, [Some(b"1".to_vec()), Some(b"2".to_vec())]);
}

#[test]
fn log_append_time_overwrites_the_callers() {
    let folder = folder();
    let log = open(&folder, LogConfig::default().message_timestamp_type(TimestampType::LogAppendTime));
    let old = Timestamp::from_millis(5);
    let appended = log.append(&[Record::value("x").timestamp(old), Record::value("y")]).expect("an append");
    let now = appended.timestamp().expect("the time of the append");
    assert!(now > old);
    for record in log.records(..).expect("a log") {
        assert_eq!(record.expect("sound").timestamp(), Some(now));
    }
}

#[test]
fn a_reader_of_what_is_synced_sees_no_more() {
    let folder = folder();
    let log = log_of(&folder, 4, LogConfig::default());
    let synced = log.reader().up_to(ReadUpTo::Synced);
    assert_eq!((synced.log_end_offset(), synced.synced_offset()), (Offset::ZERO, Offset::ZERO));
    assert_eq!(offsets(synced.records(..).expect("nothing yet")), [0; 0]);
    assert!(synced.read(Offset::new(2), 1 << 20).expect("nothing yet, and no error").is_empty());
    log.sync_to(Offset::new(3)).expect("a sync");
    let end = synced.log_end_offset();
    assert!(end >= Offset::new(3));
    log.append(&[Record::value("x")]).expect("an append");
    assert_eq!(synced.log_end_offset(), end);
    assert_eq!(offsets(synced.records(..).expect("a log")).len() as u64, end.value());
    assert_eq!(synced.read(Offset::ZERO, 1 << 20).expect("a log").next_offset(), end);
    for all in [ReadUpTo::LogEnd, ReadUpTo::HighWatermark, ReadUpTo::LastStable] {
        assert_eq!(log.reader().up_to(all).log_end_offset(), Offset::new(5));
    }
    assert_eq!((log.high_watermark(), log.last_stable_offset()), (Offset::new(5), Offset::new(5)));
    assert_eq!(log.recovery_point(), log.synced_offset());
}

#[test]
fn under_always_nothing_is_seen_before_it_is_synced() {
    let folder = folder();
    let log = open(&folder, LogConfig::default().sync_policy(SyncPolicy::Always));
    for number in 1..=10 {
        log.append(&[Record::value("x")]).expect("an append");
        assert_eq!((log.log_end_offset(), log.synced_offset()), (Offset::new(number), Offset::new(number)));
    }
    assert_eq!(log.stats().unsynced_bytes, 0);
}

#[test]
fn under_every_the_append_that_reaches_the_bound_syncs() {
    let folder = folder();
    let every = SyncPolicy::Every { records: Some(3), bytes: None, interval_ms: None };
    let log = log_of(&folder, 2, LogConfig::default().sync_policy(every));
    assert_eq!(log.synced_offset(), Offset::ZERO);
    log.append(&[Record::value("x")]).expect("an append");
    assert_eq!(log.synced_offset(), Offset::new(3));
    log.append_with(&AppendOptions::default().sync(true), &[Record::value("x")]).expect("an append");
    assert_eq!(log.synced_offset(), Offset::new(4));
}

#[test]
fn under_a_callers_worker_everything_waits_for_run_once() {
    let folder = folder();
    let every = SyncPolicy::Every { records: None, bytes: None, interval_ms: Some(1000) };
    let log = open(&folder, LogConfig::default().worker(Worker::Caller).sync_policy(every));
    let time = Timestamp::from_millis;
    log.append(&[Record::value("x")]).expect("an append");
    log.run_once(time(0)).expect("nothing is due");
    assert_eq!(log.synced_offset(), Offset::ZERO);
    log.run_once(time(i64::MAX)).expect("the interval is over");
    assert_eq!(log.synced_offset(), Offset::new(1));
    let next = log.append(&[Record::value("y")]).expect("an append").next_offset();
    let (told, heard) = mpsc::channel();
    log.on_synced(next, move |synced| told.send(synced.is_ok()).expect("a listener")).expect("accepted");
    assert!(heard.try_recv().is_err());
    log.run_once(time(0)).expect("a callback is due");
    assert_eq!(heard.try_recv(), Ok(true));
}

#[test]
fn a_callback_runs_once_synced_or_closed_and_may_use_the_log() {
    let folder = folder();
    let log = log_of(&folder, 2, LogConfig::default());
    let (told, heard) = mpsc::channel();
    let inside = log.clone();
    let teller = told.clone();
    log.on_synced(Offset::new(2), move |synced| {
        let end = inside.append(&[Record::value("from the callback")]).expect("an append").next_offset();
        teller.send((synced.expect("synced") >= Offset::new(2), end)).expect("a listener");
    })
    .expect("accepted");
    let patience = std::time::Duration::from_secs(20);
    assert_eq!(heard.recv_timeout(patience), Ok((true, Offset::new(3))));
    log.on_synced(Offset::new(3), move |synced| {
        told.send((synced.is_ok(), Offset::ZERO)).expect("a listener");
    })
    .expect("accepted");
    log.close().expect("a clean close");
    assert_eq!(heard.recv_timeout(patience), Ok((true, Offset::ZERO)), "closing syncs, and tells");
}

#[test]
fn ranges_mean_what_they_say() {
    let folder = folder();
    let log = log_of(&folder, 10, LogConfig::default());
    let at = Offset::new;
    assert_eq!(offsets(log.records(..).expect("a log")), (0..10).collect::<Vec<_>>());
    assert_eq!(offsets(log.records(at(7)..).expect("a log")), [7, 8, 9]);
    assert_eq!(offsets(log.records(..at(2)).expect("a log")), [0, 1]);
    assert_eq!(offsets(log.records(..=at(2)).expect("a log")), [0, 1, 2]);
    assert_eq!(offsets(log.records(at(4)..at(4)).expect("a log")), [0; 0]);
    assert_eq!(offsets(log.records(at(8)..at(100)).expect("a log")), [8, 9]);
    assert_eq!(offsets(log.records_reversed(at(6)..=at(8)).expect("a log")), [8, 7, 6]);
    let before = log.records(..).expect("a log");
    log.append(&[Record::value("later")]).expect("an append");
    assert_eq!(before.count(), 10, "a range ends at the log end as of the call");
    assert_eq!(log.reader().batches(at(3)..at(5)).expect("a log").count(), 2);
}

#[test]
fn segments_stats_and_the_configuration_tell_how_the_log_stands() {
    let folder = folder();
    let log = log_of(&folder, 4, LogConfig::default().write_mode(WriteMode::Preallocated));
    assert_eq!(log.roll().expect("a roll"), Offset::new(4));
    assert_eq!(log.roll().expect("an empty one stays"), Offset::new(4));
    log.append(&[Record::value("x")]).expect("an append");
    let segments = log.segments().expect("an open log");
    let places: Vec<_> = segments.iter().map(|s| (s.base_offset.value(), s.next_offset.value(), s.active)).collect();
    assert_eq!(places, [(0, 4, false), (4, 5, true)]);
    assert!(segments.iter().all(|segment| segment.size_bytes > 61));
    let stats = log.stats();
    assert_eq!((stats.appended_records, stats.appended_batches, stats.rolls, stats.failed), (5, 5, 1, false));
    assert_eq!(stats.appended_bytes, segments.iter().map(|segment| segment.size_bytes).sum::<u64>());
    log.update_config(|config| config.segment_bytes(200)).expect("a valid change");
    for _ in 0..4 {
        log.append(&[Record::value("a value of some length, so that segments fill")]).expect("an append");
    }
    assert!(log.stats().rolls > 1, "limits are live");
    assert_eq!(log.dir().file_name(), Some("orders-0".as_ref()));
    log.reopen().expect("nothing to do");
}

#[test]
fn offsets_positions_and_timestamps_are_numbers_with_a_meaning() {
    let offset = Offset::from(40) + 2;
    assert_eq!((offset.value(), u64::from(offset), offset.to_string()), (42, 42, "42".to_owned()));
    assert_eq!(offset - Offset::new(40), 2);
    assert!(Offset::ZERO < offset);
    assert_eq!((Position::new(7) + 1).value(), 8);
    assert_eq!(Timestamp::from(5_i64), Timestamp::from_millis(5));
    assert_eq!(Timestamp::from_millis(5).as_millis(), 5);
}

#[test]
fn a_reader_of_a_live_log_sees_what_was_there_when_it_was_opened() {
    let folder = folder();
    let log = log_of(&folder, 6, LogConfig::default().write_mode(WriteMode::Preallocated));
    let reader = Arc::new(Log::open_read_only(log.dir()).expect("no lock is taken"));
    log.append(&[Record::value("later")]).expect("an append");
    assert_eq!(offsets(reader.records(..).expect("a reader")), (0..6).collect::<Vec<_>>());
    assert_eq!(reader.recovery_report().torn, [], "room allocated ahead is the writer's affair");
    log.close().expect("a clean close");
    assert_eq!(offsets(reader.records(..).expect("a reader of its own")).len(), 6);
}

#[cfg(feature = "sim")]
#[test]
fn a_log_in_memory_does_what_one_on_disk_does() {
    let log = Log::in_memory(LogConfig::default().segment_bytes(1000)).expect("a valid configuration");
    for number in 0..50_u64 {
        log.append(&[Record::new(&number.to_be_bytes(), "value")]).expect("there is room");
    }
    assert_eq!(log.sync().expect("the disk is memory"), Offset::new(50));
    assert!(log.segments().expect("an open log").len() > 1);
    let keys = log.records(..).expect("a range").map(|record| record.expect("sound").key().map(<[u8]>::to_vec));
    assert!(keys.eq((0..50_u64).map(|number| Some(number.to_be_bytes().to_vec()))));
    let slice = log.read(Offset::new(7), 300).expect("an offset of the log");
    let (socket, mut peer) = UnixStream::pair().expect("a pair of sockets");
    assert_eq!(slice.send_to(&socket).expect("a peer that reads").bytes, slice.size_bytes());
    drop(socket);
    let mut sent = Vec::new();
    peer.read_to_end(&mut sent).expect("what was sent");
    assert_eq!(sent.len() as u64, slice.size_bytes());
    log.close().expect("the disk is memory");
}
