//! The bytes of one slot of `kstore.state`.
//!
//! Knows no file. All numbers are big-endian; what of a slot lies behind its length is unused. Every format version
//! keeps the first 20 bytes as they are here, so that any build can tell a sound slot of a newer version from damage.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic, `6b 73 74 6f 72 65 1a 0a` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | length in bytes, 176 |
//! | 16 | 4 | CRC-32C of the bytes before and of those behind this field, up to the length |
//! | 20 | 4 | flags: 1 clean, 2 gaps allowed, 4 sync failed, 8 damage accepted, 16 there is a witness |
//! | 24 | 8 | sequence number, from 1 |
//! | 32 | 8 | generation |
//! | 40 | 8 | log start offset |
//! | 48 | 8 | log end offset |
//! | 56 | 8 | recovery point: offset |
//! | 64 | 8 | recovery point: base offset of its segment |
//! | 72 | 8 | recovery point: position in it |
//! | 80 | 8 | witness: base offset (this and the next four are 0 without one) |
//! | 88 | 8 | witness: last offset |
//! | 96 | 8 | witness: base offset of its segment |
//! | 104 | 8 | witness: position in it |
//! | 112 | 4 | witness: CRC field |
//! | 116 | 4 | CRC-32C of the offset index up to its mark |
//! | 120 | 8 | base offset of the last `.log` |
//! | 128 | 8 | its size in bytes |
//! | 136 | 8 | entries of the offset index up to its mark |
//! | 144 | 8 | entries of the time index up to its mark |
//! | 152 | 4 | CRC-32C of the time index up to its mark |
//! | 156 | 4 | zeros |
//! | 160 | 8 | largest timestamp of the segment of the recovery point, up to there, −1 for none |
//! | 168 | 8 | last offset of the first batch that has it, 0 for none |

use super::{ActiveFile, IndexMarks, RecoveryPoint, State, Witness};
use crate::error::Corruption;
use crate::offset::{Offset, Position, Timestamp};

/// The room of a slot in the file.
pub(super) const SLOT_BYTES: usize = 1536;

const MAGIC: [u8; 8] = *b"kstore\x1a\n";
const VERSION: u32 = 1;
const LENGTH: usize = 176;
const HEAD_BYTES: usize = 20;

const VERSION_AT: usize = 8;
const LENGTH_AT: usize = 12;
const CRC_AT: usize = 16;
const _: () = assert!(LENGTH_AT == VERSION_AT + 4 && CRC_AT == LENGTH_AT + 4 && HEAD_BYTES == CRC_AT + 4);

/// Nobody counts this far, so that a number that is read leaves room to count on from it.
const COUNT_MAX: u64 = u64::MAX / 2;

const CLEAN: u32 = 1;
const GAPS_ALLOWED: u32 = 1 << 1;
const SYNC_FAILED: u32 = 1 << 2;
const DAMAGE_ACCEPTED: u32 = 1 << 3;
const HAS_WITNESS: u32 = 1 << 4;
const ALL_FLAGS: u32 = (1 << 5) - 1;

/// Sectors are written whole or not at all, and what is in use of a slot is one sector.
const SECTOR_BYTES: usize = 512;
const _: () = assert!(LENGTH <= SECTOR_BYTES && SLOT_BYTES.is_multiple_of(SECTOR_BYTES));

/// A state and its place in the order of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) sequence: u64,
    pub(super) state: State,
}

/// Why a slot says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A later format version, whole.
    Newer,
    Damaged(Corruption),
}

impl Slot {
    pub(super) fn encode(&self) -> [u8; LENGTH] {
        assert_eq!(self.state.fault(), None, "{:?}", self.state);
        self.encode_unchecked()
    }

