//! The order of the workload's system calls: what must be synced is, before anything is promised that relies on it.
//!
//! Power cuts do not find all of that, for ext4, xfs and btrfs keep more than they must. The invariant it owns: each rule
//! that is judged here is shown to be found broken in a trace that breaks it. Of one thread's trace, for while others append
//! there are always bytes that are not yet promised; the log's own worker is a second one.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use tempfile::tempdir;

use crate::skip;
use crate::tortured::Tortured;
use crate::trace::{Call, OPTIONS, calls};

/// Every call that changes a file or a name, or makes a change durable.
const TRACED: &str = "trace=openat,open,creat,mkdir,mkdirat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,\
    fallocate,fdatasync,fsync,sync_file_range,msync,rename,renameat,renameat2,unlink,unlinkat,link,linkat,rmdir";

/// What is known of the files while a trace is read.
#[derive(Default)]
struct Disk {
    /// By path: when each was last changed and named, and when the last good sync of it began.
    files: BTreeMap<String, Times>,
    /// The same of directories.
    directories: BTreeMap<String, Times>,
    /// Since when a truncation is under way; what it removes must stay removed.
    truncating: bool,
    /// When the last promise was made, and when the last good sync of a segment began: what a store into a map changes is in
    /// no trace, but that something was synced since is.
    promised: Option<usize>,
    segment_synced: Option<usize>,
    /// What was seen, so that a trace that shows nothing proves nothing.
    seen: Seen,
}

#[derive(Clone, Copy, Default)]
struct Times {
    changed: Option<usize>,
    /// When it got its name.
    named: Option<usize>,
    /// When a file was last cut, when a name in a directory was last removed.
    shortened: Option<usize>,
    synced: Option<usize>,
}

impl Times {
    /// Whether the last change is not covered by a sync that began after it.
    fn is_dirty(&self) -> bool {
        self.changed > self.synced
    }

    fn is_shortened(&self) -> bool {
        self.shortened > self.synced
    }

    fn change(&mut self, at: usize) {
        self.changed = Some(at);
    }

    fn shorten(&mut self, at: usize) {
        (self.changed, self.shortened) = (Some(at), Some(at));
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    promises: usize,
    truncations: usize,
    segments: usize,
    cuts: usize,
    renames: usize,
    unlinks: usize,
    directory_syncs: usize,
}

/// Reads a trace of a run over `dir`, and says what in it breaks a rule.
fn judge(trace: &str, dir: &str) -> Result<Seen, String> {
    let mut calls = calls(trace)?;
    // What is said counts from when it begins to be said, everything else once it is done.
    calls.sort_by_key(|call| if call.name == "write" { call.begin } else { call.end });
    let mut disk = Disk::default();
    for call in &calls {
        disk.take(call, dir).map_err(|rule| format!("{rule}: {call:?}"))?;
    }
    Ok(disk.seen)
}

fn folder_of(path: &str) -> String {
    Path::new(path).parent().map_or_else(String::new, |folder| folder.display().to_string())
}

/// What is made anew from the log whenever it is in doubt, so that nothing relies on it.
fn is_index(path: &str) -> bool {
    let name = path.strip_suffix(".truncating").unwrap_or(path);
    name.ends_with(".index") || name.ends_with(".timeindex")
}

/// A segment of the log itself; that in `cursors/`, and what is about to go, have no promises.
fn is_segment(path: &str, dir: &str) -> bool {
    path.ends_with(".log") && folder_of(path) == dir
}

/// Whether all that the trace shows of what is written is zeros, which is more than a batch has in one place.
fn writes_zeros(call: &Call) -> bool {
    let shown = call.arguments.split('"').nth(1).unwrap_or_default();
    !shown.is_empty() && shown.replace("\\0", "").is_empty()
}

impl Disk {
    fn take(&mut self, call: &Call, dir: &str) -> Result<(), String> {
        match call.name.as_str() {
            "openat" | "open" => return self.open(call, dir),
            "write" if call.file().is_none_or(|file| !file.starts_with(dir)) => return self.say(call, dir),
            "sync_file_range" | "msync" => return Err("rule 4, 20a: this is no sync".to_owned()),
            "creat" | "write" | "writev" | "link" | "linkat" | "unlinkat" | "renameat" | "renameat2" | "mkdirat"
            | "truncate" | "rmdir" => {
                return Err("a call that is not expected of the engine".to_owned());
            }
            _ if !call.succeeded() => {}
            // So does room that is filled with them ahead of appends: no batch begins like that.
            "pwrite64" if call.file().is_some_and(|file| is_segment(file, dir)) && writes_zeros(call) => {}
            "pwrite64" | "pwritev" | "pwritev2" => return self.write(call, dir),
            "ftruncate" => {
                let file = call.file().ok_or("a descriptor without a path")?;
                if is_segment(file, dir) {
                    self.check_removals(dir)?;
                    self.seen.cuts += 1;
                }
                self.files.entry(file.to_owned()).or_default().shorten(call.end);
            }
            "fdatasync" | "fsync" => {
                let path = call.file().ok_or("a descriptor without a path")?;
                let times = match self.directories.get_mut(path) {
                    Some(directory) => directory,
                    None => self.files.entry(path.to_owned()).or_default(),
                };
                times.synced = times.synced.max(Some(call.begin));
                if is_segment(path, dir) {
                    self.segment_synced = self.segment_synced.max(Some(call.begin));
                }
                self.seen.directory_syncs += usize::from(path == dir);
            }
            "mkdir" => {
                let made = call.names().first().copied().ok_or("a directory without a name")?.to_owned();
                self.directories.entry(folder_of(&made)).or_default();
                self.directories.entry(made).or_default().named = Some(call.end);
            }
            "rename" => return self.rename(call),
            "unlink" => return self.unlink(call, dir),
            // Room that is allocated holds zeros, and says nothing.
            "fallocate" => {}
            other => return Err(format!("{other} is not judged")),
        }
        Ok(())
    }

