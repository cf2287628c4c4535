//! A quick hash, by which disks are told apart many times a second.
//!
//! Nobody makes disks collide on purpose, so that it need not be safe from that. The invariant it owns: each bit of what
//! goes in can change each bit of what comes out.

use std::hash::Hasher;

const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

#[derive(Debug, Default)]
pub(super) struct Digest {
    state: u64,
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    /// The product's halves, folded: the upper bits of the one reach the lower ones of the other.
    fn write_u64(&mut self, word: u64) {
        let mixed = self.state ^ word ^ FIRST;
        let high = u64::try_from((u128::from(mixed) * u128::from(FACTOR)) >> 64).expect("half of a product");
        self.state = mixed.wrapping_mul(FACTOR) ^ high;
    }

    fn finish(&self) -> u64 {
        let mut last = Digest { state: self.state };
        last.write_u64(FACTOR);
        last.state
    }
}
