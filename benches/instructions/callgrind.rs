//! This program, started again under callgrind, and what callgrind counted.
//!
//! Collecting is on only inside one function, and each thread has a file of its own, of which the first thread's is read:
//! what a worker does meanwhile is not counted. The invariant it owns: a run that failed, or of which nothing was
//! collected, is an error and no count.

use std::path::Path;
use std::process::{Command, Output};

use super::Outcome;
use super::figures::{Counted, Counts};

/// A part of the name of [`the_counted_part`].
const COUNTED: &str = "the_counted_part";
/// Copying and clearing by vectors, whatever the length: callgrind counts an instruction that repeats itself once for each
/// byte, and where glibc would use one depends on the processor's caches.
const TUNABLES: &str = "glibc.cpu.x86_rep_movsb_threshold=0x40000000:glibc.cpu.x86_rep_stosb_threshold=0x40000000:\
                        glibc.cpu.x86_non_temporal_threshold=0x40000000";
/// Behind the name of the file that callgrind writes, for the first thread.
const FIRST_THREAD: &str = "-01";

/// What callgrind counts, and nothing else.
#[inline(never)]
pub(crate) fn the_counted_part(part: &mut dyn FnMut() -> Outcome<()>) -> Outcome<()> {
    let outcome = part();
    // Something is left to do behind the call, or it would become a jump, and callgrind lose sight of the end.
    std::hint::black_box(outcome)
}

/// Whether valgrind can be started.
pub(crate) fn is_there() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Goes the path of this name in `dir`, under callgrind, and says what an operation took.
pub(crate) fn count(name: &str, dir: &Path) -> Outcome<Counted> {
    let file = dir.join("callgrind.out");
    let pattern = file.to_str().ok_or("the folder's name is no text")?.replace('%', "%%");
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--separate-threads=yes",
            "--collect-systime=yes",
            "--compress-strings=no",
            "--compress-pos=no",
        ])
        .arg(format!("--toggle-collect=*{COUNTED}*"))
        .arg(format!("--callgrind-out-file={pattern}"))
        .arg(std::env::current_exe()?)
        .args(["--run", name, "--dir"])
        .arg(dir)
        .env("GLIBC_TUNABLES", TUNABLES)
        .output()?;
    if !output.status.success() {
        return Err(format!("it ended with {}: {}", output.status, said(&output)).into());
    }
    let operations: f64 = std::str::from_utf8(&output.stdout)?.trim().parse()?;
    let text = std::fs::read_to_string(format!("{}{FIRST_THREAD}", file.display()))?;
    let sum = inclusive(&text).filter(|sum| sum.instructions > 0.0);
    let sum = sum.ok_or_else(|| format!("nothing was counted: {}", said(&output)))?;
    let each = Counts { instructions: sum.instructions / operations, calls: sum.calls / operations };
    Ok(Counted { each, operations })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What the counted function took, with all that it called; `None` if it is not there. System calls are collected everywhere,
/// so that the sums of the file are of no use.
pub(crate) fn inclusive(text: &str) -> Option<Counts> {
    let events: Vec<&str> = text.lines().find_map(|line| line.strip_prefix("events:"))?.split_whitespace().collect();
    let column = |name: &str| events.iter().position(|event| *event == name);
    let (instructions, calls) = (column("Ir")?, column("sysCount")?);
    let mut sum = None;
    let mut inside = false;
    for line in text.lines() {
        if let Some(function) = line.strip_prefix("fn=") {
            inside = function.contains(COUNTED);
        } else if inside && line.starts_with(|first: char| first.is_ascii_digit()) {
            // A line number, and what was collected there; behind the last that is not zero callgrind writes none.
            let numbers: Vec<f64> = line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>().ok()?;
            let sum = sum.get_or_insert(Counts { instructions: 0.0, calls: 0.0 });
            sum.instructions += numbers.get(instructions).unwrap_or(&0.0);
            sum.calls += numbers.get(calls).unwrap_or(&0.0);
        }
    }
    sum
}
