//! Leader epochs in a log: appended, kept, lost, found again.

use std::path::{Path, PathBuf};

use super::bench::{DIR, at, disk, files, fill, log_path, names, open, opened, small, state_path, text, upto, values};
use crate::checkpoint::read_leader_epochs;
use crate::config::LogConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Env;
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk};
use crate::log::{AppendOptions, Appended, Log, LostEpochs};
use crate::names::LEADER_EPOCH_CHECKPOINT;
use crate::record::Record;

fn checkpoint() -> PathBuf {
    Path::new(DIR).join(LEADER_EPOCH_CHECKPOINT)
}

fn large() -> LogConfig {
    small().segment_bytes(1 << 20)
}

/// One record of an epoch.
fn append(log: &Log, epoch: i32, value: u64) -> Result<Appended> {
    log.append_with(&AppendOptions::default().leader_epoch(epoch), &[Record::value(&text(value))])
}

/// One batch of each epoch, its number for a value.
fn lead(log: &Log, epochs: &[i32]) {
    for &epoch in epochs {
        let value = log.log_end_offset().value();
        append(log, epoch, value).expect("there is room");
    }
}

fn epochs(log: &Log) -> Vec<(i32, u64)> {
    log.leader_epochs().into_iter().map(|(epoch, start)| (epoch, start.value())).collect()
}

fn in_file(disk: &SimDisk) -> Vec<(i32, u64)> {
    let entries = read_leader_epochs(&Env::sim(disk), Path::new(DIR)).expect("a sound checkpoint");
    entries.into_iter().map(|entry| (entry.epoch, entry.start_offset.value())).collect()
}

/// The epochs of the batches, as a cache that saw them all would have them.
fn in_batches(log: &Log) -> Vec<(i32, u64)> {
    let mut found: Vec<(i32, u64)> = Vec::new();
    for batch in log.reader().batches(log.log_start_offset()..).expect("the whole log is a range") {
        let batch = batch.expect("a readable batch");
        if batch.leader_epoch() > found.last().map_or(-1, |last| last.0) {
            found.push((batch.leader_epoch(), batch.base_offset().value()));
        }
    }
    found
}

// Rows 286, 287, 290, 292.
#[test]
fn an_epoch_is_stamped_remembered_and_there_after_a_reopening() {
    let disk = disk();
    let log = opened(&disk, small());
    assert_eq!((log.latest_leader_epoch(), log.end_offset_for_epoch(0)), (None, None));
    lead(&log, &[0, 0, 2, 2, 2, 5]);
    let expected = [(0, 0), (2, 2), (5, 5)];
    assert_eq!(
        (epochs(&log), in_file(&disk), in_batches(&log)),
        (expected.to_vec(), expected.to_vec(), expected.into())
    );
    log.close().expect("a healthy disk");
    let log = opened(&disk, small());
    assert_eq!((epochs(&log), log.recovery_report().lost_epochs), (expected.to_vec(), None));
    assert_eq!(log.latest_leader_epoch(), Some(5));
    assert_eq!((log.epoch_for_offset(at(4)), log.epoch_for_offset(at(5))), (Some(2), Some(5)));
    assert_eq!(log.epoch_for_offset(at(6)), None, "no record is there yet");
    assert_eq!(log.end_offset_for_epoch(0), Some((0, at(2))));
    assert_eq!(log.end_offset_for_epoch(3), Some((2, at(5))));
    assert_eq!(log.end_offset_for_epoch(5), Some((5, at(6))));
    assert_eq!((log.end_offset_for_epoch(6), log.end_offset_for_epoch(-1)), (None, None));
    let reader = Log::open_read_only_in(&Env::sim(&disk), Path::new(DIR)).expect("a log");
    assert_eq!((reader.leader_epochs(), reader.latest_leader_epoch()), (log.leader_epochs(), Some(5)));
}

#[test]
fn a_log_that_sees_no_epoch_gets_no_file_and_batches_without_one_change_nothing() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..5);
    append(&log, -1, 5).expect("a negative epoch is none");
    assert!(!names(&disk).contains(&LEADER_EPOCH_CHECKPOINT.to_owned()));
    lead(&log, &[3]);
    fill(&log, 7..9);
    assert_eq!((epochs(&log), in_file(&disk)), (vec![(3, 6)], vec![(3, 6)]));
    disk.reset_counters();
    lead(&log, &[3]);
    assert_eq!(disk.calls(CallKind::Rename), 0, "the file is written once an epoch");
}

