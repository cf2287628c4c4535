//! Random operations and random disasters against a plain list of records.
//!
//! Each seed draws a configuration, switches half of the operations and faults off (so that seldom combinations come
//! up too), and runs a short sequence. `KSTORE_SEQUENCES` says how many seeds, `KSTORE_SEED` runs one again. What must
//! hold after each step stands in `expected`, what can happen in `world`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::{LogConfig, SyncPolicy, WhenFull, Worker, WriteMode};
use crate::fs::sim::Rates;
use crate::record::{Compression, TimestampType};

mod commits;
mod draw;
pub(super) mod expected;
mod held;
mod steps;
pub(super) mod world;

use super::properties::figures;
use world::World;

/// What runs one seed again.
const TEST: &str = "log::tests::model";
const SEQUENCES: u64 = 10_000;
const THREADS: usize = 4;

/// Chance from a seed: splitmix64. Or what looks like it to a sequence: choices that an input makes, as long as it lasts.
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    state: u64,
    input: Option<VecDeque<u8>>,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance { state: seed, input: None }
    }

    /// Choices that an input makes; what is no choice comes from the seed.
    fn of_input(seed: u64, input: &[u8]) -> Chance {
        Chance { state: seed, input: Some(input.iter().copied().collect()) }
    }

    /// Whether there was an input and all of it was used.
    fn is_spent(&self) -> bool {
        self.input.as_ref().is_some_and(VecDeque::is_empty)
    }

    /// A number that nothing depends on, such as a byte of a value.
    pub(crate) fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let chosen = match &mut self.input {
            None => self.draw(),
            // As few bytes as the choice needs, so that a change of one changes one choice.
            Some(input) => {
                let bytes = if bound <= 1 << 8 { 1 } else { 2 };
                (0..bytes).fold(0, |chosen, _| chosen << 8 | u64::from(input.pop_front().unwrap_or(0)))
            }
        };
        chosen % bound
    }

    pub(super) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(u64::try_from(len).expect("a length fits"))).expect("an index fits")
    }

    pub(super) fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }
}

/// What can happen in a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Append,
    AppendBuilt,
    AppendEncoded,
    AppendSynced,
    AppendAsFollower,
    AppendAndCommit,
    TruncateTo,
    TruncateToBatch,
    ResetTo,
    DeleteRecordsBefore,
    DeleteOldSegments,
    Hold,
    ReadHeld,
    Sync,
    SyncTo,
    Roll,
    RunOnce,
    Tick,
    JumpClock,
    Read,
    CloseAndReopen,
    DropAndReopen,
    Crash,
    PowerFailsSoon,
    FailSync,
    FailSyncDir,
    FailCall,
    FullDisk,
    LostWriteback,
}

const STEPS: [Step; 29] = [
    Step::Append,
    Step::AppendBuilt,
    Step::AppendEncoded,
    Step::AppendSynced,
    Step::AppendAsFollower,
    Step::AppendAndCommit,
    Step::TruncateTo,
    Step::TruncateToBatch,
    Step::ResetTo,
    Step::DeleteRecordsBefore,
    Step::DeleteOldSegments,
    Step::Hold,
    Step::ReadHeld,
    Step::Sync,
    Step::SyncTo,
    Step::Roll,
    Step::RunOnce,
    Step::Tick,
    Step::JumpClock,
    Step::Read,
    Step::CloseAndReopen,
    Step::DropAndReopen,
    Step::Crash,
    Step::PowerFailsSoon,
    Step::FailSync,
    Step::FailSyncDir,
    Step::FailCall,
    Step::FullDisk,
    Step::LostWriteback,
];

/// One seed's options, printed when it fails.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) seed: u64,
    pub(super) config: LogConfig,
    pub(super) steps: Vec<Step>,
    pub(super) length: u64,
    pub(super) rates: Rates,
    pub(super) failed_syncs_keep_some: bool,
    pub(super) largest_value: u64,
}

