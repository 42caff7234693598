//! The logs head: for each stream an open page and the sealed ones before it.
//!
//! Invariants: a batch is applied under the tenant's gate (read), a query copies its references under the gate
//! (write), so it sees batches whole; within a generation a stream holds an entry (time and line) once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

use super::block;
use super::page::{OpenPage, SealedPage};
use crate::block::Block;
use crate::error::Result;
use crate::index::Index;
use crate::model::{EntryBuf, Labels, LogBatch, LogReport, Matcher, NsRange, Tenant};
use crate::read::ReadError;
use crate::signal::{
    Applied, BlockFiles, BlockStats, DaySet, Head, HeadOptions, SignalKind, TimeSpan,
};
use crate::storage::HeadStats;
use crate::tombstone::Tombstones;

/// Bytes that a stream costs beside its pages.
const STREAM_BYTES: u64 = 256;

/// One generation of the logs head.
pub(crate) struct LogsHead {
    window_ns: Option<i64>,
    tenants: RwLock<HashMap<Tenant, Arc<TenantLogs>>>,
    held_bytes: AtomicU64,
    /// The newest time of each stream of the generations before; empty without a window.
    newest_before: HashMap<(Tenant, Labels), i64>,
}

/// The streams of one tenant.
pub(super) struct TenantLogs {
    /// Read: a batch is being applied. Write: a query looks.
    gate: RwLock<()>,
    catalog: RwLock<Catalog>,
    days: Mutex<DaySet>,
    min_ns: AtomicI64,
    max_ns: AtomicI64,
}

#[derive(Default)]
struct Catalog {
    index: Index,
    by_labels: HashMap<Labels, u32>,
    streams: Vec<Arc<StreamLogs>>,
}

/// The entries of one stream.
pub(super) struct StreamLogs {
    pub(super) labels: Labels,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    sealed: Vec<Arc<SealedPage>>,
    /// Shared with the queries that look at it; a write then goes on with a copy.
    open: Arc<OpenPage>,
    newest_ns: Option<i64>,
}

/// A page of a stream.
#[derive(Clone)]
pub(super) enum HeadPage {
    Open(Arc<OpenPage>),
    Sealed(Arc<SealedPage>),
}

impl HeadPage {
    pub(super) fn bounds_ns(&self) -> (i64, i64) {
        match self {
            Self::Open(page) => page.bounds_ns(),
            Self::Sealed(page) => (page.min_ns, page.max_ns),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Open(page) => page.len(),
            Self::Sealed(page) => page.entries as usize,
        }
    }

    pub(super) fn line_bytes(&self) -> usize {
        match self {
            Self::Open(page) => page.line_bytes(),
            Self::Sealed(page) => page.line_bytes as usize,
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::Open(page) => page.held_bytes(),
            Self::Sealed(page) => page.held_bytes(),
        }
    }

    pub(super) fn read(
        &self,
        wanted: impl Fn(i64) -> bool,
        out: &mut EntryBuf,
    ) -> Result<(), ReadError> {
        match self {
            Self::Open(page) => {
                page.read(wanted, out);
                Ok(())
            }
            Self::Sealed(page) => page.read(wanted, out),
        }
    }
}

/// A stream and its pages that reach into a range.
pub(super) struct StreamPages {
    pub(super) labels: Labels,
    pub(super) pages: Vec<HeadPage>,
}

impl LogsHead {
    pub(super) fn tenant(&self, tenant: &Tenant) -> Option<Arc<TenantLogs>> {
        self.tenants.read().get(tenant).map(Arc::clone)
    }

    fn tenant_or_new(&self, tenant: &Tenant) -> Arc<TenantLogs> {
        if let Some(known) = self.tenant(tenant) {
            return known;
        }
        let mut tenants = self.tenants.write();
        let made = tenants
            .entry(tenant.clone())
            .or_insert_with(|| Arc::new(TenantLogs::new()));
        Arc::clone(made)
    }

