//! Property 4: what lookups say is what a walk over the files says, and what indexes made from nothing say.
//!
//! The walk is this file's own: it parses the `.log` files' headers and the entries of the offset indexes, and uses
//! nothing of the engine's scans and searches.

use super::super::bench::{log_path, path, state_path};
use super::{open_at_last, twin};
use crate::config::LogConfig;
use crate::fs::sim::SimDisk;
use crate::log::Log;
use crate::names::SegmentFile;
use crate::offset::{Offset, Timestamp};
use crate::record::BatchHeader;

/// A batch where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stored {
    segment: u64,
    position: usize,
    base: u64,
    end: u64,
}

/// What a log answers: for each offset the batch that holds it, for each time the record.
type Answers = (Vec<Option<(u64, u64)>>, Vec<Option<(Offset, Timestamp)>>, Option<(Offset, Timestamp)>);

/// The log's answers are those of a linear walk, each entry of an index leads to its batch, and the answers stay the same
/// when every index is made anew.
pub(in super::super) fn agree(disk: &SimDisk, log: &Log, config: &LogConfig) {
    let batches = walk(disk, log);
    for segment in log.segments().expect("the segments") {
        check_entries(disk, segment.base_offset.value(), &batches);
    }
    let times = times(log);
    let found = answers(log, &times);
    assert_eq!(found, expected(log, &batches, &times), "lookups and a walk");
    let bare = twin(disk);
    bare.remove(state_path());
    for segment in log.segments().expect("the segments") {
        for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
            let index = path(segment.base_offset.value(), kind);
            if bare.read_file(&index).is_some() {
                bare.remove(index);
            }
        }
    }
    let rebuilt = open_at_last(&bare, config).expect("a log opens without its indexes and its state");
    let rebuilt_report = rebuilt.recovery_report();
    assert!(rebuilt_report.damage.is_empty(), "{rebuilt_report:?}");
    // Without a state nobody knows of a log start inside a segment.
    assert!(rebuilt.log_start_offset() <= log.log_start_offset());
    if rebuilt.log_end_offset() >= log.log_start_offset() {
        rebuilt.delete_records_before(log.log_start_offset()).expect("in the log");
        if rebuilt.log_end_offset() == log.log_end_offset() {
            assert_eq!(answers(&rebuilt, &times), found, "indexes as they were found, and as made from nothing");
        }
    }
    let last = batches.last().map_or(0, |batch| batch.end);
    let (least, end) = (last.min(log.log_end_offset().value()), rebuilt.log_end_offset().value());
    assert!(end >= least, "batches end at {last}, and what was made from nothing at {end}: {rebuilt_report:?}");
    bare.power_off();
}

/// Every batch of the log's files, by their own words.
fn walk(disk: &SimDisk, log: &Log) -> Vec<Stored> {
    let mut batches: Vec<Stored> = Vec::new();
    for segment in log.segments().expect("the segments") {
        let base = segment.base_offset.value();
        let bytes = disk.read_file(log_path(base)).expect("a segment has a file");
        let size = usize::try_from(segment.size_bytes).expect("a small segment");
        let mut position = 0;
        while position < size {
            let header = BatchHeader::parse(&bytes[position..size]).expect("a batch where the last one ended");
            let first = header.base_offset().expect("a batch of the present format").value();
            let before = batches.last().map_or(0, |last| last.end);
            assert!(first >= before && first >= base, "{first} stands behind {before} in segment {base}");
            batches.push(Stored { segment: base, position, base: first, end: header.next_offset().value() });
            position += usize::try_from(header.size_bytes).expect("a small batch");
        }
        assert!(bytes[size..].iter().all(|byte| *byte == 0), "behind the end of a segment lies what is no zero");
    }
    batches
}

/// Each entry names an offset of the batch that stands where it says, and entries rise.
fn check_entries(disk: &SimDisk, base: u64, batches: &[Stored]) {
    let Some(bytes) = disk.read_file(path(base, SegmentFile::OffsetIndex)) else { return };
    let mut before = None;
    for entry in bytes.chunks_exact(8) {
        let relative = u32::from_be_bytes(*entry.first_chunk().expect("eight bytes"));
        let position = u32::from_be_bytes(*entry.last_chunk().expect("eight bytes"));
        let (offset, position) = (base + u64::from(relative), usize::try_from(position).expect("a small file"));
        let leads_there = |batch: &Stored| batch.segment == base && batch.position == position;
        let batch = batches.iter().find(|batch| leads_there(batch));
        let batch = batch.unwrap_or_else(|| panic!("offset {offset} of segment {base}: no batch stands at {position}"));
        assert!((batch.base..batch.end).contains(&offset), "{offset} is not in {batch:?}");
        assert!(before.is_none_or(|before| before < (offset, position)), "entries rise: {before:?}, {offset}");
        before = Some((offset, position));
    }
}

/// Each time that a record has, and those beside it.
fn times(log: &Log) -> Vec<Timestamp> {
    let records = log.records(log.log_start_offset()..).expect("the whole log");
    let mut times: Vec<Timestamp> = records
        .filter_map(|record| record.expect("readable").timestamp())
        .flat_map(|time| [-1, 0, 1].map(|by| Timestamp::from_millis(time.as_millis() + by)))
        .collect();
    times.sort_unstable();
    times.dedup();
    times
}

fn answers(log: &Log, times: &[Timestamp]) -> Answers {
    let (start, end) = (log.log_start_offset().value(), log.log_end_offset().value());
    let holds = |offset: u64| {
        let slice = log.read(Offset::new(offset), 1).expect("an offset in the log");
        let batch = slice.batches().next()?.expect("a readable batch");
        Some((batch.base_offset().value(), batch.next_offset().value()))
    };
    let at_times = times.iter().map(|time| log.offset_for_timestamp(*time).expect("readable")).collect();
    ((start..end).map(holds).collect(), at_times, log.max_timestamp().expect("readable"))
}

fn expected(log: &Log, batches: &[Stored], times: &[Timestamp]) -> Answers {
    let (start, end) = (log.log_start_offset().value(), log.log_end_offset().value());
    let holds = |offset: u64| {
        let batch = batches.iter().find(|batch| batch.end > offset)?;
        Some((batch.base, batch.end))
    };
    let records: Vec<(Offset, Timestamp)> = log
        .records(log.log_start_offset()..)
        .expect("the whole log")
        .map(|record| record.expect("readable"))
        .filter_map(|record| Some((record.offset(), record.timestamp()?)))
        .collect();
    let first_from = |time: &Timestamp| records.iter().find(|(_, at)| at >= time).copied();
    // The first of the latest.
    let latest = records.iter().fold(None, |latest: Option<(Offset, Timestamp)>, &(offset, time)| match latest {
        Some((_, most)) if most >= time => latest,
        _ => Some((offset, time)),
    });
    ((start..end).map(holds).collect(), times.iter().map(first_from).collect(), latest)
}
