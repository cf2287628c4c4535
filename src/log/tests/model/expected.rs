//! What a log must hold: the records that were handed in, by offset, how far they were acknowledged, and how far as
//! durable, at either end.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::log::Log;
use crate::offset::{Offset, Timestamp};
use crate::record::{Record, StoredRecord};

use super::Chance;
use super::commits::Commits;

/// A record as it was handed in, its time as it must come back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::log::tests) struct Kept {
    pub(in crate::log::tests) key: Option<Vec<u8>>,
    pub(in crate::log::tests) value: Option<Vec<u8>>,
    pub(in crate::log::tests) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(in crate::log::tests) timestamp: Option<Timestamp>,
}

impl Kept {
    pub(in crate::log::tests) fn of(record: &StoredRecord) -> Kept {
        Kept {
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            headers: record.headers().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect(),
            timestamp: record.timestamp(),
        }
    }

    pub(in crate::log::tests) fn header_pairs(&self) -> Vec<(&str, Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
    }

    pub(in crate::log::tests) fn record<'a>(&'a self, headers: &'a [(&'a str, Option<&'a [u8]>)]) -> Record<'a> {
        let record = Record::from_parts(self.key.as_deref(), self.value.as_deref()).headers(headers);
        match self.timestamp {
            Some(timestamp) => record.timestamp(timestamp),
            None => record,
        }
    }
}

/// The log as a list of records.
#[derive(Clone, Debug, Default, Hash)]
pub(in crate::log::tests) struct Expected {
    /// All that was handed in and may be there, by offset.
    pub(in crate::log::tests) records: BTreeMap<u64, Kept>,
    /// Batches, each of which is there whole or not at all: their bases by their ends.
    pub(in crate::log::tests) batches: BTreeMap<u64, u64>,
    /// Where readers begin.
    pub(in crate::log::tests) start: u64,
    /// Said to be durable: the log never begins below this again.
    pub(in crate::log::tests) durable_start: u64,
    /// One past the last offset that may be there.
    pub(in crate::log::tests) end: u64,
    /// Appended without an error: survives the end of the process.
    pub(in crate::log::tests) acknowledged: u64,
    /// Said to be durable: survives a power cut.
    pub(in crate::log::tests) durable: u64,
    /// A change was begun and not seen to end; until the log is opened again it may have come to this, or part of the way.
    pub(in crate::log::tests) unsettled: Option<Unsettled>,
    /// Followers may have left offsets out.
    pub(in crate::log::tests) gaps: bool,
    /// Something failed that may have moved the front before.
    pub(in crate::log::tests) front_may_move: bool,
    pub(in crate::log::tests::model) commits: Commits,
}

/// What a change that was interrupted aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::log::tests) enum Unsettled {
    /// The log ends here, or at a batch behind it.
    CutTo(u64),
    /// The log is empty and begins here, or is a front part of what it was.
    ResetTo(u64),
    /// The log begins here, or earlier.
    StartAt(u64),
}

impl Expected {
    pub(in crate::log::tests) fn push(&mut self, base: u64, batch: &[Kept]) {
        for (offset, kept) in (base..).zip(batch) {
            self.records.insert(offset, kept.clone());
            self.end = offset + 1;
        }
        self.batches.insert(self.end, base);
    }

    /// Everything from `end` on is gone.
    pub(in crate::log::tests) fn cut(&mut self, end: u64) {
        let behind = self.batches.split_off(&(end + 1));
        self.records.split_off(&end);
        self.end = end;
        // Of a batch across the cut the front stays; in a gap there is nothing of one.
        let base = behind.first_key_value().map_or(end, |(_, base)| (*base).min(end));
        self.batches.entry(end).or_insert(base);
    }

