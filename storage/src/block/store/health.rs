//! Whether a bucket can be reached, and how often it was asked.
//!
//! Once a request has failed for good, others fail at once instead of waiting one behind the other, until a probe gets
//! through. Local disk is never taken for unreachable.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

/// What is asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Reading an object, or a part of one.
    Get,
    /// Writing an object.
    Put,
    /// Listing objects.
    List,
    /// Removing an object.
    Delete,
}

impl Operation {
    pub(crate) const ALL: [Self; 4] = [Self::Get, Self::Put, Self::List, Self::Delete];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

/// How often one operation was tried, and how often that failed.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    pub(crate) all: AtomicU64,
    pub(crate) failed: AtomicU64,
}

/// Since when a bucket cannot be reached, and why.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    pub(crate) since: Instant,
    pub(crate) reason: String,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Health {
    outage: Mutex<Option<Outage>>,
    tries: [Tries; 4],
    pub(crate) uploaded_bytes: AtomicU64,
    pub(crate) fetched_bytes: AtomicU64,
}

impl Health {
    pub(crate) fn outage(&self) -> Option<Outage> {
        self.outage.lock().clone()
    }

    pub(crate) fn tries(&self, operation: Operation) -> &Tries {
        &self.tries[operation as usize]
    }

    /// The store has answered, if only with a no.
    pub(super) fn answered(&self) {
        if let Some(outage) = self.outage.lock().take() {
            let lasted_s = outage.since.elapsed().as_secs();
            tracing::info!(lasted_s, "the bucket is reached again");
        }
    }

    /// All attempts of a request have failed.
    pub(super) fn silent(&self, reason: String) {
        let mut outage = self.outage.lock();
        if let Some(outage) = outage.as_mut() {
            outage.reason = reason;
            return;
        }
        tracing::error!(
            reason,
            "the bucket cannot be reached: new blocks wait on local disk, and what only the bucket holds cannot be queried"
        );
        *outage = Some(Outage {
            since: Instant::now(),
            reason,
        });
    }

    pub(super) fn count(&self, operation: Operation, failed: bool) {
        let tries = self.tries(operation);
        tries.all.fetch_add(1, Ordering::Relaxed);
        tries.failed.fetch_add(u64::from(failed), Ordering::Relaxed);
    }
}
