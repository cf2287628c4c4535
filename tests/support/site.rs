//! A place for a log in a temporary folder, and child processes that run one test of this program again.
//!
//! No assertions about logs here. The invariant it owns: whatever is made here is gone when its owner is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Tells a child of a test what it is to do.
const CHILD_PLACE: &str = "KSTORE_TEST_PLACE";

/// A temporary folder with room for a log in it.
#[derive(Debug)]
pub(crate) struct Site {
    folder: TempDir,
    dir: PathBuf,
}

impl Site {
    /// The log's directory is not there yet.
    pub(crate) fn new() -> Site {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = std::fs::canonicalize(folder.path()).expect("it is there").join("orders-0");
        Site { folder, dir }
    }

    /// Where the log goes.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder around it.
    pub(crate) fn parent(&self) -> &Path {
        self.dir.parent().expect("it was joined")
    }

    /// A file in the log's directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The files and their bytes, to be compared before and after.
    pub(crate) fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = std::fs::read_dir(&self.dir).expect("a readable folder");
        let paths = entries.map(|entry| entry.expect("a readable folder").path()).filter(|path| path.is_file());
        paths.map(|path| (path.clone(), std::fs::read(&path).expect("a readable file"))).collect()
    }
}

/// The name of a segment's `.log`.
pub(crate) fn log_name(base: u64) -> String {
    format!("{base:020}.log")
}

/// Where this process is to work, if it is a test's child.
pub(crate) fn place_of_child() -> Option<PathBuf> {
    std::env::var_os(CHILD_PLACE).map(PathBuf::from)
}

/// Runs one test of `program` (this one, or a copy of it) in a child, by way of `wrapper`, to which program and
/// arguments are appended.
pub(crate) fn run_child(wrapper: &[&str], program: &Path, test: &str, place: &Path) -> Output {
    let mut command = match wrapper {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD_PLACE, place);
    command.output().expect("a child process")
}

/// As [`run_child`] with this program; fails if the child's test fails or was not found.
pub(crate) fn expect_child(wrapper: &[&str], test: &str, place: &Path) {
    let program = std::env::current_exe().expect("this program");
    assert_passed(&run_child(wrapper, &program, test, place));
}

/// Fails with the child's words if its test failed, or was not there.
pub(crate) fn assert_passed(output: &Output) {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "the child failed:\n{said}");
}

/// Says where nobody can overlook it that a test did not run.
pub(crate) fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED: {test}: {why}");
}
