//! OTLP data points as Prometheus samples: one write request in the form of remote write.
//!
//! Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility"; exponential
//! histograms as in Prometheus's native histograms.

use std::collections::BTreeMap;

use storage::model::{
    BucketSpan, Counts, Histogram, Labels, METRIC_NAME, Metadata, MetricType, NO_START_MS,
    ResetHint, STALE_NAN,
};

use super::names::{self, Kind};
use crate::wire::otlp::{
    AnyValue, Exemplar, ExponentialHistogramDataPoint, ExportMetricsServiceRequest,
    HistogramDataPoint, KeyValue, Metric, NumberDataPoint, Resource, SummaryDataPoint, any_value,
    exemplar, exponential_histogram_data_point::Buckets, metric, number_data_point,
};
use crate::wire::remote_write::Writer;

/// Flag of a data point that says "no value any more".
const NO_RECORDED_VALUE: u32 = 1;
/// Temporality of a delta.
const DELTA: i32 = 1;
/// Width of the zero bucket where the sender gives none.
const DEFAULT_ZERO_THRESHOLD: f64 = 1e-128;
/// Finest resolution of native histograms; finer ones are merged down to it.
const MAX_SCHEMA: i32 = 8;
/// Coarsest resolution; coarser ones cannot be told.
const MIN_SCHEMA: i32 = -4;

/// A translated request.
#[derive(Debug, Default)]
pub(crate) struct Translated {
    /// In the form of remote write, not compressed.
    pub(crate) body: Vec<u8>,
    /// Data points that cannot be told, by reason, and how many.
    pub(crate) rejected: BTreeMap<String, i64>,
}

/// Translates a request.
pub(crate) fn translate(request: &ExportMetricsServiceRequest) -> Translated {
    let mut t = Translator::default();
    for resource in &request.resource_metrics {
        let identity = Identity::of(resource.resource.as_ref());
        t.latest_ms = None;
        for metric in resource.scope_metrics.iter().flat_map(|s| &s.metrics) {
            t.metric(metric, &identity);
        }
        t.target_info(&identity);
    }
    Translated {
        body: t.writer.finish(),
        rejected: t.rejected,
    }
}

/// Labels that every series of a resource gets, and those of its `target_info`.
struct Identity {
    labels: Labels,
    info: Labels,
}

impl Identity {
    fn of(resource: Option<&Resource>) -> Self {
        let attributes = resource.map_or(&[][..], |r| &r.attributes);
        let text = |key: &str| {
            let found = attributes.iter().find(|a| a.key == key);
            found
                .map(|a| value_text(a.value.as_ref()))
                .unwrap_or_default()
        };
        let (service, namespace) = (text("service.name"), text("service.namespace"));
        let job = match (namespace.is_empty(), service.is_empty()) {
            (false, false) => format!("{namespace}/{service}"),
            _ => service,
        };
        let labels = Labels::from_pairs([("job", job), ("instance", text("service.instance.id"))]);
        let identifying = ["service.name", "service.namespace", "service.instance.id"];
        let others = attributes
            .iter()
            .filter(|a| !identifying.contains(&a.key.as_str()));
        Self {
            labels,
            info: attribute_labels(others),
        }
    }
}

#[derive(Default)]
struct Translator {
    writer: Writer,
    rejected: BTreeMap<String, i64>,
    latest_ms: Option<i64>,
}

