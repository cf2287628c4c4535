//! Runs the cases of the workloads: in turn, round by round, each in a process and a folder of its own.
//!
//! The invariants it owns: a line is compared only with one of the same round; what fails is kept as a failure and nothing
//! else stops.

use std::collections::BTreeMap;
use std::io::{Write, stderr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Case, Line, Measure, Scale, Told, WORKLOADS, Workload};
use crate::Outcome;
use crate::driver::{in_a_folder, run_child};
use crate::place::Place;
use crate::spread::Spread;

/// What is to be run.
pub(crate) struct Plan {
    pub(crate) workloads: Vec<&'static Workload>,
    pub(crate) rounds: usize,
    pub(crate) scale: Scale,
    /// A case that takes longer is killed.
    pub(crate) limit: Duration,
}

impl Plan {
    /// The workloads whose names contain one of these parts, all of them if there are none.
    ///
    /// # Errors
    /// If none has such a name.
    pub(crate) fn of(parts: &[String], quick: bool, rounds: Option<usize>, limit: Duration) -> Outcome<Plan> {
        let known = |parts: &[String]| -> Vec<&'static Workload> {
            WORKLOADS.iter().filter(|workload| crate::is_named(parts, workload.name)).collect()
        };
        if let Some(part) = parts.iter().find(|part| known(std::slice::from_ref(part)).is_empty()) {
            let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
            return Err(format!("no workload is named {part}; there are {}", names.join(", ")).into());
        }
        let rounds = rounds.unwrap_or(if quick { 1 } else { 3 }).max(1);
        Ok(Plan { workloads: known(parts), rounds, scale: Scale { quick }, limit })
    }
}

/// What was measured so far.
pub(crate) struct Measured {
    pub(crate) file_system: String,
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    pub(crate) seconds: u64,
    pub(crate) workloads: Vec<MeasuredWorkload>,
}

/// All rounds of a workload.
pub(crate) struct MeasuredWorkload {
    pub(crate) workload: &'static Workload,
    pub(crate) rounds: Vec<Vec<Line>>,
    /// Cases that this machine cannot do, with the reason.
    pub(crate) not_run: Vec<(String, String)>,
    pub(crate) failures: Vec<String>,
}

impl MeasuredWorkload {
    /// The names of all lines, in the order in which they were told first.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for line in self.rounds.iter().flatten() {
            if !names.contains(&line.name.as_str()) {
                names.push(&line.name);
            }
        }
        names
    }

    /// What was told under a name, with the numbers of the rounds.
    pub(crate) fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (usize, &'a Line)> {
        let of_round = move |lines: &'a Vec<Line>| lines.iter().find(|line| line.name == name);
        self.rounds.iter().enumerate().filter_map(move |(round, lines)| Some((round, of_round(lines)?)))
    }

    /// Everything that is measured in any line.
    pub(crate) fn measures(&self) -> Vec<Measure> {
        let all: BTreeMap<Measure, ()> =
            self.rounds.iter().flatten().flat_map(|line| line.values.keys().map(|measure| (*measure, ()))).collect();
        all.into_keys().collect()
    }

    /// A figure of all rounds that have it.
    pub(crate) fn spread(&self, name: &str, measure: Measure) -> Option<Spread> {
        Spread::of(self.lines(name).filter_map(|(_, line)| line.values.get(&measure).copied()))
    }

    /// How many times as good as what it is compared with a line was, round by round.
    pub(crate) fn ratio(&self, name: &str, measure: Measure) -> Option<Spread> {
        let of_round = |(round, line): (usize, &Line)| {
            let of = line.values.get(&measure)?;
            let other = self.rounds[round].iter().find(|other| Some(&other.name) == line.against.as_ref())?;
            measure.ratio(*of, *other.values.get(&measure)?)
        };
        Spread::of(self.lines(name).filter_map(of_round))
    }
}

impl Measured {
    /// Every case that failed, and why.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.workloads.iter().flat_map(|measured| measured.failures.iter().cloned()).collect()
    }
}

/// All rounds of all workloads; what is there so far is told after each.
///
/// # Errors
/// If a folder cannot be made, or `tell` fails; not if a case does.
pub(crate) fn run(plan: &Plan, place: &Place, mut tell: impl FnMut(&Measured) -> Outcome<()>) -> Outcome<Measured> {
    let mut measured = Measured {
        file_system: place.file_system().to_string(),
        rounds: plan.rounds,
        quick: plan.scale.quick,
        seconds: 0,
        workloads: Vec::new(),
    };
    let begin = Instant::now();
    for (at, workload) in plan.workloads.iter().enumerate() {
        let seconds = begin.elapsed().as_secs();
        writeln!(stderr(), "[{seconds:>5} s] {} of {}: {}", at + 1, plan.workloads.len(), workload.title)?;
        measured.workloads.push(run_workload(plan, place, workload)?);
        measured.seconds = begin.elapsed().as_secs();
        tell(&measured)?;
    }
    Ok(measured)
}

