//! Appending only: every codec and write mode, and directories that go to and fro.

use kstore::{Compression, Offset, WriteMode};

use crate::agreement::Said;
use crate::judge::Judge;
use crate::place::{CODECS, Place, config, fill, open};

#[test]
fn kafka_reads_every_codec_and_write_mode_after_a_clean_close_and_without_one() {
    let Some(mut judge) = Judge::start() else { return };
    for codec in CODECS {
        for mode in [WriteMode::Write, WriteMode::Preallocated, WriteMode::Mapped] {
            let place = Place::new();
            let log = open(&place.dir(), config(codec, mode));
            fill(&log, 120);
            assert!(log.segments().expect("an open log").len() > 2, "it rolled");
            let killed = place.copied("killed");
            let abandoned = judge.read(&killed, "unclean");
            Said::by(&log).assert_is(&abandoned, &killed, "killed");
            log.close().expect("a clean close");
            for shutdown in ["clean", "unclean"] {
                let verdict = judge.read(&place.copied(shutdown), shutdown);
                assert_eq!(verdict, abandoned, "{codec:?} {mode:?} {shutdown}");
            }
        }
    }
}

#[test]
fn kafka_and_kstore_go_on_with_what_the_other_wrote() {
    let Some(mut judge) = Judge::start() else { return };
    let place = Place::new();
    let config = config(Compression::None, WriteMode::Preallocated);
    for round in 0..4 {
        let log = open(&place.dir(), config.clone());
        fill(&log, 30);
        let expected = Said::by(&log).records;
        if round % 2 == 0 {
            log.close().expect("a clean close");
            assert_eq!(judge.read(&place.copied("copy"), "clean").records, expected);
        } else {
            drop(log);
        }
        let end = expected.len() as u64;
        judge.append(&place.dir(), if round % 2 == 0 { "clean" } else { "unclean" }, 10, round * 4 + 3);
        let log = open(&place.dir(), config.clone());
        let found = Said::by(&log).records;
        assert_eq!(found[..expected.len()], expected[..]);
        assert_eq!(found.len() as u64, end + 20, "what Kafka appended is there");
        let last = log.records(Offset::new(end + 19)..).expect("a range").next().expect("a record").expect("readable");
        assert_eq!(last.value(), Some(format!("kafka-{}", end + 19).as_bytes()));
        log.close().expect("a clean close");
    }
}
