//! Bytes that were changed in a `.log` behind kstore's back: found when they are read, or when the log is recovered.
//!
//! A clean log is believed at open, so that damage shows when it is read; a foreign one is read whole at open.

use kstore::{Compression, Corruption, Error, ErrorKind, Log, LogConfig, Offset, Position, Record, Trust};

use crate::bytes::{ATTRIBUTES, COUNT, CRC, LAST_OFFSET_DELTA, LENGTH, MAGIC, batch_of, put_i32, put_i64, seal};
use crate::site::{Site, log_name};

/// Batches in the planted log, each of two records.
pub(crate) const BATCHES: u64 = 9;
/// The batch that is damaged, counted from 0.
pub(crate) const DAMAGED: u64 = 4;

/// One way to spoil a batch, and what is to be said of it.
struct Spoiled {
    name: &'static str,
    spoil: fn(&mut [u8]),
    expected: fn(Corruption) -> bool,
    /// How the description of what was found begins.
    text: &'static str,
    /// Checksum and offsets are right, so that recovery finds nothing wrong: only reading the records does.
    inside: bool,
}

impl Spoiled {
    /// Without a length nobody knows where the next batch begins: who skips damage goes on at the next segment, unless
    /// the opening searched for it.
    fn hides_the_rest(&self) -> bool {
        self.name.contains("length")
    }
}

const SPOILED: [Spoiled; 10] = [
    Spoiled {
        name: "a bad checksum",
        spoil: |batch| batch[CRC] ^= 0x40,
        expected: |reason| matches!(reason, Corruption::Crc { .. }),
        text: "the checksum is ",
        inside: false,
    },
    Spoiled {
        name: "a flipped bit in a record",
        spoil: |batch| *batch.last_mut().expect("a batch") ^= 1,
        expected: |reason| matches!(reason, Corruption::Crc { .. }),
        text: "the checksum is ",
        inside: false,
    },
    Spoiled {
        name: "a negative length",
        spoil: |batch| put_i32(batch, LENGTH, -7),
        expected: |reason| reason == Corruption::BatchLength { found: -7, smallest: 14 },
        text: "the batch length is -7, the smallest possible is 14",
        inside: false,
    },
    Spoiled {
        name: "a length below the header",
        spoil: |batch| put_i32(batch, LENGTH, 20),
        expected: |reason| reason == Corruption::BatchLength { found: 20, smallest: 49 },
        text: "the batch length is 20, the smallest possible is 49",
        inside: false,
    },
    Spoiled {
        name: "a length beyond the file",
        spoil: |batch| put_i32(batch, LENGTH, i32::MAX),
        expected: |reason| matches!(reason, Corruption::Truncated { needed: 2_147_483_659, .. }),
        text: "2147483659 bytes were expected, ",
        inside: false,
    },
    Spoiled {
        name: "an unknown magic",
        spoil: |batch| batch[MAGIC] = 9,
        expected: |reason| reason == Corruption::Magic { found: 9 },
        text: "the magic is 9, expected 0, 1 or 2",
        inside: false,
    },
    Spoiled {
        name: "an offset that was there before",
        spoil: |batch| put_i64(batch, 0, 1),
        expected: |reason| reason == Corruption::OffsetBelowExpected { found: 1, expected: 8 },
        text: "the offset is 1, expected 8 or more",
        inside: false,
    },
    Spoiled {
        name: "a count that is too large",
        spoil: |batch| {
            put_i32(batch, COUNT, 1000);
            seal(batch);
        },
        expected: |reason| reason == Corruption::RecordCount { declared: 1000, found: 2 },
        text: "the header counts 1000 records, 2 are there",
        inside: true,
    },
    Spoiled {
        name: "a count that is too small",
        spoil: |batch| {
            put_i32(batch, COUNT, 1);
            seal(batch);
        },
        expected: |reason| matches!(reason, Corruption::LeftOver { .. }),
        text: "",
        inside: true,
    },
    Spoiled {
        name: "a codec that does not exist",
        spoil: |batch| {
            batch[ATTRIBUTES + 1] |= 7;
            seal(batch);
        },
        expected: |reason| reason == Corruption::Codec { found: 7 },
        text: "the compression codec is 7, expected 0 to 4",
        inside: true,
    },
];

