//! Metrics by remote write, 1.0 or 2.0.
//!
//! Samples travel in order of time over all series, some 2000 a request; an exemplar travels with
//! the first sample at or after it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::http::Client;
use crate::wire::{Message, snappy, zigzag};

/// The bits of the staleness marker.
pub const STALE: u64 = 0x7ff0_0000_0000_0002;
/// The bits of the ordinary NaN.
pub const NAN: u64 = 0x7ff8_0000_0000_0001;
const BATCH: usize = 2000;

/// Label names and values, sorted by name.
pub type Labels = BTreeMap<String, String>;

/// A histogram as it travels: spans of buckets with deltas (integer) or counts (float).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// Whether counts are floats.
    pub float: bool,
    /// The schema; -53 for custom buckets.
    pub schema: i32,
    /// Observations.
    pub count: f64,
    /// The bits of the sum.
    pub sum: u64,
    /// The zero bucket's width.
    pub zero_threshold: f64,
    /// The zero bucket's observations.
    pub zero_count: f64,
    /// Offset and length of each run of positive buckets.
    pub positive_spans: Vec<(i64, u64)>,
    /// Deltas of an integer histogram, counts of a float one.
    pub positive: Vec<f64>,
    /// Offset and length of each run of negative buckets.
    pub negative_spans: Vec<(i64, u64)>,
    /// As `positive`.
    pub negative: Vec<f64>,
    /// Upper bounds of custom buckets, without `+Inf`.
    pub custom_values: Vec<f64>,
    /// 0 unknown, 1 reset, 2 no reset, 3 gauge.
    pub hint: u64,
}

/// The value of a point.
#[derive(Debug, Clone, PartialEq)]
pub enum PointValue {
    /// A float, by its bits.
    Float(u64),
    /// A native histogram.
    Histogram(Box<Histogram>),
}

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Milliseconds since the epoch.
    pub t_ms: i64,
    /// The start timestamp, where the sample has one.
    pub start_ms: Option<i64>,
    /// What was observed.
    pub value: PointValue,
}

/// An exemplar: time, bits of the value, labels.
pub type Exemplar = (i64, u64, Labels);

/// A series with its samples in order of time.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// The label set, name included.
    pub labels: Labels,
    /// The samples.
    pub points: Vec<Point>,
    /// The exemplars.
    pub exemplars: Vec<Exemplar>,
}

/// Metadata of one family.
#[derive(Debug, Clone, Deserialize)]
pub struct Metadata {
    family: String,
    r#type: String,
    #[serde(default)]
    help: String,
    #[serde(default)]
    unit: String,
}

/// A dataset.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// The series.
    pub series: Vec<Series>,
    /// Metadata of their families.
    pub metadata: Vec<Metadata>,
}

/// How samples travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Remote write 1.0.
    Write1,
    /// Remote write 2.0, which can carry start timestamps.
    Write2,
}

