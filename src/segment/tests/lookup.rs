//! Lookup by offset and by time in one segment.

use super::*;

const LIMITS: DecodeLimits = DecodeLimits { max_decompressed_bytes: 1 << 20 };

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

/// Offset and time of the first record with a time of `millis` or later.
fn at_time(place: &Place, segment: &Segment, millis: i64, from: u64) -> Option<(u64, i64)> {
    let (handles, _) = segment.open(&place.env).unwrap();
    let found = segment.find_timestamp(&handles, time(millis), offset(from), LIMITS).unwrap();
    found.map(|found| (found.offset.value(), found.timestamp.as_millis()))
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
    let facts = facts_of(&header(&batch(2, &[5, 6])));
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
    let segment = Segment::unvouched(Path::new(DIR), Offset::ZERO, Position::new(460), damage);
    let (handles, _) = segment.open(&place.env).unwrap();
    assert_eq!(found_base(&place, &segment, 1), Some(0));
    for target in [2, 3] {
        let error = segment.find(&handles, offset(target)).unwrap_err();
        assert!(matches!(error, Error::Corrupt { position, .. } if position == Position::new(115)), "{error:?}");
    }
    assert_eq!(found_base(&place, &segment, 4), Some(4));
    assert_eq!(found_base(&place, &segment, 8), None);
}

// Row 116.
#[test]
fn a_time_leads_to_the_first_record_that_has_it_or_a_later_one() {
    let place = Place::new();
    // Times 1000, 1001, 1010, 1011, … 1290, 1291 at offsets 100 to 159.
    let segment = sealed(&place, 100, &batches(100, 30));
    for (millis, expected) in [
        (0, Some((100, 1000))),
        (1000, Some((100, 1000))),
        (1001, Some((101, 1001))),
        (1002, Some((102, 1010))),
        (1151, Some((131, 1151))),
        (1152, Some((132, 1160))),
        (1291, Some((159, 1291))),
        (1292, None),
        (i64::MAX, None),
        (i64::MIN, Some((100, 1000))),
    ] {
        assert_eq!(at_time(&place, &segment, millis, 0), expected, "{millis}");
    }
}

// Row 120.
#[test]
fn a_time_is_found_without_an_index_too() {
    let place = Place::new();
    let indexed = sealed(&place, 100, &batches(100, 30));
    let bare = Segment::unvouched(Path::new(DIR), offset(100), indexed.published(), Vec::new());
    place.disk.write_file(path(Path::new(DIR), offset(100), SegmentFile::OffsetIndex), Vec::new());
    for millis in 990..1300 {
        assert_eq!(at_time(&place, &indexed, millis, 0), at_time(&place, &bare, millis, 0), "{millis}");
    }
}

// Story: a time that an entry names exactly was searched for from the segment's start on.
#[test]
fn a_time_that_the_index_names_is_searched_for_from_the_entry_before() {
    let place = Place::new();
    let segment = sealed(&place, 0, &batches(0, 120));
    at_time(&place, &segment, 0, 0);
    for (millis, expected) in [(2150, (230, 2150)), (2151, (231, 2151)), (2152, (232, 2160))] {
        place.disk.reset_counters();
        assert_eq!(at_time(&place, &segment, millis, 0), Some(expected));
        assert!(place.disk.bytes_read(segment.log_path()) <= 8 << 10, "{millis}");
    }
}

// An entry (T, O) says that nothing up to O is later than T, not that the record at O has that time.
#[test]
fn times_out_of_order_are_found_in_the_order_of_the_log() {
    let place = Place::new();
    let times: [&[i64]; 6] = [&[500, 100], &[90, 80], &[700, 60], &[50, 40], &[30, 600], &[800, 20]];
    let all: Vec<_> = times.iter().zip(0..).map(|(times, n)| batch(2 * n, times)).collect();
    let segment = sealed(&place, 0, &all);
    let flat: Vec<i64> = times.concat();
    for target in 0..=801 {
        for from in 0..12 {
            let expected = (from..12).find(|&n| flat[n] >= target).map(|n| (n as u64, flat[n]));
            assert_eq!(at_time(&place, &segment, target, from as u64), expected, "{target} from {from}");
        }
    }
}

// Row 70.
#[test]
fn a_search_by_time_begins_at_the_offset_that_is_asked_for() {
    let place = Place::new();
    let segment = sealed(&place, 0, &batches(0, 20));
    assert_eq!(at_time(&place, &segment, 0, 7), Some((7, 1031)));
    assert_eq!(at_time(&place, &segment, 1020, 35), Some((35, 1171)));
    assert_eq!(at_time(&place, &segment, 0, 40), None);
}

#[cfg(feature = "lz4")]
#[test]
fn a_record_inside_a_compressed_batch_is_found_by_its_time() {
    let place = Place::new();
    let all: Vec<_> = (0..8_i64)
        .map(|n| {
            let times = [0, 3, 1, 5].map(|millis| 10 * n + millis);
            batch_of(4 * n.cast_unsigned(), &times, 40, Compression::Lz4)
        })
        .collect();
    let segment = sealed(&place, 0, &all);
    assert_eq!(at_time(&place, &segment, 52, 0), Some((21, 53)));
    assert_eq!(at_time(&place, &segment, 54, 0), Some((23, 55)));
    assert_eq!(at_time(&place, &segment, 56, 0), Some((24, 60)));
}

// Row 70.
#[test]
fn messages_of_format_0_have_no_time_and_are_never_found_by_one() {
    let place = Place::new();
    let v0 = [
        &[0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 16, 0x1f, 0xec, 0xd7, 0x0a, 0, 0, 0, 0, 0, 1][..],
        b"k",
        &[0, 0, 0, 1],
        b"v",
    ]
    .concat();
    place.plant(5, v0);
    let segment = Segment::unvouched(Path::new(DIR), offset(5), Position::new(28), Vec::new());
    assert_eq!(at_time(&place, &segment, i64::MIN, 0), None);
    assert_eq!(at_time(&place, &segment, -1, 0), None);
}
