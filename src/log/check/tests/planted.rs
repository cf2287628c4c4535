//! Each kind of finding, from a fault that was planted for it.

use super::*;
use crate::fs::sim::{CallKind, Fault, FaultKind};
use crate::log::check::report::MOST_FINDINGS;
use crate::record::{BatchHeader, HEADER_BYTES, set_base_offset};

/// A log of one segment, closed, whose first batch is changed and gets a right checksum.
fn forged(change: impl FnOnce(&mut BatchHeader)) -> IntegrityReport {
    let disk = SimDisk::in_memory(1);
    let log = open(&disk, &small().segment_bytes(1 << 20));
    let times = [5, 9, 7].map(Timestamp::from_millis);
    let records = times.map(|time| Record::value("v").timestamp(time));
    log.append(&records).expect("room");
    log.append(&[Record::value("w").timestamp(Timestamp::from_millis(20))]).expect("room");
    log.close().expect("a healthy disk");
    let first = path(0, SegmentFile::Log);
    let mut bytes = disk.read_file(&first).expect("a segment");
    let mut header = BatchHeader::parse(&bytes).expect("a sound header");
    let end = usize::try_from(header.size_bytes).expect("a small batch");
    change(&mut header);
    let head = header.seal(&bytes[HEADER_BYTES..end]);
    bytes[..HEADER_BYTES].copy_from_slice(&head);
    disk.write_file(&first, bytes);
    check(&disk)
}

#[test]
fn what_a_header_says_is_compared_with_its_records() {
    type Change = fn(&mut BatchHeader);
    let cases: [(Change, &str, Severity); 9] = [
        (|header| header.count = 2, "record", Severity::Error),
        (|header| header.count = 4, "record", Severity::Error),
        (|header| header.last_offset_delta = 1, "record", Severity::Error),
        (|header| header.last_offset_delta = 3, "offset_gap", Severity::Error),
        (|header| header.max_timestamp = 8, "max_timestamp", Severity::Error),
        (|header| header.max_timestamp = 10, "max_timestamp", Severity::Warning),
        (|header| header.attributes |= 1 << 9, "attributes", Severity::Warning),
        (|header| header.attributes |= 0x20, "record", Severity::Error),
        (|header| header.base_timestamp = -100, "timestamp", Severity::Warning),
    ];
    for (change, kind, severity) in cases {
        let report = forged(change);
        let first = report.findings.iter().find(|finding| finding.what.name() == kind);
        assert!(first.is_some_and(|finding| finding.severity == severity), "{kind}: {}", report.to_json());
    }
    assert!(
        forged(|header| header.attributes |= 1)
            .findings
            .iter()
            .any(|finding| { matches!(finding.what.name(), "record" | "not_checked") })
    );
    assert_eq!(forged(|_| {}).findings.len(), 0);
}

#[test]
fn leader_epochs_that_fall_or_cannot_be_are_found() {
    let disk = SimDisk::in_memory(1);
    let log = open(&disk, &small());
    let options = |epoch| crate::log::AppendOptions::default().leader_epoch(epoch);
    for epoch in [3, 5, 5, 7] {
        log.append_with(&options(epoch), &[Record::value("v")]).expect("room");
    }
    log.close().expect("a healthy disk");
    assert_eq!(check(&disk).findings.len(), 0);
    // The sign, and then the number, of the second batch.
    let first = path(0, SegmentFile::Log);
    let second = u64::try_from(disk.read_file(&first).expect("a file").len()).expect("small") / 4 + 12;
    for (byte, bit, found) in [(0, 7, Severity::Error), (3, 3, Severity::Warning)] {
        disk.flip_bit(&first, second + byte, bit);
        let report = check(&disk);
        assert_eq!(kinds(&report, found), ["leader_epoch"], "{}", report.to_json());
        disk.flip_bit(&first, second + byte, bit);
    }
}

#[test]
fn segments_that_are_swapped_missing_or_renamed_are_found() {
    let disk = closed(20);
    let logs = files(&disk, ".log");
    let contents: Vec<Vec<u8>> = logs.iter().map(|path| disk.read_file(path).expect("a file")).collect();
    disk.write_file(&logs[1], contents[2].clone());
    disk.write_file(&logs[2], contents[1].clone());
    let report = check(&disk);
    for path in &logs[1..3] {
        let found = report.findings.iter().any(|found| found.path == *path && found.severity == Severity::Error);
        assert!(found, "{}", report.to_json());
    }
    let disk = closed(20);
    disk.remove(&logs[2]);
    let report = check(&disk);
    assert!(kinds(&report, Severity::Error).contains(&"offset_gap"), "{}", report.to_json());
    assert!(kinds(&report, Severity::Error).contains(&"contradiction"), "{}", report.to_json());
    assert!(kinds(&report, Severity::Warning).contains(&"orphan_index"), "{}", report.to_json());
    for gone in [0, logs.len() - 1] {
        let disk = closed(20);
        disk.remove(&logs[gone]);
        assert!(!check(&disk).is_clean());
    }
}

