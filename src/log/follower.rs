//! Appending what a leader's log holds, byte for byte: offsets are given, not assigned.
//!
//! Checked are checksum, order and size; what only a client may not do (control batches, transactions, offsets that
//! compaction left out) a leader's log may hold. The invariant it owns: no byte of a batch is changed, and that offsets
//! may be missing is durably known before a batch is written that leaves some out.
//!
//! The steps, and what a crash after each leaves:
//!
//! 1. the state says that offsets may be missing, durably, if some will be: recovery then takes a gap for what it is,
//!    and, until there is one, is merely less strict
//! 2. the epochs of the batches are in `leader-epoch-checkpoint` (`epochs.rs`)
//! 3. the batches are written, as any others: whole, or cut off

use std::sync::Arc;

use crate::config::{LogConfig, MAX_SEGMENT_BYTES, SyncPolicy};
use crate::error::{Corruption, Error, InvalidBatch, Result};
use crate::offset::{Offset, Position, Timestamp};
use crate::record::{BatchHeader, Compression, DecodeLimits, DecodedBatch, verify_crc};
use crate::segment::{AppendFailure, MAX_RELATIVE_OFFSET};
use crate::sync::MutexGuard;

use super::Log;
use super::append::Incoming;
use super::options::{AppendOptions, Appended};
use super::shared::Shared;
use super::wake::Wake;
use super::writer::Writer;

impl Log {
    /// Appends whole batches of another log, its leader's, as they are: offsets, epochs and producers' fields are theirs,
    /// not a byte is changed, and every format, codec and kind of batch is taken. What [`Log::read`] gives there is what
    /// this takes; the two logs' `.log` files are equal byte for byte if they roll by the same limits.
    ///
    /// The first batch begins at the log end or above: offsets may be missing, as compaction leaves them, and readers
    /// pass over them. Batches may be larger than `max_message_bytes`, and than a segment, which then holds nothing
    /// else. A last batch that was cut off, as a broker's answers have it, is left out; look at what the answer says
    /// was appended. Each batch is atomic, several are not together: after an error the log end says how far it got.
    ///
    /// To follow a leader whose log begins above the end of this one, or inside its first batch, begin anew there first.
    ///
    /// # Errors
    /// `UnexpectedAppendOffset` if the first batch begins below the log end: what is there already must be left out, or
    /// cut off first where the logs differ. `OffsetsOutOfOrder`, `StaleLeaderEpoch`, `InvalidBatch`, `BatchTooLarge`;
    /// nothing is appended then. Else as [`Log::append`].
    pub fn append_as_follower(&self, encoded: &[u8]) -> Result<Appended> {
        self.shared().append_as_follower(encoded)
    }
}

impl Shared {
    fn append_as_follower(self: &Arc<Self>, encoded: &[u8]) -> Result<Appended> {
        let options = AppendOptions::default();
        let mut batches = read_batches(encoded)?;
        let Some(appended) = span(&batches, self.core.decode_limits())? else {
            return self.append_nothing(&options);
        };
        let config = self.config.get();
        let now = self.core.env().wall_clock();
        let size_bytes = batches.iter().map(Incoming::size_bytes).sum();
        let (mut writer, log_end) = self.writer_for(&appended, size_bytes)?;
        if leaves_gaps(&batches, log_end) {
            writer.allow_gaps()?;
            self.core.allow_gaps();
        }
        self.learn_epochs(&mut writer, batches.iter().map(|batch| &batch.header))?;
        let mut rolled = false;
        let mut wake = None;
        let written = self.write_runs(&mut writer, &config, &mut batches, now, &mut rolled, &mut wake);
        let written_end = writer.next_offset();
        let generation = self.give_back(writer, wake, rolled);
        if let Err(error) = written {
            if written_end > log_end {
                // The log end is to say how far it got, also where readers wait for the sync.
                self.keep_policy(&options, &config, written_end, generation)?;
            }
            return Err(error);
        }
        self.keep_policy(&options, &config, appended.next_offset(), generation)?;
        Ok(appended)
    }

