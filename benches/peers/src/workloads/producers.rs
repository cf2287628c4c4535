//! "Two million writes a second on three cheap machines": 100-byte records, one a call, by one producer on one log and by
//! three on six.
//!
//! As in that description, every producer writes to every log. There, a client gathers many records into one request;
//! here nobody does: each call is an append of its own.

use std::path::Path;

use kstore::{Log, LogConfig, Record, WriteMode};

use super::contents::Contents;
use super::plain::Plain;
use super::{Case, Line, Measure, Scale, Workload, in_threads};
use crate::Outcome;
use crate::cost::Cost;
use crate::values::Values;

pub(super) const WORKLOAD: Workload = Workload {
    name: "producers",
    title: "Producers: 100-byte records, one a call",
    about: "One producer on one log, and three producers that write to six logs in turn. Bare: `write` of the payload to \
        as many files, which all producers share.",
    unit: "a record, over all producers together",
    once: false,
    charts: &[],
    cases,
};

const VALUE_BYTES: usize = 100;

fn cases(scale: Scale) -> Vec<Case> {
    let mut cases = Vec::new();
    for (producers, logs) in [(1, 1), (3, 6)] {
        let shape = Shape { producers, logs, each: scale.pick(150_000, 4_000_000) / producers };
        let bare = format!("bare, {producers} on {logs}");
        cases.push(Case::new(bare.as_str(), move |dir, line| bare_calls(dir, line, shape)));
        for (name, mode) in [("Write", WriteMode::Write), ("Mapped", WriteMode::Mapped)] {
            let against = bare.clone();
            cases.push(Case::new(format!("kstore, `{name}`, {producers} on {logs}"), move |dir, line| {
                kstore(dir, line.against(against.as_str()), shape, mode)
            }));
        }
    }
    cases
}

#[derive(Clone, Copy)]
struct Shape {
    producers: usize,
    logs: usize,
    /// Records of each producer.
    each: usize,
}

impl Shape {
    fn records(self) -> u64 {
        (self.producers * self.each) as u64
    }

    /// The number of a record, which says what its value is.
    fn record(self, producer: usize, call: usize) -> usize {
        producer * self.each + call
    }

    /// All producers at once, each to one log after the other.
    fn produce(self, append: impl Fn(usize, usize) -> Outcome<()> + Sync) -> Outcome<Cost> {
        let (cost, _) = Cost::of(|| {
            in_threads(self.producers, |producer| {
                (0..self.each).try_for_each(|call| append(call % self.logs, self.record(producer, call)))
            })
        })?;
        Ok(cost)
    }

    /// What each log was given, whoever gave it first.
    fn given(self, values: &Values, log: usize) -> Contents {
        let mut given = Contents::default();
        for producer in 0..self.producers {
            let calls = (0..self.each).filter(|call| call % self.logs == log);
            calls.for_each(|call| given.add(values.of(self.record(producer, call))));
        }
        given
    }

    /// Whether each log has what it was given.
    fn check(self, values: &Values, of: impl Fn(usize) -> Outcome<Contents>) -> Outcome<()> {
        for log in 0..self.logs {
            let (found, given) = (of(log)?, self.given(values, log));
            if self.producers == 1 { found.must_be(given)? } else { found.must_be_among_writers(given)? }
        }
        Ok(())
    }
}

fn bare_calls(dir: &Path, line: Line, shape: Shape) -> Outcome<Line> {
    let values = Values::new(VALUE_BYTES);
    let files =
        (0..shape.logs).map(|log| Plain::create(dir, &format!("{log}.plain"))).collect::<Outcome<Vec<Plain>>>()?;
    let cost = shape.produce(|file, record| files[file].append(values.of(record)))?;
    shape.check(&values, |file| Contents::of_file(files[file].path(), VALUE_BYTES))?;
    Ok(line.cost(&cost, shape.records()).pace(&cost, shape.records()))
}

fn kstore(dir: &Path, line: Line, shape: Shape, mode: WriteMode) -> Outcome<Line> {
    let values = Values::new(VALUE_BYTES);
    let config = || LogConfig::default().write_mode(mode);
    let logs = (0..shape.logs)
        .map(|log| Ok(Log::open(super::leftover::folder(dir, log), config())?))
        .collect::<Outcome<Vec<Log>>>()?;
    super::must_be_mapped(&logs, mode)?;
    let cost = shape.produce(|log, record| Ok(logs[log].append(&[Record::value(values.of(record))]).map(drop)?))?;
    shape.check(&values, |log| Contents::of_log(&logs[log].reader()))?;
    let stored: u64 = logs.iter().map(|log| log.stats().appended_bytes).sum();
    logs.iter().try_for_each(Log::close)?;
    let payload = shape.records() * VALUE_BYTES as u64;
    Ok(line
        .cost(&cost, shape.records())
        .pace(&cost, shape.records())
        .with(Measure::StoredPerByte, crate::spread::number(stored) / crate::spread::number(payload)))
}
