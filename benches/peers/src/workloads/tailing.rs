//! A writer, and a reader that follows it: what is read was written a moment ago, and comes from memory.
//!
//! The writer keeps a pace, and retention keeps the log small. What the process reads from block devices meanwhile is
//! counted, and a single byte is a failure.

use std::path::Path;
use std::time::{Duration, Instant};

use kstore::{Log, LogConfig, Offset, Record};

use super::contents::Contents;
use super::plain::Plain;
use super::{Case, Line, Measure, Scale, Workload};
use crate::Outcome;
use crate::cost::Cost;
use crate::latency::{Latencies, Percentiles};
use crate::spread::number;
use crate::storage::read_bytes;
use crate::values::Values;

pub(super) const WORKLOAD: Workload = Workload {
    name: "tailing",
    title: "A writer and a reader that follows it: 16 records of 1 KiB a call, 2,000 calls a second",
    about: "`tail` in another thread has every record; its lag is from the beginning of an append to that moment. Old \
        segments are deleted meanwhile. Fails if the process reads anything from a block device. Bare: `write` of the \
        payload, nobody reads. (Chronicle Queue, which does this too, would need a JVM of its own for it: left out.)",
    unit: "a record; percentiles those of a call",
    once: true,
    charts: &[],
    cases,
};

const VALUE_BYTES: usize = 1 << 10;
const RECORDS: usize = 16;
const CALLS_A_SECOND: u32 = 2_000;
const SEGMENT_BYTES: u64 = 32 << 20;
const KEPT_BYTES: u64 = 4 * SEGMENT_BYTES;
/// The writer's first bytes say when its call began, in nanoseconds.
const STAMP_BYTES: usize = 8;

fn cases(scale: Scale) -> Vec<Case> {
    let calls = usize::try_from(CALLS_A_SECOND * scale.pick(5, 60)).expect("a few");
    vec![
        Case::new("bare", move |dir, line| bare_calls(dir, line, calls)),
        Case::new("kstore, nobody reads", move |dir, line| kstore(dir, line.against("bare"), calls, false)),
        Case::new("kstore, a reader follows", move |dir, line| {
            kstore(dir, line.against("kstore, nobody reads"), calls, true)
        }),
    ]
}

/// The records of each call: all of them begin with the time of the call.
struct Source {
    values: Values,
    payload: Vec<u8>,
    begin: Instant,
}

impl Source {
    fn new(begin: Instant) -> Source {
        Source { values: Values::new(VALUE_BYTES), payload: Vec::with_capacity(RECORDS * VALUE_BYTES), begin }
    }

    fn make(&mut self, call: usize) -> Outcome<&[u8]> {
        self.payload.clear();
        let stamp = u64::try_from(self.begin.elapsed().as_nanos())?.to_le_bytes();
        for record in 0..RECORDS {
            self.payload.extend_from_slice(&stamp);
            self.payload.extend_from_slice(&self.values.of(call * RECORDS + record)[STAMP_BYTES..]);
        }
        Ok(&self.payload)
    }
}

/// Makes calls at their pace, each of which is timed; one that is late is made at once.
fn paced(calls: usize, mut call: impl FnMut(usize) -> Outcome<Duration>) -> Outcome<(Cost, Latencies)> {
    let mut latencies = Latencies::for_calls(calls);
    let begin = Instant::now();
    let (cost, ()) = Cost::of(|| {
        for number in 0..calls {
            let due = Duration::from_secs(1) / CALLS_A_SECOND * u32::try_from(number)?;
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
            latencies.push(call(number)?);
        }
        Ok(())
    })?;
    Ok((cost, latencies))
}

