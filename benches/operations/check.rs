//! Looking through all of a log's files for what is wrong with them.

use std::cell::LazyCell;
use std::path::Path;

use super::{BATCHES, Group, RECORDS_OF_BATCH, filled_log, measure_many};

pub(super) fn all(group: &mut Group<'_>, dir: &Path) {
    let log = LazyCell::new(|| filled_log(&dir.join("log")));
    let reader = LazyCell::new(|| log.reader());
    let records = BATCHES * RECORDS_OF_BATCH as u64;
    measure_many(group, "Log::check_integrity", records, || log.check_integrity());
    measure_many(group, "Reader::check_integrity", records, || reader.check_integrity());
}
