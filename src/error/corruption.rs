//! What is wrong with stored bytes, as the parser that met them says it: without a file name, small, and `Copy`.
//!
//! Each variant carries what was found and what was expected, so that a person with a hex dump can go on from there.

use std::fmt;

/// What is wrong with stored bytes: what was found, and what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Corruption {
    /// The bytes end before the thing they began.
    Truncated {
        /// Bytes that were needed.
        needed: u64,
        /// Bytes that were there.
        available: u64,
    },
    /// A batch length below the smallest batch of its format.
    BatchLength {
        /// The length field.
        found: i32,
        /// The smallest legal one.
        smallest: i32,
    },
    /// A magic that is not 0, 1 or 2.
    Magic {
        /// The byte found.
        found: i8,
    },
    /// The checksum does not match.
    Crc {
        /// The checksum in the file.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// A codec number that the format does not know.
    Codec {
        /// The number found.
        found: u8,
    },
    /// A codec that this build was made without; surfaces as [`Error::UnsupportedCompression`](crate::Error::UnsupportedCompression).
    CodecNotBuilt {
        /// The codec's number in the format.
        codec: u8,
    },
    /// A codec's decoder refused the compressed bytes.
    Compressed {
        /// The codec's number in the format.
        codec: u8,
        /// What it objects to.
        why: &'static str,
    },
    /// The compressed bytes unfold to more than the cap.
    DecompressedTooLarge {
        /// The cap in bytes.
        limit_bytes: u64,
    },
    /// The header counts other records than there are.
    RecordCount {
        /// The count in the header.
        declared: i32,
        /// The records found.
        found: u32,
    },
    /// Bytes are left over behind the last counted record.
    LeftOver {
        /// How many.
        bytes: u64,
    },
    /// A variable-length integer that does not end where it must.
    Varint,
    /// A length inside a record that is impossible or does not fit.
    FieldLength {
        /// Which field.
        field: &'static str,
        /// The length found.
        found: i64,
        /// The bytes that were left.
        available: u64,
    },
    /// A header's name is not UTF-8.
    HeaderName,
    /// A last offset delta, offset delta or timestamp that leaves the format's range.
    OutOfRange {
        /// Which field.
        field: &'static str,
        /// The value found.
        found: i64,
    },
    /// A batch or entry whose offset lies below what must come next.
    OffsetBelowExpected {
        /// The offset found.
        found: i64,
        /// The smallest that may stand here.
        expected: i64,
    },
    /// A gap before a batch in a log that never had gaps.
    OffsetGap {
        /// The offset found.
        found: i64,
        /// The offset that must stand here.
        expected: i64,
    },
    /// An offset that does not fit its segment (more than 2^31 − 1 above the base offset, or below it).
    OffsetOutsideSegment {
        /// The offset found.
        found: i64,
        /// The segment's base offset.
        base: i64,
    },
    /// A control record whose key or value cannot be understood.
    ControlRecord {
        /// What is wrong with it.
        why: &'static str,
    },
    /// A compressed message of format 0 or 1 that breaks that format's rules.
    LegacyWrapper {
        /// The rule that is broken.
        why: &'static str,
    },
    /// Nothing but zeros where a batch must begin.
    Zeros,
    /// A file ends before bytes that were known to be durable.
    Shortened {
        /// The file's length in bytes.
        length: u64,
        /// The length that was durable.
        durable: u64,
    },
    /// The log ends before offsets that were known to be durable.
    EndMissing {
        /// One past the last offset found.
        found: i64,
        /// One past the last offset that was durable.
        durable: i64,
    },
    /// A file that must be there is not.
    Missing,
    /// An index entry that contradicts the log or the entry before it.
    IndexEntry {
        /// The entry's number, counted from 0.
        entry: u64,
        /// The rule that is broken.
        why: &'static str,
    },
    /// A small file (state or checkpoint) that cannot be understood.
    Content {
        /// What was expected.
        expected: &'static str,
    },
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Corruption::Truncated { needed, available } => {
                write!(f, "{needed} bytes were expected, {available} are there")
            }
            Corruption::BatchLength { found, smallest } => {
                write!(f, "the batch length is {found}, the smallest possible is {smallest}")
            }
            Corruption::Magic { found } => write!(f, "the magic is {found}, expected 0, 1 or 2"),
            Corruption::Crc { stored, computed } => {
                write!(f, "the checksum is {stored:08x}, the bytes give {computed:08x}")
            }
            Corruption::Codec { found } => write!(f, "the compression codec is {found}, expected 0 to 4"),
            Corruption::CodecNotBuilt { codec } => write!(f, "compression codec {codec} was left out of this build"),
            Corruption::Compressed { codec, why } => write!(f, "the data compressed with codec {codec}: {why}"),
            Corruption::DecompressedTooLarge { limit_bytes } => {
                write!(f, "the compressed data unfolds to more than {limit_bytes} bytes")
            }
            Corruption::RecordCount { declared, found } => {
                write!(f, "the header counts {declared} records, {found} are there")
            }
            Corruption::LeftOver { bytes } => write!(f, "{bytes} bytes are left over behind the last record"),
            Corruption::Varint => write!(f, "a variable-length integer does not end"),
            Corruption::FieldLength { field, found, available } => {
                write!(f, "the length of {field} is {found}, {available} bytes are left")
            }
            Corruption::HeaderName => write!(f, "a header's name is not UTF-8"),
            Corruption::OutOfRange { field, found } => write!(f, "{field} is {found}, out of range"),
            Corruption::OffsetBelowExpected { found, expected } => {
                write!(f, "the offset is {found}, expected {expected} or more")
            }
            Corruption::OffsetGap { found, expected } => write!(f, "the offset is {found}, expected {expected}"),
            Corruption::OffsetOutsideSegment { found, base } => {
                write!(f, "offset {found} does not fit the segment of base offset {base}")
            }
            Corruption::ControlRecord { why } => write!(f, "a control record: {why}"),
            Corruption::LegacyWrapper { why } => write!(f, "a compressed message of an old format: {why}"),
            Corruption::Zeros => write!(f, "zeros where a batch must begin"),
            Corruption::Shortened { length, durable } => {
                write!(f, "the file has {length} bytes, {durable} were durable")
            }
            Corruption::EndMissing { found, durable } => {
                write!(f, "the log ends at offset {found}, everything below {durable} was durable")
            }
            Corruption::Missing => write!(f, "the file is missing"),
            Corruption::IndexEntry { entry, why } => write!(f, "index entry {entry}: {why}"),
            Corruption::Content { expected } => write!(f, "expected {expected}"),
        }
    }
}
