//! Lines in, records out: appends each line of standard input to a log, as fast as it comes.
//!
//! It shows how to fill a log quickly: records are encoded one by one into a [`BatchBuilder`], which keeps its memory,
//! and appended a batch at a time. And it shows what an acknowledgement is worth: with `--acks` it prints the next
//! offset after each batch, and whatever lies below survives the end of the process; with `--sync` also a power cut.
//!
//! A line is bytes up to a newline, which is not kept. Where the log exists, it goes on.
//!
//! ```text
//! seq 1 5000000 | cargo run --release --example ingest -- /tmp/numbers
//! ```

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is a program that uses it")]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use kstore::{AppendOptions, Appended, BatchBuilder, Log, LogConfig, Offset, Record};

/// How much is read at once.
const INPUT_BYTES: usize = 1 << 20;
/// A batch is appended before it outgrows this, however few records it holds. It must be read back as a whole.
const BATCH_BYTES: u64 = 16 << 20;
/// The most that a record adds to its key and value, and a batch to its first record.
const FRAMING_BYTES: u64 = 128;

/// Appends each line of standard input to a log.
#[derive(Parser)]
struct Arguments {
    /// The log's directory; created if it is not there.
    dir: PathBuf,
    /// How many records make a batch.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    batch_records: u32,
    /// How batches are compressed.
    #[arg(long, value_enum, default_value_t = Compression::None)]
    compression: Compression,
    /// How large a segment grows, in bytes.
    #[arg(long, value_name = "N", default_value_t = 1 << 30)]
    segment_bytes: u64,
    /// How bytes get into the active segment.
    #[arg(long, value_enum, default_value_t = WriteMode::Write)]
    write_mode: WriteMode,
    /// What stands before the first of this character is the record's key; a line without it has none.
    #[arg(long, value_name = "C")]
    key_separator: Option<char>,
    /// Sync each batch before going on.
    #[arg(long)]
    sync: bool,
    /// Print `{"next_offset":N}` once a batch is in the log: everything below is.
    #[arg(long)]
    acks: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Clone, Copy, ValueEnum)]
enum WriteMode {
    Write,
    Preallocated,
    Mapped,
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
            eprintln!("ingest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let log = Log::open(&arguments.dir, config(arguments))?;
    let begin = Instant::now();
    let mut ingest = Ingest::new(arguments, &log);
    let outcome = ingest.read_lines(std::io::stdin().lock());
    ingest.progress.finish_and_clear();
    // Closing makes durable what was appended, also where the input or the disk failed on the way.
    let closed = log.close();
    outcome.map_err(|error| format!("{error} ({} lines of this input are in the log)", ingest.appended_records))?;
    closed?;
    let (first, last) = match ingest.range {
        Some((first, next)) => (first.value().into(), (next.value() - 1).into()),
        None => (serde_json::Value::Null, serde_json::Value::Null),
    };
    let summary = serde_json::json!({
        "count": ingest.appended_records,
        "first_offset": first,
        "last_offset": last,
        "bytes": ingest.appended_bytes,
        "seconds": begin.elapsed().as_secs_f64(),
    });
    print_line(&summary.to_string())
}

fn config(arguments: &Arguments) -> LogConfig {
    let write_mode = match arguments.write_mode {
        WriteMode::Write => kstore::WriteMode::Write,
        WriteMode::Preallocated => kstore::WriteMode::Preallocated,
        WriteMode::Mapped => kstore::WriteMode::Mapped,
    };
    // What is appended built keeps the builder's compression; naming it here too has it refused at once where this
    // build lacks the codec.
    LogConfig::default()
        .segment_bytes(arguments.segment_bytes)
        .write_mode(write_mode)
        .compression(compression(arguments.compression))
}

fn compression(chosen: Compression) -> kstore::Compression {
    match chosen {
        Compression::None => kstore::Compression::None,
        Compression::Gzip => kstore::Compression::Gzip,
        Compression::Snappy => kstore::Compression::Snappy,
        Compression::Lz4 => kstore::Compression::Lz4,
        Compression::Zstd => kstore::Compression::Zstd,
    }
}

/// A batch in the making, and what became of those before it.
struct Ingest<'a> {
    log: &'a Log,
    options: AppendOptions,
    batch: BatchBuilder,
    batch_records: usize,
    batch_bytes: u64,
    key_separator: Option<Vec<u8>>,
    acks: bool,
    progress: ProgressBar,
    /// Bytes of lines in the batch, newlines not counted.
    pending_bytes: u64,
    appended_records: u64,
    appended_bytes: u64,
    /// The first offset, and the next one.
    range: Option<(Offset, Offset)>,
}

