//! What outlives a generation of the head: metadata of families, the ring of exemplars and, where old samples are refused,
//! the newest time of each series. All generations of one process share it; a cut keeps it in a file beside the log.
//!
//! ```text
//! +---+----------+-----------+-------------+
//! | 1 | metadata | exemplars | newest time |      each a counted list; texts and label sets with their length, varints
//! +---+----------+-----------+-------------+
//! ```

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::codec::varint::{put, put_signed, take, take_signed};
use crate::error::{Error, Result};
use crate::model::{
    Exemplar, ExemplarSeries, Labels, Matcher, Metadata, MetricType, MsRange, Tenant,
};

const VERSION: u8 = 1;
/// Different metadata that a family may have at once; the oldest goes first.
const MAX_METADATA_OF_FAMILY: usize = 8;
/// Families of all tenants together; further ones are not kept.
const MAX_FAMILIES: usize = 200_000;
/// A series that wrote nothing for so long before its tenant's newest sample is forgotten, so that churn does not hold
/// memory for ever.
const NEWEST_KEPT_MS: i64 = 24 * 3600 * 1000;

/// Shared by all generations.
#[derive(Debug)]
pub(super) struct Carried {
    metadata: Mutex<Families>,
    exemplars: Mutex<Ring>,
    newest: Mutex<HashMap<Tenant, HashMap<u64, i64>>>,
}

#[derive(Debug, Default)]
struct Families {
    tenants: HashMap<Tenant, BTreeMap<String, Vec<Metadata>>>,
    count: usize,
    bytes: usize,
}

/// The newest exemplars of all tenants, in order of arrival.
#[derive(Debug)]
struct Ring {
    capacity: usize,
    order: VecDeque<(Tenant, Labels)>,
    series: HashMap<(Tenant, Labels), VecDeque<Exemplar>>,
    bytes: usize,
}

impl Carried {
    pub(super) fn new(max_exemplars: usize) -> Self {
        Self {
            metadata: Mutex::default(),
            exemplars: Mutex::new(Ring {
                capacity: max_exemplars,
                order: VecDeque::new(),
                series: HashMap::new(),
                bytes: 0,
            }),
            newest: Mutex::default(),
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        let newest: usize = self.newest.lock().values().map(|m| m.capacity() * 18).sum();
        self.metadata.lock().bytes + self.exemplars.lock().bytes + newest
    }

    /// Keeps metadata; whether it was new.
    pub(super) fn add_metadata(&self, tenant: &Tenant, metadata: &Metadata) -> bool {
        self.metadata.lock().add(tenant, metadata)
    }

    /// See [`crate::Storage::metadata`].
    pub(super) fn metadata(&self, tenant: &Tenant, family: Option<&str>) -> Vec<Metadata> {
        let families = self.metadata.lock();
        let Some(all) = families.tenants.get(tenant) else {
            return Vec::new();
        };
        match family {
            Some(family) => all.get(family).cloned().unwrap_or_default(),
            None => all.values().flatten().cloned().collect(),
        }
    }

    /// Keeps an exemplar; whether it was taken. As in Prometheus, one that repeats or precedes its series' newest is dropped without
    /// an error.
    pub(super) fn add_exemplar(&self, tenant: &Tenant, series: &Labels, e: Exemplar) -> bool {
        self.exemplars.lock().add(tenant, series, e)
    }

    /// See [`crate::Storage::exemplars`].
    pub(super) fn exemplars(
        &self,
        tenant: &Tenant,
        any_of: &[Vec<Matcher>],
        range: MsRange,
    ) -> Vec<ExemplarSeries> {
        let ring = self.exemplars.lock();
        let passes = |labels: &Labels| {
            let all = |ms: &Vec<Matcher>| ms.iter().all(|m| m.matches_labels(labels));
            any_of.iter().any(all)
        };
        let mut out: Vec<ExemplarSeries> = ring
            .series
            .iter()
            .filter(|((owner, labels), _)| owner == tenant && passes(labels))
            .map(|((_, labels), list)| ExemplarSeries {
                series: labels.clone(),
                exemplars: list
                    .iter()
                    .filter(|e| range.contains(e.t_ms))
                    .cloned()
                    .collect(),
            })
            .filter(|s| !s.exemplars.is_empty())
            .collect();
        out.sort_unstable_by(|a, b| a.series.cmp(&b.series));
        out
    }

    /// The newest time of a series in generations that are gone.
    pub(super) fn newest(&self, tenant: &Tenant, series_hash: u64) -> Option<i64> {
        self.newest.lock().get(tenant)?.get(&series_hash).copied()
    }

    /// Keeps the newest times of a frozen generation.
    pub(super) fn keep_newest(&self, tenant: &Tenant, times: &[(u64, i64)]) {
        let mut all = self.newest.lock();
        let map = all.entry(tenant.clone()).or_default();
        for &(hash, t_ms) in times {
            let kept = map.entry(hash).or_insert(t_ms);
            *kept = t_ms.max(*kept);
        }
        let newest = map.values().copied().max().unwrap_or(i64::MIN);
        map.retain(|_, t_ms| newest.saturating_sub(*t_ms) <= NEWEST_KEPT_MS);
    }

    /// Everything as bytes; `None` when there is nothing.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut out = vec![VERSION];
        let families = self.metadata.lock();
        let metadata: Vec<(&Tenant, &Metadata)> = families
            .tenants
            .iter()
            .flat_map(|(t, all)| all.values().flatten().map(move |m| (t, m)))
            .collect();
        put(&mut out, metadata.len() as u64);
        for (tenant, m) in &metadata {
            put_text(&mut out, tenant.as_str());
            put_text(&mut out, &m.family);
            out.push(m.metric_type as u8);
            put_text(&mut out, &m.help);
            put_text(&mut out, &m.unit);
        }
        let ring = self.exemplars.lock();
        put(&mut out, ring.order.len() as u64);
        // In order of arrival: of each series the next one that was not yet written.
        let mut at: HashMap<&(Tenant, Labels), usize> = HashMap::new();
        for key in &ring.order {
            let i = at.entry(key).or_insert(0);
            if let Some(e) = ring.series.get(key).and_then(|list| list.get(*i)) {
                put_text(&mut out, key.0.as_str());
                put_bytes(&mut out, key.1.as_bytes());
                put_bytes(&mut out, e.labels.as_bytes());
                put(&mut out, e.value.to_bits());
                put_signed(&mut out, e.t_ms);
            }
            *i += 1;
        }
        let newest = self.newest.lock();
        let times: usize = newest.values().map(HashMap::len).sum();
        put(&mut out, times as u64);
        for (tenant, map) in newest.iter() {
            for (hash, t_ms) in map {
                put_text(&mut out, tenant.as_str());
                put(&mut out, *hash);
                put_signed(&mut out, *t_ms);
            }
        }
        (metadata.len() + ring.order.len() + times > 0).then_some(out)
    }

