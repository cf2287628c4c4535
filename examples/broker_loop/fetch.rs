//! Fetching, both ends of it: a broker's session with one client, and the client.
//!
//! A request is an offset; the answer is a length, the high watermark, and whole batches as they are stored. The
//! broker's end neither reads nor copies them: the kernel sends them from the page cache, and since the socket does not
//! block, in as many pieces as it takes. The invariant it owns: an answer is sent whole before the next request is read.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use kstore::{Error, Log, LogSlice, Offset, ReadUpTo};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Failure;

/// A consumer is answered once so much is there, or after the wait: fewer, larger answers.
const MIN_BYTES: u64 = 16 << 10;
/// More than a socket takes at once.
const MAX_BYTES: u64 = 1 << 20;
const MAX_WAIT: Duration = Duration::from_millis(20);

/// Who fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Sees what is replicated.
    Consumer,
    /// Replicates: sees everything, and each request says how much it has.
    Follower,
}

/// What a session did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Served {
    pub(crate) answers: u64,
    pub(crate) bytes: u64,
    /// How often a socket took no more for now.
    pub(crate) resumed: u64,
}

impl Served {
    pub(crate) fn and(self, other: Served) -> Served {
        Served {
            answers: self.answers + other.answers,
            bytes: self.bytes + other.bytes,
            resumed: self.resumed + other.resumed,
        }
    }
}

/// The broker's end, until the client closes.
pub(crate) fn serve(log: &Log, socket: &UnixStream, role: Role) -> Result<Served, Failure> {
    socket.set_nonblocking(true)?;
    let (reader, min_bytes) = match role {
        Role::Consumer => (log.reader().up_to(ReadUpTo::HighWatermark), MIN_BYTES),
        Role::Follower => (log.reader(), 1),
    };
    let mut served = Served::default();
    while let Some(from) = receive(socket)? {
        if role == Role::Follower {
            // It asks for what comes next, so it has everything before. With one follower that is what replicated means.
            log.raise_high_watermark(from)?;
        }
        let slice = reader.read_waiting(from, min_bytes, MAX_BYTES, u64::MAX, MAX_WAIT)?;
        match answer(socket, log.high_watermark(), &slice, &mut served) {
            Err(Failure::Log(Error::PeerClosed)) => break,
            answered => answered?,
        }
    }
    Ok(served)
}

/// The offset that a client asks for; `None` if it closed.
fn receive(mut socket: &UnixStream) -> io::Result<Option<Offset>> {
    let mut request = [0; 8];
    let mut received = 0;
    while received < request.len() {
        match socket.read(&mut request[received..]) {
            Ok(0) => return Ok(None),
            Ok(read) => received += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(socket, PollFlags::POLLIN)?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(Offset::new(u64::from_be_bytes(request))))
}

fn answer(mut socket: &UnixStream, watermark: Offset, slice: &LogSlice, served: &mut Served) -> Result<(), Failure> {
    let head: Vec<u8> = [slice.size_bytes(), watermark.value()].into_iter().flat_map(u64::to_be_bytes).collect();
    // The socket is empty: whoever asks has read the answer before. So there is room for these few bytes.
    match socket.write_all(&head) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(Error::PeerClosed.into()),
        written => written?,
    }
    let mut sent_bytes = 0;
    while sent_bytes < slice.size_bytes() {
        let sent = slice.send_to_from(socket, sent_bytes)?;
        sent_bytes += sent.bytes;
        if sent.would_block {
            // The slice keeps its file, whatever becomes of the segment meanwhile.
            wait(socket, PollFlags::POLLOUT)?;
            served.resumed += 1;
        }
    }
    served.answers += 1;
    served.bytes += sent_bytes;
    Ok(())
}

fn wait(socket: &UnixStream, until: PollFlags) -> io::Result<()> {
    poll(&mut [PollFd::new(socket.as_fd(), until)], PollTimeout::NONE)?;
    Ok(())
}

/// The client's end: what is there from an offset on, into `batches`, and the high watermark.
pub(crate) fn fetch(mut socket: &UnixStream, from: Offset, batches: &mut Vec<u8>) -> io::Result<Offset> {
    socket.write_all(&from.value().to_be_bytes())?;
    let mut number = [0; 8];
    socket.read_exact(&mut number)?;
    let length = usize::try_from(u64::from_be_bytes(number)).map_err(|_| ErrorKind::InvalidData)?;
    socket.read_exact(&mut number)?;
    batches.resize(length, 0);
    socket.read_exact(batches)?;
    Ok(Offset::new(u64::from_be_bytes(number)))
}
