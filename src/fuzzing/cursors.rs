//! The commits of named cursors: arbitrary bytes as the records of the log that they stand in.
//!
//! That log's own recovery is the business of `recover`, so its batches are sound here. The input: one byte of options
//! (bits 0 to 2: batches of the log itself; bit 3: the log begins at an offset above 0; bits 4 to 6: where it is cut),
//! then commits: a byte with the name (bits 0 and 1), the kind (bits 2 to 4) and the batch that it rests on (bits 5 to 7),
//! and a byte with the offset, or with the length of a value that is taken as it is. What it holds the cursors to: a value
//! that is read has one way to be written; a second opening finds the same cursors; a commit is there afterwards; no
//! cursor lies above what a truncation left.

use std::path::Path;

use super::batch::mend_batches;
use super::{Meter, NOW};
use crate::config::{LogConfig, Worker};
use crate::error::{Error, Result};
use crate::fs::{Env, sim::SimDisk};
use crate::log::{CursorInfo, Log, cursor_value_again};
use crate::offset::Offset;
use crate::record::{BatchBuilder, BatchHeader, BatchStamp, Compression, Record, set_base_offset};

const DIR: &str = "/data/log-0";
const COMMITS: &str = "/data/log-0/cursors/00000000000000000000.log";
const NAMES: [&str; 4] = ["a", "billing", "\u{1}", ""];
/// What reading the commits may take: that log's own files, its largest index above all, and what commits become.
const LOADING_BYTES: usize = 2 << 20;
const COMMIT_FACTOR: usize = 256;

/// Reads the bytes as a value, and as a log of commits.
pub fn cursors(bytes: &[u8], meter: Meter) {
    if let Some(again) = cursor_value_again(bytes) {
        assert!(again == bytes, "a value has one way to be written");
    }
    let Some((&options, recipe)) = bytes.split_first() else { return };
    let disk = SimDisk::in_memory(0);
    let env = Env::sim(&disk);
    let headers = plant_log(&disk, options);
    let all_genuine = plant_commits(&disk, recipe, &headers);
    let Ok(log) = open(&env) else { panic!("the log itself is sound") };
    let found = meter.within(LOADING_BYTES + COMMIT_FACTOR * bytes.len(), || log.cursors());
    let found = match found {
        Ok(found) => found,
        Err(Error::Corrupt { path, .. }) => {
            assert_eq!(&*path, Path::new(COMMITS));
            return;
        }
        Err(error) => panic!("{error}"),
    };
    check(&log, &found);
    let log = reopened(&env, log);
    assert_eq!(log.cursors().ok(), Some(found.clone()), "a second opening finds the same");
    go_on(&env, log, options, all_genuine);
}

/// Batches of three records, as many as the options say.
fn plant_log(disk: &SimDisk, options: u8) -> Vec<BatchHeader> {
    let first = if options & 8 == 0 { 0 } else { 6 };
    let mut content = Vec::new();
    let mut headers = Vec::new();
    for number in 0..u64::from(options & 7) {
        let mut builder = BatchBuilder::new(Compression::None);
        for _ in 0..3 {
            builder.push(Record::new("key", &number.to_be_bytes())).expect("a sound record");
        }
        let batch = builder.finish(&BatchStamp { now: NOW, ..BatchStamp::default() });
        let mut batch = batch.expect("a small batch").to_vec();
        set_base_offset(&mut batch, Offset::new(first + 3 * number));
        headers.push(BatchHeader::parse(&batch).expect("a whole batch"));
        content.extend(batch);
    }
    disk.write_file(Path::new(DIR).join(format!("{first:020}.log")), content);
    headers
}

/// A log with one record a commit. Whether each of them could have been made: only those are judged one by one.
fn plant_commits(disk: &SimDisk, recipe: &[u8], headers: &[BatchHeader]) -> bool {
    let mut content = Vec::new();
    let mut rest = recipe;
    let mut offset = 0;
    let mut all_genuine = true;
    while let Some((&[what, detail], behind)) = rest.split_first_chunk::<2>() {
        rest = behind;
        all_genuine &= !matches!(what >> 2 & 7, 0 | 6);
        let mark = headers.get(usize::from(what >> 5)).or(headers.last());
        let value = match what >> 2 & 7 {
            0 => {
                let (value, behind) = rest.split_at(usize::from(detail).min(rest.len()));
                rest = behind;
                Some(value.to_vec())
            }
            1 => None,
            kind => Some(value(kind, detail, mark)),
        };
        let name = NAMES[usize::from(what & 3)];
        let record = match &value {
            Some(value) => Record::new(name, value),
            None => Record::tombstone(name),
        };
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(record).expect("a sound record");
        let batch = builder.finish(&BatchStamp { now: NOW, ..BatchStamp::default() });
        let at = content.len();
        content.extend_from_slice(batch.expect("a small batch"));
        set_base_offset(&mut content[at..], Offset::new(offset));
        offset += 1;
    }
    if !content.is_empty() {
        mend_batches(&mut content);
        disk.write_file(COMMITS, content);
    }
    all_genuine
}

