//! Finding an offset: by time, by the largest time, by leader epoch.

use std::cell::LazyCell;
use std::path::Path;

use kstore::{AppendOptions, Log, LogConfig, Offset, Record};

use super::{Group, VALUE, filled_log, measure, measure_value, time_of};

/// The leader epochs of a log, of two records each.
const EPOCHS: i32 = 100;

pub(super) fn all(group: &mut Group<'_>, dir: &Path) {
    let log = LazyCell::new(|| filled_log(&dir.join("log")));
    let reader = LazyCell::new(|| log.reader());
    let time = time_of(Offset::new(5_000));
    measure(group, "Log::offset_for_timestamp", || log.offset_for_timestamp(time));
    measure(group, "Reader::offset_for_timestamp", || reader.offset_for_timestamp(time));
    measure(group, "Log::max_timestamp", || log.max_timestamp());
    measure(group, "Reader::max_timestamp", || reader.max_timestamp());

    let log = LazyCell::new(|| log_of_epochs(&dir.join("epochs")));
    let reader = LazyCell::new(|| log.reader());
    let (offset, epoch) = (Offset::new(101), EPOCHS / 2);
    measure_value(group, "Log::latest_leader_epoch", || log.latest_leader_epoch());
    measure_value(group, "Log::epoch_for_offset", || log.epoch_for_offset(offset));
    measure_value(group, "Log::end_offset_for_epoch", || log.end_offset_for_epoch(epoch));
    measure_value(group, "Log::leader_epochs, 100", || log.leader_epochs());
    measure_value(group, "Reader::latest_leader_epoch", || reader.latest_leader_epoch());
    measure_value(group, "Reader::epoch_for_offset", || reader.epoch_for_offset(offset));
    measure_value(group, "Reader::end_offset_for_epoch", || reader.end_offset_for_epoch(epoch));
    measure_value(group, "Reader::leader_epochs, 100", || reader.leader_epochs());
}

fn log_of_epochs(dir: &Path) -> Log {
    let log = Log::open(dir, LogConfig::default()).expect("a log can be opened");
    let records = [Record::value(&VALUE), Record::value(&VALUE)];
    for epoch in 0..EPOCHS {
        log.append_with(&AppendOptions::default().leader_epoch(epoch), &records).expect("a log takes records");
    }
    log
}
