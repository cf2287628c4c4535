//! Feeds any bytes to the record batch decoder: every answer must be a value or a typed error.
//!
//! Not a judge of recovered contents; `recover` is. The door that it goes through, `kstore::fuzzing`, exists only
//! under `--cfg fuzzing`.

#![no_main]

use kstore_fuzz::METER;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kstore::fuzzing::batch(bytes, METER));
