//! Tests of what may go: the borders of each rule, all rules against a plain restatement, and clocks that jump.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

fn at(offset: u64) -> Offset {
    Offset::new(offset)
}

fn ms(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Ten offsets a segment, of the given sizes.
fn segments(sizes: &[u64]) -> Vec<SegmentFacts> {
    let ends = (1..).map(|number| at(10 * number));
    sizes.iter().zip(ends).map(|(&size_bytes, end)| SegmentFacts { end, size_bytes }).collect()
}

const ALL: Policy = Policy {
    retention_ms: None,
    retention_bytes: None,
    log_start: Offset::ZERO,
    high_watermark: Offset::MAX,
    floor: Offset::MAX,
};

fn chosen(segments: &[SegmentFacts], policy: &Policy, now: i64, times: &[Option<i64>]) -> Choice {
    let time_of = |at: usize| Ok::<_, Infallible>(times[at].map(ms));
    match choose(segments, policy, ms(now), time_of) {
        Ok(choice) => choice,
    }
}

fn untimed(segments: &[SegmentFacts], policy: &Policy) -> usize {
    chosen(segments, policy, 0, &vec![None; segments.len()]).segments()
}

// Row 247.
#[test]
fn by_size_the_oldest_go_while_the_rest_has_at_least_the_limit() {
    let log = segments(&[100, 100, 100, 100]);
    let keep = |bytes| Policy { retention_bytes: Some(bytes), ..ALL };
    assert_eq!(untimed(&log, &keep(400)), 0, "exactly at the limit nothing goes");
    assert_eq!(untimed(&log, &keep(301)), 0, "what is left would have less");
    assert_eq!(untimed(&log, &keep(300)), 1);
    assert_eq!(untimed(&log, &keep(100)), 3);
    assert_eq!(untimed(&log, &keep(0)), 4, "the last one too; the log rolls first");
    assert_eq!(untimed(&log, &ALL), 0);
    assert_eq!(untimed(&segments(&[500]), &keep(1000)), 0, "a log below the limit");
}

// Row 248.
#[test]
fn by_time_goes_what_is_strictly_older() {
    let log = segments(&[1, 1, 1]);
    let policy = Policy { retention_ms: Some(100), ..ALL };
    let times = [Some(10), Some(20), Some(30)];
    assert_eq!(chosen(&log, &policy, 110, &times).by_time, 0, "exactly as old is not older");
    assert_eq!(chosen(&log, &policy, 111, &times).by_time, 1);
    assert_eq!(chosen(&log, &policy, 131, &times).by_time, 3);
    assert_eq!(chosen(&log, &policy, 0, &times).by_time, 0, "records from the future are not old");
}

// Row 250.
#[test]
fn nothing_at_or_above_the_high_watermark_goes_by_any_rule() {
    let log = segments(&[1, 1, 1]);
    let all = Policy { retention_ms: Some(0), retention_bytes: Some(0), ..ALL };
    let times = [Some(0); 3];
    for (high_watermark, expected) in [(0, 0), (9, 0), (10, 1), (29, 2), (30, 3)] {
        let policy = Policy { high_watermark: at(high_watermark), ..all };
        assert_eq!(chosen(&log, &policy, 1000, &times).segments(), expected, "{high_watermark}");
        let policy = Policy { log_start: at(30), high_watermark: at(high_watermark), ..ALL };
        assert_eq!(chosen(&log, &policy, 1000, &times).segments(), expected.min(2), "{high_watermark}");
    }
}

#[test]
fn a_floor_holds_size_and_time_back_but_not_the_log_start() {
    let log = segments(&[1, 1, 1]);
    let policy = Policy { retention_ms: Some(0), retention_bytes: Some(0), floor: at(19), ..ALL };
    assert_eq!(chosen(&log, &policy, 1000, &[Some(0); 3]).segments(), 1);
    let policy = Policy { log_start: at(20), ..policy };
    assert_eq!(chosen(&log, &policy, 1000, &[Some(0); 3]), Choice { by_log_start: 2, by_size: 0, by_time: 0 });
}

// Rows 252, 253.
#[test]
fn the_first_segment_that_must_stay_ends_the_walk() {
    let log = segments(&[1, 1, 1, 0]);
    let policy = Policy { retention_ms: Some(10), ..ALL };
    assert_eq!(chosen(&log, &policy, 100, &[Some(0), Some(95), Some(0), None]).segments(), 1);
    assert_eq!(chosen(&log, &policy, 100, &[None, Some(0), Some(0), None]).segments(), 0);
    let started = Policy { log_start: at(20), ..policy };
    let choice = chosen(&log, &started, 100, &[Some(500), Some(500), Some(0), Some(0)]);
    assert_eq!(choice, Choice { by_log_start: 2, by_size: 0, by_time: 1 }, "an empty last segment stays");
}

#[test]
fn a_time_is_asked_for_only_where_the_rule_of_time_comes() {
    let log = segments(&[1; 100]);
    let mut asked = Vec::new();
    let policy = Policy { retention_ms: Some(10), log_start: at(50), ..ALL };
    let time_of = |at| {
        asked.push(at);
        Ok::<_, Infallible>(Some(ms(1000)))
    };
    match choose(&log, &policy, ms(1000), time_of) {
        Ok(choice) => assert_eq!(choice.segments(), 5),
    }
    assert_eq!(asked, [5]);
}

type Predicate<'a> = &'a mut dyn FnMut(&SegmentFacts, Option<i64>, Option<&SegmentFacts>) -> bool;

/// The rules in Kafka's own words: three walks, each of which deletes from the front what its predicate allows, until
/// it does not.
fn restated(mut log: Vec<(SegmentFacts, Option<i64>)>, policy: &Policy, now: i64) -> usize {
    let before = log.len();
    let mut walk = |predicate: Predicate<'_>| {
        while let Some((first, time)) = log.first().copied() {
            let next = log.get(1).map(|(next, _)| *next);
            let empty_last = next.is_none() && first.size_bytes == 0;
            if first.end > policy.high_watermark || empty_last || !predicate(&first, time, next.as_ref()) {
                break;
            }
            log.remove(0);
        }
        log.iter().map(|(segment, _)| segment.size_bytes).sum::<u64>()
    };
    let total = walk(&mut |segment, _, next| next.is_some() && segment.end <= policy.log_start);
    if let Some(keep) = policy.retention_bytes
        && total >= keep
    {
        let mut diff = total - keep;
        walk(&mut |segment, _, _| {
            let goes = segment.end <= policy.floor && diff >= segment.size_bytes;
            diff -= if goes { segment.size_bytes } else { 0 };
            goes
        });
    }
    if let Some(keep) = policy.retention_ms {
        let keep = i64::try_from(keep).expect("a short time");
        walk(&mut |segment, time, _| segment.end <= policy.floor && time.is_some_and(|time| now - time > keep));
    }
    before - log.len()
}

