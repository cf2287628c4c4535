//! Appends, reads, truncations, deletions and a close, all at once.

use std::sync::Arc;

use crate::config::{LogConfig, SyncPolicy, Worker, WriteMode};
use crate::error::Error;
use crate::slice::LogSlice;

use super::world::{World, at, number, small};
use super::{Crew, choice, once_in};

fn some_policy() -> SyncPolicy {
    match choice(3) {
        0 => SyncPolicy::Never,
        1 => SyncPolicy::Always,
        _ => SyncPolicy::Every { records: Some(2), bytes: None, interval_ms: None },
    }
}

/// One of the ways in which a log is kept.
pub(super) fn some_config() -> LogConfig {
    let policy = some_policy();
    let mode = if once_in(3) { WriteMode::Preallocated } else { WriteMode::Write };
    let worker = if once_in(2) { Worker::Thread } else { Worker::Caller };
    small().sync_policy(policy).write_mode(mode).worker(worker)
}

pub(super) fn everything() {
    let world = Arc::new(World::new(some_config(), choice(5)));
    let mut crew = Crew::default();
    crew.does(&world, |world| {
        for _ in 0..2 {
            drop(world.append(once_in(3)));
        }
    });
    crew.does(&world, |world| {
        for _ in 0..2 {
            world.look();
        }
    });
    if !once_in(4) {
        crew.does(&world, |world| {
            let end = choice(world.log.log_end_offset().value() + 1);
            drop(world.truncate(end));
            world.look();
            drop(world.append(false));
        });
    }
    match choice(8) {
        0 | 1 => crew.does(&world, World::close),
        2 => crew.does(&world, |world| drop(world.sync())),
        3 => crew.does(&world, |world| drop(world.log.roll())),
        4 => crew.does(&world, World::check),
        5 => crew.does(&world, |world| world.commit_cursor()),
        6 => crew.does(&world, |world| {
            let policy = some_policy();
            world.log.update_config(|config| config.sync_policy(policy)).expect("a sound configuration");
            drop(world.log.roll());
        }),
        _ => {}
    }
    crew.ends();
    if !world.facts().closing && once_in(2) {
        world.close();
    }
    world.ends_well();
}

/// What a slice reads, whatever became of the log.
fn content(slice: &LogSlice) -> Vec<(u64, u64)> {
    let records = slice.records().map(|record| record.expect("a slice stays readable"));
    records.map(|record| (record.offset().value(), number(record.value()))).collect()
}

pub(super) fn slices() {
    let world = Arc::new(World::new(small().file_delete_delay_ms(0), 4));
    let mut crew = Crew::default();
    crew.does(&world, |world| {
        let from = at(choice(4));
        match world.log.read(from, 1 << 20) {
            Ok(slice) => {
                let before = content(&slice);
                drop(world.append(false));
                assert_eq!(before, content(&slice), "from {from}");
                let is_cut = world.facts().lowest_cut() <= from.value();
                assert!(!slice.is_empty() || is_cut, "nothing at {from}");
            }
            Err(Error::OffsetOutOfRange { start, end, .. }) => assert!(from < start || from > end, "{from}"),
            Err(error) => panic!("{error} at {from}"),
        }
    });
    crew.does(&world, |world| {
        let end = choice(5);
        drop(world.truncate(end));
        drop(world.append(false));
    });
    crew.does(&world, |world| {
        // What begins at a cut that came meanwhile is refused.
        drop(world.log.delete_records_before(at(choice(4))));
        drop(world.log.roll());
    });
    crew.ends();
    world.ends_well();
}
