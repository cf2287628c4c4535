//! `kstore.state`: what a log that stands alone knows about itself, so that opening it need not read it.
//!
//! Knows values and their bytes; that they agree with the segments (the witness, the sizes) is for the log to check,
//! which throws the state away where they don't (rule 26). The invariant it owns: a crash at any moment leaves a state
//! that was written, never a mixture, and none that is older than the last one synced.
//!
//! | bytes | content |
//! |---|---|
//! | 0..1,536 | slot 0 |
//! | 1,536..3,072 | slot 1 |
//! | 3,072..4,096 | reserved, zeros |
//! | 4,096.. | after a clean close: the sizes of the sealed segments (`state/section.rs`) |
//!
//! The slots (`state/slot.rs`) are written in turn; the one with the higher sequence number counts. What is in use of
//! a slot lies in one sector, and a write never touches the slot that counted before, so one of the two is whole.
//! A slot of a newer format version is an error rather than no state: else an older build would recover, and then
//! overwrite, what it cannot understand.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Corruption, Error, IoOp, Result};
use crate::fs::{Env, File, OpenMode, read_exact_at, write_all_at};
use crate::names;
use crate::offset::{Offset, Position, Timestamp};

mod section;
mod slot;

use section::{SECTION_AT, SectionHead};
use slot::{SLOT_BYTES, Slot};

/// The slots and the reserved room behind them.
const FIXED_BYTES: usize = 4096;
const SLOTS: usize = 2;

const _: () = assert!(SLOTS * SLOT_BYTES <= FIXED_BYTES - 1024);
const _: () = assert!(SECTION_AT == FIXED_BYTES as u64);

/// What a log knows about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// Counts the times that the log was opened for writing, and that it was truncated.
    pub(crate) generation: u64,
    /// Whether the log was closed, with everything synced and every file cut to size.
    pub(crate) clean: bool,
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    pub(crate) recovery_point: RecoveryPoint,
    /// None as long as no batch ends at the recovery point, as in an empty log.
    pub(crate) witness: Option<Witness>,
    pub(crate) active: ActiveFile,
    pub(crate) index_marks: IndexMarks,
    /// The largest timestamp of the recovery point's segment up to there, and the last offset of the first batch that
    /// has it.
    pub(crate) max_timestamp: Option<(Timestamp, Offset)>,
    /// Whether offsets may be missing between batches: set before the first follower append or compaction.
    pub(crate) gaps_allowed: bool,
    /// Whether a sync failed: what lies above the recovery point may be in the page cache and nowhere else (rule 29).
    pub(crate) sync_failed: bool,
    /// Whether damage below the recovery point was accepted and appends go on behind it.
    pub(crate) damage_accepted: bool,
}

/// Everything below is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecoveryPoint {
    pub(crate) offset: Offset,
    pub(crate) segment_base: Offset,
    /// The end of that segment's durable bytes.
    pub(crate) position: Position,
}

/// The batch that ends at the recovery point: where it no longer stands, somebody else wrote here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    pub(crate) base_offset: Offset,
    pub(crate) last_offset: Offset,
    pub(crate) segment_base: Offset,
    /// Where the batch begins.
    pub(crate) position: Position,
    /// The batch's own checksum field.
    pub(crate) crc: u32,
}

/// The last `.log` and its size in bytes, allocated room not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ActiveFile {
    pub(crate) base: Offset,
    pub(crate) size: u64,
}

/// How far the indexes of the segment of the recovery point had come, and the CRC-32C of their entries up to there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexMarks {
    pub(crate) offset_entries: u64,
    pub(crate) offset_crc: u32,
    pub(crate) time_entries: u64,
    pub(crate) time_crc: u32,
}

impl IndexMarks {
    /// Nothing is known of the indexes: no entries have this checksum, so that whoever finds it makes them anew.
    pub(crate) const UNKNOWN: IndexMarks =
        IndexMarks { offset_entries: 0, offset_crc: u32::MAX, time_entries: 0, time_crc: u32::MAX };
}

/// What a directory's state file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Missing,
    /// There is a file, and nothing in it can be relied on.
    Unusable(Corruption),
    State(State),
}

impl Found {
    pub(crate) fn state(&self) -> Option<&State> {
        match self {
            Found::State(state) => Some(state),
            Found::Missing | Found::Unusable(_) => None,
        }
    }
}