fn run_workload(plan: &Plan, place: &Place, workload: &'static Workload) -> Outcome<MeasuredWorkload> {
    let mut measured = MeasuredWorkload { workload, rounds: Vec::new(), not_run: Vec::new(), failures: Vec::new() };
    let cases = workload.cases(plan.scale);
    for round in 0..if workload.once { 1 } else { plan.rounds } {
        let mut lines = Vec::new();
        for case in &cases {
            if measured.not_run.iter().any(|(name, _)| *name == case.name) {
                continue;
            }
            match run_case(plan, place, workload, case) {
                Ok(Told::Lines(told)) => {
                    for line in &told {
                        writeln!(stderr(), "  round {}  {:<44} {}", round + 1, line.name, first_figure(line))?;
                    }
                    lines.extend(told);
                }
                Ok(Told::NotRun(reason)) => {
                    writeln!(stderr(), "\n!!!\n!!! NOT RUN: {}, {}: {reason}\n!!!\n", workload.name, case.name)?;
                    measured.not_run.push((case.name.clone(), reason));
                }
                Err(failure) => {
                    writeln!(stderr(), "  round {}  {:<44} FAILED: {failure}", round + 1, case.name)?;
                    measured.failures.push(format!("{}, {}, round {}: {failure}", workload.name, case.name, round + 1));
                }
            }
        }
        measured.rounds.push(lines);
    }
    Ok(measured)
}

/// What is shown while the others run.
fn first_figure(line: &Line) -> String {
    line.values.iter().next().map_or_else(String::new, |(measure, value)| measure.show(*value))
}

fn run_case(plan: &Plan, place: &Place, workload: &Workload, case: &Case) -> Outcome<Told> {
    in_a_folder(place, |dir: &Path| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["case", workload.name, &case.name]).arg(dir);
        if plan.scale.quick {
            command.arg("--quick");
        }
        let said = run_child(command, place.dir(), plan.limit)?;
        Ok(serde_json::from_str(said.lines().last().unwrap_or_default())?)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::{Measured, MeasuredWorkload, Plan};
    use crate::workloads::{Line, Measure, WORKLOADS};

    /// Two rounds of two lines, of which one is compared with the other.
    pub(crate) fn measured() -> Measured {
        let round = |bare: f64, kstore: f64| {
            vec![
                Line::new("bare").at("bare", "1").with(Measure::Wall, bare),
                Line::new("kstore")
                    .against("bare")
                    .at("kstore", "1")
                    .with(Measure::Wall, kstore)
                    .with(Measure::Maps, 3.0)
                    .noted("half of it"),
            ]
        };
        Measured {
            file_system: "ext9".into(),
            rounds: 2,
            quick: true,
            seconds: 7,
            workloads: vec![MeasuredWorkload {
                workload: &WORKLOADS[0],
                rounds: vec![round(1_000.0, 500.0), round(3_000.0, 600.0)],
                not_run: vec![("two disks".into(), "nobody is root".into())],
                failures: vec!["producers, broken, round 1: it broke".into()],
            }],
        }
    }

    #[test]
    fn ratios_compare_lines_of_the_same_round() {
        let measured = measured();
        let workload = &measured.workloads[0];
        assert_eq!(workload.names(), ["bare", "kstore"]);
        assert_eq!(workload.measures(), [Measure::Wall, Measure::Maps]);
        let ratio = workload.ratio("kstore", Measure::Wall).expect("two rounds");
        assert_eq!((ratio.least, ratio.most), (2.0, 5.0));
        assert!(workload.ratio("bare", Measure::Wall).is_none(), "nothing to compare it with");
        assert!(workload.ratio("kstore", Measure::Maps).is_none(), "few or many, neither is better");
        assert_eq!(workload.spread("kstore", Measure::Wall).map(|spread| spread.median), Some(550.0));
    }

    #[test]
    fn a_workload_that_nobody_knows_is_refused() {
        let of = |parts: &[&str]| {
            let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
            Plan::of(&parts, true, None, Duration::from_secs(1))
        };
        assert_eq!(of(&[]).expect("all").workloads.len(), WORKLOADS.len());
        assert_eq!(of(&["codecs"]).expect("one").workloads.len(), 1);
        let refused = of(&["codecs", "no-such"]).err().expect("one is unknown").to_string();
        assert!(refused.contains("no-such") && refused.contains("there are"), "{refused}");
    }
}
