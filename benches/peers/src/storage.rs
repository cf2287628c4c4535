//! What a process has had written: by the system's count, and by what lies in its folder.
//!
//! The system counts the bytes of pages that were made dirty, also through a map, so that what is written twice counts
//! twice; it does not know what a controller makes of them. It is no measure of what has reached the disk yet.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The unit of `st_blocks`, whatever the file system's own is.
const BLOCK_BYTES: u64 = 512;

/// Bytes that this process has caused to be written to a disk; `None` where the system does not count them.
pub(crate) fn written_bytes() -> Option<u64> {
    written_bytes_in(&std::fs::read_to_string("/proc/self/io").ok()?)
}

fn written_bytes_in(counters: &str) -> Option<u64> {
    counters.lines().find_map(|line| line.strip_prefix("write_bytes:")?.trim().parse().ok())
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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::{stored_bytes, written_bytes_in};

    #[test]
    fn the_counter_is_found_among_the_others() {
        let counters =
            "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 6\ncancelled_write_bytes: 7\n";
        assert_eq!(written_bytes_in(counters), Some(6));
        assert_eq!(written_bytes_in("cancelled_write_bytes: 7\n"), None);
        assert_eq!(written_bytes_in("write_bytes: many\n"), None);
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
    }
}
