//! Walks the batches of one `.log` file from a position on, reading ahead.
//!
//! It says what stands where; it does not judge offsets, verify checksums or decide about damage. Batches that are taken
//! out of it share the chunk that they were read with. Invariants it owns: it never looks at a byte at or behind the end
//! it was given, and never holds more than one batch or one read-ahead chunk; a chunk that somebody still holds is never
//! written to, and at most one is kept alive by batches that are small parts of it.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Corruption, Error, Result};
use crate::offset::Position;
use crate::record::{BatchBytes, BatchHeader, HEADER_BYTES};

use super::file::LogFile;

/// What the first read of a scan fetches where nothing better is known: about one index interval, and what a scan that goes
/// on fetches next.
const FIRST_CHUNK_BYTES: usize = 8 << 10;
/// What a scan that goes on fetches at once.
const LARGEST_CHUNK_BYTES: usize = 256 << 10;
/// Chunks grow by this factor while batches are read one after the other.
const CHUNK_GROWTH: usize = 4;

/// A place in a `.log` file, and what was read ahead from there.
#[derive(Debug)]
pub(crate) struct Scanner {
    file: Arc<LogFile>,
    position: Position,
    end: Position,
    /// Room that was read into, once there is any; what counts of it is the first `filled` bytes. Shared with the batches
    /// taken out of it.
    buffer: Option<Arc<Vec<u8>>>,
    filled: usize,
    buffer_start: Position,
    chunk_bytes: usize,
    /// Batches were still held when the chunk behind theirs was read. From then on they are copied out, lest each holds
    /// a chunk.
    are_kept: bool,
    /// The header that was parsed last, and where it stands.
    parsed: Option<(Position, BatchHeader)>,
}

impl Scanner {
    /// A scan of the bytes `from..end`, which the file has.
    pub(crate) fn new(file: Arc<LogFile>, from: Position, end: Position) -> Scanner {
        Scanner {
            file,
            position: from,
            end,
            buffer: None,
            filled: 0,
            buffer_start: from,
            chunk_bytes: FIRST_CHUNK_BYTES,
            are_kept: false,
            parsed: None,
        }
    }

    /// The scan, whose first read fetches so many bytes, or less than usual where that would be a lot. Out of a map nothing
    /// need be fetched before it is asked for.
    pub(crate) fn fetching(mut self, bytes: u64) -> Scanner {
        let most = if self.file.is_mapped() { 0 } else { self.chunk_bytes };
        let wanted = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.chunk_bytes = if wanted > most { HEADER_BYTES } else { wanted.max(HEADER_BYTES) };
        self
    }

    /// The scan, where the header of its first batch is known.
    pub(crate) fn knowing(mut self, header: Option<BatchHeader>) -> Scanner {
        self.parsed = header.map(|header| (self.position, header));
        self
    }

    /// The header of the batch at the present position, if it was read already.
    pub(crate) fn known(&self) -> Option<BatchHeader> {
        self.parsed.filter(|(position, _)| *position == self.position).map(|(_, header)| header)
    }

