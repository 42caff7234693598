//! One generation of the metrics head.
//!
//! ```text
//!  raw label bytes ─ xxh3-128 ─▶ one of 64 key tables ─▶ series ─▶ chunks
//!                      (unknown) └▶ decode labels ─▶ catalog: index + series by id
//! ```
//!
//! A known series is found without decoding its labels and without allocating. Two encodings of one label set have two keys and one
//! series. Lock order: gate, key table, catalog, series; a key table is never held while the catalog is taken for writing.
//!
//! The *gate* makes requests visible as a whole: an append holds it shared while it applies its batch, a query takes it alone for
//! the moment in which it copies its view of the series (see `select.rs` for how many at once).

mod saved;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use hashbrown::{HashMap, HashTable};
use parking_lot::{Mutex, RwLock};

use super::block::{OpenBlock, merge_blocks, write_block};
use super::carried::Carried;
use super::series::{Growth, MemSeries};
use crate::block::Block;
use crate::error::Result;
use crate::index::Index;
use crate::model::{Labels, Matcher, MsRange, Tenant};
use crate::signal::{BlockFiles, BlockStats, DaySet, Head, HeadOptions, SignalKind, TimeSpan};
use crate::storage::HeadStats;
use crate::tombstone::{Tombstone, Tombstones};

const SHARDS: usize = 64;
/// An entry of a key table with its share of the table, which is between half and seven eighths full.
const KEY_BYTES: i64 = ((size_of::<KeyEntry>() + 1) * 3 / 2) as i64;
/// What a series takes besides its chunks.
const SERIES_BYTES: i64 = KEY_BYTES + (size_of::<MemSeries>() + 16 + 12) as i64;

type Tenants = RwLock<HashMap<Tenant, Arc<TenantHead>>>;

/// One generation of the metrics head, all tenants.
#[derive(Debug)]
pub(crate) struct MetricsHead {
    pub(super) options: HeadOptions,
    tenants: Arc<Tenants>,
    /// The generation before, as long as it lives; asked for the newest time of a series that is new here.
    before: Weak<Tenants>,
    pub(super) carried: Arc<Carried>,
}

/// A tenant's part of a generation.
#[derive(Debug)]
pub(super) struct TenantHead {
    /// Makes the hashes of keys unpredictable.
    pub(super) seed: u64,
    keys: Box<[RwLock<HashTable<KeyEntry>>]>,
    pub(super) catalog: RwLock<Catalog>,
    pub(super) gate: RwLock<()>,
    days: Mutex<DaySet>,
    held: AtomicI64,
    index_held: AtomicI64,
    chunks: AtomicI64,
    samples: AtomicU64,
    min_ms: AtomicI64,
    max_ms: AtomicI64,
}

#[derive(Debug)]
struct KeyEntry {
    hash: [u64; 2],
    series: Arc<MemSeries>,
}

/// All series of a tenant.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) index: Index,
    /// By id.
    pub(super) series: Vec<Arc<MemSeries>>,
}

/// The 128 bits that stand for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyHash([u64; 2]);

impl KeyHash {
    /// Of no key.
    pub(super) const NONE: Self = Self([0; 2]);

    const fn shard(self) -> usize {
        // The tables use the low and the highest bits of the other half.
        self.0[1] as usize % SHARDS
    }
}

impl TenantHead {
    pub(super) fn new() -> Self {
        let seed = rand::random();
        Self {
            seed,
            keys: (0..SHARDS).map(|_| RwLock::default()).collect(),
            catalog: RwLock::new(Catalog {
                index: Index::new(seed),
                series: Vec::new(),
            }),
            gate: RwLock::new(()),
            days: Mutex::default(),
            held: AtomicI64::new(0),
            index_held: AtomicI64::new(0),
            chunks: AtomicI64::new(0),
            samples: AtomicU64::new(0),
            min_ms: AtomicI64::new(i64::MAX),
            max_ms: AtomicI64::new(i64::MIN),
        }
    }

    /// Hashes the raw bytes of a series' labels.
    #[inline]
    pub(super) fn hash_key(&self, key: &[u8]) -> KeyHash {
        let hash = xxhash_rust::xxh3::xxh3_128_with_seed(key, self.seed);
        KeyHash([hash as u64, (hash >> 64) as u64])
    }

    /// A known series; `None` when the key is unknown.
    #[inline]
    pub(super) fn find_series(&self, key: KeyHash) -> Option<Arc<MemSeries>> {
        let table = self.keys[key.shard()].read();
        let entry = table.find(key.0[0], |e| e.hash == key.0)?;
        Some(Arc::clone(&entry.series))
    }

