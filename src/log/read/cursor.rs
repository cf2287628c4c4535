//! Walks the batches of a log forward, from segment to segment, while the log goes on growing.
//!
//! It keeps its place between calls and reads ahead; it waits for nobody. What is wrong is reported where it stands:
//! in bytes, in offsets, or between two segments. The invariant it owns: without damage it gives every batch of its
//! range once, in order; with damage it says so before it goes on behind it, and it goes on only if it was asked to.

use std::io::ErrorKind;
use std::sync::Arc;

use crate::error::{Corruption, Error, IoOp, Result};
use crate::offset::{Offset, Position};
use crate::record::{BatchHeader, DecodeLimits};
use crate::segment::{Handles, Scanner, Segment};
use crate::slice::{StoredBatch, Walk, first_offset};

use crate::log::ReadUpTo;
use crate::log::core::Core;

/// A place in a log, and how far to go on from there.
#[derive(Debug)]
pub(crate) struct Cursor {
    core: Arc<Core>,
    /// `None` before the first call, and where a segment could not be entered.
    place: Option<Place>,
    /// The base offset of the segment that was entered last, or was to be.
    segment: Option<Offset>,
    /// Batches that end below are passed over.
    from: Offset,
    end: Offset,
    /// Reading probably ends at the batch of this offset.
    last: Offset,
    /// What lies below was given, as far as it was asked for; and of which life of the log it is. Zero before the first.
    given: Offset,
    generation: u64,
    /// The end as of the last look for a batch.
    seen_end: Offset,
    up_to: ReadUpTo,
    skip_damaged: bool,
    /// To be reported next.
    pending: Option<Error>,
    finished: bool,
}

/// A segment and the place in it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) segment: Arc<Segment>,
    pub(crate) handles: Arc<Handles>,
    pub(crate) walk: Walk,
    /// Where the next segment begins, if there was one when this one was entered. No batch here reaches it.
    next_base: Option<Offset>,
    /// Of the log's openings, the one that this place was entered in.
    pub(crate) generation: u64,
}

impl Cursor {
    /// Begins at the batch that holds `from` or comes next, and ends before the first batch that begins at `end`.
    pub(crate) fn new(core: Arc<Core>, from: Offset, end: Offset, up_to: ReadUpTo, skip_damaged: bool) -> Cursor {
        Cursor {
            generation: core.generation(),
            core,
            place: None,
            segment: None,
            from,
            end,
            last: Offset::new(end.value().saturating_sub(1)),
            given: Offset::ZERO,
            seen_end: Offset::ZERO,
            up_to,
            skip_damaged,
            pending: None,
            finished: from >= end,
        }
    }

    /// The cursor, for somebody who is likely to read one batch, and no further.
    pub(crate) fn for_one_batch(self) -> Cursor {
        Cursor { last: self.from, ..self }
    }

    /// The next batch. One with a wrong checksum is given as it is, and the next call says what is wrong with it.
    ///
    /// After an error the cursor is finished, unless the error is damage and damage is skipped.
    pub(crate) fn next_batch(&mut self) -> Option<Result<StoredBatch>> {
        let batch = self.take_batch();
        self.settle(batch)
    }

    /// Goes to the next batch without reading more of it than its header. The cursor then stands at it.
    pub(crate) fn seek(&mut self) -> Option<Result<BatchHeader>> {
        let header = self.seek_header();
        self.settle(header)
    }

    /// Looks again where it found the end: the log may have grown.
    pub(crate) fn resume(&mut self) {
        self.finished = false;
    }

    /// Up to where there was nothing more, where the last look found nothing. The end may lie elsewhere since: a high
    /// watermark may be put back, and forward again.
    pub(crate) fn seen_end(&self) -> Offset {
        self.seen_end
    }

    /// Records below are not asked for, or were given already.
    pub(crate) fn from(&self) -> Offset {
        self.from
    }

    /// Where the cursor stands, after [`Cursor::seek`] found something.
    pub(crate) fn place(&mut self) -> Option<&mut Place> {
        self.place.as_mut()
    }

    /// The end, lowered to what this kind of reader may see by now: a log that failed or was reopened ends earlier.
    pub(crate) fn end(&self) -> Offset {
        self.end.min(self.core.end_for(self.up_to))
    }

