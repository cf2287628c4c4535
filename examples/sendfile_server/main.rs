//! A small broker: each line of standard input becomes a record, and any number of clients fetch the stored batches
//! over TCP, which the kernel sends from its page cache; no byte of them passes through this program.
//!
//! It shows three things. *Slices*: [`Reader::read`] finds whole batches without reading them, and a [`LogSlice`] pins
//! its file, so that it may be sent as slowly as its receiver likes. *Going on*: a socket that does not block takes a
//! part, and [`LogSlice::send_to_from`] sends the rest once there is room; so one thread serves them all, and a client
//! that reads slowly, or never, holds up nobody else. *Owning*: the log is open for writing here, because a reader of
//! another process sees only what was there when it was opened.
//!
//! ```text
//! tail -f access.log | cargo run --release --example sendfile_server -- /tmp/access --listen 127.0.0.1:9999
//! ```
//!
//! # Protocol
//!
//! Numbers are big-endian. A client sends requests of 12 bytes, one after the other, as often as it likes:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | an offset |
//! | 4 | how many bytes it wants at most |
//!
//! Each is answered in turn:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | the length of what follows; or with the highest bit set, why nothing does |
//! | length | whole record batches, as they are stored |
//!
//! The first batch is the one that holds the offset, so it may begin at an earlier one; it is sent even if it alone is
//! larger than the maximum. Nobody verified checksums on the way: they are the client's to verify. Length 0 is the log
//! end: nothing is there yet, ask again later. Batches are sent once they are appended, synced or not.
//!
//! | answer | why |
//! |---|---|
//! | `0x8000_0001` | the offset is outside the log |
//! | `0x8000_0002` | the maximum is 0 |
//! | `0x8000_0003` | the log is damaged there |
//! | `0x8000_0004` | the log cannot be read there; the server's standard error says why |
//!
//! After each of these the connection goes on. A client that closes its sending half still gets the answers to its whole
//! requests. A connection that ends within an answer was broken off: the server stopped, or the file became unreadable.
//!
//! # Stopping
//!
//! The end of standard input, SIGTERM and SIGINT stop the server: every whole line that it read is in the log, and synced,
//! before it exits. Clients are neither authenticated nor timed out, which is for a server that listens to strangers.
//!
//! [`Reader::read`]: kstore::Reader::read
//! [`LogSlice`]: kstore::LogSlice
//! [`LogSlice::send_to_from`]: kstore::LogSlice::send_to_from

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is a program that uses it")]

use std::error::Error;
use std::fmt::Display;
use std::io::{Write, stderr, stdout};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use kstore::{Log, LogConfig};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;

use server::Server;

mod client;
mod input;
mod server;

/// Appends lines from standard input to a log, and sends stored batches to whoever asks.
#[derive(Parser)]
struct Arguments {
    /// The log's directory; created if it is not there.
    dir: PathBuf,
    /// Where to listen. With port 0 the system chooses one; the first line that is printed tells.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => {
            drop(answer.print());
            return if answer.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    // Before the log has a thread, for threads inherit which signals are held back.
    let signals = stop_signals()?;
    let log = Log::open(&arguments.dir, LogConfig::default())?;
    let served = serve(&log, arguments.listen, signals);
    // Closing makes durable what was appended, also where something failed on the way.
    let end = log.log_end_offset();
    let closed = log.close();
    served?;
    closed?;
    print_line(&format!("stopped, the log ends at offset {end}"))
}

fn serve(log: &Log, listen: SocketAddr, signals: SignalFd) -> Result<(), Box<dyn Error>> {
    let mut server = Server::listen(log, listen, signals)?;
    print_line(&format!("listening on {}", server.address()?))?;
    server.run()
}

/// The signals that ask a program to end, to be waited for beside sockets.
fn stop_signals() -> Result<SignalFd, Box<dyn Error>> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    Ok(SignalFd::new(&signals)?)
}

/// A line on standard output, there before this returns.
fn print_line(line: &str) -> Result<(), Box<dyn Error>> {
    let mut output = stdout().lock();
    let printed = writeln!(output, "{line}").and_then(|()| output.flush());
    printed.map_err(|error| format!("writing to standard output: {error}").into())
}

/// Tells the operator; a server goes on where nobody listens to its complaints.
fn complain(what: impl Display) {
    drop(writeln!(stderr(), "sendfile_server: {what}"));
}
