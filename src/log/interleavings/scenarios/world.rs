//! A log on a simulated disk, and what its users were told of it.
//!
//! Every record has a value of its own, so that it is known wherever it turns up. The invariant it owns: what was told is
//! written down after the call that told it and judged by what had begun before the call, so that no order of the two
//! makes a right answer look wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::config::{LogConfig, Worker};
use crate::error::{Error, Result};
use crate::fs::Env;
use crate::fs::sim::{CrashStrength, SimDisk};
use crate::log::{AppendOptions, Log};
use crate::offset::Offset;
use crate::record::Record;
use crate::sync::{Mutex, MutexGuard};

use super::{choice, once_in};

pub(super) const DIR: &str = "/data/log";
/// How long values are where nothing else is said: a batch has 110 bytes then.
const WIDTH: usize = 40;

pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) log: Log,
    /// How long values are.
    width: usize,
    facts: Mutex<Facts>,
}

/// What users did and were told.
#[derive(Debug, Default)]
pub(super) struct Facts {
    next_value: u64,
    handed: BTreeSet<u64>,
    acknowledged: Vec<(u64, u64)>,
    durable: Vec<(u64, u64)>,
    /// Where truncations that began end the log.
    cuts: Vec<u64>,
    /// Values that a truncation which succeeded took.
    gone: BTreeSet<u64>,
    pub(super) closing: bool,
    pub(super) closed: bool,
    pub(super) failing: bool,
    pub(super) reopenings: u64,
    /// A reopening found less in the files than was written.
    has_lost: bool,
}

impl Facts {
    pub(super) fn lowest_cut(&self) -> u64 {
        self.cuts.iter().copied().min().unwrap_or(u64::MAX)
    }
}

/// A log that rolls after two batches and gives each an index entry.
pub(super) fn small() -> LogConfig {
    LogConfig::default().segment_bytes(300).index_interval_bytes(0).worker(Worker::Caller)
}

pub(super) fn at(offset: u64) -> Offset {
    Offset::new(offset)
}

impl World {
    /// With so many records in the log.
    pub(super) fn new(config: LogConfig, records: u64) -> World {
        World::of_wide_records(config, records, WIDTH)
    }

    /// The same, with values so long.
    pub(super) fn of_wide_records(config: LogConfig, records: u64, width: usize) -> World {
        let disk = SimDisk::new(1);
        disk.create_dir_all("/data");
        let log = open(&disk, config);
        let world = World { disk, log, width, facts: Mutex::default() };
        for _ in 0..records {
            world.append(false).expect("a healthy disk");
        }
        world
    }

