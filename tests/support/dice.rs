//! Random numbers that follow from a seed, which is printed and can be given.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seeds of tests on real kernels: `KSTORE_SEED`, or another each time, for what the kernel does is not repeated anyway.
pub(crate) fn seed(of: &str) -> u64 {
    let given = std::env::var("KSTORE_SEED").ok();
    let seed = match given {
        Some(seed) => seed.parse().expect("KSTORE_SEED is a number"),
        None => SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").subsec_nanos().into(),
    };
    println!("{of}: KSTORE_SEED={seed}");
    seed
}

/// Splitmix64.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// A number below the bound, which is 1 or more.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % bound
    }

    pub(crate) fn millis_below(&mut self, bound: u64) -> Duration {
        Duration::from_micros(self.below(bound * 1000))
    }
}
