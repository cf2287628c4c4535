//! The mapped tail of the active segment: the window that appends are stored into, and the desk at which the next
//! ones are laid ready.
//!
//! It knows no batch. The steps: the writer, running out of window, leaves word at the desk which parts it wants next; a
//! thread of its own allocates them, fills them with zeros, maps and touches them, under a lock that no append takes; the
//! writer picks them up at later appends and leaves the old ones to be unmapped. What finds no window goes by a positioned
//! write, which waits for nothing but zeros that are being written to its very place. Invariants it owns: no zeros are
//! written over what was appended; no window of a file is left, and none is being made, when the writer cuts into it (rule
//! 22); windows go upwards only (rule 11b).

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::config::NotMapped;
use crate::error::{Error, IoOp};
use crate::fs::{File, Window, retry, write_all_at};
use crate::offset::Position;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex};

use super::file::LogFile;

/// Windows end at a multiple of this, so that no page lies in two of them.
const PAGE_BYTES: u64 = 4096;
/// The smallest window, in bytes, unless less is configured. So appends are soon stored into a map, and a small log does not
/// take room for a large one.
const SMALLEST_WINDOW_BYTES: u64 = 256 << 10;
/// A window is this part of what was appended since the last sync, up to what is configured. For a sync writes pages that
/// were touched ahead as if they were filled, and the next store into each of them takes a fault again (rule 21a).
const PART_OF_UNSYNCED: u64 = 8;
/// After a window found no room, so much is appended by other means before the next is asked for, in bytes.
const RETRY_BYTES: u64 = 1 << 20;

/// So much of a window is filled with zeros at once: this part of what a sync has to cover, from the least to the most. The
/// kernel keeps what one call brings in one large page, where it can, at a fraction of the cost of as many small ones; but
/// a sync writes a large page as a whole, however little of it was appended to (rule 21a).
const PIECE_OF_UNSYNCED: u64 = 16;
const LEAST_PIECE_BYTES: u64 = PAGE_BYTES;
const MOST_PIECE_BYTES: u64 = 64 << 10;

/// How many windows lie ready, or are being made, behind the one in use: one that lasts while the next is made, which now
/// and then takes as long as two last.
const AHEAD: usize = 2;

/// Where writer and maker of windows meet. One for each open `.log` that is appended to.
#[derive(Debug, Default)]
pub(crate) struct WindowDesk {
    /// Held while windows are made. The writer waits for it only before it cuts the file. Locked before the desk.
    making: Mutex<()>,
    /// Held for moments.
    desk: Mutex<Desk>,
    /// A piece was filled. Only the writer waits for it.
    filled: Condvar,
    /// There is a window to be picked up.
    is_ready: AtomicBool,
}

/// All of it in the order of the file.
#[derive(Debug, Default)]
struct Desk {
    wanted: VecDeque<Wanted>,
    is_making: bool,
    /// Zeros are being written here.
    filling: Option<Piece>,
    /// What lies below was written, or is about to be, by a positioned write.
    written_to: Position,
    ready: VecDeque<Window>,
    /// To be unmapped by whoever makes windows, for that takes long.
    spent: Vec<Window>,
}

/// A part of the file to make a window of.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    start: Position,
    end: Position,
    /// It is filled with zeros so many at once.
    piece_bytes: u64,
}

/// A part of a window.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: Position,
    end: Position,
}

impl Desk {
    fn ahead(&self) -> usize {
        self.wanted.len() + usize::from(self.is_making) + self.ready.len()
    }
}

impl WindowDesk {
    /// Makes the windows that are wanted; the reason if one could not be made. What it allocated then is for the writer to
    /// give back.
    pub(crate) fn prepare(&self, log: &LogFile) -> Option<NotMapped> {
        let _making = self.making.lock();
        loop {
            let mut desk = self.desk.lock();
            let (wanted, spent) = (desk.wanted.pop_front(), std::mem::take(&mut desk.spent));
            desk.is_making = wanted.is_some();
            drop(desk);
            drop(spent);
            let made = self.make(log, wanted?);
            let mut desk = self.desk.lock();
            desk.is_making = false;
            match made {
                Ok(window) => {
                    desk.ready.push_back(window);
                    self.is_ready.store(true, Ordering::Release);
                }
                Err(reason) => {
                    desk.wanted.clear();
                    return Some(reason);
                }
            }
        }
    }

