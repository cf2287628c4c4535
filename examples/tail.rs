//! Follows a log of another process: its records as JSON lines, those that are there and then each one that comes.
//!
//! It shows how to follow a directory that is not yours: [`Log::open_read_only`] takes no lock and changes no byte, and
//! the reader's [`Tailer`] looks now and then for what was appended. In the process that writes the log,
//! [`Log::tail`] is woken by the append itself; nothing else differs.
//!
//! ```text
//! cargo run --release --example tail -- /tmp/numbers --from 1000
//! ```
//!
//! The lines are those of `dump`. It ends when it is interrupted, when nobody reads its output any more, and with status
//! 1 and a message when the log cannot be followed on: it is damaged, or was truncated or deleted below what was
//! printed. A wrong call has status 2.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use kstore::{Error, Log, Offset, StoredRecord, Tailer};

#[allow(dead_code, reason = "batches are the business of `dump`")]
#[path = "dump/lines.rs"]
mod lines;

/// Lines are written out when this many bytes have come together, or when there is nothing more to print.
const OUTPUT_BYTES: usize = 256 << 10;

/// Prints the records of a log as JSON lines, and goes on with each one that is appended.
#[derive(Parser)]
struct Arguments {
    /// A partition directory. Nothing in it is changed.
    dir: PathBuf,
    /// The first offset to print; where the log starts unless given.
    #[arg(long, value_name = "OFFSET")]
    from: Option<u64>,
}

/// Why nothing more can be printed.
enum Failure {
    Log(Error),
    Output(std::io::Error),
}

fn main() -> ExitCode {
    let Err(failure) = run(&Arguments::parse()) else { return ExitCode::SUCCESS };
    match failure {
        // Whoever reads, as `head` does, has had enough.
        Failure::Output(error) if error.kind() == ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Failure::Output(error) => eprintln!("tail: writing to standard output: {error}"),
        Failure::Log(error) => eprintln!("tail: {error}"),
    }
    ExitCode::FAILURE
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let reader = Log::open_read_only(&arguments.dir).map_err(Failure::Log)?;
    let from = arguments.from.map_or(reader.log_start_offset(), Offset::new);
    follow(reader.tail(from))
}

/// Prints what comes, together what came together.
fn follow(mut tailer: Tailer) -> Result<(), Failure> {
    let mut output = Vec::new();
    while let Some(record) = next(&mut tailer, &mut output)? {
        lines::record(&mut output, &record);
        if output.len() >= OUTPUT_BYTES {
            write_out(&mut output)?;
        }
    }
    write_out(&mut output)
}

/// The next record. Before it is waited for, and before an error is told, what came before it is printed.
fn next(tailer: &mut Tailer, output: &mut Vec<u8>) -> Result<Option<StoredRecord>, Failure> {
    match tailer.next_timeout(Duration::ZERO) {
        Ok(Some(record)) => Ok(Some(record)),
        Ok(None) => {
            write_out(output)?;
            tailer.next().transpose().map_err(Failure::Log)
        }
        Err(error) => {
            write_out(output)?;
            Err(Failure::Log(error))
        }
    }
}

fn write_out(output: &mut Vec<u8>) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(output).and_then(|()| stdout.flush()).map_err(Failure::Output)?;
    output.clear();
    Ok(())
}