impl Options {
    fn of(seed: u64, chance: &mut Chance) -> Options {
        let every = |records, bytes, interval_ms| SyncPolicy::Every { records, bytes, interval_ms };
        let policy = match chance.below(6) {
            0 | 1 => SyncPolicy::Never,
            2 => every(Some(1 + chance.below(12)), None, None),
            3 => every(None, Some(1 + chance.below(2000)), None),
            4 => every(Some(20), None, Some(5)),
            _ => SyncPolicy::Always,
        };
        // Compressing is slow in a debug build and none of what is looked for.
        let codec = match chance.below(16) {
            0 => Compression::Gzip,
            1 => Compression::Snappy,
            2 => Compression::Lz4,
            3 => Compression::Zstd,
            _ => Compression::None,
        };
        let modes: &[WriteMode] = match policy {
            SyncPolicy::Always => &[WriteMode::Write, WriteMode::Preallocated],
            _ => &[WriteMode::Write, WriteMode::Preallocated, WriteMode::Mapped],
        };
        let segment_bytes = chance.pick(&[200, 300, 500, 1000, 4000, 12_000]);
        let config = LogConfig::default()
            .segment_bytes(segment_bytes)
            .retention_bytes(chance.pick(&[None, None, Some(500), Some(3000)]))
            .retention_ms(chance.pick(&[None, None, Some(1), Some(60)]))
            .retention_check_interval_ms(chance.pick(&[1, 30]))
            .file_delete_delay_ms(chance.pick(&[0, 10, 60_000]))
            .segment_index_bytes(chance.pick(&[12, 24, 60, 4096]))
            .index_interval_bytes(chance.pick(&[0, 1, 100, 300, 4096]))
            .segment_ms(chance.pick(&[1, 50, 1 << 40]))
            .segment_jitter_ms(chance.pick(&[0, 0, 20]))
            .compression(if codec.is_available() { codec } else { Compression::None })
            .message_timestamp_type(chance.pick(&[
                TimestampType::CreateTime,
                TimestampType::CreateTime,
                TimestampType::LogAppendTime,
            ]))
            .write_mode(chance.pick(modes))
            .windows_at_once(chance.pick(&[1, 6000, 1 << 20]))
            .max_unsynced_bytes(chance.one_in(6).then_some(700))
            .max_open_segments(chance.pick(&[1, 3, 256]))
            .mapped_reads(seed.is_multiple_of(2))
            .sync_policy(policy)
            .worker(Worker::Caller);
        let config = match chance.below(6) {
            0 => config.max_bytes(segment_bytes * (4 + chance.below(3)), WhenFull::DropOldest),
            1 => config.max_bytes(segment_bytes * (4 + chance.below(3)), WhenFull::Reject),
            _ => config,
        };
        let mut steps: Vec<Step> = STEPS.into_iter().filter(|_| chance.one_in(2)).collect();
        steps.extend([Step::Append, Step::Append, Step::Crash]);
        let rates = match chance.below(3) {
            0 => Rates { short_per_mille: 100, interrupted_per_mille: 100 },
            _ => Rates::default(),
        };
        Options {
            seed,
            config,
            steps,
            length: 8 + chance.below(24),
            rates,
            failed_syncs_keep_some: chance.one_in(2),
            largest_value: chance.pick(&[4, 40, 120]),
        }
    }
}

/// Says which seed failed, and with what.
struct Report<'a>(&'a Options);

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:#?}\nto repeat it: KSTORE_SEED={} cargo test --lib {TEST}", self.0, self.0.seed);
        }
    }
}

/// Runs the sequence that an input chooses: configuration, steps, and what each does. The fuzzers' way in.
pub(crate) fn run_input(input: &[u8]) {
    let Some((&seed, choices)) = input.split_first() else { return };
    run(u64::from(seed), Chance::of_input(seed.into(), choices), std::env::var_os("KSTORE_TALKS").is_some());
}

fn run(seed: u64, mut chance: Chance, talks: bool) -> u64 {
    let options = Options::of(seed, &mut chance);
    let report = Report(&options);
    let mut world = World::begin(&options, chance, talks);
    for _ in 0..options.length {
        if world.chance().is_spent() {
            break;
        }
        let step = world.chance().pick(&options.steps);
        world.step(step);
    }
    world.end();
    drop(report);
    world.crashes()
}

pub(super) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

// Rows 133, 141, 235, 238, 260, 261, 262, 266.
#[test]
fn whatever_happens_a_log_is_what_was_synced_and_a_prefix_of_what_was_appended() {
    if let Some(seed) = number("KSTORE_SEED") {
        run(seed, Chance::new(seed), true);
        return;
    }
    let sequences = number("KSTORE_SEQUENCES").unwrap_or(SEQUENCES);
    let (next, crashes) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= sequences {
                        return;
                    }
                    crashes.fetch_add(run(seed, Chance::new(seed), false), Ordering::Relaxed);
                }
            });
        }
    });
    let seen = crate::fs::sim::crash_states_seen();
    println!("{seen} crash states were made in this process");
    figures(&format!("{sequences} random sequences, {} crashes, 0 violations", crashes.into_inner()));
}
