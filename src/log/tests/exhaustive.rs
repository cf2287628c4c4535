//! All sequences of a few operations on a log of two segments, the power or the process gone after each call to the
//! system, in every state that this can leave.
//!
//! Sequences of two operations are gone through in every mode with every policy, those of three in one of these ways,
//! another each day (`KSTORE_DAY`, counted from 1970); `KSTORE_LONGEST` asks for so many operations in every way. The
//! power fails in the last operation of a sequence: the crashes in those before it are a shorter one's. Behind one
//! operation, every state of a moment is gone through where there are no more than 4,096, else a sample; behind more, a
//! few extremes, unless `KSTORE_STATES` says how many. `KSTORE_ACTS` runs one sequence alone, in every way, as a failure
//! prints it. What must hold in each state stands in `properties`. A state that was judged before in the same mode, with
//! the same expectations, is not judged again, whichever policy it was that led to it: an opening does not look at the
//! policy.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::sync::Mutex;

use super::bench::small;
use super::model::world::World;
use super::model::{Chance, Options, Step, number};
use super::properties::{self, Mark, figures};
use super::ways::{WRITE_MODES, expect_mode, in_mode, policies};
use crate::config::{LogConfig, SyncPolicy, WriteMode};
use crate::fs::Env;
use crate::fs::sim::{Bound, CrashStrength, Rates, SimDisk};

pub(super) mod acts;

use acts::{Act, SEGMENT_BYTES, records};

/// How many operations there are at least in every way, and in the way of the day.
const LONGEST: u64 = 2;
const LONGEST_OF_THE_DAY: u64 = 3;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const MOST_STATES: u64 = 4096;
/// States drawn beside the extremes where there are more.
const SAMPLES: u64 = 64;
/// Extreme states of a moment that are gone through behind two operations and more.
const FEW_STATES: usize = 6;
/// One state in so many is judged by all properties, by the number of operations; the others by those of the content.
const WHOLE: [u64; 3] = [4, 8, 32];
/// Stores into maps that the log is made with which each sequence begins: the second append of either segment.
const FIRST_STORES: u64 = 2;
/// Sequences of two operations whose last one stores, at least.
const LEAST_STORING: u64 = 15;
/// Sequences of up to so many operations that there are, at least: what cannot be done to the log is none.
const SEQUENCES: [u64; 3] = [18, 322, 5_000];
/// Judged states that there are at least, so that this cannot become empty.
const LEAST_STATES: u64 = 100_000;
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
    /// Sequences whose last operation stored into a map.
    storing: AtomicU64,
}

impl Totals {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What one run goes by: a way to write.
struct Run<'a> {
    options: Options,
    most_states: u64,
    seen: &'a Mutex<HashSet<u64>>,
    totals: &'a Totals,
}

/// Says what failed, and how to repeat it.
struct Case<'a> {
    run: &'a Run<'a>,
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
    let config = small().segment_bytes(SEGMENT_BYTES).retention_bytes(700).file_delete_delay_ms(0);
    in_mode(config, mode).sync_policy(policy)
}

impl<'a> Run<'a> {
    fn new(config: LogConfig, seen: &'a Mutex<HashSet<u64>>, totals: &'a Totals) -> Run<'a> {
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
        Run { options, most_states, seen, totals }
    }

    /// A log of two segments: the first and a batch of the second are durable, another batch is not.
    fn begin(options: &Options) -> World<'_> {
        let mut world = World::begin(options, Chance::new(options.seed), false);
        for (base, count) in [(0, 2), (2, 2), (4, 2)] {
            world.append_batches(Step::Append, vec![records(base, count, 9)]);
        }
        world.perform(Step::Sync);
        world.append_batches(Step::Append, vec![records(6, 1, 9)]);
        assert_eq!(super::bench::bases(&world.log), [0, 4]);
        expect_mode(&world.disk, &world.log, options.config.write_mode, FIRST_STORES);
        world
    }

    /// Performs all acts but the last, and then as much of that as each number of calls allows. `false` if the sequence
    /// does not exist.
    fn explore(&self, acts: &[Act]) -> bool {
        let (last, before) = acts.split_last().expect("a sequence has an act");
        for calls in 0.. {
            let mut case = Case { run: self, acts, calls, strength: None };
            // Another seed each time: it says in which order a directory is listed, and which part of a store was made.
            let options = Options { seed: self.options.seed ^ digest(&(acts, calls)), ..self.options.clone() };
            let mut world = Run::begin(&options);
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
            let stores = world.disk.stores();
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
                if world.disk.stores() > stores {
                    Totals::add(&self.totals.storing);
                }
                return true;
            }
        }
        unreachable!("an act ends")
    }

    fn judge_point(&self, case: &mut Case<'_>, world: &World<'_>) {
        Totals::add(&self.totals.points);
        let expectation = digest(&world.expected);
        if !self.is_new(&world.disk, expectation, None) {
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
                if self.is_new(&image, expectation, Some(at_least)) {
                    Totals::add(&self.totals.judged);
                    let one_in = WHOLE[(case.acts.len() - 1).min(2)];
                    self.judge(&image, world, at_least, image.fingerprint().is_multiple_of(one_in));
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

    /// Whether this disk was not met before with these expectations: as one that the power leaves, or as a moment.
    fn is_new(&self, disk: &SimDisk, expectation: u64, at_least: Option<u64>) -> bool {
        self.seen.lock().insert(digest(&(disk.fingerprint(), expectation, at_least)))
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
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while let Some(acts) = sequences.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if self.explore(acts) {
                            Totals::add(&self.totals.sequences);
                        }
                    }
                });
            }
        });
    }
}

