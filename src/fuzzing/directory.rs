//! Opens a directory of arbitrary files: for reading only, for writing, and again after a clean close.
//!
//! The input: one byte of options (bits 0 and 1: what to do about damage; bit 2: a compressed append; bit 3: small
//! segments; bits 4 and 5: plain writes, rooms allocated ahead, stores into a map), one byte with the number of files,
//! for each of them a byte that picks its name (and, in the top bit, whether its checksums are made right) and two bytes
//! with its length, then their contents one after the other; the last one gets the rest. The invariants it checks:
//! opening for reading changes nothing; what was readable stays readable, or the report or an error says why not; what
//! was appended is read back; an opening after a clean close believes what it finds and changes nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::Meter;
use super::batch::mend_batches;
use super::state::{is_at_its_end, mend_slots};
use crate::config::{LogConfig, OnDamage, Worker, WriteMode};
use crate::error::{Error, Result};
use crate::fs::{Env, sim::SimDisk};
use crate::log::{Log, Reader, Trust};
use crate::names::{LOCK, STATE};
use crate::offset::{Offset, Timestamp};
use crate::record::{Compression, Record, StoredRecord};

const DIR: &str = "/data/log-0";
const NAMES: [&str; 16] = [
    "00000000000000000000.log",
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
    STATE,
    "00000000000000000002.log",
    "00000000000000000002.index",
    "00000000000000000002.timeindex",
    "00000000000000000004.log",
    "00000000000000000000.log.torn",
    "00000000000000000000.log.swap",
    "00000000000000000002.log.cleaned",
    "00000000000000000000.log.deleted",
    "00000000000000000002.log.swap",
    "00000000000000000000.index.truncating",
    "leader-epoch-checkpoint",
    "00000000002147483650.log",
];
/// What an opening may take, the simulated files that it makes included: a segment of allocated room in both of the
/// disk's two states is most of it.
const OPENING_BYTES: usize = 8 << 20;
/// What it may take for each byte of the input.
const OPENING_FACTOR: usize = 64;

/// Opens a directory that the bytes describe: for reading, for writing, and again.
pub fn recover(bytes: &[u8], meter: Meter) {
    let disk = SimDisk::in_memory(1);
    let env = Env::sim(&disk);
    let Some(config) = plant(&disk, bytes) else { return };
    let before = files(&disk);
    let most = OPENING_BYTES + OPENING_FACTOR * bytes.len();
    let readable = meter.within(most, || Log::open_read_only_in(&env, Path::new(DIR)));
    let readable = readable.map(|reader| read(&reader));
    assert!(before == files(&disk), "opening for reading changed a file");

    let opened = meter.within(most, || Log::open_in(&env, Path::new(DIR), config.clone()));
    let Ok(log) = opened else { return };
    let opened = read(&log.reader());
    let report = log.recovery_report();
    if let Ok((records, _)) = &readable
        && report.torn.is_empty()
        && report.damage.is_empty()
        && opened.1.is_none()
    {
        assert!(opened.0.starts_with(records), "records are gone, and nothing says so: {report:?}");
    }
    let appended = append(&log, &opened);
    let whole = read(&log.reader());
    let end = log.log_end_offset();
    if log.close().is_err() || appended.is_err() {
        return;
    }
    drop(log);

    let closed = files(&disk);
    let log = Log::open_in(&env, Path::new(DIR), config).expect("a log that was closed cleanly opens");
    assert_eq!(log.recovery_report().trust, Trust::Clean);
    assert_eq!(log.log_end_offset(), end);
    assert_eq!(read(&log.reader()).0, whole.0);
    log.close().expect("nothing is left to do");
    assert!(closed == files(&disk), "an opening after a clean close changed a file");
}

/// Puts the described files on the disk and says how to open them.
fn plant(disk: &SimDisk, bytes: &[u8]) -> Option<LogConfig> {
    let (&[options, count], mut rest) = bytes.split_first_chunk::<2>()?;
    let mut heads = Vec::new();
    for _ in 0..count % 9 {
        let (&[name, high, low], behind) = rest.split_first_chunk::<3>()?;
        heads.push((name, usize::from(u16::from_be_bytes([high, low]))));
        rest = behind;
    }
    disk.create_dir_all(DIR);
    let last = heads.len().saturating_sub(1);
    for (place, (name, len)) in heads.into_iter().enumerate() {
        let (content, behind) = rest.split_at(if place == last { rest.len() } else { len.min(rest.len()) });
        rest = behind;
        let mut content = content.to_vec();
        let (name, mend) = (NAMES[usize::from(name & 0x0f)], name & 0x80 != 0);
        if mend {
            if name == STATE { mend_slots(&mut content) } else { mend_batches(&mut content) }
        }
        if name == STATE && is_at_its_end(&content) {
            return None;
        }
        disk.write_file(Path::new(DIR).join(name), content);
    }
    Some(config(options))
}

