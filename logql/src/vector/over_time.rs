//! The value of a range function over one window of samples.

use super::mean_and_variance;
use crate::ast::{RangeExpr, RangeOp};

/// `samples` is not empty and ascends in time.
pub(crate) fn over_time(expr: &RangeExpr, samples: &[(i64, f64)]) -> f64 {
    let values = || samples.iter().map(|(_, v)| *v);
    let seconds = expr.range.range_ns as f64 / 1e9;
    match expr.op {
        RangeOp::Count | RangeOp::Bytes | RangeOp::Sum => values().sum::<f64>(),
        RangeOp::Absent => samples.len() as f64,
        RangeOp::Rate | RangeOp::BytesRate => values().sum::<f64>() / seconds,
        RangeOp::RateCounter => rate_counter(samples, expr.range.range_ns),
        RangeOp::Avg => mean_and_variance(values()).0,
        RangeOp::Max => values().fold(f64::NAN, |a, b| if b > a || a.is_nan() { b } else { a }),
        RangeOp::Min => values().fold(f64::NAN, |a, b| if b < a || a.is_nan() { b } else { a }),
        RangeOp::Stddev => mean_and_variance(values()).1.sqrt(),
        RangeOp::Stdvar => mean_and_variance(values()).1,
        RangeOp::Quantile => quantile(expr.param.unwrap_or(f64::NAN), values().collect()),
        RangeOp::First => samples[0].1,
        RangeOp::Last => samples[samples.len() - 1].1,
    }
}

/// Interpolated between the two nearest ranks.
fn quantile(q: f64, mut values: Vec<f64>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(f64::total_cmp);
    let rank = q * (values.len() - 1) as f64;
    let (lower, upper) = (
        rank.floor(),
        (rank.floor() + 1.0).min((values.len() - 1) as f64),
    );
    let weight = rank - lower;
    values[lower as usize] * (1.0 - weight) + values[upper as usize] * weight
}

/// As Prometheus's `rate`, resets added, but for one thing: Loki takes the range's milliseconds for
/// nanoseconds when it stretches the increase to the window, so that next to nothing is stretched.
/// A single sample has not increased.
fn rate_counter(samples: &[(i64, f64)], range_ns: i64) -> f64 {
    let ([(first_ns, first), ..], [.., (last_ns, last)]) = (samples, samples) else {
        return 0.0;
    };
    if samples.len() < 2 {
        return 0.0;
    }
    let resets: f64 = samples
        .windows(2)
        .filter(|pair| pair[1].1 < pair[0].1)
        .map(|pair| pair[0].1)
        .sum();
    let increase = last - first + resets;
    let sampled = (last_ns - first_ns) as f64 / 1e9;
    let between = sampled / (samples.len() - 1) as f64;
    let mut to_start = (range_ns / 1_000_000) as f64 / 1e9;
    if increase > 0.0 && *first >= 0.0 {
        // A counter does not start below zero.
        to_start = to_start.min(sampled * (first / increase));
    }
    let stretched = sampled
        + if to_start < between * 1.1 {
            to_start
        } else {
            between / 2.0
        };
    increase * (stretched / sampled) / (range_ns as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(0.5, vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(quantile(0.25, vec![1.0, 2.0]), 1.25);
        assert_eq!(quantile(1.5, vec![1.0]), f64::INFINITY);
        assert_eq!(quantile(-1.0, vec![1.0]), f64::NEG_INFINITY);
    }

    #[test]
    fn a_counter_of_one_sample_has_not_increased() {
        assert_eq!(rate_counter(&[(5, 3.0)], 10), 0.0);
    }
}
