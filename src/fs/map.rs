//! Maps of files, and the only `unsafe` of this crate.
//!
//! A [`ReadMap`] is a read-only window onto a file that may be shorter than the map. The invariant it owns:
//! whoever reads stays below a length that he knows the file to have, for a read behind the file's last page is SIGBUS
//! (rule 22); the map itself cannot know, so every caller bounds its reads by a number kept outside the map: of the entries
//! of an index, of the bytes of a sealed `.log`.
//!
//! A [`Window`] is a writable part of a `.log` that has room. The invariant it owns: bytes are lent to its one owner only,
//! for one store at a time, and the map is gone before the file is cut below its end.

use std::io;
use std::os::fd::AsRawFd;

use memmap2::{Advice, Mmap, MmapOptions, MmapRaw};
use nix::libc;

use super::File;
use crate::offset::Position;

/// What a map is read by, where places and lengths allow it.
const WORD_BYTES: usize = size_of::<u32>();
/// The same, where more is read at once.
const LONG_WORD_BYTES: usize = size_of::<u64>();

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
        //    told of; bytes are read by volatile copies (`copy_at`, `copy_to`), never as a `&[u8]` that the compiler may
        //    assume constant.
        // 2. Who may shorten the file: nobody while a map lives, but for cutting off what lies behind the number that
        //    bounds every read. Who does it to a sealed `.log` all the same gets the process a SIGBUS, which the
        //    documentation of `LogConfig::mapped_reads` says.
        // 3. Who reads meanwhile: any thread, within that number.
        let map = unsafe { MmapOptions::new().len(len).map(file)? };
        map.advise(Advice::DontFork)?;
        Ok(ReadMap { inner: MapInner::Real(map) })
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn sim(map: super::sim::SimMap) -> ReadMap {
        ReadMap { inner: MapInner::Sim(map) }
    }

    /// Copies `N` bytes at `at`, which the caller knows to lie inside the file. Whole words at their places are the fast
    /// case, and all that an index asks for.
    #[inline]
    pub(crate) fn copy_at<const N: usize>(&self, at: usize) -> [u8; N] {
        match &self.inner {
            MapInner::Real(map) => {
                assert!(at.checked_add(N).is_some_and(|end| end <= map.len()), "a read behind the map");
                let mut bytes = [0; N];
                if !N.is_multiple_of(WORD_BYTES) || !at.is_multiple_of(WORD_BYTES) {
                    // SAFETY: `at + N` lies within the map (asserted), bytes have no alignment, and a volatile read may
                    // race with the kernel's copy of a `pwrite` without the compiler drawing conclusions from it.
                    return unsafe { map.as_ptr().add(at).cast::<[u8; N]>().read_volatile() };
                }
                for (nth, word) in bytes.as_chunks_mut::<WORD_BYTES>().0.iter_mut().enumerate() {
                    // SAFETY: as above; and a map begins at a page, so that a word whose place is a multiple of its size
                    // is aligned. The compiler copies an array byte by byte where the read is volatile, and a word at once.
                    let read = unsafe { map.as_ptr().add(at + nth * WORD_BYTES).cast::<u32>().read_volatile() };
                    *word = read.to_ne_bytes();
                }
                bytes
            }
            #[cfg(any(test, feature = "sim"))]
            MapInner::Sim(map) => map.copy_at(at),
        }
    }

    /// Fills `into` from `at` on; all of that the caller knows to lie inside the file.
    pub(crate) fn copy_to(&self, into: &mut [u8], at: usize) {
        match &self.inner {
            MapInner::Real(map) => copy_volatile(map, into, at),
            #[cfg(any(test, feature = "sim"))]
            MapInner::Sim(map) => map.copy_to(into, at),
        }
    }

    /// The length of the map in bytes.
    pub(crate) fn len(&self) -> usize {
        match &self.inner {
            MapInner::Real(map) => map.len(),
            #[cfg(any(test, feature = "sim"))]
            MapInner::Sim(map) => map.len(),
        }
    }
}

