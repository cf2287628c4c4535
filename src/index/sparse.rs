//! One index file, active or sealed, without the meaning of its entries.
//!
//! One writer at a time (a mutex makes sure of it, since a sync runs beside appends) and any number of readers. An
//! active index gathers entries in memory and writes many with one `pwrite`; readers find the gathered ones under a
//! short lock and the written ones through a read-only map that is longer than the file. The invariant it owns: no
//! read goes behind `written` entries, the number that stands in [`View`] beside the map it belongs to, so a map can
//! neither kill the process nor show what was never an entry.
//!
//! Lock order: `writer`, then `view`. No system call but the first use of a sealed index is made under `view`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::entry::{Entry, LARGEST_ENTRY_BYTES};
use super::file;
use super::written::{Bytes, Written, entry_bytes};
use crate::error::{Corruption, Error, IoOp, Result};
use crate::fs::{Env, File, OpenMode};
use crate::offset::{Offset, Position};
use crate::sync::{Mutex, RwLock};

/// Entries gathered before they are written: one `pwrite` for a quarter of a megabyte of log, in 1 KiB of memory.
const GATHERED_MAX: usize = 64;

/// A sorted array of entries in a file.
#[derive(Debug)]
pub(super) struct SparseIndex<E> {
    env: Env,
    path: Arc<Path>,
    base: Offset,
    max_entries: u64,
    opened: Opened,
    writer: Mutex<Writer>,
    view: RwLock<View<E>>,
}

#[derive(Debug)]
struct Writer {
    /// None in an index that was opened sealed.
    file: Option<Arc<File>>,
    sealed: bool,
    /// Of all entries, and of those in the file.
    crc: u32,
    written_crc: u32,
}

/// What readers see, all of it changed at once.
#[derive(Debug)]
struct View<E> {
    source: Source,
    /// Entries in the file that `source` reads.
    written: u64,
    /// Entries behind those, not in the file yet.
    gathered: Vec<E>,
    last: Option<E>,
}

#[derive(Clone, Debug)]
enum Source {
    /// A sealed index that nobody has looked into yet; `written` and `last` are not known for sure.
    Unopened,
    /// Sealed, without entries.
    Empty,
    Open(Arc<Bytes>),
}

/// Who may shorten the file of a sealed index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// Nobody, for it belongs to this program: it is mapped.
    Ours,
    /// Another process: it is read by calls.
    Foreign,
}

impl<E: Entry> SparseIndex<E> {
    /// A new, active index; what had the name before is forgotten.
    pub(super) fn create(env: &Env, path: &Path, base: Offset, max_bytes: u64) -> Result<SparseIndex<E>> {
        let file = file::create(env, path)?;
        SparseIndex::active(env, path, base, max_bytes / entry_bytes::<E>(), file, 0, 0)
    }

    /// An active index that goes on behind its first `entries` entries, which the caller knows to be good.
    pub(super) fn resume(env: &Env, path: &Path, base: Offset, max_bytes: u64, entries: u64) -> Result<SparseIndex<E>> {
        let Some(mut opened) = file::open(env, path, OpenMode::ReadWrite)? else {
            if entries == 0 {
                return SparseIndex::create(env, path, base, max_bytes);
            }
            return Err(Error::corrupt(path, Position::ZERO, Corruption::Missing));
        };
        let (len, kept) = (file::len(&opened, path)?, entries * entry_bytes::<E>());
        let mut crc =
            file::prefix_crc(&opened, path, kept)?.ok_or_else(|| file::shorter_than_known(path, kept, len))?;
        if len > kept {
            (opened, crc) = file::copy_prefix_aside(env, path, &opened, kept)?;
            file::take_name(env, path)?;
        }
        // One that was made under a larger limit, or is full, is opened as full.
        let max_entries = entries.max(max_bytes / entry_bytes::<E>());
        SparseIndex::active(env, path, base, max_entries, opened, entries, crc)
    }

