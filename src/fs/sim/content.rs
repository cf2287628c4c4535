//! What one simulated file holds: the bytes everybody sees, the bytes a power cut leaves, and the changes in between.
//!
//! It knows no names and no disk. The invariant it owns: `durable` with all of `pending` applied is what is seen; but
//! once a sync has failed, what it should have kept is seen and is in neither (rule 17).

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use crate::offset::Timestamp;

use super::names::InodeId;

mod image;

/// What a disk writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

/// What the system maps, and what a copy-on-write disk copies.
pub(super) const PAGE_BYTES: u64 = 4096;

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
    /// On a copy-on-write disk, the pages that a change since the last sync has room of its own for, and whether that is
    /// room beside what the page has on the disk.
    fresh_pages: BTreeMap<u64, bool>,
    /// What the device will do wrong at the next sync, by sector.
    mishaps: BTreeMap<usize, Mishap>,
    /// Sectors that reads give as they were once, and how many more reads do.
    stale: BTreeMap<usize, (Vec<u8>, u64)>,
}

/// What a device does with a sector that it says it has written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mishap {
    Lost,
    /// Written to another place: a file, which may be the same, and a sector of it.
    Misdirected {
        file: InodeId,
        sector: usize,
    },
}

/// A sector that was written where it does not belong.
#[derive(Debug)]
pub(super) struct Stray {
    pub(super) file: InodeId,
    pub(super) sector: usize,
    pub(super) bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Pending {
    sequence: u64,
    change: Change,
}

#[derive(Clone, Debug, Hash)]
pub(super) enum Change {
    Write {
        at: usize,
        bytes: Vec<u8>,
    },
    /// As a write, through a map: the page can be written back before the store is whole.
    Store {
        at: usize,
        bytes: Vec<u8>,
    },
    SetLen(usize),
    Allocate {
        to: usize,
    },
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
            fresh_pages: BTreeMap::new(),
            mishaps: BTreeMap::new(),
            stale: BTreeMap::new(),
        }
    }

    /// Copies out what is seen from a place on, or what a device that forgets gives instead, and says how many bytes.
    pub(super) fn read(&mut self, at: usize, into: &mut [u8]) -> usize {
        let found = self.visible.get(at..).unwrap_or_default();
        let read = found.len().min(into.len());
        into[..read].copy_from_slice(&found[..read]);
        if read > 0 && !self.stale.is_empty() {
            for piece in sectors(at, read) {
                let sector = piece.start / SECTOR_BYTES;
                if let Some((bytes, times)) = self.stale.get_mut(&sector) {
                    let from = piece.start - sector * SECTOR_BYTES;
                    let old = bytes.get(from..bytes.len().min(from + piece.len())).unwrap_or_default();
                    into[piece.start - at..][..old.len()].copy_from_slice(old);
                    *times -= 1;
                }
            }
            self.stale.retain(|_, (_, times)| *times > 0);
        }
        read
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

    /// Makes what is pending durable, and says what the device wrote where it does not belong.
    pub(super) fn sync(&mut self) -> Vec<Stray> {
        let mut strays = Vec::new();
        for Pending { change, .. } in std::mem::take(&mut self.pending) {
            match change {
                Change::Write { at, bytes } | Change::Store { at, bytes } => self.settle(at, &bytes, &mut strays),
                Change::SetLen(len) => self.durable.resize(len, 0),
                Change::Allocate { to } => self.durable.resize(self.durable.len().max(to), 0),
            }
        }
        strays
    }

    fn settle(&mut self, at: usize, bytes: &[u8], strays: &mut Vec<Stray>) {
        if self.mishaps.is_empty() {
            return overwrite(&mut self.durable, at, bytes);
        }
        let mut struck = Vec::new();
        for sector in sectors(at, bytes.len()) {
            if let Some(mishap) = self.mishaps.remove(&(sector.start / SECTOR_BYTES)) {
                struck.push((mishap, sector));
            }
        }
        let before: Vec<Vec<u8>> = struck.iter().map(|(_, sector)| piece_of(&self.durable, sector)).collect();
        overwrite(&mut self.durable, at, bytes);
        for ((mishap, sector), before) in struck.into_iter().zip(before) {
            if let Mishap::Misdirected { file, sector: to } = mishap {
                strays.push(Stray { file, sector: to, bytes: sector_of(&self.durable, sector.start / SECTOR_BYTES) });
            }
            self.durable[sector].copy_from_slice(&before);
        }
    }

    /// What the device shows of a sector once the page cache is gone.
    pub(super) fn overwrite_durable_sector(&mut self, sector: usize, bytes: &[u8]) {
        let at = sector * SECTOR_BYTES;
        if let Some(place) = self.durable.get_mut(at..) {
            let len = place.len().min(bytes.len());
            place[..len].copy_from_slice(&bytes[..len]);
        }
    }

    pub(super) fn plan_mishap(&mut self, sector: usize, mishap: Mishap) {
        self.mishaps.insert(sector, mishap);
    }

    /// Reads give the sector as it is now, so many times.
    pub(super) fn go_stale(&mut self, sector: usize, times: u64) {
        self.stale.insert(sector, (sector_of(&self.visible, sector), times));
    }

    /// The pages of a range that ask for room before they can be changed, on a disk that copies; each once.
    pub(super) fn pages_to_copy(&self, at: u64, end: u64) -> Vec<u64> {
        (at / PAGE_BYTES..end.div_ceil(PAGE_BYTES)).filter(|page| !self.fresh_pages.contains_key(page)).collect()
    }

    /// A page can be changed until the next sync; `beside` what it has on the disk if that must stay until then.
    pub(super) fn freshen(&mut self, page: u64, beside: bool) {
        self.fresh_pages.insert(page, beside);
    }

    /// The room that copies take until the next sync.
    pub(super) fn copied_bytes(&self) -> u64 {
        let copies = self.fresh_pages.values().filter(|beside| **beside).count();
        u64::try_from(copies).expect("few pages") * PAGE_BYTES
    }

    /// Forgets copies from a page on: the disk has room for them again.
    pub(super) fn drop_copies_from(&mut self, page: u64) {
        self.fresh_pages.split_off(&page);
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
            Change::Write { at, bytes } | Change::Store { at, bytes } => (*sequence, sectors(*at, bytes.len()).len()),
            Change::SetLen(_) | Change::Allocate { .. } => (*sequence, 0),
        })
    }

    /// Damage at rest: a sector of zeros.
    pub(super) fn zero_sector(&mut self, sector: usize) {
        let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
        assert!(range.start < self.visible.len(), "the sector to damage lies behind the end of the file");
        for bytes in [&mut self.visible, &mut self.durable] {
            let end = range.end.min(bytes.len());
            bytes[range.start.min(end)..end].fill(0);
        }
    }

    /// Tells contents apart, whatever their history: what is seen, what is durable and what is pending.
    pub(super) fn hash_into(&self, hasher: &mut impl Hasher) {
        let is_at_rest = self.pending.is_empty() && self.durable == self.visible;
        self.visible.hash(hasher);
        (is_at_rest, self.owes_error).hash(hasher);
        if !is_at_rest {
            self.durable.hash(hasher);
            self.pending.iter().for_each(|pending| pending.change.hash(hasher));
        }
    }

    /// Whether a power cut can leave something else than what is seen: because changes wait for a sync, or because a
    /// failed one lost them. A cut to the length that the file has is none.
    pub(super) fn is_at_risk(&self) -> bool {
        self.visible != self.durable || self.pending.iter().any(|pending| self.alters_durable(&pending.change))
    }

    /// Whether a change makes what is durable another. Where none does, nor does any part of them together.
    fn alters_durable(&self, change: &Change) -> bool {
        match change {
            Change::Write { at, bytes } | Change::Store { at, bytes } => {
                self.durable.get(*at..at + bytes.len()).is_none_or(|durable| durable != bytes)
            }
            Change::SetLen(len) => *len != self.durable.len(),
            Change::Allocate { to } => *to > self.durable.len(),
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

/// The bytes of a range, zeros where the content is too short.
fn piece_of(content: &[u8], range: &std::ops::Range<usize>) -> Vec<u8> {
    let mut piece =
        content.get(range.start.min(content.len())..range.end.min(content.len())).unwrap_or_default().to_vec();
    piece.resize(range.len(), 0);
    piece
}

/// A sector of a file, shorter at its end.
fn sector_of(content: &[u8], sector: usize) -> Vec<u8> {
    let start = (sector * SECTOR_BYTES).min(content.len());
    content[start..content.len().min(start + SECTOR_BYTES)].to_vec()
}
