//! Builds messages of formats 0 and 1 from a recipe and compares what is read of them with it.
//!
//! Messages that are broken as bytes are the business of `batch`. The door that it goes through, `kstore::fuzzing`,
//! exists only under `--cfg fuzzing`.

#![no_main]

use kstore_fuzz::{METER, prove_that_it_counts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: prove_that_it_counts(), |bytes: &[u8]| kstore::fuzzing::legacy(bytes, METER));
