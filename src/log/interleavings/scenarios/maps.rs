//! Sealed segments that are read through maps, while maps come and go, segments are cut and deleted, and somebody else gets the
//! directory.
//!
//! The simulated disk panics where a map is read behind the end of its file, which on a real one is SIGBUS (rule 22).

use std::path::Path;
use std::sync::Arc;

use crate::config::LogConfig;
use crate::error::Error;
use crate::fs::{Env, OpenMode};

use super::world::{DIR, World, at, number, small};
use super::{Crew, choice, once_in};

const RECORDS: u64 = 7;

fn mapped() -> LogConfig {
    small().mapped_reads(true).file_delete_delay_ms(0)
}

/// Makes a slice and reads it, twice. Errors are for those whose directory is somebody else's by now.
fn read_slice(world: &World) {
    let from = choice(RECORDS);
    let Ok(slice) = world.log.read(at(from), 1 << 20) else { return };
    for _ in 0..2 {
        for record in slice.records() {
            match record {
                // Values are numbered from 1, and none but the last is appended anew.
                Ok(record) => assert!(number(record.value()) > record.offset().value(), "from {from}"),
                Err(Error::Corrupt { .. }) if world.facts().closing => {}
                Err(error) => panic!("{error} from {from}"),
            }
        }
    }
}

/// Closes the log, and shortens every file of it, as its next owner may.
fn close_and_cut(world: &World) {
    world.close();
    let env = Env::sim(&world.disk);
    for name in world.disk.list(DIR).into_iter().filter(|name| name.to_string_lossy().ends_with(".log")) {
        let file = env.open(&Path::new(DIR).join(name), OpenMode::ReadWrite).expect("a file of the log");
        file.set_len(choice(120)).expect("a healthy disk");
    }
}

pub(super) fn everything() {
    let world = Arc::new(World::new(mapped(), RECORDS));
    drop(world.sync());
    let mut crew = Crew::default();
    let is_given_away = once_in(2);
    crew.does(&world, read_slice);
    crew.does(&world, move |world| {
        if !is_given_away {
            world.look();
        }
        read_slice(world);
    });
    if once_in(2) {
        crew.does(&world, |world| {
            for mapped in [false, true] {
                world.log.update_config(|config| config.mapped_reads(mapped)).expect("a sound configuration");
            }
        });
    }
    if is_given_away {
        crew.does(&world, close_and_cut);
    } else {
        crew.does(&world, |world| {
            drop(world.truncate(choice(RECORDS)));
            drop(world.append(false));
        });
        crew.does(&world, |world| drop(world.log.delete_records_before(at(choice(4)))));
    }
    crew.ends();
    if !is_given_away {
        world.ends_well();
    }
}
