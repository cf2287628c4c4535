//! The lines that say what is promised, and the one place that decides whether an acknowledgement may be given.
//!
//! A promise belongs to an *era*, which each truncation and each reopening ends: what was appended in one may be gone in the
//! next, whatever a sync says by then. The invariant it owns: an `ACK` is given only in the era in which its append was
//! made, never while something is being truncated, and never for what is acknowledged already.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use kstore::Error;

/// Why a run, or a check, ends.
#[derive(Debug)]
pub(crate) enum Failure {
    Log(Error),
    /// The log gave something else than was written.
    Wrong {
        offset: u64,
        reason: String,
    },
    Thread(io::Error),
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Log(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

/// One line on standard output, by one `write`: it ends with its newline, and nothing is kept before it.
pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(format!("{line}\n").as_bytes())?;
    output.flush()
}

/// When an append was made, as far as promises go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Era(u64);

/// What is promised, shared by all threads.
#[derive(Debug)]
pub(crate) struct Lines {
    promises: Mutex<Promises>,
}

#[derive(Debug)]
struct Promises {
    era: u64,
    truncating: bool,
    /// One past what was acknowledged, and not cut off since.
    acknowledged: u64,
    acks: u64,
}

impl Lines {
    pub(crate) fn new() -> Lines {
        Lines { promises: Mutex::new(Promises { era: 0, truncating: false, acknowledged: 0, acks: 0 }) }
    }

    /// Taken before an append, and given back with its acknowledgement.
    pub(crate) fn era(&self) -> Era {
        Era(self.lock().era)
    }

    /// Whether what was appended in an era may have been cut off since.
    pub(crate) fn may_be_gone(&self, era: Era) -> bool {
        let promises = self.lock();
        promises.era != era.0 || promises.truncating
    }

    /// How many acknowledgements were given.
    pub(crate) fn acks(&self) -> u64 {
        self.lock().acks
    }

    /// Everything below `end` is durable, if nothing was cut off since `era`.
    pub(crate) fn ack(&self, era: Era, end: u64) -> io::Result<()> {
        let mut promises = self.lock();
        if promises.era != era.0 || promises.truncating || end <= promises.acknowledged {
            return Ok(());
        }
        promises.acknowledged = end;
        promises.acks += 1;
        say(&format!("ACK {}", end - 1))
    }

    pub(crate) fn trim(&self, start: u64) -> io::Result<()> {
        let promises = self.lock();
        let said = say(&format!("TRIM {start}"));
        drop(promises);
        said
    }

    pub(crate) fn truncating(&self, end: u64) -> io::Result<()> {
        let mut promises = self.lock();
        promises.era += 1;
        promises.truncating = true;
        promises.acknowledged = promises.acknowledged.min(end);
        say(&format!("TRUNC {end}"))
    }

    pub(crate) fn truncated(&self, end: u64) -> io::Result<()> {
        let mut promises = self.lock();
        promises.era += 1;
        promises.truncating = false;
        say(&format!("TRUNCATED {end}"))
    }

    /// Before the log is reopened: whoever asks for what is gone then, asks in vain.
    pub(crate) fn reopening(&self) {
        self.lock().era += 1;
    }

    pub(crate) fn reopened(&self) -> io::Result<()> {
        let mut promises = self.lock();
        promises.era += 1;
        say("REOPEN")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Promises> {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
