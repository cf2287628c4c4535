//! What a crash does to the content of files.

use std::collections::BTreeSet;

use super::*;
use crate::fs::sim::CallKind;
use crate::fs::sim::{Fault, FaultKind, Part};

const POWER_CUTS: [CrashStrength; 2] = [CrashStrength::Strict, CrashStrength::Ordered];

#[test]
fn an_unsynced_write_is_lost_kept_or_stays_as_zeros() {
    for strength in POWER_CUTS {
        let (disk, env) = disk_and_env();
        disk.write_file("/d/a", "old");
        let file = open(&env, "/d/a", OpenMode::ReadWrite);
        write(&file, b"new", 3);
        let expected = [b"old".to_vec(), b"old\0\0\0".to_vec(), b"oldnew".to_vec()];
        assert_eq!(every_content(&disk, strength, "/d/a"), expected.map(Some));
    }
}

#[test]
fn an_overwrite_is_torn_at_sectors_only() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", vec![b'o'; 1024]);
    write(&open(&env, "/d/a", OpenMode::ReadWrite), &[b'n'; 600], 200);
    let contents = every_content(&disk, CrashStrength::Strict, "/d/a");
    assert_eq!(contents.len(), 4, "two sectors, each old or new");
    for content in contents.into_iter().flatten() {
        assert_eq!(content.len(), 1024);
        assert!(content[..200].iter().chain(&content[800..]).all(|byte| *byte == b'o'));
        for sector in [&content[200..512], &content[512..800]] {
            assert_eq!(BTreeSet::from_iter(sector).len(), 1, "a sector is written whole or not at all");
        }
    }
}

#[test]
fn a_later_write_can_be_kept_without_an_earlier_one() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", "");
    let file = open(&env, "/d/a", OpenMode::ReadWrite);
    write(&file, &[1; 512], 0);
    write(&file, &[2; 512], 512);
    for strength in POWER_CUTS {
        let hole = [vec![0; 512], vec![2; 512]].concat();
        assert!(every_content(&disk, strength, "/d/a").contains(&Some(hole)));
    }
}

#[test]
fn a_synced_write_survives_every_crash_and_a_later_one_does_not_harm_it() {
    for strength in POWER_CUTS {
        let (disk, env) = disk_and_env();
        disk.write_file("/d/a", "");
        let file = open(&env, "/d/a", OpenMode::ReadWrite);
        write(&file, b"synced", 0);
        file.sync_data().unwrap();
        write(&file, b"lost", 6);
        for content in every_content(&disk, strength, "/d/a").into_iter().flatten() {
            assert!(content.starts_with(b"synced"));
        }
        assert_eq!(keep_nothing(&disk, strength).read_file("/d/a").unwrap(), b"synced");
    }
}

#[test]
fn a_length_without_data_reads_as_zeros() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", "a");
    let file = open(&env, "/d/a", OpenMode::ReadWrite);
    file.allocate(Position::ZERO, Position::new(4)).unwrap();
    file.sync_data().unwrap();
    write(&file, b"bc", 1);
    assert_eq!(disk.read_file("/d/a").unwrap(), b"abc\0");
    assert_eq!(keep_nothing(&disk, CrashStrength::Ordered).read_file("/d/a").unwrap(), b"a\0\0\0");
}

#[test]
fn the_length_of_a_torn_append_ends_at_any_sector() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", vec![1; 100]);
    write(&open(&env, "/d/a", OpenMode::ReadWrite), &[2; 1000], 100);
    for strength in POWER_CUTS {
        let contents = every_content(&disk, strength, "/d/a");
        let lengths: BTreeSet<usize> = contents.into_iter().flatten().map(|content| content.len()).collect();
        assert_eq!(lengths, BTreeSet::from([100, 512, 1024, 1100]));
    }
}

/// Rule 10: a crash can splice the old tail to the new head.
#[test]
fn an_unsynced_cut_brings_the_old_bytes_back_behind_new_ones() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", vec![b'o'; 1024]);
    let file = open(&env, "/d/a", OpenMode::ReadWrite);
    file.set_len(0).unwrap();
    write(&file, &[b'n'; 512], 0);
    for strength in POWER_CUTS {
        let spliced = [vec![b'n'; 512], vec![b'o'; 512]].concat();
        assert!(every_content(&disk, strength, "/d/a").contains(&Some(spliced)));
    }
}

