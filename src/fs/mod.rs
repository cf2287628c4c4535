//! The seam: everything this crate asks of the operating system, and nothing else.
//!
//! Two halves behind one enum: the real disk, and (in tests and under the feature `sim`) a simulated one whose page
//! cache is memory. It knows files, directories, maps, locks, clocks and threads; it knows no record and no segment.
//! What it promises: one call here is one call to the system, with the system's answer, short transfers and EINTR
//! included; the loops stand in `transfer`, decisions live above. `nix`, `memmap2` and `unsafe` are used here only.

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::offset::{Position, Timestamp};

mod map;
mod real;
#[cfg(any(test, feature = "sim"))]
#[cfg_attr(not(test), allow(dead_code, unused_imports, reason = "logs in memory use neither crashes nor faults"))]
pub(crate) mod sim;
#[cfg(test)]
mod tests;
mod transfer;

pub(crate) use map::{ReadMap, Window};
pub(crate) use transfer::{Partial, read_exact_at, retry, write_all_at, write_all_vectored_at};

/// Names, directories, locks, clocks, chance and threads. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Env {
    inner: EnvInner,
}

#[derive(Clone, Debug)]
enum EnvInner {
    Real,
    #[cfg(any(test, feature = "sim"))]
    Sim(sim::SimDisk),
}

/// How a file is opened. Every descriptor is close-on-exec, and none is ever in append mode: Linux would ignore the
/// position of a `pwrite` (rule 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenMode {
    /// For reading; it must be there.
    Read,
    /// For reading and writing; it must be there.
    ReadWrite,
    /// For reading and writing; created empty if it is not there.
    OpenOrCreate,
    /// For reading and writing; it must not be there.
    CreateNew,
}

/// What a name in a directory refers to. A symbolic link is what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    Other,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirEntry {
    pub(crate) name: OsString,
    pub(crate) kind: EntryKind,
}

/// What the system knows about a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) kind: EntryKind,
    pub(crate) len: u64,
    pub(crate) modified: Timestamp,
}

/// File systems whose behaviour under stores into maps is known, and all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileSystem {
    /// Its predecessors say the same of themselves.
    Ext4,
    Xfs,
    Tmpfs,
    Other,
}

/// Who else may hold the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockKind {
    /// Nobody.
    Exclusive,
    /// Other shared holders.
    Shared,
}

/// A lock file and the locks on it, released on drop. The file itself stays (rule 30).
#[derive(Debug)]
pub(crate) struct Lock {
    _inner: LockInner,
}

#[derive(Debug)]
#[allow(dead_code, reason = "held for what dropping it does")]
enum LockInner {
    Real(real::RealLock),
    #[cfg(any(test, feature = "sim"))]
    Sim(sim::SimLock),
}

/// A thread started through the seam.
#[derive(Debug)]
pub(crate) struct Thread {
    inner: crate::sync::thread::JoinHandle<()>,
}

impl Thread {
    /// Waits for the thread's end. `false` if it panicked.
    pub(crate) fn join(self) -> bool {
        self.inner.join().is_ok()
    }

    /// Whether the calling thread is this one.
    pub(crate) fn is_current(&self) -> bool {
        self.inner.thread().id() == crate::sync::thread::current().id()
    }
}

impl Env {
    /// The machine this process runs on.
    pub(crate) fn real() -> Env {
        Env { inner: EnvInner::Real }
    }

