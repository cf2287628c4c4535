//! The curve of durability: what it costs to have a sync never, now and then, and with each append.
//!
//! Each case runs for a while, and not for a number of records, for the fastest is some thousand times as fast as the
//! slowest.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kstore::{Log, LogConfig, Record, SyncPolicy, WriteMode};

use super::contents::Contents;
use super::plain::Plain;
use super::{Case, Line, Measure, Scale, Workload, in_threads};
use crate::Outcome;
use crate::cost::Cost;
use crate::values::Values;

pub(super) const WORKLOAD: Workload = Workload {
    name: "sync_curve",
    title: "The curve of durability: 100-byte records, one a call",
    about: "`SyncPolicy` from never to always, in the mode `Preallocated`. Bare: `write` by all threads to one file; the \
        thread whose record is the Nth calls `fdatasync`, or another thread does so each T ms.",
    unit: "a record, over all threads together",
    once: false,
    charts: &[Measure::PerSecond],
    cases,
};

const VALUE_BYTES: usize = 100;
/// Values of different threads begin at different places.
const STRIDE: usize = 101;

#[derive(Clone, Copy)]
enum Policy {
    Never,
    EachMs(u64),
    EachRecords(u64),
    Always,
}

const POLICIES: [(&str, Policy); 8] = [
    ("never", Policy::Never),
    ("each 1,000 ms", Policy::EachMs(1_000)),
    ("each 100 ms", Policy::EachMs(100)),
    ("each 10 ms", Policy::EachMs(10)),
    ("each 10,000 records", Policy::EachRecords(10_000)),
    ("each 10 records", Policy::EachRecords(10)),
    ("each record", Policy::EachRecords(1)),
    ("always", Policy::Always),
];

impl Policy {
    fn of_log(self) -> SyncPolicy {
        let every = |records, interval_ms| SyncPolicy::Every { records, bytes: None, interval_ms };
        match self {
            Policy::Never => SyncPolicy::Never,
            Policy::EachMs(millis) => every(None, Some(millis)),
            Policy::EachRecords(records) => every(Some(records), None),
            Policy::Always => SyncPolicy::Always,
        }
    }

    /// Syncs between how many records the bare calls make.
    fn records(self) -> Option<u64> {
        match self {
            Policy::EachRecords(records) => Some(records),
            Policy::Always => Some(1),
            Policy::Never | Policy::EachMs(_) => None,
        }
    }

    fn millis(self) -> Option<u64> {
        if let Policy::EachMs(millis) = self { Some(millis) } else { None }
    }
}

fn cases(scale: Scale) -> Vec<Case> {
    let lasts = Duration::from_millis(scale.pick(300, 3_000));
    let most = scale.pick(400_000, 4_000_000);
    let mut cases = Vec::new();
    for threads in [1, 8] {
        let of_threads = if threads == 1 { "1 thread".to_string() } else { format!("{threads} threads") };
        for (name, policy) in POLICIES {
            let run = Run { policy, threads, lasts, most: most / threads };
            let (bare, curve) = (format!("bare, {name}, {of_threads}"), format!("bare, {of_threads}"));
            let against = bare.clone();
            cases.push(Case::new(bare, move |dir, line| bare_calls(dir, line.at(curve.as_str(), name), run)));
            let curve = format!("kstore, {of_threads}");
            cases.push(Case::new(format!("kstore, {name}, {of_threads}"), move |dir, line| {
                kstore(dir, line.against(against.as_str()).at(curve.as_str(), name), run)
            }));
        }
    }
    cases
}

#[derive(Clone, Copy)]
struct Run {
    policy: Policy,
    threads: usize,
    lasts: Duration,
    /// Records of a thread, at most.
    most: usize,
}

impl Run {
    /// All threads append until time is up, and say how many records they had.
    fn append(self, append: impl Fn(&[u8]) -> Outcome<()> + Sync) -> Outcome<(Cost, Contents)> {
        let values = Values::new(VALUE_BYTES);
        let (cost, counts) = Cost::of(|| {
            let begin = Instant::now();
            in_threads(self.threads, |thread| {
                for call in 0..self.most {
                    append(values.of(thread * STRIDE + call))?;
                    if begin.elapsed() > self.lasts {
                        return Ok(call + 1);
                    }
                }
                Ok(self.most)
            })
        })?;
        let mut given = Contents::default();
        for (thread, count) in counts.into_iter().enumerate() {
            (0..count).for_each(|call| given.add(values.of(thread * STRIDE + call)));
        }
        Ok((cost, given))
    }

    fn told(self, line: Line, cost: &Cost, found: Contents, given: Contents) -> Outcome<Line> {
        if self.threads == 1 {
            found.must_be(given)?
        } else {
            found.must_be_among_writers(given)?
        }
        Ok(line.cost(cost, given.records).pace(cost, given.records))
    }
}

fn bare_calls(dir: &Path, line: Line, run: Run) -> Outcome<Line> {
    let plain = Plain::create(dir, "plain")?;
    plain.sync()?;
    let (count, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let (cost, given) = std::thread::scope(|scope| -> Outcome<_> {
        let syncing = run.policy.millis().map(|millis| {
            let (plain, done) = (&plain, &done);
            scope.spawn(move || -> Outcome<()> {
                while !done.load(Ordering::Relaxed) {
                    std::thread::park_timeout(Duration::from_millis(millis));
                    plain.sync()?;
                }
                Ok(())
            })
        });
        let appended = run.append(|value| {
            plain.append(value)?;
            let Some(records) = run.policy.records() else { return Ok(()) };
            if (count.fetch_add(1, Ordering::Relaxed) + 1) % records == 0 { plain.sync() } else { Ok(()) }
        });
        done.store(true, Ordering::Relaxed);
        if let Some(syncing) = syncing {
            syncing.thread().unpark();
            syncing.join().map_err(|_| "the other thread panicked")??;
        }
        appended
    })?;
    run.told(line, &cost, Contents::of_file(plain.path(), VALUE_BYTES)?, given)
}

fn kstore(dir: &Path, line: Line, run: Run) -> Outcome<Line> {
    let config = LogConfig::default().write_mode(WriteMode::Preallocated).sync_policy(run.policy.of_log());
    let log = Log::open(dir.join("log"), config)?;
    let (cost, given) = run.append(|value| Ok(log.append(&[Record::value(value)]).map(drop)?))?;
    let (records, syncs) = (log.log_end_offset() - log.synced_offset(), log.stats().syncs);
    // What is behind never reaches what a policy allows.
    if run.policy.records().is_some_and(|allowed| records >= allowed) {
        return Err(format!("{records} records were not durable when nobody appended any more").into());
    }
    let line = run.told(line, &cost, Contents::of_log(&log.reader())?, given)?;
    log.close()?;
    Ok(line.noted(format!("{syncs} syncs")))
}
