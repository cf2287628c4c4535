//! What each of the means is worth: work is done with it, and then without.
//!
//! The engine has no switches for this. What stands for "without" is the nearest that its public interface allows, and
//! each line says what that is.

use std::path::Path;
use std::sync::Mutex;

use kstore::{AppendOptions, Log, LogConfig, Offset, Record, WriteMode};
use nix::sys::uio::pread;

use super::contents::Contents;
use super::plain::read_and_checksum;
use super::sending::{copy_log, send_log};
use super::{Case, Line, Scale, Workload, in_threads};
use crate::Outcome;
use crate::cost::Cost;
use crate::storage::read_once;
use crate::values::Values;

pub(super) const WORKLOAD: Workload = Workload {
    name: "ablation",
    title: "Ablation: 100-byte records",
    about: "Each line is compared with the one in which nothing is switched off; below 1, what is missing was worth that \
        much.",
    unit: "a record, but of a MiB where bytes are sent or checksummed",
    once: false,
    charts: &[],
    cases,
};

const VALUE_BYTES: usize = 100;
const BATCH_RECORDS: usize = 128;
const THREADS: usize = 8;

fn cases(scale: Scale) -> Vec<Case> {
    let appended = scale.pick(1_600, 40_000) * BATCH_RECORDS;
    let read = scale.pick(1_600, 40_000) * BATCH_RECORDS;
    let durable = scale.pick(40, 500);
    vec![
        Case::new("append, mapped, 128 a call", move |dir, line| {
            append(dir, line, appended, BATCH_RECORDS, WriteMode::Mapped)
        }),
        Case::new("append, mapped, no batching: one a call", move |dir, line| {
            let line = line.against("append, mapped, 128 a call");
            append(dir, line, appended, 1, WriteMode::Mapped)
        }),
        Case::new("append, one a call, no mapped tail: `Write`", move |dir, line| {
            let line = line.against("append, mapped, no batching: one a call");
            append(dir, line, appended, 1, WriteMode::Write)
        }),
        Case::new("durable append, 8 threads", move |dir, line| {
            durable_appends(dir, line, durable, WriteMode::Preallocated, false)
        }),
        Case::new("durable append, no group commit: a lock around each", move |dir, line| {
            durable_appends(dir, line.against("durable append, 8 threads"), durable, WriteMode::Preallocated, true)
        }),
        Case::new("durable append, no room allocated ahead: `Write`", move |dir, line| {
            durable_appends(dir, line.against("durable append, 8 threads"), durable, WriteMode::Write, false)
        }),
        Case::new("scan", move |dir, line| scan(dir, line, read, Scan::Whole)),
        Case::new("scan, no read-ahead: `read` of one batch a call", move |dir, line| {
            scan(dir, line.against("scan"), read, Scan::BatchByBatch)
        }),
        Case::new("scan, no CRC and no decoding: the stored bytes of 1 MiB slices", move |dir, line| {
            scan(dir, line.against("scan"), read, Scan::Bytes)
        }),
        Case::new("bare `pread` and CRC of the same bytes", move |dir, line| {
            scan(dir, line.against("scan"), read, Scan::Bare)
        }),
        Case::new("CRC alone, of a MiB", move |_, line| checksum(line, scale.pick(64, 1_024))),
        Case::new("`send_to`", move |dir, line| send(dir, line, read, true)),
        Case::new("no `sendfile`: `pread` and `write`", move |dir, line| {
            send(dir, line.against("`send_to`"), read, false)
        }),
    ]
}

fn append(dir: &Path, line: Line, records: usize, at_once: usize, mode: WriteMode) -> Outcome<Line> {
    let values = Values::new(VALUE_BYTES);
    let log = Log::open(dir.join("log"), LogConfig::default().write_mode(mode))?;
    super::must_be_mapped(std::slice::from_ref(&log), mode)?;
    // As many as the values begin anew behind: what is appended is made before the clock runs.
    let calls: Vec<Vec<Record<'_>>> = (0..512 / at_once)
        .map(|call| values.batch(call * at_once, at_once).into_iter().map(Record::value).collect())
        .collect();
    let (cost, ()) = Cost::of(|| {
        let mut calls = calls.iter().cycle().take(records / at_once);
        calls.try_for_each(|call| Ok(log.append(call).map(drop)?))
    })?;
    Contents::of_log(&log.reader())?.must_be(given(&values, records))?;
    log.close()?;
    Ok(line.cost(&cost, records as u64))
}

