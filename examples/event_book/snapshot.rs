//! A book in a file, replaced as a whole: after a crash the file holds the old snapshot or the new one.
//!
//! The invariant it owns: no half-written snapshot ever carries the file's name.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is a program that uses it")]

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::Failure;
use super::book::Book;

/// Where the snapshot of a log lies.
pub(crate) struct SnapshotFile {
    path: PathBuf,
    folder: PathBuf,
}

impl SnapshotFile {
    /// The file beside the log's directory, with `.snapshot` behind its name.
    pub(crate) fn beside(dir: &Path) -> SnapshotFile {
        let mut path = dir.as_os_str().to_owned();
        path.push(".snapshot");
        SnapshotFile { path: path.into(), folder: dir.parent().unwrap_or(dir).to_owned() }
    }

    /// The snapshot, if there is one.
    pub(crate) fn read(&self) -> Result<Option<Book>, Failure> {
        match fs::read_to_string(&self.path) {
            Ok(line) => Book::of_line(&line).map(Some).map_err(|why| format!("{}: {why}", self.path.display()).into()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", self.path.display()).into()),
        }
    }

    /// Writes another file, makes it durable, gives it the name, and makes the name durable.
    pub(crate) fn write(&self, book: &Book) -> Result<(), Failure> {
        self.replace(book).map_err(|error| format!("writing {}: {error}", self.path.display()).into())
    }

    fn replace(&self, book: &Book) -> std::io::Result<()> {
        let temporary = self.path.with_extension("snapshot.new");
        let mut file = File::create(&temporary)?;
        file.write_all(book.to_line().as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        File::open(&self.folder)?.sync_all()
    }
}
