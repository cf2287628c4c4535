//! The mapped tail of the active segment: the window that appends are stored into, and the desk at which the worker lays
//! the next one ready.
//!
//! It knows no batch. The steps: the writer, out of window, leaves word at the desk which part it wants next; the worker
//! allocates, maps and touches it there, under the lock of the desk alone; the writer picks it up at a later append and
//! leaves the old one to be unmapped. The writer never waits for the desk while it appends: what finds no window goes by
//! a positioned write. Invariants it owns: no window of a file is left, and none is being made, when the writer cuts into
//! it (rule 22); windows go upwards only (rule 11b).

use std::sync::Arc;

use crate::config::NotMapped;
use crate::error::{Error, IoOp};
use crate::fs::{Window, retry};
use crate::offset::Position;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

use super::file::LogFile;

/// Windows end at a multiple of this, so that no page lies in two of them.
const PAGE_BYTES: u64 = 4096;
/// The first window of a segment, in bytes; each is twice as long as the one before it, up to what is configured. So appends
/// are soon stored into a map, and a small log does not take room for a large one.
const FIRST_WINDOW_BYTES: u64 = 256 << 10;
/// After a window found no room, so much is appended by other means before the next is asked for, in bytes.
const RETRY_BYTES: u64 = 1 << 20;

/// Where worker and writer meet. One for each open `.log` that is appended to.
#[derive(Debug, Default)]
pub(crate) struct WindowDesk {
    /// Held by the worker while it makes a window. The writer waits for it only where it cuts the file.
    desk: Mutex<Desk>,
    /// There is a window to be picked up.
    is_ready: AtomicBool,
}

#[derive(Debug, Default)]
struct Desk {
    wanted: Option<(Position, Position)>,
    ready: Option<Window>,
    /// To be unmapped by the worker, for that takes long.
    spent: Option<Window>,
}

impl WindowDesk {
    /// Makes the window that is wanted, if one is; the reason if it could not be made. What it allocated then is for the
    /// writer to give back.
    pub(crate) fn prepare(&self, log: &LogFile) -> Option<NotMapped> {
        let mut desk = self.desk.lock();
        desk.spent = None;
        let (start, end) = desk.wanted.take()?;
        match make(log, start, end) {
            Ok(window) => {
                desk.ready = Some(window);
                self.is_ready.store(true, Ordering::Release);
                None
            }
            Err(reason) => Some(reason),
        }
    }

    /// Waits for the worker, and leaves it nothing to do.
    fn clear(&self) {
        let mut desk = self.desk.lock();
        *desk = Desk::default();
        self.is_ready.store(false, Ordering::Release);
    }
}

/// Room first, so that a full disk is an error of the allocation and not of a store (rules 11, 21).
fn make(log: &LogFile, start: Position, end: Position) -> Result<Window, NotMapped> {
    let file = log.file();
    let refused = |operation| {
        move |error: std::io::Error| match Error::io(operation, log.path(), &error) {
            Error::StorageFull { .. } => NotMapped::NoRoom,
            _ => NotMapped::Window { operation },
        }
    };
    retry(|| file.allocate(start, end)).map_err(refused(IoOp::Allocate))?;
    if file.shares_blocks(start, end).map_err(refused(IoOp::Inspect))? {
        return Err(NotMapped::SharedBlocks);
    }
    let window = file.map_window(start, end).map_err(refused(IoOp::Map))?;
    window.populate().map_err(refused(IoOp::Map))?;
    Ok(window)
}

/// The writer's side.
#[derive(Debug)]
pub(super) struct MappedTail {
    desk: Arc<WindowDesk>,
    window: Option<Window>,
    /// Where the window that was asked for last ends.
    asked_to: Position,
    /// How long the next one is to be.
    next_bytes: u64,
    /// Nothing is asked for below.
    not_before: Position,
    refused: Option<NotMapped>,
    /// The worker is to be told that something is wanted.
    has_order: bool,
}

impl Drop for MappedTail {
    fn drop(&mut self) {
        self.unmap();
    }
}

impl MappedTail {
    pub(super) fn new() -> MappedTail {
        MappedTail {
            desk: Arc::default(),
            window: None,
            asked_to: Position::ZERO,
            next_bytes: FIRST_WINDOW_BYTES,
            not_before: Position::ZERO,
            refused: None,
            has_order: false,
        }
    }

    pub(super) fn desk(&self) -> &Arc<WindowDesk> {
        &self.desk
    }

    /// Why nothing is mapped at present.
    pub(super) fn refused(&self) -> Option<NotMapped> {
        self.refused
    }

    /// Where the file may reach for the sake of windows.
    pub(super) fn asked_to(&self) -> Position {
        self.asked_to
    }

    /// The worker is to be told, once.
    pub(super) fn take_order(&mut self) -> bool {
        std::mem::take(&mut self.has_order)
    }

    /// The window that holds so many bytes at the log end, if it is at hand. Else the next one is asked for: at most
    /// `window_bytes` long, and not beyond `limit`.
    #[inline]
    pub(super) fn window(&mut self, at: Position, len: u64, window_bytes: u64, limit: u64) -> Option<&mut Window> {
        if !self.holds(at, len) {
            self.advance(at, window_bytes, limit);
        }
        if self.holds(at, len) { self.window.as_mut() } else { None }
    }

    #[inline]
    fn holds(&self, at: Position, len: u64) -> bool {
        self.window.as_ref().is_some_and(|window| window.holds(at, len))
    }

    #[cold]
    fn advance(&mut self, at: Position, window_bytes: u64, limit: u64) {
        // Whoever holds the desk is at work on it; a later append asks again.
        let Some(mut desk) = self.desk.desk.try_lock() else { return };
        if self.desk.is_ready.swap(false, Ordering::Acquire)
            && let Some(ready) = desk.ready.take()
        {
            assert!(self.window.as_ref().is_none_or(|old| old.end() <= ready.start()), "windows go upwards");
            self.refused = None;
            desk.spent = self.window.replace(ready);
            // For the old one's sake, if there is no next.
            self.has_order |= desk.spent.is_some();
        }
        let start = self.window.as_ref().map_or(at, |window| at.max(window.end()));
        let bytes = self.next_bytes.min(window_bytes);
        let end = start.value().saturating_add(bytes).next_multiple_of(PAGE_BYTES).min(limit);
        if start >= self.asked_to && start >= self.not_before && start.value() < end {
            self.asked_to = Position::new(end);
            self.next_bytes = self.next_bytes.saturating_mul(2).min(window_bytes.max(FIRST_WINDOW_BYTES));
            self.has_order = true;
            desk.wanted = Some((start, self.asked_to));
        }
    }

    /// The worker could not make a window. Returns up to where the file is still needed: what lies behind may be given back.
    pub(super) fn note_refusal(&mut self, reason: NotMapped, at: Position) -> Position {
        self.refused = Some(reason);
        self.not_before = match reason {
            NotMapped::NoRoom => at + RETRY_BYTES,
            _ => Position::new(u64::MAX),
        };
        self.asked_to = self.asked_to.min(at.max(self.end()));
        at.max(self.end())
    }

    fn end(&self) -> Position {
        self.window.as_ref().map_or(Position::ZERO, Window::end)
    }

    /// Leaves the file without a window, and without one in the making: from here on it may be cut. What is appended later
    /// asks anew.
    pub(super) fn unmap(&mut self) -> Option<Window> {
        self.desk.clear();
        self.asked_to = Position::ZERO;
        self.next_bytes = FIRST_WINDOW_BYTES;
        self.window.take()
    }
}
