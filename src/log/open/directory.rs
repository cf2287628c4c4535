//! Reads the names in a log's directory, judges each, and finishes or undoes what was interrupted.
//!
//! Both halves of the judgement stand here: what an opening for writing does, and what an opening for reading only
//! would do. The swap protocol is Kafka's (`LogLoader`): `.cleaned` output is dropped, with every `.swap` at or above
//! the smallest of them; other `.swap` files replace the segments whose base offsets lie in their range.
//!
//! A crash between any two steps of [`finish_swaps`] leaves: originals partly renamed `.deleted` and all `.swap` files
//! in place (the same plan comes out again); or all originals renamed and `.swap` files partly renamed (those that have
//! their final name lie outside the range of the others or replace nothing, and the rest is renamed); or only
//! `.deleted` files, which go. No segment is unlinked before the directory is synced (rules 14 to 16). What makes a
//! `.swap` void, a `.cleaned` file, goes only when the `.swap` is gone for good.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, IoOp, Result};
use crate::fs::{EntryKind, Env, OpenMode};
use crate::names::{
    CURSORS, DELETED_SUFFIX, LOCK, Name, SegmentFile, Stage, TEMPORARY_SUFFIX, TRUNCATING_SUFFIX, classify,
};
use crate::offset::{Offset, Position};
use crate::segment::{LogFile, Recovery, path, recover};

use crate::log::report::{Fate, Leftover};

/// The directory that `mkfs` leaves in the root of a file system; a log may live there.
const LOST_AND_FOUND: &str = "lost+found";

/// The names in a log's directory, sorted by what they stand for.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Files of segments under their final names, which say no more than this; in order.
    live: Vec<(Offset, SegmentFile)>,
    /// Files in the middle of a protocol.
    interim: Vec<Interim>,
    pub(crate) foreign: Vec<PathBuf>,
    /// Whether anything here makes the directory a log.
    is_log: bool,
    /// Whether there is anything at all but a lock file, and what a first opening left that the power cut short.
    is_empty: bool,
}

#[derive(Clone, Debug)]
struct Interim {
    base: Offset,
    kind: SegmentFile,
    stage: Stage,
    name: String,
}

/// A `.log` as it is to be read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) path: Arc<Path>,
    /// Whether it has its final name, so that the index files beside it are its own.
    pub(crate) final_name: bool,
}

impl Listing {
    /// Lists a directory.
    ///
    /// # Errors
    /// A directory that is no log, or in which two names, or a name of the wrong length, claim a base offset.
    pub(crate) fn read(env: &Env, dir: &Path) -> Result<Listing> {
        let entries = env.list(dir).map_err(|error| Error::io(IoOp::List, dir, &error))?;
        let mut listing = Listing { is_empty: true, ..Listing::default() };
        let mut misnumbered = Vec::new();
        for entry in entries {
            let Some(name) = entry.name.to_str() else {
                listing.note_foreign(dir, &entry.name);
                continue;
            };
            if name == LOCK || name == LOST_AND_FOUND || (name == CURSORS && entry.kind == EntryKind::Directory) {
                continue;
            }
            if entry.kind != EntryKind::File {
                listing.note_foreign(dir, &entry.name);
                continue;
            }
            match classify(name) {
                Name::Live { base, kind } => {
                    listing.is_log |= kind == SegmentFile::Log;
                    listing.live.push((base, kind));
                }
                Name::Interim { base, kind, stage } => {
                    listing.is_log |= kind == SegmentFile::Log;
                    listing.interim.push(Interim { base, kind, stage, name: name.to_owned() });
                }
                Name::Misnumbered { base, kind: SegmentFile::Log } => misnumbered.push((base, name.to_owned())),
                Name::Known => listing.is_log = true,
                Name::Misnumbered { .. } | Name::Foreign => listing.note_foreign(dir, &entry.name),
            }
            listing.is_empty = false;
        }
        listing.live.sort_unstable();
        listing.check_numbers(dir, &misnumbered)?;
        listing.foreign.sort();
        listing.is_empty |= listing.was_cut_short(env, dir)?;
        if !listing.is_empty && !listing.is_log {
            return Err(Error::NotALog { path: dir.into(), found: listing.first_name(dir).into() });
        }
        Ok(listing)
    }

