//! Kafka's small text files: leader epochs, offsets of partitions, the topic id of a partition.
//!
//! Knows their text and how to replace one durably; whether epochs ascend or an offset fits its log is for the layers
//! above to judge. The invariant it owns: under a checkpoint's name stands, after a crash at any moment, the whole old
//! content or the whole new one. The steps, and what a crash after each leaves behind:
//!
//! 1. write `<name>.tmp`: the old file, and rubbish beside it that the next write removes
//! 2. sync it: the same (without this step xfs and btrfs keep an empty file under the name, rule 14)
//! 3. rename it over the name: the old file or the new one
//! 4. sync the directory: the new file

use std::ffi::OsString;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Corruption, Error, IoOp, Result};
use crate::fs::{Env, OpenMode, read_exact_at, write_all_at};
use crate::names;
use crate::offset::{Offset, Position};

mod topic_id;

pub(crate) use topic_id::TopicId;

/// The only version of the files with entries.
const VERSION: i32 = 0;

/// No broker has so many partitions; what is larger is not read into memory.
const MAX_BYTES: u64 = 256 << 20;

/// A leader epoch and the first offset that was written under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochStart {
    pub(crate) epoch: i32,
    pub(crate) start_offset: Offset,
}

/// What an offset checkpoint of a data directory says of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionOffset {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: Offset,
}

/// Reads `leader-epoch-checkpoint` in the order in which it stands there. One that is missing or empty has no entry.
pub(crate) fn read_leader_epochs(env: &Env, dir: &Path) -> Result<Vec<EpochStart>> {
    let path = dir.join(names::LEADER_EPOCH_CHECKPOINT);
    let Some(text) = read_text(env, &path)? else { return Ok(Vec::new()) };
    let mut epochs = Vec::new();
    for line in entry_lines(&path, &text)? {
        let [epoch, start_offset] =
            line.fields("an epoch and an offset").map_err(|reason| line.refuse(&path, reason))?;
        let entry = number(epoch, "the epoch").and_then(|epoch| {
            Ok(EpochStart { epoch: index_number(epoch, "the epoch")?, start_offset: offset(start_offset)? })
        });
        epochs.push(entry.map_err(|reason| line.refuse(&path, reason))?);
    }
    Ok(epochs)
}

/// Replaces `leader-epoch-checkpoint` durably.
pub(crate) fn write_leader_epochs(env: &Env, dir: &Path, epochs: &[EpochStart]) -> Result<()> {
    let mut text = format!("{VERSION}\n{}\n", epochs.len());
    for EpochStart { epoch, start_offset } in epochs {
        writeln!(text, "{epoch} {start_offset}").expect("memory takes text");
    }
    write_durably(env, &dir.join(names::LEADER_EPOCH_CHECKPOINT), text.as_bytes())
}

/// Reads an offset checkpoint of a data directory in the order in which it stands there. One that is missing or empty
/// has no entry.
pub(crate) fn read_offsets(env: &Env, path: &Path) -> Result<Vec<PartitionOffset>> {
    let Some(text) = read_text(env, path)? else { return Ok(Vec::new()) };
    let mut offsets = Vec::new();
    for line in entry_lines(path, &text)? {
        let [topic, partition, end] =
            line.fields("a topic, a partition and an offset").map_err(|reason| line.refuse(path, reason))?;
        let entry = number(partition, "the partition").and_then(|partition| {
            let partition = index_number(partition, "the partition")?;
            Ok(PartitionOffset { topic: topic.to_owned(), partition, offset: offset(end)? })
        });
        offsets.push(entry.map_err(|reason| line.refuse(path, reason))?);
    }
    Ok(offsets)
}

/// Replaces an offset checkpoint of a data directory durably.
pub(crate) fn write_offsets(env: &Env, path: &Path, offsets: &[PartitionOffset]) -> Result<()> {
    let mut text = format!("{VERSION}\n{}\n", offsets.len());
    for PartitionOffset { topic, partition, offset } in offsets {
        let is_word = !topic.is_empty() && !topic.contains(|letter: char| letter.is_ascii_whitespace());
        assert!(is_word, "a topic's name was checked where it entered: {topic:?}");
        writeln!(text, "{topic} {partition} {offset}").expect("memory takes text");
    }
    write_durably(env, path, text.as_bytes())
}

/// Reads the topic id in `partition.metadata`; `None` if there is no such file.
pub(crate) fn read_partition_metadata(env: &Env, dir: &Path) -> Result<Option<TopicId>> {
    let path = dir.join(names::PARTITION_METADATA);
    let Some(text) = read_text(env, &path)? else { return Ok(None) };
    let refuse = |expected| Error::corrupt(&path, Position::ZERO, Corruption::Content { expected });
    let mut lines = text.lines();
    let version = lines.next().and_then(value_of).and_then(|version| version.parse::<i32>().ok());
    // Later versions are promised to keep these two lines.
    if version.is_none_or(|version| version < VERSION) {
        return Err(refuse("a first line with version 0 or later"));
    }
    let id = lines.next().and_then(value_of).and_then(TopicId::parse);
    id.map(Some).ok_or_else(|| refuse("a second line with a topic id that is not zero"))
}

