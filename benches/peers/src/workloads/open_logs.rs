//! Many logs that are open and idle: what each holds of the machine, and how long it takes to open them all again, after a
//! close and after a crash.
//!
//! Each log works without a thread of its own (`Worker::Caller`).

use std::path::Path;

use kstore::{Log, Record, Trust};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::contents::Contents;
use super::leftover::{LEFT_BEHIND, config, crash, folder};
use super::plain::open_all;
use super::{Case, Line, Measure, Scale, Told, Workload};
use crate::Outcome;
use crate::cost::Cost;
use crate::spread::number;

pub(super) const WORKLOAD: Workload = Workload {
    name: "open_logs",
    title: "Many open logs",
    about: "Each log has one record, is closed, opened again, appended to by another process that ends without closing it, \
        and opened once more. Descriptors, maps and resident bytes are counted while all are open and idle. Bare: `open` \
        and `fstat` of every file of every log.",
    unit: "a log: made, or opened",
    once: false,
    charts: &[Measure::ResidentBytes, Measure::Reopen, Measure::CrashedReopen],
    cases,
};

/// More than an idle log holds.
const FILES_OF_LOG: usize = 8;
/// What a process needs besides.
const OTHER_FILES: usize = 100;
const RECORDS_LEFT_BEHIND: usize = 3;
const THE_ONLY_ONE: &str = "the only one";

fn cases(scale: Scale) -> Vec<Case> {
    let counts: &[usize] = scale.pick(&[1, 100], &[1, 100, 1_000, 10_000]);
    let case = |&logs: &usize| {
        let name = if logs == 1 { "1 log".to_string() } else { format!("{logs} logs") };
        Case { name: name.clone(), run: Box::new(move |dir| run(dir, &name, logs)) }
    };
    counts.iter().map(case).collect()
}

/// Raises this process's limit of open files, so that so many logs can be open, as far as it is allowed to.
///
/// # Errors
/// Of the system; not if the limit stays too low.
pub(crate) fn allow_logs(logs: usize) -> Outcome<()> {
    allow_files(logs * FILES_OF_LOG)
}

/// The same, for so many files.
///
/// # Errors
/// Of the system; not if the limit stays too low.
pub(crate) fn allow_files(files: usize) -> Outcome<()> {
    let wanted = (files + OTHER_FILES) as u64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= wanted {
        return Ok(());
    }
    Ok(setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted))
        .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard.min(wanted), hard))?)
}

fn run(dir: &Path, name: &str, asked: usize) -> Outcome<Told> {
    allow_logs(asked)?;
    let bare = Line::new(format!("bare, {name}")).at("bare", asked.to_string());
    let line = Line::new(format!("kstore, {name}")).against(bare.name.as_str()).at("kstore", asked.to_string());
    // What the first log of a process needs is there when the others come.
    Log::open(dir.join("first"), config())?.close()?;
    let before = Holdings::of_this_process()?;
    let mut open: Vec<Log> = Vec::with_capacity(asked);
    let mut refused = None;
    let (cost, ()) = Cost::of(|| {
        for log in 0..asked {
            match Log::open(folder(dir, log), config()) {
                Ok(log) => open.push(log),
                // As many as the system allows are many logs, too.
                Err(reason) if log > 1 => {
                    refused = Some(reason);
                    break;
                }
                Err(reason) => return Err(reason.into()),
            }
            open[log].append(&[Record::value(THE_ONLY_ONE)])?;
        }
        Ok(())
    })?;
    let mut line = line.cost(&cost, open.len() as u64);
    if let Some(reason) = refused {
        // Room for what else this process opens.
        open.truncate(open.len() - open.len() / 16);
        line = line.noted(format!("only {} logs, for then: {reason}", open.len()));
    }
    let logs = open.len();
    let line = Holdings::of_this_process()?.since(&before).put(line, logs);
    close(&mut open)?;

    let files: Vec<_> = (0..logs).map(|log| all_files(&folder(dir, log))).collect::<Outcome<Vec<_>>>()?.concat();
    let (cost, _) = Cost::of(|| open_all(&files))?;
    let bare = bare.times(Measure::Reopen, Measure::ReopenCpu, &cost, logs as u64);
    let bare = bare.times(Measure::CrashedReopen, Measure::CrashedReopenCpu, &cost, logs as u64);

    let cost = reopen(dir, logs, (Trust::Clean, 1))?;
    let line = line.times(Measure::Reopen, Measure::ReopenCpu, &cost, logs as u64);
    crash(dir, logs, RECORDS_LEFT_BEHIND)?;
    let all = 1 + RECORDS_LEFT_BEHIND as u64;
    let cost = reopen(dir, logs, (Trust::FromRecoveryPoint, all))?;
    let line = line.times(Measure::CrashedReopen, Measure::CrashedReopenCpu, &cost, logs as u64);
    Ok(Told::Lines(vec![bare, line]))
}

