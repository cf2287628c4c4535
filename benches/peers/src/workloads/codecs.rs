//! Each codec: what it saves, and what appending, taking over a client's batches, reading and sending cost with it.
//!
//! The records are lines of JSON, some 200 bytes each, that repeat as such lines do. The codec alone is the crate that
//! kstore uses, called on the same bytes without a log around it.

use std::fmt::Write as _;
use std::path::Path;

use kstore::{AppendOptions, BatchBuilder, Compression, Log, LogConfig, Record};

use super::contents::Contents;
use super::plain::{Plain, chunk, files, read_and_checksum};
use super::sending::{send_file, send_log};
use super::{Case, Line, Measure, Scale, Workload};
use crate::Outcome;
use crate::cost::Cost;
use crate::spread::number;
use crate::storage::read_once;

pub(super) const WORKLOAD: Workload = Workload {
    name: "codecs",
    title: "Codecs: batches of some 64 KiB of JSON before compression",
    about: "`time` is that of an append of records that the log compresses; `append_batch` takes over batches that are \
        compressed already, and validates every record in them; a scan decodes every record; `send_to` sends what is \
        stored. Bare, uncompressed: `write` and CRC-32C, `pread` of 1 MiB and CRC-32C, `sendfile`.",
    unit: "a record",
    once: false,
    charts: &[],
    cases,
};

const BATCH_BYTES: usize = 64 << 10;
/// The records' values begin anew behind so many.
const POOL: usize = 8_192;
const ALL: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
const BARE: &str = "bare, none";

fn cases(scale: Scale) -> Vec<Case> {
    let payload_bytes = scale.pick(24 << 20, 512 << 20);
    let mut cases = vec![Case::new(BARE, move |dir, line| bare_calls(dir, line, payload_bytes))];
    let built = ALL.into_iter().filter(|codec| codec.is_available());
    cases.extend(built.map(|codec| {
        let against = if codec == Compression::None { BARE } else { "kstore, none" };
        Case::new(format!("kstore, {}", codec.name()), move |dir, line| {
            kstore(dir, line.against(against), payload_bytes, codec)
        })
    }));
    cases
}

/// Lines of JSON, in batches that are appended again and again.
struct Lines(Vec<Vec<String>>);

impl Lines {
    fn new() -> Lines {
        let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
        for number in 0..POOL {
            let line = json_line(number);
            bytes += line.len();
            batch.push(line);
            if bytes >= BATCH_BYTES {
                batches.push(std::mem::take(&mut batch));
                bytes = 0;
            }
        }
        Lines(batches)
    }

    /// So many batches that their payload comes to about as much.
    fn batches(&self, payload_bytes: usize) -> impl Iterator<Item = (usize, &Vec<String>)> {
        self.0.iter().enumerate().cycle().take(payload_bytes / BATCH_BYTES)
    }

    fn given(&self, payload_bytes: usize) -> (Contents, u64) {
        let (mut given, mut bytes) = (Contents::default(), 0);
        for line in self.batches(payload_bytes).flat_map(|(_, batch)| batch) {
            given.add(line.as_bytes());
            bytes += line.len() as u64;
        }
        (given, bytes)
    }

    /// Each batch as a client sends it.
    fn encoded(&self, codec: Compression) -> Outcome<Vec<Vec<u8>>> {
        let mut builder = BatchBuilder::new(codec);
        let encode = |batch: &Vec<String>| -> Outcome<Vec<u8>> {
            builder.clear();
            for line in batch {
                builder.push(Record::value(line))?;
            }
            Ok(builder.encode()?.to_vec())
        };
        self.0.iter().map(encode).collect()
    }
}

fn json_line(number: usize) -> String {
    const ACTIONS: [&str; 5] = ["view", "search", "add_to_basket", "remove_from_basket", "order"];
    let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut line = String::new();
    write!(
        line,
        "{{\"time\":\"2026-03-{:02}T{:02}:{:02}:{:02}.{:03}Z\",\"user\":{},\"session\":\"{:016x}\",\"action\":\"{}\",\
         \"item\":\"sku-{:06}\",\"price\":{}.{:02},\"currency\":\"EUR\",\"agent\":\"Mozilla/5.0 (X11; Linux x86_64)\"}}",
        1 + number / 3_600 % 28,
        number / 60 % 24,
        number / 7 % 60,
        number % 60,
        mixed % 1_000,
        100_000 + mixed % 5_000,
        mixed,
        ACTIONS[number % ACTIONS.len()],
        mixed % 20_000,
        mixed % 300,
        mixed % 100,
    )
    .expect("a string takes whatever is written");
    line
}

