//! Records to a batch of format 2, the only one that is written.
//!
//! A [`BatchBuilder`] encodes each record once, as it is pushed, behind room kept for the header; finishing fills in the
//! header and the checksum. The invariants it owns: a finished batch counts its records without gaps from base offset
//! 0, and a builder that has seen batches of a size allocates nothing for the next one of that size.

use super::borrowed::{Headers, Record};
use super::compression::{Compression, Compressor};
use super::header::{BatchHeader, TimestampType};
use super::layout::{self, HEADER_BYTES, OVERHEAD_BYTES};
use super::room::{RECORD_ATTRIBUTES, RecordFrame, Room, ShortFrame};
use super::slot;
use super::validate::TimestampBounds;
use super::varint::{MAX_VARLONG_BYTES, length_of_varlong, put_varint, put_varlong};
use crate::error::{Error, InvalidRecord, Result};
use crate::offset::{Offset, Timestamp};

/// The largest encoded batch: its length field counts all but the framing.
const MOST_BYTES: u64 = i32::MAX as u64 + OVERHEAD_BYTES as u64;
/// Room for the first records of a builder, in bytes.
const FIRST_ROOM_BYTES: usize = 512;
/// The timestamp of what has none.
const NO_TIMESTAMP: i64 = -1;

/// Collects records and encodes them as one batch, for [`append_built`](crate::Log::append_built), or as a producer does for
/// a log elsewhere.
///
/// It keeps its memory: reuse one builder and it soon allocates nothing.
pub struct BatchBuilder {
    compression: Compression,
    /// Made at the first compressed batch, and kept.
    compressor: Option<Compressor>,
    /// Room for the header, then the records, each with its timestamp relative to `base_timestamp`; behind `used` what
    /// is there is of no account. It is as long as it ever was, so that room is cleared once, but never longer than a batch
    /// may become.
    encoded: Vec<u8>,
    used: usize,
    /// The finished batch, where it is not `encoded` itself.
    packed: Vec<u8>,
    /// The records with their timestamps filled in, where that could not be done as they were pushed.
    restamped: Vec<u8>,
    /// Which records must be given their timestamp delta when the time of the append is known: those that have no
    /// time behind a first record that has one, and the other way round.
    deferred: Vec<u32>,
    count: u32,
    /// What the encoded deltas are relative to; `None` is the time of the append.
    base_timestamp: Option<Timestamp>,
    /// The largest timestamp that a record brought along, or −1.
    max_timestamp: Timestamp,
    /// The smallest one, or the largest that there is.
    min_timestamp: Timestamp,
}

/// What a finished batch carries besides its records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchStamp {
    /// The time of the append: for records without a timestamp, and for all under log append time.
    pub now: Timestamp,
    pub timestamp_type: TimestampType,
    pub leader_epoch: i32,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub transactional: bool,
}

impl Default for BatchStamp {
    fn default() -> BatchStamp {
        BatchStamp {
            now: Timestamp::from_millis(0),
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            transactional: false,
        }
    }
}

impl BatchBuilder {
    /// An empty builder. Nothing is allocated until the first record.
    #[must_use]
    pub fn new(compression: Compression) -> BatchBuilder {
        BatchBuilder {
            compression,
            compressor: None,
            encoded: Vec::new(),
            used: HEADER_BYTES,
            packed: Vec::new(),
            restamped: Vec::new(),
            deferred: Vec::new(),
            count: 0,
            base_timestamp: None,
            max_timestamp: Timestamp::from_millis(NO_TIMESTAMP),
            min_timestamp: Timestamp::from_millis(i64::MAX),
        }
    }

    /// Encodes one more record.
    ///
    /// # Errors
    /// [`Error::InvalidRecord`] for a negative timestamp, and for a record with which the batch would exceed the
    /// format's 2^31 − 1 bytes. The builder is then as it was before.
    #[inline]
    pub fn push(&mut self, record: Record<'_>) -> Result<()> {
        if self.push_short(&record) {
            return Ok(());
        }
        let index = self.len();
        self.push_any(record).map_err(|reason| Error::InvalidRecord { index, reason })
    }

    /// [`BatchBuilder::push`] without a copy of what describes the record.
    #[inline]
    pub(crate) fn push_borrowed(&mut self, record: &Record<'_>) -> std::result::Result<(), InvalidRecord> {
        if self.push_short(record) { Ok(()) } else { self.push_any(*record) }
    }

