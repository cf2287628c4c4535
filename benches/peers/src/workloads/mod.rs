//! The workloads of the well-known descriptions of Kafka, and those behind kstore's own goals: kstore alone, beside bare
//! system calls of the same round. `-- workloads --quick` runs them.
//!
//! A workload has cases; each is a process and a folder of its own, as a round of a peer is. The invariants they share:
//! no line comes out of a case whose records were not all there afterwards, byte for byte; what a machine cannot do is
//! told as not run, with the reason, and never as a figure.

use std::path::Path;

use kstore::{Log, WriteMode};
use serde::{Deserialize, Serialize};

use crate::Outcome;

mod ablation;
mod backlog;
mod catching_up;
mod codecs;
mod contents;
mod disks;
mod driver;
mod index;
mod leftover;
mod line;
mod logs;
mod open_logs;
mod plain;
mod producers;
mod random;
mod report;
mod sending;
mod stalls;
mod sync_curve;
mod tailing;

pub(crate) use driver::{Plan, run};
pub(crate) use leftover::leave_open;
use line::{Line, Measure};
pub(crate) use report::{markdown, write};

/// Something that many have asked of a log.
pub(crate) struct Workload {
    /// A short name without blanks.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What is done, and what the bare calls do in its place.
    pub(crate) about: &'static str,
    /// What a time is that of.
    pub(crate) unit: &'static str,
    /// Work that takes very long is done once.
    pub(crate) once: bool,
    /// Drawn over the places of the lines.
    pub(crate) charts: &'static [Measure],
    cases: fn(Scale) -> Vec<Case>,
}

impl Workload {
    pub(crate) fn cases(&self, scale: Scale) -> Vec<Case> {
        (self.cases)(scale)
    }
}

/// What one process does.
pub(crate) struct Case {
    /// Unlike any other of the workload.
    pub(crate) name: String,
    /// In a folder of its own, which is there.
    pub(crate) run: Run,
}

type Run = Box<dyn Fn(&Path) -> Outcome<Told>>;

impl Case {
    /// A case that comes to one line, of the same name.
    fn new(name: impl Into<String>, run: impl Fn(&Path, Line) -> Outcome<Line> + 'static) -> Case {
        let name = name.into();
        let line = Line::new(name.as_str());
        Case { name, run: Box::new(move |dir| Ok(Told::Lines(vec![run(dir, line.clone())?]))) }
    }
}

/// What came of a case.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    Lines(Vec<Line>),
    /// Why this machine cannot do it.
    NotRun(String),
}

/// How much work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) quick: bool,
}

impl Scale {
    /// One of two figures.
    fn pick<T>(self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// As many threads as there are processors.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Does something in so many threads at once, each of which has a number, and gathers what they come to.
///
/// # Errors
/// Of the first that fails.
fn in_threads<T: Send>(threads: usize, work: impl Fn(usize) -> Outcome<T> + Sync) -> Outcome<Vec<T>> {
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        running.into_iter().map(|thread| thread.join().map_err(|_| "a thread of the bench panicked")?).collect()
    })
}

/// A log that is to be mapped must be: what goes by writes in its place would be another figure.
///
/// # Errors
/// If one of them is not.
fn must_be_mapped(logs: &[Log], mode: WriteMode) -> Outcome<()> {
    let reason = logs.iter().find_map(|log| log.stats().not_mapped).filter(|_| mode == WriteMode::Mapped);
    reason.map_or(Ok(()), |reason| Err(format!("nothing is mapped here: {reason:?}").into()))
}

/// All workloads, in the order of the page.
pub(crate) const WORKLOADS: &[Workload] = &[
    producers::WORKLOAD,
    logs::WORKLOAD,
    disks::WORKLOAD,
    tailing::WORKLOAD,
    catching_up::WORKLOAD,
    backlog::WORKLOAD,
    open_logs::WORKLOAD,
    index::WORKLOAD,
    random::WORKLOAD,
    codecs::WORKLOAD,
    ablation::WORKLOAD,
    stalls::WORKLOAD,
    sync_curve::WORKLOAD,
];

/// Does one case, in this process.
///
/// # Errors
/// Of the case, and if there is none of that name.
pub(crate) fn one(workload: &str, case: &str, dir: &Path, scale: Scale) -> Outcome<String> {
    let found = WORKLOADS.iter().find(|known| known.name == workload);
    let cases = found.ok_or_else(|| format!("no workload is named {workload}"))?.cases(scale);
    let found = cases.iter().find(|known| known.name == case);
    let told = (found.ok_or_else(|| format!("{workload} has no case {case}"))?.run)(dir)?;
    Ok(serde_json::to_string(&told)?)
}

#[cfg(test)]
mod tests {
    use super::{Scale, WORKLOADS, in_threads};

    #[test]
    fn every_workload_and_every_case_has_a_name_of_its_own() {
        for quick in [true, false] {
            for workload in WORKLOADS {
                assert_eq!(WORKLOADS.iter().filter(|other| other.name == workload.name).count(), 1);
                let cases = workload.cases(Scale { quick });
                assert!(!cases.is_empty(), "{}", workload.name);
                for case in &cases {
                    let same = cases.iter().filter(|other| other.name == case.name).count();
                    assert_eq!(same, 1, "{}: {}", workload.name, case.name);
                }
            }
        }
    }

    #[test]
    fn the_first_failure_of_a_thread_is_told() {
        assert_eq!(in_threads(3, Ok).expect("numbers"), [0, 1, 2]);
        let failed = in_threads(3, |thread| if thread == 1 { Err("broken".into()) } else { Ok(()) });
        assert_eq!(failed.expect_err("one failed").to_string(), "broken");
    }
}
