//! The simulated half of the seam: one function for each of the real half's, with the same answers.
//!
//! It turns handles and paths into changes of the disk's state, and decides nothing about crashes. The invariant it
//! owns: whatever a call does, it does under the disk's lock and after the disk has admitted it, so that a disk without
//! power never changes.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

use super::SimDisk;
use super::content::{Change, Content};
use super::faults::{CallKind, Verdict};
use super::names::{InodeId, Place};
use super::state::{MAX_FILE_BYTES, Node, State, Target};
use crate::fs::{DirEntry, EntryKind, FileSystem, LockKind, Metadata, OpenMode, real};
use crate::offset::{Position, Timestamp};

/// Free space of a disk whose room is not limited.
const UNLIMITED_BYTES: u64 = 1 << 50;

/// An open file of a simulated disk.
#[derive(Debug)]
pub(in crate::fs) struct SimFile {
    inode: Handle,
    is_writable: bool,
}

/// A lock on a file of a simulated disk.
#[derive(Debug)]
pub(in crate::fs) struct SimLock {
    inode: Handle,
    kind: LockKind,
}

/// A read-only map of a file of a simulated disk.
#[derive(Debug)]
pub(in crate::fs) struct SimMap {
    inode: Handle,
    len: usize,
}

/// What keeps an inode alive.
#[derive(Debug)]
pub(super) struct Handle {
    disk: SimDisk,
    id: InodeId,
    is_descriptor: bool,
}

impl Handle {
    /// As an open file has it.
    fn of_file(disk: &SimDisk, state: &mut State, id: InodeId) -> Handle {
        state.descriptors += 1;
        let mut handle = Handle::of_map(disk, state, id);
        handle.is_descriptor = true;
        handle
    }

    /// As a map has it, which needs no descriptor.
    pub(super) fn of_map(disk: &SimDisk, state: &mut State, id: InodeId) -> Handle {
        state.inode_mut(id).handles += 1;
        Handle { disk: disk.clone(), id, is_descriptor: false }
    }

    pub(super) fn id(&self) -> InodeId {
        self.id
    }

    pub(super) fn disk(&self) -> &SimDisk {
        &self.disk
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        state.descriptors -= u64::from(self.is_descriptor);
        state.close(self.id);
    }
}

impl SimDisk {
    /// A call on a path.
    fn call<T>(&self, call: CallKind, path: &Path, body: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        state.enter(call, Target::Path(path), 0, 0)?;
        body(&mut state)
    }
}

pub(in crate::fs) fn open(disk: &SimDisk, path: &Path, mode: OpenMode) -> io::Result<SimFile> {
    disk.call(CallKind::Open, path, |state| {
        state.expect_descriptor()?;
        let id = match (state.find(path), mode) {
            (Ok(_), OpenMode::CreateNew) => return Err(Errno::EEXIST.into()),
            (Ok(id), _) => id,
            (Err(error), OpenMode::OpenOrCreate | OpenMode::CreateNew) if error.kind() == io::ErrorKind::NotFound => {
                create_file(state, path)?
            }
            (Err(error), _) => return Err(error),
        };
        if state.inode(id).is_directory() {
            return Err(Errno::EISDIR.into());
        }
        Ok(SimFile { inode: Handle::of_file(disk, state, id), is_writable: mode != OpenMode::Read })
    })
}

fn create_file(state: &mut State, path: &Path) -> io::Result<InodeId> {
    let place = state.place_of(path)?;
    let now = state.clock().wall;
    state.create(place, Node::File(Content::empty(now)))
}

/// In an order that changes, so that nobody comes to rely on one.
pub(in crate::fs) fn list(disk: &SimDisk, dir: &Path) -> io::Result<Vec<DirEntry>> {
    disk.call(CallKind::List, dir, |state| {
        state.expect_descriptor()?;
        let dir = state.directory(dir)?;
        let entry = |(name, inode): (&std::ffi::OsString, InodeId)| DirEntry {
            name: name.clone(),
            kind: entry_kind(&state.inode(inode).node),
        };
        let mut entries: Vec<DirEntry> = state.visible.names(dir).map(entry).collect();
        state.random.shuffle(&mut entries);
        Ok(entries)
    })
}

