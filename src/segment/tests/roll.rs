//! When a segment must end before the next append.

use super::*;

const SOON: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A writer that holds two batches of 115 bytes, the first with time 1001.
fn filled(place: &Place, shape: Shape) -> SegmentWriter {
    let mut writer = place.create(0, shape);
    append(&mut writer, &batches(0, 2)[..1]);
    append(&mut writer, &batches(0, 2)[1..]);
    writer
}

fn at(writer: &mut SegmentWriter, size_bytes: u64, incoming: Option<i64>, now: Timestamp) -> Option<RollReason> {
    writer.must_roll(size_bytes, offset(10), incoming.map(time), now).unwrap()
}

// Row 146.
#[test]
fn a_segment_takes_what_fits_exactly_and_rolls_for_one_byte_more() {
    let mut writer = filled(&Place::new(), Shape { segment_bytes: 345, ..shape() });
    assert_eq!(at(&mut writer, 115, None, SOON), None);
    assert_eq!(at(&mut writer, 116, None, SOON), Some(RollReason::Size));
    assert_eq!(at(&mut writer, u64::MAX, None, SOON), Some(RollReason::Size));
}

#[test]
fn an_empty_segment_takes_a_batch_that_is_larger_than_itself() {
    let mut writer = Place::new().create(0, Shape { segment_bytes: 345, ..shape() });
    assert_eq!(at(&mut writer, 10_000, None, SOON), None);
}

// Rows 60, 45.
#[test]
fn a_segment_ends_at_2_31_minus_1_bytes_however_large_it_may_become() {
    let dir = tempfile::tempdir().unwrap();
    let env = Env::real();
    let last = batch(2, &[5, 6]);
    let end = u64::from(i32::MAX.cast_unsigned());
    let log = path(dir.path(), Offset::ZERO, SegmentFile::Log);
    let position = Position::new(end - 115);
    LogFile::open(&env, &log, OpenMode::CreateNew).unwrap().set_len(position).unwrap();
    let known = KnownIndexes { offset_entries: 0, time_entries: 0, position, max_timestamp: None };
    let shape = Shape { segment_bytes: u64::MAX, ..shape() };
    let mut writer =
        SegmentWriter::resume(&env, dir.path(), Offset::ZERO, shape, offset(2), &known, Vec::new()).unwrap();
    assert_eq!(at(&mut writer, 116, None, SOON), Some(RollReason::Size));
    assert_eq!(at(&mut writer, 115, None, SOON), None);
    append(&mut writer, std::slice::from_ref(&last));
    assert_eq!(at(&mut writer, 1, None, SOON), Some(RollReason::Size));
    let (handles, _) = writer.segment().open(&env).unwrap();
    let entry = handles.offset_index.as_ref().unwrap().last().unwrap().unwrap();
    assert_eq!((entry.offset, entry.position), (offset(3), position));
    let (mut scan, header) = writer.segment().find(&handles, offset(3)).unwrap().unwrap();
    assert_eq!((scan.position(), scan.batch(&header).unwrap()), (position, &last[..]));
    let recovery = Recovery { start: position, next_offset: offset(2), ..recovery(writer.log(), 0) };
    assert_eq!(walk(&recovery).good_end, Position::new(end));
}

// Rows 106, 113.
#[test]
fn an_offset_that_does_not_fit_the_segment_rolls_even_an_empty_one_and_writes_nothing() {
    let place = Place::new();
    let mut writer = place.create(7, shape());
    let mut reason = |last| writer.must_roll(100, offset(last), None, SOON).unwrap();
    assert_eq!(reason(7 + MAX_RELATIVE_OFFSET), None);
    assert_eq!(reason(8 + MAX_RELATIVE_OFFSET), Some(RollReason::OffsetOverflow));
    assert_eq!(reason(6), Some(RollReason::OffsetOverflow));
    assert_eq!(place.log(7).len(), 0);
}

// Row 157.
#[test]
fn a_batch_far_behind_the_log_end_fits_a_segment_that_begins_with_it() {
    let far = 3 * MAX_RELATIVE_OFFSET;
    let place = Place::new();
    let mut writer = filled(&place, shape());
    assert_eq!(writer.must_roll(115, offset(far + 1), None, SOON).unwrap(), Some(RollReason::OffsetOverflow));
    let mut writer = place.create(far, shape());
    assert_eq!(writer.must_roll(115, offset(far + 1), None, SOON).unwrap(), None);
    append(&mut writer, &batches(far, 1));
    assert_eq!(writer.next_offset(), offset(far + 2));
}

