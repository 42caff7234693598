//! A batch → samples in the head: which series, and whether each sample is taken.
//!
//! The hot path of a write. For a known series it costs one hash, one lock and the bits of the samples, and a look-up where it comes in
//! another order than before (see `walk.rs`); it allocates when a chunk's buffer grows, not for a sample.

use std::sync::Arc;

use super::head::{KeyHash, MetricsHead, TenantHead};
use super::series::{Growth, MemSeries, SeriesState};
use super::walk::Walk;
use crate::codec::gorilla::FloatSample;
use crate::codec::histogram::{HistogramSample, bucket_count};
use crate::model::{
    BatchExemplar, BatchSeries, BucketSpan, Counts, Exemplar, Histogram, LabelPairs, MetricBatch,
    MetricReport, NO_START_MS, RefuseReason, RefusedSample, Tenant,
};
use crate::signal::{Applied, SignalKind, TimeSpan};

/// Refused samples that a report names.
const MAX_REPORTED: usize = 100;

/// What becomes of series that the head does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewSeries {
    /// They are taken.
    Taken,
    /// They are left out: memory is short.
    LeftOut,
}

/// Takes a batch into the active generation. The caller writes the log record afterwards.
pub(crate) fn append(
    head: &MetricsHead,
    tenant: &Tenant,
    batch: &MetricBatch<'_>,
    new_series: NewSeries,
) -> Applied<MetricReport> {
    let part = head.tenant_or_new(tenant);
    let window_ms = head.options.out_of_order_window_ms;
    Writer::new(head, tenant, &part, batch, window_ms, &[]).run(new_series)
}

/// As [`append`], but refuses what is older than its series' newest in this generation.
pub(crate) fn append_in_order(
    head: &MetricsHead,
    tenant: &Tenant,
    batch: &MetricBatch<'_>,
    new_series: NewSeries,
) -> Applied<MetricReport> {
    let part = head.tenant_or_new(tenant);
    Writer::new(head, tenant, &part, batch, Some(0), &[]).run(new_series)
}

/// As [`append`], but a batch of which a sample contradicts what is stored already is refused whole. What contradicts only the
/// batch itself, or a batch that comes at the same moment, is left out alone.
pub(crate) fn append_whole(
    head: &MetricsHead,
    tenant: &Tenant,
    batch: &MetricBatch<'_>,
    new_series: NewSeries,
) -> Applied<MetricReport> {
    let part = head.tenant_or_new(tenant);
    let window_ms = head.options.out_of_order_window_ms;
    let mut check = Writer::new(head, tenant, &part, batch, window_ms, &[]);
    check.look();
    if check.applied.report.refused_count > 0 {
        check.applied.report.refused_whole = true;
        return check.applied;
    }
    Writer::new(head, tenant, &part, batch, window_ms, &[]).run(new_series)
}

/// Takes a replayed batch: everything but the refused items, without admission. `found` is what [`find_ahead`] found for it, here or in
/// another head.
pub(crate) fn replay(
    head: &MetricsHead,
    tenant: &Tenant,
    batch: &MetricBatch<'_>,
    refused: &[u32],
    found: Option<&FoundSeries>,
) {
    let part = head.tenant_or_new(tenant);
    let mut writer = Writer::new(head, tenant, &part, batch, None, refused);
    let found = found.filter(|found| Arc::ptr_eq(&found.part, &part));
    writer.found = found.map_or(&[], |found| &found.series);
    writer.run(NewSeries::Taken);
}

/// Series of a batch, by their place in it.
pub(crate) struct FoundSeries {
    part: Arc<TenantHead>,
    series: Vec<Option<Arc<MemSeries>>>,
}

/// Finds the series of a batch that will be replayed, or makes them: the part of a replay that needs no order.
pub(crate) fn find_ahead(
    head: &MetricsHead,
    tenant: &Tenant,
    batch: &MetricBatch<'_>,
    refused: &[u32],
) -> FoundSeries {
    let part = head.tenant_or_new(tenant);
    let mut writer = Writer::new(head, tenant, &part, batch, None, refused);
    let find = |(i, series)| writer.find_or_add(i, series);
    let series = batch.series.iter().enumerate().map(find).collect();
    FoundSeries { part, series }
}

