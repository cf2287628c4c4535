//! That a round yields figures where the work was done, and none where it was not: with peers that lie, and with those that do not.

use std::path::Path;
use std::sync::Mutex;

use super::round;
use crate::Outcome;
use crate::figures::Figures;
use crate::peers::{PEERS, Peer};
use crate::rows::{Kind, ROWS, Shape};
use crate::values::Sum;

/// A little of a row.
fn little(kind: Kind) -> Shape {
    let row = ROWS.iter().find(|row| row.kind == kind).expect("a row of each kind");
    let shape = row.shape(true).expect("a shape");
    let threads = if kind == Kind::Durable { 3 } else { 1 };
    let calls = 20;
    let latency_calls = shape.latency_calls.min(10);
    let segment_bytes = calls * shape.batch_records * shape.value_bytes / 4;
    Shape { calls, latency_calls, threads, segment_bytes, reads: shape.reads.min(5), ..shape }
}

const KINDS: [Kind; 6] = [Kind::Single, Kind::Batch, Kind::Durable, Kind::Scan, Kind::Lookup, Kind::Reopen];

/// What a peer does wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    None,
    /// It says that it has appended what it has not, each 16th time.
    Forgets,
    /// It has one record in the place of another.
    Swaps,
}

/// A log in memory, which is as good as any as long as nothing is opened again: then its records come from a file.
struct Fake<const LIE: u8> {
    records: Mutex<Vec<Vec<u8>>>,
    appended: usize,
    file: std::path::PathBuf,
    value_bytes: usize,
}

impl<const LIE: u8> Fake<LIE> {
    const LIE: Lie = [Lie::None, Lie::Forgets, Lie::Swaps][LIE as usize];

    fn kept(&mut self) -> &mut Vec<Vec<u8>> {
        self.records.get_mut().expect("no panic")
    }

    fn push(&self, value: &[u8], number: usize) {
        if Self::LIE != Lie::Forgets || number % 16 != 15 {
            self.records.lock().expect("no panic").push(value.to_vec());
        }
    }
}

impl<const LIE: u8> Peer for Fake<LIE> {
    type Batch<'a> = Vec<&'a [u8]>;

    fn open(dir: &Path, shape: &Shape) -> Outcome<Self> {
        let file = dir.join("records");
        let stored = if file.exists() { std::fs::read(&file)? } else { Vec::new() };
        let records = Mutex::new(stored.chunks(shape.value_bytes).map(<[u8]>::to_vec).collect());
        Ok(Fake { records, appended: 0, file, value_bytes: shape.value_bytes })
    }

    fn batch<'a>(values: &[&'a [u8]]) -> Vec<&'a [u8]> {
        values.to_vec()
    }

    fn append(&mut self, value: &[u8]) -> Outcome<()> {
        self.push(value, self.appended);
        self.appended += 1;
        Ok(())
    }

    fn append_batch(&mut self, batch: &Vec<&[u8]>) -> Outcome<()> {
        batch.iter().try_for_each(|value| self.append(value))
    }

    fn append_durably(&self, thread: usize, value: &[u8]) -> Outcome<()> {
        // What the second thread says, nobody keeps.
        self.push(value, if thread == 1 { 15 } else { 0 });
        Ok(())
    }

    fn records(&mut self) -> Outcome<usize> {
        Ok(self.kept().len())
    }

    fn scan(&mut self) -> Outcome<Option<Sum>> {
        let mut records = self.kept().clone();
        if Self::LIE == Lie::Swaps {
            records.swap(3, 4);
        }
        let mut sum = Sum::default();
        records.iter().for_each(|record| sum.add(record));
        Ok(Some(sum))
    }

    fn lookup<T>(&mut self, record: usize, look: impl FnOnce(&[u8]) -> T) -> Outcome<T> {
        let other = if Self::LIE == Lie::Swaps { record ^ 1 } else { record };
        Ok(look(self.kept().get(other).ok_or("the record is there")?))
    }

    fn close(self) -> Outcome<()> {
        let records = self.records.into_inner().expect("no panic");
        assert!(records.iter().all(|record| record.len() == self.value_bytes));
        Ok(std::fs::write(self.file, records.concat())?)
    }
}

