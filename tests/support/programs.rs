//! The example programs, as tests run them: `cargo test` builds them beside the tests.
//!
//! `cargo test` builds all examples first; `cargo test --test NAME` does not, and runs what an earlier call left (see
//! `cargo build --examples`). The invariant it owns: programs and test are of one profile and one target folder.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// An example program, to be given arguments and run.
pub(crate) fn program(name: &str) -> Command {
    // The test lies in `deps/` of the profile's folder, the examples in `examples/`.
    let test = std::env::current_exe().expect("a test knows where it lies");
    let profile = test.ancestors().nth(2).expect("a test lies in a folder of a folder");
    let path: PathBuf = profile.join("examples").join(name);
    assert!(path.is_file(), "{} is missing; `cargo build --examples` makes it", path.display());
    Command::new(path)
}

/// Runs a program to its end with this standard input.
pub(crate) fn run(program: &mut Command, input: &[u8]) -> Output {
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("an example program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // Beside the program, for it may print before it has read everything, or end without having read it.
    let writer = std::thread::spawn(move || stdin.write_all(&input).is_ok());
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("writing to a pipe does not panic");
    output
}

/// The lines of a program's standard output.
pub(crate) fn lines(output: &Output) -> Vec<&str> {
    std::str::from_utf8(&output.stdout).expect("UTF-8").lines().collect()
}

/// What a program said on standard error.
pub(crate) fn complaint(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}
