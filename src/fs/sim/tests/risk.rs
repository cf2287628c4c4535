//! What is said to be at risk is what crashes take, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::*;
use crate::fs::sim::{CallKind, Fault, FaultKind, Risk};

fn at_risk(disk: &SimDisk) -> Vec<(String, Risk)> {
    disk.at_risk().into_iter().map(|(path, risk)| (path.to_str().expect("plain names").to_owned(), risk)).collect()
}

fn risks<const N: usize>(expected: [(&str, Risk); N]) -> Vec<(String, Risk)> {
    expected.map(|(path, risk)| (path.to_owned(), risk)).to_vec()
}

#[test]
fn each_step_of_a_careful_creation_takes_one_risk_away() {
    let (disk, env) = disk_and_env();
    assert!(at_risk(&disk).is_empty());
    let file = create(&env, "/d/a");
    write(&file, b"content", 0);
    assert_eq!(at_risk(&disk), risks([("/d/a", Risk::Name), ("/d/a", Risk::Content)]));
    file.sync_data().unwrap();
    assert_eq!(at_risk(&disk), risks([("/d/a", Risk::Name)]));
    sync_dir(&env, "/d");
    assert!(at_risk(&disk).is_empty());
    env.remove_file(Path::new("/d/a")).unwrap();
    assert_eq!(at_risk(&disk), risks([("/d/a", Risk::Return)]));
    sync_dir(&env, "/d");
    assert!(at_risk(&disk).is_empty());
}

#[test]
fn changes_that_leave_a_file_as_it_is_put_nothing_at_risk_and_one_there_and_back_does() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/a", "content");
    let file = open(&env, "/d/a", OpenMode::ReadWrite);
    file.set_len(7).unwrap();
    file.allocate(Position::ZERO, Position::new(5)).unwrap();
    write(&file, b"ten", 3);
    assert!(at_risk(&disk).is_empty());
    file.set_len(8).unwrap();
    file.set_len(7).unwrap();
    assert_eq!(at_risk(&disk), risks([("/d/a", Risk::Content)]));
}

#[test]
fn what_lies_in_a_new_directory_is_at_risk_with_it() {
    let (disk, env) = disk_and_env();
    env.create_dir(Path::new("/d/e")).unwrap();
    create(&env, "/d/e/a").sync_data().unwrap();
    sync_dir(&env, "/d/e");
    assert_eq!(at_risk(&disk), risks([("/d/e", Risk::Name), ("/d/e/a", Risk::Name)]));
    sync_dir(&env, "/d");
    assert!(at_risk(&disk).is_empty());
}

#[test]
fn what_a_failed_sync_lost_stays_at_risk_whatever_later_ones_say() {
    let (disk, env) = disk_and_env();
    let file = create(&env, "/d/a");
    sync_dir(&env, "/d");
    write(&file, b"content", 0);
    disk.fail(Fault::once(CallKind::SyncData, 1, FaultKind::InputOutput));
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(at_risk(&disk), risks([("/d/a", Risk::Content)]));
    create(&env, "/d/b");
    disk.fail(Fault::once(CallKind::SyncDir, 1, FaultKind::InputOutput));
    env.sync_dir(Path::new("/d")).unwrap_err();
    sync_dir(&env, "/d");
    assert_eq!(at_risk(&disk), risks([("/d/a", Risk::Content), ("/d/b", Risk::Name)]));
}

/// Every path of a disk with its content.
fn tree(disk: &SimDisk) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut unvisited = vec![PathBuf::from("/")];
    while let Some(dir) = unvisited.pop() {
        for name in disk.list(&dir) {
            found.insert(dir.join(&name), disk.read_file(dir.join(&name)));
            unvisited.push(dir.join(name));
        }
    }
    found
}

#[test]
fn what_is_not_at_risk_is_the_same_in_every_crash_state() {
    let (mut in_vain, mut looked_at) = (0, 0);
    for seed in 0..300 {
        let disk = super::histories::short(seed);
        let seen = tree(&disk);
        let at_risk: BTreeSet<PathBuf> = disk.at_risk().into_iter().map(|(path, _)| path).collect();
        let in_danger = |path: &Path| path.ancestors().any(|above| at_risk.contains(above));
        let mut differed = BTreeSet::new();
        for state in disk.every_image(CrashStrength::Strict).take(500) {
            let left = tree(&state);
            for path in seen.keys().chain(left.keys()) {
                if seen.get(path) != left.get(path) {
                    assert!(in_danger(path), "{} is not said to be at risk: {disk}", path.display());
                    differed.insert(path.clone());
                }
            }
        }
        looked_at += at_risk.len();
        in_vain += at_risk.difference(&differed).count();
    }
    // A rename there and back, a write of the same bytes, and a state among the many that were not looked at.
    assert!(in_vain * 10 < looked_at, "{in_vain} of {looked_at} paths at risk never differ");
}

#[test]
#[should_panic(expected = "replaced by a file that is not synced (rule 14)")]
fn a_replacement_by_an_unsynced_file_fails_the_test_where_that_is_forbidden() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/b", "old");
    disk.write_file("/d/b.index", "old");
    disk.forbid_unsynced_replacements(&[".index"]);
    write(&create(&env, "/d/a"), b"new", 0);
    rename(&env, "/d/a", "/d/c");
    rename(&env, "/d/c", "/d/b.index");
    write(&create(&env, "/d/c"), b"new", 0);
    rename(&env, "/d/c", "/d/b");
}

#[test]
fn a_replacement_by_a_synced_file_is_allowed_everywhere() {
    let (disk, env) = disk_and_env();
    disk.write_file("/d/b", "old");
    disk.forbid_unsynced_replacements(&[]);
    let file = create(&env, "/d/a");
    write(&file, b"new", 0);
    file.sync_data().unwrap();
    rename(&env, "/d/a", "/d/b");
}