    /// The series of labels under a key that was unknown. `neighbour` is one that most likely has most labels in common with it; `newest` tells
    /// its newest time before this generation.
    #[cold]
    pub(super) fn add_series(
        &self,
        key: KeyHash,
        labels: &[(&str, &str)],
        neighbour: Option<u32>,
        newest: impl FnOnce() -> Option<i64>,
    ) -> Arc<MemSeries> {
        let mut catalog = self.catalog.write();
        let (id, new) = catalog.index.insert_near(labels, neighbour);
        if new {
            catalog.series.push(Arc::new(MemSeries::new(id, newest())));
        }
        let series = Arc::clone(&catalog.series[id as usize]);
        let held = catalog.index.held_bytes() as i64;
        self.index_held.store(held, Ordering::Relaxed);
        drop(catalog);
        let grown = if new { SERIES_BYTES } else { KEY_BYTES };
        self.held.fetch_add(grown, Ordering::Relaxed);
        let mut table = self.keys[key.shard()].write();
        // Somebody else may have met the same key in between.
        if table.find(key.0[0], |e| e.hash == key.0).is_none() {
            let entry = KeyEntry {
                hash: key.0,
                series: Arc::clone(&series),
            };
            table.insert_unique(key.0[0], entry, |e| e.hash[0]);
        }
        series
    }

    /// Notes what a batch brought.
    pub(super) fn note(&self, growth: Growth, samples: u64, times: TimeSpan) {
        self.held.fetch_add(growth.bytes, Ordering::Relaxed);
        if growth.chunks != 0 {
            self.chunks.fetch_add(growth.chunks, Ordering::Relaxed);
        }
        if samples > 0 {
            self.samples.fetch_add(samples, Ordering::Relaxed);
            self.min_ms.fetch_min(times.min, Ordering::Relaxed);
            self.max_ms.fetch_max(times.max, Ordering::Relaxed);
        }
    }

    /// Takes samples out. The series stay until this generation goes: their keys are known to writers.
    fn delete(&self, matchers: &[Matcher], range: MsRange) {
        let _whole = self.gate.write();
        let catalog = self.catalog.read();
        let mut growth = Growth::default();
        for id in &catalog.index.select(matchers) {
            if let Some(series) = catalog.series.get(id as usize) {
                series.state.lock().delete(range, &mut growth);
            }
        }
        self.held.fetch_add(growth.bytes, Ordering::Relaxed);
        self.chunks.fetch_add(growth.chunks, Ordering::Relaxed);
    }

    /// Notes the days of samples, given as times or as first and last of a time within one day.
    pub(super) fn note_days(&self, times: impl Iterator<Item = i64>) {
        let mut days = self.days.lock();
        for t_ms in times {
            days.add(SignalKind::Metrics, t_ms);
        }
    }

    fn held_bytes(&self) -> i64 {
        self.held.load(Ordering::Relaxed)
            + self.index_held.load(Ordering::Relaxed)
            + size_of::<Self>() as i64
            + (SHARDS * size_of::<RwLock<HashTable<KeyEntry>>>()) as i64
    }

    /// First and last time; empty when the first is greater.
    pub(super) fn times(&self) -> TimeSpan {
        TimeSpan {
            min: self.min_ms.load(Ordering::Relaxed),
            max: self.max_ms.load(Ordering::Relaxed),
        }
    }

    fn stats(&self) -> HeadStats {
        let catalog = self.catalog.read();
        let times = self.times();
        HeadStats {
            groups: catalog.series.len() as u64,
            appended: self.samples.load(Ordering::Relaxed),
            min_time: times.min,
            max_time: times.max,
            chunks: self.chunks.load(Ordering::Relaxed).max(0) as u64,
            label_pairs: catalog.index.pair_count() as u64,
        }
    }
}

impl MetricsHead {
    /// A tenant's part, if there is one.
    pub(super) fn tenant(&self, tenant: &Tenant) -> Option<Arc<TenantHead>> {
        self.tenants.read().get(tenant).map(Arc::clone)
    }

    /// A tenant's part, made if there is none.
    pub(super) fn tenant_or_new(&self, tenant: &Tenant) -> Arc<TenantHead> {
        if let Some(found) = self.tenant(tenant) {
            return found;
        }
        let mut tenants = self.tenants.write();
        let entry = tenants
            .entry(tenant.clone())
            .or_insert_with(|| Arc::new(TenantHead::new()));
        Arc::clone(entry)
    }

    /// Whether a series is in this generation, under another key, or was in the one before that is still being cut: writing
    /// on makes it no new one.
    pub(super) fn is_known(
        &self,
        tenant: &Tenant,
        part: &TenantHead,
        labels: &[(&str, &str)],
    ) -> bool {
        let find = |head: &TenantHead| {
            let catalog = head.catalog.read();
            catalog.index.find(labels.iter().copied()).is_some()
        };
        let before = || {
            let before = self.before.upgrade()?;
            let head = before.read().get(tenant).map(Arc::clone)?;
            Some(find(&head))
        };
        find(part) || before() == Some(true)
    }

    /// The newest time that a series had before this generation, where old samples are refused.
    pub(super) fn newest_before(&self, tenant: &Tenant, labels: &[(&str, &str)]) -> Option<i64> {
        self.options.out_of_order_window_ms?;
        if let Some(before) = self.before.upgrade()
            && let Some(head) = before.read().get(tenant).map(Arc::clone)
        {
            let catalog = head.catalog.read();
            if let Some(id) = catalog.index.find(labels.iter().copied()) {
                return catalog.series[id as usize].state.lock().newest_ms();
            }
        }
        let hash = Labels::from_sorted(labels.iter().copied()).stable_hash();
        self.carried.newest(tenant, hash)
    }

