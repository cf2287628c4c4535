//! A black box to torture: it writes what can be checked and says what it promises, so that whoever kills it, fills its
//! disk or cuts its power can tell what must be there afterwards.
//!
//! ```text
//! cargo run --release --example workload -- run /tmp/tortured 1 --threads 4 --records 100000
//! cargo run --release --example workload -- verify /tmp/tortured
//! ```
//!
//! `run DIR SEED` goes on with what it finds in DIR, which may be nothing. What a record holds follows from its offset
//! alone, also where several threads append and truncation gives offsets again: an append names the offset that it
//! was made for ([`AppendOptions::expect_log_end`](kstore::AppendOptions::expect_log_end)), and is made anew if another
//! thread was faster. It rolls often, syncs, trims so that the log stays below two MiB, truncates now and then, and ends
//! by itself. SEED decides how many records a batch has, and what is synced, trimmed and truncated when; over the same
//! DIR, one thread makes the same calls each time. Each line is one `write` to standard output:
//!
//! | line | what it says |
//! |---|---|
//! | `ACK n` | every offset up to and including `n` is durable. Rises, but for truncations |
//! | `TRIM n` | offsets below `n` are about to go |
//! | `TRUNC n` | `n` and what is above is about to go; nothing is acknowledged until `TRUNCATED` |
//! | `TRUNCATED n` | that is durable |
//! | `REOPEN` | it recovered in place after a failed write or sync; what was acknowledged stands |
//! | `ERR …` | an error ends the run |
//!
//! A full disk leaves the log as it was, so room is made by trimming half of what may go, as often as there is something
//! left, and the call is made again. A failed write or sync is answered by reopening in place, unless nothing was
//! acknowledged since the last time. Every other error ends the run.
//!
//! `verify DIR` opens the log, which recovers it (and makes an empty one where there is none), reads all of it by scan, by
//! offset and by time, has it checked, and prints `START a`, the ranges that are right as `OK a-b` (both inclusive), or with
//! `--print` each record as `OK n tag`, and `END e`, one past the last. `BAD offset reason` or `ERR …` says that it is not
//! right.
//!
//! The exit status is 0 if all is well, 1 after `BAD` or `ERR`, and 2 if the call was wrong. With `--mapped`, a file system
//! that shuts itself down ends it by SIGBUS, as [`WriteMode::Mapped`] says.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is a program that uses it")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kstore::WriteMode;

use lines::{Failure, say};
use run::Order;

mod content;
mod lines;
mod run;
mod verify;

/// Writes a log whose content can be checked, or checks it.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Appends, syncs, trims and truncates, and says what is promised.
    Run {
        /// The log's directory; created if it is not there.
        dir: PathBuf,
        /// What the calls follow from.
        seed: u64,
        /// How many threads append.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
        threads: u64,
        /// Store into maps of room that is allocated ahead, where the file system is one for that.
        #[arg(long)]
        mapped: bool,
        /// Write into room that is allocated ahead.
        #[arg(long, conflicts_with = "mapped")]
        preallocated: bool,
        /// How many records to append before it ends.
        #[arg(long, value_name = "N", default_value_t = 20_000)]
        records: u64,
    },
    /// Opens the log, reads all of it, and says what is there.
    Verify {
        /// The log's directory.
        dir: PathBuf,
        /// Print each record with a hash of its content as it was read.
        #[arg(long)]
        print: bool,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run { dir, seed, threads, mapped, preallocated, records } => {
            let write_mode = match (mapped, preallocated) {
                (true, _) => WriteMode::Mapped,
                (false, true) => WriteMode::Preallocated,
                (false, false) => WriteMode::Write,
            };
            run::run(&Order { dir, seed, threads, write_mode, records })
        }
        Command::Verify { dir, print } => verify::verify(&dir, print),
    };
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    let line = match failure {
        Failure::Log(error) => format!("ERR {error}"),
        Failure::Wrong { offset, reason } => format!("BAD {offset} {reason}"),
        Failure::Thread(error) => format!("ERR starting a thread: {error}"),
        Failure::Output(error) => {
            eprintln!("workload: writing to standard output: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = say(&line) {
        eprintln!("workload: {line}; and writing that to standard output: {error}");
    }
    ExitCode::FAILURE
}
