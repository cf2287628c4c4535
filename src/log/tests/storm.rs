//! Everything at once on real threads: nobody hangs, and nobody is told that a removed record is durable.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::bench::{at, disk, opened, small, text, values};
use crate::config::{LogConfig, WhenFull, Worker};
use crate::error::{Error, Result};
use crate::fs::sim::{CallKind, Fault, FaultKind};
use crate::log::{AppendOptions, Log};
use crate::offset::Timestamp;
use crate::record::Record;

/// Longer than any machine is busy.
const PATIENCE: Duration = Duration::from_secs(120);
const ROUNDS: u64 = 150;

/// What one thread does over and over.
type Part = fn(&Log, u64) -> Result<()>;

const PARTS: [Part; 9] = [
    |log, round| log.append(&[Record::value(&text(round))]).map(drop),
    |log, round| {
        let end = log.log_end_offset();
        log.append_and_commit(
            &AppendOptions::default().sync(round.is_multiple_of(4)),
            &[Record::value(&text(round))],
            &[("c", end)],
        )
        .map(drop)
    },
    |log, round| log.truncate_to(at(log.log_end_offset().value().saturating_sub(round % 5))),
    |log, round| if round.is_multiple_of(20) { log.reset_to(at(round % 3 * 50)) } else { log.roll().map(drop) },
    |log, round| {
        let end = log.log_end_offset().value();
        log.delete_records_before(at(end.saturating_sub(3 + round % 4))).map(drop)
    },
    |log, _| log.delete_old_segments(Timestamp::from_millis(1_700_000_000_000)).map(drop),
    |log, _| log.sync().map(drop),
    |log, round| log.cursor("c").and_then(|cursor| cursor.commit(at(log.log_start_offset().value() + round % 2))),
    |log, round| {
        if round.is_multiple_of(30) {
            return log.update_config(|config| config.retention_bytes(1200));
        }
        log.reader().records(..)?.try_for_each(|record| record.map(drop))
    },
];

/// Runs all parts, and closes the log in the middle of it if asked. Gives back how many callbacks were handed in, and how
/// many have run: one that is refused runs as well, to be told so.
fn storm(log: &Log, closes: bool, fails: impl Fn(u64)) -> (u64, u64) {
    let (handed_in, called) = (AtomicU64::new(0), std::sync::Arc::new(AtomicU64::new(0)));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let parts: Vec<_> = PARTS
            .iter()
            .map(|part| {
                let log = log.clone();
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        match part(&log, round) {
                            Err(Error::Corrupt { path, position, reason }) => panic!("{path:?} {position}: {reason}"),
                            Err(Error::Closed) => return,
                            _ => {}
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                let called = std::sync::Arc::clone(&called);
                let asked = log.log_end_offset();
                let told = log.on_synced(asked, move |_| {
                    called.fetch_add(1, Ordering::AcqRel);
                });
                drop(told);
                handed_in.fetch_add(1, Ordering::AcqRel);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        for round in 0..20 {
            fails(round);
            std::thread::sleep(Duration::from_millis(2));
            if log.stats().failed {
                drop(log.reopen());
            }
        }
        if closes {
            drop(log.close());
        }
        for part in parts {
            part.join().expect("no part panics");
        }
        over.store(true, Ordering::Release);
    });
    (handed_in.into_inner(), called.load(Ordering::Acquire))
}

fn config(when_full: WhenFull) -> LogConfig {
    small().worker(Worker::Thread).max_bytes(3000, when_full).retention_bytes(2000).file_delete_delay_ms(1)
}

/// The body on a thread of its own, so that a deadlock is told.
#[expect(clippy::disallowed_methods, reason = "a scope would wait for the threads that hang")]
fn in_time(body: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        body();
        done.send(()).expect("somebody waits");
    });
    match wait.recv_timeout(PATIENCE) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("a deadlock"),
        _ => thread.join().expect("no thread panics"),
    }
}

#[test]
fn whatever_is_done_at_once_nobody_hangs_and_the_log_opens() {
    for (when_full, closes, fails) in [
        (WhenFull::DropOldest, false, false),
        (WhenFull::Reject, true, false),
        (WhenFull::DropOldest, true, true),
        (WhenFull::DropOldest, false, true),
    ] {
        in_time(move || {
            let disk = disk();
            let log = opened(&disk, config(when_full));
            let (handed_in, called) = storm(&log, closes, |round| {
                if fails && round.is_multiple_of(5) {
                    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput));
                }
            });
            disk.heal();
            // After a failure it does not close cleanly, and is recovered.
            drop(log.close());
            assert!(called <= handed_in, "{called} callbacks of {handed_in}");
            drop(log);
            let again = opened(&disk, config(when_full));
            let report = again.recovery_report();
            assert!(report.damage.is_empty(), "{report:?}");
            let found = values(&again);
            let span = again.log_end_offset().value() - again.log_start_offset().value();
            assert_eq!(u64::try_from(found.len()).expect("few"), span);
            again.cursor("c").expect("a name").committed().expect("a sound book");
        });
    }
}
