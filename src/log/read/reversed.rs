//! The records of a log from its back to its front.
//!
//! Batches can be found forward only, so a segment is taken apart from its end: the part behind the last index entry is
//! walked by its headers, its batches are given in reverse, and then comes the part before. The invariant it owns:
//! however sparse the index and however large the segment, at most [`MOST_MARKS`] places are kept for each part, and
//! each batch of the range is checked and unfolded once.

use std::sync::Arc;

use crate::error::{Corruption, Error, Result};
use crate::offset::{Offset, Position};
use crate::record::{BatchHeader, DecodeLimits, StoredRecord, StoredRecordsReversed, verify_crc};
use crate::segment::{Handles, Scanner, Segment};
use crate::slice::{StoredBatch, Walk, first_offset};

use super::cursor::{is_current, next_base, open_to_read, outside_segment};
use crate::log::ReadUpTo;
use crate::log::core::Core;

/// How many places of a part are kept. Of a part with more batches, every second, fourth, … place is kept, and what
/// lies between two of them is a part to be taken apart in its turn.
const MOST_MARKS: usize = 512;
/// What is read at once, towards the front.
const WINDOW_BYTES: u64 = 64 << 10;

/// The records of a range of a log, the last one first: what `records_reversed` of a log or a
/// [`Reader`](crate::log::Reader) gives.
///
/// It begins where the log ended when it was made. Control records are among the others, as in
/// [`Records`](crate::log::Records). After an error it is finished, unless its reader skips damage. Once the log is closed,
/// it gives the rest of the batch that it is in, and then [`Error::Closed`](crate::error::Error::Closed).
#[derive(Debug)]
pub struct RecordsReversed {
    core: Arc<Core>,
    from: Offset,
    /// Nothing at or above is given.
    end: Offset,
    up_to: ReadUpTo,
    skip_damaged: bool,
    /// The offset of the record that was given last, or the end; and of which life of the log it is.
    given: Offset,
    generation: u64,
    /// What lies at or above was given, or is in `descent`.
    upper: Offset,
    /// Where the segment that is entered next must end, if that is known.
    above: Option<Offset>,
    descent: Option<Descent>,
    current: Option<StoredRecordsReversed>,
    finished: bool,
}

/// One segment on the way from its end to its front.
#[derive(Debug)]
struct Descent {
    segment: Arc<Segment>,
    handles: Arc<Handles>,
    gaps_allowed: bool,
    /// The range that is asked for.
    from: Offset,
    end: Offset,
    /// Parts that were not walked yet, the last one at the back. The last one reaches to `ceiling`.
    parts: Vec<Part>,
    ceiling: Position,
    /// What the part that was walked last holds and was not given yet, in the order of the file.
    marks: Vec<Mark>,
    /// Where the part that was walked last begins, and with which offset, if it could be read.
    bottom: Position,
    bottom_offset: Option<Offset>,
    /// Where the part that is walked next must end, if that is known.
    above: Option<Offset>,
    /// The base offset of the segment after this one, unless this is the last.
    next_base: Option<Offset>,
    window: Vec<u8>,
    window_start: Position,
}

/// A place at which a walk can begin.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: Position,
    /// No offset below comes behind it.
    due: Offset,
}

#[derive(Debug)]
struct Mark {
    part: Part,
    found: Found,
}

#[derive(Debug)]
enum Found {
    Batch(BatchHeader),
    Damage(Error),
}

impl RecordsReversed {
    pub(crate) fn new(
        core: Arc<Core>,
        from: Offset,
        end: Offset,
        up_to: ReadUpTo,
        skip_damaged: bool,
    ) -> RecordsReversed {
        RecordsReversed {
            generation: core.generation(),
            core,
            from,
            end,
            up_to,
            skip_damaged,
            given: end,
            upper: end,
            above: None,
            descent: None,
            current: None,
            finished: from >= end,
        }
    }

