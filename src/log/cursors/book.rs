//! Which commit of each cursor counts: the memory of the cursors, and the rules by which commits are believed.
//!
//! A commit names a batch of the log and counts only while that batch stands there, with that base offset and that
//! checksum: a plain commit names the batch below its offset, one that was made with an append the batch of that append.
//! What was cut off by a crash or by a truncation takes the commits that rest on it along, and the cursor is back at its
//! last commit that still has its batch. So every commit is kept until one that came later rests on a synced batch.
//! Invariants it owns: a cursor never passes a record that took the place of one that was lost; one that was appended
//! with a commit is there if and only if the commit counts.
//!
//! An append with a commit takes these steps, under the writer mutex and the mutex here:
//! 1. write the commit: it rests on a batch that is not there, and does not count;
//! 2. if the append is to be durable, sync the commit: a power cut from here on cannot keep the batch without it;
//! 3. write the batch: the commit counts. If the write fails, the commit is replaced by those before it;
//! 4. a sync, whenever it comes, syncs the commits and then the batch.
//!
//! | a crash | finds the batch | finds the commit | the cursor is |
//! |---|---|---|---|
//! | of the process before 3 | no | perhaps | where it was: no batch |
//! | of the process after 3 | yes | yes, it was written first | advanced |
//! | of the power before 3 | no | perhaps | where it was: no batch |
//! | of the power after 3, step 2 taken | perhaps | yes | advanced if the batch is there, else where it was |
//! | of the power after 3, step 2 not taken | perhaps | perhaps | as above, or, if only the batch got to the disk before any sync, where it was: the append may be made twice |
//! | of the power after 4 | yes | yes | advanced |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::log::core::{Core, ReadUpTo};
use crate::log::read::cursor::Cursor as Place;
use crate::names::CURSORS;
use crate::offset::Offset;
use crate::record::BatchHeader;

use super::record::{BatchMark, Change, Commit};
use super::store::{Named, Store};

/// A commit that a caller asks for.
#[derive(Clone, Debug)]
pub(in crate::log) struct NewCommit {
    pub(super) name: Arc<str>,
    pub(super) next_offset: Offset,
    pub(super) metadata: Option<Arc<[u8]>>,
}

/// What stands under the mutex of the cursors.
#[derive(Debug)]
pub(super) struct Book {
    /// `None` until a cursor is asked for, and after what it rests on changed.
    pub(super) loaded: Option<Loaded>,
    /// Where the log ended at the least since the commits on disk were made: none that rests on more counts.
    pub(super) bound: Offset,
    pub(super) closed: bool,
}

impl Default for Book {
    fn default() -> Book {
        Book { loaded: None, bound: Offset::MAX, closed: false }
    }
}

/// The commits in memory, and the log that they stand in.
#[derive(Debug)]
pub(super) struct Loaded {
    /// `None` as long as nothing was ever committed.
    store: Option<Store>,
    /// Of each cursor the commits that may yet count, the oldest first; at least one.
    commits: BTreeMap<Arc<str>, Vec<Commit>>,
    /// Cursors of which the disk says something else than `commits`; goes with the next write.
    unsaved: BTreeSet<Arc<str>>,
}

impl Book {
    /// What is loaded; loads it if need be. The log has not failed, for after a failure batches are hidden.
    pub(super) fn load(&mut self, core: &Arc<Core>) -> Result<&mut Loaded> {
        if self.closed || core.is_closed() {
            return Err(Error::Closed);
        }
        let loaded = match self.loaded.take() {
            Some(loaded) => loaded,
            None => {
                let mut loaded = Loaded::load(core, self.bound)?;
                // That it cannot be written now is no failure: the same judgement comes out again, if less exact.
                if loaded.save(&[]).is_ok() {
                    self.bound = Offset::MAX;
                }
                loaded
            }
        };
        Ok(self.loaded.insert(loaded))
    }

    /// Forgets what is in memory, for the log was cut or what is on disk must be recovered. The next use loads it anew.
    pub(super) fn forget(&mut self, bound: Offset) {
        self.bound = self.bound.min(bound);
        if let Some(store) = self.loaded.take().and_then(|loaded| loaded.store) {
            // What could not be closed cleanly is recovered by the next load.
            drop(store.shared().close());
        }
    }

    /// Keeps the log of the cursors small. Everything that its commits rest on was synced, so that few are left.
    pub(super) fn rewrite(&mut self, core: &Arc<Core>) -> Result<()> {
        let loaded = self.load(core)?;
        if !loaded.is_rewrite_due() {
            return Ok(());
        }
        let outcome = loaded.rewrite(core);
        if outcome.is_err() {
            self.forget(Offset::MAX);
        }
        outcome
    }
}

