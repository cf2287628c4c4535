//! Reading a log from its front to its back: every record decoded, every checksum verified.
//!
//! The bare calls read the same `.log` files a mebibyte at a time and compute the checksum of it all.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kstore::{BatchBuilder, Compression, Log, LogConfig, Record};

use super::{Cost, Outcome, Work};

/// The value of a record, in bytes.
pub(super) const VALUE_BYTES: usize = 100;
/// The batches of the log.
const BATCH_BYTES: usize = 64 << 10;
/// The segments of the log.
const SEGMENTS: u64 = 4;
/// What the bare calls read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// No page is larger that matters here.
const PAGE_BYTES: usize = 4 << 10;

/// Which iterator reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Records that own their bytes.
    Records,
    /// The same, each lent for a moment.
    Lent,
    /// Batches, with records that borrow from them.
    Batches,
}

/// A log that is read again and again.
pub(super) struct Scan {
    log: Log,
    files: Vec<PathBuf>,
    by: By,
    chunk: Vec<u8>,
}

impl Scan {
    pub(super) fn new(dir: &Path, total_bytes: u64, by: By) -> Outcome<Scan> {
        let log = filled_log(&dir.join("scanned"), BATCH_BYTES, total_bytes, total_bytes / SEGMENTS)?;
        let files = log_files(log.dir())?;
        Ok(Scan { log, files, by, chunk: chunk() })
    }

    /// Counts records and the bytes of their values, so that none of it can be left out.
    fn read_all(&self) -> Outcome<(u64, usize)> {
        let (mut records, mut bytes) = (0, 0);
        match self.by {
            By::Records => {
                for record in self.log.records(..)? {
                    bytes += record?.value().map_or(0, <[u8]>::len);
                    records += 1;
                }
            }
            By::Lent => {
                let mut lent = self.log.records(..)?;
                while let Some(record) = lent.next_ref() {
                    bytes += record?.value().map_or(0, <[u8]>::len);
                    records += 1;
                }
            }
            By::Batches => {
                for batch in self.log.reader().batches(..)? {
                    for record in batch?.records() {
                        bytes += record?.value().map_or(0, <[u8]>::len);
                        records += 1;
                    }
                }
            }
        }
        Ok((records, bytes))
    }
}

impl Work for Scan {
    fn records(&self) -> u64 {
        self.log.log_end_offset() - self.log.log_start_offset()
    }

    fn raw(&mut self) -> Outcome<Cost> {
        let (cost, _) = Cost::of(|| read_and_checksum(&self.files, &mut self.chunk))?;
        Ok(cost)
    }

    fn kstore(&mut self) -> Outcome<Cost> {
        let (cost, (records, bytes)) = Cost::of(|| self.read_all())?;
        assert_eq!(records, self.records(), "every record was read");
        assert_eq!(bytes as u64, records * VALUE_BYTES as u64, "with its value");
        Ok(cost)
    }
}

/// Room for [`read_and_checksum`].
pub(super) fn chunk() -> Vec<u8> {
    vec![0; CHUNK_BYTES + PAGE_BYTES]
}

/// Reads files chunk by chunk, and computes the checksum of it all.
///
/// The chunk is used from a page's beginning on: where it begins sixteen bytes behind one, as large pieces of the heap
/// do, processors with a certain way to copy (Zen 3) take six times as long, and kstore would be compared with that.
pub(super) fn read_and_checksum(files: &[PathBuf], chunk: &mut [u8]) -> Outcome<u64> {
    let aligned = chunk.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
    let chunk = &mut chunk[aligned..];
    let mut read_bytes = 0;
    for path in files {
        let file = File::open(path)?;
        let (mut at, mut crc) = (0, 0);
        loop {
            let read = file.read_at(chunk, at)?;
            if read == 0 {
                break;
            }
            crc = crc32c::crc32c_append(crc, &chunk[..read]);
            at += read as u64;
        }
        std::hint::black_box(crc);
        read_bytes += at;
    }
    Ok(read_bytes)
}

/// A log of batches of 100-byte records, open and not synced.
pub(super) fn filled_log(dir: &Path, batch_bytes: usize, total_bytes: u64, segment_bytes: u64) -> Outcome<Log> {
    let log = Log::open(dir, LogConfig::default().segment_bytes(segment_bytes))?;
    let values = values_of_batch(batch_bytes)?;
    let records: Vec<Record<'_>> = values.chunks_exact(VALUE_BYTES).map(Record::value).collect();
    for _ in 0..total_bytes / batch_bytes as u64 {
        log.append(&records)?;
    }
    Ok(log)
}

/// Seals all that was appended and makes it durable, for the active segment is never mapped.
pub(super) fn settle(log: &Log) -> Outcome<()> {
    log.roll()?;
    log.append(&[Record::value("in the active segment")])?;
    log.sync()?;
    Ok(())
}

/// The `.log` files of a log, oldest first.
pub(super) fn log_files(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The values of as many records as fit a batch of this encoded size, one behind the other.
pub(super) fn values_of_batch(batch_bytes: usize) -> Outcome<Vec<u8>> {
    let mut values = varied_bytes(batch_bytes / VALUE_BYTES * VALUE_BYTES);
    let mut builder = BatchBuilder::new(Compression::None);
    let mut fitting = 0;
    for value in values.chunks_exact(VALUE_BYTES) {
        builder.push(Record::value(value))?;
        if builder.size_bytes() > batch_bytes {
            break;
        }
        fitting += 1;
    }
    values.truncate(fitting * VALUE_BYTES);
    Ok(values)
}

/// Bytes that are not all the same.
pub(super) fn varied_bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| b'a' + u8::try_from(at * 7 % 26).expect("one of 26")).collect()
}
