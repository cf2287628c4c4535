//! Named cursors in whole life: commits, resets, names, bounds, neighbours that fail. Crashes have a file of their own.

use std::path::Path;

use crate::config::{LogConfig, Worker};
use crate::error::{Error, ErrorKind};
use crate::fs::Env;
use crate::fs::sim::{CallKind, Fault, FaultKind, SimDisk};
use crate::log::{AppendOptions, CursorCommit, Log, OnReset, ReadUpTo};
use crate::offset::{Offset, Timestamp};
use crate::record::{BatchBuilder, Compression, Record};

mod crashes;

const DIR: &str = "/data/log";
const CURSORS: &str = "/data/log/cursors";

fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_dir_all("/data");
    disk
}

/// A log without a thread, which rolls now and then.
fn open(disk: &SimDisk) -> Log {
    let config = LogConfig::default().segment_bytes(600).index_interval_bytes(0).worker(Worker::Caller);
    Log::open_in(&Env::sim(disk), Path::new(DIR), config).expect("the log opens")
}

fn at(offset: u64) -> Offset {
    Offset::new(offset)
}

/// One record a batch.
fn fill(log: &Log, count: u64) {
    for _ in 0..count {
        log.append(&[Record::value("value")]).expect("there is room");
    }
}

fn committed(log: &Log, name: &str) -> Option<u64> {
    log.cursor(name).expect("a name").committed().expect("cursors can be read").map(Offset::value)
}

fn commit(log: &Log, name: &str, offset: u64) {
    log.cursor(name).expect("a name").commit(at(offset)).expect("it can be committed");
}

/// Bytes of the files that keep the cursors, but for the state and the lock.
fn bytes_of_cursors(disk: &SimDisk) -> usize {
    let names = disk.list(CURSORS);
    names.iter().filter_map(|name| disk.read_file(Path::new(CURSORS).join(name))).map(|bytes| bytes.len()).sum()
}

#[test]
fn a_cursor_is_where_it_was_committed_also_after_a_close() {
    let disk = disk();
    let log = open(&disk);
    fill(&log, 20);
    let cursor = log.cursor("billing").unwrap();
    assert_eq!((cursor.committed().unwrap(), cursor.position().unwrap(), cursor.lag().unwrap()), (None, at(0), 20));
    assert!(!disk.list(DIR).contains(&"cursors".into()), "nothing is created before the first commit");
    assert_eq!(log.cursors().unwrap(), []);
    cursor.commit(at(7)).unwrap();
    commit(&log, "audit", 20);
    assert_eq!((cursor.position().unwrap(), cursor.lag().unwrap()), (at(7), 13));
    log.close().unwrap();
    assert!(matches!(cursor.committed(), Err(Error::Closed)));
    assert!(matches!(cursor.commit(at(8)), Err(Error::Closed)));
    drop(log);

    let log = open(&disk);
    assert!(log.recovery_report().foreign.is_empty(), "the cursors are no stranger");
    let found: Vec<_> =
        log.cursors().unwrap().into_iter().map(|i| (i.name.to_string(), i.next_offset, i.lag)).collect();
    assert_eq!(found, [("audit".to_owned(), at(20), 0), ("billing".to_owned(), at(7), 13)]);
    let rest: Vec<u64> =
        log.cursor("billing").unwrap().records().unwrap().map(|record| record.unwrap().offset().value()).collect();
    assert_eq!(rest, (7..20).collect::<Vec<_>>());
    commit(&log, "billing", 3);
    assert_eq!(committed(&log, "billing"), Some(3), "a commit may go back");
}

#[test]
fn a_cursor_does_not_keep_the_log_open() {
    let disk = disk();
    let log = open(&disk);
    fill(&log, 1);
    let cursor = log.cursor("c").unwrap();
    cursor.commit(at(1)).unwrap();
    drop(log);
    assert!(matches!(cursor.position(), Err(Error::Closed)));
    assert_eq!(committed(&open(&disk), "c"), Some(1));
}

