//! Feeds any bytes to the readers of Kafka's small text files.
//!
//! What the entries mean for a log is the business of `recover`. The door that it goes through, `kstore::fuzzing`,
//! exists only under `--cfg fuzzing`.

#![no_main]

use kstore_fuzz::METER;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kstore::fuzzing::checkpoint(bytes, METER));
