//! The section behind the slots of `kstore.state`: the sizes of the sealed segments as of a clean close.
//!
//! Knows no file. It names the sequence number of the state that it belongs to; the next write of a state makes it
//! void without touching it. All numbers are big-endian.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic, `6b 73 65 63 74 73 1a 0a` |
//! | 8 | 8 | sequence number of the state |
//! | 16 | 8 | number of entries |
//! | 24 | 4 | CRC-32C of the bytes before and of the entries |
//! | 28 | 4 | zeros |
//! | 32 | 16 each | base offset, size of the `.log` in bytes; ascending |

use super::Sections;
use crate::offset::Offset;

/// Where the section begins in the file.
pub(super) const SECTION_AT: u64 = 4096;

pub(super) const HEAD_BYTES: usize = 32;

const MAGIC: [u8; 8] = *b"ksects\x1a\n";
const CRC_AT: usize = 24;
const ENTRY_BYTES: usize = 16;

pub(super) fn encode(sequence: u64, sections: &[(Offset, u64)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + sections.len() * ENTRY_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(u64::try_from(sections.len()).expect("a length in memory fits 64 bits").to_be_bytes());
    bytes.extend([0; HEAD_BYTES - CRC_AT]);
    for (base, size) in sections {
        bytes.extend(base.value().to_be_bytes());
        bytes.extend(size.to_be_bytes());
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT]), &bytes[HEAD_BYTES..]);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// The head of a section, whose entries are still to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct SectionHead {
    pub(super) sequence: u64,
    pub(super) entries_bytes: usize,
    stored_crc: u32,
    /// Of the head.
    crc: u32,
}

impl SectionHead {
    /// Reads the head; `room` is what the file holds from the section's start on. None if it is no head, or counts
    /// more entries than there is room for.
    pub(super) fn decode(bytes: &[u8; HEAD_BYTES], room: u64) -> Option<SectionHead> {
        let [magic, sequence, count, tail] = *bytes.as_chunks::<8>().0.first_chunk::<4>()?;
        let stored_crc = u32::from_be_bytes(*tail.first_chunk::<4>()?);
        let entries_bytes = usize::try_from(u64::from_be_bytes(count)).ok()?.checked_mul(ENTRY_BYTES)?;
        let needed = u64::try_from(entries_bytes.checked_add(HEAD_BYTES)?).ok()?;
        (magic == MAGIC && tail[4..] == [0; 4] && needed <= room).then(|| SectionHead {
            sequence: u64::from_be_bytes(sequence),
            entries_bytes,
            stored_crc,
            crc: crc32c::crc32c(&bytes[..CRC_AT]),
        })
    }

    /// Reads the entries. None if they are not those that were written.
    pub(super) fn decode_entries(&self, bytes: &[u8]) -> Option<Sections> {
        if bytes.len() != self.entries_bytes || crc32c::crc32c_append(self.crc, bytes) != self.stored_crc {
            return None;
        }
        let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
        let mut sections = Sections::with_capacity(entries.len());
        for entry in entries {
            let (base, size) = entry.split_at(ENTRY_BYTES / 2);
            let base = Offset::new(u64::from_be_bytes(*base.first_chunk()?));
            if base > Offset::MAX || sections.last().is_some_and(|(last, _)| *last >= base) {
                return None;
            }
            sections.push((base, u64::from_be_bytes(*size.first_chunk()?)));
        }
        Some(sections)
    }
}