    /// Goes to the batch before. `Ok(false)` at the front.
    fn enter_batch(&mut self) -> Result<bool> {
        loop {
            if self.core.is_closed() {
                return Err(Error::Closed);
            }
            self.check_not_truncated()?;
            let Some(descent) = &mut self.descent else {
                if !self.enter_segment()? {
                    return Ok(false);
                }
                continue;
            };
            let Some(mark) = descent.marks.pop() else {
                if !descent.walk_next_part()? {
                    self.descent = None;
                }
                continue;
            };
            let due = mark.part.due;
            let batch = match mark.found {
                Found::Batch(header) => descent.read(mark.part.start, header, self.core.decode_limits()),
                Found::Damage(error) => Err(error),
            };
            let batch = batch.and_then(|batch| match batch.checksum() {
                Ok(()) => Ok(batch),
                Err(reason) => Err(batch.corrupt(reason)),
            });
            // What was cut off since, as after a failure, is no damage and no record.
            if matches!(batch, Err(Error::Corrupt { .. }))
                && (due >= self.core.end_for(self.up_to) || self.leave_if_outdated())
            {
                continue;
            }
            self.current = Some(batch?.into_reversed()?);
            return Ok(true);
        }
    }

    /// What was given and what would follow must be of one log: below a record given, a truncation makes room for others.
    fn check_not_truncated(&mut self) -> Result<()> {
        let generation = self.core.generation();
        if generation == self.generation {
            return Ok(());
        }
        if let Some(end) = self.core.truncated_below(self.given, self.generation) {
            if self.given < self.end {
                return Err(Error::Truncated { asked: self.given, end });
            }
            // Nothing was given yet, so that it begins anew, with what is there now.
            (self.upper, self.above, self.descent) = (self.end, None, None);
        }
        self.generation = generation;
        Ok(())
    }

    /// Leaves a segment that is not the log's any more, for the log was reopened or the segment deleted, to go on below
    /// the last record. What its old bytes look like says nothing.
    fn leave_if_outdated(&mut self) -> bool {
        if self.descent.as_ref().is_none_or(|descent| is_current(&self.core, &descent.segment)) {
            return false;
        }
        (self.end, self.upper, self.above) = (self.given, self.given, None);
        self.descent = None;
        true
    }

    /// Begins with the segment before the ones that were given.
    fn enter_segment(&mut self) -> Result<bool> {
        if self.upper <= self.from {
            return Ok(false);
        }
        let below = Offset::new(self.upper.value() - 1);
        let Some(segment) = self.core.floor_segment(below) else {
            // The segment was deleted after the range was checked.
            let (start, end) = (self.core.log_start(), self.core.log_end());
            return Err(Error::OffsetOutOfRange { asked: below, start, end });
        };
        let above = self.above;
        (self.upper, self.above) = (segment.base(), Some(segment.base()));
        let handles = match open_to_read(&self.core, &segment, below) {
            // It was cut off meanwhile: what is there now is looked for in the next round.
            Err(Error::OffsetOutOfRange { asked, start, .. }) if asked >= start => {
                (self.upper, self.above) = (below + 1, above);
                return Ok(true);
            }
            answer => answer?,
        };
        let gaps_allowed = self.core.gaps_allowed();
        let next_base = next_base(&self.core, &segment);
        self.descent = Some(Descent::new(segment, handles, gaps_allowed, self.from, self.end, above, next_base)?);
        Ok(true)
    }

    fn fail(&mut self, error: Error) -> Error {
        self.finished = !(self.skip_damaged && matches!(error, Error::Corrupt { .. }));
        error
    }
}

impl Iterator for RecordsReversed {
    type Item = Result<StoredRecord>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.current.as_mut().and_then(Iterator::next) {
                Some(record) if record.offset() >= self.end => continue,
                Some(record) if record.offset() >= self.from => {
                    self.given = record.offset();
                    return Some(Ok(record));
                }
                Some(_) => self.finished = true,
                None => {}
            }
            self.current = None;
            if self.finished {
                return None;
            }
            match self.enter_batch() {
                Ok(true) => {}
                Ok(false) => self.finished = true,
                Err(error) => return Some(Err(self.fail(error))),
            }
        }
    }
}

