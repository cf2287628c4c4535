//! What a record holds, which follows from its offset alone, and whether one that was read holds it.
//!
//! The invariant it owns: no two offsets have the same content, so that a record in a wrong place is found.

use kstore::{BatchBuilder, Record, Result, StoredRecord, Timestamp};

/// The time of offset 0, in milliseconds. Times rise with the offsets, so that a lookup by time has one answer.
const FIRST_MILLIS: i64 = 1_700_000_000_000;
const STEP_MILLIS: i64 = 3;
const HEADER: &str = "of";

/// The content of one offset.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) timestamp: Timestamp,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    /// There is one header, or none.
    header: Option<Option<Vec<u8>>>,
}

impl Content {
    pub(crate) fn of(offset: u64) -> Content {
        let mut dice = Dice::new(offset, 0);
        let millis = i64::try_from(offset).unwrap_or(i64::MAX).saturating_mul(STEP_MILLIS);
        let value_bytes = match dice.below(64) {
            0 => None,
            1 => Some(0),
            2 | 3 => Some(2000 + dice.below(4000)),
            _ => Some(20 + dice.below(240)),
        };
        let header = match dice.below(8) {
            0 => Some(None),
            1 | 2 => Some(Some(dice.bytes(8))),
            _ => None,
        };
        Content {
            timestamp: Timestamp::from_millis(FIRST_MILLIS.saturating_add(millis)),
            // Without a value there is a key, so that nothing but the time is never all there is.
            key: (value_bytes.is_none() || dice.below(4) > 0).then(|| format!("key-{offset}").into_bytes()),
            value: value_bytes.map(|bytes| dice.bytes(bytes)),
            header,
        }
    }

    pub(crate) fn push_to(&self, batch: &mut BatchBuilder) -> Result<()> {
        let record = Record::from_parts(self.key.as_deref(), self.value.as_deref()).timestamp(self.timestamp);
        match &self.header {
            Some(value) => batch.push(record.headers(&[(HEADER, value.as_deref())])),
            None => batch.push(record),
        }
    }

    /// What of a record is not what belongs to its offset, if anything.
    pub(crate) fn wrong_in(record: &StoredRecord) -> Option<&'static str> {
        let expected = Content::of(record.offset().value());
        let headers: Vec<_> = record.headers().collect();
        let expected_headers: Vec<_> = expected.header.iter().map(|value| (HEADER, value.as_deref())).collect();
        if record.timestamp() != Some(expected.timestamp) {
            Some("has another time")
        } else if record.key() != expected.key.as_deref() {
            Some("has another key")
        } else if record.value() != expected.value.as_deref() {
            Some("has another value")
        } else if headers != expected_headers {
            Some("has other headers")
        } else {
            None
        }
    }
}

/// A hash of everything that a record holds but its offset, as it was read.
pub(crate) fn tag(record: &StoredRecord) -> u64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.add(&record.timestamp().map_or(-1, Timestamp::as_millis).to_le_bytes());
    hash.add_field(record.key());
    hash.add_field(record.value());
    for (name, value) in record.headers() {
        hash.add_field(Some(name.as_bytes()));
        hash.add_field(value);
    }
    hash.0
}

/// FNV-1a.
struct Fnv(u64);

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// With its length, which is another for none and for an empty one.
    fn add_field(&mut self, field: Option<&[u8]>) {
        self.add(&field.map_or(0, |bytes| bytes.len() as u64 + 1).to_le_bytes());
        self.add(field.unwrap_or_default());
    }
}

/// Numbers that follow from a seed (splitmix64).
#[derive(Debug)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    pub(crate) fn new(seed: u64, stream: u64) -> Dice {
        Dice { state: mixed(seed) ^ mixed(stream.wrapping_add(0x5851_f42d_4c95_7f2d)) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.state)
    }

    /// A number below the bound, which is 1 or more.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    fn bytes(&mut self, count: u64) -> Vec<u8> {
        let words = (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        words.take(usize::try_from(count).expect("some thousands")).collect()
    }
}

fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
