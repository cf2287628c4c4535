//! Follows a log: its records from an offset on, and then each one that comes, for as long as one likes.
//!
//! It reads ahead with a cursor, so that records that came together are read together, and sleeps when it has given
//! everything. The invariant it owns: every record is given once, in order, from the asked offset on, none that the
//! reader's kind does not see yet; where that cannot be kept it says so and ends: [`Error::Truncated`] when records
//! that it gave are gone, [`Error::OffsetOutOfRange`] when records that it did not give are.

use std::iter::FusedIterator;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::log::core::Core;
use crate::log::wake::{Checked, Parker};
use crate::log::{Log, ReadUpTo};
use crate::offset::Offset;
use crate::record::StoredRecord;
use crate::slice::SharedRecords;
use crate::sync::atomic::{AtomicBool, Ordering};

use super::cursor::Cursor;
use super::{Reader, behind};

impl Log {
    /// The records from `from` on, and then those that are appended: a blocking iterator. See [`Tailer`].
    #[must_use]
    pub fn tail(&self, from: Offset) -> Tailer {
        self.reader().tail(from)
    }
}

impl Reader {
    /// The records from `from` on, as this reader sees them, and then those that come: a blocking iterator. See
    /// [`Tailer`].
    #[must_use]
    pub fn tail(&self, from: Offset) -> Tailer {
        // What recovery would cut off is never followed by anything.
        let up_to = if self.up_to == ReadUpTo::FileEnd { ReadUpTo::LogEnd } else { self.up_to };
        Tailer {
            core: Arc::clone(&self.core),
            up_to,
            skip_damaged: self.skip_damaged,
            generation: self.core.generation(),
            cursor: None,
            current: None,
            batch_end: from,
            held_back: None,
            next: from,
            begun: false,
            failure_told: false,
            finished: false,
            stop: StopHandle { stopped: Arc::default(), parker: Arc::default() },
        }
    }
}

/// Follows a log: what `tail` of a [`Log`] or a [`Reader`] gives. It never ends by itself; where there is nothing more
/// it blocks, without using the processor, until there is.
///
/// It begins at an offset from the log start to the log end. Control records are among the records, as with
/// [`Reader::records`]. It sees as far as its reader: one up to [`ReadUpTo::Synced`] is given a record once that is
/// durable.
///
/// ```
/// # use kstore::{Log, LogConfig, Offset, Record};
/// # fn main() -> kstore::Result<()> {
/// # let dir = tempfile::tempdir().expect("a temporary folder");
/// let log = Log::open(dir.path().join("log"), LogConfig::default())?;
/// let tailer = log.tail(Offset::ZERO);
/// let stop = tailer.stop_handle();
/// let follower = std::thread::spawn(move || tailer.inspect(|record| assert!(record.is_ok())).take(2).count());
/// log.append(&[Record::value("one")])?;
/// log.append(&[Record::value("two")])?;
/// assert_eq!(follower.join().expect("no panic"), 2);
/// stop.stop(); // ends a tailer that still waits
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// An error is given once, and ends the iterator, but for the two below:
/// * [`Error::Closed`] when the log is closed, after what was read ahead.
/// * [`Error::OffsetOutOfRange`] if it was to begin outside the log, and when the log start passes it.
/// * [`Error::Truncated`] when the log was truncated below the records that were given, or lost them in a failure.
/// * [`Error::Failed`] when the log failed, after everything that readers still see. It does not end the iterator: the
///   next call waits until the log is reopened, and then goes on.
/// * [`Error::Corrupt`], which does not end the iterator if the reader skips damage.
#[derive(Debug)]
pub struct Tailer {
    core: Arc<Core>,
    up_to: ReadUpTo,
    skip_damaged: bool,
    /// Of the log's openings, the one that was last looked at. What was read ahead is of it.
    generation: u64,
    cursor: Option<Cursor>,
    current: Option<SharedRecords>,
    /// One past the last offset of the present batch.
    batch_end: Offset,
    /// Read ahead of what this reader sees.
    held_back: Option<StoredRecord>,
    /// Records below were given, or are not asked for.
    next: Offset,
    /// The first offset was found to be in the log.
    begun: bool,
    /// That the log failed was said, and it was not reopened since.
    failure_told: bool,
    finished: bool,
    stop: StopHandle,
}

/// Ends a [`Tailer`] from any thread. It may be cloned, and outlive the tailer.
#[derive(Clone, Debug)]
pub struct StopHandle {
    stopped: Arc<AtomicBool>,
    parker: Arc<Parker>,
}

impl StopHandle {
    /// Ends the tailer: it gives no more record, and who waits for one is woken.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.parker.wake();
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

impl Tailer {
    /// The next record, if there is one within `timeout`. `None` also once the tailer has ended, without waiting:
    /// [`Tailer::is_finished`] tells.
    ///
    /// # Errors
    /// As the iterator gives them.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<StoredRecord>> {
        let deadline = self.core.deadline_in(timeout);
        self.step(deadline)
    }

