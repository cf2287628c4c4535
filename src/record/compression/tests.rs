//! Each codec there and back, against hostile bytes, and against its cap.

use super::*;

fn compressed(codec: Compression, input: &[u8]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    Compressor::new(codec).unwrap().compress(input, &mut out);
    assert_eq!(&out[..6], b"before", "what is there stays");
    out.split_off(6)
}

fn unfolded(codec: Compression, bytes: &[u8], cap: u64) -> Result<Vec<u8>, Corruption> {
    let mut out = Vec::new();
    let limits = DecodeLimits { max_decompressed_bytes: cap };
    decompress(codec, bytes, HeaderChecksum::Verified, limits, &mut out)?;
    Ok(out)
}

fn available() -> impl Iterator<Item = Compression> {
    Compression::ALL.into_iter().filter(|codec| codec.is_available())
}

/// Bytes that no codec makes smaller.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(count).collect()
}

// Row 57.
#[test]
fn every_codec_gives_back_empty_small_and_large_payloads() {
    let sizes = [0, 1, 100, 32 << 10, (32 << 10) + 1, 64 << 10, (64 << 10) + 1, 1_000_000];
    for codec in available() {
        for size in sizes {
            let text: Vec<u8> = b"kafka ".iter().copied().cycle().take(size).collect();
            for payload in [text, noise(size)] {
                let blob = compressed(codec, &payload);
                assert_eq!(unfolded(codec, &blob, 1 << 20).as_ref(), Ok(&payload), "{codec} {size}");
                assert_eq!(unfolded(codec, &blob, size as u64).as_ref(), Ok(&payload), "{codec} {size}");
                if size > 0 {
                    let cap = size as u64 - 1;
                    let exceeded = Err(Corruption::DecompressedTooLarge { limit_bytes: cap });
                    assert_eq!(unfolded(codec, &blob, cap), exceeded, "{codec} {size}");
                }
            }
        }
    }
}

#[test]
fn one_compressor_serves_many_payloads() {
    for codec in available() {
        let mut compressor = Compressor::new(codec).unwrap();
        for size in [200_000, 10, 0, 70_000, 10] {
            let payload = noise(size);
            let mut blob = Vec::new();
            compressor.compress(&payload, &mut blob);
            assert_eq!(unfolded(codec, &blob, 1 << 20), Ok(payload), "{codec}");
        }
    }
}

#[test]
fn a_bomb_is_refused_without_the_memory_it_asks_for() {
    let payload = vec![0; 16 << 20];
    for codec in available().filter(|codec| *codec != Compression::None) {
        let blob = compressed(codec, &payload);
        let mut out = Vec::new();
        let limits = DecodeLimits { max_decompressed_bytes: 1 << 20 };
        let refused = decompress(codec, &blob, HeaderChecksum::Verified, limits, &mut out);
        assert_eq!(refused, Err(Corruption::DecompressedTooLarge { limit_bytes: 1 << 20 }), "{codec}");
        assert!(out.capacity() <= 4 << 20, "{codec} took {}", out.capacity());
    }
}

#[test]
fn cut_off_and_mutated_bytes_give_an_error_or_other_bytes_and_never_a_panic() {
    let payload: Vec<u8> = [&b"kafka kafka kafka kafka "[..], &noise(40)].concat();
    for codec in available().filter(|codec| *codec != Compression::None) {
        let blob = compressed(codec, &payload);
        for at in 0..blob.len() {
            assert_ne!(unfolded(codec, &blob[..at], 1 << 20).as_ref(), Ok(&payload), "{codec} {at}");
            for flip in [0x01, 0x80, 0xff] {
                let mut mutated = blob.clone();
                mutated[at] ^= flip;
                drop(unfolded(codec, &mutated, 1 << 20));
            }
        }
    }
}