fn bare_calls(dir: &Path, line: Line, calls: usize) -> Outcome<Line> {
    let mut source = Source::new(Instant::now());
    let segment_calls = usize::try_from(SEGMENT_BYTES)? / (RECORDS * VALUE_BYTES);
    let kept = usize::try_from(KEPT_BYTES / SEGMENT_BYTES)?;
    let mut files: Vec<Plain> = Vec::new();
    let mut gone = 0;
    let read = read_bytes();
    let (cost, latencies) = paced(calls, |call| {
        if call % segment_calls == 0 {
            files.push(Plain::create(dir, &format!("{call}.plain"))?);
            if files.len() > kept {
                std::fs::remove_file(files.remove(0).path())?;
                gone += segment_calls * RECORDS;
            }
        }
        let payload = source.make(call)?;
        let begin = Instant::now();
        files.last().ok_or("a file was made")?.append(payload)?;
        Ok(begin.elapsed())
    })?;
    let line = devices(line, read);
    let mut found = gone;
    for file in &files {
        found += usize::try_from(Contents::of_file(file.path(), VALUE_BYTES)?.records)?;
    }
    if found != calls * RECORDS {
        return Err(format!("{} records were written, and {found} are there or deleted", calls * RECORDS).into());
    }
    told(line, &cost, latencies, calls)
}

fn kstore(dir: &Path, line: Line, calls: usize, follow: bool) -> Outcome<Line> {
    let config = LogConfig::default()
        .segment_bytes(SEGMENT_BYTES)
        .retention_bytes(KEPT_BYTES)
        .retention_check_interval_ms(500)
        .file_delete_delay_ms(500);
    let log = Log::open(dir.join("log"), config)?;
    let begin = Instant::now();
    let mut source = Source::new(begin);
    let mut given = Contents::default();
    let read = read_bytes();
    let tailer = log.tail(Offset::ZERO);
    let (measured, followed) = std::thread::scope(|scope| -> Outcome<_> {
        let reading = follow.then(|| scope.spawn(move || read_all(tailer, begin, calls)));
        let measured = paced(calls, |call| {
            let payload = source.make(call)?;
            payload.chunks(VALUE_BYTES).for_each(|value| given.add(&value[STAMP_BYTES..]));
            let records: Vec<Record<'_>> = payload.chunks(VALUE_BYTES).map(Record::value).collect();
            let begin = Instant::now();
            log.append(&records)?;
            Ok(begin.elapsed())
        });
        let followed = reading.map(|thread| thread.join().map_err(|_| "the reader panicked")?).transpose()?;
        Ok((measured?, followed))
    })?;
    let mut line = devices(line, read);
    if let Some((found, lag)) = followed {
        found.must_be(given)?;
        let device = line.values.get(&Measure::DeviceReadBytes);
        if device.is_some_and(|bytes| *bytes > 0.0) {
            return Err(format!("{device:?} bytes came from a block device, and all had just been written").into());
        }
        let [p50, p99, max] = [lag.p50, lag.p99, lag.max].map(number);
        line = line.with(Measure::LagP50, p50).with(Measure::LagP99, p99).with(Measure::LagMax, max);
    }
    if log.log_end_offset().value() != given.records {
        return Err(
            format!("{} records were appended, and the log ends at {}", given.records, log.log_end_offset()).into()
        );
    }
    log.close()?;
    let (cost, latencies) = measured;
    told(line, &cost, latencies, calls)
}

/// All records of all calls, and how late they came.
fn read_all(tailer: kstore::Tailer, begin: Instant, calls: usize) -> Outcome<(Contents, Percentiles)> {
    let mut lag = Latencies::for_calls(calls * RECORDS);
    let mut found = Contents::default();
    for record in tailer.take(calls * RECORDS) {
        let record = record?;
        let now = begin.elapsed();
        let value = record.value().ok_or("no record is a tombstone")?;
        let stamp = value.first_chunk::<STAMP_BYTES>().ok_or("a record has a stamp")?;
        lag.push(now.saturating_sub(Duration::from_nanos(u64::from_le_bytes(*stamp))));
        found.add(&value[STAMP_BYTES..]);
    }
    Ok((found, lag.percentiles().ok_or("records were read")?))
}

fn told(line: Line, cost: &Cost, latencies: Latencies, calls: usize) -> Outcome<Line> {
    let records = (calls * RECORDS) as u64;
    let line = line.cost(cost, records).latencies(latencies);
    // The time on the wall is the pace, which was given.
    let line =
        Line { values: line.values.into_iter().filter(|(measure, _)| *measure != Measure::Wall).collect(), ..line };
    Ok(line.pace(cost, records))
}

fn devices(line: Line, before: Option<u64>) -> Line {
    match before.zip(read_bytes()) {
        Some((before, after)) => line.with(Measure::DeviceReadBytes, number(after - before)),
        None => line.noted("this system does not count what comes from block devices"),
    }
}
