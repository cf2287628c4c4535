//! Threads of the host, as they come: they end, go from log to log, and change a log while others append to it.
//!
//! Not about one step or another between two threads, which `interleavings/` runs in every order; this is about real threads,
//! real files and the thread-locals of a real runtime.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is about threads and files")]

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

use kstore::{Compression, Error, Log, LogConfig, Offset, Record, WhenFull, WriteMode};

/// Appends when the thread that it belongs to ends, as a logger flushes.
struct LastWords {
    log: Log,
    records: usize,
    outcome: Sender<Result<(), String>>,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        let records = vec![Record::value("the last words of a thread"); self.records];
        let appended = catch_unwind(AssertUnwindSafe(|| self.log.append(&records)));
        let outcome = match appended {
            Ok(appended) => appended.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err("it panicked, which ends the process here".to_owned()),
        };
        self.outcome.send(outcome).expect("the test waits for it");
    }
}

thread_local! {
    static LAST_WORDS: RefCell<Option<LastWords>> = const { RefCell::new(None) };
}

// What the log keeps for a thread is gone before what the thread made earlier: an append from there panicked in a destructor
// of the runtime, and so ended the process.
#[test]
fn a_thread_appends_from_the_last_of_its_destructors() {
    let codec = if cfg!(feature = "lz4") { Compression::Lz4 } else { Compression::None };
    for mode in [WriteMode::Write, WriteMode::Preallocated, WriteMode::Mapped] {
        for (compression, records) in [(Compression::None, 1), (Compression::None, 2), (codec, 2)] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let config = LogConfig::default().write_mode(mode).compression(compression);
            let log = Log::open(folder.path(), config).expect("the log opens");
            let (outcome, told) = channel();
            let words = LastWords { log: log.clone(), records, outcome };
            let thread = std::thread::spawn(move || {
                LAST_WORDS.set(Some(words));
                LAST_WORDS.with_borrow(|words| {
                    let log = &words.as_ref().expect("just set").log;
                    let records = vec![Record::value("a word"); records];
                    log.append(&records).map(drop).expect("there is room");
                });
            });
            let outcome = told.recv().expect("the thread ends");
            assert_eq!(outcome, Ok(()), "{mode:?}, {compression:?}, {records} records");
            thread.join().expect("it ends well");
            assert_eq!(log.log_end_offset(), Offset::new(2 * records as u64));
        }
    }
}

/// So many rounds of the test that changes everything at once, unless `KSTORE_ROUNDS` says how many.
const ROUNDS: u64 = 2;

/// Of all sizes, so that records lie in two windows, in none, and are too large for one.
fn value(number: u64) -> Vec<u8> {
    let len = match number % 97 {
        0 => 70_000,
        rest if rest % 5 == 0 => 9_000,
        rest => 20 + 31 * usize::try_from(rest).expect("small"),
    };
    let mut value = format!("{number:020}").into_bytes();
    value.resize(len, b'0' + u8::try_from(number % 10).expect("a digit"));
    value
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(&value[..20]).expect("digits").parse().expect("a number")
}

/// Numbers that nobody looks behind.
struct Chance(u64);

impl Chance {
    fn below(&mut self, options: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % options
    }

    fn one_of<T: Copy>(&mut self, options: &[T]) -> T {
        options[usize::try_from(self.below(options.len() as u64)).expect("an index")]
    }
}

fn from_environment(name: &str, unless_set: u64) -> u64 {
    std::env::var(name).map_or(unless_set, |text| text.parse().expect("a number"))
}

/// Every record there is is as it was handed in, and what one thread appended comes in its order.
fn assert_sound(log: &Log) {
    let start = log.log_start_offset();
    let mut due = start;
    for record in log.records(start..).expect("the whole log") {
        let record = record.expect("a sound record");
        assert_eq!(record.offset(), due, "no gap");
        due += 1;
        let found = record.value().expect("a value");
        assert!(found == value(number(found)), "the bytes of {}", number(found));
    }
    assert_eq!(due, log.log_end_offset());
    let report = log.check_integrity().expect("it can be checked");
    assert!(report.is_clean(), "{}", report.to_json());
}

fn change(log: &Log, chance: &mut Chance) -> Result<(), Error> {
    let end = log.log_end_offset().value();
    match chance.below(9) {
        0 => log.truncate_to(Offset::new(end - chance.below(end.min(40) + 1))),
        1 => log.truncate_to_batch(Offset::new(end - chance.below(end.min(400) + 1))).map(drop),
        2 => log.reset_to(Offset::new(chance.below(1000))),
        3 => log.roll().map(drop),
        4 => log.sync().map(drop),
        5 => {
            let mode = chance.one_of(&[WriteMode::Write, WriteMode::Preallocated, WriteMode::Mapped]);
            log.update_config(|config| config.write_mode(mode))
        }
        6 => {
            let bytes = chance.one_of(&[1 << 20, 3 << 20, 300_000, 64 << 20]);
            log.update_config(|config| config.segment_bytes(bytes))
        }
        7 => {
            let codec =
                if cfg!(feature = "lz4") && chance.below(2) == 0 { Compression::Lz4 } else { Compression::None };
            log.update_config(|config| config.compression(codec))
        }
        _ => {
            let max_bytes = chance.one_of(&[None, Some(5 << 20), Some(40 << 20)]);
            let when_full = chance.one_of(&[WhenFull::Reject, WhenFull::DropOldest]);
            log.update_config(|config| config.max_bytes(max_bytes, when_full))
        }
    }
}

