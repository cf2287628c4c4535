//! Feeds any bytes to recovery as a whole directory: opened for reading, for writing, and again after a clean close.
//!
//! Which bytes become which files says the door. The indexes alone have a target of their own. The door that it goes
//! through, `kstore::fuzzing`, exists only under `--cfg fuzzing`.

#![no_main]

use kstore_fuzz::{METER, prove_that_it_counts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: prove_that_it_counts(), |bytes: &[u8]| kstore::fuzzing::recover(bytes, METER));
