//! What one simulated file holds: the bytes everybody sees, the bytes a power cut leaves, and the changes in between.
//!
//! It knows no names and no disk. The invariant it owns: `durable` with all of `pending` applied is what is seen; but
//! once a sync has failed, what it should have kept is seen and is in neither (rule 17).

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use crate::offset::Timestamp;

use super::crash::{Atom, Choose, CrashStrength, Part};

/// What a disk writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) visible: Vec<u8>,
    pub(super) modified: Timestamp,
    /// How far the disk's room is taken for this file, whatever its length.
    pub(super) charged_to: u64,
    /// The system lost changes on its own and has told nobody yet: the next sync does (rules 17, 19).
    pub(super) owes_error: bool,
    durable: Vec<u8>,
    pending: Vec<Pending>,
    /// What `send_to` queued and no receiver is known to have drained: where it begins, and the bytes.
    in_flight: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Debug)]
struct Pending {
    sequence: u64,
    change: Change,
}

#[derive(Clone, Debug, Hash)]
pub(super) enum Change {
    Write { at: usize, bytes: Vec<u8> },
    SetLen(usize),
    Allocate { to: usize },
}

impl Change {
    /// In how many ways its data can be kept or lost.
    fn data_answers(&self) -> u64 {
        match self {
            Change::Write { at, bytes } => {
                let sectors = u32::try_from(sectors(*at, bytes.len()).len()).unwrap_or(u32::MAX);
                1_u64.checked_shl(sectors).unwrap_or(u64::MAX)
            }
            Change::SetLen(_) | Change::Allocate { .. } => 1,
        }
    }

    /// The lengths that it can leave a file of some length with, the one it was to have last.
    fn lengths(&self, len: usize) -> Vec<usize> {
        match self {
            Change::Write { at, bytes } => {
                let ends = sectors(*at, bytes.len()).into_iter().map(|sector| sector.end);
                std::iter::once(len).chain(ends.filter(|end| *end > len)).collect()
            }
            Change::SetLen(new) => vec![len, *new],
            Change::Allocate { to } if *to > len => vec![len, *to],
            Change::Allocate { .. } => vec![len],
        }
    }
}

impl Content {
    pub(super) fn empty(modified: Timestamp) -> Content {
        Content::durable(Vec::new(), modified)
    }

    /// A file at rest.
    pub(super) fn durable(bytes: Vec<u8>, modified: Timestamp) -> Content {
        let charged_to = u64::try_from(bytes.len()).expect("a length in memory fits 64 bits");
        Content {
            visible: bytes.clone(),
            modified,
            charged_to,
            owes_error: false,
            durable: bytes,
            pending: Vec::new(),
            in_flight: Vec::new(),
        }
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        overwrite(&mut self.visible, at, bytes);
        self.assert_in_flight_unchanged();
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.visible.resize(len, 0);
        self.assert_in_flight_unchanged();
    }

    pub(super) fn allocate(&mut self, to: usize) {
        self.visible.resize(self.visible.len().max(to), 0);
        self.assert_in_flight_unchanged();
    }

    /// Takes note of bytes that are being queued at a receiver, as pages and not as copies (rule 31).
    pub(super) fn begin_flight(&mut self, at: usize, bytes: &[u8]) {
        self.in_flight.push((at, bytes.to_vec()));
    }

    /// Of what was to be queued last at a place, the receiver took so much.
    pub(super) fn settle_flight(&mut self, at: usize, offered: usize, taken: usize) {
        let is_this = |(start, bytes): &(usize, Vec<u8>)| *start == at && bytes.len() == offered;
        if let Some(index) = self.in_flight.iter().rposition(is_this) {
            self.in_flight[index].1.truncate(taken);
            if taken == 0 {
                self.in_flight.remove(index);
            }
        }
    }

    /// Every receiver has read what was queued for it.
    pub(super) fn drain(&mut self) {
        self.in_flight.clear();
    }

    /// A page that is queued at a receiver shows it whatever becomes of the file in place: a cut changes what was sent,
    /// and what is written behind the cut all the more.
    fn assert_in_flight_unchanged(&self) {
        for (at, bytes) in &self.in_flight {
            let now = self.visible.get(*at..at + bytes.len());
            assert!(now == Some(bytes), "{} bytes at {at} changed, which were sent and not yet received", bytes.len());
        }
    }

    /// Notes a change that was made visible, for the next sync or crash.
    pub(super) fn note(&mut self, sequence: u64, change: Change) {
        self.pending.push(Pending { sequence, change });
    }

    pub(super) fn sync(&mut self) {
        for Pending { change, .. } in self.pending.drain(..) {
            match change {
                Change::Write { at, bytes } => overwrite(&mut self.durable, at, &bytes),
                Change::SetLen(len) => self.durable.resize(len, 0),
                Change::Allocate { to } => self.durable.resize(self.durable.len().max(to), 0),
            }
        }
        self.pending.shrink_to(16);
    }

    /// A sync that failed: what it should have kept stays visible and is never kept by a later one. `kept` is what of
    /// it reached the disk all the same.
    pub(super) fn fail_sync(&mut self, kept: Option<Vec<u8>>) {
        if let Some(kept) = kept {
            self.durable = kept;
        }
        self.pending.clear();
    }

    /// The pending changes with the number of sectors that each can lose, 0 for one without data.
    pub(super) fn pending_sectors(&self) -> impl Iterator<Item = (u64, usize)> {
        self.pending.iter().map(|Pending { sequence, change }| match change {
            Change::Write { at, bytes } => (*sequence, sectors(*at, bytes.len()).len()),
            Change::SetLen(_) | Change::Allocate { .. } => (*sequence, 0),
        })
    }

