//! Making records durable: by the call, for those who wait, and what there is to do in the background.

use std::cell::LazyCell;
use std::path::Path;
use std::sync::mpsc;

use kstore::{Offset, Record, Worker};

use super::{Group, VALUE, endless_log, measure, measure_prepared, time_of};

pub(super) fn all(group: &mut Group<'_>, dir: &Path) {
    let log = LazyCell::new(|| endless_log(&dir.join("synced"), |config| config));
    let append = || log.append(&[Record::value(&VALUE)]).expect("a log takes a record").next_offset();
    measure_prepared(group, "Log::sync, one record", append, |_| log.sync());
    measure_prepared(group, "Log::sync_to, one record", append, |end| log.sync_to(end));
    measure(group, "Log::sync_to, synced already", || log.sync_to(log.log_start_offset()));
    measure_prepared(group, "Log::on_synced, one record, until called", append, |end| {
        let (done, is_done) = mpsc::channel();
        log.on_synced(end, move |outcome| done.send(outcome).expect("somebody waits"))?;
        is_done.recv().expect("every callback is called")
    });
    let log = LazyCell::new(|| endless_log(&dir.join("caller"), |config| config.worker(Worker::Caller)));
    measure(group, "Log::run_once, nothing due", || log.run_once(time_of(Offset::ZERO)));
}
