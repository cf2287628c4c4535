//! What all targets share: an allocator that counts, for the door to ask how much memory a call took.
//!
//! Nothing here knows what is fuzzed. It counts what Rust allocates; what a C library takes by itself it does not see.

use kstore::fuzzing::Meter;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Counts the bytes that are in use.
pub const METER: Meter = Meter { restart, peak };

fn restart() -> usize {
    ALLOCATOR.reset_peak_usage();
    ALLOCATOR.current_usage()
}

fn peak() -> usize {
    ALLOCATOR.peak_usage()
}

/// An allocator that counts nothing would let everything pass.
pub fn prove_that_it_counts() {
    const BYTES: usize = 1 << 20;
    let before = restart();
    drop(std::hint::black_box(vec![1_u8; BYTES]));
    assert!(peak() >= before + BYTES, "the allocator did not see a megabyte");
    assert!(restart() < before + BYTES, "the allocator did not see it go");
}
