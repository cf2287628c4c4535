//! The rule of the benches: every public method of a log, and of what it gives out, is measured in `benches/operations`, or
//! there is a reason here why it is not.
//!
//! It reads tokens, and the names of benches, which are strings. The invariant it owns: whatever is re-exported from where
//! operations are is known here, as a type with operations or as a plain value.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, Token, tokens};

/// The types whose methods are operations.
const TYPES: &[&str] = &[
    "BatchBuilder",
    "BatchRecords",
    "Batches",
    "HeadersIter",
    "Log",
    "LogSlice",
    "NamedCursor",
    "Reader",
    "ReceivedBatches",
    "Records",
    "RecordsReversed",
    "SliceBatches",
    "SliceRecords",
    "StopHandle",
    "StoredBatch",
    "Tailer",
];
/// The types that are made, compared and asked for their fields, and the simulated disk, which is for tests.
const VALUES: &[&str] = &[
    "AppendOptions",
    "Appended",
    "Checked",
    "Compression",
    "ControlType",
    "CursorCommit",
    "CursorInfo",
    "Damage",
    "Deleted",
    "Fate",
    "Finding",
    "FindingKind",
    "IntegrityReport",
    "Leftover",
    "LostEpochs",
    "OnReset",
    "ReadUpTo",
    "Record",
    "RecordRef",
    "RecoveryReport",
    "SegmentInfo",
    "Sent",
    "Severity",
    "SimulatedDisk",
    "Stats",
    "StoredRecord",
    "TimestampType",
    "TornTail",
    "Trust",
];
/// What no bench measures, and why.
const UNMEASURED: &[(&str, &[&str])] = &[
    ("lends a field", &["Log::dir", "Reader::dir", "NamedCursor::name", "StoredBatch::path", "StoredBatch::as_bytes"]),
    (
        "reads a field of a batch that is in memory",
        &[
            "StoredBatch::base_offset",
            "StoredBatch::last_offset",
            "StoredBatch::next_offset",
            "StoredBatch::position",
            "StoredBatch::segment",
            "StoredBatch::size_bytes",
            "StoredBatch::magic",
            "StoredBatch::crc",
            "StoredBatch::compression",
            "StoredBatch::timestamp_type",
            "StoredBatch::base_timestamp",
            "StoredBatch::max_timestamp",
            "StoredBatch::producer_id",
            "StoredBatch::producer_epoch",
            "StoredBatch::base_sequence",
            "StoredBatch::leader_epoch",
            "StoredBatch::is_transactional",
            "StoredBatch::is_control",
            "StoredBatch::delete_horizon",
            "StoredBatch::record_count",
        ],
    ),
];

/// What is public and not measured, what is measured and not public, and reasons that nobody needs.
pub(crate) fn violations(engine: &[Source], benches: &[Source]) -> Vec<String> {
    let public: BTreeMap<String, String> = engine.iter().flat_map(public_methods).collect();
    let excused: BTreeSet<&str> = UNMEASURED.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let mut found: Vec<String> =
        engine.iter().filter(|file| file.path == "src/lib.rs").flat_map(unknown_types).collect();
    let mut measured = BTreeSet::new();
    for file in benches {
        let called = called(file);
        for name in bench_names(&file.text) {
            let method = name.rsplit("::").next().unwrap_or_default();
            if !public.contains_key(name) {
                found.push(format!("{}: {name} is measured, and no public method", file.path));
            } else if method != "next" && !called.contains(method) {
                // Iterators are gone through in many ways.
                found.push(format!("{}: {name} is said to be measured, and not called", file.path));
            }
            measured.insert(name);
        }
    }
    for (name, place) in &public {
        match (measured.contains(name.as_str()), excused.contains(name.as_str())) {
            (false, false) => found.push(format!("{place}: nothing in benches/operations measures {name}")),
            (true, true) => found.push(format!("{name} is measured, and there is a reason why it is not")),
            _ => {}
        }
    }
    found.extend(
        excused.iter().filter(|name| !public.contains_key(**name)).map(|name| format!("{name} is no public method")),
    );
    found
}

/// The public methods of [`TYPES`] in a file, and `next` of those that are iterators, each with its place.
fn public_methods(file: &Source) -> Vec<(String, String)> {
    let tokens = tokens(&file.text);
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token: &Token| token.text == text);
    let mut found = Vec::new();
    let (mut depth, mut block) = (0usize, None);
    for (at, token) in tokens.iter().enumerate() {
        let mut add = |name: String| found.push((name, format!("{}:{}", file.path, token.line)));
        match token.text.as_str() {
            "impl" if block.is_none() => {
                let (of_trait, of_type) = head_of_impl(&tokens[at + 1..]);
                if TYPES.contains(&of_type) {
                    block = Some((depth, of_type));
                    if of_trait == Some("Iterator") {
                        add(format!("{of_type}::next"));
                    }
                }
            }
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                block = block.filter(|(outside, _)| depth > *outside);
            }
            "pub" if !is(at + 1, "(") => {
                let word = (at + 1..).find(|&next| !is(next, "const") && !is(next, "async")).unwrap_or(at);
                if let (Some((_, of_type)), true, Some(name)) = (block, is(word, "fn"), tokens.get(word + 1)) {
                    add(format!("{of_type}::{}", name.text));
                }
            }
            _ => {}
        }
    }
    found
}

