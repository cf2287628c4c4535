//! What a check of a log's files found: findings, each with its file and place, and what was gone through.
//!
//! Plain values; nothing here reads a file. The invariant it owns: a report keeps at most [`MOST_FINDINGS`] findings, and
//! counts the ones that it leaves out, so that a directory full of damage costs no more memory than a sound one.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Corruption, Error};
use crate::offset::{Offset, Position};

/// More findings are counted, not kept.
pub(super) const MOST_FINDINGS: usize = 10_000;

/// What a check of a log's files found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct IntegrityReport {
    /// The directory that was checked.
    pub dir: PathBuf,
    /// Whether somebody had it open for writing. What he had under way is no finding above [`Severity::Note`].
    pub live: bool,
    /// The first offset of the log.
    pub log_start_offset: Offset,
    /// One past the last offset that was found, or in a log of this process, that was published.
    pub log_end_offset: Offset,
    /// What was gone through.
    pub checked: Checked,
    /// What was found, in the order in which it was met; at most 10,000.
    pub findings: Vec<Finding>,
    /// Findings behind those.
    pub left_out: u64,
    /// All findings of severity [`Severity::Error`], kept or left out.
    pub errors: u64,
    /// All findings of severity [`Severity::Warning`], kept or left out.
    pub warnings: u64,
}

/// What a check went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// Segments.
    pub segments: u64,
    /// Sound batches.
    pub batches: u64,
    /// Records of sound batches, control records included.
    pub records: u64,
    /// Bytes of `.log` files, damaged ones included.
    pub bytes: u64,
    /// Entries of offset indexes.
    pub offset_index_entries: u64,
    /// Entries of time indexes.
    pub time_index_entries: u64,
    /// Entries of indexes of aborted transactions.
    pub transaction_index_entries: u64,
    /// Places where offsets are missing between sound batches, as compaction leaves them.
    pub gaps: u64,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing, and as it should be.
    Note,
    /// Not as a clean close leaves it, and mended by the next opening, or without effect on what is read.
    Warning,
    /// Not what was written: records are lost or wrong, or a lookup may be.
    Error,
}

/// One thing that a check found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub path: PathBuf,
    /// Where in the file, if it has a place there.
    pub position: Option<Position>,
    /// The offset that it concerns, if it concerns one.
    pub offset: Option<Offset>,
    /// What was found, and what was expected.
    pub what: FindingKind,
}

