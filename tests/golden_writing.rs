//! The directories that Kafka wrote, opened for writing: what is recovered, what is cut off, and that the log goes on.
//!
//! Reading is judged in `golden.rs`. Where kstore decides otherwise than Kafka, the test says so case by case: damage
//! with sound batches behind it is cut by Kafka, and refused by kstore until it is told what to do. The invariant it
//! owns: no test here lets kstore lose a record that Kafka keeps.

#![cfg(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]
#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this prepares directories")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

use kstore::{
    AppendOptions, Corruption, Error, ErrorKind, Fate, Log, LogConfig, Offset, OnDamage, Record, Timestamp, Trust,
};
use serde_json::Value;
use support::golden::{Case, Copy, contents};
use support::lines::{assert_same_lines, record_line};

mod support;

/// Kafka deletes the sound batches behind the damage; kstore refuses appends and deletes nothing.
const DAMAGED: [&str; 2] = ["flipped-bit-earlier-segment", "flipped-bit-middle"];
/// Where `broker-killed` ends, of which the damaged cases were made.
const WHOLE_END: u64 = 702;

/// A torn tail behind the last good batch, which both cut: the bytes cut, and whether they are kept aside.
const TORN: [(&str, u64, Kept); 9] = [
    ("torn-in-length", 7, Kept::Aside),
    ("torn-in-header", 30, Kept::Aside),
    ("torn-in-body", 93, Kept::Aside),
    ("torn-one-byte-short", 125, Kept::Aside),
    ("flipped-bit-last-batch", 126, Kept::Aside),
    ("garbage-tail", 300, Kept::Aside),
    ("zero-tail", 4176, Kept::Aside),
    ("zero-tail-17", 17, Kept::Nothing),
    ("zero-tail-whole-batches", 4096, Kept::Nothing),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kept {
    Aside,
    Nothing,
}

fn is_damaged(case: &Case) -> bool {
    DAMAGED.contains(&case.name.as_str())
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no unsigned number"))
}

fn sound_cases() -> Vec<Case> {
    Case::all().into_iter().filter(|case| !is_damaged(case)).collect()
}

/// As the golden directories were written: many small segments, many index entries.
fn config() -> LogConfig {
    LogConfig::default().segment_bytes(16 << 10).index_interval_bytes(512)
}

fn open(copy: &Copy, config: LogConfig, case: &Case) -> Log {
    Log::open(copy.path(), config).unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

fn lines(log: &Log, from: Offset, case: &Case) -> Vec<String> {
    let records = log.records(from..).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    records.map(|record| record_line(&record.unwrap_or_else(|error| panic!("{}: {error}", case.name)))).collect()
}

fn segments(log: &Log) -> Vec<(u64, u64)> {
    let segments = log.segments().expect("an open log");
    segments.iter().map(|segment| (segment.base_offset.value(), segment.size_bytes)).collect()
}

fn kafkas_segments(case: &Case) -> Vec<(u64, u64)> {
    let expected = case.json("expected.json");
    let segments = expected["segments"].as_array().expect("a list");
    segments.iter().map(|segment| (number(&segment["base_offset"]), number(&segment["size"]))).collect()
}

fn start_of(case: &Case) -> Offset {
    Offset::new(number(&case.json("expected.json")["log_start_offset"]))
}

/// What is kept of a tail: zeros at its end tell nothing.
fn up_to_zeros(tail: &[u8]) -> &[u8] {
    &tail[..tail.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)]
}

/// The `.log` files, kept bytes not among them.
fn log_files(copy: &Copy) -> Vec<(String, Vec<u8>)> {
    contents(copy.path()).into_iter().filter(|(name, _)| name.ends_with(".log")).collect()
}

// Rows 262, 263, 265, 266, 272.
#[test]
fn a_log_opened_for_writing_holds_what_kafka_finds_in_it() {
    for case in &sound_cases() {
        let copy = case.copy();
        let log = open(&copy, config(), case);
        let expected = case.json("expected.json");
        assert_eq!(log.log_end_offset().value(), number(&expected["log_end_offset"]), "{}", case.name);
        assert_eq!(log.synced_offset(), log.log_end_offset(), "{}: what was found is made durable", case.name);
        let first_base = number(&expected["segments"][0]["base_offset"]);
        assert_eq!(log.log_start_offset().value(), first_base, "{}", case.name);
        if expected["checkpoint_log_start_offset"] == 0 {
            assert_eq!(log.log_start_offset(), start_of(case), "{}", case.name);
        }
        assert_eq!(segments(&log), kafkas_segments(case), "{}", case.name);
        assert_eq!(log.recovery_report().trust, Trust::Foreign, "{}", case.name);
        assert!(log.recovery_report().damage.is_empty(), "{}", case.name);
        assert_same_lines(case, &lines(&log, start_of(case), case), &case.lines("records.jsonl"));
        log.close().expect(&case.name);
    }
}

// Row 262.
#[test]
fn a_log_of_kafkas_goes_on_and_is_clean_when_it_is_opened_again() {
    for case in &sound_cases() {
        let copy = case.copy();
        let log = open(&copy, config(), case);
        let record = Record::new("key of kstore", "value").timestamp(Timestamp::from_millis(1_800_000_000_000));
        let end = log.log_end_offset();
        let appended = log.append(&[record]).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!((appended.base_offset(), appended.next_offset()), (end, end + 1), "{}", case.name);
        assert_eq!(log.sync().expect(&case.name), end + 1, "{}", case.name);
        let mut expected = case.lines("records.jsonl");
        expected.extend(lines(&log, end, case));
        let before = segments(&log);
        log.close().expect(&case.name);

        let log = open(&copy, config(), case);
        assert_eq!(log.recovery_report().trust, Trust::Clean, "{}", case.name);
        assert_eq!(log.recovery_report().scanned_bytes, 0, "{}", case.name);
        assert_eq!(segments(&log), before, "{}", case.name);
        assert_eq!(log.log_end_offset(), end + 1, "{}", case.name);
        assert_same_lines(case, &lines(&log, start_of(case), case), &expected);
        log.close().expect(&case.name);
        let reader = Log::open_read_only(copy.path()).expect(&case.name);
        assert_eq!(reader.recovery_report().trust, Trust::Clean, "{}", case.name);
        let last = reader.records(end..).expect(&case.name).next().expect("a record").expect(&case.name);
        assert_eq!(last.key(), Some(&b"key of kstore"[..]), "{}", case.name);
    }
}

// Row 262.
#[test]
fn a_log_of_kafkas_that_was_appended_to_reads_the_same_when_its_state_is_gone() {
    for case in &sound_cases() {
        let copy = case.copy();
        let log = open(&copy, config(), case);
        for value in ["first", "second"] {
            log.append(&[Record::value(value)]).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        }
        log.roll().expect(&case.name);
        log.append(&[Record::value("third")]).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        let before = lines(&log, start, case);
        log.close().expect(&case.name);

        std::fs::remove_file(copy.path().join("kstore.state")).expect(&case.name);
        let log = open(&copy, config(), case);
        let report = log.recovery_report();
        assert_eq!(report.trust, Trust::Foreign, "{}", case.name);
        assert!(report.damage.is_empty() && report.torn.is_empty(), "{}: {report:?}", case.name);
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (start, end), "{}", case.name);
        assert_same_lines(case, &lines(&log, start, case), &before);
        log.close().expect(&case.name);
    }
}