fn digest(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The sequence that the environment asks for.
fn asked_for() -> Option<Vec<Act>> {
    let names = std::env::var("KSTORE_ACTS").ok()?;
    let named = |name: &str| Act::ALL.into_iter().find(|act| format!("{act:?}") == name);
    Some(names.split(',').map(|name| named(name).unwrap_or_else(|| panic!("no act is called {name}"))).collect())
}

/// Goes through all sequences in one way to write.
fn explore(config: LogConfig, longest: u64, seen: &Mutex<HashSet<u64>>) -> [u64; 3] {
    let totals = Totals::default();
    let run = Run::new(config, seen, &totals);
    match asked_for() {
        Some(acts) => assert!(run.explore(&acts), "the sequence does not exist"),
        None => run.explore_all(longest),
    }
    let LogConfig { write_mode, sync_policy, .. } = run.options.config;
    println!("{longest} operations, {write_mode:?}, {sync_policy:?}: {totals:?}");
    let storing = totals.storing.into_inner();
    let should = if write_mode == WriteMode::Mapped && longest >= LONGEST { LEAST_STORING } else { 0 };
    assert!(storing >= should || asked_for().is_some(), "{storing} sequences stored into a map");
    assert!(storing == 0 || write_mode == WriteMode::Mapped, "{storing} sequences stored into a map in {write_mode:?}");
    [totals.sequences, totals.points, totals.judged].map(AtomicU64::into_inner)
}

/// The way whose turn it is, for a longer look.
fn way_of_the_day(ways: usize) -> usize {
    let today = Env::real().wall_clock().as_millis().div_euclid(DAY_MS);
    let day = number("KSTORE_DAY").unwrap_or_else(|| u64::try_from(today).expect("a day since 1970"));
    usize::try_from(day).expect("a day fits") % ways
}

// Rows 133, 141, 235, 238, 260, 261, 262, 266.
#[test]
fn after_any_operations_and_a_crash_at_any_call_a_log_is_what_it_must_be() {
    let asked = number("KSTORE_LONGEST");
    let of_the_day = way_of_the_day(WRITE_MODES.into_iter().map(|mode| policies(mode).count()).sum());
    let (mut way, mut sums) = (0, [0; 3]);
    for mode in WRITE_MODES {
        let seen = Mutex::default();
        for policy in policies(mode) {
            let longest = asked.unwrap_or(if way == of_the_day { LONGEST_OF_THE_DAY } else { LONGEST });
            let counts = explore(config(mode, policy), longest, &seen);
            let sequences = SEQUENCES[usize::try_from(longest - 1).expect("few").min(SEQUENCES.len() - 1)];
            assert!(counts[0] >= sequences || asked_for().is_some(), "{} of {sequences} sequences", counts[0]);
            sums = std::array::from_fn(|at| sums[at] + counts[at]);
            way += 1;
        }
    }
    let [sequences, points, states] = sums;
    let is_whole = asked_for().is_none() && asked.is_none_or(|asked| asked >= LONGEST);
    assert!(states >= LEAST_STATES || !is_whole, "{states} states");
    figures(&format!(
        "{sequences} sequences of operations, {points} crash points, {states} crash states, 0 violations"
    ));
}
