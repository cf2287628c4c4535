//! The room of the simulated disk: who takes it, who gives it back, and what a disk that copies before it writes takes.
//!
//! On a plain disk the room below a file's furthest allocation or byte is its own. On a copy-on-write one an allocation
//! takes room as well, but keeps none for the writes into it: the first change of a page after each sync takes a page
//! more, which the next sync gives back (rules 11, 21). The invariant it owns: what is taken is free or used, and
//! nothing else.

use std::io;

use nix::errno::Errno;

use super::content::PAGE_BYTES;
use super::names::InodeId;
use super::state::{MAX_FILE_BYTES, Node, State};

impl State {
    pub(super) fn take_room(&mut self, bytes: u64) -> bool {
        match self.free_bytes {
            None => true,
            Some(free) => match free.checked_sub(bytes) {
                Some(left) => {
                    self.free_bytes = Some(left);
                    true
                }
                None => false,
            },
        }
    }

    pub(super) fn give_room(&mut self, bytes: u64) {
        self.free_bytes = self.free_bytes.map(|free| free.saturating_add(bytes));
    }

    /// The room taken by what can still be reached.
    pub(super) fn used_bytes(&self) -> u64 {
        let in_use = |(id, inode): &(&InodeId, &super::state::Inode)| inode.handles > 0 || !self.orphans.contains(id);
        self.inodes.iter().filter(in_use).map(|(_, inode)| inode.charge()).sum()
    }

    /// Takes the room that an allocation needs, and says how many of its bytes have it: at least one, or there is no
    /// space. What was taken before the room ran out stays taken, as the real disk leaves it.
    pub(super) fn take_room_to_allocate(&mut self, inode: InodeId, at: u64, len: u64) -> io::Result<u64> {
        let end = at.checked_add(len).filter(|end| *end <= MAX_FILE_BYTES).ok_or(Errno::EFBIG)?;
        let charged_to = self.content(inode).charged_to;
        let room_to = match self.free_bytes {
            Some(free) => end.min(charged_to.saturating_add(free)),
            None => end,
        };
        if room_to <= at {
            return Err(Errno::ENOSPC.into());
        }
        let needed = room_to.saturating_sub(charged_to);
        assert!(self.take_room(needed), "no more is taken than is free");
        self.content_mut(inode).charged_to = charged_to.max(room_to);
        Ok(room_to - at)
    }

    /// As [`State::take_room_to_allocate`], for bytes that are about to be changed.
    pub(super) fn take_room_to_write(&mut self, inode: InodeId, at: u64, len: u64) -> io::Result<u64> {
        let had = self.content(inode).charged_to;
        let allocated = self.take_room_to_allocate(inode, at, len)?;
        match self.copy_pages(inode, at, at + allocated, had) - at {
            0 => Err(Errno::ENOSPC.into()),
            bytes => Ok(bytes),
        }
    }

    /// Whether a store through a map has room, which it takes. Without it the real half is killed by SIGBUS.
    pub(super) fn take_room_to_store(&mut self, inode: InodeId, at: u64, len: u64) -> bool {
        let had = self.content(inode).charged_to;
        at + len <= had && self.copy_pages(inode, at, at + len, had) == at + len
    }

    /// Makes the pages of a range changeable, and says up to where there was room. What lies from `had` on is new, and
    /// has nothing to be copied.
    fn copy_pages(&mut self, inode: InodeId, at: u64, end: u64, had: u64) -> u64 {
        // Without history nothing is ever synced, and copies would pile up.
        if !self.copy_on_write || !self.keeps_history {
            return end;
        }
        for page in self.content(inode).pages_to_copy(at, end) {
            let beside = page * PAGE_BYTES < had;
            if beside && !self.take_room(PAGE_BYTES) {
                return at.max(page * PAGE_BYTES);
            }
            self.content_mut(inode).freshen(page, beside);
        }
        end
    }

    /// The copies of pages from one on are no longer needed beside what they replace: a sync has settled them, or they
    /// were cut off.
    pub(super) fn settle_copies(&mut self, inode: InodeId, from_page: u64) {
        let content = self.content_mut(inode);
        let before = content.copied_bytes();
        content.drop_copies_from(from_page);
        let freed = before - content.copied_bytes();
        self.give_room(freed);
    }

    /// Gives back what lies behind a file's new end.
    pub(super) fn cut_room(&mut self, inode: InodeId, len: u64) {
        let content = self.content_mut(inode);
        let freed = content.charged_to.saturating_sub(len);
        content.charged_to -= freed;
        self.give_room(freed);
        self.settle_copies(inode, len.div_ceil(PAGE_BYTES));
    }

    /// What an inode takes.
    pub(super) fn charge_of(node: &Node) -> u64 {
        match node {
            Node::File(content) => content.charged_to + content.copied_bytes() + super::state::NAME_BYTES,
            Node::Directory => super::state::NAME_BYTES,
        }
    }
}