    fn active(
        env: &Env,
        path: &Path,
        base: Offset,
        max_entries: u64,
        file: File,
        entries: u64,
        crc: u32,
    ) -> Result<SparseIndex<E>> {
        const { assert!(E::SIZE_BYTES <= LARGEST_ENTRY_BYTES) };
        assert!(max_entries > 0, "the configuration keeps room for an entry");
        let map = map(&file, path, max_entries * entry_bytes::<E>())?;
        let written = Written::new(Some(Arc::clone(&map)), entries, base);
        let last = written.last_of(entries).map_err(|error| Error::io(IoOp::Read, path, &error))?;
        let view = View { source: Source::Open(map), written: entries, gathered: Vec::new(), last };
        let writer = Writer { file: Some(Arc::new(file)), sealed: false, crc, written_crc: crc };
        Ok(SparseIndex {
            env: env.clone(),
            path: path.into(),
            base,
            max_entries,
            opened: Opened::Ours,
            writer: Mutex::new(writer),
            view: RwLock::new(view),
        })
    }

    /// A sealed index, opened on first use. `len_hint` is the file's length where the caller knows it and saves a
    /// system call; nothing is read behind the length that the file really has.
    pub(super) fn open_sealed(
        env: &Env,
        path: &Path,
        base: Offset,
        len_hint: Option<u64>,
        opened: Opened,
    ) -> Result<SparseIndex<E>> {
        let len = match len_hint {
            Some(len) => len,
            None => match env.metadata(path) {
                Ok(found) => found.len,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
                Err(error) => return Err(Error::io(IoOp::Inspect, path, &error)),
            },
        };
        let entries = len / entry_bytes::<E>();
        let source = if entries == 0 { Source::Empty } else { Source::Unopened };
        Ok(SparseIndex {
            env: env.clone(),
            path: path.into(),
            base,
            max_entries: 0,
            opened,
            writer: Mutex::new(Writer { file: None, sealed: true, crc: 0, written_crc: 0 }),
            view: RwLock::new(View { source, written: entries, gathered: Vec::new(), last: None }),
        })
    }

    pub(super) fn base(&self) -> Offset {
        self.base
    }

    /// How many entries an active index has room for in all; none in one that was opened sealed.
    pub(super) fn max_entries(&self) -> u64 {
        self.max_entries
    }

    /// All entries, gathered ones included.
    pub(super) fn entries(&self) -> u64 {
        let view = self.view.read();
        view.written + as_u64(view.gathered.len())
    }

    /// The number of entries and their CRC-32C, as of one instant.
    pub(super) fn mark(&self) -> (u64, u32) {
        let writer = self.writer.lock();
        assert!(writer.file.is_some(), "an index that was opened sealed keeps no running checksum");
        (self.entries(), writer.crc)
    }

    pub(super) fn last(&self) -> Result<Option<E>> {
        self.ensure_open()?;
        Ok(self.view.read().last)
    }

    pub(super) fn entry(&self, number: u64) -> Result<Option<E>> {
        let (written, gathered) = self.observe(|written, gathered| {
            let behind = usize::try_from(number.checked_sub(written)?).ok()?;
            gathered.get(behind).copied()
        })?;
        if gathered.is_some() || number >= written.entries() {
            return Ok(gathered);
        }
        self.readable(written.entry(number)).map(Some)
    }

    /// The last entry at or below an offset, and the first one above it.
    pub(super) fn around_offset(&self, target: Offset) -> Result<(Option<E>, Option<E>)> {
        self.around(|entry| entry.offset() <= target, |written| written.prefix_up_to(target))
    }

