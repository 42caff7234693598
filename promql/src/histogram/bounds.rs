//! Bucket bounds, and buckets in the order of their bounds.

use std::fmt;

use storage::model::CUSTOM_BUCKETS_SCHEMA;

use super::FloatHistogram;
use crate::number::format_g;

/// One bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether the lower bound is in.
    pub lower_inclusive: bool,
    /// Whether the upper bound is in.
    pub upper_inclusive: bool,
    /// Observations in it.
    pub count: f64,
}

impl Bucket {
    /// The fraction of the bucket below a value within it: linear, or as observations spread evenly over logarithms.
    pub(crate) fn fraction_below(&self, v: f64, linear: bool) -> f64 {
        if linear {
            return (v - self.lower) / (self.upper - self.lower);
        }
        let (lower, upper) = (self.lower.abs().log2(), self.upper.abs().log2());
        let at = v.abs().log2();
        if v > 0.0 {
            (at - lower) / (upper - lower)
        } else {
            1.0 - (at - upper) / (lower - upper)
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.lower_inclusive { '[' } else { '(' };
        let close = if self.upper_inclusive { ']' } else { ')' };
        let (lower, upper) = (format_g(self.lower), format_g(self.upper));
        write!(f, "{open}{lower},{upper}{close}:{}", format_g(self.count))
    }
}

/// Upper bound of an exponential bucket; the outermost one ends at the largest float.
pub(super) fn exponential_bound(index: i32, schema: i32) -> f64 {
    if schema < 0 {
        let exponent = i64::from(index) << -schema;
        return power_of_two(exponent);
    }
    let steps = 1_i64 << schema;
    let (whole, part) = (
        i64::from(index).div_euclid(steps),
        i64::from(index).rem_euclid(steps),
    );
    if part == 0 {
        return power_of_two(whole);
    }
    scale(fraction(part << (8 - schema)), whole + 1)
}

/// The bound at `part` 256ths of the way from 0.5 to 1, as upstream's table holds it: not the nearest float to the power of
/// two but the product of the square roots that `part` is made of, of which the first is one float too small.
fn fraction(part: i64) -> f64 {
    const ROOTS: [f64; 8] = {
        let bits: [u64; 8] = [
            0x3ff6_a09e_667f_3bcc,
            0x3ff3_06fe_0a31_b715,
            0x3ff1_72b8_3c7d_517b,
            0x3ff0_b558_6cf9_890f,
            0x3ff0_59b0_d315_8574,
            0x3ff0_2c9a_3e77_8061,
            0x3ff0_163d_a9fb_3335,
            0x3ff0_0b1a_fa5a_bcbf,
        ];
        let mut roots = [0.0; 8];
        let mut at = 0;
        while at < 8 {
            roots[at] = f64::from_bits(bits[at]);
            at += 1;
        }
        roots
    };
    let taken = ROOTS.iter().enumerate();
    let taken = taken.filter(|(at, _)| part >> (7 - at) & 1 == 1);
    taken.fold(0.5, |product, (_, root)| product * root)
}

fn power_of_two(exponent: i64) -> f64 {
    if exponent == 1024 {
        return f64::MAX;
    }
    scale(1.0, exponent)
}

/// `fraction * 2^exponent`, in two steps so that subnormal results are reached.
fn scale(fraction: f64, exponent: i64) -> f64 {
    let exponent = exponent.clamp(-2200, 2200) as i32;
    let half = exponent / 2;
    fraction * 2_f64.powi(half) * 2_f64.powi(exponent - half)
}

/// Index of the bucket of a coarser schema that contains this one.
pub(super) const fn coarser_index(index: i32, from: i32, to: i32) -> i32 {
    ((index.wrapping_sub(1)) >> (from - to)) + 1
}

impl FloatHistogram {
    /// Upper bound of a positive bucket.
    pub(super) fn bound(&self, index: i32) -> f64 {
        if self.schema != CUSTOM_BUCKETS_SCHEMA {
            return exponential_bound(index, self.schema);
        }
        match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(i) => self.custom_values.get(i).copied().unwrap_or(f64::INFINITY),
        }
    }

    /// A positive (or custom) bucket.
    pub(super) fn positive_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let lower = self.bound(index.wrapping_sub(1));
        Bucket {
            lower,
            upper: self.bound(index),
            lower_inclusive: index == 0 && self.has_custom_buckets(),
            upper_inclusive: true,
            count,
        }
    }

    /// A negative bucket.
    pub(super) fn negative_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        Bucket {
            lower: -self.bound(index),
            upper: -self.bound(index.wrapping_sub(1)),
            lower_inclusive: true,
            upper_inclusive: false,
            count,
        }
    }

    /// The zero bucket, if it holds something.
    pub(super) fn zero_bucket(&self) -> Option<Bucket> {
        (self.zero_count != 0.0).then_some(Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        })
    }

    /// The buckets ascending by their bounds, with the bounds of their schema.
    pub(super) fn listed_buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let negative = self.negative.iter().rev().map(|&b| self.negative_bucket(b));
        let positive = self.positive.iter().map(|&b| self.positive_bucket(b));
        negative.chain(self.zero_bucket()).chain(positive)
    }

    /// The buckets ascending by their bounds, those that reach into the zero bucket cut at its edge.
    /// An empty zero bucket is left out, other empty buckets are not.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let zero = self.zero_threshold;
        let negative = self.negative.iter().rev().map(move |&b| {
            let mut b = self.negative_bucket(b);
            if b.upper < 0.0 && b.upper > -zero {
                b.upper = -zero;
            }
            b
        });
        let positive = self.positive.iter().map(move |&b| {
            let mut b = self.positive_bucket(b);
            if b.lower > 0.0 && b.lower < zero {
                b.lower = zero;
            }
            b
        });
        let zero_bucket = self.zero_bucket().filter(|b| b.count > 0.0);
        negative.chain(zero_bucket).chain(positive)
    }
}