/// A commit of this offset: to add, or to replace all with, once or twice; made with its batch or not; of no batch, of
/// one that stands, or of one with another checksum.
fn value(kind: u8, next: u8, mark: Option<&BatchHeader>) -> Vec<u8> {
    let (replaces, twice, with_batch, other_crc) = (kind & 4 != 0, kind == 7, kind & 1 != 0, kind == 6);
    let mut value = vec![1, u8::from(replaces)];
    for _ in 0..if twice { 2 } else { 1 } {
        value.push(match mark {
            Some(_) if with_batch => 3,
            Some(_) => 1,
            None => 0,
        });
        value.extend(u64::from(next).to_be_bytes());
        if let Some(mark) = mark {
            value.extend(mark.offset_field.value().to_be_bytes());
            value.extend(mark.next_offset().value().to_be_bytes());
            value.extend((mark.crc ^ u32::from(other_crc)).to_be_bytes());
        }
    }
    value
}

fn open(env: &Env) -> Result<Log> {
    Log::open_in(env, Path::new(DIR), LogConfig::default().worker(Worker::Caller).segment_bytes(1 << 20))
}

fn reopened(env: &Env, log: Log) -> Log {
    log.close().expect("memory takes it");
    drop(log);
    open(env).expect("a log that was closed opens")
}

/// What is said of each cursor agrees with the log.
fn check(log: &Log, found: &[CursorInfo]) {
    assert!(found.is_sorted_by(|one, next| one.name < next.name), "each name once");
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    for info in found {
        assert_eq!(info.lag, end.checked_distance(info.next_offset.max(start)).unwrap_or(0));
        // A name that nobody can ask for was not written by this engine.
        let Ok(cursor) = log.cursor(&info.name) else { continue };
        assert_eq!(cursor.committed().ok(), Some(Some(info.next_offset)));
        let position = cursor.position().expect("it begins somewhere");
        assert!((start..=end).contains(&position), "{position} does not lie in {start}..={end}");
        let records = cursor.records().and_then(|records| records.collect::<Result<Vec<_>>>());
        let records = records.expect("the log is sound");
        assert_eq!(u64::try_from(records.len()).ok(), end.checked_distance(position));
    }
}

/// A commit, a truncation and a deletion, each found by the next opening.
fn go_on(env: &Env, log: Log, options: u8, all_genuine: bool) {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let cursor = log.cursor(NAMES[1]).expect("a good name");
    cursor.commit(end).expect("the end is in the log");
    let log = reopened(env, log);
    let cursor = log.cursor(NAMES[1]).expect("a good name");
    assert_eq!(cursor.committed().ok(), Some(Some(end)), "a commit is there after a close");

    let cut = start + u64::from(options >> 4 & 7).min(end - start);
    log.truncate_to(cut).expect("memory takes it");
    let left = log.cursors().expect("what was read before");
    check(&log, &left);
    assert!(left.iter().all(|info| info.next_offset <= cut), "{left:?} after a cut to {cut}");
    let mut log = reopened(env, log);
    let mut again = log.cursors().expect("what was read before");
    if !all_genuine {
        // A commit that nobody made was believed for the sake of the one behind it, which the cut took away.
        check(&log, &again);
        log = reopened(env, log);
        again = log.cursors().expect("what was read before");
    }
    assert!(again == left || !all_genuine, "a second opening finds {again:?} where there was {left:?}");

    for info in &again {
        assert_eq!(log.delete_cursor(&info.name).ok(), Some(true));
    }
    let log = reopened(env, log);
    assert_eq!(log.cursors().ok(), Some(Vec::new()), "what was deleted stays deleted");
    log.close().expect("memory takes it");
}