impl Translator {
    fn metric(&mut self, metric: &Metric, identity: &Identity) {
        let (kind, metric_type) = match &metric.data {
            Some(metric::Data::Sum(s)) if s.is_monotonic => (Kind::Counter, MetricType::Counter),
            Some(metric::Data::Gauge(_) | metric::Data::Sum(_)) => {
                let gauge = matches!(metric.data, Some(metric::Data::Gauge(_)));
                (
                    if gauge { Kind::Gauge } else { Kind::Other },
                    MetricType::Gauge,
                )
            }
            Some(metric::Data::Histogram(_) | metric::Data::ExponentialHistogram(_)) => {
                (Kind::Other, MetricType::Histogram)
            }
            Some(metric::Data::Summary(_)) => (Kind::Other, MetricType::Summary),
            None => return self.reject(format!("metric {:?} has no data", metric.name), 1),
        };
        let name = names::metric_name(&metric.name, &metric.unit, kind);
        if name.is_empty() {
            return self.reject(
                format!("metric name {:?} has no usable character", metric.name),
                1,
            );
        }
        let series = Series {
            name: &name,
            identity,
        };
        match &metric.data {
            Some(metric::Data::Gauge(g)) => {
                g.data_points.iter().for_each(|p| self.number(&series, p));
            }
            Some(metric::Data::Sum(s)) => match s.aggregation_temporality {
                DELTA => return self.reject_delta(&metric.name, s.data_points.len()),
                _ => s.data_points.iter().for_each(|p| self.number(&series, p)),
            },
            Some(metric::Data::Histogram(h)) => match h.aggregation_temporality {
                DELTA => return self.reject_delta(&metric.name, h.data_points.len()),
                _ => h
                    .data_points
                    .iter()
                    .for_each(|p| self.histogram(&series, p)),
            },
            Some(metric::Data::ExponentialHistogram(h)) => match h.aggregation_temporality {
                DELTA => return self.reject_delta(&metric.name, h.data_points.len()),
                _ => h
                    .data_points
                    .iter()
                    .for_each(|p| self.exponential(&series, p)),
            },
            Some(metric::Data::Summary(s)) => {
                s.data_points.iter().for_each(|p| self.summary(&series, p));
            }
            None => {}
        }
        self.writer.metadata(&Metadata {
            family: name,
            metric_type,
            help: metric.description.clone(),
            unit: names::unit_text(&metric.unit),
        });
    }

    fn number(&mut self, series: &Series<'_>, point: &NumberDataPoint) {
        let value = match point.value {
            _ if point.flags & NO_RECORDED_VALUE != 0 => STALE_NAN,
            Some(number_data_point::Value::AsDouble(value)) => value,
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            None => return self.reject(format!("a point of {} has no value", series.name), 1),
        };
        let times = self.times(point.time_unix_nano, point.start_time_unix_nano);
        self.float(series, &point.attributes, ("", ""), "", times, value);
        self.exemplars(&point.exemplars);
    }

    fn histogram(&mut self, series: &Series<'_>, point: &HistogramDataPoint) {
        let times = self.times(point.time_unix_nano, point.start_time_unix_nano);
        let stale = point.flags & NO_RECORDED_VALUE != 0;
        let value = |v: f64| if stale { STALE_NAN } else { v };
        let attributes = &point.attributes;
        if let Some(sum) = point.sum {
            self.float(series, attributes, ("", ""), "_sum", times, value(sum));
        }
        let count = value(point.count as f64);
        self.float(series, attributes, ("", ""), "_count", times, count);
        let mut cumulative = 0_u64;
        let mut exemplars: Vec<&Exemplar> = point.exemplars.iter().collect();
        for (bound, n) in point.explicit_bounds.iter().zip(&point.bucket_counts) {
            cumulative = cumulative.saturating_add(*n);
            let le = float_text(*bound);
            self.float(
                series,
                attributes,
                ("le", &le),
                "_bucket",
                times,
                value(cumulative as f64),
            );
            let (within, above): (Vec<_>, Vec<_>) = exemplars
                .into_iter()
                .partition(|e| exemplar_value(e) <= *bound);
            within.into_iter().for_each(|e| self.exemplar(e));
            exemplars = above;
        }
        self.float(series, attributes, ("le", "+Inf"), "_bucket", times, count);
        exemplars.into_iter().for_each(|e| self.exemplar(e));
    }

    fn summary(&mut self, series: &Series<'_>, point: &SummaryDataPoint) {
        let times = self.times(point.time_unix_nano, point.start_time_unix_nano);
        let stale = point.flags & NO_RECORDED_VALUE != 0;
        let value = |v: f64| if stale { STALE_NAN } else { v };
        let attributes = &point.attributes;
        self.float(
            series,
            attributes,
            ("", ""),
            "_sum",
            times,
            value(point.sum),
        );
        self.float(
            series,
            attributes,
            ("", ""),
            "_count",
            times,
            value(point.count as f64),
        );
        for q in &point.quantile_values {
            let quantile = float_text(q.quantile);
            self.float(
                series,
                attributes,
                ("quantile", &quantile),
                "",
                times,
                value(q.value),
            );
        }
    }

