//! Prometheus remote write 1.0: the borrowing decoder of `prometheus.WriteRequest`, and a writer of
//! the same form for samples that come from elsewhere.
//!
//! ```text
//!  WriteRequest { 1: TimeSeries*, 3: MetricMetadata* }
//!  TimeSeries   { 1: Label* {1 name, 2 value}, 2: Sample* {1 double, 2 int64 ms, (3 int64 start ms)},
//!                 3: Exemplar* {1 Label*, 2 double, 3 int64 ms}, 4: Histogram*, (5 int64 start ms of histograms) }
//! ```
//! The members in brackets are ours alone: the published messages do not have them, and they are
//! read only from requests that [`Writer`] made.
//! Source: prometheus.io/docs/specs/prw/remote_write_spec, `prompb/types.proto`.
//!
//! The labels of a series lie together in every known sender's bytes; those bytes are the key by
//! which storage knows the series again. Where they do not lie together the request is written
//! anew first.

use std::sync::Arc;

use storage::model::{
    BatchExemplar, BatchSeries, BucketSpan, Counts, Histogram, LabelError, LabelPairs, Labels,
    METRIC_NAME, Metadata, MetricBatch, MetricType, NO_START_MS, ResetHint,
};

use super::protobuf::{
    Reader, Value, WireError, put_bytes, put_fixed64, put_uint, put_varint, unzigzag, zigzag,
};

/// How a request is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Whether start timestamps may be present: only in what [`Writer`] made.
    pub with_start: bool,
}

/// A request that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No protobuf, or not this message.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// The labels of a series are scattered; [`rewrite`] puts them together.
    #[error("labels of a series do not lie together")]
    ScatteredLabels,
}

/// Decodes a request that was already inflated. Nothing is copied but what goes into the columns.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(body: &[u8], form: Form) -> Result<MetricBatch<'_>, DecodeError> {
    // Some 30 bytes a sample is what senders need at least; a guess that is off only costs a growth.
    let guess = body.len() / 40;
    let mut batch = MetricBatch {
        series: Vec::with_capacity(guess),
        decode_labels,
        t_ms: Vec::with_capacity(guess),
        values: Vec::with_capacity(guess),
        start_ms: Vec::new(),
        histograms: Vec::new(),
        exemplars: Vec::new(),
        metadata: Vec::new(),
    };
    let mut reader = Reader::new(body);
    while let Some((field, value)) = reader.next()? {
        match (field, value) {
            (1, Value::Bytes(bytes)) => time_series(bytes, form, &mut batch)?,
            (3, Value::Bytes(bytes)) => batch.metadata.push(metadata(bytes)?),
            (1 | 3, _) => return Err(wrong("WriteRequest", field).into()),
            _ => {}
        }
    }
    Ok(batch)
}

fn wrong(message: &'static str, field: u32) -> WireError {
    WireError::WrongType { message, field }
}

fn time_series<'a>(
    bytes: &'a [u8],
    form: Form,
    batch: &mut MetricBatch<'a>,
) -> Result<(), DecodeError> {
    let (floats, histograms, exemplars) = (
        batch.t_ms.len(),
        batch.histograms.len(),
        batch.exemplars.len(),
    );
    let (mut key_start, mut key_end) = (0, 0);
    let mut histogram_start = NO_START_MS;
    let mut reader = Reader::new(bytes);
    loop {
        let at = reader.position();
        let Some((field, value)) = reader.next()? else {
            break;
        };
        match (field, value) {
            (1, Value::Bytes(_)) => {
                if key_end == 0 {
                    key_start = at;
                } else if key_end != at {
                    return Err(DecodeError::ScatteredLabels);
                }
                key_end = reader.position();
            }
            (2, Value::Bytes(sample)) => self::sample(sample, form, batch)?,
            (3, Value::Bytes(bytes)) => batch.exemplars.push(exemplar(bytes)?),
            (4, Value::Bytes(bytes)) => {
                let (t_ms, histogram) = self::histogram(bytes)?;
                batch
                    .histograms
                    .push((t_ms, histogram_start, Arc::new(histogram)));
            }
            (5, Value::Varint(n)) if form.with_start => histogram_start = unzigzag(n),
            (1..=4, _) => return Err(wrong("TimeSeries", field).into()),
            _ => {}
        }
    }
    batch.series.push(BatchSeries {
        key: &bytes[key_start..key_end],
        floats: floats..batch.t_ms.len(),
        histograms: histograms..batch.histograms.len(),
        exemplars: exemplars..batch.exemplars.len(),
    });
    Ok(())
}