/// What was found, and what was expected.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FindingKind {
    /// A file that belongs neither to kstore nor to Kafka.
    ForeignFile,
    /// A number and a segment's suffix, but not twenty digits.
    MisnamedFile,
    /// A file in the middle of a protocol: what its last suffix says.
    Leftover {
        /// The suffix.
        suffix: &'static str,
    },
    /// An index whose `.log` is not there.
    OrphanIndex,
    /// A file that cannot be opened or read.
    Unreadable {
        /// What the system says.
        error: Error,
    },
    /// No sound batch begins here, or the one that does is not the one that must.
    Batch(Corruption),
    /// A record of a batch whose checksum is right.
    Record(Corruption),
    /// A codec that this build was made without, so that the records were not looked at.
    NotChecked {
        /// The codec's number in the format.
        codec: u8,
    },
    /// Offsets are missing in a log that never had gaps.
    OffsetGap {
        /// The offset found.
        found: Offset,
        /// The offset that was due.
        expected: Offset,
    },
    /// Two segments of which the first reaches into the second.
    Overlap {
        /// The base offset of the second.
        found: Offset,
        /// The end of the first.
        expected: Offset,
    },
    /// A largest timestamp in a batch's header that none of its records has.
    MaxTimestamp {
        /// In the header.
        found: i64,
        /// The largest of the records.
        expected: i64,
    },
    /// A timestamp below 0 that is not −1.
    Timestamp {
        /// The timestamp.
        found: i64,
    },
    /// Attributes without a meaning.
    Attributes {
        /// All attributes of the batch.
        found: i16,
    },
    /// A leader epoch that is not the one that was due here.
    LeaderEpoch {
        /// In the batch.
        found: i32,
        /// In `leader-epoch-checkpoint`, or that of the batch before.
        expected: i32,
    },
    /// Bytes behind the last sound batch, which the next opening cuts off.
    TornTail {
        /// How many.
        bytes: u64,
        /// Why no batch begins there.
        reason: Corruption,
    },
    /// Zeros behind the last batch: room allocated ahead, or what a power cut left.
    ZeroTail {
        /// How many.
        bytes: u64,
    },
    /// There is no index, so that lookups scan.
    MissingIndex,
    /// The length of an index is no multiple of its entries'.
    IndexLength {
        /// The length in bytes.
        found: u64,
        /// The size of an entry in bytes.
        entry_bytes: u64,
    },
    /// Blank room behind the last entry of an index, as a Kafka that runs, or crashed, leaves it.
    BlankIndexRoom {
        /// In bytes.
        bytes: u64,
    },
    /// An entry that contradicts the log or the entry before it.
    IndexEntry {
        /// The entry's number, counted from 0.
        entry: u64,
        /// What it contradicts.
        why: &'static str,
    },
    /// An entry that leads to the first of several batches, as Kafka before 4.0 wrote them.
    CoarseIndexEntry {
        /// The entry's number, counted from 0.
        entry: u64,
    },
    /// A small file that cannot be understood.
    Content(Corruption),
    /// A number that contradicts the log.
    Contradiction {
        /// Which number.
        what: &'static str,
        /// The number found.
        found: u64,
        /// The number expected.
        expected: u64,
    },
    /// The batch that `kstore.state` calls its witness is not where it says: the state speaks of another log.
    WitnessGone,
    /// `kstore.state` says that something happened that the next opening acts upon.
    StateSays {
        /// What.
        what: &'static str,
    },
}

impl IntegrityReport {
    /// Whether there is no finding of severity [`Severity::Error`]. Warnings and notes there may be.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.errors == 0
    }

    pub(super) fn add(
        &mut self,
        severity: Severity,
        path: &Path,
        position: Option<Position>,
        offset: Option<Offset>,
        what: FindingKind,
    ) {
        self.keep(Finding { severity, path: path.to_path_buf(), position, offset, what });
    }

    fn keep(&mut self, finding: Finding) {
        match finding.severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
            Severity::Note => {}
        }
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(finding);
        } else {
            self.left_out += 1;
        }
    }

    /// Takes over what the check of one segment found.
    pub(super) fn absorb(&mut self, part: IntegrityReport) {
        let room = MOST_FINDINGS - self.findings.len();
        self.left_out += part.left_out + part.findings.len().saturating_sub(room) as u64;
        self.findings.extend(part.findings.into_iter().take(room));
        self.errors += part.errors;
        self.warnings += part.warnings;
        let (all, more) = (&mut self.checked, part.checked);
        all.segments += more.segments;
        all.batches += more.batches;
        all.records += more.records;
        all.bytes += more.bytes;
        all.offset_index_entries += more.offset_index_entries;
        all.time_index_entries += more.time_index_entries;
        all.transaction_index_entries += more.transaction_index_entries;
        all.gaps += more.gaps;
    }
}

