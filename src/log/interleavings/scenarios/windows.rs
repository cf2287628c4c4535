//! The mapped tail, with the thread that lays windows for it, while everybody else changes the log.
//!
//! The simulated disk knows which windows live: a cut below the end of one fails the scenario (rule 22), and so does a store
//! into room that was not allocated (rule 21).

use std::sync::Arc;

use crate::config::{LogConfig, Worker, WriteMode};
use crate::fs::sim::{CallKind, Fault, FaultKind};

use super::world::{World, small};
use super::{Crew, choice, once_in};

/// Two batches fill a window of a page, and some lie in two.
const WIDTH: usize = 1500;

fn mapped() -> LogConfig {
    let config = small().segment_bytes(20_000).write_mode(WriteMode::Mapped).worker(Worker::Thread);
    LogConfig { window_bytes: 1, ..config }
}

/// One of the calls that a window takes fails, once.
fn some_fault(world: &World) {
    let call = match choice(3) {
        0 => CallKind::Allocate,
        1 => CallKind::MapWindow,
        _ => CallKind::PopulateWindow,
    };
    let kind = if once_in(2) { FaultKind::NoSpace } else { FaultKind::InputOutput };
    world.disk.fail(Fault::once(call, 1 + choice(3), kind));
}

fn change(world: &World) {
    match choice(6) {
        0 => {
            let end = choice(world.log.log_end_offset().value() + 1);
            drop(world.truncate(end));
            world.look();
        }
        1 => {
            for mode in [WriteMode::Write, WriteMode::Mapped] {
                world.log.update_config(|config| config.write_mode(mode)).expect("a sound configuration");
                drop(world.append(false));
            }
        }
        2 => drop(world.log.roll()),
        3 => world.close(),
        4 => drop(world.sync()),
        _ => {
            world.log.update_config(|config| config.segment_bytes(5_000)).expect("a sound configuration");
        }
    }
    drop(world.append(false));
}

pub(super) fn everything() {
    let world = Arc::new(World::of_wide_records(mapped(), choice(4), WIDTH));
    if once_in(3) {
        some_fault(&world);
    }
    let mut crew = Crew::default();
    crew.does(&world, |world| {
        for _ in 0..4 {
            drop(world.append(once_in(6)));
        }
        world.look();
    });
    crew.does(&world, |world| {
        for _ in 0..3 {
            drop(world.append(false));
        }
    });
    for _ in 0..=choice(2) {
        crew.does(&world, change);
    }
    crew.ends();
    if !world.facts().closing {
        world.look();
        if once_in(2) {
            world.close();
        }
    }
    world.ends_well();
}
