//! The mapped tail of one segment: what is stored and what is written, and what must not be left behind the log end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::config::NotMapped;
use crate::fs::sim::CrashStrength;
use crate::segment::writer::MOST_STORED_BYTES;

fn mapped(window_bytes: u64) -> Shape {
    Shape { write_mode: WriteMode::Mapped, window_bytes, ..shape() }
}

/// What the maker of windows does.
fn lay_window(writer: &mut SegmentWriter) {
    assert!(writer.takes_window_order(), "a window is asked for");
    let log = Arc::clone(writer.log());
    if let Some(reason) = writer.desk().prepare(&log) {
        writer.note_window_refused(reason);
    }
}

fn writes(place: &Place) -> u64 {
    place.disk.calls(CallKind::WriteAt) + place.disk.calls(CallKind::WriteVectoredAt)
}

/// A writer with a batch of 115 bytes, which has a window of a page.
fn with_window(place: &Place) -> SegmentWriter {
    let mut writer = place.create(0, mapped(1));
    append(&mut writer, &[batch(0, &[0, 1])]);
    lay_window(&mut writer);
    place.disk.reset_counters();
    writer
}

#[test]
fn the_first_batch_is_written_and_those_behind_it_are_stored_without_a_call() {
    let place = Place::new();
    let mut writer = with_window(&place);
    for base in 1..30 {
        append(&mut writer, &[batch(2 * base, &[0, 1])]);
    }
    let calls: u64 = CallKind::ALL.into_iter().map(|call| place.disk.calls(call)).sum();
    assert_eq!(calls, 0, "no call at all");
    let all: Vec<u8> = (0..30).flat_map(|base| batch(2 * base, &[0, 1])).collect();
    assert_eq!(place.log(0)[..all.len()], all);
    assert_eq!(writer.position().value(), all.len() as u64);
    writer.trim().unwrap();
    assert_eq!(place.log(0), all);
}

// A file that is merely longer has no room, and a store into it on a full disk ends the process (rule 21).
#[test]
fn the_room_of_a_window_is_allocated_before_it_is_mapped() {
    let place = Place::new();
    let mut writer = place.create(0, mapped(1));
    append(&mut writer, &[batch(0, &[0, 1])]);
    place.disk.set_tracing(true);
    lay_window(&mut writer);
    let calls: Vec<CallKind> = place.disk.trace().iter().map(|entry| entry.call).collect();
    let expected =
        [CallKind::Allocate, CallKind::SharesBlocks, CallKind::WriteAt, CallKind::MapWindow, CallKind::PopulateWindow];
    assert_eq!(calls, expected);
    assert_eq!(zeros(&place), [(115, 4096 - 115)], "the rest of the page");
}

/// Where zeros were written into windows while calls were traced, and how many: up to the end of a page, as no append here.
fn zeros(place: &Place) -> Vec<(u64, u64)> {
    let ends_a_page = |&(position, len): &(u64, u64)| (position + len).is_multiple_of(4096);
    let trace = place.disk.trace();
    let writes = trace.iter().filter(|entry| entry.call == CallKind::WriteAt);
    writes.map(|entry| (entry.position, entry.len)).filter(ends_a_page).collect()
}

// The window is asked for long before it is made, and what finds none meanwhile is written to where it is to be.
#[test]
fn no_zeros_are_written_over_what_was_appended_since_the_window_was_asked_for() {
    let place = Place::new();
    let mut writer = place.create(0, mapped(64 << 10));
    let mut all = batch(0, &[0, 1]);
    append(&mut writer, &[all.clone()]);
    assert!(writer.takes_window_order(), "a window is asked for");
    for due in 2..22 {
        let bytes = batch_of(due, &[0], 1000, Compression::None);
        append(&mut writer, std::slice::from_ref(&bytes));
        all.extend(bytes);
    }
    place.disk.set_tracing(true);
    let log = Arc::clone(writer.log());
    assert_eq!(writer.desk().prepare(&log), None);
    assert_eq!(place.log(0)[..all.len()], all);
    let (first, last) = (zeros(&place)[0], *zeros(&place).last().unwrap());
    assert_eq!(first.0, all.len() as u64, "from the log end");
    assert_eq!(last.0 + last.1, place.log(0).len() as u64, "to the end of the window");
    append(&mut writer, &[batch(22, &[0, 1])]);
    all.extend(batch(22, &[0, 1]));
    assert_eq!(place.log(0)[..all.len()], all);
}

