//! Deletion from the front: log starts inside a segment, segments that are gone or wait to be, limits on the log.

use std::path::Path;

use kstore::{Compression, Log, LogConfig, Offset, Timestamp, WhenFull, WriteMode};

use crate::agreement::{Ending, Said, assert_kafka_agrees};
use crate::judge::Judge;
use crate::place::{CODECS, FIRST_TIME, Place, batch_bases, config, fill, inside_a_batch, names, open, segment_bases};

/// Half of these tests closes, the other drops; half keeps deleted files for a while.
fn endings() -> [(Ending, u64); 2] {
    [(Ending::Closed, 60_000), (Ending::Dropped, 0)]
}

fn assert_deleted_files_wait(dir: &Path, delay_ms: u64) {
    assert_eq!(names(dir, ".deleted").is_empty(), delay_ms == 0, "{:?}", names(dir, ".deleted"));
}

/// What is left are the last of the records that were there.
fn assert_the_end_is_left(log: &Log, before: &Said) {
    let after = Said::by(log);
    assert_eq!(after.bounds.1, before.bounds.1);
    assert!(after.records.len() < before.records.len() && before.records.ends_with(&after.records));
}

// Rows 217, 256, 257.
#[test]
fn kafka_reads_a_log_whose_first_records_were_deleted() {
    let Some(mut judge) = Judge::start() else { return };
    for (at, codec) in CODECS.into_iter().enumerate() {
        for wanted in ["inside the first segment", "inside a batch", "at a segment", "everything"] {
            let (ending, delay_ms) = endings()[at % 2];
            let place = Place::new();
            let config = config(codec, WriteMode::Preallocated).file_delete_delay_ms(delay_ms);
            let log = open(&place.dir(), config.clone());
            fill(&log, 150);
            let before = Said::by(&log);
            let segments = segment_bases(&log);
            let start = match wanted {
                "inside the first segment" => Offset::new(batch_bases(&log)[2] + 1),
                "inside a batch" => inside_a_batch(&log, segments[segments.len() / 2]),
                "at a segment" => Offset::new(segments[segments.len() - 1]),
                _ => log.log_end_offset(),
            };
            assert_eq!(log.delete_records_before(start).expect("a deletion"), start);
            assert_the_end_is_left(&log, &before);
            if wanted != "inside the first segment" {
                assert!(segment_bases(&log).len() < segments.len());
                assert_deleted_files_wait(&place.dir(), delay_ms);
            }
            let said = assert_kafka_agrees(&mut judge, &place, log, &config, ending);
            assert_eq!(said.bounds.0, start.value(), "{codec:?} {wanted}");
        }
    }
}

// Rows 247, 248, 251, 257.
#[test]
fn kafka_reads_a_log_whose_old_segments_were_deleted() {
    let Some(mut judge) = Judge::start() else { return };
    type Limit = fn(LogConfig) -> LogConfig;
    let by: [(&str, Limit, i64); 3] = [
        ("size", |config| config.retention_bytes(14_000), 0),
        ("time", |config| config.retention_ms(1500), 3000),
        ("time, all", |config| config.retention_ms(1000), 60_000),
    ];
    for (ending, delay_ms) in endings() {
        for (what, retention, after_ms) in by {
            let place = Place::new();
            let config = retention(config(Compression::Snappy, WriteMode::Write)).file_delete_delay_ms(delay_ms);
            let log = open(&place.dir(), config.clone());
            fill(&log, 150);
            let before = Said::by(&log);
            let deleted = log.delete_old_segments(Timestamp::from_millis(FIRST_TIME + after_ms)).expect("a deletion");
            assert!(deleted.segments > 0, "{what}: {deleted:?}");
            assert_deleted_files_wait(&place.dir(), delay_ms);
            assert_the_end_is_left(&log, &before);
            let said = assert_kafka_agrees(&mut judge, &place, log, &config, ending);
            assert_eq!(said.records.is_empty(), what == "time, all");
        }
    }
}

#[test]
fn kafka_reads_a_log_that_drops_its_oldest_records() {
    let Some(mut judge) = Judge::start() else { return };
    for codec in [Compression::None, Compression::Gzip] {
        for (ending, delay_ms) in endings() {
            let place = Place::new();
            let config = config(codec, WriteMode::Preallocated)
                .max_bytes(30_000, WhenFull::DropOldest)
                .file_delete_delay_ms(delay_ms);
            let log = open(&place.dir(), config.clone());
            fill(&log, 400);
            assert!(log.log_start_offset() > Offset::ZERO, "something was dropped");
            assert_kafka_agrees(&mut judge, &place, log, &config, ending);
        }
    }
}

#[test]
fn kafka_reads_a_log_that_was_cut_at_both_ends() {
    let Some(mut judge) = Judge::start() else { return };
    for (ending, delay_ms) in endings() {
        let place = Place::new();
        let config = config(Compression::Lz4, WriteMode::Preallocated).file_delete_delay_ms(delay_ms);
        let log = open(&place.dir(), config.clone());
        for _ in 0..3 {
            fill(&log, 120);
            let segments = segment_bases(&log);
            let middle = segments.len() / 2;
            log.truncate_to(inside_a_batch(&log, segments[middle + 1])).expect("a truncation");
            log.delete_records_before(inside_a_batch(&log, segments[middle - 1])).expect("a deletion");
        }
        assert_kafka_agrees(&mut judge, &place, log, &config, ending);
    }
}