fn copy_volatile(map: &Mmap, into: &mut [u8], at: usize) {
    assert!(at.checked_add(into.len()).is_some_and(|end| end <= map.len()), "a read behind the map");
    // SAFETY: it is asked for as many places from `at` on as `into` has bytes, all of which lie within the map (asserted). A
    // volatile read may race with whoever writes the file in spite of all, without the compiler drawing conclusions from it.
    let byte_at = |place: usize| unsafe { map.as_ptr().add(place).read_volatile() };
    let words_at = at.next_multiple_of(LONG_WORD_BYTES);
    let (front, rest) = into.split_at_mut((words_at - at).min(into.len()));
    for (nth, byte) in front.iter_mut().enumerate() {
        *byte = byte_at(at + nth);
    }
    let (words, back) = rest.as_chunks_mut::<LONG_WORD_BYTES>();
    for (nth, word) in words.iter_mut().enumerate() {
        let place = words_at + nth * LONG_WORD_BYTES;
        // SAFETY: as above; and a map begins at a page, so that a word whose place is a multiple of its size is aligned.
        *word = unsafe { map.as_ptr().add(place).cast::<u64>().read_volatile() }.to_ne_bytes();
    }
    let back_at = words_at + words.len() * LONG_WORD_BYTES;
    for (nth, byte) in back.iter_mut().enumerate() {
        *byte = byte_at(back_at + nth);
    }
}

/// A writable map of a part of a file. Stores are made into [`Window::bytes_mut`] and announced by [`Window::wrote`];
/// they are as safe against the end of the process as a write, and become durable with the file's next sync.
#[derive(Debug)]
pub(crate) struct Window {
    start: Position,
    end: Position,
    inner: WindowInner,
}

#[derive(Debug)]
enum WindowInner {
    Real(MmapRaw),
    #[cfg(any(test, feature = "sim"))]
    Sim(super::sim::SimWindow),
}

impl Window {
    /// Maps what lies between two places, which the file reaches. Not inherited over `fork`.
    pub(super) fn real(file: &std::fs::File, start: Position, end: Position) -> io::Result<Window> {
        let map = MmapOptions::new().offset(start.value()).len(length(start, end)).map_raw(file)?;
        map.advise(Advice::DontFork)?;
        Ok(Window { start, end, inner: WindowInner::Real(map) })
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn sim(window: super::sim::SimWindow, start: Position, end: Position) -> Window {
        assert!(start < end, "an empty map is refused by the system");
        Window { start, end, inner: WindowInner::Sim(window) }
    }

    /// The first place of the window.
    pub(crate) fn start(&self) -> Position {
        self.start
    }

    /// One past the last place of the window.
    pub(crate) fn end(&self) -> Position {
        self.end
    }

    /// Whether `len` bytes at `at` lie in the window.
    #[inline]
    pub(crate) fn holds(&self, at: Position, len: u64) -> bool {
        self.start <= at && at <= self.end && len <= self.end - at
    }

    /// The bytes at a place of the file, to be stored into. They lie inside the window.
    #[inline]
    pub(crate) fn bytes_mut(&mut self, at: Position, len: usize) -> &mut [u8] {
        let first = usize::try_from(at.value().wrapping_sub(self.start.value())).unwrap_or(usize::MAX);
        let room = length(self.start, self.end);
        assert!(first <= room && len <= room - first, "a store outside the window");
        match &mut self.inner {
            WindowInner::Real(map) => {
                // SAFETY:
                // 1. Who writes: the owner of this window alone, which is the segment's one writer under the writer mutex.
                //    It writes to the same pages by `pwrite` as well, but never while it holds these bytes, for they borrow
                //    the window. The range lies inside the map (asserted), and bytes have no alignment.
                // 2. Who may shorten the file: nobody below a window's end while it lives. `Window::close` unmaps first, and
                //    the writer closes its windows, and keeps the worker from making another, before it cuts into them.
                //    Who else shortens a log's file, or shuts its file system down, gets the process a SIGBUS, which the
                //    documentation of `WriteMode::Mapped` says.
                // 3. Who reads meanwhile: others by the kernel's copies only (`pread`, `sendfile`, writeback), never as a
                //    `&[u8]`; and what is lent here lies behind the published end, which no reader passes.
                unsafe { std::slice::from_raw_parts_mut(map.as_mut_ptr().add(first), len) }
            }
            #[cfg(any(test, feature = "sim"))]
            WindowInner::Sim(window) => window.bytes_mut(at, len),
        }
    }

    /// Says that the lent bytes were stored. Nothing on a real disk, where the store was all; a pending write on the
    /// simulated one.
    #[inline]
    #[cfg_attr(not(any(test, feature = "sim")), allow(unused_variables, reason = "the simulated disk asks where"))]
    pub(crate) fn wrote(&mut self, at: Position, len: usize) {
        match &mut self.inner {
            WindowInner::Real(_) => {}
            #[cfg(any(test, feature = "sim"))]
            WindowInner::Sim(window) => window.wrote(at, len),
        }
    }

    /// Takes the faults of first stores now (`MADV_POPULATE_WRITE`). A page that has no room is an error here, where it
    /// would be SIGBUS later. Kernels before 5.14 do not know the call: then each store takes its fault itself.
    pub(crate) fn populate(&self) -> io::Result<()> {
        match &self.inner {
            WindowInner::Real(map) => match map.advise(Advice::PopulateWrite) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
                answer => answer,
            },
            #[cfg(any(test, feature = "sim"))]
            WindowInner::Sim(window) => window.populate(),
        }
    }

