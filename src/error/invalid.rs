//! What is wrong with records and batches that a caller hands in. What is wrong with bytes on disk is a
//! [`Corruption`](super::Corruption); where it was found is said by the [`Error`](super::Error) around either.

use std::fmt;

use crate::offset::Timestamp;

use super::Corruption;

/// Why a record cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// Key, value, a header or all of them together exceed the format's 2^31 − 1 bytes.
    TooLarge {
        /// The size in bytes.
        size_bytes: u64,
    },
    /// A timestamp below 0: the format keeps −1 for "none", and negative times for nothing.
    NegativeTimestamp {
        /// The timestamp in milliseconds.
        millis: i64,
    },
    /// More records or headers than a batch can count.
    TooMany,
    /// A timestamp that lies further before the time of the append than `message_timestamp_before_max_ms` allows.
    TimestampTooEarly {
        /// The record's timestamp.
        timestamp: Timestamp,
        /// The earliest one that would have been accepted.
        earliest: Timestamp,
    },
    /// A timestamp that lies further behind the time of the append than `message_timestamp_after_max_ms` allows.
    TimestampTooLate {
        /// The record's timestamp.
        timestamp: Timestamp,
        /// The latest one that would have been accepted.
        latest: Timestamp,
    },
}

impl fmt::Display for InvalidRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidRecord::TooLarge { size_bytes } => write!(f, "has {size_bytes} bytes, more than the format allows"),
            InvalidRecord::NegativeTimestamp { millis } => write!(f, "has the negative timestamp {millis}"),
            InvalidRecord::TooMany => write!(f, "is one more than a batch can count"),
            InvalidRecord::TimestampTooEarly { timestamp, earliest } => {
                write!(f, "has timestamp {timestamp}, expected {earliest} or later")
            }
            InvalidRecord::TimestampTooLate { timestamp, latest } => {
                write!(f, "has timestamp {timestamp}, expected {latest} or earlier")
            }
        }
    }
}

/// Why an encoded batch of a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidBatch {
    /// Its bytes are not a whole, sound batch.
    Corrupt(Corruption),
    /// No whole batch was handed over.
    Empty,
    /// A format older than version 2, which is read and never written.
    Magic {
        /// The batch's magic.
        found: u8,
    },
    /// A control batch, which only the log itself may write.
    Control,
    /// A batch of a client starts at offset 0 and counts its records without gaps.
    OffsetDeltas {
        /// Its last offset delta.
        last_offset_delta: i32,
        /// Its record count.
        count: i32,
    },
    /// A producer id without a sequence number.
    Sequence {
        /// The producer id.
        producer_id: i64,
        /// The base sequence.
        base_sequence: i32,
    },
    /// The batch claims log append time, which only the log assigns.
    LogAppendTime,
    /// One of its records is not acceptable.
    Record {
        /// The record's place in the batch, counted from 0.
        index: u64,
        /// What is wrong with it.
        reason: InvalidRecord,
    },
}

impl fmt::Display for InvalidBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidBatch::Corrupt(reason) => write!(f, "is not sound: {reason}"),
            InvalidBatch::Empty => write!(f, "holds no record"),
            InvalidBatch::Magic { found } => write!(f, "has magic {found}, expected 2"),
            InvalidBatch::Control => write!(f, "is a control batch, which only the log may write"),
            InvalidBatch::OffsetDeltas { last_offset_delta, count } => write!(
                f,
                "has last offset delta {last_offset_delta} and {count} records, expected offsets without gaps"
            ),
            InvalidBatch::Sequence { producer_id, base_sequence } => {
                write!(f, "has producer {producer_id} and base sequence {base_sequence}, expected one from 0")
            }
            InvalidBatch::LogAppendTime => write!(f, "claims log append time, which only the log assigns"),
            InvalidBatch::Record { index, reason } => write!(f, "holds record {index}, which {reason}"),
        }
    }
}
