//! Judges one `.log` file after a crash, or one that somebody else wrote: how far its batches are good.
//!
//! It reads and returns facts; cutting, keeping aside and refusing are the log's decisions. A batch is good only if its
//! length is plausible, its CRC is right and its offsets fit (rule 9). An I/O error is an error, never the end
//! (rule 28). The invariant it owns: what it calls good was read and checked in this very walk.

use std::sync::Arc;

use crate::error::{Corruption, Error, Result};
use crate::offset::{Offset, Position};
use crate::record::{BatchHeader, HEADER_BYTES, verify_crc};

use super::file::LogFile;
use super::indexes::BatchFacts;
use super::scan::Scanner;
use super::{DamagedRange, MAX_RELATIVE_OFFSET};

/// What one walk may spend on the checksums of what only looks like a batch, beyond four times the bytes it walks.
const SEARCH_ALLOWANCE_BYTES: u64 = 64 << 20;
/// How much is read first while searching: most often a good batch is near.
const SEARCH_FIRST_CHUNK_BYTES: usize = 4 << 10;
/// How much is read at once while searching on.
const SEARCH_CHUNK_BYTES: usize = 256 << 10;
/// Chunks grow by this factor while nothing is found.
const SEARCH_CHUNK_GROWTH: usize = 4;

/// What to judge, and by which rules.
#[derive(Debug)]
pub(crate) struct Recovery<'a> {
    pub(crate) log: &'a Arc<LogFile>,
    pub(crate) base: Offset,
    /// Where the walk begins: at a batch, or at the end.
    pub(crate) start: Position,
    /// The offset that is due there.
    pub(crate) next_offset: Offset,
    pub(crate) end: Position,
    /// The base offset of the next segment: no offset here reaches it.
    pub(crate) upper: Option<Offset>,
    /// Whether offsets may be missing, as compaction and followers leave them.
    pub(crate) gaps_allowed: bool,
    /// Whether to look for good batches behind a bad one.
    pub(crate) search_behind: bool,
}

/// What the walk found.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// End of the last good batch.
    pub(crate) good_end: Position,
    pub(crate) next_offset: Offset,
    pub(crate) last_batch: Option<(Position, BatchHeader)>,
    /// Bad ranges with good batches behind them.
    pub(crate) damage: Vec<DamagedRange>,
    /// What lies behind the last good batch.
    pub(crate) tail: Option<Tail>,
    /// Whether offsets are missing between good batches where nothing is damaged.
    pub(crate) gaps: bool,
}

/// Bytes behind the last good batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) start: Position,
    pub(crate) end: Position,
    /// One past the last byte that is not zero; equals `start` if all are zero.
    pub(crate) nonzero_end: Position,
    pub(crate) reason: Corruption,
    /// Not surely torn, so that it is not cut unasked: the search for good batches gave up, or a whole batch begins here
    /// whose offset does not fit the segment.
    pub(crate) unsure: bool,
}

impl Tail {
    /// Nothing but room that was allocated ahead, or that a power cut left.
    pub(crate) fn is_zeros(&self) -> bool {
        self.nonzero_end == self.start
    }
}