    /// Takes back what [`Self::to_bytes`] gave.
    ///
    /// # Errors
    /// `Corrupt`; nothing is taken then.
    pub(super) fn add_bytes(&self, bytes: &[u8]) -> Result<()> {
        let read = read(bytes).ok_or_else(|| Error::Corrupt {
            file: "what the metrics head remembers".to_owned(),
            offset: 0,
            reason: "not what a head wrote".to_owned(),
        })?;
        for (tenant, m) in &read.metadata {
            self.add_metadata(tenant, m);
        }
        for (tenant, series, e) in read.exemplars {
            self.add_exemplar(&tenant, &series, e);
        }
        for (tenant, times) in read.newest {
            self.keep_newest(&tenant, &times);
        }
        Ok(())
    }
}

impl Families {
    fn add(&mut self, tenant: &Tenant, metadata: &Metadata) -> bool {
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.clone(), BTreeMap::new());
        }
        let Some(all) = self.tenants.get_mut(tenant) else {
            return false;
        };
        let bytes =
            |m: &Metadata| size_of::<Metadata>() + m.family.len() + m.help.len() + m.unit.len();
        if let Some(list) = all.get_mut(&metadata.family) {
            if list.contains(metadata) {
                return false;
            }
            if list.len() >= MAX_METADATA_OF_FAMILY {
                self.bytes -= bytes(&list.remove(0));
            }
            list.push(metadata.clone());
        } else {
            if self.count >= MAX_FAMILIES {
                return false;
            }
            self.count += 1;
            all.insert(metadata.family.clone(), vec![metadata.clone()]);
        }
        self.bytes += bytes(metadata);
        true
    }
}

impl Ring {
    fn add(&mut self, tenant: &Tenant, series: &Labels, e: Exemplar) -> bool {
        let key = (tenant.clone(), series.clone());
        let newest = self.series.get(&key).and_then(VecDeque::back);
        if self.capacity == 0 || newest.is_some_and(|n| !follows(n, &e)) {
            return false;
        }
        self.bytes += exemplar_bytes(series, &e);
        self.order.push_back(key.clone());
        self.series.entry(key).or_default().push_back(e);
        while self.order.len() > self.capacity {
            self.evict();
        }
        true
    }

    fn evict(&mut self) {
        let Some(key) = self.order.pop_front() else {
            return;
        };
        let Some(list) = self.series.get_mut(&key) else {
            return;
        };
        if let Some(e) = list.pop_front() {
            self.bytes = self.bytes.saturating_sub(exemplar_bytes(&key.1, &e));
        }
        if list.is_empty() {
            self.series.remove(&key);
        }
    }
}

/// Whether an exemplar may come after another: later, or at the same time with a greater value, or greater labels.
fn follows(before: &Exemplar, e: &Exemplar) -> bool {
    match e.t_ms.cmp(&before.t_ms) {
        std::cmp::Ordering::Equal => {
            e.value > before.value || e.value == before.value && e.labels > before.labels
        }
        order => order.is_gt(),
    }
}