    fn open(&mut self, call: &Call, dir: &str) -> Result<(), String> {
        let names = call.names();
        let Some(name) = names.first().filter(|name| name.starts_with(dir)) else { return Ok(()) };
        if call.arguments.contains("O_APPEND") {
            return Err("rule 7: opened for appending".to_owned());
        }
        if call.succeeded() && call.arguments.contains("O_CREAT") && !self.files.contains_key(*name) {
            self.files.insert((*name).to_owned(), Times { named: Some(call.end), ..Times::default() });
            self.directories.entry(folder_of(name)).or_default();
            self.seen.segments += usize::from(is_segment(name, dir));
        }
        Ok(())
    }

    fn write(&mut self, call: &Call, dir: &str) -> Result<(), String> {
        let file = call.file().ok_or("a descriptor without a path")?;
        let times = self.files.entry(file.to_owned()).or_default();
        if is_segment(file, dir) && times.is_shortened() {
            return Err("rule 10: appended behind a cut that is not synced".to_owned());
        }
        times.change(call.end);
        Ok(())
    }

    fn rename(&mut self, call: &Call) -> Result<(), String> {
        let names = call.names();
        let [from, to] = names[..] else { return Err("a rename without two names".to_owned()) };
        if from.ends_with("/.lock") || to.ends_with("/.lock") {
            return Err("rule 30: the lock file is renamed".to_owned());
        }
        let mut times = self.files.remove(from).unwrap_or_default();
        // One that may come back under its old name needs no sync.
        times.named = None;
        self.seen.renames += 1;
        // What is about to go need not be there, and may come back.
        if !to.ends_with(".deleted") && !is_index(to) {
            self.check_removals(&folder_of(to))?;
            if times.is_dirty() {
                return Err("rule 14: renamed before it was synced".to_owned());
            }
            times.named = Some(call.end);
            self.directories.entry(folder_of(to)).or_default();
        }
        self.files.insert(to.to_owned(), times);
        Ok(())
    }

    fn unlink(&mut self, call: &Call, dir: &str) -> Result<(), String> {
        let names = call.names();
        let name = *names.first().ok_or("an unlink without a name")?;
        if name.ends_with("/.lock") {
            return Err("rule 30: the lock file is removed".to_owned());
        }
        self.files.remove(name);
        self.seen.unlinks += 1;
        if self.truncating && is_segment(name, dir) {
            self.check_removals(dir)?;
            self.directories.entry(folder_of(name)).or_default().shorten(call.end);
        }
        Ok(())
    }

    /// While a log is truncated, one segment after the other goes, and each for good before the next is touched.
    fn check_removals(&self, folder: &str) -> Result<(), String> {
        if self.truncating && self.directories.get(folder).is_some_and(Times::is_shortened) {
            return Err("rule 16: the removal of the segment before is not synced".to_owned());
        }
        Ok(())
    }

