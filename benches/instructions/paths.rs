//! The hot paths: what each needs in its folder, and what of it is counted.
//!
//! It knows nothing of callgrind but the name of the function that is counted. The invariant it owns: what is counted is
//! the same work each time it is run, so no path depends on chance, on the clock, or on how fast the worker is.

use std::fs::OpenOptions;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use kstore::{AppendOptions, BatchBuilder, Compression, Log, LogConfig, Offset, Record, Timestamp, WriteMode};

use super::Outcome;
use super::callgrind::the_counted_part;

/// One path.
pub(crate) struct HotPath {
    pub(crate) name: &'static str,
    /// What one operation is.
    pub(crate) operation: &'static str,
    /// Makes in an empty folder what is not part of the path.
    pub(crate) prepare: fn(&Path) -> Outcome<()>,
    /// Goes the path, and says how many operations were counted.
    pub(crate) run: fn(&Path) -> Outcome<u64>,
}

/// All of them.
pub(crate) const PATHS: &[HotPath] = &[
    HotPath {
        name: "append_100_write",
        operation: "an append of one 100-byte record",
        prepare: nothing,
        run: |dir| appends(dir, WriteMode::Write, 100, 1, 2000),
    },
    HotPath {
        name: "append_1k_write",
        operation: "an append of one 1 KiB record",
        prepare: nothing,
        run: |dir| appends(dir, WriteMode::Write, 1 << 10, 1, 1000),
    },
    HotPath {
        name: "append_100_preallocated",
        operation: "an append of one 100-byte record",
        prepare: nothing,
        run: |dir| appends(dir, WriteMode::Preallocated, 100, 1, 2000),
    },
    HotPath {
        name: "append_1k_preallocated",
        operation: "an append of one 1 KiB record",
        prepare: nothing,
        run: |dir| appends(dir, WriteMode::Preallocated, 1 << 10, 1, 1000),
    },
    HotPath {
        name: "append_100_mapped",
        operation: "an append of one 100-byte record",
        prepare: nothing,
        run: |dir| appends(dir, WriteMode::Mapped, 100, 1, 2000),
    },
    HotPath {
        name: "append_1k_mapped",
        operation: "an append of one 1 KiB record",
        prepare: nothing,
        run: |dir| appends(dir, WriteMode::Mapped, 1 << 10, 1, 1000),
    },
    HotPath {
        name: "append_16k_write",
        operation: "a record of 100 bytes, appended in batches of 16 KiB",
        prepare: nothing,
        run: |dir| appends(dir, WriteMode::Write, VALUE_BYTES, RECORDS_IN_16K, 64),
    },
    HotPath {
        name: "append_64k_write",
        operation: "a record of 100 bytes, appended in batches of 64 KiB",
        prepare: nothing,
        run: |dir| appends(dir, WriteMode::Write, VALUE_BYTES, RECORDS_IN_64K, 16),
    },
    HotPath {
        name: "append_16k_mapped",
        operation: "a record of 100 bytes, appended in batches of 16 KiB",
        prepare: nothing,
        run: |dir| appends(dir, WriteMode::Mapped, VALUE_BYTES, RECORDS_IN_16K, 64),
    },
    HotPath {
        name: "append_64k_mapped",
        operation: "a record of 100 bytes, appended in batches of 64 KiB",
        prepare: nothing,
        run: |dir| appends(dir, WriteMode::Mapped, VALUE_BYTES, RECORDS_IN_64K, 16),
    },
    HotPath {
        name: "append_client_16k",
        operation: "a record of 100 bytes in a client's batch of 16 KiB",
        prepare: nothing,
        run: client_batches,
    },
    HotPath {
        name: "encode_64k",
        operation: "a record of 100 bytes, encoded in a batch of 64 KiB",
        prepare: nothing,
        run: encode,
    },
    HotPath {
        name: "scan_records",
        operation: "a record of 100 bytes in a batch of 64 KiB, from `records`",
        prepare: |dir| filled(dir, VALUE_BYTES, RECORDS_IN_64K, SCANNED_BATCHES, 1 << 30),
        run: |dir| {
            scanned(dir, |log| {
                let mut bytes = 0;
                for record in log.records(..)? {
                    bytes += record?.value().map_or(0, <[u8]>::len);
                }
                Ok(bytes)
            })
        },
    },
    HotPath {
        name: "scan_lent",
        operation: "a record of 100 bytes in a batch of 64 KiB, from `next_ref`",
        prepare: |dir| filled(dir, VALUE_BYTES, RECORDS_IN_64K, SCANNED_BATCHES, 1 << 30),
        run: |dir| {
            scanned(dir, |log| {
                let (mut records, mut bytes) = (log.records(..)?, 0);
                while let Some(record) = records.next_ref() {
                    bytes += record?.value().map_or(0, <[u8]>::len);
                }
                Ok(bytes)
            })
        },
    },
    HotPath {
        name: "scan_batches",
        operation: "a record of 100 bytes in a batch of 64 KiB, from `batches`",
        prepare: |dir| filled(dir, VALUE_BYTES, RECORDS_IN_64K, SCANNED_BATCHES, 1 << 30),
        run: |dir| {
            scanned(dir, |log| {
                let mut bytes = 0;
                for batch in log.reader().batches(..)? {
                    for record in batch?.records() {
                        bytes += record?.value().map_or(0, <[u8]>::len);
                    }
                }
                Ok(bytes)
            })
        },
    },
    HotPath {
        name: "lookup_by_offset",
        operation: "a lookup by offset among batches of one 1 KiB record",
        prepare: |dir| filled(dir, 1 << 10, 1, LOOKED_UP, 1 << 30),
        run: |dir| looked_up(dir, LogConfig::default(), by_offset),
    },
    HotPath {
        name: "lookup_mapped",
        operation: "the same in a sealed segment that is mapped",
        prepare: |dir| filled(dir, 1 << 10, 1, LOOKED_UP, 1 << 30),
        run: |dir| {
            Log::open(dir.join("log"), LogConfig::default())?.roll()?;
            looked_up(dir, LogConfig::default().mapped_reads(true), by_offset)
        },
    },
    HotPath {
        name: "lookup_by_time",
        operation: "a lookup by time among batches of one 1 KiB record",
        prepare: |dir| filled(dir, 1 << 10, 1, LOOKED_UP, 1 << 30),
        run: |dir| {
            looked_up(dir, LogConfig::default(), |log, offset| {
                let found = log.offset_for_timestamp(time_of(offset))?;
                assert_eq!(found, Some((offset, time_of(offset))));
                Ok(())
            })
        },
    },
    HotPath {
        name: "send_16k",
        operation: "a slice of 16 KiB, sent",
        prepare: |dir| filled(dir, VALUE_BYTES, 8, 16 * 256, 1 << 30),
        run: |dir| sent(dir, 16 << 10),
    },
    HotPath {
        name: "send_1m",
        operation: "a slice of 1 MiB, sent",
        prepare: |dir| filled(dir, VALUE_BYTES, RECORDS_IN_64K, 16 * 16, 1 << 30),
        run: |dir| sent(dir, 1 << 20),
    },
    HotPath {
        name: "open_100",
        operation: "an opening of a log of 100 segments that was closed",
        prepare: |dir| filled(dir, 1 << 10, 40, 100, 60 << 10),
        run: opened,
    },
];

