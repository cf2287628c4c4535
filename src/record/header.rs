//! The header of a stored batch: parsed from the first bytes at a position, and written.
//!
//! It knows nothing of the records behind it and, but for [`verify_crc`], does not look at them. The invariant it owns:
//! a parsed header has a magic it knows, a length no smaller than its format's smallest batch, and offsets in
//! `0..=i64::MAX`, so that everything above may add and subtract them.

use byteorder::{BigEndian, ByteOrder};

use super::checksum;
use super::compression::Compression;
use super::layout::{self, Field, HEADER_BYTES, OVERHEAD_BYTES, UP_TO_MAGIC_BYTES};
use crate::error::Corruption;
use crate::offset::{Offset, Timestamp};

/// Which time the records of a batch carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The time that the writer of each record gave.
    #[default]
    CreateTime,
    /// The time at which the log took the batch, for all its records.
    LogAppendTime,
}

/// The header of a batch of any format. What formats 0 and 1 do not have is −1, as Kafka reports it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BatchHeader {
    pub magic: i8,
    /// The whole batch, framing included.
    pub size_bytes: u64,
    /// The first field: the base offset in format 2, the last offset in formats 0 and 1.
    pub offset_field: Offset,
    pub leader_epoch: i32,
    pub crc: u32,
    pub attributes: i16,
    /// 0 in formats 0 and 1.
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
}

impl BatchHeader {
    /// Reads the header from the first bytes at a position, as many as there are; at most [`HEADER_BYTES`] matter.
    pub(crate) fn parse(prefix: &[u8]) -> Result<BatchHeader, Corruption> {
        let Some(start) = prefix.first_chunk::<UP_TO_MAGIC_BYTES>() else {
            return Err(too_short(prefix, UP_TO_MAGIC_BYTES));
        };
        if start == &[0; UP_TO_MAGIC_BYTES] {
            return Err(Corruption::Zeros);
        }
        let length = BigEndian::read_i32(of(start, layout::BATCH_LENGTH));
        let magic = i8::from_be_bytes([start[layout::MAGIC.at]]);
        // A length too small for any format is reported before the magic, which may then belong to something else.
        check_length(length, layout::V0_SMALLEST_BYTES)?;
        match magic {
            0 => parse_legacy(prefix, length, magic, layout::V0_SMALLEST_BYTES),
            1 => parse_legacy(prefix, length, magic, layout::V1_SMALLEST_BYTES),
            layout::MAGIC_V2 => parse_v2(prefix, length),
            found => Err(Corruption::Magic { found }),
        }
    }

    /// The offset of the first record; formats 0 and 1 keep it inside their compressed bytes.
    pub(crate) fn base_offset(&self) -> Option<Offset> {
        (!self.is_legacy()).then_some(self.offset_field)
    }

    /// The last offset that the batch takes, whether or not a record is left there.
    pub(crate) fn last_offset(&self) -> Offset {
        self.offset_field + u64::from(self.last_offset_delta.unsigned_abs())
    }

    /// The offset behind the batch.
    pub(crate) fn next_offset(&self) -> Offset {
        self.last_offset() + 1
    }

    /// Whether the batch has format 0 or 1.
    pub(crate) fn is_legacy(&self) -> bool {
        self.magic < layout::MAGIC_V2
    }

    /// The codec, also one that this build was made without.
    pub(crate) fn compression(&self) -> Result<Compression, Corruption> {
        let code = (self.attributes & layout::CODEC_MASK).to_be_bytes()[1];
        let compression = Compression::from_code(code).ok_or(Corruption::Codec { found: code })?;
        if self.is_legacy() && compression == Compression::Zstd {
            return Err(Corruption::LegacyWrapper { why: "zstd is not for formats 0 and 1" });
        }
        Ok(compression)
    }

    /// Which time the records carry; format 0 carries none.
    pub(crate) fn timestamp_type(&self) -> Option<TimestampType> {
        if self.magic == 0 {
            None
        } else if self.has(layout::LOG_APPEND_TIME_MASK) {
            Some(TimestampType::LogAppendTime)
        } else {
            Some(TimestampType::CreateTime)
        }
    }

    /// Whether the batch holds control records, which no reader of data is shown.
    pub(crate) fn is_control(&self) -> bool {
        !self.is_legacy() && self.has(layout::CONTROL_MASK)
    }

    /// Whether the batch belongs to a transaction.
    pub(crate) fn is_transactional(&self) -> bool {
        !self.is_legacy() && self.has(layout::TRANSACTIONAL_MASK)
    }

    /// The time from which compaction may drop the batch's tombstones and markers.
    pub(crate) fn delete_horizon(&self) -> Option<Timestamp> {
        let set = !self.is_legacy() && self.has(layout::DELETE_HORIZON_MASK);
        set.then_some(Timestamp::from_millis(self.base_timestamp))
    }

    /// The largest timestamp of the batch, if its records have any.
    pub(crate) fn max_timestamp(&self) -> Option<Timestamp> {
        Timestamp::from_disk(self.max_timestamp)
    }

