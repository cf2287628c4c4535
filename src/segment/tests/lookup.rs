//! Lookup by offset in one segment, and what it knows of its times.

use super::*;

/// A sealed segment of these batches, opened anew.
fn sealed(place: &Place, base: u64, batches: &[Vec<u8>]) -> Segment {
    let mut writer = place.create(base, shape());
    for batch in batches {
        append(&mut writer, std::slice::from_ref(batch));
    }
    let end = writer.position();
    writer.seal().sync().unwrap();
    Segment::new(Path::new(DIR), offset(base), end, Vec::new())
}

fn found_base(place: &Place, segment: &Segment, target: u64) -> Option<u64> {
    let (handles, _) = segment.open(&place.env).unwrap();
    let found = segment.find(&handles, offset(target)).unwrap();
    found.map(|(_, header)| header.base_offset().unwrap().value())
}

// Rows 66, 107, 108, 109, 110.
#[test]
fn an_offset_leads_to_the_first_batch_that_ends_at_it_or_behind_it() {
    let place = Place::new();
    let empty = sealed(&place, 50, &[]);
    assert_eq!(found_base(&place, &empty, 50), None);
    // Offsets 100 to 107, a gap, 120 to 123.
    let segment = sealed(&place, 100, &[batches(100, 4), batches(120, 2)].concat());
    for (target, expected) in
        [(0, 100), (100, 100), (101, 100), (102, 102), (107, 106), (108, 120), (119, 120), (121, 120), (123, 122)]
    {
        assert_eq!(found_base(&place, &segment, target), Some(expected), "{target}");
    }
    assert_eq!(found_base(&place, &segment, 124), None);
}

// Row 119.
#[test]
fn garbage_in_an_index_makes_a_lookup_slower_and_nothing_else() {
    let place = Place::new();
    let all = batches(100, 30);
    let segment = sealed(&place, 100, &all);
    let index = path(Path::new(DIR), offset(100), SegmentFile::OffsetIndex);
    let sound = place.file(100, SegmentFile::OffsetIndex);
    let entry = |relative: u32, position: u32| [relative.to_be_bytes(), position.to_be_bytes()].concat();
    let garbage = [
        Vec::new(),
        vec![0xa5; 80],
        vec![0; 800],
        sound[..sound.len() - 3].to_vec(),
        // Positions in the middle of a batch, of a later batch, behind the end.
        entry(1, 100),
        entry(1, 2300),
        entry(1, 1 << 30),
        [entry(3, 230), entry(5, 115)].concat(),
    ];
    for bytes in garbage {
        place.disk.write_file(&index, bytes.clone());
        segment.close_handles();
        for target in 100..160 {
            assert_eq!(found_base(&place, &segment, target), Some(target / 2 * 2), "{target} with {bytes:02x?}");
        }
        assert_eq!(found_base(&place, &segment, 160), None);
    }
    place.disk.remove(&index);
    segment.close_handles();
    assert_eq!(found_base(&place, &segment, 131), Some(130));
}

// Before Kafka 4.0 an entry named the last offset of an append and the position of its first batch.
#[test]
fn a_coarse_entry_of_an_older_kafka_leads_to_the_right_batch() {
    let place = Place::new();
    let segment = sealed(&place, 200, &batches(200, 8));
    let index = path(Path::new(DIR), offset(200), SegmentFile::OffsetIndex);
    place.disk.write_file(&index, [7_u32.to_be_bytes(), 115_u32.to_be_bytes()].concat());
    segment.close_handles();
    for target in 200..216 {
        assert_eq!(found_base(&place, &segment, target), Some(target / 2 * 2));
    }
}

#[test]
fn a_lookup_reads_one_chunk_near_the_entry() {
    let place = Place::new();
    let segment = sealed(&place, 0, &batches(0, 120));
    found_base(&place, &segment, 0);
    place.disk.reset_counters();
    assert_eq!(found_base(&place, &segment, 201), Some(200));
    assert!(place.disk.bytes_read(segment.log_path()) <= 8 << 10);
    assert_eq!(place.disk.calls(CallKind::ReadAt), 1);
}

#[test]
fn what_is_not_published_is_not_found() {
    let place = Place::new();
    let mut writer = place.create(0, shape());
    append(&mut writer, &batches(0, 1));
    let facts = BatchFacts::of(&header(&batch(2, &[5, 6])));
    writer.append(&mut [IoSlice::new(&batch(2, &[5, 6]))], &[facts]).unwrap();
    assert_eq!(found_base(&place, writer.segment(), 2), None);
    writer.segment().publish(writer.position());
    assert_eq!(found_base(&place, writer.segment(), 2), Some(2));
}

