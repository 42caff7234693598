//! Range selectors under a function: a window slides over the samples of one series.

use std::sync::Arc;

use storage::model::{Labels, METRIC_NAME};

use super::super::{Budget, EvalError, EvalOptions, MatrixSeries};
use super::Scratch;
use super::stage::Steps;
use crate::annotation::{Annotations, Note};
use crate::functions::window::{Drops, Points, Remarks, Window};
use crate::functions::{Func, extended, range};
use crate::vector::{Grid, StepSeries, is_present, without_metric};

/// A function over a range, or a range by itself.
#[derive(Clone, Debug)]
pub(crate) struct RangeLeaf {
    pub(crate) func: Func,
    pub(crate) range_ms: i64,
    pub(crate) at_ms: Option<i64>,
    pub(crate) offset_ms: i64,
    pub(crate) anchored: bool,
    pub(crate) smoothed: bool,
    /// Whether it stands in a subquery.
    pub(crate) inner: bool,
    /// Whether it reads stored samples rather than the steps of a subquery.
    pub(crate) stored: bool,
    /// First byte of the range in the query.
    pub(crate) position: usize,
}

/// Part of a column that a window covers.
#[derive(Clone, Copy, Default)]
struct Slide {
    from: usize,
    to: usize,
}

impl Slide {
    /// Moves on to the samples after `min_ms` (or from it on) up to `max_ms`. Both only grow.
    fn advance(&mut self, t_ms: &[i64], min_ms: i64, max_ms: i64, closed: bool) {
        while t_ms.get(self.to).is_some_and(|t| *t <= max_ms) {
            self.to += 1;
        }
        let before = |t: i64| if closed { t < min_ms } else { t <= min_ms };
        while self.from < self.to && before(t_ms[self.from]) {
            self.from += 1;
        }
    }

    /// Moves on to the drops between two samples of a window, which moved on as well.
    fn drops_within<'a>(&mut self, all: &'a [usize], window: Self) -> &'a [usize] {
        while all.get(self.to).is_some_and(|at| *at < window.to) {
            self.to += 1;
        }
        while self.from < self.to && all[self.from] <= window.from {
            self.from += 1;
        }
        &all[self.from..self.to]
    }

    fn cut<'a, V>(&self, points: &Points<'a, V>, with_starts: bool) -> Points<'a, V> {
        let starts = if with_starts { points.start_ms } else { &[] };
        Points {
            t_ms: &points.t_ms[self.from..self.to],
            values: &points.values[self.from..self.to],
            start_ms: starts.get(self.from..self.to).unwrap_or(&[]),
        }
    }
}

/// Positions of values that are smaller than the one before.
fn drops_of(values: &[f64]) -> Vec<usize> {
    let pairs = values.windows(2).enumerate();
    let drops = pairs.filter(|(_, pair)| pair[1] < pair[0]);
    drops.map(|(i, _)| i + 1).collect()
}

impl RangeLeaf {
    /// End of the range that a step looks at.
    pub(crate) fn end_ms(&self, grid: &Grid, step: usize) -> i64 {
        self.at_ms.unwrap_or_else(|| grid.at(step)) - self.offset_ms
    }

    /// How far beyond the two ends of the range samples are needed.
    pub(crate) const fn margins(&self, lookback_ms: i64) -> (i64, i64) {
        match (self.anchored, self.smoothed) {
            (_, true) => (lookback_ms, lookback_ms),
            (true, false) => (lookback_ms, 0),
            (false, false) => (0, 0),
        }
    }

