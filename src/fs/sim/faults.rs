//! What the simulated system does to calls: counts them, writes them down, lets some fail.
//!
//! It decides before a call has any effect and knows nothing of files. The invariant it owns: a fault strikes exactly
//! the call that the test named, counted from the moment the fault was set.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::random::Random;

/// The seam's calls that reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CallKind {
    Open,
    List,
    Metadata,
    CreateDir,
    Rename,
    RemoveFile,
    SyncDir,
    Canonicalize,
    TryLock,
    IsLocked,
    FreeSpace,
    FileSystem,
    Spawn,
    WriteAt,
    WriteVectoredAt,
    ReadAt,
    Len,
    Modified,
    Allocate,
    SetLen,
    SyncData,
    SendTo,
    MapRead,
    MapWindow,
    PopulateWindow,
    SharesBlocks,
}

impl CallKind {
    /// Every kind, for tests that strike each in turn.
    pub(crate) const ALL: [CallKind; 26] = [
        CallKind::Open,
        CallKind::List,
        CallKind::Metadata,
        CallKind::CreateDir,
        CallKind::Rename,
        CallKind::RemoveFile,
        CallKind::SyncDir,
        CallKind::Canonicalize,
        CallKind::TryLock,
        CallKind::IsLocked,
        CallKind::FreeSpace,
        CallKind::FileSystem,
        CallKind::Spawn,
        CallKind::WriteAt,
        CallKind::WriteVectoredAt,
        CallKind::ReadAt,
        CallKind::Len,
        CallKind::Modified,
        CallKind::Allocate,
        CallKind::SetLen,
        CallKind::SyncData,
        CallKind::SendTo,
        CallKind::MapRead,
        CallKind::MapWindow,
        CallKind::PopulateWindow,
        CallKind::SharesBlocks,
    ];

    /// Whether the call can change the disk or what of it is durable.
    pub(crate) fn is_change(self) -> bool {
        match self {
            CallKind::Open
            | CallKind::CreateDir
            | CallKind::Rename
            | CallKind::RemoveFile
            | CallKind::SyncDir
            | CallKind::TryLock
            | CallKind::WriteAt
            | CallKind::WriteVectoredAt
            | CallKind::Allocate
            | CallKind::SetLen
            | CallKind::SyncData => true,
            CallKind::List
            | CallKind::Metadata
            | CallKind::Canonicalize
            | CallKind::IsLocked
            | CallKind::FreeSpace
            | CallKind::FileSystem
            | CallKind::Spawn
            | CallKind::ReadAt
            | CallKind::Len
            | CallKind::Modified
            | CallKind::SendTo
            | CallKind::MapRead
            | CallKind::MapWindow
            | CallKind::PopulateWindow
            | CallKind::SharesBlocks => false,
        }
    }

    /// Whether the call moves bytes, so that it may move fewer than asked.
    fn is_transfer(self) -> bool {
        matches!(self, CallKind::WriteAt | CallKind::WriteVectoredAt | CallKind::ReadAt | CallKind::SendTo)
    }

    /// Whether a signal can interrupt the call on a local disk. Syncs are left to faults that a test sets.
    fn is_interruptible(self) -> bool {
        self.is_transfer() || self == CallKind::Allocate
    }
}

/// What a struck call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// EIO.
    InputOutput,
    /// ENOSPC.
    NoSpace,
    /// EINTR.
    Interrupted,
    /// EOPNOTSUPP: this file system has no such thing.
    Unsupported,
    /// EMFILE: this process has too many descriptors.
    TooManyOpen,
    /// ENFILE: the whole system has.
    TooManyOpenInSystem,
    /// A transfer moves some of its bytes, but not all; any other call is not touched.
    Short,
}

/// One planned failure.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// The call to strike.
    pub(crate) call: CallKind,
    /// Which of them, from 1, counted from now on.
    pub(crate) nth: u64,
    /// The answer.
    pub(crate) kind: FaultKind,
    /// Whether every later one is struck as well, until the disk is healed.
    pub(crate) sticky: bool,
    /// Only calls on paths that end so (`.log`) count and are struck.
    pub(crate) path_ends_with: Option<&'static str>,
}

impl Fault {
    /// Strikes the nth call from now, once.
    pub(crate) fn once(call: CallKind, nth: u64, kind: FaultKind) -> Fault {
        assert!(nth > 0, "calls are counted from 1");
        Fault { call, nth, kind, sticky: false, path_ends_with: None }
    }

    /// Strikes every call from the nth on.
    pub(crate) fn from(call: CallKind, nth: u64, kind: FaultKind) -> Fault {
        assert!(kind != FaultKind::Interrupted, "a call that is interrupted for ever is repeated for ever");
        Fault { sticky: true, ..Fault::once(call, nth, kind) }
    }

    /// Looks only at calls on paths with this ending.
    pub(crate) fn on(self, path_ends_with: &'static str) -> Fault {
        Fault { path_ends_with: Some(path_ends_with), ..self }
    }
}