fn bare_calls(dir: &Path, line: Line, payload_bytes: usize) -> Outcome<Line> {
    let lines = Lines::new();
    let encoded = lines.encoded(Compression::None)?;
    let plain = Plain::create(dir, "plain")?;
    let records = lines.given(payload_bytes).0.records;
    let (cost, ()) = Cost::of(|| {
        lines.batches(payload_bytes).try_for_each(|(at, _)| {
            std::hint::black_box(crc32c::crc32c(&encoded[at]));
            plain.append(&encoded[at])
        })
    })?;
    let line = line.cost(&cost, records);
    read_once(dir)?;
    let (cost, _) = Cost::of(|| read_and_checksum(plain.path(), &mut chunk()))?;
    let line = line.times(Measure::Scan, Measure::ScanCpu, &cost, records);
    let (cost, sent) = send_file(plain.path())?;
    Ok(line.with(Measure::SendMib, of_mib(&cost, sent)))
}

fn kstore(dir: &Path, line: Line, payload_bytes: usize, codec: Compression) -> Outcome<Line> {
    let lines = Lines::new();
    let (given, given_bytes) = lines.given(payload_bytes);
    let log = Log::open(dir.join("log"), LogConfig::default().compression(codec))?;
    let batches: Vec<Vec<Record<'_>>> = lines.0.iter().map(|batch| batch.iter().map(Record::value).collect()).collect();
    let (cost, ()) =
        Cost::of(|| lines.batches(payload_bytes).try_for_each(|(at, _)| Ok(log.append(&batches[at]).map(drop)?)))?;
    let stored = number(log.stats().appended_bytes) / number(given_bytes);
    let line = line.cost(&cost, given.records).with(Measure::StoredPerByte, stored);

    read_once(log.dir())?;
    let (cost, ()) = Cost::of(|| {
        for batch in log.reader().batches(..)? {
            for record in batch?.records() {
                std::hint::black_box(record?.value());
            }
        }
        Ok(())
    })?;
    let line = line.times(Measure::Scan, Measure::ScanCpu, &cost, given.records);
    Contents::of_log(&log.reader())?.must_be(given)?;
    let stored =
        files(log.dir(), "log")?.iter().map(|path| Ok(std::fs::metadata(path)?.len())).sum::<Outcome<u64>>()?;
    let (cost, sent) = send_log(&log)?;
    if sent != stored {
        return Err(format!("{stored} bytes are stored, and {sent} were sent").into());
    }
    let line = line.with(Measure::SendMib, of_mib(&cost, sent));
    log.close()?;
    take_over(dir, line, &lines, payload_bytes, codec)
}

/// Batches that a client compressed: handed to a log, and to the codec alone.
fn take_over(dir: &Path, line: Line, lines: &Lines, payload_bytes: usize, codec: Compression) -> Outcome<Line> {
    let encoded = lines.encoded(codec)?;
    let (given, _) = lines.given(payload_bytes);
    let log = Log::open(dir.join("taken-over"), LogConfig::default())?;
    let options = AppendOptions::default();
    let (cost, ()) = Cost::of(|| {
        lines.batches(payload_bytes).try_for_each(|(at, _)| Ok(log.append_batch(&options, &encoded[at]).map(drop)?))
    })?;
    let line = line.time(Measure::AppendBatch, &cost, given.records);
    Contents::of_log(&log.reader())?.must_be(given)?;
    log.close()?;
    if codec == Compression::None {
        return Ok(line);
    }
    decompress_all(line, lines, &encoded, payload_bytes, codec, given.records)
}

#[cfg(not(feature = "codecs"))]
fn decompress_all(
    line: Line,
    _lines: &Lines,
    _encoded: &[Vec<u8>],
    _payload_bytes: usize,
    _codec: Compression,
    _records: u64,
) -> Outcome<Line> {
    Ok(line)
}

#[cfg(feature = "codecs")]
fn decompress_all(
    line: Line,
    lines: &Lines,
    encoded: &[Vec<u8>],
    payload_bytes: usize,
    codec: Compression,
    records: u64,
) -> Outcome<Line> {
    let plain = lines.encoded(Compression::None)?;
    let mut decompressor = alone::Decompressor::new(codec)?;
    for (encoded, plain) in encoded.iter().zip(&plain) {
        if *decompressor.decompress(&encoded[HEADER_BYTES..])? != plain[HEADER_BYTES..] {
            return Err(format!("{} alone gives other records", codec.name()).into());
        }
    }
    let (cost, ()) = Cost::of(|| {
        lines.batches(payload_bytes).try_for_each(|(at, _)| {
            std::hint::black_box(decompressor.decompress(&encoded[at][HEADER_BYTES..])?);
            Ok(())
        })
    })?;
    Ok(line.time(Measure::Decompress, &cost, records))
}

/// Behind the header of a batch there are its records, compressed or not.
#[cfg(feature = "codecs")]
const HEADER_BYTES: usize = 61;

fn of_mib(cost: &Cost, bytes: u64) -> f64 {
    1e9 * cost.wall.as_secs_f64() / (number(bytes) / f64::from(1 << 20)).max(1e-9)
}

/// The codecs without a log: each as fast as its crate gives it.
#[cfg(feature = "codecs")]
mod alone {
    use std::io::Read;

    use kstore::Compression;

