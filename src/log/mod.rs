//! One log: the facade, [`Log`], and the files behind its verbs.
//!
//! | file | what |
//! |---|---|
//! | `open/` | claim a directory, judge its names, recover its segments; the same judgement in memory, for readers without a lock |
//! | `shared`, `settings`, `writer` | what all handles share; the configuration; what stands under the writer mutex |
//! | `append`, `options`, `durability`, `sharers` | append and roll; group commit, and how long it waits for company |
//! | `worker`, `windows` | the background; windows for the mapped tail |
//! | `epochs`, `follower` | leader epochs; appending what a leader wrote |
//! | `core`, `read/` | what readers share, and reading: slices, records, batches, forwards and backwards, and finding by time |
//! | `places`, `open_files`, `mapped_reads` | where reading probably goes on; which sealed segments keep their files open, and mapped |
//! | `wake`, `watermark` | waking readers that wait; the high watermark |
//! | `cursors/` | named cursors: offsets that are remembered, committed alone or with an append |
//! | `truncate` | cut off the end, or everything |
//! | `retention`, `deletion` | what goes from the front and when; how a segment is deleted, and what a crash meanwhile leaves |
//! | `report` | what a log says about itself |
//! | `simulated` | the simulated disk, for users' tests |
//! | `check/` | whether its files are what was written, without changing them |
//!
//! This file holds no logic: each method is one call to the file that does the work.

use std::ops::RangeBounds;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use crate::config::LogConfig;
use crate::error::Result;
use crate::fs::Env;
use crate::offset::{Offset, Timestamp};
use crate::record::{BatchBuilder, Record};
use crate::slice::{LogSlice, Sent};

mod append;
mod check;
mod core;
mod cursors;
mod deletion;
mod durability;
mod epochs;
mod follower;
#[cfg(any(feature = "loom", feature = "shuttle"))]
pub mod interleavings;
mod mapped_reads;
mod open;
mod open_files;
mod options;
mod places;
mod read;
mod report;
mod retention;
mod settings;
mod shared;
mod sharers;
#[cfg(feature = "sim")]
mod simulated;
mod truncate;
mod wake;
mod watermark;
mod windows;
mod worker;
mod writer;

#[cfg(test)]
pub(crate) mod tests;
/// The model that the unit tests run by chance, for inputs of the fuzzers.
#[cfg(all(fuzzing, not(test)))]
#[allow(dead_code, unused_imports, reason = "chance chooses in the unit tests only")]
pub(crate) mod tests {
    mod bench;
    pub(crate) mod model;
    mod properties;
}

pub use self::core::ReadUpTo;
pub use check::{Checked, Finding, FindingKind, IntegrityReport, Severity};
#[cfg(any(fuzzing, test))]
pub(crate) use cursors::value_again as cursor_value_again;
pub use cursors::{CursorCommit, CursorInfo, NamedCursor, OnReset};
pub use options::{AppendOptions, Appended};
pub use read::Reader;
pub use read::records::{Batches, Records};
pub use read::reversed::RecordsReversed;
pub use read::tail::{StopHandle, Tailer};
pub use report::{Damage, Fate, Leftover, LostEpochs, RecoveryReport, SegmentInfo, Stats, TornTail, Trust};
pub use retention::Deleted;
#[cfg(feature = "sim")]
pub use simulated::SimulatedDisk;

use shared::Shared;

/// A durable, ordered, replayable log in one directory.
///
/// A handle is cheap to clone and may be used from any number of threads at once. Appends take turns; reads wait for
/// nobody. Dropping the last handle closes the log, without telling of errors; [`Log::close`] tells.
///
/// ```
/// use kstore::{Log, LogConfig, Record};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let log = Log::open(dir.path().join("orders-0"), LogConfig::default())?;
/// let appended = log.append(&[Record::new("o-7", "paid")])?;
/// log.sync()?;
/// for record in log.records(appended.base_offset()..)? {
///     assert_eq!(record?.value(), Some(&b"paid"[..]));
/// }
/// log.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Log {
    handle: Arc<Handle>,
}

/// Closes the log when the last clone of it goes.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Whoever wants to know how closing went calls `close`.
        drop(self.shared.close());
    }
}

impl Log {
    /// Opens a log for writing, creating its directory and the parents it lacks if need be.
    ///
    /// After a crash this recovers: a torn tail is cut off and kept aside, indexes are rebuilt, and what was found is
    /// made durable; [`Log::recovery_report`] tells. Damage below what was durable is left as it is, and appends are
    /// refused, unless `on_damage` says otherwise.
    ///
    /// # Errors
    /// `InvalidConfig`; `AlreadyOpen` if any process has the directory open; `BelongsToDataDirectory` inside a Kafka
    /// broker's directory; `NotALog` for a directory that holds other things; `DuplicateBaseOffset` and
    /// `MisnamedSegment` for names that contradict each other; `Corrupt`, `Io` and `StorageFull` from recovery.
    pub fn open(dir: impl AsRef<Path>, config: LogConfig) -> Result<Log> {
        Log::open_in(&Env::real(), dir.as_ref(), config)
    }