#[test]
fn indexes_made_anew_lead_to_every_batch() {
    for case in &sound_cases() {
        let copy = case.copy();
        for (name, bytes) in contents(copy.path()) {
            if name.ends_with(".index") || name.ends_with(".timeindex") {
                // As many bytes as there were, and none of them right.
                std::fs::write(copy.path().join(name), vec![0xa5; bytes.len()]).expect("a writable copy");
            }
        }
        let log = open(&copy, config(), case);
        let reader = log.reader();
        for batch in case.values("batches.jsonl").iter().filter(|batch| batch["crc_ok"] == true).step_by(7) {
            let (base, last) = (number(&batch["base_offset"]), number(&batch["last_offset"]));
            if case.name.starts_with("leftover-swap") && base < 658 {
                // The batches of the segments that were replaced.
                continue;
            }
            for asked in [base, last] {
                let slice = reader.read(Offset::new(asked), 1).expect(&case.name);
                let found = slice.batches().next().expect("a batch").expect(&case.name);
                let place = (found.segment().value(), found.position().value());
                assert_eq!(place, (number(&batch["segment"]), number(&batch["position"])), "{}: {asked}", case.name);
            }
        }
        for segment in kafkas_segments(case).iter().filter(|(_, size)| *size > 4096) {
            let index = std::fs::metadata(copy.path().join(format!("{:020}.index", segment.0))).expect("an index");
            assert!(index.len().is_multiple_of(8), "{}: {}", case.name, segment.0);
        }
        log.close().expect(&case.name);
        assert_indexes_speak_of_their_segments(&copy, case);
    }
}

