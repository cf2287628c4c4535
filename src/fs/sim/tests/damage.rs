//! Damage that nobody reports, each kind where it should be and nowhere else.

use super::*;
use crate::fs::sim::{CallKind, Fault, FaultKind};

const SECTOR: u64 = 512;

/// Two synced files of four sectors, `a` of letters and `b` of digits, each sector of its own.
fn two_files() -> (SimDisk, Env) {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", sectors("abcd"));
    disk.write_file("/d/b", sectors("0123"));
    (disk, env)
}

fn sectors(letters: &str) -> Vec<u8> {
    letters.bytes().flat_map(|letter| [letter; 512]).collect()
}

/// A file's sectors by their first bytes; every sector must be of one piece.
fn summary(disk: &SimDisk, path: &str) -> String {
    let content = disk.read_file(path).expect("a file");
    let letter = |sector: &[u8]| {
        assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector of {path} is torn");
        if sector[0] == 0 { '.' } else { char::from(sector[0]) }
    };
    content.chunks(512).map(letter).collect()
}

fn read(file: &File) -> Vec<u8> {
    let mut content = vec![0; 4 * 512];
    let read = crate::fs::read_exact_at(file, &mut content, Position::ZERO).expect("a read");
    content.truncate(read);
    content
}

#[test]
fn a_flipped_bit_is_seen_at_once_and_after_a_crash() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", vec![0; 4]);
    let file = open(&env, "/d/a", OpenMode::Read);
    disk.flip_bit("/d/a", 2, 7);
    let mut found = [0; 4];
    file.read_at(&mut found, Position::ZERO).unwrap();
    assert_eq!(found, [0, 0, 128, 0]);
    assert_eq!(disk.crash(CrashStrength::Strict).read_file("/d/a").unwrap(), found);
}

#[test]
fn a_sector_of_zeros_is_seen_at_once_and_after_a_crash() {
    let (disk, env) = two_files();
    disk.zero_sector("/d/a", 2);
    assert_eq!(read(&open(&env, "/d/a", OpenMode::Read)), sectors("ab\0d"));
    assert_eq!(summary(&disk.crash(CrashStrength::Strict), "/d/a"), "ab.d");
    assert_eq!(summary(&disk, "/d/b"), "0123");
}

#[test]
fn a_write_that_the_device_lost_is_seen_until_the_power_goes_though_the_sync_said_yes() {
    let (disk, env) = two_files();
    let file = open(&env, "/d/a", OpenMode::ReadWrite);
    disk.lose_write("/d/a", 1);
    write(&file, &sectors("XYZ"), 0);
    file.sync_data().unwrap();
    assert_eq!(summary(&disk, "/d/a"), "XYZd");
    let killed = disk.image(CrashStrength::Kill, |_, _| 0);
    assert_eq!(summary(&killed, "/d/a"), "XYZd", "the page cache outlives the process");
    assert_eq!(summary(&keep_everything(&killed, CrashStrength::Strict), "/d/a"), "XbZd");
    write(&file, &sectors("V"), SECTOR);
    file.sync_data().unwrap();
    assert_eq!(summary(&keep_nothing(&disk, CrashStrength::Strict), "/d/a"), "XVZd", "it strikes once");
}

#[test]
fn a_lost_write_behind_the_end_leaves_zeros() {
    let (disk, env) = two_files();
    let file = open(&env, "/d/a", OpenMode::ReadWrite);
    disk.lose_write("/d/a", 4);
    write(&file, &sectors("ef"), 4 * SECTOR);
    file.sync_data().unwrap();
    assert_eq!(summary(&keep_nothing(&disk, CrashStrength::Strict), "/d/a"), "abcd.f");
}

#[test]
fn a_misdirected_write_harms_two_places_once_the_power_goes() {
    for (to, to_sector, expected) in [("/d/b", 3, ("XbZd", "012Y")), ("/d/a", 3, ("XbZY", "0123"))] {
        let (disk, env) = two_files();
        let file = open(&env, "/d/a", OpenMode::ReadWrite);
        disk.misdirect_write("/d/a", 1, to, to_sector);
        write(&file, &sectors("XYZ"), 0);
        file.sync_data().unwrap();
        assert_eq!((summary(&disk, "/d/a"), summary(&disk, "/d/b")), ("XYZd".into(), "0123".into()));
        let cut = disk.crash(CrashStrength::Ordered);
        assert_eq!((summary(&cut, "/d/a").as_str(), summary(&cut, "/d/b").as_str()), expected);
    }
}

#[test]
fn a_stale_sector_is_read_as_often_as_was_said_and_is_on_the_disk_all_the_same() {
    let (disk, env) = two_files();
    let file = open(&env, "/d/a", OpenMode::ReadWrite);
    disk.read_stale("/d/a", 1, 2);
    write(&file, &sectors("XYZ"), 0);
    file.sync_data().unwrap();
    for expected in ["XbZd", "XbZd", "XYZd"] {
        assert_eq!(read(&file), sectors(expected));
    }
    let mut within = [0; 10];
    disk.read_stale("/d/a", 2, 1);
    write(&file, b"0123456789", 2 * SECTOR + 50);
    file.read_at(&mut within, Position::new(2 * SECTOR + 50)).unwrap();
    assert_eq!(within, [b'Z'; 10], "a part of a sector, too");
    assert!(disk.crash(CrashStrength::Strict).read_file("/d/a").unwrap().starts_with(&sectors("XY")));
}

#[test]
fn a_flipped_bit_in_a_transfer_is_one_bit_and_stays_where_it_was_written() {
    let (disk, env) = two_files();
    let file = open(&env, "/d/a", OpenMode::ReadWrite);
    let differing = |one: &[u8], other: &[u8]| -> u32 {
        one.iter().zip(other).map(|(one, other)| (one ^ other).count_ones()).sum()
    };
    disk.fail(Fault::once(CallKind::ReadAt, 1, FaultKind::FlippedBit));
    assert_eq!(differing(&read(&file), &sectors("abcd")), 1);
    assert_eq!(read(&file), sectors("abcd"), "what lies on the disk is right");
    disk.fail(Fault::once(CallKind::WriteAt, 1, FaultKind::FlippedBit));
    write(&file, &sectors("XYZ"), 0);
    assert_eq!(differing(&read(&file), &sectors("XYZd")), 1);
    file.sync_data().unwrap();
    let cut = disk.crash(CrashStrength::Strict).read_file("/d/a").unwrap();
    assert_eq!(differing(&cut, &sectors("XYZd")), 1);
}
