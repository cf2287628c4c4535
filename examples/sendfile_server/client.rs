//! One client: its requests, each answered before the next one is read.
//!
//! What is read, remembered and pinned for a client is bounded by this: one request, one slice and a count of bytes,
//! however many requests it sends and however slowly it reads. The invariant it owns: a client gets each answer whole
//! and in turn, or its connection ends.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use kstore::{Error, LogSlice, Offset, Reader};
use nix::poll::PollFlags;

use crate::complain;

/// An offset and a maximum.
const REQUEST_BYTES: usize = 12;
/// Whoever wants more asks again, so that a turn stays short. A larger batch is sent all the same.
const ANSWER_BYTES: u64 = 1 << 20;

/// Set where the head of an answer is no length.
const REFUSED: u32 = 0x8000_0000;
const OUT_OF_RANGE: u32 = REFUSED | 1;
const NO_MAXIMUM: u32 = REFUSED | 2;
const DAMAGED: u32 = REFUSED | 3;
const UNREADABLE: u32 = REFUSED | 4;

pub(crate) struct Client {
    socket: TcpStream,
    request: [u8; REQUEST_BYTES],
    received: usize,
    /// What is being sent. No request is read meanwhile.
    answer: Option<Answer>,
}

/// A head, the batches behind it, and how much of each the socket took.
struct Answer {
    head: [u8; 4],
    head_sent: usize,
    slice: Option<LogSlice>,
    slice_sent: u64,
}

impl Client {
    pub(crate) fn new(socket: TcpStream) -> io::Result<Client> {
        socket.set_nonblocking(true)?;
        // The batches must not wait until the client has acknowledged their head.
        socket.set_nodelay(true)?;
        Ok(Client { socket, request: [0; REQUEST_BYTES], received: 0, answer: None })
    }

    /// What must happen before it is this client's turn.
    pub(crate) fn waits_for(&self) -> PollFlags {
        if self.answer.is_some() { PollFlags::POLLOUT } else { PollFlags::POLLIN }
    }

    /// Receives a request or sends an answer, as far as that goes without waiting. `false` if the client is to be let
    /// go.
    pub(crate) fn take_turn(&mut self, reader: &Reader) -> bool {
        if self.answer.is_none() {
            match self.receive() {
                Ok(true) => self.answer = Some(Answer::to(self.request, reader)),
                Ok(false) => return true,
                // It closed, within a request or between two.
                Err(_) => return false,
            }
        }
        let Some(answer) = &mut self.answer else { return true };
        match answer.send(&self.socket) {
            Ok(true) => self.answer = None,
            Ok(false) => {}
            Err(Error::PeerClosed) => return false,
            Err(error) => {
                // Its head is out, and there is no other way to say that what follows will not come.
                complain(format_args!("an answer was broken off: {error}"));
                return false;
            }
        }
        true
    }

    /// Whether a request is there as a whole.
    fn receive(&mut self) -> io::Result<bool> {
        match self.socket.read(&mut self.request[self.received..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => self.received += read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        let whole = self.received == REQUEST_BYTES;
        if whole {
            self.received = 0;
        }
        Ok(whole)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Answer {
    fn to(request: [u8; REQUEST_BYTES], reader: &Reader) -> Answer {
        let [o0, o1, o2, o3, o4, o5, o6, o7, maximum @ ..] = request;
        let offset = Offset::new(u64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7]));
        let max_bytes = u64::from(u32::from_be_bytes(maximum)).min(ANSWER_BYTES);
        if max_bytes == 0 {
            return Answer::refused(NO_MAXIMUM);
        }
        match reader.read(offset, max_bytes) {
            Ok(slice) => Answer::of(slice),
            Err(Error::OffsetOutOfRange { .. }) => Answer::refused(OUT_OF_RANGE),
            Err(error @ Error::Corrupt { .. }) => {
                complain(error);
                Answer::refused(DAMAGED)
            }
            Err(error) => {
                complain(error);
                Answer::refused(UNREADABLE)
            }
        }
    }

    fn of(slice: LogSlice) -> Answer {
        match u32::try_from(slice.size_bytes()) {
            Ok(length) if length < REFUSED => {
                Answer { head: length.to_be_bytes(), head_sent: 0, slice: Some(slice), slice_sent: 0 }
            }
            // A single batch of this size: the protocol has no length for it.
            _ => Answer::refused(UNREADABLE),
        }
    }

    fn refused(why: u32) -> Answer {
        Answer { head: why.to_be_bytes(), head_sent: 0, slice: None, slice_sent: 0 }
    }

    /// Goes on where it stopped. `false` if the socket takes no more for now.
    fn send(&mut self, mut socket: &TcpStream) -> Result<bool, Error> {
        while self.head_sent < self.head.len() {
            match socket.write(&self.head[self.head_sent..]) {
                Ok(sent) => self.head_sent += sent,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Err(Error::PeerClosed),
            }
        }
        let Some(slice) = &self.slice else { return Ok(true) };
        let sent = slice.send_to_from(socket, self.slice_sent)?;
        self.slice_sent += sent.bytes;
        Ok(!sent.would_block)
    }
}
