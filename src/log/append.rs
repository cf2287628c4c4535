//! Appends: from records, from a built batch, from the encoded batches of a client.
//!
//! Encoding, compression and validation happen before the writer mutex is taken; under it offsets are given, the
//! segment rolls if it must, and the bytes are written. The invariant it owns: an append is wholly there or not at all,
//! and readers are told of it last.

use std::cell::Cell;
use std::io::IoSlice;
use std::sync::Arc;

use crate::config::{LogConfig, SyncPolicy, WriteMode};
use crate::error::{Error, InvalidRecord, Result};
use crate::offset::{Offset, Position, Timestamp};
use crate::record::{
    BatchBuilder, BatchHeader, BatchStamp, ClientRules, Compression, PlannedBatch, Record, set_base_offset,
    set_leader_epoch, validate_client_batches,
};
use crate::segment::{AppendFailure, BatchFacts, MAX_RELATIVE_OFFSET, MOST_STORED_BYTES};
use crate::state::Witness;
use crate::sync::MutexGuard;

use super::cursors::NewCommit;
use super::options::{AppendOptions, Appended};
use super::shared::Shared;
use super::wake::Wake;
use super::writer::{Amount, Writer};

/// The leader epoch of a batch that has none.
const NO_LEADER_EPOCH: i32 = -1;
/// A thread keeps its encoder from one append to the next, unless it grew beyond this many bytes.
const KEPT_BUILDER_BYTES: usize = 1 << 20;

/// One encoded batch on its way into the log: its first bytes, which are changed here, none if nothing is to be
/// changed, and the rest, which is not copied.
pub(super) struct Incoming<'a> {
    pub(super) head: &'a mut [u8],
    pub(super) rest: &'a [u8],
    pub(super) header: BatchHeader,
    /// Records that are encoded as they are written; then there are no bytes yet.
    pub(super) planned: Option<&'a PlannedBatch<'a>>,
}

impl Incoming<'_> {
    pub(super) fn size_bytes(&self) -> u64 {
        self.header.size_bytes
    }

    /// Offsets that the batch takes.
    fn offsets(&self) -> u64 {
        u64::try_from(self.header.last_offset_delta).expect("a checked batch has a delta of 0 or more") + 1
    }

    /// Records that the header counts. Formats without a count have one a message, or more inside it.
    fn records(&self) -> u64 {
        u64::try_from(self.header.count).unwrap_or(1)
    }
}

