//! The simulated disk as users' tests see it: logs that lose their power, their process, their room or a sync.
//!
//! It only opens the door to `fs::sim`, where all of it happens and is tested. The invariant it owns: what a user can do to
//! such a disk, a real one can do to him.

use std::path::Path;
use std::time::Duration;

use crate::config::LogConfig;
use crate::error::{Error, IoOp, Result};
use crate::fs::sim::{CallKind, CrashStrength, Fault, FaultKind, SimDisk};
use crate::fs::{EntryKind, Env, OpenMode, write_all_at};
use crate::offset::Position;

use super::{Log, Reader};

/// A disk in memory, with a page cache that a power cut takes: for tests of what a program does after a crash, on a full
/// disk, and behind a sync that failed.
///
/// Everything is drawn from a seed, which a failing test prints. Time stands still on it but for [`SimulatedDisk::advance`],
/// so an interval passes when the test says so. Clones are handles to the same disk.
///
/// ```
/// use kstore::{LogConfig, Record, SimulatedDisk};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// for seed in 0..20 {
///     let disk = SimulatedDisk::new(seed);
///     let log = disk.open("/orders-0", LogConfig::default())?;
///     log.append(&[Record::value("durable")])?;
///     let durable = log.sync()?;
///     log.append(&[Record::value("perhaps")])?;
///
///     let after = disk.cut_power();
///     let recovered = after.open("/orders-0", LogConfig::default())?;
///     assert!(recovered.log_end_offset() >= durable);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    disk: SimDisk,
}

impl SimulatedDisk {
    /// An empty disk with as much room as is asked for.
    #[must_use]
    pub fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk { disk: SimDisk::new(seed) }
    }

    /// As [`Log::open`], on this disk.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open(&self, dir: impl AsRef<Path>, config: LogConfig) -> Result<Log> {
        Log::open_in(&self.env(), dir.as_ref(), config)
    }

    /// As [`Log::open_read_only`], on this disk.
    ///
    /// # Errors
    /// As [`Log::open_read_only`].
    pub fn open_read_only(&self, dir: impl AsRef<Path>) -> Result<Reader> {
        Log::open_read_only_in(&self.env(), dir.as_ref())
    }

    /// Cuts the power, and gives the disk as the machine finds it again. What was not synced is there or not, in any
    /// combination of 512-byte sectors, lengths and names, as the seed says. This disk refuses every call from now on.
    #[must_use]
    pub fn cut_power(&self) -> SimulatedDisk {
        SimulatedDisk { disk: self.disk.crash(CrashStrength::Strict) }
    }

    /// Ends every process that has this disk, as `kill -9` does: the page cache stays. This disk refuses every call from
    /// now on.
    #[must_use]
    pub fn kill(&self) -> SimulatedDisk {
        SimulatedDisk { disk: self.disk.crash(CrashStrength::Kill) }
    }

    /// Leaves room for so many more bytes.
    pub fn set_free_space(&self, bytes: u64) {
        self.disk.set_free_space(bytes);
    }

    /// Fails the next sync of a file whose name ends so (`.log`, or nothing for any) with an input/output error. What it
    /// should have made durable stays visible, and is gone at the next power cut.
    pub fn fail_next_sync(&self, name_ends_with: &'static str) {
        self.disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput).on(name_ends_with));
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&self, time: Duration) {
        self.disk.advance(time);
    }

    /// Copies a directory and what is below it, as every process sees it, to a real directory that is not there yet.
    ///
    /// # Errors
    /// `Io` and `StorageFull` from the real disk.
    pub fn copy_to(&self, dir: impl AsRef<Path>, real: impl AsRef<Path>) -> Result<()> {
        self.copy_folder(dir.as_ref(), real.as_ref())
    }

    fn copy_folder(&self, from: &Path, to: &Path) -> Result<()> {
        let real = Env::real();
        real.create_dir(to).map_err(|error| Error::io(IoOp::CreateDirectory, to, &error))?;
        let entries = self.env().list(from).map_err(|error| Error::io(IoOp::List, from, &error))?;
        for entry in entries {
            let (source, target) = (from.join(&entry.name), to.join(&entry.name));
            if entry.kind == EntryKind::Directory {
                self.copy_folder(&source, &target)?;
            } else {
                let bytes = self.disk.read_file(&source).unwrap_or_default();
                let file = real.open(&target, OpenMode::CreateNew);
                let file = file.map_err(|error| Error::io(IoOp::Open, &target, &error))?;
                write_all_at(&file, &bytes, Position::ZERO)
                    .map_err(|partial| Error::io(IoOp::Write, &target, &partial.error))?;
            }
        }
        Ok(())
    }

    fn env(&self) -> Env {
        Env::sim(&self.disk)
    }
}
