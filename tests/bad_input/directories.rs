//! Directories that are no log, or somebody else's, or open already; files with names that contradict each other.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use kstore::{Corruption, Error, ErrorKind, IoOp, Log, LogConfig, Offset, Record};

use crate::site::{Site, expect_child, log_name, place_of_child};

fn open(dir: &Path) -> kstore::Result<Log> {
    Log::open(dir, LogConfig::default())
}

fn written(site: &Site) -> Log {
    let log = open(site.dir()).expect("a new log");
    log.append(&[Record::new("key", "value")]).expect("an append");
    log
}

/// Opening fails, for writing and for reading, and leaves the directory as it was.
fn refused(site: &Site) -> Error {
    let before = site.contents();
    let read_only = Log::open_read_only(site.dir()).expect_err("refused");
    let error = open(site.dir()).expect_err("refused");
    assert_eq!(error.to_string(), read_only.to_string());
    assert!(site.contents() == before, "a directory that is refused is left as it was");
    error
}

fn site_with(files: &[&str]) -> Site {
    let site = Site::new();
    std::fs::create_dir(site.dir()).expect("a new folder");
    for file in files {
        std::fs::write(site.file(file), file).expect("a new file");
    }
    site
}

#[test]
fn a_second_opening_in_the_same_process_is_refused_by_the_directorys_name() {
    let site = Site::new();
    let log = written(&site);
    let error = open(site.dir()).expect_err("refused");
    assert!(matches!(&error, Error::AlreadyOpen { path } if path.as_ref() == site.dir()), "{error}");
    assert_eq!(error.to_string(), format!("{} is already open", site.dir().display()));
    assert_eq!(error.kind(), ErrorKind::Usage);
    log.append(&[Record::value("x")]).expect("the first is not disturbed");
    let reader = Log::open_read_only(site.dir()).expect("a reader takes no lock");
    assert_eq!(reader.log_end_offset(), Offset::new(2));
    log.close().expect("a clean close");
    open(site.dir()).expect("free again");
}

#[test]
fn a_second_opening_through_a_symbolic_link_is_refused_by_the_real_name() {
    let site = Site::new();
    let _log = written(&site);
    let link = site.parent().join("link-0");
    symlink(site.dir(), &link).expect("a new link");
    let error = open(&link).expect_err("refused");
    assert_eq!(error.to_string(), format!("{} is already open", site.dir().display()));
    let dotted = site.dir().join("..").join("orders-0").join(".");
    assert!(matches!(open(&dotted), Err(Error::AlreadyOpen { .. })));
}

#[test]
fn a_second_opening_in_another_process_is_refused() {
    const NAME: &str = "directories::a_second_opening_in_another_process_is_refused";
    if let Some(dir) = place_of_child() {
        let error = open(&dir).expect_err("refused");
        assert!(matches!(&error, Error::AlreadyOpen { path } if path.as_ref() == dir), "{error}");
        let reader = Log::open_read_only(&dir).expect("a reader takes no lock");
        assert_eq!(reader.records(..).expect("a range").count(), 1);
        return;
    }
    let site = Site::new();
    let _log = written(&site);
    expect_child(&[], NAME, site.dir());
}

#[test]
fn a_log_dropped_without_a_close_frees_its_directory() {
    let site = Site::new();
    drop(written(&site));
    open(site.dir()).expect("free again");
}

#[test]
fn a_partition_of_a_kafka_data_directory_is_refused_for_writing_by_each_marker() {
    for marker in ["meta.properties", ".kafka_cleanshutdown", "recovery-point-offset-checkpoint"] {
        let site = Site::new();
        written(&site).close().expect("a clean close");
        std::fs::write(site.parent().join(marker), "").expect("a new file");
        let before = site.contents();
        let error = open(site.dir()).expect_err("refused");
        let Error::BelongsToDataDirectory { path, marker: found } = &error else { panic!("{error}") };
        assert_eq!((path.as_ref(), *found), (site.dir(), marker));
        let expected = format!(
            "{} lies inside a Kafka data directory ({marker} in its parent) and cannot be opened alone for writing",
            site.dir().display()
        );
        assert_eq!(error.to_string(), expected);
        assert!(site.contents() == before);
        let reader = Log::open_read_only(site.dir()).expect("reading harms nobody");
        assert_eq!(reader.records(..).expect("a range").count(), 1);
    }
}

