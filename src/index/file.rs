//! Index files as bytes: made anew, read in pieces, replaced by a shorter copy.
//!
//! Knows no entries. No file is ever shortened here: a shorter one is another inode under the same name.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Corruption, Error, IoOp, Result};
use crate::fs::{Env, File, OpenMode, read_exact_at, write_all_at};
use crate::names::TRUNCATING_SUFFIX;
use crate::offset::Position;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Makes an empty file on a new inode, whatever had the name before.
pub(super) fn create(env: &Env, path: &Path) -> Result<File> {
    match env.remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io(IoOp::Remove, path, &error)),
    }
    env.open(path, OpenMode::CreateNew).map_err(|error| Error::io(IoOp::Create, path, &error))
}

/// Opens a file; one that is not there is `None`.
pub(super) fn open(env: &Env, path: &Path, mode: OpenMode) -> Result<Option<File>> {
    match env.open(path, mode) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(IoOp::Open, path, &error)),
    }
}

pub(super) fn len(file: &File, path: &Path) -> Result<u64> {
    file.len().map_err(|error| Error::io(IoOp::Inspect, path, &error))
}

/// Writes all bytes. What a failed write leaves in the file lies behind the entries that anyone was told of.
pub(super) fn write_all(file: &File, path: &Path, bytes: &[u8], at: Position) -> Result<()> {
    write_all_at(file, bytes, at).map_err(|partial| Error::io(IoOp::Write, path, &partial.error))
}

/// The CRC-32C of the first `len` bytes, or `None` if the file ends before.
pub(super) fn prefix_crc(file: &File, path: &Path, len: u64) -> Result<Option<u32>> {
    let mut crc = 0;
    let read = read_prefix(file, path, len, |piece, _| {
        crc = crc32c::crc32c_append(crc, piece);
        Ok(())
    })?;
    Ok((read == len).then_some(crc))
}

/// Copies the first `len` bytes to a new inode beside the file; answers with it and their CRC-32C. The name stays with
/// the old inode until [`take_name`].
pub(super) fn copy_prefix_aside(env: &Env, path: &Path, old: &File, len: u64) -> Result<(File, u32)> {
    let aside = aside(path);
    let new = create(env, &aside)?;
    let mut crc = 0;
    let read = read_prefix(old, path, len, |piece, at| {
        crc = crc32c::crc32c_append(crc, piece);
        write_all(&new, &aside, piece, at)
    })?;
    if read != len {
        return Err(shorter_than_known(path, len, read));
    }
    Ok((new, crc))
}

/// Gives the file's name to the copy beside it. Neither copy nor name is synced: after a crash the file may be the old
/// one, the new one or empty, and the mark that it is checked against tells.
pub(super) fn take_name(env: &Env, path: &Path) -> Result<()> {
    env.rename(&aside(path), path).map_err(|error| Error::io(IoOp::Rename, path, &error))
}

/// A file that ends before entries that were known to be in it.
pub(super) fn shorter_than_known(path: &Path, needed: u64, available: u64) -> Error {
    Error::corrupt(path, Position::new(available), Corruption::Truncated { needed, available })
}

/// Hands over the first `len` bytes piece by piece; answers with how many there were.
fn read_prefix(file: &File, path: &Path, len: u64, mut each: impl FnMut(&[u8], Position) -> Result<()>) -> Result<u64> {
    let mut buffer = vec![0; usize::try_from(len).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES)];
    let mut done = 0;
    while done < len {
        let wanted = usize::try_from(len - done).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let at = Position::new(done);
        let read =
            read_exact_at(file, &mut buffer[..wanted], at).map_err(|error| Error::io(IoOp::Read, path, &error))?;
        each(&buffer[..read], at)?;
        done += as_u64(read);
        if read < wanted {
            break;
        }
    }
    Ok(done)
}

/// Where the shorter copy is written: the suffix is ours, and recovery removes what a crash leaves of it.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TRUNCATING_SUFFIX);
    PathBuf::from(name)
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).expect("lengths in memory fit 64 bits")
}