/// Label sets are counted with each exemplar although series share them: rather too much than too little.
fn exemplar_bytes(series: &Labels, e: &Exemplar) -> usize {
    size_of::<Exemplar>()
        + size_of::<(Tenant, Labels)>()
        + series.as_bytes().len()
        + e.labels.as_bytes().len()
        + 32
}

#[derive(Default)]
struct Read {
    metadata: Vec<(Tenant, Metadata)>,
    exemplars: Vec<(Tenant, Labels, Exemplar)>,
    newest: HashMap<Tenant, Vec<(u64, i64)>>,
}

fn read(bytes: &[u8]) -> Option<Read> {
    let (&version, mut rest) = bytes.split_first()?;
    if version != VERSION {
        return None;
    }
    let rest = &mut rest;
    let mut out = Read::default();
    for _ in 0..take(rest).ok()? {
        let tenant = take_tenant(rest)?;
        let family = take_text(rest)?;
        let (&number, tail) = rest.split_first()?;
        *rest = tail;
        let metadata = Metadata {
            family,
            metric_type: MetricType::from_number(u64::from(number)),
            help: take_text(rest)?,
            unit: take_text(rest)?,
        };
        out.metadata.push((tenant, metadata));
    }
    for _ in 0..take(rest).ok()? {
        let tenant = take_tenant(rest)?;
        let series = Labels::from_bytes(take_bytes(rest)?)?;
        let exemplar = Exemplar {
            labels: Labels::from_bytes(take_bytes(rest)?)?,
            value: f64::from_bits(take(rest).ok()?),
            t_ms: take_signed(rest).ok()?,
        };
        out.exemplars.push((tenant, series, exemplar));
    }
    for _ in 0..take(rest).ok()? {
        let tenant = take_tenant(rest)?;
        let time = (take(rest).ok()?, take_signed(rest).ok()?);
        out.newest.entry(tenant).or_default().push(time);
    }
    rest.is_empty().then_some(out)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let n = usize::try_from(take(rest).ok()?).ok()?;
    let (bytes, tail) = rest.split_at_checked(n)?;
    *rest = tail;
    Some(bytes)
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(take_bytes(rest)?.to_vec()).ok()
}

fn take_tenant(rest: &mut &[u8]) -> Option<Tenant> {
    Tenant::new(&take_text(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(t_ms: i64, value: f64) -> Exemplar {
        Exemplar {
            labels: Labels::from_pairs([("trace_id", format!("t{t_ms}"))]),
            value,
            t_ms,
        }
    }

    fn all() -> Vec<Vec<Matcher>> {
        vec![vec![]]
    }

    #[test]
    fn the_ring_forgets_the_oldest_first() {
        let carried = Carried::new(3);
        let tenant = Tenant::anonymous();
        let (a, b) = (
            Labels::from_pairs([("a", "1")]),
            Labels::from_pairs([("b", "1")]),
        );
        assert!(carried.add_exemplar(&tenant, &a, exemplar(1, 1.0)));
        assert!(!carried.add_exemplar(&tenant, &a, exemplar(1, 1.0)));
        assert!(!carried.add_exemplar(&tenant, &a, exemplar(0, 1.0)));
        assert!(carried.add_exemplar(&tenant, &b, exemplar(1, 1.0)));
        assert!(carried.add_exemplar(&tenant, &a, exemplar(2, 1.0)));
        assert!(carried.add_exemplar(&tenant, &a, exemplar(3, 1.0)));
        let found = carried.exemplars(&tenant, &all(), MsRange::ALL);
        let times: Vec<Vec<i64>> = found
            .iter()
            .map(|s| s.exemplars.iter().map(|e| e.t_ms).collect())
            .collect();
        assert_eq!(times, [vec![2, 3], vec![1]]);
        let other = Tenant::new("other").unwrap();
        assert!(carried.exemplars(&other, &all(), MsRange::ALL).is_empty());
    }

    #[test]
    fn what_is_remembered_comes_back_from_bytes() {
        let carried = Carried::new(10);
        let tenant = Tenant::anonymous();
        assert_eq!(carried.to_bytes(), None);
        let metadata = Metadata {
            family: "up".to_owned(),
            metric_type: MetricType::Gauge,
            help: "whether".to_owned(),
            unit: String::new(),
        };
        assert!(carried.add_metadata(&tenant, &metadata));
        assert!(!carried.add_metadata(&tenant, &metadata));
        let series = Labels::from_pairs([("a", "1")]);
        carried.add_exemplar(&tenant, &series, exemplar(1, f64::NAN));
        carried.add_exemplar(&tenant, &series, exemplar(2, 2.0));
        carried.keep_newest(&tenant, &[(7, 1000)]);
        let bytes = carried.to_bytes().unwrap();
        let back = Carried::new(10);
        back.add_bytes(&bytes).unwrap();
        assert_eq!(back.to_bytes().unwrap(), bytes);
        assert_eq!(back.metadata(&tenant, Some("up")), [metadata]);
        assert_eq!(back.newest(&tenant, 7), Some(1000));
        for n in 0..bytes.len() {
            assert!(Carried::new(10).add_bytes(&bytes[..n]).is_err(), "{n}");
        }
    }
}
