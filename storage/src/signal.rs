//! What each signal (metrics, logs, traces) brings to the machinery that all of them share: the
//! write-ahead log, generations of the head, blocks, compaction and retention.
//!
//! A head is a sequence of *generations*. One is active and takes writes; a cut freezes it, starts
//! an empty one, writes the frozen one as blocks (one a tenant and day) and then, in one step,
//! takes it out of the view and the blocks in. Queries hold the view they began with.
//!
//! ```text
//!   append ─▶ active generation        view = active + frozen + blocks, replaced as a whole
//!   cut    ─▶ frozen generation ─▶ blocks ─▶ compaction ─▶ retention
//! ```

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;

use crate::block::Block;
use crate::error::Result;
use crate::model::Tenant;
use crate::storage::HeadStats;
use crate::tombstone::{Tombstone, Tombstones};

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SignalKind {
    /// Samples of series; times in milliseconds.
    Metrics,
    /// Entries of streams; times in nanoseconds.
    Logs,
    /// Spans of traces; times in nanoseconds.
    Traces,
}

impl SignalKind {
    /// Every signal.
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Logs, Self::Traces];

    /// The name in paths, manifests and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Traces => "traces",
        }
    }

    /// The UTC day, counted from the epoch, of a time in the signal's unit.
    #[must_use]
    pub(crate) const fn day_of(self, t: i64) -> i64 {
        t.div_euclid(self.units_per_day())
    }

    /// All times of a day.
    #[must_use]
    pub(crate) const fn day_span(self, day: i64) -> TimeSpan {
        let units = self.units_per_day();
        let min = day.saturating_mul(units);
        TimeSpan {
            min,
            max: min.saturating_add(units - 1),
        }
    }

    const fn units_per_day(self) -> i64 {
        self.units_per_ms() * 24 * 3600 * 1000
    }

    /// How many of the signal's time units make a millisecond.
    #[must_use]
    pub const fn units_per_ms(self) -> i64 {
        match self {
            Self::Metrics => 1,
            Self::Logs | Self::Traces => 1_000_000,
        }
    }
}

/// Times in the signal's own unit, both ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeSpan {
    /// First.
    pub(crate) min: i64,
    /// Last.
    pub(crate) max: i64,
}

/// What a head needs to know to take writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadOptions {
    /// How far behind a series' newest sample, or a stream's newest entry, a write may lie, in
    /// milliseconds; `None` takes everything.
    pub(crate) out_of_order_window_ms: Option<i64>,
    /// Number of newest exemplars kept for all tenants together.
    pub(crate) max_exemplars: usize,
}

/// Which items of a batch were not taken, by their position among the batch's items (floats, then
/// histograms; entries; spans). Kept in the log record, so that a replay decides nothing anew.
pub(crate) type Refused = Vec<u32>;

/// What became of a batch that was given to a head.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Applied<R> {
    /// For the caller.
    pub(crate) report: R,
    /// What was not taken, ascending; see [`Refused`]. Exact duplicates that were dropped are among
    /// them where a replay could take them twice.
    pub(crate) refused: Refused,
    /// Number of items taken, for figures.
    pub(crate) taken: u64,
    /// Whether anything changed (items, exemplars, metadata). If not, no log record is written.
    pub(crate) changed: bool,
}

/// The UTC days that hold items. Adding a time of the day that was added last costs a comparison.
#[derive(Clone, Debug, Default)]
pub(crate) struct DaySet {
    days: BTreeSet<i64>,
    last: Option<i64>,
}

impl DaySet {
    /// Adds the day of a time.
    pub(crate) fn add(&mut self, signal: SignalKind, t: i64) {
        self.add_day(signal.day_of(t));
    }

    /// Adds a day.
    pub(crate) fn add_day(&mut self, day: i64) {
        if self.last != Some(day) {
            self.last = Some(day);
            self.days.insert(day);
        }
    }

    /// The days, ascending.
    pub(crate) fn to_vec(&self) -> Vec<i64> {
        self.days.iter().copied().collect()
    }
}

/// The files of a block that is being written.
pub(crate) trait BlockFiles: Send {
    /// Starts a file of the block; closing it is dropping it. Writes are buffered; one that fails late is
    /// reported when the block is made visible.
    fn create(&mut self, name: &str) -> Result<Box<dyn Write + Send>>;
}

/// What a written block holds, for its manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockStats {
    /// Samples, entries or spans.
    pub(crate) rows: u64,
    /// Series, streams or traces.
    pub(crate) groups: u64,
    /// First time, in the signal's unit.
    pub(crate) min_time: i64,
    /// Last time, in the signal's unit.
    pub(crate) max_time: i64,
    /// Bytes of the items before any coding (8 + 8 a sample, the text of a line), for figures.
    pub(crate) raw_bytes: u64,
}

