//! kstore beside other engines and beside bare system calls, measured side by side in one run:
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- --quick`.
//!
//! Each round of each row by each peer runs in a process of its own, in a folder of its own that is gone afterwards;
//! the peers take turns (A B C A B C), so that what the machine does meanwhile meets all of them. Every figure is told
//! beside that of the bare calls of the same round. It writes a table (Markdown), all figures (JSON) and plots (SVG).
//! `README.md` in this folder says how to read them.

#![allow(clippy::disallowed_methods, reason = "benches measure with the system's own files and clocks")]

use std::error::Error;
use std::io::{Read, Write, stderr, stdin, stdout};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

#[path = "../../work/cost.rs"]
mod cost;
#[path = "../../work/digits.rs"]
mod digits;
mod driver;
mod figures;
mod jvm;
mod latency;
mod peers;
#[path = "../../work/place.rs"]
mod place;
mod report;
mod rows;
mod spread;
mod storage;
mod values;
mod work;
mod workloads;

use driver::Plan;
use place::Place;
use rows::ROWS;

/// Whatever went wrong; a bench has nobody to tell apart what.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Measures kstore beside other engines and beside bare system calls.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Small rounds, and few: some minutes in place of hours.
    #[arg(long, global = true)]
    quick: bool,
    /// Only the rows, or workloads, whose names contain one of these.
    #[arg(long, global = true, value_delimiter = ',')]
    rows: Vec<String>,
    /// Only the peers whose names contain one of these; the bare calls always run.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Without the peers that run in a JVM.
    #[arg(long)]
    no_jvm: bool,
    /// How many rounds of each peer are measured.
    #[arg(long, global = true)]
    rounds: Option<usize>,
    /// Where the files go: a folder on the disk to measure.
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    /// Where the table, the figures and the plots go: `peers` in the target folder unless said.
    #[arg(long, global = true)]
    out: Option<PathBuf>,
    /// A round that takes longer is given up.
    #[arg(long, global = true)]
    limit_seconds: Option<u64>,
}

#[derive(Subcommand)]
enum Command {
    /// Does one round of a row; what the others are made of.
    #[command(hide = true)]
    Round { peer: String, row: String, dir: PathBuf },
    /// Measures kstore beside bare system calls, at the workloads of the well-known descriptions of Kafka.
    Workloads,
    /// Does one case of a workload.
    #[command(hide = true)]
    Case { workload: String, case: String, dir: PathBuf },
    /// Opens logs, appends to them, and ends as a process does that is killed.
    #[command(hide = true)]
    LeaveOpen { dir: PathBuf, logs: usize, records: usize },
}

fn main() -> Outcome<()> {
    let options = Options::parse();
    match &options.command {
        Some(Command::Round { peer, row, dir }) => one_round(peer, row, dir, options.quick),
        Some(Command::Workloads) => all_workloads(&options),
        Some(Command::Case { workload, case, dir }) => {
            end_with_parent();
            let told = workloads::one(workload, case, dir, workloads::Scale { quick: options.quick })?;
            Ok(writeln!(stdout(), "{told}")?)
        }
        Some(Command::LeaveOpen { dir, logs, records }) => workloads::leave_open(dir, *logs, *records),
        None => all_rounds(&options),
    }
}

fn all_rounds(options: &Options) -> Outcome<()> {
    let plan = plan(options)?;
    let (place, out) = folders(options)?;
    let measured = driver::run(&plan, &place, |measured| report::write(measured, &out))?;
    writeln!(stdout(), "{}", report::markdown(&measured))?;
    conclude(&out, &measured.failures())
}

fn all_workloads(options: &Options) -> Outcome<()> {
    let plan = workloads::Plan::of(&options.rows, options.quick, options.rounds, limit(options))?;
    let (place, out) = folders(options)?;
    let measured = workloads::run(&plan, &place, |measured| workloads::write(measured, &out))?;
    writeln!(stdout(), "{}", workloads::markdown(&measured))?;
    conclude(&out, &measured.failures())
}

/// Where is measured, and where the figures go.
fn folders(options: &Options) -> Outcome<(Place, PathBuf)> {
    let place = Place::below(options.dir.clone())?;
    if place.is_in_memory() {
        writeln!(stderr(), "warning: {} is no disk; name a folder with --dir", place.file_system())?;
    }
    let out = options.out.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers"));
    std::fs::create_dir_all(&out)?;
    Ok((place, out))
}

fn conclude(out: &std::path::Path, failures: &[String]) -> Outcome<()> {
    writeln!(stderr(), "written to {}", out.display())?;
    if failures.is_empty() {
        return Ok(());
    }
    for failure in failures {
        writeln!(stderr(), "failed: {failure}")?;
    }
    Err(format!("{} rounds failed", failures.len()).into())
}

fn limit(options: &Options) -> Duration {
    Duration::from_secs(options.limit_seconds.unwrap_or(if options.quick { 120 } else { 1_200 }))
}

/// What the options ask for. It builds what runs in a JVM, or says loudly why that does not run.
fn plan(options: &Options) -> Outcome<Plan> {
    let rows: Vec<_> = ROWS.iter().filter(|row| is_named(&options.rows, row.name)).collect();
    if rows.is_empty() {
        let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        return Err(format!("no row has such a name; there are {}", known.join(", ")).into());
    }
    let known: Vec<&str> = peers::PEERS.iter().map(|peer| peer.name).chain(jvm::names()).collect();
    if let Some(part) = options.peers.iter().find(|part| !known.iter().any(|name| name.contains(part.as_str()))) {
        return Err(format!("no peer is named {part}; there are {}", known.join(", ")).into());
    }
    let mut columns = driver::own_columns(options.quick, &options.peers)?;
    let more = if options.no_jvm { Ok(Vec::new()) } else { jvm::columns(options.quick, &options.peers) };
    let mut not_run = None;
    match more {
        Ok(more) => columns.extend(more),
        Err(why) => {
            writeln!(stderr(), "\n!!!\n!!! NOT RUN: Apache Kafka's log layer and Chronicle Queue: {why}\n!!!\n")?;
            not_run = Some(why);
        }
    }
    Ok(Plan {
        rows,
        columns,
        not_run,
        rounds: options.rounds.unwrap_or(if options.quick { 3 } else { 5 }).max(1),
        quick: options.quick,
        limit: limit(options),
    })
}

/// Whether a name contains one of the parts, if there are any.
fn is_named(parts: &[String], name: &str) -> bool {
    parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()))
}

fn one_round(peer: &str, row: &str, dir: &std::path::Path, quick: bool) -> Outcome<()> {
    end_with_parent();
    let row = ROWS.iter().find(|known| known.name == row).ok_or_else(|| format!("no row is named {row}"))?;
    let figures = (peers::named(peer)?.run)(dir, &row.shape(quick)?)?;
    writeln!(stdout(), "{}", figures.to_line()?)?;
    Ok(())
}

/// Ends this process when the one that started it does.
fn end_with_parent() {
    // Whoever started this holds the other end, and is gone when it ends.
    std::thread::spawn(|| {
        let ended = stdin().read_to_end(&mut Vec::new());
        std::process::exit(if ended.is_ok() { 3 } else { 4 })
    });
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Options, is_named, plan};

    #[test]
    fn the_options_are_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn a_row_or_a_peer_that_nobody_knows_is_refused() {
        for wrong in [["peers", "--rows", "no_such_row"], ["peers", "--peers", "kstore,no-such-peer"]] {
            let options = Options::parse_from(wrong);
            let refused = plan(&options).err().expect("it is unknown").to_string();
            assert!(refused.contains("there are"), "{refused}");
        }
        let options = Options::parse_from(["peers", "--no-jvm", "--peers", "kstore-mapped", "--rows", "scan,lookup"]);
        let plan = plan(&options).expect("both are known");
        assert_eq!(plan.columns.iter().map(|column| column.name).collect::<Vec<_>>(), ["raw", "kstore-mapped"]);
        assert_eq!(plan.rows.len(), 2);
    }

    #[test]
    fn names_are_chosen_by_a_part_and_all_are_if_none_is_given() {
        let parts = ["mapped".to_string(), "redb".to_string()];
        let chosen = |name| is_named(&parts, name);
        assert!(chosen("kstore-mapped") && chosen("redb") && !chosen("kstore"));
        assert!(is_named(&[], "kstore"));
    }
}
