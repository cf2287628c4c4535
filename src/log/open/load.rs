//! Loads a directory for writing: believes `kstore.state` as far as its witness holds, recovers the rest, cuts torn
//! tails, rebuilds indexes, and syncs what it found.
//!
//! Used by `open` and by `reopen` alike, so that there is one way in. The caller holds the directory's lock. It is
//! idempotent: a crash anywhere in it leaves a directory that loads to the same log (rule 28). The invariant it owns:
//! what it returns as durable was synced by it or by an earlier session that said so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::config::{LogConfig, OnDamage};
use crate::epoch::EpochRuns;
use crate::error::{Error, Result};
use crate::fs::{Env, OpenMode};
use crate::offset::{Offset, Position};
use crate::record::{BatchHeader, verify_crc};
use crate::segment::{IndexRules, KnownIndexes, LogFile, MaxTimestamp, Scanner, Segment, SegmentWriter, Shape};
use crate::state::{ActiveFile, Found, IndexMarks, RecoveryPoint, Sections, State, StateFile, Witness};

use super::directory::{self, Listing, Source};
use super::recovery::{self, Chain};
use crate::log::core::Bounds;
use crate::log::deletion;
use crate::log::epochs::{self, Epochs, Seen};
use crate::log::report::{Damage, Fate, Leftover, RecoveryReport, Trust};

/// A log that is ready to be written to.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) segments: BTreeMap<Offset, Arc<Segment>>,
    pub(crate) bounds: Bounds,
    pub(crate) epochs: Epochs,
    pub(crate) active: SegmentWriter,
    /// What the state file says, or would say if it were written now.
    pub(crate) state: State,
    /// The state on disk says "clean" and must be made to say otherwise before the first change.
    pub(crate) marked_clean: bool,
    /// Appends are refused for this.
    pub(crate) refused: Option<Error>,
    pub(crate) report: RecoveryReport,
}

/// What readers get of a loaded log.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) segments: BTreeMap<Offset, Arc<Segment>>,
    pub(crate) bounds: Bounds,
    pub(crate) epochs: Epochs,
    pub(crate) report: RecoveryReport,
}

/// The note of a failed sync in a directory that nobody vouches for: bytes are durable, and no batch bears witness to them, so that
/// everything is recovered.
const NOTED: State = State {
    generation: 0,
    clean: false,
    log_start: Offset::ZERO,
    log_end: Offset::ZERO,
    recovery_point: RecoveryPoint { offset: Offset::ZERO, segment_base: Offset::ZERO, position: Position::new(1) },
    witness: None,
    active: ActiveFile { base: Offset::ZERO, size: 0 },
    index_marks: IndexMarks { offset_entries: 0, offset_crc: 0, time_entries: 0, time_crc: 0 },
    max_timestamp: None,
    gaps_allowed: true,
    sync_failed: true,
    damage_accepted: false,
};

/// How an opening goes about segments.
#[derive(Clone, Copy)]
pub(crate) struct Loader<'a> {
    pub(crate) env: &'a Env,
    pub(crate) dir: &'a Arc<Path>,
    pub(crate) config: &'a LogConfig,
    /// A sync failed: what is seen above the recovery point may be in the cache and nowhere else (rule 29).
    pub(crate) sync_failed: bool,
    /// In a log that is reopened: how far readers saw each segment. They may hold these bytes, and have sent them.
    pub(crate) shown: Option<&'a BTreeMap<Offset, Position>>,
}