    /// Encodes one more record, if it is short, has a timestamp where the first one has one, and there is room for it, as is
    /// so of nearly all; else nothing changes, and [`BatchBuilder::push_any`] tells. It has no words for what is wrong, and
    /// is inlined where records are made, so that what is known of them there need not be asked.
    #[inline(always)]
    fn push_short(&mut self, record: &Record<'_>) -> bool {
        let Record { key, value: Some(value), headers: Headers::Pairs([]), timestamp } = *record else { return false };
        let timestamp_delta = match (timestamp, self.base_timestamp) {
            (None, None) => return self.put_short(key, value, 0),
            (Some(timestamp), Some(base)) if timestamp.as_millis() >= 0 => timestamp.as_millis() - base.as_millis(),
            _ => return false,
        };
        let is_put = self.put_short(key, value, timestamp_delta);
        if is_put && let Some(timestamp) = timestamp {
            self.note_timestamp(timestamp);
        }
        is_put
    }

    /// In each branch it is known whether there is a key, and of a null one nothing is computed.
    #[inline(always)]
    fn put_short(&mut self, key: Option<&[u8]>, value: &[u8], timestamp_delta: i64) -> bool {
        match key {
            None => self.put_framed(None, value, timestamp_delta),
            Some(key) => self.put_framed(Some(key), value, timestamp_delta),
        }
    }

    #[inline(always)]
    fn put_framed(&mut self, key: Option<&[u8]>, value: &[u8], timestamp_delta: i64) -> bool {
        let Some(frame) = ShortFrame::of(key, value, timestamp_delta, self.count) else { return false };
        let end = self.used + frame.size_bytes();
        let Some(room) = self.encoded.get_mut(self.used..end) else { return false };
        frame.store(room, key, value);
        self.used = end;
        self.count += 1;
        true
    }

    /// Encodes one more record, whatever it is.
    #[inline(never)]
    fn push_any(&mut self, record: Record<'_>) -> std::result::Result<(), InvalidRecord> {
        let frame = self.check(&record)?;
        if self.count == 0 {
            self.base_timestamp = record.timestamp;
        }
        if record.timestamp.is_some() != self.base_timestamp.is_some() {
            self.deferred.push(self.count);
        }
        if let Some(timestamp) = record.timestamp {
            self.note_timestamp(timestamp);
        }
        let end = self.used + frame.size_bytes();
        self.make_room(end);
        Room::new(&mut self.encoded[self.used..end]).put_record(&frame, &record);
        self.used = end;
        self.count += 1;
        Ok(())
    }

    #[inline]
    fn note_timestamp(&mut self, timestamp: Timestamp) {
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.min_timestamp = self.min_timestamp.min(timestamp);
    }

    fn make_room(&mut self, end: usize) {
        let most_bytes = usize::try_from(self.most_bytes()).unwrap_or(usize::MAX);
        self.encoded.resize(room_bytes(self.encoded.len(), end, most_bytes), 0);
    }

