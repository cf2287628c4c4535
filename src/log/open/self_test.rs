//! Whether a directory's file system can be trusted with stores into maps: by its kind, and by trying.
//!
//! It knows no segment. The test is made on a file of its own, whose name is removed before it is used, so that no crash
//! leaves more than a small file, which the next test takes. The invariant it owns: a log is not written through maps
//! unless allocated room, stores, reads and syncs were seen to agree in its own directory (rules 21, 24).

use std::io;
use std::path::Path;

use crate::config::NotMapped;
use crate::error::IoOp;
use crate::fs::{Env, File, FileSystem, OpenMode, Window, read_exact_at, retry};
use crate::names::SELF_TEST;
use crate::offset::Position;

use super::directory::remove_if_there;

/// Two pages, so that a store can lie across their border.
const TEST_BYTES: u64 = 8192;
/// Where a store lies across it.
const ACROSS: Position = Position::new(4093);

/// Says why the log in `dir`, which the caller has locked, is not to be written through maps.
pub(crate) fn self_test(env: &Env, dir: &Path) -> Result<(), NotMapped> {
    match env.file_system(dir) {
        Ok(FileSystem::Ext4 | FileSystem::Xfs | FileSystem::Tmpfs) => {}
        Ok(FileSystem::Other) => return Err(NotMapped::FileSystem),
        Err(_) => return Err(NotMapped::SelfTest { operation: IoOp::Inspect }),
    }
    let failed = |operation| move |_: io::Error| NotMapped::SelfTest { operation };
    let path = dir.join(SELF_TEST);
    let file = env.open(&path, OpenMode::OpenOrCreate).map_err(failed(IoOp::Create))?;
    remove_if_there(env, &path).map_err(|_| NotMapped::SelfTest { operation: IoOp::Remove })?;
    // What a crash left of another test.
    file.set_len(0).map_err(failed(IoOp::SetLength))?;
    retry(|| file.allocate(Position::ZERO, Position::new(TEST_BYTES))).map_err(failed(IoOp::Allocate))?;
    let mut window = file.map_window(Position::ZERO, Position::new(TEST_BYTES)).map_err(failed(IoOp::Map))?;
    window.populate().map_err(failed(IoOp::Map))?;
    for round in [b"before a sync", b"and behind it"] {
        store(&mut window, round);
        expect(&file, round).map_err(failed(IoOp::Read))?;
        file.sync_data().map_err(failed(IoOp::Sync))?;
        expect(&file, round).map_err(failed(IoOp::Read))?;
    }
    Ok(())
}

fn store(window: &mut Window, bytes: &[u8]) {
    window.bytes_mut(ACROSS, bytes.len()).copy_from_slice(bytes);
    window.wrote(ACROSS, bytes.len());
}

/// Reads what was stored, with zeros on either side.
fn expect(file: &File, bytes: &[u8]) -> io::Result<()> {
    let mut found = vec![1; usize::try_from(TEST_BYTES).expect("two pages")];
    let read = read_exact_at(file, &mut found, Position::ZERO)?;
    let start = usize::try_from(ACROSS.value()).expect("less than two pages");
    let (before, rest) = found.split_at(start);
    let (stored, behind) = rest.split_at(bytes.len());
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    if read == found.len() && stored == bytes && is_zero(before) && is_zero(behind) {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}