    /// The sequence number of the last record, or −1 without a producer that counts.
    #[allow(
        dead_code,
        reason = "transactions and compaction, which this release lacks, ask this; tests hold it to Kafka's bytes"
    )]
    pub(crate) fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        add_to_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// The bytes of a header of format 2.
    ///
    /// # Panics
    /// For a header of format 0 or 1, which are never written.
    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        assert_eq!(self.magic, layout::MAGIC_V2, "only format 2 is written");
        let length = i32::try_from(self.size_bytes - OVERHEAD_BYTES as u64).expect("a batch's length fits its field");
        let mut bytes = [0; HEADER_BYTES];
        BigEndian::write_i64(of_mut(&mut bytes, layout::BASE_OFFSET), self.offset_field.to_disk());
        BigEndian::write_i32(of_mut(&mut bytes, layout::BATCH_LENGTH), length);
        BigEndian::write_i32(of_mut(&mut bytes, layout::LEADER_EPOCH), self.leader_epoch);
        bytes[layout::MAGIC.at] = self.magic.to_be_bytes()[0];
        BigEndian::write_u32(of_mut(&mut bytes, layout::CRC), self.crc);
        BigEndian::write_i16(of_mut(&mut bytes, layout::ATTRIBUTES), self.attributes);
        BigEndian::write_i32(of_mut(&mut bytes, layout::LAST_OFFSET_DELTA), self.last_offset_delta);
        BigEndian::write_i64(of_mut(&mut bytes, layout::BASE_TIMESTAMP), self.base_timestamp);
        BigEndian::write_i64(of_mut(&mut bytes, layout::MAX_TIMESTAMP), self.max_timestamp);
        BigEndian::write_i64(of_mut(&mut bytes, layout::PRODUCER_ID), self.producer_id);
        BigEndian::write_i16(of_mut(&mut bytes, layout::PRODUCER_EPOCH), self.producer_epoch);
        BigEndian::write_i32(of_mut(&mut bytes, layout::BASE_SEQUENCE), self.base_sequence);
        BigEndian::write_i32(of_mut(&mut bytes, layout::RECORDS_COUNT), self.count);
        bytes
    }

    /// [`BatchHeader::to_bytes`] with the checksum computed over it and the record bytes that follow it.
    pub(crate) fn seal(&mut self, records: &[u8]) -> [u8; HEADER_BYTES] {
        let mut bytes = self.to_bytes();
        self.crc = checksum::crc32c_append(checksum::crc32c(&bytes[layout::V2_CRC_FROM..]), records);
        BigEndian::write_u32(of_mut(&mut bytes, layout::CRC), self.crc);
        bytes
    }

    /// Puts the header before the records, which are in place, and the checksum over both into it: in one pass, for they lie
    /// behind each other by then. Offset and length come last, so that until then there is no batch, whoever looks.
    pub(crate) fn seal_in_place(&mut self, batch: &mut [u8]) {
        let bytes = self.to_bytes();
        let (first, covered) = (layout::BATCH_LENGTH.end(), layout::V2_CRC_FROM);
        batch[covered..HEADER_BYTES].copy_from_slice(&bytes[covered..]);
        self.crc = checksum::crc32c(&batch[covered..]);
        batch[first..covered].copy_from_slice(&bytes[first..covered]);
        BigEndian::write_u32(of_mut(batch, layout::CRC), self.crc);
        batch[..first].copy_from_slice(&bytes[..first]);
    }

    fn has(&self, mask: i16) -> bool {
        self.attributes & mask != 0
    }
}

/// Compares the stored checksum with that of the bytes. `batch` begins with the batch of `header` and holds all of it.
pub(crate) fn verify_crc(batch: &[u8], header: &BatchHeader) -> Result<(), Corruption> {
    let whole = whole_batch(batch, header)?;
    let computed = if header.is_legacy() {
        checksum::crc32_ieee(&whole[layout::LEGACY_CRC_FROM..])
    } else {
        checksum::crc32c(&whole[layout::V2_CRC_FROM..])
    };
    if computed != header.crc {
        return Err(Corruption::Crc { stored: header.crc, computed });
    }
    Ok(())
}

/// The bytes of the batch of `header` at the front of `bytes`, without what follows it.
pub(crate) fn whole_batch<'a>(bytes: &'a [u8], header: &BatchHeader) -> Result<&'a [u8], Corruption> {
    let size = usize::try_from(header.size_bytes).unwrap_or(usize::MAX);
    bytes.get(..size).ok_or(too_short(bytes, size))
}

/// Assigns the base offset, which the checksum does not cover.
///
/// # Panics
/// If `batch` is shorter than a header.
pub(crate) fn set_base_offset(batch: &mut [u8], base: Offset) {
    BigEndian::write_i64(of_mut(batch, layout::BASE_OFFSET), base.to_disk());
}

/// Assigns the leader epoch, which the checksum does not cover.
///
/// # Panics
/// If `batch` is shorter than a header.
pub(crate) fn set_leader_epoch(batch: &mut [u8], epoch: i32) {
    BigEndian::write_i32(of_mut(batch, layout::LEADER_EPOCH), epoch);
}

