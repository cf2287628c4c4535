//! One record, or one batch, as a line of compact JSON, its keys in a fixed order.
//!
//! Lines are put together by hand, into a buffer that is kept: millions of them go by. The invariant it owns: each line
//! is valid JSON, whatever bytes the record holds.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kstore::{Error, StoredBatch, StoredRecord, Timestamp, TimestampType};

/// The timestamp of what has none.
const NO_TIMESTAMP: i64 = -1;
const TO_MEMORY: &str = "writing to memory succeeds";

/// Adds the line of a record.
pub(crate) fn record(line: &mut Vec<u8>, record: &StoredRecord) {
    write!(line, "{{\"offset\":{},\"timestamp\":{}", record.offset(), millis(record.timestamp())).expect(TO_MEMORY);
    line.extend_from_slice(b",\"key\":");
    bytes(line, record.key());
    line.extend_from_slice(b",\"value\":");
    bytes(line, record.value());
    line.extend_from_slice(b",\"headers\":[");
    for (index, (name, value)) in record.headers().enumerate() {
        line.extend_from_slice(if index == 0 { b"[" } else { b",[" });
        serde_json::to_writer(&mut *line, name).expect(TO_MEMORY);
        line.push(b',');
        bytes(line, value);
        line.push(b']');
    }
    line.push(b']');
    if let Some(control) = record.control_type() {
        write!(line, ",\"control\":\"{}\"", control).expect(TO_MEMORY);
    }
    line.extend_from_slice(b"}\n");
}

/// Adds the line of a batch.
pub(crate) fn batch(line: &mut Vec<u8>, batch: &StoredBatch, crc_ok: bool) {
    let fields = serde_json::json!({
        "base_offset": batch.base_offset().value(),
        "last_offset": batch.last_offset().value(),
        "position": batch.position().value(),
        "segment": batch.segment().value(),
        "size": batch.size_bytes(),
        "magic": batch.magic(),
        "compression": compression(batch),
        "timestamp_type": batch.timestamp_type().map(|kind| match kind {
            TimestampType::CreateTime => "create",
            TimestampType::LogAppendTime => "log_append",
        }),
        "base_timestamp": batch.base_timestamp().map(Timestamp::as_millis),
        "max_timestamp": millis(batch.max_timestamp()),
        "producer_id": batch.producer_id(),
        "producer_epoch": batch.producer_epoch(),
        "base_sequence": batch.base_sequence(),
        "leader_epoch": batch.leader_epoch(),
        "transactional": batch.is_transactional(),
        "control": batch.is_control(),
        "delete_horizon": batch.delete_horizon().map(Timestamp::as_millis),
        "count": batch.record_count(),
        "crc_ok": crc_ok,
    });
    serde_json::to_writer(&mut *line, &fields).expect(TO_MEMORY);
    line.push(b'\n');
}

/// Bytes as base64 in quotes, or null.
fn bytes(line: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else { return line.extend_from_slice(b"null") };
    line.push(b'"');
    let begin = line.len();
    line.resize(begin + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut line[begin..]).expect("four letters for each three bytes begun");
    line.truncate(begin + written);
    line.push(b'"');
}

fn millis(timestamp: Option<Timestamp>) -> i64 {
    timestamp.map_or(NO_TIMESTAMP, Timestamp::as_millis)
}

/// The codec's name, or its number, where this build does not know or does not have it.
fn compression(batch: &StoredBatch) -> String {
    match batch.compression() {
        Ok(compression) => compression.name().to_owned(),
        Err(Error::UnsupportedCompression { codec }) => codec.to_string(),
        Err(_) => "unknown".to_owned(),
    }
}