struct Writer<'w, 'b> {
    head: &'w MetricsHead,
    tenant: &'w Tenant,
    part: &'w TenantHead,
    batch: &'w MetricBatch<'b>,
    window_ms: Option<i64>,
    /// Items to leave out, ascending.
    skip: &'w [u32],
    /// Series that were found before, by their place in the batch.
    found: &'w [Option<Arc<MemSeries>>],
    walk: Walk,
    /// The series that was added last: the next one often has most labels in common with it.
    added: Option<u32>,
    growth: Growth,
    applied: Applied<MetricReport>,
    /// Times of what was taken.
    times: TimeSpan,
}

impl<'w, 'b> Writer<'w, 'b> {
    fn new(
        head: &'w MetricsHead,
        tenant: &'w Tenant,
        part: &'w TenantHead,
        batch: &'w MetricBatch<'b>,
        window_ms: Option<i64>,
        skip: &'w [u32],
    ) -> Self {
        Self {
            head,
            tenant,
            part,
            batch,
            window_ms,
            skip,
            found: &[],
            walk: Walk::default(),
            added: None,
            growth: Growth::default(),
            applied: Applied::default(),
            times: TimeSpan {
                min: i64::MAX,
                max: i64::MIN,
            },
        }
    }

    fn run(mut self, new_series: NewSeries) -> Applied<MetricReport> {
        let part = self.part;
        let whole = part.gate.read();
        for (i, series) in self.batch.series.iter().enumerate() {
            self.write_series(i, series, new_series);
        }
        let samples = self.applied.taken;
        part.note(self.growth, samples, self.times);
        self.note_days();
        drop(whole);
        for metadata in &self.batch.metadata {
            self.applied.changed |= self.head.carried.add_metadata(self.tenant, metadata);
        }
        self.applied.refused.sort_unstable();
        self.applied
    }

    /// Refuses what [`Self::run`] would, and takes nothing.
    fn look(&mut self) {
        let batch = self.batch;
        for (i, series) in batch.series.iter().enumerate() {
            if !has_samples(series) {
                continue;
            }
            let part = self.part;
            let key = part.hash_key(series.key);
            let mut walk = std::mem::take(&mut self.walk);
            let known = walk.visit(part, key, |_, state| self.look_at(i, series, state));
            self.walk = walk;
            if known.is_none() {
                self.look_at_unknown(i, series);
            }
        }
    }

    /// A series whose key is new here; its labels may be known under another one.
    #[cold]
    fn look_at_unknown(&mut self, i: usize, series: &BatchSeries<'_>) {
        let mut labels = LabelPairs::new();
        if (self.batch.decode_labels)(series.key, &mut labels).is_err() {
            return;
        }
        let catalog = self.part.catalog.read();
        let known = catalog.index.find(labels.iter().copied());
        let known = known.and_then(|id| catalog.series.get(id as usize).map(Arc::clone));
        drop(catalog);
        match known {
            Some(known) => self.look_at(i, series, &known.state.lock()),
            None => {
                let newest_ms = self.head.newest_before(self.tenant, &labels);
                self.look_at(i, series, &SeriesState::new(newest_ms));
            }
        }
    }

    fn look_at(&mut self, i: usize, series: &BatchSeries<'_>, state: &SeriesState) {
        let batch = self.batch;
        for at in series.floats.clone() {
            let (Some(&t_ms), Some(value)) = (batch.t_ms.get(at), batch.values.get(at)) else {
                break;
            };
            if let Err(reason) = state.place_float(t_ms, value.to_bits(), self.window_ms) {
                self.refuse(i, at, t_ms, reason);
            }
        }
        for at in series.histograms.clone() {
            let Some((t_ms, _, histogram)) = batch.histograms.get(at) else {
                break;
            };
            let place = match is_sound(histogram) {
                true => state.place_histogram(*t_ms, histogram, self.window_ms),
                false => Err(RefuseReason::BadHistogram),
            };
            if let Err(reason) = place {
                self.refuse(i, batch.t_ms.len() + at, *t_ms, reason);
            }
        }
    }

