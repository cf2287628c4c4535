//! What a power cut could take at this moment, and changes that no careful program makes.
//!
//! Tests ask here what an acknowledgement may rest on: a file that is at risk is nothing to rest on. The invariant it
//! owns: what is not named here is the same in every state that a crash can leave.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::SimDisk;
use super::names::{InodeId, NameChange, Place, ROOT};
use super::state::{Node, State};

/// Why a path is at risk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Risk {
    /// What it leads to could be without this name, or without one of those above it.
    Name,
    /// Its bytes or its length could be others.
    Content,
    /// It is not seen, and could come back.
    Return,
}

impl SimDisk {
    /// Every path that a power cut at this moment could leave otherwise than it is seen, in order.
    pub(crate) fn at_risk(&self) -> Vec<(PathBuf, Risk)> {
        self.state().at_risk()
    }

    /// Fails the test from now on when a file takes the name of another before its content is durable (rule 14), but
    /// for names that end in one of `exempt`, of which the test knows that nobody trusts them. Goes over to the disk after
    /// a crash.
    pub(crate) fn forbid_unsynced_replacements(&self, exempt: &'static [&'static str]) {
        self.state().unsynced_replacements = Some(exempt);
    }
}

impl State {
    fn at_risk(&self) -> Vec<(PathBuf, Risk)> {
        let mut found = Vec::new();
        let mut unvisited: Vec<(PathBuf, InodeId, bool)> = vec![(PathBuf::from("/"), ROOT, true)];
        while let Some((path, inode, is_durable)) = unvisited.pop() {
            if !is_durable {
                found.push((path.clone(), Risk::Name));
            }
            match &self.inode(inode).node {
                Node::File(content) if content.is_at_risk() => found.push((path, Risk::Content)),
                Node::File(_) => {}
                Node::Directory => {
                    for (name, child) in self.visible.names(inode) {
                        let stays = is_durable && self.is_settled(inode, name, child);
                        unvisited.push((path.join(name), child, stays));
                    }
                    for (name, child) in self.durable.names(inode) {
                        if self.visible.find(inode, name) != Some(child) {
                            found.push((path.join(name), Risk::Return));
                        }
                    }
                }
            }
        }
        for place in self.pending.iter().flat_map(|pending| pending.change.places()) {
            if self.visible.find(place.dir, &place.name).is_none() {
                found.push((self.path_of(place.dir).join(&place.name), Risk::Return));
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// Whether a name is durable, and no pending change could take it away.
    fn is_settled(&self, dir: InodeId, name: &OsString, inode: InodeId) -> bool {
        let is_this = |place: &Place| place.dir == dir && place.name == *name;
        let touches = |change: &NameChange| change.inode() == inode || change.places().into_iter().any(is_this);
        let touched = self.pending.iter().any(|pending| touches(&pending.change));
        self.durable.find(dir, name) == Some(inode) && !touched
    }

    /// # Panics
    /// When a rename would replace a file by one that a power cut could leave empty, and that was forbidden.
    pub(super) fn expect_synced_replacement(&self, inode: InodeId, replaced: Option<InodeId>, to: &OsStr) {
        let (Some(exempt), Node::File(content)) = (self.unsynced_replacements, &self.inode(inode).node) else { return };
        let is_exempt = || exempt.iter().any(|ending| to.as_encoded_bytes().ends_with(ending.as_bytes()));
        if replaced.is_some() && content.is_at_risk() && !is_exempt() {
            panic!("{} was replaced by a file that is not synced (rule 14)", to.display());
        }
    }
}
