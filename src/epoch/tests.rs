//! The epoch cache by Kafka's rules, and against two naive models: the rules read literally, and a log as a list of the
//! epoch of each record.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn at(offset: u64) -> Offset {
    Offset::new(offset)
}

fn entry(epoch: i32, start_offset: u64) -> EpochStart {
    EpochStart { epoch, start_offset: at(start_offset) }
}

fn cache(entries: &[(i32, u64)]) -> EpochCache {
    let mut cache = EpochCache::default();
    entries.iter().for_each(|&(epoch, start)| cache.assign(epoch, at(start)));
    cache
}

fn listed(cache: &EpochCache) -> Vec<(i32, u64)> {
    cache.entries().iter().map(|entry| (entry.epoch, entry.start_offset.value())).collect()
}

// Row 286.
#[test]
fn the_first_claim_of_an_epoch_counts_unless_a_later_one_names_an_earlier_offset() {
    let mut cache = cache(&[(0, 0)]);
    assert_eq!((cache.latest(), cache.end_offset_for(0, at(9))), (Some(entry(0, 0)), Some((0, at(9)))));
    cache.assign(2, at(10));
    cache.assign(2, at(12));
    assert_eq!(listed(&cache), [(0, 0), (2, 10)], "a later offset is ignored");
    cache.assign(2, at(7));
    assert_eq!(listed(&cache), [(0, 0), (2, 7)], "an earlier one replaces");
}

// Row 287.
#[test]
fn an_epoch_ends_where_the_next_one_begins() {
    let cache = cache(&[(2, 10), (5, 20), (6, 30)]);
    let end = |epoch| cache.end_offset_for(epoch, at(42)).map(|(epoch, end)| (epoch, end.value()));
    assert_eq!(end(6), Some((6, 42)), "the last one at the log end");
    assert_eq!(end(-1), None, "undefined");
    assert_eq!(end(7), None, "above the last");
    assert_eq!(end(1), Some((1, 10)), "below the first: where that begins");
    assert_eq!(end(2), Some((2, 20)));
    assert_eq!(end(4), Some((2, 20)), "between: the one below, with the start of the one above");
    assert_eq!(end(5), Some((5, 30)));
    assert_eq!(EpochCache::default().end_offset_for(0, at(42)), None);
    assert_eq!(EpochCache::default().latest(), None);
}

// Row 288.
#[test]
fn a_claim_removes_what_contradicts_it() {
    let mut cache = cache(&[(1, 10), (2, 20), (4, 40)]);
    cache.assign(5, at(20));
    assert_eq!(listed(&cache), [(1, 10), (5, 20)], "a start at or above the new one");
    cache.assign(3, at(60));
    assert_eq!(listed(&cache), [(1, 10), (3, 60)], "a higher epoch");
    cache.assign(0, at(0));
    assert_eq!(listed(&cache), [(0, 0)]);
    assert_eq!(EpochCache::from_entries(vec![entry(1, 5), entry(2, 5)]), None);
    assert_eq!(EpochCache::from_entries(vec![entry(2, 5), entry(2, 6)]), None);
    assert_eq!(EpochCache::from_entries(vec![entry(-1, 5)]), None);
}

// Row 289.
#[test]
fn an_end_is_cut_by_whole_epochs() {
    for (end, expected) in [
        (8, vec![(2, 6)]),
        (9, vec![(2, 6), (3, 8)]),
        (11, vec![(2, 6), (3, 8)]),
        (12, vec![(2, 6), (3, 8), (4, 11)]),
        (0, vec![]),
    ] {
        let mut cache = cache(&[(2, 6), (3, 8), (4, 11)]);
        cache.truncate_from_end(at(end));
        assert_eq!(listed(&cache), expected, "{end}");
    }
    let mut empty = EpochCache::default();
    empty.truncate_from_end(at(7));
    empty.truncate_from_start(at(7));
    assert!(empty.is_empty());
}

// Rows 257, 289.
#[test]
fn a_start_is_cut_to_the_very_offset() {
    for (start, expected) in [
        (5, vec![(2, 6), (3, 8), (4, 11)]),
        (6, vec![(2, 6), (3, 8), (4, 11)]),
        (7, vec![(2, 7), (3, 8), (4, 11)]),
        (8, vec![(3, 8), (4, 11)]),
        (9, vec![(3, 9), (4, 11)]),
        (50, vec![(4, 50)]),
    ] {
        let mut cache = cache(&[(2, 6), (3, 8), (4, 11)]);
        cache.truncate_from_start(at(start));
        assert_eq!(listed(&cache), expected, "{start}");
    }
}

