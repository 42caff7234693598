//! Chunks of native histogram samples, integer and float, exponential and with custom buckets; exact.
//!
//! ```text
//! +------+-----------+----------------------------------------------------------+
//! | 3    | count u16 | sample 1, sample 2, ...                                  |
//! +------+-----------+----------------------------------------------------------+
//!
//! +-------+---------------+---------+----------+-----+-------+------+---------+
//! | flags | t - t before  | [start] | [layout] | sum | count | zero | buckets |
//! +-------+---------------+---------+----------+-----+-------+------+---------+
//!  flags   bits 0-1 reset hint, 2 float counts, 3 start follows, 4 layout follows
//!  start   zigzag difference to the one before (only if it differs)
//!  layout  schema zigzag, zero threshold 8 bytes, then counted lists: positive spans, negative
//!          spans (offset zigzag, length), custom values (8 bytes each); only if it differs
//!  floats  XOR with the sample before: number of trailing zeros (64: same), then the rest as varint
//!  ints    zigzag difference to the sample before, bucket by bucket
//! ```
//!
//! All numbers are varints, all arithmetic wraps. After a new layout, and after a change between integer and float counts,
//! differences are to zero.

use std::sync::Arc;

use super::ChunkError;
use super::varint::{put, put_signed, take, take_signed};
use crate::model::{BucketSpan, Counts, Histogram, NO_START_MS, ResetHint};

const KIND: u8 = 3;
const HEADER_BYTES: usize = 3;
const HINT: u8 = 0b11;
const FLOAT: u8 = 0b100;
const START: u8 = 0b1000;
const LAYOUT: u8 = 0b1_0000;
/// Buckets of one side that a decoder accepts; spans in writers' hands stay far below.
const MAX_BUCKETS: u64 = 1 << 20;

/// A histogram sample.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSample {
    /// Milliseconds.
    pub t_ms: i64,
    /// Start timestamp or [`NO_START_MS`].
    pub start_ms: i64,
    /// The histogram.
    pub histogram: Arc<Histogram>,
}

/// Number of buckets that spans describe.
#[must_use]
pub fn bucket_count(spans: &[BucketSpan]) -> u64 {
    spans.iter().map(|s| u64::from(s.length)).sum()
}

/// A chunk that takes histograms whose bucket lists are as long as their spans say.
#[derive(Clone, Debug, Default)]
pub struct HistogramEncoder {
    bytes: Vec<u8>,
    count: u16,
    first_ms: i64,
    last: Option<HistogramSample>,
}

impl HistogramEncoder {
    /// Number of samples.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no sample.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the chunk so far.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        HEADER_BYTES + self.bytes.len()
    }

    /// Bytes allocated.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Time of the first sample.
    #[must_use]
    pub const fn first_ms(&self) -> i64 {
        self.first_ms
    }

    /// The newest sample.
    #[must_use]
    pub const fn last(&self) -> Option<&HistogramSample> {
        self.last.as_ref()
    }

    /// Adds a sample; the caller seals the chunk before its 65,535th.
    pub fn push(&mut self, sample: HistogramSample) {
        let (h, out) = (&*sample.histogram, &mut self.bytes);
        let before = self.last.as_ref();
        let is_float = matches!(h.counts, Counts::Float { .. });
        let new_start = before.map_or(NO_START_MS, |b| b.start_ms) != sample.start_ms;
        let new_layout = before.is_none_or(|b| !same_layout(&b.histogram, h));
        out.push(
            h.reset_hint as u8
                | if is_float { FLOAT } else { 0 }
                | if new_start { START } else { 0 }
                | if new_layout { LAYOUT } else { 0 },
        );
        put_signed(out, sample.t_ms.wrapping_sub(before.map_or(0, |b| b.t_ms)));
        if new_start {
            let start_before = before.map_or(NO_START_MS, |b| b.start_ms);
            put_signed(out, sample.start_ms.wrapping_sub(start_before));
        }
        if new_layout {
            put_layout(out, h);
        }
        put_float(out, before.map_or(0.0, |b| b.histogram.sum), h.sum);
        let zeros = Counts::default();
        let reference = match before {
            Some(b) if !new_layout => &b.histogram.counts,
            _ => &zeros,
        };
        put_counts(out, reference, &h.counts);
        if self.count == 0 {
            self.first_ms = sample.t_ms;
        }
        self.count += 1;
        self.last = Some(sample);
    }

    /// The chunk so far as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Arc<[u8]> {
        let mut out = Vec::with_capacity(self.len_bytes());
        out.push(KIND);
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.bytes);
        Arc::from(out)
    }
}

