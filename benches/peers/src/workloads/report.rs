//! What is made of the lines: a page of tables, all figures as JSON, and charts where a workload has curves.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::driver::{Measured, MeasuredWorkload};
use super::line::{PERCENTILES, thousands};
use super::{Line, Measure};
use crate::Outcome;
use crate::digits::digits;
use crate::report::{Curve, curves, machine};
use crate::spread::{Spread, time};

/// Writes everything that can be said so far into a folder.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn write(measured: &Measured, out: &Path) -> Outcome<()> {
    std::fs::write(out.join("workloads.md"), markdown(measured))?;
    std::fs::write(out.join("workloads.json"), format!("{:#}\n", json(measured)))?;
    for workload in &measured.workloads {
        for &measure in workload.workload.charts {
            chart(workload, measure, out)?;
        }
        chart_of_percentiles(workload, out)?;
    }
    Ok(())
}

/// The whole page.
pub(crate) fn markdown(measured: &Measured) -> String {
    let mut page = String::new();
    put(&mut page, measured).expect("a string takes whatever is written");
    page
}

fn put(page: &mut String, measured: &Measured) -> std::fmt::Result {
    let quick = if measured.quick { ", small ones (`--quick`): the figures are rough" } else { "" };
    writeln!(
        page,
        "{} rounds of each in turn{quick}; on {}, {}; {} s.\n",
        measured.rounds,
        measured.file_system,
        machine(),
        measured.seconds
    )?;
    writeln!(
        page,
        "Medians of the rounds; of times on the wall, the range too. `×`: how many times as good as the line"
    )?;
    writeln!(page, "that it is compared with, in the same round; above 1 is better.")?;
    if cfg!(debug_assertions) {
        writeln!(page, "\nBuilt without optimization: the figures mean nothing.")?;
    }
    measured.workloads.iter().try_for_each(|workload| put_workload(page, workload))
}

fn put_workload(page: &mut String, measured: &MeasuredWorkload) -> std::fmt::Result {
    let workload = measured.workload;
    writeln!(page, "\n### {}\n\n{} Times are those of {}.\n", workload.title, workload.about, workload.unit)?;
    let measures = measured.measures();
    if !measures.is_empty() {
        write!(page, "| | compared with |")?;
        measures.iter().try_for_each(|measure| write!(page, " {} |", measure.head()))?;
        writeln!(page, "\n|---|---|{}", "---|".repeat(measures.len()))?;
    }
    let mut notes = Vec::new();
    for name in measured.names() {
        let Some((_, line)) = measured.lines(name).next() else { continue };
        write!(page, "| {name} | {} |", line.against.as_deref().unwrap_or("–"))?;
        measures.iter().try_for_each(|&measure| write!(page, " {} |", cell(measured, name, measure)))?;
        writeln!(page)?;
        notes.extend(line.note.iter().map(|note| format!("{name}: {note}.")));
    }
    notes.extend(measured.not_run.iter().map(|(case, reason)| format!("NOT RUN: {case} ({reason}).")));
    notes.extend(measured.failures.iter().map(|failure| format!("FAILED: {failure}.")));
    if notes.is_empty() { Ok(()) } else { writeln!(page, "\n{}", notes.join("\n")) }
}

fn cell(measured: &MeasuredWorkload, name: &str, measure: Measure) -> String {
    let Some(spread) = measured.spread(name, measure) else { return "–".into() };
    // The worst of all rounds: a maximum of which half is forgotten is none.
    let worst = matches!(measure, Measure::Max | Measure::DueMax | Measure::LagMax | Measure::LongestSync);
    let mut cell = measure.show(if worst { spread.most } else { spread.median });
    if measure == Measure::Wall && spread.least < spread.most {
        let range = format!(" ({} – {})", measure.show(spread.least), measure.show(spread.most));
        cell.push_str(&range);
    }
    if let Some(ratio) = measured.ratio(name, measure) {
        let ratio = format!(", {} ×", digits(ratio.median));
        cell.push_str(&ratio);
    }
    cell
}

fn json(measured: &Measured) -> Value {
    json!({
        "machine": machine(),
        "file_system": measured.file_system,
        "rounds": measured.rounds,
        "quick": measured.quick,
        "seconds": measured.seconds,
        "workloads": measured.workloads.iter().map(json_of).collect::<Vec<Value>>(),
    })
}

fn json_of(measured: &MeasuredWorkload) -> Value {
    let of_line = |name: &str| {
        let figures = |of: &dyn Fn(Measure) -> Option<Spread>| -> serde_json::Map<String, Value> {
            let told = measured.measures().into_iter().filter_map(|measure| {
                let name = serde_json::to_value(measure).ok()?.as_str()?.to_string();
                Some((name, json!(of(measure)?)))
            });
            told.collect()
        };
        json!({
            "name": name,
            "against": measured.lines(name).next().and_then(|(_, line)| line.against.clone()),
            "figures": figures(&|measure| measured.spread(name, measure)),
            "ratios": figures(&|measure| measured.ratio(name, measure)),
            "rounds": measured.lines(name).map(|(_, line)| json!(line)).collect::<Vec<Value>>(),
        })
    };
    json!({
        "name": measured.workload.name,
        "title": measured.workload.title,
        "unit": measured.workload.unit,
        "lines": measured.names().into_iter().map(of_line).collect::<Vec<Value>>(),
        "not_run": measured.not_run.iter().map(|(case, reason)| json!({ "case": case, "reason": reason }))
            .collect::<Vec<Value>>(),
        "failures": measured.failures,
    })
}