    /// Decides how it goes on after an answer.
    fn settle<T>(&mut self, answer: Result<Option<T>>) -> Option<Result<T>> {
        match answer {
            Ok(Some(found)) => Some(Ok(found)),
            Ok(None) => {
                self.finished = true;
                None
            }
            Err(error) => {
                self.finished = !(self.skip_damaged && matches!(error, Error::Corrupt { .. }));
                if !self.finished {
                    self.go_on_behind();
                }
                Some(Err(error))
            }
        }
    }

    fn take_batch(&mut self) -> Result<Option<StoredBatch>> {
        if let Some(error) = self.pending.take() {
            return Err(error);
        }
        let limits = self.core.decode_limits();
        loop {
            let header = match self.seek_header() {
                Err(error @ Error::Corrupt { .. }) => {
                    let Some(batch) = self.place.as_mut().and_then(|place| place.take_damaged(limits)) else {
                        return Err(error);
                    };
                    self.pending = Some(error);
                    return Ok(Some(batch));
                }
                answer => answer?,
            };
            let (Some(header), Some(place)) = (header, &mut self.place) else { return Ok(None) };
            let taken = place.walk.take(header, limits);
            let is_damaged = match &taken {
                Ok(batch) => batch.checksum().is_err(),
                Err(error) => matches!(error, Error::Corrupt { .. }),
            };
            if is_damaged && self.is_at_end() {
                self.seen_end = self.seen_end.min(self.end());
                return Ok(None);
            }
            if is_damaged && self.leave_if_outdated() {
                continue;
            }
            let batch = taken?;
            if batch.checksum().is_ok() {
                // A damaged header says anything, also that it is the last one that was asked for.
                self.given = batch.header().next_offset();
            }
            self.pending = batch.checksum().err().map(|reason| batch.corrupt(reason));
            return Ok(Some(batch));
        }
    }

