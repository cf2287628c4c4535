//! What a process has had written: by the system's count, and by what lies in its folder.
//!
//! The system counts the bytes of pages that were made dirty, also through a map, so that what is written twice counts
//! twice; it does not know what a controller makes of them. It is no measure of what has reached the disk yet.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use nix::unistd::{Whence, lseek};

/// The unit of `st_blocks`, whatever the file system's own is.
const BLOCK_BYTES: u64 = 512;

/// Bytes that this process has caused to be written to a disk; `None` where the system does not count them.
pub(crate) fn written_bytes() -> Option<u64> {
    counter_in(&std::fs::read_to_string("/proc/self/io").ok()?, "write_bytes:")
}

/// Bytes that this process has had read from a block device; `None` where the system does not count them.
pub(crate) fn read_bytes() -> Option<u64> {
    counter_in(&std::fs::read_to_string("/proc/self/io").ok()?, "read_bytes:")
}

fn counter_in(counters: &str, name: &str) -> Option<u64> {
    counters.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// The bytes that the files below a folder take on the disk: holes take none, room that was allocated ahead does.
///
/// # Errors
/// If one of them cannot be looked at.
pub(crate) fn stored_bytes(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { stored_bytes(&entry.path())? } else { metadata.blocks() * BLOCK_BYTES };
    }
    Ok(sum)
}

/// Reads all files below a folder once, so that whoever reads them next finds them where the system keeps what was read
/// lately. Holes, which some engines make by the gigabyte, are passed over. Returns how many bytes were read.
///
/// # Errors
/// If one of them cannot be read.
pub(crate) fn read_once(dir: &Path) -> io::Result<u64> {
    let mut chunk = vec![0; 1 << 20];
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        sum +=
            if entry.file_type()?.is_dir() { read_once(&entry.path())? } else { read_data(&entry.path(), &mut chunk)? };
    }
    Ok(sum)
}

fn read_data(path: &Path, chunk: &mut [u8]) -> io::Result<u64> {
    let file = File::open(path)?;
    let (mut at, mut sum) = (0, 0);
    // There is no more data where there is nowhere to go.
    while let Ok(data) = lseek(&file, at, Whence::SeekData) {
        at = lseek(&file, data, Whence::SeekHole)?;
        let (mut from, to) = (data.cast_unsigned(), at.cast_unsigned());
        while from < to {
            let most = usize::try_from(to - from).unwrap_or(usize::MAX).min(chunk.len());
            let read = file.read_at(&mut chunk[..most], from)? as u64;
            if read == 0 {
                break;
            }
            from += read;
            sum += read;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::{counter_in, read_once, stored_bytes};

    #[test]
    fn the_counter_is_found_among_the_others() {
        let counters =
            "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 6\ncancelled_write_bytes: 7\n";
        assert_eq!(counter_in(counters, "write_bytes:"), Some(6));
        assert_eq!(counter_in(counters, "read_bytes:"), Some(5));
        assert_eq!(counter_in("cancelled_write_bytes: 7\n", "write_bytes:"), None);
        assert_eq!(counter_in("write_bytes: many\n", "write_bytes:"), None);
    }

    #[test]
    fn holes_take_no_room_and_folders_are_looked_into() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("inner")).expect("a folder");
        File::create(dir.path().join("sparse")).expect("a file").set_len(1 << 30).expect("a length");
        let written = File::create(dir.path().join("inner/whole")).expect("a file");
        std::io::Write::write_all(&mut &written, &[1; 10_000]).expect("a write");
        written.sync_all().expect("a sync");
        let stored = stored_bytes(dir.path()).expect("both files");
        assert!((10_000..1 << 20).contains(&stored), "{stored}");
        let read = read_once(dir.path()).expect("both files");
        assert!((10_000..1 << 20).contains(&read), "{read}");
    }
}
