//! A file without a log: what the bare calls write to, and how they are read and opened again.
//!
//! It remembers nothing: neither where a record begins nor what a crash left.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::Outcome;

/// A file that grows at its end.
#[derive(Debug)]
pub(crate) struct Plain {
    file: File,
    path: PathBuf,
}

impl Plain {
    /// A new one.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn create(dir: &Path, name: &str) -> Outcome<Plain> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join(name);
        Ok(Plain { file: OpenOptions::new().read(true).append(true).create_new(true).open(&path)?, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// `write` at its end.
    ///
    /// # Errors
    /// Of the system.
    pub(crate) fn append(&self, bytes: &[u8]) -> Outcome<()> {
        Ok((&self.file).write_all(bytes)?)
    }

    /// `fdatasync`.
    ///
    /// # Errors
    /// Of the system.
    pub(crate) fn sync(&self) -> Outcome<()> {
        Ok(self.file.sync_data()?)
    }
}

/// Reads a file from its front to its back in large pieces, and checksums each: the limit of what a scan can do.
///
/// # Errors
/// Of the system.
pub(crate) fn read_and_checksum(path: &Path, chunk: &mut [u8]) -> Outcome<u64> {
    let file = File::open(path)?;
    let mut at = 0;
    loop {
        let read = file.read_at(chunk, at)?;
        if read == 0 {
            return Ok(at);
        }
        std::hint::black_box(crc32c::crc32c(&chunk[..read]));
        at += read as u64;
    }
}

/// As much as is read at once.
pub(crate) fn chunk() -> Vec<u8> {
    vec![0; 1 << 20]
}

/// The files of a log that end so, in the order of their names.
///
/// # Errors
/// If the folder cannot be listed.
pub(crate) fn files(dir: &Path, extension: &str) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ends| ends == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// `open` and `fstat` of each file: the least that whoever opens them all does.
///
/// # Errors
/// Of the system.
pub(crate) fn open_all(files: &[PathBuf]) -> Outcome<u64> {
    files.iter().map(|path| Ok(File::open(path)?.metadata()?.len())).sum()
}
