//! The sending side: a buffer that is filled by one thread, whatever becomes of the connection, and emptied by another.
//!
//! The buffer is a log that is never larger than its cap: where the connection is away for too long, the oldest readings
//! go. It is synced every few milliseconds, so that a power cut costs no more than that. The invariants it owns: a reading
//! has the number of its offset; only what is synced is sent, for after a power cut other readings would take the offsets
//! of those that were lost, and a receiver that has seen them would not want those; and what was dropped is told.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is a program that uses it")]

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use kstore::{AppendOptions, Error, Log, LogConfig, NamedCursor, Offset, ReadUpTo, Reader, Record, SyncPolicy};

use super::Failure;
use super::line::{FRAME_READINGS, Frame, Line, Mode, REFUSED};

/// How often the buffer is synced.
const SYNC_INTERVAL_MS: u64 = 10;
/// How many readings are appended at once, and how long it takes until there are as many again.
const BATCH_READINGS: u64 = 20;
const BATCH_PAUSE: Duration = Duration::from_millis(1);
/// About how much is sent at once.
const FRAME_BYTES: u64 = 16 << 10;
/// How long is waited for readings, before it is looked whether everything is over.
const PATIENCE: Duration = Duration::from_millis(100);
/// The longest outage that a seed makes, and the pause before the next try where nobody listens.
const OUTAGE_MS: u64 = 100;
/// Under this name the buffer remembers what was acknowledged.
const CURSOR: &str = "acknowledged";

/// Opens the buffer, or makes it.
pub(crate) fn open(dir: &Path, cap_bytes: u64) -> Result<Log, Failure> {
    let every = SyncPolicy::Every { records: None, bytes: None, interval_ms: Some(SYNC_INTERVAL_MS) };
    let config = LogConfig::small_disk(cap_bytes).sync_policy(every);
    Log::open(dir, config).map_err(of_buffer)
}

/// Appends readings until the buffer has seen `total`, in this run and those before.
pub(crate) fn produce(log: &Log, total: u64, over: &AtomicBool) -> Result<(), Failure> {
    let mut end = log.log_end_offset().value();
    while end < total && !over.load(Ordering::Acquire) {
        let readings: Vec<String> = (end..total.min(end + BATCH_READINGS)).map(reading).collect();
        let records: Vec<Record<'_>> = readings.iter().map(Record::value).collect();
        let options = AppendOptions::default().expect_log_end(Offset::new(end));
        end = log.append_with(&options, &records).map_err(of_buffer)?.next_offset().value();
        sleep(BATCH_PAUSE);
    }
    log.sync().map(drop).map_err(of_buffer)
}

/// What was measured. It follows from its number, so that the receiver's log can be checked.
pub(crate) fn reading(number: u64) -> String {
    let tenths = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55;
    format!("{{\"reading\":{number},\"celsius\":{}.{}}}", tenths / 10, tenths % 10)
}

fn of_buffer(error: Error) -> Failure {
    format!("the buffer: {error}").into()
}

/// Why a connection ends.
enum Trouble {
    /// It broke. The next one goes on.
    Line(io::Error),
    /// No other connection would be better.
    Fatal(Failure),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Line(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Fatal(of_buffer(error))
    }
}

/// What is read from the buffer and sent, and what came of it.
pub(crate) struct Forwarder<'a> {
    log: &'a Log,
    /// Sees what is synced.
    reader: Reader,
    cursor: NamedCursor,
    mode: Mode,
    to: SocketAddr,
    dice: u64,
    breaks_left: u64,
    complaint: String,
    pub(crate) breaks: u64,
    pub(crate) sent: u64,
}