    /// The writer, once it may take so many bytes within `max_bytes`, and the log end that they go behind.
    fn writer_for(self: &Arc<Self>, appended: &Appended, size_bytes: u64) -> Result<(MutexGuard<'_, Writer>, Offset)> {
        loop {
            let mut writer = self.writer.lock();
            writer.check_writable()?;
            let log_end = writer.next_offset();
            if appended.base_offset() < log_end {
                let last = Offset::new(appended.next_offset().value() - 1);
                return Err(Error::UnexpectedAppendOffset { first: appended.base_offset(), last, log_end });
            }
            writer.begin_session()?;
            // A roll changes nothing about how large all files are together.
            if self.fits(&mut writer, size_bytes, false) {
                return Ok((writer, log_end));
            }
            drop(writer);
            self.make_room(size_bytes)?;
        }
    }

    /// Writes the batches, as many at once as go into one segment.
    fn write_runs<'a>(
        &'a self,
        writer: &mut Writer,
        config: &LogConfig,
        mut rest: &mut [Incoming<'_>],
        now: Timestamp,
        rolled: &mut bool,
        wake: &mut Option<Wake<'a>>,
    ) -> Result<()> {
        let always = config.sync_policy == SyncPolicy::Always;
        while let Some(first) = rest.first() {
            let header = first.header;
            if writer.must_roll(header.size_bytes, header.last_offset(), header.max_timestamp(), now)?.is_some() {
                self.roll_for(writer, &header, always)?;
                self.limit_growth(writer);
                *rolled = true;
            }
            let count = run_length(writer, config, rest);
            let (run, later) = rest.split_at_mut(count);
            let size_bytes = run.iter().map(Incoming::size_bytes).sum();
            let end = run.last().expect("a run has a batch").header.next_offset();
            self.write_locked(writer, run, size_bytes, now)?;
            *wake = self.show_written(writer, end, always);
            rest = later;
        }
        Ok(())
    }

    /// Rolls for a batch. One that lies further above the log end than a segment reaches is the first of its segment;
    /// then the log ends there from now on, even if there is no room for the batch itself.
    fn roll_for(&self, writer: &mut Writer, header: &BatchHeader, always: bool) -> Result<()> {
        let (log_end, last) = (writer.next_offset(), header.last_offset());
        if last - log_end <= MAX_RELATIVE_OFFSET {
            return self.roll_locked(writer);
        }
        // Where a batch of an old format begins is known only after unfolding it; its segment reaches as far as can be.
        let base = header.base_offset().unwrap_or(Offset::new(last.value() - MAX_RELATIVE_OFFSET));
        self.roll_locked_at(writer, base)?;
        drop(self.show_written(writer, base, always));
        // A segment that begins elsewhere than the one before ends tells recovery of an end that was lost, but not here.
        let synced = writer.sealed.iter().try_for_each(|sealed| sealed.sync());
        synced.map_err(|error| self.judge(writer, AppendFailure::Unknown(error)))
    }
}

/// Parses the batches and checks each by itself and against the one before it.
fn read_batches(encoded: &[u8]) -> Result<Vec<Incoming<'_>>> {
    let mut batches: Vec<Incoming<'_>> = Vec::with_capacity(1);
    let mut at = 0;
    while at < encoded.len() {
        let (header, batch) = match read_batch(&encoded[at..]) {
            Err(InvalidBatch::Corrupt(Corruption::Truncated { .. })) if at > 0 => break,
            answer => answer.map_err(|reason| refusal(at, reason))?,
        };
        if header.size_bytes > MAX_SEGMENT_BYTES {
            return Err(Error::BatchTooLarge { size_bytes: header.size_bytes, limit_bytes: MAX_SEGMENT_BYTES });
        }
        if let Some(before) = batches.last() {
            let (first, expected) = (first_known(&header), before.header.next_offset());
            if first < expected {
                return Err(Error::OffsetsOutOfOrder { position: position_of(at), first, expected });
            }
        }
        at += batch.len();
        batches.push(Incoming { head: &mut [], rest: batch, header, planned: None });
    }
    Ok(batches)
}

