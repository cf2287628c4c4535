//! One sequence: a disk, a log on it, what readers hold of it, and what must be true of all three after each step.
//!
//! The changes themselves stand in `steps`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::super::bench::{UNTRUSTED, at_risk};
use super::expected::{Expected, offset};
use super::held::{Held, Receiver};
use super::{Chance, Options, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Env;
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk};
use crate::log::Log;
use crate::offset::Timestamp;

pub(super) const DIR: &str = "/data/log";
const STRENGTHS: [CrashStrength; 3] = [CrashStrength::Strict, CrashStrength::Ordered, CrashStrength::Kill];
/// Crashes within the recovery of a crash.
const NESTED: u64 = 3;

pub(super) struct World<'a> {
    pub(super) options: &'a Options,
    pub(super) chance: Chance,
    pub(super) disk: SimDisk,
    pub(super) log: Log,
    pub(super) expected: Expected,
    /// Slices and iterators that readers took and go on reading, whatever happens to the log.
    pub(super) held: Held,
    receiver: Receiver,
    crashes: u64,
    /// There is little room, so that recovery may have to leave indexes sparser than they could be.
    full: bool,
    /// A sync is about to fail. A process that ends between the failure and the note of it, or cannot write the note
    /// either, leaves a page cache that nobody can tell from a good one: the window that rule 29 cannot close, so it
    /// is not entered here.
    sync_will_fail: bool,
    talks: bool,
}

impl<'a> World<'a> {
    pub(super) fn begin(options: &'a Options, chance: Chance, talks: bool) -> World<'a> {
        let disk = SimDisk::new(options.seed);
        disk.create_dir_all("/data");
        disk.set_rates(options.rates);
        disk.set_failed_syncs_keep_some(options.failed_syncs_keep_some);
        disk.forbid_unsynced_replacements(&UNTRUSTED);
        let log = open(&disk, options).expect("a new log opens");
        World {
            options,
            chance,
            disk,
            log,
            expected: Expected::default(),
            held: Held::default(),
            receiver: Receiver::new(),
            crashes: 0,
            full: false,
            sync_will_fail: false,
            talks,
        }
    }

    pub(super) fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    pub(super) fn crashes(&self) -> u64 {
        self.crashes
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Append | Step::AppendBuilt | Step::AppendEncoded | Step::AppendSynced => self.append(step),
            Step::Sync => {
                let end = self.log.sync();
                if end.is_ok() {
                    self.expected.durable_start = self.expected.start;
                    self.expect_nothing_at_risk();
                }
                self.judge(end.map(drop));
            }
            Step::SyncTo => {
                let end = self.chance.below(self.log.log_end_offset().value() + 1);
                let synced = self.log.sync_to(offset(end));
                assert!(synced.is_err() || self.log.synced_offset().value() >= end);
                self.judge(synced);
            }
            Step::Roll => {
                let rolled = self.log.roll();
                self.judge(rolled.map(drop));
            }
            Step::RunOnce => {
                let ran = self.log.run_once(self.now());
                self.follow_start();
                self.judge(ran);
            }
            Step::AppendAsFollower => self.append_as_follower(),
            // What a failed sync leaves of a removed name is the window that rule 29 cannot close either.
            Step::TruncateTo | Step::TruncateToBatch | Step::ResetTo if self.sync_will_fail => {}
            // Refused, as every change of a failed log; `recover_in_place` asks for one.
            Step::TruncateTo
            | Step::TruncateToBatch
            | Step::ResetTo
            | Step::DeleteRecordsBefore
            | Step::DeleteOldSegments
                if self.log.stats().failed => {}
            Step::TruncateTo => self.truncate_to(),
            Step::TruncateToBatch => self.truncate_to_batch(),
            Step::ResetTo => self.reset_to(),
            Step::DeleteRecordsBefore => self.delete_records_before(),
            Step::DeleteOldSegments => self.delete_old_segments(),
            Step::Hold => {
                if self.chance.one_in(4) {
                    self.disk.drain();
                }
                self.held.take(&self.log, &self.expected, &mut self.chance, &mut self.receiver);
            }
            Step::ReadHeld => self.held.check(&self.expected, self.disk.is_off() || self.faults_may_strike()),
            Step::Tick => self.disk.advance(Duration::from_millis(self.chance.below(40))),
            // What a change that failed half way left is judged when the log was opened again.
            Step::Read if self.expected.unsettled.is_some() => {}
            Step::Read => {
                let read = self.expected.check_range(&self.log, &mut self.chance);
                assert!(read.is_ok() || self.disk.is_off() || self.faults_may_strike(), "{read:?}");
            }
            Step::CloseAndReopen => self.close_and_reopen(true),
            Step::DropAndReopen => self.close_and_reopen(false),
            Step::Crash => self.crash(),
            Step::PowerFailsSoon if !self.sync_will_fail => self.disk.power_off_after(self.chance.below(12)),
            Step::PowerFailsSoon => {}
            Step::FailSync => self.fail(CallKind::SyncData),
            Step::FailSyncDir => self.fail(CallKind::SyncDir),
            Step::FailCall => {
                let call = self.chance.pick(&CallKind::ALL);
                self.fail(call);
            }
            Step::FullDisk => {
                self.full = true;
                self.disk.set_free_space(self.chance.below(1500));
            }
            Step::LostWriteback => self.lose_writeback(),
        }
        if self.talks {
            eprintln!("{step:?}: end {}, synced {}", self.log.log_end_offset(), self.log.synced_offset());
        }
        if self.disk.is_off() {
            self.crash();
        } else if self.log.stats().failed {
            self.recover_in_place();
        }
        self.expected.note_synced(&self.log);
        self.held.check(&self.expected, self.faults_may_strike());
    }

