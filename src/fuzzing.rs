//! The fuzzers' door into the engine; it exists only under `--cfg fuzzing` and in tests.
//!
//! Not an interface: nothing here is stable, and nothing outside `fuzz/` calls it. The invariant it owns: whatever the
//! bytes, each function returns; a panic, a hang or more memory than the input justifies is a bug. Where a checksum
//! would keep an input from getting anywhere, it is made right first.
//!
//! | target | file | what the bytes are |
//! |---|---|---|
//! | `batch` | `batch` | record batches of any format |
//! | `codec` | `codec` | a codec's input, compressed and not |
//! | `legacy` | `legacy` | messages of formats 0 and 1, alone or in a wrapper |
//! | `index` | `index` | an offset index and a time index |
//! | `checkpoint` | `checkpoint` | Kafka's small text files |
//! | `state` | `state` | `kstore.state` |
//! | `cursors` | `cursors` | the commits of named cursors, and the log below them |
//! | `recover` | `directory` | all files of a directory |
//! | `operations` | `log/tests/model` | a configuration, operations, faults and crashes |

use crate::log::tests::model;
use crate::offset::Timestamp;
use crate::record::DecodeLimits;

mod batch;
mod checkpoint;
mod codec;
mod cursors;
mod directory;
mod index;
mod legacy;
mod state;

pub use batch::batch;
pub use checkpoint::checkpoint;
pub use codec::codec;
pub use cursors::cursors;
pub use directory::recover;
pub use index::index;
pub use legacy::legacy;
pub use state::state;

/// Runs operations, faults and crashes that the bytes choose, against a model.
pub fn operations(bytes: &[u8], _: Meter) {
    model::run_input(bytes);
}

/// More than any input needs, and little enough to be noticed if a decoder takes it.
const LIMITS: DecodeLimits = DecodeLimits { max_decompressed_bytes: UNFOLDED_BYTES as u64 };
const UNFOLDED_BYTES: usize = 1 << 20;
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Tells how much memory a call took. What the allocator knows is the caller's to say.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// The bytes in use; the peak counts from here on.
    pub restart: fn() -> usize,
    /// The most bytes that were in use since then.
    pub peak: fn() -> usize,
}

impl Meter {
    /// Measures nothing.
    pub const NONE: Meter = Meter { restart: || 0, peak: || 0 };

    /// Makes a call that may take this many bytes at its peak.
    fn within<T>(self, most_bytes: usize, call: impl FnOnce() -> T) -> T {
        let before = (self.restart)();
        let result = call();
        let taken = (self.peak)().saturating_sub(before);
        assert!(taken <= most_bytes, "{taken} bytes were taken where {most_bytes} would do");
        result
    }
}

/// The inputs are of all codecs.
#[cfg(all(test, feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]
mod tests;
