//! What can go wrong, said once: which file, which byte, which operation, what was expected, and what to do about it.
//!
//! One cloneable type, so that every waiter of a failed sync gets the same answer. Meaning comes from the call that
//! failed, never from `errno` alone: "no space" from a write is retried, from a sync it fails the log. The leaf that
//! parses bytes says what is wrong with a [`Corruption`]; the layer that holds the file adds where.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::offset::{Offset, Position};

mod corruption;
mod invalid;

pub use corruption::Corruption;
pub use invalid::{InvalidBatch, InvalidRecord};

/// The result of every fallible call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed. [`Error::kind`] says what to do about it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// A value of the configuration is outside its bounds, or contradicts another.
    InvalidConfig {
        /// The configuration's name, as the builder method is called.
        name: &'static str,
        /// The value that was given.
        value: Arc<str>,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// An offset outside the log was asked for.
    OffsetOutOfRange {
        /// The offset that was asked for.
        asked: Offset,
        /// The first offset of the log.
        start: Offset,
        /// One past the last offset that may be read.
        end: Offset,
    },
    /// What was being read, or was to become durable, was cut off by a truncation. The log may have grown again since.
    Truncated {
        /// The offset up to which the caller waited, or had read.
        asked: Offset,
        /// Where the truncation ended the log.
        end: Offset,
    },
    /// A batch is larger than `max_message_bytes` or than a segment may be.
    BatchTooLarge {
        /// Size of the encoded batch in bytes, its 12-byte framing included.
        size_bytes: u64,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// A record cannot be encoded.
    InvalidRecord {
        /// The record's place in the call, counted from 0.
        index: usize,
        /// What is wrong with it.
        reason: InvalidRecord,
    },
    /// An encoded batch handed to `append_batch` is not acceptable.
    InvalidBatch {
        /// Where in the handed bytes the batch, or the part of it at fault, begins.
        position: Position,
        /// What is wrong with it.
        reason: InvalidBatch,
    },
    /// The log did not end where `expect_log_end` said.
    UnexpectedLogEnd {
        /// The log end that the caller expected.
        expected: Offset,
        /// The log end that was found.
        actual: Offset,
    },
    /// What a leader wrote begins below the end of the log that follows.
    UnexpectedAppendOffset {
        /// The first offset of the append.
        first: Offset,
        /// The last offset of the append.
        last: Offset,
        /// One past the last offset of the log.
        log_end: Offset,
    },
    /// Batches of one call do not follow each other.
    OffsetsOutOfOrder {
        /// Where in the handed bytes the batch begins that is out of order.
        position: Position,
        /// Its first offset.
        first: Offset,
        /// The smallest that may stand there.
        expected: Offset,
    },
    /// A batch has an earlier leader epoch than a batch before it: its leader was replaced, or what it knows nothing of
    /// was not cut off.
    StaleLeaderEpoch {
        /// The batch's epoch.
        given: i32,
        /// The latest epoch of the batches before it.
        latest: i32,
    },
    /// The log would grow past the largest offset of the format, 2^63 − 1.
    OffsetsExhausted,
    /// A codec that this build was made without, or that the format does not know.
    UnsupportedCompression {
        /// The codec's number in the format.
        codec: u8,
    },
    /// Another handle, in this process or another, has the directory open.
    AlreadyOpen {
        /// The directory.
        path: Arc<Path>,
    },
    /// The directory lies inside a Kafka data directory, whose checkpoints a foreign write would falsify.
    BelongsToDataDirectory {
        /// The partition's directory.
        path: Arc<Path>,
        /// The file in its parent that says so.
        marker: &'static str,
    },
    /// The directory is not empty and holds nothing that makes it a log.
    NotALog {
        /// The directory.
        path: Arc<Path>,
        /// A file in it that is none of a log's.
        found: Arc<Path>,
    },
    /// Two files claim to be the same segment.
    DuplicateBaseOffset {
        /// The one name, with its path.
        path: Arc<Path>,
        /// The other name.
        other: Arc<str>,
    },
    /// A segment's file whose number is not written with twenty digits, so that Kafka would not find it either.
    MisnamedSegment {
        /// The file.
        path: Arc<Path>,
        /// The name it ought to have.
        expected: Arc<str>,
    },
    /// The handle was closed.
    Closed,
    /// The log was opened for reading only.
    ReadOnly,
    /// The receiver of `send_to` closed its end.
    PeerClosed,
    /// The system moves nothing from a file to this receiver: a file that is open for appending, a descriptor that is
    /// not open for writing, a socket without a peer.
    ReceiverRefused {
        /// The system's answer.
        cause: IoCause,
    },
    /// No room for a write or an allocation. The log is as it was before the call; once there is room it goes on.
    StorageFull {
        /// What was being done.
        operation: IoOp,
        /// To which file.
        path: Arc<Path>,
    },
    /// The append would take the log past `max_bytes`, and nothing may be deleted to make room for it. The log is as it
    /// was before the call; once there is room it goes on.
    LogFull {
        /// Bytes of the append.
        size_bytes: u64,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// The operating system refused an operation.
    Io {
        /// What was being done.
        operation: IoOp,
        /// To which file or directory.
        path: Arc<Path>,
        /// The system's answer.
        cause: IoCause,
    },
    /// An earlier write or sync failed, so nothing more can be promised until `reopen`.
    Failed {
        /// That first failure.
        cause: Arc<Error>,
    },
    /// Bytes on disk are not what was written there.
    Corrupt {
        /// The file.
        path: Arc<Path>,
        /// Where in the file.
        position: Position,
        /// What was expected and what was found.
        reason: Corruption,
    },
    /// There is damage below the durable mark, so appends are refused until `OnDamage` says how to go on.
    Damaged {
        /// The damaged file.
        path: Arc<Path>,
        /// Where the damage begins.
        position: Position,
        /// What was expected and what was found.
        reason: Corruption,
    },
    /// A cursor cannot have this name.
    InvalidCursorName {
        /// The name that was given.
        name: Arc<str>,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// More bytes of the caller's own than a commit of a cursor carries.
    MetadataTooLarge {
        /// Size of the metadata in bytes.
        size_bytes: usize,
        /// The most there may be, in bytes.
        limit_bytes: usize,
    },
    /// A cursor that may not be reset has no committed offset, or one below the log start.
    CursorOutOfRange {
        /// The cursor's name.
        name: Arc<str>,
        /// What was committed.
        committed: Option<Offset>,
        /// The first offset of the log.
        start: Offset,
    },
}

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The call or its arguments were wrong; the log is fine.
    Usage,
    /// The log is fine and unchanged; the same call may succeed later.
    Retry,
    /// The log acknowledges nothing more until `reopen` succeeds.
    Reopen,
    /// Stored bytes are damaged. What is not affected stays readable.
    Damage,
}

impl Error {
    /// Says what a caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::InvalidConfig { .. }
            | Error::OffsetOutOfRange { .. }
            | Error::BatchTooLarge { .. }
            | Error::InvalidRecord { .. }
            | Error::InvalidBatch { .. }
            | Error::UnexpectedLogEnd { .. }
            | Error::UnexpectedAppendOffset { .. }
            | Error::OffsetsOutOfOrder { .. }
            | Error::StaleLeaderEpoch { .. }
            | Error::OffsetsExhausted
            | Error::UnsupportedCompression { .. }
            | Error::AlreadyOpen { .. }
            | Error::BelongsToDataDirectory { .. }
            | Error::NotALog { .. }
            | Error::DuplicateBaseOffset { .. }
            | Error::MisnamedSegment { .. }
            | Error::Closed
            | Error::ReadOnly
            | Error::PeerClosed
            | Error::InvalidCursorName { .. }
            | Error::MetadataTooLarge { .. }
            | Error::CursorOutOfRange { .. }
            | Error::ReceiverRefused { .. }
            | Error::Truncated { .. } => ErrorKind::Usage,
            Error::StorageFull { .. } | Error::LogFull { .. } | Error::Io { .. } => ErrorKind::Retry,
            Error::Failed { .. } => ErrorKind::Reopen,
            Error::Corrupt { .. } | Error::Damaged { .. } => ErrorKind::Damage,
        }
    }

    /// An operation that the system refused. A write or an allocation without room is [`Error::StorageFull`].
    pub(crate) fn io(operation: IoOp, path: &Path, error: &io::Error) -> Error {
        let no_room = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        if no_room && operation.takes_room() {
            return Error::StorageFull { operation, path: path.into() };
        }
        Error::Io { operation, path: path.into(), cause: IoCause::of(error) }
    }

    /// A receiver that the system sends nothing to.
    pub(crate) fn receiver_refused(error: &io::Error) -> Error {
        Error::ReceiverRefused { cause: IoCause::of(error) }
    }

    /// Whether a sync failed, after which the page cache may show what the disk does not have (rule 17).
    pub(crate) fn is_failed_sync(&self) -> bool {
        matches!(self, Error::Io { operation: IoOp::Sync | IoOp::SyncDirectory, .. })
    }

    /// Bytes of a file that are not what was written there.
    pub(crate) fn corrupt(path: &Path, position: Position, reason: Corruption) -> Error {
        match reason {
            Corruption::CodecNotBuilt { codec } => Error::UnsupportedCompression { codec },
            reason => Error::Corrupt { path: path.into(), position, reason },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InvalidConfig { name, value, expected } => {
                write!(f, "configuration {name} is {value}, expected {expected}")
            }
            Error::OffsetOutOfRange { asked, start, end } => {
                write!(f, "offset {asked} is outside the log, which reaches from {start} to {end}")
            }
            Error::BatchTooLarge { size_bytes, limit_bytes } => {
                write!(f, "a batch of {size_bytes} bytes exceeds the limit of {limit_bytes}")
            }
            Error::InvalidRecord { index, reason } => write!(f, "record {index} of the call {reason}"),
            Error::InvalidBatch { position, reason } => write!(f, "the batch at byte {position} of the call {reason}"),
            Error::UnexpectedLogEnd { expected, actual } => {
                write!(f, "the log ends at {actual}, the caller expected {expected}")
            }
            Error::UnexpectedAppendOffset { first, last, log_end } => {
                write!(f, "the batches reach from {first} to {last}, the log ends at {log_end} already")
            }
            Error::OffsetsOutOfOrder { position, first, expected } => write!(
                f,
                "the batch at byte {position} of the call begins at offset {first}, expected {expected} or above"
            ),
            Error::StaleLeaderEpoch { given, latest } => {
                write!(f, "leader epoch {given} comes after epoch {latest}")
            }
            Error::OffsetsExhausted => write!(f, "the log has reached the largest offset of the format"),
            Error::UnsupportedCompression { codec } => {
                write!(f, "compression codec {codec} is unknown or was left out of this build")
            }
            Error::AlreadyOpen { path } => write!(f, "{} is already open", path.display()),
            Error::BelongsToDataDirectory { path, marker } => write!(
                f,
                "{} lies inside a Kafka data directory ({marker} in its parent) and cannot be opened alone for writing",
                path.display()
            ),
            Error::NotALog { path, found } => write!(
                f,
                "{} holds {} and no segment, kstore.state, leader-epoch-checkpoint or partition.metadata",
                path.display(),
                found.display()
            ),
            Error::DuplicateBaseOffset { path, other } => {
                write!(f, "{} and {other} name the same base offset", path.display())
            }
            Error::MisnamedSegment { path, expected } => {
                write!(f, "{} is a segment under a wrong name, expected {expected}", path.display())
            }
            Error::Closed => write!(f, "the log was closed"),
            Error::ReadOnly => write!(f, "the log was opened for reading only"),
            Error::PeerClosed => write!(f, "the receiver closed its end"),
            Error::ReceiverRefused { cause } => write!(f, "nothing can be sent to this receiver: {cause}"),
            Error::Truncated { asked, end } => {
                write!(f, "what lay below offset {asked} was cut off: the log was truncated to {end}")
            }
            Error::StorageFull { operation, path } => write!(f, "{operation} {}: no room", path.display()),
            Error::LogFull { size_bytes, limit_bytes } => {
                write!(f, "the log has no room for {size_bytes} bytes more within its limit of {limit_bytes}")
            }
            Error::Io { operation, path, cause } => write!(f, "{operation} {}: {cause}", path.display()),
            Error::Failed { cause } => write!(f, "the log failed earlier and must be reopened: {cause}"),
            Error::Corrupt { path, position, reason } => {
                write!(f, "{} is damaged at byte {position}: {reason}", path.display())
            }
            Error::Damaged { path, position, reason } => write!(
                f,
                "appends are refused, for {} is damaged at byte {position} below the durable mark: {reason}",
                path.display()
            ),
            Error::InvalidCursorName { name, expected } => {
                write!(f, "{name:?} is no name of a cursor, expected {expected}")
            }
            Error::MetadataTooLarge { size_bytes, limit_bytes } => {
                write!(f, "a commit of a cursor carries at most {limit_bytes} bytes of metadata, not {size_bytes}")
            }
            Error::CursorOutOfRange { name, committed: Some(committed), start } => {
                write!(f, "cursor {name} is at {committed}, the log begins at {start}")
            }
            Error::CursorOutOfRange { name, committed: None, start } => {
                write!(f, "cursor {name} has no committed offset in the log, which begins at {start}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Failed { cause } => Some(cause.as_ref()),
            _ => None,
        }
    }
}

/// What the operating system was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each name is the whole story")]
pub enum IoOp {
    Open,
    Create,
    CreateDirectory,
    Read,
    Write,
    Allocate,
    SetLength,
    Sync,
    SyncDirectory,
    Map,
    Rename,
    Remove,
    List,
    Inspect,
    Lock,
    Send,
    StartThread,
}

impl IoOp {
    /// Whether running out of room is an expected, harmless answer to this operation.
    fn takes_room(self) -> bool {
        matches!(
            self,
            IoOp::Write | IoOp::Allocate | IoOp::Create | IoOp::CreateDirectory | IoOp::SetLength | IoOp::Rename
        )
    }
}

impl fmt::Display for IoOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IoOp::Open => "opening",
            IoOp::Create => "creating",
            IoOp::CreateDirectory => "creating the directory",
            IoOp::Read => "reading",
            IoOp::Write => "writing",
            IoOp::Allocate => "allocating room in",
            IoOp::SetLength => "setting the length of",
            IoOp::Sync => "syncing",
            IoOp::SyncDirectory => "syncing the directory",
            IoOp::Map => "mapping",
            IoOp::Rename => "renaming",
            IoOp::Remove => "removing",
            IoOp::List => "listing",
            IoOp::Inspect => "inspecting",
            IoOp::Lock => "locking",
            IoOp::Send => "sending from",
            IoOp::StartThread => "starting a thread for",
        })
    }
}

