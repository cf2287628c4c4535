//! Maps of files, and the only `unsafe` of this crate.
//!
//! A [`ReadMap`] is a read-only window onto an index file that may be shorter than the map. The invariant it owns:
//! whoever reads stays below a length that he knows the file to have, for a read behind the file's last page is SIGBUS
//! (rule 22); the map itself cannot know, so every caller bounds its reads by an entry count kept outside the map.

use std::io;

use memmap2::{Mmap, MmapOptions};

/// A read-only map, read by copies and never lent out as a slice, since the file grows meanwhile.
#[derive(Debug)]
pub(crate) struct ReadMap {
    inner: MapInner,
}

#[derive(Debug)]
enum MapInner {
    Real(Mmap),
    #[cfg(any(test, feature = "sim"))]
    Sim(super::sim::SimMap),
}

impl ReadMap {
    /// Maps the first `len` bytes. The map does not pin the descriptor and is not inherited over `fork`.
    pub(super) fn real(file: &std::fs::File, len: usize) -> io::Result<ReadMap> {
        assert!(len > 0, "an empty map is refused by the system");
        // SAFETY:
        // 1. Who writes: only this process's segment writer, by `pwrite`, and only behind the bytes that readers were
        //    told of; bytes are read by volatile copies (`copy_at`), never as a `&[u8]` that the compiler may assume
        //    constant.
        // 2. Who may shorten the file: nobody while a map lives, but for cutting off what lies behind the entry count
        //    that bounds every read.
        // 3. Who reads meanwhile: any thread, within the entry count.
        let map = unsafe { MmapOptions::new().len(len).map(file)? };
        map.advise(memmap2::Advice::DontFork)?;
        Ok(ReadMap { inner: MapInner::Real(map) })
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn sim(map: super::sim::SimMap) -> ReadMap {
        ReadMap { inner: MapInner::Sim(map) }
    }

    /// Copies `N` bytes at `at`, which the caller knows to lie inside the file.
    pub(crate) fn copy_at<const N: usize>(&self, at: usize) -> [u8; N] {
        match &self.inner {
            MapInner::Real(map) => {
                assert!(at.checked_add(N).is_some_and(|end| end <= map.len()), "a read behind the map");
                // SAFETY: `at + N` lies within the map (asserted), bytes have no alignment, and a volatile read may
                // race with the kernel's copy of a `pwrite` without the compiler drawing conclusions from it.
                unsafe { map.as_ptr().add(at).cast::<[u8; N]>().read_volatile() }
            }
            #[cfg(any(test, feature = "sim"))]
            MapInner::Sim(map) => map.copy_at(at),
        }
    }

    /// The length of the map in bytes.
    #[allow(dead_code, reason = "the seam is whole; what asks this comes with later parts of the log")]
    pub(crate) fn len(&self) -> usize {
        match &self.inner {
            MapInner::Real(map) => map.len(),
            #[cfg(any(test, feature = "sim"))]
            MapInner::Sim(map) => map.len(),
        }
    }
}