/// Makes sure that `partition.metadata` holds a topic id, durably; writes nothing if it does.
///
/// # Errors
/// `Corrupt` if it holds another one.
pub(crate) fn keep_partition_metadata(env: &Env, dir: &Path, id: TopicId) -> Result<()> {
    let path = dir.join(names::PARTITION_METADATA);
    match read_partition_metadata(env, dir)? {
        Some(found) if found == id => Ok(()),
        Some(_) => {
            let reason = Corruption::Content { expected: "the topic id that the partition was given" };
            Err(Error::corrupt(&path, Position::ZERO, reason))
        }
        None => write_durably(env, &path, format!("version: {VERSION}\ntopic_id: {id}").as_bytes()),
    }
}

/// Replaces a small file as the table at the top says.
pub(crate) fn write_durably(env: &Env, path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary(path);
    match env.remove_file(&temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io(IoOp::Remove, &temporary, &error)),
    }
    let file =
        env.open(&temporary, OpenMode::CreateNew).map_err(|error| Error::io(IoOp::Create, &temporary, &error))?;
    write_all_at(&file, bytes, Position::ZERO).map_err(|partial| Error::io(IoOp::Write, &temporary, &partial.error))?;
    file.sync_data().map_err(|error| Error::io(IoOp::Sync, &temporary, &error))?;
    env.rename(&temporary, path).map_err(|error| Error::io(IoOp::Rename, path, &error))?;
    let dir = path.parent().expect("a file lies in a directory");
    env.sync_dir(dir).map_err(|error| Error::io(IoOp::SyncDirectory, dir, &error))
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(names::TEMPORARY_SUFFIX);
    PathBuf::from(name)
}

/// The whole text of a file; `None` if it is missing.
fn read_text(env: &Env, path: &Path) -> Result<Option<String>> {
    let file = match env.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(IoOp::Open, path, &error)),
    };
    let len = file.len().map_err(|error| Error::io(IoOp::Inspect, path, &error))?;
    if len > MAX_BYTES {
        let reason = Corruption::Content { expected: "a checkpoint of at most 256 MiB" };
        return Err(Error::corrupt(path, Position::new(MAX_BYTES), reason));
    }
    let mut bytes = vec![0; usize::try_from(len).expect("it is at most 256 MiB")];
    let read = read_exact_at(&file, &mut bytes, Position::ZERO).map_err(|error| Error::io(IoOp::Read, path, &error))?;
    bytes.truncate(read);
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let at = Position::new(as_u64(error.utf8_error().valid_up_to()));
        Error::corrupt(path, at, Corruption::Content { expected: "UTF-8" })
    })
}

/// One line and where it begins in the file.
#[derive(Clone, Copy)]
struct Line<'a> {
    text: &'a str,
    at: Position,
}

impl<'a> Line<'a> {
    fn fields<const N: usize>(self, expected: &'static str) -> std::result::Result<[&'a str; N], Corruption> {
        let mut words = self.text.split_ascii_whitespace();
        let mut fields = [""; N];
        for field in &mut fields {
            *field = words.next().ok_or(Corruption::Content { expected })?;
        }
        if words.next().is_some() { Err(Corruption::Content { expected }) } else { Ok(fields) }
    }

    fn refuse(self, path: &Path, reason: Corruption) -> Error {
        Error::corrupt(path, self.at, reason)
    }
}

/// The lines behind version and count, which are checked. As in Kafka, a file that ends before its count is empty.
fn entry_lines<'a>(path: &Path, text: &'a str) -> Result<Vec<Line<'a>>> {
    let mut at = 0;
    let mut lines = text.split_inclusive('\n').map(|line| {
        let start = Position::new(at);
        at += as_u64(line.len());
        Line { text: line.trim_end_matches(['\n', '\r']), at: start }
    });
    let Some(version) = lines.next() else { return Ok(Vec::new()) };
    if version.text.parse::<i32>() != Ok(VERSION) {
        return Err(version.refuse(path, Corruption::Content { expected: "version 0" }));
    }
    let Some(count) = lines.next() else { return Ok(Vec::new()) };
    let entries: Vec<_> = lines.collect();
    if count.text.parse::<usize>() != Ok(entries.len()) {
        return Err(count.refuse(path, Corruption::Content { expected: "the number of lines that follow" }));
    }
    Ok(entries)
}

/// What stands behind the colon of a line `name: value`.
fn value_of(line: &str) -> Option<&str> {
    let (_, value) = line.split_once(':')?;
    value.starts_with(|letter: char| letter.is_ascii_whitespace()).then(|| value.trim_ascii())
}

fn number(text: &str, field: &'static str) -> std::result::Result<i64, Corruption> {
    text.parse().map_err(|_| Corruption::Content { expected: field })
}

fn index_number(found: i64, field: &'static str) -> std::result::Result<i32, Corruption> {
    let in_range = i32::try_from(found).ok().filter(|number| *number >= 0);
    in_range.ok_or(Corruption::OutOfRange { field, found })
}

fn offset(text: &str) -> std::result::Result<Offset, Corruption> {
    let found = number(text, "the offset")?;
    Offset::from_disk(found).ok_or(Corruption::OutOfRange { field: "the offset", found })
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).expect("lengths in memory fit 64 bits")
}

#[cfg(test)]
mod tests;
