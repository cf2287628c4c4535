//! The reading side of a log as a value of its own: slices, records and batches from any offset.
//!
//! It writes nothing and decides nothing about damage but whether to pass over it. The invariant it owns: no call here
//! takes the writer's lock or waits for a sync, so that hundreds of readers do not slow the writer down.

use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::log::ReadUpTo;
use crate::log::core::Core;
use crate::log::places::KnownPlace;
use crate::log::report::{RecoveryReport, SegmentInfo};
use crate::offset::{Offset, Position};
use crate::record::BatchHeader;
use crate::slice::{FileRange, LogSlice, Walk, first_offset};

pub(crate) mod cursor;
pub(crate) mod records;
pub(crate) mod reversed;
pub(crate) mod tail;
#[cfg(test)]
mod tests;
mod time;
mod waiting;

use cursor::{Cursor, Place, open};
use records::{Batches, Records};
use reversed::RecordsReversed;

/// Reads a log. Cheap to make and to clone, and independent of the writer: it neither waits for appends nor for syncs.
///
/// Each call sees the log as it is at that moment. When the log is closed, new calls give [`Error::Closed`]; slices
/// stay readable.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(in crate::log) core: Arc<Core>,
    up_to: ReadUpTo,
    skip_damaged: bool,
}

impl Reader {
    /// A reader of everything that was appended.
    pub(crate) fn over(core: Arc<Core>) -> Reader {
        Reader { core, up_to: ReadUpTo::LogEnd, skip_damaged: false }
    }

    /// The reader, seeing no further than this.
    #[must_use]
    pub fn up_to(mut self, up_to: ReadUpTo) -> Reader {
        self.up_to = up_to;
        self
    }

    /// The reader, going on behind damage: each damaged place gives one error, and reading continues at the next batch
    /// that can be found.
    #[must_use]
    pub fn skip_damaged(mut self) -> Reader {
        self.skip_damaged = true;
        self
    }

