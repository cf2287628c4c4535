//! An embeddable storage engine: a durable, ordered, replayable log in Apache Kafka's own directory format.

mod checkpoint;
mod error;
mod fs;
mod index;
pub mod docs;
mod error;
mod fs;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod names;
mod offset;
mod state;
mod record;

pub use error::{Corruption, Error, ErrorKind, InvalidBatch, InvalidRecord, IoCause, IoOp, Result};
pub use offset::{Offset, Position, Timestamp};
pub use record::{BatchBuilder, Compression, ControlType, HeadersIter, Record, RecordRef, StoredRecord, TimestampType};
