//! What a log is told when it is opened: a plain value, checked once, at open.
//!
//! Names and units are Kafka's, with underscores. [`LogConfig::default`] keeps everything for ever;
//! [`LogConfig::kafka`] has Kafka's own defaults. Where the two differ:
//!
//! | name | `default()` | `kafka()` |
//! |---|---|---|
//! | `max_message_bytes` | 2147483647 | 1048588 |
//! | `retention_ms` | none | 604800000 |
//! | `message_timestamp_after_max_ms` | none | 3600000 |
//!
//! Everything else is equal. The invariant it owns: a `LogConfig` that [`LogConfig::check`] passed holds no value and
//! no combination of values that the engine cannot honour.

use crate::error::{Error, IoOp, Result};
use crate::offset::Timestamp;
use crate::record::{Compression, TimestampBounds, TimestampType};

/// The largest segment, and the largest position of the format: 2^31 − 1 bytes.
pub(crate) const MAX_SEGMENT_BYTES: u64 = i32::MAX as u64;
/// The smallest legal segment in bytes: the smallest batch of any format.
const MIN_SEGMENT_BYTES: u64 = 14;
/// A limit on the log has room for this many segments at least, so that dropping one does not drop most of it.
const MIN_SEGMENTS_IN_CAP: u64 = 4;
/// The smallest index that holds an entry of either kind, in bytes.
const MIN_INDEX_BYTES: u64 = 12;
/// The largest index: positions in a map must fit the format's signed 32 bits.
const MAX_INDEX_BYTES: u64 = i32::MAX as u64;

/// How a log is written, rolled and synced. Made by [`LogConfig::default`] or [`LogConfig::kafka`] and the methods
/// below, each of which sets one value and returns the whole.
///
/// ```
/// use kstore::{LogConfig, SyncPolicy};
///
/// let config = LogConfig::default().segment_bytes(64 << 20).sync_policy(SyncPolicy::Always);
/// # drop(config);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct LogConfig {
    pub(crate) segment_bytes: u64,
    pub(crate) segment_ms: u64,
    pub(crate) segment_jitter_ms: u64,
    pub(crate) segment_index_bytes: u64,
    pub(crate) index_interval_bytes: u64,
    pub(crate) max_message_bytes: u64,
    pub(crate) max_decompressed_message_bytes: u64,
    pub(crate) message_timestamp_type: TimestampType,
    pub(crate) message_timestamp_before_max_ms: Option<u64>,
    pub(crate) message_timestamp_after_max_ms: Option<u64>,
    pub(crate) compression: Compression,
    pub(crate) sync_policy: SyncPolicy,
    pub(crate) max_unsynced_bytes: Option<u64>,
    pub(crate) write_mode: WriteMode,
    /// How much of the active segment is mapped at once.
    pub(crate) window_bytes: u64,
    /// The append that asks for a window prepares it, so that tests without a thread get them at known moments.
    pub(crate) appends_prepare_windows: bool,
    pub(crate) worker: Worker,
    pub(crate) on_damage: OnDamage,
    pub(crate) max_open_segments: usize,
    pub(crate) mapped_reads: bool,
    pub(crate) retention_ms: Option<u64>,
    pub(crate) retention_bytes: Option<u64>,
    pub(crate) retention_check_interval_ms: u64,
    pub(crate) file_delete_delay_ms: u64,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) when_full: WhenFull,
    pub(crate) retention_keeps_cursors: bool,
}

/// When appended records are made durable without being asked. `Log::sync` and `Log::sync_to` work under each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// The operating system decides, as in Kafka's defaults. Records survive the end of the process, not a power cut.
    #[default]
    Never,
    /// As often as the first of the given bounds asks. The append that reaches `records` or `bytes` syncs before it
    /// returns (Kafka's `flush.messages`); `interval_ms` (Kafka's `flush.ms`) is kept by the worker or by
    /// `Log::run_once`.
    Every {
        /// Sync when this many records are unsynced.
        records: Option<u64>,
        /// Sync when this many bytes are unsynced.
        bytes: Option<u64>,
        /// Sync when something has been unsynced for this many milliseconds.
        interval_ms: Option<u64>,
    },
    /// Before each append returns, and before readers see it. Concurrent appends share one sync. As under every policy, a sync
    /// that several threads shared has the next one wait until as many want it, once, for half of a sync's time and 1 ms at most.
    Always,
}

