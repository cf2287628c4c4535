//! A small bank that keeps nothing but its events: an event-sourced program that survives `kill -9` at any moment.
//!
//! It shows three things. *Replay*: balances are what the events add up to, so each start rebuilds them. *Optimistic
//! appends*: a teller decides on the balances as of an offset, and appends with [`AppendOptions::expect_log_end`]; if
//! another teller was faster, nothing is appended, and it looks again before it decides anew. *Snapshots by offset*:
//! the balances as of an offset, written atomically to a file beside the log, so that a replay need not begin at the
//! first event. The log stays the truth: a snapshot may be thrown away at any time.
//!
//! ```text
//! cargo run --release --example event_book -- /tmp/bank --events 100000
//! ```

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is a program that uses it")]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use kstore::{AppendOptions, Log, LogConfig, Offset, Record};

use book::{ACCOUNTS, Book, OPENING_BALANCE};
use snapshot::SnapshotFile;

mod book;
mod snapshot;

/// How many append at the same time.
const TELLERS: u64 = 2;
/// How many transfers the first teller makes between two snapshots.
const TRANSFERS_A_SNAPSHOT: u64 = 1000;

/// What several threads hand each other must be `Send`.
type Failure = Box<dyn Error + Send + Sync>;

/// Moves money between accounts, and keeps only the events.
#[derive(Parser)]
struct Arguments {
    /// The log's directory; the snapshot is a file beside it.
    dir: PathBuf,
    /// How many transfers to make.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    events: u64,
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
            eprintln!("event_book: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let log = Log::open(&arguments.dir, LogConfig::default())?;
    for torn in log.recovery_report().torn.iter().filter(|torn| !torn.zeros) {
        println!("the last run ended within an append: {} bytes were cut off", torn.bytes);
    }
    let snapshot = SnapshotFile::beside(log.dir());
    let mut book = rebuild(&log, &snapshot)?;
    println!("rebuilt: {book}");

    let retries = let_tellers_work(&log, &book, &snapshot, arguments.events)?;
    book.catch_up(&log)?;
    book.check()?;
    println!("made {} transfers, looked again {retries} times because another teller was faster", arguments.events);

    // A snapshot must not know more than the log does after a power cut.
    log.sync_to(book.next())?;
    snapshot.write(&book)?;
    println!("closed: {book}");
    Ok(log.close()?)
}

/// The book as of the log end. A snapshot shortens the way; here, both ways are gone and must lead to the same book.
fn rebuild(log: &Log, snapshot: &SnapshotFile) -> Result<Book, Failure> {
    if log.log_end_offset() == Offset::ZERO {
        open_accounts(log)?;
    }
    let mut replayed = Book::default();
    replayed.catch_up(log)?;
    replayed.check()?;
    if let Some(mut book) = snapshot.read()? {
        println!("found a snapshot as of event {}", book.next());
        book.catch_up(log)?;
        if book != replayed {
            return Err(format!("the snapshot leads to: {book}; the events to: {replayed}").into());
        }
    }
    Ok(replayed)
}

/// One append is one batch: after a crash all accounts are open, or none is.
fn open_accounts(log: &Log) -> Result<(), Failure> {
    let events: Vec<String> = (0..ACCOUNTS).map(|account| format!("open {account} {OPENING_BALANCE}")).collect();
    let records: Vec<Record<'_>> = events.iter().map(Record::value).collect();
    log.append_with(&AppendOptions::default().expect_log_end(Offset::ZERO), &records)?;
    Ok(())
}

/// Lets all tellers work at the same time. Returns how often one had to look again.
fn let_tellers_work(log: &Log, book: &Book, snapshot: &SnapshotFile, transfers: u64) -> Result<u64, Failure> {
    std::thread::scope(|scope| {
        let tellers: Vec<_> = (0..TELLERS)
            .map(|number| {
                let share = transfers / TELLERS + u64::from(number < transfers % TELLERS);
                let teller = Teller { log, book: book.clone(), dice: book.next().value() * TELLERS + number };
                // The first one alone takes snapshots, for they are all written to the same file.
                let snapshot = (number == 0).then_some(snapshot);
                scope.spawn(move || teller.work(share, snapshot))
            })
            .collect();
        let mut retries = 0;
        for teller in tellers {
            retries += teller.join().map_err(|_| "a teller panicked")??;
        }
        Ok(retries)
    })
}

/// One of those who append at the same time, each with a book of its own.
struct Teller<'a> {
    log: &'a Log,
    book: Book,
    dice: u64,
}

impl Teller<'_> {
    fn work(mut self, transfers: u64, snapshot: Option<&SnapshotFile>) -> Result<u64, Failure> {
        let mut retries = 0;
        for number in 1..=transfers {
            while !self.transfer()? {
                retries += 1;
            }
            if let Some(snapshot) = snapshot.filter(|_| number % TRANSFERS_A_SNAPSHOT == 0) {
                self.log.sync_to(self.book.next())?;
                snapshot.write(&self.book)?;
            }
        }
        Ok(retries)
    }

    /// Decides on the balances as they are. `false` if they are others by the time of the append.
    fn transfer(&mut self) -> Result<bool, Failure> {
        self.book.catch_up(self.log)?;
        let from = self.throw(ACCOUNTS);
        let to = (from + 1 + self.throw(ACCOUNTS - 1)) % ACCOUNTS;
        // Never more than is there: that is why the balances must be the latest.
        let amount = self.book.balance(from) / 3;
        let event = format!("move {from} {to} {amount}");
        let options = AppendOptions::default().expect_log_end(self.book.next());
        match self.log.append_with(&options, &[Record::value(&event)]) {
            Ok(_) => Ok(true),
            Err(kstore::Error::UnexpectedLogEnd { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A number below `sides`, by a linear congruential generator.
    fn throw(&mut self, sides: usize) -> usize {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.dice >> 33).map_or(0, |number| number % sides)
    }
}
