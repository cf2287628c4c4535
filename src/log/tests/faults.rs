//! A failure at every single call to the system: once, and from there on, with each kind of error.

use std::collections::BTreeMap;

use super::bench::{append, bases, disk, open, small, values};
use crate::config::{LogConfig, SyncPolicy, WriteMode};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk};
use crate::log::Log;

const KINDS: [FaultKind; 5] =
    [FaultKind::InputOutput, FaultKind::NoSpace, FaultKind::Interrupted, FaultKind::TooManyOpen, FaultKind::Short];
/// More attempts than files that may each report a failure of their own.
const ATTEMPTS: usize = 12;

/// What the script was told.
#[derive(Debug, Default)]
struct Told {
    /// Values whose append succeeded, in order, and those whose append failed the log, which may be there too.
    handed_in: Vec<(u64, bool)>,
    /// How many of the log's first records are durable.
    durable: u64,
    /// Whether a failure ended the script.
    failed: bool,
}

impl Told {
    fn note<T>(&mut self, outcome: Result<T>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                self.failed |= error.kind() == ErrorKind::Reopen;
                assert!(matches!(error.kind(), ErrorKind::Retry | ErrorKind::Reopen), "{error}");
                None
            }
        }
    }

    fn append(&mut self, log: &Log, value: u64) {
        let failed_before = log.stats().failed;
        match append(log, value) {
            Ok(_) => self.handed_in.push((value, true)),
            Err(error @ Error::Failed { .. }) => {
                if !failed_before {
                    self.handed_in.push((value, false));
                }
                self.note::<()>(Err(error));
            }
            Err(error) => drop(self.note::<()>(Err(error))),
        }
    }

    fn sync(&mut self, log: &Log) {
        let end = self.note(log.sync());
        let acknowledged = u64::try_from(self.handed_in.len()).expect("few");
        assert!(end.is_none_or(|end| end.value() == acknowledged), "{end:?} of {acknowledged}");
        self.durable = self.durable.max(log.synced_offset().value());
    }
}

/// Open, append, roll, sync, append, close, reopen, append.
fn script(disk: &SimDisk, config: &LogConfig) -> Told {
    let mut told = Told::default();
    let Some(log) = told.note(open(disk, config.clone())) else { return told };
    (0..4).for_each(|value| told.append(&log, value));
    told.note(log.roll());
    told.sync(&log);
    (4..7).for_each(|value| told.append(&log, value));
    told.durable = told.durable.max(log.synced_offset().value());
    let closed = log.close();
    if closed.is_ok() {
        told.durable = u64::try_from(told.handed_in.len()).expect("few");
    }
    drop(log);
    if let Some(log) = told.note(open(disk, config.clone())) {
        told.durable = told.durable.max(log.synced_offset().value());
        let end = log.log_end_offset().value();
        told.handed_in.truncate(usize::try_from(end).expect("few"));
        (7..9).for_each(|value| told.append(&log, value));
        told.sync(&log);
    }
    told
}

/// On the healed disk the log opens, holds all that was durable and nothing that was not handed in, and goes on.
fn check(disk: &SimDisk, config: &LogConfig, told: &Told, at_least: u64, case: &str) {
    disk.heal();
    let log =
        (0..ATTEMPTS).find_map(|_| open(disk, config.clone()).ok()).unwrap_or_else(|| panic!("{case}: never opens"));
    let found = values(&log);
    let handed_in: Vec<u64> = told.handed_in.iter().map(|(value, _)| *value).collect();
    assert!(handed_in.starts_with(&found), "{case}: {found:?} of {told:?}");
    assert!(u64::try_from(found.len()).expect("few") >= at_least, "{case}: {found:?} of {told:?}");
    append(&log, 100).unwrap_or_else(|error| panic!("{case}: {error}"));
    log.sync().unwrap_or_else(|error| panic!("{case}: {error}"));
    assert!(!bases(&log).is_empty());
    log.close().unwrap_or_else(|error| panic!("{case}: {error}"));
}

fn strike_each_call(config: &LogConfig) -> BTreeMap<&'static str, u64> {
    let mut struck = BTreeMap::new();
    for call in CallKind::ALL {
        for kind in KINDS {
            for sticky in [false, true] {
                if sticky && matches!(kind, FaultKind::Interrupted | FaultKind::Short) {
                    continue;
                }
                for nth in 1.. {
                    let case = format!("{call:?} number {nth}, {kind:?}, sticky {sticky}");
                    let disk = disk();
                    disk.fail(if sticky { Fault::from(call, nth, kind) } else { Fault::once(call, nth, kind) });
                    let told = script(&disk, config);
                    if disk.calls(call) < nth {
                        break;
                    }
                    *struck.entry("cases").or_default() += 1;
                    let acknowledged = told.handed_in.iter().filter(|(_, acknowledged)| *acknowledged).count();
                    let power_cut = disk.image(CrashStrength::Strict, |_, _| 0);
                    check(&power_cut, config, &told, told.durable, &format!("{case}, power cut"));
                    let killed = disk.crash(CrashStrength::Kill);
                    let at_least = if told.failed { told.durable } else { u64::try_from(acknowledged).expect("few") };
                    check(&killed, config, &told, at_least, &format!("{case}, killed"));
                }
            }
        }
    }
    struck
}

#[test]
fn no_failing_call_makes_a_wrong_acknowledgement_or_loses_what_was_acknowledged() {
    let struck = strike_each_call(&small());
    println!("{struck:?}");
}

#[test]
fn no_failing_call_does_so_where_room_is_allocated_ahead_and_every_append_is_synced() {
    let config = small().write_mode(WriteMode::Preallocated).sync_policy(SyncPolicy::Always);
    let struck = strike_each_call(&config);
    println!("{struck:?}");
}

#[test]
fn no_failing_call_does_so_where_appends_are_stored_into_a_map() {
    let config = small().segment_bytes(600).write_mode(WriteMode::Mapped).windows_at_once(1);
    let struck = strike_each_call(&config);
    println!("{struck:?}");
}
