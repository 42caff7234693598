//! [`Storage`]: the door. What each call promises stands here; how it is kept, in the modules.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::block::{BlockStore, Cache, Damage, Manifest};
use crate::bucket::{Bucket, BucketStatus};
use crate::budget::{Budget, Holder, MemoryUse, Refusal, RequestMemory};
use crate::clock::{Clock, SystemClock};
use crate::compact::Extent;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::fail_point::{self, FailPoint};
use crate::folder::Folder;
use crate::generation::SignalStore;
use crate::logs::{self, LogsHead};
use crate::maintenance::{run_compactor, run_cutter, run_uploader};
use crate::metrics::{self, MetricsHead, NewSeries};
use crate::model::{
    ExemplarSeries, Labels, LogBatch, LogReport, Matcher, Metadata, MetricBatch, MetricReport,
    MsRange, NsRange, Record, SpanBatch, SpanReport, StreamRef, Tenant, Trace, TraceId,
};
use crate::options::Options;
use crate::read::{LogPage, LogSelect, SeriesBatch, SeriesSelect, TraceSelect};
use crate::replay;
use crate::retention::{Brake, size};
use crate::signal::{Head, SignalKind, TimeSpan};
use crate::snapshot::Snapshot;
use crate::tail;
use crate::traces::{self, TracesHead};

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

    /// All batches, to be read as they are asked for; errors as of [`Self::next_batch`].
    #[must_use]
    pub fn into_stream(self) -> BoxStream<'static, Result<SeriesBatch>> {
        self.0
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
    /// Deletions whose rows may still lie in blocks.
    pub tombstones: u64,
    /// Their bytes.
    pub block_bytes: u64,
    /// Their rows.
    pub block_rows: u64,
    /// Blocks on local disk that wait for the bucket.
    pub waiting_blocks: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
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
    /// Snapshots of the head written.
    pub head_snapshots: u64,
    /// Compactions done.
    pub compactions: u64,
    /// Compactions that failed.
    pub compaction_failures: u64,
    /// Items taken since start.
    pub accepted: u64,
    /// Items refused since start.
    pub refused: u64,
}

/// Which files are not what was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DamageStats {
    /// The damaged files that were met since start, sorted, a hundred at most: a path below the storage folder, or a URL.
    pub files: Vec<String>,
    /// How often one of them was met.
    pub found: u64,
}

/// How long a stop waits for blocks to go up. What is not in the bucket by then goes up after the next start.
const LAST_UPLOAD: Duration = Duration::from_secs(10);

/// How often it is looked whether memory is short.
const MEMORY_CHECK: Duration = Duration::from_millis(100);

/// How often the size of all blocks is looked at.
const SIZE_CHECK: Duration = Duration::from_secs(10);

/// What looking at all series takes for each: its place in a table and its labels.
const ALL_SERIES_BYTES: u64 = 768;

/// How many batches of entries a live reader may lag behind.
const TAIL_CAPACITY: usize = 1024;

/// The storage of one folder (and bucket). Shared by reference; every call takes `&self`.
///
/// Dropping it without [`Self::close`] is like a crash: nothing acknowledged is lost, the next start replays.
pub struct Storage {
    context: Arc<Context>,
    pub(crate) metrics: Arc<SignalStore<MetricsHead>>,
    logs: Arc<SignalStore<LogsHead>>,
    traces: Arc<SignalStore<TracesHead>>,
    tail: broadcast::Sender<TailEntries>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// How often blocks went because all of them together had become too large.
    size_retentions: AtomicU64,
    _folder: Folder,
}

impl Storage {
    /// Opens or creates the folder, replays the write-ahead log and starts the background work (sync, cut, upload,
    /// compaction, retention). A bucket that this folder has used before need not be reached.
    ///
    /// # Errors
    /// `NotOurs` when another process holds the folder, another folder owns the bucket's prefix, or a newer version wrote
    /// either; `BadInput` when the bucket's URL is none; `Unavailable`, `Io`, `ObjectStore`.
    pub async fn open(options: Options, decoder: Arc<dyn RecordDecoder>) -> Result<Arc<Self>> {
        Self::open_at(options, decoder, Arc::new(SystemClock)).await
    }