    fn write_series(&mut self, i: usize, series: &BatchSeries<'_>, new_series: NewSeries) {
        if !has_samples(series) && series.exemplars.is_empty() {
            return;
        }
        let part = self.part;
        let id = if let Some(Some(found)) = self.found.get(i) {
            self.write_samples(i, series, &mut found.state.lock());
            found.id
        } else {
            let id = self.with_series(i, series, new_series, |writer, to, state| {
                writer.write_samples(i, series, state);
                to.id
            });
            let Some(id) = id else {
                return;
            };
            id
        };
        if !series.exemplars.is_empty() {
            let labels = part.catalog.read().index.labels(id);
            let all = self.batch.exemplars.get(series.exemplars.clone());
            for BatchExemplar {
                labels: own,
                value,
                t_ms,
            } in all.unwrap_or(&[])
            {
                let exemplar = Exemplar {
                    labels: own.clone(),
                    value: *value,
                    t_ms: *t_ms,
                };
                if self
                    .head
                    .carried
                    .add_exemplar(self.tenant, &labels, exemplar)
                {
                    self.applied.report.exemplars += 1;
                    self.applied.changed = true;
                }
            }
        }
    }

    /// Makes the series of a key that is new; `None` where it is to have no samples.
    #[cold]
    fn add_series(
        &mut self,
        i: usize,
        key: KeyHash,
        series: &BatchSeries<'_>,
        new_series: NewSeries,
    ) -> Option<Arc<MemSeries>> {
        // An exemplar alone makes no series, nor does one of which nothing was taken.
        if !has_samples(series) || self.skips_all(series) {
            return None;
        }
        let mut labels = LabelPairs::new();
        if let Err(e) = (self.batch.decode_labels)(series.key, &mut labels) {
            self.applied.report.bad_series.push((i, e));
            return None;
        }
        let part = self.part;
        if new_series == NewSeries::LeftOut && !self.head.is_known(self.tenant, part, &labels) {
            self.leave_out(series);
            return None;
        }
        let newest = || self.head.newest_before(self.tenant, &labels);
        let added = part.add_series(key, &labels, self.added, newest);
        self.added = Some(added.id);
        Some(added)
    }

    /// The series of a key, made where it is new; `None` where it is to have no samples.
    fn find_or_add(&mut self, i: usize, series: &BatchSeries<'_>) -> Option<Arc<MemSeries>> {
        self.with_series(i, series, NewSeries::Taken, |_, found, _| Arc::clone(found))
    }

    /// What `f` makes of a series, which is made where it is new; `None` where it is to have no samples.
    #[inline]
    fn with_series<R>(
        &mut self,
        i: usize,
        series: &BatchSeries<'_>,
        new_series: NewSeries,
        f: impl Fn(&mut Self, &Arc<MemSeries>, &mut SeriesState) -> R,
    ) -> Option<R> {
        let part = self.part;
        let key = part.hash_key(series.key);
        let mut walk = std::mem::take(&mut self.walk);
        let mut found = walk.visit(part, key, |s, state| f(self, s, state));
        if found.is_none() {
            let added = self.add_series(i, key, series, new_series);
            found = added.map(|s| walk.go_to(s, key, |s, state| f(self, s, state)));
        }
        self.walk = walk;
        found
    }

    #[inline]
    fn write_samples(&mut self, i: usize, series: &BatchSeries<'_>, state: &mut SeriesState) {
        let batch = self.batch;
        for at in series.floats.clone() {
            let (Some(&t_ms), Some(value)) = (batch.t_ms.get(at), batch.values.get(at)) else {
                break;
            };
            if self.skips(at) {
                continue;
            }
            let sample = FloatSample {
                t_ms,
                bits: value.to_bits(),
                start_ms: batch.start_ms.get(at).copied().unwrap_or(NO_START_MS),
            };
            match state.push_float(sample, self.window_ms, &mut self.growth) {
                Ok(new) => {
                    self.applied.report.floats += 1;
                    self.take(t_ms, new);
                }
                Err(reason) => self.refuse(i, at, t_ms, reason),
            }
        }
        if !series.histograms.is_empty() {
            self.write_histograms(i, series, state);
        }
    }

