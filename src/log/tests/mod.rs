//! Tests of a whole log, on the simulated disk.

mod bench;
mod callbacks;
mod cap;
mod damage;
mod deletion;
mod durability;
mod epochs;
mod faults;
mod follow_model;
mod follower;
mod foreign_writer;
mod hostile;
mod leftovers;
mod model;
mod opening;
mod races;
mod retention;
mod rolls;
mod room;
mod tail;
mod times;
mod timestamps;
mod truncation;
mod truncation_crash;
mod waiting;
mod watermark;
