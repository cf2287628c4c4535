//! What kstore reads, as the lines in which Kafka's answers are written.
//!
//! It opens nothing. The invariant it owns: every field of a golden line is compared, none is left out on the way.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kstore::{StoredBatch, StoredRecord, Timestamp, TimestampType};
use serde_json::{Value, json};

use super::golden::Case;

/// The record as a line of `records.jsonl`.
pub(crate) fn record_line(record: &StoredRecord) -> String {
    let headers: Vec<Value> = record.headers().map(|(name, value)| json!([name, base64(value)])).collect();
    let mut line = json!({
        "offset": record.offset().value(),
        "timestamp": record.timestamp().map_or(-1, Timestamp::as_millis),
        "key": base64(record.key()),
        "value": base64(record.value()),
        "headers": headers,
    });
    if let Some(control) = record.control_type() {
        line["control"] = json!(control.to_string());
    }
    line.to_string()
}

/// The batch as a line of `batches.jsonl`.
pub(crate) fn batch_line(batch: &StoredBatch) -> String {
    let timestamp_type = batch.timestamp_type().map(|kind| match kind {
        TimestampType::CreateTime => "create",
        TimestampType::LogAppendTime => "log_append",
    });
    json!({
        "base_offset": batch.base_offset().value(),
        "last_offset": batch.last_offset().value(),
        "position": batch.position().value(),
        "segment": batch.segment().value(),
        "size": batch.size_bytes(),
        "magic": batch.magic(),
        "compression": batch.compression().expect("a codec that Kafka knows").name(),
        "timestamp_type": timestamp_type,
        "base_timestamp": batch.base_timestamp().map(Timestamp::as_millis),
        "max_timestamp": batch.max_timestamp().map_or(-1, Timestamp::as_millis),
        "producer_id": batch.producer_id(),
        "producer_epoch": batch.producer_epoch(),
        "base_sequence": batch.base_sequence(),
        "leader_epoch": batch.leader_epoch(),
        "transactional": batch.is_transactional(),
        "control": batch.is_control(),
        "delete_horizon": batch.delete_horizon().map(Timestamp::as_millis),
        "count": batch.record_count(),
        "crc_ok": batch.verify().is_ok(),
    })
    .to_string()
}

/// Fails at the first line that differs, and says of which case it is.
pub(crate) fn assert_same_lines(case: &Case, found: &[String], expected: &[String]) {
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found, expected, "{}: line {at}", case.name);
    }
    assert_eq!(found.len(), expected.len(), "{}: as many lines", case.name);
}

fn base64(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| BASE64_STANDARD.encode(bytes))
}
