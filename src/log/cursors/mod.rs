//! Named cursors: offsets that a log remembers for its consumers, across restarts.
//!
//! Here stand the public face and the locks, but for commits that go with an append (`commit`); `book` decides which commits count, `store` keeps them in a small log of
//! its own, `record` has their bytes. The place of a reader in a log is another thing, which lives in memory only. The
//! invariant it owns: no call here holds the mutex of the cursors while it waits for a sync of the log itself.
//!
//! Nothing is created before the first commit, and nothing is read before the first call. The log's own sync syncs the
//! commits first, so that they are durable when it returns.

use std::sync::Arc;

use crate::error::{Error, IoOp, Result};
use crate::offset::{Offset, Timestamp};
use crate::record::BatchHeader;
use crate::sync::{Mutex, MutexGuard};

use super::Log;
use super::core::ReadUpTo;
use super::read::Reader;
use super::read::records::Records;
use super::shared::Shared;

mod book;
mod commit;
mod record;
mod store;
#[cfg(test)]
mod tests;

pub use commit::CursorCommit;

use book::{Book, Loaded, mark_below};
use commit::checked_metadata;
use record::{BatchMark, Commit};

pub(in crate::log) use book::NewCommit;
#[cfg(any(fuzzing, test))]
pub(crate) use record::value_again;

/// The longest name of a cursor in bytes.
const MAX_NAME_BYTES: usize = 249;

/// Where a cursor begins that has no committed offset, or one below the log start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnReset {
    /// At the log start.
    #[default]
    Earliest,
    /// At the log end: what is there already is not given.
    Latest,
    /// Nowhere: it is an error, [`Error::CursorOutOfRange`].
    Error,
}

/// What a log knows of one of its cursors.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CursorInfo {
    /// Its name.
    pub name: Arc<str>,
    /// What was committed: the offset that comes next. It may lie below the log start by now.
    pub next_offset: Offset,
    /// Offsets from there, or from the log start, to the log end.
    pub lag: u64,
    /// What was committed with it.
    pub metadata: Option<Arc<[u8]>>,
}

/// A cursor of a log: an offset that the log remembers under a name, across restarts.
///
/// A commit says that everything below an offset was dealt with. It survives the end of the process when the call
/// returns, and a power cut when the log was synced since, or with [`NamedCursor::commit_durably`]. After a crash a
/// cursor may lie behind what was committed, so that records are given again; it never lies ahead: a commit counts only
/// as long as the log still holds what was there below it. [`Log::append_and_commit`] makes a commit one with an append.
///
/// Handles are cheap, may be shared by threads, and do not keep the log open. Several handles of one name are one
/// cursor; the last commit counts, also one that goes back.
///
/// ```
/// use kstore::{Log, LogConfig, Record};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let log = Log::open(dir.path().join("orders-0"), LogConfig::default())?;
/// log.append(&[Record::value("a"), Record::value("b")])?;
/// let billing = log.cursor("billing")?;
/// for record in billing.records()? {
///     let record = record?;
///     // Deal with it, and then:
///     billing.commit(record.offset() + 1)?;
/// }
/// assert_eq!(billing.lag()?, 0);
/// # log.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct NamedCursor {
    shared: Arc<Shared>,
    name: Arc<str>,
    on_reset: OnReset,
    up_to: ReadUpTo,
}

impl NamedCursor {
    /// The cursor, beginning there if it has no committed offset in the log. At the log start unless set.
    #[must_use]
    pub fn on_reset(mut self, on_reset: OnReset) -> NamedCursor {
        self.on_reset = on_reset;
        self
    }