    /// A line of the run: what it promises must be durable.
    fn say(&mut self, call: &Call, dir: &str) -> Result<(), String> {
        let names = call.names();
        let line = names.first().copied().unwrap_or_default();
        let Some(line) = line.strip_suffix("\\n").filter(|line| !line.contains("\\n")) else {
            return Err("a write that is not one line".to_owned());
        };
        if line.starts_with("TRUNC ") {
            self.truncating = true;
        }
        if !line.starts_with("ACK ") && !line.starts_with("TRUNCATED ") {
            return Ok(());
        }
        self.seen.promises += 1;
        if line.starts_with("TRUNCATED ") {
            self.seen.truncations += 1;
            self.truncating = false;
        }
        if line.starts_with("ACK ") && self.segment_synced <= self.promised {
            return Err("rule 1: nothing was synced since the last promise".to_owned());
        }
        self.promised = Some(call.begin);
        let dirty =
            |(path, times): (&String, &Times)| (is_segment(path, dir) && times.is_dirty()).then(|| path.clone());
        if let Some(path) = self.files.iter().find_map(dirty) {
            return Err(format!("rule 1: {path} is not synced"));
        }
        // Only the way to the log counts, not the folders in it; and removals, where a truncation made them.
        let all = self.files.iter().chain(&self.directories);
        for (path, times) in
            all.filter(|(path, _)| path.as_str() == dir || folder_of(path) == dir || dir.starts_with(path.as_str()))
        {
            let synced = self.directories.get(&folder_of(path)).and_then(|folder| folder.synced);
            if times.named.is_some() && times.named > synced {
                return Err(format!("rule 12: the name {path} is not synced"));
            }
        }
        if self.directories.get(dir).is_some_and(Times::is_shortened) {
            return Err("rule 15: a removal is not synced".to_owned());
        }
        Ok(())
    }
}

fn judge_a_run(options: &[&str]) {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("the order of the system calls", "strace is missing");
    }
    let folder = tempdir().expect("a temporary folder");
    let folder = std::fs::canonicalize(folder.path()).map(|path| (path, folder)).expect("it is there");
    // Two levels that are not there yet.
    let dir = folder.0.join("new").join("log");
    let trace = folder.0.join("trace");
    let mut words: Vec<String> = vec!["strace".to_owned()];
    words.extend(OPTIONS.map(str::to_owned));
    words.extend(["-e".to_owned(), TRACED.to_owned(), "-o".to_owned(), trace.display().to_string()]);
    for seed in [1, 2] {
        let mut log = Tortured::new(&dir, &folder.0.join("notes"));
        let running = log.start(&words, seed, &[options, &["--records", "5000"]].concat());
        assert_eq!(log.end(running).code, Some(0));
        let text = std::fs::read_to_string(&trace).expect("a trace");
        let seen = judge(&text, dir.to_str().expect("UTF-8")).unwrap_or_else(|broken| log.fail(&broken));
        println!("{seen:?}");
        let Seen { promises, truncations, segments, cuts, renames, unlinks, directory_syncs } = seen;
        assert!(promises > 50 && segments > 10 && truncations > 2 && directory_syncs > 10 && unlinks > 2, "{promises}");
        assert!(cuts > 0 && (renames > 0 || seed == 2), "{cuts} cuts, {renames} renames");
        log.verify(&[]);
        std::fs::remove_dir_all(folder.0.join("new")).expect("the log");
    }
}

#[test]
fn each_promise_comes_after_the_syncs_that_it_rests_on() {
    judge_a_run(&[]);
}

#[test]
fn each_promise_comes_after_the_syncs_that_it_rests_on_where_room_is_allocated_ahead() {
    judge_a_run(&["--preallocated"]);
}

#[test]
fn each_promise_comes_after_the_syncs_that_it_rests_on_where_maps_are_stored_into() {
    judge_a_run(&["--mapped"]);
}

#[test]
fn a_promise_without_a_sync_since_the_last_one_is_found() {
    let trace = [&SOUND[..9], &["7 write(1</o>, \"ACK 1\\n\", 6) = 6"]].concat();
    assert!(judge(&SOUND[..9].join("\n"), "/t/d").is_ok());
    assert!(judge(&trace.join("\n"), "/t/d").is_err_and(|why| why.starts_with("rule 1:")));
}

// A window is filled by another thread whenever it comes to it, and its zeros are no part of a promise.
#[test]
fn zeros_behind_the_log_end_need_no_sync_and_records_do() {
    let with = |content: &str| {
        let write = format!("8 pwrite64(4</t/d/0.log>, \"{content}\"..., 100, 100) = 100");
        judge(&[&SOUND[..8], &[write.as_str()], &SOUND[8..9]].concat().join("\n"), "/t/d")
    };
    assert!(with("\\0\\0\\0\\0").is_ok());
    assert!(with("\\0\\0\\0\\1").is_err_and(|why| why.starts_with("rule 1:")));
}

