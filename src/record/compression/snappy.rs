//! Snappy blocks in the framing of the Java clients (xerial), which is not Google's framing format.
//!
//! ```text
//! 82 'S' 'N' 'A' 'P' 'P' 'Y' 00 │ version: i32 = 1 │ oldest compatible: i32 = 1 │ { length: i32 │ block }*
//! ```
//! Blocks hold at most 32 KiB of records. Reading also takes a bare block without any framing, which some clients
//! write, and framing headers repeated between blocks, which appear where streams were concatenated.

use byteorder::{BigEndian, ByteOrder};
use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{Compression, DecodeLimits, refused};
use crate::error::Corruption;

const FRAMING_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const FRAMING_HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
const LENGTH_BYTES: usize = 4;
const BLOCK_BYTES: usize = 32 << 10;
/// A copy of 64 bytes takes three at least, so no block unfolds to more than this times its length.
const MOST_EXPANSION: usize = 22;

/// The encoder's hash table, kept between batches.
pub(crate) struct Compressor {
    encoder: Encoder,
}

impl Default for Compressor {
    fn default() -> Compressor {
        Compressor { encoder: Encoder::new() }
    }
}

impl Compressor {
    pub(super) fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&FRAMING_HEADER);
        for block in input.chunks(BLOCK_BYTES) {
            let length_at = out.len();
            let block_at = length_at + LENGTH_BYTES;
            out.resize(block_at + max_compress_len(block.len()), 0);
            let written =
                self.encoder.compress(block, &mut out[block_at..]).expect("the room is what the encoder asks for");
            let length = u32::try_from(written).expect("a block of 32 KiB compresses to little more");
            BigEndian::write_u32(&mut out[length_at..block_at], length);
            out.truncate(block_at + written);
        }
    }
}

pub(super) fn decompress(compressed: &[u8], limits: DecodeLimits, out: &mut Vec<u8>) -> Result<(), Corruption> {
    let Some(mut rest) = after_framing_header(compressed) else {
        return decompress_block(compressed, limits, out);
    };
    while !rest.is_empty() {
        if let Some(after) = after_framing_header(rest) {
            rest = after;
            continue;
        }
        let Some((length, after)) = rest.split_at_checked(LENGTH_BYTES) else {
            return Err(refused(Compression::Snappy, "a block length is cut off"));
        };
        let length = BigEndian::read_u32(length) as usize;
        let Some((block, after)) = after.split_at_checked(length) else {
            return Err(refused(Compression::Snappy, "a block is cut off"));
        };
        decompress_block(block, limits, out)?;
        rest = after;
    }
    Ok(())
}

/// The bytes behind a framing header; versions are not looked at, as there has only ever been one.
fn after_framing_header(bytes: &[u8]) -> Option<&[u8]> {
    if !bytes.starts_with(&FRAMING_MAGIC) {
        return None;
    }
    bytes.get(FRAMING_HEADER.len()..)
}

fn decompress_block(block: &[u8], limits: DecodeLimits, out: &mut Vec<u8>) -> Result<(), Corruption> {
    let size = decompress_len(block).map_err(|_| refused(Compression::Snappy, "a block declares no size"))?;
    if size > block.len().saturating_mul(MOST_EXPANSION) {
        return Err(refused(Compression::Snappy, "a block declares more than its bytes can unfold to"));
    }
    let at = out.len();
    if size > limits.cap().saturating_sub(at) {
        return Err(limits.exceeded());
    }
    out.resize(at + size, 0);
    Decoder::new()
        .decompress(block, &mut out[at..])
        .map_err(|_| refused(Compression::Snappy, "a block does not unfold to its size"))?;
    Ok(())
}
