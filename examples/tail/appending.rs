//! Standard input into the log, on a thread of its own, while another one follows the log.
//!
//! The invariant it owns: the tailer is stopped only when nothing is appended any more, so that what is in the log then
//! is all there is.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this is a program that uses it")]

use std::thread::JoinHandle;

use kstore::{Log, StopHandle};

use super::input::Input;

pub(crate) struct Appending {
    /// What went wrong, told as text: that is all that becomes of it.
    thread: JoinHandle<Result<(), String>>,
}

impl Appending {
    /// Appends lines until standard input ends or an append fails, and stops the tailer then. Where the program ends
    /// sooner it does not wait for this thread, which may be reading.
    pub(crate) fn start(log: &Log, tailer: StopHandle) -> Result<Appending, String> {
        let mut input = Input::new().map_err(|error| format!("standard input: {error}"))?;
        let log = log.clone();
        let thread = std::thread::spawn(move || {
            let outcome = loop {
                match input.append_to(&log) {
                    Ok(true) => {}
                    Ok(false) => break Ok(()),
                    Err(error) => break Err(error.to_string()),
                }
            };
            tailer.stop();
            outcome
        });
        Ok(Appending { thread })
    }

    /// What became of it; waits for its end.
    pub(crate) fn outcome(self) -> Result<(), String> {
        self.thread.join().unwrap_or_else(|_| Err("the thread that appends panicked".into()))
    }
}
