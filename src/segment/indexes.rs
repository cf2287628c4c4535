//! The two sparse indexes of one segment, and Kafka's rule for when a batch gets an entry in them.
//!
//! One place for the writer and for recovery, so that a rebuilt index equals the one that was lost (row 4 of the rule
//! stands in `LogSegment.append` of Kafka since 4.0: per batch, not per append). The invariant it owns: an entry is
//! added only for a batch that is wholly in the `.log`.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::fs::Env;
use crate::index::{OffsetIndex, TimeIndex};
use crate::names::SegmentFile;
use crate::offset::{Offset, Position, Timestamp};
use crate::record::BatchHeader;
use crate::state::IndexMarks;
use crate::sync::Mutex;

/// How large the indexes may grow and how sparse they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexRules {
    pub(crate) max_bytes: u64,
    pub(crate) interval_bytes: u64,
}

/// What the indexes need to know about a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchFacts {
    pub(crate) size_bytes: u64,
    pub(crate) last_offset: Offset,
    /// `None` if no record of the batch has a timestamp.
    pub(crate) max_timestamp: Option<Timestamp>,
}

impl BatchFacts {
    pub(crate) fn of(header: &BatchHeader) -> BatchFacts {
        BatchFacts {
            size_bytes: header.size_bytes,
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp(),
        }
    }
}

/// The largest timestamp of a segment so far, and the last offset of the first batch that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaxTimestamp {
    pub(crate) timestamp: Timestamp,
    pub(crate) offset: Offset,
}

/// Two indexes that grow with their segment.
#[derive(Debug)]
pub(crate) struct GrowingIndexes {
    pub(crate) offset: Arc<OffsetIndex>,
    pub(crate) time: Arc<TimeIndex>,
    interval_bytes: u64,
    bytes_since_last_entry: u64,
    max_timestamp: Option<MaxTimestamp>,
    /// One of the two takes no further entry. Nobody else adds any, so that an append need not ask them.
    is_full: bool,
    /// What the files held when gathered entries last reached them.
    marks: Mutex<IndexMarks>,
}

impl GrowingIndexes {
    /// Empty indexes; whatever the files held is gone.
    pub(crate) fn create(env: &Env, dir: &Path, base: Offset, rules: IndexRules) -> Result<GrowingIndexes> {
        let offset = OffsetIndex::create(env, &path(dir, base, SegmentFile::OffsetIndex), base, rules.max_bytes)?;
        let time = TimeIndex::create(env, &path(dir, base, SegmentFile::TimeIndex), base, rules.max_bytes)?;
        Ok(GrowingIndexes {
            is_full: offset.is_full() || time.is_full(),
            offset: Arc::new(offset),
            time: Arc::new(time),
            interval_bytes: rules.interval_bytes,
            bytes_since_last_entry: 0,
            max_timestamp: None,
            marks: Mutex::new(IndexMarks::default()),
        })
    }

    /// Indexes whose first entries are known to be good for the log up to `position`.
    pub(crate) fn resume(
        env: &Env,
        dir: &Path,
        base: Offset,
        rules: IndexRules,
        known: &KnownIndexes,
    ) -> Result<GrowingIndexes> {
        let offset_path = path(dir, base, SegmentFile::OffsetIndex);
        let time_path = path(dir, base, SegmentFile::TimeIndex);
        let offset = OffsetIndex::resume(env, &offset_path, base, rules.max_bytes, known.offset_entries)?;
        let time = TimeIndex::resume(env, &time_path, base, rules.max_bytes, known.time_entries)?;
        let last_entry_at = offset.last()?.map_or(Position::ZERO, |entry| entry.position);
        let bytes_since_last_entry = known.position.value().saturating_sub(last_entry_at.value());
        let marks = Mutex::new(marks_of(&offset, &time));
        Ok(GrowingIndexes {
            is_full: offset.is_full() || time.is_full(),
            offset: Arc::new(offset),
            time: Arc::new(time),
            interval_bytes: rules.interval_bytes,
            bytes_since_last_entry,
            max_timestamp: known.max_timestamp,
            marks,
        })
    }

    /// Takes note of a batch that now lies at `position`. An entry that cannot be had (the file takes no more) makes
    /// the index sparser and nothing else; the next batch tries again.
    pub(crate) fn note_batch(&mut self, position: Position, batch: &BatchFacts) {
        if let Some(timestamp) = batch.max_timestamp
            && self.max_timestamp.is_none_or(|max| timestamp > max.timestamp)
        {
            self.max_timestamp = Some(MaxTimestamp { timestamp, offset: batch.last_offset });
        }
        if self.bytes_since_last_entry > self.interval_bytes {
            let added = !self.offset.is_full() && self.offset.append(batch.last_offset, position).is_ok();
            if added && self.note_time(false).is_ok() {
                self.bytes_since_last_entry = 0;
            }
            self.is_full = self.offset.is_full() || self.time.is_full();
        }
        self.bytes_since_last_entry += batch.size_bytes;
    }

    /// Adds the last time entry of a segment that takes no more batches, writes what was gathered, and cuts off what a
    /// failed write left behind it.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.note_time(true)?;
        self.write_gathered()?;
        self.offset.seal()?;
        self.time.seal()
    }

    /// Writes what was gathered to the files, without making it durable.
    pub(crate) fn write_gathered(&self) -> Result<()> {
        self.offset.write_gathered()?;
        self.time.write_gathered()?;
        *self.marks.lock() = marks_of(&self.offset, &self.time);
        Ok(())
    }

    /// Makes the files durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.offset.sync()?;
        self.time.sync()
    }

    /// Whether one of the two takes no further entry, so that the segment must roll.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    pub(crate) fn max_timestamp(&self) -> Option<MaxTimestamp> {
        self.max_timestamp
    }

    /// What of the indexes is in their files.
    pub(crate) fn marks(&self) -> IndexMarks {
        *self.marks.lock()
    }

    /// Adds the largest timestamp so far to the time index, if it exceeds the last entry and there is room.
    fn note_time(&self, use_reserved_slot: bool) -> Result<()> {
        match self.max_timestamp {
            // Kafka's first entry needs a timestamp of 0 or more; there are no other times in the format.
            Some(max) if max.timestamp.as_millis() >= 0 && (use_reserved_slot || !self.time.is_full()) => {
                self.time.maybe_append(max.timestamp, max.offset, use_reserved_slot)
            }
            _ => Ok(()),
        }
    }
}

fn marks_of(offset: &OffsetIndex, time: &TimeIndex) -> IndexMarks {
    let (offset_entries, offset_crc) = offset.mark();
    let (time_entries, time_crc) = time.mark();
    IndexMarks { offset_entries, offset_crc, time_entries, time_crc }
}

/// What is known of a segment's indexes before they are opened for writing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownIndexes {
    pub(crate) offset_entries: u64,
    pub(crate) time_entries: u64,
    /// The end of the log that these entries were made for.
    pub(crate) position: Position,
    pub(crate) max_timestamp: Option<MaxTimestamp>,
}

/// The path of a segment's file.
pub(crate) fn path(dir: &Path, base: Offset, kind: SegmentFile) -> Arc<Path> {
    dir.join(kind.name(base)).into()
}
