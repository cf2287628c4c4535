//! Zstandard frames.
//!
//! Both directions work on whole buffers, so no window is allocated on the word of a frame header, and keep their
//! contexts: a fresh one costs more than a small batch.

use std::cell::RefCell;

use zstd::zstd_safe::{self, CCtx, DCtx, get_error_name};

use super::{Compression, DecodeLimits, refused};
use crate::error::Corruption;

/// The first guess at the unfolded size: this times the compressed one, but no less than [`FIRST_GUESS_BYTES`].
const FIRST_GUESS_FACTOR: usize = 8;
const FIRST_GUESS_BYTES: usize = 16 << 10;
/// A declared size is believed up to this times the compressed one.
const BELIEVED_FACTOR: usize = 256;
/// How much more room each further attempt gets. An attempt fails only after its room was really filled.
const GROWTH: usize = 4;

thread_local! {
    /// A context is some 100 KiB, and a page fault for each of them; a reader meets a batch every few microseconds.
    static DECOMPRESSION: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// A compression context at the default level, kept between batches.
pub(crate) struct Compressor {
    context: CCtx<'static>,
}

impl Default for Compressor {
    fn default() -> Compressor {
        Compressor { context: CCtx::create() }
    }
}

impl Compressor {
    pub(super) fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let at = out.len();
        out.resize(at + zstd_safe::compress_bound(input.len()), 0);
        let written = self
            .context
            .compress(&mut out[at..], input, zstd_safe::CLEVEL_DEFAULT)
            .unwrap_or_else(|code| panic!("the room is what the encoder asks for: {}", get_error_name(code)));
        out.truncate(at + written);
    }
}

pub(super) fn decompress(compressed: &[u8], limits: DecodeLimits, out: &mut Vec<u8>) -> Result<(), Corruption> {
    let cap = limits.cap();
    let mut room = first_room(compressed).min(cap);
    loop {
        out.clear();
        out.try_reserve_exact(room).map_err(|_| refused(Compression::Zstd, "there is no memory to unfold it"))?;
        match decompress_with_context(out, compressed) {
            Ok(_) if out.len() > cap => return Err(limits.exceeded()),
            Ok(_) => return Ok(()),
            Err(code) if !ran_out_of_room(code) => {
                return Err(refused(Compression::Zstd, get_error_name(code)));
            }
            Err(_) if room >= cap => return Err(limits.exceeded()),
            Err(_) => room = room.saturating_mul(GROWTH).min(cap),
        }
    }
}

fn decompress_with_context(out: &mut Vec<u8>, compressed: &[u8]) -> zstd_safe::SafeResult {
    match DECOMPRESSION.try_with(|context| context.borrow_mut().decompress(out, compressed)) {
        Ok(result) => result,
        // The thread is ending and has dropped its context; a log that is dropped last may still read.
        Err(_) => DCtx::create().decompress(out, compressed),
    }
}

fn first_room(compressed: &[u8]) -> usize {
    let believed = compressed.len().saturating_mul(BELIEVED_FACTOR);
    let declared = zstd_safe::get_frame_content_size(compressed).ok().flatten();
    match declared.and_then(|size| usize::try_from(size).ok()) {
        Some(size) if size <= believed => size.max(1),
        _ => compressed.len().saturating_mul(FIRST_GUESS_FACTOR).max(FIRST_GUESS_BYTES),
    }
}

/// The library gives error codes as negative numbers in an unsigned type.
fn ran_out_of_room(code: zstd_safe::ErrorCode) -> bool {
    const DESTINATION_TOO_SMALL: usize = 70;
    code == 0_usize.wrapping_sub(DESTINATION_TOO_SMALL)
}