/// The trait, if any, and the type, behind an `impl` and its own parameters.
fn head_of_impl(tokens: &[Token]) -> (Option<&str>, &str) {
    let mut words = Vec::new();
    let mut angles = 0usize;
    for token in tokens.iter().take_while(|token| token.text != "{" && token.text != ";") {
        match token.text.as_str() {
            "<" => angles += 1,
            ">" => angles = angles.saturating_sub(1),
            text if angles == 0 => words.push(text),
            _ => {}
        }
    }
    match words.iter().position(|word| *word == "for") {
        Some(at) => (at.checked_sub(1).map(|before| words[before]), words.get(at + 1).copied().unwrap_or_default()),
        None => (None, words.first().copied().unwrap_or_default()),
    }
}

/// Types that `lib.rs` re-exports from `log`, `record` and `slice`, and that no list here has.
fn unknown_types(file: &Source) -> Vec<String> {
    let tokens = tokens(&file.text);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let from = tokens.get(at + 1).map(|next| next.text.as_str());
        if token.text != "use" || !matches!(from, Some("log" | "record" | "slice")) {
            continue;
        }
        for name in tokens[at + 2..].iter().take_while(|token| token.text != ";") {
            let is_type = name.text.starts_with(char::is_uppercase);
            if is_type && !TYPES.contains(&name.text.as_str()) && !VALUES.contains(&name.text.as_str()) {
                found.push(format!("{}:{}: {} is neither measured nor a value", file.path, name.line, name.text));
            }
        }
    }
    found
}

/// The names of benches in a text: strings that begin with a type, `::` and a method.
fn bench_names(text: &str) -> Vec<&str> {
    text.split('"')
        .skip(1)
        .filter_map(|behind| {
            let end = behind.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(behind.len());
            let (of_type, method) = behind[..end].split_once("::")?;
            (of_type.starts_with(char::is_uppercase) && !method.is_empty()).then_some(&behind[..end])
        })
        .collect()
}

/// Every word that is called in the code of a file.
fn called(file: &Source) -> BTreeSet<String> {
    let tokens = tokens(&file.text);
    let calls =
        tokens.windows(3).filter(|three| (three[0].text == "." || three[0].text == "::") && three[2].text == "(");
    calls.map(|three| three[1].text.clone()).collect()
}

#[cfg(test)]
fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_string(), text: text.to_string() }
}

#[test]
fn public_methods_are_found_in_every_block_of_a_type() {
    let text = "impl Log { pub fn open() -> Log { f() } fn hidden() {} pub(crate) fn inner() {} pub const fn two() {} }\n\
                impl<'a> Iterator for ReceivedBatches<'a> { fn next(&mut self) {} }\n\
                impl Other { pub fn no() {} } impl fmt::Debug for Log { fn fmt() {} }\n\
                mod inside { impl<T: Fn(u8)> Reader { pub fn yes() {} } } // impl Log { pub fn comment() {} }";
    let found: Vec<String> = public_methods(&source("src/a.rs", text)).into_iter().map(|(name, _)| name).collect();
    assert_eq!(found, ["Log::open", "Log::two", "ReceivedBatches::next", "Reader::yes"]);
}

#[test]
fn benches_are_known_by_names_that_are_methods() {
    let text =
        "measure(group, \"Log::append, 100 bytes\"); format!(\"Log::send_to, {size}\"); \"no name\"; \"log::append\"";
    assert_eq!(bench_names(text), ["Log::append", "Log::send_to"]);
}

#[test]
fn a_method_without_a_bench_and_a_bench_without_a_method_are_found() {
    let engine = [source("src/log/mod.rs", "impl Log { pub fn append() {} pub fn forgotten() {} }")];
    let benches =
        [source("benches/operations/a.rs", "f(\"Log::append\", log.append()); f(\"Log::gone\", log.gone());")];
    let found = violations(&engine, &benches);
    assert!(found.iter().any(|line| line.contains("measures Log::forgotten")), "{found:?}");
    assert!(found.iter().any(|line| line.contains("Log::gone is measured, and no public method")), "{found:?}");
    assert!(!found.iter().any(|line| line.contains("Log::append")), "{found:?}");
    let benches = [source("benches/operations/a.rs", "f(\"Log::append\", log.appended())")];
    let found = violations(&engine, &benches);
    assert!(found.iter().any(|line| line.contains("Log::append is said to be measured")), "{found:?}");
}

#[test]
fn a_type_that_no_list_has_is_found() {
    let known = source("src/lib.rs", "pub use log::{Log, Stats}; pub use config::LogConfig;");
    assert_eq!(unknown_types(&known), Vec::<String>::new());
    assert_eq!(unknown_types(&source("src/lib.rs", "pub use slice::{LogSlice, Splice};")).len(), 1);
}
