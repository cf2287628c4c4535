//! The bytes of a commit in the cursors' log: what a record of it says about one cursor.
//!
//! The key of such a record is the cursor's name; no value means that the cursor was deleted. It knows neither files nor
//! the log that is committed to. The invariant it owns: any bytes give a change or a typed reason.
//!
//! ```text
//! value   = version: u8 (1) · kind: u8 (0 add, 1 replace) · commit*    one to add; any number that replace all before
//! commit  = flags: u8 (1 has a mark, 2 made with a batch, 4 has metadata) · next offset: u64 · mark · metadata, if flagged
//! mark    = base offset: u64 · next offset: u64 · checksum: u32
//! metadata = length: u16 · bytes                                      numbers are big-endian
//! ```

use std::sync::Arc;

use crate::error::Corruption;
use crate::offset::Offset;
use crate::record::BatchHeader;

/// The most that a commit carries for its caller, in bytes: as in Kafka (`offset.metadata.max.bytes`).
pub(super) const MAX_METADATA_BYTES: usize = 4096;
const VERSION: u8 = 1;
const ADD: u8 = 0;
const REPLACE: u8 = 1;
const HAS_MARK: u8 = 1;
const WITH_BATCH: u8 = 2;
const HAS_METADATA: u8 = 4;

/// A batch that a commit rests on: while it stands in the log, everything below it is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchMark {
    pub(super) base_offset: Offset,
    pub(super) next_offset: Offset,
    pub(super) crc: u32,
}

impl BatchMark {
    pub(super) fn of(header: &BatchHeader) -> BatchMark {
        BatchMark { base_offset: header.offset_field, next_offset: header.next_offset(), crc: header.crc }
    }
}

/// Everything below `next_offset` was dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) next_offset: Offset,
    /// `None` where nothing lies below the offset that could be named.
    pub(super) mark: Option<BatchMark>,
    /// The mark is the batch that the commit was made with, not the one below its offset.
    pub(super) with_batch: bool,
    /// What the caller wants to find again with it; at most [`MAX_METADATA_BYTES`].
    pub(super) metadata: Option<Arc<[u8]>>,
}

impl Commit {
    /// One that says nothing but an offset.
    pub(super) fn plain(next_offset: Offset, mark: Option<BatchMark>) -> Commit {
        Commit { next_offset, mark, with_batch: false, metadata: None }
    }
}

/// What a record says about its cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Add(Commit),
    Replace(Vec<Commit>),
}

impl Change {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, commits) = match self {
            Change::Add(commit) => (ADD, std::slice::from_ref(commit)),
            Change::Replace(commits) => (REPLACE, commits.as_slice()),
        };
        let mut bytes = vec![VERSION, kind];
        for commit in commits {
            let has_mark = if commit.mark.is_some() { HAS_MARK } else { 0 };
            let has_metadata = if commit.metadata.is_some() { HAS_METADATA } else { 0 };
            bytes.push(has_mark | has_metadata | if commit.with_batch { WITH_BATCH } else { 0 });
            bytes.extend(commit.next_offset.value().to_be_bytes());
            if let Some(mark) = commit.mark {
                bytes.extend(mark.base_offset.value().to_be_bytes());
                bytes.extend(mark.next_offset.value().to_be_bytes());
                bytes.extend(mark.crc.to_be_bytes());
            }
            if let Some(metadata) = &commit.metadata {
                let length = u16::try_from(metadata.len()).expect("the length of metadata was checked");
                bytes.extend(length.to_be_bytes());
                bytes.extend(metadata.iter());
            }
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Change, Corruption> {
        let mut rest = Bytes(bytes);
        if rest.u8()? != VERSION {
            return Err(Corruption::Content { expected: "a commit of a cursor in version 1" });
        }
        let kind = rest.u8()?;
        let mut commits = Vec::new();
        while !rest.0.is_empty() {
            commits.push(rest.commit()?);
        }
        match (kind, commits.as_slice()) {
            (ADD, [commit]) => Ok(Change::Add(commit.clone())),
            (REPLACE, _) => Ok(Change::Replace(commits)),
            _ => Err(Corruption::Content { expected: "one commit of a cursor, or all of them" }),
        }
    }
}

