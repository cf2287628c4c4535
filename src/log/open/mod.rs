//! Claims a directory: finds it, creates it, says whose it is, and locks it.
//!
//! Nothing in the directory is changed here but its lock file. The invariant it owns: a directory that is no log, or
//! that belongs to a Kafka broker, or that is open elsewhere, is left as it was.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, IoOp, Result};
use crate::fs::{EntryKind, Env, Lock, LockKind, Metadata};
use crate::names::{DATA_DIRECTORY_MARKERS, LOCK, STATE};
use crate::state::StateFile;

pub(crate) mod ahead;
pub(crate) mod directory;
pub(crate) mod growth;
pub(crate) mod load;
pub(crate) mod read_only;
pub(crate) mod recovery;
mod self_test;
pub(crate) mod torn;

pub(crate) use self_test::self_test;

use directory::{Listing, create_dirs, sync_found_name};

/// The locks on the log's own directory and, where there is one, on its parent's lock file.
#[derive(Debug)]
pub(crate) struct DirectoryLocks {
    _own: Lock,
    _parent: Option<Lock>,
}

/// The directory's real path, and the locks on it.
pub(crate) fn claim(env: &Env, dir: &Path) -> Result<(Arc<Path>, DirectoryLocks)> {
    // Before anything is created, for a broker stumbles over a directory that is no partition; and by the way that was
    // given, for a broker may have a link here to a partition on another disk.
    check_markers(env, dir)?;
    create_dirs(env, dir)?;
    let given = dir;
    let dir: Arc<Path> = canonical(env, given)?;
    if *dir != *given {
        check_markers(env, &dir)?;
    }
    // Before the lock file is created, for a directory that is no log must not get one. Where our own file lies, somebody
    // has made sure of that.
    if !has_state(env, &dir)? && Listing::read(env, &dir)?.is_empty() {
        sync_found_name(env, &dir)?;
    }
    let own = lock(env, &dir, LockKind::Exclusive)?;
    let parent = match dir.parent() {
        Some(parent) if exists(env, &parent.join(LOCK))? => Some(lock(env, parent, LockKind::Shared)?),
        _ => None,
    };
    Ok((dir, DirectoryLocks { _own: own, _parent: parent }))
}

/// As [`claim`], for a directory inside one of our own: whose lock file that is, we hold it already.
pub(crate) fn claim_inside(env: &Env, dir: &Path) -> Result<(Arc<Path>, DirectoryLocks)> {
    create_dirs(env, dir)?;
    let is_empty = !has_state(env, dir)? && Listing::read(env, dir)?.is_empty();
    let own = lock(env, dir, LockKind::Exclusive)?;
    if is_empty {
        directory::renew_dir_name(env, dir)?;
        sync_found_name(env, dir)?;
        // Durably the first name in it, so that no crash leaves one that does not make the directory a log.
        StateFile::open_or_create(env, dir)?;
        directory::sync_dir(env, dir)?;
    }
    Ok((dir.into(), DirectoryLocks { _own: own, _parent: None }))
}

/// The path without symbolic links, so that two ways to a directory are one.
pub(crate) fn canonical(env: &Env, dir: &Path) -> Result<Arc<Path>> {
    let found = env.canonicalize(dir).map_err(|error| Error::io(IoOp::Open, dir, &error))?;
    Ok(found.into())
}

/// Refuses a directory whose parent is a Kafka broker's.
fn check_markers(env: &Env, dir: &Path) -> Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    for marker in DATA_DIRECTORY_MARKERS {
        if exists(env, &parent.join(marker))? {
            return Err(Error::BelongsToDataDirectory { path: dir.into(), marker });
        }
    }
    Ok(())
}

/// Whether the file is there that only a log of this crate has.
fn has_state(env: &Env, dir: &Path) -> Result<bool> {
    Ok(find(env, &dir.join(STATE))?.is_some_and(|found| found.kind == EntryKind::File))
}

fn exists(env: &Env, path: &Path) -> Result<bool> {
    Ok(find(env, path)?.is_some())
}

fn find(env: &Env, path: &Path) -> Result<Option<Metadata>> {
    match env.metadata(path) {
        Ok(found) => Ok(Some(found)),
        // Below a path that does not lead anywhere yet, or never will, nothing exists.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(Error::io(IoOp::Inspect, path, &error)),
    }
}

fn lock(env: &Env, dir: &Path, kind: LockKind) -> Result<Lock> {
    let path = dir.join(LOCK);
    match env.try_lock(&path, kind) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(Error::AlreadyOpen { path: dir.into() }),
        Err(error) => Err(Error::io(IoOp::Lock, &path, &error)),
    }
}
