//! Compares `leader-epoch-checkpoint` with the leader epochs of the batches, as they go by.
//!
//! The checkpoint may be missing or empty: then only their order is checked. The field in the batch is not under its
//! checksum, so that this is all that can tell a changed one.

use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::{self, EpochStart};
use crate::error::{Corruption, Error, Result};
use crate::fs::Env;
use crate::names::LEADER_EPOCH_CHECKPOINT;
use crate::offset::{Offset, Position};
use crate::record::BatchHeader;

use super::report::{FindingKind, IntegrityReport, Severity};

/// The epochs of a log, and how far its batches were compared with them.
#[derive(Clone, Debug)]
pub(super) struct EpochCheck {
    path: Arc<Path>,
    /// In order; empty if the file says nothing that can be believed.
    starts: Vec<EpochStart>,
    /// Of the last batch of format 2.
    last: Option<i32>,
    /// What was told of last, so that a run of batches is one finding.
    told: Option<(i32, i32)>,
}

impl EpochCheck {
    /// Reads the checkpoint and says what is wrong with it as such.
    pub(super) fn read(env: &Env, dir: &Path, report: &mut IntegrityReport) -> Result<EpochCheck> {
        let path: Arc<Path> = dir.join(LEADER_EPOCH_CHECKPOINT).into();
        let mut starts = match checkpoint::read_leader_epochs(env, dir) {
            Ok(starts) => starts,
            Err(Error::Corrupt { path, position, reason }) => {
                report.add(Severity::Error, &path, Some(position), None, FindingKind::Content(reason));
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let ascends =
            |pair: &[EpochStart]| pair[0].epoch < pair[1].epoch && pair[0].start_offset < pair[1].start_offset;
        if let Some(fall) = starts.windows(2).position(|pair| !ascends(pair)) {
            let what = FindingKind::Content(Corruption::Content { expected: "epochs and start offsets that rise" });
            report.add(Severity::Error, &path, None, Some(starts[fall + 1].start_offset), what);
            starts.clear();
        }
        Ok(EpochCheck { path, starts, last: None, told: None })
    }

    /// Takes note of the next batch.
    pub(super) fn batch(
        &mut self,
        header: &BatchHeader,
        path: &Path,
        position: Position,
        report: &mut IntegrityReport,
    ) {
        let Some(base) = header.base_offset() else { return };
        let found = header.leader_epoch;
        let mut expected = None;
        let mut severity = Severity::Error;
        if found < -1 {
            expected = Some(-1);
        } else if let Some(start) = self.epoch_of(base).filter(|_| found >= 0) {
            // All of a batch is of one epoch.
            let at_the_end = self.epoch_of(header.last_offset()).map_or(start.epoch, |start| start.epoch);
            expected = [start.epoch, at_the_end].into_iter().find(|&epoch| epoch != found);
        } else if let Some(last) = self.last.filter(|&last| found < last) {
            (expected, severity) = (Some(last), Severity::Warning);
        }
        self.last = Some(found.max(-1));
        let told = expected.map(|expected| (found, expected));
        if let Some((found, expected)) = told.filter(|_| told != self.told) {
            let what = FindingKind::LeaderEpoch { found, expected };
            report.add(severity, path, Some(position), Some(base), what);
        }
        self.told = told;
    }

    fn epoch_of(&self, offset: Offset) -> Option<&EpochStart> {
        let behind = self.starts.partition_point(|start| start.start_offset <= offset);
        self.starts[..behind].last()
    }

    /// Compares the last entry with the end of the log.
    pub(super) fn finish(&self, end: Offset, live: bool, report: &mut IntegrityReport) {
        let Some(last) = self.starts.last().filter(|last| last.start_offset > end && !live) else { return };
        let what = FindingKind::Contradiction {
            what: "the start offset of the last leader epoch",
            found: last.start_offset.value(),
            expected: end.value(),
        };
        // After a crash the log may end before an epoch that was noted already; the next opening drops the entry.
        report.add(Severity::Warning, &self.path, None, Some(last.start_offset), what);
    }
}