    /// All faults off: everything acknowledged is there, and the log goes on.
    pub(super) fn end(&mut self) {
        self.heal();
        self.held.check(&self.expected, false);
        if self.log.stats().failed {
            at_last(|| self.log.reopen()).expect("a failed log reopens on a healthy disk");
            let at_least = self.expected.durable;
            self.expected.check_recovered(&self.log, at_least);
        }
        let at_least = self.expected.acknowledged;
        self.expected.check_content(&self.log, at_least);
        self.expected.check_lookups(&self.log, at_least);
        self.append(Step::AppendSynced);
        self.crash_with(CrashStrength::Strict);
        self.append(Step::AppendSynced);
        self.log.close().expect("a healthy log closes");
        self.reopen_checked(self.expected.acknowledged);
        // Segments below the log start that nobody had deleted yet go at the opening, which then looks at the rest, too.
        let report = self.log.recovery_report();
        assert!(report.trust == crate::log::Trust::Clean || !report.leftovers.is_empty(), "{report:?}");
        assert_eq!(report.scanned_bytes, 0, "what was closed cleanly is not read again");
        self.log.close().expect("a healthy log closes");
    }

    pub(super) fn now(&self) -> Timestamp {
        Env::sim(&self.disk).wall_clock()
    }

    pub(super) fn faults_may_strike(&self) -> bool {
        self.options.steps.iter().any(|step| matches!(step, Step::FailCall | Step::LostWriteback))
    }

    /// No byte and no name of a segment could be lost now: what was acknowledged as durable rests on nothing else, least
    /// of all on a directory that nobody synced (rules 1 and 12).
    pub(super) fn expect_nothing_at_risk(&self) {
        if self.disk.is_off() {
            return;
        }
        let at_risk = at_risk(&self.disk, &self.log);
        assert!(at_risk.is_empty(), "acknowledged as durable, and at risk: {at_risk:?}");
    }

    fn fail(&mut self, call: CallKind) {
        match call {
            CallKind::SyncData | CallKind::SyncDir => self.expect_failing_sync(),
            CallKind::WriteAt if self.sync_will_fail => return,
            _ => {}
        }
        let nth = 1 + self.chance.below(4);
        let kind = match call {
            CallKind::SyncData | CallKind::SyncDir => FaultKind::InputOutput,
            _ => self.chance.pick(&[FaultKind::InputOutput, FaultKind::NoSpace, FaultKind::TooManyOpen]),
        };
        let sticky = self.chance.one_in(4);
        if self.talks {
            eprintln!("{call:?} fails from the {nth}th with {kind:?}, sticky: {sticky}");
        }
        self.disk.fail(if sticky { Fault::from(call, nth, kind) } else { Fault::once(call, nth, kind) });
    }

    fn expect_failing_sync(&mut self) {
        self.sync_will_fail = true;
        self.disk.heal();
        self.disk.power_off_after(u64::MAX);
    }

    fn heal(&mut self) {
        self.disk.power_off_after(u64::MAX);
        self.disk.heal();
        self.full = false;
        self.disk.set_free_space(u64::MAX / 2);
    }

    fn lose_writeback(&mut self) {
        let names = self.disk.list(DIR);
        let logs: Vec<_> = names.iter().filter(|name| name.as_encoded_bytes().ends_with(b".log")).collect();
        if !logs.is_empty() {
            let name = logs[self.chance.index(logs.len())];
            self.expect_failing_sync();
            self.disk.fail_writeback(Path::new(DIR).join(name));
        }
    }

    /// An error must be one that a disturbed disk explains, and say what it left behind.
    pub(super) fn judge(&mut self, outcome: Result<()>) {
        let Err(error) = outcome else { return };
        if self.talks {
            eprintln!("  {error}");
        }
        match error.kind() {
            ErrorKind::Retry => assert!(!self.log.stats().failed, "{error}: to be tried again, but the log failed"),
            ErrorKind::Reopen => assert!(self.log.stats().failed, "{error}: to be reopened, but the log did not fail"),
            ErrorKind::Usage => assert!(matches!(error, Error::BatchTooLarge { .. }), "{error}"),
            ErrorKind::Damage => panic!("{error}"),
        }
    }

