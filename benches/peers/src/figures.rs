//! What one round of one row by one peer came to; the line in which a child tells it, too.

use serde::{Deserialize, Serialize};

use crate::latency::Percentiles;

/// The figures of a round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// What the costs are divided by: records, lookups, or openings.
    pub(crate) units: u64,
    /// The payload that was moved in the time that was measured; none where something is opened.
    pub(crate) payload_bytes: u64,
    /// Time on the wall.
    pub(crate) wall_ns: u64,
    /// Time of processors, of all threads.
    pub(crate) cpu_ns: u64,
    /// Calls that read or write.
    pub(crate) calls: Option<u64>,
    /// Pages that had to be mapped.
    pub(crate) faults: u64,
    /// Of single calls.
    pub(crate) latency_ns: Option<Percentiles>,
    /// From before the opening to after the closing.
    pub(crate) written: Option<Written>,
}

/// What was written for a payload.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// All payload, also what was appended before the clock ran, and after.
    pub(crate) payload_bytes: u64,
    /// As the system counts; `None` where it does not.
    pub(crate) counted_bytes: Option<u64>,
    /// What the files take on the disk after the close.
    pub(crate) stored_bytes: u64,
}

impl Figures {
    /// The figures as a child tells them.
    ///
    /// # Errors
    /// None that is known.
    pub(crate) fn to_line(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// The figures that a child told: in the last line of what it said, because engines may print what they like
    /// before.
    ///
    /// # Errors
    /// If that line is something else.
    pub(crate) fn last_of(said: &str) -> serde_json::Result<Figures> {
        serde_json::from_str(said.lines().last().unwrap_or_default())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Figures, Written};
    use crate::latency::Percentiles;

    /// Figures of a round that took so long.
    pub(crate) fn figures(wall_ns: u64) -> Figures {
        Figures {
            units: 1_000,
            payload_bytes: 1 << 20,
            wall_ns,
            cpu_ns: wall_ns / 2,
            calls: Some(2_000),
            faults: 3,
            latency_ns: Some(Percentiles { p50: 10, p99: 20, p999: 30, p9999: 40, max: 5_000_000 }),
            written: Some(Written { payload_bytes: 100, counted_bytes: Some(250), stored_bytes: 150 }),
        }
    }

    #[test]
    fn figures_are_read_as_they_were_told_whatever_was_printed_before() {
        let told = figures(1_000_000);
        let said = format!("[engine] something\n{{\"not\": \"it\"}}\n{}\n", told.to_line().expect("a line"));
        assert_eq!(Figures::last_of(&said).expect("figures"), told);
    }

    #[test]
    fn what_a_program_of_another_language_tells_is_understood() {
        let line = r#"{"units":2,"payload_bytes":200,"wall_ns":10,"cpu_ns":11,"calls":null,"faults":0,
            "latency_ns":null,"written":{"payload_bytes":1,"counted_bytes":null,"stored_bytes":3}}"#;
        let found = Figures::last_of(&line.replace('\n', "")).expect("figures");
        assert_eq!((found.units, found.calls, found.written.map(|written| written.stored_bytes)), (2, None, Some(3)));
    }

    #[test]
    fn a_child_that_says_nothing_or_ends_with_something_else_told_no_figures() {
        for said in ["", "\n", "figures", "{}", &format!("{}\nand more", figures(1).to_line().expect("a line"))] {
            assert!(Figures::last_of(said).is_err(), "{said}");
        }
    }
}
