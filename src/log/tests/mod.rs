//! Tests of a whole log, on the simulated disk.

mod bench;
mod faults;
mod model;
