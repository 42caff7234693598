//! [`Storage`]: the door. What each call promises stands here; how it is kept, in the modules.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use tokio::sync::broadcast;

use crate::error::Result;
use crate::model::{
    ExemplarSeries, Labels, LogBatch, LogReport, Matcher, Metadata, MetricBatch, MetricReport,
    MsRange, NsRange, Record, SpanBatch, SpanReport, StreamRef, Tenant, Trace, TraceId,
};
use crate::options::Options;
use crate::read::{LogPage, LogSelect, SeriesBatch, SeriesSelect, TraceSelect};
use crate::signal::SignalKind;

/// Turns the payload of a log record back into the batch it was, during a replay. The same code
/// that decodes requests.
pub trait RecordDecoder: Send + Sync {
    /// Decodes one record of a signal and hands the batch to the sink, once.
    ///
    /// # Errors
    /// A text; the record is then counted as corrupt and skipped.
    fn decode(
        &self,
        signal: SignalKind,
        record: Record<'_>,
        sink: &mut dyn RecordSink,
    ) -> Result<(), String>;
}

/// Takes the batch of a replayed record.
pub trait RecordSink {
    /// A batch of samples.
    fn metrics(&mut self, batch: &MetricBatch<'_>);
    /// A batch of log entries.
    fn logs(&mut self, batch: &LogBatch<'_>);
    /// A batch of spans; taken over.
    fn spans(&mut self, batch: SpanBatch);
}

/// Batches of series that answer one selection.
pub struct SeriesSet(pub(crate) BoxStream<'static, Result<SeriesBatch>>);

impl SeriesSet {
    /// The next batch, `None` at the end. Over all batches each label set comes once.
    ///
    /// # Errors
    /// What the disk or bucket says, or `MemoryLimit`.
    pub async fn next_batch(&mut self) -> Result<Option<SeriesBatch>> {
        self.0.next().await.transpose()
    }
}

/// Pages of log entries that answer one selection, ascending by first time or descending by last.
pub struct LogPages(pub(crate) BoxStream<'static, Result<Box<dyn LogPage>>>);

impl LogPages {
    /// The next page, `None` at the end.
    ///
    /// # Errors
    /// What the disk or bucket says, or `MemoryLimit`.
    pub async fn next_page(&mut self) -> Result<Option<Box<dyn LogPage>>> {
        self.0.next().await.transpose()
    }
}

/// Entries just written, for live tailing: one stream and its new entries.
#[derive(Clone, Debug)]
pub struct TailEntries {
    /// Owner.
    pub tenant: Tenant,
    /// The stream.
    pub stream: StreamRef,
    /// The entries in order of writing.
    pub entries: Arc<crate::model::EntryBuf>,
}

/// What a log selection would touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Streams.
    pub streams: u64,
    /// Pages.
    pub chunks: u64,
    /// Bytes of line text.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

/// An operation of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operation {
    /// Name.
    pub name: String,
    /// Kind of its spans, as Jaeger's word; empty where unspecified.
    pub span_kind: String,
}

/// Calls from one service to another (or within one).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dependency {
    /// The caller.
    pub parent: String,
    /// The called.
    pub child: String,
    /// Number of calls.
    pub call_count: u64,
}

/// What the active head of a tenant holds, for status pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadStats {
    /// Series, streams or traces.
    pub groups: u64,
    /// Samples, entries or spans since start.
    pub appended: u64,
    /// First time, in the signal's unit; `i64::MAX` when empty.
    pub min_time: i64,
    /// Last time; `i64::MIN` when empty.
    pub max_time: i64,
    /// Chunks or pages.
    pub chunks: u64,
    /// Distinct label pairs (metrics).
    pub label_pairs: u64,
}

/// Figures of one signal over all tenants, for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalStats {
    /// The head.
    pub head: HeadStats,
    /// Bytes of memory the head holds, frozen generations included.
    pub head_bytes: u64,
    /// Visible blocks.
    pub blocks: u64,
    /// Their bytes.
    pub block_bytes: u64,
    /// Their rows.
    pub block_rows: u64,
    /// Bytes of the write-ahead log on disk.
    pub wal_bytes: u64,
    /// Segments of the write-ahead log.
    pub wal_segments: u64,
    /// Records found corrupt at the last start.
    pub wal_corrupt_records: u64,
    /// Fsyncs of the log.
    pub wal_syncs: u64,
    /// Cuts of the head that became blocks.
    pub cuts: u64,
    /// Cuts that failed.
    pub cut_failures: u64,
    /// Compactions done.
    pub compactions: u64,
    /// Compactions that failed.
    pub compaction_failures: u64,
    /// Items taken since start.
    pub accepted: u64,
    /// Items refused since start.
    pub refused: u64,
}