    /// What the log says of itself, which must never be less than what it said before.
    pub(in crate::log::tests) fn note_synced(&mut self, log: &Log) {
        let synced = log.synced_offset().value();
        let end = match self.unsettled {
            Some(Unsettled::ResetTo(start)) => self.end.max(start),
            _ => self.end.max(self.start),
        };
        assert!(synced <= end, "{synced} are said to be synced of {end} that were appended");
        assert!(synced >= self.durable, "the synced offset went back from {} to {synced}", self.durable);
        self.durable = synced;
        self.commits.note_reached(synced);
        let start = log.log_start_offset().value();
        assert!(
            start >= self.start || self.unsettled.is_some(),
            "the log start went back from {} to {start}",
            self.start
        );
    }

    /// After an opening: `at_least` must be there, and nothing but what was handed in, in order, whole batches only.
    pub(in crate::log::tests) fn check_recovered(&mut self, log: &Log, at_least: u64) {
        let (start, end) = (log.log_start_offset().value(), log.log_end_offset().value());
        assert_eq!(log.synced_offset(), log.log_end_offset(), "what was found was made durable");
        assert!(log.recovery_report().damage.is_empty(), "{:?}", log.recovery_report());
        let unsettled = self.unsettled.take();
        let front_may_move = std::mem::take(&mut self.front_may_move);
        self.commits.check(log);
        if unsettled == Some(Unsettled::ResetTo(start)) && end == start {
            *self = self.begun_at(start);
            return;
        }
        let latest_start = match unsettled {
            Some(Unsettled::StartAt(start)) => self.start.max(start),
            // It may have been on its way when the power went.
            _ if front_may_move && log.shared().config.get().retains_less_than_all() => self.end.max(self.start),
            _ => self.start,
        };
        assert!(start >= self.durable_start, "the log begins at {start}, but {} was durable", self.durable_start);
        assert!(start <= latest_start, "the log begins at {start}, and {latest_start} was asked for");
        let at_least = match unsettled {
            Some(Unsettled::CutTo(cut)) => at_least.min(cut),
            Some(Unsettled::ResetTo(_)) => start,
            _ => at_least,
        };
        // An end inside a gap may fall back to the last record before it.
        let in_gap = self.between(self.start, at_least).last().map_or(start, |(last, _)| last + 1);
        let at_least = if self.gaps { at_least.min(in_gap) } else { at_least };
        assert!(end >= at_least, "{at_least} records were promised, {end} are there");
        assert!(end <= self.end.max(start), "{end} records are there of {} that were appended", self.end);
        let whole = end == start || self.batches.contains_key(&end) || unsettled == Some(Unsettled::CutTo(end));
        assert!(whole, "a batch is there in part: the log ends at {end}");
        self.start = start;
        self.durable_start = start;
        if end < self.end {
            self.cut(end);
        }
        self.end = end;
        self.acknowledged = end;
        self.durable = end;
        self.check_content(log, end);
    }

    /// Everything was made durable, at both ends, and the log was opened again.
    pub(in crate::log::tests) fn note_clean_close(&mut self) {
        self.durable = self.end;
        self.durable_start = self.start;
        self.commits.note_sync();
    }

    /// The same log, empty from here on.
    fn begun_at(&self, start: u64) -> Expected {
        let (gaps, commits) = (self.gaps, self.commits.clone());
        let (durable_start, end, acknowledged, durable) = (start, start, start, start);
        Expected { start, durable_start, end, acknowledged, durable, gaps, commits, ..Expected::default() }
    }

    /// The log was emptied, durably, and begins here.
    pub(in crate::log::tests) fn reset(&mut self, start: u64) {
        *self = self.begun_at(start);
    }

    /// Offset and record of all that lies between two offsets.
    pub(in crate::log::tests) fn between(&self, from: u64, end: u64) -> Vec<(u64, Kept)> {
        if from >= end {
            return Vec::new();
        }
        self.records.range(from..end).map(|(offset, kept)| (*offset, kept.clone())).collect()
    }

