//! Checks what lies inside a sound batch: its records, their offsets and times, and what a control record says.
//!
//! The batch's place, checksum and offsets were judged before. The invariant it owns: memory is that of one batch, and a
//! batch that claims to unfold to more than the limit is a finding.

use std::path::Path;

use crate::error::Corruption;
use crate::offset::{Offset, Position, Timestamp};
use crate::record::{BatchHeader, DecodeLimits, DecodedBatch, EndMarker, layout};

use super::report::{FindingKind, IntegrityReport, Severity};

/// Where a batch lies and by which rules it is read.
#[derive(Clone, Copy)]
pub(super) struct BatchPlace<'a> {
    pub(super) path: &'a Path,
    pub(super) position: Position,
    /// The offset that is due here.
    pub(super) due: Offset,
    pub(super) gaps_allowed: bool,
    pub(super) limits: DecodeLimits,
}

/// What the records of a batch turned out to be.
#[derive(Default)]
struct Seen {
    records: u64,
    next: Option<Offset>,
    max_timestamp: i64,
}

impl BatchPlace<'_> {
    /// Checks one batch, whose checksum is right.
    pub(super) fn check(&self, header: &BatchHeader, bytes: Vec<u8>, report: &mut IntegrityReport) {
        report.checked.batches += 1;
        if header.attributes & !layout::KNOWN_ATTRIBUTES != 0 {
            let what = FindingKind::Attributes { found: header.attributes };
            self.tell(report, Severity::Warning, Some(header.last_offset()), what);
        }
        if header.max_timestamp < -1 {
            let what = FindingKind::Timestamp { found: header.max_timestamp };
            self.tell(report, Severity::Warning, Some(header.last_offset()), what);
        }
        let outcome = DecodedBatch::decode_verified(*header, bytes, self.limits);
        let outcome = outcome.and_then(|batch| self.check_records(&batch, report));
        match outcome {
            Ok(seen) => self.check_against_header(header, &seen, report),
            Err(Corruption::CodecNotBuilt { codec }) => {
                let what = FindingKind::NotChecked { codec };
                self.tell(report, Severity::Warning, Some(header.last_offset()), what);
            }
            Err(reason) => {
                self.tell(report, Severity::Error, Some(header.last_offset()), FindingKind::Record(reason));
            }
        }
    }

    fn check_records(&self, batch: &DecodedBatch, report: &mut IntegrityReport) -> Result<Seen, Corruption> {
        let header = batch.header();
        let mut seen = Seen { max_timestamp: -1, ..Seen::default() };
        for record in batch.records() {
            let record = record?;
            let offset = record.offset();
            let least = seen.next.unwrap_or(header.base_offset().unwrap_or(self.due));
            if offset < least {
                let (found, expected) = (offset.to_disk(), least.to_disk());
                return Err(Corruption::OffsetBelowExpected { found, expected });
            }
            if offset > header.last_offset() {
                let (found, base) = (offset.to_disk(), header.last_offset().to_disk());
                return Err(Corruption::OffsetGap { found, expected: base });
            }
            if offset > least && !self.gaps_allowed {
                let what = FindingKind::OffsetGap { found: offset, expected: least };
                self.tell(report, Severity::Error, Some(offset), what);
            }
            let timestamp = Timestamp::to_disk(record.timestamp());
            if timestamp < -1 {
                self.tell(report, Severity::Warning, Some(offset), FindingKind::Timestamp { found: timestamp });
            }
            seen.max_timestamp = seen.max_timestamp.max(timestamp);
            seen.next = Some(offset + 1);
            seen.records += 1;
            if header.is_control() {
                EndMarker::parse(&record)?;
            }
        }
        report.checked.records += seen.records;
        Ok(seen)
    }

    fn check_against_header(&self, header: &BatchHeader, seen: &Seen, report: &mut IntegrityReport) {
        let end = header.next_offset();
        let complete = seen.next.is_none_or(|next| next == end);
        // Compaction takes records away, the last one too, and keeps the offsets that the batch had.
        if (header.is_legacy() && !complete) || (!self.gaps_allowed && seen.next != Some(end)) {
            let expected = seen.next.unwrap_or(self.due);
            let what = FindingKind::OffsetGap { found: header.last_offset(), expected };
            self.tell(report, Severity::Error, Some(header.last_offset()), what);
        }
        let (found, expected) = (header.max_timestamp, seen.max_timestamp);
        if seen.records == 0 || found == expected || (found < 0 && expected < 0) {
            return;
        }
        // Too small, and a lookup by time passes the batch by; too large, and it looks into it in vain.
        let severity = if found < expected { Severity::Error } else { Severity::Warning };
        self.tell(report, severity, Some(header.last_offset()), FindingKind::MaxTimestamp { found, expected });
    }

    fn tell(&self, report: &mut IntegrityReport, severity: Severity, offset: Option<Offset>, what: FindingKind) {
        report.add(severity, self.path, Some(self.position), offset, what);
    }
}
