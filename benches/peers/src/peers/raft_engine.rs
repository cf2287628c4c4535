//! `raft-engine`: the logs of many Raft groups in one, with an index of all entries in memory.

use std::any::Any;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Mutex;

use protobuf::reflect::MessageDescriptor;
use protobuf::{CachedSize, Clear, CodedInputStream, CodedOutputStream, Message, ProtobufResult, UnknownFields, rt};
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::{Entry, Peer, Terms};
use crate::Outcome;
use crate::rows::Shape;
use crate::values::Sum;

pub(super) const ENTRY: Entry = Entry {
    name: "raft-engine",
    terms: Terms {
        used_as: "one Raft group, or one each thread; a `LogBatch` a call, kept and filled again; no compression, as \
            in its example; the row's segments as `target_file_size`; `get_entry`, and `fetch_entries_to` of 1 MiB \
            for the scan",
        checksum: "CRC-32 over the entries of each call and over its index; verified by every read",
        atomic: "a call",
        plain_append: "the end of the process",
        durable_append: "`write(batch, true)`: one thread writes and syncs for all that wait",
        copies: "two: encoded as protobuf, and by the system; read into a fresh buffer a call, decoded into fresh \
            entries",
    },
    refuses: |_| None,
    run: crate::work::round::<RaftEngine>,
};

/// What the scan reads at once.
const CHUNK_BYTES: usize = 1 << 20;

/// An entry of a Raft log: fields and numbers as in the `eraftpb.Entry` of its documents, of which index and data are
/// used. Written by hand, for the crate that has it generates code with a compiler of its own.
#[derive(Clone, Debug, Default, PartialEq)]
struct RaftEntry {
    index: u64,
    data: Vec<u8>,
    unknown: UnknownFields,
    size: CachedSize,
}

const INDEX_FIELD: u32 = 3;
const DATA_FIELD: u32 = 4;

impl Clear for RaftEntry {
    fn clear(&mut self) {
        self.index = 0;
        self.data.clear();
        self.unknown.clear();
    }
}

impl Message for RaftEntry {
    fn is_initialized(&self) -> bool {
        true
    }

    fn merge_from(&mut self, from: &mut CodedInputStream<'_>) -> ProtobufResult<()> {
        while !from.eof()? {
            let (field, wire_type) = from.read_tag_unpack()?;
            match field {
                INDEX_FIELD => self.index = from.read_uint64()?,
                DATA_FIELD => rt::read_singular_proto3_bytes_into(wire_type, from, &mut self.data)?,
                _ => rt::read_unknown_or_skip_group(field, wire_type, from, &mut self.unknown)?,
            }
        }
        Ok(())
    }

    fn compute_size(&self) -> u32 {
        let index = rt::value_size(INDEX_FIELD, self.index, protobuf::wire_format::WireTypeVarint);
        let size = index + rt::bytes_size(DATA_FIELD, &self.data) + rt::unknown_fields_size(&self.unknown);
        self.size.set(size);
        size
    }

    fn write_to_with_cached_sizes(&self, to: &mut CodedOutputStream<'_>) -> ProtobufResult<()> {
        to.write_uint64(INDEX_FIELD, self.index)?;
        to.write_bytes(DATA_FIELD, &self.data)?;
        to.write_unknown_fields(&self.unknown)
    }

    fn get_cached_size(&self) -> u32 {
        self.size.get()
    }

    fn get_unknown_fields(&self) -> &UnknownFields {
        &self.unknown
    }

    fn mut_unknown_fields(&mut self) -> &mut UnknownFields {
        &mut self.unknown
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }

    fn descriptor(&self) -> &'static MessageDescriptor {
        unreachable!("nobody reflects on it")
    }

    fn new() -> RaftEntry {
        RaftEntry::default()
    }

    fn default_instance() -> &'static RaftEntry {
        static INSTANCE: rt::LazyV2<RaftEntry> = rt::LazyV2::INIT;
        INSTANCE.get(RaftEntry::default)
    }
}

/// How entries tell their index.
struct Indexed;

impl MessageExt for Indexed {
    type Entry = RaftEntry;

