//! The names of the simulated disk: which directory holds which name for which inode, and changes to that.
//!
//! The same tree serves what is seen, what is durable and what a power cut leaves. It knows no content. The invariant
//! it owns: no inode has two names, whichever changes were lost.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

pub(super) type InodeId = u64;

pub(super) const ROOT: InodeId = 0;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) dir: InodeId,
    pub(super) name: OsString,
}

/// A change to names. Each is kept or lost as a whole.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Link { place: Place, inode: InodeId },
    Unlink { place: Place, inode: InodeId },
    Rename { from: Place, to: Place, inode: InodeId },
}

impl NameChange {
    pub(super) fn inode(&self) -> InodeId {
        match self {
            NameChange::Link { inode, .. } | NameChange::Unlink { inode, .. } | NameChange::Rename { inode, .. } => {
                *inode
            }
        }
    }

    /// The places that it gives a name or takes one from; the same one twice for all but a rename.
    pub(super) fn places(&self) -> [&Place; 2] {
        match self {
            NameChange::Link { place, .. } | NameChange::Unlink { place, .. } => [place, place],
            NameChange::Rename { from, to, .. } => [from, to],
        }
    }

    /// The directories that it changes, as [`NameChange::places`].
    pub(super) fn dirs(&self) -> [InodeId; 2] {
        self.places().map(|place| place.dir)
    }

    /// Whether it gives a new inode its first name, and the inode is the one that is meant.
    pub(super) fn makes(&self, is_meant: impl FnOnce(InodeId) -> bool) -> bool {
        match self {
            NameChange::Link { inode, .. } => is_meant(*inode),
            NameChange::Unlink { .. } | NameChange::Rename { .. } => false,
        }
    }
}

/// Names by directory, and the one place of each inode. A directory without names need not be in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    dirs: BTreeMap<InodeId, BTreeMap<OsString, InodeId>>,
    places: BTreeMap<InodeId, Place>,
}

impl Tree {
    pub(super) fn find(&self, dir: InodeId, name: &OsStr) -> Option<InodeId> {
        self.dirs.get(&dir)?.get(name).copied()
    }

    pub(super) fn names(&self, dir: InodeId) -> impl Iterator<Item = (&OsString, InodeId)> {
        self.dirs.get(&dir).into_iter().flatten().map(|(name, inode)| (name, *inode))
    }

    /// Whether some name leads to the inode.
    pub(super) fn holds(&self, inode: InodeId) -> bool {
        self.places.contains_key(&inode)
    }

    /// Applies a change to a tree that may lack the changes before it: a rename moves its inode from wherever it is, or
    /// from nowhere; a name that leads to another inode is not removed; and a link that comes after the rename of its
    /// inode is outdated.
    pub(super) fn apply(&mut self, change: &NameChange) {
        match change {
            NameChange::Link { inode, .. } if self.holds(*inode) => {}
            NameChange::Link { place, inode } => self.insert(place, *inode),
            NameChange::Unlink { place, inode } if self.find(place.dir, &place.name) == Some(*inode) => {
                self.remove(place)
            }
            NameChange::Unlink { .. } => {}
            NameChange::Rename { to, inode, .. } => self.insert(to, *inode),
        }
    }

    /// Moves an inode to a place, from which what was there goes.
    fn insert(&mut self, place: &Place, inode: InodeId) {
        self.remove(place);
        if let Some(former) = self.places.insert(inode, place.clone())
            && let Some(names) = self.dirs.get_mut(&former.dir)
        {
            names.remove(&former.name);
        }
        self.dirs.entry(place.dir).or_default().insert(place.name.clone(), inode);
    }

    fn remove(&mut self, place: &Place) {
        if let Some(names) = self.dirs.get_mut(&place.dir)
            && let Some(inode) = names.remove(&place.name)
        {
            self.places.remove(&inode);
            if names.is_empty() {
                self.dirs.remove(&place.dir);
            }
        }
    }

    /// Drops the names in a directory that is gone.
    pub(super) fn forget(&mut self, dir: InodeId) {
        for inode in self.dirs.remove(&dir).unwrap_or_default().values() {
            self.places.remove(inode);
        }
    }

    /// Whether the change would need a name that is taken: a file is made only where there is none, so a disk that lost
    /// what freed the name cannot have kept its making.
    pub(super) fn excludes(&self, change: &NameChange) -> bool {
        match change {
            NameChange::Link { place, .. } => self.find(place.dir, &place.name).is_some(),
            NameChange::Unlink { .. } | NameChange::Rename { .. } => false,
        }
    }

    /// The inodes that names lead to from the root, with their places.
    pub(super) fn reachable(&self) -> Vec<(Place, InodeId)> {
        let mut found = Vec::new();
        let mut unvisited = vec![ROOT];
        while let Some(dir) = unvisited.pop() {
            for (name, inode) in self.names(dir) {
                found.push((Place { dir, name: name.clone() }, inode));
                unvisited.push(inode);
            }
        }
        found
    }
}
