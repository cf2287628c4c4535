//! All sequences of a few operations on a log of two segments, the power or the process gone after each call to the
//! system, in every state that this can leave.
//!
//! `KSTORE_LONGEST` says how many operations (2 unless set). Behind one, every state of a moment is gone through where
//! there are no more than 4,096, else a sample; behind more, a few extremes, unless `KSTORE_STATES` says how many.
//! `KSTORE_ACTS` runs one sequence alone, as a failure prints it. What must hold in each state stands in `properties`; a state that was judged before, with the
//! same expectations, is not judged again.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::Mutex;

use super::bench::small;
use super::model::expected::Expected;
use super::model::world::World;
use super::model::{Chance, Options, Step, WRITE_MODES, number};
use super::properties::{self, Mark};
use crate::config::{LogConfig, SyncPolicy, WriteMode};
use crate::fs::sim::{Bound, CrashStrength, Rates, SimDisk};

pub(super) mod acts;

use acts::{Act, SEGMENT_BYTES, records};

const LONGEST: u64 = 2;
const MOST_STATES: u64 = 4096;
/// States drawn beside the extremes where there are more.
const SAMPLES: u64 = 64;
/// Extreme states of a moment that are gone through behind two operations and more.
const FEW_STATES: usize = 6;
/// Behind two operations and more, one state in so many is judged by all properties, the others by those of the content.
const WHOLE: u64 = 8;
/// Sequences, moments and judged states that there are at least, so that this cannot become empty.
const LEAST: [u64; 3] = [322, 4_000, 12_000];
const THREADS: usize = 2;
const STRENGTHS: [CrashStrength; 3] = [CrashStrength::Strict, CrashStrength::Ordered, CrashStrength::Kill];

/// What was gone through.
#[derive(Debug, Default)]
struct Totals {
    sequences: AtomicU64,
    /// Moments at which the power went.
    points: AtomicU64,
    /// Those that differ in what the power may take, or in what must be there.
    moments: AtomicU64,
    /// Of these and their strengths, those with more states than were gone through.
    sampled: AtomicU64,
    states: AtomicU64,
    /// States that no other moment had left before.
    judged: AtomicU64,
}

impl Totals {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What one run goes by.
struct Run {
    options: Options,
    most_states: u64,
    seen: Mutex<HashSet<u64>>,
    totals: Totals,
}

/// Says what failed, and how to repeat it.
struct Case<'a> {
    run: &'a Run,
    acts: &'a [Act],
    calls: u64,
    strength: Option<CrashStrength>,
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let names: Vec<String> = self.acts.iter().map(|act| format!("{act:?}")).collect();
            let Case { calls, strength, .. } = self;
            eprintln!("the power went after {calls} calls of the last act, {strength:?}; {:#?}", self.run.options);
            eprintln!("to repeat it: KSTORE_ACTS={} cargo test --lib log::tests::exhaustive", names.join(","));
        }
    }
}

fn config(mode: WriteMode, policy: SyncPolicy) -> LogConfig {
    // Retention takes the first segment once there are three.
    small()
        .segment_bytes(SEGMENT_BYTES)
        .retention_bytes(700)
        .file_delete_delay_ms(0)
        .write_mode(mode)
        .sync_policy(policy)
}

impl Run {
    fn new(config: LogConfig) -> Run {
        let options = Options {
            seed: number("KSTORE_SEED").unwrap_or(1),
            config,
            steps: Vec::new(),
            length: 0,
            rates: Rates::default(),
            failed_syncs_keep_some: false,
            largest_value: 0,
        };
        let most_states = number("KSTORE_STATES").unwrap_or(MOST_STATES);
        Run { options, most_states, seen: Mutex::default(), totals: Totals::default() }
    }

