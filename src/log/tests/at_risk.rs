//! What an acknowledgement rests on: after each call that promises something durable, the worst power cut keeps it.
//!
//! The simulated disk names everything that a power cut could take. A missing sync of a directory shows here and in no
//! power cut of a real file system, which all keep the name of a synced new file (rule 12).

use std::path::Path;

use super::bench::{DIR, append, at, at_risk, disk, opened, small};
use crate::config::{LogConfig, SyncPolicy, WriteMode};
use crate::fs::sim::{CallKind, Risk};
use crate::log::{AppendOptions, Log};
use crate::record::Record;

fn configs() -> Vec<LogConfig> {
    let modes = [WriteMode::Write, WriteMode::Preallocated];
    let policies = [SyncPolicy::Never, SyncPolicy::Always];
    let config = |mode, policy: &SyncPolicy| small().write_mode(mode).sync_policy(*policy);
    modes.into_iter().flat_map(|mode| policies.iter().map(move |policy| config(mode, policy))).collect()
}

/// What promises that what was appended before it is durable.
type Promise = fn(&Log);

const PROMISES: [(&str, Promise); 5] = [
    ("sync", |log| log.sync().map(drop).expect("a healthy disk")),
    ("sync_to", |log| log.sync_to(log.log_end_offset()).expect("a healthy disk")),
    ("an append that syncs", |log| {
        let synced = AppendOptions::default().sync(true);
        log.append_with(&synced, &[Record::value("synced")]).expect("a healthy disk");
    }),
    ("truncate_to", |log| log.truncate_to(at(log.log_end_offset().value() - 1)).expect("a healthy disk")),
    ("truncate_to_batch", |log| log.truncate_to_batch(at(1)).map(drop).expect("a healthy disk")),
];

// Rule 1 and rules 12 to 15, over rolls of every kind.
#[test]
fn no_byte_and_no_name_of_a_segment_is_at_risk_once_it_was_promised() {
    for config in configs() {
        for (promise, keep) in PROMISES {
            for appended in [1, 2, 3, 7] {
                let disk = disk();
                let log = opened(&disk, config.clone());
                for value in 0..appended {
                    append(&log, value).expect("there is room");
                }
                if config.sync_policy == SyncPolicy::Never {
                    assert!(!at_risk(&disk, &log).is_empty(), "what nobody synced is at risk");
                }
                if appended == 3 {
                    log.roll().expect("a healthy disk");
                }
                keep(&log);
                assert_eq!(at_risk(&disk, &log), [], "{promise} of {appended}, {:?}", config.write_mode);
            }
        }
    }
}

#[test]
fn under_always_nothing_of_a_segment_is_ever_at_risk_after_an_append() {
    for config in configs().into_iter().filter(|config| config.sync_policy == SyncPolicy::Always) {
        let disk = disk();
        let log = opened(&disk, config.clone());
        for value in 0..10 {
            append(&log, value).expect("there is room");
            assert_eq!(at_risk(&disk, &log), [], "after value {value}, {:?}", config.write_mode);
        }
    }
}

#[test]
fn a_log_that_was_closed_has_nothing_at_risk_at_all() {
    for config in configs() {
        let disk = disk();
        let log = opened(&disk, config.clone());
        for value in 0..7 {
            append(&log, value).expect("there is room");
        }
        log.close().expect("a healthy disk");
        let lost = disk.at_risk().into_iter().filter(|(path, risk)| *risk != Risk::Return && path.starts_with(DIR));
        assert_eq!(lost.collect::<Vec<_>>(), [], "{:?}", config.write_mode);
    }
}

/// The trace tells it, too: by the time an append under `Always` returns, the directory of its new segment was synced.
#[test]
fn the_directory_of_a_new_segment_is_synced_before_the_first_acknowledgement_in_it() {
    for config in configs().into_iter().filter(|config| config.sync_policy == SyncPolicy::Always) {
        let disk = disk();
        let log = opened(&disk, config);
        let mut rolls = 0;
        for value in 0..10 {
            disk.set_tracing(true);
            append(&log, value).expect("there is room");
            let trace = disk.trace();
            let created = trace.iter().position(|entry| {
                entry.call == CallKind::Open && !entry.refused && entry.path.to_string_lossy().ends_with(".log")
            });
            if let Some(created) = created.filter(|_| value > 0) {
                rolls += 1;
                let synced = trace[created..]
                    .iter()
                    .any(|entry| entry.call == CallKind::SyncDir && !entry.refused && entry.path == Path::new(DIR));
                assert!(synced, "value {value}: {trace:#?}");
            }
        }
        assert!(rolls > 2, "only {rolls} rolls were looked at");
    }
}