// Row 291.
#[test]
fn neighbours_and_the_epoch_of_an_offset_are_found() {
    let cache = cache(&[(2, 6), (3, 8), (7, 11)]);
    assert_eq!((cache.previous(7), cache.previous(5), cache.previous(2)), (Some(entry(3, 8)), Some(entry(3, 8)), None));
    assert_eq!((cache.next(2), cache.next(4), cache.next(7)), (Some(entry(3, 8)), Some(entry(7, 11)), None));
    let epochs: Vec<_> = [5, 6, 7, 8, 10, 11, 99].map(|offset| cache.epoch_for_offset(at(offset))).into();
    assert_eq!(epochs, [None, Some(2), Some(2), Some(3), Some(3), Some(7), Some(7)]);
}

/// Section by section what the rules say, with an ordered map.
#[derive(Default)]
struct Literal(BTreeMap<i32, u64>);

impl Literal {
    fn assign(&mut self, epoch: i32, start: u64) {
        if self.0.last_key_value().is_some_and(|(&last, &at)| last == epoch && start >= at) {
            return;
        }
        while self.0.last_key_value().is_some_and(|(&last, &at)| last >= epoch || at >= start) {
            self.0.pop_last();
        }
        self.0.insert(epoch, start);
    }

    fn end_offset_for(&self, requested: i32, log_end: u64) -> Option<(i32, u64)> {
        if requested < 0 {
            return None;
        }
        if self.0.last_key_value().map(|(&last, _)| last) == Some(requested) {
            return Some((requested, log_end));
        }
        let (_, &higher) = self.0.range(requested + 1..).next()?;
        Some((self.0.range(..=requested).next_back().map_or(requested, |(&floor, _)| floor), higher))
    }

    fn truncate_from_start(&mut self, start: u64) {
        let removed: Vec<i32> = self.0.iter().filter(|(_, at)| **at <= start).map(|(&epoch, _)| epoch).collect();
        self.0.retain(|epoch, _| !removed.contains(epoch));
        removed.last().map(|&epoch| self.0.insert(epoch, start));
    }
}

proptest! {
    #[test]
    fn any_sequence_of_claims_and_cuts_gives_what_the_rules_say(steps in proptest::collection::vec((0..4, 0..8, 0_u64..24), 0..40)) {
        let (mut cache, mut literal) = (EpochCache::default(), Literal::default());
        for (kind, epoch, offset) in steps {
            match kind {
                0 | 1 => {
                    cache.assign(epoch, at(offset));
                    literal.assign(epoch, offset);
                }
                2 => {
                    cache.truncate_from_end(at(offset));
                    literal.0.retain(|_, start| *start < offset);
                }
                _ => {
                    cache.truncate_from_start(at(offset));
                    literal.truncate_from_start(offset);
                }
            }
            prop_assert_eq!(listed(&cache), literal.0.iter().map(|(&epoch, &start)| (epoch, start)).collect::<Vec<_>>());
            prop_assert!(EpochCache::from_entries(cache.entries().to_vec()).is_some(), "epochs and offsets rise");
            for asked in -1..9 {
                let end = cache.end_offset_for(asked, at(30)).map(|(epoch, end)| (epoch, end.value()));
                prop_assert_eq!(end, literal.end_offset_for(asked, 30));
            }
        }
    }

    #[test]
    fn a_cache_that_follows_a_log_knows_the_epoch_of_each_record(steps in proptest::collection::vec((0..3, 0..3, 1_u64..6), 0..40)) {
        // One epoch a record, and the log start.
        let (mut cache, mut log, mut start, mut epoch) = (EpochCache::default(), Vec::<i32>::new(), 0_usize, 0);
        for (kind, raise, count) in steps {
            let end = log.len() as u64;
            match kind {
                0 => {
                    epoch += raise;
                    cache.assign(epoch, at(end));
                    log.extend((0..count).map(|_| epoch));
                }
                1 => {
                    let cut = end.saturating_sub(count).max(start as u64);
                    log.truncate(usize::try_from(cut).unwrap());
                    cache.truncate_from_end(at(cut));
                }
                _ => {
                    start = (start + usize::try_from(count).unwrap()).min(log.len());
                    cache.truncate_from_start(at(start as u64));
                }
            }
            for (offset, &epoch) in log.iter().enumerate().skip(start) {
                prop_assert_eq!(cache.epoch_for_offset(at(offset as u64)), Some(epoch));
            }
        }
    }
}
