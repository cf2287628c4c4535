//! What a log says about itself, and what it is told: offsets, counters, segments, limits.

use std::cell::LazyCell;
use std::path::Path;

use super::{Group, filled_log, measure, measure_value};

pub(super) fn all(group: &mut Group<'_>, dir: &Path) {
    let log = LazyCell::new(|| filled_log(&dir.join("log")));
    measure_value(group, "Log::log_start_offset", || log.log_start_offset());
    measure_value(group, "Log::log_end_offset", || log.log_end_offset());
    measure_value(group, "Log::synced_offset", || log.synced_offset());
    measure_value(group, "Log::recovery_point", || log.recovery_point());
    measure_value(group, "Log::high_watermark", || log.high_watermark());
    measure_value(group, "Log::last_stable_offset", || log.last_stable_offset());
    measure(group, "Log::set_high_watermark", || log.set_high_watermark(log.log_end_offset()));
    measure(group, "Log::raise_high_watermark", || log.raise_high_watermark(log.log_end_offset()));
    measure(group, "Log::segments", || log.segments());
    measure_value(group, "Log::stats", || log.stats());
    measure_value(group, "Log::recovery_report", || log.recovery_report());
    measure(group, "Log::update_config", || log.update_config(|config| config.index_interval_bytes(4096)));

    let reader = LazyCell::new(|| log.reader());
    measure_value(group, "Reader::log_start_offset", || reader.log_start_offset());
    measure_value(group, "Reader::log_end_offset", || reader.log_end_offset());
    measure_value(group, "Reader::synced_offset", || reader.synced_offset());
    measure(group, "Reader::segments", || reader.segments());
    measure_value(group, "Reader::recovery_report", || reader.recovery_report());
}
