//! Adding and subtracting histograms whose layouts may differ: resolutions are reduced to the
//! coarser one, zero buckets widened to the wider one, custom bounds cut down to the common ones.

use std::sync::Arc;

use storage::model::ResetHint;

use super::bounds::{coarser_index, exponential_bound};
use super::{FloatHistogram, Hist};
use crate::kahan::Number;

/// Exponential and custom buckets cannot be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncompatibleBuckets;

/// What had to be settled while combining.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Combined {
    /// One histogram says "reset", the other "no reset".
    pub reset_collision: bool,
    /// Different custom bounds were cut down to the common ones.
    pub bounds_reconciled: bool,
}

impl<N: Number> Hist<N> {
    /// Adds a histogram.
    ///
    /// # Errors
    /// [`IncompatibleBuckets`] for exponential and custom buckets; nothing is changed then.
    pub fn add(&mut self, other: &FloatHistogram) -> Result<Combined, IncompatibleBuckets> {
        self.combine(other, 1.0)
    }

    /// Subtracts a histogram.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn subtract(&mut self, other: &FloatHistogram) -> Result<Combined, IncompatibleBuckets> {
        self.combine(other, -1.0)
    }

    /// Reduces the resolution. A finer or equal schema changes nothing.
    pub(crate) fn reduce_to(&mut self, schema: i32) {
        if self.has_custom_buckets() || schema >= self.schema {
            return;
        }
        self.positive = coarser(&self.positive, self.schema, schema);
        self.negative = coarser(&self.negative, self.schema, schema);
        self.schema = schema;
    }

    fn combine(
        &mut self,
        other: &FloatHistogram,
        sign: f64,
    ) -> Result<Combined, IncompatibleBuckets> {
        if self.has_custom_buckets() != other.has_custom_buckets() {
            return Err(IncompatibleBuckets);
        }
        let mut combined = Combined {
            reset_collision: self.settle_hint(other.reset_hint),
            bounds_reconciled: false,
        };
        self.count.plus(sign * other.count);
        self.sum.plus(sign * other.sum);
        if self.has_custom_buckets() {
            if self.custom_values == other.custom_values {
                add(&mut self.positive, &other.positive, sign);
            } else {
                combined.bounds_reconciled = true;
                self.merge_custom(other, sign);
            }
            return Ok(combined);
        }
        let mut zero = self.reconcile_zero(other);
        zero.times(sign);
        self.zero_count.merge(zero);
        self.reduce_to(other.schema);
        let (schema, threshold) = (self.schema, self.zero_threshold);
        if other.schema > schema {
            // Numbers of the own kind, so that adding up the finer buckets loses nothing either.
            let coarse = |side: &[(i32, f64)]| {
                let side: Vec<_> = side.iter().map(|&(i, n)| (i, N::of(sign * n))).collect();
                coarser(&side, other.schema, schema)
            };
            let (positive, negative) = (coarse(&other.positive), coarse(&other.negative));
            let positive_beyond = beyond(&positive, schema, threshold);
            merge(&mut self.positive, positive_beyond, |n| n, N::merge);
            let negative_beyond = beyond(&negative, schema, threshold);
            merge(&mut self.negative, negative_beyond, |n| n, N::merge);
        } else {
            let positive_beyond = beyond(&other.positive, schema, threshold);
            add(&mut self.positive, positive_beyond, sign);
            let negative_beyond = beyond(&other.negative, schema, threshold);
            add(&mut self.negative, negative_beyond, sign);
        }
        Ok(combined)
    }

    /// Combines the reset hints; says whether they contradict each other.
    fn settle_hint(&mut self, other: ResetHint) -> bool {
        use ResetHint::{Gauge, Unknown};
        let mine = self.reset_hint;
        if mine == other || mine == Gauge {
            return false;
        }
        if other == Gauge {
            self.reset_hint = Gauge;
            return false;
        }
        self.reset_hint = Unknown;
        mine != Unknown && other != Unknown
    }

    /// Widens this zero bucket where the other's is wider; returns the other's count for the common width.
    fn reconcile_zero(&mut self, other: &FloatHistogram) -> N {
        let (mut count, mut threshold) = (N::of(other.zero_count), other.zero_threshold);
        while threshold != self.zero_threshold {
            if self.zero_threshold > threshold {
                (count, threshold) = other.map(N::of).zero_count_for(self.zero_threshold);
            }
            if threshold > self.zero_threshold {
                (self.zero_count, self.zero_threshold) = self.zero_count_for(threshold);
                let (schema, edge) = (self.schema, self.zero_threshold);
                for side in [&mut self.positive, &mut self.negative] {
                    side.retain(|&(i, n)| {
                        exponential_bound(i.wrapping_sub(1), schema) >= edge && !n.is_zero()
                    });
                }
            }
        }
        count
    }

    /// The count of a zero bucket that is at least so wide, and its width: a bucket that holds
    /// something and is cut by the edge is taken in whole.
    pub(super) fn zero_count_for(&self, threshold: f64) -> (N, f64) {
        let mut threshold = threshold;
        if threshold <= self.zero_threshold {
            return (self.zero_count, self.zero_threshold);
        }
        'again: loop {
            let mut count = self.zero_count;
            for (side, is_negative) in [(&self.positive, false), (&self.negative, true)] {
                for &(i, n) in side {
                    if exponential_bound(i.wrapping_sub(1), self.schema) >= threshold {
                        break;
                    }
                    count.merge(n);
                    let upper = exponential_bound(i, self.schema);
                    if upper > threshold {
                        if n.value() != 0.0 {
                            threshold = upper;
                            // The positive side has been counted with the narrower width only.
                            if is_negative {
                                continue 'again;
                            }
                        }
                        break;
                    }
                }
            }
            return (count, threshold);
        }
    }

    fn merge_custom(&mut self, other: &FloatHistogram, sign: f64) {
        let common: Arc<[f64]> = common_bounds(&self.custom_values, &other.custom_values).into();
        let mut target = vec![N::default(); common.len() + 1];
        let place = |index: i32, bounds: &[f64]| {
            let bound = usize::try_from(index).ok().and_then(|i| bounds.get(i));
            bound.map_or(common.len(), |b| common.partition_point(|c| c < b))
        };
        for &(i, n) in &self.positive {
            target[place(i, &self.custom_values)].merge(n);
        }
        for &(i, n) in &other.positive {
            target[place(i, &other.custom_values)].plus(sign * n);
        }
        let filled = target
            .into_iter()
            .enumerate()
            .filter(|(_, n)| !n.is_zero())
            .map(|(i, n)| (i as i32, n));
        self.positive = filled.collect();
        self.custom_values = common;
    }
}

fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter()
        .filter(|x| b.binary_search_by(|y| y.total_cmp(x)).is_ok())
        .copied()
        .collect()
}

fn coarser<N: Number>(buckets: &[(i32, N)], from: i32, to: i32) -> Vec<(i32, N)> {
    let mut out: Vec<(i32, N)> = Vec::with_capacity(buckets.len());
    for &(i, n) in buckets {
        let i = coarser_index(i, from, to);
        match out.last_mut() {
            Some((last, sum)) if *last == i => sum.merge(n),
            _ => out.push((i, n)),
        }
    }
    out
}

/// The buckets that reach beyond the zero bucket.
fn beyond<N>(side: &[(i32, N)], schema: i32, threshold: f64) -> &[(i32, N)] {
    let hidden = |(i, _): &&(i32, N)| exponential_bound(*i, schema) <= threshold;
    &side[side.iter().take_while(hidden).count()..]
}

/// Adds `sign` times the buckets of `b`.
fn add<N: Number>(a: &mut Vec<(i32, N)>, b: &[(i32, f64)], sign: f64) {
    merge(a, b, |m| N::of(sign * m), |n, m| n.plus(sign * m));
}

/// Puts the buckets of `b` in: as new ones, or into those that are there.
fn merge<N: Number, M: Copy>(
    a: &mut Vec<(i32, N)>,
    b: &[(i32, M)],
    new: impl Fn(M) -> N,
    into: impl Fn(&mut N, M),
) {
    let aligned = a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.0 == y.0);
    if aligned {
        for ((_, n), (_, m)) in a.iter_mut().zip(b) {
            into(n, *m);
        }
        return;
    }
    let mut out = Vec::with_capacity(a.len() + b.len());
    let mut rest = b.iter().copied().peekable();
    for &(i, mut n) in a.iter() {
        while let Some((j, m)) = rest.next_if(|(j, _)| *j < i) {
            out.push((j, new(m)));
        }
        if let Some((_, m)) = rest.next_if(|(j, _)| *j == i) {
            into(&mut n, m);
        }
        out.push((i, n));
    }
    out.extend(rest.map(|(j, m)| (j, new(m))));
    *a = out;
}
