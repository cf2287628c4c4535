//! A directory that `workload` runs over, again and again, whatever is done to it meanwhile.
//!
//! What it prints goes to a file: each line is one `write`, so that what the file holds at a moment is what was said by
//! then. The invariant it owns: no run and no check of it goes unjudged, and a failure tells the whole story.

use std::fs::File;
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::programs::program;
use super::promises::Promises;

/// Whoever takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// `kill -9`.
const KILLED: i32 = 9;
/// What a store into a map gets when the disk is gone.
const BUS_ERROR: i32 = 7;
/// Lines of a story that a failure tells.
const STORY_LINES: usize = 12;

/// The directory, what was promised about it, and what happened to it.
pub(crate) struct Tortured {
    dir: PathBuf,
    /// Where the programs' output goes, which no torture reaches.
    notes: PathBuf,
    pub(crate) promises: Promises,
    story: Vec<String>,
}

/// A run that goes on.
pub(crate) struct Running {
    child: Child,
    said: PathBuf,
    complained: PathBuf,
    killed: bool,
    /// It stores into maps, and will lose its disk.
    pub(crate) may_get_bus_error: bool,
}

/// How a run ended.
pub(crate) struct Ending {
    /// `None` if it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) lines: Vec<String>,
}

impl Tortured {
    pub(crate) fn new(dir: &Path, notes: &Path) -> Tortured {
        std::fs::create_dir_all(notes).expect("a folder for notes");
        let promises = Promises::default();
        Tortured { dir: dir.to_path_buf(), notes: notes.to_path_buf(), promises, story: Vec::new() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts a run, behind the words of another command (`strace …`), if there are any.
    pub(crate) fn start(&mut self, before: &[String], seed: u64, options: &[&str]) -> Running {
        let threads = options.iter().position(|option| *option == "--threads").map(|at| options[at + 1]);
        self.promises.begin(threads.map_or(1, |threads| threads.parse().expect("a number of threads")));
        self.story.push(format!("{} workload run DIR {seed} {}", before.join(" "), options.join(" ")));
        let seed = seed.to_string();
        self.spawn(before, &["run", self.dir.to_str().expect("UTF-8"), &seed], options)
    }

    /// Starts a check that nobody waits for: to be killed in the middle of its recovery.
    pub(crate) fn start_verify(&mut self, before: &[String]) -> Running {
        self.story.push("workload verify DIR".to_owned());
        self.spawn(before, &["verify", self.dir.to_str().expect("UTF-8")], &[])
    }

    fn spawn(&self, before: &[String], call: &[&str], options: &[&str]) -> Running {
        let workload = program("workload");
        let mut command = match before.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(workload.get_program());
                command
            }
            None => workload,
        };
        let (said, complained) = (self.notes.join("said"), self.notes.join("complained"));
        let file = |path: &Path| Stdio::from(File::create(path).expect("a file for notes"));
        command.args(call).args(options).stdin(Stdio::null()).stdout(file(&said)).stderr(file(&complained));
        let child = command.spawn().unwrap_or_else(|error| panic!("{before:?}: {error}"));
        Running { child, said, complained, killed: false, may_get_bus_error: false }
    }

    /// Waits for the end of a run. It may end by itself, by an error that it tells, or by our hand.
    pub(crate) fn end(&mut self, running: Running) -> Ending {
        let ending = self.end_unheard(running);
        if let Err(fault) = self.promises.hear_all(ending.lines.iter().map(String::as_str)) {
            self.fail(&fault);
        }
        ending
    }

    /// The same, but for the promises: of a run whose lines were heard before its end.
    pub(crate) fn end_unheard(&mut self, mut running: Running) -> Ending {
        let status = running.wait();
        let said = running.heard();
        let lines: Vec<String> = said.lines().map(str::to_owned).collect();
        let last = lines.iter().skip(lines.len().saturating_sub(STORY_LINES)).cloned();
        self.story.extend(last);
        self.story.push(format!("ended with {status}"));
        let told = lines.last().is_some_and(|line| line.starts_with("ERR "));
        let proper = match (status.code(), status.signal()) {
            (Some(0), None) => !told,
            (Some(1), None) => told,
            (None, Some(KILLED)) => running.killed,
            (None, Some(BUS_ERROR)) => running.may_get_bus_error,
            _ => false,
        };
        if !proper || !(said.is_empty() || said.ends_with('\n')) {
            let complaint = std::fs::read_to_string(&running.complained).expect("notes");
            self.fail(&format!("an improper end: {status}\n{complaint}"));
        }
        Ending { code: status.code(), lines }
    }

