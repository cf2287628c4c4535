//! What a piece of work cost: time on the wall, time of processors, calls that read or write.
//!
//! Processor time and calls are the whole process's, so that what kstore leaves to its worker thread is counted.
//! `fdatasync` and `open` are not among the calls, because the system counts only those that move bytes.

use std::fs::File;
use std::io::Read;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::Outcome;

/// The cost of one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Time on the wall.
    pub(crate) wall: Duration,
    /// Time of processors, user and system, all threads.
    pub(crate) cpu: Duration,
    /// Calls that read or write, `sendfile` being one of each; `None` where the system does not count them.
    pub(crate) calls: Option<u64>,
}

impl Cost {
    /// Does something once, and says what it cost.
    ///
    /// # Errors
    /// Of the work.
    pub(crate) fn of<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(Cost, T)> {
        let calls = counted_calls();
        let cpu = processor_time()?;
        let begin = Instant::now();
        let done = work()?;
        let wall = begin.elapsed();
        let cpu = processor_time()?.saturating_sub(cpu);
        let calls = calls.zip(counted_calls()).map(|(before, after)| (after - before).saturating_sub(CALLS_TO_COUNT));
        Ok((Cost { wall, cpu, calls }, done))
    }
}

impl Default for Cost {
    fn default() -> Cost {
        Cost { wall: Duration::ZERO, cpu: Duration::ZERO, calls: Some(0) }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, more: Cost) {
        self.wall += more.wall;
        self.cpu += more.cpu;
        self.calls = self.calls.zip(more.calls).map(|(one, other)| one + other);
    }
}

/// Reading the counters is a read itself, which the next reading of them sees.
const CALLS_TO_COUNT: u64 = 1;
/// The counters are seven short lines.
const COUNTERS_BYTES: usize = 512;

fn counted_calls() -> Option<u64> {
    let mut buffer = [0; COUNTERS_BYTES];
    let read = File::open("/proc/self/io").and_then(|mut counters| counters.read(&mut buffer)).ok()?;
    let text = std::str::from_utf8(buffer.get(..read)?).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    Some(field("syscr:")? + field("syscw:")?)
}

fn processor_time() -> Outcome<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}
