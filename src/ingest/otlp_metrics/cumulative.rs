//! Deltas as running totals, for `otlp-deltatocumulative`: the sum of what each stream has sent so far, kept in memory.
//!
//! Source: OpenTelemetry metrics data model, "Resets and Gaps" and "Exponential Histogram"; in doubt, what the Collector's
//! `deltatocumulative` does. A restart begins every total anew, as it does there.

mod exponential;

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message;
use storage::model::Tenant;

use super::translate::{CUMULATIVE, DELTA};
use crate::wire::otlp::{
    ExponentialHistogramDataPoint, ExportMetricsServiceRequest, HistogramDataPoint, KeyValue,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point::Value,
};

/// A stream that sent nothing for so long begins anew.
const MAX_STALE: Duration = Duration::from_secs(5 * 60);
/// Time between two looks for such streams.
const SWEEP: Duration = Duration::from_secs(60);
/// Memory for all totals; a stream that is new beyond it is refused.
const MAX_BYTES: usize = 64 << 20;

/// The totals of all streams.
#[derive(Debug, Default)]
pub struct Totals(Mutex<Streams>);

#[derive(Debug, Default)]
struct Streams {
    by_key: HashMap<u128, Stream>,
    bytes: usize,
    swept_ms: i64,
}

#[derive(Debug)]
struct Stream {
    total: Total,
    used_ms: i64,
}

#[derive(Debug)]
enum Total {
    Number(NumberDataPoint),
    Histogram(HistogramDataPoint),
    Exponential(ExponentialHistogramDataPoint),
}

/// Why a point adds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// It began before the total did, or ends before the total does.
    Late,
    /// There is no room for another stream.
    Full,
}

/// A kind of data point that has a total.
trait Adds: Clone {
    fn span_ns(&self) -> (u64, u64);
    fn attributes(&self) -> &[KeyValue];
    fn held_bytes(&self) -> usize;
    /// Without what belongs to one point only.
    fn bare(&self) -> Self;
    /// Adds a later point.
    fn add(&mut self, point: &Self);
    /// Makes the point show the total.
    fn show(&self, point: &mut Self);
    fn into_total(self) -> Total;
    fn of_total(total: &mut Total) -> Option<&mut Self>;
}

impl Totals {
    /// Turns the deltas of a request into totals. Points that are late are dropped, as in the Collector; those that there is no room
    /// for are counted.
    pub(crate) fn apply(
        &self,
        tenant: &Tenant,
        request: &mut ExportMetricsServiceRequest,
        now_ms: i64,
    ) -> usize {
        let mut streams = self.0.lock();
        streams.sweep(now_ms);
        let mut full = 0;
        for resource in &mut request.resource_metrics {
            let key = Key::new(tenant, resource);
            for scope in &mut resource.scope_metrics {
                let mut key = key.scope(scope);
                scope
                    .metrics
                    .retain_mut(|m| streams.metric(m, &mut key, now_ms, &mut full));
            }
        }
        full
    }
}

impl Streams {
    /// Whether anything is left of the metric.
    fn metric(
        &mut self,
        metric: &mut Metric,
        scope: &mut Key,
        now_ms: i64,
        full: &mut usize,
    ) -> bool {
        let mut key = scope.metric(metric);
        let (is_delta, left) = match &mut metric.data {
            Some(Data::Sum(s)) if s.aggregation_temporality == DELTA => {
                s.aggregation_temporality = CUMULATIVE;
                self.points(&mut s.data_points, &mut key, now_ms, full);
                (true, s.data_points.len())
            }
            Some(Data::Histogram(h)) if h.aggregation_temporality == DELTA => {
                h.aggregation_temporality = CUMULATIVE;
                self.points(&mut h.data_points, &mut key, now_ms, full);
                (true, h.data_points.len())
            }
            Some(Data::ExponentialHistogram(h)) if h.aggregation_temporality == DELTA => {
                h.aggregation_temporality = CUMULATIVE;
                self.points(&mut h.data_points, &mut key, now_ms, full);
                (true, h.data_points.len())
            }
            _ => (false, 0),
        };
        !is_delta || left > 0
    }

    fn points<P: Adds>(
        &mut self,
        points: &mut Vec<P>,
        key: &mut Key,
        now_ms: i64,
        full: &mut usize,
    ) {
        points.retain_mut(|point| {
            let key = key.stream(point.attributes());
            match self.point(key, point, now_ms) {
                Ok(()) => true,
                Err(refused) => {
                    *full += usize::from(refused == Refused::Full);
                    false
                }
            }
        });
    }