// Row 288.
#[test]
fn a_leader_that_was_replaced_cannot_append() {
    let disk = disk();
    let log = opened(&disk, large());
    lead(&log, &[2, 4]);
    let before = files(&disk);
    let error = append(&log, 3, 9).expect_err("epoch 4 has begun");
    assert!(matches!(error, Error::StaleLeaderEpoch { given: 3, latest: 4 }), "{error}");
    assert_eq!((error.kind(), files(&disk)), (ErrorKind::Usage, before));
    lead(&log, &[4, 6]);
    assert_eq!(epochs(&log), [(2, 0), (4, 1), (6, 3)]);
}

// The epoch is in the file before its first batch is; the batch failed for lack of room, and another leader took over.
#[test]
fn an_epoch_without_a_batch_gives_way_to_whatever_comes_to_stand_there() {
    for next in [None, Some(2), Some(5), Some(9)] {
        let disk = disk();
        let log = opened(&disk, large());
        lead(&log, &[2, 2]);
        disk.fail(Fault::once(CallKind::WriteAt, 1, FaultKind::NoSpace).on(".log"));
        disk.fail(Fault::once(CallKind::WriteVectoredAt, 1, FaultKind::NoSpace).on(".log"));
        let error = append(&log, 7, 9).expect_err("there is no room");
        assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
        disk.heal();
        assert_eq!((in_file(&disk), values(&log)), (vec![(2, 0), (7, 2)], upto(2)));
        match next {
            None => fill(&log, 2..3),
            Some(epoch) => lead(&log, &[epoch]),
        }
        assert_eq!((epochs(&log), in_file(&disk)), (in_batches(&log), in_batches(&log)), "{next:?}");
        let expected = in_batches(&log);
        let after = disk.crash(CrashStrength::Kill);
        assert_eq!(epochs(&opened(&after, large())), expected, "{next:?}");
    }
}

// Rows 277, 290.
#[test]
fn a_file_that_is_lost_damaged_or_of_another_log_is_made_anew_from_the_batches() {
    let spoils: [(&str, Option<&str>); 6] = [
        ("missing", None),
        ("empty", Some("")),
        ("damaged", Some("0\n2\n1 x\n")),
        ("descending", Some("0\n2\n3 5\n1 0\n")),
        ("older", Some("0\n1\n1 0\n")),
        ("another's", Some("0\n3\n1 0\n2 3\n7 4\n")),
    ];
    for (name, text) in spoils {
        for (clean, foreign) in [(true, false), (false, false), (false, true)] {
            let case = format!("{name}, clean {clean}, foreign {foreign}");
            let disk = disk();
            let log = opened(&disk, small());
            lead(&log, &[1, 1, 1, 1, 1, 1, 1]);
            log.sync().expect("a healthy disk");
            lead(&log, &[1, 4, 4, 6]);
            let expected = [(1, 0), (4, 8), (6, 10)];
            if clean {
                log.close().expect("a healthy disk");
            }
            let disk = disk.crash(CrashStrength::Kill);
            match text {
                None => disk.remove(checkpoint()),
                Some(text) => disk.write_file(checkpoint(), text),
            }
            if foreign {
                disk.remove(state_path());
            }
            let reader = Log::open_read_only_in(&Env::sim(&disk), Path::new(DIR)).expect("a log");
            let log = opened(&disk, small());
            let lost = log.recovery_report().lost_epochs;
            // An older file is the truth as far as it goes; what was walked adds the rest.
            let expected_reason = match name {
                "missing" | "empty" => matches!(lost, Some(LostEpochs::Missing)),
                "damaged" | "descending" => matches!(lost, Some(LostEpochs::Damaged { .. })),
                "older" if !clean => {
                    let read_only = reader.recovery_report().lost_epochs;
                    lost.is_none() && read_only == foreign.then_some(LostEpochs::Contradicted)
                }
                _ => matches!(lost, Some(LostEpochs::Contradicted)),
            };
            assert!(expected_reason, "{case}: {lost:?}");
            assert_eq!((epochs(&log), in_file(&disk)), (expected.to_vec(), expected.to_vec()), "{case}");
            assert_eq!(reader.leader_epochs(), log.leader_epochs(), "{case}");
            log.close().expect("a healthy disk");
            assert_eq!(opened(&disk, small()).recovery_report().lost_epochs, None, "{case}");
        }
    }
}

#[test]
fn a_scan_for_epochs_reads_little_of_segments_in_which_none_ends() {
    let disk = disk();
    let log = opened(&disk, small().segment_bytes(100_000));
    lead(&log, &[1; 5000]);
    lead(&log, &[2; 2000]);
    log.close().expect("a healthy disk");
    disk.remove(checkpoint());
    let log = opened(&disk, small());
    assert_eq!(epochs(&log), [(1, 0), (2, 5000)]);
    assert!(disk.bytes_read(log_path(0)) < 20_000, "{}", disk.bytes_read(log_path(0)));
}