#[test]
fn a_damaged_range_answers_for_its_own_offsets_and_is_passed_over_for_later_ones() {
    let place = Place::new();
    let mut bytes = batches(0, 4).concat();
    bytes[115..230].fill(0xff);
    let log = place.plant(0, bytes);
    let damage = walk(&foreign_recovery(&log, 0)).damage;
    let segment = Segment::unvouched(&Path::new(DIR).into(), Offset::ZERO, Position::new(460), damage);
    let (handles, _) = segment.open(&place.env).unwrap();
    assert_eq!(found_base(&place, &segment, 1), Some(0));
    for target in [2, 3] {
        let error = segment.find(&handles, offset(target)).unwrap_err();
        assert!(matches!(error, Error::Corrupt { position, .. } if position == Position::new(115)), "{error:?}");
    }
    assert_eq!(found_base(&place, &segment, 4), Some(4));
    assert_eq!(found_base(&place, &segment, 8), None);
}

/// Six batches, of which the third has the largest time and the last two none that is larger.
fn unordered() -> Vec<Vec<u8>> {
    let times: [&[i64]; 6] = [&[500, 100], &[90, 80], &[700, 60], &[50, 40], &[30, 600], &[1, 20]];
    times.iter().zip(0..).map(|(times, n)| batch(2 * n, times)).collect()
}

fn floor(place: &Place, segment: &Segment, millis: i64) -> Option<(i64, u64)> {
    let (handles, _) = segment.open(&place.env).unwrap();
    segment.time_floor(&handles, time(millis)).map(|entry| (entry.timestamp.as_millis(), entry.offset.value()))
}

#[test]
fn the_times_of_a_segment_that_rise_to_its_end_are_known_from_its_index_alone() {
    let place = Place::new();
    let segment = sealed(&place, 0, &batches(0, 120));
    assert_eq!(segment.time_bound(), None);
    place.disk.reset_counters();
    assert_eq!(segment.learn_time_bound(&place.env, Some(offset(240))).unwrap(), time(2191));
    assert_eq!(place.disk.bytes_read(segment.log_path()), 0);
    assert_eq!(segment.time_bound(), Some(time(2191)));
    assert!(segment.handles.read().is_none(), "nothing stays open for it");
}

// Story: on a full disk a segment's last index entries are left out, which must not hide the records behind them.
#[test]
fn the_last_entry_of_a_time_index_is_believed_no_further_than_its_offset() {
    let place = Place::new();
    for (times, largest) in [(batches(0, 30), 1291), (unordered(), 700)] {
        let sound = sealed(&place, 0, &times);
        let next = Some(offset(2 * times.len() as u64));
        let index = place.file(0, SegmentFile::TimeIndex);
        for len in 0..=index.len() {
            place.disk.write_file(path(Path::new(DIR), offset(0), SegmentFile::TimeIndex), &index[..len]);
            for next in [next, None] {
                let segment = Segment::new(Path::new(DIR), offset(0), sound.published(), Vec::new());
                assert_eq!(segment.learn_time_bound(&place.env, next).unwrap(), time(largest), "{len} bytes");
            }
        }
        let bare = Segment::unvouched(&Path::new(DIR).into(), offset(0), sound.published(), Vec::new());
        assert_eq!(bare.learn_time_bound(&place.env, next).unwrap(), time(largest));
        for kind in [SegmentFile::Log, SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
            place.disk.remove(path(Path::new(DIR), offset(0), kind));
        }
    }
}

#[test]
fn the_writer_keeps_the_bound_on_times_in_step_with_what_it_publishes() {
    let place = Place::new();
    let mut writer = place.create(0, shape());
    assert_eq!(writer.segment().time_bound(), Some(NO_TIMESTAMP));
    let mut largest = -1;
    for batch in unordered() {
        append(&mut writer, std::slice::from_ref(&batch));
        largest = largest.max(header(&batch).max_timestamp);
        assert_eq!(writer.segment().time_bound(), Some(time(largest)));
    }
}

// An entry (T, O) says that nothing up to O is later than T, not that the record at O has that time.
// Row 116.
#[test]
fn a_search_for_a_time_begins_at_the_last_entry_before_it() {
    let place = Place::new();
    // Times 1000, 1001, 1010, 1011, … 1290, 1291 at offsets 100 to 159, an entry for each but the first.
    let segment = sealed(&place, 100, &batches(100, 30));
    for (millis, expected) in [
        (i64::MIN, None),
        (0, None),
        (1011, None),
        (1012, Some((1011, 103))),
        (1021, Some((1011, 103))),
        (1151, Some((1141, 129))),
        (1152, Some((1151, 131))),
        (i64::MAX, Some((1291, 159))),
    ] {
        assert_eq!(floor(&place, &segment, millis), expected, "{millis}");
    }
}
