//! The fuzzers' door into the engine; it exists only under `--cfg fuzzing`.
//!
//! Not an interface: nothing here is stable, and nothing outside `fuzz/` calls it. The invariant it owns: whatever the
//! bytes, each function returns; a panic, a hang or an allocation larger than the input justifies is a bug. Where a
//! checksum would keep an input from getting anywhere, it is made right first.

use std::path::Path;
use std::sync::Arc;

use crate::error::Corruption;
use crate::fs::{Env, sim::SimDisk};
use crate::index::{OffsetIndex, TimeIndex};
use crate::offset::{Offset, Position, Timestamp};
use crate::record::{
    BatchBuilder, BatchHeader, BatchStamp, ClientRules, Compression, DecodeLimits, DecodedBatch, StoredRecords,
    StoredRecordsReversed, TimestampBounds, TimestampType, validate_client_batches, verify_crc,
};

mod directory;

/// More than any input needs, and little enough to be noticed if a decoder takes it.
const LIMITS: DecodeLimits = DecodeLimits { max_decompressed_bytes: 16 << 20 };
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Decodes the bytes as record batches, to the last record of each, as they are and with right checksums.
pub fn batch(bytes: &[u8]) {
    let mut mended = bytes.to_vec();
    mend_batches(&mut mended);
    for bytes in [bytes, &mended] {
        let mut rest = bytes;
        while let Ok(header) = BatchHeader::parse(rest) {
            assert!(header.next_offset() > header.last_offset());
            decode(rest, &header);
            let size = usize::try_from(header.size_bytes).expect("a batch is smaller than 2^32 bytes");
            let Some(behind) = rest.get(size..) else { break };
            rest = behind;
        }
        validate(bytes);
    }
}

/// Opens the bytes as an offset index and as a time index, by each way there is, and looks up in both.
pub fn index(bytes: &[u8]) {
    let (head, entries) = bytes.split_at(bytes.len().min(8));
    let base = Offset::new(u64::from(head.first().copied().unwrap_or(0)));
    let targets: Vec<(u64, u64)> = head.iter().map(|&byte| (u64::from(byte), 1 << (byte % 63))).collect();
    let disk = SimDisk::in_memory(0);
    let env = Env::sim(&disk);
    let path = Path::new("/log/index");
    disk.write_file(path, entries);
    let opened = [OffsetIndex::open_sealed(&env, path, base, None), OffsetIndex::open_foreign(&env, path, base)];
    for index in opened.into_iter().flatten() {
        let sound = index.sound_prefix(Position::new(1 << 31), Offset::MAX).unwrap_or(0);
        assert!(sound <= index.entries());
        for target in targets.iter().flat_map(|&(near, far)| [near, far]) {
            drop(index.lookup(Offset::new(target)));
            drop(index.upper_bound_by_position(Position::new(target)));
            drop(index.entry(target));
            drop(index.entries_below(Offset::new(target)));
        }
        drop((index.last(), index.check(Position::new(1 << 31), Offset::MAX)));
        resume_offsets(&env, path, base, sound);
    }
    disk.write_file(path, entries);
    let opened = [TimeIndex::open_sealed(&env, path, base, None), TimeIndex::open_foreign(&env, path, base)];
    for index in opened.into_iter().flatten() {
        let sound = index.sound_prefix(Offset::MAX).unwrap_or(0);
        assert!(sound <= index.entries());
        for target in targets.iter().flat_map(|&(near, far)| [near, far]) {
            drop(index.lookup(Timestamp::from_millis(target.cast_signed())));
            drop(index.entry(target));
            drop(index.entries_below(Offset::new(target)));
        }
        drop((index.first(), index.last(), index.check(Offset::MAX)));
        resume_times(&env, path, base, sound);
    }
}

/// Opens a directory that the bytes describe, as `directory` says: for reading, for writing, and again.
pub fn recover(bytes: &[u8]) {
    directory::open_close_and_open_again(bytes);
}

/// The sound entries are found again by who goes on with them.
fn resume_offsets(env: &Env, path: &Path, base: Offset, sound: u64) {
    let room = (sound + 2) * OffsetIndex::ENTRY_BYTES;
    if let Ok(index) = OffsetIndex::resume(env, path, base, room, sound) {
        assert_eq!(index.entries(), sound);
        if let Ok(last) = index.last() {
            let next = last.map_or(base, |entry| entry.offset) + 1;
            let at = last.map_or(Position::ZERO, |entry| entry.position);
            drop((index.append(next, at), index.seal(), index.lookup(next)));
        }
    }
}

