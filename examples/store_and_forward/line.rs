//! What is said between the two sides, over a connection that breaks.
//!
//! The sender says hello and how it means to be heard; the receiver answers with the offset that it expects next. Then
//! come frames, each answered by the offset behind it once what it holds is on the receiver's disk. Numbers are
//! big-endian. The invariant it owns: what a side takes for a frame or an answer is a whole one; of anything else it
//! takes nothing, and hangs up.
//!
//! ```text
//! hello  = mode: u8                      answer = next offset: u64
//! frame  = first offset: u64 · count: u32 · is dropped: u8 · (length: u32 · reading)*, none if they were dropped
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Whoever says nothing for so long is gone, as when a machine loses its power in the middle of a sentence.
const SILENCE: Duration = Duration::from_secs(10);
/// The most readings of one frame, and the longest reading.
pub(crate) const FRAME_READINGS: u32 = 10_000;
const READING_BYTES: u32 = 1 << 16;
/// In the place of an offset: the receiver has records, and does not know what comes next in this mode.
pub(crate) const REFUSED: u64 = u64::MAX;

/// What holds when everything has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The sender remembers what was acknowledged. What was received, but not acknowledged, comes again.
    AtLeastOnce,
    /// The receiver remembers what it was sent, together with it.
    ExactlyOnce,
}

/// Readings that follow each other.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Readings {
        first: u64,
        values: Vec<Vec<u8>>,
    },
    /// The buffer had no room for these until they were sent.
    Dropped {
        first: u64,
        count: u32,
    },
}

impl Frame {
    pub(crate) fn first(&self) -> u64 {
        match self {
            Frame::Readings { first, .. } | Frame::Dropped { first, .. } => *first,
        }
    }

    pub(crate) fn next(&self) -> u64 {
        match self {
            Frame::Readings { first, values } => first + values.len() as u64,
            Frame::Dropped { first, count } => first + u64::from(*count),
        }
    }

    fn encode(&self) -> io::Result<Vec<u8>> {
        let too_long = |_| invalid("a frame is too long");
        let mut bytes = self.first().to_be_bytes().to_vec();
        match self {
            Frame::Readings { values, .. } => {
                bytes.extend(u32::try_from(values.len()).map_err(too_long)?.to_be_bytes());
                bytes.push(0);
                for value in values {
                    bytes.extend(u32::try_from(value.len()).map_err(too_long)?.to_be_bytes());
                    bytes.extend(value);
                }
            }
            Frame::Dropped { count, .. } => {
                bytes.extend(count.to_be_bytes());
                bytes.push(1);
            }
        }
        Ok(bytes)
    }
}

/// A connection, from either side.
pub(crate) struct Line {
    stream: TcpStream,
}

impl Line {
    pub(crate) fn over(stream: TcpStream) -> io::Result<Line> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(Line { stream })
    }

    /// The sender's side. Gives back what the receiver expects next.
    pub(crate) fn connect(to: SocketAddr, mode: Mode) -> io::Result<(Line, u64)> {
        let mut line = Line::over(TcpStream::connect_timeout(&to, SILENCE)?)?;
        line.stream.write_all(&[u8::from(mode == Mode::ExactlyOnce)])?;
        let next = line.receive_answer()?;
        Ok((line, next))
    }

    pub(crate) fn receive_hello(&mut self) -> io::Result<Mode> {
        match self.bytes::<1>()? {
            [0] => Ok(Mode::AtLeastOnce),
            [1] => Ok(Mode::ExactlyOnce),
            _ => Err(invalid("nobody says hello like this")),
        }
    }

    pub(crate) fn answer(&mut self, next: u64) -> io::Result<()> {
        self.stream.write_all(&next.to_be_bytes())
    }

    pub(crate) fn receive_answer(&mut self) -> io::Result<u64> {
        self.bytes().map(u64::from_be_bytes)
    }

    pub(crate) fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.stream.write_all(&frame.encode()?)
    }

    /// Breaks the connection in the middle of a frame, or behind it, before it is answered.
    pub(crate) fn break_in(&mut self, frame: &Frame, at: Option<u64>) -> io::Result<()> {
        let bytes = frame.encode()?;
        let length = at.and_then(|at| usize::try_from(at % bytes.len() as u64).ok()).unwrap_or(bytes.len());
        self.stream.write_all(&bytes[..length])?;
        self.stream.shutdown(Shutdown::Both)?;
        Err(io::Error::new(ErrorKind::ConnectionAborted, "as the seed had it"))
    }

    /// The next frame. `None` if the sender hung up behind the last one.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Frame>> {
        let mut begin = [0];
        if self.stream.read(&mut begin)? == 0 {
            return Ok(None);
        }
        let rest: [u8; 7] = self.bytes()?;
        let first = u64::from_be_bytes([begin[0], rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6]]);
        let count = u32::from_be_bytes(self.bytes()?);
        let [is_dropped] = self.bytes()?;
        // Before anything is added or allocated: whoever connects may send anything.
        if !(1..=FRAME_READINGS).contains(&count) || first > i64::MAX as u64 {
            return Err(invalid("no frame begins like this"));
        }
        if is_dropped != 0 {
            return Ok(Some(Frame::Dropped { first, count }));
        }
        let mut values = Vec::new();
        for _ in 0..count {
            let length = u32::from_be_bytes(self.bytes()?);
            if length > READING_BYTES {
                return Err(invalid("a reading is too long"));
            }
            let mut value = vec![0; length as usize];
            self.stream.read_exact(&mut value)?;
            values.push(value);
        }
        Ok(Some(Frame::Readings { first, values }))
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}