#[test]
fn a_commit_above_the_log_end_is_refused() {
    let log = open(&disk());
    fill(&log, 3);
    let cursor = log.cursor("c").unwrap();
    assert!(matches!(cursor.commit(at(4)), Err(Error::OffsetOutOfRange { .. })));
    let options = AppendOptions::default();
    let beyond = log.append_and_commit(&options, &[Record::value("v")], &[("c", at(5))]);
    assert!(matches!(beyond, Err(Error::OffsetOutOfRange { .. })));
    assert_eq!((log.log_end_offset(), cursor.committed().unwrap()), (at(3), None));
    log.append_and_commit(&options, &[Record::value("v")], &[("c", at(4)), ("d", at(1))]).unwrap();
    assert_eq!((committed(&log, "c"), committed(&log, "d")), (Some(4), Some(1)));
    log.append_and_commit(&options, &[], &[("c", at(2))]).unwrap();
    assert_eq!(committed(&log, "c"), Some(2));
}

#[test]
fn a_commit_carries_bytes_of_the_caller_and_loses_them_with_the_batch_that_it_rests_on() {
    let disk = disk();
    let log = open(&disk);
    fill(&log, 3);
    let cursor = log.cursor("c").unwrap();
    cursor.commit_with_metadata(at(2), b"page 1").unwrap();
    let second = CursorCommit::new("c", at(3)).metadata(b"page 2");
    log.append_and_commit(&AppendOptions::default(), &[Record::value("v")], &[second]).unwrap();
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(Record::value("encoded")).unwrap();
    let third = CursorCommit::new("c", at(5)).metadata(b"page 3");
    log.append_batch_and_commit(&AppendOptions::default(), builder.encode().unwrap(), &[third]).unwrap();
    let metadata = |log: &Log| log.cursor("c").unwrap().metadata().unwrap();
    assert_eq!(metadata(&log).as_deref(), Some(&b"page 3"[..]));
    assert_eq!(log.cursors().unwrap()[0].metadata.as_deref(), Some(&b"page 3"[..]));
    log.truncate_to(at(4)).unwrap();
    assert_eq!((committed(&log, "c"), metadata(&log).as_deref()), (Some(3), Some(&b"page 2"[..])));
    log.truncate_to(at(3)).unwrap();
    assert_eq!((committed(&log, "c"), metadata(&log).as_deref()), (Some(2), Some(&b"page 1"[..])));
    log.close().unwrap();
    let log = open(&disk);
    assert_eq!((committed(&log, "c"), metadata(&log).as_deref()), (Some(2), Some(&b"page 1"[..])));
    commit(&log, "c", 1);
    assert_eq!(metadata(&log), None, "only the last commit's is kept");
    let large = [0; 4097];
    let refused = log.cursor("c").unwrap().commit_with_metadata(at(1), &large).unwrap_err();
    assert!(matches!(refused, Error::MetadataTooLarge { size_bytes: 4097, limit_bytes: 4096 }), "{refused}");
    let end = log.log_end_offset();
    let fourth = CursorCommit::new("c", at(1)).metadata(&large);
    log.append_and_commit(&AppendOptions::default(), &[Record::value("v")], &[fourth]).unwrap_err();
    assert_eq!(log.log_end_offset(), end, "nothing was appended");
}

#[test]
fn a_cursor_without_an_offset_begins_where_it_is_told() {
    let log = open(&disk());
    fill(&log, 5);
    let cursor = log.cursor("c").unwrap();
    assert_eq!(cursor.clone().on_reset(OnReset::Latest).position().unwrap(), at(5));
    let strict = cursor.clone().on_reset(OnReset::Error);
    assert!(matches!(strict.position(), Err(Error::CursorOutOfRange { committed: None, .. })));
    strict.reset_to_latest().unwrap();
    assert_eq!(strict.position().unwrap(), at(5));
    strict.reset_to_earliest().unwrap();
    assert_eq!(strict.position().unwrap(), at(0));
    assert_eq!(cursor.clone().up_to(ReadUpTo::Synced).lag().unwrap(), 0);
    log.sync().unwrap();
    assert_eq!(cursor.up_to(ReadUpTo::Synced).lag().unwrap(), 5);
}

