//! What readers hold: slices that must read the same whatever becomes of their segments, and iterators that must give
//! records whole, in order, as they were or as they are.

use std::collections::BTreeMap;

use super::Chance;
use super::expected::{Expected, Kept, offset};
use crate::log::{Log, Records};
use crate::slice::LogSlice;

const MOST: usize = 6;

#[derive(Debug, Default)]
pub(super) struct Held {
    slices: Vec<(LogSlice, Vec<(u64, Kept)>)>,
    iterators: Vec<HeldIterator>,
}

#[derive(Debug)]
struct HeldIterator {
    records: Records,
    /// What the log held when the iterator was made.
    then: BTreeMap<u64, Kept>,
    last: Option<u64>,
}

impl Held {
    /// A slice and an iterator from somewhere; the oldest ones go.
    pub(super) fn take(&mut self, log: &Log, expected: &Expected, chance: &mut Chance) {
        let (start, end) = (log.log_start_offset().value(), log.log_end_offset().value());
        let from = start + chance.below(end.saturating_sub(start) + 1);
        if let Ok(slice) = log.read(offset(from), 1 + chance.below(2000)) {
            let records = expected.between(from, slice.next_offset().value());
            self.slices.push((slice, records));
        }
        if let Ok(records) = log.records(offset(from)..) {
            let then = expected.between(from, end).into_iter().collect();
            self.iterators.push(HeldIterator { records, then, last: None });
        }
        if self.slices.len() > MOST {
            self.slices.remove(0);
        }
        if self.iterators.len() > MOST {
            self.iterators.remove(0);
        }
    }

    /// Reads all slices again, and each iterator one record further.
    pub(super) fn check(&mut self, expected: &Expected, may_fail: bool) {
        for (slice, records) in &self.slices {
            let found: crate::error::Result<Vec<(u64, Kept)>> = slice
                .records()
                .map(|record| record.map(|record| (record.offset().value(), Kept::of(&record))))
                .collect();
            match found {
                Ok(found) => assert_eq!(&found, records, "a slice reads what it was made of"),
                Err(error) => assert!(may_fail, "a slice is unreadable: {error}"),
            }
        }
        self.iterators.retain_mut(|held| held.step(expected));
    }
}

impl HeldIterator {
    /// One record further. `false` at the end, and behind an error.
    fn step(&mut self, expected: &Expected) -> bool {
        let Some(Ok(record)) = self.records.next() else { return false };
        let (at, kept) = (record.offset().value(), Kept::of(&record));
        assert!(self.last.is_none_or(|last| at > last), "offsets rise: {:?}, then {at}", self.last);
        let known = [self.then.get(&at), expected.records.get(&at)];
        assert!(known.contains(&Some(&kept)), "the record at {at} was never in the log: {kept:?}");
        self.last = Some(at);
        true
    }
}