/// Writes a log of [`BATCHES`] batches and spoils one. Returns where it lies.
pub(crate) fn planted(site: &Site, spoil: fn(&mut [u8])) -> Position {
    let log = Log::open(site.dir(), LogConfig::default()).expect("a new log");
    for batch in 0..BATCHES {
        let (first, second) = (format!("value {batch} 0"), format!("value {batch} 1"));
        log.append(&[Record::value(&first), Record::value(&second)]).expect("an append");
    }
    let slice = log.read(Offset::new(2 * DAMAGED), 1).expect("an open log");
    let batch = slice.batches().next().expect("a batch").expect("a sound batch");
    log.close().expect("a clean close");
    let (start, size) = (batch.position(), usize::try_from(batch.size_bytes()).expect("small"));
    let path = site.file(&log_name(0));
    let mut bytes = std::fs::read(&path).expect("a log");
    let at = usize::try_from(start.value()).expect("small");
    spoil(&mut bytes[at..at + size]);
    std::fs::write(&path, bytes).expect("a writable log");
    start
}

fn make_foreign(site: &Site) {
    std::fs::remove_file(site.file("kstore.state")).expect("a log has a state");
}

/// What reading gives: the offsets before the first error, the errors, and the offsets behind.
pub(crate) fn read(
    records: impl Iterator<Item = kstore::Result<kstore::StoredRecord>>,
) -> (Vec<u64>, Vec<Error>, Vec<u64>) {
    let (mut before, mut errors, mut behind) = (Vec::new(), Vec::new(), Vec::new());
    for record in records {
        match record {
            Ok(record) if errors.is_empty() => before.push(record.offset().value()),
            Ok(record) => behind.push(record.offset().value()),
            Err(error) => errors.push(error),
        }
    }
    (before, errors, behind)
}

/// The error names file, position and what was expected.
fn assert_told(error: &Error, site: &Site, position: Position, spoiled: &Spoiled) {
    let Error::Corrupt { path, position: at, reason } = error else { panic!("{}: {error}", spoiled.name) };
    assert_eq!((path.as_ref(), *at), (site.file(&log_name(0)).as_path(), position), "{}", spoiled.name);
    assert!((spoiled.expected)(*reason), "{}: {reason:?}", spoiled.name);
    let text = error.to_string();
    let place = format!("{} is damaged at byte {position}: ", site.file(&log_name(0)).display());
    let what = text.strip_prefix(&place).unwrap_or_else(|| panic!("{}: {text}", spoiled.name));
    assert!(what.starts_with(spoiled.text), "{}: {text}", spoiled.name);
    assert_eq!(error.kind(), ErrorKind::Damage);
}

#[test]
fn damage_in_a_clean_log_shows_when_it_is_read_and_harms_nothing_else() {
    for spoiled in &SPOILED {
        let name = spoiled.name;
        let site = Site::new();
        let position = planted(&site, spoiled.spoil);
        let before = std::fs::read(site.file(&log_name(0))).expect("a log");
        let log = Log::open(site.dir(), LogConfig::default()).expect(name);
        assert_eq!(log.recovery_report().trust, Trust::Clean, "{name}");
        assert_eq!(log.log_end_offset().value(), 2 * BATCHES, "{name}");

        let (sound, errors, behind) = read(log.records(..).expect(name));
        // What is said of a record inside comes behind the records before it.
        assert!(
            sound.len() as u64 >= 2 * DAMAGED && sound.is_sorted() && sound.len() as u64 <= 2 * DAMAGED + 2,
            "{name}"
        );
        assert_eq!(errors.len(), 1, "{name}: {errors:?}");
        assert_eq!(behind, [], "{name}: an iterator is finished behind an error");
        assert_told(&errors[0], &site, position, spoiled);

        let (_, errors, behind) = read(log.reader().skip_damaged().records(..).expect(name));
        assert_eq!(errors.len(), 1, "{name}: {errors:?}");
        let rest: Vec<u64> = (2 * (DAMAGED + 1)..2 * BATCHES).collect();
        if spoiled.hides_the_rest() {
            assert_eq!(behind, [], "{name}");
            continue;
        }
        assert_eq!(behind, rest, "{name}");
        let behind = Offset::new(2 * (DAMAGED + 1));
        let (first, _, behind) = read(log.reader().skip_damaged().records(behind..).expect(name));
        assert_eq!([first, behind].concat(), rest, "{name}");

        let (behind, errors, sound) = read(log.records_reversed(..).expect(name));
        assert_eq!(behind.len() as u64, 2 * (BATCHES - DAMAGED - 1), "{name}");
        assert_eq!((errors.len(), sound.len()), (1, 0), "{name}: {errors:?}");
        assert_told(&errors[0], &site, position, spoiled);

        let (behind, errors, front) = read(log.reader().skip_damaged().records_reversed(..).expect(name));
        assert_eq!(behind, rest.iter().rev().copied().collect::<Vec<_>>(), "{name}");
        assert_eq!(errors.len(), 1, "{name}: {errors:?}");
        assert_eq!(front, (0..2 * DAMAGED).rev().collect::<Vec<_>>(), "{name}");

        let appended = log.append(&[Record::value("behind")]).expect("appends go on");
        assert_eq!(appended.base_offset().value(), 2 * BATCHES, "{name}");
        log.close().expect(name);
        let after = std::fs::read(site.file(&log_name(0))).expect("a log");
        assert!(after.starts_with(&before), "{name}: not a byte of the log is cut or changed");
    }
}

