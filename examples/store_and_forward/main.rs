//! A store-and-forward buffer, as on a machine that loses its power and whose connection comes and goes: one thread
//! appends readings to a log that is never larger than its cap, another one sends them over TCP and goes on where it was.
//!
//! It shows the two promises that can be made. *At least once*: the sender's log remembers, by a named cursor, what was
//! acknowledged; what was received, but whose acknowledgement was lost, is sent again. *Exactly once*: the receiver keeps
//! what it is sent in a log of its own, and commits the sender's next offset as one with it ([`Log::append_and_commit`]);
//! a sender that connects is told that offset. Both go on after `kill -9` and after a power cut, with nothing missing but
//! what the cap had dropped, which the receiver is told.
//!
//! ```text
//! cargo run --release --example store_and_forward -- /tmp/buffer --breaks 50 --seed 7 --at-least-once
//! ```
//!
//! Both sides run in one process, the sender's log in `DIR/sender`, the receiver's in `DIR/receiver`; or each in one of its
//! own, the receiver by `--receiver`, the sender by `--forward-to`. At the end the receiver's log is read, and one line
//! says what it adds up to. Status 1 if a reading is missing that was not dropped, or in exactly-once mode one is there
//! twice; status 2 for a wrong call, and if a log cannot be opened, written or read.
//!
//! [`Log::append_and_commit`]: kstore::Log::append_and_commit

use std::error::Error;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use kstore::Log;

use ledger::Ledger;
use line::Mode;
use receiver::Receiver;
use sender::Forwarder;

mod ledger;
mod line;
mod receiver;
mod sender;

/// What several threads hand each other must be `Send`.
type Failure = Box<dyn Error + Send + Sync>;

/// Stores readings and forwards them over a connection that breaks.
#[derive(Parser)]
struct Arguments {
    /// A directory for the two logs; created if it is not there. A run goes on where the last one ended.
    dir: PathBuf,
    /// How many readings there are to be, those of earlier runs included.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    records: u64,
    /// How large the buffer may become, in bytes; where it is full its oldest readings are dropped.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1 << 16..))]
    cap: u64,
    /// How often the connection is broken.
    #[arg(long, value_name = "N", default_value_t = 20)]
    breaks: u64,
    /// Decides where it breaks, and for how long.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Nothing twice, nothing missing. This is what happens unless told otherwise.
    #[arg(long, conflicts_with = "at_least_once")]
    exactly_once: bool,
    /// Nothing missing.
    #[arg(long)]
    at_least_once: bool,
    /// Only receive, until ended; prints where it listens.
    #[arg(long, conflicts_with_all = ["records", "cap", "breaks", "seed", "exactly_once", "at_least_once", "forward_to"])]
    receiver: bool,
    /// Only send, to a receiver that runs on the same directory.
    #[arg(long, value_name = "ADDRESS:PORT")]
    forward_to: Option<SocketAddr>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("store_and_forward: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether the promise was kept.
fn run(arguments: &Arguments) -> Result<bool, Failure> {
    if arguments.receiver {
        let receiver = Receiver::open(&arguments.dir.join("receiver"))?;
        print_line(&format!("listening on {}", receiver.address()))?;
        receiver.serve(&AtomicBool::new(false))?;
        return Ok(true);
    }
    let mode = if arguments.at_least_once { Mode::AtLeastOnce } else { Mode::ExactlyOnce };
    let log = sender::open(&arguments.dir.join("sender"), arguments.cap)?;
    // A buffer that has more already is emptied all the same.
    let total = arguments.records.max(log.log_end_offset().value());
    let (sent, breaks) = match arguments.forward_to {
        Some(address) => send(arguments, mode, &log, (total, address), &AtomicBool::new(false))?,
        None => send_and_receive(arguments, mode, &log, total)?,
    };
    log.close()?;
    let ledger = Ledger::of(&arguments.dir.join("receiver"), total)?;
    let line = serde_json::json!({
        "readings": total,
        "sent": sent,
        "received": ledger.received,
        "duplicates": ledger.duplicates,
        "dropped": ledger.dropped,
        "gaps": ledger.gaps,
        "wrong": ledger.wrong,
        "breaks": breaks,
    });
    print_line(&line.to_string())?;
    let twice = mode == Mode::ExactlyOnce && ledger.duplicates > 0;
    Ok(ledger.gaps == 0 && ledger.wrong == 0 && !twice)
}

/// Both sides, each on threads of its own. If one of them fails the others end, too.
fn send_and_receive(arguments: &Arguments, mode: Mode, log: &Log, total: u64) -> Result<(u64, u64), Failure> {
    let receiver = Receiver::open(&arguments.dir.join("receiver"))?;
    let address = receiver.address();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            let outcome = receiver.serve(&over);
            over.store(true, Ordering::Release);
            outcome
        });
        let sent = send(arguments, mode, log, (total, address), &over);
        over.store(true, Ordering::Release);
        // The receiver waits for a connection: it finds that it is over. If nobody listens, it has found that already.
        drop(TcpStream::connect(address));
        receiving.join().map_err(|_| "the receiver panicked")??;
        sent
    })
}

/// Fills the buffer and empties it. Gives back how many readings were sent, and how often a connection ended early.
fn send(
    arguments: &Arguments,
    mode: Mode,
    log: &Log,
    (total, address): (u64, SocketAddr),
    over: &AtomicBool,
) -> Result<(u64, u64), Failure> {
    let mut forwarder = Forwarder::new(log, mode, address, (arguments.seed, arguments.breaks))?;
    std::thread::scope(|scope| {
        let producing = scope.spawn(|| {
            let outcome = sender::produce(log, total, over);
            over.fetch_or(outcome.is_err(), Ordering::AcqRel);
            outcome
        });
        let forwarded = forwarder.forward(total, over);
        over.fetch_or(forwarded.is_err(), Ordering::AcqRel);
        producing.join().map_err(|_| "the producer panicked")??;
        forwarded
    })?;
    Ok((forwarder.sent, forwarder.breaks))
}

fn print_line(line: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    let printed = writeln!(output, "{line}").and_then(|()| output.flush());
    printed.map_err(|error| format!("writing to standard output: {error}").into())
}
