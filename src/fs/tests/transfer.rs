//! The loops around single transfers, on a disk that cuts them short, interrupts them and fills up.

use std::io::{ErrorKind, IoSlice};

use super::*;
use crate::fs::sim::{CallKind, Fault, FaultKind, Rates};
use crate::fs::{read_exact_at, retry, write_all_at, write_all_vectored_at};
use crate::offset::Position;

fn troubled(seed: u64) -> (SimDisk, File) {
    let disk = SimDisk::new(seed);
    disk.set_rates(Rates { short_per_mille: 400, interrupted_per_mille: 300 });
    let file = Env::sim(&disk).open(Path::new("/a"), OpenMode::CreateNew).unwrap();
    (disk, file)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

#[test]
fn short_and_interrupted_writes_are_carried_to_their_end() {
    for seed in 0..50 {
        let (disk, file) = troubled(seed);
        let bytes = pattern(5000);
        write_all_at(&file, &bytes, Position::new(7)).unwrap();
        assert_eq!(disk.read_file("/a").unwrap()[7..], bytes);
        assert!(disk.calls(CallKind::WriteAt) >= 1);
        let mut back = vec![0; 6000];
        assert_eq!(read_exact_at(&file, &mut back, Position::new(7)).unwrap(), 5000);
        assert_eq!(back[..5000], bytes);
    }
}

#[test]
fn vectored_writes_are_carried_to_their_end_across_short_ones_and_empty_parts() {
    for seed in 0..50 {
        let (disk, file) = troubled(seed);
        let bytes = pattern(9000);
        let pieces = [&bytes[..0], &bytes[..1], &bytes[1..1], &bytes[1..4000], &bytes[4000..], &bytes[..0]];
        write_all_vectored_at(&file, &mut pieces.map(IoSlice::new), Position::ZERO).unwrap();
        assert_eq!(disk.read_file("/a").unwrap(), bytes);
    }
}

#[test]
fn more_parts_than_one_call_takes_are_split() {
    for ground in [Ground::real(), Ground::simulated()] {
        let file = ground.create("a");
        let bytes = pattern(3000);
        let mut parts: Vec<IoSlice<'_>> = bytes.chunks(1).map(IoSlice::new).collect();
        write_all_vectored_at(&file, &mut parts, Position::ZERO).unwrap();
        assert_eq!(content(&file), bytes);
    }
}

#[test]
fn an_undisturbed_write_is_one_call_and_an_empty_one_is_none() {
    let disk = SimDisk::new(1);
    let file = Env::sim(&disk).open(Path::new("/a"), OpenMode::CreateNew).unwrap();
    write_all_vectored_at(&file, &mut [IoSlice::new(b""), IoSlice::new(b"ab"), IoSlice::new(b"c")], Position::ZERO)
        .unwrap();
    write_all_at(&file, b"d", Position::new(3)).unwrap();
    write_all_at(&file, b"", Position::ZERO).unwrap();
    write_all_vectored_at(&file, &mut [IoSlice::new(b"")], Position::ZERO).unwrap();
    write_all_vectored_at(&file, &mut [], Position::ZERO).unwrap();
    assert_eq!((disk.calls(CallKind::WriteVectoredAt), disk.calls(CallKind::WriteAt)), (1, 1));
    assert_eq!(disk.read_file("/a").unwrap(), b"abcd");
}

/// Rule 6: what a short write left behind must be known to whoever cuts it off.
#[test]
fn a_failed_write_says_how_much_it_left_in_the_file() {
    let disk = SimDisk::new(1);
    let file = Env::sim(&disk).open(Path::new("/a"), OpenMode::CreateNew).unwrap();
    disk.set_free_space(10);
    let partial = write_all_at(&file, &[1; 30], Position::ZERO).unwrap_err();
    assert_eq!((partial.written, partial.error.kind()), (10, ErrorKind::StorageFull));
    let mut parts = [IoSlice::new(&[2; 4]), IoSlice::new(&[3; 30])];
    let partial = write_all_vectored_at(&file, &mut parts, Position::new(5)).unwrap_err();
    assert_eq!((partial.written, partial.error.kind()), (5, ErrorKind::StorageFull));
    assert_eq!(disk.read_file("/a").unwrap(), [1, 1, 1, 1, 1, 2, 2, 2, 2, 3]);
}

#[test]
fn a_read_gives_the_error_that_the_disk_gave() {
    let disk = SimDisk::new(1);
    disk.write_file("/a", "content");
    let file = Env::sim(&disk).open(Path::new("/a"), OpenMode::Read).unwrap();
    disk.fail(Fault::once(CallKind::ReadAt, 1, FaultKind::Short));
    disk.fail(Fault::once(CallKind::ReadAt, 2, FaultKind::InputOutput));
    let error = read_exact_at(&file, &mut [0; 7], Position::ZERO).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5));
}

#[test]
fn a_repeated_call_ends_with_its_first_answer_that_is_no_interruption() {
    let mut answers = [Err(ErrorKind::Interrupted.into()), Err(ErrorKind::Interrupted.into()), Ok(3)].into_iter();
    assert_eq!(retry(|| answers.next().unwrap()).unwrap(), 3);
    let mut answers = [Err(ErrorKind::Interrupted.into()), Err(ErrorKind::Other.into()), Ok(3)].into_iter();
    assert_eq!(retry(|| answers.next().unwrap()).unwrap_err().kind(), ErrorKind::Other);
}