/// Counts a sequence number on. Sequence numbers wrap from 2^31 − 1 to 0.
#[allow(
    dead_code,
    reason = "transactions and compaction, which this release lacks, ask this; tests hold it to Kafka's bytes"
)]
#[inline]
pub(crate) fn add_to_sequence(sequence: i32, count: i32) -> i32 {
    debug_assert!(sequence >= 0 && count >= 0);
    sequence.wrapping_add(count) & i32::MAX
}

/// Counts a sequence number back. Sequence numbers wrap from 0 to 2^31 − 1.
#[allow(
    dead_code,
    reason = "transactions and compaction, which this release lacks, ask this; tests hold it to Kafka's bytes"
)]
pub(crate) fn subtract_from_sequence(sequence: i32, count: i32) -> i32 {
    debug_assert!(sequence >= 0 && count >= 0);
    sequence.wrapping_sub(count) & i32::MAX
}

fn parse_v2(prefix: &[u8], length: i32) -> Result<BatchHeader, Corruption> {
    let size_bytes = check_length(length, HEADER_BYTES)?;
    let Some(head) = prefix.first_chunk::<HEADER_BYTES>() else {
        return Err(too_short(prefix, HEADER_BYTES));
    };
    let base_offset = BigEndian::read_i64(of(head, layout::BASE_OFFSET));
    let last_offset_delta = BigEndian::read_i32(of(head, layout::LAST_OFFSET_DELTA));
    let count = BigEndian::read_i32(of(head, layout::RECORDS_COUNT));
    if last_offset_delta < 0 {
        return Err(out_of_range("the last offset delta", last_offset_delta.into()));
    }
    if count < 0 {
        return Err(out_of_range("the record count", count.into()));
    }
    Ok(BatchHeader {
        magic: layout::MAGIC_V2,
        size_bytes,
        offset_field: check_offset(base_offset, last_offset_delta)?,
        leader_epoch: BigEndian::read_i32(of(head, layout::LEADER_EPOCH)),
        crc: BigEndian::read_u32(of(head, layout::CRC)),
        attributes: BigEndian::read_i16(of(head, layout::ATTRIBUTES)),
        last_offset_delta,
        base_timestamp: BigEndian::read_i64(of(head, layout::BASE_TIMESTAMP)),
        max_timestamp: BigEndian::read_i64(of(head, layout::MAX_TIMESTAMP)),
        producer_id: BigEndian::read_i64(of(head, layout::PRODUCER_ID)),
        producer_epoch: BigEndian::read_i16(of(head, layout::PRODUCER_EPOCH)),
        base_sequence: BigEndian::read_i32(of(head, layout::BASE_SEQUENCE)),
        count,
    })
}

fn parse_legacy(prefix: &[u8], length: i32, magic: i8, smallest: usize) -> Result<BatchHeader, Corruption> {
    let size_bytes = check_length(length, smallest)?;
    if prefix.len() < smallest {
        return Err(too_short(prefix, smallest));
    }
    let last_offset = BigEndian::read_i64(of(prefix, layout::LEGACY_OFFSET));
    Ok(BatchHeader {
        magic,
        size_bytes,
        offset_field: check_offset(last_offset, 0)?,
        leader_epoch: -1,
        crc: BigEndian::read_u32(of(prefix, layout::LEGACY_CRC)),
        attributes: i16::from(prefix[layout::LEGACY_ATTRIBUTES.at]),
        last_offset_delta: 0,
        base_timestamp: -1,
        max_timestamp: if magic == 0 { -1 } else { BigEndian::read_i64(of(prefix, layout::V1_TIMESTAMP)) },
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        count: -1,
    })
}

fn check_length(length: i32, smallest_bytes: usize) -> Result<u64, Corruption> {
    let smallest = i32::try_from(smallest_bytes - OVERHEAD_BYTES).expect("headers are short");
    if length < smallest {
        return Err(Corruption::BatchLength { found: length, smallest });
    }
    Ok(u64::from(length.unsigned_abs()) + OVERHEAD_BYTES as u64)
}

/// The offset behind the batch must exist too: it is where the log ends, and the next batch begins.
fn check_offset(field: i64, last_offset_delta: i32) -> Result<Offset, Corruption> {
    let offset = Offset::from_disk(field).ok_or(out_of_range("the offset", field))?;
    match field.checked_add(i64::from(last_offset_delta)) {
        Some(last) if last < i64::MAX => Ok(offset),
        _ => Err(out_of_range("the offset", field)),
    }
}

fn out_of_range(field: &'static str, found: i64) -> Corruption {
    Corruption::OutOfRange { field, found }
}

fn too_short(bytes: &[u8], needed: usize) -> Corruption {
    Corruption::Truncated { needed: needed as u64, available: bytes.len() as u64 }
}

fn of(bytes: &[u8], field: Field) -> &[u8] {
    &bytes[field.at..field.end()]
}

fn of_mut(bytes: &mut [u8], field: Field) -> &mut [u8] {
    &mut bytes[field.at..field.end()]
}

#[cfg(test)]
mod tests;
