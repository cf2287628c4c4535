//! Records that own what they point at, and the iterators that give them.
//!
//! A [`StoredRecord`] shares its decoded batch with its neighbours, so that handing one out copies and allocates
//! nothing. The price is that one kept record keeps its whole batch in memory, and with the first that is kept what was
//! read together with it. Counting who shares it costs more than finding the record does; whoever needs a record for a
//! moment only borrows it, and nothing is counted.

use std::fmt;
use std::sync::Arc;

use super::borrowed::Record;
use super::control::{self, ControlType};
use super::decode::{Cursor, DecodedBatch, HeadersIter, RecordRef};
use super::slot::Slot;
use crate::error::Corruption;
use crate::offset::{Offset, Timestamp};

/// A record read from a log. It owns its bytes, together with the other records of its batch.
#[derive(Clone)]
pub struct StoredRecord {
    batch: Arc<DecodedBatch>,
    slot: Slot,
}

impl StoredRecord {
    /// The record's offset.
    #[must_use]
    #[inline]
    pub fn offset(&self) -> Offset {
        self.as_ref().offset()
    }

    /// The record's create time, or the time at which the log took it, as its batch says; there may be none.
    #[must_use]
    #[inline]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.as_ref().timestamp()
    }

    /// The key; `None` is null, which is not the same as empty.
    #[must_use]
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        self.as_ref().key()
    }

    /// The value; `None` is null, which is not the same as empty.
    #[must_use]
    #[inline]
    pub fn value(&self) -> Option<&[u8]> {
        self.as_ref().value()
    }

    /// The headers in their order.
    #[must_use]
    #[inline]
    pub fn headers(&self) -> HeadersIter<'_> {
        self.as_ref().headers()
    }

    /// The leader epoch of the record's batch, where it has one.
    #[must_use]
    pub fn leader_epoch(&self) -> Option<i32> {
        let epoch = self.batch.header().leader_epoch;
        (epoch >= 0).then_some(epoch)
    }

    /// What a control record says, and `None` for a record of data.
    #[must_use]
    pub fn control_type(&self) -> Option<ControlType> {
        if !self.batch.header().is_control() {
            return None;
        }
        Some(control::type_of_key(self.key()).unwrap_or(ControlType::Unknown(-1)))
    }

    /// The record as one that can be appended, with its timestamp; nothing is copied.
    #[must_use]
    pub fn as_record(&self) -> Record<'_> {
        self.as_ref().as_record()
    }

    /// The batch that the record lies in.
    #[allow(dead_code, reason = "fuzz targets ask this")]
    pub(crate) fn batch(&self) -> &Arc<DecodedBatch> {
        &self.batch
    }

    #[inline]
    fn as_ref(&self) -> RecordRef<'_> {
        RecordRef::new(self.batch.region(), self.batch.header(), self.slot)
    }
}

/// As a caller sees them: offset, timestamp, key, value and headers, whichever batches they lie in.
impl PartialEq for StoredRecord {
    fn eq(&self, other: &StoredRecord) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for StoredRecord {}

impl fmt::Debug for StoredRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// The records of one batch from an offset on, each owning its share of the batch.
#[derive(Clone, Debug)]
pub(crate) struct StoredRecords {
    batch: Arc<DecodedBatch>,
    cursor: Cursor,
    /// As the format writes offsets: no record with a lower one is given.
    from: i64,
}

impl StoredRecords {
    /// Begins at the first record with offset `from` or above.
    pub(crate) fn new(batch: Arc<DecodedBatch>, from: Offset) -> StoredRecords {
        StoredRecords { batch, cursor: Cursor::default(), from: lowest(from) }
    }

    /// Passes over what lies below `from`; a place already reached is kept.
    #[allow(dead_code, reason = "following a log asks this")]
    pub(crate) fn skip_to(&mut self, from: Offset) {
        self.from = self.from.max(lowest(from));
    }

    /// The batch whose records these are.
    #[allow(dead_code, reason = "fuzz targets ask this")]
    pub(crate) fn batch(&self) -> &Arc<DecodedBatch> {
        &self.batch
    }
}

impl StoredRecords {
    /// Where the next record lies, for [`StoredRecords::borrowed`] or [`StoredRecords::owned`].
    #[inline]
    pub(crate) fn next_slot(&mut self) -> Option<Result<Slot, Corruption>> {
        loop {
            match self.cursor.next(self.batch.frame(), self.batch.region())? {
                Ok(slot) if slot.offset < self.from => {}
                answer => return Some(answer),
            }
        }
    }

    /// As [`StoredRecords::next_slot`], where the next record is of the usual kind and lies in the range up to `end`; else
    /// nothing changes.
    #[inline(always)]
    pub(crate) fn next_plain_slot(&mut self, end: Offset) -> Option<Slot> {
        let mut cursor = self.cursor;
        let slot = cursor.next_plain(self.batch.frame(), self.batch.region())?;
        if slot.offset < self.from || !slot.is_below(end) {
            return None;
        }
        self.cursor = cursor;
        Some(slot)
    }

    /// A record without counting an owner of its batch.
    #[inline]
    pub(crate) fn borrowed(&self, slot: Slot) -> RecordRef<'_> {
        RecordRef::new(self.batch.region(), self.batch.header(), slot)
    }

    /// A record that keeps its batch.
    #[inline]
    pub(crate) fn owned(&self, slot: Slot) -> StoredRecord {
        StoredRecord { batch: Arc::clone(&self.batch), slot }
    }
}

impl Iterator for StoredRecords {
    type Item = Result<StoredRecord, Corruption>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let slot = self.next_slot()?;
        Some(slot.map(|slot| self.owned(slot)))
    }
}

/// An offset as the format writes it; above all that it can write, no record has one.
fn lowest(from: Offset) -> i64 {
    i64::try_from(from.value()).unwrap_or(i64::MAX)
}

/// The records of one batch, the last one first.
#[derive(Clone, Debug)]
pub(crate) struct StoredRecordsReversed {
    batch: Arc<DecodedBatch>,
    slots: Vec<Slot>,
}

impl StoredRecordsReversed {
    /// Parses the whole batch, as its last record cannot be found otherwise.
    pub(crate) fn new(batch: Arc<DecodedBatch>) -> Result<StoredRecordsReversed, Corruption> {
        let mut slots = Vec::with_capacity(batch.frame().most_records(batch.region()));
        let mut cursor = Cursor::default();
        while let Some(slot) = cursor.next(batch.frame(), batch.region()) {
            slots.push(slot?);
        }
        Ok(StoredRecordsReversed { batch, slots })
    }
}

impl Iterator for StoredRecordsReversed {
    type Item = StoredRecord;

    fn next(&mut self) -> Option<StoredRecord> {
        let slot = self.slots.pop()?;
        Some(StoredRecord { batch: Arc::clone(&self.batch), slot })
    }
}
