//! Vectors over steps: what an expression evaluates to, one series at a time, for all steps of a
//! query at once.
//!
//! Invariant: every series of a vector has as many values as the grid has steps. A step without a
//! sample holds [`ABSENT`]; a step whose sample is a histogram holds 0 there and the histogram
//! beside it.

pub mod aggregate;
pub mod binary;
pub mod matching;
pub mod output;
pub mod select;

use std::sync::Arc;

use storage::model::{Labels, METRIC_NAME, STALE_NAN, is_stale};

use crate::histogram::FloatHistogram;

/// Stands for "no sample at this step". It is the staleness marker, which no expression yields.
pub const ABSENT: f64 = STALE_NAN;

/// Whether a step holds a sample.
#[must_use]
#[inline]
pub const fn is_present(value: f64) -> bool {
    !is_stale(value)
}

/// The times at which an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// First step in milliseconds.
    pub start_ms: i64,
    /// Milliseconds between steps; at least 1.
    pub step_ms: i64,
    /// Number of steps; zero where the end lies before the start.
    pub steps: usize,
    /// Moment up to which was asked; the last step may lie before it.
    pub end_ms: i64,
}

impl Grid {
    /// The steps from a start to an end, both in where they fall on a step.
    #[must_use]
    pub fn new(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let step_ms = step_ms.max(1);
        let steps = if end_ms < start_ms {
            0
        } else {
            (end_ms.saturating_sub(start_ms) / step_ms) as usize + 1
        };
        Self {
            start_ms,
            step_ms,
            steps,
            end_ms,
        }
    }

    /// A single step.
    #[must_use]
    pub const fn instant(t_ms: i64, step_ms: i64) -> Self {
        Self {
            start_ms: t_ms,
            step_ms,
            steps: 1,
            end_ms: t_ms,
        }
    }

    /// Whether more than one moment was asked for, be there a second step or not.
    #[must_use]
    pub const fn is_range(&self) -> bool {
        self.start_ms != self.end_ms
    }

    /// Time of a step.
    #[must_use]
    #[inline]
    pub const fn at(&self, step: usize) -> i64 {
        self.start_ms + self.step_ms * step as i64
    }

    /// Time of the last step; the start where there is none.
    #[must_use]
    pub const fn last_ms(&self) -> i64 {
        self.at(self.steps.saturating_sub(1))
    }
}

/// A sample's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// One series over all steps.
#[derive(Clone, Debug, Default)]
pub struct StepSeries {
    /// Its labels.
    pub labels: Labels,
    /// Whether the metric's name is to be dropped at the end, where that is delayed.
    pub drop_name: bool,
    /// A value per step.
    pub values: Vec<f64>,
    /// A histogram per step, or empty where the series has none at all.
    pub histograms: Vec<Option<Arc<FloatHistogram>>>,
}

impl StepSeries {
    /// A series without samples.
    #[must_use]
    pub fn absent(labels: Labels, steps: usize) -> Self {
        Self {
            labels,
            drop_name: false,
            values: vec![ABSENT; steps],
            histograms: Vec::new(),
        }
    }

    /// The sample at a step.
    #[must_use]
    pub fn get(&self, step: usize) -> Option<Sample> {
        let value = *self.values.get(step)?;
        if let Some(Some(h)) = self.histograms.get(step) {
            return Some(Sample::Histogram(Arc::clone(h)));
        }
        is_present(value).then_some(Sample::Float(value))
    }

    /// The histogram at a step, if that sample is one.
    #[must_use]
    pub fn histogram(&self, step: usize) -> Option<&Arc<FloatHistogram>> {
        self.histograms.get(step).and_then(Option::as_ref)
    }

    /// Whether a step holds a sample.
    #[must_use]
    #[inline]
    pub fn has(&self, step: usize) -> bool {
        is_present(self.values[step])
    }

    /// Puts a sample at a step.
    pub fn set(&mut self, step: usize, sample: Sample) {
        match sample {
            Sample::Float(v) => {
                self.values[step] = v;
                if let Some(h) = self.histograms.get_mut(step) {
                    *h = None;
                }
            }
            Sample::Histogram(h) => {
                if self.histograms.is_empty() {
                    self.histograms.resize(self.values.len(), None);
                }
                self.values[step] = 0.0;
                self.histograms[step] = Some(h);
            }
        }
    }

    /// Removes the sample at a step.
    pub fn remove(&mut self, step: usize) {
        self.values[step] = ABSENT;
        if let Some(h) = self.histograms.get_mut(step) {
            *h = None;
        }
    }

    /// Whether no step holds a sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.values.iter().copied().any(is_present)
    }

    /// How many float samples the series counts as, for limits and statistics.
    #[must_use]
    pub fn size_in_samples(&self) -> usize {
        let present = self.values.iter().filter(|v| is_present(**v)).count();
        let histograms = self.histograms.iter().flatten();
        present + histograms.map(|h| h.size_in_samples() - 1).sum::<usize>()
    }
}

/// Labels without those that describe the metric: its name, type and unit.
#[must_use]
pub fn without_metric(labels: &Labels) -> Labels {
    labels.without(&[METRIC_NAME, "__type__", "__unit__"])
}

/// Which labels tell groups apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    names: Vec<String>,
    without: bool,
}

impl Grouping {
    /// `by (names)` or, with `without`, `without (names)`.
    #[must_use]
    pub fn new(names: &[String], without: bool) -> Self {
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        Self { names, without }
    }

    /// The labels of the group that a series belongs to.
    #[must_use]
    pub fn labels(&self, series: &Labels) -> Labels {
        let listed = |name: &str| self.names.iter().any(|n| n == name);
        if self.without {
            Labels::from_sorted(
                series
                    .iter()
                    .filter(|(name, _)| *name != METRIC_NAME && !listed(name)),
            )
        } else if self.names.is_empty() {
            Labels::empty()
        } else {
            Labels::from_sorted(series.iter().filter(|(name, _)| listed(name)))
        }
    }
}
