//! What crashes leave of appends that were stored into a map: zeros between them, halves of them, the later without the
//! earlier.

use super::bench::{append, at, disk, fill, log_path, open, opened, small, text, upto, values};
use crate::config::{LogConfig, WriteMode};
use crate::fs::sim::{CrashStrength, Part, SimDisk};
use crate::log::Log;
use crate::record::Record;

/// Batches of 600 bytes: each begins in another sector than the one before it.
const VALUE_BYTES: usize = 530;

fn mapped() -> LogConfig {
    small().segment_bytes(1 << 20).write_mode(WriteMode::Mapped).windows_at_once(1 << 16)
}

fn wide_value(value: u64) -> String {
    format!("{value:0width$}", width = VALUE_BYTES)
}

fn append_wide(log: &Log, value: u64) {
    log.append(&[Record::value(&wide_value(value))]).expect("there is room");
}

/// Five records, durable, and five more, stored.
fn half_synced(disk: &SimDisk) -> Log {
    let log = opened(disk, mapped());
    (0..5).for_each(|value| append_wide(&log, value));
    log.sync().expect("a healthy disk");
    (5..10).for_each(|value| append_wide(&log, value));
    log
}

fn wide_values(log: &Log) -> Vec<u64> {
    values(log)
}

#[test]
fn every_subset_of_stores_that_a_power_cut_keeps_leaves_a_prefix() {
    let disk = disk();
    let _log = half_synced(&disk);
    // Each of the five stores is kept or lost as a whole: their combinations leave zeros between them in every way.
    for kept in 0..32_u64 {
        let mut seen = Vec::new();
        let image = disk.image(CrashStrength::Strict, |atom, options| {
            if !matches!(atom.part, Part::Data { .. }) {
                return options - 1;
            }
            let at = seen.iter().position(|sequence| *sequence == atom.sequence).unwrap_or_else(|| {
                seen.push(atom.sequence);
                seen.len() - 1
            });
            (kept >> at) & 1
        });
        let log = opened(&image, mapped());
        let found = wide_values(&log);
        assert!(found.len() >= 5 && upto(10).starts_with(&found), "{kept:05b}: {found:?}");
        let end = log.log_end_offset().value();
        (end..12).for_each(|value| append_wide(&log, value + 100));
        let expected: Vec<u64> = (0..end).chain((end..12).map(|value| value + 100)).collect();
        assert_eq!(wide_values(&log), expected, "{kept:05b}");
        // No record of the earlier life comes back at the place where one of equal size was stored (rule 11b).
        for strength in [CrashStrength::Kill, CrashStrength::Strict] {
            let again = opened(&image.image(strength, |_, _| 0), mapped());
            let found = wide_values(&again);
            assert!(expected.starts_with(&found) && found.len() as u64 >= end.min(5), "{kept:05b}: {found:?}");
        }
    }
}

#[test]
fn a_store_of_which_the_process_made_only_a_part_is_cut_off() {
    let disk = disk();
    let log = opened(&disk, mapped());
    fill(&log, 0..4);
    let killed = disk.crash(CrashStrength::Kill);
    let whole = killed.read_file(log_path(0)).expect("a segment");
    let end = 4 * 108;
    let next = {
        let other = super::bench::disk();
        let log = opened(&other, small().segment_bytes(1 << 20));
        fill(&log, 0..5);
        other.read_file(log_path(0)).expect("a segment")[end..end + 108].to_vec()
    };
    assert!(whole[end..].iter().all(|byte| *byte == 0) && whole.len() > end + 108);
    // The records and then the header, as they are stored; and, as another compiler might order it, the other way round.
    for part in [0..61, 0..80, 61..108, 90..108, 0..100, 16..20] {
        let disk = killed.image(CrashStrength::Kill, |_, _| 0);
        let mut bytes = whole.clone();
        bytes[end + part.start..end + part.end].copy_from_slice(&next[part.clone()]);
        disk.write_file(log_path(0), bytes);
        let log = opened(&disk, mapped());
        assert_eq!(values(&log), upto(4), "{part:?}");
        let torn = &log.recovery_report().torn;
        assert!(torn.len() == 1 && !torn[0].zeros, "{part:?}: {torn:?}");
        fill(&log, 4..7);
        log.close().expect("a healthy disk");
        assert_eq!(values(&opened(&disk, mapped())), upto(7));
    }
}

#[test]
fn a_tail_of_zeros_is_no_damage_and_is_gone_before_the_next_append() {
    let disk = disk();
    let log = opened(&disk, mapped());
    fill(&log, 0..4);
    let disk = disk.crash(CrashStrength::Kill);
    drop(log);
    let log = opened(&disk, small().segment_bytes(1 << 20));
    let torn = &log.recovery_report().torn;
    assert!(torn.len() == 1 && torn[0].zeros && torn[0].kept.is_none(), "{torn:?}");
    assert_eq!(disk.read_file(log_path(0)).expect("a segment").len(), 4 * 108);
    assert_eq!(values(&log), upto(4));
}

/// Appends, syncs, rolls and truncates, until the power fails. Says how many of the first records are durable, and what
/// was handed in.
fn script(disk: &SimDisk) -> (u64, Vec<u64>) {
    let (mut durable, mut handed_in) = (0, Vec::new());
    let config = mapped().segment_bytes(9000).windows_at_once(1);
    let Ok(log) = open(disk, config) else { return (durable, handed_in) };
    for value in 0..60_u64 {
        if append(&log, value).is_err() {
            handed_in.push(value);
            break;
        }
        handed_in.push(value);
        if value % 7 == 3 && log.sync().is_ok() {
            durable = value + 1;
        }
        if value == 25 && log.roll().is_err() {
            break;
        }
        if value == 40 {
            if log.truncate_to(at(41)).is_err() {
                break;
            }
            durable = 41;
        }
    }
    (durable, handed_in)
}

#[test]
fn a_power_cut_after_any_change_leaves_what_was_synced_and_a_prefix() {
    for calls in 0.. {
        let disk = disk();
        disk.power_off_after(calls);
        let (durable, handed_in) = script(&disk);
        let was_cut = disk.is_off();
        for strength in [CrashStrength::Strict, CrashStrength::Ordered, CrashStrength::Kill] {
            let after = disk.crash(strength);
            let log = opened(&after, mapped());
            let found = values(&log);
            let case = format!("{strength:?} after {calls} changes");
            assert!(found.len() as u64 >= durable && handed_in.starts_with(&found), "{case}: {found:?}");
            let end = log.log_end_offset().value();
            log.append(&[Record::value(&text(end))]).unwrap_or_else(|error| panic!("{case}: {error}"));
            log.close().unwrap_or_else(|error| panic!("{case}: {error}"));
        }
        if !was_cut {
            return;
        }
    }
}
