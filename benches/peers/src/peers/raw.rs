//! The bare system calls: what the work of each row costs if nothing is remembered but bytes.
//!
//! It is no log: it finds records because it knows that all have one size, and does not notice what a crash leaves. All
//! ratios are to it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kstore::{BatchBuilder, Compression, Record};

use super::{Entry, Peer, RAW, Terms};
use crate::Outcome;
use crate::rows::{Kind, Shape};
use crate::values::Sum;

pub(super) const ENTRY: Entry = Entry {
    name: RAW,
    terms: Terms {
        used_as: "`write` at the end of a file, a new file each segment; `pread`; `open` and `fstat`",
        checksum: "none for single records; CRC-32C over each batch in memory, not stored; over all bytes of the scan",
        atomic: "nothing",
        plain_append: "the end of the process",
        durable_append: "`fdatasync` after each `write`, each thread its own",
        copies: "one, by the system; read into a buffer",
    },
    refuses: |_| None,
    run: crate::work::round::<Raw>,
};

/// What the scan reads at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Files that are filled one after the other.
struct Raw {
    dir: PathBuf,
    shape: Shape,
    files: Vec<File>,
    /// Of the last of them.
    bytes: usize,
    buffer: Vec<u8>,
    /// Over all that was written.
    written_crc: u32,
}

/// As many bytes as a batch is encoded in, and the payload among them.
struct Encoded(Vec<u8>);

impl Raw {
    fn path(&self, number: usize) -> PathBuf {
        self.dir.join(format!("{number:08}.plain"))
    }

    /// The file to write to: another one where the last is full.
    fn file(&mut self, next_bytes: usize) -> Outcome<&File> {
        if self.files.is_empty() || (self.bytes >= self.shape.segment_bytes && self.shape.segment_bytes > 0) {
            let path = self.path(self.files.len());
            self.files.push(OpenOptions::new().read(true).append(true).create_new(true).open(path)?);
            self.bytes = 0;
        }
        self.bytes += next_bytes;
        Ok(self.files.last().ok_or("a file was opened")?)
    }
}

impl Peer for Raw {
    type Batch<'a> = Encoded;

    fn open(dir: &Path, shape: &Shape) -> Outcome<Raw> {
        let mut raw = Raw {
            dir: dir.to_path_buf(),
            shape: *shape,
            files: Vec::new(),
            bytes: 0,
            buffer: Vec::new(),
            written_crc: 0,
        };
        loop {
            match OpenOptions::new().read(true).append(true).open(raw.path(raw.files.len())) {
                Ok(file) => {
                    raw.bytes = usize::try_from(file.metadata()?.len())?;
                    raw.files.push(file);
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                Err(error) => return Err(error.into()),
            }
        }
        // Threads share one file, which is there before they begin.
        raw.file(0)?;
        Ok(raw)
    }

    fn batch(values: &[&[u8]]) -> Encoded {
        let mut builder = BatchBuilder::new(Compression::None);
        for value in values {
            builder.push(Record::value(value)).expect("a record of a few bytes fits");
        }
        let mut bytes = values.concat();
        bytes.resize(builder.size_bytes(), 0x5a);
        Encoded(bytes)
    }

    fn append(&mut self, value: &[u8]) -> Outcome<()> {
        Ok(self.file(value.len())?.write_all(value)?)
    }

    fn append_batch(&mut self, batch: &Encoded) -> Outcome<()> {
        let crc = crc32c::crc32c(std::hint::black_box(&batch.0));
        self.written_crc = crc32c::crc32c_combine(self.written_crc, crc, batch.0.len());
        Ok(self.file(batch.0.len())?.write_all(&batch.0)?)
    }

    fn append_durably(&self, _thread: usize, value: &[u8]) -> Outcome<()> {
        let mut file = self.files.first().ok_or("a file was opened")?;
        file.write_all(value)?;
        Ok(file.sync_data()?)
    }

    fn records(&mut self) -> Outcome<usize> {
        let mut bytes = 0;
        for file in &self.files {
            bytes += usize::try_from(file.metadata()?.len())?;
        }
        Ok(match self.shape.kind {
            Kind::Batch | Kind::Scan => bytes / self.shape.encoded_bytes * self.shape.batch_records,
            _ => bytes / self.shape.value_bytes,
        })
    }

    fn scan(&mut self) -> Outcome<Option<Sum>> {
        self.buffer.resize(CHUNK_BYTES, 0);
        let mut crc = 0;
        for file in &self.files {
            let mut at = 0;
            loop {
                let read = file.read_at(&mut self.buffer, at)?;
                if read == 0 {
                    break;
                }
                crc = crc32c::crc32c_append(crc, &self.buffer[..read]);
                at += read as u64;
            }
        }
        if crc == self.written_crc { Ok(None) } else { Err("other bytes were read than were written".into()) }
    }

    fn lookup<T>(&mut self, record: usize, look: impl FnOnce(&[u8]) -> T) -> Outcome<T> {
        let of_file = self.shape.segment_bytes.div_ceil(self.shape.value_bytes);
        let file = self.files.get(record / of_file).ok_or("a file holds the record")?;
        self.buffer.resize(self.shape.value_bytes, 0);
        file.read_exact_at(&mut self.buffer, (record % of_file * self.shape.value_bytes) as u64)?;
        Ok(look(&self.buffer))
    }

    fn close(self) -> Outcome<()> {
        Ok(())
    }
}