    /// Room first, so that a full disk is an error of the allocation and not of a store (rules 11, 21).
    fn make(&self, log: &LogFile, wanted: Wanted) -> Result<Window, NotMapped> {
        let Wanted { start, end, .. } = wanted;
        let file = log.file();
        let refused = |operation| {
            move |error: io::Error| match Error::io(operation, log.path(), &error) {
                Error::StorageFull { .. } => NotMapped::NoRoom,
                _ => NotMapped::Window { operation },
            }
        };
        retry(|| file.allocate(start, end)).map_err(refused(IoOp::Allocate))?;
        if file.shares_blocks(start, end).map_err(refused(IoOp::Inspect))? {
            return Err(NotMapped::SharedBlocks);
        }
        self.fill(file, wanted).map_err(refused(IoOp::Write))?;
        let window = file.map_window(start, end).map_err(refused(IoOp::Map))?;
        window.populate().map_err(refused(IoOp::Map))?;
        Ok(window)
    }

    /// Writes zeros where there are none but in what the file system promises, so that its pages are in memory before they are
    /// touched: all of them but what appends wrote to, or may be writing to.
    fn fill(&self, file: &File, wanted: Wanted) -> io::Result<()> {
        let zeros = vec![0; usize::try_from(wanted.piece_bytes).expect("a piece is small")];
        let mut at = wanted.start;
        while let Some(claim) = self.claim(at, wanted) {
            let Piece { start, end } = claim.piece;
            let length = usize::try_from(end - start).expect("a piece is small");
            write_all_at(file, &zeros[..length], start).map_err(|partial| partial.error)?;
            at = end;
        }
        Ok(())
    }

    /// The next piece of a window from a place on, which nobody else writes to as long as the claim lives.
    fn claim(&self, at: Position, wanted: Wanted) -> Option<Claim<'_>> {
        let mut desk = self.desk.lock();
        let start = at.max(desk.written_to);
        let end = Position::new((start.value() + 1).next_multiple_of(wanted.piece_bytes)).min(wanted.end);
        desk.filling = (start < end).then_some(Piece { start, end });
        desk.filling.map(|piece| Claim { desk: self, piece })
    }

    /// The writer is going to write between two places. When this returns, nobody writes zeros there any more.
    fn keep_off(&self, start: Position, end: Position) {
        let mut desk = self.desk.lock();
        desk.written_to = end;
        while desk.filling.is_some_and(|piece| piece.start < end && start < piece.end) {
            self.filled.wait(&mut desk);
        }
    }

    /// Waits until nothing is being made, and leaves nothing to do.
    fn clear(&self) {
        self.desk.lock().wanted.clear();
        let _making = self.making.lock();
        let mut desk = self.desk.lock();
        *desk = Desk::default();
        self.is_ready.store(false, Ordering::Release);
    }

    /// Waits until nothing is being made, forgets what is wanted, and says where the last window that lies ready ends.
    fn stop_asking(&self) -> Option<Position> {
        self.desk.lock().wanted.clear();
        let _making = self.making.lock();
        let mut desk = self.desk.lock();
        desk.wanted.clear();
        desk.ready.back().map(Window::end)
    }
}

/// A piece that is being filled. It ends also where a panic ends the filling, for the writer may wait for it.
struct Claim<'a> {
    desk: &'a WindowDesk,
    piece: Piece,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.desk.desk.lock().filling = None;
        self.desk.filled.notify_one();
    }
}

/// The writer's side.
#[derive(Debug)]
pub(super) struct MappedTail {
    desk: Arc<WindowDesk>,
    window: Option<Window>,
    /// Where the window that was asked for last ends.
    asked_to: Position,
    /// What lies below was covered by a sync, or is about to be.
    synced_to: Position,
    /// So much was covered by the last sync.
    last_span: u64,
    /// Nothing is asked for below.
    not_before: Position,
    refused: Option<NotMapped>,
    /// The maker of windows is to be told that something is wanted.
    has_order: bool,
}

impl Drop for MappedTail {
    fn drop(&mut self) {
        self.unmap();
    }
}