impl Descent {
    fn new(
        segment: Arc<Segment>,
        handles: Arc<Handles>,
        gaps_allowed: bool,
        from: Offset,
        end: Offset,
        above: Option<Offset>,
        next_base: Option<Offset>,
    ) -> Result<Descent> {
        let ceiling = segment.published();
        let mut descent = Descent {
            segment,
            handles,
            gaps_allowed,
            from,
            end,
            parts: Vec::new(),
            ceiling,
            marks: Vec::new(),
            bottom: ceiling,
            bottom_offset: Some(end),
            above,
            next_base,
            window: Vec::new(),
            window_start: ceiling,
        };
        descent.push_part_below(above.unwrap_or(end).min(end))?;
        Ok(descent)
    }

    /// Walks the part before those that were given. `false` if there is none that the range reaches.
    fn walk_next_part(&mut self) -> Result<bool> {
        if self.bottom_offset.is_some_and(|offset| offset <= self.from) {
            return Ok(false);
        }
        let Some(part) = self.parts.pop() else {
            if self.bottom == Position::ZERO {
                return Ok(false);
            }
            match self.bottom_offset {
                Some(offset) => self.push_part_below(offset)?,
                None => self.parts.push(self.front()),
            }
            return Ok(true);
        };
        self.walk_part(part)?;
        Ok(true)
    }

    /// Adds the part that holds the batch before `offset`, as the offset index knows it.
    fn push_part_below(&mut self, offset: Offset) -> Result<()> {
        let below = Offset::new(offset.value().saturating_sub(1));
        let start = self.segment.scan_towards(&self.handles, below)?.position();
        let part = if start < self.bottom { Part { start, due: self.segment.base() } } else { self.front() };
        self.parts.push(part);
        Ok(())
    }

    fn front(&self) -> Part {
        Part { start: Position::ZERO, due: self.segment.base() }
    }

    /// Notes what lies between the part's start and the ceiling. If that is too much, parts of it are added instead.
    fn walk_part(&mut self, part: Part) -> Result<()> {
        let scan = Scanner::new(Arc::clone(&self.handles.log), part.start, self.ceiling);
        let mut walk = Walk::new(scan, self.segment.base(), self.gaps_allowed);
        if part.start > Position::ZERO {
            walk.resume_at(part.start, part.due);
        }
        let mut marks = Marks::default();
        let mut first = None;
        while let Some(mark) = self.next_mark(&mut walk)? {
            if let Found::Batch(header) = &mark.found {
                if mark.part.start == part.start {
                    first = Some(first_offset(header));
                }
                // The range reaches no further down; what is wrong there is no concern of it.
                if first_offset(header) <= self.from {
                    marks = Marks::default();
                }
                if header.last_offset() < self.from {
                    continue;
                }
            }
            marks.push(mark);
        }
        if marks.stride > 1 {
            self.parts.extend(marks.kept.iter().map(|mark| mark.part));
            return Ok(());
        }
        if walk.position() == self.ceiling
            && let Some(error) = self.gap_above(&walk)
        {
            let part = Part { start: walk.position(), due: walk.due() };
            marks.kept.push(Mark { part, found: Found::Damage(error) });
        }
        self.marks = marks.kept;
        self.bottom = part.start;
        self.bottom_offset = first;
        self.ceiling = part.start;
        self.above = first;
        Ok(())
    }