#[test]
fn names_and_numbers_are_kafkas() {
    for (code, name) in (0_u8..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
        let compression: Compression = name.parse().unwrap();
        assert_eq!((compression.code(), compression.name()), (code, name));
        assert_eq!(Compression::from_code(code), Some(compression));
    }
    assert_eq!(Compression::from_code(5), None);
    assert!(matches!("GZIP".parse::<Compression>(), Err(Error::InvalidConfig { name: "compression", .. })));
}

#[cfg(feature = "gzip")]
#[test]
fn gzip_members_one_behind_the_other_are_read() {
    let two = [compressed(Compression::Gzip, b"one"), compressed(Compression::Gzip, b"two")].concat();
    assert_eq!(unfolded(Compression::Gzip, &two, 6), Ok(b"onetwo".to_vec()));
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_frames_one_behind_the_other_are_read() {
    let two = [compressed(Compression::Zstd, b"one"), compressed(Compression::Zstd, b"two")].concat();
    assert_eq!(unfolded(Compression::Zstd, &two, 6), Ok(b"onetwo".to_vec()));
}

#[cfg(feature = "snappy")]
mod snappy {
    use super::*;

    const HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

    #[test]
    fn blocks_of_32_kib_stand_behind_one_framing_header() {
        let payload = noise(80_000);
        let blob = compressed(Compression::Snappy, &payload);
        assert_eq!(blob[..16], HEADER);
        let mut rest = &blob[16..];
        let mut sizes = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (block, after) = after.split_at(u32::from_be_bytes(*length) as usize);
            sizes.push(snap::raw::decompress_len(block).unwrap());
            rest = after;
        }
        assert_eq!(sizes, [32_768, 32_768, 14_464]);
    }

    #[test]
    fn a_bare_block_and_repeated_framing_headers_are_read() {
        let bare = snap::raw::Encoder::new().compress_vec(b"records").unwrap();
        assert_eq!(unfolded(Compression::Snappy, &bare, 7), Ok(b"records".to_vec()));
        let framed = compressed(Compression::Snappy, b"records");
        let twice = [&framed[..], &framed].concat();
        assert_eq!(unfolded(Compression::Snappy, &twice, 14), Ok(b"recordsrecords".to_vec()));
    }

    #[test]
    fn a_declared_size_that_the_block_cannot_fill_is_not_believed() {
        let liar = [0xff, 0xff, 0xff, 0xff, 0x07, 0, 0];
        let why = "a block declares more than its bytes can unfold to";
        let refused = unfolded(Compression::Snappy, &liar, u64::MAX);
        assert_eq!(refused, Err(Corruption::Compressed { codec: 2, why }));
    }
}

#[cfg(feature = "lz4")]
mod lz4 {
    use super::*;
    use crate::record::compression::xxh32::xxh32;

    /// A frame with these flags and block descriptor, a right header checksum, and `rest` behind it.
    fn frame(flags: u8, descriptor: u8, extra: &[u8], rest: &[u8]) -> Vec<u8> {
        let described = [&[flags, descriptor][..], extra].concat();
        let checksum = xxh32(&described).to_le_bytes()[1];
        [&[0x04, 0x22, 0x4d, 0x18][..], &described, &[checksum], rest].concat()
    }

