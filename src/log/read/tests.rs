//! Tests of reading a log: slices, iterators in both directions, damage, and readers beside a writer.
//!
//! A [`Fixture`] writes batches through the segment writer on the simulated disk and remembers what it wrote.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use super::Reader;
use crate::config::WriteMode;
use crate::fs::Env;
use crate::fs::sim::SimDisk;
use crate::log::core::{Bounds, Core};
use crate::log::report::RecoveryReport;
use crate::offset::{Offset, Position, Timestamp};
use crate::record::{BatchBuilder, BatchStamp, Compression, Record, StoredRecord, set_base_offset};
use crate::segment::{BatchFacts, DamagedRange, IndexRules, Segment, SegmentWriter, Shape};

mod borders;
mod concurrent;
mod cost;
mod damage;
#[cfg(feature = "gzip")]
mod legacy;
mod range;
mod reversed;
mod slices;

const DIR: &str = "/log";

/// A log being written by a test.
struct Fixture {
    disk: SimDisk,
    core: Arc<Core>,
    writer: Option<SegmentWriter>,
    shape: Shape,
    builder: BatchBuilder,
    records: Vec<(u64, Vec<u8>)>,
    batches: Vec<Written>,
}

/// Where a batch was written.
#[derive(Clone, Debug)]
struct Written {
    base: u64,
    next: u64,
    segment: u64,
    position: Position,
    bytes: Vec<u8>,
}

impl Fixture {
    /// A log without gaps that begins at offset 0.
    fn new() -> Fixture {
        Fixture::with(false, 4096)
    }

    /// A log in which offsets may be missing.
    fn with_gaps() -> Fixture {
        Fixture::with(true, 4096)
    }

    fn with(gaps_allowed: bool, interval_bytes: u64) -> Fixture {
        let disk = SimDisk::new(7);
        disk.create_dir_all(DIR);
        let env = Env::sim(&disk);
        let core = Arc::new(Core::new(env.clone(), Path::new(DIR).into(), 100, 1 << 30));
        let shape = Shape {
            segment_bytes: 1 << 30,
            segment_ms: u64::MAX,
            write_mode: WriteMode::Write,
            window_bytes: 8 << 20,
            indexes: IndexRules { max_bytes: 1 << 20, interval_bytes },
        };
        let writer = SegmentWriter::create(&env, Path::new(DIR), Offset::ZERO, shape).unwrap();
        let segments = BTreeMap::from([(Offset::ZERO, Arc::clone(writer.segment()))]);
        let bounds = Bounds { log_start: Offset::ZERO, log_end: Offset::ZERO, synced: Offset::ZERO, gaps_allowed };
        core.install(segments, bounds, RecoveryReport::default());
        let builder = BatchBuilder::new(Compression::None);
        Fixture { disk, core, writer: Some(writer), shape, builder, records: Vec::new(), batches: Vec::new() }
    }

    fn compress(&mut self, compression: Compression) {
        self.builder = BatchBuilder::new(compression);
    }

    fn reader(&self) -> Reader {
        Reader::over(Arc::clone(&self.core))
    }

    fn writer(&mut self) -> &mut SegmentWriter {
        self.writer.as_mut().unwrap()
    }

    fn end(&self) -> u64 {
        self.batches.last().map_or(0, |batch| batch.next)
    }

    /// One batch of `count` records, each of `size` bytes that tell it from the others, and shows it to readers.
    fn append(&mut self, count: u64, size: usize) {
        let base = self.end();
        self.append_at(base, count, size);
    }

    fn append_at(&mut self, base: u64, count: u64, size: usize) {
        self.write_at(base, count, size);
        self.publish();
    }

    /// Writes a batch without showing it.
    fn write_at(&mut self, base: u64, count: u64, size: usize) {
        self.builder.clear();
        for offset in base..base + count {
            let value = value_of(offset, size);
            let time = Timestamp::from_millis(i64::try_from(1000 + offset).unwrap());
            self.builder.push(Record::new(&offset.to_be_bytes(), &value).timestamp(time)).unwrap();
            self.records.push((offset, value));
        }
        let bytes = self.builder.finish(&BatchStamp::default()).unwrap();
        set_base_offset(bytes, Offset::new(base));
        let bytes = bytes.to_vec();
        self.write_bytes(base, base + count, bytes);
    }

