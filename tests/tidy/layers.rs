//! The layer rule: a module names only modules of lower layers, and siblings do not see each other.
//!
//! It reads tokens, not types: what a module reaches through a value handed to it is no import. The front page
//! (`lib.rs`), the documents and the fuzzer's door stand outside the layers, for they only re-export.

use crate::source::{Source, Token, tokens};

/// The modules of `src/`, from the lowest layer to the highest.
const LAYERS: [&[&str]; 8] = [
    &["offset", "sync"],
    &["error", "names"],
    &["record", "fs"],
    &["config", "index", "checkpoint", "state"],
    &["segment"],
    &["slice", "epoch", "producer", "retention", "compaction"],
    &["log"],
    &["manager"],
];

/// Modules that stand outside the layers.
const OUTSIDE: [&str; 3] = ["lib", "docs", "fuzzing"];

/// Every import of a file under `src/` that does not point down.
pub(crate) fn violations(file: &Source) -> Vec<String> {
    let inner = file.path.strip_prefix("src/").expect("only files under src have a layer");
    let parts: Vec<&str> = inner.trim_end_matches(".rs").split('/').filter(|part| *part != "mod").collect();
    let module = parts[0];
    if OUTSIDE.contains(&module) {
        return Vec::new();
    }
    let Some(own) = layer(module) else {
        return vec![format!("{}: the module {module} has no layer; give it one in tests/tidy/layers.rs", file.path)];
    };
    let mut found = Vec::new();
    for named in named_modules(&tokens(&file.text), parts.len()) {
        let place = format!("{}:{}: {module} names crate::{}", file.path, named.line, named.text);
        match layer(&named.text) {
            _ if named.text == module => {}
            None => found.push(format!("{place}, which is no module of a layer; name the module that defines it")),
            Some(other) if other == own => found.push(format!("{place}, its sibling")),
            Some(other) if other > own => found.push(format!("{place}, which lies above it")),
            Some(_) => {}
        }
    }
    found
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// What is named directly below the root of the crate: behind `crate::`, or behind as many `super::` as lead there.
/// `depth` is the number of modules between the root and the top of the file, the file's own included.
fn named_modules(tokens: &[Token], depth: usize) -> Vec<Token> {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    let mut scopes: Vec<bool> = Vec::new();
    let mut named = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is(at, "{") {
            scopes.push(at >= 2 && is(at - 2, "mod"));
        } else if is(at, "}") {
            scopes.pop();
        } else if is(at, "crate") && is(at + 1, "::") {
            named.extend(heads(&tokens[at + 2..]));
        } else if is(at, "super") && is(at + 1, "::") {
            let supers = tokens[at..].chunks(2).take_while(|pair| pair[0].text == "super").count();
            let here = depth + scopes.iter().filter(|inline| **inline).count();
            if supers >= here {
                named.extend(heads(&tokens[at + 2 * supers..]));
            }
            at += 2 * supers - 1;
        }
        at += 1;
    }
    named
}

/// The first name of a path, or of each path of a group in braces.
pub(crate) fn heads(path: &[Token]) -> Vec<Token> {
    let Some(first) = path.first() else { return Vec::new() };
    if first.text != "{" {
        return vec![first.clone()];
    }
    let (mut depth, mut heads) = (0usize, Vec::new());
    for pair in path.windows(2) {
        match pair[0].text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(pair[0].text.as_str(), "{" | ",") && pair[1].text != "}" {
            heads.push(pair[1].clone());
        }
    }
    heads
}

#[cfg(test)]
fn check(path: &str, text: &str) -> Vec<String> {
    violations(&Source { path: path.to_string(), text: text.to_string() })
}

#[test]
fn imports_that_point_down_or_stay_inside_the_module_are_fine() {
    for (path, text) in [
        ("src/index/mod.rs", "use crate::{fs::File, names, offset::{Offset, Position}};"),
        ("src/index/offset.rs", "use super::sorted; use crate::index::sorted;"),
        ("src/names.rs", "mod tests { use super::*; fn f() { super::g() } }"),
        ("src/segment/mod.rs", "use crate::index::Index; // crate::log is above"),
        ("src/lib.rs", "pub use crate::log::Log;"),
        ("src/fuzzing.rs", "use crate::segment::recover;"),
        ("src/log/append.rs", "use std::sync::Arc; pub(in crate::log) fn f() {}"),
    ] {
        assert_eq!(check(path, text), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn imports_that_point_up_or_sideways_are_found() {
    for (path, text) in [
        ("src/record/decode.rs", "use crate::fs::File;"),
        ("src/fs/mod.rs", "fn f() -> crate::segment::Segment {}"),
        ("src/index/mod.rs", "use crate::{offset::Offset, state::State};"),
        ("src/names.rs", "use super::log::Log;"),
        ("src/names.rs", "mod tests { use super::super::error::Error; }"),
        ("src/log/append.rs", "use super::super::manager::Manager;"),
        ("src/slice.rs", "use crate::epoch::Epochs;"),
    ] {
        assert_eq!(check(path, text).len(), 1, "{path}: {text}");
    }
}

#[test]
fn a_module_without_a_layer_and_a_name_of_the_front_page_are_found() {
    assert_eq!(check("src/stuff.rs", "").len(), 1);
    assert_eq!(check("src/index/mod.rs", "use crate::Error;").len(), 1);
    assert_eq!(check("src/index/mod.rs", "use crate::*;").len(), 1);
}
