//! The house rules that a compiler does not know, checked on the source tree: layers, sizes, words, dependencies, benches,
//! and the table of what is tested.
//!
//! It reads files and runs `cargo tree`; it writes only when told to (`KSTORE_BLESS=1 cargo test --test tidy` brings
//! `tests/coverage.md` in step). The invariant it owns: each checker is itself tested on input that must fail.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this reads the source tree")]

use std::collections::BTreeSet;
use std::process::Command;

use source::{Source, code_only, files, root, tokens};

#[path = "tidy/coverage.rs"]
mod coverage;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/locks.rs"]
mod locks;
#[path = "tidy/measured.rs"]
mod measured;
#[path = "tidy/source.rs"]
mod source;

/// Longer files are two files.
const LINES_MAX: usize = 600;
/// The only file that may hold `unsafe`.
const UNSAFE_HOME: &str = "src/fs/map.rs";
/// Macros that stand for work not done.
const UNFINISHED_MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "types", "misc"];
/// Marks of work not done. Written in halves, for this file is checked too.
const UNFINISHED_WORDS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
/// Crates in the default tree, besides this one.
const CRATES_MAX: usize = 20;
/// Crates in the tree without codecs, besides this one.
const CRATES_WITHOUT_CODECS_MAX: usize = 12;

#[test]
fn modules_name_only_lower_layers() {
    assert_none(files(&["src"], &[".rs"]).iter().flat_map(layers::violations).collect());
}

#[test]
fn locks_atomics_and_threads_come_from_one_place() {
    assert_none(files(&["src"], &[".rs"]).iter().flat_map(locks::violations).collect());
}

#[test]
fn every_public_operation_is_measured_or_has_a_reason_why_not() {
    assert_none(measured::violations(&files(&["src"], &[".rs"]), &files(&["benches/operations"], &[".rs"])));
}

#[test]
fn every_file_obeys_the_house_rules() {
    let sources = files(&["src", "tests", "examples", "benches", "fuzz", "interleavings"], &[".rs"]);
    assert!(sources.len() > 10, "only {} source files were found", sources.len());
    assert_none(sources.iter().flat_map(violations).collect());
}

#[test]
fn no_file_or_folder_has_a_name_that_says_nothing() {
    assert_none(files(&["src"], &[".rs"]).iter().filter_map(|file| empty_name(&file.path)).collect());
}

#[test]
fn nothing_is_marked_as_unfinished() {
    let mut texts = files(
        &["src", "tests", "examples", "benches", "fuzz", "interleavings", ".ci"],
        &[".rs", ".md", ".toml", "run"],
    );
    for path in ["README.md", "CHANGELOG.md", "Cargo.toml"] {
        let text = std::fs::read_to_string(root().join(path)).expect("a file of the repository");
        texts.push(Source { path: path.to_string(), text });
    }
    assert_none(texts.iter().flat_map(unfinished_words).collect());
}

#[test]
fn the_dependency_tree_stays_small() {
    for (options, limit) in [(vec![], CRATES_MAX), (vec!["--no-default-features"], CRATES_WITHOUT_CODECS_MAX)] {
        let tree = cargo_tree(&options);
        let crates = crates_in(&tree);
        assert!(crates.len() <= limit, "{} crates, {limit} are allowed: {crates:?}", crates.len());
    }
}

#[test]
fn the_table_of_covered_rows_is_in_step_with_the_tests() {
    let mut table = coverage::Table::new();
    let sources = files(&["src", "tests"], &[".rs"]);
    let mut found = Vec::new();
    // The checker's own tests speak of rows that they do not cover.
    for file in sources.iter().filter(|file| !file.path.starts_with("tests/tidy")) {
        found.extend(coverage::collect(file, &mut table));
    }
    assert_none(found);
    let (path, page) = (root().join("tests/coverage.md"), coverage::render(&table));
    if std::env::var_os("KSTORE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &page).expect("a writable tree");
    }
    let stored = std::fs::read_to_string(&path).expect("tests/coverage.md");
    assert!(stored == page, "tests/coverage.md is out of step; run: KSTORE_BLESS=1 cargo test --test tidy");
}

#[test]
fn each_promise_of_the_readme_names_a_test_that_is_there() {
    let page = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let promises = page.lines().skip_while(|line| !line.starts_with("| after")).skip(2);
    let mut promises = promises.take_while(|line| line.starts_with('|')).peekable();
    assert!(promises.peek().is_some(), "the table of what holds");
    for promise in promises {
        let shown = promise.rsplit('|').nth(1).map(str::trim).expect("a last column");
        let (name, path) = shown
            .strip_prefix("[`")
            .and_then(|link| link.strip_suffix(')'))
            .and_then(|link| link.split_once("`]("))
            .unwrap_or_else(|| panic!("no test is named in: {promise}"));
        let source = std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let test = format!("#[test]\nfn {name}() {{");
        assert!(source.contains(&test), "{path} has no test {name}");
    }
}