fn resume_times(env: &Env, path: &Path, base: Offset, sound: u64) {
    let room = (sound + 2) * TimeIndex::ENTRY_BYTES;
    if let Ok(index) = TimeIndex::resume(env, path, base, room, sound) {
        assert_eq!(index.entries(), sound);
        if let Ok(last) = index.last() {
            let (time, next) = last.map_or((Timestamp::from_millis(0), base), |entry| (entry.timestamp, entry.offset));
            let later = Timestamp::from_millis(time.as_millis().saturating_add(1));
            drop((index.maybe_append(later, next, true), index.seal(), index.lookup(later)));
        }
    }
}

/// One batch, with what may follow it.
fn decode(bytes: &[u8], header: &BatchHeader) {
    let Ok(batch) = DecodedBatch::decode(bytes.to_vec(), LIMITS) else { return };
    let borrowed: Vec<_> = batch.records().collect();
    let whole = borrowed.iter().all(Result::is_ok);
    if whole && !header.is_legacy() {
        encode_again(&batch);
    }
    drop(borrowed);
    let batch = Arc::new(batch);
    let forwards: Result<Vec<_>, Corruption> = StoredRecords::new(Arc::clone(&batch), Offset::ZERO).collect();
    assert_eq!(forwards.is_ok(), whole, "both walks over the records come to the same end");
    match (forwards, StoredRecordsReversed::new(batch)) {
        (Ok(forwards), Ok(backwards)) => {
            let mut backwards: Vec<_> = backwards.collect();
            backwards.reverse();
            assert_eq!(forwards, backwards);
            for record in &forwards {
                std::hint::black_box((record.control_type(), record.leader_epoch(), record.headers().count()));
            }
        }
        (Err(forwards), Err(backwards)) => assert_eq!(forwards, backwards),
        (forwards, backwards) => panic!("{forwards:?} forwards, {:?} backwards", backwards.map(drop)),
    }
}

/// Records that were decoded are encoded and decoded to the same records.
fn encode_again(batch: &DecodedBatch) {
    let mut builder = BatchBuilder::new(Compression::None);
    for record in batch.records().flatten() {
        if builder.push(record.as_record()).is_err() {
            // A time before 1970 is read, and refused when written.
            return;
        }
    }
    if builder.is_empty() {
        return;
    }
    let count = builder.len();
    let stamp = BatchStamp { now: NOW, ..BatchStamp::default() };
    let Ok(encoded) = builder.finish(&stamp) else { return };
    let again = DecodedBatch::decode(encoded.to_vec(), LIMITS).expect("what was encoded can be decoded");
    let mut found = 0;
    for (before, after) in batch.records().flatten().zip(again.records()) {
        let after = after.expect("what was encoded can be decoded");
        assert_eq!((before.key(), before.value()), (after.key(), after.value()));
        assert_eq!(before.timestamp().or(Some(NOW)), after.timestamp());
        assert!(before.headers().eq(after.headers()));
        found += 1;
    }
    assert_eq!(found, count);
}

fn validate(bytes: &[u8]) {
    for timestamp_type in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
        let bounds = TimestampBounds::NONE;
        let rules = ClientRules { max_batch_bytes: 1 << 20, limits: LIMITS, now: NOW, timestamp_type, bounds };
        let Ok(batches) = validate_client_batches(bytes, &rules) else { continue };
        for batch in batches {
            let stored = [&batch.head[..], &bytes[batch.records_range()]].concat();
            let decoded = DecodedBatch::decode(stored, LIMITS).expect("what a log takes it can read");
            let offsets =
                decoded.records().map(|record| record.expect("what a log takes it can read").offset().value());
            assert!(offsets.eq(0..u64::from(batch.records)), "offsets from 0 on, without gaps");
        }
    }
}

/// Makes the checksums of all batches right that follow each other from the start on.
fn mend_batches(bytes: &mut [u8]) {
    let mut at = 0;
    while let Ok(header) = BatchHeader::parse(&bytes[at..]) {
        let size = usize::try_from(header.size_bytes).expect("a batch is smaller than 2^32 bytes");
        let Some(batch) = bytes.get_mut(at..at + size) else { return };
        if let Err(Corruption::Crc { computed, .. }) = verify_crc(batch, &header) {
            let field = if header.is_legacy() { 12..16 } else { 17..21 };
            batch[field].copy_from_slice(&computed.to_be_bytes());
        }
        at += size;
    }
}
