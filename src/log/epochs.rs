//! Leader epochs of one log: learned from batches, kept in `leader-epoch-checkpoint`, judged at open.
//!
//! The answers come from memory; the file is Kafka's, and no file is written as long as the log sees no epoch. Both
//! halves of the protocol stand here. To append the first batch of an epoch:
//!
//! 1. the new entries replace the file, durably (`checkpoint.rs` has its steps): a crash leaves an entry that begins at
//!    or behind the log end, or the old file
//! 2. memory takes them over
//! 3. the batch is written: a crash leaves an entry for a batch that is there, whole, or that recovery cuts off
//!
//! So every batch's epoch is in the file before the batch, and a recovery point never passes one that is not. An opening
//! drops the entries at or behind the log end, durably before anything is appended, so that the batches that come to
//! stand there are not taken for that epoch's. An append that failed leaves such an entry too; the next one drops it.
//!
//! A truncation cuts the log first and the entries then, which a crash in between leaves to the opening.
//!
//! The file is not believed where batches contradict it: those above the recovery point, which recovery walks, and
//! the one that ends there, which is read in any case. Then, and where it is missing or damaged, the headers of all
//! batches tell. The invariant it owns: `cache` speaks of no epoch that the file does not have, unless `in_step` says
//! that the next append has to write the file first.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::{read_leader_epochs, write_leader_epochs};
use crate::epoch::{EpochCache, EpochRuns};
use crate::error::{Corruption, Error, Result};
use crate::fs::{Env, OpenMode};
use crate::offset::{Offset, Position};
use crate::record::BatchHeader;
use crate::segment::{LogFile, Scanner, Segment};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

use super::Log;
use super::core::Core;
use super::read::Reader;
use super::report::LostEpochs;
use super::shared::Shared;
use super::writer::Writer;

/// The cache, and whether the file holds the same. Readers lock it for moments; it is changed with the writer mutex
/// held, which comes before it in the lock order.
#[derive(Debug)]
pub(crate) struct Epochs {
    cache: EpochCache,
    in_step: bool,
}

/// The epochs of an open log.
#[derive(Debug, Default)]
pub(crate) struct KnownEpochs {
    inner: Mutex<Epochs>,
    /// There are none, and the file says so. Written with the writer mutex held, and read under it.
    are_settled: AtomicBool,
}

impl Default for Epochs {
    /// No epoch, and no file.
    fn default() -> Epochs {
        Epochs { cache: EpochCache::default(), in_step: true }
    }
}

/// Leader epochs: which leader wrote from which offset on, as replication compares logs by.
impl Log {
    /// The last leader epoch; `None` if no batch has one.
    #[must_use]
    pub fn latest_leader_epoch(&self) -> Option<i32> {
        self.reader().latest_leader_epoch()
    }

    /// The epoch that the record at an offset was written under; `None` below the first epoch, and outside the log.
    #[must_use]
    pub fn epoch_for_offset(&self, offset: Offset) -> Option<i32> {
        self.reader().epoch_for_offset(offset)
    }

    /// Where a follower finds the end of what it shares with this log, if `epoch` is its last: the greatest epoch here
    /// that is no later, and where that ends. `None` if nothing can be said, as for an epoch later than the last.
    ///
    /// An epoch earlier than the first one here ends where that begins, and is answered as asked.
    #[must_use]
    pub fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, Offset)> {
        self.reader().end_offset_for_epoch(epoch)
    }

    /// All leader epochs and where they begin, oldest first. The first one begins at the log start or above.
    #[must_use]
    pub fn leader_epochs(&self) -> Vec<(i32, Offset)> {
        self.reader().leader_epochs()
    }
}

/// Leader epochs, as [`Log`] has them.
impl Reader {
    /// As [`Log::latest_leader_epoch`].
    #[must_use]
    pub fn latest_leader_epoch(&self) -> Option<i32> {
        self.core.epochs.inner.lock().cache.latest().map(|latest| latest.epoch)
    }

