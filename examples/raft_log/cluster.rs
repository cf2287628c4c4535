//! Three nodes in one process, and as much of Raft as makes their logs meet: votes, replication, conflicts, snapshots.
//!
//! There is neither time nor a network: who hears whom is an argument. The invariant it owns: an entry counts as
//! committed only once two nodes have called back that it is durable, and from then on no log that wins a vote lacks it.

use std::fmt;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};

use crate::entry;
use crate::hard_state::{Snapshot, Vote};
use crate::log_store::{LogId, LogStore, StoreError};

pub(crate) const NODES: usize = 3;
const MAJORITY: usize = 2;
/// Entries that go from a leader to a follower at once, and so into one batch.
const AT_ONCE: u64 = 32;

/// What made it worth the while.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) committed: u64,
    pub(crate) elections: u64,
    pub(crate) truncations: u64,
    pub(crate) inside_batch: u64,
    pub(crate) snapshots: u64,
    pub(crate) purges: u64,
}

#[derive(Debug)]
pub(crate) enum Failure {
    /// A call on a node's store failed.
    Node { node: usize, error: StoreError },
    /// A promise of Raft, or of the log below, was broken.
    Broken { node: usize, what: String },
}

/// Whoever appended tells here that it is durable.
type Ack = Result<(), Failure>;

pub(crate) struct Cluster {
    nodes: Vec<LogStore>,
    seed: u64,
    pub(crate) counts: Counts,
}

impl Cluster {
    pub(crate) fn open(dir: &Path, seed: u64) -> Result<Cluster, Failure> {
        let open = |node: usize| LogStore::open(&dir.join(format!("node-{}", node + 1))).map_err(of(node));
        let nodes = (0..NODES).map(open).collect::<Result<_, _>>()?;
        Ok(Cluster { nodes, seed, counts: Counts::default() })
    }

    pub(crate) fn last_log_id(&self, node: usize) -> LogId {
        self.nodes[node].last_log_id()
    }

    pub(crate) fn term(&self, node: usize) -> u64 {
        self.nodes[node].hard_state().vote.term
    }

    pub(crate) fn snapshot(&self, node: usize) -> Snapshot {
        self.nodes[node].hard_state().snapshot
    }

    /// The candidate asks these nodes, itself among them, for their votes in a new term.
    pub(crate) fn elect(&mut self, candidate: usize, voters: &[usize]) -> Result<(), Failure> {
        let term = 1 + voters.iter().map(|&node| self.term(node)).max().unwrap_or(0);
        let last = self.last_log_id(candidate);
        let mut votes = 0;
        for &node in voters.iter().filter(|&&node| self.last_log_id(node) <= last) {
            let vote = Vote { term, node: candidate as u64 + 1 };
            // Durable before the candidate hears of it, or a restart could vote twice.
            self.nodes[node].save(|state| state.vote = vote).map_err(of(node))?;
            votes += 1;
        }
        self.counts.elections += 1;
        if votes < MAJORITY {
            return Err(Failure::Broken { node: candidate, what: format!("won {votes} votes in term {term}") });
        }
        Ok(())
    }

    /// The leader appends so many entries of its term as one batch. Nobody else has them yet.
    pub(crate) fn append_to_leader(&self, leader: usize, count: u64, acks: &Sender<Ack>) -> Result<(), Failure> {
        let (term, last) = (self.term(leader), self.last_log_id(leader).index);
        let entries: Vec<_> =
            (last + 1..=last + count).map(|index| entry::proposed(self.seed, LogId { term, index })).collect();
        self.nodes[leader].append(&entries, ack(leader, acks)).map_err(of(leader))
    }

    /// The leader has so many entries committed by the followers that hear it.
    pub(crate) fn propose(&mut self, leader: usize, followers: &[usize], count: u64) -> Result<(), Failure> {
        let mut left = count;
        while left > 0 {
            let now = left.min(AT_ONCE);
            let (acks, acknowledged) = channel();
            self.append_to_leader(leader, now, &acks)?;
            let end = self.last_log_id(leader).index + 1;
            for &follower in followers {
                self.replicate(leader, follower, end, &acks)?;
            }
            drop(acks);
            // The slowest node is not waited for.
            let durable = acknowledged.iter().take(MAJORITY).collect::<Result<Vec<()>, Failure>>()?;
            if durable.len() < MAJORITY {
                return Err(Failure::Broken { node: leader, what: "found no majority".into() });
            }
            left -= now;
        }
        self.counts.committed += count;
        Ok(())
    }

