//! Finding single records by offset or by time, at random, in a log whose bytes are all in the page cache.
//!
//! The bare calls read the same batch from where it is known to be, and check nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kstore::{Log, LogConfig, Offset, Record, Timestamp};

use super::{Cost, Outcome, Work};

/// The value of a record, and with its overhead nearly the batch.
const VALUE_BYTES: usize = 1 << 10;
/// The records of the log, one a batch.
const RECORDS: u64 = 32_768;

/// What is known of a record that is asked for, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Its offset; the answer is the record.
    Offset,
    /// The same, in a segment that is sealed and mapped.
    OffsetMapped,
    /// Its time; the answer is the offset.
    Time,
}

/// A log and the order in which its records are asked for.
pub(super) struct Lookup {
    log: Log,
    by: By,
    file: File,
    batch_bytes: u64,
    asked: Vec<Offset>,
}

impl Lookup {
    pub(super) fn new(dir: &Path, lookups: usize, by: By) -> Outcome<Lookup> {
        let log = Log::open(dir.join("looked-up"), LogConfig::default().mapped_reads(by == By::OffsetMapped))?;
        let value = super::scan::varied_bytes(VALUE_BYTES);
        for offset in 0..RECORDS {
            log.append(&[Record::value(&value).timestamp(time_of(Offset::new(offset)))])?;
        }
        let [path] = <[_; 1]>::try_from(super::scan::log_files(log.dir())?).expect("the log has one segment");
        let file = File::open(path)?;
        // All batches have one size, so that the place of each is known.
        let batch_bytes = file.metadata()?.len() / RECORDS;
        if by == By::OffsetMapped {
            super::scan::settle(&log)?;
        }
        let asked = random_offsets().take(lookups).collect();
        Ok(Lookup { log, by, file, batch_bytes, asked })
    }
}

impl Work for Lookup {
    fn records(&self) -> u64 {
        self.asked.len() as u64
    }

    fn raw(&mut self) -> Outcome<Cost> {
        let mut batch = vec![0; usize::try_from(self.batch_bytes)?];
        let (cost, ()) = Cost::of(|| {
            for offset in &self.asked {
                self.file.read_exact_at(&mut batch, offset.value() * self.batch_bytes)?;
                std::hint::black_box(&batch);
            }
            Ok(())
        })?;
        Ok(cost)
    }

    fn kstore(&mut self) -> Outcome<Cost> {
        let reader = self.log.reader();
        let (cost, ()) = Cost::of(|| {
            for &offset in &self.asked {
                match self.by {
                    By::Offset | By::OffsetMapped => {
                        let record = reader.records(offset..=offset)?.next().expect("the record is there")?;
                        assert_eq!(record.offset(), offset);
                        std::hint::black_box(record.value());
                    }
                    By::Time => {
                        let found = reader.offset_for_timestamp(time_of(offset))?;
                        assert_eq!(found, Some((offset, time_of(offset))));
                    }
                }
            }
            Ok(())
        })?;
        assert_eq!(self.log.stats().mapped_segments > 0, self.by == By::OffsetMapped, "what is measured");
        Ok(cost)
    }
}

/// The records' times, a millisecond apart.
fn time_of(offset: Offset) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + offset.value().cast_signed())
}

/// The same offsets in each run, in an order that no read-ahead can guess (xorshift).
fn random_offsets() -> impl Iterator<Item = Offset> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Offset::new(state % RECORDS)
    })
}