/// The bits of a dataset's value: a number, or `NaN`, `+Inf`, `-Inf`, `-0`, `stale`.
fn bits(v: &Value) -> Result<u64> {
    let text = match v {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    if text == "stale" {
        return Ok(STALE);
    }
    let x: f64 = text
        .parse()
        .with_context(|| format!("{text:?} is no number"))?;
    Ok(if x.is_nan() { NAN } else { x.to_bits() })
}

#[derive(Deserialize)]
struct RawHistogram {
    #[serde(default)]
    schema: i32,
    #[serde(default)]
    count: Value,
    #[serde(default)]
    sum: Value,
    #[serde(default)]
    zero_threshold: f64,
    #[serde(default)]
    zero_count: Value,
    #[serde(default)]
    positive_spans: Vec<(i64, u64)>,
    #[serde(default)]
    positive_deltas: Vec<f64>,
    #[serde(default)]
    positive_counts: Vec<f64>,
    #[serde(default)]
    negative_spans: Vec<(i64, u64)>,
    #[serde(default)]
    negative_deltas: Vec<f64>,
    #[serde(default)]
    negative_counts: Vec<f64>,
    #[serde(default)]
    custom_values: Vec<f64>,
    #[serde(default)]
    reset_hint: Option<String>,
    #[serde(default)]
    float: bool,
}

impl TryFrom<RawHistogram> for Histogram {
    type Error = anyhow::Error;

    fn try_from(raw: RawHistogram) -> Result<Self> {
        let number = |v: &Value| -> Result<u64> { if v.is_null() { Ok(0) } else { bits(v) } };
        Ok(Self {
            float: raw.float,
            schema: raw.schema,
            count: f64::from_bits(number(&raw.count)?),
            sum: number(&raw.sum)?,
            zero_threshold: raw.zero_threshold,
            zero_count: f64::from_bits(number(&raw.zero_count)?),
            positive_spans: raw.positive_spans,
            positive: if raw.float {
                raw.positive_counts
            } else {
                raw.positive_deltas
            },
            negative_spans: raw.negative_spans,
            negative: if raw.float {
                raw.negative_counts
            } else {
                raw.negative_deltas
            },
            custom_values: raw.custom_values,
            hint: match raw.reset_hint.as_deref() {
                None | Some("unknown") => 0,
                Some("yes") => 1,
                Some("no") => 2,
                Some("gauge") => 3,
                Some(other) => bail!("reset_hint {other:?}"),
            },
        })
    }
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    samples: Vec<(i64, Value)>,
    #[serde(default)]
    histograms: Vec<(i64, RawHistogram)>,
    #[serde(default)]
    exemplars: Vec<(i64, Value, Labels)>,
    metadata: Option<Metadata>,
}

/// Reads a dataset file.
///
/// # Errors
/// When the file cannot be read or a line does not fit.
pub fn load(path: &Path) -> Result<Dataset> {
    let mut out = Dataset::default();
    for line in crate::case::read_lines::<Line>(path)? {
        if let Some(metadata) = line.metadata {
            out.metadata.push(metadata);
            continue;
        }
        let mut points = Vec::new();
        for (t_ms, v) in &line.samples {
            let value = PointValue::Float(bits(v)?);
            points.push(Point {
                t_ms: *t_ms,
                start_ms: None,
                value,
            });
        }
        for (t_ms, h) in line.histograms {
            let value = PointValue::Histogram(Box::new(h.try_into()?));
            points.push(Point {
                t_ms,
                start_ms: None,
                value,
            });
        }
        points.sort_by_key(|p| p.t_ms);
        let exemplars = line
            .exemplars
            .into_iter()
            .map(|(t, v, l)| Ok((t, bits(&v)?, l)))
            .collect::<Result<_>>()?;
        out.series.push(Series {
            labels: line.labels,
            points,
            exemplars,
        });
    }
    Ok(out)
}

/// What one request carries of one series; floats and histograms go apart.
struct Part<'a> {
    series: &'a Series,
    histograms: bool,
    points: Vec<&'a Point>,
    exemplars: Vec<&'a Exemplar>,
}