/// The base offset and the size in bytes of each sealed `.log`, in order.
pub(crate) type Sections = Vec<(Offset, u64)>;

/// Reads the state of a log, and the sizes of its sealed segments if it was closed cleanly. Changes nothing.
///
/// # Errors
/// What the system says, and `Corrupt` for a format version that this build does not know.
pub(crate) fn read(env: &Env, dir: &Path) -> Result<(Found, Option<Sections>)> {
    let path = dir.join(names::STATE);
    let file = match env.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Found::Missing, None)),
        Err(error) => return Err(Error::io(IoOp::Open, &path, &error)),
    };
    let newest = read_slots(&file, &path)?;
    Ok((newest.found, newest.read_sections(&file, &path)?))
}

/// What is wrong with each slot, by its place in the file, also where the other one counts. Changes nothing.
pub(crate) fn damaged_slots(env: &Env, dir: &Path) -> Result<Vec<(Position, Corruption)>> {
    let path = dir.join(names::STATE);
    let file = env.open(&path, OpenMode::Read).map_err(|error| Error::io(IoOp::Open, &path, &error))?;
    let mut bytes = [0; SLOTS * SLOT_BYTES];
    read_at(&file, &path, &mut bytes, 0)?;
    let slots = bytes.chunks_exact(SLOT_BYTES).enumerate();
    let damaged = slots.filter_map(|(place, bytes)| match Slot::decode(bytes) {
        Err(slot::Refused::Damaged(reason)) => Some((Position::new(slot_at(place)), reason)),
        Ok(_) | Err(slot::Refused::Newer) => None,
    });
    Ok(damaged.collect())
}

/// The open state file of a log that is being written. One writer, under the log's writer mutex.
#[derive(Debug)]
pub(crate) struct StateFile {
    file: Arc<File>,
    path: PathBuf,
    newest: Newest,
}

impl StateFile {
    /// Opens the state file, creating it if it is missing, and says what was in it. An unusable file stays as it is
    /// until the first write. The name is made durable by the caller, who syncs the directory (rule 12).
    ///
    /// # Errors
    /// As [`read`].
    pub(crate) fn open_or_create(env: &Env, dir: &Path) -> Result<(StateFile, Found)> {
        let path = dir.join(names::STATE);
        let file = env.open(&path, OpenMode::OpenOrCreate).map_err(|error| Error::io(IoOp::Create, &path, &error))?;
        let len = file.len().map_err(|error| Error::io(IoOp::Inspect, &path, &error))?;
        if len < FIXED_BYTES as u64 {
            // Blocks are allotted now, so that no later write finds the disk full.
            let missing = FIXED_BYTES - usize::try_from(len).expect("it is less than 4,096");
            write_at(&file, &path, &[0; FIXED_BYTES][..missing], len)?;
        }
        let newest = read_slots(&file, &path)?;
        let found = newest.found;
        Ok((StateFile { file: Arc::new(file), path, newest }, found))
    }

    /// Writes a state to the slot that does not count: one `pwrite`, no sync, no allocation. After a failure the last
    /// state still counts.
    pub(crate) fn write(&mut self, state: &State) -> Result<()> {
        let slot = Slot { sequence: self.newest.sequence + 1, state: *state };
        let place = (self.newest.place + 1) % SLOTS;
        write_at(&self.file, &self.path, &slot.encode(), slot_at(place))?;
        self.newest = Newest { found: Found::State(*state), sequence: slot.sequence, place };
        Ok(())
    }

    /// Gives the file its name once more: after a failed sync of the directory the name may be in the cache and nowhere
    /// else. A crash in between leaves a log without a state, which is recovered whole.
    pub(crate) fn renew_name(&self, env: &Env) -> Result<()> {
        let mut aside = self.path.as_os_str().to_owned();
        aside.push(names::TEMPORARY_SUFFIX);
        for (from, to) in [(self.path.as_path(), Path::new(&aside)), (Path::new(&aside), self.path.as_path())] {
            env.rename(from, to).map_err(|error| Error::io(IoOp::Rename, from, &error))?;
        }
        Ok(())
    }