    use crate::Outcome;

    /// A batch is never larger than this before it was compressed.
    const MOST_BYTES: usize = 256 << 10;

    pub(super) struct Decompressor {
        codec: Compression,
        zstd: zstd::bulk::Decompressor<'static>,
        snappy: snap::raw::Decoder,
        out: Vec<u8>,
    }

    impl Decompressor {
        pub(super) fn new(codec: Compression) -> Outcome<Decompressor> {
            let (zstd, snappy) = (zstd::bulk::Decompressor::new()?, snap::raw::Decoder::new());
            Ok(Decompressor { codec, zstd, snappy, out: vec![0; MOST_BYTES] })
        }

        pub(super) fn decompress(&mut self, compressed: &[u8]) -> Outcome<&[u8]> {
            let bytes = match self.codec {
                Compression::None => return Err("nothing is compressed".into()),
                Compression::Gzip => read_to_end(flate2::bufread::GzDecoder::new(compressed), &mut self.out)?,
                Compression::Zstd => self.zstd.decompress_to_buffer(compressed, &mut self.out)?,
                Compression::Snappy => {
                    let blocks = Blocks { rest: &compressed[SNAPPY_HEADER_BYTES..], length: u32::from_be_bytes };
                    let mut bytes = 0;
                    for block in blocks {
                        bytes += self.snappy.decompress(block?.0, &mut self.out[bytes..])?;
                    }
                    bytes
                }
                Compression::Lz4 => {
                    let blocks = Blocks { rest: &compressed[LZ4_HEADER_BYTES..], length: u32::from_le_bytes };
                    let mut bytes = 0;
                    for block in blocks {
                        let (block, is_stored) = block?;
                        let out = &mut self.out[bytes..];
                        bytes += if is_stored {
                            out[..block.len()].copy_from_slice(block);
                            block.len()
                        } else {
                            lz4_flex::block::decompress_into(block, out)?
                        };
                    }
                    bytes
                }
            };
            Ok(&self.out[..bytes])
        }
    }

    fn read_to_end(mut from: impl Read, out: &mut [u8]) -> Outcome<usize> {
        let mut bytes = 0;
        loop {
            match from.read(&mut out[bytes..])? {
                0 => return Ok(bytes),
                read => bytes += read,
            }
        }
    }

    /// What stands before the blocks as kstore and the Java clients write them.
    const SNAPPY_HEADER_BYTES: usize = 16;
    const LZ4_HEADER_BYTES: usize = 7;
    /// LZ4 marks a block that is stored as it is in the top bit of its length.
    const STORED: u32 = 1 << 31;

    /// Blocks with their lengths before them, up to the end, or to a length of 0.
    struct Blocks<'a> {
        rest: &'a [u8],
        length: fn([u8; 4]) -> u32,
    }

    impl<'a> Iterator for Blocks<'a> {
        type Item = Outcome<(&'a [u8], bool)>;

        fn next(&mut self) -> Option<Outcome<(&'a [u8], bool)>> {
            let (length, rest) = self.rest.split_first_chunk::<4>()?;
            let length = (self.length)(*length);
            if length == 0 {
                return None;
            }
            let Some((block, rest)) = rest.split_at_checked((length & !STORED) as usize) else {
                self.rest = &[];
                return Some(Err("a block is cut off".into()));
            };
            self.rest = rest;
            Some(Ok((block, length & STORED != 0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, Lines, json_line};

    #[test]
    fn lines_are_all_different_and_of_a_usual_length() {
        let mut lines: Vec<String> = (0..1_000).map(json_line).collect();
        assert!(lines.iter().all(|line| (150..300).contains(&line.len())), "{}", lines[0]);
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), 1_000);
    }

    #[test]
    fn every_codec_of_this_build_makes_them_smaller() {
        let lines = Lines::new();
        let sizes = |codec| -> Vec<usize> { lines.encoded(codec).expect("batches").iter().map(Vec::len).collect() };
        let plain = sizes(kstore::Compression::None);
        for codec in ALL.into_iter().skip(1).filter(|codec| codec.is_available()) {
            let smaller = sizes(codec).iter().zip(&plain).all(|(small, large)| small * 2 < large * 3 / 2);
            assert!(smaller, "{}", codec.name());
        }
    }

    #[cfg(feature = "codecs")]
    #[test]
    fn the_codecs_alone_give_the_same_records() {
        use super::{HEADER_BYTES, alone::Decompressor};
        let lines = Lines::new();
        let plain = lines.encoded(kstore::Compression::None).expect("batches");
        for codec in ALL.into_iter().skip(1) {
            let mut decompressor = Decompressor::new(codec).expect("a decompressor");
            for (encoded, plain) in lines.encoded(codec).expect("batches").iter().zip(&plain) {
                let found = decompressor.decompress(&encoded[HEADER_BYTES..]).expect("records");
                assert!(found == &plain[HEADER_BYTES..], "{}", codec.name());
            }
        }
    }
}
