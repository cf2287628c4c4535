//! Finding records by their time: the first one that is as late as asked, and the latest one.
//!
//! Times need not rise. Whole segments are passed over by the bound on their times, most of a segment by its time
//! index; from there on the headers of batches are read in order, and a batch is unfolded only if its header claims a
//! time that counts. The invariant it owns (I25): what is passed over unread holds no record that was asked for, and
//! no known damage that a reader who does not skip damage should be told of.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::index::TimeEntry;
use crate::log::{Log, ReadUpTo};
use crate::offset::{Offset, Timestamp};
use crate::segment::{NO_TIMESTAMP, Segment, is_time_entry_of};
use crate::slice::StoredBatch;

use super::Reader;
use super::cursor::{Cursor, open_to_read};

/// A record and its time.
type Found = (Offset, Timestamp);

/// In place of a bound where there is none.
const NO_BOUND: Timestamp = Timestamp::from_millis(i64::MAX);

impl Log {
    /// The first record in the order of the log whose timestamp is `timestamp` or later, with its timestamp. `None` if
    /// there is no such record.
    ///
    /// Timestamps need not rise: records behind the one that is found may be earlier than asked, and the first of them
    /// in the log is not the first in time. A record without a timestamp is never found.
    ///
    /// ```
    /// use kstore::{Log, LogConfig, Offset, Record, Timestamp};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let log = Log::open(dir.path().join("readings-0"), LogConfig::default())?;
    /// for millis in [1_000, 3_000, 2_000] {
    ///     log.append(&[Record::value("21.5").timestamp(Timestamp::from_millis(millis))])?;
    /// }
    /// let found = log.offset_for_timestamp(Timestamp::from_millis(2_000))?;
    /// assert_eq!(found, Some((Offset::new(1), Timestamp::from_millis(3_000))));
    /// assert_eq!(log.offset_for_timestamp(Timestamp::from_millis(3_001))?, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Corrupt` if the record may lie in a damaged range, `Io`, `Closed`.
    pub fn offset_for_timestamp(&self, timestamp: Timestamp) -> Result<Option<(Offset, Timestamp)>> {
        self.reader().offset_for_timestamp(timestamp)
    }

    /// The largest timestamp of all records, and the first record that has it. `None` if no record has a timestamp.
    ///
    /// # Errors
    /// As [`Log::offset_for_timestamp`].
    pub fn max_timestamp(&self) -> Result<Option<(Offset, Timestamp)>> {
        self.reader().max_timestamp()
    }
}

impl Reader {
    /// The first record in the order of the log that this reader sees and whose timestamp is `timestamp` or later, with
    /// its timestamp. As [`Log::offset_for_timestamp`]. Markers, which end transactions, count as records.
    ///
    /// The time index of a log that kstore wrote leads there. In a directory that was opened for reading only nobody
    /// vouches for it; then the headers of batches are read, once to learn the bounds of the segments.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a damaged range lies before the record, unless this reader skips damage;
    /// [`Error::Closed`] after the log was closed.
    pub fn offset_for_timestamp(&self, timestamp: Timestamp) -> Result<Option<(Offset, Timestamp)>> {
        self.while_it_lasts(|start, end| self.first_at_or_after(timestamp, start, end))
    }

    /// The largest timestamp of the records that this reader sees, and the first record that has it. `None` if no
    /// record has one.
    ///
    /// # Errors
    /// As [`Reader::offset_for_timestamp`].
    pub fn max_timestamp(&self) -> Result<Option<(Offset, Timestamp)>> {
        self.while_it_lasts(|start, end| self.greatest(start, end))
    }

    /// Asks anew when the front of the log was deleted meanwhile, for then the answer is another.
    fn while_it_lasts(&self, ask: impl Fn(Offset, Offset) -> Result<Option<Found>>) -> Result<Option<Found>> {
        loop {
            if self.core.is_closed() {
                return Err(Error::Closed);
            }
            let (start, end) = (self.log_start_offset(), self.log_end_offset());
            let answer = ask(start, end);
            let deleted = match &answer {
                Ok(found) => found.is_some_and(|(offset, _)| offset < self.log_start_offset()),
                Err(Error::OffsetOutOfRange { .. }) => self.log_start_offset() > start,
                Err(_) => false,
            };
            if !deleted {
                return answer;
            }
        }
    }