/// Story: the directory was created before anybody looked whose parent it has, and an empty directory without a
/// partition's name keeps a Kafka broker from starting.
#[test]
fn nothing_is_created_in_a_kafka_data_directory() {
    let site = Site::new();
    std::fs::write(site.parent().join("meta.properties"), "").expect("a new file");
    let error = open(site.dir()).expect_err("refused");
    assert!(matches!(error, Error::BelongsToDataDirectory { .. }), "{error}");
    assert!(!site.dir().exists());
}

/// Story: a broker's partition that was moved to another disk, with a link left in its place, was taken for a log that
/// stands alone, for only the parent of the real directory was looked at.
#[test]
fn a_partition_that_a_kafka_data_directory_links_to_is_refused() {
    let site = Site::new();
    written(&site).close().expect("a clean close");
    let data = site.parent().join("data");
    std::fs::create_dir(&data).expect("a new folder");
    std::fs::write(data.join("meta.properties"), "").expect("a new file");
    symlink(site.dir(), data.join("orders-0")).expect("a new link");
    let error = open(&data.join("orders-0")).expect_err("refused");
    assert!(matches!(error, Error::BelongsToDataDirectory { .. }), "{error}");
}

#[test]
fn a_directory_with_other_things_and_nothing_of_a_log_is_refused_by_what_was_found() {
    for name in ["notes.txt", "x.log", "00000000000000000000.index", "00000000000000000000.snapshot", "1.logs"] {
        let site = site_with(&[name]);
        let error = refused(&site);
        let Error::NotALog { path, found } = &error else { panic!("{name}: {error}") };
        assert_eq!(path.as_ref(), site.dir());
        let expected = format!(
            "{} holds {} and no segment, kstore.state, leader-epoch-checkpoint or partition.metadata",
            site.dir().display(),
            found.display()
        );
        assert_eq!(error.to_string(), expected);
        assert_eq!(found.as_ref(), site.file(name), "the file is named");
    }
    let site = site_with(&[]);
    std::fs::create_dir(site.file("photos")).expect("a new folder");
    assert!(matches!(refused(&site), Error::NotALog { .. }));
}

#[test]
fn an_empty_directory_becomes_a_log_and_so_does_one_with_a_logs_small_files() {
    for files in [&[][..], &["lost+found"][..]] {
        let site = site_with(&[]);
        for folder in files {
            std::fs::create_dir(site.file(folder)).expect("a new folder");
        }
        written(&site).close().expect("a clean close");
    }
    for name in ["leader-epoch-checkpoint", "partition.metadata"] {
        let site = site_with(&[]);
        std::fs::write(site.file(name), "0\n0\n").expect("a new file");
        written(&site).close().expect("a clean close");
        assert_eq!(std::fs::read(site.file(name)).expect("it stays"), b"0\n0\n");
    }
}

#[test]
fn foreign_files_beside_a_log_are_reported_and_stay() {
    let site = Site::new();
    written(&site).close().expect("a clean close");
    std::fs::create_dir(site.file("attic")).expect("a new folder");
    let names = ["attic", "notes.txt", "x.log", "x.swap"];
    for name in &names[1..] {
        std::fs::write(site.file(name), name).expect("a new file");
    }
    let log = open(site.dir()).expect("it is a log still");
    assert_eq!(log.recovery_report().foreign, names.map(|name| site.file(name)));
    log.append(&[Record::value("x")]).expect("an append");
    log.close().expect("a clean close");
    for name in &names[1..] {
        assert_eq!(std::fs::read(site.file(name)).expect("it stays"), name.as_bytes());
    }
    assert!(site.file("attic").is_dir());
}

