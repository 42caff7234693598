//! The traces head: spans of all tenants, compact, in order of arrival, chained by trace.
//!
//! ```text
//!  row     56 bytes: trace, next row of the trace, resource, scope, name, kind, status, times, place of its body
//!  body    the rest of the span, encoded, in chunks of 64 KiB that are zstd-compressed once full
//!  trace   id, first and last row
//! ```
//!
//! Invariants: rows are only ever added, a batch's rows under one write lock, so a reader that notes
//! the number of rows sees batches whole; a row's *reception* number is larger than that of any row before
//! it, also across generations and restarts.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use hashbrown::HashTable;
use parking_lot::RwLock;
use xxhash_rust::xxh3::xxh3_64;

use super::block;
use super::code::{self, Input};
use super::filter::{ServiceMemo, SpanFilter, service_of};
use super::table::{Names, Table};
use crate::block::Block;
use crate::error::Result;
use crate::model::{
    Resource, Scope, Span, SpanBatch, SpanKind, SpanReport, StatusCode, Tenant, TraceId,
};
use crate::read::ReadError;
use crate::signal::{
    Applied, BlockFiles, BlockStats, DaySet, Head, HeadOptions, SignalKind, TimeSpan,
};
use crate::storage::{HeadStats, Operation};
use crate::tombstone::Tombstones;

/// Bytes of bodies that are compressed together.
const CHUNK_BYTES: usize = 64 * 1024;
/// Rows a search looks at before it lets writers in.
const SEARCH_SLICE_ROWS: usize = 8192;
/// Room for receptions within a millisecond, in the low bits of a reception number.
const RECEPTION_BITS: u32 = 20;
const NO_ROW: u32 = u32::MAX;

/// One generation of the traces head.
pub(crate) struct TracesHead {
    tenants: RwLock<HashMap<Tenant, Arc<TenantHead>>>,
    /// Reception number of the newest row of any tenant.
    reception: AtomicU64,
}

/// The spans of one tenant.
pub(super) struct TenantHead {
    /// Guards everything below; held for one batch by a writer, for a slice of rows by a reader.
    spans: RwLock<Spans>,
}

struct Row {
    trace: u32,
    next: u32,
    resource: u32,
    scope: u32,
    name: u32,
    kind: i32,
    status: i32,
    chunk: u32,
    offset: u32,
    start_ns: u64,
    end_ns: u64,
}

struct TraceRows {
    id: TraceId,
    first: u32,
    last: u32,
}

struct Spans {
    rows: Vec<Row>,
    traces: Vec<TraceRows>,
    by_id: HashTable<u32>,
    resources: Table<Resource>,
    scopes: Table<Scope>,
    names: Names,
    /// Full chunks, compressed.
    chunks: Vec<Arc<[u8]>>,
    chunk_bytes: u64,
    /// The chunk being filled, as it is.
    open: Vec<u8>,
    /// First row of each batch and its reception number; the rows of a batch count on from it.
    receptions: Vec<(u32, u64)>,
    operations: BTreeSet<(u32, u32, i32)>,
    days: DaySet,
    min_time: i64,
    max_time: i64,
}

/// What a dependency graph needs of a span.
pub(super) struct CallRow {
    pub(super) trace_id: TraceId,
    pub(super) span_id: [u8; 8],
    pub(super) parent: [u8; 8],
    pub(super) service: Arc<Resource>,
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
}

#[async_trait]
impl Head for TracesHead {
    const SIGNAL: SignalKind = SignalKind::Traces;

    fn new(_options: HeadOptions, before: Option<&Self>) -> Self {
        let reception = before.map_or(0, |b| b.reception.load(Ordering::Acquire));
        Self {
            tenants: RwLock::new(HashMap::new()),
            reception: AtomicU64::new(reception),
        }
    }

    fn is_empty(&self) -> bool {
        self.tenants.read().is_empty()
    }

    fn held_bytes(&self) -> u64 {
        let tenants = self.tenants.read();
        tenants.values().map(|t| t.spans.read().held_bytes()).sum()
    }

    fn tenants(&self) -> Vec<Tenant> {
        self.tenants.read().keys().cloned().collect()
    }

    fn days(&self, tenant: &Tenant) -> Vec<i64> {
        self.tenant(tenant)
            .map(|t| t.spans.read().days.to_vec())
            .unwrap_or_default()
    }

    fn stats(&self, tenant: Option<&Tenant>) -> HeadStats {
        let mut stats = HeadStats {
            min_time: i64::MAX,
            max_time: i64::MIN,
            ..HeadStats::default()
        };
        let tenants = self.tenants.read();
        for (name, held) in tenants.iter() {
            if tenant.is_some_and(|t| t != name) {
                continue;
            }
            let spans = held.spans.read();
            stats.groups += spans.traces.len() as u64;
            stats.chunks += spans.chunks.len() as u64;
            stats.min_time = stats.min_time.min(spans.min_time);
            stats.max_time = stats.max_time.max(spans.max_time);
        }
        stats
    }

