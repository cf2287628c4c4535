//! A line of a workload's table: what was done, and what came of it in one round.
//!
//! A child tells lines, the parent gathers those of all rounds. The invariant it owns: a figure has a unit, and only
//! figures of which less is better, or of which more is, are ever compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cost::Cost;
use crate::digits::digits;
use crate::latency::Latencies;
use crate::spread::{number, time};

/// What is measured. The order is that of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// Time on the wall, of a record or whatever the workload's unit is.
    Wall,
    /// Time of processors, of all threads, of the same.
    Cpu,
    /// Units in a second, of all threads together.
    PerSecond,
    /// Of single calls.
    P50,
    P99,
    P999,
    P9999,
    Max,
    /// From the moment in which a call was due to its end.
    DueP999,
    DueMax,
    /// The longest wait for the disk.
    LongestSync,
    /// Page faults of the thread that makes the calls, in 1,000 of them.
    Faults,
    /// Bytes of pages made dirty, for each byte of payload.
    WrittenPerByte,
    /// From the moment in which an append begins to that in which a reader has its record.
    LagP50,
    LagP99,
    LagMax,
    /// Bytes that a reader beside read in a second.
    ReaderBytesPerSecond,
    /// Bytes that came from a block device.
    DeviceReadBytes,
    /// The same work and, at its end, a wait for the disk.
    WithSync,
    Lookup,
    LookupCpu,
    /// With every segment's file kept open.
    LookupAllOpen,
    Scan,
    ScanCpu,
    Reopen,
    ReopenCpu,
    CrashedReopen,
    CrashedReopenCpu,
    /// Of a batch that a client had encoded.
    AppendBatch,
    /// Nothing but the codec, on the same bytes.
    Decompress,
    /// Of a MiB as it is stored.
    SendMib,
    /// Bytes stored for each byte of payload.
    StoredPerByte,
    IndexBytes,
    Descriptors,
    Maps,
    /// Of each log.
    ResidentBytes,
}

/// How a figure is written, and what is made of two.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nanoseconds: less is better.
    Time,
    /// More is better.
    Rate,
    BytesRate,
    Bytes,
    Count,
}

impl Measure {
    /// The head of its column.
    pub(crate) fn head(self) -> &'static str {
        match self {
            Measure::Wall => "time",
            Measure::Cpu => "processor time",
            Measure::PerSecond => "a second",
            Measure::P50 => "p50",
            Measure::P99 => "p99",
            Measure::P999 => "p99.9",
            Measure::P9999 => "p99.99",
            Measure::Max => "max",
            Measure::DueP999 => "p99.9 from when due",
            Measure::DueMax => "max from when due",
            Measure::LongestSync => "longest sync",
            Measure::Faults => "faults in 1,000 calls",
            Measure::WrittenPerByte => "written a byte",
            Measure::LagP50 => "lag p50",
            Measure::LagP99 => "lag p99",
            Measure::LagMax => "lag max",
            Measure::ReaderBytesPerSecond => "the reader's pace",
            Measure::DeviceReadBytes => "read from devices",
            Measure::WithSync => "with a sync at the end",
            Measure::Lookup => "lookup",
            Measure::LookupCpu => "its processor time",
            Measure::LookupAllOpen => "lookup, all segments open",
            Measure::Scan => "scan",
            Measure::ScanCpu => "its processor time",
            Measure::Reopen => "reopen",
            Measure::ReopenCpu => "its processor time",
            Measure::CrashedReopen => "reopen after a crash",
            Measure::CrashedReopenCpu => "its processor time",
            Measure::AppendBatch => "`append_batch`",
            Measure::Decompress => "codec alone, decompressing",
            Measure::SendMib => "sending a stored MiB",
            Measure::StoredPerByte => "stored a byte",
            Measure::IndexBytes => "indexes",
            Measure::Descriptors => "descriptors",
            Measure::Maps => "maps",
            Measure::ResidentBytes => "resident a log",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Measure::PerSecond => Kind::Rate,
            Measure::ReaderBytesPerSecond => Kind::BytesRate,
            Measure::DeviceReadBytes | Measure::IndexBytes | Measure::ResidentBytes => Kind::Bytes,
            Measure::Faults
            | Measure::WrittenPerByte
            | Measure::StoredPerByte
            | Measure::Descriptors
            | Measure::Maps => Kind::Count,
            _ => Kind::Time,
        }
    }

    /// The figure with its unit.
    pub(crate) fn show(self, value: f64) -> String {
        match self.kind() {
            Kind::Time => time(value),
            Kind::Rate | Kind::Count => thousands(value),
            Kind::BytesRate => format!("{}/s", bytes(value)),
            Kind::Bytes => bytes(value),
        }
    }

    /// How many times as good one figure is as another one; nothing where neither is good or bad.
    pub(crate) fn ratio(self, of: f64, to: f64) -> Option<f64> {
        let (above, below) = match self.kind() {
            Kind::Time => (to, of),
            Kind::Rate | Kind::BytesRate => (of, to),
            Kind::Bytes | Kind::Count => return None,
        };
        (below > 0.0).then(|| above / below)
    }

    /// Whether it is time, which a chart shows on a logarithmic scale.
    pub(crate) fn is_time(self) -> bool {
        self.kind() == Kind::Time
    }
}

/// The percentiles of calls, in their order.
pub(crate) const PERCENTILES: [Measure; 5] = [Measure::P50, Measure::P99, Measure::P999, Measure::P9999, Measure::Max];

