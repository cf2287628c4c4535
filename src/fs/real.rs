//! The real half of the seam: one function, one system call that matters.
//!
//! Thin enough to be read in one sitting. Nothing here loops or decides; the invariant it owns is that what the system
//! said about a transfer or a sync is what the caller hears.
#![allow(clippy::disallowed_methods, reason = "this is the place that the list points to")]

use std::fs::{OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, fallocate, fcntl};
use nix::libc;
use nix::time::{ClockId, clock_gettime};

use super::{DirEntry, EntryKind, FileSystem, LockKind, Metadata, OpenMode};
use crate::offset::{Position, Timestamp};

/// A pipe that somebody put where a file belongs must not make the open wait for its other end, which it does only when
/// opened for reading alone. The flag against that goes again: some ways of reading take it seriously on files as well.
pub(super) fn open(path: &Path, mode: OpenMode) -> io::Result<std::fs::File> {
    let mut options = OpenOptions::new();
    options.read(true);
    match mode {
        OpenMode::Read => drop(options.custom_flags(libc::O_NONBLOCK)),
        OpenMode::ReadWrite => drop(options.write(true)),
        OpenMode::OpenOrCreate => drop(options.write(true).create(true).truncate(false)),
        OpenMode::CreateNew => drop(options.write(true).create_new(true)),
    }
    let file = options.open(path)?;
    if mode == OpenMode::Read {
        fcntl(&file, FcntlArg::F_SETFL(OFlag::empty())).map_err(io::Error::from)?;
    }
    Ok(file)
}

pub(super) fn list(dir: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(kind) = kind_of(&entry)? {
            entries.push(DirEntry { name: entry.file_name(), kind });
        }
    }
    Ok(entries)
}

/// `None` for a name that somebody removed meanwhile.
fn kind_of(entry: &std::fs::DirEntry) -> io::Result<Option<EntryKind>> {
    let own = match entry.file_type() {
        Ok(own) => own,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !own.is_symlink() {
        return Ok(Some(entry_kind(own)));
    }
    match std::fs::metadata(entry.path()) {
        Ok(target) => Ok(Some(entry_kind(target.file_type()))),
        Err(error) if leads_nowhere(&error) => Ok(Some(EntryKind::Other)),
        Err(error) => Err(error),
    }
}

/// Whether a symbolic link has no target, as opposed to one that could not be looked at.
fn leads_nowhere(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(libc::ELOOP)
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

/// By `nix`, since the standard library repeats a sync that was interrupted, and no sync is ever repeated.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    Ok(nix::unistd::fsync(std::fs::File::open(dir)?)?)
}

pub(super) fn canonicalize(path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path)
}

/// A file that carries both kinds of lock.
///
/// Both belong to the open file, which a child made by `fork` shares. So the process that took them gives them up by
/// name, whoever else still has the descriptor; and in a child, dropping the copy takes nothing from the parent.
#[derive(Debug)]
pub(super) struct RealLock {
    file: std::fs::File,
    holder: u32,
}

#[cfg(test)]
impl RealLock {
    /// What a child made by `fork` has: another descriptor of the same open file.
    pub(super) fn inherited(&self) -> std::fs::File {
        self.file.try_clone().expect("a descriptor")
    }
}

impl Drop for RealLock {
    fn drop(&mut self) {
        if self.holder == std::process::id() {
            // Where giving up by name fails, closing the descriptor does it; a drop has nobody to tell.
            fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK))).ok();
            self.file.unlock().ok();
        }
    }
}

