//! A Raft log over kstore: `log_store.rs` has what openraft's `RaftLogStorage` asks of one, and this is a cluster of
//! three nodes in one process that uses every call of it.
//!
//! Each round tells the same story with other nodes: a leader replicates; one follower is cut off, and meanwhile the
//! others take snapshots and purge their logs; then the leader is cut off in the middle of sending a batch, of which
//! the other follower got the first entries. That one wins the next election, sends its snapshot to the first, whose
//! log begins anew behind it, and replaces what the old leader alone had: a suffix that begins inside a batch.
//!
//! It may be killed at any moment, `kill -9` included. The next run finds whatever is there, elects the node that has
//! most, and checks that nothing is missing that was committed. Every entry's content follows from its place.
//!
//! ```text
//! cargo run --release --example raft_log -- /tmp/raft --entries 10000
//! ```
//!
//! It ends with one line of JSON. Status 1 and a message say that a log could not be opened or written, or that a check
//! failed; a wrong call has status 2.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is a program that uses it")]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::channel;

use clap::Parser;
use serde_json::{Value, json};

use cluster::{Cluster, Failure, NODES};
use entry::mix;

mod cluster;
mod entry;
mod hard_state;
mod log_store;

/// More at once would have to be held in memory at once.
const MOST_ENTRIES_A_ROUND: u64 = 400;
const ALL: [usize; NODES] = [0, 1, 2];

/// Replicates entries between three nodes that are cut off from each other now and then.
#[derive(Parser)]
struct Arguments {
    /// Where the nodes have their logs; created if it is not there.
    dir: PathBuf,
    /// How many entries to commit in this run, at least; with 0 it only checks what is there.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    entries: u64,
    /// What the entries' content and the sizes of batches follow from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let summary = match run(&Arguments::parse()) {
        Ok(summary) => summary,
        Err(failure) => {
            eprintln!("raft_log: {failure}");
            return ExitCode::FAILURE;
        }
    };
    match writeln!(std::io::stdout(), "{summary}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("raft_log: writing to standard output: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Value, Failure> {
    let mut cluster = Cluster::open(&arguments.dir, arguments.seed)?;
    let mut leader = heal(&mut cluster)?;
    let mut dice = mix(arguments.seed, cluster.last_log_id(leader).index);
    while cluster.counts.committed < arguments.entries {
        let wanted = (arguments.entries - cluster.counts.committed).min(MOST_ENTRIES_A_ROUND);
        dice = mix(dice, 1);
        leader = round(&mut cluster, leader, wanted, dice)?;
    }
    let digest = check_equal(&cluster)?;
    let (last, purged) = (cluster.last_log_id(leader), cluster.snapshot(leader).last.index);
    cluster.close()?;
    let counts = &cluster.counts;
    Ok(json!({
        "nodes": NODES, "leader": leader + 1, "term": last.term, "first_index": purged + 1, "last_index": last.index,
        "committed": counts.committed, "elections": counts.elections, "truncations": counts.truncations,
        "truncated_inside_batch": counts.inside_batch, "resets": counts.snapshots, "purges": counts.purges,
        "digest": format!("{digest:016x}"),
    }))
}

/// Whatever the last run left, of whichever nodes: whoever has most leads, and brings the others to where it is.
fn heal(cluster: &mut Cluster) -> Result<usize, Failure> {
    let leader = ALL.into_iter().max_by_key(|&node| cluster.last_log_id(node)).unwrap_or(0);
    cluster.check_committed(leader)?;
    cluster.elect(leader, &ALL)?;
    // An entry of the new term commits all that are before it.
    commit(cluster, leader, &others(leader), 1)?;
    cluster.counts.committed = 0;
    check_equal(cluster)?;
    Ok(leader)
}

/// One round of the story. Returns who leads at its end.
fn round(cluster: &mut Cluster, leader: usize, wanted: u64, dice: u64) -> Result<usize, Failure> {
    let [next, absent] = others(leader);
    let share = (wanted / 4).max(1);
    cluster.propose(leader, &[next, absent], share)?;

    // The absent one misses entries that will be no more when it comes back.
    cluster.propose(leader, &[next], share)?;
    cluster.compact(leader)?;
    cluster.compact(next)?;

    // The old leader's last batch, of which only the first entries get out.
    let (acks, acknowledged) = channel();
    let end = cluster.last_log_id(leader).index + 1;
    let (batch, heard) = (4 + dice % 8, 1 + dice / 8 % 3);
    cluster.append_to_leader(leader, batch, &acks)?;
    cluster.replicate(leader, next, end + heard, &acks)?;
    drop(acks);
    acknowledged.iter().collect::<Result<Vec<()>, Failure>>()?;

    cluster.elect(next, &[next, absent])?;
    commit(cluster, next, &[absent], share)?;
    commit(cluster, next, &[leader, absent], share)?;
    Ok(next)
}

/// Proposes, and has the nodes that heard it remember that it was committed.
fn commit(cluster: &mut Cluster, leader: usize, followers: &[usize], count: u64) -> Result<(), Failure> {
    cluster.propose(leader, followers, count)?;
    let committed = cluster.last_log_id(leader);
    cluster.save_committed(&[&[leader], followers].concat(), committed)
}

fn others(node: usize) -> [usize; NODES - 1] {
    [(node + 1) % NODES, (node + 2) % NODES]
}

/// That all nodes have the same entries, those in their snapshots included, and returns the digest of them.
fn check_equal(cluster: &Cluster) -> Result<u64, Failure> {
    let (last, digest) = (cluster.last_log_id(0), cluster.digest(0)?);
    for node in ALL {
        let found = (cluster.last_log_id(node), cluster.digest(node)?);
        if found != (last, digest) {
            let what = format!("has {found:?}, node 1 has {:?}", (last, digest));
            return Err(Failure::Broken { node, what });
        }
    }
    Ok(digest)
}