    /// As [`Log::epoch_for_offset`].
    #[must_use]
    pub fn epoch_for_offset(&self, offset: Offset) -> Option<i32> {
        let is_inside = (self.log_start_offset()..self.log_end_offset()).contains(&offset);
        self.core.epochs.inner.lock().cache.epoch_for_offset(offset).filter(|_| is_inside)
    }

    /// As [`Log::end_offset_for_epoch`]. The last epoch ends where this reader does.
    #[must_use]
    pub fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, Offset)> {
        let log_end = self.log_end_offset();
        let (epoch, end) = self.core.epochs.inner.lock().cache.end_offset_for(epoch, log_end)?;
        // An epoch whose first batch waits for its sync begins above what readers see.
        Some((epoch, end.min(log_end)))
    }

    /// As [`Log::leader_epochs`].
    #[must_use]
    pub fn leader_epochs(&self) -> Vec<(i32, Offset)> {
        let epochs = self.core.epochs.inner.lock();
        epochs.cache.entries().iter().map(|entry| (entry.epoch, entry.start_offset)).collect()
    }
}

impl Core {
    pub(crate) fn install_epochs(&self, epochs: Epochs) {
        let are_settled = epochs.in_step && epochs.cache.is_empty();
        *self.epochs.inner.lock() = epochs;
        self.epochs.are_settled.store(are_settled, Ordering::Relaxed);
    }

    /// Whether no batch has an epoch, and the file says so.
    pub(super) fn has_no_epochs(&self) -> bool {
        self.epochs.are_settled.load(Ordering::Relaxed)
    }

    /// Whether an epoch is known to begin below an offset.
    pub(crate) fn has_epochs_below(&self, offset: Offset) -> bool {
        self.epochs.inner.lock().cache.entries().first().is_some_and(|first| first.start_offset < offset)
    }
}

impl Shared {
    /// Brings cache and file in step with batches that are about to be written behind the log end; each header has its
    /// offset and epoch. Free where they bring nothing new. The caller holds the writer mutex.
    ///
    /// # Errors
    /// `StaleLeaderEpoch` if one has an earlier epoch than what is before it; nothing was changed. Else what the write
    /// of the file says, after which the log is as before; a sync that failed fails the log.
    pub(super) fn learn_epochs<'a>(
        &self,
        writer: &mut Writer,
        headers: impl Iterator<Item = &'a BatchHeader> + Clone,
    ) -> Result<()> {
        // Most logs have no epochs, and their appends need no lock to know it.
        if self.core.has_no_epochs() && headers.clone().all(|header| header.leader_epoch < 0) {
            return Ok(());
        }
        let next = {
            let epochs = self.core.epochs.inner.lock();
            if epochs.in_step && headers.clone().all(|header| is_known(&epochs.cache, header)) {
                return Ok(());
            }
            let mut next = epochs.cache.clone();
            headers.clone().try_for_each(|header| learn(&mut next, header))?;
            next
        };
        // The directory's pages may be gone: what the next sync says of them means nothing (rule 17).
        self.replace_epochs(next).map_err(|error| self.fail_if_unsynced(writer, error))
    }

    /// Drops the epochs that begin at or above `end`, durably. For a truncation, after the log was cut; also for one at
    /// or above the log end.
    ///
    /// # Errors
    /// What the write of the file says. Memory is right all the same, and the next append writes the file first. A sync
    /// that failed is for the caller to judge.
    pub(super) fn cut_epochs_from_end(&self, end: Offset) -> Result<()> {
        self.cut_epochs(|cache| cache.truncate_from_end(end))
    }

    /// Drops the epochs that end at or below `start`, durably; the one that holds it begins there from now on. For a
    /// log start that was raised.
    ///
    /// # Errors
    /// As [`Shared::cut_epochs_from_end`].
    pub(super) fn cut_epochs_from_start(&self, start: Offset) -> Result<()> {
        self.cut_epochs(|cache| cache.truncate_from_start(start))
    }

    /// Forgets every epoch, durably. For a log that begins anew.
    ///
    /// # Errors
    /// As [`Shared::cut_epochs_from_end`].
    pub(super) fn clear_epochs(&self) -> Result<()> {
        self.cut_epochs(EpochCache::clear)
    }

    fn cut_epochs(&self, cut: impl FnOnce(&mut EpochCache)) -> Result<()> {
        let next = {
            let mut epochs = self.core.epochs.inner.lock();
            let mut next = epochs.cache.clone();
            cut(&mut next);
            if epochs.in_step && next == epochs.cache {
                return Ok(());
            }
            // What was cut off is gone, whatever becomes of the file.
            epochs.cache.clone_from(&next);
            next
        };
        self.replace_epochs(next)
    }

    /// Writes the file, then memory. Not under the cache's lock, so that nobody waits for the sync: the writer mutex is
    /// held.
    fn replace_epochs(&self, next: EpochCache) -> Result<()> {
        self.core.epochs.are_settled.store(false, Ordering::Relaxed);
        self.core.epochs.inner.lock().in_step = false;
        write_leader_epochs(self.core.env(), self.core.dir(), next.entries())?;
        self.core.install_epochs(Epochs { cache: next, in_step: true });
        Ok(())
    }
}