/// The value of a record, where nothing else is said.
const VALUE_BYTES: usize = 100;
/// Records that, encoded in one batch, are just below these sizes.
const RECORDS_IN_16K: usize = 146;
const RECORDS_IN_64K: usize = 585;
/// What a mapped tail is given before it is counted: behind that, windows are longer than what is counted.
const WARM_UP_BYTES: u64 = 40 << 20;
/// In records of so many bytes, which are stored into the map like smaller ones.
const WARM_UP_VALUE_BYTES: usize = 32 << 10;
/// So often there is time for the next window to be made meanwhile.
const PAUSE_EACH_BYTES: u64 = 1 << 20;
const PAUSE: Duration = Duration::from_millis(5);
/// And so long before the counting, for those that are to be had then, on a machine that has other things to do as well.
const LAST_PAUSE: Duration = Duration::from_millis(500);
/// Batches that a scan reads.
const SCANNED_BATCHES: u64 = 64;
/// Records among which some are looked up, and how many.
const LOOKED_UP: u64 = 4096;
const LOOKUPS: u64 = 1000;
/// Openings of one log.
const OPENINGS: u64 = 5;

fn nothing(_: &Path) -> Outcome<()> {
    Ok(())
}

fn appends(dir: &Path, mode: WriteMode, value_bytes: usize, records: usize, appends: u64) -> Outcome<u64> {
    let log = Log::open(dir.join("log"), LogConfig::default().write_mode(mode))?;
    let values = varied_bytes(value_bytes * records);
    let records: Vec<Record<'_>> = values.chunks_exact(value_bytes).map(Record::value).collect();
    let large = varied_bytes(WARM_UP_VALUE_BYTES);
    let mut due = PAUSE_EACH_BYTES;
    while log.stats().appended_bytes < WARM_UP_BYTES {
        log.append(&[Record::value(&large)])?;
        if mode == WriteMode::Mapped && log.stats().appended_bytes >= due {
            std::thread::sleep(PAUSE);
            due += PAUSE_EACH_BYTES;
        }
    }
    if mode == WriteMode::Mapped {
        std::thread::sleep(LAST_PAUSE);
    }
    the_counted_part(&mut || {
        for _ in 0..appends {
            black_box(log.append(black_box(&records))?);
        }
        Ok(())
    })?;
    let stats = log.stats();
    if stats.write_mode != mode {
        return Err(format!("the log is written by {:?}: {:?}", stats.write_mode, stats.not_mapped).into());
    }
    log.close()?;
    Ok(appends * records.len() as u64)
}

