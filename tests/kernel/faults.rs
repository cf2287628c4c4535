//! One system call fails: the K-th of its kind in a thread, or each from the K-th on, with each error that it may give.
//!
//! `strace` gives the error in the kernel's stead. The run may go on, recover in place, or end with an error that it tells;
//! it may not do anything else, and what it promised is there. A check is treated the same way, over what a kill left.

use std::process::Command;

use tempfile::{TempDir, tempdir};

use crate::dice::{Dice, seed};
use crate::programs::program;
use crate::skip;
use crate::tortured::Tortured;

/// The first of each kind of call that are made to fail, of those that come after the program was loaded.
const MOST: u64 = 40;
/// A recovery makes fewer.
const MOST_OF_CHECK: u64 = 12;
/// How many records a run appends: enough for some rolls, syncs and a truncation.
const RECORDS: &str = "500";

/// A kind of call, and what it may say.
type Case = (&'static str, &'static [&'static str]);

const WRITES: [Case; 3] = [
    ("pwrite64", &["EIO", "ENOSPC", "EDQUOT", "EINTR"]),
    ("ftruncate", &["EIO", "EINTR"]),
    ("fallocate", &["ENOSPC", "EIO", "EOPNOTSUPP", "EINTR"]),
];
const SYNCS: [Case; 2] = [("fdatasync", &["EIO", "ENOSPC", "EINTR"]), ("fsync", &["EIO", "ENOSPC", "EINTR"])];
const NAMES: [Case; 3] =
    [("openat", &["EMFILE", "EIO", "ENOSPC", "EINTR"]), ("rename", &["EIO", "ENOSPC"]), ("unlink", &["EIO", "EACCES"])];
const MAPS: [Case; 6] = [
    ("mmap", &["ENOMEM"]),
    ("madvise", &["EINVAL", "ENOMEM"]),
    ("fallocate", &["ENOSPC", "EIO", "EOPNOTSUPP"]),
    ("ioctl", &["EIO", "EOPNOTSUPP"]),
    ("fdatasync", &["EIO"]),
    ("ftruncate", &["EIO"]),
];
const READS: [Case; 6] = [
    ("pread64", &["EIO", "EINTR"]),
    ("mmap", &["ENOMEM"]),
    ("getdents64", &["EIO"]),
    ("statx", &["EIO", "EACCES"]),
    ("flock", &["EIO", "ENOLCK"]),
    ("clone3", &["EAGAIN"]),
];

/// An error that must not be noticed: the call is simply made again, or need not be made. No sync is made again, and the
/// standard library lists no directory again, which local file systems do not interrupt.
fn is_harmless(call: &str, error: &str) -> bool {
    error == "EOPNOTSUPP" || error == "EINTR" && !matches!(call, "fdatasync" | "fsync" | "openat")
}

struct Faults {
    folder: TempDir,
    log: Tortured,
    dice: Dice,
}

fn inject(cases: &[Case], mode: &[&str]) {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("faults of system calls", "strace is missing");
    }
    let folder = tempdir().expect("a temporary folder");
    let log = Tortured::new(&folder.path().join("log"), &folder.path().join("notes"));
    let mut faults = Faults { folder, log, dice: Dice::new(seed("faults")) };
    // Something to open, and files whose maps can be refused.
    faults.run("", "", &[], mode);
    let all = std::env::var("KSTORE_FAULTS").is_ok_and(|value| value == "all");
    for (call, errors) in cases {
        let loading = faults.calls_while_loading(call);
        let most = MOST.min(faults.calls_in_a_run(call, mode).saturating_sub(loading)).max(1);
        let mut strikes = 0;
        for error in *errors {
            let places: Vec<(u64, bool)> = if all {
                (1..=MOST).flat_map(|place| [(place, false), (place, true)]).collect()
            } else {
                // The first ones are those of the opening.
                let mut place = |below| 1 + faults.dice.below(below);
                let (early, late) = (most.min(8), most);
                vec![(1, false), (place(early), false), (place(late), false), (place(early), true), (place(late), true)]
            };
            for (place, for_good) in places {
                let for_good = for_good && *error != "EINTR";
                let before = faults.strace(call, error, loading + place, for_good);
                faults.run(call, error, &before, mode);
                strikes += faults.strikes();
                if all || faults.dice.below(3) == 0 {
                    let before = faults.strace(call, error, loading + 1 + place % MOST_OF_CHECK, for_good);
                    faults.check(&before);
                    strikes += faults.strikes();
                }
            }
        }
        println!("{call}: {strikes} strikes");
        assert!(strikes > 0, "no {call} was ever struck, which proves nothing");
    }
}

impl Faults {
    /// How many calls of a kind the program makes before it looks at its arguments.
    fn calls_while_loading(&self, call: &str) -> u64 {
        if call == "mmap" {
            // Only those of the log's files are looked at.
            return 0;
        }
        let trace = self.folder.path().join("loading");
        let mut command = Command::new("strace");
        command.args(["-f", "-e", &format!("trace={call}"), "-o"]).arg(&trace).arg(program("workload").get_program());
        let output = command.output().expect("strace runs");
        assert_eq!(output.status.code(), Some(2), "a wrong call");
        let text = std::fs::read_to_string(&trace).expect("a trace");
        text.lines().filter(|line| line.contains(&format!("{call}("))).count() as u64
    }

    /// How many it makes in a run, loading included, in whichever thread.
    fn calls_in_a_run(&mut self, call: &str, mode: &[&str]) -> u64 {
        let before = self.strace(call, "", 0, false);
        self.run(call, "", &before, mode);
        let text = std::fs::read_to_string(self.folder.path().join("strikes")).expect("a trace");
        text.lines().filter(|line| line.contains(&format!("{call}("))).count() as u64
    }

    /// The words that have calls of a kind looked at, and from some place on answered with an error, if there is one.
    fn strace(&self, call: &str, error: &str, place: u64, for_good: bool) -> Vec<String> {
        let sticks = if for_good { "+" } else { "" };
        let inject = format!("inject={call}:error={error}:when={place}{sticks}");
        let trace = format!("trace={call}");
        let into = self.folder.path().join("strikes").display().to_string();
        let mut words = ["strace", "-f", "--seccomp-bpf", "-e", &trace, "-o", &into].map(str::to_owned).to_vec();
        if !error.is_empty() {
            words.extend(["-e".to_owned(), inject]);
        }
        if call == "mmap" {
            // Maps of files only: memory that is refused ends any program.
            for entry in std::fs::read_dir(self.log.dir()).into_iter().flatten() {
                let path = entry.expect("a folder").path();
                if path.extension().is_some_and(|ending| ending == "index" || ending == "timeindex" || ending == "log")
                {
                    words.extend(["-P".to_owned(), path.display().to_string()]);
                }
            }
        }
        words
    }

    /// How many calls were answered by us the last time.
    fn strikes(&self) -> usize {
        let trace = std::fs::read_to_string(self.folder.path().join("strikes")).expect("a trace");
        trace.lines().filter(|line| line.ends_with("(INJECTED)")).count()
    }

    fn run(&mut self, call: &str, error: &str, before: &[String], mode: &[&str]) {
        let seed = self.dice.below(u64::MAX);
        let running = self.log.start(before, seed, &[mode, &["--records", RECORDS]].concat());
        let ending = self.log.end(running);
        let noticed = ending.code != Some(0) || ending.lines.iter().any(|line| line == "REOPEN");
        if is_harmless(call, error) && noticed {
            self.log.fail(&format!("{error} from {call} is no failure"));
        }
        self.log.verify(&[]);
    }

    /// A fault in a recovery: it may say so, and the next one finds what is promised.
    fn check(&mut self, before: &[String]) {
        let seed = self.dice.below(u64::MAX);
        let mut running = self.log.start(&[], seed, &["--records", "3000000"]);
        running.wait_for_lines(5);
        running.kill();
        self.log.end(running);
        let checking = self.log.start_verify(before);
        let code = self.log.end_check(checking);
        self.log.note(format!("under {} it ended with {code}", before.join(" ")));
        self.log.verify(&[]);
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("a directory that cannot be made", "strace is missing");
    }
    let folder = tempdir().expect("a temporary folder");
    for place in [1, 2] {
        let log = Tortured::new(&folder.path().join("new").join("log"), &folder.path().join("notes"));
        let mut faults = Faults { folder: tempdir().expect("a temporary folder"), log, dice: Dice::new(0) };
        let before = faults.strace("mkdir", "ENOSPC", place, false);
        let running = faults.log.start(&before, 1, &["--records", "10"]);
        let ending = faults.log.end(running);
        assert_eq!((ending.code, faults.strikes()), (Some(1), 1));
        assert!(ending.lines[0].starts_with("ERR creating the directory ") && ending.lines[0].ends_with(": no room"));
        assert_eq!(faults.log.verify(&[]), 0..0);
        std::fs::remove_dir_all(folder.path().join("new")).expect("an empty log");
    }
}

#[test]
fn writes_that_fail_break_no_promise() {
    inject(&WRITES, &["--preallocated"]);
}

#[test]
fn syncs_that_fail_break_no_promise() {
    inject(&SYNCS, &[]);
}

#[test]
fn syncs_that_fail_under_many_threads_break_no_promise() {
    inject(&SYNCS, &["--threads", "4"]);
}

#[test]
fn names_that_cannot_be_changed_break_no_promise() {
    inject(&NAMES, &[]);
}

#[test]
fn reads_that_fail_break_no_promise() {
    inject(&READS, &[]);
}

#[test]
fn maps_that_fail_break_no_promise() {
    inject(&MAPS, &["--mapped"]);
}