impl Loaded {
    fn load(core: &Arc<Core>, bound: Offset) -> Result<Loaded> {
        let mut loaded = Loaded { store: None, commits: BTreeMap::new(), unsaved: BTreeSet::new() };
        let dir = core.dir().join(CURSORS);
        if !Store::exists(core.env(), &dir)? {
            return Ok(loaded);
        }
        let store = Store::open(core.env(), &dir)?;
        let outcome = loaded.read(&store).and_then(|()| loaded.judge_all(core, bound));
        match outcome {
            Ok(()) => {
                loaded.store = Some(store);
                Ok(loaded)
            }
            Err(error) => {
                // It was not written to.
                drop(store.shared().close());
                Err(error)
            }
        }
    }

    fn read(&mut self, store: &Store) -> Result<()> {
        store.read(|name, change| match change {
            None => drop(self.commits.remove(name)),
            Some(Change::Replace(commits)) if commits.is_empty() => drop(self.commits.remove(name)),
            Some(Change::Replace(commits)) => drop(self.commits.insert(name.into(), commits)),
            Some(Change::Add(commit)) => self.commits.entry(name.into()).or_default().push(commit),
        })
    }

    /// Drops the commits that do not count.
    fn judge_all(&mut self, core: &Arc<Core>, bound: Offset) -> Result<()> {
        let generation = core.generation();
        let mut judged = BTreeMap::new();
        for (name, commits) in &self.commits {
            let left = judge(core, bound, commits)?;
            if left.last() != commits.last() {
                self.unsaved.insert(Arc::clone(name));
            }
            if !left.is_empty() {
                judged.insert(Arc::clone(name), left);
            }
        }
        if core.is_failed() || core.generation() != generation {
            // Batches were hidden from us, or cut off, while we looked for them.
            return Err(Error::Closed);
        }
        self.commits = judged;
        self.prune(core.synced());
        Ok(())
    }

    /// Forgets the commits that nothing can fall back to: those before one that rests on something durable.
    fn prune(&mut self, synced: Offset) {
        self.commits.values_mut().for_each(|commits| prune(commits, synced));
    }

    /// What was committed for a cursor.
    pub(super) fn committed(&self, name: &str) -> Option<&Commit> {
        self.commits.get(name).and_then(|commits| commits.last())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&Arc<str>, &Commit)> {
        self.commits.iter().filter_map(|(name, commits)| Some((name, commits.last()?)))
    }

    /// The lowest offset that a cursor is at, or may come back to.
    pub(super) fn slowest(&self) -> Option<Offset> {
        self.commits.values().flatten().map(|commit| commit.next_offset).min()
    }

    pub(super) fn is_rewrite_due(&self) -> bool {
        self.store.as_ref().is_some_and(Store::is_rewrite_due)
    }

    pub(super) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// Writes commits, and does not count them yet.
    pub(super) fn write(&mut self, core: &Arc<Core>, commits: &[(Arc<str>, Commit)]) -> Result<()> {
        if self.store.is_none() {
            self.store = Some(Store::open(core.env(), &core.dir().join(CURSORS))?);
        }
        let adds: Vec<Named> =
            commits.iter().map(|(name, commit)| (Arc::clone(name), Some(Change::Add(commit.clone())))).collect();
        self.save(&adds)
    }

    /// Counts commits that were written.
    pub(super) fn count(&mut self, core: &Arc<Core>, commits: Vec<(Arc<str>, Commit)>) {
        let synced = core.synced();
        for (name, commit) in commits {
            let of_cursor = self.commits.entry(name).or_default();
            of_cursor.push(commit);
            prune(of_cursor, synced);
        }
    }

