//! Instant selectors: the newest sample at each step.

use std::sync::Arc;

use storage::model::{Labels, METRIC_NAME, ResetHint, is_stale};

use super::super::budget::Tally;
use super::super::{EvalError, EvalOptions};
use super::Scratch;
use crate::annotation::{Annotations, Note};
use crate::functions::extended::{between, interpolate};
use crate::histogram::IncompatibleBuckets;
use crate::vector::{Grid, Sample, StepSeries, without_metric};

/// What is taken of the sample that is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// The sample.
    Sample,
    /// Its time in seconds.
    Time,
    /// Its start timestamp in seconds.
    Start,
    /// Its time in milliseconds; histograms are none of those.
    Millis,
    /// A value between the samples around the step.
    Smoothed,
}

/// An instant selector.
#[derive(Clone, Debug)]
pub(crate) struct InstantLeaf {
    pub(crate) at_ms: Option<i64>,
    pub(crate) offset_ms: i64,
    pub(crate) take: Take,
    /// Whether it stands in a subquery.
    pub(crate) inner: bool,
    /// First byte of the selector in the query.
    pub(crate) position: usize,
}

impl InstantLeaf {
    /// The moment that a step looks at.
    pub(crate) fn moment(&self, grid: &Grid, step: usize) -> i64 {
        self.at_ms.unwrap_or_else(|| grid.at(step)) - self.offset_ms
    }

    pub(super) fn series(
        &self,
        labels: &Labels,
        samples: &Scratch,
        grid: &Grid,
        options: &EvalOptions,
        annotations: &mut Annotations,
        tally: &mut Tally,
    ) -> Result<Option<StepSeries>, EvalError> {
        let mut out = StepSeries::absent(labels.clone(), grid.steps);
        let mut any = false;
        let mut next = 0;
        for step in 0..grid.steps {
            let moment = self.moment(grid, step);
            while samples.t_ms.get(next).is_some_and(|t| *t <= moment) {
                next += 1;
            }
            if self.take == Take::Smoothed {
                let sample = smoothed(
                    samples,
                    moment,
                    options.lookback_ms,
                    |note| {
                        annotations.add(note, self.position);
                    },
                    labels,
                );
                if let Some(sample) = sample {
                    out.set(step, sample);
                    any = true;
                }
                continue;
            }
            let Some(i) = next.checked_sub(1) else {
                continue;
            };
            let age = moment.saturating_sub(samples.t_ms[i]);
            let too_old = if options.closed_ranges {
                age > options.lookback_ms
            } else {
                age >= options.lookback_ms
            };
            if too_old || is_stale(samples.values[i]) {
                continue;
            }
            let histogram = samples.histograms.get(i).and_then(Option::as_ref);
            let sample = match (self.take, histogram) {
                (Take::Time, _) => Sample::Float(samples.t_ms[i] as f64 / 1000.0),
                (Take::Start, _) => {
                    let start = samples.start_ms.get(i).copied().unwrap_or(0);
                    Sample::Float(start as f64 / 1000.0)
                }
                (Take::Millis, Some(_)) => {
                    return Err(EvalError::Execution(format!(
                        "this should be an info metric, with float samples: {labels}"
                    )));
                }
                (Take::Millis, None) => Sample::Float(samples.t_ms[i] as f64),
                (_, Some(h)) => Sample::Histogram(Arc::clone(h)),
                (_, None) => Sample::Float(samples.values[i]),
            };
            let size = match &sample {
                Sample::Float(_) => 1,
                Sample::Histogram(h) => h.size_in_samples(),
            };
            tally.looked_at(step, grid, size, self.inner);
            tally.read(size);
            out.set(step, sample);
            any = true;
        }
        if matches!(self.take, Take::Time | Take::Start) {
            out.drop_name = true;
            if !options.delayed_name_removal {
                out.labels = without_metric(&out.labels);
            }
        }
        Ok(any.then_some(out))
    }
}

/// The value at a moment: a sample's, or between the two around it, or the one before where none follows.
fn smoothed(
    samples: &Scratch,
    moment: i64,
    lookback_ms: i64,
    mut remark: impl FnMut(&Note<'_>),
    labels: &Labels,
) -> Option<Sample> {
    let within = |t: &[i64]| {
        t.partition_point(|t| *t <= moment - lookback_ms)
            ..t.partition_point(|t| *t <= moment + lookback_ms)
    };
    let (floats, histograms) = (samples.floats(), samples.histograms());
    let (f, h) = (within(floats.t_ms), within(histograms.t_ms));
    let metric = labels.get(METRIC_NAME).unwrap_or("");
    if !f.is_empty() && !h.is_empty() {
        remark(&Note::MixedFloatsHistograms(metric));
        return None;
    }
    if h.is_empty() {
        let (t, v) = (&floats.t_ms[f.clone()], &floats.values[f]);
        let i = t.partition_point(|t| *t < moment);
        return match (t.get(i), i) {
            (Some(exact), _) if *exact == moment => Some(Sample::Float(v[i])),
            (_, 0) => None,
            (Some(_), _) => {
                let value = interpolate((t[i - 1], v[i - 1]), (t[i], v[i]), moment, false);
                Some(Sample::Float(value))
            }
            (None, _) => Some(Sample::Float(v[i - 1])),
        };
    }
    let (t, v) = (&histograms.t_ms[h.clone()], &histograms.values[h]);
    let i = t.partition_point(|t| *t < moment);
    match (t.get(i), i) {
        (Some(exact), _) if *exact == moment => Some(Sample::Histogram(Arc::clone(&v[i]))),
        (_, 0) => None,
        (Some(_), _) => {
            let (a, b) = (&v[i - 1], &v[i]);
            if a.has_custom_buckets() != b.has_custom_buckets() {
                remark(&Note::MixedExponentialCustom(metric));
                return None;
            }
            let counter = a.reset_hint != ResetHint::Gauge || b.reset_hint != ResetHint::Gauge;
            let mut reconciled = Vec::new();
            let result = between((t[i - 1], a), (t[i], b), moment, counter, &mut |c, op| {
                if c.bounds_reconciled {
                    reconciled.push(op);
                }
            });
            for operation in reconciled {
                remark(&Note::BoundsReconciled(operation));
            }
            match result {
                Ok(h) => Some(Sample::Histogram(Arc::new(h))),
                Err(IncompatibleBuckets) => {
                    remark(&Note::MixedExponentialCustom(metric));
                    None
                }
            }
        }
        (None, _) => {
            let mut h = v[i - 1].as_ref().clone();
            h.reset_hint = ResetHint::Unknown;
            Some(Sample::Histogram(Arc::new(h)))
        }
    }
}
