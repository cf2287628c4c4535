//! How long each of many calls took: kept one by one, so that percentiles are exact.
//!
//! It is no histogram: a round has some millions of calls at most. The invariant it owns: the share of calls that took
//! longer than a percentile is at most what its name says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Latencies of calls, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Latencies {
    ns: Vec<u64>,
}

/// What is told of them, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) p9999: u64,
    pub(crate) max: u64,
}

impl Percentiles {
    /// All of them, from the least to the greatest, with their names.
    pub(crate) fn named(&self) -> [(&'static str, u64); 5] {
        [("p50", self.p50), ("p99", self.p99), ("p99.9", self.p999), ("p99.99", self.p9999), ("max", self.max)]
    }
}

impl Latencies {
    /// Room for so many calls, which is touched here so that no call pays for it.
    pub(crate) fn for_calls(calls: usize) -> Latencies {
        let mut ns = vec![1; calls];
        std::hint::black_box(&mut ns);
        ns.clear();
        Latencies { ns }
    }

    /// One more call.
    pub(crate) fn push(&mut self, took: Duration) {
        self.ns.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Those of another thread, too.
    pub(crate) fn extend(&mut self, others: Latencies) {
        self.ns.extend(others.ns);
    }

    /// What is told of them; nothing if there are none.
    pub(crate) fn percentiles(mut self) -> Option<Percentiles> {
        self.ns.sort_unstable();
        let &max = self.ns.last()?;
        let of = |per_10_000: usize| {
            // The smallest latency that at least this share of the calls did not exceed.
            let rank = (self.ns.len() * per_10_000).div_ceil(10_000).max(1);
            self.ns[rank - 1]
        };
        Some(Percentiles { p50: of(5_000), p99: of(9_900), p999: of(9_990), p9999: of(9_999), max })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Latencies, Percentiles};

    fn of(latencies: impl IntoIterator<Item = u64>) -> Option<Percentiles> {
        let mut all = Latencies::for_calls(0);
        latencies.into_iter().for_each(|ns| all.push(Duration::from_nanos(ns)));
        all.percentiles()
    }

    #[test]
    fn percentiles_of_ten_thousand_are_their_ranks() {
        let shuffled = (0..10_000).map(|at| at * 7919 % 10_000 + 1);
        let expected = Percentiles { p50: 5_000, p99: 9_900, p999: 9_990, p9999: 9_999, max: 10_000 };
        assert_eq!(of(shuffled), Some(expected));
    }

    #[test]
    fn few_calls_have_percentiles_that_were_measured() {
        assert_eq!(of([5]), Some(Percentiles { p50: 5, p99: 5, p999: 5, p9999: 5, max: 5 }));
        assert_eq!(of([9, 1]), Some(Percentiles { p50: 1, p99: 9, p999: 9, p9999: 9, max: 9 }));
        assert_eq!(of([]), None);
    }

    #[test]
    fn one_slow_call_in_a_hundred_is_above_p99_and_one_more_is_not() {
        let with = |slow: usize| of((0..100).map(|at| if at < slow { 1_000 } else { 1 })).expect("calls");
        assert_eq!((with(1).p99, with(1).p999), (1, 1_000));
        assert_eq!(with(2).p99, 1_000);
    }

    #[test]
    fn latencies_of_threads_count_together() {
        let mut all = Latencies::for_calls(2);
        all.push(Duration::from_nanos(1));
        let mut others = Latencies::for_calls(1);
        others.push(Duration::from_micros(1));
        all.extend(others);
        assert_eq!(all.percentiles().map(|found| (found.p50, found.max)), Some((1, 1_000)));
    }
}
