//! What lies behind a log must not weigh on it: appends, lookups and openings with some GiB and with thousands of segments.
//!
//! The backlog is filled before anything is timed, closed, and opened again; every case needs as much disk as it fills, and
//! is told as not run where that is not there. The bare calls are made on the log's own files.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kstore::{Log, LogConfig, Offset, Record, Trust};
use nix::sys::statvfs::statvfs;

use super::contents::Contents;
use super::open_logs::{Holdings, allow_files};
use super::plain::{Plain, files, open_all};
use super::{Case, Line, Measure, Scale, Told, Workload};
use crate::Outcome;
use crate::cost::Cost;
use crate::latency::Latencies;
use crate::values::{Values, random_records};

pub(super) const WORKLOAD: Workload = Workload {
    name: "backlog",
    title: "A backlog behind the log",
    about: "Appends of one 1 KiB record a call, lookups by offset spread over all of the log, each place looked up once \
        before, and openings after a clean close. By default a log keeps 256 sealed segments open, and opens others anew. Bare, on the same files: `write` to one more, `pread` at a known place of \
        a file that is open, `open` and `fstat` of each `.log`.",
    unit: "an append, a lookup, an opening",
    once: true,
    charts: &[Measure::Wall, Measure::Lookup, Measure::Reopen],
    cases,
};

const VALUE_BYTES: usize = 1 << 10;
/// What a batch of one record takes: some more bytes than the record.
const BATCH_BYTES: u64 = 1_100;
/// As many places are looked up, each several times.
const PLACES: usize = 2_000;
const OPENINGS: u64 = 5;
/// What is left free on the disk, and some for indexes.
const SPARE_BYTES: u64 = 1 << 30;

#[derive(Clone, Copy)]
struct Shape {
    bytes: u64,
    segments: u64,
    appends: usize,
    lookups: usize,
}

fn cases(scale: Scale) -> Vec<Case> {
    const MIB: u64 = 1 << 20;
    let shapes: &[(u64, u64)] = scale.pick(
        &[(256 * MIB, 10), (1024 * MIB, 10), (256 * MIB, 1_000)],
        &[(1 << 30, 32), (10 << 30, 32), (20 << 30, 32), (2 << 30, 10), (2 << 30, 1_000), (2 << 30, 10_000)],
    );
    let case = |&(bytes, segments): &(u64, u64)| {
        let shape =
            Shape { bytes, segments, appends: scale.pick(20_000, 400_000), lookups: scale.pick(20_000, 400_000) };
        let name = format!("{} MiB, {segments} segments", bytes / MIB);
        Case { name: name.clone(), run: Box::new(move |dir| run(dir, &name, shape)) }
    };
    shapes.iter().map(case).collect()
}

fn run(dir: &Path, name: &str, shape: Shape) -> Outcome<Told> {
    let free = free_bytes(dir)?;
    let needed = shape.bytes + shape.bytes / 8 + SPARE_BYTES;
    if free < needed {
        return Ok(Told::NotRun(format!("{} MiB are free, and it takes {} MiB", free >> 20, needed >> 20)));
    }
    let values = Values::new(VALUE_BYTES);
    let records = fill(dir, shape, &values)?;
    let all = files(&dir.join("log"), "log")?;
    let bare = Line::new(format!("bare, {name}")).at("bare", name);
    let line = Line::new(format!("kstore, {name}")).against(bare.name.as_str()).at("kstore", name);

    let (cost, ()) = Cost::of(|| (0..OPENINGS).try_for_each(|_| open_all(&all).map(drop)))?;
    let bare = bare.times(Measure::Reopen, Measure::ReopenCpu, &cost, OPENINGS);
    let line = line.times(Measure::Reopen, Measure::ReopenCpu, &reopen(dir, records)?, OPENINGS);

    let before = Holdings::of_this_process()?;
    let log = Log::open(dir.join("log"), LogConfig::default())?;
    let places: Vec<usize> = random_records(records).take(PLACES).collect();
    let asked: Vec<usize> = random_records(PLACES).take(shape.lookups).map(|at| places[at]).collect();
    let looked_up = |line: Line, cost: Cost| line.times(Measure::Lookup, Measure::LookupCpu, &cost, asked.len() as u64);
    let bare = looked_up(bare, bare_lookups(&log, &values, &places, &asked)?);
    let line = looked_up(line, lookups(&log, &values, &places, &asked)?);
    let line = Holdings::of_this_process()?.since(&before).put(line, 1);

    let line = lookups_with_all_open(dir, line, log, &values, &places, &asked)?;

    let log = Log::open(dir.join("log"), LogConfig::default())?;
    let plain = Plain::create(dir, "plain")?;
    let bare = appends(bare, shape, |record| plain.append(values.of(record)))?;
    let line = appends(line, shape, |record| Ok(log.append(&[Record::value(values.of(record))]).map(drop)?))?;
    let mut given = Contents::default();
    (0..records).chain(0..shape.appends).for_each(|record| given.add(values.of(record)));
    Contents::of_log(&log.reader())?.must_be(given)?;
    log.close()?;
    Ok(Told::Lines(vec![bare, line.noted(format!("{} files `.log`", all.len()))]))
}

