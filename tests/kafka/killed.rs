//! A process that appends, rolls, truncates and deletes is killed anywhere, and Kafka opens what it left.
//!
//! Only the process ends, not the machine: everything that it wrote is there. The invariant it owns: what Kafka recovers
//! from a copy is what kstore recovers from the directory, given the log start that kstore knows and Kafka keeps elsewhere.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kstore::{Compression, Log, Offset, OnDamage, Timestamp, WriteMode};

use crate::agreement::Said;
use crate::dice::Dice;
use crate::judge::Judge;
use crate::place::{CODECS, FIRST_TIME, Place, append, config, open};
use crate::site::place_of_child;

const ROUNDS: u64 = 20;
/// Names the child's test, and tells it what to draw.
const CHILD: &str = "killed::the_process_that_is_killed";
const CHILD_ROUND: &str = "KSTORE_TEST_ROUND";

pub(crate) fn config_of(round: u64) -> kstore::LogConfig {
    let codec = CODECS[usize::try_from(round).expect("small") % CODECS.len()];
    let mode =
        [WriteMode::Write, WriteMode::Preallocated, WriteMode::Mapped][usize::try_from(round % 3).expect("small")];
    config(codec, mode).segment_bytes(3000).retention_bytes(9000).file_delete_delay_ms(round % 3 * 20)
}

/// Not a test of its own: it does nothing unless the test below starts it, and then it does not end.
#[test]
fn the_process_that_is_killed() {
    let Some(dir) = place_of_child() else { return };
    let round = std::env::var(CHILD_ROUND).expect("a round").parse().expect("a number");
    let log = open(&dir, config_of(round));
    let mut dice = Dice::new(round);
    println!("\nready");
    let mut epoch = log.latest_leader_epoch().unwrap_or(0);
    loop {
        step(&log, &mut dice, &mut epoch);
    }
}

/// Something that changes the log.
pub(crate) fn step(log: &Log, dice: &mut Dice, epoch: &mut i32) {
    let (start, end) = (log.log_start_offset().value(), log.log_end_offset().value());
    let near_the_end = Offset::new(end - dice.below((end - start).min(60) + 1));
    match dice.below(24) {
        0 => drop(log.roll().expect("a roll")),
        1 | 2 => log.truncate_to(near_the_end).expect("a truncation"),
        3 => drop(log.truncate_to_batch(near_the_end).expect("a truncation")),
        4 => drop(log.delete_records_before(Offset::new(start + (end - start) / 3)).expect("a deletion")),
        5 => drop(log.delete_old_segments(Timestamp::from_millis(FIRST_TIME)).expect("a deletion")),
        6 if dice.below(4) == 0 => log.reset_to(Offset::new(end + dice.below(9))).expect("a beginning"),
        7 => drop(log.sync().expect("a sync")),
        8 => *epoch += 1,
        9 => log.cursor("one").expect("a cursor").commit(near_the_end).expect("a commit"),
        _ => {
            for _ in 0..dice.below(9) {
                append(log, dice.below(500), *epoch);
            }
        }
    }
}

fn run_and_kill(dir: &Path, round: u64) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", CHILD, "--nocapture", "--test-threads=1"])
        .env("KSTORE_TEST_PLACE", dir)
        .env(CHILD_ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child process");
    let said = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut lines = said.lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "ready"), "round {round}: the child ended by itself");
    std::thread::sleep(Duration::from_micros(Dice::new(round).below(200_000)));
    child.kill().expect("it still runs");
    let output = child.wait_with_output().expect("it was killed");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_none() && complaint.is_empty(), "round {round}: {}: {complaint}", output.status);
}

#[test]
fn kafka_recovers_what_kstore_recovers_after_a_kill_anywhere() {
    let Some(mut judge) = Judge::start() else { return };
    let place = Place::new();
    for round in 0..ROUNDS {
        run_and_kill(&place.dir(), round);
        let killed = place.copied("killed");
        let log = open(&place.dir(), config(Compression::None, WriteMode::Write).on_damage(OnDamage::Refuse));
        assert!(log.recovery_report().damage.is_empty(), "round {round}: {:?}", log.recovery_report());
        let said = Said::by(&log);
        let verdict = judge.read_from(&killed, "unclean", said.bounds.0);
        said.assert_is(&verdict, &killed, &format!("round {round}"));
        // And once more, after kstore recovered it, closed or not.
        if round % 2 == 0 {
            log.close().expect("a clean close");
        }
        let after = place.copied("recovered");
        said.assert_is(
            &judge.read_from(&after, "unclean", said.bounds.0),
            &after,
            &format!("round {round}, recovered"),
        );
    }
}