    /// Whether there is nothing but empty indexes: of all names that a first opening gives, a power cut may keep only these.
    fn was_cut_short(&self, env: &Env, dir: &Path) -> Result<bool> {
        if self.is_log || !self.foreign.is_empty() || !self.interim.is_empty() {
            return Ok(false);
        }
        for &(base, kind) in &self.live {
            let path = path(dir, base, kind);
            let is_index = matches!(kind, SegmentFile::OffsetIndex | SegmentFile::TimeIndex);
            if !is_index || env.metadata(&path).map_err(|error| Error::io(IoOp::Inspect, &path, &error))?.len > 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn note_foreign(&mut self, dir: &Path, name: &OsString) {
        self.is_empty = false;
        self.foreign.push(dir.join(name));
    }

    /// Something that is there, to be named where nothing makes the directory a log.
    fn first_name(&self, dir: &Path) -> PathBuf {
        let live = self.live.iter().map(|(base, kind)| kind.name(*base));
        let of_segments = live.chain(self.interim.iter().map(|file| file.name.clone()));
        let foreign = self.foreign.first().cloned();
        foreign.or_else(|| of_segments.min().map(|name| dir.join(name))).unwrap_or_default()
    }

    fn check_numbers(&self, dir: &Path, misnumbered: &[(Offset, String)]) -> Result<()> {
        let Some((base, name)) = misnumbered.first() else { return Ok(()) };
        let expected = SegmentFile::Log.name(*base);
        let path = dir.join(name).into();
        Err(if self.has_log(*base) {
            Error::DuplicateBaseOffset { path, other: expected.into() }
        } else {
            Error::MisnamedSegment { path, expected: expected.into() }
        })
    }

    /// Nothing is there, but perhaps a lock file.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// What an interrupted replacement leaves behind is to be finished or undone.
    pub(crate) fn has_leftovers(&self) -> bool {
        self.interim.iter().any(|file| file.stage != Stage::Torn) || !self.orphans().is_empty()
    }

    /// Files stand by to replace others.
    pub(crate) fn has_swaps(&self) -> bool {
        self.interim.iter().any(|file| file.stage == Stage::Swap)
    }

    /// Bytes kept aside by earlier recoveries.
    pub(crate) fn torn(&self, dir: &Path) -> Vec<(Offset, PathBuf)> {
        let torn = self.interim.iter().filter(|file| file.stage == Stage::Torn);
        torn.map(|file| (file.base, dir.join(&file.name))).collect()
    }

    /// The `.log` files by base offset, as they lie there, swaps not considered.
    pub(crate) fn logs(&self, dir: &Path) -> BTreeMap<Offset, Source> {
        let logs = self.live.iter().filter(|(_, kind)| *kind == SegmentFile::Log);
        logs.map(|&(base, kind)| (base, Source { path: path(dir, base, kind), final_name: true })).collect()
    }

    /// A `.log` under the name of a shortened copy, without the original: [`renew_name`] was interrupted.
    fn is_renewed(&self, file: &Interim) -> bool {
        file.stage == Stage::Truncating && file.kind == SegmentFile::Log && !self.has_log(file.base)
    }

    fn has_log(&self, base: Offset) -> bool {
        self.live.binary_search(&(base, SegmentFile::Log)).is_ok()
    }

    /// The names of index files whose `.log` is not there.
    fn orphans(&self) -> Vec<String> {
        // A segment's `.log` comes before its other files, so that one look at each name tells.
        const { assert!(SegmentFile::Log as u8 == 0) };
        let mut orphans = Vec::new();
        let mut with_log = None;
        for &(base, kind) in &self.live {
            match kind {
                SegmentFile::Log => with_log = Some(base),
                SegmentFile::OffsetIndex | SegmentFile::TimeIndex | SegmentFile::TransactionIndex => {
                    if with_log != Some(base) {
                        orphans.push(kind.name(base));
                    }
                }
                SegmentFile::Snapshot => {}
            }
        }
        orphans
    }
}

/// What is to be done about the leftovers of a directory.
#[derive(Debug, Default)]
struct Plan {
    /// `.swap` files of a compaction that was not finished. They go before the `.cleaned` files that say so.
    undo: Vec<String>,
    /// `.swap` files that take their final names.
    swap_in: Vec<Interim>,
    /// The base offsets that they replace.
    replaced: Option<(Offset, Offset)>,
    /// `.log` files that were getting their name once more.
    renewed: Vec<Interim>,
    /// Files that go.
    remove: Vec<String>,
}

fn plan(env: &Env, dir: &Path, listing: &Listing) -> Result<Plan> {
    let of_stage = |stage| listing.interim.iter().filter(move |file| file.stage == stage);
    let smallest_cleaned = of_stage(Stage::Cleaned).map(|file| file.base).min();
    let aborted = |file: &&Interim| smallest_cleaned.is_some_and(|cleaned| file.base >= cleaned);
    let mut plan = Plan::default();
    for stage in [Stage::Deleted, Stage::Cleaned, Stage::Truncating] {
        plan.remove.extend(of_stage(stage).filter(|file| !listing.is_renewed(file)).map(|file| file.name.clone()));
    }
    plan.renewed.extend(listing.interim.iter().filter(|file| listing.is_renewed(file)).cloned());
    plan.undo.extend(of_stage(Stage::Swap).filter(aborted).map(|file| file.name.clone()));
    let valid: Vec<&Interim> = of_stage(Stage::Swap).filter(|file| !aborted(file)).collect();
    for file in &valid {
        if file.kind == SegmentFile::Log {
            let next = next_offset_of_swap(env, dir, file)?;
            let (low, high) = plan.replaced.unwrap_or((file.base, next));
            plan.replaced = Some((low.min(file.base), high.max(next)));
            plan.swap_in.push((*file).clone());
        }
    }
    let has_log = |base| plan.swap_in.iter().any(|file| file.base == base);
    let (with_log, alone): (Vec<&Interim>, Vec<&Interim>) =
        valid.into_iter().filter(|file| file.kind != SegmentFile::Log).partition(|file| has_log(file.base));
    // The indexes of a swapped-in segment are made anew, like every index that nobody vouches for.
    plan.remove.extend(with_log.into_iter().chain(alone).map(|file| file.name.clone()));
    Ok(plan)
}

/// One past the last offset of a file that is about to replace others, every batch of which is checked before.
fn next_offset_of_swap(env: &Env, dir: &Path, file: &Interim) -> Result<Offset> {
    let path: Arc<Path> = dir.join(&file.name).into();
    let log = Arc::new(LogFile::open(env, &path, OpenMode::Read)?);
    let end = Position::new(log.len()?);
    let recovery = Recovery {
        log: &log,
        base: file.base,
        start: Position::ZERO,
        next_offset: file.base,
        end,
        upper: None,
        gaps_allowed: true,
        search_behind: false,
    };
    let found = recover(&recovery, |_, _, _| {})?;
    match found.tail {
        None => Ok(found.next_offset),
        Some(tail) => Err(Error::corrupt(&path, tail.start, tail.reason)),
    }
}

/// The `.log` files by base offset as they would be after recovery, and what would become of the rest.
pub(crate) fn judged(env: &Env, dir: &Path, listing: &Listing) -> Result<(BTreeMap<Offset, Source>, Vec<Leftover>)> {
    let mut logs = listing.logs(dir);
    let plan = plan(env, dir, listing)?;
    if let Some((low, high)) = plan.replaced {
        logs.retain(|base, _| *base < low || *base >= high);
    }
    let mut leftovers = Vec::new();
    for file in &plan.swap_in {
        let path: Arc<Path> = dir.join(&file.name).into();
        leftovers.push(Leftover { path: path.to_path_buf(), fate: Fate::SwappedIn });
        logs.insert(file.base, Source { path, final_name: false });
    }
    for file in &plan.renewed {
        let path: Arc<Path> = dir.join(&file.name).into();
        leftovers.push(Leftover { path: path.to_path_buf(), fate: Fate::Renamed });
        logs.insert(file.base, Source { path, final_name: false });
    }
    for name in plan.undo.iter().chain(&plan.remove).chain(&listing.orphans()) {
        leftovers.push(Leftover { path: dir.join(name), fate: Fate::Removed });
    }
    Ok((logs, leftovers))
}

/// Finishes or undoes what was interrupted, and says what became of each file. The caller lists anew afterwards.
pub(crate) fn finish_swaps(env: &Env, dir: &Path, listing: &Listing) -> Result<Vec<Leftover>> {
    let plan = plan(env, dir, listing)?;
    let mut leftovers = Vec::new();
    for name in &plan.undo {
        remove_if_there(env, &dir.join(name))?;
        leftovers.push(Leftover { path: dir.join(name), fate: Fate::Removed });
    }
    if !plan.undo.is_empty() {
        sync_dir(env, dir)?;
    }
    for file in &plan.renewed {
        rename(env, dir, &file.name, &file.kind.name(file.base))?;
        leftovers.push(Leftover { path: dir.join(&file.name), fate: Fate::Renamed });
    }
    let mut remove: Vec<String> = plan.remove.clone();
    if let Some((low, high)) = plan.replaced {
        let replaced = listing.live.iter().filter(|(base, _)| *base >= low && *base < high);
        for name in replaced.map(|(base, kind)| kind.name(*base)) {
            let aside = format!("{name}{DELETED_SUFFIX}");
            rename(env, dir, &name, &aside)?;
            leftovers.push(Leftover { path: dir.join(name), fate: Fate::Removed });
            remove.push(aside);
        }
        sync_dir(env, dir)?;
        for file in &plan.swap_in {
            rename(env, dir, &file.name, &file.kind.name(file.base))?;
            leftovers.push(Leftover { path: dir.join(&file.name), fate: Fate::SwappedIn });
        }
        sync_dir(env, dir)?;
    }
    let orphans = listing.orphans();
    for name in plan.remove.iter().chain(&orphans) {
        leftovers.push(Leftover { path: dir.join(name), fate: Fate::Removed });
    }
    remove.extend(orphans);
    remove.sort();
    remove.dedup();
    for name in &remove {
        remove_if_there(env, &dir.join(name))?;
    }
    leftovers.sort_by(|a, b| a.path.cmp(&b.path));
    leftovers.dedup();
    Ok(leftovers)
}

/// Gives a `.log` its name once more: after a failed sync of the directory the name may be in the cache and nowhere
/// else, and no later sync would bring it to the disk. A crash in between leaves `.truncating` alone, which
/// [`finish_swaps`] renames back; a shortened copy proper lies beside its original.
pub(crate) fn renew_name(env: &Env, dir: &Path, base: Offset) -> Result<()> {
    let name = SegmentFile::Log.name(base);
    let aside = format!("{name}{TRUNCATING_SUFFIX}");
    rename(env, dir, &name, &aside)?;
    rename(env, dir, &aside, &name)
}

/// As [`renew_name`], for a directory that nothing is in yet: whoever made it may have failed to make its name durable,
/// and no later sync would. A crash in between leaves an empty directory, which the next renewal takes the place of, or
/// passes over if a power cut brought files into it.
pub(crate) fn renew_dir_name(env: &Env, dir: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name().and_then(|name| name.to_str())) else {
        return Ok(());
    };
    let mut number = 0_u64;
    loop {
        let aside = format!("{name}.{number}{TEMPORARY_SUFFIX}");
        match rename(env, parent, name, &aside) {
            Err(Error::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::DirectoryNotEmpty => number += 1,
            answer => {
                answer?;
                return rename(env, parent, &aside, name);
            }
        }
    }
}

fn rename(env: &Env, dir: &Path, from: &str, to: &str) -> Result<()> {
    let from = dir.join(from);
    env.rename(&from, &dir.join(to)).map_err(|error| Error::io(IoOp::Rename, &from, &error))
}

pub(crate) fn sync_dir(env: &Env, dir: &Path) -> Result<()> {
    env.sync_dir(dir).map_err(|error| Error::io(IoOp::SyncDirectory, dir, &error))
}

/// Removes a file; that it is gone already is as good.
pub(crate) fn remove_if_there(env: &Env, path: &Path) -> Result<()> {
    match env.remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(IoOp::Remove, path, &error)),
        _ => Ok(()),
    }
}

