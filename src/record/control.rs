//! Control records: what the log writes about its data, in batches that no reader of data is shown.
//!
//! Only the markers that end transactions are written here; the others come with directories of Kafka's own quorum.
//! The invariant it owns: what is understood is what the format says, and what is newer is read as the oldest version.

use std::fmt;

use super::borrowed::Record;
use super::compression::Compression;
use super::decode::RecordRef;
use super::encode::{BatchBuilder, BatchStamp};
use super::layout;
use crate::error::{Corruption, Result};

/// The version that is written, of keys and of marker values.
const VERSION: i16 = 0;
const ABORT: i16 = 0;
const COMMIT: i16 = 1;

/// What a control record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ControlType {
    /// The producer's transaction was aborted.
    Abort,
    /// The producer's transaction was committed.
    Commit,
    /// Another node leads Kafka's own quorum.
    LeaderChange,
    /// The first record of a snapshot of Kafka's own quorum.
    SnapshotHeader,
    /// The last record of a snapshot of Kafka's own quorum.
    SnapshotFooter,
    /// The protocol version of Kafka's own quorum.
    KraftVersion,
    /// The members of Kafka's own quorum.
    KraftVoters,
    /// A type that this version does not know, to be passed over; −1 where the key is damaged.
    Unknown(i16),
}

impl ControlType {
    fn from_disk(number: i16) -> ControlType {
        match number {
            ABORT => ControlType::Abort,
            COMMIT => ControlType::Commit,
            2 => ControlType::LeaderChange,
            3 => ControlType::SnapshotHeader,
            4 => ControlType::SnapshotFooter,
            5 => ControlType::KraftVersion,
            6 => ControlType::KraftVoters,
            unknown => ControlType::Unknown(unknown),
        }
    }
}

/// Kafka's name for it, in lower case.
impl fmt::Display for ControlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ControlType::Abort => "abort",
            ControlType::Commit => "commit",
            ControlType::LeaderChange => "leader_change",
            ControlType::SnapshotHeader => "snapshot_header",
            ControlType::SnapshotFooter => "snapshot_footer",
            ControlType::KraftVersion => "kraft_version",
            ControlType::KraftVoters => "kraft_voters",
            ControlType::Unknown(_) => "unknown",
        })
    }
}

/// Reads the type of a control record off its key.
pub(crate) fn type_of_key(key: Option<&[u8]>) -> std::result::Result<ControlType, Corruption> {
    let Some((fields, _)) = key.and_then(|key| key.split_first_chunk::<4>()) else {
        return Err(Corruption::ControlRecord { why: "its key has fewer than four bytes" });
    };
    let [v0, v1, t0, t1] = *fields;
    if i16::from_be_bytes([v0, v1]) < 0 {
        return Err(Corruption::ControlRecord { why: "its key's version is negative" });
    }
    Ok(ControlType::from_disk(i16::from_be_bytes([t0, t1])))
}

/// The control record that ends a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndMarker {
    pub outcome: Outcome,
    pub coordinator_epoch: i32,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Commit,
    Abort,
}

impl EndMarker {
    /// Reads the marker of a control record; `None` if the record is of another type.
    pub(crate) fn parse(record: &RecordRef<'_>) -> std::result::Result<Option<EndMarker>, Corruption> {
        let outcome = match type_of_key(record.key())? {
            ControlType::Commit => Outcome::Commit,
            ControlType::Abort => Outcome::Abort,
            _ => return Ok(None),
        };
        let Some((fields, _)) = record.value().and_then(|value| value.split_first_chunk::<6>()) else {
            return Err(Corruption::ControlRecord { why: "a marker's value has fewer than six bytes" });
        };
        let [v0, v1, epoch @ ..] = *fields;
        if i16::from_be_bytes([v0, v1]) < 0 {
            return Err(Corruption::ControlRecord { why: "a marker's version is negative" });
        }
        Ok(Some(EndMarker { outcome, coordinator_epoch: i32::from_be_bytes(epoch) }))
    }

    /// The whole control batch, with base offset 0; its record carries the time of `stamp`.
    ///
    /// # Panics
    /// Without a producer, or with a sequence: a marker belongs to a producer and is not counted among its records.
    pub(crate) fn encode(self, stamp: &BatchStamp) -> Result<Vec<u8>> {
        assert!(stamp.producer_id >= 0 && stamp.producer_epoch >= 0, "a marker ends a producer's transaction");
        assert_eq!(stamp.base_sequence, -1, "a marker has no sequence");
        let number = match self.outcome {
            Outcome::Abort => ABORT,
            Outcome::Commit => COMMIT,
        };
        let key = [VERSION.to_be_bytes(), number.to_be_bytes()].concat();
        let value = [&VERSION.to_be_bytes()[..], &self.coordinator_epoch.to_be_bytes()].concat();
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(Record::new(&key, &value))?;
        let stamp = BatchStamp { transactional: true, ..*stamp };
        Ok(builder.seal(&stamp, layout::CONTROL_MASK)?.1.to_vec())
    }
}

#[cfg(test)]
mod tests;