// Rows 143, 144.
#[test]
fn once_the_first_batch_has_a_time_only_the_times_of_records_make_a_segment_old() {
    let mut writer = filled(&Place::new(), Shape { segment_ms: 1000, ..shape() });
    let much_later = time(SOON.as_millis() + 1_000_000);
    assert_eq!(at(&mut writer, 115, Some(2001), much_later), None);
    assert_eq!(at(&mut writer, 115, Some(2002), SOON), Some(RollReason::Time));
    assert_eq!(at(&mut writer, 115, Some(0), much_later), None, "a record from before is not late");
    let mut empty = Place::new().create(0, Shape { segment_ms: 1000, ..shape() });
    assert_eq!(at(&mut empty, 115, Some(i64::MAX), much_later), None, "an empty segment is never too old");
}

// Row 143.
#[test]
fn without_times_the_clock_makes_a_segment_old() {
    let mut writer = Place::new().create(0, Shape { segment_ms: 1000, ..shape() });
    let mut untimed = BatchBuilder::new(Compression::None);
    untimed.push(Record::value("v")).unwrap();
    let stamp = BatchStamp { now: time(-1), ..BatchStamp::default() };
    append(&mut writer, &[untimed.finish(&stamp).unwrap().to_vec()]);
    assert_eq!(at(&mut writer, 115, None, time(SOON.as_millis() + 1000)), None);
    assert_eq!(at(&mut writer, 115, None, time(SOON.as_millis() + 1001)), Some(RollReason::Time));
    assert_eq!(at(&mut writer, 115, None, time(0)), None, "a clock that went back makes nothing old");
    let mut timed = filled(&Place::new(), Shape { segment_ms: 1000, ..shape() });
    let much_later = time(SOON.as_millis() + 1_000_000);
    assert_eq!(at(&mut timed, 115, None, much_later), None, "where the first batch has a time the clock has no say");
}

// Row 145.
#[test]
fn the_time_that_a_segment_may_span_is_the_one_it_was_given_with_its_jitter_taken_off() {
    let mut writer = filled(&Place::new(), Shape { segment_ms: 1000 - 300, ..shape() });
    assert_eq!(at(&mut writer, 115, Some(1001 + 700), SOON), None);
    assert_eq!(at(&mut writer, 115, Some(1001 + 701), SOON), Some(RollReason::Time));
    writer.set_shape(Shape { segment_ms: 1000, ..shape() });
    assert_eq!(at(&mut writer, 115, Some(1001 + 701), SOON), None);
}

// Row 127.
#[test]
fn a_writer_that_goes_on_reads_the_first_batchs_time_from_the_file_when_it_needs_it() {
    let place = Place::new();
    drop(filled(&place, shape()));
    let known = KnownIndexes { offset_entries: 0, time_entries: 0, position: Position::new(230), max_timestamp: None };
    let limited = Shape { segment_ms: 1000, ..shape() };
    let dir = Path::new(DIR);
    let resume =
        || SegmentWriter::resume(&place.env, dir, Offset::ZERO, limited, offset(4), &known, Vec::new()).unwrap();
    let mut writer = resume();
    place.disk.reset_counters();
    assert_eq!(at(&mut writer, 115, Some(2001), SOON), None);
    assert_eq!(at(&mut writer, 115, Some(2002), SOON), Some(RollReason::Time));
    assert_eq!(place.disk.calls(CallKind::ReadAt), 1, "it is read once");
    place.disk.fail(Fault::once(CallKind::ReadAt, 1, FaultKind::InputOutput));
    assert!(matches!(resume().must_roll(115, offset(10), Some(time(2002)), SOON), Err(Error::Io { .. })));
    place.disk.flip_bit(path(dir, Offset::ZERO, SegmentFile::Log), 8, 7);
    assert_eq!(at(&mut resume(), 115, Some(2002), SOON), None, "a damaged batch has no time, the clock decides");
}

// Row 148.
#[test]
fn a_segment_whose_index_is_full_rolls_once_it_holds_a_batch() {
    let indexes = IndexRules { max_bytes: TimeIndex::ENTRY_BYTES, interval_bytes: 0 };
    let mut writer = Place::new().create(0, Shape { indexes, ..shape() });
    assert_eq!(at(&mut writer, 115, None, SOON), None, "an empty one would only be made again");
    append(&mut writer, &batches(0, 1));
    assert_eq!(at(&mut writer, 115, None, SOON), Some(RollReason::IndexFull));
}
