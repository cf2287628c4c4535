//! What is made of the figures: a table, all of them as JSON, and plots.

use std::path::Path;

use serde_json::{Value, json};

use crate::Outcome;
use crate::driver::{Cell, Measured, MeasuredRow};
use crate::figures::Figures;
use crate::spread::{Spread, number};

mod plot;
mod table;

pub(crate) use plot::{Curve, curves};
pub(crate) use table::markdown;

/// Writes everything that can be said so far into a folder.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn write(measured: &Measured, out: &Path) -> Outcome<()> {
    std::fs::write(out.join("peers.md"), markdown(measured))?;
    std::fs::write(out.join("peers.json"), format!("{:#}\n", json(measured)))?;
    for row in &measured.rows {
        plot::write(measured, row, out)?;
    }
    Ok(())
}

/// Calls that read or write, of a MiB of payload; where none is moved, of an opening.
fn calls(figures: &Figures) -> Option<f64> {
    let calls = number(figures.calls?);
    Some(match figures.payload_bytes {
        0 => calls / number(figures.units),
        bytes => calls * f64::from(1 << 20) / number(bytes),
    })
}

/// Time of processors of one record, lookup or opening.
fn cpu_ns(figures: &Figures) -> f64 {
    number(figures.cpu_ns) / number(figures.units)
}

/// Bytes that were written for each of the payload, as the system counts them.
fn counted_bytes(figures: &Figures) -> Option<f64> {
    let written = figures.written?;
    Some(number(written.counted_bytes?) / number(written.payload_bytes))
}

/// Bytes that files take for each of the payload.
fn stored_bytes(figures: &Figures) -> Option<f64> {
    let written = figures.written?;
    Some(number(written.stored_bytes) / number(written.payload_bytes))
}

/// The machine, as far as it matters and tells.
pub(crate) fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{processors} processors ({}), Linux {}",
        model.map_or("of an unknown model", |(_, model)| model.trim()),
        kernel.trim()
    )
}

fn json(measured: &Measured) -> Value {
    json!({
        "machine": machine(),
        "file_system": measured.file_system,
        "rounds": measured.rounds,
        "quick": measured.quick,
        "jvm_not_run": measured.not_run,
        "peers": measured.columns.iter().map(|(name, terms)| json!({
            "name": name,
            "used_as": terms.used_as,
            "checksum": terms.checksum,
            "atomic": terms.atomic,
            "plain_append": terms.plain_append,
            "durable_append": terms.durable_append,
            "copies": terms.copies,
        })).collect::<Vec<Value>>(),
        "rows": measured.rows.iter().map(|row| json!({
            "name": row.row.name,
            "work": row.row.work,
            "against": row.row.against,
            "shape": row.shape,
            "peers": measured.columns.iter().zip(&row.cells).enumerate()
                .map(|(at, ((name, _), cell))| json_of_cell(name, row, at, cell)).collect::<Vec<Value>>(),
        })).collect::<Vec<Value>>(),
    })
}

fn json_of_cell(name: &str, row: &MeasuredRow, at: usize, cell: &Cell) -> Value {
    let rounds = match cell {
        Cell::Refused(reason) => return json!({ "name": name, "refused": reason }),
        Cell::Rounds(rounds) => rounds,
    };
    let round = |figures: &Result<Figures, String>| match figures {
        Ok(figures) => json!(figures),
        Err(failure) => json!({ "failed": failure }),
    };
    let spread = |of: fn(&Figures) -> Option<f64>| -> Option<Spread> { cell.spread(of) };
    json!({
        "name": name,
        "ratio": row.ratio(at),
        "wall_ns": spread(|figures| Some(crate::driver::wall_ns(figures))),
        "cpu_ns": spread(|figures| Some(cpu_ns(figures))),
        "calls_per_mib": spread(calls),
        "written_per_payload_byte": spread(counted_bytes),
        "stored_per_payload_byte": spread(stored_bytes),
        "rounds": rounds.iter().map(round).collect::<Vec<Value>>(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::driver::tests::row_of;
    use crate::driver::{Cell, Measured};
    use crate::figures::tests::figures;
    use crate::peers::{PEERS, RAW};

    /// Three peers in one row: the bare calls, one that is twice as fast, and one that failed once; and one that
    /// refuses.
    pub(crate) fn measured() -> Measured {
        let rounds = |walls: &[u64]| Cell::Rounds(walls.iter().map(|&ns| Ok(figures(ns))).collect());
        let cells = vec![
            rounds(&[1_000_000, 1_100_000]),
            rounds(&[500_000, 550_000]),
            Cell::Rounds(vec![Err("it broke".into()), Ok(figures(2_200_000))]),
            Cell::Refused("it cannot"),
        ];
        let names = [RAW, "fast", "frail", "unwilling"];
        Measured {
            file_system: "ext9".into(),
            rounds: 2,
            quick: true,
            columns: names.map(|name| (name, PEERS[0].terms)).into(),
            not_run: Some("mvn is missing".into()),
            rows: vec![row_of(cells)],
        }
    }

    #[test]
    fn everything_is_written_and_the_figures_can_be_read_again() {
        let out = tempfile::tempdir().expect("a folder");
        super::write(&measured(), out.path()).expect("files");
        let json = std::fs::read_to_string(out.path().join("peers.json")).expect("figures");
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let peers = &json["rows"][0]["peers"];
        assert_eq!(peers[1]["ratio"]["median"], 2.0);
        assert_eq!(peers[2]["rounds"][0]["failed"], "it broke");
        assert_eq!(peers[3]["refused"], "it cannot");
        let table = std::fs::read_to_string(out.path().join("peers.md")).expect("a table");
        assert_eq!(table, super::markdown(&measured()));
        for plot in ["append_100.svg", "append_100-latency.svg"] {
            let svg = std::fs::read_to_string(out.path().join(plot)).expect("a plot");
            assert!(svg.starts_with("<svg") && svg.contains("frail") && !svg.contains("unwilling"), "{svg}");
        }
    }
}
