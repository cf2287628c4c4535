//! Compares a directory's own account of itself, `kstore.state`, with what lies there.
//!
//! It decides nothing for the log: what an opening believes stands in `open/load.rs`, whose question about the witness is
//! asked here too. The invariant it owns: while somebody has the log open, only what cannot change under him is checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::epoch::EpochRuns;
use crate::error::{Corruption, Error, Result};
use crate::fs::Env;
use crate::index::{OffsetIndex, TimeIndex};
use crate::log::open::directory::Source;
use crate::log::open::load::state_holds;
use crate::names::{STATE, SegmentFile};
use crate::offset::Offset;
use crate::segment::path as segment_path;
use crate::state::{self, Found, Sections, State};

use super::report::{FindingKind, IntegrityReport, Severity};

/// How often the state is read while its writer may be in the middle of a write.
const ATTEMPTS_MOST: usize = 5;

/// What the state says, as far as it can be believed.
pub(super) struct Account {
    path: PathBuf,
    found: Found,
    sections: Option<Sections>,
    holds: bool,
}

impl Account {
    /// Reads the state and says what is wrong with the file as such.
    pub(super) fn read(
        env: &Env,
        dir: &Path,
        logs: &BTreeMap<Offset, Source>,
        live: bool,
        report: &mut IntegrityReport,
    ) -> Result<Account> {
        let path = dir.join(STATE);
        let (mut found, mut sections) = (Found::Missing, None);
        let mut damaged = Vec::new();
        for _ in 0..if live { ATTEMPTS_MOST } else { 1 } {
            (found, sections) = match state::read(env, dir) {
                Err(Error::Corrupt { reason, .. }) => (Found::Unusable(reason), None),
                answer => answer?,
            };
            damaged = if found == Found::Missing { Vec::new() } else { state::damaged_slots(env, dir)? };
            if damaged.is_empty() {
                break;
            }
        }
        // One slot of the two may be torn by a crash; the other one counts then.
        let severity = if found.state().is_some() { Severity::Warning } else { Severity::Error };
        if let (Found::Unusable(reason), true) = (found, damaged.is_empty()) {
            report.add(Severity::Error, &path, None, None, FindingKind::Content(reason));
        }
        for (position, reason) in damaged {
            report.add(severity, &path, Some(position), None, FindingKind::Content(reason));
        }
        let holds = match found.state() {
            Some(state) if !live => state_holds(env, logs, state, &mut EpochRuns::default())?,
            Some(_) => true,
            None => false,
        };
        let account = Account { path, found, sections, holds };
        if account.found.state().is_some() && !account.holds {
            account.tell(report, Severity::Error, None, FindingKind::WitnessGone);
        }
        Ok(account)
    }

    /// The state, if it speaks of what lies here.
    pub(super) fn believed(&self) -> Option<&State> {
        self.found.state().filter(|_| self.holds)
    }

    /// Compares what can be told before the batches are walked: names and sizes.
    pub(super) fn check_files(
        &self,
        env: &Env,
        dir: &Path,
        sizes: &BTreeMap<Offset, u64>,
        report: &mut IntegrityReport,
    ) -> Result<()> {
        let Some(state) = self.believed() else { return Ok(()) };
        if let Some((&first, _)) = sizes.first_key_value() {
            self.compare(report, "the log start, below the first segment,", state.log_start, first, |a, b| a < b);
        }
        for (flag, what) in [
            (state.sync_failed, "a sync failed, and the log was not opened since"),
            (state.damage_accepted, "damage was accepted, and appends go on behind it"),
        ] {
            if flag {
                self.tell(report, Severity::Note, None, FindingKind::StateSays { what });
            }
        }
        if state.clean {
            self.check_clean_files(state, sizes, report);
        }
        self.check_index_marks(env, dir, state, report)
    }

    fn check_clean_files(&self, state: &State, sizes: &BTreeMap<Offset, u64>, report: &mut IntegrityReport) {
        let Some((&last, &size)) = sizes.last_key_value() else { return };
        let differs = |a: Offset, b: Offset| a != b;
        self.compare(report, "the base offset of the last segment", state.active.base, last, differs);
        if state.active.base == last && state.active.size != size {
            self.tell_size(report, last, state.active.size, size);
        }
        let Some(sections) = &self.sections else {
            if sizes.len() > 1 {
                let what = FindingKind::StateSays { what: "the sizes of the sealed segments are missing or damaged" };
                self.tell(report, Severity::Warning, None, what);
            }
            return;
        };
        let listed: BTreeMap<Offset, u64> = sections.iter().copied().collect();
        for (&base, &size) in sizes.iter().filter(|(base, _)| **base != last) {
            if listed.get(&base) != Some(&size) {
                self.tell_size(report, base, listed.get(&base).copied().unwrap_or(0), size);
            }
        }
        for (&base, &size) in listed.iter().filter(|(base, _)| !sizes.contains_key(base)) {
            self.tell_size(report, base, size, 0);
        }
    }

    fn tell_size(&self, report: &mut IntegrityReport, base: Offset, found: u64, expected: u64) {
        let what = FindingKind::Contradiction { what: "the size of a .log", found, expected };
        self.tell(report, Severity::Error, Some(base), what);
    }

    /// The indexes of the segment of the recovery point begin with the entries that the state names.
    fn check_index_marks(&self, env: &Env, dir: &Path, state: &State, report: &mut IntegrityReport) -> Result<()> {
        let (marks, base) = (state.index_marks, state.recovery_point.segment_base);
        let offset_path = segment_path(dir, base, SegmentFile::OffsetIndex);
        let time_path = segment_path(dir, base, SegmentFile::TimeIndex);
        // After a crash entries may be missing, and are made anew; after a clean close they are believed unread.
        let severity = if state.clean { Severity::Error } else { Severity::Note };
        for (path, whole) in [
            (&offset_path, OffsetIndex::verify_prefix(env, &offset_path, marks.offset_entries, marks.offset_crc)?),
            (&time_path, TimeIndex::verify_prefix(env, &time_path, marks.time_entries, marks.time_crc)?),
        ] {
            if !whole {
                let expected = "the entries whose checksum kstore.state names";
                report.add(severity, path, None, Some(base), FindingKind::Content(Corruption::Content { expected }));
            }
        }
        Ok(())
    }

    /// Compares the ends, after the batches were walked.
    pub(super) fn check_end(&self, end: Offset, report: &mut IntegrityReport) {
        let Some(state) = self.found.state() else { return };
        let point = state.recovery_point.offset;
        self.compare(report, "the recovery point, above the log end,", point, end, |point, end| point > end);
        if self.holds && state.clean {
            self.compare(report, "the log end", state.log_end, end, |a, b| a != b);
            self.compare(report, "the recovery point of a closed log", point, state.log_end, |a, b| a != b);
        }
    }

    fn compare(
        &self,
        report: &mut IntegrityReport,
        what: &'static str,
        found: Offset,
        expected: Offset,
        wrong: impl FnOnce(Offset, Offset) -> bool,
    ) {
        if wrong(found, expected) {
            let what = FindingKind::Contradiction { what, found: found.value(), expected: expected.value() };
            self.tell(report, Severity::Error, Some(expected), what);
        }
    }

    fn tell(&self, report: &mut IntegrityReport, severity: Severity, offset: Option<Offset>, what: FindingKind) {
        report.add(severity, &self.path, None, offset, what);
    }
}
