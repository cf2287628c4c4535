//! Sound logs have no findings: whatever was appended, in whatever way, and after whatever crash.

use proptest::prelude::*;

use super::*;
use crate::config::WriteMode;
use crate::fs::sim::CrashStrength;

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    Sync,
    Roll,
    Crash(CrashStrength),
    CloseAndOpen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..9u64).prop_map(Step::Append),
        2 => Just(Step::Sync),
        1 => Just(Step::Roll),
        1 => prop_oneof![Just(CrashStrength::Strict), Just(CrashStrength::Ordered), Just(CrashStrength::Kill)]
            .prop_map(Step::Crash),
        1 => Just(Step::CloseAndOpen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn random_logs_are_clean_open_recovered_and_closed(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..14),
        segment_bytes in 200..3000u64,
        interval in prop_oneof![Just(0u64), 1..600u64],
        mode in 0..3_usize,
    ) {
        let write_mode = [WriteMode::Write, WriteMode::Preallocated, WriteMode::Mapped][mode];
        let config = small().segment_bytes(segment_bytes).index_interval_bytes(interval).write_mode(write_mode).windows_at_once(1);
        let mut disk = SimDisk::new(seed);
        let mut log = open(&disk, &config);
        for step in steps {
            match step {
                Step::Append(batches) => fill(&log, batches),
                Step::Sync => drop(log.sync().expect("a healthy disk")),
                Step::Roll => drop(log.roll().expect("there is room")),
                Step::Crash(strength) => {
                    let after = disk.crash(strength);
                    let crashed = try_check(&after);
                    prop_assert!(
                        crashed.as_ref().is_none_or(IntegrityReport::is_clean),
                        "{strength:?} {}", crashed.expect("a report").to_json()
                    );
                    (log, disk) = (open(&after, &config), after);
                }
                Step::CloseAndOpen => {
                    log.close().expect("a healthy disk");
                    let report = check(&disk);
                    prop_assert_eq!(kinds(&report, Severity::Warning), Vec::<&str>::new(), "{}", report.to_json());
                    log = open(&disk, &config);
                }
            }
            let report = log.check_integrity().expect("an open log");
            prop_assert_eq!(kinds(&report, Severity::Warning), Vec::<&str>::new(), "{}", report.to_json());
            prop_assert_eq!(report.log_end_offset, log.log_end_offset());
            let records = log.log_end_offset().value() - log.log_start_offset().value();
            prop_assert_eq!(report.checked.records, records);
        }
        log.close().expect("a healthy disk");
        let report = check(&disk);
        prop_assert_eq!(kinds(&report, Severity::Warning), Vec::<&str>::new(), "{}", report.to_json());
        prop_assert_eq!(report.log_end_offset, log.log_end_offset());
    }
}

#[test]
fn a_check_changes_no_byte_and_no_name() {
    let disk = closed(20);
    let before: Vec<_> = files(&disk, "").into_iter().map(|path| (disk.read_file(&path), path)).collect();
    assert!(before.len() > 10);
    check(&disk);
    let after: Vec<_> = files(&disk, "").into_iter().map(|path| (disk.read_file(&path), path)).collect();
    assert!(before == after);
}

#[test]
fn a_log_without_records_and_an_empty_directory_are_clean() {
    for batches in [0, 1] {
        let report = check(&closed(batches));
        assert_eq!((report.findings.len(), report.checked.batches), (0, batches), "{}", report.to_json());
    }
    let disk = SimDisk::in_memory(1);
    disk.create_dir_all(DIR);
    assert_eq!(check(&disk).findings.len(), 0);
}