    fn point<P: Adds>(&mut self, key: u128, point: &mut P, now_ms: i64) -> Result<(), Refused> {
        let Some(stream) = self.by_key.get_mut(&key) else {
            let bytes = point.held_bytes();
            if self.bytes + bytes > MAX_BYTES {
                return Err(Refused::Full);
            }
            self.bytes += bytes;
            let total = point.bare().into_total();
            self.by_key.insert(
                key,
                Stream {
                    total,
                    used_ms: now_ms,
                },
            );
            return Ok(());
        };
        stream.used_ms = now_ms;
        // The kind of the metric is part of the key.
        let Some(total) = P::of_total(&mut stream.total) else {
            return Err(Refused::Late);
        };
        let ((began_ns, ended_ns), (start_ns, t_ns)) = (total.span_ns(), point.span_ns());
        if start_ns < began_ns || t_ns <= ended_ns {
            return Err(Refused::Late);
        }
        let before = total.held_bytes();
        total.add(point);
        self.bytes = (self.bytes + total.held_bytes()).saturating_sub(before);
        total.show(point);
        Ok(())
    }

    fn sweep(&mut self, now_ms: i64) {
        let past = |since_ms: i64, limit: Duration| {
            u128::try_from(now_ms.saturating_sub(since_ms)).is_ok_and(|ms| ms > limit.as_millis())
        };
        if !past(self.swept_ms, SWEEP) {
            return;
        }
        self.swept_ms = now_ms;
        self.by_key.retain(|_, s| !past(s.used_ms, MAX_STALE));
        self.bytes = self.by_key.values().map(|s| s.total.held_bytes()).sum();
    }
}

impl Total {
    fn held_bytes(&self) -> usize {
        match self {
            Self::Number(p) => p.held_bytes(),
            Self::Histogram(p) => p.held_bytes(),
            Self::Exponential(p) => p.held_bytes(),
        }
    }
}

/// The bytes that tell a stream from all others, as far as they are known.
#[derive(Default)]
struct Key(Vec<u8>);

impl Key {
    fn new(tenant: &Tenant, resource: &ResourceMetrics) -> Self {
        let mut key = Self::default();
        key.put(tenant.as_str().as_bytes());
        let attributes = resource
            .resource
            .as_ref()
            .map_or(&[][..], |r| &r.attributes);
        key.put_attributes(attributes);
        key
    }

    fn scope(&self, scope: &ScopeMetrics) -> Self {
        let mut key = Self(self.0.clone());
        if let Some(scope) = &scope.scope {
            key.put(scope.name.as_bytes());
            key.put(scope.version.as_bytes());
            key.put_attributes(&scope.attributes);
        }
        key
    }

    fn metric(&self, metric: &Metric) -> Self {
        let mut key = Self(self.0.clone());
        key.put(metric.name.as_bytes());
        key.put(metric.unit.as_bytes());
        key.0.push(match &metric.data {
            Some(Data::Sum(s)) => u8::from(s.is_monotonic),
            Some(Data::Histogram(_)) => 2,
            Some(Data::ExponentialHistogram(_)) => 3,
            _ => 4,
        });
        key
    }

    /// The key with a point's attributes, hashed; the bytes stay as they were.
    fn stream(&mut self, attributes: &[KeyValue]) -> u128 {
        let length = self.0.len();
        self.put_attributes(attributes);
        let hash = xxhash_rust::xxh3::xxh3_128(&self.0);
        self.0.truncate(length);
        hash
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0
            .extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn put_attributes(&mut self, attributes: &[KeyValue]) {
        let mut encoded: Vec<Vec<u8>> = attributes.iter().map(Message::encode_to_vec).collect();
        encoded.sort_unstable();
        self.0
            .extend_from_slice(&(encoded.len() as u64).to_le_bytes());
        encoded.iter().for_each(|a| self.put(a));
    }
}

impl Adds for NumberDataPoint {
    fn span_ns(&self) -> (u64, u64) {
        (self.start_time_unix_nano, self.time_unix_nano)
    }

    fn attributes(&self) -> &[KeyValue] {
        &self.attributes
    }

    fn held_bytes(&self) -> usize {
        size_of::<Stream>() + 32
    }

    fn bare(&self) -> Self {
        Self {
            attributes: Vec::new(),
            exemplars: Vec::new(),
            ..*self
        }
    }

