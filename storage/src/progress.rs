//! How far a start is with reading the write-ahead logs, for whoever asks meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};

/// Segments of all logs together: how many there are to read, and how many were read. Shared by reference.
#[derive(Debug, Default)]
pub struct ReplayProgress {
    total: AtomicU64,
    done: AtomicU64,
}

impl ReplayProgress {
    /// Segments read and segments in all; both zero before the first log was opened.
    #[must_use]
    pub fn segments(&self) -> (u64, u64) {
        (
            self.done.load(Ordering::Relaxed),
            self.total.load(Ordering::Relaxed),
        )
    }

    pub(crate) fn expect(&self, segments: u64) {
        self.total.fetch_add(segments, Ordering::Relaxed);
    }

    pub(crate) fn finish_one(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}
