//! The table of README.md, measured: `cargo bench --bench ratios`, or with `-- --quick` in seconds.
//!
//! Each ratio is one of a round of bare system calls to the round of kstore that came right behind it, on the same disk,
//! in the same second; what is printed is the median of these and their range. Above 1, kstore is the faster one. Beside
//! it stand the processor time of a record (all threads) and the calls that it took to read and write; for work that
//! is judged by its bytes, the processor seconds of a GiB and the calls of a MiB.

#![allow(clippy::disallowed_methods, reason = "benches measure with the system's own files and clocks")]

use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

#[path = "work/digits.rs"]
mod digits;
mod work;

use digits::digits;
use work::{Cost, Outcome, Place, ROWS, Row, Scale, Work, latencies};

/// Measures kstore against bare system calls and prints a table in Markdown.
#[derive(Parser)]
struct Options {
    /// Small rounds, and few: to see that everything runs. The figures mean little.
    #[arg(long, alias = "test")]
    quick: bool,
    /// One JSON object a line in place of the table.
    #[arg(long)]
    json: bool,
    /// How many rounds of each side are measured.
    #[arg(long)]
    rounds: Option<usize>,
    /// Where the files go: a folder on the disk to measure.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only the rows whose names contain this.
    only: Option<String>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Outcome<()> {
    let options = Options::parse();
    // Who runs the benches as tests wants to know that they run.
    let quick = options.quick || !options.bench;
    let (scale, rounds) = if quick { (Scale::Small, 2) } else { (Scale::Full, 7) };
    let rounds = options.rounds.unwrap_or(rounds).max(1);
    let place = Place::below(options.dir)?;
    if place.is_in_memory() {
        writeln!(stderr(), "warning: {} is no disk; name a folder with --dir", place.file_system())?;
    }
    if !options.json {
        print_head(place.file_system(), rounds)?;
    }
    for row in ROWS.iter().filter(|row| options.only.as_ref().is_none_or(|part| row.name.contains(part.as_str()))) {
        let dir = place.dir().join(row.name);
        std::fs::create_dir(&dir)?;
        let figures = measure(row.prepare(&dir, scale)?.as_mut(), rounds)?;
        std::fs::remove_dir_all(&dir)?;
        if options.json { print_json(row, &figures, place.file_system())? } else { print_line(row, &figures)? }
    }
    if options.only.as_ref().is_none_or(|part| WAKE.contains(part.as_str())) {
        print_wakes(&place, scale, options.json)?;
    }
    Ok(())
}

/// The name of what stands in a table of its own: times that are no ratio.
const WAKE: &str = "wake";

/// How long a waiting reader takes to have a record once the append has returned, and how long a condition variable
/// takes to wake a thread.
fn print_wakes(place: &Place, scale: Scale, json: bool) -> Outcome<()> {
    let dir = place.dir().join(WAKE);
    std::fs::create_dir(&dir)?;
    let measured = latencies(&dir, scale)?;
    std::fs::remove_dir_all(&dir)?;
    let mut out = stdout().lock();
    if !json {
        writeln!(out, "\n| wake-up of a waiting thread | p50 | p99 | p99.9 |\n|---|---|---|---|")?;
    }
    for (name, latencies) in ["a condition variable", "`tail`, from the return of `append`"].iter().zip(&measured) {
        let ns = [500, 990, 999].map(|share| 1e9 * latencies.per_mille(share).as_secs_f64());
        if json {
            let line =
                serde_json::json!({ "name": WAKE, "of": name, "p50_ns": ns[0], "p99_ns": ns[1], "p999_ns": ns[2] });
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "| {name} | {} | {} | {} |", time(ns[0]), time(ns[1]), time(ns[2]))?;
        }
    }
    Ok(())
}

/// A median, and the range around it.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

/// One side's figures, each of a record.
struct Side {
    wall_ns: Spread,
    cpu_ns: Spread,
    calls: Option<Spread>,
}

struct Figures {
    /// The bare calls' time to kstore's, round by round.
    ratio: Spread,
    raw: Side,
    kstore: Side,
    records: u64,
    sent_bytes: Option<u64>,
}

