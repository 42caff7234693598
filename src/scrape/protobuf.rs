//! The protobuf exposition: `io.prometheus.client.MetricFamily` messages, each behind its length. It is the format in which
//! targets show native histograms.
//!
//! ```text
//! MetricFamily { 1 name, 2 help, 3 type, 4 Metric*, 5 unit }
//! Metric       { 1 Label*, 2 Gauge, 3 Counter, 4 Summary, 5 Untyped, 6 int64 ms, 7 Histogram }
//! ```
//! A metric becomes one sample or several: the parts of a summary, or of a histogram that is not native.
//! Source: `io/prometheus/client/metrics.proto`.

mod histogram;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use promql::lexer::quote;
use storage::model::{METRIC_NAME, MetricType, NO_START_MS};

use super::exposition::{
    Entry, ExemplarText, Exposition, ParseError, Sample, TextLabels, TextOptions, Value,
};
use super::text::{NORMAL_NAN_BITS, open_metrics_float, type_label};
use crate::wire::protobuf::{Reader, Value as Field, WireError};
use histogram::RawHistogram;

impl From<WireError> for ParseError {
    fn from(e: WireError) -> Self {
        Self(format!("proto: {e}"))
    }
}

/// Which forms of a histogram are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HistogramForms {
    /// Native histograms as such; else their classic form.
    pub(super) native: bool,
    /// The classic form beside the native one.
    pub(super) classic_too: bool,
}

/// A sample of a metric.
#[derive(Clone, Debug)]
struct Part<'a> {
    suffix: &'static str,
    /// The label that tells parts apart.
    label: Option<(&'static str, String)>,
    value: Value,
    exemplars: Vec<ExemplarText<'a>>,
    exemplar_labels: Vec<&'a [u8]>,
}

impl Part<'_> {
    fn number(suffix: &'static str, value: f64) -> Self {
        Self {
            suffix,
            label: None,
            value: number(value),
            exemplars: Vec::new(),
            exemplar_labels: Vec::new(),
        }
    }
}

fn number(value: f64) -> Value {
    Value::Float(if value.is_nan() {
        f64::from_bits(NORMAL_NAN_BITS)
    } else {
        value
    })
}

/// Walks over a body.
#[derive(Debug)]
pub(super) struct ProtobufParser<'a> {
    families: Reader<'a>,
    options: TextOptions,
    forms: HistogramForms,
    /// Entries of the family's metadata that were not handed out.
    metadata: VecDeque<Entry<'a>>,
    name: &'a str,
    metric_type: MetricType,
    unit: &'a [u8],
    /// Metrics of the family that were not read.
    metrics: VecDeque<&'a [u8]>,
    labels: Vec<(&'a str, &'a str)>,
    t_ms: Option<i64>,
    start_ms: i64,
    /// Parts of the metric that were not handed out.
    parts: VecDeque<Part<'a>>,
    part: Option<Part<'a>>,
    series: Vec<u8>,
}

impl<'a> ProtobufParser<'a> {
    pub(super) fn new(body: &'a [u8], options: TextOptions, forms: HistogramForms) -> Self {
        Self {
            families: Reader::new(body),
            options,
            forms,
            metadata: VecDeque::new(),
            name: "",
            metric_type: MetricType::Unknown,
            unit: b"",
            metrics: VecDeque::new(),
            labels: Vec::new(),
            t_ms: None,
            start_ms: NO_START_MS,
            parts: VecDeque::new(),
            part: None,
            series: Vec::new(),
        }
    }

