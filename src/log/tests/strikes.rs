//! Every call to the system that a long history makes fails: once, and from there on, with each error that it can have.
//! So does every call of a recovery. Then the disk is well again, and the log goes on.
//!
//! A *site* is a kind of call and what it is for, told by the name of the file; the tests print how often each was
//! struck, and see to it that none that a history has is left out. `KSTORE_STRIDE` strikes each so manieth call only.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::sync::Mutex;

use super::bench::{DIR, small};
use super::exhaustive::acts::{Act, SEGMENT_BYTES, records};
use super::model::world::World;
use super::model::{Chance, Options, Step, number};
use super::properties::{self, figures, open};
use super::ways::{WRITE_MODES, expect_mode, in_mode};
use crate::config::{SyncPolicy, WriteMode};
use crate::error::ErrorKind;
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, Rates, SimDisk, TraceEntry};
use crate::names::{self, Name};

const THREADS: usize = 2;
/// How many acts a lasting fault lasts if it does not fail the log.
const LASTS: usize = 3;

/// Appends of the history that are stored, where there are maps.
const LEAST_STORES: u64 = 4;

const HISTORY: [Act; 30] = [
    Act::Append,
    Act::AppendSynced,
    Act::Roll,
    Act::AppendAndCommit,
    Act::Sync,
    Act::AppendRolling,
    Act::CutInside,
    Act::Append,
    Act::Reopen,
    Act::AppendRolling,
    Act::DeleteInside,
    Act::AppendSynced,
    Act::AppendAndCommit,
    Act::CutToBatch,
    Act::AppendRolling,
    Act::RunOnce,
    Act::Append,
    Act::DeleteAcross,
    Act::AppendRolling,
    Act::AppendRolling,
    Act::DeleteOld,
    Act::CutAtBatch,
    Act::Follow,
    Act::Sync,
    Act::CutAcross,
    Act::AppendSynced,
    Act::ResetForwards,
    Act::Append,
    Act::Reopen,
    Act::AppendSynced,
];

const ERRORS: [FaultKind; 6] = [
    FaultKind::InputOutput,
    FaultKind::NoSpace,
    FaultKind::Interrupted,
    FaultKind::Short,
    FaultKind::TooManyOpen,
    FaultKind::TooManyOpenInSystem,
];

/// A kind of call, and what it is for.
type Site = (String, String);

/// What a file is for, by its name: base offsets do not count.
fn purpose(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let inside = path.parent().is_some_and(|dir| dir.ends_with(names::CURSORS));
    let purpose = match names::classify(&name) {
        Name::Live { .. } | Name::Interim { .. } => name.trim_start_matches(|letter: char| letter.is_ascii_digit()),
        _ if path == Path::new(DIR) => "the directory",
        _ => &name,
    };
    if inside { format!("cursors/{purpose}") } else { purpose.to_owned() }
}

#[derive(Clone, Debug)]
struct Strike {
    call: CallKind,
    nth: u64,
    kind: FaultKind,
    sticky: bool,
    site: Site,
}

impl Strike {
    fn fault(&self) -> Fault {
        let Strike { call, nth, kind, sticky, .. } = *self;
        if sticky { Fault::from(call, nth, kind) } else { Fault::once(call, nth, kind) }
    }
}

/// Each call of a trace with each error that it can have.
fn strikes(trace: &[TraceEntry]) -> Vec<Strike> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut strikes = Vec::new();
    for entry in trace {
        let name = format!("{:?}", entry.call);
        let count = counts.entry(name.clone()).or_default();
        *count += 1;
        for (kind, sticky) in ERRORS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
            let moves_bytes = matches!(
                entry.call,
                CallKind::WriteAt | CallKind::WriteVectoredAt | CallKind::ReadAt | CallKind::SendTo
            );
            let can_be = match kind {
                // A call that is interrupted for ever is repeated for ever.
                FaultKind::Interrupted => !sticky,
                FaultKind::Short => moves_bytes,
                _ => true,
            };
            if can_be {
                let site = (name.clone(), purpose(&entry.path));
                strikes.push(Strike { call: entry.call, nth: *count, kind, sticky, site });
            }
        }
    }
    strikes.into_iter().step_by(stride()).collect()
}

fn stride() -> usize {
    usize::try_from(number("KSTORE_STRIDE").unwrap_or(1)).expect("a small number")
}

