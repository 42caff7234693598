//! The sum of two exponential histograms: at the coarser of their scales, with the wider of their zero buckets, and coarser still where
//! the buckets would become too many.

use crate::wire::otlp::{ExponentialHistogramDataPoint, exponential_histogram_data_point::Buckets};

/// Most buckets on one side of a sum.
const MAX_BUCKETS: i64 = 160;

/// Adds a later point to a total.
pub(super) fn add(
    total: &mut ExponentialHistogramDataPoint,
    point: &ExponentialHistogramDataPoint,
) {
    let (mut a, mut b) = (Sides::of(total), Sides::of(point));
    let scale = a.scale.min(b.scale);
    a.rescale(scale);
    b.rescale(scale);
    let mut coarser = scale;
    while a.is_too_wide_with(&b, scale - coarser) {
        coarser -= 1;
    }
    a.rescale(coarser);
    b.rescale(coarser);
    let threshold = a.zero_threshold.max(b.zero_threshold);
    a.widen_zero(threshold);
    b.widen_zero(threshold);
    a.positive.add(&b.positive);
    a.negative.add(&b.negative);
    total.scale = a.scale;
    total.zero_threshold = a.zero_threshold.max(b.zero_threshold);
    total.zero_count = a.zero_count.wrapping_add(b.zero_count);
    total.positive = a.positive.into_buckets();
    total.negative = a.negative.into_buckets();
    total.count = total.count.wrapping_add(point.count);
    total.sum = total.sum.zip(point.sum).map(|(a, b)| a + b);
    total.min = total.min.zip(point.min).map(|(a, b)| a.min(b));
    total.max = total.max.zip(point.max).map(|(a, b)| a.max(b));
    total.time_unix_nano = point.time_unix_nano;
}

/// A histogram's counts by bucket.
struct Sides {
    scale: i32,
    zero_threshold: f64,
    zero_count: u64,
    positive: Side,
    negative: Side,
}

/// Counts of buckets that follow each other, without empty ones at the ends.
#[derive(Clone, Debug, Default, PartialEq)]
struct Side {
    first: i64,
    counts: Vec<u64>,
}

impl Sides {
    fn of(point: &ExponentialHistogramDataPoint) -> Self {
        Self {
            scale: point.scale,
            zero_threshold: point.zero_threshold,
            zero_count: point.zero_count,
            positive: Side::of(point.positive.as_ref()),
            negative: Side::of(point.negative.as_ref()),
        }
    }

    fn rescale(&mut self, scale: i32) {
        let shift = (i64::from(self.scale) - i64::from(scale)).clamp(0, 63) as u32;
        self.scale = scale;
        if shift > 0 {
            self.positive = self.positive.coarser(shift);
            self.negative = self.negative.coarser(shift);
        }
    }

    /// Whether the sum of two would have too many buckets after `shift` halvings.
    fn is_too_wide_with(&self, other: &Self, shift: i32) -> bool {
        self.positive.width_with(&other.positive, shift) > MAX_BUCKETS
            || self.negative.width_with(&other.negative, shift) > MAX_BUCKETS
    }

    /// Moves what lies below a wider threshold into the zero bucket; the threshold becomes the bound of the last bucket that moved.
    fn widen_zero(&mut self, threshold: f64) {
        if threshold <= self.zero_threshold || !threshold.is_finite() {
            return;
        }
        let last = bucket_of(threshold, self.scale);
        for side in [&mut self.positive, &mut self.negative] {
            self.zero_count = self.zero_count.wrapping_add(side.take_to(last));
        }
        self.zero_threshold = threshold;
    }
}

impl Side {
    fn of(buckets: Option<&Buckets>) -> Self {
        let Some(b) = buckets else {
            return Self::default();
        };
        let side = Self {
            first: i64::from(b.offset),
            counts: b.bucket_counts.clone(),
        };
        side.trimmed()
    }

    fn trimmed(mut self) -> Self {
        while self.counts.last() == Some(&0) {
            self.counts.pop();
        }
        let leading = self.counts.iter().take_while(|n| **n == 0).count();
        self.counts.drain(..leading);
        self.first += leading as i64;
        self
    }

    fn end(&self) -> i64 {
        self.first + self.counts.len() as i64
    }

    /// Two to the `shift` buckets become one.
    fn coarser(&self, shift: u32) -> Self {
        let mut out = Self {
            first: self.first >> shift,
            counts: Vec::new(),
        };
        for (i, n) in self.counts.iter().enumerate() {
            let at = (((self.first + i as i64) >> shift) - out.first) as usize;
            if at >= out.counts.len() {
                out.counts.resize(at + 1, 0);
            }
            out.counts[at] = out.counts[at].wrapping_add(*n);
        }
        out
    }

    fn width_with(&self, other: &Self, shift: i32) -> i64 {
        let shift = shift.clamp(0, 63);
        let used = [self, other].into_iter().filter(|s| !s.counts.is_empty());
        let bounds = used.fold(None, |bounds: Option<(i64, i64)>, s| {
            let (first, last) = (s.first >> shift, (s.end() - 1) >> shift);
            Some(bounds.map_or((first, last), |(a, b)| (a.min(first), b.max(last))))
        });
        bounds.map_or(0, |(first, last)| last - first + 1)
    }

