//! Readers that wait, where there is nothing to wait for; how long waking one takes is measured by `ratios`.

use std::cell::LazyCell;
use std::path::Path;
use std::time::Duration;

use kstore::Offset;

use super::{BATCHES, Group, RECORDS_OF_BATCH, filled_log, measure, measure_many, measure_value};

/// Longer than anything takes here.
const WAIT: Duration = Duration::from_secs(10);

pub(super) fn all(group: &mut Group<'_>, dir: &Path) {
    let log = LazyCell::new(|| filled_log(&dir.join("log")));
    let reader = LazyCell::new(|| log.reader());
    measure_value(group, "Log::tail", || log.tail(Offset::ZERO));
    measure_value(group, "Reader::tail", || reader.tail(Offset::ZERO));

    let records = BATCHES * RECORDS_OF_BATCH as u64;
    measure_many(group, "Tailer::next", records, || {
        let mut tailer = log.tail(Offset::ZERO);
        (0..records).try_for_each(|_| tailer.next().expect("it is there").map(drop))
    });
    measure_many(group, "Tailer::next_timeout", records, || {
        let mut tailer = log.tail(Offset::ZERO);
        (0..records).try_for_each(|_| tailer.next_timeout(WAIT).map(|record| drop(record.expect("it is there"))))
    });
    measure(group, "Tailer::next_timeout, nothing there and no time", || {
        let mut tailer = log.tail(log.log_end_offset());
        tailer.next_timeout(Duration::ZERO)
    });
    let tailer = LazyCell::new(|| log.tail(Offset::ZERO));
    measure_value(group, "Tailer::position", || tailer.position());
    measure_value(group, "Tailer::is_finished", || tailer.is_finished());
    measure_value(group, "Tailer::stop_handle", || tailer.stop_handle());
    measure_value(group, "StopHandle::stop", || tailer.stop_handle().stop());

    measure(group, "Reader::wait_for, there already", || reader.wait_for(Offset::new(1), WAIT));
    measure(group, "Reader::wait_for, no time", || reader.wait_for(Offset::new(1 << 40), Duration::ZERO));
    measure(group, "Reader::read_waiting, there already", || {
        reader.read_waiting(Offset::ZERO, 1, 64 << 10, u64::MAX, WAIT)
    });
}