/// How bytes get into the active segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WriteMode {
    /// Plain positioned writes into a growing file.
    #[default]
    Write,
    /// Positioned writes into room that was allocated ahead, so that a sync need not write a new length: faster
    /// durable appends. The room behind the log end is cut off at the roll and at close.
    Preallocated,
    /// Small appends are stored into a map of room that a second thread of the log allocated, mapped and touched ahead of
    /// time: no system call, and as safe against the end of the process as a write. What does not fit the map at hand, and
    /// what is large, goes by a positioned write to the same place, and waits for that thread only where it is filling the very
    /// 64 KiB with zeros. Durable is what a sync covers, as ever.
    ///
    /// What is stored takes its time from the kernel's last tick, some 4 ms ago at most: reading the clock to the
    /// nanosecond would cost as much as the store.
    ///
    /// It needs [`Worker::Thread`], and is refused with [`SyncPolicy::Always`], under which an append waits for the disk
    /// anyhow. On file systems other than ext4, xfs and tmpfs, and where a self-test at the opening fails, the log is
    /// written as with [`WriteMode::Preallocated`]; a segment whose blocks a reflink copy shares, by plain writes.
    /// [`Stats::write_mode`](crate::Stats::write_mode) and [`Stats::not_mapped`](crate::Stats::not_mapped) tell.
    ///
    /// **What can go wrong, and with no other mode:** a store into a map has no error to return. If the file system is
    /// shut down under it (xfs does so after an error of its own), if the device fails while a page is brought back, if
    /// another process shortens the `.log`, or if a reflink copy of it is made while it is written and the disk fills up,
    /// then the process gets SIGBUS, which ends it unless the host handles that signal. What was synced is safe all the
    /// same, and the next opening recovers as after any other end of the process.
    Mapped,
}

/// Why a log whose write mode is [`WriteMode::Mapped`] is written in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotMapped {
    /// The file system is none of those on which a store into allocated room was found to be safe: ext4, xfs, tmpfs.
    FileSystem,
    /// The self-test at the opening failed in this operation: the system refused it, or other bytes were read than stored.
    SelfTest {
        /// The operation.
        operation: IoOp,
    },
    /// A reflink copy shares blocks of the active segment, so that a store may find no room. The next segment shares none.
    SharedBlocks,
    /// There was no room for the next window. Appends go by plain writes, and in a while it is tried again.
    NoRoom,
    /// The next window could not be made. The next segment is tried anew.
    Window {
        /// What the system refused.
        operation: IoOp,
    },
}

/// Who does what must be done in the background: interval syncs, syncs of sealed segments, callbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Worker {
    /// A thread of the log's own, started when there is something to do and joined by `close`; a second one, that makes
    /// windows and nothing else, under [`WriteMode::Mapped`].
    #[default]
    Thread,
    /// Nobody, but in `Log::run_once`, which the caller promises to call: nothing else happens in the background.
    Caller,
}

/// How a log with damage below its durable mark goes on. Nothing is deleted unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnDamage {
    /// The undamaged ranges are readable, the damaged one answers `Corrupt`, appends are refused.
    #[default]
    Refuse,
    /// As `Refuse`, but appends go on behind the damage.
    ServeRest,
    /// What Kafka would do: the log ends where the damage begins. The bytes from there on are kept aside in
    /// `<base offset>.log.torn`.
    CutAsKafka,
}

/// What happens to an append that would make the log larger than `max_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenFull {
    /// It fails with `LogFull`, and the log is as before.
    #[default]
    Reject,
    /// The oldest segments are deleted to make room for it, read or not.
    DropOldest,
}