    fn write_block(
        &self,
        tenant: &Tenant,
        span: TimeSpan,
        files: &mut dyn BlockFiles,
    ) -> Result<Option<BlockStats>> {
        let Some(held) = self.tenant(tenant) else {
            return Ok(None);
        };
        let spans = held.spans.read();
        let mut rows: Vec<u32> = (0u32..)
            .zip(&spans.rows)
            .filter(|(_, row)| (span.min..=span.max).contains(&clamp_ns(row.start_ns)))
            .map(|(at, _)| at)
            .collect();
        if rows.is_empty() {
            return Ok(None);
        }
        rows.sort_unstable_by_key(|&at| (spans.trace_of(at), at));
        let mut writer = block::Writer::new(files)?;
        let mut bodies = Bodies::new(&spans);
        for at in rows {
            let span = bodies.span(at)?;
            writer.push(spans.reception_of(at), &span)?;
        }
        writer.finish().map(Some)
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

impl TracesHead {
    pub(super) fn tenant(&self, tenant: &Tenant) -> Option<Arc<TenantHead>> {
        self.tenants.read().get(tenant).map(Arc::clone)
    }

    fn tenant_or_new(&self, tenant: &Tenant) -> Arc<TenantHead> {
        if let Some(held) = self.tenant(tenant) {
            return held;
        }
        let mut tenants = self.tenants.write();
        Arc::clone(tenants.entry(tenant.clone()).or_insert_with(|| {
            Arc::new(TenantHead {
                spans: RwLock::new(Spans::new()),
            })
        }))
    }

    /// Takes spans; see [`super::append`].
    pub(super) fn push(&self, tenant: &Tenant, batch: &SpanBatch) -> Applied<SpanReport> {
        let count = batch.spans.len();
        let applied = Applied {
            report: SpanReport { spans: count },
            taken: count as u64,
            changed: count > 0,
            ..Applied::default()
        };
        if count == 0 {
            return applied;
        }
        // Encoded outside the lock: readers and other writers go on meanwhile.
        let mut bodies = Vec::with_capacity(count * 160);
        let ends: Vec<usize> = batch
            .spans
            .iter()
            .map(|span| {
                code::put_span_body(&mut bodies, span);
                bodies.len()
            })
            .collect();
        let held = self.tenant_or_new(tenant);
        let mut spans = held.spans.write();
        let received = u64::try_from(batch.received_ms).unwrap_or(0) << RECEPTION_BITS;
        let step = |newest: u64| Some((newest + 1).max(received) + count as u64 - 1);
        let newest = self
            .reception
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, step)
            .unwrap_or_default();
        let reception = (newest + 1).max(received);
        let first = spans.next_row();
        spans.receptions.push((first, reception));
        let mut start = 0;
        for (span, end) in batch.spans.iter().zip(ends) {
            spans.push(span, &bodies[start..end]);
            start = end;
        }
        applied
    }
}

impl Spans {
    fn new() -> Self {
        Self {
            rows: Vec::new(),
            traces: Vec::new(),
            by_id: HashTable::new(),
            resources: Table::new(code::put_resource),
            scopes: Table::new(code::put_scope),
            names: Names::default(),
            chunks: Vec::new(),
            chunk_bytes: 0,
            open: Vec::new(),
            receptions: Vec::new(),
            operations: BTreeSet::new(),
            days: DaySet::default(),
            min_time: i64::MAX,
            max_time: i64::MIN,
        }
    }

    fn held_bytes(&self) -> u64 {
        (self.rows.capacity() * size_of::<Row>()
            + self.traces.capacity() * size_of::<TraceRows>()
            + self.by_id.capacity() * 5
            + self.receptions.capacity() * 16
            + self.operations.len() * 24
            + self.open.capacity()) as u64
            + self.chunk_bytes
            + self.resources.held_bytes()
            + self.scopes.held_bytes()
            + self.names.held_bytes()
    }

    fn next_row(&self) -> u32 {
        u32::try_from(self.rows.len()).expect("a generation is cut long before four billion spans")
    }

    fn push(&mut self, span: &Span, body: &[u8]) {
        if self.open.len() + body.len() > CHUNK_BYTES && !self.open.is_empty() {
            self.seal();
        }
        let at = self.next_row();
        let trace = self.trace_number(span.trace_id, at);
        let name = self.names.number(&span.name);
        let resource = self.resources.number(&span.resource);
        let service = self.names.number(service_of(&span.resource));
        self.operations.insert((service, name, span.kind.0));
        self.rows.push(Row {
            trace,
            next: NO_ROW,
            resource,
            scope: self.scopes.number(&span.scope),
            name,
            kind: span.kind.0,
            status: span.status_code.0,
            chunk: u32::try_from(self.chunks.len()).expect("fewer chunks than rows"),
            offset: u32::try_from(self.open.len()).expect("chunks are small"),
            start_ns: span.start_ns,
            end_ns: span.end_ns,
        });
        self.open.extend_from_slice(body);
        let start = clamp_ns(span.start_ns);
        self.days.add(SignalKind::Traces, start);
        self.min_time = self.min_time.min(start);
        self.max_time = self.max_time.max(start);
    }