    pub(super) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock()
    }

    /// Appends one record, and takes note of the answer.
    pub(super) fn append(&self, durably: bool) -> Result<Offset> {
        let value = {
            let mut facts = self.facts();
            facts.next_value += 1;
            let value = facts.next_value;
            facts.handed.insert(value);
            value
        };
        let options = AppendOptions::default().sync(durably);
        let told = self.log.append_with(&options, &[Record::value(&text(value, self.width))]);
        let mut facts = self.facts();
        match &told {
            Ok(appended) => {
                let place = (appended.base_offset().value(), value);
                facts.acknowledged.push(place);
                drop(facts);
                if durably {
                    self.note_durable(place);
                }
            }
            Err(error) => expect_cause(&facts, error),
        }
        Ok(told?.base_offset())
    }

    /// Syncs what was acknowledged so far, in one of the ways there are.
    pub(super) fn sync(&self) -> Result<()> {
        let (before, reopenings) = {
            let facts = self.facts();
            (facts.acknowledged.clone(), facts.reopenings)
        };
        let told = if once_in(2) {
            self.log.sync()
        } else {
            let end = self.log.log_end_offset();
            self.log.sync_to(end).map(|()| end)
        };
        match &told {
            // What a reopening found lost was acknowledged, but never as durable.
            Ok(_) if self.may_have_lost_since(reopenings) => {}
            Ok(end) => {
                for place in before.into_iter().filter(|(offset, _)| at(*offset) < *end) {
                    self.note_durable(place);
                }
            }
            Err(error) => expect_cause(&self.facts(), error),
        }
        told.map(drop)
    }

    fn may_have_lost_since(&self, reopenings: u64) -> bool {
        let facts = self.facts();
        facts.has_lost || facts.reopenings != reopenings
    }

    /// What was called durable is on the disk, unless a truncation that has begun may have taken it, or a deletion, before which
    /// the log start is raised.
    fn note_durable(&self, (offset, value): (u64, u64)) {
        let on_disk = self.is_on_disk(value);
        let start = self.log.log_start_offset();
        let mut facts = self.facts();
        let may_be_gone = facts.lowest_cut() <= offset || at(offset) < start;
        assert!(on_disk || may_be_gone, "{value} at {offset} was called durable, and is not");
        facts.durable.push((offset, value));
    }

    /// Whether a power cut would leave the record in a `.log`.
    fn is_on_disk(&self, value: u64) -> bool {
        let image = self.disk.image(CrashStrength::Strict, |_, _| 0);
        let wanted = text(value, self.width).into_bytes();
        image.list(DIR).into_iter().any(|name| {
            let is_log = Path::new(&name).extension().is_some_and(|extension| extension == "log");
            let bytes = image.read_file(Path::new(DIR).join(&name)).unwrap_or_default();
            is_log && bytes.windows(wanted.len()).any(|found| found == wanted)
        })
    }

    pub(super) fn truncate(&self, end: u64) -> Result<()> {
        let doomed: Vec<u64> = {
            let mut facts = self.facts();
            facts.cuts.push(end);
            facts.acknowledged.iter().filter(|(offset, _)| *offset >= end).map(|(_, value)| *value).collect()
        };
        let told = self.log.truncate_to(at(end));
        let mut facts = self.facts();
        match &told {
            Ok(()) => facts.gone.extend(doomed),
            Err(error) => expect_cause(&facts, error),
        }
        told
    }

    pub(super) fn close(&self) {
        self.facts().closing = true;
        let first = self.log.close();
        let mut facts = self.facts();
        match first {
            Ok(()) => facts.closed = true,
            Err(error) => expect_cause(&facts, &error),
        }
    }

    pub(super) fn reopen(&self) {
        self.facts().reopenings += 1;
        if let Err(error) = self.log.reopen() {
            expect_cause(&self.facts(), &error);
        }
    }

    /// As [`World::reopen`], after the page cache has dropped what a failed sync left in it, as it may at any time.
    pub(super) fn reopen_without_cache(&self) {
        if self.log.stats().failed {
            self.facts().has_lost = true;
            let durable = self.disk.image(CrashStrength::Strict, |_, _| 0);
            for name in self.disk.list(DIR) {
                let path = Path::new(DIR).join(name);
                if path.extension().is_some_and(|extension| extension == "log") {
                    self.disk.write_file(&path, durable.read_file(&path).unwrap_or_default());
                }
            }
        }
        self.reopen();
    }

    /// Everything that a reader sees now is as it was handed in, in order, and without what is gone.
    pub(super) fn look(&self) {
        let (gone, durable) = {
            let facts = self.facts();
            (facts.gone.clone(), facts.durable.iter().map(|(offset, _)| offset + 1).max().unwrap_or(0))
        };
        let (start, end) = (self.log.log_start_offset(), self.log.log_end_offset());
        let backwards = once_in(4);
        let records = if backwards {
            self.log.records_reversed(start..end).map(|records| records.collect::<Vec<_>>())
        } else {
            self.log.records(start..end).map(|records| records.collect::<Vec<_>>())
        };
        let mut found = match records {
            Ok(found) => found,
            Err(error) => return expect_cause(&self.facts(), &error),
        };
        let failed = found.pop_if(|last| last.is_err());
        let mut found: Vec<(u64, u64)> = found
            .into_iter()
            .map(|record| record.expect("only the last answer is an error"))
            .map(|record| (record.offset().value(), number(record.value())))
            .collect();
        let seen = found.len();
        if backwards {
            found.reverse();
        }
        let facts = self.facts();
        for pair in found.windows(2) {
            assert!(pair[1].0 == pair[0].0 + 1, "a gap between {} and {}", pair[0].0, pair[1].0);
        }
        for (offset, value) in &found {
            assert!(facts.handed.contains(value), "{value} at {offset} was never handed in");
            assert!(!gone.contains(value), "{value} at {offset} was truncated before");
            expect_place(&facts, *offset, *value);
        }
        match failed {
            Some(error) => expect_cause(&facts, &error.expect_err("it was taken as one")),
            // The log end may be put back before the range is taken: by a truncation, or, down to what is durable, by a failure.
            None => {
                let seen_end = start.value() + u64::try_from(seen).expect("few");
                let is_cut = seen_end >= facts.lowest_cut().min(end.value());
                let is_capped = facts.failing && seen_end >= durable.min(end.value());
                assert!(seen_end >= end.value() || is_cut || is_capped, "{seen_end} of {start} to {end}: {:?}", *facts);
            }
        }
    }

    /// The check finds no fault in a log that nothing is wrong with, whatever becomes of it meanwhile.
    pub(super) fn check(&self) {
        match self.log.check_integrity() {
            Ok(report) => assert!(report.is_clean(), "{}", report.to_json()),
            Err(error) => expect_cause(&self.facts(), &error),
        }
    }

    /// Commits what a cursor has read, and finds it again, or earlier, if the log was cut below it.
    pub(super) fn commit_cursor(&self) {
        let committed = self.log.cursor("one").and_then(|cursor| {
            let end = self.log.log_end_offset();
            cursor.commit(end)?;
            Ok((end, cursor.committed()?))
        });
        match committed {
            Ok((end, found)) => {
                let facts = self.facts();
                let is_cut = facts.lowest_cut() <= found.map_or(0, Offset::value);
                assert!(found == Some(end) || is_cut, "{found:?} of {end}: {:?}", *facts);
            }
            Err(error) => expect_cause(&self.facts(), &error),
        }
    }

    /// Cuts the power and looks at what is left: all that was promised, and nothing that was taken away.
    pub(super) fn ends_well(&self) {
        let image = self.disk.image(CrashStrength::Strict, |_, options| choice(options));
        let log = open(&image, small());
        let start = log.log_start_offset();
        let records = log.records(start..).expect("the whole log is a range");
        let found: BTreeMap<u64, u64> = records
            .map(|record| record.expect("a readable record"))
            .map(|record| (record.offset().value(), number(record.value())))
            .collect();
        let facts = self.facts();
        assert!(found.keys().copied().eq(start.value()..log.log_end_offset().value()), "{found:?}");
        for (offset, value) in &found {
            assert!(facts.handed.contains(value), "{value} at {offset} was never handed in");
            assert!(!facts.gone.contains(value), "{value} at {offset} was truncated");
            expect_place(&facts, *offset, *value);
        }
        let promised = if facts.closed { &facts.acknowledged } else { &facts.durable };
        let kept = promised.iter().filter(|(offset, _)| *offset < facts.lowest_cut() && *offset >= start.value());
        for (offset, value) in kept {
            assert_eq!(found.get(offset), Some(value), "at {offset}: {:?}", *facts);
        }
    }
}

