//! Property 7: bytes that were synced and changed at rest are an error or the right bytes, for each bit, each sector and
//! each place where a write can end up that was meant for another one.
//!
//! Nothing is shorter without saying so, nothing else becomes unreadable, and no opening changes what it finds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::bench::{DIR, append, at, disk, log_path, number, opened, place_in_batch, small};
use super::properties::{files, open, twin};
use super::truncation::{fill_threes, threes};
use super::ways::{WRITE_MODES, expect_mode, in_mode};
use crate::config::{LogConfig, WriteMode};
use crate::error::{ErrorKind, Result};
use crate::fs::sim::{CrashStrength, SimDisk};
use crate::log::Log;
use crate::record::{Compression, HEADER_BYTES, StoredRecord};

const SECTOR: usize = 512;
const END: u64 = 21;
/// Of the batches, two a segment, the second ones are stored, where there are maps.
const LEAST_STORES: u64 = 3;
/// Where the leader epoch stands in a batch, which no checksum covers.
const EPOCH: std::ops::Range<usize> = 12..16;

/// How a directory came to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Closed,
    /// Synced, and the process was killed.
    Killed,
}

/// A log at rest, and what it holds.
struct Sound {
    disk: SimDisk,
    config: LogConfig,
    case: String,
    /// First offset, end and synced bytes of each segment.
    segments: Vec<(u64, u64, usize)>,
}

fn sound(mode: WriteMode, rest: Rest) -> Sound {
    let config = in_mode(threes(Compression::None), mode);
    let disk = disk();
    let log = opened(&disk, config.clone());
    fill_threes(&log, END);
    expect_mode(&disk, &log, mode, LEAST_STORES);
    log.sync().expect("a healthy disk");
    let segments = log.segments().expect("the segments");
    let size = |bytes| usize::try_from(bytes).expect("a small file");
    let segments: Vec<_> = segments
        .iter()
        .map(|segment| (segment.base_offset.value(), segment.next_offset.value(), size(segment.size_bytes)))
        .collect();
    assert!(segments.len() > 3, "{segments:?}");
    if rest == Rest::Closed {
        log.close().expect("a healthy disk");
    }
    Sound { disk: disk.crash(CrashStrength::Kill), config, case: format!("{mode:?}, {rest:?}"), segments }
}

fn every_sound() -> impl Iterator<Item = Sound> {
    WRITE_MODES.into_iter().flat_map(|mode| [Rest::Closed, Rest::Killed].map(|rest| sound(mode, rest)))
}

/// What came of one damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Every record is right, and nothing was said.
    Unnoticed,
    /// Some records of the damaged segment are errors, and all others are right.
    Told,
    /// The log does not open, and says which file is to blame.
    Refused,
}

impl Sound {
    fn bytes(&self, base: u64) -> Vec<u8> {
        self.disk.read_file(log_path(base)).expect("a segment has a file")
    }

    /// Puts other bytes in the place of a file, and reads everything. `damaged` are the segments that may suffer.
    fn judge(&self, path: &Path, bytes: Vec<u8>, damaged: &[u64], what: &str) -> Outcome {
        let case = format!("{}, {what} of {}", self.case, path.display());
        let twin = twin(&self.disk);
        twin.write_file(path, bytes);
        let before = logs(&twin);
        let log = match open(&twin, &self.config) {
            Ok(log) => log,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Damage, "{case}: {error}");
                assert!(logs(&twin) == before, "{case}: a refused opening changes nothing");
                return Outcome::Refused;
            }
        };
        assert!(logs(&twin) == before, "{case}: an opening changes no batch, {:?}", log.recovery_report());
        assert_eq!(log.log_start_offset(), at(0), "{case}: no log that begins later");
        assert!(log.log_end_offset() >= at(END), "{case}: no silently shorter log");
        let outcome = self.read_all(&log, damaged, &case);
        if !log.recovery_report().damage.is_empty() {
            assert!(append(&log, 1).is_err(), "{case}: a damaged log takes no appends unless it is told to");
        }
        twin.power_off();
        outcome
    }

    fn read_all(&self, log: &Log, damaged: &[u64], case: &str) -> Outcome {
        let mut told = false;
        for &(base, next, _) in &self.segments {
            for offset in base..next {
                let found = log.records(at(offset)..at(offset + 1)).map(|mut records| records.next());
                match found {
                    Ok(Some(Ok(record))) => is_right(&record, offset, case),
                    Ok(Some(Err(error))) | Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Damage, "{case}: {error}");
                        assert!(damaged.contains(&base), "{case}: {offset} lies elsewhere: {error}");
                        told = true;
                    }
                    Ok(None) => panic!("{case}: {offset} is gone, and nobody said so"),
                }
            }
        }
        let walked: Vec<Result<StoredRecord>> = log.records(at(0)..).expect("the whole log").collect();
        for (offset, record) in (0..).zip(&walked) {
            record.iter().for_each(|record| is_right(record, offset, case));
        }
        let whole = u64::try_from(walked.len()).expect("few") == END && walked.iter().all(Result::is_ok);
        assert!(whole || walked.iter().any(Result::is_err), "{case}: a walk ends early, and does not say why");
        assert!(told || whole, "{case}: a walk meets what lookups do not");
        let skipping = log.reader().skip_damaged().records(at(0)..).expect("the whole log");
        let given: Vec<u64> = skipping
            .flatten()
            .map(|record| {
                is_right(&record, record.offset().value(), case);
                record.offset().value()
            })
            .collect();
        assert!(given.is_sorted_by(|one, next| one < next), "{case}: {given:?}");
        for &(base, next, _) in self.segments.iter().filter(|(base, ..)| !damaged.contains(base)) {
            assert!((base..next).all(|offset| given.contains(&offset)), "{case}: segment {base} in {given:?}");
        }
        if told { Outcome::Told } else { Outcome::Unnoticed }
    }
}

