//! Every public operation of a log, and of what it gives out, under criterion, in groups by verb.
//!
//! Logs are small, on a disk, and in the page cache; nothing stands beside them for comparison, as that is what `work` is
//! for. A bench has the name of the method that it measures, `Type::method`, with the case behind a comma. The invariant
//! it owns: no method is left out but those that `tests/tidy/measured.rs` names a reason for, which fails otherwise.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput};
use kstore::{BatchBuilder, Compression, Log, LogConfig, Offset, Record, Timestamp, WhenFull};

use super::work::Place;

mod append;
mod change;
mod check;
mod commit;
mod encode;
mod find;
mod iterate;
mod open;
mod read;
mod send;
mod sync;
mod tail;
mod tell;

/// The groups, each with a folder of its own.
const GROUPS: &[(&str, Operations)] = &[
    ("append", append::all),
    ("sync", sync::all),
    ("read", read::all),
    ("iterate", iterate::all),
    ("tail", tail::all),
    ("find", find::all),
    ("send", send::all),
    ("commit", commit::all),
    ("change", change::all),
    ("tell", tell::all),
    ("open", open::all),
    ("check", check::all),
    ("encode", encode::all),
];

/// All operations.
pub(super) fn all(criterion: &mut Criterion) {
    let place = Place::below(None).expect("a folder can be made");
    for (name, operations) in GROUPS {
        let dir = place.dir().join(name);
        std::fs::create_dir(&dir).expect("a folder can be made");
        let mut group = criterion.benchmark_group(*name);
        group.sample_size(10).nresamples(1000);
        group.warm_up_time(Duration::from_millis(50)).measurement_time(Duration::from_millis(200));
        operations(&mut group, &dir);
        group.finish();
        std::fs::remove_dir_all(&dir).expect("the folder can be deleted");
    }
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;
/// Measures the operations of a group, with files in a folder.
type Operations = fn(&mut Group<'_>, &Path);

/// An operation that can be repeated as it is.
fn measure<T, E: Debug>(group: &mut Group<'_>, name: &str, operation: impl FnMut() -> Result<T, E>) {
    measure_many(group, name, 1, operation);
}

/// One that gives so many records, or whatever its name says, at once.
fn measure_many<T, E: Debug>(
    group: &mut Group<'_>,
    name: &str,
    count: u64,
    mut operation: impl FnMut() -> Result<T, E>,
) {
    group.throughput(Throughput::Elements(count));
    group.bench_function(name, |bencher| bencher.iter(|| operation().expect("the operation succeeds")));
}

/// One that cannot fail.
fn measure_value<T>(group: &mut Group<'_>, name: &str, mut operation: impl FnMut() -> T) {
    group.throughput(Throughput::Elements(1));
    group.bench_function(name, |bencher| bencher.iter(&mut operation));
}

/// One that wants something made for it each time. Neither that nor the end of what it returns is measured.
fn measure_prepared<I, T, E: Debug>(
    group: &mut Group<'_>,
    name: &str,
    mut prepare: impl FnMut() -> I,
    mut operation: impl FnMut(I) -> Result<T, E>,
) {
    group.throughput(Throughput::Elements(1));
    group.bench_function(name, |bencher| {
        let operation = |input| operation(input).expect("the operation succeeds");
        bencher.iter_batched(&mut prepare, operation, BatchSize::PerIteration);
    });
}

/// The value of a record.
const VALUE: [u8; 100] =
    *b"0123456789 is a value of a hundred bytes, neither all the same nor by chance, which codecs compress.";
/// Records of a batch of about 16 KiB.
const RECORDS_OF_BATCH: usize = 146;
/// Batches of a log that is read.
const BATCHES: u64 = 64;

/// A log that can be appended to for ever, for its oldest segments go.
fn endless_log(dir: &Path, change: impl FnOnce(LogConfig) -> LogConfig) -> Log {
    let config = LogConfig::default().segment_bytes(8 << 20).max_bytes(64 << 20, WhenFull::DropOldest);
    let log = Log::open(dir, change(config.file_delete_delay_ms(0))).expect("a log can be opened");
    // The first append of a session notes durably that the log is in use.
    log.append(&[Record::value(&VALUE)]).expect("a log takes a record");
    log
}

/// A log of batches of 16 KiB, each record a millisecond after the one before it, in segments of 256 KiB.
fn filled_log(dir: &Path) -> Log {
    let log = Log::open(dir, LogConfig::default().segment_bytes(256 << 10)).expect("a log can be opened");
    fill(&log, BATCHES);
    log
}

/// Appends so many batches to a log.
fn fill(log: &Log, batches: u64) {
    for _ in 0..batches {
        let from = log.log_end_offset();
        let offsets = (from.value()..).map(Offset::new).take(RECORDS_OF_BATCH);
        let records: Vec<_> = offsets.map(|offset| Record::value(&VALUE).timestamp(time_of(offset))).collect();
        log.append(&records).expect("a log takes a batch");
    }
}

/// The time of the record at an offset.
fn time_of(offset: Offset) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + offset.value().cast_signed())
}

/// A batch of 16 KiB as a client sends it.
fn encoded_batch(compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    for _ in 0..RECORDS_OF_BATCH {
        builder.push(Record::value(&VALUE).timestamp(time_of(Offset::ZERO))).expect("a sound record");
    }
    builder.encode().expect("a sound batch").to_vec()
}

/// The codecs of this build.
fn codecs() -> impl Iterator<Item = Compression> {
    let all = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    all.into_iter().filter(|codec| codec.is_available())
}