#[inline]
fn sample(bytes: &[u8], form: Form, batch: &mut MetricBatch<'_>) -> Result<(), WireError> {
    let (mut value, mut t_ms, mut start_ms) = (0.0, 0, NO_START_MS);
    let mut reader = Reader::new(bytes);
    while let Some((field, v)) = reader.next()? {
        match (field, v) {
            (1, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            (2, Value::Varint(n)) => t_ms = n as i64,
            (3, Value::Varint(n)) if form.with_start => start_ms = unzigzag(n),
            (1 | 2, _) => return Err(wrong("Sample", field)),
            _ => {}
        }
    }
    if start_ms != NO_START_MS && batch.start_ms.is_empty() {
        batch.start_ms.resize(batch.t_ms.len(), NO_START_MS);
    }
    if start_ms != NO_START_MS || !batch.start_ms.is_empty() {
        batch.start_ms.push(start_ms);
    }
    batch.t_ms.push(t_ms);
    batch.values.push(value);
    Ok(())
}

fn exemplar(bytes: &[u8]) -> Result<BatchExemplar, WireError> {
    let (mut pairs, mut value, mut t_ms) = (Vec::new(), 0.0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((field, v)) = reader.next()? {
        match (field, v) {
            (1, Value::Bytes(bytes)) => {
                let (name, value) = label(bytes)?;
                pairs.push((
                    String::from_utf8_lossy(name),
                    String::from_utf8_lossy(value),
                ));
            }
            (2, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            (3, Value::Varint(n)) => t_ms = n as i64,
            (1..=3, _) => return Err(wrong("Exemplar", field)),
            _ => {}
        }
    }
    Ok(BatchExemplar {
        labels: Labels::from_pairs(pairs),
        value,
        t_ms,
    })
}

fn metadata(bytes: &[u8]) -> Result<Metadata, WireError> {
    let mut metadata = Metadata::default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut reader = Reader::new(bytes);
    while let Some((field, v)) = reader.next()? {
        match (field, v) {
            (1, Value::Varint(n)) => metadata.metric_type = MetricType::from_number(n),
            (2, Value::Bytes(bytes)) => metadata.family = text(bytes),
            (4, Value::Bytes(bytes)) => metadata.help = text(bytes),
            (5, Value::Bytes(bytes)) => metadata.unit = text(bytes),
            (1 | 2 | 4 | 5, _) => return Err(wrong("MetricMetadata", field)),
            _ => {}
        }
    }
    Ok(metadata)
}

/// Decodes a native histogram and its time in milliseconds.
///
/// # Errors
/// See [`WireError`].
pub fn histogram(bytes: &[u8]) -> Result<(i64, Histogram), WireError> {
    let mut h = Histogram::default();
    let (mut t_ms, mut is_float) = (0, false);
    let (mut count, mut zero_count) = (0_u64, 0_u64);
    let (mut count_float, mut zero_float) = (0.0, 0.0);
    let (mut positive, mut negative) = (Vec::new(), Vec::new());
    let (mut positive_float, mut negative_float) = (Vec::new(), Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some((field, v)) = reader.next()? {
        match (field, v) {
            // Of the two kinds of count the last one in the message is meant.
            (1, Value::Varint(n)) => {
                count = n;
                is_float = false;
            }
            (2, Value::Fixed64(bits)) => {
                count_float = f64::from_bits(bits);
                is_float = true;
            }
            (3, Value::Fixed64(bits)) => h.sum = f64::from_bits(bits),
            (4, Value::Varint(n)) => h.schema = unzigzag(n) as i32,
            (5, Value::Fixed64(bits)) => h.zero_threshold = f64::from_bits(bits),
            (6, Value::Varint(n)) => zero_count = n,
            (7, Value::Fixed64(bits)) => zero_float = f64::from_bits(bits),
            (8, Value::Bytes(bytes)) => h.negative_spans.push(span(bytes)?),
            (9, v) => deltas(v, &mut negative)?,
            (10, v) => floats(v, &mut negative_float)?,
            (11, Value::Bytes(bytes)) => h.positive_spans.push(span(bytes)?),
            (12, v) => deltas(v, &mut positive)?,
            (13, v) => floats(v, &mut positive_float)?,
            (14, Value::Varint(n)) => h.reset_hint = ResetHint::from_number(n),
            (15, Value::Varint(n)) => t_ms = n as i64,
            (16, v) => floats(v, &mut h.custom_values)?,
            (1..=16, _) => return Err(wrong("Histogram", field)),
            _ => {}
        }
    }
    h.counts = if is_float {
        Counts::Float {
            count: count_float,
            zero_count: zero_float,
            positive: positive_float,
            negative: negative_float,
        }
    } else {
        Counts::Integer {
            count,
            zero_count,
            positive,
            negative,
        }
    };
    Ok((t_ms, h))
}

fn span(bytes: &[u8]) -> Result<BucketSpan, WireError> {
    let mut span = BucketSpan {
        offset: 0,
        length: 0,
    };
    let mut reader = Reader::new(bytes);
    while let Some((field, v)) = reader.next()? {
        match (field, v) {
            (1, Value::Varint(n)) => span.offset = unzigzag(n) as i32,
            (2, Value::Varint(n)) => span.length = n as u32,
            (1 | 2, _) => return Err(wrong("BucketSpan", field)),
            _ => {}
        }
    }
    Ok(span)
}

fn deltas(value: Value<'_>, out: &mut Vec<i64>) -> Result<(), WireError> {
    match value {
        Value::Varint(n) => out.push(unzigzag(n)),
        Value::Bytes(bytes) => {
            let mut reader = Reader::new(bytes);
            while !reader.is_done() {
                out.push(unzigzag(reader.varint()?));
            }
        }
        _ => return Err(wrong("Histogram", 12)),
    }
    Ok(())
}

fn floats(value: Value<'_>, out: &mut Vec<f64>) -> Result<(), WireError> {
    match value {
        Value::Fixed64(bits) => out.push(f64::from_bits(bits)),
        Value::Bytes(bytes) => {
            let (chunks, rest) = bytes.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(WireError::Truncated);
            }
            out.extend(chunks.iter().map(|c| f64::from_le_bytes(*c)));
        }
        _ => return Err(wrong("Histogram", 13)),
    }
    Ok(())
}

#[inline]
fn label(bytes: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let (mut name, mut value) = (&b""[..], &b""[..]);
    let mut reader = Reader::new(bytes);
    while let Some((field, v)) = reader.next()? {
        match (field, v) {
            (1, Value::Bytes(bytes)) => name = bytes,
            (2, Value::Bytes(bytes)) => value = bytes,
            (1 | 2, _) => return Err(wrong("Label", field)),
            _ => {}
        }
    }
    Ok((name, value))
}

/// Turns the label bytes of a series into sorted pairs. Refuses what Prometheus refuses: no metric
/// name, an empty label name, a name twice, text that is not UTF-8.
///
/// # Errors
/// Names the label.
pub fn decode_labels<'k>(key: &'k [u8], out: &mut LabelPairs<'k>) -> Result<(), LabelError> {
    out.clear();
    let fault = |text: String| Err(LabelError(text));
    let mut reader = Reader::new(key);
    loop {
        let bytes = match reader.next() {
            Ok(Some((1, Value::Bytes(bytes)))) => bytes,
            Ok(None) => break,
            _ => return fault("labels are not a protobuf message".to_owned()),
        };
        let Ok((name, value)) = label(bytes) else {
            return fault("a label is not a protobuf message".to_owned());
        };
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
            let name = String::from_utf8_lossy(name);
            return fault(format!("label {name:?} is not valid UTF-8"));
        };
        if name.is_empty() {
            return fault(format!("a label with value {value:?} has an empty name"));
        }
        out.push((name, value));
    }
    if !out.is_sorted_by(|a, b| a.0 < b.0) {
        out.sort_by_key(|(name, _)| *name);
        if let Some(pair) = out.windows(2).find(|w| w[0].0 == w[1].0) {
            return fault(format!(
                "label name {:?} is not unique: invalid sample",
                pair[0].0
            ));
        }
    }
    out.retain(|(_, value)| !value.is_empty());
    if out.iter().any(|(name, _)| *name == METRIC_NAME) {
        Ok(())
    } else {
        fault(format!("metric name is missing in {{{out:?}}}"))
    }
}

/// The labels of a series as they stand in a request: the key by which storage knows the series again.
#[must_use]
pub fn encode_labels(labels: &Labels) -> Box<[u8]> {
    let mut writer = Writer::default();
    writer.series(labels);
    writer.series.into_boxed_slice()
}

/// Writes a request anew with the labels of each series together.
///
/// # Errors
/// Where it is no such message.
pub fn rewrite(body: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::with_capacity(body.len());
    let mut reader = Reader::new(body);
    while let Some((field, value)) = reader.next()? {
        let Value::Bytes(bytes) = value else { continue };
        if field != 1 {
            put_bytes(&mut out, field, bytes);
            continue;
        }
        let (mut labels, mut rest) = (Vec::new(), Vec::new());
        let mut series = Reader::new(bytes);
        while let Some((field, value)) = series.next()? {
            if let Value::Bytes(bytes) = value {
                put_bytes(
                    if field == 1 { &mut labels } else { &mut rest },
                    field,
                    bytes,
                );
            }
        }
        labels.append(&mut rest);
        put_bytes(&mut out, 1, &labels);
    }
    Ok(out)
}

/// Writes requests in the form that [`decode`] reads with `with_start`.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    series: Vec<u8>,
    scratch: Vec<u8>,
    open: bool,
    /// The start timestamp that holds for the next histogram of the open series.
    histogram_start_ms: i64,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            out: Vec::new(),
            series: Vec::new(),
            scratch: Vec::new(),
            open: false,
            histogram_start_ms: NO_START_MS,
        }
    }
}

