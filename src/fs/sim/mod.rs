//! The simulated disk: files, names and locks in memory, with a page cache that a power cut takes.
//!
//! For this crate's tests and, under the feature `sim`, for logs in memory. Here stands what a test says to the disk;
//! the seam speaks to it through `seam` and `windows`. It does not model links of either kind. The invariant it owns: one
//! seed, one thread and the same calls give the same answers and the same crash states. A failing test prints the seed,
//! the switches, and every crash that the disk comes from with what it kept.
//!
//! # What is kept
//!
//! Of each file: the bytes that everybody sees, those that a power cut leaves, and in order the changes in between
//! (`content`): writes, stores through windows, lengths, allocations. Of the names the same (`names`), a change being a
//! link, an unlink or a rename. A sync of a file makes its changes durable, a sync of a directory those of its names. A
//! sync that fails forgets what it should have kept: it is seen, and no later sync keeps it (rule 17).
//!
//! # What a crash leaves
//!
//! [`CrashStrength`] says what is possible, `power` and `content` ask what happens, and the answers come from
//!
//! * a seed: [`SimDisk::crash`], with the extremes more often than chance would have them;
//! * the test: [`SimDisk::crash_keeping`], [`SimDisk::image`];
//! * every combination in turn: [`SimDisk::every_image`], or [`SimDisk::crash_states`], which gives each state once and
//!   falls back on the extremes and a sample where they are too many.
//!
//! | | data | lengths | names |
//! |---|---|---|---|
//! | *strict* | each sector of 512 bytes by itself; of a store also half a sector | each by itself | each by itself; a rename whole |
//! | *ordered* | as strict | in order, up to the first that was not kept | in order in each directory; a synced new file has its name |
//! | *kill* | all | all | all; nothing becomes durable by it |
//!
//! [`SimDisk::power_off_after`] ends a run before any changing call; a store or a long write that it ends in the middle
//! leaves a part. [`SimDisk::crash_at_every_call`] does so at each call in turn, and in the recovery from each of these,
//! as deep as asked. [`crash_states_seen`] counts them all.
//!
//! # What goes wrong on request
//!
//! * Calls: [`SimDisk::fail`] with a [`Fault`]: which kind of call or any, the how many-th, how many in a row or for ever,
//!   and the answer: EIO, ENOSPC, EINTR, EOPNOTSUPP, EMFILE, ENFILE, a short transfer, a flipped bit. [`SimDisk::set_rates`]
//!   strews short and interrupted transfers, [`SimDisk::fail_writeback`] loses changes in the background.
//! * Room: [`SimDisk::set_free_space`], and [`SimDisk::set_copy_on_write`] for disks on which an allocation keeps none.
//!   [`SimDisk::set_max_descriptors`] for descriptors.
//! * The device: a flipped bit, a sector of zeros, lost, misdirected or stale (`damage`).
//! * Time: [`SimDisk::set_latency`], [`SimDisk::advance`], [`SimDisk::jump_wall_clock`].
//!
//! # What fails the test by itself
//!
//! A change of bytes that were sent and not yet received (rule 31); a file shortened under a window (rule 22); a store
//! where a real one is SIGBUS (rule 21), or one that was never announced; a read behind the end of a mapped file; and,
//! where a test asks for it, a file replaced by an unsynced one (rule 14). [`SimDisk::at_risk`] names what an
//! acknowledgement must not rest on, [`SimDisk::trace`] the calls in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::fs::FileSystem;
use crate::offset::Timestamp;
use crate::sync::{Mutex, MutexGuard};

mod content;
mod crash;
mod damage;
mod digest;
mod faults;
mod names;
mod power;
mod random;
mod risk;
mod room;
mod seam;
mod state;
mod states;
#[cfg(test)]
mod tests;
mod windows;

pub(crate) use crash::{Atom, CrashStrength, Part};
pub(crate) use faults::{CallKind, Fault, FaultKind, Rates, TraceEntry};
pub(crate) use risk::Risk;
pub(super) use seam::*;
pub(crate) use states::{Bound, crash_states_seen};
pub(super) use windows::SimWindow;