/// Walks the batches and hands each good one to `visit`.
pub(crate) fn recover(
    recovery: &Recovery<'_>,
    mut visit: impl FnMut(Position, &BatchHeader, &BatchFacts),
) -> Result<Recovered> {
    let mut scan = Scanner::new(Arc::clone(recovery.log), recovery.start, recovery.end);
    let mut found = Recovered {
        good_end: recovery.start,
        next_offset: recovery.next_offset,
        last_batch: None,
        damage: Vec::new(),
        tail: None,
        gaps: false,
    };
    let mut behind_damage = false;
    let mut allowance = search_allowance(recovery);
    loop {
        let reason = match judge(&mut scan, recovery, found.next_offset, behind_damage)? {
            Judged::End => return Ok(found),
            Judged::Good(header) => {
                let facts = BatchFacts::of(&header);
                visit(scan.position(), &header, &facts);
                let first = header.base_offset().unwrap_or(header.last_offset());
                found.gaps |= first > found.next_offset && !behind_damage;
                found.last_batch = Some((scan.position(), header));
                found.next_offset = header.next_offset();
                scan.skip(&header);
                found.good_end = scan.position();
                behind_damage = false;
                continue;
            }
            Judged::Bad(reason) => reason,
        };
        let whole = recovery.search_behind && is_whole_but_misplaced(&mut scan, reason)?;
        let start = scan.position();
        let search = if recovery.search_behind {
            find_good_batch(recovery, start + 1, found.next_offset, &mut allowance)?
        } else {
            Search::Nothing
        };
        let Search::Found(position, header) = search else {
            let nonzero_end = last_nonzero(recovery.log, start, recovery.end)?;
            let unsure = whole || search == Search::GaveUp;
            found.tail = Some(Tail { start, end: recovery.end, nonzero_end, reason, unsure });
            return Ok(found);
        };
        let next_offset = header.base_offset().unwrap_or(header.last_offset());
        found.damage.push(DamagedRange { start, end: position, first_offset: found.next_offset, next_offset, reason });
        scan.skip_to(position);
        behind_damage = true;
    }
}

enum Judged {
    End,
    Good(BatchHeader),
    Bad(Corruption),
}

fn judge(scan: &mut Scanner, recovery: &Recovery<'_>, due: Offset, behind_damage: bool) -> Result<Judged> {
    let header = match scan.peek() {
        Ok(None) => return Ok(Judged::End),
        Ok(Some(header)) => header,
        Err(Error::Corrupt { reason, .. }) => return Ok(Judged::Bad(reason)),
        Err(error) => return Err(error),
    };
    let gaps_allowed = recovery.gaps_allowed || behind_damage;
    if let Err(reason) = offsets_fit(&header, recovery, due, gaps_allowed) {
        return Ok(Judged::Bad(reason));
    }
    Ok(match verify_crc(scan.batch(&header)?, &header) {
        Ok(()) => Judged::Good(header),
        Err(reason) => Judged::Bad(reason),
    })
}

/// Whether a batch that overflows its segment is sound otherwise: somebody wrote it so, and no crash tore it.
fn is_whole_but_misplaced(scan: &mut Scanner, reason: Corruption) -> Result<bool> {
    if !matches!(reason, Corruption::OffsetOutsideSegment { .. }) {
        return Ok(false);
    }
    let Some(header) = scan.peek()? else { return Ok(false) };
    Ok(verify_crc(scan.batch(&header)?, &header).is_ok())
}

/// Rule 9: the base offset is the one that is due, or above it where gaps are allowed; all offsets fit the segment.
fn offsets_fit(
    header: &BatchHeader,
    recovery: &Recovery<'_>,
    due: Offset,
    gaps_allowed: bool,
) -> std::result::Result<(), Corruption> {
    // The first offset of a compressed batch of an old format is known only after unfolding it.
    let first = header.base_offset().unwrap_or(header.last_offset());
    if first < due {
        return Err(Corruption::OffsetBelowExpected { found: first.to_disk(), expected: due.to_disk() });
    }
    if first > due && !gaps_allowed {
        return Err(Corruption::OffsetGap { found: first.to_disk(), expected: due.to_disk() });
    }
    let last = header.last_offset();
    let fits = last.checked_distance(recovery.base).is_some_and(|above| above <= MAX_RELATIVE_OFFSET);
    if !fits || recovery.upper.is_some_and(|upper| last >= upper) {
        return Err(Corruption::OffsetOutsideSegment { found: last.to_disk(), base: recovery.base.to_disk() });
    }
    Ok(())
}

#[derive(Debug, PartialEq)]
enum Search {
    Nothing,
    Found(Position, BatchHeader),
    /// Too many places look like a batch to check them all.
    GaveUp,
}

