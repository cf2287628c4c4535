//! A median and the range around it, and numbers as people read them.

use serde::Serialize;

use crate::digits::digits;

/// The figures of several rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Of some values, in any order; nothing if there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        Some(Spread { least, median: (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0, most })
    }
}

/// Counts are exact up to 2^53, and no figure is larger.
pub(crate) fn number(count: u64) -> f64 {
    let (high, low) = (count >> 32, count & u64::from(u32::MAX));
    let half = |bits: u64| f64::from(u32::try_from(bits).expect("32 bits"));
    half(high) * 4_294_967_296.0 + half(low)
}

/// Nanoseconds in a unit that is easily read.
pub(crate) fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{} ns", digits(ns)),
        ns if ns < 1e6 => format!("{} µs", digits(ns / 1e3)),
        ns if ns < 1e9 => format!("{} ms", digits(ns / 1e6)),
        ns => format!("{} s", digits(ns / 1e9)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Spread, number, time};
    use crate::digits::digits;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { least: 1.0, median: 2.0, most: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn large_counts_stay_exact() {
        for count in [0, 1, u64::from(u32::MAX), 1 << 32, (1 << 53) - 1] {
            assert_eq!(format!("{:.0}", number(count)), count.to_string());
        }
    }

    #[test]
    fn times_have_a_unit_and_three_digits() {
        assert_eq!(time(0.5), "0.500 ns");
        assert_eq!(time(999.4), "999 ns");
        assert_eq!(time(1_500.0), "1.50 µs");
        assert_eq!(time(123_456_789.0), "123 ms");
        assert_eq!(time(2e9), "2.00 s");
        assert_eq!(digits(0.0001), "< 0.001");
    }
}
