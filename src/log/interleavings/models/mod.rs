//! The models: the engine's own watermarks, list of waiters and map of segments, without a disk under them.
//!
//! Each is a few calls on two or three threads, and is run in every order, with every value that a load may see. What is
//! copied and not called says so. The invariant it owns: each model names one property, and reaches the code that keeps it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use crate::error::Error;
use crate::fs::Env;
use crate::fs::sim::SimDisk;
use crate::log::ReadUpTo;
use crate::log::core::{Core, Truncated};
use crate::log::read::Reader;
use crate::offset::{Offset, Position};
use crate::segment::Segment;
use crate::sync::atomic::{AtomicU64, Ordering};

use super::Case;

mod gate;

/// All models.
pub const MODELS: &[Case] = &[
    Case::holds("a reader that sees an offset finds its segment and its bytes", publish_then_read),
    Case::holds("a reader that sees an offset behind a roll finds both segments", publish_behind_a_roll),
    Case::holds("a segment that is retired is opened by nobody who comes later", retire_then_open),
    Case::holds("who waits for the log end is woken by an append", || wakes(ReadUpTo::LogEnd, append)),
    Case::holds("who waits for the synced end is woken by a sync", || wakes(ReadUpTo::Synced, sync)),
    Case::holds("who waits for the high watermark is woken when it is set", || wakes(ReadUpTo::HighWatermark, set)),
    Case::holds_within(3, "two that wait are both woken by one append", two_wait),
    Case::holds("who waits is told that the log failed", || is_told(fail, |told| matches!(told, Error::Failed { .. }))),
    Case::holds("who waits is told that the log was closed", || is_told(close, |told| matches!(told, Error::Closed))),
    Case::holds("a tailer that waits is ended by its stop handle", stop),
    Case::holds_within(3, "a tailer is told of a truncation below what it gave", tailer_is_cut),
    Case::holds("a tailer is told that the log start passed it", tailer_is_passed),
    Case::holds("after a failure nobody sees more than what is durable", cap_after_failure),
    Case::holds("a high watermark does not rise again behind a truncation", high_watermark_after_a_cut),
    Case::holds("who looks at the generation first learns of every truncation", generation_then_end),
    Case::holds("a group commit acknowledges what a sync that succeeded covers, and nothing else", gate::holds),
    Case::holds("a group commit and a roll that syncs the same file agree on a failure", gate::holds_over_rolls),
    Case::holds("a group commit acknowledges nothing for what took its place behind a cut", gate::holds_over_a_cut),
    Case::holds_within(3, "all who wait at the gate are woken", gate::holds_for_three),
    Case::fails("a gate whose turn ends before the failure shows acknowledges what is lost", gate::failure_shows_late),
    Case::fails("a gate that syncs a file again after its sync failed acknowledges what is lost", gate::syncs_again),
    Case::fails("a gate that does not look for a truncation acknowledges what was cut", gate::overlooks_the_cut),
    Case::fails("a gate that wakes one waiter leaves the others asleep", gate::wakes_one),
];

/// Longer than any model lasts: only a wake-up ends it.
const FOREVER: Duration = Duration::from_secs(1_000 * 24 * 3_600);

fn core() -> Arc<Core> {
    let env = Env::sim(&SimDisk::new(1));
    Arc::new(Core::new(env, Arc::from(Path::new("/log")), 10, 1 << 20))
}

fn at(offset: u64) -> Offset {
    Offset::new(offset)
}

fn segment(base: u64) -> Arc<Segment> {
    Arc::new(Segment::new(Path::new("/log"), at(base), Position::ZERO, Vec::new()))
}

/// `bytes` stands for what lies in the file: written and read without any order, as the page cache is.
fn publish_then_read() {
    let (core, bytes) = (core(), Arc::new(AtomicU64::new(0)));
    let first = segment(0);
    core.insert_segment(Arc::clone(&first));
    let (readers, seen) = (Arc::clone(&core), Arc::clone(&bytes));
    let reader = thread::spawn(move || {
        let end = readers.log_end();
        if end > at(0) {
            let segment = readers.floor_segment(at(0)).expect("it was there before the offset was");
            assert!(segment.published() >= Position::new(end.value() * 100), "the end is published last");
            assert!(seen.load(Ordering::Relaxed) >= end.value(), "the bytes are there");
        }
    });
    for end in 1..=2 {
        bytes.store(end, Ordering::Relaxed);
        first.publish(Position::new(end * 100));
        drop(core.publish(at(end)));
    }
    reader.join().expect("no panic");
}

fn publish_behind_a_roll() {
    let (core, bytes) = (core(), Arc::new(AtomicU64::new(0)));
    let first = segment(0);
    core.insert_segment(Arc::clone(&first));
    let (readers, seen) = (Arc::clone(&core), Arc::clone(&bytes));
    let reader = thread::spawn(move || {
        let end = readers.log_end();
        if end == at(2) {
            let last = readers.floor_segment(at(1)).expect("a segment");
            assert_eq!(last.base(), at(1), "the roll came before the offset");
            assert_eq!(last.published(), Position::new(100));
            assert_eq!(seen.load(Ordering::Relaxed), 2);
            assert_eq!(readers.floor_segment(at(0)).expect("a segment").published(), Position::new(100));
        }
    });
    bytes.store(1, Ordering::Relaxed);
    first.publish(Position::new(100));
    drop(core.publish(at(1)));
    let second = segment(1);
    core.insert_segment(Arc::clone(&second));
    bytes.store(2, Ordering::Relaxed);
    second.publish(Position::new(100));
    drop(core.publish(at(2)));
    reader.join().expect("no panic");
}