#[test]
fn damage_in_a_foreign_log_is_found_at_open_and_appends_are_refused() {
    for spoiled in SPOILED.iter().filter(|spoiled| !spoiled.inside) {
        let name = spoiled.name;
        let site = Site::new();
        let position = planted(&site, spoiled.spoil);
        make_foreign(&site);
        let before = std::fs::read(site.file(&log_name(0))).expect("a log");
        let log = Log::open(site.dir(), LogConfig::default()).expect(name);
        let report = log.recovery_report();
        assert_eq!(report.trust, Trust::Foreign, "{name}");
        let [damage] = &report.damage[..] else { panic!("{name}: {report:?}") };
        assert_eq!(damage.position, position, "{name}");
        assert_eq!(damage.first_offset.value(), 2 * DAMAGED, "{name}");
        assert_eq!(damage.next_offset.value(), 2 * (DAMAGED + 1), "{name}");
        assert!((spoiled.expected)(damage.reason), "{name}: {:?}", damage.reason);

        let error = log.append(&[Record::value("x")]).expect_err("refused");
        let Error::Damaged { path, position: at, reason } = &error else { panic!("{name}: {error}") };
        assert_eq!((path.as_ref(), *at, *reason), (damage.path.as_path(), position, damage.reason), "{name}");
        let text = error.to_string();
        let place = format!(
            "appends are refused, for {} is damaged at byte {position} below the durable mark: {}",
            damage.path.display(),
            spoiled.text
        );
        assert!(text.starts_with(&place), "{name}: {text}");

        let (sound, errors, _) = read(log.records(..).expect(name));
        assert_eq!((sound.len() as u64, errors.len()), (2 * DAMAGED, 1), "{name}");
        assert_told(&errors[0], &site, position, spoiled);
        let (_, errors, behind) = read(log.reader().skip_damaged().records(..).expect(name));
        assert_eq!((errors.len(), behind.len() as u64), (1, 2 * (BATCHES - DAMAGED - 1)), "{name}");
        log.close().expect(name);
        assert!(std::fs::read(site.file(&log_name(0))).expect("a log") == before, "{name}: nothing is changed");
    }
}

#[test]
fn a_reader_of_a_damaged_directory_is_told_the_same() {
    for spoiled in &SPOILED {
        for foreign in [false, true] {
            let site = Site::new();
            let position = planted(&site, spoiled.spoil);
            if foreign {
                make_foreign(&site);
            }
            let before = site.contents();
            let reader = Log::open_read_only(site.dir()).expect(spoiled.name);
            let (_, errors, _) = read(reader.records(..).expect(spoiled.name));
            assert_eq!(errors.len(), 1, "{}: {errors:?}", spoiled.name);
            assert_told(&errors[0], &site, position, spoiled);
            let (_, errors, behind) = read(reader.skip_damaged().records(..).expect(spoiled.name));
            let rest = if spoiled.hides_the_rest() && !foreign { 0 } else { 2 * (BATCHES - DAMAGED - 1) };
            assert_eq!((errors.len(), behind.len() as u64), (1, rest), "{}", spoiled.name);
            assert!(site.contents() == before, "{}: a reader changed the directory", spoiled.name);
        }
    }
}