    /// Something that ends this tailer from another thread.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Where it goes on: one past the last record that it gave, or behind that, where the records of some offsets are
    /// gone. A tailer that begins there takes over from this one.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.next
    }

    /// Whether it was stopped, or ended by an error.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished || self.stop.is_stopped()
    }

    fn step(&mut self, deadline: Option<Duration>) -> Result<Option<StoredRecord>> {
        if self.finished {
            return Ok(None);
        }
        let answer = self.advance(deadline);
        if let Err(error) = &answer {
            self.finished = match error {
                Error::Failed { .. } => false,
                Error::Corrupt { .. } => !self.skip_damaged,
                _ => true,
            };
        }
        answer
    }

    fn advance(&mut self, deadline: Option<Duration>) -> Result<Option<StoredRecord>> {
        loop {
            if self.stop.is_stopped() {
                return Ok(None);
            }
            let mut awaited = self.next;
            if self.begin()? {
                let record = self.read_ahead()?;
                // After the reading: it may have gone on in a later life of the log.
                if self.leave_if_outdated()? {
                    continue;
                }
                if let Some(cursor) = &self.cursor {
                    // What was searched in vain; where offsets are missing that is more than what was given.
                    awaited = awaited.max(cursor.seen_end());
                }
                if let Some(record) = record {
                    if record.offset() < self.core.end_for(self.up_to) {
                        self.next = behind(record.offset());
                        return Ok(Some(record));
                    }
                    awaited = record.offset();
                    self.held_back = Some(record);
                }
            } else if self.leave_if_outdated()? {
                continue;
            }
            if !self.wait(awaited, deadline)? {
                return Ok(None);
            }
        }
    }

    /// Whether reading has begun. In a log that failed an offset above the end is judged once it is reopened.
    fn begin(&mut self) -> Result<bool> {
        if !self.begun {
            let failed = self.core.failure_below(self.next).is_some();
            match self.core.check_range(self.next) {
                Err(Error::OffsetOutOfRange { .. }) if failed => return Ok(false),
                answer => answer?,
            }
            self.begun = true;
        }
        Ok(true)
    }

    /// The next record that is in the log, whether this reader sees it yet or not.
    fn read_ahead(&mut self) -> Result<Option<StoredRecord>> {
        if let Some(record) = self.held_back.take() {
            return Ok(Some(record));
        }
        loop {
            match self.current.as_mut().and_then(Iterator::next) {
                Some(Ok(record)) => return Ok(Some(record)),
                Some(Err(error)) => {
                    self.leave_batch();
                    return Err(error);
                }
                None => self.leave_batch(),
            }
            if !self.enter_batch()? {
                return Ok(None);
            }
        }
    }

    fn leave_batch(&mut self) {
        self.current = None;
        self.next = self.next.max(self.batch_end);
    }

    fn enter_batch(&mut self) -> Result<bool> {
        let start = self.core.log_start();
        if self.next < start {
            return Err(Error::OffsetOutOfRange { asked: self.next, start, end: self.core.log_end() });
        }
        let cursor = self.cursor.get_or_insert_with(|| {
            Cursor::new(Arc::clone(&self.core), self.next, Offset::MAX, self.up_to, self.skip_damaged)
        });
        cursor.resume();
        while let Some(batch) = cursor.next_batch().transpose()? {
            // What is wrong with it comes next.
            if batch.checksum().is_ok() {
                self.batch_end = batch.next_offset();
                self.current = Some(batch.into_records(self.next)?);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Drops what was read ahead if the log was reopened or truncated since. If records were given that are no longer
    /// in it, that is an error, even if the log has grown beyond them again.
    fn leave_if_outdated(&mut self) -> Result<bool> {
        let generation = self.core.generation();
        if generation == self.generation {
            return Ok(false);
        }
        let cut = self.core.truncated_below(self.next, self.generation);
        self.generation = generation;
        self.failure_told = false;
        self.cursor = None;
        self.current = None;
        self.held_back = None;
        self.batch_end = self.next;
        match cut {
            Some(end) if self.begun => Err(Error::Truncated { asked: self.next, end }),
            _ => Ok(true),
        }
    }

    /// Waits until this reader sees the record at `awaited`, or whatever comes there. `false` if it is stopped, or the
    /// time is over.
    fn wait(&mut self, awaited: Offset, deadline: Option<Duration>) -> Result<bool> {
        let Tailer { core, stop, .. } = &*self;
        let look = || {
            if stop.is_stopped() {
                return Checked::Answer(Ok(false));
            }
            if core.is_closed() {
                return Checked::Answer(Err(Error::Closed));
            }
            let due = self.held_back.as_ref().map_or(self.next, StoredRecord::offset);
            let is_passed = due < core.log_start();
            if is_passed || core.generation() != self.generation || core.end_for(self.up_to) > awaited {
                return Checked::Answer(Ok(true));
            }
            match core.failure() {
                Some(cause) if !self.failure_told => Checked::Answer(Err(Error::Failed { cause })),
                _ => Checked::WaitFor(behind(awaited)),
            }
        };
        let outcome = core.wait(&stop.parker, self.up_to, deadline, look).map(|answer| answer.unwrap_or(false));
        self.failure_told |= matches!(outcome, Err(Error::Failed { .. }));
        outcome
    }
}

impl Iterator for Tailer {
    type Item = Result<StoredRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(None).transpose()
    }
}

impl FusedIterator for Tailer {}
