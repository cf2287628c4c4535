//! An offset index and a time index of arbitrary bytes, opened by each way there is.
//!
//! It judges no agreement between index and log; that is the segment's work. The input: eight bytes, of which the first
//! is the base offset and all are what is looked up; then the file. What it holds the indexes to: whoever opens a file
//! gets the same answers, in a sound one the answers of a walk over its entries, and the sound entries are found again by
//! who goes on with them.

use std::path::Path;

use super::Meter;
use crate::error::Result;
use crate::fs::{Env, sim::SimDisk};
use crate::index::{OffsetEntry, OffsetIndex, TimeEntry, TimeIndex};
use crate::offset::{Offset, Position, Timestamp};

/// What opening and a lookup may take, whatever the size of the file: they read in place.
const LOOKUP_BYTES: usize = 4 << 10;
/// More than any position of the format.
const LOG_LEN: Position = Position::new(1 << 31);

/// Opens the bytes as an offset index and as a time index, by each way there is, and looks up in both.
pub fn index(bytes: &[u8], meter: Meter) {
    let (head, entries) = bytes.split_at(bytes.len().min(8));
    let base = Offset::new(u64::from(head.first().copied().unwrap_or(0)));
    let targets: Vec<u64> = head.iter().flat_map(|&byte| [u64::from(byte), 1 << (byte % 63)]).collect();
    let disk = SimDisk::in_memory(0);
    let env = Env::sim(&disk);
    let path = Path::new("/log/index");
    disk.write_file(path, entries);
    offsets(&env, path, base, &targets, meter);
    disk.write_file(path, entries);
    times(&env, path, base, &targets, meter);
}

fn offsets(env: &Env, path: &Path, base: Offset, targets: &[u64], meter: Meter) {
    let Ok(ours) = OffsetIndex::open_sealed(env, path, base, None) else { return };
    let Ok(foreign) = OffsetIndex::open_foreign(env, path, base) else { panic!("one way opens it, the other one not") };
    let sound = ours.sound_prefix(LOG_LEN, Offset::MAX).expect("what can be opened can be read");
    assert!(sound <= ours.entries());
    assert_eq!(foreign.sound_prefix(LOG_LEN, Offset::MAX).ok(), Some(sound));
    let walked: Vec<OffsetEntry> = (0..sound).map(|number| entry(ours.entry(number))).collect();
    for &target in targets {
        let (offset, position) = (Offset::new(target), Position::new(target));
        let found = [&ours, &foreign].map(|index| {
            meter.within(LOOKUP_BYTES, || {
                (
                    index.lookup(offset).ok(),
                    index.upper_bound_by_position(position).ok(),
                    index.entries_below(offset).ok(),
                )
            })
        });
        assert_eq!(found[0], found[1], "ours and a foreign one");
        assert_eq!(ours.entry(target).ok(), foreign.entry(target).ok());
        if sound == ours.entries() {
            let floor = walked.iter().rev().find(|entry| entry.offset <= offset).copied();
            let floor = floor.unwrap_or(OffsetEntry { offset: base, position: Position::ZERO });
            let ceiling = walked.iter().find(|entry| entry.position >= position).copied();
            let below = walked.iter().filter(|entry| entry.offset < offset).count();
            assert_eq!(found[0], (Some(floor), Some(ceiling), Some(number(below))), "{target}");
        }
    }
    assert_eq!(ours.last().ok(), foreign.last().ok());
    assert!(sound == ours.entries() || ours.check(LOG_LEN, Offset::MAX).is_err(), "what is unsound is refused");
    resume_offsets(env, path, base, &walked);
}