    fn read_family(&mut self) -> Result<(), ParseError> {
        let message = self.families.delimited()?;
        let (mut name, mut help, mut type_number) = (&b""[..], &b""[..], 0);
        self.unit = b"";
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next()? {
            match (field, value) {
                (1, Field::Bytes(bytes)) => name = bytes,
                (2, Field::Bytes(bytes)) => help = bytes,
                (3, Field::Varint(n)) => type_number = n,
                (4, Field::Bytes(bytes)) => self.metrics.push_back(bytes),
                (5, Field::Bytes(bytes)) => self.unit = bytes,
                (1..=5, _) => return Err(wrong("MetricFamily", field)),
                _ => {}
            }
        }
        // A family without a metric says nothing.
        if self.metrics.is_empty() {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(name);
        self.name = match std::str::from_utf8(name) {
            Ok(name) if !name.is_empty() => name,
            _ => return Err(ParseError(format!("invalid metric name: {shown}"))),
        };
        let Ok(help) = std::str::from_utf8(help) else {
            let fault = format!("invalid help for metric {}", quote(self.name));
            return Err(ParseError(fault));
        };
        self.metric_type = match type_number {
            0 => MetricType::Counter,
            1 => MetricType::Gauge,
            2 => MetricType::Summary,
            3 => MetricType::Unknown,
            4 => MetricType::Histogram,
            5 => MetricType::GaugeHistogram,
            n => {
                let name = quote(self.name);
                return Err(ParseError(format!(
                    "unknown metric type for metric {name}: {n}"
                )));
            }
        };
        self.metadata
            .push_back(Entry::Help(name, Cow::Borrowed(help)));
        if !self.unit.is_empty() {
            self.metadata.push_back(Entry::Unit(name, self.unit));
        }
        self.metadata.push_back(Entry::Type(name, self.metric_type));
        Ok(())
    }

    fn read_metric(&mut self, message: &'a [u8]) -> Result<(), ParseError> {
        self.labels.clear();
        self.t_ms = None;
        self.start_ms = NO_START_MS;
        let wanted = match self.metric_type {
            MetricType::Gauge => 2,
            MetricType::Counter => 3,
            MetricType::Summary => 4,
            MetricType::Histogram | MetricType::GaugeHistogram => 7,
            _ => 5,
        };
        let mut content = &b""[..];
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next()? {
            match (field, value) {
                (1, Field::Bytes(bytes)) => self.labels.push(label(bytes)?),
                (6, Field::Varint(0)) => {}
                (6, Field::Varint(n)) => self.t_ms = Some(n as i64),
                (2..=5 | 7, Field::Bytes(bytes)) if field == wanted => content = bytes,
                (1..=7, Field::Bytes(_)) => {}
                (1..=7, _) => return Err(wrong("Metric", field)),
                _ => {}
            }
        }
        match self.metric_type {
            MetricType::Summary => self.read_summary(content),
            MetricType::Histogram | MetricType::GaugeHistogram => self.read_histogram(content),
            _ => self.read_number(content),
        }
    }

    /// A counter, gauge or untyped metric: all have the value in field 1.
    fn read_number(&mut self, message: &'a [u8]) -> Result<(), ParseError> {
        let mut part = Part::number("", 0.0);
        let counts = self.metric_type == MetricType::Counter;
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next()? {
            match (field, value) {
                (1, Field::Fixed64(bits)) => part.value = number(f64::from_bits(bits)),
                (2, Field::Bytes(bytes)) if counts => add_exemplar(bytes, &mut part)?,
                (3, Field::Bytes(bytes)) if counts => self.start_ms = timestamp(bytes)?,
                (1, _) => return Err(wrong("Counter", field)),
                _ => {}
            }
        }
        self.parts.push_back(part);
        Ok(())
    }

    fn read_summary(&mut self, message: &'a [u8]) -> Result<(), ParseError> {
        let (mut count, mut sum) = (0, 0.0);
        let mut quantiles = Vec::new();
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next()? {
            match (field, value) {
                (1, Field::Varint(n)) => count = n,
                (2, Field::Fixed64(bits)) => sum = f64::from_bits(bits),
                (3, Field::Bytes(bytes)) => quantiles.push(doubles(bytes, "Quantile")?),
                (4, Field::Bytes(bytes)) => self.start_ms = timestamp(bytes)?,
                (1..=4, _) => return Err(wrong("Summary", field)),
                _ => {}
            }
        }
        self.parts.push_back(Part::number("_count", count as f64));
        self.parts.push_back(Part::number("_sum", sum));
        for (quantile, value) in quantiles {
            self.parts.push_back(Part {
                label: Some(("quantile", open_metrics_float(quantile))),
                ..Part::number("", value)
            });
        }
        Ok(())
    }

    fn read_histogram(&mut self, message: &'a [u8]) -> Result<(), ParseError> {
        let h = RawHistogram::read(message)?;
        self.start_ms = h.start_ms;
        let native = self.forms.native && h.is_native();
        if native {
            let gauge = self.metric_type == MetricType::GaugeHistogram;
            let histogram = h
                .native(gauge)
                .map_err(|e| ParseError(format!("histogram {}: {e}", quote(self.name))))?;
            let mut part = Part {
                value: Value::Histogram(Arc::new(histogram)),
                ..Part::number("", 0.0)
            };
            let of_buckets = h.buckets.iter().filter_map(|b| b.exemplar);
            let own = h.exemplars.iter().copied();
            if h.exemplars.is_empty() {
                of_buckets
                    .into_iter()
                    .try_for_each(|e| add_exemplar(e, &mut part))?;
            } else {
                own.into_iter()
                    .try_for_each(|e| add_exemplar(e, &mut part))?;
            }
            self.parts.push_back(part);
            if !self.forms.classic_too || h.buckets.is_empty() {
                return Ok(());
            }
        }
        let total = h.count();
        self.parts.push_back(Part::number("_count", total));
        self.parts.push_back(Part::number("_sum", h.sum));
        let mut ends = false;
        for bucket in &h.buckets {
            let mut part = Part {
                label: Some(("le", open_metrics_float(bucket.upper_bound))),
                ..Part::number("_bucket", bucket.cumulative_count())
            };
            if let Some(exemplar) = bucket.exemplar {
                add_exemplar(exemplar, &mut part)?;
            }
            ends = bucket.upper_bound == f64::INFINITY;
            self.parts.push_back(part);
            if ends {
                break;
            }
        }
        if !ends {
            self.parts.push_back(Part {
                label: Some(("le", "+Inf".to_owned())),
                ..Part::number("_bucket", total)
            });
        }
        Ok(())
    }

    fn begin_part(&mut self, part: Part<'a>) -> Entry<'a> {
        self.series.clear();
        self.series.extend_from_slice(self.name.as_bytes());
        self.series.extend_from_slice(part.suffix.as_bytes());
        let own = part.label.iter().map(|(n, v)| (*n, v.as_str()));
        for (name, value) in self.labels.iter().copied().chain(own) {
            // No UTF-8 text has this byte.
            self.series.push(0xff);
            self.series.extend_from_slice(name.as_bytes());
            self.series.push(0xff);
            self.series.extend_from_slice(value.as_bytes());
        }
        let sample = Sample {
            value: part.value.clone(),
            t_ms: self.t_ms,
        };
        self.part = Some(part);
        Entry::Sample(sample)
    }
}

impl<'a> Exposition<'a> for ProtobufParser<'a> {
    fn next_entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        loop {
            if let Some(entry) = self.metadata.pop_front() {
                return Ok(Some(entry));
            }
            if let Some(part) = self.parts.pop_front() {
                return Ok(Some(self.begin_part(part)));
            }
            if let Some(metric) = self.metrics.pop_front() {
                self.read_metric(metric)?;
            } else if self.families.is_done() {
                return Ok(None);
            } else {
                self.read_family()?;
            }
        }
    }