    /// The function's values. `drop_name`: the samples come from a series whose name is to go.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of an evaluation, borrowed apart"
    )]
    pub(crate) fn series(
        &self,
        labels: &Labels,
        drop_name: bool,
        samples: &Scratch,
        params: &[Steps],
        grid: &Grid,
        options: &EvalOptions,
        annotations: &mut Annotations,
        budget: &mut Budget,
    ) -> Result<Option<StepSeries>, EvalError> {
        let keeps_name = matches!(self.func, Func::LastOverTime | Func::FirstOverTime);
        let drop_name = drop_name || !keeps_name;
        let with_starts = options.use_start_timestamps
            && matches!(
                self.func,
                Func::Rate | Func::Irate | Func::Increase | Func::Resets
            );
        let (floats, histograms) = (samples.floats(), samples.histograms());
        let (mut f, mut h) = (Slide::default(), Slide::default());
        let drops = match self.func {
            Func::Rate | Func::Increase if floats.start_ms.is_empty() || !with_starts => {
                Some(drops_of(floats.values))
            }
            _ => None,
        };
        let mut drops_slide = Slide::default();
        let margins = self.margins(options.lookback_ms);
        let metric = labels.get(METRIC_NAME).unwrap_or("");
        let mut remarks = Remarks {
            annotations,
            position: self.position,
            metric,
        };
        let mut out: Option<StepSeries> = None;
        let mut at_step = vec![0.0; params.len()];
        // Samples before these are in an earlier window already.
        let (mut floats_read, mut histograms_read) = (0, 0);
        for step in 0..grid.steps {
            let end_ms = self.end_ms(grid, step);
            let start_ms = end_ms - self.range_ms;
            let (min_ms, max_ms) = (start_ms - margins.0, end_ms + margins.1);
            f.advance(floats.t_ms, min_ms, max_ms, options.closed_ranges);
            h.advance(histograms.t_ms, min_ms, max_ms, options.closed_ranges);
            if f.from == f.to && h.from == h.to {
                continue;
            }
            let drops = drops.as_deref().map(|all| Drops {
                at: drops_slide.drops_within(all, f),
                from: f.from,
            });
            let window = Window {
                t_ms: grid.at(step),
                start_ms,
                end_ms,
                floats: f.cut(&floats, with_starts),
                drops,
                histograms: h.cut(&histograms, with_starts),
                anchored: self.anchored,
                smoothed: self.smoothed,
            };
            let sizes = window.histograms.values.iter().map(|h| h.size_in_samples());
            let looked_at = window.floats.len() + sizes.sum::<usize>();
            budget.looked_at(step, grid, looked_at, self.inner);
            budget.note(looked_at)?;
            if self.stored {
                let new = histograms_read.max(h.from)..h.to;
                let new_histograms = histograms.values[new].iter().map(|h| h.size_in_samples());
                budget.read(f.to - floats_read.max(f.from) + new_histograms.sum::<usize>());
                (floats_read, histograms_read) = (f.to, h.to);
            }
            for (value, param) in at_step.iter_mut().zip(params) {
                *value = param.get(step);
            }
            let value = range::call(self.func, &at_step, &window, &mut remarks)
                .map_err(EvalError::Execution)?;
            if let Some(sample) = value {
                out.get_or_insert_with(|| {
                    let labels = if drop_name && !options.delayed_name_removal {
                        without_metric(labels)
                    } else {
                        labels.clone()
                    };
                    StepSeries::absent(labels, grid.steps)
                })
                .set(step, sample);
            }
        }
        if let Some(out) = &mut out {
            out.drop_name = drop_name;
            self.remark_non_counter(out, labels, options, &mut remarks);
        }
        Ok(out)
    }

    /// Says so where a function for counters is applied to what is probably none.
    fn remark_non_counter(
        &self,
        out: &StepSeries,
        labels: &Labels,
        options: &EvalOptions,
        remarks: &mut Remarks<'_>,
    ) {
        let metric = remarks.metric;
        if !matches!(self.func, Func::Rate | Func::Increase) || metric.is_empty() {
            return;
        }
        let mut floats = out.values.iter().enumerate();
        if !floats.any(|(i, v)| is_present(*v) && out.histogram(i).is_none()) {
            return;
        }
        if options.type_and_unit_labels {
            let type_label = labels.get("__type__").unwrap_or("");
            if !matches!(type_label, "counter" | "histogram") {
                remarks.add(&Note::PossibleNonCounterType { metric, type_label });
            }
        } else if !["_total", "_sum", "_count", "_bucket"]
            .iter()
            .any(|end| metric.ends_with(end))
        {
            remarks.add(&Note::PossibleNonCounter(metric));
        }
    }

    /// The samples of the range at the only step.
    ///
    /// # Errors
    /// Where an `anchored` or `smoothed` range holds histograms.
    pub(super) fn raw(
        &self,
        labels: &Labels,
        samples: &Scratch,
        grid: &Grid,
        options: &EvalOptions,
    ) -> Result<Option<MatrixSeries>, EvalError> {
        let end_ms = self.end_ms(grid, 0);
        let start_ms = end_ms - self.range_ms;
        let margins = self.margins(options.lookback_ms);
        let (floats, histograms) = (samples.floats(), samples.histograms());
        let (mut f, mut h) = (Slide::default(), Slide::default());
        let (min_ms, max_ms) = (start_ms - margins.0, end_ms + margins.1);
        f.advance(floats.t_ms, min_ms, max_ms, options.closed_ranges);
        h.advance(histograms.t_ms, min_ms, max_ms, options.closed_ranges);
        let window = Window {
            t_ms: end_ms,
            start_ms,
            end_ms,
            floats: f.cut(&floats, false),
            drops: None,
            histograms: h.cut(&histograms, false),
            anchored: self.anchored,
            smoothed: self.smoothed,
        };
        let copy = |i: usize| (window.floats.t_ms[i], window.floats.values[i]);
        let mut series = MatrixSeries {
            labels: labels.clone(),
            ..MatrixSeries::default()
        };
        if self.anchored || self.smoothed {
            if !window.histograms.is_empty() {
                let word = if self.anchored {
                    "anchored"
                } else {
                    "smoothed"
                };
                return Err(EvalError::Execution(format!(
                    "{word} modifier is not supported with histograms"
                )));
            }
            if let Some(ends) = extended::ends(&window.floats, &window) {
                let (left, right) = extended::float_ends(&window.floats, &window, ends, false);
                series.floats.push((start_ms, left));
                let inside = extended::inside(&window.floats, &window, ends);
                series.floats.extend(inside.map(copy));
                series.floats.push((end_ms, right));
            }
        } else {
            series.floats.extend((0..window.floats.len()).map(copy));
            let points = window.histograms.iter();
            series
                .histograms
                .extend(points.map(|(t, h)| (t, Arc::clone(h))));
        }
        let empty = series.floats.is_empty() && series.histograms.is_empty();
        Ok((!empty).then_some(series))
    }
}
