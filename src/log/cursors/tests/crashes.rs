//! Crashes of process and power between any two calls to the system: nothing is skipped, and nothing is done twice.

use super::{at, committed, disk, open};
use crate::error::Result;
use crate::fs::sim::{CrashStrength, SimDisk};
use crate::log::{AppendOptions, Log};
use crate::offset::Offset;
use crate::record::Record;

const NAME: &str = "c";
const INPUTS: u64 = 4;
/// Of the states that a power cut may leave there are too many to try all: this many in order, and as many by chance.
const IMAGES: usize = 48;

/// What a power cut now may leave, and what the end of the process does.
fn images(disk: &SimDisk, with_power_cuts: bool) -> Vec<SimDisk> {
    let mut images = vec![disk.image(CrashStrength::Kill, |_, _| 0)];
    if with_power_cuts {
        let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
        for strength in [CrashStrength::Strict, CrashStrength::Ordered] {
            images.extend(disk.every_image(strength).take(IMAGES));
            images.push(disk.image(strength, |_, options| options - 1));
            for _ in 0..IMAGES {
                images.push(disk.image(strength, |_, options| {
                    chance ^= chance << 13;
                    chance ^= chance >> 7;
                    chance ^= chance << 17;
                    chance % options
                }));
            }
        }
    }
    images
}

/// The values that the consumer appended, first to last.
fn outputs(log: &Log) -> Vec<u64> {
    let values = log.records(..).expect("a range").map(|record| record.expect("readable").value().map(<[u8]>::to_vec));
    let text = values.map(|value| String::from_utf8(value.expect("a value")).expect("text"));
    text.filter_map(|text| text.strip_prefix("out ").map(|number| number.parse().expect("a number"))).collect()
}

/// Consumes one input after the other, each into an output, with the commit.
fn consume(log: &Log, durably: bool) -> Result<()> {
    let next = log.cursor(NAME)?.position()?.value();
    for input in next..INPUTS {
        let value = format!("out {input}");
        let options = AppendOptions::default().sync(durably);
        log.append_and_commit(&options, &[Record::value(&value)], &[(NAME, at(input + 1))])?;
    }
    Ok(())
}

fn begin() -> SimDisk {
    let disk = disk();
    let log = open(&disk);
    for input in 0..INPUTS {
        log.append(&[Record::value(&format!("in {input}"))]).expect("there is room");
    }
    log.close().expect("a healthy disk");
    disk
}

/// Cuts the work off after each changing call, and finishes it on what is left.
fn cut_everywhere(durably: bool, with_power_cuts: bool, check: impl Fn(&SimDisk, &Log, &str)) -> usize {
    let mut cases = 0;
    for calls in 0.. {
        let disk = begin();
        let log = open(&disk);
        disk.power_off_after(calls);
        let finished = consume(&log, durably).is_ok();
        let was_off = disk.is_off();
        for (number, image) in images(&disk, with_power_cuts).into_iter().enumerate() {
            let case = format!("{calls} calls, image {number}");
            let log = open(&image);
            check(&image, &log, &case);
            cases += 1;
        }
        if finished && !was_off {
            break;
        }
    }
    cases
}

fn is_exactly_once(disk: &SimDisk, log: &Log, case: &str) {
    let found = outputs(log);
    let done: Vec<u64> = (0..committed(log, NAME).unwrap_or(0)).collect();
    assert_eq!(found, done, "{case}: a batch is there without its commit, or the other way round");
    consume(log, false).unwrap_or_else(|error| panic!("{case}: {error}"));
    assert_eq!(outputs(log), (0..INPUTS).collect::<Vec<_>>(), "{case}");
    log.close().unwrap_or_else(|error| panic!("{case}: {error}"));
    let log = open(disk);
    assert_eq!(committed(&log, NAME), Some(INPUTS), "{case}");
}

#[test]
fn the_end_of_the_process_parts_no_append_from_its_commit() {
    let cases = cut_everywhere(false, false, is_exactly_once);
    assert!(cases > 10, "{cases}");
}

#[test]
fn a_power_cut_parts_no_durable_append_from_its_commit() {
    let cases = cut_everywhere(true, true, is_exactly_once);
    assert!(cases > 1000, "{cases}");
}

#[test]
fn a_power_cut_keeps_no_commit_without_its_append_however_little_was_synced() {
    cut_everywhere(false, true, |_, log, case| {
        let found = outputs(log);
        let done = committed(log, NAME).unwrap_or(0);
        assert!(done <= u64::try_from(found.len()).expect("few"), "{case}: {done} of {found:?}");
    });
}

// The log grows by batches that are different in each life, and the consumer says what it saw of them.
struct Life<'a> {
    log: &'a Log,
    number: u64,
    seen: &'a mut std::collections::BTreeSet<(u64, Vec<u8>)>,
}

