//! Where an append stalls: 200,000 a second, while a sync comes each 100 ms, a roll each second, and old segments are
//! deleted.
//!
//! Calls are due at even intervals, and a thread spins until each is: what a stall keeps waiting is seen in the times
//! from when calls were due, and the pace does not bend to it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kstore::{Log, LogConfig, Offset, Record, SyncPolicy, WriteMode};
use nix::sys::resource::{UsageWho, getrusage};

use super::contents::Contents;
use super::plain::Plain;
use super::{Case, Line, Measure, Scale, Workload};
use crate::Outcome;
use crate::latency::{Latencies, Percentiles};
use crate::spread::number;
use crate::storage::written_bytes;
use crate::values::Values;

pub(super) const WORKLOAD: Workload = Workload {
    name: "stalls",
    title: "Tail latency: 200,000 appends of 100 bytes a second",
    about: "`SyncPolicy::Every` 100 ms, `segment_ms` of a second, retention that deletes what is older than some seconds. \
        Pages that are touched ahead and not yet filled are written \
        by a sync, too, and the next store to each faults again. Bare: `write` at the same pace to a new file each second; another thread calls `fdatasync` each 100 ms and unlinks \
        old files.",
    unit: "a call",
    once: false,
    charts: &[],
    cases,
};

const VALUE_BYTES: usize = 100;
const A_SECOND: u64 = 200_000;
const SYNC_MS: u64 = 100;
const KEPT_BYTES: u64 = 32 << 20;
/// What the bare calls keep, roughly as much.
const KEPT_FILES: usize = 2;
const BARE: &str = "bare";

fn cases(scale: Scale) -> Vec<Case> {
    let seconds = scale.pick(4, 30);
    let mut cases = vec![Case::new(BARE, move |dir, line| bare_calls(dir, line, seconds))];
    for (name, mode, sync_ms) in [
        ("`Write`", WriteMode::Write, Some(SYNC_MS)),
        ("`Preallocated`", WriteMode::Preallocated, Some(SYNC_MS)),
        ("`Mapped`", WriteMode::Mapped, Some(SYNC_MS)),
        ("`Mapped`, synced by rolls only", WriteMode::Mapped, None),
    ] {
        cases.push(Case::new(format!("kstore, {name}"), move |dir, line| {
            kstore(dir, line.against(BARE), seconds, mode, sync_ms)
        }));
    }
    cases
}

/// Makes calls when they are due, and those that are late at once.
fn at_pace(line: Line, seconds: u64, mut make: impl FnMut(usize) -> Outcome<()>) -> Outcome<Line> {
    let calls = usize::try_from(seconds * A_SECOND)?;
    let (mut took, mut late) = (Latencies::for_calls(calls), Latencies::for_calls(calls));
    let interval = Duration::from_secs(1) / u32::try_from(A_SECOND)?;
    let (faults, written) = (faults()?, written_bytes());
    let begin = Instant::now();
    for call in 0..calls {
        let due = begin + interval * u32::try_from(call)?;
        let mut before = Instant::now();
        while before < due {
            std::hint::spin_loop();
            before = Instant::now();
        }
        make(call)?;
        let after = Instant::now();
        took.push(after - before);
        late.push(after - due);
    }
    let faults = self::faults()? - faults;
    let line = line.with(Measure::Faults, number(faults) * 1_000.0 / number(calls as u64));
    let payload = number((calls * VALUE_BYTES) as u64);
    let line = match written.zip(written_bytes()) {
        Some((before, after)) => line.with(Measure::WrittenPerByte, number(after - before) / payload),
        None => line,
    };
    let Some(Percentiles { p999, max, .. }) = late.percentiles() else { return Ok(line) };
    Ok(line.latencies(took).with(Measure::DueP999, number(p999)).with(Measure::DueMax, number(max)))
}

/// Of this thread.
fn faults() -> Outcome<u64> {
    Ok(u64::try_from(getrusage(UsageWho::RUSAGE_THREAD)?.minor_page_faults())?)
}