    fn add(&mut self, point: &Self) {
        self.value = match (self.value, point.value) {
            (Some(Value::AsInt(a)), Some(Value::AsInt(b))) => Some(Value::AsInt(a.wrapping_add(b))),
            (None, value) | (value, None) => value,
            (Some(a), Some(b)) => Some(Value::AsDouble(float(a) + float(b))),
        };
        self.time_unix_nano = point.time_unix_nano;
    }

    fn show(&self, point: &mut Self) {
        point.value = self.value;
        point.start_time_unix_nano = self.start_time_unix_nano;
    }

    fn into_total(self) -> Total {
        Total::Number(self)
    }

    fn of_total(total: &mut Total) -> Option<&mut Self> {
        match total {
            Total::Number(p) => Some(p),
            _ => None,
        }
    }
}

const fn float(value: Value) -> f64 {
    match value {
        Value::AsInt(n) => n as f64,
        Value::AsDouble(v) => v,
    }
}

impl Adds for HistogramDataPoint {
    fn span_ns(&self) -> (u64, u64) {
        (self.start_time_unix_nano, self.time_unix_nano)
    }

    fn attributes(&self) -> &[KeyValue] {
        &self.attributes
    }

    fn held_bytes(&self) -> usize {
        size_of::<Stream>() + 32 + 8 * (self.bucket_counts.len() + self.explicit_bounds.len())
    }

    fn bare(&self) -> Self {
        Self {
            bucket_counts: self.bucket_counts.clone(),
            explicit_bounds: self.explicit_bounds.clone(),
            attributes: Vec::new(),
            exemplars: Vec::new(),
            ..*self
        }
    }

    fn add(&mut self, point: &Self) {
        // Other bounds cannot be added to these: the total begins anew.
        if self.explicit_bounds != point.explicit_bounds {
            *self = point.bare();
            return;
        }
        for (sum, n) in self.bucket_counts.iter_mut().zip(&point.bucket_counts) {
            *sum = sum.wrapping_add(*n);
        }
        self.count = self.count.wrapping_add(point.count);
        self.sum = self.sum.zip(point.sum).map(|(a, b)| a + b);
        self.time_unix_nano = point.time_unix_nano;
    }

    fn show(&self, point: &mut Self) {
        point.start_time_unix_nano = self.start_time_unix_nano;
        point.bucket_counts.clone_from(&self.bucket_counts);
        point.count = self.count;
        point.sum = self.sum;
    }

    fn into_total(self) -> Total {
        Total::Histogram(self)
    }

    fn of_total(total: &mut Total) -> Option<&mut Self> {
        match total {
            Total::Histogram(p) => Some(p),
            _ => None,
        }
    }
}

impl Adds for ExponentialHistogramDataPoint {
    fn span_ns(&self) -> (u64, u64) {
        (self.start_time_unix_nano, self.time_unix_nano)
    }

    fn attributes(&self) -> &[KeyValue] {
        &self.attributes
    }

    fn held_bytes(&self) -> usize {
        let sides = [&self.positive, &self.negative];
        let buckets = sides.into_iter().flatten().map(|b| b.bucket_counts.len());
        size_of::<Stream>() + 32 + 8 * buckets.sum::<usize>()
    }

    fn bare(&self) -> Self {
        Self {
            positive: self.positive.clone(),
            negative: self.negative.clone(),
            attributes: Vec::new(),
            exemplars: Vec::new(),
            ..*self
        }
    }

    fn add(&mut self, point: &Self) {
        exponential::add(self, point);
    }

    fn show(&self, point: &mut Self) {
        let own = std::mem::take(point);
        *point = Self {
            attributes: own.attributes,
            exemplars: own.exemplars,
            flags: own.flags,
            time_unix_nano: own.time_unix_nano,
            ..self.bare()
        };
    }

    fn into_total(self) -> Total {
        Total::Exponential(self)
    }

