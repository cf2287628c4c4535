//! The table in Markdown: ratios of all rows at a glance, then each row with all its figures, then what each peer does
//! for them.

use std::fmt::Write;

use super::{calls, counted_bytes, cpu_ns, machine, stored_bytes};
use crate::digits::digits;
use crate::driver::{Cell, Measured, MeasuredRow, wall_ns};
use crate::figures::Figures;
use crate::latency::Percentiles;
use crate::spread::{Spread, number, time};

/// The whole page.
pub(crate) fn markdown(measured: &Measured) -> String {
    let mut page = String::new();
    put(&mut page, measured).expect("a string takes whatever is written");
    page
}

fn put(page: &mut String, measured: &Measured) -> std::fmt::Result {
    let rounds = measured.rounds;
    let quick = if measured.quick { ", small ones (`--quick`): the figures are rough" } else { "" };
    writeln!(page, "{rounds} rounds of each in turn{quick}; on {}, {}.\n", measured.file_system, machine())?;
    writeln!(
        page,
        "How many times as fast as the bare system calls of the same round: median of the rounds, above 1 is faster.\n"
    )?;
    put_ratios(page, measured)?;
    if cfg!(debug_assertions) {
        writeln!(page, "\nBuilt without optimization: the figures mean nothing.")?;
    }
    if let Some(why) = &measured.not_run {
        writeln!(page, "\nNOT RUN: Apache Kafka's log layer and Chronicle Queue ({why}).")?;
    }
    for row in &measured.rows {
        put_row(page, measured, row)?;
    }
    put_terms(page, measured)
}

fn put_ratios(page: &mut String, measured: &Measured) -> std::fmt::Result {
    // The bare calls are what the others are compared with.
    let columns = || measured.columns.iter().enumerate().skip(1);
    write!(page, "| work | bare calls |")?;
    columns().try_for_each(|(_, (name, _))| write!(page, " {name} |"))?;
    writeln!(page, "\n|---|---|{}", "---|".repeat(columns().count()))?;
    for row in &measured.rows {
        let bare = row.cells.first().and_then(|cell| cell.spread(|figures| Some(wall_ns(figures))));
        write!(page, "| {} | {} |", row.row.work, bare.map_or("–".into(), |bare| time(bare.median)))?;
        for (at, _) in columns() {
            let ratio = row.ratio(at).map_or_else(|| absent(&row.cells[at]), |ratio| digits(ratio.median));
            write!(page, " {ratio} |")?;
        }
        writeln!(page)?;
    }
    Ok(())
}

fn absent(cell: &Cell) -> String {
    if matches!(cell, Cell::Refused(_)) { "–".into() } else { "failed".into() }
}

const HEADS: [&str; 8] = [
    "ratio",
    "time",
    "processor time",
    "calls a MiB",
    "p50",
    "p99 / p99.9 / p99.99",
    "max",
    "bytes written / stored a byte",
];

fn put_row(page: &mut String, measured: &Measured, row: &MeasuredRow) -> std::fmt::Result {
    let head = capitalized(row.row.work);
    writeln!(page, "\n### {head}\n\nAgainst {}. Per {}: {}.\n", row.row.against, unit(row), amount(row))?;
    writeln!(page, "| | {} |\n|---|{}", HEADS.join(" | "), "---|".repeat(HEADS.len()))?;
    let mut notes = Vec::new();
    for (at, (cell, (name, _))) in row.cells.iter().zip(&measured.columns).enumerate() {
        match cell {
            Cell::Refused(reason) => notes.push(format!("{name}: – ({reason}).")),
            Cell::Rounds(rounds) => {
                let failures: Vec<&String> = rounds.iter().filter_map(|figures| figures.as_ref().err()).collect();
                if let Some(failure) = failures.first() {
                    notes.push(format!("{name}: {} of {} rounds failed: {failure}.", failures.len(), rounds.len()));
                }
                if failures.len() < rounds.len() {
                    put_cell(page, name, row.ratio(at), cell)?;
                }
            }
        }
    }
    if !notes.is_empty() {
        writeln!(page, "\n{}", notes.join(" "))?;
    }
    Ok(())
}

