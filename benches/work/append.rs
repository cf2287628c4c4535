//! Appends that nobody syncs: one record a call, and batches.
//!
//! Each round fills a fresh log or file, so that neither grows without bound, and deletes it afterwards. The log rolls
//! three times in a round; sealed segments are synced in the background meanwhile, as they are in any log.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use kstore::{BatchBuilder, Compression, Log, LogConfig, Record, WriteMode};

use super::{Cost, Outcome, Work};

/// The segments that a round fills.
const SEGMENTS: u64 = 4;
/// What a batch of one record has besides its value, roundly: where segments end need not be exact.
const OVERHEAD_BYTES: u64 = 70;

/// Appends of one batch after the other.
pub(super) struct Append {
    dir: PathBuf,
    value_bytes: usize,
    values: Vec<u8>,
    batches: u64,
    segment_bytes: u64,
    /// What the bare calls write a batch.
    plain: Vec<u8>,
    checksummed: bool,
    write_mode: WriteMode,
}

impl Append {
    /// The same, in another write mode.
    pub(super) fn in_mode(self, write_mode: WriteMode) -> Append {
        Append { write_mode, ..self }
    }
}

/// One record a call; the bare calls write its payload.
pub(super) fn single(dir: &Path, value_bytes: usize, records: u64) -> Append {
    let values = super::scan::varied_bytes(value_bytes);
    Append {
        dir: dir.to_path_buf(),
        value_bytes,
        plain: values.clone(),
        values,
        batches: records,
        segment_bytes: records * (value_bytes as u64 + OVERHEAD_BYTES) / SEGMENTS,
        checksummed: false,
        write_mode: WriteMode::Write,
    }
}

/// Batches of 100-byte records, up to `batch_bytes` each when encoded; the bare calls write as many bytes, and compute
/// their checksum.
pub(super) fn batches(dir: &Path, batch_bytes: usize, total_bytes: u64) -> Outcome<Append> {
    let values = super::scan::values_of_batch(batch_bytes)?;
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values.chunks_exact(super::scan::VALUE_BYTES) {
        builder.push(Record::value(value))?;
    }
    Ok(Append {
        dir: dir.to_path_buf(),
        value_bytes: super::scan::VALUE_BYTES,
        values,
        batches: total_bytes / batch_bytes as u64,
        segment_bytes: total_bytes / SEGMENTS,
        plain: super::scan::varied_bytes(builder.size_bytes()),
        checksummed: true,
        write_mode: WriteMode::Write,
    })
}

impl Work for Append {
    fn records(&self) -> u64 {
        self.batches * (self.values.len() / self.value_bytes) as u64
    }

    fn raw(&mut self) -> Outcome<Cost> {
        let dir = tempfile::tempdir_in(&self.dir)?;
        let mut file = File::create(dir.path().join("plain"))?;
        let (cost, ()) = Cost::of(|| {
            for _ in 0..self.batches {
                if self.checksummed {
                    std::hint::black_box(crc32c::crc32c(std::hint::black_box(&self.plain)));
                }
                file.write_all(&self.plain)?;
            }
            Ok(())
        })?;
        Ok(cost)
    }

    fn kstore(&mut self) -> Outcome<Cost> {
        let dir = tempfile::tempdir_in(&self.dir)?;
        let config = LogConfig::default().segment_bytes(self.segment_bytes).write_mode(self.write_mode);
        let log = Log::open(dir.path().join("log"), config)?;
        if let Some(reason) = log.stats().not_mapped {
            return Err(format!("nothing is mapped here: {reason:?}").into());
        }
        let records: Vec<Record<'_>> = self.values.chunks_exact(self.value_bytes).map(Record::value).collect();
        // The first append of a session notes durably that the log is in use: once, and not part of the pace.
        let first = log.append(&records)?;
        let (cost, ()) = Cost::of(|| {
            for _ in 0..self.batches {
                log.append(&records)?;
            }
            Ok(())
        })?;
        assert_eq!(log.log_end_offset() - first.next_offset(), self.records(), "every record was appended");
        assert!(log.segments()?.len() > 2, "the log rolled meanwhile");
        log.close()?;
        Ok(cost)
    }
}