proptest! {
    #[test]
    fn what_may_go_is_what_the_rules_say(
        facts in prop::collection::vec((0u64..40, prop::option::of(0i64..100)), 1..12),
        retention_ms in prop::option::of(0u64..60),
        retention_bytes in prop::option::of(0u64..300),
        bounds in (0u64..150, 0u64..150, 0u64..150),
        now in 0i64..150,
    ) {
        let sizes: Vec<u64> = facts.iter().map(|(size, _)| *size).collect();
        let times: Vec<Option<i64>> = facts.iter().map(|(_, time)| *time).collect();
        let log = segments(&sizes);
        let (log_start, high_watermark, floor) = (at(bounds.0.min(bounds.1)), at(bounds.1), at(bounds.2));
        let policy = Policy { retention_ms, retention_bytes, log_start, high_watermark, floor };
        let choice = chosen(&log, &policy, now, &times);
        let pairs = log.iter().copied().zip(times.iter().copied()).collect();
        prop_assert_eq!(choice.segments(), restated(pairs, &policy, now));
    }
}

const INTERVAL: Duration = Duration::from_secs(300);
const DECADE_MS: i64 = 10 * 365 * 24 * 3600 * 1000;

fn reading(wall: i64, seconds: u64) -> Reading {
    Reading { wall: ms(wall), monotonic: Duration::from_secs(seconds) }
}

