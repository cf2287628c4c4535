//! Changes of what is there: rolls, truncations, deletions from the front. Each is made durable before it returns.

use std::cell::LazyCell;
use std::path::Path;

use kstore::{Log, LogConfig, Offset, Record};

use super::{Group, VALUE, endless_log, fill, measure, measure_prepared, time_of};

pub(super) fn all(group: &mut Group<'_>, dir: &Path) {
    let log = LazyCell::new(|| endless_log(&dir.join("rolled"), |config| config.segment_bytes(64 << 10)));
    let append = || log.append(&[Record::value(&VALUE)]).expect("a log takes a record");
    measure_prepared(group, "Log::roll", append, |_| log.roll());

    let log = LazyCell::new(|| Log::open(dir.join("cut"), LogConfig::default()).expect("a log can be opened"));
    let filled = || {
        let end = log.log_end_offset();
        fill(&log, 2);
        end
    };
    measure_prepared(group, "Log::truncate_to, between batches", filled, |end| log.truncate_to(end));
    measure_prepared(group, "Log::truncate_to, inside a batch", filled, |end| log.truncate_to(end + 1));
    measure_prepared(group, "Log::truncate_to_batch", filled, |end| log.truncate_to_batch(end + 1));
    measure_prepared(group, "Log::reset_to", filled, |end| log.reset_to(end + 1_000_000));

    let log = LazyCell::new(|| {
        let config = LogConfig::default().segment_bytes(64 << 10).retention_bytes(64 << 10).file_delete_delay_ms(0);
        Log::open(dir.join("retained"), config).expect("a log can be opened")
    });
    // Some segments become old.
    let aged = || fill(&log, 16);
    measure_prepared(group, "Log::delete_old_segments, three", aged, |()| {
        log.delete_old_segments(time_of(Offset::ZERO))
    });
    measure(group, "Log::delete_old_segments, none", || log.delete_old_segments(time_of(Offset::ZERO)));
    let aged = || {
        fill(&log, 16);
        log.log_end_offset()
    };
    measure_prepared(group, "Log::delete_records_before", aged, |end| log.delete_records_before(end));
}
