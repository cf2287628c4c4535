//! The documents beside the code, published here so that their links are checked and a reader of docs.rs has them.
//!
//! Each thing is said in one of them: [`design`] is for someone changing the engine, [`format`](mod@format) for someone
//! with a hex dump, [`recovery`] for someone at three in the morning, [`glossary`] for the words.

#[doc = include_str!("design.md")]
pub mod design {}

#[doc = include_str!("format.md")]
pub mod format {}

#[doc = include_str!("recovery.md")]
pub mod recovery {}

#[doc = include_str!("glossary.md")]
pub mod glossary {}

#[cfg(test)]
mod tests;
