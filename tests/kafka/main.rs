//! Apache Kafka as the judge: its own log classes open what kstore wrote, and kstore goes on with what Kafka wrote.
//!
//! Here are the parts only. Whatever kstore reads back of a directory, Kafka must read too, cleanly closed or not, and
//! answer lookups by time and by leader epoch alike; what that means stands in `agreement.rs`, once.

#![cfg(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]
#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is about Kafka")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

#[allow(dead_code, reason = "rounds are had again by their number, not by a seed")]
#[path = "../support/dice.rs"]
mod dice;
#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/site.rs"]
mod site;

mod agreement;
mod both_ways;
mod each_step;
mod following;
mod front;
mod golden_copies;
mod judge;
mod killed;
mod leftovers;
mod place;
#[cfg(feature = "sim")]
mod power_cuts;
mod truncation;