    fn series(&self) -> &[u8] {
        &self.series
    }

    fn labels(&self, out: &mut TextLabels<'a>) -> Result<(), ParseError> {
        out.clear();
        let Some(part) = &self.part else {
            return Ok(());
        };
        let name = match part.suffix {
            "" => Cow::Borrowed(self.name),
            suffix => Cow::Owned(format!("{}{suffix}", self.name)),
        };
        out.push((Cow::Borrowed(METRIC_NAME), name));
        let mut own = [("__type__", ""), ("__unit__", "")];
        if self.options.type_and_unit_labels {
            own[0].1 = type_label(self.metric_type);
            own[1].1 = std::str::from_utf8(self.unit).unwrap_or("");
        }
        let own = own.into_iter().filter(|(_, value)| !value.is_empty());
        out.extend(
            own.clone()
                .map(|(n, v)| (Cow::Borrowed(n), Cow::Borrowed(v))),
        );
        for (name, value) in &self.labels {
            if !own.clone().any(|(own, _)| own == *name) {
                out.push((Cow::Borrowed(name), Cow::Borrowed(value)));
            }
        }
        if let Some((name, value)) = &part.label {
            out.push((Cow::Borrowed(name), Cow::Owned(value.clone())));
        }
        Ok(())
    }

    fn start_ms(&self) -> Option<i64> {
        let known = self.options.created_timestamps && self.start_ms != NO_START_MS;
        known.then_some(self.start_ms)
    }

