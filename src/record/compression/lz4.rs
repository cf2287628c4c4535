//! LZ4 frames of independent blocks.
//!
//! The framing is ours and not the codec crate's, because Kafka's reader and writer agree on a narrower format than
//! LZ4's: blocks of 64 KiB when writing, never dependent on each other, one frame, no dictionary; the content checksum
//! is read and not verified; format 0 has a wrong header checksum that must be ignored. It also keeps memory bounded by
//! what the blocks really hold, where a frame header alone could claim 4 MiB a block.

use lz4_flex::block::{CompressTable, DecompressError};
use lz4_flex::block::{compress_into_with_table, decompress_into, get_maximum_output_size};

use super::xxh32::xxh32;
use super::{Compression, DecodeLimits, HeaderChecksum, refused};
use crate::error::Corruption;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Version 1, independent blocks, no checksums, no content size.
const WRITTEN_FLAGS: u8 = 0x60;
/// Blocks of 64 KiB.
const WRITTEN_BLOCK_DESCRIPTOR: u8 = 0x40;
const WRITTEN_BLOCK_BYTES: usize = 64 << 10;
/// `xxh32` over the two bytes above, its second byte; a test computes it.
const WRITTEN_HEADER_CHECKSUM: u8 = 0x82;
const END_MARK: [u8; 4] = [0; 4];

const VERSION_MASK: u8 = 0xc0;
const VERSION_1: u8 = 0x40;
const INDEPENDENT_BLOCKS: u8 = 0x20;
const BLOCK_CHECKSUMS: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const CONTENT_CHECKSUM: u8 = 0x04;
const RESERVED_FLAGS: u8 = 0x03;
/// The top bit of a block's length: the block is stored as it is.
const STORED: u32 = 0x8000_0000;
/// No byte of a block unfolds to more than this many.
const MOST_EXPANSION: usize = 255;

/// The encoder's hash table, kept between batches.
pub(crate) struct Compressor {
    table: CompressTable,
}

impl Default for Compressor {
    fn default() -> Compressor {
        Compressor { table: CompressTable::large() }
    }
}

impl Compressor {
    pub(super) fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[WRITTEN_FLAGS, WRITTEN_BLOCK_DESCRIPTOR, WRITTEN_HEADER_CHECKSUM]);
        for block in input.chunks(WRITTEN_BLOCK_BYTES) {
            self.compress_block(block, out);
        }
        out.extend_from_slice(&END_MARK);
    }

    fn compress_block(&mut self, block: &[u8], out: &mut Vec<u8>) {
        let length_at = out.len();
        let block_at = length_at + 4;
        out.resize(block_at + get_maximum_output_size(block.len()), 0);
        let written = compress_into_with_table(block, &mut out[block_at..], &mut self.table)
            .expect("the room is what the encoder asks for");
        let mut length = u32::try_from(written).expect("a block of 64 KiB compresses to little more");
        out.truncate(block_at + written);
        if written >= block.len() {
            length = STORED | u32::try_from(block.len()).expect("at most 64 KiB");
            out.truncate(block_at);
            out.extend_from_slice(block);
        }
        out[length_at..block_at].copy_from_slice(&length.to_le_bytes());
    }
}

pub(super) fn decompress(
    compressed: &[u8],
    header_checksum: HeaderChecksum,
    limits: DecodeLimits,
    out: &mut Vec<u8>,
) -> Result<(), Corruption> {
    let mut input = compressed;
    let frame = FrameHeader::take(&mut input, header_checksum)?;
    loop {
        let length = take_u32(&mut input)?;
        if length == 0 {
            break;
        }
        let stored = length & STORED != 0;
        let length = (length & !STORED) as usize;
        if length > frame.block_bytes {
            return Err(refused(Compression::Lz4, "a block is larger than the frame's blocks may be"));
        }
        let block = take(&mut input, length)?;
        if frame.block_checksums && take_u32(&mut input)? != xxh32(block) {
            return Err(refused(Compression::Lz4, "a block's checksum does not match"));
        }
        if stored {
            if block.len() > limits.cap().saturating_sub(out.len()) {
                return Err(limits.exceeded());
            }
            out.extend_from_slice(block);
        } else {
            decompress_block(block, frame.block_bytes, limits, out)?;
        }
    }
    if frame.content_checksum {
        take(&mut input, 4)?;
    }
    // What follows the frame is not looked at, as Kafka's reader does not: should records be missing, their count tells.
    Ok(())
}

