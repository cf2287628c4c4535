//! A time as RFC 3339 writes it, as a timestamp: `2026-03-01T12:00:00Z`, `2026-03-01T13:00:00.250+01:00`.
//!
//! It is strict: the whole grammar and nothing else, in years 0000 to 9999. The invariant it owns: the timestamp is the
//! first millisecond that is not before the time that was written, so that whatever is at or after the one is at or
//! after the other.

use kstore::Timestamp;

const MS_A_DAY: i64 = 24 * 60 * 60 * 1000;
const EXPECTED: &str = "a time as in 2026-03-01T12:00:00Z or 2026-03-01T13:00:00.250+01:00";
/// 1970-01-01, counted from 0000-01-01.
const EPOCH_DAY: i64 = 719_528;

pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    let mut rest = text.as_bytes();
    parts(&mut rest).filter(|_| rest.is_empty()).map(Timestamp::from_millis).ok_or_else(|| EXPECTED.to_owned())
}

/// Milliseconds since 1970. What is behind the time stays in `rest`.
fn parts(rest: &mut &[u8]) -> Option<i64> {
    let year = number(rest, 4)?;
    sign(rest, b"-")?;
    let month = number(rest, 2).filter(|month| (1..=12).contains(month))?;
    sign(rest, b"-")?;
    let day = number(rest, 2).filter(|day| (1..=days_of(year, month)).contains(day))?;
    sign(rest, b"Tt")?;
    let hour = number(rest, 2).filter(|hour| *hour < 24)?;
    sign(rest, b":")?;
    let minute = number(rest, 2).filter(|minute| *minute < 60)?;
    sign(rest, b":")?;
    let second = number(rest, 2).filter(|second| *second <= 60)?;
    let fraction_ms = fraction(rest)?;
    let ahead_minutes = offset(rest)?;

    let month_begins = (days_before(year, month) - EPOCH_DAY) * MS_A_DAY;
    let seconds = (hour * 60 + minute - ahead_minutes) * 60 + second;
    let millis = month_begins + (day - 1) * MS_A_DAY + seconds * 1000;
    // A leap second is the last one of a month, by universal time. Clocks that count days of equal length have none, and
    // call it by the second that follows.
    let month_ends = month_begins + days_of(year, month) * MS_A_DAY;
    if second == 60 && millis != month_begins && millis != month_ends {
        return None;
    }
    Some(millis + fraction_ms)
}

/// Exactly so many digits.
fn number(rest: &mut &[u8], digits: usize) -> Option<i64> {
    let (found, behind) = rest.split_at_checked(digits)?;
    if !found.iter().all(u8::is_ascii_digit) {
        return None;
    }
    *rest = behind;
    Some(found.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

fn sign(rest: &mut &[u8], allowed: &[u8]) -> Option<u8> {
    let (first, behind) = rest.split_first()?;
    if !allowed.contains(first) {
        return None;
    }
    *rest = behind;
    Some(*first)
}

/// Milliseconds, of any number of digits, rounded up.
fn fraction(rest: &mut &[u8]) -> Option<i64> {
    if sign(rest, b".").is_none() {
        return Some(0);
    }
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (found, behind) = rest.split_at_checked(length.max(1))?;
    if length == 0 {
        return None;
    }
    *rest = behind;
    let digit = |at: usize| found.get(at).map_or(0, |digit| i64::from(digit - b'0'));
    let rounded = i64::from(found.iter().skip(3).any(|digit| *digit != b'0'));
    Some(digit(0) * 100 + digit(1) * 10 + digit(2) + rounded)
}

/// By how many minutes the clock that was read is ahead of universal time.
fn offset(rest: &mut &[u8]) -> Option<i64> {
    let direction = match sign(rest, b"Zz+-")? {
        b'+' => 1,
        b'-' => -1,
        _ => return Some(0),
    };
    let hours = number(rest, 2).filter(|hours| *hours < 24)?;
    sign(rest, b":")?;
    let minutes = number(rest, 2).filter(|minutes| *minutes < 60)?;
    Some(direction * (hours * 60 + minutes))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 0000-01-01 to the first of the month.
fn days_before(year: i64, month: i64) -> i64 {
    // Of the years before: 0 is a leap year, and so is each fourth one but for the centuries.
    let leap_years = (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    year * 365 + leap_years + (1..month).map(|month| days_of(year, month)).sum::<i64>()
}
