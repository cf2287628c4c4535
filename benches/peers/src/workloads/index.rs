//! A sparse index against a dense one: what it takes on the disk and of an append, and what a lookup pays for the gaps.
//!
//! Records are of one size, which lets a log guess where the next one lies, or of sizes that nobody can guess.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kstore::{Log, LogConfig, Offset, Record};

use super::contents::Contents;
use super::plain::{Plain, files};
use super::{Case, Line, Measure, Scale, Workload};
use crate::Outcome;
use crate::cost::Cost;
use crate::spread::number;
use crate::storage::read_once;
use crate::values::{Values, random_records};

pub(super) const WORKLOAD: Workload = Workload {
    name: "index",
    title: "A sparse index against a dense one: one record a batch, about 1 KiB",
    about: "`index_interval_bytes` of 0 (an entry for each batch), 1, 4 and 64 KiB; random lookups by offset, warm. \
        `indexes` is the size of all `.index` and `.timeindex` files. Bare: `write` of the payload, and `pread` of a record \
        at a known place.",
    unit: "an append, a lookup",
    once: false,
    charts: &[Measure::Lookup],
    cases,
};

const LARGEST_BYTES: usize = 1_500;
const INTERVALS: [u64; 4] = [0, 1 << 10, 4 << 10, 64 << 10];

#[derive(Clone, Copy)]
struct Shape {
    records: usize,
    lookups: usize,
    /// Whether all records have the same size.
    even: bool,
}

impl Shape {
    /// A record's value: the front of one from the pool.
    fn value(self, values: &Values, record: usize) -> &[u8] {
        let bytes = if self.even { 1 << 10 } else { 500 + record.wrapping_mul(7_919) % 1_000 };
        &values.of(record)[..bytes]
    }
}

fn cases(scale: Scale) -> Vec<Case> {
    let mut cases = Vec::new();
    for (even, sizes) in [(true, "one size"), (false, "many sizes")] {
        let shape = Shape { records: scale.pick(32_000, 500_000), lookups: scale.pick(20_000, 200_000), even };
        let bare = format!("bare, {sizes}");
        cases.push(Case::new(bare.as_str(), move |dir, line| bare_calls(dir, line, shape)));
        for interval in INTERVALS {
            let against = bare.clone();
            let place = format!("{} KiB", interval >> 10);
            cases.push(Case::new(format!("kstore, {sizes}, {place}"), move |dir, line| {
                kstore(dir, line.against(against.as_str()).at(sizes, place.as_str()), shape, interval)
            }));
        }
    }
    cases
}

fn bare_calls(dir: &Path, line: Line, shape: Shape) -> Outcome<Line> {
    let values = Values::new(LARGEST_BYTES);
    let plain = Plain::create(dir, "plain")?;
    let mut places = Vec::with_capacity(shape.records);
    let (cost, ()) = Cost::of(|| {
        let mut at = 0;
        for record in 0..shape.records {
            let value = shape.value(&values, record);
            plain.append(value)?;
            places.push(at);
            at += value.len() as u64;
        }
        Ok(())
    })?;
    let line = line.cost(&cost, shape.records as u64);
    let file = File::open(plain.path())?;
    let mut buffer = vec![0; LARGEST_BYTES];
    let (cost, ()) = Cost::of(|| {
        random_records(shape.records).take(shape.lookups).try_for_each(|record| {
            let value = shape.value(&values, record);
            let found = &mut buffer[..value.len()];
            file.read_exact_at(found, places[record])?;
            if found == value { Ok(()) } else { Err("other bytes were found".into()) }
        })
    })?;
    Ok(line.times(Measure::Lookup, Measure::LookupCpu, &cost, shape.lookups as u64))
}

fn kstore(dir: &Path, line: Line, shape: Shape, interval: u64) -> Outcome<Line> {
    let values = Values::new(LARGEST_BYTES);
    let log = Log::open(dir.join("log"), LogConfig::default().index_interval_bytes(interval))?;
    let mut given = Contents::default();
    let (cost, ()) = Cost::of(|| {
        for record in 0..shape.records {
            log.append(&[Record::value(shape.value(&values, record))])?;
        }
        Ok(())
    })?;
    (0..shape.records).for_each(|record| given.add(shape.value(&values, record)));
    let line = line.cost(&cost, shape.records as u64);
    read_once(log.dir())?;
    let reader = log.reader();
    let (cost, ()) = Cost::of(|| {
        random_records(shape.records).take(shape.lookups).try_for_each(|record| {
            let offset = Offset::new(record as u64);
            let found = reader.records(offset..=offset)?.next().ok_or("the record is there")??;
            if found.value() == Some(shape.value(&values, record)) { Ok(()) } else { Err("another record".into()) }
        })
    })?;
    let line = line.times(Measure::Lookup, Measure::LookupCpu, &cost, shape.lookups as u64);
    Contents::of_log(&log.reader())?.must_be(given)?;
    log.close()?;
    let mut bytes = 0;
    for extension in ["index", "timeindex"] {
        for path in files(log.dir(), extension)? {
            bytes += std::fs::metadata(path)?.len();
        }
    }
    Ok(line.with(Measure::IndexBytes, number(bytes)))
}
