//! A log as JSON lines: each record, or with `--batches` each batch, of any partition directory.
//!
//! It shows how to look into a directory that is not yours: [`Log::open_read_only`] takes no lock and changes no byte,
//! so the directory may be live, crashed, damaged or Kafka's own. What an opening for writing would recover is judged
//! in memory. And it shows how to live with damage: where reading ends at it, and where it goes on behind it.
//!
//! ```text
//! cargo run --release --example dump -- /var/lib/kafka/orders-0 --from 1000 --to 2000
//! ```
//!
//! Every bound is exclusive. The exit status is 0 if all is well, 1 if the call was wrong or the directory cannot be
//! read, 2 if anything is torn or damaged; standard error says what, in which file, at which byte.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use kstore::{Corruption, Error, Log, Offset, Position, ReadUpTo, Reader, RecoveryReport};

mod lines;

/// Lines are written out when this many bytes have come together.
const OUTPUT_BYTES: usize = 256 << 10;
const EXIT_DAMAGED: u8 = 2;

/// Prints the records of a log, or its batches, as JSON lines.
#[derive(Parser)]
struct Arguments {
    /// A partition directory. Nothing in it is changed.
    dir: PathBuf,
    /// The first offset to print; where the log starts unless given.
    #[arg(long, value_name = "OFFSET")]
    from: Option<u64>,
    /// The offset to end before; the log end unless given.
    #[arg(long, value_name = "OFFSET")]
    to: Option<u64>,
    /// Print batches, beginning with the one that holds the first offset.
    #[arg(long)]
    batches: bool,
    /// Go on behind damage, at the next batch that can be found.
    #[arg(long)]
    skip_damaged: bool,
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
        Ok(Verdict::Sound) => ExitCode::SUCCESS,
        Ok(Verdict::Damaged) => ExitCode::from(EXIT_DAMAGED),
        // Whoever reads, as `head` does, has had enough.
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Output(error)) => {
            eprintln!("dump: writing to standard output: {error}");
            ExitCode::FAILURE
        }
        Err(Failure::Log(error)) => {
            eprintln!("dump: {error}");
            if matches!(error, Error::Corrupt { .. }) { ExitCode::from(EXIT_DAMAGED) } else { ExitCode::FAILURE }
        }
    }
}

enum Verdict {
    Sound,
    Damaged,
}

/// Why nothing more can be printed.
enum Failure {
    Log(Error),
    Output(std::io::Error),
}

fn run(arguments: &Arguments) -> Result<Verdict, Failure> {
    let reader = Log::open_read_only(&arguments.dir).map_err(Failure::Log)?;
    let report = reader.recovery_report();
    let from = arguments.from.map_or(reader.log_start_offset(), Offset::new);
    let to = arguments.to.map_or(Offset::MAX, Offset::new);
    // A torn tail is no part of the log, but worth a look: what is whole in it can be printed.
    let reader = reader.up_to(ReadUpTo::FileEnd);
    let reader = if arguments.skip_damaged { reader.skip_damaged() } else { reader };
    let mut dump = Dump { skip_damaged: arguments.skip_damaged, ..Dump::default() };
    if arguments.batches {
        dump.batches(&reader, from, to)?;
    } else {
        dump.records(&reader, from, to)?;
    }
    dump.write_out()?;
    dump.tell_of_the_rest(&report);
    Ok(if dump.told.is_empty() { Verdict::Sound } else { Verdict::Damaged })
}

/// What is on its way to standard output, and the damage that standard error was told of.
#[derive(Default)]
struct Dump {
    output: Vec<u8>,
    told: BTreeSet<(PathBuf, Position)>,
    /// Where the records that were printed end.
    next_offset: Option<Offset>,
    behind_damage: bool,
    skip_damaged: bool,
}

impl Dump {
    fn records(&mut self, reader: &Reader, from: Offset, to: Offset) -> Result<(), Failure> {
        for record in reader.records(from..to).map_err(Failure::Log)? {
            match record {
                Ok(record) => {
                    self.goes_on_at(record.offset());
                    lines::record(&mut self.output, &record);
                    self.next_offset = Some(record.offset() + 1);
                    self.write_out_if_full()?;
                }
                Err(error) => self.damage(error)?,
            }
        }
        Ok(())
    }

    fn batches(&mut self, reader: &Reader, from: Offset, to: Offset) -> Result<(), Failure> {
        for batch in reader.batches(from..to).map_err(Failure::Log)? {
            match batch {
                Ok(batch) => {
                    let found = batch.verify();
                    let reason = match &found {
                        Err(Error::Corrupt { reason, .. }) => Some(*reason),
                        // Records in a codec that this build lacks may be as sound as any.
                        _ => None,
                    };
                    let crc_ok = !matches!(reason, Some(Corruption::Crc { .. }));
                    if reason.is_none() {
                        self.goes_on_at(batch.base_offset());
                        self.next_offset = Some(batch.next_offset());
                    }
                    lines::batch(&mut self.output, &batch, crc_ok);
                    self.write_out_if_full()?;
                    if let (Err(error), true) = (found, reason.is_some()) {
                        self.damage(error)?;
                        if !self.skip_damaged {
                            break;
                        }
                    }
                }
                Err(error) => self.damage(error)?,
            }
        }
        Ok(())
    }

    /// Tells of damage, after what was printed before it.
    fn damage(&mut self, error: Error) -> Result<(), Failure> {
        let Error::Corrupt { path, position, .. } = &error else { return Err(Failure::Log(error)) };
        self.write_out()?;
        if self.told.insert((path.to_path_buf(), *position)) {
            eprintln!("dump: {error}");
        }
        self.behind_damage = true;
        Ok(())
    }

    /// Tells, once after damage, which offsets could not be printed.
    fn goes_on_at(&mut self, offset: Offset) {
        if std::mem::take(&mut self.behind_damage) {
            match self.next_offset {
                Some(next) if next >= offset => eprintln!("dump: goes on at offset {offset}, nothing is missing"),
                Some(next) => eprintln!("dump: goes on at offset {offset}, nothing was found from {next} on"),
                None => eprintln!("dump: begins at offset {offset}"),
            }
        }
    }

    /// What opening the directory found, and reading did not meet: torn tails and damage outside the printed range.
    fn tell_of_the_rest(&mut self, report: &RecoveryReport) {
        for torn in report.torn.iter().filter(|torn| !torn.zeros) {
            let size = format_args!(" ({} bytes behind the last whole batch)", torn.bytes).to_string();
            self.tell(&torn.path, torn.position, &torn.reason, &size);
        }
        for damage in &report.damage {
            let lost = format!(" (offsets from {} to before {})", damage.first_offset, damage.next_offset);
            self.tell(&damage.path, damage.position, &damage.reason, &lost);
        }
    }

    fn tell(&mut self, path: &Path, position: Position, reason: &Corruption, extent: &str) {
        if self.told.insert((path.to_path_buf(), position)) {
            eprintln!("dump: {} is damaged at byte {position}: {reason}{extent}", path.display());
        }
    }

    fn write_out_if_full(&mut self) -> Result<(), Failure> {
        if self.output.len() >= OUTPUT_BYTES { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&self.output).and_then(|()| stdout.flush()).map_err(Failure::Output)?;
        self.output.clear();
        Ok(())
    }
}