    fn exemplars(&self) -> &[ExemplarText<'a>] {
        self.part.as_ref().map_or(&[], |part| &part.exemplars)
    }

    fn exemplar_labels(&self, index: usize, out: &mut TextLabels<'a>) -> Result<(), ParseError> {
        out.clear();
        let part = self.part.as_ref();
        let message = part.and_then(|p| p.exemplar_labels.get(index));
        let mut reader = Reader::new(message.copied().unwrap_or(b""));
        while let Some((field, value)) = reader.next()? {
            if let (1, Field::Bytes(bytes)) = (field, value) {
                let (name, value) = label(bytes)?;
                out.push((Cow::Borrowed(name), Cow::Borrowed(value)));
            }
        }
        Ok(())
    }
}

fn wrong(message: &'static str, field: u32) -> ParseError {
    WireError::WrongType { message, field }.into()
}

fn label(message: &[u8]) -> Result<(&str, &str), ParseError> {
    let (mut name, mut value) = (&b""[..], &b""[..]);
    let mut reader = Reader::new(message);
    while let Some((field, v)) = reader.next()? {
        match (field, v) {
            (1, Field::Bytes(bytes)) => name = bytes,
            (2, Field::Bytes(bytes)) => value = bytes,
            (1 | 2, _) => return Err(wrong("LabelPair", field)),
            _ => {}
        }
    }
    match (std::str::from_utf8(name), std::str::from_utf8(value)) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        _ => Err(ParseError("invalid UTF-8 in a label".to_owned())),
    }
}

/// Fields 1 and 2 of a message that has two numbers.
fn doubles(message: &[u8], name: &'static str) -> Result<(f64, f64), ParseError> {
    let mut out = (0.0, 0.0);
    let mut reader = Reader::new(message);
    while let Some((field, value)) = reader.next()? {
        match (field, value) {
            (1, Field::Fixed64(bits)) => out.0 = f64::from_bits(bits),
            (2, Field::Fixed64(bits)) => out.1 = f64::from_bits(bits),
            (1 | 2, _) => return Err(wrong(name, field)),
            _ => {}
        }
    }
    Ok(out)
}

/// Milliseconds of a `google.protobuf.Timestamp`.
fn timestamp(message: &[u8]) -> Result<i64, ParseError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    let mut reader = Reader::new(message);
    while let Some((field, value)) = reader.next()? {
        match (field, value) {
            (1, Field::Varint(n)) => seconds = n as i64,
            (2, Field::Varint(n)) => nanos = n as i64,
            (1 | 2, _) => return Err(wrong("Timestamp", field)),
            _ => {}
        }
    }
    Ok(seconds
        .saturating_mul(1000)
        .saturating_add(nanos / 1_000_000))
}

/// Adds an exemplar: labels in field 1, value in 2, time in 3.
fn add_exemplar<'a>(message: &'a [u8], part: &mut Part<'a>) -> Result<(), ParseError> {
    let mut exemplar = ExemplarText {
        text: message,
        value: 0.0,
        t_ms: None,
    };
    let mut reader = Reader::new(message);
    while let Some((field, value)) = reader.next()? {
        match (field, value) {
            (1, Field::Bytes(bytes)) => {
                label(bytes)?;
            }
            (2, Field::Fixed64(bits)) => exemplar.value = f64::from_bits(bits),
            (3, Field::Bytes(bytes)) => exemplar.t_ms = Some(timestamp(bytes)?),
            (1..=3, _) => return Err(wrong("Exemplar", field)),
            _ => {}
        }
    }
    part.exemplars.push(exemplar);
    part.exemplar_labels.push(message);
    Ok(())
}

#[cfg(test)]
mod tests;
