//! How long a waiting reader takes to have a record, from the moment in which its append returned.
//!
//! The bare side is two threads and a condition variable: what it takes to wake anybody. Before each round the writer
//! gives the reader time to fall asleep.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use kstore::{Log, LogConfig, Offset, Record};

use super::{Outcome, Scale};

/// Long enough for a thread to fall asleep.
const PAUSE: Duration = Duration::from_micros(200);

/// Times in order.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    /// The time that so many of a thousand wake-ups stay below.
    pub(crate) fn per_mille(&self, share: usize) -> Duration {
        let at = self.0.len() * share / 1000;
        self.0.get(at.min(self.0.len() - 1)).copied().unwrap_or_default()
    }
}

/// Of a condition variable, and of a log that is followed.
///
/// # Errors
/// Of the log.
pub(crate) fn latencies(dir: &Path, scale: Scale) -> Outcome<[Latencies; 2]> {
    let rounds = scale.pick(200, 10_000);
    Ok([bare(rounds)?, tail(dir, rounds)?])
}

fn bare(rounds: usize) -> Outcome<Latencies> {
    let shared = Arc::new((Mutex::new(0_usize), Condvar::new()));
    let (woken, wakes) = mpsc::channel();
    let sleeper = Arc::clone(&shared);
    std::thread::spawn(move || {
        let (published, changed) = &*sleeper;
        for round in 0..rounds {
            let guard = published.lock().expect("nobody panics");
            drop(changed.wait_while(guard, |published| *published <= round));
            if woken.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    measure(rounds, &wakes, || {
        *shared.0.lock().expect("nobody panics") += 1;
        shared.1.notify_one();
        Ok(())
    })
}

fn tail(dir: &Path, rounds: usize) -> Outcome<Latencies> {
    let log = Log::open(dir.join("followed"), LogConfig::default())?;
    let (woken, wakes) = mpsc::channel();
    let tailer = log.tail(Offset::ZERO);
    std::thread::spawn(move || {
        for record in tailer {
            if record.is_err() || woken.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    let value = [b'v'; 100];
    let latencies = measure(rounds, &wakes, || Ok(log.append(&[Record::value(&value)]).map(drop)?))?;
    log.close()?;
    Ok(latencies)
}

/// From the return of `publish` to the moment in which the other thread woke, which may have been before.
fn measure(
    rounds: usize,
    wakes: &mpsc::Receiver<Instant>,
    mut publish: impl FnMut() -> Outcome<()>,
) -> Outcome<Latencies> {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        std::thread::sleep(PAUSE);
        publish()?;
        let returned = Instant::now();
        times.push(wakes.recv()?.saturating_duration_since(returned));
    }
    times.sort();
    Ok(Latencies(times))
}