    /// How many records have been pushed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether no record has been pushed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The size of the batch in bytes before compression, header included.
    ///
    /// It is exact unless records with and without a timestamp are mixed; then each may still grow by a few bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        if self.count == 0 { 0 } else { self.used }
    }

    /// The records as one encoded batch, as a producer sends it to whoever calls
    /// [`append_batch`](crate::Log::append_batch): base offset 0, no epoch, no producer. There is no clock here, so a record
    /// without a timestamp has none in the batch either. Without records there are no bytes.
    ///
    /// The records stay; [`BatchBuilder::clear`] makes room for the next batch.
    ///
    /// ```
    /// use kstore::{AppendOptions, BatchBuilder, Compression, Log, LogConfig, Record};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let log = Log::open(dir.path(), LogConfig::default())?;
    /// let mut builder = BatchBuilder::new(Compression::None);
    /// builder.push(Record::new("o-7", "paid"))?;
    /// let sent = builder.encode()?.to_vec();
    /// // Elsewhere, where the log is:
    /// log.append_batch(&AppendOptions::default(), &sent)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`] beyond the format's 2^31 − 1 bytes, [`Error::UnsupportedCompression`].
    pub fn encode(&mut self) -> Result<&[u8]> {
        if self.is_empty() {
            return Ok(&[]);
        }
        let stamp = BatchStamp { now: Timestamp::from_millis(NO_TIMESTAMP), ..BatchStamp::default() };
        self.finish(&stamp).map(|batch| &*batch)
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.used = HEADER_BYTES;
        self.packed.clear();
        self.restamped.clear();
        self.deferred.clear();
        self.count = 0;
        self.base_timestamp = None;
        self.max_timestamp = Timestamp::from_millis(NO_TIMESTAMP);
        self.min_timestamp = Timestamp::from_millis(i64::MAX);
    }

    /// Refuses a batch with a timestamp outside the bounds, naming the first record that has one. Records without a
    /// timestamp get the time of the append, which is inside.
    pub(crate) fn check_timestamps(&self, bounds: &TimestampBounds) -> Result<()> {
        let inside = |timestamp| bounds.check(timestamp).is_ok();
        let has_some = self.max_timestamp.as_millis() != NO_TIMESTAMP;
        let is_sound = !has_some || inside(self.min_timestamp) && inside(self.max_timestamp);
        if is_sound { Ok(()) } else { self.check_each(bounds) }
    }

    #[cold]
    fn check_each(&self, bounds: &TimestampBounds) -> Result<()> {
        let mut rest = &self.encoded[HEADER_BYTES..self.used];
        for index in 0..self.count {
            let (body, after) = slot::split_own_record(rest);
            let (timestamp_delta, _) = slot::split_own_timestamp(body);
            // What was deferred has either no timestamp, or one that is still relative to 0.
            let timestamp = match (self.base_timestamp, self.deferred.binary_search(&index).is_ok()) {
                (Some(base), false) => Some(base.as_millis() + timestamp_delta),
                (None, true) => Some(timestamp_delta),
                (Some(_), true) | (None, false) => None,
            };
            if let Some(millis) = timestamp {
                let refused = |reason| Error::InvalidRecord { index: index as usize, reason };
                bounds.check(Timestamp::from_millis(millis)).map_err(refused)?;
            }
            rest = after;
        }
        Ok(())
    }

    pub(crate) fn compression(&self) -> Compression {
        self.compression
    }

    /// Memory that the builder keeps between batches, its codec's own not counted.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.encoded.capacity() + self.packed.capacity() + self.restamped.capacity()
    }

    /// The whole encoded batch with base offset 0, which is to be patched, as is what else the checksum does not cover.
    ///
    /// The records stay: finishing again with another stamp gives another batch of the same records.
    ///
    /// # Panics
    /// Without a record: an empty batch is nothing that a log appends.
    pub(crate) fn finish(&mut self, stamp: &BatchStamp) -> Result<&mut [u8]> {
        self.seal(stamp, 0).map(|(_, batch)| batch)
    }

    /// [`BatchBuilder::finish`], with the header that stands in the batch. No caller of the library sets attributes.
    pub(crate) fn seal(&mut self, stamp: &BatchStamp, attributes: i16) -> Result<(BatchHeader, &mut [u8])> {
        assert!(!self.is_empty(), "an empty batch is not finished");
        let mut header = self.header(stamp, attributes);
        let is_restamped = !self.deferred.is_empty();
        if is_restamped {
            self.restamp(stamp.now);
        }
        let plain = if is_restamped { &mut self.restamped[..] } else { &mut self.encoded[..self.used] };
        let batch = if self.compression == Compression::None {
            plain
        } else {
            let compressor = match &mut self.compressor {
                Some(compressor) => compressor,
                empty => empty.insert(Compressor::new(self.compression)?),
            };
            self.packed.clear();
            self.packed.resize(HEADER_BYTES, 0);
            compressor.compress(&plain[HEADER_BYTES..], &mut self.packed);
            &mut self.packed[..]
        };
        header.size_bytes = batch.len() as u64;
        if header.size_bytes > MOST_BYTES {
            return Err(Error::BatchTooLarge { size_bytes: header.size_bytes, limit_bytes: MOST_BYTES });
        }
        header.seal_in_place(batch);
        Ok((header, batch))
    }

    fn header(&self, stamp: &BatchStamp, attributes: i16) -> BatchHeader {
        let mut max_timestamp = Timestamp::from_disk(self.max_timestamp.as_millis());
        let needs_now = self.base_timestamp.is_none() || !self.deferred.is_empty();
        if needs_now {
            max_timestamp = max_timestamp.max(Some(stamp.now));
        }
        let attributes = attributes | i16::from(self.compression.code());
        header_of(stamp, attributes, self.count, self.base_timestamp, max_timestamp)
    }

    /// Checks a record and encodes its fields, so that writing it cannot fail half-way.
    #[inline]
    fn check(&self, record: &Record<'_>) -> std::result::Result<RecordFrame, InvalidRecord> {
        if let Some(timestamp) = record.timestamp
            && timestamp.as_millis() < 0
        {
            return Err(InvalidRecord::NegativeTimestamp { millis: timestamp.as_millis() });
        }
        let frame = RecordFrame::of(record, self.timestamp_delta(record), self.count)?;
        let size_bytes = (self.used + frame.size_bytes()) as u64;
        if size_bytes > self.most_bytes() {
            return Err(InvalidRecord::TooLarge { size_bytes });
        }
        Ok(frame)
    }

    /// The most that the batch may have with one record more: each deferred one may yet grow by a longer timestamp delta.
    fn most_bytes(&self) -> u64 {
        MOST_BYTES - (self.deferred.len() as u64 + 1) * MAX_VARLONG_BYTES as u64
    }

    /// The delta to encode now. A deferred one is kept relative to 0 until the other side of it is known.
    fn timestamp_delta(&self, record: &Record<'_>) -> i64 {
        match (record.timestamp, self.base_timestamp) {
            (Some(_), _) if self.count == 0 => 0,
            (Some(timestamp), Some(base)) => timestamp.as_millis() - base.as_millis(),
            (Some(timestamp), None) => timestamp.as_millis(),
            (None, _) => 0,
        }
    }

    /// Writes the records anew, the deferred ones with their deltas.
    fn restamp(&mut self, now: Timestamp) {
        self.restamped.clear();
        self.restamped.resize(HEADER_BYTES, 0);
        let mut deferred = self.deferred.iter().copied().peekable();
        let mut rest = &self.encoded[HEADER_BYTES..self.used];
        for index in 0..self.count {
            let (body, after) = slot::split_own_record(rest);
            if deferred.next_if_eq(&index).is_some() {
                let (timestamp_delta, behind) = slot::split_own_timestamp(body);
                let delta = match self.base_timestamp {
                    Some(base) => now.as_millis().saturating_sub(base.as_millis()),
                    None => timestamp_delta.saturating_sub(now.as_millis()),
                };
                let length = 1 + length_of_varlong(delta) + behind.len();
                put_varint(
                    &mut self.restamped,
                    i32::try_from(length).expect("the growth was counted when it was pushed"),
                );
                self.restamped.push(RECORD_ATTRIBUTES);
                put_varlong(&mut self.restamped, delta);
                self.restamped.extend_from_slice(behind);
            } else {
                self.restamped.extend_from_slice(&rest[..rest.len() - after.len()]);
            }
            rest = after;
        }
    }
}

