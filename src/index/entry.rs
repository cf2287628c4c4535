//! What the two kinds of entries have in common, as bytes and as an order.
//!
//! Knows one entry at a time. Relative offsets and positions are signed in the format and never negative there; they
//! are read as unsigned numbers, so that a negative one is merely too large and decoding is total.

use std::fmt::Debug;
use std::io;

use super::written::Bytes;
use crate::offset::Offset;

/// The largest relative offset and the largest position: the format's fields are `i32`.
pub(super) const FIELD_MAX: u64 = i32::MAX as u64;

/// The size of the largest kind of entry.
pub(super) const LARGEST_ENTRY_BYTES: usize = 12;

/// An entry of a [`SparseIndex`](super::sparse::SparseIndex).
pub(super) trait Entry: Copy + Debug {
    const SIZE_BYTES: usize;
    /// Where in an entry the field of its offset stands.
    const OFFSET_AT: u64;

    /// The offset that the entry speaks of; non-decreasing over the entries of an index.
    fn offset(self) -> Offset;

    /// Writes the entry. Its fields fit, which [`Entry::misfit`] has made sure of.
    fn encode(self, base: Offset, into: &mut [u8]);

    /// Reads the entry at a place; any bytes give an entry.
    fn read(bytes: &Bytes, at: u64, base: Offset) -> io::Result<Self>;

    /// Why the entry cannot stand in an index of this base offset, if it cannot.
    fn misfit(self, base: Offset) -> Option<&'static str>;

    /// Whether its bytes are zeros, as those of an entry that was never written.
    fn is_blank(self, base: Offset) -> bool;
}

/// Why an offset cannot be stored relative to a base, if it cannot.
pub(super) fn offset_misfit(offset: Offset, base: Offset) -> Option<&'static str> {
    match offset.checked_distance(base) {
        Some(relative) if relative <= FIELD_MAX => None,
        Some(_) => Some("its offset is more than 2^31 - 1 above the base offset"),
        None => Some("its offset lies below the base offset"),
    }
}

/// The field for a relative offset that fits.
pub(super) fn relative_field(offset: Offset, base: Offset) -> u32 {
    u32::try_from(offset - base).expect("entries that do not fit are refused before they are encoded")
}
