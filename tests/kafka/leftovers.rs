//! Files of kstore's that lie beside the log: cursors, state, lock, bytes that were cut off. Kafka passes over them.

use std::path::Path;

use kstore::{Compression, Log, Offset, WriteMode};

use crate::agreement::{Ending, Said, assert_kafka_agrees};
use crate::judge::Judge;
use crate::place::{Place, config, fill, names, open, segment_bases};

#[test]
fn kafka_reads_a_log_with_cursors_in_it() {
    let Some(mut judge) = Judge::start() else { return };
    for ending in [Ending::Closed, Ending::Dropped] {
        let place = Place::new();
        let config = config(Compression::None, WriteMode::Preallocated);
        let log = open(&place.dir(), config.clone());
        fill(&log, 100);
        for (name, at) in [("billing", 30), ("search", 200)] {
            log.cursor(name).expect("a cursor").commit(Offset::new(at)).expect("a commit");
        }
        log.truncate_to(Offset::new(150)).expect("a truncation");
        log.delete_records_before(Offset::new(20)).expect("a deletion");
        assert!(place.dir().join("cursors").is_dir() && place.dir().join("kstore.state").is_file());
        assert_kafka_agrees(&mut judge, &place, log, &config, ending);
        // Neither Kafka's reading nor its appending has touched them.
        let log = open(&place.copy_named("shared"), config);
        assert_eq!(log.cursor("billing").expect("a cursor").committed().expect("readable"), Some(Offset::new(30)));
        log.close().expect("a clean close");
    }
}

#[test]
fn kafka_reads_a_log_with_a_torn_tail_set_aside() {
    let Some(mut judge) = Judge::start() else { return };
    for (ending, codec) in [(Ending::Closed, Compression::None), (Ending::Dropped, Compression::Gzip)] {
        let place = Place::new();
        let config = config(codec, WriteMode::Write);
        let log = open(&place.dir(), config.clone());
        fill(&log, 120);
        let torn = place.copied("torn");
        drop(log);
        tear(&torn);
        let kafkas = place.copied_from(&torn, "torn-for-kafka");
        let log = Log::open(&torn, config.clone()).expect("the log opens");
        assert!(!names(&torn, ".torn").is_empty(), "{:?}", log.recovery_report());
        let said = Said::by(&log);
        said.assert_is(&judge.read(&kafkas, "unclean"), &kafkas, "torn");
        fill(&log, 5);
        log.truncate_to(log.log_end_offset()).expect("a truncation");
        drop(log);
        std::fs::remove_dir_all(place.dir()).expect("the log of before");
        std::fs::rename(&torn, place.dir()).expect("a new place");
        let log = open(&place.dir(), config.clone());
        assert_kafka_agrees(&mut judge, &place, log, &config, ending);
    }
}

/// Half of the last batch, and bytes that are none.
fn tear(dir: &Path) {
    let name = names(dir, ".log").pop().expect("a segment");
    let path = dir.join(name);
    let mut bytes = std::fs::read(&path).expect("a readable file");
    bytes.truncate(bytes.len() - 100);
    bytes.extend([0xA5; 300]);
    std::fs::write(path, bytes).expect("a writable file");
}

#[test]
fn kafka_reads_a_log_that_rolled_into_an_empty_segment() {
    let Some(mut judge) = Judge::start() else { return };
    for ending in [Ending::Closed, Ending::Dropped] {
        let place = Place::new();
        let config = config(Compression::Lz4, WriteMode::Preallocated);
        let log = open(&place.dir(), config.clone());
        fill(&log, 50);
        let end = log.roll().expect("a roll");
        assert_eq!(segment_bases(&log).last(), Some(&end.value()));
        log.truncate_to(end).expect("nothing above");
        assert_kafka_agrees(&mut judge, &place, log, &config, ending);
    }
}