/// After a clean close each index holds entries of its own segment, rising, and at least one where the log is long
/// enough for one.
fn assert_indexes_speak_of_their_segments(copy: &Copy, case: &Case) {
    let files = contents(copy.path());
    for (name, log) in files.iter().filter(|(name, _)| name.ends_with(".log")) {
        let index = &files[&name.replace(".log", ".index")];
        let mut previous = (0, 0);
        for entry in index.chunks_exact(8) {
            let relative = u32::from_be_bytes(entry[..4].try_into().expect("four bytes"));
            let position = u32::from_be_bytes(entry[4..].try_into().expect("four bytes"));
            assert!(previous < (relative, position) && u64::from(position) < log.len() as u64, "{}: {name}", case.name);
            previous = (relative, position);
        }
        let largest_batch = 40_000;
        assert!(log.len() < largest_batch || !index.is_empty(), "{}: {name} has no index entry", case.name);
    }
}

// Row 263.
#[test]
fn index_files_without_a_log_are_removed() {
    let case = Case::named("stray-index");
    let copy = case.copy();
    let log = open(&copy, config(), &case);
    let stray = |name: &String| name.starts_with("00000000000000099999");
    assert!(!contents(copy.path()).keys().any(stray));
    let leftovers = log.recovery_report().leftovers;
    assert_eq!(leftovers.len(), 3, "{leftovers:?}");
    assert!(leftovers.iter().all(|leftover| leftover.fate == Fate::Removed), "{leftovers:?}");
    assert!(leftovers.iter().all(|leftover| leftover.path.to_string_lossy().contains("99999")), "{leftovers:?}");
}

// Rows 265, 272.
#[test]
fn what_an_interrupted_compaction_or_deletion_left_is_finished_as_kafka_finishes_it() {
    for name in
        ["leftover-cleaned", "leftover-cleaned-torn", "leftover-deleted", "leftover-swap", "leftover-swap-half-deleted"]
    {
        let case = Case::named(name);
        let copy = case.copy();
        let before = contents(copy.path());
        let log = open(&copy, config(), &case);
        assert_eq!(segments(&log), kafkas_segments(&case), "{name}");
        let after = contents(copy.path());
        for suffix in [".deleted", ".cleaned", ".swap"] {
            assert!(!after.keys().any(|file| file.ends_with(suffix)), "{name}: {:?}", after.keys());
        }
        let bases: Vec<u64> = kafkas_segments(&case).iter().map(|(base, _)| *base).collect();
        for dropped in case.json("expected.json")["dropped_segments"].as_array().expect("a list") {
            assert!(!bases.contains(&number(dropped)));
            let log_file = format!("{:020}.log", number(dropped));
            assert!(before.contains_key(&log_file) || before.contains_key(&format!("{log_file}.deleted")), "{name}");
            assert!(!after.contains_key(&log_file), "{name}: {log_file}");
        }
        for swapped_in in case.json("expected.json")["new_segments"].as_array().expect("a list") {
            let log_file = format!("{:020}.log", number(swapped_in));
            assert_eq!(after[&log_file], before[&format!("{log_file}.swap")], "{name}");
        }
        assert_same_lines(
            &case,
            &lines(&log, Offset::ZERO.max(log.log_start_offset()), &case),
            &case.lines("records.jsonl"),
        );
        assert!(!log.recovery_report().leftovers.is_empty(), "{name}");
        log.close().expect(name);
        let log = open(&copy, config(), &case);
        assert_eq!(log.recovery_report().leftovers, [], "{name}: nothing is left for a second opening");
        assert_eq!(segments(&log), kafkas_segments(&case), "{name}");
    }
}