/// Cuts the dataset into requests, in order of time over all series.
fn batches(series: &[Series]) -> Vec<Vec<Part<'_>>> {
    enum Item<'a> {
        Point(&'a Point),
        Exemplar(&'a Exemplar),
    }
    let mut events: Vec<(i64, usize, u8, Item<'_>)> = Vec::new();
    for (i, s) in series.iter().enumerate() {
        for p in &s.points {
            let kind = u8::from(matches!(p.value, PointValue::Histogram(_)));
            events.push((p.t_ms, i, kind, Item::Point(p)));
        }
        for e in &s.exemplars {
            let at = s.points.partition_point(|p| p.t_ms < e.0);
            let Some(point) = s.points.get(at).or(s.points.last()) else {
                continue;
            };
            events.push((point.t_ms, i, 2, Item::Exemplar(e)));
        }
    }
    events.sort_by_key(|e| (e.0, e.1, e.2));
    let mut out = Vec::new();
    let (mut current, mut samples): (Vec<Part<'_>>, usize) = (Vec::new(), 0);
    let mut latest: HashMap<usize, usize> = HashMap::new();
    for (_, i, kind, item) in events {
        if kind != 2 && samples >= BATCH {
            out.push(std::mem::take(&mut current));
            latest.clear();
            samples = 0;
        }
        let at = match latest.get(&i) {
            Some(&at) if kind == 2 || current[at].histograms == (kind == 1) => at,
            _ => {
                current.push(Part {
                    series: &series[i],
                    histograms: kind == 1,
                    points: Vec::new(),
                    exemplars: Vec::new(),
                });
                latest.insert(i, current.len() - 1);
                current.len() - 1
            }
        };
        match item {
            Item::Point(p) => {
                current[at].points.push(p);
                samples += 1;
            }
            Item::Exemplar(e) => current[at].exemplars.push(e),
        }
    }
    if !current.is_empty() {
        out.push(current);
    }
    out
}

fn histogram(h: &Histogram, t_ms: i64) -> Message {
    let mut m = Message::new();
    if h.float {
        m.double_bits(2, h.count.to_bits());
    } else {
        m.uint_always(1, h.count as u64);
    }
    m.double_bits(3, h.sum);
    m.uint(4, zigzag(i64::from(h.schema)));
    if h.zero_threshold != 0.0 {
        m.double_bits(5, h.zero_threshold.to_bits());
    }
    if h.float {
        m.double_bits(7, h.zero_count.to_bits());
    } else {
        m.uint_always(6, h.zero_count as u64);
    }
    let sides = [
        (&h.negative_spans, &h.negative, [8, 9, 10]),
        (&h.positive_spans, &h.positive, [11, 12, 13]),
    ];
    for (spans, values, [span_field, delta_field, count_field]) in sides {
        for (offset, length) in spans {
            let mut span = Message::new();
            span.uint(1, zigzag(*offset)).uint(2, *length);
            m.message(span_field, &span);
        }
        if h.float {
            m.packed_doubles(count_field, values.iter().map(|v| v.to_bits()));
        } else {
            m.packed(delta_field, values.iter().map(|v| zigzag(*v as i64)));
        }
    }
    m.uint(14, h.hint).int(15, t_ms);
    m.packed_doubles(16, h.custom_values.iter().map(|v| v.to_bits()));
    m
}

fn type_number(name: &str) -> u64 {
    match name {
        "counter" => 1,
        "gauge" => 2,
        "histogram" => 3,
        "gaugehistogram" => 4,
        "summary" => 5,
        "info" => 6,
        "stateset" => 7,
        _ => 0,
    }
}

fn write1(batch: &[Part<'_>], metadata: &[Metadata]) -> Message {
    let pairs = |m: &mut Message, field: u32, labels: &Labels| {
        for (k, v) in labels {
            let mut label = Message::new();
            label.bytes(1, k).bytes(2, v);
            m.message(field, &label);
        }
    };
    let mut out = Message::new();
    for part in batch {
        let mut series = Message::new();
        pairs(&mut series, 1, &part.series.labels);
        for p in &part.points {
            match &p.value {
                PointValue::Float(bits) => {
                    let mut sample = Message::new();
                    sample.double_bits(1, *bits).int(2, p.t_ms);
                    series.message(2, &sample);
                }
                PointValue::Histogram(h) => {
                    series.message(4, &histogram(h, p.t_ms));
                }
            }
        }
        for (t_ms, value, labels) in &part.exemplars {
            let mut exemplar = Message::new();
            pairs(&mut exemplar, 1, labels);
            exemplar.double_bits(2, *value).int(3, *t_ms);
            series.message(3, &exemplar);
        }
        out.message(1, &series);
    }
    for m in metadata {
        let mut entry = Message::new();
        entry.uint(1, type_number(&m.r#type)).bytes(2, &m.family);
        entry.bytes(4, &m.help).bytes(5, &m.unit);
        out.message(3, &entry);
    }
    out
}

/// The symbol table of a remote write 2.0 request; the first symbol is the empty text.
struct Symbols(Vec<String>, HashMap<String, u64>);

impl Symbols {
    fn new() -> Self {
        Self(vec![String::new()], HashMap::from([(String::new(), 0)]))
    }

    fn reference(&mut self, text: &str) -> u64 {
        if let Some(&n) = self.1.get(text) {
            return n;
        }
        let n = self.0.len() as u64;
        self.0.push(text.to_owned());
        self.1.insert(text.to_owned(), n);
        n
    }

    fn labels(&mut self, labels: &Labels) -> Vec<u64> {
        labels
            .iter()
            .flat_map(|(k, v)| [self.reference(k), self.reference(v)])
            .collect()
    }
}

fn write2(batch: &[Part<'_>]) -> Message {
    let mut symbols = Symbols::new();
    let mut all = Vec::new();
    for part in batch {
        let mut series = Message::new();
        series.packed(1, symbols.labels(&part.series.labels));
        for p in &part.points {
            match &p.value {
                PointValue::Float(bits) => {
                    let mut sample = Message::new();
                    sample
                        .double_bits(1, *bits)
                        .int(2, p.t_ms)
                        .int(3, p.start_ms.unwrap_or(0));
                    series.message(2, &sample);
                }
                PointValue::Histogram(h) => {
                    let mut m = histogram(h, p.t_ms);
                    m.int(17, p.start_ms.unwrap_or(0));
                    series.message(3, &m);
                }
            }
        }
        for (t_ms, value, labels) in &part.exemplars {
            let mut exemplar = Message::new();
            exemplar
                .packed(1, symbols.labels(labels))
                .double_bits(2, *value)
                .int(3, *t_ms);
            series.message(4, &exemplar);
        }
        all.push(series);
    }
    let mut out = Message::new();
    for symbol in &symbols.0 {
        out.bytes(4, symbol);
    }
    for series in &all {
        out.message(5, series);
    }
    out
}

/// Sends one float of one series to `{base}/api/v1/write`.
///
/// # Errors
/// As [`feed`].
pub async fn sample(base: &str, labels: &[(&str, &str)], t_ms: i64, value: f64) -> Result<()> {
    let labels = labels
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    let series = Series {
        labels: labels.collect(),
        points: vec![Point {
            t_ms,
            start_ms: None,
            value: PointValue::Float(value.to_bits()),
        }],
        ..Series::default()
    };
    let set = Dataset {
        series: vec![series],
        ..Dataset::default()
    };
    feed(&Client::new(), base, &set, Protocol::Write1, &[]).await?;
    Ok(())
}

/// Sends a dataset to `{base}/api/v1/write` and returns the number of samples.
///
/// # Errors
/// On the first answer that is not 2xx, with the answer's text.
pub async fn feed(
    client: &Client,
    base: &str,
    set: &Dataset,
    protocol: Protocol,
    extra_headers: &[(&str, &str)],
) -> Result<usize> {
    let mut sent = 0;
    let batches = batches(&set.series);
    let metadata_only = batches.is_empty() && !set.metadata.is_empty();
    let batches = if metadata_only {
        vec![Vec::new()]
    } else {
        batches
    };
    for (i, batch) in batches.iter().enumerate() {
        let metadata: &[Metadata] = if i == 0 { &set.metadata } else { &[] };
        let (body, content_type, version) = match protocol {
            Protocol::Write1 => (write1(batch, metadata), "application/x-protobuf", "0.1.0"),
            Protocol::Write2 => (
                write2(batch),
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                "2.0.0",
            ),
        };
        let mut headers = vec![
            ("content-type", content_type),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", version),
            ("user-agent", "trilobite-compat-tests"),
        ];
        headers.extend_from_slice(extra_headers);
        let url = format!("{}/api/v1/write", base.trim_end_matches('/'));
        let answer = client.post(&url, &headers, snappy(&body.0)).await?;
        if !(200..300).contains(&answer.status) {
            let text = String::from_utf8_lossy(&answer.body);
            bail!(
                "HTTP {} after {sent} samples: {}",
                answer.status,
                text.trim()
            );
        }
        sent += batch.iter().map(|p| p.points.len()).sum::<usize>();
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_values_keep_their_bits() {
        use serde_json::json;
        assert_eq!(bits(&json!("stale")).unwrap(), STALE);
        assert_eq!(bits(&json!("NaN")).unwrap(), NAN);
        assert_eq!(bits(&json!("-0")).unwrap(), (-0.0_f64).to_bits());
        assert_eq!(bits(&json!("+Inf")).unwrap(), f64::INFINITY.to_bits());
        assert_eq!(bits(&json!(1.5)).unwrap(), 1.5_f64.to_bits());
    }

    #[test]
    fn requests_run_in_order_of_time_over_all_series() {
        let point = |t_ms| Point {
            t_ms,
            start_ms: None,
            value: PointValue::Float(0),
        };
        let series = |n: i64| Series {
            points: (0..1500).map(|k| point(k * 10 + n)).collect(),
            ..Series::default()
        };
        let all = [series(0), series(1)];
        let requests = batches(&all);
        assert_eq!(requests.len(), 2);
        let newest = requests[0]
            .iter()
            .flat_map(|p| &p.points)
            .map(|p| p.t_ms)
            .max();
        let oldest = requests[1]
            .iter()
            .flat_map(|p| &p.points)
            .map(|p| p.t_ms)
            .min();
        assert!(newest < oldest);
        assert_eq!(
            requests
                .iter()
                .flatten()
                .map(|p| p.points.len())
                .sum::<usize>(),
            3000
        );
    }
}
