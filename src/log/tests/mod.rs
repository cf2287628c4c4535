//! Tests of a whole log, on the simulated disk.
