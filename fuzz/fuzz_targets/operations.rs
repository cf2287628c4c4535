//! Runs operations, faults and crashes that the bytes choose, on a simulated disk, against a model.
//!
//! The model is that of the unit tests, which let chance choose. The door that it goes through, `kstore::fuzzing`,
//! exists only under `--cfg fuzzing`.

#![no_main]

use kstore_fuzz::{METER, prove_that_it_counts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: prove_that_it_counts(), |bytes: &[u8]| kstore::fuzzing::operations(bytes, METER));
