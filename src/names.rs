//! Every file name and suffix that a log's directory can hold, and how to tell them apart.
//!
//! The names are Kafka's (`LogFileUtils`), but for five of ours: [`STATE`], [`CURSORS`],
//! [`SELF_TEST`], [`TORN_SUFFIX`] and [`TRUNCATING_SUFFIX`]. The invariant it owns: no name of ours ends in a suffix that Kafka acts on, for a stray
//! `x.log` makes Kafka refuse to start.

use crate::offset::Offset;

/// Digits of the base offset in a segment's file names.
const BASE_OFFSET_DIGITS: usize = 20;

/// The record batches of a segment.
pub(crate) const LOG_SUFFIX: &str = ".log";
/// The sparse offset index of a segment.
pub(crate) const OFFSET_INDEX_SUFFIX: &str = ".index";
/// The sparse time index of a segment.
pub(crate) const TIME_INDEX_SUFFIX: &str = ".timeindex";
/// The aborted transactions whose markers lie in a segment.
pub(crate) const TRANSACTION_INDEX_SUFFIX: &str = ".txnindex";
/// Producer state at an offset.
pub(crate) const SNAPSHOT_SUFFIX: &str = ".snapshot";
/// Added to the name of a file that waits to be unlinked.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";
/// Added to the name of a file that compaction is still writing.
pub(crate) const CLEANED_SUFFIX: &str = ".cleaned";
/// Added to the name of a file that compaction finished and that is to replace others.
pub(crate) const SWAP_SUFFIX: &str = ".swap";
/// Added to the name of a `.log` whose shortened copy is being written (ours).
pub(crate) const TRUNCATING_SUFFIX: &str = ".truncating";
/// Added to the name of a `.log` for the bytes that recovery cut off it (ours); a second one gets `.torn.1`.
pub(crate) const TORN_SUFFIX: &str = ".torn";
/// Added to the name of a file that a checkpoint is being written to.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// The file that stores into maps are tried on; its name is removed before anything is in it (ours).
pub(crate) const SELF_TEST: &str = "kstore.map.tmp";
/// What a log that stands alone knows about itself (ours).
pub(crate) const STATE: &str = "kstore.state";
/// The directory inside a log's own that keeps its named cursors (ours).
pub(crate) const CURSORS: &str = "cursors";
/// The file that carries the directory's locks.
pub(crate) const LOCK: &str = ".lock";
/// Leader epochs and their start offsets.
pub(crate) const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
/// The topic id of a partition directory.
pub(crate) const PARTITION_METADATA: &str = "partition.metadata";

/// Files whose presence in a directory says that its subdirectories belong to a Kafka broker.
pub(crate) const DATA_DIRECTORY_MARKERS: [&str; 3] =
    ["meta.properties", ".kafka_cleanshutdown", "recovery-point-offset-checkpoint"];

/// The kinds of files that a segment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SegmentFile {
    Log,
    OffsetIndex,
    TimeIndex,
    TransactionIndex,
    Snapshot,
}

impl SegmentFile {
    pub(crate) const ALL: [SegmentFile; 5] = [
        SegmentFile::Log,
        SegmentFile::OffsetIndex,
        SegmentFile::TimeIndex,
        SegmentFile::TransactionIndex,
        SegmentFile::Snapshot,
    ];

    /// The suffix that names this kind.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            SegmentFile::Log => LOG_SUFFIX,
            SegmentFile::OffsetIndex => OFFSET_INDEX_SUFFIX,
            SegmentFile::TimeIndex => TIME_INDEX_SUFFIX,
            SegmentFile::TransactionIndex => TRANSACTION_INDEX_SUFFIX,
            SegmentFile::Snapshot => SNAPSHOT_SUFFIX,
        }
    }

    /// The name of the file of this kind for a base offset, for example `00000000000000000042.log`.
    pub(crate) fn name(self, base: Offset) -> String {
        format!("{:0width$}{}", base.value(), self.suffix(), width = BASE_OFFSET_DIGITS)
    }
}

/// What a name in a log's directory stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A file of a segment under its final name.
    Live { base: Offset, kind: SegmentFile },
    /// A file of a segment in the middle of a protocol: the suffix says which.
    Interim { base: Offset, kind: SegmentFile, stage: Stage },
    /// A number and a segment suffix, but not twenty digits: `0.log`.
    Misnumbered { base: Offset, kind: SegmentFile },
    /// Any other file that this crate or Kafka keeps in a partition directory.
    Known,
    /// Somebody else's file.
    Foreign,
}

/// The stage of a protocol that a file's last suffix names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Deleted,
    Cleaned,
    Swap,
    Truncating,
    Torn,
}

