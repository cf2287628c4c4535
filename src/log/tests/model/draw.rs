//! Records by chance: every part present, absent or empty.

use crate::offset::Timestamp;

use super::Chance;
use super::expected::Kept;

pub(super) fn draw_batch(chance: &mut Chance, largest_value: u64, now: Timestamp) -> Vec<Kept> {
    let records = 1 + chance.index(4);
    (0..records).map(|_| draw_record(chance, largest_value, now)).collect()
}

fn draw_record(chance: &mut Chance, largest_value: u64, now: Timestamp) -> Kept {
    let headers = if chance.one_in(5) {
        vec![("trace".to_owned(), Some(vec![7; chance.index(5)])), (String::new(), None)]
    } else {
        Vec::new()
    };
    let around_now = now.as_millis() - 50 + chance.below(100).cast_signed();
    Kept {
        key: chance.one_in(2).then(|| bytes(chance, 6)),
        value: (!chance.one_in(8)).then(|| bytes(chance, largest_value)),
        headers,
        timestamp: chance.one_in(2).then_some(Timestamp::from_millis(around_now)),
    }
}

fn bytes(chance: &mut Chance, most: u64) -> Vec<u8> {
    let len = chance.below(most + 1);
    (0..len).map(|_| chance.draw().to_le_bytes()[0]).collect()
}
