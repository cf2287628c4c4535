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
    /// One bit of what a read gives or a write takes is another; any other call is not touched.
    FlippedBit,
}

impl FaultKind {
    /// Every kind, for tests that strike with each in turn.
    pub(crate) const ALL: [FaultKind; 8] = [
        FaultKind::InputOutput,
        FaultKind::NoSpace,
        FaultKind::Interrupted,
        FaultKind::Unsupported,
        FaultKind::TooManyOpen,
        FaultKind::TooManyOpenInSystem,
        FaultKind::Short,
        FaultKind::FlippedBit,
    ];
}

/// One planned failure.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// The calls to count and strike, or none for calls of any kind.
    pub(crate) call: Option<CallKind>,
    /// Which of them, from 1, counted from now on.
    pub(crate) nth: u64,
    /// The answer.
    pub(crate) kind: FaultKind,
    /// How many in a row are struck, the nth being the first; then the disk is well again by itself.
    pub(crate) times: u64,
    /// Only calls on paths that end so (`.log`) count and are struck.
    pub(crate) path_ends_with: Option<&'static str>,
}

impl Fault {
    /// Strikes the nth call from now, once.
    pub(crate) fn once(call: CallKind, nth: u64, kind: FaultKind) -> Fault {
        assert!(nth > 0, "calls are counted from 1");
        Fault { call: Some(call), nth, kind, times: 1, path_ends_with: None }
    }

    /// Strikes every call from the nth on, until the disk is healed.
    pub(crate) fn from(call: CallKind, nth: u64, kind: FaultKind) -> Fault {
        assert!(kind != FaultKind::Interrupted, "a call that is interrupted for ever is repeated for ever");
        Fault::once(call, nth, kind).times(u64::MAX)
    }

    /// Counts and strikes calls of every kind.
    pub(crate) fn of_any_call(self) -> Fault {
        Fault { call: None, ..self }
    }

    /// Strikes so many calls in a row.
    pub(crate) fn times(self, times: u64) -> Fault {
        assert!(times > 0, "a fault that strikes nothing");
        Fault { times, ..self }
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
    /// Where a rename leads.
    pub(crate) to: Option<PathBuf>,
    /// Where in the file; the new length of a `set_len`; 0 where a call has none.
    pub(crate) position: u64,
    /// How many bytes were asked for; 0 where a call has none.
    pub(crate) len: u64,
    /// Whether a fault struck it, so that it had no effect.
    pub(crate) refused: bool,
}

/// How a call that is not refused goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Whole,
    /// At most this many bytes.
    AtMost(usize),
    /// With one bit flipped, of this number or what is left of it.
    Flipped(u64),
}

impl Verdict {
    pub(super) fn limit(self, len: usize) -> usize {
        match self {
            Verdict::Whole | Verdict::Flipped(_) => len,
            Verdict::AtMost(most) => len.min(most),
        }
    }

    pub(super) fn flip(self, bytes: &mut [u8]) {
        if let (Verdict::Flipped(number), false) = (self, bytes.is_empty()) {
            let bits = u64::try_from(bytes.len()).expect("a length in memory fits 64 bits") * 8;
            let bit = number % bits;
            bytes[usize::try_from(bit / 8).expect("less than a length in memory")] ^= 1 << (bit % 8);
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

    pub(super) fn all_calls(&self) -> u64 {
        self.calls.iter().sum()
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
            trace.push(TraceEntry { call, path: path.to_owned(), to: None, position, len, refused: false });
        }
        let verdict = match self.strike(call, path) {
            Some(FaultKind::Short) => Ok(self.shorten(call, len)),
            Some(FaultKind::FlippedBit) if call.is_transfer() => Ok(Verdict::Flipped(self.random.next())),
            Some(FaultKind::FlippedBit) => Ok(Verdict::Whole),
            Some(kind) => Err(answer(kind).into()),
            None => self.mishap(call, len),
        };
        if let Some(entry) = self.trace.as_mut().and_then(|trace| trace.last_mut()) {
            entry.refused = verdict.is_err();
        }
        verdict
    }

    /// The last call was a rename to this path.
    pub(super) fn note_target(&mut self, to: &Path) {
        if let Some(entry) = self.trace.as_mut().and_then(|trace| trace.last_mut()) {
            entry.to = Some(super::state::normal(to));
        }
    }

    pub(super) fn draw_below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    /// Every armed fault counts the call, also when another one strikes it.
    fn strike(&mut self, call: CallKind, path: &Path) -> Option<FaultKind> {
        let mut struck = None;
        for armed in &mut self.armed {
            let fault = &armed.fault;
            let ending_fits = fault
                .path_ends_with
                .is_none_or(|ending| path.as_os_str().as_encoded_bytes().ends_with(ending.as_bytes()));
            if fault.call.is_none_or(|struck| struck == call) && ending_fits {
                armed.seen += 1;
                if armed.seen >= fault.nth && armed.seen - fault.nth < fault.times {
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
        FaultKind::Short | FaultKind::FlippedBit => unreachable!("a transfer that goes wrong is no error"),
    }
}
