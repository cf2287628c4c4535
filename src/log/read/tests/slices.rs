//! Slices: their bytes, their bounds, and how long they live.

use std::io::Read;
use std::os::unix::net::UnixStream;

use super::*;
use crate::error::{Corruption, Error};

fn is_shared<T: Send + Sync + 'static>() {}

#[test]
fn what_readers_hand_out_can_go_to_other_threads() {
    is_shared::<Reader>();
    is_shared::<crate::slice::LogSlice>();
    is_shared::<crate::slice::StoredBatch>();
    is_shared::<crate::log::Records>();
    is_shared::<crate::log::RecordsReversed>();
    is_shared::<crate::log::Batches>();
    is_shared::<crate::slice::SliceRecords>();
    is_shared::<crate::slice::SliceBatches>();
}

fn received(slice: &crate::slice::LogSlice) -> Vec<u8> {
    let (sender, mut receiver) = UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut bytes = Vec::new();
            receiver.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let sent = slice.send_to(&sender).unwrap();
        assert_eq!((sent.bytes, sent.would_block), (slice.size_bytes(), false));
        drop(sender);
        reading.join().unwrap()
    })
}

fn stored(fixture: &Fixture, offsets: std::ops::Range<u64>) -> Vec<u8> {
    let inside = |batch: &&Written| batch.base < offsets.end && batch.next > offsets.start;
    fixture.batches.iter().filter(inside).flat_map(|batch| batch.bytes.clone()).collect()
}

// Row 71.
#[test]
fn sending_a_slice_gives_exactly_its_batches_also_where_transfers_are_short() {
    let mut fixture = Fixture::new();
    fixture.fill();
    fixture.disk.set_rates(crate::fs::sim::Rates { short_per_mille: 300, interrupted_per_mille: 200 });
    let reader = fixture.reader();
    for (from, max_bytes) in [(0, 1), (4, 5000), (100, 1 << 20), (121, 1 << 20), (359, 1 << 20)] {
        let slice = reader.read(at(from), max_bytes).unwrap();
        assert_eq!(received(&slice), stored(&fixture, from..slice.next_offset().value()));
    }
    let empty = reader.read(at(fixture.end()), 100).unwrap();
    assert!(received(&empty).is_empty());
}

#[test]
fn a_slice_never_leaves_its_segment_and_reading_on_continues_in_the_next() {
    let mut fixture = Fixture::new();
    fixture.fill();
    let reader = fixture.reader();
    let mut from = at(0);
    let mut slices = Vec::new();
    while from < at(fixture.end()) {
        let slice = reader.read(from, 1 << 30).unwrap();
        from = slice.next_offset();
        slices.push(from.value());
    }
    assert_eq!(slices, [120, 240, 360]);
}

// Row 237.
#[test]
fn one_oversized_batch_is_given_whole() {
    let mut fixture = Fixture::new();
    fixture.append(1, 10);
    fixture.append(3, 1 << 20);
    fixture.append(1, 10);
    let reader = fixture.reader();
    for max_bytes in [0, 1, 70_000] {
        let slice = reader.read(at(2), max_bytes).unwrap();
        assert_eq!(slice.size_bytes(), fixture.batches[1].bytes.len() as u64);
        assert_eq!(pairs(slice.records()), fixture.expected(2..4));
        assert_eq!(slice.next_offset(), at(4));
    }
    assert_eq!(pairs(reader.records(..).unwrap()), fixture.records);
    assert_eq!(reader.records_reversed(..).unwrap().count(), 5);
}

// Row 62.
#[test]
fn a_slice_keeps_its_end_while_the_log_grows() {
    let mut fixture = Fixture::new();
    fixture.append(2, 10);
    let slice = fixture.reader().read(at(0), 1 << 20).unwrap();
    fixture.append(2, 10);
    assert_eq!(pairs(slice.records()), fixture.expected(0..2));
    assert_eq!(slice.batches().count(), 1);
    assert_eq!(received(&slice), fixture.batches[0].bytes);
}

