//! Runs the rounds: peers in turn, each round in a process and a folder of its own.
//!
//! It knows nothing of what a peer does. The invariants it owns: a round of one peer is never compared with another
//! round of the bare calls than that of the same number; what fails is kept as a failure and nothing else stops.

use std::fs::File;
use std::io::{Write, stderr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::figures::Figures;
use crate::peers::{PEERS, RAW, Terms};
use crate::place::Place;
use crate::rows::{Row, Shape};
use crate::spread::{Spread, number, time};

/// What is to be run.
pub(crate) struct Plan {
    pub(crate) rows: Vec<&'static Row>,
    pub(crate) columns: Vec<Column>,
    /// Why the peers that run in a JVM are not among them.
    pub(crate) not_run: Option<String>,
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    /// A round that takes longer is killed.
    pub(crate) limit: Duration,
}

/// Makes the command that does one round of a row in a folder.
pub(crate) type Start = Box<dyn Fn(&Row, &Shape, &Path) -> Outcome<Command>>;

/// A peer, and how a round of it is started.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) terms: Terms,
    pub(crate) refuses: fn(&Row) -> Option<&'static str>,
    /// The program that does a row's work in a folder and tells the figures in its last line.
    pub(crate) command: Start,
}

/// What was measured so far.
pub(crate) struct Measured {
    pub(crate) file_system: String,
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    /// Names of columns, and their terms.
    pub(crate) columns: Vec<(&'static str, Terms)>,
    pub(crate) not_run: Option<String>,
    pub(crate) rows: Vec<MeasuredRow>,
}

/// One row, with a cell for each column.
pub(crate) struct MeasuredRow {
    pub(crate) row: &'static Row,
    pub(crate) shape: Shape,
    pub(crate) cells: Vec<Cell>,
}

/// What a peer did in a row.
pub(crate) enum Cell {
    /// Why it does not do it.
    Refused(&'static str),
    /// What came of each round; the reason where nothing did.
    Rounds(Vec<Result<Figures, String>>),
}

impl Cell {
    /// The rounds that succeeded, with their numbers.
    pub(crate) fn figures(&self) -> impl Iterator<Item = (usize, &Figures)> {
        let rounds = match self {
            Cell::Refused(_) => &[][..],
            Cell::Rounds(rounds) => rounds,
        };
        rounds.iter().enumerate().filter_map(|(round, figures)| Some((round, figures.as_ref().ok()?)))
    }

    /// A figure of each round that has it.
    pub(crate) fn spread(&self, of: impl Fn(&Figures) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.figures().filter_map(|(_, figures)| of(figures)))
    }
}

impl MeasuredRow {
    /// How many times as fast as the bare calls a column was, round by round; nothing without two that succeeded in the
    /// same round.
    pub(crate) fn ratio(&self, column: usize) -> Option<Spread> {
        let raw: Vec<(usize, &Figures)> = self.cells.first()?.figures().collect();
        let of_round = |(round, figures): (usize, &Figures)| {
            let (_, raw) = raw.iter().find(|(of_raw, _)| *of_raw == round)?;
            Some(wall_ns(raw) / wall_ns(figures))
        };
        Spread::of(self.cells.get(column)?.figures().filter_map(of_round))
    }
}

impl Measured {
    /// Every round that failed, and why.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for measured in &self.rows {
            for (cell, (name, _)) in measured.cells.iter().zip(&self.columns) {
                let Cell::Rounds(rounds) = cell else { continue };
                for (round, failure) in
                    rounds.iter().enumerate().filter_map(|(at, figures)| Some((at, figures.as_ref().err()?)))
                {
                    failures.push(format!("{}, {name}, round {}: {failure}", measured.row.name, round + 1));
                }
            }
        }
        failures
    }
}

/// Time of one record, lookup or opening.
pub(crate) fn wall_ns(figures: &Figures) -> f64 {
    number(figures.wall_ns) / number(figures.units)
}

