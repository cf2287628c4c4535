//! Follows a log: its records as JSON lines, those that are there and then each one that comes.
//!
//! It shows two ways to follow. Without `--cursor` the directory belongs to another process: [`Log::open_read_only`] takes
//! no lock and changes no byte, and the reader's [`Tailer`] looks now and then for what was appended. With `--cursor` the
//! log is this program's own: lines of standard input are appended by another thread, whose appends wake the tailer, and
//! the log remembers under the cursor's name what was printed, so that the next run goes on there.
//!
//! ```text
//! cargo run --release --example tail -- /tmp/numbers --from 1000
//! seq 1 100 | cargo run --release --example tail -- /tmp/lines --cursor printer
//! ```
//!
//! The lines are those of `dump`. A cursor is committed once the lines before it were written out: a run that is killed in
//! between prints them again, and none is left out. It ends when it is interrupted, when nobody reads its output any more,
//! with `--cursor` at the end of its input, for then nothing can come any more, and with status 1 and a message when the
//! log cannot be followed on: it is damaged, or was truncated or deleted below what was printed. A wrong call has status 2.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use kstore::{Error, Log, LogConfig, NamedCursor, Offset, Reader, StoredRecord, Tailer, Timestamp};

use appending::Appending;

mod appending;
#[path = "../sendfile_server/input.rs"]
mod input;
#[allow(dead_code, reason = "batches are the business of `dump`")]
#[path = "../dump/lines.rs"]
mod lines;
mod rfc3339;

/// Lines are written out when this many bytes have come together, or when there is nothing more to print.
const OUTPUT_BYTES: usize = 256 << 10;

/// Prints the records of a log as JSON lines, and goes on with each one that is appended.
#[derive(Parser)]
struct Arguments {
    /// A partition directory. Nothing in it is changed, unless `--cursor` is given.
    dir: PathBuf,
    /// The first offset to print; where the log starts unless given.
    #[arg(long, value_name = "OFFSET")]
    from: Option<u64>,
    /// Begin at the first record of this time or later, as in 2026-03-01T12:00:00Z; at the end if there is none yet.
    #[arg(long, value_name = "RFC3339", value_parser = rfc3339::parse, conflicts_with = "from")]
    from_time: Option<Timestamp>,
    /// Open the log for writing, or make it, go on where the cursor of this name is, and append lines of standard input.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "from_time"])]
    cursor: Option<String>,
}

/// Why nothing more can be printed.
enum Failure {
    Log(Error),
    Output(std::io::Error),
    /// What was read from standard input did not get into the log.
    Input(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Log(error)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.cursor {
        Some(name) => follow_own(&arguments, name),
        None => follow_foreign(&arguments),
    };
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    match failure {
        // Whoever reads, as `head` does, has had enough.
        Failure::Output(error) if error.kind() == ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Failure::Output(error) => eprintln!("tail: writing to standard output: {error}"),
        Failure::Log(error) => eprintln!("tail: {error}"),
        Failure::Input(error) => eprintln!("tail: {error}"),
    }
    ExitCode::FAILURE
}

/// Follows what another process appends.
fn follow_foreign(arguments: &Arguments) -> Result<(), Failure> {
    let reader = Log::open_read_only(&arguments.dir)?;
    let from = match (arguments.from, arguments.from_time) {
        (Some(offset), _) => Offset::new(offset),
        (None, Some(time)) => first_at_or_after(&reader, time)?,
        (None, None) => reader.log_start_offset(),
    };
    let mut output = Output::new(None);
    output.follow(&mut reader.tail(from))
}

fn first_at_or_after(reader: &Reader, time: Timestamp) -> Result<Offset, Failure> {
    // The end is taken first: what is appended meanwhile is not passed over.
    let end = reader.log_end_offset();
    Ok(reader.offset_for_timestamp(time)?.map_or(end, |(offset, _)| offset))
}

/// Follows what another thread of this process appends, until there is no more for it to append.
fn follow_own(arguments: &Arguments, name: &str) -> Result<(), Failure> {
    let log = Log::open(&arguments.dir, LogConfig::default())?;
    let outcome = follow_appends(&log, name);
    // Also where printing failed: what was appended is made durable, and appending ends.
    let closed = log.close();
    outcome?;
    Ok(closed?)
}

fn follow_appends(log: &Log, name: &str) -> Result<(), Failure> {
    let cursor = log.cursor(name)?;
    let mut tailer = log.tail(cursor.position()?);
    let appending = Appending::start(log, tailer.stop_handle()).map_err(Failure::Input)?;
    let mut output = Output::new(Some(cursor));
    output.follow(&mut tailer)?;
    // It was stopped, for nothing is appended any more. What it did not give by then is the rest of the log.
    let appended = appending.outcome();
    for record in log.records(tailer.position()..)? {
        output.print(&record?)?;
    }
    output.write_out()?;
    appended.map_err(Failure::Input)
}

/// Lines on their way out, and the cursor that follows those that are out.
struct Output {
    lines: Vec<u8>,
    /// One past the last record that has a line.
    next: Offset,
    cursor: Option<NamedCursor>,
}

impl Output {
    fn new(cursor: Option<NamedCursor>) -> Output {
        Output { lines: Vec::new(), next: Offset::ZERO, cursor }
    }

    /// Prints what comes, together what came together.
    fn follow(&mut self, tailer: &mut Tailer) -> Result<(), Failure> {
        while let Some(record) = self.next(tailer)? {
            self.print(&record)?;
        }
        self.write_out()
    }

    /// The next record. Before it is waited for, and before an error is told, what came before it is printed.
    fn next(&mut self, tailer: &mut Tailer) -> Result<Option<StoredRecord>, Failure> {
        match tailer.next_timeout(Duration::ZERO) {
            Ok(Some(record)) => Ok(Some(record)),
            Ok(None) => {
                self.write_out()?;
                Ok(tailer.next().transpose()?)
            }
            Err(error) => {
                self.write_out()?;
                Err(Failure::Log(error))
            }
        }
    }

    fn print(&mut self, record: &StoredRecord) -> Result<(), Failure> {
        lines::record(&mut self.lines, record);
        self.next = record.offset() + 1;
        if self.lines.len() >= OUTPUT_BYTES { self.write_out() } else { Ok(()) }
    }

    /// Writes the lines out, and only then commits: what nobody saw is printed again by the next run.
    fn write_out(&mut self) -> Result<(), Failure> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&self.lines).and_then(|()| stdout.flush()).map_err(Failure::Output)?;
        self.lines.clear();
        match &self.cursor {
            Some(cursor) => Ok(cursor.commit(self.next)?),
            None => Ok(()),
        }
    }
}
