//! Property 5: an opening leaves nothing lying about, a second one finds nothing to do, and neither reads what a state
//! vouches for.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::bench::{DIR, log_path};
use super::{files, open, twin};
use crate::config::LogConfig;
use crate::fs::Env;
use crate::fs::sim::SimDisk;
use crate::log::{Log, Trust};
use crate::names::{self, Name, SegmentFile, Stage};
use crate::state::State;

/// What confirming the witness reads at most: the first chunk of a scan.
const WITNESS_BYTES: u64 = 8 << 10;

/// Names of the small files that stay, and of those that a write of one leaves behind when it is interrupted.
const SMALL_FILES: [&str; 6] = [
    names::STATE,
    names::LOCK,
    names::CURSORS,
    names::LEADER_EPOCH_CHECKPOINT,
    "leader-epoch-checkpoint.tmp",
    "kstore.state.tmp",
];

/// Every file belongs to a segment of the log, or is a known one; of interrupted protocols only bytes kept aside stay.
pub(in super::super) fn leaves_no_strays(disk: &SimDisk, log: &Log) {
    let bases: Vec<_> = log.segments().expect("the segments").iter().map(|segment| segment.base_offset).collect();
    for name in disk.list(DIR) {
        let name = name.to_str().expect("a plain name");
        let belongs = match names::classify(name) {
            Name::Live { base, kind } => bases.contains(&base) && kind != SegmentFile::TransactionIndex,
            Name::Interim { kind, stage, .. } => kind == SegmentFile::Log && stage == Stage::Torn,
            // A directory for cursors that was being given its name once more.
            _ => SMALL_FILES.contains(&name) || (name.starts_with(names::CURSORS) && name.ends_with(".tmp")),
        };
        assert!(belongs, "{name} is a stray beside the segments {bases:?}");
    }
}

/// The same process once more: no byte changes but in the state, and nothing that was synced is read.
pub(in super::super) fn is_idempotent(disk: &SimDisk, config: &LogConfig) {
    let before = files(disk);
    let twin = twin(disk);
    let mark = Mark::of(&twin);
    let log = open(&twin, config).expect("what was recovered opens again");
    mark.check(&twin, &log);
    let after = files(&twin);
    assert!(after == before, "a second recovery changed {:?} to {:?}", sizes(&before), sizes(&after));
    twin.power_off();
}

fn sizes(files: &BTreeMap<String, Vec<u8>>) -> Vec<(&str, usize)> {
    files.iter().map(|(name, bytes)| (name.as_str(), bytes.len())).collect()
}

/// What a disk's state vouches for, taken before the log is opened.
#[derive(Debug)]
pub(in super::super) struct Mark {
    state: Option<State>,
    /// Base offset, size and bytes read so far of each `.log`.
    logs: BTreeMap<u64, (u64, u64)>,
}

impl Mark {
    pub(in super::super) fn of(disk: &SimDisk) -> Mark {
        let found = crate::state::read(&Env::sim(&twin(disk)), Path::new(DIR));
        let state = found.ok().and_then(|(found, _)| found.state().copied());
        let mut logs = BTreeMap::new();
        for name in disk.list(DIR) {
            let kind = name.to_str().map(names::classify);
            let (base, is_aside) = match kind {
                Some(Name::Live { base, kind: SegmentFile::Log }) => (base.value(), false),
                // Under this name a file waits to be given its own once more.
                Some(Name::Interim { base, kind: SegmentFile::Log, stage: Stage::Truncating }) => (base.value(), true),
                _ => continue,
            };
            let path = Path::new(DIR).join(&name);
            let bytes = disk.read_file(&path).map_or(0, |bytes| bytes.len());
            let found = (u64::try_from(bytes).expect("a length in memory"), disk.bytes_read(path));
            if is_aside {
                logs.entry(base).or_insert(found);
            } else {
                logs.insert(base, found);
            }
        }
        Mark { state, logs }
    }

    /// An opening that succeeded at once has read what lies above the mark, and little else. Call it before anybody
    /// reads from the log.
    pub(in super::super) fn check(&self, disk: &SimDisk, log: &Log) {
        let report = log.recovery_report();
        let Some(state) = self.state.filter(|_| report.trust != Trust::Foreign && report.lost_epochs.is_none()) else {
            return;
        };
        let (point, witness) = (state.recovery_point, state.witness.map(|witness| witness.segment_base.value()));
        for (&base, &(size, before)) in &self.logs {
            let read = disk.bytes_read(log_path(base)).saturating_sub(before);
            let mut most = if witness == Some(base) { WITNESS_BYTES } else { 0 };
            let marked = point.segment_base.value();
            if report.trust == Trust::FromRecoveryPoint && base >= marked {
                // Once to judge it, once to keep a torn tail, and once more where a sync failed; what lies below the
                // mark in the segment of the mark only where its indexes are not what the state says.
                most += 3 * size + WITNESS_BYTES;
            }
            assert!(read <= most, "{read} bytes were read of segment {base} of {size}: {report:?}, {self:?}");
        }
        let above: u64 = self.logs.iter().map(|(base, (size, _))| state_above(&state, *base, *size)).sum();
        assert!(report.scanned_bytes <= above, "{} bytes scanned of {above} unsynced", report.scanned_bytes);
    }
}

/// Bytes of a segment above the mark.
fn state_above(state: &State, base: u64, size: u64) -> u64 {
    let point = state.recovery_point;
    match base.cmp(&point.segment_base.value()) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => size.saturating_sub(point.position.value()),
        std::cmp::Ordering::Greater => size,
    }
}