impl Loader<'_> {
    /// Loads the directory, and opens its state file.
    pub(crate) fn load(&self) -> Result<(StateFile, Loaded)> {
        let mut listing = Listing::read(self.env, self.dir)?;
        let mut report = RecoveryReport { foreign: listing.foreign.clone(), ..RecoveryReport::default() };
        let (mut state_file, mut found) = StateFile::open_or_create(self.env, self.dir)?;
        let mut disturbed = false;
        if listing.has_leftovers() {
            if listing.has_swaps() {
                found = prepare_for_swaps(&mut state_file, found)?;
            }
            report.leftovers = directory::finish_swaps(self.env, self.dir, &listing)?;
            disturbed = report.leftovers.iter().any(|leftover| leftover.fate == Fate::SwappedIn);
            listing = Listing::read(self.env, self.dir)?;
        }
        for (_, path) in listing.torn(self.dir) {
            report.leftovers.push(Leftover { path, fate: Fate::Kept });
        }
        let state = found.state().copied();
        let sync_failed = self.sync_failed || state.is_some_and(|state| state.sync_failed);
        let loader = Loader { sync_failed, ..*self };
        let loaded = loader.recover(&mut state_file, &found, &listing, disturbed, report);
        if let Err(error) = &loaded
            && error.is_failed_sync()
        {
            // The page cache may now show what the disk does not have, and say yes to the next sync. Should the note
            // fail too, the caller still has the error.
            drop(state_file.write(&state.map_or(NOTED, |state| State { sync_failed: true, ..state })));
        }
        Ok((state_file, loaded?))
    }

    fn recover(
        &self,
        state_file: &mut StateFile,
        found: &Found,
        listing: &Listing,
        disturbed: bool,
        mut report: RecoveryReport,
    ) -> Result<Loaded> {
        if self.sync_failed && found.state().is_none_or(|state| *state == NOTED) {
            state_file.renew_name(self.env)?;
        }
        let mut logs = listing.logs(self.dir);
        let state = found.state().copied();
        if !disturbed && let Some(state) = state {
            let mut witness = EpochRuns::default();
            let sections = state_file.read_sections()?;
            let mut deleted = deletion::deleted_before(self.env, &logs, &state)?;
            // What a clean close counted nobody has deleted: a log whose end was raised to its start goes on behind it.
            deleted.retain(|base| sections.iter().flatten().all(|(kept, _)| kept != base));
            let belief = if deleted.is_empty() {
                belief(self.env, &logs, &state, sections, &mut witness)?
            } else {
                let mut judged = logs.clone();
                // The witness may be in a segment that was deleted while nothing was in those behind it.
                let witnessed = |base| state.witness.is_some_and(|witness| witness.segment_base == base);
                judged.retain(|&base, _| !deleted.contains(&base) || witnessed(base));
                belief(self.env, &judged, &state, sections, &mut witness)?
            };
            if !matches!(belief, Belief::None) {
                deletion::delete_again(self.env, self.dir, &deleted, &mut report)?;
                logs.retain(|base, _| !deleted.contains(base));
            }
            match belief {
                Belief::Clean(sizes) if deleted.is_empty() => {
                    return self.load_clean(state, &sizes, witness, report);
                }
                Belief::Clean(_) | Belief::FromRecoveryPoint => {
                    report.trust = Trust::FromRecoveryPoint;
                    let mut chain = self.recover_above(&logs, &state, &mut report)?;
                    chain.seen.witness = witness;
                    if chain.damage().is_empty() || self.config.on_damage != OnDamage::CutAsKafka {
                        return self.finish(state_file, Some(state), chain, report);
                    }
                }
                Belief::None => {}
            }
        }
        let is_new = logs.is_empty() && matches!(found, Found::Missing);
        report.trust = if is_new { Trust::Clean } else { Trust::Foreign };
        let chain = recovery::recover_all(self, &logs, state.as_ref(), &mut report)?;
        self.finish(state_file, state, chain, report)
    }

    /// Closed cleanly: nothing is read but the batch of the witness.
    fn load_clean(
        &self,
        state: State,
        sizes: &[(Offset, u64)],
        witness: EpochRuns,
        mut report: RecoveryReport,
    ) -> Result<Loaded> {
        let known = KnownIndexes {
            offset_entries: state.index_marks.offset_entries,
            time_entries: state.index_marks.time_entries,
            position: Position::new(state.active.size),
            max_timestamp: state.max_timestamp.map(|(timestamp, offset)| MaxTimestamp { timestamp, offset }),
        };
        let base = state.active.base;
        let active = self.resume(base, state.log_end, &known)?;
        let sealed = |&(base, size)| (base, Arc::new(Segment::within(self.dir, base, Position::new(size), Vec::new())));
        let last = (base, Arc::clone(active.segment()));
        let segments = sizes.iter().map(sealed).chain([last]).collect();
        let bounds = Bounds {
            log_start: state.log_start,
            log_end: state.log_end,
            synced: state.log_end,
            gaps_allowed: state.gaps_allowed,
        };
        let seen = Seen { witness, ..Seen::default() };
        let epochs = self.epochs(&segments, &seen, bounds, true, &mut report)?;
        Ok(Loaded { segments, bounds, epochs, active, state, marked_clean: true, refused: None, report })
    }

    /// The leader epochs, and their file in step with them, unless appends are refused.
    fn epochs(
        &self,
        segments: &BTreeMap<Offset, Arc<Segment>>,
        seen: &Seen,
        bounds: Bounds,
        is_writable: bool,
        report: &mut RecoveryReport,
    ) -> Result<Epochs> {
        let (mut epochs, lost) = epochs::judge(self.env, self.dir, segments, seen, (bounds.log_start, bounds.log_end))?;
        report.lost_epochs = lost;
        if is_writable {
            epochs::keep(self.env, self.dir, &mut epochs, self.sync_failed)?;
        }
        Ok(epochs)
    }

    /// Goes on with a segment. Should its indexes not be what the state says, they are made anew.
    fn resume(&self, base: Offset, next_offset: Offset, known: &KnownIndexes) -> Result<SegmentWriter> {
        let shape = self.shape();
        match SegmentWriter::resume(self.env, self.dir, base, shape, next_offset, known, Vec::new()) {
            Err(Error::Corrupt { .. }) => {
                let rebuilt = recovery::rebuild_indexes(self, base, known.position)?;
                SegmentWriter::resume(self.env, self.dir, base, shape, next_offset, &rebuilt, Vec::new())
            }
            answer => answer,
        }
    }

    /// Recovers what lies above the recovery point; what lies below is believed.
    fn recover_above(
        &self,
        logs: &BTreeMap<Offset, Source>,
        state: &State,
        report: &mut RecoveryReport,
    ) -> Result<Chain> {
        let mut chain = Chain::default();
        for (&base, source) in logs.range(..state.recovery_point.segment_base) {
            let size = recovery::file_size(self.env, &source.path)?;
            chain.segments.insert(base, Arc::new(Segment::within(self.dir, base, Position::new(size), Vec::new())));
        }
        recovery::recover_from(self, logs, state, &mut chain, report)?;
        Ok(chain)
    }

    /// Puts a recovered chain of segments into service.
    fn finish(
        &self,
        state_file: &mut StateFile,
        before: Option<State>,
        mut chain: Chain,
        mut report: RecoveryReport,
    ) -> Result<Loaded> {
        let first = chain.first_base().unwrap_or(Offset::ZERO);
        let found = chain.witness.map(|last| last.last_offset + 1);
        let log_start = log_start(before.as_ref(), report.trust, first, found);
        let next_offset = chain.next_offset.max(log_start);
        let active = match chain.last.take() {
            Some(last) if last.unusable_from.is_none() && last.next_offset == next_offset => {
                let shape = self.shape();
                let damage = last.damage;
                SegmentWriter::resume(self.env, self.dir, last.base, shape, next_offset, &last.known, damage)?
            }
            last => {
                if let Some(last) = last {
                    let end = last.known.position;
                    let segment = Segment::within(self.dir, last.base, end, last.damage);
                    chain.segments.insert(last.base, Arc::new(segment));
                }
                SegmentWriter::create(self.env, self.dir, next_offset, self.shape())?
            }
        };
        chain.segments.insert(active.base(), Arc::clone(active.segment()));
        // Recovery needed what the old recovery point lay in, also where all of it was deleted.
        let deleted = match report.trust {
            Trust::FromRecoveryPoint => segments_below(&chain.segments, log_start),
            _ => BTreeSet::new(),
        };
        chain.witness = chain.witness.filter(|witness| !deleted.contains(&witness.segment_base));
        directory::sync_dir(self.env, self.dir)?;
        report.damage = chain.damage();
        let refused = self.refusal(before.as_ref(), &report.damage);
        let gaps_allowed = chain.gaps_allowed;
        let state = State {
            generation: before.map_or(0, |state| state.generation) + 1,
            clean: false,
            log_start,
            log_end: next_offset,
            recovery_point: RecoveryPoint {
                offset: next_offset,
                segment_base: active.base(),
                position: active.position(),
            },
            witness: chain.witness,
            active: ActiveFile { base: active.base(), size: active.position().value() },
            index_marks: active.write_indexes(),
            max_timestamp: active.max_timestamp().map(|max| (max.timestamp, max.offset)),
            gaps_allowed,
            sync_failed: false,
            damage_accepted: !report.damage.is_empty() && refused.is_none(),
        };
        let bounds = Bounds { log_start, log_end: next_offset, synced: next_offset, gaps_allowed };
        // Before the state: the recovery point passes no batch whose epoch is not in the file.
        let epochs = self.epochs(&chain.segments, &chain.seen, bounds, refused.is_none(), &mut report)?;
        if refused.is_none() {
            // What was recovered is durable; from here on the state vouches for it.
            state_file.write(&state)?;
            state_file.sync()?;
            deletion::delete_again(self.env, self.dir, &deleted, &mut report)?;
            chain.segments.retain(|base, _| !deleted.contains(base));
        }
        Ok(Loaded { segments: chain.segments, bounds, epochs, active, state, marked_clean: false, refused, report })
    }

    /// Damage refuses appends, unless it was accepted, now or in an earlier session.
    fn refusal(&self, before: Option<&State>, damage: &[Damage]) -> Option<Error> {
        let first = damage.first()?;
        let accepted = before.is_some_and(|state| state.damage_accepted) || self.config.on_damage != OnDamage::Refuse;
        (!accepted).then(|| Error::Damaged {
            path: first.path.as_path().into(),
            position: first.position,
            reason: first.reason,
        })
    }

    pub(crate) fn shape(&self) -> Shape {
        shape(self.env, self.config)
    }

    pub(crate) fn index_rules(&self) -> IndexRules {
        index_rules(self.config)
    }
}

