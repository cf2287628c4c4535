//! What is on the disk after the power comes back, and after the process alone has ended.
//!
//! It reads a disk's state and makes a new one; the old one it leaves as it was. The invariant it owns: what was synced
//! is in every image, and so is nothing that was never written.

use std::collections::{BTreeMap, BTreeSet};

use super::content::Content;
use super::crash::{Atom, Choose, CrashStrength, Part};
use super::faults::Monitor;
use super::names::{InodeId, ROOT, Tree};
use super::state::{Choice, Inode, Locks, Node, State};

impl State {
    /// The sequence numbers of all changes that a power cut may take, in order.
    pub(super) fn pending_sequences(&self) -> Vec<u64> {
        self.pending_changes().into_iter().map(|(sequence, _)| sequence).collect()
    }

    /// All changes that a power cut may take, in order, with the number of sectors that each has.
    pub(super) fn pending_changes(&self) -> Vec<(u64, usize)> {
        let contents = self.inodes.values().filter_map(|inode| match &inode.node {
            Node::File(content) => Some(content),
            Node::Directory => None,
        });
        let mut changes: Vec<(u64, usize)> = contents.flat_map(Content::pending_sectors).collect();
        changes.extend(self.pending.iter().map(|pending| (pending.sequence, 0)));
        changes.sort_unstable();
        changes
    }

    /// The disk as the next process finds it.
    pub(super) fn image(&self, strength: CrashStrength, choice: Choice, choose: Choose<'_>) -> State {
        let mut image = self.without_files();
        let choice = if strength == CrashStrength::Kill { Choice::Everything } else { choice };
        image.origin.crashes.push((strength, choice));
        if strength == CrashStrength::Kill || !self.keeps_history {
            image.inodes = self.inodes.clone();
            image.orphans = self.orphans.clone();
            image.visible = self.visible.clone();
            image.durable = self.durable.clone();
            image.pending = self.pending.clone();
            image.forget_processes();
        } else {
            let names = self.names_after_power_cut(strength, choose);
            image.inodes = self.inodes_after_power_cut(&names, strength, choose);
            image.visible = names.clone();
            image.durable = names;
        }
        let taken = self.used_bytes();
        image.free_bytes = self.free_bytes.map(|free| free.saturating_add(taken).saturating_sub(image.used_bytes()));
        image
    }

    /// A state of its own, with this one's settings, but without its counters, faults and the power cut it waits for.
    fn without_files(&self) -> State {
        // Drawn from a copy: making an image changes nothing in the disk that it is made of.
        let mut seeds = self.choices.clone();
        let mut monitor = Monitor::new(self.monitor.rates, seeds.fork());
        monitor.set_tracing(self.monitor.is_tracing());
        State {
            origin: self.origin.clone(),
            keeps_history: self.keeps_history,
            is_off: false,
            calls_left: None,
            monitor,
            manual_clock: self.manual_clock,
            random: seeds.fork(),
            choices: seeds.fork(),
            failed_syncs_keep_some: self.failed_syncs_keep_some,
            inodes: BTreeMap::new(),
            orphans: BTreeSet::new(),
            visible: Tree::default(),
            durable: Tree::default(),
            pending: Vec::new(),
            free_bytes: self.free_bytes,
            copy_on_write: self.copy_on_write,
            unsynced_replacements: self.unsynced_replacements,
            descriptors: 0,
            max_descriptors: self.max_descriptors,
            latency: self.latency,
            file_system: self.file_system,
            shares_blocks: self.shares_blocks,
            processors: self.processors,
            next_inode: self.next_inode,
            next_sequence: self.next_sequence,
            stores: 0,
        }
    }

    /// The end of every process: no handle and no lock is left, and files without a name go.
    fn forget_processes(&mut self) {
        for inode in self.inodes.values_mut() {
            inode.handles = 0;
            inode.windows.clear();
            inode.locks = Locks::default();
            inode.bytes_read = 0;
        }
        self.forget_unused();
    }

    pub(super) fn names_after_power_cut(&self, strength: CrashStrength, choose: Choose<'_>) -> Tree {
        let mut names = self.durable.clone();
        let mut cut_off = BTreeSet::new();
        for pending in &self.pending {
            let dirs = pending.change.dirs();
            let kept = match strength {
                CrashStrength::Ordered if pending.carried => true,
                _ if names.excludes(&pending.change) => false,
                CrashStrength::Ordered if dirs.iter().any(|dir| cut_off.contains(dir)) => false,
                _ => {
                    let inode = pending.change.inode();
                    choose(&Atom { sequence: pending.sequence, inode, part: Part::Name }, 2) == 1
                }
            };
            if kept {
                names.apply(&pending.change);
            } else {
                cut_off.extend(dirs);
            }
        }
        names
    }

    fn inodes_after_power_cut(
        &self,
        names: &Tree,
        strength: CrashStrength,
        choose: Choose<'_>,
    ) -> BTreeMap<InodeId, Inode> {
        let mut inodes = BTreeMap::from([(ROOT, Inode::new(Node::Directory, None))]);
        for (place, inode) in names.reachable() {
            let node = match &self.inode(inode).node {
                Node::File(content) => {
                    let bytes = content.after_power_cut(strength, inode, choose);
                    Node::File(Content::durable(bytes, content.modified))
                }
                Node::Directory => Node::Directory,
            };
            inodes.insert(inode, Inode::new(node, Some(place)));
        }
        inodes
    }
}
