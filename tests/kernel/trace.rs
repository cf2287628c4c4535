//! What `strace -f -y` wrote, as system calls with a beginning and an end.
//!
//! It judges nothing. The invariant it owns: a call that another thread's interrupted in the trace is put together
//! again, and a line that is not understood is an error, never left out.

use std::collections::HashMap;

/// The options with which a trace can be read.
pub(crate) const OPTIONS: [&str; 6] = ["-f", "-y", "-a", "1", "-s", "48"];

/// One call that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) arguments: String,
    /// `0`, `36</a/file>`, `-1 EIO (Input/output error)`.
    pub(crate) result: String,
    /// The lines of the trace in which it began and ended.
    pub(crate) begin: usize,
    pub(crate) end: usize,
}

impl Call {
    pub(crate) fn succeeded(&self) -> bool {
        !self.result.starts_with('-') && !self.result.starts_with('?')
    }

    /// The path that the descriptor in the first argument leads to.
    pub(crate) fn file(&self) -> Option<&str> {
        let first = self.arguments.split(", ").next()?;
        behind_descriptor(first)
    }

    /// The path that the descriptor that it gave leads to.
    pub(crate) fn opened(&self) -> Option<&str> {
        behind_descriptor(&self.result)
    }

    /// The names among the arguments.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.arguments.split('"').skip(1).step_by(2).collect()
    }
}

/// Of `36</a/file>` the path.
fn behind_descriptor(text: &str) -> Option<&str> {
    let (number, path) = text.split_once('<')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let path = path.strip_suffix('>').or_else(|| path.split_once(">(deleted)").map(|(path, _)| path))?;
    is_number.then_some(path)
}

/// All calls, in the order in which they ended.
pub(crate) fn calls(trace: &str) -> Result<Vec<Call>, String> {
    let mut pending: HashMap<&str, (String, usize)> = HashMap::new();
    let mut calls = Vec::new();
    for (at, line) in trace.lines().enumerate() {
        let wrong = || format!("line {at} of the trace is not understood: {line}");
        let (thread, text) = line.split_once(' ').ok_or_else(wrong)?;
        let text = text.trim_start();
        if text.starts_with("+++") || text.starts_with("---") {
            continue;
        }
        if let Some(begun) = text.strip_suffix(" <unfinished ...>") {
            pending.insert(thread, (begun.to_owned(), at));
            continue;
        }
        let (whole, begin) = match text.strip_prefix("<... ") {
            Some(resumed) => {
                let (_, rest) = resumed.split_once(" resumed>").ok_or_else(wrong)?;
                let (begun, begin) = pending.remove(thread).ok_or_else(wrong)?;
                (format!("{begun}{rest}"), begin)
            }
            None => (text.to_owned(), at),
        };
        let (head, result) = whole.rsplit_once(") = ").ok_or_else(wrong)?;
        let (name, arguments) = head.split_once('(').ok_or_else(wrong)?;
        let (name, arguments, result) = (name.to_owned(), arguments.to_owned(), result.to_owned());
        calls.push(Call { name, arguments, result, begin, end: at });
    }
    Ok(calls)
}

#[test]
fn calls_are_read_and_put_together() {
    let trace = concat!(
        "7 openat(AT_FDCWD</tmp>, \"/tmp/a.log\", O_RDWR|O_CREAT, 0666) = 5</tmp/a.log>\n",
        "7 fdatasync(5</tmp/a.log> <unfinished ...>\n",
        "8 unlink(\"/tmp/) = b\") = -1 ENOENT (No such file or directory)\n",
        "7 <... fdatasync resumed>) = 0\n",
        "8 +++ exited with 0 +++\n",
    );
    let calls = calls(trace).expect("a sound trace");
    let facts: Vec<_> = calls.iter().map(|call| (call.name.as_str(), call.begin, call.end)).collect();
    assert_eq!(facts, [("openat", 0, 0), ("unlink", 2, 2), ("fdatasync", 1, 3)]);
    assert_eq!((calls[0].opened(), calls[0].names()), (Some("/tmp/a.log"), vec!["/tmp/a.log"]));
    assert_eq!((calls[2].file(), calls[2].succeeded()), (Some("/tmp/a.log"), true));
    assert!(!calls[1].succeeded() && calls[1].names() == ["/tmp/) = b"]);
}

#[test]
fn a_line_that_is_not_understood_is_an_error() {
    for trace in ["7 what is this\n", "7 <... fsync resumed>) = 0\n", "nonsense\n"] {
        assert!(calls(trace).is_err(), "{trace}");
    }
}