impl<'a> Forwarder<'a> {
    pub(crate) fn new(
        log: &'a Log,
        mode: Mode,
        to: SocketAddr,
        (seed, breaks): (u64, u64),
    ) -> Result<Forwarder<'a>, Failure> {
        let reader = log.reader().up_to(ReadUpTo::Synced);
        let cursor = log.cursor(CURSOR)?;
        let complaint = String::new();
        Ok(Forwarder { log, reader, cursor, mode, to, dice: seed, breaks_left: breaks, complaint, breaks: 0, sent: 0 })
    }

    /// Sends until everything below `total` is acknowledged, over as many connections as it takes.
    pub(crate) fn forward(&mut self, total: u64, over: &AtomicBool) -> Result<(), Failure> {
        while !over.load(Ordering::Acquire) {
            match self.forward_once(total, over) {
                Ok(()) => break,
                Err(Trouble::Fatal(failure)) => return Err(failure),
                Err(Trouble::Line(error)) => {
                    self.breaks += 1;
                    self.complain(&error);
                    let outage_ms = self.throw(OUTAGE_MS) + 1;
                    sleep(Duration::from_millis(outage_ms));
                }
            }
        }
        Ok(())
    }

    fn forward_once(&mut self, total: u64, over: &AtomicBool) -> Result<(), Trouble> {
        let (mut line, expected) = Line::connect(self.to, self.mode)?;
        let mut next = self.begin_at(expected)?;
        while next < total && !over.load(Ordering::Acquire) {
            let Some(frame) = self.frame(next)? else { continue };
            if let Frame::Readings { values, .. } = &frame {
                self.sent += values.len() as u64;
            }
            self.send(&mut line, &frame, frame.next() >= total)?;
            if line.receive_answer()? != frame.next() {
                return Err(io::Error::other("the receiver answered something else").into());
            }
            // Only now, and never before: what is not acknowledged must be sent again. Should this be lost it is, too.
            if self.mode == Mode::AtLeastOnce {
                self.cursor.commit(Offset::new(frame.next()))?;
            }
            next = frame.next();
        }
        Ok(())
    }

    /// Whose word counts about what comes next: the receiver's, or that of the buffer's own cursor.
    fn begin_at(&self, expected: u64) -> Result<u64, Trouble> {
        if expected == REFUSED {
            let why =
                "the receiver does not know what comes next: it was fed in the other mode, or its log was truncated";
            return Err(Trouble::Fatal(why.into()));
        }
        let next = match self.mode {
            Mode::ExactlyOnce => expected,
            Mode::AtLeastOnce => self.cursor.committed()?.map_or(0, Offset::value),
        };
        let end = self.log.log_end_offset().value();
        if next > end {
            let why = format!("the receiver expects reading {next}, the buffer ends at {end}: it is another one");
            return Err(Trouble::Fatal(why.into()));
        }
        Ok(next)
    }

    /// What comes next, or that it was dropped. `None` if nothing came for a while.
    fn frame(&self, next: u64) -> Result<Option<Frame>, Trouble> {
        let found = self.reader.read_waiting(Offset::new(next), 1, FRAME_BYTES, u64::from(FRAME_READINGS), PATIENCE);
        let slice = match found {
            Ok(slice) => slice,
            Err(Error::OffsetOutOfRange { start, .. }) if start.value() > next => {
                let dropped = (start.value() - next).min(u64::from(FRAME_READINGS));
                let count = u32::try_from(dropped).unwrap_or(FRAME_READINGS);
                return Ok(Some(Frame::Dropped { first: next, count }));
            }
            Err(error) => return Err(error.into()),
        };
        let mut values = Vec::new();
        for record in slice.records() {
            let record = record?;
            values.push(record.value().unwrap_or_default().to_vec());
        }
        Ok((!values.is_empty()).then_some(Frame::Readings { first: next, values }))
    }

    /// Sends a frame, unless the seed has the connection break: in the middle of it, or behind it, where the receiver has
    /// stored it and the sender will never hear of that.
    fn send(&mut self, line: &mut Line, frame: &Frame, is_last: bool) -> io::Result<()> {
        if self.breaks_left == 0 || (self.throw(2) == 0 && !is_last) {
            return line.send(frame);
        }
        self.breaks_left -= 1;
        // Behind the last frame nothing is sent any more: what breaks are left are made in it.
        let is_whole = self.throw(2) == 0 && !is_last;
        let at = self.throw(u64::from(u32::MAX));
        line.break_in(frame, (!is_whole).then_some(at))
    }

    /// Says what is wrong with the connection, once, unless the seed broke it.
    fn complain(&mut self, error: &io::Error) {
        let message = error.to_string();
        if error.kind() != ErrorKind::ConnectionAborted && message != self.complaint {
            eprintln!("store_and_forward: connecting to {}, and trying again: {message}", self.to);
            self.complaint = message;
        }
    }

    /// A number below `sides`, by a linear congruential generator.
    fn throw(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }
}