impl std::fmt::Debug for BatchBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchBuilder")
            .field("compression", &self.compression)
            .field("len", &self.len())
            .field("size_bytes", &self.size_bytes())
            .finish_non_exhaustive()
    }
}

/// How long to make a room of so many bytes that is used up to `end`: where it is too short, twice as long, but for no record
/// with which the batch would be too large. So whoever finds room for a record need not ask whether it may be there.
fn room_bytes(present: usize, end: usize, most_bytes: usize) -> usize {
    let doubled = present.saturating_mul(2).max(FIRST_ROOM_BYTES);
    let wanted = if end > present { doubled } else { present };
    wanted.min(most_bytes).max(end)
}

/// The header of a batch whose size and checksum are not yet known.
pub(super) fn header_of(
    stamp: &BatchStamp,
    mut attributes: i16,
    count: u32,
    base_timestamp: Option<Timestamp>,
    mut max_timestamp: Option<Timestamp>,
) -> BatchHeader {
    if stamp.transactional {
        attributes |= layout::TRANSACTIONAL_MASK;
    }
    if stamp.timestamp_type == TimestampType::LogAppendTime {
        attributes |= layout::LOG_APPEND_TIME_MASK;
        max_timestamp = Some(stamp.now);
    }
    let count = i32::try_from(count).expect("2^31 − 1 bytes hold fewer records than that");
    BatchHeader {
        magic: layout::MAGIC_V2,
        size_bytes: 0,
        offset_field: Offset::ZERO,
        leader_epoch: stamp.leader_epoch,
        crc: 0,
        attributes,
        last_offset_delta: count - 1,
        base_timestamp: base_timestamp.unwrap_or(stamp.now).as_millis(),
        max_timestamp: Timestamp::to_disk(max_timestamp),
        producer_id: stamp.producer_id,
        producer_epoch: stamp.producer_epoch,
        base_sequence: stamp.base_sequence,
        count,
    }
}

/// The bytes of a batch that compaction emptied but keeps, for its offsets and its producer's sequence.
#[allow(
    dead_code,
    reason = "transactions and compaction, which this release lacks, ask this; tests hold it to Kafka's bytes"
)]
pub(crate) fn encode_empty(of: &BatchHeader) -> [u8; HEADER_BYTES] {
    let mut header = BatchHeader {
        size_bytes: HEADER_BYTES as u64,
        attributes: of.attributes & !layout::CODEC_MASK & !layout::DELETE_HORIZON_MASK,
        base_timestamp: -1,
        count: 0,
        ..*of
    };
    header.seal(&[])
}

/// Encodes one record for a batch that is put together elsewhere.
pub(super) fn put_record(
    out: &mut Vec<u8>,
    record: &Record<'_>,
    timestamp_delta: i64,
    offset_delta: u32,
) -> std::result::Result<(), InvalidRecord> {
    let frame = RecordFrame::of(record, timestamp_delta, offset_delta)?;
    let start = out.len();
    out.resize(start + frame.size_bytes(), 0);
    Room::new(&mut out[start..]).put_record(&frame, record);
    Ok(())
}

#[cfg(test)]
mod tests;