/// What is left of a value.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Corruption> {
        let (taken, rest) =
            self.0.split_first_chunk::<N>().ok_or(Corruption::Content { expected: "a whole commit of a cursor" })?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Corruption> {
        let [byte] = self.take()?;
        Ok(byte)
    }

    fn offset(&mut self) -> Result<Offset, Corruption> {
        let offset = Offset::new(u64::from_be_bytes(self.take()?));
        if offset <= Offset::MAX {
            Ok(offset)
        } else {
            Err(Corruption::Content { expected: "an offset of the format" })
        }
    }

    fn commit(&mut self) -> Result<Commit, Corruption> {
        let flags = self.u8()?;
        let needs_mark = flags & WITH_BATCH != 0;
        if flags & !(HAS_MARK | WITH_BATCH | HAS_METADATA) != 0 || needs_mark && flags & HAS_MARK == 0 {
            return Err(Corruption::Content { expected: "the flags of a commit of a cursor" });
        }
        let next_offset = self.offset()?;
        let mark = if flags & HAS_MARK == 0 { None } else { Some(self.mark()?) };
        let metadata = if flags & HAS_METADATA == 0 { None } else { Some(self.metadata()?) };
        Ok(Commit { next_offset, mark, with_batch: needs_mark, metadata })
    }

    fn metadata(&mut self) -> Result<Arc<[u8]>, Corruption> {
        let length = usize::from(u16::from_be_bytes(self.take()?));
        let split = self.0.split_at_checked(length).filter(|_| length <= MAX_METADATA_BYTES);
        let (metadata, rest) = split.ok_or(Corruption::Content { expected: "the metadata of a commit of a cursor" })?;
        self.0 = rest;
        Ok(metadata.into())
    }

    fn mark(&mut self) -> Result<BatchMark, Corruption> {
        let (base_offset, next_offset) = (self.offset()?, self.offset()?);
        if next_offset == Offset::ZERO {
            return Err(Corruption::Content { expected: "a batch that ends above offset 0" });
        }
        Ok(BatchMark { base_offset, next_offset, crc: u32::from_be_bytes(self.take()?) })
    }
}

/// A value as it is written again, if it can be read: what the fuzzers ask.
#[cfg(any(fuzzing, test))]
pub(crate) fn value_again(bytes: &[u8]) -> Option<Vec<u8>> {
    Change::decode(bytes).ok().map(|change| change.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(next: u64, marked: bool, with_batch: bool) -> Commit {
        let mark = BatchMark { base_offset: Offset::new(3), next_offset: Offset::new(9), crc: 0xdead_beef };
        Commit { next_offset: Offset::new(next), mark: marked.then_some(mark), with_batch, metadata: None }
    }

    fn described(next: u64, metadata: &[u8]) -> Commit {
        Commit { metadata: Some(metadata.into()), ..commit(next, true, true) }
    }

    fn changes() -> [Change; 7] {
        [
            Change::Add(described(7, b"page 12")),
            Change::Replace(vec![described(1, b""), described(2, &[7; MAX_METADATA_BYTES]), commit(3, false, false)]),
            Change::Add(commit(7, true, false)),
            Change::Add(commit(7, true, true)),
            Change::Add(commit(0, false, false)),
            Change::Replace(vec![commit(1, false, false), commit(Offset::MAX.value(), true, true)]),
            Change::Replace(Vec::new()),
        ]
    }

    #[test]
    fn a_change_reads_back_as_it_was_written_and_has_these_bytes() {
        for change in changes() {
            assert_eq!(Change::decode(&change.encode()), Ok(change));
        }
        let bytes = Change::Add(commit(7, true, true)).encode();
        let described = Change::Add(described(7, b"ab")).encode();
        assert_eq!(described[2], 7);
        assert_eq!(described[3..31], bytes[3..]);
        assert_eq!(described[31..], *b"\0\x02ab");
        let expected = [&[1, 0, 3][..], &[0, 0, 0, 0, 0, 0, 0, 7], &[0, 0, 0, 0, 0, 0, 0, 3]].concat();
        assert_eq!(bytes[..19], expected);
        assert_eq!(bytes[19..], [0, 0, 0, 0, 0, 0, 0, 9, 0xde, 0xad, 0xbe, 0xef]);
    }

    #[test]
    fn every_shortened_or_foreign_value_is_a_typed_reason() {
        for change in changes() {
            let bytes = change.encode();
            for end in 0..bytes.len() {
                // All that a shortened value may still be is a replacement by fewer commits.
                match Change::decode(&bytes[..end]) {
                    Err(Corruption::Content { .. }) => {}
                    other => assert!(matches!(other, Ok(Change::Replace(_))), "{change:?} cut at {end}: {other:?}"),
                }
            }
        }
        for bytes in [
            &b"\x02\0"[..],
            b"\x01\x02",
            b"\x01\0\x08",
            b"\x01\0\x06\0\0\0\0\0\0\0\0\0\0",
            b"\x01\0\x04\0\0\0\0\0\0\0\0\0\x02a",
            b"\x01\0\x02\0\0\0\0\0\0\0\0",
            b"\x01\x01\0\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(matches!(Change::decode(bytes), Err(Corruption::Content { .. })), "{bytes:?}");
        }
    }
}