impl Life<'_> {
    fn append(&self, count: u64) -> Result<()> {
        for value in 0..count {
            self.log.append(&[Record::value(&format!("life {} value {value}", self.number))])?;
        }
        Ok(())
    }

    fn consume(&mut self, most: usize) -> Result<()> {
        let cursor = self.log.cursor(NAME)?;
        for record in cursor.records()?.take(most) {
            let record = record?;
            self.seen.insert((record.offset().value(), record.value().unwrap_or_default().to_vec()));
            cursor.commit(record.offset() + 1)?;
        }
        Ok(())
    }
}

/// What lies below the cursor was seen by its consumer, every record of it.
fn check_nothing_is_skipped(log: &Log, seen: &std::collections::BTreeSet<(u64, Vec<u8>)>, case: &str) {
    let position = log.cursor(NAME).expect("a name").position().unwrap_or_else(|error| panic!("{case}: {error}"));
    assert!(position <= log.log_end_offset(), "{case}");
    for record in log.records(..position).expect("a range") {
        let record = record.expect("readable");
        let given = (record.offset().value(), record.value().unwrap_or_default().to_vec());
        assert!(seen.contains(&given), "{case}: {given:?} lies below {position} and was never given");
    }
}

#[test]
fn a_power_cut_lets_a_cursor_skip_nothing_whether_or_not_the_next_life_looks_at_it() {
    for calls in (0..).step_by(3) {
        let disk = disk();
        let log = open(&disk);
        let mut seen = std::collections::BTreeSet::new();
        disk.power_off_after(calls);
        let mut life = Life { log: &log, number: 1, seen: &mut seen };
        let outcome = life
            .append(3)
            .and_then(|()| life.consume(2))
            .and_then(|()| life.append(2))
            .and_then(|()| life.consume(9))
            .and_then(|()| log.sync().map(drop))
            .and_then(|()| life.append(4))
            .and_then(|()| life.consume(9));
        for (number, image) in images(&disk, true).into_iter().enumerate() {
            for looks in [true, false] {
                let case = format!("{calls} calls, image {number}, looks {looks}");
                let image = image.image(CrashStrength::Kill, |_, _| 0);
                let mut seen = seen.clone();
                let log = open(&image);
                if looks {
                    check_nothing_is_skipped(&log, &seen, &case);
                }
                // As many as were lost, and others: what stands at their offsets is new.
                Life { log: &log, number: 2, seen: &mut seen }.append(7).unwrap();
                log.close().unwrap();
                drop(log);
                let log = open(&image);
                check_nothing_is_skipped(&log, &seen, &case);
                let mut life = Life { log: &log, number: 3, seen: &mut seen };
                life.consume(99).unwrap();
                assert_eq!(log.cursor(NAME).unwrap().lag().unwrap(), 0, "{case}");
                check_nothing_is_skipped(&log, &seen, &case);
            }
        }
        if outcome.is_ok() && !disk.is_off() {
            break;
        }
    }
}

#[test]
fn what_was_committed_durably_survives_a_power_cut_and_what_was_synced_does_too() {
    let disk = disk();
    let log = open(&disk);
    for value in 0..6 {
        log.append(&[Record::value(&format!("{value}"))]).unwrap();
    }
    log.cursor("durable").unwrap().commit_durably(at(4)).unwrap();
    log.cursor("synced").unwrap().commit(at(5)).unwrap();
    log.sync().unwrap();
    log.cursor("lost").unwrap().commit(at(6)).unwrap();
    for image in images(&disk, true).into_iter().skip(1) {
        let log = open(&image);
        assert_eq!((committed(&log, "durable"), committed(&log, "synced")), (Some(4), Some(5)));
        assert!(matches!(committed(&log, "lost"), None | Some(6)));
        assert_eq!(log.log_end_offset(), Offset::new(6));
    }
}

#[test]
fn a_crash_in_a_rewrite_loses_no_commit() {
    let names: Vec<String> = (0..150).map(|number| format!("{number} {}", "n".repeat(230))).collect();
    let prepare = || {
        let disk = disk();
        let log = open(&disk);
        for value in 0..300 {
            log.append(&[Record::value(&format!("{value}"))]).unwrap();
        }
        for (number, name) in names.iter().enumerate() {
            log.cursor(name).unwrap().commit(at(number as u64)).unwrap();
        }
        log.sync().unwrap();
        while !log.shared().cursors.is_rewrite_due() {
            log.cursor(&names[0]).unwrap().commit(at(300)).unwrap();
            log.cursor(&names[0]).unwrap().commit(at(0)).unwrap();
        }
        log.sync().unwrap();
        (disk, log)
    };
    for calls in 0.. {
        let (disk, log) = prepare();
        let before = log.cursors().unwrap();
        disk.power_off_after(calls);
        let done = log.cursor(&names[0]).unwrap().commit(at(0)).is_ok();
        let mut images = images(&disk, true);
        images.truncate(if calls % 4 == 0 { 60 } else { 12 });
        for image in images {
            assert_eq!(open(&image).cursors().unwrap(), before, "{calls} calls");
        }
        if done && !disk.is_off() {
            break;
        }
    }
}
