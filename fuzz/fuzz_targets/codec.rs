//! Feeds any bytes to one codec, to unfold under a cap and to fold and unfold again.
//!
//! It knows no batch. The door that it goes through, `kstore::fuzzing`, exists only under `--cfg fuzzing`.

#![no_main]

use kstore_fuzz::{METER, prove_that_it_counts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: prove_that_it_counts(), |bytes: &[u8]| kstore::fuzzing::codec(bytes, METER));