pub(super) fn try_lock(path: &Path, kind: LockKind) -> io::Result<Option<RealLock>> {
    let file = open(path, OpenMode::OpenOrCreate)?;
    // The standard library's lock is `flock`; a test holds it to that.
    let (flock, lock_type) = match kind {
        LockKind::Exclusive => (file.try_lock(), libc::F_WRLCK),
        LockKind::Shared => (file.try_lock_shared(), libc::F_RDLCK),
    };
    match flock {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let lock = RealLock { file, holder: std::process::id() };
    match fcntl(&lock.file, FcntlArg::F_OFD_SETLK(&whole_file(lock_type))) {
        Ok(_) => Ok(Some(lock)),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Asks for the OFD lock only: every holder of ours and every JVM shows there. Whether somebody holds nothing but
/// `flock` could be learnt only by taking it, and an opener at that moment would be refused.
pub(super) fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut question = whole_file(libc::F_WRLCK);
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut question)).map_err(io::Error::from)?;
    Ok(i32::from(question.l_type) != libc::F_UNLCK)
}

/// The fcntl form of a lock on every byte, wherever the file may end.
fn whole_file(lock_type: i32) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(lock_type).expect("the lock types are 0, 1 and 2"),
        l_whence: i16::try_from(libc::SEEK_SET).expect("the origins are 0, 1 and 2"),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[allow(dead_code, reason = "the seam is whole; what asks this comes with later parts of the log")]
pub(super) fn free_space(path: &Path) -> io::Result<u64> {
    let found = nix::sys::statvfs::statvfs(path)?;
    Ok(found.blocks_available().saturating_mul(found.fragment_size()))
}

pub(super) fn file_system(path: &Path) -> io::Result<FileSystem> {
    use nix::sys::statfs::{EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, statfs};
    Ok(match statfs(path)?.filesystem_type() {
        EXT4_SUPER_MAGIC => FileSystem::Ext4,
        XFS_SUPER_MAGIC => FileSystem::Xfs,
        TMPFS_MAGIC => FileSystem::Tmpfs,
        _ => FileSystem::Other,
    })
}

pub(super) fn wall_clock() -> Timestamp {
    read_clock(ClockId::CLOCK_REALTIME)
}

pub(super) fn coarse_wall_clock() -> Timestamp {
    read_clock(ClockId::CLOCK_REALTIME_COARSE)
}

fn read_clock(clock: ClockId) -> Timestamp {
    let now = clock_gettime(clock);
    now.map_or_else(
        |_| timestamp(SystemTime::now()),
        |now| Timestamp::from_millis(now.tv_sec() * 1000 + now.tv_nsec() / 1_000_000),
    )
}

pub(super) fn monotonic() -> Duration {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed()
}

pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

pub(super) fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<crate::sync::thread::JoinHandle<()>> {
    crate::sync::thread::Builder::new().name(name.to_owned()).spawn(body)
}

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(super) fn parallelism() -> usize {
    crate::sync::thread::available_parallelism().map_or(1, usize::from)
}

/// As many as [`side_by_side`] starts there.
#[cfg(any(feature = "loom", feature = "shuttle"))]
pub(super) fn parallelism() -> usize {
    1
}

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
pub(super) fn side_by_side(name: &str, threads: usize, work: &(dyn Fn() + Sync)) {
    crate::sync::thread::scope(|scope| {
        for _ in 1..threads {
            // Without this thread the others have more to do.
            drop(crate::sync::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work));
        }
        work();
    });
}

/// Checkers know no such threads; in their models one does all the work.
#[cfg(any(feature = "loom", feature = "shuttle"))]
pub(super) fn side_by_side(_: &str, _: usize, work: &(dyn Fn() + Sync)) {
    work();
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

#[allow(dead_code, reason = "the seam is whole; what asks this comes with later parts of the log")]
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
    Ok(nix::unistd::fdatasync(file)?)
}

pub(super) fn send_to(file: &std::fs::File, out: BorrowedFd<'_>, at: Position, len: usize) -> io::Result<usize> {
    let mut from = file_offset(at.value())?;
    Ok(nix::sys::sendfile::sendfile64(out, file.as_fd(), Some(&mut from), len)?)
}

/// A place or length in the system's signed form.
fn file_offset(value: u64) -> io::Result<i64> {
    i64::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}