fn options(mode: WriteMode, policy: SyncPolicy) -> Options {
    // The first append of a segment finds no window yet: where there are maps, more of them follow it.
    let segment_bytes = if mode == WriteMode::Mapped { 2 * SEGMENT_BYTES } else { SEGMENT_BYTES };
    let config = small().segment_bytes(segment_bytes).retention_bytes(900).file_delete_delay_ms(0);
    Options {
        seed: number("KSTORE_SEED").unwrap_or(1),
        config: in_mode(config, mode).sync_policy(policy),
        steps: vec![Step::FailCall],
        length: 0,
        rates: Rates::default(),
        failed_syncs_keep_some: false,
        largest_value: 0,
    }
}

/// Goes through the history on a disk where `fault` strikes.
fn go_through<'a>(options: &'a Options, strike: Option<&Strike>) -> World<'a> {
    let mut world = World::begin(options, Chance::new(options.seed), false);
    world.disk.set_tracing(strike.is_none());
    world.disk.reset_counters();
    if let Some(strike) = strike {
        world.disk.fail(strike.fault());
    }
    let mut struck_in = None;
    for (nth, act) in HISTORY.into_iter().enumerate() {
        world.perform(Step::Hold);
        if act == Act::Reopen {
            world.close_and_reopen(true);
        } else {
            act.perform(&mut world, u64::try_from(nth).expect("few"));
        }
        world.read_all(strike.is_some());
        let strikes_now = strike.is_some_and(|strike| world.disk.calls(strike.call) >= strike.nth);
        if strikes_now && struck_in.is_none() {
            struck_in = Some(nth);
            judge_images(&world, act, strike.expect("something struck"));
        }
        world.settle();
        if struck_in.is_some_and(|struck| nth == struck + LASTS) {
            world.disk.heal();
        }
    }
    world
}

/// What a power cut and the end of the process leave where a call has just failed.
fn judge_images(world: &World<'_>, act: Act, strike: &Strike) {
    let cuts = matches!(
        act,
        Act::CutInside | Act::CutAtBatch | Act::CutAcross | Act::CutToBatch | Act::ResetForwards | Act::ResetBack
    );
    if cuts && matches!(strike.call, CallKind::SyncData | CallKind::SyncDir) {
        // What a failed sync leaves of a name that was removed is the window that rule 29 cannot close.
        return;
    }
    let failed = world.log.stats().failed;
    let killed = if failed { world.expected.durable } else { world.expected.acknowledged };
    let nothing = world.disk.image(CrashStrength::Strict, |_, _| 0);
    let whole = world.disk.image(CrashStrength::Strict, |_, options| options - 1);
    let kill = world.disk.image(CrashStrength::Kill, |_, options| options - 1);
    for (image, at_least) in [(nothing, world.expected.durable), (whole, world.expected.durable), (kill, killed)] {
        let log = open(&image, &world.options.config).expect("a log opens on a healthy disk");
        let mut expected = world.expected.clone();
        expected.check_recovered(&log, at_least);
        expected.check_lookups(&log, expected.end);
        properties::count_state();
        image.power_off();
    }
}

/// Says which strike failed a test.
struct Case<'a>(&'a Options, &'a Strike);

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?} fails with {:#?}", self.1, self.0);
        }
    }
}

/// Runs `body` for every strike, on some threads, and counts the strikes by site.
fn strike_all(options: &Options, strikes: &[Strike], body: impl Fn(&Strike) + Sync) -> BTreeMap<Site, u64> {
    let (next, table) = (AtomicUsize::new(0), Mutex::new(BTreeMap::<Site, u64>::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(strike) = strikes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let case = Case(options, strike);
                    body(strike);
                    drop(case);
                    *table.lock().entry(strike.site.clone()).or_default() += 1;
                }
            });
        }
    });
    table.into_inner()
}

fn print(what: &str, table: &BTreeMap<Site, u64>) {
    println!("{what}: {} strikes at {} sites", table.values().sum::<u64>(), table.len());
    for ((call, purpose), count) in table {
        println!("  {count:>6}  {call} {purpose}");
    }
}

/// Strikes every call of the history. Gives back how many strikes at how many sites.
fn strike_history(mode: WriteMode, policy: SyncPolicy) -> (u64, usize) {
    let options = options(mode, policy);
    let world = go_through(&options, None);
    expect_mode(&world.disk, &world.log, mode, LEAST_STORES);
    let strikes = strikes(&world.disk.trace());
    world.disk.power_off();
    let ends_well = AtomicU64::new(0);
    let table = strike_all(&options, &strikes, |strike| {
        let mut world = go_through(&options, Some(strike));
        assert!(world.disk.calls(strike.call) > 0);
        world.end();
        ends_well.fetch_add(1, Ordering::Relaxed);
    });
    print(&format!("{mode:?}, {policy:?}"), &table);
    (ends_well.into_inner(), table.len())
}

