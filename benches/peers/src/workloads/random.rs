//! Sequential appends against random writes: to a file, and to memory.
//!
//! "Sequential disk access can be faster than random memory access": each of these moves the same records, and says what
//! one took until the call returned, and until all of them were on the disk.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kstore::{Log, LogConfig, Record, WriteMode};

use super::contents::Contents;
use super::plain::Plain;
use super::{Case, Line, Measure, Scale, Workload};
use crate::Outcome;
use crate::cost::Cost;
use crate::values::{Values, random_records};

pub(super) const WORKLOAD: Workload = Workload {
    name: "random",
    title: "Sequential appends against random writes of 100 bytes",
    about: "Into a log, at the end of a file, at random places of a file that is in the page cache, and at random places of \
        memory; the file and the memory are much larger than the processor's caches. All are compared with random stores.",
    unit: "a record",
    once: false,
    charts: &[],
    cases,
};

const VALUE_BYTES: usize = 100;
const RANDOM: &str = "random stores into memory";

#[derive(Clone, Copy)]
struct Shape {
    records: usize,
    /// Places of a record in the file, and in memory.
    slots: usize,
}

fn cases(scale: Scale) -> Vec<Case> {
    let shape = Shape { records: scale.pick(300_000, 5_000_000), slots: scale.pick(256 << 20, 1 << 30) / VALUE_BYTES };
    vec![
        Case::new(RANDOM, move |_, line| stores(line, shape)),
        Case::new("sequential stores into memory", move |_, line| sequential_stores(line.against(RANDOM), shape)),
        Case::new("sequential `write`", move |dir, line| writes(dir, line.against(RANDOM), shape)),
        Case::new("random `pwrite`", move |dir, line| random_writes(dir, line.against(RANDOM), shape)),
        Case::new("kstore, `Write`", move |dir, line| kstore(dir, line.against(RANDOM), shape, WriteMode::Write)),
        Case::new("kstore, `Mapped`", move |dir, line| kstore(dir, line.against(RANDOM), shape, WriteMode::Mapped)),
    ]
}

/// What was written to a place last is what has to be there.
fn check(shape: Shape, values: &Values, read: impl Fn(usize) -> Outcome<Vec<u8>>) -> Outcome<()> {
    let mut last = vec![None; shape.slots];
    for (record, slot) in random_records(shape.slots).take(shape.records).enumerate() {
        last[slot] = Some(record);
    }
    for (slot, record) in last.into_iter().enumerate() {
        if let Some(record) = record
            && read(slot)? != values.of(record)
        {
            return Err(format!("the place {slot} does not have what was written there last").into());
        }
    }
    Ok(())
}

fn stores(line: Line, shape: Shape) -> Outcome<Line> {
    let values = Values::new(VALUE_BYTES);
    // Not zeros: the system would give them no memory until they are stored to.
    let mut memory = vec![1; shape.slots * VALUE_BYTES];
    let (cost, ()) = Cost::of(|| {
        for (record, slot) in random_records(shape.slots).take(shape.records).enumerate() {
            memory[slot * VALUE_BYTES..][..VALUE_BYTES].copy_from_slice(values.of(record));
        }
        std::hint::black_box(&mut memory);
        Ok(())
    })?;
    check(shape, &values, |slot| Ok(memory[slot * VALUE_BYTES..][..VALUE_BYTES].to_vec()))?;
    Ok(line.cost(&cost, shape.records as u64))
}

fn sequential_stores(line: Line, shape: Shape) -> Outcome<Line> {
    let values = Values::new(VALUE_BYTES);
    let mut memory = vec![1; shape.slots * VALUE_BYTES];
    let (cost, ()) = Cost::of(|| {
        for record in 0..shape.records {
            let slot = record % shape.slots;
            memory[slot * VALUE_BYTES..][..VALUE_BYTES].copy_from_slice(values.of(record));
        }
        std::hint::black_box(&mut memory);
        Ok(())
    })?;
    let first = shape.records.saturating_sub(shape.slots);
    for record in first..shape.records {
        let slot = record % shape.slots;
        if memory[slot * VALUE_BYTES..][..VALUE_BYTES] != *values.of(record) {
            return Err(format!("the place {slot} does not have what was stored there last").into());
        }
    }
    Ok(line.cost(&cost, shape.records as u64))
}

/// The work, and then the wait for the disk, which is timed with it and without it.
fn with_sync(
    line: Line,
    shape: Shape,
    work: impl FnOnce() -> Outcome<()>,
    sync: impl FnOnce() -> Outcome<()>,
) -> Outcome<Line> {
    let (cost, ()) = Cost::of(work)?;
    let line = line.cost(&cost, shape.records as u64);
    let (mut whole, ()) = Cost::of(sync)?;
    whole += cost;
    Ok(line.time(Measure::WithSync, &whole, shape.records as u64))
}

fn writes(dir: &Path, line: Line, shape: Shape) -> Outcome<Line> {
    let values = Values::new(VALUE_BYTES);
    let plain = Plain::create(dir, "plain")?;
    let append = || (0..shape.records).try_for_each(|record| plain.append(values.of(record)));
    let line = with_sync(line, shape, append, || plain.sync())?;
    Contents::of_file(plain.path(), VALUE_BYTES)?.must_be(given(&values, shape))?;
    Ok(line)
}

fn random_writes(dir: &Path, line: Line, shape: Shape) -> Outcome<Line> {
    let values = Values::new(VALUE_BYTES);
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(dir.join("random"))?;
    let chunk = vec![1; VALUE_BYTES * 1_000];
    for _ in 0..shape.slots / 1_000 + 1 {
        file.write_all(&chunk)?;
    }
    file.sync_data()?;
    let write = || {
        let mut places = random_records(shape.slots).take(shape.records).enumerate();
        places.try_for_each(|(record, slot)| Ok(file.write_all_at(values.of(record), (slot * VALUE_BYTES) as u64)?))
    };
    let line = with_sync(line, shape, write, || Ok(file.sync_data()?))?;
    check(shape, &values, |slot| {
        let mut value = vec![0; VALUE_BYTES];
        file.read_exact_at(&mut value, (slot * VALUE_BYTES) as u64)?;
        Ok(value)
    })?;
    Ok(line)
}

fn kstore(dir: &Path, line: Line, shape: Shape, mode: WriteMode) -> Outcome<Line> {
    let values = Values::new(VALUE_BYTES);
    let log = Log::open(dir.join("log"), LogConfig::default().write_mode(mode))?;
    super::must_be_mapped(std::slice::from_ref(&log), mode)?;
    let append =
        || (0..shape.records).try_for_each(|record| Ok(log.append(&[Record::value(values.of(record))]).map(drop)?));
    let line = with_sync(line, shape, append, || Ok(log.sync().map(drop)?))?;
    Contents::of_log(&log.reader())?.must_be(given(&values, shape))?;
    log.close()?;
    Ok(line)
}

fn given(values: &Values, shape: Shape) -> Contents {
    let mut given = Contents::default();
    (0..shape.records).for_each(|record| given.add(values.of(record)));
    given
}
