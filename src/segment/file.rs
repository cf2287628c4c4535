//! One `.log` file: an open file that knows its path, and the gate through which it is synced.
//!
//! It knows no batch. The invariants it owns: all syncs of one file go through one gate whose first failure sticks, because
//! the kernel reports a lost write once, and a second `fdatasync` would say yes (rules 17, 17a and 19); what is read is the
//! same whether the file is mapped or not, and nothing is read from a map that is gone.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, IoOp, Result};
use crate::fs::{Env, File, OpenMode, Partial, ReadMap, Window, read_exact_at, retry, write_all_vectored_at};
use crate::offset::Position;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};

/// An open `.log` file.
#[derive(Debug)]
pub(crate) struct LogFile {
    file: File,
    path: Arc<Path>,
    sync_gate: Mutex<Option<Error>>,
    /// Bytes below may be queued at a receiver, as pages of this file: they are never changed in place (rule 31).
    sent: AtomicU64,
    /// What is read is copied out of this, as far as it reaches.
    map: RwLock<Option<ReadMap>>,
    /// Whether there is one: who finds none need not ask for the lock.
    mapped: AtomicBool,
    /// It could not be had, and is not asked for again.
    map_refused: AtomicBool,
}

/// The most that is copied out of a map at once, in bytes. A call that reads more costs less than the faults of as many pages.
const MOST_COPIED_BYTES: usize = 64 << 10;

/// A write that did not reach its end.
#[derive(Debug)]
pub(crate) struct FailedWrite {
    /// Bytes that reached the file before the failure.
    pub(crate) written: u64,
    pub(crate) error: Error,
}

impl LogFile {
    pub(crate) fn open(env: &Env, path: &Arc<Path>, mode: OpenMode) -> Result<LogFile> {
        let operation = if mode == OpenMode::CreateNew { IoOp::Create } else { IoOp::Open };
        let file = env.open(path, mode).map_err(|error| Error::io(operation, path, &error))?;
        Ok(LogFile {
            file,
            path: Arc::clone(path),
            sync_gate: Mutex::new(None),
            sent: AtomicU64::new(0),
            map: RwLock::new(None),
            mapped: AtomicBool::new(false),
            map_refused: AtomicBool::new(false),
        })
    }

    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Makes content and length durable. After a failure every later call gives that same failure.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut outcome = self.sync_gate.lock();
        if let Some(error) = &*outcome {
            return Err(error.clone());
        }
        self.file.sync_data().map_err(|error| {
            let error = self.failure(IoOp::Sync, &error);
            *outcome = Some(error.clone());
            error
        })
    }

    pub(crate) fn write_vectored(
        &self,
        parts: &mut [IoSlice<'_>],
        at: Position,
    ) -> std::result::Result<(), FailedWrite> {
        write_all_vectored_at(&self.file, parts, at)
            .map_err(|Partial { written, error }| FailedWrite { written, error: self.failure(IoOp::Write, &error) })
    }

    /// Fills `into` from `at` on, as far as the file reaches; returns how far.
    pub(crate) fn read(&self, into: &mut [u8], at: Position) -> Result<usize> {
        if self.copy_from_map(into, at) {
            return Ok(into.len());
        }
        read_exact_at(&self.file, into, at).map_err(|error| self.failure(IoOp::Read, &error))
    }

    /// Maps the first bytes of the file, for what is read from then on. The file has them, nobody changes them, and nobody cuts
    /// the file below their end before [`LogFile::unmap`] (rule 22).
    ///
    /// `false` if the system refuses, or the file is shorter, and for good: then it is read by calls, which tell what is wrong.
    pub(crate) fn map(&self, bytes: Position) -> bool {
        let length = usize::try_from(bytes.value()).expect("64-bit systems only");
        let is_there = self.file.len().is_ok_and(|length| length >= bytes.value());
        let map = if is_there { self.file.map_read(length).ok() } else { None };
        let is_mapped = map.is_some();
        *self.map.write() = map;
        self.mapped.store(is_mapped, Ordering::Release);
        self.map_refused.store(!is_mapped, Ordering::Release);
        is_mapped
    }

    /// Reads by calls again. Whoever was copying out of the map is done when this returns.
    pub(crate) fn unmap(&self) {
        self.mapped.store(false, Ordering::Release);
        *self.map.write() = None;
    }

    pub(crate) fn is_mapped(&self) -> bool {
        self.mapped.load(Ordering::Acquire)
    }

    /// Whether nobody has tried to map it, or it was unmapped since.
    pub(crate) fn may_be_mapped(&self) -> bool {
        !self.is_mapped() && !self.map_refused.load(Ordering::Acquire)
    }

    /// Fills `into` from the map, if there is one and it reaches so far; else does nothing, and says `false`.
    pub(super) fn copy_from_map(&self, into: &mut [u8], at: Position) -> bool {
        if into.len() > MOST_COPIED_BYTES || !self.is_mapped() {
            return false;
        }
        // Locked while it copies, so that nobody unmaps it meanwhile.
        let map = self.map.read();
        let at = usize::try_from(at.value()).expect("64-bit systems only");
        let Some(map) = map.as_ref().filter(|map| at <= map.len() && into.len() <= map.len() - at) else {
            return false;
        };
        map.copy_to(into, at);
        true
    }

    /// Moves bytes to a receiver without a copy; may be short. That they may be on their way is noted before the call,
    /// for nothing that is asked after it can help.
    pub(crate) fn send(&self, receiver: BorrowedFd<'_>, at: Position, len: usize) -> io::Result<usize> {
        self.note_sent(at + u64::try_from(len).expect("lengths in memory fit 64 bits"));
        retry(|| self.file.send_to(receiver, at, len))
    }

    /// The descriptor, to be used up to `end` by whoever asks, at any time from now on. A simulated file has none.
    pub(crate) fn hand_out(&self, end: Position) -> Option<BorrowedFd<'_>> {
        self.note_sent(end);
        self.file.descriptor()
    }

    /// Bytes below `end` may be on their way to a receiver.
    pub(crate) fn note_sent(&self, end: Position) {
        self.sent.fetch_max(end.value(), Ordering::AcqRel);
    }

    /// No byte at or above was ever sent through this file.
    pub(crate) fn sent(&self) -> Position {
        Position::new(self.sent.load(Ordering::Acquire))
    }

    pub(crate) fn len(&self) -> Result<u64> {
        self.file.len().map_err(|error| self.failure(IoOp::Inspect, &error))
    }

    pub(crate) fn set_len(&self, len: Position) -> Result<()> {
        self.file.set_len(len.value()).map_err(|error| self.failure(IoOp::SetLength, &error))
    }

    /// Unmaps a window of this file, and cuts the file.
    pub(super) fn close_window(&self, window: Window, len: Position) -> Result<()> {
        window.close(&self.file, len.value()).map_err(|error| self.failure(IoOp::SetLength, &error))
    }

    fn failure(&self, operation: IoOp, error: &io::Error) -> Error {
        Error::io(operation, &self.path, error)
    }
}