impl Default for LogConfig {
    /// Keeps everything, for ever; a batch may be as large as a segment; timestamps are stored as given.
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 60 * 60 * 1000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            max_message_bytes: MAX_SEGMENT_BYTES,
            max_decompressed_message_bytes: MAX_DECOMPRESSED_MESSAGE_BYTES,
            message_timestamp_type: TimestampType::CreateTime,
            message_timestamp_before_max_ms: None,
            message_timestamp_after_max_ms: None,
            compression: Compression::None,
            sync_policy: SyncPolicy::Never,
            max_unsynced_bytes: None,
            write_mode: WriteMode::Write,
            window_bytes: WINDOW_BYTES,
            appends_prepare_windows: false,
            worker: Worker::Thread,
            on_damage: OnDamage::Refuse,
            max_open_segments: 256,
            mapped_reads: false,
            retention_ms: None,
            retention_bytes: None,
            retention_check_interval_ms: 300_000,
            file_delete_delay_ms: 60_000,
            max_bytes: None,
            when_full: WhenFull::Reject,
            retention_keeps_cursors: false,
        }
    }
}

/// How much of the active segment is mapped at once, in bytes: twice as much lies ready while appends fill as much.
const WINDOW_BYTES: u64 = 8 << 20;

/// Kafka's cap on what one batch may unfold to, in bytes (`max.decompressed.message.bytes`).
const MAX_DECOMPRESSED_MESSAGE_BYTES: u64 = 2_147_483_639;

impl LogConfig {
    /// Kafka's own defaults.
    pub fn kafka() -> LogConfig {
        LogConfig::default()
            .max_message_bytes(1_048_588)
            .retention_ms(7 * 24 * 60 * 60 * 1000)
            .message_timestamp_after_max_ms(3_600_000)
    }

    /// For a device with `cap_bytes` for the log, which loses its oldest records rather than the newest:
    ///
    /// * `max_bytes` is 31/32 of the cap, [`WhenFull::DropOldest`]: what is left is for the indexes;
    /// * `segment_bytes` is 1/16 of the cap, so that what is dropped at once is little of the whole;
    /// * `segment_index_bytes` is 1/128 of a segment, but 12 KiB at least: more than the entries of a segment take, and
    ///   less to map;
    /// * `file_delete_delay_ms` is 0: room that was given up is wanted at once;
    /// * `sync_policy` is a sync after each 64 KiB, or a second behind the first unsynced record: a power cut costs no more;
    /// * `max_open_segments` is 16.
    ///
    /// A cap below some hundred KiB makes for tiny segments.
    pub fn small_disk(cap_bytes: u64) -> LogConfig {
        let segment_bytes = (cap_bytes / 16).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
        LogConfig::default()
            .segment_bytes(segment_bytes)
            .segment_index_bytes((segment_bytes / 128).max(12 << 10))
            .max_bytes(cap_bytes - cap_bytes / 32, WhenFull::DropOldest)
            .file_delete_delay_ms(0)
            .sync_policy(SyncPolicy::Every { records: None, bytes: Some(64 << 10), interval_ms: Some(1000) })
            .max_open_segments(16)
    }

    /// A new segment is begun when the next append would make the active one larger than this. Bytes,
    /// 14..=2147483647, 1 GiB unless set.
    pub fn segment_bytes(mut self, bytes: u64) -> LogConfig {
        self.segment_bytes = bytes;
        self
    }

    /// A new segment is begun when the active one spans more time than this: by the records' timestamps where they
    /// have them, else by the clock. Milliseconds, from 1, seven days unless set.
    pub fn segment_ms(mut self, millis: u64) -> LogConfig {
        self.segment_ms = millis;
        self
    }

    /// Each segment rolls by time up to this much earlier, so that many logs do not roll at once. Milliseconds,
    /// 0 unless set.
    pub fn segment_jitter_ms(mut self, millis: u64) -> LogConfig {
        self.segment_jitter_ms = millis;
        self
    }

