//! A batch that is encoded where it is to lie, into memory that has just the room for it.
//!
//! A [`PlannedBatch`] knows its size before its first byte is written, so that no buffer stands in between. It is for
//! what is plain: what must be refused, compressed or stamped later is for `encode`, whose bytes are the same. The
//! invariants it owns: storing cannot fail, and the header, without which there is no batch, is stored last.

use super::borrowed::Record;
use super::encode::{BatchStamp, header_of};
use super::header::BatchHeader;
use super::layout::HEADER_BYTES;
use super::room::{RecordFrame, Room};
use super::validate::TimestampBounds;
use crate::offset::Timestamp;

/// Records whose encoded size is known.
#[derive(Debug)]
pub(crate) struct PlannedBatch<'a> {
    records: &'a [Record<'a>],
    /// The frame of the only record, so that it need not be made twice.
    only: Option<RecordFrame>,
    base_timestamp: Option<Timestamp>,
    max_timestamp: Option<Timestamp>,
    size_bytes: usize,
}

impl<'a> PlannedBatch<'a> {
    /// Plans a batch of one record or more. `None` if it would be larger than `most_bytes`, if records with and without a
    /// timestamp are mixed, or if a record must be refused: why is found out by who encodes it otherwise.
    #[inline]
    pub(crate) fn of(
        records: &'a [Record<'a>],
        bounds: &TimestampBounds,
        most_bytes: usize,
    ) -> Option<PlannedBatch<'a>> {
        let base_timestamp = records.first()?.timestamp;
        let mut planned =
            PlannedBatch { records, only: None, base_timestamp, max_timestamp: None, size_bytes: HEADER_BYTES };
        for (index, record) in records.iter().enumerate() {
            if record.timestamp.is_some() != base_timestamp.is_some() {
                return None;
            }
            if let Some(timestamp) = record.timestamp
                && (timestamp.as_millis() < 0 || bounds.check(timestamp).is_err())
            {
                return None;
            }
            planned.max_timestamp = planned.max_timestamp.max(record.timestamp);
            let frame = planned.frame(index, record)?;
            planned.size_bytes += frame.size_bytes();
            if planned.size_bytes > most_bytes {
                return None;
            }
            planned.only = Some(frame);
        }
        planned.only = planned.only.filter(|_| records.len() == 1);
        Some(planned)
    }

    /// Its header, but for the checksum.
    #[inline]
    pub(crate) fn header(&self, stamp: &BatchStamp) -> BatchHeader {
        let count = u32::try_from(self.records.len()).expect("each record was given its index");
        let max_timestamp = self.max_timestamp.or(Some(stamp.now));
        let header = header_of(stamp, 0, count, self.base_timestamp, max_timestamp);
        BatchHeader { size_bytes: self.size_bytes as u64, ..header }
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Stores the batch: first the records, then the header, which begins with the length that makes it one, last.
    ///
    /// # Panics
    /// If `out` is not as long as the batch.
    #[inline]
    pub(crate) fn store(&self, header: &mut BatchHeader, out: &mut [u8]) {
        assert_eq!(out.len(), self.size_bytes, "the room that was planned");
        let mut room = Room::new(&mut out[HEADER_BYTES..]);
        match &self.only {
            Some(frame) => room.put_record(frame, &self.records[0]),
            None => {
                for (index, record) in self.records.iter().enumerate() {
                    let frame = self.frame(index, record).expect("it was planned");
                    room.put_record(&frame, record);
                }
            }
        }
        assert!(room.is_empty(), "records are as long as they were planned");
        header.seal_in_place(out);
    }

    #[inline]
    fn frame(&self, index: usize, record: &Record<'_>) -> Option<RecordFrame> {
        let delta = match (record.timestamp, self.base_timestamp) {
            (Some(timestamp), Some(base)) => timestamp.as_millis() - base.as_millis(),
            _ => 0,
        };
        RecordFrame::of(record, delta, u32::try_from(index).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, Compression, TimestampType};

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

    fn stamps() -> [BatchStamp; 2] {
        let stamp = BatchStamp { now: NOW, leader_epoch: 7, ..BatchStamp::default() };
        [stamp, BatchStamp { timestamp_type: TimestampType::LogAppendTime, ..stamp }]
    }

    fn built(records: &[Record<'_>], stamp: &BatchStamp) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None);
        for record in records {
            builder.push(*record).expect("a sound record");
        }
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
        let cases: Vec<Vec<Record<'_>>> = vec![
            vec![Record::value("v")],
            vec![Record::from_parts(None, None)],
            vec![Record::new("", "")],
            vec![Record::tombstone("key").timestamp(at(0))],
            vec![Record::new("key", &long).headers(headers).timestamp(at(5))],
            vec![Record::value("a"), Record::new("b", "c").headers(headers), Record::value(&long)],
            vec![
                Record::value("a").timestamp(at(90)),
                Record::value("b").timestamp(at(3)),
                Record::value("c").timestamp(at(1 << 40)),
            ],
            (0..300).map(|_| Record::new("many", "records")).collect(),
        ];
        for records in cases {
            for stamp in stamps() {
                let planned = PlannedBatch::of(&records, &TimestampBounds::NONE, usize::MAX).expect("plain records");
                assert_eq!(stored(&planned, &stamp), built(&records, &stamp), "{records:?}");
                assert_eq!(planned.header(&stamp).size_bytes, built(&records, &stamp).len() as u64);
            }
        }
    }

    #[test]
    fn what_is_not_plain_is_not_planned() {
        let at = |millis| Timestamp::from_millis(millis);
        let bounds = TimestampBounds::around(NOW, Some(10), Some(10));
        let none = TimestampBounds::NONE;
        let limit = built(&[Record::value("v")], &stamps()[0]).len();
        assert!(PlannedBatch::of(&[], &none, 1000).is_none());
        assert!(PlannedBatch::of(&[Record::value("v")], &none, limit).is_some());
        assert!(PlannedBatch::of(&[Record::value("v")], &none, limit - 1).is_none());
        assert!(PlannedBatch::of(&[Record::value("v").timestamp(at(-1))], &none, 1000).is_none());
        assert!(PlannedBatch::of(&[Record::value("v").timestamp(at(5))], &bounds, 1000).is_none());
        let mixed = [Record::value("v").timestamp(NOW), Record::value("v")];
        assert!(PlannedBatch::of(&mixed, &none, 1000).is_none());
        assert!(PlannedBatch::of(&[mixed[1], mixed[0]], &none, 1000).is_none());
    }
}