fn entry_kind(node: &Node) -> EntryKind {
    match node {
        Node::File(_) => EntryKind::File,
        Node::Directory => EntryKind::Directory,
    }
}

pub(in crate::fs) fn metadata(disk: &SimDisk, path: &Path) -> io::Result<Metadata> {
    disk.call(CallKind::Metadata, path, |state| {
        let id = state.find(path)?;
        Ok(match &state.inode(id).node {
            Node::File(content) => {
                Metadata { kind: EntryKind::File, len: wide(content.visible.len()), modified: content.modified }
            }
            Node::Directory => Metadata { kind: EntryKind::Directory, len: 0, modified: state.clock().wall },
        })
    })
}

pub(in crate::fs) fn create_dir(disk: &SimDisk, path: &Path) -> io::Result<()> {
    disk.call(CallKind::CreateDir, path, |state| match state.find(path) {
        Ok(_) => Err(Errno::EEXIST.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let place = state.place_of(path)?;
            state.create(place, Node::Directory).map(drop)
        }
        Err(error) => Err(error),
    })
}

pub(in crate::fs) fn rename(disk: &SimDisk, from: &Path, to: &Path) -> io::Result<()> {
    let mut state = disk.state();
    let admitted = state.enter(CallKind::Rename, Target::Path(from), 0, 0);
    if !state.is_off {
        state.monitor.note_target(to);
    }
    admitted?;
    let (from, to): (Place, Place) = (state.place_of(from)?, state.place_of(to)?);
    state.rename(from, to)
}

pub(in crate::fs) fn remove_file(disk: &SimDisk, path: &Path) -> io::Result<()> {
    disk.call(CallKind::RemoveFile, path, |state| {
        let place = state.place_of(path)?;
        state.unlink(place)
    })
}

