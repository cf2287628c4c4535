//! Many logs at once: the same number of records, spread over 1, 2, 4, 16 and 256 logs, by as many threads as there are
//! processors.
//!
//! A thread writes to logs of its own, one after the other; where there are fewer logs than threads they share them. What
//! is to be seen is that the number of logs costs nothing.

use std::path::Path;

use kstore::{AppendOptions, Log, LogConfig, Record};

use super::contents::Contents;
use super::leftover::folder;
use super::plain::{Plain, chunk, read_and_checksum};
use super::{Case, Line, Measure, Scale, Workload, in_threads, processors};
use crate::Outcome;
use crate::cost::Cost;
use crate::storage::read_once;
use crate::values::Values;

pub(super) const WORKLOAD: Workload = Workload {
    name: "logs",
    title: "Many logs: 1 KiB records, one a call",
    about: "As many threads as processors, spread over the logs. Appends; appends that return when they are on the disk; \
        and a scan of all logs, every record decoded. Bare: `write`, `write` and `fdatasync`, `pread` of 1 MiB and CRC-32C.",
    unit: "a record, over all threads together",
    once: false,
    charts: &[Measure::Wall],
    cases,
};

const VALUE_BYTES: usize = 1 << 10;
const LOGS: [usize; 5] = [1, 2, 4, 16, 256];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Append,
    Durable,
    Scan,
}

#[derive(Clone, Copy)]
struct Shape {
    work: Work,
    logs: usize,
    threads: usize,
    /// Of each thread.
    calls: usize,
}

fn cases(scale: Scale) -> Vec<Case> {
    let threads = processors();
    let mut cases = Vec::new();
    for (name, work, records) in [
        ("append", Work::Append, scale.pick(40_000, 1_000_000)),
        ("durable append", Work::Durable, scale.pick(512, 4_096)),
        ("scan", Work::Scan, scale.pick(40_000, 1_000_000)),
    ] {
        for logs in LOGS {
            let shape = Shape { work, logs, threads, calls: records / threads };
            let bare = format!("bare {name}, {logs}");
            let place = format!("{logs} logs");
            let (against, at) = (bare.clone(), place.clone());
            cases.push(Case::new(bare, move |dir, line| {
                bare_calls(dir, line.at(format!("bare {name}"), at.as_str()), shape)
            }));
            cases.push(Case::new(format!("kstore {name}, {logs}"), move |dir, line| {
                let line = line.against(against.as_str()).at(format!("kstore {name}"), place.as_str());
                kstore(dir, line, shape)
            }));
        }
    }
    cases
}

impl Shape {
    fn records(self) -> u64 {
        (self.threads * self.calls) as u64
    }

    /// Where a thread's call goes: to one of its own logs, or to the one that it shares.
    fn log(self, thread: usize, call: usize) -> usize {
        if self.logs <= self.threads {
            return thread % self.logs;
        }
        let own = (self.logs - thread).div_ceil(self.threads);
        thread + call % own * self.threads
    }

    fn record(self, thread: usize, call: usize) -> usize {
        thread * self.calls + call
    }

    fn append(self, append: impl Fn(usize, usize) -> Outcome<()> + Sync) -> Outcome<Cost> {
        let (cost, _) = Cost::of(|| {
            in_threads(self.threads, |thread| {
                (0..self.calls).try_for_each(|call| append(self.log(thread, call), self.record(thread, call)))
            })
        })?;
        Ok(cost)
    }

    /// Each thread reads whole logs.
    fn scan(self, scan: impl Fn(usize) -> Outcome<()> + Sync) -> Outcome<Cost> {
        let (cost, _) = Cost::of(|| {
            in_threads(self.threads, |thread| (thread..self.logs).step_by(self.threads).try_for_each(&scan))
        })?;
        Ok(cost)
    }

    fn check(self, values: &Values, of: impl Fn(usize) -> Outcome<Contents>) -> Outcome<()> {
        let mut given = vec![Contents::default(); self.logs];
        for thread in 0..self.threads {
            for call in 0..self.calls {
                given[self.log(thread, call)].add(values.of(self.record(thread, call)));
            }
        }
        for (log, given) in given.into_iter().enumerate() {
            if self.logs < self.threads { of(log)?.must_be_among_writers(given)? } else { of(log)?.must_be(given)? }
        }
        Ok(())
    }
}

fn bare_calls(dir: &Path, line: Line, shape: Shape) -> Outcome<Line> {
    super::open_logs::allow_logs(shape.logs)?;
    let values = Values::new(VALUE_BYTES);
    let files =
        (0..shape.logs).map(|log| Plain::create(dir, &format!("{log}.plain"))).collect::<Outcome<Vec<Plain>>>()?;
    let mut cost = shape.append(|file, record| {
        files[file].append(values.of(record))?;
        if shape.work == Work::Durable { files[file].sync() } else { Ok(()) }
    })?;
    if shape.work == Work::Scan {
        read_once(dir)?;
        cost = shape.scan(|file| read_and_checksum(files[file].path(), &mut chunk()).map(drop))?;
    }
    shape.check(&values, |file| Contents::of_file(files[file].path(), VALUE_BYTES))?;
    Ok(line.cost(&cost, shape.records()))
}

fn kstore(dir: &Path, line: Line, shape: Shape) -> Outcome<Line> {
    super::open_logs::allow_logs(shape.logs)?;
    let values = Values::new(VALUE_BYTES);
    let logs = (0..shape.logs)
        .map(|log| Ok(Log::open(folder(dir, log), LogConfig::default())?))
        .collect::<Outcome<Vec<Log>>>()?;
    let options = AppendOptions::default().sync(shape.work == Work::Durable);
    let mut cost = shape
        .append(|log, record| Ok(logs[log].append_with(&options, &[Record::value(values.of(record))]).map(drop)?))?;
    if shape.work == Work::Durable && logs.iter().any(|log| log.synced_offset() < log.log_end_offset()) {
        return Err("an append returned that was not durable".into());
    }
    if shape.work == Work::Scan {
        read_once(dir)?;
        cost = shape.scan(|log| {
            let mut records = logs[log].records(..)?;
            while let Some(record) = records.next_ref() {
                std::hint::black_box(record?.value());
            }
            Ok(())
        })?;
    }
    shape.check(&values, |log| Contents::of_log(&logs[log].reader()))?;
    logs.iter().try_for_each(Log::close)?;
    Ok(line.cost(&cost, shape.records()))
}

#[cfg(test)]
mod tests {
    use super::{LOGS, Shape, Work};

    #[test]
    fn every_log_is_written_by_one_thread_unless_there_are_fewer_logs_than_threads() {
        for (logs, threads) in LOGS.into_iter().flat_map(|logs| [1, 2, 3, 8].map(|threads| (logs, threads))) {
            let shape = Shape { work: Work::Append, logs, threads, calls: 1_000 };
            let mut writers = vec![Vec::new(); logs];
            for thread in 0..threads {
                for call in 0..shape.calls {
                    writers[shape.log(thread, call)].push(thread);
                }
            }
            for writers in &mut writers {
                writers.dedup();
                assert!(!writers.is_empty(), "{logs} logs, {threads} threads");
                assert!(writers.len() == 1 || logs < threads, "{logs} logs, {threads} threads: {writers:?}");
            }
        }
    }
}