// Row 122.
#[test]
fn recovery_adds_what_it_finds_to_the_file_and_takes_back_what_it_cuts() {
    let disk = disk();
    let log = opened(&disk, large());
    lead(&log, &[1]);
    log.sync().expect("a healthy disk");
    let older = disk.read_file(checkpoint()).expect("a checkpoint");
    lead(&log, &[3, 3, 5]);
    let killed = disk.image(CrashStrength::Kill, |_, _| 0);
    killed.write_file(checkpoint(), older);
    assert_eq!(epochs(&opened(&killed, large())), [(1, 0), (3, 1), (5, 3)]);
    assert_eq!(in_file(&killed), [(1, 0), (3, 1), (5, 3)]);
    let cut = disk.crash_keeping(CrashStrength::Strict, |_, _| 0);
    assert_eq!(in_file(&cut), [(1, 0), (3, 1), (5, 3)], "the file is durable before the batches are");
    let log = opened(&cut, large());
    assert_eq!((epochs(&log), values(&log)), (vec![(1, 0)], upto(1)));
    assert_eq!(in_file(&cut), [(1, 0)], "durably, before anything comes to stand there");
    // What stands there now has no epoch; the file must not say that it is epoch 3.
    fill(&log, 1..3);
    let after = cut.crash(CrashStrength::Kill);
    assert_eq!(epochs(&opened(&after, large())), [(1, 0)]);
}

