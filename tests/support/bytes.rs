//! Encoded batches, taken from a log and bent out of shape.
//!
//! It knows where the fields of format 2 lie, on its own account and not kstore's. The invariant it owns: what
//! [`sealed`] returns has a right checksum, so that only the field at fault is at fault.

use kstore::{Compression, Log, LogConfig, Offset, Record};

use super::site::Site;

/// Where the batch length lies; it counts what follows it.
pub(crate) const LENGTH: usize = 8;
pub(crate) const MAGIC: usize = 16;
pub(crate) const CRC: usize = 17;
pub(crate) const ATTRIBUTES: usize = 21;
pub(crate) const LAST_OFFSET_DELTA: usize = 23;
pub(crate) const PRODUCER_ID: usize = 43;
pub(crate) const COUNT: usize = 57;
pub(crate) const RECORDS: usize = 61;

/// A batch as a client would send it: from offset 0, of no leader epoch.
pub(crate) fn batch_of(records: &[Record<'_>], compression: Compression) -> Vec<u8> {
    let site = Site::new();
    let log = Log::open(site.dir(), LogConfig::default().compression(compression)).expect("a new log");
    log.append(records).expect("an append");
    let batch = log.reader().batches(..).expect("an open log").next().expect("a batch").expect("a sound batch");
    assert_eq!(batch.base_offset(), Offset::ZERO);
    batch.as_bytes().to_vec()
}

/// Two small records in one batch.
pub(crate) fn small_batch() -> Vec<u8> {
    batch_of(&[Record::new("key 0", "value 0"), Record::new("key 1", "value 1")], Compression::None)
}

pub(crate) fn put_i32(batch: &mut [u8], at: usize, value: i32) {
    batch[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_i64(batch: &mut [u8], at: usize, value: i64) {
    batch[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

/// The batch with a checksum that is right for its bytes.
pub(crate) fn sealed(mut batch: Vec<u8>) -> Vec<u8> {
    seal(&mut batch);
    batch
}

/// Sets the checksum of one batch to what its bytes give.
pub(crate) fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[ATTRIBUTES..]);
    batch[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
}
