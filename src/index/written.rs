//! The entries that are in an index file, as a reader sees them at one instant and without a lock.
//!
//! Knows how to read bytes and how many entries there are, and nothing of the gathered ones. The invariant it owns: no
//! read goes behind the entry count that it was made with, however long the map is.

use std::io::{self, ErrorKind};
use std::marker::PhantomData;
use std::sync::Arc;

use super::entry::Entry;
use super::search;
use crate::fs::{File, ReadMap, read_exact_at};
use crate::offset::{Offset, Position};

/// Where entries are read from.
#[derive(Debug)]
pub(super) enum Bytes {
    /// A file that only this program shortens, which is to say never.
    Map(ReadMap),
    /// A file of another process, which may cut it at any time: a call that comes too late is an error, where a read
    /// of a map would be SIGBUS (rule 23).
    File(File),
}

impl Bytes {
    #[inline]
    pub(super) fn copy_at<const N: usize>(&self, at: u64) -> io::Result<[u8; N]> {
        match self {
            Bytes::Map(map) => Ok(map.copy_at(usize::try_from(at).expect("addresses have 64 bits"))),
            Bytes::File(file) => {
                let mut bytes = [0; N];
                let read = read_exact_at(file, &mut bytes, Position::new(at))?;
                if read == N { Ok(bytes) } else { Err(ErrorKind::UnexpectedEof.into()) }
            }
        }
    }
}

/// A number of entries and where they are.
pub(super) struct Written<E> {
    bytes: Option<Arc<Bytes>>,
    entries: u64,
    base: Offset,
    kind: PhantomData<E>,
}

impl<E: Entry> Written<E> {
    /// Without bytes there are no entries.
    pub(super) fn new(bytes: Option<Arc<Bytes>>, entries: u64, base: Offset) -> Written<E> {
        assert!(bytes.is_some() || entries == 0, "{entries} entries that are nowhere");
        Written { bytes, entries, base, kind: PhantomData }
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    pub(super) fn entry(&self, number: u64) -> io::Result<E> {
        assert!(number < self.entries, "entry {number} of {}", self.entries);
        let bytes = self.bytes.as_ref().expect("where there are entries there are bytes");
        E::read(bytes, number * entry_bytes::<E>(), self.base)
    }

    /// The last of the first `count` entries.
    pub(super) fn last_of(&self, count: u64) -> io::Result<Option<E>> {
        count.checked_sub(1).map(|last| self.entry(last)).transpose()
    }

    /// The number of leading entries whose offset is at or below `target`.
    pub(super) fn prefix_up_to(&self, target: Offset) -> io::Result<u64> {
        let Some(relative) = target.checked_distance(self.base) else { return Ok(0) };
        let Some(bytes) = &self.bytes else { return Ok(0) };
        search::slots_up_to(self.entries, E::SIZE_BYTES, relative, |slot| {
            assert!(slot < self.entries, "entry {slot} of {}", self.entries);
            Ok(u64::from(u32::from_be_bytes(bytes.copy_at(slot * entry_bytes::<E>() + E::OFFSET_AT)?)))
        })
    }

    /// The number of leading entries for which `holds` is true.
    pub(super) fn prefix_len(&self, holds: impl Fn(E) -> bool) -> io::Result<u64> {
        search::prefix_len(self.entries, E::SIZE_BYTES, |slot| Ok(holds(self.entry(slot)?)))
    }
}

/// The size of an entry as files count.
pub(super) fn entry_bytes<E: Entry>() -> u64 {
    u64::try_from(E::SIZE_BYTES).expect("an entry has a dozen bytes")
}
