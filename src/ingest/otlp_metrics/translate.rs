//! OTLP data points as Prometheus samples: one write request in the form of remote write.
//!
//! Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility"; where that leaves a choice, Prometheus's.

use std::collections::HashSet;

use indexmap::IndexMap;
use storage::model::{
    Labels, LabelsBuilder, METRIC_NAME, Metadata, MetricType, NO_START_MS, ResetHint, STALE_NAN,
};

use super::super::native_histogram::zero_of;
use super::labels::{self, ResourceLabels, ScopeLabels, TypeAndUnit};
use super::names::{Kind, Namer, unit_text};
use super::native;
use crate::config::OtlpConfig;
use crate::wire::otlp::{
    Exemplar, ExportMetricsServiceRequest, HistogramDataPoint, KeyValue, Metric, NumberDataPoint,
    ResourceMetrics, SummaryDataPoint, exemplar, metric::Data, number_data_point,
};
use crate::wire::remote_write::Writer;

/// Temporality of a delta, and of a running total.
pub(super) const DELTA: i32 = 1;
pub(super) const CUMULATIVE: i32 = 2;
/// Characters that an exemplar's labels may have together.
const MAX_EXEMPLAR_CHARS: usize = 128;
/// Most samples of one `target_info` in a request: a point without a time must not bring one for each minute since 1970.
const MAX_TARGET_SAMPLES: i64 = 10_000;

/// What the configuration and the features of the process ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'c> {
    pub(crate) config: &'c OtlpConfig,
    /// `otlp-native-delta-ingestion`: deltas are stored as they are.
    pub(crate) takes_deltas: bool,
    /// `type-and-unit-labels`.
    pub(crate) type_and_unit_labels: bool,
    /// `created-timestamp-zero-ingestion`.
    pub(crate) zero_samples: bool,
    /// `st-storage`.
    pub(crate) start_timestamps: bool,
    /// How far back a query looks for a sample.
    pub(crate) lookback_ms: i64,
}

/// A translated request.
#[derive(Debug, Default)]
pub(crate) struct Translated {
    /// In the form of remote write, not compressed.
    pub(crate) body: Vec<u8>,
    /// Zeros at the start timestamps, a request of its own; empty unless they are wanted.
    pub(crate) zeros: Vec<u8>,
    /// What cannot be told, by reason, and how many data points it costs.
    pub(crate) faults: IndexMap<String, i64>,
}

/// Whether a data point says "no value any more".
pub(super) const fn is_stale(flags: u32) -> bool {
    flags & 1 != 0
}

/// Translates a request.
pub(crate) fn translate(
    request: &ExportMetricsServiceRequest,
    settings: Settings<'_>,
) -> Translated {
    let mut t = Translator {
        settings,
        namer: Namer::new(settings.config),
        out: Out::default(),
        targets: HashSet::new(),
    };
    for resource in &request.resource_metrics {
        t.resource(resource);
    }
    Translated {
        body: t.out.samples.finish(),
        zeros: if t.out.has_zeros {
            t.out.zeros.finish()
        } else {
            Vec::new()
        },
        faults: t.out.faults,
    }
}

/// Where samples and faults go.
#[derive(Default)]
struct Out {
    samples: Writer,
    zeros: Writer,
    has_zeros: bool,
    faults: IndexMap<String, i64>,
}

impl Out {
    fn fault(&mut self, text: String, points: usize) {
        let points = i64::try_from(points).unwrap_or(i64::MAX);
        let sum = self.faults.entry(text).or_default();
        *sum = sum.saturating_add(points);
    }
}

struct Translator<'c> {
    settings: Settings<'c>,
    namer: Namer,
    out: Out,
    /// Samples of `target_info` that the request already has.
    targets: HashSet<(Labels, i64)>,
}

/// What all data points of a metric share.
struct Family<'a> {
    name: String,
    metric_type: MetricType,
    unit: String,
    reset_hint: ResetHint,
    resource: &'a ResourceLabels,
    scope: &'a ScopeLabels,
}