/// Where a log begins: where the state says, or later where the first segments are gone. `found` is where the batches
/// that were found end.
///
/// A state that is not believed has its say only where the log that was found reaches that far, or where there is no
/// batch at all and its offsets must not be given twice. Else it speaks of another log, or of one whose newer part is
/// lost, and must not hide what there is.
pub(crate) fn log_start(before: Option<&State>, trust: Trust, first: Offset, found: Option<Offset>) -> Offset {
    match before {
        Some(state) if trust != Trust::Foreign || found.is_none_or(|end| state.log_start <= end) => {
            state.log_start.max(first)
        }
        _ => first,
    }
}

/// The segments that end at or below the log start.
fn segments_below(segments: &BTreeMap<Offset, Arc<Segment>>, log_start: Offset) -> BTreeSet<Offset> {
    let nexts = segments.keys().skip(1);
    segments.keys().zip(nexts).filter(|(_, next)| **next <= log_start).map(|(&base, _)| base).collect()
}

/// What is swapped in may have gaps; the state says so before the first rename, so that an opening that finds the swap
/// finished and only remains to remove reads by the same rules.
fn prepare_for_swaps(state_file: &mut StateFile, found: Found) -> Result<Found> {
    let Found::State(state) = found else { return Ok(found) };
    let state = State { clean: false, gaps_allowed: true, ..state };
    state_file.write(&state)?;
    state_file.sync()?;
    Ok(Found::State(state))
}

