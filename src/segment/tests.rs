//! Tests of one segment: append, lookup, roll and recovery, on the simulated disk.