fn guard(newest: i64) -> ClockGuard {
    ClockGuard::new(Some(ms(newest)), Duration::ZERO)
}

#[test]
fn a_clock_that_jumped_ahead_is_believed_only_when_it_says_so_again_an_interval_later() {
    let mut clock = guard(0);
    assert_eq!(clock.judge(reading(300_000, 300), INTERVAL), Judgement { now: ms(300_000), doubted: false });
    let ahead = 300_000 + DECADE_MS;
    let doubted = Judgement { now: ms(301_000), doubted: true };
    assert_eq!(clock.judge(reading(ahead + 1000, 301), INTERVAL), doubted, "as if it had not jumped");
    assert!(clock.judge(reading(ahead + 299_000, 599), INTERVAL).doubted, "too early to confirm it");
    let confirmed = Judgement { now: ms(ahead + 301_000), doubted: false };
    assert_eq!(clock.judge(reading(ahead + 301_000, 601), INTERVAL), confirmed);
}

#[test]
fn a_jump_that_is_taken_back_leaves_no_trace() {
    let mut clock = guard(0);
    assert!(clock.judge(reading(DECADE_MS, 10), INTERVAL).doubted);
    assert!(!clock.judge(reading(20_000, 20), INTERVAL).doubted, "the clock is right again");
    assert!(clock.judge(reading(DECADE_MS + 400_000, 400), INTERVAL).doubted, "a new jump begins its wait anew");
    assert!(clock.judge(reading(3 * DECADE_MS, 800), INTERVAL).doubted, "it says something else: nothing is confirmed");
    assert!(clock.judge(reading(2 * DECADE_MS, 1200), INTERVAL).doubted, "nor by less than it said");
    assert!(clock.judge(reading(2 * DECADE_MS + 299_000, 1499), INTERVAL).doubted);
    assert!(!clock.judge(reading(2 * DECADE_MS + 300_000, 1500), INTERVAL).doubted);
}

#[test]
fn a_clock_that_goes_back_or_gains_little_is_believed() {
    let mut clock = guard(DECADE_MS);
    assert_eq!(clock.judge(reading(5, 1), INTERVAL), Judgement { now: ms(5), doubted: false });
    let gained = 5 + 1000 + 3_600_000 + 300_000;
    assert!(!clock.judge(reading(gained, 2), INTERVAL).doubted, "exactly the allowance");
    assert!(clock.judge(reading(2 * gained + 1, 2), INTERVAL).doubted);
    assert!(!ClockGuard::new(None, Duration::ZERO).judge(reading(DECADE_MS, 0), INTERVAL).doubted, "an empty log");
}

#[test]
fn a_record_from_the_future_becomes_as_old_as_the_moment_in_which_it_was_first_seen() {
    let mut seen = Sighting::default();
    let future = ms(DECADE_MS);
    assert_eq!(seen.clamp(future, at(10), ms(500)), ms(500));
    seen.note(ms(500), at(10), 1000);
    assert_eq!(seen.clamp(future, at(10), ms(900)), ms(500));
    assert_eq!(seen.clamp(future, at(11), ms(900)), ms(900), "it may have been written since");
    assert_eq!(seen.clamp(ms(7), at(10), ms(900)), ms(7));
    seen.note(ms(1500), at(20), 1000);
    assert_eq!(seen.clamp(future, at(10), ms(1600)), ms(500), "still of use");
    seen.note(ms(1501), at(20), 1000);
    assert_eq!(seen.clamp(future, at(20), ms(1600)), ms(1501));
    seen.note(ms(3), at(30), 1000);
    assert_eq!(seen.clamp(future, at(30), ms(9)), ms(3), "the clock went back");
}