/// One generation of a signal's head, for all tenants.
#[async_trait]
pub(crate) trait Head: Send + Sync + Sized + 'static {
    /// Which signal.
    const SIGNAL: SignalKind;

    /// An empty generation. `before` is the one it follows, for what has to be remembered across a cut.
    fn new(options: HeadOptions, before: Option<&Self>) -> Self;

    /// Whether nothing was written to this generation, metadata and exemplars included. What it took over from
    /// the one before does not count.
    fn is_empty(&self) -> bool;

    /// Bytes of memory held, for the budget. Cheap.
    fn held_bytes(&self) -> u64;

    /// Tenants with data.
    fn tenants(&self) -> Vec<Tenant>;

    /// The UTC days (days since the epoch, see [`SignalKind::day_of`]) that hold items of a tenant;
    /// ascending, each once. [`DaySet`] keeps them. A cut writes one block for each.
    fn days(&self, tenant: &Tenant) -> Vec<i64>;

    /// Figures of one tenant, or over all of them. `appended` is filled in by the caller.
    fn stats(&self, tenant: Option<&Tenant>) -> HeadStats;

    /// What this generation knows that no block holds (metadata, the exemplar ring), as bytes of the
    /// signal's own form with a version in front. Asked at a cut, before log segments go; kept in a
    /// file beside the log.
    fn remembered(&self) -> Option<Vec<u8>> {
        None
    }

    /// Takes back what [`Self::remembered`] gave, before the log is replayed over it. Bytes that cannot be
    /// read are an error and leave the head as it was.
    fn remember(&self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    /// Whether this signal's active generation can be written down in snapshots.
    const SNAPSHOTS: bool = false;

    /// Hands out everything that was taken before this was called, and perhaps some of what came since, in frames that can each be
    /// restored alone. Writes go on meanwhile.
    ///
    /// # Errors
    /// What `each` says.
    fn snapshot(&self, _each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        Ok(())
    }

    /// Takes a frame of [`Self::snapshot`], unless its tenant is not wanted.
    ///
    /// # Errors
    /// `Corrupt`; what the frame holds is then there in part.
    fn restore(&self, _frame: &[u8], _wanted: &dyn Fn(&Tenant) -> bool) -> Result<()> {
        Ok(())
    }

    /// Whether items of this signal can be deleted.
    const DELETES: bool = false;

    /// Lets go of everything that a tombstone means. Nothing is appended meanwhile. Blocks the thread.
    fn delete(&self, _tombstone: &Tombstone) {}

    /// Whether a block has rows that a tombstone hides.
    ///
    /// # Errors
    /// What disk and bucket say.
    async fn has_deleted(_block: &Arc<Block>, _tombstones: &Tombstones) -> Result<bool> {
        Ok(false)
    }

    /// Writes a tenant's items within a span of time as the files of a block. `None` when there are none. The generation is frozen. Blocks the thread.
    fn write_block(
        &self,
        tenant: &Tenant,
        span: TimeSpan,
        files: &mut dyn BlockFiles,
    ) -> Result<Option<BlockStats>>;

    /// What a merge holds in memory for each series, stream or trace of its inputs, about.
    const MERGE_BYTES: u64 = 0;

    /// Merges blocks of one tenant into the files of one block with the same answers. `blocks` come in the order of their
    /// sequence numbers, oldest first: where two hold different values for one place, the first wins. Items before
    /// `drop_before` (in the signal's unit) are left out, and so is what tombstones hide.
    async fn merge_blocks(
        blocks: &[Arc<Block>],
        drop_before: Option<i64>,
        tombstones: &Tombstones,
        files: &mut dyn BlockFiles,
    ) -> Result<Option<BlockStats>>;
}

/// What a query sees: taken once at its start, unchanged until it ends.
pub(crate) struct View<H> {
    /// Takes writes.
    pub(crate) active: Arc<H>,
    /// Frozen generations that are not blocks yet, oldest first.
    pub(crate) frozen: Vec<Arc<H>>,
    /// All visible blocks of all tenants, in order of sequence numbers, oldest first.
    pub(crate) blocks: Vec<Arc<Block>>,
    /// What is hidden of the blocks.
    pub(crate) tombstones: Arc<Tombstones>,
}

impl<H> View<H> {
    /// The generations from the oldest to the active one.
    pub(crate) fn generations(&self) -> impl Iterator<Item = &Arc<H>> {
        self.frozen.iter().chain(std::iter::once(&self.active))
    }

    /// The blocks of a tenant that reach into a span of time.
    pub(crate) fn blocks_of(&self, tenant: &Tenant, span: TimeSpan) -> Vec<Arc<Block>> {
        let wanted = |b: &&Arc<Block>| {
            let m = b.manifest();
            m.tenant == tenant.as_str() && m.min_time <= span.max && span.min <= m.max_time
        };
        self.blocks.iter().filter(wanted).map(Arc::clone).collect()
    }
}
