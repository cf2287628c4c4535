//! The small log in `cursors/` that the commits stand in.
//!
//! It is a log of this engine, opened inside the log whose cursors it keeps, under that one's lock, and without a thread.
//! It knows names and changes, and not whether a commit still counts. The invariant it owns: it holds the last change of
//! every cursor and what that rests on, and no more than a few times that.
//!
//! It is kept small by a rewrite, in four steps. A crash after each leaves:
//! 1. begin a segment: an empty one;
//! 2. write what every cursor is at into it, each as a replacement: some of the replacements, which say what the changes
//!    before them add up to;
//! 3. sync: the same, and durable;
//! 4. delete the segments before it as any log does (`log/deletion.rs`), the oldest first: fewer of the changes before the
//!    replacements. There is never a hole in what is left.

use std::path::Path;
use std::sync::Arc;

use crate::config::{LogConfig, Worker};
use crate::error::{Corruption, Error, IoOp, Result};
use crate::fs::Env;
use crate::log::options::AppendOptions;
use crate::log::read::Reader;
use crate::log::shared::Shared;
use crate::offset::Offset;
use crate::record::Record;

use super::record::Change;

/// A rewrite is due once this many bytes were written since the last one, and as many again as that one wrote.
const REWRITE_BYTES: u64 = 64 << 10;
/// The names of one batch of a rewrite.
const REWRITE_BATCH: usize = 128;
/// The largest index of a segment in bytes; it serves 32 MiB.
const INDEX_BYTES: u64 = 64 << 10;
/// Files of this log that are kept open besides the active segment's.
const OPEN_SEGMENTS: usize = 2;

/// A cursor's name and what changed; `None` deletes it.
pub(super) type Named = (Arc<str>, Option<Change>);

/// The open log of the cursors.
#[derive(Debug)]
pub(super) struct Store {
    shared: Arc<Shared>,
    /// Written since the last rewrite, and by it.
    written_bytes: u64,
    rewritten_bytes: u64,
}

impl Store {
    /// Whether there is anything to open.
    pub(super) fn exists(env: &Env, dir: &Path) -> Result<bool> {
        match env.metadata(dir) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io(IoOp::Inspect, dir, &error)),
        }
    }

    /// Opens the log, creating it if need be.
    pub(super) fn open(env: &Env, dir: &Path) -> Result<Store> {
        let shared = open(env, dir)?;
        let written_bytes = shared.core.all_segments().iter().map(|segment| segment.published().value()).sum();
        Ok(Store { shared, written_bytes, rewritten_bytes: 0 })
    }

    /// Every change that is there, the oldest first.
    pub(super) fn read(&self, mut each: impl FnMut(&str, Option<Change>)) -> Result<()> {
        for batch in Reader::over(Arc::clone(&self.shared.core)).batches(..)? {
            let batch = batch?;
            let corrupt = |reason| Error::corrupt(batch.path(), batch.position(), reason);
            for record in batch.records() {
                let record = record?;
                let name = record.key().and_then(|key| std::str::from_utf8(key).ok());
                let name = name.ok_or_else(|| corrupt(Corruption::Content { expected: "the name of a cursor" }))?;
                let change = record.value().map(|value| Change::decode(value).map_err(corrupt)).transpose()?;
                each(name, change);
            }
        }
        Ok(())
    }

    /// Writes changes as one batch: after a crash all of them are there, or none.
    pub(super) fn write(&mut self, changes: &[Named]) -> Result<()> {
        let values: Vec<Option<Vec<u8>>> =
            changes.iter().map(|(_, change)| change.as_ref().map(Change::encode)).collect();
        let records: Vec<Record<'_>> = changes
            .iter()
            .zip(&values)
            .map(|((name, _), value)| match value {
                Some(value) => Record::new(name.as_bytes(), value),
                None => Record::tombstone(name.as_bytes()),
            })
            .collect();
        let before = self.appended_bytes();
        self.shared.append(&AppendOptions::default(), &records)?;
        self.written_bytes += self.appended_bytes() - before;
        Ok(())
    }

    /// The log itself, for a sync under no lock.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn is_rewrite_due(&self) -> bool {
        self.written_bytes > REWRITE_BYTES + self.rewritten_bytes
    }

    /// Begins anew with what every cursor is at, and removes what was written before. After an error this store is to be
    /// closed and opened again.
    pub(super) fn rewrite(&mut self, all: &[Named]) -> Result<()> {
        let base = self.shared.roll()?;
        self.written_bytes = 0;
        for some in all.chunks(REWRITE_BATCH) {
            self.write(some)?;
        }
        self.rewritten_bytes = std::mem::take(&mut self.written_bytes);
        self.shared.sync_all()?;
        self.drop_below(base)
    }

    /// Removes the segments that end at or below `base`, where one begins; everything is synced.
    fn drop_below(&mut self, base: Offset) -> Result<()> {
        self.shared.delete_records_before(base).map(drop)
    }

    fn appended_bytes(&self) -> u64 {
        self.shared.counters.bytes.load(crate::sync::atomic::Ordering::Relaxed)
    }
}

fn open(env: &Env, dir: &Path) -> Result<Arc<Shared>> {
    let config = LogConfig::default()
        .worker(Worker::Caller)
        .file_delete_delay_ms(0)
        .segment_ms(u64::MAX)
        .segment_index_bytes(INDEX_BYTES)
        .max_open_segments(OPEN_SEGMENTS);
    Shared::open_inside(env, dir, config)
}
