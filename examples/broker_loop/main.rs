//! What a broker does, in one process: producers send it encoded batches, a follower replicates them, and consumers
//! fetch what is replicated, over sockets.
//!
//! It shows four things. *A client's bytes*: a producer encodes with [`BatchBuilder::encode`], the broker appends with
//! [`Log::append_batch`], and nobody encodes anything again on the way to the consumers. *Once, however often it is
//! sent*: an append that names its offset ([`AppendOptions::expect_log_end`]) is refused where its batch is there
//! already, and so is what a replica has ([`Log::append_as_follower`]). *The high watermark*: consumers see a record
//! once the follower has it. *Waiting*: a fetch waits for bytes to be worth it ([`Reader::read_waiting`]), and its answer
//! goes to a socket that does not block ([`LogSlice::send_to_from`]).
//!
//! ```text
//! cargo run --release --example broker_loop -- /tmp/broker --records 100000 --producers 4 --consumers 3
//! ```
//!
//! It ends by itself, checks that every consumer and the follower got every record once and in order, and prints one
//! line of JSON. It may be killed at any moment; the next run goes on with what is there. Status 1 and a message say
//! what failed; a wrong call has status 2.
//!
//! [`BatchBuilder::encode`]: kstore::BatchBuilder::encode
//! [`AppendOptions::expect_log_end`]: kstore::AppendOptions::expect_log_end
//! [`Reader::read_waiting`]: kstore::Reader::read_waiting
//! [`LogSlice::send_to_from`]: kstore::LogSlice::send_to_from

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is a program that uses it")]

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::{ScopedJoinHandle, scope};

use clap::Parser;
use kstore::{Log, LogConfig, Offset};
use serde_json::{Value, json};

use fetch::{Role, Served};
use produce::{Produced, Producer};
use replica::Fetched;

mod fetch;
mod produce;
mod replica;

/// Small, so that answers end at segments too.
const SEGMENT_BYTES: u64 = 4 << 20;

/// Lets producers, a broker, a follower and consumers work at the same time.
#[derive(Parser)]
struct Arguments {
    /// Where the logs of all of them are; created if it is not there.
    dir: PathBuf,
    /// How many records to produce.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    records: u64,
    /// How many produce at the same time.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    producers: u64,
    /// How many consume at the same time, each of them everything.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(..=64))]
    consumers: u64,
}

/// Why the run came to nothing.
#[derive(Debug)]
enum Failure {
    Log(kstore::Error),
    Socket(std::io::Error),
    /// A log is not as it must be.
    Broken(String),
    /// Someone else failed, and says why.
    Abandoned,
}

/// What all threads know of each other.
#[derive(Default)]
struct Run {
    has_failed: AtomicBool,
    /// The first one; what comes of it is no news.
    failure: Mutex<Option<Failure>>,
    /// The log end once nobody produces any more, and 1.
    end_and_one: AtomicU64,
}

