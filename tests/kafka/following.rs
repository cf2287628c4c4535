//! Following: what a log took over from another one, Kafka's or kstore's, with gaps and epochs, as Kafka reads it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kstore::{Compression, Log, LogConfig, LogSlice, Offset, StoredBatch, WriteMode};

use crate::agreement::{Ending, Said, assert_kafka_agrees};
use crate::judge::Judge;
use crate::place::{CODECS, Place, config, files, fill, open};

/// The bytes that a slice would send.
pub(crate) fn bytes_of(slice: &LogSlice) -> Vec<u8> {
    let Some((file, at, length)) = slice.as_parts() else { return Vec::new() };
    let file = File::from(file.try_clone_to_owned().expect("another descriptor"));
    let mut bytes = vec![0; usize::try_from(length).expect("small")];
    file.read_exact_at(&mut bytes, at).expect("a readable file");
    bytes
}

/// Appends everything that a reader of `leader` gets, in pieces.
pub(crate) fn follow(leader: &Path, follower: &Log, piece_bytes: u64) {
    let leader = Log::open_read_only(leader).expect("a log");
    if follower.log_end_offset() < leader.log_start_offset() {
        follower.reset_to(leader.log_start_offset()).expect("a beginning");
    }
    while follower.log_end_offset() < leader.log_end_offset() {
        let slice = leader.read(follower.log_end_offset(), piece_bytes).expect("a range");
        let appended = follower.append_as_follower(&bytes_of(&slice)).expect("a leader's batches");
        assert_eq!(appended.next_offset(), slice.next_offset());
    }
}

fn batches(log: &Log) -> Vec<StoredBatch> {
    log.reader().batches(..).expect("an open log").map(|batch| batch.expect("a sound batch")).collect()
}

// Rows 138, 292.
#[test]
fn kafka_reads_a_follower_with_gaps_and_epochs() {
    let Some(mut judge) = Judge::start() else { return };
    for (at, codec) in CODECS.into_iter().enumerate() {
        let leader = Place::new();
        let log = open(&leader.dir(), config(codec, WriteMode::Write));
        fill(&log, 160);
        // Gaps at the beginning, between batches, over several, and where the segments change.
        for left_out in [2, 3, 11] {
            let place = Place::new();
            let config = config(codec, WriteMode::Preallocated);
            let follower = open(&place.dir(), config.clone());
            for (index, batch) in batches(&log).iter().enumerate() {
                if index % left_out != 0 && !(80..95).contains(&index) {
                    follower.append_as_follower(batch.as_bytes()).expect("a leader's batch");
                }
            }
            let ending = if at % 2 == 0 { Ending::Closed } else { Ending::Dropped };
            let said = assert_kafka_agrees(&mut judge, &place, follower, &config, ending);
            assert!(said.epochs.len() > 4 && said.records.len() < Said::by(&log).records.len());
        }
    }
}

// Row 157.
#[test]
fn kafka_reads_a_follower_with_a_gap_wider_than_a_segment_reaches() {
    let Some(mut judge) = Judge::start() else { return };
    for ending in [Ending::Closed, Ending::Dropped] {
        let leader = Place::new();
        let log = open(&leader.dir(), config(Compression::None, WriteMode::Write));
        fill(&log, 20);
        let place = Place::new();
        let config = config(Compression::None, WriteMode::Preallocated);
        let follower = open(&place.dir(), config.clone());
        let low = batches(&log);
        log.reset_to(Offset::new(1 << 32)).expect("a beginning");
        fill(&log, 20);
        for batch in low.iter().chain(&batches(&log)) {
            follower.append_as_follower(batch.as_bytes()).expect("a leader's batch");
        }
        assert_kafka_agrees(&mut judge, &place, follower, &config, ending);
    }
}

// Row 125.
#[test]
fn kafka_reads_a_follower_that_was_truncated_in_a_gap_and_went_on() {
    let Some(mut judge) = Judge::start() else { return };
    for ending in [Ending::Closed, Ending::Dropped] {
        let leader = Place::new();
        let log = open(&leader.dir(), config(Compression::Zstd, WriteMode::Write));
        fill(&log, 160);
        let batches = batches(&log);
        let place = Place::new();
        let config = config(Compression::Zstd, WriteMode::Write);
        let follower = open(&place.dir(), config.clone());
        for batch in batches.iter().filter(|batch| batch.base_offset().value() % 5 != 0) {
            follower.append_as_follower(batch.as_bytes()).expect("a leader's batch");
        }
        let missing =
            batches[60..].iter().find(|batch| batch.base_offset().value() % 5 == 0).expect("one was left out");
        follower.truncate_to(missing.base_offset()).expect("a truncation");
        for batch in batches.iter().filter(|batch| batch.base_offset() >= missing.base_offset()) {
            follower.append_as_follower(batch.as_bytes()).expect("a leader's batch");
        }
        assert_kafka_agrees(&mut judge, &place, follower, &config, ending);
    }
}

#[test]
fn a_copy_of_kafkas_log_that_followed_it_is_the_same_to_kafka() {
    let Some(mut judge) = Judge::start() else { return };
    let kafkas = Place::new();
    std::fs::create_dir_all(kafkas.dir()).expect("a new folder");
    let place = Place::new();
    // As the judge has it, so that both roll alike.
    let config = LogConfig::default().segment_bytes(16_384).index_interval_bytes(512);
    for round in 0..4 {
        judge.append(&kafkas.dir(), "clean", 130, round * 2);
        let follower = open(&place.dir(), config.clone());
        follow(&kafkas.dir(), &follower, [1, 700, 9000, 1 << 20][usize::try_from(round).expect("small")]);
        let ending = if round % 2 == 0 { Ending::Closed } else { Ending::Dropped };
        let said = assert_kafka_agrees(&mut judge, &place, follower, &config, ending);
        let original = kafkas.copied("read");
        said.assert_is(&judge.read(&original, "clean"), &original, "the leader's");
        assert_eq!(files(&kafkas.dir(), ".log"), files(&place.dir(), ".log"), "byte for byte");
    }
}
