//! Producing, both ends of it: the broker's thread that appends what clients encoded, and the clients.
//!
//! An answer may get lost, and whoever gets none cannot know whether its batch was appended. So each request names the
//! offset at which the batch is to lie: at that offset it is appended once, or refused. The invariant it owns: of each
//! producer every record is in the log once, in order, however often it was sent.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use kstore::{AppendOptions, Appended, BatchBuilder, Compression, Error, Log, Offset, ReadUpTo, Reader, Record};

use crate::{Failure, Run};

const RECORDS_A_BATCH: u64 = 50;
/// Of so many answers one is lost.
const LOST: u64 = 10;
/// How long is waited before one looks whether the others are still there.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a producer sends.
pub(crate) struct Request {
    batch: Vec<u8>,
    expected_end: Offset,
    answer: Sender<kstore::Result<Appended>>,
}

/// The broker's end: appends what comes, until nobody can send any more.
pub(crate) fn serve(log: &Log, epoch: i32, requests: &Receiver<Request>) {
    for Request { batch, expected_end, answer } in requests {
        let options = AppendOptions::default().expect_log_end(expected_end).leader_epoch(epoch);
        // The batch is checked, its head written anew, and the rest goes to the file as it came. Whoever sent it may
        // not wait for the answer any more.
        drop(answer.send(log.append_batch(&options, &batch)));
    }
}

/// What a producer met with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Produced {
    pub(crate) batches: u64,
    /// Refused, for another producer was faster.
    pub(crate) stale: u64,
    /// Refused, for it was there already.
    pub(crate) duplicates: u64,
}

impl Produced {
    pub(crate) fn and(self, other: Produced) -> Produced {
        Produced {
            batches: self.batches + other.batches,
            stale: self.stale + other.stale,
            duplicates: self.duplicates + other.duplicates,
        }
    }
}

pub(crate) struct Producer<'a> {
    pub(crate) id: u64,
    pub(crate) requests: Sender<Request>,
    /// What a client elsewhere would ask the broker for.
    pub(crate) reader: Reader,
    pub(crate) run: &'a Run,
}

impl Producer<'_> {
    /// Sends the records with these sequence numbers, and waits for each batch until it is replicated.
    pub(crate) fn work(&self, sequences: std::ops::Range<u64>) -> Result<Produced, Failure> {
        let mut batch = BatchBuilder::new(Compression::None);
        let mut produced = Produced::default();
        let mut next = sequences.start;
        while next < sequences.end {
            let end = sequences.end.min(next + RECORDS_A_BATCH);
            for sequence in next..end {
                batch.push(Record::value(&value(self.id, sequence)))?;
            }
            let offset = self.send(batch.encode()?, &value(self.id, next), &mut produced)?;
            self.wait_until_replicated(offset + (end - next))?;
            batch.clear();
            produced.batches += 1;
            next = end;
        }
        Ok(produced)
    }

    /// Sends a batch until it is in the log, and returns where.
    fn send(&self, batch: &[u8], first: &str, produced: &mut Produced) -> Result<Offset, Failure> {
        let mut expected_end = self.reader.log_end_offset();
        // Answers are lost in no order that the broker could know.
        let mut is_lost = (produced.batches + self.id).is_multiple_of(LOST);
        loop {
            match self.request(batch, expected_end)? {
                Ok(_) if is_lost => is_lost = false,
                Ok(appended) => return Ok(appended.base_offset()),
                Err(Error::UnexpectedLogEnd { actual, .. }) if !self.holds(expected_end, first)? => {
                    produced.stale += 1;
                    expected_end = actual;
                }
                Err(Error::UnexpectedLogEnd { .. }) => {
                    produced.duplicates += 1;
                    return Ok(expected_end);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn request(&self, batch: &[u8], expected_end: Offset) -> Result<kstore::Result<Appended>, Failure> {
        let (answer, answers) = channel();
        let request = Request { batch: batch.to_vec(), expected_end, answer };
        self.requests.send(request).map_err(|_| Failure::Abandoned)?;
        answers.recv().map_err(|_| Failure::Abandoned)
    }

    /// Whether the record at an offset is this one, which no other producer could have sent.
    fn holds(&self, offset: Offset, value: &str) -> Result<bool, Failure> {
        let record = self.reader.records(offset..)?.next().transpose()?;
        Ok(record.is_some_and(|record| record.offset() == offset && record.value() == Some(value.as_bytes())))
    }

    fn wait_until_replicated(&self, end: Offset) -> Result<(), Failure> {
        let replicated = self.reader.clone().up_to(ReadUpTo::HighWatermark);
        while !replicated.wait_for(end, PATIENCE)? {
            self.run.check()?;
        }
        Ok(())
    }
}

/// What a producer's record says: whose it is, and which.
fn value(producer: u64, sequence: u64) -> String {
    let filler = usize::try_from(sequence * 7919 % 800).unwrap_or(0);
    format!("{producer} {sequence} {:.<filler$}", "")
}

/// Producer and sequence number of a record that is as its producer sent it.
pub(crate) fn parse(found: &[u8]) -> Option<(u64, u64)> {
    let mut words = std::str::from_utf8(found).ok()?.split(' ');
    let mut number = || words.next()?.parse().ok();
    let (producer, sequence) = (number()?, number()?);
    (value(producer, sequence).as_bytes() == found).then_some((producer, sequence))
}
