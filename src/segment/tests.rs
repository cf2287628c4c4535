//! Tests of one segment: append, lookup, roll and recovery, on the simulated disk and on a real one.
//!
//! Here stands what the tests share: a place for a segment, batches of known sizes, and a walk over a file's bytes.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::config::WriteMode;
use crate::error::IoOp;
use crate::fs::sim::{CallKind, Fault, FaultKind, SimDisk};
use crate::offset::Timestamp;
use crate::record::{BatchBuilder, BatchStamp, Compression, HEADER_BYTES, Record, set_base_offset};

mod append;
mod faults;
mod lookup;
mod mapped;
mod roll;
mod scan;
mod search;
mod torn;

const DIR: &str = "/log";
/// A batch of two records with this many value bytes each has 115 bytes.
const VALUE_OF_115: usize = 20;
/// A batch of one record with this many value bytes has 118 bytes.
const VALUE_OF_118: usize = 50;

/// A disk with an empty directory.
struct Place {
    disk: SimDisk,
    env: Env,
}

impl Place {
    fn new() -> Place {
        let disk = SimDisk::new(1);
        disk.create_dir_all(DIR);
        Place { env: Env::sim(&disk), disk }
    }

    fn create(&self, base: u64, shape: Shape) -> SegmentWriter {
        SegmentWriter::create(&self.env, Path::new(DIR), offset(base), shape).unwrap()
    }

    fn file(&self, base: u64, kind: SegmentFile) -> Vec<u8> {
        self.disk.read_file(path(Path::new(DIR), offset(base), kind)).unwrap()
    }

    fn log(&self, base: u64) -> Vec<u8> {
        self.file(base, SegmentFile::Log)
    }

    /// A `.log` with these bytes, opened.
    fn plant(&self, base: u64, bytes: impl Into<Vec<u8>>) -> Arc<LogFile> {
        let path = path(Path::new(DIR), offset(base), SegmentFile::Log);
        self.disk.write_file(&path, bytes);
        Arc::new(LogFile::open(&self.env, &path, OpenMode::ReadWrite).unwrap())
    }
}

fn offset(value: u64) -> Offset {
    Offset::new(value)
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn shape() -> Shape {
    Shape {
        segment_bytes: 1 << 30,
        segment_ms: u64::MAX,
        write_mode: WriteMode::Write,
        window_bytes: 8 << 20,
        indexes: IndexRules { max_bytes: 1000, interval_bytes: 100 },
    }
}

/// A batch with one record for each time, its values as long as asked.
fn batch_of(base: u64, times: &[i64], value_bytes: usize, compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    let value = vec![b'v'; value_bytes];
    for &millis in times {
        builder.push(Record::from_parts(None, Some(&value)).timestamp(time(millis))).unwrap();
    }
    let batch = builder.finish(&BatchStamp::default()).unwrap();
    set_base_offset(batch, offset(base));
    batch.to_vec()
}

fn batch(base: u64, times: &[i64]) -> Vec<u8> {
    batch_of(base, times, VALUE_OF_115, Compression::None)
}

/// One batch of two records after the other, the first from offset `base` on.
fn batches(base: u64, count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|n| batch(base + 2 * n, &[1000 + 10 * n.cast_signed(), 1001 + 10 * n.cast_signed()])).collect()
}

fn header(batch: &[u8]) -> BatchHeader {
    BatchHeader::parse(batch).unwrap()
}

fn try_append(writer: &mut SegmentWriter, batches: &[Vec<u8>]) -> std::result::Result<(), AppendFailure> {
    let facts: Vec<_> = batches.iter().map(|batch| BatchFacts::of(&header(batch))).collect();
    let mut parts: Vec<_> = batches.iter().map(|batch| IoSlice::new(batch)).collect();
    writer.append(&mut parts, &facts)?;
    writer.segment().publish(writer.position());
    Ok(())
}

fn append(writer: &mut SegmentWriter, batches: &[Vec<u8>]) {
    try_append(writer, batches).unwrap();
}

/// The rules of a log of our own that never took gaps.
fn recovery(log: &Arc<LogFile>, base: u64) -> Recovery<'_> {
    Recovery {
        log,
        base: offset(base),
        start: Position::ZERO,
        next_offset: offset(base),
        end: Position::new(log.len().unwrap()),
        upper: None,
        gaps_allowed: false,
        search_behind: false,
    }
}

/// The rules of a directory that nobody vouches for.
fn foreign_recovery(log: &Arc<LogFile>, base: u64) -> Recovery<'_> {
    Recovery { gaps_allowed: true, search_behind: true, ..recovery(log, base) }
}

fn walk(recovery: &Recovery<'_>) -> Recovered {
    recover(recovery, |_, _, _| {}).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
