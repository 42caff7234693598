//! Quantiles and fractions of classic histograms: cumulative counts by upper bound.

/// One `le` bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ClassicBucket {
    pub(crate) upper: f64,
    /// Observations up to `upper`.
    pub(crate) count: f64,
}

/// Counts that had to be raised so that they do not fall: the bounds from and to, and the largest rise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Forced {
    pub(crate) min_bucket: f64,
    pub(crate) max_bucket: f64,
    pub(crate) max_diff: f64,
}

/// Relative differences up to here are rounding, not falling counts.
const TOLERANCE: f64 = 1e-12;

/// The quantile, linear within its bucket. The buckets, at least one, are put in order.
pub(crate) fn quantile(q: f64, buckets: &mut Vec<ClassicBucket>) -> (f64, Option<Forced>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !settle(buckets) {
        return (f64::NAN, None);
    }
    let forced = force_monotonic(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 || observations.is_nan() {
        return (f64::NAN, forced);
    }
    let mut rank = q * observations;
    let at = buckets[..last].partition_point(|b| b.count < rank);
    if at == last {
        return (buckets[last - 1].upper, forced);
    }
    if at == 0 && buckets[0].upper <= 0.0 {
        return (buckets[0].upper, forced);
    }
    let (mut start, end, mut count) = (0.0, buckets[at].upper, buckets[at].count);
    if at > 0 {
        let before = buckets[at - 1];
        start = before.upper;
        count -= before.count;
        rank -= before.count;
    }
    (start + (end - start) * (rank / count), forced)
}

/// The fraction of observations between two values.
pub(crate) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<ClassicBucket>) -> f64 {
    if !settle(buckets) {
        return f64::NAN;
    }
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank_at = |v: f64| {
        let mut low = if buckets[0].upper <= 0.0 {
            f64::NEG_INFINITY
        } else {
            0.0
        };
        let mut rank = 0.0;
        for b in buckets.iter() {
            if low >= v {
                return rank;
            }
            if b.upper > v {
                if low == f64::NEG_INFINITY {
                    return b.count;
                }
                return rank + (b.count - rank) * (v - low) / (b.upper - low);
            }
            rank = b.count;
            low = b.upper;
        }
        count
    };
    let capped = |rank: f64| if rank > count { count } else { rank };
    (capped(rank_at(upper)) - capped(rank_at(lower))) / count
}

/// Sorts by bound and adds up equal bounds; false where no bucket is unbounded.
fn settle(buckets: &mut Vec<ClassicBucket>) -> bool {
    buckets.sort_by(|a, b| {
        a.upper
            .partial_cmp(&b.upper)
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    buckets.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
    buckets.last().is_some_and(|b| b.upper == f64::INFINITY)
}

fn force_monotonic(buckets: &mut [ClassicBucket]) -> Option<Forced> {
    let mut forced: Option<Forced> = None;
    let mut before = buckets[0].count;
    for b in &mut buckets[1..] {
        if b.count == before {
            continue;
        }
        if almost_equal(before, b.count) {
            b.count = before;
        } else if b.count < before {
            let f = forced.get_or_insert(Forced {
                min_bucket: b.upper,
                max_bucket: b.upper,
                max_diff: 0.0,
            });
            f.min_bucket = f.min_bucket.min(b.upper);
            f.max_bucket = f.max_bucket.max(b.upper);
            f.max_diff = f.max_diff.max(before - b.count);
            b.count = before;
        } else {
            before = b.count;
        }
    }
    forced
}

fn almost_equal(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let sum = a.abs() + b.abs();
    let diff = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < TOLERANCE * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(list: &[(f64, f64)]) -> Vec<ClassicBucket> {
        let bucket = |&(upper, count): &(f64, f64)| ClassicBucket { upper, count };
        list.iter().map(bucket).collect()
    }

    #[test]
    fn quantiles_are_linear_within_a_bucket() {
        let list = [(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 20.0)];
        assert_eq!(quantile(0.5, &mut buckets(&list)).0, 1.0);
        assert_eq!(quantile(0.75, &mut buckets(&list)).0, 1.5);
        assert_eq!(quantile(1.0, &mut buckets(&list)).0, 2.0);
        assert!(quantile(0.5, &mut buckets(&list[..2])).0.is_nan());
    }

    #[test]
    fn falling_counts_are_raised_and_reported() {
        let list = [(1.0, 10.0), (2.0, 8.0), (f64::INFINITY, 20.0)];
        let (_, forced) = quantile(0.5, &mut buckets(&list));
        let forced = forced.unwrap();
        assert_eq!((forced.min_bucket, forced.max_diff), (2.0, 2.0));
    }

    #[test]
    fn fractions_count_what_lies_between() {
        let list = [(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 20.0)];
        assert_eq!(fraction(0.5, 1.5, &mut buckets(&list)), 0.5);
    }
}