/// The operating system's answer, small and cloneable where `std::io::Error` is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoCause {
    kind: io::ErrorKind,
    code: Option<i32>,
}

impl IoCause {
    fn of(error: &io::Error) -> IoCause {
        IoCause { kind: error.kind(), code: error.raw_os_error() }
    }

    /// The error's kind, as the standard library groups them.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.kind
    }

    /// The system's error number, where there was one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.code
    }
}

impl fmt::Display for IoCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => io::Error::from_raw_os_error(code).fmt(f),
            None => self.kind.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stays_small_cloneable_and_sendable() {
        fn shared<T: Clone + Send + Sync + 'static>() {}
        shared::<Error>();
        assert!(size_of::<Error>() <= 72, "{}", size_of::<Error>());
        assert!(size_of::<Corruption>() <= 40, "{}", size_of::<Corruption>());
    }

    #[test]
    fn no_room_means_retry_from_a_write_and_something_else_from_a_sync() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let path = Path::new("x.log");
        assert!(matches!(Error::io(IoOp::Write, path, &full), Error::StorageFull { .. }));
        assert!(matches!(Error::io(IoOp::Allocate, path, &full), Error::StorageFull { .. }));
        assert!(matches!(Error::io(IoOp::Sync, path, &full), Error::Io { .. }));
    }

    #[test]
    fn an_error_names_file_position_and_what_was_expected() {
        let error = Error::corrupt(
            Path::new("d/00000000000000000000.log"),
            Position::new(61),
            Corruption::Crc { stored: 1, computed: 0xabc },
        );
        assert_eq!(
            error.to_string(),
            "d/00000000000000000000.log is damaged at byte 61: the checksum is 00000001, the bytes give 00000abc"
        );
        assert_eq!(error.kind(), ErrorKind::Damage);
    }
}
