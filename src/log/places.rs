//! Where reading probably goes on: the places behind the slices that were given last.
//!
//! Most readers ask for the offset behind what they had, and the walk that found the end of their slice stood right
//! there. A place keeps no file open and pins no segment. The invariant it owns: a place is told only in the generation
//! of the log that it was found in, in which nothing below the log end moves, so that a batch still begins there.

use crate::offset::{Offset, Position};
use crate::record::BatchHeader;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// How many places are kept, each at the slot that its offset leads to.
const SLOTS: usize = 8;
/// What no offset is.
const NOWHERE: u64 = u64::MAX;

/// A place between two batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownPlace {
    /// Of the log's lives, the one in which it was found.
    pub(crate) generation: u64,
    /// The base offset of its segment.
    pub(crate) segment: Offset,
    pub(crate) position: Position,
    /// The offset behind the batch before it.
    pub(crate) due: Offset,
    /// Of the batch that begins there, if it was looked at.
    pub(crate) header: Option<BatchHeader>,
}

/// The last places of several readers.
#[derive(Debug)]
pub(crate) struct KnownPlaces {
    slots: [Slot; SLOTS],
}

#[derive(Debug)]
struct Slot {
    /// The offset of the place, so that nobody locks in vain.
    due: AtomicU64,
    /// Locked for moments; nothing is locked under it.
    place: Mutex<Option<KnownPlace>>,
}

impl Default for KnownPlaces {
    fn default() -> KnownPlaces {
        let slot = |_| Slot { due: AtomicU64::new(NOWHERE), place: Mutex::new(None) };
        KnownPlaces { slots: std::array::from_fn(slot) }
    }
}

impl KnownPlaces {
    pub(crate) fn note(&self, place: KnownPlace) {
        let slot = self.slot(place.due);
        *slot.place.lock() = Some(place);
        slot.due.store(place.due.value(), Ordering::Relaxed);
    }

    /// The place where an offset is due, in this generation and in the segment with this base offset.
    pub(crate) fn find(&self, due: Offset, generation: u64, segment: Offset) -> Option<KnownPlace> {
        let slot = self.slot(due);
        if slot.due.load(Ordering::Relaxed) != due.value() {
            return None;
        }
        let place = *slot.place.lock();
        place.filter(|place| place.due == due && place.generation == generation && place.segment == segment)
    }

    fn slot(&self, due: Offset) -> &Slot {
        // Readers go on in steps that have factors in common with the number of slots; the upper bits of a product do not.
        let mixed = due.value().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        &self.slots[usize::try_from(mixed).unwrap_or(0) % SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(due: u64, generation: u64, segment: u64) -> KnownPlace {
        let position = Position::new(100 * due);
        KnownPlace { generation, segment: Offset::new(segment), position, due: Offset::new(due), header: None }
    }

    #[test]
    fn a_place_is_found_by_its_offset_in_its_generation_and_segment_only() {
        let places = KnownPlaces::default();
        let find = |due, generation, segment| {
            places.find(Offset::new(due), generation, Offset::new(segment)).map(|place| place.position.value())
        };
        assert_eq!(find(7, 1, 0), None);
        places.note(place(7, 1, 0));
        assert_eq!(find(7, 1, 0), Some(700));
        assert_eq!((find(8, 1, 0), find(7, 2, 0), find(7, 1, 7)), (None, None, None));
        places.note(place(7, 2, 7));
        assert_eq!((find(7, 1, 0), find(7, 2, 7)), (None, Some(700)));
    }

    #[test]
    fn the_places_of_several_readers_are_kept_side_by_side() {
        let places = KnownPlaces::default();
        for due in (0..1_000).map(|nth| nth * 16) {
            places.note(place(due, 0, 0));
        }
        let kept = (0..1_000).filter(|nth| places.find(Offset::new(nth * 16), 0, Offset::ZERO).is_some()).count();
        assert_eq!(kept, SLOTS);
    }
}