/// The peers that this program runs by itself, the bare calls first.
///
/// # Errors
/// If this program does not know where it is.
pub(crate) fn own_columns(quick: bool, names: &[String]) -> Outcome<Vec<Column>> {
    let program = std::env::current_exe()?;
    let chosen = PEERS.iter().filter(|peer| peer.name == RAW || crate::is_named(names, peer.name));
    Ok(chosen
        .map(|peer| {
            let (program, name) = (program.clone(), peer.name);
            let command = move |row: &Row, _: &Shape, dir: &Path| {
                let mut command = Command::new(&program);
                command.args(["round", name, row.name]).arg(dir);
                if quick {
                    command.arg("--quick");
                }
                // One engine takes its folder from the environment, and prints what it does unless told not to.
                command.env("WALRUS_DATA_DIR", dir).env("WALRUS_QUIET", "1");
                Ok(command)
            };
            Column { name, terms: peer.terms, refuses: peer.refuses, command: Box::new(command) }
        })
        .collect())
}

/// All rounds of all rows; what is there so far is told after each row.
///
/// # Errors
/// If a folder cannot be made, or `tell` fails; not if a peer does.
pub(crate) fn run(plan: &Plan, place: &Place, mut tell: impl FnMut(&Measured) -> Outcome<()>) -> Outcome<Measured> {
    let mut measured = Measured {
        file_system: place.file_system().to_string(),
        rounds: plan.rounds,
        quick: plan.quick,
        columns: plan.columns.iter().map(|column| (column.name, column.terms)).collect(),
        not_run: plan.not_run.clone(),
        rows: Vec::new(),
    };
    let begin = Instant::now();
    for (at, row) in plan.rows.iter().enumerate() {
        writeln!(
            stderr(),
            "[{:>5.0?} s] row {} of {}: {}",
            begin.elapsed().as_secs(),
            at + 1,
            plan.rows.len(),
            row.work
        )?;
        measured.rows.push(run_row(plan, place, row)?);
        tell(&measured)?;
    }
    Ok(measured)
}

fn run_row(plan: &Plan, place: &Place, row: &'static Row) -> Outcome<MeasuredRow> {
    let shape = row.shape(plan.quick)?;
    let cell = |column: &Column| (column.refuses)(row).map_or_else(|| Cell::Rounds(Vec::new()), Cell::Refused);
    let mut cells: Vec<Cell> = plan.columns.iter().map(cell).collect();
    for round in 0..plan.rounds {
        // The bare calls are what all others are compared with, and what the one before them left behind, the largest of
        // all, should not be theirs to pay for: a round of them that does not count meets it.
        if let Some(bare) = plan.columns.first() {
            drop(run_round(plan, place, bare, row, &shape));
        }
        for (column, cell) in plan.columns.iter().zip(&mut cells) {
            let Cell::Rounds(rounds) = cell else { continue };
            let result = run_round(plan, place, column, row, &shape);
            let said = match &result {
                Ok(figures) => time(wall_ns(figures)),
                Err(failure) => format!("FAILED: {failure}"),
            };
            writeln!(stderr(), "  round {} of {}  {:<20} {said}", round + 1, plan.rounds, column.name)?;
            rounds.push(result.map_err(|failure| failure.to_string()));
        }
    }
    Ok(MeasuredRow { row, shape, cells })
}

fn run_round(plan: &Plan, place: &Place, column: &Column, row: &Row, shape: &Shape) -> Outcome<Figures> {
    in_a_folder(place, |dir| {
        let said = run_child((column.command)(row, shape, dir)?, place.dir(), plan.limit)?;
        Ok(Figures::last_of(&said)?)
    })
}

/// Does something in an empty folder, which is gone afterwards.
///
/// # Errors
/// Of the work, and if the folder cannot be made or deleted.
pub(crate) fn in_a_folder<T>(place: &Place, work: impl FnOnce(&Path) -> Outcome<T>) -> Outcome<T> {
    let dir = place.dir().join("round");
    std::fs::create_dir(&dir)?;
    let result = work(&dir);
    std::fs::remove_dir_all(&dir)?;
    // What the deletion left to the journal is not the next one's to pay.
    File::open(place.dir())?.sync_all()?;
    result
}

