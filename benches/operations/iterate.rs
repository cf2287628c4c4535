//! Iterators, from their first item to their last: the records of a log, its batches, those of a slice and of a batch.

use std::cell::LazyCell;
use std::ops::Deref;
use std::path::Path;

use kstore::{BatchBuilder, Compression, Log, LogConfig, LogSlice, ReceivedBatches, Record, StoredBatch};

use super::{
    BATCHES, Group, RECORDS_OF_BATCH, codecs, encoded_batch, fill, filled_log, measure, measure_many, measure_value,
};

/// Records of all batches.
const RECORDS: u64 = BATCHES * RECORDS_OF_BATCH as u64;

pub(super) fn all(group: &mut Group<'_>, dir: &Path) {
    of_log(group, dir);
    let log = LazyCell::new(|| {
        let log = Log::open(dir.join("one segment"), LogConfig::default()).expect("a log can be opened");
        fill(&log, BATCHES);
        log
    });
    let slice = LazyCell::new(|| log.read(log.log_start_offset(), u64::MAX).expect("a slice can be read"));
    let batch = LazyCell::new(|| slice.batches().next().expect("it is there").expect("it is sound"));
    of_slice(group, &slice);
    of_batch(group, &batch);
    of_record(group);
}

fn of_log(group: &mut Group<'_>, dir: &Path) {
    let log = LazyCell::new(|| filled_log(&dir.join("log")));
    measure_many(group, "Records::next", RECORDS, || {
        sum(log.records(..)?, |record| record.value().map_or(0, <[u8]>::len))
    });
    measure_many(group, "Records::next_ref", RECORDS, || {
        let (mut lent, mut bytes) = (log.records(..)?, 0);
        while let Some(record) = lent.next_ref() {
            bytes += record?.value().map_or(0, <[u8]>::len);
        }
        kstore::Result::Ok(bytes)
    });
    measure_many(group, "RecordsReversed::next", RECORDS, || {
        sum(log.records_reversed(..)?, |record| record.value().map_or(0, <[u8]>::len))
    });
    measure_many(group, "Batches::next", BATCHES, || sum(log.reader().batches(..)?, |batch| batch.as_bytes().len()));
}

fn of_slice(group: &mut Group<'_>, slice: &dyn Deref<Target = LogSlice>) {
    measure_value(group, "LogSlice::records", || slice.records());
    measure_value(group, "LogSlice::batches", || slice.batches());
    measure_many(group, "SliceRecords::next", RECORDS, || {
        sum(slice.records(), |record| record.value().map_or(0, <[u8]>::len))
    });
    measure_many(group, "SliceRecords::next_ref", RECORDS, || {
        let (mut lent, mut bytes) = (slice.records(), 0);
        while let Some(record) = lent.next_ref() {
            bytes += record?.value().map_or(0, <[u8]>::len);
        }
        kstore::Result::Ok(bytes)
    });
    measure_many(group, "SliceBatches::next", BATCHES, || sum(slice.batches(), |batch| batch.as_bytes().len()));
}

fn of_batch(group: &mut Group<'_>, batch: &dyn Deref<Target = StoredBatch>) {
    measure(group, "StoredBatch::verify, 16 KiB", || batch.verify());
    measure_value(group, "StoredBatch::records, not decoded", || batch.records());
    for codec in codecs() {
        let encoded = encoded_batch(codec);
        let batch = ReceivedBatches::new(&encoded).next().expect("it is there").expect("it is sound");
        measure_many(group, &format!("BatchRecords::next, {codec}"), RECORDS_OF_BATCH as u64, || {
            sum(batch.records(), |record| record.value().map_or(0, <[u8]>::len))
        });
    }
}

fn of_record(group: &mut Group<'_>) {
    let headers = [("trace", Some(&b"0123456789abcdef"[..])), ("kind", Some(&b"order"[..])), ("empty", None)];
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(Record::value("a value").headers(&headers)).expect("a sound record");
    let encoded = builder.encode().expect("a sound batch").to_vec();
    let batch = ReceivedBatches::new(&encoded).next().expect("it is there").expect("it is sound");
    let record = batch.records().next().expect("it is there").expect("it is sound");
    measure_many(group, "HeadersIter::next", headers.len() as u64, || {
        kstore::Result::Ok(record.headers().map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len)).sum::<usize>())
    });
}

/// Goes to the end of an iterator, so that none of it can be left out.
fn sum<T>(items: impl Iterator<Item = kstore::Result<T>>, bytes: impl Fn(&T) -> usize) -> kstore::Result<usize> {
    let mut sum = 0;
    for item in items {
        sum += bytes(&item?);
    }
    Ok(sum)
}
