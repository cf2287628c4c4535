//! What must hold after each crash and recovery, and where each of it is asserted.
//!
//! | property | asserted by |
//! |---|---|
//! | 1. what was said to be durable is there, and behind it a prefix of what was handed in | `Expected::check_recovered` |
//! | 2. nothing torn, invented or stale is seen; offsets follow each other | `Expected::check_content` |
//! | 3. nothing that was truncated or deleted comes back | `Expected::check_recovered`: the bounds, and the content by offset |
//! | 4. the indexes agree with the log, with a linear scan, and with indexes made from nothing | [`indexes::agree`] |
//! | 5. no strays; a second opening changes nothing; openings read what was not synced, and little else | [`opening`] |
//! | 6. no acknowledgement after a failure, until the log was reopened | `World::judge`, `World::recover_in_place`; `callbacks` |
//! | 7. damage below the mark is an error or the right bytes, and never a shorter log | `rot` |
//! | 8. a full disk can be read and deleted from, and the log goes on when there is room | `World::perform`, `faults`, `room` |
//! | 9. what readers hold stays whole | `Held::check`, after every step and in `exhaustive` at every call |
//! | 10. once faults have stopped, an append succeeds and is durable | [`goes_on`] |
//!
//! [`after_recovery`] has 4, 5 and 10; the model, the exhaustive sequences and the faults call it for every state of the
//! disk that they come by. It looks at copies of the disk and leaves the log alone.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::bench::DIR;
use crate::config::LogConfig;
use crate::error::{Error, Result};
use crate::fs::Env;
use crate::fs::sim::{CrashStrength, Rates, SimDisk};
use crate::log::{AppendOptions, Log};
use crate::record::Record;

pub(super) mod indexes;
pub(super) mod opening;

pub(super) use opening::Mark;

/// More attempts than files that may each report a failure of their own.
const ATTEMPTS: usize = 12;

/// Crash states that this process has recovered from and judged.
static STATES: AtomicU64 = AtomicU64::new(0);

/// One more crash state was judged.
pub(super) fn count_state() {
    STATES.fetch_add(1, Ordering::Relaxed);
}

/// Says what a test went through where it is seen when the test passes, too: what is printed is not.
pub(super) fn figures(line: &str) {
    let sum = STATES.load(Ordering::Relaxed);
    let said = format!("\nfigures: {line} ({sum} crash states in this process so far)\n");
    std::io::stderr().write_all(said.as_bytes()).expect("standard error");
}

/// Properties 4, 5 and 10, of a log that has just been opened on a healthy disk.
pub(super) fn after_recovery(disk: &SimDisk, log: &Log, config: &LogConfig) {
    opening::leaves_no_strays(disk, log);
    opening::is_idempotent(disk, config);
    indexes::agree(disk, log, config);
    goes_on(disk, config);
}

/// Property 10: one more record is accepted, and a power cut that keeps nothing unsynced does not take it.
fn goes_on(disk: &SimDisk, config: &LogConfig) {
    let twin = twin(disk);
    let log = open_at_last(&twin, config).expect("what was recovered opens again");
    let append = || log.append_with(&AppendOptions::default().sync(true), &[Record::value("on")]);
    let mut appended = append();
    for _ in 0..ATTEMPTS {
        // What the system lost before is told now, once for each file.
        if !matches!(appended, Err(Error::Failed { .. })) {
            break;
        }
        appended = log.reopen().and_then(|()| append());
    }
    let appended = match appended {
        Err(Error::LogFull { .. }) => return twin.power_off(),
        appended => appended.expect("a recovered log takes appends"),
    };
    let cut = twin.crash_keeping(CrashStrength::Strict, |_, _| 0);
    drop(log);
    let log = open(&cut, config).expect("a log opens after a power cut");
    assert_eq!(log.log_end_offset(), appended.next_offset(), "what was appended durably is there");
    let last = log.records(appended.base_offset()..).expect("in the log").next().expect("a record");
    assert_eq!(last.expect("readable").value(), Some(&b"on"[..]));
    cut.power_off();
}

/// The same disk for another process: what is done to it leaves the first one alone.
pub(super) fn twin(disk: &SimDisk) -> SimDisk {
    let twin = disk.image(CrashStrength::Kill, |_, options| options - 1);
    twin.set_rates(Rates::default());
    twin
}

/// Opens a log on a healthy disk: each file that lost something in the background says so once, at its next sync.
pub(super) fn open_at_last(disk: &SimDisk, config: &LogConfig) -> Result<Log> {
    (0..ATTEMPTS).find_map(|_| open(disk, config).ok()).map_or_else(|| open(disk, config), Ok)
}

pub(super) fn open(disk: &SimDisk, config: &LogConfig) -> Result<Log> {
    Log::open_in(&Env::sim(disk), Path::new(DIR), config.clone())
}

/// Every file in the log's directory and in that of its cursors, but for the states.
pub(super) fn files(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for dir in ["", crate::names::CURSORS] {
        let folder = Path::new(DIR).join(dir);
        for name in disk.list(&folder) {
            let name = name.into_string().expect("a plain name");
            if let (true, Some(content)) = (name != crate::names::STATE, disk.read_file(folder.join(&name))) {
                files.insert(Path::new(dir).join(name).to_string_lossy().into_owned(), content);
            }
        }
    }
    files
}