#[test]
fn lengths_are_kept_in_order_on_an_ordered_disk_only() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", "ab");
    let file = open(&env, "/d/a", OpenMode::ReadWrite);
    file.set_len(0).unwrap();
    file.set_len(3).unwrap();
    let lost_first = Some(b"ab\0".to_vec());
    assert!(every_content(&disk, CrashStrength::Strict, "/d/a").contains(&lost_first));
    let in_order = [b"".to_vec(), b"\0\0\0".to_vec(), b"ab".to_vec()].map(Some);
    assert_eq!(every_content(&disk, CrashStrength::Ordered, "/d/a"), in_order);
}

#[test]
fn the_end_of_the_process_keeps_what_was_seen_but_syncs_nothing() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", "old");
    write(&open(&env, "/d/a", OpenMode::ReadWrite), b"new", 0);
    create(&env, "/d/b");
    let killed = disk.crash(CrashStrength::Kill);
    assert_eq!(killed.read_file("/d/a").unwrap(), b"new");
    assert_eq!(killed.list("/d"), ["a", "b"]);
    let cut = keep_nothing(&killed, CrashStrength::Ordered);
    assert_eq!(cut.read_file("/d/a").unwrap(), b"old");
    assert_eq!(cut.list("/d"), ["a"]);
}

/// Rule 17: measured on ext4, xfs and btrfs, the sync after a failed one answers 0 and keeps nothing.
#[test]
fn what_a_failed_sync_lost_is_seen_until_the_crash_and_no_later_sync_keeps_it() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", "old");
    let file = open(&env, "/d/a", OpenMode::ReadWrite);
    write(&file, b"newer", 0);
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput));
    file.sync_data().unwrap_err();
    write(&file, b"!", 5);
    file.sync_data().unwrap();
    assert_eq!(disk.read_file("/d/a").unwrap(), b"newer!");
    let killed = disk.crash(CrashStrength::Kill);
    assert_eq!(killed.read_file("/d/a").unwrap(), b"newer!", "the page cache outlives the process");
    assert_eq!(every_content(&killed, CrashStrength::Strict, "/d/a"), [Some(b"old\0\0!".to_vec())]);
}

#[test]
fn a_failed_sync_may_have_kept_some_where_the_test_says_so() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..50 {
        let (disk, env) = disk_of(seed);
        disk.set_failed_syncs_keep_some(true);
        disk.write_file("/d/a", "old");
        let file = open(&env, "/d/a", OpenMode::ReadWrite);
        write(&file, b"newer", 0);
        disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput));
        file.sync_data().unwrap_err();
        outcomes.insert(keep_everything(&disk, CrashStrength::Strict).read_file("/d/a").unwrap());
    }
    let expected = [&b"new"[..], b"newer", b"old", b"old\0\0"].map(<[u8]>::to_vec);
    assert_eq!(outcomes, BTreeSet::from(expected));
}

#[test]
fn a_failed_background_write_is_reported_once_and_to_whoever_syncs_next() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", "old");
    write(&open(&env, "/d/a", OpenMode::ReadWrite), b"new", 0);
    disk.fail_writeback("/d/a");
    let killed = disk.crash(CrashStrength::Kill);
    let file = open(&Env::sim(&killed), "/d/a", OpenMode::Read);
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    file.sync_data().unwrap();
    assert_eq!(killed.read_file("/d/a").unwrap(), b"new");
    assert_eq!(killed.crash(CrashStrength::Strict).read_file("/d/a").unwrap(), b"old");
}

#[test]
fn an_interrupted_sync_loses_nothing_and_keeps_nothing() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", "old");
    let file = open(&env, "/d/a", OpenMode::ReadWrite);
    write(&file, b"new", 0);
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::Interrupted));
    file.sync_data().unwrap_err();
    assert_eq!(every_content(&disk, CrashStrength::Strict, "/d/a").len(), 2);
}

