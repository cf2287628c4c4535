//! What both kinds of index do, on a real directory: Kafka's own tests of them, and files that nobody should trust.
#![allow(clippy::disallowed_methods, reason = "the tests look at the files from outside the seam")]

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::{Corruption, Error};
use crate::fs::Env;
use crate::offset::{Offset, Position, Timestamp};

use super::{OffsetEntry, OffsetIndex, TimeEntry, TimeIndex};

mod active;
mod disk;
mod offset;
mod time;
mod untrusted;

/// A directory of its own with the place for one index file in it.
struct Place {
    _dir: TempDir,
    env: Env,
    path: PathBuf,
}

impl Place {
    fn new() -> Place {
        let dir = TempDir::new().expect("a temporary directory");
        let path = dir.path().join("00000000000000000100.index");
        Place { _dir: dir, env: Env::real(), path }
    }

    fn holding(bytes: &[u8]) -> Place {
        let place = Place::new();
        std::fs::write(&place.path, bytes).expect("the file can be written");
        place
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).expect("the file is there")
    }

    fn offset_index(&self, base: u64, max_entries: u64) -> OffsetIndex {
        OffsetIndex::create(&self.env, &self.path, Offset::new(base), max_entries * 8).expect("a new index")
    }

    fn sealed_offset_index(&self, base: u64) -> OffsetIndex {
        OffsetIndex::open_sealed(&self.env, &self.path, Offset::new(base), None).expect("a sealed index")
    }

    fn time_index(&self, base: u64, max_entries: u64) -> TimeIndex {
        TimeIndex::create(&self.env, &self.path, Offset::new(base), max_entries * 12).expect("a new index")
    }

    fn sealed_time_index(&self, base: u64) -> TimeIndex {
        TimeIndex::open_sealed(&self.env, &self.path, Offset::new(base), None).expect("a sealed index")
    }
}

fn at(offset: u64, position: u64) -> OffsetEntry {
    OffsetEntry { offset: Offset::new(offset), position: Position::new(position) }
}

fn when(millis: i64, offset: u64) -> TimeEntry {
    TimeEntry { timestamp: Timestamp::from_millis(millis), offset: Offset::new(offset) }
}

fn append(index: &OffsetIndex, offset: u64, position: u64) {
    index.append(Offset::new(offset), Position::new(position)).expect("the entry follows the last one");
}

fn append_time(index: &TimeIndex, millis: i64, offset: u64) {
    index.maybe_append(Timestamp::from_millis(millis), Offset::new(offset), false).expect("the entry follows");
}

fn lookup(index: &OffsetIndex, offset: u64) -> OffsetEntry {
    index.lookup(Offset::new(offset)).expect("the file can be mapped")
}

fn lookup_time(index: &TimeIndex, millis: i64) -> Option<TimeEntry> {
    index.lookup(Timestamp::from_millis(millis)).expect("the file can be mapped")
}

/// The number of the entry that an error names.
fn refused_entry(result: crate::error::Result<()>) -> Option<u64> {
    match result {
        Err(Error::Corrupt { reason: Corruption::IndexEntry { entry, .. }, .. }) => Some(entry),
        _ => None,
    }
}

fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).expect("the file is there"))
}