/// Rounds of both sides in turn, behind one of each that does not count.
fn measure(work: &mut dyn Work, rounds: usize) -> Outcome<Figures> {
    work.raw()?;
    work.kstore()?;
    let (mut raw, mut kstore) = (Vec::new(), Vec::new());
    for _ in 0..rounds.min(work.most_rounds()) {
        raw.push(work.raw()?);
        kstore.push(work.kstore()?);
    }
    let ratios = raw.iter().zip(&kstore).map(|(raw, kstore)| raw.wall.as_secs_f64() / kstore.wall.as_secs_f64());
    let records = work.records();
    Ok(Figures {
        ratio: Spread::of(ratios.collect()),
        raw: Side::of(&raw, records),
        kstore: Side::of(&kstore, records),
        records,
        sent_bytes: work.sent_bytes(),
    })
}

impl Side {
    fn of(costs: &[Cost], records: u64) -> Side {
        let ns = |time: fn(&Cost) -> Duration| {
            Spread::of(costs.iter().map(|cost| 1e9 * time(cost).as_secs_f64() / count(records)).collect())
        };
        let calls: Option<Vec<f64>> = costs.iter().map(|cost| Some(count(cost.calls?) / count(records))).collect();
        Side { wall_ns: ns(|cost| cost.wall), cpu_ns: ns(|cost| cost.cpu), calls: calls.map(Spread::of) }
    }
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let (Some(&least), Some(&most)) = (values.first(), values.last()) else { unreachable!("there is a round") };
        Spread { least, median: (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0, most }
    }
}

/// Counts are small enough here to be exact.
fn count(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn print_head(file_system: &str, rounds: usize) -> Outcome<()> {
    let mut out = stdout().lock();
    let cores = std::thread::available_parallelism()?;
    writeln!(
        out,
        "{rounds} rounds of each side in turn, on {file_system} and {cores} processors: median (least – most).\n"
    )?;
    writeln!(
        out,
        "| work | measured against | ratio | kstore's time | processor time: bare → kstore | reads and writes: bare → kstore |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    Ok(())
}

fn print_line(row: &Row, figures: &Figures) -> Outcome<()> {
    let Figures { ratio, raw, kstore, .. } = figures;
    let unit = Unit::of(figures);
    let calls = match (&raw.calls, &kstore.calls) {
        (Some(raw), Some(kstore)) => format!("{} → {}", unit.calls(raw), unit.calls(kstore)),
        _ => "not counted here".into(),
    };
    writeln!(
        stdout().lock(),
        "| {} | {} | {:.2} ({:.2} – {:.2}) | {} | {} → {} | {} |",
        row.work,
        row.against,
        ratio.median,
        ratio.least,
        ratio.most,
        time(kstore.wall_ns.median),
        unit.cpu(&raw.cpu_ns),
        unit.cpu(&kstore.cpu_ns),
        calls,
    )?;
    Ok(())
}

/// What processor time and calls are told of.
enum Unit {
    Record,
    /// Of a GiB the time, of a MiB the calls; with the number of bytes that a record has.
    Bytes(f64),
}

impl Unit {
    fn of(figures: &Figures) -> Unit {
        figures.sent_bytes.map_or(Unit::Record, |bytes| Unit::Bytes(count(bytes) / count(figures.records)))
    }

    fn cpu(&self, ns: &Spread) -> String {
        match self {
            Unit::Record => time(ns.median),
            Unit::Bytes(of_record) => format!("{} s/GiB", digits(ns.median / 1e9 * f64::from(1 << 30) / of_record)),
        }
    }

    fn calls(&self, calls: &Spread) -> String {
        match self {
            Unit::Record => digits(calls.median),
            Unit::Bytes(of_record) => format!("{}/MiB", digits(calls.median * f64::from(1 << 20) / of_record)),
        }
    }
}

fn print_json(row: &Row, figures: &Figures, file_system: &str) -> Outcome<()> {
    let spread =
        |spread: &Spread| serde_json::json!({ "least": spread.least, "median": spread.median, "most": spread.most });
    let side = |side: &Side| {
        serde_json::json!({
            "wall_ns": spread(&side.wall_ns),
            "cpu_ns": spread(&side.cpu_ns),
            "calls": side.calls.as_ref().map(spread),
        })
    };
    let line = serde_json::json!({
        "name": row.name,
        "file_system": file_system,
        "records_a_round": figures.records,
        "bytes_a_round": figures.sent_bytes,
        "ratio": spread(&figures.ratio),
        "raw": side(&figures.raw),
        "kstore": side(&figures.kstore),
    });
    writeln!(stdout().lock(), "{line}")?;
    Ok(())
}

/// Nanoseconds in a unit that is easily read.
fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{} ns", digits(ns)),
        ns if ns < 1e6 => format!("{} µs", digits(ns / 1e3)),
        ns => format!("{} ms", digits(ns / 1e6)),
    }
}
