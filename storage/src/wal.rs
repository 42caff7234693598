//! The write-ahead log of one signal: requests as they came in, framed, numbered and checked.
//!
//! ```text
//!  wal/<signal>/<first sequence number, 20 digits>.wal
//!
//!  segment  ┌───────────────────┬────────────┬──────────────────┬──────────┬──────────┬─────┐
//!           │ magic "TRILOWAL"  │ version u32│ first seq u64    │ record   │ record   │ 0 … │
//!           └───────────────────┴────────────┴──────────────────┴──────────┴──────────┴─────┘
//!  record   ┌────────┬─────────┬─────────┬─────────┬───────────┬──────────────┬───────────┐
//!   header  │ len u32│ crc u32 │ seq u64 │ kind u8 │ version u8│ tenant len u16│ flags u32 │
//!           ├────────┴─────────┼─────────┴─────────┴───────────┴──────────────┴───────────┘
//!           │ received_ms i64  │ refused len u32 │
//!           ├──────────────────┴───┬─────────────┴────────────────┬─────────────────────────┐
//!   body    │ tenant               │ refused (LEB128 differences) │ payload                 │
//!           └──────────────────────┴──────────────────────────────┴─────────────────────────┘
//! ```
//!
//! Integers are little-endian. `len` counts the bytes after the CRC; the CRC-32C runs over the payload first
//! and then over everything from `seq` to the end of `refused`, so that the long part is summed before the lock is
//! taken. Behind the last record a segment holds zeros: it is allocated ahead, so that a full disk is met before a
//! record is written. What a record means is known to the program only.
//!
//! Invariants: sequence numbers ascend as they are written, and a gap is the number of a deletion, which is no record; a record is acknowledged after its
//! last byte was handed to the system; after a write or fsync that failed nothing is acknowledged any more.

mod record;
mod segment;
mod sync;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::progress::ReplayProgress;
pub(crate) use record::WalRecord;
pub(crate) use writer::Wal;

/// Settings of a log.
#[derive(Clone, Debug)]
pub(crate) struct WalOptions {
    /// Folder of the segments.
    pub(crate) dir: PathBuf,
    /// Longest time between an acknowledged write and its fsync; zero syncs before each answer.
    pub(crate) sync_interval: Duration,
    /// Size from which on a new segment is started.
    pub(crate) segment_bytes: u64,
    /// A segment is allocated ahead in steps of this size.
    pub(crate) step_bytes: u64,
    /// Told how far a replay is.
    pub(crate) progress: Arc<ReplayProgress>,
}

impl WalOptions {
    /// The sizes of a real store: segments small enough to go soon after a cut and to be read whole,
    /// steps that cost a system call every few thousand records.
    pub(crate) fn new(
        dir: PathBuf,
        sync_interval: Duration,
        progress: Arc<ReplayProgress>,
    ) -> Self {
        Self {
            dir,
            sync_interval,
            segment_bytes: 32 << 20,
            step_bytes: 4 << 20,
            progress,
        }
    }
}

/// What a replay found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplayStats {
    /// Whole records.
    pub(crate) records: u64,
    /// Places where a record could not be read and was skipped.
    pub(crate) corrupt: u64,
    /// Bytes cut off behind the last whole record.
    pub(crate) torn_bytes: u64,
}

#[cfg(test)]
mod tests;
