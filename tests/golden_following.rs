//! Kafka's directories as leaders: their epochs as Kafka answers them, and their logs taken over byte for byte.
//!
//! It judges neither records nor recovery; `golden.rs` and `golden_writing.rs` do.

#![cfg(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]
#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this prepares directories")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

use kstore::{Error, Log, LogConfig, Offset, Reader};
use serde_json::Value;
use support::golden::{Case, contents};

mod support;

/// Sound batches lie behind the damage: Kafka deletes them when it opens the directory, and ends the epoch there.
const DAMAGED: [&str; 2] = ["flipped-bit-earlier-segment", "flipped-bit-middle"];

fn answers(reader: &Reader, lookup: &Value) -> Option<(i32, Offset)> {
    let epoch = i32::try_from(lookup["epoch"].as_i64().expect("an epoch")).expect("32 bits");
    reader.end_offset_for_epoch(epoch)
}

fn expected(lookup: &Value) -> Option<(i32, Offset)> {
    let epoch = i32::try_from(lookup["end_epoch"].as_i64()?).expect("32 bits");
    Some((epoch, Offset::new(lookup["end_offset"].as_u64().expect("an offset"))))
}

// Rows 276, 287, 290, 292.
#[test]
fn every_question_about_epochs_is_answered_as_kafka_answers_it() {
    let mut asked = 0;
    for case in Case::all() {
        if DAMAGED.contains(&case.name.as_str()) {
            continue;
        }
        let copy = case.copy();
        let reader = Log::open_read_only(copy.path()).expect(&case.name);
        let log = Log::open(copy.path(), LogConfig::default()).expect(&case.name);
        assert_eq!(log.recovery_report().lost_epochs, None, "{}", case.name);
        for lookup in case.values("lookups.jsonl").iter().filter(|lookup| lookup.get("epoch").is_some()) {
            assert_eq!(answers(&reader, lookup), expected(lookup), "{}, for reading: {lookup}", case.name);
            assert_eq!(answers(&log.reader(), lookup), expected(lookup), "{}: {lookup}", case.name);
            asked += 1;
        }
    }
    assert!(asked > 50, "only {asked} questions");
}

/// The bytes of every `.log`, one behind the other.
fn bytes_of(dir: &std::path::Path) -> Vec<u8> {
    contents(dir).into_iter().filter(|(name, _)| name.ends_with(".log")).flat_map(|(_, bytes)| bytes).collect()
}

// Rows 136, 138.
#[test]
fn every_log_of_kafkas_is_followed_byte_for_byte() {
    for case in Case::all() {
        let copy = case.copy();
        // Opened for writing, so that what is torn is cut off, and what was half swapped is finished.
        let leader = Log::open(copy.path(), LogConfig::default()).expect(&case.name);
        let parent = tempfile::tempdir().expect("a temporary folder");
        let follower = Log::open(parent.path().join("follower-0"), LogConfig::default()).expect("a new log");
        let mut damaged = false;
        for batch in leader.reader().batches(..).expect("the whole log is a range") {
            let sound = batch.ok().filter(|batch| batch.verify().is_ok());
            let Some(batch) = sound else {
                damaged = true;
                break;
            };
            let appended = match follower.append_as_follower(batch.as_bytes()) {
                Err(error @ Error::UnexpectedAppendOffset { .. }) => panic!("{}: {error}", case.name),
                answer => answer.unwrap_or_else(|error| panic!("{}: {error}", case.name)),
            };
            assert_eq!(appended.next_offset(), batch.next_offset(), "{}", case.name);
        }
        assert_eq!(damaged, DAMAGED.contains(&case.name.as_str()), "{}", case.name);
        drop((leader.close(), follower.close()));
        let (leading, following) = (bytes_of(copy.path()), bytes_of(&parent.path().join("follower-0")));
        assert!(if damaged { leading.starts_with(&following) } else { leading == following }, "{}", case.name);
    }
}