    /// The number of a trace; its chain ends in the row `at`.
    fn trace_number(&mut self, id: TraceId, at: u32) -> u32 {
        let hash = xxh3_64(&id.0);
        let traces = &mut self.traces;
        if let Some(&number) = self.by_id.find(hash, |&n| traces[n as usize].id == id) {
            let last = std::mem::replace(&mut traces[number as usize].last, at);
            self.rows[last as usize].next = at;
            return number;
        }
        let number = u32::try_from(traces.len()).expect("fewer traces than rows");
        traces.push(TraceRows {
            id,
            first: at,
            last: at,
        });
        self.by_id
            .insert_unique(hash, number, |&n| xxh3_64(&traces[n as usize].id.0));
        number
    }

    /// Compresses the open chunk.
    fn seal(&mut self) {
        // Level 1 keeps up with ingest; compressing bytes in memory cannot fail, and if it did the chunk would be
        // kept as it is, marked by its first byte.
        let mut sealed = vec![1u8];
        match zstd::bulk::compress(&self.open, 1) {
            Ok(packed) => sealed.extend_from_slice(&packed),
            Err(_) => {
                sealed[0] = 0;
                sealed.extend_from_slice(&self.open);
            }
        }
        self.chunk_bytes += sealed.len() as u64 + 16;
        self.chunks.push(Arc::from(sealed));
        self.open.clear();
    }

    fn trace_of(&self, at: u32) -> TraceId {
        self.traces[self.rows[at as usize].trace as usize].id
    }

    fn reception_of(&self, at: u32) -> u64 {
        let run = self.receptions.partition_point(|(first, _)| *first <= at);
        match run.checked_sub(1).map(|run| self.receptions[run]) {
            Some((first, reception)) => reception + u64::from(at - first),
            None => 0,
        }
    }

    fn find(&self, id: TraceId) -> Option<&TraceRows> {
        let found = self
            .by_id
            .find(xxh3_64(&id.0), |&n| self.traces[n as usize].id == id);
        found.map(|&n| &self.traces[n as usize])
    }
}

/// Decodes rows, keeping the chunk that was inflated last.
struct Bodies<'a> {
    spans: &'a Spans,
    inflated: Option<(u32, Vec<u8>)>,
}

impl<'a> Bodies<'a> {
    fn new(spans: &'a Spans) -> Self {
        Self {
            spans,
            inflated: None,
        }
    }

    fn body(&mut self, row: &Row) -> Result<&[u8], ReadError> {
        let bad = || ReadError("a chunk of the traces head".to_owned());
        let chunk = match self.spans.chunks.get(row.chunk as usize) {
            None => self.spans.open.as_slice(),
            Some(sealed) => {
                if self.inflated.as_ref().map(|(n, _)| *n) != Some(row.chunk) {
                    let (mark, packed) = sealed.split_first().ok_or_else(bad)?;
                    let bytes = if *mark == 0 {
                        packed.to_vec()
                    } else {
                        // A single body may be larger than a chunk.
                        let size = zstd::zstd_safe::get_frame_content_size(packed)
                            .ok()
                            .flatten()
                            .and_then(|n| usize::try_from(n).ok())
                            .ok_or_else(bad)?;
                        zstd::bulk::decompress(packed, size).map_err(|_| bad())?
                    };
                    self.inflated = Some((row.chunk, bytes));
                }
                match &self.inflated {
                    Some((_, bytes)) => bytes.as_slice(),
                    None => return Err(bad()),
                }
            }
        };
        chunk.get(row.offset as usize..).ok_or_else(bad)
    }

    fn span(&mut self, at: u32) -> Result<Span, ReadError> {
        let spans = self.spans;
        let row = &spans.rows[at as usize];
        let mut span = Span {
            resource: Arc::clone(spans.resources.get(row.resource)),
            scope: Arc::clone(spans.scopes.get(row.scope)),
            trace_id: spans.traces[row.trace as usize].id,
            name: spans.names.get(row.name).to_owned(),
            kind: SpanKind(row.kind),
            status_code: StatusCode(row.status),
            start_ns: row.start_ns,
            end_ns: row.end_ns,
            ..Span::default()
        };
        Input::new(self.body(row)?).span_body(&mut span)?;
        Ok(span)
    }
}