/// Makes the name of a directory durable that was there: it may be what an opening created that was interrupted before
/// it could sync. Where we may not even read the parent, it was not us who created it.
pub(crate) fn sync_found_name(env: &Env, dir: &Path) -> Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    match env.sync_dir(parent) {
        Err(error) if error.kind() != std::io::ErrorKind::PermissionDenied => {
            Err(Error::io(IoOp::SyncDirectory, parent, &error))
        }
        _ => Ok(()),
    }
}

/// Creates a directory and the parents it lacks, and makes each new name durable (rule 12).
pub(crate) fn create_dirs(env: &Env, dir: &Path) -> Result<()> {
    let mut missing = Vec::new();
    let mut at = dir;
    loop {
        match env.metadata(at) {
            Ok(found) if found.kind == EntryKind::Directory => break,
            Ok(_) => {
                let error = std::io::Error::from(std::io::ErrorKind::NotADirectory);
                return Err(Error::io(IoOp::Open, at, &error));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => missing.push(at),
            Err(error) => return Err(Error::io(IoOp::Inspect, at, &error)),
        }
        match at.parent() {
            Some(parent) if parent.as_os_str().is_empty() => break,
            Some(parent) => at = parent,
            None => break,
        }
    }
    if !missing.is_empty() {
        sync_found_name(env, at)?;
    }
    for created in missing.into_iter().rev() {
        match env.create_dir(created) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io(IoOp::CreateDirectory, created, &error));
            }
            _ => {}
        }
        let parent = created.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_dir(env, parent)?;
    }
    Ok(())
}