#[test]
fn a_slice_outlives_its_segment_and_its_log() {
    let mut fixture = Fixture::new();
    fixture.fill();
    let slice = fixture.reader().read(at(31), 10_000).unwrap();
    fixture.disk.remove(fixture.path(&fixture.batches[0]));
    fixture.core.set_closed();
    let copy = slice.clone();
    let expected = fixture.expected(31..slice.next_offset().value());
    let bytes = stored(&fixture, 31..slice.next_offset().value());
    drop(fixture);
    assert_eq!(pairs(slice.records()), expected);
    assert_eq!(received(&copy), bytes);
}

// Row 71.
#[test]
fn a_file_that_became_shorter_is_an_error_of_the_slice() {
    let mut fixture = Fixture::new();
    fixture.append(2, 1000);
    let slice = fixture.reader().read(at(0), 1 << 20).unwrap();
    fixture.disk.write_file(fixture.path(&fixture.batches[0]), &fixture.batches[0].bytes[..100]);
    let (sender, _receiver) = UnixStream::pair().unwrap();
    let shortened = |error: &Error| matches!(error, Error::Corrupt { reason: Corruption::Shortened { .. }, .. });
    assert!(shortened(&slice.send_to(&sender).unwrap_err()));
    let read: Vec<_> = slice.records().collect();
    assert!(matches!(&read[..], [Err(error)] if shortened(error)));
}

#[test]
fn a_receiver_that_does_not_block_takes_what_it_can() {
    let mut fixture = Fixture::new();
    fixture.append(1, 4 << 20);
    let slice = fixture.reader().read(at(0), 1).unwrap();
    let (sender, _receiver) = UnixStream::pair().unwrap();
    sender.set_nonblocking(true).unwrap();
    let sent = slice.send_to(&sender).unwrap();
    assert!(sent.would_block && sent.bytes < slice.size_bytes());
}

/// Takes everything that lies in a socket.
fn drain(receiver: &mut UnixStream, into: &mut Vec<u8>) {
    receiver.set_nonblocking(true).unwrap();
    let ended = receiver.read_to_end(into).unwrap_err();
    assert_eq!(ended.kind(), std::io::ErrorKind::WouldBlock);
}

// Row 71.
#[test]
fn sending_goes_on_where_a_receiver_had_enough_until_all_was_sent_once() {
    let mut fixture = Fixture::new();
    fixture.append(1, 4 << 20);
    fixture.append(2, 1000);
    fixture.disk.set_rates(crate::fs::sim::Rates { short_per_mille: 300, interrupted_per_mille: 200 });
    let slice = fixture.reader().read(at(0), 1 << 30).unwrap();
    let (sender, mut receiver) = UnixStream::pair().unwrap();
    sender.set_nonblocking(true).unwrap();
    let (mut sent_bytes, mut stops, mut received) = (0, 0, Vec::new());
    while sent_bytes < slice.size_bytes() {
        let sent = slice.send_to_from(&sender, sent_bytes).unwrap();
        sent_bytes += sent.bytes;
        assert_eq!(sent.would_block, sent_bytes < slice.size_bytes());
        stops += u32::from(sent.would_block);
        drain(&mut receiver, &mut received);
        assert_eq!(received.len() as u64, sent_bytes);
    }
    assert!(stops > 1, "the receiver had enough {stops} times");
    assert!(received == stored(&fixture, 0..3), "the bytes are the stored ones");
}

#[test]
fn sending_begins_at_any_byte_of_a_slice_and_nothing_is_sent_from_its_end_on() {
    let mut fixture = Fixture::new();
    fixture.append(2, 10);
    fixture.append(3, 10);
    fixture.append(1, 10);
    // The last batch is the log's, but not the slice's.
    let expected = stored(&fixture, 2..5);
    let slice = fixture.reader().read(at(3), expected.len() as u64).unwrap();
    let size = slice.size_bytes();
    let (sender, mut receiver) = UnixStream::pair().unwrap();
    for skip_bytes in (0..=size).chain([size + 1, u64::MAX]) {
        let sent = slice.send_to_from(&sender, skip_bytes).unwrap();
        assert_eq!((sent.bytes, sent.would_block), (size.saturating_sub(skip_bytes), false));
        let mut received = Vec::new();
        drain(&mut receiver, &mut received);
        let from = usize::try_from(skip_bytes.min(size)).unwrap();
        assert_eq!(received, expected[from..]);
    }
    let empty = fixture.reader().read(at(6), 100).unwrap();
    assert_eq!(empty.send_to_from(&sender, 7).unwrap().bytes, 0);
}

