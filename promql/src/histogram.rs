//! Native histograms as the language computes with them: float counts, buckets as sorted lists of
//! (index, count).
//!
//! Invariant: bucket indices ascend and come once. A bucket that holds nothing may be listed;
//! [`Hist::compact`] drops it. Source: Prometheus, "Native Histograms" specification.

mod bounds;
mod combine;
mod quantile;
mod reset;
mod trim;

use std::fmt;
use std::sync::Arc;

use storage::model::{
    BucketSpan, CUSTOM_BUCKETS_SCHEMA, Counts, Histogram as StoredHistogram, ResetHint,
};

pub use bounds::Bucket;
pub use combine::{Combined, IncompatibleBuckets};
pub(crate) use quantile::QuantileNote;

use crate::kahan::{Kahan, Number};
use crate::number::format_g;

/// The finest resolution that is computed with; finer ones are reduced on reading.
const FINEST_SCHEMA: i32 = 8;

/// A histogram whose counts are numbers of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Hist<N> {
    /// What is known about a counter reset before this sample.
    pub reset_hint: ResetHint,
    /// -4 to 8 for exponential buckets, [`CUSTOM_BUCKETS_SCHEMA`] for custom ones.
    pub schema: i32,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: N,
    /// All observations.
    pub count: N,
    /// Sum of all observations.
    pub sum: N,
    /// Positive buckets; all buckets where they are custom ones.
    pub positive: Vec<(i32, N)>,
    /// Negative buckets, from zero outwards.
    pub negative: Vec<(i32, N)>,
    /// Upper bounds of custom buckets, without `+Inf`.
    pub custom_values: Arc<[f64]>,
}

/// A histogram value of an expression.
pub type FloatHistogram = Hist<f64>;

/// A histogram that is being summed up.
pub(crate) type HistogramSum = Hist<Kahan>;

impl<N: Number> Hist<N> {
    /// A histogram without observations and buckets.
    #[must_use]
    pub fn empty(schema: i32, custom_values: Arc<[f64]>) -> Self {
        Self {
            reset_hint: ResetHint::Unknown,
            schema,
            zero_threshold: 0.0,
            zero_count: N::default(),
            count: N::default(),
            sum: N::default(),
            positive: Vec::new(),
            negative: Vec::new(),
            custom_values,
        }
    }

    /// Whether the buckets have custom bounds.
    #[must_use]
    pub fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Drops buckets that hold nothing.
    pub fn compact(&mut self) {
        self.positive.retain(|(_, n)| !n.is_zero());
        self.negative.retain(|(_, n)| !n.is_zero());
    }

