//! The file of figures, and the judgement of new ones by it.
//!
//! It starts nothing but those who know their version. The invariant it owns: what is not in the file is never taken for
//! something that has not changed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;

/// A change up to this is none, of 1.
const TOLERANCE: f64 = 0.05;
/// A change of one instruction an operation is none, however few there were.
const LEAST_INSTRUCTIONS: f64 = 1.0;
/// Nor is one of so many system calls in all: a worker is woken once more, or a file opened earlier.
const LEAST_CALLS_IN_ALL: f64 = 5.0;
/// What the line begins with that says where the figures come from.
const TAKEN_WITH: &str = "taken with:";
/// What stands above the figures.
const HEAD: &str = "\
# What an operation of each hot path takes in instructions and in system calls (reading the clock is one of these under
# callgrind): counted, and compared with this, by `cargo bench --bench instructions`; `KSTORE_BLESS=1` writes it anew.
";

/// What an operation takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Counts {
    /// Instructions outside the kernel.
    pub(crate) instructions: f64,
    /// System calls.
    pub(crate) calls: f64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Counted {
    /// What each operation took.
    pub(crate) each: Counts,
    /// How many there were.
    pub(crate) operations: f64,
}

impl Counted {
    /// The smaller figures of two times the same.
    pub(crate) fn least(self, other: Counted) -> Counted {
        let instructions = self.each.instructions.min(other.each.instructions);
        Counted { each: Counts { instructions, calls: self.each.calls.min(other.each.calls) }, ..self }
    }
}

/// What stands in the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// The compiler and whatever else the figures depend on.
    pub(crate) taken_with: String,
    /// By the names of the paths.
    pub(crate) counts: BTreeMap<String, Counts>,
}

impl Figures {
    /// What a text says; `None` if it is no such file.
    pub(crate) fn parse(text: &str) -> Option<Figures> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let taken_with = lines.next()?.strip_prefix(TAKEN_WITH)?.trim().to_string();
        let mut counts = BTreeMap::new();
        for line in lines {
            let [name, instructions, calls] = line.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
            let found = Counts { instructions: instructions.parse().ok()?, calls: calls.parse().ok()? };
            if counts.insert(name.to_string(), found).is_some() {
                return None;
            }
        }
        Some(Figures { taken_with, counts })
    }

    /// The text of the file.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("{HEAD}{TAKEN_WITH} {}\n\n", self.taken_with);
        for (name, counts) in &self.counts {
            writeln!(text, "{name:<24} {:>12.1} {:>10.5}", counts.instructions, counts.calls)
                .expect("text takes whatever is written to it");
        }
        text
    }
}

/// What new figures are beside known ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// About the same.
    Same,
    /// Less, and no more of anything.
    Less,
    /// More instructions or more calls.
    More,
    /// There are none.
    Unknown,
}

/// Judges figures by those that are known.
pub(crate) fn judge(now: Counted, known: Option<Counts>) -> Verdict {
    let Some(known) = known else { return Verdict::Unknown };
    let all = [
        (now.each.instructions, known.instructions, LEAST_INSTRUCTIONS),
        (now.each.calls, known.calls, LEAST_CALLS_IN_ALL / now.operations),
    ];
    let moved = |(now, known, least): (f64, f64, f64)| {
        let bound = (known * TOLERANCE).max(least);
        if now > known + bound {
            Verdict::More
        } else if now < known - bound {
            Verdict::Less
        } else {
            Verdict::Same
        }
    };
    let verdicts = all.map(moved);
    let worst = [Verdict::More, Verdict::Less].into_iter().find(|verdict| verdicts.contains(verdict));
    worst.unwrap_or(Verdict::Same)
}

/// What figures depend on besides the code: compiler, target, C library, callgrind, what the processor offers to copy with.
///
/// # Errors
/// If one that must know cannot be started.
pub(crate) fn taken_with() -> super::Outcome<String> {
    let rustc = answer(&std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()), &["-vV"])?;
    let field = |name: &str| rustc.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let compiler = rustc.lines().next().unwrap_or_default().trim();
    let library = answer("getconf", &["GNU_LIBC_VERSION"]).unwrap_or_else(|_| "an unknown C library".into());
    let valgrind = answer("valgrind", &["--version"])?;
    let build = if cfg!(debug_assertions) { ", debug build" } else { "" };
    Ok(format!(
        "{compiler}, LLVM {}, {}, {}, {}, {}{build}",
        field("LLVM version:"),
        field("host:"),
        library.trim(),
        valgrind.trim(),
        processor(),
    ))
}

/// The C library copies memory with what there is.
fn processor() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        return "AVX2";
    }
    "no AVX2"
}

fn answer(program: &str, arguments: &[&str]) -> super::Outcome<String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program} ended with {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
