//! The high watermark: set, clamped, raised, lowered, and what readers see below it.

use super::bench::{append, at, disk, fill, opened, small, values};
use super::races::watched;
use crate::error::Error;
use crate::fs::sim::{CallKind, Fault, FaultKind};
use crate::log::ReadUpTo;
use crate::record::Record;

// Rows 235, 285.
#[test]
fn it_follows_the_log_end_until_it_is_set_and_then_stays_where_it_was_put() {
    let log = opened(&disk(), small());
    fill(&log, 0..4);
    assert_eq!(log.high_watermark(), at(4));
    assert_eq!(log.set_high_watermark(at(2)).expect("open"), at(2));
    fill(&log, 4..6);
    assert_eq!([log.high_watermark(), log.last_stable_offset(), log.log_end_offset()], [at(2), at(2), at(6)]);
    for up_to in [ReadUpTo::HighWatermark, ReadUpTo::LastStable] {
        let reader = log.reader().up_to(up_to);
        assert_eq!(reader.log_end_offset(), at(2));
        assert_eq!(reader.records(..).expect("a range").count(), 2);
        assert_eq!(reader.batches(..).expect("a range").count(), 2);
        assert!(reader.read(at(2), 1000).expect("the end is no error").is_empty());
        assert!(reader.read(at(4), 1000).expect("nor is what lies behind it").is_empty());
        assert!(matches!(reader.read(at(7), 1000), Err(Error::OffsetOutOfRange { .. })));
    }
}

// Row 285.
#[test]
fn it_is_clamped_to_the_log_and_may_go_back() {
    let log = opened(&disk(), small());
    fill(&log, 0..6);
    assert_eq!(log.set_high_watermark(at(100)).expect("open"), at(6));
    fill(&log, 6..8);
    assert_eq!(log.high_watermark(), at(6), "what was asked for beyond the end is forgotten");
    assert_eq!(log.set_high_watermark(at(3)).expect("open"), at(3), "a follower may lower it");
    log.shared().core.raise_log_start(at(5));
    assert_eq!(log.high_watermark(), at(5), "the log start raises it");
    assert_eq!(log.set_high_watermark(at(1)).expect("open"), at(5));
    log.close().expect("a healthy disk");
    assert!(matches!(log.set_high_watermark(at(6)), Err(Error::Closed)));
}

#[test]
fn raising_it_never_puts_it_back() {
    let log = opened(&disk(), small());
    fill(&log, 0..6);
    assert_eq!(log.raise_high_watermark(at(2)).expect("open"), at(2), "the first call sets it");
    assert_eq!(log.raise_high_watermark(at(4)).expect("open"), at(4));
    assert_eq!(log.raise_high_watermark(at(3)).expect("open"), at(4));
    assert_eq!(log.raise_high_watermark(at(100)).expect("open"), at(6));
    fill(&log, 6..8);
    assert_eq!(log.high_watermark(), at(6), "it is set, and no longer follows the log end");
    assert_eq!(log.set_high_watermark(at(1)).expect("open"), at(1));
    log.close().expect("a healthy disk");
    assert!(matches!(log.raise_high_watermark(at(6)), Err(Error::Closed)));
}

// Row 285.
#[test]
fn a_log_end_that_is_put_back_lowers_it_for_good() {
    let disk = disk();
    let log = opened(&disk, small());
    fill(&log, 0..2);
    log.sync().expect("a healthy disk");
    fill(&log, 2..4);
    log.set_high_watermark(at(4)).expect("open");
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput));
    log.sync().expect_err("the sync fails");
    assert_eq!(log.high_watermark(), at(2), "readers of a failed log end at the synced offset");
    log.shared().core.begin_generation(at(3));
    log.reopen().expect("the disk is well again");
    append(&log, 5).expect("there is room");
    assert_eq!([log.high_watermark(), log.log_end_offset()], [at(3), at(5)]);
}

#[test]
fn nothing_of_a_batch_that_it_lies_in_is_shown_beyond_it() {
    let log = opened(&disk(), small());
    log.append(&[Record::value("a"), Record::value("b"), Record::value("c")]).expect("there is room");
    let reader = log.reader().up_to(ReadUpTo::HighWatermark);
    log.set_high_watermark(at(2)).expect("open");
    assert_eq!(reader.records(..).expect("a range").count(), 2);
    assert_eq!(reader.batches(..).expect("a range").count(), 0);
    assert!(reader.read(at(0), 1000).expect("a range").is_empty());
    log.set_high_watermark(at(3)).expect("open");
    assert_eq!(reader.batches(..).expect("a range").count(), 1);
    assert_eq!(reader.read(at(0), 1000).expect("a range").records().count(), 3);
}

// Row 239.
#[test]
fn reads_up_to_it_go_on_across_rolls() {
    let log = opened(&disk(), small());
    fill(&log, 0..12);
    let reader = log.reader().up_to(ReadUpTo::HighWatermark);
    for end in 0..=12 {
        log.set_high_watermark(at(end)).expect("open");
        assert_eq!(reader.records(..).expect("a range").count() as u64, end);
        let last = reader.read(at(end.saturating_sub(1)), 1000).expect("a range");
        assert_eq!(last.next_offset(), at(end));
    }
    assert_eq!(values(&log).len(), 12);
}

// Story: a tailer took note of the high watermark before it looked for records. One that was put back in between, and
// then forward by less, left it asleep until the high watermark came to where it had been.
#[test]
fn a_tailer_is_given_what_the_high_watermark_shows_however_often_it_is_put_back() {
    watched("a tailer", || {
        let log = opened(&disk(), small().segment_bytes(1 << 20));
        fill(&log, 0..64);
        let mut tailer = log.reader().up_to(ReadUpTo::HighWatermark).tail(at(0));
        log.set_high_watermark(at(0)).expect("open");
        for shown in 1..=60 {
            std::thread::scope(|scope| {
                let following = scope.spawn(|| tailer.next());
                for _ in 0..5000 {
                    log.set_high_watermark(at(63)).expect("open");
                    log.set_high_watermark(at(0)).expect("open");
                }
                log.set_high_watermark(at(shown)).expect("open");
                let record = following.join().expect("no panic").expect("one").expect("no error");
                assert_eq!(record.offset(), at(shown - 1));
            });
        }
    });
}