    /// A log of two segments: the first and a batch of the second are durable, another batch is not.
    fn begin(&self) -> World<'_> {
        let mut world = World::begin(&self.options, Chance::new(self.options.seed), false);
        for (base, count) in [(0, 2), (2, 2), (4, 2)] {
            world.append_batches(Step::Append, vec![records(base, count, 9)]);
        }
        world.perform(Step::Sync);
        world.append_batches(Step::Append, vec![records(6, 1, 9)]);
        assert_eq!(super::bench::bases(&world.log), [0, 4]);
        world
    }

    /// Performs all acts but the last, and then as much of that as each number of calls allows. `false` if the sequence
    /// does not exist.
    fn explore(&self, acts: &[Act]) -> bool {
        let (last, before) = acts.split_last().expect("a sequence has an act");
        for calls in 0.. {
            let mut case = Case { run: self, acts, calls, strength: None };
            let mut world = self.begin();
            let mut nth = 0;
            for act in before {
                if !act.perform(&mut world, nth) {
                    return false;
                }
                world.expected.note_synced(&world.log);
                nth += 1;
            }
            world.perform(Step::Hold);
            world.disk.power_off_after(calls);
            if !last.perform(&mut world, nth) {
                return false;
            }
            let done = !world.disk.is_off();
            if done {
                world.expected.note_synced(&world.log);
                world.check_held();
            }
            self.judge_point(&mut case, &world);
            world.disk.power_off();
            if done {
                return true;
            }
        }
        unreachable!("an act ends")
    }

    fn judge_point(&self, case: &mut Case<'_>, world: &World<'_>) {
        Totals::add(&self.totals.points);
        if !self.is_new(&world.disk, &world.expected, u64::MAX) {
            return;
        }
        Totals::add(&self.totals.moments);
        for strength in STRENGTHS {
            case.strength = Some(strength);
            let at_least = match strength {
                CrashStrength::Kill => world.expected.acknowledged,
                CrashStrength::Strict | CrashStrength::Ordered => world.expected.durable,
            };
            let (bound, most) = self.bound(case.acts.len());
            for image in world.disk.crash_states(strength, bound, self.options.seed).take(most) {
                Totals::add(&self.totals.states);
                if self.is_new(&image, &world.expected, at_least) {
                    Totals::add(&self.totals.judged);
                    let whole = case.acts.len() < 2 || image.fingerprint().is_multiple_of(WHOLE);
                    self.judge(&image, world, at_least, whole);
                }
            }
            if world.disk.count_crash_answers(strength, bound.exhaustive + 1) > bound.exhaustive {
                Totals::add(&self.totals.sampled);
            }
        }
    }

    /// How many states of a moment are gone through, and of how many crashes: behind one operation all; behind more there
    /// are so many moments that the extremes of each, which come first, must do unless the environment says otherwise.
    fn bound(&self, acts: usize) -> (Bound, usize) {
        if acts < 2 || self.most_states != MOST_STATES {
            (Bound { exhaustive: self.most_states, samples: SAMPLES }, usize::MAX)
        } else {
            (Bound { exhaustive: 0, samples: 0 }, FEW_STATES)
        }
    }

    /// Whether this disk was not met before with these expectations.
    fn is_new(&self, disk: &SimDisk, expected: &Expected, at_least: u64) -> bool {
        let mut hasher = DefaultHasher::new();
        (disk.fingerprint(), expected, at_least).hash(&mut hasher);
        self.seen.lock().insert(hasher.finish())
    }

    /// `whole` asks for the properties, too, that need several openings.
    fn judge(&self, image: &SimDisk, world: &World<'_>, at_least: u64, whole: bool) {
        let config = &self.options.config;
        let mark = Mark::of(image);
        let log = properties::open(image, config).expect("a log opens after a crash");
        mark.check(image, &log);
        let mut expected = world.expected.clone();
        expected.check_recovered(&log, at_least);
        expected.check_lookups(&log, expected.end);
        if whole {
            properties::after_recovery(image, &log, config);
        }
        properties::count_state();
        image.power_off();
    }

    /// All sequences up to so many acts.
    fn explore_all(&self, longest: u64) {
        let mut all: Vec<Vec<Act>> = vec![Vec::new()];
        let mut sequences = Vec::new();
        for _ in 0..longest {
            let longer = |acts: &Vec<Act>| Act::ALL.map(|act| [acts.as_slice(), &[act]].concat());
            all = all.iter().flat_map(longer).collect();
            sequences.extend(all.iter().cloned());
        }
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while let Some(acts) =
                        sequences.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).expect("an index"))
                    {
                        if self.explore(acts) {
                            Totals::add(&self.totals.sequences);
                        }
                    }
                });
            }
        });
    }
}

/// The sequence that the environment asks for.
fn asked_for() -> Option<Vec<Act>> {
    let names = std::env::var("KSTORE_ACTS").ok()?;
    let named = |name: &str| Act::ALL.into_iter().find(|act| format!("{act:?}") == name);
    Some(names.split(',').map(|name| named(name).unwrap_or_else(|| panic!("no act is called {name}"))).collect())
}

fn explore(config: LogConfig, longest: u64) {
    let run = Run::new(config);
    if let Some(acts) = asked_for() {
        assert!(run.explore(&acts), "the sequence does not exist");
        println!("{:?}", run.totals);
        return;
    }
    run.explore_all(longest);
    let totals = &run.totals;
    println!(
        "{longest} operations, {:?}, {:?}: {totals:?}",
        run.options.config.write_mode, run.options.config.sync_policy
    );
    let counts = [&totals.sequences, &totals.points, &totals.judged].map(|count| count.load(Ordering::Relaxed));
    let enough = counts.iter().zip(LEAST).all(|(count, least)| *count >= least);
    assert!(enough || longest < LONGEST || run.most_states < MOST_STATES, "{counts:?}, and there were {LEAST:?}");
}

// Rows 133, 141, 235, 238, 260, 261, 262, 266.
#[test]
fn after_any_operations_and_a_crash_at_any_call_a_log_is_what_it_must_be() {
    let longest = number("KSTORE_LONGEST").unwrap_or(LONGEST);
    for mode in WRITE_MODES {
        explore(config(mode, SyncPolicy::Never), longest);
    }
    println!("{} crash states in this process so far", properties::states_so_far());
}
