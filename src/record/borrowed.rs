//! A record as a caller hands it over: borrowed, with everything but key and value optional.

use std::fmt;

use super::decode::HeadersIter;
use crate::offset::Timestamp;

/// A record to be appended. It borrows its key, value and headers.
///
/// ```
/// use kstore::{Record, Timestamp};
///
/// let paid = Record::new("o-7", "paid").timestamp(Timestamp::from_millis(1_700_000_000_000));
/// let gone = Record::tombstone("o-3");
/// let bytes = Record::value(&[1, 2, 3]);
/// let traced = paid.headers(&[("trace", Some(b"7f")), ("sampled", None)]);
/// # let _ = (gone, bytes, traced);
/// ```
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: Headers<'a>,
    pub(super) timestamp: Option<Timestamp>,
}

/// Headers to be written: pairs of the caller, or the encoded ones of a stored record, which need no second encoding.
#[derive(Clone, Copy)]
pub(super) enum Headers<'a> {
    Pairs(&'a [(&'a str, Option<&'a [u8]>)]),
    Encoded { count: u32, bytes: &'a [u8] },
}

impl<'a> Record<'a> {
    /// A record with a key and a value.
    #[must_use]
    pub fn new<K, V>(key: &'a K, value: &'a V) -> Record<'a>
    where
        K: AsRef<[u8]> + ?Sized,
        V: AsRef<[u8]> + ?Sized,
    {
        Record::from_parts(Some(key.as_ref()), Some(value.as_ref()))
    }

    /// A record without a key.
    #[must_use]
    pub fn value<V: AsRef<[u8]> + ?Sized>(value: &'a V) -> Record<'a> {
        Record::from_parts(None, Some(value.as_ref()))
    }

    /// A record that says its key is gone: compaction drops what came before it, and in time the tombstone too.
    #[must_use]
    pub fn tombstone<K: AsRef<[u8]> + ?Sized>(key: &'a K) -> Record<'a> {
        Record::from_parts(Some(key.as_ref()), None)
    }

    /// A record of a key and a value either of which may be null, which is not the same as empty.
    #[must_use]
    pub const fn from_parts(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Record<'a> {
        Record { key, value, headers: Headers::Pairs(&[]), timestamp: None }
    }

    /// The record with these headers, in this order; names may repeat, values may be null.
    #[must_use]
    pub const fn headers(mut self, headers: &'a [(&'a str, Option<&'a [u8]>)]) -> Record<'a> {
        self.headers = Headers::Pairs(headers);
        self
    }

    /// The record with this create time. Without one it gets the time of the append.
    #[must_use]
    pub const fn timestamp(mut self, timestamp: Timestamp) -> Record<'a> {
        self.timestamp = Some(timestamp);
        self
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("timestamp", &self.timestamp)
            .field("key", &self.key.map(Bytes))
            .field("value", &self.value.map(Bytes))
            .field("headers", &self.headers)
            .finish()
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        match *self {
            Headers::Pairs(pairs) => list.entries(pairs.iter().map(|(name, value)| (name, value.map(Bytes)))),
            Headers::Encoded { count, bytes } => {
                list.entries(HeadersIter::new(count, bytes).map(|(name, value)| (name, value.map(Bytes))))
            }
        }
        .finish()
    }
}

/// Bytes that are mostly text, shown as such.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}
