//! The simulated disk itself: inodes, names, room, clock and power, behind one lock.
//!
//! It knows no handle of the seam and counts no call. The invariants it owns: an inode lives while a name that is seen,
//! durable or pending, or a handle refers to it; and its room is given back when the last name and handle are gone.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

use super::content::{Change, Content, PAGE_BYTES};
use super::crash::{CrashStrength, Shape};
use super::faults::{CallKind, Monitor, Verdict};
use super::names::{InodeId, NameChange, Place, ROOT, Tree};
use super::random::Random;
use crate::fs::{FileSystem, real};
use crate::offset::Timestamp;

/// What a name, a file's inode or a directory's takes from the room.
pub(super) const NAME_BYTES: u64 = 512;

/// A simulated file lives in memory; what is longer is refused as the real disk refuses a file that is too large.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 32;

#[derive(Debug)]
pub(super) struct State {
    pub(super) origin: Origin,
    /// Without history nothing is ever pending, so that memory holds the files once and nothing else.
    pub(super) keeps_history: bool,
    pub(super) is_off: bool,
    /// Changing calls that still work before the power goes, if that was asked for.
    pub(super) calls_left: Option<u64>,
    pub(super) monitor: Monitor,
    /// The clock that the test moves, or none where the machine's is used.
    pub(super) manual_clock: Option<Clock>,
    /// Answers `random` of the seam.
    pub(super) random: Random,
    /// Decides crashes and failed syncs.
    pub(super) choices: Random,
    pub(super) failed_syncs_keep_some: bool,
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    /// Inodes without a name that is seen.
    pub(super) orphans: BTreeSet<InodeId>,
    pub(super) visible: Tree,
    pub(super) durable: Tree,
    pub(super) pending: Vec<PendingName>,
    pub(super) free_bytes: Option<u64>,
    /// Each first change of a page after a sync asks for room.
    pub(super) copy_on_write: bool,
    /// Whether a file must be synced before it replaces another, and the endings of names that are exempt.
    pub(super) unsynced_replacements: Option<&'static [&'static str]>,
    /// Descriptors that are open, and how many may be.
    pub(super) descriptors: u64,
    pub(super) max_descriptors: Option<u64>,
    /// The longest time that a call takes.
    pub(super) latency: Duration,
    pub(super) file_system: FileSystem,
    /// Every file has a copy that shares its blocks.
    pub(super) shares_blocks: bool,
    /// How many threads run at once, as far as anybody asks.
    pub(super) processors: usize,
    pub(super) next_inode: InodeId,
    pub(super) next_sequence: u64,
    /// Announced stores into maps of files that have a name.
    pub(super) stores: u64,
}

/// Where a disk comes from: printed when a test fails.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) seed: u64,
    /// The crashes that lie behind it, each with what it kept.
    pub(super) crashes: Vec<(CrashStrength, Choice)>,
}

/// How it was decided what a crash keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// There was nothing to decide.
    Everything,
    /// By the test, or by a rule that it knows.
    Given,
    /// By a shape, its details from a seed.
    Shaped { shape: Shape, seed: u64 },
    /// As the combination of this number, from 0.
    Numbered(u64),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) wall: Timestamp,
    pub(super) monotonic: Duration,
}

impl Clock {
    /// Lets time pass on both clocks.
    pub(super) fn advance(&mut self, time: Duration) {
        let millis =
            |time: Duration| i64::try_from(time.as_millis()).expect("a test lasts less than 2^63 milliseconds");
        // By the difference, so that many short times are not lost to the wall clock's milliseconds.
        let passed = millis(self.monotonic + time) - millis(self.monotonic);
        self.wall = Timestamp::from_millis(self.wall.as_millis().saturating_add(passed));
        self.monotonic += time;
    }
}

#[derive(Clone, Debug)]
pub(super) struct PendingName {
    pub(super) sequence: u64,
    pub(super) change: NameChange,
    /// A sync of a file in the directory has carried it along: an ordered power cut keeps it.
    pub(super) carried: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) node: Node,
    /// The name that is seen, or was last; `None` for the root.
    pub(super) place: Option<Place>,
    pub(super) handles: u32,
    /// Where writable maps of it end.
    pub(super) windows: Vec<usize>,
    pub(super) locks: Locks,
    pub(super) bytes_read: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    File(Content),
    Directory,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Locks {
    pub(super) exclusive: bool,
    pub(super) shared: u32,
}

impl Inode {
    pub(super) fn new(node: Node, place: Option<Place>) -> Inode {
        Inode { node, place, handles: 0, windows: Vec::new(), locks: Locks::default(), bytes_read: 0 }
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self.node, Node::Directory)
    }

    pub(super) fn charge(&self) -> u64 {
        State::charge_of(&self.node)
    }
}

