//! Walks the batches in one range of one `.log` file and judges them: lengths, offsets, checksums.
//!
//! It knows one file only: what was found damaged when the log was opened, what the next segment holds and how to go
//! on are the caller's business. The invariant it owns: a batch that it calls sound was read whole, has the checksum
//! of its bytes, and lies in order behind the batch before it.

use std::sync::Arc;

use crate::error::{Corruption, Error, Result};
use crate::offset::{Offset, Position};
use crate::record::{BatchHeader, DecodeLimits, verify_crc};
use crate::segment::{MAX_RELATIVE_OFFSET, Scanner};

use super::batch::StoredBatch;

/// A batch's offset field and its length field, at the front of every format.
const FRAMING_BYTES: usize = 12;
/// The fewest zero bytes that the parser of headers knows as such.
const RECOGNIZED_ZEROS: usize = 17;

/// A place between two batches, and what is due there.
#[derive(Debug)]
pub(crate) struct Walk {
    scan: Scanner,
    segment: Offset,
    /// No offset below may follow.
    due: Offset,
    gaps_allowed: bool,
    /// The next batch may leave a gap all the same: nobody knows what stood before it.
    after_unknown: bool,
}

impl Walk {
    /// A walk over what `scan` covers, in the segment with this base offset.
    pub(crate) fn new(scan: Scanner, segment: Offset, gaps_allowed: bool) -> Walk {
        let after_unknown = scan.position() > Position::ZERO;
        Walk { scan, segment, due: segment, gaps_allowed, after_unknown }
    }

    pub(crate) fn scan(&self) -> &Scanner {
        &self.scan
    }

    pub(crate) fn position(&self) -> Position {
        self.scan.position()
    }

    /// The offset behind the last batch that was passed: no batch that follows begins below it.
    pub(crate) fn due(&self) -> Offset {
        self.due
    }

    /// Whether what lies before this place is unknown, so that offsets may be missing here.
    pub(crate) fn is_after_unknown(&self) -> bool {
        self.after_unknown
    }

    /// Goes on to a later end, for a file that grew.
    pub(crate) fn extend_to(&mut self, end: Position) {
        self.scan.extend_to(end);
    }

    /// The header of the batch at this place, its offsets judged and its checksum not; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if no batch can begin here, or not this one.
    pub(crate) fn peek(&mut self) -> Result<Option<BatchHeader>> {
        let Some(header) = self.scan.peek()? else { return Ok(None) };
        self.judge(&header).map_err(|reason| self.scan.corrupt(reason))?;
        Ok(Some(header))
    }

    /// Goes behind a batch that [`Walk::peek`] gave.
    pub(crate) fn pass(&mut self, header: &BatchHeader) {
        self.scan.skip(header);
        self.due = header.next_offset();
        self.after_unknown = false;
    }

    /// Reads the batch of a header that [`Walk::peek`] gave, and goes behind it if its checksum is right.
    pub(crate) fn take(&mut self, header: BatchHeader, limits: DecodeLimits) -> Result<StoredBatch> {
        let position = self.scan.position();
        let bytes = self.scan.shared_batch(&header)?;
        let checksum = verify_crc(&bytes, &header);
        if checksum.is_ok() {
            self.pass(&header);
        }
        let path = self.scan.file().path();
        Ok(StoredBatch::new(header, bytes, checksum, self.segment, position, path, limits))
    }

    /// Goes on at a batch behind damage whose end is known.
    pub(crate) fn resume_at(&mut self, position: Position, due: Offset) {
        self.scan.skip_to(position.max(self.scan.position()).min(self.scan.end()));
        self.due = self.due.max(due);
        self.after_unknown = true;
    }

    /// Goes behind the damaged batch at this place, if its length field leads to the end, or to a header that may
    /// follow. Else stays, and says `false`.
    pub(crate) fn step_over(&mut self) -> Result<bool> {
        self.step_over_within(self.scan.end())
    }

