//! A kill at each system call of a roll, a truncation, a deletion, a close; and the same directory going to and fro
//! between Kafka and kstore, either of which is killed.
//!
//! `strace` kills the child as it enters its nth call of a kind. The invariant it owns: there is no step in between at
//! which Kafka recovers something else than kstore does.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kstore::{AppendOptions, Compression, Log, LogConfig, Offset, Record, Timestamp, Worker, WriteMode};

use crate::agreement::Said;
use crate::dice::Dice;
use crate::judge::Judge;
use crate::place::{FIRST_TIME, Place, config, fill, inside_a_batch, open};
use crate::site::place_of_child;

const CHILD: &str = "each_step::the_process_that_makes_one_step";
const CHILD_STEP: &str = "KSTORE_TEST_STEP";
/// The calls that change a directory, and those that make a change durable.
const CALLS: [&str; 8] = ["pwrite64", "pwritev", "ftruncate", "fallocate", "fdatasync", "fsync", "rename", "unlink"];
const STEPS: [&str; 8] = [
    "append",
    "roll",
    "truncate in place",
    "truncate by replacement",
    "delete records",
    "delete segments",
    "begin anew",
    "close",
];
const ROUNDS: u64 = 8;

/// What would be done in the background is done when it is asked for, by one thread.
fn steady(mode: WriteMode) -> LogConfig {
    config(Compression::None, mode).worker(Worker::Caller).file_delete_delay_ms(0)
}

fn mode_of(step: &str) -> WriteMode {
    // Both occur with each kind of change: a roll and a close have more to do in allocated room.
    if step.len().is_multiple_of(2) { WriteMode::Preallocated } else { WriteMode::Write }
}

/// Not a test of its own: it does nothing unless a test below starts it.
#[test]
fn the_process_that_makes_one_step() {
    let Some(dir) = place_of_child() else { return };
    let step = std::env::var(CHILD_STEP).expect("a step");
    let log = open(&dir, steady(mode_of(&step)));
    take(&log, &step);
    std::mem::forget(log);
}

fn take(log: &Log, step: &str) {
    let (start, end) = (log.log_start_offset().value(), log.log_end_offset().value());
    let now = Timestamp::from_millis(FIRST_TIME);
    match step {
        "append" => {
            fill(log, 10);
            log.sync().expect("a sync");
        }
        "roll" => {
            log.append(&[Record::value("before")]).expect("there is room");
            log.roll().expect("a roll");
            log.append(&[Record::value("after")]).expect("there is room");
            log.run_once(now).expect("what is to be done");
        }
        "truncate in place" => {
            fill(log, 10);
            log.truncate_to(inside_a_batch(log, end)).expect("a truncation");
            log.append(&[Record::value("after")]).expect("there is room");
        }
        "truncate by replacement" => {
            log.truncate_to(inside_a_batch(log, start + (end - start) / 2)).expect("a truncation");
            log.append(&[Record::value("after")]).expect("there is room");
        }
        "delete records" => {
            log.delete_records_before(Offset::new(start + (end - start) / 2)).expect("a deletion");
            log.run_once(now).expect("what is to be done");
        }
        "delete segments" => {
            log.update_config(|config| config.retention_bytes(8000)).expect("a sound configuration");
            log.delete_old_segments(now).expect("a deletion");
            log.run_once(now).expect("what is to be done");
        }
        "begin anew" => {
            log.reset_to(Offset::new(end + 5)).expect("a beginning");
            log.append(&[Record::value("after")]).expect("there is room");
        }
        "close" => {
            log.append(&[Record::value("before")]).expect("there is room");
            log.close().expect("a clean close");
        }
        _ => panic!("no such step: {step}"),
    }
}

/// Whether the child was killed at its nth call; `false` if it ended before.
fn is_killed_at(dir: &Path, step: &str, call: &str, nth: u32) -> bool {
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:signal=KILL:when={nth}")])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", CHILD, "--nocapture", "--test-threads=1"])
        .env("KSTORE_TEST_PLACE", dir)
        .env(CHILD_STEP, step)
        .output()
        .expect("strace starts, for it did before");
    let said = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && said.contains("1 passed");
    assert!(passed || !output.status.success(), "{step}: {said}");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!complaint.contains("panicked"), "{step}, {call} {nth}: {complaint}");
    !passed
}

