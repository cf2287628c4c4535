//! A range of whole batches in one segment: to be iterated, or sent to a socket without a copy through this process.
//!
//! It knows neither the log it came from nor what happens to it afterwards. The invariant it owns: a slice pins its
//! file, so that it reads the same bytes after the segment was deleted and after the log was closed; and it begins and
//! ends at a batch.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::error::{Corruption, Error, IoOp, Result};
use crate::offset::{Offset, Position};
use crate::record::{DecodeLimits, RecordRef, Slot, StoredRecord};
use crate::segment::{LogFile, Scanner};

mod batch;
mod received;
mod walk;

pub(crate) use batch::SharedRecords;
pub use batch::{BatchRecords, StoredBatch};
pub use received::ReceivedBatches;
pub(crate) use walk::{Walk, first_offset};

/// The `errno` of a descriptor that is not open for what is asked (`EBADF`).
const NOT_OPEN_FOR_WRITING: i32 = 9;

/// Whole batches of one segment, the first of which holds the offset that was asked for. Cheap to clone, and made
/// without reading the batches.
///
/// It keeps its file open: deleting the segment or closing the log takes nothing away from it.
#[derive(Clone, Debug)]
pub struct LogSlice {
    /// `None` where there is nothing to read.
    range: Option<FileRange>,
    asked: Offset,
    next_offset: Offset,
}

/// Which bytes, and what must be known to read them.
#[derive(Clone, Debug)]
pub(crate) struct FileRange {
    pub(crate) file: Arc<LogFile>,
    /// The base offset of the segment.
    pub(crate) segment: Offset,
    pub(crate) start: Position,
    pub(crate) end: Position,
    pub(crate) gaps_allowed: bool,
    pub(crate) limits: DecodeLimits,
}

/// How much was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// Bytes that the receiver took in this call.
    pub bytes: u64,
    /// Whether the receiver, which does not block, takes no more for now.
    pub would_block: bool,
}

impl LogSlice {
    /// A slice without a batch, behind which reading goes on at `next_offset`.
    pub(crate) fn empty(asked: Offset, next_offset: Offset) -> LogSlice {
        LogSlice { range: None, asked, next_offset }
    }

    pub(crate) fn new(range: FileRange, asked: Offset, next_offset: Offset) -> LogSlice {
        assert!(range.start < range.end, "a slice with a range holds a batch");
        LogSlice { range: Some(range), asked, next_offset }
    }

    /// The records from the offset that was asked for to the end of the slice, markers included. Checksums are
    /// verified; after an error the iterator is finished.
    #[must_use]
    pub fn records(&self) -> SliceRecords {
        SliceRecords { batches: self.batches(), current: None, from: self.asked }
    }

    /// The batches. One whose checksum is wrong is given as it is, and then the error; after an error the iterator is
    /// finished.
    #[must_use]
    pub fn batches(&self) -> SliceBatches {
        SliceBatches {
            walk: self.range.as_ref().map(|range| {
                let scan = Scanner::new(Arc::clone(&range.file), range.start, range.end);
                (Walk::new(scan, range.segment, range.gaps_allowed), range.limits)
            }),
            pending: None,
        }
    }

    /// Sends the stored bytes with `sendfile`. Waits for a receiver that blocks, until all is sent; with one that does
    /// not, stops where it takes no more: [`LogSlice::send_to_from`] goes on there.
    ///
    /// The receiver gets these bytes, whatever becomes of the log meanwhile: a truncation leaves the file to those who
    /// read it, and a deletion takes its name only. That holds for this process's own truncations.
    ///
    /// Where the receiver has gone, the kernel raises SIGPIPE, as for any write to a closed socket. Rust's runtime
    /// ignores that signal; a host program in another language may have to.
    ///
    /// # Errors
    /// [`Error::PeerClosed`] if the receiver closed its end, [`Error::ReceiverRefused`] for one that the system sends
    /// nothing to, such as a file that is open for appending, [`Error::Corrupt`] if the file is shorter than it was,
    /// [`Error::Io`] if the system refuses otherwise. Some bytes may have been sent before an error.
    pub fn send_to(&self, receiver: impl AsFd) -> Result<Sent> {
        self.send_to_from(receiver, 0)
    }

