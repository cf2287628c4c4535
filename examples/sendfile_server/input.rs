//! Lines of standard input, as records.
//!
//! The invariant it owns: whatever whole lines were read are in the log before anything else happens.

use std::error::Error;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};

use kstore::{AppendOptions, BatchBuilder, Compression, Log, Record};

/// How much is read at once.
const INPUT_BYTES: usize = 64 << 10;
/// A line must be read back as a part of one batch, and no client should need more memory than this for it.
const LINE_BYTES: usize = 1 << 20;

pub(crate) struct Input {
    /// Without the standard library's buffer, in which a line could lie while the descriptor has nothing to read.
    file: File,
    chunk: Vec<u8>,
    /// The beginning of a line whose end was not read yet.
    unfinished: Vec<u8>,
    batch: BatchBuilder,
}

impl Input {
    pub(crate) fn new() -> io::Result<Input> {
        let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let batch = BatchBuilder::new(Compression::None);
        Ok(Input { file, chunk: vec![0; INPUT_BYTES], unfinished: Vec::new(), batch })
    }

    /// Reads what is there, and appends its lines as one batch. `false` at the end, where a last line need not end in a
    /// newline.
    pub(crate) fn append_to(&mut self, log: &Log) -> Result<bool, Box<dyn Error>> {
        let read = match self.file.read(&mut self.chunk) {
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => return Ok(true),
            Err(error) => return Err(format!("reading standard input: {error}").into()),
        };
        self.unfinished.extend_from_slice(&self.chunk[..read]);
        if read == 0 && !self.unfinished.is_empty() {
            self.unfinished.push(b'\n');
        }
        let whole = self.unfinished.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        for line in self.unfinished[..whole].split_inclusive(|&byte| byte == b'\n') {
            self.batch.push(Record::value(&line[..line.len() - 1]))?;
        }
        if !self.batch.is_empty() {
            log.append_built(&AppendOptions::default(), &mut self.batch)?;
        }
        self.unfinished.drain(..whole);
        if self.unfinished.len() > LINE_BYTES {
            return Err(format!("a line of standard input is longer than {LINE_BYTES} bytes").into());
        }
        Ok(read > 0)
    }
}

impl AsFd for Input {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
