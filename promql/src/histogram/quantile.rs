//! Quantiles, fractions and variance of native histograms.

use super::{Bucket, FloatHistogram};
use crate::kahan::{Kahan, Number};

/// What a quantile or fraction says about observations that are not numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuantileNote {
    /// The quantile falls among them.
    ResultIsNan,
    /// They make the quantile higher than the numbers alone would.
    SkewedHigher,
    /// They are in no fraction.
    ExcludedFromFraction,
}

impl FloatHistogram {
    /// The `q` quantile, interpolated within its bucket.
    pub(crate) fn quantile(&self, q: f64) -> (f64, Option<QuantileNote>) {
        if q < 0.0 {
            return (f64::NEG_INFINITY, None);
        }
        if q > 1.0 {
            return (f64::INFINITY, None);
        }
        if self.count == 0.0 || q.is_nan() {
            return (f64::NAN, None);
        }
        // The walk starts at the nearer end; observations that are not numbers lie above all buckets.
        let has_nan = self.sum.is_nan();
        let forward = has_nan || q < 0.5;
        let (mut rank, mut walk): (f64, Box<dyn Iterator<Item = Bucket>>) = if forward {
            (q * self.count, Box::new(self.buckets()))
        } else {
            ((1.0 - q) * self.count, Box::new(self.buckets().rev()))
        };
        let mut bucket = Bucket {
            lower: 0.0,
            upper: 0.0,
            lower_inclusive: false,
            upper_inclusive: false,
            count: 0.0,
        };
        let mut count = 0.0;
        for b in walk.by_ref() {
            bucket = b;
            count += b.count;
            if b.count != 0.0 && count >= rank {
                break;
            }
        }
        if self.has_custom_buckets() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return (bucket.upper, None);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return (bucket.lower, None);
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            self.narrow_zero_bucket(&mut bucket);
        }
        count = f64::min(count, self.count);
        if count < rank {
            return if has_nan {
                (f64::NAN, Some(QuantileNote::ResultIsNan))
            } else {
                (bucket.upper, None)
            };
        }
        rank = if forward {
            rank - (count - bucket.count)
        } else {
            count - rank
        };
        let mut note = None;
        if has_nan {
            // The upstream interpolates in the last bucket it has looked at, and so does this.
            for b in walk {
                bucket = b;
                count += b.count;
            }
            if count < self.count {
                note = Some(QuantileNote::SkewedHigher);
            }
        }
        let fraction = rank / bucket.count;
        let value = if self.has_custom_buckets() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            bucket.lower + (bucket.upper - bucket.lower) * fraction
        } else {
            let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
            if bucket.lower > 0.0 {
                (lower + (upper - lower) * fraction).exp2()
            } else {
                -(upper + (lower - upper) * (1.0 - fraction)).exp2()
            }
        };
        (value, note)
    }

    /// The fraction of all observations between two values.
    pub(crate) fn fraction(&self, lower: f64, upper: f64) -> (f64, Option<QuantileNote>) {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return (f64::NAN, None);
        }
        if lower >= upper {
            return (0.0, None);
        }
        let (mut lower_rank, mut upper_rank) = (None, None);
        let (mut rank, mut count) = (0.0, 0.0);
        for mut b in self.buckets() {
            count += b.count;
            if lower_rank.is_some() && upper_rank.is_some() {
                continue;
            }
            let around_zero = b.lower <= 0.0 && b.upper >= 0.0;
            if around_zero {
                self.narrow_zero_bucket(&mut b);
            }
            let rank_of = |v: f64| {
                if b.lower >= v {
                    return Some(rank);
                }
                if b.upper <= v {
                    return None;
                }
                let linear = self.has_custom_buckets() || around_zero;
                if linear && b.lower == f64::NEG_INFINITY {
                    return Some(b.count);
                }
                Some(rank + b.count * b.fraction_below(v, linear))
            };
            lower_rank = lower_rank.or_else(|| rank_of(lower));
            upper_rank = upper_rank.or_else(|| rank_of(upper));
            rank += b.count;
        }
        let mut note = None;
        if !self.sum.is_nan() {
            count = self.count;
        } else if count < self.count {
            note = Some(QuantileNote::ExcludedFromFraction);
        }
        let capped = |rank: Option<f64>| match rank {
            Some(r) if r <= count => r,
            _ => count,
        };
        ((capped(upper_rank) - capped(lower_rank)) / self.count, note)
    }

    /// Variance, with every observation at its bucket's middle: the geometric one of an
    /// exponential bucket, zero where the bucket holds zero.
    pub(crate) fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut sum = Kahan::default();
        for b in self.buckets().filter(|b| b.count != 0.0) {
            let middle = if self.has_custom_buckets() {
                f64::midpoint(b.upper, b.lower)
            } else if b.lower <= 0.0 && b.upper >= 0.0 {
                0.0
            } else {
                (b.upper * b.lower).sqrt().copysign(b.upper)
            };
            let delta = middle - mean;
            sum.plus(b.count * delta * delta);
        }
        sum.total() / self.count
    }

    /// Where all other buckets lie on one side of zero, so do the observations in the zero bucket.
    fn narrow_zero_bucket(&self, bucket: &mut Bucket) {
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
    }
}