use content::Content;
use crash::{Draw, Odometer};
use faults::Monitor;
use names::{ROOT, Tree};
use random::Random;
use state::{Choice, Clock, Inode, Node, Origin, State};

/// The wall clock of a new disk: 2023-11-14T22:13:20Z.
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A disk in memory. Clones are handles to the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk with a clock that only the test moves, without faults and with unlimited room.
    pub(crate) fn new(seed: u64) -> SimDisk {
        SimDisk::with(seed, true, Some(Clock { wall: START, monotonic: Duration::ZERO }))
    }

    /// An empty disk for logs that live no longer than the process: it remembers nothing but the files' content, so a
    /// crash takes nothing, and its clock is the machine's.
    pub(crate) fn in_memory(seed: u64) -> SimDisk {
        SimDisk::with(seed, false, None)
    }

    fn with(seed: u64, keeps_history: bool, clock: Option<Clock>) -> SimDisk {
        let mut seeds = Random::new(seed);
        SimDisk::holding(State {
            origin: Origin { seed, crashes: Vec::new() },
            keeps_history,
            is_off: false,
            calls_left: None,
            monitor: Monitor::new(Rates::default(), seeds.fork()),
            manual_clock: clock,
            random: seeds.fork(),
            choices: seeds.fork(),
            failed_syncs_keep_some: false,
            inodes: BTreeMap::from([(ROOT, Inode::new(Node::Directory, None))]),
            orphans: BTreeSet::new(),
            visible: Tree::default(),
            durable: Tree::default(),
            pending: Vec::new(),
            free_bytes: None,
            copy_on_write: false,
            unsynced_replacements: None,
            descriptors: 0,
            max_descriptors: None,
            latency: Duration::ZERO,
            file_system: FileSystem::Ext4,
            shares_blocks: false,
            processors: 1,
            next_inode: ROOT + 1,
            next_sequence: 0,
            stores: 0,
        })
    }

    fn holding(state: State) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Crashes.
impl SimDisk {
    /// Ends the process or cuts the power, and gives the disk as the next process finds it, drawn from the seed. This
    /// one refuses every call from now on, so that threads which outlive the crash can change nothing.
    pub(crate) fn crash(&self, strength: CrashStrength) -> SimDisk {
        self.power_off();
        let mut state = self.state();
        let seed = state.choices.next();
        let mut draw = Draw::new(Random::new(seed), &state.pending_sequences());
        let choice = Choice::Shaped { shape: draw.shape(), seed };
        let image = state.image(strength, choice, &mut |atom, options| draw.answer(atom, options));
        states::note_seen();
        SimDisk::holding(image)
    }

    /// As [`SimDisk::crash`], with the choice left to the caller: it is asked with the number of options, of which 0
    /// keeps nothing and the last everything. [`CrashStrength::Kill`] asks nothing.
    pub(crate) fn crash_keeping(&self, strength: CrashStrength, choose: impl FnMut(&Atom, u64) -> u64) -> SimDisk {
        self.power_off();
        self.image(strength, choose)
    }

    /// What a crash at this moment would leave, without one.
    pub(crate) fn image(&self, strength: CrashStrength, mut choose: impl FnMut(&Atom, u64) -> u64) -> SimDisk {
        states::note_seen();
        SimDisk::holding(self.state().image(strength, Choice::Given, &mut choose))
    }

    /// Every combination of answers that a crash at this moment could be given, some of which leave the same state.
    /// Their number grows as 2 to the power of the unsynced sectors; [`SimDisk::crash_states`] is bounded.
    pub(crate) fn every_image(&self, strength: CrashStrength) -> impl Iterator<Item = SimDisk> {
        let mut odometer = Some(Odometer::default());
        std::iter::from_fn(move || {
            let mut answers = odometer.take()?;
            let image = self.image(strength, |_, options| answers.answer(options));
            odometer = answers.turn().then_some(answers);
            Some(image)
        })
    }

    /// Refuses every call from now on.
    pub(crate) fn power_off(&self) {
        self.state().is_off = true;
    }