fn index_rules(config: &LogConfig) -> IndexRules {
    IndexRules { max_bytes: config.segment_index_bytes, interval_bytes: config.index_interval_bytes }
}

/// What a segment writer needs of the configuration. The jitter is drawn anew for each segment.
pub(crate) fn shape(env: &Env, config: &LogConfig) -> Shape {
    let jitter = config.segment_jitter_ms.min(config.segment_ms);
    let drawn = if jitter == 0 { 0 } else { env.random() % jitter };
    Shape {
        segment_bytes: config.segment_bytes,
        segment_ms: config.segment_ms - drawn,
        write_mode: config.write_mode,
        window_bytes: config.window_bytes,
        indexes: index_rules(config),
    }
}

/// How far a state can be believed.
pub(crate) enum Belief {
    /// The directory is as a clean close left it. The sizes of the sealed segments.
    Clean(Sections),
    /// What lies below the recovery point is as it says.
    FromRecoveryPoint,
    /// Somebody else wrote here.
    None,
}

/// Compares a state with the directory. We take the clean mark back, durably, before we change anything: where the end
/// of a log that is marked clean differs from its state, somebody else appended. `witness` is told of the batch that
/// bears witness.
pub(crate) fn belief(
    env: &Env,
    logs: &BTreeMap<Offset, Source>,
    state: &State,
    sections: Option<Sections>,
    witness: &mut EpochRuns,
) -> Result<Belief> {
    if !state_holds(env, logs, state, witness)? {
        return Ok(Belief::None);
    }
    if !state.clean {
        return Ok(Belief::FromRecoveryPoint);
    }
    let Some((&last, source)) = logs.last_key_value() else { return Ok(Belief::None) };
    if last != state.active.base || recovery::file_size(env, &source.path)? != state.active.size {
        return Ok(Belief::None);
    }
    let sealed = logs.keys().filter(|&&base| base != last);
    let as_closed = sections.as_ref().is_some_and(|sizes| sealed.eq(sizes.iter().map(|(base, _)| base)));
    Ok(match sections {
        Some(sizes) if as_closed => Belief::Clean(sizes),
        // The close was cut short behind the state itself, or somebody removed segments; a hole is told when it is read.
        _ => Belief::FromRecoveryPoint,
    })
}

