//! Feeds any bytes to the log of the named cursors as its records.
//!
//! That log's own recovery is the business of `recover`. The door that it goes through, `kstore::fuzzing`, exists
//! only under `--cfg fuzzing`.

#![no_main]

use kstore_fuzz::{METER, prove_that_it_counts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: prove_that_it_counts(), |bytes: &[u8]| kstore::fuzzing::cursors(bytes, METER));