    /// A failed log acknowledges nothing and shows nothing that is not durable, until it is reopened.
    fn recover_in_place(&mut self) {
        let refused = self.log.append(&[crate::record::Record::value("refused")]);
        assert!(matches!(refused, Err(Error::Failed { .. })), "{refused:?}");
        assert_eq!(self.log.log_end_offset(), self.log.synced_offset(), "readers are capped");
        self.expected.note_synced(&self.log);
        if self.chance.one_in(4) {
            return;
        }
        if self.chance.one_in(3) && self.log.reopen().is_ok() {
            // It may have got through between two faults.
        } else {
            self.heal();
            let reopened = at_last(|| self.log.reopen());
            if self.disk.is_off() {
                return self.crash();
            }
            reopened.expect("a failed log reopens on a healthy disk");
        }
        if self.disk.is_off() {
            return self.crash();
        }
        self.heal();
        let at_least = self.expected.durable;
        self.expected.check_recovered(&self.log, at_least);
    }

    fn close_and_reopen(&mut self, close: bool) {
        if close {
            let closed = self.log.close();
            assert!(self.log.close().is_ok(), "a second close does nothing");
            if closed.is_ok() && !self.disk.is_off() && !self.log.stats().failed {
                assert_eq!(self.log.synced_offset().value(), self.expected.acknowledged, "a clean close syncs");
            }
        }
        let survives = if self.disk.is_off() { None } else { Some(self.expected.acknowledged) };
        match survives {
            Some(_) => self.reopen_checked(self.expected.durable),
            None => self.crash(),
        }
    }

    fn crash(&mut self) {
        let strength = self.chance.pick(&STRENGTHS);
        self.crash_with(strength);
    }

    /// Crashes, and perhaps again while recovering, and then checks all that must hold.
    fn crash_with(&mut self, strength: CrashStrength) {
        let mut at_least = match strength {
            CrashStrength::Kill => self.expected.acknowledged,
            CrashStrength::Strict | CrashStrength::Ordered => self.expected.durable,
        };
        self.power_cut(strength);
        for _ in 0..self.chance.below(NESTED + 1) {
            let strength = self.chance.pick(&STRENGTHS);
            if !self.sync_will_fail {
                self.disk.power_off_after(self.chance.below(20));
            }
            if let Ok(log) = open(&self.disk, self.options) {
                self.log = log;
            }
            if strength != CrashStrength::Kill {
                at_least = at_least.min(self.expected.durable);
            }
            self.power_cut(strength);
        }
        let was_full = self.full;
        self.reopen_checked(at_least);
        if !was_full {
            self.check_idempotence();
        }
    }

    fn power_cut(&mut self, strength: CrashStrength) {
        // Their files are those of a machine that is no more.
        self.held = Held::default();
        if self.talks {
            eprintln!("  {strength:?}");
        }
        self.crashes += 1;
        self.sync_will_fail &= strength == CrashStrength::Kill;
        self.disk = self.disk.crash(strength);
    }

    /// Opens the log, on a healthy disk if need be, and checks it.
    fn reopen_checked(&mut self, at_least: u64) {
        // The handle goes first: it closes the log if nobody did.
        let elsewhere = SimDisk::new(0);
        self.log = open(&elsewhere, self.options).expect("a new log opens");
        let mut opened = open(&self.disk, self.options);
        if let Err(error) = &opened
            && !self.disk.is_off()
        {
            if self.talks {
                eprintln!("  {error}");
            }
            self.heal();
            opened = at_last(|| open(&self.disk, self.options));
        }
        if self.disk.is_off() {
            drop(opened);
            let strength = self.chance.pick(&STRENGTHS);
            self.power_cut(strength);
            let at_least = at_least.min(self.expected.durable);
            return self.reopen_checked(at_least);
        }
        self.log = opened.expect("a log opens on a healthy disk");
        self.heal();
        if self.talks {
            eprintln!("  {:?}", self.log.recovery_report());
            eprintln!("  start {}, {:?}", self.log.log_start_offset(), files(&self.disk).keys());
        }
        self.expected.check_recovered(&self.log, at_least);
        self.expected.check_lookups(&self.log, self.expected.end);
    }

    /// A second recovery finds nothing more to do.
    fn check_idempotence(&self) {
        let before = files(&self.disk);
        let twin = self.disk.image(CrashStrength::Kill, |_, options| options - 1);
        twin.set_rates(crate::fs::sim::Rates::default());
        let log = open(&twin, self.options).expect("what was recovered opens again");
        let after = files(&twin);
        assert!(after == before, "a second recovery changed {:?} to {:?}", before.keys(), after.keys());
        twin.power_off();
        drop(log);
    }
}

fn open(disk: &SimDisk, options: &Options) -> Result<Log> {
    Log::open_in(&Env::sim(disk), Path::new(DIR), options.config.clone())
}

/// Each file whose changes the system lost in the background says so once, at its next sync.
fn at_last<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    (0..10).find_map(|_| attempt().ok()).map_or_else(attempt, Ok)
}

/// Every file but the state.
fn files(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.list(DIR).into_iter().map(|name| name.to_string_lossy().into_owned());
    names
        .filter(|name| name != crate::names::STATE)
        .map(|name| {
            let content = disk.read_file(Path::new(DIR).join(&name)).expect("a file");
            (name, content)
        })
        .collect()
}