// A sync writes a large page as a whole, however little of it was appended to (rule 21a).
#[test]
fn zeros_are_written_in_large_pieces_but_a_page_at_a_time_where_syncs_are_frequent() {
    let place = Place::new();
    let indexes = IndexRules { max_bytes: 1 << 20, interval_bytes: 1 << 20 };
    let mut writer = place.create(0, Shape { indexes, ..mapped(8 << 20) });
    let mut due = 0;
    let mut largest_up_to = |writer: &mut SegmentWriter, end: u64| {
        place.disk.set_tracing(true);
        while writer.position().value() < end {
            append(writer, &[batch_of(due, &[0], 10_000, Compression::None)]);
            due += 1;
            if writer.takes_window_order() {
                let log = Arc::clone(writer.log());
                assert_eq!(writer.desk().prepare(&log), None);
            }
        }
        zeros(&place).into_iter().map(|(_, bytes)| bytes).max()
    };
    assert_eq!(largest_up_to(&mut writer, 50_000), Some(16 << 10), "before anything is known of syncs");
    assert_eq!(largest_up_to(&mut writer, 4 << 20), Some(64 << 10), "as long as there is none");
    let mut largest_behind_a_sync = || {
        writer.prepare_sync();
        let end = writer.position().value() + 100_000;
        largest_up_to(&mut writer, end)
    };
    // Windows that were asked for before lie ready for a while.
    let largest: Vec<_> = (0..100).map(|_| largest_behind_a_sync()).collect();
    assert!(largest[80..].contains(&Some(4096)), "{largest:?}");
    assert_eq!(largest[80..].iter().flatten().max(), Some(&4096));
    let end = writer.position().value() + (4 << 20);
    assert_eq!(largest_up_to(&mut writer, end), Some(64 << 10), "no sync comes any more");
}

#[test]
fn where_zeros_cannot_be_written_the_room_is_given_back_and_appends_go_by_writes() {
    let kinds = [
        (FaultKind::NoSpace, NotMapped::NoRoom),
        (FaultKind::InputOutput, NotMapped::Window { operation: IoOp::Write }),
    ];
    for (kind, reason) in kinds {
        let place = Place::new();
        let mut writer = place.create(0, mapped(1 << 20));
        append(&mut writer, &[batch(0, &[0, 1])]);
        // The third of the pieces: some zeros are in the file by then.
        place.disk.fail(Fault::once(CallKind::WriteAt, 3, kind));
        lay_window(&mut writer);
        assert_eq!(writer.write_mode(), (WriteMode::Write, Some(reason)));
        assert_eq!(place.log(0), batch(0, &[0, 1]), "the file is as long as its batches");
        append(&mut writer, &[batch(2, &[0, 1])]);
        assert_eq!(place.log(0), [batch(0, &[0, 1]), batch(2, &[0, 1])].concat());
    }
}

#[test]
fn what_does_not_fit_the_window_or_is_large_is_written_to_the_same_place() {
    let place = Place::new();
    let mut writer = with_window(&place);
    let mut all = batch(0, &[0, 1]);
    let mut due = 2;
    let mut written = 0;
    for round in 0..200 {
        let (records, value_bytes) = if round % 50 == 49 { (1, MOST_STORED_BYTES) } else { (2, VALUE_OF_115) };
        let times: Vec<i64> = (0..records).collect();
        let bytes = batch_of(due, &times, value_bytes, Compression::None);
        let before = writes(&place);
        append(&mut writer, std::slice::from_ref(&bytes));
        written += writes(&place) - before;
        all.extend(bytes);
        due += u64::try_from(records).unwrap();
        if round % 3 == 0 && writer.takes_window_order() {
            let log = Arc::clone(writer.log());
            assert_eq!(writer.desk().prepare(&log), None);
        }
    }
    assert!((8..100).contains(&written), "{written} of 200 were written");
    assert_eq!(place.log(0)[..all.len()], all, "stores and writes lie behind each other");
    writer.trim().unwrap();
    assert_eq!(place.log(0), all);
}