#[test]
fn a_receiver_that_left_in_the_middle_of_a_slice_is_told_from_a_failure() {
    let mut fixture = Fixture::new();
    fixture.append(1, 4 << 20);
    let slice = fixture.reader().read(at(0), 1).unwrap();
    let (sender, receiver) = UnixStream::pair().unwrap();
    sender.set_nonblocking(true).unwrap();
    let sent = slice.send_to(&sender).unwrap();
    assert!(sent.would_block && slice.send_to_from(&sender, sent.bytes).unwrap().bytes == 0);
    drop(receiver);
    assert!(matches!(slice.send_to_from(&sender, sent.bytes), Err(Error::PeerClosed)));
}

#[test]
fn a_receiver_that_is_gone_is_told_from_a_failure() {
    let mut fixture = Fixture::new();
    fixture.append(1, 1000);
    let slice = fixture.reader().read(at(0), 1).unwrap();
    let (sender, receiver) = UnixStream::pair().unwrap();
    drop(receiver);
    assert!(matches!(slice.send_to(&sender), Err(Error::PeerClosed)));
}

#[test]
fn a_stored_batch_says_what_its_header_says() {
    let mut fixture = Fixture::new();
    fixture.append(2, 10);
    fixture.append(3, 10);
    let batch = fixture.reader().batches(at(4)..).unwrap().next().unwrap().unwrap();
    assert_eq!((batch.base_offset(), batch.last_offset(), batch.next_offset()), (at(2), at(4), at(5)));
    assert_eq!((batch.magic(), batch.record_count(), batch.leader_epoch()), (2, Some(3), -1));
    assert_eq!((batch.producer_id(), batch.producer_epoch(), batch.base_sequence()), (-1, -1, -1));
    assert_eq!(batch.base_timestamp(), Some(Timestamp::from_millis(1002)));
    assert_eq!(batch.max_timestamp(), Some(Timestamp::from_millis(1004)));
    assert_eq!(batch.timestamp_type(), Some(crate::record::TimestampType::CreateTime));
    assert!(!batch.is_control() && !batch.is_transactional() && batch.delete_horizon().is_none());
    assert_eq!(batch.as_bytes().len() as u64, batch.size_bytes());
    assert_eq!(batch.path(), Path::new(&fixture.path(&fixture.batches[0])));
}

// Row 71.
#[test]
fn the_simulated_disk_takes_a_change_of_bytes_on_their_way_for_what_it_is() {
    let mut fixture = Fixture::new();
    fixture.append(1, 1000);
    let slice = fixture.reader().read(at(0), 1).unwrap();
    let path = fixture.path(&fixture.batches[0]);
    let (sender, _receiver) = UnixStream::pair().unwrap();
    let sent = slice.send_to(&sender).unwrap().bytes;
    let file = fixture.core.env().open(Path::new(&path), crate::fs::OpenMode::ReadWrite).unwrap();
    let changes: [&dyn Fn(); 2] = [&|| file.set_len(sent - 1).unwrap(), &|| {
        file.write_at(b"x", crate::offset::Position::new(sent - 1)).unwrap();
    }];
    for change in changes {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(change)).is_err();
        assert!(panicked, "what was sent has changed");
        fixture.disk.write_file(&path, fixture.batches[0].bytes.clone());
        assert_eq!(received(&slice), fixture.batches[0].bytes);
    }
    fixture.append(1, 1000);
    fixture.disk.drain();
    file.set_len(0).unwrap();
}
