//! `commitlog`: segments and a dense, mapped index, for one thread.

use std::path::Path;

use commitlog::message::{MessageBuf, MessageSet};
use commitlog::{CommitLog, LogOptions, ReadLimit};

use super::{Entry, Peer, Terms};
use crate::Outcome;
use crate::rows::{Kind, Shape};
use crate::values::Sum;

pub(super) const ENTRY: Entry = Entry {
    name: "commitlog",
    terms: Terms {
        used_as: "`LogOptions` with the row's segments and room for its batches in `message_max_bytes`; one \
            `MessageBuf`, cleared and filled again, which spares the allocation that `append_msg` makes; `read` of 1 \
            MiB for the scan",
        checksum: "CRC-32C over each record; verified by every read",
        atomic: "nothing: a call is one `write`, a torn one is not noticed before it is read",
        plain_append: "the end of the process",
        durable_append: "none",
        copies: "two: into the `MessageBuf`, and by the system; read into a fresh buffer",
    },
    refuses: |row| match row.kind {
        Kind::Durable => {
            Some("it has no durable append: `flush` is `File::flush`, which does nothing, and an `msync` of the index")
        }
        _ => None,
    },
    run: crate::work::round::<OfCommitLog>,
};

/// What the scan reads at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Its largest message by default is a megabyte; a batch of ours, with a header a record, is a little more.
const LARGEST_MESSAGE_BYTES: usize = 2 << 20;
/// What a record has around its value.
const HEADER_BYTES: usize = 20;

struct OfCommitLog {
    log: CommitLog,
    message: MessageBuf,
    record_bytes: usize,
}

impl Peer for OfCommitLog {
    type Batch<'a> = Vec<&'a [u8]>;

    fn open(dir: &Path, shape: &Shape) -> Outcome<OfCommitLog> {
        let mut options = LogOptions::new(dir);
        let record_bytes = shape.value_bytes + HEADER_BYTES;
        options.segment_max_bytes((shape.segment_bytes / shape.value_bytes * record_bytes).max(LARGEST_MESSAGE_BYTES));
        options.message_max_bytes(LARGEST_MESSAGE_BYTES);
        Ok(OfCommitLog { log: CommitLog::new(options)?, message: MessageBuf::default(), record_bytes })
    }

    fn batch<'a>(values: &[&'a [u8]]) -> Vec<&'a [u8]> {
        values.to_vec()
    }

    fn append(&mut self, value: &[u8]) -> Outcome<()> {
        self.message.clear();
        self.message.push(value).map_err(|error| format!("{error:?}"))?;
        self.log.append(&mut self.message)?;
        Ok(())
    }

    fn append_batch(&mut self, batch: &Vec<&[u8]>) -> Outcome<()> {
        self.message.clear();
        for value in batch {
            self.message.push(value).map_err(|error| format!("{error:?}"))?;
        }
        self.log.append(&mut self.message)?;
        Ok(())
    }

    fn append_durably(&self, _thread: usize, _value: &[u8]) -> Outcome<()> {
        Err("refused".into())
    }

    fn records(&mut self) -> Outcome<usize> {
        Ok(usize::try_from(self.log.next_offset())?)
    }

    fn scan(&mut self) -> Outcome<Option<Sum>> {
        let (mut sum, mut next) = (Sum::default(), 0);
        loop {
            let messages = self.log.read(next, ReadLimit::max_bytes(CHUNK_BYTES))?;
            if messages.is_empty() {
                return Ok(Some(sum));
            }
            next += messages.len() as u64;
            messages.iter().for_each(|message| sum.add(message.payload()));
        }
    }

    fn lookup<T>(&mut self, record: usize, look: impl FnOnce(&[u8]) -> T) -> Outcome<T> {
        // Less than two, for at the end of a segment the room for one alone is refused.
        let messages = self.log.read(record as u64, ReadLimit::max_bytes(2 * self.record_bytes - 1))?;
        let message = messages.iter().next().ok_or("the record is there")?;
        Ok(look(message.payload()))
    }

    fn close(self) -> Outcome<()> {
        // It has no close of its own.
        Ok(())
    }
}