#[test]
fn a_full_disk_gets_back_what_the_window_did_not_need_and_the_next_window_waits() {
    let place = Place::new();
    let mut writer = place.create(0, mapped(8192));
    append(&mut writer, &[batch(0, &[0, 1])]);
    place.disk.set_free_space(5000);
    lay_window(&mut writer);
    assert_eq!(writer.write_mode(), (WriteMode::Write, Some(NotMapped::NoRoom)));
    assert_eq!(place.log(0), batch(0, &[0, 1]), "the file is as long as its batches");
    let mut due = 2;
    while writer.position().value() < (1 << 20) + 500 {
        place.disk.set_free_space(1 << 30);
        append(&mut writer, &[batch_of(due, &[0], 50_000, Compression::None)]);
        due += 1;
    }
    append(&mut writer, &[batch(due, &[0, 1])]);
    lay_window(&mut writer);
    append(&mut writer, &[batch(due + 2, &[0, 1])]);
    assert_eq!(writer.write_mode(), (WriteMode::Mapped, None));
}

#[test]
fn a_window_without_room_leaves_the_one_before_it_in_use() {
    let place = Place::new();
    let mut writer = with_window(&place);
    append(&mut writer, &[batch(2, &[0, 1])]);
    place.disk.set_free_space(0);
    lay_window(&mut writer);
    let before = writes(&place);
    append(&mut writer, &[batch(4, &[0, 1])]);
    assert_eq!(writes(&place), before, "stored into what was allocated before the disk was full");
    writer.trim().unwrap();
    assert_eq!(place.log(0).len(), 3 * 115);
}

#[test]
fn a_segment_whose_blocks_a_copy_shares_is_written_by_calls() {
    let place = Place::new();
    let mut writer = place.create(0, mapped(8192));
    place.disk.set_shares_blocks(true);
    append(&mut writer, &[batch(0, &[0, 1])]);
    lay_window(&mut writer);
    append(&mut writer, &[batch(2, &[0, 1])]);
    assert!(!writer.takes_window_order(), "it is not tried again");
    assert_eq!(writer.write_mode(), (WriteMode::Write, Some(NotMapped::SharedBlocks)));
    assert_eq!(place.log(0), [batch(0, &[0, 1]), batch(2, &[0, 1])].concat());
}

// A panic in the middle of a store leaves bytes of its batch behind the log end, which no crash may bring back (rule 11b).
#[test]
fn a_store_that_was_interrupted_is_taken_back_durably_before_the_next_append() {
    let place = Place::new();
    let mut writer = with_window(&place);
    place.env.sync_dir(Path::new(DIR)).unwrap();
    writer.log().sync().unwrap();
    let whole = batch(2, &[0, 1]);
    let facts = [BatchFacts { size_bytes: 115, last_offset: offset(3), max_timestamp: None }];
    let interrupted = catch_unwind(AssertUnwindSafe(|| {
        drop(writer.append(&mut [IoSlice::new(&whole[..100])], &facts));
    }));
    interrupted.expect_err("the parts are not the batch");
    assert_eq!(place.log(0)[115..215], whole[..100], "what was stored is in the file, as on a real disk");
    append(&mut writer, &[batch(2, &[7, 8])]);
    for image in place.disk.every_image(CrashStrength::Strict) {
        let log = image.read_file(path(Path::new(DIR), Offset::ZERO, SegmentFile::Log)).unwrap();
        let behind = log.get(115..).unwrap_or_default();
        let is_new = batch(2, &[7, 8]).starts_with(&behind[..behind.len().min(115)]);
        assert!(is_new || behind.iter().all(|byte| *byte == 0), "{behind:?}");
    }
}

#[test]
fn a_store_that_cannot_be_taken_back_leaves_an_unknown_end() {
    let place = Place::new();
    let mut writer = with_window(&place);
    let facts = [BatchFacts { size_bytes: 115, last_offset: offset(3), max_timestamp: None }];
    let interrupted = catch_unwind(AssertUnwindSafe(|| {
        drop(writer.append(&mut [IoSlice::new(&[1; 100])], &facts));
    }));
    interrupted.expect_err("the parts are not the batch");
    place.disk.fail(Fault::once(CallKind::SetLen, 1, FaultKind::InputOutput));
    assert!(matches!(try_append(&mut writer, &[batch(2, &[0, 1])]), Err(AppendFailure::Unknown(_))));
}

#[test]
fn a_segment_is_cut_only_when_no_window_is_left_and_none_is_in_the_making() {
    let place = Place::new();
    let mut writer = with_window(&place);
    append(&mut writer, &[batch(2, &[0, 1])]);
    assert!(writer.takes_window_order(), "the next one is wanted");
    let (log, desk) = (Arc::clone(writer.log()), Arc::clone(writer.desk()));
    assert_eq!(desk.prepare(&log), None);
    writer.trim().unwrap();
    assert_eq!(place.log(0).len(), 230);
    assert_eq!(desk.prepare(&log), None);
    drop(writer.seal());
    assert_eq!(desk.prepare(&log), None);
    assert_eq!(place.log(0).len(), 230, "a worker that comes late finds nothing to do");
}

