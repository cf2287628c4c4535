//! Source files and what of them is code: comments, strings and character literals are blanked out.
//!
//! It is no parser of Rust: it knows just enough of the lexical rules that a word in a comment or in a string is not
//! taken for code. The invariant it owns: blanking keeps every line where it was.

use std::path::{Path, PathBuf};

/// One source file, its path relative to the root of the repository.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Every file below `folders` whose name ends in one of `endings`, sorted by path. What is built there is skipped.
pub(crate) fn files(folders: &[&str], endings: &[&str]) -> Vec<Source> {
    let root = root();
    let mut pending: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).filter(|dir| dir.is_dir()).collect();
    let mut found = Vec::new();
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).expect("a readable source folder") {
            let path = entry.expect("a readable source folder").path();
            let relative = path.strip_prefix(&root).expect("below the root").to_str().expect("UTF-8 names").to_string();
            if path.is_dir() {
                let skipped = path.ends_with("target") || relative == "tests/golden" || relative == "fuzz/seeds";
                if !skipped {
                    pending.push(path);
                }
            } else if endings.iter().any(|ending| relative.ends_with(ending)) {
                found.push(Source { path: relative, text: std::fs::read_to_string(&path).expect("UTF-8 text") });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// One word or mark of the code, and its line counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// Splits the code of a file into words, `::` and single marks.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (number, line) in code_only(source).lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let (text, behind) = rest.split_at(length);
            tokens.push(Token { text: text.to_string(), line: number + 1 });
            rest = behind.trim_start();
        }
    }
    tokens
}

/// The source with every comment, string and character literal blanked out, lines kept.
pub(crate) fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = blank_end(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment or literal that begins at `at` ends; `at` itself if none begins there.
fn blank_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => find(chars, at, |rest| rest[0] == '\n').unwrap_or(chars.len()),
        '/' if next == Some('*') => block_comment_end(chars, at),
        '"' => quoted_end(chars, at, '"'),
        '\'' if next == Some('\\') || chars.get(at + 2) == Some(&'\'') => quoted_end(chars, at, '\''),
        'r' if starts_raw_string(chars, at) => raw_string_end(chars, at),
        _ => at,
    }
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0usize, start);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn quoted_end(chars: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `r"…"`, `r#"…"#`, also behind `b` or `c`; not the `r` that ends a word, nor a raw identifier.
fn starts_raw_string(chars: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|i| chars[i]);
    let prefixed = matches!(before, Some('b' | 'c')) && (at < 2 || !is_word(chars[at - 2]));
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    (prefixed || !before.is_some_and(is_word)) && chars.get(at + 1 + hashes) == Some(&'"')
}

fn raw_string_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    let closes = |rest: &[char]| rest[0] == '"' && rest[1..].iter().take_while(|&&c| c == '#').count() >= hashes;
    find(chars, at + hashes + 2, closes).map_or(chars.len(), |quote| quote + 1 + hashes)
}

fn find(chars: &[char], from: usize, wanted: impl Fn(&[char]) -> bool) -> Option<usize> {
    (from..chars.len()).find(|&at| wanted(&chars[at..]))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn words_in_comments_and_strings_are_not_code() {
    for hidden in [
        "// word",
        "/* a /* word */ word */",
        "\"word\"",
        "\"\\\"word\"",
        "r\"word\"",
        "r#\"a \" word\"#",
        "br##\"word\"# word\"##",
    ] {
        let code = code_only(&format!("before\n{hidden}\nafter"));
        assert!(!code.contains("word"), "{hidden} left {code:?}");
        assert!(code.starts_with("before\n") && code.ends_with("\nafter"), "{hidden} left {code:?}");
    }
}

#[test]
fn lifetimes_raw_identifiers_and_quotes_as_characters_hide_no_code() {
    for shown in ["&'a word", "r#word", "'\"' word", "'\\'' word", "b'\"' word", "for word", "'\\u{22}' word"] {
        assert!(code_only(shown).contains("word"), "{shown}");
    }
}

#[test]
fn tokens_carry_their_line() {
    let texts: Vec<(String, usize)> = tokens("use a::b;\n// c\nd").into_iter().map(|t| (t.text, t.line)).collect();
    let expected = [("use", 1), ("a", 1), ("::", 1), ("b", 1), (";", 1), ("d", 3)];
    assert_eq!(texts, expected.map(|(text, line)| (text.to_string(), line)));
}