    /// A machine whose disk, clocks and chance are simulated.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn sim(disk: &sim::SimDisk) -> Env {
        Env { inner: EnvInner::Sim(disk.clone()) }
    }

    pub(crate) fn open(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        match &self.inner {
            EnvInner::Real => Ok(File { inner: FileInner::Real(real::open(path, mode)?) }),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => Ok(File { inner: FileInner::Sim(sim::open(disk, path, mode)?) }),
        }
    }

    /// Every name in a directory but `.` and `..`, in no order.
    pub(crate) fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        match &self.inner {
            EnvInner::Real => real::list(dir),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => sim::list(disk, dir),
        }
    }

    pub(crate) fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        match &self.inner {
            EnvInner::Real => real::metadata(path),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => sim::metadata(disk, path),
        }
    }

    /// Creates one directory; its parent must be there.
    pub(crate) fn create_dir(&self, path: &Path) -> io::Result<()> {
        match &self.inner {
            EnvInner::Real => real::create_dir(path),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => sim::create_dir(disk, path),
        }
    }

    /// Renames, replacing what has the new name.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match &self.inner {
            EnvInner::Real => real::rename(from, to),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => sim::rename(disk, from, to),
        }
    }

    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        match &self.inner {
            EnvInner::Real => real::remove_file(path),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => sim::remove_file(disk, path),
        }
    }

    /// Makes the names in a directory durable.
    pub(crate) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match &self.inner {
            EnvInner::Real => real::sync_dir(dir),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => sim::sync_dir(disk, dir),
        }
    }

    /// The path without symbolic links, `.` and `..`.
    pub(crate) fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        match &self.inner {
            EnvInner::Real => real::canonicalize(path),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => sim::canonicalize(disk, path),
        }
    }

    /// Takes `flock` and an OFD lock on a file, creating it. `None` if somebody else holds either.
    pub(crate) fn try_lock(&self, path: &Path, kind: LockKind) -> io::Result<Option<Lock>> {
        match &self.inner {
            EnvInner::Real => Ok(real::try_lock(path, kind)?.map(|lock| Lock { _inner: LockInner::Real(lock) })),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => {
                Ok(sim::try_lock(disk, path, kind)?.map(|lock| Lock { _inner: LockInner::Sim(lock) }))
            }
        }
    }

    /// Whether somebody holds the lock on a file right now. Changes nothing: a missing file is not locked.
    pub(crate) fn is_locked(&self, path: &Path) -> io::Result<bool> {
        match &self.inner {
            EnvInner::Real => real::is_locked(path),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => sim::is_locked(disk, path),
        }
    }

    /// Bytes that an unprivileged process may still write to the file system of `path`.
    #[allow(dead_code, reason = "the seam is whole; what asks this comes with later parts of the log")]
    pub(crate) fn free_space(&self, path: &Path) -> io::Result<u64> {
        match &self.inner {
            EnvInner::Real => real::free_space(path),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => sim::free_space(disk, path),
        }
    }

    /// Which file system a path lies on.
    pub(crate) fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        match &self.inner {
            EnvInner::Real => real::file_system(path),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => sim::file_system(disk, path),
        }
    }

    pub(crate) fn wall_clock(&self) -> Timestamp {
        match &self.inner {
            EnvInner::Real => real::wall_clock(),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => sim::wall_clock(disk),
        }
    }

    /// The wall clock as of the kernel's last tick, some milliseconds ago at most: a fifth of the price.
    pub(crate) fn coarse_wall_clock(&self) -> Timestamp {
        match &self.inner {
            EnvInner::Real => real::coarse_wall_clock(),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => sim::wall_clock(disk),
        }
    }

    /// Time since some fixed moment; never goes back.
    pub(crate) fn monotonic(&self) -> Duration {
        match &self.inner {
            EnvInner::Real => real::monotonic(),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => sim::monotonic(disk),
        }
    }

    pub(crate) fn random(&self) -> u64 {
        match &self.inner {
            EnvInner::Real => real::random(),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => sim::random(disk),
        }
    }

    pub(crate) fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
        match &self.inner {
            EnvInner::Real => Ok(Thread { inner: real::spawn(name, body)? }),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => Ok(Thread { inner: sim::spawn(disk, name, body)? }),
        }
    }

    /// How many threads the machine runs at once. A simulated one runs one unless a test says otherwise, so that what it does
    /// is always the same.
    pub(crate) fn parallelism(&self) -> usize {
        match &self.inner {
            EnvInner::Real => real::parallelism(),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => sim::parallelism(disk),
        }
    }

    /// Runs `work` on so many threads, the calling one included, or on fewer where no more can be had; returns when all
    /// have returned.
    pub(crate) fn side_by_side(&self, name: &str, threads: usize, work: &(dyn Fn() + Sync)) {
        match &self.inner {
            EnvInner::Real => real::side_by_side(name, threads, work),
            #[cfg(any(test, feature = "sim"))]
            EnvInner::Sim(disk) => sim::side_by_side(disk, name, threads, work),
        }
    }
}

/// An open file. Shared freely: every method takes `&self` and names its position.
#[derive(Debug)]
pub(crate) struct File {
    inner: FileInner,
}

#[derive(Debug)]
enum FileInner {
    Real(std::fs::File),
    #[cfg(any(test, feature = "sim"))]
    Sim(sim::SimFile),
}