    pub(crate) async fn open_at(
        options: Options,
        decoder: Arc<dyn RecordDecoder>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>> {
        if let Some(at) = options.fail_at {
            fail_point::arm(at);
        }
        let folder = Folder::open(&options.path)?;
        let budget = Budget::of_process(options.memory_limit_bytes);
        let cache = Arc::new(Cache::new(budget.share(2), &budget));
        let damage = Arc::new(Damage::default());
        let local = BlockStore::open_local(&options, Arc::clone(&cache), Arc::clone(&damage))?;
        let bucket = Bucket::open(&options, &folder.owner, Arc::clone(&cache), damage).await?;
        let context = Context::new(options, clock, budget, local, bucket, folder.tmp());
        context.refresh_free_bytes();
        let context = Arc::new(context);
        let (metrics, logs, traces) = tokio::try_join!(
            SignalStore::open(Arc::clone(&context), replay::metrics(Arc::clone(&decoder))),
            SignalStore::open(Arc::clone(&context), replay::logs(Arc::clone(&decoder))),
            SignalStore::open(Arc::clone(&context), replay::traces(decoder)),
        )?;
        if let Some(bucket) = &context.bucket
            && bucket.outage().is_none()
        {
            bucket.set_known()?;
        }
        let stop = watch::Sender::new(false);
        let mut tasks = Vec::new();
        start(&metrics, &stop, &mut tasks);
        start(&logs, &stop, &mut tasks);
        start(&traces, &stop, &mut tasks);
        let storage = Arc::new(Self {
            context,
            metrics,
            logs,
            traces,
            tail: broadcast::Sender::new(TAIL_CAPACITY),
            stop,
            tasks: Mutex::new(tasks),
            size_retentions: AtomicU64::new(0),
            _folder: folder,
        });
        storage.watch_size();
        storage.watch_memory(cache);
        Ok(storage)
    }

    /// Looks after the size of all blocks, where there is a limit.
    fn watch_size(self: &Arc<Self>) {
        if self.context.options.retention_bytes.is_none() {
            return;
        }
        // The task must not keep the storage open that it is a part of.
        let storage = Arc::downgrade(self);
        let mut stop = self.stop.subscribe();
        let watch = async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(SIZE_CHECK) => {}
                    _ = stop.wait_for(|s| *s) => return,
                }
                let Some(storage) = storage.upgrade() else {
                    return;
                };
                storage.drop_beyond_size().await;
            }
        };
        self.tasks.lock().push(tokio::spawn(watch));
    }

    /// Lets the cache go, half by half, as long as memory is short.
    fn watch_memory(&self, cache: Arc<Cache>) {
        let budget = Arc::clone(&self.context.budget);
        let mut stop = self.stop.subscribe();
        let watch = async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(MEMORY_CHECK) => {}
                    _ = stop.wait_for(|s| *s) => return,
                }
                if budget.is_short() {
                    cache.halve();
                }
            }
        };
        self.tasks.lock().push(tokio::spawn(watch));
    }

    /// Drops the oldest blocks of the three signals when all together take more than they may.
    async fn drop_beyond_size(&self) {
        let Some(limit_bytes) = self.context.options.retention_bytes else {
            return;
        };
        let mut blocks = self.metrics.sized_blocks();
        blocks.extend(self.logs.sized_blocks());
        blocks.extend(self.traces.sized_blocks());
        let gone = size::beyond(blocks, limit_bytes);
        if gone.is_empty() {
            return;
        }
        self.size_retentions.fetch_add(1, Ordering::Relaxed);
        self.metrics.drop_for_size(&gone).await;
        self.logs.drop_for_size(&gone).await;
        self.traces.drop_for_size(&gone).await;
    }

    /// Bytes that all blocks may take together, where there is a limit, and how often blocks went because of it.
    #[must_use]
    pub fn size_limit(&self) -> (Option<u64>, u64) {
        let dropped = self.size_retentions.load(Ordering::Relaxed);
        (self.context.options.retention_bytes, dropped)
    }

    /// Writes samples. What was taken is in the log when this returns, and fsynced when the sync interval is zero.
    /// A batch is never half visible to a query that begins after this returned.
    ///
    /// # Errors
    /// `MemoryLimit`, `DiskFull`, `Poisoned`, `Closed`: nothing is acknowledged. Where memory is short but not used up, samples of
    /// known series are taken and stay; those of new ones are not, and the answer is `MemoryLimit` all the same: a sender that
    /// repeats the batch writes nothing twice.
    pub async fn append_metrics(
        &self,
        tenant: &Tenant,
        batch: &MetricBatch<'_>,
        record: Record<'_>,
    ) -> Result<MetricReport> {
        let new = self.new_series();
        let apply = |head: &MetricsHead| metrics::append(head, tenant, batch, new);
        let applied = self.metrics.append(tenant, record, apply).await?;
        self.settle(applied.report)
    }

    /// As [`Self::append_metrics`], but a sample that is older than its series' newest is refused whatever
    /// [`Options::out_of_order_window`] says.
    ///
    /// # Errors
    /// As [`Self::append_metrics`].
    pub async fn append_metrics_in_order(
        &self,
        tenant: &Tenant,
        batch: &MetricBatch<'_>,
        record: Record<'_>,
    ) -> Result<MetricReport> {
        let new = self.new_series();
        let apply = |head: &MetricsHead| metrics::append_in_order(head, tenant, batch, new);
        let applied = self.metrics.append(tenant, record, apply).await?;
        self.settle(applied.report)
    }

    /// As [`Self::append_metrics`], but where a sample contradicts what is stored already, nothing of the batch is taken. A
    /// batch that contradicts itself is taken without the samples that came second.
    ///
    /// # Errors
    /// As [`Self::append_metrics`].
    pub async fn append_metrics_whole(
        &self,
        tenant: &Tenant,
        batch: &MetricBatch<'_>,
        record: Record<'_>,
    ) -> Result<MetricReport> {
        let new = self.new_series();
        let apply = |head: &MetricsHead| metrics::append_whole(head, tenant, batch, new);
        let applied = self.metrics.append(tenant, record, apply).await?;
        self.settle(applied.report)
    }

    fn new_series(&self) -> NewSeries {
        match self.context.budget.admits_new_series() {
            true => NewSeries::Taken,
            false => NewSeries::LeftOut,
        }
    }

    fn settle(&self, report: MetricReport) -> Result<MetricReport> {
        if report.no_room == 0 {
            return Ok(report);
        }
        let budget = &self.context.budget;
        budget.count(Refusal::NewSeries, report.no_room as u64);
        Err(budget.limit_reached("new series"))
    }

    /// Writes log entries; see [`Self::append_metrics`].
    ///
    /// # Errors
    /// As [`Self::append_metrics`].
    pub async fn append_logs(
        &self,
        tenant: &Tenant,
        batch: &LogBatch<'_>,
        record: Record<'_>,
    ) -> Result<LogReport> {
        let apply = |head: &LogsHead| logs::append(head, tenant, batch);
        let applied = self.logs.append(tenant, record, apply).await?;
        if self.tail.receiver_count() > 0 {
            for entries in tail::entries(tenant, batch, &applied.refused) {
                // Fails only when the last reader has just left.
                let _ = self.tail.send(entries);
            }
        }
        Ok(applied.report)
    }

    /// Writes spans; see [`Self::append_metrics`].
    ///
    /// # Errors
    /// As [`Self::append_metrics`].
    pub async fn append_spans(
        &self,
        tenant: &Tenant,
        batch: SpanBatch,
        record: Record<'_>,
    ) -> Result<SpanReport> {
        let apply = |head: &TracesHead| traces::append(head, tenant, batch);
        let applied = self.traces.append(tenant, record, apply).await?;
        Ok(applied.report)
    }

    /// Series and their samples.
    ///
    /// # Errors
    /// `MemoryLimit`, or what disk and bucket say.
    pub async fn select_series(&self, tenant: &Tenant, select: &SeriesSelect) -> Result<SeriesSet> {
        let budget = self.reading()?;
        let found = self
            .metrics
            .select(|view| metrics::select_series(view, budget, tenant, select));
        let set = budget.bounded(Refusal::Queries, "query", found).await?;
        Ok(SeriesSet(Arc::clone(budget).bounded_stream("query", set.0)))
    }

    /// Label sets of the series that have a sample within the range and pass all matchers of any of the lists; sorted, each
    /// once, at most `limit` (0: all).
    ///
    /// # Errors
    /// As [`Self::select_series`].
    pub async fn series_labels(
        &self,
        tenant: &Tenant,
        any_of: &[Vec<Matcher>],
        range: MsRange,
        limit: usize,
    ) -> Result<Vec<Labels>> {
        let budget = self.reading()?;
        let found = self
            .metrics
            .select(|view| metrics::series_labels(view, budget, tenant, any_of, range, limit));
        budget.bounded(Refusal::Queries, "query", found).await
    }

    /// Names of labels of such series (all series when `any_of` is empty); sorted, each once.
    ///
    /// # Errors
    /// As [`Self::select_series`].
    pub async fn label_names(
        &self,
        tenant: &Tenant,
        any_of: &[Vec<Matcher>],
        range: MsRange,
    ) -> Result<Vec<String>> {
        let budget = self.reading()?;
        let found = self
            .metrics
            .select(|view| metrics::label_names(view, budget, tenant, any_of, range));
        budget.bounded(Refusal::Queries, "query", found).await
    }

    /// Values of a label over such series (all series when `any_of` is empty); sorted, each once.
    ///
    /// # Errors
    /// As [`Self::select_series`].
    pub async fn label_values(
        &self,
        tenant: &Tenant,
        name: &str,
        any_of: &[Vec<Matcher>],
        range: MsRange,
    ) -> Result<Vec<String>> {
        let budget = self.reading()?;
        let found = self
            .metrics
            .select(|view| metrics::label_values(view, budget, tenant, name, any_of, range));
        budget.bounded(Refusal::Queries, "query", found).await
    }

    /// Metadata of families, of one or of all; sorted by family. A family may have several.
    pub fn metadata(&self, tenant: &Tenant, family: Option<&str>) -> Vec<Metadata> {
        metrics::metadata(&self.metrics.view(), tenant, family)
    }

    /// Exemplars within the range of series that pass all matchers of any of the lists; sorted by series.
    pub fn exemplars(
        &self,
        tenant: &Tenant,
        any_of: &[Vec<Matcher>],
        range: MsRange,
    ) -> Vec<ExemplarSeries> {
        metrics::exemplars(&self.metrics.view(), tenant, any_of, range)
    }

    /// Pages of log entries.
    ///
    /// # Errors
    /// `MemoryLimit`, or what disk and bucket say.
    pub async fn select_logs(&self, tenant: &Tenant, select: &LogSelect) -> Result<LogPages> {
        let budget = self.reading()?;
        let found = logs::select_logs(self.logs.view(), budget, tenant, select);
        let pages = budget.bounded(Refusal::Queries, "log query", found).await?;
        let pages = Arc::clone(budget).bounded_stream("log query", pages.0);
        Ok(LogPages(pages))
    }

    /// Label sets of streams that have a page within the range and pass all matchers of any of the lists (all streams when
    /// `any_of` is empty); sorted, each once.
    ///
    /// # Errors
    /// As [`Self::select_logs`].
    pub async fn log_streams(
        &self,
        tenant: &Tenant,
        any_of: &[Vec<Matcher>],
        range: NsRange,
    ) -> Result<Vec<Labels>> {
        let budget = self.reading()?;
        logs::log_streams(self.logs.view(), budget, tenant, any_of, range).await
    }

    /// What a selection of streams would touch.
    ///
    /// # Errors
    /// As [`Self::select_logs`].
    pub async fn log_stats(
        &self,
        tenant: &Tenant,
        matchers: &[Matcher],
        range: NsRange,
    ) -> Result<LogStats> {
        let budget = self.reading()?;
        logs::log_stats(self.logs.view(), budget, tenant, matchers, range).await
    }

    /// The streams of [`Self::log_streams`] and what a selection of each would touch, sorted by labels. Of a page that
    /// reaches beyond the range a part is counted, by time.
    ///
    /// # Errors
    /// As [`Self::select_logs`].
    pub async fn log_stream_stats(
        &self,
        tenant: &Tenant,
        any_of: &[Vec<Matcher>],
        range: NsRange,
    ) -> Result<Vec<(Labels, LogStats)>> {
        self.reading()?;
        logs::log_stream_stats(self.logs.view(), tenant, any_of, range).await
    }

    /// Entries as they are written, of all tenants. A reader that lags loses the oldest and is told so.
    #[must_use]
    pub fn tail_logs(&self) -> broadcast::Receiver<TailEntries> {
        self.tail.subscribe()
    }

    /// A trace by its id, with spans in order of arrival, identical copies of a span included as often as they were written.
    ///
    /// # Errors
    /// What disk and bucket say.
    pub async fn trace(&self, tenant: &Tenant, id: TraceId) -> Result<Option<Trace>> {
        let budget = self.reading()?;
        traces::trace(self.traces.view(), budget, tenant, id).await
    }

    /// Whole traces that have one span for which everything holds; the one whose first span came in last is first.
    ///
    /// # Errors
    /// `MemoryLimit`, or what disk and bucket say.
    pub async fn search_traces(&self, tenant: &Tenant, select: &TraceSelect) -> Result<Vec<Trace>> {
        let budget = self.reading()?;
        let found = traces::search_traces(self.traces.view(), budget, tenant, select);
        budget
            .bounded(Refusal::Queries, "trace search", found)
            .await
    }

    /// Names of services; sorted, each once. From indexes: cheap.
    ///
    /// # Errors
    /// What disk and bucket say.
    pub async fn services(&self, tenant: &Tenant) -> Result<Vec<String>> {
        let budget = self.reading()?;
        traces::services(self.traces.view(), budget, tenant).await
    }

    /// Operations of a service (of all when empty); sorted, each once. From indexes: cheap.
    ///
    /// # Errors
    /// What disk and bucket say.
    pub async fn operations(&self, tenant: &Tenant, service: &str) -> Result<Vec<Operation>> {
        let budget = self.reading()?;
        traces::operations(self.traces.view(), budget, tenant, service).await
    }

    /// Calls between services in the traces that lie wholly within the range (start out, end out): one for each span whose parent is in the trace.
    ///
    /// # Errors
    /// What disk and bucket say.
    pub async fn dependencies(&self, tenant: &Tenant, range: NsRange) -> Result<Vec<Dependency>> {
        let budget = self.reading()?;
        traces::dependencies(self.traces.view(), budget, tenant, range).await
    }

    /// Cuts all heads into blocks; returns when the blocks are visible, their log segments gone, and, with a bucket, all
    /// blocks uploaded.
    ///
    /// # Errors
    /// What the disk says: the head then stays; what the bucket says: the blocks then stay on local disk until it is back.
    pub async fn flush(&self) -> Result<()> {
        self.reading()?;
        self.cut_all().await?;
        let uploaded = self.upload_all().await;
        self.drop_beyond_size().await;
        uploaded
    }

    async fn upload_all(&self) -> Result<()> {
        let (metrics, logs, traces) = tokio::join!(
            self.metrics.sync_bucket(),
            self.logs.sync_bucket(),
            self.traces.sync_bucket()
        );
        self.reap().await;
        metrics.and(logs).and(traces)
    }

    async fn reap(&self) {
        self.metrics.reap().await;
        self.logs.reap().await;
        self.traces.reap().await;
    }

    async fn cut_all(&self) -> Result<()> {
        let (metrics, logs, traces) =
            tokio::join!(self.metrics.cut(), self.logs.cut(), self.traces.cut());
        metrics.and(logs).and(traces)
    }

    /// Deletes the samples within a range of series that pass all matchers of any of the lists. What was answered before
    /// this began is deleted for every query that begins after this returned, whatever happens to the process; samples
    /// written later are seen, also at the same times. Metadata and exemplars stay.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`; `Io` when it could not be made durable.
    pub async fn delete_series(
        &self,
        tenant: &Tenant,
        any_of: Vec<Vec<Matcher>>,
        range: MsRange,
    ) -> Result<()> {
        let span = TimeSpan {
            min: range.min_ms,
            max: range.max_ms,
        };
        self.metrics.delete(tenant, any_of, span).await
    }

    /// Removes deleted samples of all tenants from the files; returns when done. The head is cut for it.
    ///
    /// # Errors
    /// What disk and bucket say; what was deleted stays hidden.
    pub async fn clean_tombstones(&self) -> Result<()> {
        self.reading()?;
        self.metrics.clean_tombstones().await
    }

    /// Makes a folder `snapshots/<name>` below the storage folder that holds what was written before to the three signals, of
    /// all tenants, and from which a storage can be opened. What is not in blocks yet is cut into blocks for it, unless it
    /// is to be left out. On one file system with the blocks it takes no space until they are removed.
    ///
    /// # Errors
    /// `BadInput` when there is one of this name, or the name is more than letters, digits and hyphens; what disk and bucket say.
    pub async fn snapshot(&self, name: &str, skip_head: bool) -> Result<()> {
        self.reading()?;
        if !skip_head {
            self.cut_all().await?;
        }
        let snapshot = Snapshot::begin(&self.context.options.path, &self.context.tmp, name)?;
        self.metrics.copy_to(&snapshot).await?;
        self.logs.copy_to(&snapshot).await?;
        self.traces.copy_to(&snapshot).await?;
        snapshot.finish().await
    }

    /// Drops blocks that are past retention, and merges all that can be merged, per tenant and signal; returns when done. More than half
    /// of a signal's blocks are dropped in the background only, where such a step waits.
    ///
    /// # Errors
    /// What disk and bucket say; answers are unchanged.
    pub async fn compact(&self) -> Result<()> {
        self.reading()?;
        // One after the other: a merge takes memory.
        let metrics = compact_all(&self.metrics).await;
        let logs = compact_all(&self.logs).await;
        let traces = compact_all(&self.traces).await;
        metrics.and(logs).and(traces)
    }

    /// Stops background work, cuts the heads into blocks, uploads what the bucket takes within some seconds, and closes the
    /// log. Later calls answer `Closed`.
    ///
    /// # Errors
    /// What the disk says; what is not in a block is in the log.
    pub async fn close(&self) -> Result<()> {
        if self.context.set_closed() {
            return Ok(());
        }
        self.stop.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            if let Err(e) = task.await {
                tracing::error!(error = %e, "a background task of storage had failed");
            }
        }
        fail_point::reach(FailPoint::CloseBeforeCut);
        let cut = self.cut_all().await;
        fail_point::reach(FailPoint::CloseBeforeUpload);
        if self
            .context
            .bucket
            .as_ref()
            .is_some_and(|b| b.outage().is_none())
        {
            match tokio::time::timeout(LAST_UPLOAD, self.upload_all()).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => {
                    tracing::warn!(error = %e, "blocks stay on local disk until the next start")
                }
                Err(_) => tracing::warn!(
                    "the bucket is slow: blocks stay on local disk until the next start"
                ),
            }
        }
        self.reap().await;
        fail_point::reach(FailPoint::CloseBeforeLog);
        let logs = [&self.metrics.wal, &self.logs.wal, &self.traces.wal].map(Arc::clone);
        let synced = crate::generation::blocking(move || {
            // Each is closed, whatever became of the one before.
            let closed: Vec<Result<()>> = logs.iter().map(|wal| wal.close()).collect();
            closed.into_iter().collect::<Result<()>>()
        })
        .await;
        fail_point::reach(FailPoint::CloseDone);
        cut.and(synced)
    }

    /// Whether the log was replayed and queries are answered.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.context.is_closed()
    }

    /// How the bucket fares, where there is one.
    #[must_use]
    pub fn bucket_status(&self) -> Option<BucketStatus> {
        let mut status = self.context.bucket.as_ref()?.status();
        for waiting in [
            self.metrics.waiting(),
            self.logs.waiting(),
            self.traces.waiting(),
        ] {
            status.waiting_blocks += waiting.len() as u64;
            status.waiting_bytes += waiting.iter().map(|b| b.bytes()).sum::<u64>();
        }
        Some(status)
    }

    /// Files that were found damaged.
    #[must_use]
    pub fn damage(&self) -> DamageStats {
        let damage = self.context.damage();
        DamageStats {
            files: damage.files(),
            found: damage.found(),
        }
    }

    /// Figures of a signal over all tenants.
    #[must_use]
    pub fn stats(&self, signal: SignalKind) -> SignalStats {
        match signal {
            SignalKind::Metrics => self.metrics.stats(),
            SignalKind::Logs => self.logs.stats(),
            SignalKind::Traces => self.traces.stats(),
        }
    }

    /// Figures of a tenant's head.
    #[must_use]
    pub fn head_stats(&self, signal: SignalKind, tenant: &Tenant) -> HeadStats {
        match signal {
            SignalKind::Metrics => self.metrics.head_stats(tenant),
            SignalKind::Logs => self.logs.head_stats(tenant),
            SignalKind::Traces => self.traces.head_stats(tenant),
        }
    }

    /// What each visible block of a tenant is and holds, in order of their sequence numbers.
    #[must_use]
    pub fn blocks(&self, signal: SignalKind, tenant: &Tenant) -> Vec<Manifest> {
        match signal {
            SignalKind::Metrics => self.metrics.manifests(tenant),
            SignalKind::Logs => self.logs.manifests(tenant),
            SignalKind::Traces => self.traces.manifests(tenant),
        }
    }

    /// Bytes in use and the limit, of the memory budget.
    #[must_use]
    pub fn memory(&self) -> (u64, u64) {
        (self.context.budget.used(), self.context.budget.limit())
    }

    /// Who holds memory, and what was refused for want of it.
    #[must_use]
    pub fn memory_use(&self) -> MemoryUse {
        self.context.budget.memory_use()
    }

    /// Whether memory is so short that a query under way has to stop. Cheap.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.context.budget.is_exhausted()
    }

    /// Counts what the body of a request takes until it is written and the value dropped.
    ///
    /// # Errors
    /// `MemoryLimit` when there is no room for it.
    pub fn hold_request(&self, bytes: u64) -> Result<RequestMemory> {
        let budget = &self.context.budget;
        let held = budget.reserve_for(Holder::Requests, "request body", bytes)?;
        Ok(RequestMemory::new(held))
    }

    /// Label sets of all series of a tenant where memory allows to look at each, else none: for figures that are nice to have.
    ///
    /// # Errors
    /// What disk and bucket say.
    pub async fn all_series(&self, tenant: &Tenant) -> Result<Option<Vec<Labels>>> {
        let budget = self.reading()?;
        let view = self.metrics.view();
        let blocks = view.blocks.iter().map(|b| b.manifest());
        let own = blocks.filter(|m| m.tenant == tenant.as_str());
        let heads: u64 = view
            .generations()
            .map(|h| h.stats(Some(tenant)).groups)
            .sum();
        let groups = own.map(|m| m.groups).sum::<u64>() + heads;
        drop(view);
        let bytes = groups.saturating_mul(ALL_SERIES_BYTES);
        let Ok(_held) = budget.reserve("all series", bytes) else {
            return Ok(None);
        };
        match self
            .series_labels(tenant, &[Vec::new()], MsRange::ALL, 0)
            .await
        {
            Ok(series) => Ok(Some(series)),
            Err(Error::MemoryLimit { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn reading(&self) -> Result<&Arc<Budget>> {
        if self.context.is_closed() {
            return Err(Error::Closed);
        }
        Ok(&self.context.budget)
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        for task in self.tasks.get_mut() {
            task.abort();
        }
    }
}

/// See [`Storage::compact`].
async fn compact_all<H: Head>(store: &SignalStore<H>) -> Result<()> {
    // One that has held nothing back yet lets no large step pass.
    store.drop_expired(&mut Brake::default()).await;
    store.compact(Extent::All).await
}

fn start<H: Head>(
    store: &Arc<SignalStore<H>>,
    stop: &watch::Sender<bool>,
    tasks: &mut Vec<JoinHandle<()>>,
) {
    let sync = Arc::clone(&store.wal).run_sync(stop.subscribe());
    tasks.push(tokio::spawn(sync));
    tasks.push(tokio::spawn(run_cutter(
        Arc::clone(store),
        stop.subscribe(),
    )));
    tasks.push(tokio::spawn(run_compactor(
        Arc::clone(store),
        stop.subscribe(),
    )));
    if store.context.bucket.is_some() {
        tasks.push(tokio::spawn(run_uploader(
            Arc::clone(store),
            stop.subscribe(),
        )));
    }
}