    /// In how many ways [`Content::after_power_cut`] can be answered, or the largest number if they are more.
    pub(super) fn count_answers(&self, strength: CrashStrength) -> u64 {
        // Data is asked about whatever the length, so that only length and order branch.
        let mut ways = BTreeMap::from([((self.durable.len(), true), 1_u64)]);
        for Pending { change, .. } in &self.pending {
            let mut next = BTreeMap::new();
            let mut reach = |len: usize, whole: bool, count: u64| {
                let lengths_kept = whole || strength != CrashStrength::Ordered;
                let sum: &mut u64 = next.entry((len, lengths_kept)).or_default();
                *sum = sum.saturating_add(count);
            };
            for ((len, lengths_kept), count) in ways {
                if !lengths_kept {
                    reach(len, false, count.saturating_mul(change.data_answers()));
                    continue;
                }
                let lengths = change.lengths(len);
                let last = lengths.len() - 1;
                for (index, length) in lengths.into_iter().enumerate() {
                    reach(length, index == last, count.saturating_mul(change.data_answers()));
                }
            }
            ways = next;
        }
        ways.into_values().fold(0, u64::saturating_add)
    }

    /// Tells contents apart, whatever their history: what is seen, what is durable and what is pending.
    pub(super) fn hash_into(&self, hasher: &mut impl Hasher) {
        self.visible.hash(hasher);
        self.durable.hash(hasher);
        self.owes_error.hash(hasher);
        for pending in &self.pending {
            pending.change.hash(hasher);
        }
    }

    /// Damage at rest: in what is seen and in what a power cut leaves.
    pub(super) fn flip_bit(&mut self, at: usize, bit: u32) {
        assert!(bit < 8, "a byte has eight bits");
        assert!(at < self.visible.len(), "the bit to flip lies behind the end of the file");
        self.visible[at] ^= 1 << bit;
        if let Some(byte) = self.durable.get_mut(at) {
            *byte ^= 1 << bit;
        }
    }

    /// What a power cut leaves. Data, sector by sector, and lengths are kept or lost independently; under `Ordered` the
    /// lengths go only as far as the first that was not wholly kept.
    pub(super) fn after_power_cut(&self, strength: CrashStrength, inode: u64, choose: Choose<'_>) -> Vec<u8> {
        let mut image = Image { bytes: self.durable.clone(), len: self.durable.len(), lengths_kept: true };
        for Pending { sequence, change } in &self.pending {
            let mut ask = |part, options| {
                let answer = choose(&Atom { sequence: *sequence, inode, part }, options);
                assert!(answer < options, "a choice outside its options");
                answer
            };
            let whole = match change {
                Change::Write { at, bytes } => image.write(*at, bytes, &mut ask),
                Change::SetLen(len) => image.set_len(*len, &mut ask),
                Change::Allocate { to } => image.extend(*to, &mut ask),
            };
            if strength == CrashStrength::Ordered {
                image.lengths_kept &= whole;
            }
        }
        image.bytes.resize(image.len, 0);
        image.bytes
    }
}

fn overwrite(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < at {
        content.resize(at, 0);
    }
    let inside = content.len().min(end) - at;
    content[at..at + inside].copy_from_slice(&bytes[..inside]);
    content.extend_from_slice(&bytes[inside..]);
}

/// A file as a power cut leaves it, while it is decided: `bytes` may reach behind `len`, for data can be kept whose
/// length was not, and a later length shows it.
struct Image {
    bytes: Vec<u8>,
    len: usize,
    lengths_kept: bool,
}

impl Image {
    /// Says whether the length was kept wholly.
    fn write(&mut self, at: usize, bytes: &[u8], ask: &mut dyn FnMut(Part, u64) -> u64) -> bool {
        let sectors = sectors(at, bytes.len());
        for (index, sector) in sectors.iter().enumerate() {
            let part = Part::Data { sector: index, sectors: sectors.len() };
            if ask(part, 2) == 1 {
                overwrite(&mut self.bytes, sector.start, &bytes[sector.start - at..sector.end - at]);
            }
        }
        let ends: Vec<usize> = sectors.iter().map(|sector| sector.end).filter(|end| *end > self.len).collect();
        self.reach(&ends, ask)
    }

    fn extend(&mut self, to: usize, ask: &mut dyn FnMut(Part, u64) -> u64) -> bool {
        if to > self.len { self.reach(&[to], ask) } else { true }
    }

    fn set_len(&mut self, len: usize, ask: &mut dyn FnMut(Part, u64) -> u64) -> bool {
        let kept = self.lengths_kept && ask(Part::Length, 2) == 1;
        if kept {
            self.bytes.truncate(len);
            self.len = len;
        }
        kept
    }

    /// The length may end at any of `ends`, or stay.
    fn reach(&mut self, ends: &[usize], ask: &mut dyn FnMut(Part, u64) -> u64) -> bool {
        if ends.is_empty() || !self.lengths_kept {
            return true;
        }
        let options = u64::try_from(ends.len()).expect("a length in memory fits 64 bits") + 1;
        let reached = usize::try_from(ask(Part::Length, options)).expect("at most as many as there are ends");
        if let Some(last) = reached.checked_sub(1) {
            self.len = ends[last];
        }
        reached == ends.len()
    }
}

/// The pieces of `at..at + len` that lie in one sector each.
fn sectors(at: usize, len: usize) -> Vec<std::ops::Range<usize>> {
    let end = at + len;
    let mut pieces = Vec::with_capacity(len / SECTOR_BYTES + 2);
    let mut start = at;
    while start < end {
        let next = (start / SECTOR_BYTES + 1) * SECTOR_BYTES;
        pieces.push(start..next.min(end));
        start = next;
    }
    pieces
}
