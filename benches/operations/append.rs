//! Appends by every method, in every write mode, in every codec; nothing is synced.

use std::cell::LazyCell;
use std::path::Path;

use kstore::{AppendOptions, BatchBuilder, Compression, CursorCommit, Record, WriteMode};

use super::{
    Group, RECORDS_OF_BATCH, VALUE, codecs, encoded_batch, endless_log, measure, measure_many, measure_prepared,
};

pub(super) fn all(group: &mut Group<'_>, dir: &Path) {
    records(group, dir);
    in_codecs(group, dir);
    with_cursors(group, dir);
    as_follower(group, dir);
}

fn records(group: &mut Group<'_>, dir: &Path) {
    let (one, many) = ([Record::value(&VALUE)], [Record::value(&VALUE); RECORDS_OF_BATCH]);
    for (mode, name) in
        [(WriteMode::Write, "write"), (WriteMode::Preallocated, "preallocated"), (WriteMode::Mapped, "mapped")]
    {
        let log = LazyCell::new(|| endless_log(&dir.join(name), |config| config.write_mode(mode)));
        measure(group, &format!("Log::append, 100 bytes, {name}"), || log.append(&one));
        let count = many.len() as u64;
        measure_many(group, &format!("Log::append, 16 KiB, {name}"), count, || log.append(&many));
    }
    let log = LazyCell::new(|| endless_log(&dir.join("with"), |config| config));
    let options = || AppendOptions::default().expect_log_end(log.log_end_offset());
    measure(group, "Log::append_with, expected end", || log.append_with(&options(), &one));
}

fn in_codecs(group: &mut Group<'_>, dir: &Path) {
    let count = RECORDS_OF_BATCH as u64;
    let options = AppendOptions::default();
    for codec in codecs() {
        let log = LazyCell::new(|| endless_log(&dir.join(codec.name()), |config| config.compression(codec)));
        let batch = encoded_batch(codec);
        measure_many(group, &format!("Log::append_batch, 16 KiB, {codec}"), count, || {
            log.append_batch(&options, &batch)
        });
        let mut builder = BatchBuilder::new(codec);
        measure_many(group, &format!("Log::append_built, 16 KiB, {codec}"), count, || {
            for _ in 0..RECORDS_OF_BATCH {
                builder.push(Record::value(&VALUE))?;
            }
            log.append_built(&options, &mut builder)
        });
        if codec != Compression::None {
            let many = [Record::value(&VALUE); RECORDS_OF_BATCH];
            measure_many(group, &format!("Log::append, 16 KiB, {codec}"), count, || log.append(&many));
        }
    }
}

fn with_cursors(group: &mut Group<'_>, dir: &Path) {
    let log = LazyCell::new(|| endless_log(&dir.join("cursors"), |config| config));
    let (options, one) = (AppendOptions::default(), [Record::value(&VALUE)]);
    let commit = || [CursorCommit::new("consumer", log.log_end_offset())];
    measure(group, "Log::append_and_commit, 100 bytes", || log.append_and_commit(&options, &one, &commit()));
    let batch = encoded_batch(Compression::None);
    let count = RECORDS_OF_BATCH as u64;
    measure_many(group, "Log::append_batch_and_commit, 16 KiB", count, || {
        log.append_batch_and_commit(&options, &batch, &commit())
    });
}

fn as_follower(group: &mut Group<'_>, dir: &Path) {
    let log = LazyCell::new(|| endless_log(&dir.join("follower"), |config| config));
    let batch = encoded_batch(Compression::None);
    let next = || {
        let mut batch = batch.clone();
        // A batch begins with its base offset, which no checksum covers.
        batch[..8].copy_from_slice(&log.log_end_offset().value().to_be_bytes());
        batch
    };
    measure_prepared(group, "Log::append_as_follower, 16 KiB", next, |batch| log.append_as_follower(&batch));
}
