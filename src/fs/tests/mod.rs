//! The seam keeps one contract on both of its halves.

use std::path::{Path, PathBuf};

use super::sim::SimDisk;
use super::{Env, File, OpenMode};

mod contract;
mod differential;
mod real;
mod transfer;

/// A place to work in, on one half of the seam.
struct Ground {
    env: Env,
    dir: PathBuf,
    /// The simulated disk, where it is one.
    disk: Option<SimDisk>,
    /// Removes the real directory at the end.
    _kept: Option<tempfile::TempDir>,
}

impl Ground {
    fn real() -> Ground {
        let kept = tempfile::tempdir().expect("a temporary directory");
        let dir = kept.path().canonicalize().expect("its real path");
        Ground { env: Env::real(), dir, disk: None, _kept: Some(kept) }
    }

    fn simulated() -> Ground {
        let disk = SimDisk::new(1);
        disk.create_dir_all("/d");
        Ground { env: Env::sim(&disk), dir: PathBuf::from("/d"), disk: Some(disk), _kept: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn create(&self, name: &str) -> File {
        self.env.open(&self.path(name), OpenMode::CreateNew).expect("a new file")
    }

    fn content(&self, name: &str) -> Vec<u8> {
        content(&self.env.open(&self.path(name), OpenMode::Read).expect("a file"))
    }
}

fn content(file: &File) -> Vec<u8> {
    let len = usize::try_from(file.len().expect("a length")).expect("a short file");
    let mut bytes = vec![0; len];
    let read = super::read_exact_at(file, &mut bytes, crate::offset::Position::ZERO).expect("the content");
    assert_eq!(read, len);
    bytes
}

fn names(env: &Env, dir: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = env.list(dir).expect("a listing").into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}