#[test]
fn whichever_call_of_a_long_history_fails_nothing_acknowledged_is_lost_and_the_log_goes_on() {
    let mut sum = 0;
    for (mode, policy) in WRITE_MODES.into_iter().zip([SyncPolicy::Never, SyncPolicy::Always, SyncPolicy::Never]) {
        let (strikes, sites) = strike_history(mode, policy);
        assert!(stride() > 1 || (strikes >= 8_000 && sites >= 80), "{strikes} strikes at {sites} sites");
        sum += strikes;
    }
    figures(&format!("{sum} failing calls of a long history, 0 violations"));
}

/// Disks as crashes at different moments leave them, with what must be found on each.
fn crashed(options: &Options) -> Vec<(SimDisk, World<'_>)> {
    let mut crashed = Vec::new();
    for end in 1..=HISTORY.len() {
        for calls in [3, 7, u64::MAX] {
            let mut world = World::begin(options, Chance::new(options.seed), false);
            for (nth, act) in HISTORY[..end].iter().enumerate() {
                if nth + 1 == end {
                    world.disk.power_off_after(calls);
                }
                if *act == Act::Reopen && nth + 1 < end {
                    world.close_and_reopen(true);
                } else {
                    act.perform(&mut world, u64::try_from(nth).expect("few"));
                }
            }
            if calls != u64::MAX && !world.disk.is_off() {
                break;
            }
            let disk = world.disk.image(CrashStrength::Kill, |_, options| options - 1);
            world.disk.power_off();
            crashed.push((disk, world));
        }
    }
    crashed
}

#[test]
fn whichever_call_of_a_recovery_fails_the_next_one_comes_to_the_same_end() {
    let mut all: BTreeMap<Site, u64> = BTreeMap::new();
    for mode in WRITE_MODES {
        let options = options(mode, SyncPolicy::Never);
        for (disk, world) in crashed(&options).iter().step_by(7) {
            let traced = properties::twin(disk);
            traced.set_tracing(true);
            drop(open(&traced, &options.config).expect("a log opens on a healthy disk"));
            let strikes = strikes(&traced.trace());
            let table = strike_all(&options, &strikes, |strike| strike_recovery(disk, world, strike));
            table.into_iter().for_each(|(site, count)| *all.entry(site).or_default() += count);
        }
    }
    print("recoveries", &all);
    let strikes: u64 = all.values().sum();
    assert!(stride() > 1 || (strikes >= 13_000 && all.len() >= 48), "{strikes} strikes at {} sites", all.len());
    figures(&format!("{strikes} failing calls of recoveries, 0 violations"));
}

fn strike_recovery(disk: &SimDisk, world: &World<'_>, strike: &Strike) {
    let config = &world.options.config;
    let disk = properties::twin(disk);
    disk.fail(strike.fault());
    match open(&disk, config) {
        Ok(log) => drop(log.close()),
        Err(error) => assert_ne!(error.kind(), ErrorKind::Damage, "a disk that fails is no damage: {error}"),
    }
    disk.heal();
    // A failed sync may have lost what only the process before had written, and said so.
    let lost = matches!(strike.call, CallKind::SyncData | CallKind::SyncDir);
    let at_least = if lost { world.expected.durable } else { world.expected.acknowledged };
    let log = properties::open_at_last(&disk, config).expect("a log opens on a healthy disk");
    let mut expected = world.expected.clone();
    expected.check_recovered(&log, at_least);
    expected.check_lookups(&log, expected.end);
    properties::after_recovery(&disk, &log, config);
    properties::count_state();
    disk.power_off();
}

#[test]
fn a_disk_that_fills_up_at_any_byte_leaves_the_log_readable_and_it_goes_on_when_there_is_room() {
    for mode in WRITE_MODES {
        let options = options(mode, SyncPolicy::Never);
        let mut full = 0;
        for room in (0..12_000).step_by(61) {
            let mut world = World::begin(&options, Chance::new(options.seed), false);
            world.append_batches(Step::Append, vec![records(0, 2, 99)]);
            world.fill_to(room);
            for (nth, act) in HISTORY.into_iter().enumerate().filter(|(_, act)| *act != Act::Reopen) {
                act.perform(&mut world, u64::try_from(nth).expect("few"));
                world.read_all(false);
                full += u64::from(world.expected.front_may_move);
                world.settle();
            }
            assert!(!world.log.stats().failed, "a full disk fails no log");
            // It can be deleted from as it is.
            let (start, end) = (world.expected.start, world.expected.end);
            world.delete_before(start.midpoint(end));
            world.read_all(false);
            world.end();
        }
        assert!(full > 1_000, "{full} acts met a full disk");
    }
}
