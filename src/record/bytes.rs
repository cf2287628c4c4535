//! The bytes of one batch in memory that others may share.
//!
//! What was read at once holds many batches; each of them, and each record of theirs, keeps it alive without a copy. The
//! invariant it owns: the bytes never change, for memory that is shared cannot be written to.

use std::ops::{Deref, Range};
use std::sync::Arc;

/// A part of what was read or unfolded. Cheap to clone.
#[derive(Clone)]
pub(crate) struct BatchBytes {
    memory: Arc<Vec<u8>>,
    part: Range<usize>,
}

impl BatchBytes {
    /// A part of shared memory; `None` if it does not lie in it.
    pub(crate) fn part(memory: &Arc<Vec<u8>>, part: Range<usize>) -> Option<BatchBytes> {
        memory.get(part.clone())?;
        Some(BatchBytes { memory: Arc::clone(memory), part })
    }

    /// How many bytes it keeps in memory.
    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory.len()
    }

    /// The bytes from `start` to before `end`, as far as they are among these.
    pub(super) fn within(mut self, start: usize, end: usize) -> BatchBytes {
        let end = self.part.end.min(self.part.start + end);
        self.part = end.min(self.part.start + start)..end;
        self
    }
}

impl From<Vec<u8>> for BatchBytes {
    fn from(bytes: Vec<u8>) -> BatchBytes {
        BatchBytes { part: 0..bytes.len(), memory: Arc::new(bytes) }
    }
}

impl Deref for BatchBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.memory[self.part.start..self.part.end]
    }
}

impl std::fmt::Debug for BatchBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchBytes").field("len", &self.part.len()).finish_non_exhaustive()
    }
}
