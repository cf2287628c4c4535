//! Properties over arbitrary records and arbitrary bytes.

use std::sync::Arc;

use proptest::collection::vec as vec_of;
use proptest::option;
use proptest::prelude::*;

use super::vectors::{A, LAT, TOMBF, V0, V1, V1GZ, bytes};
use super::{
    BatchBuilder, BatchHeader, BatchStamp, ClientRules, Compression, DecodeLimits, DecodedBatch, EndMarker,
    HEADER_BYTES, Record, StoredRecords, StoredRecordsReversed, TimestampBounds, TimestampType,
    validate_client_batches,
};
use crate::offset::{Offset, Timestamp};

#[derive(Clone, Debug)]
struct Given {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp: Option<i64>,
}

fn given() -> impl Strategy<Value = Given> {
    let bytes = || {
        option::of(
            prop_oneof![4 => vec_of(any::<u8>(), 0..200), 1 => (0..40_000_usize).prop_map(|length| vec![7; length])],
        )
    };
    let headers = vec_of((".{0,20}", option::of(vec_of(any::<u8>(), 0..50))), 0..4);
    (bytes(), bytes(), headers, option::of(0..i64::MAX)).prop_map(|(key, value, headers, timestamp)| Given {
        key,
        value,
        headers,
        timestamp,
    })
}

fn available_codec() -> impl Strategy<Value = Compression> {
    let available: Vec<_> = Compression::ALL.into_iter().filter(|codec| codec.is_available()).collect();
    proptest::sample::select(available)
}

fn encoded(codec: Compression, records: &[Given], now: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    for given in records {
        let headers: Vec<_> = given.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let record = Record::from_parts(given.key.as_deref(), given.value.as_deref()).headers(&headers);
        let record = given.timestamp.map_or(record, |millis| record.timestamp(Timestamp::from_millis(millis)));
        builder.push(record).unwrap();
    }
    let stamp = BatchStamp { now: Timestamp::from_millis(now), ..BatchStamp::default() };
    builder.finish(&stamp).unwrap().to_vec()
}

/// Reads everything that can be read, whatever it gives.
fn exhaust(batch: &[u8], limits: DecodeLimits) {
    let Ok(header) = BatchHeader::parse(batch) else { return };
    let Ok(decoded) = DecodedBatch::decode_verified(header, batch.to_vec(), limits) else { return };
    let decoded = Arc::new(decoded);
    let mut last_error = None;
    for record in decoded.records() {
        assert_eq!(last_error, None, "finished after the first error");
        match record {
            Ok(record) => {
                let in_batch = header.base_offset().is_none_or(|base| record.offset() >= base);
                assert!(in_batch && (header.is_legacy() || record.offset() <= header.last_offset()));
                assert_eq!(record.headers().count(), record.headers().len());
                let _marker = EndMarker::parse(&record);
            }
            Err(corruption) => last_error = Some(corruption),
        }
    }
    let reversed = StoredRecordsReversed::new(Arc::clone(&decoded)).map(Iterator::count);
    match last_error {
        Some(corruption) => assert_eq!(reversed, Err(corruption)),
        None => assert_eq!(reversed, Ok(StoredRecords::new(decoded, Offset::ZERO).count())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    // Rows 7, 20, 28.
    #[test]
    fn what_is_encoded_is_what_is_decoded(
        records in vec_of(given(), 1..20),
        codec in available_codec(),
        now in 0..i64::MAX,
    ) {
        let batch = encoded(codec, &records, now);
        let rules = ClientRules {
            max_batch_bytes: u64::MAX,
            limits: DecodeLimits::default(),
            now: Timestamp::from_millis(now),
            timestamp_type: TimestampType::CreateTime,
            bounds: TimestampBounds::NONE,
        };
        let accepted = validate_client_batches(&batch, &rules).unwrap();
        prop_assert_eq!(&accepted[0].head[..], &batch[..HEADER_BYTES]);

        let decoded = Arc::new(DecodedBatch::decode(batch, DecodeLimits::default()).unwrap());
        let found: Vec<_> = StoredRecords::new(decoded, Offset::ZERO).map(|record| record.unwrap()).collect();
        prop_assert_eq!(found.len(), records.len());
        for (index, (found, given)) in (0..).zip(found.iter().zip(&records)) {
            prop_assert_eq!(found.offset(), Offset::new(index));
            prop_assert_eq!(found.timestamp(), Some(Timestamp::from_millis(given.timestamp.unwrap_or(now))));
            prop_assert_eq!(found.key(), given.key.as_deref());
            prop_assert_eq!(found.value(), given.value.as_deref());
            let headers: Vec<_> = given.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            prop_assert_eq!(found.headers().collect::<Vec<_>>(), headers);
        }
    }

    #[test]
    fn any_bytes_give_a_value_or_an_error(mut noise in vec_of(any::<u8>(), 0..300), magic in 0_u8..4) {
        exhaust(&noise, DecodeLimits::default());
        if noise.len() > 16 {
            // Near enough to a batch that the parser goes further than the header.
            noise[16] = magic;
            let length = u32::try_from(noise.len() - 12).unwrap();
            noise[8..12].copy_from_slice(&length.to_be_bytes());
            exhaust(&noise, DecodeLimits { max_decompressed_bytes: 1 << 20 });
        }
    }

    #[test]
    fn mutated_batches_give_a_value_or_an_error(
        records in vec_of(given(), 1..4),
        codec in available_codec(),
        mutations in vec_of((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        old in proptest::sample::select(vec![A, LAT, TOMBF, V0, V1, V1GZ]),
    ) {
        for mut batch in [encoded(codec, &records, 1), bytes(old)] {
            for (index, byte) in &mutations {
                let at = index.index(batch.len());
                batch[at] = *byte;
            }
            exhaust(&batch, DecodeLimits { max_decompressed_bytes: 1 << 20 });
        }
    }
}