#[test]
fn files_that_are_cut_emptied_or_prolonged_are_found() {
    let disk = closed(20);
    for path in files(&disk, ".log") {
        for length in [0, 1, 60, 150] {
            let disk = closed(20);
            let mut bytes = disk.read_file(&path).expect("a file");
            bytes.truncate(length);
            disk.write_file(&path, bytes);
            assert!(!check(&disk).is_clean(), "{} cut to {length}", path.display());
        }
        for more in [&[0; 100][..], &[7; 100]] {
            let disk = closed(20);
            let bytes = disk.read_file(&path).expect("a file");
            disk.write_file(&path, [&bytes[..], more].concat());
            assert!(!check(&disk).is_clean(), "{} prolonged", path.display());
        }
    }
}

#[test]
fn names_of_every_kind_are_told() {
    for (name, kind, severity) in [
        ("notes.txt", "foreign_file", Severity::Note),
        ("00000000000000000000.log.deleted", "leftover", Severity::Note),
        ("00000000000000000000.log.torn", "leftover", Severity::Note),
        ("00000000000000000007.log.cleaned", "leftover", Severity::Warning),
        ("00000000000000000000.log.truncating", "leftover", Severity::Warning),
        ("leader-epoch-checkpoint.tmp", "leftover", Severity::Note),
        ("00000000000000000999.index", "orphan_index", Severity::Warning),
        ("7.index", "misnamed_file", Severity::Note),
    ] {
        let disk = closed(3);
        disk.write_file(Path::new(DIR).join(name), b"bytes".to_vec());
        let report = check(&disk);
        let [finding] = &report.findings[..] else { panic!("{name}: {}", report.to_json()) };
        assert_eq!((finding.what.name(), finding.severity), (kind, severity), "{name}");
        assert_eq!(finding.path, Path::new(DIR).join(name));
    }
}

#[test]
fn a_state_that_speaks_of_another_log_is_found() {
    let (disk, other) = (closed(20), closed(5));
    disk.write_file(state_path(), other.read_file(state_path()).expect("a state"));
    assert!(!check(&disk).is_clean());
    let disk = closed(20);
    disk.write_file(state_path(), vec![0; 4096]);
    assert!(check(&disk).is_clean(), "a state that was never written says nothing");
    disk.write_file(state_path(), vec![9; 4096]);
    let report = check(&disk);
    assert_eq!(kinds(&report, Severity::Error), ["content", "content"], "{}", report.to_json());
}

#[test]
fn offsets_that_are_moved_are_found_and_gaps_are_legal_where_nobody_vouches() {
    let disk = closed(20);
    let first = path(0, SegmentFile::Log);
    let mut bytes = disk.read_file(&first).expect("a file");
    set_base_offset(&mut bytes, Offset::new(1));
    disk.write_file(&first, bytes);
    assert!(!check(&disk).is_clean());
    // Whole segments may be missing in a directory of Kafka's after compaction.
    let disk = closed(20);
    let logs = files(&disk, ".log");
    for path in [state_path(), logs[1].clone(), logs[1].with_extension("index"), logs[1].with_extension("timeindex")] {
        disk.remove(path);
    }
    let report = check(&disk);
    assert_eq!((report.is_clean(), report.checked.gaps), (true, 1), "{}", report.to_json());
}

#[test]
fn what_cannot_be_read_is_a_finding_and_the_rest_is_checked() {
    let disk = closed(20);
    let reader = Log::open_read_only_in(&Env::sim(&disk), Path::new(DIR)).expect("a log");
    disk.fail(Fault::from(CallKind::ReadAt, 1, FaultKind::InputOutput).on("00000000000000000000.log"));
    let report = reader.check_integrity().expect("the directory can be listed");
    assert_eq!(kinds(&report, Severity::Error)[0], "unreadable", "{}", report.to_json());
    assert!(report.checked.batches > 10);
}

#[test]
fn findings_are_counted_beyond_what_is_kept() {
    let disk = SimDisk::in_memory(1);
    disk.create_dir_all(DIR);
    for number in 0..MOST_FINDINGS + 5 {
        disk.write_file(Path::new(DIR).join(format!("{number}.index")), Vec::new());
    }
    disk.write_file(path(0, SegmentFile::Log), vec![1; 100]);
    disk.write_file(path(7, SegmentFile::Log), vec![1; 100]);
    let report = check(&disk);
    assert_eq!(report.findings.len(), MOST_FINDINGS);
    assert!(report.left_out > 5 && !report.is_clean());
    assert!(report.to_json().ends_with("}\n"));
}
