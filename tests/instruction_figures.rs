//! The judgement of instruction counts, tested: `benches/instructions` itself is no test.
//!
//! It counts nothing. The invariant it owns: what the bench would let pass, or not, is known without valgrind.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this starts programs")]

use figures::{Counted, Counts, Figures, Verdict};

#[path = "../benches/instructions/callgrind.rs"]
#[allow(dead_code, reason = "the bench uses all of it")]
mod callgrind;
#[path = "../benches/instructions/figures.rs"]
#[allow(dead_code, reason = "the bench uses all of it")]
mod figures;

/// As in the bench.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn counts(instructions: f64, calls: f64) -> Counts {
    Counts { instructions, calls }
}

/// The verdict on what a thousand operations took.
fn judge(each: Counts, known: Option<Counts>) -> Verdict {
    figures::judge(Counted { each, operations: 1000.0 }, known)
}

#[test]
fn five_per_cent_more_of_anything_is_more_and_less_of_all_is_less() {
    let known = Some(counts(1000.0, 2.0));
    for (now, verdict) in [
        (counts(1000.0, 2.0), Verdict::Same),
        (counts(1049.0, 2.0), Verdict::Same),
        (counts(1051.0, 2.0), Verdict::More),
        (counts(1000.0, 2.11), Verdict::More),
        (counts(500.0, 2.11), Verdict::More),
        (counts(951.0, 1.91), Verdict::Same),
        (counts(949.0, 2.0), Verdict::Less),
        (counts(1000.0, 1.0), Verdict::Less),
    ] {
        assert_eq!(judge(now, known), verdict, "{now:?}");
    }
    assert_eq!(judge(counts(1.0, 0.0), None), Verdict::Unknown);
}

#[test]
fn some_calls_where_there_were_none_are_more() {
    assert_eq!(judge(counts(100.0, 0.0051), Some(counts(100.0, 0.0))), Verdict::More);
    assert_eq!(judge(counts(100.9, 0.0049), Some(counts(100.0, 0.0))), Verdict::Same);
    // One more in each batch of 150 records.
    assert_eq!(judge(counts(100.0, 3.0 / 150.0), Some(counts(100.0, 2.0 / 150.0))), Verdict::More);
}

#[test]
fn the_file_says_again_what_was_written_to_it() {
    let counts = [("append".to_string(), counts(812.5, 1.125)), ("scan".to_string(), counts(7.0, 0.0))];
    let figures = Figures { taken_with: "rustc 1, LLVM 2".into(), counts: counts.into() };
    assert_eq!(Figures::parse(&figures.render()), Some(figures));
}

#[test]
fn what_is_no_file_of_figures_is_refused() {
    for text in
        ["", "append 1 2", "taken with: x\nappend 1", "taken with: x\nappend 1 y", "taken with: x\na 1 2\na 1 2"]
    {
        assert_eq!(Figures::parse(text), None, "{text:?}");
    }
}

#[test]
fn the_figures_of_the_tree_can_be_read() {
    assert!(
        Figures::parse(include_str!("../benches/instructions/figures.txt"))
            .is_some_and(|figures| !figures.counts.is_empty())
    );
}

#[test]
fn only_the_counted_function_counts_and_what_it_calls() {
    let text = "events: Ir sysCount sysTime\nfn=elsewhere\n10 5000 7 1\n\nfl=x\nfn=bench::the_counted_part\n12 30\ncfn=work\n\
                calls=1 40\n13 2000 4 9\nfi=y\n14 3 0\n\nfn=work\n40 2000 4 9\ncalls=1 12\n41 77\ntotals: 7000 11 10\n";
    assert_eq!(callgrind::inclusive(text), Some(counts(2033.0, 4.0)));
    assert_eq!(callgrind::inclusive("events: Ir sysCount\nfn=work\n40 2000 4\n"), None);
    assert_eq!(callgrind::inclusive("fn=bench::the_counted_part\n12 30\n"), None);
}
