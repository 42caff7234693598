//! From step vectors to the shape of an answer.

use std::sync::Arc;

use super::Outcome;
use crate::ast::ValueType;
use crate::plan::{MatrixSeries, Value, VectorSample};
use crate::vector::{Grid, StepSeries, is_present};

/// The samples of each series that has some.
pub(super) fn matrix(vector: Vec<StepSeries>, grid: &Grid) -> Vec<MatrixSeries> {
    let convert = |series: StepSeries| {
        let mut out = MatrixSeries {
            labels: series.labels,
            ..MatrixSeries::default()
        };
        for (step, value) in series.values.iter().enumerate() {
            match series.histograms.get(step).and_then(Option::as_ref) {
                Some(h) => out.histograms.push((grid.at(step), Arc::clone(h))),
                None if is_present(*value) => out.floats.push((grid.at(step), *value)),
                None => {}
            }
        }
        out
    };
    vector
        .into_iter()
        .filter(|s| !s.is_empty())
        .map(convert)
        .collect()
}

/// The value that the caller sees.
pub(super) fn value(outcome: Outcome, root_type: ValueType, grid: &Grid, instant: bool) -> Value {
    let t_ms = grid.start_ms;
    let mut series = match outcome {
        Outcome::Text(text) => return Value::String(t_ms, text),
        Outcome::Scalar(steps) if instant => return Value::Scalar(t_ms, steps.get(0)),
        Outcome::Scalar(steps) => {
            let floats = (0..grid.steps).map(|i| (grid.at(i), steps.get(i)));
            vec![MatrixSeries {
                floats: floats.collect(),
                ..MatrixSeries::default()
            }]
        }
        Outcome::Vector(vector) if instant && root_type == ValueType::Vector => {
            let sample = |s: StepSeries| -> Option<VectorSample> {
                let sample = s.get(0)?;
                Some(VectorSample {
                    labels: s.labels,
                    t_ms,
                    sample,
                })
            };
            return Value::Vector(vector.into_iter().filter_map(sample).collect());
        }
        Outcome::Vector(vector) => matrix(vector, grid),
        Outcome::Matrix(series) => series,
    };
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Value::Matrix(series)
}