impl<'a> Ingest<'a> {
    fn new(arguments: &Arguments, log: &'a Log) -> Ingest<'a> {
        let style = ProgressStyle::with_template("{spinner} {human_pos} records, {per_sec}, {elapsed}");
        Ingest {
            log,
            options: AppendOptions::default().sync(arguments.sync),
            batch: BatchBuilder::new(compression(arguments.compression)),
            batch_records: usize::try_from(arguments.batch_records).unwrap_or(usize::MAX),
            batch_bytes: arguments.segment_bytes.min(BATCH_BYTES),
            key_separator: arguments.key_separator.map(|separator| separator.to_string().into_bytes()),
            acks: arguments.acks,
            // Drawn to standard error, and only where that is a terminal.
            progress: ProgressBar::new_spinner().with_style(style.expect("a constant template")),
            pending_bytes: 0,
            appended_records: 0,
            appended_bytes: 0,
            range: None,
        }
    }

    fn read_lines(&mut self, input: impl Read) -> Result<(), Box<dyn Error>> {
        let mut input = BufReader::with_capacity(INPUT_BYTES, input);
        let mut line = Vec::new();
        while read_line(&mut input, &mut line)? > 0 {
            self.push(line.strip_suffix(b"\n").unwrap_or(&line))?;
            line.clear();
        }
        self.append()
    }

    fn push(&mut self, line: &[u8]) -> Result<(), Box<dyn Error>> {
        let line_bytes = line.len() as u64;
        if self.batch.size_bytes() as u64 + line_bytes + FRAMING_BYTES > self.batch_bytes {
            self.append()?;
        }
        self.batch.push(self.record(line))?;
        self.pending_bytes += line_bytes;
        if self.batch.len() >= self.batch_records {
            self.append()?;
        }
        Ok(())
    }

    fn record<'l>(&self, line: &'l [u8]) -> Record<'l> {
        let Some(separator) = &self.key_separator else { return Record::value(line) };
        let found = match separator.as_slice() {
            [byte] => line.iter().position(|found| found == byte),
            bytes => line.windows(bytes.len()).position(|found| found == bytes),
        };
        match found {
            Some(at) => Record::from_parts(Some(&line[..at]), Some(&line[at + separator.len()..])),
            None => Record::value(line),
        }
    }

    /// Appends the batch, if there is anything in it.
    fn append(&mut self) -> Result<(), Box<dyn Error>> {
        let records = self.batch.len() as u64;
        if records == 0 {
            return Ok(());
        }
        let appended: Appended = self.log.append_built(&self.options, &mut self.batch)?;
        let first = self.range.map_or(appended.base_offset(), |(first, _)| first);
        self.range = Some((first, appended.next_offset()));
        self.appended_records += records;
        self.appended_bytes += std::mem::take(&mut self.pending_bytes);
        self.progress.inc(records);
        if self.acks {
            print_line(&format!("{{\"next_offset\":{}}}", appended.next_offset()))?;
        }
        Ok(())
    }
}

/// Up to the next newline, as bytes. `0` at the end.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> Result<usize, Box<dyn Error>> {
    input.read_until(b'\n', line).map_err(|error| format!("reading standard input: {error}").into())
}

/// A line on standard output, there before this returns.
fn print_line(line: &str) -> Result<(), Box<dyn Error>> {
    let mut output = std::io::stdout().lock();
    let printed = writeln!(output, "{line}").and_then(|()| output.flush());
    printed.map_err(|error| format!("writing to standard output: {error}").into())
}