    /// As [`Walk::step_over`], but not beyond `limit`.
    pub(crate) fn step_over_within(&mut self, limit: Position) -> Result<bool> {
        if self.position() == self.scan.end() {
            return Ok(false);
        }
        let Some(behind) = self.claimed_end()?.filter(|&behind| behind <= limit) else { return Ok(false) };
        let may_follow = |header: BatchHeader| first_offset(&header) >= self.due;
        if behind < self.scan.end() && !self.probe(behind)?.is_some_and(may_follow) {
            return Ok(false);
        }
        self.resume_at(behind, self.due);
        Ok(true)
    }

    /// Goes behind a batch that is damaged, if what follows it by its own account shows that it ended below `offset`.
    pub(crate) fn step_over_below(&mut self, offset: Offset) -> Result<bool> {
        let Some(behind) = self.claimed_end()? else { return Ok(false) };
        match self.probe(behind)? {
            Some(header) if header.base_offset().is_some_and(|first| self.due <= first && first <= offset) => {
                self.resume_at(behind, self.due);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Whether zeros stand here, of which the parser said `error`.
    pub(crate) fn stands_at_zeros(&self, error: &Error) -> Result<bool> {
        if matches!(error, Error::Corrupt { reason: Corruption::Zeros, .. }) {
            return Ok(true);
        }
        let remaining = usize::try_from(self.scan.end() - self.position()).unwrap_or(usize::MAX);
        let mut bytes = [0; RECOGNIZED_ZEROS];
        let Some(rest) = bytes.get_mut(..remaining) else { return Ok(false) };
        self.scan.file().read(rest, self.position())?;
        Ok(rest.iter().all(|&byte| byte == 0))
    }

    fn judge(&self, header: &BatchHeader) -> std::result::Result<(), Corruption> {
        let first = first_offset(header);
        if first < self.due {
            return Err(Corruption::OffsetBelowExpected { found: first.to_disk(), expected: self.due.to_disk() });
        }
        // Where a batch of an old format begins is known only after unfolding it.
        let may_leave_a_gap = self.gaps_allowed || self.after_unknown || header.is_legacy();
        if first > self.due && !may_leave_a_gap {
            return Err(Corruption::OffsetGap { found: first.to_disk(), expected: self.due.to_disk() });
        }
        let last = header.last_offset();
        if last.checked_distance(self.segment).is_none_or(|above| above > MAX_RELATIVE_OFFSET) {
            return Err(Corruption::OffsetOutsideSegment { found: last.to_disk(), base: self.segment.to_disk() });
        }
        Ok(())
    }

    /// Where the batch at this place ends by its own account, if that lies in the file. Its header may be unreadable
    /// otherwise.
    fn claimed_end(&self) -> Result<Option<Position>> {
        let mut framing = [0; FRAMING_BYTES];
        let read = self.scan.file().read(&mut framing, self.position())?;
        if read < FRAMING_BYTES {
            return Ok(None);
        }
        let [.., a, b, c, d] = framing;
        let Ok(length @ 1..) = u32::try_from(i32::from_be_bytes([a, b, c, d])) else { return Ok(None) };
        let end = self.position() + u64::from(length) + FRAMING_BYTES as u64;
        Ok((end <= self.scan.end()).then_some(end))
    }

    /// The header that stands at a later position, if one does.
    fn probe(&self, position: Position) -> Result<Option<BatchHeader>> {
        let mut probe = Scanner::new(Arc::clone(self.scan.file()), position, self.scan.end());
        match probe.peek() {
            Err(Error::Corrupt { .. }) => Ok(None),
            answer => answer,
        }
    }
}

/// The first offset of a batch as far as its header tells: of a batch of an old format, the last one.
pub(crate) fn first_offset(header: &BatchHeader) -> Offset {
    header.base_offset().unwrap_or(header.last_offset())
}
