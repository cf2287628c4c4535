//! The reading side: everything that the log gives, by every way to ask for it, against what belongs there.
//!
//! The invariant it owns: an offset is called right only if a scan and a lookup gave it, in its order, with its content.

use std::path::Path;

use kstore::{Finding, Log, LogConfig, Offset, Reader, Severity, StoredRecord};

use super::content::{Content, tag};
use super::lines::{Failure, say};

/// So many offsets a line, at most.
const OFFSETS_A_LINE: u64 = 1000;
/// Of so many offsets one is asked for by its time.
const OFFSETS_A_TIME: u64 = 8;

/// Opens the log, which recovers it, and reads it. Everything below the first wrong offset is printed as right.
pub(crate) fn verify(dir: &Path, print: bool) -> Result<(), Failure> {
    let log = Log::open(dir, LogConfig::default())?;
    let (start, end) = (log.log_start_offset().value(), log.log_end_offset().value());
    say(&format!("START {start}"))?;
    let mut right = Right { print, first: start, next: start };
    let read = read_all(&log.reader(), &mut right, end);
    right.say_rest()?;
    read?;
    check(&log)?;
    say(&format!("END {end}"))?;
    // The next opening finds what was found here, and the mark that it is clean.
    Ok(log.close()?)
}

fn read_all(reader: &Reader, right: &mut Right, end: u64) -> Result<(), Failure> {
    if right.next == end {
        return Ok(());
    }
    for record in reader.records(Offset::new(right.next)..)? {
        let offset = right.next;
        let record = record.map_err(|error| wrong(offset, &format!("cannot be read: {error}")))?;
        if record.offset().value() != offset {
            return Err(wrong(offset, &format!("is missing: the scan goes on at {}", record.offset())));
        }
        if let Some(what) = Content::wrong_in(&record) {
            return Err(wrong(offset, what));
        }
        look_up(reader, &record)?;
        right.add(&record)?;
    }
    if right.next != end {
        return Err(wrong(right.next, &format!("is missing: the scan ends, and the log at {end}")));
    }
    Ok(())
}

/// The same record by its offset, and now and then by its time.
fn look_up(reader: &Reader, record: &StoredRecord) -> Result<(), Failure> {
    let offset = record.offset();
    let by_offset = |error| wrong(offset.value(), &format!("cannot be looked up: {error}"));
    let found = reader.records(offset..).map_err(by_offset)?.next().transpose().map_err(by_offset)?;
    match found {
        Some(found) if found.offset() == offset && tag(&found) == tag(record) => {}
        Some(found) => {
            return Err(wrong(
                offset.value(),
                &format!("is another record when looked up, of offset {}", found.offset()),
            ));
        }
        None => return Err(wrong(offset.value(), "is not found by a lookup")),
    }
    if offset.value().is_multiple_of(OFFSETS_A_TIME) {
        let time = Content::of(offset.value()).timestamp;
        let by_time = |error| wrong(offset.value(), &format!("cannot be looked up by its time: {error}"));
        let found = reader.offset_for_timestamp(time).map_err(by_time)?;
        if found != Some((offset, time)) {
            return Err(wrong(offset.value(), &format!("is not what its time leads to: {found:?}")));
        }
    }
    Ok(())
}

/// What the scan does not look at: indexes and small files.
fn check(log: &Log) -> Result<(), Failure> {
    let report = log.check_integrity()?;
    let is_error = |finding: &&Finding| finding.severity == Severity::Error;
    match report.findings.iter().find(is_error) {
        Some(finding) => Err(wrong(log.log_end_offset().value(), &format!("ends a log with a fault: {finding:?}"))),
        None => Ok(()),
    }
}

fn wrong(offset: u64, reason: &str) -> Failure {
    Failure::Wrong { offset, reason: reason.to_owned() }
}

/// The offsets that are right and not yet printed.
struct Right {
    print: bool,
    first: u64,
    next: u64,
}

impl Right {
    fn add(&mut self, record: &StoredRecord) -> Result<(), Failure> {
        self.next += 1;
        if self.print {
            say(&format!("OK {} {:016x}", record.offset(), tag(record)))?;
            self.first = self.next;
        } else if self.next - self.first == OFFSETS_A_LINE {
            self.say_rest()?;
        }
        Ok(())
    }

    fn say_rest(&mut self) -> Result<(), Failure> {
        if self.first < self.next {
            say(&format!("OK {}-{}", self.first, self.next - 1))?;
            self.first = self.next;
        }
        Ok(())
    }
}