    pub(crate) fn file(&self) -> &Arc<LogFile> {
        &self.file
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    pub(crate) fn end(&self) -> Position {
        self.end
    }

    /// Where what was read ends.
    pub(crate) fn read_end(&self) -> Position {
        self.buffer_start + u64::try_from(self.filled).expect("a buffer's length fits")
    }

    /// Lets the scan go on to a later end, for a file that grew.
    pub(crate) fn extend_to(&mut self, end: Position) {
        assert!(end >= self.end, "a scan's end never moves back");
        self.end = end;
    }

    /// The header of the batch at the present position; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if no whole batch can begin here, by its header alone.
    pub(crate) fn peek(&mut self) -> Result<Option<BatchHeader>> {
        let remaining = self.end - self.position;
        if remaining == 0 {
            return Ok(None);
        }
        let header = match self.known() {
            Some(header) => header,
            None => self.read_header(remaining)?,
        };
        if header.size_bytes > remaining {
            return Err(self.corrupt(Corruption::Truncated { needed: header.size_bytes, available: remaining }));
        }
        self.parsed = Some((self.position, header));
        Ok(Some(header))
    }

    /// Out of a map, or out of what was read ahead.
    #[inline]
    fn read_header(&mut self, remaining: u64) -> Result<BatchHeader> {
        let wanted = usize::try_from(remaining).unwrap_or(usize::MAX).min(HEADER_BYTES);
        if self.file.is_mapped() && !self.has_read(wanted) {
            let mut mapped = [0; HEADER_BYTES];
            if self.file.copy_from_map(&mut mapped[..wanted], self.position) {
                return BatchHeader::parse(&mapped[..wanted]).map_err(|reason| self.corrupt(reason));
            }
        }
        BatchHeader::parse(self.bytes(wanted)?).map_err(|reason| self.corrupt(reason))
    }

    /// All bytes of the batch whose header [`Scanner::peek`] gave.
    pub(crate) fn batch(&mut self, header: &BatchHeader) -> Result<&[u8]> {
        let size = usize::try_from(header.size_bytes).expect("a batch is smaller than 2^32 bytes");
        self.bytes(size)
    }

    /// As [`Scanner::batch`], to be kept for any time.
    pub(crate) fn shared_batch(&mut self, header: &BatchHeader) -> Result<BatchBytes> {
        let size = self.batch(header)?.len();
        let start = self.offset_in_buffer().unwrap_or(0);
        match self.buffer.as_ref().and_then(|buffer| BatchBytes::part(buffer, start..start + size)) {
            Some(bytes) if !self.are_kept => Ok(bytes),
            _ => Ok(self.batch(header)?.to_vec().into()),
        }
    }

    /// Goes on behind a batch.
    pub(crate) fn skip(&mut self, header: &BatchHeader) {
        self.skip_to(self.position + header.size_bytes);
    }

    /// Goes on at a later position.
    pub(crate) fn skip_to(&mut self, position: Position) {
        assert!(position >= self.position && position <= self.end, "a scan goes forward, within its end");
        self.position = position;
    }

    /// Names the file and the present position.
    pub(crate) fn corrupt(&self, reason: Corruption) -> Error {
        Error::corrupt(self.file.path(), self.position, reason)
    }

    /// The `wanted` bytes at the present position, which lie before the end.
    fn bytes(&mut self, wanted: usize) -> Result<&[u8]> {
        let mut start = self.offset_in_buffer();
        if start.is_none_or(|start| self.filled - start < wanted) {
            self.fill(wanted)?;
            start = Some(0);
        }
        let start = start.unwrap_or(0);
        match self.read_ahead().get(start..start + wanted) {
            Some(bytes) => Ok(bytes),
            None => Err(self.shortened()),
        }
    }

    /// Whether so many bytes at the present position were read already.
    fn has_read(&self, wanted: usize) -> bool {
        self.offset_in_buffer().is_some_and(|start| self.filled - start >= wanted)
    }

    fn read_ahead(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[..self.filled])
    }

    fn offset_in_buffer(&self) -> Option<usize> {
        let ahead = self.position.value().checked_sub(self.buffer_start.value())?;
        usize::try_from(ahead).ok().filter(|&ahead| ahead <= self.filled)
    }

    /// Reads a chunk that begins at the present position. What of it was read already is kept, not read again.
    fn fill(&mut self, wanted: usize) -> Result<()> {
        let start = self.offset_in_buffer();
        if start.is_some() && self.filled > 0 {
            self.chunk_bytes = (self.chunk_bytes * CHUNK_GROWTH).clamp(FIRST_CHUNK_BYTES, LARGEST_CHUNK_BYTES);
        }
        let known = start.unwrap_or(self.filled)..self.filled;
        let remaining = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let target = self.chunk_bytes.max(wanted).min(remaining);
        let keeps_large = wanted > LARGEST_CHUNK_BYTES;
        self.make_room(known.clone(), target, keeps_large);
        self.filled = known.len();
        self.buffer_start = self.position;
        if target > self.filled {
            let from = self.position + u64::try_from(self.filled).expect("a buffer's length fits");
            // Counted only once it is there: after a failed read the room behind holds nothing.
            let buffer = self.buffer.as_mut().and_then(Arc::get_mut).expect("nobody else has it yet");
            self.filled += self.file.read(&mut buffer[self.filled..target], from)?;
        }
        Ok(())
    }

    /// Gets room for `target` bytes, with those that are known in front. Room that somebody holds a part of is left to him,
    /// and what was made for a large batch is given up with it.
    fn make_room(&mut self, known: Range<usize>, target: usize, keeps_large: bool) {
        if let Some(buffer) = &mut self.buffer {
            match Arc::get_mut(buffer) {
                Some(room) if keeps_large || room.len() <= 4 * LARGEST_CHUNK_BYTES => {
                    room.copy_within(known, 0);
                    if room.len() < target {
                        room.resize(target, 0);
                    }
                    return;
                }
                held => self.are_kept |= held.is_none(),
            }
        }
        let mut fresh = vec![0; target.max(known.len())];
        fresh[..known.len()].copy_from_slice(&self.read_ahead()[known]);
        self.buffer = Some(Arc::new(fresh));
    }

    /// The file ends before the bytes that it is known to have.
    fn shortened(&self) -> Error {
        self.corrupt(Corruption::Shortened { length: self.read_end().value(), durable: self.end.value() })
    }
}
