//! What a cold reader costs a writer: one appends as fast as it can, another reads from its front a log whose old
//! segments the system has forgotten.
//!
//! The bare calls do the same with plain files, for a disk and two processors that are shared cost everybody something.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kstore::{Log, LogConfig, Offset, Record};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::contents::Contents;
use super::plain::{Plain, chunk, files, read_and_checksum};
use super::{Case, Line, Measure, Scale, Workload};
use crate::Outcome;
use crate::cost::Cost;
use crate::latency::Latencies;
use crate::spread::number;
use crate::storage::read_bytes;
use crate::values::Values;

pub(super) const WORKLOAD: Workload = Workload {
    name: "catching_up",
    title: "A cold reader beside a writer of 1 KiB records, one a call, as fast as it can",
    about: "Old segments are synced and taken out of the page cache (`posix_fadvise`); while the writer appends, another \
        thread scans them again and again, each time cold. Bare: `write`, and `pread` of 1 MiB with CRC-32C.",
    unit: "an appended record",
    once: false,
    charts: &[],
    cases,
};

const VALUE_BYTES: usize = 1 << 10;
const BATCH_RECORDS: usize = 64;
const SEGMENT_BYTES: u64 = 64 << 20;

#[derive(Clone, Copy)]
struct Shape {
    old_bytes: usize,
    appends: usize,
    reader: bool,
}

fn cases(scale: Scale) -> Vec<Case> {
    let shape = move |reader| Shape {
        old_bytes: scale.pick(256 << 20, 2 << 30),
        appends: scale.pick(200_000, 2_000_000),
        reader,
    };
    vec![
        Case::new("bare, alone", move |dir, line| bare_calls(dir, line, shape(false))),
        Case::new("bare, a cold reader beside", move |dir, line| {
            bare_calls(dir, line.against("bare, alone"), shape(true))
        }),
        Case::new("kstore, alone", move |dir, line| kstore(dir, line.against("bare, alone"), shape(false))),
        Case::new("kstore, a cold reader beside", move |dir, line| {
            kstore(dir, line.against("kstore, alone"), shape(true))
        }),
    ]
}

/// Appends while a reader reads, if there is one, and says what both came to.
fn side_by_side(
    line: Line,
    shape: Shape,
    old: &[PathBuf],
    mut append: impl FnMut(usize) -> Outcome<()>,
    read: impl Fn(&AtomicBool) -> Outcome<u64> + Sync,
) -> Outcome<Line> {
    let (done, read_in_all) = (AtomicBool::new(false), AtomicU64::new(0));
    forget(old)?;
    let before = read_bytes();
    let (cost, latencies) = std::thread::scope(|scope| -> Outcome<_> {
        let reading = shape.reader.then(|| {
            scope.spawn(|| -> Outcome<()> {
                while !done.load(Ordering::Relaxed) {
                    read_in_all.fetch_add(read(&done)?, Ordering::Relaxed);
                    forget(old)?;
                }
                Ok(())
            })
        });
        let appended = appends(shape.appends, &mut append);
        done.store(true, Ordering::Relaxed);
        reading.map_or(Ok(Ok(())), std::thread::ScopedJoinHandle::join).map_err(|_| "the reader panicked")??;
        appended
    })?;
    let line = line.cost(&cost, shape.appends as u64).latencies(latencies);
    if !shape.reader {
        return Ok(line);
    }
    let bytes = read_in_all.into_inner();
    let line = line.with(Measure::ReaderBytesPerSecond, number(bytes) / cost.wall.as_secs_f64());
    match before.zip(read_bytes()).map(|(before, after)| after - before) {
        Some(device) if device < bytes / 2 => {
            Err(format!("{bytes} bytes were read, and only {device} came from a disk: the reader was not cold").into())
        }
        Some(device) => Ok(line.with(Measure::DeviceReadBytes, number(device))),
        None => Ok(line.noted("this system does not count what comes from block devices")),
    }
}

