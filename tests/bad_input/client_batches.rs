//! Encoded batches that a log refuses, whole, before anything is written.

use kstore::{AppendOptions, Compression, Corruption, Error, ErrorKind, InvalidBatch, Log, LogConfig, Offset, Record};

use crate::bytes::{
    ATTRIBUTES, COUNT, CRC, LAST_OFFSET_DELTA, LENGTH, MAGIC, PRODUCER_ID, RECORDS, batch_of, put_i32, put_i64, sealed,
    small_batch,
};
use crate::site::Site;

/// Hands bytes to a log that holds one record, and checks that the log is as it was.
fn refused(encoded: &[u8], config: LogConfig) -> Error {
    let site = Site::new();
    let log = Log::open(site.dir(), config).expect("a new log");
    log.append(&[Record::value("before")]).expect("an append");
    let before = site.contents();
    let error = log.append_batch(&AppendOptions::default(), encoded).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    assert!(site.contents() == before, "a refused batch changes nothing");
    assert_eq!(log.log_end_offset(), Offset::new(1));
    let sound = log.append_batch(&AppendOptions::default(), &small_batch()).expect("the log goes on");
    assert_eq!(sound.next_offset(), Offset::new(3));
    error
}

fn bent(bend: impl FnOnce(&mut Vec<u8>)) -> Error {
    let mut batch = small_batch();
    bend(&mut batch);
    refused(&batch, LogConfig::default())
}

fn bent_and_sealed(bend: impl FnOnce(&mut Vec<u8>)) -> Error {
    let mut batch = small_batch();
    bend(&mut batch);
    refused(&sealed(batch), LogConfig::default())
}

fn reason_of(error: &Error) -> InvalidBatch {
    let Error::InvalidBatch { reason, .. } = error else { panic!("{error:?}") };
    *reason
}

