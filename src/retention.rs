//! Which segments may go: a pure function of facts about them, a policy, and the time.
//!
//! It reads no file and no clock; the log gathers the facts, hands in the readings of its clocks, and deletes. The rules
//! are Kafka's: segments are looked at from the oldest on, and the first one that must stay ends the walk. Invariants
//! it owns: what may go is always a prefix of the log, and nothing at or above the high watermark; nothing is called old
//! on the word of a single reading of a clock that has jumped (rule 34).

use std::time::Duration;

use crate::offset::{Offset, Timestamp};

/// A wall clock that advanced by this and an interval between two looks more than the monotonic one has jumped. What is
/// less makes nothing old that would not be old within the hour.
const JUMP: Duration = Duration::from_secs(60 * 60);

/// What is known of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFacts {
    /// One past its last offset: the base offset of the next one, or, of the last, the log end.
    pub(crate) end: Offset,
    pub(crate) size_bytes: u64,
}

/// What is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) retention_ms: Option<u64>,
    pub(crate) retention_bytes: Option<u64>,
    pub(crate) log_start: Offset,
    /// Nothing at or above goes, by any rule.
    pub(crate) high_watermark: Offset,
    /// Nothing at or above goes by size or time.
    pub(crate) floor: Offset,
}

/// How many segments may go by each rule. They are the first ones of the log, in the order of the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) by_log_start: usize,
    pub(crate) by_size: usize,
    pub(crate) by_time: usize,
}

impl Choice {
    pub(crate) fn segments(self) -> usize {
        self.by_log_start + self.by_size + self.by_time
    }
}

/// Says which segments may go at `now`. `time_of` is asked for the time of a segment's newest record, only of those that
/// the rule of time comes to; a segment without a time stays.
///
/// If all of them may go, the last one too, the log begins a new segment first, so that one stays.
pub(crate) fn choose<E>(
    segments: &[SegmentFacts],
    policy: &Policy,
    now: Timestamp,
    mut time_of: impl FnMut(usize) -> Result<Option<Timestamp>, E>,
) -> Result<Choice, E> {
    let last = segments.len().saturating_sub(1);
    // An empty last segment is what remains of a log from which everything was deleted.
    let may_go = |at: usize, bound: Offset| segments[at].end <= bound && (at < last || segments[at].size_bytes > 0);
    let mut choice = Choice::default();
    let mut at = 0;
    while at < last && segments[at].end <= policy.log_start && may_go(at, policy.high_watermark) {
        choice.by_log_start += 1;
        at += 1;
    }
    let bound = policy.high_watermark.min(policy.floor);
    if let Some(keep) = policy.retention_bytes {
        let total: u64 = segments[at..].iter().map(|segment| segment.size_bytes).sum();
        let mut excess = total.checked_sub(keep);
        while at < segments.len() && may_go(at, bound) {
            let Some(rest) = excess.and_then(|excess| excess.checked_sub(segments[at].size_bytes)) else { break };
            excess = Some(rest);
            choice.by_size += 1;
            at += 1;
        }
    }
    if let Some(keep) = policy.retention_ms {
        while at < segments.len() && may_go(at, bound) {
            let Some(time) = time_of(at)? else { break };
            let age = now.as_millis().saturating_sub(time.as_millis());
            if !u64::try_from(age).is_ok_and(|age| age > keep) {
                break;
            }
            choice.by_time += 1;
            at += 1;
        }
    }
    Ok(choice)
}

/// Both clocks, read at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) wall: Timestamp,
    pub(crate) monotonic: Duration,
}

impl Reading {
    /// What the wall clock should show by now, had it gone on as the monotonic one.
    fn expected(self, monotonic: Duration) -> Timestamp {
        let passed = monotonic.saturating_sub(self.monotonic).as_millis();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.wall.as_millis().saturating_add(passed))
    }
}

/// Time as it may be used to call records old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) now: Timestamp,
    /// The clock has jumped ahead of this, and nobody has confirmed it.
    pub(crate) doubted: bool,
}

/// Believes a wall clock that goes on as before, and one that jumped ahead only if it still says so an interval later.
/// A clock that goes back is believed at once, for it makes nothing old.
///
/// Behind an opening there is nothing to compare with but the newest record: a device that was off for a year deletes
/// what has become old, but only after it looked twice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockGuard {
    /// Before the first reading of a log without records: nothing is at stake.
    last: Option<Reading>,
    /// A jump that waits for its confirmation.
    suspect: Option<Reading>,
}

impl ClockGuard {
    /// Begins with the time of the newest record of the log, and the monotonic clock of now.
    pub(crate) fn new(newest: Option<Timestamp>, monotonic: Duration) -> ClockGuard {
        ClockGuard { last: newest.map(|wall| Reading { wall, monotonic }), suspect: None }
    }

    /// The time by which records may be judged, given a reading and the interval between two looks.
    pub(crate) fn judge(&mut self, reading: Reading, interval: Duration) -> Judgement {
        let Some(last) = self.last else { return self.believe(reading) };
        let expected = last.expected(reading.monotonic);
        if !has_jumped(expected, reading.wall, interval) {
            return self.believe(reading);
        }
        if let Some(suspect) = self.suspect
            && !has_jumped(suspect.expected(reading.monotonic), reading.wall, interval)
            && reading.wall >= suspect.wall
        {
            if reading.monotonic.saturating_sub(suspect.monotonic) >= interval {
                return self.believe(reading);
            }
        } else {
            self.suspect = Some(reading);
        }
        Judgement { now: expected, doubted: true }
    }

    fn believe(&mut self, reading: Reading) -> Judgement {
        self.last = Some(reading);
        self.suspect = None;
        Judgement { now: reading.wall, doubted: false }
    }
}

fn has_jumped(expected: Timestamp, found: Timestamp, interval: Duration) -> bool {
    let ahead = found.as_millis().saturating_sub(expected.as_millis());
    u64::try_from(ahead).is_ok_and(|ahead| u128::from(ahead) > (JUMP + interval).as_millis())
}

/// When the log was seen to end where. What ended by then was written by then, whatever time its records claim, so that
/// a record from the future does not stay for ever.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sighting {
    seen: Option<(Timestamp, Offset)>,
}

impl Sighting {
    /// Takes note of a believed time and the log end, unless what was noted before is still of use: until
    /// everything that it speaks of may be old.
    pub(crate) fn note(&mut self, now: Timestamp, end: Offset, retention_ms: u64) {
        let expired = self.seen.is_none_or(|(then, _)| {
            let age = now.as_millis().saturating_sub(then.as_millis());
            age < 0 || u64::try_from(age).is_ok_and(|age| age > retention_ms)
        });
        if expired {
            self.seen = Some((now, end));
        }
    }

    /// The time to judge a segment by: what its records say, but no later than it can have been written.
    pub(crate) fn clamp(&self, time: Timestamp, segment_end: Offset, now: Timestamp) -> Timestamp {
        let seen = self.seen.filter(|(_, end)| segment_end <= *end).map_or(now, |(then, _)| then);
        time.min(seen).min(now)
    }
}

#[cfg(test)]
mod tests;