/// Whether the batch that the state calls its witness still stands where it says: one read.
pub(crate) fn state_holds(
    env: &Env,
    logs: &BTreeMap<Offset, Source>,
    state: &State,
    epochs: &mut EpochRuns,
) -> Result<bool> {
    let Some(witness) = state.witness else {
        // Nothing was durable yet, or all of it was deleted, so that there is nothing to contradict but the name of the one
        // segment.
        let at_start = state.recovery_point.position == Position::ZERO;
        return Ok(at_start && (logs.is_empty() || logs.contains_key(&state.recovery_point.segment_base)));
    };
    let Some(source) = logs.get(&witness.segment_base) else { return Ok(false) };
    let log = Arc::new(LogFile::open(env, &source.path, OpenMode::Read)?);
    let end = Position::new(log.len()?);
    if witness.position >= end {
        return Ok(false);
    }
    match witnessed_batch(log, &witness, end) {
        Ok(Some(header)) => {
            epochs.note(&header);
            Ok(true)
        }
        Ok(None) => Ok(false),
        Err(Error::Corrupt { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The batch that stands where a witness stood, if it is the same by its checksum. That does not cover the base offset:
/// another one there is damage, for whoever reads the batch to be told, and no sign of somebody else's hand, under which
/// offsets might be missing.
pub(crate) fn witnessed_batch(log: Arc<LogFile>, witness: &Witness, end: Position) -> Result<Option<BatchHeader>> {
    let mut scan = Scanner::new(log, witness.position, end);
    let Some(header) = scan.peek()? else { return Ok(None) };
    let stands = header.crc == witness.crc && verify_crc(scan.batch(&header)?, &header).is_ok();
    Ok(stands.then_some(header))
}

/// The witness that a batch makes.
pub(crate) fn witness_of(segment_base: Offset, position: Position, header: &BatchHeader) -> Witness {
    Witness {
        base_offset: header.base_offset().unwrap_or(header.last_offset()),
        last_offset: header.last_offset(),
        segment_base,
        position,
        crc: header.crc,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Worker;
    use crate::fs::sim::SimDisk;
    use crate::log::Log;
    use crate::record::Record;

    // Story: an opening that found the log shorter than it had been refused appends, but left an empty segment behind
    // the gap; the next opening took that for the end of a whole log, and appended there.
    #[test]
    fn an_end_that_is_missing_is_told_by_every_opening_until_it_is_accepted() {
        let disk = SimDisk::new(1);
        let env = Env::sim(&disk);
        let config = LogConfig::default().worker(Worker::Caller);
        let open = |config: &LogConfig| Log::open_in(&env, Path::new("/log"), config.clone()).unwrap();
        let log = open(&config);
        for _ in 0..5 {
            log.append(&[Record::value("v")]).unwrap();
        }
        log.close().unwrap();
        drop(log);
        let path = "/log/00000000000000000000.log";
        let whole = disk.read_file(path).unwrap();
        disk.write_file(path, &whole[..whole.len() / 5 * 2]);
        for _ in 0..3 {
            let log = open(&config);
            let damage = log.recovery_report().damage;
            assert_eq!(damage.len(), 1, "{damage:?}");
            assert_eq!((damage[0].first_offset, damage[0].next_offset), (Offset::new(2), Offset::new(5)));
            assert_eq!(damage[0].path, Path::new(path));
            assert!(matches!(log.append(&[Record::value("w")]), Err(Error::Damaged { .. })));
        }
        let log = open(&config.clone().on_damage(OnDamage::ServeRest));
        assert_eq!(log.append(&[Record::value("w")]).unwrap().base_offset(), Offset::new(5));
        log.close().unwrap();
        drop(log);
        assert_eq!(open(&config).append(&[Record::value("x")]).unwrap().base_offset(), Offset::new(6));
    }
}
