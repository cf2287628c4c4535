//! Batches in memory: what a log sent to a socket, or a client hands over, read without a log.
//!
//! The parser is the one of stored batches; only the bytes lie elsewhere. The invariant it owns: any bytes give batches,
//! a typed error, or the beginning of a batch that is left over.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Corruption, Error, Result};
use crate::offset::{Offset, Position};
use crate::record::{BatchHeader, DecodeLimits, verify_crc};

use super::batch::StoredBatch;

/// What errors name in place of a file.
const NO_FILE: &str = "batches in memory";

/// The batches that lie one after the other in bytes: in those that a receiver of [`LogSlice::send_to`] has, in a
/// producer's request, in a copy of a `.log`.
///
/// A batch whose end is not there yet is no error: the iterator ends before it, and [`ReceivedBatches::rest`] has its
/// beginning, to go on with once more has come. A batch whose checksum is wrong is an error, and the iterator is finished
/// then. Where a batch names its place, that is the place in the bytes.
///
/// ```
/// use kstore::{Log, LogConfig, ReceivedBatches, Record};
/// # use std::io::Read;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let log = Log::open(dir.path().join("log"), LogConfig::default())?;
/// # let appended = log.append(&[Record::value("paid")])?;
/// let (socket, mut peer) = std::os::unix::net::UnixStream::pair()?;
/// log.read(appended.base_offset(), 1 << 20)?.send_to(&socket)?;
/// drop(socket);
///
/// let mut received = Vec::new();
/// peer.read_to_end(&mut received)?;
/// let mut batches = ReceivedBatches::new(&received);
/// for batch in &mut batches {
///     for record in batch?.records() {
///         assert_eq!(record?.value(), Some(&b"paid"[..]));
///     }
/// }
/// assert!(batches.rest().is_empty());
/// # Ok(())
/// # }
/// ```
///
/// [`LogSlice::send_to`]: crate::LogSlice::send_to
#[derive(Clone, Debug)]
pub struct ReceivedBatches<'a> {
    bytes: &'a [u8],
    /// What is given already.
    given: usize,
    failed: bool,
    limits: DecodeLimits,
    path: Arc<Path>,
}

impl<'a> ReceivedBatches<'a> {
    /// Begins at the first byte, where a batch must begin. No batch may unfold to more than 2,147,483,639 bytes, as in a
    /// log by default.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> ReceivedBatches<'a> {
        let path = Path::new(NO_FILE).into();
        ReceivedBatches { bytes, given: 0, failed: false, limits: DecodeLimits::default(), path }
    }

    /// The bytes behind the batches that were given.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.given..).unwrap_or_default()
    }

    fn advance(&mut self) -> Result<Option<StoredBatch>> {
        let rest = self.rest();
        let position = Position::new(u64::try_from(self.given).expect("lengths in memory fit 64 bits"));
        let corrupt = |reason| Error::corrupt(&self.path, position, reason);
        let header = match BatchHeader::parse(rest) {
            Ok(header) => header,
            // Too little for a header.
            Err(Corruption::Truncated { .. }) => return Ok(None),
            Err(reason) => return Err(corrupt(reason)),
        };
        let Some(batch) = usize::try_from(header.size_bytes).ok().and_then(|size| rest.get(..size)) else {
            return Ok(None);
        };
        verify_crc(batch, &header).map_err(corrupt)?;
        self.given += batch.len();
        let segment = Offset::ZERO;
        Ok(Some(StoredBatch::new(header, batch.to_vec().into(), Ok(()), segment, position, &self.path, self.limits)))
    }
}

impl Iterator for ReceivedBatches<'_> {
    type Item = Result<StoredBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let batch = self.advance();
        self.failed = batch.is_err();
        batch.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, Compression, Record};

    fn batch(compression: Compression, values: &[&str]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(compression);
        for value in values {
            builder.push(Record::value(value)).expect("a sound record");
        }
        builder.encode().expect("a sound batch").to_vec()
    }

    fn values(batches: &mut ReceivedBatches<'_>) -> Result<Vec<String>> {
        let mut values = Vec::new();
        for batch in batches {
            for record in batch?.records() {
                values.push(String::from_utf8_lossy(record?.value().unwrap_or_default()).into_owned());
            }
        }
        Ok(values)
    }

    #[test]
    fn whole_batches_are_read_and_the_beginning_of_one_is_left_over() {
        let bytes = [batch(Compression::None, &["a", "b"]), batch(Compression::None, &["c"])].concat();
        let first = batch(Compression::None, &["a", "b"]).len();
        for end in 0..=bytes.len() {
            let mut batches = ReceivedBatches::new(&bytes[..end]);
            let expected: &[&str] = match end {
                _ if end == bytes.len() => &["a", "b", "c"],
                _ if end >= first => &["a", "b"],
                _ => &[],
            };
            assert_eq!(values(&mut batches).expect("sound as far as it goes"), expected, "of {end} bytes");
            let whole = if end == bytes.len() {
                end
            } else if end >= first {
                first
            } else {
                0
            };
            assert_eq!(batches.rest(), &bytes[whole..end]);
        }
    }

    #[test]
    fn a_batch_knows_its_place_in_the_bytes() {
        let bytes = [batch(Compression::None, &["a"]), batch(Compression::None, &["b"])].concat();
        let places: Vec<u64> =
            ReceivedBatches::new(&bytes).map(|batch| batch.expect("sound").position().value()).collect();
        assert_eq!(places, [0, bytes.len() as u64 / 2]);
    }

    #[test]
    fn a_wrong_byte_is_an_error_at_its_batch_and_the_end() {
        let bytes = [batch(Compression::None, &["a"]), batch(Compression::None, &["b"])].concat();
        let mut wrong = bytes.clone();
        let last = wrong.len() - 1;
        wrong[last] ^= 1;
        let mut batches = ReceivedBatches::new(&wrong);
        assert!(batches.next().is_some_and(|batch| batch.is_ok()));
        let refused = batches.next().expect("a second batch").expect_err("its checksum is wrong");
        assert!(matches!(refused, Error::Corrupt { position, .. } if position.value() == bytes.len() as u64 / 2));
        assert!(batches.next().is_none());
        let mut zeros = ReceivedBatches::new(&[0; 100]);
        assert!(matches!(zeros.next(), Some(Err(Error::Corrupt { reason: Corruption::Zeros, .. }))));
    }
}
