//! Ends of files that were durable and are gone: never a silently shorter log.

use kstore::{Corruption, Error, Log, LogConfig, Offset, Reader, Record};

use crate::planted::{BATCHES, DAMAGED, planted, read};
use crate::site::{Site, log_name};

#[test]
fn a_log_that_was_shortened_behind_its_state_is_damage_and_not_a_shorter_log() {
    let site = Site::new();
    let position = planted(&site, |_| {});
    let path = site.file(&log_name(0));
    let bytes = std::fs::read(&path).expect("a log");
    std::fs::write(&path, &bytes[..usize::try_from(position.value()).expect("small")]).expect("a writable log");

    let reader = Log::open_read_only(site.dir()).expect("a reader");
    assert_an_end_is_lost(&reader);
    assert_eq!(reader.recovery_report().damage.len(), 1);
    let log = Log::open(site.dir(), LogConfig::default()).expect("a log");
    assert_an_end_is_lost(&log.reader());
    let error = log.append(&[Record::value("x")]).expect_err("refused");
    assert!(matches!(error, Error::Damaged { reason: Corruption::EndMissing { .. }, .. }), "{error}");
    let place = format!("{} is damaged at byte {position} below the durable mark: ", path.display());
    let what = "the log ends at offset 8, everything below 18 was durable";
    assert_eq!(error.to_string(), format!("appends are refused, for {place}{what}"));
}

/// The log ends where it did, and whoever asks for what is gone is told.
fn assert_an_end_is_lost(reader: &Reader) {
    assert_eq!(reader.log_end_offset().value(), 2 * BATCHES, "what was durable is not forgotten");
    let (sound, errors, _) = read(reader.records(..).expect("a range"));
    assert_eq!(sound, (0..2 * DAMAGED).collect::<Vec<_>>());
    assert!(matches!(errors[..], [Error::Corrupt { .. }]), "{errors:?}");
    let lost = Offset::new(2 * DAMAGED + 3);
    for error in [
        reader.records_reversed(..).expect("a range").next().expect("an answer").map(drop),
        reader.records(lost..).expect("a range").next().expect("an answer").map(drop),
        reader.read(lost, 1 << 20).map(drop),
        reader.batches(lost..).expect("a range").next().expect("an answer").map(drop),
    ] {
        assert!(matches!(error, Err(Error::Corrupt { .. })), "{error:?}");
    }
    let slice = reader.read(Offset::ZERO, 1 << 20).expect("what is there");
    assert_eq!((slice.records().count() as u64, slice.next_offset().value()), (2 * DAMAGED, 2 * DAMAGED));
    let (back, errors, front) = read(reader.clone().skip_damaged().records_reversed(..).expect("a range"));
    assert_eq!((back.len(), errors.len(), front.len() as u64), (0, 1, 2 * DAMAGED), "{errors:?}");
}

#[test]
fn a_sealed_segment_that_was_shortened_is_an_error_where_it_ends_now() {
    let site = Site::new();
    let log = Log::open(site.dir(), LogConfig::default()).expect("a new log");
    for batch in 0..6 {
        log.append(&[Record::value("x"), Record::value("y")]).expect("an append");
        if batch % 2 == 1 {
            log.roll().expect("a roll");
        }
    }
    log.close().expect("a clean close");
    let path = site.file(&log_name(4));
    let bytes = std::fs::read(&path).expect("a log");
    for length in [bytes.len() / 2, bytes.len() / 2 + 30, bytes.len() - 1, 0] {
        std::fs::write(&path, &bytes[..length]).expect("a writable log");
        let log = Log::open(site.dir(), LogConfig::default()).expect("a clean log");
        assert_eq!(log.log_end_offset(), Offset::new(12));
        let (sound, errors, _) = read(log.records(..).expect("a range"));
        assert!(sound.len() >= 4 && sound.len() <= 6, "{length}: {sound:?}");
        assert!(
            matches!(&errors[..], [Error::Corrupt { path: at, .. }] if at.as_ref() == path),
            "{length}: {errors:?}"
        );
        let (back, errors, _) = read(log.records_reversed(..).expect("a range"));
        assert_eq!(back, [11, 10, 9, 8], "{length}");
        assert!(
            matches!(&errors[..], [Error::Corrupt { path: at, .. }] if at.as_ref() == path),
            "{length}: {errors:?}"
        );
        let (rest, errors, _) = read(log.records(Offset::new(8)..).expect("a range"));
        assert_eq!((rest, errors.len()), (vec![8, 9, 10, 11], 0), "{length}");
        log.close().expect("a clean close");
    }
}
