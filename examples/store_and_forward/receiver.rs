//! The receiving side: a log of its own, and one sender at a time.
//!
//! Each offset of the sender becomes one record here, whose key is that offset: the reading, or a tombstone where the
//! sender's buffer had dropped it. The invariant it owns: what is acknowledged is on the disk; and in exactly-once mode
//! the cursor, which is appended as one with the records, says at any moment which offset of the sender comes next.
//!
//! | a crash | finds | and the sender goes on |
//! |---|---|---|
//! | before the append | neither records nor commit | with the same frame |
//! | after it, before the answer arrives | both | behind it, for it asks; in at-least-once mode with the same frame again |
//! | after the answer | both | behind it |

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use kstore::{AppendOptions, CursorCommit, Log, LogConfig, Offset, Record};

use super::Failure;
use super::line::{Frame, Line, Mode, REFUSED};

/// Under this name the receiver's log remembers where the sender is: the sender's next offset is the metadata of a commit.
const CURSOR: &str = "sender";

pub(crate) struct Receiver {
    log: Log,
    listener: TcpListener,
    address: SocketAddr,
}

impl Receiver {
    pub(crate) fn open(dir: &Path) -> Result<Receiver, Failure> {
        let log = Log::open(dir, LogConfig::default()).map_err(|error| format!("the receiver's log: {error}"))?;
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("listening: {error}"))?;
        let address = listener.local_addr()?;
        Ok(Receiver { log, listener, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves one connection after the other: what the last one brought is dealt with before the next one is told what
    /// is expected. Ends at the connection that finds it over.
    pub(crate) fn serve(self, over: &AtomicBool) -> Result<(), Failure> {
        for stream in self.listener.incoming() {
            if over.load(Ordering::Acquire) {
                break;
            }
            // Whatever is wrong with a connection, the next one may be better.
            let Ok(mut line) = stream.and_then(Line::over) else { continue };
            let Ok(mode) = line.receive_hello() else { continue };
            let next = self.expected(mode)?;
            if line.answer(next.unwrap_or(REFUSED)).is_err() || next.is_none() {
                continue;
            }
            while let Ok(Some(frame)) = line.receive() {
                if !self.store(mode, &frame)? || line.answer(frame.next()).is_err() {
                    break;
                }
            }
        }
        Ok(self.log.close()?)
    }

    /// The sender's offset that comes next, as far as the receiver knows. `None` if it has records that were not sent in this mode.
    fn expected(&self, mode: Mode) -> Result<Option<u64>, Failure> {
        let committed = self.log.cursor(CURSOR)?.metadata()?;
        let committed = committed.and_then(|next| Some(u64::from_be_bytes(next.as_ref().try_into().ok()?)));
        let is_new = self.log.log_end_offset() == Offset::ZERO;
        Ok(match mode {
            Mode::ExactlyOnce => committed.or(is_new.then_some(0)),
            Mode::AtLeastOnce => committed.is_none().then_some(0),
        })
    }

    /// Stores a frame durably. `false` if it is not the expected one, so that the sender is to ask again.
    fn store(&self, mode: Mode, frame: &Frame) -> Result<bool, Failure> {
        let keys: Vec<String> = (frame.first()..frame.next()).map(|offset| offset.to_string()).collect();
        let records: Vec<Record<'_>> = match frame {
            Frame::Readings { values, .. } => {
                keys.iter().zip(values).map(|(key, value)| Record::new(key, value)).collect()
            }
            Frame::Dropped { .. } => keys.iter().map(Record::tombstone).collect(),
        };
        let options = AppendOptions::default().sync(true);
        let stored = match mode {
            Mode::AtLeastOnce => self.log.append_with(&options, &records),
            Mode::ExactlyOnce if self.expected(mode)? != Some(frame.first()) => return Ok(false),
            Mode::ExactlyOnce => {
                // Where the sender is goes with the batch; the offset is this log's own business.
                let next = frame.next().to_be_bytes();
                let commit = CursorCommit::new(CURSOR, self.log.log_end_offset()).metadata(&next);
                self.log.append_and_commit(&options, &records, &[commit])
            }
        };
        stored.map(|_| true).map_err(|error| format!("the receiver's log: {error}").into())
    }
}