fn times(env: &Env, path: &Path, base: Offset, targets: &[u64], meter: Meter) {
    let Ok(ours) = TimeIndex::open_sealed(env, path, base, None) else { return };
    let Ok(foreign) = TimeIndex::open_foreign(env, path, base) else { panic!("one way opens it, the other one not") };
    let sound = ours.sound_prefix(Offset::MAX).expect("what can be opened can be read");
    assert!(sound <= ours.entries());
    assert_eq!(foreign.sound_prefix(Offset::MAX).ok(), Some(sound));
    let walked: Vec<TimeEntry> = (0..sound).map(|number| entry(ours.entry(number))).collect();
    for &target in targets {
        let (offset, timestamp) = (Offset::new(target), Timestamp::from_millis(target.cast_signed()));
        let found = [&ours, &foreign].map(|index| {
            meter.within(LOOKUP_BYTES, || (index.lookup(timestamp).ok(), index.entries_below(offset).ok()))
        });
        assert_eq!(found[0], found[1], "ours and a foreign one");
        assert_eq!(ours.entry(target).ok(), foreign.entry(target).ok());
        if sound == ours.entries() {
            let floor = walked.iter().rev().find(|entry| entry.timestamp <= timestamp).copied();
            let below = walked.iter().filter(|entry| entry.offset < offset).count();
            assert_eq!(found[0], (Some(floor), Some(number(below))), "{target}");
        }
    }
    assert_eq!((ours.first().ok(), ours.last().ok()), (foreign.first().ok(), foreign.last().ok()));
    assert!(sound == ours.entries() || ours.check(Offset::MAX).is_err(), "what is unsound is refused");
    resume_times(env, path, base, &walked);
}

/// The sound entries are there for who goes on with them, with the one that is appended, also when all were sealed.
fn resume_offsets(env: &Env, path: &Path, base: Offset, walked: &[OffsetEntry]) {
    let sound = number(walked.len());
    let room = (sound + 2) * OffsetIndex::ENTRY_BYTES;
    let index = OffsetIndex::resume(env, path, base, room, sound).expect("these entries are there");
    assert_eq!((index.entries(), entry_or_none(index.last())), (sound, walked.last().copied()));
    let next = walked.last().map_or(base, |entry| entry.offset) + 1;
    let at = walked.last().map_or(Position::ZERO, |entry| entry.position);
    let appended = index.append(next, at);
    assert_eq!(appended.is_ok(), next.checked_distance(base).is_some_and(|relative| relative <= 0x7fff_ffff));
    let mut expected = walked.to_vec();
    expected.extend(appended.is_ok().then_some(OffsetEntry { offset: next, position: at }));
    let (entries, crc) = index.mark();
    index.seal().expect("memory takes it");
    assert_eq!(OffsetIndex::verify_prefix(env, path, entries, crc).ok(), Some(true));
    let again = OffsetIndex::open_sealed(env, path, base, None).expect("it was just written");
    assert_eq!((0..again.entries()).map(|number| entry(again.entry(number))).collect::<Vec<_>>(), expected);
}

fn resume_times(env: &Env, path: &Path, base: Offset, walked: &[TimeEntry]) {
    let sound = number(walked.len());
    let room = (sound + 2) * TimeIndex::ENTRY_BYTES;
    let index = TimeIndex::resume(env, path, base, room, sound).expect("these entries are there");
    assert_eq!((index.entries(), entry_or_none(index.last())), (sound, walked.last().copied()));
    let (time, next) = walked.last().map_or((Timestamp::from_millis(0), base), |entry| (entry.timestamp, entry.offset));
    let later = Timestamp::from_millis(time.as_millis().saturating_add(1));
    let appended = index.maybe_append(later, next, true);
    assert!(appended.is_ok(), "{appended:?}");
    let mut expected = walked.to_vec();
    expected.extend((later > time || walked.is_empty()).then_some(TimeEntry { timestamp: later, offset: next }));
    let (entries, crc) = index.mark();
    index.seal().expect("memory takes it");
    assert_eq!(TimeIndex::verify_prefix(env, path, entries, crc).ok(), Some(true));
    let again = TimeIndex::open_sealed(env, path, base, None).expect("it was just written");
    assert_eq!((0..again.entries()).map(|number| entry(again.entry(number))).collect::<Vec<_>>(), expected);
}

fn entry<E>(found: Result<Option<E>>) -> E {
    entry_or_none(found).expect("it was counted")
}

fn entry_or_none<E>(found: Result<Option<E>>) -> Option<E> {
    found.expect("what can be opened can be read")
}

fn number(len: usize) -> u64 {
    u64::try_from(len).expect("lengths in memory fit 64 bits")
}