#[test]
fn old_handles_can_do_nothing_after_a_crash() {
    for strength in [CrashStrength::Strict, CrashStrength::Ordered, CrashStrength::Kill] {
        let (disk, env) = disk_and_env();
        disk.write_file("/d/a", "old");
        let file = open(&env, "/d/a", OpenMode::ReadWrite);
        let after = disk.crash(strength);
        file.write_at(b"new", Position::ZERO).unwrap_err();
        file.sync_data().unwrap_err();
        file.read_at(&mut [0], Position::ZERO).unwrap_err();
        env.remove_file(Path::new("/d/a")).unwrap_err();
        env.sync_dir(Path::new("/d")).unwrap_err();
        assert!(disk.is_off() && !after.is_off());
        assert_eq!(after.read_file("/d/a").unwrap(), b"old");
        assert_eq!(after.crash(CrashStrength::Strict).read_file("/d/a").unwrap(), b"old");
    }
}

#[test]
fn the_power_goes_after_the_named_number_of_changes() {
    let (disk, env) = disk_and_env();
    let file = create(&env, "/d/a");
    disk.power_off_after(2);
    file.write_at(b"1", Position::ZERO).unwrap();
    file.len().unwrap();
    file.write_at(b"2", Position::new(1)).unwrap();
    file.write_at(b"3", Position::new(2)).unwrap_err();
    assert!(disk.is_off());
    assert_eq!(disk.crash(CrashStrength::Kill).read_file("/d/a").unwrap(), b"12");
}

#[test]
fn a_process_that_is_killed_in_a_write_leaves_whole_pages_of_its_beginning() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        let (disk, env) = disk_of(seed);
        let file = create(&env, "/d/a");
        disk.power_off_after(0);
        file.write_at(&[1; 3 * 4096], Position::new(100)).unwrap_err();
        seen.insert(disk.crash(CrashStrength::Kill).read_file("/d/a").unwrap().len());
    }
    assert_eq!(seen, BTreeSet::from([0, 4096, 8192, 12_288]));
}

#[test]
fn one_seed_gives_one_crash_state_and_seeds_differ() {
    let after = |seed| {
        let (disk, env) = disk_of(seed);
        disk.write_file("/d/a", vec![1; 4096]);
        let file = open(&env, "/d/a", OpenMode::ReadWrite);
        write(&file, &[2; 2048], 0);
        write(&file, &[3; 4096], 4096);
        disk.crash(CrashStrength::Strict).read_file("/d/a").unwrap()
    };
    let states: BTreeSet<Vec<u8>> = (0..200).map(after).collect();
    assert!(states.len() > 50, "only {} states from 200 seeds", states.len());
    assert!((0..200).all(|seed| after(seed) == after(seed)));
}

#[test]
fn drawn_crashes_reach_the_extremes() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let (disk, env) = disk_of(seed);
        disk.write_file("/d/a", vec![b'.'; 2048]);
        let file = open(&env, "/d/a", OpenMode::ReadWrite);
        for sector in 0..4 {
            write(&file, &[b'x'; 512], sector * 512);
        }
        let content = disk.crash(CrashStrength::Strict).read_file("/d/a").unwrap();
        seen.insert(content.chunks(512).map(|sector| char::from(sector[0])).collect::<String>());
    }
    for extreme in ["xxxx", "....", "...x", "xxx.", "x.xx", ".x..", "xx..", "x..."] {
        assert!(seen.contains(extreme), "{extreme} is not among {seen:?}");
    }
}

#[test]
fn every_question_is_asked_once_and_names_its_change() {
    let (disk, env) = disk_and_env();
    let file = create(&env, "/d/a");
    write(&file, &[1; 600], 0);
    let mut asked = Vec::new();
    disk.image(CrashStrength::Strict, |atom, options| {
        asked.push((atom.sequence, atom.part, options));
        options - 1
    });
    let data = |sector| Part::Data { sector, sectors: 2 };
    assert_eq!(asked, [(2, Part::Name, 2), (3, data(0), 2), (3, data(1), 2), (3, Part::Length, 3)]);
}
