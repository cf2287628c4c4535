//! Where the benches write: a folder of their own, on a disk, and gone afterwards.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::Outcome;

/// A folder for the files of one run.
pub(crate) struct Place {
    dir: TempDir,
    file_system: String,
}

impl Place {
    /// A folder below `parent`, or below cargo's own for such files.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn below(parent: Option<PathBuf>) -> Outcome<Place> {
        let parent = parent.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
        std::fs::create_dir_all(&parent)?;
        let dir = tempfile::Builder::new().prefix("kstore-bench-").tempdir_in(parent)?;
        let file_system = file_system_of(&dir.path().canonicalize()?).unwrap_or_else(|| "an unknown one".into());
        Ok(Place { dir, file_system })
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The file system that the folder lies in, by the system's name for it.
    pub(crate) fn file_system(&self) -> &str {
        &self.file_system
    }

    /// Whether a sync there reaches a disk at all.
    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.file_system.as_str(), "tmpfs" | "ramfs")
    }
}

/// The type of the mount whose path is the longest that leads to `dir`.
fn file_system_of(dir: &Path) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let found = mounts.lines().filter_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        let point = Path::new(mount.split(' ').nth(4)?);
        dir.starts_with(point).then_some((point.components().count(), rest.split(' ').next()?))
    });
    // Of two mounts on one path the later one is seen, which `max_by_key` prefers.
    found.max_by_key(|(depth, _)| *depth).map(|(_, name)| name.to_string())
}
