//! A process that ends with its logs open, as one that was killed: what an opening after a crash finds.
//!
//! It is a program of its own, for a log that is open in this process cannot be opened again here.

use std::path::Path;
use std::process::{Command, Stdio};

use kstore::{Log, LogConfig, Record, Worker};

use crate::Outcome;

/// The folder of one of many logs.
pub(crate) fn folder(dir: &Path, log: usize) -> std::path::PathBuf {
    dir.join(format!("log-{log:05}"))
}

/// How the logs that are left open are configured, and those that idle.
pub(crate) fn config() -> LogConfig {
    LogConfig::default().worker(Worker::Caller)
}

/// The value of every record that is appended before the end.
pub(super) const LEFT_BEHIND: &str = "left behind";

/// Opens so many logs, appends as many records to each, and ends without another word.
///
/// # Errors
/// Of a log.
pub(crate) fn leave_open(dir: &Path, logs: usize, records: usize) -> Outcome<()> {
    super::open_logs::allow_logs(logs)?;
    let mut open = Vec::with_capacity(logs);
    for log in 0..logs {
        let log = Log::open(folder(dir, log), config())?;
        for _ in 0..records {
            log.append(&[Record::value(LEFT_BEHIND)])?;
        }
        open.push(log);
    }
    // Nothing is dropped, and so nothing is closed.
    std::process::exit(0)
}

/// Has another process do so.
///
/// # Errors
/// If it fails.
pub(crate) fn crash(dir: &Path, logs: usize, records: usize) -> Outcome<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("leave-open").arg(dir).args([logs.to_string(), records.to_string()]);
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).output()?;
    if ended.status.success() {
        return Ok(());
    }
    Err(format!("logs were not left open: {}", String::from_utf8_lossy(&ended.stderr).trim()).into())
}
