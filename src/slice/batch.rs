//! A batch as it is stored: its bytes, its header, and where it was found.
//!
//! It was read whole before it was made; nothing here touches a file. The invariant it owns: its checksum is computed
//! once, and no record is given out of a batch whose checksum is wrong.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::error::{Corruption, Error, Result};
use crate::offset::{Offset, Position, Timestamp};
use crate::record::{
    BatchBytes, BatchHeader, Compression, DecodeLimits, DecodedBatch, HEADER_BYTES, RecordRef, RecordRefs, Slot,
    StoredRecord, StoredRecords, StoredRecordsReversed, TimestampType,
};

/// A record batch read from a log, with its bytes as they are stored and the place where they lie.
///
/// Its [`records`](StoredBatch::records) borrow from it, which makes them the fastest way to read. A batch of format
/// 0 or 1 is a single message, or a compressed set of them.
#[derive(Debug)]
pub struct StoredBatch {
    header: BatchHeader,
    bytes: BatchBytes,
    checksum: std::result::Result<(), Corruption>,
    segment: Offset,
    position: Position,
    path: Arc<Path>,
    limits: DecodeLimits,
    /// The unfolded records, where they are not simply the bytes behind the header.
    unfolded: OnceLock<std::result::Result<DecodedBatch, Corruption>>,
}

impl StoredBatch {
    pub(crate) fn new(
        header: BatchHeader,
        bytes: BatchBytes,
        checksum: std::result::Result<(), Corruption>,
        segment: Offset,
        position: Position,
        path: &Arc<Path>,
        limits: DecodeLimits,
    ) -> StoredBatch {
        let path = Arc::clone(path);
        StoredBatch { header, bytes, checksum, segment, position, path, limits, unfolded: OnceLock::new() }
    }

    /// The offset of the first record, which compaction may have removed. Of a batch of format 0 or 1 it is known only
    /// after unfolding; if that fails, this is its last offset.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        match self.header.base_offset() {
            Some(offset) => offset,
            None => self.records().next().and_then(Result::ok).map_or(self.last_offset(), |record| record.offset()),
        }
    }

    /// The last offset that the batch takes, whether or not a record is left there.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.header.last_offset()
    }

    /// The offset behind the batch.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.header.next_offset()
    }

    /// Where in its `.log` the batch begins.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The base offset of its segment, which names the files.
    #[must_use]
    pub fn segment(&self) -> Offset {
        self.segment
    }

    /// The `.log` that it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the stored batch in bytes, header included.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.header.size_bytes
    }

    /// The stored bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The format's version: 0, 1 or 2.
    #[must_use]
    pub fn magic(&self) -> i8 {
        self.header.magic
    }

    /// The checksum that the header states.
    #[must_use]
    pub fn crc(&self) -> u32 {
        self.header.crc
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a codec that the format does not know.
    pub fn compression(&self) -> Result<Compression> {
        self.header.compression().map_err(|reason| self.corrupt(reason))
    }

    /// Which time the records carry; `None` in format 0, which has none.
    #[must_use]
    pub fn timestamp_type(&self) -> Option<TimestampType> {
        self.header.timestamp_type()
    }

    /// The header's base timestamp as it stands there, −1 included; `None` in formats 0 and 1, which have no such
    /// field. After compaction it may hold the [delete horizon](StoredBatch::delete_horizon) instead.
    #[must_use]
    pub fn base_timestamp(&self) -> Option<Timestamp> {
        (!self.header.is_legacy()).then(|| Timestamp::from_millis(self.header.base_timestamp))
    }

    /// The largest timestamp of the records; `None` if they have none.
    #[must_use]
    pub fn max_timestamp(&self) -> Option<Timestamp> {
        self.header.max_timestamp()
    }

    /// The id of the producer that wrote the batch; −1 without one.
    #[must_use]
    pub fn producer_id(&self) -> i64 {
        self.header.producer_id
    }

    /// The producer's epoch; −1 without a producer.
    #[must_use]
    pub fn producer_epoch(&self) -> i16 {
        self.header.producer_epoch
    }

    /// The sequence number of the first record; −1 where the producer does not count.
    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        self.header.base_sequence
    }

    /// The leader epoch under which the batch was appended; −1 without one.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.header.leader_epoch
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.header.is_transactional()
    }

    /// Whether its records are the log's own markers and not data.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.header.is_control()
    }

    /// The time from which compaction may drop the batch's tombstones and markers, if compaction has set one.
    #[must_use]
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        self.header.delete_horizon()
    }

    /// How many records the header counts; formats 0 and 1 do not count.
    #[must_use]
    pub fn record_count(&self) -> Option<i32> {
        (!self.header.is_legacy()).then_some(self.header.count)
    }

    /// Checks everything: the checksum, that the records unfold, and that they are what the header says.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with what is wrong; [`Error::UnsupportedCompression`] if this build lacks the codec.
    pub fn verify(&self) -> Result<()> {
        self.records().try_for_each(|record| record.map(drop))
    }

    /// The records, markers included, in their order. After an error the iterator is finished.
    #[must_use]
    pub fn records(&self) -> BatchRecords<'_> {
        let refs = match self.checksum.and_then(|()| self.record_refs()) {
            Ok(refs) => Ok(refs),
            Err(reason) => Err(Some(reason)),
        };
        BatchRecords { batch: self, refs }
    }

    pub(crate) fn header(&self) -> &BatchHeader {
        &self.header
    }

    pub(crate) fn checksum(&self) -> std::result::Result<(), Corruption> {
        self.checksum
    }

    pub(crate) fn corrupt(&self, reason: Corruption) -> Error {
        Error::corrupt(&self.path, self.position, reason)
    }

    /// The records from an offset on, sharing the batch. The batch is sound.
    pub(crate) fn into_records(self, from: Offset) -> Result<SharedRecords> {
        let StoredBatch { header, bytes, position, path, limits, .. } = self;
        match DecodedBatch::decode_verified(header, bytes, limits) {
            Ok(decoded) => Ok(SharedRecords { records: StoredRecords::new(Arc::new(decoded), from), position, path }),
            Err(reason) => Err(Error::corrupt(&path, position, reason)),
        }
    }

    /// The records, the last one first. The batch is sound.
    pub(crate) fn into_reversed(self) -> Result<StoredRecordsReversed> {
        let StoredBatch { header, bytes, position, path, limits, .. } = self;
        DecodedBatch::decode_verified(header, bytes, limits)
            .and_then(|decoded| StoredRecordsReversed::new(Arc::new(decoded)))
            .map_err(|reason| Error::corrupt(&path, position, reason))
    }

    fn record_refs(&self) -> std::result::Result<RecordRefs<'_>, Corruption> {
        if !self.header.is_legacy() && self.header.compression()? == Compression::None {
            let records = self.bytes.get(HEADER_BYTES..).unwrap_or_default();
            return Ok(RecordRefs::new(&self.header, records));
        }
        let unfolded =
            self.unfolded.get_or_init(|| DecodedBatch::decode_verified(self.header, self.bytes.clone(), self.limits));
        match unfolded {
            Ok(decoded) => Ok(decoded.records()),
            Err(reason) => Err(*reason),
        }
    }
}

