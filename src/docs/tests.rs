//! The format is described once: the tables of `format.md` are read here and compared with what the code knows.
//!
//! Prose is not checked. The invariant it owns: every table of a fixed structure names each byte exactly once.

const FORMAT: &str = include_str!("format.md");
const TABLE_HEAD: &str = "| offset | length | type | field | meaning |";

/// One row of a table: the field's name, its first byte, and how many bytes it has.
type Row = (String, usize, usize);

/// The first table of fields behind a line that begins with `heading`.
fn table(heading: &str) -> Vec<Row> {
    let begin = FORMAT.lines().position(|line| line.starts_with(heading));
    let behind = FORMAT.lines().skip(begin.unwrap_or_else(|| panic!("format.md has no line {heading}")));
    behind
        .skip_while(|line| *line != TABLE_HEAD)
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| row(line).unwrap_or_else(|| panic!("no row of a table: {line}")))
        .collect()
}

fn row(line: &str) -> Option<Row> {
    let mut cells = line.split('|').map(str::trim).skip(1);
    let (at, bytes) = (cells.next()?.parse().ok()?, cells.next()?.parse().ok()?);
    let declared = match cells.next()? {
        "i8" => 1,
        "i16" => 2,
        "i32" | "u32" => 4,
        "i64" | "u64" => 8,
        _ => return None,
    };
    let name = cells.next()?.to_string();
    (declared == bytes).then_some((name, at, bytes))
}

/// The byte behind the last field, provided that the fields follow each other without a gap.
fn end_without_gaps(rows: &[Row]) -> Option<usize> {
    rows.iter().try_fold(0, |end, (_, at, bytes)| (*at == end).then_some(at + bytes))
}

#[test]
fn every_table_of_the_format_names_each_byte_once() {
    for (heading, end) in [
        ("## Record batch, format 2", 61),
        ("Format 0:", 18),
        ("Format 1:", 26),
        ("## `.index`", 8),
        ("## `.timeindex`", 12),
        ("A slot:", 176),
        ("The section behind the slots", 32),
        ("Each entry, in the order", 16),
    ] {
        assert_eq!(end_without_gaps(&table(heading)), Some(end), "{heading}");
    }
}

#[test]
fn a_gap_or_a_wrong_length_in_a_table_is_noticed() {
    assert_eq!(row("| 8 | 4 | i64 | batchLength | |"), None);
    let rows = |lines: [&str; 2]| lines.map(|line| row(line).expect("a row"));
    assert_eq!(end_without_gaps(&rows(["| 0 | 8 | i64 | a | |", "| 9 | 4 | i32 | b | |"])), None);
    assert_eq!(end_without_gaps(&rows(["| 0 | 8 | i64 | a | |", "| 8 | 4 | i32 | b | |"])), Some(12));
}

#[test]
fn the_batch_that_the_format_shows_byte_by_byte_is_a_sound_one() {
    let (_, behind) = FORMAT.split_once("### A batch byte by byte").expect("the section");
    let block = behind.split("```").nth(1).expect("a block of code").trim_start_matches("text\n");
    let is_byte = |word: &&str| word.len() == 2 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let batch: Vec<u8> = block
        .lines()
        .flat_map(|line| line.split_whitespace().take_while(is_byte))
        .map(|word| u8::from_str_radix(word, 16).expect("hexadecimal digits"))
        .collect();
    assert_eq!(batch.len(), 84);
    assert_eq!(batch[8..12], 72u32.to_be_bytes());
    assert_eq!(batch[17..21], crc32c::crc32c(&batch[21..]).to_be_bytes());
}

#[test]
fn the_tables_of_the_format_are_those_of_the_code() {
    use crate::record::layout::{Field, HEADER_BYTES, V0_HEADER, V1_HEADER, V2_HEADER};
    let rows = |fields: &[Field]| -> Vec<Row> {
        fields.iter().map(|field| (field.name.to_string(), field.at, field.bytes)).collect()
    };
    assert_eq!(table("## Record batch, format 2"), rows(&V2_HEADER));
    assert_eq!(table("Format 0:"), rows(&V0_HEADER));
    assert_eq!(table("Format 1:"), rows(&V1_HEADER));
    assert_eq!(end_without_gaps(&table("## Record batch, format 2")), Some(HEADER_BYTES));
}

/// The places and lengths in the table that a source file has at its top.
fn table_of_source(source: &str) -> Vec<(usize, usize)> {
    let cells = |line: &str| -> Option<(usize, usize)> {
        let mut cells = line.strip_prefix("//! |")?.split('|').map(str::trim);
        Some((cells.next()?.parse().ok()?, cells.next()?.parse().ok()?))
    };
    source.lines().filter_map(cells).collect()
}

#[test]
fn the_tables_of_the_state_are_those_at_the_top_of_its_code() {
    let places = |heading| table(heading).into_iter().map(|(_, at, bytes)| (at, bytes)).collect::<Vec<_>>();
    assert_eq!(places("A slot:"), table_of_source(include_str!("../state/slot.rs")));
    assert_eq!(places("The section behind the slots"), table_of_source(include_str!("../state/section.rs")));
}