fn durable_appends(dir: &Path, line: Line, each: usize, mode: WriteMode, one_by_one: bool) -> Outcome<Line> {
    let values = Values::new(VALUE_BYTES);
    let log = Log::open(dir.join("log"), LogConfig::default().write_mode(mode))?;
    let (options, turn) = (AppendOptions::default().sync(true), Mutex::new(()));
    let (cost, _) = Cost::of(|| {
        in_threads(THREADS, |thread| {
            (0..each).try_for_each(|call| {
                let _turn = one_by_one.then(|| turn.lock());
                let record = Record::value(values.of(thread * each + call));
                Ok(log.append_with(&options, &[record]).map(drop)?)
            })
        })
    })?;
    if log.synced_offset() < log.log_end_offset() {
        return Err("an append returned that was not durable".into());
    }
    Contents::of_log(&log.reader())?.must_be_among_writers(given(&values, THREADS * each))?;
    log.close()?;
    Ok(line.cost(&cost, (THREADS * each) as u64))
}

#[derive(Clone, Copy)]
enum Scan {
    Whole,
    BatchByBatch,
    Bytes,
    Bare,
}

fn filled(dir: &Path, values: &Values, records: usize) -> Outcome<Log> {
    let log = Log::open(dir.join("log"), LogConfig::default())?;
    for first in (0..records).step_by(BATCH_RECORDS) {
        let batch: Vec<Record<'_>> = values.batch(first, BATCH_RECORDS).into_iter().map(Record::value).collect();
        log.append(&batch)?;
    }
    read_once(log.dir())?;
    Ok(log)
}

fn scan(dir: &Path, line: Line, records: usize, by: Scan) -> Outcome<Line> {
    let values = Values::new(VALUE_BYTES);
    let log = filled(dir, &values, records)?;
    let mut buffer = vec![0; 2 << 20];
    let stored = log.stats().appended_bytes;
    let (cost, found) = Cost::of(|| match by {
        Scan::Whole => scan_whole(&log),
        Scan::BatchByBatch => each_slice(&log, 1, |slice| {
            let mut records = 0;
            for record in slice.batches().next().ok_or("a slice holds a batch")??.records() {
                std::hint::black_box(record?.value());
                records += 1;
            }
            Ok(records)
        }),
        Scan::Bytes => each_slice(&log, 1 << 20, |slice| {
            let Some((file, position, bytes)) = slice.as_parts() else { return Ok(0) };
            let room = buffer.get_mut(..usize::try_from(bytes)?).ok_or("a slice is about as large as was asked for")?;
            std::hint::black_box(pread(file, room, i64::try_from(position)?)? as u64);
            Ok(bytes)
        }),
        Scan::Bare => {
            let paths = super::plain::files(log.dir(), "log")?;
            paths.iter().map(|path| read_and_checksum(path, &mut buffer)).sum::<Outcome<u64>>()
        }
    })?;
    let expected = if matches!(by, Scan::Whole | Scan::BatchByBatch) { records as u64 } else { stored };
    if found != expected {
        return Err(format!("{found} was read in place of {expected}").into());
    }
    Contents::of_log(&log.reader())?.must_be(given(&values, records))?;
    log.close()?;
    Ok(line.cost(&cost, records as u64))
}

fn scan_whole(log: &Log) -> Outcome<u64> {
    let mut records = 0;
    for batch in log.reader().batches(..)? {
        for record in batch?.records() {
            std::hint::black_box(record?.value());
            records += 1;
        }
    }
    Ok(records)
}

/// Sums what comes of all slices of so many bytes.
fn each_slice(log: &Log, bytes: u64, mut work: impl FnMut(&kstore::LogSlice) -> Outcome<u64>) -> Outcome<u64> {
    let (mut from, mut sum): (Offset, u64) = (log.log_start_offset(), 0);
    while from < log.log_end_offset() {
        let slice = log.read(from, bytes)?;
        sum += work(&slice)?;
        from = slice.next_offset();
    }
    Ok(sum)
}

fn checksum(line: Line, mib: u64) -> Outcome<Line> {
    let bytes = Values::new(1 << 11).batch(0, 512).concat();
    let (cost, ()) = Cost::of(|| {
        (0..mib).for_each(|_| {
            std::hint::black_box(crc32c::crc32c(std::hint::black_box(&bytes)));
        });
        Ok(())
    })?;
    Ok(line.cost(&cost, mib))
}

fn send(dir: &Path, line: Line, records: usize, by_sendfile: bool) -> Outcome<Line> {
    let values = Values::new(VALUE_BYTES);
    let log = filled(dir, &values, records)?;
    let (cost, sent) = if by_sendfile { send_log(&log)? } else { copy_log(&log)? };
    let stored = log.stats().appended_bytes;
    if sent != stored {
        return Err(format!("{stored} bytes are stored, and {sent} were sent").into());
    }
    log.close()?;
    // Of so many MiB that a division by whole ones is exact enough.
    Ok(line.cost(&cost, sent >> 20))
}

fn given(values: &Values, records: usize) -> Contents {
    let mut given = Contents::default();
    (0..records).for_each(|record| given.add(values.of(record)));
    given
}