/// Whether a batch behind the log end changes nothing.
fn is_known(cache: &EpochCache, header: &BatchHeader) -> bool {
    match cache.latest() {
        None => header.leader_epoch < 0,
        Some(latest) => {
            let is_current = header.leader_epoch == latest.epoch || header.leader_epoch < 0;
            is_current && !header.is_legacy() && latest.start_offset < first_offset(header)
        }
    }
}

/// Takes note of a batch behind the log end. An epoch that begins there has no batch, so that it gives way; behind one
/// that has batches there can be none of an earlier epoch, or logs could not be compared by epochs.
fn learn(cache: &mut EpochCache, header: &BatchHeader) -> Result<()> {
    cache.truncate_from_end(first_offset(header));
    if header.is_legacy() {
        cache.clear();
        return Ok(());
    }
    if header.leader_epoch < 0 {
        return Ok(());
    }
    match cache.latest() {
        Some(latest) if header.leader_epoch < latest.epoch => {
            Err(Error::StaleLeaderEpoch { given: header.leader_epoch, latest: latest.epoch })
        }
        _ => {
            cache.assign(header.leader_epoch, first_offset(header));
            Ok(())
        }
    }
}

fn first_offset(header: &BatchHeader) -> Offset {
    header.base_offset().unwrap_or(header.last_offset())
}

/// What an opening saw of the batches' epochs.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Of the batch that ends at the recovery point.
    pub(crate) witness: EpochRuns,
    /// Of the batches that were walked, in order.
    pub(crate) walked: EpochRuns,
    pub(crate) span: Span,
}

/// Which batches an opening walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Span {
    /// None, or all behind the one that ends at the recovery point.
    #[default]
    BehindWitness,
    /// All of the log.
    Whole,
    /// Some at the end, and it is not known what is before them.
    Tail,
}

/// Reads the file and judges it by what was seen; what is not believed is read from the batches' headers. Changes
/// nothing on disk: [`keep`] does. Says too why the file was not believed.
pub(crate) fn judge(
    env: &Env,
    dir: &Path,
    segments: &BTreeMap<Offset, Arc<Segment>>,
    seen: &Seen,
    (log_start, log_end): (Offset, Offset),
) -> Result<(Epochs, Option<LostEpochs>)> {
    let stored = read(env, dir)?;
    // What was deleted may lie in the first segment still, and its epochs may be later than those that came after it.
    let seen = &Seen { witness: seen.witness.from(log_start), walked: seen.walked.from(log_start), span: seen.span };
    let lost = match &stored {
        Ok(stored) => contradiction(stored, seen),
        Err(lost) => Some(*lost),
    };
    let mut cache = match &stored {
        Ok(stored) if lost.is_none() => stored.clone(),
        _ => EpochCache::default(),
    };
    if lost.is_some() && seen.span != Span::Whole {
        cache.learn(&scan(env, segments, log_start)?);
    } else {
        cache.learn(&seen.walked);
    }
    cache.truncate_from_end(log_end);
    cache.truncate_from_start(log_start);
    let in_step = stored.is_ok_and(|stored| stored == cache);
    Ok((Epochs { cache, in_step }, lost))
}