fn appends(count: usize, append: &mut impl FnMut(usize) -> Outcome<()>) -> Outcome<(Cost, Latencies)> {
    let mut latencies = Latencies::for_calls(count);
    let (cost, ()) = Cost::of(|| {
        let mut before = std::time::Instant::now();
        for record in 0..count {
            append(record)?;
            let after = std::time::Instant::now();
            latencies.push(after - before);
            before = after;
        }
        Ok(())
    })?;
    Ok((cost, latencies))
}

/// Has the system forget files that are on the disk.
fn forget(files: &[PathBuf]) -> Outcome<()> {
    for path in files {
        posix_fadvise(File::open(path)?, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    }
    Ok(())
}

fn bare_calls(dir: &Path, line: Line, shape: Shape) -> Outcome<Line> {
    let values = Values::new(VALUE_BYTES);
    let old_dir = dir.join("old");
    let of_segment = usize::try_from(SEGMENT_BYTES)?;
    for segment in 0..shape.old_bytes / of_segment {
        let file = Plain::create(&old_dir, &format!("{segment:05}.plain"))?;
        for first in (0..of_segment / VALUE_BYTES).step_by(BATCH_RECORDS) {
            file.append(&values.batch(first, BATCH_RECORDS).concat())?;
        }
        file.sync()?;
    }
    let old = files(&old_dir, "plain")?;
    let (mut active, mut written) = (Vec::new(), 0);
    let line = side_by_side(
        line,
        shape,
        &old,
        |record| {
            if written % SEGMENT_BYTES == 0 {
                active.push(Plain::create(dir, &format!("{written:012}.plain"))?);
            }
            written += VALUE_BYTES as u64;
            active.last().ok_or("a file was made")?.append(values.of(record))
        },
        |done| {
            let (mut chunk, mut bytes) = (chunk(), 0);
            for path in old.iter().take_while(|_| !done.load(Ordering::Relaxed)) {
                bytes += read_and_checksum(path, &mut chunk)?;
            }
            Ok(bytes)
        },
    )?;
    let mut found = Contents::default();
    for file in &active {
        found.extend(Contents::of_file(file.path(), VALUE_BYTES)?);
    }
    found.must_be(given(&values, 0..shape.appends))?;
    Ok(line)
}

fn kstore(dir: &Path, line: Line, shape: Shape) -> Outcome<Line> {
    let values = Values::new(VALUE_BYTES);
    let log = Log::open(dir.join("log"), LogConfig::default().segment_bytes(SEGMENT_BYTES))?;
    let old_records = shape.old_bytes / VALUE_BYTES;
    for first in (0..old_records).step_by(BATCH_RECORDS) {
        let values = values.batch(first, BATCH_RECORDS);
        log.append(&values.into_iter().map(Record::value).collect::<Vec<_>>())?;
    }
    log.roll()?;
    log.sync()?;
    let mut old = files(log.dir(), "log")?;
    // The last one is the active one, which the writer has just begun.
    old.pop();
    let old_end = Offset::new(old_records as u64);
    let line = side_by_side(
        line,
        shape,
        &old,
        |record| Ok(log.append(&[Record::value(values.of(record))]).map(drop)?),
        |done| {
            let (mut records, mut bytes) = (0, 0);
            for batch in log.reader().batches(..old_end)? {
                let batch = batch?;
                for record in batch.records() {
                    std::hint::black_box(record?.value());
                    records += 1;
                }
                bytes += batch.size_bytes();
                if done.load(Ordering::Relaxed) {
                    return Ok(bytes);
                }
            }
            if records == old_records {
                Ok(bytes)
            } else {
                Err(format!("the reader found {records} old records").into())
            }
        },
    )?;
    let mut all = given(&values, 0..old_records);
    all.extend(given(&values, 0..shape.appends));
    Contents::of_log(&log.reader())?.must_be(all)?;
    log.close()?;
    Ok(line)
}

fn given(values: &Values, records: std::ops::Range<usize>) -> Contents {
    let mut given = Contents::default();
    records.for_each(|record| given.add(values.of(record)));
    given
}
