//! Runs the models under loom: `models [PART OF A NAME]`, each in every order.
//!
//! Each is run twice, for the two ways of giving loom the order of sequentially consistent accesses. A few large models
//! bound how often threads are interrupted, and `LOOM_MAX_PREEMPTIONS` bounds all; a bound is named in the output. The
//! invariant it owns: it ends well only if every model holds in all of these orders, and every faulty copy fails in one.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use kstore::interleavings::{Case, Fences, MODELS};

/// Operations of one run, far more than a model has.
const BRANCHES_MAX: usize = 100_000;

fn main() {
    let part = std::env::args().nth(1).unwrap_or_default();
    let named: Vec<&Case> = MODELS.iter().filter(|case| case.name.contains(&part)).collect();
    assert!(!named.is_empty(), "no model is named like {part:?}");
    let mut total = 0;
    for case in named {
        println!("{}", case.name);
        for fences in [Fences::Before, Fences::Behind] {
            fences.choose();
            total += check(case, fences);
        }
    }
    println!("{total} orders, and everything was as it should be");
}

/// How many orders there were.
fn check(case: &Case, fences: Fences) -> u64 {
    let (begin, orders) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut model = loom::model::Builder::new();
    model.max_branches = BRANCHES_MAX;
    model.preemption_bound = model.preemption_bound.or(case.preemptions_max);
    let bound = model.preemption_bound.map_or("every order".to_string(), |most| format!("up to {most} preemptions"));
    let (counted, body) = (Arc::clone(&orders), case.body);
    let run = move || {
        model.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            body();
        });
    };
    if case.must_fail {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let found = catch_unwind(std::panic::AssertUnwindSafe(run)).is_err();
        std::panic::set_hook(hook);
        assert!(found, "the fault was not found: {}", case.name);
    } else {
        run();
    }
    let orders = orders.load(Ordering::Relaxed);
    let outcome = if case.must_fail { "found" } else { "holds" };
    println!("  {outcome}, fences {fences:?}: {orders} orders, {bound}, {:.1} s", begin.elapsed().as_secs_f64());
    orders
}
