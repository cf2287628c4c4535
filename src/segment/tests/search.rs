//! The search for good batches behind bad bytes, and what hostile bytes may make it cost.

use super::*;

fn ranges(found: &Recovered) -> Vec<(u64, u64, u64, u64)> {
    let range = |damaged: &DamagedRange| {
        (damaged.start.value(), damaged.end.value(), damaged.first_offset.value(), damaged.next_offset.value())
    };
    found.damage.iter().map(range).collect()
}

/// A header that claims a batch of this size at offset 4, over nothing.
fn claim(size_bytes: u32) -> Vec<u8> {
    let mut bytes = batch(4, &[50, 51]);
    bytes[8..12].copy_from_slice(&(size_bytes - 12).to_be_bytes());
    bytes.truncate(HEADER_BYTES);
    bytes
}

#[test]
fn a_good_batch_behind_a_bad_one_is_found_and_the_range_between_is_named() {
    let place = Place::new();
    let mut bytes = batches(0, 6).concat();
    bytes[115 + 70] ^= 1;
    bytes[3 * 115 + 9] ^= 0x40;
    let log = place.plant(0, bytes);
    let mut visited = Vec::new();
    let found = recover(&foreign_recovery(&log, 0), |position, _, _| visited.push(position.value())).unwrap();
    assert_eq!(ranges(&found), [(115, 230, 2, 4), (345, 460, 6, 8)]);
    assert_eq!(visited, [0, 230, 460, 575]);
    assert_eq!((found.good_end, found.next_offset), (Position::new(690), offset(12)));
    assert!(found.tail.is_none());
}

#[test]
fn damage_at_the_very_start_and_a_torn_tail_are_told_apart() {
    let place = Place::new();
    let mut bytes = batches(0, 2).concat();
    bytes[..115].fill(0);
    bytes.extend([1, 2, 3]);
    let log = place.plant(0, bytes);
    let found = walk(&foreign_recovery(&log, 0));
    assert_eq!(ranges(&found), [(0, 115, 0, 2)]);
    assert_eq!(found.tail.unwrap().start, Position::new(230));
}

#[test]
fn what_lies_behind_is_not_searched_unless_asked_for() {
    let place = Place::new();
    let mut bytes = batches(0, 3).concat();
    bytes[115 + 70] ^= 1;
    let log = place.plant(0, bytes);
    let found = walk(&recovery(&log, 0));
    assert_eq!(ranges(&found), []);
    assert_eq!(found.tail.unwrap().start, Position::new(115));
}

#[test]
fn a_batch_of_an_earlier_life_is_not_good_whatever_its_checksum_says() {
    let place = Place::new();
    // Behind offset 4 come offsets 0 and 1 once more.
    let log = place.plant(0, [batches(0, 2).concat(), vec![9; 10], batches(0, 1).concat()].concat());
    let found = walk(&foreign_recovery(&log, 0));
    assert_eq!(ranges(&found), []);
    assert_eq!((found.good_end, found.tail.unwrap().unsure), (Position::new(230), false));
}

#[test]
fn a_batch_is_found_wherever_it_lies_among_the_chunks_of_the_search() {
    let place = Place::new();
    for chunk_end in [4 << 10, 20 << 10, 84 << 10, (84 + 256) << 10] {
        for shift in [0, 1, 16, 17, 60, 61, 62, 114, 115, 116] {
            let bad = chunk_end - shift;
            let log = place.plant(0, [vec![0xee; bad], batch(4, &[50, 51])].concat());
            let found = walk(&foreign_recovery(&log, 0));
            assert_eq!(ranges(&found), [(0, bad as u64, 0, 4)], "{chunk_end} - {shift}");
        }
    }
}

#[test]
fn kept_bytes_that_hold_a_good_batch_are_known() {
    let place = Place::new();
    let holds = |bytes: Vec<u8>| {
        let end = Position::new(bytes.len() as u64);
        let log = place.plant(0, bytes);
        holds_a_good_batch(&log, Offset::ZERO, Position::ZERO, end).unwrap()
    };
    assert!(holds(batch(4, &[50, 51])));
    assert!(holds([vec![7; 5000], batch(4, &[50, 51])].concat()));
    assert!(!holds(vec![7; 5000]));
    assert!(!holds(batch(4, &[50, 51])[..114].to_vec()));
}

// Story: each bad range had an allowance of its own, and a file of good batches with headers that claim a megabyte
// between them cost their product: 10 MiB took minutes to open.
#[test]
fn headers_that_claim_megabytes_cost_the_walk_no_more_than_its_allowance() {
    let place = Place::new();
    let claims = claim(1 << 20).repeat(2000);
    let mut bytes: Vec<u8> = (0..12).flat_map(|n| [batch(2 * n, &[1, 2]), claims.clone()].concat()).collect();
    bytes.resize(bytes.len() + (1 << 20), 1);
    let end = bytes.len() as u64;
    let log = place.plant(0, bytes);
    let found = walk(&foreign_recovery(&log, 0));
    assert!(found.tail.unwrap().unsure, "it gave up, and says so");
    let read = place.disk.bytes_read(log.path());
    assert!(read < 8 * end + (80 << 20), "{read} bytes read of {end}");
}

// Story: each of many small bad ranges had 256 KiB read to find the good batch that followed at once.
#[test]
fn many_small_bad_ranges_do_not_each_cost_a_large_read() {
    let place = Place::new();
    let bytes: Vec<u8> = batches(0, 500).into_iter().flat_map(|batch| [batch, vec![5; 20]].concat()).collect();
    let end = bytes.len() as u64;
    let log = place.plant(0, bytes);
    let found = walk(&foreign_recovery(&log, 0));
    assert_eq!(found.damage.len(), 499);
    let read = place.disk.bytes_read(log.path());
    assert!(read < 80 * end, "{read} bytes read of {end}");
}

#[test]
fn many_damaged_ranges_are_found_by_where_they_begin() {
    let range = |n: u64| DamagedRange {
        start: Position::new(n * 10),
        end: Position::new(n * 10 + 5),
        first_offset: offset(n),
        next_offset: offset(n + 1),
        reason: Corruption::Varint,
    };
    let damage = (1..100).map(range).collect();
    let segment = Segment::new(Path::new(DIR), Offset::ZERO, Position::new(10_000), damage);
    assert_eq!(segment.damage_at(Position::new(500)).unwrap().first_offset, offset(50));
    assert!(segment.damage_at(Position::new(501)).is_none());
    assert_eq!(segment.next_damage(Position::new(501)), Some(Position::new(510)));
    assert_eq!(segment.next_damage(Position::new(991)), None);
}