/// How often a child is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs a child to its end, or to the end of our patience, and gives what it said.
///
/// # Errors
/// If it fails, with its last complaint, or takes too long.
pub(crate) fn run_child(mut command: Command, scratch: &Path, limit: Duration) -> Outcome<String> {
    let (said, complained) = (scratch.join("said"), scratch.join("complained"));
    command.stdin(Stdio::piped()).stdout(File::create(&said)?).stderr(File::create(&complained)?);
    let mut child = command.spawn()?;
    // As long as it is open the child knows that somebody waits.
    let waiting = child.stdin.take();
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begin.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Err(format!("not done within {} s", limit.as_secs()).into());
        }
        std::thread::sleep(LOOK_EVERY);
    };
    drop(waiting);
    if status.success() {
        return Ok(String::from_utf8_lossy(&std::fs::read(said)?).into_owned());
    }
    let complaints = std::fs::read(complained)?;
    Err(format!("{status}: {}", complaint(&String::from_utf8_lossy(&complaints))).into())
}

/// What a program that failed said last, without what follows a panic.
fn complaint(said: &str) -> &str {
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty() && !line.starts_with("note: run with"));
    last.unwrap_or("it said nothing")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::{Cell, MeasuredRow, complaint, run_child};
    use crate::Outcome;
    use crate::figures::Figures;
    use crate::figures::tests::figures;
    use crate::rows::ROWS;

    /// The first row, with these cells.
    pub(crate) fn row_of(cells: Vec<Cell>) -> MeasuredRow {
        MeasuredRow { row: &ROWS[0], shape: ROWS[0].shape(true).expect("a shape"), cells }
    }

    fn child(script: &str, limit: Duration) -> Outcome<Figures> {
        let scratch = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Ok(Figures::last_of(&run_child(command, scratch.path(), limit)?)?)
    }

    #[test]
    fn ratios_compare_rounds_of_the_same_number_only() {
        let rounds =
            |wall: [u64; 3]| wall.map(|ns| if ns == 0 { Err("failed".into()) } else { Ok(figures(ns)) }).into();
        let row = row_of(vec![
            Cell::Rounds(rounds([100, 0, 900])),
            Cell::Rounds(rounds([50, 1, 1800])),
            Cell::Rounds(rounds([0, 7, 0])),
            Cell::Refused("it cannot"),
        ]);
        let ratio = row.ratio(1).expect("two rounds");
        assert_eq!((ratio.least, ratio.most), (0.5, 2.0));
        assert!(row.ratio(2).is_none() && row.ratio(3).is_none() && row.ratio(4).is_none());
        assert_eq!(row.ratio(0).map(|ratio| (ratio.least, ratio.most)), Some((1.0, 1.0)));
    }

    #[test]
    fn a_child_that_succeeds_is_believed_its_last_line() {
        let told = figures(7).to_line().expect("a line");
        let found = child(&format!("echo noise; echo '{told}'"), Duration::from_secs(60)).expect("figures");
        assert_eq!(found, figures(7));
    }

    #[test]
    fn a_child_that_fails_is_reported_with_what_it_said_last() {
        let told = figures(7).to_line().expect("a line");
        let script = format!("echo '{told}'; echo broken >&2; echo 'note: run with X' >&2; exit 1");
        let failure = child(&script, Duration::from_secs(60)).expect_err("it failed").to_string();
        assert!(failure.ends_with(": broken") && failure.contains('1'), "{failure}");
        assert!(child("true", Duration::from_secs(60)).is_err(), "it told no figures");
    }

    #[test]
    fn a_child_that_hangs_is_killed() {
        let failure = child("exec sleep 600", Duration::from_millis(50)).expect_err("it hangs").to_string();
        assert!(failure.starts_with("not done within"), "{failure}");
    }

    #[test]
    fn the_last_complaint_is_what_counts() {
        assert_eq!(complaint("thread panicked\nreason\nnote: run with `RUST_BACKTRACE=1`\n\n"), "reason");
        assert_eq!(complaint(""), "it said nothing");
    }
}
