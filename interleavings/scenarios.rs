//! Runs the scenarios of the whole engine under shuttle: `scenarios [PART OF A NAME]`.
//!
//! `KSTORE_SCHEDULES` says how many schedules of each are tried (1,000 unless set), `KSTORE_SEED` which (1 unless set),
//! `KSTORE_SCHEDULE` that one schedule, printed before or in a file, is run again. The invariant it owns: it ends well only
//! if every schedule of every scenario that was named did.

use std::path::Path;
use std::time::Instant;

use kstore::interleavings::{Case, SCENARIOS};
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler};
use shuttle::{Config, MaxSteps, Runner};

/// Far more than a scenario takes; reached only by one that goes round in circles.
const STEPS_MAX: usize = 2_000_000;
const STACK_BYTES: usize = 256 << 10;
/// How many times a schedule of the other kind lets a thread of low priority go first, at most.
const PREEMPTIONS: usize = 3;

fn main() {
    let part = std::env::args().nth(1).unwrap_or_default();
    let seed = number("KSTORE_SEED").unwrap_or(1);
    let schedules = usize::try_from(number("KSTORE_SCHEDULES").unwrap_or(1_000)).expect("a number of schedules");
    println!("KSTORE_SEED={seed} KSTORE_SCHEDULES={schedules}");
    let named: Vec<&Case> = SCENARIOS.iter().filter(|case| case.name.contains(&part)).collect();
    assert!(!named.is_empty(), "no scenario is named like {part:?}");
    if let Some(schedule) = std::env::var_os("KSTORE_SCHEDULE") {
        let schedule = Path::new(&schedule);
        let replay = if schedule.is_file() {
            ReplayScheduler::new_from_file(schedule).expect("a schedule in a file")
        } else {
            ReplayScheduler::new_from_encoded(schedule.to_str().expect("UTF-8"))
        };
        Runner::new(replay, config()).run(named[0].body);
        return;
    }
    let mut total = 0;
    for case in named {
        let begin = Instant::now();
        println!("{}", case.name);
        let chance = RandomScheduler::new_from_seed(seed, schedules.div_ceil(2));
        let mut run = Runner::new(chance, config()).run(case.body);
        // Long stretches of one thread, and a few switches where they hurt.
        let stretches = PctScheduler::new_from_seed(seed, PREEMPTIONS, schedules / 2);
        run += Runner::new(stretches, config()).run(case.body);
        println!("  {run} schedules in {:.1} s", begin.elapsed().as_secs_f64());
        total += run;
    }
    println!("{total} schedules, and no property was broken");
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    config
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}
