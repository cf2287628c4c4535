//! The bytes of one record inside a batch, whole and broken.

use super::super::borrowed::Record;
use super::super::encode::put_record;
use super::super::varint::{put_varint, put_varlong};
use super::*;

/// A record of these fields, whatever their lengths claim.
struct Fields {
    body_longer_by: i32,
    key_length: i32,
    key: &'static [u8],
    value_length: i32,
    value: &'static [u8],
    header_count: i32,
    headers: Vec<u8>,
}

impl Default for Fields {
    fn default() -> Fields {
        Fields {
            body_longer_by: 0,
            key_length: 1,
            key: b"k",
            value_length: 2,
            value: b"vv",
            header_count: 0,
            headers: Vec::new(),
        }
    }
}

impl Fields {
    fn encoded(&self) -> Vec<u8> {
        let mut body = vec![0];
        put_varlong(&mut body, -5);
        put_varint(&mut body, 3);
        put_varint(&mut body, self.key_length);
        body.extend_from_slice(self.key);
        put_varint(&mut body, self.value_length);
        body.extend_from_slice(self.value);
        put_varint(&mut body, self.header_count);
        body.extend_from_slice(&self.headers);
        let mut record = Vec::new();
        put_varint(&mut record, i32::try_from(body.len()).unwrap() + self.body_longer_by);
        record.extend_from_slice(&body);
        record
    }

    fn refused(&self) -> Corruption {
        parse_record(&self.encoded(), 0).unwrap_err()
    }
}

fn header(name_length: i32, name: &[u8], value_length: i32, value: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    put_varint(&mut header, name_length);
    header.extend_from_slice(name);
    put_varint(&mut header, value_length);
    header.extend_from_slice(value);
    header
}

// Row 7.
#[test]
fn keys_values_and_headers_are_found_where_they_lie() {
    let headers = [header(1, b"h", 1, b"x"), header(1, b"h", -1, b""), header(0, b"", 0, b"")].concat();
    let fields = Fields { header_count: 3, headers, ..Fields::default() };
    let region = [&[9; 5][..], &fields.encoded(), &[9; 3]].concat();
    let record = parse_record(&region, 5).unwrap();
    assert_eq!((record.timestamp_delta, record.offset_delta, record.end), (-5, 3, region.len() - 3));
    assert_eq!((record.key.of(&region), record.value.of(&region)), (Some(&b"k"[..]), Some(&b"vv"[..])));
    let mut rest = record.headers.of(&region).unwrap();
    let found: Vec<_> = std::iter::from_fn(|| next_header(&mut rest)).collect();
    assert_eq!(found, [("h", Some(&b"x"[..])), ("h", None), ("", Some(&b""[..]))]);
}

// Row 7.
#[test]
fn null_and_empty_are_different_and_any_negative_length_is_null() {
    for length in [-1, -2, i32::MIN] {
        let fields = Fields { key_length: length, key: b"", value_length: 0, value: b"", ..Fields::default() };
        let region = fields.encoded();
        let record = parse_record(&region, 0).unwrap();
        assert_eq!((record.key.of(&region), record.value.of(&region)), (None, Some(&b""[..])));
    }
}

// Row 8.
#[test]
fn more_or_fewer_headers_than_counted_are_refused() {
    let headers = [header(1, b"a", 1, b"1"), header(1, b"b", 1, b"2")].concat();
    let more = Fields { header_count: 3, headers: headers.clone(), ..Fields::default() };
    assert!(matches!(more.refused(), Corruption::Truncated { .. }));
    let fewer = Fields { header_count: 1, headers, ..Fields::default() };
    assert_eq!(fewer.refused(), Corruption::LeftOver { bytes: 4 });
    let uncounted = Fields { headers: header(1, b"a", 1, b"1"), ..Fields::default() };
    assert_eq!(uncounted.refused(), Corruption::LeftOver { bytes: 4 });
}

// Row 9.
#[test]
fn a_header_count_that_the_bytes_cannot_hold_is_refused_at_once() {
    for header_count in [-1, i32::MIN, 3, i32::MAX] {
        let headers = header(1, b"a", 1, b"1");
        let refused = Fields { header_count, headers, ..Fields::default() }.refused();
        let expected =
            Corruption::FieldLength { field: "a record's header count", found: header_count.into(), available: 4 };
        assert_eq!(refused, expected);
    }
}

// Rows 10, 11.
#[test]
fn a_key_or_value_that_reaches_past_its_record_is_refused() {
    let refused = Fields { key_length: 6, ..Fields::default() }.refused();
    assert_eq!(refused, Corruption::FieldLength { field: "a record's key", found: 6, available: 5 });
    let refused = Fields { value_length: i32::MAX, ..Fields::default() }.refused();
    let expected = Corruption::FieldLength { field: "a record's value", found: i32::MAX.into(), available: 3 };
    assert_eq!(refused, expected);
}

