//! What the three signals of one storage share: settings, clock, budget, object store.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::block::{BlockStore, Damage};
use crate::bucket::Bucket;
use crate::budget::Budget;
use crate::clock::Clock;
use crate::disk;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::signal::{HeadOptions, SignalKind};

/// See the module's documentation.
pub(crate) struct Context {
    pub(crate) options: Options,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) budget: Arc<Budget>,
    /// Blocks in the storage folder: all of them, or those that wait for the bucket.
    pub(crate) local: Arc<BlockStore>,
    /// Where blocks go from there.
    pub(crate) bucket: Option<Arc<Bucket>>,
    /// Where blocks are written before they go to their place.
    pub(crate) tmp: PathBuf,
    closed: AtomicBool,
    /// Bytes left on disk when last asked.
    free_bytes: AtomicU64,
    /// Bytes of the active heads.
    active_bytes: [AtomicU64; 3],
}

impl Context {
    pub(crate) fn new(
        options: Options,
        clock: Arc<dyn Clock>,
        budget: Arc<Budget>,
        local: Arc<BlockStore>,
        bucket: Option<Arc<Bucket>>,
        tmp: PathBuf,
    ) -> Self {
        Self {
            options,
            clock,
            budget,
            local,
            bucket,
            tmp,
            closed: AtomicBool::new(false),
            free_bytes: AtomicU64::new(u64::MAX),
            active_bytes: Default::default(),
        }
    }

    /// Where blocks stay: the bucket, or the storage folder when there is none.
    pub(crate) fn home(&self) -> &Arc<BlockStore> {
        self.bucket.as_ref().map_or(&self.local, |b| &b.store)
    }

    /// What was found damaged, at both places.
    pub(crate) fn damage(&self) -> &Arc<Damage> {
        self.local.damage()
    }

    /// How long a signal is kept.
    pub(crate) const fn retention(&self, signal: SignalKind) -> Option<Duration> {
        match signal {
            SignalKind::Metrics => self.options.metrics_retention,
            SignalKind::Logs => self.options.logs_retention,
            SignalKind::Traces => self.options.traces_retention,
        }
    }

    pub(crate) fn head_options(&self) -> HeadOptions {
        HeadOptions {
            out_of_order_window_ms: self
                .options
                .out_of_order_window
                .map(|d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
            max_exemplars: self.options.max_exemplars,
        }
    }

    /// Asks the disk how much it has left.
    pub(crate) fn refresh_free_bytes(&self) {
        match disk::free_bytes(&self.options.path) {
            Ok(free) => self
                .free_bytes
                .store(self.make_room(free), Ordering::Relaxed),
            Err(e) => tracing::warn!(error = %e, "the free space of the disk is not known"),
        }
    }

    /// What the cache of the bucket holds is given up before a write is refused; answers how much is free then.
    fn make_room(&self, free_bytes: u64) -> u64 {
        let cache = self.bucket.as_ref().and_then(|b| b.store.disk());
        let Some(cache) = cache else {
            return free_bytes;
        };
        let reserve = self.options.min_free_bytes;
        // A little more than the reserve, so that the cache does not fill at once what was made room.
        let enough = reserve.saturating_add(reserve / 8);
        let missing = if free_bytes < reserve {
            enough - free_bytes
        } else {
            0
        };
        cache.make_room(missing, free_bytes < enough);
        if missing == 0 {
            return free_bytes;
        }
        disk::free_bytes(&self.options.path).unwrap_or(free_bytes)
    }

    /// Whether a write may be taken now.
    ///
    /// # Errors
    /// `Closed`, `MemoryLimit`, `DiskFull`.
    pub(crate) fn admit_write(&self, signal: SignalKind) -> Result<()> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let free_bytes = self.free_bytes.load(Ordering::Relaxed);
        if free_bytes < self.options.min_free_bytes {
            return Err(Error::DiskFull {
                path: self.options.path.clone(),
                free_bytes,
            });
        }
        self.budget.admit_write(match signal {
            SignalKind::Metrics => "metrics head",
            SignalKind::Logs => "logs head",
            SignalKind::Traces => "traces head",
        })
    }

    /// Notes the size of a signal's active head and answers whether it should be cut: the heads together have reached three
    /// sixteenths of what there is and this one is the largest. A frozen head of that size and what writing it takes may lie
    /// beside them, and they grow meanwhile. Where memory is short for other reasons, a third of that is enough: a cut is what
    /// makes room for writes.
    pub(crate) fn note_active_bytes(&self, signal: SignalKind, bytes: u64) -> bool {
        let own = signal as usize;
        let mut sum = 0;
        let mut largest = true;
        for (i, other) in self.active_bytes.iter().enumerate() {
            if i == own {
                other.store(bytes, Ordering::Relaxed);
                sum += bytes;
            } else {
                let other = other.load(Ordering::Relaxed);
                sum += other;
                largest &= other <= bytes;
            }
        }
        let due = sum > self.budget.share(3);
        largest && (due || sum > self.budget.share(1) && self.budget.is_short())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Answers whether it was closed before.
    pub(crate) fn set_closed(&self) -> bool {
        self.closed.swap(true, Ordering::SeqCst)
    }
}
