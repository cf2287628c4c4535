//! The rows of the table: which work each peer is asked to do, and how much of it.
//!
//! It is only data. The invariant it owns: a row is the same work for every peer, the same records in the same number.

use kstore::{BatchBuilder, Compression, Record};
use serde::{Deserialize, Serialize};

use crate::Outcome;

/// A line of work that all peers are asked to do.
#[derive(Debug)]
pub(crate) struct Row {
    /// A short name without blanks.
    pub(crate) name: &'static str,
    /// What is done.
    pub(crate) work: &'static str,
    /// What the bare system calls do in its place.
    pub(crate) against: &'static str,
    pub(crate) kind: Kind,
    value_bytes: usize,
}

/// The kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Appends of one record a call; nobody waits for the disk.
    Single,
    /// Appends of many records a call; nobody waits for the disk.
    Batch,
    /// Appends of one record a call that return when it is on the disk, by several threads at once.
    Durable,
    /// All records read from the front to the back.
    Scan,
    /// Single records read, by a number that says which, in random order.
    Lookup,
    /// Opening what was closed.
    Reopen,
}

impl Kind {
    /// Whether its unit of work is a call whose latency is measured.
    pub(crate) fn appends(self) -> bool {
        matches!(self, Kind::Single | Kind::Batch | Kind::Durable)
    }
}

/// How much of its work a row is in one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    pub(crate) value_bytes: usize,
    /// The records of one call, or of one of those that fill a log to read from.
    pub(crate) batch_records: usize,
    /// As many bytes as kstore encodes such a batch in.
    pub(crate) encoded_bytes: usize,
    /// Calls that are timed together; with several threads, those of each. Where something is read, those that fill the
    /// log.
    pub(crate) calls: usize,
    /// Calls whose latencies are measured one by one: of their own where a look at the clock would weigh, otherwise the
    /// same.
    pub(crate) latency_calls: usize,
    pub(crate) threads: usize,
    /// Where a peer has segments, roughly so many bytes of payload go into each.
    pub(crate) segment_bytes: usize,
    /// Lookups, or openings.
    pub(crate) reads: usize,
}

impl Shape {
    /// The records of all calls that are timed together.
    pub(crate) fn records(&self) -> usize {
        self.calls * self.threads * self.batch_records
    }

    /// The payload of the records of all calls that are timed together.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.records() * self.value_bytes
    }
}

/// All rows, in the order of the table.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "append_100",
        work: "append, one 100-byte record a call",
        against: "`write` of the payload",
        kind: Kind::Single,
        value_bytes: 100,
    },
    Row {
        name: "append_1k",
        work: "append, one 1 KiB record a call",
        against: "`write` of the payload",
        kind: Kind::Single,
        value_bytes: 1 << 10,
    },
    Row { name: "batch_16k", work: "append, 16 KiB batches of 100-byte records", ..BATCH },
    Row { name: "batch_64k", work: "append, 64 KiB batches of 100-byte records", ..BATCH },
    Row { name: "batch_1m", work: "append, 1 MiB batches of 100-byte records", ..BATCH },
    Row { name: "durable_1", work: "durable append of one 100-byte record a call, 1 thread", ..DURABLE },
    Row { name: "durable_8", work: "durable append of one 100-byte record a call, 8 threads", ..DURABLE },
    Row { name: "durable_64", work: "durable append of one 100-byte record a call, 64 threads", ..DURABLE },
    Row {
        name: "scan",
        work: "sequential read of 100-byte records that were appended in 64 KiB batches, every one decoded",
        against: "`pread` of 1 MiB and CRC-32C",
        kind: Kind::Scan,
        value_bytes: 100,
    },
    Row {
        name: "lookup",
        work: "random lookup by offset, of 1 KiB records that were appended one a call",
        against: "`pread` of that record at a known place",
        kind: Kind::Lookup,
        value_bytes: 1 << 10,
    },
    Row {
        name: "reopen",
        work: "open after a clean close, 32 segments where there are segments",
        against: "`open` and `fstat` of each file",
        kind: Kind::Reopen,
        value_bytes: 1 << 10,
    },
];

const BATCH: Row = Row {
    name: "",
    work: "",
    against: "`write` and CRC-32C of the bytes as kstore encodes them",
    kind: Kind::Batch,
    value_bytes: 100,
};
const DURABLE: Row = Row {
    name: "",
    work: "",
    against: "`write` and `fdatasync` a record, all threads on one file",
    kind: Kind::Durable,
    value_bytes: 100,
};