fn free_bytes(dir: &Path) -> Outcome<u64> {
    let found = statvfs(dir)?;
    Ok(found.blocks_available() * found.fragment_size())
}

/// Fills and closes a log, and says how many records it has.
fn fill(dir: &Path, shape: Shape, values: &Values) -> Outcome<usize> {
    let config = LogConfig::default().segment_bytes(shape.bytes / shape.segments);
    let log = Log::open(dir.join("log"), config)?;
    let records = usize::try_from(shape.bytes / BATCH_BYTES)?;
    // Segments that are not durable yet keep their files open, and bytes that are not the disk busy later.
    let sync_each = (records / 64).min(records / usize::try_from(shape.segments)?.max(1) * 100).max(1);
    for record in 0..records {
        log.append(&[Record::value(values.of(record))])?;
        if record % sync_each == sync_each - 1 {
            log.sync()?;
        }
    }
    log.close()?;
    let made = files(&dir.join("log"), "log")?.len() as u64;
    // Batches are not cut, so that a segment is not quite full.
    if made.abs_diff(shape.segments) > shape.segments / 10 + 1 {
        return Err(format!("{} segments were to be made, and {made} were", shape.segments).into());
    }
    Ok(records)
}

fn reopen(dir: &Path, records: usize) -> Outcome<Cost> {
    let mut sum = Cost::default();
    for _ in 0..OPENINGS {
        let (cost, log) = Cost::of(|| Ok(Log::open(dir.join("log"), LogConfig::default())?))?;
        if log.recovery_report().trust != Trust::Clean || log.log_end_offset().value() != records as u64 {
            return Err(
                format!("it was closed with {records} records, and opened as {:?}", log.recovery_report()).into()
            );
        }
        sum += cost;
        log.close()?;
    }
    Ok(sum)
}

fn lookups(log: &Log, values: &Values, places: &[usize], asked: &[usize]) -> Outcome<Cost> {
    let reader = log.reader();
    let lookup = |record: usize| -> Outcome<()> {
        let offset = Offset::new(record as u64);
        let found = reader.records(offset..=offset)?.next().ok_or("the record is there")??;
        if found.value() == Some(values.of(record)) { Ok(()) } else { Err("another record was found".into()) }
    };
    places.iter().try_for_each(|record| lookup(*record))?;
    let (cost, ()) = Cost::of(|| asked.iter().try_for_each(|record| lookup(*record)))?;
    Ok(cost)
}

/// As many segments may be open as there are.
fn lookups_with_all_open(
    dir: &Path,
    line: Line,
    log: Log,
    values: &Values,
    places: &[usize],
    asked: &[usize],
) -> Outcome<Line> {
    log.close()?;
    let segments = files(&dir.join("log"), "log")?.len();
    allow_files(segments + PLACES)?;
    let log = Log::open(dir.join("log"), LogConfig::default().max_open_segments(segments + 1))?;
    let cost = lookups(&log, values, places, asked)?;
    log.close()?;
    Ok(line.time(Measure::LookupAllOpen, &cost, asked.len() as u64))
}

/// The same records by calls, from files that are open already.
fn bare_lookups(log: &Log, values: &Values, places: &[usize], asked: &[usize]) -> Outcome<Cost> {
    allow_files(PLACES)?;
    let (mut open, mut known) = (BTreeMap::<PathBuf, usize>::new(), BTreeMap::new());
    let mut files = Vec::new();
    for &record in places {
        let slice = log.read(Offset::new(record as u64), 1)?;
        let batch = slice.batches().next().ok_or("the record is there")??;
        let file = *open.entry(batch.path().to_path_buf()).or_insert_with(|| {
            files.push(batch.path().to_path_buf());
            files.len() - 1
        });
        let at = batch.as_bytes().windows(VALUE_BYTES).position(|bytes| bytes == values.of(record));
        let at = at.ok_or("another record was found")? as u64;
        known.insert(record, (file, batch.position().value() + at));
    }
    let files = files.iter().map(File::open).collect::<std::io::Result<Vec<File>>>()?;
    let mut value = vec![0; VALUE_BYTES];
    let plan: Vec<(usize, usize, u64)> =
        asked.iter().map(|record| (*record, known[record].0, known[record].1)).collect();
    let (cost, ()) = Cost::of(|| {
        plan.iter().try_for_each(|(record, file, at)| {
            files[*file].read_exact_at(&mut value, *at)?;
            if value == values.of(*record) { Ok(()) } else { Err("another record was found".into()) }
        })
    })?;
    Ok(cost)
}

/// Appends with a look at the clock each.
fn appends(line: Line, shape: Shape, mut append: impl FnMut(usize) -> Outcome<()>) -> Outcome<Line> {
    let mut latencies = Latencies::for_calls(shape.appends);
    let (cost, ()) = Cost::of(|| {
        let mut before = Instant::now();
        for record in 0..shape.appends {
            append(record)?;
            let after = Instant::now();
            latencies.push(after - before);
            before = after;
        }
        Ok(())
    })?;
    Ok(line.cost(&cost, shape.appends as u64).latencies(latencies))
}