/// A sound trace of a new log, a roll, and a truncation.
const SOUND: [&str; 19] = [
    "7 mkdir(\"/t/d\", 0777) = 0",
    "7 openat(AT_FDCWD</>, \"/t\", O_RDONLY|O_CLOEXEC) = 3</t>",
    "7 fsync(3</t>) = 0",
    "7 openat(AT_FDCWD</>, \"/t/d/0.log\", O_RDWR|O_CREAT|O_EXCL, 0666) = 4</t/d/0.log>",
    "7 pwrite64(4</t/d/0.log>, \"\\1\"..., 100, 0) = 100",
    "7 fdatasync(4</t/d/0.log>) = 0",
    "7 openat(AT_FDCWD</>, \"/t/d\", O_RDONLY|O_CLOEXEC) = 3</t/d>",
    "7 fsync(3</t/d>) = 0",
    "7 write(1</o>, \"ACK 0\\n\", 6) = 6",
    "7 write(1</o>, \"TRUNC 0\\n\", 8) = 8",
    "7 unlink(\"/t/d/9.log\") = 0",
    "7 fsync(5</t/d>) = 0",
    "7 ftruncate(4</t/d/0.log>, 0) = 0",
    "7 fdatasync(4</t/d/0.log>) = 0",
    "7 pwrite64(4</t/d/0.log>, \"\\1\"..., 100, 0) = 100",
    "7 fdatasync(4</t/d/0.log>) = 0",
    "7 rename(\"/t/d/0.log\", \"/t/d/1.log\") = 0",
    "7 fsync(5</t/d>) = 0",
    "7 write(1</o>, \"TRUNCATED 0\\n\", 12) = 12",
];

#[test]
fn a_sound_trace_is_found_sound() {
    let seen = judge(&SOUND.join("\n"), "/t/d").expect("sound");
    let expected =
        Seen { promises: 2, truncations: 1, segments: 1, cuts: 1, renames: 1, unlinks: 1, directory_syncs: 3 };
    assert_eq!(seen, expected);
}

#[test]
fn each_sync_that_is_left_out_is_found_missing() {
    let syncs: Vec<usize> = (0..SOUND.len()).filter(|&at| SOUND[at].contains("sync(")).collect();
    assert_eq!(syncs.len(), 7);
    for at in syncs {
        let mut trace = SOUND.to_vec();
        let left_out = trace.remove(at);
        assert!(judge(&trace.join("\n"), "/t/d").is_err(), "without line {at}, {left_out}");
        // One that failed is none.
        let failed = SOUND[at].replace(") = 0", ") = -1 EIO (Input/output error)");
        let mut trace = SOUND.to_vec();
        trace[at] = &failed;
        assert!(judge(&trace.join("\n"), "/t/d").is_err(), "with {failed}");
    }
}

#[test]
fn a_sync_that_began_before_the_write_is_none_of_it() {
    let trace = [
        "7 fdatasync(4</t/d/0.log> <unfinished ...>",
        "8 pwrite64(4</t/d/0.log>, \"\\1\"..., 100, 0) = 100",
        "7 <... fdatasync resumed>) = 0",
        "8 write(1</o>, \"ACK 0\\n\", 6) = 6",
    ];
    assert!(judge(&trace.join("\n"), "/t/d").is_err_and(|why| why.starts_with("rule 1:")));
}

#[test]
fn what_no_rule_allows_is_found() {
    for (line, rule) in [
        ("7 openat(AT_FDCWD</>, \"/t/d/0.log\", O_RDWR|O_APPEND) = 4</t/d/0.log>", "rule 7"),
        ("7 unlink(\"/t/d/.lock\") = 0", "rule 30"),
        ("7 rename(\"/t/d/.lock\", \"/t/d/.lock.old\") = 0", "rule 30"),
        ("7 sync_file_range(4</t/d/0.log>, 0, 0, 0) = 0", "rule 4"),
        ("7 write(4</t/d/0.log>, \"\\1\", 1) = 1", "a call that is not expected"),
        ("7 write(1</o>, \"ACK 0\\nACK 1\\n\", 12) = 12", "a write that is not one line"),
        ("7 write(1</o>, \"ACK 0\", 5) = 5", "a write that is not one line"),
    ] {
        let found = judge(line, "/t/d");
        assert!(found.as_ref().is_err_and(|why| why.starts_with(rule)), "{line}: {found:?}");
    }
}