fn config(options: u8) -> LogConfig {
    let on_damage = match options & 3 {
        0 | 3 => OnDamage::Refuse,
        1 => OnDamage::ServeRest,
        _ => OnDamage::CutAsKafka,
    };
    let compression = if options & 4 == 0 { Compression::None } else { Compression::Lz4 };
    let segment_bytes = if options & 8 == 0 { 1 << 20 } else { 256 };
    let write_mode = match (options >> 4) & 3 {
        0 => WriteMode::Write,
        1 => WriteMode::Preallocated,
        _ => WriteMode::Mapped,
    };
    LogConfig::default()
        .windows_at_once(8 << 10)
        .worker(Worker::Caller)
        .on_damage(on_damage)
        .compression(compression)
        .segment_bytes(segment_bytes)
        .max_decompressed_message_bytes(super::LIMITS.max_decompressed_bytes)
        .write_mode(write_mode)
        .segment_index_bytes(4096)
        .index_interval_bytes(64)
}

/// Appends two batches and reads them back.
fn append(log: &Log, before: &(Vec<StoredRecord>, Option<Error>)) -> Result<()> {
    for value in ["first", "second"] {
        let end = log.log_end_offset();
        let record = Record::new("key", value).timestamp(Timestamp::from_millis(1_700_000_000_000));
        let appended = log.append(&[record])?;
        assert_eq!((appended.base_offset(), log.log_end_offset()), (end, end + 1));
        let found = log.records(end..).and_then(Iterator::collect::<Result<Vec<_>>>).expect("what was appended");
        assert_eq!(found.iter().map(StoredRecord::value).collect::<Vec<_>>(), [Some(value.as_bytes())]);
    }
    log.sync()?;
    let now = read(&log.reader());
    assert!(now.0.starts_with(&before.0), "an append does not change what was there");
    Ok(())
}

/// All records to the end or to the first error, by each way of reading.
fn read(reader: &Reader) -> (Vec<StoredRecord>, Option<Error>) {
    let mut records = Vec::new();
    let mut failure = None;
    match reader.records(..) {
        Ok(found) => {
            for record in found {
                match record {
                    Ok(record) => records.push(record),
                    Err(error) => failure = Some(error),
                }
            }
        }
        Err(error) => failure = Some(error),
    }
    for pair in records.windows(2).filter(|pair| !Arc::ptr_eq(pair[0].batch(), pair[1].batch())) {
        let (before, after) = (pair[0].batch().header(), pair[1].batch().header());
        let first = after.base_offset().unwrap_or(after.last_offset());
        assert!(before.last_offset() < first, "batches rise");
    }
    // Inside a batch the offsets are what its writer wrote, as long as its checksum is right.
    let rising = records.windows(2).all(|pair| pair[0].offset() < pair[1].offset());
    if failure.is_none()
        && rising
        && let Ok(reversed) = reader.records_reversed(..)
    {
        let mut reversed: Vec<_> = reversed.collect::<Result<_>>().expect("what reads forwards reads backwards");
        reversed.reverse();
        assert_eq!(records, reversed);
    }
    for offset in [0, 1, 3, 2_147_483_650] {
        drop(reader.read(Offset::new(offset), 1 << 16).map(|slice| slice.batches().count()));
    }
    for millis in [i64::MIN, 0, 1_700_000_000_000] {
        let answers = [reader.offset_for_timestamp(Timestamp::from_millis(millis)), reader.max_timestamp()];
        for (offset, timestamp) in answers.into_iter().flatten().flatten() {
            let is_it = |record: &StoredRecord| record.offset() == offset && record.timestamp() == Some(timestamp);
            assert!(failure.is_some() || records.iter().any(is_it), "what is found by its time is read too");
        }
        drop(reader.clone().skip_damaged().offset_for_timestamp(Timestamp::from_millis(millis)));
    }
    drop(reader.clone().skip_damaged().max_timestamp());
    drop(reader.segments());
    (records, failure)
}

/// Every file's content but the lock's.
fn files(disk: &SimDisk) -> BTreeMap<OsString, Vec<u8>> {
    let names = disk.list(DIR).into_iter().filter(|name| name != LOCK);
    names.filter_map(|name| disk.read_file(Path::new(DIR).join(&name)).map(|content| (name, content))).collect()
}
