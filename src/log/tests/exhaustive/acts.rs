//! What a sequence is made of: the operations of a log, their arguments drawn from where the log stands.

use std::time::Duration;

use crate::log::tests::model::Step;
use crate::log::tests::model::expected::Kept;
use crate::log::tests::model::world::World;
use crate::log::tests::properties;
use crate::offset::Timestamp;

/// Each segment has room for two batches of two records, and a little more.
pub(in crate::log::tests) const SEGMENT_BYTES: u64 = 400;

/// One operation. Those on the end of the log name where they cut, relative to what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::log::tests) enum Act {
    /// One record, which the active segment of the first log has room for.
    Append,
    /// Three records, which it has not.
    AppendRolling,
    AppendSynced,
    AppendAndCommit,
    /// A batch of two, behind a gap of two.
    Follow,
    Sync,
    Roll,
    /// Inside the last batch that has an inside.
    CutInside,
    /// In front of the last batch.
    CutAtBatch,
    /// Inside a batch of the first segment.
    CutAcross,
    /// Asks for a place inside a batch, and gets the front of it.
    CutToBatch,
    ResetForwards,
    ResetBack,
    /// Into the first batch.
    DeleteInside,
    /// Beyond the first segment, into a batch.
    DeleteAcross,
    DeleteOld,
    RunOnce,
    Reopen,
}

impl Act {
    pub(in crate::log::tests) const ALL: [Act; 18] = [
        Act::Append,
        Act::AppendRolling,
        Act::AppendSynced,
        Act::AppendAndCommit,
        Act::Follow,
        Act::Sync,
        Act::Roll,
        Act::CutInside,
        Act::CutAtBatch,
        Act::CutAcross,
        Act::CutToBatch,
        Act::ResetForwards,
        Act::ResetBack,
        Act::DeleteInside,
        Act::DeleteAcross,
        Act::DeleteOld,
        Act::RunOnce,
        Act::Reopen,
    ];

    /// Does it. `false` if the log has nothing that it could be done to. `nth` makes values that no other act makes.
    pub(in crate::log::tests) fn perform(self, world: &mut World<'_>, nth: u64) -> bool {
        let (start, end) = (world.expected.start, world.expected.end);
        match self {
            Act::Append => world.append_batches(Step::Append, vec![records(end, 1, nth)]),
            Act::AppendRolling => world.append_batches(Step::Append, vec![records(end, 3, nth)]),
            Act::AppendSynced => world.append_batches(Step::AppendSynced, vec![records(end, 2, nth)]),
            Act::AppendAndCommit => world.append_batches(Step::AppendAndCommit, vec![records(end, 1, nth)]),
            Act::Follow => world.follow(vec![(end + 2, records(end + 2, 2, nth))]),
            Act::Sync => world.perform(Step::Sync),
            Act::Roll => world.perform(Step::Roll),
            Act::CutInside | Act::CutToBatch => {
                let has_inside = |(end, base): &(&u64, &u64)| **end - **base > 1 && **base >= start;
                let Some((_, base)) = world.expected.batches.iter().rev().find(has_inside) else { return false };
                let cut = base + 1;
                if self == Act::CutInside { world.cut_to(cut) } else { world.cut_to_batch(cut) }
            }
            Act::CutAtBatch => match world.expected.batches.iter().next_back() {
                Some((_, &base)) if base >= start => world.cut_to(base),
                _ => return false,
            },
            Act::CutAcross if start + 3 < end => world.cut_to(start + 3),
            Act::ResetForwards => world.begin_anew(end + 3),
            Act::ResetBack => world.begin_anew(start),
            Act::DeleteInside if start < end => world.delete_before(start + 1),
            Act::DeleteAcross if start + 5 < end => world.delete_before(start + 5),
            Act::CutAcross | Act::DeleteInside | Act::DeleteAcross => return false,
            Act::DeleteOld => world.delete_old_segments(),
            Act::RunOnce => {
                world.disk.advance(Duration::from_secs(100));
                world.perform(Step::RunOnce);
            }
            Act::Reopen => reopen(world),
        }
        true
    }
}

/// Closes the log and opens it, as far as the power lasts.
fn reopen(world: &mut World<'_>) {
    let closed = world.log.close();
    if world.disk.is_off() {
        return;
    }
    closed.expect("a healthy disk");
    let opened = properties::open(&world.disk, &world.options.config);
    if world.disk.is_off() {
        return;
    }
    world.log = opened.expect("what was closed opens");
    let (start, end) = (world.log.log_start_offset().value(), world.log.log_end_offset().value());
    assert_eq!((start, end), (world.expected.start, world.expected.end), "a clean close keeps everything");
    world.expected.note_clean_close();
}

/// Records that say their offset and the act that made them, each a little later than the one before.
pub(in crate::log::tests) fn records(base: u64, count: u64, nth: u64) -> Vec<Kept> {
    let record = |offset: u64| Kept {
        key: None,
        value: Some(format!("{nth}-{offset:028}").into_bytes()),
        headers: Vec::new(),
        timestamp: Some(Timestamp::from_millis(1_700_000_000_000 + (offset * 10 + nth).cast_signed())),
    };
    (base..base + count).map(record).collect()
}
