//! Damage below the durable mark: an error where it lies, the rest readable, nothing deleted unasked.

use super::bench::{
    append, at, bases, disk, fill, log_path, names, number, open, opened, small, state_path, upto, values,
};
use crate::config::OnDamage;
use crate::error::{Error, ErrorKind};
use crate::fs::sim::{CrashStrength, SimDisk};
use crate::log::{Log, Trust};

/// Nine records in five segments, closed, with a bit of the record at offset 2 flipped.
fn damaged() -> SimDisk {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..9);
    log.close().expect("a healthy disk");
    disk.flip_bit(log_path(2), 80, 3);
    disk
}

/// The same, recovered whole since nobody vouches for it.
fn damaged_and_foreign() -> SimDisk {
    let disk = damaged();
    disk.remove(state_path());
    disk
}

fn readable(log: &Log) -> Vec<u64> {
    let records = log.reader().skip_damaged().records(at(0)..).expect("the whole log");
    records.flatten().map(|record| number(record.value())).collect()
}

#[test]
fn a_bit_that_flipped_after_a_clean_close_is_an_error_where_it_lies_and_nowhere_else() {
    let log = opened(&damaged(), small());
    assert_eq!(log.recovery_report().trust, Trust::Clean);
    for offset in (0..9).filter(|offset| *offset != 2) {
        let record = log.records(at(offset)..at(offset + 1)).expect("in the log").next().expect("a record");
        assert_eq!(number(record.expect("readable").value()), offset);
    }
    let error = log.records(at(2)..at(3)).expect("in the log").next().expect("an answer").expect_err("damaged");
    assert!(matches!(&error, Error::Corrupt { path, .. } if **path == *log_path(2)), "{error}");
    assert_eq!(error.kind(), ErrorKind::Damage);
    assert_eq!(readable(&log), [0, 1, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn damage_found_at_open_refuses_appends_and_deletes_nothing() {
    let disk = damaged_and_foreign();
    let before = disk.read_file(log_path(2));
    let log = opened(&disk, small());
    let damage = log.recovery_report().damage;
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert_eq!((damage[0].first_offset, damage[0].next_offset), (at(2), at(3)));
    let refused = append(&log, 9).expect_err("refused");
    assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Damage);
    assert!(matches!(log.roll(), Err(Error::Damaged { .. })));
    assert!(matches!(log.read(at(2), 1), Err(Error::Corrupt { .. })));
    assert_eq!(readable(&log), [0, 1, 3, 4, 5, 6, 7, 8]);
    log.close().expect("nothing to do");
    assert_eq!(disk.read_file(log_path(2)), before);
    assert!(append(&opened(&disk, small()), 9).is_err(), "so it stays");
}

#[test]
fn to_serve_the_rest_is_remembered() {
    let disk = damaged_and_foreign();
    let log = opened(&disk, small().on_damage(OnDamage::ServeRest));
    fill(&log, 9..12);
    assert_eq!(readable(&log), [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    log.close().expect("a healthy disk");
    let log = opened(&disk, small());
    fill(&log, 12..13);
    assert!(matches!(
        log.read(at(2), 1).map(|slice| slice.records().next()),
        Err(Error::Corrupt { .. }) | Ok(Some(Err(_)))
    ));
    let log = opened(&disk.crash(CrashStrength::Kill), small());
    fill(&log, 13..14);
    assert_eq!(readable(&log).last(), Some(&13));
}

#[test]
fn to_cut_as_kafka_does_ends_the_log_at_the_damage_and_keeps_the_bytes() {
    let disk = damaged_and_foreign();
    let log = opened(&disk, small().on_damage(OnDamage::CutAsKafka));
    assert_eq!((values(&log), log.log_end_offset()), (upto(2), at(2)));
    let torn = names(&disk).into_iter().filter(|name| name.contains(".torn")).count();
    assert_eq!(torn, 4, "the rest of the damaged segment, and the three behind it: {:?}", names(&disk));
    fill(&log, 2..4);
    log.close().expect("a healthy disk");
    let log = opened(&disk, small());
    assert_eq!((values(&log), log.recovery_report().trust), (upto(4), Trust::Clean));
    let torn = names(&disk).into_iter().filter(|name| name.contains(".torn")).count();
    assert_eq!(torn, 4, "sound batches lie in them, so a clean close keeps them");
}

#[test]
fn an_end_that_is_missing_below_the_recovery_point_is_damage() {
    let disk = disk();
    let log = opened(&disk, small().segment_bytes(1 << 20));
    fill(&log, 0..6);
    log.sync().expect("a healthy disk");
    let disk = disk.crash(CrashStrength::Kill);
    let whole = disk.read_file(log_path(0)).expect("a segment");
    disk.write_file(log_path(0), whole[..whole.len() / 2].to_vec());
    let log = opened(&disk, small());
    assert_eq!(log.recovery_report().damage.len(), 1, "{:?}", log.recovery_report());
    assert!(matches!(append(&log, 6), Err(Error::Damaged { .. })));
    assert_eq!(readable(&log), upto(3));
    assert_eq!(log.log_end_offset(), at(6), "no silently shorter log");
    log.close().expect("nothing to do");
    let log = opened(&disk, small().on_damage(OnDamage::ServeRest));
    fill(&log, 6..7);
    assert_eq!((readable(&log), log.log_end_offset()), (vec![0, 1, 2, 6], at(7)));
}

#[test]
fn a_sealed_segment_that_is_gone_is_no_silently_shorter_log() {
    for clean in [true, false] {
        let disk = disk();
        let log = opened(&disk, small());
        fill(&log, 0..9);
        log.sync().expect("a healthy disk");
        let disk = if clean {
            log.close().expect("a healthy disk");
            disk
        } else {
            disk.crash(CrashStrength::Kill)
        };
        disk.remove(log_path(4));
        match open(&disk, small()) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Damage),
            Ok(log) => {
                let answers: Vec<_> = log.records(at(0)..).expect("the whole log").collect();
                assert!(answers.iter().any(Result::is_err), "clean {clean}: {:?}", bases(&log));
            }
        }
    }
}