/// One call, as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceEntry {
    pub(crate) call: CallKind,
    pub(crate) path: PathBuf,
    /// Where in the file; the new length of a `set_len`; 0 where a call has none.
    pub(crate) position: u64,
    /// How many bytes were asked for; 0 where a call has none.
    pub(crate) len: u64,
}

/// How a call that is not refused goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Whole,
    /// At most this many bytes.
    AtMost(usize),
}

impl Verdict {
    pub(super) fn limit(self, len: usize) -> usize {
        match self {
            Verdict::Whole => len,
            Verdict::AtMost(most) => len.min(most),
        }
    }
}

#[derive(Clone, Debug)]
struct Armed {
    fault: Fault,
    seen: u64,
}

/// The counters, the trace and the faults of one disk.
#[derive(Debug)]
pub(super) struct Monitor {
    calls: [u64; CallKind::ALL.len()],
    trace: Option<Vec<TraceEntry>>,
    armed: Vec<Armed>,
    pub(super) rates: Rates,
    random: Random,
}

/// How often transfers are cut short or interrupted without being asked for, in a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) short_per_mille: u64,
    pub(crate) interrupted_per_mille: u64,
}

impl Monitor {
    pub(super) fn new(rates: Rates, random: Random) -> Monitor {
        Monitor { calls: [0; CallKind::ALL.len()], trace: None, armed: Vec::new(), rates, random }
    }

    pub(super) fn calls(&self, call: CallKind) -> u64 {
        self.calls[slot(call)]
    }

    pub(super) fn reset_counters(&mut self) {
        self.calls = [0; CallKind::ALL.len()];
        if let Some(trace) = &mut self.trace {
            trace.clear();
        }
    }

    pub(super) fn set_tracing(&mut self, on: bool) {
        self.trace = on.then(Vec::new);
    }

    pub(super) fn is_tracing(&self) -> bool {
        self.trace.is_some()
    }

    pub(super) fn trace(&self) -> Vec<TraceEntry> {
        self.trace.clone().expect("the trace of this disk is switched off")
    }

    pub(super) fn arm(&mut self, fault: Fault) {
        self.armed.push(Armed { fault, seen: 0 });
    }

    pub(super) fn disarm(&mut self) {
        self.armed.clear();
    }

    /// Whether the next call must come with its path: building one costs more than most calls.
    pub(super) fn wants_path(&self) -> bool {
        self.trace.is_some() || !self.armed.is_empty()
    }

    /// Counts a call and says how it goes on. The path is empty unless [`Monitor::wants_path`].
    pub(super) fn admit(&mut self, call: CallKind, path: &Path, position: u64, len: u64) -> io::Result<Verdict> {
        self.calls[slot(call)] += 1;
        if let Some(trace) = &mut self.trace {
            trace.push(TraceEntry { call, path: path.to_owned(), position, len });
        }
        match self.strike(call, path) {
            Some(FaultKind::Short) => Ok(self.shorten(call, len)),
            Some(kind) => Err(answer(kind).into()),
            None => self.mishap(call, len),
        }
    }

    /// Every armed fault counts the call, also when another one strikes it.
    fn strike(&mut self, call: CallKind, path: &Path) -> Option<FaultKind> {
        let mut struck = None;
        for armed in &mut self.armed {
            let fault = &armed.fault;
            let ending_fits = fault
                .path_ends_with
                .is_none_or(|ending| path.as_os_str().as_encoded_bytes().ends_with(ending.as_bytes()));
            if fault.call == call && ending_fits {
                armed.seen += 1;
                if armed.seen == fault.nth || (fault.sticky && armed.seen > fault.nth) {
                    struck = struck.or(Some(fault.kind));
                }
            }
        }
        struck
    }

    fn mishap(&mut self, call: CallKind, len: u64) -> io::Result<Verdict> {
        if call.is_interruptible() && self.random.per_mille(self.rates.interrupted_per_mille) {
            return Err(Errno::EINTR.into());
        }
        if call.is_transfer() && self.random.per_mille(self.rates.short_per_mille) {
            return Ok(self.shorten(call, len));
        }
        Ok(Verdict::Whole)
    }

    fn shorten(&mut self, call: CallKind, len: u64) -> Verdict {
        if !call.is_transfer() || len < 2 {
            return Verdict::Whole;
        }
        let most = 1 + self.random.below(len - 1);
        Verdict::AtMost(usize::try_from(most).expect("less than a length in memory"))
    }
}

/// A kind's place among the counters: `ALL` lists the kinds in the order of their declaration.
pub(super) const fn slot(call: CallKind) -> usize {
    call as usize
}

fn answer(kind: FaultKind) -> Errno {
    match kind {
        FaultKind::InputOutput => Errno::EIO,
        FaultKind::NoSpace => Errno::ENOSPC,
        FaultKind::Interrupted => Errno::EINTR,
        FaultKind::Unsupported => Errno::EOPNOTSUPP,
        FaultKind::TooManyOpen => Errno::EMFILE,
        FaultKind::TooManyOpenInSystem => Errno::ENFILE,
        FaultKind::Short => unreachable!("a short transfer is no error"),
    }
}