/// The batch at the front of `bytes`, sound as far as its header and its checksum tell.
fn read_batch(bytes: &[u8]) -> std::result::Result<(BatchHeader, &[u8]), InvalidBatch> {
    let header = BatchHeader::parse(bytes).map_err(InvalidBatch::Corrupt)?;
    verify_crc(bytes, &header).map_err(InvalidBatch::Corrupt)?;
    // A codec that this build was made without is no reason to refuse what others can read; one that nobody knows is.
    header.compression().map_err(InvalidBatch::Corrupt)?;
    let size = usize::try_from(header.size_bytes).expect("the batch lies in memory");
    Ok((header, &bytes[..size]))
}

fn refusal(at: usize, reason: InvalidBatch) -> Error {
    match reason {
        InvalidBatch::Corrupt(Corruption::Codec { found: codec }) => Error::UnsupportedCompression { codec },
        reason => Error::InvalidBatch { position: position_of(at), reason },
    }
}

fn position_of(at: usize) -> Position {
    Position::new(u64::try_from(at).expect("an index in memory fits 64 bits"))
}

/// The offsets and the largest timestamp of all batches; `None` if there is none.
fn span(batches: &[Incoming<'_>], limits: DecodeLimits) -> Result<Option<Appended>> {
    let (Some(first), Some(last)) = (batches.first(), batches.last()) else { return Ok(None) };
    let base_offset = first_offset(first, limits)?;
    let timestamp = batches.iter().filter_map(|batch| batch.header.max_timestamp()).max();
    Ok(Some(Appended::new(base_offset, last.header.next_offset(), timestamp)))
}

/// Where a batch begins: for compressed ones of an old format that stands inside.
fn first_offset(batch: &Incoming<'_>, limits: DecodeLimits) -> Result<Offset> {
    let header = batch.header;
    if !header.is_legacy() || header.compression() == Ok(Compression::None) {
        return Ok(first_known(&header));
    }
    match DecodedBatch::decode_verified(header, batch.rest.to_vec(), limits) {
        Ok(unfolded) => match unfolded.records().next() {
            Some(Ok(record)) => Ok(record.offset()),
            Some(Err(reason)) => Err(refusal(0, InvalidBatch::Corrupt(reason))),
            None => Ok(first_known(&header)),
        },
        // Nobody here can tell; the last offset is what Kafka goes by.
        Err(Corruption::CodecNotBuilt { .. }) => Ok(first_known(&header)),
        Err(reason) => Err(refusal(0, InvalidBatch::Corrupt(reason))),
    }
}

/// Where a batch begins as far as its header tells: of one of an old format, the last offset.
fn first_known(header: &BatchHeader) -> Offset {
    header.base_offset().unwrap_or(header.last_offset())
}

/// Whether recovery would miss offsets before one of the batches, judging by headers as it does.
fn leaves_gaps(batches: &[Incoming<'_>], log_end: Offset) -> bool {
    let mut due = log_end;
    batches.iter().any(|batch| {
        let gap = first_known(&batch.header) > due;
        due = batch.header.next_offset();
        gap
    })
}

/// How many of the batches go into the active segment together. The first one does.
fn run_length(writer: &mut Writer, config: &LogConfig, batches: &[Incoming<'_>]) -> usize {
    let active = writer.active();
    let (base, mut end) = (active.base(), active.position());
    let limit = config.segment_bytes.min(MAX_SEGMENT_BYTES);
    let mut fits = |batch: &&Incoming<'_>| {
        end += batch.size_bytes();
        end.value() <= limit && batch.header.last_offset() - base <= MAX_RELATIVE_OFFSET
    };
    batches.iter().take_while(|batch| fits(batch)).count().max(1)
}
