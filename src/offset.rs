//! The three numbers that must never be mixed up: a record's logical number, a byte's place in a file, and a time.
//!
//! Nothing here knows a file, a format or a clock. The invariant it owns: arithmetic between the three does not compile.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// A record's logical number in its log, counted from 0 (or from where the log was started).
///
/// On disk it is a signed 64-bit integer, so valid offsets lie in `0..=i64::MAX`; what is larger is refused where it
/// enters the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of a log that nobody started elsewhere.
    pub const ZERO: Offset = Offset(0);
    /// The largest offset that fits the format's signed 64-bit field.
    pub const MAX: Offset = Offset(i64::MAX as u64);

    /// Makes an offset of a plain number.
    #[must_use]
    pub const fn new(value: u64) -> Offset {
        Offset(value)
    }

    /// The plain number.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// How far this offset lies above `lower`, or `None` if it lies below.
    #[must_use]
    pub const fn checked_distance(self, lower: Offset) -> Option<u64> {
        self.0.checked_sub(lower.0)
    }

    /// Reads the format's signed field: negative numbers are no offsets.
    #[must_use]
    #[inline]
    pub(crate) fn from_disk(field: i64) -> Option<Offset> {
        u64::try_from(field).ok().map(Offset)
    }

    /// The format's signed field. Offsets above [`Offset::MAX`] never get this far.
    #[must_use]
    pub(crate) fn to_disk(self) -> i64 {
        i64::try_from(self.0).expect("offsets are checked against Offset::MAX where they enter")
    }
}

impl From<u64> for Offset {
    fn from(value: u64) -> Offset {
        Offset(value)
    }
}

impl From<Offset> for u64 {
    fn from(offset: Offset) -> u64 {
        offset.0
    }
}

impl Add<u64> for Offset {
    type Output = Offset;

    fn add(self, records: u64) -> Offset {
        Offset(self.0 + records)
    }
}

impl AddAssign<u64> for Offset {
    fn add_assign(&mut self, records: u64) {
        self.0 += records;
    }
}

/// The number of offsets between two.
///
/// # Panics
/// Where the right one is larger, as plain integers do in debug builds; [`Offset::checked_distance`] does not.
impl Sub<Offset> for Offset {
    type Output = u64;

    fn sub(self, lower: Offset) -> u64 {
        self.checked_distance(lower).expect("the lower offset stands on the right")
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offset({})", self.0)
    }
}

/// A byte's place in a file, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(u64);

impl Position {
    /// The first byte of a file.
    pub const ZERO: Position = Position(0);

    /// Makes a position of a plain number.
    #[must_use]
    pub const fn new(value: u64) -> Position {
        Position(value)
    }

    /// The plain number.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

impl Add<u64> for Position {
    type Output = Position;

    fn add(self, bytes: u64) -> Position {
        Position(self.0 + bytes)
    }
}

impl AddAssign<u64> for Position {
    fn add_assign(&mut self, bytes: u64) {
        self.0 += bytes;
    }
}

/// The number of bytes between two.
///
/// # Panics
/// Where the right one is larger.
impl Sub<Position> for Position {
    type Output = u64;

    fn sub(self, lower: Position) -> u64 {
        self.0.checked_sub(lower.0).expect("the lower position stands on the right")
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Position({})", self.0)
    }
}

/// A time in milliseconds since 1970-01-01T00:00:00Z.
///
/// The format writes −1 where a record has none; in this crate that is `Option::None`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Makes a timestamp of milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads the format's field, in which −1 means "none".
    #[must_use]
    #[inline]
    pub(crate) const fn from_disk(field: i64) -> Option<Timestamp> {
        if field == -1 { None } else { Some(Timestamp(field)) }
    }

    /// The format's field, in which "none" is −1.
    #[must_use]
    pub(crate) const fn to_disk(timestamp: Option<Timestamp>) -> i64 {
        match timestamp {
            Some(Timestamp(millis)) => millis,
            None => -1,
        }
    }
}

impl From<i64> for Timestamp {
    fn from(millis: i64) -> Timestamp {
        Timestamp(millis)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({} ms)", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_field_minus_one_is_no_timestamp_and_no_offset() {
        assert_eq!(Timestamp::from_disk(-1), None);
        assert_eq!(Timestamp::to_disk(None), -1);
        assert_eq!(Timestamp::from_disk(-2), Some(Timestamp::from_millis(-2)));
        assert_eq!(Offset::from_disk(-1), None);
        assert_eq!(Offset::from_disk(i64::MAX), Some(Offset::MAX));
        assert_eq!(Offset::MAX.to_disk(), i64::MAX);
    }

    #[test]
    fn distances_between_offsets_are_plain_numbers() {
        assert_eq!(Offset::new(7) - Offset::new(3), 4);
        assert_eq!(Offset::new(3).checked_distance(Offset::new(7)), None);
        assert_eq!(Offset::new(3) + 4, Offset::new(7));
        assert_eq!(Position::new(3) + 4, Position::new(7));
    }
}