    /// The cursor, reading and counting no further than this. To the log end unless set.
    #[must_use]
    pub fn up_to(mut self, up_to: ReadUpTo) -> NamedCursor {
        self.up_to = up_to;
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was committed last and counts; it may lie below the log start. `None` if nothing was.
    ///
    /// # Errors
    /// `Corrupt` and `Io` if `cursors/` cannot be read, `Failed`, `Closed`.
    pub fn committed(&self) -> Result<Option<Offset>> {
        self.shared.with_cursors(|loaded| Ok(loaded.committed(&self.name).map(|commit| commit.next_offset)))
    }

    /// The bytes that were committed with it. `None` if there were none, if nothing was committed, and if a truncation
    /// took the commit back.
    ///
    /// # Errors
    /// As [`NamedCursor::committed`].
    pub fn metadata(&self) -> Result<Option<Arc<[u8]>>> {
        self.shared.with_cursors(|loaded| Ok(loaded.committed(&self.name).and_then(|commit| commit.metadata.clone())))
    }

    /// Where reading goes on: at the committed offset, or where [`OnReset`] says.
    ///
    /// # Errors
    /// As [`NamedCursor::committed`], and `CursorOutOfRange` under [`OnReset::Error`].
    pub fn position(&self) -> Result<Offset> {
        let committed = self.committed()?;
        let (start, end) = (self.shared.core.log_start(), self.shared.core.log_end());
        match (committed, self.on_reset) {
            // After a failure readers are capped, and so is what may come next.
            (Some(offset), _) if offset >= start => Ok(offset.min(end)),
            (_, OnReset::Earliest) => Ok(start),
            (_, OnReset::Latest) => Ok(end),
            (committed, OnReset::Error) => {
                Err(Error::CursorOutOfRange { name: Arc::clone(&self.name), committed, start })
            }
        }
    }

    /// How many offsets lie between [`NamedCursor::position`] and the end.
    ///
    /// # Errors
    /// As [`NamedCursor::position`].
    pub fn lag(&self) -> Result<u64> {
        let position = self.position()?;
        Ok(self.reader().log_end_offset().checked_distance(position).unwrap_or(0))
    }

    /// The records from [`NamedCursor::position`] on. Reading them commits nothing.
    ///
    /// # Errors
    /// As [`NamedCursor::position`] and [`Reader::records`].
    pub fn records(&self) -> Result<Records> {
        self.reader().records(self.position()?..)
    }

    /// Says that everything below `next_offset` was dealt with. It survives the end of the process.
    ///
    /// # Errors
    /// `OffsetOutOfRange` above the log end; `StorageFull`, after which the cursor is as before; `Failed` until
    /// [`Log::reopen`]; `Corrupt`, `Damaged` and `Io` if `cursors/` cannot be used; `Closed`.
    pub fn commit(&self, next_offset: Offset) -> Result<()> {
        self.shared.commit_cursors(&[NewCommit { name: Arc::clone(&self.name), next_offset, metadata: None }])
    }

    /// As [`NamedCursor::commit`], with bytes of the caller's own, which [`NamedCursor::metadata`] gives back.
    ///
    /// # Errors
    /// As [`NamedCursor::commit`], and `MetadataTooLarge` for more than 4,096 bytes.
    pub fn commit_with_metadata(&self, next_offset: Offset, metadata: &[u8]) -> Result<()> {
        let metadata = Some(checked_metadata(metadata)?);
        self.shared.commit_cursors(&[NewCommit { name: Arc::clone(&self.name), next_offset, metadata }])
    }

    /// As [`NamedCursor::commit`]; it survives a power cut too, as does everything below `next_offset`.
    ///
    /// # Errors
    /// As [`NamedCursor::commit`].
    pub fn commit_durably(&self, next_offset: Offset) -> Result<()> {
        self.commit(next_offset)?;
        self.shared.sync_to(next_offset)?;
        self.shared.sync_cursors()
    }

    /// Commits the log start: everything that is there is given again.
    ///
    /// # Errors
    /// As [`NamedCursor::commit`]; so for the other resets.
    pub fn reset_to_earliest(&self) -> Result<()> {
        self.commit(self.shared.core.log_start())
    }

    /// Commits the log end: nothing that is there is given again.
    ///
    /// # Errors
    /// As [`NamedCursor::commit`].
    pub fn reset_to_latest(&self) -> Result<()> {
        self.commit(self.shared.core.log_end())
    }

    /// Commits the first offset whose record has this time or a later one, or the log end if there is none.
    ///
    /// # Errors
    /// As [`NamedCursor::commit`] and [`Reader::offset_for_timestamp`].
    pub fn reset_to_timestamp(&self, timestamp: Timestamp) -> Result<()> {
        // The end is taken first: what is appended meanwhile is not skipped.
        let end = self.shared.core.log_end();
        let found = self.reader().offset_for_timestamp(timestamp)?;
        self.commit(found.map_or(end, |(offset, _)| offset))
    }

    fn reader(&self) -> Reader {
        Reader::over(Arc::clone(&self.shared.core)).up_to(self.up_to)
    }
}

impl Log {
    /// The cursor of this name. It is remembered from its first commit on; nothing is read or written here.
    ///
    /// # Errors
    /// `InvalidCursorName` unless the name has 1 to 249 bytes and no control character.
    pub fn cursor(&self, name: &str) -> Result<NamedCursor> {
        let name = checked(name)?;
        let shared = Arc::clone(self.shared());
        Ok(NamedCursor { shared, name, on_reset: OnReset::default(), up_to: ReadUpTo::default() })
    }

