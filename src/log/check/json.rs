//! A report as lines of JSON, written by hand: a dozen fields do not justify a dependency.
//!
//! It knows no findings but through their names and texts. The invariant it owns: every line is one JSON object in
//! UTF-8, whatever bytes a path has.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

use super::report::{Finding, IntegrityReport};

impl IntegrityReport {
    /// The report as lines of JSON: one object for each finding, and one for the whole at the end.
    ///
    /// A finding has `severity`, `kind`, `path`, `position`, `offset` and `message`; `position` and `offset` may be null.
    /// A path that is not UTF-8 has its bytes beside it, in hexadecimal, as `path_bytes`. The last line has `clean`,
    /// `errors`, `warnings`, `left_out` and what was gone through.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        for finding in &self.findings {
            finding_line(&mut out, finding);
        }
        let checked = &self.checked;
        out.push('{');
        path_fields(&mut out, "dir", self.dir.as_os_str());
        for (name, flag) in [("clean", self.is_clean()), ("live", self.live)] {
            push(&mut out, format_args!(",\"{name}\":{flag}"));
        }
        for (name, number) in [
            ("errors", self.errors),
            ("warnings", self.warnings),
            ("left_out", self.left_out),
            ("log_start_offset", self.log_start_offset.value()),
            ("log_end_offset", self.log_end_offset.value()),
            ("segments", checked.segments),
            ("batches", checked.batches),
            ("records", checked.records),
            ("bytes", checked.bytes),
            ("offset_index_entries", checked.offset_index_entries),
            ("time_index_entries", checked.time_index_entries),
            ("transaction_index_entries", checked.transaction_index_entries),
            ("gaps", checked.gaps),
        ] {
            push(&mut out, format_args!(",\"{name}\":{number}"));
        }
        out.push_str("}\n");
        out
    }
}

fn finding_line(out: &mut String, finding: &Finding) {
    push(out, format_args!("{{\"severity\":\"{}\",\"kind\":\"{}\",", finding.severity, finding.what.name()));
    path_fields(out, "path", finding.path.as_os_str());
    for (name, number) in
        [("position", finding.position.map(|at| at.value())), ("offset", finding.offset.map(|at| at.value()))]
    {
        match number {
            Some(number) => push(out, format_args!(",\"{name}\":{number}")),
            None => push(out, format_args!(",\"{name}\":null")),
        }
    }
    out.push_str(",\"message\":");
    string(out, &finding.what.to_string());
    out.push_str("}\n");
}

fn path_fields(out: &mut String, name: &str, path: &OsStr) {
    push(out, format_args!("\"{name}\":"));
    string(out, &path.to_string_lossy());
    if path.to_str().is_none() {
        push(out, format_args!(",\"{name}_bytes\":\""));
        for byte in path.as_bytes() {
            push(out, format_args!("{byte:02x}"));
        }
        out.push('"');
    }
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            // Two more that JSON allows and JavaScript's line readers do not.
            control if control.is_control() || matches!(control, '\u{2028}' | '\u{2029}') => {
                push(out, format_args!("\\u{:04x}", u32::from(control)));
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes text");
}