/// The storage of one folder (and bucket). Shared by reference; every call takes `&self`.
pub struct Storage {
    _options: Options,
}

impl Storage {
    /// Opens or creates the folder, replays the write-ahead log and starts the background work (sync, cut,
    /// compaction, retention).
    ///
    /// # Errors
    /// `NotOurs` when another process holds the folder or a newer version wrote it; `Io`.
    pub async fn open(_options: Options, _decoder: Arc<dyn RecordDecoder>) -> Result<Arc<Self>> {
        todo!()
    }

    /// Writes samples. What was taken is in the log when this returns, and fsynced when the sync interval is zero.
    /// A batch is never half visible to a query that begins after this returned.
    ///
    /// # Errors
    /// `MemoryLimit`, `DiskFull`, `Poisoned`, `Closed`: nothing is acknowledged.
    pub async fn append_metrics(
        &self,
        _tenant: &Tenant,
        _batch: &MetricBatch<'_>,
        _record: Record<'_>,
    ) -> Result<MetricReport> {
        todo!()
    }

    /// Writes log entries; see [`Self::append_metrics`].
    ///
    /// # Errors
    /// As [`Self::append_metrics`].
    pub async fn append_logs(
        &self,
        _tenant: &Tenant,
        _batch: &LogBatch<'_>,
        _record: Record<'_>,
    ) -> Result<LogReport> {
        todo!()
    }

    /// Writes spans; see [`Self::append_metrics`].
    ///
    /// # Errors
    /// As [`Self::append_metrics`].
    pub async fn append_spans(
        &self,
        _tenant: &Tenant,
        _batch: SpanBatch,
        _record: Record<'_>,
    ) -> Result<SpanReport> {
        todo!()
    }

    /// Series and their samples.
    ///
    /// # Errors
    /// `MemoryLimit`, or what disk and bucket say.
    pub async fn select_series(
        &self,
        _tenant: &Tenant,
        _select: &SeriesSelect,
    ) -> Result<SeriesSet> {
        todo!()
    }

    /// Label sets of the series that have a sample within the range and pass all matchers of any of the lists; sorted, each
    /// once, at most `limit` (0: all).
    ///
    /// # Errors
    /// As [`Self::select_series`].
    pub async fn series_labels(
        &self,
        _tenant: &Tenant,
        _any_of: &[Vec<Matcher>],
        _range: MsRange,
        _limit: usize,
    ) -> Result<Vec<Labels>> {
        todo!()
    }

    /// Names of labels of such series (all series when `any_of` is empty); sorted, each once.
    ///
    /// # Errors
    /// As [`Self::select_series`].
    pub async fn label_names(
        &self,
        _tenant: &Tenant,
        _any_of: &[Vec<Matcher>],
        _range: MsRange,
    ) -> Result<Vec<String>> {
        todo!()
    }

    /// Values of a label over such series (all series when `any_of` is empty); sorted, each once.
    ///
    /// # Errors
    /// As [`Self::select_series`].
    pub async fn label_values(
        &self,
        _tenant: &Tenant,
        _name: &str,
        _any_of: &[Vec<Matcher>],
        _range: MsRange,
    ) -> Result<Vec<String>> {
        todo!()
    }

    /// Metadata of families, of one or of all; sorted by family. A family may have several.
    pub fn metadata(&self, _tenant: &Tenant, _family: Option<&str>) -> Vec<Metadata> {
        todo!()
    }

    /// Exemplars within the range of series that pass all matchers of any of the lists; sorted by series.
    pub fn exemplars(
        &self,
        _tenant: &Tenant,
        _any_of: &[Vec<Matcher>],
        _range: MsRange,
    ) -> Vec<ExemplarSeries> {
        todo!()
    }