    /// Applies a batch but for the refused entries (ascending positions). `window_ns` is how far behind an entry may be.
    fn apply(
        &self,
        tenant: &Tenant,
        batch: &LogBatch<'_>,
        refused: &[u32],
        window_ns: Option<i64>,
    ) -> Applied<LogReport> {
        let logs = self.tenant_or_new(tenant);
        let _gate = logs.gate.read();
        let mut applied = Applied::<LogReport>::default();
        let mut times = Times::default();
        for (at, batch_stream) in batch.streams.iter().enumerate() {
            if batch_stream.entries.is_empty() {
                continue;
            }
            let mut stream = None;
            for i in batch_stream.entries.clone() {
                let number = u32::try_from(i).unwrap_or(u32::MAX);
                if refused.binary_search(&number).is_ok() {
                    continue;
                }
                let Some(entry) = batch.entries.get(i) else {
                    continue;
                };
                let stream = stream.get_or_insert_with(|| {
                    let (stream, is_new) = logs.stream(&batch_stream.labels);
                    if is_new {
                        let bytes = STREAM_BYTES + batch_stream.labels.as_bytes().len() as u64 * 2;
                        self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
                    }
                    stream
                });
                let mut pages = stream.pages.lock();
                if let Some(window_ns) = window_ns {
                    let before = || {
                        let key = (tenant.clone(), batch_stream.labels.clone());
                        self.newest_before.get(&key).copied()
                    };
                    let newest = pages.newest_ns.or_else(before);
                    let oldest = newest.map(|n| n.saturating_sub(window_ns));
                    if let Some(oldest) = oldest.filter(|o| entry.t_ns < *o) {
                        applied.report.too_far_behind.push((at, i, oldest));
                        applied.refused.push(number);
                        continue;
                    }
                }
                if pages.contains(entry.t_ns, &entry.line) {
                    applied.report.duplicates += 1;
                    applied.refused.push(number);
                    continue;
                }
                let metadata = batch.metadata.get(entry.metadata.clone());
                let metadata = metadata.unwrap_or_default();
                let pairs = metadata.iter().map(|(n, v)| (n.as_ref(), v.as_ref()));
                let change = pages.push(entry.t_ns, &entry.line, pairs);
                drop(pages);
                // Two's complement: a page that shrinks by sealing is subtracted.
                self.held_bytes.fetch_add(change as u64, Ordering::Relaxed);
                times.add(entry.t_ns);
                applied.report.entries += 1;
            }
        }
        if applied.report.entries > 0 {
            let mut days = logs.days.lock();
            for t in times.list {
                days.add(SignalKind::Logs, t);
            }
            drop(days);
            logs.min_ns.fetch_min(times.min, Ordering::Relaxed);
            logs.max_ns.fetch_max(times.max, Ordering::Relaxed);
        }
        applied.taken = applied.report.entries as u64;
        applied.changed = applied.taken > 0;
        applied.refused.sort_unstable();
        applied
    }
}

/// Times of a batch: one of each day, and the ends.
struct Times {
    list: Vec<i64>,
    last_day: Option<i64>,
    min: i64,
    max: i64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            last_day: None,
            min: i64::MAX,
            max: i64::MIN,
        }
    }
}

impl Times {
    fn add(&mut self, t: i64) {
        self.min = self.min.min(t);
        self.max = self.max.max(t);
        let day = SignalKind::Logs.day_of(t);
        if self.last_day != Some(day) {
            self.last_day = Some(day);
            self.list.push(t);
        }
    }
}

impl TenantLogs {
    fn new() -> Self {
        Self {
            gate: RwLock::new(()),
            catalog: RwLock::new(Catalog::default()),
            days: Mutex::new(DaySet::default()),
            min_ns: AtomicI64::new(i64::MAX),
            max_ns: AtomicI64::new(i64::MIN),
        }
    }

    /// The stream of a label set; whether it is new.
    fn stream(&self, labels: &Labels) -> (Arc<StreamLogs>, bool) {
        {
            let catalog = self.catalog.read();
            if let Some(&id) = catalog.by_labels.get(labels) {
                return (Arc::clone(&catalog.streams[id as usize]), false);
            }
        }
        let mut catalog = self.catalog.write();
        let pairs: Vec<(&str, &str)> = labels.iter().collect();
        let (id, is_new) = catalog.index.insert(&pairs);
        if is_new {
            catalog.by_labels.insert(labels.clone(), id);
            catalog.streams.push(Arc::new(StreamLogs {
                labels: labels.clone(),
                pages: Mutex::new(Pages::default()),
            }));
        }
        (Arc::clone(&catalog.streams[id as usize]), is_new)
    }

    /// The streams that pass all matchers of any of the lists and their pages that reach into the range, all at one moment.
    pub(super) fn select(&self, any_of: &[Vec<Matcher>], range: NsRange) -> Vec<StreamPages> {
        let _gate = self.gate.write();
        let catalog = self.catalog.read();
        let mut ids = roaring::RoaringBitmap::new();
        for matchers in any_of {
            ids |= catalog.index.select(matchers);
        }
        ids.iter()
            .filter_map(|id| {
                let stream = catalog.streams.get(id as usize)?;
                let pages = stream.pages.lock().reaching(range);
                (!pages.is_empty()).then(|| StreamPages {
                    labels: stream.labels.clone(),
                    pages,
                })
            })
            .collect()
    }

    fn all(&self) -> Vec<StreamPages> {
        self.select(&[Vec::new()], NsRange::ALL)
    }
}

impl Pages {
    fn contains(&self, t_ns: i64, line: &str) -> bool {
        if self.newest_ns.is_none_or(|newest| newest < t_ns) {
            return false;
        }
        self.open.contains(t_ns, line) || self.sealed.iter().any(|p| p.contains(t_ns, line))
    }