fn is_right(record: &StoredRecord, offset: u64, case: &str) {
    assert_eq!((record.offset().value(), number(record.value())), (offset, offset), "{case}: other bytes");
}

/// Every `.log` that holds anything, with what was cut off it and kept aside; without room that was allocated ahead.
fn logs(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let mut logs: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (name, bytes) in files(disk).into_iter().filter(|(name, _)| name.contains(".log")) {
        logs.entry(name.trim_end_matches(".torn").to_owned()).or_default().extend(bytes);
    }
    for bytes in logs.values_mut() {
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(end);
    }
    logs.retain(|_, bytes| !bytes.is_empty());
    logs
}

// Story: a flipped bit in the last offset delta of a batch put its end above the log end; a reader that was to skip
// damage took that for the end of its range, and gave nothing of what lies behind.
#[test]
fn each_bit_of_a_synced_batch_that_flips_is_told_where_it_lies_and_nowhere_else() {
    let mut outcomes: BTreeMap<Outcome, u64> = BTreeMap::new();
    for sound in every_sound() {
        for &(base, _, size) in &sound.segments {
            let bytes = sound.bytes(base);
            for place in 0..size {
                let in_batch = place_in_batch(&bytes, place);
                let one = u32::try_from(place % 8).expect("a bit");
                for bit in if in_batch < HEADER_BYTES { 0..8 } else { one..one + 1 } {
                    let mut flipped = bytes.clone();
                    flipped[place] ^= 1 << bit;
                    let outcome = sound.judge(&log_path(base), flipped, &[base], &format!("bit {bit} of byte {place}"));
                    let told = outcome != Outcome::Unnoticed;
                    assert!(told || EPOCH.contains(&in_batch), "{}: bit {bit} of byte {in_batch}", sound.case);
                    *outcomes.entry(outcome).or_default() += 1;
                }
            }
        }
    }
    println!("flipped bits: {outcomes:?}");
    assert!(outcomes[&Outcome::Told] > 10_000, "{outcomes:?}");
}

// Story: a sector of a later segment at the front of an earlier one held sound batches, which a reader that skips damage
// gave as that segment's own; the later segment's were then passed over as too low.
#[test]
fn a_sector_that_was_zeroed_or_overwritten_with_another_one_or_with_what_it_once_held_is_told() {
    let mut outcomes: BTreeMap<Outcome, u64> = BTreeMap::new();
    for sound in every_sound() {
        let sectors: Vec<(u64, usize, Vec<u8>)> = sound
            .segments
            .iter()
            .flat_map(|&(base, _, size)| {
                let bytes = sound.bytes(base);
                (0..size)
                    .step_by(SECTOR)
                    .map(move |start| (base, start, bytes[start..size.min(start + SECTOR)].to_vec()))
            })
            .collect();
        for (base, start, old) in &sectors {
            let mut put = |with: &[u8], what: &str| {
                let mut bytes = sound.bytes(*base);
                let len = old.len().min(with.len());
                bytes[*start..start + len].copy_from_slice(&with[..len]);
                if bytes == sound.bytes(*base) {
                    return;
                }
                let outcome = sound.judge(&log_path(*base), bytes, &[*base], &format!("{what} at {start}"));
                assert_ne!(outcome, Outcome::Unnoticed, "{}: {what} at {start} of {base}", sound.case);
                *outcomes.entry(outcome).or_default() += 1;
            };
            put(&[0; SECTOR], "zeros");
            for stale in (0..old.len()).step_by(37) {
                // The sector as it was before later appends filled it.
                put(&[&old[..stale], &vec![0; old.len() - stale]].concat(), "an old state");
            }
            for (from, at, other) in &sectors {
                put(other, &format!("the sector of {from} at {at}"));
            }
        }
    }
    println!("sectors: {outcomes:?}");
    assert!(outcomes[&Outcome::Told] > 100, "{outcomes:?}");
}

#[test]
fn a_file_that_lost_its_end_is_told() {
    let mut outcomes: BTreeMap<Outcome, u64> = BTreeMap::new();
    for sound in every_sound() {
        for &(base, _, size) in &sound.segments {
            for len in (0..size).step_by(11) {
                let bytes = sound.bytes(base)[..len].to_vec();
                let outcome = sound.judge(&log_path(base), bytes, &[base], &format!("all but the first {len} bytes"));
                assert_ne!(outcome, Outcome::Unnoticed, "{}: {len} bytes of {base}", sound.case);
                *outcomes.entry(outcome).or_default() += 1;
            }
        }
    }
    println!("lost ends: {outcomes:?}");
}

/// Whatever becomes of the files that can be made anew, every record is read, or it is said why not.
#[test]
fn each_bit_of_an_index_or_of_the_state_that_flips_leaves_every_record_right() {
    let mut outcomes: BTreeMap<Outcome, u64> = BTreeMap::new();
    for sound in every_sound() {
        let names: Vec<PathBuf> = sound.disk.list(DIR).into_iter().map(|name| Path::new(DIR).join(name)).collect();
        for path in names.iter().filter(|path| !path.as_os_str().as_encoded_bytes().ends_with(b".log")) {
            let bytes = sound.disk.read_file(path).unwrap_or_default();
            for place in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << (place % 8);
                let outcome = sound.judge(path, flipped, &[], &format!("a bit of byte {place}"));
                *outcomes.entry(outcome).or_default() += 1;
            }
        }
    }
    println!("bits of other files: {outcomes:?}");
    assert!(outcomes[&Outcome::Unnoticed] > 5_000, "{outcomes:?}");
    assert_eq!(small().on_damage, crate::config::OnDamage::Refuse, "nothing was allowed to be cut");
}
