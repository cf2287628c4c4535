//! Truncation and beginning anew: what is left is what Kafka reads, and cuts between batches are Kafka's own.

use kstore::{Compression, Corruption, Log, Offset, WriteMode};

use crate::agreement::{Ending, Said, assert_kafka_agrees};
use crate::judge::Judge;
use crate::place::{CODECS, Place, batch_bases, config, files, fill, inside_a_batch, open, segment_bases};

/// Where a log is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Between two batches of the active segment.
    BetweenBatches,
    InsideABatch,
    InsideABatchOfASealedSegment,
    AtARoll,
    EverythingAway,
}

const CUTS: [Cut; 5] =
    [Cut::BetweenBatches, Cut::InsideABatch, Cut::InsideABatchOfASealedSegment, Cut::AtARoll, Cut::EverythingAway];

impl Cut {
    fn of(self, log: &Log) -> Offset {
        let segments = segment_bases(log);
        let (sealed, active) = (segments[segments.len() / 2], segments[segments.len() - 1]);
        match self {
            Cut::BetweenBatches => {
                let batches = batch_bases(log);
                let cut = batches[batches.len() - 2];
                assert!(cut > active, "in the active segment");
                Offset::new(cut)
            }
            Cut::InsideABatch => inside_a_batch(log, active),
            Cut::InsideABatchOfASealedSegment => inside_a_batch(log, sealed),
            Cut::AtARoll => Offset::new(sealed),
            Cut::EverythingAway => log.log_start_offset(),
        }
    }
}

/// Enough that the active segment has batches before its last two.
fn fill_some(log: &Log) {
    fill(log, 120);
    while log.segments().expect("an open log").last().is_none_or(|active| active.size_bytes < 2500) {
        fill(log, 7);
    }
}

// Rows 112, 264, 280.
#[test]
fn kafka_reads_a_log_that_was_truncated_in_place_or_by_replacement() {
    let Some(mut judge) = Judge::start() else { return };
    for (at, codec) in CODECS.into_iter().enumerate() {
        for cut in CUTS {
            for held in [false, true] {
                let (mode, ending) = match (at + usize::from(held)) % 3 {
                    0 => (WriteMode::Write, Ending::Closed),
                    1 => (WriteMode::Mapped, Ending::Closed),
                    _ => (WriteMode::Preallocated, Ending::Dropped),
                };
                let place = Place::new();
                let config = config(codec, mode);
                let log = open(&place.dir(), config.clone());
                fill_some(&log);
                let before = Said::by(&log).records;
                let last = Offset::new(log.log_end_offset().value() - 1);
                let slice = held.then(|| log.read(last, 1 << 20).expect("the last batch"));
                let end = cut.of(&log);
                log.truncate_to(end).expect("a truncation");
                assert_eq!(Said::by(&log).records, before[..usize::try_from(end.value()).expect("small")]);
                let said = assert_kafka_agrees(&mut judge, &place, log, &config, ending);
                assert_eq!(said.bounds, (0, end.value()), "{codec:?} {cut:?} {held}");
                drop(slice);
            }
        }
    }
}

// Row 280.
#[test]
fn kafka_reads_a_log_that_went_on_behind_its_truncations() {
    let Some(mut judge) = Judge::start() else { return };
    for codec in [Compression::None, Compression::Lz4] {
        for ending in [Ending::Closed, Ending::Dropped] {
            let place = Place::new();
            let config = config(codec, WriteMode::Preallocated);
            let log = open(&place.dir(), config.clone());
            for cut in CUTS {
                fill_some(&log);
                log.truncate_to(cut.of(&log)).expect("a truncation");
                fill(&log, 9);
            }
            fill_some(&log);
            log.truncate_to(Cut::InsideABatchOfASealedSegment.of(&log)).expect("a truncation");
            fill(&log, 3);
            assert_kafka_agrees(&mut judge, &place, log, &config, ending);
        }
    }
}

// Row 280.
#[test]
fn a_truncation_to_a_batch_cuts_where_kafka_does() {
    let Some(mut judge) = Judge::start() else { return };
    for codec in CODECS {
        for cut in CUTS {
            let place = Place::new();
            let config = config(codec, WriteMode::Write);
            let log = open(&place.dir(), config.clone());
            fill_some(&log);
            let end = cut.of(&log);
            log.close().expect("a clean close");
            let kafkas = place.copied("kafkas");
            judge.truncate(&kafkas, "clean", end.value());

            let log = open(&place.dir(), config.clone());
            let cut_at = log.truncate_to_batch(end).expect("a truncation");
            assert!(cut_at <= end && batch_bases(&log).iter().all(|&base| base < cut_at.value()));
            let said = assert_kafka_agrees(&mut judge, &place, log, &config, Ending::Closed);
            assert_eq!(files(&kafkas, ".log"), files(&place.dir(), ".log"), "{codec:?} {cut:?}: byte for byte");

            // What kstore had synced is gone, and its state says so; a log without that state is taken as it is.
            let log = open(&place.copied_from(&kafkas, "kafkas-opened"), config.clone());
            let report = log.recovery_report();
            assert!(matches!(&report.damage[..], [damage] if matches!(damage.reason, Corruption::EndMissing { .. })));
            drop(log);
            std::fs::remove_file(kafkas.join("kstore.state")).expect("a state");
            let log = open(&place.copied_from(&kafkas, "kafkas-opened"), config.clone());
            assert_eq!(Said::by(&log), said, "{codec:?} {cut:?}: what Kafka cut, kstore reads");
            drop(log);
            // Kafka's own end is the offset that was asked for, until it opens the directory anew without trusting it.
            said.assert_is(&judge.read(&kafkas, "unclean"), &kafkas, "Kafka's own cut");
        }
    }
}

// Row 283.
#[test]
fn kafka_reads_a_log_that_began_anew() {
    let Some(mut judge) = Judge::start() else { return };
    for start in [0, 7, 5000, 1 << 33] {
        for appends in [0, 60] {
            for ending in [Ending::Closed, Ending::Dropped] {
                let place = Place::new();
                let config = config(Compression::Zstd, WriteMode::Preallocated);
                let log = open(&place.dir(), config.clone());
                fill_some(&log);
                log.reset_to(Offset::new(start)).expect("a beginning");
                fill(&log, appends);
                let said = assert_kafka_agrees(&mut judge, &place, log, &config, ending);
                assert_eq!(said.bounds.0, start);
                assert_eq!(said.records.is_empty(), appends == 0);
            }
        }
    }
}
