//! The writing side: threads that append, sync, trim and truncate as their dice say, and what they do about errors.
//!
//! Any number of threads append; trims and truncations take turns. The invariants it owns: a record's content is that of its
//! offset; what goes is announced before it goes; and a truncation that was announced is brought to its end before
//! anything else is acknowledged, over full disks and reopenings too.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kstore::{
    AppendOptions, BatchBuilder, Compression, Error, ErrorKind, Log, LogConfig, LogSlice, Offset, Result, SegmentInfo,
    WriteMode,
};

use super::content::{Content, Dice};
use super::lines::{Era, Failure, Lines};

const SEGMENT_BYTES: u64 = 60 << 10;
const INDEX_INTERVAL_BYTES: u64 = 1 << 10;
/// Beyond this the log is trimmed to half of it.
const LOG_BYTES: u64 = 3 << 19;
/// A thread syncs after so many batches at the latest.
const MOST_UNSYNCED_BATCHES: u64 = 16;
/// Between two looks at the size of the log, in batches of a thread.
const BATCHES_A_LOOK: u64 = 32;
/// How long files of deleted segments wait for their removal, under every other seed.
const DELETE_DELAY: Duration = Duration::from_millis(20);

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) dir: PathBuf,
    pub(crate) seed: u64,
    pub(crate) threads: u64,
    pub(crate) write_mode: WriteMode,
    pub(crate) records: u64,
}

pub(crate) fn run(order: &Order) -> std::result::Result<(), Failure> {
    let delay = if order.seed.is_multiple_of(2) { Duration::ZERO } else { DELETE_DELAY };
    let config = LogConfig::default()
        .segment_bytes(SEGMENT_BYTES)
        .index_interval_bytes(INDEX_INTERVAL_BYTES)
        .file_delete_delay_ms(u64::try_from(delay.as_millis()).expect("a short delay"))
        .write_mode(order.write_mode);
    let workload = Workload {
        log: Log::open(&order.dir, config)?,
        lines: Lines::new(),
        left: AtomicU64::new(order.records),
        over: AtomicBool::new(false),
        delete_delay: delay,
        truncating: Mutex::new(()),
        front: Mutex::new(Front { ceiling: u64::MAX }),
        mending: Mutex::new(None),
    };
    workload.work_all(order)?;
    workload.finish()
}

/// The threads' common ground. Locks are taken in the order in which they stand here.
struct Workload {
    log: Log,
    lines: Lines,
    /// Records still to be appended.
    left: AtomicU64,
    over: AtomicBool,
    delete_delay: Duration,
    /// One truncation at a time, from its announcement to its end.
    truncating: Mutex<()>,
    /// Trims, and the steps of truncations.
    front: Mutex<Front>,
    /// How many acknowledgements had been given when the log was last reopened.
    mending: Mutex<Option<u64>>,
}

struct Front {
    /// The log must not begin above: a truncation to here is announced.
    ceiling: u64,
}

/// What a thread has appended, and not acknowledged.
struct Unsynced {
    era: Era,
    end: u64,
    batches: u64,
}