    /// Writes a batch that was encoded elsewhere.
    fn write_bytes(&mut self, base: u64, next: u64, bytes: Vec<u8>) {
        let facts = BatchFacts {
            size_bytes: bytes.len() as u64,
            last_offset: Offset::new(next - 1),
            max_timestamp: Some(Timestamp::from_millis(i64::try_from(999 + next).unwrap())),
        };
        let (segment, position) = (self.writer().base().value(), self.writer().position());
        self.writer().append(&mut [IoSlice::new(&bytes)], &[facts]).unwrap();
        self.batches.push(Written { base, next, segment, position, bytes });
    }

    fn publish(&mut self) {
        let (end, position) = (Offset::new(self.end()), self.writer().position());
        self.writer().segment().publish(position);
        self.core.publish(end);
    }

    /// Ends the active segment at the log end.
    fn roll(&mut self) {
        let end = self.end();
        self.roll_at(end);
    }

    fn roll_at(&mut self, base: u64) {
        let mut old = self.writer.take().unwrap();
        old.trim().unwrap();
        let env = self.core.env().clone();
        let next = SegmentWriter::create(&env, Path::new(DIR), Offset::new(base), self.shape).unwrap();
        let sealed = old.seal();
        sealed.sync().unwrap();
        // A sealed segment is opened anew by whoever reads it.
        sealed.segment.close_handles();
        self.core.insert_segment(Arc::clone(next.segment()));
        self.writer = Some(next);
    }

    /// Several segments of small batches: 3 segments, 40 batches each, 3 records a batch.
    fn fill(&mut self) {
        for _ in 0..2 {
            self.fill_segment();
            self.roll();
        }
        self.fill_segment();
    }

    fn fill_segment(&mut self) {
        for _ in 0..40 {
            self.append(3, 100);
        }
    }

    fn path(&self, batch: &Written) -> String {
        format!("{DIR}/{:020}.log", batch.segment)
    }

    /// The batch that holds an offset.
    fn batch_of(&self, offset: u64) -> Written {
        self.batches.iter().find(|batch| batch.next > offset).unwrap().clone()
    }

    /// Changes one bit of the value of the last record of the batch that holds an offset.
    fn damage_records(&self, offset: u64) -> Written {
        let batch = self.batch_of(offset);
        self.disk.flip_bit(self.path(&batch), batch.position.value() + batch.bytes.len() as u64 - 2, 3);
        batch
    }

    /// Changes one byte's bit of the batch that holds an offset.
    fn damage_byte(&self, offset: u64, byte: u64) -> Written {
        let batch = self.batch_of(offset);
        self.disk.flip_bit(self.path(&batch), batch.position.value() + byte, 6);
        batch
    }

    /// What the log must give for offsets in a range.
    fn expected(&self, range: std::ops::Range<u64>) -> Vec<(u64, Vec<u8>)> {
        self.records.iter().filter(|(offset, _)| range.contains(offset)).cloned().collect()
    }

    /// Puts one segment in place anew, with what an opening knew to be damaged.
    fn know_damage(&self, base: u64, damage: Vec<DamagedRange>) {
        let base = Offset::new(base);
        let old = self.core.floor_segment(base).unwrap();
        self.core.insert_segment(Arc::new(Segment::new(Path::new(DIR), base, old.published(), damage)));
    }
}

/// The codecs of this build.
fn codecs() -> impl Iterator<Item = Compression> {
    Compression::ALL.into_iter().filter(|compression| compression.is_available())
}

fn value_of(offset: u64, size: usize) -> Vec<u8> {
    let mut value = offset.to_string().into_bytes();
    value.resize(size.max(value.len()), b'.');
    value
}

fn pair(record: StoredRecord) -> (u64, Vec<u8>) {
    assert_eq!(record.key(), Some(&record.offset().value().to_be_bytes()[..]));
    (record.offset().value(), record.value().unwrap().to_vec())
}

fn pairs(records: impl Iterator<Item = crate::error::Result<StoredRecord>>) -> Vec<(u64, Vec<u8>)> {
    records.map(|record| pair(record.unwrap())).collect()
}

fn at(offset: u64) -> Offset {
    Offset::new(offset)
}