fn has_strace() -> bool {
    let can_trace = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    let can_trace = can_trace.is_ok_and(|output| output.status.success());
    if !can_trace {
        eprintln!("\n!!!\n!!! NOT RUN: a kill at each step, before Kafka: strace is missing, or may not trace\n!!!");
    }
    can_trace
}

#[test]
fn kafka_recovers_what_kstore_recovers_after_a_kill_at_each_step() {
    let Some(mut judge) = Judge::start() else { return };
    if !has_strace() {
        return;
    }
    let mut kills = 0;
    for step in STEPS {
        let place = Place::new();
        // Half of it is Kafka's own.
        judge.append(&place.dir(), "clean", 60, 0);
        let log = open(&place.dir(), steady(mode_of(step)));
        fill(&log, 60);
        assert!(log.segments().expect("an open log").len() > 2, "it rolled");
        log.close().expect("a clean close");
        let before = kills;
        for call in CALLS {
            for nth in 1.. {
                let killed = place.copied("killed");
                if !is_killed_at(&killed, step, call, nth) {
                    break;
                }
                kills += 1;
                assert_all_go_on(&mut judge, &place, &killed, &format!("{step}, killed at {call} {nth}"));
            }
        }
        assert!(kills > before + 2, "{step} makes calls");
    }
    println!("{kills} kills");
}

/// Kafka and kstore recover the same, and then each goes on behind the other.
fn assert_all_go_on(judge: &mut Judge, place: &Place, killed: &Path, what: &str) {
    let kafkas = place.copied_from(killed, "kafkas");
    let log = open(killed, steady(WriteMode::Write));
    assert!(log.recovery_report().damage.is_empty(), "{what}: {:?}", log.recovery_report());
    let said = Said::by(&log);
    said.assert_is(&judge.read_from(&kafkas, "unclean", said.bounds.0), &kafkas, what);
    log.append_with(&AppendOptions::default().leader_epoch(50), &[Record::value("on")]).expect("there is room");
    let said = Said::by(&log);
    log.close().expect("a clean close");
    let closed = place.copied_from(killed, "closed");
    said.assert_is(&judge.read_from(&closed, "clean", said.bounds.0), &closed, what);
}

#[test]
fn kafka_and_kstore_go_on_with_what_the_other_was_killed_over() {
    let Some(mut judge) = Judge::start() else { return };
    let place = Place::new();
    let mut kept = Vec::new();
    for round in 0..ROUNDS {
        let mut dice = Dice::new(round);
        let writer = Judge::start().expect("there was one");
        let pause = Duration::from_micros(dice.below(60_000));
        let shutdown = if round == 0 { "clean" } else { "unclean" };
        let epoch = i32::try_from(round * 3).expect("small");
        writer.append_and_be_killed(&place.dir(), shutdown, epoch, pause);

        let log = open(&place.dir(), steady(WriteMode::Preallocated));
        let said = Said::by(&log);
        assert_eq!(said.records[..kept.len()], kept[..], "round {round}: what was there before");
        for (index, record) in log.records(Offset::new(kept.len() as u64)..).expect("a range").enumerate() {
            let record = record.expect("readable");
            let expected = format!("kafka-{}", kept.len() + index);
            assert_eq!(record.value(), Some(expected.as_bytes()), "round {round}: what Kafka wrote, in order");
        }
        assert!(said.records.len() > kept.len() + 1, "round {round}: Kafka appended");
        // Left as a kill leaves it.
        log.append_with(&AppendOptions::default().leader_epoch(epoch + 1), &[Record::value("kstore")]).expect("room");
        let said = Said::by(&log);
        let killed = place.copied("killed");
        said.assert_is(&judge.read(&killed, "unclean"), &killed, &format!("round {round}"));
        std::mem::forget(log);
        kept = said.records;
        place.replace_by_copy();
    }
}
