//! One changed bit, anywhere: it is found, or named here as what nothing can tell.

use super::*;
use crate::fs::sim::CrashStrength;
use crate::log::tests::bench::place_in_batch;
use crate::record::HEADER_BYTES;

/// Where the leader epoch stands in a batch; its first byte has the sign.
const LEADER_EPOCH_AT: usize = 12;
const BATCHES: u64 = 11;

fn flipped(disk: &SimDisk, path: &Path, at: usize, bit: u32) -> SimDisk {
    let copy = disk.crash(CrashStrength::Kill);
    copy.flip_bit(path, at as u64, bit);
    copy
}

/// A disk that can be copied.
fn closed_with_history() -> SimDisk {
    let disk = SimDisk::new(1);
    let log = open(&disk, &small());
    fill(&log, BATCHES);
    log.close().expect("a healthy disk");
    disk
}

/// Where the last batch of a `.log` begins.
fn last_batch(bytes: &[u8]) -> usize {
    bytes.len() - 1 - place_in_batch(bytes, bytes.len() - 1)
}

/// Nothing covers the leader epoch of the last batch of all, if it is still none or a possible one.
#[test]
fn every_bit_of_every_log_is_covered_but_the_sign_of_the_last_leader_epoch() {
    let disk = closed_with_history();
    assert_eq!(check(&disk).findings.len(), 0);
    let logs = files(&disk, ".log");
    assert!(logs.len() > 3, "{logs:?}");
    for path in &logs {
        let bytes = disk.read_file(path).expect("a file");
        let unseen = last_batch(&bytes) + LEADER_EPOCH_AT;
        for at in 0..bytes.len() {
            // Every bit of a header, one of each other byte.
            let one = u32::try_from(at % 8).expect("a bit");
            for bit in if place_in_batch(&bytes, at) < HEADER_BYTES { 0..8 } else { one..one + 1 } {
                let report = check(&flipped(&disk, path, at, bit));
                let exempt = Some(path) == logs.last() && at == unseen && bit == 7;
                assert_eq!(
                    kinds(&report, Severity::Warning).is_empty(),
                    exempt,
                    "bit {bit} of byte {at} of {}: {}",
                    path.display(),
                    report.to_json()
                );
                assert!(epoch(&bytes, at) || !report.is_clean(), "bit {bit} of byte {at}");
            }
        }
    }
}

/// Whether the byte belongs to the leader epoch of a batch.
fn epoch(bytes: &[u8], at: usize) -> bool {
    (LEADER_EPOCH_AT..LEADER_EPOCH_AT + 4).contains(&place_in_batch(bytes, at))
}

// Rows 91, 348.
#[test]
fn every_bit_of_every_index_is_covered() {
    let disk = closed_with_history();
    for suffix in [".index", ".timeindex"] {
        let indexes = files(&disk, suffix);
        assert!(indexes.len() > 2, "{indexes:?}");
        for path in &indexes {
            for at in 0..disk.read_file(path).expect("a file").len() {
                for bit in 0..8 {
                    let report = check(&flipped(&disk, path, at, bit));
                    let found = report.findings.iter().any(|finding| finding.path == *path);
                    assert!(found, "bit {bit} of byte {at} of {}: {}", path.display(), report.to_json());
                }
            }
        }
    }
}

/// What is in use of the state: two slots of 176 bytes, and the section. A changed bit is told, also where the other
/// slot counts; what is not in use is nobody's.
#[test]
fn every_bit_of_the_state_is_covered_where_it_is_in_use() {
    let disk = closed_with_history();
    let bytes = disk.read_file(state_path()).expect("a state");
    let used = |at: usize| at % 1536 < 176 && at < 3072 || at >= 4096;
    for at in 0..bytes.len() {
        let bit = u32::try_from(at % 8).expect("a bit");
        let copy = flipped(&disk, &state_path(), at, bit);
        let Some(report) = try_check(&copy) else { panic!("byte {at}: no log") };
        let found = kinds(&report, Severity::Warning);
        assert_eq!(!found.is_empty(), used(at), "byte {at}: {}", report.to_json());
        assert!(report.findings.iter().all(|finding| finding.path == state_path()), "byte {at}: {}", report.to_json());
    }
}

/// A process that was killed leaves bytes that were never synced: a changed bit there cannot be told from a torn write,
/// and is a warning; below the recovery point it is an error.
#[test]
fn a_changed_bit_is_an_error_below_the_recovery_point_and_a_warning_above() {
    let disk = SimDisk::new(1);
    let log = open(&disk, &small());
    fill(&log, 7);
    log.sync().expect("a healthy disk");
    let durable: Vec<_> = files(&disk, ".log").into_iter().map(|path| (disk.read_file(&path), path)).collect();
    fill(&log, 7);
    let disk = disk.crash(CrashStrength::Kill);
    drop(log);
    let sound = check(&disk);
    assert_eq!(kinds(&sound, Severity::Warning), Vec::<&str>::new(), "{}", sound.to_json());
    for path in files(&disk, ".log") {
        let bytes = disk.read_file(&path).expect("a file");
        for at in (0..bytes.len()).filter(|&at| !epoch(&bytes, at)).step_by(7) {
            let report = check(&flipped(&disk, &path, at, 3));
            assert!(!kinds(&report, Severity::Warning).is_empty(), "byte {at} of {}", path.display());
            let was_durable = durable
                .iter()
                .any(|(bytes, durable)| *durable == path && bytes.as_ref().is_some_and(|bytes| at < bytes.len()));
            assert_eq!(report.is_clean(), !was_durable, "byte {at} of {}: {}", path.display(), report.to_json());
        }
    }
}
