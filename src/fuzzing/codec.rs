//! One codec: arbitrary bytes unfolded under caps, and arbitrary bytes there and back.
//!
//! Knows no batch. The input: one byte of options (bits 0 and 1: the codec; bit 2: whether the checksum of an LZ4 frame's
//! header is ignored; bits 3 to 7: the cap, as a power of two), one byte that says where compressed bytes are damaged,
//! then the bytes. What it holds a codec to: a cap decides whether bytes are unfolded and never to what, memory follows
//! what is unfolded and the cap and not what the bytes declare, and what was compressed is unfolded to what it was.

use super::{Meter, UNFOLDED_BYTES};
use crate::error::Corruption;
use crate::record::{Compression, Compressor, DecodeLimits, HeaderChecksum, decompress};

const CODECS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
/// A codec's tables.
const TABLES_BYTES: usize = 512 << 10;
/// A codec may ask for this times its input before anything is unfolded.
const FIRST_ROOM_FACTOR: usize = 256;
/// Growth copies: the old room and the new one, which may be twice as large.
const GROWTH_FACTOR: usize = 3;
/// What framing adds to bytes that nothing makes smaller: blocks of 32 KiB and more, with a few bytes each.
const FRAMING_BYTES: usize = 128;

/// Unfolds the bytes, and compresses and unfolds them.
pub fn codec(bytes: &[u8], meter: Meter) {
    let Some((&[options, place], payload)) = bytes.split_first_chunk::<2>() else { return };
    let header_checksum = if options & 4 == 0 { HeaderChecksum::Verified } else { HeaderChecksum::Ignored };
    let unfold = Unfold { codec: CODECS[usize::from(options & 3)], header_checksum, meter };
    let cap = (1_usize << (options >> 3)).min(UNFOLDED_BYTES);
    unfold.under_caps(payload, cap);

    let mut compressed = there_and_back(unfold, payload);
    let at = compressed.len() * usize::from(place) / 256;
    compressed[at] ^= 1 << (place & 7);
    unfold.under_caps(&compressed, cap);
}

/// How to unfold.
#[derive(Clone, Copy)]
struct Unfold {
    codec: Compression,
    header_checksum: HeaderChecksum,
    meter: Meter,
}

impl Unfold {
    fn with_cap(self, compressed: &[u8], cap: usize) -> Result<Vec<u8>, Corruption> {
        let limits = DecodeLimits { max_decompressed_bytes: number(cap) };
        // With this in it the buffer is no fresh one: the decoder empties it.
        let mut out = b"before".to_vec();
        let most = TABLES_BYTES + FIRST_ROOM_FACTOR * compressed.len() + GROWTH_FACTOR * cap;
        let outcome =
            self.meter.within(most, || decompress(self.codec, compressed, self.header_checksum, limits, &mut out));
        match &outcome {
            Ok(()) => assert!(out.len() <= cap, "{} bytes came out under a cap of {cap}", out.len()),
            Err(Corruption::Compressed { codec, .. }) => assert_eq!(*codec, self.codec.code()),
            Err(reason) => assert_eq!(*reason, Corruption::DecompressedTooLarge { limit_bytes: number(cap) }),
        }
        outcome.map(|()| out)
    }

    /// Unfolds with the most room, with just enough, with too little, and with this much.
    fn under_caps(self, compressed: &[u8], cap: usize) {
        match self.with_cap(compressed, UNFOLDED_BYTES) {
            Ok(found) => {
                let chosen = self.with_cap(compressed, cap);
                assert_eq!(chosen.is_ok(), found.len() <= cap, "{} bytes under a cap of {cap}", found.len());
                assert!(chosen.is_err() || chosen.as_ref() == Ok(&found), "the cap changes what comes out");
                assert!(self.with_cap(compressed, found.len()).as_ref() == Ok(&found), "there is just enough room");
                if let Some(too_little) = found.len().checked_sub(1) {
                    let refused = Corruption::DecompressedTooLarge { limit_bytes: number(too_little) };
                    assert_eq!(self.with_cap(compressed, too_little), Err(refused));
                }
            }
            Err(_) => assert!(self.with_cap(compressed, cap).is_err(), "less room makes nothing readable"),
        }
    }
}

fn there_and_back(unfold: Unfold, payload: &[u8]) -> Vec<u8> {
    let mut compressor = Compressor::new(unfold.codec).expect("all codecs are built");
    let mut compressed = Vec::new();
    compressor.compress(payload, &mut compressed);
    let most = payload.len() + payload.len() / 6 + FRAMING_BYTES;
    assert!(compressed.len() <= most, "{} bytes became {}", payload.len(), compressed.len());
    let found = unfold.with_cap(&compressed, payload.len());
    assert!(found.is_ok_and(|found| found == payload), "what was compressed is unfolded to what it was");
    // A compressor is kept between batches: nothing of one may be left in the next.
    let mut again = b"before".to_vec();
    compressor.compress(payload, &mut again);
    assert!(again.strip_prefix(b"before") == Some(&compressed), "the same bytes are compressed to the same bytes");
    compressed
}

fn number(len: usize) -> u64 {
    u64::try_from(len).expect("lengths in memory fit 64 bits")
}
