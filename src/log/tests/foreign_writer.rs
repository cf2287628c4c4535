//! Readers of a directory that another process writes to: what its writer appends, rolls, cuts and begins anew.

use std::path::Path;
use std::time::Duration;

use super::bench::{DIR, append, at, disk, opened, small};
use crate::fs::Env;
use crate::fs::sim::SimDisk;
use crate::log::{Log, Reader};
use crate::offset::Timestamp;
use crate::record::Record;

const NO_TIME: Duration = Duration::ZERO;

/// As another process has it.
fn read_only(disk: &SimDisk) -> Reader {
    Log::open_read_only_in(&Env::sim(disk), Path::new(DIR)).expect("a log")
}

fn timed(log: &Log, millis: i64) {
    log.append(&[Record::value("v").timestamp(Timestamp::from_millis(millis))]).expect("there is room");
}

// Story: a reader of another process's log asked for a time, which taught it the bound of the last segment; what the
// writer appended there later did not raise the bound, and was passed over by every question about times.
#[test]
fn what_another_process_appended_is_found_by_its_time() {
    let disk = disk();
    let log = opened(&disk, small().segment_bytes(1 << 20));
    timed(&log, 10);
    let reader = read_only(&disk);
    let found = |offset, millis| Some((at(offset), Timestamp::from_millis(millis)));
    assert_eq!(reader.max_timestamp().expect("readable"), found(0, 10));
    timed(&log, 20);
    assert!(reader.wait_for(at(2), NO_TIME).expect("readable"));
    assert_eq!(reader.offset_for_timestamp(Timestamp::from_millis(15)).expect("readable"), found(1, 20));
    assert_eq!(reader.max_timestamp().expect("readable"), found(1, 20));
}