impl FindingKind {
    /// A word for the kind, as [`IntegrityReport::to_json`] gives it: stable where the text is not.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            FindingKind::ForeignFile => "foreign_file",
            FindingKind::MisnamedFile => "misnamed_file",
            FindingKind::Leftover { .. } => "leftover",
            FindingKind::OrphanIndex => "orphan_index",
            FindingKind::Unreadable { .. } => "unreadable",
            FindingKind::Batch(_) => "batch",
            FindingKind::Record(_) => "record",
            FindingKind::NotChecked { .. } => "not_checked",
            FindingKind::OffsetGap { .. } => "offset_gap",
            FindingKind::Overlap { .. } => "overlap",
            FindingKind::MaxTimestamp { .. } => "max_timestamp",
            FindingKind::Timestamp { .. } => "timestamp",
            FindingKind::Attributes { .. } => "attributes",
            FindingKind::LeaderEpoch { .. } => "leader_epoch",
            FindingKind::TornTail { .. } => "torn_tail",
            FindingKind::ZeroTail { .. } => "zero_tail",
            FindingKind::MissingIndex => "missing_index",
            FindingKind::IndexLength { .. } => "index_length",
            FindingKind::BlankIndexRoom { .. } => "blank_index_room",
            FindingKind::IndexEntry { .. } => "index_entry",
            FindingKind::CoarseIndexEntry { .. } => "coarse_index_entry",
            FindingKind::Content(_) => "content",
            FindingKind::Contradiction { .. } => "contradiction",
            FindingKind::WitnessGone => "witness_gone",
            FindingKind::StateSays { .. } => "state_says",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FindingKind::ForeignFile => f.write_str("the file belongs neither to kstore nor to Kafka"),
            FindingKind::MisnamedFile => f.write_str("the number in the file's name has not twenty digits"),
            FindingKind::Leftover { suffix } => write!(f, "a {suffix} file is left of an interrupted operation"),
            FindingKind::OrphanIndex => f.write_str("the .log of this index is not there"),
            FindingKind::Unreadable { error } => write!(f, "{error}"),
            FindingKind::Batch(reason) => write!(f, "no sound batch: {reason}"),
            FindingKind::Record(reason) => write!(f, "a record of a batch whose checksum is right: {reason}"),
            FindingKind::NotChecked { codec } => write!(f, "codec {codec} was left out of this build"),
            FindingKind::OffsetGap { found, expected } => {
                write!(f, "the offset is {found}, expected {expected}, and the log never had gaps")
            }
            FindingKind::Overlap { found, expected } => {
                write!(f, "the segment begins at {found}, the one before it reaches to {expected}")
            }
            FindingKind::MaxTimestamp { found, expected } => {
                write!(f, "the largest timestamp is given as {found}, that of the records is {expected}")
            }
            FindingKind::Timestamp { found } => write!(f, "the timestamp is {found}, expected −1 or not below 0"),
            FindingKind::Attributes { found } => write!(f, "the attributes {found:#06x} have bits without a meaning"),
            FindingKind::LeaderEpoch { found, expected } => {
                write!(f, "the leader epoch is {found}, expected {expected}")
            }
            FindingKind::TornTail { bytes, reason } => {
                write!(f, "{bytes} bytes behind the last sound batch: {reason}")
            }
            FindingKind::ZeroTail { bytes } => write!(f, "{bytes} zeros behind the last batch"),
            FindingKind::MissingIndex => f.write_str("there is no such index, lookups scan"),
            FindingKind::IndexLength { found, entry_bytes } => {
                write!(f, "the index has {found} bytes, its entries {entry_bytes} each")
            }
            FindingKind::BlankIndexRoom { bytes } => write!(f, "{bytes} blank bytes behind the last entry"),
            FindingKind::IndexEntry { entry, why } => write!(f, "entry {entry}: {why}"),
            FindingKind::CoarseIndexEntry { entry } => {
                write!(f, "entry {entry} names a later batch than the one it leads to, as Kafka before 4.0 did")
            }
            FindingKind::Content(reason) => write!(f, "{reason}"),
            FindingKind::Contradiction { what, found, expected } => {
                write!(f, "{what} is {found}, expected {expected}")
            }
            FindingKind::WitnessGone => {
                f.write_str("the batch that the state rests on is not where it says: another program wrote here")
            }
            FindingKind::StateSays { what } => f.write_str(what),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// Severity, file and place, and what was found.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.path.display())?;
        if let Some(position) = self.position {
            write!(f, " at byte {position}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, ", offset {offset}")?;
        }
        write!(f, ": {}", self.what)
    }
}
