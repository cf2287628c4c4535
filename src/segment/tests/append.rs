//! The writer: what lies in the three files after an append, after a roll, and after a rebuild.

use super::*;

/// What Kafka's own classes write for six 115-byte batches from offset 100 on, with an interval of 100 bytes.
const INDEX: &str = "000000030000007300000005000000e6000000070000015900000009000001cc0000000b0000023f";
const TIME_INDEX: &str = "00000000000003f30000000300000000000003fd00000005000000000000040700000007000000000000041100000009\
                          000000000000041b0000000b";

fn sealed(mut writer: SegmentWriter) {
    writer.trim().unwrap();
    writer.seal().sync().unwrap();
}

/// The indexes that a recovery of the segment makes anew.
fn rebuild(place: &Place, base: u64, rules: IndexRules) {
    let log = Arc::new(
        LogFile::open(&place.env, &path(Path::new(DIR), offset(base), SegmentFile::Log), OpenMode::Read).unwrap(),
    );
    let mut indexes = GrowingIndexes::create(&place.env, Path::new(DIR), offset(base), rules).unwrap();
    recover(&recovery(&log, base), |position, _, facts| indexes.note_batch(position, facts)).unwrap();
    indexes.finish().unwrap();
}

fn entries(place: &Place, base: u64) -> Vec<(u32, u32)> {
    let field = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let index = place.file(base, SegmentFile::OffsetIndex);
    index.chunks(8).map(|entry| (field(&entry[..4]), field(&entry[4..]))).collect()
}

// Rows 95, 117.
#[test]
fn the_files_of_a_segment_are_those_that_kafka_writes() {
    let place = Place::new();
    let mut writer = place.create(100, shape());
    assert_eq!(writer.next_offset(), offset(100));
    for batch in batches(100, 6) {
        append(&mut writer, &[batch]);
    }
    assert_eq!(writer.next_offset(), offset(112));
    sealed(writer);
    assert_eq!(place.log(100), batches(100, 6).concat());
    assert_eq!(hex(&place.file(100, SegmentFile::OffsetIndex)), INDEX);
    assert_eq!(hex(&place.file(100, SegmentFile::TimeIndex)), TIME_INDEX);
}

// Rows 119, 120.
#[test]
fn rebuilt_indexes_equal_the_lost_ones_whatever_garbage_the_files_hold() {
    let place = Place::new();
    place.plant(100, batches(100, 6).concat());
    for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
        place.disk.write_file(path(Path::new(DIR), offset(100), kind), vec![0xa5; 777]);
    }
    rebuild(&place, 100, shape().indexes);
    assert_eq!(hex(&place.file(100, SegmentFile::OffsetIndex)), INDEX);
    assert_eq!(hex(&place.file(100, SegmentFile::TimeIndex)), TIME_INDEX);
}

#[test]
fn as_many_bytes_as_the_interval_are_not_enough_for_an_entry() {
    let place = Place::new();
    let indexes = IndexRules { interval_bytes: 115, ..shape().indexes };
    let mut writer = place.create(0, Shape { indexes, ..shape() });
    for batch in batches(0, 6) {
        append(&mut writer, &[batch]);
    }
    sealed(writer);
    assert_eq!(entries(&place, 0), [(5, 230), (9, 460)]);
}

#[test]
fn each_batch_of_an_append_counts_for_itself_and_a_time_that_does_not_rise_gets_no_entry() {
    let place = Place::new();
    let mut writer = place.create(200, shape());
    let of_118: Vec<_> = (200..208).map(|n| batch_of(n, &[5000], VALUE_OF_118, Compression::None)).collect();
    assert!(of_118.iter().all(|batch| batch.len() == 118));
    append(&mut writer, &of_118[..4]);
    append(&mut writer, &of_118[4..]);
    sealed(writer);
    let expected: Vec<_> = (1..8).map(|n| (n, n * 118)).collect();
    assert_eq!(entries(&place, 200), expected);
    let time_index = hex(&place.file(200, SegmentFile::TimeIndex));
    assert_eq!(time_index, format!("{:016x}{:08x}", 5000, 0));
    rebuild(&place, 200, shape().indexes);
    assert_eq!(entries(&place, 200), expected);
    assert_eq!(hex(&place.file(200, SegmentFile::TimeIndex)), time_index);
}

