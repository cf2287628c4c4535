//! What a log must hold: the records that were handed in, how far they were acknowledged, and how far as durable.

use crate::error::Error;
use crate::log::Log;
use crate::offset::{Offset, Timestamp};
use crate::record::{Record, StoredRecord};

use super::Chance;

/// A record as it was handed in, its time as it must come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(super) timestamp: Option<Timestamp>,
}

impl Kept {
    pub(super) fn of(record: &StoredRecord) -> Kept {
        Kept {
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            headers: record.headers().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect(),
            timestamp: record.timestamp(),
        }
    }

    pub(super) fn header_pairs(&self) -> Vec<(&str, Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect()
    }

    pub(super) fn record<'a>(&'a self, headers: &'a [(&'a str, Option<&'a [u8]>)]) -> Record<'a> {
        let record = Record::from_parts(self.key.as_deref(), self.value.as_deref()).headers(headers);
        match self.timestamp {
            Some(timestamp) => record.timestamp(timestamp),
            None => record,
        }
    }
}

/// The log as a list.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// All that was handed in and may be there, in order.
    pub(super) records: Vec<Kept>,
    /// The ends of batches, each of which is there whole or not at all.
    pub(super) batch_ends: Vec<usize>,
    /// Where a truncation that did not succeed may have ended a batch.
    maybe_ends: Vec<usize>,
    /// Appended without an error: survives the end of the process.
    pub(super) acknowledged: usize,
    /// Said to be durable: survives a power cut.
    pub(super) durable: usize,
}

impl Expected {
    pub(super) fn end(&self) -> usize {
        self.records.len()
    }

    pub(super) fn push(&mut self, batch: &[Kept]) {
        self.records.extend_from_slice(batch);
        self.batch_ends.push(self.records.len());
    }

    /// Truncated: what lies below `end` is there, durably, and nothing else.
    pub(super) fn truncate(&mut self, end: usize) {
        self.records.truncate(end);
        self.batch_ends.retain(|batch| *batch <= end);
        if end > 0 && self.batch_ends.last() != Some(&end) {
            self.batch_ends.push(end);
        }
        self.acknowledged = end;
        self.durable = end;
    }

    /// A truncation failed on its way: the log may end at any batch, or at `end`.
    pub(super) fn truncate_perhaps(&mut self, end: usize) {
        self.maybe_ends.push(end);
        self.acknowledged = self.acknowledged.min(end);
        self.durable = self.durable.min(end);
    }

    /// What the log says of itself, which must never be less than what it said before.
    pub(super) fn note_synced(&mut self, log: &Log) {
        let synced = index(log.synced_offset());
        assert!(synced <= self.end(), "{synced} are said to be synced of {} that were appended", self.end());
        assert!(synced >= self.durable, "the synced offset went back from {} to {synced}", self.durable);
        self.durable = synced;
    }

    /// After an opening: `at_least` must be there, and nothing but what was handed in, in order, whole batches only.
    pub(super) fn check_recovered(&mut self, log: &Log, at_least: usize) {
        let end = index(log.log_end_offset());
        assert!(end >= at_least, "{at_least} records were promised, {end} are there");
        assert!(end <= self.end(), "{end} records are there of {} that were appended", self.end());
        let is_batch_end = self.batch_ends.contains(&end) || self.maybe_ends.contains(&end);
        assert!(end == 0 || is_batch_end, "a batch is there in part: the log ends at {end}");
        assert_eq!(log.log_start_offset(), Offset::ZERO);
        assert_eq!(log.synced_offset(), log.log_end_offset(), "what was found was made durable");
        assert!(log.recovery_report().damage.is_empty(), "{:?}", log.recovery_report());
        self.truncate(end);
        self.maybe_ends.clear();
        self.check_content(log, end);
    }

    /// Every record below `end`, forwards and backwards.
    pub(super) fn check_content(&self, log: &Log, end: usize) {
        let forwards: Vec<(Offset, Kept)> = log
            .records(Offset::ZERO..offset(end))
            .expect("the range lies in the log")
            .map(|record| record.expect("every record is readable"))
            .map(|record| (record.offset(), Kept::of(&record)))
            .collect();
        assert_eq!(forwards.len(), end, "every offset has its record");
        for (number, (found, kept)) in forwards.iter().enumerate() {
            assert_eq!(*found, offset(number));
            assert_eq!(kept, &self.records[number], "the record at {number}");
        }
        let mut backwards = end;
        for record in log.records_reversed(Offset::ZERO..offset(end)).expect("the range lies in the log") {
            backwards -= 1;
            assert_eq!(record.expect("every record is readable").offset(), offset(backwards));
        }
        assert_eq!(backwards, 0, "backwards as forwards");
    }

    /// Every offset is found by lookup, in the batch that holds it.
    pub(super) fn check_lookups(&self, log: &Log, end: usize) {
        for wanted in 0..end {
            let slice = log.read(offset(wanted), 1).expect("the offset lies in the log");
            let record = slice.records().next().expect("a record").expect("it is readable");
            assert_eq!(record.offset(), offset(wanted));
            assert_eq!(Kept::of(&record), self.records[wanted]);
            let batch = slice.batches().next().expect("a batch").expect("it is readable");
            let batch_end = *self.batch_ends.iter().find(|end| **end > wanted).expect("each offset has its batch");
            assert_eq!(batch.next_offset(), offset(batch_end), "a lookup gives the batch that holds the offset");
        }
        assert!(log.read(offset(end), 1).expect("the end is no error").is_empty() || end < index(log.log_end_offset()));
        let outside = log.read(log.log_end_offset() + 1, 1);
        assert!(matches!(outside, Err(Error::OffsetOutOfRange { .. })), "{outside:?}");
    }

    /// A range somewhere, as a user would read it.
    pub(super) fn check_range(&self, log: &Log, chance: &mut Chance) -> crate::error::Result<()> {
        let end = index(log.log_end_offset());
        let from = chance.index(end + 1);
        let to = from + chance.index(end - from + 1);
        let mut next = from;
        for record in log.records(offset(from)..offset(to))? {
            let record = record?;
            assert_eq!(record.offset(), offset(next));
            assert_eq!(Kept::of(&record), self.records[next]);
            next += 1;
        }
        assert_eq!(next, to);
        let slice = log.read(offset(from), 1 + chance.below(2000))?;
        let mut next = from;
        for record in slice.records() {
            let record = record?;
            assert_eq!(record.offset(), offset(next));
            assert_eq!(Kept::of(&record), self.records[next]);
            next += 1;
        }
        assert_eq!(slice.next_offset(), offset(next));
        assert!(next > from || from == end, "a read below the end gives something");
        Ok(())
    }
}

pub(super) fn offset(number: usize) -> Offset {
    Offset::new(u64::try_from(number).expect("a length fits"))
}

pub(super) fn index(offset: Offset) -> usize {
    usize::try_from(offset.value()).expect("an offset of a short log")
}