    fn exponential(&mut self, series: &Series<'_>, point: &ExponentialHistogramDataPoint) {
        if point.scale < MIN_SCHEMA {
            let reason = format!(
                "cannot convert exponential to native histogram: scale must be >= {MIN_SCHEMA}, was {}",
                point.scale
            );
            return self.reject(reason, 1);
        }
        let (t_ms, start_ms) = self.times(point.time_unix_nano, point.start_time_unix_nano);
        let shift = (point.scale - MAX_SCHEMA).max(0);
        let (positive_spans, positive) = buckets(point.positive.as_ref(), shift);
        let (negative_spans, negative) = buckets(point.negative.as_ref(), shift);
        let stale = point.flags & NO_RECORDED_VALUE != 0;
        let sum = if stale {
            STALE_NAN
        } else {
            point.sum.unwrap_or(0.0)
        };
        let histogram = Histogram {
            reset_hint: ResetHint::Unknown,
            schema: point.scale - shift,
            zero_threshold: if point.zero_threshold == 0.0 {
                DEFAULT_ZERO_THRESHOLD
            } else {
                point.zero_threshold
            },
            sum,
            positive_spans,
            negative_spans,
            custom_values: Vec::new(),
            counts: Counts::Integer {
                count: point.count,
                zero_count: point.zero_count,
                positive,
                negative,
            },
        };
        let labels = series.labels(&point.attributes, ("", ""), "");
        self.writer.series(labels.iter());
        self.writer.histogram(t_ms, &histogram, start_ms);
        self.exemplars(&point.exemplars);
    }

    fn float(
        &mut self,
        series: &Series<'_>,
        attributes: &[KeyValue],
        extra: (&str, &str),
        suffix: &str,
        (t_ms, start_ms): (i64, i64),
        value: f64,
    ) {
        let labels = series.labels(attributes, extra, suffix);
        self.writer.series(labels.iter());
        self.writer.float(t_ms, value, start_ms);
    }

    fn exemplars(&mut self, exemplars: &[Exemplar]) {
        exemplars.iter().for_each(|e| self.exemplar(e));
    }

    fn exemplar(&mut self, e: &Exemplar) {
        let mut labels = attribute_labels(&e.filtered_attributes).to_builder();
        labels
            .set("trace_id", &hex::encode(&e.trace_id))
            .set("span_id", &hex::encode(&e.span_id));
        self.writer.exemplar(
            labels.finish().iter(),
            exemplar_value(e),
            ms(e.time_unix_nano),
        );
    }

    /// Time and start time of a point. Start times are not stored for OTLP unless asked for, as in
    /// Prometheus's default.
    fn times(&mut self, time_ns: u64, _start_ns: u64) -> (i64, i64) {
        let t_ms = ms(time_ns);
        self.latest_ms = self.latest_ms.max(Some(t_ms));
        (t_ms, NO_START_MS)
    }

    fn target_info(&mut self, identity: &Identity) {
        let Some(t_ms) = self.latest_ms else { return };
        if identity.info.is_empty() || identity.labels.is_empty() {
            return;
        }
        let mut labels = identity.info.to_builder();
        for (name, value) in &identity.labels {
            labels.set(name, value);
        }
        labels.set(METRIC_NAME, "target_info");
        self.writer.series(labels.finish().iter());
        self.writer.float(t_ms, 1.0, NO_START_MS);
    }

    fn reject(&mut self, reason: String, points: i64) {
        *self.rejected.entry(reason).or_default() += points;
    }

    fn reject_delta(&mut self, name: &str, points: usize) {
        let reason = format!("invalid temporality and type combination for metric {name:?}");
        self.reject(reason, i64::try_from(points).unwrap_or(i64::MAX));
    }
}

struct Series<'a> {
    name: &'a str,
    identity: &'a Identity,
}

impl Series<'_> {
    fn labels(&self, attributes: &[KeyValue], extra: (&str, &str), suffix: &str) -> Labels {
        let mut labels = attribute_labels(attributes).to_builder();
        for (name, value) in &self.identity.labels {
            labels.set(name, value);
        }
        if !extra.0.is_empty() {
            labels.set(extra.0, extra.1);
        }
        labels.set(METRIC_NAME, &format!("{}{suffix}", self.name));
        labels.finish()
    }
}

/// Labels of attributes; values of keys that become one label are joined with `;`, in order of the keys.
fn attribute_labels<'a>(attributes: impl IntoIterator<Item = &'a KeyValue>) -> Labels {
    let mut sorted: Vec<&KeyValue> = attributes.into_iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for a in sorted {
        let text = value_text(a.value.as_ref());
        let label = labels.entry(names::label_name(&a.key)).or_default();
        if !label.is_empty() && !text.is_empty() {
            label.push(';');
        }
        label.push_str(&text);
    }
    labels.remove("");
    Labels::from_pairs(labels)
}