#[test]
fn a_log_is_changed_in_every_way_while_threads_append_to_it_and_to_another() {
    let seed = from_environment("KSTORE_SEED", 1).max(1);
    let rounds = from_environment("KSTORE_ROUNDS", ROUNDS);
    println!("KSTORE_SEED={seed} KSTORE_ROUNDS={rounds}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    for round in seed..seed + rounds {
        let dirs = [folder.path().join("one"), folder.path().join("other")];
        let config = LogConfig::default().write_mode(WriteMode::Mapped).segment_bytes(4 << 20);
        let logs = dirs.each_ref().map(|dir| Log::open(dir, config.clone()).expect("the log opens"));
        let (is_done, next) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_done.load(Ordering::Acquire) {
                        for log in &logs {
                            let value = value(next.fetch_add(1, Ordering::Relaxed));
                            match log.append(&[Record::value(&value)]) {
                                Ok(_) | Err(Error::LogFull { .. }) => {}
                                Err(error) => panic!("round {round}: {error}"),
                            }
                        }
                    }
                });
            }
            let mut chance = Chance(round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for _ in 0..40 {
                let log = &logs[usize::from(chance.below(4) == 0)];
                match change(log, &mut chance) {
                    Ok(())
                    | Err(Error::OffsetOutOfRange { .. } | Error::LogFull { .. } | Error::InvalidConfig { .. }) => {}
                    Err(error) => panic!("round {round}: {error}"),
                }
                std::thread::sleep(std::time::Duration::from_micros(chance.below(3000)));
            }
            is_done.store(true, Ordering::Release);
        });
        for (log, dir) in logs.iter().zip(&dirs) {
            assert_sound(log);
            let end = log.log_end_offset();
            log.close().expect("a healthy disk");
            let again = Log::open(dir, config.clone()).expect("the log opens");
            assert_eq!((again.log_end_offset(), again.recovery_report().scanned_bytes), (end, 0));
            assert_sound(&again);
            drop(again);
            std::fs::remove_dir_all(dir).expect("a folder");
        }
    }
}

/// So often maps come and go under the readers.
const CHANGES: usize = 300;

// Who unmaps waits for who is reading; a read of what is unmapped would end the process here.
#[test]
fn readers_go_on_while_their_segments_are_mapped_unmapped_deleted_and_the_log_is_closed() {
    const SEGMENTS: u64 = 40;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = LogConfig::default().segment_bytes(256 << 10).max_open_segments(4).file_delete_delay_ms(0);
    let log = Log::open(folder.path(), config).expect("the log opens");
    let mut end = 0;
    while log.segments().expect("segments").len() < usize::try_from(SEGMENTS).expect("a few") {
        log.append(&[Record::value(&value(end))]).expect("there is room");
        end += 1;
    }
    log.sync().expect("a healthy disk");
    let (looked_up, most_mapped) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for reader in 0..3_u64 {
            let (log, looked_up) = (log.clone(), &looked_up);
            scope.spawn(move || {
                for number in (0..).map(|round| (round * 7919 + reader * 31) % end) {
                    let offset = Offset::new(number);
                    let found = log.records(offset..=offset).and_then(|mut records| records.next().transpose());
                    match found {
                        Ok(Some(record)) => assert_eq!(record.value(), Some(&value(number)[..])),
                        Ok(None) => panic!("nothing at {number}"),
                        Err(Error::OffsetOutOfRange { .. }) if number < log.log_start_offset().value() => {}
                        Err(Error::Closed) => return,
                        Err(error) => panic!("{error}"),
                    }
                    looked_up.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for change in 0..CHANGES {
            log.update_config(|config| config.mapped_reads(change % 2 == 0)).expect("a sound configuration");
            let seen = looked_up.load(Ordering::Relaxed);
            while looked_up.load(Ordering::Relaxed) < seen + 50 {
                std::thread::yield_now();
            }
            let mapped = u64::try_from(log.stats().mapped_segments).expect("a few");
            assert!(change % 2 == 0 || mapped == 0, "{mapped} segments are mapped, which is not wanted");
            most_mapped.fetch_max(mapped, Ordering::Relaxed);
            if change == CHANGES / 2 {
                log.delete_records_before(Offset::new(end / 3)).expect("deleted");
            }
        }
        log.close().expect("closed");
    });
    assert!(most_mapped.into_inner() > 0, "nothing was ever mapped");
}