pub(in crate::fs) fn sync_dir(disk: &SimDisk, dir: &Path) -> io::Result<()> {
    let mut state = disk.state();
    let admitted = state.enter(CallKind::SyncDir, Target::Path(dir), 0, 0);
    if state.is_off {
        return admitted.map(drop);
    }
    let id = state.find(dir)?;
    match admitted.and_then(|_| state.expect_descriptor()) {
        // As the real half does with what is no directory.
        Ok(()) if !state.inode(id).is_directory() => state.sync_data(id),
        Ok(()) => state.settle_names(id, true),
        Err(error) => {
            if loses_changes(&error) && state.inode(id).is_directory() {
                state.settle_names(id, false);
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Whether a sync that failed so has used up its chance: one that was interrupted, or that could not open its
/// directory, has not begun.
fn loses_changes(error: &io::Error) -> bool {
    !matches!(Errno::from_raw(error.raw_os_error().unwrap_or(0)), Errno::EINTR | Errno::EMFILE | Errno::ENFILE)
}

pub(in crate::fs) fn canonicalize(disk: &SimDisk, path: &Path) -> io::Result<PathBuf> {
    disk.call(CallKind::Canonicalize, path, |state| {
        state.find(path)?;
        Ok(super::state::normal(path))
    })
}

pub(in crate::fs) fn try_lock(disk: &SimDisk, path: &Path, kind: LockKind) -> io::Result<Option<SimLock>> {
    disk.call(CallKind::TryLock, path, |state| {
        state.expect_descriptor()?;
        let id = match state.find(path) {
            Ok(id) => id,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create_file(state, path)?,
            Err(error) => return Err(error),
        };
        if state.inode(id).is_directory() {
            return Err(Errno::EISDIR.into());
        }
        let locks = &mut state.inode_mut(id).locks;
        match kind {
            LockKind::Exclusive if !locks.exclusive && locks.shared == 0 => locks.exclusive = true,
            LockKind::Shared if !locks.exclusive => locks.shared += 1,
            _ => return Ok(None),
        }
        Ok(Some(SimLock { inode: Handle::of_file(disk, state, id), kind }))
    })
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.inode.disk.state();
        let locks = &mut state.inode_mut(self.inode.id).locks;
        match self.kind {
            LockKind::Exclusive => locks.exclusive = false,
            LockKind::Shared => locks.shared -= 1,
        }
    }
}

pub(in crate::fs) fn is_locked(disk: &SimDisk, path: &Path) -> io::Result<bool> {
    disk.call(CallKind::IsLocked, path, |state| match state.find(path) {
        Ok(id) => {
            state.expect_descriptor()?;
            let locks = state.inode(id).locks;
            Ok(locks.exclusive || locks.shared > 0)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    })
}

pub(in crate::fs) fn free_space(disk: &SimDisk, path: &Path) -> io::Result<u64> {
    disk.call(CallKind::FreeSpace, path, |state| {
        state.find(path)?;
        Ok(state.free_bytes.unwrap_or(UNLIMITED_BYTES))
    })
}

pub(in crate::fs) fn file_system(disk: &SimDisk, path: &Path) -> io::Result<FileSystem> {
    disk.call(CallKind::FileSystem, path, |state| {
        state.find(path)?;
        Ok(state.file_system)
    })
}

pub(in crate::fs) fn wall_clock(disk: &SimDisk) -> Timestamp {
    disk.state().clock().wall
}

pub(in crate::fs) fn monotonic(disk: &SimDisk) -> Duration {
    disk.state().clock().monotonic
}

pub(in crate::fs) fn random(disk: &SimDisk) -> u64 {
    disk.state().random.next()
}

pub(in crate::fs) fn spawn(
    disk: &SimDisk,
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<crate::sync::thread::JoinHandle<()>> {
    disk.call(CallKind::Spawn, Path::new(name), |_| Ok(()))?;
    real::spawn(name, body)
}

pub(in crate::fs) fn parallelism(disk: &SimDisk) -> usize {
    disk.state().processors
}

pub(in crate::fs) fn side_by_side(disk: &SimDisk, name: &str, threads: usize, work: &(dyn Fn() + Sync)) {
    let more = (1..threads).take_while(|_| disk.call(CallKind::Spawn, Path::new(name), |_| Ok(())).is_ok()).count();
    real::side_by_side(name, 1 + more, work);
}

impl SimFile {
    pub(in crate::fs) fn write_at(&self, bytes: &[u8], at: Position) -> io::Result<usize> {
        self.write(CallKind::WriteAt, &[IoSlice::new(bytes)], at)
    }

    pub(in crate::fs) fn write_vectored_at(&self, parts: &[IoSlice<'_>], at: Position) -> io::Result<usize> {
        if parts.len() > 1024 {
            return Err(Errno::EINVAL.into());
        }
        self.write(CallKind::WriteVectoredAt, parts, at)
    }

    fn write(&self, call: CallKind, parts: &[IoSlice<'_>], at: Position) -> io::Result<usize> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut state = self.inode.disk.state();
        let was_on = !state.is_off;
        let verdict = match state.enter(call, Target::Inode(self.inode.id), at.value(), wide(len)) {
            Ok(verdict) => verdict,
            Err(error) => {
                if was_on && state.is_off && state.keeps_history && self.is_writable {
                    let written = state.draw_written_pages(at.value(), len);
                    self.change(&mut state, parts, at, written, Verdict::Whole).ok();
                }
                return Err(error);
            }
        };
        self.expect_writable()?;
        match verdict.limit(len) {
            0 => Ok(0),
            limit => self.change(&mut state, parts, at, limit, verdict),
        }
    }

    /// Writes the first `len` bytes of the parts, or as many of them as there is room for.
    fn change(
        &self,
        state: &mut State,
        parts: &[IoSlice<'_>],
        at: Position,
        len: usize,
        verdict: Verdict,
    ) -> io::Result<usize> {
        let allowed = narrow(state.take_room_to_write(self.inode.id, at.value(), wide(len))?);
        let mut bytes = Vec::with_capacity(allowed);
        for part in parts {
            bytes.extend_from_slice(&part[..part.len().min(allowed - bytes.len())]);
        }
        verdict.flip(&mut bytes);
        let at = narrow(at.value());
        state.content_mut(self.inode.id).write(at, &bytes);
        state.note(self.inode.id, || Change::Write { at, bytes });
        Ok(allowed)
    }

    pub(in crate::fs) fn read_at(&self, into: &mut [u8], at: Position) -> io::Result<usize> {
        let (mut state, verdict) = self.enter(CallKind::ReadAt, at.value(), wide(into.len()))?;
        let limit = verdict.limit(into.len());
        let at = usize::try_from(at.value()).unwrap_or(usize::MAX);
        let read = state.content_mut(self.inode.id).read(at, &mut into[..limit]);
        verdict.flip(&mut into[..read]);
        state.inode_mut(self.inode.id).bytes_read += wide(read);
        Ok(read)
    }

    pub(in crate::fs) fn len(&self) -> io::Result<u64> {
        let (state, _) = self.enter(CallKind::Len, 0, 0)?;
        Ok(wide(state.content(self.inode.id).visible.len()))
    }

    pub(in crate::fs) fn modified(&self) -> io::Result<Timestamp> {
        let (state, _) = self.enter(CallKind::Modified, 0, 0)?;
        Ok(state.content(self.inode.id).modified)
    }

    pub(in crate::fs) fn allocate(&self, from: Position, to: Position) -> io::Result<()> {
        let (mut state, _) = self.enter(CallKind::Allocate, from.value(), to - from)?;
        self.expect_writable()?;
        if from == to {
            return Err(Errno::EINVAL.into());
        }
        let wanted = to - from;
        let allowed = state.take_room_to_allocate(self.inode.id, from.value(), wanted)?;
        if allowed < wanted {
            // What was taken stays taken, as after a real allocation that ran out of room on its way.
            return Err(Errno::ENOSPC.into());
        }
        let to = narrow(to.value());
        state.content_mut(self.inode.id).allocate(to);
        state.note(self.inode.id, || Change::Allocate { to });
        Ok(())
    }

    pub(in crate::fs) fn set_len(&self, len: u64) -> io::Result<()> {
        let (mut state, _) = self.enter(CallKind::SetLen, len, 0)?;
        if !self.is_writable {
            return Err(Errno::EINVAL.into());
        }
        if len > MAX_FILE_BYTES {
            return Err(Errno::EFBIG.into());
        }
        let cuts_into = |end: &usize| narrow(len) < *end;
        let is_cut_into = state.inode(self.inode.id).windows.iter().any(cuts_into);
        assert!(!is_cut_into, "a file was shortened under a window (rule 22)");
        state.content_mut(self.inode.id).set_len(narrow(len));
        state.cut_room(self.inode.id, len);
        state.note(self.inode.id, || Change::SetLen(narrow(len)));
        Ok(())
    }

    pub(in crate::fs) fn sync_data(&self) -> io::Result<()> {
        let mut state = self.inode.disk.state();
        match state.enter(CallKind::SyncData, Target::Inode(self.inode.id), 0, 0) {
            Ok(_) => {
                state.sync_data(self.inode.id);
                let owed = std::mem::take(&mut state.content_mut(self.inode.id).owes_error);
                if owed { Err(Errno::EIO.into()) } else { Ok(()) }
            }
            Err(error) => {
                if !state.is_off && loses_changes(&error) {
                    state.fail_sync_data(self.inode.id);
                }
                Err(error)
            }
        }
    }

    /// Copies from the page cache and writes to the real descriptor, outside the disk's lock: it may wait for a peer
    /// that reads through the same disk.
    pub(in crate::fs) fn send_to(&self, out: BorrowedFd<'_>, at: Position, len: usize) -> io::Result<usize> {
        let (bytes, remembers) = {
            let (mut state, verdict) = self.enter(CallKind::SendTo, at.value(), wide(len))?;
            let found = rest_from(&state.content(self.inode.id).visible, at);
            let bytes = found[..found.len().min(verdict.limit(len))].to_vec();
            let remembers = state.keeps_history && !bytes.is_empty();
            if remembers {
                state.content_mut(self.inode.id).begin_flight(narrow(at.value()), &bytes);
            }
            (bytes, remembers)
        };
        if bytes.is_empty() {
            return Ok(0);
        }
        let sent = nix::unistd::write(out, &bytes);
        if remembers {
            let mut state = self.inode.disk.state();
            let content = state.content_mut(self.inode.id);
            content.settle_flight(narrow(at.value()), bytes.len(), sent.unwrap_or(0));
        }
        Ok(sent?)
    }

    pub(in crate::fs) fn map_read(&self, len: usize) -> io::Result<SimMap> {
        let (mut state, _) = self.enter(CallKind::MapRead, 0, wide(len))?;
        assert!(len > 0, "an empty map is refused by the system");
        Ok(SimMap { inode: Handle::of_map(&self.inode.disk, &mut state, self.inode.id), len })
    }

    pub(in crate::fs) fn shares_blocks(&self) -> io::Result<bool> {
        let (state, _) = self.enter(CallKind::SharesBlocks, 0, 0)?;
        Ok(state.shares_blocks)
    }

    /// The file's inode.
    pub(super) fn id(&self) -> InodeId {
        self.inode.id
    }

    pub(super) fn disk(&self) -> &SimDisk {
        &self.inode.disk
    }

    pub(super) fn enter(
        &self,
        call: CallKind,
        at: u64,
        len: u64,
    ) -> io::Result<(crate::sync::MutexGuard<'_, State>, Verdict)> {
        let mut state = self.inode.disk.state();
        let verdict = state.enter(call, Target::Inode(self.inode.id), at, len)?;
        Ok((state, verdict))
    }

    pub(super) fn expect_writable(&self) -> io::Result<()> {
        if self.is_writable { Ok(()) } else { Err(Errno::EBADF.into()) }
    }
}

impl SimMap {
    /// A read behind the end of the file is a panic here, where it is SIGBUS on the real half.
    pub(in crate::fs) fn copy_at<const N: usize>(&self, at: usize) -> [u8; N] {
        assert!(at.checked_add(N).is_some_and(|end| end <= self.len), "a read behind the map");
        let state = self.inode.disk.state();
        let found = &state.content(self.inode.id).visible;
        let bytes = found.get(at..at + N).expect("a read behind the end of a mapped file");
        bytes.try_into().expect("the range is N bytes long")
    }

    /// As [`SimMap::copy_at`].
    pub(in crate::fs) fn copy_to(&self, into: &mut [u8], at: usize) {
        assert!(at.checked_add(into.len()).is_some_and(|end| end <= self.len), "a read behind the map");
        let state = self.inode.disk.state();
        let found = &state.content(self.inode.id).visible;
        into.copy_from_slice(found.get(at..at + into.len()).expect("a read behind the end of a mapped file"));
    }

    pub(in crate::fs) fn len(&self) -> usize {
        self.len
    }
}

fn rest_from(content: &[u8], at: Position) -> &[u8] {
    usize::try_from(at.value()).ok().and_then(|at| content.get(at..)).unwrap_or_default()
}

pub(super) fn wide(len: usize) -> u64 {
    u64::try_from(len).expect("a length in memory fits 64 bits")
}

pub(super) fn narrow(value: u64) -> usize {
    usize::try_from(value).expect("files of the simulated disk are no longer than memory can hold")
}
