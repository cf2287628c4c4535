//! Feeds any bytes to recovery as a whole directory: opened for reading, for writing, and again after a clean close.
//!
//! Which bytes become which files says `kstore::fuzzing`, which exists only under `--cfg fuzzing`. The indexes alone
//! have a target of their own.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kstore::fuzzing::recover(bytes));