#[test]
fn a_decompression_bomb_in_a_log_is_an_error_at_the_limit() {
    let zeros = vec![0; 1 << 20];
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        if !codec.is_available() {
            continue;
        }
        let site = Site::new();
        std::fs::create_dir(site.dir()).expect("a new folder");
        std::fs::write(site.file(&log_name(0)), batch_of(&[Record::value(&zeros)], codec)).expect("a new file");
        let log = Log::open(site.dir(), LogConfig::default().max_decompressed_message_bytes(64 << 10)).expect("a log");
        let (_, errors, _) = read(log.records(..).expect("an open log"));
        let [Error::Corrupt { position: Position::ZERO, reason, .. }] = errors[..] else { panic!("{errors:?}") };
        assert_eq!(reason, Corruption::DecompressedTooLarge { limit_bytes: 64 << 10 }, "{}", codec.name());
        let text = errors[0].to_string();
        assert!(text.ends_with("damaged at byte 0: the compressed data unfolds to more than 65536 bytes"), "{text}");
        // It is the limit that is too low, not the log that is damaged.
        log.update_config(|config| config.max_decompressed_message_bytes(2 << 20)).expect("a higher limit");
        assert_eq!(read(log.records(..).expect("an open log")).0, [0], "{}", codec.name());
        assert_eq!(log.append(&[Record::value("x")]).expect("appends go on").base_offset(), Offset::new(1));
    }
}

/// Story: a whole batch of Kafka's whose offset does not fit its segment (KAFKA-6264) was taken for a torn tail, cut
/// off, and its copy was dropped at the next clean close, for no batch in it was rightly numbered.
#[test]
fn a_segment_that_overflows_its_relative_offsets_is_damage_and_loses_nothing() {
    const FAR: u64 = 1 << 31;
    let site = Site::new();
    planted(&site, |_| {});
    make_foreign(&site);
    let path = site.file(&log_name(0));
    let mut bytes = std::fs::read(&path).expect("a log");
    let position = bytes.len();
    let mut far = batch_of(&[Record::value("far")], Compression::None);
    put_i64(&mut far, 0, i64::try_from(FAR).expect("it fits"));
    bytes.extend(&far);
    std::fs::write(&path, &bytes).expect("a writable log");

    let log = Log::open(site.dir(), LogConfig::default()).expect("it can be read");
    let report = log.recovery_report();
    assert_eq!(report.torn, [], "a whole batch is no torn tail");
    let [damage] = &report.damage[..] else { panic!("{report:?}") };
    assert_eq!(damage.position.value(), position as u64);
    assert_eq!(damage.reason, Corruption::OffsetOutsideSegment { found: 1 << 31, base: 0 });
    let error = log.append(&[Record::value("x")]).expect_err("refused");
    let place = format!("{} is damaged at byte {position} below the durable mark: ", path.display());
    let what = "offset 2147483648 does not fit the segment of base offset 0";
    assert_eq!(error.to_string(), format!("appends are refused, for {place}{what}"));
    assert_eq!(read(log.records(..Offset::new(2 * BATCHES)).expect("a log")).0.len() as u64, 2 * BATCHES);
    log.close().expect("a close");
    assert!(std::fs::read(&path).expect("a log") == bytes, "nothing is cut");
    assert!(!site.file("00000000000000000000.log.torn").exists());
}

#[test]
fn an_offset_beyond_the_format_is_an_error() {
    let site = Site::new();
    let position = planted(&site, |batch| {
        put_i64(batch, 0, i64::MAX);
        put_i32(batch, LAST_OFFSET_DELTA, 1);
        seal(batch);
    });
    let log = Log::open(site.dir(), LogConfig::default()).expect("a clean log");
    let (sound, errors, _) = read(log.records(..).expect("an open log"));
    assert_eq!(sound.len() as u64, 2 * DAMAGED);
    assert!(matches!(errors[..], [Error::Corrupt { position: at, .. }] if at == position), "{errors:?}");
}

#[test]
fn noise_in_place_of_a_log_is_kept_and_read_as_nothing() {
    let site = Site::new();
    std::fs::create_dir(site.dir()).expect("a new folder");
    let noise: Vec<u8> = (0..5000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0] | 1).collect();
    std::fs::write(site.file(&log_name(0)), &noise).expect("a new file");
    let reader = Log::open_read_only(site.dir()).expect("a reader");
    assert_eq!(reader.log_end_offset(), Offset::ZERO);
    drop(reader);
    let log = Log::open(site.dir(), LogConfig::default()).expect("a log");
    let [torn] = &log.recovery_report().torn[..] else { panic!("{:?}", log.recovery_report()) };
    let kept = torn.kept.as_ref().expect("noise may be somebody's");
    assert!(std::fs::read(kept).expect("the kept bytes") == noise);
    assert_eq!(log.append(&[Record::value("x")]).expect("the log goes on").base_offset(), Offset::ZERO);
}
