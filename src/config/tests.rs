//! Tests of the configuration: the defaults, the table, and what is refused.

use super::*;

fn refused(config: &LogConfig) -> &'static str {
    match config.check() {
        Err(Error::InvalidConfig { name, .. }) => name,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_table_of_differences_to_kafka_is_the_whole_difference() {
    let like_kafka = LogConfig::default()
        .max_message_bytes(1_048_588)
        .retention_ms(604_800_000)
        .message_timestamp_after_max_ms(3_600_000);
    assert_eq!(like_kafka, LogConfig::kafka());
    assert_ne!(LogConfig::default(), LogConfig::kafka());
}

// Row 347.
#[test]
fn the_defaults_pass_and_have_kafkas_values() {
    for config in [LogConfig::default(), LogConfig::kafka()] {
        config.check().expect("defaults are valid");
        assert_eq!(config.segment_bytes, 1_073_741_824);
        assert_eq!(config.segment_ms, 604_800_000);
        assert_eq!(config.segment_index_bytes, 10_485_760);
        assert_eq!(config.index_interval_bytes, 4096);
        assert_eq!((config.retention_check_interval_ms, config.file_delete_delay_ms), (300_000, 60_000));
        assert_eq!((config.retention_bytes, config.max_bytes), (None, None));
    }
    assert_eq!(LogConfig::kafka().max_message_bytes, 1_048_588);
    assert_eq!(LogConfig::kafka().message_timestamp_after_max_ms, Some(3_600_000));
    // Kafka's 2^63 − 1 milliseconds are no bound.
    assert_eq!(LogConfig::kafka().message_timestamp_before_max_ms, None);
    assert_eq!((LogConfig::default().retention_ms, LogConfig::kafka().retention_ms), (None, Some(604_800_000)));
}

// Row 347.
#[test]
fn each_value_outside_its_bounds_is_refused_by_name() {
    let ok = LogConfig::default;
    assert_eq!(refused(&ok().segment_bytes(13)), "segment_bytes");
    assert_eq!(refused(&ok().segment_bytes(1 << 31)), "segment_bytes");
    assert_eq!(refused(&ok().segment_ms(0)), "segment_ms");
    assert_eq!(refused(&ok().segment_index_bytes(11)), "segment_index_bytes");
    assert_eq!(refused(&ok().max_message_bytes(0)), "max_message_bytes");
    assert_eq!(refused(&ok().max_decompressed_message_bytes(0)), "max_decompressed_message_bytes");
    assert_eq!(refused(&ok().max_unsynced_bytes(0)), "max_unsynced_bytes");
    assert_eq!(refused(&ok().max_open_segments(0)), "max_open_segments");
    assert_eq!(refused(&ok().retention_check_interval_ms(0)), "retention_check_interval_ms");
    let capped = ok().segment_bytes(100);
    assert_eq!(refused(&capped.clone().max_bytes(399, WhenFull::Reject)), "max_bytes");
    capped.max_bytes(400, WhenFull::DropOldest).check().expect("four segments");
    let every = |records, bytes, interval_ms| SyncPolicy::Every { records, bytes, interval_ms };
    assert_eq!(refused(&ok().sync_policy(every(None, None, None))), "sync_policy");
    assert_eq!(refused(&ok().sync_policy(every(Some(0), None, None))), "sync_policy");
    let message = ok().segment_bytes(13).check().expect_err("refused").to_string();
    assert_eq!(message, "configuration segment_bytes is 13, expected 14..=2147483647 bytes");
}

#[test]
fn a_small_disk_gets_a_configuration_that_passes_and_stays_below_its_cap() {
    for cap in [1 << 10, 1 << 20, 64 << 20, 1 << 40] {
        let config = LogConfig::small_disk(cap);
        config.check().expect("a ready configuration");
        let max_bytes = config.max_bytes.expect("a limit");
        assert!(max_bytes < cap && max_bytes / config.segment_bytes >= 15, "{config:?}");
        // One entry of 20 bytes in both indexes for each interval.
        let index_bytes = max_bytes / config.index_interval_bytes * 20;
        assert!(max_bytes + index_bytes <= cap, "{config:?}");
        assert!(config.segment_index_bytes >= config.segment_bytes / config.index_interval_bytes * 12);
    }
}