    fn write_histograms(&mut self, i: usize, series: &BatchSeries<'_>, state: &mut SeriesState) {
        let batch = self.batch;
        for at in series.histograms.clone() {
            let Some((t_ms, start_ms, histogram)) = batch.histograms.get(at) else {
                break;
            };
            let item = batch.t_ms.len() + at;
            if self.skips(item) {
                continue;
            }
            if !is_sound(histogram) {
                self.refuse(i, item, *t_ms, RefuseReason::BadHistogram);
                continue;
            }
            let sample = HistogramSample {
                t_ms: *t_ms,
                start_ms: *start_ms,
                histogram: Arc::clone(histogram),
            };
            match state.push_histogram(sample, self.window_ms, &mut self.growth) {
                Ok(new) => {
                    self.applied.report.histograms += 1;
                    self.take(*t_ms, new);
                }
                Err(reason) => self.refuse(i, item, *t_ms, reason),
            }
        }
    }

    #[inline]
    fn skips(&self, item: usize) -> bool {
        !self.skip.is_empty() && self.skip.binary_search(&(item as u32)).is_ok()
    }

    /// Whether a replay leaves out all samples of a series.
    fn skips_all(&self, series: &BatchSeries<'_>) -> bool {
        !self.skip.is_empty() && items_of(self.batch, series).all(|item| self.skips(item))
    }

    /// Notes the samples of a series as not taken, so that a replay does not take them either.
    #[cold]
    fn leave_out(&mut self, series: &BatchSeries<'_>) {
        let items = items_of(self.batch, series).map(|item| item as u32);
        self.applied.refused.extend(items);
        self.applied.report.no_room += 1;
    }

    #[inline]
    fn take(&mut self, t_ms: i64, new: bool) {
        self.applied.taken += 1;
        self.applied.changed |= new;
        self.times.min = self.times.min.min(t_ms);
        self.times.max = self.times.max.max(t_ms);
    }

    #[cold]
    fn refuse(&mut self, series: usize, item: usize, t_ms: i64, reason: RefuseReason) {
        self.applied.refused.push(item as u32);
        let report = &mut self.applied.report;
        report.refused_count += 1;
        if report.refused.len() < MAX_REPORTED {
            report.refused.push(RefusedSample {
                series,
                t_ms,
                reason,
            });
        }
    }

    fn note_days(&self) {
        let TimeSpan { min, max } = self.times;
        if min > max {
            return;
        }
        if SignalKind::Metrics.day_of(min) == SignalKind::Metrics.day_of(max) {
            self.part.note_days(std::iter::once(min));
        } else {
            // Refused samples may name a day too many: a block of nothing is not written.
            let histograms = self.batch.histograms.iter().map(|(t_ms, ..)| *t_ms);
            self.part
                .note_days(self.batch.t_ms.iter().copied().chain(histograms));
        }
    }
}

fn has_samples(series: &BatchSeries<'_>) -> bool {
    !series.floats.is_empty() || !series.histograms.is_empty()
}

/// The samples of a series by their numbers among the items of the batch; a batch may name more than it has.
fn items_of(batch: &MetricBatch<'_>, series: &BatchSeries<'_>) -> impl Iterator<Item = usize> {
    let (floats, histograms) = (batch.t_ms.len(), batch.histograms.len());
    let own = series.histograms.start..series.histograms.end.min(histograms);
    let own_floats = series.floats.start..series.floats.end.min(floats);
    own_floats.chain(own.map(move |at| floats + at))
}

/// Whether bucket lists are as long as their spans say and spans do not run backwards. What counts must add up to
/// is for the protocols to say.
fn is_sound(h: &Histogram) -> bool {
    let (positive, negative) = match &h.counts {
        Counts::Integer {
            positive, negative, ..
        } => (positive.len(), negative.len()),
        Counts::Float {
            positive, negative, ..
        } => (positive.len(), negative.len()),
    };
    let forward = |spans: &[BucketSpan]| spans.iter().skip(1).all(|s| s.offset >= 0);
    bucket_count(&h.positive_spans) == positive as u64
        && bucket_count(&h.negative_spans) == negative as u64
        && forward(&h.positive_spans)
        && forward(&h.negative_spans)
}