    /// Adds an entry; the change of held bytes.
    fn push<'t>(
        &mut self,
        t_ns: i64,
        line: &str,
        metadata: impl Iterator<Item = (&'t str, &'t str)> + Clone,
    ) -> i64 {
        let before = self.open.held_bytes() as i64;
        self.newest_ns = Some(self.newest_ns.map_or(t_ns, |n| n.max(t_ns)));
        let open = Arc::make_mut(&mut self.open);
        open.push(t_ns, line, metadata);
        if !open.is_full() {
            return open.held_bytes() as i64 - before;
        }
        let sealed = open.seal();
        *open = OpenPage::default();
        let held = sealed.held_bytes() as i64;
        self.sealed.push(Arc::new(sealed));
        held - before
    }

    fn reaching(&self, range: NsRange) -> Vec<HeadPage> {
        let sealed = self.sealed.iter().map(|p| HeadPage::Sealed(Arc::clone(p)));
        let open = (!self.open.is_empty()).then(|| HeadPage::Open(Arc::clone(&self.open)));
        sealed
            .chain(open)
            .filter(|page| {
                let (min, max) = page.bounds_ns();
                range.overlaps(min, max)
            })
            .collect()
    }
}

#[async_trait]
impl Head for LogsHead {
    const SIGNAL: SignalKind = SignalKind::Logs;

    fn new(options: HeadOptions, before: Option<&Self>) -> Self {
        let window_ns = options
            .out_of_order_window_ms
            .map(|ms| ms.saturating_mul(1_000_000));
        let newest_before = match (before, window_ns) {
            (Some(before), Some(_)) => before.newest(),
            _ => HashMap::new(),
        };
        Self {
            window_ns,
            tenants: RwLock::new(HashMap::new()),
            held_bytes: AtomicU64::new(0),
            newest_before,
        }
    }

    fn is_empty(&self) -> bool {
        let tenants = self.tenants.read();
        tenants
            .values()
            .all(|t| t.max_ns.load(Ordering::Relaxed) < t.min_ns.load(Ordering::Relaxed))
    }

    fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    fn tenants(&self) -> Vec<Tenant> {
        self.tenants.read().keys().cloned().collect()
    }

    fn days(&self, tenant: &Tenant) -> Vec<i64> {
        self.tenant(tenant)
            .map(|t| t.days.lock().to_vec())
            .unwrap_or_default()
    }

    fn stats(&self, tenant: Option<&Tenant>) -> HeadStats {
        let mut stats = HeadStats {
            min_time: i64::MAX,
            max_time: i64::MIN,
            ..HeadStats::default()
        };
        for (name, logs) in self.tenants.read().iter() {
            if tenant.is_some_and(|t| t != name) {
                continue;
            }
            let catalog = logs.catalog.read();
            stats.groups += catalog.streams.len() as u64;
            stats.label_pairs += catalog.index.pair_count() as u64;
            stats.min_time = stats.min_time.min(logs.min_ns.load(Ordering::Relaxed));
            stats.max_time = stats.max_time.max(logs.max_ns.load(Ordering::Relaxed));
            for stream in &catalog.streams {
                let pages = stream.pages.lock();
                stats.chunks += pages.sealed.len() as u64 + u64::from(!pages.open.is_empty());
            }
        }
        stats
    }

    fn write_block(
        &self,
        tenant: &Tenant,
        span: TimeSpan,
        files: &mut dyn BlockFiles,
    ) -> Result<Option<BlockStats>> {
        let Some(logs) = self.tenant(tenant) else {
            return Ok(None);
        };
        let mut streams = logs.all();
        streams.sort_by(|a, b| a.labels.cmp(&b.labels));
        block::write(streams, span, files)
    }

    async fn merge_blocks(
        blocks: &[Arc<Block>],
        drop_before: Option<i64>,
        _tombstones: &Tombstones,
        files: &mut dyn BlockFiles,
    ) -> Result<Option<BlockStats>> {
        block::merge(blocks, drop_before, files).await
    }
}

impl LogsHead {
    fn newest(&self) -> HashMap<(Tenant, Labels), i64> {
        let mut newest = self.newest_before.clone();
        for (tenant, logs) in self.tenants.read().iter() {
            for stream in &logs.catalog.read().streams {
                if let Some(t) = stream.pages.lock().newest_ns {
                    newest.insert((tenant.clone(), stream.labels.clone()), t);
                }
            }
        }
        newest
    }
}

/// Takes a batch into the active generation. The caller writes the log record afterwards. Dropped duplicates
/// are among the refused.
pub(crate) fn append(head: &LogsHead, tenant: &Tenant, batch: &LogBatch<'_>) -> Applied<LogReport> {
    head.apply(tenant, batch, &[], head.window_ns)
}

/// Takes a replayed batch: everything but the refused entries, without admission.
pub(crate) fn replay(head: &LogsHead, tenant: &Tenant, batch: &LogBatch<'_>, refused: &[u32]) {
    head.apply(tenant, batch, refused, None);
}
