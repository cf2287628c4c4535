//! What the receiver's log adds up to, looked up afterwards, without the help of either side.
//!
//! The invariant it owns: every offset of the sender is counted, also one that nothing was heard of.

use std::path::Path;

use kstore::{Log, Offset};

use super::Failure;
use super::sender::reading;

#[derive(Default)]
pub(crate) struct Ledger {
    /// Readings that are there, each once.
    pub(crate) received: u64,
    /// Records beyond the first one of an offset.
    pub(crate) duplicates: u64,
    /// Readings that are not there, for the buffer had no room for them.
    pub(crate) dropped: u64,
    /// Readings that are not there, and nobody said why.
    pub(crate) gaps: u64,
    /// Records that nobody sent, or not like this.
    pub(crate) wrong: u64,
}

impl Ledger {
    /// Reads the receiver's log, which may still be open, and expects `total` readings.
    pub(crate) fn of(dir: &Path, total: u64) -> Result<Ledger, Failure> {
        let reader = Log::open_read_only(dir)?;
        let mut ledger = Ledger::default();
        // How often each reading is there, and whether it was told to be dropped.
        let mut seen = vec![(0_u8, false); usize::try_from(total)?];
        for record in reader.records(Offset::ZERO..)? {
            let record = record?;
            let number = record.key().and_then(|key| std::str::from_utf8(key).ok()?.parse::<u64>().ok());
            let place = number.and_then(|number| seen.get_mut(usize::try_from(number).ok()?));
            let (Some(number), Some((copies, told))) = (number, place) else {
                ledger.wrong += 1;
                continue;
            };
            ledger.duplicates += u64::from(*copies > 0 || *told);
            match record.value() {
                None => *told = true,
                Some(value) if value == reading(number).as_bytes() => *copies = copies.saturating_add(1),
                Some(_) => ledger.wrong += 1,
            }
        }
        for place in seen {
            match place {
                (0, false) => ledger.gaps += 1,
                (0, true) => ledger.dropped += 1,
                _ => ledger.received += 1,
            }
        }
        Ok(ledger)
    }
}