    /// Whole batches, the first of which holds `from`, or comes next where `from` was compacted away. As many as fit
    /// `max_bytes` and lie in one segment, but at least one, however large. Empty at the end.
    ///
    /// No record is read for this and no checksum verified; the slice's iterators do that.
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`] below the log start and above the log end, [`Error::Corrupt`] in a damaged range,
    /// [`Error::Closed`] after the log was closed.
    pub fn read(&self, from: Offset, max_bytes: u64) -> Result<LogSlice> {
        self.slice(from, max_bytes, u64::MAX)
    }

    /// As [`Reader::read`], of no more than so many records, as far as one batch allows.
    fn slice(&self, from: Offset, max_bytes: u64, max_records: u64) -> Result<LogSlice> {
        self.core.check_range(from)?;
        let end = self.log_end_offset();
        if from >= end {
            return Ok(LogSlice::empty(from, from));
        }
        let mut cursor = self.cursor(from, end).for_one_batch();
        let first = loop {
            match cursor.seek() {
                None => return Ok(LogSlice::empty(from, end)),
                Some(Ok(header)) => break header,
                Some(Err(Error::Corrupt { .. })) if self.skip_damaged => {}
                Some(Err(error)) => return Err(error),
            }
        };
        let end = cursor.end();
        let Some(place) = cursor.place() else { return Ok(LogSlice::empty(from, end)) };
        if self.ends_within_batches() && first.next_offset() > end {
            return Ok(LogSlice::empty(from, from));
        }
        let start = place.walk.position();
        let (slice_end, next_offset) = self.measure(place, &first, (max_bytes, max_records), end)?;
        let range = FileRange {
            file: Arc::clone(place.walk.scan().file()),
            segment: place.segment.base(),
            start,
            end: slice_end,
            gaps_allowed: self.core.gaps_allowed(),
            limits: self.core.decode_limits(),
        };
        self.note_place(place);
        Ok(LogSlice::new(range, from, next_offset))
    }

    /// The records of a range, the first one first. It ends at the log end as of this call; a range without an
    /// offset gives nothing.
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`] if the range begins below the log start or above the log end, [`Error::Closed`]
    /// after the log was closed.
    pub fn records(&self, range: impl RangeBounds<Offset>) -> Result<Records> {
        let (from, end) = self.resolve(&range)?;
        Ok(Records::new(self.cursor(from, end), end, self.skip_damaged))
    }

    /// The records of a range, the last one first. Memory does not grow with the range.
    ///
    /// # Errors
    /// As [`Reader::records`].
    pub fn records_reversed(&self, range: impl RangeBounds<Offset>) -> Result<RecordsReversed> {
        let (from, end) = self.resolve(&range)?;
        Ok(RecordsReversed::new(Arc::clone(&self.core), from, end, self.up_to, self.skip_damaged))
    }

    /// The batches that hold a range, as they are stored.
    ///
    /// # Errors
    /// As [`Reader::records`].
    pub fn batches(&self, range: impl RangeBounds<Offset>) -> Result<Batches> {
        let (from, end) = self.resolve(&range)?;
        Ok(Batches::new(self.cursor(from, end), self.ends_within_batches().then_some(end)))
    }

    /// The first offset of the log.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.core.log_start()
    }

    /// One past the last offset that this reader sees.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.core.end_for(self.up_to)
    }

    /// One past the last offset that is known to be on disk.
    #[must_use]
    pub fn synced_offset(&self) -> Offset {
        self.core.synced()
    }

    /// The segments as they are now, the oldest first.
    ///
    /// # Errors
    /// [`Error::Closed`] after the log was closed; [`Error::Io`] if a segment's files cannot be opened.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>> {
        if self.core.is_closed() {
            return Err(Error::Closed);
        }
        let log_end = self.core.log_end();
        let segments = self.core.all_segments();
        // The active segment may begin at or above the end that readers see: before a sync, and after a failure.
        let last_end = segments.last().map_or(log_end, |last| last.base().max(log_end));
        let next_bases = segments.iter().skip(1).map(|next| next.base()).chain([last_end]);
        let mut infos = Vec::with_capacity(segments.len());
        for (index, (segment, next_offset)) in segments.iter().zip(next_bases).enumerate() {
            let handles = match open(&self.core, segment, segment.base()) {
                // It was deleted meanwhile.
                Err(Error::OffsetOutOfRange { .. }) => continue,
                answer => answer?,
            };
            let last_time = handles.time_index.as_ref().and_then(|index| index.last().ok().flatten());
            infos.push(SegmentInfo {
                base_offset: segment.base(),
                next_offset,
                size_bytes: segment.published().value(),
                largest_timestamp: last_time.map(|entry| entry.timestamp),
                active: index + 1 == segments.len(),
            });
        }
        Ok(infos)
    }

    /// What opening the log found and did.
    #[must_use]
    pub fn recovery_report(&self) -> RecoveryReport {
        RecoveryReport::clone(&self.core.report())
    }

    /// The log's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.core.dir()
    }

    /// Whether the end of what this reader sees may lie in a batch. One that it does lie in is not given whole: there
    /// are records in it that this reader must not see.
    fn ends_within_batches(&self) -> bool {
        matches!(self.up_to, ReadUpTo::HighWatermark | ReadUpTo::LastStable)
    }

    fn cursor(&self, from: Offset, end: Offset) -> Cursor {
        Cursor::new(Arc::clone(&self.core), from, end, self.up_to, self.skip_damaged)
    }

    /// The range in the bounds of the log: from the first offset, to before the second.
    fn resolve(&self, range: &impl RangeBounds<Offset>) -> Result<(Offset, Offset)> {
        let log_end = self.log_end_offset();
        let from = match range.start_bound() {
            Bound::Unbounded => self.core.log_start(),
            Bound::Included(&from) => from,
            Bound::Excluded(&before) => behind(before),
        };
        self.core.check_range(from)?;
        let end = match range.end_bound() {
            Bound::Unbounded => log_end,
            Bound::Included(&last) => behind(last),
            Bound::Excluded(&end) => end,
        };
        Ok((from, end.min(log_end)))
    }

    /// Remembers where the walk stands, for whoever reads on there.
    fn note_place(&self, place: &Place) {
        // What other processes do to the files is no generation until it was noticed.
        if self.core.grows_by_others() {
            return;
        }
        self.core.places.note(KnownPlace {
            generation: place.generation,
            segment: place.segment.base(),
            position: place.walk.position(),
            due: place.walk.due(),
            header: place.walk.scan().known(),
        });
    }

    /// Where a slice ends that begins at the batch of `first`, where the cursor stands, and the offset behind it.
    fn measure(
        &self,
        place: &mut Place,
        first: &BatchHeader,
        (max_bytes, max_records): (u64, u64),
        end: Offset,
    ) -> Result<(Position, Offset)> {
        let start = place.walk.position();
        let mut records = records_in(first, place.walk.due());
        let budget = max_bytes.max(first.size_bytes);
        let known_damage = place.segment.next_damage(start).unwrap_or(place.walk.scan().end());
        let limit = Position::new(start.value().saturating_add(budget)).min(known_damage).min(place.walk.scan().end());
        place.walk.pass(first);
        // The index does not tell how many records it jumps over.
        if limit > place.walk.scan().read_end()
            && max_records == u64::MAX
            && let Some(walk) = self.jump(place, limit, end)?
        {
            place.walk = walk;
        }
        while let Some(header) = next_within(&mut place.walk, limit, end)? {
            records = records.saturating_add(records_in(&header, place.walk.due()));
            if records > max_records {
                break;
            }
            place.walk.pass(&header);
        }
        Ok((place.walk.position(), place.walk.due()))
    }

    /// A walk that begins at the last batch below `limit` that the offset index knows, if that saves anything.
    fn jump(&self, place: &Place, limit: Position, end: Offset) -> Result<Option<Walk>> {
        let found = place.segment.scan_before(&place.handles, place.walk.position(), limit, end)?;
        let Some(scan) = found else { return Ok(None) };
        let mut walk = Walk::new(scan, place.segment.base(), self.core.gaps_allowed());
        match walk.peek() {
            // What lies before a batch of an old format is not known from its header.
            Ok(Some(header)) if !header.is_legacy() && first_offset(&header) >= place.walk.due() => {
                walk.resume_at(walk.position(), first_offset(&header));
                Ok(Some(walk))
            }
            Ok(_) | Err(Error::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// How many records a batch holds, or at most, where its format does not say, behind an offset.
fn records_in(header: &BatchHeader, due: Offset) -> u64 {
    if header.is_legacy() {
        return header.next_offset().checked_distance(due).unwrap_or(1);
    }
    u64::try_from(header.count).unwrap_or(0)
}

/// The next batch, if it ends by `limit` and lies below `end`. Damage ends a slice; who reads on there is told.
fn next_within(walk: &mut Walk, limit: Position, end: Offset) -> Result<Option<BatchHeader>> {
    if walk.position() >= limit {
        return Ok(None);
    }
    match walk.peek() {
        Ok(Some(header)) => {
            let fits = walk.position() + header.size_bytes <= limit && header.last_offset() < end;
            Ok(fits.then_some(header))
        }
        Ok(None) | Err(Error::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn behind(offset: Offset) -> Offset {
    Offset::new(offset.value().saturating_add(1))
}
