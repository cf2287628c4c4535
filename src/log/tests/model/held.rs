//! What readers hold: slices that must read the same whatever becomes of their segments, and iterators that must give
//! records whole, in order, as they were or as they are.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::os::unix::net::UnixStream;

use super::Chance;
use super::expected::{Expected, Kept, offset};
use crate::log::{Log, Records};
use crate::slice::LogSlice;

const MOST: usize = 6;

/// A receiver that reads nothing before the sender is done. What it was sent stays queued, by pages and not by copies,
/// for as long as the simulated disk is not told that it was drained: a change of these bytes fails the test (rule 31).
#[derive(Debug)]
pub(super) struct Receiver {
    socket: UnixStream,
    peer: UnixStream,
}

impl Receiver {
    pub(super) fn new() -> Receiver {
        let (socket, peer) = UnixStream::pair().expect("a pair of sockets");
        socket.set_nonblocking(true).expect("a socket that does not block");
        Receiver { socket, peer }
    }

    /// Sends a slice and takes the bytes off the socket, which makes room for others and tells nobody.
    fn receive(&mut self, slice: &LogSlice) -> crate::error::Result<()> {
        let sent = slice.send_to(&self.socket)?;
        let mut bytes = vec![0; usize::try_from(sent.bytes).expect("a short slice")];
        self.peer.read_exact(&mut bytes).expect("what was sent");
        Ok(())
    }
}

#[derive(Debug, Default)]
pub(super) struct Held {
    slices: Vec<(LogSlice, Vec<(u64, Kept)>)>,
    iterators: Vec<HeldIterator>,
    /// What was in the log after any step since the first of them was made.
    ever: HashSet<(u64, Kept)>,
}

#[derive(Debug)]
struct HeldIterator {
    records: Records,
    /// What the log held when the iterator was made.
    then: BTreeMap<u64, Kept>,
    last: Option<u64>,
}

impl Held {
    /// A slice and an iterator from somewhere; the oldest ones go.
    pub(super) fn take(&mut self, log: &Log, expected: &Expected, chance: &mut Chance, receiver: &mut Receiver) {
        let (start, end) = (log.log_start_offset().value(), log.log_end_offset().value());
        let from = start + chance.below(end.saturating_sub(start) + 1);
        if let Ok(slice) = log.read(offset(from), 1 + chance.below(2000)) {
            let records = expected.between(from, slice.next_offset().value());
            // A failure shows again when the slice is read.
            if chance.one_in(2) && receiver.receive(&slice).is_err() {
                *receiver = Receiver::new();
            }
            // What was sent matters most when nobody holds it any more.
            if chance.one_in(2) {
                self.slices.push((slice, records));
            }
        }
        if let Ok(records) = log.records(offset(from)..) {
            let then = expected.between(from, end).into_iter().collect();
            self.iterators.push(HeldIterator { records, then, last: None });
        }
        if self.slices.len() > MOST {
            self.slices.remove(0);
        }
        if self.iterators.len() > MOST {
            self.iterators.remove(0);
        }
    }

    /// Reads all slices again, and each iterator one record further.
    pub(super) fn check(&mut self, expected: &Expected, may_fail: bool) {
        for (slice, records) in &self.slices {
            let found: crate::error::Result<Vec<(u64, Kept)>> = slice
                .records()
                .map(|record| record.map(|record| (record.offset().value(), Kept::of(&record))))
                .collect();
            match found {
                Ok(found) => assert_eq!(&found, records, "a slice reads what it was made of"),
                Err(error) => assert!(may_fail, "a slice is unreadable: {error}"),
            }
        }
        if self.iterators.is_empty() {
            self.ever.clear();
            return;
        }
        self.ever.extend(expected.records.iter().map(|(offset, kept)| (*offset, kept.clone())));
        let ever = &self.ever;
        self.iterators.retain_mut(|held| held.step(ever));
    }
}

impl HeldIterator {
    /// One record further. `false` at the end, and behind an error.
    fn step(&mut self, ever: &HashSet<(u64, Kept)>) -> bool {
        let Some(Ok(record)) = self.records.next() else { return false };
        let (at, kept) = (record.offset().value(), Kept::of(&record));
        assert!(self.last.is_none_or(|last| at > last), "offsets rise: {:?}, then {at}", self.last);
        let was_there = self.then.get(&at) == Some(&kept) || ever.contains(&(at, kept.clone()));
        assert!(was_there, "the record at {at} was never in the log: {kept:?}");
        self.last = Some(at);
        true
    }
}
