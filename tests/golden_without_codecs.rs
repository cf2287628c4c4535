//! The directories that Kafka wrote with codecs, met by a build without them: refused by name, never read as garbage.
//!
//! It runs under `--no-default-features` only. The invariant it owns: a missing codec is no damage; nothing is cut.

#![cfg(not(any(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd")))]
#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this prepares directories")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

use kstore::{Compression, Error, ErrorKind, Log, LogConfig, Record};
use support::golden::{Case, contents};
use support::lines::{assert_same_lines, record_line};

mod support;

const CODECS: [(&str, u8); 4] = [("codec-gzip", 1), ("codec-snappy", 2), ("codec-lz4", 3), ("codec-zstd", 4)];

#[test]
fn records_of_a_codec_that_was_left_out_are_refused_by_its_number() {
    for (name, number) in CODECS {
        let case = Case::named(name);
        let copy = case.copy();
        let reader = Log::open_read_only(copy.path()).expect(name);
        assert_eq!(reader.log_end_offset().value(), case.json("expected.json")["log_end_offset"], "{name}");
        for error in [
            reader.records(..).expect(name).next().expect("an answer").expect_err(name),
            reader.records_reversed(..).expect(name).next().expect("an answer").expect_err(name),
            reader.skip_damaged().records(..).expect(name).next().expect("an answer").expect_err(name),
        ] {
            assert!(matches!(error, Error::UnsupportedCompression { codec } if codec == number), "{name}: {error}");
            assert_eq!(error.kind(), ErrorKind::Usage);
            let text = error.to_string();
            assert_eq!(text, format!("compression codec {number} is unknown or was left out of this build"));
        }
        assert_eq!(contents(copy.path()), contents(&case.log()), "{name}");
    }
}

#[test]
fn a_log_with_records_of_such_a_codec_goes_on_and_loses_none_of_them() {
    for (name, _) in CODECS {
        let case = Case::named(name);
        let copy = case.copy();
        let log = Log::open(copy.path(), LogConfig::default()).expect(name);
        let report = log.recovery_report();
        assert!(report.damage.is_empty() && report.torn.is_empty(), "{name}: {report:?}");
        let appended = log.append(&[Record::new("key", "value")]).expect(name);
        assert_eq!(appended.base_offset().value(), case.json("expected.json")["log_end_offset"], "{name}");
        let record = log.records(appended.base_offset()..).expect(name).next().expect("a record").expect(name);
        assert_eq!(record.value(), Some(&b"value"[..]));
        log.close().expect(name);
        for (file, bytes) in contents(&case.log()).iter().filter(|(file, _)| file.ends_with(".log")) {
            assert!(contents(copy.path())[file].starts_with(bytes), "{name}: {file}");
        }
    }
}

#[test]
fn logs_without_compressed_batches_are_read_as_ever() {
    for name in ["plain", "broker-clean-compacted", "leader-epochs", "magic0", "magic1", "retention"] {
        let case = Case::named(name);
        let copy = case.copy();
        let reader = Log::open_read_only(copy.path()).expect(name);
        let found: Vec<String> =
            reader.records(..).expect(name).map(|record| record_line(&record.expect(name))).collect();
        assert_same_lines(&case, &found, &case.lines("records.jsonl"));
    }
}

#[test]
fn a_configuration_that_asks_for_such_a_codec_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let codecs = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for (codec, name) in codecs.into_iter().zip(["gzip", "snappy", "lz4", "zstd"]) {
        let error = Log::open(folder.path().join("log-0"), LogConfig::default().compression(codec)).expect_err(name);
        let expected = format!("configuration compression is {name}, expected a codec that this build was made with");
        assert_eq!(error.to_string(), expected);
        assert!(!folder.path().join("log-0").exists(), "nothing is created for it");
    }
}