    /// Opens a directory for reading only: no lock is taken and no byte is changed. It may be live, crashed, or a Kafka
    /// broker's. The reader sees what was there when it was opened; one that waits ([`Reader::wait_for`],
    /// [`Reader::read_waiting`], [`Reader::tail`]) looks five times a second for what another process has appended.
    ///
    /// # Errors
    /// `Io` if the directory cannot be read, `NotALog` and its kin if it is none.
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<Reader> {
        Log::open_read_only_in(&Env::real(), dir.as_ref())
    }

    pub(crate) fn open_read_only_in(env: &Env, dir: &Path) -> Result<Reader> {
        Ok(Reader::over(open::read_only::open(env, dir)?))
    }

    /// A log on the simulated disk: for tests that want no temporary directory. It is gone with its last handle.
    ///
    /// # Errors
    /// `InvalidConfig`.
    #[cfg(feature = "sim")]
    pub fn in_memory(config: LogConfig) -> Result<Log> {
        let disk = crate::fs::sim::SimDisk::in_memory(0);
        Log::open_in(&Env::sim(&disk), Path::new("/log"), config)
    }

    pub(crate) fn open_in(env: &Env, dir: &Path, config: LogConfig) -> Result<Log> {
        let shared = Shared::open(env, dir, config)?;
        Ok(Log { handle: Arc::new(Handle { shared }) })
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Appends records as one batch, compressed as configured. Readers see it when this returns, and it survives the
    /// end of the process; it survives a power cut once it is synced, which under [`SyncPolicy::Always`] it is.
    /// No records are no error: the answer names the log end.
    ///
    /// [`SyncPolicy::Always`]: crate::SyncPolicy::Always
    ///
    /// # Errors
    /// `InvalidRecord`, `BatchTooLarge`, `OffsetsExhausted`; `StorageFull` and `LogFull`, after which the log is as before; `Failed`
    /// after a failed write or sync; `Damaged`; `Closed`.
    pub fn append(&self, records: &[Record<'_>]) -> Result<Appended> {
        self.shared().append(&AppendOptions::default(), records)
    }

    /// Appends records as one batch, with options.
    ///
    /// # Errors
    /// As [`Log::append`], and `UnexpectedLogEnd` if the log does not end where `expect_log_end` says.
    pub fn append_with(&self, options: &AppendOptions, records: &[Record<'_>]) -> Result<Appended> {
        self.shared().append(options, records)
    }

    /// Appends what a builder holds as one batch, compressed as the builder says, and clears the builder. If the append
    /// fails the builder keeps its records.
    ///
    /// # Errors
    /// As [`Log::append_with`].
    pub fn append_built(&self, options: &AppendOptions, builder: &mut BatchBuilder) -> Result<Appended> {
        self.shared().append_built(options, builder)
    }

    /// Appends the encoded batches of a client (format version 2, any codec). They are validated whole; their first
    /// bytes are written anew with offsets and leader epoch, the rest is neither encoded again nor copied. Each batch
    /// is atomic, several are not so together. Producer fields are stored as they are.
    ///
    /// # Errors
    /// As [`Log::append_with`], and `InvalidBatch`, `UnsupportedCompression`.
    pub fn append_batch(&self, options: &AppendOptions, encoded: &[u8]) -> Result<Appended> {
        self.shared().append_batch(options, encoded, &[])
    }

    /// Makes everything appended so far durable, and returns the end of it.
    ///
    /// # Errors
    /// `Failed`: nothing is acknowledged until [`Log::reopen`] succeeds. `Closed`.
    #[doc(alias = "flush")]
    #[doc(alias = "fsync")]
    pub fn sync(&self) -> Result<Offset> {
        self.shared().sync_all()
    }

    /// Makes everything below `end` durable. Callers at the same time share one sync.
    ///
    /// # Errors
    /// As [`Log::sync`], and `OffsetOutOfRange` if `end` lies above the log end, `Truncated` if it comes to, because the
    /// log is truncated meanwhile. An append that waits for its sync is told the same.
    #[doc(alias = "flush")]
    pub fn sync_to(&self, end: Offset) -> Result<()> {
        self.shared().sync_to(end)
    }

    /// Calls back once everything below `end` is durable, with the synced offset, or with the failure, or the truncation,
    /// that prevents it. It is called exactly once, whatever happens.
    /// The worker syncs for it. The callback runs on the worker (under `Worker::Caller` in [`Log::run_once`]), under no
    /// lock; it may use the log.
    ///
    /// # Errors
    /// `OffsetOutOfRange`, `Closed`, `Io` if no thread can be started; the callback was told the same, before this returned.
    pub fn on_synced(&self, end: Offset, callback: impl FnOnce(Result<Offset>) + Send + 'static) -> Result<()> {
        self.shared().order_callback(end, Box::new(callback))
    }

    /// A reader that sees everything appended. It stays valid when the log is closed, and then says so.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::over(Arc::clone(&self.shared().core))
    }

    /// Whole batches from the one that holds `from` on: as many as fit `max_bytes`, at least one, from one segment.
    /// At the log end: an empty slice.
    ///
    /// # Errors
    /// `OffsetOutOfRange`, `Corrupt`, `Io`, `Closed`.
    pub fn read(&self, from: Offset, max_bytes: u64) -> Result<LogSlice> {
        self.reader().read(from, max_bytes)
    }

    /// The records of a range of offsets, in order; the range ends at the log end as of this call.
    ///
    /// # Errors
    /// `OffsetOutOfRange` if the range begins outside the log; later ones come from the iterator.
    pub fn records(&self, range: impl RangeBounds<Offset>) -> Result<Records> {
        self.reader().records(range)
    }

    /// The records of a range of offsets, last first.
    ///
    /// # Errors
    /// As [`Log::records`].
    pub fn records_reversed(&self, range: impl RangeBounds<Offset>) -> Result<RecordsReversed> {
        self.reader().records_reversed(range)
    }

    /// Sends whole batches from the one that holds `from` on, without a copy through this process: as
    /// [`Log::read`] and then [`LogSlice::send_to`].
    ///
    /// # Errors
    /// As both.
    pub fn send_to(&self, fd: impl AsFd, from: Offset, max_bytes: u64) -> Result<Sent> {
        self.read(from, max_bytes)?.send_to(fd)
    }

    /// The first offset of the log.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.shared().core.log_start()
    }

    /// One past the last offset that readers see. After a failure: the synced offset.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.shared().core.log_end()
    }