// Row 12.
#[test]
fn a_header_name_is_never_null_and_nothing_in_a_header_reaches_past_its_record() {
    let refused = |headers| Fields { header_count: 1, headers, ..Fields::default() }.refused();
    let null_name = refused(header(-1, b"", 1, b"1"));
    assert!(matches!(null_name, Corruption::FieldLength { field: "a header's name", found: -1, .. }));
    let long_name = refused(header(9, b"a", 1, b"1"));
    assert!(matches!(long_name, Corruption::FieldLength { field: "a header's name", found: 9, .. }));
    let long_value = refused(header(1, b"a", 2, b"1"));
    assert!(matches!(long_value, Corruption::FieldLength { field: "a header's value", found: 2, .. }));
    assert_eq!(refused(header(2, b"\xc3\x28", 1, b"1")), Corruption::HeaderName);
}

// Row 13.
#[test]
fn a_record_length_that_its_fields_contradict_is_refused() {
    let too_long = Fields { body_longer_by: 1, ..Fields::default() }.refused();
    assert!(matches!(too_long, Corruption::FieldLength { field: "a record", .. }), "{too_long:?}");
    let too_short = Fields { body_longer_by: -1, ..Fields::default() }.refused();
    assert!(matches!(too_short, Corruption::Truncated { .. }), "{too_short:?}");
    let negative = Fields { body_longer_by: -100, ..Fields::default() }.refused();
    assert!(matches!(negative, Corruption::FieldLength { field: "a record", .. }), "{negative:?}");
    let mut with_next = Fields { body_longer_by: 1, ..Fields::default() }.encoded();
    with_next.push(0);
    assert_eq!(parse_record(&with_next, 0).unwrap_err(), Corruption::LeftOver { bytes: 1 });
}

// Row 13.
#[test]
fn a_record_cut_off_anywhere_is_refused() {
    let headers = header(1, b"a", 1, b"1");
    let whole = Fields { header_count: 1, headers, ..Fields::default() }.encoded();
    for end in 0..whole.len() {
        assert!(parse_record(&whole[..end], 0).is_err());
        // The same with the length made to agree, so that the fields themselves run out.
        let mut agreeing = vec![u8::try_from(end * 2).unwrap()];
        agreeing.extend_from_slice(&whole[1..=end]);
        assert_eq!(parse_record(&agreeing, 0).is_err(), end + 1 < whole.len(), "{end}");
    }
    assert!(matches!(parse_record(&[4, 0, 0xff], 0).unwrap_err(), Corruption::Truncated { .. }));
    let endless = [&[24, 0][..], &[0xff; 11]].concat();
    assert_eq!(parse_record(&endless, 0).unwrap_err(), Corruption::Varint);
}

#[test]
fn the_short_way_to_a_record_finds_what_the_long_way_finds_or_nothing() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut plain = 0;
    for _ in 0..200_000 {
        let fields = Fields {
            body_longer_by: [0, 0, 0, 0, -1, 1][usize::try_from(next(6)).unwrap()],
            key_length: [1, 1, -1, 0, 2, -7][usize::try_from(next(6)).unwrap()],
            value_length: [2, 2, -1, 1, 3, i32::MAX][usize::try_from(next(6)).unwrap()],
            header_count: [0, 0, 0, 1, -1, 9_000][usize::try_from(next(6)).unwrap()],
            ..Fields::default()
        };
        let behind = Fields::default().encoded().repeat(2);
        let mut region = [fields.encoded(), behind].concat();
        for _ in 0..next(4) {
            let at = usize::try_from(next(region.len() as u64)).unwrap();
            region[at] = u8::try_from(next(256)).unwrap();
        }
        region.truncate(usize::try_from(1 + next(region.len() as u64)).unwrap());
        if let Some(raw) = parse_plain_record(&region, 0) {
            plain += 1;
            assert_eq!(parse_record(&region, 0), Ok(raw), "{region:?}");
        }
    }
    assert!(plain > 1_000, "only {plain} went the short way");
    let usual = Fields::default().encoded().repeat(2);
    assert_eq!(parse_plain_record(&usual, 0), parse_record(&usual, 0).ok());
}

#[test]
fn the_short_way_finds_records_of_every_usual_size() {
    let bytes = vec![7; 70_000];
    let lengths = [None, Some(0), Some(1), Some(63), Some(64), Some(8191), Some(8192), Some(70_000)];
    let mut region = vec![0];
    for (key, value) in lengths.into_iter().flat_map(|key| lengths.map(|value| (key, value))) {
        for timestamp_delta in [0, -1, 63, 64, -65, 8191, 8192, -8193, (1 << 20) - 1, -1 << 20] {
            for offset_delta in [0, 63, 64, 8191, 8192, (1 << 20) - 1] {
                region.truncate(1);
                let record =
                    Record::from_parts(key.map(|length| &bytes[..length]), value.map(|length| &bytes[..length]));
                put_record(&mut region, &record, timestamp_delta, offset_delta).unwrap();
                let long = parse_record(&region, 1).unwrap();
                let shown = format!("{key:?} {value:?} {timestamp_delta} {offset_delta}");
                assert_eq!(parse_plain_record(&region, 1).unwrap_or(long), long, "{shown}");
                // Others follow.
                region.extend_from_slice(&[0xa5; 16]);
                assert_eq!(parse_plain_record(&region, 1), Some(long), "{shown}");
                assert_eq!((long.key.of(&region), long.value.of(&region)), (record.key, record.value), "{shown}");
            }
        }
    }
}