fn main() -> ExitCode {
    let summary = match run(&Arguments::parse()) {
        Ok(summary) => summary,
        Err(failure) => {
            eprintln!("broker_loop: {failure}");
            return ExitCode::FAILURE;
        }
    };
    match writeln!(std::io::stdout(), "{summary}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("broker_loop: writing to standard output: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Value, Failure> {
    let open = |name: &str| open(&arguments.dir, name);
    let leader = open("leader")?;
    let follower = open("follower")?;
    let consumers = (1..=arguments.consumers).map(|number| open(&format!("consumer-{number}")));
    let consumers = consumers.collect::<Result<Vec<Log>, Failure>>()?;
    for replica in consumers.iter().chain([&follower]) {
        replica::cut_what_diverged(replica, &leader)?;
    }
    // Not stored by the log: what is replicated is what the follower has. Before anybody reads.
    leader.set_high_watermark(follower.log_end_offset())?;
    let epoch = leader.latest_leader_epoch().map_or(0, |latest| latest + 1);
    let counts = work(arguments, epoch, &leader, &follower, &consumers)?;

    let records: u64 = sequences(&leader)?.values().sum();
    for replica in consumers.iter().chain([&follower]) {
        let equal = replica::check_equal(replica, &leader)?;
        if equal != records {
            return Err(Failure::broken(replica, &format!("has {equal} records of {records}")));
        }
    }
    let watermark = leader.high_watermark().value();
    consumers.iter().chain([&leader, &follower]).try_for_each(Log::close)?;
    let (produced, served, fetched, replicated) = counts;
    Ok(json!({
        "records": records, "produced": arguments.records, "batches": produced.batches,
        "replicated": replicated.records, "consumed": fetched.records,
        "stale_appends_refused": produced.stale, "duplicate_appends_refused": produced.duplicates,
        "duplicate_fetches_refused": fetched.duplicates + replicated.duplicates,
        "answers": served.answers, "bytes_sent": served.bytes, "sends_resumed": served.resumed,
        "leader_epoch": epoch, "high_watermark": watermark,
    }))
}

fn open(dir: &Path, name: &str) -> Result<Log, Failure> {
    Ok(Log::open(dir.join(name), LogConfig::default().segment_bytes(SEGMENT_BYTES))?)
}

/// Lets everybody work until all records are everywhere.
fn work(
    arguments: &Arguments,
    epoch: i32,
    leader: &Log,
    follower: &Log,
    consumers: &[Log],
) -> Result<(Produced, Served, Fetched, Fetched), Failure> {
    let known = sequences(leader)?;
    let roles = consumers.iter().map(|consumer| (consumer, Role::Consumer)).chain([(follower, Role::Follower)]);
    let connected = roles.map(|(replica, role)| Ok((replica, role, UnixStream::pair()?)));
    let connected = connected.collect::<Result<Vec<_>, Failure>>()?;
    let run = &Run::default();
    let (requests, received) = channel();
    let counts = scope(|scope| {
        scope.spawn(move || produce::serve(leader, epoch, &received));
        let fetching: Vec<_> = connected
            .into_iter()
            .map(|(replica, role, (theirs, ours))| {
                let serving = scope.spawn(move || run.guarded(|| fetch::serve(leader, &ours, role)));
                (role, serving, scope.spawn(move || run.guarded(|| replica::follow(replica, &theirs, run))))
            })
            .collect();
        let producing: Vec<_> = (0..arguments.producers)
            .map(|id| {
                let first = known.get(&id).copied().unwrap_or(0);
                let extra = u64::from(id < arguments.records % arguments.producers);
                let share = arguments.records / arguments.producers + extra;
                let producer = Producer { id, requests: requests.clone(), reader: leader.reader(), run };
                scope.spawn(move || run.guarded(|| producer.work(first..first + share)))
            })
            .collect();
        // The broker ends when the last producer has.
        drop(requests);
        let produced = producing.into_iter().map(join).fold(Produced::default(), Produced::and);
        run.is_over(leader.log_end_offset());
        let (mut served, mut consumed, mut replicated) = Default::default();
        for (role, serving, fetching) in fetching {
            served = Served::and(served, join(serving));
            let fetched = if role == Role::Follower { &mut replicated } else { &mut consumed };
            *fetched = Fetched::and(*fetched, join(fetching));
        }
        (produced, served, consumed, replicated)
    });
    run.outcome().map(|()| counts)
}

/// A thread that panicked takes the program with it.
fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// How many records of each producer there are, all of them as they were sent and in order.
fn sequences(log: &Log) -> Result<BTreeMap<u64, u64>, Failure> {
    let mut known = BTreeMap::new();
    for record in log.records(..)? {
        let record = record?;
        let broken = || Failure::broken(log, &format!("has a record out of order at offset {}", record.offset()));
        let (producer, sequence) = record.value().and_then(produce::parse).ok_or_else(broken)?;
        let next = known.entry(producer).or_insert(0);
        if sequence != *next {
            return Err(broken());
        }
        *next += 1;
    }
    Ok(known)
}

impl Run {
    /// Does somebody's part. Should it fail, the others are told, and why is kept.
    fn guarded<T: Default>(&self, part: impl FnOnce() -> Result<T, Failure>) -> T {
        /// Tells the others, also when the part panics.
        struct Alarm<'a>(&'a Run);
        impl Drop for Alarm<'_> {
            fn drop(&mut self) {
                self.0.has_failed.store(true, Ordering::Release);
            }
        }
        let alarm = Alarm(self);
        match part() {
            Ok(done) => {
                std::mem::forget(alarm);
                done
            }
            Err(failure) => {
                self.failure.lock().expect("nobody panics with it").get_or_insert(failure);
                T::default()
            }
        }
    }

    fn check(&self) -> Result<(), Failure> {
        if self.has_failed.load(Ordering::Acquire) { Err(Failure::Abandoned) } else { Ok(()) }
    }

    fn is_over(&self, end: Offset) {
        self.end_and_one.store(end.value() + 1, Ordering::Release);
    }

    /// The log end, once it is final.
    fn end(&self) -> Option<Offset> {
        self.end_and_one.load(Ordering::Acquire).checked_sub(1).map(Offset::new)
    }

    fn outcome(&self) -> Result<(), Failure> {
        self.failure.lock().expect("nobody panics with it").take().map_or(Ok(()), Err)
    }
}

impl Failure {
    fn broken(log: &Log, what: &str) -> Failure {
        Failure::Broken(format!("{} {what}", log.dir().display()))
    }
}

impl From<kstore::Error> for Failure {
    fn from(error: kstore::Error) -> Failure {
        Failure::Log(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Socket(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Log(error) => error.fmt(f),
            Failure::Socket(error) => write!(f, "a connection within the process: {error}"),
            Failure::Broken(what) => f.write_str(what),
            Failure::Abandoned => f.write_str("ended, for another part had failed"),
        }
    }
}