fn reopen(dir: &Path, logs: usize, expected: (Trust, u64)) -> Outcome<Cost> {
    let mut open = Vec::with_capacity(logs);
    let (cost, ()) = Cost::of(|| {
        for log in 0..logs {
            open.push(Log::open(folder(dir, log), config())?);
        }
        Ok(())
    })?;
    for log in &open {
        let found = (log.recovery_report().trust, log.log_end_offset().value());
        if found != expected {
            return Err(format!("{}: {found:?} was found, and not {expected:?}", log.dir().display()).into());
        }
        Contents::of_log(&log.reader())?.must_be(given(expected.1))?;
    }
    close(&mut open)?;
    Ok(cost)
}

/// What a log has that was appended to once here, and as often as needed by the process that left it open.
fn given(records: u64) -> Contents {
    let mut given = Contents::default();
    given.add(THE_ONLY_ONE.as_bytes());
    (1..records).for_each(|_| given.add(LEFT_BEHIND.as_bytes()));
    given
}

fn close(open: &mut Vec<Log>) -> Outcome<()> {
    open.iter().try_for_each(Log::close)?;
    open.clear();
    Ok(())
}

fn all_files(dir: &Path) -> Outcome<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// What a process holds of the machine.
pub(super) struct Holdings {
    descriptors: usize,
    maps: usize,
    resident_bytes: usize,
}

impl Holdings {
    /// # Errors
    /// If the system does not tell.
    pub(super) fn of_this_process() -> Outcome<Holdings> {
        let descriptors = std::fs::read_dir("/proc/self/fd")?.count();
        let maps = std::fs::read_to_string("/proc/self/maps")?.lines().count();
        let status = std::fs::read_to_string("/proc/self/status")?;
        Ok(Holdings {
            descriptors,
            maps,
            resident_bytes: resident_bytes_in(&status).ok_or("no resident size is told")?,
        })
    }

    /// What came since.
    pub(super) fn since(self, before: &Holdings) -> Holdings {
        Holdings {
            descriptors: self.descriptors.saturating_sub(before.descriptors),
            maps: self.maps.saturating_sub(before.maps),
            resident_bytes: self.resident_bytes.saturating_sub(before.resident_bytes),
        }
    }

    /// Into a line: of all logs together, but the memory of each.
    pub(super) fn put(self, line: Line, logs: usize) -> Line {
        let count = |count: usize| number(count as u64);
        line.with(Measure::Descriptors, count(self.descriptors))
            .with(Measure::Maps, count(self.maps))
            .with(Measure::ResidentBytes, count(self.resident_bytes) / count(logs))
    }
}

fn resident_bytes_in(status: &str) -> Option<usize> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::{Holdings, resident_bytes_in};

    #[test]
    fn the_resident_size_is_found_among_the_others() {
        assert_eq!(resident_bytes_in("VmHWM:\t  20 kB\nVmRSS:\t  12 kB\nRssAnon:\t 4 kB\n"), Some(12 << 10));
        assert_eq!(resident_bytes_in("VmHWM:\t  20 kB\n"), None);
    }

    #[test]
    fn a_file_that_is_open_is_held() {
        let before = Holdings::of_this_process().expect("figures");
        let files: Vec<_> = (0..50).map(|_| tempfile::tempfile().expect("a file")).collect();
        let held = Holdings::of_this_process().expect("figures").since(&before);
        // Other tests of this process may close some meanwhile.
        assert!(held.descriptors >= 40, "{} of {}", held.descriptors, files.len());
    }
}
