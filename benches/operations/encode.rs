//! Batches in memory: encoding them in each codec, and taking apart what was received.

use std::path::Path;

use kstore::{BatchBuilder, Compression, ReceivedBatches, Record};

use super::{Group, RECORDS_OF_BATCH, VALUE, codecs, encoded_batch, measure, measure_many, measure_value};

pub(super) fn all(group: &mut Group<'_>, _dir: &Path) {
    let count = RECORDS_OF_BATCH as u64;
    measure_value(group, "BatchBuilder::new", || BatchBuilder::new(Compression::None));
    let mut builder = BatchBuilder::new(Compression::None);
    measure_many(group, "BatchBuilder::push", count, || {
        builder.clear();
        push_batch(&mut builder)
    });
    let mut builder = filled_builder(Compression::None);
    measure_value(group, "BatchBuilder::len", || builder.len());
    measure_value(group, "BatchBuilder::is_empty", || builder.is_empty());
    measure_value(group, "BatchBuilder::size_bytes", || builder.size_bytes());
    measure_value(group, "BatchBuilder::clear", || builder.clear());
    for codec in codecs() {
        let mut builder = filled_builder(codec);
        measure(group, &format!("BatchBuilder::encode, 16 KiB, {codec}"), || builder.encode().map(<[u8]>::len));
    }
    let received = encoded_batch(Compression::None).repeat(16);
    measure_value(group, "ReceivedBatches::new", || ReceivedBatches::new(&received));
    measure_many(group, "ReceivedBatches::next", 16, || {
        let mut batches = ReceivedBatches::new(&received);
        batches.try_fold(0, |bytes, batch| Ok::<_, kstore::Error>(bytes + batch?.as_bytes().len()))
    });
    let batches = ReceivedBatches::new(&received);
    measure_value(group, "ReceivedBatches::rest", || batches.rest().len());
}

fn filled_builder(codec: Compression) -> BatchBuilder {
    let mut builder = BatchBuilder::new(codec);
    push_batch(&mut builder).expect("sound records");
    builder
}

fn push_batch(builder: &mut BatchBuilder) -> kstore::Result<()> {
    (0..RECORDS_OF_BATCH).try_for_each(|_| builder.push(Record::value(&VALUE)))
}
