//! Which test covers which row of the list of Kafka's behaviours, collected from the comments above the tests.
//!
//! A test says `// Row 12.` or `// Rows 12, 15.` directly above itself; `tests/coverage.md` is the table made of that.
//! It does not judge whether the test is any good.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::source::Source;

/// The sections of the list: their first and last row, and what they are about.
const SECTIONS: [(u32, u32, &str); 19] = [
    (1, 15, "Varints and record bodies"),
    (16, 40, "Batch header"),
    (41, 59, "Iteration, legacy formats, codecs, control records"),
    (60, 72, "Record files"),
    (73, 85, "Offset index"),
    (86, 96, "Time index"),
    (97, 105, "Transaction index"),
    (106, 132, "Segment"),
    (133, 160, "Append and roll"),
    (161, 180, "Validation of a client's batches"),
    (181, 221, "Producer state"),
    (222, 234, "Transactions and the last stable offset"),
    (235, 246, "Reads and timestamps"),
    (247, 259, "Retention and deletion"),
    (260, 279, "Loading and recovery"),
    (280, 292, "Truncation, high watermark, epochs"),
    (293, 297, "Checkpoint and marker files"),
    (298, 333, "Compaction"),
    (334, 349, "Manager, naming, configuration, tools"),
];

/// Row numbers, and the tests that cover each.
pub(crate) type Table = BTreeMap<u32, Vec<String>>;

/// Adds the rows that a file's tests name; what is not of the agreed form is returned as violations.
pub(crate) fn collect(file: &Source, table: &mut Table) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let place = format!("{}:{}", file.path, at + 1);
        let rows = match rows_of(line) {
            None => continue,
            Some(Ok(rows)) => rows,
            Some(Err(reason)) => {
                found.push(format!("{place}: {reason}"));
                continue;
            }
        };
        let Some(test) = test_below(&lines[at + 1..]) else {
            found.push(format!("{place}: no test stands directly below the rows it covers"));
            continue;
        };
        for row in rows {
            table.entry(row).or_default().push(format!("`{test}` in {}", file.path));
        }
    }
    found
}

/// The table as it stands in `tests/coverage.md`.
pub(crate) fn render(table: &Table) -> String {
    let total = SECTIONS[SECTIONS.len() - 1].1;
    let mut page = String::from("# Which test covers which behaviour\n\n");
    page += "Kafka's own tests assert a list of behaviours, numbered here as rows. A test says directly above itself\n";
    page +=
        "which of them it covers (`// Row 12.` or `// Rows 12, 15.`), and this table is made of those comments by\n";
    page +=
        "`KSTORE_BLESS=1 cargo test --test tidy`; a test fails while the two disagree. Rows about parts that this\n";
    page += "release does not have are not listed.\n\n";
    writeln!(page, "{} of {total} rows are covered.", table.len()).expect("a string takes all");
    for (first, last, title) in SECTIONS {
        let rows: Vec<_> = table.range(first..=last).collect();
        if rows.is_empty() {
            continue;
        }
        writeln!(page, "\n## {title} (rows {first} to {last})\n\n| row | tests |\n|---|---|")
            .expect("a string takes all");
        for (row, tests) in rows {
            writeln!(page, "| {row} | {} |", tests.join("<br>")).expect("a string takes all");
        }
    }
    page
}

/// The rows that a line names: `None` if it is no such comment, an error if it is one of another form.
fn rows_of(line: &str) -> Option<Result<Vec<u32>, String>> {
    let (list, plural) = match (line.strip_prefix("// Row "), line.strip_prefix("// Rows ")) {
        (Some(list), _) => (list, false),
        (_, Some(list)) => (list, true),
        _ => return None,
    };
    if !list.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let wrong = || format!("`{line}` is neither `// Row 12.` nor `// Rows 12, 15.`");
    let last = SECTIONS[SECTIONS.len() - 1].1;
    let Some(list) = list.strip_suffix('.') else { return Some(Err(wrong())) };
    let Ok(rows) = list.split(", ").map(str::parse).collect::<Result<Vec<u32>, _>>() else { return Some(Err(wrong())) };
    if plural != (rows.len() > 1) {
        return Some(Err(wrong()));
    }
    match rows.iter().find(|row| **row == 0 || **row > last) {
        Some(row) => Some(Err(format!("row {row} is not in 1..={last}"))),
        None => Some(Ok(rows)),
    }
}

/// The name of the function that begins below, with only comments and attributes in between.
fn test_below<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let line = lines.iter().find(|line| !line.starts_with("//") && !line.starts_with("#["))?;
    let (before, behind) = line.split_once("fn ")?;
    let name = behind.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
    (before.is_empty() || before.ends_with(' ')).then_some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
fn collected(text: &str) -> (Table, Vec<String>) {
    let mut table = Table::new();
    let found = collect(&Source { path: "a.rs".to_string(), text: text.to_string() }, &mut table);
    (table, found)
}

#[test]
fn rows_are_collected_with_the_test_below_them() {
    let (table, found) =
        collected("// Rows 2, 349.\n#[test]\n// Why.\nfn one() {}\n    // Row 2.\n    pub fn two() {}\n");
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(table[&2], ["`one` in a.rs", "`two` in a.rs"]);
    assert_eq!(table[&349], ["`one` in a.rs"]);
}

#[test]
fn a_row_of_another_form_or_outside_the_list_is_found() {
    for wrong in
        ["// Row 0.", "// Row 350.", "// Row 12", "// Row 1, 2.", "// Rows 12.", "// Rows 1,2.", "// Row 1 to 2."]
    {
        assert_eq!(collected(&format!("{wrong}\nfn f() {{}}")).1.len(), 1, "{wrong}");
    }
    assert_eq!(collected("// Rows of the table\nfn f() {}"), (Table::new(), Vec::new()));
}

#[test]
fn a_row_without_a_test_below_it_is_found() {
    for wrong in ["// Row 1.\n\nfn f() {}", "// Row 1.\nlet x = 1;", "// Row 1."] {
        assert_eq!(collected(wrong).1.len(), 1, "{wrong:?}");
    }
}

#[test]
fn the_table_lists_each_row_under_its_section_and_counts_them() {
    let page = render(&collected("// Rows 15, 16.\nfn f() {}").0);
    assert!(page.contains("2 of 349 rows"), "{page}");
    let (varints, header) = (page.find("| 15 | `f` in a.rs |"), page.find("| 16 | `f` in a.rs |"));
    let heading = page.find("## Batch header");
    assert!(varints.is_some() && varints < heading && heading < header, "{page}");
}

#[test]
fn the_sections_leave_no_row_out() {
    assert_eq!(SECTIONS[0].0, 1);
    for pair in SECTIONS.windows(2) {
        assert_eq!(pair[0].1 + 1, pair[1].0);
    }
}
