//! Range selectors under a function: a window slides over the samples of one series.

use std::sync::Arc;

use storage::model::{Labels, METRIC_NAME};

use super::super::budget::Tally;
use super::super::{EvalError, EvalOptions, MatrixSeries};
use super::Scratch;
use super::stage::Steps;
use crate::annotation::{Annotations, Note};
use crate::functions::rate::PlainChange;
use crate::functions::window::{Points, Remarks, Window};
use crate::functions::{Func, extended, range};
use crate::histogram::FloatHistogram;
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

    fn cut<'a, V>(&self, points: &Points<'a, V>, with_starts: bool) -> Points<'a, V> {
        let starts = if with_starts { points.start_ms } else { &[] };
        Points {
            t_ms: &points.t_ms[self.from..self.to],
            values: &points.values[self.from..self.to],
            start_ms: starts.get(self.from..self.to).unwrap_or(&[]),
        }
    }
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
        tally: &mut Tally,
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
        let margins = self.margins(options.lookback_ms);
        let metric = labels.get(METRIC_NAME).unwrap_or("");
        let mut remarks = Remarks {
            annotations,
            position: self.position,
            metric,
        };
        let result_labels = || match drop_name && !options.delayed_name_removal {
            true => without_metric(labels),
            false => labels.clone(),
        };
        let mut out: Option<StepSeries> = None;
        let mut at_step = vec![0.0; params.len()];
        let steps = match self.plain_change(&floats, &histograms, with_starts) {
            Some(mut plain) => {
                out =
                    self.plain_steps(&mut plain, floats.t_ms, grid, options, tally, result_labels);
                0..0
            }
            None => 0..grid.steps,
        };
        // Samples before these are in an earlier window already.
        let (mut floats_read, mut histograms_read) = (0, 0);
        for step in steps {
            let end_ms = self.end_ms(grid, step);
            let start_ms = end_ms - self.range_ms;
            let (min_ms, max_ms) = (start_ms - margins.0, end_ms + margins.1);
            f.advance(floats.t_ms, min_ms, max_ms, options.closed_ranges);
            h.advance(histograms.t_ms, min_ms, max_ms, options.closed_ranges);
            if f.from == f.to && h.from == h.to {
                continue;
            }
            let window = Window {
                t_ms: grid.at(step),
                start_ms,
                end_ms,
                floats: f.cut(&floats, with_starts),
                histograms: h.cut(&histograms, with_starts),
                anchored: self.anchored,
                smoothed: self.smoothed,
            };
            let sizes = window.histograms.values.iter().map(|h| h.size_in_samples());
            let looked_at = window.floats.len() + sizes.sum::<usize>();
            tally.looked_at(step, grid, looked_at, self.inner);
            tally.note(looked_at);
            if self.stored {
                let new = histograms_read.max(h.from)..h.to;
                let new_histograms = histograms.values[new].iter().map(|h| h.size_in_samples());
                tally.read(f.to - floats_read.max(f.from) + new_histograms.sum::<usize>());
                (floats_read, histograms_read) = (f.to, h.to);
            }
            for (value, param) in at_step.iter_mut().zip(params) {
                *value = param.get(step);
            }
            let value = range::call(self.func, &at_step, &window, &mut remarks)
                .map_err(EvalError::Execution)?;
            if let Some(sample) = value {
                out.get_or_insert_with(|| StepSeries::absent(result_labels(), grid.steps))
                    .set(step, sample);
            }
        }
        if let Some(out) = &mut out {
            out.drop_name = drop_name;
            self.remark_non_counter(out, labels, options, &mut remarks);
        }
        Ok(out)
    }

    /// The windows of a series that has nothing but floats, for a function that tells their change.
    fn plain_change<'a>(
        &self,
        floats: &Points<'a, f64>,
        histograms: &Points<'a, Arc<FloatHistogram>>,
        with_starts: bool,
    ) -> Option<PlainChange<'a>> {
        let kind = range::change_of(self.func)?;
        let is_plain = histograms.is_empty()
            && !self.anchored
            && !self.smoothed
            && (floats.start_ms.is_empty() || !with_starts);
        is_plain.then(|| PlainChange::new(kind, *floats, self.range_ms))
    }

    fn plain_steps(
        &self,
        change: &mut PlainChange<'_>,
        t_ms: &[i64],
        grid: &Grid,
        options: &EvalOptions,
        tally: &mut Tally,
        labels: impl Fn() -> Labels,
    ) -> Option<StepSeries> {
        let mut out: Option<StepSeries> = None;
        let (mut slide, mut read) = (Slide::default(), 0);
        for step in 0..grid.steps {
            let end_ms = self.end_ms(grid, step);
            let start_ms = end_ms - self.range_ms;
            slide.advance(t_ms, start_ms, end_ms, options.closed_ranges);
            let Slide { from, to } = slide;
            if from == to {
                continue;
            }
            tally.looked_at(step, grid, to - from, self.inner);
            tally.note(to - from);
            if self.stored {
                tally.read(to - from.max(read));
                read = to;
            }
            if let Some(value) = change.at(from..to, end_ms) {
                out.get_or_insert_with(|| StepSeries::absent(labels(), grid.steps))
                    .values[step] = value;
            }
        }
        out
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