    fn first_at_or_after(&self, target: Timestamp, start: Offset, end: Offset) -> Result<Option<Found>> {
        let mut from = start;
        while from < end {
            let may_hold = |segment: &Segment| self.known_bound(segment).is_none_or(|bound| bound >= target);
            let Some((segment, next)) = self.core.first_segment(from, may_hold) else { return Ok(None) };
            if segment.base() >= end {
                return Ok(None);
            }
            if self.bound(&segment, next) < target {
                let Some(next) = next else { return Ok(None) };
                from = next;
                continue;
            }
            let mut search = Search::new(self, &segment, target, from.max(segment.base()), end)?;
            while let Some(batch) = search.next_batch_reaching(target)? {
                let found = search.first_of(&batch, target)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            let Some(behind) = search.left_for else { return Ok(None) };
            from = from.max(behind);
        }
        Ok(None)
    }

    /// Segments are asked in the order of their bounds, until no bound that is left exceeds what was found.
    fn greatest(&self, start: Offset, end: Offset) -> Result<Option<Found>> {
        let first = self.core.floor_segment(start).map_or(start, |segment| segment.base());
        let mut segments = self.core.all_segments();
        segments.retain(|segment| segment.base() >= first && segment.base() < end);
        let nexts = segments.iter().skip(1).map(|next| Some(next.base())).chain([None]);
        let mut bounds: Vec<(Timestamp, &Arc<Segment>)> =
            segments.iter().zip(nexts).map(|(segment, next)| (self.bound(segment, next), segment)).collect();
        // The sort is stable: of equal bounds the older segment comes first.
        bounds.sort_by_key(|&(bound, _)| std::cmp::Reverse(bound));
        let mut best: Option<Found> = None;
        for (bound, segment) in bounds {
            let is_beaten = |(offset, timestamp)| timestamp > bound || (timestamp == bound && offset < segment.base());
            if bound == NO_TIMESTAMP || best.is_some_and(is_beaten) {
                continue;
            }
            let found = self.greatest_in(segment, bound, start.max(segment.base()), end)?;
            best = later(best, found);
        }
        Ok(best)
    }

    /// The first record with the largest time in one segment.
    fn greatest_in(
        &self,
        segment: &Arc<Segment>,
        bound: Timestamp,
        from: Offset,
        end: Offset,
    ) -> Result<Option<Found>> {
        if bound < NO_BOUND {
            // The record that gave the bound is mostly there, and the time index leads to it.
            let mut search = Search::new(self, segment, bound, from, end)?;
            while let Some(batch) = search.next_batch_reaching(bound)? {
                let found = search.first_of(&batch, bound)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        // It lies outside the range, or compaction removed it.
        let mut best = None;
        let mut least = Timestamp::from_millis(i64::MIN);
        let mut search = Search::from_front(self, segment, from, end);
        while let Some(batch) = search.next_batch_reaching(least)? {
            best = later(best, search.latest_of(&batch)?);
            if let Some((_, timestamp)) = best {
                least = Timestamp::from_millis(timestamp.as_millis().saturating_add(1));
            }
        }
        Ok(best)
    }

    /// The bound of a segment, if it is known. What lies in a damaged range, or in a torn tail, is in no bound.
    fn known_bound(&self, segment: &Segment) -> Option<Timestamp> {
        let goes_on = self.up_to == ReadUpTo::FileEnd && segment.torn_end().is_some();
        if goes_on || !segment.damage().is_empty() { Some(NO_BOUND) } else { segment.time_bound() }
    }

    /// The bound of a segment; where it cannot be had, the search will say why.
    fn bound(&self, segment: &Segment, next: Option<Offset>) -> Timestamp {
        let known = self.known_bound(segment);
        known.or_else(|| segment.learn_time_bound(self.core.env(), next).ok()).unwrap_or(NO_BOUND)
    }
}

/// The later one of two records; of equally late ones, the first in the log.
fn later(one: Option<Found>, other: Option<Found>) -> Option<Found> {
    let (Some((offset, timestamp)), Some((other_offset, other_timestamp))) = (one, other) else { return one.or(other) };
    let is_later = other_timestamp > timestamp || (other_timestamp == timestamp && other_offset < offset);
    if is_later { other } else { one }
}

/// A walk over those batches of one segment that may count.
struct Search<'a> {
    reader: &'a Reader,
    segment: Offset,
    cursor: Cursor,
    from: Offset,
    end: Offset,
    /// The entry of the time index at whose batch the walk begins, until that batch has confirmed it.
    unconfirmed: Option<TimeEntry>,
    /// The base offset of the segment that was come to in the end, if it is not the end of the log.
    left_for: Option<Offset>,
}

impl<'a> Search<'a> {
    /// Begins where the time index says that nothing before can be as late as `target`.
    fn new(
        reader: &'a Reader,
        segment: &Arc<Segment>,
        target: Timestamp,
        from: Offset,
        end: Offset,
    ) -> Result<Search<'a>> {
        if !segment.damage().is_empty() {
            // What was lost is in no index.
            return Ok(Search::from_front(reader, segment, from, end));
        }
        let handles = open_to_read(&reader.core, segment, from)?;
        let floor = segment.time_floor(&handles, target).filter(|entry| entry.offset > from && entry.offset < end);
        let begin = floor.map_or(from, |entry| entry.offset);
        Ok(Search {
            cursor: reader.cursor(begin, end),
            unconfirmed: floor,
            ..Search::from_front(reader, segment, from, end)
        })
    }

    fn from_front(reader: &'a Reader, segment: &Segment, from: Offset, end: Offset) -> Search<'a> {
        let cursor = reader.cursor(from, end);
        Search { reader, segment: segment.base(), cursor, from, end, unconfirmed: None, left_for: None }
    }

    /// The next batch of the segment that claims a time as late as `target`.
    fn next_batch_reaching(&mut self, target: Timestamp) -> Result<Option<StoredBatch>> {
        loop {
            let header = self.cursor.seek().transpose();
            let entered = self.cursor.place().map(|place| place.segment.base());
            if let Some(entry) = self.unconfirmed.take() {
                let confirmed = entered == Some(self.segment)
                    && matches!(&header, Ok(Some(header)) if is_time_entry_of(&entry, header));
                if !confirmed {
                    // The entry is not this log's. What is wrong besides is met again.
                    self.cursor = self.reader.cursor(self.from, self.end);
                    continue;
                }
            }
            let header = match header {
                Ok(Some(header)) => header,
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.pass_over(error)?;
                    continue;
                }
            };
            if entered != Some(self.segment) {
                self.left_for = entered;
                return Ok(None);
            }
            if header.max_timestamp().is_some_and(|largest| largest >= target) {
                match self.cursor.next_batch() {
                    Some(Ok(batch)) => return Ok(Some(batch)),
                    Some(Err(error)) => self.pass_over(error)?,
                    None => return Ok(None),
                }
            } else if let Some(place) = self.cursor.place() {
                place.walk.pass(&header);
            }
        }
    }

    /// The first record of a batch that is as late as `target`.
    fn first_of(&self, batch: &StoredBatch, target: Timestamp) -> Result<Option<Found>> {
        let mut records = self.records_of(batch);
        let found = records.find(|record| record.as_ref().map_or(true, |&(_, timestamp)| timestamp >= target));
        self.unless_skipped(found.transpose())
    }

    /// The latest record of a batch, the first one of equals.
    fn latest_of(&self, batch: &StoredBatch) -> Result<Option<Found>> {
        let latest = self.records_of(batch).try_fold(None, |latest, record| Ok(later(latest, Some(record?))));
        self.unless_skipped(latest)
    }

    /// The records of a batch that are asked for and have a time.
    fn records_of(&self, batch: &StoredBatch) -> impl Iterator<Item = Result<Found>> {
        let range = self.from..self.end;
        batch.records().filter_map(move |record| match record {
            Ok(record) if range.contains(&record.offset()) => Some(Ok((record.offset(), record.timestamp()?))),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// Nothing in place of damage, if the reader skips it.
    fn unless_skipped(&self, found: Result<Option<Found>>) -> Result<Option<Found>> {
        found.or_else(|error| self.pass_over(error).map(|()| None))
    }

    /// Goes on behind damage if the reader does.
    fn pass_over(&self, error: Error) -> Result<()> {
        if self.reader.skip_damaged && matches!(error, Error::Corrupt { .. }) { Ok(()) } else { Err(error) }
    }
}
