//! Faults, room, time and counters.