#[test]
fn a_cursor_can_be_reset_to_a_time() {
    let log = open(&disk());
    for millis in [1000, 3000, 2000] {
        log.append(&[Record::value("v").timestamp(Timestamp::from_millis(millis))]).unwrap();
    }
    let cursor = log.cursor("c").unwrap();
    for (millis, offset) in [(0, 0), (1001, 1), (3000, 1), (3001, 3)] {
        cursor.reset_to_timestamp(Timestamp::from_millis(millis)).unwrap();
        assert_eq!(cursor.position().unwrap(), at(offset), "{millis}");
    }
}

#[test]
fn a_deleted_cursor_is_gone_until_it_is_committed_again() {
    let disk = disk();
    let log = open(&disk);
    fill(&log, 5);
    commit(&log, "c", 4);
    assert!(log.delete_cursor("c").unwrap());
    assert!(!log.delete_cursor("c").unwrap());
    assert_eq!(log.cursors().unwrap(), []);
    log.close().unwrap();
    drop(log);
    let log = open(&disk);
    assert_eq!(log.cursors().unwrap(), []);
    commit(&log, "c", 1);
    assert_eq!(committed(&log, "c"), Some(1));
}

#[test]
fn any_name_is_a_cursor_of_its_own_or_refused() {
    let disk = disk();
    let log = open(&disk);
    fill(&log, 40);
    let longest = "n".repeat(249);
    let good =
        ["a", "A", " ", "..", "../x", "/", "a/b", "%00", "é\u{301}", "日本", "'; --", "cursors", longest.as_str()];
    for (offset, name) in good.iter().enumerate() {
        commit(&log, name, u64::try_from(offset).unwrap() + 1);
    }
    let longer = "n".repeat(250);
    for bad in ["", "a\0b", "a\nb", "\u{7f}", "\u{85}", longer.as_str()] {
        let error = log.cursor(bad).expect_err(bad);
        assert!(matches!(error, Error::InvalidCursorName { .. }) && error.kind() == ErrorKind::Usage, "{error}");
        assert!(log.append_and_commit(&AppendOptions::default(), &[Record::value("v")], &[(bad, at(0))]).is_err());
    }
    assert_eq!(log.log_end_offset(), at(40));
    log.close().unwrap();
    drop(log);
    let log = open(&disk);
    for (offset, name) in good.iter().enumerate() {
        assert_eq!(committed(&log, name), Some(u64::try_from(offset).unwrap() + 1), "{name:?}");
    }
}

#[test]
fn the_room_for_cursors_is_bounded_over_100_000_commits_and_a_thousand_names() {
    let disk = SimDisk::in_memory(1);
    let log = open(&disk);
    fill(&log, 1000);
    for count in 0..100_000u64 {
        commit(&log, "c", count % 1000);
        if count % 100 == 0 {
            commit(&log, &format!("many {}", count / 100), count / 100);
        }
        if count % 5000 == 4999 {
            let bytes = bytes_of_cursors(&disk);
            assert!(bytes < 400 << 10, "{bytes} bytes after {count} commits");
        }
    }
    let check = |log: &Log| {
        let found = log.cursors().unwrap();
        assert_eq!(found.len(), 1001);
        for info in found {
            let number = info.name.strip_prefix("many ").map_or(999, |number| number.parse().unwrap());
            assert_eq!(info.next_offset, at(number), "{}", info.name);
        }
    };
    check(&log);
    log.close().unwrap();
    drop(log);
    check(&open(&disk));
}

