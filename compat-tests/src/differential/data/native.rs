//! Native histograms that grow, are reset, and change how they are laid out.

use std::collections::BTreeMap;

use super::{float, point, times};
use crate::differential::dice::Dice;
use crate::feed::metrics::{Histogram, Point, PointValue};

/// The schema of custom bounds.
const CUSTOM: i32 = -53;
const BOUNDS: [&[f64]; 3] = [&[0.5, 1.0, 2.5], &[0.5, 1.0, 2.5, 5.0], &[1.0, 2.5, 10.0]];
/// Buckets that hold something now and then.
const INDICES: std::ops::RangeInclusive<i64> = -3..=6;

/// A histogram of absolute counts, by the index of the bucket.
#[derive(Debug, Clone)]
pub(super) struct Native {
    float: bool,
    gauge: bool,
    schema: i32,
    /// Whether empty buckets are listed as well.
    all_buckets: bool,
    /// Which bounds, of a histogram with custom ones, and whether they change.
    bounds: usize,
    changes_bounds: bool,
    zero_threshold: f64,
    zero: f64,
    sum: f64,
    positive: BTreeMap<i64, f64>,
    negative: BTreeMap<i64, f64>,
}

impl Native {
    pub(super) fn integer(dice: &mut Dice) -> Self {
        Self {
            float: false,
            gauge: false,
            schema: *dice.pick(&[-1, 0, 1, 3]),
            all_buckets: false,
            bounds: 0,
            changes_bounds: false,
            zero_threshold: 0.001,
            zero: 0.0,
            sum: 0.0,
            positive: BTreeMap::new(),
            negative: BTreeMap::new(),
        }
    }

    pub(super) fn float(dice: &mut Dice, gauge: bool) -> Self {
        Self {
            float: true,
            gauge,
            ..Self::integer(dice)
        }
    }

    pub(super) fn custom(dice: &mut Dice, changes_bounds: bool) -> Self {
        Self {
            schema: CUSTOM,
            changes_bounds,
            zero_threshold: 0.0,
            ..Self::integer(dice)
        }
    }

    /// Lists empty buckets as well.
    pub(super) fn with_all_buckets(mut self) -> Self {
        self.all_buckets = true;
        self.clear();
        self
    }

    /// A sample each step, now and then none.
    pub(super) fn points(mut self, dice: &mut Dice) -> Vec<Point> {
        let mut out = Vec::new();
        for t_ms in times() {
            self.advance(dice);
            if !dice.chance(2) {
                out.push(point(t_ms, self.value()));
            }
        }
        out
    }

    /// Runs of histograms and runs of floats.
    pub(super) fn mixed(mut self, dice: &mut Dice) -> Vec<Point> {
        let mut is_float = false;
        times()
            .map(|t_ms| {
                self.advance(dice);
                is_float ^= dice.chance(8);
                if is_float {
                    float(t_ms, dice.between(0, 100) as f64)
                } else {
                    point(t_ms, self.value())
                }
            })
            .collect()
    }

    fn clear(&mut self) {
        self.positive.clear();
        self.negative.clear();
        (self.zero, self.sum) = (0.0, 0.0);
        if self.all_buckets {
            let empty = |range: std::ops::RangeInclusive<i64>| range.map(|at| (at, 0.0)).collect();
            if self.schema == CUSTOM {
                self.positive = empty(0..=BOUNDS[self.bounds].len() as i64);
            } else {
                (self.positive, self.negative) = (empty(INDICES), empty(INDICES));
            }
        }
    }

    /// One step: some observations, and rarely a reset or another layout.
    fn advance(&mut self, dice: &mut Dice) {
        if self.gauge || dice.chance(2) {
            self.clear();
        }
        if self.schema != CUSTOM && dice.chance(2) {
            self.clear();
            self.schema = *dice.pick(&[-1, 0, 1, 3]);
            self.zero_threshold = *dice.pick(&[0.0, 0.001, 0.01]);
        }
        if self.changes_bounds && dice.chance(3) {
            self.bounds = dice.below(BOUNDS.len());
            self.clear();
        }
        for _ in 0..dice.below(5) {
            let count = dice.between(1, 6) as f64;
            let count = if self.float { count / 4.0 } else { count };
            self.observe(dice, count);
        }
    }

    fn observe(&mut self, dice: &mut Dice, count: f64) {
        if self.schema == CUSTOM {
            let at = dice.below(BOUNDS[self.bounds].len() + 1) as i64;
            *self.positive.entry(at).or_default() += count;
            self.sum += count * (at + 1) as f64 / 2.0;
            return;
        }
        let at = dice.between(*INDICES.start(), *INDICES.end());
        match dice.below(8) {
            0 => self.zero += count,
            1 => {
                *self.negative.entry(at).or_default() += count;
                self.sum -= count * 1.5;
            }
            _ => {
                *self.positive.entry(at).or_default() += count;
                self.sum += count * 2.25;
            }
        }
    }

    fn value(&self) -> PointValue {
        let (positive_spans, positive) = self.side(&self.positive);
        let (negative_spans, negative) = self.side(&self.negative);
        let all = self.positive.values().chain(self.negative.values());
        PointValue::Histogram(Box::new(Histogram {
            float: self.float,
            schema: self.schema,
            count: self.zero + all.sum::<f64>(),
            sum: self.sum.to_bits(),
            zero_threshold: self.zero_threshold,
            zero_count: self.zero,
            positive_spans,
            positive,
            negative_spans,
            negative,
            custom_values: match self.schema {
                CUSTOM => BOUNDS[self.bounds].to_vec(),
                _ => Vec::new(),
            },
            hint: if self.gauge { 3 } else { 0 },
        }))
    }

    /// Spans, and counts or the deltas of integers.
    fn side(&self, buckets: &BTreeMap<i64, f64>) -> (Vec<(i64, u64)>, Vec<f64>) {
        let (mut spans, mut values): (Vec<(i64, u64)>, Vec<f64>) = (Vec::new(), Vec::new());
        let (mut next, mut before) = (0, 0.0);
        for (index, count) in buckets {
            match spans.last_mut() {
                Some((_, length)) if *index == next => *length += 1,
                _ => spans.push((index - next, 1)),
            }
            next = index + 1;
            values.push(if self.float { *count } else { count - before });
            before = *count;
        }
        (spans, values)
    }
}