fn put_cell(page: &mut String, name: &str, ratio: Option<Spread>, cell: &Cell) -> std::fmt::Result {
    let of = |of: fn(&Figures) -> Option<f64>| cell.spread(of).map(|spread| spread.median);
    let shown = |value: Option<f64>, show: fn(f64) -> String| value.map_or_else(|| "–".into(), show);
    let latency = |pick: fn(&Percentiles) -> u64| cell.spread(|figures| Some(number(pick(&figures.latency_ns?))));
    let median = |pick| shown(latency(pick).map(|spread| spread.median), time);
    let wall = cell.spread(|figures| Some(wall_ns(figures)));
    writeln!(
        page,
        "| {name} | {} | {} | {} | {} | {} | {} / {} / {} | {} | {} / {} |",
        ratio.map_or_else(|| "–".into(), |ratio| range(ratio, digits)),
        wall.map_or_else(|| "–".into(), |wall| range(wall, time)),
        shown(of(|figures| Some(cpu_ns(figures))), time),
        shown(of(calls), digits),
        median(|found| found.p50),
        median(|found| found.p99),
        median(|found| found.p999),
        median(|found| found.p9999),
        // The worst of all rounds: a maximum of which half is forgotten is none.
        shown(latency(|found| found.max).map(|spread| spread.most), time),
        shown(of(counted_bytes), digits),
        shown(of(stored_bytes), digits),
    )
}

fn range(spread: Spread, show: fn(f64) -> String) -> String {
    format!("{} ({} – {})", show(spread.median), show(spread.least), show(spread.most))
}

fn unit(row: &MeasuredRow) -> &'static str {
    match (row.shape.reads, row.row.kind) {
        (_, crate::rows::Kind::Reopen) => "opening",
        (1.., _) => "lookup",
        _ => "record",
    }
}

fn amount(row: &MeasuredRow) -> String {
    let shape = &row.shape;
    match shape.reads {
        0 if shape.threads > 1 => format!("{} records a round, of all threads", shape.records()),
        0 => format!("{} records a round", shape.records()),
        reads => format!("{reads} a round, among {} records", shape.records()),
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn put_terms(page: &mut String, measured: &Measured) -> std::fmt::Result {
    writeln!(page, "\n### What each does for it\n")?;
    writeln!(page, "| | used as | checksum | all or nothing | a plain append survives | durable append | copies |")?;
    writeln!(page, "|---|---|---|---|---|---|---|")?;
    for (name, terms) in &measured.columns {
        let crate::peers::Terms { used_as, checksum, atomic, plain_append, durable_append, copies } = terms;
        writeln!(
            page,
            "| {name} | {used_as} | {checksum} | {atomic} | {plain_append} | {durable_append} | {copies} |"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::markdown;
    use crate::report::tests::measured;

    #[test]
    fn the_page_has_the_ratios_of_those_who_did_the_work_and_the_reasons_of_the_others() {
        let page = markdown(&measured());
        assert!(page.contains("on ext9"), "{page}");
        assert!(page.contains("| append, one 100-byte record a call | 1.05 µs | 2.00 | 0.500 | – |"), "{page}");
        assert!(page.contains("frail: 1 of 2 rounds failed: it broke."), "{page}");
        assert!(page.contains("unwilling: – (it cannot)."), "{page}");
        assert!(page.contains("NOT RUN: Apache Kafka's log layer and Chronicle Queue (mvn is missing)."), "{page}");
        let line = "| fast | 2.00 (2.00 – 2.00) | 525 ns (500 ns – 550 ns) | 262 ns | 2000 | 10.0 ns | \
                    20.0 ns / 30.0 ns / 40.0 ns | 5.00 ms | 2.50 / 1.50 |";
        assert!(page.contains(line), "{page}");
    }

    #[test]
    fn every_line_of_a_table_has_as_many_cells_as_its_head() {
        let page = markdown(&measured());
        let mut cells = None;
        for line in page.lines() {
            let found = line.starts_with('|').then(|| line.matches('|').count());
            assert!(cells.is_none() || found.is_none() || cells == found, "{line}");
            cells = found;
        }
    }
}