/// The rules for one source file: its length, its first line, `unsafe`, and macros that stand for work not done.
fn violations(file: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let lines = file.text.lines().count();
    if lines > LINES_MAX && !file.path.starts_with("fuzz/") {
        found.push(format!("{}: {lines} lines, {LINES_MAX} are allowed", file.path));
    }
    if !file.text.starts_with("//! ") {
        found.push(format!("{}: does not open with `//!`", file.path));
    }
    let tokens = tokens(&file.text);
    for (at, token) in tokens.iter().enumerate() {
        if token.text == "unsafe" && file.path != UNSAFE_HOME {
            found.push(format!("{}:{}: unsafe outside {UNSAFE_HOME}", file.path, token.line));
        }
        let called = tokens.get(at + 1).is_some_and(|next| next.text == "!");
        if called && UNFINISHED_MACROS.contains(&token.text.as_str()) {
            found.push(format!("{}:{}: {}!", file.path, token.line, token.text));
        }
    }
    found
}

fn empty_name(path: &str) -> Option<String> {
    let mut parts = path.trim_end_matches(".rs").split('/');
    let empty = parts.find(|part| EMPTY_NAMES.contains(part))?;
    Some(format!("{path}: `{empty}` says nothing about what is inside"))
}

fn unfinished_words(file: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        if let Some(word) = words.find(|word| UNFINISHED_WORDS.contains(word)) {
            found.push(format!("{}:{}: {word}", file.path, number + 1));
        }
    }
    found
}

/// What `cargo tree` lists, without asking the network.
fn cargo_tree(options: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--edges", "normal", "--prefix", "none", "--locked", "--offline"])
        .args(options)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The names of the crates in a tree, each once, this one left out.
fn crates_in(tree: &str) -> BTreeSet<&str> {
    tree.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "kstore").collect()
}

fn assert_none(found: Vec<String>) {
    assert!(found.is_empty(), "{} found:\n{}", found.len(), found.join("\n"));
}

fn file(path: &str, text: &str) -> Source {
    Source { path: path.to_string(), text: text.to_string() }
}

#[test]
fn a_file_that_breaks_a_house_rule_is_found() {
    let long = format!("//! Long.\n{}", "\n".repeat(LINES_MAX));
    for (path, text) in [
        ("src/log/mod.rs", long.as_str()),
        ("src/log/mod.rs", "use std::io;"),
        ("tests/a.rs", "//! A test.\nfn f() { unsafe { g() } }"),
        ("src/fs/real.rs", "//! The seam.\nunsafe fn f() {}"),
        ("src/log/mod.rs", "//! A log.\nfn f() { todo!() }"),
        ("src/log/mod.rs", "//! A log.\nfn f() { dbg! (1); }"),
    ] {
        assert_eq!(violations(&file(path, text)).len(), 1, "{path}: {}", code_only(text));
    }
}

#[test]
fn a_file_that_only_speaks_of_what_is_forbidden_is_fine() {
    let text = "//! No `unsafe` here.\n#![deny(unsafe_code)]\nconst WORDS: &str = \"unsafe todo!\";";
    assert_eq!(violations(&file("src/log/mod.rs", text)), Vec::<String>::new());
    assert_eq!(violations(&file(UNSAFE_HOME, "//! Maps.\nunsafe fn f() {}")), Vec::<String>::new());
}

#[test]
fn a_name_that_says_nothing_is_found() {
    assert!(empty_name("src/util.rs").is_some());
    assert!(empty_name("src/helpers/mod.rs").is_some());
    assert!(empty_name("src/log/types.rs").is_some());
    assert!(empty_name("src/log/utility_of_logs.rs").is_none());
}

#[test]
fn a_mark_of_unfinished_work_is_found_as_a_word_only() {
    let mark = UNFINISHED_WORDS[0];
    assert_eq!(unfinished_words(&file("a.md", &format!("fine\n- {mark}: more"))).len(), 1);
    assert_eq!(unfinished_words(&file("a.md", &format!("MAS{mark}S"))).len(), 0);
}

#[test]
fn crates_are_counted_once_whatever_the_tree_repeats() {
    let tree = "kstore v0.1.0 (/x)\na v1.0.0\nb v1.0.0\na v1.0.0 (*)\n\n";
    assert_eq!(crates_in(tree), BTreeSet::from(["a", "b"]));
}
