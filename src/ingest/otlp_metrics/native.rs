//! OTLP histograms as native ones: exponential buckets as they are, explicit buckets with custom bounds.
//!
//! Source: Prometheus "Native Histograms" specification, section on OpenTelemetry interoperability.

use storage::model::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, ResetHint, STALE_NAN};

use super::super::native_histogram::{MAX_SCHEMA, MIN_SCHEMA};
use super::translate::is_stale;
use crate::wire::otlp::{
    ExponentialHistogramDataPoint, HistogramDataPoint, exponential_histogram_data_point::Buckets,
};

/// Half the width of the zero bucket; what the sender says about it is not looked at.
const ZERO_THRESHOLD: f64 = 1e-128;
/// Up to so many empty buckets are cheaper than a span of their own.
const MAX_GAP: i64 = 2;

/// An exponential histogram. Resolutions that are too fine are merged down.
pub(super) fn exponential(
    point: &ExponentialHistogramDataPoint,
    reset_hint: ResetHint,
) -> Result<Histogram, String> {
    if point.scale < MIN_SCHEMA {
        return Err(format!(
            "cannot convert exponential to native histogram. Scale must be >= {MIN_SCHEMA}, was {}",
            point.scale
        ));
    }
    let shift = (point.scale - MAX_SCHEMA).max(0);
    let side = |buckets: Option<&Buckets>| match buckets {
        // A native bucket's number is that of its upper bound, an OTLP bucket's that of its lower.
        Some(b) => sparse(&b.bucket_counts, |i| {
            ((i64::from(b.offset) + i) >> shift.min(63)) + 1
        }),
        None => Ok((Vec::new(), Vec::new())),
    };
    let (positive_spans, positive) = side(point.positive.as_ref())?;
    let (negative_spans, negative) = side(point.negative.as_ref())?;
    if is_stale(point.flags) {
        return Ok(stale());
    }
    Ok(Histogram {
        reset_hint,
        schema: point.scale - shift,
        zero_threshold: ZERO_THRESHOLD,
        sum: point.sum.unwrap_or(0.0),
        positive_spans,
        negative_spans,
        custom_values: Vec::new(),
        counts: Counts::Integer {
            count: point.count,
            zero_count: point.zero_count,
            positive,
            negative,
        },
    })
}

/// A histogram with explicit bounds.
pub(super) fn custom(
    point: &HistogramDataPoint,
    reset_hint: ResetHint,
) -> Result<Histogram, String> {
    let (positive_spans, positive) = sparse(&point.bucket_counts, |i| i)?;
    if is_stale(point.flags) {
        return Ok(stale());
    }
    Ok(Histogram {
        reset_hint,
        schema: CUSTOM_BUCKETS_SCHEMA,
        sum: point.sum.unwrap_or(0.0),
        positive_spans,
        custom_values: point.explicit_bounds.clone(),
        counts: Counts::Integer {
            count: point.count,
            zero_count: 0,
            positive,
            negative: Vec::new(),
        },
        ..Histogram::default()
    })
}

fn stale() -> Histogram {
    Histogram {
        sum: STALE_NAN,
        counts: Counts::Integer {
            count: 0,
            zero_count: 0,
            positive: Vec::new(),
            negative: Vec::new(),
        },
        ..Histogram::default()
    }
}

/// Buckets that hold something, as spans and differences; `index` tells where a bucket belongs.
fn sparse(
    counts: &[u64],
    index: impl Fn(i64) -> i64,
) -> Result<(Vec<BucketSpan>, Vec<i64>), String> {
    let mut merged: Vec<(i64, i64)> = Vec::new();
    for (i, n) in counts.iter().enumerate().filter(|(_, n)| **n != 0) {
        let (at, n) = (index(i as i64), *n as i64);
        match merged.last_mut() {
            Some((last, count)) if *last == at => *count = count.wrapping_add(n),
            _ => merged.push((at, n)),
        }
    }
    let (mut spans, mut deltas) = (Vec::<BucketSpan>::new(), Vec::new());
    let (mut next, mut before) = (None, 0_i64);
    let mut put = |count: i64| {
        deltas.push(count.wrapping_sub(before));
        before = count;
    };
    for (at, count) in merged {
        let gap = next.map_or(at, |next: i64| at - next);
        match spans.last_mut() {
            Some(span) if next.is_some() && gap <= MAX_GAP => {
                (0..gap).for_each(|_| put(0));
                span.length += gap as u32 + 1;
            }
            _ => {
                let offset =
                    i32::try_from(gap).map_err(|_| format!("bucket index {at} is out of range"))?;
                spans.push(BucketSpan { offset, length: 1 });
            }
        }
        put(count);
        next = Some(at + 1);
    }
    Ok((spans, deltas))
}

