//! One sequence: a disk, a log on it, what readers hold of it, and what must be true of all three after each step.
//!
//! The changes themselves stand in `steps`.

use std::path::Path;
use std::time::Duration;

use super::super::bench::{DIR, UNTRUSTED, at_risk};
use super::super::properties::{self, Mark};
use super::expected::{Expected, offset};
use super::held::{Held, Receiver};
use super::{Chance, Options, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Env;
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk};
use crate::log::Log;
use crate::offset::Timestamp;

const STRENGTHS: [CrashStrength; 3] = [CrashStrength::Strict, CrashStrength::Ordered, CrashStrength::Kill];
/// Crashes within the recovery of a crash.
const NESTED: u64 = 3;

pub(in crate::log::tests) struct World<'a> {
    pub(in crate::log::tests) options: &'a Options,
    pub(in crate::log::tests) chance: Chance,
    pub(in crate::log::tests) disk: SimDisk,
    pub(in crate::log::tests) log: Log,
    pub(in crate::log::tests) expected: Expected,
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
    cursors_failed: bool,
    talks: bool,
}

impl<'a> World<'a> {
    pub(in crate::log::tests) fn begin(options: &'a Options, chance: Chance, talks: bool) -> World<'a> {
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
            cursors_failed: false,
            talks,
        }
    }

    pub(in crate::log::tests) fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    pub(in crate::log::tests) fn crashes(&self) -> u64 {
        self.crashes
    }

    /// Does one thing, and goes through what comes of it.
    pub(in crate::log::tests) fn step(&mut self, step: Step) {
        self.perform(step);
        if self.talks {
            eprintln!("{step:?}: end {}, synced {}", self.log.log_end_offset(), self.log.synced_offset());
        }
        self.settle();
    }

    /// What comes of an operation: the power went, the log failed, or all is well.
    pub(in crate::log::tests) fn settle(&mut self) {
        if self.disk.is_off() {
            self.crash();
        } else if self.log.stats().failed {
            self.recover_in_place();
        } else if std::mem::take(&mut self.cursors_failed) {
            self.heal();
            self.log.reopen().expect("a log that did not fail has nothing to recover");
        }
        self.expected.note_synced(&self.log);
        self.held.check(&self.expected, self.faults_may_strike());
    }

    pub(in crate::log::tests) fn perform(&mut self, step: Step) {
        match step {
            Step::Append | Step::AppendBuilt | Step::AppendEncoded | Step::AppendSynced | Step::AppendAndCommit => {
                self.append(step)
            }
            Step::Sync => {
                let end = self.log.sync();
                if end.is_ok() {
                    self.expected.durable_start = self.expected.start;
                    self.expect_nothing_at_risk();
                    self.expected.commits.note_sync();
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
            Step::JumpClock => {
                let days = self.chance.below(60).cast_signed() - 30;
                self.disk.set_wall_clock(Timestamp::from_millis(self.now().as_millis() + days * 86_400_000));
            }
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
    }

    /// Leaves so much room on the disk.
    pub(in crate::log::tests) fn fill_to(&mut self, room: u64) {
        self.full = true;
        self.disk.set_free_space(room);
    }

    /// Reads the whole log, unless a change that failed half way waits to be judged.
    pub(in crate::log::tests) fn read_all(&mut self, may_fail: bool) {
        if self.expected.unsettled.is_none() && !self.log.stats().failed {
            let read = self.expected.check_range(&self.log, &mut self.chance);
            assert!(read.is_ok() || may_fail, "{read:?}");
        }
    }

    /// What readers hold is as it was.
    pub(in crate::log::tests) fn check_held(&mut self) {
        self.held.check(&self.expected, false);
    }

    /// All faults off: everything acknowledged is there, and the log goes on.
    pub(in crate::log::tests) fn end(&mut self) {
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

    pub(in crate::log::tests) fn now(&self) -> Timestamp {
        Env::sim(&self.disk).wall_clock()
    }

    pub(in crate::log::tests) fn faults_may_strike(&self) -> bool {
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
    pub(in crate::log::tests) fn judge(&mut self, outcome: Result<()>) {
        let Err(error) = outcome else { return };
        self.expected.front_may_move = true;
        if self.talks {
            eprintln!("  {error}");
        }
        match error.kind() {
            ErrorKind::Retry => assert!(!self.log.stats().failed, "{error}: to be tried again, but the log failed"),
            // The log that keeps the cursors can fail alone; reopening mends it.
            ErrorKind::Reopen if error.to_string().contains("/cursors/") => self.cursors_failed = true,
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

    pub(in crate::log::tests) fn close_and_reopen(&mut self, close: bool) {
        if close {
            let closed = self.log.close();
            assert!(self.log.close().is_ok(), "a second close does nothing");
            if closed.is_ok() && !self.disk.is_off() && !self.log.stats().failed {
                assert_eq!(self.log.synced_offset().value(), self.expected.acknowledged, "a clean close syncs");
                self.expected.commits.note_sync();
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
        properties::count_state();
        if !was_full {
            properties::after_recovery(&self.disk, &self.log, &self.options.config);
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
        let mark = Mark::of(&self.disk);
        let mut opened = open(&self.disk, self.options);
        if let Ok(log) = &opened {
            mark.check(&self.disk, log);
        }
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
            eprintln!("  start {}, {:?}", self.log.log_start_offset(), properties::files(&self.disk).keys());
        }
        self.expected.check_recovered(&self.log, at_least);
        self.expected.check_lookups(&self.log, self.expected.end);
    }
}

fn open(disk: &SimDisk, options: &Options) -> Result<Log> {
    Log::open_in(&Env::sim(disk), Path::new(DIR), options.config.clone())
}

/// Each file whose changes the system lost in the background says so once, at its next sync.
fn at_last<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    (0..10).find_map(|_| attempt().ok()).map_or_else(attempt, Ok)
}