// Rows 122, 290.
#[test]
fn a_crash_at_any_moment_leaves_the_epochs_of_the_batches_that_are_there() {
    for strength in [CrashStrength::Kill, CrashStrength::Strict, CrashStrength::Ordered] {
        for calls in 0.. {
            let disk = disk();
            let log = opened(&disk, small());
            lead(&log, &[1, 1]);
            disk.power_off_after(calls);
            let mut durable = 0;
            let done = (|| {
                append(&log, 2, 2)?;
                log.sync()?;
                durable = 3;
                append(&log, 4, 3)?;
                append(&log, 5, 4)?;
                log.sync()?;
                durable = 5;
                Ok::<(), Error>(())
            })();
            for image in disk.every_image(strength).take(60) {
                // Twice, the second time with the opening itself cut short.
                for opening_calls in [u64::MAX, calls % 7] {
                    let image = image.image(CrashStrength::Kill, |_, _| 0);
                    image.power_off_after(opening_calls);
                    drop(open(&image, small()));
                    let image = image.crash_keeping(CrashStrength::Strict, |_, _| 0);
                    let log = opened(&image, small());
                    let case = format!("{strength:?} after {calls} calls, opening after {opening_calls}");
                    assert_eq!(epochs(&log), in_batches(&log), "{case}");
                    assert!(log.log_end_offset() >= at(durable), "{case}");
                    assert_eq!(in_file(&image), in_batches(&log), "{case}");
                }
            }
            if done.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn a_file_that_cannot_be_written_refuses_the_append_and_a_failed_sync_of_it_fails_the_log() {
    for (call, kind) in [
        (CallKind::Open, ErrorKind::Retry),
        (CallKind::WriteAt, ErrorKind::Retry),
        (CallKind::Rename, ErrorKind::Retry),
        (CallKind::SyncData, ErrorKind::Reopen),
        (CallKind::SyncDir, ErrorKind::Reopen),
    ] {
        let disk = disk();
        let log = opened(&disk, large());
        lead(&log, &[1]);
        log.sync().expect("a healthy disk");
        disk.fail(Fault::once(call, 1, FaultKind::InputOutput));
        let error = append(&log, 2, 1).expect_err("the file cannot be written");
        assert_eq!(error.kind(), kind, "{call:?}: {error}");
        disk.heal();
        assert_eq!((epochs(&log), values(&log)), (vec![(1, 0)], upto(1)), "{call:?}");
        log.reopen().expect("a healthy disk");
        lead(&log, &[2]);
        log.sync().expect("a healthy disk");
        let after = disk.crash_keeping(CrashStrength::Strict, |_, _| 0);
        assert_eq!(epochs(&opened(&after, large())), [(1, 0), (2, 1)], "{call:?}");
    }
}

// Rows 257, 282, 289, 290.
#[test]
fn what_is_cut_off_is_forgotten_durably() {
    let disk = disk();
    let log = opened(&disk, large());
    lead(&log, &[1, 1, 3, 3, 6]);
    let shared = log.shared();
    shared.cut_epochs_from_start(at(1)).expect("a healthy disk");
    assert_eq!(epochs(&log), [(1, 1), (3, 2), (6, 4)]);
    shared.cut_epochs_from_start(at(3)).expect("a healthy disk");
    assert_eq!((epochs(&log), in_file(&disk)), (vec![(3, 3), (6, 4)], vec![(3, 3), (6, 4)]));
    disk.reset_counters();
    shared.cut_epochs_from_end(at(5)).expect("a healthy disk");
    assert_eq!(disk.calls(CallKind::Rename), 0, "nothing begins there");
    shared.cut_epochs_from_end(at(4)).expect("a healthy disk");
    assert_eq!((epochs(&log), in_file(&disk)), (vec![(3, 3)], vec![(3, 3)]));
    shared.clear_epochs().expect("a healthy disk");
    assert_eq!((epochs(&log), in_file(&disk)), (vec![], vec![]));
    // One that begins at the log end goes even where the log itself is not cut.
    let log = opened(&super::bench::disk(), large());
    lead(&log, &[1]);
    log.shared().cut_epochs_from_end(log.log_end_offset()).expect("a healthy disk");
    assert_eq!(epochs(&log), [(1, 0)]);
}

#[test]
fn a_cut_whose_write_fails_holds_in_memory_and_is_written_by_the_next_append() {
    let disk = disk();
    let log = opened(&disk, large());
    lead(&log, &[1, 3]);
    disk.fail(Fault::once(CallKind::Rename, 1, FaultKind::InputOutput));
    log.shared().cut_epochs_from_start(at(1)).expect_err("the file cannot be written");
    disk.heal();
    assert_eq!((epochs(&log), in_file(&disk)), (vec![(3, 1)], vec![(1, 0), (3, 1)]));
    fill(&log, 2..3);
    assert_eq!(in_file(&disk), [(3, 1)]);
}

#[test]
fn a_full_disk_keeps_no_log_from_being_opened_but_from_appending_until_the_file_is_right() {
    let disk = disk();
    let log = opened(&disk, large());
    lead(&log, &[1]);
    log.sync().expect("a healthy disk");
    lead(&log, &[2]);
    let disk = disk.crash_keeping(CrashStrength::Strict, |_, _| 0);
    disk.fail(Fault::from(CallKind::WriteAt, 1, FaultKind::NoSpace).on("checkpoint.tmp"));
    let log = opened(&disk, large());
    assert_eq!((epochs(&log), in_file(&disk)), (vec![(1, 0)], vec![(1, 0), (2, 1)]));
    let error = log.append(&[Record::value(&text(1))]).expect_err("it would be taken for epoch 2");
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    disk.heal();
    fill(&log, 1..2);
    assert_eq!(in_file(&disk), [(1, 0)]);
}

// Story: the log start that was raised inside a segment waited for the next sync, and the epochs below it were gone from
// their file at once: after a power cut the log began lower down, with records that had no epoch.
#[test]
fn after_a_power_cut_a_log_begins_no_lower_than_its_epochs() {
    for strength in [CrashStrength::Strict, CrashStrength::Ordered] {
        let disk = disk();
        let log = opened(&disk, small().segment_bytes(1 << 20));
        let of_epoch = |epoch| AppendOptions::default().leader_epoch(epoch);
        for value in 0..4 {
            log.append_with(&of_epoch(value / 2), &[Record::value("v")]).expect("there is room");
        }
        log.sync().expect("a healthy disk");
        log.delete_records_before(at(1)).expect("in the log");
        log.append_with(&of_epoch(2), &[Record::value("v")]).expect("there is room");
        let recovered = opened(&disk.image(strength, |_, _| 0), small());
        let start = recovered.log_start_offset();
        assert_eq!(recovered.epoch_for_offset(start), Some(0), "from {start}: {:?}", recovered.leader_epochs());
    }
}

// Story: deleted batches that were still in the first segment contradicted the epochs of those that came after them,
// and recovery gave the records the epoch of what was deleted.
#[test]
fn deleted_batches_have_no_say_about_epochs() {
    let disk = disk();
    let log = opened(&disk, small().segment_bytes(1 << 20));
    let of_epoch = |epoch| AppendOptions::default().leader_epoch(epoch);
    log.append_with(&of_epoch(2), &[Record::value("v")]).expect("there is room");
    log.delete_records_before(at(1)).expect("in the log");
    log.append_with(&of_epoch(0), &[Record::value("v")]).expect("nothing is left of the later epoch");
    let image = disk.image(CrashStrength::Kill, |_, _| 0);
    assert_eq!(opened(&image, small()).leader_epochs(), [(0, at(1))]);
    let image = disk.image(CrashStrength::Kill, |_, _| 0);
    image.remove(super::bench::DIR.to_owned() + "/leader-epoch-checkpoint");
    assert_eq!(opened(&image, small()).leader_epochs(), [(0, at(1))]);
}