    /// Multiplies all counts. A negative factor makes it a gauge.
    pub fn multiply(&mut self, factor: f64) {
        self.each(|n| n.times(factor));
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Divides all counts. A negative divisor makes it a gauge; zero removes the buckets, whose
    /// counts would all be infinite or not a number.
    pub fn divide(&mut self, divisor: f64) {
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
        self.each(|n| n.over(divisor));
        if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Whether a count has become infinite.
    pub(crate) fn has_overflow(&self) -> bool {
        let buckets = self.positive.iter().chain(&self.negative).map(|(_, n)| *n);
        [self.zero_count, self.count, self.sum]
            .into_iter()
            .chain(buckets)
            .any(|n| n.value().is_infinite())
    }

    fn each(&mut self, mut f: impl FnMut(&mut N)) {
        f(&mut self.zero_count);
        f(&mut self.count);
        f(&mut self.sum);
        for (_, n) in self.positive.iter_mut().chain(&mut self.negative) {
            f(n);
        }
    }

    fn map<M: Number>(&self, f: impl Fn(N) -> M) -> Hist<M> {
        let side = |buckets: &[(i32, N)]| buckets.iter().map(|&(i, n)| (i, f(n))).collect();
        Hist {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: f(self.zero_count),
            count: f(self.count),
            sum: f(self.sum),
            positive: side(&self.positive),
            negative: side(&self.negative),
            custom_values: Arc::clone(&self.custom_values),
        }
    }
}

impl HistogramSum {
    /// Starts a sum.
    pub(crate) fn start(first: &FloatHistogram) -> Self {
        first.map(Kahan::of)
    }

    /// The sum with its compensations.
    pub(crate) fn finish(&self) -> FloatHistogram {
        let mut sum = self.map(Number::total);
        sum.compact();
        sum
    }
}

impl FloatHistogram {
    /// From a stored histogram. Linear in its buckets.
    #[must_use]
    pub fn from_stored(h: &StoredHistogram) -> Self {
        let (count, zero_count, positive, negative) = match &h.counts {
            Counts::Integer {
                count,
                zero_count,
                positive,
                negative,
            } => {
                let absolute = |deltas: &[i64]| {
                    let mut sum = 0_i64;
                    let add = |d: &i64| {
                        sum = sum.wrapping_add(*d);
                        sum as f64
                    };
                    deltas.iter().map(add).collect::<Vec<_>>()
                };
                (
                    *count as f64,
                    *zero_count as f64,
                    listed(&h.positive_spans, absolute(positive)),
                    listed(&h.negative_spans, absolute(negative)),
                )
            }
            Counts::Float {
                count,
                zero_count,
                positive,
                negative,
            } => (
                *count,
                *zero_count,
                listed(&h.positive_spans, positive.iter().copied()),
                listed(&h.negative_spans, negative.iter().copied()),
            ),
        };
        let mut out = Self {
            reset_hint: h.reset_hint,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            zero_count,
            count,
            sum: h.sum,
            positive,
            negative,
            custom_values: Arc::from(h.custom_values.as_slice()),
        };
        if out.schema > FINEST_SCHEMA {
            out.reduce_to(FINEST_SCHEMA);
        }
        out
    }

    /// As it is stored: float counts, buckets that hold nothing left out.
    #[must_use]
    pub fn to_stored(&self) -> StoredHistogram {
        let (positive_spans, positive) = spans(&self.positive);
        let (negative_spans, negative) = spans(&self.negative);
        StoredHistogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            positive_spans,
            negative_spans,
            custom_values: self.custom_values.to_vec(),
            counts: Counts::Float {
                count: self.count,
                zero_count: self.zero_count,
                positive,
                negative,
            },
        }
    }

    /// How many float samples this histogram counts as, for limits and statistics.
    #[must_use]
    pub fn size_in_samples(&self) -> usize {
        let spans = |side: &[(i32, f64)]| {
            let gaps = side.windows(2).filter(|w| w[1].0 != w[0].0 + 1).count();
            gaps + usize::from(!side.is_empty())
        };
        let words = spans(&self.positive)
            + spans(&self.negative)
            + self.positive.len()
            + self.negative.len()
            + self.custom_values.len();
        (168 + 8 * words + 8) / 16
    }

    /// Whether the two hold the same buckets with the same counts, bit for bit. The reset hint does not count.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let side = |a: &[(i32, f64)], b: &[(i32, f64)]| {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|(x, y)| x.0 == y.0 && x.1.to_bits() == y.1.to_bits())
        };
        self.schema == other.schema
            && self.count.to_bits() == other.count.to_bits()
            && self.sum.to_bits() == other.sum.to_bits()
            && self.custom_values == other.custom_values
            && self.zero_threshold == other.zero_threshold
            && self.zero_count.to_bits() == other.zero_count.to_bits()
            && side(&self.positive, &other.positive)
            && side(&self.negative, &other.negative)
    }
}

impl fmt::Display for FloatHistogram {
    /// `{count:3, sum:5, [-0.001,0.001]:1, (0.5,1]:2}`: buckets that hold something, ascending.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{{count:{}, sum:{}",
            format_g(self.count),
            format_g(self.sum)
        )?;
        for bucket in self.listed_buckets().filter(|b| b.count != 0.0) {
            write!(f, ", {bucket}")?;
        }
        f.write_str("}")
    }
}

/// Spans and counts of a side.
fn spans(side: &[(i32, f64)]) -> (Vec<BucketSpan>, Vec<f64>) {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut counts = Vec::with_capacity(side.len());
    let mut next = 0;
    for &(index, count) in side.iter().filter(|(_, n)| *n != 0.0) {
        counts.push(count);
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => spans.push(BucketSpan {
                offset: index.wrapping_sub(next),
                length: 1,
            }),
        }
        next = index.wrapping_add(1);
    }
    (spans, counts)
}

/// Buckets with their indices, from spans and counts. Counts that no span covers are left out.
fn listed(spans: &[BucketSpan], counts: impl IntoIterator<Item = f64>) -> Vec<(i32, f64)> {
    let mut counts = counts.into_iter();
    let mut out = Vec::with_capacity(counts.size_hint().0);
    let mut index = 0_i32;
    for span in spans {
        index = index.wrapping_add(span.offset);
        for _ in 0..span.length {
            let Some(count) = counts.next() else {
                return out;
            };
            out.push((index, count));
            index = index.wrapping_add(1);
        }
    }
    out
}

#[cfg(test)]
mod tests;