    /// Every cursor that was committed, by name.
    ///
    /// # Errors
    /// As [`NamedCursor::committed`].
    pub fn cursors(&self) -> Result<Vec<CursorInfo>> {
        let found = self.shared().with_cursors(|loaded| {
            Ok(loaded.all().map(|(name, commit)| (Arc::clone(name), commit.clone())).collect::<Vec<_>>())
        })?;
        let (start, end) = (self.log_start_offset(), self.log_end_offset());
        let info = |(name, Commit { next_offset, metadata, .. }): (Arc<str>, Commit)| {
            let lag = end.checked_distance(next_offset.max(start)).unwrap_or(0);
            CursorInfo { name, next_offset, lag, metadata }
        };
        Ok(found.into_iter().map(info).collect())
    }

    /// Forgets a cursor. `false` if it was never committed. Handles of it stay usable; a commit makes it anew.
    ///
    /// # Errors
    /// As [`NamedCursor::commit`].
    pub fn delete_cursor(&self, name: &str) -> Result<bool> {
        self.shared().check_cursors()?;
        self.shared().with_cursors(|loaded| loaded.delete(name))
    }
}

fn checked(name: &str) -> Result<Arc<str>> {
    let fits = (1..=MAX_NAME_BYTES).contains(&name.len());
    if !fits || name.chars().any(char::is_control) {
        let expected = "1 to 249 bytes without control characters";
        return Err(Error::InvalidCursorName { name: name.into(), expected });
    }
    Ok(name.into())
}

/// The cursors of an open log.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    /// Taken after the writer mutex, before the map of segments.
    book: Mutex<Book>,
}

impl Cursors {
    fn is_rewrite_due(&self) -> bool {
        self.book.lock().loaded.as_ref().is_some_and(Loaded::is_rewrite_due)
    }
}

/// Commits that were written, and count once their batch is there. Nobody else commits meanwhile.
pub(super) struct PendingCommits<'a> {
    shared: &'a Shared,
    book: MutexGuard<'a, Book>,
    commits: Vec<(Arc<str>, Commit)>,
}

impl PendingCommits<'_> {
    /// The batch is there, or it is not.
    pub(super) fn conclude(mut self, is_there: bool) {
        let Some(loaded) = &mut self.book.loaded else { return };
        if is_there {
            loaded.count(&self.shared.core, self.commits);
        } else {
            loaded.take_back(self.commits);
        }
    }
}