impl Writer {
    /// Starts a series.
    pub fn series<'l>(&mut self, labels: impl IntoIterator<Item = (&'l str, &'l str)>) {
        self.end_series();
        self.open = true;
        self.histogram_start_ms = NO_START_MS;
        for (name, value) in labels {
            self.scratch.clear();
            put_bytes(&mut self.scratch, 1, name.as_bytes());
            put_bytes(&mut self.scratch, 2, value.as_bytes());
            put_bytes(&mut self.series, 1, &self.scratch);
        }
    }

    /// Starts a series whose labels were written by [`encode_labels`].
    pub fn series_encoded(&mut self, labels: &[u8]) {
        self.end_series();
        self.open = true;
        self.series.extend_from_slice(labels);
    }

    /// Adds a float to the series begun last.
    pub fn float(&mut self, t_ms: i64, value: f64, start_ms: i64) {
        self.scratch.clear();
        put_fixed64(&mut self.scratch, 1, value.to_bits());
        put_uint(&mut self.scratch, 2, t_ms as u64);
        put_start(&mut self.scratch, 3, start_ms);
        put_bytes(&mut self.series, 2, &self.scratch);
    }

    /// Adds a native histogram to the series begun last.
    pub fn histogram(&mut self, t_ms: i64, histogram: &Histogram, start_ms: i64) {
        if std::mem::replace(&mut self.histogram_start_ms, start_ms) != start_ms {
            put_varint(&mut self.series, 5 << 3);
            put_varint(&mut self.series, zigzag(start_ms));
        }
        self.scratch.clear();
        put_histogram(&mut self.scratch, t_ms, histogram);
        put_bytes(&mut self.series, 4, &self.scratch);
    }

    /// Adds an exemplar to the series begun last.
    pub fn exemplar<'l>(
        &mut self,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        value: f64,
        t_ms: i64,
    ) {
        let mut message = Vec::new();
        for (name, value) in labels {
            self.scratch.clear();
            put_bytes(&mut self.scratch, 1, name.as_bytes());
            put_bytes(&mut self.scratch, 2, value.as_bytes());
            put_bytes(&mut message, 1, &self.scratch);
        }
        put_fixed64(&mut message, 2, value.to_bits());
        put_uint(&mut message, 3, t_ms as u64);
        put_bytes(&mut self.series, 3, &message);
    }

    /// Adds the metadata of a family.
    pub fn metadata(&mut self, metadata: &Metadata) {
        self.end_series();
        self.scratch.clear();
        put_uint(&mut self.scratch, 1, metadata.metric_type as u64);
        put_bytes(&mut self.scratch, 2, metadata.family.as_bytes());
        put_bytes(&mut self.scratch, 4, metadata.help.as_bytes());
        put_bytes(&mut self.scratch, 5, metadata.unit.as_bytes());
        put_bytes(&mut self.out, 3, &self.scratch);
    }

    /// The request, not yet compressed.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.end_series();
        self.out
    }

    fn end_series(&mut self) {
        if std::mem::take(&mut self.open) {
            put_bytes(&mut self.out, 1, &self.series);
            self.series.clear();
        }
    }
}

