//! Functions and operators that treat every sample of a vector by itself.

use std::sync::Arc;

use storage::model::METRIC_NAME;

use super::super::EvalOptions;
use crate::annotation::Annotations;
use crate::functions::math;
use crate::histogram::FloatHistogram;
use crate::vector::binary::{Operator, apply};
use crate::vector::{ABSENT, Grid, Sample, StepSeries, is_present, without_metric};

/// A number per step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Steps {
    /// The same at each step.
    Const(f64),
    /// One for each step.
    Each(Vec<f64>),
}

impl Steps {
    #[inline]
    pub(crate) fn get(&self, step: usize) -> f64 {
        match self {
            Self::Const(v) => *v,
            Self::Each(values) => values.get(step).copied().unwrap_or(f64::NAN),
        }
    }

    pub(crate) fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Const(v) => Self::Const(f(*v)),
            Self::Each(values) => Self::Each(values.iter().map(|v| f(*v)).collect()),
        }
    }

    pub(crate) fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        match (self, other) {
            (Self::Const(a), Self::Const(b)) => Self::Const(f(*a, *b)),
            (Self::Each(values), _) => {
                let each = values.iter().enumerate();
                Self::Each(each.map(|(i, v)| f(*v, other.get(i))).collect())
            }
            (Self::Const(a), Self::Each(values)) => {
                Self::Each(values.iter().map(|v| f(*a, *v)).collect())
            }
        }
    }
}

/// A number that a histogram is summed up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    Count,
    Sum,
    Avg,
    Stddev,
    Stdvar,
}

impl Figure {
    fn of(self, h: &FloatHistogram) -> f64 {
        match self {
            Self::Count => h.count,
            Self::Sum => h.sum,
            Self::Avg => h.sum / h.count,
            Self::Stddev => h.variance().sqrt(),
            Self::Stdvar => h.variance(),
        }
    }
}

/// What is done to a sample.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MapOp {
    Negate,
    /// A function of floats.
    Value(fn(f64) -> f64),
    /// Between the first and the second scalar.
    Clamp,
    /// To multiples of the scalar.
    Round,
    /// A figure of histograms.
    Figure(Figure),
    /// The time of the step.
    Timestamp,
    /// An operator with the scalar, which stands on the left where `swapped`.
    Binary {
        op: Operator,
        swapped: bool,
        bool_modifier: bool,
    },
}

impl MapOp {
    /// Whether the name of the metric goes.
    pub(crate) const fn drops_name(self) -> bool {
        match self {
            Self::Binary {
                op, bool_modifier, ..
            } => op.changes_metric() || bool_modifier,
            _ => true,
        }
    }
}

/// An operation with its scalars.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) op: MapOp,
    pub(crate) scalars: Vec<Steps>,
    /// First byte of the operation in the query.
    pub(crate) position: usize,
}

impl Stage {
    /// The series after the operation; `None` where nothing is left.
    pub(crate) fn apply(
        &self,
        mut series: StepSeries,
        grid: &Grid,
        options: &EvalOptions,
        annotations: &mut Annotations,
    ) -> Option<StepSeries> {
        if self.op.drops_name() {
            series.drop_name = true;
            if !options.delayed_name_removal {
                series.labels = if matches!(self.op, MapOp::Figure(_)) {
                    series.labels.without(&[METRIC_NAME])
                } else {
                    without_metric(&series.labels)
                };
            }
        }
        match self.op {
            MapOp::Binary {
                op,
                swapped,
                bool_modifier,
            } => self.binary(&mut series, op, swapped, bool_modifier, annotations),
            MapOp::Negate => {
                for step in 0..series.values.len() {
                    match series.histogram(step) {
                        Some(h) => {
                            let mut h = h.as_ref().clone();
                            h.multiply(-1.0);
                            series.set(step, Sample::Histogram(Arc::new(h)));
                        }
                        None if series.has(step) => series.values[step] = -series.values[step],
                        None => {}
                    }
                }
            }
            MapOp::Figure(figure) => {
                for step in 0..series.values.len() {
                    series.values[step] = series.histogram(step).map_or(ABSENT, |h| figure.of(h));
                }
                series.histograms = Vec::new();
            }
            MapOp::Timestamp => {
                for step in 0..series.values.len() {
                    if series.has(step) {
                        series.values[step] = grid.at(step) as f64 / 1000.0;
                    }
                }
                series.histograms = Vec::new();
            }
            MapOp::Value(f) => floats(&mut series, |_, v| f(v)),
            MapOp::Clamp => floats(&mut series, |step, v| {
                let (low, high) = (self.scalars[0].get(step), self.scalars[1].get(step));
                if high < low {
                    ABSENT
                } else {
                    math::clamp(v, low, high)
                }
            }),
            MapOp::Round => floats(&mut series, |step, v| {
                math::round(v, self.scalars[0].get(step))
            }),
        }
        (!series.is_empty()).then_some(series)
    }

    fn binary(
        &self,
        series: &mut StepSeries,
        op: Operator,
        swapped: bool,
        bool_modifier: bool,
        annotations: &mut Annotations,
    ) {
        let scalar = &self.scalars[0];
        let trims = matches!(op, Operator::TrimLower | Operator::TrimUpper);
        if series.histograms.is_empty() && !trims {
            for (step, value) in series.values.iter_mut().enumerate() {
                if !is_present(*value) {
                    continue;
                }
                let (v, s) = (*value, scalar.get(step));
                let (l, r) = if swapped { (s, v) } else { (v, s) };
                *value = if !op.is_comparison() {
                    op.arithmetic(l, r)
                } else if bool_modifier {
                    op.scalar(l, r)
                } else if op.compare(l, r) {
                    v
                } else {
                    ABSENT
                };
            }
            return;
        }
        for step in 0..series.values.len() {
            let Some(own) = series.get(step) else {
                continue;
            };
            let other = Sample::Float(scalar.get(step));
            let outcome = if swapped {
                apply(op, &other, &own)
            } else {
                apply(op, &own, &other)
            };
            if let Some(note) = outcome.note {
                annotations.add(&note, self.position);
            }
            match outcome.value {
                None => series.remove(step),
                Some(_) if bool_modifier => {
                    let truth = f64::from(u8::from(outcome.holds));
                    series.set(step, Sample::Float(truth));
                }
                Some(_) if !outcome.holds => series.remove(step),
                Some(_) if op.is_comparison() => {}
                Some(value) => series.set(step, value),
            }
        }
    }
}

/// Changes the floats of a series and drops its histograms.
fn floats(series: &mut StepSeries, f: impl Fn(usize, f64) -> f64) {
    for step in 0..series.values.len() {
        if series.histogram(step).is_some() {
            series.values[step] = ABSENT;
        } else if series.has(step) {
            series.values[step] = f(step, series.values[step]);
        }
    }
    series.histograms = Vec::new();
}
