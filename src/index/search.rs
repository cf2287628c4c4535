//! Searches that stay on warm pages.
//!
//! Knows slots and a question about them that may fail, no file and no entry. Most lookups concern the end of an index; a plain
//! binary search would touch the middle, the three quarters, … of a file whose cold pages nobody else keeps in memory.
//! So the last 8 KiB are asked first: at most three pages, and always the same ones (Kafka's `AbstractIndex`).
//!
//! Where slots have keys that rise about evenly, as offsets do, [`slots_up_to`] looks where the key is to be expected, and
//! from there in steps that double: a few looks close together in place of a dozen all over the file, and never more than
//! twice as many as a binary search takes.

use std::io;

/// Bytes at the end of an index that are searched first.
const WARM_BYTES: u64 = 8192;

/// The number of leading slots for which `holds` is true. It must be true for a prefix of the slots and false behind.
pub(super) fn prefix_len(slots: u64, entry_bytes: usize, holds: impl Fn(u64) -> io::Result<bool>) -> io::Result<u64> {
    let Some(last) = slots.checked_sub(1) else { return Ok(0) };
    let first_warm = last.saturating_sub(warm_slots(entry_bytes));
    if holds(first_warm)? { bisect(first_warm + 1, slots, holds) } else { bisect(0, first_warm, holds) }
}

/// The number of leading slots whose key is at or below `target`: what [`prefix_len`] finds. The keys never fall; where a
/// damaged file says otherwise, the answer is some number of slots, the last of which has such a key.
pub(super) fn slots_up_to(
    slots: u64,
    entry_bytes: usize,
    target: u64,
    key: impl Fn(u64) -> io::Result<u64>,
) -> io::Result<u64> {
    let Some(last) = slots.checked_sub(1) else { return Ok(0) };
    let first_warm = last.saturating_sub(warm_slots(entry_bytes));
    let border = key(first_warm)?;
    let holds = |slot| Ok(key(slot)? <= target);
    if border > target {
        let guess = share(first_warm, target, border);
        return gallop(0, first_warm, guess, holds);
    }
    if first_warm == last {
        // The only slot, which is not asked twice: in a file of another process it may have another key by then.
        return Ok(slots);
    }
    let largest = key(last)?;
    if largest <= target {
        return Ok(slots);
    }
    let guess = first_warm + share(last - first_warm, target - border, largest.saturating_sub(border));
    gallop(first_warm + 1, last, guess, holds)
}

/// As many of the slots as `part` is of `whole`.
fn share(slots: u64, part: u64, whole: u64) -> u64 {
    slots.checked_mul(part).and_then(|product| product.checked_div(whole)).unwrap_or(slots / 2)
}