fn put_start(out: &mut Vec<u8>, field: u32, start_ms: i64) {
    if start_ms != NO_START_MS {
        put_varint(out, u64::from(field) << 3);
        put_varint(out, zigzag(start_ms));
    }
}

/// Appends the members of a `prometheus.Histogram`.
pub(crate) fn put_histogram(out: &mut Vec<u8>, t_ms: i64, h: &Histogram) {
    match &h.counts {
        Counts::Integer {
            count, zero_count, ..
        } => {
            put_varint(out, 1 << 3);
            put_varint(out, *count);
            put_varint(out, 6 << 3);
            put_varint(out, *zero_count);
        }
        Counts::Float {
            count, zero_count, ..
        } => {
            put_fixed64(out, 2, count.to_bits());
            put_fixed64(out, 7, zero_count.to_bits());
        }
    }
    put_fixed64(out, 3, h.sum.to_bits());
    put_uint(out, 4, zigzag(i64::from(h.schema)));
    put_fixed64(out, 5, h.zero_threshold.to_bits());
    for (field, spans) in [(8, &h.negative_spans), (11, &h.positive_spans)] {
        for span in spans {
            let mut message = Vec::new();
            put_uint(&mut message, 1, zigzag(i64::from(span.offset)));
            put_uint(&mut message, 2, u64::from(span.length));
            put_bytes(out, field, &message);
        }
    }
    let mut packed = Vec::new();
    match &h.counts {
        Counts::Integer {
            positive, negative, ..
        } => {
            for (field, deltas) in [(9, negative), (12, positive)] {
                packed.clear();
                deltas
                    .iter()
                    .for_each(|d| put_varint(&mut packed, zigzag(*d)));
                put_bytes(out, field, &packed);
            }
        }
        Counts::Float {
            positive, negative, ..
        } => {
            for (field, counts) in [(10, negative), (13, positive)] {
                packed.clear();
                counts
                    .iter()
                    .for_each(|c| packed.extend_from_slice(&c.to_le_bytes()));
                put_bytes(out, field, &packed);
            }
        }
    }
    put_uint(out, 14, h.reset_hint as u64);
    put_uint(out, 15, t_ms as u64);
    packed.clear();
    h.custom_values
        .iter()
        .for_each(|v| packed.extend_from_slice(&v.to_le_bytes()));
    put_bytes(out, 16, &packed);
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITH_START: Form = Form { with_start: true };

    fn labels(batch: &MetricBatch<'_>, i: usize) -> Result<Labels, LabelError> {
        let mut pairs = Vec::new();
        decode_labels(batch.series[i].key, &mut pairs)?;
        Ok(Labels::from_sorted(pairs))
    }

    #[test]
    fn what_is_written_comes_back() {
        let histogram = Histogram {
            schema: -53,
            sum: 3.5,
            custom_values: vec![1.0, 2.0],
            positive_spans: vec![BucketSpan {
                offset: 0,
                length: 2,
            }],
            reset_hint: ResetHint::Gauge,
            counts: Counts::Integer {
                count: 3,
                zero_count: 0,
                positive: vec![2, -1],
                negative: vec![],
            },
            ..Histogram::default()
        };
        let mut writer = Writer::default();
        writer.series([("__name__", "up"), ("job", "a")]);
        writer.float(-5, f64::NAN, NO_START_MS);
        writer.float(15, 1.0, -7);
        writer.exemplar([("trace_id", "x")], 2.0, 15);
        writer.series_encoded(&encode_labels(&Labels::from_pairs([("__name__", "h")])));
        writer.histogram(20, &histogram, 9);
        writer.histogram(21, &histogram, NO_START_MS);
        let family = Metadata {
            family: "up".into(),
            metric_type: MetricType::Gauge,
            ..Default::default()
        };
        writer.metadata(&family);
        let body = writer.finish();
        let batch = decode(&body, WITH_START).unwrap();
        assert_eq!(batch.t_ms, [-5, 15]);
        assert_eq!(batch.start_ms, [NO_START_MS, -7]);
        assert_eq!(batch.values[0].to_bits(), f64::NAN.to_bits());
        let histogram = Arc::new(histogram);
        assert_eq!(
            batch.histograms,
            [
                (20, 9, Arc::clone(&histogram)),
                (21, NO_START_MS, histogram)
            ]
        );
        assert_eq!(batch.metadata, [family]);
        assert_eq!(batch.exemplars[0].labels.get("trace_id"), Some("x"));
        assert_eq!(
            labels(&batch, 0).unwrap().to_string(),
            r#"{__name__="up", job="a"}"#
        );
        assert_eq!(labels(&batch, 1).unwrap().metric_name(), Some("h"));
    }

    #[test]
    fn labels_are_refused_for_a_named_reason() {
        let check = |pairs: &[(&str, &str)]| {
            let mut writer = Writer::default();
            writer.series(pairs.iter().copied());
            let body = writer.finish();
            labels(&decode(&body, WITH_START).unwrap(), 0).map(|l| l.to_string())
        };
        assert_eq!(
            check(&[("b", "1"), ("__name__", "x"), ("e", "")]).unwrap(),
            r#"{__name__="x", b="1"}"#
        );
        assert!(check(&[("a", "1")]).unwrap_err().0.contains("metric name"));
        assert!(
            check(&[("__name__", "x"), ("a", "1"), ("a", "2")])
                .unwrap_err()
                .0
                .contains("\"a\"")
        );
        assert!(
            check(&[("__name__", "x"), ("", "1")])
                .unwrap_err()
                .0
                .contains("empty name")
        );
    }

    #[test]
    fn scattered_labels_are_put_together() {
        let mut series = Vec::new();
        put_bytes(&mut series, 1, b"\x0a\x08__name__\x12\x01x");
        put_bytes(&mut series, 2, &[9, 0, 0, 0, 0, 0, 0, 0, 0, 16, 1]);
        put_bytes(&mut series, 1, b"\x0a\x01a\x12\x01b");
        let mut body = Vec::new();
        put_bytes(&mut body, 1, &series);
        assert_eq!(
            decode(&body, Form::default()).err(),
            Some(DecodeError::ScatteredLabels)
        );
        let body = rewrite(&body).unwrap();
        let batch = decode(&body, Form::default()).unwrap();
        assert_eq!(
            labels(&batch, 0).unwrap().to_string(),
            r#"{__name__="x", a="b"}"#
        );
        assert_eq!(batch.t_ms, [1]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body: Vec<u8>) {
            if let Ok(batch) = decode(&body, WITH_START) {
                for i in 0..batch.series.len() {
                    let _ = labels(&batch, i);
                }
            }
            let _ = rewrite(&body);
        }
    }
}