fn client_batches(dir: &Path) -> Outcome<u64> {
    const BATCHES: u64 = 64;
    let log = Log::open(dir.join("log"), LogConfig::default())?;
    let values = varied_bytes(VALUE_BYTES * RECORDS_IN_16K);
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values.chunks_exact(VALUE_BYTES) {
        builder.push(Record::value(value).timestamp(time_of(Offset::ZERO)))?;
    }
    let batch = builder.encode()?;
    let options = AppendOptions::default();
    log.append_batch(&options, batch)?;
    the_counted_part(&mut || {
        for _ in 0..BATCHES {
            black_box(log.append_batch(&options, black_box(batch))?);
        }
        Ok(())
    })?;
    log.close()?;
    Ok(BATCHES * RECORDS_IN_16K as u64)
}

fn encode(_: &Path) -> Outcome<u64> {
    const BATCHES: u64 = 32;
    let values = varied_bytes(VALUE_BYTES * RECORDS_IN_64K);
    let mut builder = BatchBuilder::new(Compression::None);
    let mut encode = |batches: u64| -> Outcome<()> {
        for _ in 0..batches {
            for value in black_box(&values).chunks_exact(VALUE_BYTES) {
                builder.push(Record::value(value))?;
            }
            black_box(builder.encode()?);
            builder.clear();
        }
        Ok(())
    };
    // The builder grows with its first batch.
    encode(1)?;
    the_counted_part(&mut || encode(BATCHES))?;
    Ok(BATCHES * RECORDS_IN_64K as u64)
}

/// Reads a prepared log from its front to its back; `scan` says how many bytes the values had.
fn scanned(dir: &Path, scan: fn(&Log) -> Outcome<usize>) -> Outcome<u64> {
    let log = Log::open(dir.join("log"), LogConfig::default())?;
    let records = log.log_end_offset() - log.log_start_offset();
    let mut bytes = 0;
    the_counted_part(&mut || {
        bytes = scan(&log)?;
        Ok(())
    })?;
    assert_eq!(bytes as u64, records * VALUE_BYTES as u64, "every value was read");
    log.close()?;
    Ok(records)
}

fn by_offset(log: &Log, offset: Offset) -> Outcome<()> {
    let record = log.records(offset..=offset)?.next().expect("the record is there")?;
    assert_eq!(record.offset(), offset);
    Ok(())
}

/// Looks up records of a prepared log, in an order that no read-ahead guesses.
fn looked_up(dir: &Path, config: LogConfig, lookup: fn(&Log, Offset) -> Outcome<()>) -> Outcome<u64> {
    /// Has no divisor in common with [`LOOKED_UP`], so that no record is asked for twice.
    const STRIDE: u64 = 1_597;
    let log = Log::open(dir.join("log"), config)?;
    lookup(&log, Offset::ZERO)?;
    the_counted_part(&mut || {
        (1..=LOOKUPS).try_for_each(|number| lookup(&log, Offset::new(number * STRIDE % LOOKED_UP)))
    })?;
    log.close()?;
    Ok(LOOKUPS)
}

/// Sends a prepared log from its front to its back, to who takes everything at once.
fn sent(dir: &Path, slice_bytes: u64) -> Outcome<u64> {
    let log = Log::open(dir.join("log"), LogConfig::default())?;
    let receiver = OpenOptions::new().write(true).open("/dev/null")?;
    let (mut from, end, mut slices) = (log.log_start_offset(), log.log_end_offset(), 0);
    the_counted_part(&mut || {
        while from < end {
            let slice = log.read(from, slice_bytes)?;
            assert_eq!(slice.send_to(&receiver)?.bytes, slice.size_bytes());
            from = slice.next_offset();
            slices += 1;
        }
        Ok(())
    })?;
    log.close()?;
    Ok(slices)
}

fn opened(dir: &Path) -> Outcome<u64> {
    for _ in 0..OPENINGS {
        let mut log = None;
        the_counted_part(&mut || {
            log = Some(Log::open(dir.join("log"), LogConfig::default())?);
            Ok(())
        })?;
        log.expect("a log was opened").close()?;
    }
    Ok(OPENINGS)
}

/// A closed log of so many batches, each record a millisecond after the one before it.
fn filled(dir: &Path, value_bytes: usize, records: usize, batches: u64, segment_bytes: u64) -> Outcome<()> {
    let log = Log::open(dir.join("log"), LogConfig::default().segment_bytes(segment_bytes))?;
    let values = varied_bytes(value_bytes * records);
    for _ in 0..batches {
        let from = log.log_end_offset();
        let offsets = (from.value()..).map(Offset::new);
        let records = values.chunks_exact(value_bytes).zip(offsets);
        let records: Vec<_> = records.map(|(value, offset)| Record::value(value).timestamp(time_of(offset))).collect();
        log.append(&records)?;
    }
    Ok(log.close()?)
}

fn time_of(offset: Offset) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + offset.value().cast_signed())
}

/// Bytes that are not all the same.
fn varied_bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| b'a' + u8::try_from(at * 7 % 26).expect("one of 26")).collect()
}
