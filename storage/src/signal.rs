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

use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;

use crate::block::Block;
use crate::error::Result;
use crate::model::Tenant;

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
}

/// Which items of a batch were not taken, by their position among the batch's items (floats, then
/// histograms; entries; spans). Kept in the log record, so that a replay decides nothing anew.
pub(crate) type Refused = Vec<u32>;

/// The files of a block that is being written.
pub(crate) trait BlockFiles: Send {
    /// Starts a file of the block; closing it is dropping it.
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

    /// Whether nothing was written yet.
    fn is_empty(&self) -> bool;

    /// Bytes of memory held, for the budget. Cheap.
    fn held_bytes(&self) -> u64;

    /// Tenants with data.
    fn tenants(&self) -> Vec<Tenant>;

    /// First and last time of a tenant's items.
    fn time_span(&self, tenant: &Tenant) -> Option<TimeSpan>;

    /// Writes a tenant's items within a span of time as the files of a block. `None` when there are none. The generation is frozen. Blocks the thread.
    fn write_block(
        &self,
        tenant: &Tenant,
        span: TimeSpan,
        files: &mut dyn BlockFiles,
    ) -> Result<Option<BlockStats>>;

    /// Merges blocks of one tenant into the files of one block with the same answers. `blocks` come in the order of their
    /// sequence numbers, oldest first: where two hold different values for one place, the first wins. Items before
    /// `drop_before` (in the signal's unit) are left out.
    async fn merge_blocks(
        blocks: &[Arc<Block>],
        drop_before: Option<i64>,
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