    /// What comes next on a walk up to the ceiling.
    fn next_mark(&self, walk: &mut Walk) -> Result<Option<Mark>> {
        let part = Part { start: walk.position(), due: walk.due() };
        if part.due >= self.end {
            return Ok(None);
        }
        if let Some(known) = self.segment.damage_at(walk.position())
            && known.next_offset > walk.due()
        {
            let error = walk.scan().corrupt(known.reason);
            walk.resume_at(known.end, known.next_offset);
            return Ok(Some(Mark { part, found: Found::Damage(error) }));
        }
        match walk.peek() {
            // A later segment begins below its end, so that this is no end but a wrong offset.
            Ok(Some(header)) if self.next_base.is_some_and(|next| header.last_offset() >= next) => {
                let error = outside_segment(&self.segment, walk, &header);
                if !walk.step_over()? {
                    walk.resume_at(self.ceiling, walk.due());
                }
                Ok(Some(Mark { part, found: Found::Damage(error) }))
            }
            Ok(Some(header)) if first_offset(&header) >= self.end && !header.is_legacy() => Ok(None),
            Ok(Some(header)) => {
                walk.pass(&header);
                Ok(Some(Mark { part, found: Found::Batch(header) }))
            }
            Ok(None) => Ok(None),
            Err(error @ Error::Corrupt { .. }) => {
                // Room that a crashed writer allocated ahead is no damage, where the last batch ends at the next base.
                if self.above == Some(walk.due()) && !walk.is_after_unknown() && walk.stands_at_zeros(&error)? {
                    return Ok(None);
                }
                if !walk.step_over()? {
                    walk.resume_at(self.ceiling, walk.due());
                }
                Ok(Some(Mark { part, found: Found::Damage(error) }))
            }
            Err(error) => Err(error),
        }
    }

    /// Offsets that are missing between the end of a walk and what follows it.
    fn gap_above(&self, walk: &Walk) -> Option<Error> {
        let above = self.above?;
        let is_gap = !self.gaps_allowed && !walk.is_after_unknown() && walk.due() != above;
        is_gap.then(|| {
            let reason = Corruption::OffsetGap { found: above.to_disk(), expected: walk.due().to_disk() };
            walk.scan().corrupt(reason)
        })
    }

    /// Reads one batch, and ahead of it towards the front.
    fn read(&mut self, position: Position, header: BatchHeader, limits: DecodeLimits) -> Result<StoredBatch> {
        let end = position + header.size_bytes;
        let window_end = self.window_start + u64::try_from(self.window.len()).expect("it lies in memory");
        if position < self.window_start || end > window_end {
            let earliest = Position::new(end.value().saturating_sub(WINDOW_BYTES)).max(self.bottom);
            self.fill_window(earliest.min(position), end)?;
        }
        let from = usize::try_from(position - self.window_start).expect("it lies in memory");
        let size = usize::try_from(header.size_bytes).expect("a batch is smaller than 2^32 bytes");
        let path = self.handles.log.path();
        let Some(bytes) = self.window.get(from..from + size) else {
            let length = self.window_start.value() + u64::try_from(self.window.len()).expect("it lies in memory");
            return Err(Error::corrupt(path, position, Corruption::Shortened { length, durable: end.value() }));
        };
        let checksum = verify_crc(bytes, &header);
        Ok(StoredBatch::new(header, bytes.to_vec().into(), checksum, self.segment.base(), position, path, limits))
    }

    fn fill_window(&mut self, start: Position, end: Position) -> Result<()> {
        let wanted = usize::try_from(end - start).expect("it is a window's length, or a batch's");
        self.window.clear();
        self.window.resize(wanted, 0);
        self.window_start = start;
        let read = self.handles.log.read(&mut self.window, start)?;
        self.window.truncate(read);
        Ok(())
    }
}

/// Places in the order of the file; more and more of them are left out as they become too many.
#[derive(Debug)]
struct Marks {
    kept: Vec<Mark>,
    stride: usize,
    seen: usize,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks { kept: Vec::new(), stride: 1, seen: 0 }
    }
}

impl Marks {
    fn push(&mut self, mark: Mark) {
        if self.seen.is_multiple_of(self.stride) {
            if self.kept.len() == MOST_MARKS {
                self.stride *= 2;
                let mut number = 0;
                self.kept.retain(|_| {
                    number += 1;
                    number % 2 == 1
                });
            }
            if self.seen.is_multiple_of(self.stride) {
                self.kept.push(mark);
            }
        }
        self.seen += 1;
    }
}