#[cfg(test)]
mod tests {
    use super::super::super::native_histogram::validate;
    use super::*;

    fn point(scale: i32, offset: i32, counts: &[u64]) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            scale,
            count: counts.iter().sum(),
            positive: Some(Buckets {
                offset,
                bucket_counts: counts.to_vec(),
            }),
            ..Default::default()
        }
    }

    type Side = (Vec<(i32, u32)>, Vec<i64>);

    fn positive(h: &Histogram) -> Side {
        let Counts::Integer { positive, .. } = &h.counts else {
            panic!("counts of OTLP are integers")
        };
        let spans = h.positive_spans.iter().map(|s| (s.offset, s.length));
        (spans.collect(), positive.clone())
    }

    fn buckets(scale: i32, offset: i32, counts: &[u64]) -> Side {
        let h = exponential(&point(scale, offset, counts), ResetHint::Unknown).unwrap();
        assert_eq!(validate(&h), Ok(()));
        positive(&h)
    }

    #[test]
    fn buckets_move_up_by_one_and_wide_gaps_are_left_out() {
        assert_eq!(
            buckets(2, -1, &[1, 0, 0, 2]),
            (vec![(0, 4)], vec![1, -1, 0, 2])
        );
        assert_eq!(
            buckets(2, -1, &[1, 0, 0, 0, 2]),
            (vec![(0, 1), (3, 1)], vec![1, 1])
        );
        assert_eq!(buckets(2, 2, &[0, 3, 0]), (vec![(4, 1)], vec![3]));
        assert_eq!(buckets(2, 0, &[]), (vec![], vec![]));
    }

    #[test]
    fn a_fine_scale_is_merged_down() {
        assert_eq!(buckets(12, 100, &[1; 6]), (vec![(7, 1)], vec![6]));
        assert_eq!(
            buckets(9, -3, &[1, 1, 1, 1]),
            (vec![(-1, 3)], vec![1, 1, -1])
        );
        assert_eq!(buckets(i32::MAX, 5, &[1, 1]), (vec![(1, 1)], vec![2]));
    }

    #[test]
    fn what_a_native_histogram_cannot_be_is_refused() {
        let text = exponential(&point(-5, 0, &[1]), ResetHint::Unknown).unwrap_err();
        assert!(text.contains("Scale must be >= -4, was -5"));
        assert!(exponential(&point(0, i32::MAX, &[1]), ResetHint::Unknown).is_err());
        let h = exponential(&point(0, 0, &[u64::MAX]), ResetHint::Unknown).unwrap();
        assert!(validate(&h).is_err());
    }

    #[test]
    fn a_point_without_a_value_is_a_stale_marker() {
        let mut p = point(0, 0, &[1]);
        p.flags = 1;
        let h = exponential(&p, ResetHint::Unknown).unwrap();
        assert!(storage::model::is_stale(h.sum));
        assert_eq!(validate(&h), Ok(()));
    }

    #[test]
    fn explicit_bounds_become_custom_ones() {
        let p = HistogramDataPoint {
            count: 6,
            sum: Some(12.5),
            bucket_counts: vec![0, 0, 0, 2, 4],
            explicit_bounds: vec![1.0, 2.0, 3.0, 4.0],
            ..Default::default()
        };
        let h = custom(&p, ResetHint::Gauge).unwrap();
        assert_eq!(validate(&h), Ok(()));
        assert_eq!(positive(&h), (vec![(3, 2)], vec![2, 2]));
        assert_eq!(
            (h.schema, h.sum, h.reset_hint),
            (-53, 12.5, ResetHint::Gauge)
        );
    }
}
