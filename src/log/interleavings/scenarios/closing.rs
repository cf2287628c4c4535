//! A log that is closed, or let go of, while everybody still uses it.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Worker;
use crate::error::Error;
use crate::sync::atomic::{AtomicU64, Ordering};

use super::mixture::some_config;
use super::world::{World, at};
use super::{Crew, choice, once_in};

/// Longer than any scenario: only a wake-up ends it.
const FOREVER: Duration = Duration::from_secs(1_000 * 24 * 3_600);

pub(super) fn close() {
    let world = Arc::new(World::new(some_config().file_delete_delay_ms(0), choice(4)));
    let (ordered, told) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut crew = Crew::default();
    // It may begin after the close, for it is no error to close a log that nobody uses.
    crew.does(&world, World::close);
    for _ in 0..2 {
        let (ordered, told) = (Arc::clone(&ordered), Arc::clone(&told));
        crew.does(&world, move |world| match choice(7) {
            0 => drop(world.append(once_in(2))),
            1 => drop(world.sync()),
            2 => {
                let end = world.log.log_end_offset() + 5;
                let waited = world.log.reader().wait_for(end, FOREVER);
                assert!(matches!(waited, Err(Error::Closed)), "{waited:?}");
            }
            3 => {
                let from = world.log.log_end_offset();
                let waited = world.log.reader().read_waiting(from, 1, 1 << 20, u64::MAX, FOREVER);
                assert!(waited.is_ok() || matches!(waited, Err(Error::Closed)), "{waited:?}");
            }
            4 => {
                let answers: Vec<_> = world.log.tail(at(0)).collect();
                let is_due = match answers.last() {
                    Some(Err(Error::Closed)) => true,
                    Some(Err(Error::OffsetOutOfRange { start, .. })) => *start > at(0),
                    _ => false,
                };
                assert!(is_due, "{answers:?}");
            }
            5 => drop(world.log.delete_records_before(at(choice(4)))),
            _ => {
                let told = Arc::clone(&told);
                let end = world.log.log_end_offset();
                let callback = move |_| {
                    told.fetch_add(1, Ordering::SeqCst);
                };
                // It is told, whether it is taken or refused.
                drop(world.log.on_synced(end, callback));
                ordered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    crew.ends();
    assert_eq!(told.load(Ordering::SeqCst), ordered.load(Ordering::SeqCst), "callbacks");
    world.ends_well();
}

pub(super) fn last_handle() {
    let world = World::new(some_config().worker(Worker::Thread), choice(3));
    let (ordered, told) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut threads = Vec::new();
    for _ in 0..2 {
        let (log, ordered, told) = (world.log.clone(), Arc::clone(&ordered), Arc::clone(&told));
        threads.push(shuttle::thread::spawn(move || {
            let inner = log.clone();
            let closes = once_in(3);
            let callback = move |_| {
                if closes {
                    drop(inner.close());
                }
                drop(inner);
                told.fetch_add(1, Ordering::SeqCst);
            };
            ordered.fetch_add(1, Ordering::SeqCst);
            drop(log.on_synced(log.log_end_offset(), callback));
            drop(log);
        }));
    }
    let mut tailer = world.log.tail(world.log.log_end_offset());
    threads.push(shuttle::thread::spawn(move || {
        let told = tailer.next();
        assert!(matches!(told, Some(Err(Error::Closed))), "{told:?}");
    }));
    let disk = world.disk.clone();
    drop(world);
    for thread in threads {
        thread.join().expect("no panic");
    }
    assert!(told.load(Ordering::SeqCst) <= ordered.load(Ordering::SeqCst), "callbacks");
    drop(disk);
}
