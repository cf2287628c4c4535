//! The ways to write that the properties are asked of: each mode, and each policy that goes with it.
//!
//! Windows are laid by the append that asks for them, so that the mapped mode needs no thread. Whether it stores at all
//! is asked of the disk: a log may fall back on writes, and would then prove nothing about stores.

use crate::config::{LogConfig, SyncPolicy, WriteMode};
use crate::fs::sim::SimDisk;
use crate::log::Log;

pub(super) const WRITE_MODES: [WriteMode; 3] = [WriteMode::Write, WriteMode::Preallocated, WriteMode::Mapped];

const POLICIES: [SyncPolicy; 5] = [
    SyncPolicy::Never,
    SyncPolicy::Every { records: Some(3), bytes: None, interval_ms: None },
    SyncPolicy::Every { records: None, bytes: Some(250), interval_ms: None },
    // The clock stands still but for `Act::RunOnce`.
    SyncPolicy::Every { records: None, bytes: None, interval_ms: Some(5) },
    SyncPolicy::Always,
];

/// The policies that may be combined with a mode: an append that waits for the disk gains nothing by a map.
pub(super) fn policies(mode: WriteMode) -> impl Iterator<Item = SyncPolicy> {
    POLICIES.into_iter().filter(move |policy| mode != WriteMode::Mapped || *policy != SyncPolicy::Always)
}

/// The configuration in a mode, for logs without a thread. The first append of a segment finds no window yet, and asks for
/// the one that those behind it are stored into.
pub(super) fn in_mode(config: LogConfig, mode: WriteMode) -> LogConfig {
    config.write_mode(mode).windows_at_once(1 << 12)
}

/// The log is written as it was configured; through maps, so many appends were stored since the disk's counts began.
pub(super) fn expect_mode(disk: &SimDisk, log: &Log, mode: WriteMode, least_stores: u64) {
    assert_eq!((log.stats().write_mode, log.stats().not_mapped), (mode, None), "the mode that was asked for");
    let (stores, least) = (disk.stores(), if mode == WriteMode::Mapped { least_stores } else { 0 });
    assert!(stores >= least && (stores == 0 || mode == WriteMode::Mapped), "{stores} stores of {least}, {mode:?}");
}
