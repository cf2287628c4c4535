//! A batch of one record that is encoded where it is to lie, into memory that has just the room for it.
//!
//! A [`PlannedBatch`] knows its size before its first byte is written, so that no buffer stands in between. It is for
//! what is plain: what must be refused, compressed or stamped later is for `encode`, whose bytes are the same, and so
//! are several records, which it encodes in one pass. The invariants it owns: storing cannot fail, and the header,
//! without which there is no batch, is stored last.

use super::borrowed::Record;
use super::encode::{BatchStamp, header_of};
use super::header::BatchHeader;
use super::layout::HEADER_BYTES;
use super::room::{RecordFrame, Room};
use super::validate::TimestampBounds;

/// A batch of one record, whose encoded size is known.
#[derive(Debug)]
pub(crate) struct PlannedBatch<'a> {
    record: &'a Record<'a>,
    frame: RecordFrame,
    size_bytes: usize,
}

impl<'a> PlannedBatch<'a> {
    /// Plans the batch of one record. `None` if it would be larger than `most_bytes`, or if the record must be refused: why is
    /// found out by who encodes it otherwise.
    #[inline]
    pub(crate) fn of(record: &'a Record<'a>, bounds: &TimestampBounds, most_bytes: usize) -> Option<PlannedBatch<'a>> {
        if let Some(timestamp) = record.timestamp
            && (timestamp.as_millis() < 0 || bounds.check(timestamp).is_err())
        {
            return None;
        }
        let frame = RecordFrame::of(record, 0, 0).ok()?;
        let size_bytes = HEADER_BYTES + frame.size_bytes();
        (size_bytes <= most_bytes).then_some(PlannedBatch { record, frame, size_bytes })
    }

    /// Its header, but for the checksum.
    #[inline]
    pub(crate) fn header(&self, stamp: &BatchStamp) -> BatchHeader {
        let timestamp = self.record.timestamp;
        let header = header_of(stamp, 0, 1, timestamp, timestamp.or(Some(stamp.now)));
        BatchHeader { size_bytes: self.size_bytes as u64, ..header }
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Stores the batch: first the record, then the header, which begins with the length that makes it one, last.
    ///
    /// # Panics
    /// If `out` is not as long as the batch.
    #[inline]
    pub(crate) fn store(&self, header: &mut BatchHeader, out: &mut [u8]) {
        assert_eq!(out.len(), self.size_bytes, "the room that was planned");
        let mut room = Room::new(&mut out[HEADER_BYTES..]);
        room.put_record(&self.frame, self.record);
        assert!(room.is_empty(), "a record is as long as it was planned");
        header.seal_in_place(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::Timestamp;
    use crate::record::{BatchBuilder, Compression, TimestampType};

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

    fn stamps() -> [BatchStamp; 2] {
        let stamp = BatchStamp { now: NOW, leader_epoch: 7, ..BatchStamp::default() };
        [stamp, BatchStamp { timestamp_type: TimestampType::LogAppendTime, ..stamp }]
    }

    fn built(record: &Record<'_>, stamp: &BatchStamp) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(*record).expect("a sound record");
        builder.finish(stamp).expect("a small batch").to_vec()
    }

    fn stored(planned: &PlannedBatch<'_>, stamp: &BatchStamp) -> Vec<u8> {
        let mut out = vec![0xa5; planned.size_bytes()];
        planned.store(&mut planned.header(stamp), &mut out);
        out
    }

    #[test]
    fn a_stored_batch_is_byte_for_byte_the_built_one() {
        let at = |millis| Timestamp::from_millis(millis);
        let long = vec![7; 9000];
        let headers: &[(&str, Option<&[u8]>)] = &[("trace", Some(b"7f")), ("", None), ("empty", Some(b""))];
        let records = [
            Record::value("v"),
            Record::from_parts(None, None),
            Record::new("", ""),
            Record::tombstone("key").timestamp(at(0)),
            Record::new("key", "a value of usual length"),
            Record::new("key", &long).headers(headers).timestamp(at(5)),
            Record::value(&long).timestamp(at(1 << 40)),
        ];
        for record in records {
            for stamp in stamps() {
                let planned = PlannedBatch::of(&record, &TimestampBounds::NONE, usize::MAX).expect("a plain record");
                assert_eq!(stored(&planned, &stamp), built(&record, &stamp), "{record:?}");
                assert_eq!(planned.header(&stamp).size_bytes, built(&record, &stamp).len() as u64);
            }
        }
    }

    #[test]
    fn what_is_not_plain_is_not_planned() {
        let at = |millis| Timestamp::from_millis(millis);
        let bounds = TimestampBounds::around(NOW, Some(10), Some(10));
        let none = TimestampBounds::NONE;
        let record = Record::value("v");
        let limit = built(&record, &stamps()[0]).len();
        assert!(PlannedBatch::of(&record, &none, limit).is_some());
        assert!(PlannedBatch::of(&record, &none, limit - 1).is_none());
        assert!(PlannedBatch::of(&record.timestamp(at(-1)), &none, 1000).is_none());
        assert!(PlannedBatch::of(&record.timestamp(at(5)), &bounds, 1000).is_none());
        assert!(PlannedBatch::of(&record.timestamp(NOW), &bounds, 1000).is_some());
    }
}
