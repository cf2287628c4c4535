//! Kafka's small text files: arbitrary text read, written and read again.
//!
//! What the entries mean for a log is the business of `recover`. The input: one byte that picks the file, then its
//! content. What it holds the readers to: what was read is written so that it reads the same, and always the same text
//! for the same entries; what is refused is refused with a place in the file; memory follows the file's size.

use std::fmt::Debug;
use std::path::Path;

use super::Meter;
use crate::checkpoint::{
    EpochStart, PartitionOffset, TopicId, keep_partition_metadata, read_leader_epochs, read_offsets,
    read_partition_metadata, write_leader_epochs, write_offsets,
};
use crate::epoch::EpochCache;
use crate::error::{Error, Result};
use crate::fs::{Env, sim::SimDisk};
use crate::names::{LEADER_EPOCH_CHECKPOINT, PARTITION_METADATA};
use crate::offset::Offset;

const DIR: &str = "/data/log-0";
const OFFSETS: &str = "/data/log-0/offsets";
/// What reading takes beside the file.
const READER_BYTES: usize = 4 << 10;
/// A line of one byte gets a place among the lines, which grow by doubling.
const LINE_FACTOR: usize = 128;

/// Reads the bytes as one of the files, writes what was read and reads it again.
pub fn checkpoint(bytes: &[u8], meter: Meter) {
    let Some((&kind, text)) = bytes.split_first() else { return };
    let disk = SimDisk::in_memory(0);
    let files = Files { env: Env::sim(&disk), disk, text, meter };
    match kind & 3 {
        0 => {
            let Some(epochs) = files.there_and_back(LEADER_EPOCH_CHECKPOINT, epochs_of, write_leader_epochs) else {
                return;
            };
            assert!(epochs.iter().all(|entry| entry.epoch >= 0 && entry.start_offset <= Offset::MAX), "{epochs:?}");
            answer(epochs);
        }
        1 => {
            let read = |env: &Env, _: &Path| read_offsets(env, Path::new(OFFSETS));
            let write =
                |env: &Env, _: &Path, offsets: &[PartitionOffset]| write_offsets(env, Path::new(OFFSETS), offsets);
            if let Some(offsets) = files.there_and_back("offsets", read, write) {
                assert!(offsets.iter().all(|entry| entry.partition >= 0 && entry.offset <= Offset::MAX), "{offsets:?}");
            }
        }
        2 => files.metadata(),
        _ => {
            if let Some(id) = std::str::from_utf8(text).ok().and_then(TopicId::parse) {
                assert_eq!(TopicId::parse(&id.to_string()), Some(id));
            }
        }
    }
}

struct Files<'a> {
    env: Env,
    disk: SimDisk,
    text: &'a [u8],
    meter: Meter,
}

impl Files<'_> {
    /// What the text says as a file of this name, if it can be read.
    fn there_and_back<E: Clone + PartialEq + Debug>(
        &self,
        name: &str,
        read: impl Fn(&Env, &Path) -> Result<Vec<E>>,
        write: impl Fn(&Env, &Path, &[E]) -> Result<()>,
    ) -> Option<Vec<E>> {
        let (dir, path) = (Path::new(DIR), Path::new(DIR).join(name));
        let entries = self.plant_and_read(&path, || read(&self.env, dir))?;
        write(&self.env, dir, &entries).expect("memory takes it");
        assert_eq!(
            read(&self.env, dir).as_ref().ok(),
            Some(&entries),
            "what was read is written so that it reads the same"
        );
        let written = self.disk.read_file(&path);
        write(&self.env, dir, &entries).expect("memory takes it");
        assert_eq!(self.disk.read_file(&path), written, "the same entries are the same text");
        Some(entries)
    }

    fn metadata(&self) {
        let (dir, path) = (Path::new(DIR), Path::new(DIR).join(PARTITION_METADATA));
        let Some(id) = self.plant_and_read(&path, || read_partition_metadata(&self.env, dir)) else { return };
        let id = id.expect("there is a file");
        keep_partition_metadata(&self.env, dir, id).expect("it holds this id");
        assert_eq!(self.disk.read_file(&path).as_deref(), Some(self.text), "a file that holds the id is left alone");
        self.disk.remove(&path);
        keep_partition_metadata(&self.env, dir, id).expect("memory takes it");
        assert_eq!(read_partition_metadata(&self.env, dir).ok(), Some(Some(id)));
        let other = self.plant_and_read(&path, || keep_partition_metadata(&self.env, dir, id));
        assert_eq!(other, Some(()), "what was read once is read again");
    }

    /// Puts the text on the disk and reads it; what is refused has a place in it.
    fn plant_and_read<T>(&self, path: &Path, read: impl FnOnce() -> Result<T>) -> Option<T> {
        self.disk.write_file(path, self.text);
        match self.meter.within(READER_BYTES + LINE_FACTOR * self.text.len(), read) {
            Ok(found) => Some(found),
            Err(Error::Corrupt { path: named, position, .. }) => {
                assert_eq!(&*named, path);
                let len = u64::try_from(self.text.len()).expect("lengths in memory fit 64 bits");
                assert!(position.value() <= len, "{position} is no place in a file of {len} bytes");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn epochs_of(env: &Env, dir: &Path) -> Result<Vec<EpochStart>> {
    read_leader_epochs(env, dir)
}

/// The answers of a cache with these entries, each beside a walk over them.
fn answer(epochs: Vec<EpochStart>) {
    let Some(cache) = EpochCache::from_entries(epochs.clone()) else { return };
    for wanted in &epochs {
        let near = [wanted.start_offset.value().saturating_sub(1), wanted.start_offset.value()];
        for offset in near.map(Offset::new) {
            let walked = epochs.iter().rev().find(|entry| entry.start_offset <= offset).map(|entry| entry.epoch);
            assert_eq!(cache.epoch_for_offset(offset), walked);
        }
        let mut front = cache.clone();
        front.truncate_from_end(wanted.start_offset);
        assert!(front.entries().iter().all(|entry| entry.start_offset < wanted.start_offset));
        let mut back = cache.clone();
        back.truncate_from_start(wanted.start_offset);
        assert_eq!(back.entries().first(), Some(wanted));
        assert_eq!(front.entries().len() + back.entries().len(), epochs.len());
        // Where an epoch ends the next one begins.
        let end = epochs.iter().find(|entry| entry.epoch > wanted.epoch).map_or(Offset::MAX, |next| next.start_offset);
        assert_eq!(cache.end_offset_for(wanted.epoch, Offset::MAX), Some((wanted.epoch, end)));
    }
}