impl Shared {
    /// Writes the commits of an append; the writer mutex is held, and the log has not failed.
    pub(super) fn write_commits(
        &self,
        commits: &[NewCommit],
        batch: &BatchHeader,
        durably: bool,
    ) -> Result<PendingCommits<'_>> {
        let (start, end) = (self.core.log_start(), batch.next_offset());
        if let Some(&NewCommit { next_offset: asked, .. }) = commits.iter().find(|commit| commit.next_offset > end) {
            return Err(Error::OffsetOutOfRange { asked, start, end });
        }
        let mark = Some(BatchMark::of(batch));
        let commits: Vec<_> = commits
            .iter()
            .map(|NewCommit { name, next_offset, metadata }| {
                let commit = Commit { next_offset: *next_offset, mark, with_batch: true, metadata: metadata.clone() };
                (Arc::clone(name), commit)
            })
            .collect();
        let mut book = self.cursors.book.lock();
        let loaded = book.load(&self.core)?;
        loaded.write(&self.core, &commits)?;
        if durably && let Some(store) = loaded.store() {
            store.shared().sync_all()?;
        }
        Ok(PendingCommits { shared: self, book, commits })
    }

    /// Whether making `cursors/` failed to sync the log's own directory: the names of segments may be lost with it, and
    /// no later sync would say so (rule 17).
    pub(super) fn loses_names(&self, error: &Error) -> bool {
        let dir = self.core.dir();
        matches!(error, Error::Io { operation: IoOp::SyncDirectory, path, .. } if dir.starts_with(path))
    }

    fn commit_cursors(&self, commits: &[NewCommit]) -> Result<()> {
        match self.write_plain_commits(commits) {
            Err(error) if self.loses_names(&error) => Err(self.fail(error)),
            answer => answer,
        }
    }

    fn write_plain_commits(&self, commits: &[NewCommit]) -> Result<()> {
        self.check_cursors()?;
        self.make_room_for_commits()?;
        self.with_cursors(|loaded| {
            let made = commits
                .iter()
                .map(|NewCommit { name, next_offset, metadata }| {
                    let commit = self.plain_commit(*next_offset)?;
                    Ok((Arc::clone(name), Commit { metadata: metadata.clone(), ..commit }))
                })
                .collect::<Result<Vec<_>>>()?;
            loaded.write(&self.core, &made)?;
            loaded.count(&self.core, made);
            Ok(())
        })
    }

    fn plain_commit(&self, next_offset: Offset) -> Result<Commit> {
        let mark = mark_below(&self.core, next_offset)?;
        // After the look for the batch, which a failure hides and a truncation cuts off.
        let (start, end) = (self.core.log_start(), self.core.log_end());
        let is_known = mark.is_some() || next_offset <= start || self.core.gaps_allowed();
        if next_offset > end || !is_known {
            return Err(Error::OffsetOutOfRange { asked: next_offset, start, end });
        }
        Ok(Commit::plain(next_offset, mark))
    }

    /// Keeps the cursors' log small, at the price of one sync now and then: what commits rest on is durable after it, so
    /// that one commit of each cursor is enough.
    fn make_room_for_commits(&self) -> Result<()> {
        if self.cursors.is_rewrite_due() {
            self.sync_all()?;
            self.cursors.book.lock().rewrite(&self.core)?;
        }
        Ok(())
    }

    /// Refuses changes after a failure: what is committed now might rest on what is about to go.
    fn check_cursors(&self) -> Result<()> {
        match &self.writer.lock().failed {
            Some(cause) => Err(Error::Failed { cause: Arc::clone(cause) }),
            None => Ok(()),
        }
    }

    fn with_cursors<T>(&self, body: impl FnOnce(&mut Loaded) -> Result<T>) -> Result<T> {
        loop {
            let generation = self.core.generation();
            let mut book = self.cursors.book.lock();
            if book.loaded.is_none() && self.core.is_failed() {
                drop(book);
                self.check_cursors()?;
                continue;
            }
            let is_closed = book.closed || self.core.is_closed();
            match book.load(&self.core) {
                Ok(loaded) => return body(loaded),
                // The log failed, or was reopened, in the middle of it: a judgement of that moment says nothing.
                Err(Error::Closed) if !is_closed => {
                    drop(book);
                    if self.core.generation() == generation {
                        self.check_cursors()?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes every commit durable that was made before the call.
    pub(super) fn sync_cursors(&self) -> Result<()> {
        let store = || {
            let book = self.cursors.book.lock();
            book.loaded.as_ref().and_then(Loaded::store).map(|store| Arc::clone(store.shared()))
        };
        let mut present = store();
        while let Some(shared) = present {
            match shared.sync_all() {
                // It was closed for a rewrite, which synced it; what came later is in the one that took its place.
                Err(Error::Closed) => present = store().filter(|next| !Arc::ptr_eq(next, &shared)),
                answer => return answer.map(drop),
            }
        }
        Ok(())
    }

    /// The log was recovered and ends here: which commits count is to be judged anew.
    pub(super) fn forget_cursors(&self, end: Offset) {
        let mut book = self.cursors.book.lock();
        let was_loaded = book.loaded.is_some();
        book.forget(end);
        if was_loaded {
            // What the log calls durable now must not be without its commits. Who uses them is told if this fails.
            drop(book.load(&self.core));
        }
    }

    /// Recovers the cursors' own log, if that one alone failed.
    pub(super) fn forget_failed_cursors(&self) {
        let mut book = self.cursors.book.lock();
        let store = book.loaded.as_ref().and_then(Loaded::store);
        if store.is_some_and(|store| store.shared().core.is_failed()) {
            book.forget(Offset::MAX);
        }
    }

    /// Takes every cursor back that rests on something at or above `end`, where the log is cut. To be called with the
    /// writer mutex held, before the cut, so that a crash in it does not take cursors further back than it must, and
    /// after it, for what was committed in between. Where it fails the commits are still judged by their batches.
    pub(super) fn lower_cursors(&self, end: Offset) -> Result<()> {
        let mut book = self.cursors.book.lock();
        let outcome = book.load(&self.core).and_then(|loaded| loaded.lower(&self.core, end));
        if outcome.is_err() {
            book.forget(end);
        }
        outcome
    }

    /// The lowest offset that any cursor is at, or may come back to after a crash: retention that keeps what cursors
    /// have not seen stops here. `None` without cursors.
    pub(super) fn slowest_cursor(&self) -> Result<Option<Offset>> {
        self.with_cursors(|loaded| Ok(loaded.slowest()))
    }

    /// Closes the cursors' log; the log itself was synced.
    pub(super) fn close_cursors(&self) -> Result<()> {
        let mut book = self.cursors.book.lock();
        book.closed = true;
        let Some(mut loaded) = book.loaded.take() else { return Ok(()) };
        // What cannot be saved is judged again by the next opening.
        drop(loaded.save(&[]));
        loaded.store().map_or(Ok(()), |store| store.shared().close())
    }
}
