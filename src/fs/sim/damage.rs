//! Damage that no call reports: to files at rest, in what the device does with a sector, and in what it gives back.
//!
//! All of it goes behind the seam's back and is found, if at all, by checksums. The invariant it owns: each switch harms
//! the one sector that it names, and says nothing to anybody.

use std::path::Path;

use super::SimDisk;
use super::content::Mishap;
use super::names::InodeId;
use super::state::State;

impl SimDisk {
    /// Damages a file at rest: what is seen and what a power cut leaves.
    pub(crate) fn flip_bit(&self, path: impl AsRef<Path>, byte: u64, bit: u32) {
        let mut state = self.state();
        let inode = state.file_to_damage(path.as_ref());
        state.content_mut(inode).flip_bit(usize::try_from(byte).expect("an index in memory"), bit);
    }

    /// Damages a file at rest: one of its sectors of 512 bytes is zeros.
    pub(crate) fn zero_sector(&self, path: impl AsRef<Path>, sector: usize) {
        let mut state = self.state();
        let inode = state.file_to_damage(path.as_ref());
        state.content_mut(inode).zero_sector(sector);
    }

    /// When the file is synced next, the device says so and does not write this sector: what the page cache shows is
    /// gone after a power cut.
    pub(crate) fn lose_write(&self, path: impl AsRef<Path>, sector: usize) {
        let mut state = self.state();
        let inode = state.file_to_damage(path.as_ref());
        state.content_mut(inode).plan_mishap(sector, Mishap::Lost);
    }

    /// When the file is synced next, the device writes this sector to another place, `to_sector` of the file `to`, which
    /// may be the same. The page cache shows both as they should be; after a power cut both are wrong.
    pub(crate) fn misdirect_write(
        &self,
        path: impl AsRef<Path>,
        sector: usize,
        to: impl AsRef<Path>,
        to_sector: usize,
    ) {
        let mut state = self.state();
        let file = state.file_to_damage(to.as_ref());
        let inode = state.file_to_damage(path.as_ref());
        state.content_mut(inode).plan_mishap(sector, Mishap::Misdirected { file, sector: to_sector });
    }

    /// The next so many reads of this sector give it as it is now, whatever is written to it; then it is read rightly
    /// again. Reads by calls only: maps and sends are not touched.
    pub(crate) fn read_stale(&self, path: impl AsRef<Path>, sector: usize, times: u64) {
        let mut state = self.state();
        let inode = state.file_to_damage(path.as_ref());
        state.content_mut(inode).go_stale(sector, times);
    }
}

impl State {
    fn file_to_damage(&self, path: &Path) -> InodeId {
        self.find(path).expect("a file to damage")
    }
}