/// Writes the file if it does not say what was found. After a failed sync (`again`) what it says may be in the page
/// cache and nowhere else, so that it is written in any case (rule 29).
///
/// A full disk must not keep a log from being opened: then the first append writes the file, or fails.
pub(crate) fn keep(env: &Env, dir: &Path, epochs: &mut Epochs, again: bool) -> Result<()> {
    let is_durable = !again || epochs.cache.is_empty();
    if epochs.in_step && is_durable {
        return Ok(());
    }
    epochs.in_step = false;
    match write_leader_epochs(env, dir, epochs.cache.entries()) {
        Ok(()) => epochs.in_step = true,
        Err(Error::StorageFull { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The file's entries, none if there is no file, or what is wrong with it.
fn read(env: &Env, dir: &Path) -> Result<std::result::Result<EpochCache, LostEpochs>> {
    let reason = Corruption::Content { expected: "epochs and offsets that rise" };
    Ok(match read_leader_epochs(env, dir) {
        Ok(entries) => {
            EpochCache::from_entries(entries).ok_or(LostEpochs::Damaged { position: Position::ZERO, reason })
        }
        Err(Error::Corrupt { position, reason, .. }) => Err(LostEpochs::Damaged { position, reason }),
        Err(error) => return Err(error),
    })
}

/// Why a sound file cannot be this log's, or not the whole truth.
fn contradiction(stored: &EpochCache, seen: &Seen) -> Option<LostEpochs> {
    let mut told = EpochCache::default();
    told.learn(&seen.witness);
    told.learn(&seen.walked);
    if stored.is_empty() {
        return (!told.is_empty()).then_some(LostEpochs::Missing);
    }
    // The file is written before the batch, so that it knows every epoch below the recovery point.
    let knows_witness = stored.agrees_with(&seen.witness) && !stored.is_news(&seen.witness);
    let misses_some = seen.span == Span::Tail && stored.is_news(&seen.walked);
    (!knows_witness || misses_some || !stored.agrees_with(&seen.walked)).then_some(LostEpochs::Contradicted)
}

/// The epochs of all batches, by their headers alone.
///
/// Epochs rise, so that a segment in which the first batch has the same epoch as the first one of the next segment holds
/// no other: the cost is one read a segment, and a walk over those in which an epoch ends.
fn scan(env: &Env, segments: &BTreeMap<Offset, Arc<Segment>>, log_start: Offset) -> Result<EpochRuns> {
    let mut runs = EpochRuns::default();
    let mut scans = Vec::with_capacity(segments.len());
    for segment in segments.values() {
        let first = match open(env, segment)?.peek() {
            Ok(first) => first,
            Err(Error::Corrupt { .. }) => None,
            Err(error) => return Err(error),
        };
        scans.push((segment, first));
    }
    for (at, (segment, first)) in scans.iter().enumerate() {
        let next = scans.get(at + 1).and_then(|(_, first)| first.as_ref());
        match (first, next) {
            (Some(first), Some(next))
                if first.leader_epoch >= 0
                    && first.leader_epoch == next.leader_epoch
                    && segment.base() >= log_start =>
            {
                runs.note(first);
            }
            // What was deleted in front of the first segment may have any epoch.
            _ => scan_segment(segment, open(env, segment)?, &mut runs)?,
        }
    }
    Ok(runs.from(log_start))
}

fn open(env: &Env, segment: &Segment) -> Result<Scanner> {
    let log = Arc::new(LogFile::open(env, &segment.log_path(), OpenMode::Read)?);
    Ok(Scanner::new(log, Position::ZERO, segment.published()))
}

/// Passes over damage whose end is known; behind other damage the segment tells nothing.
fn scan_segment(segment: &Segment, mut scan: Scanner, runs: &mut EpochRuns) -> Result<()> {
    loop {
        if let Some(damaged) = segment.damage_at(scan.position()).filter(|damaged| damaged.end > damaged.start) {
            scan.skip_to(damaged.end.min(scan.end()));
            continue;
        }
        match scan.peek() {
            Ok(Some(header)) => {
                runs.note(&header);
                scan.skip(&header);
            }
            Ok(None) | Err(Error::Corrupt { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
