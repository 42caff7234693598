//! `rate`, `increase` and `delta` of plain floats, window by window along one series. Gives the same values, bit by bit, as
//! [`super::change`] does for each window alone, and is quicker: drops are looked for once, and what follows from times
//! alone is computed once for as long as samples and steps keep their distances.

use std::ops::Range;

use super::super::window::Points;
use super::{Change, extrapolated, grown};

/// The windows of one series. They must be asked for in order of time.
pub(crate) struct PlainChange<'a> {
    kind: Change,
    points: Points<'a, f64>,
    range_ms: i64,
    /// Positions of values that are smaller than the one before, and which of them are within the window.
    drops: Vec<usize>,
    within: Range<usize>,
    extrapolation: Extrapolation,
}

/// What the times of a window come to.
#[derive(Clone, Copy, Debug, Default)]
struct Extrapolation {
    times: Times,
    /// Seconds from the start of the range that the change is extrapolated to, unless the counter was at zero later.
    to_start: f64,
    /// Seconds to the end of the range that it is extrapolated to.
    to_end: f64,
    /// Seconds between first and last sample.
    sampled: f64,
    /// By how much the change grows with these.
    factor: f64,
}

/// The times of a window, all in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Times {
    to_start: i64,
    to_end: i64,
    sampled: i64,
    /// Samples less one.
    gaps: usize,
}

impl<'a> PlainChange<'a> {
    pub(crate) fn new(kind: Change, points: Points<'a, f64>, range_ms: i64) -> Self {
        let pairs = points.values.windows(2).enumerate();
        let drops = pairs.filter(|(_, pair)| kind.counter && pair[1] < pair[0]);
        Self {
            kind,
            points,
            range_ms,
            drops: drops.map(|(i, _)| i + 1).collect(),
            within: 0..0,
            extrapolation: Extrapolation::default(),
        }
    }

    /// The value for the samples at these positions, in the range up to a time; none for less than two.
    pub(crate) fn at(&mut self, window: Range<usize>, end_ms: i64) -> Option<f64> {
        let gaps = window.len().checked_sub(1).filter(|n| *n > 0)?;
        let (t, v) = (self.points.t_ms, self.points.values);
        let (first, last) = (window.start, window.end - 1);
        let mut result = v[last] - v[first];
        if !self.drops.is_empty() {
            for at in self.drops_within(&window) {
                result += v[at - 1];
            }
        }
        let times = Times {
            to_start: t[first] - (end_ms - self.range_ms),
            to_end: end_ms - t[last],
            sampled: t[last] - t[first],
            gaps,
        };
        if self.extrapolation.times != times {
            self.extrapolation = Extrapolation::of(times, self.kind, self.range_ms);
        }
        let known = &self.extrapolation;
        Some(result * self.factor(known, v[first], result))
    }

    /// As `known` says, or less where the counter was at zero within the range, as far as can be told.
    fn factor(&self, known: &Extrapolation, first: f64, result: f64) -> f64 {
        let rises = self.kind.counter && result > 0.0 && first >= 0.0;
        // What has grown by no more than what it began with was at zero longer ago than it was looked at.
        let long_ago = first >= result && known.sampled >= known.to_start;
        if !rises || long_ago {
            return known.factor;
        }
        let to_zero = known.sampled * (first / result);
        match to_zero < known.to_start {
            true => known.factor_from(to_zero, self.kind, self.range_ms),
            false => known.factor,
        }
    }

    /// The drops between two samples of the window.
    fn drops_within(&mut self, window: &Range<usize>) -> &[usize] {
        let Range { start, end } = &mut self.within;
        while self.drops.get(*end).is_some_and(|at| *at < window.end) {
            *end += 1;
        }
        while start < end && self.drops[*start] <= window.start {
            *start += 1;
        }
        &self.drops[self.within.clone()]
    }
}

impl Extrapolation {
    fn of(times: Times, kind: Change, range_ms: i64) -> Self {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let sampled = seconds(times.sampled);
        let gap = sampled / times.gaps as f64;
        let to_start = extrapolated(seconds(times.to_start), gap);
        let mut known = Self {
            times,
            to_start,
            to_end: extrapolated(seconds(times.to_end), gap),
            sampled,
            factor: 1.0,
        };
        known.factor = known.factor_from(to_start, kind, range_ms);
        known
    }

    fn factor_from(&self, to_start: f64, kind: Change, range_ms: i64) -> f64 {
        grown(kind, self.sampled, to_start, self.to_end, range_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::annotation::Annotations;
    use crate::functions::rate::change;
    use crate::functions::window::{Remarks, Window};
    use crate::vector::Sample;

    const NONE: Points<'_, std::sync::Arc<crate::histogram::FloatHistogram>> = Points {
        t_ms: &[],
        values: &[],
        start_ms: &[],
    };

    /// Mostly a counter that is scraped steadily.
    fn samples() -> impl Strategy<Value = Vec<(i64, f64)>> {
        let gap = prop_oneof![9 => Just(15_000_i64), 1 => 1_i64..100_000];
        let step = prop_oneof![
            8 => 0.0..50.0,
            1 => -500.0..0.0,
            1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-1e9), Just(1e300)],
        ];
        proptest::collection::vec((gap, step), 0..60).prop_map(|steps| {
            let (mut t, mut v) = (1_000_000, 10.0);
            let next = |(gap, step): (i64, f64)| {
                t += gap;
                v = if f64::is_finite(v + step) {
                    v + step
                } else {
                    3.0
                };
                (t, if step.is_finite() { v } else { step })
            };
            steps.into_iter().map(next).collect()
        })
    }

    proptest! {
        #[test]
        fn a_window_of_many_has_the_value_it_has_alone(
            samples in samples(),
            range_ms in prop_oneof![Just(60_000_i64), 1_i64..400_000],
            step_ms in prop_oneof![Just(15_000_i64), 1_i64..200_000],
            counter: bool,
            per_second: bool,
        ) {
            let kind = Change { counter, per_second };
            let (t_ms, values): (Vec<i64>, Vec<f64>) = samples.into_iter().unzip();
            let all = Points { t_ms: &t_ms, values: &values, start_ms: &[] };
            let mut plain = PlainChange::new(kind, all, range_ms);
            for step in 0..60 {
                let end_ms = 1_000_000 + step * step_ms;
                let from = t_ms.partition_point(|t| *t <= end_ms - range_ms);
                let to = t_ms.partition_point(|t| *t <= end_ms);
                let floats = Points { t_ms: &t_ms[from..to], values: &values[from..to], start_ms: &[] };
                let window = Window {
                    t_ms: end_ms,
                    start_ms: end_ms - range_ms,
                    end_ms,
                    floats,
                    histograms: NONE,
                    anchored: false,
                    smoothed: false,
                };
                let mut annotations = Annotations::default();
                let mut remarks = Remarks { annotations: &mut annotations, position: 0, metric: "" };
                let alone = change(kind, &window, &mut remarks).map(|s| match s {
                    Sample::Float(v) => v.to_bits(),
                    Sample::Histogram(_) => 0,
                });
                let together = plain.at(from..to, end_ms).map(f64::to_bits);
                prop_assert_eq!(together, alone, "{}..{}", from, to);
            }
        }
    }
}
