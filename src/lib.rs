//! An embeddable storage engine: a durable, ordered, replayable log in Apache Kafka's own directory format.

mod checkpoint;
mod error;
mod fs;
mod index;
mod names;
mod offset;
mod state;

pub use error::{Corruption, Error, ErrorKind, InvalidBatch, InvalidRecord, IoCause, IoOp, Result};
pub use offset::{Offset, Position, Timestamp};