// Row 266.
#[test]
fn a_torn_tail_is_cut_where_kafka_cuts_it_and_kept_aside() {
    for (name, bytes, kept) in TORN {
        let case = Case::named(name);
        let copy = case.copy();
        let before = contents(copy.path())["00000000000000000640.log"].clone();
        let log = open(&copy, config(), &case);
        let expected = case.json("expected.json");
        assert_eq!(log.log_end_offset().value(), number(&expected["log_end_offset"]), "{name}");
        assert_eq!(number(&expected["truncated_bytes"]), bytes, "{name}");
        let report = log.recovery_report();
        let [torn] = &report.torn[..] else { panic!("{name}: {report:?}") };
        assert_eq!(torn.bytes, bytes, "{name}");
        let at = before.len() - usize::try_from(bytes).expect("small files");
        assert_eq!(torn.position.value(), at as u64, "{name}");
        assert_eq!(torn.zeros, kept == Kept::Nothing, "{name}");
        let after = contents(copy.path());
        assert_eq!(after["00000000000000000640.log"], before[..at], "{name}");
        let cut = &before[at..];
        let aside = after.get("00000000000000000640.log.torn").map(Vec::as_slice);
        match kept {
            Kept::Aside => assert_eq!(aside, Some(up_to_zeros(cut)), "{name}"),
            Kept::Nothing => assert_eq!(aside, None, "{name}"),
        }
        assert_eq!(torn.kept.is_some(), aside.is_some(), "{name}");
    }
}

#[test]
fn damage_with_sound_batches_behind_it_is_not_cut_and_appends_are_refused() {
    for name in DAMAGED {
        let case = Case::named(name);
        let copy = case.copy();
        let before = log_files(&copy);
        let log = open(&copy, config(), &case);
        let kafkas_end = Offset::new(number(&case.json("expected.json")["log_end_offset"]));
        assert_eq!(log.log_end_offset().value(), WHOLE_END, "{name}: nothing is cut");
        let [damage] = &log.recovery_report().damage[..] else { panic!("{name}: {:?}", log.recovery_report()) };
        assert_eq!(damage.first_offset, kafkas_end, "{name}");
        assert!(matches!(damage.reason, Corruption::Crc { .. }), "{name}");

        let error = log.append(&[Record::value("x")]).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Damage, "{name}");
        let Error::Damaged { path, position, .. } = &error else { panic!("{name}: {error}") };
        assert_eq!((path.as_ref(), *position), (damage.path.as_path(), damage.position), "{name}");
        let text = error.to_string();
        assert!(text.contains(&damage.path.display().to_string()), "{text}");
        assert!(text.contains(&format!("at byte {}", damage.position)), "{text}");

        assert_same_lines(
            &case,
            &log.records(..kafkas_end).expect(name).map(|record| record_line(&record.expect(name))).collect::<Vec<_>>(),
            &case.lines("records.jsonl"),
        );
        let behind = log.records(damage.next_offset..).expect(name);
        assert_eq!(behind.map(|record| record.expect(name).offset().value()).last(), Some(WHOLE_END - 1), "{name}");
        let error = log.read(kafkas_end, 1).and_then(|slice| slice.batches().next().expect("a batch").map(drop));
        assert!(matches!(error, Err(Error::Corrupt { .. })), "{name}: {error:?}");
        log.close().expect(name);
        assert_eq!(log_files(&copy), before, "{name}: not a byte of the log is changed");
    }
}

#[test]
fn told_to_serve_the_rest_the_log_goes_on_behind_the_damage() {
    for name in DAMAGED {
        let case = Case::named(name);
        let copy = case.copy();
        let before = log_files(&copy);
        let log = open(&copy, config().on_damage(OnDamage::ServeRest), &case);
        let appended = log.append_with(&AppendOptions::default().sync(true), &[Record::value("x")]).expect(name);
        assert_eq!(appended.base_offset().value(), WHOLE_END, "{name}");
        log.close().expect(name);
        for ((file, before), (same_file, after)) in before.iter().zip(&log_files(&copy)) {
            assert_eq!(file, same_file, "{name}");
            assert!(after.starts_with(before), "{name}: {file} only grows");
        }
        // That was decided once; a later opening need not be told again.
        let log = open(&copy, config(), &case);
        log.append(&[Record::value("y")]).expect(name);
        let kafkas_end = Offset::new(number(&case.json("expected.json")["log_end_offset"]));
        let error = log.records(kafkas_end..).expect(name).next();
        assert!(matches!(error, Some(Err(Error::Corrupt { .. }))), "{name}: {error:?}");
    }
}

