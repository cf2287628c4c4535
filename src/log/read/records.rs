//! The records and the batches of a log from its front to its back, as iterators that own what they need.
//!
//! Finding, reading and judging batches is the cursor's work. The invariant it owns: exactly the records of the asked
//! range are given, in order, each batch being read, checked and unfolded once.

use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::record::{RecordRef, Slot, StoredRecord};
use crate::slice::{SharedRecords, StoredBatch};

use super::cursor::Cursor;

/// The records of a range of a log, the first one first: what `records` of a log or a [`Reader`](crate::log::Reader) gives.
///
/// It ends where the log ended when it was made. Control records, which mark the end of transactions, are among
/// them: [`StoredRecord::control_type`] tells. After an error it is finished, unless its reader skips damage. Once
/// the log is closed, it gives the rest of the batch that it is in, and then [`Error::Closed`](crate::error::Error::Closed).
///
/// A loop that is done with each record before the next goes faster by [`Records::next_ref`].
#[derive(Debug)]
pub struct Records {
    cursor: Cursor,
    current: Option<SharedRecords>,
    end: Offset,
    skip_damaged: bool,
    finished: bool,
}

impl Records {
    pub(crate) fn new(cursor: Cursor, end: Offset, skip_damaged: bool) -> Records {
        Records { cursor, current: None, end, skip_damaged, finished: false }
    }

    /// The next record, lent until the next call: faster than the iterator, each of whose records counts as an owner of
    /// its batch. One that is to be kept longer is copied, or asked of the iterator; the two may take turns.
    ///
    /// ```
    /// # use kstore::{Log, LogConfig, Record};
    /// # fn main() -> kstore::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a temporary folder");
    /// # let log = Log::open(dir.path().join("log"), LogConfig::default())?;
    /// # log.append(&[Record::value("seven")])?;
    /// let mut records = log.records(..)?;
    /// let mut value_bytes = 0;
    /// while let Some(record) = records.next_ref() {
    ///     value_bytes += record?.value().map_or(0, <[u8]>::len);
    /// }
    /// assert_eq!(value_bytes, 5);
    /// # Ok(())
    /// # }
    /// ```
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

    /// The next record, if it is one of the usual kind in the present batch; else nothing changes. Who asks for a record
    /// asks this first and by itself: as one answer with [`Records::search_slot`]'s, a record took half as long again.
    #[inline(always)]
    fn next_plain_slot(&mut self) -> Option<Slot> {
        self.current.as_mut()?.next_plain_slot(self.end)
    }

    /// The next record where it takes more than a look into the present batch.
    #[inline(never)]
    fn search_slot(&mut self) -> Option<Result<Slot>> {
        loop {
            match self.current.as_mut().and_then(SharedRecords::next_slot) {
                Some(Ok(slot)) if slot.is_below(self.end) => return Some(Ok(slot)),
                Some(Err(error)) => return Some(Err(self.fail(error))),
                Some(Ok(_)) => self.finished = true,
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
        while !self.finished {
            let Some(batch) = self.cursor.next_batch().transpose()? else {
                self.finished = true;
                break;
            };
            // What is wrong with it comes next.
            if batch.checksum().is_ok() {
                self.current = Some(batch.into_records(self.cursor.from())?);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What is wrong with the records of one batch ends the iteration too, unless damage is skipped.
    #[cold]
    fn fail(&mut self, error: Error) -> Error {
        self.current = None;
        self.finished = !(self.skip_damaged && matches!(error, Error::Corrupt { .. }));
        error
    }
}

impl Iterator for Records {
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

/// The batches of a range of a log: all that hold an offset of the range, or would.
///
/// A batch whose checksum is wrong, or whose records are not what its header says, is given as it is, for
/// [`StoredBatch::verify`] to tell; where the checksum is wrong, the error comes next. After an error it is finished,
/// unless its reader skips damage. Once the log is closed, it gives [`Error::Closed`](crate::error::Error::Closed).
#[derive(Debug)]
pub struct Batches {
    cursor: Cursor,
    /// No batch that reaches beyond is given.
    limit: Option<Offset>,
}

impl Batches {
    pub(crate) fn new(cursor: Cursor, limit: Option<Offset>) -> Batches {
        Batches { cursor, limit }
    }
}

impl Iterator for Batches {
    type Item = Result<StoredBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.cursor.next_batch()?;
        let reaches_beyond = |end| batch.as_ref().is_ok_and(|batch| batch.next_offset() > end);
        if self.limit.is_some_and(reaches_beyond) { None } else { Some(batch) }
    }
}