/// Whether a whole, rightly numbered batch lies somewhere in `from..end` of a file that is not a segment's own: a part
/// that was cut off and kept.
pub(crate) fn holds_a_good_batch(log: &Arc<LogFile>, base: Offset, from: Position, end: Position) -> Result<bool> {
    let recovery = Recovery {
        log,
        base,
        start: from,
        next_offset: base,
        end,
        upper: None,
        gaps_allowed: true,
        search_behind: true,
    };
    Ok(find_good_batch(&recovery, from, base, &mut search_allowance(&recovery))? != Search::Nothing)
}

/// All searches of one walk share it: a file full of headers that claim megabytes must not cost their product.
fn search_allowance(recovery: &Recovery<'_>) -> u64 {
    let bytes = recovery.end.value().saturating_sub(recovery.start.value());
    bytes.saturating_mul(4).saturating_add(SEARCH_ALLOWANCE_BYTES)
}

/// Tries every position from `from` on.
fn find_good_batch(recovery: &Recovery<'_>, from: Position, due: Offset, allowance: &mut u64) -> Result<Search> {
    let mut chunk = Vec::new();
    let mut chunk_bytes = SEARCH_FIRST_CHUNK_BYTES;
    let mut position = from;
    while position < recovery.end {
        let remaining = usize::try_from(recovery.end - position).unwrap_or(usize::MAX);
        let wanted = remaining.min(chunk_bytes);
        chunk_bytes = (chunk_bytes * SEARCH_CHUNK_GROWTH).min(SEARCH_CHUNK_BYTES);
        chunk.resize(wanted, 0);
        let read = recovery.log.read(&mut chunk, position)?;
        if read == 0 {
            return Ok(Search::Nothing);
        }
        let bytes = &chunk[..read];
        for at in 0..read {
            let prefix = &bytes[at..read.min(at + HEADER_BYTES)];
            if !may_begin_a_batch(prefix) {
                continue;
            }
            let candidate = position + u64::try_from(at).expect("a chunk is small");
            let Some(header) = plausible(recovery, candidate, prefix, due) else { continue };
            if header.size_bytes > *allowance {
                return Ok(Search::GaveUp);
            }
            *allowance -= header.size_bytes;
            let mut scan = Scanner::new(Arc::clone(recovery.log), candidate, candidate + header.size_bytes);
            if verify_crc(scan.batch(&header)?, &header).is_ok() {
                return Ok(Search::Found(candidate, header));
            }
        }
        // The last bytes of a chunk are looked at again with what follows them, for a header may span both.
        let advance = if read < remaining { read.saturating_sub(HEADER_BYTES - 1).max(1) } else { read };
        position += u64::try_from(advance.max(1)).expect("a chunk is small");
    }
    Ok(Search::Nothing)
}

/// A cheap look at size and magic, before anything is parsed: a gigabyte of zeros is passed over at once.
fn may_begin_a_batch(prefix: &[u8]) -> bool {
    prefix.get(16).is_some_and(|&magic| magic <= 2) && prefix[8..12] != [0; 4]
}

fn plausible(recovery: &Recovery<'_>, candidate: Position, prefix: &[u8], due: Offset) -> Option<BatchHeader> {
    let header = BatchHeader::parse(prefix).ok()?;
    let fits = header.size_bytes <= recovery.end - candidate;
    (fits && offsets_fit(&header, recovery, due, true).is_ok()).then_some(header)
}

/// One past the last byte of `from..end` that is not zero.
pub(crate) fn last_nonzero(log: &Arc<LogFile>, from: Position, end: Position) -> Result<Position> {
    let mut chunk = vec![0; SEARCH_CHUNK_BYTES];
    let mut upper = end;
    while upper > from {
        let size = (upper - from).min(SEARCH_CHUNK_BYTES as u64);
        let lower = Position::new(upper.value() - size);
        let wanted = usize::try_from(size).expect("a chunk is small");
        let read = log.read(&mut chunk[..wanted], lower)?;
        if let Some(last) = chunk[..read].iter().rposition(|&byte| byte != 0) {
            return Ok(lower + u64::try_from(last + 1).expect("a chunk is small"));
        }
        upper = lower;
    }
    Ok(from)
}