    fn of_total(total: &mut Total) -> Option<&mut Self> {
        match total {
            Total::Exponential(p) => Some(p),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::otlp::{AnyValue, Sum, any_value};

    fn attribute(key: &str, value: &str) -> KeyValue {
        let value = any_value::Value::String(value.to_owned());
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
        }
    }

    fn number(start: u64, t: u64, value: i64) -> NumberDataPoint {
        NumberDataPoint {
            start_time_unix_nano: start,
            time_unix_nano: t,
            value: Some(Value::AsInt(value)),
            ..Default::default()
        }
    }

    fn request(points: Vec<NumberDataPoint>) -> ExportMetricsServiceRequest {
        let metric = Metric {
            name: "m".to_owned(),
            data: Some(Data::Sum(Sum {
                data_points: points,
                aggregation_temporality: DELTA,
                is_monotonic: true,
            })),
            ..Default::default()
        };
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                scope_metrics: vec![ScopeMetrics {
                    metrics: vec![metric],
                    ..Default::default()
                }],
                ..Default::default()
            }],
        }
    }

    fn shown(request: &ExportMetricsServiceRequest) -> Vec<(u64, u64, i64)> {
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let Some(Some(Data::Sum(s))) = metrics.first().map(|m| &m.data) else {
            return Vec::new();
        };
        assert_eq!(s.aggregation_temporality, CUMULATIVE);
        let value = |p: &NumberDataPoint| match p.value {
            Some(Value::AsInt(n)) => n,
            _ => panic!("integers stay integers"),
        };
        s.data_points
            .iter()
            .map(|p| (p.start_time_unix_nano, p.time_unix_nano, value(p)))
            .collect()
    }

    fn send(totals: &Totals, points: Vec<NumberDataPoint>, now_ms: i64) -> Vec<(u64, u64, i64)> {
        let mut request = request(points);
        assert_eq!(totals.apply(&Tenant::anonymous(), &mut request, now_ms), 0);
        shown(&request)
    }

    #[test]
    fn deltas_add_up_from_the_first_start() {
        let totals = Totals::default();
        let sent = vec![number(1, 2, 5), number(2, 3, 7)];
        assert_eq!(send(&totals, sent, 0), [(1, 2, 5), (1, 3, 12)]);
        assert_eq!(send(&totals, vec![number(3, 4, 1)], 0), [(1, 4, 13)]);
    }

    #[test]
    fn late_points_are_dropped_and_an_empty_metric_with_them() {
        let totals = Totals::default();
        send(&totals, vec![number(10, 20, 5)], 0);
        assert!(send(&totals, vec![number(10, 20, 5), number(9, 30, 1)], 0).is_empty());
        assert_eq!(send(&totals, vec![number(20, 30, 1)], 0), [(10, 30, 6)]);
    }

    #[test]
    fn streams_are_told_apart_by_tenant_and_attributes_in_any_order() {
        let totals = Totals::default();
        let with = |keys: &[&str], t| NumberDataPoint {
            attributes: keys.iter().map(|k| attribute(k, "x")).collect(),
            ..number(1, t, 1)
        };
        let sent = vec![with(&["a", "b"], 2), with(&["b", "a"], 3), with(&["a"], 4)];
        assert_eq!(send(&totals, sent, 0), [(1, 2, 1), (1, 3, 2), (1, 4, 1)]);
        let other = Tenant::new("other").unwrap();
        let mut again = request(vec![with(&["a"], 9)]);
        totals.apply(&other, &mut again, 0);
        assert_eq!(shown(&again), [(1, 9, 1)]);
    }

    #[test]
    fn a_stream_that_was_silent_begins_anew() {
        let totals = Totals::default();
        send(&totals, vec![number(1, 2, 5)], 1_000_000);
        assert_eq!(
            send(&totals, vec![number(2, 3, 5)], 1_290_000),
            [(1, 3, 10)]
        );
        assert_eq!(send(&totals, vec![number(3, 4, 5)], 1_600_000), [(3, 4, 5)]);
        assert_eq!(totals.0.lock().bytes, number(1, 1, 1).held_bytes());
    }

    #[test]
    fn streams_beyond_the_room_are_counted() {
        let totals = Totals::default();
        let buckets = HistogramDataPoint {
            time_unix_nano: 1,
            bucket_counts: vec![0; MAX_BYTES / 8],
            ..Default::default()
        };
        let mut points = vec![buckets];
        let mut full = 0;
        let mut key = Key::default();
        totals.0.lock().points(&mut points, &mut key, 0, &mut full);
        assert_eq!((points.len(), full), (0, 1));
    }

    #[test]
    fn explicit_buckets_add_up_while_the_bounds_stay() {
        let point = |bounds: &[f64], counts: &[u64], sum| HistogramDataPoint {
            explicit_bounds: bounds.to_vec(),
            bucket_counts: counts.to_vec(),
            count: counts.iter().sum(),
            sum,
            ..Default::default()
        };
        let mut total = point(&[1.0], &[1, 2], Some(1.0));
        total.add(&point(&[1.0], &[3, 4], Some(2.0)));
        assert_eq!(total, point(&[1.0], &[4, 6], Some(3.0)));
        total.add(&point(&[1.0], &[0, 0], None));
        assert_eq!(total.sum, None);
        total.add(&point(&[2.0], &[1, 0], None));
        assert_eq!(total, point(&[2.0], &[1, 0], None));
    }
}