    fn index(entry: &RaftEntry) -> u64 {
        entry.index
    }
}

/// The group whose log is read, and that of the first thread.
const GROUP: u64 = 1;

/// What a thread fills again and again.
struct Kept {
    group: u64,
    next: u64,
    entries: Vec<RaftEntry>,
    batch: LogBatch,
}

impl Kept {
    fn append<V: AsRef<[u8]>>(&mut self, engine: &Engine, values: &[V], durably: bool) -> Outcome<()> {
        self.entries.resize(values.len(), RaftEntry::default());
        for (entry, value) in self.entries.iter_mut().zip(values) {
            entry.index = self.next;
            entry.data.clear();
            entry.data.extend_from_slice(value.as_ref());
            self.next += 1;
        }
        self.batch.add_entries::<Indexed>(self.group, &self.entries)?;
        engine.write(&mut self.batch, durably)?;
        Ok(())
    }
}

struct RaftEngine {
    engine: Engine,
    threads: Vec<Mutex<Kept>>,
    fetched: Vec<RaftEntry>,
}

impl Peer for RaftEngine {
    type Batch<'a> = Vec<&'a [u8]>;

    fn open(dir: &Path, shape: &Shape) -> Outcome<RaftEngine> {
        let config = Config {
            dir: dir.to_str().ok_or("a folder named in UTF-8")?.to_owned(),
            target_file_size: ReadableSize(shape.segment_bytes as u64),
            batch_compression_threshold: ReadableSize(0),
            ..Config::default()
        };
        let engine = Engine::open(config)?;
        let groups = GROUP..GROUP + shape.threads as u64;
        let kept = |group| {
            let next = engine.last_index(group).map_or(1, |last| last + 1);
            Mutex::new(Kept { group, next, entries: Vec::new(), batch: LogBatch::default() })
        };
        let threads = groups.map(kept).collect();
        Ok(RaftEngine { engine, threads, fetched: Vec::new() })
    }

    fn batch<'a>(values: &[&'a [u8]]) -> Vec<&'a [u8]> {
        values.to_vec()
    }

    fn append(&mut self, value: &[u8]) -> Outcome<()> {
        let kept = self.threads.first_mut().ok_or("there is a thread")?.get_mut().map_err(|_| "a panic")?;
        kept.append(&self.engine, &[value], false)
    }

    fn append_batch(&mut self, batch: &Vec<&[u8]>) -> Outcome<()> {
        let kept = self.threads.first_mut().ok_or("there is a thread")?.get_mut().map_err(|_| "a panic")?;
        kept.append(&self.engine, batch, false)
    }

    fn append_durably(&self, thread: usize, value: &[u8]) -> Outcome<()> {
        // Nobody else has the lock: it costs what an atomic does.
        let mut kept = self.threads.get(thread).ok_or("a thread of the row")?.lock().map_err(|_| "a panic")?;
        kept.append(&self.engine, &[value], true)
    }

    fn records(&mut self) -> Outcome<usize> {
        let groups = GROUP..GROUP + self.threads.len() as u64;
        let found: u64 = groups.filter_map(|group| self.engine.last_index(group)).sum();
        Ok(usize::try_from(found)?)
    }

    fn scan(&mut self) -> Outcome<Option<Sum>> {
        let end = self.engine.last_index(GROUP).map_or(1, |last| last + 1);
        let (mut sum, mut next) = (Sum::default(), 1);
        while next < end {
            self.fetched.clear();
            let fetched =
                self.engine.fetch_entries_to::<Indexed>(GROUP, next, end, Some(CHUNK_BYTES), &mut self.fetched)?;
            next += fetched as u64;
            self.fetched.iter().for_each(|entry| sum.add(&entry.data));
        }
        Ok(Some(sum))
    }

    fn lookup<T>(&mut self, record: usize, look: impl FnOnce(&[u8]) -> T) -> Outcome<T> {
        let entry = self.engine.get_entry::<Indexed>(GROUP, record as u64 + 1)?.ok_or("the record is there")?;
        Ok(look(&entry.data))
    }

    fn close(self) -> Outcome<()> {
        // Dropping it is how it is closed.
        Ok(())
    }
}
