//! Feeds any bytes to segment recovery as the content of a `.log` file: it must end, within bounds, and be idempotent.
//!
//! The indexes have a target of their own. The door it goes through, `kstore::fuzzing`, exists only under
//! `--cfg fuzzing`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| kstore::fuzzing::recover(bytes));