    /// Unmaps, and then cuts `file`, whose window this is, to `len` (rule 22).
    pub(crate) fn close(self, file: &File, len: u64) -> io::Result<()> {
        drop(self);
        file.set_len(len)
    }
}

fn length(start: Position, end: Position) -> usize {
    usize::try_from(end - start).expect("64-bit systems only")
}

/// Whether blocks of a range of the file belong to another file as well, a copy made by reflink: a store into one asks for
/// room once more, and on a full disk gets SIGBUS (rule 21). File systems that cannot say share none.
pub(super) fn shares_blocks(file: &std::fs::File, start: Position, end: Position) -> io::Result<bool> {
    let mut from = start.value();
    while from < end.value() {
        let mut question = Question { start: from, length: end.value() - from, ..Question::default() };
        question.room = u32::try_from(question.extents.len()).expect("a small number");
        // SAFETY:
        // 1. The request is FIEMAP, whose argument is a `struct fiemap` with room for as many extents as it says:
        //    `Question` has that layout, and `room` is the length of its array.
        // 2. The descriptor is open as long as `file` is borrowed; the kernel keeps no pointer beyond the call.
        // 3. Whatever it writes into the numbers of `question` is a valid value of their types.
        let answer = unsafe { libc::ioctl(file.as_raw_fd(), FIEMAP, &raw mut question) };
        if answer != 0 {
            let error = io::Error::last_os_error();
            let is_unknown = matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOTTY));
            return if is_unknown { Ok(false) } else { Err(error) };
        }
        let found = &question.extents[..(question.mapped as usize).min(question.extents.len())];
        if found.iter().any(|extent| extent.flags & EXTENT_SHARED != 0) {
            return Ok(true);
        }
        match found.last() {
            Some(last) if last.flags & EXTENT_LAST == 0 => from = (last.logical + last.length).max(from + 1),
            _ => return Ok(false),
        }
    }
    Ok(false)
}

const FIEMAP: libc::Ioctl = 0xc020_660b;
const EXTENT_LAST: u32 = 0x1;
const EXTENT_SHARED: u32 = 0x2000;

/// `struct fiemap` of the kernel.
#[repr(C)]
#[derive(Default)]
struct Question {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    reserved: u32,
    extents: [Extent; 16],
}

/// `struct fiemap_extent` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

const _: () = assert!(size_of::<Extent>() == 56 && size_of::<Question>() == 32 + 16 * 56);