    /// Brings a follower's log to that of the leader below `end`: what conflicts is cut off, what the leader has no
    /// more comes as its snapshot, and the rest as entries.
    pub(crate) fn replicate(
        &mut self,
        leader: usize,
        follower: usize,
        end: u64,
        acks: &Sender<Ack>,
    ) -> Result<(), Failure> {
        let term = self.term(leader);
        if self.term(follower) < term {
            // From now on it votes for nobody else in this term, nor in an earlier one.
            let vote = Vote { term, node: leader as u64 + 1 };
            self.nodes[follower].save(|state| state.vote = vote).map_err(of(follower))?;
        }
        let from = match self.last_shared(leader, follower) {
            Some(index) => index + 1,
            None => self.install_snapshot(leader, follower)?.last.index + 1,
        };
        if from < end && self.last_log_id(follower).index >= from {
            let inside = self.nodes[follower].truncate(from).map_err(of(follower))?;
            self.counts.truncations += 1;
            self.counts.inside_batch += u64::from(inside);
        }
        let entries = self.nodes[leader].read(from..end.max(from)).map_err(of(leader))?;
        let mut batches = entries.chunks(usize::try_from(AT_ONCE).unwrap_or(usize::MAX)).peekable();
        if batches.peek().is_none() {
            // It has them all, but who says that they are durable?
            return self.nodes[follower].append(&[], ack(follower, acks)).map_err(of(follower));
        }
        while let Some(batch) = batches.next() {
            // An ack says that everything before is durable too.
            let acks = if batches.peek().is_none() { acks.clone() } else { channel().0 };
            self.nodes[follower].append(batch, ack(follower, &acks)).map_err(of(follower))?;
        }
        Ok(())
    }

    /// The last index at which both have the same term, and so the same log. `None` if the leader has purged it.
    fn last_shared(&self, leader: usize, follower: usize) -> Option<u64> {
        let (leader, follower) = (&self.nodes[leader], &self.nodes[follower]);
        let (first, last) = (leader.hard_state().purged.index, follower.last_log_id().index);
        let may_be_shared = (first..=leader.last_log_id().index.min(last)).rev();
        may_be_shared.into_iter().find(|&index| {
            let term = leader.term_of(index);
            // Whatever the follower purged was committed, so the leader has the same.
            let purged = index < follower.hard_state().purged.index;
            purged || (term.is_some() && term == follower.term_of(index))
        })
    }

    fn install_snapshot(&mut self, leader: usize, follower: usize) -> Result<Snapshot, Failure> {
        let snapshot = self.snapshot(leader);
        let node = &self.nodes[follower];
        node.save(|state| state.snapshot = snapshot).map_err(of(follower))?;
        node.purge(snapshot.last).map_err(of(follower))?;
        self.counts.snapshots += 1;
        Ok(snapshot)
    }

    /// A node takes a snapshot of everything below its log end, which is committed, and purges what it holds.
    pub(crate) fn compact(&mut self, node: usize) -> Result<(), Failure> {
        let snapshot = Snapshot { last: self.last_log_id(node), digest: self.digest(node)? };
        let store = &self.nodes[node];
        // The snapshot first: no entry goes before something else holds it.
        store.save(|state| state.snapshot = snapshot).map_err(of(node))?;
        store.purge(snapshot.last).map_err(of(node))?;
        self.counts.purges += 1;
        Ok(())
    }

    /// What the state machine of a node comes to: its snapshot and the entries behind it, each of which is checked.
    pub(crate) fn digest(&self, node: usize) -> Result<u64, Failure> {
        let (store, snapshot) = (&self.nodes[node], self.snapshot(node));
        let range = snapshot.last.index + 1..self.last_log_id(node).index + 1;
        let entries = store.read(range.clone()).map_err(of(node))?;
        let mut last = snapshot.last;
        let mut digest = snapshot.digest;
        for (entry, index) in entries.iter().zip(range.clone()) {
            let follows = entry.id.index == index && entry.id.term >= last.term;
            if !follows || !entry::is_sound(entry) || store.term_of(index) != Some(entry.id.term) {
                let what = format!("holds {:?} behind {last:?}, which nobody proposed there", entry.id);
                return Err(Failure::Broken { node, what });
            }
            last = entry.id;
            digest = entry::apply(digest, entry);
        }
        if last != self.last_log_id(node) {
            return Err(Failure::Broken { node, what: format!("ends at {last:?} when it is read") });
        }
        Ok(digest)
    }

    /// Everything in this log is committed: each of these nodes has it, and remembers so.
    pub(crate) fn save_committed(&self, nodes: &[usize], committed: LogId) -> Result<(), Failure> {
        nodes.iter().try_for_each(|&node| self.nodes[node].save(|state| state.committed = committed).map_err(of(node)))
    }

    /// That a node holds what any node knew to be committed.
    pub(crate) fn check_committed(&self, leader: usize) -> Result<(), Failure> {
        for (node, store) in self.nodes.iter().enumerate() {
            let (known, purged) = (store.hard_state().committed, self.nodes[leader].hard_state().purged);
            if known > purged && self.nodes[leader].term_of(known.index) != Some(known.term) {
                let what = format!("lacks {known:?}, which node {} knew to be committed", node + 1);
                return Err(Failure::Broken { node: leader, what });
            }
        }
        Ok(())
    }

    pub(crate) fn close(&self) -> Result<(), Failure> {
        self.nodes.iter().enumerate().try_for_each(|(node, store)| store.close().map_err(of(node)))
    }
}

fn of(node: usize) -> impl Fn(StoreError) -> Failure {
    move |error| Failure::Node { node, error }
}

/// Tells who waits; nobody may, any more.
fn ack(node: usize, acks: &Sender<Ack>) -> impl FnOnce(Result<(), StoreError>) + Send + 'static {
    let acks = acks.clone();
    move |flushed| drop(acks.send(flushed.map_err(of(node))))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Node { node, error } => write!(f, "node {}: {error}", node + 1),
            Failure::Broken { node, what } => write!(f, "node {} {what}", node + 1),
        }
    }
}

impl std::error::Error for Failure {}
