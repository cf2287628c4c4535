//! What records come to, so that it can be told whether those that were read are those that were given.
//!
//! The invariant it owns: every byte of every value counts. Where one writer fills a log the order counts, too; where
//! several do, nobody knows it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use kstore::Reader;

use crate::Outcome;

/// Some records.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Contents {
    pub(crate) records: u64,
    bytes: u64,
    /// A checksum over all values, one behind the other.
    in_order: u32,
    /// A sum that is the same in whatever order they come.
    in_any_order: u64,
}

impl Contents {
    /// One more record.
    pub(crate) fn add(&mut self, value: &[u8]) {
        self.records += 1;
        self.bytes += value.len() as u64;
        self.in_order = crc32c::crc32c_append(self.in_order, value);
        let alone = crc32c::crc32c(value);
        self.in_any_order = self.in_any_order.wrapping_add(u64::from(alone).wrapping_mul(MIX) ^ value.len() as u64);
    }

    /// Those of others behind them, too.
    pub(crate) fn extend(&mut self, others: Contents) {
        let bytes = usize::try_from(others.bytes).expect("as many as a file can have");
        self.records += others.records;
        self.bytes += others.bytes;
        self.in_order = crc32c::crc32c_combine(self.in_order, others.in_order, bytes);
        self.in_any_order = self.in_any_order.wrapping_add(others.in_any_order);
    }

    /// All records that a reader sees.
    ///
    /// # Errors
    /// Of the log.
    pub(crate) fn of_log(reader: &Reader) -> Outcome<Contents> {
        let mut found = Contents::default();
        for batch in reader.batches(..)? {
            for record in batch?.records() {
                found.add(record?.value().ok_or("no record is a tombstone")?);
            }
        }
        Ok(found)
    }

    /// All records of a file in which nothing but values of one size lie.
    ///
    /// # Errors
    /// If it cannot be read, or ends within a value.
    pub(crate) fn of_file(path: &Path, value_bytes: usize) -> Outcome<Contents> {
        let length = File::open(path)?.metadata()?.len();
        let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
        let (mut found, mut value) = (Contents::default(), vec![0; value_bytes]);
        for _ in 0..length / value_bytes as u64 {
            file.read_exact(&mut value)?;
            found.add(&value);
        }
        if length % value_bytes as u64 == 0 { Ok(found) } else { Err("half a value was written".into()) }
    }

    /// That these, which were read, are those that one writer gave.
    ///
    /// # Errors
    /// If they are others, or in another order.
    pub(crate) fn must_be(self, given: Contents) -> Outcome<()> {
        if self.in_order == given.in_order { self.must_be_among_writers(given) } else { Err(wrong(self, given)) }
    }

    /// That these, which were read, are those that some writers gave.
    ///
    /// # Errors
    /// If they are others.
    pub(crate) fn must_be_among_writers(self, given: Contents) -> Outcome<()> {
        let key = |all: Contents| (all.records, all.bytes, all.in_any_order);
        if key(self) == key(given) { Ok(()) } else { Err(wrong(self, given)) }
    }
}

/// Any odd number with many bits.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

fn wrong(found: Contents, given: Contents) -> Box<dyn std::error::Error + Send + Sync> {
    format!("{given:?} was given, and {found:?} was read").into()
}

#[cfg(test)]
mod tests {
    use kstore::{Log, LogConfig, Record};

    use super::Contents;

    fn of(values: &[&[u8]]) -> Contents {
        let mut all = Contents::default();
        values.iter().for_each(|value| all.add(value));
        all
    }

    #[test]
    fn a_byte_in_the_middle_of_a_value_counts() {
        let given = of(&[b"one value", b"another one"]);
        assert!(of(&[b"one value", b"another one"]).must_be(given).is_ok());
        for wrong in [of(&[b"one vaLue", b"another one"]), of(&[b"one value"]), of(&[b"one valueanother one"])] {
            assert!(wrong.must_be(given).is_err() && wrong.must_be_among_writers(given).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn order_counts_where_there_is_one_writer() {
        let (given, turned) = (of(&[b"one", b"two"]), of(&[b"two", b"one"]));
        assert!(turned.must_be(given).is_err());
        turned.must_be_among_writers(given).expect("the same records");
        let mut parts = of(&[b"one"]);
        parts.extend(of(&[b"two"]));
        parts.must_be(given).expect("the same records in the same order");
    }

    #[test]
    fn logs_and_files_are_read_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let given = of(&[b"abc", b"def", b"ghi"]);
        let log = Log::open(dir.path().join("log"), LogConfig::default()).expect("a log");
        for value in ["abc", "def", "ghi"] {
            log.append(&[Record::value(value)]).expect("an append");
        }
        Contents::of_log(&log.reader()).expect("records").must_be(given).expect("all records");
        let file = dir.path().join("plain");
        std::fs::write(&file, "abcdefghi").expect("a file");
        Contents::of_file(&file, 3).expect("values").must_be(given).expect("all values");
        assert!(Contents::of_file(&file, 4).is_err(), "two values and a bit");
    }
}