/// What a call is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    Path(&'a Path),
    Inode(InodeId),
}

impl State {
    /// The start of every call: refuses it if the power is off or a fault strikes, else says how much of it may happen.
    pub(super) fn enter(&mut self, call: CallKind, target: Target<'_>, at: u64, len: u64) -> io::Result<Verdict> {
        if self.is_off {
            return Err(Errno::EIO.into());
        }
        self.let_call_take_time();
        if call.is_change() && !self.lets_change() {
            return Err(Errno::EIO.into());
        }
        let path = match target {
            _ if !self.monitor.wants_path() => PathBuf::new(),
            Target::Path(path) => normal(path),
            Target::Inode(inode) => self.path_of(inode),
        };
        self.monitor.admit(call, &path, at, len)
    }

    fn let_call_take_time(&mut self) {
        let most = u64::try_from(self.latency.as_nanos()).unwrap_or(u64::MAX);
        if most > 0 && self.manual_clock.is_some() {
            let taken = Duration::from_nanos(self.monitor.draw_below(most));
            self.manual_clock_mut().advance(taken);
        }
    }

    /// Whether another descriptor can be opened.
    pub(super) fn expect_descriptor(&self) -> io::Result<()> {
        match self.max_descriptors {
            Some(most) if self.descriptors >= most => Err(Errno::EMFILE.into()),
            _ => Ok(()),
        }
    }

    /// What of a store the memory had when the process ended in the middle of it: its beginning or its end.
    pub(super) fn draw_part(&mut self, len: usize) -> (usize, usize) {
        let cut = self.draw_up_to(len);
        if self.choices.below(2) == 0 { (0, cut) } else { (cut, len) }
    }

    /// What of a write the page cache had when the process was killed in the middle of it: its first pages.
    pub(super) fn draw_written_pages(&mut self, at: u64, len: usize) -> usize {
        let first = usize::try_from(PAGE_BYTES - at % PAGE_BYTES).expect("a page fits memory");
        let page = usize::try_from(PAGE_BYTES).expect("a page fits memory");
        match len.checked_sub(first + 1) {
            None => 0,
            Some(rest) => match self.draw_up_to(1 + rest / page) {
                0 => 0,
                pages => first + (pages - 1) * page,
            },
        }
    }

    fn draw_up_to(&mut self, most: usize) -> usize {
        let bound = u64::try_from(most).expect("a length in memory fits 64 bits") + 1;
        usize::try_from(self.choices.below(bound)).expect("no more than a length in memory")
    }

