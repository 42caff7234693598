//! The operators `</` and `>/`: what lies on one side of a value, with an estimate of its sum.

use super::{Bucket, FloatHistogram};

/// What stays of a bucket, and where its observations lie on average.
type Kept = (f64, f64);

impl FloatHistogram {
    /// Keeps observations below (`upper` trim) or above a value. Nothing changes where every bucket stays whole.
    pub(crate) fn trim(&mut self, at: f64, upper: bool) {
        let custom = self.has_custom_buckets();
        let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
        let (mut has_positive, mut has_negative) = (false, false);
        let mut take = |bucket: Bucket, positive: bool| {
            let (kept, middle) = if bucket.count == 0.0 {
                (0.0, 0.0)
            } else {
                keep(&bucket, at, upper, positive, custom)
            };
            if bucket.count != 0.0 {
                has_positive |= positive;
                has_negative |= !positive;
            }
            if kept != 0.0 || middle.is_nan() {
                count += kept;
                sum += middle * kept;
            }
            changed |= kept != bucket.count;
            kept
        };
        let positive: Vec<_> = self
            .positive
            .iter()
            .map(|&b| (b.0, take(self.positive_bucket(b), true)))
            .collect();
        let negative: Vec<_> = self
            .negative
            .iter()
            .map(|&b| (b.0, take(self.negative_bucket(b), false)))
            .collect();
        let mut zero_count = self.zero_count;
        if let Some(zero) = self.zero_bucket().filter(|b| b.count > 0.0) {
            let (kept, middle) = keep_of_zero(&zero, at, upper, has_negative, has_positive);
            changed |= kept != zero.count;
            count += kept;
            sum += middle * kept;
            zero_count = kept;
        }
        if changed {
            (self.positive, self.negative, self.zero_count) = (positive, negative, zero_count);
            (self.count, self.sum) = (count, sum);
            self.compact();
        }
    }
}

fn keep(b: &Bucket, at: f64, upper: bool, positive: bool, custom: bool) -> Kept {
    let whole = if upper { b.upper <= at } else { b.lower >= at };
    if whole {
        return (b.count, middle(b.lower, b.upper, positive, custom));
    }
    let cut = if upper { b.lower < at } else { b.upper > at };
    if !cut {
        return (0.0, 0.0);
    }
    if b.lower == f64::NEG_INFINITY || b.upper == f64::INFINITY {
        return keep_of_infinite(b, at, upper);
    }
    let below = if at <= b.lower {
        0.0
    } else if at >= b.upper {
        b.count
    } else {
        b.count * b.fraction_below(at, custom)
    };
    if upper {
        (below, middle(b.lower, at, positive, custom))
    } else {
        (b.count - below, middle(at, b.upper, positive, custom))
    }
}

/// Of a bucket without an end only one bound tells where its observations lie.
fn keep_of_infinite(b: &Bucket, at: f64, upper: bool) -> Kept {
    let finite_or_zero = |v: f64| if v.is_infinite() { 0.0 } else { v };
    if b.lower == f64::NEG_INFINITY {
        return match upper {
            true if at >= b.upper => (b.count, 0.0),
            true if at > 0.0 && b.upper > 0.0 && b.upper != f64::INFINITY => {
                (b.count * at / b.upper, at / 2.0)
            }
            true if b.upper <= 0.0 => (b.count, at),
            false if at <= b.lower => (b.count, 0.0),
            false if at >= 0.0 && b.upper > at && b.upper != f64::INFINITY => {
                (b.count * (1.0 - at / b.upper), f64::midpoint(at, b.upper))
            }
            _ => (0.0, finite_or_zero(b.upper)),
        };
    }
    if !upper && at >= b.lower {
        (b.count, at)
    } else {
        (0.0, finite_or_zero(b.lower))
    }
}

fn keep_of_zero(b: &Bucket, at: f64, upper: bool, has_negative: bool, has_positive: bool) -> Kept {
    let low = if has_positive && !has_negative {
        0.0
    } else {
        b.lower
    };
    let high = if has_negative && !has_positive {
        0.0
    } else {
        b.upper
    };
    let whole = (b.count, f64::midpoint(low, high));
    match upper {
        true if at <= low => (0.0, 0.0),
        true if at >= high => whole,
        true => (
            b.count * ((at - low) / (high - low)),
            f64::midpoint(low, at),
        ),
        false if at <= low => whole,
        false if at >= high => (0.0, 0.0),
        false => (
            b.count * ((high - at) / (high - low)),
            f64::midpoint(at, high),
        ),
    }
}

fn middle(low: f64, high: f64, positive: bool, linear: bool) -> f64 {
    match (low.is_infinite(), high.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if high > 0.0 => high / 2.0,
        (true, false) => high,
        (false, true) => low,
        (false, false) if linear => f64::midpoint(low, high),
        (false, false) => {
            let geometric = (low * high).abs().sqrt();
            if positive { geometric } else { -geometric }
        }
    }
}