    /// Pages of log entries.
    ///
    /// # Errors
    /// `MemoryLimit`, or what disk and bucket say.
    pub async fn select_logs(&self, _tenant: &Tenant, _select: &LogSelect) -> Result<LogPages> {
        todo!()
    }

    /// Label sets of streams that have a page within the range and pass all matchers of any of the lists (all streams when
    /// `any_of` is empty); sorted, each once.
    ///
    /// # Errors
    /// As [`Self::select_logs`].
    pub async fn log_streams(
        &self,
        _tenant: &Tenant,
        _any_of: &[Vec<Matcher>],
        _range: NsRange,
    ) -> Result<Vec<Labels>> {
        todo!()
    }

    /// What a selection of streams would touch.
    ///
    /// # Errors
    /// As [`Self::select_logs`].
    pub async fn log_stats(
        &self,
        _tenant: &Tenant,
        _matchers: &[Matcher],
        _range: NsRange,
    ) -> Result<LogStats> {
        todo!()
    }

    /// Entries as they are written, of all tenants. A reader that lags loses the oldest and is told so.
    #[must_use]
    pub fn tail_logs(&self) -> broadcast::Receiver<TailEntries> {
        todo!()
    }

    /// A trace by its id, with spans in order of arrival, identical copies of a span included as often as they were written.
    ///
    /// # Errors
    /// What disk and bucket say.
    pub async fn trace(&self, _tenant: &Tenant, _id: TraceId) -> Result<Option<Trace>> {
        todo!()
    }

    /// Whole traces that have one span for which everything holds; the one whose first span came in last is first.
    ///
    /// # Errors
    /// `MemoryLimit`, or what disk and bucket say.
    pub async fn search_traces(
        &self,
        _tenant: &Tenant,
        _select: &TraceSelect,
    ) -> Result<Vec<Trace>> {
        todo!()
    }

    /// Names of services; sorted, each once. From indexes: cheap.
    ///
    /// # Errors
    /// What disk and bucket say.
    pub async fn services(&self, _tenant: &Tenant) -> Result<Vec<String>> {
        todo!()
    }

    /// Operations of a service (of all when empty); sorted, each once. From indexes: cheap.
    ///
    /// # Errors
    /// What disk and bucket say.
    pub async fn operations(&self, _tenant: &Tenant, _service: &str) -> Result<Vec<Operation>> {
        todo!()
    }

    /// Calls between services in the traces that lie wholly within the range (start out, end out): one for each span whose parent is in the trace.
    ///
    /// # Errors
    /// What disk and bucket say.
    pub async fn dependencies(&self, _tenant: &Tenant, _range: NsRange) -> Result<Vec<Dependency>> {
        todo!()
    }

    /// Cuts all heads into blocks; returns when the blocks are visible and their log segments gone.
    ///
    /// # Errors
    /// What disk and bucket say; the head then stays.
    pub async fn flush(&self) -> Result<()> {
        todo!()
    }

    /// Merges all blocks that can be merged, per tenant and signal; returns when done.
    ///
    /// # Errors
    /// What disk and bucket say; answers are unchanged.
    pub async fn compact(&self) -> Result<()> {
        todo!()
    }

    /// Stops background work, cuts the heads into blocks and closes the log. Later calls answer `Closed`.
    ///
    /// # Errors
    /// What disk and bucket say; what is not in a block is in the log.
    pub async fn close(&self) -> Result<()> {
        todo!()
    }

    /// Whether the log was replayed and queries are answered.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        todo!()
    }

    /// Figures of a signal over all tenants.
    #[must_use]
    pub fn stats(&self, _signal: SignalKind) -> SignalStats {
        todo!()
    }

    /// Figures of a tenant's head.
    #[must_use]
    pub fn head_stats(&self, _signal: SignalKind, _tenant: &Tenant) -> HeadStats {
        todo!()
    }

    /// Bytes in use and the limit, of the memory budget.
    #[must_use]
    pub fn memory(&self) -> (u64, u64) {
        todo!()
    }
}