fn round_of<P: Peer>(kind: Kind) -> Outcome<Figures> {
    let dir = tempfile::tempdir()?;
    round::<P>(dir.path(), &little(kind))
}

#[test]
fn an_honest_peer_has_figures_of_every_kind_of_row() {
    for kind in KINDS {
        let shape = little(kind);
        let figures = round_of::<Fake<0>>(kind).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        let expected = if shape.reads > 0 { shape.reads } else { shape.records() };
        assert_eq!(figures.units, expected as u64, "{kind:?}");
        assert_eq!(figures.latency_ns.is_some(), kind.appends(), "{kind:?}");
        assert_eq!(figures.written.is_some(), kind.appends(), "{kind:?}");
        assert!(figures.wall_ns > 0, "{kind:?}");
    }
}

#[test]
fn a_peer_that_forgets_records_has_no_figures() {
    for kind in KINDS {
        assert!(round_of::<Fake<1>>(kind).is_err(), "{kind:?}");
    }
}

#[test]
fn a_peer_that_finds_other_records_than_were_asked_for_has_no_figures() {
    for kind in [Kind::Scan, Kind::Lookup] {
        assert!(round_of::<Fake<2>>(kind).is_err(), "{kind:?}");
    }
}

#[test]
fn a_payload_that_is_stored_three_times_is_seen() {
    /// Stores what an honest peer does, and twice as much beside it.
    struct Wasteful(Fake<0>);
    impl Peer for Wasteful {
        type Batch<'a> = Vec<&'a [u8]>;
        fn open(dir: &Path, shape: &Shape) -> Outcome<Self> {
            Ok(Wasteful(Fake::open(dir, shape)?))
        }
        fn batch<'a>(values: &[&'a [u8]]) -> Vec<&'a [u8]> {
            values.to_vec()
        }
        fn append(&mut self, value: &[u8]) -> Outcome<()> {
            self.0.append(value)
        }
        fn append_batch(&mut self, batch: &Vec<&[u8]>) -> Outcome<()> {
            self.0.append_batch(batch)
        }
        fn append_durably(&self, thread: usize, value: &[u8]) -> Outcome<()> {
            self.0.append_durably(thread, value)
        }
        fn records(&mut self) -> Outcome<usize> {
            self.0.records()
        }
        fn scan(&mut self) -> Outcome<Option<Sum>> {
            self.0.scan()
        }
        fn lookup<T>(&mut self, record: usize, look: impl FnOnce(&[u8]) -> T) -> Outcome<T> {
            self.0.lookup(record, look)
        }
        fn close(self) -> Outcome<()> {
            let file = self.0.file.clone();
            self.0.close()?;
            for copy in ["one", "two"] {
                std::fs::copy(&file, file.with_file_name(copy))?;
            }
            Ok(())
        }
    }
    let stored = |figures: Figures| figures.written.expect("an append").stored_bytes;
    let honest = stored(round_of::<Fake<0>>(Kind::Batch).expect("figures"));
    let wasteful = stored(round_of::<Wasteful>(Kind::Batch).expect("figures"));
    assert!(wasteful >= 2 * honest + honest / 2, "{wasteful} bytes beside {honest}");
}

#[test]
fn kstore_and_the_bare_calls_do_the_work_of_every_row() {
    let peers = PEERS.iter().filter(|peer| peer.name == "raw" || peer.name.starts_with("kstore"));
    for peer in peers {
        for row in ROWS.iter().filter(|row| (peer.refuses)(row).is_none()) {
            let dir = tempfile::tempdir().expect("a folder");
            match (peer.run)(dir.path(), &little(row.kind)) {
                Ok(figures) => assert!(figures.units > 0, "{} {}", peer.name, row.name),
                // The temporary folder may lie on a file system that maps nothing.
                Err(error) => assert!(
                    peer.name == "kstore-mapped" && error.to_string().starts_with("nothing is mapped"),
                    "{} {}: {error}",
                    peer.name,
                    row.name
                ),
            }
        }
    }
}