    fn seek_header(&mut self) -> Result<Option<BatchHeader>> {
        if let Some(error) = self.pending.take() {
            return Err(error);
        }
        loop {
            if self.finished {
                return Ok(None);
            }
            if self.core.is_closed() {
                return Err(Error::Closed);
            }
            let (from, end) = (self.from, self.end());
            self.seen_end = end;
            if self.given >= self.end {
                // All that was asked for was given, and belongs together.
                return Ok(None);
            }
            self.check_not_truncated()?;
            if from >= end {
                return Ok(None);
            }
            let Some(place) = &mut self.place else {
                self.enter_first()?;
                continue;
            };
            if place.walk.due() >= end {
                return Ok(None);
            }
            if place.generation != self.core.generation() {
                // What was read ahead was of an earlier life of the log; a reopening may have cut it off.
                self.leave_if_outdated();
                continue;
            }
            place.check_known_damage(from)?;
            match place.walk.peek() {
                Ok(Some(header)) if place.next_base.is_some_and(|next| header.last_offset() >= next) => {
                    return Err(outside_segment(&place.segment, &place.walk, &header));
                }
                Ok(Some(header)) if header.last_offset() < from => place.walk.pass(&header),
                Ok(Some(header)) if first_offset(&header) >= end && !header.is_legacy() => {
                    self.check_is_last(&header, end)?;
                    return Ok(None);
                }
                Ok(Some(header)) => return Ok(Some(header)),
                Ok(None) => {
                    if !self.enter_next(end)? {
                        return Ok(None);
                    }
                }
                Err(error @ Error::Corrupt { .. }) => {
                    if self.is_at_end() {
                        self.seen_end = end.min(self.end());
                        return Ok(None);
                    }
                    if !self.leave_if_outdated() && !self.pass_damage_below()? {
                        self.pass_zero_tail(error)?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What was given already and what would follow must be of one log: behind a truncation below the last record given
    /// other records may stand.
    fn check_not_truncated(&mut self) -> Result<()> {
        let generation = self.core.generation();
        if generation != self.generation {
            if let Some(end) = self.core.truncated_below(self.given, self.generation) {
                return Err(Error::Truncated { asked: self.given, end });
            }
            self.generation = generation;
        }
        Ok(())
    }

    /// A batch behind the end ends the range, but not where a later segment begins below the end: there its offset is
    /// damage, for offsets rise.
    fn check_is_last(&self, header: &BatchHeader, end: Offset) -> Result<()> {
        let Some(Place { segment, walk, .. }) = &self.place else { return Ok(()) };
        match self.core.segment_after(segment.base()) {
            Some(next) if next.base() < end => Err(outside_segment(segment, walk, header)),
            _ => Ok(()),
        }
    }

    /// Whether everything below the present end lies behind this place: then what is missing here was cut off, as after
    /// a failure, and is no damage.
    fn is_at_end(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.walk.due() >= self.end())
    }

    /// Leaves a segment that is not the log's any more, for the log was reopened or the segment deleted, to be entered
    /// anew at the offset that is due. What its old bytes look like says nothing.
    fn leave_if_outdated(&mut self) -> bool {
        let Some(place) = &self.place else { return false };
        if place.generation == self.core.generation() && is_current(&self.core, &place.segment) {
            return false;
        }
        self.from = self.from.max(place.walk.due());
        self.place = None;
        true
    }

    /// Goes behind damage on the way to the first offset, if that offset is not in it.
    fn pass_damage_below(&mut self) -> Result<bool> {
        match &mut self.place {
            Some(place) if place.walk.due() < self.from => place.walk.step_over_below(self.from),
            _ => Ok(false),
        }
    }

    /// Goes to the segment that holds the first offset, or would, and there as near to it as the index knows.
    fn enter_first(&mut self) -> Result<()> {
        // In this order: what is found may be of a later life of the log than the number says, never of an earlier one.
        let generation = self.core.generation();
        let Some((segment, next_base)) = self.core.floor_and_next(self.from) else {
            // The segment was deleted after the range was checked.
            let (start, end) = (self.core.log_start(), self.core.log_end());
            return Err(Error::OffsetOutOfRange { asked: self.from, start, end });
        };
        self.segment = Some(segment.base());
        let handles = match open_to_read(&self.core, &segment, self.from) {
            // It was cut off meanwhile: the next look finds what is there now.
            Err(Error::OffsetOutOfRange { asked, start, .. }) if asked >= start => return Ok(()),
            answer => answer?,
        };
        let walk = self.walk_towards(&segment, &handles, generation)?;
        self.place = Some(Place { segment, handles, walk, next_base, generation });
        Ok(())
    }

    /// A walk that begins where a slice before the first offset ended, or as near to it as the index knows.
    fn walk_towards(&self, segment: &Segment, handles: &Handles, generation: u64) -> Result<Walk> {
        let gaps_allowed = self.core.gaps_allowed();
        let known = self.core.places.find(self.from, generation, segment.base());
        let end = segment.published();
        let Some(known) = known.filter(|known| known.position < end) else {
            return Ok(Walk::new(segment.scan_over(handles, self.from, self.last)?, segment.base(), gaps_allowed));
        };
        let scan = Scanner::new(Arc::clone(&handles.log), known.position, end).knowing(known.header);
        let mut walk = Walk::new(scan, segment.base(), gaps_allowed);
        walk.resume_at(known.position, known.due);
        Ok(walk)
    }

    /// Goes to the front of a segment, where nothing below `due` may come.
    fn enter(&mut self, segment: Arc<Segment>, due: Offset) -> Result<()> {
        self.place = None;
        self.segment = Some(segment.base());
        let generation = self.core.generation();
        if !is_current(&self.core, &segment) {
            self.from = self.from.max(due);
            return Ok(());
        }
        let handles = match open_to_read(&self.core, &segment, segment.base()) {
            Err(Error::OffsetOutOfRange { asked, start, .. }) if asked >= start => {
                self.from = self.from.max(due);
                return Ok(());
            }
            answer => answer?,
        };
        let scan = Scanner::new(Arc::clone(&handles.log), Position::ZERO, segment.published());
        let mut walk = Walk::new(scan, segment.base(), self.core.gaps_allowed());
        if due > segment.base() {
            walk.resume_at(Position::ZERO, due);
        }
        let next_base = next_base(&self.core, &segment);
        self.place = Some(Place { segment, handles, walk, next_base, generation });
        Ok(())
    }

    /// Goes on at the end of a segment's bytes: in the same segment, if it grew meanwhile, or in the next one.
    fn enter_next(&mut self, end: Offset) -> Result<bool> {
        let Some(place) = &mut self.place else { return Ok(false) };
        // In this order: what was published last in this segment was published before the next segment was there.
        let next = self.core.segment_after(place.segment.base());
        let mut published = place.segment.published();
        if next.is_none() && self.up_to == ReadUpTo::FileEnd {
            published = place.segment.torn_end().map_or(published, |end| end.max(published));
        }
        if published > place.walk.scan().end() {
            place.walk.extend_to(published);
            return Ok(true);
        }
        if self.leave_if_outdated() {
            return Ok(true);
        }
        let Some(place) = &self.place else { return Ok(false) };
        let log_end = end.min(self.core.log_end());
        let (due, found) = (place.walk.due(), next.as_ref().map_or(log_end, |next| next.base()));
        if due < found && !self.core.gaps_allowed() && !place.walk.is_after_unknown() {
            let (asked, start) = (due, self.core.log_start());
            if asked < start {
                // What followed was deleted meanwhile.
                return Err(Error::OffsetOutOfRange { asked, start, end });
            }
            let reason = Corruption::OffsetGap { found: found.to_disk(), expected: due.to_disk() };
            return Err(place.walk.scan().corrupt(reason));
        }
        let Some(next) = next else { return Ok(false) };
        self.enter(next, due)?;
        Ok(true)
    }

    /// Room that a crashed writer allocated ahead is no damage, where the last batch ends at the next base offset.
    fn pass_zero_tail(&mut self, error: Error) -> Result<()> {
        let Some(place) = &self.place else { return Err(error) };
        let Some(next) = self.core.segment_after(place.segment.base()) else { return Err(error) };
        let walk = &place.walk;
        if walk.is_after_unknown() || walk.due() != next.base() || !walk.stands_at_zeros(&error)? {
            return Err(error);
        }
        let due = next.base();
        self.enter(next, due)
    }

    /// Finds the place behind damage that is being reported; what is wrong there is reported next.
    fn go_on_behind(&mut self) {
        if let Err(error) = self.try_go_on_behind() {
            self.pending = Some(error);
        }
    }

    fn try_go_on_behind(&mut self) -> Result<()> {
        let mut due = self.from;
        if let Some(Place { segment, walk, .. }) = &mut self.place {
            due = walk.due();
            if let Some(known) = segment.damage_around(walk.position())
                && known.next_offset > due
            {
                if !walk.step_over_within(known.end)? {
                    walk.resume_at(known.end, known.next_offset);
                }
                return Ok(());
            }
            if walk.step_over()? {
                return Ok(());
            }
        }
        match self.segment.and_then(|base| self.core.segment_after(base)) {
            Some(next) => self.enter(next, due)?,
            None => self.finished = true,
        }
        Ok(())
    }
}

impl Place {
    /// The batch at this place, if the segment is known to be damaged here and its header is whole all the same.
    fn take_damaged(&mut self, limits: DecodeLimits) -> Option<StoredBatch> {
        self.segment.damage_at(self.walk.position())?;
        let header = self.walk.peek().ok()??;
        let batch = self.walk.take(header, limits).ok()?;
        batch.checksum().is_err().then_some(batch)
    }

    /// Refuses to go on where the segment is known to be damaged, if an offset from `from` on may be lost there; else
    /// passes over the damage.
    pub(crate) fn check_known_damage(&mut self, from: Offset) -> Result<()> {
        let Some(known) = self.segment.damage_at(self.walk.position()) else { return Ok(()) };
        if known.next_offset <= self.walk.due() {
            return Ok(());
        }
        if from < known.next_offset {
            return Err(self.walk.scan().corrupt(known.reason));
        }
        let (end, next_offset) = (known.end, known.next_offset);
        self.walk.resume_at(end, next_offset);
        Ok(())
    }
}

/// A batch whose offsets are those of a later segment, which its checksum does not know.
pub(super) fn outside_segment(segment: &Segment, walk: &Walk, header: &BatchHeader) -> Error {
    let (found, base) = (header.last_offset().to_disk(), segment.base().to_disk());
    walk.scan().corrupt(Corruption::OffsetOutsideSegment { found, base })
}

/// Where the segment after this one begins.
pub(super) fn next_base(core: &Core, segment: &Segment) -> Option<Offset> {
    core.segment_after(segment.base()).map(|next| next.base())
}

/// Whether a segment is still the log's own.
pub(crate) fn is_current(core: &Core, segment: &Arc<Segment>) -> bool {
    core.floor_segment(segment.base()).is_some_and(|found| Arc::ptr_eq(&found, segment))
}

/// As [`open`], for somebody who is going to read batches: from a map, where that is wanted and can be had.
pub(super) fn open_to_read(core: &Core, segment: &Arc<Segment>, asked: Offset) -> Result<Arc<Handles>> {
    let handles = open(core, segment, asked)?;
    core.map_if_settled(segment, &handles);
    Ok(handles)
}

/// Opens a segment's files. One that was deleted meanwhile makes the offset out of range; one that is missing without
/// having been deleted is damage.
pub(crate) fn open(core: &Core, segment: &Arc<Segment>, asked: Offset) -> Result<Arc<Handles>> {
    match core.handles(segment) {
        Err(Error::Io { operation: IoOp::Open, path, cause }) if cause.kind() == ErrorKind::NotFound => {
            let (start, end) = (core.log_start(), core.log_end());
            if asked < start || !is_current(core, segment) {
                return Err(Error::OffsetOutOfRange { asked, start, end });
            }
            Err(Error::corrupt(&path, Position::ZERO, Corruption::Missing))
        }
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::error::Error;
    use crate::fs::{Env, sim::SimDisk};
    use crate::log::Log;
    use crate::offset::{Offset, Position};
    use crate::record::{BatchBuilder, BatchStamp, Compression, Record, set_base_offset};

    fn batch(base: u64) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(Record::value("v")).unwrap();
        let batch = builder.finish(&BatchStamp::default()).unwrap();
        set_base_offset(batch, Offset::new(base));
        batch.to_vec()
    }

    // Story: a flipped bit in a base offset, which no checksum covers, put a batch of a segment that is not the last
    // behind the log end; readers took that for the end of the log, and everything behind it was silently gone.
    #[test]
    fn a_batch_behind_the_log_end_does_not_hide_the_segments_that_follow() {
        let disk = SimDisk::new(1);
        let env = Env::sim(&disk);
        disk.write_file("/log/00000000000000000000.log", [batch(0), batch(1 << 20)].concat());
        disk.write_file("/log/00000000000000000002.log", batch(2));
        let reader = Log::open_read_only_in(&env, Path::new("/log")).unwrap();
        assert_eq!(reader.log_end_offset(), Offset::new(3));
        let at = Position::new(batch(0).len() as u64);
        let is_told = |found: &[Result<u64, Error>]| {
            found.iter().any(|found| matches!(found, Err(Error::Corrupt { position, .. }) if *position == at))
        };
        let offsets = |found: &[Result<u64, Error>]| found.iter().flatten().copied().collect::<Vec<_>>();

        let offset =
            |record: crate::error::Result<crate::record::StoredRecord>| record.map(|record| record.offset().value());
        let forwards: Vec<_> = reader.records(..).unwrap().map(offset).collect();
        assert!(is_told(&forwards) && offsets(&forwards) == [0], "{forwards:?}");
        let backwards: Vec<_> = reader.records_reversed(..).unwrap().map(offset).collect();
        assert!(is_told(&backwards) && offsets(&backwards) == [2], "{backwards:?}");
        let reader = reader.skip_damaged();
        let forwards: Vec<_> = reader.records(..).unwrap().map(offset).collect();
        assert!(is_told(&forwards) && offsets(&forwards) == [0, 2], "{forwards:?}");
        let backwards: Vec<_> = reader.records_reversed(..).unwrap().map(offset).collect();
        assert!(is_told(&backwards) && offsets(&backwards) == [2, 0], "{backwards:?}");
    }
}