/// The lines that have a place, each on its curve.
fn chart(measured: &MeasuredWorkload, measure: Measure, out: &Path) -> Outcome<()> {
    let firsts: Vec<&Line> =
        measured.names().into_iter().filter_map(|name| Some(measured.lines(name).next()?.1)).collect();
    let (mut places, mut drawn): (Vec<&str>, Vec<Curve>) = (Vec::new(), Vec::new());
    for line in &firsts {
        let (Some((curve, place)), Some(spread)) = (&line.place, measured.spread(&line.name, measure)) else {
            continue;
        };
        if !places.contains(&place.as_str()) {
            places.push(place);
        }
        let x = places.iter().position(|known| known == place).unwrap_or_default();
        let point = (u32::try_from(x)?, spread.median);
        match drawn.iter_mut().find(|known| known.name == *curve) {
            Some(known) => known.points.push(point),
            None => drawn.push(Curve { name: curve.clone(), color: drawn.len(), points: vec![point] }),
        }
    }
    let title = format!("{}: {}", measured.workload.title, measure.head());
    let name = serde_json::to_value(measure)?.as_str().unwrap_or_default().to_string();
    let show = if measure.is_time() { time } else { thousands };
    draw(&title, &places, show, &drawn, &out.join(format!("workloads-{}-{name}.svg", measured.workload.name)))
}

/// Where calls were timed one by one.
fn chart_of_percentiles(measured: &MeasuredWorkload, out: &Path) -> Outcome<()> {
    let of_line = |(at, name): (usize, &str)| {
        let points: Vec<(u32, f64)> = (0..)
            .zip(PERCENTILES)
            .filter_map(|(x, measure)| Some((x, measured.spread(name, measure)?.median)))
            .collect();
        (points.len() == PERCENTILES.len()).then(|| Curve { name: name.to_string(), color: at, points })
    };
    let drawn: Vec<Curve> = measured.names().into_iter().enumerate().filter_map(of_line).collect();
    let title = format!("{}: time of a call", measured.workload.title);
    let heads = PERCENTILES.map(Measure::head);
    draw(&title, &heads, time, &drawn, &out.join(format!("workloads-{}-latency.svg", measured.workload.name)))
}

fn draw(title: &str, places: &[&str], show: fn(f64) -> String, drawn: &[Curve], path: &Path) -> Outcome<()> {
    // One place is no curve.
    if drawn.is_empty() || places.len() < 2 { Ok(()) } else { curves(title, places, show, drawn, path) }
}

#[cfg(test)]
mod tests {
    use super::{markdown, write};
    use crate::workloads::driver::tests::measured;

    #[test]
    fn the_page_has_figures_ratios_notes_and_what_did_not_run() {
        let page = markdown(&measured());
        assert!(page.contains("on ext9"), "{page}");
        assert!(page.contains("| bare | – | 2.00 µs (1.00 µs – 3.00 µs) | – |"), "{page}");
        assert!(page.contains("| kstore | bare | 550 ns (500 ns – 600 ns), 3.50 × | 3.00 |"), "{page}");
        assert!(page.contains("kstore: half of it."), "{page}");
        assert!(page.contains("NOT RUN: two disks (nobody is root)."), "{page}");
        assert!(page.contains("FAILED: producers, broken, round 1: it broke."), "{page}");
    }

    #[test]
    fn every_line_of_a_table_has_as_many_cells_as_its_head() {
        let page = markdown(&measured());
        let cells: Vec<usize> =
            page.lines().filter(|line| line.starts_with('|')).map(|line| line.matches('|').count()).collect();
        assert!(cells.len() > 3 && cells.iter().all(|count| *count == cells[0]), "{cells:?}");
    }

    #[test]
    fn everything_is_written_and_the_figures_can_be_read_again() {
        let out = tempfile::tempdir().expect("a folder");
        write(&measured(), out.path()).expect("files");
        let json = std::fs::read_to_string(out.path().join("workloads.json")).expect("figures");
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let workload = &json["workloads"][0];
        assert_eq!(workload["lines"][1]["ratios"]["wall"]["median"], 3.5);
        assert_eq!(workload["lines"][1]["rounds"][0]["values"]["maps"], 3.0);
        assert_eq!(workload["not_run"][0]["reason"], "nobody is root");
        assert_eq!(std::fs::read_to_string(out.path().join("workloads.md")).expect("a page"), markdown(&measured()));
    }
}
