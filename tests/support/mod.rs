//! What the integration tests share. No tests here: each file under `tests/` takes what it needs.

pub(crate) mod dice;
pub(crate) mod golden;
pub(crate) mod lines;
pub(crate) mod programs;
pub(crate) mod promises;
pub(crate) mod tortured;
