//! The lock rule: under `src/`, only `src/sync` names where locks, conditions, atomics and threads come from, so that a
//! checker that takes their place sees everything that threads do to each other.
//!
//! It reads tokens. Unit tests start threads and count as they like, for no checker runs them; but what they share with the
//! engine is the engine's. The invariant it owns: a path that a `use` renames is found where it is imported.

use crate::layers::heads;
use crate::source::{Source, Token, tokens};

/// The only folder that names them.
const HOME: &str = "src/sync/";
/// Of `std::sync`, what nobody waits for.
const SHARING: [&str; 3] = ["Arc", "OnceLock", "Weak"];
/// Of `std::thread`, what says something of the thread that asks and of no other.
const OWN_THREAD: [&str; 1] = ["panicking"];

/// Every lock, atomic and thread of a file under `src/` that does not come from `src/sync`.
pub(crate) fn violations(file: &Source) -> Vec<String> {
    if file.path.starts_with(HOME) {
        return Vec::new();
    }
    let tokens = tokens(&file.text);
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    let mut named: Vec<Token> = Vec::new();
    let is_test = file.path.split('/').any(|part| part == "tests" || part == "tests.rs");
    for (at, token) in tokens.iter().enumerate() {
        if token.text == "parking_lot" {
            named.push(token.clone());
        }
        if is_test || token.text != "std" || !is(at + 1, "::") {
            continue;
        }
        for (module, allowed) in [("sync", &SHARING[..]), ("thread", &OWN_THREAD[..])] {
            let head = tokens.get(at + 2).filter(|head| head.text == module);
            if let Some(head) = head {
                let below = if is(at + 3, "::") { heads(&tokens[at + 4..]) } else { vec![head.clone()] };
                named.extend(below.into_iter().filter(|name| !allowed.contains(&name.text.as_str())));
            }
        }
        // A group behind `std::` would have to be taken apart; nobody needs one for these.
        if is(at + 2, "{") {
            let groups = heads(&tokens[at + 2..]).into_iter();
            named.extend(groups.filter(|name| name.text == "sync" || name.text == "thread"));
        }
    }
    let place = |name: Token| format!("{}:{}: {} comes from crate::sync", file.path, name.line, name.text);
    named.into_iter().map(place).collect()
}

#[cfg(test)]
fn check(path: &str, text: &str) -> Vec<String> {
    violations(&Source { path: path.to_string(), text: text.to_string() })
}

#[test]
fn locks_of_the_shim_and_what_nobody_waits_for_are_fine() {
    for (path, text) in [
        ("src/log/core.rs", "use std::sync::{Arc, OnceLock}; use crate::sync::Mutex; // std::sync::Mutex"),
        ("src/fs/sim/mod.rs", "fn f() { if std::thread::panicking() { g() } }"),
        ("src/sync/mod.rs", "pub(crate) use parking_lot::Mutex; pub(crate) use std::sync::atomic::AtomicBool;"),
        ("src/log/tests/storm.rs", "use std::sync::mpsc; fn f() { std::thread::yield_now() }"),
        ("src/log/core.rs", "use std::{fmt, io};"),
    ] {
        assert_eq!(check(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn locks_from_elsewhere_are_found() {
    for (path, text) in [
        ("src/log/core.rs", "use parking_lot::RwLock;"),
        ("src/log/core.rs", "use std::sync::{Arc, Mutex};"),
        ("src/log/core.rs", "use std::sync::atomic::{AtomicBool, Ordering};"),
        ("src/log/core.rs", "fn f() { x.load(std::sync::atomic::Ordering::Relaxed) }"),
        ("src/log/worker.rs", "fn f() { std::thread::park() }"),
        ("src/log/worker.rs", "use std::thread;"),
        ("src/log/worker.rs", "use std::{io, sync};"),
        ("src/log/tests/races.rs", "use parking_lot::Mutex;"),
    ] {
        assert_eq!(check(path, text).len(), 1, "{path}: {text}");
    }
}
