//! What a power cut leaves of a file: the questions about its pending changes, and their number.
//!
//! The invariant it owns: [`Content::count_answers`] counts what [`Content::after_power_cut`] asks.

use std::collections::BTreeMap;

use super::{Change, Content, Pending, overwrite, sectors};
use crate::fs::sim::crash::{Atom, Choose, CrashStrength, Part};

impl Content {
    /// What a power cut leaves. Data, sector by sector, and lengths are kept or lost independently; under `Ordered` the
    /// lengths go only as far as the first that was not wholly kept.
    pub(in crate::fs::sim) fn after_power_cut(
        &self,
        strength: CrashStrength,
        inode: u64,
        choose: Choose<'_>,
    ) -> Vec<u8> {
        let mut image = Image { bytes: self.durable.clone(), len: self.durable.len(), lengths_kept: true };
        for Pending { sequence, change } in &self.pending {
            let mut ask = |part, options| {
                let answer = choose(&Atom { sequence: *sequence, inode, part }, options);
                assert!(answer < options, "a choice outside its options");
                answer
            };
            let whole = match change {
                Change::Write { at, bytes } => image.write(*at, bytes, &mut ask),
                Change::Store { at, bytes } => image.store(*at, bytes, &mut ask),
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

    /// In how many ways [`Content::after_power_cut`] can be answered, or the largest number if they are more.
    pub(in crate::fs::sim) fn count_answers(&self, strength: CrashStrength) -> u64 {
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
}

impl Change {
    /// In how many ways its data can be kept or lost.
    fn data_answers(&self) -> u64 {
        match self {
            Change::Write { at, bytes } => {
                2_u64.saturating_pow(u32::try_from(sectors(*at, bytes.len()).len()).unwrap_or(u32::MAX))
            }
            Change::Store { at, bytes } => {
                let halvable = |sector: &std::ops::Range<usize>| if sector.len() > 1 { 3_u64 } else { 2 };
                sectors(*at, bytes.len()).iter().map(halvable).fold(1, u64::saturating_mul)
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
            // A map ends where its file ends.
            Change::Allocate { .. } | Change::Store { .. } => vec![len],
        }
    }
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

    /// A page is written back at any moment, also in the middle of a store: of a sector's bytes the first half can be kept
    /// alone. The length of the file stays.
    fn store(&mut self, at: usize, bytes: &[u8], ask: &mut dyn FnMut(Part, u64) -> u64) -> bool {
        let sectors = sectors(at, bytes.len());
        for (index, sector) in sectors.iter().enumerate() {
            let part = Part::Data { sector: index, sectors: sectors.len() };
            let options = if sector.len() > 1 { 3 } else { 2 };
            let end = match ask(part, options) {
                0 => continue,
                answer if answer + 1 == options => sector.end,
                _ => sector.start + sector.len() / 2,
            };
            overwrite(&mut self.bytes, sector.start, &bytes[sector.start - at..end - at]);
        }
        true
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