impl Shared {
    pub(super) fn append(self: &Arc<Self>, options: &AppendOptions, records: &[Record<'_>]) -> Result<Appended> {
        self.append_with_commits(options, records, &[])
    }

    /// Appends records together with commits of cursors. Without records nothing is committed either.
    pub(super) fn append_with_commits(
        self: &Arc<Self>,
        options: &AppendOptions,
        records: &[Record<'_>],
        commits: &[NewCommit],
    ) -> Result<Appended> {
        if records.is_empty() {
            return self.append_nothing(options);
        }
        self.config.with(|config| self.append_records(options, config, records, commits))
    }

    fn append_records(
        self: &Arc<Self>,
        options: &AppendOptions,
        config: &LogConfig,
        records: &[Record<'_>],
        commits: &[NewCommit],
    ) -> Result<Appended> {
        let compression = config.compression;
        // A commit names the checksum of its batch, which is known here only once the batch lies where it is to lie.
        if compression == Compression::None
            && commits.is_empty()
            && let [record] = records
            && let Some(outcome) = self.append_planned(options, config, record)
        {
            return outcome;
        }
        let mut builder = take_builder(compression);
        let outcome =
            push_all(&mut builder, records).and_then(|()| self.append_built_by(options, config, &mut builder, commits));
        builder.clear();
        keep_builder(builder);
        outcome
    }

    /// Appends a record that is encoded straight to where it is to lie, if it is plain; `None` if not. Several are encoded before
    /// anybody has to wait for it, and copied.
    fn append_planned(
        self: &Arc<Self>,
        options: &AppendOptions,
        config: &LogConfig,
        record: &Record<'_>,
    ) -> Option<Result<Appended>> {
        let now = self.clock(config);
        let planned = PlannedBatch::of(record, &config.timestamp_bounds(now), MOST_STORED_BYTES)?;
        let stamp = stamp(options, config, now);
        let mut header = planned.header(&stamp);
        if let Some(outcome) = self.append_at_once(options, config, now, &planned, &mut header) {
            return Some(outcome);
        }
        let mut incoming = [Incoming { head: &mut [], rest: &[], header, planned: Some(&planned) }];
        Some(self.commit(options, config, now, &mut incoming, &[]))
    }

    /// Appends a batch for which nothing has to be done but to write it: no roll, no refusal, no room to be made, no epoch to
    /// be noted. `None`, with nothing changed, wherever it may be otherwise: then [`Shared::commit`] does it, or says why not.
    #[inline]
    fn append_at_once(
        self: &Arc<Self>,
        options: &AppendOptions,
        config: &LogConfig,
        now: Timestamp,
        planned: &PlannedBatch<'_>,
        header: &mut BatchHeader,
    ) -> Option<Result<Appended>> {
        if header.size_bytes > config.largest_batch_bytes() || header.leader_epoch >= 0 {
            return None;
        }
        let mut writer = self.writer.lock();
        if !writer.is_in_session() || !self.core.has_no_epochs() {
            return None;
        }
        let base_offset = writer.next_offset();
        let records = u64::from(header.count.unsigned_abs());
        if records > Offset::MAX - base_offset {
            return None;
        }
        let (last_offset, next_offset) = (base_offset + (records - 1), base_offset + records);
        if check_log_end(options, base_offset).is_err()
            || !matches!(writer.must_roll(header.size_bytes, last_offset, header.max_timestamp(), now), Ok(None))
            || !self.fits(&mut writer, header.size_bytes, false)
        {
            return None;
        }
        header.offset_field = base_offset;
        let amount = Amount { records, bytes: header.size_bytes };
        if let Err(failure) = writer.write_planned(planned, header, amount, now) {
            return Some(Err(self.judge(&mut writer, failure)));
        }
        self.counters.note_append(records, 1, header.size_bytes);
        let appended = Appended { base_offset, next_offset, timestamp: header.max_timestamp() };
        Some(self.conclude(writer, options, config, appended, false))
    }

    /// Appends a built batch and clears the builder; a builder whose append failed keeps its records.
    pub(super) fn append_built(
        self: &Arc<Self>,
        options: &AppendOptions,
        builder: &mut BatchBuilder,
    ) -> Result<Appended> {
        if builder.is_empty() {
            return self.append_nothing(options);
        }
        self.config.with(|config| self.append_built_by(options, config, builder, &[]))
    }

    fn append_built_by(
        self: &Arc<Self>,
        options: &AppendOptions,
        config: &LogConfig,
        builder: &mut BatchBuilder,
        commits: &[NewCommit],
    ) -> Result<Appended> {
        let now = self.clock(config);
        builder.check_timestamps(&config.timestamp_bounds(now))?;
        let (header, bytes) = builder.seal(&stamp(options, config, now), 0)?;
        let mut incoming = [Incoming { head: bytes, rest: &[], header, planned: None }];
        let appended = self.commit(options, config, now, &mut incoming, commits)?;
        builder.clear();
        Ok(appended)
    }

    /// Appends the encoded batches of a client. Several are atomic each, not together.
    pub(super) fn append_batch(
        self: &Arc<Self>,
        options: &AppendOptions,
        encoded: &[u8],
        commits: &[NewCommit],
    ) -> Result<Appended> {
        let config = self.config.get();
        let now = self.clock(&config);
        let rules = ClientRules {
            max_batch_bytes: config.largest_batch_bytes(),
            limits: self.core.decode_limits(),
            now,
            timestamp_type: config.message_timestamp_type,
            bounds: config.timestamp_bounds(now),
        };
        let mut batches = validate_client_batches(encoded, &rules)?;
        let leader_epoch = options.leader_epoch.unwrap_or(NO_LEADER_EPOCH);
        let mut incoming: Vec<Incoming<'_>> = batches
            .iter_mut()
            .map(|batch| Incoming {
                rest: &encoded[batch.records_range()],
                header: BatchHeader { leader_epoch, ..batch.header },
                head: {
                    set_leader_epoch(&mut batch.head, leader_epoch);
                    &mut batch.head
                },
                planned: None,
            })
            .collect();
        self.commit(options, &config, now, &mut incoming, commits)
    }

    /// The time of an append. All appends go by one clock, for of two clocks one is behind, and times would go back.
    fn clock(&self, config: &LogConfig) -> Timestamp {
        let env = self.core.env();
        if config.write_mode == WriteMode::Mapped { env.coarse_wall_clock() } else { env.wall_clock() }
    }

    /// No records: nothing is written, synced or rolled, but the checks are made.
    pub(super) fn append_nothing(&self, options: &AppendOptions) -> Result<Appended> {
        let writer = self.writer.lock();
        writer.check_writable()?;
        let end = writer.next_offset();
        check_log_end(options, end)?;
        Ok(Appended { base_offset: end, next_offset: end, timestamp: None })
    }

    /// Gives offsets, rolls if it must, writes, and concludes.
    fn commit(
        self: &Arc<Self>,
        options: &AppendOptions,
        config: &LogConfig,
        now: Timestamp,
        batches: &mut [Incoming<'_>],
        commits: &[NewCommit],
    ) -> Result<Appended> {
        let size_bytes: u64 = batches.iter().map(Incoming::size_bytes).sum();
        let largest = batches.iter().map(Incoming::size_bytes).max().unwrap_or(0);
        if largest > config.largest_batch_bytes() {
            return Err(Error::BatchTooLarge { size_bytes: largest, limit_bytes: config.largest_batch_bytes() });
        }
        if size_bytes > config.segment_bytes {
            return Err(Error::BatchTooLarge { size_bytes, limit_bytes: config.segment_bytes });
        }
        let always = config.sync_policy == SyncPolicy::Always;
        let (mut writer, appended, rolled) = self.writer_with_room(options, batches, size_bytes, now)?;
        self.learn_epochs(&mut writer, batches.iter().map(|batch| &batch.header))?;
        if rolled {
            self.roll_locked(&mut writer)?;
            self.limit_growth(&mut writer);
        }
        let written = self.write_committing(&mut writer, batches, size_bytes, now, commits, always || options.sync);
        if let Err(error) = written {
            drop(writer);
            if rolled {
                self.order_sealed_sync();
            }
            return Err(error);
        }
        self.conclude(writer, options, config, appended, rolled)
    }

    /// Shows what was written, gives the writer back, and waits for what the policy asks.
    #[inline]
    fn conclude(
        self: &Arc<Self>,
        mut writer: MutexGuard<'_, Writer>,
        options: &AppendOptions,
        config: &LogConfig,
        appended: Appended,
        rolled: bool,
    ) -> Result<Appended> {
        let always = config.sync_policy == SyncPolicy::Always;
        let wake = self.show_written(&mut writer, appended.next_offset, always);
        let generation = self.give_back(writer, wake, rolled);
        self.keep_policy(options, config, appended.next_offset, generation)?;
        Ok(appended)
    }

    /// Gives the writer back, wakes who waits for what was shown, and orders what others are to do: windows, and the sync of
    /// what was sealed by a roll. Says in which generation the writer wrote.
    #[inline]
    pub(super) fn give_back(
        self: &Arc<Self>,
        mut writer: MutexGuard<'_, Writer>,
        wake: Option<Wake<'_>>,
        rolled: bool,
    ) -> u64 {
        let generation = self.core.generation();
        let wants_window = writer.active().takes_window_order();
        drop(writer);
        drop(wake);
        if wants_window {
            self.order_windows();
        }
        if rolled {
            self.order_sealed_sync();
        }
        generation
    }

    /// The writer, once it may take the batches: checked, numbered, and with room for them within `max_bytes`. And
    /// whether it must roll first.
    fn writer_with_room(
        self: &Arc<Self>,
        options: &AppendOptions,
        batches: &mut [Incoming<'_>],
        size_bytes: u64,
        now: Timestamp,
    ) -> Result<(MutexGuard<'_, Writer>, Appended, bool)> {
        loop {
            let mut writer = self.writer.lock();
            writer.check_writable()?;
            check_log_end(options, writer.next_offset())?;
            writer.begin_session()?;
            let appended = assign_offsets(&writer, batches)?;
            let last_offset = Offset::new(appended.next_offset.value() - 1);
            if appended.next_offset - appended.base_offset > MAX_RELATIVE_OFFSET {
                // Batches that unfold to billions of records: no segment has room for so many offsets.
                return Err(Error::InvalidRecord { index: 0, reason: InvalidRecord::TooMany });
            }
            let must_roll = writer.must_roll(size_bytes, last_offset, appended.timestamp, now)?.is_some();
            if self.fits(&mut writer, size_bytes, must_roll) {
                return Ok((writer, appended, must_roll));
            }
            drop(writer);
            self.make_room(size_bytes)?;
        }
    }

    /// Writes batches, and before them the commits that count once the last one is there.
    fn write_committing(
        &self,
        writer: &mut Writer,
        batches: &mut [Incoming<'_>],
        size_bytes: u64,
        now: Timestamp,
        commits: &[NewCommit],
        durably: bool,
    ) -> Result<()> {
        if commits.is_empty() {
            return self.write_locked(writer, batches, size_bytes, now);
        }
        let last = &batches.last().expect("an append has a batch").header;
        let pending = match self.write_commits(commits, last, durably) {
            Err(error) if self.loses_names(&error) => return Err(self.fail_with(writer, error)),
            answer => answer?,
        };
        let written = self.write_locked(writer, batches, size_bytes, now);
        pending.conclude(written.is_ok());
        written
    }

    /// Takes note that everything below `end` is written, and shows it to readers unless they wait for its sync. They
    /// are woken when the answer is dropped, after the writer mutex.
    pub(super) fn show_written(&self, writer: &mut Writer, end: Offset, always: bool) -> Option<Wake<'_>> {
        self.raise_written_end(end);
        if always {
            return None;
        }
        // What waits for its sync in segments before this one lies below the end that readers see from now on.
        for sealed in &writer.sealed {
            sealed.publish();
        }
        let active = writer.active();
        let position = active.position();
        active.segment().publish(position);
        Some(self.core.publish(end))
    }

    /// Begins a new segment at the log end, with the writer mutex held.
    pub(super) fn roll_locked(&self, writer: &mut Writer) -> Result<()> {
        let base = writer.next_offset();
        self.roll_locked_at(writer, base)
    }

    /// Begins a new segment at the log end or above, with the writer mutex held.
    pub(super) fn roll_locked_at(&self, writer: &mut Writer, base: Offset) -> Result<()> {
        let rolled = writer.roll(self.core.env(), self.core.dir(), base);
        let sealed = rolled.map_err(|failure| self.judge(writer, failure))?;
        self.core.insert_segment(Arc::clone(writer.active().segment()));
        self.core.keep_open(Arc::clone(&sealed.segment));
        self.counters.rolls.fetch_add(1, crate::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    /// Writes batches that have their offsets and fit the active segment, with the writer mutex held.
    pub(super) fn write_locked(
        &self,
        writer: &mut Writer,
        batches: &mut [Incoming<'_>],
        size_bytes: u64,
        now: Timestamp,
    ) -> Result<()> {
        let records = batches.iter().map(Incoming::records).sum();
        let amount = Amount { records, bytes: size_bytes };
        let count = u64::try_from(batches.len()).unwrap_or(u64::MAX);
        if let [Incoming { planned: Some(planned), header, .. }] = batches {
            let written = writer.write_planned(planned, header, amount, now);
            written.map_err(|failure| self.judge(writer, failure))?;
            self.counters.note_append(records, count, size_bytes);
            return Ok(());
        }
        let last = witness_of_last(writer, batches, size_bytes);
        let written = match batches {
            [one] => {
                let facts = [BatchFacts::of(&one.header)];
                if one.rest.is_empty() {
                    writer.write(&mut [IoSlice::new(one.head)], &facts, last, amount, now)
                } else {
                    writer.write(&mut [IoSlice::new(one.head), IoSlice::new(one.rest)], &facts, last, amount, now)
                }
            }
            many => {
                let facts: Vec<BatchFacts> = many.iter().map(|batch| BatchFacts::of(&batch.header)).collect();
                let mut parts: Vec<IoSlice<'_>> =
                    many.iter().flat_map(|batch| [IoSlice::new(batch.head), IoSlice::new(batch.rest)]).collect();
                writer.write(&mut parts, &facts, last, amount, now)
            }
        };
        written.map_err(|failure| self.judge(writer, failure))?;
        self.counters.note_append(records, count, size_bytes);
        Ok(())
    }

    /// A failed write fails the log, unless there was merely no room and the file is as it was (rules 6, 17 and 20a).
    pub(super) fn judge(&self, writer: &mut Writer, failure: AppendFailure) -> Error {
        match failure {
            AppendFailure::Unchanged(error @ Error::StorageFull { .. }) => error,
            AppendFailure::Unchanged(error) if is_harmless(&error) => error,
            AppendFailure::Unchanged(error) | AppendFailure::Unknown(error) => self.fail_with(writer, error),
        }
    }

    /// Syncs as far as the options and the policy ask before the append returns.
    pub(super) fn keep_policy(
        self: &Arc<Self>,
        options: &AppendOptions,
        config: &LogConfig,
        end: Offset,
        generation: u64,
    ) -> Result<()> {
        let behind = |bytes: u64| self.counters.unsynced_bytes() >= bytes;
        let due = match config.sync_policy {
            SyncPolicy::Always => true,
            SyncPolicy::Never => false,
            SyncPolicy::Every { records, bytes, interval_ms } => {
                // Where no worker can be had the append keeps the promise itself.
                let unkept = interval_ms.is_some() && self.order_interval_sync().is_err();
                let many = records.is_some_and(|records| self.counters.unsynced_records() >= records);
                unkept || many || bytes.is_some_and(behind)
            }
        };
        let too_far = config.max_unsynced_bytes.is_some_and(|bytes| self.counters.unsynced_bytes() > bytes);
        if due || too_far || options.sync { self.sync_appended(end, generation) } else { Ok(()) }
    }

    /// Ends the active segment now. An empty one stays.
    pub(super) fn roll(self: &Arc<Self>) -> Result<Offset> {
        let mut writer = self.writer.lock();
        writer.check_writable()?;
        if writer.active().position() > Position::ZERO {
            writer.begin_session()?;
            self.roll_locked(&mut writer)?;
            let base = writer.active().base();
            drop(writer);
            self.order_sealed_sync();
            return Ok(base);
        }
        Ok(writer.active().base())
    }
}

/// Too many open files, no permission: refused before anything was changed, and no word about the disk.
fn is_harmless(error: &Error) -> bool {
    use crate::error::IoOp;
    matches!(error, Error::Io { operation: IoOp::Create | IoOp::Open | IoOp::Map, .. })
}

/// What an append stamps on a batch that it encodes.
fn stamp(options: &AppendOptions, config: &LogConfig, now: Timestamp) -> BatchStamp {
    BatchStamp {
        now,
        timestamp_type: config.message_timestamp_type,
        leader_epoch: options.leader_epoch.unwrap_or(NO_LEADER_EPOCH),
        ..BatchStamp::default()
    }
}

fn check_log_end(options: &AppendOptions, actual: Offset) -> Result<()> {
    match options.expect_log_end {
        Some(expected) if expected != actual => Err(Error::UnexpectedLogEnd { expected, actual }),
        _ => Ok(()),
    }
}

/// Numbers the batches from the log end on.
fn assign_offsets(writer: &Writer, batches: &mut [Incoming<'_>]) -> Result<Appended> {
    let base_offset = writer.next_offset();
    let mut next = base_offset.value();
    let mut max_timestamp = None;
    for batch in batches.iter_mut() {
        let end = next.checked_add(batch.offsets()).filter(|&end| end <= Offset::MAX.value());
        let end = end.ok_or(Error::OffsetsExhausted)?;
        if batch.planned.is_none() {
            set_base_offset(batch.head, Offset::new(next));
        }
        batch.header.offset_field = Offset::new(next);
        max_timestamp = max_timestamp.max(batch.header.max_timestamp());
        next = end;
    }
    Ok(Appended { base_offset, next_offset: Offset::new(next), timestamp: max_timestamp })
}

/// The last batch as a witness, at the place where it is about to be written.
fn witness_of_last(writer: &mut Writer, batches: &[Incoming<'_>], size_bytes: u64) -> Witness {
    let last = batches.last().expect("an append has a batch");
    let active = writer.active();
    let position = active.position() + (size_bytes - last.size_bytes());
    super::open::load::witness_of(active.base(), position, &last.header)
}

fn push_all(builder: &mut BatchBuilder, records: &[Record<'_>]) -> Result<()> {
    for (index, record) in records.iter().enumerate() {
        builder.push_borrowed(record).map_err(|reason| Error::InvalidRecord { index, reason })?;
    }
    Ok(())
}

thread_local! {
    static BUILDER: Cell<Option<Box<BatchBuilder>>> = const { Cell::new(None) };
}

fn take_builder(compression: Compression) -> Box<BatchBuilder> {
    // A thread that is ending keeps none any more, and may append all the same, from a destructor of the host's.
    match BUILDER.try_with(Cell::take).unwrap_or_default() {
        Some(builder) if builder.compression() == compression => builder,
        _ => Box::new(BatchBuilder::new(compression)),
    }
}

fn keep_builder(builder: Box<BatchBuilder>) {
    if builder.capacity_bytes() <= KEPT_BUILDER_BYTES {
        BUILDER.try_with(|kept| kept.set(Some(builder))).unwrap_or_default();
    }
}