    /// The largest size of one index file; a full index rolls the segment. Bytes, 12..=2147483647, 10 MiB unless set.
    pub fn segment_index_bytes(mut self, bytes: u64) -> LogConfig {
        self.segment_index_bytes = bytes;
        self
    }

    /// About how many bytes of log lie between two index entries. 0 gives an entry to every batch but the first: a lookup goes
    /// straight to its batch then, for 8 bytes of index, and at most 12 of the time index, a batch. Advised where small batches are
    /// looked up at random. Bytes, 4,096 unless set.
    pub fn index_interval_bytes(mut self, bytes: u64) -> LogConfig {
        self.index_interval_bytes = bytes;
        self
    }

    /// The largest encoded batch, its 12-byte framing included; never more than a segment. Bytes, from 1,
    /// 2147483647 unless set (Kafka: 1,048,588).
    pub fn max_message_bytes(mut self, bytes: u64) -> LogConfig {
        self.max_message_bytes = bytes;
        self
    }

    /// The most that one compressed batch may unfold to, here and when it is read. Bytes, from 1, 2147483639 unless
    /// set.
    pub fn max_decompressed_message_bytes(mut self, bytes: u64) -> LogConfig {
        self.max_decompressed_message_bytes = bytes;
        self
    }

    /// Whether records keep the caller's time or get the time of their append. Create time unless set.
    pub fn message_timestamp_type(mut self, timestamp_type: TimestampType) -> LogConfig {
        self.message_timestamp_type = timestamp_type;
        self
    }

    /// How far a record's timestamp may lie before the time of its append; one that lies further is refused, as
    /// [`InvalidRecord::TimestampTooEarly`](crate::InvalidRecord::TimestampTooEarly). Under log append time it does not
    /// count. Milliseconds, no bound unless set (which Kafka writes as 2^63 − 1).
    pub fn message_timestamp_before_max_ms(mut self, millis: impl Into<Option<u64>>) -> LogConfig {
        self.message_timestamp_before_max_ms = millis.into();
        self
    }

    /// How far a record's timestamp may lie behind the time of its append; one that lies further is refused, as
    /// [`InvalidRecord::TimestampTooLate`](crate::InvalidRecord::TimestampTooLate). Under log append time it does not
    /// count. A record far in the future would keep its segment from growing old. Milliseconds, no bound unless set
    /// (Kafka: one hour).
    pub fn message_timestamp_after_max_ms(mut self, millis: impl Into<Option<u64>>) -> LogConfig {
        self.message_timestamp_after_max_ms = millis.into();
        self
    }

    /// How `append` and `append_with` compress. Batches handed over encoded or built keep their own. None unless set.
    pub fn compression(mut self, compression: Compression) -> LogConfig {
        self.compression = compression;
        self
    }

    /// When records are made durable without being asked. Never unless set.
    pub fn sync_policy(mut self, policy: SyncPolicy) -> LogConfig {
        self.sync_policy = policy;
        self
    }

    /// An append that leaves more than this unsynced syncs before it returns. Bytes, from 1, no bound unless set.
    pub fn max_unsynced_bytes(mut self, bytes: impl Into<Option<u64>>) -> LogConfig {
        self.max_unsynced_bytes = bytes.into();
        self
    }

    /// How bytes get into the active segment. Plain writes unless set.
    pub fn write_mode(mut self, mode: WriteMode) -> LogConfig {
        self.write_mode = mode;
        self
    }

    /// Without a thread, windows of a size, each prepared by the append that asks for it: for tests that must run alike each
    /// time.
    #[cfg(any(fuzzing, test))]
    pub(crate) fn windows_at_once(self, window_bytes: u64) -> LogConfig {
        LogConfig { window_bytes, appends_prepare_windows: true, ..self }
    }

    /// Who does the background work. A thread of the log's own unless set.
    pub fn worker(mut self, worker: Worker) -> LogConfig {
        self.worker = worker;
        self
    }

