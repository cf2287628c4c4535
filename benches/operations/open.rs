//! Opening and closing logs that were closed before; a crash's recovery is measured in `work`.

use std::cell::LazyCell;
use std::path::{Path, PathBuf};

use kstore::{Log, LogConfig, Record};

use super::{Group, VALUE, filled_log, measure, measure_prepared};

pub(super) fn all(group: &mut Group<'_>, dir: &Path) {
    let closed: LazyCell<PathBuf, _> = LazyCell::new(|| {
        let log = filled_log(&dir.join("closed"));
        log.close().expect("a log can be closed");
        log.dir().to_path_buf()
    });
    let open = || Log::open(&*closed, LogConfig::default());
    measure_prepared(group, "Log::open", || (), |()| open());
    measure(group, "Log::open_read_only", || Log::open_read_only(&*closed));
    let opened = || open().expect("a log can be opened");
    measure_prepared(group, "Log::close, as it was", opened, |log| log.close());
    let appended = || {
        let log = opened();
        log.append(&[Record::value(&VALUE)]).expect("a log takes a record");
        log
    };
    measure_prepared(group, "Log::close, after an append", appended, |log| log.close());
    let log = LazyCell::new(|| filled_log(&dir.join("sound")));
    measure(group, "Log::reopen, of a log that has not failed", || log.reopen());
    #[cfg(feature = "sim")]
    measure(group, "Log::in_memory", || Log::in_memory(LogConfig::default()));
}
