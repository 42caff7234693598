//! Histograms of the protobuf exposition: the native form, the classic one, or both in one message.

use storage::model::{BucketSpan, Counts, Histogram, NO_START_MS, ResetHint};

use super::{timestamp, wrong};
use crate::scrape::exposition::ParseError;
use crate::wire::protobuf::{Reader, Value as Field, WireError, unzigzag};

/// A bucket of the classic form.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket<'a> {
    count: u64,
    count_float: f64,
    pub(super) upper_bound: f64,
    pub(super) exemplar: Option<&'a [u8]>,
}

impl<'a> Bucket<'a> {
    /// How many observations lie up to its bound.
    pub(super) fn cumulative_count(&self) -> f64 {
        either(self.count_float, self.count)
    }

    fn read(message: &'a [u8]) -> Result<Self, ParseError> {
        let mut out = Self::default();
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next()? {
            match (field, value) {
                (1, Field::Varint(n)) => out.count = n,
                (2, Field::Fixed64(bits)) => out.upper_bound = f64::from_bits(bits),
                (3, Field::Bytes(bytes)) => out.exemplar = Some(bytes),
                (4, Field::Fixed64(bits)) => out.count_float = f64::from_bits(bits),
                (1..=4, _) => return Err(wrong("Bucket", field)),
                _ => {}
            }
        }
        Ok(out)
    }
}

/// Both forms of a histogram, as they come.
#[derive(Debug)]
pub(super) struct RawHistogram<'a> {
    count: u64,
    count_float: f64,
    pub(super) sum: f64,
    pub(super) buckets: Vec<Bucket<'a>>,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    negative_spans: Vec<BucketSpan>,
    negative_deltas: Vec<i64>,
    negative_counts: Vec<f64>,
    positive_spans: Vec<BucketSpan>,
    positive_deltas: Vec<i64>,
    positive_counts: Vec<f64>,
    pub(super) exemplars: Vec<&'a [u8]>,
    pub(super) start_ms: i64,
}

impl<'a> RawHistogram<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, ParseError> {
        let mut h = Self {
            count: 0,
            count_float: 0.0,
            sum: 0.0,
            buckets: Vec::new(),
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0,
            zero_count_float: 0.0,
            negative_spans: Vec::new(),
            negative_deltas: Vec::new(),
            negative_counts: Vec::new(),
            positive_spans: Vec::new(),
            positive_deltas: Vec::new(),
            positive_counts: Vec::new(),
            exemplars: Vec::new(),
            start_ms: NO_START_MS,
        };
        let mut reader = Reader::new(message);
        while let Some((field, value)) = reader.next()? {
            match (field, value) {
                (1, Field::Varint(n)) => h.count = n,
                (2, Field::Fixed64(bits)) => h.sum = f64::from_bits(bits),
                (3, Field::Bytes(bytes)) => h.buckets.push(Bucket::read(bytes)?),
                (4, Field::Fixed64(bits)) => h.count_float = f64::from_bits(bits),
                (5, Field::Varint(n)) => h.schema = unzigzag(n) as i32,
                (6, Field::Fixed64(bits)) => h.zero_threshold = f64::from_bits(bits),
                (7, Field::Varint(n)) => h.zero_count = n,
                (8, Field::Fixed64(bits)) => h.zero_count_float = f64::from_bits(bits),
                (9, Field::Bytes(bytes)) => h.negative_spans.push(span(bytes)?),
                (10, value) => deltas(value, &mut h.negative_deltas)?,
                (11, value) => floats(value, &mut h.negative_counts)?,
                (12, Field::Bytes(bytes)) => h.positive_spans.push(span(bytes)?),
                (13, value) => deltas(value, &mut h.positive_deltas)?,
                (14, value) => floats(value, &mut h.positive_counts)?,
                (15, Field::Bytes(bytes)) => h.start_ms = timestamp(bytes)?,
                (16, Field::Bytes(bytes)) => h.exemplars.push(bytes),
                (1..=16, _) => return Err(wrong("Histogram", field)),
                _ => {}
            }
        }
        Ok(h)
    }

    /// Number of observations.
    pub(super) fn count(&self) -> f64 {
        either(self.count_float, self.count)
    }

    /// A histogram without observations says by a span of no length that it is native.
    pub(super) fn is_native(&self) -> bool {
        !self.positive_spans.is_empty()
            || !self.negative_spans.is_empty()
            || self.zero_threshold > 0.0
            || self.zero_count > 0
    }

    /// The native form.
    ///
    /// # Errors
    /// Buckets that are not as many as the spans say.
    pub(super) fn native(&self, gauge: bool) -> Result<Histogram, String> {
        let float = self.count_float > 0.0 || self.zero_count_float > 0.0;
        let (negative, positive) = if float {
            (self.negative_counts.len(), self.positive_counts.len())
        } else {
            (self.negative_deltas.len(), self.positive_deltas.len())
        };
        for (what, spans, have) in [
            ("negative", &self.negative_spans, negative),
            ("positive", &self.positive_spans, positive),
        ] {
            let need: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
            if need != have as u64 {
                return Err(format!(
                    "{what} side: spans need {need} buckets, have {have} buckets"
                ));
            }
        }
        let counts = if float {
            Counts::Float {
                count: self.count_float,
                zero_count: self.zero_count_float,
                positive: self.positive_counts.clone(),
                negative: self.negative_counts.clone(),
            }
        } else {
            Counts::Integer {
                count: self.count,
                zero_count: self.zero_count,
                positive: self.positive_deltas.clone(),
                negative: self.negative_deltas.clone(),
            }
        };
        let reset_hint = if gauge {
            ResetHint::Gauge
        } else {
            ResetHint::default()
        };
        Ok(Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            positive_spans: self.positive_spans.clone(),
            negative_spans: self.negative_spans.clone(),
            reset_hint,
            counts,
            ..Histogram::default()
        })
    }
}

fn span(message: &[u8]) -> Result<BucketSpan, ParseError> {
    let mut out = BucketSpan {
        offset: 0,
        length: 0,
    };
    let mut reader = Reader::new(message);
    while let Some((field, value)) = reader.next()? {
        match (field, value) {
            (1, Field::Varint(n)) => out.offset = unzigzag(n) as i32,
            (2, Field::Varint(n)) => out.length = n as u32,
            (1 | 2, _) => return Err(wrong("BucketSpan", field)),
            _ => {}
        }
    }
    Ok(out)
}

fn deltas(value: Field<'_>, out: &mut Vec<i64>) -> Result<(), ParseError> {
    match value {
        Field::Varint(n) => out.push(unzigzag(n)),
        Field::Bytes(bytes) => {
            let mut reader = Reader::new(bytes);
            while !reader.is_done() {
                out.push(unzigzag(reader.varint()?));
            }
        }
        _ => return Err(wrong("Histogram", 13)),
    }
    Ok(())
}

fn floats(value: Field<'_>, out: &mut Vec<f64>) -> Result<(), ParseError> {
    match value {
        Field::Fixed64(bits) => out.push(f64::from_bits(bits)),
        Field::Bytes(bytes) => {
            let (chunks, rest) = bytes.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(WireError::Truncated.into());
            }
            out.extend(chunks.iter().map(|c| f64::from_le_bytes(*c)));
        }
        _ => return Err(wrong("Histogram", 14)),
    }
    Ok(())
}

/// A count that may be given as a float.
fn either(float: f64, integer: u64) -> f64 {
    if float == 0.0 { integer as f64 } else { float }
}
