//! Keeps aside what recovery cuts off: `<base>.log.torn`, and `.torn.1`, `.torn.2` where one is there already.
//!
//! What is kept is forensic: nothing here is read back as part of a log. The invariant it owns: bytes are cut only
//! after they are durable elsewhere, unless they are zeros, or many without a whole, rightly numbered batch in them,
//! or there is no room to keep what holds none.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, IoOp, Result};
use crate::fs::{Env, OpenMode};
use crate::names::{SegmentFile, TORN_SUFFIX};
use crate::offset::{Offset, Position};
use crate::segment::{LogFile, Tail, holds_a_good_batch, path};

use super::directory::{Listing, remove_if_there, sync_dir};

/// Longer tails are kept only if a good batch lies in them.
const KEPT_UNSEEN_BYTES: u64 = 64 << 20;
const COPY_CHUNK_BYTES: usize = 1 << 20;

/// Copies a torn tail aside. `None` if it is not worth keeping.
pub(crate) fn keep_tail(
    env: &Env,
    dir: &Path,
    base: Offset,
    log: &Arc<LogFile>,
    tail: &Tail,
) -> Result<Option<PathBuf>> {
    if tail.is_zeros() {
        return Ok(None);
    }
    let bytes = tail.nonzero_end - tail.start;
    let valuable = || holds_a_good_batch(log, base, tail.start, tail.end);
    if bytes > KEPT_UNSEEN_BYTES && !valuable()? {
        return Ok(None);
    }
    let mut number = 0;
    loop {
        let path = torn_path(dir, base, number);
        match env.metadata(&path) {
            Ok(found) if found.len == bytes && same_bytes(env, &path, log, tail)? => return Ok(Some(path)),
            Ok(_) => number += 1,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return match copy(env, dir, &path, log, tail) {
                    Err(Error::StorageFull { .. }) if !valuable()? => {
                        remove_if_there(env, &path)?;
                        Ok(None)
                    }
                    answer => answer.map(|()| Some(path)),
                };
            }
            Err(error) => return Err(Error::io(IoOp::Inspect, &path, &error)),
        }
    }
}

/// Takes a whole segment out of service: its `.log` is renamed, its indexes go.
pub(crate) fn keep_segment(env: &Env, dir: &Path, base: Offset) -> Result<PathBuf> {
    let from = path(dir, base, SegmentFile::Log);
    let mut number = 0;
    let to = loop {
        let to = torn_path(dir, base, number);
        match env.metadata(&to) {
            Ok(_) => number += 1,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => break to,
            Err(error) => return Err(Error::io(IoOp::Inspect, &to, &error)),
        }
    };
    env.rename(&from, &to).map_err(|error| Error::io(IoOp::Rename, &from, &error))?;
    sync_dir(env, dir)?;
    for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex, SegmentFile::TransactionIndex] {
        remove_if_there(env, &path(dir, base, kind))?;
    }
    Ok(to)
}

/// Removes kept bytes that hold no good batch; for a clean close.
pub(crate) fn forget(env: &Env, dir: &Path) -> Result<()> {
    for (base, path) in Listing::read(env, dir)?.torn(dir) {
        let shared: Arc<Path> = path.as_path().into();
        let log = Arc::new(LogFile::open(env, &shared, OpenMode::Read)?);
        let end = Position::new(log.len()?);
        if !holds_a_good_batch(&log, base, Position::ZERO, end)? {
            remove_if_there(env, &path)?;
        }
    }
    Ok(())
}

fn torn_path(dir: &Path, base: Offset, number: u32) -> PathBuf {
    let name = SegmentFile::Log.name(base);
    match number {
        0 => dir.join(format!("{name}{TORN_SUFFIX}")),
        _ => dir.join(format!("{name}{TORN_SUFFIX}.{number}")),
    }
}

fn copy(env: &Env, dir: &Path, to: &Path, log: &Arc<LogFile>, tail: &Tail) -> Result<()> {
    let shared: Arc<Path> = to.into();
    let kept = LogFile::open(env, &shared, OpenMode::CreateNew)?;
    let mut chunk = vec![0; COPY_CHUNK_BYTES];
    let mut position = tail.start;
    while position < tail.nonzero_end {
        let wanted = usize::try_from(tail.nonzero_end - position).unwrap_or(usize::MAX).min(chunk.len());
        let read = log.read(&mut chunk[..wanted], position)?;
        if read == 0 {
            break;
        }
        let at = Position::new(position - tail.start);
        kept.write_vectored(&mut [IoSlice::new(&chunk[..read])], at).map_err(|failed| failed.error)?;
        position += u64::try_from(read).expect("a chunk is small");
    }
    kept.sync()?;
    sync_dir(env, dir)
}

/// Whether an earlier recovery, interrupted before its cut, kept these very bytes already.
fn same_bytes(env: &Env, path: &Path, log: &Arc<LogFile>, tail: &Tail) -> Result<bool> {
    let shared: Arc<Path> = path.into();
    let kept = LogFile::open(env, &shared, OpenMode::Read)?;
    let (mut ours, mut theirs) = (vec![0; COPY_CHUNK_BYTES], vec![0; COPY_CHUNK_BYTES]);
    let mut position = tail.start;
    while position < tail.nonzero_end {
        let wanted = usize::try_from(tail.nonzero_end - position).unwrap_or(usize::MAX).min(ours.len());
        let read = log.read(&mut ours[..wanted], position)?;
        let kept_read = kept.read(&mut theirs[..wanted], Position::new(position - tail.start))?;
        if read == 0 || read != kept_read || ours[..read] != theirs[..read] {
            return Ok(false);
        }
        position += u64::try_from(read).expect("a chunk is small");
    }
    Ok(true)
}