    /// Sends as [`LogSlice::send_to`] does, but from so many bytes behind the slice's beginning, where a receiver that
    /// does not block had enough. [`Sent::bytes`] counts what this call sent. From the slice's end on there is nothing
    /// to send, which is no error.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::io::Read;
    /// # let dir = tempfile::tempdir()?;
    /// # let log = kstore::Log::open(dir.path().join("log"), kstore::LogConfig::default())?;
    /// # let appended = log.append(&[kstore::Record::value(&vec![0; 1 << 20])])?;
    /// # let (socket, mut peer) = std::os::unix::net::UnixStream::pair()?;
    /// # socket.set_nonblocking(true)?;
    /// let slice = log.read(appended.base_offset(), 1 << 20)?;
    /// let mut sent_bytes = 0;
    /// while sent_bytes < slice.size_bytes() {
    ///     let sent = slice.send_to_from(&socket, sent_bytes)?;
    ///     sent_bytes += sent.bytes;
    ///     if sent.would_block {
    ///         // Others have their turn, until the socket takes more.
    /// #       peer.read_exact(&mut vec![0; usize::try_from(sent.bytes)?])?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`LogSlice::send_to`].
    pub fn send_to_from(&self, receiver: impl AsFd, skip_bytes: u64) -> Result<Sent> {
        let nothing = Sent { bytes: 0, would_block: false };
        let Some(range) = self.range.as_ref().filter(|range| skip_bytes < range.end - range.start) else {
            return Ok(nothing);
        };
        let receiver = receiver.as_fd();
        let from = range.start + skip_bytes;
        let mut at = from;
        while at < range.end {
            // Where a length exceeds what one call can move, the call is short.
            let wanted = usize::try_from(range.end - at).unwrap_or(usize::MAX);
            match range.file.send(receiver, at, wanted) {
                Ok(0) => {
                    let reason = Corruption::Shortened { length: at.value(), durable: range.end.value() };
                    return Err(Error::corrupt(range.file.path(), at, reason));
                }
                Ok(moved) => at += u64::try_from(moved).expect("lengths in memory fit 64 bits"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Sent { bytes: at - from, would_block: true });
                }
                Err(error) => return Err(refusal(&error, range)),
            }
        }
        Ok(Sent { bytes: at - from, ..nothing })
    }

    /// The file, where in it the slice begins, and how many bytes it has: for sending by other means, such as TLS in
    /// the kernel or io_uring. `None` for a slice without a batch, and for a log in memory, which has no file.
    ///
    /// The bytes stay as they are for as long as the slice, a clone of it, or a descriptor made of this one lives, and
    /// for what is on its way to a receiver also longer. The descriptor is the log's own: read from it, and nothing else.
    #[must_use]
    pub fn as_parts(&self) -> Option<(BorrowedFd<'_>, u64, u64)> {
        let range = self.range.as_ref()?;
        let file = range.file.hand_out(range.end)?;
        Some((file, range.start.value(), range.end - range.start))
    }

    /// Size of the stored batches in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.range.as_ref().map_or(0, |range| range.end - range.start)
    }

    /// Where the next read goes on: behind the last batch of the slice. Of an empty slice, where a batch may come.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Whether there is nothing to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_none()
    }
}

/// What it means that a receiver takes nothing.
fn refusal(error: &std::io::Error, range: &FileRange) -> Error {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Error::PeerClosed,
        ErrorKind::InvalidInput | ErrorKind::NotConnected => Error::receiver_refused(error),
        _ if error.raw_os_error() == Some(NOT_OPEN_FOR_WRITING) => Error::receiver_refused(error),
        _ => Error::io(IoOp::Send, range.file.path(), error),
    }
}

/// The batches of a [`LogSlice`].
#[derive(Debug)]
pub struct SliceBatches {
    /// `None` at the end, and behind an error.
    walk: Option<(Walk, DecodeLimits)>,
    /// What is wrong with the batch that was just given.
    pending: Option<Error>,
}

impl SliceBatches {
    fn advance(&mut self) -> Result<Option<StoredBatch>> {
        if let Some(error) = self.pending.take() {
            return Err(error);
        }
        let Some((walk, limits)) = &mut self.walk else { return Ok(None) };
        let Some(header) = walk.peek()? else { return Ok(None) };
        let batch = walk.take(header, *limits)?;
        self.pending = batch.checksum().err().map(|reason| batch.corrupt(reason));
        Ok(Some(batch))
    }
}

impl Iterator for SliceBatches {
    type Item = Result<StoredBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.advance();
        if !matches!(batch, Ok(Some(_))) {
            self.walk = None;
        }
        batch.transpose()
    }
}

/// The records of a [`LogSlice`]. Each owns its bytes, together with the other records of its batch.
#[derive(Debug)]
pub struct SliceRecords {
    batches: SliceBatches,
    current: Option<SharedRecords>,
    from: Offset,
}

impl SliceRecords {
    /// The next record, lent until the next call; see [`Records::next_ref`](crate::Records::next_ref).
    ///
    /// # Errors
    /// As the iterator gives them.
    #[inline]
    pub fn next_ref(&mut self) -> Option<Result<RecordRef<'_>>> {
        let slot = match self.next_plain_slot() {
            Some(slot) => slot,
            None => match self.search_slot()? {
                Ok(slot) => slot,
                Err(error) => return Some(Err(error)),
            },
        };
        self.current.as_ref().map(|current| Ok(current.borrowed(slot)))
    }

    /// The next record, if it is one of the usual kind in the present batch; else nothing changes.
    #[inline(always)]
    fn next_plain_slot(&mut self) -> Option<Slot> {
        self.current.as_mut()?.next_plain_slot(Offset::MAX)
    }

    /// The next record where it takes more than a look into the present batch.
    #[inline(never)]
    fn search_slot(&mut self) -> Option<Result<Slot>> {
        loop {
            match self.current.as_mut().and_then(SharedRecords::next_slot) {
                Some(Ok(slot)) => return Some(Ok(slot)),
                Some(Err(error)) => return Some(Err(self.fail(error))),
                None => {}
            }
            match self.enter_batch() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(self.fail(error))),
            }
        }
    }

    /// Goes to the next batch. `Ok(false)` at the end.
    fn enter_batch(&mut self) -> Result<bool> {
        self.current = None;
        while let Some(batch) = self.batches.next().transpose()? {
            // What is wrong with it comes next.
            if batch.checksum().is_ok() {
                self.current = Some(batch.into_records(self.from)?);
                return Ok(true);
            }
        }
        Ok(false)
    }

    #[cold]
    fn fail(&mut self, error: Error) -> Error {
        self.current = None;
        self.batches = SliceBatches { walk: None, pending: None };
        error
    }
}

impl Iterator for SliceRecords {
    type Item = Result<StoredRecord>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let slot = match self.next_plain_slot() {
            Some(slot) => slot,
            None => match self.search_slot()? {
                Ok(slot) => slot,
                Err(error) => return Some(Err(error)),
            },
        };
        self.current.as_ref().map(|current| Ok(current.owned(slot)))
    }
}
