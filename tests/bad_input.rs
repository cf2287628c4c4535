//! What the world does wrong, and what kstore says to it: a typed error that names the file, the position and what was
//! expected, in words for a person at three in the morning; and the log stays usable for what is not affected.
//!
//! | module | what is wrong |
//! |---|---|
//! | `client_batches` | encoded batches handed to `append_batch` |
//! | `planted` | bytes in a `.log` |
//! | `directories` | names, markers, locks, links |
//! | `shortened` | files that end too early |
//! | `system` | permission, room, descriptors, clocks |
//! | `usage` | calls and configurations |
//!
//! The invariant it owns: nothing that holds records of the log is deleted or cut but a torn tail.

#![allow(clippy::disallowed_methods, reason = "the seam is for the engine; this prepares directories")]
#![allow(dead_code, reason = "each test takes what it needs of the shared support")]

#[path = "bad_input/client_batches.rs"]
mod client_batches;
#[path = "bad_input/directories.rs"]
mod directories;
#[path = "bad_input/planted.rs"]
mod planted;
#[path = "bad_input/shortened.rs"]
mod shortened;
#[path = "bad_input/system.rs"]
mod system;
#[path = "bad_input/usage.rs"]
mod usage;

#[path = "support/bytes.rs"]
mod bytes;
#[path = "support/site.rs"]
mod site;