#[test]
fn a_writer_that_goes_on_makes_the_entries_that_one_without_a_break_would_make() {
    for stop in 0..6 {
        let place = Place::new();
        let mut writer = place.create(100, shape());
        for batch in &batches(100, 6)[..stop] {
            append(&mut writer, std::slice::from_ref(batch));
        }
        let marks = writer.write_indexes();
        let known = KnownIndexes {
            offset_entries: marks.offset_entries,
            time_entries: marks.time_entries,
            position: writer.position(),
            max_timestamp: writer.max_timestamp(),
        };
        let next = writer.next_offset();
        drop(writer);
        let dir = Path::new(DIR);
        let mut writer =
            SegmentWriter::resume(&place.env, dir, offset(100), shape(), next, &known, Vec::new()).unwrap();
        for batch in &batches(100, 6)[stop..] {
            append(&mut writer, std::slice::from_ref(batch));
        }
        sealed(writer);
        assert_eq!(hex(&place.file(100, SegmentFile::OffsetIndex)), INDEX, "stopped after {stop}");
        assert_eq!(hex(&place.file(100, SegmentFile::TimeIndex)), TIME_INDEX, "stopped after {stop}");
    }
}

// Row 96.
#[test]
fn messages_without_timestamps_leave_the_time_index_empty() {
    let v0 = |n: u64| -> Vec<u8> {
        let body = [&[0, 0][..], &1u32.to_be_bytes(), b"k", &1u32.to_be_bytes(), b"v"].concat();
        let crc = flate2_crc(&body);
        let size = u32::try_from(body.len() + 4).unwrap();
        [&n.to_be_bytes()[..], &size.to_be_bytes(), &crc.to_be_bytes(), &body].concat()
    };
    let place = Place::new();
    place.plant(0, (0..40).flat_map(v0).collect::<Vec<_>>());
    rebuild(&place, 0, shape().indexes);
    assert!(!entries(&place, 0).is_empty());
    assert_eq!(place.file(0, SegmentFile::TimeIndex).len(), 0);
}

/// CRC-32 as in zip, bit by bit.
fn flate2_crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

// Row 64.
#[test]
fn reading_does_not_move_the_place_of_the_next_append() {
    let place = Place::new();
    let mut writer = place.create(0, shape());
    let all = batches(0, 3);
    for batch in &all {
        append(&mut writer, std::slice::from_ref(batch));
        let mut scan = Scanner::new(Arc::clone(writer.log()), Position::ZERO, writer.position());
        while let Some(header) = scan.peek().unwrap() {
            scan.skip(&header);
        }
    }
    assert_eq!(place.log(0), all.concat());
}

// Rows 63, 68, 69, 124.
#[test]
fn room_allocated_ahead_is_not_read_and_is_cut_off_when_the_segment_ends() {
    let place = Place::new();
    let preallocated = Shape { write_mode: WriteMode::Preallocated, segment_bytes: 5000, ..shape() };
    let mut writer = place.create(0, preallocated);
    assert!((writer.write_mode() == (WriteMode::Preallocated, None)));
    assert_eq!(place.log(0).len(), 0, "nothing is allocated before it is needed");
    append(&mut writer, &batches(0, 2));
    assert_eq!(place.log(0).len(), 4375, "not to the end of the segment, so that a full one has no room left");
    assert_eq!(writer.position(), Position::new(230));
    let (handles, _) = writer.segment().open(&place.env).unwrap();
    let (mut scan, header) = writer.segment().find(&handles, offset(3)).unwrap().unwrap();
    scan.skip(&header);
    assert_eq!(scan.peek().unwrap(), None, "the walk stops at the logical end");
    writer.trim().unwrap();
    writer.finish_indexes().unwrap();
    assert_eq!(place.log(0).len(), 230);
    let known = KnownIndexes { offset_entries: 1, time_entries: 1, position: Position::new(230), max_timestamp: None };
    let dir = Path::new(DIR);
    drop(writer);
    let writer =
        SegmentWriter::resume(&place.env, dir, Offset::ZERO, preallocated, offset(4), &known, Vec::new()).unwrap();
    assert_eq!((writer.position(), writer.next_offset()), (Position::new(230), offset(4)));
}

#[test]
fn rooms_are_allocated_one_behind_the_other_and_a_large_batch_gets_what_it_needs() {
    let place = Place::new();
    let mut writer = place.create(0, Shape { write_mode: WriteMode::Preallocated, ..shape() });
    place.disk.reset_counters();
    for batch in batches(0, 20) {
        append(&mut writer, &[batch]);
    }
    assert_eq!(place.disk.calls(CallKind::Allocate), 1);
    assert_eq!(place.log(0).len(), 16 << 20);
    append(&mut writer, &[batch_of(40, &[2000], 40 << 20, Compression::None)]);
    assert_eq!(place.log(0).len() as u64, writer.position().value());
    append(&mut writer, &[batch(41, &[3000])]);
    assert_eq!(place.disk.calls(CallKind::Allocate), 3);
}

// Row 67.
#[test]
fn a_segment_without_room_ahead_is_not_touched_when_it_is_trimmed() {
    let place = Place::new();
    let mut writer = place.create(0, shape());
    append(&mut writer, &batches(0, 2));
    place.disk.reset_counters();
    writer.trim().unwrap();
    assert_eq!(place.disk.calls(CallKind::SetLen) + place.disk.calls(CallKind::SyncData), 0);
}