impl Stage {
    /// The suffix that names this stage.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Stage::Deleted => DELETED_SUFFIX,
            Stage::Cleaned => CLEANED_SUFFIX,
            Stage::Swap => SWAP_SUFFIX,
            Stage::Truncating => TRUNCATING_SUFFIX,
            Stage::Torn => TORN_SUFFIX,
        }
    }

    const PLAIN: [Stage; 4] = [Stage::Deleted, Stage::Cleaned, Stage::Swap, Stage::Truncating];
}

/// Says what a file name in a log's directory stands for. Total: any name gives an answer.
pub(crate) fn classify(name: &str) -> Name {
    // Nearly all names are of this kind, which no other one looks like.
    if let Some((base, kind, true)) = segment_file(name) {
        return Name::Live { base, kind };
    }
    if matches!(name, STATE | LOCK | LEADER_EPOCH_CHECKPOINT | PARTITION_METADATA) || name.ends_with(TEMPORARY_SUFFIX) {
        return Name::Known;
    }
    let (rest, stage) = split_stage(name);
    match (segment_file(rest), stage) {
        (Some((base, kind, true)), Some(stage)) => Name::Interim { base, kind, stage },
        (Some((base, kind, false)), None) => Name::Misnumbered { base, kind },
        _ => Name::Foreign,
    }
}

/// Splits the suffix of a stage off a name; `.torn.3` counts as `.torn`.
fn split_stage(name: &str) -> (&str, Option<Stage>) {
    for stage in Stage::PLAIN {
        if let Some(rest) = name.strip_suffix(stage.suffix()) {
            return (rest, Some(stage));
        }
    }
    let unnumbered = match name.rsplit_once('.') {
        Some((rest, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => name,
    };
    match unnumbered.strip_suffix(TORN_SUFFIX) {
        Some(rest) => (rest, Some(Stage::Torn)),
        None => (name, None),
    }
}

/// Reads base offset and kind; the flag says whether the number is written as the format asks.
fn segment_file(name: &str) -> Option<(Offset, SegmentFile, bool)> {
    for kind in SegmentFile::ALL {
        let Some(digits) = name.strip_suffix(kind.suffix()) else { continue };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let base = Offset::new(digits.parse().ok()?);
        return (base <= Offset::MAX).then_some((base, kind, digits.len() == BASE_OFFSET_DIGITS));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(base: u64, kind: SegmentFile) -> Name {
        Name::Live { base: Offset::new(base), kind }
    }

    #[test]
    fn segment_names_are_twenty_digits_and_a_suffix() {
        assert_eq!(SegmentFile::Log.name(Offset::new(42)), "00000000000000000042.log");
        assert_eq!(classify("00000000000000000042.log"), live(42, SegmentFile::Log));
        assert_eq!(classify("09223372036854775807.timeindex"), live(i64::MAX as u64, SegmentFile::TimeIndex));
    }

    #[test]
    fn a_number_beyond_the_format_or_of_another_length_is_no_segment() {
        assert_eq!(classify("09223372036854775808.log"), Name::Foreign);
        assert_eq!(classify("99999999999999999999.log"), Name::Foreign);
        assert_eq!(classify("0.log"), Name::Misnumbered { base: Offset::ZERO, kind: SegmentFile::Log });
        assert_eq!(classify("x.log"), Name::Foreign);
        assert_eq!(classify(".log"), Name::Foreign);
        assert_eq!(classify(""), Name::Foreign);
    }

    #[test]
    fn stages_of_protocols_are_told_by_the_last_suffix() {
        let interim = |stage| Name::Interim { base: Offset::ZERO, kind: SegmentFile::Log, stage };
        for stage in Stage::PLAIN {
            assert_eq!(classify(&format!("00000000000000000000.log{}", stage.suffix())), interim(stage));
        }
        assert_eq!(classify("00000000000000000000.log.torn"), interim(Stage::Torn));
        assert_eq!(classify("00000000000000000000.log.torn.12"), interim(Stage::Torn));
        assert_eq!(classify("00000000000000000000.log.12"), Name::Foreign);
    }

    #[test]
    fn no_name_of_ours_ends_in_a_suffix_that_kafka_acts_on() {
        let kafka = [
            LOG_SUFFIX,
            OFFSET_INDEX_SUFFIX,
            TIME_INDEX_SUFFIX,
            TRANSACTION_INDEX_SUFFIX,
            SNAPSHOT_SUFFIX,
            DELETED_SUFFIX,
            CLEANED_SUFFIX,
            SWAP_SUFFIX,
        ];
        for ours in [STATE, CURSORS, SELF_TEST, TORN_SUFFIX, TRUNCATING_SUFFIX, ".torn.1"] {
            assert!(kafka.iter().all(|suffix| !ours.ends_with(suffix)), "{ours}");
        }
    }
}
