//! Many that follow one log through everything that can happen to it, held to what they must be given.
//!
//! One thread, so that after each operation it is known what every tailer has to say.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bench::{append, at, disk, number, opened, small};
use crate::error::Error;
use crate::fs::sim::{CallKind, Fault, FaultKind};
use crate::log::{Log, ReadUpTo, Tailer};

const KINDS: [ReadUpTo; 3] = [ReadUpTo::LogEnd, ReadUpTo::Synced, ReadUpTo::HighWatermark];

/// splitmix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

struct Follower {
    tailer: Tailer,
    kind: ReadUpTo,
    given: BTreeMap<u64, u64>,
    next: u64,
}

fn follow(log: &Log, kind: ReadUpTo, from: u64) -> Follower {
    Follower { tailer: log.reader().up_to(kind).tail(at(from)), kind, given: BTreeMap::new(), next: from }
}

/// Lets a follower take up to so many, and checks them. `false` if it ended, as it had to.
fn take(follower: &mut Follower, log: &Log, model: &BTreeMap<u64, u64>, most: u64) -> bool {
    let (start, end) = (log.log_start_offset().value(), log.reader().up_to(follower.kind).log_end_offset().value());
    let is_gone = |(offset, value): (&u64, &u64)| *offset >= start && model.get(offset) != Some(value);
    let must_be_told = follower.given.iter().any(is_gone);
    for _ in 0..most {
        match follower.tailer.next_timeout(Duration::ZERO) {
            Ok(Some(record)) => {
                let (offset, value) = (record.offset().value(), number(record.value()));
                assert!(!must_be_told, "{offset} was given after records that are gone");
                assert_eq!(offset, follower.next, "in order");
                assert!(offset < end, "what it does not see is not given");
                assert_eq!(model.get(&offset), Some(&value), "what the log holds");
                follower.given.insert(offset, value);
                follower.next = offset + 1;
            }
            Ok(None) => {
                assert!(!must_be_told, "records that were given are gone, and nobody said so");
                assert!(follower.next >= end, "{} of {end} were not given", follower.next);
                return true;
            }
            Err(Error::Truncated { .. }) => {
                let lost = follower.given.iter().any(|(offset, value)| model.get(offset) != Some(value));
                assert!(lost || follower.given.is_empty(), "nothing that was given is gone");
                return false;
            }
            Err(Error::OffsetOutOfRange { .. }) => {
                assert!(!must_be_told && follower.next < start || follower.given.is_empty());
                return false;
            }
            Err(Error::Failed { .. }) => assert!(log.stats().failed),
            Err(error) => panic!("{error:?}"),
        }
    }
    true
}

#[test]
fn whatever_happens_to_a_log_who_follows_it_is_given_what_it_holds_once_or_told() {
    for seed in 0..60 {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut draw = Draw(seed);
    let disk = disk();
    let log = opened(&disk, small().segment_bytes([300, 700, 1 << 20][usize::try_from(draw.below(3)).expect("few")]));
    let mut model = BTreeMap::new();
    let mut followers: Vec<Follower> = Vec::new();
    let mut value = 0;
    for step in 0..120 {
        let (start, end) = (log.log_start_offset().value(), log.log_end_offset().value());
        let within = start + draw.below(end - start + 1);
        match draw.below(20) {
            0..=7 => {
                for _ in 0..=draw.below(4) {
                    let offset = append(&log, value).expect("there is room").base_offset().value();
                    model.insert(offset, value);
                    value += 1;
                }
            }
            8..=9 => drop(log.sync().expect("a healthy disk")),
            10..=11 => {
                log.truncate_to(at(within)).expect("a healthy disk");
                model.split_off(&within);
            }
            12 => {
                let start = if draw.below(2) == 0 { within } else { end + draw.below(3) };
                log.reset_to(at(start)).expect("a healthy disk");
                model.clear();
            }
            13 => {
                let within = within.min(log.high_watermark().value());
                log.delete_records_before(at(within)).expect("a healthy disk");
                model = model.split_off(&within);
            }
            14..=15 => drop(log.set_high_watermark(at(within)).expect("open")),
            16 => {
                disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput));
                if log.sync().is_err() {
                    // They must not be given what the failure hides.
                    followers.retain_mut(|follower| {
                        let most = draw.below(3);
                        take(follower, &log, &model, most)
                    });
                    log.reopen().expect("the disk is well again");
                    model.split_off(&log.log_end_offset().value());
                }
                disk.heal();
            }
            17 => drop(log.roll().expect("there is room")),
            _ => {
                let kind = KINDS[usize::try_from(draw.below(3)).expect("few")];
                followers.push(follow(&log, kind, within));
            }
        }
        let most = [1, 3, 1000, 1000][usize::try_from(draw.below(4)).expect("few")];
        let looks = draw.below(3) > 0;
        if looks {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                followers.retain_mut(|follower| take(follower, &log, &model, most));
            }));
            assert!(outcome.is_ok(), "seed {seed}, step {step}");
        }
        check_times(&log, &model);
    }
    let report = log.check_integrity().expect("readable");
    assert!(report.is_clean(), "seed {seed}: {report:?}");
}

fn check_times(log: &Log, model: &BTreeMap<u64, u64>) {
    let found = log.max_timestamp().expect("readable").map(|(offset, _)| offset.value());
    assert_eq!(found, model.keys().next().copied(), "all records have one time");
}