    fn add(&mut self, other: &Self) {
        if other.counts.is_empty() {
            return;
        }
        if self.counts.is_empty() {
            *self = other.clone();
            return;
        }
        let (first, end) = (self.first.min(other.first), self.end().max(other.end()));
        let mut counts = vec![0_u64; (end - first) as usize];
        for side in [&*self, other] {
            for (i, n) in side.counts.iter().enumerate() {
                let at = (side.first - first) as usize + i;
                counts[at] = counts[at].wrapping_add(*n);
            }
        }
        *self = Self { first, counts };
    }

    /// Takes out the buckets up to `last` and returns what they held.
    fn take_to(&mut self, last: i64) -> u64 {
        let taken = (last + 1 - self.first).clamp(0, self.counts.len() as i64) as usize;
        let sum = self.counts.drain(..taken).fold(0, u64::wrapping_add);
        self.first += taken as i64;
        *self = std::mem::take(self).trimmed();
        sum
    }

    fn into_buckets(self) -> Option<Buckets> {
        // The offset was 32 bits wide before and has only come nearer to zero.
        let offset = i32::try_from(self.first).unwrap_or_default();
        (!self.counts.is_empty()).then_some(Buckets {
            offset,
            bucket_counts: self.counts,
        })
    }
}

/// The bucket that a value lies in; its upper bound is in.
fn bucket_of(value: f64, scale: i32) -> i64 {
    let exact = value.log2() * f64::from(scale).exp2();
    exact.ceil() as i64 - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(scale: i32, offset: i32, counts: &[u64]) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            scale,
            count: counts.iter().sum(),
            sum: Some(1.0),
            positive: Some(Buckets {
                offset,
                bucket_counts: counts.to_vec(),
            }),
            ..Default::default()
        }
    }

    fn sum(
        a: &ExponentialHistogramDataPoint,
        b: &ExponentialHistogramDataPoint,
    ) -> ExponentialHistogramDataPoint {
        let mut total = a.clone();
        add(&mut total, b);
        total
    }

    fn positive(p: &ExponentialHistogramDataPoint) -> (i32, &[u64]) {
        let side = p.positive.as_ref();
        side.map_or((0, &[]), |b| (b.offset, &b.bucket_counts))
    }

    #[test]
    fn buckets_add_up_by_their_place() {
        let total = sum(&point(3, -2, &[1, 2]), &point(3, 0, &[0, 4]));
        assert_eq!(positive(&total), (-2, &[1, 2, 0, 4][..]));
        assert_eq!((total.count, total.sum), (7, Some(2.0)));
        assert_eq!(
            positive(&sum(&point(3, 5, &[]), &point(3, 7, &[1]))),
            (7, &[1][..])
        );
        assert_eq!(
            positive(&sum(&point(3, 5, &[0]), &point(3, 7, &[0]))),
            (0, &[][..])
        );
    }

    #[test]
    fn the_coarser_scale_holds() {
        let total = sum(&point(2, -3, &[1, 1, 1, 1]), &point(0, 0, &[5]));
        assert_eq!(total.scale, 0);
        assert_eq!(positive(&total), (-1, &[3, 6][..]));
    }

    #[test]
    fn too_many_buckets_are_merged_whatever_the_distance() {
        let total = sum(&point(0, 0, &[1]), &point(0, 319, &[2]));
        assert_eq!(total.scale, -1);
        assert_eq!(positive(&total).1.len(), 160);
        let total = sum(&point(5, i32::MIN, &[1]), &point(5, i32::MAX, &[2]));
        let (_, counts) = positive(&total);
        assert!(counts.len() <= 160);
        assert_eq!(counts.iter().sum::<u64>(), 3);
    }

    #[test]
    fn the_wider_zero_bucket_takes_what_lies_below_it() {
        let mut wide = point(0, 3, &[1]);
        wide.zero_threshold = 4.0;
        wide.zero_count = 10;
        // Bounds 1, 2, 4, 8: the first two buckets lie within.
        let total = sum(&point(0, 0, &[1, 2, 4]), &wide);
        assert_eq!((total.zero_threshold, total.zero_count), (4.0, 13));
        assert_eq!(positive(&total), (2, &[4, 1][..]));
        assert_eq!(
            (bucket_of(4.0, 0), bucket_of(4.1, 0), bucket_of(0.5, 1)),
            (1, 2, -3)
        );
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost(
            a in proptest::collection::vec(0..9_u64, 0..40), b in proptest::collection::vec(0..9_u64, 0..40),
            first: i32, second: i32, fine in -4..20_i32, coarse in -4..20_i32,
        ) {
            let total = sum(&point(fine, first, &a), &point(coarse, second, &b));
            let all: u64 = a.iter().chain(&b).sum();
            proptest::prop_assert_eq!(positive(&total).1.iter().sum::<u64>(), all);
        }
    }
}
