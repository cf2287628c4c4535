//! Judges the names in a log's directory, as a check sees them: what is foreign, left over, or without its log.
//!
//! It opens no file. The invariant it owns: what a running log or broker legally has under way (files that wait for
//! their deletion, a checkpoint being replaced) is a note while somebody holds the directory's lock.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, IoOp, Result};
use crate::fs::{EntryKind, Env};
use crate::names::{CURSORS, LOCK, Name, SegmentFile, Stage, TEMPORARY_SUFFIX, classify};
use crate::offset::Offset;

use super::report::{FindingKind, IntegrityReport, Severity};

/// The directory that `mkfs` leaves in the root of a file system; a log may live there.
const LOST_AND_FOUND: &str = "lost+found";

/// Files that are checked one by one.
#[derive(Debug, Default)]
pub(super) struct Companions {
    pub(super) transaction_indexes: Vec<(Offset, Arc<Path>)>,
    pub(super) snapshots: Vec<(Offset, Arc<Path>)>,
}

/// Reads the names and says what is wrong with them.
pub(super) fn check(env: &Env, dir: &Path, live: bool, report: &mut IntegrityReport) -> Result<Companions> {
    let mut entries = env.list(dir).map_err(|error| Error::io(IoOp::List, dir, &error))?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut companions = Companions::default();
    let (mut logs, mut indexes) = (BTreeSet::new(), Vec::new());
    for entry in entries {
        let path = dir.join(&entry.name);
        let name = entry.name.to_str();
        if name.is_some_and(|name| name == LOCK || name == LOST_AND_FOUND) {
            continue;
        }
        if entry.kind == EntryKind::Directory && name == Some(CURSORS) {
            // A log of its own, which is checked as one.
            continue;
        }
        let meaning = match name {
            Some(name) if entry.kind == EntryKind::File => classify(name),
            _ => Name::Foreign,
        };
        match meaning {
            Name::Live { base, kind: SegmentFile::Log } => {
                logs.insert(base);
            }
            Name::Live { base, kind: SegmentFile::Snapshot } => companions.snapshots.push((base, path.into())),
            Name::Live { base, kind } => indexes.push((base, kind, path)),
            Name::Interim { kind, stage, .. } => tell_leftover(report, &path, kind, stage, live),
            Name::Misnumbered { kind, .. } => {
                // Kafka, and an opening for writing, refuse a directory with such a log.
                let severity = if kind == SegmentFile::Log { Severity::Error } else { Severity::Note };
                report.add(severity, &path, None, None, FindingKind::MisnamedFile);
            }
            Name::Known if name.is_some_and(|name| name.ends_with(TEMPORARY_SUFFIX)) => {
                let what = FindingKind::Leftover { suffix: TEMPORARY_SUFFIX };
                report.add(Severity::Note, &path, None, None, what);
            }
            Name::Known => {}
            Name::Foreign => report.add(Severity::Note, &path, None, None, FindingKind::ForeignFile),
        }
    }
    for (base, kind, path) in indexes {
        if !logs.contains(&base) {
            tell_orphan(report, &path, base, live);
        } else if kind == SegmentFile::TransactionIndex {
            companions.transaction_indexes.push((base, path.into()));
        }
    }
    Ok(companions)
}

fn tell_leftover(report: &mut IntegrityReport, path: &Path, kind: SegmentFile, stage: Stage, live: bool) {
    let severity = match stage {
        Stage::Deleted | Stage::Torn => Severity::Note,
        // A shorter copy of an index that a crash left is removed by the next opening.
        Stage::Truncating if kind != SegmentFile::Log => Severity::Note,
        _ if live => Severity::Note,
        Stage::Cleaned | Stage::Swap | Stage::Truncating => Severity::Warning,
    };
    report.add(severity, path, None, None, FindingKind::Leftover { suffix: stage.suffix() });
}

fn tell_orphan(report: &mut IntegrityReport, path: &Path, base: Offset, live: bool) {
    let severity = if live { Severity::Note } else { Severity::Warning };
    report.add(severity, path, None, Some(base), FindingKind::OrphanIndex);
}
