//! The work that both benches measure: each piece done by kstore, and by nothing but the system's calls.
//!
//! It says what is done and how much of it; how often, in which order and what is made of the figures is the business of
//! `engine.rs` and `ratios.rs`. The invariant it owns: the two sides of a piece of work move the same payload to or from
//! the same kind of file, and what is not part of the work (making files, filling them, deleting them) is not timed.

use std::error::Error;
use std::path::Path;

use kstore::WriteMode;

mod append;
mod cost;
mod durable;
mod lookup;
mod open;
mod place;
mod retention;
mod scan;
mod send;
#[allow(dead_code, reason = "only the bench of ratios asks this")]
mod wake;

pub(crate) use cost::Cost;
pub(crate) use place::Place;
#[allow(unused_imports, reason = "only the bench of ratios asks this")]
pub(crate) use wake::latencies;

/// Whatever went wrong; a bench has nobody to tell apart what.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A piece of work that can be done by either side, as often as one likes.
pub(crate) trait Work {
    /// How many records one round handles; for openings, how many openings.
    fn records(&self) -> u64;

    /// How many bytes one round moves, for work that is judged by bytes and not by records.
    fn sent_bytes(&self) -> Option<u64> {
        None
    }

    /// How many rounds are enough, for work that takes long to prepare.
    fn most_rounds(&self) -> usize {
        usize::MAX
    }

    /// A round of bare system calls.
    ///
    /// # Errors
    /// Of those calls.
    fn raw(&mut self) -> Outcome<Cost>;

    /// A round of kstore.
    ///
    /// # Errors
    /// Of kstore, and of the check that the round did what it should.
    fn kstore(&mut self) -> Outcome<Cost>;
}

/// How much work a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Some milliseconds: to see that all of it runs, and for a harness that repeats it often.
    Small,
    /// Long enough that rolls, faults and the background work fall into the round.
    Full,
}

impl Scale {
    /// One of two figures.
    fn pick<T>(self, small: T, full: T) -> T {
        match self {
            Scale::Small => small,
            Scale::Full => full,
        }
    }
}

/// One line of the table.
pub(crate) struct Row {
    /// A short name without blanks.
    pub(crate) name: &'static str,
    /// What kstore does.
    pub(crate) work: &'static str,
    /// What it is measured against.
    pub(crate) against: &'static str,
    make: fn(&Path, Scale) -> Outcome<Box<dyn Work>>,
}

impl Row {
    /// Makes the files that the work needs, in a folder that is the caller's to delete.
    ///
    /// # Errors
    /// If they cannot be made.
    pub(crate) fn prepare(&self, dir: &Path, scale: Scale) -> Outcome<Box<dyn Work>> {
        (self.make)(dir, scale)
    }
}