// A thread that makes windows is late now and then, and what is appended meanwhile should not notice.
#[test]
fn two_windows_lie_ready_behind_the_one_in_use_and_none_behind_a_log_that_nothing_was_stored_in() {
    let place = Place::new();
    let indexes = IndexRules { interval_bytes: 1 << 20, ..shape().indexes };
    let mut writer = place.create(0, Shape { indexes, ..mapped(1) });
    append(&mut writer, &[batch(0, &[0, 1])]);
    lay_window(&mut writer);
    assert_eq!(place.log(0).len(), 4096, "one window for a batch");
    append(&mut writer, &[batch(2, &[0, 1])]);
    lay_window(&mut writer);
    assert_eq!(place.log(0).len(), 3 * 4096);
    place.disk.reset_counters();
    for base in 2..90 {
        append(&mut writer, &[batch(2 * base, &[0, 1])]);
    }
    assert_eq!(writes(&place), 2, "the two batches across the borders of windows were written, all others stored");
    let all: Vec<u8> = (0..90).flat_map(|base| batch(2 * base, &[0, 1])).collect();
    assert_eq!(place.log(0)[..all.len()], all);
}

// A roll that has room to cut off waits for the disk, and all appends wait for the roll (rule 11a).
#[test]
fn a_segment_that_is_full_has_no_room_left_that_would_have_to_be_cut_off() {
    for write_mode in [WriteMode::Preallocated, WriteMode::Mapped] {
        let place = Place::new();
        let indexes = IndexRules { max_bytes: 10_000, interval_bytes: 4096 };
        let mut writer = place.create(0, Shape { write_mode, segment_bytes: 40_000, indexes, ..mapped(8192) });
        let mut due = 0;
        let mut most = 0;
        while writer.must_roll(115, offset(due + 1), None, Timestamp::from_millis(0)).unwrap().is_none() {
            append(&mut writer, &[batch(due, &[0, 1])]);
            if writer.takes_window_order() {
                let log = Arc::clone(writer.log());
                assert_eq!(writer.desk().prepare(&log), None);
            }
            most = most.max(place.log(0).len() - usize::try_from(writer.position().value()).unwrap());
            due += 2;
        }
        assert!(most > 4096, "there was room: {most}");
        place.disk.reset_counters();
        writer.trim().unwrap();
        let calls: u64 = CallKind::ALL.into_iter().map(|call| place.disk.calls(call)).sum();
        assert_eq!(calls, 0, "{write_mode:?}: there is nothing to cut off and nothing to wait for");
        assert_eq!(place.log(0).len() as u64, writer.position().value());
    }
}

// Pages that were touched ahead are dirty: a sync writes them, and the next store into each faults again (rule 21a). A log
// that is synced often must not have much of that.
#[test]
fn windows_grow_with_what_no_sync_has_covered_yet() {
    let place = Place::new();
    let indexes = IndexRules { max_bytes: 1 << 20, interval_bytes: 1 << 20 };
    let mut writer = place.create(0, Shape { indexes, ..mapped(2 << 20) });
    let mut due = 0;
    let mut fill = |writer: &mut SegmentWriter, bytes: u64, synced_each: u64| {
        let end = writer.position() + bytes;
        let (mut most, mut synced) = (0, writer.position());
        while writer.position() < end {
            append(writer, &[batch_of(due, &[0], 10_000, Compression::None)]);
            due += 1;
            if writer.takes_window_order() {
                let log = Arc::clone(writer.log());
                assert_eq!(writer.desk().prepare(&log), None);
            }
            most = most.max(writer.log().len().unwrap() - writer.position().value());
            if writer.position() - synced > synced_each {
                writer.prepare_sync();
                synced = writer.position();
            }
        }
        most
    };
    let often = fill(&mut writer, 2 << 20, 100_000);
    assert!(often <= 3 * (256 << 10), "{often} bytes lie ahead where a sync comes each 100,000");
    let now_and_then = fill(&mut writer, 10 << 20, 4 << 20);
    assert!(
        (768 << 10..=3 * (512 << 10)).contains(&now_and_then),
        "{now_and_then} bytes lie ahead of a sync each 4 MiB"
    );
    let never = fill(&mut writer, 24 << 20, u64::MAX);
    assert!((4 << 20..=6 << 20).contains(&never), "{never} bytes lie ahead without a sync");
}
