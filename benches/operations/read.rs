//! Readers, slices and iterators: what it costs to get one, and its first record.

use std::cell::LazyCell;
use std::path::Path;

use kstore::{Offset, ReadUpTo};

use super::{Group, filled_log, measure, measure_value};

/// Somewhere in a log that is read.
const FROM: Offset = Offset::new(5_000);
/// What a slice may have.
const SLICE_BYTES: u64 = 64 << 10;

pub(super) fn all(group: &mut Group<'_>, dir: &Path) {
    let log = LazyCell::new(|| filled_log(&dir.join("log")));
    let reader = LazyCell::new(|| log.reader());
    measure_value(group, "Log::reader", || log.reader());
    measure_value(group, "Reader::up_to", || log.reader().up_to(ReadUpTo::Synced));
    measure_value(group, "Reader::skip_damaged", || log.reader().skip_damaged());

    measure(group, "Log::read, 64 KiB", || log.read(FROM, SLICE_BYTES));
    measure(group, "Reader::read, 64 KiB", || reader.read(FROM, SLICE_BYTES));
    measure(group, "Reader::read, at the end", || reader.read(reader.log_end_offset(), SLICE_BYTES));

    measure(group, "Log::records, the first", || log.records(FROM..)?.next().expect("it is there"));
    measure(group, "Reader::records, the first", || reader.records(FROM..)?.next().expect("it is there"));
    measure(group, "Log::records_reversed, the last", || log.records_reversed(..FROM)?.next().expect("it is there"));
    measure(group, "Reader::records_reversed, the last", || {
        reader.records_reversed(..FROM)?.next().expect("it is there")
    });
    measure(group, "Reader::batches, the first", || reader.batches(FROM..)?.next().expect("it is there"));
}