#[test]
fn two_names_of_one_base_offset_are_both_named() {
    let site = Site::new();
    written(&site).close().expect("a clean close");
    std::fs::write(site.file("0.log"), "").expect("a new file");
    let error = refused(&site);
    let Error::DuplicateBaseOffset { path, other } = &error else { panic!("{error}") };
    assert_eq!((path.as_ref(), other.as_ref()), (site.file("0.log").as_path(), log_name(0).as_str()));
    let expected = format!("{} and 00000000000000000000.log name the same base offset", site.file("0.log").display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_segment_under_a_short_name_is_refused_with_the_name_it_ought_to_have() {
    let site = Site::new();
    written(&site).close().expect("a clean close");
    std::fs::write(site.file("42.log"), "").expect("a new file");
    let error = refused(&site);
    assert!(matches!(error, Error::MisnamedSegment { .. }));
    let expected =
        format!("{} is a segment under a wrong name, expected 00000000000000000042.log", site.file("42.log").display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_path_that_is_not_utf_8_is_as_good_as_any() {
    let site = Site::new();
    let dir = site.parent().join(OsStr::from_bytes(b"orders-\xff\xfe-0"));
    let log = open(&dir).expect("a new log");
    log.append(&[Record::value("x")]).expect("an append");
    let error = open(&dir).expect_err("refused");
    assert!(error.to_string().ends_with("orders-\u{fffd}\u{fffd}-0 is already open"), "{error}");
    log.close().expect("a clean close");
    std::fs::write(dir.join(OsStr::from_bytes(b"\xff.log")), "").expect("a new file");
    let log = open(&dir).expect("it is a log still");
    assert_eq!(log.records(..).expect("a range").count(), 1);
    assert_eq!(log.recovery_report().foreign.len(), 1, "a name that is not UTF-8 is nobody's segment");
}

#[test]
fn what_is_no_directory_is_refused_by_name() {
    let site = site_with(&["notes.txt"]);
    let file = site.file("notes.txt");
    for path in [file.clone(), file.join("orders-0")] {
        let error = open(&path).expect_err("refused");
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    }
    let absent = site.parent().join("absent-0");
    let error = Log::open_read_only(&absent).expect_err("refused");
    assert!(matches!(error, Error::Io { operation: IoOp::Open, .. }), "{error}");
    let expected = format!("opening {}: No such file or directory (os error 2)", absent.display());
    assert_eq!(error.to_string(), expected);
    assert!(!absent.exists(), "a reader creates nothing");
}

#[test]
fn a_segment_that_is_no_file_is_not_opened() {
    let site = Site::new();
    written(&site).close().expect("a clean close");
    std::fs::create_dir(site.file(&log_name(77))).expect("a new folder");
    let log = open(site.dir()).expect("it is a log still");
    assert_eq!(log.log_end_offset(), Offset::new(1));
    assert_eq!(log.recovery_report().foreign, [site.file(&log_name(77))]);
}

#[test]
fn a_segment_that_vanished_from_the_middle_is_an_error_where_it_was() {
    let site = Site::new();
    let log = Log::open(site.dir(), LogConfig::default()).expect("a new log");
    for _ in 0..3 {
        log.append(&[Record::value("x"), Record::value("y")]).expect("an append");
        log.roll().expect("a roll");
    }
    log.close().expect("a clean close");
    std::fs::remove_file(site.file(&log_name(2))).expect("a file");
    let log = open(site.dir()).expect("the rest can be served");
    assert_eq!(log.log_end_offset(), Offset::new(6), "the end is where it was");
    let answers: Vec<_> = log.records(..).expect("a range").collect();
    let sound = answers.iter().filter(|answer| answer.is_ok()).count();
    let Some(Err(error)) = answers.last() else { panic!("{answers:?}") };
    assert_eq!(sound, 2, "{answers:?}");
    assert!(matches!(error, Error::Corrupt { reason: Corruption::OffsetGap { found: 4, expected: 2 }, .. }), "{error}");
    let rest = log.records(Offset::new(4)..).expect("a range");
    assert_eq!(rest.map(|record| record.expect("sound").offset().value()).collect::<Vec<_>>(), [4, 5]);
}

/// Nobody can tell a first segment that was deleted by hand from what Kafka's retention does: the log begins later.
#[test]
fn a_segment_that_vanished_from_the_front_makes_the_log_begin_later() {
    let site = Site::new();
    let log = Log::open(site.dir(), LogConfig::default()).expect("a new log");
    for _ in 0..3 {
        log.append(&[Record::value("x"), Record::value("y")]).expect("an append");
        log.roll().expect("a roll");
    }
    log.close().expect("a clean close");
    std::fs::remove_file(site.file(&log_name(0))).expect("a file");
    let reader = Log::open_read_only(site.dir()).expect("the rest can be read");
    assert_eq!(reader.records(..).expect("a range").count(), 4);
    let log = open(site.dir()).expect("the rest can be served");
    assert_eq!((log.log_start_offset(), log.recovery_report().damage), (Offset::new(2), vec![]));
    let rest = log.records(Offset::new(2)..).expect("a range");
    assert_eq!(rest.map(|record| record.expect("sound").offset().value()).collect::<Vec<_>>(), [2, 3, 4, 5]);
}
