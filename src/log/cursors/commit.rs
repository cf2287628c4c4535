//! Commits of cursors that are one with an append to the same log, and the bytes that a commit carries for its caller.
//!
//! How the two become one stands in `book`. The invariant it owns: a commit that is refused for what it is, a name or too
//! much metadata, is refused before anything is written.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::log::Log;
use crate::log::options::{AppendOptions, Appended};
use crate::offset::Offset;
use crate::record::Record;

use super::book::NewCommit;
use super::checked;
use super::record::MAX_METADATA_BYTES;

/// A commit of a cursor that is to be one with an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct CursorCommit<'a> {
    name: &'a str,
    next_offset: Offset,
    metadata: Option<&'a [u8]>,
}

impl<'a> CursorCommit<'a> {
    /// Everything below `next_offset` was dealt with.
    pub fn new(name: &'a str, next_offset: Offset) -> CursorCommit<'a> {
        CursorCommit { name, next_offset, metadata: None }
    }

    /// With bytes of the caller's own, at most 4,096: where he is in something else, say. Only the last commit's are kept.
    pub fn metadata(mut self, metadata: &'a [u8]) -> CursorCommit<'a> {
        self.metadata = Some(metadata);
        self
    }

    fn checked(self) -> Result<NewCommit> {
        let metadata = self.metadata.map(checked_metadata).transpose()?;
        Ok(NewCommit { name: checked(self.name)?, next_offset: self.next_offset, metadata })
    }
}

impl<'a> From<(&'a str, Offset)> for CursorCommit<'a> {
    fn from((name, next_offset): (&'a str, Offset)) -> CursorCommit<'a> {
        CursorCommit::new(name, next_offset)
    }
}

impl Log {
    /// Appends records as one batch, and commits cursors of this log with it: after a crash the batch is there and the
    /// commits count, or neither. What a consumer makes of the records up to an offset goes back into the log exactly
    /// once. Each offset may reach to the end of the batch itself. A commit is a name and an offset, or a [`CursorCommit`].
    ///
    /// The end of the process never parts the two. A power cut does not either if the append is durable, by
    /// [`AppendOptions::sync`] or under [`SyncPolicy::Always`](crate::SyncPolicy::Always): the commit is synced before
    /// the batch is written, while other appends wait. Nor does it once the log was synced. In between, a power cut may
    /// keep a batch that was not synced and lose its commits.
    ///
    /// Without records there is nothing to be one with, and the cursors are committed as by [`NamedCursor::commit`].
    ///
    /// [`NamedCursor::commit`]: super::NamedCursor::commit
    ///
    /// # Errors
    /// As [`Log::append_with`] and [`NamedCursor::commit`]; then nothing was appended or committed, unless it is
    /// `Failed`: the batch may be there then, and if it is, the commits count.
    pub fn append_and_commit<'c>(
        &self,
        options: &AppendOptions,
        records: &[Record<'_>],
        commits: &[impl Into<CursorCommit<'c>> + Copy],
    ) -> Result<Appended> {
        let commits = all_checked(commits)?;
        self.shared().make_room_for_commits()?;
        let appended = self.shared().append_with_commits(options, records, &commits)?;
        if records.is_empty() {
            self.shared().commit_cursors(&commits)?;
        }
        Ok(appended)
    }

    /// As [`Log::append_and_commit`], of a client's encoded batches as [`Log::append_batch`] takes them. Of several, the
    /// commits are one with the last.
    ///
    /// [`NamedCursor::commit`]: super::NamedCursor::commit
    ///
    /// # Errors
    /// As [`Log::append_batch`] and [`NamedCursor::commit`].
    pub fn append_batch_and_commit<'c>(
        &self,
        options: &AppendOptions,
        encoded: &[u8],
        commits: &[impl Into<CursorCommit<'c>> + Copy],
    ) -> Result<Appended> {
        let commits = all_checked(commits)?;
        self.shared().make_room_for_commits()?;
        self.shared().append_batch(options, encoded, &commits)
    }
}

fn all_checked<'c>(commits: &[impl Into<CursorCommit<'c>> + Copy]) -> Result<Vec<NewCommit>> {
    commits.iter().map(|&commit| commit.into().checked()).collect()
}

pub(super) fn checked_metadata(metadata: &[u8]) -> Result<Arc<[u8]>> {
    if metadata.len() > MAX_METADATA_BYTES {
        return Err(Error::MetadataTooLarge { size_bytes: metadata.len(), limit_bytes: MAX_METADATA_BYTES });
    }
    Ok(metadata.into())
}
