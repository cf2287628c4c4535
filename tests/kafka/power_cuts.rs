//! The power goes while kstore appends, rolls, truncates and deletes on a simulated disk, and Kafka opens what is left.
//!
//! Any combination of sectors, lengths and names that were not synced may be missing. The invariant it owns: what kstore
//! recovers from such a directory is what Kafka reads of it from then on, and nothing that was synced is missing there.

use kstore::{Log, LogConfig, SimulatedDisk, Worker, WriteMode};

use crate::agreement::Said;
use crate::dice::Dice;
use crate::judge::Judge;
use crate::killed::{config_of, step};
use crate::place::Place;

const CUTS: u64 = 40;
const DIR: &str = "/orders-0";

/// Who looks after the log in the background would make a seed say something else each time; so a thread that maps windows
/// has no place here.
fn config(seed: u64) -> LogConfig {
    let mode = if seed.is_multiple_of(2) { WriteMode::Write } else { WriteMode::Preallocated };
    config_of(seed).write_mode(mode).worker(Worker::Caller)
}

/// The records that a power cut must leave, as the judge prints them.
fn synced(log: &Log) -> Vec<String> {
    let all = Said::by(log);
    let durable = log.synced_offset().value();
    all.records.into_iter().filter(|line| offset_of(line) < durable).collect()
}

fn offset_of(line: &str) -> u64 {
    line.split(' ').next().and_then(|word| word.parse().ok()).expect("an offset")
}

#[test]
fn kafka_reads_what_kstore_recovers_after_a_power_cut() {
    let Some(mut judge) = Judge::start() else { return };
    let mut lost = 0;
    for seed in 0..CUTS {
        let disk = SimulatedDisk::new(seed);
        let log = disk.open(DIR, config(seed)).expect("an empty directory");
        let mut dice = Dice::new(seed);
        let mut epoch = 0;
        for _ in 0..20 + dice.below(60) {
            step(&log, &mut dice, &mut epoch);
        }
        let (promised, end) = (synced(&log), log.log_end_offset());
        let after = disk.cut_power();
        drop(log);

        let recovered = after.open(DIR, config(seed)).expect("a power cut is no damage");
        assert!(recovered.recovery_report().damage.is_empty(), "seed {seed}: {:?}", recovered.recovery_report());
        let said = Said::by(&recovered);
        lost += u64::from(said.bounds.1 < end.value());
        for line in promised.iter().filter(|line| offset_of(line) >= said.bounds.0) {
            assert!(said.records.contains(line), "seed {seed}: {line}");
        }
        let place = Place::new();
        let open = place.dir();
        after.copy_to(DIR, &open).expect("room");
        said.assert_is(&judge.read_from(&open, "unclean", said.bounds.0), &open, &format!("seed {seed}, recovered"));
        recovered.close().expect("a clean close");
        let closed = place.beside("closed");
        after.copy_to(DIR, &closed).expect("room");
        said.assert_is(&judge.read_from(&closed, "clean", said.bounds.0), &closed, &format!("seed {seed}, closed"));
    }
    assert!(lost > CUTS / 4, "the power cuts took something: {lost} times");
}