impl File {
    /// May be short and may say EINTR; the loop is above the seam.
    pub(crate) fn write_at(&self, bytes: &[u8], at: Position) -> io::Result<usize> {
        match &self.inner {
            FileInner::Real(file) => real::write_at(file, bytes, at),
            #[cfg(any(test, feature = "sim"))]
            FileInner::Sim(file) => file.write_at(bytes, at),
        }
    }

    /// At most 1,024 parts; may be short and may say EINTR.
    pub(crate) fn write_vectored_at(&self, parts: &[IoSlice<'_>], at: Position) -> io::Result<usize> {
        match &self.inner {
            FileInner::Real(file) => real::write_vectored_at(file, parts, at),
            #[cfg(any(test, feature = "sim"))]
            FileInner::Sim(file) => file.write_vectored_at(parts, at),
        }
    }

    /// May be short and may say EINTR; 0 is the end of the file.
    pub(crate) fn read_at(&self, into: &mut [u8], at: Position) -> io::Result<usize> {
        match &self.inner {
            FileInner::Real(file) => real::read_at(file, into, at),
            #[cfg(any(test, feature = "sim"))]
            FileInner::Sim(file) => file.read_at(into, at),
        }
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        match &self.inner {
            FileInner::Real(file) => real::len(file),
            #[cfg(any(test, feature = "sim"))]
            FileInner::Sim(file) => file.len(),
        }
    }

    #[allow(dead_code, reason = "the seam is whole; what asks this comes with later parts of the log")]
    pub(crate) fn modified(&self) -> io::Result<Timestamp> {
        match &self.inner {
            FileInner::Real(file) => real::modified(file),
            #[cfg(any(test, feature = "sim"))]
            FileInner::Sim(file) => file.modified(),
        }
    }

    /// Reserves room for `from..to` and makes the file that long, zeros in between.
    pub(crate) fn allocate(&self, from: Position, to: Position) -> io::Result<()> {
        match &self.inner {
            FileInner::Real(file) => real::allocate(file, from, to),
            #[cfg(any(test, feature = "sim"))]
            FileInner::Sim(file) => file.allocate(from, to),
        }
    }

    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.inner {
            FileInner::Real(file) => real::set_len(file, len),
            #[cfg(any(test, feature = "sim"))]
            FileInner::Sim(file) => file.set_len(len),
        }
    }

    /// `fdatasync`: the content and the length (rule 2).
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        match &self.inner {
            FileInner::Real(file) => real::sync_data(file),
            #[cfg(any(test, feature = "sim"))]
            FileInner::Sim(file) => file.sync_data(),
        }
    }

    /// `sendfile`: may be short; 0 means the file ended before `at`.
    pub(crate) fn send_to(&self, out: BorrowedFd<'_>, at: Position, len: usize) -> io::Result<usize> {
        match &self.inner {
            FileInner::Real(file) => real::send_to(file, out, at, len),
            #[cfg(any(test, feature = "sim"))]
            FileInner::Sim(file) => file.send_to(out, at, len),
        }
    }

    /// The descriptor itself, for users who send by other means. A simulated file has none.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.inner {
            FileInner::Real(file) => Some(std::os::fd::AsFd::as_fd(file)),
            #[cfg(any(test, feature = "sim"))]
            FileInner::Sim(_) => None,
        }
    }

    /// A writable map of the bytes between two places, which the file reaches and for which it has room.
    pub(crate) fn map_window(&self, start: Position, end: Position) -> io::Result<Window> {
        match &self.inner {
            FileInner::Real(file) => Window::real(file, start, end),
            #[cfg(any(test, feature = "sim"))]
            FileInner::Sim(file) => Ok(Window::sim(file.map_window(start, end)?, start, end)),
        }
    }

    /// Whether a store into the range may have to copy a block first, since a copy of the file shares it.
    pub(crate) fn shares_blocks(&self, start: Position, end: Position) -> io::Result<bool> {
        match &self.inner {
            FileInner::Real(file) => map::shares_blocks(file, start, end),
            #[cfg(any(test, feature = "sim"))]
            FileInner::Sim(file) => file.shares_blocks(),
        }
    }

    /// A read-only map of the first `len` bytes, which may be more than the file has; `len` is not 0.
    pub(crate) fn map_read(&self, len: usize) -> io::Result<ReadMap> {
        match &self.inner {
            FileInner::Real(file) => ReadMap::real(file, len),
            #[cfg(any(test, feature = "sim"))]
            FileInner::Sim(file) => Ok(ReadMap::sim(file.map_read(len)?)),
        }
    }
}
