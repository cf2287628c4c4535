//! What a log says about itself: what opening it found, how it stands, what it is made of.
//!
//! Plain values, taken at one moment; nothing here does anything.

use std::path::{Path, PathBuf};

use crate::config::{NotMapped, WriteMode};
use crate::error::Corruption;
use crate::offset::{Offset, Position, Timestamp};
use crate::segment::DamagedRange;

/// What opening a log found and did. Empty after a clean close.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// How far the directory's own account of itself was believed.
    pub trust: Trust,
    /// Bytes of `.log` files that were read to recover, checksums verified.
    pub scanned_bytes: u64,
    /// Torn tails that were cut off, or, when opened for reading only, that would be.
    pub torn: Vec<TornTail>,
    /// Damage that is still there.
    pub damage: Vec<Damage>,
    /// Files that were left over from an interrupted operation, and what became of them.
    pub leftovers: Vec<Leftover>,
    /// Why the leader epochs were read from the batches again, if they were.
    pub lost_epochs: Option<LostEpochs>,
    /// Files that belong neither to kstore nor to Kafka. They stay as they are.
    pub foreign: Vec<PathBuf>,
}

/// How far a directory's own account of itself was believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// It was closed cleanly: nothing was scanned.
    #[default]
    Clean,
    /// It was not closed: what lies above the recovery point was scanned.
    FromRecoveryPoint,
    /// Somebody else wrote it, or `kstore.state` is missing or contradicts the log: everything is scanned.
    Foreign,
}

/// Bytes behind the last good batch of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// The `.log` file.
    pub path: PathBuf,
    /// Where the tail begins.
    pub position: Position,
    /// How many bytes it has.
    pub bytes: u64,
    /// Whether they are all zero: room allocated ahead, which is no damage.
    pub zeros: bool,
    /// Why no batch can begin there.
    pub reason: Corruption,
    /// Where the bytes are kept, if they are.
    pub kept: Option<PathBuf>,
}

/// A damaged range of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The `.log` file.
    pub path: PathBuf,
    /// Where the damage begins.
    pub position: Position,
    /// Where sound batches go on.
    pub end: Position,
    /// The first offset that may be lost.
    pub first_offset: Offset,
    /// The first offset that is sound again.
    pub next_offset: Offset,
    /// What was found, and what was expected.
    pub reason: Corruption,
}

impl Damage {
    pub(super) fn of(path: &Path, damaged: &DamagedRange) -> Damage {
        Damage {
            path: path.to_path_buf(),
            position: damaged.start,
            end: damaged.end,
            first_offset: damaged.first_offset,
            next_offset: damaged.next_offset,
            reason: damaged.reason,
        }
    }
}

/// Why `leader-epoch-checkpoint` was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostEpochs {
    /// It is missing or empty, and batches have epochs.
    Missing,
    /// Its content is none of such a file.
    Damaged {
        /// Where in the file.
        position: Position,
        /// What was found, and what was expected.
        reason: Corruption,
    },
    /// Batches have other epochs than it says.
    Contradicted,
}

/// A file left over from an interrupted operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// The file, under the name it had.
    pub path: PathBuf,
    /// What became of it, or would.
    pub fate: Fate,
}

/// What becomes of a leftover file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It was removed.
    Removed,
    /// It took its final name: an interrupted replacement was completed.
    SwappedIn,
    /// It got its own name back: a recovery was interrupted between two names.
    Renamed,
    /// It stays: bytes kept aside by an earlier recovery.
    Kept,
}

/// One segment of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// The first offset it may hold, which names its files.
    pub base_offset: Offset,
    /// One past its last offset.
    pub next_offset: Offset,
    /// Bytes of its `.log`.
    pub size_bytes: u64,
    /// The largest timestamp of its records, as far as its time index knows.
    pub largest_timestamp: Option<Timestamp>,
    /// Whether it is the active one.
    pub active: bool,
}

/// Counters and states of an open log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records appended through this handle's log since it was opened.
    pub appended_records: u64,
    /// Batches appended since it was opened.
    pub appended_batches: u64,
    /// Bytes appended since it was opened.
    pub appended_bytes: u64,
    /// Syncs that made something durable since it was opened.
    pub syncs: u64,
    /// Segments begun since it was opened.
    pub rolls: u64,
    /// Bytes appended and not yet synced.
    pub unsynced_bytes: u64,
    /// Sealed segments whose `.log` is open: at most `max_open_segments`, but for those that are pinned.
    pub open_segments: usize,
    /// Those of them that slices, iterators and the worker hold. They stay open, those of deleted segments too, until the
    /// last of these is dropped.
    pub pinned_segments: usize,
    /// Segments whose `.log` is mapped for reading, those of deleted ones too that are held: see
    /// [`LogConfig::mapped_reads`](crate::LogConfig::mapped_reads).
    pub mapped_segments: usize,
    /// Whether room is allocated ahead: by `WriteMode::Preallocated` or `WriteMode::Mapped`, and the file system can.
    pub preallocating: bool,
    /// How the active segment is written at present, which is not how the configuration asks where that cannot be had.
    pub write_mode: WriteMode,
    /// Why nothing is mapped, if the configuration asks for `WriteMode::Mapped`.
    pub not_mapped: Option<NotMapped>,
    /// Whether the log failed and waits for `reopen`.
    pub failed: bool,
}