// Rows 266, 267.
#[test]
fn told_to_cut_as_kafka_the_log_ends_where_kafkas_ends_and_the_bytes_are_kept() {
    let flipped = Case::all().into_iter().filter(|case| case.name.starts_with("flipped-bit-"));
    for case in flipped {
        let copy = case.copy();
        let before = contents(copy.path());
        let log = open(&copy, config().on_damage(OnDamage::CutAsKafka), &case);
        let expected = case.json("expected.json");
        assert_eq!(log.log_end_offset().value(), number(&expected["log_end_offset"]), "{}", case.name);
        assert_eq!(segments(&log), kafkas_segments(&case), "{}", case.name);
        assert_same_lines(&case, &lines(&log, Offset::ZERO, &case), &case.lines("records.jsonl"));
        assert!(log.recovery_report().damage.is_empty(), "{}", case.name);

        let (cut_base, cut_at) = *kafkas_segments(&case).last().expect("a segment");
        let cut_log = format!("{cut_base:020}.log");
        let cut_at = usize::try_from(cut_at).expect("small files");
        let after = contents(copy.path());
        let (cut, kept) = (&before[&cut_log][cut_at..], &after[&format!("{cut_log}.torn")]);
        assert!(cut.starts_with(kept) && kept.starts_with(up_to_zeros(cut)), "{}", case.name);
        for dropped in expected["dropped_segments"].as_array().expect("a list") {
            let log_file = format!("{:020}.log", number(dropped));
            assert!(after[&format!("{log_file}.torn")] == before[&log_file], "{}", case.name);
            assert!(!after.contains_key(&log_file), "{}", case.name);
        }
        let appended = log.append(&[Record::value("x")]).expect(&case.name);
        assert_eq!(appended.base_offset().value(), number(&expected["log_end_offset"]), "{}", case.name);
        log.close().expect(&case.name);
        let log = open(&copy, config(), &case);
        assert_eq!(log.recovery_report().trust, Trust::Clean, "{}", case.name);
        assert_eq!(log.log_end_offset().value(), number(&expected["log_end_offset"]) + 1, "{}", case.name);
    }
}

#[test]
fn kept_bytes_with_a_sound_batch_outlive_a_clean_close_and_others_do_not() {
    let case = Case::named("flipped-bit-middle");
    let copy = case.copy();
    open(&copy, config().on_damage(OnDamage::CutAsKafka), &case).close().expect("a clean close");
    assert!(contents(copy.path()).contains_key("00000000000000000640.log.torn"));

    let case = Case::named("torn-in-body");
    let copy = case.copy();
    open(&copy, config(), &case).close().expect("a clean close");
    assert!(!contents(copy.path()).contains_key("00000000000000000640.log.torn"));
}

// Row 269.
#[test]
fn a_log_whose_segments_were_all_deleted_says_so_and_goes_on_where_it_ended_only_if_told_to() {
    let case = Case::named("plain");
    let copy = case.copy();
    let log = open(&copy, config(), &case);
    let end = log.log_end_offset();
    log.close().expect("a clean close");
    for name in contents(copy.path()).into_keys().filter(|name| name != "kstore.state") {
        std::fs::remove_file(copy.path().join(name)).expect("a writable copy");
    }
    let log = open(&copy, config(), &case);
    assert_eq!(log.log_end_offset(), end, "the offsets are not given twice");
    let error = log.append(&[Record::value("x")]).expect_err("refused");
    assert!(matches!(error, Error::Damaged { reason: Corruption::EndMissing { .. }, .. }), "{error}");
    log.close().expect("a close");
    let log = open(&copy, config().on_damage(OnDamage::ServeRest), &case);
    assert_eq!(log.append(&[Record::value("x")]).expect("told to").base_offset(), end);
}

#[test]
fn files_of_kafka_that_kstore_has_no_use_for_stay() {
    let case = Case::named("transactions");
    let copy = case.copy();
    let log = open(&copy, config(), &case);
    log.append(&[Record::value("x")]).expect("an append");
    log.close().expect("a clean close");
    let (before, after) = (contents(&case.log()), contents(copy.path()));
    for (name, bytes) in before {
        if [".snapshot", ".txnindex"].iter().any(|suffix| name.ends_with(suffix)) || !name.contains('.') {
            assert_eq!(after.get(&name), Some(&bytes), "{name}");
        }
    }
    assert_eq!(log.recovery_report().foreign, Vec::<std::path::PathBuf>::new());
}
