//! Sending stored bytes to who takes everything at once, so that only the sender is measured; and what is told of slices.

use std::cell::LazyCell;
use std::fs::{File, OpenOptions};
use std::path::Path;

use kstore::Offset;

use super::{Group, filled_log, measure, measure_value};

/// What a slice may have.
const SLICES: [(u64, &str); 2] = [(16 << 10, "16 KiB"), (256 << 10, "256 KiB")];

pub(super) fn all(group: &mut Group<'_>, dir: &Path) {
    let log = LazyCell::new(|| filled_log(&dir.join("log")));
    let receiver = LazyCell::new(|| -> File { OpenOptions::new().write(true).open("/dev/null").expect("it is there") });
    for (bytes, size) in SLICES {
        let slice = LazyCell::new(|| log.read(Offset::ZERO, bytes).expect("a slice can be read"));
        measure(group, &format!("Log::send_to, {size}"), || log.send_to(&*receiver, Offset::ZERO, bytes));
        measure(group, &format!("LogSlice::send_to, {size}"), || slice.send_to(&*receiver));
        measure(group, &format!("LogSlice::send_to_from, the second half of {size}"), || {
            slice.send_to_from(&*receiver, bytes / 2)
        });
    }
    let slice = LazyCell::new(|| log.read(Offset::ZERO, 16 << 10).expect("a slice can be read"));
    measure_value(group, "LogSlice::as_parts", || slice.as_parts().is_some());
    measure_value(group, "LogSlice::size_bytes", || slice.size_bytes());
    measure_value(group, "LogSlice::next_offset", || slice.next_offset());
    measure_value(group, "LogSlice::is_empty", || slice.is_empty());
}