fn bare_calls(dir: &Path, line: Line, seconds: u64) -> Outcome<Line> {
    let values = Values::new(VALUE_BYTES);
    let first = Arc::new(Plain::create(dir, "000000.plain")?);
    let files = Mutex::new(VecDeque::from([Arc::clone(&first)]));
    let (done, longest) = (AtomicBool::new(false), AtomicU64::new(0));
    let line = std::thread::scope(|scope| -> Outcome<Line> {
        let background = scope.spawn(|| -> Outcome<()> {
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(SYNC_MS));
                let mut kept = files.lock().map_err(|_| "the writer panicked")?;
                let old = if kept.len() > KEPT_FILES { kept.pop_front() } else { None };
                // The last but one may have bytes that are not on the disk, too.
                let recent: Vec<Arc<Plain>> = kept.iter().rev().take(2).rev().cloned().collect();
                drop(kept);
                for file in recent {
                    let begin = Instant::now();
                    file.sync()?;
                    longest.fetch_max(u64::try_from(begin.elapsed().as_nanos())?, Ordering::Relaxed);
                }
                old.map_or(Ok(()), |old| std::fs::remove_file(old.path()))?;
            }
            Ok(())
        });
        let mut active = first;
        let appended = at_pace(line, seconds, |call| {
            if call > 0 && (call as u64).is_multiple_of(A_SECOND) {
                active = Arc::new(Plain::create(dir, &format!("{:06}.plain", call as u64 / A_SECOND))?);
                files.lock().map_err(|_| "the other thread panicked")?.push_back(Arc::clone(&active));
            }
            active.append(values.of(call))
        });
        done.store(true, Ordering::Relaxed);
        background.join().map_err(|_| "the other thread panicked")??;
        appended
    })?;
    let (mut found, mut kept) = (Contents::default(), 0);
    for file in files.lock().map_err(|_| "a thread panicked")?.iter() {
        found.extend(Contents::of_file(file.path(), VALUE_BYTES)?);
        kept += 1;
    }
    let calls = seconds * A_SECOND;
    found.must_be(given(&values, calls - kept * A_SECOND..calls)?)?;
    Ok(line.with(Measure::LongestSync, number(longest.into_inner())))
}

fn kstore(dir: &Path, line: Line, seconds: u64, mode: WriteMode, sync_ms: Option<u64>) -> Outcome<Line> {
    let values = Values::new(VALUE_BYTES);
    let every = |millis| SyncPolicy::Every { records: None, bytes: None, interval_ms: Some(millis) };
    let config = LogConfig::default()
        .write_mode(mode)
        .segment_ms(1_000)
        .sync_policy(sync_ms.map_or(SyncPolicy::Never, every))
        .retention_bytes(KEPT_BYTES)
        .retention_check_interval_ms(500)
        .file_delete_delay_ms(500);
    let log = Log::open(dir.join("log"), config)?;
    super::must_be_mapped(std::slice::from_ref(&log), mode)?;
    let line = at_pace(line, seconds, |call| Ok(log.append(&[Record::value(values.of(call))]).map(drop)?))?;
    let stats = log.stats();
    // All of it must have gone on, or the figure is one of something else.
    let synced = sync_ms.is_none() || stats.syncs >= seconds * 2;
    if !synced || stats.rolls + 1 < seconds || log.log_start_offset() == Offset::ZERO {
        let start = log.log_start_offset();
        return Err(format!("{} syncs, {} rolls, and the log begins at {start}", stats.syncs, stats.rolls).into());
    }
    let (start, end) = (log.log_start_offset().value(), log.log_end_offset().value());
    if end != seconds * A_SECOND {
        return Err(format!("{} records were appended, and the log ends at {end}", seconds * A_SECOND).into());
    }
    Contents::of_log(&log.reader())?.must_be(given(&values, start..end)?)?;
    log.close()?;
    Ok(line.noted(format!("{} syncs, {} rolls, {start} records deleted", stats.syncs, stats.rolls)))
}

fn given(values: &Values, records: std::ops::Range<u64>) -> Outcome<Contents> {
    let mut given = Contents::default();
    for record in records {
        given.add(values.of(usize::try_from(record)?));
    }
    Ok(given)
}