    /// Waits for the end of a check that may fail, but not improperly, and returns its exit code.
    pub(crate) fn end_check(&mut self, mut running: Running) -> i32 {
        let status = running.wait();
        let said = running.heard();
        let last = said.lines().last().unwrap_or_default();
        let told = last.starts_with("ERR ") || last.starts_with("BAD ");
        match status.code() {
            Some(0) if !told => 0,
            Some(1) if told => 1,
            _ => {
                let complaint = std::fs::read_to_string(&running.complained).expect("notes");
                self.fail(&format!("verify: an improper end: {status}\n{said}{complaint}"))
            }
        }
    }

    /// Checks the directory against what was promised, and returns what is there.
    pub(crate) fn verify(&mut self, before: &[String]) -> Range<u64> {
        let (status, said) = self.run_verify(before);
        if status.code() != Some(0) {
            self.fail(&format!("verify: {status}\n{said}"));
        }
        self.judge(&said)
    }

    /// The same on a full disk, on which an opening that must make something anew may say that there is no room for it.
    pub(crate) fn verify_if_there_is_room(&mut self, before: &[String]) -> Option<Range<u64>> {
        let (status, said) = self.run_verify(before);
        let last = said.lines().last().unwrap_or_default();
        match status.code() {
            Some(0) => Some(self.judge(&said)),
            Some(1) if last.starts_with("ERR ") && last.ends_with(": no room") => {
                self.story.push(last.to_owned());
                None
            }
            _ => self.fail(&format!("verify: {status}\n{said}")),
        }
    }

    fn run_verify(&mut self, before: &[String]) -> (ExitStatus, String) {
        let mut running = self.start_verify(before);
        let status = running.wait();
        let complaint = std::fs::read_to_string(&running.complained).expect("notes");
        (status, running.heard() + &complaint)
    }

    fn judge(&mut self, said: &str) -> Range<u64> {
        match self.promises.judge(said) {
            Ok(found) => {
                self.story.push(format!("verified {found:?}"));
                found
            }
            Err(fault) => self.fail(&format!("{fault}\nafter {:?}\n{said}", self.promises)),
        }
    }

    /// The same directory, promises and story, in a copy of the world.
    pub(crate) fn fork(&self) -> Tortured {
        let (dir, notes) = (self.dir.clone(), self.notes.clone());
        Tortured { dir, notes, promises: self.promises.clone(), story: self.story.clone() }
    }

    /// Something that was done to the directory, for the story.
    pub(crate) fn note(&mut self, what: String) {
        self.story.push(what);
    }

    pub(crate) fn fail(&self, fault: &str) -> ! {
        let first = self.story.len().saturating_sub(4 * STORY_LINES);
        panic!("{fault}\nthe story of {}:\n{}", self.dir.display(), self.story[first..].join("\n"));
    }
}

impl Running {
    /// What was said so far; whole lines.
    pub(crate) fn heard(&self) -> String {
        std::fs::read_to_string(&self.said).expect("notes")
    }

    /// Waits until so many lines were said, or the run is over.
    pub(crate) fn wait_for_lines(&mut self, lines: usize) {
        let begin = Instant::now();
        while self.heard().lines().count() < lines && self.goes_on() {
            assert!(begin.elapsed() < PATIENCE, "it says nothing");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn goes_on(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    pub(crate) fn kill(&mut self) {
        // One that has ended cannot be killed any more, which is no fault.
        self.killed = self.child.kill().is_ok();
    }

    fn wait(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            if begin.elapsed() > PATIENCE {
                self.child.kill().expect("it still runs");
                self.child.wait().expect("it was killed");
                panic!("it hangs, having said:\n{}", self.heard());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Running {
    /// Nobody is left behind where a test fails.
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}