/// The records of a [`StoredBatch`], borrowed from it.
#[derive(Clone)]
pub struct BatchRecords<'a> {
    batch: &'a StoredBatch,
    /// The records, or why there are none, until that was said.
    refs: std::result::Result<RecordRefs<'a>, Option<Corruption>>,
}

impl<'a> Iterator for BatchRecords<'a> {
    type Item = Result<RecordRef<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let record = match &mut self.refs {
            Ok(refs) => refs.next()?,
            Err(reason) => Err(reason.take()?),
        };
        Some(record.map_err(|reason| self.batch.corrupt(reason)))
    }
}

impl std::fmt::Debug for BatchRecords<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchRecords").field("batch", self.batch).finish_non_exhaustive()
    }
}

/// The records of one batch, each owning its share, with the place of the batch for errors.
#[derive(Debug)]
pub(crate) struct SharedRecords {
    records: StoredRecords,
    position: Position,
    path: Arc<Path>,
}

impl SharedRecords {
    /// As [`SharedRecords::next_slot`], where the next record is of the usual kind and lies in the range up to `end`; else
    /// nothing changes.
    #[inline(always)]
    pub(crate) fn next_plain_slot(&mut self, end: Offset) -> Option<Slot> {
        self.records.next_plain_slot(end)
    }

    /// Where the next record lies, for [`SharedRecords::borrowed`] or [`SharedRecords::owned`].
    #[inline]
    pub(crate) fn next_slot(&mut self) -> Option<Result<Slot>> {
        match self.records.next_slot()? {
            Ok(slot) => Some(Ok(slot)),
            Err(reason) => Some(Err(Error::corrupt(&self.path, self.position, reason))),
        }
    }

    #[inline]
    pub(crate) fn borrowed(&self, slot: Slot) -> RecordRef<'_> {
        self.records.borrowed(slot)
    }

    #[inline]
    pub(crate) fn owned(&self, slot: Slot) -> StoredRecord {
        self.records.owned(slot)
    }
}

impl Iterator for SharedRecords {
    type Item = Result<StoredRecord>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let slot = self.next_slot()?;
        Some(slot.map(|slot| self.owned(slot)))
    }
}