/// Time and start time of a data point.
#[derive(Clone, Copy)]
struct Times {
    t_ms: i64,
    start_ms: i64,
}

impl Translator<'_> {
    fn resource(&mut self, metrics: &ResourceMetrics) {
        let resource = metrics.resource.as_ref();
        let points_of = |s: &[Metric]| s.iter().map(point_count).sum::<usize>();
        let labels = match ResourceLabels::of(resource, &self.namer, self.settings.config) {
            Ok(labels) => labels,
            Err(text) => {
                let points = metrics.scope_metrics.iter().map(|s| points_of(&s.metrics));
                return self.out.fault(text, points.sum());
            }
        };
        let mut times: Option<(u64, u64)> = None;
        for scope in &metrics.scope_metrics {
            let (config, url) = (self.settings.config, &scope.schema_url);
            let scope_labels = ScopeLabels::of(scope.scope.as_ref(), url, &self.namer, config);
            let scope_labels = match scope_labels {
                Ok(labels) => labels,
                Err(text) => {
                    self.out.fault(text, points_of(&scope.metrics));
                    continue;
                }
            };
            for metric in &scope.metrics {
                for t_ns in point_times(metric) {
                    let (first, last) = times.unwrap_or((t_ns, t_ns));
                    times = Some((first.min(t_ns), last.max(t_ns)));
                }
                if let Err(text) = self.metric(metric, &labels, &scope_labels) {
                    self.out.fault(text, point_count(metric));
                }
            }
        }
        let Some((first, last)) = times else { return };
        match labels::of_target(resource, &labels, &self.namer, self.settings.config) {
            Ok(Some(target)) => self.target_info(&target, ms(first), ms(last)),
            Ok(None) => {}
            Err(text) => self.out.fault(text, 0),
        }
    }

    /// The metric with its points. Points that cannot be told are left out one by one.
    fn metric(
        &mut self,
        metric: &Metric,
        resource: &ResourceLabels,
        scope: &ScopeLabels,
    ) -> Result<(), String> {
        let name = &metric.name;
        let (kind, metric_type, temporality) = match &metric.data {
            None => {
                return Err(format!(
                    "could not get aggregation temporality for {name} as it has unsupported metric type Empty"
                ));
            }
            Some(Data::Gauge(_)) => (Kind::Gauge, MetricType::Gauge, CUMULATIVE),
            Some(Data::Summary(_)) => (Kind::Other, MetricType::Summary, CUMULATIVE),
            Some(Data::Sum(s)) if s.is_monotonic => (
                Kind::Counter,
                MetricType::Counter,
                s.aggregation_temporality,
            ),
            Some(Data::Sum(s)) => (Kind::Other, MetricType::Gauge, s.aggregation_temporality),
            Some(Data::Histogram(h)) => (
                Kind::Other,
                MetricType::Histogram,
                h.aggregation_temporality,
            ),
            Some(Data::ExponentialHistogram(h)) => (
                Kind::Other,
                MetricType::Histogram,
                h.aggregation_temporality,
            ),
        };
        let is_delta = temporality == DELTA;
        if temporality != CUMULATIVE && !(is_delta && self.settings.takes_deltas) {
            return Err(format!(
                "invalid temporality and type combination for metric {name:?}"
            ));
        }
        let family = Family {
            name: self.namer.metric(name, &metric.unit, kind)?,
            // There is no word for a delta yet.
            metric_type: if is_delta {
                MetricType::Unknown
            } else {
                metric_type
            },
            unit: unit_text(&metric.unit),
            reset_hint: if is_delta {
                ResetHint::Gauge
            } else {
                ResetHint::Unknown
            },
            resource,
            scope,
        };
        if point_count(metric) == 0 {
            return Err(format!("empty data points. {name} is dropped"));
        }
        match &metric.data {
            None => {}
            Some(Data::Gauge(g)) => self.each(&g.data_points, |t, p| t.number(&family, p, &[])),
            Some(Data::Sum(s)) => {
                self.each(&s.data_points, |t, p| t.number(&family, p, &p.exemplars));
            }
            Some(Data::Summary(s)) => self.each(&s.data_points, |t, p| t.summary(&family, p)),
            Some(Data::Histogram(h)) if self.settings.config.histograms_to_nhcb => {
                self.each(&h.data_points, |t, p| {
                    let histogram = native::custom(p, family.reset_hint)?;
                    let times = t.times(p.time_unix_nano, p.start_time_unix_nano);
                    t.native(&family, &p.attributes, times, &histogram, &p.exemplars)
                });
            }
            Some(Data::Histogram(h)) => {
                self.each(&h.data_points, |t, p| t.histogram(&family, p));
            }
            Some(Data::ExponentialHistogram(h)) => self.each(&h.data_points, |t, p| {
                let histogram = native::exponential(p, family.reset_hint)?;
                let times = t.times(p.time_unix_nano, p.start_time_unix_nano);
                t.native(&family, &p.attributes, times, &histogram, &p.exemplars)
            }),
        }
        self.out.samples.metadata(&Metadata {
            family: family.name,
            metric_type: family.metric_type,
            help: metric.description.clone(),
            unit: family.unit,
        });
        Ok(())
    }

    fn each<P>(&mut self, points: &[P], mut take: impl FnMut(&mut Self, &P) -> Result<(), String>) {
        for point in points {
            if let Err(text) = take(self, point) {
                self.out.fault(text, 1);
            }
        }
    }

    fn number(
        &mut self,
        family: &Family<'_>,
        point: &NumberDataPoint,
        exemplars: &[Exemplar],
    ) -> Result<(), String> {
        let labels = self.labels(family, &point.attributes)?;
        let exemplars = prometheus_exemplars(exemplars)?;
        let stale = is_stale(point.flags);
        let value = match point.value {
            _ if stale => STALE_NAN,
            Some(number_data_point::Value::AsDouble(value)) => value,
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            None => 0.0,
        };
        let times = self.times(point.time_unix_nano, point.start_time_unix_nano);
        self.float(labels, &family.name, times, value);
        if !stale {
            self.exemplars(&exemplars);
        }
        Ok(())
    }

    /// Explicit buckets as classic ones, each a series.
    fn histogram(&mut self, family: &Family<'_>, point: &HistogramDataPoint) -> Result<(), String> {
        let base = self.labels(family, &point.attributes)?;
        let all = prometheus_exemplars(&point.exemplars)?;
        let mut exemplars = &all[..];
        let stale = is_stale(point.flags);
        let value = |v: f64| if stale { STALE_NAN } else { v };
        let name = |suffix: &str| format!("{}{suffix}", family.name);
        let times = self.times(point.time_unix_nano, point.start_time_unix_nano);
        if let Some(sum) = point.sum {
            self.float(base.clone(), &name("_sum"), times, value(sum));
        }
        let count = value(point.count as f64);
        self.float(base.clone(), &name("_count"), times, count);
        let mut cumulative = 0_u64;
        let bucket = name("_bucket");
        let bounds = point.explicit_bounds.iter().zip(&point.bucket_counts);
        let finite = bounds.map(|(bound, n)| {
            cumulative = cumulative.wrapping_add(*n);
            (*bound, float_text(*bound), value(cumulative as f64))
        });
        let last = (f64::INFINITY, "+Inf".to_owned(), count);
        for (at, (bound, le, value)) in finite.chain([last]).enumerate() {
            let mut labels = base.clone();
            labels.set("le", &le);
            self.float(labels, &bucket, times, value);
            // Exemplars come in the order of their values; the last bucket takes all that are left.
            let is_last = at == point.explicit_bounds.len().min(point.bucket_counts.len());
            let within = exemplars.iter().take_while(|e| is_last || e.value <= bound);
            let (within, above) = exemplars.split_at(within.count());
            if !stale {
                self.exemplars(within);
            }
            exemplars = above;
        }
        Ok(())
    }

    fn summary(&mut self, family: &Family<'_>, point: &SummaryDataPoint) -> Result<(), String> {
        let base = self.labels(family, &point.attributes)?;
        let stale = is_stale(point.flags);
        let value = |v: f64| if stale { STALE_NAN } else { v };
        let name = |suffix: &str| format!("{}{suffix}", family.name);
        let times = self.times(point.time_unix_nano, point.start_time_unix_nano);
        self.float(base.clone(), &name("_sum"), times, value(point.sum));
        let count = point.count as f64;
        self.float(base.clone(), &name("_count"), times, value(count));
        for q in &point.quantile_values {
            let mut labels = base.clone();
            labels.set("quantile", &float_text(q.quantile));
            self.float(labels, &family.name, times, value(q.value));
        }
        Ok(())
    }

    fn native(
        &mut self,
        family: &Family<'_>,
        attributes: &[KeyValue],
        times: Times,
        histogram: &storage::model::Histogram,
        exemplars: &[Exemplar],
    ) -> Result<(), String> {
        let mut labels = self.labels(family, attributes)?;
        let exemplars = prometheus_exemplars(exemplars)?;
        labels.set(METRIC_NAME, &family.name);
        let labels = labels.finish();
        if self.wants_zero(times) {
            self.out.zeros.series(labels.iter());
            let zero = zero_of(histogram);
            self.out.zeros.histogram(times.start_ms, &zero, NO_START_MS);
        }
        self.out.samples.series(labels.iter());
        let start_ms = self.stored_start(times);
        self.out.samples.histogram(times.t_ms, histogram, start_ms);
        if !storage::model::is_stale(histogram.sum) {
            self.exemplars(&exemplars);
        }
        Ok(())
    }

    fn float(&mut self, mut labels: LabelsBuilder, name: &str, times: Times, value: f64) {
        labels.set(METRIC_NAME, name);
        let labels = labels.finish();
        if self.wants_zero(times) {
            self.out.zeros.series(labels.iter());
            self.out.zeros.float(times.start_ms, 0.0, NO_START_MS);
        }
        self.out.samples.series(labels.iter());
        let start_ms = self.stored_start(times);
        self.out.samples.float(times.t_ms, value, start_ms);
    }

    /// Whether a zero goes to the start timestamp; remembers that there are zeros.
    fn wants_zero(&mut self, times: Times) -> bool {
        let wants = self.settings.zero_samples
            && times.start_ms != NO_START_MS
            && times.start_ms < times.t_ms;
        self.out.has_zeros |= wants;
        wants
    }

    /// Start times are not stored for OTLP unless asked for, as in Prometheus.
    const fn stored_start(&self, times: Times) -> i64 {
        if self.settings.start_timestamps {
            times.start_ms
        } else {
            NO_START_MS
        }
    }

    fn labels(
        &self,
        family: &Family<'_>,
        attributes: &[KeyValue],
    ) -> Result<LabelsBuilder, String> {
        let type_and_unit = self.settings.type_and_unit_labels.then_some(TypeAndUnit {
            metric_type: family.metric_type,
            unit: &family.unit,
        });
        labels::of_point(
            attributes,
            family.resource,
            family.scope,
            type_and_unit,
            &self.namer,
        )
    }

    fn exemplars(&mut self, exemplars: &[PrometheusExemplar]) {
        for e in exemplars {
            self.out.samples.exemplar(e.labels.iter(), e.value, e.t_ms);
        }
    }

    fn times(&self, time_ns: u64, start_ns: u64) -> Times {
        let start_ms = ms(start_ns);
        Times {
            t_ms: ms(time_ns),
            start_ms: if start_ms == 0 { NO_START_MS } else { start_ms },
        }
    }

    /// A sample of `target_info` at the request's last time, and before it so many that a query finds one at each time since the first.
    fn target_info(&mut self, labels: &Labels, first_ms: i64, last_ms: i64) {
        let step_ms = (self.settings.lookback_ms / 2).max(1);
        let earliest_ms = last_ms.saturating_sub(step_ms.saturating_mul(MAX_TARGET_SAMPLES));
        let mut t_ms = first_ms.max(earliest_ms);
        let mut times = Vec::new();
        while t_ms < last_ms {
            times.push(t_ms);
            t_ms = t_ms.saturating_add(step_ms);
        }
        times.push(last_ms);
        times.retain(|t_ms| self.targets.insert((labels.clone(), *t_ms)));
        if times.is_empty() {
            return;
        }
        self.out.samples.series(labels.iter());
        for t_ms in times {
            self.out.samples.float(t_ms, 1.0, NO_START_MS);
        }
        self.out.samples.metadata(&Metadata {
            family: "target_info".to_owned(),
            metric_type: MetricType::Gauge,
            help: "Target metadata".to_owned(),
            unit: String::new(),
        });
    }
}

