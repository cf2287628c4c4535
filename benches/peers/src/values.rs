//! The values of records: bytes that do not repeat, and that anybody can tell again from a record's number.
//!
//! They are cut from a pool that is made once, so that making them costs nothing while the clock runs. The invariant it
//! owns: two programs that ask for the same number get the same value (the JVM's half computes the same).

/// How many values there are before they begin anew: few enough to lie in the cache, as a program's own data would.
const POOL: usize = 512;

/// The values of all records of a round.
#[derive(Debug)]
pub(crate) struct Values {
    pool: Vec<u8>,
    value_bytes: usize,
}

impl Values {
    /// Values of so many bytes each.
    pub(crate) fn new(value_bytes: usize) -> Values {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = std::iter::repeat_with(|| next(&mut state).to_le_bytes());
        Values { pool: words.flatten().take(POOL * value_bytes).collect(), value_bytes }
    }

    /// The value of the record of that number.
    pub(crate) fn of(&self, record: usize) -> &[u8] {
        let at = record % POOL * self.value_bytes;
        &self.pool[at..at + self.value_bytes]
    }

    /// The values of so many records, the first of that number.
    pub(crate) fn batch(&self, first: usize, records: usize) -> Vec<&[u8]> {
        (first..first + records).map(|record| self.of(record)).collect()
    }

    /// What all values of so many records come to.
    pub(crate) fn sum(&self, records: usize) -> Sum {
        let mut sum = Sum::default();
        (0..records).for_each(|record| sum.add(self.of(record)));
        sum
    }
}

/// What tells, at little cost, whether the right records were read in the right order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) records: usize,
    bytes: usize,
    digest: u64,
}

impl Sum {
    /// One more record.
    pub(crate) fn add(&mut self, value: &[u8]) {
        self.records += 1;
        self.bytes += value.len();
        let ends = value.first_chunk::<8>().zip(value.last_chunk::<8>());
        let word =
            ends.map_or(0, |(first, last)| u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(1));
        self.digest = self.digest.rotate_left(5) ^ word;
    }
}

/// Record numbers below `records`, in an order that no read-ahead can guess, the same in each run.
pub(crate) fn random_records(records: usize) -> impl Iterator<Item = usize> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(move || usize::try_from(next(&mut state) % records as u64).expect("below a usize"))
}

/// Xorshift.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[cfg(test)]
mod tests {
    use super::{POOL, Sum, Values, random_records};

    #[test]
    fn values_differ_and_are_the_same_in_each_run() {
        let values = Values::new(100);
        for record in 1..POOL {
            assert_ne!(values.of(record), values.of(record - 1));
        }
        assert_eq!(values.of(7), Values::new(100).of(7 + POOL));
        assert_eq!(values.batch(3, 2), [values.of(3), values.of(4)]);
    }

    #[test]
    fn values_are_what_the_other_language_makes_of_the_same_numbers() {
        // As `Values.java` has it, and checks before each round.
        assert_eq!(Values::new(100).sum(POOL).digest, 9_881_501_287_277_364_488);
    }

    #[test]
    fn a_record_that_is_missing_or_changed_or_out_of_place_changes_the_sum() {
        let values = Values::new(100);
        let sum_of = |records: &[usize]| {
            let mut sum = Sum::default();
            records.iter().for_each(|&record| sum.add(values.of(record)));
            sum
        };
        assert_eq!(sum_of(&[0, 1, 2]), values.sum(3));
        for wrong in [&[0, 1][..], &[0, 2, 1], &[0, 1, 3], &[0, 1, 2, 3]] {
            assert_ne!(sum_of(wrong), values.sum(3), "{wrong:?}");
        }
    }

    #[test]
    fn all_records_are_asked_for_sooner_or_later() {
        let mut asked = [false; 100];
        random_records(100).take(2_000).for_each(|record| asked[record] = true);
        assert!(asked.iter().all(|asked| *asked));
    }
}