#[test]
fn threads_commit_and_append_at_the_same_time() {
    let disk = disk();
    let log = open(&disk);
    fill(&log, 200);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || {
                let name = format!("c{thread}");
                let options = AppendOptions::default();
                for offset in 0..100 {
                    match offset % 3 {
                        0 => drop(
                            log.append_and_commit(&options, &[Record::value("v")], &[(name.as_str(), at(offset))])
                                .unwrap(),
                        ),
                        1 => commit(log, &name, offset),
                        _ => drop(log.sync().unwrap()),
                    }
                    log.cursor("shared").unwrap().commit(at(offset)).unwrap();
                    assert!(log.cursors().unwrap().len() > 1);
                }
            });
        }
    });
    let before = log.cursors().unwrap();
    for thread in 0..4 {
        assert_eq!(committed(&log, &format!("c{thread}")), Some(99));
    }
    log.close().unwrap();
    drop(log);
    assert_eq!(open(&disk).cursors().unwrap(), before, "on disk they have the same order as in memory");
}

#[test]
fn damage_in_the_cursors_log_is_told_and_harms_nothing_else() {
    let disk = disk();
    let log = open(&disk);
    fill(&log, 10);
    commit(&log, "c", 5);
    commit(&log, "c", 6);
    log.close().unwrap();
    drop(log);
    disk.flip_bit("/data/log/cursors/00000000000000000000.log", 70, 3);
    let log = open(&disk);
    let error = log.cursor("c").unwrap().position().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damage, "{error}");
    assert!(log.cursor("d").unwrap().commit(at(1)).is_err(), "what cannot be read is not written over");
    fill(&log, 3);
    log.sync().unwrap();
    assert_eq!(log.records(..).unwrap().filter(|record| record.is_ok()).count(), 13);
    log.close().unwrap();
    drop(log);
    // What a person can do: remove the folder.
    for name in disk.list(CURSORS) {
        disk.remove(Path::new(CURSORS).join(name));
    }
    let log = open(&disk);
    assert_eq!(committed(&log, "c"), None);
    commit(&log, "c", 13);
    assert_eq!(committed(&log, "c"), Some(13));
}

#[test]
fn a_folder_of_somebody_elses_is_told_and_left_alone() {
    let disk = disk();
    let log = open(&disk);
    fill(&log, 1);
    disk.write_file("/data/log/cursors/notes.txt", "mine");
    assert!(matches!(log.cursor("c").unwrap().commit(at(1)), Err(Error::NotALog { .. })));
    fill(&log, 1);
    assert_eq!(disk.list(CURSORS).len(), 1, "{:?}", disk.list(CURSORS));
}

#[test]
fn the_cursors_log_cannot_be_opened_beside_the_log_and_the_other_way_round() {
    let disk = disk();
    let env = Env::sim(&disk);
    let log = open(&disk);
    fill(&log, 1);
    commit(&log, "c", 1);
    let alone = || Log::open_in(&env, Path::new(CURSORS), LogConfig::default().worker(Worker::Caller));
    assert!(matches!(alone(), Err(Error::AlreadyOpen { .. })));
    log.close().unwrap();
    drop(log);
    let inner = alone().expect("it is a log");
    assert!(matches!(Log::open_in(&env, Path::new(DIR), LogConfig::default()), Err(Error::AlreadyOpen { .. })));
    drop(inner);
    assert_eq!(committed(&open(&disk), "c"), Some(1));
}