/// Reads a chunk's samples in the order of writing.
#[derive(Clone, Debug)]
pub struct HistogramDecoder<'a> {
    rest: &'a [u8],
    left: u16,
    last: Option<HistogramSample>,
}

impl<'a> HistogramDecoder<'a> {
    /// Opens a chunk.
    ///
    /// # Errors
    /// `Truncated`, `Kind`.
    pub fn new(chunk: &'a [u8]) -> Result<Self, ChunkError> {
        let (&[kind, low, high], rest) = chunk
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(ChunkError::Truncated)?;
        if kind != KIND {
            return Err(ChunkError::Kind);
        }
        Ok(Self {
            rest,
            left: u16::from_le_bytes([low, high]),
            last: None,
        })
    }

    /// The next sample, `None` at the end.
    ///
    /// # Errors
    /// `Truncated`, `Number`.
    pub fn next_sample(&mut self) -> Result<Option<HistogramSample>, ChunkError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let bytes = &mut self.rest;
        let before = self.last.as_ref();
        let (&flags, rest) = bytes.split_first().ok_or(ChunkError::Truncated)?;
        *bytes = rest;
        let t_ms = before
            .map_or(0, |b| b.t_ms)
            .wrapping_add(take_signed(bytes)?);
        let mut start_ms = before.map_or(NO_START_MS, |b| b.start_ms);
        if flags & START != 0 {
            start_ms = start_ms.wrapping_add(take_signed(bytes)?);
        }
        let mut h = if flags & LAYOUT != 0 {
            take_layout(bytes)?
        } else {
            let b = before.ok_or(ChunkError::Number)?;
            Histogram {
                counts: Counts::default(),
                ..(*b.histogram).clone()
            }
        };
        h.reset_hint = ResetHint::from_number(u64::from(flags & HINT));
        h.sum = take_float(bytes, before.map_or(0.0, |b| b.histogram.sum))?;
        let zeros = Counts::default();
        let reference = match before {
            Some(b) if flags & LAYOUT == 0 => &b.histogram.counts,
            _ => &zeros,
        };
        h.counts = take_counts(bytes, flags & FLOAT != 0, reference, &h)?;
        let sample = HistogramSample {
            t_ms,
            start_ms,
            histogram: Arc::new(h),
        };
        self.last = Some(sample.clone());
        Ok(Some(sample))
    }
}

/// Whether two histograms are the same bit for bit.
#[must_use]
pub fn same_histogram(a: &Histogram, b: &Histogram) -> bool {
    let floats = |x: &[f64], y: &[f64]| {
        x.len() == y.len() && std::iter::zip(x, y).all(|(a, b)| a.to_bits() == b.to_bits())
    };
    let counts = match (&a.counts, &b.counts) {
        (
            Counts::Float {
                count,
                zero_count,
                positive,
                negative,
            },
            Counts::Float {
                count: count_b,
                zero_count: zero_b,
                positive: positive_b,
                negative: negative_b,
            },
        ) => {
            count.to_bits() == count_b.to_bits()
                && zero_count.to_bits() == zero_b.to_bits()
                && floats(positive, positive_b)
                && floats(negative, negative_b)
        }
        (x, y) => x == y,
    };
    counts
        && a.reset_hint == b.reset_hint
        && a.sum.to_bits() == b.sum.to_bits()
        && same_layout(a, b)
}

fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && a.custom_values.len() == b.custom_values.len()
        && std::iter::zip(&a.custom_values, &b.custom_values)
            .all(|(x, y)| x.to_bits() == y.to_bits())
}