    /// Whether the power lasts for one more change.
    fn lets_change(&mut self) -> bool {
        if let Some(left) = &mut self.calls_left {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => self.is_off = true,
            }
        }
        !self.is_off
    }

    /// Whether a store into a map reaches the disk's memory.
    pub(super) fn enter_store(&mut self) -> bool {
        !self.is_off && self.lets_change()
    }

    pub(super) fn clock(&self) -> Clock {
        self.manual_clock.unwrap_or_else(|| Clock { wall: real::wall_clock(), monotonic: real::monotonic() })
    }

    pub(super) fn manual_clock_mut(&mut self) -> &mut Clock {
        self.manual_clock.as_mut().expect("a disk whose clock the test moves")
    }

    pub(super) fn path_of(&self, inode: InodeId) -> PathBuf {
        let mut names = Vec::new();
        let mut next = self.inodes.get(&inode).and_then(|inode| inode.place.as_ref());
        while let Some(place) = next {
            names.push(place.name.as_os_str());
            next = self.inodes.get(&place.dir).and_then(|dir| dir.place.as_ref());
        }
        std::iter::once(OsStr::new("/")).chain(names.into_iter().rev()).collect()
    }

    /// The place that a path names, whether or not something is there. The root has none.
    pub(super) fn place_of(&self, path: &Path) -> io::Result<Place> {
        let path = plain(path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::EISDIR.into());
        };
        let dir = self.directory(parent)?;
        Ok(Place { dir, name: name.to_owned() })
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<InodeId> {
        let mut inode = ROOT;
        for component in plain(path).components() {
            if let Component::Normal(name) = component {
                self.expect_directory(inode)?;
                inode = self.visible.find(inode, name).ok_or(Errno::ENOENT)?;
            }
        }
        Ok(inode)
    }

    pub(super) fn directory(&self, path: &Path) -> io::Result<InodeId> {
        let inode = self.find(path)?;
        self.expect_directory(inode)?;
        Ok(inode)
    }

    fn expect_directory(&self, inode: InodeId) -> io::Result<()> {
        if self.inode(inode).is_directory() { Ok(()) } else { Err(Errno::ENOTDIR.into()) }
    }

    pub(super) fn inode(&self, inode: InodeId) -> &Inode {
        self.inodes.get(&inode).expect("an inode lives while it is referred to")
    }

    pub(super) fn inode_mut(&mut self, inode: InodeId) -> &mut Inode {
        self.inodes.get_mut(&inode).expect("an inode lives while it is referred to")
    }

    pub(super) fn content(&self, inode: InodeId) -> &Content {
        match &self.inode(inode).node {
            Node::File(content) => content,
            Node::Directory => panic!("a handle to a directory"),
        }
    }

    pub(super) fn content_mut(&mut self, inode: InodeId) -> &mut Content {
        match &mut self.inode_mut(inode).node {
            Node::File(content) => content,
            Node::Directory => panic!("a handle to a directory"),
        }
    }

    /// Makes a file or directory under a free name.
    pub(super) fn create(&mut self, place: Place, node: Node) -> io::Result<InodeId> {
        if !self.take_room(NAME_BYTES) {
            return Err(Errno::ENOSPC.into());
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(inode, Inode::new(node, Some(place.clone())));
        self.change_names(NameChange::Link { place, inode });
        Ok(inode)
    }

    /// Removes a file's name.
    pub(super) fn unlink(&mut self, place: Place) -> io::Result<()> {
        let inode = self.visible.find(place.dir, &place.name).ok_or(Errno::ENOENT)?;
        if self.inode(inode).is_directory() {
            return Err(Errno::EISDIR.into());
        }
        self.change_names(NameChange::Unlink { place, inode });
        self.orphans.insert(inode);
        self.release(inode);
        Ok(())
    }

    /// What is at a path, made there if nothing is, and durable at once.
    pub(super) fn plant(&mut self, path: &Path, node: impl FnOnce() -> Node) -> InodeId {
        if let Ok(inode) = self.find(path) {
            return inode;
        }
        let place = self.place_of(path).expect("a place for what the test plants");
        let inode = self.create(place, node()).expect("room for what the test plants");
        self.settle_last_name();
        inode
    }

    /// Removes a file's name, durably at once.
    pub(super) fn uproot(&mut self, place: Place) -> io::Result<()> {
        self.unlink(place)?;
        self.settle_last_name();
        self.forget_unused();
        Ok(())
    }

    fn settle_last_name(&mut self) {
        if let Some(name) = self.pending.pop() {
            self.durable.apply(&name.change);
        }
    }

    pub(super) fn rename(&mut self, from: Place, to: Place) -> io::Result<()> {
        let inode = self.visible.find(from.dir, &from.name).ok_or(Errno::ENOENT)?;
        let replaced = self.visible.find(to.dir, &to.name);
        if replaced == Some(inode) {
            return Ok(());
        }
        if self.lies_within(to.dir, inode) {
            return Err(Errno::EINVAL.into());
        }
        if let Some(replaced) = replaced {
            match (self.inode(inode).is_directory(), self.inode(replaced).is_directory()) {
                _ if self.lies_within(from.dir, replaced) => return Err(Errno::ENOTEMPTY.into()),
                (false, true) => return Err(Errno::EISDIR.into()),
                (true, false) => return Err(Errno::ENOTDIR.into()),
                (true, true) if self.visible.names(replaced).next().is_some() => return Err(Errno::ENOTEMPTY.into()),
                _ => {}
            }
        }
        self.expect_synced_replacement(inode, replaced, &to.name);
        self.inode_mut(inode).place = Some(to.clone());
        self.change_names(NameChange::Rename { from, to, inode });
        if let Some(replaced) = replaced {
            self.orphans.insert(replaced);
            self.release(replaced);
        }
        Ok(())
    }

    fn lies_within(&self, mut dir: InodeId, ancestor: InodeId) -> bool {
        loop {
            if dir == ancestor {
                return true;
            }
            match &self.inode(dir).place {
                Some(place) => dir = place.dir,
                None => return false,
            }
        }
    }

    fn change_names(&mut self, change: NameChange) {
        self.visible.apply(&change);
        if self.keeps_history {
            let sequence = self.draw_sequence();
            self.pending.push(PendingName { sequence, change, carried: false });
        }
    }

    /// The number of the next change or sync: whoever finds it unchanged finds the disk unchanged.
    pub(super) fn draw_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence
    }

    /// Notes a change of content that was made visible.
    pub(super) fn note(&mut self, inode: InodeId, change: impl FnOnce() -> Change) {
        let now = self.clock().wall;
        let sequence = self.keeps_history.then(|| self.draw_sequence());
        let content = self.content_mut(inode);
        content.modified = now;
        if let Some(sequence) = sequence {
            content.note(sequence, change());
        }
    }

    pub(super) fn sync_data(&mut self, inode: InodeId) {
        self.draw_sequence();
        for stray in self.content_mut(inode).sync() {
            if let Some(Inode { node: Node::File(content), .. }) = self.inodes.get_mut(&stray.file) {
                content.overwrite_durable_sector(stray.sector, &stray.bytes);
            }
        }
        self.settle_copies(inode, 0);
        let makes_it = |name: &PendingName| name.change.makes(|made| made == inode);
        if let Some(last) = self.pending.iter().position(makes_it) {
            // The sync of a new file carries its name along, with all before it in that directory and the names of new
            // directories above: so ext4, xfs and btrfs do (rule 12).
            let dirs = BTreeSet::from(self.pending[last].change.dirs());
            for index in self.changes_before(last + 1, dirs, true) {
                self.pending[index].carried = true;
            }
        }
    }

    /// The pending changes below `end` in some directories, and those that they rest on: a rename across directories
    /// brings what came before it in the other one, and, if asked for, a name in a new directory that directory.
    fn changes_before(&self, end: usize, mut dirs: BTreeSet<InodeId>, with_makers: bool) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for (index, name) in self.pending[..end].iter().enumerate().rev() {
            let touches = name.change.dirs().iter().any(|dir| dirs.contains(dir));
            if touches || (with_makers && name.change.makes(|made| dirs.contains(&made))) {
                dirs.extend(name.change.dirs());
                found.insert(index);
            }
        }
        found
    }

    pub(super) fn fail_sync_data(&mut self, inode: InodeId) {
        self.draw_sequence();
        let kept = self.failed_syncs_keep_some.then(|| {
            let mut choices = self.choices.fork();
            let mut choose = |_: &super::crash::Atom, options| choices.below(options);
            self.content(inode).after_power_cut(CrashStrength::Strict, inode, &mut choose)
        });
        self.content_mut(inode).fail_sync(kept);
        self.settle_copies(inode, 0);
    }

    /// Makes the names in a directory durable, or, if the sync failed, loses what was to become durable.
    pub(super) fn settle_names(&mut self, dir: InodeId, kept: bool) {
        self.draw_sequence();
        let settled = self.changes_before(self.pending.len(), BTreeSet::from([dir]), false);
        for (index, name) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            if !settled.contains(&index) {
                self.pending.push(name);
            } else if kept {
                self.durable.apply(&name.change);
            }
        }
        self.forget_unused();
    }

    pub(super) fn close(&mut self, inode: InodeId) {
        let closed = self.inode_mut(inode);
        closed.handles -= 1;
        self.release(inode);
    }

    /// Gives back the room of an inode without names and handles.
    fn release(&mut self, inode: InodeId) {
        if self.orphans.contains(&inode) && self.inode(inode).handles == 0 {
            self.give_room(self.inode(inode).charge());
            self.forget_unused();
        }
    }

    /// Drops orphans that nobody can see again: a crash can bring one back for as long as a durable or pending name
    /// leads to it. A directory that goes takes its names along, and with them perhaps other orphans.
    pub(super) fn forget_unused(&mut self) {
        loop {
            let in_use = |inode: &InodeId| {
                self.inodes.get(inode).is_some_and(|inode| inode.handles > 0)
                    || self.durable.holds(*inode)
                    || self.pending.iter().any(|pending| pending.change.inode() == *inode)
            };
            let unused: Vec<InodeId> = self.orphans.iter().copied().filter(|inode| !in_use(inode)).collect();
            if unused.is_empty() {
                return;
            }
            for inode in &unused {
                self.orphans.remove(inode);
                self.inodes.remove(inode);
                self.durable.forget(*inode);
            }
            self.pending.retain(|pending| pending.change.dirs().iter().any(|dir| self.inodes.contains_key(dir)));
        }
    }
}

/// As [`normal`], but for what makes no difference to a walk through the components; most paths are plain as they come.
fn plain(path: &Path) -> Cow<'_, Path> {
    if path.is_absolute() && !path.components().any(|component| component == Component::ParentDir) {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(normal(path))
    }
}

/// The absolute path without `.` and `..`; a relative one starts at the root.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut names: Vec<OsString> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_owned()),
            Component::ParentDir => drop(names.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    std::iter::once(OsString::from("/")).chain(names).collect()
}