    /// How a log with damage below its durable mark goes on. Appends are refused unless set.
    pub fn on_damage(mut self, on_damage: OnDamage) -> LogConfig {
        self.on_damage = on_damage;
        self
    }

    /// How many sealed segments keep their file and maps open between reads; the longest unused are closed first. A
    /// segment that a slice or an iterator holds counts, and is not closed: see [`Stats::pinned_segments`](crate::Stats).
    /// From 1, 256 unless set.
    pub fn max_open_segments(mut self, segments: usize) -> LogConfig {
        self.max_open_segments = segments;
        self
    }

    /// Whether segments that are sealed and durable are mapped on first use, so that a lookup takes no system call. What is
    /// read is copied out of the map and checked as ever. A segment that is open costs a map of its size then, which is
    /// address space and not memory. The active segment, and a directory that is open for reading only, are read by calls.
    /// False unless set.
    ///
    /// **What can go wrong, and not without it:** a read from a map has no error to return. If the device cannot give a page
    /// back, or another process shortens the file of a segment, then the process gets SIGBUS, which ends it unless the host
    /// handles that signal.
    pub fn mapped_reads(mut self, mapped: bool) -> LogConfig {
        self.mapped_reads = mapped;
        self
    }

    /// Segments whose newest record is older than this may be deleted, oldest first. Milliseconds; `None`, which is the
    /// default, keeps them for ever (Kafka: seven days). A segment without record times is as old as its file. Time is
    /// not believed blindly: see `Log::delete_old_segments`.
    pub fn retention_ms(mut self, millis: impl Into<Option<u64>>) -> LogConfig {
        self.retention_ms = millis.into();
        self
    }

    /// The oldest segments are deleted as long as the rest of the log has at least this many bytes. `None`, which is the
    /// default, keeps them for ever.
    pub fn retention_bytes(mut self, bytes: impl Into<Option<u64>>) -> LogConfig {
        self.retention_bytes = bytes.into();
        self
    }

    /// How often the worker looks for segments to delete. Milliseconds, from 1, five minutes unless set.
    pub fn retention_check_interval_ms(mut self, millis: u64) -> LogConfig {
        self.retention_check_interval_ms = millis;
        self
    }

    /// How long the files of a deleted segment stay, under another name, for readers who are about to open them.
    /// Milliseconds, one minute unless set; 0 removes them at once.
    pub fn file_delete_delay_ms(mut self, millis: u64) -> LogConfig {
        self.file_delete_delay_ms = millis;
        self
    }

    /// A limit that the `.log` files never exceed together: room allocated ahead and files that wait for their removal
    /// count, indexes (some 5 KiB a MiB of log), `kstore.state` and `.torn` files don't. Bytes, at least four segments;
    /// `None`, which is the default, is no limit.
    ///
    /// [`WhenFull::DropOldest`] deletes as much, in whole segments and at once, as the next segment needs. It asks
    /// neither how old nor whether anybody has read what goes, but nothing at or above the high watermark goes. Where that
    /// leaves no room, and always under [`WhenFull::Reject`], the append fails with `LogFull`.
    pub fn max_bytes(mut self, bytes: impl Into<Option<u64>>, when_full: WhenFull) -> LogConfig {
        self.max_bytes = bytes.into();
        self.when_full = when_full;
        self
    }

    /// Whether retention stops at the slowest named cursor: what that one has not committed is kept, however old.
    /// False unless set.
    pub fn retention_keeps_cursors(mut self, keeps: bool) -> LogConfig {
        self.retention_keeps_cursors = keeps;
        self
    }

