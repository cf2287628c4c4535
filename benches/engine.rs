//! Criterion over every operation and over all work: `cargo bench --bench engine`, with criterion's own options behind
//! `--`, such as a part of a name: `cargo bench --bench engine -- Log::append`.
//!
//! It watches kstore from one change to the next: each public operation by itself, and each piece of work beside bare
//! system calls. The two sides of a piece are measured one after the other; for ratios, which want both at the same time,
//! there is `ratios.rs`, and for instruction counts, which other programs do not disturb, `instructions`.

#![allow(clippy::disallowed_methods, reason = "benches measure with the system's own files and clocks")]

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

mod operations;
#[expect(dead_code, reason = "the table in `ratios.rs` shows more of each row")]
mod work;

use work::{Cost, Outcome, Place, ROWS, Scale, Work};

fn all_work(criterion: &mut Criterion) {
    let place = Place::below(None).expect("a folder can be made");
    for row in ROWS {
        let dir = place.dir().join(row.name);
        std::fs::create_dir(&dir).expect("a folder can be made");
        let mut group = criterion.benchmark_group(row.name);
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        let mut work = row.prepare(&dir, Scale::Small).expect("the work can be prepared");
        group.throughput(work.sent_bytes().map_or(Throughput::Elements(work.records()), Throughput::Bytes));
        for (side, round) in [("raw", <dyn Work>::raw as Round), ("kstore", <dyn Work>::kstore as Round)] {
            group.bench_function(side, |bencher| {
                bencher.iter_custom(|rounds| repeat(rounds, || round(work.as_mut())));
            });
        }
        group.finish();
        drop(work);
        std::fs::remove_dir_all(&dir).expect("the folder can be deleted");
    }
}

type Round = for<'a> fn(&'a mut (dyn Work + 'static)) -> Outcome<Cost>;

/// What so many rounds take, without what prepares them.
fn repeat(rounds: u64, mut round: impl FnMut() -> Outcome<Cost>) -> Duration {
    (0..rounds).map(|_| round().expect("a round succeeds").wall).sum()
}

criterion_group!(benches, operations::all, all_work);
criterion_main!(benches);