/// A log that is filled rolls so often in a round.
const SEGMENTS: usize = 4;
/// Records that are synced one by one are few: all of them fit one segment of a size that anybody would choose.
const DURABLE_SEGMENT_BYTES: usize = 64 << 20;
/// A log that is opened has so many segments.
const OPENED_SEGMENTS: usize = 32;

impl Row {
    /// How much work a round of it is.
    ///
    /// # Errors
    /// If a batch cannot be encoded.
    pub(crate) fn shape(&self, quick: bool) -> Outcome<Shape> {
        let pick = |of_quick: usize, of_full: usize| if quick { of_quick } else { of_full };
        let batch_bytes = match self.name {
            "batch_16k" => 16 << 10,
            "batch_64k" | "scan" => 64 << 10,
            "batch_1m" => 1 << 20,
            _ => 0,
        };
        let threads = match self.name {
            "durable_8" => 8,
            "durable_64" => 64,
            _ => 1,
        };
        let (batch_records, encoded_bytes) = batch_of(self.value_bytes, batch_bytes)?;
        let one = Shape {
            kind: self.kind,
            value_bytes: self.value_bytes,
            batch_records,
            encoded_bytes,
            calls: 1,
            latency_calls: 0,
            threads,
            segment_bytes: 0,
            reads: 0,
        };
        let shape = match self.kind {
            Kind::Single if self.value_bytes < 1 << 10 => {
                Shape { calls: pick(100_000, 4_000_000), latency_calls: pick(50_000, 1_000_000), ..one }
            }
            Kind::Single => Shape { calls: pick(50_000, 1_000_000), latency_calls: pick(50_000, 500_000), ..one },
            Kind::Batch => Shape { calls: pick(64 << 20, 1 << 30) / batch_bytes, ..one },
            Kind::Durable => Shape { calls: pick(256, 2048) / threads.min(16), ..one },
            Kind::Scan => Shape { calls: pick(32 << 20, 512 << 20) / batch_bytes, ..one },
            Kind::Lookup => Shape { calls: pick(16 << 10, 256 << 10), reads: pick(20_000, 200_000), ..one },
            Kind::Reopen => Shape { calls: pick(32 << 10, 512 << 10), reads: pick(5, 20), ..one },
        };
        let segment_bytes = match self.kind {
            Kind::Reopen => shape.payload_bytes() / OPENED_SEGMENTS,
            Kind::Durable => DURABLE_SEGMENT_BYTES,
            _ => shape.payload_bytes() / SEGMENTS,
        };
        Ok(Shape { segment_bytes, ..shape })
    }
}

/// How many records fit a batch of kstore that has at most so many bytes, at least one; and the bytes of that batch.
fn batch_of(value_bytes: usize, batch_bytes: usize) -> Outcome<(usize, usize)> {
    let value = vec![0; value_bytes];
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(Record::value(&value))?;
    let (mut records, mut bytes) = (1, builder.size_bytes());
    loop {
        builder.push(Record::value(&value))?;
        if builder.size_bytes() > batch_bytes {
            return Ok((records, bytes));
        }
        (records, bytes) = (records + 1, builder.size_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, ROWS};

    #[test]
    fn a_batch_is_as_large_as_its_row_says_and_no_larger() {
        for (name, bytes) in [("batch_16k", 16 << 10), ("batch_64k", 64 << 10), ("batch_1m", 1 << 20)] {
            let row = ROWS.iter().find(|row| row.name == name).expect("the row");
            let shape = row.shape(true).expect("a shape");
            assert!(shape.encoded_bytes <= bytes && shape.encoded_bytes + 2 * 100 > bytes, "{name}: {shape:?}");
            assert!(shape.batch_records * 100 < shape.encoded_bytes);
        }
    }

    #[test]
    fn every_row_has_work_and_a_name_of_its_own() {
        for quick in [true, false] {
            for row in ROWS {
                let shape = row.shape(quick).expect("a shape");
                assert!(shape.calls > 0 && shape.segment_bytes > shape.value_bytes, "{}: {shape:?}", row.name);
                assert_eq!(shape.reads > 0, matches!(row.kind, Kind::Lookup | Kind::Reopen), "{}", row.name);
                assert_eq!(ROWS.iter().filter(|other| other.name == row.name).count(), 1, "{}", row.name);
            }
        }
    }

    #[test]
    fn single_records_are_batches_of_one() {
        for row in ROWS.iter().filter(|row| !matches!(row.kind, Kind::Batch | Kind::Scan)) {
            assert_eq!(row.shape(false).expect("a shape").batch_records, 1, "{}", row.name);
        }
    }
}