    /// Refuses every call once this many more changing calls have been let through.
    pub(crate) fn power_off_after(&self, changing_calls: u64) {
        self.state().calls_left = Some(changing_calls);
    }

    pub(crate) fn is_off(&self) -> bool {
        self.state().is_off
    }
}

/// Faults, room and time.
impl SimDisk {
    pub(crate) fn fail(&self, fault: Fault) {
        self.state().monitor.arm(fault);
    }

    /// Takes every fault away that was set by [`SimDisk::fail`].
    pub(crate) fn heal(&self) {
        self.state().monitor.disarm();
    }

    /// Lets transfers be short or interrupted now and then, as the seed says.
    pub(crate) fn set_rates(&self, rates: Rates) {
        self.state().monitor.rates = rates;
    }

    /// Whether a sync that fails may still have brought some of its changes to the disk. Without it, none.
    pub(crate) fn set_failed_syncs_keep_some(&self, keep_some: bool) {
        self.state().failed_syncs_keep_some = keep_some;
    }

    /// Loses what is not synced of a file's content as a background write that failed does: it stays visible, no sync
    /// keeps it any more, and the next one, through whichever handle, says EIO once.
    pub(crate) fn fail_writeback(&self, path: impl AsRef<Path>) {
        let mut state = self.state();
        let inode = state.find(path.as_ref()).expect("a file to lose changes of");
        state.fail_sync_data(inode);
        state.content_mut(inode).owes_error = true;
    }

    /// Limits the room for bytes, allocations and names to what is used now and this much.
    pub(crate) fn set_free_space(&self, bytes: u64) {
        self.state().free_bytes = Some(bytes);
    }

    /// Makes the disk one that copies before it writes, as btrfs is, and xfs where files share their blocks: the first
    /// change of each page after a sync asks for room, also where a file has been allocated. A write without it is told
    /// that the disk is full; a store through a window is a panic, where the real half is killed by SIGBUS.
    pub(crate) fn set_copy_on_write(&self, on: bool) {
        self.state().copy_on_write = on;
    }

    /// How many descriptors may be open at a time, locks included; what would open one more is told EMFILE.
    pub(crate) fn set_max_descriptors(&self, most: u64) {
        self.state().max_descriptors = Some(most);
    }

    /// What the disk says which file system it has; ext4 unless set.
    pub(crate) fn set_file_system(&self, file_system: FileSystem) {
        self.state().file_system = file_system;
    }

    /// Whether the files were copied by reflink, so that a store may need room that was taken before.
    pub(crate) fn set_shares_blocks(&self, shares_blocks: bool) {
        self.state().shares_blocks = shares_blocks;
    }

    /// How many threads the machine says it runs at once; one unless set, for the order of the calls of several is no two
    /// times the same.
    pub(crate) fn set_processors(&self, processors: usize) {
        self.state().processors = processors;
    }

    /// # Panics
    /// On a disk in memory, whose clock is the machine's; [`SimDisk::advance`] too.
    pub(crate) fn set_wall_clock(&self, now: Timestamp) {
        self.state().manual_clock_mut().wall = now;
    }

    /// Lets time pass on both clocks.
    pub(crate) fn advance(&self, time: Duration) {
        self.state().manual_clock_mut().advance(time);
    }

    /// Sets the wall clock forward or back, while the monotonic one goes on as if nothing had happened.
    pub(crate) fn jump_wall_clock(&self, millis: i64) {
        let mut state = self.state();
        let clock = state.manual_clock_mut();
        clock.wall = Timestamp::from_millis(clock.wall.as_millis().saturating_add(millis));
    }

    /// Lets each call take some time, up to this much, on both clocks. Nothing waits for it.
    pub(crate) fn set_latency(&self, most: Duration) {
        self.state().latency = most;
    }
}

/// What was asked of the disk.
impl SimDisk {
    pub(crate) fn calls(&self, call: CallKind) -> u64 {
        self.state().monitor.calls(call)
    }

    /// How many calls of all kinds, which is where [`Fault::of_any_call`] strikes.
    pub(crate) fn all_calls(&self) -> u64 {
        self.state().monitor.all_calls()
    }

