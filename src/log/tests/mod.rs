//! Tests of a whole log, on the simulated disk.

mod bench;
mod callbacks;
mod damage;
mod durability;
mod epochs;
mod faults;
mod follower;
mod hostile;
mod leftovers;
mod model;
mod opening;
mod races;
mod rolls;
mod room;
mod tail;
mod times;
mod timestamps;
mod truncation;
mod waiting;
mod watermark;
