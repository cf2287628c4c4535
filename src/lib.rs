//! An embeddable storage engine: a durable, ordered, replayable log in Apache Kafka's own directory format.

#[cfg(not(all(unix, target_pointer_width = "64")))]
compile_error!("kstore needs a 64-bit Unix");

mod checkpoint;
mod config;
pub mod docs;
mod error;
mod fs;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod log;
mod names;
mod offset;
mod record;
mod segment;
mod slice;
mod state;

pub use config::{LogConfig, OnDamage, SyncPolicy, Worker, WriteMode};
pub use error::{Corruption, Error, ErrorKind, InvalidBatch, InvalidRecord, IoCause, IoOp, Result};
pub use log::{
    AppendOptions, Appended, Batches, Damage, Fate, Leftover, Log, ReadUpTo, Reader, Records, RecordsReversed,
    RecoveryReport, SegmentInfo, Stats, TornTail, Trust,
};
pub use offset::{Offset, Position, Timestamp};
pub use record::{BatchBuilder, Compression, ControlType, HeadersIter, Record, RecordRef, StoredRecord, TimestampType};
pub use slice::{LogSlice, Sent, StoredBatch};