struct PrometheusExemplar {
    labels: Labels,
    value: f64,
    t_ms: i64,
}

/// Exemplars with their ids as labels; the sender's own attributes are left out where all together are too long.
fn prometheus_exemplars(exemplars: &[Exemplar]) -> Result<Vec<PrometheusExemplar>, String> {
    let chars = |text: &str| text.chars().count();
    let one = |e: &Exemplar| {
        let value = match e.value {
            Some(exemplar::Value::AsDouble(value)) => value,
            Some(exemplar::Value::AsInt(value)) => value as f64,
            None => return Err("unsupported exemplar value type: Empty".to_owned()),
        };
        let is_set = |id: &[u8]| id.iter().any(|b| *b != 0);
        let mut own: Vec<(&str, String)> = Vec::new();
        for (name, id) in [("trace_id", &e.trace_id), ("span_id", &e.span_id)] {
            if is_set(id) {
                own.push((name, hex::encode(id)));
            }
        }
        let attributes: Vec<_> = e
            .filtered_attributes
            .iter()
            .map(|a| (a.key.as_str(), labels::value_text(a.value.as_ref())))
            .collect();
        let length: usize = own.iter().map(|(n, v)| chars(n) + chars(v)).sum::<usize>()
            + attributes
                .iter()
                .map(|(n, v)| chars(n) + chars(v))
                .sum::<usize>();
        let mut labels = LabelsBuilder::default();
        if length <= MAX_EXEMPLAR_CHARS {
            for (name, value) in &attributes {
                labels.set(name, value);
            }
        }
        for (name, value) in &own {
            labels.set(name, value);
        }
        Ok(PrometheusExemplar {
            labels: labels.finish(),
            value,
            t_ms: ms(e.time_unix_nano),
        })
    };
    exemplars.iter().map(one).collect()
}

