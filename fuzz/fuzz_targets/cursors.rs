//! Feeds any bytes to the log of the named cursors as its records.
//!
//! That log's own recovery is the business of `recover`. The door that it goes through, `kstore::fuzzing`, exists
//! only under `--cfg fuzzing`.

#![no_main]

use kstore_fuzz::METER;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kstore::fuzzing::cursors(bytes, METER));
