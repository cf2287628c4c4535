//! `kstore.state`: arbitrary slots and sections read, and states written on.
//!
//! That a state agrees with the segments is the business of `recover`. The input: one byte of options (bit 0: the slots'
//! checksums are made right; bit 1: those of the sections too, and the sequence number they name; bit 2: the second slot
//! is one that was never written; bits 3 to 5: where a byte of the newest slot is damaged at the end), what is in use of
//! each slot, and the sections. What it holds the file to: reading changes nothing; a state that was read is written
//! so that it reads the same; a damaged newest slot leaves the one before it, and no clean mark.

use std::path::Path;

use super::Meter;
use crate::error::{Corruption, Error};
use crate::fs::{Env, sim::SimDisk};
use crate::names::STATE;
use crate::state::{Found, State, StateFile, damaged_slots, read};

const DIR: &str = "/data/log-0";
/// What of a slot is in use, where the second one begins, and the sections.
const SLOT_BYTES: usize = 176;
const SECOND_SLOT_AT: usize = 1536;
const SECTIONS_AT: usize = 4096;
/// Where in a slot its checksum, its sequence number and its generation stand.
const SLOT_CRC_AT: usize = 16;
const SEQUENCE_AT: usize = 24;
const GENERATION_AT: usize = 32;
/// Numbers are taken up to the half of their range, and the last ones have none behind them. Nobody counts this far.
const COUNTED_MAX: u64 = u64::MAX / 2 - 8;
/// The head of the sections, where their checksum stands in it, and the bytes of one.
const HEAD_BYTES: usize = 32;
const SECTIONS_CRC_AT: usize = 24;
const SECTION_BYTES: usize = 16;
/// What reading takes beside the file: both slots, and the state of the simulated disk.
const READER_BYTES: usize = 16 << 10;

/// Reads the bytes as a state, and goes on with it.
pub fn state(bytes: &[u8], meter: Meter) {
    let Some((&options, content)) = bytes.split_first() else { return };
    let file = plan(options, content);
    let disk = SimDisk::in_memory(0);
    let (env, dir, path) = (Env::sim(&disk), Path::new(DIR), Path::new(DIR).join(STATE));
    disk.write_file(&path, file.clone());

    let found = meter.within(READER_BYTES + 4 * file.len(), || read(&env, dir));
    let damaged = damaged_slots(&env, dir).expect("memory can be read");
    assert!(disk.read_file(&path).as_ref() == Some(&file), "reading changed the file");
    let opened = StateFile::open_or_create(&env, dir);
    let (found, sections) = match found {
        Ok(found) => found,
        Err(error) => {
            let newer = Corruption::Content { expected: "a format version of this file that this build knows" };
            assert!(matches!(&error, Error::Corrupt { reason, .. } if *reason == newer), "{error}");
            assert!(opened.is_err(), "who writes must know the version too");
            return;
        }
    };
    let (mut opened, writers) = opened.expect("what can be read can be opened");
    assert_eq!(writers, found, "reader and writer find the same");
    assert_eq!(opened.read_sections().ok(), Some(sections.clone()));
    assert!(matches!(found, Found::Unusable(_)) <= !damaged.is_empty(), "what is unusable is damaged");
    assert!(sections.iter().flatten().is_sorted_by(|one, next| one.0 < next.0), "sections rise");
    let Found::State(state) = found else { return };
    assert!(state.clean || sections.is_none(), "sections hold after a clean close only");
    assert!(!state.clean || damaged.is_empty(), "beside a damaged slot no mark is believed");

    if is_at_its_end(&file) {
        return;
    }
    let later = State { generation: state.generation / 2, clean: true, ..state };
    opened.write(&state).expect("memory takes it");
    assert_eq!(read(&env, dir).ok(), Some((Found::State(state), None)), "a state is written so that it reads the same");
    opened.write(&later).expect("memory takes it");
    let sections = sections.unwrap_or_default();
    opened.write_sections(&sections).expect("memory takes it");
    assert_eq!(read(&env, dir).ok(), Some((Found::State(later), Some(sections))));
    damage_newest(&disk, &path, options >> 3 & 7);
    let before = State { clean: false, ..state };
    assert_eq!(read(&env, dir).ok(), Some((Found::State(before), None)), "the state before counts, and no clean mark");
}

/// The file that the input describes.
fn plan(options: u8, content: &[u8]) -> Vec<u8> {
    let (first, rest) = content.split_at(content.len().min(SLOT_BYTES));
    let (second, sections) = rest.split_at(rest.len().min(if options & 4 == 0 { SLOT_BYTES } else { 0 }));
    let mut file = first.to_vec();
    if !second.is_empty() {
        file.resize(SECOND_SLOT_AT, 0);
        file.extend(second);
    }
    if options & 1 != 0 {
        mend_slots(&mut file);
    }
    if !sections.is_empty() {
        let sequences = [0, SECOND_SLOT_AT].map(|slot| number(&file, slot + SEQUENCE_AT));
        file.resize(SECTIONS_AT, 0);
        file.extend(sections);
        if options & 2 != 0 {
            mend_sections(&mut file[SECTIONS_AT..], sequences[0].max(sequences[1]));
        }
    }
    file
}

/// Makes the checksums of both slots right.
pub(super) fn mend_slots(file: &mut [u8]) {
    for start in [0, SECOND_SLOT_AT] {
        let Some(slot) = file.get_mut(start..start + SLOT_BYTES) else { return };
        mend(slot, SLOT_CRC_AT, SLOT_CRC_AT + 4);
    }
}

fn mend_sections(sections: &mut [u8], sequence: u64) {
    let Some(entries) = sections.len().checked_sub(HEAD_BYTES) else { return };
    let whole = HEAD_BYTES + entries / SECTION_BYTES * SECTION_BYTES;
    let count = u64::try_from(entries / SECTION_BYTES).expect("lengths in memory fit 64 bits");
    sections[8..16].copy_from_slice(&sequence.to_be_bytes());
    sections[16..24].copy_from_slice(&count.to_be_bytes());
    mend(&mut sections[..whole], SECTIONS_CRC_AT, HEAD_BYTES);
}

/// Computes the checksum of the bytes before its field and of those from `behind` on.
fn mend(bytes: &mut [u8], crc_at: usize, behind: usize) {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..crc_at]), &bytes[behind..]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_be_bytes());
}

/// Whether a number in it has nearly none behind it, so that what comes next may not be read.
pub(super) fn is_at_its_end(file: &[u8]) -> bool {
    let fields = [0, SECOND_SLOT_AT].into_iter().flat_map(|slot| [slot + SEQUENCE_AT, slot + GENERATION_AT]);
    fields.into_iter().any(|at| number(file, at) > COUNTED_MAX)
}

fn number(file: &[u8], at: usize) -> u64 {
    let field = file.get(at..).and_then(|rest| rest.first_chunk::<8>());
    field.map_or(0, |field| u64::from_be_bytes(*field))
}

/// Changes one byte of the slot that was written last.
fn damage_newest(disk: &SimDisk, path: &Path, place: u8) {
    let mut file = disk.read_file(path).expect("a state file");
    let newest =
        if number(&file, SEQUENCE_AT) > number(&file, SECOND_SLOT_AT + SEQUENCE_AT) { 0 } else { SECOND_SLOT_AT };
    file[newest + usize::from(place) * (SLOT_BYTES / 8)] ^= 0x55;
    disk.write_file(path, file);
}