fn put_layout(out: &mut Vec<u8>, h: &Histogram) {
    put_signed(out, i64::from(h.schema));
    out.extend_from_slice(&h.zero_threshold.to_bits().to_le_bytes());
    for spans in [&h.positive_spans, &h.negative_spans] {
        put(out, spans.len() as u64);
        for span in spans {
            put_signed(out, i64::from(span.offset));
            put(out, u64::from(span.length));
        }
    }
    put(out, h.custom_values.len() as u64);
    for value in &h.custom_values {
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

fn take_layout(bytes: &mut &[u8]) -> Result<Histogram, ChunkError> {
    let schema = i32::try_from(take_signed(bytes)?).map_err(|_| ChunkError::Number)?;
    let zero_threshold = take_double(bytes)?;
    let positive_spans = take_spans(bytes)?;
    let negative_spans = take_spans(bytes)?;
    let n = take_len(bytes, 8)?;
    let mut custom_values = Vec::with_capacity(n);
    for _ in 0..n {
        custom_values.push(take_double(bytes)?);
    }
    Ok(Histogram {
        schema,
        zero_threshold,
        positive_spans,
        negative_spans,
        custom_values,
        ..Histogram::default()
    })
}

fn take_spans(bytes: &mut &[u8]) -> Result<Vec<BucketSpan>, ChunkError> {
    let n = take_len(bytes, 2)?;
    let mut spans = Vec::with_capacity(n);
    for _ in 0..n {
        spans.push(BucketSpan {
            offset: i32::try_from(take_signed(bytes)?).map_err(|_| ChunkError::Number)?,
            length: u32::try_from(take(bytes)?).map_err(|_| ChunkError::Number)?,
        });
    }
    if bucket_count(&spans) > MAX_BUCKETS {
        return Err(ChunkError::Number);
    }
    Ok(spans)
}

/// A length of a list whose items take at least so many bytes.
fn take_len(bytes: &mut &[u8], item_bytes: usize) -> Result<usize, ChunkError> {
    let n = usize::try_from(take(bytes)?).map_err(|_| ChunkError::Number)?;
    if n > bytes.len() / item_bytes {
        return Err(ChunkError::Truncated);
    }
    Ok(n)
}

fn take_double(bytes: &mut &[u8]) -> Result<f64, ChunkError> {
    let (&raw, rest) = bytes
        .split_first_chunk::<8>()
        .ok_or(ChunkError::Truncated)?;
    *bytes = rest;
    Ok(f64::from_bits(u64::from_le_bytes(raw)))
}

fn put_float(out: &mut Vec<u8>, before: f64, value: f64) {
    let xor = before.to_bits() ^ value.to_bits();
    out.push(xor.trailing_zeros() as u8);
    if xor != 0 {
        put(out, xor >> xor.trailing_zeros());
    }
}

fn take_float(bytes: &mut &[u8], before: f64) -> Result<f64, ChunkError> {
    let (&zeros, rest) = bytes.split_first().ok_or(ChunkError::Truncated)?;
    *bytes = rest;
    match zeros {
        64 => Ok(before),
        0..64 => Ok(f64::from_bits(before.to_bits() ^ (take(bytes)? << zeros))),
        _ => Err(ChunkError::Number),
    }
}

fn put_counts(out: &mut Vec<u8>, before: &Counts, counts: &Counts) {
    match counts {
        Counts::Integer {
            count,
            zero_count,
            positive,
            negative,
        } => {
            let (c, z, p, n) = match before {
                Counts::Integer {
                    count,
                    zero_count,
                    positive,
                    negative,
                } => (*count, *zero_count, &positive[..], &negative[..]),
                Counts::Float { .. } => (0, 0, &[][..], &[][..]),
            };
            put_signed(out, count.wrapping_sub(c) as i64);
            put_signed(out, zero_count.wrapping_sub(z) as i64);
            for (list, before) in [(positive, p), (negative, n)] {
                for (i, &bucket) in list.iter().enumerate() {
                    let b = before.get(i).copied().unwrap_or(0);
                    put_signed(out, bucket.wrapping_sub(b));
                }
            }
        }
        Counts::Float {
            count,
            zero_count,
            positive,
            negative,
        } => {
            let (c, z, p, n) = match before {
                Counts::Float {
                    count,
                    zero_count,
                    positive,
                    negative,
                } => (*count, *zero_count, &positive[..], &negative[..]),
                Counts::Integer { .. } => (0.0, 0.0, &[][..], &[][..]),
            };
            put_float(out, c, *count);
            put_float(out, z, *zero_count);
            for (list, before) in [(positive, p), (negative, n)] {
                for (i, &bucket) in list.iter().enumerate() {
                    put_float(out, before.get(i).copied().unwrap_or(0.0), bucket);
                }
            }
        }
    }
}

fn take_counts(
    bytes: &mut &[u8],
    float: bool,
    before: &Counts,
    h: &Histogram,
) -> Result<Counts, ChunkError> {
    // Each bucket takes at least a byte, so that spans alone cannot make a decoder allocate.
    let sides = [&h.positive_spans, &h.negative_spans].map(|s| bucket_count(s) as usize);
    if sides[0] + sides[1] > bytes.len() {
        return Err(ChunkError::Truncated);
    }
    if float {
        let (c, z, p, n) = match before {
            Counts::Float {
                count,
                zero_count,
                positive,
                negative,
            } => (*count, *zero_count, &positive[..], &negative[..]),
            Counts::Integer { .. } => (0.0, 0.0, &[][..], &[][..]),
        };
        let count = take_float(bytes, c)?;
        let zero_count = take_float(bytes, z)?;
        let mut side = |len: usize, before: &[f64]| -> Result<Vec<f64>, ChunkError> {
            (0..len)
                .map(|i| take_float(bytes, before.get(i).copied().unwrap_or(0.0)))
                .collect()
        };
        let positive = side(sides[0], p)?;
        let negative = side(sides[1], n)?;
        return Ok(Counts::Float {
            count,
            zero_count,
            positive,
            negative,
        });
    }
    let (c, z, p, n) = match before {
        Counts::Integer {
            count,
            zero_count,
            positive,
            negative,
        } => (*count, *zero_count, &positive[..], &negative[..]),
        Counts::Float { .. } => (0, 0, &[][..], &[][..]),
    };
    let count = c.wrapping_add(take_signed(bytes)? as u64);
    let zero_count = z.wrapping_add(take_signed(bytes)? as u64);
    let mut side = |len: usize, before: &[i64]| -> Result<Vec<i64>, ChunkError> {
        (0..len)
            .map(|i| {
                let b = before.get(i).copied().unwrap_or(0);
                Ok(b.wrapping_add(take_signed(bytes)?))
            })
            .collect()
    };
    let positive = side(sides[0], p)?;
    let negative = side(sides[1], n)?;
    Ok(Counts::Integer {
        count,
        zero_count,
        positive,
        negative,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn decode(chunk: &[u8]) -> Result<Vec<HistogramSample>, ChunkError> {
        let mut decoder = HistogramDecoder::new(chunk)?;
        let mut out = Vec::new();
        while let Some(sample) = decoder.next_sample()? {
            out.push(sample);
        }
        Ok(out)
    }

    fn spans() -> impl Strategy<Value = Vec<BucketSpan>> {
        vec((-5_i32..50, 0_u32..4), 0..3).prop_map(|parts| {
            let span = |(offset, length)| BucketSpan { offset, length };
            parts.into_iter().map(span).collect()
        })
    }

    /// Histograms of any shape, also ones that no writer would send.
    pub(crate) fn histogram() -> impl Strategy<Value = Histogram> {
        let numbers = (0_u64..4, -10_i32..10, any::<f64>(), any::<f64>());
        (
            numbers,
            spans(),
            spans(),
            vec(any::<f64>(), 0..3),
            any::<u64>(),
            any::<bool>(),
        )
            .prop_map(
                |(
                    (hint, schema, zero_threshold, sum),
                    positive_spans,
                    negative_spans,
                    custom_values,
                    seed,
                    float,
                )| {
                    let n = |spans: &[BucketSpan]| bucket_count(spans);
                    let bucket = |i: u64| seed.wrapping_mul(i + 1) as i64;
                    let (p, q) = (n(&positive_spans), n(&negative_spans));
                    let counts = if float {
                        Counts::Float {
                            count: f64::from_bits(seed),
                            zero_count: seed as f64,
                            positive: (0..p).map(|i| bucket(i) as f64).collect(),
                            negative: (0..q).map(|i| f64::from_bits(bucket(i) as u64)).collect(),
                        }
                    } else {
                        Counts::Integer {
                            count: seed,
                            zero_count: seed / 2,
                            positive: (0..p).map(bucket).collect(),
                            negative: (0..q).map(bucket).collect(),
                        }
                    };
                    Histogram {
                        reset_hint: ResetHint::from_number(hint),
                        schema,
                        zero_threshold,
                        sum,
                        positive_spans,
                        negative_spans,
                        custom_values,
                        counts,
                    }
                },
            )
    }

    /// Equality of bits: `NaN`s of the same bits are equal.
    pub(crate) fn same(a: &Histogram, b: &Histogram) -> bool {
        same_histogram(a, b)
    }

    proptest! {
        #[test]
        fn histograms_come_back_exactly(parts in vec((any::<i64>(), any::<bool>(), histogram(), 1_usize..4), 0..20)) {
            let mut encoder = HistogramEncoder::default();
            let mut samples = Vec::new();
            for (t_ms, start, h, times) in parts {
                let histogram = Arc::new(h);
                for i in 0..times {
                    samples.push(HistogramSample {
                        t_ms: t_ms.wrapping_add(i as i64),
                        start_ms: if start { t_ms } else { NO_START_MS },
                        histogram: Arc::clone(&histogram),
                    });
                }
            }
            for sample in &samples {
                encoder.push(sample.clone());
            }
            let back = decode(&encoder.to_bytes()).unwrap();
            prop_assert_eq!(back.len(), samples.len());
            for (a, b) in std::iter::zip(&back, &samples) {
                prop_assert_eq!((a.t_ms, a.start_ms), (b.t_ms, b.start_ms));
                prop_assert!(same(&a.histogram, &b.histogram), "{a:?} {b:?}");
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(mut bytes in vec(any::<u8>(), 0..200)) {
            if let Some(first) = bytes.first_mut() {
                *first = KIND;
            }
            let _ = decode(&bytes);
        }
    }
}
