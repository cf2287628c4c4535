//! Waiting without a time: a wake-up that is lost is a thread that never ends, which the checker reports.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{SyncPolicy, Worker};
use crate::error::Error;
use crate::fs::sim::{CallKind, Fault, FaultKind};
use crate::log::ReadUpTo;

use super::mixture::some_config;
use super::world::{World, at, number, small};
use super::{Crew, choice, once_in};

/// Longer than any scenario: only a wake-up ends it.
const FOREVER: Duration = Duration::from_secs(1_000 * 24 * 3_600);

const KINDS: [ReadUpTo; 3] = [ReadUpTo::LogEnd, ReadUpTo::Synced, ReadUpTo::HighWatermark];

/// Two records come; whoever waits for the second is given both.
pub(super) fn growth() {
    let before = choice(3);
    let world = Arc::new(World::new(some_config(), before));
    let end = at(before + 2);
    world.log.set_high_watermark(at(before)).expect("an open log");
    let mut crew = Crew::default();
    for _ in 0..2 {
        let up_to = KINDS[usize::try_from(choice(3)).expect("small")];
        crew.does(&world, move |world| {
            let reader = world.log.reader().up_to(up_to);
            match choice(3) {
                0 => assert!(reader.wait_for(end, FOREVER).expect("an open log")),
                1 => {
                    let slice = reader.read_waiting(at(before), 1, 1 << 20, u64::MAX, FOREVER).expect("an open log");
                    assert!(!slice.is_empty());
                }
                _ => {
                    let told: Vec<_> = reader.tail(at(before)).take(2).collect();
                    for (nth, record) in (before..).zip(told) {
                        let record = record.expect("an open log");
                        assert_eq!((record.offset(), number(record.value())), (at(nth), nth + 1));
                    }
                }
            }
        });
    }
    crew.does(&world, move |world| {
        for nth in 1..=2 {
            world.append(once_in(3)).expect("a healthy disk");
            if once_in(2) {
                world.log.set_high_watermark(at(before + nth)).expect("an open log");
            }
        }
        world.sync().expect("a healthy disk");
        world.log.set_high_watermark(end).expect("an open log");
    });
    crew.ends();
}

/// What is waited for will not come: the log is cut, fails, is closed, or the tailer is stopped.
pub(super) fn ends() {
    let world = Arc::new(World::new(some_config(), 3));
    let mut tailer = world.log.tail(at(3));
    let stop = tailer.stop_handle();
    let waits = choice(3);
    // A truncation ends no wait but that of a tailer that has given what is cut.
    let event = if waits == 0 { choice(4) } else { 1 + choice(2) };
    let mut crew = Crew::default();
    crew.does(&world, move |world| match waits {
        0 => {
            let told = tailer.next();
            let is_due = match event {
                0 => matches!(told, Some(Err(Error::Truncated { .. } | Error::OffsetOutOfRange { .. }))),
                1 => matches!(told, Some(Err(Error::Closed))),
                2 => matches!(told, Some(Err(Error::Failed { .. } | Error::OffsetOutOfRange { .. }))),
                _ => told.is_none(),
            };
            assert!(is_due, "{told:?} after event {event}");
        }
        1 => {
            let told = world.log.reader().wait_for(at(4), FOREVER);
            assert!(matches!(told, Err(Error::Closed | Error::Failed { .. })), "{told:?}");
        }
        _ => {
            let told = world.log.reader().read_waiting(at(3), 1, 1 << 20, u64::MAX, FOREVER);
            assert!(told.is_err() || told.is_ok_and(|slice| slice.is_empty()));
        }
    });
    crew.does(&world, move |world| match event {
        0 => world.truncate(choice(3)).expect("a healthy disk"),
        1 => world.close(),
        2 => {
            world.facts().failing = true;
            for call in [CallKind::WriteAt, CallKind::WriteVectoredAt] {
                world.disk.fail(Fault::from(call, 1, FaultKind::InputOutput).on(".log"));
            }
            world.append(true).expect_err("the disk is broken");
        }
        _ => stop.stop(),
    });
    crew.ends();
}

/// A sync that was due in a hundred years is due at once, and comes.
pub(super) fn interval() {
    const CENTURY_MS: u64 = 100 * 365 * 24 * 3_600 * 1_000;
    let every = |interval_ms| SyncPolicy::Every { records: None, bytes: None, interval_ms: Some(interval_ms) };
    let config = small().worker(Worker::Thread).sync_policy(every(CENTURY_MS));
    let world = Arc::new(World::new(config, 1));
    world.disk.advance(Duration::from_secs(1));
    let mut crew = Crew::default();
    crew.does(&world, |world| {
        let reader = world.log.reader().up_to(ReadUpTo::Synced);
        assert!(reader.wait_for(at(1), FOREVER).expect("an open log"));
    });
    crew.does(&world, move |world| {
        world.log.update_config(|config| config.sync_policy(every(1))).expect("a sound configuration");
    });
    crew.ends();
}
