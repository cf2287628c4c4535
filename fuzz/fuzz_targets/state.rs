//! Feeds any bytes to the reader of `kstore.state`, and writes on.
//!
//! That a state agrees with the segments is the business of `recover`. The door that it goes through,
//! `kstore::fuzzing`, exists only under `--cfg fuzzing`.

#![no_main]

use kstore_fuzz::METER;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kstore::fuzzing::state(bytes, METER));
