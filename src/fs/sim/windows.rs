//! Writable maps of simulated files.
//!
//! The owner of a window is lent a copy of its bytes; what he stores there becomes everybody's when he announces it. So
//! a store that is never announced, which on the real half would be seen and written back all the same, is told apart
//! and fails the test. So do a store without room and one behind the end of the file: both are SIGBUS on the real half.
//! The invariant it owns: what an announced store changed is pending until the file's next sync, like any write.

use std::io;

use nix::errno::Errno;

use super::content::Change;
use super::faults::CallKind;
use super::seam::{Handle, SimFile, narrow, wide};
use super::state::Target;
use crate::offset::Position;

/// A writable map of a part of a file of a simulated disk.
#[derive(Debug)]
pub(in crate::fs) struct SimWindow {
    inode: Handle,
    start: u64,
    end: u64,
    /// Where the bytes that were lent last lie in the file.
    lent_at: usize,
    lent: Vec<u8>,
    /// As they were when they were lent, but for what was announced.
    before: Vec<u8>,
}

impl SimFile {
    pub(in crate::fs) fn map_window(&self, start: Position, end: Position) -> io::Result<SimWindow> {
        let (mut state, _) = self.enter(CallKind::MapWindow, start.value(), end - start)?;
        self.expect_writable()?;
        state.inode_mut(self.id()).windows.push(narrow(end.value()));
        let inode = Handle::of_map(self.disk(), &mut state, self.id());
        let (start, end) = (start.value(), end.value());
        Ok(SimWindow { inode, start, end, lent_at: 0, lent: Vec::new(), before: Vec::new() })
    }
}

impl SimWindow {
    /// # Panics
    /// Where the real half is killed by SIGBUS: behind the end of the file, and where it has no room.
    pub(in crate::fs) fn bytes_mut(&mut self, at: Position, len: usize) -> &mut [u8] {
        self.expect_announced();
        let first = narrow(at.value());
        let mut state = self.inode.disk().state();
        if !state.is_off {
            let has_room = state.take_room_to_store(self.inode.id(), at.value(), wide(len));
            assert!(has_room, "SIGBUS: a store of {len} bytes at {at} where a mapped file has no room (rule 21)");
        }
        let found = state.content(self.inode.id()).visible.get(first..first + len);
        let found = found.expect("SIGBUS: a store behind the end of a mapped file (rule 21)");
        self.lent_at = first;
        self.lent.clear();
        self.lent.extend_from_slice(found);
        self.before.clone_from(&self.lent);
        &mut self.lent
    }

    /// A store is no call: nothing can fail it. But it is a change, in the middle of which the power or the process can
    /// end; what comes behind that goes into memory that nobody sees.
    pub(in crate::fs) fn wrote(&mut self, at: Position, len: usize) {
        let at = narrow(at.value());
        let first = at.checked_sub(self.lent_at).expect("a store below what was lent");
        let bytes = self.lent.get(first..first + len).expect("a store beyond what was lent").to_vec();
        self.before[first..first + len].copy_from_slice(&bytes);
        let mut state = self.inode.disk().state();
        let was_on = !state.is_off;
        state.stores += u64::from(was_on && !state.orphans.contains(&self.inode.id()));
        let (from, to) = if state.enter_store() {
            (0, len)
        } else if was_on {
            state.draw_part(len)
        } else {
            return;
        };
        if from < to {
            let (at, bytes) = (at + from, bytes[from..to].to_vec());
            state.content_mut(self.inode.id()).write(at, &bytes);
            state.note(self.inode.id(), || Change::Store { at, bytes });
        }
    }

    /// Takes the room that the stores into the window would ask for.
    pub(in crate::fs) fn populate(&self) -> io::Result<()> {
        let mut state = self.inode.disk().state();
        let (at, len) = (self.start, self.end - self.start);
        state.enter(CallKind::PopulateWindow, Target::Inode(self.inode.id()), at, len)?;
        let reached = state.take_room_to_write(self.inode.id(), at, len).map_err(|_| Errno::EFAULT)?;
        if reached < len { Err(Errno::EFAULT.into()) } else { Ok(()) }
    }

    fn expect_announced(&self) {
        let changed = self.lent.iter().zip(&self.before).position(|(now, before)| now != before);
        if let Some(index) = changed {
            panic!("a store at {} was never announced by `wrote`", self.lent_at + index);
        }
    }
}

impl Drop for SimWindow {
    fn drop(&mut self) {
        let mut state = self.inode.disk().state();
        let windows = &mut state.inode_mut(self.inode.id()).windows;
        let index = windows.iter().position(|end| wide(*end) == self.end).expect("a window is noted while it lives");
        windows.swap_remove(index);
        drop(state);
        if !std::thread::panicking() {
            self.expect_announced();
        }
    }
}
