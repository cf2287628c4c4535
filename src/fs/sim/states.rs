//! Every state that a crash at this moment could leave, or a fair sample where they are too many.
//!
//! What a state consists of is decided in `power` and `content`; here it is only counted, gone through and told apart.
//! The invariant it owns: the sample always has the extremes in it, whatever the seed: everything, nothing, all but
//! each single change, each single change alone, everything up to each change, each sector lost and each alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::SimDisk;
use super::crash::{CrashStrength, Draw, Odometer, Shape};
use super::digest::Digest;
use super::names::{InodeId, ROOT, Tree};
use super::random::Random;
use super::state::{Choice, Node, State};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Crash states made in this process.
static SEEN: OnceLock<AtomicU64> = OnceLock::new();

fn seen() -> &'static AtomicU64 {
    SEEN.get_or_init(|| AtomicU64::new(0))
}

/// How many crash states tests of this process have looked at so far, on all disks together.
pub(crate) fn crash_states_seen() -> u64 {
    seen().load(Ordering::Relaxed)
}

pub(super) fn note_seen() {
    seen().fetch_add(1, Ordering::Relaxed);
}

/// How many crash states are enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Up to so many combinations of answers all are gone through.
    pub(crate) exhaustive: u64,
    /// If there are more, so many are drawn beside the extremes.
    pub(crate) samples: u64,
}

impl Default for Bound {
    fn default() -> Bound {
        Bound { exhaustive: 4096, samples: 256 }
    }
}

impl SimDisk {
    /// In how many ways a crash at this moment can be answered, or `most` if they are more. Different answers may leave
    /// the same state: data behind the end of a file is kept in vain.
    pub(crate) fn count_crash_answers(&self, strength: CrashStrength, most: u64) -> u64 {
        self.state().count_crash_answers(strength, most)
    }

    /// What a crash at this moment could leave, each state once: all of them, or, where `bound` says that they are too
    /// many, the extremes and as many as it names, drawn from `seed`. The end of the process leaves a single state.
    ///
    /// # Panics
    /// When the disk was changed before the last state was taken.
    pub(crate) fn crash_states(&self, strength: CrashStrength, bound: Bound, seed: u64) -> CrashStates {
        let state = self.state();
        let keeps_all = strength == CrashStrength::Kill || !state.keeps_history;
        let answers =
            if keeps_all { 1 } else { state.count_crash_answers(strength, bound.exhaustive.saturating_add(1)) };
        let plan = if answers <= bound.exhaustive {
            Plan::All { odometer: Some(Odometer::default()), next: 0 }
        } else {
            Plan::Sample { extremes: state.extremes().into(), samples: bound.samples, seeds: Random::new(seed) }
        };
        CrashStates { disk: self.clone(), strength, moment: state.next_sequence, plan, told: BTreeSet::new() }
    }

    /// Runs `body` on copies of this disk, as a process finds it that starts now, with the power going at its first
    /// changing call, at its second, and so on until it gets through. `judge` is given each state that these crashes
    /// leave, and those of crashes in a run of `body` on such a state, `depth` crashes deep; each state once.
    ///
    /// `body` drops what it opens: what it does to a disk without power changes nothing.
    pub(crate) fn crash_at_every_call(
        &self,
        strength: CrashStrength,
        bound: Bound,
        depth: u32,
        mut body: impl FnMut(&SimDisk),
        mut judge: impl FnMut(&SimDisk),
    ) {
        let seed = self.state().origin.seed;
        let mut dive = Dive { strength, bound, seed, body: &mut body, judge: &mut judge, known: BTreeMap::new() };
        dive.crash_in(self, depth);
    }

    /// A number that differs, as far as 64 bits can tell, for disks that differ in a name or a byte, in what a power
    /// cut would leave of them, or in their free room. Where two come from, their clocks, faults and handles do not
    /// matter.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.state().fingerprint()
    }
}

/// A run of [`SimDisk::crash_at_every_call`].
struct Dive<'a> {
    strength: CrashStrength,
    bound: Bound,
    seed: u64,
    body: &'a mut dyn FnMut(&SimDisk),
    judge: &'a mut dyn FnMut(&SimDisk),
    /// How many crashes deep each state was followed, by its fingerprint.
    known: BTreeMap<u64, u32>,
}

impl Dive<'_> {
    fn crash_in(&mut self, disk: &SimDisk, depth: u32) {
        for calls in 0.. {
            let ended = disk.state().image(CrashStrength::Kill, Choice::Everything, &mut |_, options| options - 1);
            let run = SimDisk::holding(ended);
            run.power_off_after(calls);
            (self.body)(&run);
            for state in run.crash_states(self.strength, self.bound, self.seed) {
                let followed = self.known.get(&state.fingerprint()).copied();
                if followed.is_none() {
                    (self.judge)(&state);
                }
                if followed.is_none_or(|followed| followed < depth) {
                    self.known.insert(state.fingerprint(), depth);
                    if depth > 1 {
                        self.crash_in(&state, depth - 1);
                    }
                }
            }
            if !run.is_off() {
                return;
            }
        }
    }
}

