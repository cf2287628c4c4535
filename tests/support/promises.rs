//! What the lines of `workload` promise, and whether what was found afterwards keeps it.
//!
//! It runs nothing. The invariant it owns: every line that `workload` may print has its meaning here, and a line that it
//! may not print, or not then, is a fault of its own. That each of these faults is found is tested where it is used.

use std::ops::Range;

/// The most that one thread appends without an acknowledgement: 16 batches, and one that is being appended, of 64.
const MOST_UNSYNCED: u64 = 17 * 64;

/// What must be there, from one run to the next over the same directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    /// Everything below is durable, unless it was trimmed.
    durable: u64,
    /// Below may be gone.
    trimmed: u64,
    /// The log start that was last found: it never goes back.
    start: u64,
    /// Nothing lies at or above; known where one thread appends.
    bound: Option<u64>,
    truncating: Option<u64>,
    ended: bool,
    /// There was a run since the last check, so that where the log ends is not known.
    unjudged: bool,
}

impl Promises {
    /// Before each run.
    pub(crate) fn begin(&mut self, threads: u64) {
        self.truncating = None;
        self.ended = false;
        self.bound = (threads == 1 && !self.unjudged).then_some(self.durable + MOST_UNSYNCED);
        self.unjudged = true;
    }

    pub(crate) fn hear_all<'a>(&mut self, lines: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
        lines.into_iter().try_for_each(|line| self.hear(line))
    }

    /// A line of a run, in order.
    pub(crate) fn hear(&mut self, line: &str) -> Result<(), String> {
        if std::mem::replace(&mut self.ended, line.starts_with("ERR ")) {
            return Err(format!("{line:?} came behind an error"));
        }
        match parse(line)? {
            Line::Ack(_) if self.truncating.is_some() => return Err(format!("{line} during a truncation")),
            Line::Ack(last) if last < self.durable => return Err(format!("{line}, {} were durable", self.durable)),
            Line::Ack(last) => {
                self.durable = last + 1;
                self.bound = self.bound.map(|_| last + 1 + MOST_UNSYNCED);
            }
            Line::Truncated(end) if self.truncating.take() != Some(end) => return Err(format!("{line} unannounced")),
            Line::Truncated(end) => self.bound = self.bound.map(|bound| bound.min(end + MOST_UNSYNCED)),
            Line::Truncating(_) if self.truncating.is_some() => return Err(format!("{line} during another")),
            Line::Truncating(_) | Line::Trim(_) => self.hear_late(line)?,
            Line::Reopened => self.bound = self.bound.map(|bound| bound + MOST_UNSYNCED),
            Line::Error => {}
        }
        Ok(())
    }

    /// A line that came while the state was taken that will be judged: what it announces may have happened, what it
    /// promises may not.
    pub(crate) fn hear_late(&mut self, line: &str) -> Result<(), String> {
        match parse(line)? {
            Line::Trim(start) => self.trimmed = self.trimmed.max(start),
            Line::Truncating(end) => {
                self.truncating = Some(end);
                self.durable = self.durable.min(end);
            }
            Line::Ack(last) => self.bound = self.bound.map(|bound| bound.max(last + 1 + MOST_UNSYNCED)),
            Line::Truncated(_) => self.truncating = None,
            Line::Reopened => self.bound = self.bound.map(|bound| bound + MOST_UNSYNCED),
            Line::Error => {}
        }
        Ok(())
    }

    /// One past what is acknowledged, or was found.
    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// Judges what `workload verify` printed. It opened the log, so that what it found is durable from then on.
    pub(crate) fn judge(&mut self, verified: &str) -> Result<Range<u64>, String> {
        let found = ranges(verified)?;
        if found.start > self.trimmed.max(self.start) {
            return Err(format!("the log begins at {}, though only {} were trimmed", found.start, self.trimmed));
        }
        if found.start < self.start {
            return Err(format!("the log begins at {}, and began at {} before", found.start, self.start));
        }
        if found.end < self.durable {
            return Err(format!("the log ends at {}, though {} were durable", found.end, self.durable));
        }
        if self.bound.is_some_and(|bound| found.end > bound) {
            return Err(format!("the log ends at {}, what was truncated is back: {:?}", found.end, self.bound));
        }
        self.unjudged = false;
        (self.start, self.trimmed, self.durable, self.bound) = (found.start, found.start, found.end, None);
        Ok(found)
    }
}

enum Line {
    Ack(u64),
    Trim(u64),
    Truncating(u64),
    Truncated(u64),
    Reopened,
    Error,
}

fn parse(line: &str) -> Result<Line, String> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let number = || rest.parse::<u64>().map_err(|error| format!("{line:?}: {error}"));
    match word {
        "ACK" => number().map(Line::Ack),
        "TRIM" => number().map(Line::Trim),
        "TRUNC" => number().map(Line::Truncating),
        "TRUNCATED" => number().map(Line::Truncated),
        "REOPEN" if line == word => Ok(Line::Reopened),
        "ERR" if !rest.is_empty() => Ok(Line::Error),
        _ => Err(format!("{line:?} is no line of a run")),
    }
}

/// The offsets that were found right, which must be all from `START` to `END`, each once.
fn ranges(verified: &str) -> Result<Range<u64>, String> {
    let mut next: Option<u64> = None;
    let mut start = 0;
    let mut end: Option<u64> = None;
    for line in verified.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{line:?}: {error}"));
        match (word, next, end) {
            ("START", None, None) => {
                start = number(rest)?;
                next = Some(start);
            }
            ("OK", Some(expected), None) => {
                let (first, last) = rest.split_once('-').ok_or_else(|| format!("{line:?} is no range"))?;
                if number(first)? != expected {
                    return Err(format!("{line} where {expected} was due"));
                }
                next = Some(number(last)? + 1);
            }
            ("END", Some(expected), None) if number(rest)? == expected => end = Some(expected),
            _ => return Err(format!("{line:?} has no place there")),
        }
    }
    end.map(|end| start..end).ok_or_else(|| "the end is missing".to_owned())
}
