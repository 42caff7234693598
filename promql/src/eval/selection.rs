//! `topk` and its kin, and `quantile`: parameters are judged before any series is looked at.

use super::Evaluator;
use crate::annotation::Note;
use crate::plan::EvalError;
use crate::plan::node::Selection;
use crate::plan::pipeline::stage::Steps;
use crate::vector::{Grid, Grouping, StepSeries, select};

impl Evaluator<'_> {
    #[expect(clippy::too_many_arguments, reason = "the parts of a node")]
    pub(super) fn select(
        &mut self,
        op: &Selection,
        grouping: &Grouping,
        param: &Steps,
        vector: &[StepSeries],
        grid: Grid,
        position: usize,
        param_position: usize,
    ) -> Result<Vec<StepSeries>, EvalError> {
        let (mut low, mut high, mut nan) = (f64::INFINITY, f64::NEG_INFINITY, false);
        for value in (0..grid.steps).map(|step| param.get(step)) {
            nan |= value.is_nan();
            low = low.min(value);
            high = high.max(value);
        }
        let refused = |message: String| Err(EvalError::Execution(message));
        match op {
            Selection::Quantile => {
                let bad = [(nan, f64::NAN), (high > 1.0, high), (low < 0.0, low)];
                for (_, q) in bad.iter().filter(|(is_bad, _)| *is_bad) {
                    self.annotations
                        .add(&Note::InvalidQuantile(*q), param_position);
                }
            }
            Selection::Pick(select::Pick::LimitRatio) => {
                if low == 0.0 && high == 0.0 {
                    return Ok(Vec::new());
                }
                if nan {
                    return refused("Ratio value is NaN".to_owned());
                }
                for (is_bad, got, capped) in [(high > 1.0, high, 1.0), (low < -1.0, low, -1.0)] {
                    if is_bad {
                        let note = Note::InvalidRatio { got, capped };
                        self.annotations.add(&note, param_position);
                    }
                }
            }
            Selection::Pick(_) => {
                if !nan && high < 1.0 {
                    return Ok(Vec::new());
                }
                if nan {
                    return refused("Parameter value is NaN".to_owned());
                }
                let show = crate::number::format_g;
                if low <= i64::MIN as f64 {
                    return refused(format!("Scalar value {} underflows int64", show(low)));
                }
                if high >= i64::MAX as f64 {
                    return refused(format!("Scalar value {} overflows int64", show(high)));
                }
            }
        }
        let annotations = &mut self.annotations;
        let mut remark = |note: Note<'static>| annotations.add(&note, position);
        let at = |step| param.get(step);
        Ok(match op {
            Selection::Quantile => select::quantile(&at, vector, grouping, grid.steps, &mut remark),
            Selection::Pick(pick) => {
                select::pick(*pick, &at, vector, grouping, grid.steps, &mut remark)
            }
        })
    }
}