    /// The last entry of the prefix for which `holds` is true, and the first one behind that prefix, whose length among
    /// the written entries `prefix_len` finds.
    fn around(
        &self,
        holds: impl Fn(E) -> bool,
        prefix_len: impl FnOnce(&Written<E>) -> io::Result<u64>,
    ) -> Result<(Option<E>, Option<E>)> {
        let (written, (below, behind)) = self.observe(|_, gathered| {
            let below = gathered.partition_point(|entry| holds(*entry));
            (below.checked_sub(1).map(|slot| gathered[slot]), gathered.get(below).copied())
        })?;
        if below.is_some() {
            return Ok((below, behind));
        }
        let slot = self.readable(prefix_len(&written))?;
        let below = self.readable(written.last_of(slot))?;
        let behind = if slot == written.entries() { behind } else { Some(self.readable(written.entry(slot))?) };
        Ok((below, behind))
    }

    /// The last entry of the prefix for which `holds` is true.
    pub(super) fn floor(&self, holds: impl Fn(E) -> bool) -> Result<Option<E>> {
        Ok(self.around(&holds, |written| written.prefix_len(&holds))?.0)
    }

    /// The first entry behind the prefix for which `holds` is true.
    pub(super) fn ceiling(&self, holds: impl Fn(E) -> bool) -> Result<Option<E>> {
        Ok(self.around(&holds, |written| written.prefix_len(&holds))?.1)
    }

    /// How many entries lie below an offset.
    pub(super) fn entries_below(&self, offset: Offset) -> Result<u64> {
        let below = |entry: E| entry.offset() < offset;
        let (written, gathered) = self.observe(|_, gathered| gathered.partition_point(|entry| below(*entry)))?;
        if gathered > 0 {
            return Ok(written.entries() + as_u64(gathered));
        }
        self.readable(written.prefix_len(below))
    }

    /// Walks the written entries until `fault` objects to one, given the entry before it; answers with the number
    /// that passed and the objection.
    ///
    /// Zeros at the very start that nothing sound follows are the blank room that a crashed Kafka leaves, not a claim
    /// that somebody made; only a file of exactly one entry may consist of them.
    pub(super) fn examine(
        &self,
        fault: impl Fn(Option<E>, E) -> Option<&'static str>,
    ) -> Result<(u64, Option<&'static str>)> {
        let (written, ()) = self.observe(|_, _| ())?;
        let mut previous: Option<E> = None;
        for number in 0..written.entries() {
            let entry = self.readable(written.entry(number))?;
            if let Some(why) = entry.misfit(self.base).or_else(|| fault(previous, entry)) {
                let blank = number == 1 && previous.is_some_and(|first| first.is_blank(self.base));
                return Ok(if blank { (0, Some("it was never written")) } else { (number, Some(why)) });
            }
            previous = Some(entry);
        }
        Ok((written.entries(), None))
    }

    /// As [`SparseIndex::examine`], with the first fault as an error; a file that ends inside an entry is one too.
    pub(super) fn check(&self, fault: impl Fn(Option<E>, E) -> Option<&'static str>) -> Result<()> {
        let (sound, why) = self.examine(fault)?;
        if let Some(why) = why {
            return Err(self.faulty(sound, why));
        }
        let Some(opened) = file::open(&self.env, &self.path, OpenMode::Read)? else { return Ok(()) };
        if !file::len(&opened, &self.path)?.is_multiple_of(entry_bytes::<E>()) {
            return Err(self.faulty(sound, "the file ends inside it"));
        }
        Ok(())
    }

    /// Appends an entry if `admit`, which is shown the last one, has nothing against it. `Ok(false)` from it skips the
    /// entry, a reason refuses it. An append that fails leaves the index as it was; an entry left out makes an index
    /// sparser, not wrong.
    pub(super) fn append(
        &self,
        entry: E,
        admit: impl FnOnce(Option<E>) -> std::result::Result<bool, &'static str>,
    ) -> Result<()> {
        let mut writer = self.writer.lock();
        assert!(!writer.sealed, "a sealed index takes no entry");
        let (entries, gathered, last) = {
            let view = self.view.read();
            (view.written + as_u64(view.gathered.len()), view.gathered.len(), view.last)
        };
        if !admit(last).map_err(|why| self.faulty(entries, why))? {
            return Ok(());
        }
        if entries >= self.max_entries {
            return Err(self.faulty(entries, "the index is full"));
        }
        if let Some(why) = entry.misfit(self.base) {
            return Err(self.faulty(entries, why));
        }
        if gathered == GATHERED_MAX {
            self.write_out(&mut writer)?;
        }
        writer.crc = append_crc(writer.crc, self.base, entry);
        let mut view = self.view.write();
        view.gathered.push(entry);
        view.last = Some(entry);
        Ok(())
    }