    /// As [`Slot::encode`], for states that must not be written too.
    pub(super) fn encode_unchecked(&self) -> [u8; LENGTH] {
        let state = &self.state;
        let witness = state.witness.unwrap_or(Witness::NONE);
        let mut bytes = [0; LENGTH];
        bytes[..VERSION_AT].copy_from_slice(&MAGIC);
        let mut out = Writer { bytes: &mut bytes, at: VERSION_AT };
        out.u32(VERSION);
        out.u32(u32::try_from(LENGTH).expect("it is 176"));
        out.u32(0);
        out.u32(state.flags());
        out.u64(self.sequence);
        out.u64(state.generation);
        out.u64(state.log_start.value());
        out.u64(state.log_end.value());
        out.u64(state.recovery_point.offset.value());
        out.u64(state.recovery_point.segment_base.value());
        out.u64(state.recovery_point.position.value());
        out.u64(witness.base_offset.value());
        out.u64(witness.last_offset.value());
        out.u64(witness.segment_base.value());
        out.u64(witness.position.value());
        out.u32(witness.crc);
        out.u32(state.index_marks.offset_crc);
        out.u64(state.active.base.value());
        out.u64(state.active.size);
        out.u64(state.index_marks.offset_entries);
        out.u64(state.index_marks.time_entries);
        out.u32(state.index_marks.time_crc);
        out.u32(0);
        out.u64(state.max_timestamp.map_or(-1, |(timestamp, _)| timestamp.as_millis()).cast_unsigned());
        out.u64(state.max_timestamp.map_or(0, |(_, offset)| offset.value()));
        assert_eq!(out.at, LENGTH);
        let crc = checksum(&bytes);
        bytes[CRC_AT..HEAD_BYTES].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads a slot; one that was never written is `None`. Total.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<Slot>, Refused> {
        let slot = &bytes[..SLOT_BYTES.min(bytes.len())];
        if slot.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut input = Reader { bytes: slot, at: VERSION_AT };
        if !slot.starts_with(&MAGIC) {
            return Err(content("the magic of a state file"));
        }
        let (version, length, stored) = (input.u32()?, input.u32()?, input.u32()?);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < HEAD_BYTES || length > slot.len() {
            return Err(content("the length of a slot"));
        }
        let computed = checksum(&slot[..length]);
        if computed != stored {
            return Err(Refused::Damaged(Corruption::Crc { stored, computed }));
        }
        if version > VERSION {
            return Err(Refused::Newer);
        }
        if version != VERSION || length != LENGTH {
            return Err(content("format version 1 and its length"));
        }
        decode_fields(&mut input).map(Some)
    }
}

fn decode_fields(input: &mut Reader<'_>) -> Result<Slot, Refused> {
    let flags = input.u32()?;
    let sequence = input.u64()?;
    let generation = input.u64()?;
    let (log_start, log_end) = (input.offset()?, input.offset()?);
    let recovery_point =
        RecoveryPoint { offset: input.offset()?, segment_base: input.offset()?, position: input.position()? };
    let witness = Witness {
        base_offset: input.offset()?,
        last_offset: input.offset()?,
        segment_base: input.offset()?,
        position: input.position()?,
        crc: input.u32()?,
    };
    let offset_crc = input.u32()?;
    let active = ActiveFile { base: input.offset()?, size: input.u64()? };
    let (offset_entries, time_entries) = (input.u64()?, input.u64()?);
    let index_marks = IndexMarks { offset_entries, offset_crc, time_entries, time_crc: input.u32()? };
    let has_witness = flags & HAS_WITNESS != 0;
    let counted = sequence > 0 && sequence <= COUNT_MAX && generation <= COUNT_MAX;
    if flags & !ALL_FLAGS != 0 || input.u32()? != 0 || !counted {
        return Err(content("known flags, numbers that were counted to and zeros at the end"));
    }
    let (timestamp, offset) = (Timestamp::from_disk(input.u64()?.cast_signed()), input.offset()?);
    if timestamp.is_none() && offset != Offset::ZERO {
        return Err(content("zeros where there is no timestamp"));
    }
    if !has_witness && witness != Witness::NONE {
        return Err(content("zeros where there is no witness"));
    }
    let state = State {
        generation,
        clean: flags & CLEAN != 0,
        log_start,
        log_end,
        recovery_point,
        witness: has_witness.then_some(witness),
        active,
        index_marks,
        max_timestamp: timestamp.map(|timestamp| (timestamp, offset)),
        gaps_allowed: flags & GAPS_ALLOWED != 0,
        sync_failed: flags & SYNC_FAILED != 0,
        damage_accepted: flags & DAMAGE_ACCEPTED != 0,
    };
    match state.fault() {
        Some(expected) => Err(content(expected)),
        None => Ok(Slot { sequence, state }),
    }
}

impl State {
    fn flags(&self) -> u32 {
        let flag = |set, bit| if set { bit } else { 0 };
        flag(self.clean, CLEAN)
            | flag(self.gaps_allowed, GAPS_ALLOWED)
            | flag(self.sync_failed, SYNC_FAILED)
            | flag(self.damage_accepted, DAMAGE_ACCEPTED)
            | flag(self.witness.is_some(), HAS_WITNESS)
    }

    /// What a state must hold and this one does not.
    fn fault(&self) -> Option<&'static str> {
        let point = self.recovery_point;
        let offsets = [self.log_start, self.log_end, point.offset, point.segment_base, self.active.base];
        if offsets.iter().any(|offset| *offset > Offset::MAX) {
            return Some("offsets of 63 bits");
        }
        if self.log_start > self.log_end || point.offset > self.log_end || self.active.base > self.log_end {
            return Some("a log start, a recovery point and a last segment that begin no later than the log ends");
        }
        if point.segment_base > point.offset {
            return Some("a recovery point in its segment");
        }
        match self.witness {
            Some(witness)
                if witness.segment_base > witness.base_offset
                    || witness.base_offset > witness.last_offset
                    || witness.last_offset >= point.offset =>
            {
                Some("a witness in its segment and below the recovery point")
            }
            _ => None,
        }
    }
}

impl Witness {
    /// What stands in the fields where there is no witness.
    const NONE: Witness = Witness {
        base_offset: Offset::ZERO,
        last_offset: Offset::ZERO,
        segment_base: Offset::ZERO,
        position: Position::ZERO,
        crc: 0,
    };
}

/// The checksum of a slot, the field of the checksum left out.
fn checksum(slot: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&slot[..CRC_AT]), &slot[HEAD_BYTES..])
}

fn content(expected: &'static str) -> Refused {
    Refused::Damaged(Corruption::Content { expected })
}

struct Writer<'a> {
    bytes: &'a mut [u8; LENGTH],
    at: usize,
}

impl Writer<'_> {
    fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    fn put(&mut self, field: &[u8]) {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn u32(&mut self) -> Result<u32, Refused> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Refused> {
        self.take().map(u64::from_be_bytes)
    }

    fn offset(&mut self) -> Result<Offset, Refused> {
        self.u64().map(Offset::new)
    }

    fn position(&mut self) -> Result<Position, Refused> {
        self.u64().map(Position::new)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let field = rest.first_chunk::<N>().ok_or(content("a whole slot"))?;
        self.at += N;
        Ok(*field)
    }
}
