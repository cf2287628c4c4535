//! Apache Kafka's own log classes in a process beside the tests: it is given commands and answers in lines.
//!
//! It is built by Maven outside the tree, once a run. Where `mvn` or `java` is missing, or nothing can be fetched, the
//! tests say loudly that they did not run.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// A running Kafka.
#[derive(Debug)]
pub(crate) struct Judge {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What Kafka says that a directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Log start and log end.
    pub(crate) bounds: (u64, u64),
    /// Leader epochs and where they begin.
    pub(crate) epochs: Vec<(i32, u64)>,
    /// One line a record: offset, timestamp, key, value, headers.
    pub(crate) records: Vec<String>,
    /// For each timestamp in the log the first record that is as late: offset and timestamp.
    pub(crate) times: Vec<(i64, Option<(u64, i64)>)>,
}

impl Judge {
    /// Starts one, or says why there is none.
    pub(crate) fn start() -> Option<Judge> {
        static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        match BUILT.get_or_init(build) {
            Ok(built) => {
                let classes = format!("{0}/classes:{0}/lib/*", built.display());
                let mut process = Command::new("java")
                    .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &classes, "Judge"])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .expect("java starts, for Maven did");
                let commands = process.stdin.take().expect("a pipe");
                let answers = BufReader::new(process.stdout.take().expect("a pipe"));
                Some(Judge { process, commands, answers })
            }
            Err(why) => {
                // Past the harness, which keeps what passing tests print to itself.
                let said = format!("\n!!!\n!!! NOT RUN: a test with Kafka as the judge: {why}\n!!!\n");
                std::io::stderr().write_all(said.as_bytes()).expect("standard error is open");
                None
            }
        }
    }

    /// What Kafka reads after it opened the directory, which it changes as it sees fit.
    pub(crate) fn read(&mut self, dir: &Path, shutdown: &str) -> Verdict {
        self.read_from(dir, shutdown, 0)
    }

    /// As [`Judge::read`], given a log start as Kafka keeps it outside the directory.
    pub(crate) fn read_from(&mut self, dir: &Path, shutdown: &str, log_start: u64) -> Verdict {
        let mut verdict = Verdict::default();
        for line in self.ask(&format!("read {} {shutdown} {log_start} 0", dir.display())) {
            let (kind, rest) = line.split_once(' ').expect("a kind and more");
            let words: Vec<&str> = rest.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().expect("a number");
            let time = |at: usize| words[at].parse::<i64>().expect("a number");
            match kind {
                "bounds" => verdict.bounds = (number(0), number(1)),
                "epoch" => verdict.epochs.push((words[0].parse().expect("an epoch"), number(1))),
                "record" => verdict.records.push(rest.to_owned()),
                "time" => verdict.times.push((time(0), (words[1] != "none").then(|| (number(1), time(2))))),
                _ => panic!("an answer of an unknown kind: {line}"),
            }
        }
        verdict
    }

    /// Has Kafka append batches of two records, and close.
    pub(crate) fn append(&mut self, dir: &Path, shutdown: &str, batches: u64, epoch: i32) {
        self.ask(&format!("append {} {shutdown} {batches} {epoch}", dir.display()));
    }

    /// Has Kafka append batches of two records, and kills it meanwhile.
    pub(crate) fn append_and_be_killed(mut self, dir: &Path, shutdown: &str, epoch: i32, after: Duration) {
        // What it does first takes long, and would be all that there is.
        self.append(dir, shutdown, 1, epoch);
        writeln!(self.commands, "append {} clean 1000000 {epoch}", dir.display()).expect("Kafka listens");
        std::thread::sleep(after);
        self.process.kill().expect("it still runs");
        self.process.wait().expect("it was killed");
    }

    /// Has Kafka truncate, and close.
    pub(crate) fn truncate(&mut self, dir: &Path, shutdown: &str, end: u64) {
        self.ask(&format!("truncate {} {shutdown} {end}", dir.display()));
    }

    fn ask(&mut self, command: &str) -> Vec<String> {
        writeln!(self.commands, "{command}").expect("Kafka listens");
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.answers.read_line(&mut line).expect("Kafka answers") > 0, "Kafka ended in: {command}");
            let line = line.trim_end();
            if line == "done" {
                return lines;
            }
            assert!(!line.starts_with("failed "), "{command}: {line}");
            lines.push(line.to_owned());
        }
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn build() -> Result<PathBuf, String> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/pom.xml");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("judge");
    let mut command = Command::new("mvn");
    command.args(["-q", "-B", "-f"]).arg(&project).arg("package").arg(format!("-Dkstore.build={}", out.display()));
    match command.output() {
        Ok(output) if output.status.success() => Ok(out),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            Err(format!(
                "mvn failed: {}",
                said.lines().find(|line| line.contains("ERROR")).unwrap_or("no reason given")
            ))
        }
        Err(error) => Err(format!("mvn: {error}")),
    }
}