    /// Takes commits back that were written and came to nothing.
    pub(super) fn take_back(&mut self, commits: Vec<(Arc<str>, Commit)>) {
        self.unsaved.extend(commits.into_iter().map(|(name, _)| name));
        // Should this fail, it goes with the next write; until then the commits lack their batch.
        drop(self.save(&[]));
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<bool> {
        if !self.commits.contains_key(name) {
            return Ok(false);
        }
        self.save(&[(name.into(), None)])?;
        self.commits.remove(name);
        Ok(true)
    }

    /// Takes every cursor that rests on something above `end` back, for the log is about to be cut there, or was.
    pub(super) fn lower(&mut self, core: &Arc<Core>, end: Offset) -> Result<()> {
        // A batch across the cut is encoded anew, so that nothing may rest on it before.
        let mark = match batch_below(core, end)? {
            Some(header) if header.next_offset() > end => mark_below(core, header.base_offset().unwrap_or(end))?,
            header => header.map(|header| BatchMark::of(&header)),
        };
        let start = core.log_start();
        for (name, commits) in &mut self.commits {
            let kept = commits.iter().rposition(|commit| rests_below(commit, end)).map_or(0, |last| last + 1);
            if kept == commits.len() {
                continue;
            }
            let cut = commits.split_off(kept);
            // A commit that came with an append goes with it. What plain ones say holds below the cut, unless they came
            // behind such an append: then what was dealt with may have had its outcome in it.
            let is_plain = cut.iter().all(|commit| !commit.with_batch);
            let lowest = cut.iter().filter(|commit| !commit.with_batch).map(|commit| commit.next_offset.min(end)).min();
            let next_offset = if is_plain { lowest } else { lowest.map(|_| start).filter(|_| kept == 0) };
            commits.extend(next_offset.map(|next_offset| Commit::plain(next_offset, mark)));
            self.unsaved.insert(Arc::clone(name));
        }
        self.commits.retain(|_, commits| !commits.is_empty());
        self.save(&[])
    }

    fn rewrite(&mut self, core: &Arc<Core>) -> Result<()> {
        self.prune(core.synced());
        let all: Vec<Named> = self
            .commits
            .iter()
            .map(|(name, commits)| (Arc::clone(name), Some(Change::Replace(commits.clone()))))
            .collect();
        // A cursor that was to be deleted is so by not being there.
        if let Some(store) = &mut self.store {
            store.rewrite(&all)?;
        }
        self.unsaved.clear();
        Ok(())
    }

    /// Writes what is unsaved, and changes behind it, as one batch.
    pub(super) fn save(&mut self, changes: &[Named]) -> Result<()> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let mut all: Vec<Named> = Vec::with_capacity(self.unsaved.len() + changes.len());
        for name in &self.unsaved {
            let left = self.commits.get(name).map(|commits| Change::Replace(commits.clone()));
            all.push((Arc::clone(name), left));
        }
        all.extend_from_slice(changes);
        if !all.is_empty() {
            store.write(&all)?;
        }
        self.unsaved.clear();
        Ok(())
    }
}

fn rests_below(commit: &Commit, end: Offset) -> bool {
    commit.next_offset <= end && commit.mark.is_none_or(|mark| mark.next_offset <= end)
}

fn prune(commits: &mut Vec<Commit>, synced: Offset) {
    if let Some(durable) = commits.iter().rposition(|commit| rests_below(commit, synced)) {
        commits.drain(..durable);
    }
}

/// The commits that count, of all that were made for a cursor: the last one that has its batch, and those before it.
fn judge(core: &Arc<Core>, bound: Offset, commits: &[Commit]) -> Result<Vec<Commit>> {
    let mut left = commits.to_vec();
    let mut lost_plain = false;
    while let Some(last) = left.last() {
        if stands(core, bound, last)? {
            return Ok(left);
        }
        lost_plain |= !last.with_batch;
        left.pop();
    }
    // It was somewhere, and nobody knows where: everything is given again. A cursor that was only ever to be committed
    // with batches that are not there was never committed.
    let start = Commit::plain(core.log_start(), None);
    Ok(if lost_plain { vec![start] } else { left })
}

/// Whether the batch that a commit rests on is there.
fn stands(core: &Arc<Core>, bound: Offset, commit: &Commit) -> Result<bool> {
    let start = core.log_start();
    let Some(mark) = commit.mark else {
        return Ok(commit.next_offset <= start || commit.next_offset <= bound.min(core.log_end()));
    };
    if mark.next_offset > bound {
        return Ok(false);
    }
    if mark.next_offset <= start {
        // It was deleted in front of the log, from where nothing comes back.
        return Ok(true);
    }
    match batch_below(core, mark.next_offset) {
        Ok(Some(header)) => Ok(BatchMark::of(&header) == mark),
        Ok(None) => Ok(false),
        // Damage was there before, or came later; it is no cut, and tells nothing about what was cut.
        Err(Error::Corrupt { .. } | Error::OffsetOutOfRange { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The batch that holds the offset below `end`.
fn batch_below(core: &Arc<Core>, end: Offset) -> Result<Option<BatchHeader>> {
    if end <= core.log_start() || end > core.log_end() {
        return Ok(None);
    }
    let below = Offset::new(end.value() - 1);
    Place::new(Arc::clone(core), below, end, ReadUpTo::LogEnd, false).seek().transpose()
}

/// What a plain commit of an offset rests on.
pub(super) fn mark_below(core: &Arc<Core>, next_offset: Offset) -> Result<Option<BatchMark>> {
    Ok(batch_below(core, next_offset)?.map(|header| BatchMark::of(&header)))
}