/// The iterator of [`SimDisk::crash_states`].
#[derive(Debug)]
pub(crate) struct CrashStates {
    disk: SimDisk,
    strength: CrashStrength,
    /// The disk's last change.
    moment: u64,
    plan: Plan,
    /// The fingerprints of the states given out.
    told: BTreeSet<u64>,
}

#[derive(Debug)]
enum Plan {
    All { odometer: Option<Odometer>, next: u64 },
    Sample { extremes: VecDeque<Shape>, samples: u64, seeds: Random },
}

impl CrashStates {
    /// Whether every state is gone through, and not a sample.
    pub(crate) fn is_exhaustive(&self) -> bool {
        matches!(self.plan, Plan::All { .. })
    }
}

impl Iterator for CrashStates {
    type Item = SimDisk;

    fn next(&mut self) -> Option<SimDisk> {
        loop {
            let state = self.disk.state();
            assert_eq!(state.next_sequence, self.moment, "the disk was changed while its crash states were looked at");
            let image = self.plan.next_image(&state, self.strength)?;
            if self.told.insert(image.fingerprint()) {
                note_seen();
                return Some(SimDisk::holding(image));
            }
        }
    }
}

impl Plan {
    fn next_image(&mut self, state: &State, strength: CrashStrength) -> Option<State> {
        match self {
            Plan::All { odometer, next } => {
                let mut answers = odometer.take()?;
                let choice = Choice::Numbered(*next);
                let image = state.image(strength, choice, &mut |_, options| answers.answer(options));
                *odometer = answers.turn().then_some(answers);
                *next += 1;
                Some(image)
            }
            Plan::Sample { extremes, samples, seeds } => {
                let seed = seeds.next();
                let mut draw = match extremes.pop_front() {
                    Some(shape) => Draw::shaped(shape, Random::new(seed)),
                    None => {
                        *samples = samples.checked_sub(1)?;
                        Draw::new(Random::new(seed), &state.pending_sequences())
                    }
                };
                let choice = Choice::Shaped { shape: draw.shape(), seed };
                Some(state.image(strength, choice, &mut |atom, options| draw.answer(atom, options)))
            }
        }
    }
}

impl State {
    fn count_crash_answers(&self, strength: CrashStrength, most: u64) -> u64 {
        let contents = |names: &Tree| {
            let answers = names.reachable().into_iter().map(|(_, inode)| match &self.inode(inode).node {
                Node::File(content) => content.count_answers(strength),
                Node::Directory => 1,
            });
            answers.fold(1, u64::saturating_mul)
        };
        // The names that are seen have most of the changed files, so that one look is mostly enough.
        if contents(&self.names_after_power_cut(strength, &mut |_, options| options - 1)) >= most {
            return most;
        }
        let mut odometer = Odometer::default();
        let mut sum = 0_u64;
        loop {
            let names = self.names_after_power_cut(strength, &mut |_, options| odometer.answer(options));
            sum = sum.saturating_add(contents(&names));
            if sum >= most || !odometer.turn() {
                return sum.min(most);
            }
        }
    }

    /// The states that every sample has.
    fn extremes(&self) -> Vec<Shape> {
        let changes = self.pending_changes();
        let mut shapes = vec![Shape::All, Shape::None];
        if let Some((last, _)) = changes.last() {
            shapes.push(Shape::Only(*last));
        }
        for (sequence, sectors) in changes {
            shapes.extend([Shape::AllBut(sequence), Shape::Only(sequence), Shape::Before(sequence)]);
            for sector in 0..sectors {
                shapes.push(Shape::SectorLost { sequence, sector });
                shapes.push(Shape::SectorAlone { sequence, sector });
                shapes.push(Shape::SectorHalved { sequence, sector });
            }
        }
        shapes
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = Digest::default();
        self.hash_tree(&self.visible, &mut hasher);
        if self.durable != self.visible {
            self.hash_tree(&self.durable, &mut hasher);
        }
        for pending in &self.pending {
            for place in pending.change.places() {
                hash_path(&self.path_of(place.dir).join(&place.name), &mut hasher);
            }
            pending.carried.hash(&mut hasher);
        }
        self.free_bytes.hash(&mut hasher);
        hasher.finish()
    }

    fn hash_tree(&self, tree: &Tree, hasher: &mut impl Hasher) {
        let mut unvisited: Vec<(PathBuf, InodeId)> = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, inode)) = unvisited.pop() {
            hash_path(&path, hasher);
            match &self.inode(inode).node {
                Node::File(content) => content.hash_into(hasher),
                Node::Directory => {
                    unvisited.extend(tree.names(inode).map(|(name, inode)| (path.join(name), inode)));
                }
            }
        }
        "end".hash(hasher);
    }
}

/// As its bytes: a path hashes itself component by component, which takes longer than most files' content.
fn hash_path(path: &Path, hasher: &mut impl Hasher) {
    path.as_os_str().as_encoded_bytes().hash(hasher);
}