#[test]
fn a_full_disk_refuses_the_commit_and_leaves_log_and_cursor_as_they_were() {
    let disk = disk();
    let log = open(&disk);
    fill(&log, 5);
    commit(&log, "c", 2);
    disk.set_free_space(10);
    let error = log.cursor("c").unwrap().commit(at(3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    let both = || log.append_and_commit(&AppendOptions::default(), &[Record::value("v")], &[("c", at(4))]);
    assert_eq!(both().unwrap_err().kind(), ErrorKind::Retry);
    // Room for the commit and not for the batch.
    disk.set_free_space(200);
    let large = "v".repeat(300);
    let half = log.append_and_commit(&AppendOptions::default(), &[Record::value(&large)], &[("c", at(5))]);
    assert_eq!(half.unwrap_err().kind(), ErrorKind::Retry);
    assert_eq!((committed(&log, "c"), log.log_end_offset()), (Some(2), at(5)));
    disk.set_free_space(1 << 20);
    // The same batch without the commit does not bring the commit back.
    log.append(&[Record::value(&large)]).unwrap();
    assert_eq!(committed(&log, "c"), Some(2));
    log.close().unwrap();
    drop(log);
    let log = open(&disk);
    assert_eq!(committed(&log, "c"), Some(2));
    commit(&log, "c", 3);
}

#[test]
fn a_failed_sync_of_the_cursors_fails_the_log_and_a_reopening_mends_both() {
    let disk = disk();
    let log = open(&disk);
    fill(&log, 3);
    commit(&log, "c", 1);
    log.sync().unwrap();
    log.append_and_commit(&AppendOptions::default(), &[Record::value("v")], &[("c", at(2))]).unwrap();
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput).on("cursors/00000000000000000000.log"));
    assert!(matches!(log.sync(), Err(Error::Failed { .. })));
    assert!(matches!(log.cursor("c").unwrap().commit(at(3)), Err(Error::Failed { .. })));
    assert_eq!(log.cursor("c").unwrap().position().unwrap(), at(2), "what was read before may be asked");
    log.reopen().unwrap();
    assert_eq!((committed(&log, "c"), log.log_end_offset()), (Some(2), at(4)));
    commit(&log, "c", 4);
    log.sync().unwrap();
    log.close().unwrap();
}

#[test]
fn a_failed_write_of_a_commit_is_mended_by_a_reopening() {
    let disk = disk();
    let log = open(&disk);
    fill(&log, 3);
    commit(&log, "c", 1);
    disk.fail(Fault::once(CallKind::WriteVectoredAt, 1, FaultKind::InputOutput).on("cursors/00000000000000000000.log"));
    disk.fail(Fault::once(CallKind::WriteAt, 1, FaultKind::InputOutput).on("cursors/00000000000000000000.log"));
    assert!(log.cursor("c").unwrap().commit(at(2)).is_err());
    disk.heal();
    fill(&log, 1);
    log.reopen().unwrap();
    commit(&log, "c", 3);
    assert_eq!(committed(&log, "c"), Some(3));
    log.close().unwrap();
}

#[test]
fn a_cut_takes_cursors_back_to_it_and_no_further() {
    let disk = disk();
    let log = open(&disk);
    log.append(&[Record::value("0"), Record::value("1")]).unwrap();
    log.append(&[Record::value("2"), Record::value("3"), Record::value("4")]).unwrap();
    fill(&log, 3);
    log.append_and_commit(&AppendOptions::default(), &[Record::value("8")], &[("both", at(1))]).unwrap();
    for (name, offset) in [("below", 2), ("across", 5), ("above", 8), ("twice", 1), ("twice", 8)] {
        commit(&log, name, offset);
    }
    assert_eq!(log.shared().slowest_cursor().unwrap(), Some(at(1)));
    log.shared().lower_cursors(at(4)).unwrap();
    let expected = [("below", Some(2)), ("across", Some(4)), ("above", Some(4)), ("twice", Some(4)), ("both", None)];
    for (name, offset) in expected {
        assert_eq!(committed(&log, name), offset, "{name}");
    }
    log.close().unwrap();
    drop(log);
    let log = open(&disk);
    for (name, offset) in expected {
        assert_eq!(committed(&log, name), offset, "{name} after a reopening");
    }
}