/// All work there is, in the order of the table.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "append_1",
        work: "append, one 100-byte record a call",
        against: "`write` of the payload",
        make: |dir, scale| Ok(Box::new(append::single(dir, 100, scale.pick(4_000, 200_000)))),
    },
    Row {
        name: "append_1_1k",
        work: "append, one 1 KiB record a call",
        against: "`write` of the payload",
        make: |dir, scale| Ok(Box::new(append::single(dir, 1 << 10, scale.pick(4_000, 100_000)))),
    },
    Row {
        name: "append_1_mapped",
        work: "append, one 100-byte record a call, `WriteMode::Mapped`",
        against: "`write` of the payload",
        make: |dir, scale| {
            Ok(Box::new(append::single(dir, 100, scale.pick(4_000, 1_000_000)).in_mode(WriteMode::Mapped)))
        },
    },
    Row {
        name: "append_1_1k_mapped",
        work: "append, one 1 KiB record a call, `WriteMode::Mapped`",
        against: "`write` of the payload",
        make: |dir, scale| {
            Ok(Box::new(append::single(dir, 1 << 10, scale.pick(4_000, 300_000)).in_mode(WriteMode::Mapped)))
        },
    },
    Row {
        name: "append_batch_16k",
        work: "append, 16 KiB batches of 100-byte records",
        against: "`write` and CRC-32C of the encoded bytes",
        make: |dir, scale| Ok(Box::new(append::batches(dir, 16 << 10, scale.pick(4 << 20, 128 << 20))?)),
    },
    Row {
        name: "append_batch_64k",
        work: "append, 64 KiB batches of 100-byte records",
        against: "`write` and CRC-32C of the encoded bytes",
        make: |dir, scale| Ok(Box::new(append::batches(dir, 64 << 10, scale.pick(4 << 20, 128 << 20))?)),
    },
    Row {
        name: "append_batch_1m",
        work: "append, 1 MiB batches of 100-byte records",
        against: "`write` and CRC-32C of the encoded bytes",
        make: |dir, scale| Ok(Box::new(append::batches(dir, 1 << 20, scale.pick(8 << 20, 128 << 20))?)),
    },
    Row {
        name: "durable_1",
        work: "durable append of 100 bytes, 1 thread",
        against: "`write` and `fdatasync` a record",
        make: |dir, scale| Ok(Box::new(durable::Durable::new(dir, 1, scale.pick(20, 200)))),
    },
    Row {
        name: "durable_8",
        work: "durable append of 100 bytes, 8 threads",
        against: "`write` and `fdatasync` a record, one file",
        make: |dir, scale| Ok(Box::new(durable::Durable::new(dir, 8, scale.pick(10, 100)))),
    },
    Row {
        name: "durable_64",
        work: "durable append of 100 bytes, 64 threads",
        against: "`write` and `fdatasync` a record, one file",
        make: |dir, scale| Ok(Box::new(durable::Durable::new(dir, 64, scale.pick(3, 50)))),
    },
    Row {
        name: "scan_records",
        work: "sequential read, `records()`, 64 KiB batches of 100 bytes",
        against: "`pread` of 1 MiB and CRC-32C",
        make: |dir, scale| Ok(Box::new(scan::Scan::new(dir, scale.pick(4 << 20, 128 << 20), scan::By::Records)?)),
    },
    Row {
        name: "scan_lent",
        work: "sequential read, `records()` by `next_ref`",
        against: "`pread` of 1 MiB and CRC-32C",
        make: |dir, scale| Ok(Box::new(scan::Scan::new(dir, scale.pick(4 << 20, 128 << 20), scan::By::Lent)?)),
    },
    Row {
        name: "scan_batches",
        work: "sequential read, `batches()` and their records",
        against: "`pread` of 1 MiB and CRC-32C",
        make: |dir, scale| Ok(Box::new(scan::Scan::new(dir, scale.pick(4 << 20, 128 << 20), scan::By::Batches)?)),
    },
    Row {
        name: "lookup",
        work: "random lookup by offset, one 1 KiB record a batch",
        against: "`pread` of that batch at a known place",
        make: |dir, scale| Ok(Box::new(lookup::Lookup::new(dir, scale.pick(4_000, 100_000), lookup::By::Offset)?)),
    },
    Row {
        name: "lookup_mapped",
        work: "the same in a sealed segment, `mapped_reads`",
        against: "`pread` of that batch at a known place",
        make: |dir, scale| {
            Ok(Box::new(lookup::Lookup::new(dir, scale.pick(4_000, 100_000), lookup::By::OffsetMapped)?))
        },
    },
    Row {
        name: "lookup_time",
        work: "random lookup by time, one 1 KiB record a batch",
        against: "`pread` of that batch at a known place",
        make: |dir, scale| Ok(Box::new(lookup::Lookup::new(dir, scale.pick(4_000, 100_000), lookup::By::Time)?)),
    },
    Row {
        name: "send_1m",
        work: "`send_to`, slices of 1 MiB",
        against: "a `sendfile` loop",
        make: |dir, scale| Ok(Box::new(send::Send::new(dir, 1 << 20, scale.pick(4, 128), send::Bare::Sendfile)?)),
    },
    Row {
        name: "send_16k",
        work: "`send_to`, slices of 16 KiB",
        against: "a `sendfile` loop",
        make: |dir, scale| Ok(Box::new(send::Send::new(dir, 16 << 10, scale.pick(256, 8192), send::Bare::Sendfile)?)),
    },
    Row {
        name: "send_16k_mapped",
        work: "the same out of a sealed segment, `mapped_reads`",
        against: "a `sendfile` loop",
        make: |dir, scale| {
            Ok(Box::new(send::Send::new(dir, 16 << 10, scale.pick(256, 8192), send::Bare::SendfileMapped)?))
        },
    },
    Row {
        name: "send_1m_copied",
        work: "`send_to`, slices of 1 MiB",
        against: "`pread` and `write` of the same bytes",
        make: |dir, scale| Ok(Box::new(send::Send::new(dir, 1 << 20, scale.pick(4, 128), send::Bare::Copy)?)),
    },
    Row {
        name: "send_16k_copied",
        work: "`send_to`, slices of 16 KiB",
        against: "`pread` and `write` of the same bytes",
        make: |dir, scale| Ok(Box::new(send::Send::new(dir, 16 << 10, scale.pick(256, 8192), send::Bare::Copy)?)),
    },
    Row {
        name: "reopen",
        work: "open after a clean close, 32 segments",
        against: "`open` and `fstat` of each `.log`",
        make: |dir, scale| Ok(Box::new(open::Reopen::new(dir, 32, scale.pick(5, 100))?)),
    },
    Row {
        name: "recover",
        work: "open after a crash, nothing of it synced",
        against: "`pread` of 1 MiB and CRC-32C",
        make: |dir, scale| Ok(Box::new(open::Recover::new(dir, scale.pick(4 << 20, 64 << 20))?)),
    },
    Row {
        name: "delete_all",
        work: "delete all segments of a log but the last, 10,000",
        against: "one `fdatasync`, and `rename` of each file",
        make: |dir, scale| Ok(Box::new(retention::DeleteAll::new(dir, scale.pick(100, 10_000))?)),
    },
    Row {
        name: "delete_none",
        work: "look for old segments among 10,000, none is",
        against: "`stat` of each `.log`",
        make: |dir, scale| Ok(Box::new(retention::FindNothing::new(dir, scale.pick(100, 10_000))?)),
    },
];