    /// Refuses a value outside its bounds, naming it.
    pub(crate) fn check(&self) -> Result<()> {
        within("segment_bytes", self.segment_bytes, MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES, "14..=2147483647 bytes")?;
        within("segment_ms", self.segment_ms, 1, u64::MAX, "1 millisecond or more")?;
        within(
            "segment_index_bytes",
            self.segment_index_bytes,
            MIN_INDEX_BYTES,
            MAX_INDEX_BYTES,
            "12..=2147483647 bytes",
        )?;
        within("max_message_bytes", self.max_message_bytes, 1, u64::MAX, "1 byte or more")?;
        within("max_decompressed_message_bytes", self.max_decompressed_message_bytes, 1, u64::MAX, "1 byte or more")?;
        if let Some(bytes) = self.max_unsynced_bytes {
            within("max_unsynced_bytes", bytes, 1, u64::MAX, "1 byte or more")?;
        }
        if self.max_open_segments == 0 {
            return Err(invalid("max_open_segments", &self.max_open_segments, "1 or more"));
        }
        within("retention_check_interval_ms", self.retention_check_interval_ms, 1, u64::MAX, "1 millisecond or more")?;
        if let Some(bytes) = self.max_bytes {
            let least = self.segment_bytes.saturating_mul(MIN_SEGMENTS_IN_CAP);
            within("max_bytes", bytes, least, u64::MAX, "four times segment_bytes or more")?;
        }
        if !self.compression.is_available() {
            return Err(invalid("compression", &self.compression.name(), "a codec that this build was made with"));
        }
        self.check_write_mode()?;
        self.check_sync_policy()
    }

    fn check_write_mode(&self) -> Result<()> {
        if self.write_mode != WriteMode::Mapped {
            return Ok(());
        }
        if self.sync_policy == SyncPolicy::Always {
            return Err(invalid(
                "write_mode",
                &"Mapped with SyncPolicy::Always",
                "a mode that is synced append by append",
            ));
        }
        if self.worker == Worker::Caller && !self.appends_prepare_windows {
            return Err(invalid(
                "write_mode",
                &"Mapped with Worker::Caller",
                "Worker::Thread, which prepares the maps",
            ));
        }
        Ok(())
    }

    fn check_sync_policy(&self) -> Result<()> {
        let SyncPolicy::Every { records, bytes, interval_ms } = self.sync_policy else { return Ok(()) };
        let bounds = [records, bytes, interval_ms];
        if bounds.iter().all(Option::is_none) {
            return Err(invalid("sync_policy", &"Every without a bound", "records, bytes or interval_ms"));
        }
        if bounds.contains(&Some(0)) {
            return Err(invalid("sync_policy", &"a bound of 0", "bounds of 1 or more"));
        }
        Ok(())
    }

    /// The largest batch that may be appended: the limit on batches, and never more than a segment holds.
    pub(crate) fn largest_batch_bytes(&self) -> u64 {
        self.max_message_bytes.min(self.segment_bytes)
    }

    /// Whether there is anything for a look at old segments to find.
    pub(crate) fn retains_less_than_all(&self) -> bool {
        self.retention_ms.is_some() || self.retention_bytes.is_some() || self.max_bytes.is_some()
    }

    /// Between which timestamps a record must lie that is appended now.
    pub(crate) fn timestamp_bounds(&self, now: Timestamp) -> TimestampBounds {
        match self.message_timestamp_type {
            TimestampType::CreateTime => {
                TimestampBounds::around(now, self.message_timestamp_before_max_ms, self.message_timestamp_after_max_ms)
            }
            TimestampType::LogAppendTime => TimestampBounds::NONE,
        }
    }

    /// The interval of the sync policy, if it has one.
    pub(crate) fn sync_interval_ms(&self) -> Option<u64> {
        match self.sync_policy {
            SyncPolicy::Every { interval_ms, .. } => interval_ms,
            SyncPolicy::Never | SyncPolicy::Always => None,
        }
    }
}

fn within(name: &'static str, value: u64, least: u64, most: u64, expected: &'static str) -> Result<()> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(invalid(name, &value, expected)) }
}

fn invalid(name: &'static str, value: &dyn std::fmt::Display, expected: &'static str) -> Error {
    Error::InvalidConfig { name, value: value.to_string().into(), expected }
}

#[cfg(test)]
mod tests;
