//! Does the work of a row once, with one peer, in this process: fills, times, checks.
//!
//! What is timed is the calls of the row and nothing else: opening, filling, closing and checking are not. The
//! invariant it owns: no figures come out of a round in which the peer did not hold, or did not read, exactly the
//! records that it was given.

use std::path::Path;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};

use crate::Outcome;
use crate::cost::Cost;
use crate::figures::{Figures, Written};
use crate::latency::Latencies;
use crate::peers::Peer;
use crate::rows::{Kind, Shape};
use crate::storage::{read_once, stored_bytes, written_bytes};
use crate::values::{Values, random_records};

/// One round of a row.
///
/// # Errors
/// Of the peer, and if it did not do what it was asked to.
pub(crate) fn round<P: Peer>(dir: &Path, shape: &Shape) -> Outcome<Figures> {
    let values = Values::new(shape.value_bytes);
    match shape.kind {
        Kind::Single | Kind::Batch | Kind::Durable => append::<P>(dir, shape, &values),
        Kind::Scan => scan::<P>(dir, shape, &values),
        Kind::Lookup => lookup::<P>(dir, shape, &values),
        Kind::Reopen => reopen::<P>(dir, shape, &values),
    }
}

/// Calls that are made before the clock runs, so that first calls, which make files and buffers, are not part of the
/// pace.
const FIRST_CALLS: usize = 8;

fn append<P: Peer>(dir: &Path, shape: &Shape, values: &Values) -> Outcome<Figures> {
    let before = written_bytes();
    let mut peer = P::open(dir, shape)?;
    let (measured, latencies, appended) = match shape.kind {
        Kind::Single => append_single(&mut peer, shape, values)?,
        Kind::Batch => append_batches(&mut peer, shape, values)?,
        _ => append_durably(&peer, shape, values)?,
    };
    let found = peer.records()?;
    if found != appended {
        return Err(format!("{appended} records were appended, and {found} are there").into());
    }
    peer.close()?;
    let written = Written {
        payload_bytes: (appended * shape.value_bytes) as u64,
        counted_bytes: before.zip(written_bytes()).map(|(before, after)| after - before),
        stored_bytes: stored_bytes(dir)?,
    };
    let figures = measured.figures(shape.records(), shape.payload_bytes());
    Ok(Figures { latency_ns: latencies.percentiles(), written: Some(written), ..figures })
}

/// Calls of one record, first without a look at the clock, then with one each, which costs as much as the fastest of
/// them.
fn append_single<P: Peer>(peer: &mut P, shape: &Shape, values: &Values) -> Outcome<(Measured, Latencies, usize)> {
    for call in 0..FIRST_CALLS {
        peer.append(values.of(call))?;
    }
    let measured = Measured::of(|| {
        for call in 0..shape.calls {
            peer.append(values.of(call))?;
        }
        Ok(())
    })?;
    let mut latencies = Latencies::for_calls(shape.latency_calls);
    let mut before = Instant::now();
    for call in 0..shape.latency_calls {
        peer.append(values.of(call))?;
        let after = Instant::now();
        latencies.push(after - before);
        before = after;
    }
    Ok((measured, latencies, FIRST_CALLS + shape.calls + shape.latency_calls))
}

fn append_batches<P: Peer>(peer: &mut P, shape: &Shape, values: &Values) -> Outcome<(Measured, Latencies, usize)> {
    let given = values.batch(0, shape.batch_records);
    let batch = P::batch(&given);
    peer.append_batch(&batch)?;
    let mut latencies = Latencies::for_calls(shape.calls);
    let measured = Measured::of(|| {
        let mut before = Instant::now();
        for _ in 0..shape.calls {
            peer.append_batch(&batch)?;
            let after = Instant::now();
            latencies.push(after - before);
            before = after;
        }
        Ok(())
    })?;
    Ok((measured, latencies, (1 + shape.calls) * shape.batch_records))
}