    /// Everything below is durable.
    #[must_use]
    pub fn synced_offset(&self) -> Offset {
        self.shared().core.synced()
    }

    /// The offset from which recovery would begin; the same as the synced offset.
    #[must_use]
    pub fn recovery_point(&self) -> Offset {
        self.shared().core.synced()
    }

    /// Ends the active segment and begins another; returns the base offset of the active one. An empty one stays.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn roll(&self) -> Result<Offset> {
        self.shared().roll()
    }

    /// Changes limits and policies of the open log. `worker` and `on_damage` are fixed at open. Of two changes made at
    /// the same time the later one counts whole.
    ///
    /// # Errors
    /// `InvalidConfig`; then nothing is changed.
    pub fn update_config(&self, change: impl FnOnce(LogConfig) -> LogConfig) -> Result<()> {
        self.shared().update_config(change)
    }

    /// Does now what the worker would do, and what is due at `now`: interval syncs, syncs of sealed segments, callbacks,
    /// and looks at old segments.
    ///
    /// # Errors
    /// `Failed`, `Closed`; `Io` as from [`Log::delete_old_segments`].
    pub fn run_once(&self, now: Timestamp) -> Result<()> {
        self.shared().run_once(now)
    }

    /// The segments, oldest first.
    ///
    /// # Errors
    /// `Io`, `Corrupt`, `Closed`.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>> {
        self.reader().segments()
    }

    /// Counters and states.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared().stats()
    }

    /// What the last opening, or reopening, found and did.
    #[must_use]
    pub fn recovery_report(&self) -> RecoveryReport {
        RecoveryReport::clone(&self.shared().core.report())
    }

    /// The log's directory, without symbolic links.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.shared().core.dir()
    }

    /// Recovers in place after a failed write or sync: what is whole on disk is made durable again, the rest is cut
    /// off. Slices and readers stay valid. Nothing happens if the log has not failed.
    ///
    /// # Errors
    /// As [`Log::open`]; the log stays failed then.
    pub fn reopen(&self) -> Result<()> {
        self.shared().reopen()
    }

    /// Wakes everyone who waits with `Closed`, makes everything durable, marks the directory clean, ends the worker and
    /// unlocks the directory. Slices stay readable. A second call does nothing, and does not wait for the first.
    ///
    /// # Errors
    /// What kept the log from being closed cleanly; it is closed all the same, and the next opening recovers.
    pub fn close(&self) -> Result<()> {
        self.shared().close()
    }
}
