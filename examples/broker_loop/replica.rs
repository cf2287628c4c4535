//! What fetches from the broker: a log of its own, to which it appends what it gets, as it is.
//!
//! A follower does this to be a copy, and a consumer so that its position, which is the end of its log, survives with
//! what it consumed. The invariant it owns: what is there already is refused, and what is missing is found.

use std::os::unix::net::UnixStream;

use kstore::{Error, Log, Offset};

use crate::fetch::fetch;
use crate::{Failure, Run, produce};

/// Of so many answers one comes twice.
const REPEATED: u64 = 10;

/// What a replica met with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) records: u64,
    answers: u64,
    /// Refused, for they were there already.
    pub(crate) duplicates: u64,
}

impl Fetched {
    pub(crate) fn and(self, other: Fetched) -> Fetched {
        Fetched {
            records: self.records + other.records,
            answers: self.answers + other.answers,
            duplicates: self.duplicates + other.duplicates,
        }
    }
}

/// Cuts off what the leader's log does not have, as after a power cut took it from the leader alone.
pub(crate) fn cut_what_diverged(replica: &Log, leader: &Log) -> Result<(), Failure> {
    let Some(epoch) = replica.latest_leader_epoch() else { return Ok(()) };
    let shared = leader.end_offset_for_epoch(epoch).map_or(leader.log_start_offset(), |(_, end)| end);
    if shared < replica.log_end_offset() {
        replica.truncate_to(shared)?;
    }
    Ok(())
}

/// Fetches until the run is over and everything is here.
pub(crate) fn follow(replica: &Log, socket: &UnixStream, run: &Run) -> Result<Fetched, Failure> {
    let mut batches = Vec::new();
    let mut fetched = Fetched::default();
    loop {
        let from = replica.log_end_offset();
        let watermark = fetch(socket, from, &mut batches)?;
        if !batches.is_empty() {
            replica.append_as_follower(&batches)?;
            fetched.answers += 1;
            fetched.records += consume(replica, from)?;
        }
        if !batches.is_empty() && fetched.answers.is_multiple_of(REPEATED) {
            match replica.append_as_follower(&batches) {
                Err(Error::UnexpectedAppendOffset { .. }) => fetched.duplicates += 1,
                Err(error) => return Err(error.into()),
                Ok(_) => return Err(Failure::broken(replica, "took the same batches twice")),
            }
        }
        replica.set_high_watermark(watermark)?;
        run.check()?;
        if run.end() == Some(replica.log_end_offset()) {
            return Ok(fetched);
        }
    }
}

/// Looks at each record that came, and counts them: no offset is missing, and each is as it was sent.
fn consume(replica: &Log, from: Offset) -> Result<u64, Failure> {
    let mut next = from;
    for record in replica.records(from..)? {
        let record = record?;
        if record.offset() != next || record.value().and_then(produce::parse).is_none() {
            return Err(Failure::broken(replica, &format!("got offset {} at {next}, or not as sent", record.offset())));
        }
        next += 1;
    }
    Ok(next - from)
}

/// That two logs have the same records. Returns how many.
pub(crate) fn check_equal(replica: &Log, leader: &Log) -> Result<u64, Failure> {
    let mut records = 0;
    let mut found = replica.records(..)?;
    for expected in leader.records(..)? {
        let expected = expected?;
        let found = found.next().transpose()?;
        let same = found.is_some_and(|found| {
            (found.offset(), found.value(), found.leader_epoch())
                == (expected.offset(), expected.value(), expected.leader_epoch())
        });
        if !same {
            return Err(Failure::broken(replica, &format!("has another record at offset {}", expected.offset())));
        }
        records += 1;
    }
    match found.next().transpose()? {
        Some(more) => Err(Failure::broken(replica, &format!("has a record too many at offset {}", more.offset()))),
        None => Ok(records),
    }
}
