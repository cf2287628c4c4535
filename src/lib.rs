//! An embeddable storage engine: a durable, ordered, replayable log inside a Rust program, in Apache Kafka's own
//! directory format. No server, no runtime, no JVM.
//!
//! ```no_run
//! use kstore::{Log, LogConfig, Record};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Open or create. A torn tail left by a crash is cut off here, not later.
//!     let log = Log::open("data/orders-0", LogConfig::default().segment_bytes(64 << 20))?;
//!
//!     // One append is one record batch: after a crash all of it is there, or none.
//!     let appended = log.append(&[Record::new("o-7", "paid"), Record::tombstone("o-3")])?;
//!     log.sync()?; // everything below log_end_offset() is on disk from here on
//!
//!     for record in log.records(appended.base_offset()..)? {
//!         let record = record?;
//!         println!("{} -> {:?}", record.offset(), record.value());
//!     }
//!
//!     // The same bytes, from page cache to socket, without a copy through this process.
//!     // A slice pins its file: retention may delete the segment, the slice still reads.
//!     let (socket, _peer) = std::os::unix::net::UnixStream::pair()?;
//!     log.read(appended.base_offset(), 1 << 20)?.send_to(&socket)?;
//!
//!     Ok(log.close()?)
//! }
//! ```
//!
//! # What to rely on
//!
//! * When [`Log::append`] returns, readers see the records, and they survive the end of the process, `kill -9` too.
//! * When [`Log::sync`] or [`Log::sync_to`] returns, they survive a power cut. [`SyncPolicy`] has the log do that
//!   itself; under [`SyncPolicy::Always`] readers see records only from then on. Concurrent callers share one sync.
//! * After a crash, [`Log::open`] finds everything synced, byte for byte, and behind it only whole batches, in order.
//! * Damaged bytes give [`Error::Corrupt`], with file, position and reason; never other records, never a silently
//!   shorter log.
//! * After a failed write or sync nothing more is acknowledged until [`Log::reopen`]. A full disk is no such failure:
//!   the append fails, the log is as before, and goes on once there is room.
//!
//! What this rests on: sectors of 512 bytes are written whole or not at all; a torn write does not harm other sectors;
//! `fdatasync` is honest; the file system is local. 64-bit Linux is what is promised; other Unixes may build.
//!
//! # Where things are
//!
//! * [`Log`] opens for writing, [`Log::open_read_only`] reads any partition directory without a lock.
//! * [`Reader`] and [`LogSlice`] read; every bound is exclusive, and every read is by [`Offset`].
//! * [`LogConfig`] says how large, how sparse, how durable; each value has Kafka's name.
//! * [`Error::kind`] says what to do about an error: fix the call, try again, reopen, or see to the damage.
//! * [`docs`] has the design, the file format, what to do after a crash, and the words.
//!
//! A program that sends to sockets and is not started by Rust's runtime must ignore SIGPIPE: a closed peer would
//! otherwise end the process before [`Error::PeerClosed`] can be returned.

#[cfg(not(all(unix, target_pointer_width = "64")))]
compile_error!("kstore needs a 64-bit Unix");

#[cfg_attr(
    not(test),
    allow(dead_code, reason = "a manager of many logs, which this release lacks, keeps the other files")
)]
mod checkpoint;
mod config;
pub mod docs;
mod epoch;
mod error;
mod fs;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
#[allow(
    dead_code,
    reason = "what cuts, compares and counts single entries is asked by tests, which hold it to Kafka's behaviour"
)]
mod index;
mod log;
mod names;
mod offset;
mod record;
mod retention;
mod segment;
mod slice;
mod state;
mod sync;

pub use config::{LogConfig, NotMapped, OnDamage, SyncPolicy, WhenFull, Worker, WriteMode};
pub use error::{Corruption, Error, ErrorKind, InvalidBatch, InvalidRecord, IoCause, IoOp, Result};
#[cfg(feature = "sim")]
pub use log::SimulatedDisk;
#[cfg(any(feature = "loom", feature = "shuttle"))]
#[doc(hidden)]
pub use log::interleavings;
pub use log::{
    AppendOptions, Appended, Batches, Checked, CursorCommit, CursorInfo, Damage, Deleted, Fate, Finding, FindingKind,
    IntegrityReport, Leftover, Log, LostEpochs, NamedCursor, OnReset, ReadUpTo, Reader, Records, RecordsReversed,
    RecoveryReport, SegmentInfo, Severity, Stats, StopHandle, Tailer, TornTail, Trust,
};
pub use offset::{Offset, Position, Timestamp};
pub use record::{BatchBuilder, Compression, ControlType, HeadersIter, Record, RecordRef, StoredRecord, TimestampType};
pub use slice::{BatchRecords, LogSlice, ReceivedBatches, Sent, SliceBatches, SliceRecords, StoredBatch};
