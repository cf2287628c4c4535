//! Bytes to records and back: no file, no clock.
//!
//! Parsers here are total: any bytes give a value or a [`Corruption`](crate::Corruption) that says what is wrong, and
//! never decide what to do about it; the layer that holds the file does. Format 2 is read and written, formats 0 and 1
//! are read.

mod borrowed;
mod bytes;
mod checksum;
mod compression;
#[allow(
    dead_code,
    reason = "transactions, which this release lacks, write markers; tests hold both directions to Kafka's bytes"
)]
mod control;
mod decode;
mod encode;
mod header;
pub(crate) mod layout;
mod legacy;
mod planned;
mod room;
mod shorten;
mod slot;
mod stored;
mod validate;
mod varint;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod vectors;

pub use borrowed::Record;
pub use compression::Compression;
pub use control::ControlType;
pub use decode::{HeadersIter, RecordRef};
pub use encode::BatchBuilder;
pub use header::TimestampType;
pub use stored::StoredRecord;

pub(crate) use bytes::BatchBytes;
pub(crate) use compression::DecodeLimits;
#[cfg(any(fuzzing, test))]
pub(crate) use compression::{Compressor, HeaderChecksum, decompress};
pub(crate) use control::EndMarker;
#[cfg(test)]
pub(crate) use control::Outcome;
pub(crate) use decode::{DecodedBatch, RecordRefs};
pub(crate) use encode::BatchStamp;
#[cfg(test)]
pub(crate) use encode::encode_empty;
pub(crate) use header::{BatchHeader, set_base_offset, set_leader_epoch, verify_crc};
pub(crate) use layout::HEADER_BYTES;
pub(crate) use planned::PlannedBatch;
pub(crate) use shorten::{Shortened, first_record_offset, shortened};
pub(crate) use slot::Slot;
pub(crate) use stored::{StoredRecords, StoredRecordsReversed};
pub(crate) use validate::{ClientRules, TimestampBounds, validate_client_batches};
