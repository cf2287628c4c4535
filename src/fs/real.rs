//! The real half of the seam: one function, one system call.
//!
//! Thin enough to be read in one sitting. Nothing here loops or decides.
#![allow(clippy::disallowed_methods, reason = "this is the place that the list points to")]

use std::fs::OpenOptions;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, Flock, FlockArg, fallocate, fcntl};
use nix::libc;

use super::{DirEntry, EntryKind, LockKind, Metadata, OpenMode};
use crate::offset::{Position, Timestamp};

pub(super) fn open(path: &Path, mode: OpenMode) -> io::Result<std::fs::File> {
    let mut options = OpenOptions::new();
    options.read(true);
    match mode {
        OpenMode::Read => {}
        OpenMode::ReadWrite => drop(options.write(true)),
        OpenMode::OpenOrCreate => drop(options.write(true).create(true).truncate(false)),
        OpenMode::CreateNew => drop(options.write(true).create_new(true)),
    }
    options.open(path)
}

pub(super) fn list(dir: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let mut kind = entry.file_type()?;
        if kind.is_symlink() {
            match std::fs::metadata(entry.path()) {
                Ok(target) => kind = target.file_type(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        entries.push(DirEntry { name: entry.file_name(), kind: entry_kind(kind) });
    }
    Ok(entries)
}

fn entry_kind(kind: std::fs::FileType) -> EntryKind {
    if kind.is_file() {
        EntryKind::File
    } else if kind.is_dir() {
        EntryKind::Directory
    } else {
        EntryKind::Other
    }
}

pub(super) fn metadata(path: &Path) -> io::Result<Metadata> {
    let found = std::fs::metadata(path)?;
    Ok(Metadata { kind: entry_kind(found.file_type()), len: found.len(), modified: timestamp(found.modified()?) })
}

fn timestamp(time: SystemTime) -> Timestamp {
    let millis = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    };
    Timestamp::from_millis(millis)
}

pub(super) fn create_dir(path: &Path) -> io::Result<()> {
    std::fs::create_dir(path)
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}

pub(super) fn canonicalize(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path)
}

/// A file that carries both kinds of lock. Closing the descriptor releases them.
#[derive(Debug)]
pub(super) struct RealLock(Flock<std::fs::File>);

pub(super) fn try_lock(path: &Path, kind: LockKind) -> io::Result<Option<RealLock>> {
    let file = open(path, OpenMode::OpenOrCreate)?;
    let argument = match kind {
        LockKind::Exclusive => FlockArg::LockExclusiveNonblock,
        LockKind::Shared => FlockArg::LockSharedNonblock,
    };
    let locked = match Flock::lock(file, argument) {
        Ok(locked) => locked,
        Err((_file, Errno::EAGAIN)) => return Ok(None),
        Err((_file, errno)) => return Err(errno.into()),
    };
    match fcntl(&*locked, FcntlArg::F_OFD_SETLK(&whole_file(kind))) {
        Ok(_) => Ok(Some(RealLock(locked))),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

pub(super) fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut question = whole_file(LockKind::Exclusive);
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut question)).map_err(io::Error::from)?;
    Ok(i32::from(question.l_type) != libc::F_UNLCK)
}

/// The fcntl form of a lock on every byte, wherever the file may end.
fn whole_file(kind: LockKind) -> libc::flock {
    let lock_type = match kind {
        LockKind::Exclusive => libc::F_WRLCK,
        LockKind::Shared => libc::F_RDLCK,
    };
    libc::flock {
        l_type: i16::try_from(lock_type).expect("the lock types are 0, 1 and 2"),
        l_whence: i16::try_from(libc::SEEK_SET).expect("the origins are 0, 1 and 2"),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

pub(super) fn free_space(path: &Path) -> io::Result<u64> {
    let found = nix::sys::statvfs::statvfs(path)?;
    Ok(found.blocks_available().saturating_mul(found.fragment_size()))
}

pub(super) fn wall_clock() -> Timestamp {
    timestamp(SystemTime::now())
}

pub(super) fn monotonic() -> Duration {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed()
}

pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

pub(super) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}

pub(super) fn write_at(file: &std::fs::File, bytes: &[u8], at: Position) -> io::Result<usize> {
    file.write_at(bytes, at.value())
}

pub(super) fn write_vectored_at(file: &std::fs::File, parts: &[IoSlice<'_>], at: Position) -> io::Result<usize> {
    Ok(nix::sys::uio::pwritev(file, parts, file_offset(at.value())?)?)
}

pub(super) fn read_at(file: &std::fs::File, into: &mut [u8], at: Position) -> io::Result<usize> {
    file.read_at(into, at.value())
}

pub(super) fn len(file: &std::fs::File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}

pub(super) fn modified(file: &std::fs::File) -> io::Result<Timestamp> {
    Ok(timestamp(file.metadata()?.modified()?))
}

pub(super) fn allocate(file: &std::fs::File, from: Position, to: Position) -> io::Result<()> {
    let bytes = file_offset(to - from)?;
    Ok(fallocate(file, FallocateFlags::empty(), file_offset(from.value())?, bytes)?)
}

pub(super) fn set_len(file: &std::fs::File, len: u64) -> io::Result<()> {
    file.set_len(len)
}

pub(super) fn sync_data(file: &std::fs::File) -> io::Result<()> {
    file.sync_data()
}

pub(super) fn send_to(file: &std::fs::File, out: BorrowedFd<'_>, at: Position, len: usize) -> io::Result<usize> {
    let mut from = file_offset(at.value())?;
    Ok(nix::sys::sendfile::sendfile64(out, file.as_fd(), Some(&mut from), len)?)
}

/// A place or length in the system's signed form.
fn file_offset(value: u64) -> io::Result<i64> {
    i64::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}