    /// Every record below `end`, forwards and backwards.
    pub(in crate::log::tests) fn check_content(&self, log: &Log, end: u64) {
        let expected = self.between(self.start, end);
        let range = || offset(self.start)..offset(end.max(self.start));
        let forwards: Vec<(u64, Kept)> = log
            .records(range())
            .expect("the range lies in the log")
            .map(|record| record.expect("every record is readable"))
            .map(|record| (record.offset().value(), Kept::of(&record)))
            .collect();
        assert_eq!(forwards, expected, "every offset has its record");
        let backwards: Vec<u64> = log
            .records_reversed(range())
            .expect("the range lies in the log")
            .map(|record| record.expect("every record is readable").offset().value())
            .collect();
        assert!(backwards.iter().rev().eq(expected.iter().map(|(offset, _)| offset)), "backwards as forwards");
    }

    /// Every offset is found by lookup, in the batch that holds it.
    pub(in crate::log::tests) fn check_lookups(&self, log: &Log, end: u64) {
        for wanted in self.start..end {
            let slice = log.read(offset(wanted), 1).expect("the offset lies in the log");
            let Some((first, kept)) = self.records.range(wanted..end).next() else {
                assert!(slice.is_empty(), "nothing lies behind {wanted}");
                continue;
            };
            let record = slice.records().next().expect("a record").expect("it is readable");
            assert_eq!(record.offset(), offset(*first));
            assert_eq!(Kept::of(&record), *kept);
            let batch = slice.batches().next().expect("a batch").expect("it is readable");
            let (&batch_end, _) = self.batches.range(first + 1..).next().expect("each offset has its batch");
            assert_eq!(batch.next_offset(), offset(batch_end), "a lookup gives the batch that holds the offset");
        }
        let at_end = log.read(offset(end.max(self.start)), 1).expect("the end is no error");
        assert!(at_end.is_empty() || end < log.log_end_offset().value());
        let outside = log.read(log.log_end_offset() + 1, 1);
        assert!(matches!(outside, Err(Error::OffsetOutOfRange { .. })), "{outside:?}");
        if self.start > 0 {
            let below = log.read(offset(self.start - 1), 1);
            assert!(matches!(below, Err(Error::OffsetOutOfRange { .. })), "{below:?}");
        }
    }

    /// A range somewhere, as a user would read it.
    pub(in crate::log::tests) fn check_range(&self, log: &Log, chance: &mut Chance) -> crate::error::Result<()> {
        let end = log.log_end_offset().value();
        let from = self.start + chance.below(end.saturating_sub(self.start) + 1);
        let to = from + chance.below(end.saturating_sub(from) + 1);
        let mut found = Vec::new();
        for record in log.records(offset(from)..offset(to))? {
            let record = record?;
            found.push((record.offset().value(), Kept::of(&record)));
        }
        assert_eq!(found, self.between(from, to));
        let slice = log.read(offset(from), 1 + chance.below(2000))?;
        let mut found = Vec::new();
        for record in slice.records() {
            let record = record?;
            found.push((record.offset().value(), Kept::of(&record)));
        }
        assert_eq!(found, self.between(from, slice.next_offset().value()));
        assert!(!found.is_empty() || self.between(from, end).is_empty(), "a read below the end gives something");
        self.check_time(log, end, chance)
    }

    /// The first record, in the order of the log, that is as late as some time.
    fn check_time(&self, log: &Log, end: u64, chance: &mut Chance) -> crate::error::Result<()> {
        let times: Vec<Timestamp> = self.records.values().filter_map(|kept| kept.timestamp).collect();
        if times.is_empty() {
            return Ok(());
        }
        let wanted = Timestamp::from_millis(chance.pick(&times).as_millis() - 1 + chance.below(3).cast_signed());
        let expected = self.between(self.start, end).into_iter().find_map(|(at, kept)| {
            kept.timestamp.filter(|timestamp| *timestamp >= wanted).map(|timestamp| (offset(at), timestamp))
        });
        assert_eq!(log.offset_for_timestamp(wanted)?, expected, "the first record at or after {wanted}");
        Ok(())
    }
}

pub(in crate::log::tests) fn offset(number: u64) -> Offset {
    Offset::new(number)
}