    /// Hands the newest times on before this generation goes away.
    fn keep_newest(&self, tenant: &Tenant, head: &TenantHead) {
        if self.options.out_of_order_window_ms.is_none() {
            return;
        }
        let catalog = head.catalog.read();
        let times: Vec<(u64, i64)> = catalog
            .series
            .iter()
            .filter_map(|s| {
                let newest = s.state.lock().newest_ms()?;
                Some((catalog.index.labels(s.id).stable_hash(), newest))
            })
            .collect();
        self.carried.keep_newest(tenant, &times);
    }
}

#[async_trait]
impl Head for MetricsHead {
    const SIGNAL: SignalKind = SignalKind::Metrics;

    fn new(options: HeadOptions, before: Option<&Self>) -> Self {
        Self {
            options,
            tenants: Arc::default(),
            before: before.map_or_else(Weak::new, |b| Arc::downgrade(&b.tenants)),
            carried: before.map_or_else(
                || Arc::new(Carried::new(options.max_exemplars)),
                |b| Arc::clone(&b.carried),
            ),
        }
    }

    fn is_empty(&self) -> bool {
        let unwritten = |t: &Arc<TenantHead>| t.samples.load(Ordering::Relaxed) == 0;
        self.tenants.read().values().all(unwritten)
    }

    fn held_bytes(&self) -> u64 {
        let tenants: i64 = self.tenants.read().values().map(|t| t.held_bytes()).sum();
        // Shared with other generations, counted in each: there are rarely two, and it is small.
        tenants.max(0) as u64 + self.carried.held_bytes() as u64
    }

    fn tenants(&self) -> Vec<Tenant> {
        let tenants = self.tenants.read();
        let written = |t: &TenantHead| t.samples.load(Ordering::Relaxed) > 0;
        let with_data = tenants.iter().filter(|(_, head)| written(head));
        with_data.map(|(tenant, _)| tenant.clone()).collect()
    }

    fn days(&self, tenant: &Tenant) -> Vec<i64> {
        self.tenant(tenant)
            .map_or_else(Vec::new, |t| t.days.lock().to_vec())
    }

    fn stats(&self, tenant: Option<&Tenant>) -> HeadStats {
        let mut sum = HeadStats {
            min_time: i64::MAX,
            max_time: i64::MIN,
            ..HeadStats::default()
        };
        for (name, head) in self.tenants.read().iter() {
            if tenant.is_some_and(|t| t != name) {
                continue;
            }
            let one = head.stats();
            sum.groups += one.groups;
            sum.appended += one.appended;
            sum.chunks += one.chunks;
            sum.label_pairs += one.label_pairs;
            sum.min_time = sum.min_time.min(one.min_time);
            sum.max_time = sum.max_time.max(one.max_time);
        }
        sum
    }

    fn remembered(&self) -> Option<Vec<u8>> {
        // Asked at each cut, while this generation is frozen and before it goes.
        for (tenant, head) in self.tenants.read().iter() {
            self.keep_newest(tenant, head);
        }
        self.carried.to_bytes()
    }

    fn remember(&self, bytes: &[u8]) -> Result<()> {
        self.carried.add_bytes(bytes)
    }

    const SNAPSHOTS: bool = true;

    fn snapshot(&self, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.save(each)
    }

    fn restore(&self, frame: &[u8], wanted: &dyn Fn(&Tenant) -> bool) -> Result<()> {
        self.load(frame, wanted)
    }

    const DELETES: bool = true;

    fn delete(&self, tombstone: &Tombstone) {
        if let Some(part) = self.tenant(&tombstone.tenant) {
            let TimeSpan { min, max } = tombstone.span;
            part.delete(&tombstone.matchers, MsRange::new(min, max));
        }
    }

    async fn has_deleted(block: &Arc<Block>, tombstones: &Tombstones) -> Result<bool> {
        let open = OpenBlock::open(Arc::clone(block), tombstones).await?;
        Ok(open.has_deleted())
    }

    fn write_block(
        &self,
        tenant: &Tenant,
        span: TimeSpan,
        files: &mut dyn BlockFiles,
    ) -> Result<Option<BlockStats>> {
        let Some(head) = self.tenant(tenant) else {
            return Ok(None);
        };
        write_block(&head, span, files)
    }

    /// What the index that is written holds of a series: its id among those of each of its labels, and values that only it has.
    const MERGE_BYTES: u64 = 192;

    async fn merge_blocks(
        blocks: &[Arc<Block>],
        drop_before: Option<i64>,
        tombstones: &Tombstones,
        files: &mut dyn BlockFiles,
    ) -> Result<Option<BlockStats>> {
        merge_blocks(blocks, drop_before, tombstones, files).await
    }
}
