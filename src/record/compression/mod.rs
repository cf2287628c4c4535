//! The codecs: record bytes to and from the framings that Kafka writes into its batches.
//!
//! Which bytes are records and what they mean is not known here. The invariants it owns: what comes out of a
//! decompressor is never larger than the cap it was given, and no memory is taken on the word of a size that the
//! compressed bytes declare but do not fill. A codec left out of the build is a typed error, not a missing name.

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "lz4")]
mod xxh32;
#[cfg(feature = "zstd")]
mod zstd;

use crate::error::{Corruption, Error};

/// How the records of a batch are compressed.
///
/// Every codec can be named in every build; one that was left out is refused with
/// [`Error::UnsupportedCompression`](crate::Error::UnsupportedCompression) when a batch would need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// gzip, at its default level.
    Gzip,
    /// Snappy in the framing of the Java clients.
    Snappy,
    /// An LZ4 frame of independent blocks of 64 KiB.
    Lz4,
    /// Zstandard, at its default level.
    Zstd,
}

impl Compression {
    /// All of them, in the order of their numbers in the format.
    pub(crate) const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// Kafka's name for it: `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// Whether this build can read and write it. Each codec is a cargo feature, on by default.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Compression::None => true,
            Compression::Gzip => cfg!(feature = "gzip"),
            Compression::Snappy => cfg!(feature = "snappy"),
            Compression::Lz4 => cfg!(feature = "lz4"),
            Compression::Zstd => cfg!(feature = "zstd"),
        }
    }

    /// The number in a batch's attributes.
    pub(crate) fn code(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// The codec of a number in a batch's attributes.
    pub(crate) fn from_code(code: u8) -> Option<Compression> {
        Compression::ALL.get(usize::from(code)).copied()
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads Kafka's names, in lower case.
impl FromStr for Compression {
    type Err = Error;

    fn from_str(name: &str) -> Result<Compression, Error> {
        Compression::ALL.into_iter().find(|compression| compression.name() == name).ok_or_else(|| {
            Error::InvalidConfig {
                name: "compression",
                value: name.into(),
                expected: "none, gzip, snappy, lz4 or zstd",
            }
        })
    }
}

/// How much a compressed batch may unfold to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecodeLimits {
    /// The cap on the decompressed records of one batch.
    pub max_decompressed_bytes: u64,
}

impl Default for DecodeLimits {
    /// What a Java array can hold, and so the most that Kafka itself can unfold.
    fn default() -> DecodeLimits {
        DecodeLimits { max_decompressed_bytes: 2_147_483_639 }
    }
}

impl DecodeLimits {
    /// The cap in memory's terms.
    fn cap(self) -> usize {
        usize::try_from(self.max_decompressed_bytes).unwrap_or(usize::MAX)
    }

    fn exceeded(self) -> Corruption {
        Corruption::DecompressedTooLarge { limit_bytes: self.max_decompressed_bytes }
    }
}

/// What to do about the checksum in the header of an LZ4 frame, which format 0 computes over the wrong bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderChecksum {
    Verified,
    Ignored,
}

/// Unfolds `compressed` into an empty `out`. Without compression that is a copy, which callers do well to avoid.
#[cfg_attr(not(feature = "lz4"), allow(unused_variables, reason = "only LZ4 has a header checksum"))]
pub(crate) fn decompress(
    codec: Compression,
    compressed: &[u8],
    header_checksum: HeaderChecksum,
    limits: DecodeLimits,
    out: &mut Vec<u8>,
) -> Result<(), Corruption> {
    out.clear();
    match codec {
        Compression::None if compressed.len() > limits.cap() => Err(limits.exceeded()),
        Compression::None => {
            out.extend_from_slice(compressed);
            Ok(())
        }
        #[cfg(feature = "gzip")]
        Compression::Gzip => gzip::decompress(compressed, limits, out),
        #[cfg(feature = "snappy")]
        Compression::Snappy => snappy::decompress(compressed, limits, out),
        #[cfg(feature = "lz4")]
        Compression::Lz4 => lz4::decompress(compressed, header_checksum, limits, out),
        #[cfg(feature = "zstd")]
        Compression::Zstd => zstd::decompress(compressed, limits, out),
        #[allow(unreachable_patterns, reason = "reached where a codec was left out of the build")]
        left_out => Err(Corruption::CodecNotBuilt { codec: left_out.code() }),
    }
}

/// A codec with its tables and contexts, which cost more to make than a small batch to compress.
pub(crate) enum Compressor {
    /// No compression: never asked to compress.
    None,
    #[cfg(feature = "gzip")]
    Gzip(Box<gzip::Compressor>),
    #[cfg(feature = "snappy")]
    Snappy(Box<snappy::Compressor>),
    #[cfg(feature = "lz4")]
    Lz4(Box<lz4::Compressor>),
    #[cfg(feature = "zstd")]
    Zstd(Box<zstd::Compressor>),
}

impl Compressor {
    /// Makes the codec's tables, unless it was left out of the build.
    pub(crate) fn new(codec: Compression) -> Result<Compressor, Error> {
        match codec {
            Compression::None => Ok(Compressor::None),
            #[cfg(feature = "gzip")]
            Compression::Gzip => Ok(Compressor::Gzip(Box::default())),
            #[cfg(feature = "snappy")]
            Compression::Snappy => Ok(Compressor::Snappy(Box::default())),
            #[cfg(feature = "lz4")]
            Compression::Lz4 => Ok(Compressor::Lz4(Box::default())),
            #[cfg(feature = "zstd")]
            Compression::Zstd => Ok(Compressor::Zstd(Box::default())),
            #[allow(unreachable_patterns, reason = "reached where a codec was left out of the build")]
            left_out => Err(Error::UnsupportedCompression { codec: left_out.code() }),
        }
    }

    /// Appends `input`, compressed, to `out`.
    pub(crate) fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) {
        match self {
            Compressor::None => out.extend_from_slice(input),
            #[cfg(feature = "gzip")]
            Compressor::Gzip(codec) => codec.compress(input, out),
            #[cfg(feature = "snappy")]
            Compressor::Snappy(codec) => codec.compress(input, out),
            #[cfg(feature = "lz4")]
            Compressor::Lz4(codec) => codec.compress(input, out),
            #[cfg(feature = "zstd")]
            Compressor::Zstd(codec) => codec.compress(input, out),
        }
    }
}

/// A codec's objection to compressed bytes.
#[allow(dead_code, reason = "a build without codecs has nobody to object")]
fn refused(codec: Compression, why: &'static str) -> Corruption {
    Corruption::Compressed { codec: codec.code(), why }
}

#[cfg(test)]
mod tests;