impl Workload {
    fn work_all(&self, order: &Order) -> std::result::Result<(), Failure> {
        if order.threads == 1 {
            return self.work(Dice::new(order.seed, 0));
        }
        std::thread::scope(|scope| {
            let start = |number| {
                let dice = Dice::new(order.seed, number);
                std::thread::Builder::new().spawn_scoped(scope, || self.work(dice)).map_err(Failure::Thread)
            };
            let threads: Vec<_> = (0..order.threads).map(start).collect();
            if threads.iter().any(std::result::Result::is_err) {
                self.over.store(true, Ordering::Release);
            }
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            // All of them are waited for. The others were told to stop, and may have been told the same.
            let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.and_then(join)).collect();
            outcomes.into_iter().collect()
        })
    }

    fn work(&self, dice: Dice) -> std::result::Result<(), Failure> {
        let outcome = self.append_all(dice);
        if outcome.is_err() {
            self.over.store(true, Ordering::Release);
        }
        outcome
    }

    fn append_all(&self, mut dice: Dice) -> std::result::Result<(), Failure> {
        let mut batch = BatchBuilder::new(Compression::None);
        let mut unsynced: Option<Unsynced> = None;
        // A reader's hold on a segment, which keeps truncations from cutting it in place.
        let mut held: Option<LogSlice> = None;
        for turn in 1.. {
            let Some(count) = self.take(&mut dice) else { break };
            let at_once = dice.one_in(16);
            let (era, end) = self.append(&mut batch, count, at_once)?;
            let batches = unsynced.as_ref().map_or(0, |before| before.batches) + 1;
            if at_once {
                self.lines.ack(era, end)?;
                unsynced = None;
            } else if dice.one_in(4) || batches == MOST_UNSYNCED_BATCHES {
                self.sync(era, end)?;
                unsynced = None;
            } else {
                unsynced = Some(Unsynced { era, end, batches });
            }
            match dice.below(128) {
                0..3 => self.truncate(&mut dice)?,
                3 => self.trim_some(&mut dice)?,
                4 => self.roll()?,
                5..10 => held = self.hold(&mut dice),
                10..20 => held = None,
                _ => {}
            }
            if turn % BATCHES_A_LOOK == 0 {
                self.stay_small(&mut dice)?;
            }
        }
        drop(held);
        match unsynced {
            Some(unsynced) => self.sync(unsynced.era, unsynced.end),
            None => Ok(()),
        }
    }

    /// How many records the next batch has; `None` if there is nothing left to do.
    fn take(&self, dice: &mut Dice) -> Option<u64> {
        let wanted = match dice.below(10) {
            0 => 20 + dice.below(45),
            1..4 => 5 + dice.below(15),
            _ => 1 + dice.below(4),
        };
        if self.over.load(Ordering::Acquire) {
            return None;
        }
        let taking = |left: u64| Some(left.saturating_sub(wanted));
        let left = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, taking).unwrap_or_else(|left| left);
        (left > 0).then(|| left.min(wanted))
    }

    /// Appends so many records wherever the log ends by then. Returns where they end, and in which era they were appended.
    fn append(&self, batch: &mut BatchBuilder, count: u64, sync: bool) -> std::result::Result<(Era, u64), Failure> {
        loop {
            let era = self.lines.era();
            let end = self.log.log_end_offset();
            batch.clear();
            for offset in end.value()..end.value() + count {
                Content::of(offset).push_to(batch)?;
            }
            let options = AppendOptions::default().expect_log_end(end).sync(sync);
            match self.log.append_built(&options, batch) {
                Ok(appended) => return Ok((era, appended.next_offset().value())),
                // Another thread was faster, or truncated.
                Err(Error::UnexpectedLogEnd { .. }) => {}
                // It was appended, and cut off while its sync was waited for.
                Err(Error::Truncated { .. }) => return Ok((era, end.value() + count)),
                Err(error) => self.mend(error)?,
            }
        }
    }

    /// Makes what this thread has appended durable, and acknowledges it.
    fn sync(&self, era: Era, end: u64) -> std::result::Result<(), Failure> {
        match self.log.sync_to(Offset::new(end)) {
            Ok(()) => Ok(self.lines.ack(era, end)?),
            // It is gone, and with it the promise.
            Err(Error::Truncated { .. } | Error::OffsetOutOfRange { .. }) if self.lines.may_be_gone(era) => Ok(()),
            Err(error) => self.mend(error),
        }
    }

    fn roll(&self) -> std::result::Result<(), Failure> {
        self.log.roll().map(drop).or_else(|error| self.mend(error))
    }

    /// Some of the log, as a slow reader would hold it. Who is truncated or trimmed away meanwhile holds nothing.
    fn hold(&self, dice: &mut Dice) -> Option<LogSlice> {
        let (start, end) = (self.log.log_start_offset().value(), self.log.log_end_offset().value());
        let from = end.saturating_sub(dice.below(200)).max(start);
        self.log.read(Offset::new(from), SEGMENT_BYTES).ok()
    }

    /// Cuts off a few of the last records, sometimes many, now and then all.
    fn truncate(&self, dice: &mut Dice) -> std::result::Result<(), Failure> {
        let _one = lock(&self.truncating);
        if self.over.load(Ordering::Acquire) {
            return Ok(());
        }
        let to = {
            let mut front = lock(&self.front);
            let (start, end) = (self.log.log_start_offset().value(), self.log.log_end_offset().value());
            let records = match dice.below(16) {
                0 => end - start,
                1..4 => dice.below(2000),
                _ => dice.below(100),
            };
            front.ceiling = end.saturating_sub(records).max(start);
            front.ceiling
        };
        self.lines.truncating(to)?;
        loop {
            let outcome = {
                let _front = lock(&self.front);
                self.log.truncate_to(Offset::new(to))
            };
            match outcome {
                Ok(()) => break,
                // Where it cannot be brought to its end, no other is announced.
                Err(error) => self.mend(error).inspect_err(|_| self.over.store(true, Ordering::Release))?,
            }
        }
        lock(&self.front).ceiling = u64::MAX;
        Ok(self.lines.truncated(to)?)
    }

    /// Lets the log begin a little later.
    fn trim_some(&self, dice: &mut Dice) -> std::result::Result<(), Failure> {
        let some = dice.below(64);
        self.trim_to(|log| {
            let (start, end) = (log.log_start_offset().value(), log.log_end_offset().value());
            Ok(Some(start + (end - start) * some / 256))
        })
    }

    /// Trims to about half of what the log may have, if it has more. The new start lies somewhere inside a segment.
    fn stay_small(&self, dice: &mut Dice) -> std::result::Result<(), Failure> {
        let some = dice.below(64);
        self.trim_to(|log| {
            let segments = log.segments()?;
            let mut size_bytes: u64 = segments.iter().map(|segment| segment.size_bytes).sum();
            if size_bytes <= LOG_BYTES {
                return Ok(None);
            }
            let stays_first = |segment: &&SegmentInfo| {
                size_bytes -= segment.size_bytes;
                size_bytes < LOG_BYTES / 2
            };
            let within = |first: &SegmentInfo| (first.next_offset - first.base_offset) * some / 64;
            Ok(segments.iter().find(stays_first).map(|first| first.base_offset.value() + within(first)))
        })
    }

    fn trim_to(&self, choose: impl FnOnce(&Log) -> Result<Option<u64>>) -> std::result::Result<(), Failure> {
        let trimmed = self.trim_below_ceiling(choose);
        match trimmed {
            Err(Failure::Log(error)) => self.mend(error),
            other => other.map(drop),
        }
    }

    /// Announces a trim and makes it, no further than a truncation that is under way. Says whether anything went.
    fn trim_below_ceiling(
        &self,
        choose: impl FnOnce(&Log) -> Result<Option<u64>>,
    ) -> std::result::Result<bool, Failure> {
        let front = lock(&self.front);
        let Some(to) = choose(&self.log)?.map(|to| to.min(front.ceiling)) else { return Ok(false) };
        if to <= self.log.log_start_offset().value() {
            return Ok(false);
        }
        self.lines.trim(to)?;
        match self.log.delete_records_before(Offset::new(to)) {
            Ok(_) => Ok(true),
            // The log was reopened meanwhile, and ends below.
            Err(Error::OffsetOutOfRange { end, .. }) if end.value() < to => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// What is done about an error, so that the call can be made again; else it ends the run.
    fn mend(&self, error: Error) -> std::result::Result<(), Failure> {
        if self.log.stats().failed || error.kind() == ErrorKind::Reopen {
            self.reopen(error)
        } else if matches!(error, Error::StorageFull { .. }) {
            self.make_room(error)
        } else {
            Err(error.into())
        }
    }

    /// Recovers in place, unless nothing was acknowledged since the last time.
    fn reopen(&self, error: Error) -> std::result::Result<(), Failure> {
        let mut last = lock(&self.mending);
        if !self.log.stats().failed {
            // Another thread did it.
            return Ok(());
        }
        let acks = self.lines.acks();
        if last.replace(acks) == Some(acks) {
            return Err(error.into());
        }
        self.lines.reopening();
        self.log.reopen()?;
        Ok(self.lines.reopened()?)
    }

    /// Trims half of what may go. Where nothing may, the disk stays full.
    fn make_room(&self, error: Error) -> std::result::Result<(), Failure> {
        let made = self.trim_below_ceiling(|log| {
            let (start, end) = (log.log_start_offset().value(), log.log_end_offset().value());
            Ok(Some(start + (end - start).div_ceil(2)))
        });
        match made {
            Ok(true) => {
                std::thread::sleep(2 * self.delete_delay);
                Ok(())
            }
            Ok(false) => Err(error.into()),
            Err(Failure::Log(other)) if self.log.stats().failed => self.reopen(other),
            Err(failure) => Err(failure),
        }
    }

    fn finish(&self) -> std::result::Result<(), Failure> {
        let era = self.lines.era();
        let end = loop {
            match self.log.sync() {
                Ok(end) => break end.value(),
                Err(error) => self.mend(error)?,
            }
        };
        if end > self.log.log_start_offset().value() {
            self.lines.ack(era, end)?;
        }
        Ok(self.log.close()?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