    fn refused(bytes: &[u8]) -> &'static str {
        match unfolded(Compression::Lz4, bytes, 1 << 30) {
            Err(Corruption::Compressed { codec: 3, why }) => why,
            other => panic!("{other:?}"),
        }
    }

    const STORED_ABC: [u8; 7] = [3, 0, 0, 0x80, b'a', b'b', b'c'];
    const END: [u8; 4] = [0; 4];

    fn stored(extra: &[u8]) -> Vec<u8> {
        [&STORED_ABC[..], extra, &END].concat()
    }

    // Row 54.
    #[test]
    fn what_kafkas_reader_refuses_in_a_frame_header_is_refused() {
        let good = frame(0x60, 0x40, &[], &stored(&[]));
        assert_eq!(unfolded(Compression::Lz4, &good, 3), Ok(b"abc".to_vec()));
        for end in 0..good.len() {
            assert_eq!(refused(&good[..end]), "the frame ends too early");
        }
        let mut wrong_magic = good.clone();
        wrong_magic[0] ^= 1;
        assert_eq!(refused(&wrong_magic), "the frame's magic is wrong");
        assert_eq!(refused(&frame(0x40, 0x40, &[], &stored(&[]))), "its blocks depend on each other");
        assert_eq!(refused(&frame(0xa0, 0x40, &[], &stored(&[]))), "the frame's version is not 1");
        assert_eq!(refused(&frame(0x60, 0x30, &[], &stored(&[]))), "the block size is unknown");
        let reserved = "reserved bits are set, or a dictionary is named";
        for (flags, descriptor) in [(0x61, 0x40), (0x62, 0x40), (0x60, 0xc0), (0x60, 0x41)] {
            assert_eq!(refused(&frame(flags, descriptor, &[0; 4], &stored(&[]))), reserved);
        }
    }

    // Rows 54, 55.
    #[test]
    fn a_wrong_header_checksum_is_refused_unless_it_is_to_be_ignored() {
        let mut wrong = frame(0x60, 0x40, &[], &stored(&[]));
        wrong[6] ^= 1;
        assert_eq!(refused(&wrong), "the header's checksum does not match");
        let mut out = Vec::new();
        let limits = DecodeLimits::default();
        decompress(Compression::Lz4, &wrong, HeaderChecksum::Ignored, limits, &mut out).unwrap();
        assert_eq!(out, b"abc");
    }

    // Row 56.
    #[test]
    fn block_checksums_are_verified_content_sizes_and_checksums_passed_over() {
        let right = xxh32(b"abc").to_le_bytes();
        let flagged = frame(0x70, 0x40, &[], &stored(&right));
        assert_eq!(unfolded(Compression::Lz4, &flagged, 3), Ok(b"abc".to_vec()));
        assert_eq!(refused(&frame(0x70, 0x40, &[], &stored(&[1, 2, 3, 4]))), "a block's checksum does not match");
        let content = [&stored(&[])[..], &[9, 9, 9, 9]].concat();
        let flagged = frame(0x6c, 0x70, &[0xff; 8], &content);
        assert_eq!(unfolded(Compression::Lz4, &flagged, 3), Ok(b"abc".to_vec()));
    }

    // Row 56.
    #[test]
    fn blocks_that_do_not_shrink_are_stored_as_they_are() {
        let payload = noise(70_000);
        let blob = compressed(Compression::Lz4, &payload);
        assert_eq!(blob.len(), 7 + 4 + 65_536 + 4 + (70_000 - 65_536) + 4);
        assert_eq!(blob[7..11], (0x8000_0000_u32 | 65_536).to_le_bytes());
        assert_eq!(blob[11..11 + 65_536], payload[..65_536]);
    }

    #[test]
    fn a_block_larger_than_its_frame_allows_is_refused() {
        let large = [&65_537_u32.to_le_bytes()[..], &[0; 65_537], &END].concat();
        assert_eq!(refused(&frame(0x60, 0x40, &[], &large)), "a block is larger than the frame's blocks may be");
        let expanding = lz4_flex::block::compress(&[0; 65_537]);
        let length = u32::try_from(expanding.len()).unwrap().to_le_bytes();
        let block = [&length[..], &expanding, &END].concat();
        assert_eq!(refused(&frame(0x60, 0x40, &[], &block)), "a block does not unfold");
    }

    #[test]
    fn only_the_first_frame_is_read() {
        let frame = frame(0x60, 0x40, &[], &stored(&[]));
        let two = [&frame[..], &frame].concat();
        assert_eq!(unfolded(Compression::Lz4, &two, 6), Ok(b"abc".to_vec()));
    }
}
