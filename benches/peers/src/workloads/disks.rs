//! Two logs on two disks, beside two logs on one: the disks are files behind loop devices, each with a file system of its
//! own.
//!
//! It needs root and loop devices. Mounts are made in a name space of this process's own, so that nothing is left behind
//! however it ends.

use std::path::{Path, PathBuf};
use std::process::Command;

use kstore::{AppendOptions, Log, LogConfig, Record, WriteMode};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

use super::contents::Contents;
use super::plain::Plain;
use super::{Case, Line, Scale, Told, Workload, in_threads};
use crate::Outcome;
use crate::cost::Cost;
use crate::values::Values;

pub(super) const WORKLOAD: Workload = Workload {
    name: "disks",
    title: "Two disks: durable appends of 1 KiB by two threads, each to a log of its own",
    about: "Both logs on one disk, and each on one of its own; the disks are loop devices with ext4. Bare: `write` and \
        `fdatasync`.",
    unit: "a record, over both threads together",
    once: false,
    charts: &[],
    cases,
};

const THREADS: usize = 2;
const VALUE_BYTES: usize = 1 << 10;
const DISK_BYTES: u64 = 256 << 20;

fn cases(scale: Scale) -> Vec<Case> {
    let each = scale.pick(200, 4_000);
    let mut cases = Vec::new();
    for disks in [1, 2] {
        for (side, bare) in [("bare", true), ("kstore", false)] {
            let name = format!("{side}, {disks} disk{}", if disks == 1 { "" } else { "s" });
            let line = Line::new(name.as_str());
            let line = if bare { line } else { line.against(name.replace(side, "bare")) };
            cases.push(Case {
                name,
                run: Box::new(move |dir| {
                    let folders = match mounted(dir, disks) {
                        Ok(folders) => folders,
                        Err(reason) => return Ok(Told::NotRun(reason.to_string())),
                    };
                    let cost = if bare { bare_calls(&folders, each)? } else { kstore(&folders, each)? };
                    Ok(Told::Lines(vec![line.clone().cost(&cost, (THREADS * each) as u64)]))
                }),
            });
        }
    }
    cases
}

/// A folder for each thread, on as many disks.
fn mounted(dir: &Path, disks: usize) -> Outcome<Vec<PathBuf>> {
    if !geteuid().is_root() {
        return Err("it needs root to mount disks".into());
    }
    // Whatever is mounted from here on is seen by this process and its children only, and gone with them.
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| format!("no name space of mounts: {errno}"))?;
    succeed("mount", &["--make-rprivate".as_ref(), "/".as_ref()])?;
    let mut points = Vec::new();
    for disk in 0..disks {
        let (image, point) = (dir.join(format!("disk-{disk}")), dir.join(format!("mounted-{disk}")));
        let file = std::fs::File::create(&image)?;
        // With room of its own, so that nothing is allocated below it while the clock runs.
        nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, i64::try_from(DISK_BYTES)?)?;
        std::fs::create_dir(&point)?;
        succeed("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image.as_os_str()])?;
        succeed("mount", &["-o".as_ref(), "loop".as_ref(), image.as_os_str(), point.as_os_str()])?;
        points.push(point);
    }
    Ok((0..THREADS).map(|thread| points[thread % disks].join(format!("log-{thread}"))).collect())
}

fn succeed(program: &str, arguments: &[&std::ffi::OsStr]) -> Outcome<()> {
    let ended = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if ended.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&ended.stderr).trim()).into())
}

fn bare_calls(folders: &[PathBuf], each: usize) -> Outcome<Cost> {
    let values = Values::new(VALUE_BYTES);
    let files = folders.iter().map(|dir| Plain::create(dir, "plain")).collect::<Outcome<Vec<Plain>>>()?;
    files.iter().try_for_each(Plain::sync)?;
    let (cost, _) = Cost::of(|| {
        in_threads(THREADS, |thread| {
            (0..each).try_for_each(|call| {
                files[thread].append(values.of(call))?;
                files[thread].sync()
            })
        })
    })?;
    files.iter().try_for_each(|file| Contents::of_file(file.path(), VALUE_BYTES)?.must_be(given(&values, each)))?;
    Ok(cost)
}

fn kstore(folders: &[PathBuf], each: usize) -> Outcome<Cost> {
    let values = Values::new(VALUE_BYTES);
    let config = || LogConfig::default().write_mode(WriteMode::Preallocated);
    let logs = folders.iter().map(|dir| Ok(Log::open(dir, config())?)).collect::<Outcome<Vec<Log>>>()?;
    let durably = AppendOptions::default().sync(true);
    let (cost, _) = Cost::of(|| {
        in_threads(THREADS, |thread| {
            (0..each).try_for_each(|call| {
                Ok(logs[thread].append_with(&durably, &[Record::value(values.of(call))]).map(drop)?)
            })
        })
    })?;
    for log in &logs {
        if log.synced_offset() < log.log_end_offset() {
            return Err("an append returned that was not durable".into());
        }
        Contents::of_log(&log.reader())?.must_be(given(&values, each))?;
        log.close()?;
    }
    Ok(cost)
}

fn given(values: &Values, each: usize) -> Contents {
    let mut given = Contents::default();
    (0..each).for_each(|call| given.add(values.of(call)));
    given
}