impl TenantHead {
    /// Appends the spans of a trace with their reception numbers.
    pub(super) fn trace(&self, id: TraceId, out: &mut Vec<(u64, Span)>) -> Result<(), ReadError> {
        let spans = self.spans.read();
        let Some(trace) = spans.find(id) else {
            return Ok(());
        };
        let mut bodies = Bodies::new(&spans);
        let mut at = trace.first;
        while at != NO_ROW {
            out.push((spans.reception_of(at), bodies.span(at)?));
            at = spans.rows[at as usize].next;
        }
        Ok(())
    }

    /// The traces with a span that passes, newest first, as first reception (within this head) and id;
    /// at most `limit`.
    pub(super) fn search(
        &self,
        filter: &SpanFilter,
        limit: usize,
    ) -> Result<Vec<(u64, TraceId)>, ReadError> {
        let mut found: HashMap<u32, u64> = HashMap::new();
        let mut services = ServiceMemo::default();
        let mut end = self.spans.read().rows.len();
        'slices: while end > 0 {
            let spans = self.spans.read();
            let start = end.saturating_sub(SEARCH_SLICE_ROWS);
            let wanted_name = match filter.operation() {
                None => None,
                Some(name) => match spans.names.find(name) {
                    Some(number) => Some(number),
                    None => break,
                },
            };
            // All that can still come was first received before these rows: enough is enough.
            let newest_left = spans.reception_of(u32::try_from(end - 1).unwrap_or(NO_ROW));
            if found.values().filter(|r| **r >= newest_left).count() >= limit {
                break 'slices;
            }
            let mut bodies = Bodies::new(&spans);
            for at in (start..end).rev() {
                let row = &spans.rows[at];
                let cheap = wanted_name.is_none_or(|n| n == row.name)
                    && filter.times(
                        clamp_ns(row.start_ns),
                        row.end_ns.saturating_sub(row.start_ns),
                    )
                    && services.check(filter, row.resource, spans.resources.get(row.resource))
                    && filter.numbers(SpanKind(row.kind), StatusCode(row.status));
                if !cheap || found.contains_key(&row.trace) {
                    continue;
                }
                let at = u32::try_from(at).unwrap_or(NO_ROW);
                if filter.needs_span() && !filter.rest(&bodies.span(at)?) {
                    continue;
                }
                let first = spans.traces[row.trace as usize].first;
                found.insert(row.trace, spans.reception_of(first));
            }
            end = start;
        }
        let spans = self.spans.read();
        let mut out: Vec<(u64, TraceId)> = found
            .into_iter()
            .map(|(trace, reception)| (reception, spans.traces[trace as usize].id))
            .collect();
        out.sort_unstable_by(|a, b| b.cmp(a));
        out.truncate(limit);
        Ok(out)
    }

    pub(super) fn services(&self, out: &mut BTreeSet<String>) {
        let spans = self.spans.read();
        let mut last = None;
        for (service, ..) in &spans.operations {
            if last != Some(*service) {
                last = Some(*service);
                let name = spans.names.get(*service);
                if !name.is_empty() {
                    out.insert(name.to_owned());
                }
            }
        }
    }

    pub(super) fn operations(&self, service: &str, out: &mut BTreeSet<Operation>) {
        let spans = self.spans.read();
        for (owner, name, kind) in &spans.operations {
            if service.is_empty() || spans.names.get(*owner) == service {
                out.insert(Operation {
                    name: spans.names.get(*name).to_owned(),
                    span_kind: SpanKind(*kind).as_str().to_owned(),
                });
            }
        }
    }

    /// Hands over all spans with a start from `min_ns` to `max_ns`.
    pub(super) fn calls(
        &self,
        min_ns: i64,
        max_ns: i64,
        mut each: impl FnMut(CallRow) -> Result<()>,
    ) -> Result<()> {
        let end = self.spans.read().rows.len();
        for start in (0..end).step_by(SEARCH_SLICE_ROWS) {
            let spans = self.spans.read();
            let mut bodies = Bodies::new(&spans);
            for at in start..end.min(start + SEARCH_SLICE_ROWS) {
                let row = &spans.rows[at];
                let start_ns = clamp_ns(row.start_ns);
                if start_ns < min_ns || start_ns > max_ns {
                    continue;
                }
                let mut body = Input::new(bodies.body(row)?);
                each(CallRow {
                    trace_id: spans.traces[row.trace as usize].id,
                    span_id: body.fixed()?,
                    parent: body.fixed()?,
                    service: Arc::clone(spans.resources.get(row.resource)),
                    start_ns,
                    end_ns: clamp_ns(row.end_ns),
                })?;
            }
        }
        Ok(())
    }
}

/// Nanoseconds of the wire as storage counts them: what lies beyond the year 2262 counts as its end.
pub(super) fn clamp_ns(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}