    /// Writes the gathered entries to the file.
    pub(super) fn write_gathered(&self) -> Result<()> {
        self.write_out(&mut self.writer.lock())
    }

    fn write_out(&self, writer: &mut Writer) -> Result<()> {
        let Some(file) = &writer.file else { return Ok(()) };
        let mut bytes = [0; GATHERED_MAX * LARGEST_ENTRY_BYTES];
        let (at, count) = {
            let view = self.view.read();
            for (entry, into) in view.gathered.iter().zip(bytes.chunks_exact_mut(E::SIZE_BYTES)) {
                entry.encode(self.base, into);
            }
            (place::<E>(view.written), view.gathered.len())
        };
        if count == 0 {
            return Ok(());
        }
        file::write_all(file, &self.path, &bytes[..count * E::SIZE_BYTES], at)?;
        writer.written_crc = writer.crc;
        let mut view = self.view.write();
        view.written += as_u64(count);
        view.gathered.clear();
        Ok(())
    }

    /// Makes every entry durable that was appended before the call. The sync runs beside appends and lookups.
    pub(super) fn sync(&self) -> Result<()> {
        let active = {
            let mut writer = self.writer.lock();
            self.write_out(&mut writer)?;
            writer.file.clone()
        };
        let file = match active {
            Some(file) => file,
            // Any descriptor will do (rule 3).
            None => match file::open(&self.env, &self.path, OpenMode::Read)? {
                Some(file) => Arc::new(file),
                None => return Ok(()),
            },
        };
        file.sync_data().map_err(|error| Error::io(IoOp::Sync, &self.path, &error))
    }

    /// Writes what is gathered and cuts off what a failed write may have left behind the last entry, which no reader
    /// was ever told of. From then on the index is read-only. Not synced: [`SparseIndex::sync`] still works.
    pub(super) fn seal(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        self.write_out(&mut writer)?;
        if let Some(file) = &writer.file {
            let end = place::<E>(self.view.read().written).value();
            if file::len(file, &self.path)? > end {
                file.set_len(end).map_err(|error| Error::io(IoOp::SetLength, &self.path, &error))?;
            }
        }
        writer.sealed = true;
        Ok(())
    }

    /// Removes the entries at and above an offset. If any of them is in the file, a new inode takes its name, and
    /// readers on their way go on in the old one.
    pub(super) fn truncate_to(&self, offset: Offset) -> Result<()> {
        let mut writer = self.writer.lock();
        assert!(!writer.sealed, "a sealed index is resumed before it is truncated");
        let kept = self.entries_below(offset)?;
        let (written, kept_gathered) =
            self.observe(|written, gathered| kept.checked_sub(written).map(|behind| (behind, gathered.to_vec())))?;
        if let Some((behind, mut gathered)) = kept_gathered {
            gathered.truncate(usize::try_from(behind).expect("it was counted in memory"));
            let last_written = self.readable(written.last_of(written.entries()))?;
            writer.crc = gathered.iter().fold(writer.written_crc, |crc, entry| append_crc(crc, self.base, *entry));
            let mut view = self.view.write();
            view.last = gathered.last().copied().or(last_written);
            view.gathered = gathered;
            return Ok(());
        }
        let last = self.readable(written.last_of(kept))?;
        let old = writer.file.as_ref().expect("an active index has its file");
        let (file, crc) = file::copy_prefix_aside(&self.env, &self.path, old, place::<E>(kept).value())?;
        let map = map(&file, &self.path, place::<E>(self.max_entries).value())?;
        file::take_name(&self.env, &self.path)?;
        // The name has changed hands; nothing below can fail and leave entries going to an inode that has none.
        writer.file = Some(Arc::new(file));
        (writer.crc, writer.written_crc) = (crc, crc);
        let mut view = self.view.write();
        view.gathered.clear();
        (view.written, view.last, view.source) = (kept, last, Source::Open(map));
        Ok(())
    }