/// The name is another file's as soon as the segment is retired.
fn retire_then_open() {
    let disk = SimDisk::new(1);
    let (env, old) = (Env::sim(&disk), segment(0));
    let (opens, opened) = (env.clone(), Arc::clone(&old));
    let reader = thread::spawn(move || assert!(opened.open(&opens).is_err(), "another file was opened"));
    old.retire();
    disk.write_file(old.log_path(), [0]);
    reader.join().expect("no panic");
    assert!(old.open(&env).is_err());
}

fn append(core: &Core) {
    drop(core.publish(at(1)));
}

fn sync(core: &Core) {
    drop(core.publish(at(1)));
    drop(core.raise_synced(at(1)));
}

fn set(core: &Core) {
    core.set_high_watermark(at(1));
}

fn fail(core: &Core) {
    core.set_failed(&Arc::new(Error::Closed));
}

fn close(core: &Core) {
    core.set_closed();
}

fn wakes(up_to: ReadUpTo, event: fn(&Core)) {
    let core = core();
    if up_to == ReadUpTo::HighWatermark {
        core.set_high_watermark(at(0));
        append(&core);
    }
    let reader = Reader::over(Arc::clone(&core)).up_to(up_to);
    let waiter = thread::spawn(move || assert!(reader.wait_for(at(1), FOREVER).expect("an open log")));
    event(&core);
    waiter.join().expect("no panic");
}

fn two_wait() {
    let core = core();
    let waiters = [(); 2].map(|()| {
        let reader = Reader::over(Arc::clone(&core));
        thread::spawn(move || assert!(reader.wait_for(at(1), FOREVER).expect("an open log")))
    });
    append(&core);
    for waiter in waiters {
        waiter.join().expect("no panic");
    }
}

fn is_told(event: fn(&Core), is_due: fn(&Error) -> bool) {
    let core = core();
    let reader = Reader::over(Arc::clone(&core));
    let waiter = thread::spawn(move || {
        let told = reader.wait_for(at(1), FOREVER);
        assert!(told.as_ref().is_err_and(is_due), "{told:?}");
    });
    event(&core);
    waiter.join().expect("no panic");
}

fn stop() {
    let core = core();
    let mut tailer = Reader::over(core).tail(at(0));
    let stop = tailer.stop_handle();
    let waiter = thread::spawn(move || assert!(tailer.next().is_none()));
    stop.stop();
    waiter.join().expect("no panic");
}

fn cut(core: &Core, end: u64) {
    let truncated = Truncated { log_start: at(0), end: at(end), cut: at(end), last_base: Some(at(0)) };
    core.install_truncated(&truncated, None);
}

/// The tailer begins at 2, and what is below that is cut.
fn tailer_is_cut() {
    let core = core();
    drop(core.publish(at(2)));
    let mut tailer = Reader::over(Arc::clone(&core)).tail(at(2));
    let waiter = thread::spawn(move || {
        let told = tailer.next();
        assert!(matches!(told, Some(Err(Error::Truncated { .. } | Error::OffsetOutOfRange { .. }))), "{told:?}");
    });
    cut(&core, 1);
    waiter.join().expect("no panic");
}

fn tailer_is_passed() {
    let core = core();
    let mut tailer = Reader::over(Arc::clone(&core)).tail(at(0));
    let waiter = thread::spawn(move || {
        let told = tailer.next();
        assert!(matches!(told, Some(Err(Error::OffsetOutOfRange { .. }))), "{told:?}");
    });
    core.raise_log_start(at(1));
    waiter.join().expect("no panic");
}

/// What is told of the failure is not told of an end above the durable one afterwards.
fn cap_after_failure() {
    let core = core();
    drop(core.raise_synced(at(1)));
    drop(core.publish(at(1)));
    let readers = Arc::clone(&core);
    let reader = thread::spawn(move || {
        let before = readers.failure();
        let end = readers.log_end();
        if before.is_some() {
            assert_eq!(end, at(1), "readers are capped");
        }
        assert!(end >= at(1));
    });
    drop(core.publish(at(2)));
    fail(&core);
    assert_eq!(core.log_end(), at(1));
    reader.join().expect("no panic");
}

/// Whoever set it knew of the old log end; the log then grows beyond the cut again.
fn high_watermark_after_a_cut() {
    let core = core();
    drop(core.publish(at(4)));
    let setter = {
        let core = Arc::clone(&core);
        thread::spawn(move || core.set_high_watermark(at(4)))
    };
    cut(&core, 1);
    let set = setter.join().expect("no panic");
    let before = core.high_watermark();
    drop(core.publish(at(4)));
    assert_eq!(core.high_watermark(), before, "it was set to {set}, and rose by itself");
}

/// As `sync_appended` asks: an end that was lowered and raised again is not the one that was meant.
fn generation_then_end() {
    let core = core();
    drop(core.publish(at(2)));
    let generation = core.generation();
    let readers = Arc::clone(&core);
    let reader = thread::spawn(move || {
        let is_durable = readers.synced() >= at(2);
        let cut = readers.truncated_below(at(2), generation);
        assert!(!is_durable || cut.is_some(), "what was made durable is not what was asked for");
    });
    cut(&core, 1);
    drop(core.publish(at(2)));
    drop(core.raise_synced(at(2)));
    reader.join().expect("no panic");
}
