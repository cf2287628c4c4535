//! Where the first inputs of the fuzzers come from: the engine makes them, and a few lines by hand.
//!
//! They are small and sound, so that a change of a byte is one step off the path; what fuzzing added to them is kept
//! beside them. Those of `batch`, `index` and `recover` are older and were taken from files that the engine wrote.

use std::path::Path;

use crate::config::{LogConfig, Worker};
use crate::fs::{Env, sim::SimDisk};
use crate::log::Log;
use crate::names::STATE;
use crate::record::{Compression, Compressor, Record};

/// A target, a name, and the bytes.
pub(super) type Seed = (&'static str, String, Vec<u8>);

pub(super) fn made() -> Vec<Seed> {
    [codecs(), legacy(), checkpoints(), states(), cursors(), operations()].concat()
}

/// Compressed bytes under a cap of 2^20, and plain ones.
fn codecs() -> Vec<Seed> {
    let text = b"kafka kafka kafka, and what no codec makes smaller: \x00\x9e\x37\x79\xb9".repeat(3);
    let codecs = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let mut seeds = Vec::new();
    for (number, codec) in (0u8..).zip(codecs) {
        let mut input = vec![number | 20 << 3, 0x80];
        let mut compressor = Compressor::new(codec).expect("all codecs are built");
        compressor.compress(&text, &mut input);
        seeds.push(("codec", codec.name().to_owned(), input));
        seeds.push(("codec", format!("{codec}-plain"), [&[number | 8 << 3, 0x40], &text[..]].concat()));
    }
    seeds
}

/// Each codec in each format, under each option that changes what is read.
fn legacy() -> Vec<Seed> {
    let messages = [[0, 5, 1, 2, 1], [1, 6, 255, 0, 1], [3, 7, 3, 255, 0]].concat();
    let seed = |name: &str, options: u8| ("legacy", name.to_owned(), [&[options, 0, 40, 9], &messages[..]].concat());
    vec![
        seed("alone", 0b0000_0001),
        seed("format-0-gzip", 0b0000_0010),
        seed("format-0-lz4-wrong-checksum", 0b0010_0110),
        seed("format-1-gzip", 0b0000_0011),
        seed("format-1-snappy-absolute", 0b0001_0101),
        seed("format-1-lz4-stamped", 0b0000_1111),
        seed("format-1-lz4-wrong-checksum", 0b0010_0111),
        seed("cut", 0b0100_0011),
        seed("nested", 0b1000_0011),
    ]
}

fn checkpoints() -> Vec<Seed> {
    let seed = |name: &str, kind: &str, text: &str| ("checkpoint", name.to_owned(), [kind, text].concat().into());
    vec![
        seed("epochs", "\0", "0\n3\n0 0\n3 17\n4 9223372036854775807\n"),
        seed("epochs-ends-early", "\0", "0\n"),
        seed("offsets", "\u{1}", "0\n2\norders 0 17\npayments-x 11 0\n"),
        seed("metadata", "\u{2}", "version: 0\ntopic_id: ASNFZ4mrze_-3LqYdlQyEA"),
        seed("topic-id", "\u{3}", "ASNFZ4mrze_-3LqYdlQyEA=="),
    ]
}

/// The state of a log in the middle of its work, and after a clean close with sealed segments.
fn states() -> Vec<Seed> {
    let disk = SimDisk::in_memory(1);
    let env = Env::sim(&disk);
    let dir = Path::new("/data/log");
    let config = LogConfig::default().worker(Worker::Caller).segment_bytes(200);
    let log = Log::open_in(&env, dir, config).expect("a new log opens");
    let file = || disk.read_file(dir.join(STATE)).expect("a log has a state");
    for _ in 0..6 {
        log.append(&[Record::value("a value of some length")]).expect("memory takes it");
        log.sync().expect("memory takes it");
    }
    let working = file();
    log.close().expect("memory takes it");
    let closed = file();
    let slots = |file: &[u8]| [&file[..176], &file[1536..1712]].concat();
    let seed = |name: &str, options: u8, bytes: Vec<u8>| ("state", name.to_owned(), [&[options], &bytes[..]].concat());
    vec![
        seed("working", 0b0000_1000, slots(&working)),
        seed("closed", 0b0001_0000, [&slots(&closed)[..], &closed[4096..]].concat()),
        seed("closed-mended", 0b0001_1011, [&slots(&closed)[..], &closed[4096..]].concat()),
        seed("one-slot", 0b0000_1101, closed[..176].to_vec()),
    ]
}

/// Commits that rest on batches and that do not, values by hand, and names that are none.
fn cursors() -> Vec<Seed> {
    // A commit is a byte of name, kind << 2 and batch << 5, and the offset or the length of a value.
    let seed = |name: &str, bytes: &[u8]| ("cursors", name.to_owned(), bytes.to_vec());
    let (a, billing, control) = (0, 1, 2);
    vec![
        seed("commits", &[0x23, a | 2 << 2, 3, billing | 3 << 2, 6, a | 2 << 2 | 1 << 5, 6, billing | 2 << 2, 3]),
        seed("other-batch", &[0x34, a | 2 << 2, 3, a | 6 << 2 | 1 << 5, 6, billing | 6 << 2, 3]),
        seed("replaced-and-deleted", &[0x1b, a | 7 << 2, 9, billing | 4 << 2, 7, a | 1 << 2, 0, control | 2 << 2, 3]),
        seed("by-hand", &[0x02, a, 11, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]),
        seed("value", &[1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4]),
    ]
}

/// Sequences by chance.
fn operations() -> Vec<Seed> {
    (1u64..=6)
        .map(|seed| {
            let mut chance = crate::log::tests::model::Chance::new(seed);
            let length = 60 * usize::try_from(seed).expect("a small number");
            ("operations", format!("chance-{seed}"), (0..length).map(|_| chance.draw().to_le_bytes()[0]).collect())
        })
        .collect()
}