/// What was done, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Unlike any other of the workload.
    pub(crate) name: String,
    /// The line of the same round that it is compared with.
    pub(crate) against: Option<String>,
    /// Where it stands in a chart: on which curve, at which place.
    pub(crate) place: Option<(String, String)>,
    pub(crate) values: BTreeMap<Measure, f64>,
    /// What is to be known about it.
    pub(crate) note: Option<String>,
}

impl Line {
    pub(crate) fn new(name: impl Into<String>) -> Line {
        Line { name: name.into(), against: None, place: None, values: BTreeMap::new(), note: None }
    }

    /// Compared with the line of this name.
    pub(crate) fn against(self, name: impl Into<String>) -> Line {
        Line { against: Some(name.into()), ..self }
    }

    /// Shown on a curve, at a place.
    pub(crate) fn at(self, curve: impl Into<String>, place: impl Into<String>) -> Line {
        Line { place: Some((curve.into(), place.into())), ..self }
    }

    pub(crate) fn with(mut self, measure: Measure, value: f64) -> Line {
        self.values.insert(measure, value);
        self
    }

    /// Time on the wall and of processors, of each of so many units.
    pub(crate) fn cost(self, cost: &Cost, units: u64) -> Line {
        let of = |time: std::time::Duration| 1e9 * time.as_secs_f64() / number(units.max(1));
        self.with(Measure::Wall, of(cost.wall)).with(Measure::Cpu, of(cost.cpu))
    }

    /// A time on the wall, of each of so many units.
    pub(crate) fn time(self, measure: Measure, cost: &Cost, units: u64) -> Line {
        self.with(measure, 1e9 * cost.wall.as_secs_f64() / number(units.max(1)))
    }

    /// The same, and the time of processors beside it.
    pub(crate) fn times(self, wall: Measure, cpu: Measure, cost: &Cost, units: u64) -> Line {
        let line = self.time(wall, cost, units);
        line.with(cpu, 1e9 * cost.cpu.as_secs_f64() / number(units.max(1)))
    }

    /// How many units a second.
    pub(crate) fn pace(self, cost: &Cost, units: u64) -> Line {
        self.with(Measure::PerSecond, number(units) / cost.wall.as_secs_f64().max(1e-9))
    }

    /// The percentiles of calls.
    pub(crate) fn latencies(self, latencies: Latencies) -> Line {
        let Some(found) = latencies.percentiles() else { return self };
        PERCENTILES.iter().zip(found.named()).fold(self, |line, (measure, (_, ns))| line.with(*measure, number(ns)))
    }

    pub(crate) fn noted(self, note: impl Into<String>) -> Line {
        Line { note: Some(note.into()), ..self }
    }
}

/// A number of things: in full, with its thousands apart, where it has more than three digits.
pub(super) fn thousands(value: f64) -> String {
    if value < 1_000.0 {
        return digits(value);
    }
    let whole = format!("{value:.0}");
    let mut shown = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Bytes in a unit that is easily read.
fn bytes(value: f64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = value;
    for unit in &UNITS[..3] {
        if value < 1024.0 {
            return format!("{} {unit}", digits(value));
        }
        value /= 1024.0;
    }
    format!("{} {}", digits(value), UNITS[3])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Line, Measure, bytes, thousands};
    use crate::cost::Cost;
    use crate::latency::Latencies;

    #[test]
    fn a_line_is_read_as_it_was_told() {
        let mut latencies = Latencies::for_calls(1);
        latencies.push(Duration::from_nanos(7));
        let line = Line::new("kstore").against("bare").at("kstore", "16").latencies(latencies).noted("half of it");
        let line = line.with(Measure::DeviceReadBytes, 0.0);
        let told = serde_json::to_string(&line).expect("JSON");
        assert_eq!(serde_json::from_str::<Line>(&told).expect("a line"), line);
        assert_eq!((line.values[&Measure::P50], line.values[&Measure::Max]), (7.0, 7.0));
    }

    #[test]
    fn costs_are_those_of_one_unit() {
        let cost = Cost { wall: Duration::from_secs(2), cpu: Duration::from_secs(1), calls: None };
        let line = Line::new("x").cost(&cost, 1_000).pace(&cost, 1_000);
        assert_eq!(line.values[&Measure::Wall], 2e6);
        assert_eq!(line.values[&Measure::Cpu], 1e6);
        assert_eq!(line.values[&Measure::PerSecond], 500.0);
    }

    #[test]
    fn above_one_is_better_whatever_is_compared() {
        assert_eq!(Measure::Wall.ratio(10.0, 20.0), Some(2.0));
        assert_eq!(Measure::PerSecond.ratio(20.0, 10.0), Some(2.0));
        assert_eq!(Measure::Descriptors.ratio(20.0, 10.0), None);
        assert_eq!(Measure::Wall.ratio(0.0, 10.0), None);
    }

    #[test]
    fn figures_have_units_that_are_easily_read() {
        assert_eq!((thousands(12.0), thousands(999.0)), ("12.0".into(), "999".into()));
        assert_eq!((thousands(1_234.0), thousands(1_234_567.8)), ("1,234".into(), "1,234,568".into()));
        assert_eq!((bytes(0.0), bytes(2048.0), bytes(3.5e9)), ("0 B".into(), "2.00 KiB".into(), "3.26 GiB".into()));
        assert_eq!(Measure::ReaderBytesPerSecond.show(1_048_576.0), "1.00 MiB/s");
    }
}