fn append_durably<P: Peer>(peer: &P, shape: &Shape, values: &Values) -> Outcome<(Measured, Latencies, usize)> {
    for thread in 0..shape.threads {
        peer.append_durably(thread, values.of(thread))?;
    }
    let mut latencies = Latencies::for_calls(0);
    let of_thread = |thread: usize| -> Outcome<Latencies> {
        let mut latencies = Latencies::for_calls(shape.calls);
        let mut before = Instant::now();
        for call in 0..shape.calls {
            peer.append_durably(thread, values.of(call))?;
            let after = Instant::now();
            latencies.push(after - before);
            before = after;
        }
        Ok(latencies)
    };
    let measured = Measured::of(|| {
        std::thread::scope(|scope| {
            let of_thread = &of_thread;
            let threads: Vec<_> = (0..shape.threads).map(|thread| scope.spawn(move || of_thread(thread))).collect();
            for thread in threads {
                latencies.extend(thread.join().map_err(|_| "a thread of the bench panicked")??);
            }
            Ok(())
        })
    })?;
    Ok((measured, latencies, shape.threads + shape.records()))
}

fn scan<P: Peer>(dir: &Path, shape: &Shape, values: &Values) -> Outcome<Figures> {
    let mut peer = P::open(dir, shape)?;
    peer.fill(shape, values)?;
    read_once(dir)?;
    let mut found = None;
    let measured = Measured::of(|| {
        found = peer.scan()?;
        Ok(())
    })?;
    let given = values.sum(shape.records());
    if found.is_some_and(|found| found != given) {
        return Err(format!("{given:?} was given, and {found:?} was read").into());
    }
    peer.close()?;
    Ok(measured.figures(shape.records(), shape.payload_bytes()))
}

fn lookup<P: Peer>(dir: &Path, shape: &Shape, values: &Values) -> Outcome<Figures> {
    let mut peer = P::open(dir, shape)?;
    peer.fill(shape, values)?;
    read_once(dir)?;
    let asked: Vec<usize> = random_records(shape.calls).take(shape.reads).collect();
    // The first lookup may open what the others find open.
    let right = peer.lookup(0, |value| value == values.of(0))?;
    let mut wrong = usize::from(!right);
    let measured = Measured::of(|| {
        for &record in &asked {
            let right =
                peer.lookup(record, |value| value.first_chunk::<16>() == values.of(record).first_chunk::<16>())?;
            wrong += usize::from(!right);
        }
        Ok(())
    })?;
    if wrong > 0 {
        return Err(format!("{wrong} of {} lookups found another record than was asked for", asked.len()).into());
    }
    peer.close()?;
    Ok(measured.figures(asked.len(), asked.len() * shape.value_bytes))
}

fn reopen<P: Peer>(dir: &Path, shape: &Shape, values: &Values) -> Outcome<Figures> {
    let mut peer = P::open(dir, shape)?;
    peer.fill(shape, values)?;
    peer.close()?;
    let mut sum = Measured::default();
    for opening in 0..=shape.reads {
        let mut opened = None;
        let measured = Measured::of(|| {
            opened = Some(P::open(dir, shape)?);
            Ok(())
        })?;
        let mut peer = opened.ok_or("nothing was opened")?;
        if opening == 0 {
            // It does not count: to look at all records is no part of the work of the others.
            let found = peer.records()?;
            if found != shape.records() {
                return Err(format!("{} records were closed, and {found} are there", shape.records()).into());
            }
        } else {
            sum.add(measured);
        }
        peer.close()?;
    }
    Ok(sum.figures(shape.reads, 0))
}

/// What some work took.
#[derive(Debug, Default)]
struct Measured {
    cost: Cost,
    faults: u64,
}

impl Measured {
    fn of(work: impl FnOnce() -> Outcome<()>) -> Outcome<Measured> {
        let before = minor_faults()?;
        let (cost, ()) = Cost::of(work)?;
        Ok(Measured { cost, faults: minor_faults()? - before })
    }

    fn add(&mut self, more: Measured) {
        self.cost += more.cost;
        self.faults += more.faults;
    }

    fn figures(self, units: usize, payload_bytes: usize) -> Figures {
        let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Figures {
            units: units as u64,
            payload_bytes: payload_bytes as u64,
            wall_ns: ns(self.cost.wall),
            cpu_ns: ns(self.cost.cpu),
            calls: self.cost.calls,
            faults: self.faults,
            latency_ns: None,
            written: None,
        }
    }
}

fn minor_faults() -> Outcome<u64> {
    Ok(u64::try_from(getrusage(UsageWho::RUSAGE_SELF)?.minor_page_faults())?)
}

#[cfg(test)]
mod tests;