fn decompress_block(
    block: &[u8],
    block_bytes: usize,
    limits: DecodeLimits,
    out: &mut Vec<u8>,
) -> Result<(), Corruption> {
    let at = out.len();
    let below_cap = limits.cap().saturating_sub(at);
    let most = block.len().saturating_mul(MOST_EXPANSION).min(block_bytes);
    let room = most.min(below_cap);
    out.resize(at + room, 0);
    match decompress_into(block, &mut out[at..]) {
        Ok(written) => {
            out.truncate(at + written);
            Ok(())
        }
        Err(DecompressError::OutputTooSmall { .. }) if room < most => Err(limits.exceeded()),
        Err(_) => Err(refused(Compression::Lz4, "a block does not unfold")),
    }
}

struct FrameHeader {
    block_bytes: usize,
    block_checksums: bool,
    content_checksum: bool,
}

impl FrameHeader {
    fn take(input: &mut &[u8], header_checksum: HeaderChecksum) -> Result<FrameHeader, Corruption> {
        if take(input, MAGIC.len())? != MAGIC {
            return Err(refused(Compression::Lz4, "the frame's magic is wrong"));
        }
        let described = *input;
        let &[flags, block_descriptor] = take(input, 2)? else { unreachable!("two bytes were taken") };
        if flags & VERSION_MASK != VERSION_1 {
            return Err(refused(Compression::Lz4, "the frame's version is not 1"));
        }
        if flags & INDEPENDENT_BLOCKS == 0 {
            return Err(refused(Compression::Lz4, "its blocks depend on each other"));
        }
        if flags & RESERVED_FLAGS != 0 || block_descriptor & 0x8f != 0 {
            return Err(refused(Compression::Lz4, "reserved bits are set, or a dictionary is named"));
        }
        let block_bytes = match block_descriptor >> 4 {
            code @ 4..=7 => 1_usize << (8 + 2 * code),
            _ => return Err(refused(Compression::Lz4, "the block size is unknown")),
        };
        if flags & CONTENT_SIZE != 0 {
            take(input, 8)?;
        }
        let described = &described[..described.len() - input.len()];
        let checksum = take(input, 1)?[0];
        if header_checksum == HeaderChecksum::Verified && checksum != second_byte(xxh32(described)) {
            return Err(refused(Compression::Lz4, "the header's checksum does not match"));
        }
        Ok(FrameHeader {
            block_bytes,
            block_checksums: flags & BLOCK_CHECKSUMS != 0,
            content_checksum: flags & CONTENT_CHECKSUM != 0,
        })
    }
}

fn second_byte(hash: u32) -> u8 {
    hash.to_le_bytes()[1]
}

fn take<'a>(input: &mut &'a [u8], count: usize) -> Result<&'a [u8], Corruption> {
    let (taken, rest) = input.split_at_checked(count).ok_or(refused(Compression::Lz4, "the frame ends too early"))?;
    *input = rest;
    Ok(taken)
}

fn take_u32(input: &mut &[u8]) -> Result<u32, Corruption> {
    let bytes = take(input, 4)?.first_chunk().expect("four bytes were taken");
    Ok(u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_header_carries_its_own_checksum() {
        assert_eq!(second_byte(xxh32(&[WRITTEN_FLAGS, WRITTEN_BLOCK_DESCRIPTOR])), WRITTEN_HEADER_CHECKSUM);
    }
}
