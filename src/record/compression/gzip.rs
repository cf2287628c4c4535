//! gzip: the members of RFC 1952, one after the other.
//!
//! Written as one member at the default level, with no time and no name in its header. Growth on reading is bounded by
//! what has really been unfolded so far.

use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;
use flate2::{Compress, FlushCompress, Status};

use super::{Compression, DecodeLimits, refused};
use crate::error::Corruption;

/// The largest window of the format, which is what everyone uses.
const WINDOW_BITS: u8 = 15;
/// What the decoder may take at the start on the input's word: a byte of deflate gives 1,032 at most, usually below 8.
const FIRST_GUESS_FACTOR: usize = 4;

/// A deflate state, kept between batches.
pub(crate) struct Compressor {
    deflate: Compress,
}

impl Default for Compressor {
    fn default() -> Compressor {
        Compressor { deflate: Compress::new_gzip(flate2::Compression::default(), WINDOW_BITS) }
    }
}

impl Compressor {
    pub(super) fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) {
        self.deflate.reset();
        let mut rest = input;
        loop {
            // Stored blocks bound the growth; should the room still not do, the loop makes more.
            out.reserve(rest.len() + rest.len() / 1000 + 64);
            let consumed_before = self.deflate.total_in();
            let status = self
                .deflate
                .compress_vec(rest, out, FlushCompress::Finish)
                .expect("deflate has no error of its own: the state is fresh and the input whole");
            let consumed = usize::try_from(self.deflate.total_in() - consumed_before).expect("at most rest.len()");
            rest = &rest[consumed..];
            if status == Status::StreamEnd {
                return;
            }
        }
    }
}

pub(super) fn decompress(compressed: &[u8], limits: DecodeLimits, out: &mut Vec<u8>) -> Result<(), Corruption> {
    let cap = limits.cap();
    out.reserve(compressed.len().saturating_mul(FIRST_GUESS_FACTOR).min(cap));
    let one_more = (cap as u64).saturating_add(1);
    MultiGzDecoder::new(compressed).take(one_more).read_to_end(out).map_err(|error| objection(&error))?;
    if out.len() > cap {
        return Err(limits.exceeded());
    }
    Ok(())
}

fn objection(error: &io::Error) -> Corruption {
    let why = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the stream ends too early",
        io::ErrorKind::InvalidInput => "the header or checksum of a member is wrong",
        _ => "not a deflate stream",
    };
    refused(Compression::Gzip, why)
}