/// The first slot in `low..high` for which `holds` is false, or `high`; near the guess if that is a good one.
fn gallop(mut low: u64, mut high: u64, guess: u64, holds: impl Fn(u64) -> io::Result<bool>) -> io::Result<u64> {
    if low == high {
        return Ok(low);
    }
    let guess = guess.clamp(low, high - 1);
    let (mut step, is_above) = (1, holds(guess)?);
    if is_above {
        low = guess + 1
    } else {
        high = guess
    }
    while low < high {
        let probe = if is_above { (low + step - 1).min(high - 1) } else { high.saturating_sub(step).max(low) };
        let holds_there = holds(probe)?;
        if holds_there {
            low = probe + 1
        } else {
            high = probe
        }
        if holds_there != is_above {
            break;
        }
        step *= 2;
    }
    bisect(low, high, holds)
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

    /// Keys that rise evenly, by leaps, hardly ever, and to the format's largest ones.
    fn some_keys(slots: u64) -> [Vec<u64>; 5] {
        let evenly = (0..slots).map(|slot| 3 * slot + 7).collect();
        let squares = (0..slots).map(|slot| slot * slot).collect();
        let roots = (0..slots).map(|slot| slot.isqrt()).collect();
        let mut late: Vec<u64> = (0..slots).collect();
        late.iter_mut().skip(1).for_each(|key| *key += u64::from(u32::MAX) - slots);
        [evenly, squares, roots, late, vec![5; usize::try_from(slots).unwrap()]]
    }

    // Row 84.
    #[test]
    fn the_search_by_keys_finds_what_a_plain_search_finds() {
        for (entry_bytes, slots) in [8, 12].into_iter().flat_map(|entry_bytes| SIZES.map(|slots| (entry_bytes, slots)))
        {
            for keys in some_keys(slots) {
                let targets = keys.iter().flat_map(|key| [key.saturating_sub(1), *key, key + 1]);
                for target in targets.chain([0, u64::from(u32::MAX), u64::MAX]) {
                    let found =
                        slots_up_to(slots, entry_bytes, target, |slot| Ok(keys[usize::try_from(slot).unwrap()]));
                    let expected = keys.partition_point(|key| *key <= target) as u64;
                    assert_eq!(found.unwrap(), expected, "{target} among {slots} slots");
                }
            }
        }
    }

    #[test]
    fn the_search_by_keys_takes_few_looks_at_even_ones_and_no_more_than_twice_a_plain_search_at_any() {
        let slots = 1 << 18;
        let most_looks = |keys: &[u64]| {
            let looks = |target: u64| {
                let looks = Cell::new(0_u32);
                slots_up_to(slots, 8, target, |slot| {
                    looks.set(looks.get() + 1);
                    Ok(keys[usize::try_from(slot).unwrap()])
                })
                .unwrap();
                looks.get()
            };
            keys.iter().step_by(97).map(|key| looks(*key)).max().unwrap()
        };
        let [evenly, others @ ..] = some_keys(slots);
        assert!(most_looks(&evenly) <= 6, "{} looks", most_looks(&evenly));
        for keys in others {
            assert!(most_looks(&keys) <= 2 * slots.ilog2() + 4, "{} looks", most_looks(&keys));
        }
    }

    #[test]
    fn keys_in_no_order_give_an_answer_within_the_slots() {
        for slots in SIZES {
            let scrambled = |slot: u64| io::Result::Ok((slot + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32);
            for target in (0..u64::from(u32::MAX)).step_by(1 << 27).chain([u64::MAX]) {
                let found = slots_up_to(slots, 8, target, scrambled).unwrap();
                assert!(found <= slots);
                assert!(found.checked_sub(1).is_none_or(|last| scrambled(last).unwrap() <= target));
            }
        }
    }

    // A file that another process rewrites in place: the only slot was looked at twice and had two keys.
    #[test]
    fn keys_that_change_while_they_are_searched_give_an_answer_within_the_slots() {
        for slots in [1, 2, 3, 1024, 1025, 1026, 5000] {
            for seed in 1..200_u64 {
                let look = Cell::new(seed);
                let changing = |_| {
                    look.set(look.get().wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31));
                    io::Result::Ok(look.get() % 8)
                };
                for target in 0..8 {
                    let found = slots_up_to(slots, 8, target, changing).unwrap();
                    assert!(found <= slots, "{found} of {slots} slots, seed {seed}");
                }
            }
        }
    }

    // Row 84.
    #[test]
    fn a_search_by_keys_that_ends_in_the_warm_section_asks_no_slot_before_it() {
        for (entry_bytes, warm) in [(8, 1024), (12, 682)] {
            for slots in SIZES.into_iter().filter(|slots| *slots > warm) {
                for keys in some_keys(slots) {
                    let first_warm = slots - 1 - warm;
                    for target in &keys[usize::try_from(first_warm).unwrap()..] {
                        slots_up_to(slots, entry_bytes, *target, |slot| {
                            assert!(slot >= first_warm, "slot {slot} of {slots}");
                            Ok(keys[usize::try_from(slot).unwrap()])
                        })
                        .unwrap();
                    }
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