/// Buckets as spans and differences, resolution reduced `shift` times.
fn buckets(buckets: Option<&Buckets>, shift: i32) -> (Vec<BucketSpan>, Vec<i64>) {
    let (mut spans, mut deltas) = (Vec::<BucketSpan>::new(), Vec::new());
    let Some(buckets) = buckets else {
        return (spans, deltas);
    };
    // A native histogram's bucket i ends where an OTLP bucket i - 1 ends.
    let mut merged: Vec<(i32, i64)> = Vec::new();
    for (i, n) in buckets.bucket_counts.iter().enumerate() {
        let offset = i32::try_from(i).unwrap_or(i32::MAX);
        let index = (buckets.offset.saturating_add(offset) >> shift).saturating_add(1);
        let n = i64::try_from(*n).unwrap_or(i64::MAX);
        match merged.last_mut() {
            Some((last, count)) if *last == index => *count = count.saturating_add(n),
            _ => merged.push((index, n)),
        }
    }
    let (mut next, mut before) = (None, 0_i64);
    for (index, count) in merged.into_iter().filter(|(_, n)| *n != 0) {
        match (spans.last_mut(), next) {
            (Some(span), Some(next)) if next == index => span.length += 1,
            (_, next) => {
                let offset = index - next.unwrap_or(0);
                spans.push(BucketSpan { offset, length: 1 });
            }
        }
        next = Some(index + 1);
        deltas.push(count - before);
        before = count;
    }
    (spans, deltas)
}

fn exemplar_value(e: &Exemplar) -> f64 {
    match e.value {
        Some(exemplar::Value::AsDouble(value)) => value,
        Some(exemplar::Value::AsInt(value)) => value as f64,
        None => 0.0,
    }
}

fn ms(ns: u64) -> i64 {
    i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX)
}

/// A bound or quantile as label text: shortest form, `+Inf` for infinity.
fn float_text(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

/// The text of an attribute's value: lists and maps as JSON.
fn value_text(value: Option<&AnyValue>) -> String {
    match value.and_then(|v| v.value.as_ref()) {
        None => String::new(),
        Some(any_value::Value::String(text)) => text.clone(),
        Some(other) => match json(other) {
            serde_json::Value::String(text) => text,
            value => value.to_string(),
        },
    }
}

fn json(value: &any_value::Value) -> serde_json::Value {
    use serde_json::Value;
    let nested = |v: &AnyValue| v.value.as_ref().map_or(Value::Null, json);
    match value {
        any_value::Value::String(text) => Value::from(text.as_str()),
        any_value::Value::Bool(value) => Value::from(*value),
        any_value::Value::Int(value) => Value::from(*value),
        any_value::Value::Double(value) => Value::from(*value),
        any_value::Value::Bytes(bytes) => {
            use base64::Engine;
            Value::from(base64::engine::general_purpose::STANDARD.encode(bytes))
        }
        any_value::Value::Array(list) => list.values.iter().map(nested).collect(),
        any_value::Value::Kvlist(map) => {
            let pair = |a: &KeyValue| (a.key.clone(), a.value.as_ref().map_or(Value::Null, nested));
            Value::Object(map.values.iter().map(pair).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exponential(offset: i32, counts: &[u64], shift: i32) -> (Vec<(i32, u32)>, Vec<i64>) {
        let b = Buckets {
            offset,
            bucket_counts: counts.to_vec(),
        };
        let (spans, deltas) = buckets(Some(&b), shift);
        (spans.iter().map(|s| (s.offset, s.length)).collect(), deltas)
    }

    #[test]
    fn buckets_move_up_by_one_and_leave_gaps_out() {
        assert_eq!(
            exponential(-1, &[1, 0, 0, 0, 2], 0),
            (vec![(0, 1), (3, 1)], vec![1, 1])
        );
        assert_eq!(exponential(2, &[2, 3], 0), (vec![(3, 2)], vec![2, 1]));
        assert_eq!(exponential(0, &[], 0), (vec![], vec![]));
    }

    #[test]
    fn a_fine_scale_is_merged_down() {
        assert_eq!(exponential(100, &[1; 6], 4), (vec![(7, 1)], vec![6]));
        assert_eq!(
            exponential(-3, &[1, 1, 1, 1], 1),
            (vec![(-1, 3)], vec![1, 1, -1])
        );
    }
}
