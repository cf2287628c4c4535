//! Chance from a seed: splitmix64, which is enough to vary tests and small enough to never change.
//!
//! Not for secrets. The invariant it owns: one seed, one sequence, on every machine and in every version.

#[derive(Clone, Debug)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`. The remainder's bias is far below what a test could notice.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing lies below 0");
        self.next() % bound
    }

    pub(super) fn per_mille(&mut self, chance: u64) -> bool {
        chance > 0 && self.below(1000) < chance
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let bound = u64::try_from(last).expect("an index in memory fits 64 bits") + 1;
            items.swap(last, usize::try_from(self.below(bound)).expect("no more than an index in memory"));
        }
    }

    /// A generator of its own, so that what is drawn from it does not shift what is drawn here.
    pub(super) fn fork(&mut self) -> Random {
        Random::new(self.next())
    }
}
