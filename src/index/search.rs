//! Binary search that stays on warm pages.
//!
//! Knows slots and a question about them that may fail, no file and no entry. Most lookups concern the end of an index; a plain
//! binary search would touch the middle, the three quarters, … of a file whose cold pages nobody else keeps in memory.
//! So the last 8 KiB are asked first: at most three pages, and always the same ones (Kafka's `AbstractIndex`).

use std::io;

/// Bytes at the end of an index that are searched first.
const WARM_BYTES: u64 = 8192;

/// The number of leading slots for which `holds` is true. It must be true for a prefix of the slots and false behind.
pub(super) fn prefix_len(slots: u64, entry_bytes: usize, holds: impl Fn(u64) -> io::Result<bool>) -> io::Result<u64> {
    let Some(last) = slots.checked_sub(1) else { return Ok(0) };
    let first_warm = last.saturating_sub(warm_slots(entry_bytes));
    if holds(first_warm)? { bisect(first_warm + 1, slots, holds) } else { bisect(0, first_warm, holds) }
}

/// Kafka's 1,024 offset entries or 682 time entries.
fn warm_slots(entry_bytes: usize) -> u64 {
    WARM_BYTES / u64::try_from(entry_bytes).expect("an entry has a dozen bytes")
}

/// The first slot in `low..high` for which `holds` is false, or `high`.
fn bisect(mut low: u64, mut high: u64, holds: impl Fn(u64) -> io::Result<bool>) -> io::Result<u64> {
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Sizes around both warm sections, their doubles, and nothing.
    const SIZES: [u64; 22] = [
        0, 1, 2, 3, 681, 682, 683, 684, 685, 1023, 1024, 1025, 1026, 1027, 1364, 1365, 1366, 2047, 2048, 2049, 2050,
        5000,
    ];

    // Row 84.
    #[test]
    fn the_warm_search_finds_what_a_plain_search_finds() {
        for entry_bytes in [8, 12] {
            for slots in SIZES {
                for holding in 0..=slots {
                    let found = prefix_len(slots, entry_bytes, |slot| {
                        assert!(slot < slots, "slot {slot} of {slots} was asked");
                        Ok(slot < holding)
                    });
                    assert_eq!(found.unwrap(), holding, "of {slots} slots of {entry_bytes} bytes");
                }
            }
        }
    }

    // Row 84.
    #[test]
    fn a_search_that_ends_in_the_warm_section_asks_no_slot_before_it() {
        for (entry_bytes, warm) in [(8, 1024), (12, 682)] {
            for slots in SIZES.into_iter().filter(|slots| *slots > warm) {
                for holding in slots - warm..=slots {
                    let lowest = Cell::new(slots);
                    prefix_len(slots, entry_bytes, |slot| {
                        lowest.set(lowest.get().min(slot));
                        Ok(slot < holding)
                    })
                    .unwrap();
                    assert_eq!(lowest.get(), slots - 1 - warm);
                }
            }
        }
    }
}
