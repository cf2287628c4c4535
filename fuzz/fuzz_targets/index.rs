//! Feeds any bytes to the offset and time index: opening, validating and looking up must never read out of bounds.
//!
//! It judges no agreement between index and log; that is the segment's work. The door that it goes through,
//! `kstore::fuzzing`, exists only under `--cfg fuzzing`.

#![no_main]

use kstore_fuzz::{METER, prove_that_it_counts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: prove_that_it_counts(), |bytes: &[u8]| kstore::fuzzing::index(bytes, METER));
