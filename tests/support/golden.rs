//! The directories that Kafka wrote (`tests/golden/`), as tests use them: a copy to open, and Kafka's own answers.
//!
//! It knows no log and judges nothing. The invariant it owns: the files under `tests/golden/` are only ever read; what a
//! test opens is a copy.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

/// One directory and what Kafka said about it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The case's name, as its folder is called.
    pub(crate) name: String,
    folder: PathBuf,
}

/// A copy of a case's directory, removed when dropped.
#[derive(Debug)]
pub(crate) struct Copy {
    _parent: TempDir,
    dir: PathBuf,
}

impl Copy {
    /// The copied partition directory.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }
}

impl Case {
    /// Every case, by name.
    pub(crate) fn all() -> Vec<Case> {
        let mut cases: Vec<Case> = std::fs::read_dir(root())
            .expect("tests/golden")
            .map(|entry| entry.expect("a readable folder").path())
            .filter(|path| path.is_dir())
            .map(|folder| Case { name: file_name(&folder), folder })
            .collect();
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        cases
    }

    /// The case with that name.
    pub(crate) fn named(name: &str) -> Case {
        let case = Case { name: name.to_string(), folder: root().join(name) };
        assert!(case.folder.is_dir(), "there is no golden case {name}");
        case
    }

    /// Copies the partition directory into a folder of its own.
    pub(crate) fn copy(&self) -> Copy {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let dir = parent.path().join(format!("{}-0", self.name));
        std::fs::create_dir(&dir).expect("a new folder");
        for (name, bytes) in contents(&self.log()) {
            std::fs::write(dir.join(name), bytes).expect("a new file");
        }
        Copy { _parent: parent, dir }
    }

    /// The partition directory itself. Whatever is given this path must not write.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Whether Kafka closed the directory in order, so that its indexes may be trusted.
    pub(crate) fn is_clean(&self) -> bool {
        self.json("case.json")["shutdown"] == "clean"
    }

    /// A document of the case, for example `expected.json`.
    pub(crate) fn json(&self, file: &str) -> Value {
        let text = std::fs::read_to_string(self.folder.join(file)).expect(file);
        serde_json::from_str(&text).expect(file)
    }

    /// Whether the case has a file, for example `lookups-recovered.jsonl`.
    pub(crate) fn has(&self, file: &str) -> bool {
        self.folder.join(file).exists() || self.compressed(file).exists()
    }

    /// The lines of a file of answers, for example `records.jsonl`, as text.
    pub(crate) fn lines(&self, file: &str) -> Vec<String> {
        let compressed = std::fs::read(self.compressed(file)).expect(file);
        let mut text = String::new();
        flate2::read::GzDecoder::new(compressed.as_slice()).read_to_string(&mut text).expect(file);
        text.lines().map(str::to_string).collect()
    }

    /// The lines of a file of answers, parsed.
    pub(crate) fn values(&self, file: &str) -> Vec<Value> {
        self.lines(file).iter().map(|line| serde_json::from_str(line).expect(file)).collect()
    }

    fn compressed(&self, file: &str) -> PathBuf {
        self.folder.join(format!("{file}.gz"))
    }
}

/// The files of a directory and their bytes, to be compared before and after.
pub(crate) fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(dir)
        .expect("a readable folder")
        .map(|entry| entry.expect("a readable folder").path())
        .map(|path| (file_name(&path), std::fs::read(&path).expect("a readable file")))
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn file_name(path: &Path) -> String {
    path.file_name().and_then(|name| name.to_str()).expect("UTF-8 names").to_string()
}