impl MappedTail {
    /// The tail of a segment of which nothing is mapped yet, and everything below a position is durable.
    pub(super) fn new(synced_to: Position) -> MappedTail {
        MappedTail {
            desk: Arc::default(),
            window: None,
            asked_to: Position::ZERO,
            synced_to,
            // How often syncs come will turn out.
            last_span: SMALLEST_WINDOW_BYTES,
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

    /// A sync is to cover what lies below a position.
    pub(super) fn note_sync(&mut self, at: Position) {
        self.last_span = at.value().saturating_sub(self.synced_to.value());
        self.synced_to = at;
    }

    /// Where the file may reach for the sake of windows.
    pub(super) fn asked_to(&self) -> Position {
        self.asked_to
    }

    /// The maker of windows is to be told, once.
    pub(super) fn take_order(&mut self) -> bool {
        std::mem::take(&mut self.has_order)
    }

    /// The window that holds so many bytes at the log end, if it is at hand. Else the next one is asked for: at most
    /// `window_bytes` long, and not beyond `limit`.
    #[inline]
    pub(super) fn window(&mut self, at: Position, len: u64, window_bytes: u64, limit: u64) -> Option<&mut Window> {
        if !self.holds(at, len) {
            self.advance(at, len, window_bytes, limit);
        }
        if self.holds(at, len) { self.window.as_mut() } else { None }
    }

    #[inline]
    fn holds(&self, at: Position, len: u64) -> bool {
        self.window.as_ref().is_some_and(|window| window.holds(at, len))
    }

    #[cold]
    fn advance(&mut self, at: Position, len: u64, window_bytes: u64, limit: u64) {
        // Whoever holds the desk is gone in a moment; a later append asks again.
        let Some(mut desk) = self.desk.desk.try_lock() else { return };
        if self.desk.is_ready.swap(false, Ordering::Acquire) {
            self.refused = None;
            // One that does not hold this batch holds no later one either, unless all of it lies behind.
            while self.window.as_ref().is_none_or(|window| window.start() <= at && !window.holds(at, len))
                && let Some(ready) = desk.ready.pop_front()
            {
                assert!(self.end() <= ready.start(), "windows go upwards");
                desk.spent.extend(self.window.replace(ready));
            }
            self.desk.is_ready.store(!desk.ready.is_empty(), Ordering::Release);
            // For the old ones' sake, if there is no next.
            self.has_order |= !desk.spent.is_empty();
        }
        let most = if self.window.is_some() { AHEAD } else { 1 };
        let unsynced = at.value().saturating_sub(self.synced_to.value());
        let mut start = at.max(self.end()).max(self.asked_to);
        while desk.ahead() < most && start >= self.not_before {
            let bytes = (unsynced / PART_OF_UNSYNCED).max(SMALLEST_WINDOW_BYTES).min(window_bytes);
            let end = Position::new(start.value().saturating_add(bytes).next_multiple_of(PAGE_BYTES).min(limit));
            if end <= start {
                break;
            }
            desk.wanted.push_back(Wanted { start, end, piece_bytes: piece_bytes(unsynced.max(self.last_span)) });
            self.asked_to = end;
            self.has_order = true;
            start = self.asked_to;
        }
    }

    /// What is appended between two places goes by a positioned write.
    pub(super) fn keep_off(&self, start: Position, end: Position) {
        self.desk.keep_off(start, end);
    }

    /// A window could not be made. Returns up to where the file is still needed: what lies behind may be given back.
    pub(super) fn note_refusal(&mut self, reason: NotMapped, at: Position) -> Position {
        let ready_to = self.desk.stop_asking().unwrap_or(Position::ZERO);
        self.refused = Some(reason);
        self.not_before = match reason {
            NotMapped::NoRoom => at + RETRY_BYTES,
            _ => Position::new(u64::MAX),
        };
        let needed = at.max(self.end()).max(ready_to);
        self.asked_to = self.asked_to.min(needed);
        needed
    }

    fn end(&self) -> Position {
        self.window.as_ref().map_or(Position::ZERO, Window::end)
    }

    /// Leaves the file without a window, and without one in the making: from here on it may be cut. What is appended later
    /// asks anew.
    pub(super) fn unmap(&mut self) -> Option<Window> {
        self.desk.clear();
        self.asked_to = Position::ZERO;
        self.window.take()
    }
}

/// How much is filled with zeros at once, where a sync has to cover so many bytes.
fn piece_bytes(span: u64) -> u64 {
    let part = (span / PIECE_OF_UNSYNCED).clamp(LEAST_PIECE_BYTES, MOST_PIECE_BYTES);
    1 << part.ilog2()
}
