//! Feeds any bytes to the record batch decoder: every answer must be a value or a typed error.
//!
//! Not a judge of recovered contents; `recover` is. The door that it goes through, `kstore::fuzzing`, exists only
//! under `--cfg fuzzing`.

#![no_main]

use kstore_fuzz::{METER, prove_that_it_counts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: prove_that_it_counts(), |bytes: &[u8]| kstore::fuzzing::batch(bytes, METER));
