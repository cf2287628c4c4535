//! Named cursors: committing them, asking them, forgetting them.

use std::cell::LazyCell;
use std::path::Path;

use kstore::{Log, NamedCursor, Offset, OnReset, ReadUpTo};

use super::{Group, filled_log, measure, measure_prepared, measure_value, time_of};

/// Cursors of a log.
const CURSORS: usize = 100;
/// Where they stand.
const AT: Offset = Offset::new(5_000);

pub(super) fn all(group: &mut Group<'_>, dir: &Path) {
    let log = LazyCell::new(|| log_with_cursors(&dir.join("log")));
    measure(group, "Log::cursor", || log.cursor("consumer-7"));
    measure(group, "Log::cursors, 100", || log.cursors());
    let committed = || cursor(&log, "short-lived").commit(AT).expect("a cursor can be committed");
    measure_prepared(group, "Log::delete_cursor", committed, |()| log.delete_cursor("short-lived"));

    let cursor = LazyCell::new(|| cursor(&log, "consumer-7"));
    measure_value(group, "NamedCursor::on_reset", || cursor.clone().on_reset(OnReset::Latest));
    measure_value(group, "NamedCursor::up_to", || cursor.clone().up_to(ReadUpTo::Synced));
    measure(group, "NamedCursor::committed", || cursor.committed());
    measure(group, "NamedCursor::metadata", || cursor.metadata());
    measure(group, "NamedCursor::position", || cursor.position());
    measure(group, "NamedCursor::lag", || cursor.lag());
    measure(group, "NamedCursor::records, the first", || cursor.records()?.next().expect("it is there"));
    measure(group, "NamedCursor::commit", || cursor.commit(AT));
    measure(group, "NamedCursor::commit_with_metadata", || cursor.commit_with_metadata(AT, b"twenty bytes of mine"));
    measure(group, "NamedCursor::commit_durably", || cursor.commit_durably(AT));
    measure(group, "NamedCursor::reset_to_earliest", || cursor.reset_to_earliest());
    measure(group, "NamedCursor::reset_to_latest", || cursor.reset_to_latest());
    measure(group, "NamedCursor::reset_to_timestamp", || cursor.reset_to_timestamp(time_of(AT)));
}

fn log_with_cursors(dir: &Path) -> Log {
    let log = filled_log(dir);
    for number in 0..CURSORS {
        cursor(&log, &format!("consumer-{number}")).commit(AT).expect("a cursor can be committed");
    }
    log
}

fn cursor(log: &Log, name: &str) -> NamedCursor {
    log.cursor(name).expect("a good name")
}