    /// How many stores into maps of files with a name were announced. They are no calls, so that no count of calls has
    /// them.
    pub(crate) fn stores(&self) -> u64 {
        self.state().stores
    }

    /// Descriptors that are open.
    pub(crate) fn descriptors(&self) -> u64 {
        self.state().descriptors
    }

    /// Bytes that `read_at` gave out of a file: 0 for one that is not there.
    pub(crate) fn bytes_read(&self, path: impl AsRef<Path>) -> u64 {
        let state = self.state();
        state.find(path.as_ref()).map_or(0, |inode| state.inode(inode).bytes_read)
    }

    /// Starts all counts from 0 and the trace from nothing.
    pub(crate) fn reset_counters(&self) {
        let mut state = self.state();
        state.monitor.reset_counters();
        state.stores = 0;
        for inode in state.inodes.values_mut() {
            inode.bytes_read = 0;
        }
    }

    /// Starts or ends writing down every call. Off in a new disk; the disk after a crash goes on as the one before.
    pub(crate) fn set_tracing(&self, on: bool) {
        self.state().monitor.set_tracing(on);
    }

    /// The calls since tracing began, refused ones included.
    pub(crate) fn trace(&self) -> Vec<TraceEntry> {
        self.state().monitor.trace()
    }
}

/// Looking and meddling behind the seam's back: no call is counted, no fault strikes.
impl SimDisk {
    /// A file's content as everybody sees it.
    pub(crate) fn read_file(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = state.find(path.as_ref()).ok()?;
        (!state.inode(inode).is_directory()).then(|| state.content(inode).visible.clone())
    }

    /// Plants a file, durable at once, with the directories above it. One that is there gets the new content.
    pub(crate) fn write_file(&self, path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) {
        let path = state::normal(path.as_ref());
        let mut state = self.state();
        for dir in path.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            state.plant(dir, || Node::Directory);
        }
        let now = state.clock().wall;
        let inode = state.plant(&path, || Node::File(Content::empty(now)));
        *state.content_mut(inode) = Content::durable(bytes.into(), now);
    }

    /// Plants a directory, durable at once, with those above it.
    pub(crate) fn create_dir_all(&self, path: impl AsRef<Path>) {
        let path = state::normal(path.as_ref());
        let mut state = self.state();
        for dir in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
            state.plant(dir, || Node::Directory);
        }
    }

    /// The names in a directory, sorted; none if it is not there.
    pub(crate) fn list(&self, dir: impl AsRef<Path>) -> Vec<OsString> {
        let state = self.state();
        let Ok(dir) = state.directory(dir.as_ref()) else { return Vec::new() };
        state.visible.names(dir).map(|(name, _)| name.clone()).collect()
    }

    /// Says that every receiver has read what `send_to` queued for it. Until then a change of these bytes is a panic.
    pub(crate) fn drain(&self) {
        for inode in self.state().inodes.values_mut() {
            if let Node::File(content) = &mut inode.node {
                content.drain();
            }
        }
    }

    /// Removes a file's name, durably at once.
    pub(crate) fn remove(&self, path: impl AsRef<Path>) {
        let mut state = self.state();
        let place = state.place_of(path.as_ref()).expect("a file to remove");
        state.uproot(place).expect("a file to remove");
    }
}

impl fmt::Display for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state().fmt(f)
    }
}

/// As short as [`fmt::Display`]: a disk's whole content would bury what a failing test has to say.
impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { seed, crashes } = &self.origin;
        write!(f, "simulated disk: seed {seed}, crashes {} {crashes:?}, {:?}, ", crashes.len(), self.monitor.rates)?;
        match self.free_bytes {
            Some(free) => write!(f, "{free} bytes free")?,
            None => f.write_str("unlimited room")?,
        }
        write!(f, ", failed syncs keep {}", if self.failed_syncs_keep_some { "some" } else { "nothing" })
    }
}

/// A failing test says which seed it failed with, whatever else it prints.
impl Drop for State {
    fn drop(&mut self) {
        if self.keeps_history && std::thread::panicking() {
            eprintln!("{self}");
        }
    }
}