/// A record whose append was acknowledged is where that said.
fn expect_place(facts: &Facts, offset: u64, value: u64) {
    for (told, _) in facts.acknowledged.iter().filter(|(_, acknowledged)| *acknowledged == value) {
        assert_eq!(*told, offset, "of {value}");
    }
}

/// An error has a reason that somebody brought about.
fn expect_cause(facts: &Facts, error: &Error) {
    let is_due = match error {
        Error::Closed => facts.closing,
        Error::Failed { .. } => facts.failing,
        Error::Truncated { .. } | Error::OffsetOutOfRange { .. } => !facts.cuts.is_empty() || facts.reopenings > 0,
        Error::Io { .. } => facts.failing,
        // Of what a reader began to read before the failure.
        Error::Corrupt { .. } => facts.has_lost,
        _ => false,
    };
    assert!(is_due, "{error} for no reason: {facts:?}");
}

fn open(disk: &SimDisk, config: LogConfig) -> Log {
    Log::open_in(&Env::sim(disk), Path::new(DIR), config).expect("the log opens")
}

pub(super) fn text(value: u64, width: usize) -> String {
    format!("{value:0width$}")
}

pub(super) fn number(value: Option<&[u8]>) -> u64 {
    let text = std::str::from_utf8(value.expect("a value")).expect("digits");
    text.parse().expect("a number")
}