    /// Looks at the gathered entries and takes hold of the written ones, at one instant.
    fn observe<T>(&self, look: impl FnOnce(u64, &[E]) -> T) -> Result<(Written<E>, T)> {
        let mut view = self.view.read();
        if matches!(view.source, Source::Unopened) {
            drop(view);
            self.ensure_open()?;
            view = self.view.read();
        }
        let bytes = match &view.source {
            Source::Open(bytes) => Some(Arc::clone(bytes)),
            Source::Empty | Source::Unopened => None,
        };
        let seen = look(view.written, &view.gathered);
        Ok((Written::new(bytes, view.written, self.base), seen))
    }

    /// Opens and maps a sealed index on first use.
    pub(super) fn ensure_open(&self) -> Result<()> {
        if !matches!(self.view.read().source, Source::Unopened) {
            return Ok(());
        }
        let mut view = self.view.write();
        if !matches!(view.source, Source::Unopened) {
            return Ok(());
        }
        let Some(file) = file::open(&self.env, &self.path, OpenMode::Read)? else {
            (view.written, view.source) = (0, Source::Empty);
            return Ok(());
        };
        let entries = view.written.min(file::len(&file, &self.path)? / entry_bytes::<E>());
        let bytes = match (entries, self.opened) {
            (0, _) => None,
            (_, Opened::Ours) => Some(map(&file, &self.path, place::<E>(entries).value())?),
            (_, Opened::Foreign) => Some(Arc::new(Bytes::File(file))),
        };
        let written = Written::<E>::new(bytes.clone(), entries, self.base);
        view.last = self.readable(written.last_of(entries))?;
        (view.written, view.source) = (entries, bytes.map_or(Source::Empty, Source::Open));
        Ok(())
    }

    fn readable<T>(&self, read: io::Result<T>) -> Result<T> {
        read.map_err(|error| Error::io(IoOp::Read, &self.path, &error))
    }

    fn faulty(&self, entry: u64, why: &'static str) -> Error {
        Error::corrupt(&self.path, place::<E>(entry), Corruption::IndexEntry { entry, why })
    }
}

/// Whether a file begins with `entries` entries of this checksum. A file that is missing or shorter does not.
pub(super) fn verify_prefix<E: Entry>(env: &Env, path: &Path, entries: u64, crc: u32) -> Result<bool> {
    if entries == 0 {
        return Ok(crc == 0);
    }
    let Some(opened) = file::open(env, path, OpenMode::Read)? else { return Ok(false) };
    let Some(bytes) = entries.checked_mul(entry_bytes::<E>()) else { return Ok(false) };
    Ok(file::prefix_crc(&opened, path, bytes)? == Some(crc))
}

fn map(file: &File, path: &Path, len: u64) -> Result<Arc<Bytes>> {
    let len = usize::try_from(len).expect("addresses have 64 bits");
    let map = file.map_read(len).map_err(|error| Error::io(IoOp::Map, path, &error))?;
    Ok(Arc::new(Bytes::Map(map)))
}

fn append_crc<E: Entry>(crc: u32, base: Offset, entry: E) -> u32 {
    let mut bytes = [0; LARGEST_ENTRY_BYTES];
    entry.encode(base, &mut bytes[..E::SIZE_BYTES]);
    crc32c::crc32c_append(crc, &bytes[..E::SIZE_BYTES])
}

fn place<E: Entry>(entry: u64) -> Position {
    Position::new(entry * entry_bytes::<E>())
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).expect("lengths in memory fit 64 bits")
}