#[test]
fn a_batch_with_a_wrong_checksum_is_refused_with_both_checksums() {
    let error = bent(|batch| batch[CRC..CRC + 4].fill(0));
    let InvalidBatch::Corrupt(Corruption::Crc { stored: 0, computed }) = reason_of(&error) else { panic!("{error}") };
    let expected = format!(
        "the batch at byte 0 of the call is not sound: the checksum is 00000000, the bytes give {computed:08x}"
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_flipped_bit_in_what_the_checksum_covers_is_refused() {
    let whole = small_batch();
    for at in (ATTRIBUTES..whole.len()).step_by(5) {
        let mut batch = whole.clone();
        batch[at] ^= 0x10;
        let site = Site::new();
        let log = Log::open(site.dir(), LogConfig::default()).expect("a new log");
        let error = log.append_batch(&AppendOptions::default(), &batch).expect_err("refused");
        assert!(matches!(reason_of(&error), InvalidBatch::Corrupt(Corruption::Crc { .. })), "byte {at}: {error}");
        assert_eq!(log.log_end_offset(), Offset::ZERO);
    }
}

#[test]
fn a_batch_with_an_impossible_length_is_refused_with_what_is_possible() {
    // Below the smallest of any format the magic is not looked at.
    for (length, possible) in [(i32::MIN, 14), (-1, 14), (0, 14), (13, 14), (14, 49), (48, 49)] {
        let error = bent(|batch| put_i32(batch, LENGTH, length));
        let InvalidBatch::Corrupt(Corruption::BatchLength { found, smallest }) = reason_of(&error) else {
            panic!("{error}")
        };
        assert_eq!((found, smallest), (length, possible));
        let expected = format!(
            "the batch at byte 0 of the call is not sound: the batch length is {length}, the smallest possible is {possible}"
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_batch_that_claims_more_bytes_than_there_are_is_refused() {
    for more in [1, 1000, 1 << 29] {
        let error = bent(|batch| {
            let length = i32::try_from(batch.len() - 12).expect("a small batch");
            put_i32(batch, LENGTH, length + more);
        });
        let said = error.to_string();
        assert!(matches!(reason_of(&error), InvalidBatch::Corrupt(Corruption::Truncated { .. })), "{said}");
        assert!(said.contains("bytes were expected") && said.contains("are there"), "{said}");
    }
    let error = bent(|batch| batch.truncate(30));
    assert!(matches!(reason_of(&error), InvalidBatch::Corrupt(Corruption::Truncated { .. })), "{error}");
}

#[test]
fn the_second_of_two_batches_is_named_by_its_position_and_neither_is_appended() {
    let mut two = small_batch();
    let first_bytes = two.len();
    two.extend(small_batch());
    two[first_bytes + CRC] ^= 1;
    let error = refused(&two, LogConfig::default());
    assert!(error.to_string().starts_with(&format!("the batch at byte {first_bytes} of the call")), "{error}");
}

#[test]
fn a_record_count_that_lies_is_refused_with_the_true_one() {
    let error = bent_and_sealed(|batch| {
        put_i32(batch, COUNT, 5);
        put_i32(batch, LAST_OFFSET_DELTA, 4);
    });
    assert_eq!(
        reason_of(&error),
        InvalidBatch::Corrupt(Corruption::RecordCount { declared: 5, found: 2 }),
        "more than there are"
    );
    assert!(error.to_string().ends_with("the header counts 5 records, 2 are there"), "{error}");

    let error = bent_and_sealed(|batch| {
        put_i32(batch, COUNT, 1);
        put_i32(batch, LAST_OFFSET_DELTA, 0);
    });
    assert!(matches!(reason_of(&error), InvalidBatch::Corrupt(Corruption::LeftOver { .. })), "{error}");
    assert!(error.to_string().contains("are left over behind the last record"), "{error}");

    let error = bent_and_sealed(|batch| {
        put_i32(batch, COUNT, i32::MAX);
        put_i32(batch, LAST_OFFSET_DELTA, i32::MAX - 1);
    });
    assert!(matches!(reason_of(&error), InvalidBatch::Corrupt(Corruption::RecordCount { .. })), "{error}");

    let error = bent_and_sealed(|batch| put_i32(batch, COUNT, 3));
    assert_eq!(reason_of(&error), InvalidBatch::OffsetDeltas { last_offset_delta: 1, count: 3 });
    assert!(error.to_string().contains("last offset delta 1 and 3 records"), "{error}");

    let error = bent_and_sealed(|batch| put_i32(batch, COUNT, 0));
    assert_eq!(reason_of(&error), InvalidBatch::Empty);
    let error = bent_and_sealed(|batch| put_i32(batch, COUNT, -1));
    assert!(matches!(reason_of(&error), InvalidBatch::Corrupt(_) | InvalidBatch::OffsetDeltas { .. }), "{error}");
}

#[test]
fn a_length_inside_a_record_that_does_not_fit_is_refused() {
    let error = bent_and_sealed(|batch| batch[RECORDS] = 0x7f);
    assert!(matches!(reason_of(&error), InvalidBatch::Corrupt(_)), "{error}");
    let error = bent_and_sealed(|batch| batch[RECORDS..RECORDS + 6].fill(0xff));
    assert_eq!(reason_of(&error), InvalidBatch::Corrupt(Corruption::Varint));
    assert!(error.to_string().ends_with("a variable-length integer does not end"), "{error}");
}

#[test]
fn an_unknown_codec_is_refused_by_its_number() {
    for codec in [5, 6, 7] {
        let error = bent_and_sealed(|batch| batch[ATTRIBUTES + 1] |= codec);
        assert!(matches!(error, Error::UnsupportedCompression { codec: found } if found == codec), "{error}");
        let expected = format!("compression codec {codec} is unknown or was left out of this build");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn bytes_that_are_not_of_the_codec_that_they_claim_are_refused_by_its_number() {
    let codecs = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for (codec, number) in codecs.into_iter().zip(1..) {
        let error = bent_and_sealed(|batch| batch[ATTRIBUTES + 1] |= number);
        if codec.is_available() {
            let InvalidBatch::Corrupt(Corruption::Compressed { codec: found, .. }) = reason_of(&error) else {
                panic!("{}: {error}", codec.name())
            };
            assert_eq!(found, number);
            assert!(error.to_string().contains(&format!("the data compressed with codec {number}: ")), "{error}");
        } else {
            assert!(matches!(error, Error::UnsupportedCompression { codec: found } if found == number), "{error}");
        }
    }
}

#[test]
fn a_decompression_bomb_is_refused_at_the_limit() {
    let zeros = vec![0; 1 << 20];
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        if !codec.is_available() {
            continue;
        }
        let bomb = batch_of(&[Record::value(&zeros)], codec);
        assert!(bomb.len() < 64 << 10, "{}: {} bytes", codec.name(), bomb.len());
        let error = refused(&bomb, LogConfig::default().max_decompressed_message_bytes(64 << 10));
        let expected = InvalidBatch::Corrupt(Corruption::DecompressedTooLarge { limit_bytes: 64 << 10 });
        assert_eq!(reason_of(&error), expected, "{}", codec.name());
        assert!(error.to_string().ends_with("the compressed data unfolds to more than 65536 bytes"), "{error}");
    }
}

#[test]
fn what_only_the_log_may_write_is_refused() {
    let error = bent_and_sealed(|batch| batch[ATTRIBUTES + 1] |= 1 << 5);
    assert_eq!(reason_of(&error), InvalidBatch::Control);
    assert!(error.to_string().contains("control batch, which only the log may write"), "{error}");
    let error = bent_and_sealed(|batch| batch[ATTRIBUTES + 1] |= 1 << 3);
    assert_eq!(reason_of(&error), InvalidBatch::LogAppendTime);
    let error = bent_and_sealed(|batch| put_i64(batch, PRODUCER_ID, 7));
    assert!(matches!(reason_of(&error), InvalidBatch::Sequence { producer_id: 7, base_sequence: -1 }), "{error}");
    let error = bent_and_sealed(|batch| put_i64(batch, 0, 41));
    assert!(error.to_string().contains("41"), "{error}");
}

#[test]
fn other_formats_are_refused() {
    for magic in [0, 1] {
        let error = bent(|batch| batch[MAGIC] = magic);
        assert!(matches!(reason_of(&error), InvalidBatch::Magic { .. } | InvalidBatch::Corrupt(_)), "{error}");
    }
    let error = bent(|batch| batch[MAGIC] = 3);
    assert_eq!(reason_of(&error), InvalidBatch::Corrupt(Corruption::Magic { found: 3 }));
    assert!(error.to_string().ends_with("the magic is 3, expected 0, 1 or 2"), "{error}");
}

#[test]
fn no_bytes_and_any_bytes_are_refused() {
    assert_eq!(reason_of(&refused(&[], LogConfig::default())), InvalidBatch::Empty);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for length in [1, 11, 12, 16, 17, 60, 61, 100, 5000] {
        let noise: Vec<u8> = (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_be_bytes()[0]
            })
            .collect();
        reason_of(&refused(&noise, LogConfig::default()));
        reason_of(&refused(&vec![0; length], LogConfig::default()));
    }
}
