//! Where every field of a stored batch lies, for the three formats that a `.log` can hold.
//!
//! Numbers only: nothing here reads or writes. The invariant it owns: the fields of a header follow each other without
//! a gap, which the assertions below check when the crate is compiled. `docs/format.md` shows the same tables.
//! All integers are big-endian and signed unless said otherwise.

/// One field of a fixed layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// The field's name, as the documentation spells it.
    pub name: &'static str,
    /// Its first byte, counted from the start of the batch.
    pub at: usize,
    /// How many bytes it has.
    pub bytes: usize,
}

impl Field {
    const fn new(name: &'static str, at: usize, bytes: usize) -> Field {
        Field { name, at, bytes }
    }

    /// The byte behind the field.
    pub(crate) const fn end(self) -> usize {
        self.at + self.bytes
    }
}

/// Bytes that the length field does not count: the offset and the length itself.
pub(crate) const OVERHEAD_BYTES: usize = 12;
/// As many bytes tell the format of a batch: the magic is the 17th byte of each.
pub(crate) const UP_TO_MAGIC_BYTES: usize = 17;
/// The header of a batch of format 2; the records begin behind it.
pub(crate) const HEADER_BYTES: usize = 61;

pub(crate) const BASE_OFFSET: Field = Field::new("baseOffset", 0, 8);
pub(crate) const BATCH_LENGTH: Field = Field::new("batchLength", 8, 4);
pub(crate) const LEADER_EPOCH: Field = Field::new("partitionLeaderEpoch", 12, 4);
pub(crate) const MAGIC: Field = Field::new("magic", 16, 1);
pub(crate) const CRC: Field = Field::new("crc", 17, 4);
pub(crate) const ATTRIBUTES: Field = Field::new("attributes", 21, 2);
pub(crate) const LAST_OFFSET_DELTA: Field = Field::new("lastOffsetDelta", 23, 4);
pub(crate) const BASE_TIMESTAMP: Field = Field::new("baseTimestamp", 27, 8);
pub(crate) const MAX_TIMESTAMP: Field = Field::new("maxTimestamp", 35, 8);
pub(crate) const PRODUCER_ID: Field = Field::new("producerId", 43, 8);
pub(crate) const PRODUCER_EPOCH: Field = Field::new("producerEpoch", 51, 2);
pub(crate) const BASE_SEQUENCE: Field = Field::new("baseSequence", 53, 4);
pub(crate) const RECORDS_COUNT: Field = Field::new("recordsCount", 57, 4);

/// The header of format 2 in order.
pub(crate) const V2_HEADER: [Field; 13] = [
    BASE_OFFSET,
    BATCH_LENGTH,
    LEADER_EPOCH,
    MAGIC,
    CRC,
    ATTRIBUTES,
    LAST_OFFSET_DELTA,
    BASE_TIMESTAMP,
    MAX_TIMESTAMP,
    PRODUCER_ID,
    PRODUCER_EPOCH,
    BASE_SEQUENCE,
    RECORDS_COUNT,
];

/// The checksum of format 2 covers everything from here to the end, so that base offset and leader epoch can be
/// assigned without computing it anew.
pub(crate) const V2_CRC_FROM: usize = ATTRIBUTES.at;

pub(crate) const LEGACY_OFFSET: Field = Field::new("offset", 0, 8);
pub(crate) const LEGACY_LENGTH: Field = Field::new("messageSize", 8, 4);
pub(crate) const LEGACY_CRC: Field = Field::new("crc", 12, 4);
pub(crate) const LEGACY_ATTRIBUTES: Field = Field::new("attributes", 17, 1);
pub(crate) const V1_TIMESTAMP: Field = Field::new("timestamp", 18, 8);

/// Format 0 up to the key length, which stands behind it.
pub(crate) const V0_HEADER: [Field; 5] = [LEGACY_OFFSET, LEGACY_LENGTH, LEGACY_CRC, MAGIC, LEGACY_ATTRIBUTES];
/// Format 1 up to the key length, which stands behind it.
pub(crate) const V1_HEADER: [Field; 6] =
    [LEGACY_OFFSET, LEGACY_LENGTH, LEGACY_CRC, MAGIC, LEGACY_ATTRIBUTES, V1_TIMESTAMP];

/// The checksum of formats 0 and 1 covers everything from here to the end.
pub(crate) const LEGACY_CRC_FROM: usize = MAGIC.at;
/// Where the key length of a message of format 0 lies.
pub(crate) const V0_KEY_LENGTH_AT: usize = LEGACY_ATTRIBUTES.end();
/// Where the key length of a message of format 1 lies.
pub(crate) const V1_KEY_LENGTH_AT: usize = V1_TIMESTAMP.end();
/// A whole message of format 0 with null key and null value.
pub(crate) const V0_SMALLEST_BYTES: usize = V0_KEY_LENGTH_AT + 4 + 4;
/// A whole message of format 1 with null key and null value.
pub(crate) const V1_SMALLEST_BYTES: usize = V1_KEY_LENGTH_AT + 4 + 4;

/// The magic of the format that is written.
pub(crate) const MAGIC_V2: i8 = 2;

/// Attributes: the codec's number.
pub(crate) const CODEC_MASK: i16 = 0x07;
/// Attributes: the maximum timestamp is the time of the append, and every record's.
pub(crate) const LOG_APPEND_TIME_MASK: i16 = 0x08;
/// Attributes: the batch belongs to a transaction.
pub(crate) const TRANSACTIONAL_MASK: i16 = 0x10;
/// Attributes: the batch holds control records.
pub(crate) const CONTROL_MASK: i16 = 0x20;
/// Attributes: the base timestamp is the time from which compaction may drop tombstones and markers.
pub(crate) const DELETE_HORIZON_MASK: i16 = 0x40;
/// Attributes: every bit that has a meaning.
pub(crate) const KNOWN_ATTRIBUTES: i16 =
    CODEC_MASK | LOG_APPEND_TIME_MASK | TRANSACTIONAL_MASK | CONTROL_MASK | DELETE_HORIZON_MASK;

/// The smallest record of format 2: seven fields of one byte each.
pub(crate) const SMALLEST_RECORD_BYTES: usize = 7;

const fn without_gaps(fields: &[Field], end: usize) -> bool {
    let mut at = 0;
    let mut i = 0;
    while i < fields.len() {
        if fields[i].at != at {
            return false;
        }
        at = fields[i].end();
        i += 1;
    }
    at == end
}

const _: () = assert!(without_gaps(&V2_HEADER, HEADER_BYTES));
const _: () = assert!(without_gaps(&V0_HEADER, V0_KEY_LENGTH_AT));
const _: () = assert!(without_gaps(&V1_HEADER, V1_KEY_LENGTH_AT));
const _: () = assert!(BATCH_LENGTH.end() == OVERHEAD_BYTES);
const _: () = assert!(MAGIC.end() == UP_TO_MAGIC_BYTES);
const _: () = assert!(V2_CRC_FROM == 21 && LEGACY_CRC_FROM == 16);
const _: () = assert!(V0_SMALLEST_BYTES == OVERHEAD_BYTES + 14 && V1_SMALLEST_BYTES == OVERHEAD_BYTES + 22);
const _: () = assert!(KNOWN_ATTRIBUTES == 0x7f);
const _: () = assert!(V1_SMALLEST_BYTES <= HEADER_BYTES);
