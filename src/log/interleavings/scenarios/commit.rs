//! Group commit: who is told yes, and by whose sync; and what a sync or a truncation that fails does to the others.

use std::sync::Arc;

use crate::config::{SyncPolicy, WriteMode};
use crate::error::Error;
use crate::fs::sim::{CallKind, Fault, FaultKind};

use super::world::{World, small};
use super::{Crew, choice, once_in};

/// A log that rolls while it is synced, sometimes with room allocated ahead.
fn world(records: u64) -> Arc<World> {
    let mode = if once_in(2) { WriteMode::Preallocated } else { WriteMode::Write };
    let policy = if once_in(3) { SyncPolicy::Always } else { SyncPolicy::Never };
    Arc::new(World::new(small().write_mode(mode).sync_policy(policy), records))
}

fn appends_and_syncs(world: &World) {
    for _ in 0..2 {
        let told = match choice(3) {
            0 => world.append(false).map(drop).and_then(|()| world.sync()),
            1 => world.sync(),
            _ => world.append(true).map(drop),
        };
        if matches!(told, Err(Error::Failed { .. })) {
            stays_failed(world);
        }
    }
}

/// Who was told of the failure is acknowledged nothing more, until the log is reopened.
fn stays_failed(world: &World) {
    let before = world.facts().reopenings;
    let told = world.append(false);
    if world.facts().reopenings == 0 && before == 0 {
        assert!(matches!(told, Err(Error::Failed { .. } | Error::Closed)), "{told:?} after a failure");
    }
}

/// One sync among the next few fails, or two do.
fn break_the_disk(world: &World) {
    world.facts().failing = true;
    let call = if once_in(5) { CallKind::SyncDir } else { CallKind::SyncData };
    world.disk.fail(Fault::once(call, 1 + choice(4), FaultKind::InputOutput));
    if once_in(4) {
        world.disk.fail(Fault::once(CallKind::SyncData, 1 + choice(6), FaultKind::InputOutput));
    }
}

pub(super) fn healthy() {
    let world = world(choice(2));
    let mut crew = Crew::default();
    for _ in 0..3 {
        crew.does(&world, appends_and_syncs);
    }
    crew.ends();
    world.ends_well();
}

pub(super) fn failing() {
    let world = world(choice(3));
    break_the_disk(&world);
    let mut crew = Crew::default();
    for _ in 0..3 {
        crew.does(&world, appends_and_syncs);
    }
    crew.does(&world, World::look);
    crew.ends();
    world.ends_well();
}

pub(super) fn reopening() {
    let world = world(choice(3));
    break_the_disk(&world);
    let mut crew = Crew::default();
    for _ in 0..2 {
        crew.does(&world, appends_and_syncs);
    }
    crew.does(&world, |world| {
        drop(world.sync());
        if once_in(2) {
            world.reopen_without_cache();
        } else {
            world.reopen();
        }
        drop(world.append(true));
    });
    crew.does(&world, World::look);
    crew.ends();
    world.disk.heal();
    world.reopen();
    world.append(true).expect("the disk is well again");
    world.look();
    world.ends_well();
}

pub(super) fn truncating() {
    let world = world(3);
    if once_in(2) {
        break_the_disk(&world);
    }
    let mut crew = Crew::default();
    for _ in 0..2 {
        crew.does(&world, appends_and_syncs);
    }
    crew.does(&world, |world| {
        drop(world.truncate(choice(4)));
        drop(world.append(once_in(2)));
    });
    crew.ends();
    world.ends_well();
}