    /// Makes all that was written durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| Error::io(IoOp::Sync, &self.path, &error))
    }

    /// What makes durable all that was written up to its own call, for whoever must not hold the writer up meanwhile.
    pub(crate) fn syncer(&self) -> StateSyncer {
        StateSyncer { file: Arc::clone(&self.file), path: self.path.clone() }
    }

    /// Adds the sizes of the sealed segments to the clean state that was written last; they hold until the next
    /// write. Not synced.
    pub(crate) fn write_sections(&mut self, sections: &[(Offset, u64)]) -> Result<()> {
        let clean = self.newest.found.state().is_some_and(|state| state.clean);
        assert!(clean, "only a log that is being closed knows these sizes for good");
        let bytes = section::encode(self.newest.sequence, sections);
        write_at(&self.file, &self.path, &bytes, SECTION_AT)
    }

    /// The sizes of the sealed segments, if the current state is a clean one that has them.
    pub(crate) fn read_sections(&self) -> Result<Option<Sections>> {
        self.newest.read_sections(&self.file, &self.path)
    }
}

/// Syncs a state file that somebody else may be writing to.
#[derive(Debug)]
pub(crate) struct StateSyncer {
    file: Arc<File>,
    path: PathBuf,
}

impl StateSyncer {
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| Error::io(IoOp::Sync, &self.path, &error))
    }
}

/// The slot that counts, and what it says. Without one, what the first write is to follow.
#[derive(Debug)]
struct Newest {
    found: Found,
    sequence: u64,
    place: usize,
}

impl Newest {
    fn read_sections(&self, file: &File, path: &Path) -> Result<Option<Sections>> {
        if !self.found.state().is_some_and(|state| state.clean) {
            return Ok(None);
        }
        let len = file.len().map_err(|error| Error::io(IoOp::Inspect, path, &error))?;
        let Some(room) = len.checked_sub(SECTION_AT) else { return Ok(None) };
        let mut head = [0; section::HEAD_BYTES];
        read_at(file, path, &mut head, SECTION_AT)?;
        let Some(head) = SectionHead::decode(&head, room).filter(|head| head.sequence == self.sequence) else {
            return Ok(None);
        };
        let mut bytes = vec![0; head.entries_bytes];
        let read = read_at(file, path, &mut bytes, SECTION_AT + section::HEAD_BYTES as u64)?;
        Ok(head.decode_entries(&bytes[..read]))
    }
}

/// Reads both slots and picks the one that counts.
///
/// Where the other one is damaged, it may have been the newer one and have taken the clean mark back, so the mark is
/// not believed; all else in a state is true although it lags.
fn read_slots(file: &File, path: &Path) -> Result<Newest> {
    let mut bytes = [0; SLOTS * SLOT_BYTES];
    read_at(file, path, &mut bytes, 0)?;
    let mut newest = Newest { found: Found::Missing, sequence: 0, place: SLOTS - 1 };
    let (mut blank, mut damaged) = (false, None);
    for (place, bytes) in bytes.chunks_exact(SLOT_BYTES).enumerate() {
        match Slot::decode(bytes) {
            Ok(None) => blank = true,
            Ok(Some(slot)) if slot.sequence > newest.sequence => {
                newest = Newest { found: Found::State(slot.state), sequence: slot.sequence, place };
            }
            Ok(Some(_)) => {}
            Err(slot::Refused::Newer) => {
                let reason = Corruption::Content { expected: "a format version of this file that this build knows" };
                return Err(Error::corrupt(path, Position::new(slot_at(place)), reason));
            }
            Err(slot::Refused::Damaged(reason)) => damaged = Some(reason),
        }
    }
    match (&mut newest.found, damaged) {
        // Only the very first state stands beside a slot that was never written.
        (Found::State(state), damaged) => state.clean &= damaged.is_none() && !(blank && newest.sequence > 1),
        (found, Some(reason)) => *found = Found::Unusable(reason),
        (_, None) => {}
    }
    Ok(newest)
}

fn slot_at(place: usize) -> u64 {
    u64::try_from(place * SLOT_BYTES).expect("a slot lies in the first 4,096 bytes")
}

fn write_at(file: &File, path: &Path, bytes: &[u8], at: u64) -> Result<()> {
    write_all_at(file, bytes, Position::new(at)).map_err(|partial| Error::io(IoOp::Write, path, &partial.error))
}

/// Reads until the buffer is full or the file ends; what the file does not have stays as it is.
fn read_at(file: &File, path: &Path, into: &mut [u8], at: u64) -> Result<usize> {
    read_exact_at(file, into, Position::new(at)).map_err(|error| Error::io(IoOp::Read, path, &error))
}

#[cfg(test)]
mod tests;
