//! What is known of the times in a segment without reading all of it: a bound on them, and where a search may begin.
//!
//! The bound is fed by the writer; of a segment that this process does not write to it is learned from the last entry of
//! the time index and from the batches behind it, and kept once another segment follows. The invariant it owns (half of I25): no published batch of a
//! sound segment claims a time above its bound. Of a damaged range nothing is known, so that a bound says nothing of a
//! segment that has one.

use std::sync::Arc;

use crate::error::Result;
use crate::fs::Env;
use crate::index::{TimeEntry, TimeIndex};
use crate::names::SegmentFile;
use crate::offset::{Offset, Position, Timestamp};
use crate::record::BatchHeader;
use crate::sync::atomic::{AtomicI64, Ordering};

use super::{Files, Handles, Scanner, Segment, path};

/// The format's "no timestamp": a bound below every time.
pub(crate) const NO_TIMESTAMP: Timestamp = Timestamp::from_millis(-1);
/// In place of a bound that nobody has asked for yet. A batch that claims nothing but this time is not worth a memory.
const UNKNOWN: i64 = i64::MIN;

/// A time that no record of a segment exceeds, if it is known. Read after the published size or the log end, it covers
/// what lies below.
#[derive(Debug)]
pub(super) struct TimeBound(AtomicI64);

impl TimeBound {
    pub(super) fn unknown() -> TimeBound {
        TimeBound(AtomicI64::new(UNKNOWN))
    }
}

impl Segment {
    /// A time that no record exceeds, −1 where none has a time; `None` if nobody has asked for it yet.
    pub(crate) fn time_bound(&self) -> Option<Timestamp> {
        let millis = self.time_bound.0.load(Ordering::Relaxed);
        (millis != UNKNOWN).then_some(Timestamp::from_millis(millis))
    }

    /// The writer's word on the largest time so far, given before the batches are published.
    pub(super) fn set_time_bound(&self, largest: Option<Timestamp>) {
        self.time_bound.0.store(largest.unwrap_or(NO_TIMESTAMP).as_millis(), Ordering::Relaxed);
    }

    /// Finds out about the bound. `next` is the base offset of the segment behind this one.
    ///
    /// The last entry of the time index is believed as far as it goes: nothing up to its offset is later. In a log whose
    /// times rise that is the whole segment; else the headers behind it are read. Without such an index all headers are.
    /// No file stays open for this.
    pub(crate) fn learn_time_bound(&self, env: &Env, next: Option<Offset>) -> Result<Timestamp> {
        if let Some(known) = self.time_bound() {
            return Ok(known);
        }
        let open = self.handles.read().clone();
        let index = match &open {
            Some(handles) => handles.time_index.clone(),
            None => self.open_time_index(env),
        };
        let last = index.and_then(|index| index.last().ok().flatten()).filter(|entry| entry.offset >= self.base());
        let mut bound = last.map_or(NO_TIMESTAMP, |entry| entry.timestamp);
        if last.is_none_or(|entry| Some(entry.offset + 1) != next) {
            let handles = match open {
                Some(handles) => handles,
                None => Arc::new(self.open_files(env)?),
            };
            let scan = self.scan_towards(&handles, last.map_or(self.base(), |entry| entry.offset))?;
            bound = bound.max(latest(scan)?.unwrap_or(NO_TIMESTAMP));
        }
        // The last segment may take more, without a word from whoever writes it.
        if next.is_some() {
            self.set_time_bound(Some(bound));
        }
        Ok(bound)
    }

    /// The largest timestamp of a segment that takes no more batches; `None` if no record has one. Remembered once known.
    ///
    /// The last entry of the time index says how much of the file need not be looked at: nothing up to its offset is later.
    /// What lies behind it is walked, header by header, for a full disk may have kept later entries out.
    pub(crate) fn largest_timestamp(&self, env: &Env) -> Result<Option<Timestamp>> {
        if let Some(known) = self.largest_timestamp.get() {
            return Ok(*known);
        }
        let (handles, opened) = self.open(env)?;
        let found = self.find_largest_timestamp(&handles);
        if opened {
            self.close_handles();
        }
        let found = found?;
        Ok(*self.largest_timestamp.get_or_init(|| found))
    }

    /// Remembers the largest timestamp of a segment that was just sealed.
    pub(crate) fn note_largest_timestamp(&self, largest: Option<Timestamp>) {
        self.largest_timestamp.get_or_init(|| largest);
    }

    fn find_largest_timestamp(&self, handles: &Handles) -> Result<Option<Timestamp>> {
        let entry = handles.time_index.as_ref().and_then(|index| index.last().ok().flatten());
        let confirmed = match entry {
            Some(entry) => self.find(handles, entry.offset)?.filter(|(_, header)| is_time_entry_of(&entry, header)),
            None => None,
        };
        // An entry that no batch confirms says nothing (rule 25).
        let scan = match confirmed {
            Some((scan, _)) => scan,
            None => Scanner::new(Arc::clone(&handles.log), Position::ZERO, self.published()),
        };
        latest(scan)
    }

    /// An entry of the time index up to whose offset no record is as late as `target`: a search may begin at its batch,
    /// and finds out there whether the entry is right.
    pub(crate) fn time_floor(&self, handles: &Handles, target: Timestamp) -> Option<TimeEntry> {
        // Entry (T, O) says that no record up to O is later than T, so that nothing up to O can match if T < target.
        let earlier = Timestamp::from_millis(target.as_millis().checked_sub(1)?);
        handles.time_index.as_ref()?.lookup(earlier).ok().flatten()
    }

    pub(super) fn open_time_index(&self, env: &Env) -> Option<Arc<TimeIndex>> {
        let Files::Ours(dir) = &self.files else { return None };
        let path = path(dir, self.base(), SegmentFile::TimeIndex);
        TimeIndex::open_sealed(env, &path, self.base(), None).ok().map(Arc::new)
    }
}

/// The latest time that any batch of a scan claims, by its header.
fn latest(mut scan: Scanner) -> Result<Option<Timestamp>> {
    let mut latest = None;
    while let Some(header) = scan.peek()? {
        latest = latest.max(header.max_timestamp());
        scan.skip(&header);
    }
    Ok(latest)
}

/// Whether an entry of the time index was made for this batch: it names the batch's largest time and its last offset.
pub(crate) fn is_time_entry_of(entry: &TimeEntry, header: &BatchHeader) -> bool {
    header.last_offset() == entry.offset && header.max_timestamp() == Some(entry.timestamp)
}