/// Number of data points of a metric.
pub(super) fn point_count(metric: &Metric) -> usize {
    match &metric.data {
        None => 0,
        Some(Data::Gauge(g)) => g.data_points.len(),
        Some(Data::Sum(s)) => s.data_points.len(),
        Some(Data::Histogram(h)) => h.data_points.len(),
        Some(Data::ExponentialHistogram(h)) => h.data_points.len(),
        Some(Data::Summary(s)) => s.data_points.len(),
    }
}

fn point_times(metric: &Metric) -> Vec<u64> {
    match &metric.data {
        None => Vec::new(),
        Some(Data::Gauge(g)) => g.data_points.iter().map(|p| p.time_unix_nano).collect(),
        Some(Data::Sum(s)) => s.data_points.iter().map(|p| p.time_unix_nano).collect(),
        Some(Data::Histogram(h)) => h.data_points.iter().map(|p| p.time_unix_nano).collect(),
        Some(Data::ExponentialHistogram(h)) => {
            h.data_points.iter().map(|p| p.time_unix_nano).collect()
        }
        Some(Data::Summary(s)) => s.data_points.iter().map(|p| p.time_unix_nano).collect(),
    }
}

/// Nanoseconds as milliseconds, as signed numbers are divided.
const fn ms(ns: u64) -> i64 {
    ns as i64 / 1_000_000
}

/// A bound or quantile as label text: plain decimal digits, `+Inf` for infinity.
fn float_text(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

#[cfg(test)]
mod tests;
