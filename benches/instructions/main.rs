//! Instructions and system calls of the hot paths, an operation: `cargo bench --bench instructions`.
//!
//! On a machine that others use, too, time says little of a small change; the number of instructions is the same each
//! time. Each path runs in a process of its own under callgrind, on real files, and what the calling thread executes there
//! is compared with `figures.txt`: 5 % more is a failure, 5 % less is worth new figures, which `KSTORE_BLESS=1` writes.
//! It is no measure of speed: a kernel's work, a cache's misses and a processor's guesses are not in it. The invariant it
//! owns: figures are compared only where compiler, libraries and processor let them be the same.

#![allow(clippy::disallowed_methods, reason = "benches measure with the system's own files")]

use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use tempfile::TempDir;

mod callgrind;
mod figures;
mod paths;

use figures::{Counted, Counts, Figures, Verdict};
use paths::{HotPath, PATHS};

/// Whatever went wrong; a bench has nobody to tell apart what.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What is compared with, below the root of the repository.
const FIGURES: &str = "benches/instructions/figures.txt";
/// How often a path is counted that seems to take more than it did: what else goes on can only add to a count.
const MOST_COUNTS: usize = 3;

/// Counts the instructions and the system calls of the hot paths, and compares them with those that were counted before.
#[derive(Parser)]
struct Options {
    /// Only the paths whose names contain this.
    only: Option<String>,
    /// Goes each path once without counting: to see that it runs.
    #[arg(long)]
    test: bool,
    /// Goes one path, by its whole name, in this process: what callgrind is started with.
    #[arg(long, hide = true, requires = "dir")]
    run: Option<String>,
    /// The folder for `--run`.
    #[arg(long, hide = true)]
    dir: Option<PathBuf>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Outcome<ExitCode> {
    let options = Options::parse();
    if let (Some(name), Some(dir)) = (&options.run, &options.dir) {
        let path = PATHS.iter().find(|path| path.name == name).ok_or_else(|| format!("no path is named {name}"))?;
        writeln!(stdout(), "{}", (path.run)(dir)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let is_chosen = |path: &&HotPath| options.only.as_ref().is_none_or(|part| path.name.contains(part.as_str()));
    let chosen: Vec<&HotPath> = PATHS.iter().filter(is_chosen).collect();
    if chosen.is_empty() {
        return Err("no path has a name with that in it".into());
    }
    // Who runs the benches as tests wants to know that they run.
    if options.test || !options.bench {
        return test(&chosen);
    }
    if !callgrind::is_there() {
        not_run("instruction counts (benches/instructions): valgrind is missing")?;
        return Ok(ExitCode::SUCCESS);
    }
    if std::env::var_os("KSTORE_BLESS").is_some_and(|value| value == "1") { bless(&chosen) } else { compare(&chosen) }
}

/// Each path once, in this process.
fn test(paths: &[&HotPath]) -> Outcome<ExitCode> {
    for path in paths {
        let dir = prepared(path)?;
        let operations = (path.run)(dir.path())?;
        writeln!(stdout(), "{}: {operations} × {}, done", path.name, path.operation)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Counts, and writes what it counted to the file of figures.
fn bless(paths: &[&HotPath]) -> Outcome<ExitCode> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FIGURES);
    let taken_with = figures::taken_with()?;
    let mut figures = match std::fs::read_to_string(&file) {
        Ok(text) => Figures::parse(&text).filter(|figures| figures.taken_with == taken_with).unwrap_or_default(),
        Err(_) => Figures::default(),
    };
    figures.taken_with = taken_with;
    figures.counts.retain(|name, _| PATHS.iter().any(|path| path.name == name));
    for path in paths {
        let each = count(path)?.each;
        print_line(path, each, None)?;
        figures.counts.insert(path.name.to_string(), each);
    }
    std::fs::write(file, figures.render())?;
    Ok(ExitCode::SUCCESS)
}

/// Counts, and sets beside it what was counted before.
fn compare(paths: &[&HotPath]) -> Outcome<ExitCode> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(FIGURES));
    let text = text.map_err(|error| format!("{FIGURES}: {error}; KSTORE_BLESS=1 writes it"))?;
    let before = Figures::parse(&text).ok_or_else(|| format!("{FIGURES} is none of these files"))?;
    let here = figures::taken_with()?;
    let comparable = before.taken_with == here;
    let (mut found, mut renew) = (Vec::new(), false);
    for path in paths {
        let known = before.counts.get(path.name).copied().filter(|_| comparable);
        let (now, verdict) = judged(path, known)?;
        print_line(path, now, known)?;
        match (verdict, known) {
            (Verdict::Less, _) => renew = true,
            (Verdict::More, Some(known)) => found.push(format!(
                "{}: {:.1} instructions and {:.5} system calls an operation, where there were {:.1} and {:.5}",
                path.name, now.instructions, now.calls, known.instructions, known.calls,
            )),
            (Verdict::Unknown, _) if comparable => found.push(format!("{} has no figures", path.name)),
            _ => {}
        }
    }
    let unknown = before.counts.keys().filter(|name| !PATHS.iter().any(|path| path.name == *name));
    found.extend(unknown.map(|name| format!("{name} has figures and is no path")));
    if !comparable {
        let from = &before.taken_with;
        not_run(&format!("the comparison of instruction counts: figures are of {from}; here it is {here}"))?;
    }
    let again = "KSTORE_BLESS=1 cargo bench --bench instructions";
    if renew {
        writeln!(stderr(), "{FIGURES} wants renewing, some of it is less by now: {again}")?;
    }
    for complaint in &found {
        writeln!(stderr(), "error: {complaint}")?;
    }
    if !found.is_empty() {
        writeln!(stderr(), "if it is to be so: {again}")?;
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Counts a path until it takes no more than it did, or is sure to.
fn judged(path: &HotPath, known: Option<Counts>) -> Outcome<(Counts, Verdict)> {
    let mut least = count(path)?;
    for _ in 1..MOST_COUNTS {
        if figures::judge(least, known) != Verdict::More {
            break;
        }
        least = least.least(count(path)?);
    }
    Ok((least.each, figures::judge(least, known)))
}

fn count(path: &HotPath) -> Outcome<Counted> {
    let dir = prepared(path)?;
    callgrind::count(path.name, dir.path()).map_err(|error| format!("{}: {error}", path.name).into())
}

/// A folder on a disk, and in it what the path reads.
fn prepared(path: &HotPath) -> Outcome<TempDir> {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(parent)?;
    let dir = tempfile::Builder::new().prefix("kstore-instructions-").tempdir_in(parent)?;
    (path.prepare)(dir.path())?;
    Ok(dir)
}

fn print_line(path: &HotPath, now: Counts, before: Option<Counts>) -> Outcome<()> {
    let change = |now: f64, before: Option<f64>| match before {
        Some(before) if before > 0.0 => format!("{:+.1} %", 100.0 * (now / before - 1.0)),
        _ => "–".to_string(),
    };
    let mut out = stdout().lock();
    writeln!(
        out,
        "{:<24} {:>11.1} instructions ({}), {:.3} system calls ({}): {}",
        path.name,
        now.instructions,
        change(now.instructions, before.map(|counts| counts.instructions)),
        now.calls,
        change(now.calls, before.map(|counts| counts.calls)),
        path.operation,
    )?;
    Ok(out.flush()?)
}

fn not_run(what: &str) -> Outcome<()> {
    Ok(writeln!(stdout(), "!!!\n!!! NOT RUN: {what}\n!!!")?)
}
