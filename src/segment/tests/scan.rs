//! The scanner: how much it reads, what it holds, where it ends.

use super::*;

fn scanner(log: &Arc<LogFile>, from: u64, end: u64) -> Scanner {
    Scanner::new(Arc::clone(log), Position::new(from), Position::new(end))
}

/// The positions of all batches that a scan finds, each read whole.
fn positions(scan: &mut Scanner) -> Vec<u64> {
    let mut found = Vec::new();
    while let Some(header) = scan.peek().unwrap() {
        found.push(scan.position().value());
        assert_eq!(scan.batch(&header).unwrap().len() as u64, header.size_bytes);
        scan.skip(&header);
    }
    found
}

#[test]
fn chunks_grow_while_batches_are_read_one_after_the_other() {
    let place = Place::new();
    let bytes = batches(0, 20_000).concat();
    let end = bytes.len() as u64;
    let log = place.plant(0, bytes);
    place.disk.reset_counters();
    let mut scan = scanner(&log, 0, end);
    scan.peek().unwrap().unwrap();
    assert_eq!(place.disk.bytes_read(log.path()), 8 << 10, "a lookup costs one small read");
    assert_eq!(positions(&mut scan), (0..20_000).map(|n| n * 115).collect::<Vec<_>>());
    assert_eq!(place.disk.bytes_read(log.path()), end, "no byte is read twice");
    assert!(place.disk.calls(CallKind::ReadAt) < 16, "{} reads", place.disk.calls(CallKind::ReadAt));
}

// Row 126.
#[test]
fn a_batch_larger_than_a_chunk_is_read_whole_and_its_neighbours_too() {
    let place = Place::new();
    let large = batch_of(2, &[7], 3 << 20, Compression::None);
    let bytes = [batch(0, &[1, 2]), large.clone(), batch(3, &[8, 9])].concat();
    let log = place.plant(0, bytes.clone());
    let mut scan = scanner(&log, 0, bytes.len() as u64);
    let behind = 115 + large.len() as u64;
    assert_eq!(positions(&mut scan), [0, 115, behind]);
    let mut scan = scanner(&log, 115, behind);
    let header = scan.peek().unwrap().unwrap();
    assert_eq!(scan.batch(&header).unwrap(), large);
}

#[test]
fn transfers_that_are_short_or_interrupted_change_nothing_of_what_is_read() {
    let place = Place::new();
    let bytes = batches(0, 500).concat();
    let log = place.plant(0, bytes.clone());
    place.disk.set_rates(crate::fs::sim::Rates { short_per_mille: 300, interrupted_per_mille: 300 });
    assert_eq!(positions(&mut scanner(&log, 0, bytes.len() as u64)).len(), 500);
}

// Rows 41, 44, 72.
#[test]
fn part_of_a_batch_at_the_end_is_no_batch_and_stays_in_the_file() {
    let place = Place::new();
    let whole = batches(0, 2).concat();
    for cut in 116..230 {
        let log = place.plant(0, &whole[..cut]);
        let mut scan = scanner(&log, 0, cut as u64);
        let first = scan.peek().unwrap().unwrap();
        scan.skip(&first);
        assert!(matches!(scan.peek(), Err(Error::Corrupt { position, .. }) if position == Position::new(115)), "{cut}");
        assert_eq!(log.len().unwrap(), cut as u64);
    }
}

#[test]
fn a_file_shorter_than_promised_is_told_from_its_end() {
    let place = Place::new();
    let whole = batches(0, 2).concat();
    for cut in [0, 1, 60, 61, 114] {
        let log = place.plant(0, &whole[..115 + cut]);
        let mut scan = scanner(&log, 0, 230);
        let first = scan.peek().unwrap().unwrap();
        scan.skip(&first);
        let outcome = match scan.peek() {
            Ok(Some(header)) => scan.batch(&header).map(drop),
            other => other.map(drop),
        };
        let Err(Error::Corrupt { position, reason, .. }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(position, Position::new(115));
        assert_eq!(reason, Corruption::Shortened { length: 115 + cut as u64, durable: 230 });
    }
}

// Row 63.
#[test]
fn nothing_at_or_behind_the_end_is_read_until_the_end_moves() {
    let place = Place::new();
    let bytes = batches(0, 3).concat();
    let log = place.plant(0, bytes);
    place.disk.set_tracing(true);
    let mut scan = scanner(&log, 0, 115);
    assert_eq!(positions(&mut scan), [0]);
    scan.extend_to(Position::new(230));
    assert_eq!(positions(&mut scan), [115]);
    assert_eq!(place.disk.bytes_read(log.path()), 230);
}

// Row 43.
#[test]
fn headers_are_read_without_the_records_behind_them() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..8).flat_map(|n| batch_of(n, &[1], 1 << 20, Compression::None)).collect();
    let end = bytes.len() as u64;
    let log = place.plant(0, bytes);
    place.disk.reset_counters();
    let mut scan = scanner(&log, 0, end);
    let mut found = 0;
    while let Some(header) = scan.peek().unwrap() {
        scan.skip(&header);
        found += 1;
    }
    assert_eq!(found, 8);
    assert!(place.disk.bytes_read(log.path()) <= 8 * (8 << 10));
}

// Story: the room for a read was filled with zeros before the read; when the read failed and the scan was asked again,
// the zeros passed for what the file holds.
#[test]
fn a_read_that_failed_leaves_nothing_behind_that_could_pass_for_the_file() {
    let place = Place::new();
    let bytes = batches(0, 200).concat();
    let end = bytes.len() as u64;
    let log = place.plant(0, bytes);
    let mut scan = scanner(&log, 0, end);
    place.disk.fail(Fault::once(CallKind::ReadAt, 2, FaultKind::InputOutput));
    let mut failures = 0;
    let mut found = 0;
    loop {
        match scan.peek() {
            Ok(None) => break,
            Ok(Some(header)) => match scan.batch(&header) {
                Ok(_) => {
                    scan.skip(&header);
                    found += 1;
                }
                Err(_) => failures += 1,
            },
            Err(Error::Io { .. }) => failures += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((found, failures), (200, 1));
}

#[test]
fn batches_that_are_kept_keep_one_chunk_and_not_every_chunk() {
    let place = Place::new();
    let bytes = batches(0, 20_000).concat();
    let log = place.plant(0, bytes.clone());
    let mut scan = scanner(&log, 0, bytes.len() as u64);
    let mut kept = Vec::new();
    while let Some(header) = scan.peek().unwrap() {
        let at = usize::try_from(scan.position().value()).unwrap();
        let batch = scan.shared_batch(&header).unwrap();
        assert_eq!(&batch[..], &bytes[at..at + 115]);
        if at % 10_000 < 115 {
            kept.push((at, batch));
        }
        scan.skip(&header);
    }
    for (at, batch) in &kept {
        assert_eq!(&batch[..], &bytes[*at..at + 115], "it stays as it was");
    }
    let in_chunks = kept.iter().filter(|(_, batch)| batch.memory_bytes() > 115).count();
    assert!(kept.len() > 200 && in_chunks * 50 < kept.len(), "{in_chunks} of {}", kept.len());
}
