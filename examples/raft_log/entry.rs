//! What the entries hold: bytes that say themselves whether they are what was proposed.
//!
//! The invariant it owns: a payload follows from its seed, its term and its index alone, so that an entry that got to
//! the wrong place, or was changed, is found out wherever it is read.

use crate::log_store::{Entry, LogId};

const LONGEST_FILLER_BYTES: u64 = 200;

/// The entry that a leader of this term proposes for this index.
pub(crate) fn proposed(seed: u64, id: LogId) -> Entry {
    let mut dice = mix(mix(seed, id.term), id.index);
    let filler = (0..dice % LONGEST_FILLER_BYTES).map(|_| {
        dice = mix(dice, 1);
        dice.to_be_bytes()[0]
    });
    let mut payload: Vec<u8> = [seed, id.term, id.index].into_iter().flat_map(u64::to_be_bytes).collect();
    payload.extend(filler);
    Entry { id, payload }
}

/// Whether an entry is what its leader proposed, of whichever run.
pub(crate) fn is_sound(entry: &Entry) -> bool {
    let seed = entry.payload.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
    seed.is_some_and(|seed| proposed(seed, entry.id) == *entry)
}

/// The state machine: the digest behind an entry, from the one before it.
pub(crate) fn apply(digest: u64, entry: &Entry) -> u64 {
    let with_term = mix(mix(digest, entry.id.term), entry.id.index);
    entry.payload.iter().fold(with_term, |digest, &byte| mix(digest, u64::from(byte)))
}

/// A number that depends on every bit of both. No cryptography: it guards against mistakes.
pub(crate) fn mix(one: u64, other: u64) -> u64 {
    let mixed = (one ^ other.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 29)).wrapping_add(0x94d0_49bb_1331_11eb)
}
