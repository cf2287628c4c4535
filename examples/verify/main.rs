//! Checks a log's files and prints what it found as JSON lines, of any partition directory: ours, or Kafka's.
//!
//! It shows [`Reader::check_integrity`](kstore::Reader::check_integrity): nothing is locked and not a byte is changed, so
//! the directory may be live, crashed or damaged. Each finding is a line, and the last line is the whole.
//!
//! ```text
//! cargo run --release --example verify -- /var/lib/kafka/orders-0
//! ```
//!
//! The exit status is 0 if no finding is an error (warnings are what the next opening mends: a torn tail, a leftover),
//! 1 if any is, or with `--strict` any warning too, and 2 if the call was wrong or the directory is no log that can be
//! read; standard error says why.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use kstore::Log;

const EXIT_FOUND: u8 = 1;
const EXIT_UNREADABLE: u8 = 2;

/// Checks every byte of a log that can be checked, and prints what it found as JSON lines.
#[derive(Parser)]
struct Arguments {
    /// A partition directory. Nothing in it is changed.
    dir: PathBuf,
    /// End with status 1 for warnings too.
    #[arg(long)]
    strict: bool,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => {
            drop(answer.print());
            return if answer.use_stderr() { ExitCode::from(EXIT_UNREADABLE) } else { ExitCode::SUCCESS };
        }
    };
    let report = match Log::open_read_only(&arguments.dir).and_then(|reader| reader.check_integrity()) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("verify: {error}");
            return ExitCode::from(EXIT_UNREADABLE);
        }
    };
    match std::io::stdout().lock().write_all(report.to_json().as_bytes()) {
        Ok(()) => {}
        // Whoever reads, as `head` does, has had enough; the status still counts.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(error) => {
            eprintln!("verify: writing to standard output: {error}");
            return ExitCode::from(EXIT_UNREADABLE);
        }
    }
    let found = !report.is_clean() || (arguments.strict && report.warnings > 0);
    if found { ExitCode::from(EXIT_FOUND) } else { ExitCode::SUCCESS }
}
